# SPDX-License-Identifier: Apache-2.0
"""The front of memory plans: RAM against instructions, with the plan that compile takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from narrows.graph.qgraph import QGraph
from narrows.planning.cost import plan_instructions
from narrows.planning.plan import Plan
from narrows.planning.planner import PlanOptions, plan_best, plan_front
from narrows.planning.ram import ram_bytes
from narrows.result import Progress, no_progress

# The share of the work that the plan that is taken takes, beside the front.
_CHOSEN_SHARE = 0.5
# When the first point of the front is there.
_BEGUN_SHARE = 0.65
# The share of the instructions that more RAM must save to be worth a line.
_WORTHWHILE = 0.001
# The front is expected to end at this share of the plan that is taken.
_EXPECTED_END = 0.4


@dataclass(frozen=True, eq=False)
class Choice:
    """A plan to choose. graph: the arrangement of the network that it is for; ram_bytes: all that
    it needs, as compile counts it; instructions: predicted, of one inference."""

    graph: QGraph
    plan: Plan
    ram_bytes: int
    instructions: float


@dataclass(frozen=True, eq=False)
class Front:
    """choices: the cheapest first, then ever less RAM; chosen: index of the one that compile
    takes, which may need more of both than another."""

    choices: tuple[Choice, ...]
    chosen: int

    @property
    def larger(self) -> Choice | None:
        """The neighbour that is cheaper than the chosen plan."""
        return self.choices[self.chosen - 1] if self.chosen > 0 else None

    @property
    def smaller(self) -> Choice | None:
        """The neighbour with less RAM than the chosen plan."""
        after = self.choices[self.chosen + 1 :]
        return after[0] if after else None


def front(
    graphs: Sequence[QGraph], options: PlanOptions, progress: Progress = no_progress
) -> Front:
    """Plan a network in every way.

    Args:
        graphs: its arrangements.
        options: as compile takes them; the budget is for all RAM.

    Raises: PlanError: the budget cannot be kept.
    """
    progress("plan", 0.0)
    graph, taken = plan_best(
        graphs,
        replace(options, all_ram=True),
        lambda done: progress("plan", _CHOSEN_SHARE * done),
    )
    chosen = choice(graph, taken)
    found: list[Choice] = []

    def begin(done: float) -> None:
        if not found:
            progress("front", _CHOSEN_SHARE + (_BEGUN_SHARE - _CHOSEN_SHARE) * done)

    for graph, point in ((g, p) for g in graphs for p in plan_front(g, options, begin)):
        found.append(choice(graph, point.plan))
        end = _EXPECTED_END * chosen.plan.arena_total
        first, now = found[0].plan.arena_total, min(c.plan.arena_total for c in found)
        done = math.log(first / now) / math.log(max(2.0, first / end))
        progress("front", _BEGUN_SHARE + (1 - _BEGUN_SHARE) * min(done, 1.0))
    kept = undominated([chosen, *found])
    if chosen not in kept:
        kept = sorted([*kept, chosen], key=lambda c: -c.ram_bytes)
    progress("done", 1.0)
    return Front(tuple(kept), kept.index(chosen))


def choice(graph: QGraph, planned: Plan) -> Choice:
    """A plan and what it takes."""
    return Choice(graph, planned, ram_bytes(graph, planned), plan_instructions(graph, planned))


def undominated(found: Sequence[Choice]) -> list[Choice]:
    """Those for which no other has neither more RAM nor, by as much as is worth RAM, more
    instructions, the cheapest first."""
    kept: list[Choice] = []
    for c in sorted(found, key=lambda c: (c.ram_bytes, c.instructions)):
        if not kept or c.instructions < (1 - _WORTHWHILE) * kept[-1].instructions:
            kept.append(c)
    return kept[::-1]
