# SPDX-License-Identifier: Apache-2.0
"""One page about a network and its plan, whole in one file.

Plots are drawn by uPlot (50 KB), whose release bundle from npm stands with its licence in
``web/uplot``. Plotly's bundle is larger than a whole page may be (4 MiB), Bokeh's takes a third of
that (1.3 MB), and neither draws the 100,000 lifetimes of an arena as they are zoomed into. Of the
packages on PyPI that contain uPlot, one needs IPython and the other nobody seems to keep. The
network is plain HTML with a few lines of SVG.

What comes from a model, names above all, is data: JSON in which nothing can end the element that it
stands in, and which the scripts only ever show as text. The page allows itself no other script than
its own, by their hashes, and no connection.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from narrows.pack.metadata import producer
from narrows.report.plans import Names, dumps

_FOLDER = Path(__file__).parent / "web"
_LICENCE = "uplot/LICENSE"
_STYLES = ("uplot/uPlot.min.css", "style.css")
_SCRIPTS = (
    "uplot/uPlot.iife.min.js",
    "basics.js",
    "charts.js",
    "front.js",
    "arena.js",
    "network.js",
    "costs.js",
    "layers.js",
    "main.js",
)
# What would end a script element or confuse an old parser, as JSON may also spell it.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def report_page(title: str, names: Names, parts: Mapping[str, Any]) -> str:
    """The page.

    Args:
        names: those that the parts refer to.
        parts: ``lines``: [what, value] on top; ``front``: of ``plans.front_json`` or ``blob_json``;
            ``quality`` and ``comparison``: of ``quality``. Those that are left out are not shown.
    """
    data = {"title": title, "producer": producer(), "names": names.json(), **parts}
    style = "\n".join(map(_read, _STYLES))
    script = "\n".join((f"/*\n{_read(_LICENCE)}\n*/", *map(_read, _SCRIPTS)))
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    fields = {
        "policy": policy,
        "title": escape(title),
        "style": style,
        "data": dumps(data).translate(_ESCAPES),
        "script": script,
    }
    # One pass, so that nothing in a field is taken for the place of another one.
    pieces = _read("page.html").split("@@")
    return "".join(fields[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A source of a Content Security Policy: this very element."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
