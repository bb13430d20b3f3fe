# SPDX-License-Identifier: Apache-2.0
"""Bytes that a stage needs beside its rings, as the C code says."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from narrows import native
from narrows.graph.qgraph import QConv, QDepthwise, QGraph, QPool, QSlice
from narrows.native import Form, Layout
from narrows.plan.fusion import bottleneck
from narrows.plan.place import round_up
from narrows.plan.plan import Stage

MAX_KERNEL_ROWS = 64
"""Rows of a kernel that the runtime takes at once."""


def stage_bytes(
    graph: QGraph,
    stage: Stage,
    layout: Layout = Layout.PLAIN,
    torn: Collection[int] = (),
) -> tuple[int, int]:
    """(state, scratch) bytes of a stage; its own regions are not looked at.

    torn: which of the stage's inputs have torn rings.
    """
    state, scratch = _own_bytes(graph, stage, layout)
    for which in torn:
        pixels, channels = _segment(graph, stage, which)
        scratch += native.wrapped_row_bytes(pixels, channels)
    return state, scratch


def _own_bytes(graph: QGraph, stage: Stage, layout: Layout) -> tuple[int, int]:
    if stage.form in (Form.TILED, Form.ROLLING):
        return _bottleneck_bytes(graph, stage, layout)
    op = graph.ops[stage.ops[0]]
    out = graph.tensors[op.output]
    if isinstance(op, QConv):
        channels, kernel_h, kernel_w, in_channels = op.weights.shape
        return 0, native.conv_scratch_bytes(layout, kernel_h, kernel_w, in_channels, channels)
    if isinstance(op, QDepthwise):
        kernel_h, kernel_w, channels = op.weights.shape
        if stage.form is Form.FOLDED:
            in_width = graph.tensors[op.inputs[0]].width
            state = native.folded_depthwise_state_bytes(in_width, out.width, op.pad[1], channels)
            return state, 0
        return 0, native.depthwise_scratch_bytes(layout, kernel_h, kernel_w, channels)
    if stage.form is Form.ACCUMULATING:
        return native.accumulate_state_bytes(out.width, out.channels), 0
    return 0, 0


def _segment(graph: QGraph, stage: Stage, which: int) -> tuple[int, int]:
    """Pixels that a stage reads side by side, and their channels."""
    op = graph.ops[stage.ops[0]]
    source = graph.tensors[op.inputs[which]]
    if stage.form in (Form.TILED, Form.ROLLING):
        return bottleneck_columns(graph, stage), source.channels
    if stage.form is Form.ACCUMULATING:
        return stage.strip, source.channels
    stride, extent = 1, 1
    if isinstance(op, QConv):
        stride, extent = op.stride[1], (op.weights.shape[2] - 1) * op.dilation[1] + 1
    elif isinstance(op, QDepthwise):
        stride, extent = op.stride[1], (op.weights.shape[1] - 1) * op.dilation[1] + 1
    elif isinstance(op, QPool):
        stride, extent = op.stride[1], op.kernel[1]
    elif isinstance(op, QSlice):
        stride = op.stride[1]
    return min(source.width, (stage.strip - 1) * stride + extent), source.channels


def can_accumulate(graph: QGraph, op: QPool) -> bool:
    """Whether op is an average whose only output row covers all input rows."""
    source, out = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    covered = op.kernel[0] - op.pad[0] >= source.height
    return op.function == "average" and out.height == 1 and covered


def tall(op: QPool) -> bool:
    """Whether the kernel has more rows than the runtime takes at once."""
    return op.kernel[0] > MAX_KERNEL_ROWS


def bottleneck_columns(graph: QGraph, stage: Stage) -> int:
    """Columns of its input that a bottleneck reads at a time."""
    return native.bottleneck_columns(**_shape(graph, stage))


class Columns(NamedTuple):
    """The expanded columns in the state of a rolling bottleneck that gives less than a row at a
    time: of each of ``rows`` rows of ``pitch`` bytes, the first of them at ``offset``, the first
    ``carried`` bytes live from a row's first firing to its last, the others during firings only.
    """

    offset: int
    rows: int
    pitch: int
    carried: int

    @property
    def idle_bytes(self) -> int:
        """What does not live between firings."""
        return self.rows * (self.pitch - self.carried)


def expanded_columns(graph: QGraph, stage: Stage) -> Columns | None:
    """Of a sized stage; None if there are none in its state."""
    if stage.form is not Form.ROLLING:
        return None
    parts = bottleneck(graph, stage.ops)
    grid, out = graph.tensors[parts.grid], graph.tensors[parts.output]
    if stage.strip == out.width:
        return None
    kernel_h, kernel_w, mid = parts.depthwise.weights.shape
    stride = parts.depthwise.stride[1]
    rows = min(grid.height, kernel_h - stage.kept_rows)
    held = (stage.col_tile - 1) * stride + max(kernel_w, stride)
    carried = max(0, kernel_w - stride)
    kept = round_up(stage.kept_rows * grid.width * mid)
    return Columns(kept, rows, min(grid.width, held) * mid, min(grid.width, carried) * mid)


def _bottleneck_bytes(graph: QGraph, stage: Stage, layout: Layout) -> tuple[int, int]:
    shape = _shape(graph, stage)
    state = native.bottleneck_state_bytes(layout, **shape) if stage.form is Form.ROLLING else 0
    return state, native.bottleneck_scratch_bytes(layout, **shape)


def _shape(graph: QGraph, stage: Stage) -> dict[str, int]:
    """``struct nrw_bottleneck_shape``."""
    parts = bottleneck(graph, stage.ops)
    source, grid, out = (graph.tensors[t] for t in (parts.input, parts.grid, parts.output))
    expand_h, expand_w = parts.expand.weights.shape[1:3] if parts.expand else (1, 1)
    kernel_h, kernel_w, mid = parts.depthwise.weights.shape
    return {
        "in_width": source.width,
        "in_channels": source.channels,
        "expand_kernel_h": expand_h,
        "expand_kernel_w": expand_w,
        "expand_stride_w": parts.expand.stride[1] if parts.expand else 1,
        "grid_height": grid.height,
        "grid_width": grid.width,
        "mid_channels": mid,
        "out_width": out.width,
        "out_channels": out.channels,
        "kernel_h": kernel_h,
        "kernel_w": kernel_w,
        "stride_h": parts.depthwise.stride[0],
        "stride_w": parts.depthwise.stride[1],
        "slice": stage.slice,
        "strip": stage.strip,
        "row_tile": stage.row_tile,
        "col_tile": stage.col_tile,
        "kept_rows": stage.kept_rows,
        "has_expand": int(parts.expand is not None),
        "has_project": int(parts.project is not None),
        "has_add": int(parts.add is not None),
        "rolling": int(stage.form is Form.ROLLING),
    }
