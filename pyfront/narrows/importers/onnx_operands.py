# SPDX-License-Identifier: Apache-2.0
"""Constants that an operator of an ONNX graph reads: weights, biases and operands, in the order in
which the graph stores them and with the quantization that TFLite's rules allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from narrows.graph.graph import Array, Tensor
from narrows.graph.qgraph import Axis
from narrows.importers.build_layers import of_rank
from narrows.importers.onnx_constants import Constant, NotTflites
from narrows.importers.onnx_node import Node
from narrows.importers.refusals import Refused
from narrows.importers.views import CHANNELS, HEIGHT, WIDTH, View


def rows_of(constant: Constant, rows: slice) -> Constant:
    q = constant.quantization
    if q is not None and len(q.scales) > 1 and q.axis == 0:
        q = replace(q, scales=q.scales[rows], zero_points=q.zero_points[rows])
    whole = constant.integers
    return Constant(constant.data[rows], None if whole is None else whole[rows], q)


def with_kernel(constant: Constant, axes: Sequence[Axis]) -> Constant:
    """Weights whose last dimensions are height and width. axes: which of these each dimension
    behind the first two is; one that is neither has size 1."""

    def turned(values: Array) -> Array:
        if len(axes) == 1:
            return np.expand_dims(values, 2 if axes[0] is WIDTH else 3)
        return values if axes[0] is HEIGHT else values.swapaxes(2, 3)

    whole = constant.integers
    integers = None if whole is None else turned(whole)
    return Constant(turned(constant.data), integers, constant.quantization)


def weights(
    node: Node, i: int, constant: Constant, order: Sequence[int], squeeze: int | None = None
) -> int:
    """A constant in the Graph's order. order: of dimensions, without one of size 1 to drop."""
    data, q = constant.data, constant.quantization
    whole = (*order, squeeze) if squeeze is not None else tuple(order)
    shape = tuple(data.shape[d] for d in order)
    values = np.ascontiguousarray(data.transpose(whole).reshape(shape), np.float32)
    if q is not None:
        name = node.record.inputs[i]
        if q.zero_points.any():
            raise NotTflites(f"{name} has a zero point; TFLite's weights are symmetric")
        channel = 2 if squeeze is not None else 0
        if len(q.scales) > 1 and q.axis != order[channel]:
            raise NotTflites(f"{name} is quantized along dimension {q.axis}, not output channels")
        if constant.integers is None or constant.integers.dtype != np.int8:
            raise NotTflites(f"{name} is not quantized to 8 bits")
        q = replace(q, axis=channel if len(q.scales) > 1 else 0)
    tensor = Tensor(node.record.inputs[i], shape, "float32", q, values)
    return node.importer.constant(tensor)


def bias(node: Node, i: int, channels: int, rows: slice | None = None) -> int | None:
    if not node.has(i):
        return None
    constant = node.constant(i, "bias")
    name, q = node.record.inputs[i], constant.quantization
    values = constant.data
    if q is not None:
        assert constant.integers is not None
        if constant.integers.dtype != np.int32 or q.zero_points.any():
            raise NotTflites(f"bias {name} is not int32 with zero point 0")
        values = constant.integers
    elif values.dtype.kind != "f":
        raise Refused(f"bias {name} is {values.dtype}")
    if values.size not in (1, channels):
        raise Refused(f"{values.size} biases for {channels} output channels")
    values = np.broadcast_to(values.reshape(-1), (channels,))
    if rows is not None:
        values = values[rows]
        if q is not None and len(q.scales) > 1:
            q = replace(q, scales=q.scales[rows], zero_points=q.zero_points[rows])
    dtype: Literal["float32", "int32"] = "float32" if q is None else "int32"
    if q is not None and len(q.scales) > 1 and len(q.scales) != len(values):
        raise Refused(f"{len(q.scales)} scales of {len(values)} biases {name}")
    data = np.ascontiguousarray(values).astype(dtype)
    return node.importer.constant(Tensor(name, data.shape, dtype, q, data))


def operand(node: Node, i: int, other: View) -> View:
    """A constant, stored as the operand that it meets."""
    name, constant = node.record.inputs[i], node.constant(i, "operand")
    data, q = constant.data, constant.quantization
    if data.dtype.kind != "f":
        raise Refused(f"{name} is a constant of {data.dtype}")
    if q is not None and (
        len(q.scales) != 1 or constant.integers is None or constant.integers.dtype != np.int8
    ):
        raise NotTflites(f"{name} is not int8 with one scale")
    rank = max(len(other.shape), data.ndim)
    other = of_rank(node.importer, other, rank)
    shape = (1,) * (rank - data.ndim) + data.shape
    axes = _met_axes(other, shape)
    # The stored axes in the order of the constant's dimensions, and their sizes.
    labels, sizes = list[Axis](), list[int]()
    for n, whole, group in zip(shape, other.shape, axes, strict=True):
        if n != 1:
            labels += group
            sizes += [other.storage[a] for a in group] if n == whole else [n]
    order = sorted(range(len(labels)), key=lambda k: labels[k])
    lengths = dict(zip(labels, sizes, strict=True))
    storage = (lengths.get(HEIGHT, 1), lengths.get(WIDTH, 1), lengths.get(CHANNELS, 1))
    stored = np.ascontiguousarray(data.reshape(sizes).transpose(order))
    return node.importer.placed(name, shape, (storage, axes), q, stored)


def _met_axes(other: View, shape: tuple[int, ...]) -> tuple[tuple[Axis, ...], ...]:
    """For each dimension of a constant the stored axes of the operand that it meets; where it is
    longer than that, an axis that the operand leaves free."""
    used = set(other.order())
    axes: list[tuple[Axis, ...]] = []
    for d, n in enumerate(shape):
        if n == 1:
            axes.append(other.axes[d])
        elif n == other.shape[d]:
            axes.append(tuple(a for a in other.axes[d] if other.storage[a] > 1))
        else:
            free = [a for a in (*other.axes[d], *Axis) if a not in used]
            if other.shape[d] != 1 or not free:
                raise Refused(f"shapes {list(other.shape)} and {list(shape)}")
            axes.append((free[0],))
            used.add(free[0])
    return tuple(axes)


def replaced(node: Node, i: int, data: Array) -> None:
    """Other values for a constant input of this node alone."""
    inputs = list(node.record.inputs)
    inputs[i] = f"{inputs[i]}/{node.record.index}"
    node.importer.values[inputs[i]] = Constant(data)
    node.record = replace(node.record, inputs=tuple(inputs))
