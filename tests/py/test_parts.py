# SPDX-License-Identifier: Apache-2.0
"""Inputs that come by parts of rows: only where a budget leaves no room for whole ones."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from narrows.compiler import describe
from narrows.errors import BlobError, InputError, PlanError
from narrows.native import Model, Run, Status
from narrows.native.observe import observe
from narrows.pack import pack
from narrows.planning.cost import plan_work
from narrows.planning.occupancy import occupancy
from narrows.planning.planner import PlanOptions, parts, plan, plan_front
from narrows.planning.ram import beside_arena
from narrows.planning.verify import verify_plan
from narrows.quantization import reference
from parts import by_parts, picture_for, wide_graph
from random_graphs import GraphBuilder


def test_whole_rows_as_long_as_they_fit() -> None:
    """Then parts, the smaller the less there is; the least that is named can be had."""
    graph = wide_graph()
    default = plan(graph)
    assert default.input_strips == ()
    assert plan(graph, PlanOptions(ram=default.arena_total)).input_strips == ()
    with pytest.raises(PlanError) as refusal:
        plan(graph, PlanOptions(ram=1))
    (least,) = (int(n) for n in re.findall(r"arena found has (\d+)", str(refusal.value)))
    width = graph.tensors[graph.inputs[0].tensor].width
    strip = width
    for budget in range(default.arena_total, least - 1, -((default.arena_total - least) // 6)):
        found = plan(graph, PlanOptions(ram=budget))
        assert found.arena_total <= budget
        (now,) = found.input_strips or (width,)
        assert now <= strip
        strip = now
    found = plan(graph, PlanOptions(ram=least))
    assert found.arena_total <= least
    assert found.input_strips[0] < width


def test_the_front_goes_on_below_whole_rows() -> None:
    graph = wide_graph()
    strips = [point.plan.input_strips for point in plan_front(graph)]
    assert strips[0] == ()
    assert strips[-1] == (48,)
    assert [strip for strip in strips if strip] == sorted(
        (strip for strip in strips if strip), reverse=True
    )
    assert strips == sorted(strips, key=bool)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (192, [48, 24, 3]),
        (96, [24, 12, 3]),
        (224, [56, 28, 4]),
        (10, [5]),
        (6, [3]),
        (7, []),
        (1, []),
    ],
)
def test_parts_of_a_row(width: int, expected: list[int]) -> None:
    build = GraphBuilder(np.random.default_rng(0))
    tensor = build.input(4, width, 1)
    assert parts(build.graph([tensor]), tensor) == expected


def test_an_input_that_is_read_by_rows_comes_by_rows() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    graph = build.graph([build.reshape(build.input(6, 16, 2), 16, 6, 2)])
    with pytest.raises(PlanError, match="least arena"):
        plan(graph, PlanOptions(ram=1))
    assert not any(point.plan.input_strips for point in plan_front(graph))


def test_the_answer_is_the_same() -> None:
    graph, planned = by_parts()
    verify_plan(graph, planned)
    inputs = picture_for(graph)
    model = Model(pack(graph, planned, None))
    assert (model.inputs[0].strip, model.inputs[0].strip_bytes) == (48, 48 * 12)
    expected = reference.run(graph, inputs)
    for found, wanted in zip(Run(model).infer(inputs), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    seen = observe(Run(model), inputs).values[0]
    assert (seen == inputs[0]).all()


def test_who_knows_whole_rows_alone_is_refused() -> None:
    graph, planned = by_parts()
    (picture,) = picture_for(graph)
    run = Run(Model(pack(graph, planned, None)))
    assert run.due_bytes() == 0
    with pytest.raises(BlobError, match="out of order"):
        run.push(picture[0])
    assert run.step() == Status.NEED_ROW
    with pytest.raises(BlobError, match="out of order"):
        run.push_row(picture[0])
    assert run.due_bytes() == 576
    with pytest.raises(InputError, match="576 int8 of input 0 are due"):
        run.push(picture[0])
    run.push(picture[0, :48])
    assert run.tensor_pixels(0) == 48


def test_figures() -> None:
    graph, planned = by_parts()
    whole = plan(graph)
    blob = pack(graph, planned, {})
    report = describe(graph, planned, blob, Model(blob))
    assert report["input_strips"] == [48]
    assert "input_strips" not in describe(graph, whole, blob, Model(blob))
    assert beside_arena(graph, whole) - beside_arena(graph, planned) == (192 - 48) * 12
    assert plan_work(graph, planned)[-1]["edge.row"] == 8 * 4
    assert plan_work(graph, whole)[-1]["edge.row"] == 8
    assert occupancy(graph, planned).bound <= planned.arena_total


@pytest.mark.parametrize(
    ("strips", "message"),
    [
        ((0,), "takes 0 pixels of 192"),
        ((-48,), "takes -48 pixels of 192"),
        ((40,), "input .* takes 40 pixels of 192 at a time"),
        ((384,), "takes 384 pixels of 192"),
        ((48, 48), "2 entries for 1 inputs"),
        ((64,), "the ring of .* cannot hold what input .* gives side by side"),
        ((96,), "stalls"),
    ],
)
def test_the_checker_finds_wrong_parts(strips: tuple[int, ...], message: str) -> None:
    graph, planned = by_parts()
    with pytest.raises(PlanError, match=message):
        verify_plan(graph, replace(planned, input_strips=strips))
