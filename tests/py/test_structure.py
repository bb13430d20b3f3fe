# SPDX-License-Identifier: Apache-2.0
"""Who may use whom: data flows one way through the package, and the runtime needs nobody."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from conftest import ROOT

PACKAGE = ROOT / "pyfront" / "narrows"
RUNTIME = ROOT / "runtime"
FIRMWARE = ROOT / "firmware"

# Part of the package -> what it may import of the package. Parts are folders and modules.
BASE = {"errors", "share", "files", "result"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "share": set(),
    "interrupt": set(),
    "files": {"errors"},
    "graph": {"errors"},
    "result": {"graph", "native"},
    "importers": {"errors", "files", "graph"},
    "exporters": {"errors", "graph"},
    "quantize": {"errors", "graph"},
    "zoo": {"errors", "graph", "quantize"},
    "native": {"errors", "share", "graph"},
    "plan": {"errors", "graph", "native"},
    "pack": {"errors", "graph", "plan", "native"},
    "compile": {"errors", "graph", "importers", "quantize", "plan", "pack", "native", "result"},
    "blob": {"errors", "files", "graph", "native", "pack"},
    "arrays": {"errors", "graph"},
    "pictures": {"errors", "graph"},
    "data": {"errors", "files", "graph", "arrays", "pictures"},
    "boards": BASE - {"result"},
    "link": BASE | {"graph", "boards", "native", "pack", "blob"},
    "targets": BASE | {"graph", "native", "boards", "link"},
    "reference": {"errors", "files", "graph"},
    "sides": {"errors", "files", "result", "graph", "importers", "quantize", "compile", "native"}
    | {"pack", "blob", "reference", "targets"},
    "compare": {"errors", "result", "graph", "quantize", "blob", "data", "sides"},
    "models": BASE | {"graph", "importers", "exporters", "quantize"},
    "report": {"errors", "graph", "plan", "quantize", "result"},
    "cli": BASE
    | {"importers", "exporters", "graph", "quantize", "report"}
    | {"compile", "plan", "pack", "native", "blob", "data", "boards", "link", "targets"}
    | {"reference", "zoo", "sides", "compare", "interrupt"},
    "__main__": {"cli", "interrupt"},
    "demo": BASE | {"interrupt", "cli", "compile", "graph", "models", "targets"},
}

# What freestanding C offers, and the three functions of string.h.
STANDARD_HEADERS = {"stddef.h", "stdint.h", "stdbool.h", "limits.h", "string.h"}
_INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The part of the package that a file belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """Parts of the package that a file imports, wherever in the file."""
    module = ("narrows", *path.relative_to(PACKAGE).with_suffix("").parts)
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(module[: -node.level]) if node.level else []
            base += node.module.split(".") if node.module else []
            # from narrows import X takes the part X.
            names = [[*base, alias.name] for alias in node.names] if len(base) == 1 else [base]
        else:
            continue
        parts |= {name[1] for name in names if name[0] == "narrows" and len(name) > 1}
    return parts - {"__version__"}


def test_the_rules_have_no_cycle() -> None:
    assert list(TopologicalSorter(MAY_IMPORT).static_order())


@pytest.mark.parametrize("path", python_files(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    if path.parent == PACKAGE and path.name == "__init__.py":
        assert not imported_parts(path)
        return
    part = part_of(path)
    assert part in MAY_IMPORT, f"{part} is new: say here what it may import"
    forbidden = imported_parts(path) - MAY_IMPORT[part] - {part}
    assert not forbidden, f"{part} may not import {sorted(forbidden)}"


def c_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in (".c", ".h"))


@pytest.mark.parametrize("path", c_files(RUNTIME), ids=lambda p: str(p.relative_to(RUNTIME)))
def test_the_runtime_stands_alone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    own = {header.name for header in c_files(RUNTIME) if header.suffix == ".h"}
    for kind, name in _INCLUDE.findall(text):
        known = name in STANDARD_HEADERS if kind == "<" else Path(name).name in own
        assert known, f"includes {name}"
    code = _COMMENT.sub(" ", text)
    for word in ("float", "double", "malloc", "calloc", "free", "alloca"):
        assert not re.search(rf"\b{word}\b", code), f"uses {word}"


def test_the_public_header_needs_no_other_header_of_ours() -> None:
    text = (RUNTIME / "include" / "narrows.h").read_text(encoding="utf-8")
    assert all(kind == "<" for kind, _ in _INCLUDE.findall(text))


@pytest.mark.parametrize("path", c_files(FIRMWARE), ids=lambda p: str(p.relative_to(FIRMWARE)))
def test_ports_know_nothing_of_the_application(path: Path) -> None:
    part = path.relative_to(FIRMWARE).parts[0]
    headers = {
        header.name: header.relative_to(FIRMWARE).parts[0]
        for header in c_files(FIRMWARE)
        if header.suffix == ".h"
    }
    for kind, name in _INCLUDE.findall(path.read_text(encoding="utf-8")):
        if kind == '"' and part == "port":
            assert headers.get(Path(name).name) == "port", f"a port includes {name}"


@pytest.mark.parametrize(
    "folder", [PACKAGE, RUNTIME, FIRMWARE, ROOT / "tests"], ids=lambda p: p.name
)
def test_every_source_file_names_its_licence(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.suffix in (".py", ".c", ".h", ".ld", ".S")]
    heads = {path: path.read_text(encoding="utf-8")[:300] for path in files}
    unnamed = [
        str(path.relative_to(ROOT))
        for path, head in heads.items()
        if head and "SPDX-License-Identifier: Apache-2.0" not in head
    ]
    assert not unnamed
