# SPDX-License-Identifier: Apache-2.0
"""Quantization by extremes: TFLite's specification, its limits, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from models import FLOAT_NETWORK, network
from narrows import zoo
from narrows.errors import InputError, ModelError
from narrows.exporters.export import export_tflite
from narrows.graph.edges import to_external, to_internal
from narrows.graph.graph import (
    WEIGHTED,
    Activation,
    Concat,
    Conv,
    Graph,
    Pad,
    Pool,
    Port,
    Softmax,
    Tensor,
    Unary,
    UnaryFunction,
)
from narrows.importers.tflite import import_tflite
from narrows.models import DIGITS_FLOAT
from narrows.quantization.calibrate import MinMax, calibrate
from narrows.quantization.float_model import FloatArray, FloatModel, Sample
from narrows.quantization.lower import lower
from narrows.quantization.quantize import (
    QuantizeOptions,
    WeightScales,
    apply_ranges,
    quantization_of,
    quantize,
    verify_quantized,
    weight_scales,
)
from narrows.quantization.reference import run
from narrows.zoo.builder import NONE, RELU6, Builder
from oracle import Oracle
from quantized import network_of_everything


def samples(graph: Graph, count: int = 3, seed: int = 50) -> list[Sample]:
    height, width, channels = graph.tensors[graph.inputs[0].tensor].shape
    return [[image] for image in zoo.pictures((height, width, channels), count, seed)]


def outputs_of(graph: Graph, sample: Sample) -> list[FloatArray]:
    """Real outputs of a quantized network, by the plain integer model."""
    qgraph = lower(graph)
    (edge,) = qgraph.inputs
    tensor = qgraph.tensors[edge.tensor]
    results = run(qgraph, [to_internal(edge, tensor, sample[0])])
    real = []
    for port, values in zip(graph.outputs, results, strict=True):
        q = graph.tensors[port.tensor].quantization
        assert q is not None
        real.append((values.astype(np.float32) - q.zero_point) * q.scale)
    return real


def tensor_named(graph: Graph, name: str) -> Tensor:
    (tensor,) = (t for t in graph.tensors if t.name == name)
    return tensor


def parameters(graph: Graph, name: str) -> tuple[float, int]:
    q = tensor_named(graph, name).quantization
    assert q is not None
    return float(q.scale), q.zero_point


def changed(graph: Graph, name: str, data: FloatArray) -> Graph:
    """The graph with other values of a constant."""
    tensors = [replace(t, data=data) if t.name == name else t for t in graph.tensors]
    return replace(graph, tensors=tuple(tensors))


# --- What TFLite's specification says ----------------------------------------------------------


def test_scales_that_are_shared_and_prescribed() -> None:
    graph = network_of_everything()
    quantized = quantize(graph, samples(graph))
    assert parameters(quantized, "gate") == (1 / 256, -128)
    assert parameters(quantized, "tanh") == (1 / 128, 0)
    assert parameters(quantized, "softmax") == (1 / 256, -128)
    assert parameters(quantized, "joined") == parameters(quantized, "wide")
    assert parameters(quantized, "joined") == parameters(quantized, "gated")
    assert parameters(quantized, "pointwise") == parameters(quantized, "pool")
    # What has a scale of its own is requantized before it is joined.
    (concat,) = (op for op in quantized.operators if isinstance(op, Concat))
    names = [quantized.tensors[i].name for i in concat.inputs]
    assert names == ["gated", "gate/requantized", "tanh/requantized", "r6"]


def test_the_answer_is_tflite_micros_and_near_the_floats() -> None:
    graph = network_of_everything()
    quantized = quantize(graph, samples(graph))
    qgraph = lower(quantized)
    oracle = Oracle(export_tflite(quantized))
    edge = qgraph.inputs[0]
    for sample in samples(graph, 4, seed=51):
        x = to_internal(edge, qgraph.tensors[edge.tensor], sample[0])
        expected = oracle.run([x[None]], len(qgraph.outputs))
        for out, values, reference in zip(qgraph.outputs, run(qgraph, [x]), expected, strict=True):
            assert np.array_equal(to_external(out, qgraph.tensors[out.tensor], values), reference)
    near(graph, quantized, 0.15)


@pytest.mark.parametrize("granularity", WeightScales)
def test_weights_and_biases(granularity: WeightScales) -> None:
    graph = network_of_everything()
    options = QuantizeOptions(weights=granularity)
    quantized = quantize(graph, samples(graph), options)
    for operator in quantized.operators:
        if not isinstance(operator, WEIGHTED):
            continue
        w = quantized.tensors[operator.weights]
        x = quantized.tensors[operator.inputs[0]].quantization
        assert w.data is not None
        assert w.quantization is not None
        assert x is not None
        assert w.dtype == "int8"
        assert not w.quantization.zero_points.any()
        channels = quantized.tensors[operator.output].shape[2]
        count = channels if granularity is WeightScales.PER_CHANNEL else 1
        assert w.quantization.scales.shape == (count,)
        axis = w.quantization.axis
        largest = np.abs(np.moveaxis(w.data, axis, 0).reshape(count, -1)).max(axis=1)
        assert (largest == 127).all()
        original = tensor_named(graph, w.name).data
        assert original is not None
        shape = [1] * w.data.ndim
        shape[axis] = count
        steps = w.quantization.scales.reshape(shape)
        assert (np.abs(w.data * steps - original) <= 0.501 * steps).all()
        assert operator.bias is not None
        b = quantized.tensors[operator.bias]
        assert b.dtype == "int32"
        assert b.quantization is not None
        assert np.array_equal(b.quantization.scales, x.scale * w.quantization.scales)


@pytest.mark.parametrize(
    ("least", "most"), [(-1, 1), (0, 6), (-3, 0.5), (2, 5), (-7, -4), (-1e-3, 1e9), (0, 1e-30)]
)
def test_ranges(least: float, most: float) -> None:
    q = quantization_of(least, most)
    scale, zero_point = float(q.scale), q.zero_point
    assert -128 <= zero_point <= 127  # so that 0 is exact
    low, high = scale * (-128 - zero_point), scale * (127 - zero_point)
    assert low <= min(least, 0) + 0.51 * scale
    assert high >= max(most, 0) - 0.51 * scale
    assert q.scale.dtype == np.float32


@pytest.mark.parametrize("edges", ["int8", "uint8", "float32"])
def test_edges(edges: str) -> None:
    graph = zoo.build("ds_cnn")
    quantized = quantize(graph, samples(graph), QuantizeOptions(edges=edges))  # type: ignore[arg-type]
    (port,) = quantized.inputs
    assert port.dtype == edges
    scale, zero_point = parameters(quantized, "input")
    expected = {
        "int8": (scale, zero_point),
        "uint8": (scale, zero_point + 128),
        "float32": (0.0, 0),
    }
    assert (port.scale, port.zero_point) == expected[edges]
    lower(quantized)


def test_the_same_every_time() -> None:
    graph = network_of_everything()
    first, second = (export_tflite(quantize(graph, samples(graph))) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("name", ["digits", FLOAT_NETWORK])
def test_trained_networks(name: str) -> None:
    graph = import_tflite(DIGITS_FLOAT if name == "digits" else network(name))
    shape = graph.tensors[graph.inputs[0].tensor].shape
    height, width, channels = shape
    inputs = [[0.5 + 0.5 * x] for x in zoo.pictures((height, width, channels), 6, 8)]
    quantized = quantize(graph, inputs[:3])
    # Before softmax, which hides errors.
    (softmax,) = (op for op in graph.operators if isinstance(op, Softmax))
    name_of_logits = graph.tensors[softmax.inputs[0]].name
    index = [t.name for t in quantized.tensors].index(name_of_logits)
    seen: dict[str, FloatArray] = {}
    cut = replace(quantized, outputs=(_port(quantized, index),))
    for sample in inputs[3:]:
        FloatModel(graph).run(sample, lambda i, v: seen.__setitem__(graph.tensors[i].name, v))
        (logits,) = outputs_of(cut, sample)
        reference = seen[name_of_logits]
        assert np.abs(logits - reference).max() < 0.2 * np.ptp(reference)


def _port(graph: Graph, index: int) -> Port:
    tensor = graph.tensors[index]
    q = tensor.quantization
    assert q is not None
    return Port(tensor.name, index, "int8", (1, *tensor.shape), float(q.scale), q.zero_point)


def test_an_observer_of_ones_own() -> None:
    class Cut(MinMax):
        """Half of what was seen."""

        def range(self) -> tuple[float, float]:
            least, most = super().range()
            return least / 2, most / 2

    graph = zoo.build("ds_cnn")
    whole = quantize(graph, samples(graph))
    cut = quantize(graph, samples(graph), QuantizeOptions(observer=lambda g, tensor: Cut()))
    (a, _), (b, _) = parameters(whole, "input"), parameters(cut, "input")
    assert b == pytest.approx(a / 2)


# --- Networks at the limits --------------------------------------------------------------------


def small(activation: Activation = NONE) -> Graph:
    net = Builder("small", (4, 4, 2), seed=1)
    x = net.conv(0, 3, 3, 1, activation, name="first")
    return net.finish([net.conv(x, 4, activation=NONE, name="second")])


def near(graph: Graph, quantized: Graph, tolerance: float = 0.05) -> None:
    """A quantized network is near its float original on what it was calibrated with, where
    nothing is clipped."""
    for sample in samples(graph):
        for real, reference in zip(
            outputs_of(quantized, sample), FloatModel(graph).run(sample), strict=True
        ):
            span = max(float(np.ptp(reference)), float(np.abs(reference).max()), 1e-6)
            assert np.abs(real.reshape(reference.shape) - reference).max() <= tolerance * span


@pytest.mark.parametrize("granularity", WeightScales)
def test_dead_channels_are_their_bias(granularity: WeightScales) -> None:
    graph = small()
    w, b = tensor_named(graph, "first/weights").data, tensor_named(graph, "first/bias").data
    assert w is not None
    assert b is not None
    w, b = w.copy(), b.copy()
    w[1], b[1] = 0, 0.37
    w[2], b[2] = 0, 0
    graph = changed(changed(graph, "first/weights", w), "first/bias", b)
    quantized = quantize(graph, samples(graph), QuantizeOptions(weights=granularity))
    near(graph, quantized)
    data = tensor_named(quantized, "first/weights").data
    assert data is not None
    assert not data[1:].any()


def test_a_layer_of_zeros() -> None:
    graph = small()
    graph = changed(graph, "first/weights", np.zeros((3, 3, 3, 2), np.float32))
    graph = changed(graph, "first/bias", np.zeros(3, np.float32))
    quantized = quantize(graph, samples(graph))
    scale, _ = parameters(quantized, "first")
    assert 1e-3 < scale < 1
    near(graph, quantized)


def test_constant_activations() -> None:
    graph = small(RELU6)
    graph = changed(graph, "first/weights", np.full((3, 3, 3, 2), 1e-7, np.float32))
    graph = changed(graph, "first/bias", np.array([3.0, 3.0, 3.0], np.float32))
    quantized = quantize(graph, samples(graph))
    scale, zero_point = parameters(quantized, "first")
    assert scale * (127 - zero_point) == pytest.approx(3.0, rel=1e-5)
    near(graph, quantized)


@pytest.mark.parametrize("factor", [1e-12, 1e-6, 1e6, 1e12])
def test_huge_dynamic_range(factor: float) -> None:
    graph = small()
    w, b = tensor_named(graph, "first/weights").data, tensor_named(graph, "first/bias").data
    v = tensor_named(graph, "second/weights").data
    assert w is not None
    assert b is not None
    assert v is not None
    f = np.float32(factor)
    graph = changed(changed(graph, "first/weights", w * f), "first/bias", b * f)
    graph = changed(graph, "second/weights", v / f)
    near(graph, quantize(graph, samples(graph)))


def test_a_bias_far_larger_than_the_weights() -> None:
    scales = weight_scales(np.array([1e-9, 1.0]), np.array([50.0, 50.0]), 0.01, 0.1)
    assert 50 / (0.01 * scales[0]) <= 2**30 * (1 + 1e-9)
    assert scales[1] == 1 / 127
    graph = small()
    w, b = tensor_named(graph, "first/weights").data, np.array([5.0, 0.1, -3.0], np.float32)
    assert w is not None
    w = w.copy()
    w[0] *= 1e-11
    graph = changed(changed(graph, "first/weights", w), "first/bias", b)
    near(graph, quantize(graph, samples(graph)))


def test_hard_swish_of_negative_values_only() -> None:
    net = Builder("swish", (4, 4, 2), seed=1)
    x = net.conv(0, 3, name="first", activation=NONE)
    graph = net.finish([net.unary(x, UnaryFunction.HARD_SWISH, name="swish")])
    graph = changed(graph, "first/bias", np.full(3, -90.0, np.float32))
    quantized = quantize(graph, samples(graph))
    (a, _), (b, _) = parameters(quantized, "first"), parameters(quantized, "swish")
    assert a / 128 < b
    Oracle(export_tflite(quantized))  # TFLite Micro takes it


def test_padding_with_a_value_outside_of_what_was_seen() -> None:
    net = Builder("pad", (4, 4, 2), seed=1)
    x = net.conv(0, 3, name="first")
    y = net._add("pad", (6, 6, 3), lambda y: Pad((x,), y, (1, 1, 0), -9.0))
    z = net._add("pool", (3, 3, 3), lambda z: Pool((y,), z, "max", (2, 2), (2, 2), (0, 0), NONE))
    graph = net.finish([z, y])
    quantized = quantize(graph, samples(graph))
    assert parameters(quantized, "first") == parameters(quantized, "pool")
    near(graph, quantized)


def test_an_input_that_calibration_never_saw_is_clipped() -> None:
    graph = small()
    quantized = quantize(graph, samples(graph))
    (far,) = (outputs_of(quantized, [np.full((4, 4, 2), v, np.float32)]) for v in (1e9,))
    assert all(np.isfinite(values).all() for values in far)


# --- Refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    graph = changed(small(), "second/bias", np.full(4, value, np.float32))
    with pytest.raises(ModelError, match="small: second/bias holds NaN or infinite values"):
        quantize(graph, samples(graph))


def test_no_samples() -> None:
    with pytest.raises(InputError, match="no calibration samples; quantization needs at least one"):
        quantize(small(), [])


def test_bad_samples() -> None:
    graph = small()
    good = samples(graph, 1)
    bad: Sequence[FloatArray] = [np.full((4, 4, 2), np.nan, np.float32)]
    with pytest.raises(InputError, match="sample 1 gives NaN or infinite values in input"):
        quantize(graph, [*good, bad])
    with pytest.raises(InputError, match="input input: float32"):
        quantize(graph, [[np.zeros((5, 4, 2), np.float32)]])


def test_networks_that_overflow() -> None:
    graph = small()
    for name in ("first/weights", "second/weights"):
        w = tensor_named(graph, name).data
        assert w is not None
        graph = changed(graph, name, w * np.float32(1e30))
    with pytest.raises(InputError, match="sample 0 gives NaN or infinite values in second"):
        quantize(graph, samples(graph))


def test_a_quantized_network() -> None:
    quantized = zoo.quantized("ds_cnn")
    with pytest.raises(ModelError, match="is quantized already"):
        quantize(quantized, samples(quantized))


def test_the_check_sees_what_breaks_the_specification() -> None:
    quantized = zoo.quantized("ds_cnn")
    verify_quantized(quantized)
    for name, message in (("softmax", "prescribed scale"), ("pool", "not quantized as its input")):
        index = [t.name for t in quantized.tensors].index(name)
        tensors = list(quantized.tensors)
        tensors[index] = replace(tensors[index], quantization=quantization_of(-1, 1.7))
        with pytest.raises(ModelError, match=f"{name}: .*{message}"):
            verify_quantized(replace(quantized, tensors=tuple(tensors)))


# --- Streaming ---------------------------------------------------------------------------------


def test_samples_are_read_once_and_one_at_a_time() -> None:
    graph = zoo.build("ds_cnn")
    events: list[str] = []

    def stream() -> Iterator[Sample]:
        for sample in samples(graph, 3):
            events.append("read")
            yield sample

    options = QuantizeOptions(progress=lambda count: events.append(f"seen {count}"))
    quantize(graph, stream(), options)
    assert events == ["read", "seen 1", "read", "seen 2", "read", "seen 3"]


def test_ranges_can_be_changed_between_the_steps() -> None:
    graph = zoo.build("resnet8")
    ranges = dict(calibrate(graph, samples(graph)))
    assert set(ranges) == {0, *(operator.output for operator in graph.operators)}
    ranges[0] = (-2.0, 2.0)
    scale, zero_point = parameters(apply_ranges(graph, ranges), "input")
    assert (scale, zero_point) == (pytest.approx(4 / 255), 0)


def test_an_unfused_activation_shares_its_inputs_scale() -> None:
    net = Builder("six", (4, 4, 2), seed=1)
    x = net.conv(0, 3, name="first", activation=NONE)
    graph = net.finish([x, net.unary(x, UnaryFunction.RELU6, name="six")])
    quantized = quantize(graph, samples(graph))
    assert isinstance(quantized.operators[0], Conv)
    assert isinstance(quantized.operators[1], Unary)
    assert parameters(quantized, "first") == parameters(quantized, "six")
    near(graph, quantized)
    assert quantized.operators[1].inputs[0] == quantized.outputs[0].tensor
