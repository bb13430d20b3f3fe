# SPDX-License-Identifier: Apache-2.0
"""``narrows compile``: a model file becomes a blob."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from narrows import budget
from narrows.blob import parse_blob
from narrows.boards import Board, load_board
from narrows.cli.console import arena, count, progress_bar, warn
from narrows.cli.metadata import add_metadata, parse_metadata
from narrows.cli.places import add_input, add_json, add_output
from narrows.cli.shapes import add_input_shapes, parse_input_shapes
from narrows.compiler import CompileOptions, compile_model
from narrows.errors import PlanError, UsageError
from narrows.importers import model_files
from narrows.native import Layout
from narrows.planning import Effort, PlanOptions, Tiling


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
    board = None if arguments.board is None else load_board(arguments.board)
    options = plan_options(arguments, board)
    if arguments.slice is not None:
        options = replace(options, tiling=Tiling(slice=arguments.slice))
    with progress_bar() as progress:
        shapes = parse_input_shapes(arguments)
        chosen = CompileOptions(options, parse_metadata(arguments), arguments.stream, shapes)
        compiled = compile_model(arguments.model, chosen, progress)
    warn(arguments.model, compiled.report.get("warnings", ()))
    parse_blob(compiled.blob, arguments.model)  # what its readers refuse is not written
    if board is not None and len(compiled.blob) > board.models.room:
        raise PlanError(
            f"{arguments.model}: the blob has {count(len(compiled.blob))} B, but board "
            f"{board.name} has room for {count(board.models.room)} B; take a smaller model"
        )
    predicted = compiled.report["predicted"]
    seconds = budget.predicted_seconds(
        predicted["instructions"], board, Layout(compiled.plan.layout)
    )
    if seconds is not None:
        predicted["milliseconds"] = 1e3 * seconds
    written = arguments.outputs.write("output", compiled.blob)
    arguments.outputs.write_json(compiled.report)
    plan, ram_bytes = compiled.plan, compiled.report["ram_bytes"]
    pixels = ", ".join(map(str, plan.input_strips))
    if written:
        print(
            f"{arguments.output}: {count(len(compiled.blob))} B, {arena(plan.arena_bytes)}, "
            f"RAM {ram_bytes:,} B, {plan.macs / 1e6:.2f} M MACs (x{plan.mac_factor:.2f})"
            f"{f', input by {pixels} pixels' if pixels else ''}"
        )
        left_out = compiled.report["left_out_macs"]
        if left_out > 0:
            share = left_out / (left_out + plan.macs_once)
            print(f"left out: {share:.1%} of the model's MACs, of channels without any effect")
        if stream := compiled.report.get("stream"):
            print(
                f"a stream: {stream['rows']} of {stream['window']} rows are new in each inference, "
                f"the window is full after {stream['fills']}; whole windows would take "
                f"{stream['window_macs'] / 1e6:.2f} M MACs and RAM {stream['window_ram_bytes']:,} B"
            )
        if seconds is not None:
            print(f"about {1e3 * seconds:.1f} ms {budget.clock(board)}")
    return 0


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


def plan_options(arguments: argparse.Namespace, board: Board | None) -> PlanOptions:
    """What the options of a target, of RAM and of effort ask for."""
    layout = None if arguments.layout is None else Layout[arguments.layout.upper()]
    return budget.plan_options(arguments.ram, board, layout, Effort(arguments.effort))
