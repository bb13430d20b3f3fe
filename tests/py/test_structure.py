# SPDX-License-Identifier: Apache-2.0
"""Who may use whom: data flows one way through the package, and the runtime needs nobody. And how
long files and functions may be: what a reader can hold in mind."""

from __future__ import annotations

import ast
import re
from collections.abc import Hashable, Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TypeVar

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
    "notebook": set(),
    "interrupt": set(),
    "jobs": set(),
    "files": {"errors"},
    "graph": {"errors"},
    "result": {"graph", "native"},
    "importers": {"errors", "files", "graph"},
    "exporters": {"errors", "graph"},
    "quantization": {"errors", "graph", "jobs"},
    "zoo": {"errors", "graph", "quantization"},
    "native": {"errors", "share", "graph"},
    "stages": {"errors", "graph", "native"},
    "planning": {"errors", "graph", "native", "stages"},
    "pack": {"errors", "graph", "native", "stages", "planning"},
    "compiler": {
        "errors",
        "graph",
        "importers",
        "quantization",
        "planning",
        "pack",
        "native",
        "result",
    },
    "signing": {"errors", "files", "stages"},
    "blob": {"errors", "files", "graph", "native", "stages", "pack", "signing"},
    "embed": {"errors", "blob"},
    "arrays": {"errors", "graph"},
    "detection": {"graph", "native"},
    "drawing": {"errors"},
    "pictures": {"errors", "graph"},
    "data": {"errors", "files", "graph", "arrays", "pictures", "blob"},
    "boards": BASE - {"result"} | {"flashing"},
    "budget": {"errors", "native", "planning", "boards"},
    "link": BASE | {"graph", "boards", "native", "pack", "blob", "signing"},
    "farm": BASE - {"share", "files"} | {"graph", "native"},
    "flashing": set(),
    "flash": BASE | {"blob", "boards", "native", "link"},
    "targets": BASE | {"graph", "native", "boards", "link", "farm", "signing"},
    "originals": {"graph", "quantization"},
    "reference": {"errors", "files", "graph", "importers"},
    "sides": {
        "errors",
        "files",
        "result",
        "graph",
        "importers",
        "quantization",
        "compiler",
        "native",
    }
    | {"stages", "blob", "reference", "targets"},
    "bench": BASE | {"graph", "native", "boards", "link", "blob", "reference"},
    "checking": {"errors", "result", "graph", "jobs", "blob", "data", "reference", "targets"},
    "compare": {"errors", "result", "graph", "jobs", "quantization", "blob", "data", "sides"}
    | {"notebook"},
    "testing": BASE
    | {"graph", "native", "importers", "boards", "budget", "compiler", "blob", "data", "targets"}
    | {"reference", "sides", "compare"},
    "pytest_plugin": {"errors", "blob", "boards", "link", "native", "targets", "testing"},
    "models": BASE | {"graph", "importers", "exporters", "quantization"},
    "report": {"errors", "graph", "native", "stages", "planning", "pack", "quantization", "result"}
    | {"blob", "sides", "compare", "checking"},
    "api": BASE
    | {"importers", "exporters", "graph", "quantization", "report", "originals", "jobs"}
    | {"compiler", "planning", "native", "blob", "data", "boards", "budget", "notebook"}
    | {"link", "farm", "flash", "targets", "sides", "compare"},
    "__init__": {"api", "compare", "errors", "graph", "quantization", "report", "result", "sides"},
    "cli": BASE
    | {"api", "jobs"}
    | {"importers", "exporters", "graph", "quantization", "report"}
    | {"compiler", "planning", "pack", "native", "blob", "data", "boards", "link", "targets"}
    | {
        "reference",
        "zoo",
        "sides",
        "originals",
        "compare",
        "checking",
        "interrupt",
        "signing",
        "budget",
        "flash",
        "bench",
        "detection",
        "drawing",
        "pictures",
        "embed",
    },
    "__main__": {"cli", "interrupt", "jobs"},
    "demo": BASE | {"interrupt", "cli", "compiler", "graph", "models", "targets"},
}

SOURCES = {".py", ".c", ".h", ".cpp", ".hpp", ".ino", ".ld", ".S", ".mjs", ".js", ".css"}
# Bundles of others, with their licences beside them.
FOREIGN = {PACKAGE / "report" / "web" / "uplot"}

# What freestanding C offers, and the three functions of string.h.
STANDARD_HEADERS = {"stddef.h", "stdint.h", "stdbool.h", "limits.h", "string.h"}
# The compilers' own, in the files of an instruction set: NAME_avx2.c, avx2.h.
INTRINSICS = {
    "avx2": {"immintrin.h", "cpuid.h"},
    "dsp": {"arm_acle.h"},
    "mve": {"arm_mve.h"},
    "neon": {"arm_neon.h", "sys/auxv.h"},
}
HEAP = ("malloc", "calloc", "free", "alloca")
_INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)

MOST_FILE_LINES = 600
MOST_PYTHON_LINES = 75  # of a function
MOST_C_LINES = 70
# What is longer for a reason. An exception that is not needed any more fails a test.
LONG_FILES = {
    "pyfront/narrows/planning/verify.py": (
        "the second, independent statement of every rule of a plan, read as a whole"
    ),
}
# Files that include each other, with the reason.
CIRCLES: dict[tuple[str, ...], str] = {}

_C_WORDS = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.DOTALL | re.VERBOSE
)
_C_HEAD = re.compile(r"([A-Za-z_]\w*)\s*\([^;{}]*\)\s*$")


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
    is_front = path.parent == PACKAGE and path.name == "__init__.py"
    part = "__init__" if is_front else part_of(path)
    assert part in MAY_IMPORT, f"{part} is new: say here what it may import"
    forbidden = imported_parts(path) - MAY_IMPORT[part] - {part}
    assert not forbidden, f"{part} may not import {sorted(forbidden)}"


def c_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in (".c", ".h"))


@pytest.mark.parametrize("path", c_files(RUNTIME), ids=lambda p: str(p.relative_to(RUNTIME)))
def test_the_runtime_stands_alone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    own = {header.name for header in c_files(RUNTIME) if header.suffix == ".h"}
    in_floats = "detection" in path.stem
    foreign = STANDARD_HEADERS | ({"math.h"} if in_floats else set())
    foreign |= INTRINSICS.get(path.stem.rpartition("_")[2], set())
    for kind, name in _INCLUDE.findall(text):
        known = name in foreign if kind == "<" else Path(name).name in own
        assert known, f"includes {name}"
    code = _COMMENT.sub(" ", text)
    for word in (*(() if in_floats else ("float", "double")), *HEAP):
        assert not re.search(rf"\b{word}\b", code), f"uses {word}"


def test_only_those_who_link_it_have_floats() -> None:
    """Boxes of detectors are computed in floating point, beside the runtime."""
    for path in c_files(RUNTIME):
        if "detection" not in path.stem:
            assert "narrows_detection.h" not in path.read_text(encoding="utf-8"), path


def test_the_public_header_needs_no_other_header_of_ours() -> None:
    text = (RUNTIME / "include" / "narrows.h").read_text(encoding="utf-8")
    assert all(kind == "<" for kind, _ in _INCLUDE.findall(text))


# Room of the firmware -> whose headers it may include. Chips and cores are behind port.
MAY_INCLUDE = {
    "libc": set(),
    "port": set(),
    "link": {"libc", "runtime"},
    "app": {"libc", "port", "link", "runtime"},
    "chip": {"libc", "port"},
    "core": {"libc", "port"},
    "esp_idf": {"app", "port"},
}


@pytest.mark.parametrize("path", c_files(FIRMWARE), ids=lambda p: str(p.relative_to(FIRMWARE)))
def test_rooms_of_the_firmware(path: Path) -> None:
    room = path.relative_to(FIRMWARE).parts[0]
    owners = {header.name: "runtime" for header in c_files(RUNTIME) if header.suffix == ".h"}
    for header in c_files(FIRMWARE):
        if header.suffix == ".h":
            owners[header.name] = header.relative_to(FIRMWARE).parts[0]
    for kind, name in _INCLUDE.findall(path.read_text(encoding="utf-8")):
        if kind == '"' and name != "board.h":
            owner = owners[Path(name).name]
            assert owner in MAY_INCLUDE[room] | {room}, f"{room} includes {name} of {owner}"


def test_the_application_names_no_chip() -> None:
    """Its only words for the hardware are those of port.h and of board.h."""
    drivers = [path.stem.split("_") for path in (FIRMWARE / "chip").glob("*_*.c")]
    chips = {word for _, *name in drivers for word in name} - {"ram", "rom"}
    chips |= {"cortex", "riscv", "nvic"}
    for path in c_files(FIRMWARE / "app") + c_files(FIRMWARE / "link"):
        code = _COMMENT.sub(" ", path.read_text(encoding="utf-8"))
        words = set(re.findall(r"[a-z0-9]+", code.lower()))
        assert not words & chips, path.name


@pytest.mark.parametrize(
    "folder",
    [PACKAGE, RUNTIME, FIRMWARE, *(ROOT / name for name in ("tests", "packaging", "examples"))],
    ids=lambda p: p.name,
)
def test_every_source_file_names_its_licence(folder: Path) -> None:
    files = [
        path for path in folder.rglob("*") if path.suffix in SOURCES and path.parent not in FOREIGN
    ]
    heads = {path: path.read_text(encoding="utf-8")[:300] for path in files}
    unnamed = [
        str(path.relative_to(ROOT))
        for path, head in heads.items()
        if head and "SPDX-License-Identifier: Apache-2.0" not in head
    ]
    assert not unnamed


# --- Lengths and circles ----------------------------------------------------------------------

Item = TypeVar("Item", bound=Hashable)


def differences(found: Iterable[Item], exceptions: Mapping[Item, str]) -> str:
    """Items that are no exception, and exceptions that are not needed any more; "" if all is as
    it should be."""
    items = set(found)
    lines = [f"{item} breaks the rule" for item in items - exceptions.keys()]
    lines += [f"{item}: delete the exception" for item in exceptions.keys() - items]
    return "; ".join(sorted(lines))


def python_functions(text: str) -> list[tuple[str, int]]:
    """Functions and methods, with how many lines each has."""
    return [
        (node.name, (node.end_lineno or 0) - node.lineno + 1)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def c_functions(text: str) -> list[tuple[str, int]]:
    """Functions, with how many lines each has: what stands between braces that are in no others,
    behind a name and parentheses."""
    code = _C_WORDS.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    found: list[tuple[str, int]] = []
    depth, end, head = 0, 0, None
    for place, character in enumerate(code):
        if character == "{":
            if depth == 0:
                head = _C_HEAD.search(code, end, place)
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0 and head is not None:
                found.append((head.group(1), code.count("\n", head.start(), place) + 1))
        if depth == 0 and character in "};":
            end = place + 1
    assert depth == 0
    return found


def circles(includes: Mapping[str, set[str]]) -> set[tuple[str, ...]]:
    """Groups of files that all include each other, directly or by way of others."""
    reached = {name: set(direct) for name, direct in includes.items()}
    for middle, further in reached.items():
        for known in reached.values():
            if middle in known:
                known |= further
    return {
        tuple(sorted(b for b in reached[a] if a in reached.get(b, ())))
        for a in reached
        if a in reached[a]
    }


def runtime_includes() -> dict[str, set[str]]:
    """Who includes whom; a .c file and its header are one, a kernel's portable form among them."""

    def unit(path: Path) -> str:
        return str(path.relative_to(RUNTIME).with_suffix("")).removesuffix("_c")

    files = c_files(RUNTIME)
    by_name = {path.name: path for path in files}
    includes: dict[str, set[str]] = {unit(path): set() for path in files}
    for path in files:
        for kind, name in _INCLUDE.findall(path.read_text(encoding="utf-8")):
            beside = (path.parent / name).resolve()
            header = beside if beside in files else by_name.get(Path(name).name)
            if kind == '"' and header is not None:
                includes[unit(path)] |= {unit(header)} - {unit(path)}
    return includes


def test_no_file_is_long() -> None:
    scripts = [path for path in PACKAGE.rglob("*.js") if path.parent not in FOREIGN]
    files = (*python_files(), *c_files(RUNTIME), *c_files(FIRMWARE), *c_files(PACKAGE), *scripts)
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    long = {str(path.relative_to(ROOT)) for path, n in lines.items() if n > MOST_FILE_LINES}
    assert not differences(long, LONG_FILES)


def test_no_function_is_long() -> None:
    long = set()
    for path in python_files():
        for name, lines in python_functions(path.read_text(encoding="utf-8")):
            if lines > MOST_PYTHON_LINES:
                long.add(f"{path.relative_to(ROOT)}: {name}")
    for path in (*c_files(RUNTIME), *c_files(FIRMWARE), *c_files(PACKAGE)):
        for name, lines in c_functions(path.read_text(encoding="utf-8")):
            if lines > MOST_C_LINES:
                long.add(f"{path.relative_to(ROOT)}: {name}")
    assert not long


def test_files_of_the_runtime_include_each_other_in_no_circle() -> None:
    assert not differences(circles(runtime_includes()), CIRCLES)


def test_lengths_are_counted_rightly() -> None:
    """Braces in words and comments are none, nor are those of types and tables functions."""
    text = """
        struct point { int x; };
        static const int table[] = { 1, 2 };
        /* void gone(void) { */
        int
        first(int a, /* not { one */
              char b)
        {
            if (b == '{') {
                return "}"[0];
            }
            return table[0];
        }
        void second(void) { }
    """
    assert c_functions(text) == [("first", 8), ("second", 1)]
    assert python_functions("class A:\n    def f(self):\n        a = 1\n        return a\n") == [
        ("f", 3)
    ]


def test_circles_are_found() -> None:
    includes = {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}, "e": {"a", "f"}, "f": {"e"}}
    assert circles(includes) == {("b", "c", "d"), ("e", "f")}
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})
    assert differences({"x", "y"}, {"y": "for now", "z": "long gone"}) == (
        "x breaks the rule; z: delete the exception"
    )
