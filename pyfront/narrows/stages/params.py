# SPDX-License-Identifier: Apache-2.0
"""Parameters, channel tables and weights of every operator (runtime/SPEC.md, "Operators")."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from narrows.graph.moves import Move
from narrows.graph.qgraph import (
    Elementwise,
    QArgMax,
    QConcat,
    QConv,
    QDepthwise,
    QElementwise,
    QGraph,
    QLookup,
    QMatMul,
    QMean,
    QOp,
    QPad,
    QPool,
    QResize,
    QSoftmax,
)
from narrows.native import Op, conv_pack
from narrows.stages.fusion import Bottleneck, bottleneck
from narrows.stages.records import GEOMETRY, Body, fields, for_the_format
from narrows.stages.stage import Stage

EXPAND, PROJECT, ADD = 1, 2, 4
"""Flags of BOTTLENECK."""


_PRESCALED_BITS = 14
"""Bits behind the point of a prescaled sum times its multiplier, over 2^32 (``requant.h``)."""


def op_code(op: QOp) -> Op:
    """The stage kind of an operator that fires alone."""
    match op:
        case QConv():
            return Op.CONV
        case QDepthwise():
            return Op.DEPTHWISE
        case QElementwise():
            return Op.ELEMENTWISE
        case QMatMul():
            return Op.MATMUL
        case QArgMax():
            return Op.ARG_MAX
        case QPool():
            return Op.AVG_POOL if op.function == "average" else Op.MAX_POOL
        case QMean():
            return Op.MEAN
        case QSoftmax():
            return Op.SOFTMAX
        case QLookup():
            return Op.LOOKUP
        case QConcat():
            return Op.CONCAT
        case QResize():
            return Op.RESIZE
        case Move():
            return Op.MOVE
        case QPad():
            return Op.PAD


def op_params(graph: QGraph, op: QOp, body: Body) -> bytes:
    """The parameters of an operator; what they point to is appended to body."""
    place = f"operator {op.kind} ({graph.tensors[op.output].name})"
    match op:
        case QConv():
            return _window(place, op, op.weights.shape[1:3], 0) + _filter(graph, op, body)
        case QDepthwise():
            window = _window(place, op, op.weights.shape[:2], op.depth_multiplier)
            return window + _filter(graph, op, body)
        case QElementwise():
            return elementwise_params(place, op, swap=False)
        case QMatMul():
            product, none = Elementwise.MUL, (0, 0)
            whole = QElementwise(op.inputs, op.output, product, 0, none, none, op.out, -128, 127)
            return elementwise_params(place, whole, swap=False)
        case QArgMax():
            return b""
        case QPool():
            return fields(
                GEOMETRY, place, *op.kernel, *op.stride, 1, 1, *op.pad, op.act_min, op.act_max,
                0, 1, 1, 1, 0,
            )  # fmt: skip
        case QMean():
            values = (op.over_height, op.over_width, 0, op.bias, op.multiplier, op.shift)
            return fields("<BBHiii", place, *values)
        case QSoftmax():
            return fields("<I", place, body.add(op.table.astype("<i4").tobytes()))
        case QLookup():
            return fields("<I", place, body.add(op.table))
        case QConcat():
            return fields("<BBBB", place, op.axis, 0, 0, 0)
        case QResize():
            rows = body.add(op.rows.astype("<u2").tobytes())
            return fields("<II", place, rows, body.add(op.cols.astype("<u2").tobytes()))
        case Move():
            x, y = (graph.tensors[i] for i in (op.inputs[0], op.output))
            with for_the_format(place):
                return op.params(x.shape, y.shape)
        case QPad():
            return fields("<HHHbB", place, *op.before, op.value, 0)


def elementwise_params(place: str, op: QElementwise, swap: bool) -> bytes:
    """ELEMENTWISE's 24 bytes. swap: operands stand the other way round (ADD only)."""
    a, b = (op.b, op.a) if swap else (op.a, op.b)
    return fields(
        "<iiibbbBhhB3x", place, a[0], b[0], op.out[0], a[1], b[1], op.out[1], op.left_shift,
        op.act_min, op.act_max, op.function,
    )  # fmt: skip


def stage_params(graph: QGraph, stage: Stage, body: Body) -> tuple[Op, int, bytes]:
    """Kind, flags and parameters of a stage; what they point to is appended to body."""
    if len(stage.ops) == 1:
        op = graph.ops[stage.ops[0]]
        return op_code(op), 0, op_params(graph, op, body)
    parts = bottleneck(graph, stage.ops)
    flags = EXPAND if parts.expand else 0
    flags |= PROJECT if parts.project else 0
    flags |= ADD if parts.add else 0
    return Op.BOTTLENECK, flags, bottleneck_params(graph, parts, stage, body)


def bottleneck_params(graph: QGraph, parts: Bottleneck, stage: Stage, body: Body) -> bytes:
    """BOTTLENECK's 116 bytes."""
    place = f"bottleneck ({graph.tensors[parts.output].name})"
    depthwise = parts.depthwise
    zero_points = [graph.tensors[depthwise.inputs[0]].zero_point]
    zero_points.append(graph.tensors[depthwise.output].zero_point)
    last = parts.project or depthwise
    zero_points.append(graph.tensors[last.output].zero_point)
    kernel = depthwise.weights.shape[:2]
    params = fields(
        "<HHHbbbBH",
        place,
        depthwise.weights.shape[2],
        stage.slice,
        stage.col_tile,
        *zero_points,
        stage.kept_rows,
        stage.row_tile,
    )
    params += _window(place, depthwise, kernel, 1) + _filter(graph, depthwise, body)
    params += op_params(graph, parts.expand, body) if parts.expand else bytes(32)
    if parts.project is None:
        params += bytes(12)
    else:
        params += fields("<hh", place, parts.project.act_min, parts.project.act_max)
        params += _filter(graph, parts.project, body)
    if parts.add is None:
        params += bytes(24)
    else:
        params += elementwise_params(place, parts.add, parts.add.inputs[0] == parts.input)
    grid = graph.tensors[parts.grid]
    return params + fields("<HH", place, grid.height, grid.width)


def channel_table(graph: QGraph, op: QConv | QDepthwise) -> bytes:
    """12 bytes per output channel: bias with the input's zero point folded in (modulo 2^32),
    multiplier, shift and prescale."""
    axes = (1, 2, 3) if isinstance(op, QConv) else (0, 1)
    weights = op.weights.astype(np.int64)
    zero_point = graph.tensors[op.inputs[0]].zero_point
    bias = op.bias.astype(np.int64) - zero_point * weights.sum(axis=axes)
    least = bias + np.minimum(-128 * weights, 127 * weights).sum(axis=axes)
    most = bias + np.maximum(-128 * weights, 127 * weights).sum(axis=axes)
    scale = _prescales(np.maximum(-least, most), op.shift)
    last = np.where(scale > 0, scale << 16 | op.shift & 0xFF, op.shift)
    table: npt.NDArray[np.int32] = np.stack([bias.astype(np.int32), op.multiplier, last], axis=1)
    return table.astype("<i4").tobytes()


def _prescales(
    magnitudes: npt.NDArray[np.int64], shifts: npt.NDArray[np.int32]
) -> npt.NDArray[np.int64]:
    """The prescale of each channel, 0 for none, by a magnitude that no sum of it exceeds."""
    powers = _PRESCALED_BITS - 1 + shifts.astype(np.int64)
    is_right = (shifts < 0) & (powers >= 0)
    scale = np.left_shift(np.int64(1), np.where(is_right, powers, 0))
    return np.where(is_right & (magnitudes < 2**31 // (4 * scale)), scale, 0)


def _window(place: str, op: QConv | QDepthwise, kernel: tuple[int, ...], last: int) -> bytes:
    """The geometry of CONV and DEPTHWISE. last: the depth multiplier, or 0."""
    return fields(
        GEOMETRY, place, *kernel, *op.stride, *op.dilation, *op.pad, op.act_min, op.act_max,
        last, 1, 1, 1, 0,
    )  # fmt: skip


def _filter(graph: QGraph, op: QConv | QDepthwise, body: Body) -> bytes:
    """Blob offsets of the weights and of the channel table."""

    def packed() -> bytes:
        if isinstance(op, QConv):
            return conv_pack(body.layout, op.weights)
        return np.ascontiguousarray(op.weights, np.int8).tobytes()

    weights = body.add_filter(packed)
    table = body.add_filter(lambda: channel_table(graph, op))
    return fields("<II", op.kind, weights, table)
