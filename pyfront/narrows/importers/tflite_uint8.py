# SPDX-License-Identifier: Apache-2.0
"""Networks that TensorFlow 1 quantized to uint8, as the float networks that they stand for.

Their weights have a zero point, which int8 kernels do not know, and so cannot be kept. Activations
can: a uint8 tensor's scale says which real numbers it holds, and an int8 tensor may hold the same
ones. So each tensor becomes float32 within the bounds that its scale gives it, and whoever
quantizes the network anew finds its ranges there.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from narrows.importers.tflite_file import ModelRecord, OperatorRecord, TensorRecord
from narrows.importers.tflite_weights import dequantized

# The input that holds the bias of an operator, whose scale is that of input times weights.
_BIASED = {"CONV_2D": (0, 1, 2), "DEPTHWISE_CONV_2D": (0, 1, 2), "FULLY_CONNECTED": (0, 1, 2),
           "TRANSPOSE_CONV": (2, 1, 3)}  # fmt: skip
_CASTS = ("QUANTIZE", "DEQUANTIZE")
_TOLD = "it is quantized to uint8; it is taken as the float network that it stands for"


def is_uint8(record: ModelRecord) -> bool:
    """Whether a network computes in uint8."""
    made = {record.tensors[i].dtype for op in record.operators for i in op.outputs}
    computing = [op for op in record.operators if op.name not in _CASTS]
    inside = {record.tensors[i].dtype for op in computing for i in op.outputs}
    return "uint8" in inside and not made.intersection(("int8", "int16"))


def float_network(record: ModelRecord) -> tuple[ModelRecord, tuple[str, ...]]:
    """The record in float32 with bounds if its network is in uint8, and what to tell of it."""
    if not is_uint8(record):
        return record, ()
    tensors = list(record.tensors)
    for operator in record.operators:
        places = _BIASED.get(operator.name, (0, 0, -1))
        if len(operator.inputs) > max(places):
            x, weights, bias = (operator.inputs[i] for i in places)
            if bias != -1 and operator.name in _BIASED:
                tensors[bias] = _bias(tensors[bias], record.tensors[x], record.tensors[weights])
    for index, tensor in enumerate(record.tensors):
        if tensor.dtype == "uint8" and tensor.quantization is not None:
            tensors[index] = _in_floats(tensor)
    # A cast changes nothing in floats; the tensor before it keeps its name.
    same: dict[int, int] = {}
    operators: list[OperatorRecord] = []
    for operator in record.operators:
        inputs = tuple(same.get(i, i) for i in operator.inputs)
        if operator.name in _CASTS and len(inputs) == len(operator.outputs) == 1:
            (source,), (target,) = inputs, operator.outputs
            same[target] = source
            if tensors[source].bounds is None:
                tensors[source] = replace(tensors[source], bounds=tensors[target].bounds)
        else:
            operators.append(replace(operator, inputs=inputs))
    outputs = tuple(same.get(i, i) for i in record.outputs)
    made = replace(record, tensors=tuple(tensors), operators=tuple(operators), outputs=outputs)
    return made, (_TOLD,)


def _in_floats(tensor: TensorRecord) -> TensorRecord:
    q = tensor.quantization
    assert q is not None
    if tensor.data is not None:
        values = dequantized(tensor)
        return replace(tensor, dtype="float32", quantization=None, data=values)
    if len(q.scales) != 1:
        return tensor
    ends = tuple(float(q.scale) * (end - int(q.zero_points[0])) for end in (0, 255))
    return replace(tensor, dtype="float32", quantization=None, bounds=(ends[0], ends[1]))


def _bias(bias: TensorRecord, x: TensorRecord, weights: TensorRecord) -> TensorRecord:
    if bias.dtype != "int32" or bias.data is None or None in (x.quantization, weights.quantization):
        return bias
    assert x.quantization is not None
    assert weights.quantization is not None
    steps = x.quantization.scale.astype(np.float64) * weights.quantization.scales
    values = (bias.data * steps).astype(np.float32)
    return replace(bias, dtype="float32", quantization=None, data=values)
