# SPDX-License-Identifier: Apache-2.0
"""Which forms and strips an operator by itself may have (runtime/SPEC.md, Forms)."""

from __future__ import annotations

from narrows.graph.qgraph import (
    MAX_COVERED,
    Axis,
    QConcat,
    QConv,
    QDepthwise,
    QGraph,
    QMean,
    QOp,
    QPad,
    QPool,
    QReshape,
    QResize,
    QTensor,
)
from narrows.native import MAX_KERNEL_ROWS, Form

_WORD = 4


def forms_of(graph: QGraph, op: QOp) -> tuple[Form, ...]:
    """The forms that an operator by itself may have."""
    match op:
        case QMean() if op.over_height:
            return (Form.ACCUMULATING,)
        case QPool() if _can_accumulate(graph, op):
            return _accumulating(op.kernel[0])
        case QConv() if covers(graph, op):
            return _accumulating(op.weights.shape[1])
        case QDepthwise() if _can_fold(op):
            return Form.SINGLE, Form.FOLDED
    return (Form.SINGLE,)


def frame(graph: QGraph, ops: tuple[int, ...], form: Form) -> QTensor:
    """The tensor that the firings of a stage go through row by row."""
    if form is Form.ACCUMULATING:
        return graph.tensors[graph.ops[ops[0]].inputs[0]]
    return graph.tensors[graph.ops[ops[-1]].output]


def least_strip(graph: QGraph, op: QOp, form: Form) -> int:
    """1 for an operator of pixels, else the width."""
    source = graph.tensors[op.inputs[0]]
    if form is Form.ACCUMULATING:
        whole = isinstance(op, QConv) or (isinstance(op, QMean) and op.over_width)
        if isinstance(op, QPool):
            covered = op.pad[1] == 0 and op.kernel[1] >= source.width
            whole = covered and graph.tensors[op.output].width == 1
        return 1 if whole else source.width
    if isinstance(op, (QPad, QResize, QReshape, QMean)) or (
        isinstance(op, QConcat) and op.axis == Axis.WIDTH
    ):
        return graph.tensors[op.output].width
    return 1


def covers(graph: QGraph, op: QConv) -> bool:
    """Whether the kernel is the whole input, of several pixels, and the runtime may add up what
    each strip of it gives."""
    source = graph.tensors[op.inputs[0]]
    out = graph.tensors[op.output]
    return (
        op.weights.shape[1:] == (source.height, source.width, source.channels)
        and source.height * source.width > out.height * out.width == 1
        and (op.pad, op.dilation) == ((0, 0), (1, 1))
        and source.channels % _WORD == 0
        and source.bytes <= MAX_COVERED
    )


def _accumulating(rows: int) -> tuple[Form, ...]:
    """The forms of what need not see its windows, of so many rows, as a whole."""
    return (Form.ACCUMULATING,) if rows > MAX_KERNEL_ROWS else (Form.ACCUMULATING, Form.SINGLE)


def _can_fold(op: QDepthwise) -> bool:
    return (
        op.weights.shape[:2] == (3, 3)
        and op.stride == (2, 2)
        and op.dilation == (1, 1)
        and op.depth_multiplier == 1
        and max(op.pad) < 3
    )


def _can_accumulate(graph: QGraph, op: QPool) -> bool:
    """Whether op is an average whose only output row covers all input rows."""
    source, out = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    covered = op.kernel[0] - op.pad[0] >= source.height
    return op.function == "average" and out.height == 1 and covered
