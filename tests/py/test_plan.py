# SPDX-License-Identifier: Apache-2.0
"""The planner: what it promises, and that the checker believes nobody."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narrows.errors import PlanError
from narrows.graph.qgraph import Elementwise, QGraph
from narrows.native import Form
from narrows.planning import PlanOptions, Tiling, random_plan, verify_plan
from narrows.planning.candidates import Candidates, fusions
from narrows.planning.capacities import least_capacities, whole_units
from narrows.planning.effort import BOUNDS, Effort, Gauge
from narrows.planning.forms import CascadeForm, Forms, Stages
from narrows.planning.place import Item, Slot, forbidden, live_bytes, place
from narrows.planning.plan import Plan
from narrows.planning.planner import STEP, plan, plan_front
from narrows.planning.schedule import plan_network
from narrows.planning.search import Search, cut_points
from narrows.planning.timeline import Candidate, candidate, lay_out, lifetimes, simulated
from narrows.planning.ways import Way
from narrows.stages.firings import stage_firings
from narrows.stages.stage import Extent, Stage
from random_graphs import GraphBuilder, random_graph, seeds

KIB = 1024


def mobilenet_v2(size: int = 224, width: float = 1.0) -> QGraph:
    """MobileNetV2's shapes with random weights."""
    build = GraphBuilder(np.random.default_rng(0))

    def channels(count: int) -> int:
        return max(8, int(count * width + 4) // 8 * 8)

    x = build.conv(build.input(size, size, 3), channels(32), (3, 3), (2, 2))
    x = build.inverted_residual(x, 1, channels(16))
    blocks = [(24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)]
    for count, repeats, stride in blocks:
        for i in range(repeats):
            x = build.inverted_residual(x, 6, channels(count), stride=1 if i else stride)
    x = build.mean(build.conv(x, 1280))
    return build.graph([build.softmax(build.conv(x, 1000))])


@pytest.fixture(scope="module")
def large() -> tuple[QGraph, Plan]:
    graph = mobilenet_v2()
    return graph, plan(graph)


def small() -> QGraph:
    """Two inverted residuals between convolutions."""
    build = GraphBuilder(np.random.default_rng(1))
    x = build.conv(build.input(24, 20, 3), 8, (3, 3), (2, 2))
    x = build.inverted_residual(x, 4, 8)
    x = build.inverted_residual(x, 4, 16, stride=2)
    return build.graph([build.conv(build.mean(x), 5)])


# --- What a plan promises ----------------------------------------------------------------


def test_mobilenet_v2_fits_and_computes_nothing_twice(large: tuple[QGraph, Plan]) -> None:
    _, found = large
    assert found.arena_total <= 78 * KIB
    assert found.mac_factor == 1.0
    assert found.macs == 300_774_272
    assert found.input_passes == 1


def test_plans_are_deterministic() -> None:
    graph = mobilenet_v2(64, 0.35)
    assert plan(graph) == plan(graph)


@pytest.mark.parametrize("seed", seeds(60, every=12))
def test_random_graphs(seed: int) -> None:
    """Every option gives a plan that the checker accepts; streaming never costs bytes."""
    graph = random_graph(seed, size=10)
    best = plan(graph)  # verifies itself
    assert best.mac_factor == 1.0
    whole = plan(graph, PlanOptions(materialize=True, fuse=False))
    assert best.arena_total <= whole.arena_total
    plan(graph, PlanOptions(tiling=Tiling(slice=1)))
    plan(graph, PlanOptions(tiling=Tiling(slice=2, row_tile=2, col_tile=3)))
    streamed = tuple(range(len(graph.outputs)))
    plan(graph, PlanOptions(streamed_outputs=streamed))
    rng = Random(seed)
    for _ in range(4):
        random_plan(graph, rng)


def test_slices_are_as_asked() -> None:
    graph = small()
    found = plan(graph, PlanOptions(tiling=Tiling(slice=3)))
    tiled = [stage for stage in found.stages if len(stage.ops) > 1]
    assert [(s.slice, s.row_tile, s.form) for s in tiled] == [(3, 1, Form.TILED)] * 2
    assert found.mac_factor > 1


def test_no_fusion_when_off() -> None:
    found = plan(small(), PlanOptions(fuse=False))
    assert all(len(stage.ops) == 1 for stage in found.stages)


def test_budget() -> None:
    graph = small()
    exact = plan(graph).arena_total
    least = min(point.plan.arena_total for point in plan_front(graph))
    assert STEP * least <= exact
    for budget in (exact, (exact + least) // 2, least):
        assert plan(graph, PlanOptions(ram=budget)).arena_total <= budget
    with pytest.raises(PlanError) as error:
        plan(graph, PlanOptions(ram=100))
    message = str(error.value)
    named = int(re.findall(r"arena found has (\d+)", message)[0])
    assert plan(graph, PlanOptions(ram=named)).arena_total <= named <= least
    assert "fullest when t" in message
    assert "\n" not in message


def test_predictions_of_stages_come_from_c(large: tuple[QGraph, Plan]) -> None:
    graph, found = large
    again = Candidates(graph)
    net = plan_network(graph, found)
    capacities = {ring.tensor: ring.capacity for ring in found.rings}
    layout = lifetimes(graph, net, capacities, net.simulate(capacities), len(graph.inputs))
    for stage in found.stages:
        sized = again.make(replace(stage, state=Extent(), scratch=Extent()))
        assert sized.stage.state.bytes == stage.state.bytes
        assert layout.scratch_bytes(sized) == stage.scratch.bytes


@pytest.mark.parametrize("kernel", [3, 5])
def test_kept_rows_buy_arithmetic(kernel: int) -> None:
    """Each row that is kept costs a row of state and saves a row's expansion."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input(12, 12, 4)
    expanded = build.conv(x, 16)
    graph = build.graph([build.conv(build.depthwise(expanded, (kernel, kernel)), 6)])
    candidates = Candidates(graph, recompute=True)
    stages = [Stage((0, 1, 2), 12, Form.ROLLING, 16, 1, 2, kept) for kept in range(kernel)]
    made = [candidates.make(stage) for stage in stages]
    states = [c.stage.state.bytes for c in made]
    assert states == [12 * 16 * kept for kept in range(kernel)]
    expanded_rows = [(int(c.firings.macs.sum()) - 144 * 16 * (kernel**2 + 6)) // 768 for c in made]
    half = kernel // 2
    for kept, rows in enumerate(expanded_rows):  # windows at the edges have fewer rows
        windows = [range(max(0, y - half), min(12, y + half + 1)) for y in range(12)]
        held = [set(range(y - half, y - half + kept)) for y in range(12)]
        again = sum(len(set(w) - h) for w, h in zip(windows, held, strict=True))
        assert rows == again + max(0, kept - half)
    assert [c.exact for c in made] == [False] * (kernel - 1) + [True]
    with pytest.raises(PlanError):
        candidates.make(Stage((0, 1, 2), 12, Form.ROLLING, 16, 1, 2, kernel))


def test_forms_are_the_cheapest_for_their_bytes() -> None:
    """Against every combination of stages."""
    build = GraphBuilder(np.random.default_rng(2))
    x = build.inverted_residual(build.input(8, 8, 4), 2, 4)
    graph = build.graph([build.conv(x, 3)])
    candidates = Candidates(graph, recompute=True)
    groups = [(i,) for i in range(len(graph.ops))] + list(fusions(graph))
    options = {group: candidates.options(group)[::3] for group in groups}
    stages = Stages([c for some in options.values() for c in some], lambda c: c.cost)
    forms = Forms(stages, [0, len(graph.ops)], 0)
    front = forms.between(0, {len(graph.ops): 0})[len(graph.ops)]
    found = [CascadeForm(number, *form.item()) for number, form in enumerate(front)]
    assert len(found) > 3

    def chains(first: int) -> Iterator[list[Candidate]]:
        if first == len(graph.ops):
            yield []
        for group in groups:
            if group[0] == first and group == tuple(range(first, group[-1] + 1)):
                for c in options[group]:
                    yield from ([c, *rest] for rest in chains(group[-1] + 1))

    every = list(chains(0))
    for form in found:
        chosen = forms.chosen((0, len(graph.ops)), form)
        assert [i for c in chosen for i in c.stage.ops] == list(range(len(graph.ops)))
        assert sum(c.cost for c in chosen) == pytest.approx(form.cost, rel=1e-6)
        steady = sum(c.steady_bytes for c in chosen)
        scratch = max(c.stage.scratch.bytes for c in chosen)
        slack = len(graph.ops) * forms.unit  # bytes are rounded to units
        assert steady + scratch <= form.estimate + slack
        best = min(
            (
                sum(c.cost for c in chain)
                for chain in every
                if max(c.stage.scratch.bytes for c in chain) <= scratch
                and sum(c.steady_bytes for c in chain) <= steady - slack
            ),
            default=math.inf,
        )
        assert form.cost <= best * (1 + 1e-6)


# --- Schedule -------------------------------------------------------------------------------


def test_short_rings_stream_and_whole_ones_wait() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input(6, 4, 2)
    graph = build.graph([build.conv(build.conv(x, 2), 2)])
    found = plan(graph, PlanOptions(fuse=False))
    net = plan_network(graph, found)
    order = net.simulate(net.pixels).order.tolist()
    firings = [stage.count for stage in net.stages]
    assert order == [0] * firings[0] + [1] * firings[1] + [2] * firings[2]
    short = {tensor: whole_units(net, tensor, 1) for tensor in net.pixels}
    order = net.simulate({**short, 2: net.pixels[2]}).order.tolist()
    assert order.index(2) < firings[0]
    assert order.index(1) < order.index(2) < len(order) - order[::-1].index(0)


def test_what_moves_need() -> None:
    """The worked examples of runtime/SPEC.md."""
    build = GraphBuilder(np.random.default_rng(1))
    shuffled = build.shuffled(build.input(2, 2, 6), 2)
    turned = build.transpose(build.input(2, 3, 1), (2, 3, 1), (1, 0, 2))
    graph = build.graph([shuffled, turned])
    found = stage_firings(graph, Stage((0,), 1))
    assert list(zip(*found.lo, *found.hi, strict=True)) == [(n, n + 1) for n in range(4)]
    found = stage_firings(graph, Stage((1,), 2))
    assert list(zip(*found.lo, *found.hi, strict=True)) == [(0, 4), (1, 5), (2, 6)]


def test_stall_names_the_full_ring() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input(8, 4, 2)
    y = build.conv(x, 2, (3, 3))
    graph = build.graph([build.elementwise(y, x, Elementwise.ADD)])
    net = plan_network(graph, plan(graph))
    stalled = net.simulate({0: 4, 1: 1, 2: 32})
    assert stalled.stalled
    assert stalled.blocked == (0,)
    capacities, schedule = least_capacities(net, frozenset(), dict.fromkeys(net.pixels, 1))
    assert capacities[0] == 12  # rows come whole, three of them under a window
    assert capacities[1] < 8
    assert not schedule.stalled


@pytest.mark.parametrize("seed", seeds(30, every=6))
def test_least_capacities_are_least(seed: int) -> None:
    """No single ring can be shorter."""
    graph = random_graph(seed, size=5)
    net = plan_network(graph, plan(graph))
    capacities, _ = least_capacities(net, frozenset(), dict.fromkeys(net.pixels, 1))
    gives = {stage.output: stage.gives_most for stage in net.stages if stage.output >= 0}
    for tensor, capacity in capacities.items():
        shorter = (capacity - 1) // net.units[tensor] * net.units[tensor]
        # What nobody reads is whole, and so is what is there at the end; and a ring holds what
        # one firing gives.
        if shorter >= gives[tensor] and tensor not in net.held and net.readers[tensor]:
            assert net.simulate({**capacities, tensor: shorter}).stalled


def test_cut_points_of_a_residual() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.conv(build.input(8, 8, 2), 2)
    y = build.conv(x, 2, (3, 3))
    z = build.elementwise(y, x)
    graph = build.graph([build.conv(z, 3)])
    assert cut_points(graph) == [1, 3]


def test_fusions_of_an_inverted_residual() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    build.inverted_residual(build.input(8, 8, 4), 3, 4)
    graph = build.graph([build.ops[-1].output])
    assert list(fusions(graph)) == [(1, 2), (0, 1), (0, 1, 2), (0, 1, 2, 3)]


# --- Placement ------------------------------------------------------------------------------


def slot(offset: int, size: int, first: int, last: int) -> Slot:
    return Slot(offset, size, np.array([first]), np.array([last]))


@st.composite
def some_items(draw: st.DrawFn) -> list[Item]:
    items = []
    for i in range(draw(st.integers(1, 7))):
        rows, size = draw(st.integers(1, 4)), draw(st.integers(1, 40))
        slots = []
        for row in range(rows):
            first = draw(st.integers(0, 12))
            last = draw(st.integers(first, 12))
            slots.append(slot(row * size, size, first, last))
        items.append(Item(f"item {i}", rows * size, tuple(slots)))
    return items


def overlap(a: Item, at_a: int, b: Item, at_b: int) -> bool:
    """Whether bytes of two items collide, by counting."""
    for p in a.slots:
        for q in b.slots:
            together = p.first[0] <= q.last[0] and q.first[0] <= p.last[0]
            start, end = at_a + p.offset, at_a + p.offset + p.size
            if together and start < at_b + q.offset + q.size and at_b + q.offset < end:
                return True
    return False


@given(some_items())
@settings(max_examples=150, deadline=None)
def test_forbidden_distances_are_the_colliding_ones(items: list[Item]) -> None:
    for a, b in combinations(items, 2):
        found = forbidden(a, b)
        for distance in range(-208, 208, 16):
            collides = overlap(a, 208, b, 208 + distance)
            assert any(low < distance < high for low, high in found) == collides


@given(some_items())
@settings(max_examples=150, deadline=None)
def test_placement_never_collides(items: list[Item]) -> None:
    offsets, end = place(items, 13, rounds=20)
    assert all(offset % 16 == 0 for offset in offsets)
    highest = max(o + item.size for o, item in zip(offsets, items, strict=True))
    assert highest <= end < highest + 16
    assert end >= max(live_bytes(items, 13))
    for (a, at_a), (b, at_b) in combinations(zip(items, offsets, strict=True), 2):
        assert not overlap(a, at_a, b, at_b)


def test_a_dying_tensor_lies_over_one_that_is_born() -> None:
    """Row by row: 8 rows die while 8 rows are born, and 9 rows are enough for both."""
    dying = Item("a", 8 * 16, tuple(slot(16 * i, 16, 0, i) for i in range(8)))
    born = Item("b", 8 * 16, tuple(slot(16 * i, 16, i, 8) for i in range(8)))
    _, end = place([dying, born], 9)
    assert end == 9 * 16


# --- The checker ------------------------------------------------------------------------------


def sabotages(graph: QGraph, found: Plan) -> Iterator[tuple[str, Plan]]:
    """Plans that are each wrong in one place."""
    for i, ring in enumerate(found.rings):

        def changed(i: int = i, **values: int) -> Plan:
            rings = list(found.rings)
            rings[i] = replace(rings[i], **values)
            return replace(found, rings=tuple(rings))

        yield f"ring {i} off its alignment", changed(offset=ring.offset + 8)
        yield f"ring {i} outside", changed(offset=found.arena_bytes[0])
        yield f"ring {i} without pixels", changed(capacity=0)
        yield f"ring {i} too long", changed(capacity=10**6)
        yield f"ring {i} missing", replace(found, rings=found.rings[:i] + found.rings[i + 1 :])
    for i, stage in enumerate(found.stages):
        for name in ("state", "scratch"):
            extent = getattr(stage, name)
            for other in (
                Extent(extent.offset, extent.bytes + 16),
                Extent(found.arena_bytes[0], extent.bytes),
            ):
                stages = list(found.stages)
                stages[i] = replace(stage, **{name: other})
                yield f"{name} of stage {i}", replace(found, stages=tuple(stages))
        stages = list(found.stages)
        del stages[i]
        yield f"stage {i} missing", replace(found, stages=tuple(stages))
    for i in range(len(found.stages) - 1):
        stages = list(found.stages)
        written = graph.ops[stages[i].ops[-1]].output
        if written not in graph.ops[stages[i + 1].ops[0]].inputs:
            continue
        stages[i], stages[i + 1] = stages[i + 1], stages[i]
        yield f"stages {i} and {i + 1} swapped", replace(found, stages=tuple(stages))
    first, *others = found.arena_bytes
    for what, change in (("large", 16), ("small", -16)):
        yield f"arena too {what}", replace(found, arena_bytes=(first + change, *others))
    yield "macs", replace(found, macs=found.macs + 1)
    yield "macs once", replace(found, macs_once=found.macs_once - 1)
    yield "step macs", replace(found, max_step_macs=found.max_step_macs - 1)
    yield "output that is not there", replace(found, streamed_outputs=(7,))


@pytest.mark.parametrize("make", [small, lambda: random_graph(5), lambda: random_graph(12)])
def test_checker_catches_sabotage(make: Callable[[], QGraph]) -> None:
    graph = make()
    found = plan(graph)
    verify_plan(graph, found)
    for what, broken in sabotages(graph, found):
        try:
            verify_plan(graph, broken)
        except PlanError:
            continue
        pytest.fail(f"not caught: {what}")


def test_columns_that_two_windows_share_live_between_firings() -> None:
    """Two rolling stages, all side by side in the arena; then the scratch of the second moves to
    columns of the first, where it may stand only on what ends with the firing."""
    build = GraphBuilder(np.random.default_rng(2))
    x = build.inverted_residual(build.input(12, 20, 8), 8, 16)
    graph = build.graph([build.inverted_residual(x, 4, 8)])
    halves = Stage((0, 1, 2), 10, Form.ROLLING, 64, 1, 10, 2)
    ones = Stage((3, 4, 5), 1, Form.ROLLING, 64, 1, 1, 2)
    chosen = [candidate(graph, halves), candidate(graph, ones)]
    columns = chosen[0].columns
    assert columns == (2 * 20 * 64, 1, 12 * 64, 2 * 64)
    tensors = [edge.tensor for edge in graph.inputs] + [c.firings.output for c in chosen]
    # Half a row between the two, so that they take turns.
    layout = simulated(graph, chosen, dict(zip(tensors, (12 * 20, 10, 12 * 20), strict=True)))
    found = lay_out(layout, chosen)
    verify_plan(graph, found)
    offset, at = 0, {}
    items = layout.items(chosen)
    for key in sorted(items, key=lambda key: (key[0] != "scratch", key)):
        at[key], offset = offset, offset + -(-items[key].size // 16) * 16
    first, second = found.stages
    state = replace(first.state, offset=at["state", 0])
    for scratch, free in (
        (at["scratch", 1], True),
        (state.offset + columns.offset + columns.carried, True),
        (state.offset + columns.offset + columns.pitch - second.scratch.bytes, True),
        (state.offset + columns.offset + columns.carried - 16, False),
        (state.offset + columns.offset - 16, False),
    ):
        moved = replace(
            found,
            stages=(
                replace(first, state=state, scratch=Extent(at["scratch", 0], first.scratch.bytes)),
                replace(
                    second,
                    state=replace(second.state, offset=at["state", 1]),
                    scratch=Extent(scratch, second.scratch.bytes),
                ),
            ),
            rings=tuple(replace(ring, offset=at["ring", ring.tensor]) for ring in found.rings),
            arena_bytes=(offset, 0, 0, 0),
        )
        if free:
            verify_plan(graph, moved)
        else:
            with pytest.raises(PlanError, match="overwritten by the scratch"):
                verify_plan(graph, moved)


def test_checker_catches_overlaps_and_stalls(large: tuple[QGraph, Plan]) -> None:
    """Shift every ring over its neighbours, and shorten every ring."""
    graph, found = large
    units = plan_network(graph, found).units
    caught = {"overwritten": 0, "stalls": 0, "lost": 0, "overlaps": 0}
    for i, ring in enumerate(found.rings[:12]):
        changes = [{"offset": ring.offset + 512}, {"offset": max(0, ring.offset - 512)}]
        unit = units[ring.tensor]
        if ring.capacity > unit:
            changes.append({"capacity": (ring.capacity - 1) // unit * unit})
        for change in changes:
            rings = list(found.rings)
            rings[i] = replace(ring, **change)
            end = max(r.offset + r.capacity * graph.tensors[r.tensor].channels for r in rings)
            extents = [r for s in found.stages for r in (s.state, s.scratch)]
            end = max([end, *(r.offset + r.bytes for r in extents)])
            broken = replace(found, rings=tuple(rings), arena_bytes=(-(-end // 16) * 16, 0, 0, 0))
            try:
                verify_plan(graph, broken)
            except PlanError as error:
                for word in caught:
                    caught[word] += word in str(error)
    assert caught["overwritten"] > 5
    assert caught["stalls"] > 3


# --- The search -----------------------------------------------------------------------------------

Answer = tuple[tuple[tuple[int, int], tuple[Stage, ...], frozenset[int]], ...] | None


def _search_of(graph: QGraph) -> Search:
    return Search(graph, Candidates(graph), True, (), BOUNDS[Effort.NORMAL], Gauge())


def _answer(search: Search, limit: float, without: int) -> Answer:
    """The cascades that fit into a limit. without: how many ways of the first answers are not to
    be used."""
    excluded = frozenset[Way]()
    for _ in range(without):
        found = search.cheapest(limit, excluded=excluded)
        if found is None:
            return None
        excluded |= {max(found, key=lambda cascade: cascade.placed).way}
    found = search.cheapest(limit, excluded=excluded)
    if found is None:
        return None
    ways = [cascade.way for cascade in found]
    return tuple((w.edge, tuple(c.stage for c in w.chosen), w.whole) for w in ways)


@pytest.mark.parametrize("seed", range(6))
def test_equal_questions_get_equal_answers(seed: int) -> None:
    """Whatever else a search was asked before."""
    graph = random_graph(seed, size=7)
    least = plan(graph).arena_total
    questions = [
        (least * tenths / 10, without) for tenths in (7, 9, 10, 12, 20) for without in (0, 2)
    ]
    alone = {question: _answer(_search_of(graph), *question) for question in questions}
    assert len(set(alone.values())) > 2
    for order in range(3):
        search = _search_of(graph)
        for question in Random(order).sample(questions * 2, 2 * len(questions)):
            assert _answer(search, *question) == alone[question]
