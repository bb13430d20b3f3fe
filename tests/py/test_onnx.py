# SPDX-License-Identifier: Apache-2.0
"""Import of ONNX models, an operator at a time, against ONNX's own reference evaluator."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from narrows.compiler import compile_model
from narrows.errors import ModelError, UnsupportedError
from narrows.exporters.export import export_tflite
from narrows.graph.graph import (
    Activation,
    Binary,
    Conv,
    DepthwiseConv,
    FullyConnected,
    Graph,
    Pad,
    Unary,
    UnaryFunction,
)
from narrows.graph.moves import Reshape, Slice, Transpose
from narrows.importers import load
from narrows.importers.onnx import import_onnx, supported_operators
from narrows.quantization.float_model import FloatModel
from narrows.quantization.lower import lower
from oracle import Array, Oracle
from subjects import check as check_int8

OPSETS = (13, 18, 21)
X = (1, 4, 7, 6)


class Net:
    """Collects nodes; methods return names."""

    def __init__(self, shape: Sequence[int | str] = X, dtype: int = TensorProto.FLOAT) -> None:
        self.rng = np.random.default_rng(3)
        self.shape = tuple(n if isinstance(n, int) else 1 for n in shape)
        self.input = helper.make_tensor_value_info("x", dtype, shape)
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, values: Any, dtype: Any = None) -> str:
        name = f"c{len(self.initializers)}"
        array = np.asarray(values)
        dtype = dtype or (np.int64 if array.dtype.kind == "i" else np.float32)
        self.initializers.append(numpy_helper.from_array(array.astype(dtype), name))
        return name

    def normal(self, *shape: int, scale: float = 0.5) -> str:
        return self.constant(self.rng.normal(0, scale, shape))

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x: str, *shape: int, bias: bool = True, **attributes: Any) -> str:
        inputs = [x, self.normal(*shape)] + ([self.normal(shape[0])] if bias else [])
        return str(self.add("Conv", *inputs, **attributes))

    def model(self, *outputs: str, opset: int = 13) -> bytes:
        values = [
            helper.make_tensor_value_info(name, self.input.type.tensor_type.elem_type, None)
            for name in outputs
        ]
        graph = helper.make_graph(
            self.nodes, "test", [self.input], values, initializer=self.initializers
        )
        imports = [helper.make_opsetid("", opset)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        return bytes(model.SerializeToString())


def nhwc(array: Array) -> Array:
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def outside(array: Array, shape: Sequence[int]) -> Array:
    """A value of the ONNX model as the port of the imported one shows it."""
    return array if array.shape == tuple(shape) and array.ndim != 4 else nhwc(array)


def check(
    net: Net, *outputs: str, opset: int = 13, export: bool = True, transposed: bool = True
) -> Graph:
    """Require the reference's values from the imported graph, and from its own .tflite."""
    model = net.model(*outputs, opset=opset)
    x = net.rng.normal(0, 2, net.shape).astype(np.float32)
    wanted = onnx.reference.ReferenceEvaluator(onnx.load_from_string(model)).run(None, {"x": x})
    graph = import_onnx(model, "test")
    inside = np.ascontiguousarray(nhwc(x) if transposed else x)
    assert graph.inputs[0].shape == inside.shape
    got = FloatModel(graph).run([inside])
    ways = [("graph", got)]
    if export:
        ways.append(("exported", Oracle(export_tflite(graph)).run([inside], len(outputs))))
    for name, values in ways:
        for value, want in zip(values, wanted, strict=True):
            expected = outside(want, value.shape) if transposed else want
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5, err_msg=name)
    return graph


def kinds(graph: Graph) -> list[type]:
    return [type(operator) for operator in graph.operators]


# --- Operators -------------------------------------------------------------------------------


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((5, 4, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((5, 4, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ((5, 4, 2, 3), {"pads": [0, 2, 1, 0], "strides": [1, 2]}),
        ((5, 4, 3, 2), {"dilations": [2, 3], "auto_pad": "VALID"}),
        ((5, 4, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((5, 4, 4, 4), {"auto_pad": "SAME_LOWER"}),
        ((4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
        ((12, 1, 3, 3), {"group": 4, "pads": [1, 0, 1, 0]}),
        ((6, 2, 3, 3), {"group": 2, "pads": [1, 1, 1, 1]}),
        ((5, 4, 1, 1), {"bias": False}),
    ],
)
def test_conv(opset: int, shape: tuple[int, ...], attributes: dict[str, Any]) -> None:
    net = Net()
    check(net, net.conv("x", *shape, **attributes), opset=opset)


def test_conv_of_one_channel() -> None:
    net = Net((1, 1, 7, 6))
    graph = check(net, net.conv("x", 3, 1, 3, 3, group=1))
    assert kinds(graph) == [Conv]


def batch_norm(net: Net, x: str, channels: int) -> str:
    rng = net.rng
    parameters = [rng.normal(1, 0.2, channels), *rng.normal(0, 0.3, (2, channels))]
    names = [net.constant(p) for p in (*parameters, rng.uniform(0.5, 2, channels))]
    return str(net.add("BatchNormalization", x, *names, epsilon=1e-3))


@pytest.mark.parametrize("depthwise", [False, True])
def test_batch_normalization_is_folded(depthwise: bool) -> None:
    net = Net()
    shape = (4, 1, 3, 3) if depthwise else (4, 4, 3, 3)
    y = batch_norm(net, net.conv("x", *shape, group=4 if depthwise else 1, bias=False), 4)
    y = net.add("Clip", y, net.constant(0.0), net.constant(6.0))
    (operator,) = check(net, y, opset=15).operators
    assert isinstance(operator, DepthwiseConv if depthwise else Conv)
    assert operator.activation is Activation.RELU6


@pytest.mark.parametrize("channels", [1, 4])
def test_batch_normalization_before_a_conv_stays(channels: int) -> None:
    net = Net((1, channels, 5, 5))
    y = net.add("Relu", batch_norm(net, "x", channels))
    assert len(check(net, net.conv(y, 2, channels, 3, 3), opset=15).operators) == 2


def test_scales_and_shifts_are_folded() -> None:
    net = Net()
    y = net.add("Mul", net.conv("x", 3, 4, 1, 1), net.normal(1, 3, 1, 1))
    y = net.add("Add", net.normal(3, 1, 1), y)
    y = net.add("Sub", net.constant(2.0), y)
    y = net.add("Div", y, net.constant([4.0]))
    assert kinds(check(net, y)) == [Conv]


def test_nothing_is_folded_that_others_see() -> None:
    net = Net()
    first = net.conv("x", 3, 4, 1, 1)
    second = net.add("Mul", first, net.normal(1, 3, 1, 1))
    assert kinds(check(net, first, second)) == [Conv, Binary]


@pytest.mark.parametrize("operator", ["Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid"])
def test_activations(operator: str) -> None:
    net = Net()
    check(net, net.add(operator, net.conv("x", 4, 4, 1, 1)))


INF = float("inf")


@pytest.mark.parametrize(
    ("bounds", "operators"),
    [
        ((0.0, 6.0), 1),
        ((0.0, None), 1),
        ((0.0, INF), 1),
        ((-3.4028234663852886e38, 3.4028234663852886e38), 1),
        ((-1.0, 1.0), 1),
        ((None, None), 1),
        ((0.0, 1.0), 2),
        ((0.5, None), 2),
        ((None, 2.0), 2),
        ((None, -2.0), 2),
        ((-2.0, 3.0), 3),
    ],
)
def test_clip(bounds: tuple[float | None, float | None], operators: int) -> None:
    """Numbers before the clip are part of the convolution."""
    net = Net()
    names = [net.constant(b) if b is not None else "" for b in bounds]
    graph = check(net, net.add("Clip", net.conv("x", 4, 4, 1, 1), *names))
    assert len(graph.operators) == operators


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.0, float("nan")), (INF, INF), (2.0, 2.0)])
def test_clip_to_nothing(bounds: tuple[float, float]) -> None:
    net = Net()
    y = net.add("Clip", "x", *(net.constant(b) for b in bounds))
    with pytest.raises(UnsupportedError, match="bounds"):
        import_onnx(net.model(y))


def test_extrema() -> None:
    net = Net()
    y = net.conv("x", 4, 4, 1, 1)
    z = net.add("Min", net.constant([1.5]), net.add("Max", y, net.constant(-0.5)))
    check(net, z, net.add("Max", net.constant(0.0), "x"))
    net = Net()
    gate = net.add("GlobalAveragePool", "x")
    check(net, net.add("Max", "x", gate), net.add("Min", net.normal(4, 1, 1), "x"))


@pytest.mark.parametrize(
    ("chain", "activation"),
    [
        (["Relu", "Clip"], Activation.RELU6),
        (["Clip", "Relu"], Activation.RELU6),
        (["Relu", "Min"], Activation.RELU6),
        (["Max", "Min"], Activation.RELU6),
        (["Relu", "Relu"], Activation.RELU),
    ],
)
def test_activations_in_a_row_are_one(chain: list[str], activation: Activation) -> None:
    net = Net()
    y = net.conv("x", 4, 4, 1, 1)
    bounds = {"Relu": (), "Clip": (0.0, 6.0), "Min": (6.0,), "Max": (0.0,)}
    for name in chain:
        y = net.add(name, y, *(net.constant(b) for b in bounds[name]))
    (operator,) = check(net, y).operators
    assert isinstance(operator, Conv)
    assert operator.activation is activation


def test_leaky_relu_and_prelu() -> None:
    net = Net()
    y = net.add("LeakyRelu", "x", alpha=0.2)
    y = net.add("PRelu", y, net.constant([[[0.3]]]))
    check(net, net.add("PRelu", y, net.normal(4, 1, 1)))


def hard_swish(net: Net, x: str, form: str) -> Any:
    third, sixth = net.constant(3.0), net.constant(6.0)
    zero = net.constant(0.0)
    if form == "operator":
        return net.add("HardSwish", x)
    if form == "hard sigmoid":
        return net.add("Mul", x, net.add("HardSigmoid", x, alpha=1 / 6, beta=0.5))
    clipped = net.add("Clip", net.add("Add", x, third), zero, sixth)
    if form == "divided last":
        return net.add("Div", net.add("Mul", x, clipped), sixth)
    return net.add("Mul", net.add("Div", clipped, sixth), x)


@pytest.mark.parametrize("form", ["operator", "hard sigmoid", "divided last", "divided first"])
def test_hard_swish(form: str) -> None:
    net = Net()
    graph = check(net, hard_swish(net, "x", form), opset=14)
    (operator,) = graph.operators
    assert isinstance(operator, Unary)
    assert operator.function is UnaryFunction.HARD_SWISH


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (4, 1, 1), (1, 4, 1, 1), (7, 1), (6,), X])
@pytest.mark.parametrize("first", [False, True])
def test_binary_with_a_constant(operator: str, shape: tuple[int, ...], first: bool) -> None:
    net = Net()
    c = net.constant(net.rng.uniform(0.5, 2.0, shape))
    if operator == "Div" and first:
        return
    check(net, net.add(operator, *((c, "x") if first else ("x", c))))


@pytest.mark.parametrize("operator", ["Add", "Sub", "Mul"])
def test_binary(operator: str) -> None:
    net = Net()
    a, b = net.conv("x", 4, 4, 1, 1), net.add("Relu", "x")
    squeezed = net.add("GlobalAveragePool", b)
    y = net.add(operator, a, b)
    check(net, y, net.add(operator, a, squeezed), net.add(operator, squeezed, y))


def test_squeeze_and_excitation() -> None:
    net = Net()
    mean = net.add("ReduceMean", "x", axes=[2, 3], keepdims=0)
    hidden = net.add("Relu", net.add("Gemm", mean, net.normal(2, 4), net.normal(2), transB=1))
    gate = net.add("Sigmoid", net.add("Gemm", hidden, net.normal(2, 4), net.normal(4)))
    wide = net.add("Reshape", gate, net.constant([1, -1, 1, 1]))
    check(net, net.add("Mul", "x", wide))


@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 0, 0]},
    ],
)
def test_pool(operator: str, attributes: dict[str, Any]) -> None:
    net = Net()
    check(net, net.add(operator, "x", **attributes))
    if operator == "AveragePool":
        net = Net()
        check(net, net.add(operator, "x", count_include_pad=1, **attributes))


def test_pool_with_ceiling() -> None:
    net = Net()
    check(net, net.add("MaxPool", "x", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1))


@pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pool(operator: str) -> None:
    net = Net()
    y = net.add(operator, "x")
    check(net, y, net.add("Flatten", y))


@pytest.mark.parametrize("axes", [[2], [3], [2, 3], [-1, -2], [1], [3, 1], [1, 2, 3]])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"])
def test_reduce(operator: str, axes: list[int], keep: int) -> None:
    net = Net()
    if operator == "ReduceSum":
        y = net.add(operator, "x", net.constant(axes), keepdims=keep)
    else:
        y = net.add(operator, "x", axes=axes, keepdims=keep)
    if keep or len(axes) == 2:
        check(net, y)
    net = Net()
    y = net.add(operator, "x", net.constant(axes), keepdims=1)
    check(net, y, opset=18)


def test_cut_and_padded_after_dimensions_are_joined() -> None:
    """What no single stored axis holds is laid out anew before it is cut or padded."""
    net = Net((1, 6, 4))
    y = net.add("Reshape", "x", net.constant([1, 24]))
    first = net.add("Slice", y, *(net.constant([n]) for n in (3, 20, 1, 2)))
    graph = check(net, first, net.add("Pad", y, net.constant([0, 2, 0, 1])))
    assert kinds(graph) == [Reshape, Slice, Pad]  # both read the same RESHAPE


def test_gemm_after_flatten_takes_the_channels_first() -> None:
    net = Net()
    y = net.add("Relu", net.add("Flatten", net.conv("x", 4, 4, 1, 1)))
    y = net.add("Gemm", y, net.normal(168, 5), net.normal(5))
    y = net.add("Gemm", y, net.normal(3, 5), transB=1)
    graph = check(net, y)
    assert Reshape not in kinds(graph)
    assert kinds(graph).count(FullyConnected) == 2


def test_gemm_with_factors() -> None:
    net = Net((1, 12))
    w, b = net.normal(12, 5), net.normal(5)
    y = net.add("Gemm", "x", w, b, alpha=0.5, beta=2.0)
    check(net, y, net.add("Gemm", "x", w, b), net.add("Gemm", "x", w, beta=3.0))


def test_matmul_and_add_is_one_operator() -> None:
    net = Net((1, 12))
    y = net.add("Add", net.add("MatMul", "x", net.normal(12, 5)), net.normal(5))
    assert kinds(check(net, y)) == [FullyConnected]


def test_matmul_of_pixels() -> None:
    net = Net()
    y = net.add("Transpose", "x", perm=[0, 2, 3, 1])
    y = net.add("Add", net.add("MatMul", y, net.normal(4, 5)), net.normal(5))
    check(net, net.add("Transpose", y, perm=[0, 3, 1, 2]))


def test_shapes_are_computed() -> None:
    """What torch writes for x.view(x.size(0), -1)."""
    net = Net(("batch", 4, 7, 6))
    batch = net.add("Gather", net.add("Shape", "x"), net.constant(0), axis=0)
    batch = net.add("Unsqueeze", batch, net.constant([0]))
    shape = net.add("Concat", batch, net.constant([-1]), axis=0)
    shape = net.add("Cast", shape, to=TensorProto.INT64)
    y = net.add("Reshape", "x", shape)
    check(net, net.add("Gemm", y, net.normal(168, 3)))


def test_labels() -> None:
    net = Net()
    y = net.add("Squeeze", net.add("GlobalAveragePool", "x"), net.constant([2, 3]))
    y = net.add("Dropout", net.add("Identity", y))
    y = net.add("Unsqueeze", net.add("Cast", y, to=1), net.constant([2]))
    check(net, net.add("Flatten", net.add("Squeeze", y, net.constant([2]))))


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_concat(axis: int) -> None:
    net = Net()
    check(net, net.add("Concat", "x", net.add("Relu", "x"), axis=axis))


def test_long_concat() -> None:
    net = Net()
    parts = [net.add("LeakyRelu", "x", alpha=i / 20) for i in range(23)]
    check(net, net.add("Concat", *parts, axis=1))


def test_slice() -> None:
    net = Net()
    starts, ends = net.constant([1, -5]), net.constant([3, 1000])
    y = net.add("Slice", "x", starts, ends, net.constant([1, 2]), net.constant([1, 2]))
    check(net, y, net.add("Slice", y, net.constant([0, 0]), net.constant([1, 1])))


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str) -> None:
    net = Net()
    y = net.add("DepthToSpace", net.add("Concat", "x", "x", axis=1), blocksize=2, mode=mode)
    check(net, y, net.add("SpaceToDepth", y, blocksize=2))


def test_depth_to_space_without_a_mode() -> None:
    net = Net()
    check(net, net.add("DepthToSpace", "x", blocksize=2))


def test_a_mode_of_depth_to_space_that_does_not_exist() -> None:
    net = Net()
    with pytest.raises(UnsupportedError, match=r"DepthToSpace.*mode ROW"):
        import_onnx(net.model(net.add("DepthToSpace", "x", blocksize=2, mode="ROW")))


def test_split() -> None:
    net = Net()
    parts = net.add("Split", "x", net.constant([1, 3]), outputs=2, axis=1)
    halves = net.add("Split", "x", outputs=2, axis=3)
    check(net, *parts, *halves)
    net = Net()
    check(net, *net.add("Split", "x", outputs=3, axis=2, num_outputs=3), opset=18)


def test_pad() -> None:
    net = Net()
    y = net.add("Pad", "x", net.constant([0, 1, 2, 0, 0, 0, 1, 3]), net.constant(0.5))
    check(net, y)
    net = Net()
    y = net.add("Pad", "x", net.constant([0, 0, 1, 1, 0, 0, 1, 1]))
    graph = check(net, net.conv(y, 4, 4, 3, 3, strides=[2, 2]))
    assert kinds(graph) == [Conv]
    net = Net()
    y = net.add("Pad", "x", net.constant([2, 1]), "", net.constant([3]))
    check(net, y, opset=18)


@pytest.mark.parametrize("axis", [1, -3])
def test_softmax(axis: int) -> None:
    net = Net()
    flat = net.add("Gemm", net.add("Flatten", "x"), net.normal(168, 6, scale=0.1))
    check(net, net.add("Softmax", "x", axis=axis), net.add("Softmax", flat))


@pytest.mark.parametrize("opset", [13, 19])
@pytest.mark.parametrize("size", [(14, 12), (3, 3), (21, 9)])
@pytest.mark.parametrize(
    ("mode", "transform", "rounding"),
    [
        ("nearest", "asymmetric", "floor"),
        ("nearest", "half_pixel", "round_prefer_ceil"),
        ("linear", "half_pixel", "floor"),
        ("linear", "align_corners", "floor"),
        ("linear", "asymmetric", "floor"),
        ("linear", "pytorch_half_pixel", "floor"),
    ],
)
def test_resize(
    opset: int, size: tuple[int, int], mode: str, transform: str, rounding: str
) -> None:
    net = Net()
    y = net.add(
        "Resize",
        "x",
        "",
        "",
        net.constant([1, 4, *size]),
        mode=mode,
        coordinate_transformation_mode=transform,
        nearest_mode=rounding,
    )
    check(net, y, opset=opset)


def test_resize_by_scales() -> None:
    net = Net()
    scales = net.constant([1.0, 1.0, 2.0, 2.0])
    y = net.add(
        "Resize", "x", "", scales, mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    check(net, y)


def test_resize_that_tflite_cannot_express() -> None:
    net = Net()
    y = net.add("Resize", "x", "", "", net.constant([1, 4, 14, 12]), mode="cubic")
    with pytest.raises(UnsupportedError, match="cubic"):
        import_onnx(net.model(y))
    net = Net()
    y = net.add(
        "Resize", "x", "", "", net.constant([1, 4, 14, 12]), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="ceil",
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match="takes samples where TFLite cannot"):
        import_onnx(net.model(y))


def test_an_nhwc_input_stays() -> None:
    """What tf2onnx writes."""
    net = Net((1, 7, 6, 4))
    y = net.add("Transpose", net.add("Mul", "x", net.constant(0.5)), perm=[0, 3, 1, 2])
    y = net.add("Transpose", net.conv(y, 5, 4, 3, 3), perm=[0, 2, 3, 1])
    y = net.add("Reshape", net.add("Add", y, net.normal(5)), net.constant([1, 100]))
    check(net, net.add("MatMul", y, net.normal(100, 3)), transposed=False)


def test_an_nhwc_input_may_be_padded_first() -> None:
    """As Keras's MobileNetV2 begins."""
    net = Net((1, 7, 6, 4))
    y = net.add("Pad", "x", net.constant([0, 0, 0, 0, 0, 1, 1, 0]))
    y = net.conv(net.add("Transpose", y, perm=[0, 3, 1, 2]), 5, 4, 3, 3, strides=[2, 2])
    y = net.add("Flatten", net.add("GlobalAveragePool", y))
    assert kinds(check(net, y, transposed=False))[0] is Conv


def test_a_flat_input_of_one_channel() -> None:
    net = Net((1, 40))
    y = net.conv(net.add("Reshape", "x", net.constant([1, 1, 8, 5])), 3, 1, 3, 3)
    check(net, net.add("Flatten", net.add("GlobalAveragePool", y)))


# --- Refusals --------------------------------------------------------------------------------


def test_all_that_is_unsupported_is_listed() -> None:
    net = Net()
    y = net.add("Hardmax", "x")
    a = net.add("Relu", net.add("Softmax", y, axis=3))
    b = net.add("Clip", "x", net.constant(1.0), net.constant(0.0))
    c = net.add("NonZero", "x")
    with pytest.raises(UnsupportedError) as caught:
        import_onnx(net.model(a, b, c))
    assert [item.operator for item in caught.value.items] == ["Hardmax", "Clip", "NonZero"]


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1, 4, "h", 6), "no fixed shape"), ((2, 4, 7, 6), "batch of 2"), ((1, 4, 7, 70000), "70000")],
)
def test_inputs_that_do_not_fit(shape: tuple[int | str, ...], message: str) -> None:
    net = Net(shape)
    with pytest.raises(ModelError, match=message):
        import_onnx(net.model(net.add("Relu", "x")))


def test_a_layout_change_that_cannot_be_absorbed() -> None:
    net = Net()
    y = net.add("Reshape", net.add("Flatten", "x"), net.constant([1, 6, 4, 7]))
    graph = check(net, net.conv(y, 2, 6, 1, 1))
    assert kinds(graph) == [Transpose, Transpose, Conv]


def shuffled(net: Net, x: str, groups: int, dimensions: int) -> str:
    """Channel shuffle of [1, channels, height, width] as PyTorch has it, or without splitting
    height from width."""
    _, channels, height, width = net.shape
    inner = [height, width] if dimensions == 5 else [height * width]
    parts = net.constant([1, groups, channels // groups, *inner])
    order = [0, 2, 1, *range(3, dimensions)]
    y = net.add("Transpose", net.add("Reshape", x, parts), perm=order)
    return net.add("Reshape", y, net.constant(list(net.shape)))


@pytest.mark.parametrize("dimensions", [4, 5])
@pytest.mark.parametrize("groups", [2, 3])
def test_channel_shuffle(groups: int, dimensions: int) -> None:
    net = Net((1, 6, 5, 4))
    y = net.conv(shuffled(net, "x", groups, dimensions), 4, 6, 3, 3)
    graph = check(net, y, net.add("Relu", shuffled(net, "x", groups, dimensions)))
    assert kinds(graph).count(Transpose) == 1
    (move,) = (op for op in graph.operators if isinstance(op, Transpose))
    assert (move.sizes, move.order) == ((5, 4, groups, 6 // groups), (0, 1, 3, 2))


def test_a_shuffle_there_and_back_moves_nothing() -> None:
    net = Net((1, 6, 5, 4))
    y = shuffled(net, shuffled(net, "x", 2, 5), 3, 5)
    assert kinds(check(net, net.conv(y, 4, 6, 1, 1))) == [Conv]


def test_a_head_of_anchors() -> None:
    """What a YOLO network ends with: five dimensions, and what is taken of the last of them."""
    net = Net((1, 12, 5, 4))
    y = net.add("Reshape", "x", net.constant([1, 3, 4, 5, 4]))
    y = net.add("Sigmoid", net.add("Transpose", y, perm=[0, 1, 3, 4, 2]))
    rows = net.add("Reshape", y, net.constant([1, -1, 4]))
    ends = net.constant([0]), net.constant([2]), net.constant([2])
    check(net, y, rows, net.add("Slice", rows, *ends))


def small() -> bytes:
    net = Net()
    y = net.add("Relu", batch_norm(net, net.conv("x", 3, 4, 3, 3), 3))
    y = net.add("Flatten", net.add("GlobalAveragePool", y))
    return net.model(net.add("Softmax", net.add("Gemm", y, net.normal(3, 2))))


def test_truncated_files() -> None:
    model = small()
    for length in range(len(model)):
        with pytest.raises(ModelError) as caught:
            import_onnx(model[:length], "cut")
        assert "\n" not in str(caught.value) or isinstance(caught.value, UnsupportedError)


def test_damaged_files() -> None:
    """Whatever is changed ends in a model or in an error, never in another exception."""
    model, rng = small(), np.random.default_rng(5)
    for _ in range(400):
        changed = bytearray(model)
        for place in rng.integers(0, len(model), int(rng.integers(1, 4))):
            changed[place] = rng.integers(256)
        with contextlib.suppress(ModelError):
            import_onnx(bytes(changed), "changed")


@pytest.mark.parametrize("number", [-1, 2, 65535])
@pytest.mark.parametrize("case", ["keepdims", "ceil_mode", "count_include_pad", "transB"])
def test_a_flag_is_0_or_1(case: str, number: int) -> None:
    """onnxruntime takes some of these for 0, ONNX's own evaluator for 1."""
    net = Net()
    if case == "keepdims":
        y = net.add("ReduceMean", "x", axes=[2, 3], keepdims=number)
    elif case == "transB":
        y = net.add("Gemm", net.add("Flatten", "x"), net.normal(168, 3), transB=number)
    else:
        y = net.add("AveragePool", "x", kernel_shape=[2, 2], pads=[1, 0, 0, 0], **{case: number})
    with pytest.raises(UnsupportedError, match=f"its {case} is {number}, 0 or 1 are defined"):
        import_onnx(net.model(y))


def test_an_output_has_a_name() -> None:
    net = Net()
    model = onnx.load_from_string(net.model(net.add("Erf", "x"), "x"))
    model.graph.node[0].output.append("")  # a node may leave outputs out, a network may not
    model.graph.output[1].name = ""
    with pytest.raises(ModelError, match="an input or output without a name"):
        import_onnx(model.SerializeToString())


def test_gemm_takes_two_dimensions() -> None:
    net = Net()
    x = net.add("Reshape", "x", net.constant([-1]))
    with pytest.raises(UnsupportedError, match=r"its input has shape \[168\], two dimensions"):
        import_onnx(net.model(net.add("Gemm", x, net.normal(168, 3))))


def test_a_shape_that_onnx_aborts_on() -> None:
    """The kernel is larger than its input; ONNX's shape inference dies of the Slice behind."""
    net = Net()
    x = net.add("MaxPool", "x", kernel_shape=[100, 100])
    y = net.add("Slice", x, net.constant([0]), net.constant([5]), net.constant([2]))
    with pytest.raises(UnsupportedError, match="operator 0 MaxPool"):
        import_onnx(net.model(y))


def test_names_cannot_spoil_the_lines_of_an_error() -> None:
    """They are renamed where anything refers to them, so the network stays what it is."""
    net = Net()
    x = net.add("Relu", net.conv("x", 4, 4, 1, 1))
    model = onnx.load_from_string(net.model(net.add("Erf", x)))
    for old, new in (("t1_0", "a\nb\x1b[31m"), ("t2_0", "y" * 3000)):
        for node in model.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
        for value in model.graph.output:
            value.name = new if value.name == old else value.name
    with pytest.raises(UnsupportedError, match="1 unsupported") as caught:
        import_onnx(model.SerializeToString(), "names")
    lines = str(caught.value).split("\n")
    assert len(lines) == 2
    assert all(line.isprintable() and len(line) < 400 for line in lines)
    model.graph.node[-1].op_type = "Relu"
    assert len(import_onnx(model.SerializeToString(), "names").operators) == 1


def test_a_small_file_makes_no_large_constant() -> None:
    net = Net()
    shape = net.constant([1 << 20, 1 << 20])
    zeros = net.add("ConstantOfShape", shape)
    with pytest.raises(ModelError, match="a constant of"):
        import_onnx(net.model(net.add("Add", "x", zeros)))


def test_load_tells_files_by_content(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(small())
    graph = load(path)
    assert graph.name == "model.onnx"
    other = tmp_path / "model.bin"
    other.write_bytes(export_tflite(graph))
    assert [op.output for op in load(other).operators]
    other.write_bytes(small())
    assert kinds(load(other)) == kinds(graph)
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelError, match="not an ONNX model"):
        load(tmp_path / "text.onnx")


def test_weights_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = onnx.load_from_string(small())
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert kinds(import_onnx(path)) == kinds(import_onnx(small()))
    with pytest.raises(ModelError, match="another file"):
        import_onnx(path.read_bytes())
    data = (tmp_path / "weights").read_bytes()
    (tmp_path / "weights").write_bytes(data[:-20])
    with pytest.raises(ModelError, match="weights"):
        import_onnx(path)
    (tmp_path / "weights").unlink()
    with pytest.raises(ModelError, match=r"\(\d+ tensors\) stand in weights, which is not there"):
        import_onnx(path)


def test_the_table_of_operators_is_complete() -> None:
    rows = supported_operators()
    assert all(row.constraints for row in rows)
    assert {"Conv", "Gemm", "Resize", "QuantizeLinear"} <= {row.name for row in rows}


# --- QDQ form --------------------------------------------------------------------------------


class Qdq(Net):
    """kind: of activations."""

    def __init__(self, shape: Sequence[int | str] = X, kind: Any = np.int8) -> None:
        super().__init__(shape)
        self.kind = kind

    def around(self, x: str, scale: float, zero_point: int) -> str:
        shift = 128 if self.kind == np.uint8 else 0
        s, z = self.constant(np.float32(scale)), self.constant(zero_point + shift, self.kind)
        return str(self.add("DequantizeLinear", self.add("QuantizeLinear", x, s, z), s, z))

    def weights(self, *shape: int, channels: int, scale: float = 0.02, axis: int = 0) -> Any:
        scales = self.rng.uniform(0.5, 1.5, channels).astype(np.float32) * np.float32(scale)
        data = self.constant(self.rng.integers(-127, 128, shape), np.int8)
        zeros = self.constant(np.zeros(channels, np.int8), np.int8)
        name = self.add("DequantizeLinear", data, self.constant(scales), zeros, axis=axis)
        return name, scales

    def bias(self, scales: Array) -> str:
        data = self.constant(self.rng.integers(-3000, 3000, scales.shape), np.int32)
        zeros = self.constant(np.zeros(scales.shape, np.int32), np.int32)
        return str(self.add("DequantizeLinear", data, self.constant(scales), zeros, axis=0))


def qdq_network(net: Qdq, *, integer_bias: bool = True) -> str:
    x = net.around("x", 0.05, 3)
    w, scales = net.weights(8, 4, 3, 3, channels=8, scale=0.005)
    bias = net.bias(scales * np.float32(0.05)) if integer_bias else net.normal(8, scale=0.1)
    y = net.add("Relu", net.add("Conv", x, w, bias, pads=[1, 1, 1, 1]))
    y = net.around(y, 0.06, -128)
    w, _ = net.weights(8, 1, 3, 3, channels=8, scale=0.005)
    z = net.around(net.add("Conv", y, w, group=8, pads=[1, 1, 1, 1]), 0.1, -10)
    y = net.around(net.add("Add", y, z), 0.12, -20)
    y = net.add("Flatten", net.around(net.add("GlobalAveragePool", y), 0.05, -30))
    w, _ = net.weights(8, 5, channels=5, scale=0.005, axis=1)
    y = net.around(net.add("MatMul", y, w), 0.05, 4)
    return net.around(net.add("Softmax", y), 1 / 256, -128)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("integer_bias", [False, True])
def test_qdq(kind: Any, integer_bias: bool) -> None:
    net = Qdq(kind=kind)
    y = qdq_network(net, integer_bias=integer_bias)
    model = net.model(y, opset=19)
    graph = import_onnx(model, "qdq")
    assert all(t.dtype != "float32" for t in graph.tensors)
    assert graph.inputs[0].dtype == graph.outputs[0].dtype == "float32"
    check_int8(export_tflite(graph), net.rng, board=True)
    # The reference computes in floats between its roundings: a step of difference may be there.
    x = net.rng.normal(0, 2, X).astype(np.float32)
    wanted = onnx.reference.ReferenceEvaluator(onnx.load_from_string(model)).run(None, {"x": x})
    got = Oracle(export_tflite(graph)).run([nhwc(x)])
    assert np.abs(got[0] - wanted[0]).max() <= 4 / 256


def test_qdq_as_a_float_network() -> None:
    net = Qdq()
    model = net.model(qdq_network(net), opset=19)
    graph = import_onnx(model, "qdq", requantize=True)
    assert all(t.dtype == "float32" and t.quantization is None for t in graph.tensors)
    x = net.rng.normal(0, 2, X).astype(np.float32)
    wanted = onnx.reference.ReferenceEvaluator(onnx.load_from_string(model)).run(None, {"x": x})
    np.testing.assert_allclose(FloatModel(graph).run([nhwc(x)])[0], wanted[0], atol=0.1)


def test_qdq_compiles(tmp_path: Path) -> None:
    net = Qdq()
    path = tmp_path / "qdq.onnx"
    path.write_bytes(net.model(qdq_network(net), opset=19))
    assert compile_model(path).qgraph.inputs[0].shape == (1, 7, 6, 4)
    assert lower(load(path)).outputs[0].shape == (1, 5)


def _tolerant(case: str) -> tuple[Qdq, str]:
    net = Qdq()
    x = net.around("x", 0.05, 3)
    if case == "softmax":
        return net, net.around(net.add("Softmax", x, axis=1), 0.01, -128)
    if case == "pool":
        return net, net.around(net.add("MaxPool", x, kernel_shape=[2, 2]), 0.06, 3)
    if case == "activation":
        return net, net.around(net.add("Sigmoid", net.add("Tanh", x)), 1 / 256, -128)
    if case == "bias":
        w, scales = net.weights(8, 4, 1, 1, channels=8)
        return net, net.around(net.add("Conv", x, w, net.bias(scales)), 0.1, 0)
    if case == "axis":
        w, _ = net.weights(8, 4, 1, 1, channels=4, axis=1)
        return net, net.around(net.add("Conv", x, w), 0.1, 0)
    if case == "weights":
        return net, net.around(net.conv(x, 8, 4, 1, 1), 0.1, 0)
    if case == "clip":
        w, _ = net.weights(8, 4, 1, 1, channels=8)
        y = net.add("Clip", net.add("Conv", x, w), net.constant(0.0), net.constant(1.0))
        return net, net.around(y, 1 / 255, -128)
    if case in ("wide activation", "scales"):
        number = 0.01 if case == "wide activation" else [0.01] * 4
        z = (
            net.constant(0, np.int16)
            if case == "wide activation"
            else net.constant([0] * 4, np.int8)
        )
        s = net.constant(np.float32(number))
        return net, net.add("DequantizeLinear", net.add("QuantizeLinear", x, s, z), s, z)
    if case == "wide weights":
        s, z = net.constant(np.float32(0.001)), net.constant(0, np.int16)
        w = net.add("DequantizeLinear", net.constant(np.ones((8, 4, 1, 1)), np.int16), s, z)
        v = net.add("QuantizeLinear", net.normal(8, 8, 1, 1), s, z)
        y = net.add("Conv", net.add("Conv", x, w), net.add("DequantizeLinear", v, s, z))
        return net, net.around(y, 0.1, 0)
    assert case == "asymmetric"
    s, z = net.constant(np.float32(0.1)), net.constant(3, np.int8)
    w = net.add("DequantizeLinear", net.constant(np.ones((8, 4, 1, 1)), np.int8), s, z)
    return net, net.around(net.add("Conv", x, w), 0.1, 0)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("softmax", "TFLite prescribes 0.00390625 and -128"),
        ("pool", "another scale or zero point"),
        ("activation", "no QuantizeLinear gives its scale"),
        ("bias", "another scale than its input times its weights"),
        ("axis", "not output channels"),
        ("weights", "weights that no DequantizeLinear gives"),
        ("asymmetric", "TFLite's weights are symmetric"),
        ("clip", "bounds 0 and 1; TFLite's int8 has no such activation"),
        ("wide activation", "it quantizes to int16; TFLite's activations are int8"),
        ("scales", "4 scales; TFLite's activations have one"),
        ("wide weights", "in int16; TFLite's are int8, uint8, int32"),
    ],
)
def test_qdq_that_breaks_a_rule(case: str, message: str) -> None:
    net, y = _tolerant(case)
    model = net.model(y, opset=19)
    with pytest.raises(UnsupportedError, match=message) as caught:
        import_onnx(model, "qdq")
    assert "'narrows quantize --requantize' chooses new scales" in str(caught.value)
    graph = import_onnx(model, "qdq", requantize=True)
    assert all(t.quantization is None for t in graph.tensors)
