# SPDX-License-Identifier: Apache-2.0
"""Builders of the operators of a ``.tflite`` file that compute. A docstring ends a line of the
table of supported operators."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import Literal

import numpy as np

from narrows.graph.graph import (
    MAX_DIMENSION,
    Array,
    Binary,
    Conv,
    DepthwiseConv,
    FullyConnected,
    Mean,
    Pool,
    Softmax,
    Tensor,
    Unary,
    UnaryFunction,
)
from narrows.graph.qgraph import Axis, Elementwise
from narrows.importers.tflite_checks import activations_int8, ratio
from narrows.importers.tflite_node import Node, Refused, per_tensor
from narrows.importers.views import CHANNELS, HEIGHT, WIDTH, View

# A fully connected layer over more rows than this reads a flattened copy instead: as a
# convolution it would hold all of its input's rows in one kernel.
MAX_FLATTENED_HEIGHT = 64
_MAX_STRIDE = 255
# Of all operators: a small hostile file must not make tables without end.
_MAX_OUTPUT_CHANNELS = 2**24


def _geometry(
    node: Node, size: Sequence[int], kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """(output height and width, stride, pad before) of a sliding window."""
    stride = (node.options["StrideH"], node.options["StrideW"])
    limits = [(n, _MAX_STRIDE) for n in (*stride, *dilation)] + [(n, MAX_DIMENSION) for n in kernel]
    if not all(1 <= n <= limit for n, limit in limits):
        raise Refused(f"kernel {kernel}, stride {stride}, dilation {dilation}")
    padding = node.options["Padding"]
    output, before = [], []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        extent = (k - 1) * d + 1
        out = -(-n // s) if padding == 0 else (n + s - extent) // s  # 0: SAME, 1: VALID
        if padding not in (0, 1) or out < 1:
            raise Refused(f"padding {padding}: a window of {extent} in {n} elements")
        output.append(out)
        before.append(max(0, (out - 1) * s + extent - n) // 2)
    return (output[0], output[1]), stride, (before[0], before[1])


def _bias_tensor(node: Node, channels: int) -> int | None:
    if not node.has(2):
        return None
    bias = node.input(2)
    assert bias.data is not None
    if bias.data.size != channels:
        raise Refused(f"{bias.data.size} biases for {channels} output channels")
    values = bias.data.reshape(channels)
    dtype: Literal["float32", "int32"] = "float32" if node.is_float else "int32"
    return node.importer.constant(Tensor(bias.name, (channels,), dtype, None, values))


def _weight_tensor(node: Node, data: Array, axis: int) -> int:
    record = node.input(1)
    node.importer.channels += prod(node.output().shape[-1:])
    if node.importer.channels > _MAX_OUTPUT_CHANNELS:
        raise Refused(f"more than {_MAX_OUTPUT_CHANNELS} output channels in all")
    q = None
    if not node.is_float:
        assert record.quantization is not None
        q = replace(record.quantization, axis=axis)
    return node.importer.constant(Tensor(record.name, data.shape, node.importer.dtype, q, data))


def conv_2d(node: Node) -> None:
    """Any kernel, stride, dilation and padding; not grouped."""
    x = node.plain(0)
    weights = node.input(1).data
    assert weights is not None
    out, kernel_h, kernel_w, channels = weights.shape
    if channels != x.storage[2]:
        grouped = "it is grouped: " if x.storage[2] % channels == 0 else ""
        raise Refused(
            f"{grouped}its kernel has {channels} input channels, its input {x.storage[2]}"
        )
    _window(node, x, weights, (kernel_h, kernel_w), out, 1, depthwise=False)


def depthwise_conv_2d(node: Node) -> None:
    """Any kernel, stride, dilation, padding and depth multiplier."""
    x = node.plain(0)
    weights = node.input(1).data
    assert weights is not None
    one, kernel_h, kernel_w, out = weights.shape
    channels = x.storage[2]
    if one != 1 or out % channels != 0:
        raise Refused(f"its kernel has shape {list(weights.shape)} for {channels} channels")
    if node.options["DepthMultiplier"] != out // channels:
        raise Refused(
            f"its depth multiplier is {node.options['DepthMultiplier']}, but its kernel has {out} "
            f"channels for {channels}"
        )
    if channels == 1:  # every output channel reads the only input channel: a convolution
        weights = np.ascontiguousarray(np.transpose(weights, (3, 1, 2, 0)))
        _window(node, x, weights, (kernel_h, kernel_w), out, 1, depthwise=False)
    else:
        multiplier = out // channels
        _window(node, x, weights[0], (kernel_h, kernel_w), out, multiplier, depthwise=True)


def _window(
    node: Node,
    x: View,
    weights: Array,
    kernel: tuple[int, int],
    out: int,
    depth_multiplier: int,
    depthwise: bool,
) -> None:
    dilation = (node.options["DilationHFactor"], node.options["DilationWFactor"])
    size, stride, pad = _geometry(node, x.storage[:2], kernel, dilation)
    y = node.new((*size, out))
    w = _weight_tensor(node, weights, 2 if depthwise else 0)
    bias = _bias_tensor(node, out)
    if depthwise:
        node.emit(
            DepthwiseConv(
                (x.tensor,), y, w, bias, stride, dilation, pad, node.activation, depth_multiplier
            )
        )
    else:
        node.emit(Conv((x.tensor,), y, w, bias, stride, dilation, pad, node.activation))
    node.result(x.on(y, (*size, out)))


def fully_connected(node: Node) -> None:
    """Default weights format; the input is flattened, or each of its pixels is mapped."""
    weights = node.input(1).data
    assert weights is not None
    if node.options["WeightsFormat"] != 0:
        raise Refused(f"weights format {node.options['WeightsFormat']}")
    out, depth = weights.shape
    x = node.view(0)
    count = prod(x.shape)
    if count % depth != 0 or prod(node.output().shape) != count // depth * out:
        raise Refused(f"weights of shape {[out, depth]} for an input of shape {list(x.shape)}")
    if node.output().shape[-1:] != (out,):
        raise Refused(f"output shape {list(node.output().shape)} of {out} output channels")
    if count != depth:  # pixel by pixel
        if not (x.contiguous and x.storage[2] == depth):
            x = node.importer.relabel(x, (count // depth, depth))
        weights = weights.reshape(out, 1, 1, depth)
    elif x.storage[0] > MAX_FLATTENED_HEIGHT:
        x = node.importer.relabel(x, (1, depth))
        weights = weights.reshape(out, 1, 1, depth)
    else:  # the kernel covers the input; its axes follow the stored order
        order = x.order()
        rest = [a for a in Axis if a not in order]
        sizes = [x.storage[a] for a in (*rest, *order)]
        placed = [1 + (*rest, *order).index(a) for a in Axis]
        weights = np.ascontiguousarray(weights.reshape(out, *sizes).transpose(0, *placed))
    storage = (1, 1, out) if count == depth else (x.storage[0], x.storage[1], out)
    y = node.new(storage)
    w, bias = _weight_tensor(node, weights, 0), _bias_tensor(node, out)
    node.emit(FullyConnected((x.tensor,), y, w, bias, node.activation))
    pixels = View(y, storage, storage, ((HEIGHT,), (WIDTH,), (CHANNELS,)))
    node.result(node.importer.reshaped(pixels, node.output().shape))


def binary(node: Node) -> None:
    """Shapes are equal or broadcast along height, width and channels."""
    function = {"ADD": Elementwise.ADD, "SUB": Elementwise.SUB, "MUL": Elementwise.MUL}[node.name]
    a, b = node.view(0), node.view(1)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise Refused(f"shapes {list(a.shape)} and {list(b.shape)}") from None
    like = a if prod(b.shape) == 1 else b
    same = a.shape == b.shape and a.axes == b.axes and a.storage == b.storage
    if same or (min(prod(a.shape), prod(b.shape)) == 1 and len(like.shape) == len(shape)):
        y = node.new(like.storage)
        result = replace(like, tensor=y)
    else:
        rank = max(4, len(shape))
        a, b = (node.importer.relabel(v, (1,) * (rank - len(v.shape)) + v.shape) for v in (a, b))
        height, width, channels = (max(m, n) for m, n in zip(a.storage, b.storage, strict=True))
        y = node.new((height, width, channels))
        storage, axes = (height, width, channels), ((), (HEIGHT,), (WIDTH,), (CHANNELS,))
        whole = View(y, (1, *storage), storage, axes)
        result = node.importer.reshaped(whole, shape)
    node.emit(Binary((a.tensor, b.tensor), y, function, node.activation))
    node.result(result)


def pool(node: Node) -> None:
    """Any kernel, stride and padding."""
    x = node.plain(0)
    kernel = (node.options["FilterHeight"], node.options["FilterWidth"])
    size, stride, pad = _geometry(node, x.storage[:2], kernel, (1, 1))
    storage = (*size, x.storage[2])
    y = node.new(storage)
    function: Literal["average", "max"] = "average" if node.name == "AVERAGE_POOL_2D" else "max"
    node.emit(Pool((x.tensor,), y, function, kernel, stride, pad, node.activation))
    node.result(x.on(y, storage))


def named_axes(node: Node, values: Iterable[int], rank: int) -> set[int]:
    axes = set()
    for value in values:
        if not -rank <= value < rank:
            raise Refused(f"axis {value} of {rank} dimensions")
        axes.add(int(value) % rank)
    return axes


def mean(node: Node) -> None:
    """Axes are a constant and name height, width or both."""
    x = node.view(0)
    dimensions = named_axes(node, node.values(1, "axes"), len(x.shape))
    over = {a for d in dimensions for a in x.axes[d] if x.storage[a] > 1}
    if CHANNELS in over:
        raise Refused("it runs over channels")
    storage = (
        1 if HEIGHT in over else x.storage[0],
        1 if WIDTH in over else x.storage[1],
        x.storage[2],
    )
    y = node.new(storage)
    if over:
        node.emit(Mean((x.tensor,), y, HEIGHT in over, WIDTH in over))
    else:  # the mean of one element: only the quantization changes
        node.emit(Unary((x.tensor,), y, UnaryFunction.REQUANTIZE))
    kept = [
        (1, ()) if d in dimensions else (x.shape[d], x.axes[d])
        for d in range(len(x.shape))
        if node.options["KeepDims"] or d not in dimensions
    ]
    node.result(View(y, tuple(n for n, _ in kept), storage, tuple(g for _, g in kept)))


def softmax(node: Node) -> None:
    """Over the last dimension; beta is positive."""
    beta = node.options["Beta"]
    q = per_tensor(node.input(0))
    # TFLite Micro's fixed-point format has five integer bits and needs a multiplier over 1.
    if not (np.isfinite(beta) and beta > 0 and (q is None or beta * float(q.scale) * 2**26 > 1)):
        raise Refused(f"beta {beta}")
    x = node.view(0)
    if not x.shape:
        raise Refused("its input is a scalar")
    long = [a for a in x.axes[-1] if x.storage[a] > 1]
    if long != [CHANNELS] and not (x.shape[-1] == x.storage[2] == 1):
        x = node.importer.relabel(x, (prod(x.shape[:-1]), x.shape[-1]))
    y = node.new(x.storage)
    node.emit(Softmax((x.tensor,), y, float(beta)))
    if node.output().shape != node.input(0).shape:
        raise Refused(f"output shape {list(node.output().shape)}")
    node.result(node.importer.reshaped(replace(x, tensor=y), node.output().shape))


def unary(node: Node) -> None:
    """Any shape."""
    x = node.view(0)
    y = node.new(x.storage)
    alpha = float(node.options.get("Alpha", 0.0))
    if not 0.0 <= alpha < 2.0**15:
        raise Refused(f"alpha {alpha}")
    node.emit(Unary((x.tensor,), y, UnaryFunction(node.name), alpha))
    node.result(replace(x, tensor=y))


def quantize(node: Node) -> None:
    """float32 or uint8 to int8 right behind an input of the model; int8 to int8 anywhere; int8
    to uint8 right before an output of the model."""
    source, target = node.input(0), node.output()
    if target.dtype not in ("int8", "uint8") or per_tensor(target) is None:
        raise Refused(
            f"its output is {target.dtype} with {target.scale_words}; int8 or uint8 with one scale "
            "is supported"
        )
    if source.dtype == target.dtype == "int8":
        activations_int8(node)
        ratio(node)
        unary(node)
    elif target.dtype == "uint8":
        leave(node)
        ratio(node)
    elif source.dtype in ("float32", "uint8"):
        x = node.view(0)
        tensor = node.importer.tensors[x.tensor]
        known = tensor.quantization
        q = per_tensor(target)
        assert q is not None
        if x.tensor in node.importer.pending:
            node.importer.pending.remove(x.tensor)
            node.importer.tensors[x.tensor] = replace(tensor, quantization=q)
        elif node.operator.inputs[0] in node.importer.assumed:
            node.assume()  # it is here because of the refused operator before it
            return
        elif node.operator.inputs[0] not in node.importer.record.inputs:
            raise Refused("it quantizes inside the network")
        elif known is None or (known.scale, known.zero_point) != (q.scale, q.zero_point):
            raise Refused("its input is quantized in several ways")
        if source.dtype == "uint8":
            ratio(node)
        node.result(x)
    else:
        raise Refused(f"it turns {source.dtype} into {target.dtype}")


def leave(node: Node) -> None:
    """From int8, right before an output of the model."""
    source = node.input(0)
    if source.dtype != "int8" or per_tensor(source) is None:
        raise Refused(
            f"{source.name} is {source.dtype} with {source.scale_words}; int8 with one scale is "
            "supported"
        )
    if node.output().dtype not in ("float32", "uint8"):
        raise Refused(f"its output is {node.output().dtype}")
    node.result(node.view(0))
