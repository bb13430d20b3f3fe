# SPDX-License-Identifier: Apache-2.0
"""Arenas in several memories: what is hot is in the fast ones, nothing is where it has no room,
and the answer stays the same."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

import models
from narrows.compiler import compile_model
from narrows.errors import PlanError
from narrows.graph.qgraph import QGraph
from narrows.native import Model, Run
from narrows.pack import pack
from narrows.planning import PlanOptions, random_plan, verify_plan
from narrows.planning.memories import spread, traffic
from narrows.planning.occupancy import replay
from narrows.planning.plan import Plan
from narrows.planning.planner import plan
from narrows.planning.ram import beside_arena
from narrows.quantization import reference
from random_graphs import random_graph


def shares(graph: QGraph, found: Plan) -> list[float]:
    """Which part of all traffic each memory has."""
    layout, chosen = replay(graph, found)
    heat = traffic(layout, chosen)
    places = {("ring", ring.tensor): ring.offset for ring in found.rings}
    for number, stage in enumerate(found.stages):
        places["state", number], places["scratch", number] = (
            stage.state.offset,
            stage.scratch.offset,
        )
    sums = [0.0] * 4
    for key, size in heat.items():
        sums[places[key] >> 28] += size
    return [size / sum(sums) for size in sums]


@pytest.mark.parametrize("seed", range(9))
def test_random_plans_in_random_memories(seed: int) -> None:
    """Within the memories, proved, and with the reference's bytes."""
    graph = random_graph(seed, size=7)
    rng = Random(seed)
    draw = np.random.default_rng(seed)
    tensors = [graph.tensors[edge.tensor] for edge in graph.inputs]
    shapes = [(t.height, t.width, t.channels) for t in tensors]
    inputs = [draw.integers(-128, 128, shape).astype(np.int8) for shape in shapes]
    expected = reference.run(graph, inputs)
    fitted = 0
    for _ in range(24):  # most have room for one in three
        if fitted == 3:
            break
        planned = random_plan(graph, rng)
        counters = 12 * (len(inputs) + len(planned.stages) + len(planned.streamed_outputs))
        quarter = planned.arena_total // 4
        memories = [rng.randint(quarter, 5 * quarter) for _ in range(rng.randint(2, 4))]
        memories[0] += counters
        try:
            found = spread(graph, planned, memories)
        except PlanError:
            continue  # too small in all
        verify_plan(graph, found)
        rooms = [memories[0] - counters, *memories[1:], 0, 0, 0]
        assert all(used <= room for used, room in zip(found.arena_bytes, rooms, strict=False))
        fitted += 1
        model = Model(pack(graph, found, None))
        assert model.arena_bytes == found.arena_total
        for got, wanted in zip(Run(model).infer(inputs), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
    assert fitted > 0


@pytest.fixture(scope="module")
def network() -> tuple[QGraph, Plan]:
    compiled = compile_model(models.network("mlperf_vww_96_int8"))
    return compiled.qgraph, compiled.plan


def test_what_fits_into_the_first_memory_stays_as_it_is(network: tuple[QGraph, Plan]) -> None:
    graph, alone = network
    room = alone.arena_total + beside_arena(graph, alone)
    assert spread(graph, alone, (room, 1 << 20)) == alone
    assert spread(graph, alone, (room,)) == alone


def test_the_fast_memory_has_most_of_the_traffic(network: tuple[QGraph, Plan]) -> None:
    """Its bytes are read and written half as often again as all are on average."""
    graph, alone = network
    found = spread(graph, alone, (alone.arena_total // 2, alone.arena_total))
    assert 0 < found.arena_bytes[0] <= alone.arena_total // 2 < found.arena_bytes[1]
    assert shares(graph, found)[0] > 1.5 * found.arena_bytes[0] / found.arena_total


def test_a_plan_without_a_place_says_what_is_missing(network: tuple[QGraph, Plan]) -> None:
    graph, alone = network
    layout, chosen = replay(graph, alone)
    largest = max(item.size for item in layout.items(chosen).values())
    counters = 12 * len(layout.net.stages)
    for memories, message in (
        (
            (100, 1 << 20),
            f"first memory has 100 bytes, the engine's counters alone need {counters}",
        ),
        ((1000,) * 4, f"needs {largest} bytes in one piece, the largest memory has 1000"),
        ((counters + largest, 32), r"\d+ bytes more are needed in the last"),
        ((1 << 20,) * 5, "1 to 4 memories, not 5"),
    ):
        with pytest.raises(PlanError, match=message):
            spread(graph, alone, memories)


def test_a_budget_shrinks_the_plan_until_it_fits_the_memories(
    network: tuple[QGraph, Plan],
) -> None:
    """In two halves there is less room than in one piece."""
    graph, alone = network
    ram = alone.arena_total * 5 // 4
    options = PlanOptions(ram=ram, all_ram=True, memories=(ram // 2, ram // 2))
    found = plan(graph, options)
    assert all(0 < used <= ram // 2 for used in found.arena_bytes[:2])


def test_a_slow_memory_is_used_only_where_it_must_be(network: tuple[QGraph, Plan]) -> None:
    graph, alone = network
    room = alone.arena_total + 2048
    options = PlanOptions(ram=room + (8 << 20), all_ram=True, memories=(room, 8 << 20))
    assert plan(graph, options).arena_bytes[1] == 0


def test_the_checker_sees_memories() -> None:
    """Whatever moves into another memory, or out of all, is caught."""
    graph = random_graph(5)
    alone = plan(graph)
    found = spread(graph, alone, (alone.arena_total * 3 // 4, alone.arena_total))
    assert found.arena_bytes[1] > 0
    verify_plan(graph, found)
    sizes = found.arena_bytes
    broken = [replace(found, arena_bytes=(*sizes[2:], *sizes[:2]))]
    broken += [replace(found, arena_bytes=(sizes[0], sizes[1] + 16, 0, 0))]
    for i, ring in enumerate(found.rings):
        for offset in (ring.offset ^ 1 << 28, ring.offset | 1 << 29, ring.offset | 1 << 30):
            rings = list(found.rings)
            rings[i] = replace(ring, offset=offset)
            broken.append(replace(found, rings=tuple(rings)))
    caught = 0
    for wrong in broken:
        try:
            verify_plan(graph, wrong)
        except PlanError:
            caught += 1
        else:
            # What moved alone into room that nobody uses at the time is as good as before.
            assert wrong.arena_bytes == sizes
    assert caught > len(broken) * 3 // 4
