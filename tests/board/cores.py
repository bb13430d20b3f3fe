# SPDX-License-Identifier: Apache-2.0
"""Instructions of one inference by network, core, kernels and weight layout, in QEMU.

``cores.py`` measures and prints; ``--update`` stores the figures in ``budget/cores.json``, which
tests compare with. Those of the largest network take minutes and are measured with ``--slow``
alone; without it the stored ones stay.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import lru_cache

import numpy as np
from figures import ROOT, shared

from narrows.blob import Blob, parse_blob
from narrows.boards import Board, load_board
from narrows.compiler import CompileOptions, compile_model
from narrows.link import open_target
from narrows.models import DIGITS_INT8
from narrows.native import Layout, Run
from narrows.planning import PlanOptions
from narrows.planning.plan import PORTABLE
from narrows.planning.ram import ram_bytes

STORED = ROOT / "tests" / "budget" / "cores.json"
BOARDS = (
    "microbit",
    "mps2-an385",
    "mps2-an386",
    str(ROOT / "tests" / "board" / "portable.toml"),
    str(ROOT / "tests" / "board" / "blocked.toml"),
    "mps3-an547",
)
"""One for each core, and for each implementation of its kernels and layout that it may have. The
Cortex-M0+, emulated by rp2040js, is slow; what the digits and Visual Wake Words take on it is in
``budget/boards.json``."""

ARENAS = {
    "digits": 3072,
    "mlperf_ad01_int8": 768,
    "mlperf_kws_int8": 3952,
    "mlperf_resnet_int8": 9024,
    "mlperf_vww_96_int8": 9584,
    "tinyengine_vww": 11520,
    "mobilenet_v2_1.0_224_ptq": 73264,
}
"""Bytes of the default plans when faster kernels came, which may use SCRATCH more."""

SCRATCH = 512
NETWORKS = {
    "digits": DIGITS_INT8,
    "mlperf_ad01_int8": shared("mlperf_ad01_int8"),
    "mlperf_kws_int8": shared("mlperf_kws_int8"),
    "mlperf_resnet_int8": shared("mlperf_resnet_int8"),
    "mlperf_vww_96_int8": shared("mlperf_vww_96_int8"),
    "tinyengine_vww": shared("tinyengine_vww"),
    "mobilenet_v2_1.0_224_ptq": shared("mobilenet_v2_1.0_224_ptq"),
}
_ROOMY = CompileOptions(PlanOptions(1 << 20))
SLOW = ("mobilenet_v2_1.0_224_ptq",)


@lru_cache
def compiled(network: str, layout: Layout, kernels: str) -> Blob:
    """With the default plan for portable kernels; others may take ARENAS and SCRATCH bytes."""
    ram = None
    if kernels != PORTABLE:
        # An arrangement that takes its input in parts needs less beside the arena.
        plans = (compile_model(NETWORKS[network]), compile_model(NETWORKS[network], _ROOMY))
        beside = max(ram_bytes(made.qgraph, made.plan) - made.plan.arena_total for made in plans)
        ram = beside + ARENAS[network] + SCRATCH
    options = CompileOptions(PlanOptions(ram, layout=layout, kernels=kernels))
    return parse_blob(compile_model(NETWORKS[network], options).blob)


def blob_for(network: str, board: Board) -> Blob | None:
    """None if the board has no room for it."""
    blob = compiled(network, Layout[board.core.layout.upper()], board.core.kernels)
    fits = len(blob.data) <= board.models.room
    return blob if fits and blob.model.memory_bytes <= board.memories[0] else None


def label(name: str) -> str:
    """A board's core, kernels and layout, by which figures are stored."""
    core = load_board(name).core
    return f"{core.cpu} {core.kernels} {core.layout}"


def measure(network: str, name: str) -> int | None:
    """Instructions of one inference with the host's outputs; None: the board has no room for it."""
    board = load_board(name)
    blob = blob_for(network, board)
    if blob is None:
        return None
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-128, 128, i.shape).astype(np.int8) for i in blob.model.inputs]
    with open_target(f"qemu:{name}", blob.data) as target:
        result = target.infer(inputs)
    for found, expected in zip(result.outputs, Run(blob.model).infer(inputs), strict=True):
        np.testing.assert_array_equal(found, expected)
    return result.instructions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--slow", action="store_true", help="the largest network too")
    parser.add_argument("--update", action="store_true", help="store the figures")
    arguments = parser.parse_args()
    figures = json.loads(STORED.read_text()) if STORED.exists() else {}
    for network in NETWORKS:
        if network not in SLOW or arguments.slow:
            found = {label(board): measure(network, board) for board in BOARDS}
            figures[network] = {core: count for core, count in found.items() if count is not None}
            print(network, json.dumps(figures[network]), flush=True)
    if arguments.update:
        STORED.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
