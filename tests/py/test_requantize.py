# SPDX-License-Identifier: Apache-2.0
"""``--requantize``: the float network that a QDQ form stands for computes what the file does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnx_static
from narrows.cli import main
from narrows.errors import UnsupportedError
from narrows.exporters.export import export_tflite
from narrows.graph.edges import dequantize
from narrows.graph.graph import Activation, Conv, Graph, Unary, UnaryFunction
from narrows.graph.passes import drop_unused
from narrows.importers.onnx import import_onnx
from narrows.importers.tflite import import_tflite
from narrows.quantization.float_model import FloatModel
from narrows.quantization.lower import lower
from narrows.quantization.pipeline import quantize_network
from onnx_static import NETWORKS, STATIC, Array, decibels, pictures
from oracle import Oracle
from quantized import as_inputs
from test_onnx import Qdq, kinds, nhwc

CALIBRATION, FRESH = pictures(32, seed=1), pictures(24, seed=2)


def run_float(graph: Graph, samples: Sequence[Array]) -> Array:
    model = FloatModel(graph)
    return np.stack([model.run([np.ascontiguousarray(nhwc(x))])[0] for x in samples])


def run_int8(graph: Graph, samples: Sequence[Array]) -> Array:
    """What TFLite Micro gives for the exported network, as real values."""
    qgraph = lower(graph)
    oracle, edge = Oracle(export_tflite(graph)), qgraph.outputs[0]
    inputs = as_inputs(qgraph, [[nhwc(x)] for x in samples])
    return np.stack([dequantize(oracle.run(x)[0], edge.scale, edge.zero_point) for x in inputs])


@pytest.mark.parametrize("options", STATIC)
@pytest.mark.parametrize("name", NETWORKS)
def test_as_near_to_the_float_network_as_onnxruntime(
    tmp_path: Path, name: str, options: str
) -> None:
    """On pictures that neither has seen, up to a decibel or two: each rounds in its own way."""
    model = NETWORKS[name]()
    qdq = onnx_static.static(tmp_path, model, CALIBRATION, **STATIC[options])
    right, file = (onnx_static.run(m, FRESH) for m in (model, qdq))
    graph = import_onnx(qdq, name, requantize=True)
    quantized = quantize_network(graph, lambda: [[nhwc(x)] for x in CALIBRATION])
    least = decibels(right, file)
    assert least > 25, "the file itself is good"
    assert decibels(right, run_float(graph, FRESH)) > least
    assert decibels(right, run_int8(drop_unused(quantized.graph), FRESH)) > least - 1.75


@pytest.mark.parametrize("options", STATIC)
@pytest.mark.parametrize("name", NETWORKS)
def test_values_beyond_calibration_are_clipped_as_in_the_file(
    tmp_path: Path, name: str, options: str
) -> None:
    model = NETWORKS[name]()
    qdq = onnx_static.static(tmp_path, model, CALIBRATION, **STATIC[options])
    large = [5 * x for x in FRESH]
    right, file = (onnx_static.run(m, large) for m in (model, qdq))
    got = run_float(import_onnx(qdq, name, requantize=True), large)
    assert decibels(right, file) < 15, "the clips matter"
    assert decibels(file, got) > 25


def test_the_report_is_about_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    qdq = onnx_static.static(tmp_path, NETWORKS["relu"](), CALIBRATION)
    np.save(tmp_path / "x.npy", nhwc(np.concatenate(CALIBRATION)).copy())
    made = tmp_path / "q.tflite"
    command = f"quantize {tmp_path}/qdq.onnx --requantize --data {tmp_path}/x.npy -o {made}"
    assert main(command.split()) == 0
    said = float(capsys.readouterr().out.split("; ")[1].split()[0])
    measured = decibels(
        onnx_static.run(qdq, CALIBRATION), run_int8(import_tflite(made), CALIBRATION)
    )
    assert abs(said - measured) < 4


def test_activations_that_a_range_stands_for_are_found(tmp_path: Path) -> None:
    """RELU6 where calibration reached 6, and RELU elsewhere: no operator of its own for either."""
    qdq = onnx_static.static(tmp_path, NETWORKS["relu6"](), CALIBRATION)
    assert "Clip" not in onnx_static.operators(qdq)
    graph = import_onnx(qdq, "relu6", requantize=True)
    assert Unary not in kinds(graph)
    found = [getattr(op, "activation", Activation.NONE) for op in graph.operators]
    assert {Activation.RELU, Activation.RELU6} <= set(found)
    assert found.count(Activation.RELU) + found.count(Activation.RELU6) == 8


# --- One clip at a time ------------------------------------------------------------------------


def judge(net: Qdq, *outputs: str, quantized: bool = True) -> Graph:
    """Require the file's values, up to a step of its own, from the float network; and from the
    int8 one, which knows of inputs as large as those that it meets."""
    model = net.model(*outputs, opset=21)
    rng = np.random.default_rng(4)
    samples = [rng.normal(0, 3, net.shape).astype(np.float32) for _ in range(6)]
    wanted = onnx_static.run(model, samples)
    graph = import_onnx(model, "clips", requantize=True)
    assert all(t.dtype == "float32" and t.quantization is None for t in graph.tensors)
    wanted = np.stack([nhwc(w[np.newaxis]) for w in wanted])
    assert decibels(wanted, run_float(graph, samples)) > 30
    if quantized:
        made = quantize_network(graph, lambda: [[nhwc(x)] for x in samples])
        assert decibels(wanted, run_int8(drop_unused(made.graph), samples)) > 28
    return graph


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_a_clip_behind_a_convolution(kind: Any) -> None:
    net = Qdq(kind=kind)
    y = net.around(net.conv(net.around("x", 0.1, 0), 8, 4, 3, 3), 2 / 255, -128)
    (operator,) = judge(net, y).operators
    assert isinstance(operator, Conv)
    assert operator.activation is Activation.RELU


@pytest.mark.parametrize(
    ("scale", "zero_point", "activation", "bounded"),
    [
        (6 / 255, -128, Activation.RELU6, False),
        (3 / 255, -128, Activation.RELU, True),
        (6 / 255, 0, Activation.NONE, True),
        (6 / 255, 127, Activation.NONE, True),
    ],
)
def test_what_a_clip_becomes(
    scale: float, zero_point: int, activation: Activation, bounded: bool
) -> None:
    net = Qdq()
    graph = judge(net, net.around(net.conv("x", 8, 4, 1, 1), scale, zero_point))
    (operator,) = graph.operators
    assert isinstance(operator, Conv)
    assert operator.activation is activation
    assert (graph.tensors[operator.output].bounds is not None) == bounded


def test_a_relu_behind_a_clip_is_part_of_the_convolution() -> None:
    net = Qdq()
    y = net.around(net.conv("x", 8, 4, 1, 1), 0.03, 0)
    graph = judge(net, net.around(net.add("Relu", y), 0.02, 0))
    (operator,) = graph.operators
    assert isinstance(operator, Conv)
    assert operator.activation is Activation.RELU
    np.testing.assert_allclose(graph.tensors[operator.output].bounds or (), (0, 0.02 * 127))


def test_a_clip_of_the_input() -> None:
    net = Qdq()
    x = net.around("x", 0.01, 0)
    assert kinds(judge(net, net.around(net.conv(x, 8, 4, 1, 1), 0.1, 0))) == [Conv]


def test_readers_of_the_values_before_a_clip_see_them() -> None:
    net = Qdq()
    y = net.conv("x", 4, 4, 1, 1)
    narrow = net.add("Mul", net.around(y, 0.005, -20), net.constant(0.5))
    wide = net.add("Tanh", net.around(y, 0.01, -128))
    judge(net, net.add("Add", net.add("Add", y, narrow), wide))
    net = Qdq()
    y = net.conv("x", 4, 4, 1, 1)
    judge(net, net.around(y, 0.005, 0), y)
    judge(net, y, net.around(y, 0.005, 0))


def test_clips_before_operators_that_share_scales() -> None:
    """Each input of a concatenation keeps its own."""
    net = Qdq()
    a = net.around(net.conv("x", 4, 4, 1, 1), 0.005, -128)
    a = net.add("MaxPool", a, kernel_shape=[2, 2])
    b = net.add("MaxPool", net.around(net.conv("x", 4, 4, 1, 1), 0.03, 0), kernel_shape=[2, 2])
    c = net.add("Sigmoid", b)
    y = net.add("Concat", a, b, c, net.add("Concat", a, a, axis=1), axis=1)
    judge(net, net.around(y, 0.03, 0))


def test_a_clip_behind_operators_that_share_or_prescribe_scales() -> None:
    net = Qdq()
    y = net.around(net.add("AveragePool", "x", kernel_shape=[2, 2]), 0.01, 0)
    judge(net, net.around(net.add("Tanh", y), 0.004, 10))


def test_a_clip_that_padding_goes_beyond() -> None:
    net = Qdq()
    y = net.around(net.conv("x", 4, 4, 1, 1), 0.01, -128)
    judge(net, net.add("Pad", y, net.constant([0, 0, 1, 1, 0, 0, 1, 1]), net.constant(-3.0)))


def test_a_pair_whose_range_holds_everything_is_dropped() -> None:
    net = Qdq()
    y = net.add("Clip", net.conv("x", 4, 4, 1, 1), net.constant(0.0), net.constant(6.0))
    y = net.around(y, 6 / 255, -128)
    y = net.around(net.add("MaxPool", y, kernel_shape=[2, 2]), 6 / 255, -128)
    graph = judge(net, net.around(net.add("Sigmoid", y), 1 / 255, -128))
    assert all(t.bounds is None for t in graph.tensors)
    assert len(graph.operators) == 3
    assert UnaryFunction.REQUANTIZE not in [getattr(op, "function", 0) for op in graph.operators]


@pytest.mark.parametrize("kind", [np.int16, np.uint16])
def test_wide_integers(kind: Any) -> None:
    net = Qdq(kind=kind)
    judge(net, net.around(net.conv("x", 4, 4, 1, 1), 2 / 65535, 0))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("kind", ["QInt16", "QUInt16"])
def test_pairs_of_16_bits(tmp_path: Path, kind: str, own: bool) -> None:
    """onnxruntime can write them with operators of its own, and did before ONNX had them."""
    options: dict[str, Any] = {"activation_type": getattr(onnx_static.QuantType, kind)}
    options["extra_options"] = {"UseQDQContribOps": own}
    qdq = onnx_static.static(tmp_path, NETWORKS["relu"](), CALIBRATION, **options)
    assert (b"com.microsoft" in qdq) == own
    samples = [*FRESH, *(5 * x for x in FRESH)]
    graph = import_onnx(qdq, "wide", requantize=True)
    assert decibels(onnx_static.run(qdq, samples), run_float(graph, samples)) > 35


def test_integers_that_are_cast_to_their_own_type() -> None:
    """What PyTorch writes of a converted model."""
    net = Qdq(kind=np.uint8)
    s, z = net.constant(np.float32(0.02)), net.constant(0, np.uint8)
    y = net.add("QuantizeLinear", net.conv("x", 4, 4, 1, 1), s, z)
    y = net.add("Reshape", net.add("Cast", y, to=2), net.constant([1, 4, 7, 6]))
    judge(net, net.add("DequantizeLinear", y, s, z))


def test_scales_that_do_not_match_are_refused() -> None:
    net = Qdq()
    s, t, z = net.constant(np.float32(0.02)), net.constant(np.float32(0.03)), "c2"
    net.constant(0, np.int8)
    y = net.add("DequantizeLinear", net.add("QuantizeLinear", "x", s, z), t, z)
    with pytest.raises(UnsupportedError, match="another scale or zero point"):
        import_onnx(net.model(y), "clips", requantize=True)
    net = Qdq()
    s, z = net.constant([0.01, 0.01, 0.02, 0.03]), net.constant([0] * 4, np.int8)
    y = net.add("DequantizeLinear", net.add("QuantizeLinear", "x", s, z), s, z)
    with pytest.raises(UnsupportedError, match="each with a range of its own"):
        import_onnx(net.model(y), "clips", requantize=True)


def test_a_float_tflite_has_no_bounds() -> None:
    """It is what ``quantize`` makes of the network that can say them."""
    net = Qdq()
    graph = import_onnx(
        net.model(net.around(net.conv("x", 8, 4, 1, 1), 0.01, -128)), "clips", requantize=True
    )
    with pytest.raises(UnsupportedError, match="a float tensor with bounds; quantize it"):
        export_tflite(graph)


def test_channels_are_equalized_below_the_cut() -> None:
    """One is weak, so it is enlarged; none so far that what calibration saw meets the bounds."""
    net = Qdq()
    weights = net.rng.normal(0, 1, (8, 4, 1, 1))
    weights[:4] /= 64
    y = net.add("Conv", "x", net.constant(weights))
    y = net.around(y, 30 / 255, -128)
    graph = import_onnx(net.model(net.conv(y, 8, 8, 1, 1)), "clips", requantize=True)
    samples = [net.rng.normal(0, 1, (1, 7, 6, 4)).astype(np.float32) for _ in range(8)]
    made = quantize_network(graph, lambda: [[x] for x in samples])
    first = made.prepared.operators[0]
    assert isinstance(first, Conv)
    before, after = graph.tensors[graph.operators[0].weights], made.prepared.tensors[first.weights]  # type: ignore[union-attr]
    assert before.data is not None
    assert after.data is not None
    factors = (after.data / before.data).reshape(8, -1).mean(axis=1)
    assert factors[:4].min() > 1.5
    one, other = run_like(graph, samples), run_like(made.prepared, samples)
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def run_like(graph: Graph, samples: Sequence[Array]) -> Array:
    model = FloatModel(graph)
    return np.stack([model.run([x])[0] for x in samples])
