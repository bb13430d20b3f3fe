# SPDX-License-Identifier: Apache-2.0
"""What the runtime costs on a Cortex-M4 at -Os: flash, stack, structures.

``measure.py`` prints the figures and compares them with ``budget.json`` beside it. It ends
with 1 if one is over its limit or has grown by more than 2%; ``--update`` stores the figures
instead. The comparison needs the compiler that the stored figures came from; the limits hold
with any.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = ROOT / "runtime"
PARTS = ("src", "ops", "kernels")
STORED = Path(__file__).with_name("budget.json")

COMPILER = "arm-none-eabi-gcc"
TARGET = ("-mcpu=cortex-m4", "-mthumb")
# Firmware has the kernels of one layout.
LAYOUTS = "-DNRW_LAYOUTS(X)=X(PLAIN,plain_c)"
OPTIONS = (
    "-std=c99",
    "-Os",
    LAYOUTS,
    "-ffunction-sections",
    "-fdata-sections",
    "-fcallgraph-info=su",
)

GROWTH = 1.02
# Bytes. Flash is that of all objects, of which no firmware has all (see linked.py). The
# structures are those that a program holds for a model and a run; what a run
# needs per stage stands behind the arena.
LIMITS = {"flash": 28 * 1024, "variables": 0, "stack": 2048, "structures": 256}
STRUCTURES = ("nrw_model", "nrw_run")
# All that the runtime may ask of others: three of libc, and the compiler's own arithmetic.
EXTERNALS = re.compile(r"mem(cpy|move|set)|__aeabi_\w+")


@dataclass(frozen=True)
class Figures:
    """All in bytes.

    flash: text and read-only data of each object file.
    variables: data and bss of all objects.
    frames: the largest stack frame of each object file.
    stack: the deepest chain of calls below each public function, with its own frame.
    structures: sizes of the public structures.
    """

    compiler: str
    flash: dict[str, int]
    variables: int
    frames: dict[str, int]
    stack: dict[str, int]
    structures: dict[str, int]

    def summary(self) -> dict[str, int]:
        """One number for each of them."""
        return {
            "flash": sum(self.flash.values()),
            "variables": self.variables,
            "frame": max(self.frames.values()),
            "stack": max(self.stack.values()),
            "structures": sum(self.structures.values()),
        }


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _tool(name: str) -> str:
    return COMPILER.replace("gcc", name)


@dataclass(frozen=True)
class _CallGraph:
    """frames: bytes of each function. calls: callees of each function."""

    frames: dict[str, int]
    calls: dict[str, set[str]]

    def depth(self, function: str, above: tuple[str, ...] = ()) -> int:
        if function in above:
            raise SystemExit(f"recursion: {' -> '.join((*above, function))}")
        below = (self.depth(callee, (*above, function)) for callee in self.calls[function])
        return self.frames.get(function, 0) + max(below, default=0)


def _call_graph(folder: Path) -> _CallGraph:
    """From the compiler's ``.ci`` files. A call through a pointer may reach any stage."""
    text = "".join(path.read_text() for path in sorted(folder.glob("*.ci")))
    frames: dict[str, int] = {}
    calls: dict[str, set[str]] = {}
    for name, label in re.findall(r'^node: \{ title: "(.*?)" label: "(.*?)"', text, re.MULTILINE):
        calls.setdefault(name, set())
        if match := re.search(r"(\d+) bytes \((\w+)\)", label):
            if match[2] != "static":
                raise SystemExit(f"{name}: its stack frame has no fixed size")
            frames[name] = int(match[1])
    for caller, callee in re.findall(
        r'^edge: \{ sourcename: "(.*?)" targetname: "(.*?)"', text, re.MULTILINE
    ):
        calls.setdefault(caller, set()).add(callee)
        calls.setdefault(callee, set())
    if "__indirect_call" in calls:
        calls["__indirect_call"] |= {name for name in frames if name.startswith("nrw_stage_")}
    return _CallGraph(frames, calls)


def _public_functions() -> list[str]:
    header = (RUNTIME / "include" / "narrows.h").read_text()
    code = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    return re.findall(r"^\w[\w \*]*?(nrw_\w+)\(", code, re.MULTILINE)


def _sections(obj: Path) -> tuple[int, int]:
    """(text and read-only data, data and bss)"""
    text, data, bss = _run(_tool("size"), obj).splitlines()[1].split()[:3]
    return int(text), int(data) + int(bss)


def _structures(folder: Path) -> dict[str, int]:
    source = folder / "structures.c"
    lines = [f"const char size_{name}[sizeof(struct {name})] = {{1}};" for name in STRUCTURES]
    source.write_text("\n".join(['#include "narrows.h"', *lines, ""]))
    obj = source.with_suffix(".o")
    _run(COMPILER, *TARGET, f"-I{RUNTIME / 'include'}", "-c", source, "-o", obj)
    symbols = re.findall(r"^\w+ (\w+) \w size_(\w+)$", _run(_tool("nm"), "-S", obj), re.MULTILINE)
    return {name: int(size, 16) for size, name in symbols}


def measure() -> Figures:
    """Compile the runtime with every operator and look at the result.

    Raises:
        SystemExit: a function recurses, has a frame of unknown size, or needs something from
            outside the runtime.
    """
    sources = [path for name in PARTS for path in sorted((RUNTIME / name).glob("*.c"))]
    sources = [
        path
        for path in sources
        if not re.search(r"_(fast|dsp|mve|avx2|neon|pack|blocked_c|paired_c)$", path.stem)
    ]
    flash, frames = {}, {}
    variables = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        objects = []
        for source in sources:
            obj = folder / f"{source.stem}.o"
            includes = [f"-I{RUNTIME / d}" for d in ("include", *PARTS)]
            _run(COMPILER, *TARGET, *OPTIONS, *includes, "-c", source, "-o", obj)
            flash[source.stem], changing = _sections(obj)
            variables += changing
            info = obj.with_suffix(".ci").read_text()
            frames[source.stem] = max(map(int, re.findall(r"(\d+) bytes \(", info)), default=0)
            objects.append(obj)
        graph = _call_graph(folder)
        defined = set(re.findall(r" [TtRrDdBbVvWw] (\w+)", _run(_tool("nm"), *objects)))
        wanted = set(re.findall(r" U (\w+)", _run(_tool("nm"), *objects)))
        foreign = sorted(name for name in wanted - defined if not EXTERNALS.fullmatch(name))
        if foreign:
            raise SystemExit(f"the runtime needs what it should not: {', '.join(foreign)}")
        return Figures(
            compiler=_run(COMPILER, "--version").splitlines()[0],
            flash=flash,
            variables=variables,
            frames=frames,
            stack={name: graph.depth(name) for name in _public_functions()},
            structures=_structures(folder),
        )


def compare(figures: Figures, stored: Mapping[str, object] | None) -> list[str]:
    """What is over its limit, or has grown since the stored figures; a line each."""
    summary = figures.summary()
    complaints = [
        f"{name}: {summary[name]} bytes, the limit is {limit}"
        for name, limit in LIMITS.items()
        if summary[name] > limit
    ]
    if stored is None or stored["compiler"] != figures.compiler:
        return complaints
    before = Figures(**stored).summary()  # type: ignore[arg-type]
    complaints += [
        f"{name}: {summary[name]} bytes, was {before[name]}; if that is meant: measure.py --update"
        for name in summary
        if summary[name] > before[name] * GROWTH
    ]
    return complaints


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--update", action="store_true", help="store the figures")
    arguments = parser.parse_args()
    if shutil.which(COMPILER) is None:
        print(f"{COMPILER} is not installed", file=sys.stderr)
        return 2
    figures = measure()
    stored = json.loads(STORED.read_text()) if STORED.exists() else None
    print(json.dumps({**asdict(figures), "summary": figures.summary()}, indent=2))
    complaints = compare(figures, None if arguments.update else stored)
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    if arguments.update and not complaints:
        STORED.write_text(json.dumps(asdict(figures), indent=2) + "\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
