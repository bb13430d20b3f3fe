# SPDX-License-Identifier: Apache-2.0
"""Builders of the operators of a ``.tflite`` file that compute. A docstring ends a line of the
table of supported operators."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Literal

import numpy as np

from narrows.graph.graph import Array, Reduction, Relation, Tensor, Unary, UnaryFunction
from narrows.graph.qgraph import Elementwise
from narrows.importers import build_layers as layers
from narrows.importers.refusals import Refused
from narrows.importers.tflite_checks import activations_int8, place_of_bias, ratio
from narrows.importers.tflite_node import Node, per_tensor
from narrows.importers.views import View

# A small hostile file must not make tables of operators without end.
_MAX_OUTPUT_CHANNELS = 2**24
_SAME, _VALID = 0, 1


def _is_same(node: Node) -> bool:
    """Whether its padding is SAME, and not VALID."""
    padding = node.options["Padding"]
    if padding not in (_SAME, _VALID):
        raise Refused(f"padding {padding}")
    return bool(padding == _SAME)


def _window(
    node: Node, x: View, kernel: tuple[int, int], dilation: tuple[int, int]
) -> layers.Window:
    stride = (node.options["StrideH"], node.options["StrideW"])
    size, pads = x.storage[:2], node.options.get("Pads", ([0, 0], [0, 0]))
    if _is_same(node) and "Pads" not in node.options:
        pads = layers.same_padding(size, kernel, stride, dilation)
    return layers.slide(size, kernel, stride, dilation, pads)


def _bias_tensor(node: Node, channels: int, rows: slice | None = None) -> int | None:
    """rows: those of a group of output channels."""
    place = place_of_bias(node)
    if not node.has(place):
        return None
    bias = node.input(place)
    assert bias.data is not None
    if bias.data.size != channels:
        raise Refused(f"{bias.data.size} biases for {channels} output channels")
    values = bias.data.reshape(channels)[rows or slice(None)]
    dtype: Literal["float32", "int32"] = "float32" if node.is_float else "int32"
    return node.importer.constant(Tensor(bias.name, values.shape, dtype, None, values))


def _weight_tensor(node: Node, data: Array, axis: int, rows: slice | None = None) -> int:
    """rows: those of a group of output channels, which data is of."""
    record = node.input(1)
    node.importer.channels += data.shape[axis]
    if node.importer.channels > _MAX_OUTPUT_CHANNELS:
        raise Refused(f"more than {_MAX_OUTPUT_CHANNELS} output channels in all")
    q = None
    if not node.is_float:
        assert record.quantization is not None
        q = replace(record.quantization, axis=axis)
        if rows is not None and len(q.scales) > 1:
            q = replace(q, scales=q.scales[rows], zero_points=q.zero_points[rows])
    return node.importer.constant(Tensor(record.name, data.shape, node.importer.dtype, q, data))


def conv_2d(node: Node) -> None:
    """Any kernel, stride, dilation and padding; in as many groups as input channels, or up to
    64."""
    x = node.plain(0)
    weights = node.input(1).data
    assert weights is not None
    out, kernel_h, kernel_w, inner = weights.shape
    groups = x.storage[2] // inner
    if inner * groups != x.storage[2]:
        raise Refused(f"its kernel has {inner} input channels, its input {x.storage[2]}")
    if groups > 1 and out % groups:
        raise Refused(f"{groups} groups for {out} output channels")
    if groups > 1 and inner == 1:  # depthwise, and with the same arithmetic
        weights, groups = np.ascontiguousarray(weights[..., 0].transpose(1, 2, 0)), 1
    _convolution(node, x, weights, (kernel_h, kernel_w), out, groups)


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
    else:
        weights = weights[0]
    _convolution(node, x, weights, (kernel_h, kernel_w), out)


def _convolution(
    node: Node,
    x: View,
    weights: Array,
    kernel: tuple[int, int],
    channels: int,
    groups: int = 1,
) -> None:
    """weights: [channels, height, width, inputs]; depthwise ones [height, width, channels]."""
    dilation = (node.options["DilationHFactor"], node.options["DilationWFactor"])
    window = _window(node, x, kernel, dilation)
    y = node.new((*window.size, channels))
    if groups > 1:

        def constants_of(_: slice, rows: slice) -> tuple[int, int | None]:
            bias = _bias_tensor(node, channels, rows)
            return _weight_tensor(node, weights[rows], 0, rows), bias

        node.result(
            layers.grouped(node, x, y, constants_of, window, node.activation, groups=groups)
        )
        return
    axis = 0 if weights.ndim == 4 else 2
    constants = (_weight_tensor(node, weights, axis), _bias_tensor(node, channels))
    node.result(layers.conv(node, x, y, constants, window, node.activation))


def transpose_conv(node: Node) -> None:
    """Any kernel and padding, strides of up to 256 phases (convolutions of stride 1, which it
    becomes); the output's shape follows from constants and shapes."""
    x, weights = node.plain(2), node.input(1).data
    assert weights is not None
    out, kernel_h, kernel_w, channels = weights.shape
    if channels != x.storage[2]:
        raise Refused(f"its kernel has {channels} input channels, its input {x.storage[2]}")
    shape = tuple(int(n) for n in node.values(0, "output shape"))
    if len(shape) != 4 or (shape[0], shape[3]) != (1, out):
        raise Refused(f"output shape {list(shape)}, [1, height, width, {out}] expected")
    kernel, size = (kernel_h, kernel_w), shape[1:3]
    stride = (node.options["StrideH"], node.options["StrideW"])
    before = [0, 0]
    if _is_same(node):
        before, _ = layers.same_padding(size, kernel, stride, (1, 1))
    elif any(n < k for n, k in zip(size, kernel, strict=True)):  # no convolution gives its input
        raise Refused(f"padding VALID, and its kernel is larger than its output, {list(size)}")
    window = layers.scatter(x.storage, kernel, stride, (1, 1), before, shape[1:])
    y = node.new((*size, out))
    constants = (_weight_tensor(node, weights, 0), _bias_tensor(node, out))
    view = layers.conv(node, x, y, constants, window, node.activation, transposed=True)
    node.result(view)


def fully_connected(node: Node) -> None:
    """Default weights format; the input is flattened, or each of its pixels is mapped."""
    weights = node.input(1).data
    assert weights is not None
    if node.options["WeightsFormat"] != 0:
        raise Refused(f"weights format {node.options['WeightsFormat']}")
    out, depth = weights.shape
    x = node.view(0)
    count, shape = prod(x.shape), node.output().shape
    if node.is_resized and count % depth == 0:
        keep = node.options["KeepNumDims"] and x.shape[-1] == depth
        shape = (*x.shape[:-1], out) if keep else (count // depth, out)
    if count % depth != 0 or prod(shape) != count // depth * out:
        raise Refused(f"weights of shape {[out, depth]} for an input of shape {list(x.shape)}")
    if shape[-1:] != (out,):
        raise Refused(f"output shape {list(shape)} of {out} output channels")
    constants = (_weight_tensor(node, weights, 0), _bias_tensor(node, out))
    layers.fully_connected(node, x, constants, shape, node.activation)


def binary(node: Node) -> None:
    """Shapes are equal or broadcast along height, width and channels."""
    function = Elementwise[node.name]
    layers.binary(node, node.pieces(0), node.pieces(1), function, node.activation)


def divide(node: Node) -> None:
    """Shapes are equal or broadcast along height, width and channels. An operand of int8 is a
    constant number, or both are functions of one tensor's elements."""
    a, b = node.pieces(0), node.pieces(1)
    if node.is_float:
        layers.divide(node, a, b, node.activation)
    else:
        layers.binary(node, a, b, Elementwise.DIV, node.activation)


def matmul(node: Node) -> None:
    """Two matrices, of which either may be taken transposed; or as many as the dimensions before
    say, times as many others or one."""
    first, second = node.pieces(0), node.pieces(1)
    if min(len(first.shape), len(second.shape)) < 2:
        raise Refused(f"shapes {list(first.shape)} and {list(second.shape)}")
    if node.options["AdjX"]:
        first = layers.turned(first)
    layers.matmul(node, first, second if node.options["AdjY"] else layers.turned(second))


def compare(node: Node) -> None:
    """Shapes are equal or broadcast along height, width and channels."""
    layers.compare(node, node.pieces(0), node.pieces(1), Relation(node.name))


def select(node: Node) -> None:
    """Shapes are equal or broadcast along height, width and channels."""
    layers.select(node, node.view(0), node.view(1), node.view(2))


def pool(node: Node) -> None:
    """Any kernel, stride and padding."""
    x = node.plain(0)
    kernel = (node.options["FilterHeight"], node.options["FilterWidth"])
    function: Literal["average", "max"] = "average" if node.name == "AVERAGE_POOL_2D" else "max"
    layers.pool(node, x, function, _window(node, x, kernel, (1, 1)), node.activation)


def reduce(node: Node) -> None:
    """Axes are a constant."""
    x, function = node.pieces(0), Reduction(node.name)
    over = layers.dimensions(node.values(1, "axes"), len(x.shape))
    sums = function in (Reduction.MEAN, Reduction.SUM)
    if sums and all(x.shape[d] == 1 for d in over):  # of one element: only the quantization changes
        y = node.new(x.storage)
        node.emit(Unary((x.tensor,), y, UnaryFunction.REQUANTIZE))
        x = replace(x, tensor=y)
    layers.reduce(node, x, function, over, keep=bool(node.options["KeepDims"]))


def arg_max(node: Node) -> None:
    """The axis is a constant."""
    x, axes = node.view(0), node.values(1, "axis")
    if len(axes) != 1 or not x.shape:
        raise Refused(f"{len(axes)} axes of shape {list(x.shape)}")
    (axis,) = layers.dimensions(axes, len(x.shape))
    layers.arg_max(node, x, axis, keep=False, least=node.name == "ARG_MIN")


def cast(node: Node) -> None:
    """Any shape."""
    node.result(node.pieces(0))


def softmax(node: Node) -> None:
    """Over the last dimension; beta is positive."""
    beta = float(node.options["Beta"])
    q = per_tensor(node.input(0))
    # TFLite Micro's fixed-point format has five integer bits and needs a multiplier over 1.
    if not (np.isfinite(beta) and beta > 0 and (q is None or beta * float(q.scale) * 2**26 > 1)):
        raise Refused(f"beta {beta}")
    x = node.view(0)
    if not x.shape:
        raise Refused("its input is a scalar")
    layers.softmax(node, x, len(x.shape) - 1, x.shape, beta)


def unary(node: Node) -> None:
    """Any shape."""
    function = UnaryFunction(node.name)
    if function is UnaryFunction.GELU and node.options["Approximate"]:
        function = UnaryFunction.GELU_TANH
    alpha = float(node.options.get("Alpha", 0.0))
    in_floats = None if node.is_float else node.in_floats
    layers.unary(node, node.pieces(0), function, alpha, in_floats=in_floats)
    if node.in_floats:
        node.importer.pending.add(node.importer.operators[-1].output)


def quantize(node: Node) -> None:
    """float32 or uint8 to int8 right behind an input of the model; float32 to int8 behind a
    function of one element; int8 to int8 anywhere; int8 to uint8 right before an output of the
    model."""
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
        x = node.pieces(0)
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
    """From int8, right before an output of the model or a function of one element."""
    source = node.input(0)
    if source.dtype != "int8" or per_tensor(source) is None:
        raise Refused(
            f"{source.name} is {source.dtype} with {source.scale_words}; int8 with one scale is "
            "supported"
        )
    if node.output().dtype not in ("float32", "uint8"):
        raise Refused(f"its output is {node.output().dtype}")
    node.result(node.pieces(0))
