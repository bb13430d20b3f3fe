# SPDX-License-Identifier: Apache-2.0
"""``narrows quantize``: a float model becomes an int8 ``.tflite``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from narrows.cli.console import count, print_table, progress_bar, warn
from narrows.cli.jobs import add_jobs
from narrows.cli.metadata import add_metadata, parse_metadata
from narrows.cli.places import add_input, add_json, add_output
from narrows.cli.shapes import add_input_shapes, parse_input_shapes
from narrows.data import Dataset, dataset_files, load_input, load_inputs
from narrows.errors import ModelError, PlanError, UsageError
from narrows.exporters.export import export_tflite
from narrows.graph.edges import HostEdge
from narrows.graph.graph import Graph
from narrows.graph.passes import drop_unused
from narrows.graph.preprocessing import Preprocessing, parse_preprocessing
from narrows.importers import load, model_files
from narrows.importers.metadata import encode_metadata, model_metadata
from narrows.originals import distance
from narrows.plan import PlanOptions
from narrows.quantize.arrangements import arrangements
from narrows.quantize.dead_channels import without_dead_channels
from narrows.quantize.float_model import Sample, verify_float
from narrows.quantize.known_ranges import has_ranges, quantize_by_ranges
from narrows.quantize.lower import lower
from narrows.quantize.measure import LayerReport, logits_decibels, measure_layers
from narrows.quantize.pipeline import MIN_MAX, PipelineOptions, Quantized, quantize_network
from narrows.quantize.quantize import WeightScales
from narrows.report.front import front
from narrows.report.page import report_page
from narrows.report.plans import Names, front_json
from narrows.report.quality import quantization_json
from narrows.result import Progress

_COMPARED = 4
"""Samples on which the result is compared with its source: plain integers are slow."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "quantize", help="quantize a float .tflite or .onnx model to an int8 .tflite"
    )
    add_input(
        parser, "model", files=model_files, metavar="MODEL", help="float .tflite or .onnx file"
    )
    add_input(
        parser,
        "--data",
        files=dataset_files,
        metavar="CALIBRATION",
        help="a few hundred typical inputs: .npz with x, .npy, or pictures, as check takes them; "
        "for several inputs an .npz with an array for each, by its name; a .tflite in uint8 has "
        "its ranges and needs none",
    )
    add_output(parser, "-o", "--output", metavar="MODEL_INT8", required=True)
    parser.add_argument(
        "--method",
        choices=("best", "minmax"),
        default="best",
        help="best (default): equalization, chosen ranges, adaptive rounding, bias correction; "
        "minmax: the extremes, rounded to nearest",
    )
    parser.add_argument(
        "--weights", choices=("channel", "tensor"), default="channel", help="scales of weights"
    )
    parser.add_argument(
        "--edges", choices=("int8", "uint8", "float32"), default="int8", help="inputs and outputs"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="use the first N items only")
    parser.add_argument(
        "--requantize",
        action="store_true",
        help="drop the scales of an .onnx in QDQ form and choose new ones",
    )
    add_input_shapes(parser)
    add_jobs(parser)
    add_metadata(parser)
    add_output(parser, "--report", metavar="FILE.html", help="write the page of 'narrows report'")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Quantize, measure, write."""
    metadata = {**model_metadata(arguments.model), **parse_metadata(arguments)}
    shapes = parse_input_shapes(arguments)
    graph = load(arguments.model, requantize=arguments.requantize, floats=True, shapes=shapes)
    warn(arguments.model, graph.warnings)
    verify_float(graph)
    preprocessing = _preprocessing(arguments, metadata, graph)
    samples = _samples(arguments, graph, preprocessing)
    used = 0 if samples is None else samples.count
    with progress_bar() as progress:
        options = replace(
            MIN_MAX if arguments.method == "minmax" else PipelineOptions(),
            weights=WeightScales.PER_CHANNEL
            if arguments.weights == "channel"
            else WeightScales.PER_TENSOR,
            edges=arguments.edges,
            count=used,
            progress=progress,
            jobs=arguments.jobs,
        )
        if samples is None:
            quantized = quantize_by_ranges(graph, options)
        else:
            quantized = quantize_network(graph, samples, options)
        progress("measure", 1.0)
        layers = measure_layers(quantized, arguments.jobs)
    made = export_tflite(drop_unused(quantized.graph), encode_metadata(metadata))
    written = arguments.outputs.write("output", made)
    logits = logits_decibels(quantized, layers)
    arguments.outputs.write_json(_figures(arguments, len(made), used, layers, logits))
    if written:
        source = f"{count(used)} sample{'s' * (used > 1)}" if used else "the ranges of the file"
        print(
            f"{arguments.output}: {count(len(made))} B from {source}; {logits:.1f} dB at the output"
        )
    if written and graph.warnings:  # the file is not the float network that was taken
        _compare_with_source(arguments, quantized)
    if arguments.report is not None:
        _report(arguments, quantized, layers, logits)
    return 0


def _compare_with_source(arguments: argparse.Namespace, quantized: Quantized) -> None:
    """Say how far the result is from what the file itself gives."""
    samples = quantized.samples[:_COMPARED]
    if arguments.data is None:
        kind = f"{len(samples)} random inputs"
    else:
        kind = f"{len(samples)} of the samples"
    found = distance(arguments.model, drop_unused(quantized.graph), samples)
    if isinstance(found, str):
        print(f"not compared with {arguments.model}: {found}")
        return
    print(
        f"of {kind}: {found.decibels:.1f} dB from {found.runtime}'s run of {arguments.model}, off "
        f"by up to {found.most:.3g} of {found.largest:.3g}"
    )


def _samples(
    arguments: argparse.Namespace, graph: Graph, preprocessing: Preprocessing | None
) -> _Samples | None:
    """What to calibrate with; None where the file says what its tensors hold."""
    if arguments.limit is not None and arguments.limit < 1:
        raise UsageError(f"--limit {arguments.limit}: give 1 or more")
    if arguments.data is None:
        if has_ranges(graph):
            return None
        raise UsageError("--data is missing: a few hundred typical inputs to calibrate with")
    data = load_inputs(Path(arguments.data), [port.name for port in graph.inputs])
    if arguments.limit is not None:
        data = [dataset.first(arguments.limit) for dataset in data]
    return _Samples(graph, preprocessing, data)


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


def _preprocessing(
    arguments: argparse.Namespace, metadata: dict[str, Any], graph: Graph
) -> Preprocessing | None:
    if "preprocessing" not in metadata:
        return None
    preprocessing = parse_preprocessing(metadata["preprocessing"])
    if len(graph.inputs) != 1:
        raise ModelError(
            f"{arguments.model}: {len(graph.inputs)} inputs; preprocessing is for networks with one"
        )
    try:
        preprocessing.check_channels(graph.inputs[0].shape[-1])
    except ValueError as error:
        raise ModelError(f"{arguments.model}: preprocessing: {error}") from error
    return preprocessing


def _report(
    arguments: argparse.Namespace,
    quantized: Quantized,
    layers: list[LayerReport],
    logits: float,
) -> None:
    """Write the page, and show the same layers in a table."""
    names = Names()
    lines = [
        ("calibration", arguments.data or "the ranges of the file"),
        ("method", arguments.method),
        ("weights", f"one scale per {arguments.weights}"),
        ("at the output, before a softmax", f"{logits:.1f} dB"),
    ]
    parts: dict[str, Any] = {
        "quality": quantization_json(layers, quantized.histograms, lines, names)
    }
    parts["lines"] = [("model", arguments.model)]
    with progress_bar() as progress:
        try:
            parts["front"] = _plans(quantized, names, progress)
        except PlanError as error:
            parts["lines"].append(("no plan", str(error)))
    title = f"Quantization of {Path(arguments.model).name}"
    arguments.outputs.write("report", report_page(title, names, parts))
    print_table(
        (
            "layer",
            "operator",
            "dB>",
            "least>",
            "most>",
            "range by",
            "weights dB>",
            "one scale>",
            "worst channels",
        ),
        (
            (
                layer.name,
                layer.kind,
                f"{layer.decibels:.1f}",
                f"{layer.least:.4g}",
                f"{layer.most:.4g}",
                layer.method,
                *(
                    "" if value is None else f"{value:.1f}"
                    for value in (layer.weight_decibels, layer.per_tensor_decibels)
                ),
                " ".join(f"{c}:{value:.1f}" for c, value in layer.worst),
            )
            for layer in layers
        ),
    )


def _plans(quantized: Quantized, names: Names, progress: Progress) -> dict[str, Any]:
    """The memory plans of the result. Raises: PlanError."""
    graph = without_dead_channels(lower(drop_unused(quantized.graph)))
    return front_json(front(arrangements(graph), PlanOptions(), progress), PlanOptions(), names)


def _figures(
    arguments: argparse.Namespace,
    size: int,
    used: int,
    layers: list[LayerReport],
    logits: float,
) -> dict[str, Any]:
    return {
        "output": arguments.output,
        "bytes": size,
        "samples": used,
        "method": arguments.method,
        "weights": arguments.weights,
        "logits_decibels": logits,
        "layers": [
            {
                "name": layer.name,
                "operator": layer.kind,
                "decibels": layer.decibels,
                "range": [layer.least, layer.most],
                "range_by": layer.method,
                "weight_decibels": layer.weight_decibels,
                "per_tensor_decibels": layer.per_tensor_decibels,
                "worst_channels": [list(pair) for pair in layer.worst],
            }
            for layer in layers
        ],
    }
