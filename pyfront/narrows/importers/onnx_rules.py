# SPDX-License-Identifier: Apache-2.0
"""What each operator of ONNX becomes: checks, whose docstrings are the table of supported
operators, and a builder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import Literal

import numpy as np

from narrows.graph.graph import (
    MAX_DIMENSION,
    Activation,
    Array,
    Binary,
    Concat,
    Conv,
    DepthwiseConv,
    FullyConnected,
    Mean,
    Pad,
    Pool,
    Quantization,
    Resize,
    Slice,
    Softmax,
    Tensor,
    Unary,
    UnaryFunction,
)
from narrows.graph.qgraph import Axis, Elementwise
from narrows.importers.onnx_node import (
    NCHW,
    Constant,
    Integers,
    Node,
    NotAbsorbed,
    NotTflites,
    Refused,
    Rule,
    is_nchw,
)
from narrows.importers.onnx_upgrade import LEGACY_NEAREST
from narrows.importers.views import CHANNELS, HEIGHT, WIDTH, View

_MAX_STRIDE = 255
_MAX_GROUPS = 64
_MAX_FLATTENED_HEIGHT = 64


def _quantize_linear(node: Node) -> None:
    """Behind an activation: int8 or uint8 with one scale."""
    x, importer = node.view(0), node.importer
    kind = node.quantized_type()
    scales, zero_points = node.parameters(kind)
    if importer.keep and kind not in ("int8", "uint8"):
        raise NotTflites(f"it quantizes to {kind}; TFLite's activations are int8")
    if importer.keep and len(scales) != 1:
        raise NotTflites(f"{len(scales)} scales; TFLite's activations have one for the tensor")
    q = Quantization(scales, zero_points)
    importer.integer[node.name] = Integers(kind, q)
    if not importer.keep:
        node.result(_clipped(node, x, importer.integer[node.name]))
        return
    tensor = importer.tensors[x.tensor]
    if tensor.quantization is None:
        importer.tensors[x.tensor] = replace(tensor, quantization=q)
    elif not _equal(tensor.quantization, q):
        y = node.new(x.storage)
        importer.tensors[y] = replace(importer.tensors[y], quantization=q)
        node.emit(Unary((x.tensor,), y, UnaryFunction.REQUANTIZE))
        x = replace(x, tensor=y)
    node.result(x)


def _dequantize_linear(node: Node) -> None:
    """With the scale and zero point of the QuantizeLinear before."""
    x, importer = node.view(0), node.importer
    given = importer.integer.get(node.record.inputs[0])
    if given is None:
        raise Refused(f"{node.record.inputs[0]} holds no integers; a QuantizeLinear is missing")
    scales, zero_points = node.parameters(given.kind)
    q, tensor = Quantization(scales, zero_points), importer.tensors[x.tensor]
    known = given.quantization
    if importer.keep and len(scales) != 1:
        raise NotTflites(f"{len(scales)} scales; TFLite's activations have one for the tensor")
    if known is not None and not _equal(known, q):
        raise Refused(f"{tensor.name} was quantized with another scale or zero point")
    if not importer.keep:
        node.result(x if known is not None else _clipped(node, x, Integers(given.kind, q)))
        return
    if tensor.quantization is None:
        importer.tensors[x.tensor] = replace(tensor, quantization=q)
    node.result(x)


def _clipped(node: Node, x: View, integers: Integers) -> View:
    """x within what the integers can hold."""
    q, limits = integers.quantization, np.iinfo(integers.kind)
    assert q is not None
    # The zero points of uint8 are shifted, see ``parameters``.
    limits = np.iinfo(np.int8) if integers.kind == "uint8" else limits
    ends = {
        tuple(float(scale) * (end - int(zero)) for end in (limits.min, limits.max))
        for scale, zero in zip(q.scales, q.zero_points, strict=True)
    }
    if len(ends) != 1:
        raise Refused(f"{len(ends)} scales, each with a range of its own")
    ((least, most),) = ends
    clips = node.importer.clips
    if (x.tensor, least, most) not in clips:
        y = node.new(x.storage)
        node.importer.tensors[y] = replace(node.importer.tensors[y], bounds=(least, most))
        node.emit(Unary((x.tensor,), y, UnaryFunction.REQUANTIZE))
        clips[x.tensor, least, most] = y
    return replace(x, tensor=clips[x.tensor, least, most])


def _equal(a: Quantization, b: Quantization) -> bool:
    return np.array_equal(a.scales, b.scales) and np.array_equal(a.zero_points, b.zero_points)


# --- Builders ------------------------------------------------------------------------------


def _pads(
    node: Node,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[list[int], list[int]]:
    """(before, after) of height and width."""
    mode = node.attribute("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = [int(n) for n in node.attribute("pads", [0, 0, 0, 0])]
        if len(pads) != 4 or not all(0 <= n <= MAX_DIMENSION for n in pads):
            raise Refused(f"pads {pads}")
        return pads[:2], pads[2:]
    if mode not in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        raise Refused(f"auto_pad {mode}")
    before, after = [0, 0], [0, 0]
    for i in (0, 1) if mode != "VALID" else ():
        extent = (kernel[i] - 1) * dilation[i] + 1
        total = max(0, (-(-size[i] // stride[i]) - 1) * stride[i] + extent - size[i])
        small = total // 2
        before[i], after[i] = (small, total - small)[:: 1 if mode == "SAME_UPPER" else -1]
    return before, after


def _pair(node: Node, name: str, default: list[int] | None, least: int, most: int) -> list[int]:
    values = node.attribute(name, default)
    if values is None or len(values) != 2 or not all(least <= int(n) <= most for n in values):
        raise Refused(f"{name} {values}")
    return [int(n) for n in values]


def _conv(node: Node) -> None:
    """Two dimensions, any kernel, stride, dilation and padding; depthwise, or in up to 64
    groups."""
    x = node.nchw()
    weights = node.constant(1, "weights")
    if weights.data.ndim != 4 or weights.data.dtype.kind != "f":
        raise Refused(f"its weights have shape {list(weights.data.shape)}")
    out, inner, *kernel = weights.data.shape
    groups, channels = int(node.attribute("group", 1)), x.storage[2]
    if min(weights.data.shape) < 1 or groups < 1 or out % groups or inner * groups != channels:
        raise Refused(
            f"{groups} groups and a kernel of shape {list(weights.data.shape)} for {channels} "
            "channels"
        )
    stride = _pair(node, "strides", [1, 1], 1, _MAX_STRIDE)
    dilation = _pair(node, "dilations", [1, 1], 1, _MAX_STRIDE)
    before, after = _pads(node, x.storage[:2], kernel, stride, dilation)
    size = []
    for i in (0, 1):
        room = x.storage[i] + before[i] + after[i] - ((kernel[i] - 1) * dilation[i] + 1)
        if room < 0:
            raise Refused(f"a kernel of {kernel} over {x.storage[:2]}")
        size.append(room // stride[i] + 1)
    window = ((stride[0], stride[1]), (dilation[0], dilation[1]), (before[0], before[1]))
    y = node.new((*size, out))
    none = Activation.NONE
    if inner == 1 and groups > 1:
        w = _weights(node, 1, weights, (2, 3, 0), squeeze=1)
        bias = _bias(node, 2, out)
        node.emit(DepthwiseConv((x.tensor,), y, w, bias, *window, none, out // groups))
    elif groups == 1:
        w, bias = _weights(node, 1, weights, (0, 2, 3, 1)), _bias(node, 2, out)
        node.emit(Conv((x.tensor,), y, w, bias, *window, none))
    else:
        if groups > _MAX_GROUPS:
            raise Refused(f"{groups} groups, at most {_MAX_GROUPS} are supported")
        parts = []
        for group in range(groups):
            part = node.importer.tensor(f"{node.name}/in{group}", (*x.storage[:2], inner))
            result = node.importer.tensor(f"{node.name}/out{group}", (*size, out // groups))
            node.emit(Slice((x.tensor,), part, (0, 0, group * inner), (1, 1, 1)))
            rows = slice(group * (out // groups), (group + 1) * (out // groups))
            w = _weights(node, 1, _rows(weights, rows), (0, 2, 3, 1))
            bias = _bias(node, 2, out, rows)
            node.emit(Conv((part,), result, w, bias, *window, none))
            parts.append(result)
        node.emit(Concat(tuple(parts), y, CHANNELS))
    node.result(View(y, (1, out, *size), (size[0], size[1], out), NCHW))


def _rows(constant: Constant, rows: slice) -> Constant:
    q = constant.quantization
    if q is not None and len(q.scales) > 1:
        q = replace(q, scales=q.scales[rows], zero_points=q.zero_points[rows])
    whole = constant.integers
    return Constant(constant.data[rows], None if whole is None else whole[rows], q)


def _weights(
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
    node.importer.tensors.append(tensor)
    return len(node.importer.tensors) - 1


def _bias(node: Node, i: int, channels: int, rows: slice | None = None) -> int | None:
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
    node.importer.tensors.append(Tensor(name, data.shape, dtype, q, data))
    return len(node.importer.tensors) - 1


def _batch_normalization(node: Node) -> None:
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
        node.importer.tensors.append(tensor)
        made.append(len(node.importer.tensors) - 1)
    window = ((1, 1), (1, 1), (0, 0), Activation.NONE)
    if channels > 1:
        node.emit(DepthwiseConv((x.tensor,), y, made[0], made[1], *window, 1))
    else:
        node.emit(Conv((x.tensor,), y, made[0], made[1], *window))
    node.result(replace(x, tensor=y))


def _gemm(node: Node) -> None:
    """Weights and bias are constants, the input is not transposed."""
    if node.flag("transA"):
        raise Refused("its input is transposed")
    shape = node.view(0).shape
    if len(shape) != 2:
        raise Refused(f"its input has shape {list(shape)}, two dimensions expected")
    for i, name in ((1, "alpha"), (2, "beta")):
        factor = float(node.attribute(name, 1.0))
        if factor != 1 and node.has(i):
            constant = node.constant(i, "weights and bias")
            if constant.quantization is not None:
                raise NotTflites(f"{name} {factor:g} of integers; TFLite has none")
            _replace(node, i, (constant.data * np.float64(factor)).astype(np.float32))
    _fully_connected(node, transposed=node.flag("transB"), bias=2)


def _matmul(node: Node) -> None:
    """By a constant of two dimensions."""
    _fully_connected(node, transposed=False, bias=None)


def _fully_connected(node: Node, *, transposed: bool, bias: int | None) -> None:
    x = node.view(0)
    constant = node.constant(1, "weights")
    if constant.data.ndim != 2 or not x.shape:
        raise Refused(f"its weights have shape {list(constant.data.shape)}")
    order = (0, 1) if transposed else (1, 0)
    out, depth = (constant.data.shape[d] for d in order)
    if depth != x.shape[-1] or out < 1:
        raise Refused(f"weights of {depth} inputs for an input of shape {list(x.shape)}")
    w = _weights(node, 1, constant, order)
    if prod(x.shape) != depth:  # pixel by pixel
        if x.axis(len(x.shape) - 1) is not CHANNELS or x.storage[2] != depth:
            x = node.importer.relabel(x, x.shape)
            if x.storage[2] != depth:
                raise Refused(f"an input of shape {list(x.shape)}")
        kernel = (out, 1, 1, depth)
        storage = (x.storage[0], x.storage[1], out)
    elif x.storage[0] > _MAX_FLATTENED_HEIGHT and x.contiguous:
        x = node.importer.relabel(x, (1, depth))
        kernel, storage = (out, 1, 1, depth), (1, 1, out)
    else:  # the kernel covers the input; its axes follow the stored order
        kernel, storage = (out, *x.storage), (1, 1, out)
        ordered = x.order()
        axes = (*(a for a in Axis if a not in ordered), *ordered)
        tensor = node.importer.tensors[w]
        assert tensor.data is not None
        data = tensor.data.reshape(out, *(x.storage[a] for a in axes))
        data = np.ascontiguousarray(data.transpose(0, *(1 + axes.index(a) for a in Axis)))
        node.importer.tensors[w] = replace(tensor, data=data)
    tensor = node.importer.tensors[w]
    assert tensor.data is not None
    node.importer.tensors[w] = replace(tensor, shape=kernel, data=tensor.data.reshape(kernel))
    y = node.new(storage)
    b = None if bias is None else _bias(node, bias, out)
    node.emit(FullyConnected((x.tensor,), y, w, b, Activation.NONE))
    shape = (*x.shape[:-1], out)
    if storage[:2] == (1, 1):
        axes_out: tuple[tuple[Axis, ...], ...] = ((),) * (len(shape) - 1) + ((CHANNELS,),)
        node.result(View(y, shape, storage, axes_out))
    else:
        node.result(View(y, shape, storage, x.axes))


def _placed(node: Node, i: int, other: View) -> tuple[int, View]:
    """A constant operand, stored as the operand that it meets."""
    constant = node.constant(i, "operand")
    if constant.data.dtype.kind != "f":
        raise Refused(f"{node.record.inputs[i]} is a constant of {constant.data.dtype}")
    rank = max(len(other.shape), constant.data.ndim)
    if constant.data.size == 1:
        other = (
            other
            if len(other.shape) == rank
            else node.importer.reshaped(other, (1,) * (rank - len(other.shape)) + other.shape)
        )
        made, groups = (1, 1, 1), other.axes
        data = constant.data
    else:
        if len(other.shape) < rank:
            other = node.importer.reshaped(other, (1,) * (rank - len(other.shape)) + other.shape)
        shape = (1,) * (rank - constant.data.ndim) + constant.data.shape
        used = set(other.order())
        labels: list[Axis] = []
        placed = []
        for d, n in enumerate(shape):
            group = tuple(a for a in other.axes[d] if other.storage[a] > 1)
            if n == 1:
                placed.append(other.axes[d])
                continue
            if n != other.shape[d]:
                free = [a for a in (*other.axes[d], *Axis) if a not in used]
                if other.shape[d] != 1 or not free:
                    raise Refused(f"shapes {list(other.shape)} and {list(shape)}")
                group = (free[0],)
                used.add(free[0])
            labels += group
            placed.append(group)
        sizes = [other.storage[a] for a in labels]
        for d, n in enumerate(shape):
            if n != 1 and n != other.shape[d]:
                sizes[labels.index(placed[d][0])] = n
        order = sorted(range(len(labels)), key=lambda k: labels[k])
        data = constant.data.reshape(sizes).transpose(order)
        extents = dict(zip(labels, sizes, strict=True))
        made = (extents.get(HEIGHT, 1), extents.get(WIDTH, 1), extents.get(CHANNELS, 1))
        groups = tuple(placed)
    index = node.importer.tensor(node.record.inputs[i], made, np.ascontiguousarray(data))
    q = constant.quantization
    if q is not None:
        if len(q.scales) != 1 or constant.integers is None or constant.integers.dtype != np.int8:
            raise NotTflites(f"{node.record.inputs[i]} is not int8 with one scale")
        tensor = node.importer.tensors[index]
        node.importer.tensors[index] = replace(tensor, quantization=q)
    view_shape = (1,) * (rank - constant.data.ndim) + constant.data.shape
    return index, View(index, view_shape, made, groups)


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


def _replace(node: Node, i: int, data: Array) -> None:
    """Other values for a constant input of this node alone."""
    inputs = list(node.record.inputs)
    inputs[i] = f"{inputs[i]}/{node.record.index}"
    node.importer.values[inputs[i]] = Constant(data)
    node.record = replace(node.record, inputs=tuple(inputs))


def _binary(node: Node) -> None:
    """Shapes are equal or broadcast along height, width and channels; an operand may be a
    constant; a divisor is one."""
    operator = node.operator
    if operator == "Div":
        divisor = node.constant(1, "divisor")
        if divisor.data.dtype.kind != "f" or (divisor.data == 0).any():
            raise Refused("its divisor is zero or not a float")
        if divisor.quantization is not None:
            raise NotTflites("a quantized divisor; TFLite's int8 has no DIV")
        _replace(node, 1, (1 / divisor.data.astype(np.float64)).astype(np.float32))
        operator = "Mul"
    function = {"Add": Elementwise.ADD, "Sub": Elementwise.SUB, "Mul": Elementwise.MUL}[operator]
    values = [node.value(i) for i in (0, 1)]
    views = []
    for i, value in enumerate(values):
        if isinstance(value, Constant):
            other = values[1 - i]
            if not isinstance(other, View):
                raise Refused("both operands are constants of a kind that is not folded")
            views.append(_placed(node, i, other)[1])
        else:
            views.append(value)
    a, b = views
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise Refused(f"shapes {list(a.shape)} and {list(b.shape)}") from None
    a, b = (
        v
        if len(v.shape) == len(shape)
        else node.importer.reshaped(v, (1,) * (len(shape) - len(v.shape)) + v.shape)
        for v in (a, b)
    )
    axes = _aligned(a, b)
    if axes is None:
        a, b = (node.importer.relabel(v, v.shape) for v in (a, b))
        axes = _aligned(a, b)
        if axes is None:
            raise NotAbsorbed
    storage = tuple(max(m, n) for m, n in zip(a.storage, b.storage, strict=True))
    y = node.new(storage)
    node.emit(Binary((a.tensor, b.tensor), y, function, Activation.NONE))
    node.result(View(y, shape, (storage[0], storage[1], storage[2]), axes))


def _pool(node: Node) -> None:
    """Two dimensions, any kernel, stride and padding; dilations 1."""
    x = node.nchw()
    average = node.operator == "AveragePool"
    kernel = _pair(node, "kernel_shape", None, 1, MAX_DIMENSION)
    stride = _pair(node, "strides", [1, 1], 1, _MAX_STRIDE)
    _pair(node, "dilations", [1, 1], 1, 1)
    before, after = _pads(node, x.storage[:2], kernel, stride, (1, 1))
    source, extent = x.tensor, list(x.storage[:2])
    size = []
    for i in (0, 1):
        room = extent[i] + before[i] + after[i] - kernel[i]
        if room < 0:
            raise Refused(f"a kernel of {kernel} over {x.storage[:2]}")
        out = room // stride[i] + 1
        if node.flag("ceil_mode"):
            out = -(-room // stride[i]) + 1
            out -= (out - 1) * stride[i] >= extent[i] + before[i]  # it would begin behind the end
        if before[i] >= kernel[i] or (out - 1) * stride[i] >= extent[i] + before[i]:
            raise Refused(f"pads {before} and {after}: a window over padding alone")
        size.append(out)
    if average and node.flag("count_include_pad") and any((*before, *after)):
        padded = [n + b + m for n, b, m in zip(extent, before, after, strict=True)]
        source = node.importer.tensor(f"{node.name}/padded", (*padded, x.storage[2]))
        node.emit(Pad((x.tensor,), source, (before[0], before[1], 0), 0.0))
        before = [0, 0]
    y = node.new((*size, x.storage[2]))
    node.emit(
        Pool(
            (source,),
            y,
            "average" if average else "max",
            (kernel[0], kernel[1]),
            (stride[0], stride[1]),
            (before[0], before[1]),
            Activation.NONE,
        )
    )
    node.result(View(y, (1, x.storage[2], *size), (size[0], size[1], x.storage[2]), NCHW))


def _global_pool(node: Node) -> None:
    """Two dimensions."""
    x = node.nchw()
    channels = x.storage[2]
    y = node.new((1, 1, channels))
    if node.operator == "GlobalAveragePool":
        node.emit(Mean((x.tensor,), y, True, True))
    else:
        kernel = (x.storage[0], x.storage[1])
        node.emit(Pool((x.tensor,), y, "max", kernel, (1, 1), (0, 0), Activation.NONE))
    node.result(View(y, (1, channels, 1, 1), (1, 1, channels), NCHW))


def _dimensions(values: Iterable[int], rank: int) -> set[int]:
    axes = set()
    for value in values:
        if not -rank <= value < rank:
            raise Refused(f"axis {value} of {rank} dimensions")
        axes.add(int(value) % rank)
    return axes


def _reduce_mean(node: Node) -> None:
    """Over height, width or both."""
    x = node.view(0)
    axes = node.operand("axes", 1, None)
    if axes is None and not node.flag("noop_with_empty_axes"):
        axes = list(range(len(x.shape)))
    dimensions = _dimensions(axes or (), len(x.shape))
    over = {a for d in dimensions for a in x.axes[d] if x.storage[a] > 1}
    if CHANNELS in over:
        raise Refused("it runs over channels")
    height, width = (1 if a in over else x.storage[a] for a in (HEIGHT, WIDTH))
    storage, y = (height, width, x.storage[2]), x.tensor
    if over:
        y = node.new(storage)
        node.emit(Mean((x.tensor,), y, HEIGHT in over, WIDTH in over))
    keep = node.flag("keepdims", True)
    kept = [
        (1, ()) if d in dimensions else (x.shape[d], x.axes[d])
        for d in range(len(x.shape))
        if keep or d not in dimensions
    ]
    node.result(View(y, tuple(n for n, _ in kept), storage, tuple(g for _, g in kept)))


def _softmax(node: Node) -> None:
    """Over the channels, or over the only dimension longer than 1."""
    x = node.view(0)
    rows = node.importer.record.opset < 13  # over all dimensions from the axis on
    (axis,) = _dimensions([int(node.attribute("axis", 1 if rows else -1))], len(x.shape))
    if rows and prod(x.shape[axis + 1 :]) > 1:
        shape = x.shape
        x = node.importer.relabel(x, (prod(shape[:axis]), prod(shape[axis:])))
        y = node.new(x.storage)
        node.emit(Softmax((x.tensor,), y, 1.0))
        node.result(node.importer.reshaped(replace(x, tensor=y), shape))
        return
    if x.shape[axis] != x.storage[2] or (
        x.storage[2] > 1 and [a for a in x.axes[axis] if x.storage[a] > 1] != [CHANNELS]
    ):
        if axis != len(x.shape) - 1:
            raise Refused(f"axis {axis} of shape {list(x.shape)} is not the channels")
        shape = x.shape
        x = node.importer.relabel(x, (prod(shape[:-1]), shape[-1]))
        y = node.new(x.storage)
        node.emit(Softmax((x.tensor,), y, 1.0))
        node.result(node.importer.reshaped(replace(x, tensor=y), shape))
        return
    y = node.new(x.storage)
    node.emit(Softmax((x.tensor,), y, 1.0))
    node.result(replace(x, tensor=y))


def _unary_of(node: Node, function: UnaryFunction, alpha: float = 0.0) -> None:
    x = node.view(0)
    y = node.new(x.storage)
    node.emit(Unary((x.tensor,), y, function, alpha))
    node.result(replace(x, tensor=y))


def _unary(node: Node) -> None:
    """Any shape."""
    functions = {
        "Relu": UnaryFunction.RELU,
        "Sigmoid": UnaryFunction.LOGISTIC,
        "Tanh": UnaryFunction.TANH,
        "HardSwish": UnaryFunction.HARD_SWISH,
    }
    _unary_of(node, functions[node.operator])


def _leaky_relu(node: Node) -> None:
    """alpha is not negative; of PRelu: one for all channels."""
    if node.operator == "PRelu":
        slope = node.floats(1, "slope")
        if slope.size < 1 or (slope != slope.flat[0]).any():
            raise Refused("slopes differ between channels")
        alpha = float(slope.flat[0])
    else:
        alpha = float(node.attribute("alpha", 0.01))
    if not 0 <= alpha < 2**15:
        raise Refused(f"alpha {alpha}")
    _unary_of(node, UnaryFunction.LEAKY_RELU, alpha)


def _with(
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
    operand = node.importer.tensor(f"{name}/{value:g}", (1, 1, 1), np.array(value, np.float32))
    y = node.importer.tensor(name, x.storage)
    inputs = (operand, x.tensor) if first else (x.tensor, operand)
    node.emit(Binary(inputs, y, function, activation))
    return replace(x, tensor=y)


def _hard_sigmoid(node: Node) -> None:
    """As an addition, a clip at 6 and a multiplication; HARD_SWISH where it is multiplied by its
    input."""
    x = node.view(0)
    alpha, beta = float(node.attribute("alpha", 0.2)), float(node.attribute("beta", 0.5))
    if abs(6 * alpha - 1) > 1e-6:
        x = _with(node, x, Elementwise.MUL, 6 * alpha, Activation.NONE, f"{node.name}/scaled")
    x = _with(node, x, Elementwise.ADD, 6 * beta, Activation.RELU6, f"{node.name}/clipped")
    node.result(_with(node, x, Elementwise.MUL, 1 / 6, Activation.NONE, node.name))


def _clip(node: Node) -> None:
    """To constant bounds. As RELU or RELU6 from 0 to infinity or 6; other bounds are moved and
    scaled to these and back."""
    bounds = []
    for i, name, none in ((1, "min", -np.inf), (2, "max", np.inf)):
        bounds.append(float(node.floats(i, name).reshape(-1)[0]) if node.has(i) else none)
    _bounded(node, bounds[0], bounds[1])


def _extremum(node: Node) -> None:
    """Of a tensor and a constant number, as Clip with one bound."""
    place = next((i for i in (0, 1) if isinstance(node.value(i), Constant)), None)
    bound = None if place is None else node.floats(place, "bound")
    if place is None or bound is None or bound.size != 1:
        raise Refused("neither operand is a constant number")
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
        _unary_of(node, UnaryFunction.RELU)
        return
    if (low, high) == (0, 6):
        _unary_of(node, UnaryFunction.RELU6)
        return
    if (low, high) == (-1, 1):
        x = _with(node, x, add, 0.0, Activation.RELU_N1_TO_1, name)
    elif (low > -np.inf or high < np.inf) and node.importer.in_integers:
        raise NotTflites(f"bounds {low:g} and {high:g}; TFLite's int8 has no such activation")
    elif low == -np.inf and high < np.inf:
        sub = Elementwise.SUB
        x = _with(node, x, sub, high, Activation.RELU, f"{name}/clipped", first=True)
        x = _with(node, x, sub, high, none, name, first=True)
    elif low > -np.inf and high == np.inf:
        x = _with(node, x, add, -low, Activation.RELU, f"{name}/clipped")
        x = _with(node, x, add, low, none, name)
    elif low > -np.inf:
        factor = 6 / (high - low)
        if low != 0:
            x = _with(node, x, add, -low, none, f"{name}/moved")
        x = _with(node, x, mul, factor, Activation.RELU6, f"{name}/clipped")
        x = _with(node, x, mul, 1 / factor, none, name if low == 0 else f"{name}/scaled")
        if low != 0:
            x = _with(node, x, add, low, none, name)
    node.result(x)


def _shape_of(node: Node, x: View) -> tuple[int, ...]:
    rank, count = len(x.shape), prod(x.shape)
    if node.operator == "Flatten":
        axis = int(node.attribute("axis", 1))
        if not -rank <= axis <= rank:
            raise Refused(f"axis {axis}")
        axis += rank * (axis < 0)
        return (prod(x.shape[:axis]), prod(x.shape[axis:]))
    if node.operator == "Reshape":
        shape = node.ints(1, "shape")
        if not node.flag("allowzero"):
            if any(n == 0 and i >= rank for i, n in enumerate(shape)):
                raise Refused(f"shape {shape}")
            shape = [x.shape[i] if n == 0 else n for i, n in enumerate(shape)]
        if shape.count(-1) == 1:
            rest = -prod(shape)
            shape = [count // rest if n == -1 and rest > 0 else n for n in shape]
        if prod(shape) != count or min(shape, default=1) < 1:
            raise Refused(f"{list(x.shape)} into {shape}")
        return tuple(shape)
    axes = node.operand("axes", 1, None)
    if node.operator == "Squeeze":
        if axes is None:
            return tuple(n for n in x.shape if n != 1)
        dropped = _dimensions(axes, rank)
        if any(x.shape[d] != 1 for d in dropped):
            raise Refused(f"axes {axes} of shape {list(x.shape)}")
        return tuple(n for d, n in enumerate(x.shape) if d not in dropped)
    if axes is None or rank + len(axes) > 8:
        raise Refused(f"axes {axes}")
    added = _dimensions(axes, rank + len(axes))
    sizes = iter(x.shape)
    return tuple(1 if d in added else next(sizes) for d in range(rank + len(added)))


def _reshape(node: Node) -> None:
    """A constant shape; absorbed where it only joins or splits off dimensions."""
    x = node.view(0)
    node.still_integers()
    node.result(node.importer.reshaped(x, _shape_of(node, x)))


def _identity(node: Node) -> None:
    """No change: Dropout in inference, Cast to the type that it has."""
    if node.operator == "Cast":
        integers = node.importer.integer.get(node.record.inputs[0])
        old, new = "float32" if integers is None else integers.kind, node.type_of("to")
        if new != old:
            raise Refused(f"from {old} to {new}")
    if node.operator == "Dropout" and node.importer.reads(node.record.outputs[1:]):
        raise Refused("its mask is read, which only training needs")
    if node.operator == "Dropout" and node.has(2) and node.constant(2, "mode").data.any():
        raise Refused("it is in training mode")
    node.still_integers()
    node.result(node.view(0))


def _transpose(node: Node) -> None:
    """Absorbed by what reads it: spatial operators that want NCHW, Gemm, elementwise operators,
    another Transpose, ReduceMean."""
    x = node.view(0)
    order = [int(n) for n in node.attribute("perm", list(range(len(x.shape)))[::-1])]
    if sorted(order) != list(range(len(x.shape))):
        raise Refused(f"permutation {order}")
    shape, axes = tuple(x.shape[d] for d in order), tuple(x.axes[d] for d in order)
    node.still_integers()
    node.result(replace(x, shape=shape, axes=axes))


def _concat(node: Node) -> None:
    """Along height, width or channels."""
    views = [node.view(i) for i in range(len(node.record.inputs))]
    rank = len(views[0].shape)
    if any(len(v.shape) != rank for v in views):
        raise Refused("inputs of different ranks")
    (d,) = _dimensions([int(node.attribute("axis", 0))], rank)
    others = {v.shape[:d] + v.shape[d + 1 :] for v in views}
    if len(others) != 1:
        raise Refused(f"shapes {[list(v.shape) for v in views]}")
    whole = (*views[0].shape[:d], sum(v.shape[d] for v in views), *views[0].shape[d + 1 :])
    if rank == 4 and all(is_nchw(v) for v in views):
        views = [replace(v, axes=NCHW) for v in views]
    axis = views[0].axis(d)
    if len({v.axes for v in views}) != 1 or axis is None or any(v.axis(d) != axis for v in views):
        views = [node.importer.relabel(v, v.shape) for v in views]
        axis = views[0].axis(d)
    if axis is None or len({v.axes for v in views}) != 1:
        raise Refused(f"axis {d} of shape {list(whole)}")
    storage = list(views[0].storage)
    storage[axis] = sum(v.storage[axis] for v in views)
    if any(v.storage[a] != storage[a] for v in views for a in Axis if a != axis):
        raise Refused(f"shapes {[list(v.shape) for v in views]}")
    y = node.new(storage)
    node.emit(Concat(tuple(v.tensor for v in views), y, axis))
    node.result(views[0].on(y, (storage[0], storage[1], storage[2])))


def _cut(
    node: Node, begin: Sequence[int], step: Sequence[int], size: Sequence[int], i: int = 0
) -> None:
    """Output i is input 0, cut along its dimensions."""
    x = node.view(0)
    first, stride, storage = [0, 0, 0], [1, 1, 1], list(x.storage)
    for d, n in enumerate(x.shape):
        if (begin[d], step[d], size[d]) == (0, 1, n) or n == size[d] == 1:
            continue
        axis = x.axis(d)
        if axis is None:
            raise Refused(f"it cuts dimension {d} of shape {list(x.shape)}")
        first[axis], stride[axis], storage[axis] = begin[d], step[d], size[d]
    if max(*first, *stride) > MAX_DIMENSION:
        raise Refused(f"begin {begin}, step {step}")
    y = node.new(storage, i)
    node.emit(
        Slice((x.tensor,), y, (first[0], first[1], first[2]), (stride[0], stride[1], stride[2]))
    )
    node.result(x.on(y, (storage[0], storage[1], storage[2])), i)


def _slice(node: Node) -> None:
    """Starts, ends, axes and steps are constants; steps are positive."""
    shape = node.view(0).shape
    starts, ends = node.ints(1, "starts"), node.ints(2, "ends")
    axes = node.ints(3, "axes") if node.has(3) else list(range(len(starts)))
    steps = node.ints(4, "steps") if node.has(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) <= len(shape):
        raise Refused(f"ranges {starts}, {ends}, {axes}, {steps}")
    begin, step, size = [0] * len(shape), [1] * len(shape), list(shape)
    for b, e, d, s in zip(starts, ends, axes, steps, strict=True):
        (d,) = _dimensions([d], len(shape))
        if s < 1:
            raise Refused(f"step {s}")
        b = min(max(b + shape[d] * (b < 0), 0), shape[d])
        e = min(max(e + shape[d] * (e < 0), 0), shape[d])
        begin[d], step[d], size[d] = b, s, -(-(e - b) // s)
        if size[d] < 1:
            raise Refused("its result is empty")
    _cut(node, begin, step, size)


def _split(node: Node) -> None:
    """Sizes are a constant."""
    shape = node.view(0).shape
    (d,) = _dimensions([int(node.attribute("axis", 0))], len(shape))
    parts = len(node.record.outputs)
    sizes = node.operand("split", 1, None)
    if sizes is None:
        each = -(-shape[d] // parts)
        sizes = [each] * (parts - 1) + [shape[d] - each * (parts - 1)]
    if len(sizes) != parts or min(sizes) < 1 or sum(sizes) != shape[d]:
        raise Refused(f"{parts} parts of sizes {sizes} along {shape[d]}")
    begin = 0
    for i, size in enumerate(sizes):
        starts, extents = [0] * len(shape), list(shape)
        starts[d], extents[d] = begin, size
        if node.record.outputs[i]:
            _cut(node, starts, [1] * len(shape), extents, i)
        begin += size


def _pad(node: Node) -> None:
    """Constant mode; pads and value are constants; not of the batch. Folded into a convolution
    that reads it alone, if the value is 0."""
    if node.attribute("mode", "constant") != "constant":
        raise Refused(f"mode {node.attribute('mode', '')}")
    x = node.view(0)
    rank = len(x.shape)
    pads = node.ints(1, "pads")
    value = float(node.floats(2, "value").reshape(-1)[0]) if node.has(2) else 0.0
    axes = node.ints(3, "axes") if node.has(3) else list(range(rank))
    if len(pads) != 2 * len(axes) or not np.isfinite(value):
        raise Refused(f"pads {pads} of {rank} dimensions, value {value}")
    before, storage = [0, 0, 0], list(x.storage)
    for i, d in enumerate(axes):
        first, last = pads[i], pads[i + len(axes)]
        if not (0 <= first <= MAX_DIMENSION and 0 <= last <= MAX_DIMENSION):
            raise Refused(f"pads {pads}")
        (d,) = _dimensions([d], rank)
        axis = x.axis(d)
        if first or last:
            if axis is None:
                raise Refused(f"it pads dimension {d} of shape {list(x.shape)}")
            before[axis], storage[axis] = first, storage[axis] + first + last
    y = node.new(storage)
    node.emit(Pad((x.tensor,), y, (before[0], before[1], before[2]), value))
    node.result(x.on(y, (storage[0], storage[1], storage[2])))


def _resize(node: Node) -> None:
    """Nearest or linear of height and width, where TFLite takes its samples at the same places
    (with align_corners, half_pixel_centers or neither)."""
    x = node.view(0)
    mode = node.attribute("mode", "nearest")
    transform = node.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = node.attribute("nearest_mode", "round_prefer_floor")
    if mode not in ("nearest", "linear") or node.flag("antialias"):
        raise Refused(f"mode {mode}, antialias {node.flag('antialias')}")
    if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Refused("keep_aspect_ratio_policy")
    rank = len(x.shape)
    axes = [d % rank for d in node.attribute("axes", list(range(rank)))]
    by_size = node.has(3)
    values = node.constant(3 if by_size else 2, "sizes or scales").data.reshape(-1)
    if len(values) != len(axes) or not (np.isfinite(values) & (values > 0)).all():
        raise Refused(f"sizes or scales {values.tolist()}")
    storage = list(x.storage)
    matching = {(False, False), (False, True), (True, False)}
    for d, number in zip(axes, values.tolist(), strict=True):
        n = x.shape[d]
        out = int(number) if by_size else int(np.floor(n * np.float32(number)))
        scale = out / n if by_size else float(np.float32(number))
        if out == n and scale == 1:
            continue
        axis = x.axis(d)
        if axis not in (HEIGHT, WIDTH) or not 1 <= out <= MAX_DIMENSION:
            raise Refused(f"dimension {d} from {n} to {out}")
        storage[axis] = out
        wanted = _places(n, out, scale, transform)
        matching = {flags for flags in matching if _same_places(n, wanted, flags, mode, rounding)}
    if not matching:
        raise Refused(f"{mode}, {transform}, {rounding} takes samples where TFLite cannot")
    corners, centers = min(matching)
    y = node.new(storage)
    function: Literal["nearest", "bilinear"] = "nearest" if mode == "nearest" else "bilinear"
    node.emit(Resize((x.tensor,), y, function, corners, centers))
    node.result(x.on(y, (storage[0], storage[1], storage[2])))


def _places(n: int, out: int, scale: float, transform: str) -> Array:
    """Where ONNX samples, for each output position."""
    i = np.arange(out, dtype=np.float64)
    if transform == "asymmetric":
        return np.asarray(i / scale)
    if transform == "align_corners":
        return np.asarray(i * (n - 1) / (out - 1) if out > 1 else 0 * i)
    if transform == "half_pixel" or (transform == "pytorch_half_pixel" and out > 1):
        return np.asarray((i + 0.5) / scale - 0.5)
    if transform == "pytorch_half_pixel":
        return 0 * i
    raise Refused(f"coordinate_transformation_mode {transform}")


def _same_places(n: int, wanted: Array, flags: tuple[bool, bool], mode: str, rounding: str) -> bool:
    out = len(wanted)
    corners, centers = flags
    i = np.arange(out, dtype=np.float32)
    scale = np.float32(n - 1) / np.float32(out - 1) if corners and out > 1 else np.float32(n / out)
    if mode == "linear":
        real = (i + np.float32(0.5)) * scale - np.float32(0.5) if centers else i * scale
        near = np.abs(np.clip(real, 0, n - 1) - np.clip(wanted, 0, n - 1)) < 1e-4
        return bool(near.all())
    real = (i + np.float32(0.5 if centers else 0)) * scale
    taken = np.floor(real + np.float32(0.5)) if corners else np.floor(real)
    functions: dict[str, Callable[[Array], Array]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        LEGACY_NEAREST: np.floor if out >= n else np.ceil,
        "round_prefer_floor": lambda p: np.ceil(p - 0.5),
        "round_prefer_ceil": lambda p: np.floor(p + 0.5),
    }
    if rounding not in functions:
        raise Refused(f"nearest_mode {rounding}")
    places = functions[rounding](wanted)
    return bool((np.clip(places, 0, n - 1) == np.clip(taken, 0, n - 1)).all())


# --- Rules -----------------------------------------------------------------------------------

_UNARY = Rule(_unary, (1, 1))
_BINARY = Rule(_binary, (2, 2))
_EXTREMUM = Rule(_extremum, (2, 2))
_POOL, _GLOBAL_POOL = Rule(_pool, (1, 1)), Rule(_global_pool, (1, 1))
_LABELS, _SAME = Rule(_reshape, (1, 2), ()), Rule(_identity, (1, 3), ())
RULES: dict[str, Rule] = {
    "Conv": Rule(_conv, (2, 3)),
    "BatchNormalization": Rule(_batch_normalization, (5, 5)),
    "Gemm": Rule(_gemm, (2, 3)),
    "MatMul": Rule(_matmul, (2, 2)),
    "Add": _BINARY,
    "Sub": _BINARY,
    "Mul": _BINARY,
    "Div": _BINARY,
    "Relu": _UNARY,
    "Sigmoid": _UNARY,
    "Tanh": _UNARY,
    "HardSwish": _UNARY,
    "LeakyRelu": Rule(_leaky_relu, (1, 1)),
    "PRelu": Rule(_leaky_relu, (2, 2)),
    "HardSigmoid": Rule(_hard_sigmoid, (1, 1)),
    "Clip": Rule(_clip, (1, 3)),
    "Max": _EXTREMUM,
    "Min": _EXTREMUM,
    "AveragePool": _POOL,
    "MaxPool": _POOL,
    "GlobalAveragePool": _GLOBAL_POOL,
    "GlobalMaxPool": _GLOBAL_POOL,
    "ReduceMean": Rule(_reduce_mean, (1, 2)),
    "Softmax": Rule(_softmax, (1, 1)),
    "Concat": Rule(_concat, (1, 1024)),
    "Slice": Rule(_slice, (3, 5)),
    "Split": Rule(_split, (1, 2), outputs=None),
    "Pad": Rule(_pad, (2, 4)),
    "Resize": Rule(_resize, (1, 4)),
    "Flatten": _LABELS,
    "Reshape": _LABELS,
    "Squeeze": _LABELS,
    "Unsqueeze": _LABELS,
    "Transpose": Rule(_transpose, (1, 1), ()),
    "Identity": _SAME,
    "Cast": _SAME,
    "Dropout": replace(_SAME, outputs=None),
    "QuantizeLinear": Rule(_quantize_linear, (2, 3), ()),
    "DequantizeLinear": Rule(_dequantize_linear, (2, 3), ()),
}
