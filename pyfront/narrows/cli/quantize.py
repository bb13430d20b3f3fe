# SPDX-License-Identifier: Apache-2.0
"""``narrows quantize``: a float model becomes an int8 ``.tflite``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from narrows.blob import Preprocessing, parse_preprocessing
from narrows.cli.console import (
    add_json,
    count,
    parse_numbers,
    print_table,
    progress_bar,
    say,
    write_json,
)
from narrows.data import Dataset, load_dataset, load_input, load_labels
from narrows.errors import InputError, ModelError, UsageError
from narrows.exporters.export import export_tflite
from narrows.files import write_file
from narrows.graph.edges import HostEdge
from narrows.graph.graph import Graph
from narrows.graph.passes import drop_unused
from narrows.importers import load
from narrows.importers.metadata import encode_metadata, model_metadata
from narrows.quantize.float_model import Sample
from narrows.quantize.measure import LayerReport, logits_decibels, measure_layers
from narrows.quantize.pipeline import MIN_MAX, PipelineOptions, Quantized, quantize_network
from narrows.quantize.quantize import WeightScales
from narrows.report.quantization import quantization_page


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "quantize", help="quantize a float .tflite or .onnx model to an int8 .tflite"
    )
    parser.add_argument("model", metavar="MODEL", help="float .tflite or .onnx file")
    parser.add_argument(
        "--data",
        metavar="CALIBRATION",
        required=True,
        help="a few hundred typical inputs: .npz with x, .npy, or a folder of pictures",
    )
    parser.add_argument("-o", "--output", metavar="MODEL_INT8", required=True)
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
        "--pixel-mean", metavar="M[,M,M]", help="pictures: real value = (pixel - mean) * scale"
    )
    parser.add_argument("--pixel-scale", metavar="S[,S,S]", help="see --pixel-mean")
    parser.add_argument(
        "--resize",
        choices=("stretch", "crop"),
        default="stretch",
        help="how pictures get the input's shape: stretched, or the middle cropped",
    )
    parser.add_argument("--order", choices=("RGB", "BGR"), default="RGB", help="of channels")
    parser.add_argument("--labels", metavar="FILE", help="class names, one per line, to store")
    parser.add_argument("--report", metavar="FILE.html", help="write where accuracy goes")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Quantize, measure, write."""
    graph = load(arguments.model)
    if len(graph.inputs) != 1:
        raise ModelError(
            f"{arguments.model}: {len(graph.inputs)} inputs; quantize takes networks with one"
        )
    metadata = {**model_metadata(arguments.model), **_metadata(arguments)}
    preprocessing = parse_preprocessing(arguments.model, metadata.get("preprocessing"))
    dataset = load_dataset(Path(arguments.data))
    if arguments.limit is not None:
        if arguments.limit < 1:
            raise UsageError(f"--limit {arguments.limit}: give 1 or more")
        dataset = Dataset(dataset.items[: arguments.limit], None)
    with progress_bar() as progress:
        options = replace(
            MIN_MAX if arguments.method == "minmax" else PipelineOptions(),
            weights=WeightScales.PER_CHANNEL
            if arguments.weights == "channel"
            else WeightScales.PER_TENSOR,
            edges=arguments.edges,
            count=len(dataset.items),
            progress=progress,
        )
        samples = _Samples(graph, preprocessing, dataset)
        quantized = quantize_network(graph, samples, options)
        progress("measure", 1.0)
        layers = measure_layers(quantized)
    data = export_tflite(drop_unused(quantized.graph), encode_metadata(metadata))
    write_file(arguments.output, data)
    logits = logits_decibels(quantized, layers)
    say(arguments)(
        f"{arguments.output}: {count(len(data))} B from {count(len(dataset.items))} samples; "
        f"{logits:.1f} dB at the output"
    )
    write_json(arguments.json, _figures(arguments, data, dataset, layers, logits))
    if arguments.report is not None:
        _report(arguments, quantized, layers, logits)
    return 0


class _Samples:
    """Reads the data set anew each time that it is called, one item at a time."""

    def __init__(self, graph: Graph, preprocessing: Preprocessing | None, dataset: Dataset) -> None:
        port = graph.inputs[0]
        self._edge = HostEdge(port.name, "float32", port.shape, 0.0, 0, 0.0, 0)
        self._preprocessing = preprocessing
        self._dataset = dataset

    def __call__(self) -> Iterator[Sample]:
        for item in self._dataset.items:
            if isinstance(item, Path) or item.dtype.kind == "f":
                yield [load_input(self._edge, self._preprocessing, item)]
            else:
                raise InputError(f"calibration of {item.dtype}; give floats, as the model has them")


def _metadata(arguments: argparse.Namespace) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if arguments.labels is not None:
        metadata["labels"] = list(load_labels(arguments.labels))
    if (arguments.pixel_mean is None) != (arguments.pixel_scale is None):
        raise UsageError("--pixel-mean and --pixel-scale belong together")
    if arguments.pixel_mean is not None:
        metadata["preprocessing"] = {
            "mean": parse_numbers("--pixel-mean", arguments.pixel_mean),
            "scale": parse_numbers("--pixel-scale", arguments.pixel_scale),
            "resize": arguments.resize,
            "order": arguments.order,
        }
    elif (arguments.resize, arguments.order) != ("stretch", "RGB"):
        raise UsageError("--resize and --order need --pixel-mean and --pixel-scale")
    return metadata


def _report(
    arguments: argparse.Namespace,
    quantized: Quantized,
    layers: list[LayerReport],
    logits: float,
) -> None:
    summary = [
        ("model", arguments.model),
        ("calibration", arguments.data),
        ("method", arguments.method),
        ("weights", f"one scale per {arguments.weights}"),
        ("at the output, before a softmax", f"{logits:.1f} dB"),
    ]
    page = quantization_page(
        f"Quantization of {Path(arguments.model).name}", summary, layers, quantized.histograms
    )
    write_file(arguments.report, page.encode())
    if arguments.json != "-":
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


def _figures(
    arguments: argparse.Namespace,
    data: bytes,
    dataset: Dataset,
    layers: list[LayerReport],
    logits: float,
) -> dict[str, Any]:
    return {
        "output": arguments.output,
        "bytes": len(data),
        "samples": len(dataset.items),
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
