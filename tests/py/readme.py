# SPDX-License-Identifier: Apache-2.0
"""The parts of README.md that come from elsewhere, and those that are run.

``python tests/py/readme.py`` writes the tables of operators anew; with ``--front`` it also plans
MobileNetV2, and with ``--figures`` it measures the networks in QEMU too, which takes a minute.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models import INT8_NETWORKS, SHARED
from narrows.boards import load_board
from narrows.compiler import CompileOptions, compile_model
from narrows.graph.qgraph import QGraph, macs
from narrows.importers import load, onnx, tflite
from narrows.importers.tflite import SupportedOperator
from narrows.models import DIGITS_INT8
from narrows.native import Layout, Model
from narrows.planning import PlanOptions
from narrows.planning.ram import ram_bytes
from narrows.quantization.arrangements import arrangements
from narrows.quantization.dead_channels import without_dead_channels
from narrows.quantization.lower import lower
from narrows.report.front import front
from narrows.targets import open_target
from tflm_operators import gap_table

README = Path(__file__).resolve().parents[2] / "README.md"
BOARD = "mps2-an386"
PORTABLE_BOARD = str(Path(__file__).resolve().parents[1] / "board" / "portable.toml")
LARGEST = "mobilenet_v2_1.0_224_ptq"
FRONT_STEP = 0.9
SCRATCH = 512
"""Bytes that kernels with DSP instructions may have more than the portable ones."""
COLUMNS = ("arena", "RAM", "instructions", "per MAC")


def operator_table(operators: Sequence[SupportedOperator]) -> str:
    """A table of supported operators, from an importer's own checks; those with the same
    constraints share a row."""
    rows: dict[str, list[str]] = {}
    for operator in operators:
        rows.setdefault(" ".join(operator.constraints), []).append(operator.name)
    lines = ["| operator | what it must be |", "|---|---|"]
    lines += [f"| {', '.join(names)} | {constraints} |" for constraints, names in rows.items()]
    return "\n".join(lines)


def with_operators(text: str) -> str:
    """text with the tables of operators anew."""
    text = with_part(text, "operators", operator_table(tflite.supported_operators()))
    text = with_part(text, "gaps", gap_table())
    return with_part(text, "onnx operators", operator_table(onnx.supported_operators()))


def with_part(text: str, name: str, part: str) -> str:
    """text with what stands between the marks of ``name`` replaced."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    return f"{head}{begin}\n{part}\n{end}{tail}"


def blocks(kind: str) -> list[str]:
    """The contents of code blocks whose opening fence says exactly ``kind``."""
    pattern = rf"^```{re.escape(kind)}\n(.*?)^```$"
    return re.findall(pattern, README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Figures:
    """What a network takes on a board in QEMU; bytes."""

    arena: int
    ram: int
    instructions: int


def layer_by_layer(graph: QGraph) -> int:
    """Bytes that a runtime needs which computes one whole operator after the other."""
    return max(
        sum(
            graph.tensors[t].bytes for t in {*op.inputs, op.output} if graph.tensors[t].data is None
        )
        for op in graph.ops
    )


def measure(path: Path, name: str, ram: int | None = None) -> Figures:
    """Compile a network for a board's kernels and run it on a random input in QEMU. ram:
    bytes that its plan may take; None: the default plan."""
    core = load_board(name).core
    options = PlanOptions(ram, layout=Layout[core.layout.upper()], kernels=core.kernels)
    compiled = compile_model(path, CompileOptions(options))
    model = Model(compiled.blob)
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-128, 128, info.shape).astype(np.int8) for info in model.inputs]
    with open_target(f"qemu:{name}", compiled.blob) as target:
        result = target.infer(inputs)
    return Figures(compiled.plan.arena_total, result.ram_high_water_bytes, result.instructions or 0)


def figure_table(networks: Sequence[Path]) -> str:
    """The README's table of measured figures."""
    kinds = [f"{kind}: {what}" for kind in ("portable", "DSP") for what in COLUMNS]
    lines = [f"| network | MACs | layer by layer | {' | '.join(kinds)} |"]
    lines.append("|---|" + "---:|" * (len(kinds) + 2))
    for path in networks:
        portable = compile_model(path)
        whole = lower(load(path))
        products = macs(whole)
        cells = [path.stem, f"{products / 1e6:.2f} M", f"{layer_by_layer(whole):,}"]
        ram = ram_bytes(portable.qgraph, portable.plan) + SCRATCH
        for f in (measure(path, PORTABLE_BOARD), measure(path, BOARD, ram)):
            cells += [f"{f.arena:,}", f"{f.ram:,}", f"{f.instructions / 1e6:.2f} M"]
            cells.append(f"{f.instructions / products:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def front_table(path: Path) -> str:
    """The front of memory plans, without neighbours that differ little; what compile takes is
    bold."""
    found = front(arrangements(without_dead_channels(lower(load(path)))), PlanOptions())
    lines = ["| RAM | arena | MACs | instructions |", "|---:|---:|---:|---:|"]
    least = found.choices[0].ram_bytes
    for number, c in enumerate(found.choices):
        cells = [f"{c.ram_bytes:,}", f"{c.plan.arena_total:,}", f"x{c.plan.mac_factor:.3f}"]
        cells.append(f"{c.instructions / 1e6:.1f} M")
        if number == found.chosen:
            cells = [f"**{cell}**" for cell in cells]
        elif number and c.ram_bytes > least * FRONT_STEP:
            continue
        least = c.ram_bytes
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def stated_arenas() -> dict[str, int]:
    """Network -> the arena that the README says it takes."""
    rows = re.findall(
        r"^\| (\w[\w.]*) \| [\d.]+ M \| [\d,]+ \| ([\d,]+) \|",
        README.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    return {name: int(arena.replace(",", "")) for name, arena in rows}


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    text = with_operators(text)
    if "--figures" in sys.argv:
        networks = [DIGITS_INT8, *(SHARED / "models" / f"{name}.tflite" for name in INT8_NETWORKS)]
        text = with_part(text, "figures", figure_table(networks))
    if {"--figures", "--front"} & set(sys.argv):
        text = with_part(text, "front", front_table(SHARED / "models" / f"{LARGEST}.tflite"))
    README.write_text(text, encoding="utf-8")
