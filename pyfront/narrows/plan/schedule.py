# SPDX-License-Identifier: Apache-2.0
"""The order in which the engine fires, and from it when every row lives and dies.

The rule is runtime/SPEC.md's "Firing": of all stages that can fire, the one with the
smallest number does. Capacities alone decide what streams and what waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from narrows.graph.qgraph import QGraph
from narrows.plan.firing import Firings, input_firings, output_firings, stage_firings
from narrows.plan.plan import Plan


@dataclass(frozen=True, eq=False)
class Network:
    """The stages of a plan as the engine numbers them: inputs, planned stages, outputs.

    heights: rows of every tensor that lives in the arena.
    held: tensors that stay to the end (outputs that are not streamed).
    """

    stages: tuple[Firings, ...]
    heights: Mapping[int, int]
    held: frozenset[int]

    @property
    def readers(self) -> dict[int, list[tuple[int, int]]]:
        """Per tensor, its readers: (stage, which of the stage's inputs)."""
        readers: dict[int, list[tuple[int, int]]] = {tensor: [] for tensor in self.heights}
        for number, stage in enumerate(self.stages):
            for i, tensor in enumerate(stage.inputs):
                readers[tensor].append((number, i))
        return readers


def network(graph: QGraph, planned: Sequence[Firings], streamed: Sequence[int]) -> Network:
    """The network of planned stages. streamed: indices of outputs handed out by rows."""
    tensors = dict.fromkeys(graph.outputs[i].tensor for i in streamed)
    stages = (
        *(input_firings(graph, edge.tensor) for edge in graph.inputs),
        *planned,
        *(output_firings(graph, tensor) for tensor in tensors),
    )
    heights = {s.output: graph.tensors[s.output].height for s in stages if s.output >= 0}
    held = frozenset(edge.tensor for edge in graph.outputs) - tensors.keys()
    return Network(stages, heights, held)


def plan_network(graph: QGraph, plan: Plan) -> Network:
    """The network of a finished plan."""
    planned = [stage_firings(graph, stage, stage.state.bytes > 0) for stage in plan.stages]
    return network(graph, planned, plan.streamed_outputs)


@dataclass(frozen=True, eq=False)
class Schedule:
    """order: the stage of every firing.
    times: per stage, when each of its firings happens (index into order).
    stalled: no stage could fire although some had not finished.
    blocked: (if stalled) tensors whose full ring kept a stage with all its input from firing.
    """

    order: list[int]
    times: list[list[int]]
    stalled: bool
    blocked: tuple[int, ...] = ()


def simulate(net: Network, capacities: Mapping[int, int]) -> Schedule:
    """Fire all stages as the engine does.

    capacities: rows of every tensor's ring.
    """
    stages = net.stages
    readers = net.readers
    produced = dict.fromkeys(net.heights, 0)
    dead = {
        tensor: min((stages[s].lo[i][0] for s, i in uses), default=0)
        for tensor, uses in readers.items()
    }
    fired = [0] * len(stages)
    times: list[list[int]] = [[] for _ in stages]
    order: list[int] = []
    producer = {stage.output: number for number, stage in enumerate(stages) if stage.output >= 0}
    reader_stages = {tensor: sorted({s for s, _ in uses}) for tensor, uses in readers.items()}
    # What a firing may wake: itself, readers of what it gave, producers of what it freed.
    inputs = [
        tuple((tensor, stage.lo[i], stage.hi[i]) for i, tensor in enumerate(stage.inputs))
        for stage in stages
    ]

    def can_fire(number: int) -> bool:
        stage = stages[number]
        firing = fired[number]
        if firing == len(stage.gives):
            return False
        for tensor, _, hi in inputs[number]:
            if produced[tensor] < hi[firing]:
                return False
        out = stage.output
        return out < 0 or stage.gives[firing] - dead[out] <= capacities[out]

    ready = 0
    for number in range(len(stages)):
        if can_fire(number):
            ready |= 1 << number
    while ready:
        number = (ready & -ready).bit_length() - 1
        stage = stages[number]
        firing = fired[number]
        fired[number] = firing + 1
        times[number].append(len(order))
        order.append(number)
        touched = [number]
        out = stage.output
        if out >= 0 and stage.gives[firing] != produced[out]:
            produced[out] = stage.gives[firing]
            touched += reader_stages[out]
        finished = firing + 1 == len(stage.gives)
        for tensor, lo, _ in inputs[number]:
            if not finished and lo[firing + 1] == lo[firing]:
                continue
            uses = readers[tensor]
            if len(uses) == 1:
                now_dead = net.heights[tensor] if finished else lo[firing + 1]
            else:
                now_dead = net.heights[tensor]
                for s, i in uses:
                    rows = stages[s].lo[i]
                    if fired[s] < len(rows) and rows[fired[s]] < now_dead:
                        now_dead = rows[fired[s]]
            if now_dead != dead[tensor]:
                dead[tensor] = now_dead
                touched.append(producer[tensor])
        for candidate in touched:
            if can_fire(candidate):
                ready |= 1 << candidate
            else:
                ready &= ~(1 << candidate)
    stalled = any(fired[n] < len(stage.gives) for n, stage in enumerate(stages))
    blocked = tuple(
        stage.output
        for n, stage in enumerate(stages)
        if fired[n] < len(stage.gives)
        and all(produced[tensor] >= hi[fired[n]] for tensor, _, hi in inputs[n])
    )
    return Schedule(order, times, stalled, blocked)
