# SPDX-License-Identifier: Apache-2.0
"""``narrows run``: one inference of a blob, on the host or on boards."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from narrows.api.results import Profile, Result, infer, read_sequence
from narrows.blob import Blob, read_blob
from narrows.cli.console import count, part, print_table, progress_bar, stage_label
from narrows.cli.findings import Findings, check_drawing, look
from narrows.cli.places import add_input, add_json, add_output
from narrows.data import load_labels
from narrows.errors import InputError, UsageError
from narrows.graph.edges import Array
from narrows.targets import GIVE, open_target, runnable_targets


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "run", help="run a blob on a picture or an array"
    )
    add_input(parser, "blob", metavar="BLOB")
    add_input(
        parser,
        "--input",
        metavar="FILE",
        action="append",
        required=True,
        help=".npy (the model's own type, or floats) or a picture; once per input of the model; "
        "of a network that goes on, a sequence",
    )
    parser.add_argument(
        "--target",
        default="host",
        metavar="TARGET",
        help=f"{GIVE}, or all: host (the default) and every emulated board",
    )
    add_output(
        parser, "--output", metavar="FILE", help="write the output as .npy, or all outputs as .npz"
    )
    add_output(
        parser,
        "--draw",
        metavar="PICTURE",
        help="draw on the input what the model has found: boxes of a detector, or a mask",
    )
    parser.add_argument(
        "--top", type=int, default=5, metavar="N", help="print the N best classes (5)"
    )
    add_input(parser, "--labels", metavar="FILE", help="class names, one per line")
    parser.add_argument("--profile", action="store_true", help="cost of each stage")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run once per target; print and write the figures. Returns 1 if targets disagree."""
    if arguments.top < 1:
        raise UsageError(f"--top {arguments.top}: give 1 or more")
    blob = read_blob(arguments.blob)
    if arguments.output and len(blob.outputs) > 1 and not _is_archive(arguments.output):
        raise UsageError(
            f"{arguments.output}: {blob.name} has {len(blob.outputs)} outputs; give an .npz file"
        )
    if arguments.draw is not None:
        check_drawing(blob, arguments.draw, arguments.input)
    labels = blob.labels if arguments.labels is None else load_labels(arguments.labels)
    sequence = load_inputs(blob, arguments.input)
    specs = runnable_targets() if arguments.target == "all" else (arguments.target,)
    reports: list[dict[str, Any]] = []
    for index, spec in enumerate(specs):
        with progress_bar() as bar:
            progress = part(bar, index, len(specs))
            with open_target(spec, blob.data, progress, blob.signature) as target:
                result = infer(blob, target, sequence, arguments.profile, progress)
        report = describe(blob, spec, result, labels, arguments.top)
        found = look(blob, result.last, labels, arguments.input[0])
        if found is not None:
            report |= found.report
        if blob.goes_on:
            report["inferences"] = result.inferences
        if not reports:
            _print_answer(report, found, arguments.top)
            if found is not None and arguments.draw is not None:
                arguments.outputs.write("draw", found.drawn(arguments.draw))
            if arguments.output is not None:
                arguments.outputs.write("output", pack_outputs(arguments.output, result.outputs))
        reports.append(report)
        print(_figures(report))
        if arguments.profile:
            _print_profile(result.profile)
    agree = len({report["output_sha256"] for report in reports}) == 1
    summary = dict(reports[0])
    if len(reports) > 1:
        print("all targets agree" if agree else "the targets DISAGREE")
        summary |= {"agree": agree, "targets": reports}
    arguments.outputs.write_json(summary)
    return 0 if agree else 1


def _print_answer(report: dict[str, Any], found: Findings | None, top: int) -> None:
    lines = [f"{best['score']:10.6g}  {best['label']}" for best in report["top"]]
    print("\n".join(lines if found is None else found.lines(top)))


def load_inputs(blob: Blob, files: Sequence[str]) -> list[list[Array]]:
    """For each inference an int8 array per input, as the runtime takes it. Raises: InputError."""
    if len(files) != len(blob.inputs):
        names = ", ".join(edge.name for edge in blob.inputs)
        raise InputError(
            f"{blob.name} has {len(blob.inputs)} input(s) ({names}), not {len(files)}; "
            "give --input once for each, in this order"
        )
    return read_sequence(blob, [Path(file) for file in files])


def describe(
    blob: Blob, spec: str, result: Result, labels: Sequence[str], top: int
) -> dict[str, Any]:
    """What ``--json`` holds for one target."""
    report: dict[str, Any] = {
        "model": blob.name,
        "target": spec,
        "output_sha256": result.sha256,
        "outputs": [
            {"name": edge.name, "dtype": edge.dtype, "shape": list(values.shape)}
            for edge, values in zip(blob.outputs, result.outputs, strict=True)
        ],
        "arena_bytes": result.arena_bytes,
        "ram_high_water_bytes": result.ram_high_water_bytes,
        "stack_bytes": result.stack_bytes,
    }
    if result.instructions is not None:
        report["instructions"] = result.instructions
    if result.seconds is not None:
        report["seconds"] = result.seconds
    report["top"] = [asdict(score) for score in result.top(top, labels)]
    if result.profile.stages:
        report["profile"] = [
            {"stage": entry.stage, "op": entry.operator, "cost": entry.cost}
            for entry in result.profile.stages
        ]
    return report


def pack_outputs(path: str, outputs: Sequence[Array]) -> bytes:
    """The file: one output as .npy, all as .npz (arr_0, arr_1 and so on)."""
    buffer = io.BytesIO()
    if _is_archive(path):
        np.savez(buffer, *outputs)
    else:
        np.save(buffer, outputs[0])
    return buffer.getvalue()


def _is_archive(path: str) -> bool:
    return Path(path).suffix.lower() == ".npz"


def _figures(report: dict[str, Any]) -> str:
    parts = [f"{report['target']}:"]
    if report.get("inferences", 1) > 1:
        parts.append(f"the last of {count(report['inferences'])} inferences:")
    if "instructions" in report:
        parts.append(f"{count(report['instructions'])} instructions,")
    if "seconds" in report:
        parts.append(f"{report['seconds'] * 1e3:.2f} ms,")
    parts.append(
        f"arena {count(report['arena_bytes'])} B, RAM {count(report['ram_high_water_bytes'])} B "
        f"(stack {count(report['stack_bytes'])} B)"
    )
    return " ".join(parts)


def _print_profile(profile: Profile) -> None:
    whole = profile.total or 1.0
    counted = profile.unit == "instructions"
    print_table(
        ("stage>", "operator", "what", "instructions>" if counted else "ms>", "share>"),
        (
            (
                entry.stage,
                entry.operator,
                stage_label((entry.name,), 0),
                count(int(entry.cost)) if counted else f"{entry.cost * 1e3:.3f}",
                f"{entry.cost / whole:.1%}",
            )
            for entry in profile.stages
        ),
    )
