# SPDX-License-Identifier: Apache-2.0
"""Inputs that a ``.tflite`` has with their channels first, and turns before all else.

Files that were made from PyTorch take pictures as [1, channels, height, width] and begin with a
TRANSPOSE, for which all planes would have to be there. Here such an input has its channels last, as
that of an ONNX file has; so pixels can come row by row, as a camera gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from narrows.importers.tflite_file import ModelRecord, OperatorRecord
from narrows.importers.tflite_node import same_quantization

_TURNS = ((0, 2, 3, 1), (0, 2, 1))
# What may stand between an input and its TRANSPOSE; it has no shape of its own.
_BY_ELEMENT = ("QUANTIZE", "DEQUANTIZE")


def channels_last_inputs(record: ModelRecord) -> tuple[ModelRecord, frozenset[int]]:
    """The record with such inputs turned, and the numbers of these tensors."""
    turned = set[int]()
    for tensor in record.inputs:
        path = _path(record, tensor)
        if path is not None:
            record = _turned(record, tensor, path)
            turned.add(tensor)
    return record, frozenset(turned)


def _path(record: ModelRecord, tensor: int) -> tuple[OperatorRecord, ...] | None:
    """The operators from an input to the TRANSPOSE that puts its channels last; None if it is used
    otherwise as well."""
    path: list[OperatorRecord] = []
    while tensor not in record.ends:
        users = [operator for operator in record.operators if tensor in operator.inputs]
        if len(users) != 1 or len(users[0].outputs) != 1:
            return None
        (user,) = users
        path.append(user)
        if user.name == "TRANSPOSE" and len(user.inputs) == 2:
            return tuple(path) if _turns(record, user) else None
        if user.name not in _BY_ELEMENT:
            return None
        (tensor,) = user.outputs
    return None


def _turns(record: ModelRecord, operator: OperatorRecord) -> bool:
    """Whether a TRANSPOSE does that, and nothing else."""
    (target,) = operator.outputs
    source, order, made = (record.tensors[i] for i in (*operator.inputs, target))
    return (
        order.data is not None
        and tuple(np.ravel(order.data)) in _TURNS
        and len(source.shape) == order.data.size
        and min(source.shape) > 0
        and (source.dtype, source.shape[0]) == (made.dtype, 1)
        and (source.dtype == "float32" or same_quantization(source, made))
        and all(variable.assigned != target for variable in record.variables)
    )


def _turned(record: ModelRecord, tensor: int, path: Sequence[OperatorRecord]) -> ModelRecord:
    """The last operator of the path is left out; what comes before it has its output's shape."""
    *before, turn = path
    (source, _), (target,) = turn.inputs, turn.outputs
    shape = record.tensors[tensor].shape
    last = (shape[0], *shape[2:], shape[1])
    tensors = list(record.tensors)
    for index in (tensor, *(output for operator in before for output in operator.outputs)):
        tensors[index] = replace(tensors[index], shape=last)
    operators = [
        replace(op, inputs=tuple(source if i == target else i for i in op.inputs))
        for op in record.operators
        if op is not turn
    ]
    outputs = tuple(source if i == target else i for i in record.outputs)
    return replace(record, tensors=tuple(tensors), operators=tuple(operators), outputs=outputs)
