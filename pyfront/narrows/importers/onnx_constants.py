# SPDX-License-Identifier: Apache-2.0
"""Constants of an ONNX graph as they are computed on the way, and the quantization that pairs of
QuantizeLinear and DequantizeLinear give them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from narrows.graph.graph import Array, Quantization
from narrows.importers.onnx_file import NodeRecord
from narrows.importers.refusals import Refused


class NotTflites(Refused):
    """The operator cannot be imported because of how it is quantized, which ``requantize`` would
    not mind."""


@dataclass(frozen=True, eq=False)
class Constant:
    """data: values. In QDQ form also its integers (int8, or int32 of biases) and what they
    stand for; the quantization's axis is one of data's."""

    data: Array
    integers: Array | None = None
    quantization: Quantization | None = None


@dataclass(frozen=True, eq=False)
class Integers:
    """What a value that is integers in the model holds, or numbers of elements, of whatever type.

    kind: NumPy's name of its type. quantization: None of an input, which only a DequantizeLinear
        tells.
    """

    kind: str
    quantization: Quantization | None = None


def parameters(constants: Sequence[Constant], kind: str) -> tuple[Array, Array]:
    """(scales, zero points) of a QuantizeLinear or DequantizeLinear; uint8 is shifted by 128,
    which is the same int8."""
    scales = constants[0].data.astype(np.float32).reshape(-1)
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise Refused("a scale that is not a positive number")
    zero_points = np.zeros(scales.shape, np.int32)
    if len(constants) > 1:
        zero_points = np.broadcast_to(constants[1].data.reshape(-1), scales.shape).astype(np.int32)
    if kind == "uint8":
        zero_points = zero_points - 128
    return scales, zero_points.astype(np.int32)


def given_constant(node: NodeRecord) -> Constant:
    """What a Constant gives."""
    for key in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if key in node.attributes:
            value = node.attributes[key]
            if not isinstance(value, np.ndarray):
                value = np.asarray(value, np.float32 if "float" in key else np.int64)
            return Constant(value)
    raise Refused("a constant of another kind than numbers")


def quantized(node: NodeRecord, constants: Sequence[Constant], *, keep: bool) -> Constant:
    """What a QuantizeLinear makes of a float constant, as training with quantization in mind
    leaves it. keep: only integers that TFLite has."""
    given = len(node.inputs) > 2 and node.inputs[2] != ""
    dtype = constants[2].data.dtype if given else np.dtype(np.uint8)
    _check_integers(node, dtype, ("int8", "uint8"), keep)
    q, shape = _along(node, constants, dtype.name)
    steps = np.rint(constants[0].data.astype(np.float32) / q.scales.reshape(shape))
    steps = steps + (q.zero_points.reshape(shape) + (128 if dtype == np.uint8 else 0))
    limits = np.iinfo(dtype)
    return Constant(np.clip(np.nan_to_num(steps), limits.min, limits.max).astype(dtype))


def dequantized(node: NodeRecord, constants: Sequence[Constant], *, keep: bool) -> Constant:
    """What a DequantizeLinear makes of weights and biases in QDQ form. keep: with their
    quantization, which must be one that TFLite has."""
    values = constants[0].data
    _check_integers(node, values.dtype, ("int8", "uint8", "int32"), keep)
    q, shape = _along(node, constants, values.dtype.name)
    if values.dtype == np.uint8:
        values = (values.astype(np.int16) - 128).astype(np.int8)
    steps = values.astype(np.int64) - q.zero_points.reshape(shape)
    data = (steps * q.scales.astype(np.float64).reshape(shape)).astype(np.float32)
    return Constant(data, values, q) if keep else Constant(data)


def transposed(node: NodeRecord, constant: Constant, data: Array) -> Constant:
    """A constant that a Transpose turned into ``data``, with its quantization if it has one."""
    q, values = constant.quantization, constant.integers
    if q is None or values is None:
        return Constant(data)
    order = node.attributes.get("perm", list(range(data.ndim))[::-1])
    axis = order.index(q.axis)
    return Constant(data, values.transpose(order), replace(q, axis=axis))


def _along(
    node: NodeRecord, constants: Sequence[Constant], kind: str
) -> tuple[Quantization, list[int]]:
    """Quantization of a constant, and the shape in which its scales meet the values."""
    values, name = constants[0].data, node.inputs[0]
    given = zip(constants[1:], node.inputs[1:], strict=True)
    scales, zero_points = parameters([c for c, n in given if n], kind)
    axis = 0
    if len(scales) > 1:
        axis = int(node.attributes.get("axis", 1)) % max(values.ndim, 1)
    if len(scales) not in (1, values.shape[axis] if values.ndim else 1):
        raise Refused(f"{len(scales)} scales of {name}: blocks are not TFLite's")
    shape = [len(scales) if d == axis else 1 for d in range(values.ndim)]
    return Quantization(scales, zero_points, axis), shape


def _check_integers(
    node: NodeRecord, dtype: np.dtype[Any], known: Sequence[str], keep: bool
) -> None:
    if dtype.kind not in "iu":
        raise Refused(f"integers of type {dtype}")
    if keep and dtype.name not in known:
        raise NotTflites(f"{node.inputs[0]} in {dtype}; TFLite's are {', '.join(known)}")
