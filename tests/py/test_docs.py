# SPDX-License-Identifier: Apache-2.0
"""The documentation builds without a warning, its links lead somewhere, it has all public names."""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import narrows
from models import missing
from narrows import testing
from narrows.cli import build_parser
from pages import DOCS, ROOT, all_pages

HEADERS = (
    ROOT / "runtime" / "include" / "narrows.h",
    ROOT / "runtime" / "include" / "narrows_detection.h",
    ROOT / "firmware" / "esp_idf" / "narrows" / "include" / "narrows_start.h",
)
# Types that attributes of public ones have; one cannot import them from narrows itself.
HELD = {
    "narrows.compare.First",
    "narrows.errors.Unsupported",
    "narrows.native.observe.Dump",
    "narrows.report.explain.Held",
    "narrows.report.explain.Step",
}
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pages."""
    for package in ("sphinx", "myst_parser", "furo", "sphinx_argparse_cli", "sphinx_copybutton"):
        if find_spec(package) is None:
            missing(f"{package} (pip install -e '.[docs]')")
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    command += ["-d", str(folder / "doctrees"), str(DOCS), str(folder / "html")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


class _Page(HTMLParser):
    """Names that a page's elements have, and what it links."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in ("id", "name") and value:
                self.names.add(value)
            elif key in ("href", "src") and value:
                self.links.append(value)


@lru_cache
def page(path: Path) -> _Page:
    return _Page(path)


def dead_links(folder: Path) -> Iterator[str]:
    """Links of a folder's pages to a file or an anchor that is not there."""
    for path in sorted(folder.rglob("*.html")):
        for link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            is_there = target.is_file() and target.is_relative_to(folder.resolve())
            anchor = unquote(parts.fragment)
            if not is_there or (anchor and anchor not in page(target).names):
                yield f"{path.relative_to(folder)}: {link}"


def test_every_link_leads_somewhere(built: Path) -> None:
    assert not list(dead_links(built))


def test_dead_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a id="x" href="b.html#y"></a><a href="https://c"></a>')
    (tmp_path / "b.html").write_text('<a id="y" href="a.html#z"></a><img src="c.png">')
    assert list(dead_links(tmp_path)) == ["b.html: a.html#z", "b.html: c.png"]


def test_links_in_the_repository_lead_somewhere() -> None:
    """Where Markdown is browsed as it stands."""
    link = re.compile(r"\]\(([^)\s#:]+)(?:#[^)\s]*)?\)")
    code = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
    for path in [*all_pages(), DOCS / "README.md"]:
        text = code.sub("", path.read_text(encoding="utf-8"))
        dead = [name for name in link.findall(text) if not (path.parent / name).exists()]
        assert not dead, path


def test_no_page_tells_of_this_machine(built: Path) -> None:
    for path in built.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert str(ROOT) not in text, path
        assert str(Path.home()) + "/" not in text, path


@pytest.fixture(scope="module")
def inventory(built: Path) -> dict[str, set[str]]:
    """Kind of a name, such as ``py:class`` -> all names."""
    from sphinx.util.inventory import InventoryFile

    with (built / "objects.inv").open("rb") as file:
        found = InventoryFile.load(file, "", lambda base, path: path)
    data = found.data if hasattr(found, "data") else found
    return {kind: set(names) for kind, names in data.items()}


def public_python() -> set[str]:
    """Everything that one may import of narrows."""
    names = {f"narrows.{name}" for name in getattr(narrows, "__all__", ())}
    return names | {f"narrows.testing.{name}" for name in testing.__all__}


def canonical(name: str) -> str:
    """A name by the module that defines it."""
    module, _, last = name.rpartition(".")
    thing = getattr(importlib.import_module(module), last)
    return f"{getattr(thing, '__module__', module)}.{getattr(thing, '__qualname__', last)}"


def test_python_interface_and_documentation_have_the_same_names(
    inventory: dict[str, set[str]],
) -> None:
    shown = {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}
    public = public_python()
    assert "narrows.compile" in public
    known = public | HELD
    assert known <= shown
    # A name also has an entry by the module that defines it.
    own = {canonical(name) for name in known}
    members = tuple(f"{name}." for name in known | own)
    assert {name for name in shown if not name.startswith(members)} <= known | own


def c_names(text: str) -> set[str]:
    """What a header declares, found without a parser: functions, types, constants and macros."""
    code = _COMMENT.sub("", text)
    names = set(re.findall(r"^#define ((?:NRW|NARROWS)_\w+) ", code, re.MULTILINE))
    names |= set(re.findall(r"^    (NRW_\w+) = ", code, re.MULTILINE))
    names |= set(re.findall(r"^(?:enum|struct) (\w+) \{", code, re.MULTILINE))
    names |= set(re.findall(r"^typedef [\w ]+\(\*(\w+)\)", code, re.MULTILINE))
    return names | set(re.findall(r"^[\w ]+?[ *](\w+)\([^)]", code, re.MULTILINE))


def test_c_interface_and_documentation_have_the_same_names(
    inventory: dict[str, set[str]],
) -> None:
    public = {name for path in HEADERS for name in c_names(path.read_text(encoding="utf-8"))}
    assert {"nrw_step", "NRW_OK", "nrw_model", "NRW_MAX_BOXES", "narrows_start"} < public
    shown = {
        name.removeprefix("functions.").split(".")[0]
        for kind, names in inventory.items()
        for name in names
        if kind.startswith("c:") and kind != "c:functionParam"
    }
    assert shown == public
    # Sphinx has one namespace for functions and structures.
    assert {"functions.nrw_run", "functions.nrw_tensor_info"} <= inventory["c:function"]
    assert {"nrw_run", "nrw_tensor_info"} <= inventory["c:struct"]


def options(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every option and argument of a parser and its subcommands, with the words before it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from options(child)
        elif not action.option_strings:
            yield f"{parser.prog.replace(' ', '-')}.{action.metavar or action.dest}"
        for option in action.option_strings:
            yield f"{parser.prog.replace(' ', '-')}.{option}"


def test_every_option_is_in_the_documentation(inventory: dict[str, set[str]]) -> None:
    expected = set(options(build_parser()))
    assert "narrows-compile.--ram" in expected
    assert inventory["std:cmdoption"] == expected
