# SPDX-License-Identifier: Apache-2.0
"""Plan: where every row of every tensor stands in the arena, and how operators are fused."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.native import Form, Layout


@dataclass(frozen=True)
class Ring:
    """``capacity`` pixels of a tensor at ``offset`` (16-byte aligned) of the arena; pixel p, in
    the order of rows, stands at ``offset + (p % capacity) * channels``."""

    tensor: int
    capacity: int
    offset: int


@dataclass(frozen=True)
class Region:
    """Bytes of the arena that belong to a stage."""

    offset: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Stage:
    """One or several operators of the QGraph that fire together.

    ops: indices into ``QGraph.ops``. One index is that operator; several are a bottleneck:
        an optional 1x1 convolution (expansion), a depthwise convolution, an optional 1x1
        convolution (projection) and an optional ADD of the stage's input, in this order.
    strip: columns per firing: of the output, or of the input if the form is ACCUMULATING.
    form: how it goes through its work (runtime/SPEC.md, Forms). SINGLE: a strip of the output
        from the windows over its inputs. ACCUMULATING: it adds its input up strip by strip.
        FOLDED: a depthwise that takes its input row by row and keeps one row, or what two add up
        to. TILED: a bottleneck that expands anew for every tile, by channel slices. ROLLING: a
        bottleneck that expands columns from left to right, each once for an output row.
    slice: (TILED) channels expanded, filtered and projected at a time; (ROLLING) all.
    row_tile: (TILED) output rows per firing; 1 for everything else.
    col_tile: (TILED, ROLLING) output columns computed at a time.
    kept_rows: (ROLLING) expanded rows in line buffers for the next output row; with
        ``kernel_h - stride_h`` of them nothing is computed twice.
    state: bytes that live from one firing to the next.
    scratch: bytes used during one firing.
    """

    ops: tuple[int, ...]
    strip: int
    form: Form = Form.SINGLE
    slice: int = 0
    row_tile: int = 1
    col_tile: int = 0
    kept_rows: int = 0
    state: Region = Region()
    scratch: Region = Region()


@dataclass(frozen=True)
class Plan:
    """Offsets have the number of the arena's region in bits 28 and 29.

    arena_bytes: rings, state and scratch in each of the four regions, exact.
    macs: multiply-accumulates of one inference, repeats included; macs_once: without.
    max_step_macs: the most that one firing computes.
    streamed_outputs: indices of outputs handed out by rows instead of held whole.
    input_runs: pixels of a row that each input takes at a time; (): all take whole rows.
    """

    stages: tuple[Stage, ...]
    rings: tuple[Ring, ...]
    arena_bytes: tuple[int, int, int, int]
    macs: int
    macs_once: int
    max_step_macs: int
    streamed_outputs: tuple[int, ...] = ()
    input_runs: tuple[int, ...] = ()
    input_passes: int = 1
    layout: Layout = Layout.PLAIN

    @property
    def arena_total(self) -> int:
        """Bytes of all regions."""
        return sum(self.arena_bytes)

    @property
    def mac_factor(self) -> float:
        """Arithmetic relative to computing every element once."""
        return self.macs / self.macs_once if self.macs_once else 1.0
