# SPDX-License-Identifier: Apache-2.0
"""Plan: where every row of every tensor stands in the arena, and how operators are fused."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.native import Layout
from narrows.stages.stage import Stage

PORTABLE = "c"
"""The implementation of the kernels that every core runs."""


@dataclass(frozen=True)
class Ring:
    """``capacity`` pixels of a tensor at ``offset`` (16-byte aligned) of the arena; pixel p, in
    the order of rows, stands at ``offset + (p % capacity) * channels``."""

    tensor: int
    capacity: int
    offset: int


@dataclass(frozen=True)
class Plan:
    """Offsets have the number of the arena's memory in bits 28 and 29.

    variables: where each stands, in the order of the graph's.
    arena_bytes: rings, variables, state and scratch in each of the four memories, exact.
    macs: multiply-accumulates of one inference, repeats included; macs_once: without.
    max_step_macs: the most that one firing computes.
    streamed_outputs: indices of outputs handed out by rows instead of held whole.
    input_strips: pixels of a row that each input takes at a time; (): all take whole rows.
    kernels: the implementation whose costs it was made with, which runs anywhere.
    """

    stages: tuple[Stage, ...]
    rings: tuple[Ring, ...]
    arena_bytes: tuple[int, int, int, int]
    macs: int
    macs_once: int
    max_step_macs: int
    streamed_outputs: tuple[int, ...] = ()
    input_strips: tuple[int, ...] = ()
    input_passes: int = 1
    layout: Layout = Layout.PLAIN
    kernels: str = PORTABLE
    variables: tuple[int, ...] = ()

    @property
    def arena_total(self) -> int:
        """Bytes of all memories."""
        return sum(self.arena_bytes)

    @property
    def mac_factor(self) -> float:
        """Arithmetic relative to computing every element once."""
        return self.macs / self.macs_once if self.macs_once else 1.0
