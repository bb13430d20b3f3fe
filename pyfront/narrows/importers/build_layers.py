# SPDX-License-Identifier: Apache-2.0
"""Operators that compute, added to the graph: what they become whatever format they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import numpy as np

from narrows.graph.graph import (
    FLOAT_FUNCTIONS,
    MAX_DIMENSION,
    MAX_TENSOR_BYTES,
    Activation,
    ArgMax,
    Array,
    Binary,
    Compare,
    Concat,
    Conv,
    DepthwiseConv,
    FullyConnected,
    MatMul,
    Operator,
    Pool,
    Reduce,
    Reduction,
    Relation,
    Select,
    Softmax,
    Tensor,
    Unary,
    UnaryFunction,
)
from narrows.graph.moves import Slice
from narrows.graph.qgraph import Axis, Elementwise
from narrows.importers.build import Builder, Node
from narrows.importers.refusals import NotAbsorbed, Refused
from narrows.importers.views import CHANNELS, HEIGHT, WIDTH, AnyView, Pieces, View, standard

# A fully connected layer over more rows than this reads a flattened copy instead: as a
# convolution it would hold all of its input's rows in one kernel.
MAX_FLATTENED_HEIGHT = 64
_MAX_STRIDE = 255
_MAX_GROUPS = 64
_MAX_PHASES = 256
_MAX_ZEROS = 2**26
_MAX_ALPHA = 2.0**15
# Weights of a convolution that sums over channels.
_MAX_SUMMED = 2**20


# --- Sliding windows ------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """A kernel that slides over height and width.

    before: padding above and on the left. size: height and width of the output.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    size: tuple[int, int]


def same_padding(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[list[int], list[int]]:
    """(before, after) of height and width so that there is an output for each stride begun; the
    smaller half stands before."""
    _check_window(kernel, stride, dilation)
    before, after = [], []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        total = max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
        before.append(total // 2)
        after.append(total - total // 2)
    return before, after


def slide(
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: tuple[Sequence[int], Sequence[int]],
    *,
    ceil: bool = False,
) -> Window:
    """The window over an input of this height and width. padding: (before, after). ceil: a
    window that ends behind the padding counts, if it does not begin there."""
    _check_window(kernel, stride, dilation)
    output = []
    for n, k, s, d, before, after in zip(size, kernel, stride, dilation, *padding, strict=True):
        room = n + before + after - ((k - 1) * d + 1)
        if room < 0:
            raise Refused(f"a kernel of {list(kernel)} over {list(size)}")
        out = room // s + 1
        if ceil:
            out = -(-room // s) + 1
            out -= (out - 1) * s >= n + before
        output.append(out)
    pairs = ((n[0], n[1]) for n in (kernel, stride, dilation, padding[0], output))
    return Window(*pairs)


def scatter(
    shape: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    before: Sequence[int],
    target: Sequence[int],
) -> Window:
    """The window of a transposed convolution. shape, target: height, width and channels of its
    input and output. before: what is cut off above and on the left of all that kernels cover."""
    _check_window(kernel, stride, dilation)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if prod(stride) > _MAX_PHASES:
        raise Refused(f"stride {list(stride)}; up to {_MAX_PHASES} phases are supported")
    if any(not 0 <= b < span for b, span in zip(before, spans, strict=True)):
        raise Refused(f"it cuts off {list(before)} pixels of kernels over {spans}")
    # The phases stand side by side for a while, with some pixels more (graph.transposed).
    rows, columns = (
        max(n, -(-m // s)) + span
        for n, m, s, span in zip(shape, target, stride, spans, strict=False)
    )
    longest = max(rows * stride[0], columns * max(stride), target[2] * stride[1])
    elements = rows * columns * prod(stride) * target[2]
    zeros = prod(stride) * target[2] * shape[2]  # where phases have no part of the kernel
    sizes = longest > MAX_DIMENSION or elements > MAX_TENSOR_BYTES or zeros > _MAX_ZEROS
    if min(target) < 1 or sizes:
        raise Refused(f"from shape {list(shape)} by stride {list(stride)} to {list(target)}")
    pairs = ((int(n[0]), int(n[1])) for n in (kernel, stride, dilation, before, target))
    return Window(*pairs)


def _check_window(kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> None:
    limits = [(n, _MAX_STRIDE) for n in (*stride, *dilation)] + [(n, MAX_DIMENSION) for n in kernel]
    if not all(1 <= n <= limit for n, limit in limits):
        raise Refused(
            f"kernel {list(kernel)}, stride {list(stride)}, dilation {list(dilation)}; strides and "
            f"dilations from 1 to {_MAX_STRIDE} are supported"
        )


def conv(
    node: Node,
    x: View,
    y: int,
    constants: tuple[int, int | None],
    window: Window,
    activation: Activation = Activation.NONE,
    *,
    transposed: bool = False,
) -> View:
    """A convolution from x to the tensor y, or a depthwise one if the weights have no dimension
    of inputs. constants: weights and bias. transposed: the window is one of ``scatter``."""
    w, bias = constants
    b, geometry = node.importer, (window.stride, window.dilation, window.before)
    storage = b.tensors[y].shape
    operator: Conv | DepthwiseConv = Conv((x.tensor,), y, w, bias, *geometry, activation)
    if len(b.tensors[w].shape) == 3:
        multiplier = storage[2] // x.storage[2]
        operator = DepthwiseConv((x.tensor,), y, w, bias, *geometry, activation, multiplier)
    node.emit(replace(operator, transposed=transposed))
    return x.on(y, storage)


def grouped(
    node: Node,
    x: View,
    y: int,
    constants: Callable[[slice, slice], tuple[int, int | None]],
    window: Window,
    activation: Activation = Activation.NONE,
    *,
    groups: int,
    transposed: bool = False,
) -> View:
    """A convolution for each group of channels of x, joined in the tensor y. constants: weights and
    bias of input and output channels, which the number of groups divides."""
    if groups > _MAX_GROUPS:
        raise Refused(f"{groups} groups, at most {_MAX_GROUPS} are supported")
    if transposed and groups * prod(window.stride) > _MAX_PHASES:
        raise Refused(
            f"{groups} groups of stride {list(window.stride)}; up to {_MAX_PHASES} phases of them "
            "all are supported"
        )
    b, parts = node.importer, []
    source, target = b.tensors[x.tensor], b.tensors[y]
    # A float tensor's quantization is that of the QuantizeLinear right behind it.
    quantizations = [t.quantization if b.dtype == "int8" else None for t in (source, target)]
    each = [t.shape[2] // groups for t in (source, target)]
    for i in range(groups):
        inner, outer = (slice(i * n, (i + 1) * n) for n in each)
        shape = (*source.shape[:2], each[0])
        part = b.tensor(f"{target.name}/in{i}", shape, quantizations[0])
        result = b.tensor(f"{target.name}/out{i}", (*window.size, each[1]), quantizations[1])
        node.emit(Slice((x.tensor,), part, (0, 0, inner.start), (1, 1, 1)))
        of_group = constants(inner, outer)
        conv(node, x.on(part, shape), result, of_group, window, activation, transposed=transposed)
        parts.append(result)
    node.emit(Concat(tuple(parts), y, CHANNELS))
    return x.on(y, target.shape)


def pool(
    node: Node,
    x: View,
    function: Literal["average", "max"],
    window: Window,
    activation: Activation = Activation.NONE,
) -> None:
    """A pooling of x becomes output 0."""
    y = node.new((*window.size, x.storage[2]))
    geometry = (window.kernel, window.stride, window.before)
    node.emit(Pool((x.tensor,), y, function, *geometry, activation))
    node.result(x.on(y, (*window.size, x.storage[2])))


# --- Matrices -------------------------------------------------------------------------------


def fully_connected(
    node: Node,
    x: View,
    constants: tuple[int, int | None],
    shape: tuple[int, ...],
    activation: Activation = Activation.NONE,
) -> None:
    """Each row of x, flattened, times a matrix becomes output 0 of this shape.

    Args:
        constants: weights of shape [outputs, depth], which get the shape of a kernel here, and
            bias. x has a multiple of depth elements.
    """
    b, (w, bias) = node.importer, constants
    out, depth = b.tensors[w].shape
    count = prod(x.shape)
    kernel, storage = (out, 1, 1, depth), (1, 1, out)
    data = b.tensors[w].data
    assert data is not None
    if count != depth:  # pixel by pixel
        x = _pixels(b, x, depth)
        storage = (x.storage[0], x.storage[1], out)
    elif x.storage[0] > MAX_FLATTENED_HEIGHT and x.contiguous:
        x = b.relabel(x, (1, depth))
    else:  # the kernel covers the input
        kernel, data = (out, *x.storage), _as_stored(data, x)
    b.tensors[w] = replace(b.tensors[w], shape=kernel, data=data.reshape(kernel))
    y = node.new(storage)
    node.emit(FullyConnected((x.tensor,), y, w, bias, activation))
    if storage[:2] == (1, 1):
        node.result(View(y, shape, storage, ((),) * (len(shape) - 1) + ((CHANNELS,),)))
        return
    _mapped(node, x, y, shape)


def matmul(node: Node, x: AnyView, other: AnyView) -> None:
    """The product of two matrices, or of as many as their dimensions before the last two say,
    becomes output 0. other: the second one, its last two dimensions in the opposite order."""
    b = node.importer
    (*batch, rows, depth), (*others, columns, deep) = x.shape, other.shape
    shape, count = (*batch, rows, columns), prod(others)
    if depth != deep:
        raise Refused(f"matrices of {depth} columns and {deep} rows")
    if count == 1:  # all pixels are multiplied by the same matrix
        if not (other.contiguous and other.storage[2] == depth):
            other = b.relabel(other, (columns, depth), standard((columns, depth)))
        if isinstance(x, Pieces):
            flat = (prod(x.shape[:-1]), depth)
            x = b.relabel(x, flat, standard(flat))
        x = _pixels(b, x, depth)
        y = node.new((*x.storage[:2], columns))
        node.emit(MatMul((x.tensor, other.tensor), y))
        _mapped(node, x, y, shape)
        return
    if prod(batch) != count or [n for n in batch if n > 1] != [n for n in others if n > 1]:
        raise Refused(f"{batch} matrices times {others}; as many are supported, or one second one")
    parts = [(count, rows, depth), (count, columns, depth)]
    tensors = [b.relabel(v, s, standard(s)).tensor for v, s in zip((x, other), parts, strict=True)]
    storage = (count, rows, columns)
    y = node.new(storage)
    node.emit(MatMul((tensors[0], tensors[1]), y))
    node.result(b.pieced(View(y, storage, *standard(storage)), shape))


def turned(x: AnyView) -> AnyView:
    """Matrices transposed; moves nothing."""
    *rest, rows, columns = range(len(x.shape))
    return x.picked([*rest, columns, rows])


def _mapped(node: Node, x: View, y: int, shape: tuple[int, ...]) -> None:
    """The tensor y, of as many pixels as x, is output 0 of this shape."""
    height, width, channels = node.importer.tensors[y].shape
    if x.shape[-1] == x.storage[2] and x.axis(len(x.shape) - 1) is CHANNELS:
        whole = x.on(y, (height, width, channels))
    else:
        size = (height, width, channels)
        whole = View(y, size, size, ((HEIGHT,), (WIDTH,), (CHANNELS,)))
    if sum(n > 1 for n in shape) > len(Axis):  # some of them stay pieces of axes
        node.result(node.importer.pieced(whole, shape))
    else:
        node.result(whole if whole.shape == shape else node.importer.reshaped(whole, shape))


def _pixels(b: Builder, x: View, depth: int) -> View:
    """x with ``depth`` channels, which are the fastest of the model's elements."""
    if x.storage[2] == depth and (x.contiguous or x.axis(len(x.shape) - 1) is CHANNELS):
        return x
    if x.shape[-1] == depth:
        x = b.relabel(x, x.shape)
    return x if x.storage[2] == depth else b.relabel(x, (prod(x.shape) // depth, depth))


def _as_stored(weights: Array, x: View) -> Array:
    """Weights of the model's elements of x, in the order in which x is stored."""
    ordered = x.order()
    axes = (*(a for a in Axis if a not in ordered), *ordered)
    whole = weights.reshape(len(weights), *(x.storage[a] for a in axes))
    return np.ascontiguousarray(whole.transpose(0, *(1 + axes.index(a) for a in Axis)))


# --- Element by element ---------------------------------------------------------------------


def binary(
    node: Node,
    a: AnyView,
    b: AnyView,
    function: Elementwise,
    activation: Activation = Activation.NONE,
) -> None:
    """Two operands, broadcast to one shape, become output 0."""
    _paired(node, a, b, lambda inputs, y: Binary(inputs, y, function, activation))


def divide(node: Node, a: AnyView, b: AnyView, activation: Activation = Activation.NONE) -> None:
    """A quotient of floats becomes output 0: a number over each element of b, or the product of a
    with what 1 over b is, because int8 divides by tables alone."""
    numerator, divisor = (node.importer.tensors[v.tensor].data for v in (a, b))
    if divisor is not None:
        if not divisor.all():
            raise Refused("its divisor is zero")
        tensor = node.importer.tensors[b.tensor]
        reciprocals = (1 / divisor.astype(np.float64)).astype(np.float32)
        b = replace(b, tensor=node.importer.constant(replace(tensor, data=reciprocals)))
    elif numerator is not None and numerator.size == 1:
        binary(node, a, b, Elementwise.DIV, activation)
        return
    else:
        importer, name = node.importer, f"{node.gives_name()}/reciprocal"
        one = importer.tensor(f"{name}/1", (1, 1, 1), data=np.ones((1, 1, 1), np.float32))
        y = importer.tensor(name, b.storage)
        node.emit(Binary((one, b.tensor), y, Elementwise.DIV, Activation.NONE))
        b = replace(b, tensor=y)
    binary(node, a, b, Elementwise.MUL, activation)


def compare(node: Node, a: AnyView, b: AnyView, relation: Relation) -> None:
    """Where a relation of two operands, broadcast to one shape, holds becomes output 0."""
    _paired(node, a, b, lambda inputs, y: Compare(inputs, y, relation))


def select(node: Node, where: View, a: View, b: View) -> None:
    """a where ``where`` is true, else b, become output 0; stored alike, broadcast to one shape."""
    views = (where, a, b)
    try:
        shape = np.broadcast_shapes(*(v.shape for v in views))
    except ValueError:
        raise Refused(f"shapes {[list(v.shape) for v in views]}") from None
    where, a, b = (of_rank(node.importer, v, len(shape)) for v in views)
    axes = _aligned(where, a)
    if axes is None or axes != _aligned(where, b):
        raise Refused(f"its operands of shapes {[list(v.shape) for v in views]} are stored unlike")
    height, width, channels = np.broadcast_shapes(where.storage, a.storage, b.storage)
    storage = (height, width, channels)
    y = node.new(storage)
    node.emit(Select((where.tensor, a.tensor, b.tensor), y))
    node.result(View(y, shape, storage, axes))


def _paired(
    node: Node, first: AnyView, second: AnyView, make: Callable[[tuple[int, int], int], Operator]
) -> None:
    """What is made of two operands, broadcast to one shape, becomes output 0."""
    try:
        shape = np.broadcast_shapes(first.shape, second.shape)
    except ValueError:
        raise Refused(f"shapes {list(first.shape)} and {list(second.shape)}") from None
    try:
        a, b = (node.importer.settled(v, node.called(i)) for i, v in enumerate((first, second)))
    except Refused:
        ranked = [(1,) * (len(shape) - len(v.shape)) + v.shape for v in (first, second)]
        whole = zip((first, second), joined_dimensions(ranked), strict=True)
        a, b = (_joined(node.importer, view, joined) for view, joined in whole)
        height, width, channels = np.broadcast_shapes(a.storage, b.storage)
        storage = (height, width, channels)
        y = node.new(storage)
        node.emit(make((a.tensor, b.tensor), y))
        node.result(node.importer.pieced(View(y, storage, storage, a.axes), shape))
        return
    a, b = (of_rank(node.importer, v, len(shape)) for v in (a, b))
    axes = _aligned(a, b)
    ones = (1,) * max(0, 4 - len(shape))
    if axes is None:
        a, b = (node.importer.relabel(v, (*ones, *v.shape)) for v in (a, b))
        axes = _aligned(a, b)
        if axes is None:
            raise NotAbsorbed(node.importer.movers)
    height, width, channels = (max(m, n) for m, n in zip(a.storage, b.storage, strict=True))
    storage = (height, width, channels)
    y = node.new(storage)
    node.emit(make((a.tensor, b.tensor), y))
    node.result(View(y, shape, storage, axes[len(axes) - len(shape) :]))


def joined_dimensions(shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, int, int]]:
    """The shapes with three dimensions, each of which stands for several in a row that are longer
    than 1 in the same shapes. shapes: of one rank.

    Raises:
        Refused: there are more such dimensions.
    """
    joined: list[list[int]] = []
    last: list[bool] = []
    for sizes in zip(*shapes, strict=True):
        long = [n > 1 for n in sizes]
        if any(long) and long != last:
            joined.append([1] * len(sizes))
            last = long
        if any(long):
            joined[-1] = [m * n for m, n in zip(joined[-1], sizes, strict=True)]
    if len(joined) > len(Axis):
        raise Refused(
            f"shapes {[list(s) for s in shapes]} tell {len(joined)} dimensions from each other, "
            f"{len(Axis)} are supported"
        )
    joined = [[1] * len(shapes)] * (len(Axis) - len(joined)) + joined
    return [(height, width, channels) for height, width, channels in zip(*joined, strict=True)]


def _joined(b: Builder, view: AnyView, storage: tuple[int, int, int]) -> View:
    """The same elements in the same order under a shape of ``joined_dimensions``."""
    return b.relabel(view, storage, (storage, ((HEIGHT,), (WIDTH,), (CHANNELS,))))


def of_rank(b: Builder, view: View, rank: int) -> View:
    """The view with dimensions of size 1 in front."""
    missing = rank - len(view.shape)
    return b.reshaped(view, (1,) * missing + view.shape) if missing else view


def _aligned(a: View, b: View) -> tuple[tuple[Axis, ...], ...] | None:
    """Axes of the result if both operands store equal dimensions alike."""
    chosen: list[tuple[Axis, ...]] = []
    for p, q in zip(a.axes, b.axes, strict=True):
        first = tuple(x for x in p if a.storage[x] > 1)
        second = tuple(x for x in q if b.storage[x] > 1)
        if first and second and first != second:
            return None
        chosen.append(first or second)
    taken = [axis for group in chosen for axis in group]
    if len(taken) != len(set(taken)):
        return None
    for d, group in enumerate(chosen):
        if not group:
            chosen[d] = tuple(axis for axis in a.axes[d] if axis not in taken)
            taken += chosen[d]
    return tuple(chosen)


def unary(
    node: Node,
    x: AnyView,
    function: UnaryFunction,
    alpha: float = 0.0,
    *,
    in_floats: bool | None = None,
) -> None:
    """A function of each element becomes output 0. alpha: of LEAKY_RELU. in_floats: as Unary has
    it; None: if TFLite Micro has the function in float32 alone."""
    if not 0.0 <= alpha < _MAX_ALPHA:
        raise Refused(f"alpha {alpha}")
    with suppress(Refused):  # on whole axes where it can be, so that others read what is moved, too
        x = node.importer.settled(x)
    y = node.new(x.storage)
    in_floats = function in FLOAT_FUNCTIONS if in_floats is None else in_floats
    node.emit(Unary((x.tensor,), y, function, alpha, in_floats))
    node.result(replace(x, tensor=y))


# --- Over dimensions ------------------------------------------------------------------------


def dimensions(values: Iterable[int], rank: int) -> set[int]:
    """Dimensions that a file names, from the end if they are negative."""
    named = set()
    for value in values:
        if not -rank <= value < rank:
            raise Refused(f"axis {value} of {rank} dimensions")
        named.add(int(value) % rank)
    return named


def long_axes(x: View, over: Iterable[int]) -> tuple[Axis, ...]:
    """The stored axes longer than 1 that these dimensions run over."""
    return tuple(sorted(a for d in over for a in x.axes[d] if x.storage[a] > 1))


def reduce(node: Node, x: AnyView, function: Reduction, over: set[int], *, keep: bool) -> None:
    """What a function makes of the elements along dimensions of x becomes output 0; keep: with
    size 1 instead of left out. Over dimensions of size 1 it is x itself."""
    short = tuple(1 if d in over else n for d, n in enumerate(x.shape))
    wanted = tuple(n for d, n in enumerate(short) if keep or d not in over)
    try:
        x = node.importer.settled(x, node.called(0))
    except Refused:
        whole, rest = joined_dimensions((x.shape, short))
        x, keep = _joined(node.importer, x, whole), True
        over = {d for d, n in enumerate(rest) if n == 1}
    y, axes = x.tensor, long_axes(x, over)
    storage = without(x, axes)
    if axes:
        y = node.new(storage)
        reduce_axes(node, x, y, function, axes)
    shape = tuple(1 if d in over else n for d, n in enumerate(x.shape))
    labels = tuple(() if d in over else group for d, group in enumerate(x.axes))
    kept = [d for d in range(len(shape)) if keep or d not in over]
    view = View(y, shape, storage, labels).picked(kept)
    node.result(view if view.shape == wanted else node.importer.pieced(view, wanted))


def reduce_axes(node: Node, x: View, y: int, function: Reduction, axes: tuple[Axis, ...]) -> None:
    """What a function makes of the elements along stored axes of x becomes the tensor y."""
    if CHANNELS in axes:
        _check_reduction(x, function, axes)
    node.emit(Reduce((x.tensor,), y, function, axes))


def _check_reduction(x: View, function: Reduction, axes: tuple[Axis, ...]) -> None:
    """Whether a reduction over channels can be lowered: sums to a convolution whose weights are
    all 1, extrema to a pooling of as many rows as there are pixels."""
    pixels = prod(x.storage[a] for a in (HEIGHT, WIDTH) if a not in axes)
    summed = prod(x.storage[a] for a in axes)
    if function in (Reduction.MAX, Reduction.MIN):
        if pixels > MAX_DIMENSION:
            raise Refused(
                f"it runs over the channels of {pixels} pixels, more than {MAX_DIMENSION}"
            )
    elif summed > _MAX_SUMMED:
        raise Refused(f"it sums {summed} elements, channels among them, more than {_MAX_SUMMED}")


def without(x: View, axes: Iterable[Axis]) -> tuple[int, int, int]:
    height, width, channels = (1 if a in axes else x.storage[a] for a in Axis)
    return height, width, channels


def arg_max(node: Node, x: View, axis: int, *, keep: bool, least: bool) -> None:
    """The numbers of the greatest elements along a dimension of x, or of the least ones, become
    output 0, in int32; keep: with size 1 instead of left out."""
    others = [d for d in range(len(x.shape)) if d != axis]
    shape = tuple(1 if d == axis else n for d, n in enumerate(x.shape) if keep or d != axis)
    if [a for a in x.axes[axis] if x.storage[a] > 1] != [CHANNELS] and x.storage[2] > 1:
        x = _pixels(node.importer, x.picked([*others, axis]), x.shape[axis])
        others = list(range(len(x.shape) - 1))
    storage = (x.storage[0], x.storage[1], 1)
    y = node.importer.constant(Tensor(node.gives_name(), storage, "int32", None))
    node.emit(ArgMax((x.tensor,), y, least))
    made = replace(x, tensor=y, storage=storage).picked(others)
    node.result(node.importer.pieced(made, shape))


def softmax(node: Node, x: View, axis: int, shape: tuple[int, ...], beta: float = 1.0) -> None:
    """A softmax over one dimension of x becomes output 0 of this shape."""
    x = along_channels(node, x, axis)
    y = node.new(x.storage)
    node.emit(Softmax((x.tensor,), y, beta))
    x = replace(x, tensor=y)
    node.result(x if x.shape == shape else node.importer.reshaped(x, shape))


def along_channels(node: Node, x: View, axis: int) -> View:
    """x with its channels along one of its dimensions, maybe of another shape."""
    long = [a for a in x.axes[axis] if x.storage[a] > 1]
    if long == [CHANNELS] or x.shape[axis] == x.storage[2] == 1:
        return x
    if axis != len(x.shape) - 1:
        raise Refused(f"axis {axis} of shape {list(x.shape)} is not the channels")
    return node.importer.relabel(x, (prod(x.shape[:-1]), x.shape[-1]))
