# SPDX-License-Identifier: Apache-2.0
"""How many cycles an instruction of a network takes on a Cortex-M4, as the estimate of ``narrows
bench`` has it: what turns the planner's instructions into milliseconds.

    python tests/bench/cycles_per_instruction.py [--write]

Each shared network is compiled for the board with its default plan and run once in QEMU. --write:
store the median of the networks in ``pyfront/narrows/planning/costs/cycles.json``, for the layout
and the implementation of the board's kernels.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys

import numpy as np
from cost_model import NETWORKS, SHARED

from narrows.bench import bench_board
from narrows.blob import parse_blob
from narrows.boards import Board, load_board
from narrows.budget import plan_options
from narrows.compiler import CompileOptions, compile_model
from narrows.native import Layout
from narrows.planning.rates import CYCLES, table_name


def measure(name: str, board: Board) -> float:
    """Cycles per instruction of one network."""
    compiled = compile_model(SHARED / f"{name}.tflite", CompileOptions(plan_options(None, board)))
    blob = parse_blob(compiled.blob)
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-128, 128, i.shape).astype(np.int8) for i in blob.model.inputs]
    found = bench_board(blob, f"qemu:{board.name}", inputs)
    assert found.cycles is not None
    return found.cycles / found.instructions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--board", default="mps2-an386", help="with a Cortex-M4")
    parser.add_argument("--write", action="store_true", help="store the figure")
    arguments = parser.parse_args()
    board, found = load_board(arguments.board), {}
    for name in NETWORKS:
        found[name] = round(measure(name, board), 3)
        print(f"{name}: {found[name]}", flush=True)
    entry = {"cycles_per_instruction": statistics.median(found.values()), "networks": found}
    print(json.dumps(entry, indent=2))
    if arguments.write:
        stored = json.loads(CYCLES.read_text(encoding="utf-8")) if CYCLES.exists() else {}
        kernels = board.core
        stored[table_name(Layout[kernels.layout.upper()], kernels.kernels)] = entry
        CYCLES.write_text(json.dumps(dict(sorted(stored.items())), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
