# SPDX-License-Identifier: Apache-2.0
"""ONNX networks of one dimension, [1, channels, length]: a column of pixels inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from models import case
from narrows.cli import main
from narrows.exporters.export import export_tflite
from narrows.graph.edges import HostEdge, channels_last, dequantize, quantize
from narrows.graph.graph import Conv, FullyConnected, Graph
from narrows.graph.moves import Reshape
from narrows.importers import load
from narrows.importers.onnx import import_onnx
from narrows.quantization.float_model import FloatModel
from oracle import Array, Oracle
from test_onnx import Net, batch_norm, kinds

LINE = (1, 4, 14)
PROVIDERS = ["CPUExecutionProvider"]


def last(values: Array) -> Array:
    """Channels behind what they are channels of."""
    return np.ascontiguousarray(np.moveaxis(values, 1, -1))


def check(net: Net, output: str, *, turned: bool = True) -> Graph:
    """Require onnxruntime's values from the imported graph, and from its own .tflite.

    turned: the input and an output of three dimensions have channels last.
    """
    model = net.model(output)
    x = net.rng.normal(0, 2, net.shape).astype(np.float32)
    (want,) = onnxruntime.InferenceSession(model, providers=PROVIDERS).run(None, {"x": x})
    graph = import_onnx(model, "test")
    inside = last(x) if turned else x
    assert graph.inputs[0].shape == inside.shape
    assert graph.inputs[0].channels_first == turned
    for got in (FloatModel(graph).run([inside]), Oracle(export_tflite(graph)).run([inside])):
        expected = last(want) if graph.outputs[0].channels_first else want
        np.testing.assert_allclose(got[0], expected, rtol=1e-4, atol=1e-5)
    return graph


@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((5, 4, 3), {}),
        ((5, 4, 3), {"pads": [2, 1], "strides": [2]}),
        ((5, 4, 3), {"pads": [4, 4], "dilations": [4]}),
        ((5, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2]}),
        ((8, 1, 3), {"group": 4}),
        ((6, 2, 3), {"group": 2}),
    ],
)
def test_conv(shape: tuple[int, ...], attributes: dict[str, Any]) -> None:
    net = Net(LINE)
    graph = check(net, net.conv("x", *shape, **attributes))
    assert graph.tensors[0].shape == (14, 1, 4)


def test_one_channel() -> None:
    net = Net((1, 1, 20))
    check(net, net.add("Relu", net.conv("x", 3, 1, 5)))


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [2], "strides": [2]}),
        ("MaxPool", {"kernel_shape": [3], "pads": [1, 1]}),
        ("AveragePool", {"kernel_shape": [3], "strides": [2]}),
        ("AveragePool", {"kernel_shape": [3], "pads": [1, 1], "count_include_pad": 1}),
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
    ],
)
def test_pools(operator: str, attributes: dict[str, Any]) -> None:
    net = Net(LINE)
    check(net, net.add(operator, "x", **attributes))


def test_batch_normalization_is_folded() -> None:
    net = Net(LINE)
    assert kinds(check(net, batch_norm(net, net.conv("x", 6, 4, 3), 6))) == [Conv]


def test_flatten_and_gemm() -> None:
    net = Net(LINE)
    y = net.add("Flatten", net.conv("x", 6, 4, 3))
    graph = check(net, net.add("Gemm", y, net.normal(72, 3)))
    assert kinds(graph) == [Conv, FullyConnected]


@pytest.mark.parametrize("axis", [2, 3, -1, -2])
def test_a_dimension_that_is_added(axis: int) -> None:
    """What PyTorch exports of a network that works on pictures of one row or one column."""
    net = Net(LINE)
    y = net.add("Unsqueeze", "x", net.constant([axis]))
    kernel = (1, 3) if axis in (2, -2) else (3, 1)
    y = net.add("Relu", net.conv(y, 6, 4, *kernel, pads=[*(n - 1 for n in kernel), 0, 0]))
    y = net.add("MaxPool", y, kernel_shape=[1, 2] if axis in (2, -2) else [2, 1])
    y = net.add("Squeeze", y, net.constant([axis]))
    graph = check(net, net.conv(y, 2, 6, 3))
    assert Reshape not in kinds(graph)


@pytest.mark.parametrize("place", [1, 2])
def test_channels_last_around_a_convolution(place: int) -> None:
    """What tf2onnx makes of a Conv1D."""
    net = Net((1, 14, 4))
    y = net.add("Unsqueeze", "x", net.constant([place]))
    y = net.add("Transpose", y, perm=[0, 3, 1, 2])
    y = net.conv(y, 6, 4, *((1, 3) if place == 1 else (3, 1)))
    y = net.add("Transpose", y, perm=[0, 2, 3, 1])
    y = net.add("Reshape", y, net.constant([1, 12, 6]))
    y = net.add("ReduceMean", y, axes=[1], keepdims=0)
    graph = check(net, net.add("MatMul", y, net.normal(6, 3)), turned=False)
    assert Reshape not in kinds(graph)


def test_a_picture_stored_as_width_and_height() -> None:
    net = Net((1, 4, 7, 6))
    y = net.add("Transpose", "x", perm=[0, 1, 3, 2])
    y = net.conv(y, 5, 4, 3, 2, strides=[2, 1], pads=[1, 0, 0, 1])
    y = net.add("AveragePool", y, kernel_shape=[1, 2], strides=[1, 3])
    check(net, net.add("Transpose", y, perm=[0, 1, 3, 2]))


def test_transposed_lines() -> None:
    net = Net((1, 14, 4))
    y = net.conv(net.add("Transpose", "x", perm=[0, 2, 1]), 6, 4, 3)
    graph = check(net, net.add("Transpose", y, perm=[0, 2, 1]), turned=False)
    assert kinds(graph) == [Conv]


def test_arrays_may_have_channels_first() -> None:
    edge = HostEdge("x", "float32", (1, 14, 4), 0.0, 0, 0.0, 0, channels_first=True)
    assert edge.shape_in_file == LINE
    values = np.arange(56).reshape(4, 14)
    for given in (values, values[None]):
        np.testing.assert_array_equal(channels_last(edge, given).reshape(14, 4), values.T)
    np.testing.assert_array_equal(channels_last(edge, values.T), values.T)


@pytest.mark.parametrize("name", ["conv1d.old.onnx", "conv1d_dil.old.onnx", "t2o_gap1d.onnx"])
def test_quantized(name: str, tmp_path: Path) -> None:
    """The int8 network is near onnxruntime's run of the float one."""
    session = onnxruntime.InferenceSession(case(name), providers=PROVIDERS)
    (port,) = session.get_inputs()
    data = np.random.default_rng(4).normal(0, 1, (64, *port.shape[1:])).astype(np.float32)
    np.save(tmp_path / "data.npy", data)
    made = tmp_path / "int8.tflite"
    arguments = ["quantize", case(name), "--data", tmp_path / "data.npy", "-o", made]
    assert main([str(argument) for argument in arguments]) == 0
    oracle, turned = Oracle(made.read_bytes()), load(case(name)).inputs[0].channels_first
    graph = load(made)
    first, end = graph.inputs[0], graph.outputs[0]
    wanted, got = [], []
    for x in data[:, None]:
        wanted.append(session.run(None, {port.name: x})[0])
        inside = quantize(last(x) if turned else x, first.scale, first.zero_point, np.int8)
        got.append(dequantize(oracle.run([inside])[0], end.scale, end.zero_point))
    want = np.array(wanted)
    assert 10 * np.log10((want**2).sum() / ((want - np.array(got)) ** 2).sum()) > 35
