# SPDX-License-Identifier: Apache-2.0
"""Several memories for one arena: what is used most goes into the fastest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random

import numpy as np

from narrows.errors import PlanError
from narrows.graph.qgraph import QGraph
from narrows.planning.occupancy import replay
from narrows.planning.place import Item, live_bytes, place
from narrows.planning.plan import Plan
from narrows.planning.ram import PROGRESS_BYTES
from narrows.planning.timeline import Candidate, Timeline
from narrows.stages.stage import Extent

MOST_MEMORIES = 4
CHANCES = 30
"""Orders that are tried where hottest and largest first do not fit."""

_SHIFT = 28

Key = tuple[str, int]


def spread(graph: QGraph, plan: Plan, memories: Sequence[int]) -> Plan:
    """The same plan with its tensors, variables, states and scratch in several memories.

    Args:
        memories: bytes of each, the fastest first; the engine's counters stand in the first too.

    Raises: PlanError: it does not fit.
    """
    if not 1 <= len(memories) <= MOST_MEMORIES:
        raise PlanError(f"an arena has 1 to {MOST_MEMORIES} memories, not {len(memories)}")
    timeline, chosen = replay(graph, plan)
    items = timeline.items(chosen)
    counters = PROGRESS_BYTES * len(timeline.net.stages)
    rooms = [memories[0] - counters, *memories[1:]]
    if plan.arena_total <= rooms[0]:
        return plan
    _check_sizes(graph, items, rooms, counters)
    firings = len(timeline.schedule.order)
    heat = {key: bytes_ / items[key].size for key, bytes_ in traffic(timeline, chosen).items()}
    shortages = []
    for order in _orders(items, heat):
        offsets, sizes = _placed(items, order, rooms, firings)
        shortages.append(sizes[len(rooms) - 1] - rooms[-1])
        if shortages[-1] <= 0:
            return _moved(plan, timeline, offsets, sizes)
    raise PlanError(
        f"{graph.name} does not fit into memories of {', '.join(map(str, memories))} bytes: "
        f"{min(shortages)} bytes more are needed in the last (counters have {counters} of the "
        "first); give it more, or plan with less RAM"
    )


def _orders(items: Mapping[Key, Item], heat: Mapping[Key, float]) -> Iterator[list[Key]]:
    """Placed hottest first, much goes where it is fast; placed largest first, more fits at all; and
    where neither fits, some chance order may."""
    yield sorted(items, key=lambda key: (-heat[key], key))
    largest = sorted(items, key=lambda key: (-items[key].size, key))
    yield largest
    rng = Random(0)
    for _ in range(CHANCES):
        yield sorted(largest, key=lambda key: -items[key].size * rng.uniform(0.3, 1.0))


def traffic(timeline: Timeline, chosen: Sequence[Candidate]) -> dict[Key, float]:
    """Bytes that one inference reads and writes in each item, estimated.

    A stage writes what it gives and reads what is new to it. Beside that, each
    multiply-accumulate (where there are none, each element) reads a byte: of the inputs;
    of a stage with state or scratch, every other one there.
    """
    found = dict.fromkeys(timeline.items(chosen), 0.0)
    for stage in timeline.net.stages:
        if stage.output >= 0:
            found["ring", stage.output] += int(stage.given[-1]) * _channels(timeline, stage.output)
    for number, c in enumerate(chosen, timeline.inputs):
        stage = timeline.net.stages[number]
        fresh = [
            int(np.maximum(np.diff(hi, prepend=0), 0).sum()) * _channels(timeline, tensor)
            for tensor, hi in zip(stage.inputs, stage.hi, strict=True)
        ]
        work = float(stage.macs.sum()) or float(sum(fresh))
        number -= timeline.inputs
        own = {
            ("state", number): c.stage.state.bytes,
            ("scratch", number): timeline.scratch_bytes(c),
        }
        beside = sum(own.values())
        if beside:
            work /= 2
        for key, size in own.items():
            if size:
                found[key] += work * size / beside
        for tensor, count in zip(stage.inputs, fresh, strict=True):
            found["ring", tensor] += count * (1 + work / max(1, sum(fresh)))
    for kind, number in found:
        if kind == "variable":  # it is read once, and written once
            found[kind, number] = 2 * timeline.items(chosen)[kind, number].size
    for stage in timeline.net.stages[timeline.inputs + len(chosen) :]:
        for tensor in stage.inputs:
            found["ring", tensor] += timeline.net.pixels[tensor] * _channels(timeline, tensor)
    return found


def _channels(timeline: Timeline, tensor: int) -> int:
    return timeline.graph.tensors[tensor].channels


def _check_sizes(
    graph: QGraph, items: Mapping[Key, Item], rooms: Sequence[int], counters: int
) -> None:
    if rooms[0] < 0:
        raise PlanError(
            f"{graph.name} does not fit: the first memory has {rooms[0] + counters} bytes, the "
            f"engine's counters alone need {counters}"
        )
    largest = max(items.values(), key=lambda item: item.size)
    if largest.size > max(rooms):
        raise PlanError(
            f"{graph.name} does not fit: {largest.name} needs {largest.size} bytes in one piece, "
            f"the largest memory has {max(rooms)}; plan with less RAM"
        )


def _placed(
    items: Mapping[Key, Item], order: Sequence[Key], rooms: Sequence[int], firings: int
) -> tuple[dict[Key, int], list[int]]:
    """Offsets with their memory's number, and bytes of each memory: of the last more than there
    are if the items do not fit."""
    offsets: dict[Key, int] = {}
    sizes = [0] * MOST_MEMORIES
    left = list(order)
    for number, room in enumerate(rooms):
        last = number == len(rooms) - 1
        here, target = left, room
        while True:
            if not last:
                here = _together(items, left, target, firings)
            found, size = place([items[key] for key in here], firings)
            if size <= room or last:
                break
            target -= size - room  # no placement is perfect
        offsets |= {key: at | number << _SHIFT for key, at in zip(here, found, strict=True)}
        sizes[number] = size
        left = [key for key in left if key not in offsets]
    return offsets, sizes


def _together(
    items: Mapping[Key, Item], order: Sequence[Key], room: int, firings: int
) -> list[Key]:
    """The first of an order that can live in a memory together."""
    live = np.zeros(firings, np.int64)
    taken = []
    for key in order:
        more = live + live_bytes([items[key]], firings)
        if more.max(initial=0) <= room:
            live = more
            taken.append(key)
    return taken


def _moved(
    plan: Plan, timeline: Timeline, offsets: Mapping[Key, int], sizes: Sequence[int]
) -> Plan:
    def extent(kind: str, number: int, old: Extent) -> Extent:
        return Extent(offsets.get((kind, number), 0), old.bytes)

    a, b, c, d = sizes
    return replace(
        plan,
        stages=tuple(
            replace(
                stage,
                state=extent("state", number, stage.state),
                scratch=extent("scratch", number, stage.scratch),
            )
            for number, stage in enumerate(plan.stages)
        ),
        rings=tuple(replace(ring, offset=offsets["ring", ring.tensor]) for ring in plan.rings),
        variables=timeline.variable_offsets(offsets),
        arena_bytes=(a, b, c, d),
    )
