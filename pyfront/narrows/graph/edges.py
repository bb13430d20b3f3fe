# SPDX-License-Identifier: Apache-2.0
"""Between the model's own inputs and outputs and the int8 tensors inside: TFLite's formulas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.errors import InputError
from narrows.graph.qgraph import Edge, Elements, ExternalDtype, Int8Array, QTensor

Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class HostEdge:
    """All that the host needs to convert an input or output, without the network.

    dtype, shape, scale, zero_point: as the outside sees it (graph.qgraph.Edge).
    tensor_scale, tensor_zero_point: of the int8 tensor behind it.
    table: 256 bytes for uint8, else None.
    channels_first: as graph.Port has it.
    elements: as graph.qgraph.Edge has it.
    """

    name: str
    dtype: ExternalDtype
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    tensor_scale: float
    tensor_zero_point: int
    table: bytes | None = None
    channels_first: bool = False
    elements: Elements = "int8"

    @property
    def bytes(self) -> int:
        """Bytes of the tensor behind it."""
        return prod(self.shape) * np.dtype(self.elements).itemsize

    @property
    def shape_in_file(self) -> tuple[int, ...]:
        """The shape as the model's file has it."""
        if not self.channels_first:
            return self.shape
        batch, *pixels, channels = self.shape
        return (batch, channels, *pixels)


def host_edge(edge: Edge, tensor: QTensor) -> HostEdge:
    """An edge with what it needs of its tensor."""
    return HostEdge(
        name=edge.name,
        dtype=edge.dtype,
        shape=edge.shape,
        scale=edge.scale,
        zero_point=edge.zero_point,
        tensor_scale=tensor.scale,
        tensor_zero_point=tensor.zero_point,
        table=edge.table,
        channels_first=edge.channels_first,
        elements=edge.elements,
    )


def to_internal(edge: Edge, tensor: QTensor, array: Array) -> Int8Array:
    """An input as a user has it (see conform) -> int8 [height, width, channels]."""
    outside = host_edge(edge, tensor)
    inside = encode(outside, conform(outside, array, "array"))
    return inside.reshape(tensor.height, tensor.width, tensor.channels)


def to_external(edge: Edge, tensor: QTensor, array: Int8Array) -> Array:
    """int8 [height, width, channels] -> what the model itself would give."""
    return decode(host_edge(edge, tensor), array)


def quantize(values: Array, scale: float, zero_point: int, dtype: type[np.integer[Any]]) -> Array:
    """TFLite's QUANTIZE: divide in float32, round halves away from zero, clamp."""
    # The quotient is a float32; half is added in float64, where nothing is lost.
    scaled = (values.astype(np.float32) / np.float32(scale)).astype(np.float64)
    rounded = np.trunc(scaled + np.copysign(0.5, scaled)) + zero_point
    info = np.iinfo(dtype)
    result: Array = np.clip(rounded, info.min, info.max).astype(dtype)
    return result


def dequantize(values: Array, scale: float, zero_point: int) -> npt.NDArray[np.float32]:
    """TFLite's DEQUANTIZE."""
    result = np.float64(scale) * (values.astype(np.int32) - zero_point)
    return np.asarray(result, np.float32)


def channels_last(edge: HostEdge, values: Array) -> Array:
    """An array whose channels may come before its height and width, or its length, with channels
    last.

    An array that fits both orders has the order of the model's file.
    """
    if len(edge.shape) not in (3, 4):
        return values
    batch, *pixels, channels = edge.shape
    first = (channels, *pixels)
    turned = values.shape in (first, (batch, *first))
    plain = core_shape(values.shape) == core_shape(edge.shape)
    if not turned or (plain and not edge.channels_first):
        return values
    return np.moveaxis(values, -len(first), -1)


def in_file(edge: HostEdge, values: Array) -> Array:
    """What the model takes -> what its file takes, which may have its channels first."""
    return np.moveaxis(values, -1, 1) if edge.channels_first else values


def conform(edge: HostEdge, values: Array, name: str) -> Array:
    """An array as a user has it -> what the model itself takes.

    Args:
        values: the edge's own dtype, or floats, in the edge's shape (batch dimension optional),
            or with channels first.
        name: what errors call it.

    Returns: the edge's dtype and shape.

    Raises: InputError: another shape or dtype.
    """
    shape, values = values.shape, channels_last(edge, values)
    if core_shape(values.shape) != core_shape(edge.shape):
        raise InputError(
            f"{name}: shape {shape}, but input {edge.name} is {edge.shape_in_file}; "
            "give an array of that shape"
        )
    if np.issubdtype(values.dtype, np.floating):
        with np.errstate(over="ignore"):
            values = values.astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise InputError(f"{name}: has values that are not finite; give finite numbers")
        if edge.dtype != "float32":
            dtype = np.int8 if edge.dtype == "int8" else np.uint8
            values = quantize(values, edge.scale, edge.zero_point, dtype)
    if values.dtype != np.dtype(edge.dtype):
        raise InputError(
            f"{name}: dtype {values.dtype}, but input {edge.name} takes {edge.dtype} or floats; "
            f"convert it with astype"
        )
    return values.reshape(edge.shape)


def encode(edge: HostEdge, values: Array) -> Int8Array:
    """What the model takes -> the int8 tensor behind that input, as many elements."""
    if edge.dtype == "float32":
        return quantize(values, edge.tensor_scale, edge.tensor_zero_point, np.int8)
    if edge.table is not None:
        return np.frombuffer(edge.table, np.int8)[values]
    return values


def decode(edge: HostEdge, values: Int8Array) -> Array:
    """The int8 tensor behind an output -> what the model itself would give.

    Returns: the edge's dtype and shape.
    """
    if edge.elements != "int8":  # TFLite's CAST
        whole = np.ascontiguousarray(values).view(np.dtype(edge.elements).newbyteorder("<"))
        cast: Array = whole.reshape(edge.shape).astype(edge.dtype)
        return cast
    values = values.reshape(edge.shape)
    if edge.dtype == "float32":
        return dequantize(values, edge.tensor_scale, edge.tensor_zero_point)
    if edge.table is not None:
        return np.frombuffer(edge.table, np.uint8)[values.view(np.uint8)]
    return values


def real(edge: HostEdge, values: Array) -> npt.NDArray[np.float32]:
    """Output values of the edge's own dtype as real numbers: scores for people."""
    if edge.dtype == "float32" or edge.elements != "int8":
        return values.astype(np.float32, copy=False)
    return dequantize(values, edge.scale, edge.zero_point)


def core_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without leading ones."""
    first = next((i for i, n in enumerate(shape) if n != 1), len(shape))
    return tuple(shape[first:])
