# SPDX-License-Identifier: Apache-2.0
"""``narrows.plan``: every memory plan worth having, as objects to choose from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, overload

from narrows import budget
from narrows.api.model import Model, as_model, imported
from narrows.boards import Board, load_board
from narrows.errors import PlanError, UsageError
from narrows.graph.qgraph import QGraph
from narrows.native import Layout
from narrows.notebook import table
from narrows.planning import Effort
from narrows.planning.occupancy import occupancy
from narrows.planning.planner import PlanOptions
from narrows.quantization.arrangements import arrangements
from narrows.quantization.dead_channels import without_dead_channels
from narrows.quantization.lower import lower
from narrows.report.explain import Explanation, explain
from narrows.report.front import Choice, front
from narrows.report.front import Front as Choices
from narrows.result import Progress, no_progress

EffortName: TypeAlias = Literal["fast", "normal", "best"]
LayoutName: TypeAlias = Literal["plain", "blocked", "paired"]


@dataclass(frozen=True, eq=False)
class Plan:
    """One memory plan. Whatever it is, the network's answers are the same.

    Attributes:
        model: the network that it is for.
        ram_bytes: all RAM that a run needs: arena, state, counters and the row that the caller
            fills.
        arena_bytes: the part of it that holds tensors.
        macs: multiply-accumulates of one inference, repeats included.
        mac_factor: the same relative to computing every element once.
        max_step_macs: the most that one step of the runtime computes.
        instructions: of one inference, as the cost model predicts it.
        milliseconds: predicted for the board; None where its cycles are not known.
        input_strips: pixels of a row that each input takes at a time; () if all take whole rows.
    """

    model: Model | None
    ram_bytes: int
    arena_bytes: int
    macs: int
    mac_factor: float
    max_step_macs: int
    instructions: int
    milliseconds: float | None
    input_strips: tuple[int, ...]
    _choice: Choice

    @property
    def figures(self) -> dict[str, Any]:
        """All of them by name; those that are not known, or the usual ones, are left out."""
        names = ("arena_bytes", "ram_bytes", "macs", "mac_factor", "max_step_macs", "instructions")
        figures: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.milliseconds is not None:
            figures["milliseconds"] = self.milliseconds
        if self.input_strips:
            figures["input_strips"] = list(self.input_strips)
        return figures


class Front(Sequence[Plan]):
    """The plans of which no other has both less RAM and fewer instructions: first the one with the
    fewest instructions, then ever less RAM.

    Attributes:
        chosen: the plan that ``compile`` takes without further words, or within the RAM that was
            asked for.
    """

    def __init__(self, plans: Sequence[Plan], choices: Choices) -> None:
        self._plans = tuple(plans)
        self._choices = choices
        self.chosen = self._plans[choices.chosen]

    def best(self, ram: int | str | None = None) -> Plan:
        """The plan with the fewest instructions.

        Args:
            ram: what it may need in all, in bytes or as ``"64K"``; None: any.

        Raises:
            PlanError: none of these keeps the budget. ``compile`` with ``ram`` looks for dearer
                ones, too.
        """
        most = None if ram is None else budget.parse_size(ram)
        fitting = [p for p in self._plans if most is None or p.ram_bytes <= most]
        if not fitting:
            least = min(self._plans, key=lambda p: p.ram_bytes)
            raise PlanError(
                f"no plan of the front keeps {most:,} B; the least takes {least.ram_bytes:,} B "
                "(narrows.compile with ram= looks for dearer ones)"
            )
        return min(fitting, key=lambda p: p.instructions)

    def explain(self) -> Explanation:
        """Which tensors make the RAM of the chosen plan, and what more or less RAM would do."""
        choice = self.chosen._choice
        return explain(self._choices, occupancy(choice.graph, choice.plan))

    @overload
    def __getitem__(self, index: int) -> Plan: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Plan]: ...

    def __getitem__(self, index: int | slice) -> Plan | Sequence[Plan]:
        return self._plans[index]

    def __len__(self) -> int:
        return len(self._plans)

    def __iter__(self) -> Iterator[Plan]:
        return iter(self._plans)

    def _repr_html_(self) -> str:
        timed = self.chosen.milliseconds is not None
        rows = [
            (
                "*" if plan is self.chosen else "",
                f"{plan.ram_bytes:,}",
                f"{plan.arena_bytes:,}",
                f"{plan.mac_factor:.3f}",
                f"{plan.instructions / 1e6:.2f} M",
                *([f"{plan.milliseconds:.1f}"] if plan.milliseconds is not None else []),
            )
            for plan in self._plans
        ]
        headings = ("", "RAM>", "arena>", "MACs x>", "instructions>", *(["about ms>"] * timed))
        return table(headings, rows, "* what compile takes; instructions are predicted")


def plan(
    model: Model | str | Path,
    *,
    ram: int | str | None = None,
    board: str | None = None,
    layout: LayoutName | None = None,
    effort: EffortName = "normal",
    progress: Progress = no_progress,
) -> Front:
    """Find every memory plan worth having: RAM against predicted instructions.

    Args:
        model: an int8 network, or the path of one.
        ram: of which the front's ``chosen`` plan is the fastest within, in bytes or as ``"64K"``;
            None: it is the one with the least RAM that computes nothing twice.
        board: to fit, by its name (``narrows boards``): its memories, layout and kernels count.
        layout: order of the weights; the board's, else plain, if None.
        effort: how long to look: ``fast``, ``normal`` or ``best``.
        progress: called with what is being done and how much of all is done, 0 to 1.

    Returns:
        The plans, as a sequence; ``best`` chooses one.

    Raises:
        ModelError: the model cannot be compiled.
        PlanError: the budget cannot be kept.
        UsageError: an argument that makes no sense.
        NarrowsError: there is no such board.
    """
    model = as_model(model)
    known = None if board is None else load_board(board)
    options = plan_options(ram, known, layout, effort)
    graph = without_dead_channels(lower(imported(model)))
    try:
        return plan_network(graph, options, known, progress, model)
    except PlanError as error:
        raise PlanError(f"{model.place}: {error}") from error


def plan_network(
    graph: QGraph,
    options: PlanOptions,
    board: Board | None,
    progress: Progress = no_progress,
    model: Model | None = None,
) -> Front:
    """The front of an integer network. Raises: PlanError."""
    choices = front(arrangements(graph), options, progress)
    return Front([_plan(choice, board, model) for choice in choices.choices], choices)


def choices(front: Front) -> Choices:
    """What a front was made of, for plots."""
    return front._choices


def plan_options(
    ram: int | str | None, board: Board | None, layout: str | None, effort: str
) -> PlanOptions:
    """What is asked for. Raises: UsageError: it makes no sense."""
    layouts, efforts = [each.name.lower() for each in Layout], [each.value for each in Effort]
    if layout is not None and layout not in layouts:
        raise UsageError(f"layout {layout!r}: give one of {', '.join(layouts)}")
    if effort not in efforts:
        raise UsageError(f"effort {effort!r}: give one of {', '.join(efforts)}")
    order = None if layout is None else Layout[layout.upper()]
    return budget.plan_options(ram, board, order, Effort(effort))


def _plan(choice: Choice, board: Board | None, model: Model | None) -> Plan:
    planned = choice.plan
    seconds = budget.predicted_seconds(choice.instructions, board, planned.layout)
    return Plan(
        model=model,
        ram_bytes=choice.ram_bytes,
        arena_bytes=planned.arena_total,
        macs=planned.macs,
        mac_factor=planned.mac_factor,
        max_step_macs=planned.max_step_macs,
        instructions=round(choice.instructions),
        milliseconds=None if seconds is None else 1e3 * seconds,
        input_strips=planned.input_strips,
        _choice=choice,
    )
