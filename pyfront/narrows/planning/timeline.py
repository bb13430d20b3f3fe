# SPDX-License-Identifier: Apache-2.0
"""From chosen stages and capacities to a plan: simulate, find lifetimes, place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from narrows.errors import PlanError
from narrows.graph.qgraph import QGraph
from narrows.native import Layout
from narrows.planning.cost import instructions
from narrows.planning.place import Item, Slot, Times, live_bytes, place
from narrows.planning.plan import PORTABLE, Plan, Ring
from narrows.planning.schedule import Network, Schedule, network
from narrows.stages.firings import Columns, Firings, Positions, input_strips, outline
from narrows.stages.stage import Extent, Stage

MOST_SLOTS = 512
"""Parts of a ring that have lifetimes of their own, at most: only tensors of more rows have more
to a part, so that planning them does not take for ever."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A stage that a plan may use, with what it needs.

    stage: its extents have sizes, copies of wrapped rows apart, and no offsets yet.
    columns: those of its state.
    steady_bytes: what it keeps in the middle of a cascade: its state, the pixels of its
        inputs that one firing needs, and those that it gives.
    working_bytes: what it uses beside that while it fires.
    cost: predicted instructions of an inference.
    """

    stage: Stage
    firings: Firings
    columns: Columns | None
    steady_bytes: int
    working_bytes: int
    cost: float

    @cached_property
    def exact(self) -> bool:
        """Whether it computes nothing twice."""
        return self.firings.is_exact


def candidate(
    graph: QGraph,
    stage: Stage,
    layout: Layout = Layout.PLAIN,
    kernels: str = PORTABLE,
    ahead: float = 1.0,
) -> Candidate:
    """Size a stage. ahead: what share of a firing's pixels but one makes its ring longer."""
    found = outline(graph, stage, layout)
    firings, columns = found.firings(), found.columns
    state, scratch = found.state_bytes, found.scratch_bytes
    stage = replace(stage, state=Extent(0, state), scratch=Extent(0, scratch))
    windows = sum(
        int((hi - lo).max()) * graph.tensors[tensor].channels
        for tensor, lo, hi in zip(firings.inputs, firings.lo, firings.hi, strict=True)
    )
    given = int(ahead * (firings.gives_most - 1) * graph.tensors[firings.output].channels)
    idle = columns.idle_bytes if columns else 0
    return Candidate(
        stage,
        firings,
        columns,
        state - idle + windows + given,
        scratch + idle,
        instructions(graph, stage, firings, layout, kernels),
    )


@dataclass(frozen=True, eq=False)
class Timeline:
    """When everything in the arena lives.

    rings: by tensor.
    inputs: how many INPUT stages come before the planned ones.
    """

    graph: QGraph
    net: Network
    schedule: Schedule
    capacities: Mapping[int, int]
    rings: Mapping[int, Item]
    inputs: int

    def items(self, chosen: Sequence[Candidate]) -> dict[tuple[str, int], Item]:
        """Rings, variables, states and scratch: by ("ring", tensor), ("variable", its number), and
        ("state" or "scratch", index of the stage in the plan)."""
        items = {("ring", tensor): item for tensor, item in self.rings.items()}
        ends = np.array([0]), np.array([len(self.schedule.order) - 1])
        for number, variable in enumerate(self.graph.variables):
            if self.ring_of(number) is None:
                tensor = self.graph.tensors[variable.tensor]
                whole = Slot(0, tensor.bytes, *ends)
                items["variable", number] = Item(tensor.name, tensor.bytes, (whole,))
        for number, c in enumerate(chosen):
            times = self.schedule.times[number + self.inputs]
            state, scratch = c.stage.state.bytes, self.scratch_bytes(c)
            if state:
                slots = tuple(self.state_slots(c, times))
                items["state", number] = Item(f"state of stage {number}", state, slots)
            if scratch:
                slots = (Slot(0, scratch, *_bursts(times)),)
                items["scratch", number] = Item(f"scratch of stage {number}", scratch, slots)
        return items

    def ring_of(self, number: int) -> int | None:
        """The tensor in whose ring a variable stands; None if it has a place of its own."""
        variable = self.graph.variables[number]
        shared = self.graph.appended(variable) and variable.source in self.rings
        return variable.source if shared else None

    def variable_offsets(self, offsets: Mapping[tuple[str, int], int]) -> tuple[int, ...]:
        """Where the variables stand, if ``items`` stand there."""
        rings = [self.ring_of(number) for number in range(len(self.graph.variables))]
        return tuple(
            offsets["variable", number] if ring is None else offsets["ring", ring]
            for number, ring in enumerate(rings)
        )

    def state_slots(self, c: Candidate, times: Times) -> Iterator[Slot]:
        """What of a stage's state lives when. times: of its firings."""
        columns = c.columns
        kept = columns.offset if columns else c.stage.state.bytes
        if kept:
            yield Slot(0, kept, times[:1], times[-1:])
        if columns is None:
            return
        out = self.graph.tensors[c.firings.output]
        # The firings before those that give rows need no columns.
        by_row = times[-out.height * -(-out.width // c.stage.strip) :].reshape(out.height, -1)
        for row in range(columns.rows):
            at = columns.offset + row * columns.pitch
            if columns.carried:
                yield Slot(at, columns.carried, by_row[:, 0], by_row[:, -1])
            idle = columns.pitch - columns.carried
            yield Slot(at + columns.carried, idle, *_bursts(by_row.ravel()))

    def scratch_bytes(self, c: Candidate) -> int:
        """Scratch of a stage, with copies of the rows that these rings wrap."""
        scratch = c.stage.scratch.bytes
        for tensor, size in zip(c.firings.inputs, c.firings.wrapped_bytes, strict=True):
            if wraps_rows(self.net, tensor, self.capacities[tensor]):
                scratch += size
        return scratch

    def live_bytes(self, chosen: Sequence[Candidate]) -> Positions:
        """Bytes in use during each firing."""
        return live_bytes(list(self.items(chosen).values()), len(self.schedule.order))

    def placed_bytes(self, chosen: Sequence[Candidate], rounds: int) -> int:
        """Bytes of an arena that holds everything."""
        return place(list(self.items(chosen).values()), len(self.schedule.order), rounds)[1]


def _bursts(times: Times) -> tuple[Times, Times]:
    """The first and last of firings that follow each other."""
    breaks = np.flatnonzero(np.diff(times) > 1)
    return times[np.append(0, breaks + 1)], times[np.append(breaks, -1)]


def wraps_rows(net: Network, tensor: int, capacity: int) -> bool:
    """Whether the end of a ring may cut rows in two."""
    return capacity != net.pixels[tensor] and capacity % net.widths[tensor] != 0


def lifetimes(
    graph: QGraph, net: Network, capacities: Mapping[int, int], schedule: Schedule, inputs: int
) -> Timeline:
    """What a schedule means for the rings. A ring that holds much of its tensor and wraps
    no rows has a slot per row, or per some if there are very many, so that a tensor whose rows die
    can lie over one whose rows are born; any other is one slot."""
    rings = {}
    # Pixels that are there from the start, of a ring that begins with a variable.
    there = {
        v.source: graph.tensors[v.tensor].height * graph.tensors[v.tensor].width
        for v in graph.variables
        if graph.appended(v)
    }
    for number, stage in enumerate(net.stages):
        if stage.output < 0:
            continue
        tensor, capacity = graph.tensors[stage.output], capacities[stage.output]
        pixels = net.pixels[stage.output]
        by_row = 2 * capacity > pixels and capacity % tensor.width == 0
        period = capacity if by_row else pixels
        unit = tensor.width * -(-(period // tensor.width) // MOST_SLOTS) if by_row else pixels
        starts = np.arange(0, period, unit)
        first = (np.arange(0, pixels, period)[:, None] + starts).ravel()
        last = (first.reshape(-1, len(starts)) + np.minimum(unit, period - starts)).ravel() - 1
        last = np.minimum(last[first < pixels], pixels - 1)
        first = first[first < pixels]
        birth, written = (
            schedule.times[number][stage.births(at)].astype(np.int64) for at in (first, last)
        )
        birth[first < there.get(stage.output, 0)] = 0
        death = np.maximum(written, _deaths(net, schedule, stage.output, last))
        sizes = np.minimum(unit, capacity - starts) * tensor.channels
        slots = tuple(
            Slot(
                int(at) * tensor.channels,
                int(size),
                birth[n :: len(starts)],
                death[n :: len(starts)],
            )
            for n, (at, size) in enumerate(zip(starts, sizes, strict=True))
        )
        rings[stage.output] = Item(tensor.name, capacity * tensor.channels, slots)
    return Timeline(graph, net, schedule, capacities, rings, inputs)


def row_lives(timeline: Timeline, tensor: int) -> tuple[Positions, Positions]:
    """When the first pixel of each row of a ring's tensor is written, and when the last one is
    read for the last time, or written if nothing reads it."""
    net, schedule = timeline.net, timeline.schedule
    producer = next(i for i, stage in enumerate(net.stages) if stage.output == tensor)
    width, times = net.widths[tensor], schedule.times[producer]
    first = np.arange(0, net.pixels[tensor], width)
    last = first + width - 1
    births, written = (times[net.stages[producer].births(at)] for at in (first, last))
    return births.astype(np.int64), np.maximum(written, _deaths(net, schedule, tensor, last))


def _deaths(net: Network, schedule: Schedule, tensor: int, pixels: Positions) -> Positions:
    """Per pixel, the last firing that may read it."""
    if tensor in net.held:
        return np.full(len(pixels), len(schedule.order) - 1, np.int64)
    deaths = np.zeros(len(pixels), np.int64)
    for number, which in net.readers[tensor]:
        uses = net.stages[number].last_uses(which, pixels)
        times = schedule.times[number]
        deaths = np.maximum(deaths, np.where(uses < 0, 0, times[uses]))
    return deaths


def simulated(
    graph: QGraph,
    chosen: Sequence[Candidate],
    capacities: Mapping[int, int],
    streamed: tuple[int, ...] = (),
    strips: tuple[int, ...] = (),
) -> Timeline:
    """Run chosen stages, in execution order.

    Args:
        capacities: pixels of every tensor that lives in the arena.
        streamed: indices of the outputs that are handed out by rows.
        strips: as in ``Plan.input_strips``.

    Raises: PlanError: the capacities stall.
    """
    net = network(graph, [c.firings for c in chosen], streamed, strips)
    schedule = net.simulate(capacities)
    if schedule.stalled:
        names = ", ".join(graph.tensors[t].name for t in schedule.blocked)
        raise PlanError(f"the capacities stall: no room in the ring of {names}")
    return lifetimes(graph, net, capacities, schedule, len(graph.inputs))


def lay_out(
    timeline: Timeline,
    chosen: Sequence[Candidate],
    streamed: tuple[int, ...] = (),
    layout: Layout = Layout.PLAIN,
    rounds: int = 8000,
    kernels: str = PORTABLE,
) -> Plan:
    """Place everything. rounds: effort of the placement."""
    items = timeline.items(chosen)
    offsets, arena_bytes = place(list(items.values()), len(timeline.schedule.order), rounds)
    offset = dict(zip(items, offsets, strict=True))
    stages = tuple(
        replace(
            c.stage,
            state=Extent(offset.get(("state", number), 0), c.stage.state.bytes),
            scratch=Extent(offset.get(("scratch", number), 0), timeline.scratch_bytes(c)),
        )
        for number, c in enumerate(chosen)
    )
    macs = np.concatenate([np.zeros(1, np.int64), *(c.firings.macs for c in chosen)])
    strips = tuple(stage.gives_most for stage in timeline.net.stages[: timeline.inputs])
    return Plan(
        stages=stages,
        rings=tuple(
            Ring(t, timeline.capacities[t], offset["ring", t]) for t in sorted(timeline.rings)
        ),
        variables=timeline.variable_offsets(offset),
        arena_bytes=(arena_bytes, 0, 0, 0),
        macs=int(macs.sum()),
        macs_once=sum(c.firings.macs_once for c in chosen),
        max_step_macs=int(macs.max()),
        streamed_outputs=streamed,
        input_strips=() if strips == input_strips(timeline.graph, ()) else strips,
        layout=layout,
        kernels=kernels,
    )
