# SPDX-License-Identifier: Apache-2.0
"""Float graphs in NumPy, compared with TensorFlow Lite Micro's float kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pytest

from models import FLOAT_NETWORK, network
from narrows import zoo
from narrows.errors import InputError, ModelError
from narrows.exporters.export import export_tflite
from narrows.graph.graph import (
    Activation,
    Binary,
    Concat,
    Conv,
    DepthwiseConv,
    FullyConnected,
    Graph,
    Operator,
    Pad,
    Pool,
    Port,
    Reduce,
    Reduction,
    Resize,
    Softmax,
    Tensor,
    Unary,
    UnaryFunction,
)
from narrows.graph.moves import DepthToSpace, Reshape, Slice, SpaceToDepth, Transpose
from narrows.graph.passes import fuse_activations
from narrows.graph.qgraph import Axis, Elementwise
from narrows.importers.tflite import import_tflite
from narrows.models import DIGITS_FLOAT
from narrows.quantization.float_model import FloatArray, FloatModel
from oracle import Oracle

Shape: TypeAlias = tuple[int, int, int]

NONE, RELU = Activation.NONE, Activation.RELU
X, Y, W, B, C = 0, 1, 2, 3, 4  # tensors of ``single``
# Sums of a few hundred products in another order.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


def single(
    operator: Operator, x: Shape, y: Shape, weights: tuple[int, ...] = (), other: Shape = (1, 1, 1)
) -> Graph:
    """One operator over tensor X to tensor Y; W and B are weights and bias, C a constant."""
    rng = np.random.default_rng(len(repr(operator)))

    def constant(name: str, shape: tuple[int, ...]) -> Tensor:
        return Tensor(name, shape, "float32", None, rng.normal(0, 1, shape).astype(np.float32))

    tensors = (
        Tensor("x", x, "float32", None),
        Tensor("y", y, "float32", None),
        constant("w", weights or (1,)),
        constant("b", (y[2],)),
        constant("c", other),
    )
    ports = [Port(t.name, i, "float32", (1, *t.shape), 0.0, 0) for i, t in enumerate(tensors[:2])]
    return Graph("single", tensors, (operator,), (ports[0],), (ports[1],))


def conv(
    kernel: tuple[int, int], stride: int, dilation: int, pad: tuple[int, int], x: Shape, y: Shape
) -> Graph:
    geometry = ((stride, stride), (dilation, dilation), pad)
    operator = Conv((X,), Y, W, B, *geometry, Activation.RELU6)
    return single(operator, x, y, (y[2], *kernel, x[2]))


def depthwise(kernel: int, stride: int, pad: int, multiplier: int, x: Shape, y: Shape) -> Graph:
    geometry = ((stride, stride), (1, 1), (pad, pad))
    operator = DepthwiseConv((X,), Y, W, B, *geometry, RELU, multiplier)
    return single(operator, x, y, (kernel, kernel, y[2]))


def pool(function: Any, kernel: int, stride: int, pad: int, x: Shape, y: Shape) -> Graph:
    window = ((kernel, kernel), (stride, stride), (pad, pad))
    return single(Pool((X,), Y, function, *window, NONE), x, y)


def unary(function: UnaryFunction, alpha: float = 0.0) -> Graph:
    return single(Unary((X,), Y, function, alpha), (5, 4, 3), (5, 4, 3))


def resize(function: Any, corners: bool, centers: bool, y: Shape) -> Graph:
    return single(Resize((X,), Y, function, corners, centers), (5, 7, 3), y)


def binary(function: Elementwise, other: Shape, activation: Activation = NONE) -> Graph:
    return single(Binary((X, C), Y, function, activation), (5, 4, 3), (5, 4, 3), other=other)


GRAPHS = {
    "conv 1x1": conv((1, 1), 1, 1, (0, 0), (6, 5, 7), (6, 5, 4)),
    "conv 1x1 stride 2": conv((1, 1), 2, 1, (0, 0), (7, 6, 3), (4, 3, 5)),
    "conv 3x3 same": conv((3, 3), 1, 1, (1, 1), (6, 5, 3), (6, 5, 4)),
    "conv 3x3 stride 2, even": conv((3, 3), 2, 1, (0, 0), (8, 6, 3), (4, 3, 4)),
    "conv 5x2 valid": conv((5, 2), 1, 1, (0, 0), (9, 6, 3), (5, 5, 2)),
    "conv 3x3 dilated": conv((3, 3), 1, 2, (2, 2), (8, 9, 3), (8, 9, 2)),
    "depthwise 3x3": depthwise(3, 1, 1, 1, (7, 6, 5), (7, 6, 5)),
    "depthwise 5x5 stride 2": depthwise(5, 2, 2, 1, (9, 7, 4), (5, 4, 4)),
    "depthwise, multiplier 3": depthwise(3, 1, 1, 3, (5, 6, 2), (5, 6, 6)),
    "depthwise over several blocks": depthwise(3, 2, 1, 1, (81, 81, 64), (41, 41, 64)),
    "dense": single(FullyConnected((X,), Y, W, B, RELU), (3, 2, 5), (1, 1, 6), (6, 3, 2, 5)),
    "average pool": pool("average", 3, 2, 1, (7, 7, 3), (4, 4, 3)),
    "max pool": pool("max", 3, 2, 1, (7, 7, 3), (4, 4, 3)),
    **{
        f"{f.value} over {axes}": single(Reduce((X,), Y, f, axes), (5, 4, 3), shape)
        for f in Reduction
        for axes, shape in (((0, 1), (1, 1, 3)), ((1,), (5, 1, 3)), ((2,), (5, 4, 1)))
    },
    "softmax": single(Softmax((X,), Y, 0.7), (4, 3, 9), (4, 3, 9)),
    **{
        f.value: unary(f, 0.2)
        for f in UnaryFunction
        # A float network has no REQUANTIZE, TFLite Micro no GELU.
        if f.name not in ("REQUANTIZE", "GELU", "GELU_TANH")
    },
    "add": binary(Elementwise.ADD, (5, 4, 3), Activation.RELU_N1_TO_1),
    "sub a channel's value": binary(Elementwise.SUB, (1, 1, 3), RELU),
    "mul by one value": binary(Elementwise.MUL, (1, 1, 1)),
    "squared difference": binary(Elementwise.SQUARED_DIFFERENCE, (1, 4, 3)),
    "maximum": binary(Elementwise.MAXIMUM, (5, 4, 3)),
    "minimum": binary(Elementwise.MINIMUM, (1, 1, 3)),
    "prelu": binary(Elementwise.PRELU, (1, 1, 3)),
    "concat": single(Concat((X, C), Y, Axis.WIDTH), (5, 4, 3), (5, 6, 3), other=(5, 2, 3)),
    "nearest": resize("nearest", False, False, (9, 13, 3)),
    "nearest, centers": resize("nearest", False, True, (4, 10, 3)),
    "nearest, corners": resize("nearest", True, False, (9, 4, 3)),
    "bilinear": resize("bilinear", False, False, (9, 13, 3)),
    "bilinear, centers": resize("bilinear", False, True, (3, 15, 3)),
    "bilinear, corners": resize("bilinear", True, False, (9, 13, 3)),
    "slice": single(Slice((X,), Y, (1, 0, 1), (2, 1, 1)), (6, 4, 4), (3, 3, 2)),
    "space to depth": single(SpaceToDepth((X,), Y, 2), (6, 4, 3), (3, 2, 12)),
    "depth to space": single(DepthToSpace((X,), Y, 2), (3, 2, 12), (6, 4, 3)),
    "pad": single(Pad((X,), Y, (1, 0, 0), -1.5), (3, 4, 2), (5, 6, 2)),
    "transpose": single(Transpose((X,), Y, (3, 4, 2), (2, 0, 1)), (3, 4, 2), (2, 3, 4)),
    "reshape": single(Reshape((X,), Y), (3, 4, 2), (1, 1, 24)),
}


def uniform(graph: Graph, seed: int = 0) -> FloatArray:
    shape = graph.tensors[graph.inputs[0].tensor].shape
    values: FloatArray = np.random.default_rng(seed).uniform(-8, 8, shape).astype(np.float32)
    return values


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())
def test_operators(graph: Graph) -> None:
    x = uniform(graph)
    (expected,) = Oracle(export_tflite(graph), 8 << 20).run([x[None]])
    (output,) = FloatModel(graph).run([x])
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, expected, **TOLERANCE)


def test_a_convolution_without_bias() -> None:
    graph = GRAPHS["conv 3x3 same"]
    graph = replace(graph, operators=(replace(graph.operators[0], bias=None),))
    x = uniform(graph)
    (expected,) = Oracle(export_tflite(graph), 8 << 20).run([x[None]])
    np.testing.assert_allclose(FloatModel(graph).run([x])[0], expected, **TOLERANCE)


@pytest.mark.parametrize("name", ["digits", FLOAT_NETWORK])
def test_networks(name: str) -> None:
    path = DIGITS_FLOAT if name == "digits" else network(name)
    model, oracle = FloatModel(import_tflite(path)), Oracle(path.read_bytes())
    (port,) = model.graph.inputs
    for seed in range(3):
        x = np.random.default_rng(seed).random(port.shape, np.float32)
        (expected,) = oracle.run([x])
        np.testing.assert_allclose(model.run([x])[0], expected, **TOLERANCE)


def test_every_tensor_can_be_seen() -> None:
    graph = zoo.build("resnet8")
    model = FloatModel(graph)
    seen: list[int] = []
    (image,) = zoo.pictures((32, 32, 3), 1, seed=5)
    (output,) = model.run([image], lambda index, values: seen.append(index))
    assert seen == [0, *(operator.output for operator in graph.operators)]
    streamed = list(model.stream([image] for _ in range(3)))
    assert all(np.array_equal(outputs[0], output) for outputs in streamed)


def test_samples_that_do_not_fit() -> None:
    model = FloatModel(GRAPHS["MEAN over (0, 1)"])
    x = uniform(model.graph)
    with pytest.raises(InputError, match="2 arrays for 1 input"):
        model.run([x, x])
    with pytest.raises(InputError, match=r"input x: float32 \[4, 5, 3\] instead of"):
        model.run([x.reshape(4, 5, 3)])
    with pytest.raises(InputError, match="input x: int8"):
        model.run([x.astype(np.int8)])


def test_networks_that_are_not_float() -> None:
    with pytest.raises(ModelError, match="is quantized already"):
        FloatModel(zoo.quantized("ds_cnn"))
    graph = GRAPHS["dense"]
    tensors = list(graph.tensors)
    tensors[W] = replace(tensors[W], data=np.full(tensors[W].shape, np.nan, np.float32))
    with pytest.raises(ModelError, match="w holds NaN or infinite values"):
        FloatModel(replace(graph, tensors=tuple(tensors)))


def test_activations_are_fused() -> None:
    graph = GRAPHS["conv 3x3 same"]
    (first,) = graph.operators
    tensors = (*graph.tensors, replace(graph.tensors[Y], name="z"))
    second = Unary((Y,), 5, UnaryFunction.RELU6)
    apart = replace(
        graph,
        tensors=tensors,
        operators=(replace(first, activation=NONE), second),
        outputs=(replace(graph.outputs[0], tensor=5),),
    )
    fused = fuse_activations(apart)
    assert [type(operator) for operator in fused.operators] == [Conv]
    x = uniform(graph)
    assert np.array_equal(FloatModel(fused).run([x])[0], FloatModel(graph).run([x])[0])
    both = replace(apart, outputs=(*apart.outputs, graph.outputs[0]))
    assert len(fuse_activations(both).operators) == 2
