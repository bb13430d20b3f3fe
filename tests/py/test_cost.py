# SPDX-License-Identifier: Apache-2.0
"""The planner's cost model against instructions counted on a board, without one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import ROOT
from models import missing
from narrows import zoo
from narrows.graph.qgraph import QConv, QDepthwise
from narrows.importers import load
from narrows.native import Form, Layout
from narrows.planning import cost
from narrows.planning.candidates import Tiling
from narrows.planning.plan import Plan
from narrows.planning.planner import OVERHEAD, PlanOptions, plan
from narrows.planning.rates import CYCLES, FOLDER, costs_file
from narrows.quantization.lower import lower
from narrows.stages.stage import Extent, Stage

MEASURED = json.loads((ROOT / "tests" / "budget" / "cost.json").read_text())["networks"]
MOST_ERROR = 0.10


def stage(record: list[Any]) -> Stage:
    """A stage as tests/bench/cost_model.py stores it."""
    ops, strip, form, *tiles, state = record
    return Stage(tuple(ops), strip, Form[form], *tiles, Extent(0, state))


@pytest.mark.parametrize("name", MEASURED)
def test_the_cost_of_measured_plans_is_predicted(name: str) -> None:
    """Of layers one by one, of the default plan, and of those that compute elements twice."""
    path = ROOT.parent / "shared" / "models" / f"{name}.tflite"
    if not path.is_file():
        missing(str(path))
    graph = lower(load(path))
    assert {"layers", "default"} <= MEASURED[name].keys()
    for kind, measured in MEASURED[name].items():
        stages = tuple(stage(record) for record in measured["stages"])
        assert sorted(i for s in stages for i in s.ops) == list(range(len(graph.ops)))
        predicted = cost.plan_instructions(graph, Plan(stages, (), (0, 0, 0, 0), 0, 0, 0))
        assert predicted == pytest.approx(measured["instructions"], rel=MOST_ERROR), kind


@pytest.mark.parametrize("name", MEASURED)
def test_the_least_arena_costs_little_time(name: str) -> None:
    """As measured: what ``compile`` takes by default, against the layers one by one."""
    taken = {kind: measured["instructions"] for kind, measured in MEASURED[name].items()}
    assert taken["default"] <= OVERHEAD * taken["layers"]


def test_counts_are_those_of_the_network() -> None:
    """Each multiply-accumulate once, or as often as the plan says; each element requantized."""
    graph = lower(zoo.shapes("mobilenet_v2", width=0.35, size=96))
    for options in (PlanOptions(materialize=True, fuse=False), PlanOptions(tiling=Tiling(16, 4))):
        planned = plan(graph, options)
        found = cost.figures(graph, planned)
        kinds = ("pointwise", "window", "depthwise")
        assert sum(found[f"macs_{kind}"] for kind in kinds) == planned.macs
        assert found["macs_repeated"] == planned.macs - planned.macs_once
        assert found["flash_bytes"] == planned.macs + 12 * found["requantizations"]
        convolutions = [op for op in graph.ops if isinstance(op, (QConv, QDepthwise))]
        once = sum(graph.tensors[op.output].bytes for op in convolutions)
        assert (found["requantizations"] > once) == (planned.macs > planned.macs_once)


def test_every_coefficient_prices_something() -> None:
    """Each file has the names that the counts have, all of them numbers that are not negative."""
    files = {path for path in FOLDER.glob("*.json") if path != CYCLES}
    assert {costs_file(layout) for layout in (Layout.PLAIN, Layout.BLOCKED)} < files
    for path in files:
        table = json.loads(path.read_text(encoding="utf-8"))["instructions"]
        assert table
        assert all(value >= 0 for value in table.values())
