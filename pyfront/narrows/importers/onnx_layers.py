# SPDX-License-Identifier: Apache-2.0
"""Builders of the operators of an ONNX graph that compute. A docstring ends a line of the table of
supported operators."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod
from typing import Literal

import numpy as np

from narrows.graph.graph import (
    MAX_DIMENSION,
    Activation,
    Binary,
    Pad,
    Pool,
    Reduce,
    Reduction,
    Tensor,
    Unary,
    UnaryFunction,
)
from narrows.graph.qgraph import Elementwise
from narrows.importers import build_layers as layers
from narrows.importers.onnx_constants import Constant, Integers, NotTflites
from narrows.importers.onnx_node import Node
from narrows.importers.onnx_operands import bias, operand, replaced, rows_of, weights, with_kernel
from narrows.importers.refusals import Refused
from narrows.importers.views import CHANNELS, HEIGHT, WIDTH, AnyView, View

_FUNCTIONS = {
    "Relu": UnaryFunction.RELU,
    "Sigmoid": UnaryFunction.LOGISTIC,
    "Tanh": UnaryFunction.TANH,
    "HardSwish": UnaryFunction.HARD_SWISH,
    "Abs": UnaryFunction.ABS,
    "Neg": UnaryFunction.NEG,
    "Sqrt": UnaryFunction.SQRT,
    "Exp": UnaryFunction.EXP,
    "Log": UnaryFunction.LOG,
    "Sin": UnaryFunction.SIN,
    "Cos": UnaryFunction.COS,
    "Floor": UnaryFunction.FLOOR,
    "Ceil": UnaryFunction.CEIL,
    "Round": UnaryFunction.ROUND,
}


def _stored(x: View, values: Sequence[int], other: int) -> list[int]:
    """Numbers of the dimensions behind the channels, as numbers of the stored height and width.
    other: that of an axis that no dimension is."""
    both = [other, other]
    for group, value in zip(x.axes[2:], values, strict=True):
        both[group[0]] = value
    return both


def _pads(
    node: Node, x: View, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[list[int], list[int]]:
    """(before, after) of height and width."""
    mode, count = node.attribute("auto_pad", "NOTSET"), len(x.shape) - 2
    if mode == "NOTSET":
        pads = [int(n) for n in node.attribute("pads", [0, 0] * count)]
        if len(pads) != 2 * count or not all(0 <= n <= MAX_DIMENSION for n in pads):
            raise Refused(f"pads {pads}")
        return _stored(x, pads[:count], 0), _stored(x, pads[count:], 0)
    if mode == "VALID":
        return [0, 0], [0, 0]
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise Refused(f"auto_pad {mode}")
    before, after = layers.same_padding(x.storage[:2], kernel, stride, dilation)
    return (before, after) if mode == "SAME_UPPER" else (after, before)


def _pair(node: Node, x: View, name: str, default: int | None = None, other: int = 1) -> list[int]:
    count = len(x.shape) - 2
    values = node.attribute(name, None if default is None else [default] * count)
    if values is None or len(values) != count:
        raise Refused(f"{name} {values}")
    return _stored(x, [int(n) for n in values], other)


def conv(node: Node) -> None:
    """One or two dimensions, any kernel, stride, dilation and padding; depthwise, or in up to 64
    groups."""
    x = node.pixels()
    constant, kernel, groups = _kernel(node, x)
    out, inner = constant.data.shape[:2]
    if out % groups or inner * groups != x.storage[2]:
        raise _ungrouped(groups, constant, x)
    stride, dilation = (_pair(node, x, name, 1) for name in ("strides", "dilations"))
    padding = _pads(node, x, kernel, stride, dilation)
    window = layers.slide(x.storage[:2], kernel, stride, dilation, padding)
    _convolution(node, x, constant, window, (groups, out))


def conv_transpose(node: Node) -> None:
    """One or two dimensions, any kernel, dilation and padding, output_padding and output_shape;
    strides of up to 256 phases, which are convolutions of stride 1; depthwise, or in up to 64
    groups."""
    x = node.pixels()
    constant, kernel, groups = _kernel(node, x)
    channels, out = constant.data.shape[0], constant.data.shape[1] * groups
    if channels % groups or channels != x.storage[2]:
        raise _ungrouped(groups, constant, x)
    stride, dilation = (_pair(node, x, name, 1) for name in ("strides", "dilations"))
    before, size = _scattered(node, x, kernel, stride, dilation)
    window = layers.scatter(x.storage, kernel, stride, dilation, before, (*size, out))
    _convolution(node, x, constant, window, (groups, out), transposed=True)


def _ungrouped(groups: int, constant: Constant, x: View) -> Refused:
    shape, channels = list(constant.data.shape), x.storage[2]
    return Refused(f"{groups} groups and a kernel of shape {shape} for {channels} channels")


def _kernel(node: Node, x: View) -> tuple[Constant, list[int], int]:
    """Weights whose last dimensions are height and width, these two, and the number of groups."""
    constant = node.constant(1, "weights")
    shape, groups = constant.data.shape, int(node.attribute("group", 1))
    if constant.data.ndim != len(x.shape) or constant.data.dtype.kind != "f" or min(shape) < 1:
        raise Refused(f"its weights have shape {list(shape)}")
    if groups < 1:
        raise Refused(f"{groups} groups")
    kernel = _stored(x, shape[2:], 1)
    return with_kernel(constant, [group[0] for group in x.axes[2:]]), kernel, groups


def _scattered(
    node: Node, x: View, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[list[int], list[int]]:
    """What a transposed convolution cuts off above and on the left, and its height and width."""
    extra, mode = _pair(node, x, "output_padding", 0, 0), node.attribute("auto_pad", "NOTSET")
    if not all(0 <= n <= MAX_DIMENSION for n in extra):
        raise Refused(f"output_padding {extra}")
    whole = [
        (n - 1) * s + (k - 1) * d + 1 + e
        for n, s, k, d, e in zip(x.storage, stride, kernel, dilation, extra, strict=False)
    ]
    size = None
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        size = [n * s for n, s in zip(x.storage, stride, strict=False)]
        if any(n < m for n, m in zip(whole, size, strict=True)):  # runtimes differ in the size
            raise Refused(f"auto_pad {mode}, but a kernel of {kernel} leaves room at its stride")
    if node.attribute("output_shape", None) is not None:
        size = _pair(node, x, "output_shape")
    if size is None:
        before, after = _pads(node, x, kernel, stride, dilation)
        return before, [n - b - a for n, b, a in zip(whole, before, after, strict=True)]
    cut = [max(0, n - m) for n, m in zip(whole, size, strict=True)]
    return [n // 2 if mode == "SAME_UPPER" else n - n // 2 for n in cut], size


def _convolution(
    node: Node,
    x: View,
    constant: Constant,
    window: layers.Window,
    parts: tuple[int, int],
    *,
    transposed: bool = False,
) -> None:
    """A convolution of x becomes output 0. parts: the number of groups, and of output channels."""
    groups, out = parts
    y = node.new((*window.size, out))
    order, whole = (1, 2, 3, 0) if transposed else (0, 2, 3, 1), slice(0, out)

    def constants(inner: slice, outer: slice) -> tuple[int, int | None]:
        rows = rows_of(constant, inner if transposed else outer)
        return weights(node, 1, rows, order), bias(node, 2, out, outer)

    if groups == 1:
        made = constants(slice(0, x.storage[2]), whole)
    elif groups == x.storage[2] and constant.data.shape[1] == 1:
        made = weights(node, 1, constant, (2, 3, 0), squeeze=1), bias(node, 2, out, whole)
    else:
        view = layers.grouped(node, x, y, constants, window, groups=groups, transposed=transposed)
        node.result(view)
        return
    node.result(layers.conv(node, x, y, made, window, transposed=transposed))


def batch_normalization(node: Node) -> None:
    """In inference; folded into the weights before it where there are some."""
    if node.flag("training_mode"):
        raise Refused("it is in training mode")
    if not node.attribute("spatial", 1):
        raise Refused("it has parameters for each pixel")
    x = node.view(0)
    gamma, beta, mean, variance = (
        node.floats(i, "parameters").reshape(-1).astype(np.float64) for i in (1, 2, 3, 4)
    )
    channels = x.storage[2]
    if len(x.shape) < 2 or x.axis(1) is not CHANNELS or x.shape[1] != channels:
        raise Refused("its second dimension is not the channels")
    if {len(v) for v in (gamma, beta, mean, variance)} != {channels}:
        raise Refused(f"parameters for {channels} channels")
    scale = gamma / np.sqrt(variance + float(node.attribute("epsilon", 1e-5)))
    shift = beta - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        raise Refused("parameters that are NaN or infinite, or a variance below zero")
    y = node.new(x.storage)
    shape = (1, 1, channels) if channels > 1 else (1, 1, 1, 1)
    made = []
    for kind, data in (("scale", scale.reshape(shape)), ("shift", shift)):
        values = data.astype(np.float32)
        tensor = Tensor(f"{node.name}/{kind}", values.shape, "float32", None, values)
        made.append(node.importer.constant(tensor))
    window = layers.slide(x.storage[:2], (1, 1), (1, 1), (1, 1), ((0, 0), (0, 0)))
    node.result(layers.conv(node, x, y, (made[0], made[1]), window))


def gemm(node: Node) -> None:
    """Weights and bias are constants, the input is not transposed."""
    if node.flag("transA"):
        raise Refused("its input is transposed")
    shape = node.pieces(0).shape
    if len(shape) != 2:
        raise Refused(f"its input has shape {list(shape)}, two dimensions expected")
    for i, name in ((1, "alpha"), (2, "beta")):
        factor = float(node.attribute(name, 1.0))
        if factor != 1 and node.has(i):
            constant = node.constant(i, "weights and bias")
            if constant.quantization is not None:
                raise NotTflites(f"{name} {factor:g} of integers; TFLite has none")
            replaced(node, i, (constant.data * np.float64(factor)).astype(np.float32))
    _fully_connected(node, transposed=node.flag("transB"), bias_input=2)


def matmul(node: Node) -> None:
    """The second operand is a constant of two dimensions; or both are tensors, of which either may
    be a constant: two matrices, or as many as the dimensions before say, times as many others or
    one."""
    first, second = node.value(0), node.value(1)
    if isinstance(second, Constant) and second.data.ndim == 2 and not isinstance(first, Constant):
        _fully_connected(node, transposed=False, bias_input=None)
        return
    a, b = (node.pieces(i) for i in (0, 1))
    if min(len(a.shape), len(b.shape)) < 2:
        raise Refused(f"shapes {list(a.shape)} and {list(b.shape)}")
    layers.matmul(node, a, layers.turned(b))


def _fully_connected(node: Node, *, transposed: bool, bias_input: int | None) -> None:
    x = node.view(0)
    constant = node.constant(1, "weights")
    if constant.data.ndim != 2 or not x.shape:
        raise Refused(f"its weights have shape {list(constant.data.shape)}")
    order = (0, 1) if transposed else (1, 0)
    out, depth = (constant.data.shape[d] for d in order)
    if depth != x.shape[-1] or out < 1:
        raise Refused(f"weights of {depth} inputs for an input of shape {list(x.shape)}")
    w = weights(node, 1, constant, order)
    b = None if bias_input is None else bias(node, bias_input, out)
    layers.fully_connected(node, x, (w, b), (*x.shape[:-1], out))


def binary(node: Node) -> None:
    """Shapes are equal or broadcast along height, width and channels; an operand may be a
    constant."""
    a, b = operands(node)
    layers.binary(node, a, b, Elementwise[node.operator.upper()])


def divide(node: Node) -> None:
    """As the product with a reciprocal, unless the dividend is a constant number; shapes are equal
    or broadcast along height, width and channels."""
    divisor = node.value(1)
    if isinstance(divisor, Constant) and divisor.quantization is not None:
        raise NotTflites("a quantized divisor; its reciprocal has another scale")
    a, b = operands(node)
    layers.divide(node, a, b)


def operands(node: Node) -> list[AnyView]:
    """Both operands, of which one may be a constant."""
    constants = [i for i in (0, 1) if isinstance(node.value(i), Constant)]
    if len(constants) == 2:
        raise Refused("both operands are constants of a kind that is not folded")
    views: list[AnyView] = [node.pieces(i) for i in (0, 1) if i not in constants]
    with suppress(Refused):  # else dimensions that are broadcast alike count as one
        views = [node.importer.settled(v, node.called(i)) for i, v in enumerate(views)]
    for i in constants:
        (other,) = views
        views.insert(i, operand(node, i, other) if isinstance(other, View) else node.pieces(i))
    return views


def pool(node: Node) -> None:
    """One or two dimensions, any kernel, stride and padding; dilations 1."""
    x = node.pixels()
    function: Literal["average", "max"] = "average" if node.operator == "AveragePool" else "max"
    kernel, stride = _pair(node, x, "kernel_shape"), _pair(node, x, "strides", 1)
    if _pair(node, x, "dilations", 1) != [1, 1]:
        raise Refused(f"dilations {node.attribute('dilations', None)}")
    size = x.storage[:2]
    before, after = _pads(node, x, kernel, stride, (1, 1))
    window = layers.slide(
        size, kernel, stride, (1, 1), (before, after), ceil=node.flag("ceil_mode")
    )
    last = [(n - 1) * s for n, s in zip(window.size, stride, strict=True)]
    if any(before[i] >= kernel[i] or last[i] >= size[i] + before[i] for i in (0, 1)):
        raise Refused(f"pads {before} and {after}: a window over padding alone")
    if function == "average" and node.flag("count_include_pad") and any((*before, *after)):
        padded = [n + b + m for n, b, m in zip(size, before, after, strict=True)]
        source = node.importer.tensor(f"{node.name}/padded", (*padded, x.storage[2]))
        node.emit(Pad((x.tensor,), source, (before[0], before[1], 0), 0.0))
        x, window = x.on(source, (*padded, x.storage[2])), replace(window, before=(0, 0))
    if function == "average" and not (node.importer.in_integers or _is_tflites(x, window)):
        _average_of_inside(node, x, window)
        return
    layers.pool(node, x, function, window)


def _is_tflites(x: View, window: layers.Window) -> bool:
    """Whether the padding of a window is SAME or VALID."""
    size = x.storage[:2]
    before, _ = layers.same_padding(size, window.kernel, window.stride, (1, 1))
    same = tuple(-(-n // s) for n, s in zip(size, window.stride, strict=True))
    inside = all(n >= k for n, k in zip(size, window.kernel, strict=True))
    valid = inside and layers.slide(size, window.kernel, window.stride, (1, 1), ((0, 0), (0, 0)))
    return window == valid or (window.before, window.size) == (tuple(before), same)


def _average_of_inside(node: Node, x: View, window: layers.Window) -> None:
    """An average over any padding, which does not count: that over zeros, times how many more they
    are than what stands inside."""
    places = zip(x.storage, window.size, window.kernel, window.stride, window.before, strict=False)
    counts, padded = [], []
    for n, out, k, s, before in places:
        starts = np.arange(out) * s - before
        counts.append(np.minimum(starts + k, n) - np.maximum(starts, 0))
        padded.append(max(n + before, (out - 1) * s + k))
    importer, channels, name = node.importer, x.storage[2], node.name
    source = importer.tensor(f"{name}/padded", (*padded, channels))
    node.emit(Pad((x.tensor,), source, (*window.before, 0), 0.0))
    none = Activation.NONE
    average = importer.tensor(f"{name}/average", (*window.size, channels))
    node.emit(Pool((source,), average, "average", window.kernel, window.stride, (0, 0), none))
    factors = prod(window.kernel) / np.outer(*counts)
    factor = importer.tensor(f"{name}/counts", (*window.size, 1), data=factors.astype(np.float32))
    y = node.new((*window.size, channels))
    node.emit(Binary((average, factor), y, Elementwise.MUL, none))
    node.result(x.on(y, (*window.size, channels)))


def global_pool(node: Node) -> None:
    """One or two dimensions."""
    x = node.pixels()
    size = x.storage[:2]
    if node.operator == "GlobalAveragePool":
        y = node.new((1, 1, x.storage[2]))
        node.emit(Reduce((x.tensor,), y, Reduction.MEAN, (HEIGHT, WIDTH)))
        node.result(x.on(y, (1, 1, x.storage[2])))
    else:
        window = layers.slide(size, size, (1, 1), (1, 1), ((0, 0), (0, 0)))
        layers.pool(node, x, "max", window)


def reduce(node: Node) -> None:
    """Axes are a constant or left out."""
    x = node.view(0)
    function = Reduction[node.operator.removeprefix("Reduce").upper()]
    layers.reduce(node, x, function, reduced(node, x), keep=node.flag("keepdims", True))


def reduced(node: Node, x: View) -> set[int]:
    """The dimensions that a reduction of x runs over."""
    axes = node.operand("axes", 1, None)
    if axes is None and not node.flag("noop_with_empty_axes"):
        axes = list(range(len(x.shape)))
    return layers.dimensions(axes or (), len(x.shape))


def arg_max(node: Node) -> None:
    """The first of several that are equal; given as int32."""
    x = node.view(0)
    (axis,) = layers.dimensions([int(node.attribute("axis", 0))], len(x.shape))
    if node.flag("select_last_index"):
        raise Refused("it takes the last of several that are equal")
    node.importer.integer[node.name] = Integers("int64")
    least, keep = node.operator == "ArgMin", node.flag("keepdims", True)
    layers.arg_max(node, x, axis, keep=keep, least=least)


def softmax(node: Node) -> None:
    """Over the channels, or over the only dimension longer than 1."""
    x, axis = softmax_input(node)
    layers.softmax(node, x, axis, node.shape(0))


def softmax_input(node: Node) -> tuple[View, int]:
    """What a softmax is of, maybe in another shape, and the dimension along which it is one."""
    x, rows = node.view(0), node.importer.record.opset < 13  # over all dimensions from the axis on
    shape = x.shape
    (axis,) = layers.dimensions([int(node.attribute("axis", 1 if rows else -1))], len(shape))
    if rows and prod(shape[axis + 1 :]) > 1:
        return node.importer.relabel(x, (prod(shape[:axis]), prod(shape[axis:]))), 1
    return x, axis


def unary(node: Node) -> None:
    """Any shape."""
    layers.unary(node, node.pieces(0), _FUNCTIONS[node.operator])


def gelu(node: Node) -> None:
    """Exact, or approximated by tanh."""
    form = node.attribute("approximate", "none")
    functions = {"none": UnaryFunction.GELU, "tanh": UnaryFunction.GELU_TANH}
    if form not in functions:
        raise Refused(f"approximate {form}")
    layers.unary(node, node.pieces(0), functions[form])


def leaky_relu(node: Node) -> None:
    """alpha is not negative."""
    alpha = float(node.attribute("alpha", 0.01))
    layers.unary(node, node.pieces(0), UnaryFunction.LEAKY_RELU, alpha)


def prelu(node: Node) -> None:
    """Slopes are a constant."""
    slope, x = node.floats(1, "slope"), node.view(0)
    if slope.size < 1:
        raise Refused("it has no slopes")
    if (slope == slope.flat[0]).all() and slope.flat[0] >= 0:
        layers.unary(node, x, UnaryFunction.LEAKY_RELU, float(slope.flat[0]))
    else:
        layers.binary(node, x, operand(node, 1, x), Elementwise.PRELU)


def with_number(
    node: Node,
    x: View,
    function: Elementwise,
    value: float,
    activation: Activation,
    name: str,
    *,
    first: bool = False,
) -> View:
    """x with a number added or multiplied; or subtracted from the number, which then is first."""
    number = node.importer.tensor(f"{name}/{value:g}", (1, 1, 1), data=np.array(value, np.float32))
    y = node.importer.tensor(name, x.storage)
    inputs = (number, x.tensor) if first else (x.tensor, number)
    node.emit(Binary(inputs, y, function, activation))
    return replace(x, tensor=y)


def hard_sigmoid(node: Node) -> None:
    """As an addition, a clip at 6 and a multiplication; HARD_SWISH where it is multiplied by its
    input."""
    x = node.view(0)
    alpha, beta = float(node.attribute("alpha", 0.2)), float(node.attribute("beta", 0.5))
    if abs(6 * alpha - 1) > 1e-6:
        x = with_number(node, x, Elementwise.MUL, 6 * alpha, Activation.NONE, f"{node.name}/scaled")
    x = with_number(node, x, Elementwise.ADD, 6 * beta, Activation.RELU6, f"{node.name}/clipped")
    node.result(with_number(node, x, Elementwise.MUL, 1 / 6, Activation.NONE, node.name))


def clip(node: Node) -> None:
    """To constant bounds. As RELU or RELU6 from 0 to infinity or 6; other bounds are moved and
    scaled to these and back."""
    bounds = []
    for i, name, none in ((1, "min", -np.inf), (2, "max", np.inf)):
        bounds.append(float(node.floats(i, name).reshape(-1)[0]) if node.has(i) else none)
    _bounded(node, bounds[0], bounds[1])


def extremum(node: Node) -> None:
    """Two tensors have shapes that are equal or broadcast along height, width and channels; a
    constant number is a bound, as Clip has it."""
    place = next((i for i in (0, 1) if isinstance(node.value(i), Constant)), None)
    bound = None if place is None else node.floats(place, "bound")
    if place is None or bound is None or bound.size != 1:
        function = Elementwise.MAXIMUM if node.operator == "Max" else Elementwise.MINIMUM
        a, b = operands(node)
        layers.binary(node, a, b, function)
        return
    if place == 0:
        node.record = replace(node.record, inputs=node.record.inputs[::-1])
    number = float(bound.reshape(-1)[0])
    _bounded(node, *((number, np.inf) if node.operator == "Max" else (-np.inf, number)))


def _bounded(node: Node, low: float, high: float) -> None:
    largest = float(np.finfo(np.float32).max)
    low, high = (np.copysign(np.inf, n) if abs(n) >= largest else n for n in (low, high))
    if not low < high:  # nor are they, if one is NaN
        raise Refused(f"bounds {low:g} and {high:g}")
    x, name = node.view(0), node.name
    rectified = any(
        isinstance(op, Unary) and op.function is UnaryFunction.RELU and op.output == x.tensor
        for op in node.importer.operators
    )
    if low == -np.inf and high > 0 and rectified:
        low = 0.0
    none, add, mul = Activation.NONE, Elementwise.ADD, Elementwise.MUL
    if (low, high) == (0, np.inf):
        layers.unary(node, x, UnaryFunction.RELU)
        return
    if (low, high) == (0, 6):
        layers.unary(node, x, UnaryFunction.RELU6)
        return
    if (low, high) == (-1, 1):
        x = with_number(node, x, add, 0.0, Activation.RELU_N1_TO_1, name)
    elif (low > -np.inf or high < np.inf) and node.importer.in_integers:
        raise NotTflites(f"bounds {low:g} and {high:g}; TFLite's int8 has no such activation")
    elif low == -np.inf and high < np.inf:
        sub = Elementwise.SUB
        x = with_number(node, x, sub, high, Activation.RELU, f"{name}/clipped", first=True)
        x = with_number(node, x, sub, high, none, name, first=True)
    elif low > -np.inf and high == np.inf:
        x = with_number(node, x, add, -low, Activation.RELU, f"{name}/clipped")
        x = with_number(node, x, add, low, none, name)
    elif low > -np.inf:
        factor = 6 / (high - low)
        if low != 0:
            x = with_number(node, x, add, -low, none, f"{name}/moved")
        x = with_number(node, x, mul, factor, Activation.RELU6, f"{name}/clipped")
        x = with_number(node, x, mul, 1 / factor, none, name if low == 0 else f"{name}/scaled")
        if low != 0:
            x = with_number(node, x, add, low, none, name)
    node.result(x)
