# SPDX-License-Identifier: Apache-2.0
"""``narrows quantize``: a float model becomes an int8 ``.tflite``."""

from __future__ import annotations

import argparse
from typing import Any

from narrows.api.model import Model, Quantization, imported, stored_metadata
from narrows.api.quantizing import (
    EDGES,
    METHODS,
    WEIGHTS,
    How,
    distance_from_source,
    quantize_model,
)
from narrows.cli.console import count, print_table, progress_bar, warn
from narrows.cli.jobs import add_jobs
from narrows.cli.metadata import add_metadata, parse_metadata
from narrows.cli.places import add_input, add_json, add_output
from narrows.cli.shapes import add_input_shapes, parse_input_shapes
from narrows.data import dataset_files
from narrows.errors import UsageError
from narrows.importers import model_files
from narrows.quantization.float_model import verify_float
from narrows.quantization.known_ranges import has_ranges
from narrows.quantization.pipeline import Quantized


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
        choices=METHODS,
        default="best",
        help="best (default): equalization, chosen ranges, adaptive rounding, bias correction; "
        "minmax: the extremes, rounded to nearest",
    )
    parser.add_argument(
        "--weights", choices=tuple(WEIGHTS), default="channel", help="scales of weights"
    )
    parser.add_argument("--edges", choices=EDGES, default="int8", help="inputs and outputs")
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
    if arguments.limit is not None and arguments.limit < 1:
        raise UsageError(f"--limit {arguments.limit}: give 1 or more")
    shapes = parse_input_shapes(arguments)
    model = Model(arguments.model, requantize=arguments.requantize, input_shapes=shapes)
    metadata = {**model.metadata, **stored_metadata(**parse_metadata(arguments))}
    graph = imported(model, floats=True)
    warn(arguments.model, graph.warnings)
    verify_float(graph)
    if arguments.data is None and not has_ranges(graph):
        raise UsageError("--data is missing: a few hundred typical inputs to calibrate with")
    with progress_bar() as progress:
        how = How(
            arguments.method,
            arguments.weights,
            arguments.edges,
            arguments.limit,
            arguments.jobs,
        )
        made, quantized = quantize_model(model, arguments.data, metadata, how, progress)
    about = made.quantization
    assert about is not None
    data = made.data
    written = arguments.outputs.write("output", data)
    arguments.outputs.write_json(_figures(arguments, len(data), about))
    if written:
        used = about.samples
        source = f"{count(used)} sample{'s' * (used > 1)}" if used else "the ranges of the file"
        print(
            f"{arguments.output}: {count(len(data))} B from {source}; "
            f"{about.decibels:.1f} dB at the output"
        )
    if written and graph.warnings:  # the file is not the float network that was taken
        _compare_with_source(arguments, model, quantized)
    if arguments.report is not None:
        with progress_bar() as progress:
            arguments.outputs.write("report", about.report(progress))
        _print_layers(about)
    return 0


def _compare_with_source(arguments: argparse.Namespace, model: Model, quantized: Quantized) -> None:
    """Say how far the result is from what the file itself gives."""
    found, samples = distance_from_source(model, quantized)
    if isinstance(found, str):
        print(f"not compared with {arguments.model}: {found}")
        return
    kind = f"{samples} random inputs" if arguments.data is None else f"{samples} of the samples"
    print(
        f"of {kind}: {found.decibels:.1f} dB from {found.runtime}'s run of {arguments.model}, off "
        f"by up to {found.most:.3g} of {found.largest:.3g}"
    )


def _print_layers(about: Quantization) -> None:
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
            for layer in about.layers
        ),
    )


def _figures(arguments: argparse.Namespace, size: int, about: Quantization) -> dict[str, Any]:
    return {
        "output": arguments.output,
        "bytes": size,
        "samples": about.samples,
        "method": about.method,
        "weights": about.weights,
        "logits_decibels": about.decibels,
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
            for layer in about.layers
        ],
    }
