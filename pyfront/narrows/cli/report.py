# SPDX-License-Identifier: Apache-2.0
"""``narrows report``: one page about a network and its plan."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from narrows import budget
from narrows.api.planning import plan_options
from narrows.blob import is_blob, parse_blob
from narrows.boards import load_board
from narrows.cli.compare import side_files
from narrows.cli.compile import add_effort, add_target
from narrows.cli.console import count, part, progress_bar
from narrows.cli.jobs import add_jobs
from narrows.cli.places import add_input, add_output
from narrows.cli.plan import network_files, read_network
from narrows.compare import Comparison, compare
from narrows.data import dataset_files, load_dataset
from narrows.errors import UsageError
from narrows.files import read_file
from narrows.importers import model_files
from narrows.quantization.arrangements import arrangements
from narrows.report.front import front
from narrows.report.page import report_page
from narrows.report.plans import Names, blob_json, front_json
from narrows.report.quality import comparison_json
from narrows.result import Progress
from narrows.sides import Side, open_side

_HELP = """\
The page is one file that needs nothing else, and shows

  memory plans      the Pareto front: RAM against MACs or instructions; a click shows a plan
  the arena         which tensor stands where, firing by firing, which of its rows live, and
                    what makes the peak
  the network       its stages in order, with shapes, and which operators are fused
  cost by stage     predicted instructions, beside those of layer by layer execution
  quantization      with --float: each layer's ratio of signal to quantization noise
  layer by layer    with --against: each layer beside that of another side, as 'narrows compare'
                    has it

A blob holds one plan, so its page has no front, and its costs are MACs.

for example

  narrows report model_int8.tflite -o report.html
  narrows report model_int8.tflite --float model.tflite --data pictures/ -o report.html
  narrows report model.nrw --against model.nrw@qemu:mps2-an386 --data digits.npz -o report.html"""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="write a page about a network and its plan",
        description="Write one self-contained page about a network and its plan.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_input(
        parser,
        "model",
        files=network_files,
        metavar="MODEL",
        help="int8 .tflite or .onnx file, a blob, or a network of the zoo, as plan takes it",
    )
    add_output(parser, "-o", "--output", metavar="FILE.html", required=True)
    parser.add_argument("--ram", metavar="SIZE", help="RAM for the run in all, such as 64K")
    add_target(parser)
    add_effort(parser)
    add_input(
        parser,
        "--float",
        files=model_files,
        metavar="FLOATMODEL",
        help="the float .tflite or .onnx file that the model was quantized from; needs --data",
    )
    add_input(
        parser,
        "--against",
        files=side_files,
        metavar="SIDE",
        help="MODEL or MODEL@PLACE to compare with, as compare takes it; needs --data",
    )
    add_input(
        parser,
        "--data",
        files=dataset_files,
        metavar="DATA",
        help="inputs, as check takes them; classes need not be known",
    )
    parser.add_argument(
        "--count", type=int, default=8, metavar="N", help="use the first N items (8)"
    )
    add_jobs(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Plan, compare what is asked for, write."""
    _check(arguments)
    names = Names()
    with progress_bar() as bar:
        title, parts = _plans(arguments, names, part(bar, 0, 2))
        if arguments.float is not None:
            sides = arguments.float, _in_integers(arguments.model)
            parts["quality"] = _compared(arguments, sides, names, part(bar, 1, 2))
        if arguments.against is not None:
            sides = arguments.model, arguments.against
            parts["comparison"] = _compared(arguments, sides, names, part(bar, 1, 2))
    page = report_page(title, names, parts)
    if arguments.outputs.write("output", page):
        print(f"{arguments.output}: {count(len(page.encode()))} B")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Raises: UsageError: options that do not go together."""
    if arguments.count < 1:
        raise UsageError(f"--count {arguments.count}: give 1 or more")
    asked = [name for name in ("float", "against") if getattr(arguments, name) is not None]
    if asked and arguments.data is None:
        raise UsageError(f"--{asked[0]} needs --data: inputs to run both networks on")
    if arguments.data is not None and not asked:
        raise UsageError("--data is for --float or --against; give one of them")
    if asked and not list(network_files(arguments.model)):
        raise UsageError(f"--{asked[0]}: {arguments.model} is not trained, so nothing is like it")
    if _is_blob(arguments.model):
        given = [name for name in ("ram", "board", "layout") if getattr(arguments, name)]
        if given:
            raise UsageError(
                f"--{given[0]}: {arguments.model} is a blob, which has its plan; give the model"
            )


def _is_blob(path: str) -> bool:
    return any(is_blob(file, read_file(file, "model")) for file in network_files(path))


def _in_integers(path: str) -> str:
    """The side of a model whose every layer can be seen without another runtime."""
    return path if _is_blob(path) else f"{path}@numpy"


def _plans(
    arguments: argparse.Namespace, names: Names, progress: Progress
) -> tuple[str, dict[str, Any]]:
    """The title, and the part of the page that every network has."""
    path = arguments.model
    if _is_blob(path):
        blob = parse_blob(read_file(path, "blob"), path)
        lines = [("blob", Path(path).name), ("size", f"{count(len(blob.data))} B")]
        return blob.name, {"lines": lines, "front": blob_json(blob, names)}
    board = None if arguments.board is None else load_board(arguments.board)
    options = plan_options(arguments.ram, board, arguments.layout, arguments.effort)
    found = front(arrangements(read_network(path)), options, progress)
    lines = [("model", Path(path).name), ("weights", f"{options.layout.name.lower()} layout")]
    if board is not None:
        lines.append(("board", board.name))
    if arguments.ram is not None:
        lines.append(("budget", arguments.ram))
    title = found.choices[found.chosen].graph.name

    def seconds(instructions: float) -> float | None:
        return budget.predicted_seconds(instructions, board, options.layout)

    parts = {"lines": lines, "front": front_json(found, options, names, seconds)}
    return title, parts if seconds(0.0) is None else {**parts, "clock": budget.clock(board)}


def _compared(
    arguments: argparse.Namespace, specs: Iterable[str], names: Names, progress: Progress
) -> dict[str, Any]:
    with contextlib.ExitStack() as resources:
        a, b = (
            open_side(spec, resources, part(progress, i, 3), arguments.jobs)
            for i, spec in enumerate(specs)
        )
        found = _compare(arguments, a, b, part(progress, 2, 3))
    return comparison_json(a, b, found, names)


def _compare(arguments: argparse.Namespace, a: Side, b: Side, progress: Progress) -> Comparison:
    data = load_dataset(Path(arguments.data), a.labels or b.labels)
    return compare(a, b, data, arguments.count, progress)
