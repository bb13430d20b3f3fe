# SPDX-License-Identifier: Apache-2.0
"""Choose each tensor's range by what it costs the network, on samples that it was not made of.

Calibration comes in two halves, and every method's range of one half is judged on a few samples
of the other. First by the operators that read the tensor; then the best method that clips has to
beat the extremes again at the outputs of the network, with nothing else rounded: errors of
clipping all point the same way, so they reach further than errors of rounding, which a layer
averages out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from narrows.graph.graph import Graph, Softmax, readers
from narrows.jobs import in_order
from narrows.quantization.float_model import FloatArray, FloatModel, Sample, evaluate
from narrows.quantization.histogram import Candidate, Histogram, candidates, merged
from narrows.quantization.lockstep import snap
from narrows.quantization.quantize import quantization_of

# Samples of each half that decide.
SAMPLES = 3
# Clipping must halve the error of the extremes: on inputs that calibration never saw it can only be
# worse. Nothing from never to 0.85 differs by a tenth of a decibel on average where
# tests/bench/quantize_thresholds.py measures it; without a margin it loses.
_ADVANTAGE = 0.5


@dataclass(frozen=True, eq=False)
class Half:
    """Half of the calibration samples: histograms of every tensor over all of them, and a few
    of the samples themselves."""

    histograms: Mapping[int, Histogram]
    samples: Sequence[Sample]


def choose_ranges(graph: Graph, halves: tuple[Half, Half], jobs: int = 1) -> dict[int, Candidate]:
    """The range of every input and every operator's output, and how it was found.

    Args:
        graph: float.
        jobs: how many threads; each has a tensor at a time.
    """
    reading = readers(graph)
    judged = [
        list(
            in_order(
                lambda sample: _values(graph, sample),
                half.samples[:: -(-len(half.samples) // SAMPLES)],
                jobs,
            )
        )
        for half in reversed(halves)
    ]

    def choose(tensor: int) -> Candidate:
        methods = candidates(merged(*(half.histograms[tensor] for half in halves)))
        options = [candidates(half.histograms[tensor]) for half in halves]
        trials = [
            (values, option)
            for option, kept in zip(options, judged, strict=True)
            for values in kept
        ]
        if any(len(option) != len(methods) or len(option) == 1 for option in options):
            return methods[0]
        local = sum(
            _errors(graph, values, tensor, reading.get(tensor, []), option)
            for values, option in trials
        )
        assert isinstance(local, np.ndarray)
        best = int(local.argmin())
        if not local[best] < _ADVANTAGE * local[0]:
            return methods[0]
        extremes, clipped = (
            sum(_output_error(graph, values, tensor, option[k]) for values, option in trials)
            for k in (0, best)
        )
        return methods[best if clipped < _ADVANTAGE * extremes else 0]

    tensors = list(halves[0].histograms)
    return dict(zip(tensors, in_order(choose, tensors, jobs), strict=True))


def _values(graph: Graph, sample: Sample) -> dict[int, FloatArray]:
    values: dict[int, FloatArray] = {
        i: tensor.data for i, tensor in enumerate(graph.tensors) if tensor.data is not None
    }
    FloatModel(graph).run(sample, values.__setitem__)
    return values


def _output_error(
    graph: Graph, values: Mapping[int, FloatArray], tensor: int, option: Candidate
) -> float:
    """Squared error at the outputs, before a softmax, if this tensor alone is rounded."""
    changed = {tensor: snap(values[tensor], quantization_of(option.least, option.most))}
    outputs = {port.tensor for port in graph.outputs}
    for operator in graph.operators:
        if isinstance(operator, Softmax) and operator.output in outputs:
            outputs.add(operator.inputs[0])
        elif any(i in changed for i in operator.inputs):
            inputs = [changed.get(i, values[i]) for i in operator.inputs]
            changed[operator.output] = evaluate(operator, inputs, graph.tensors)
    return sum(
        float(np.square(changed[i] - values[i], dtype=np.float64).sum())
        / (float(np.square(values[i], dtype=np.float64).sum()) or 1.0)
        for i in outputs
        if i in changed
    )


def _errors(
    graph: Graph,
    values: Mapping[int, FloatArray],
    tensor: int,
    reading: Sequence[int],
    options: Sequence[Candidate],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Squared error of each candidate, relative to the readers' outputs and added up."""
    errors = np.zeros(len(options))
    for place, option in enumerate(options):
        rounded = snap(values[tensor], quantization_of(option.least, option.most))
        if not reading:
            errors[place] = np.square(rounded - values[tensor], dtype=np.float64).sum()
        for number in reading:
            operator = graph.operators[number]
            inputs = [rounded if i == tensor else values[i] for i in operator.inputs]
            right = values[operator.output]
            wrong = evaluate(operator, inputs, graph.tensors) - right
            power = float(np.square(right, dtype=np.float64).sum())
            errors[place] += float(np.square(wrong, dtype=np.float64).sum()) / (power or 1.0)
    return errors
