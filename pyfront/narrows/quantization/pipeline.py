# SPDX-License-Identifier: Apache-2.0
"""The whole way from a float network to the best int8 one: the list of passes.

prepare -> equalize -> observe -> choose ranges -> quantize -> refine
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from narrows.graph.graph import Graph
from narrows.graph.passes import drop_unused, fuse_activations
from narrows.graph.qgraph import ExternalDtype
from narrows.quantization.calibrate import observe
from narrows.quantization.choose import Half, choose_ranges
from narrows.quantization.equalize import ChannelStatistics, equalize
from narrows.quantization.float_model import Sample, verify_float
from narrows.quantization.histogram import Candidate, Histogram, candidates, merged
from narrows.quantization.lockstep import Keeper, sample_limit
from narrows.quantization.quantize import (
    QuantizeOptions,
    WeightScales,
    apply_ranges,
    separate_scales,
    verify_quantized,
)
from narrows.quantization.refine import RefineOptions, refine

MakeSamples: TypeAlias = Callable[[], Iterable[Sample]]
"""Gives the calibration samples anew each time, the same ones in the same order."""
Progress: TypeAlias = Callable[[str, float], None]
"""Called with what begins, and how much of the whole is done, 0 to 1."""


@dataclass(frozen=True)
class PipelineOptions:
    """equalize, choose: whether channels are equalized, and ranges chosen by measured error
    instead of the extremes. refine: of weights and biases; None for neither.
    count: samples, if known; for progress only.
    jobs: how many threads compute; the result does not depend on it."""

    equalize: bool = True
    choose: bool = True
    refine: RefineOptions | None = field(default_factory=RefineOptions)
    weights: WeightScales = WeightScales.PER_CHANNEL
    edges: ExternalDtype = "int8"
    count: int | None = None
    progress: Progress | None = None
    jobs: int = 1


MIN_MAX = PipelineOptions(equalize=False, choose=False, refine=None)
"""The extremes and rounding to nearest, as plain converters do."""


@dataclass(frozen=True, eq=False)
class Quantized:
    """graph: int8. prepared: the float network that it was made of, equalized: the same
    function, and the same operators under the same numbers.
    histograms, chosen: of every activation of ``prepared``, and its range.
    samples: those kept for measuring."""

    graph: Graph
    prepared: Graph
    histograms: Mapping[int, Histogram]
    chosen: Mapping[int, Candidate]
    samples: list[Sample]


def quantize_network(
    graph: Graph, samples: MakeSamples, options: PipelineOptions | None = None
) -> Quantized:
    """Quantize a float network to int8 as well as we can.

    Args:
        graph: all tensors float32.
        samples: called twice; read one at a time, by this thread. A few are kept, within 400 MiB;
            with several jobs, as many more are at work.

    Raises:
        ModelError: a weight that is not finite, or the network is quantized already.
        InputError: no samples, or one that does not fit or is not finite.
    """
    options = options or PipelineOptions()
    step = options.progress or (lambda what, done: None)
    verify_float(graph)
    for convert in (fuse_activations, separate_scales):
        graph = convert(graph)
        verify_float(graph)
    statistics = observe(
        graph,
        samples(),
        lambda _graph, _tensor: ChannelStatistics(),
        _part(step, "calibrate channels", 0.0, 0.35, options.count),
        options.jobs,
    )
    count = next(iter(statistics.values())).samples
    if options.equalize:
        graph = equalize(graph, statistics)
    calibrating = _part(step, "calibrate", 0.35, 0.75, count)
    halves = _halves(graph, samples(), count, calibrating, options.jobs)
    kept = [sample for half in halves for sample in half.samples]
    histograms = halves[0].histograms
    if len(halves) == 2:
        histograms = {i: merged(h, halves[1].histograms[i]) for i, h in histograms.items()}
    step("choose ranges", 0.75)
    if options.choose and len(halves) == 2:
        chosen = choose_ranges(graph, (halves[0], halves[1]), options.jobs)
    else:
        chosen = {i: candidates(histogram)[0] for i, histogram in histograms.items()}
    ranges = {i: (candidate.least, candidate.most) for i, candidate in chosen.items()}
    quantized = apply_ranges(
        graph, ranges, QuantizeOptions(weights=options.weights, edges=options.edges)
    )
    if options.refine is not None:
        quantized = refine(
            graph,
            quantized,
            kept,
            options.refine,
            lambda done: step("refine", 0.8 + 0.2 * done),
            options.jobs,
        )
    result = drop_unused(quantized)
    verify_quantized(result)
    step("done", 1.0)
    return Quantized(quantized, graph, histograms, chosen, kept)


def _halves(
    graph: Graph,
    samples: Iterable[Sample],
    count: int,
    progress: Callable[[int], None],
    jobs: int,
) -> list[Half]:
    """Calibrate in two halves; in one if there is but one sample."""
    stream = iter(samples)
    sizes = (count - count // 2, count // 2) if count > 1 else (1,)
    halves = []
    seen = 0
    for size in sizes:
        keeper = Keeper(max(1, sample_limit(graph) // len(sizes)))
        begin = seen
        histograms = observe(
            graph,
            keeper.through(islice(stream, size)),
            lambda _graph, _tensor: Histogram(),
            lambda done, begin=begin: progress(begin + done),  # type: ignore[misc]
            jobs,
        )
        halves.append(Half(histograms, keeper.samples))
        seen += size
    return halves


def _part(
    step: Progress, what: str, begin: float, end: float, count: int | None
) -> Callable[[int], None]:
    def progress(seen: int) -> None:
        step(what, begin + (end - begin) * (seen / count if count else seen / (seen + 20)))

    return progress
