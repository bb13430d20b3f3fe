# SPDX-License-Identifier: Apache-2.0
"""Builders of the operators of a ``.tflite`` file that move or resample elements. A docstring ends
a line of the table of supported operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Literal

import numpy as np
import tflite

from narrows.graph.moves import Rearrangement, Reshape
from narrows.importers import build_moves as moves
from narrows.importers.build_layers import dimensions
from narrows.importers.refusals import Refused
from narrows.importers.tflite_checks import is_number
from narrows.importers.tflite_node import Node, UnknownShape, per_tensor, same_quantization
from narrows.importers.views import HEIGHT, WIDTH, AnyView, regroup

# TensorFlow Lite's own limit of a tensor's dimensions.
_MAX_RANK = 8
# TensorFlow Lite Micro's limit of the inputs of a CONCATENATION.
_MAX_COPIES = 10
_MIRRORS: dict[int, Literal["reflect", "symmetric"]] = {
    tflite.MirrorPadMode.REFLECT: "reflect",
    tflite.MirrorPadMode.SYMMETRIC: "symmetric",
}


def concatenation(node: Node) -> None:
    """Along height, width or channels."""
    count, rank = node.input_count, len(node.output().shape)
    if any(len(node.input(i).shape) != rank for i in range(count)):
        raise Refused("its inputs differ in rank")
    (dimension,) = dimensions([node.options["Axis"]], rank)
    moves.concat(node, [node.view(i) for i in range(count)], dimension)


def pack(node: Node) -> None:
    """Along a new dimension that is height, width or channels."""
    if node.options["ValuesCount"] != node.input_count:
        raise Refused(f"{node.input_count} inputs instead of {node.options['ValuesCount']}")
    (dimension,) = dimensions([node.options["Axis"]], len(node.input(0).shape) + 1)
    moves.stack(node, [node.view(i) for i in range(node.input_count)], dimension)


def unpack(node: Node) -> None:
    """Along height, width or channels."""
    if node.options["Num"] != node.output_count:
        raise Refused(f"{node.output_count} outputs instead of {node.options['Num']}")
    x = node.view(0)
    (dimension,) = dimensions([node.options["Axis"]], len(x.shape))
    moves.split(node, x, dimension, [1] * x.shape[dimension], keep=False)


def gather(node: Node) -> None:
    """Indices are a constant; they are up to 64 runs of equal steps; no batch dimensions."""
    if node.options["BatchDims"]:
        raise Refused(f"{node.options['BatchDims']} batch dimensions")
    indices = node.values(1, "indices").reshape(node.input(1).shape)
    x = node.view(0)
    (dimension,) = dimensions([node.options["Axis"]], len(x.shape))
    moves.gather(node, x, dimension, indices)


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
    node.result(moves.resized(node, x, size, function, corners=corners, centers=centers))


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
    node.result(moves.cut(node, node.view(0), begin, [1] * len(shape), size))


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
    view = moves.cut(node, node.view(0), begin, operands[2], size)
    node.result(view.picked([d for d in range(rank) if d not in dropped]))


def split(node: Node) -> None:
    """The axis is a constant and not the batch."""
    value, axis = (1, 0) if node.name == "SPLIT" else (0, 2)
    shape = node.input(value).shape
    axes = node.values(axis, "axis")
    if len(axes) != 1:
        raise Refused(f"{len(axes)} axes")
    (d,) = dimensions(axes, len(shape))
    parts = node.output_count
    if node.name == "SPLIT":
        sizes = [shape[d] // parts] * parts
    else:
        sizes = [int(n) for n in node.values(1, "sizes")]
        if sizes.count(-1) == 1:
            rest = shape[d] - sum(sizes) - 1
            sizes = [rest if n == -1 else n for n in sizes]
    moves.split(node, node.view(value), d, sizes)


def pad(node: Node) -> None:
    """Paddings are constants; not of the batch. Folded into a convolution that reads it alone,
    if the constant is the zero point."""
    amounts = _amounts(node)
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
    moves.pad(node, node.view(0), amounts, value)


def mirror_pad(node: Node) -> None:
    """Paddings are constants that add up to 63 elements to a dimension; not of the batch."""
    mode = node.options.get("Mode")
    if mode not in _MIRRORS:
        raise Refused("it has no mode" if mode is None else f"mode {mode}")
    moves.pad_with_itself(node, node.view(0), _amounts(node), _MIRRORS[mode])


def _amounts(node: Node) -> list[tuple[int, int]]:
    """How many elements are added before and after each dimension."""
    rank, values = len(node.input(0).shape), node.values(1, "paddings")
    if len(values) != 2 * rank:
        raise Refused(f"{len(values)} paddings of {rank} dimensions")
    return [(int(b), int(a)) for b, a in values.reshape(rank, 2)]


def reshape(node: Node) -> None:
    """Any shapes of as many elements."""
    repeated = node.importer.repeats.get(node.operator.inputs[0])
    x = node.pieces(0) if repeated is None else repeated
    shape = _target(node, x)
    if prod(shape) != prod(x.shape):
        raise UnknownShape(
            f"the file states shape {list(shape)} for the elements of {list(x.shape)}, so its "
            "shapes are found only when it runs; convert the model for inputs of a fixed shape"
        )
    if x.tensor in node.importer.pending and regroup(x, shape) is None:
        raise Refused(f"{list(x.shape)} into {list(shape)} before the input is quantized")
    rescales = not node.is_float and not is_number(node)
    if rescales and not same_quantization(node.input(0), node.output()):
        y = node.new(x.storage)
        node.emit(Reshape((x.tensor,), y))
        x = replace(x, tensor=y)
    node.result(node.importer.pieced(x, shape), anew=True)


def _target(node: Node, x: AnyView) -> tuple[int, ...]:
    """The shape that a RESHAPE or its like gives: the file's, unless that has another number of
    elements. Then it is found only when the model runs, as the operand says."""
    stated = node.output().shape
    known = node.input(1).data if node.has(1) else None
    if known is None or known.dtype.kind != "i":
        return stated
    if node.name == "EXPAND_DIMS" and node.is_resized:
        (d,) = dimensions(node.values(1, "axis"), len(x.shape) + 1)
        return (*x.shape[:d], 1, *x.shape[d:])
    if node.name != "RESHAPE" or (prod(stated) == prod(x.shape) and not node.is_resized):
        return stated
    shape = [int(n) for n in known.reshape(-1)]
    if shape.count(-1) == 1:
        rest = -prod(shape)
        shape = [prod(x.shape) // rest if n == -1 and rest > 0 else n for n in shape]
    return stated if len(shape) > _MAX_RANK or min(shape, default=1) < 1 else tuple(shape)


def reverse(node: Node) -> None:
    """Up to 64 elements of one dimension, which is a constant."""
    x, axes = node.view(0), node.values(1, "axis")
    if axes.size != 1:
        raise Refused(f"{axes.size} axes")
    (d,) = dimensions([int(axes.reshape(-1)[0])], len(x.shape))
    moves.gather(node, x, d, np.arange(x.shape[d])[::-1])


def tile(node: Node) -> None:
    """Along one dimension: up to 10 copies, any number of a dimension of size 1. Rows or columns
    are repeated one by one where EXPAND_DIMS, TILE and RESHAPE do so."""
    x = node.view(0)
    counts = [int(n) for n in node.values(1, "multiples")]
    if len(counts) != len(x.shape) or min(counts, default=1) < 1:
        raise Refused(f"multiples {counts} of shape {list(x.shape)}")
    tiled = [d for d, n in enumerate(counts) if n != 1]
    if not tiled:
        node.result(x)
        return
    if len(tiled) != 1:
        raise Refused(f"multiples {counts}; one of them may differ from 1")
    (d,) = tiled
    if x.shape[d] != 1:
        if counts[d] > _MAX_COPIES:
            raise Refused(f"{counts[d]} copies, up to {_MAX_COPIES} are supported")
        moves.concat(node, [x] * counts[d], d)
        return
    # An element of a dimension without an axis is repeated with the one of the dimension before.
    inserted = x.axis(d) is None
    whole = x.picked([n for n in range(len(x.shape)) if n != d]) if inserted else x
    axis = x.axis(d - inserted) if d >= inserted else None
    if axis not in (HEIGHT, WIDTH):
        node.result(moves.repeated(node, x, counts))
        return
    size = [n * (counts[d] if a == axis else 1) for a, n in enumerate(x.storage[:2])]
    made = moves.resized(node, whole, size, "nearest", corners=False, centers=True)
    if inserted:
        node.importer.repeats[node.operator.outputs[0]] = made
    else:
        node.result(made)


def transpose(node: Node) -> None:
    """Any number of dimensions, of which up to five change places. Absorbed by RESHAPE, another
    TRANSPOSE, elementwise operators, MEAN and FULLY_CONNECTED where these can."""
    x = node.pieces(0)
    order = [int(n) for n in node.values(1, "permutation")]
    order = [n + len(order) * (n < 0) for n in order]
    node.result(moves.permuted(node, x, order))


def options_of(kind: type[Rearrangement]) -> tuple[str, ...]:
    """The options of an operator as the schema's reader calls them."""
    return tuple(name.title().replace("_", "") for name in kind.in_tflite.fields)


def rearrangement(kind: type[Rearrangement]) -> Callable[[Node], None]:
    """The builder of an operator that only rearranges."""

    def build(node: Node) -> None:
        fields = zip(options_of(kind), kind.in_tflite.fields.values(), strict=True)
        options = {field: int(node.options[name]) for name, field in fields}
        moves.rearrange(node, node.plain(0), kind, options)

    build.__doc__ = kind.constraints
    return build
