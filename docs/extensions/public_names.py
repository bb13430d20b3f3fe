# SPDX-License-Identifier: Apache-2.0
"""The Python interface as readers know it.

A signature names a type by its own module, ``narrows.api.model.Model``; readers know it as
``narrows.Model``, where its description stands. Docstrings of narrows describe attributes in lines
such as ``name, other: what they are``, which become lists here. Constructors that nobody but
narrows calls are not shown.
"""

from __future__ import annotations

import re
from typing import Any

from docutils.nodes import Element
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import narrows
from narrows import testing

PUBLIC = {
    **{name: f"narrows.{name}" for name in narrows.__all__},
    **{name: f"narrows.testing.{name}" for name in testing.__all__},
}

CONSTRUCTED = ("Board", "Preprocessing")
"""What callers make themselves."""
_FIELD = re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*|Raises|Returns): (.+)")


def _listed(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Lines that describe attributes become a list."""
    told: list[str] = []
    is_field = False
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match:
            if not is_field and told and told[-1].strip():
                told.append("")
            is_field = True
            told.append(f":{match.group(1)}: {match.group(2)}")
        else:
            is_field = is_field and bool(line.strip())
            told.append(f"    {line.strip()}" if is_field else line)
    lines[:] = told


def _signature(
    app: Sphinx, what: str, name: str, thing: object, options: object, signature: Any, returns: Any
) -> tuple[str, None] | None:
    hidden = what == "class" and name.rpartition(".")[2] not in CONSTRUCTED
    return ("", None) if hidden else None


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: Element
) -> Element | None:
    target = str(node.get("reftarget"))
    name = target.rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in PUBLIC or target == PUBLIC[name]:
        return None
    python = env.get_domain("py")
    return python.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], PUBLIC[name], node, text
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """As Sphinx calls every extension."""
    app.connect("missing-reference", _resolve)
    app.connect("autodoc-process-docstring", _listed)
    app.connect("autodoc-process-signature", _signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
