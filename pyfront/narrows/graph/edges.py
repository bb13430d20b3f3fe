# SPDX-License-Identifier: Apache-2.0
"""Between the model's own inputs and outputs and the int8 tensors inside."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.errors import InputError
from narrows.graph.qgraph import Edge, Int8Array, QTensor

Array: TypeAlias = npt.NDArray[Any]


def to_internal(edge: Edge, tensor: QTensor, array: Array) -> Int8Array:
    """Convert an input of the network.

    Args:
        array: the edge's shape, with or without the batch dimension, in the edge's dtype; or
            real values (float16, float32, float64), which are quantized with the edge's scale
            as TFLite's QUANTIZE does it: ``round(x / scale) + zero_point`` in float32, halves
            away from zero, clamped.

    Returns:
        int8 [height, width, channels].

    Raises:
        InputError: another shape or dtype, or a NaN.
    """
    if array.shape not in (edge.shape, edge.shape[1:]) or (
        array.shape == edge.shape[1:] and edge.shape[0] != 1
    ):
        raise InputError(
            f"input {edge.name}: shape {list(array.shape)} instead of {list(edge.shape)}"
        )
    values: Array = array
    if array.dtype.kind == "f":
        scale, zero_point = edge.scale, edge.zero_point
        if edge.dtype == "float32":
            scale, zero_point = tensor.scale, tensor.zero_point
        low, high = (0, 255) if edge.dtype == "uint8" else (-128, 127)
        quantized = _quantize(edge.name, array, scale, zero_point, low, high)
        values = quantized.astype(np.uint8 if edge.dtype == "uint8" else np.int8)
    elif array.dtype.name != edge.dtype:
        wanted = "" if edge.dtype == "float32" else f"{edge.dtype} or "
        raise InputError(f"input {edge.name}: {array.dtype} instead of {wanted}float32")
    if edge.dtype == "uint8":
        assert edge.table is not None
        values = np.frombuffer(edge.table, np.int8)[values]
    return values.reshape(tensor.height, tensor.width, tensor.channels)


def to_external(edge: Edge, tensor: QTensor, array: Int8Array) -> Array:
    """Convert an output of the network to the model's own dtype and shape.

    Args:
        array: int8 [height, width, channels].

    Returns:
        int8, uint8 or float32 in the edge's shape.

    Raises:
        InputError: another shape or dtype.
    """
    if array.dtype != np.int8 or array.size != tensor.bytes:
        raise InputError(f"output {edge.name}: {array.dtype} of shape {list(array.shape)}")
    values: Array = array.reshape(edge.shape)
    if edge.dtype == "uint8":
        assert edge.table is not None
        values = np.frombuffer(edge.table, np.uint8)[values.view(np.uint8)]
    elif edge.dtype == "float32":
        real = tensor.scale * (values.astype(np.float64) - tensor.zero_point)
        values = real.astype(np.float32)
    return values


def _quantize(
    name: str, x: Array, scale: float, zero_point: int, low: int, high: int
) -> npt.NDArray[np.float64]:
    if np.isnan(x).any():
        raise InputError(f"input {name}: a value that is not a number")
    with np.errstate(over="ignore"):
        steps = (x.astype(np.float32) / np.float32(scale)).astype(np.float64)
    rounded = np.copysign(np.floor(np.abs(steps) + 0.5), steps)
    clipped: npt.NDArray[np.float64] = np.clip(rounded + zero_point, low, high)
    return clipped
