# SPDX-License-Identifier: Apache-2.0
"""``narrows.quantize``: a float network becomes an int8 one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from narrows.api.items import Data, as_datasets, as_jobs
from narrows.api.model import Model, Quantization, as_model, imported, stored_metadata
from narrows.data import Dataset, load_input
from narrows.errors import InputError, ModelError, PlanError, UsageError
from narrows.exporters.export import export_tflite
from narrows.graph.edges import HostEdge
from narrows.graph.graph import Graph
from narrows.graph.passes import drop_unused
from narrows.graph.preprocessing import Preprocessing, parse_preprocessing
from narrows.graph.qgraph import ExternalDtype
from narrows.importers.metadata import encode_metadata
from narrows.originals import Distance, distance
from narrows.planning import PlanOptions
from narrows.quantization.arrangements import arrangements
from narrows.quantization.dead_channels import without_dead_channels
from narrows.quantization.float_model import Sample, verify_float
from narrows.quantization.histogram import Histogram
from narrows.quantization.known_ranges import has_ranges, quantize_by_ranges
from narrows.quantization.lower import lower
from narrows.quantization.measure import LayerReport, logits_decibels, measure_layers
from narrows.quantization.pipeline import (
    MIN_MAX,
    PipelineOptions,
    Quantized,
    quantize_network,
)
from narrows.quantization.quantize import WeightScales
from narrows.report.front import front
from narrows.report.page import report_page
from narrows.report.plans import Names, front_json
from narrows.report.quality import quantization_json
from narrows.result import Progress, no_progress

Method: TypeAlias = Literal["best", "minmax"]
Weights: TypeAlias = Literal["channel", "tensor"]

METHODS: tuple[Method, ...] = ("best", "minmax")
WEIGHTS: Mapping[Weights, WeightScales] = {
    "channel": WeightScales.PER_CHANNEL,
    "tensor": WeightScales.PER_TENSOR,
}
EDGES: tuple[ExternalDtype, ...] = ("int8", "uint8", "float32")

_COMPARED = 4
"""Samples on which the result is compared with its source: plain integers are slow."""


@dataclass(frozen=True)
class How:
    """What ``quantize`` is asked for."""

    method: Method
    weights: Weights
    edges: ExternalDtype
    limit: int | None
    jobs: int


def quantize(
    model: Model | str | Path,
    data: Data | None = None,
    *,
    method: Method = "best",
    weights: Weights = "channel",
    edges: ExternalDtype = "int8",
    limit: int | None = None,
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | str | None = None,
    detection: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    progress: Progress = no_progress,
) -> Model:
    """Quantize a float network to int8.

    The result does not depend on ``jobs``. It may depend, by single roundings, on how many threads
    NumPy's own BLAS uses; the command line sets ``OMP_NUM_THREADS=1``, which has to be in the
    environment before NumPy is imported.

    Args:
        model: a float network, or the path of one.
        data: a few hundred typical inputs: an array [n, ...] of real values, a sequence of arrays
            or pictures' paths, or the path of a data set (``.npz`` with ``x``, ``.npy``, a folder
            of pictures); of a network with several inputs a mapping from their names to arrays
            [n, ...]. It is read several times, one item at a time. Not needed for a ``.tflite``
            in uint8, which has its ranges.
        method: ``best``: equalization, chosen ranges, adaptive rounding, bias correction;
            ``minmax``: the extremes, rounded to nearest.
        weights: what has a scale of its own: a ``channel`` or a whole ``tensor``.
        edges: type of the inputs and outputs: ``int8``, ``uint8`` or ``float32``.
        limit: use the first items only.
        labels: names of the classes, stored with the model.
        preprocessing: how pictures become inputs, stored with the model: ``"0..1"``, ``"-1..1"``,
            ``"0..255"``, ``"imagenet"``, or a ``Preprocessing``.
        detection: how outputs become boxes or a mask, stored with the model.
        jobs: how many threads compute; as many as there are processors if None.
        progress: called with what is being done and how much of all is done, 0 to 1.

    Returns:
        The int8 network; its ``quantization`` says how far it is from the float one.

    Raises:
        ModelError: the network is quantized already, or has a weight that is not finite.
        InputError: no data, or an item that does not fit or is not finite.
        UsageError: an argument that makes no sense.
    """
    if method not in METHODS or weights not in WEIGHTS or edges not in EDGES:
        raise UsageError(
            f"quantize: method is one of {', '.join(METHODS)}, weights of {', '.join(WEIGHTS)}, "
            f"edges of {', '.join(EDGES)}"
        )
    model = as_model(model)
    metadata = {**model.metadata, **stored_metadata(labels, preprocessing, detection)}
    how = How(method, weights, edges, limit, as_jobs(jobs))
    return quantize_model(model, data, metadata, how, progress)[0]


def quantize_model(
    model: Model,
    data: Data | None,
    metadata: dict[str, Any],
    how: How,
    progress: Progress,
) -> tuple[Model, Quantized]:
    """As ``quantize``, with every value on the way. metadata: what is stored with the result."""
    graph = imported(model, floats=True)
    verify_float(graph)
    samples = _samples(model, graph, data, _preprocessing(model, metadata, graph), how.limit)
    used = 0 if samples is None else samples.count
    options = replace(
        MIN_MAX if how.method == "minmax" else PipelineOptions(),
        weights=WEIGHTS[how.weights],
        edges=how.edges,
        count=used,
        progress=progress,
        jobs=how.jobs,
    )
    if samples is None:
        quantized = quantize_by_ranges(graph, options)
    else:
        quantized = quantize_network(graph, samples, options)
    progress("measure", 1.0)
    layers = measure_layers(quantized, how.jobs)
    decibels = logits_decibels(quantized, layers)
    source = f"{used} samples" if used else "the ranges of the file"
    lines = [
        ("calibration", str(data) if isinstance(data, (str, Path)) else source),
        ("method", how.method),
        ("weights", f"one scale per {how.weights}"),
        ("at the output, before a softmax", f"{decibels:.1f} dB"),
    ]
    page = partial(_page, model.place, lines, layers, quantized.histograms, quantized.graph)
    made = export_tflite(drop_unused(quantized.graph), encode_metadata(metadata))
    name = f"{Path(model.name).stem}_int8.tflite"
    about = Quantization(used, how.method, how.weights, decibels, tuple(layers), page)
    return Model(made, name, quantization=about), quantized


def _page(
    place: str,
    lines: list[tuple[str, str]],
    layers: Sequence[LayerReport],
    histograms: Mapping[int, Histogram],
    graph: Graph,
    progress: Progress,
) -> str:
    """The page of a quantization, with the memory plans of the result, a float network's first
    form of which stands at ``place``."""
    names = Names()
    parts: dict[str, Any] = {
        "quality": quantization_json(layers, histograms, lines, names),
        "lines": [("model", place)],
    }
    lowered = without_dead_channels(lower(drop_unused(graph)))
    try:
        found = front(arrangements(lowered), PlanOptions(), progress)
        parts["front"] = front_json(found, PlanOptions(), names)
    except PlanError as error:
        parts["lines"].append(("no plan", str(error)))
    return report_page(f"Quantization of {Path(place).name}", names, parts)


def distance_from_source(model: Model, quantized: Quantized) -> tuple[Distance | str, int]:
    """How far the result is from what the file itself gives, or why that is not known; and of how
    many samples."""
    samples = quantized.samples[:_COMPARED]
    return distance(model.place, drop_unused(quantized.graph), samples), len(samples)


class _Samples:
    """Reads the data of all inputs anew each time that it is called, one item at a time."""

    def __init__(
        self, graph: Graph, preprocessing: Preprocessing | None, data: Sequence[Dataset]
    ) -> None:
        self._edges = [
            HostEdge(p.name, "float32", p.shape, 0.0, 0, 0.0, 0, channels_first=p.channels_first)
            for p in graph.inputs
        ]
        self._preprocessing = preprocessing
        self._data = data
        self.count = len(data[0].items)

    def __call__(self) -> Iterator[Sample]:
        items = zip(*(dataset.items for dataset in self._data), strict=True)
        for number, item in enumerate(items):
            names = [dataset.name_of(number) for dataset in self._data]
            known = zip(self._edges, item, names, strict=True)
            yield [load_input(edge, self._preprocessing, part, name) for edge, part, name in known]


def _samples(
    model: Model,
    graph: Graph,
    data: Data | None,
    preprocessing: Preprocessing | None,
    limit: int | None,
) -> _Samples | None:
    """What to calibrate with; None where the file says what its tensors hold."""
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}: give 1 or more")
    if data is None:
        if has_ranges(graph):
            return None
        raise InputError(
            f"{model.place}: data is missing: a few hundred typical inputs to calibrate with"
        )
    datasets = as_datasets(data, [port.name for port in graph.inputs])
    if limit is not None:
        datasets = [dataset.first(limit) for dataset in datasets]
    return _Samples(graph, preprocessing, datasets)


def _preprocessing(model: Model, metadata: Mapping[str, Any], graph: Graph) -> Preprocessing | None:
    if "preprocessing" not in metadata:
        return None
    preprocessing = parse_preprocessing(metadata["preprocessing"])
    if len(graph.inputs) != 1:
        raise ModelError(
            f"{model.place}: {len(graph.inputs)} inputs; preprocessing is for networks with one"
        )
    try:
        preprocessing.check_channels(graph.inputs[0].shape[-1])
    except ValueError as error:
        raise ModelError(f"{model.place}: preprocessing: {error}") from error
    return preprocessing
