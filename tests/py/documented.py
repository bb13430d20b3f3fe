# SPDX-License-Identifier: Apache-2.0
"""The parts of the README and the documentation that come from elsewhere.

``python tests/py/documented.py`` writes them anew: the tables of operators from the importers'
checks, and every figure from ``tests/budget/networks.json`` and what other benchmarks store. With
``--figures`` it first measures the networks in QEMU, which takes minutes, and with ``--front``
plans MobileNetV2 alone, and stores what it finds in ``networks.json``.

A part stands between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``. A figure within a
sentence stands between ``<!-- =KEY -->`` and ``<!-- = -->``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from figured import figure_tables, figures_by_key
from models import INT8_NETWORKS, SHARED
from narrows import zoo
from narrows.boards import load_board
from narrows.compiler import CompileOptions, compile_model
from narrows.graph.qgraph import QGraph, macs
from narrows.importers import load, onnx, tflite
from narrows.importers.tflite import SupportedOperator
from narrows.models import DIGITS_INT8
from narrows.native import Layout, Model
from narrows.planning import PlanOptions
from narrows.planning.planner import plan
from narrows.planning.ram import ram_bytes
from narrows.quantization.arrangements import arrangements
from narrows.quantization.dead_channels import without_dead_channels
from narrows.quantization.lower import lower
from narrows.report.front import front
from narrows.targets import open_target
from pages import ROOT, all_pages
from tflm_operators import gap_table

STORED = ROOT / "tests" / "budget" / "networks.json"
BOARD = "mps2-an386"
PORTABLE_BOARD = str(ROOT / "tests" / "board" / "portable.toml")
LARGEST = "mobilenet_v2_1.0_224_ptq"
ZOO = ((0.35, 144), (0.35, 128))
"""Width and input of the MobileNetV2s that are planned, but not run."""
FRONT_STEP = 0.9
SCRATCH = 512
"""Bytes that kernels with DSP instructions may have more than the portable ones."""
_FIGURE = re.compile(r"(<!-- =([^>]+) -->)(.*?)(<!-- = -->)")


def operator_table(operators: Sequence[SupportedOperator]) -> str:
    """A table of supported operators, from an importer's own checks; those with the same
    constraints share a row."""
    rows: dict[str, list[str]] = {}
    for operator in operators:
        rows.setdefault(" ".join(operator.constraints), []).append(operator.name)
    lines = ["| operator | what it must be |", "|---|---|"]
    lines += [f"| {', '.join(names)} | {constraints} |" for constraints, names in rows.items()]
    return "\n".join(lines)


def parts() -> dict[str, str]:
    """Name -> text of every part."""
    return {
        "operators": operator_table(tflite.supported_operators()),
        "gaps": gap_table(),
        "onnx operators": operator_table(onnx.supported_operators()),
        **figure_tables(),
    }


def anew(text: str, parts: Mapping[str, str], figures: Mapping[str, str]) -> str:
    """A page with all its parts and figures as they are now.

    Raises: KeyError for a part or a figure that nobody knows.
    """
    for name in re.findall(r"<!-- (.+?): begin -->", text):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{parts[name]}\n{end}{rest.split(end)[1]}"
    return _FIGURE.sub(lambda m: f"{m.group(1)}{figures[m.group(2)]}{m.group(4)}", text)


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


def measure_network(path: Path) -> dict[str, Any]:
    """All of a network's figures."""
    portable = compile_model(path)
    whole = lower(load(path))
    ram = ram_bytes(portable.qgraph, portable.plan) + SCRATCH
    return {
        "macs": macs(whole),
        "layer_by_layer": layer_by_layer(whole),
        "portable": asdict(measure(path, PORTABLE_BOARD)),
        "dsp": asdict(measure(path, BOARD, ram)),
    }


def measure_zoo(width: float, size: int) -> dict[str, int]:
    """Figures of a network that is planned only."""
    graph = lower(zoo.shapes("mobilenet_v2", width=width, size=size))
    planned = plan(graph)
    return {"arena": planned.arena_total, "ram": ram_bytes(graph, planned)}


def measure_front(path: Path) -> list[dict[str, Any]]:
    """The front of memory plans, without neighbours that differ little."""
    found = front(arrangements(without_dead_channels(lower(load(path)))), PlanOptions())
    rows = []
    least = found.choices[0].ram_bytes
    for number, c in enumerate(found.choices):
        if number and number != found.chosen and c.ram_bytes > least * FRONT_STEP:
            continue
        least = c.ram_bytes
        rows.append(
            {
                "ram": c.ram_bytes,
                "arena": c.plan.arena_total,
                "mac_factor": round(c.plan.mac_factor, 4),
                "instructions": round(c.instructions),
                "chosen": number == found.chosen,
            }
        )
    return rows


def store(options: Sequence[str]) -> None:
    """Measure what the options ask for."""
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    if "--figures" in options:
        files = [DIGITS_INT8, *(SHARED / "models" / f"{name}.tflite" for name in INT8_NETWORKS)]
        stored["networks"] = {path.stem: measure_network(path) for path in files}
        stored["zoo"] = {f"mobilenet_v2 {w} {s}": measure_zoo(w, s) for w, s in ZOO}
    stored["front"] = measure_front(SHARED / "models" / f"{LARGEST}.tflite")
    STORED.write_text(json.dumps(stored, indent=2) + "\n")


if __name__ == "__main__":
    if {"--figures", "--front"} & set(sys.argv):
        store(sys.argv)
    known, figures = parts(), figures_by_key()
    for path in all_pages():
        text = path.read_text(encoding="utf-8")
        if (new := anew(text, known, figures)) != text:
            path.write_text(new, encoding="utf-8")
