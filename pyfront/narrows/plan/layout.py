# SPDX-License-Identifier: Apache-2.0
"""From chosen stages and capacities to a plan: simulate, find lifetimes, place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from narrows.errors import PlanError
from narrows.graph.qgraph import QGraph
from narrows.plan.firing import Firings, stage_firings
from narrows.plan.place import Interval, Item, Slot, place
from narrows.plan.plan import Plan, Region, Ring, Stage
from narrows.plan.schedule import Network, Schedule, network, simulate
from narrows.plan.sizes import stage_bytes


@dataclass(frozen=True, eq=False)
class Candidate:
    """A stage that a plan may use, with what it needs.

    stage: its regions have sizes and no offsets yet.
    """

    stage: Stage
    firings: Firings


def candidate(graph: QGraph, stage: Stage, isa: int = 0, accumulate: bool = True) -> Candidate:
    """Size a stage. accumulate: whether an average pool adds up row by row."""
    state, scratch = stage_bytes(graph, stage, isa, accumulate)
    stage = replace(stage, state=Region(0, state), scratch=Region(0, scratch))
    return Candidate(stage, stage_firings(graph, stage, state > 0))


def arena_items(
    graph: QGraph,
    net: Network,
    schedule: Schedule,
    capacities: Mapping[int, int],
    sizes: Mapping[int, tuple[int, int]],
) -> tuple[dict[tuple[str, int], Item], int]:
    """Everything that needs a place, and the number of firings.

    sizes: (state, scratch) bytes by stage number.

    Returns: items by ("ring", tensor), ("state", stage number), ("scratch", stage number).
    """
    end = len(schedule.order)
    items: dict[tuple[str, int], Item] = {}
    readers = net.readers
    for number, stage in enumerate(net.stages):
        times = schedule.times[number]
        if stage.output >= 0:
            deaths = _deaths(net, schedule, stage.output, readers[stage.output], end)
            births = [times[firing] for firing in stage.birth]
            lives = [(b, max(b, d)) for b, d in zip(births, deaths, strict=True)]
            tensor = graph.tensors[stage.output]
            slots = _ring_slots(lives, capacities[stage.output], tensor.row_bytes)
            items["ring", stage.output] = Item(
                tensor.name, capacities[stage.output] * tensor.row_bytes, slots
            )
        state, scratch = sizes.get(number, (0, 0))
        if state:
            slot = Slot(0, state, ((times[0], times[-1]),))
            items["state", number] = Item(f"state of stage {number}", state, (slot,))
        if scratch:
            slot = Slot(0, scratch, _runs(times))
            items["scratch", number] = Item(f"scratch of stage {number}", scratch, (slot,))
    return items, end


def _deaths(
    net: Network, schedule: Schedule, tensor: int, uses: Iterable[tuple[int, int]], end: int
) -> list[int]:
    """Per row, the last firing that may read it."""
    height = net.heights[tensor]
    if tensor in net.held:
        return [end - 1] * height
    deaths = [0] * height
    for number, i in uses:
        times = schedule.times[number]
        for row, firing in enumerate(net.stages[number].last_use[i]):
            deaths[row] = max(deaths[row], times[firing])
    return deaths


def _ring_slots(lives: list[Interval], capacity: int, row_bytes: int) -> tuple[Slot, ...]:
    if 2 * capacity <= len(lives):
        first, last = min(b for b, _ in lives), max(d for _, d in lives)
        return (Slot(0, capacity * row_bytes, ((first, last),)),)
    return tuple(
        Slot(slot * row_bytes, row_bytes, tuple(lives[slot::capacity]))
        for slot in range(capacity)
    )


def _runs(times: list[int]) -> tuple[Interval, ...]:
    runs: list[Interval] = []
    for time in times:
        if runs and runs[-1][1] == time - 1:
            runs[-1] = (runs[-1][0], time)
        else:
            runs.append((time, time))
    return tuple(runs)


def stage_sizes(inputs: int, chosen: Sequence[Candidate]) -> dict[int, tuple[int, int]]:
    """(state, scratch) bytes by stage number; inputs: how many INPUT stages come first."""
    return {
        number: (c.stage.state.bytes, c.stage.scratch.bytes)
        for number, c in enumerate(chosen, inputs)
    }


def lay_out(
    graph: QGraph,
    chosen: Sequence[Candidate],
    capacities: Mapping[int, int],
    streamed: tuple[int, ...] = (),
    isa: int = 0,
    rounds: int = 400,
) -> Plan:
    """The plan of chosen stages, in execution order.

    Args:
        capacities: rows of every tensor that lives in the arena.
        streamed: indices of the outputs that are handed out by rows.
        rounds: effort of the placement.

    Raises: PlanError: the capacities stall.
    """
    net = network(graph, [c.firings for c in chosen], streamed)
    schedule = simulate(net, capacities)
    if schedule.stalled:
        names = ", ".join(graph.tensors[t].name for t in schedule.blocked)
        raise PlanError(f"the capacities stall: no room in the ring of {names}")
    inputs = len(graph.inputs)
    items, firings = arena_items(graph, net, schedule, capacities, stage_sizes(inputs, chosen))
    offsets, arena_bytes = place(list(items.values()), firings, rounds)
    offset = dict(zip(items, offsets, strict=True))
    stages = tuple(
        replace(
            c.stage,
            state=Region(offset.get(("state", number), 0), c.stage.state.bytes),
            scratch=Region(offset.get(("scratch", number), 0), c.stage.scratch.bytes),
        )
        for number, c in enumerate(chosen, inputs)
    )
    rings = tuple(Ring(t, capacities[t], offset["ring", t]) for t in sorted(net.heights))
    macs = [m for c in chosen for m in c.firings.macs]
    return Plan(
        stages=stages,
        rings=rings,
        arena_bytes=arena_bytes,
        macs=sum(macs),
        macs_once=sum(c.firings.macs_once for c in chosen),
        max_step_macs=max(macs, default=0),
        streamed_outputs=streamed,
        isa=isa,
    )
