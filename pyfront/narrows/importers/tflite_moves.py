# SPDX-License-Identifier: Apache-2.0
"""Builders of the operators of a ``.tflite`` file that move or resample elements. A docstring ends
a line of the table of supported operators."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Literal

from narrows.graph.graph import MAX_DIMENSION, Concat, Pad, Reshape, Resize, Slice
from narrows.graph.qgraph import Axis
from narrows.importers.tflite_layers import named_axes
from narrows.importers.tflite_node import Node, Refused, UnknownShape, per_tensor, same_quantization
from narrows.importers.views import View, regroup


def _common_layout(node: Node, count: int) -> list[View]:
    """Inputs 0 to count - 1 in one layout, for operators that only move elements."""
    views = [node.view(i) for i in range(count)]
    if len({v.axes for v in views}) == 1:
        return views
    return [node.plain(i) for i in range(count)]


def concatenation(node: Node) -> None:
    """Along height, width or channels."""
    count = len(node.operator.inputs)
    rank = len(node.output().shape)
    if any(len(node.input(i).shape) != rank for i in range(count)):
        raise Refused("its inputs differ in rank")
    (dimension,) = named_axes(node, [node.options["Axis"]], rank)
    views = _common_layout(node, count)
    axis = views[0].axis(dimension)
    if axis is None or any(v.axis(dimension) != axis for v in views):
        views = [node.plain(i) for i in range(count)]
        axis = views[0].axis(dimension)
    if axis is None:
        raise Refused(f"axis {dimension} of shape {list(node.output().shape)} is a batch")
    storage = list(views[0].storage)
    storage[axis] = sum(v.storage[axis] for v in views)
    others = [a for a in Axis if a != axis]
    if any(v.storage[a] != storage[a] for v in views for a in others):
        raise Refused("its inputs' shapes do not fit together")
    whole = (storage[0], storage[1], storage[2])
    y = node.new(whole)
    node.emit(Concat(tuple(v.tensor for v in views), y, axis))
    node.result(views[0].on(y, whole))


def resize(node: Node) -> None:
    """The size is a constant; align_corners and half_pixel_centers as TFLite Micro has them."""
    x = node.plain(0)
    size = [int(n) for n in node.values(1, "size")]
    corners, centers = bool(node.options["AlignCorners"]), bool(node.options["HalfPixelCenters"])
    function: Literal["nearest", "bilinear"] = (
        "bilinear" if node.name == "RESIZE_BILINEAR" else "nearest"
    )
    if len(size) != 2 or (corners and centers and function == "bilinear"):
        raise Refused(f"size {size}, align_corners and half_pixel_centers both set")
    storage = (size[0], size[1], x.storage[2])
    y = node.new(storage)
    node.emit(Resize((x.tensor,), y, function, corners, centers))
    node.result(x.on(y, storage))


def _slice_of(node: Node, i: int, begin: list[int], stride: list[int], size: list[int]) -> View:
    """Input i cut along its dimensions, before any of them is dropped."""
    for x in (node.view(i), None):
        if x is None:
            x = node.plain(i)
        first, step, storage = [0, 0, 0], [1, 1, 1], list(x.storage)
        for d, n in enumerate(x.shape):
            if (begin[d], stride[d], size[d]) == (0, 1, n) or (n == size[d] == 1):
                continue
            axis = x.axis(d)
            if axis is None:
                break
            first[axis], step[axis], storage[axis] = begin[d], stride[d], size[d]
        else:
            break
    else:
        raise Refused("it cuts the batch")
    if max(*first, *step) > MAX_DIMENSION:
        raise Refused(f"begin {begin}, stride {stride}")
    cut = (storage[0], storage[1], storage[2])
    output = node.importer.tensor(node.output().name, cut, None)
    node.emit(
        Slice((x.tensor,), output, (first[0], first[1], first[2]), (step[0], step[1], step[2]))
    )
    return x.on(output, cut)


def _finish_slice(node: Node, view: View, i: int = 0) -> None:
    record, made = node.output(i), node.importer.tensors[view.tensor]
    node.importer.tensors[view.tensor] = replace(
        made, name=record.name, quantization=record.quantization
    )
    node.result(view, i)


def cut(node: Node) -> None:
    """Begin and size are constants."""
    shape = node.input(0).shape
    begin = [int(n) for n in node.values(1, "begin")]
    size = [int(n) for n in node.values(2, "size")]
    if len(begin) != len(shape) or len(size) != len(shape):
        raise Refused(f"begin {begin} and size {size} of shape {list(shape)}")
    size = [n - b if s == -1 else s for n, b, s in zip(shape, begin, size, strict=True)]
    if any(b < 0 or s < 1 or b + s > n for n, b, s in zip(shape, begin, size, strict=True)):
        raise Refused(f"begin {begin} and size {size} of shape {list(shape)}")
    _finish_slice(node, _slice_of(node, 0, begin, [1] * len(shape), size))


def strided_slice(node: Node) -> None:
    """Begin, end and strides are constants; strides are positive; no new_axis, no ellipsis."""
    shape = node.input(0).shape
    rank = len(shape)
    operands = [[int(n) for n in node.values(i, "range")] for i in (1, 2, 3)]
    if any(len(values) != rank for values in operands):
        raise Refused(f"ranges {operands} of shape {list(shape)}")
    if node.options["EllipsisMask"] or node.options["NewAxisMask"] or node.options["Offset"]:
        raise Refused("ellipsis, new_axis or offset")
    begin, size, dropped = [], [], set()
    for d, (n, b, e, s) in enumerate(zip(shape, *operands, strict=True)):
        if s < 1:
            raise Refused(f"stride {s}")
        b = 0 if node.options["BeginMask"] >> d & 1 else min(max(b + n * (b < 0), 0), n)
        e = n if node.options["EndMask"] >> d & 1 else min(max(e + n * (e < 0), 0), n)
        if node.options["ShrinkAxisMask"] >> d & 1:
            e = b + 1
            dropped.add(d)
        count = -(-(e - b) // s)
        if count < 1 or b >= n:
            raise Refused("its result is empty")
        begin.append(b)
        size.append(count)
    view = _slice_of(node, 0, begin, operands[2], size)
    kept = [d for d in range(rank) if d not in dropped]
    _finish_slice(
        node,
        replace(
            view,
            shape=tuple(view.shape[d] for d in kept),
            axes=tuple(view.axes[d] for d in kept),
        ),
    )


def split(node: Node) -> None:
    """The axis is a constant and not the batch."""
    value, axis = (1, 0) if node.name == "SPLIT" else (0, 2)
    shape = node.input(value).shape
    axes = node.values(axis, "axis")
    if len(axes) != 1:
        raise Refused(f"{len(axes)} axes")
    (d,) = named_axes(node, axes, len(shape))
    parts = len(node.operator.outputs)
    if node.name == "SPLIT":
        sizes = [shape[d] // parts] * parts
    else:
        sizes = [int(n) for n in node.values(1, "sizes")]
        if sizes.count(-1) == 1:
            rest = shape[d] - sum(sizes) - 1
            sizes = [rest if n == -1 else n for n in sizes]
    if len(sizes) != parts or min(sizes) < 1 or sum(sizes) != shape[d]:
        raise Refused(f"{parts} parts of sizes {sizes} along {shape[d]}")
    begin = 0
    for i, size in enumerate(sizes):
        starts, extents = [0] * len(shape), list(shape)
        starts[d], extents[d] = begin, size
        _finish_slice(node, _slice_of(node, value, starts, [1] * len(shape), extents), i)
        begin += size


def pad(node: Node) -> None:
    """Paddings are constants; not of the batch. Folded into a convolution that reads it alone,
    if the constant is the zero point."""
    x = node.view(0)
    rank = len(x.shape)
    values = node.values(1, "paddings")
    if len(values) != 2 * rank:
        raise Refused(f"{len(values)} paddings of {rank} dimensions")
    amounts = [(int(b), int(a)) for b, a in values.reshape(rank, 2)]
    if any(not 0 <= n <= MAX_DIMENSION for pair in amounts for n in pair):
        raise Refused(f"paddings {amounts}")
    q = per_tensor(node.output())
    value: float = 0 if q is None else q.zero_point
    if node.name == "PADV2" and node.has(2):
        constant = node.input(2)
        if constant.data is None or constant.data.size != 1:
            raise Refused("its value is not a constant")
        if constant.dtype != node.importer.dtype:
            raise Refused(f"its value is {constant.dtype} instead of {node.importer.dtype}")
        if not node.is_float and not same_quantization(constant, node.output()):
            raise Refused("its value is not quantized as its output")
        value = constant.data.reshape(-1)[0].item()
    if any(pair != (0, 0) and x.axis(d) is None for d, pair in enumerate(amounts)):
        x = node.plain(0)
    before, storage = [0, 0, 0], list(x.storage)
    for d, (first, last) in enumerate(amounts):
        axis = x.axis(d)
        if (first, last) != (0, 0):
            if axis is None:
                raise Refused("it pads the batch")
            before[axis], storage[axis] = first, storage[axis] + first + last
    whole = (storage[0], storage[1], storage[2])
    y = node.new(whole)
    node.emit(Pad((x.tensor,), y, (before[0], before[1], before[2]), value))
    node.result(x.on(y, whole))


def reshape(node: Node) -> None:
    """Any shapes of as many elements."""
    x, shape = node.view(0), node.output().shape
    if prod(shape) != prod(x.shape):
        raise UnknownShape(
            f"the file states shape {list(shape)} for the elements of {list(x.shape)}, so its "
            "shapes are found only when it runs; convert the model for inputs of a fixed shape"
        )
    if x.tensor in node.importer.pending and regroup(x, shape) is None:
        raise Refused(f"{list(x.shape)} into {list(shape)} before the input is quantized")
    if not node.is_float and not same_quantization(node.input(0), node.output()):
        y = node.new(x.storage)
        node.emit(Reshape((x.tensor,), y))
        x = replace(x, tensor=y)
    node.result(node.importer.reshaped(x, shape))


def transpose(node: Node) -> None:
    """Absorbed by what reads it: MEAN, FULLY_CONNECTED, elementwise operators, another
    TRANSPOSE, a RESHAPE that only joins or splits off dimensions."""
    x = node.view(0)
    order = [int(n) for n in node.values(1, "permutation")]
    order = [n + len(order) * (n < 0) for n in order]
    if sorted(order) != list(range(len(x.shape))):
        raise Refused(f"permutation {order}")
    node.result(
        replace(
            x,
            shape=tuple(x.shape[d] for d in order),
            axes=tuple(x.axes[d] for d in order),
        )
    )
