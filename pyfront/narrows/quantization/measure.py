# SPDX-License-Identifier: Apache-2.0
"""Where a quantized network's accuracy goes: layer by layer against the float network."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.graph.graph import WEIGHTED, Softmax, Tensor
from narrows.jobs import in_order
from narrows.quantization.float_model import FloatArray
from narrows.quantization.lockstep import Twin, walk
from narrows.quantization.pipeline import Quantized

Float64Array: TypeAlias = npt.NDArray[np.float64]

MOST_DECIBELS = 99.0
"""Of two signals that are equal."""
_WORST = 3
_WEIGHT_BINS = 64


@dataclass(frozen=True, eq=False)
class LayerReport:
    """One operator.

    decibels: signal-to-quantization-noise ratio of its output, with all noise from before.
    method, least, most: the range of its output, and how it was found.
    worst: (channel, decibels) of the noisiest channels.
    weights: (counts, least, most) of the float weights' histogram, None without weights.
    weight_decibels: of the weights, rounded to nearest with the scales that they have;
    per_tensor_decibels: with one scale for all output channels.
    """

    name: str
    kind: str
    tensor: int
    decibels: float
    method: str
    least: float
    most: float
    worst: tuple[tuple[int, float], ...]
    weights: tuple[npt.NDArray[np.int64], float, float] | None
    weight_decibels: float | None
    per_tensor_decibels: float | None


def decibels(signal: float, noise: float) -> float:
    """Ratio of two powers on a logarithmic scale, at most MOST_DECIBELS."""
    if noise <= 0:
        return MOST_DECIBELS
    return min(MOST_DECIBELS, 10 * log10(signal / noise)) if signal > 0 else -MOST_DECIBELS


def measure_layers(quantized: Quantized, jobs: int = 1) -> list[LayerReport]:
    """Run both networks on the samples that were kept.

    Args:
        jobs: how many threads; the result does not depend on it.

    Returns:
        One report for each operator that makes numbers, in order.
    """
    prepared, graph = quantized.prepared, quantized.graph
    twin = Twin(graph, quantized.samples, jobs)
    reports = []
    for step in walk(prepared, quantized.samples, jobs):
        got = twin.step(step.number)
        if not graph.tensors[step.operator.output].is_real:
            continue
        signal = np.zeros(step.outputs[0].shape[2])
        noise = np.zeros_like(signal)
        for right, wrong in in_order(_powers, zip(step.outputs, got, strict=True), jobs):
            signal += right
            noise += wrong
        ratio = np.where(signal > 0, noise / np.where(signal > 0, signal, 1), 0)
        worst = np.argsort(-ratio, kind="stable")[:_WORST]
        operator = step.operator
        weights, weight_decibels, per_tensor = None, None, None
        if isinstance(operator, WEIGHTED):
            target = graph.operators[step.number]
            assert isinstance(target, WEIGHTED)
            before, after = prepared.tensors[operator.weights], graph.tensors[target.weights]
            weights, weight_decibels, per_tensor = _weights(before, after)
        tensor = graph.tensors[operator.output]
        q = tensor.quantization
        assert q is not None
        chosen = quantized.chosen.get(operator.output)
        reports.append(
            LayerReport(
                name=tensor.name,
                kind=type(operator).__name__,
                tensor=operator.output,
                decibels=decibels(float(signal.sum()), float(noise.sum())),
                method="" if chosen is None else chosen.method,
                least=float(q.scale) * (-128 - q.zero_point),
                most=float(q.scale) * (127 - q.zero_point),
                worst=tuple(
                    (int(c), decibels(float(signal[c]), float(noise[c])))
                    for c in worst
                    if noise[c] > 0
                ),
                weights=weights,
                weight_decibels=weight_decibels,
                per_tensor_decibels=per_tensor,
            )
        )
    return reports


def _powers(values: tuple[FloatArray, FloatArray]) -> tuple[Float64Array, Float64Array]:
    """Sums of squares by channel: of the right values, and of what the others lack to them."""
    right, real = values
    signal = np.square(right, dtype=np.float64).sum(axis=(0, 1))
    return signal, np.square(right - real, dtype=np.float64).sum(axis=(0, 1))


def logits_decibels(quantized: Quantized, reports: list[LayerReport]) -> float:
    """Of the first output, before a softmax."""
    wanted = quantized.prepared.outputs[0].tensor
    for operator in quantized.prepared.operators:
        if isinstance(operator, Softmax) and operator.output == wanted:
            wanted = operator.inputs[0]
    return next((r.decibels for r in reports if r.tensor == wanted), MOST_DECIBELS)


def _weights(
    before: Tensor, after: Tensor
) -> tuple[tuple[npt.NDArray[np.int64], float, float], float, float]:
    right, q = before.data, after.quantization
    assert right is not None
    assert q is not None
    extent = float(np.abs(right).max()) or 1.0
    counts, _ = np.histogram(right, _WEIGHT_BINS, (-extent, extent))
    shape = [1] * right.ndim
    shape[q.axis] = len(q.scales)
    power = float(np.square(right, dtype=np.float64).sum())
    chosen, single = (
        decibels(power, float(np.square(right - np.rint(right / step) * step).sum()))
        for step in (q.scales.astype(np.float64).reshape(shape), extent / 127)
    )
    return (counts.astype(np.int64), -extent, extent), chosen, single
