# SPDX-License-Identifier: Apache-2.0
"""Float networks whose weights a ``.tflite`` file keeps in fewer bits.

TensorFlow's converter stores the weights of a float network as int8 with scales (dynamic range) or
as float16 where it is asked for a small file. Activations are float32 in both, so the network is a
float one: here such weights become the float32 numbers that they stand for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from narrows.graph.graph import Array
from narrows.importers.tflite_file import ModelRecord, OperatorRecord, TensorRecord

_DEQUANTIZE = "DEQUANTIZE"
_STORED = ("int8", "uint8", "float16")
_INTEGERS = ("int8", "uint8", "int16")


def float_weights(record: ModelRecord) -> tuple[ModelRecord, tuple[str, ...]]:
    """The record with float32 weights if its network is a float one, and what to tell of it."""
    made = {record.tensors[i].dtype for op in record.operators for i in op.outputs}
    given = {record.tensors[i].dtype for i in record.inputs}
    if "float32" not in made or (made | given).intersection(_INTEGERS):
        return record, ()
    tensors, operators = list(record.tensors), list[OperatorRecord]()
    stored = dict[str, None]()
    for operator in record.operators:
        weights = [i for i in operator.inputs if i != -1 and _is_stored(record.tensors[i])]
        stored |= dict.fromkeys(record.tensors[i].dtype for i in weights)
        if operator.name == _DEQUANTIZE and weights:
            for target in operator.outputs:
                values = dequantized(record.tensors[weights[0]])
                tensors[target] = replace(
                    tensors[target], shape=values.shape, data=values, is_constant=True
                )
        else:
            operators.append(operator)
            for i in weights:
                values = dequantized(record.tensors[i])
                tensors[i] = replace(tensors[i], dtype="float32", quantization=None, data=values)
    record = replace(record, tensors=tuple(tensors), operators=tuple(operators))
    return record, tuple(f"its weights are {dtype}; they are taken as float32" for dtype in stored)


def _is_stored(tensor: TensorRecord) -> bool:
    """Whether it is a constant that stands for real numbers."""
    if tensor.data is None or tensor.dtype not in _STORED or tensor.is_sparse:
        return False
    q = tensor.quantization
    if tensor.dtype == "float16" or q is None:
        return tensor.dtype == "float16"
    count, axis = len(q.scales), q.axis
    return count == 1 or (0 <= axis < len(tensor.shape) and tensor.shape[axis] == count)


def dequantized(tensor: TensorRecord) -> Array:
    """The real numbers that a constant of 8 or 16 bits stands for."""
    assert tensor.data is not None
    values = tensor.data.astype(np.float32)
    q = tensor.quantization
    if tensor.dtype == "float16" or q is None:
        return values
    along = [1] * values.ndim
    if len(q.scales) > 1:
        along[q.axis] = len(q.scales)
    zero_points = q.zero_points.astype(np.float32).reshape(along)
    numbers: Array = (values - zero_points) * q.scales.astype(np.float32).reshape(along)
    return numbers
