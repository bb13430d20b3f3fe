# SPDX-License-Identifier: Apache-2.0
"""``narrows compile``: a model file becomes a blob."""

from __future__ import annotations

import argparse
from typing import Any

from narrows import budget
from narrows.api.compiling import Blob, compile
from narrows.api.model import Model
from narrows.boards import load_board
from narrows.cli.console import arena, count, progress_bar, warn
from narrows.cli.metadata import add_metadata, parse_metadata
from narrows.cli.places import add_input, add_json, add_output
from narrows.cli.shapes import add_input_shapes, parse_input_shapes
from narrows.errors import UsageError
from narrows.importers import model_files
from narrows.native import Layout
from narrows.planning import Effort


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "compile", help="compile an int8 .tflite model to a blob"
    )
    add_input(parser, "model", files=model_files, metavar="MODEL", help="int8 .tflite file")
    add_output(parser, "-o", "--output", metavar="BLOB", required=True)
    parser.add_argument("--ram", metavar="SIZE", help="RAM for the run in all, such as 64K")
    add_target(parser)
    parser.add_argument(
        "--slice", type=int, metavar="N", help="channels of a bottleneck computed at a time"
    )
    parser.add_argument(
        "--stream",
        type=int,
        metavar="ROWS",
        help="for a network over time whose windows overlap: take as many new rows of the input in "
        "each inference, and compute nothing twice",
    )
    add_effort(parser)
    add_input_shapes(parser)
    add_metadata(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compile; print and write the figures."""
    if arguments.slice is not None and arguments.slice < 1:
        raise UsageError(f"--slice {arguments.slice}: give 1 or more")
    model = Model(arguments.model, input_shapes=parse_input_shapes(arguments))
    with progress_bar() as progress:
        blob = compile(
            model,
            ram=arguments.ram,
            board=arguments.board,
            layout=arguments.layout,
            slice=arguments.slice,
            stream=arguments.stream,
            effort=arguments.effort,
            progress=progress,
            **parse_metadata(arguments),
        )
    warn(arguments.model, blob.warnings)
    written = arguments.outputs.write("output", blob.data)
    arguments.outputs.write_json(blob.figures)
    if written:
        _print(arguments, blob)
    return 0


def _print(arguments: argparse.Namespace, blob: Blob) -> None:
    report = blob.figures
    pixels = ", ".join(map(str, report.get("input_strips", ())))
    print(
        f"{arguments.output}: {count(len(blob.data))} B, {arena(blob.arena_by_memory)}, "
        f"RAM {count(blob.ram_bytes)} B, {blob.macs / 1e6:.2f} M MACs "
        f"(x{report['mac_factor']:.2f}){f', input by {pixels} pixels' if pixels else ''}"
    )
    left_out = report["left_out_macs"]
    if left_out > 0:
        once = round(report["macs"] / report["mac_factor"])
        share = left_out / (left_out + once)
        print(f"left out: {share:.1%} of the model's MACs, of channels without any effect")
    if stream := report.get("stream"):
        print(
            f"a stream: {stream['rows']} of {stream['window']} rows are new in each inference, "
            f"the window is full after {stream['fills']}; whole windows would take "
            f"{stream['window_macs'] / 1e6:.2f} M MACs and RAM {stream['window_ram_bytes']:,} B"
        )
    if "milliseconds" in report["predicted"]:
        clock = budget.clock(load_board(arguments.board))
        print(f"about {report['predicted']['milliseconds']:.1f} ms {clock}")


def add_target(parser: argparse.ArgumentParser) -> None:
    """The options ``--board`` and ``--layout``."""
    add_input(parser, "--board", metavar="NAME", help="board to fit; see 'narrows boards'")
    parser.add_argument(
        "--layout",
        choices=[layout.name.lower() for layout in Layout],
        help="order of the weights (default: the board's, else plain)",
    )


def add_effort(parser: argparse.ArgumentParser) -> None:
    """The option ``--effort``."""
    parser.add_argument(
        "--effort",
        choices=[effort.value for effort in Effort],
        default=Effort.NORMAL.value,
        help="how long to look for a better plan (default: %(default)s)",
    )
