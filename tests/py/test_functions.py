# SPDX-License-Identifier: Apache-2.0
"""Functions of one element that only TensorFlow's newer converters, or floats, know: every int8
value through them, against TensorFlow Lite Micro where it has them, or else LiteRT."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest

from litert import litert_outputs
from narrows.errors import UnsupportedError
from narrows.exporters.export import export_tflite
from narrows.graph.graph import FLOAT_FUNCTIONS, Unary, UnaryFunction
from narrows.importers.onnx import import_onnx
from narrows.importers.tflite import import_tflite
from narrows.quantization import reference
from narrows.quantization.lower import lower
from narrows.quantization.quantize import quantize
from narrows.zoo.builder import Builder
from oracle import Oracle
from single import Net
from subjects import check
from test_onnx import Net as OnnxNet
from test_onnx import Qdq
from test_onnx import check as check_onnx
from test_operators import ALL

SCALES = [1e-4, 0.003, 0.05, 0.33, 3.0]
ZERO_POINTS = [(-128, -128), (0, 0), (127, -100), (-10, 90)]
# Neither takes a number below zero.
ROOTS = ("SQRT", "RSQRT")


def unary(net: Net, name: str, x: int, scale: float, zero_point: int) -> int:
    """A function in int8."""
    y = net.int8(net.shapes[x], scale, zero_point)
    function, _, approximate = name.partition(" ")
    options = {"approximate": bool(approximate)}
    if function == "GELU":
        net.operator(function, [x], [y], "GeluOptions", options, version=2)
    else:
        net.operator(function, [x], [y], version=1 if function == "ELU" else 2)
    return y


def in_floats(net: Net, name: str, x: int, scale: float, zero_point: int) -> int:
    """A function in float32, as TensorFlow's converter puts it into a network of int8."""
    y = net.int8(net.shapes[x], scale, zero_point)
    a, b = (net.tensor(net.shapes[x], "float32") for _ in range(2))
    net.operator("DEQUANTIZE", [x], [a], "DequantizeOptions", version=2)
    net.operator(name, [a], [b])
    net.operator("QUANTIZE", [b], [y], "QuantizeOptions")
    return y


def values(name: str, zero_point: int) -> Any:
    """Every int8 value, those below zero as zero where the function has none there."""
    return np.maximum(ALL, zero_point) if name in ROOTS else ALL


@pytest.mark.parametrize("zero_points", ZERO_POINTS)
@pytest.mark.parametrize("ratio", [1e-3, 0.5, 1.0, 1.7, 300.0])
@pytest.mark.parametrize("name", ["ABS", "RSQRT", "ELU"])
def test_in_int8(name: str, ratio: float, zero_points: Any) -> None:
    for scale in SCALES:
        net = Net(1)
        x = net.int8(ALL.shape, scale, zero_points[0])
        # TFLite Micro shifts too far where every RSQRT is 0.
        y = unary(net, name, x, min(scale / ratio, 1000.0), zero_points[1])
        check(net.finish([x], [y]), net.rng, [[values(name, zero_points[0])]])


@pytest.mark.parametrize("zero_points", ZERO_POINTS)
@pytest.mark.parametrize(
    "name", sorted([f.name for f in FLOAT_FUNCTIONS] + ["ABS", "RSQRT", "ELU"])
)
def test_in_floats(name: str, zero_points: Any) -> None:
    for scale, ratio in ((0.003, 1.0), (0.05, 3.0), (0.02, 0.01)):
        net = Net(1)
        x = net.int8(ALL.shape, scale, zero_points[0])
        y = in_floats(net, name, x, scale / ratio, zero_points[1])
        inputs = ALL
        if name in ("SQRT", "RSQRT", "LOG"):  # what is not finite has no int32 in C
            inputs = np.maximum(ALL, min(zero_points[0] + 1, 127))
            if zero_points[0] == 127:
                continue
        check(net.finish([x], [y]), net.rng, [[inputs]])


def test_steps_of_elu_that_are_no_int32() -> None:
    net = Net(1)
    x = net.int8((1, 2, 2, 3), 0.5)
    model = net.finish([x], [unary(net, "ELU", x, 0.5 * 2.0**-24, 0)])
    with pytest.raises(UnsupportedError, match="its output's scale is too small"):
        import_tflite(model, "elu")


@pytest.mark.parametrize("zero_points", ZERO_POINTS)
@pytest.mark.parametrize("name", ["EXP", "LOG", "SQRT", "GELU", "GELU approximate"])
def test_in_int8_of_litert(name: str, zero_points: Any) -> None:
    for scale in SCALES:
        for ratio in (0.01, 1.0, 1.7, 40.0):
            net = Net(1)
            x = net.int8(ALL.shape, scale, zero_points[0])
            model = net.finish([x], [unary(net, name, x, scale / ratio, zero_points[1])])
            inputs = values(name, zero_points[0])
            graph = import_tflite(model, "function")
            (got,) = reference.run(lower(graph), [inputs[0]])
            for where in (model, export_tflite(graph)):
                (want,) = litert_outputs(where, [inputs])
                np.testing.assert_array_equal(got, want[0])


def test_roots_that_round_down() -> None:
    """LiteRT's SQRT of squares, whose roots are whole steps."""
    for seed in range(40):
        net = Net(seed)
        x = net.int8(ALL.shape, float(net.rng.uniform(0.001, 2)), -128)
        step = np.sqrt(np.float32(net.scales[x])) * net.rng.choice([0.5, 1, 1 / 3, 0.1])
        model = net.finish([x], [unary(net, "SQRT", x, float(step), -128)])
        (got,) = reference.run(lower(import_tflite(model, "roots")), [ALL[0]])
        np.testing.assert_array_equal(got, litert_outputs(model, [ALL])[0][0])


def test_what_is_not_finite_is_clamped() -> None:
    net = Net(1)
    x = net.int8(ALL.shape, 0.5, 0)
    outputs = [in_floats(net, name, x, 1e-3, 0) for name in ("LOG", "RSQRT", "EXP")]
    qgraph = lower(import_tflite(net.finish([x], outputs), "infinite"))
    log, rsqrt, exp = reference.run(qgraph, [ALL[0]])
    np.testing.assert_array_equal(log[ALL[0] <= 0], -128)
    np.testing.assert_array_equal(rsqrt[ALL[0] < 0], -128)
    assert rsqrt[ALL[0] == 0] == exp.max() == exp[ALL[0] == 127] == 127


def refusal(net: Net, x: int, y: int) -> str:
    with pytest.raises(UnsupportedError) as caught:
        import_tflite(net.finish([x], [y]), "bad")
    return str(caught.value)


def test_refusals() -> None:
    for name in ("NEG", "SQUARE"):
        net = Net(1)
        x = net.int8(ALL.shape)
        assert "in float32 alone" in refusal(net, x, net.unary(name, x))
    net = Net(1)
    x = net.int8(ALL.shape, 1e-8)
    assert "RSQRT" in refusal(net, x, unary(net, "RSQRT", x, 1e-8, 0))
    net = Net(1)
    x, a, b = net.int8(ALL.shape), *(net.tensor(ALL.shape, "float32") for _ in range(2))
    net.operator("DEQUANTIZE", [net.unary("RELU", x)], [a], "DequantizeOptions", version=2)
    net.operator("NEG", [a], [b])
    assert "a QUANTIZE behind it is missing" in refusal(net, x, b)
    c, y = net.tensor(ALL.shape, "float32"), net.int8(ALL.shape)
    net.operator("SQUARE", [b], [c])
    net.operator("QUANTIZE", [c], [y], "QuantizeOptions")
    assert "quantized in part" in refusal(net, x, y)


@pytest.mark.parametrize("function", sorted(FLOAT_FUNCTIONS, key=lambda f: f.name))
def test_quantized_from_floats(function: UnaryFunction) -> None:
    """What quantize writes runs in TFLite Micro, and is what narrows computes."""
    net = Builder("floats", (5, 4, 3), seed=1)
    graph = net.finish([net.unary(0, function, name="function")])
    samples = [[np.random.default_rng(i).uniform(0.1, 2, (1, 5, 4, 3))] for i in range(4)]
    model = export_tflite(quantize(import_tflite(export_tflite(graph)), samples))
    again = import_tflite(model, "again")
    assert [op.in_floats for op in again.operators if isinstance(op, Unary)] == [True]
    check(model, np.random.default_rng(1))


def test_onnx_of_two_tensors_in_integers() -> None:
    net = Qdq()
    x = net.around("x", 0.05, 3)
    y = net.around(net.add("Relu", x), 0.05, 3)
    y = net.around(net.add("Min", y, net.add("MaxPool", x, kernel_shape=[1, 1])), 0.05, 3)
    slopes, scales = net.constant(net.rng.integers(-90, 90, (4, 1, 1)), np.int8), 0.01
    quantization = (net.constant(np.float32(scales)), net.constant(0, np.int8))
    slopes = net.add("DequantizeLinear", slopes, *quantization)
    model = net.model(net.around(net.add("PRelu", y, slopes), 0.04, -7), opset=19)
    graph = import_onnx(model, "two")
    assert [type(op).__name__ for op in graph.operators].count("Binary") == 2
    x = net.rng.normal(0, 2, net.shape).astype(np.float32)
    check(export_tflite(graph), net.rng, [[np.ascontiguousarray(x.transpose(0, 2, 3, 1))]])


ONNX = ["Abs", "Exp", "Neg", "Sin", "Cos", "Floor", "Ceil", "Round", "Elu"]


@pytest.mark.parametrize("name", ONNX)
def test_onnx(name: str) -> None:
    net = OnnxNet()
    check_onnx(net, net.add(name, net.conv("x", 4, 4, 1, 1)), opset=20)


def test_onnx_of_positive_numbers() -> None:
    net = OnnxNet()
    y = net.add("Add", net.add("Pow", "x", net.constant(2.0)), net.constant(0.25))
    outputs = [net.add(name, y) for name in ("Sqrt", "Log")]
    check_onnx(net, *outputs, net.add("Pow", y, net.constant([0.5])))


@pytest.mark.parametrize("form", ["none", "tanh"])
def test_onnx_gelu(form: str) -> None:
    net = OnnxNet()
    # TFLite Micro has no GELU, in floats neither.
    check_onnx(net, net.add("Gelu", "x", approximate=form), opset=20, export=False)


def test_onnx_forms_that_tflite_does_not_have() -> None:
    for reason, add in (
        ("0.5 or -0.5", lambda net: net.add("Pow", "x", net.constant(1.5))),
        ("approximate", lambda net: net.add("Gelu", "x", approximate="erf")),
    ):
        net = OnnxNet()
        with pytest.raises(UnsupportedError, match=reason):
            import_onnx(net.model(add(net), opset=20))


@pytest.mark.parametrize("name", ONNX)
def test_onnx_in_integers(name: str) -> None:
    net = Qdq()
    y = net.around(net.add(name, net.around("x", 0.05, 3)), 0.04, -7)
    model = net.model(y, opset=20)
    x = net.rng.normal(0, 2, net.shape).astype(np.float32)
    graph = import_onnx(model, "function")
    inputs = [np.ascontiguousarray(x.transpose(0, 2, 3, 1))]
    check(export_tflite(graph), net.rng, [inputs])
    session = onnx.reference.ReferenceEvaluator(onnx.load_from_string(model))
    (want,) = session.run(None, {"x": x})
    (got,) = Oracle(export_tflite(graph)).run(inputs)
    assert np.abs(got - want.transpose(0, 2, 3, 1)).max() <= 0.0401
