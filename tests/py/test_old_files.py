# SPDX-License-Identifier: Apache-2.0
"""Files that int8 kernels cannot take as they are: uint8 of TensorFlow 1, QOperator form,
dynamically quantized. They are taken as float networks, near what their own runtimes give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic

import onnx_static
from conftest import Narrows
from litert import litert_outputs
from narrows.errors import ModelError, UnsupportedError
from narrows.exporters.export import export_tflite
from narrows.graph.graph import Graph
from narrows.importers import load
from narrows.importers.onnx import import_onnx
from narrows.importers.tflite import import_tflite
from narrows.quantization.float_model import FloatModel
from narrows.quantization.known_ranges import drawn_samples, quantize_by_ranges
from narrows.quantization.pipeline import PipelineOptions
from narrows.quantization.quantize import WeightScales
from single import Net
from subjects import check
from test_onnx import nhwc

SIZE = (1, 8, 8, 3)
NAMED = {"Padding": 0}


class Old(Net):
    """A writer of networks in uint8, whose weights have a zero point."""

    def uint8(self, shape: Sequence[int], scale: float, zero: int = 128, data: Any = None) -> int:
        index = self.tensor(shape, "uint8", scale=scale, zero_point=zero, data=data)
        self.shapes[index], self.scales[index] = tuple(shape), scale
        return index

    def layer(
        self, name: str, x: int, shape: Sequence[int], out: Sequence[int], scale: float
    ) -> int:
        w = self.uint8(shape, 0.01, 117, self.rng.integers(0, 256, shape))
        count = out[-1]
        bias = self.rng.integers(-3000, 3000, count)
        b = self.tensor((count,), "int32", scale=self.scales[x] * 0.01, data=bias)
        y = self.uint8(out, scale, 110)
        table = {"CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions"}
        options: dict[str, Any] = {}
        if name != "FULLY_CONNECTED":
            options = {"padding": 0, "stride_h": 1, "stride_w": 1}
            options |= {"dilation_h_factor": 1, "dilation_w_factor": 1}
        if name == "DEPTHWISE_CONV_2D":
            options["depth_multiplier"] = 1
        self.operator(name, [x, w, b], [y], table.get(name, "FullyConnectedOptions"), options)
        return y


def old_network(*, in_floats: bool = False) -> bytes:
    """in_floats: with a DEQUANTIZE behind it."""
    net = Old(3)
    x = net.uint8(SIZE, 1 / 127.5)
    y = net.layer("CONV_2D", x, (6, 3, 3, 3), (1, 8, 8, 6), 0.06)
    z = net.layer("DEPTHWISE_CONV_2D", y, (1, 3, 3, 6), (1, 8, 8, 6), 0.2)
    half = net.uint8((1, 4, 4, 6), 0.2, 110)
    options = {"padding": 1, "stride_h": 2, "stride_w": 2, "filter_height": 2, "filter_width": 2}
    net.operator("MAX_POOL_2D", [z], [half], "Pool2DOptions", options)
    y = net.layer("FULLY_CONNECTED", half, (5, 96), (1, 5), 0.4)
    last = net.uint8((1, 5), 1 / 256, 0)
    net.operator("SOFTMAX", [y], [last], "SoftmaxOptions", {"beta": 0.1})
    outputs = [y, last]
    if in_floats:
        outputs.append(net.tensor((1, 5), "float32"))
        net.operator("DEQUANTIZE", [y], outputs[-1:])
    return net.finish([x], outputs)


def _uint8(x: Any) -> Any:
    return np.clip(np.rint(x * 127.5) + 128, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("in_floats", [False, True])
def test_a_network_in_uint8_is_a_float_one(in_floats: bool) -> None:
    model = old_network(in_floats=in_floats)
    graph = import_tflite(model, "old", floats=True)
    assert [w.split(";")[0] for w in graph.warnings] == ["it is quantized to uint8"]
    assert {t.dtype for t in graph.tensors} == {"float32"}
    assert graph.tensors[graph.inputs[0].tensor].bounds == pytest.approx(
        (-128 / 127.5, 127 / 127.5)
    )
    for (x,) in drawn_samples(graph, 4):
        got = FloatModel(graph).run([x])
        want = litert_outputs(model, [_uint8(x)], "BUILTIN_REF")
        np.testing.assert_allclose(got[0], (want[0].astype(float) - 110) * 0.4, atol=2)
        np.testing.assert_allclose(got[1], want[1] / 256, atol=0.05)


@pytest.mark.parametrize("weights", WeightScales)
def test_its_ranges_quantize_it(weights: WeightScales) -> None:
    model = old_network()
    graph = import_tflite(model, "old", floats=True)
    quantized = quantize_by_ranges(graph, PipelineOptions(edges="uint8", weights=weights)).graph
    data = export_tflite(quantized)
    check(data, np.random.default_rng(1))
    # Activations hold the same numbers as before, so answers are apart by weights alone.
    ports = (*quantized.inputs, *quantized.outputs)
    assert [round(p.scale, 6) for p in ports] == [round(s, 6) for s in (1 / 127.5, 0.4, 1 / 256)]
    assert [p.zero_point for p in ports] == [128, 110, 0]
    for (x,) in drawn_samples(graph, 4):
        got = litert_outputs(data, [_uint8(x)], "BUILTIN_REF")
        want = litert_outputs(model, [_uint8(x)], "BUILTIN_REF")
        # A step of the logits is 4% of a probability.
        for a, b, most in zip(got, want, (4, 24), strict=True):
            assert np.abs(a.astype(int) - b).max() <= most


def test_the_command_needs_no_data(tmp_path: Path, narrows: Narrows) -> None:
    old, new = tmp_path / "old.tflite", tmp_path / "new.tflite"
    old.write_bytes(old_network())
    done = narrows("compile", old, "-o", tmp_path / "old.nrw")
    assert done.returncode == 1
    assert "quantized to uint8" in done.stderr
    assert "'narrows quantize'" in done.stderr
    done = narrows("quantize", old, "-o", new)
    assert done.returncode == 0, done.stderr
    assert "from the ranges of the file" in done.stdout
    assert "taken as the float network" in done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "LiteRT's run of" in line]
    assert float(line.partition("inputs: ")[2].split()[0]) > 25
    done = narrows("compile", new, "-o", tmp_path / "new.nrw")
    assert done.returncode == 0, done.stderr
    done = narrows("quantize", _float_file(tmp_path), "-o", new)
    assert done.returncode == 2
    assert "--data is missing" in done.stderr


def _float_file(folder: Path) -> Path:
    net = Net(1)
    x, y = (net.tensor((1, 4), "float32") for _ in range(2))
    net.operator("RELU", [x], [y])
    path = folder / "float.tflite"
    path.write_bytes(net.finish([x], [y]))
    return path


def test_a_range_that_follows_from_nothing() -> None:
    net = Old(3)
    x, w = net.uint8((1, 4), 0.1), net.uint8((4, 4), 0.1, 3, net.rng.integers(0, 256, (4, 4)))
    y, z = (net.tensor((1, 4), "float32") for _ in range(2))
    net.operator("FULLY_CONNECTED", [x, w], [first := net.uint8((1, 4), 0.2)],
                 "FullyConnectedOptions", {})  # fmt: skip
    net.operator("DEQUANTIZE", [first], [y])
    net.operator("ELU", [y], [z])
    graph = import_tflite(net.finish([x], [z]), "old", floats=True)
    with pytest.raises(ModelError, match="give --data"):
        quantize_by_ranges(graph, PipelineOptions())


# --- ONNX ---------------------------------------------------------------------------------------


def _near(graph: Graph, model: bytes, least: float) -> None:
    """A float graph is near onnxruntime's run of a file, in decibels."""
    inputs = onnx_static.pictures(3, 7)
    wanted = onnx_static.run(model, inputs)
    run = FloatModel(graph).run
    got = np.concatenate([run([np.ascontiguousarray(nhwc(x))])[0] for x in inputs])
    assert 10 * np.log10(np.square(wanted).sum() / np.square(got - wanted).sum()) > least


def _static(folder: Path, name: str, form: QuantFormat, **options: Any) -> bytes:
    made = onnx_static.NETWORKS[name]()
    return onnx_static.static(
        folder, made, onnx_static.pictures(4, 2), quant_format=form, **options
    )


@pytest.mark.parametrize("name", onnx_static.NETWORKS)
def test_qoperator_form_is_a_float_network(name: str, tmp_path: Path) -> None:
    model = _static(tmp_path, name, QuantFormat.QOperator)
    assert {n.op_type for n in onnx.load_from_string(model).graph.node} >= {"QLinearConv", "QGemm"}
    graph = import_onnx(model, "qoperators", floats=True)
    assert "QOperator form" in graph.warnings[0]
    _near(graph, model, 20)


def test_qoperator_form_is_qdq_form(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "activation_type": QuantType.QInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
    }
    graphs = [
        import_onnx(_static(tmp_path, "relu6", form, **options), "model")
        for form in (QuantFormat.QOperator, QuantFormat.QDQ)
    ]
    rng = np.random.default_rng(2)
    files = [export_tflite(graph) for graph in graphs]
    x = rng.integers(-128, 128, graphs[0].inputs[0].shape).astype(np.float32) / 100
    answers = [litert_outputs(data, [x], "BUILTIN_REF")[0] for data in files]
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("name", ["relu", "joined"])
def test_dynamically_quantized(name: str, tmp_path: Path) -> None:
    source, target = tmp_path / "float.onnx", tmp_path / "dynamic.onnx"
    source.write_bytes(onnx_static.NETWORKS[name]())
    kinds = ["Conv", "MatMul", "Gemm"]
    quantize_dynamic(source, target, op_types_to_quantize=kinds, weight_type=QuantType.QUInt8)
    model = target.read_bytes()
    nodes = {n.op_type for n in onnx.load_from_string(model).graph.node}
    assert nodes >= {"DynamicQuantizeLinear", "ConvInteger"}
    graph = load(target)
    assert "dynamically quantized" in graph.warnings[0]
    _near(graph, model, 20)


def test_integers_that_nothing_quantizes() -> None:
    node = onnx.helper.make_node
    info = onnx.helper.make_tensor_value_info
    weights = onnx.numpy_helper.from_array(np.ones((4, 2), np.int8), "w")
    graph = onnx.helper.make_graph(
        [
            node("DynamicQuantizeLinear", ["x"], ["q", "s"]),
            node("MatMulInteger", ["q", "w"], ["y"]),
        ],
        "short",
        [info("x", 1, [1, 4])],
        [info("y", 6, [1, 2])],
        [weights],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    with pytest.raises(UnsupportedError, match="dynamically quantized"):
        import_onnx(model.SerializeToString(), "short")
