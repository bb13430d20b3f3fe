# SPDX-License-Identifier: Apache-2.0
"""How fast a network runs: here beside other runtimes, and on a board in QEMU in instructions and
estimated cycles."""

from __future__ import annotations

from narrows.bench.board import BoardBench, StageBench, bench_board, board_of, can_estimate
from narrows.bench.host import HostBench, Runtime, bench_host

__all__ = [
    "BoardBench",
    "HostBench",
    "Runtime",
    "StageBench",
    "bench_board",
    "bench_host",
    "board_of",
    "can_estimate",
]
