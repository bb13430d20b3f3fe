# SPDX-License-Identifier: Apache-2.0
"""Transposed convolutions, which become a convolution for each phase of their strides: TensorFlow
Lite Micro's bytes from .tflite files, onnxruntime's values from ONNX."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import onnxruntime
import pytest

from litert import litert_outputs
from narrows.errors import UnsupportedError
from narrows.exporters.export import export_tflite
from narrows.graph.graph import Activation, Concat, Conv, DepthwiseConv, Unary
from narrows.graph.moves import Reshape
from narrows.graph.qgraph import macs
from narrows.importers.onnx import import_onnx
from narrows.importers.tflite import import_tflite
from narrows.quantization.float_model import FloatModel
from narrows.quantization.lower import lower
from narrows.quantization.quantize import quantize
from oracle import Oracle
from single import ACTIVATIONS, NONE, RELU, SAME, VALID, Net
from subjects import check
from test_onnx import Net as OnnxNet
from test_onnx import Qdq, batch_norm, kinds
from test_onnx_lines import PROVIDERS, last
from test_onnx_lines import check as check_onnx


def seeded(*parts: object) -> Net:
    return Net(zlib.crc32(repr(parts).encode()))


# --- .tflite ---------------------------------------------------------------------------------

WINDOWS = [
    # height, width, kernel, stride
    (4, 5, (2, 2), (2, 2)),
    (5, 4, (3, 3), (2, 2)),
    (5, 4, (4, 4), (2, 2)),
    (3, 6, (5, 3), (2, 1)),
    (6, 3, (3, 5), (1, 3)),
    (5, 5, (3, 3), (1, 1)),
    (4, 3, (1, 2), (2, 3)),  # phases that see nothing
    (1, 1, (7, 7), (4, 4)),
    (2, 9, (9, 2), (3, 2)),
    (1, 8, (1, 4), (1, 2)),
]


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_windows(window: Any, padding: int) -> None:
    height, width, kernel, stride = window
    net = seeded(window, padding)
    x = net.int8((1, height, width, int(net.rng.integers(1, 6))))
    y = net.transpose_conv(x, kernel, 4, stride=stride, padding=padding)
    check(net.finish([x], [y]), net.rng)


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("size", [(9, 7), (10, 8), (11, 9), (12, 15), (3, 4)], ids=str)
def test_sizes(size: tuple[int, int], padding: int) -> None:
    """More and less than the kernels cover: only sums of the bias, and inputs that count for
    nothing."""
    net = seeded(size, padding)
    x = net.int8((1, 5, 4, 3))
    check(net.finish([x], [net.transpose_conv(x, (3, 3), 5, padding=padding, size=size)]), net.rng)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_activations(per_channel: bool, activation: int) -> None:
    net = seeded(per_channel, activation)
    x = net.int8((1, 4, 4, 3))
    options = {"activation": activation, "per_channel": per_channel, "bias": per_channel}
    check(net.finish([x], [net.transpose_conv(x, (3, 3), 6, **options)]), net.rng)


def test_on_a_board() -> None:
    """An autoencoder."""
    net = seeded("board")
    x = net.int8((1, 8, 8, 2))
    y = net.conv(net.conv(x, (3, 3), 4, stride=(2, 2), activation=RELU), (3, 3), 8, stride=(2, 2))
    y = net.transpose_conv(y, (3, 3), 4, activation=RELU)
    check(net.finish([x], [net.transpose_conv(y, (2, 2), 2)]), net.rng, board=True)


def test_a_computed_shape() -> None:
    """As Keras writes it: a batch and sizes that are known when the model runs."""
    net = seeded("shape")
    x = net.int8((1, 4, 5, 3))
    sizes, shape = net.tensor((4,), "int32"), net.tensor((4,), "int32")
    net.operator("SHAPE", [x], [sizes], "ShapeOptions", {"out_type": 2})
    parts = []
    for d in range(3):
        ends = [net.ints([d]), net.ints([d + 1]), net.ints([1])]
        options = {"shrink_axis_mask": 1}
        part = net.tensor((), "int32")
        net.operator("STRIDED_SLICE", [sizes, *ends], [part], "StridedSliceOptions", options)
        if d > 0:
            doubled = net.tensor((), "int32")
            net.operator("MUL", [part, net.ints(2)], [doubled], "MulOptions", {})
            part = doubled
        parts.append(part)
    parts.append(net.ints(6))
    net.operator("PACK", parts, [shape], "PackOptions", {"values_count": 4})
    y = net.transpose_conv(x, (3, 3), 6, shape=shape)
    check(net.finish([x], [y]), net.rng)


@pytest.mark.parametrize(
    ("window", "stride"), [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((4, 6), (2, 3)), ((5, 4), (3, 1))]
)
def test_no_product_is_for_nothing(window: tuple[int, int], stride: tuple[int, int]) -> None:
    net = seeded(window, stride)
    x = net.int8((1, 6, 7, 3))
    y = net.transpose_conv(x, window, 5, stride=stride)
    qgraph = lower(import_tflite(net.finish([x], [y]), "products"))
    assert macs(qgraph) == 6 * 7 * window[0] * window[1] * 3 * 5


def test_phases_of_columns_that_are_alike_are_one_convolution() -> None:
    net = seeded("alike")
    x = net.int8((1, 4, 4, 3))
    graph = import_tflite(net.finish([x], [net.transpose_conv(x, (2, 2), 5)]), "alike")
    assert kinds(graph) == [Conv, Conv, Concat, Reshape]
    names = [graph.tensors[op.output].name for op in graph.operators]
    assert names == [*(f"{names[3]}/part{i}" for i in range(3)), graph.outputs[0].name]
    net = seeded("stride 1")
    x = net.int8((1, 4, 4, 3))
    y = net.transpose_conv(x, (3, 3), 5, stride=(1, 1))
    assert kinds(import_tflite(net.finish([x], [y]), "stride 1")) == [Conv]


def refusal(net: Net, x: int, y: int) -> str:
    with pytest.raises(UnsupportedError) as caught:
        import_tflite(net.finish([x], [y]), "refused")
    (item,) = caught.value.items
    return f"{item.operator}: {item.reason}"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"stride": (17, 17)}, "stride [17, 17]; up to 256 phases are supported"),
        ({"stride": (256, 1)}, "kernel [3, 3], stride [256, 1], dilation [1, 1]; strides and"),
        ({"size": (60000, 9), "stride": (3, 3), "padding": VALID}, None),
        ({"size": (65535, 2)}, "from shape [5, 4, 3] by stride [2, 2] to [65535, 2, 4]"),
        ({"padding": 2}, "padding 2"),
        ({"padding": VALID, "size": (10, 2)}, "padding VALID, and its kernel is larger than its"),
    ],
)
def test_what_is_refused(options: dict[str, Any], reason: str | None) -> None:
    net = seeded("refused")
    x = net.int8((1, 5, 4, 3))
    y = net.transpose_conv(x, (3, 3), 4, **options)
    if reason is None:
        import_tflite(net.finish([x], [y]), "taken")
    else:
        assert refusal(net, x, y).startswith(f"TRANSPOSE_CONV: {reason}")


def test_shapes_that_are_refused() -> None:
    net = seeded("shapes")
    x = net.int8((1, 5, 4, 3))
    y = net.transpose_conv(x, (3, 3), 4, shape=net.ints((1, 10, 8, 5)))
    assert refusal(net, x, y).endswith("[1, 10, 8, 5], [1, height, width, 4] expected")
    y = net.transpose_conv(x, (3, 3), 4, shape=net.ints((1, 9, 8, 4)))
    assert "output shape [1, 10, 8, 4] instead of [1, 9, 8, 4]" in refusal(net, x, y)
    y = net.transpose_conv(x, (3, 3), 4, shape=net.tensor((4,), "float32"))
    assert "its output shape is not a constant of integers" in refusal(net, x, y)


def test_a_float_network() -> None:
    """In float32, to be quantized: LiteRT's values, and what quantize makes of it is exact. A RELU
    that stands by itself becomes a part of the convolutions."""
    net = seeded("float")
    x, y = (net.tensor(shape, "float32") for shape in ((1, 5, 4, 3), (1, 10, 8, 4)))
    w = net.tensor((4, 3, 3, 3), "float32", data=net.rng.normal(0, 0.4, (4, 3, 3, 3)))
    bias = net.tensor((4,), "float32", data=net.rng.normal(0, 0.4, 4))
    options = {"padding": SAME, "stride_h": 2, "stride_w": 2, "fused_activation_function": NONE}
    inputs = [net.ints((1, 10, 8, 4)), w, x, bias]
    net.operator("TRANSPOSE_CONV", inputs, [y], "TransposeConvOptions", options, version=3)
    rectified = net.tensor((1, 10, 8, 4), "float32")
    net.operator("RELU", [y], [rectified])
    model = net.finish([x], [rectified])
    graph = import_tflite(model, "float")
    assert Unary not in kinds(graph)
    samples = [[net.rng.normal(0, 1, (1, 5, 4, 3)).astype(np.float32)] for _ in range(4)]
    for sample in samples:
        (want,) = litert_outputs(model, sample, "BUILTIN_REF")
        for got in (FloatModel(graph).run(sample), Oracle(export_tflite(graph)).run(sample)):
            np.testing.assert_allclose(got[0], want, rtol=1e-5, atol=1e-6)
    check(export_tflite(quantize(graph, ([s[0][0]] for s in samples))), net.rng)


# --- ONNX ------------------------------------------------------------------------------------


PADDINGS: list[dict[str, Any]] = [
    {},
    {"pads": [1, 1, 1, 1]},
    {"pads": [0, 1, 2, 0]},
    {"pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    {"auto_pad": "SAME_UPPER"},
    {"auto_pad": "SAME_LOWER"},
    {"auto_pad": "VALID"},
    {"output_shape": [11, 9]},
    {"output_shape": [11, 9], "auto_pad": "SAME_UPPER"},
]
FORMS: list[dict[str, Any]] = [
    {"kernel_shape": [3, 3], "strides": [2, 2]},
    {"kernel_shape": [4, 4], "strides": [2, 2]},
    {"kernel_shape": [3, 5], "strides": [2, 3]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "dilations": [2, 3]},
    {"kernel_shape": [2, 3], "strides": [3, 2], "dilations": [5, 2]},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("padding", PADDINGS, ids=str)
def test_onnx(form: dict[str, Any], padding: dict[str, Any]) -> None:
    net = OnnxNet((1, 4, 5, 4))
    weights = net.normal(4, 3, *form["kernel_shape"])
    check_onnx(net, net.add("ConvTranspose", "x", weights, net.normal(3), **form, **padding))


@pytest.mark.parametrize(
    ("weights", "groups"), [((4, 1, 3, 3), 4), ((4, 3, 2, 2), 2), ((4, 2, 4, 3), 4)]
)
def test_onnx_groups(weights: tuple[int, ...], groups: int) -> None:
    net = OnnxNet((1, 4, 5, 4))
    bias, options = net.normal(weights[1] * groups), {"group": groups, "strides": [2, 2]}
    y = net.add("ConvTranspose", "x", net.normal(*weights), bias, **options)
    graph = check_onnx(net, y)
    assert (DepthwiseConv in kinds(graph)) == (weights[1] == 1)


@pytest.mark.parametrize("attributes", [{}, {"strides": [3], "pads": [1, 2]}, {"group": 4}])
def test_onnx_lines(attributes: dict[str, Any]) -> None:
    net = OnnxNet((1, 4, 9))
    shape = (4, 1, 5) if "group" in attributes else (4, 3, 5)
    check_onnx(net, net.add("ConvTranspose", "x", net.normal(*shape), **attributes))


def test_onnx_normalized_and_rectified() -> None:
    """A stage of a generator or decoder: nothing is left but convolutions and moves."""
    net = OnnxNet((1, 4, 5, 4))
    y = net.add("ConvTranspose", "x", net.normal(4, 3, 4, 4), strides=[2, 2], pads=[1, 1, 1, 1])
    graph = check_onnx(net, net.add("Relu", batch_norm(net, y, 3)))
    convolutions = [op for op in graph.operators if isinstance(op, Conv)]
    assert set(kinds(graph)) == {Conv, Concat, Reshape}
    assert {op.activation for op in convolutions} == {Activation.RELU}


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_onnx_qdq(groups: int) -> None:
    net = Qdq((1, 4, 5, 4))
    each = {1: 6, 2: 3, 4: 1}[groups]
    w, _ = net.weights(4, each, 3, 3, channels=each, axis=1)
    x = net.around("x", 0.05, 3)
    y = net.add("ConvTranspose", x, w, net.normal(each * groups), group=groups, strides=[2, 2])
    model = net.model(net.around(y, 0.1, -5), opset=19)
    graph = import_onnx(model, "qdq")
    assert all(t.dtype != "float32" for t in graph.tensors)
    check(export_tflite(graph), net.rng)
    x = net.rng.normal(0, 2, net.shape).astype(np.float32)
    (want,) = onnxruntime.InferenceSession(model, providers=PROVIDERS).run(None, {"x": x})
    got = Oracle(export_tflite(graph)).run([last(x)])
    assert np.abs(got[0] - last(want)).max() < 1.001 * 0.1
    requantized = import_onnx(model, "qdq", requantize=True)
    samples = [[last(x)[0]] for _ in range(2)]
    check(export_tflite(quantize(requantized, samples)), net.rng)


@pytest.mark.parametrize(
    ("weights", "attributes", "reason"),
    [
        (
            (4, 3, 1, 3),
            {"pads": [0, 3, 0, 0]},
            r"cuts off \[0, 3\] pixels of kernels over \[1, 3\]",
        ),
        ((4, 3, 3, 3), {"group": 3}, "3 groups and a kernel of shape"),
        (
            (4, 3, 3, 3),
            {"group": 2, "strides": [9, 15]},
            r"2 groups of stride \[9, 15\]; up to 256",
        ),
        ((4, 3, 3, 3), {"output_padding": [-1, 0]}, "output_padding"),
        ((4, 3, 2, 2), {"strides": [3, 3], "auto_pad": "SAME_UPPER"}, "leaves room at its stride"),
        ((4, 3, 3, 3), {"pads": [2, 2, 9, 9]}, "from shape"),
    ],
)
def test_onnx_refused(weights: tuple[int, ...], attributes: dict[str, Any], reason: str) -> None:
    net = OnnxNet((1, 4, 5, 4))
    y = net.add("ConvTranspose", "x", net.normal(*weights), **attributes)
    with pytest.raises(UnsupportedError, match=reason):
        import_onnx(net.model(y), "refused")
