# SPDX-License-Identifier: Apache-2.0
"""What each firing of a stage needs, gives and costs (runtime/SPEC.md, "Firing")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from narrows.errors import PlanError
from narrows.graph.qgraph import (
    Axis,
    QConcat,
    QConv,
    QDepthwise,
    QElementwise,
    QGraph,
    QLookup,
    QMean,
    QOp,
    QPad,
    QPool,
    QReshape,
    QResize,
    QSlice,
    QSoftmax,
    Window,
)
from narrows.plan.fusion import Bottleneck, bottleneck
from narrows.plan.plan import Stage

Rows = tuple[list[int], list[int]]
"""lo and hi of one input, per firing."""


@dataclass(frozen=True, eq=False)
class Firings:
    """One stage, firing by firing.

    inputs: tensors of the graph that live in the arena (constants are always there).
    output: the tensor written; -1 for an OUTPUT stage.
    lo, hi: per input, the rows needed by each firing.
    gives: rows of the output that are there after each firing.
    macs: multiply-accumulates of each firing; macs_once: of all, without repeats.
    """

    inputs: tuple[int, ...]
    output: int
    lo: tuple[list[int], ...]
    hi: tuple[list[int], ...]
    gives: list[int]
    macs: list[int]
    macs_once: int

    @property
    def count(self) -> int:
        return len(self.gives)

    @cached_property
    def birth(self) -> list[int]:
        """Per row of the output, the firing that writes it."""
        births: list[int] = []
        for firing, rows in enumerate(self.gives):
            births.extend([firing] * (rows - len(births)))
        return births

    @cached_property
    def birth_array(self) -> npt.NDArray[np.int64]:
        return np.array(self.birth, np.int64)

    @cached_property
    def lo_array(self) -> tuple[npt.NDArray[np.int64], ...]:
        return tuple(np.array(rows, np.int64) for rows in self.lo)

    @cached_property
    def hi_array(self) -> tuple[npt.NDArray[np.int64], ...]:
        return tuple(np.array(rows, np.int64) for rows in self.hi)

    @cached_property
    def last_use(self) -> tuple[list[int], ...]:
        """Per input and row (of those below the last hi), the last firing that has lo <= row."""
        uses = []
        for lo, hi in zip(self.lo, self.hi, strict=True):
            last: list[int] = []
            for firing in range(self.count - 1):
                last.extend([firing] * (lo[firing + 1] - len(last)))
            last.extend([self.count - 1] * (hi[-1] - len(last)))
            uses.append(last)
        return tuple(uses)


def clip(row: int, height: int) -> int:
    return min(max(row, 0), height)


def input_firings(graph: QGraph, tensor: int) -> Firings:
    """INPUT: one row per firing."""
    height = graph.tensors[tensor].height
    return Firings((), tensor, (), (), list(range(1, height + 1)), [0] * height, 0)


def output_firings(graph: QGraph, tensor: int) -> Firings:
    """OUTPUT: one row per firing."""
    height = graph.tensors[tensor].height
    lo, hi = list(range(height)), list(range(1, height + 1))
    return Firings((tensor,), -1, (lo,), (hi,), [0] * height, [0] * height, 0)


def stage_firings(graph: QGraph, stage: Stage, accumulate: bool = True) -> Firings:
    """The firings of a stage of the plan.

    accumulate: whether an average pool adds up row by row (it must be able to).
    """
    if len(stage.ops) > 1:
        parts = bottleneck(graph, stage.ops)
        rows = _rolling_rows if stage.rolling else _tiled_rows
        return rows(graph, stage, parts)
    op = graph.ops[stage.ops[0]]
    height = graph.tensors[op.output].height
    arena_inputs = tuple(i for i in op.inputs if graph.tensors[i].data is None)
    if (isinstance(op, QMean) and op.over_height) or (isinstance(op, QPool) and accumulate):
        rows_in = graph.tensors[op.inputs[0]].height
        lo, hi = list(range(rows_in)), list(range(1, rows_in + 1))
        gives = [0] * (rows_in - 1) + [1]
        return Firings(arena_inputs, op.output, (lo,), (hi,), gives, [0] * rows_in, 0)
    if stage.row_tile != 1:
        raise PlanError(f"operator {stage.ops[0]} ({op.kind}): row_tile must be 1")
    needs = [rows for i, rows in enumerate(_needs(graph, op)) if op.inputs[i] in arena_inputs]
    macs = _row_macs(graph, op)
    return Firings(
        arena_inputs,
        op.output,
        tuple(lo for lo, _ in needs),
        tuple(hi for _, hi in needs),
        list(range(1, height + 1)),
        [macs] * height,
        macs * height,
    )


def window_rows(window: Window, height_in: int, rows: range) -> Rows:
    """lo and hi of a window for each output row."""
    tops = [row * window.stride - window.pad for row in rows]
    lo = [clip(top, height_in) for top in tops]
    return lo, [clip(top + window.extent, height_in) for top in tops]


def _row_macs(graph: QGraph, op: QOp) -> int:
    if isinstance(op, QConv):
        return graph.tensors[op.output].width * int(op.weights.size)
    if isinstance(op, QDepthwise):
        return graph.tensors[op.output].width * int(op.weights.size)
    return 0


def _needs(graph: QGraph, op: QOp) -> Iterator[Rows]:
    """lo and hi of each input of an ordinary operator, per output row."""
    out = graph.tensors[op.output]
    rows = range(out.height)
    before = 0
    for tensor in op.inputs:
        source = graph.tensors[tensor]
        match op:
            case QConv() | QDepthwise():
                kernel_h = op.weights.shape[1 if isinstance(op, QConv) else 0]
                extent = (kernel_h - 1) * op.dilation[0] + 1
                window = Window(op.stride[0], op.pad[0], extent)
            case QPool():
                window = Window(op.stride[0], op.pad[0], op.kernel[0])
            case QElementwise():
                window = Window(0 if source.height == 1 else 1, 0, 1)
            case QConcat() if op.axis == Axis.HEIGHT:
                window = Window(1, before, 1)
                before += source.height
            case QSlice():
                window = Window(op.stride[0], -op.begin[0], 1)
            case QPad():
                window = Window(1, op.before[0], 1)
            case QMean() | QSoftmax() | QLookup() | QConcat():
                window = Window(1, 0, 1)
            case QResize():
                low = [int(v) for v in op.rows[:, 0]]
                high = [int(v) + 1 + bool(f) for v, f in op.rows]
                yield low, high
                continue
            case QReshape():
                ends = [row * out.row_bytes for row in range(out.height + 1)]
                yield (
                    [end // source.row_bytes for end in ends[:-1]],
                    [-(-end // source.row_bytes) for end in ends[1:]],
                )
                continue
        yield window_rows(window, source.height, rows)


def _tiled_rows(graph: QGraph, stage: Stage, parts: Bottleneck) -> Firings:
    """Tiled bottleneck: the halo of each tile is expanded anew."""
    source, out = graph.tensors[parts.input], graph.tensors[parts.output]
    op = parts.depthwise
    kernel_h, kernel_w, mid = op.weights.shape
    down = Window(op.stride[0], op.pad[0], kernel_h)
    across = Window(op.stride[1], op.pad[1], kernel_w)
    lo, hi = window_rows(down, source.height, range(out.height))
    left, right = window_rows(across, source.width, range(out.width))
    firsts = range(0, out.height, stage.row_tile)
    ends = [min(first + stage.row_tile, out.height) for first in firsts]
    tiles = range(0, out.width, stage.col_tile)
    columns = sum(right[min(x + stage.col_tile, out.width) - 1] - left[x] for x in tiles)
    columns_once = len({x for a, b in zip(left, right, strict=True) for x in range(a, b)})
    rows_once = len({y for a, b in zip(lo, hi, strict=True) for y in range(a, b)})
    expansion = mid * source.channels if parts.expand else 0
    per_row = _filter_macs(graph, parts)
    needs_lo = [lo[first] for first in firsts]
    needs_hi = [hi[end - 1] for end in ends]
    macs = [
        (b - a) * columns * expansion + (end - first) * per_row
        for a, b, first, end in zip(needs_lo, needs_hi, firsts, ends, strict=True)
    ]
    once = rows_once * columns_once * expansion + out.height * per_row
    if parts.add:
        needs_lo = [min(a, first) for a, first in zip(needs_lo, firsts, strict=True)]
    return Firings((parts.input,), parts.output, (needs_lo,), (needs_hi,), ends, macs, once)


def _rolling_rows(graph: QGraph, stage: Stage, parts: Bottleneck) -> Firings:
    """Rolling bottleneck: every row is expanded once; the first rows are only absorbed."""
    source, out = graph.tensors[parts.input], graph.tensors[parts.output]
    op = parts.depthwise
    kernel_h, _, mid = op.weights.shape
    stride, pad, height = op.stride[0], op.pad[0], source.height
    kept = kernel_h - stride
    if kept < 0 or parts.expand is None or stage.row_tile != 1:
        raise PlanError(f"operators {stage.ops}: rolling needs an expansion and kernel >= stride")
    absorbed = min(height, max(0, kept - pad))
    rows = range(out.height)
    hi = [clip(y * stride - pad + kernel_h, height) for y in rows]
    lo = [
        min(h, max(absorbed, clip(y * stride - pad + kept, height)))
        for y, h in zip(rows, hi, strict=True)
    ]
    absorbing = list(range(absorbed))
    if parts.add:
        lo = [min(a, y) for y, a in zip(rows, lo, strict=True)]
        absorbing = [0] * absorbed
    hi = list(range(1, absorbed + 1)) + hi
    right = clip((out.width - 1) * op.stride[1] - op.pad[1] + op.weights.shape[1], source.width)
    row_macs = right * mid * source.channels
    expanded = [0, *hi]
    macs = [max(0, b - a) * row_macs for a, b in zip(expanded, hi, strict=False)]
    per_row = _filter_macs(graph, parts)
    macs = macs[:absorbed] + [m + per_row for m in macs[absorbed:]]
    gives = [0] * absorbed + list(range(1, out.height + 1))
    return Firings((parts.input,), parts.output, (absorbing + lo,), (hi,), gives, macs, sum(macs))


def _filter_macs(graph: QGraph, parts: Bottleneck) -> int:
    """Depthwise and projection of one output row."""
    macs = _row_macs(graph, parts.depthwise)
    return macs + (_row_macs(graph, parts.project) if parts.project else 0)
