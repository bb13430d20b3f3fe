# SPDX-License-Identifier: Apache-2.0
"""What each firing of a stage needs, gives and costs (runtime/SPEC.md, "Firing")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

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
    QTensor,
    Window,
)
from narrows.native import Form
from narrows.plan.fusion import Bottleneck, bottleneck
from narrows.plan.plan import Stage
from narrows.plan.sizes import bottleneck_columns, can_accumulate, tall

Pixels: TypeAlias = npt.NDArray[np.int32]
"""A number of pixels per firing."""

Positions: TypeAlias = npt.NDArray[np.int64]
"""Rows or columns."""


@dataclass(frozen=True, eq=False)
class Firings:
    """One stage, firing by firing. Pixels are numbered row by row.

    inputs: tensors of the graph that live in the arena (constants are always there).
    output: the tensor written; -1 for an OUTPUT stage.
    lo, hi: per input, the pixels [lo, hi) that each firing needs.
    given: pixels of the output that are there after each firing.
    macs: multiply-accumulates of each firing; macs_once: of all, without repeats.
    segments: per input, the most pixels of a row that are read side by side; 0 where whole
        rows must lie side by side.
    """

    inputs: tuple[int, ...]
    output: int
    lo: tuple[Pixels, ...]
    hi: tuple[Pixels, ...]
    given: Pixels
    macs: npt.NDArray[np.int64]
    macs_once: int
    segments: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        return len(self.given)

    @property
    def gives_most(self) -> int:
        """Pixels that one firing gives at most."""
        return int(np.diff(self.given, prepend=0).max(initial=0))

    @property
    def is_exact(self) -> bool:
        """Whether nothing is computed twice."""
        return int(self.macs.sum()) == self.macs_once

    def births(self, pixels: Positions) -> Positions:
        """The firings that give these pixels of the output."""
        return np.searchsorted(self.given, pixels, "right")

    def last_uses(self, which: int, pixels: Positions) -> Positions:
        """Per pixel of an input, the last firing before it is dead."""
        return np.searchsorted(self.lo[which], pixels, "right") - 1


def frame(graph: QGraph, ops: tuple[int, ...], form: Form) -> QTensor:
    """The tensor that the firings of a stage go through row by row."""
    if form is Form.ACCUMULATING:
        return graph.tensors[graph.ops[ops[0]].inputs[0]]
    return graph.tensors[graph.ops[ops[-1]].output]


def forms_of(graph: QGraph, op: QOp) -> tuple[Form, ...]:
    """The forms that an operator by itself may have."""
    match op:
        case QMean() if op.over_height:
            return (Form.ACCUMULATING,)
        case QPool() if can_accumulate(graph, op):
            return (Form.ACCUMULATING,) if tall(op) else (Form.ACCUMULATING, Form.SINGLE)
        case QDepthwise() if can_fold(op):
            return Form.SINGLE, Form.FOLDED
    return (Form.SINGLE,)


def least_strip(graph: QGraph, op: QOp, form: Form) -> int:
    """1 for an operator of pixels, else the width."""
    source = graph.tensors[op.inputs[0]]
    if form is Form.ACCUMULATING:
        whole = isinstance(op, QMean) and op.over_width
        if isinstance(op, QPool):
            covered = op.pad[1] == 0 and op.kernel[1] >= source.width
            whole = covered and graph.tensors[op.output].width == 1
        return 1 if whole else source.width
    if isinstance(op, (QPad, QResize, QReshape, QMean)) or (
        isinstance(op, QConcat) and op.axis == Axis.WIDTH
    ):
        return graph.tensors[op.output].width
    return 1


def input_runs(graph: QGraph, runs: Sequence[int]) -> tuple[int, ...]:
    """Pixels per firing of each input. runs: as in ``Plan.input_runs``."""
    return tuple(runs) or tuple(graph.tensors[edge.tensor].width for edge in graph.inputs)


def input_firings(graph: QGraph, tensor: int, run: int) -> Firings:
    """INPUT: ``run`` pixels of a row per firing."""
    info = graph.tensors[tensor]
    given = _pixels(np.arange(run, info.height * info.width + 1, run))
    return Firings((), tensor, (), (), given, np.zeros(len(given), np.int64), 0)


def output_firings(graph: QGraph, tensor: int) -> Firings:
    """OUTPUT: one row per firing."""
    info = graph.tensors[tensor]
    rows = np.arange(info.height)
    lo, hi = _pixels(rows * info.width), _pixels((rows + 1) * info.width)
    zero = np.zeros(info.height, np.int64)
    return Firings((tensor,), -1, (lo,), (hi,), _pixels(zero), zero, 0, (0,))


def stage_firings(graph: QGraph, stage: Stage) -> Firings:
    """The firings of a stage of the plan."""
    if stage.form in (Form.TILED, Form.ROLLING):
        parts = bottleneck(graph, stage.ops)
        return (_rolling if stage.form is Form.ROLLING else _tiled)(graph, stage, parts)
    (index,) = stage.ops
    op = graph.ops[index]
    out = graph.tensors[op.output]
    if stage.form not in forms_of(graph, op):
        raise PlanError(f"operator {index} ({op.kind}): it has no form {stage.form.name}")
    if stage.form is Form.ACCUMULATING:
        source = graph.tensors[op.inputs[0]]
        count = source.height * source.width // stage.strip
        lo = _pixels(np.arange(count) * stage.strip)
        given = np.zeros(count, np.int32)
        given[-1] = out.width
        zero = np.zeros(count, np.int64)
        inputs = op.inputs[:1]
        return Firings(
            inputs, op.output, (lo,), (_pixels(lo + stage.strip),), given, zero, 0, (stage.strip,)
        )
    if stage.row_tile != 1:
        raise PlanError(f"operator {stage.ops[0]} ({op.kind}): row_tile must be 1")
    if stage.form is Form.FOLDED:
        assert isinstance(op, QDepthwise)
        return _folding(graph, stage, op)
    arena_inputs = [n for n, i in enumerate(op.inputs) if graph.tensors[i].data is None]
    y, x = _positions(out.height, out.width, stage.strip)
    needs = [_needs(graph, op, which, y, x, stage.strip) for which in arena_inputs]
    macs = np.full(len(y), stage.strip * pixel_macs(op), np.int64)
    return Firings(
        tuple(op.inputs[which] for which in arena_inputs),
        op.output,
        tuple(_pixels(lo) for lo, _, _ in needs),
        tuple(_pixels(hi) for _, hi, _ in needs),
        _pixels(y * out.width + x + stage.strip),
        macs,
        int(macs.sum()),
        tuple(segment for _, _, segment in needs),
    )


def can_fold(op: QDepthwise) -> bool:
    """Whether a depthwise convolution may be folded (runtime/SPEC.md, DEPTHWISE)."""
    return (
        op.weights.shape[:2] == (3, 3)
        and op.stride == (2, 2)
        and op.dilation == (1, 1)
        and op.depth_multiplier == 1
        and max(op.pad) < 3
    )


def _folding(graph: QGraph, stage: Stage, op: QDepthwise) -> Firings:
    """Folded depthwise: of the rows of each window it keeps the first, adds the second to it, and
    gives outputs with the third, which is the first of the next window."""
    source, out = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    _, across = _depthwise_windows(op)
    down = Window(1, op.pad[0], 1)
    step, x = _positions(2 * out.height + 1, out.width, stage.strip)
    lo, hi = _window_needs(
        (down, across), source.height, source.width, step, step + 1, x, x + stage.strip
    )
    is_last = (step > 0) & (step % 2 == 0)
    rows_done = np.maximum(step - 1, 0) // 2
    rows_added = np.where(step == 0, 0, np.where(is_last, 1, 2))
    macs = stage.strip * rows_added * (pixel_macs(op) // 3)
    return Firings(
        op.inputs[:1],
        op.output,
        (_pixels(lo),),
        (_pixels(hi),),
        _pixels(rows_done * out.width + np.where(is_last, x + stage.strip, 0)),
        macs,
        int(macs.sum()),
        (min(source.width, (stage.strip - 1) * across.stride + across.extent),),
    )


def pixel_macs(op: QOp) -> int:
    """Multiply-accumulates of one output pixel of an operator."""
    return int(op.weights.size) if isinstance(op, (QConv, QDepthwise)) else 0


def _pixels(values: npt.NDArray[np.integer]) -> Pixels:
    return values.astype(np.int32)


def _positions(height: int, width: int, run: int) -> tuple[Positions, Positions]:
    """Row and first column of each firing."""
    x = np.arange(0, width, run, dtype=np.int64)
    return np.repeat(np.arange(height, dtype=np.int64), len(x)), np.tile(x, height)


def _start(window: Window, first: Positions, size: int) -> Positions:
    return np.clip(first * window.stride - window.pad, 0, size)


def _end(window: Window, end: Positions, size: int) -> Positions:
    return np.clip((end - 1) * window.stride - window.pad + window.extent, 0, size)


def _windows(graph: QGraph, op: QOp, which: int) -> tuple[Window, Window] | None:
    """The windows of rows and columns of an input; None for an operator of rows."""
    source = graph.tensors[op.inputs[which]]
    match op:
        case QConv() | QDepthwise():
            first = 1 if isinstance(op, QConv) else 0
            extents = [
                (k - 1) * d + 1
                for k, d in zip(op.weights.shape[first : first + 2], op.dilation, strict=True)
            ]
            return (
                Window(op.stride[0], op.pad[0], extents[0]),
                Window(op.stride[1], op.pad[1], extents[1]),
            )
        case QPool():
            return (
                Window(op.stride[0], op.pad[0], op.kernel[0]),
                Window(op.stride[1], op.pad[1], op.kernel[1]),
            )
        case QElementwise():
            return Window(int(source.height > 1), 0, 1), Window(int(source.width > 1), 0, 1)
        case QSlice():
            return (
                Window(op.stride[0], -op.begin[0], 1),
                Window(op.stride[1], -op.begin[1], 1),
            )
        case QConcat() if op.axis == Axis.HEIGHT:
            before = sum(graph.tensors[i].height for i in op.inputs[:which])
            return Window(1, before, 1), Window(1, 0, 1)
        case QConcat() if op.axis == Axis.CHANNELS:
            return Window(1, 0, 1), Window(1, 0, 1)
        case QSoftmax() | QLookup():
            return Window(1, 0, 1), Window(1, 0, 1)
    return None


def _needs(
    graph: QGraph, op: QOp, which: int, y: Positions, x: Positions, run: int
) -> tuple[Positions, Positions, int]:
    """lo and hi of each firing, and the segment."""
    source, out = graph.tensors[op.inputs[which]], graph.tensors[op.output]
    windows = _windows(graph, op, which)
    if windows is not None:
        lo, hi = _window_needs(windows, source.height, source.width, y, y + 1, x, x + run)
        across = windows[1]
        return lo, hi, min(source.width, (run - 1) * across.stride + across.extent)
    match op:
        case QPad():
            window = Window(1, op.before[0], 1)
            top, bottom = _start(window, y, source.height), _end(window, y + 1, source.height)
        case QResize():
            top = op.rows[y, 0].astype(np.int64)
            bottom = top + 1 + (op.rows[y, 1] != 0)
        case QReshape():
            top = y * out.row_bytes // source.row_bytes
            bottom = -(-(y + 1) * out.row_bytes // source.row_bytes)
        case _:
            top, bottom = y, y + 1
    return top * source.width, np.maximum(top, bottom) * source.width, 0


def _window_needs(
    windows: tuple[Window, Window],
    height: int,
    width: int,
    y0: Positions,
    y1: Positions,
    x0: Positions,
    x1: Positions,
) -> tuple[Positions, Positions]:
    """What firings need that give rows [y0, y1), columns [x0, x1)."""
    down, across = windows
    top, bottom = _start(down, y0, height), _end(down, y1, height)
    hi = np.where(bottom > top, (bottom - 1) * width + _end(across, x1, width), top * width)
    lo = np.minimum(top * width + _start(across, x0, width), _start(down, y1, height) * width)
    return np.minimum(lo, hi), hi


def _filter_macs(parts: Bottleneck) -> int:
    """Depthwise and projection of one output pixel."""
    return pixel_macs(parts.depthwise) + (pixel_macs(parts.project) if parts.project else 0)


def _depthwise_windows(op: QDepthwise) -> tuple[Window, Window]:
    return (
        Window(op.stride[0], op.pad[0], op.weights.shape[0]),
        Window(op.stride[1], op.pad[1], op.weights.shape[1]),
    )


def _bottleneck_needs(
    graph: QGraph,
    parts: Bottleneck,
    rows: tuple[Positions, Positions],
    columns: tuple[Positions, Positions],
    later: Positions,
) -> tuple[Positions, Positions]:
    """Pixels [lo, hi) of the input that expanding rows and columns [start, end) needs, if rows from
    ``later`` on are expanded afterwards."""
    source = graph.tensors[parts.input]
    (top, bottom), (left, right) = rows, columns
    if parts.expand:
        windows = _windows(graph, parts.expand, 0)
        assert windows is not None
        down, across = windows
        fresh = bottom > top
        top, later = (_start(down, row, source.height) for row in (top, later))
        bottom = np.where(fresh, _end(down, bottom, source.height), 0)
        left, right = _start(across, left, source.width), _end(across, right, source.width)
    hi = np.where(bottom > top, (bottom - 1) * source.width + right, top * source.width)
    lo = np.minimum(top * source.width + left, later * source.width)
    return np.minimum(lo, hi), hi


def _tiled(graph: QGraph, stage: Stage, parts: Bottleneck) -> Firings:
    """Tiled bottleneck: the halo of each tile is expanded anew."""
    grid, out = graph.tensors[parts.grid], graph.tensors[parts.output]
    down, across = _depthwise_windows(parts.depthwise)
    if stage.row_tile != 1 and stage.strip != out.width:
        raise PlanError(f"operators {stage.ops}: tiles of several rows are as wide as the output")
    y0, x0 = _positions(-(-out.height // stage.row_tile), out.width, stage.strip)
    y0 = y0 * stage.row_tile
    y1 = np.minimum(y0 + stage.row_tile, out.height)
    x1 = x0 + stage.strip
    top, bottom = _start(down, y0, grid.height), _end(down, y1, grid.height)
    left, right = _start(across, x0, grid.width), _end(across, x1, grid.width)
    later = _start(down, y1, grid.height)
    lo, hi = _bottleneck_needs(graph, parts, (top, bottom), (left, right), later)
    if parts.add:
        lo = np.minimum(lo, y0 * grid.width + x0)
    expansion = pixel_macs(parts.expand) if parts.expand else 0
    starts = np.arange(0, stage.strip, stage.col_tile)
    tiles = x0[: out.width // stage.strip, None] + starts[None, :]
    ends = np.minimum(tiles + stage.col_tile, tiles[:, :1] + stage.strip)
    columns = (_end(across, ends, grid.width) - _start(across, tiles, grid.width)).sum(axis=1)
    macs = (bottom - top) * np.tile(columns, len(y0) // len(columns)) * expansion
    macs += (y1 - y0) * stage.strip * _filter_macs(parts)
    seen = _seen(down, out.height, grid.height) * _seen(across, out.width, grid.width)
    once = seen * expansion + out.height * out.width * _filter_macs(parts)
    return Firings(
        (parts.input,),
        parts.output,
        (_pixels(lo),),
        (_pixels(hi),),
        _pixels((y1 - 1) * out.width + x1),
        macs,
        once,
        (bottleneck_columns(graph, stage),),
    )


def _seen(window: Window, outputs: int, size: int) -> int:
    """Input positions along an axis that any window touches."""
    at = np.arange(outputs, dtype=np.int64)
    change = np.zeros(size + 1, np.int64)
    np.add.at(change, _start(window, at, size), 1)
    np.add.at(change, _end(window, at + 1, size), -1)
    return int((np.cumsum(change)[:size] > 0).sum())


def _rolling(graph: QGraph, stage: Stage, parts: Bottleneck) -> Firings:
    """Rolling bottleneck: some rows are kept for the next output row, the first of them only
    absorbed."""
    grid, out = graph.tensors[parts.grid], graph.tensors[parts.output]
    down, across = _depthwise_windows(parts.depthwise)
    kept, width, height = stage.kept_rows, grid.width, grid.height
    if parts.expand is None or stage.row_tile != 1 or kept > down.extent - down.stride:
        raise PlanError(f"operators {stage.ops}: rolling needs an expansion and kernel >= stride")
    absorbed = min(height, max(0, kept - down.pad))

    def reached(x: Positions) -> Positions:
        """Expanded columns that the windows of output columns below x reach."""
        return np.where(x == 0, 0, _end(across, x, width))

    def first_expanded(y: Positions) -> Positions:
        """The first row of an output row's windows that is not kept."""
        return np.maximum(absorbed, np.clip(y * down.stride - down.pad + kept, 0, height))

    a, ax = _positions(absorbed, out.width, stage.strip)
    y, x = _positions(out.height, out.width, stage.strip)
    bottom = _end(down, y + 1, height)
    top = np.minimum(bottom, first_expanded(y))
    first, last = reached(x), reached(x + stage.strip)
    lo, hi = _bottleneck_needs(graph, parts, (top, bottom), (first, last), first_expanded(y + 1))
    absorbing, absorbed_to = _bottleneck_needs(
        graph, parts, (a, a + 1), (reached(ax), reached(ax + stage.strip)), a + 1
    )
    if parts.add:
        lo = np.minimum(lo, y * width + x)
        absorbing = np.zeros_like(absorbing)
    expansion = pixel_macs(parts.expand)
    macs = (bottom - top) * (last - first) * expansion + stage.strip * _filter_macs(parts)
    absorb_macs = (reached(ax + stage.strip) - reached(ax)) * expansion
    macs = np.concatenate([absorb_macs, macs])
    rows = _end(down, np.array(out.height), height)
    seen = rows * reached(np.array(out.width)) * expansion
    return Firings(
        (parts.input,),
        parts.output,
        (_pixels(np.concatenate([absorbing, lo])),),
        (_pixels(np.concatenate([absorbed_to, hi])),),
        _pixels(np.concatenate([np.zeros_like(a), y * out.width + x + stage.strip])),
        macs,
        int(seen) + out.height * out.width * _filter_macs(parts),
        (bottleneck_columns(graph, stage),),
    )
