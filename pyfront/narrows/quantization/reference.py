# SPDX-License-Identifier: Apache-2.0
"""The integer model in plain NumPy: slow, whole tensors, no planning. Tests compare against it.

Matrix products run in float64, which is exact here: sums of int8 products stay far below
2**53.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from narrows.errors import InputError
from narrows.graph.moves import Move
from narrows.graph.qgraph import (
    Int8Array,
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
    QTensor,
)
from narrows.quantization.arithmetic import elementwise, matmul
from narrows.quantization.fixed_point import (
    Int64Array,
    divide_by_power,
    high_mul,
    one_over_one_plus,
    requantize,
    wrap,
)


def run(
    qgraph: QGraph, inputs: Sequence[Int8Array], variables: list[Int8Array] | None = None
) -> list[Int8Array]:
    """Run one inference.

    Args:
        inputs: int8 [height, width, channels], one per input of the network.
        variables: what each of them is, and then what it becomes; empty for a first inference.

    Returns:
        int8 [height, width, channels] of every output, in order.

    Raises:
        InputError: wrong number, shape or dtype of inputs.
    """
    values = run_all(qgraph, inputs, variables)
    return [values[edge.tensor] for edge in qgraph.outputs]


def run_all(
    qgraph: QGraph, inputs: Sequence[Int8Array], variables: list[Int8Array] | None = None
) -> list[Int8Array]:
    """As ``run``, but returns every tensor of the network, in the order of their numbers."""
    if len(inputs) != len(qgraph.inputs):
        raise InputError(f"{qgraph.name}: {len(inputs)} inputs instead of {len(qgraph.inputs)}")
    values: dict[int, Int8Array] = {
        i: tensor.data for i, tensor in enumerate(qgraph.tensors) if tensor.data is not None
    }
    if variables:
        values.update(zip((v.tensor for v in qgraph.variables), variables, strict=True))
    for edge, array in zip(qgraph.inputs, inputs, strict=True):
        tensor = qgraph.tensors[edge.tensor]
        if array.dtype != np.int8 or array.shape != (tensor.height, tensor.width, tensor.channels):
            raise InputError(f"{edge.name}: {array.dtype} of shape {array.shape}")
        values[edge.tensor] = array
    for op in qgraph.ops:
        sources = [qgraph.tensors[i] for i in op.inputs]
        target = qgraph.tensors[op.output]
        result = _compute(op, [values[i] for i in op.inputs], sources, target)
        values[op.output] = result.reshape(target.height, target.width, target.channels)
    if variables is not None:
        variables[:] = (
            values[v.source][v.row : v.row + len(values[v.tensor])] for v in qgraph.variables
        )
    return [values[i] for i in range(len(qgraph.tensors))]


def _compute(op: QOp, x: list[Int8Array], sources: list[QTensor], target: QTensor) -> Int8Array:
    zo = target.zero_point
    match op:
        case QConv():
            return _conv(op, x[0], sources[0].zero_point, target)
        case QDepthwise():
            return _depthwise(op, x[0], sources[0].zero_point, target)
        case QElementwise():
            a, b = (v.astype(np.int64) for v in x)
            return _int8(elementwise(op, a, b, sources[0].zero_point, sources[1].zero_point, zo))
        case QMatMul():
            first, second = (
                v.astype(np.float64) - s.zero_point for v, s in zip(x, sources, strict=True)
            )
            sums = matmul(first, second, target.channels).astype(np.int64)
            return _int8(requantize(wrap(sums), *op.out) + zo)
        case QArgMax():
            numbers: Int8Array = x[0].argmax(axis=2)[..., None].astype("<i4").view(np.int8)
            return numbers
        case QPool():
            return _pool(op, x[0], target)
        case QMean():
            axes = tuple(i for i, over in enumerate((op.over_height, op.over_width)) if over)
            total = x[0].sum(axis=axes, dtype=np.int64, keepdims=True) + op.bias
            return _int8(requantize(wrap(total), op.multiplier, op.shift) + zo)
        case QSoftmax():
            return _softmax(op, x[0])
        case QLookup():
            table = np.frombuffer(op.table, np.int8)
            return table[x[0].view(np.uint8)]
        case QConcat():
            return np.concatenate(x, axis=op.axis)
        case QResize():
            return _resize(op, x[0])
        case Move():
            return op.moved(x[0], (target.height, target.width, target.channels))
        case QPad():
            size = (target.height, target.width, target.channels)
            padded = np.full(size, op.value, np.int8)
            inside = tuple(slice(b, b + n) for b, n in zip(op.before, x[0].shape, strict=True))
            padded[inside] = x[0]
            return padded


def _int8(x: Int64Array, low: int = -128, high: int = 127) -> Int8Array:
    return np.clip(x, low, high).astype(np.int8)


def _windows(
    x: Int64Array,
    out: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pad: tuple[int, int],
) -> list[tuple[int, int, Int64Array]]:
    """(i, j, x as the kernel's element (i, j) sees it [out_h, out_w, channels]); 0 outside."""
    needed = [
        (o - 1) * s + (k - 1) * d + 1
        for o, s, k, d in zip(out, stride, kernel, dilation, strict=True)
    ]
    behind = [max(0, n - p - m) for n, p, m in zip(needed, pad, x.shape, strict=False)]
    padded = np.pad(x, ((pad[0], behind[0]), (pad[1], behind[1]), (0, 0)))
    result = []
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            rows = slice(i * dilation[0], i * dilation[0] + (out[0] - 1) * stride[0] + 1, stride[0])
            cols = slice(j * dilation[1], j * dilation[1] + (out[1] - 1) * stride[1] + 1, stride[1])
            result.append((i, j, padded[rows, cols]))
    return result


def _finish(op: QConv | QDepthwise, acc: Int64Array, target: QTensor) -> Int8Array:
    scaled = requantize(wrap(acc + op.bias), op.multiplier, op.shift)
    return _int8(scaled + target.zero_point, op.act_min, op.act_max)


def _conv(op: QConv, x: Int8Array, zero_point: int, target: QTensor) -> Int8Array:
    out = (target.height, target.width)
    kernel = (op.weights.shape[1], op.weights.shape[2])
    acc = np.zeros((*out, target.channels))
    centered = x.astype(np.int64) - zero_point
    for i, j, seen in _windows(centered, out, kernel, op.stride, op.dilation, op.pad):
        acc += seen.astype(np.float64) @ op.weights[:, i, j].T.astype(np.float64)
    return _finish(op, acc.astype(np.int64), target)


def _depthwise(op: QDepthwise, x: Int8Array, zero_point: int, target: QTensor) -> Int8Array:
    out = (target.height, target.width)
    kernel = (op.weights.shape[0], op.weights.shape[1])
    acc = np.zeros((*out, target.channels), np.int64)
    centered = np.repeat(x.astype(np.int64) - zero_point, op.depth_multiplier, axis=2)
    for i, j, seen in _windows(centered, out, kernel, op.stride, op.dilation, op.pad):
        acc += seen * op.weights[i, j]
    return _finish(op, acc, target)


def _pool(op: QPool, x: Int8Array, target: QTensor) -> Int8Array:
    out = (target.height, target.width)
    inside = np.ones((*x.shape[:2], 1), np.int64)
    one = (1, 1)
    if op.function == "max":
        # Shifted so that padding, which is 0, is less than every value.
        shifted = x.astype(np.int64) + 129
        seen = [w for _, _, w in _windows(shifted, out, op.kernel, op.stride, one, op.pad)]
        result = np.max(seen, axis=0) - 129
    else:
        values = _windows(x.astype(np.int64), out, op.kernel, op.stride, one, op.pad)
        ones = _windows(inside, out, op.kernel, op.stride, one, op.pad)
        total = np.sum([w for _, _, w in values], axis=0)
        count = np.sum([w for _, _, w in ones], axis=0)
        magnitude = (np.abs(total) + count // 2) // count
        result = np.where(total < 0, -magnitude, magnitude)
    return _int8(result, op.act_min, op.act_max)


def _softmax(op: QSoftmax, x: Int8Array) -> Int8Array:
    values = x.astype(np.int64)
    exps = op.table.astype(np.int64)[values.max(axis=2, keepdims=True) - values]
    total = divide_by_power(exps, 12).sum(axis=2, keepdims=True) & 0xFFFFFFFF  # Q12.19
    # total = 2**bits * (1 + fraction), fraction in Q0.31
    leading = 32 - np.frexp(np.maximum(total, 1).astype(np.float64))[1].astype(np.int64)
    fraction = (total << leading) - (1 << 31)
    product = high_mul(one_over_one_plus(fraction), exps)
    exponent = 12 - leading + 31 - 8
    # TFLite Micro stops where the exponent exceeds 31: too many classes at the maximum.
    return _int8(np.where(exponent <= 31, divide_by_power(product, exponent), 0) - 128)


def _resize(op: QResize, x: Int8Array) -> Int8Array:
    values = x.astype(np.int64)
    (row, fy), (col, fx) = (op.rows.T.astype(np.int64), op.cols.T.astype(np.int64))
    below, right = row + (fy != 0), col + (fx != 0)
    fy, fx = fy[:, None, None], fx[None, :, None]
    top = values[row][:, col] * (1024 - fx) + values[row][:, right] * fx
    bottom = values[below][:, col] * (1024 - fx) + values[below][:, right] * fx
    total = top * (1024 - fy) + bottom * fy
    magnitude = (np.abs(total) + (1 << 19)) >> 20
    return _int8(np.where(total > 0, magnitude, -magnitude))
