# SPDX-License-Identifier: Apache-2.0
"""``narrows check``: a blob over a whole data set: accuracy, and the same bits everywhere."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from narrows.blob import read_blob
from narrows.checking import (
    ALL,
    TOP,
    Check,
    Verdict,
    check,
    host_reference,
    parse_targets,
    tflm_reference,
)
from narrows.cli.console import count, print_table, progress_bar, warn
from narrows.cli.jobs import add_jobs
from narrows.cli.places import add_input, add_json, add_output
from narrows.data import dataset_files, load_dataset
from narrows.errors import UsageError
from narrows.report.checks import check_json, junit

_EPILOG = """\
The data set is shared out: each item is run once, by whichever target is free. With --each, and
with --target all, every target runs every item. A board that is lost is reported; what it has not
finished goes to the others. The exit code is 1 if outputs differ, or if not everything was run.

TARGET is one of
  host             this computer (the default)
  qemu:BOARD       a board in QEMU; qemu:BOARD*4 is four of them
  serial:PORT      a board behind a serial port
  labgrid:PLACE    a board of a farm that labgrid manages (LG_COORDINATOR says where)
  all              host and every board in QEMU
"""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "check",
        help="accuracy on a data set, and bit-exactness against a reference",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
        action="append",
        metavar="TARGET",
        help="where to run, see below; may be given several times",
    )
    parser.add_argument(
        "--each", action="store_true", help="run every item on every target, not just on one"
    )
    parser.add_argument(
        "--reference", choices=("tflm", "host"), help="what every output must equal (host)"
    )
    add_input(parser, "--model", metavar="MODEL", help="the .tflite, for --reference tflm")
    add_jobs(parser)
    add_output(parser, "--junit", metavar="FILE", help="write the result as JUnit XML")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check every target. Returns 1 if one disagrees with the reference, or items were not run."""
    if arguments.reference == "tflm" and arguments.model is None:
        raise UsageError("--reference tflm needs --model MODEL, the .tflite of the blob")
    targets = arguments.target or ["host"]
    specs = parse_targets(targets)
    blob = read_blob(arguments.blob)
    dataset = load_dataset(Path(arguments.data), blob.labels)
    if arguments.reference == "tflm":
        reference = tflm_reference(blob, arguments.model, arguments.jobs)
    else:
        reference = host_reference(blob, arguments.jobs)
    each = arguments.each or any(text.partition("*")[0] == ALL for text in targets)
    with progress_bar() as progress:
        found = check(
            blob, dataset, specs, reference, each=each, jobs=arguments.jobs, progress=progress
        )
    _print(found)
    failures = _failures(found)
    if found.missing:
        arguments.outputs.failures.extend(failures)
        if found.total.items:
            arguments.outputs.failures.append(f"{count(found.missing)} inferences were not made")
    else:
        for failure in failures:
            warn(blob.name, [f"{failure}; all items were run all the same"])
    arguments.outputs.write("junit", junit(found))
    arguments.outputs.write_json(check_json(found))
    return 0 if found.agree and not found.missing else 1


def _print(found: Check) -> None:
    """What was done, if anything."""
    if found.total.items == 0:
        return
    rows = list(found.verdicts)
    where = f"on {rows[0].name}"
    if len(rows) > 1:
        where = f"{'each on every one of' if found.each else 'shared out over'} {len(rows)} targets"
        rows.append(found.total)
    print(f"{count(found.items)} inputs, {where}\n")
    columns = _columns(found)
    print_table(
        [heading for heading, _ in columns],
        [[cell(verdict) for _, cell in columns] for verdict in rows],
    )
    print("\nitems/s: of wall time, link and emulation included; RAM: bytes, the most at any time")
    if found.total.differing == ():
        print(f"all equal {found.reference}")
    for verdict in found.verdicts:
        if verdict.differing:
            print(
                f"{verdict.name}: {count(len(verdict.differing))} DIFFER from "
                f"{found.reference}, the first is number {verdict.differing[0]}"
            )


def _columns(found: Check) -> list[tuple[str, Callable[[Verdict], str]]]:
    """Headings and what stands below them; a figure that no target has is no column."""
    total = found.total
    columns: list[tuple[str, Callable[[Verdict], str]]] = [
        ("target", lambda v: v.name),
        ("items>", lambda v: count(v.items)),
    ]
    if total.differing is not None:
        columns.append((f"equal {found.reference}>", _equal))
    if total.correct is not None:
        columns.append(("top 1>", lambda v: _share(v.correct, v.items)))
    if total.top5 is not None:
        columns.append((f"top {TOP}>", lambda v: _share(v.top5, v.items)))
    columns.append(("one inference (median)>", _latency))
    columns.append(
        ("items/s>", lambda v: "" if v.items_per_second is None else f"{v.items_per_second:.1f}")
    )
    columns.append(
        (
            "RAM>",
            lambda v: "" if v.ram_high_water_bytes is None else count(v.ram_high_water_bytes),
        )
    )
    return columns


def _equal(verdict: Verdict) -> str:
    differing = verdict.differing
    return "" if differing is None else count(verdict.compared - len(differing))


def _share(some: int | None, items: int) -> str:
    return "" if some is None else f"{some / items:.2%}"


def _latency(verdict: Verdict) -> str:
    """QEMU counts instructions; its time is not a board's."""
    parts = []
    if verdict.instructions is not None:
        parts.append(f"{verdict.instructions / 1e6:.2f} M instructions")
    if verdict.seconds is not None:
        parts.append(f"{verdict.seconds * 1e3:.2f} ms")
    return " / ".join(parts)


def _failures(found: Check) -> list[str]:
    """A line for each target that did not finish."""
    lines = []
    for verdict in found.verdicts:
        if verdict.failure is not None:
            reason = verdict.failure.removeprefix(f"{verdict.spec}: ")
            after = f" (after {count(verdict.items)} items)" * (verdict.items > 0)
            lines.append(f"{verdict.name}: {reason}{after}")
    return lines
