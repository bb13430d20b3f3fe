# SPDX-License-Identifier: Apache-2.0
"""``narrows check``: a blob over a whole data set: accuracy, and the same bits everywhere."""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narrows.blob import Blob, read_blob
from narrows.cli.console import count, part, progress_bar
from narrows.cli.places import add_input, add_json, add_output
from narrows.data import Dataset, dataset_files, load_dataset, load_input
from narrows.errors import InputError, UsageError
from narrows.graph.edges import Array, decode, encode
from narrows.reference import Tflm
from narrows.result import Progress, Target
from narrows.targets import HostTarget, open_target, runnable_targets


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "check", help="accuracy on a data set, and bit-exactness against a reference"
    )
    add_input(parser, "blob", metavar="BLOB")
    add_input(
        parser,
        "--data",
        files=dataset_files,
        metavar="DATASET",
        required=True,
        help=".npz with x and y, .npy, a picture, or a folder of pictures: with labels.txt, or "
        "with a folder per class",
    )
    parser.add_argument(
        "--target",
        default="host",
        metavar="TARGET",
        help="host (default), qemu:BOARD, serial:PORT, or all: host and every board in QEMU",
    )
    parser.add_argument(
        "--reference", choices=("tflm", "host"), help="what every output must equal (host)"
    )
    add_input(parser, "--model", metavar="MODEL", help="the .tflite, for --reference tflm")
    add_output(parser, "--junit", metavar="FILE", help="write the result as JUnit XML")
    add_json(parser)
    parser.set_defaults(run=run)


Reference = Callable[[Array], list[Array]]
"""An input as the model takes it -> its outputs, of the model's own types."""


@dataclass(frozen=True)
class Verdict:
    """One target on the whole data set.

    correct: right classes, None without labels; differing: numbers of the items whose
    outputs are not the reference's, None if nothing was compared.
    """

    target: str
    items: int
    correct: int | None
    differing: tuple[int, ...] | None


def run(arguments: argparse.Namespace) -> int:
    """Check every target. Returns 1 if one disagrees with the reference."""
    if arguments.reference == "tflm" and arguments.model is None:
        raise UsageError("--reference tflm needs --model MODEL, the .tflite of the blob")
    blob = read_blob(arguments.blob)
    if len(blob.inputs) != 1:
        raise InputError(
            f"{blob.name} has {len(blob.inputs)} inputs; check takes networks with one"
        )
    dataset = load_dataset(Path(arguments.data), blob.labels)
    name = arguments.reference or "host"
    reference = _reference(arguments, blob)
    specs = runnable_targets() if arguments.target == "all" else (arguments.target,)
    verdicts = []
    for index, spec in enumerate(specs):
        with progress_bar() as bar:
            progress = part(bar, index, len(specs))
            with open_target(spec, blob.data, progress) as target:
                # The host compared with itself says nothing.
                other = None if (spec, name) == ("host", "host") else reference
                verdict = check_target(blob, dataset, spec, target, other, progress)
        verdicts.append(verdict)
        print(_sentence(verdict, name))
    arguments.outputs.write("junit", junit(blob, verdicts))
    agree = not any(verdict.differing for verdict in verdicts)
    arguments.outputs.write_json(
        {
            "model": blob.name,
            "reference": name,
            "agree": agree,
            "targets": [_report(verdict) for verdict in verdicts],
        },
    )
    return 0 if agree else 1


def check_target(
    blob: Blob,
    dataset: Dataset,
    spec: str,
    target: Target,
    reference: Reference | None,
    progress: Progress,
) -> Verdict:
    """Run every item on one target and on the reference, if any. Raises: NarrowsError."""
    edge = blob.inputs[0]
    differing = []
    correct = 0
    for index, item in enumerate(dataset.items):
        progress(f"checking on {spec}", index / len(dataset.items))
        values = load_input(edge, blob.preprocessing, item, dataset.name_of(index))
        result = target.infer([encode(edge, values)])
        outputs = [decode(e, v) for e, v in zip(blob.outputs, result.outputs, strict=True)]
        if reference is not None and not _same(outputs, reference(values)):
            differing.append(index)
        if dataset.labels is not None:
            correct += int(outputs[0].argmax() == dataset.labels[index])
    return Verdict(
        spec,
        len(dataset.items),
        None if dataset.labels is None else correct,
        None if reference is None else tuple(differing),
    )


def _reference(arguments: argparse.Namespace, blob: Blob) -> Reference:
    if arguments.reference == "tflm":
        tflm = Tflm(arguments.model)
        return lambda values: tflm.infer([values], len(blob.outputs))
    host = HostTarget(blob.data)
    edge = blob.inputs[0]
    return lambda values: [
        decode(e, v)
        for e, v in zip(blob.outputs, host.infer([encode(edge, values)]).outputs, strict=True)
    ]


def _same(outputs: Sequence[Array], expected: Sequence[Array]) -> bool:
    return all(
        a.dtype == b.dtype and a.tobytes() == b.tobytes()
        for a, b in zip(outputs, expected, strict=True)
    )


def _sentence(verdict: Verdict, reference: str) -> str:
    parts = [f"{verdict.target}: {count(verdict.items)} inputs"]
    if verdict.correct is not None:
        parts.append(f"{verdict.correct / verdict.items:.2%} right")
    if verdict.differing:
        parts.append(
            f"{count(len(verdict.differing))} DIFFER from {reference}, "
            f"the first is number {verdict.differing[0]}"
        )
    elif verdict.differing is not None:
        parts.append(f"all equal {reference}")
    return ", ".join(parts)


def _report(verdict: Verdict) -> dict[str, Any]:
    report: dict[str, Any] = {"target": verdict.target, "items": verdict.items}
    if verdict.differing is not None:
        report["differing"] = list(verdict.differing)
    if verdict.correct is not None:
        report["correct"] = verdict.correct
        report["accuracy"] = verdict.correct / verdict.items
    return report


def junit(blob: Blob, verdicts: Sequence[Verdict]) -> bytes:
    """One test suite per target, one test case per item."""
    suites = ET.Element("testsuites")
    for verdict in verdicts:
        differing = set(verdict.differing or ())
        suite = ET.SubElement(
            suites,
            "testsuite",
            name=f"{blob.name} on {verdict.target}",
            tests=str(verdict.items),
            failures=str(len(differing)),
        )
        for index in range(verdict.items):
            case = ET.SubElement(suite, "testcase", name=f"input {index}", classname=blob.name)
            if index in differing:
                ET.SubElement(case, "failure", message="output differs from the reference")
    return bytes(ET.tostring(suites, encoding="utf-8", xml_declaration=True))
