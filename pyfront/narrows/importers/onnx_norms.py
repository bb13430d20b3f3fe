# SPDX-License-Identifier: Apache-2.0
"""Builders of normalizations by what an input itself holds. A docstring ends a line of the table of
supported operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np

from narrows.graph.graph import Activation, Binary, Reduction, UnaryFunction
from narrows.graph.moves import Reshape
from narrows.graph.qgraph import Axis, Elementwise
from narrows.importers import build_layers as layers
from narrows.importers.onnx_functions import function_of, reciprocal_of
from narrows.importers.onnx_layers import reduced, softmax_input, with_number
from narrows.importers.onnx_node import Node
from narrows.importers.onnx_operands import operand
from narrows.importers.refusals import Refused
from narrows.importers.views import CHANNELS, HEIGHT, WIDTH, AnyView, Pieces, View, in_pieces

# What elements become before a sum, and what the sum becomes; None: itself.
SUMS: dict[str, tuple[UnaryFunction | None, UnaryFunction | None]] = {
    "ReduceL1": (UnaryFunction.ABS, None),
    "ReduceL2": (UnaryFunction.SQUARE, UnaryFunction.SQRT),
    "ReduceSumSquare": (UnaryFunction.SQUARE, None),
    "ReduceLogSum": (None, UnaryFunction.LOG),
    "ReduceLogSumExp": (UnaryFunction.EXP, UnaryFunction.LOG),
}
_NONE = Activation.NONE


# --- Sums -----------------------------------------------------------------------------------


def reduce_norm(node: Node) -> None:
    """As SUM, with ABS, SQUARE or EXP before it and SQRT or LOG behind; axes are a constant or
    left out."""
    x, importer, name = node.view(0), node.importer, node.name
    before, behind = SUMS[node.operator]
    over = reduced(node, x)
    if before is not None:
        x = function_of(node, x, before, f"{name}/elements")
    layers.reduce(node, x, Reduction.SUM, over, keep=node.flag("keepdims", True))
    if behind is not None:
        total = importer.values[name]
        assert isinstance(total, (View, Pieces))
        total = importer.settled(total)
        node.result(function_of(node, total, behind, f"{name}/{behind.value.lower()}"))


def lp_normalization(node: Node) -> None:
    """As the product with RSQRT of the SUM of squares, or with the reciprocal of that of ABS."""
    x, name, power = node.view(0), node.name, node.attribute("p", 2)
    (axis,) = layers.dimensions([int(node.attribute("axis", -1))], len(x.shape))
    if power not in (1, 2):
        raise Refused(f"its p is {power}, 1 and 2 are defined")
    elements = UnaryFunction.ABS if power == 1 else UnaryFunction.SQUARE
    axes = layers.long_axes(x, {axis})
    total = function_of(node, x, elements, f"{name}/elements")
    if axes:
        total = _over(node, total, Reduction.SUM, axes, f"{name}/sum")
    if power == 1:
        factor = reciprocal_of(node, total, f"{name}/factor")
    else:
        factor = function_of(node, total, UnaryFunction.RSQRT, f"{name}/factor")
    node.result(_with(node, x, factor, Elementwise.MUL, name))


def log_softmax(node: Node) -> None:
    """As the difference from the greatest element and from LOG of the SUM of EXP; over the
    channels, or over the only dimension longer than 1."""
    name, shape = node.name, node.shape(0)
    x = layers.along_channels(node, *softmax_input(node))
    channels = (CHANNELS,)
    greatest = _over(node, x, Reduction.MAX, channels, f"{name}/greatest")
    below = _with(node, x, greatest, Elementwise.SUB, f"{name}/below")
    powers = function_of(node, below, UnaryFunction.EXP, f"{name}/powers")
    total = _over(node, powers, Reduction.SUM, channels, f"{name}/sum")
    log = function_of(node, total, UnaryFunction.LOG, f"{name}/log")
    y = _with(node, below, log, Elementwise.SUB, name)
    node.result(y if y.shape == shape else node.importer.reshaped(y, shape))


def _over(node: Node, x: View, function: Reduction, axes: tuple[Axis, ...], name: str) -> View:
    """What a function makes of x along stored axes; the dimensions stay, with size 1."""
    y = node.importer.tensor(name, layers.without(x, axes))
    layers.reduce_axes(node, x, y, function, axes)
    return x.on(y, node.importer.tensors[y].shape)


def _with(node: Node, x: View, other: View, function: Elementwise, name: str) -> View:
    """Two tensors that are stored alike; the other one may be 1 along an axis."""
    y = node.importer.tensor(name, x.storage)
    node.emit(Binary((x.tensor, other.tensor), y, function, _NONE))
    return replace(x, tensor=y)


# --- Normalizations -------------------------------------------------------------------------


def layer_normalization(node: Node) -> None:
    """Scale and bias are constants. As MEAN, SQUARED_DIFFERENCE and RSQRT."""
    x = node.view(0)
    rank = len(x.shape)
    (first,) = layers.dimensions([int(node.attribute("axis", -1))], rank)
    if node.output_count > 1 and node.importer.reads(node.record.outputs[1:]):
        raise Refused("its mean or deviation is read")
    axes = layers.long_axes(x, set(range(first, rank)))
    y = _standardized(node, x, lambda v, name: _over(node, v, Reduction.MEAN, axes, name), axes)
    for i, function in ((1, Elementwise.MUL), (2, Elementwise.ADD)):
        if node.has(i):
            y = _with(node, y, operand(node, i, x), function, f"{node.name}/{function.name}")
    node.result(_named(node, y))


def mean_variance_normalization(node: Node) -> None:
    """As MEAN, SQUARED_DIFFERENCE and RSQRT."""
    x = node.view(0)
    over = layers.dimensions(node.attribute("axes", [0, 2, 3]), len(x.shape))
    axes = layers.long_axes(x, over)
    y = _standardized(node, x, lambda v, name: _over(node, v, Reduction.MEAN, axes, name), axes)
    node.result(_named(node, y))


def instance_normalization(node: Node) -> None:
    """Scale and bias are constants; its channels may be groups of what is one tensor of several
    times as many. As MEAN, SQUARED_DIFFERENCE and RSQRT."""
    x = node.pieces(0)
    if not _are_groups(in_pieces(x)):
        x = node.pixels()
    _normalize_groups(node, x, node.shape(0)[1])


def group_normalization(node: Node) -> None:
    """Scale and bias are constants. As MEAN, SQUARED_DIFFERENCE and RSQRT."""
    x, groups = node.pixels(), int(node.attribute("num_groups", 0))
    if groups < 1 or x.storage[2] % groups:
        raise Refused(f"{groups} groups of {x.storage[2]} channels")
    _normalize_groups(node, x, groups)


def _are_groups(x: Pieces) -> bool:
    """Whether dimension 1 runs over groups of neighbouring channels, and others over the rest."""
    channels = len(x.sizes)
    while channels and prod(x.sizes[channels - 1 :]) <= x.storage[2]:
        channels -= 1  # becomes the number of the first piece of the channels
    return len(x.shape) > 2 and x.shape[0] == 1 and x.numbers[1] in ((), (channels,))


def _normalize_groups(node: Node, x: AnyView, groups: int) -> None:
    """Each group of channels less its mean, over its deviation, with scale and bias."""
    height, width, channels = x.storage
    importer, each = node.importer, channels // groups
    ones = importer.tensor(f"{node.name}/ones", (1, 1, each), data=np.ones((1, 1, each)))
    grouped, row = (1, groups, each), (1, 1, channels)

    def averaged(values: View, name: str) -> View:
        axes = tuple(a for a in (HEIGHT, WIDTH) if values.storage[a] > 1)
        mean = _over(node, values, Reduction.MEAN, axes, name) if axes else values
        if each == 1:
            return mean
        parts = importer.tensor(f"{name}/groups", grouped)
        node.emit(Reshape((mean.tensor,), parts))
        whole = _over(node, _stored(parts, grouped), Reduction.MEAN, (CHANNELS,), f"{name}/mean")
        repeated = importer.tensor(f"{name}/repeated", grouped)
        node.emit(Binary((whole.tensor, ones), repeated, Elementwise.MUL, _NONE))
        y = importer.tensor(f"{name}/channels", row)
        node.emit(Reshape((repeated,), y))
        return _stored(y, row)

    axes = tuple(a for a in Axis if (height, width, each)[a] > 1)
    y = _standardized(node, _stored(x.tensor, x.storage), averaged, axes)
    for i, function, nothing in ((1, Elementwise.MUL, 1), (2, Elementwise.ADD, 0)):
        values = node.floats(i, "scale or bias").reshape(-1)
        if values.size not in (groups, channels):
            raise Refused(f"{values.size} scales or biases of {channels} channels")
        if (values != nothing).any():
            data = np.repeat(values, channels // values.size)
            other = importer.tensor(node.record.inputs[i], row, data=data)
            y = _with(node, y, _stored(other, row), function, f"{node.name}/{function.name}")
    node.result(replace(x, tensor=_named(node, y).tensor))


def _stored(tensor: int, storage: tuple[int, int, int]) -> View:
    """A tensor as what it is stored as."""
    return View(tensor, storage, storage, ((HEIGHT,), (WIDTH,), (CHANNELS,)))


def _standardized(
    node: Node, x: View, averaged: Callable[[View, str], View], axes: tuple[Axis, ...]
) -> View:
    """x less its mean, over its deviation. averaged: takes the mean along axes."""
    epsilon, name = float(node.attribute("epsilon", 1e-5)), node.name
    if not axes or not (np.isfinite(epsilon) and epsilon >= 0):
        raise Refused(f"over one element, or epsilon {epsilon:g}")
    x = _with(node, x, averaged(x, f"{name}/mean"), Elementwise.SUB, f"{name}/moved")
    square = _with(node, x, x, Elementwise.MUL, f"{name}/square")
    variance = averaged(square, f"{name}/variance")
    if epsilon:
        positive = f"{name}/positive"
        variance = with_number(node, variance, Elementwise.ADD, epsilon, _NONE, positive)
    root = function_of(node, variance, UnaryFunction.RSQRT, f"{name}/rsqrt")
    return _with(node, x, root, Elementwise.MUL, f"{name}/standardized")


def _named(node: Node, x: View) -> View:
    """x under the name of what the node gives."""
    tensor = node.importer.tensors[x.tensor]
    node.importer.tensors[x.tensor] = replace(tensor, name=node.name)
    return x
