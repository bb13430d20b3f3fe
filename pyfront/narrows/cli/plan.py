# SPDX-License-Identifier: Apache-2.0
"""``narrows plan``: every memory plan worth having, and what makes the RAM."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from narrows import budget, zoo
from narrows.boards import Board, load_board
from narrows.cli.compile import add_effort, add_target, plan_options
from narrows.cli.console import count, print_table, progress_bar, warn
from narrows.cli.places import add_input, add_json, add_output
from narrows.cli.zoo import parse_network
from narrows.graph.qgraph import QGraph
from narrows.importers import load, model_files
from narrows.planning.occupancy import occupancy
from narrows.planning.planner import OVERHEAD
from narrows.quantization.arrangements import arrangements
from narrows.quantization.dead_channels import without_dead_channels
from narrows.quantization.lower import lower
from narrows.report.explain import Explanation, Step, explain
from narrows.report.front import Choice, Front, front
from narrows.report.plots import plot_arena, plot_front, require_plots

_ZOO = "zoo:"
_NONE_SMALLER = (
    "Smaller plans, if any, cost more than their MACs explain, by over "
    f"{OVERHEAD - 1:.0%} of portable kernels: "
    "--ram takes one."
)


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "plan", help="show all memory plans: RAM against instructions"
    )
    add_input(
        parser,
        "model",
        files=network_files,
        metavar="MODEL",
        help="int8 .tflite or .onnx file, or a network of the zoo: zoo:mobilenet_v2,width=0.35",
    )
    parser.add_argument("--ram", metavar="SIZE", help="RAM for the run in all, such as 64K")
    add_target(parser)
    add_effort(parser)
    parser.add_argument("--explain", action="store_true", help="say what makes the RAM")
    add_output(parser, "--plot", metavar="FILE.png", help="draw RAM against instructions")
    add_output(parser, "--arena", metavar="FILE.png", help="draw the arena, firing by firing")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the table; explain, draw and write what is asked for."""
    if arguments.plot or arguments.arena:
        require_plots()
    board = None if arguments.board is None else load_board(arguments.board)
    options = plan_options(arguments, board)
    with progress_bar() as progress:
        found = front(arrangements(read_network(arguments.model)), options, progress)
    chosen = found.choices[found.chosen]
    graph = chosen.graph
    occupied = occupancy(graph, chosen.plan)
    explanation = explain(found, occupied)
    _print_front(found, board)
    if arguments.explain:
        _print_explanation(chosen, explanation)
    if arguments.plot:
        arguments.outputs.write("plot", plot_front(graph.name, found))
    if arguments.arena:
        title = f"{graph.name}: arena of {count(chosen.plan.arena_total)} B"
        arguments.outputs.write("arena", plot_arena(title, occupied, chosen.plan.arena_total))
    arguments.outputs.write_json(_report(graph.name, found, explanation, board))
    return 0


def network_files(text: str) -> Iterable[Path]:
    """What ``read_network`` reads."""
    return () if text.startswith(_ZOO) else model_files(text)


def read_network(text: str) -> QGraph:
    """A model file, or ``zoo:NAME[,OPTION=VALUE...]``: a network of which only shapes matter.

    Raises: ModelError, UsageError.
    """
    if not text.startswith(_ZOO):
        graph = load(text)
        warn(text, graph.warnings)
        return without_dead_channels(lower(graph))
    name, values = parse_network(text.removeprefix(_ZOO), text)
    return lower(zoo.shapes(name, **values))


def _figures(choice: Choice, cheapest: float, board: Board | None) -> dict[str, Any]:
    plan = choice.plan
    seconds = budget.predicted_seconds(choice.instructions, board, plan.layout)
    return {
        "arena_bytes": plan.arena_total,
        "ram_bytes": choice.ram_bytes,
        "macs": plan.macs,
        "mac_factor": plan.mac_factor,
        "max_step_macs": plan.max_step_macs,
        "instructions": round(choice.instructions),
        "relative": choice.instructions / cheapest if cheapest else 1.0,
        **({"milliseconds": 1e3 * seconds} if seconds is not None else {}),
        **({"input_strips": list(plan.input_strips)} if plan.input_strips else {}),
    }


def _report(
    name: str, found: Front, explanation: Explanation, board: Board | None
) -> dict[str, Any]:
    """What ``--json`` holds."""
    cheapest = min(c.instructions for c in found.choices)
    figures = [_figures(c, cheapest, board) for c in found.choices]
    chosen = {**figures[found.chosen], **asdict(explanation)}
    return {"name": name, "front": figures, "chosen": chosen}


def _print_front(found: Front, board: Board | None) -> None:
    cheapest = min(c.instructions for c in found.choices)
    by_parts = any(c.plan.input_strips for c in found.choices)
    rows = []
    for i, c in enumerate(found.choices):
        f = _figures(c, cheapest, board)
        pixels = ", ".join(map(str, c.plan.input_strips))
        rows.append(
            (
                "*" if i == found.chosen else "",
                count(c.plan.arena_total),
                count(c.ram_bytes),
                f"{f['mac_factor']:.3f}",
                f"{c.instructions / 1e6:.2f} M",
                f"{f['relative']:.3f}",
                *([f"{f['milliseconds']:.1f}"] if "milliseconds" in f else []),
                *([f"by {pixels} pixels" if pixels else "by rows"] if by_parts else []),
            )
        )
    timed = "milliseconds" in f
    headings = ("", "arena>", "RAM>", "MACs x>", "instructions>", "relative>")
    more = [*(["about ms>"] if timed else []), *(["input"] if by_parts else [])]
    print_table((*headings, *more), rows)
    print("\n* what compile takes; instructions are predicted")
    if timed:
        print(f"milliseconds are {budget.clock(board)}")


def _print_explanation(chosen: Choice, e: Explanation) -> None:
    arena = chosen.plan.arena_total
    print(
        f"\nArena {count(arena)} B, {100 * (arena / e.bound_bytes - 1) if arena else 0:.1f}% above "
        f"the {count(e.bound_bytes)} B that live at once\n"
        f"in firing {count(e.firing)} of {count(e.firings)}, when {e.stage} is computed:\n"
    )
    print_table(("bytes>", "", "what"), ((count(h.bytes), h.kind, h.name) for h in e.held))
    print()
    print(_words(e.larger) if e.larger else "No plan is cheaper than this.")
    print(_words(e.smaller) if e.smaller else _NONE_SMALLER)


def _words(step: Step) -> str:
    more = "more" if step.ram_bytes > 0 else "less"
    saves = "saves" if step.instructions < 0 else "costs"
    percent = 100 * abs(step.instructions)
    share = f"{percent:{'.0f' if percent >= 10 else '.2g'}}% of the instructions"
    return (
        f"{count(abs(step.ram_bytes))} B {more} RAM {saves} {share} (MACs x{step.mac_factor:.3f})."
    )
