# SPDX-License-Identifier: Apache-2.0
"""What stands in the arena of a finished plan, firing by firing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from narrows.graph.names import short_name
from narrows.graph.qgraph import QGraph
from narrows.planning.place import Item, live_bytes, round_up
from narrows.planning.plan import Plan
from narrows.planning.schedule import plan_network
from narrows.planning.timeline import Candidate, Timeline, lifetimes
from narrows.stages.firings import Pixels, Positions, outline
from narrows.stages.stage import Extent

_MEMORY_SHIFT = 28


@dataclass(frozen=True, eq=False)
class Tenant:
    """Who has one place of the arena.

    kind: ring, variable, state or scratch. name: the tensor; of state and scratch, the stage's
        output.
    number: of the tensor; of state and scratch, of the stage, as the engine numbers them.
    offset: from the arena's start, the memories one behind the other.
    item: which of its bytes live when.
    """

    kind: str
    name: str
    offset: int
    item: Item
    number: int

    def live_bytes(self, time: int) -> int:
        """Bytes in use during a firing."""
        return sum(slot.size for slot in self.item.slots if slot.is_live(time))


@dataclass(frozen=True, eq=False)
class Occupancy:
    """order: the stage of every firing, as the engine numbers them; stages: by that number, the
    tensor that each writes (OUTPUT: reads)."""

    tenants: tuple[Tenant, ...]
    order: Pixels
    stages: tuple[str, ...]

    @cached_property
    def live(self) -> Positions:
        """Bytes in use during each firing."""
        return live_bytes([tenant.item for tenant in self.tenants], len(self.order))

    @property
    def bound(self) -> int:
        """No placement of these tenants has a smaller arena."""
        return round_up(int(self.live.max(initial=0)))

    @property
    def peak(self) -> int:
        """The first firing with the most bytes in use."""
        return int(self.live.argmax())

    def busy(self, time: int) -> str:
        """The tensor that a firing computes."""
        return self.stages[int(self.order[time])]

    def held(self, time: int) -> list[tuple[Tenant, int]]:
        """Who is there during a firing, with how many bytes; the largest first."""
        found = [(tenant, tenant.live_bytes(time)) for tenant in self.tenants]
        return sorted(((t, n) for t, n in found if n), key=lambda e: (-e[1], e[0].offset))

    def describe_peak(self) -> str:
        """What binds, for a message."""
        largest = self.held(self.peak)[:3]
        parts = ", ".join(f"{describe(tenant)} ({size})" for tenant, size in largest)
        return f"it is fullest when {self.busy(self.peak)} is computed, mostly with {parts}"


def describe(tenant: Tenant) -> str:
    """A tenant in words."""
    return tenant.name if tenant.kind in ("ring", "variable") else f"{tenant.kind} of {tenant.name}"


def replay(graph: QGraph, plan: Plan) -> tuple[Timeline, list[Candidate]]:
    """When everything lives in a plan that verify_plan has proved, and its stages."""
    net = plan_network(graph, plan)
    capacities = {ring.tensor: ring.capacity for ring in plan.rings}
    schedule = net.simulate(capacities)
    timeline = lifetimes(graph, net, capacities, schedule, len(graph.inputs))
    chosen = []
    for number, stage in enumerate(plan.stages, timeline.inputs):
        # A plan's scratch includes copies of wrapped rows, which the timeline counts itself.
        found = outline(graph, stage, plan.layout)
        stage = replace(stage, scratch=Extent(0, found.scratch_bytes))
        chosen.append(Candidate(stage, net.stages[number], found.columns, 0, 0, 0.0))
    return timeline, chosen


def occupancy(graph: QGraph, plan: Plan) -> Occupancy:
    """What stands where and when in a plan that verify_plan has proved."""
    timeline, chosen = replay(graph, plan)
    places = {("ring", ring.tensor): ring.offset for ring in plan.rings}
    places |= {("variable", number): offset for number, offset in enumerate(plan.variables)}
    for number, stage in enumerate(plan.stages):
        places |= {("state", number): stage.state.offset, ("scratch", number): stage.scratch.offset}
    return placed(timeline, chosen, places, plan.arena_bytes)


def placed(
    timeline: Timeline,
    chosen: Sequence[Candidate],
    places: Mapping[tuple[str, int], int],
    memories: Sequence[int],
) -> Occupancy:
    """What stands where and when.

    Args:
        chosen: the stages between inputs and streamed outputs.
        places: offsets, with the number of the memory, of what ``timeline.items`` has.
        memories: bytes of the arena in each.
    """
    tensors, stages = timeline.graph.tensors, timeline.net.stages
    names = tuple(
        short_name(tensors[stage.output if stage.output >= 0 else stage.inputs[0]].name)
        for stage in stages
    )
    tenants = []
    for (kind, key), item in timeline.items(chosen).items():
        if kind in ("ring", "variable"):
            number = key if kind == "ring" else timeline.graph.variables[key].tensor
            name = short_name(tensors[number].name)
        else:
            number = key + timeline.inputs
            name = names[number]
        offset = _flat(places[kind, key], memories)
        tenants.append(Tenant(kind, name, offset, item, number))
    return Occupancy(tuple(tenants), timeline.schedule.order, names)


def _flat(offset: int, memories: Iterable[int]) -> int:
    """An offset of the plan as a distance from the first memory's start."""
    memory = offset >> _MEMORY_SHIFT
    return sum(list(memories)[:memory]) + offset % (1 << _MEMORY_SHIFT)
