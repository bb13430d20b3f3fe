# SPDX-License-Identifier: Apache-2.0
"""The invariants of a QGraph that planner, packer and runtime rely on."""

from __future__ import annotations

import numpy as np

from narrows.errors import ModelError
from narrows.graph.moves import Move
from narrows.graph.qgraph import (
    Int32Array,
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
    QVariable,
)

_U16 = 65535
_MAX_BYTES = 2**31 - 1


def verify_qgraph(qgraph: QGraph) -> None:
    """Check indices, order, shapes and ranges of every number.

    Raises:
        ModelError: the first violation, with operator and tensor.
    """
    if not qgraph.inputs or not qgraph.outputs:
        raise ModelError(f"{qgraph.name}: no inputs or no outputs")
    count = len(qgraph.tensors)
    written: set[int] = set()
    for number, tensor in enumerate(qgraph.tensors):
        _verify_tensor(qgraph, number, tensor)
        if tensor.data is not None:
            written.add(number)
    for edge in qgraph.inputs:
        _need(qgraph, 0 <= edge.tensor < count, f"input {edge.name}: no tensor {edge.tensor}")
        _need(qgraph, edge.tensor not in written, f"input {edge.name} is given twice")
        written.add(edge.tensor)
    for number, op in enumerate(qgraph.ops):
        where = f"operator {number} {op.kind}"
        _need(qgraph, all(i in written for i in op.inputs), f"{where} reads {op.inputs} too early")
        fresh = 0 <= op.output < count and op.output not in written
        _need(qgraph, fresh, f"{where} cannot write tensor {op.output}")
        written.add(op.output)
        inputs = [qgraph.tensors[i] for i in op.inputs]
        problem = _problem(op, inputs, qgraph.tensors[op.output])
        _need(qgraph, problem is None, f"{where} ({qgraph.tensors[op.output].name}): {problem}")
    for edge in (*qgraph.inputs, *qgraph.outputs):
        _need(qgraph, edge.tensor in written, f"output {edge.name} is never written")
        size = int(np.prod(edge.shape, dtype=np.int64)) * np.dtype(edge.elements).itemsize
        _need(qgraph, size == qgraph.tensors[edge.tensor].bytes, f"{edge.name}: shape {edge.shape}")
        is_uint8 = edge.dtype == "uint8" and edge.elements == "int8"
        fits = (edge.table is not None and len(edge.table) == 256) == is_uint8
        _need(qgraph, fits, f"{edge.name}: a table for {edge.dtype}")
    writers = {op.output for op in qgraph.ops}
    for variable in qgraph.variables:
        _verify_variable(qgraph, variable, writers)
    _need(qgraph, len(written) == count, "a tensor that nobody writes")


def _verify_variable(qgraph: QGraph, variable: QVariable, writers: set[int]) -> None:
    count = len(qgraph.tensors)
    known = 0 <= variable.tensor < count and variable.source in writers
    _need(qgraph, known, f"variable {variable}: no such tensors")
    tensor, source = qgraph.tensors[variable.tensor], qgraph.tensors[variable.source]
    where = f"variable {tensor.name}"
    fresh = tensor.data is not None and variable.tensor not in writers
    _need(qgraph, fresh, f"{where}: it begins with nothing")
    same = tensor.shape[1:] == source.shape[1:]
    inside = 0 <= variable.row <= source.height - tensor.height
    _need(qgraph, same and inside, f"{where}: row {variable.row} of shape {source.shape}")


def _verify_tensor(qgraph: QGraph, number: int, tensor: QTensor) -> None:
    where = f"tensor {number} {tensor.name}"
    shape = (tensor.height, tensor.width, tensor.channels)
    _need(qgraph, all(1 <= n <= _U16 for n in shape), f"{where}: shape {shape}")
    _need(qgraph, tensor.bytes <= _MAX_BYTES, f"{where}: {tensor.bytes} bytes")
    _need(qgraph, -128 <= tensor.zero_point <= 127, f"{where}: zero point {tensor.zero_point}")
    _need(qgraph, np.isfinite(tensor.scale) and tensor.scale > 0, f"{where}: scale {tensor.scale}")
    if tensor.data is not None:
        good = tensor.data.shape == shape and tensor.data.dtype == np.int8
        _need(qgraph, good, f"{where}: data of shape {tensor.data.shape}")


def _need(qgraph: QGraph, condition: bool | np.bool_, message: str) -> None:
    if not condition:
        raise ModelError(f"{qgraph.name}: {message}")


def _problem(op: QOp, x: list[QTensor], y: QTensor) -> str | None:
    """What is wrong with an operator; None if nothing is."""
    match op:
        case QConv() | QDepthwise():
            return _weights_problem(op, x[0], y)
        case QElementwise():
            return _elementwise_problem(op, x[0], x[1], y)
        case QMatMul():
            return _matmul_problem(op, x[0], x[1], y)
        case QArgMax():
            wanted = (*x[0].shape[:2], 4)
            return None if y.shape == wanted else f"shape {y.shape} instead of {wanted}"
        case QPool():
            if not all(1 <= n <= _U16 for n in op.kernel):
                return f"kernel {op.kernel}"
            if x[0].channels != y.channels:
                return f"channels {x[0].channels} and {y.channels}"
            for n, out, k, s, p in zip(
                x[0].shape, y.shape, op.kernel, op.stride, op.pad, strict=False
            ):
                # The first and the last window hold an element, so all do.
                if not (1 <= s <= 255 and 0 <= p < k and (out - 1) * s - p < n):
                    return f"window {k}, stride {s}, pad {p}, {n} to {out} elements"
            return _range_problem(op.act_min, op.act_max)
        case QMean():
            height = 1 if op.over_height else x[0].height
            width = 1 if op.over_width else x[0].width
            if y.shape != (height, width, x[0].channels):
                return f"shape {y.shape}"
            if not (op.over_height or op.over_width):
                return "over nothing"
            return _multiplier_problem(op.multiplier, op.shift)
        case QSoftmax():
            if op.table.shape != (256,) or op.table.dtype != np.int32 or (op.table < 0).any():
                return "table"
            return None if x[0].shape == y.shape else f"shape {y.shape}"
        case QLookup():
            if len(op.table) != 256:
                return f"a table of {len(op.table)} bytes"
            return None if x[0].shape == y.shape else f"shape {y.shape}"
        case QConcat():
            if not 2 <= len(x) <= 4:
                return f"{len(x)} inputs"
            expected = list(x[0].shape)
            expected[op.axis] = sum(t.shape[op.axis] for t in x)
            others = [i for i in range(3) if i != op.axis]
            if any(t.shape[i] != expected[i] for t in x for i in others):
                return f"inputs of shapes {[t.shape for t in x]}"
            return None if y.shape == tuple(expected) else f"shape {y.shape}"
        case QResize():
            for table, size, out in (
                (op.rows, x[0].height, y.height),
                (op.cols, x[0].width, y.width),
            ):
                low, fraction = table[:, 0], table[:, 1]
                if table.shape != (out, 2) or (low < 0).any() or (np.diff(low) < 0).any():
                    return "positions"
                if ((low + (fraction != 0)) >= size).any() or not (
                    (fraction >= 0) & (fraction < 1024)
                ).all():
                    return "positions outside of the input"
            return None if x[0].channels == y.channels else "channels"
        case Move():
            return op.problem(x[0].shape, y.shape)
        case QPad():
            if not -128 <= op.value <= 127:
                return f"value {op.value}"
            for n, out, b in zip(x[0].shape, y.shape, op.before, strict=True):
                if not 0 <= b <= out - n:
                    return f"{op.before} before {x[0].shape} in {y.shape}"
            return None


def _weights_problem(op: QConv | QDepthwise, x: QTensor, y: QTensor) -> str | None:
    if isinstance(op, QConv):
        kernel = op.weights.shape[1:3]
        if op.weights.shape != (y.channels, *kernel, x.channels):
            return f"weights of shape {op.weights.shape}"
    else:
        kernel = op.weights.shape[:2]
        if op.weights.shape != (*kernel, y.channels):
            return f"weights of shape {op.weights.shape}"
        if y.channels != x.channels * op.depth_multiplier:
            return f"depth multiplier {op.depth_multiplier}"
    if op.weights.dtype != np.int8:
        return f"weights of {op.weights.dtype}"
    for values in (op.bias, op.multiplier, op.shift):
        if values.shape != (y.channels,) or values.dtype != np.int32:
            return "bias, multiplier or shift"
    if not all(1 <= n <= _U16 for n in kernel) or not all(0 <= n <= _U16 for n in op.pad):
        return f"kernel {kernel}, pad {op.pad}"
    if not all(1 <= n <= 255 for n in (*op.stride, *op.dilation)):
        return f"stride {op.stride}, dilation {op.dilation}"
    return _multiplier_problem(op.multiplier, op.shift) or _range_problem(op.act_min, op.act_max)


def _elementwise_problem(op: QElementwise, a: QTensor, b: QTensor, y: QTensor) -> str | None:
    for m, n, out in zip(a.shape, b.shape, y.shape, strict=True):
        if m not in (1, out) or n not in (1, out) or out != max(m, n):
            return f"shapes {a.shape}, {b.shape}, {y.shape}"
    if not 0 <= op.left_shift <= 20:
        return f"left shift {op.left_shift}"
    for multiplier, shift in (op.a, op.b, op.out):
        problem = _multiplier_problem(multiplier, shift)
        if problem is not None:
            return problem
    return _range_problem(op.act_min, op.act_max)


def _matmul_problem(op: QMatMul, a: QTensor, b: QTensor, y: QTensor) -> str | None:
    one = b.height * b.width == y.channels
    fits = one or (b.height, b.width) == (y.height, y.channels)
    if a.shape[:2] != y.shape[:2] or a.channels != b.channels or not fits:
        return f"shapes {a.shape}, {b.shape}, {y.shape}"
    return _multiplier_problem(*op.out)


def _multiplier_problem(multiplier: Int32Array | int, shift: Int32Array | int) -> str | None:
    m, s = np.asarray(multiplier, np.int64), np.asarray(shift, np.int64)
    if ((m < 0) | (m > 2**31 - 1) | (s < -31) | (s > 30)).any():
        return f"multiplier {m.min()} to {m.max()}, shift {s.min()} to {s.max()}"
    return None


def _range_problem(low: int, high: int) -> str | None:
    return None if -128 <= low <= high <= 127 else f"activation range {low} to {high}"
