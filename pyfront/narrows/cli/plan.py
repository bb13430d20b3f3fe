# SPDX-License-Identifier: Apache-2.0
"""``narrows plan``: every memory plan worth having, and what makes the RAM."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from narrows import budget, zoo
from narrows.api.planning import Front, Plan, choices, plan_network, plan_options
from narrows.boards import Board, load_board
from narrows.cli.compile import add_effort, add_target
from narrows.cli.console import count, print_table, progress_bar, warn
from narrows.cli.places import add_input, add_json, add_output
from narrows.cli.zoo import parse_network
from narrows.graph.qgraph import QGraph
from narrows.importers import load, model_files
from narrows.planning.occupancy import occupancy
from narrows.planning.planner import OVERHEAD
from narrows.quantization.dead_channels import without_dead_channels
from narrows.quantization.lower import lower
from narrows.report.explain import Explanation, Step
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
    options = plan_options(arguments.ram, board, arguments.layout, arguments.effort)
    with progress_bar() as progress:
        planned = plan_network(read_network(arguments.model), options, board, progress)
    found, explanation = choices(planned), planned.explain()
    chosen = found.choices[found.chosen]
    graph = chosen.graph
    _print_front(planned, board)
    if arguments.explain:
        _print_explanation(planned.chosen, explanation)
    if arguments.plot:
        arguments.outputs.write("plot", plot_front(graph.name, found))
    if arguments.arena:
        title = f"{graph.name}: arena of {count(chosen.plan.arena_total)} B"
        occupied = occupancy(graph, chosen.plan)
        arguments.outputs.write("arena", plot_arena(title, occupied, chosen.plan.arena_total))
    arguments.outputs.write_json(_report(graph.name, planned, explanation))
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


def _report(name: str, planned: Front, explanation: Explanation) -> dict[str, Any]:
    """What ``--json`` holds."""
    cheapest = min(plan.instructions for plan in planned)
    figures = [
        {**plan.figures, "relative": plan.instructions / cheapest if cheapest else 1.0}
        for plan in planned
    ]
    chosen = {**figures[planned.index(planned.chosen)], **asdict(explanation)}
    return {"name": name, "front": figures, "chosen": chosen}


def _print_front(planned: Front, board: Board | None) -> None:
    cheapest = min(plan.instructions for plan in planned)
    by_parts = any(plan.input_strips for plan in planned)
    timed = planned.chosen.milliseconds is not None
    rows = []
    for plan in planned:
        pixels = ", ".join(map(str, plan.input_strips))
        rows.append(
            (
                "*" if plan is planned.chosen else "",
                count(plan.arena_bytes),
                count(plan.ram_bytes),
                f"{plan.mac_factor:.3f}",
                f"{plan.instructions / 1e6:.2f} M",
                f"{plan.instructions / cheapest if cheapest else 1:.3f}",
                *([f"{plan.milliseconds:.1f}"] if plan.milliseconds is not None else []),
                *([f"by {pixels} pixels" if pixels else "by rows"] if by_parts else []),
            )
        )
    headings = ("", "arena>", "RAM>", "MACs x>", "instructions>", "relative>")
    more = [*(["about ms>"] if timed else []), *(["input"] if by_parts else [])]
    print_table((*headings, *more), rows)
    print("\n* what compile takes; instructions are predicted")
    if timed:
        print(f"milliseconds are {budget.clock(board)}")


def _print_explanation(chosen: Plan, e: Explanation) -> None:
    arena = chosen.arena_bytes
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
