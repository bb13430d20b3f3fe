# SPDX-License-Identifier: Apache-2.0
"""The passes that make quantization better, each alone, and inputs that are hard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from narrows import zoo
from narrows.errors import InputError, ModelError
from narrows.exporters.export import export_tflite
from narrows.graph.graph import WEIGHTED, Activation, Graph
from narrows.graph.passes import drop_unused
from narrows.graph.qgraph import Elementwise
from narrows.importers.tflite import import_tflite
from narrows.quantization.calibrate import observe
from narrows.quantization.choose import Half, choose_ranges
from narrows.quantization.equalize import ChannelStatistics, equalize, pairs, scale_channels
from narrows.quantization.float_model import FloatModel, Sample
from narrows.quantization.histogram import BINS, Histogram, candidates, merged, squared_error
from narrows.quantization.lockstep import Keeper, snap
from narrows.quantization.lower import lower
from narrows.quantization.measure import logits_decibels, measure_layers
from narrows.quantization.pipeline import MIN_MAX, PipelineOptions, Quantized, quantize_network
from narrows.quantization.quantize import quantization_of, verify_quantized
from narrows.quantization.refine import round_adaptively
from narrows.zoo.builder import NONE, RELU, RELU6, Builder
from quantized import as_inputs, exported
from subjects import check

SHAPE = (16, 16, 3)
Array = npt.NDArray[Any]


def pictures(count: int, seed: int) -> list[Sample]:
    return [[x] for x in zoo.pictures(SHAPE, count, seed)]


def small() -> Graph:
    """Two inverted residuals, a mean, a dense layer and a softmax."""
    net = Builder("small", SHAPE, 3)
    x = net.conv(0, 8, 3, 2, name="stem")
    for name in ("a", "b"):
        y = net.conv(x, 24, name=f"{name}/expand", activation=RELU if name == "a" else RELU6)
        y = net.depthwise(y, 3, 1, name=f"{name}/depthwise")
        y = net.conv(y, 8, activation=NONE, name=f"{name}/project")
        x = net.binary(Elementwise.ADD, x, y, name=f"{name}/add")
    return net.finish([net.softmax(net.dense(net.mean(x, name="mean"), 5, name="logits"))])


def outputs(graph: Graph, samples: Sequence[Sample]) -> Array:
    model = FloatModel(graph)
    return np.array([model.run(sample)[0].ravel() for sample in samples])


def statistics(graph: Graph, samples: Sequence[Sample]) -> dict[int, ChannelStatistics]:
    return observe(graph, samples, lambda _graph, _tensor: ChannelStatistics())


def spread(graph: Graph, decades: float = 1.0) -> Graph:
    """Channels behind ReLU and behind none, scaled at random."""
    rng = np.random.default_rng(1)
    for pair in pairs(graph):
        first = graph.operators[pair.first]
        if getattr(first, "activation", None) is not Activation.RELU6:
            channels = graph.tensors[pair.tensor].shape[2]
            graph = scale_channels(graph, pair, 10.0 ** rng.uniform(-decades, decades, channels))
    return graph


def changed(graph: Graph, name: str, change: Any) -> Graph:
    """The weights of the operator that writes a tensor, changed in a copy."""
    tensors = list(graph.tensors)
    for operator in graph.operators:
        if isinstance(operator, WEIGHTED) and tensors[operator.output].name == name:
            data = tensors[operator.weights].data
            assert data is not None
            new = data.copy()
            change(new)
            tensors[operator.weights] = replace(tensors[operator.weights], data=new)
    return replace(graph, tensors=tuple(tensors))


def same_everywhere(quantized: Quantized, samples: Sequence[Sample]) -> None:
    """TFLite Micro's bytes on the host and on the board."""
    data = exported(quantized.graph)
    inputs = as_inputs(lower(import_tflite(data)), samples)
    check(data, np.random.default_rng(1), inputs, board=True)


# --- Equalization ---------------------------------------------------------------------------


def test_scaling_channels_leaves_the_function() -> None:
    graph, samples = small(), pictures(3, 1)
    assert len(pairs(graph)) >= 4
    np.testing.assert_allclose(
        outputs(spread(graph), samples), outputs(graph, samples), rtol=1e-4, atol=1e-5
    )


def test_equalization_leaves_the_function() -> None:
    samples = pictures(8, 1)
    graph = spread(small())
    equalized = equalize(graph, statistics(graph, samples))
    assert any(a is not b for a, b in zip(graph.operators, equalized.operators, strict=True))
    np.testing.assert_allclose(
        outputs(equalized, samples), outputs(graph, samples), rtol=1e-3, atol=1e-4
    )


def test_equalization_never_moves_a_channel_that_relu6_cuts() -> None:
    """A channel that reaches 6 stays at 6, and no other one is brought up to it."""
    samples = pictures(8, 1)
    graph = changed(
        small(), "b/expand", lambda w: w.__imul__(np.linspace(0.02, 4, 24).reshape(-1, 1, 1, 1))
    )
    before = statistics(graph, samples)
    equalized = equalize(graph, before)
    after = statistics(equalized, samples)
    for pair in pairs(graph):
        if graph.operators[pair.first].activation is not Activation.RELU6:  # type: ignore[union-attr]
            continue
        cut = before[pair.tensor].magnitude >= 6 * (1 - 2.0**-10)
        np.testing.assert_allclose(after[pair.tensor].magnitude[cut], 6)
        assert (after[pair.tensor].magnitude[~cut] < 6).all()


def test_equalization_and_bias_correction_recover_scaled_channels() -> None:
    graph = spread(small(), 1.5)
    calibration, test = pictures(24, 1), pictures(12, 2)

    def noise(options: PipelineOptions) -> float:
        made = quantize_network(graph, lambda: calibration, options)
        judged = Quantized(made.graph, made.prepared, made.histograms, made.chosen, list(test))
        return logits_decibels(judged, measure_layers(judged))

    assert noise(PipelineOptions()) >= noise(MIN_MAX) + 3


# --- Histograms and ranges -----------------------------------------------------------------


def test_histograms_count_everything_and_do_not_depend_on_order() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(0, s, (5, 7, 3)).astype(np.float32) for s in (1e-3, 1, 300, 0.1)]
    counted = []
    for order in (parts, parts[::-1]):
        histogram = Histogram()
        for part in order:
            histogram.update(part)
        counted.append(histogram)
    assert counted[0].counts.sum() == sum(part.size for part in parts)
    assert counted[0].range() == counted[1].range()
    assert counted[0].reach == counted[1].reach
    assert np.abs(counted[0].counts - counted[1].counts).sum() <= 0.2 * counted[0].counts.sum()
    whole = merged(counted[0], counted[1])
    assert whole.counts.sum() == 2 * counted[0].counts.sum()


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30, -5.0])
def test_a_constant_tensor_has_one_range(value: float) -> None:
    histogram = Histogram()
    histogram.update(np.full((2, 2, 1), value, np.float32))
    assert [c.method for c in candidates(histogram)] == ["min/max"]


def test_least_error_clips_a_lonely_outlier() -> None:
    histogram = Histogram()
    values = np.random.default_rng(0).uniform(0, 1, (100, 100, 10)).astype(np.float32)
    values[0, 0, 0] = 30
    histogram.update(values)
    for _ in range(20):
        histogram.update(values[1:])
    found = {c.method: c for c in candidates(histogram)}
    best = found["mean squared error"]
    assert best.most < 20
    error = squared_error(histogram, best.least, best.most)
    assert all(error <= squared_error(histogram, min(c.least, 0), c.most) for c in found.values())
    assert len(histogram.counts) == BINS


def test_ranges_are_judged_on_the_other_half() -> None:
    """What one half has never seen is not clipped away when the other half needs it."""
    graph = small()
    calm: list[Sample] = [[0.05 * s[0]] for s in pictures(8, 1)]
    halves = tuple(
        Half(observe(graph, samples, lambda _g, _t: Histogram()), samples)
        for samples in (calm, pictures(8, 2))
    )
    chosen = choose_ranges(graph, (halves[0], halves[1]))
    assert chosen[graph.inputs[0].tensor].method == "min/max"


def test_kept_samples_are_spread_over_the_stream() -> None:
    keeper = Keeper(8)
    seen = list(keeper.through([np.full((1,), i, np.float32)] for i in range(100)))
    assert len(seen) == 100
    kept = [int(sample[0][0]) for sample in keeper.samples]
    assert 4 <= len(kept) <= 8
    assert len(set(np.diff(kept))) == 1


# --- Rounding ------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 6])
def test_adaptive_rounding_is_never_worse_than_nearest(groups: int) -> None:
    rng = np.random.default_rng(groups)
    x = rng.normal(0, 1, (groups, 200, 12)) @ rng.normal(0, 1, (12, 12))
    covariance = x.transpose(0, 2, 1) @ x / 200
    steps = rng.uniform(-127, 127, (6, 12))
    rounded = round_adaptively(steps, covariance)
    assert np.array_equal(rounded, np.rint(rounded))
    assert np.abs(rounded).max() <= 127

    def error(integers: Array) -> float:
        wrong = integers - steps
        full = np.broadcast_to(covariance, (6, 12, 12))
        return float(np.einsum("oi,oij,oj->", wrong, full, wrong))

    assert error(rounded) < 0.9 * error(np.rint(steps))


def test_adaptive_rounding_without_variance_is_to_nearest() -> None:
    steps = np.array([[0.4, -1.6, 126.9]])
    np.testing.assert_array_equal(round_adaptively(steps, np.zeros((1, 3, 3))), np.rint(steps))


def test_snap() -> None:
    q = quantization_of(-1, 1)
    x = np.linspace(-2, 2, 101, dtype=np.float32)
    assert np.abs(snap(x, q) - np.clip(x, -1, 1)).max() <= float(q.scale)


# --- The whole pipeline --------------------------------------------------------------------


def test_the_pipeline_is_deterministic_and_equals_tflite_micro() -> None:
    graph, samples = small(), pictures(12, 1)
    first, second = (quantize_network(graph, lambda: samples) for _ in range(2))
    verify_quantized(drop_unused(first.graph))
    assert export_tflite(drop_unused(first.graph)) == export_tflite(drop_unused(second.graph))
    same_everywhere(first, [*pictures(4, 9), [np.full(SHAPE, 1e6, np.float32)]])


def test_one_sample_is_enough() -> None:
    quantized = quantize_network(small(), lambda: pictures(1, 1))
    assert logits_decibels(quantized, measure_layers(quantized)) > 10


def test_no_samples() -> None:
    with pytest.raises(InputError, match="no calibration samples"):
        quantize_network(small(), lambda: [])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value: float) -> None:
    graph = changed(small(), "a/expand", lambda w: w.__setitem__((0, 0, 0, 0), value))
    with pytest.raises(ModelError, match="NaN or infinite"):
        quantize_network(graph, lambda: pictures(2, 1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite(value: float) -> None:
    samples = pictures(2, 1)
    samples[1] = [np.full(SHAPE, value, np.float32)]
    with pytest.raises(InputError, match="NaN or infinite"):
        quantize_network(small(), lambda: samples)


def test_constant_inputs() -> None:
    samples: list[Sample] = [[np.full(SHAPE, 0.5, np.float32)]] * 3
    same_everywhere(quantize_network(small(), lambda: samples), pictures(2, 1))


def test_dead_channels() -> None:
    graph = small()
    for name in ("a/expand", "b/depthwise"):
        axis = (slice(0, 4),) if name == "a/expand" else (..., slice(0, 4))
        graph = changed(graph, name, lambda w, axis=axis: w.__setitem__(axis, 0))
    quantized = quantize_network(graph, lambda: pictures(6, 1))
    assert logits_decibels(quantized, measure_layers(quantized)) > 10
    same_everywhere(quantized, pictures(2, 2))


def test_a_dead_network() -> None:
    graph = changed(small(), "stem", lambda w: w.fill(0))
    same_everywhere(quantize_network(graph, lambda: pictures(3, 1)), pictures(2, 2))


def test_huge_dynamic_range() -> None:
    graph = changed(
        small(),
        "a/expand",
        lambda w: w.__imul__(np.geomspace(1e-8, 1e6, 24, dtype=np.float32).reshape(-1, 1, 1, 1)),
    )
    same_everywhere(quantize_network(graph, lambda: pictures(6, 1)), pictures(2, 2))
