# SPDX-License-Identifier: Apache-2.0
"""The work of planning is bounded: counted, since no test may depend on the machine's speed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from large_graphs import (
    branches,
    convolutions,
    detector,
    ladder,
    lookups,
    mobilenet,
    plain_detector,
    pose,
    residuals,
    tall,
)
from narrows.compiler import compile_model
from narrows.graph.qgraph import QGraph
from narrows.models import DIGITS_INT8
from narrows.planning import Effort, PlanOptions, candidates, planner, timeline
from narrows.planning.cost import plan_instructions
from narrows.planning.forms import Forms
from narrows.planning.planner import plan
from narrows.planning.schedule import Network, plan_network
from narrows.report.front import front


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often planning does what takes long, each time by the size of what it is done to."""
    found: Counter[str] = Counter()

    def count(owner: object, name: str, what: str, size: Callable[..., int]) -> None:
        real = getattr(owner, name)

        def counted(*args: object, **options: object) -> object:
            found[what] += size(*args)
            return real(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    count(candidates, "candidate", "sized", lambda *_: 1)
    count(Network, "simulate", "fired", lambda net, _: sum(s.count for s in net.stages))
    count(Network, "blocked", "fired", lambda net, *_: sum(s.count for s in net.stages))
    count(timeline, "place", "placed", lambda items, *_: len(items))
    count(planner, "place", "placed", lambda items, *_: len(items))
    count(Forms, "between", "tried", lambda _, first, besides: len(besides))
    return found


NETWORKS: dict[str, Callable[[], QGraph]] = {
    "10 residuals": lambda: residuals(10, 16),
    "20 residuals": lambda: residuals(20, 16),
    "30 lookups": lambda: lookups(30, 8),
    "240 lookups": lambda: lookups(240, 8),
    "20 convolutions": lambda: convolutions(20, 16),
    "160 convolutions": lambda: convolutions(160, 16),
    "ladder of 60": lambda: ladder(60, 8),
    "ladder of 240": lambda: ladder(240, 8),
    "ladder of 120 that add the input": lambda: ladder(120, 8, reach=0),
    "ladder of 120 with a reach of 7": lambda: ladder(120, 8, reach=7),
    "10 branches": lambda: branches(10, 16),
    "40 branches": lambda: branches(40, 16),
    "5000 rows": lambda: tall(5000),
    "20000 rows": lambda: tall(20000),
    "mobilenet": lambda: mobilenet(96, 0.35),
    "pose": lambda: pose(96),
    "detector": lambda: detector(96),
    "plain detector": lambda: plain_detector(96),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_work_grows_with_operators_and_firings(name: str, counts: Counter[str]) -> None:
    """Small networks and large ones of each kind, within the same bounds."""
    graph = NETWORKS[name]()
    found = plan(graph)
    firings = sum(stage.count for stage in plan_network(graph, found).stages)
    operators = len(graph.ops)
    assert counts["sized"] <= 25 * operators
    assert counts["tried"] <= 200 * operators
    assert counts["placed"] <= 2500 * operators
    assert counts["fired"] <= 1500 * firings


def test_equal_operators_are_sized_once(counts: Counter[str]) -> None:
    plan(lookups(5, 8))
    few = counts["sized"]
    counts.clear()
    plan(lookups(50, 8))
    assert counts["sized"] == few > 0


@pytest.mark.parametrize("reach", [2, 5])
def test_long_ladders_hold_what_they_read_again(reach: int) -> None:
    """And long chains what short ones do: they are more of the same cascades."""
    tensor = 8 * 8 * 4
    assert plan(ladder(100, 8, reach=reach)).arena_total <= (reach + 1) * tensor
    short, long = (plan(convolutions(count, 16)).arena_total for count in (20, 60))
    assert long <= short * 1.2


@pytest.mark.parametrize("make", [lambda: residuals(8, 16), lambda: convolutions(40, 16)])
def test_effort(make: Callable[[], QGraph], counts: Counter[str]) -> None:
    """Fast is less work; best is at least as good, for the least RAM and within a budget."""
    graph = make()
    found, work = {}, {}
    for effort in Effort:
        counts.clear()
        found[effort] = plan(graph, PlanOptions(effort=effort))
        work[effort] = counts["fired"] + counts["placed"]
    assert work[Effort.FAST] < 0.7 * work[Effort.NORMAL]
    assert found[Effort.BEST].arena_total <= found[Effort.NORMAL].arena_total
    assert found[Effort.FAST].arena_total <= 1.2 * found[Effort.NORMAL].arena_total
    ram = found[Effort.NORMAL].arena_total
    costs = {
        effort: plan_instructions(graph, plan(graph, PlanOptions(ram=ram, effort=effort)))
        for effort in (Effort.NORMAL, Effort.BEST)
    }
    assert costs[Effort.BEST] <= costs[Effort.NORMAL]


def test_a_budget_is_kept_with_every_effort() -> None:
    graph = residuals(4, 16)
    ram = plan(graph).arena_total
    for effort in Effort:
        assert plan(graph, PlanOptions(ram=ram, effort=effort)).arena_total <= ram


def ascends(steps: list[float]) -> bool:
    return all(a < b for a, b in pairwise(steps))


def test_progress_of_planning() -> None:
    seen: list[float] = []
    plan(residuals(6, 16), progress=seen.append)
    assert ascends(seen)
    assert len(seen) > 50
    assert 0 < seen[0] < 0.05
    assert seen[-1] == 1.0
    assert max(b - a for a, b in pairwise(seen)) < 0.3


def test_progress_of_compiling_and_of_the_front() -> None:
    """The bar moves within the phase, and never goes back."""
    seen: list[tuple[str, float]] = []
    compile_model(DIGITS_INT8, progress=lambda what, done: seen.append((what, done)))
    planning = [done for what, done in seen if what == "plan"]
    assert len(planning) > 20
    assert (planning[0], planning[-1]) == (0.2, 0.8)
    assert ascends(planning)
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    seen.clear()
    front([residuals(2, 16)], PlanOptions(), lambda what, done: seen.append((what, done)))
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    assert len({done for what, done in seen if what == "plan"}) > 20
    assert len({done for what, done in seen if what == "front"}) > 10
