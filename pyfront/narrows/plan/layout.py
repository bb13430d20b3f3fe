# SPDX-License-Identifier: Apache-2.0
"""From chosen stages and capacities to a plan: simulate, find lifetimes, place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from narrows.errors import PlanError
from narrows.graph.qgraph import QGraph
from narrows.plan.firing import Firings, stage_firings
from narrows.plan.place import Interval, Item, Slot, live_bytes, place
from narrows.plan.plan import Plan, Region, Ring, Stage
from narrows.plan.schedule import Network, Schedule, network, simulate
from narrows.plan.sizes import stage_bytes


@dataclass(frozen=True, eq=False)
class Candidate:
    """A stage that a plan may use, with what it needs.

    stage: its regions have sizes and no offsets yet.
    steady_bytes: what it keeps in the middle of a cascade: its state, and the rows of its
        inputs that one firing needs.
    """

    stage: Stage
    firings: Firings
    steady_bytes: int


def candidate(graph: QGraph, stage: Stage, isa: int = 0, accumulate: bool = True) -> Candidate:
    """Size a stage. accumulate: whether an average pool adds up row by row."""
    state, scratch = stage_bytes(graph, stage, isa, accumulate)
    stage = replace(stage, state=Region(0, state), scratch=Region(0, scratch))
    firings = stage_firings(graph, stage, state > 0)
    windows = sum(
        max(h - n for n, h in zip(lo, hi, strict=True)) * graph.tensors[tensor].row_bytes
        for tensor, lo, hi in zip(firings.inputs, firings.lo, firings.hi, strict=True)
    )
    return Candidate(stage, firings, state + windows)


@dataclass(frozen=True, eq=False)
class Layout:
    """When everything in the arena lives.

    rings: by tensor.
    inputs: how many INPUT stages come before the planned ones.
    """

    schedule: Schedule
    capacities: Mapping[int, int]
    rings: Mapping[int, Item]
    inputs: int

    def items(self, chosen: Sequence[Candidate]) -> dict[tuple[str, int], Item]:
        """Rings, states and scratch: by ("ring", tensor), and ("state" or "scratch", index
        of the stage in the plan)."""
        items = {("ring", tensor): item for tensor, item in self.rings.items()}
        for number, c in enumerate(chosen):
            times = self.schedule.times[number + self.inputs]
            lives = {"state": ((times[0], times[-1]),), "scratch": _runs(times)}
            sizes = {"state": c.stage.state.bytes, "scratch": c.stage.scratch.bytes}
            for kind, size in sizes.items():
                if size:
                    slot = Slot(0, size, lives[kind])
                    items[kind, number] = Item(f"{kind} of stage {number}", size, (slot,))
        return items

    def live_bytes(self, chosen: Sequence[Candidate]) -> list[int]:
        """Bytes in use during each firing."""
        return live_bytes(list(self.items(chosen).values()), len(self.schedule.order))

    def placed_bytes(self, chosen: Sequence[Candidate], rounds: int) -> int:
        """Bytes of an arena that holds everything."""
        return place(list(self.items(chosen).values()), len(self.schedule.order), rounds)[1]


def lifetimes(
    graph: QGraph, net: Network, capacities: Mapping[int, int], schedule: Schedule, inputs: int
) -> Layout:
    """What a schedule means for the rings."""
    readers = net.readers
    rings = {}
    for number, stage in enumerate(net.stages):
        if stage.output < 0:
            continue
        tensor, capacity = graph.tensors[stage.output], capacities[stage.output]
        deaths = _deaths(net, schedule, stage.output, readers[stage.output])
        births = [schedule.times[number][firing] for firing in stage.birth]
        lives = [(b, max(b, d)) for b, d in zip(births, deaths, strict=True)]
        slots = _ring_slots(lives, capacity, tensor.row_bytes)
        rings[stage.output] = Item(tensor.name, capacity * tensor.row_bytes, slots)
    return Layout(schedule, capacities, rings, inputs)


def _deaths(
    net: Network, schedule: Schedule, tensor: int, uses: Iterable[tuple[int, int]]
) -> list[int]:
    """Per row, the last firing that may read it."""
    height = net.heights[tensor]
    if tensor in net.held:
        return [len(schedule.order) - 1] * height
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
        Slot(slot * row_bytes, row_bytes, tuple(lives[slot::capacity])) for slot in range(capacity)
    )


def _runs(times: list[int]) -> tuple[Interval, ...]:
    runs: list[Interval] = []
    for time in times:
        if runs and runs[-1][1] == time - 1:
            runs[-1] = (runs[-1][0], time)
        else:
            runs.append((time, time))
    return tuple(runs)


def simulated(
    graph: QGraph,
    chosen: Sequence[Candidate],
    capacities: Mapping[int, int],
    streamed: tuple[int, ...] = (),
) -> Layout:
    """Run chosen stages, in execution order.

    Args:
        capacities: rows of every tensor that lives in the arena.
        streamed: indices of the outputs that are handed out by rows.

    Raises: PlanError: the capacities stall.
    """
    net = network(graph, [c.firings for c in chosen], streamed)
    schedule = simulate(net, capacities)
    if schedule.stalled:
        names = ", ".join(graph.tensors[t].name for t in schedule.blocked)
        raise PlanError(f"the capacities stall: no room in the ring of {names}")
    return lifetimes(graph, net, capacities, schedule, len(graph.inputs))


def lay_out(
    layout: Layout,
    chosen: Sequence[Candidate],
    streamed: tuple[int, ...] = (),
    isa: int = 0,
    rounds: int = 400,
) -> Plan:
    """Place everything. rounds: effort of the placement."""
    items = layout.items(chosen)
    offsets, arena_bytes = place(list(items.values()), len(layout.schedule.order), rounds)
    offset = dict(zip(items, offsets, strict=True))
    stages = tuple(
        replace(
            c.stage,
            state=Region(offset.get(("state", number), 0), c.stage.state.bytes),
            scratch=Region(offset.get(("scratch", number), 0), c.stage.scratch.bytes),
        )
        for number, c in enumerate(chosen)
    )
    macs = [m for c in chosen for m in c.firings.macs]
    return Plan(
        stages=stages,
        rings=tuple(Ring(t, layout.capacities[t], offset["ring", t]) for t in sorted(layout.rings)),
        arena_bytes=arena_bytes,
        macs=sum(macs),
        macs_once=sum(c.firings.macs_once for c in chosen),
        max_step_macs=max(macs, default=0),
        streamed_outputs=streamed,
        isa=isa,
    )
