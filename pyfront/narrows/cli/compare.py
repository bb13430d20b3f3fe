# SPDX-License-Identifier: Apache-2.0
"""``narrows compare``: two models or targets, layer by layer."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from narrows.cli.console import count, part, print_table, progress_bar, stage_label
from narrows.cli.jobs import add_jobs
from narrows.cli.places import add_input, add_json, add_output
from narrows.compare import Comparison, Difference, compare
from narrows.data import dataset_files, load_dataset, load_labels
from narrows.errors import UsageError
from narrows.importers import model_files
from narrows.sides import Layer, Side, open_side, split_side

_HELP = """\
A and B are MODEL or MODEL@PLACE:

  model.nrw           a blob, at host (the default), qemu:BOARD, serial:PORT or labgrid:PLACE
  model_int8.tflite   at tflm: TensorFlow Lite Micro (the default of .tflite), numpy: the
                      integer model without any plan (the default of .onnx), or compiled
                      for a blob's places
  model_float.onnx    .tflite too, at numpy (the default) or tflm

for example

  narrows compare model_int8.tflite model.nrw@qemu:mps2-an386 --data pictures/
  narrows compare model_float.onnx model_int8.tflite --data pictures/

Layers are matched by the names of their tensors. What a blob computes within a fused stage is
nowhere in memory, and not compared. Two int8 models are compared byte by byte; with a float
model, the table shows the ratio of signal to quantization noise of each layer. Exit code 1 if
bytes differ."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "compare",
        help="where two models or targets part, layer by layer",
        description="Show, layer by layer, the first place where two models or targets part.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for side in ("a", "b"):
        add_input(parser, side, files=side_files, metavar=side.upper(), help="see below")
    add_input(
        parser,
        "--data",
        files=dataset_files,
        metavar="DATA",
        required=True,
        help="as check takes it; classes need not be known",
    )
    add_input(parser, "--labels", metavar="FILE", help="class names, one per line")
    parser.add_argument(
        "--count", type=int, default=8, metavar="N", help="use the first N items (8)"
    )
    add_output(
        parser,
        "--save",
        metavar="FILE.npz",
        help="write all layers of the first input that differs, or else of the first one: a/NAME "
        "and b/NAME",
    )
    parser.add_argument("--layer", metavar="NAME", help="compare this one only")
    add_jobs(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def side_files(spec: str) -> Iterable[Path]:
    """What is read for a side."""
    return model_files(split_side(spec)[0])


def run(arguments: argparse.Namespace) -> int:
    """Compare, print, write. Returns 1 if bytes differ."""
    if arguments.count < 1:
        raise UsageError(f"--count {arguments.count}: give 1 or more")
    with contextlib.ExitStack() as resources, progress_bar() as bar:
        a = open_side(arguments.a, resources, part(bar, 0, 3), arguments.jobs)
        b = open_side(arguments.b, resources, part(bar, 1, 3), arguments.jobs)
        labels = a.labels or b.labels
        if arguments.labels is not None:
            labels = load_labels(arguments.labels)
        data = load_dataset(Path(arguments.data), labels)
        found = compare(a, b, data, arguments.count, part(bar, 2, 3), arguments.layer)
    for line in _sentences(a, b, found):
        print(line)
    if found.parted is not None or not found.exact:
        _print_layers(found)
    arguments.outputs.write_json(describe(a, b, found))
    if arguments.save is not None:
        arguments.outputs.write("save", _archive(found))
    return 0 if found.parted is None else 1


def _sentences(a: Side, b: Side, found: Comparison) -> list[str]:
    items = f"{count(found.items)} input{'s' * (found.items > 1)}"
    lines = [f"A: {a.spec}", f"B: {b.spec}"]
    if found.right is not None:
        lines.append(f"right classes of {items}: {found.right[0]} by A, {found.right[1]} by B")
    for side, names in (("A", found.only_a), ("B", found.only_b)):
        if names:
            more = f" and {count(len(names) - 3)} more" if len(names) > 3 else ""
            shown = ", ".join(stage_label((name,), 0) for name in names[:3])
            lines.append(f"not compared, only in {side}: {shown}{more}")
    parted, worst = found.parted, found.worst
    if parted is not None and parted.first is not None:
        first = parted.first
        y, x, channel = first.position
        lines.append(
            f"they part in {_name(parted)} ({parted.layer.operator}): input {first.item}, "
            f"y {y}, x {x}, channel {channel}: {first.a} in A, {first.b} in B"
        )
        lines.append(
            f"{count(parted.differing)} of its {count(parted.elements)} elements in {items} "
            f"differ, by up to {parted.most:.0f}"
        )
        if not parted.same_steps:
            lines.append(f"quantized with {_steps(parted.layer)} in A, {_steps(parted.other)} in B")
    elif found.exact:
        elements = count(sum(layer.elements for layer in found.layers))
        layers = count(len(found.layers))
        lines.append(f"all equal: {elements} elements of {layers} layers, {items}")
    elif worst is not None:
        lines.append(f"the largest drop, {worst.drop:.1f} dB, is in {_name(worst)}; {items}")
    return lines


def _archive(found: Comparison) -> bytes:
    """An .npz file; what could not be seen is 0."""
    arrays: dict[str, Any] = {}
    for layer, (a, b) in zip(found.layers, found.shown, strict=True):
        arrays[f"a/{layer.layer.name}"] = np.ma.filled(a, 0)
        arrays[f"b/{layer.other.name}"] = np.ma.filled(b, 0)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _steps(layer: Layer) -> str:
    scale = "unknown scale" if layer.scale is None else f"scale {layer.scale:.6g}"
    return f"{scale} and zero point {layer.zero_point}"


def _print_layers(found: Comparison) -> None:
    """Every layer; the one that the sentences speak of has an arrow."""
    marked = found.parted or found.worst
    figures = ("differ>", "by up to>") if found.exact else ("dB>", "rescaled>", "drop>")
    rows = []
    for layer in found.layers:
        shape = "x".join(map(str, layer.layer.shape))
        mark = "->" if layer is marked else ""
        row = [mark, _name(layer), layer.layer.operator, shape, count(layer.elements)]
        if found.exact:
            row += [count(layer.differing), f"{layer.most:.0f}"]
        else:
            for value in (layer.decibels, layer.rescaled, layer.drop):
                row.append("" if value is None else f"{value:.1f}")
        rows.append(row)
    print_table(("", "layer", "operator", "shape>", "elements>", *figures), rows)
    if any(layer.rescaled is not None for layer in found.layers):
        print("rescaled: if every channel has a scale of its own, as after equalization")


def _name(layer: Difference) -> str:
    return stage_label((layer.layer.name,), 0)


def describe(a: Side, b: Side, found: Comparison) -> dict[str, Any]:
    """What ``--json`` holds."""
    report: dict[str, Any] = {
        "a": a.spec,
        "b": b.spec,
        "compared": "bytes" if found.exact else "decibels",
        "items": found.items,
        "equal": all(layer.differing == 0 for layer in found.layers),
        "only_a": list(found.only_a),
        "only_b": list(found.only_b),
        "layers": [_describe_layer(layer) for layer in found.layers],
    }
    if found.right is not None:
        report["right"] = list(found.right)
    if found.parted is not None:
        report["first"] = _describe_layer(found.parted)
    if found.worst is not None:
        report["largest_drop"] = _describe_layer(found.worst)
    return report


def _describe_layer(layer: Difference) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": layer.layer.name,
        "operator": layer.layer.operator,
        "shape": list(layer.layer.shape),
        "elements": layer.elements,
        "differing": layer.differing,
        "most": layer.most,
    }
    if layer.first is not None:
        first = layer.first
        entry |= {
            "item": first.item,
            "position": list(first.position),
            "values": [first.a, first.b],
        }
    for key in ("decibels", "rescaled", "drop"):
        if getattr(layer, key) is not None:
            entry[key] = getattr(layer, key)
    return entry
