# SPDX-License-Identifier: Apache-2.0
"""Which operators fuse, and where cascades are cut.

A *cut* is a tensor that everything behind it needs and that nothing else crosses. If it
is held whole, all that comes before it has finished before anything behind it begins,
since the engine fires what is nearest the input. So a network is a chain of *cascades*
between cuts that do not see each other, and the arena is as large as the largest cascade:
a shortest path, where a path is as long as its longest edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.errors import PlanError
from narrows.graph.qgraph import QGraph
from narrows.plan.candidates import Candidates, fusions
from narrows.plan.firing import Firings
from narrows.plan.fusion import bottleneck
from narrows.plan.layout import Candidate, Layout, lifetimes
from narrows.plan.schedule import Network, Schedule, network, simulate

Rows: TypeAlias = npt.NDArray[np.int64]

PLACE_ROUNDS = 60
"""Effort of trial placements."""

Groups = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class Cascade:
    """Stages between two cuts, and the rings they need to run without a stall.

    first, end: the operators [first, end) of the graph.
    whole: tensors held whole beside the cuts.
    """

    first: int
    end: int
    chosen: tuple[Candidate, ...]
    whole: frozenset[int]
    layout: Layout

    @cached_property
    def peak(self) -> int:
        """Bytes live at once at most, the cuts at both ends included."""
        return max(self.layout.live_bytes(self.chosen))

    @cached_property
    def bytes(self) -> int:
        """Bytes of an arena of its own."""
        return self.layout.placed_bytes(self.chosen, PLACE_ROUNDS)


def needed_rows(net: Network) -> dict[int, int]:
    """Rows that each ring needs at least: what one firing of a reader sees of it, from its
    lowest row to the highest that must be there for any of the reader's inputs to be."""
    rows = dict.fromkeys(net.heights, 1)
    for stage in net.stages:
        if stage.output >= 0:
            given = max(b - a for a, b in zip([0, *stage.gives], stage.gives, strict=False))
            rows[stage.output] = max(rows[stage.output], given)
    for number, reader in enumerate(net.stages):
        demand = _demand(net, number) if len(set(reader.inputs)) > 1 else {}
        for i, tensor in enumerate(reader.inputs):
            highest = demand.get(tensor, reader.hi_array[i])
            rows[tensor] = max(rows[tensor], int((highest - reader.lo_array[i]).max()))
    return rows


def _demand(net: Network, number: int) -> dict[int, Rows]:
    """Per tensor, the rows that must have been produced before each firing of a stage."""
    demand: dict[int, Rows] = {}

    def ask(tensor: int, rows: Rows) -> None:
        known = demand.get(tensor)
        demand[tensor] = rows if known is None else np.maximum(known, rows)

    for i, tensor in enumerate(net.stages[number].inputs):
        ask(tensor, net.stages[number].hi_array[i])
    for stage in reversed(net.stages[:number]):
        rows = demand.get(stage.output)
        if rows is not None and stage.inputs:
            firing = stage.birth_array[np.maximum(rows, 1) - 1]
            for i, tensor in enumerate(stage.inputs):
                ask(tensor, np.where(rows > 0, stage.hi_array[i][firing], 0))
    return demand


def least_capacities(net: Network, whole: frozenset[int]) -> tuple[dict[int, int], Schedule]:
    """The shortest rings that do not stall: none can be shorter while the others stay.

    Grown from what single firings need, while full rings block; then what grew in vain is
    taken back.

    whole: tensors held whole.

    Raises: PlanError: the network stalls with whole tensors even.
    """
    least = needed_rows(net)
    readers = net.readers
    for tensor, height in net.heights.items():
        if tensor in whole or tensor in net.held or not readers[tensor]:
            least[tensor] = height
    capacities = dict(least)
    while (schedule := simulate(net, capacities)).stalled:
        grown = [t for t in schedule.blocked if capacities[t] < net.heights[t]]
        if not grown:
            raise PlanError("the network stalls with every tensor whole")
        for tensor in grown:
            capacities[tensor] += max(1, capacities[tensor] // 4)
            capacities[tensor] = min(capacities[tensor], net.heights[tensor])
    for tensor in [tensor for tensor in capacities if capacities[tensor] > least[tensor]]:
        low, high = least[tensor], capacities[tensor]
        while low < high:  # longer rings never stall where shorter ones do not
            middle = (low + high) // 2
            trial = simulate(net, {**capacities, tensor: middle})
            if trial.stalled:
                low = middle + 1
            else:
                high, schedule = middle, trial
        capacities[tensor] = high
    return capacities, schedule


class Search:
    """The best cascades of one network."""

    def __init__(
        self,
        graph: QGraph,
        candidates: Candidates,
        fuse: bool,
        streamed: tuple[int, ...],
    ) -> None:
        self.graph = graph
        self.candidates = candidates
        self.streamed = streamed
        self.groups = list(fusions(graph)) if fuse else []
        if candidates.tiling:  # inverted residuals only
            self.groups = [g for g in self.groups if bottleneck(graph, g).project]
        self.cuts = cut_points(graph)
        self.kept = kept_bytes(graph, candidates)

    def best(self) -> list[Cascade]:
        """The cascades of which the largest is least.

        What a cascade needs is found only where the shortest path passes, in steps that
        cost more and more: an estimate from below, the bytes that live at once in each
        way to run it, and their placement.
        """
        ends = [0, *self.cuts, len(self.graph.ops)]
        costs = {(a, b): self.estimate(a, b) for i, b in enumerate(ends) for a in ends[:i] if a < b}
        ways: dict[tuple[int, int], list[Cascade]] = {}
        placed: dict[tuple[int, int], Cascade] = {}
        while True:
            path = shortest_path(ends, costs.__getitem__)
            unknown = [edge for edge in path if edge not in placed]
            if not unknown:
                return self.refine([placed[edge] for edge in path])
            edge = max(unknown, key=costs.__getitem__)
            if edge not in ways:
                ways[edge] = self.ways(*edge)
                costs[edge] = ways[edge][0].peak
            else:
                placed[edge] = least_bytes(ways[edge])
                costs[edge] = placed[edge].bytes

    def partition(self, first: int, end: int) -> list[Candidate]:
        """Stages of the operators [first, end) with the least state and rings."""
        groups = self.inside(first, end)
        return partition(self.graph, self.candidates, groups, range(first, end))

    def estimate(self, first: int, end: int) -> int:
        """A lower bound of a cascade's peak, roughly."""
        steady = sum(c.steady_bytes for c in self.partition(first, end))
        steady += sum(self.kept.get(op.output, 0) for op in self.graph.ops[first : end - 1])
        edges = [self.graph.ops[index - 1].output for index in (first, end) if index]
        return max(steady, *(self.graph.tensors[tensor].bytes for tensor in edges))

    def ways(self, first: int, end: int) -> list[Cascade]:
        """A cascade fused or not, streamed or not; the least peak first."""
        fused = self.partition(first, end)
        alone = [self.candidates.single(index) for index in range(first, end)]
        found = []
        for chosen in (fused, alone):
            inner = frozenset(c.firings.output for c in chosen)
            found += [self.evaluate(first, end, chosen, whole) for whole in (frozenset(), inner)]
        return sorted(found, key=lambda c: c.peak)

    def evaluate(
        self, first: int, end: int, chosen: Sequence[Candidate], whole: frozenset[int]
    ) -> Cascade:
        """Simulate a cascade. whole: tensors held whole beside the cuts at its ends."""
        net = self.cascade_network(first, end, chosen)
        cuts = {self.graph.ops[index - 1].output for index in (first, end) if index}
        capacities, schedule = least_capacities(net, whole | cuts)
        inputs = 1 if first else len(self.graph.inputs)
        layout = lifetimes(self.graph, net, capacities, schedule, inputs)
        return Cascade(first, end, tuple(chosen), whole, layout)

    def refine(self, cascades: list[Cascade]) -> list[Cascade]:
        """Improve the largest cascade by single changes, as long as that helps."""
        while True:
            worst = max(cascades, key=lambda c: c.bytes)
            changed = sorted(self.changes(worst), key=lambda c: c.peak)
            better = least_bytes([worst, *changed])
            if better is worst:
                return cascades
            cascades = [better if c is worst else c for c in cascades]

    def changes(self, cascade: Cascade) -> Iterator[Cascade]:
        """A cascade with one more or one less tensor held whole, or fused differently."""
        first, end, chosen, whole = cascade.first, cascade.end, cascade.chosen, cascade.whole
        for c in chosen[:-1]:
            yield self.evaluate(first, end, chosen, whole ^ {c.firings.output})
        taken = {c.stage.ops for c in chosen}
        for group in self.inside(first, end):
            if group in taken:
                parts = [self.candidates.single(index) for index in group]
            else:
                parts = [self.candidates.fused(group)]
            broken = [c for c in chosen if set(c.stage.ops) & set(group)]
            freed = {index for c in broken for index in c.stage.ops} - set(group)
            parts += [self.candidates.single(index) for index in sorted(freed)]
            kept = [c for c in chosen if c not in broken]
            yield self.evaluate(first, end, in_order([*kept, *parts]), whole)

    def inside(self, first: int, end: int) -> list[tuple[int, ...]]:
        """The groups of operators within [first, end)."""
        return [group for group in self.groups if group[0] >= first and group[-1] < end]

    def cascade_network(self, first: int, end: int, chosen: Sequence[Candidate]) -> Network:
        """The stages of a cascade; the cut at its start is there at once."""
        whole = network(self.graph, [c.firings for c in chosen], self.streamed_in(first, end))
        if not first:
            stages = whole.stages
        else:
            start = self.graph.ops[first - 1].output
            height = self.graph.tensors[start].height
            source = Firings((), start, (), (), [height], [0], 0)
            stages = (source, *whole.stages[len(self.graph.inputs) :])
        heights = {s.output: self.graph.tensors[s.output].height for s in stages if s.output >= 0}
        last = self.graph.ops[end - 1].output
        held = (whole.held & heights.keys()) | ({last} if end < len(self.graph.ops) else set())
        return Network(stages, heights, frozenset(held))

    def streamed_in(self, first: int, end: int) -> tuple[int, ...]:
        made = {op.output for op in self.graph.ops[first:end]}
        return tuple(i for i in self.streamed if self.graph.outputs[i].tensor in made)


def least_bytes(cascades: Sequence[Cascade]) -> Cascade:
    """The first of those that need least; peaks rise from the second on."""
    best = cascades[0]
    for other in cascades[1:]:
        if other.peak >= best.bytes:
            break
        if other.bytes < best.bytes:
            best = other
    return best


def kept_bytes(graph: QGraph, candidates: Candidates) -> dict[int, int]:
    """Bytes of the tensors that must be whole although they are no cuts: those that are
    multiplied by their own mean, for one."""
    net = network(graph, [candidates.single(i).firings for i in range(len(graph.ops))], ())
    return {
        tensor: graph.tensors[tensor].bytes
        for tensor, rows in needed_rows(net).items()
        if rows == net.heights[tensor] > 1
    }


def cut_points(graph: QGraph) -> list[int]:
    """Operator counts after which exactly one tensor, the last written, is still needed."""
    last_reader = {t: i for i, op in enumerate(graph.ops) for t in op.inputs}
    streams = {edge.tensor for edge in graph.inputs}
    cuts = []
    for index, op in enumerate(graph.ops[:-1]):
        streams.add(op.output)
        crossing = [t for t in streams if last_reader.get(t, -1) > index]
        if crossing == [op.output]:
            cuts.append(index + 1)
    return cuts


def shortest_path(ends: list[int], cost: Callable[[tuple[int, int]], int]) -> list[tuple[int, int]]:
    """The path from the first to the last end whose largest cost is least; of several, the
    one whose costs have the least sum."""
    best: dict[int, tuple[int, int, tuple[tuple[int, int], ...]]] = {ends[0]: (0, 0, ())}
    for i, end in enumerate(ends[1:], 1):
        options = []
        for start in ends[:i]:
            largest, total, path = best[start]
            c = cost((start, end))
            options.append((max(largest, c), total + c, (*path, (start, end))))
        best[end] = min(options)
    return list(best[ends[-1]][2])


def partition(
    graph: QGraph, candidates: Candidates, groups: list[tuple[int, ...]], ops: range
) -> list[Candidate]:
    """The cheapest choice of disjoint groups, with all other operators alone.

    Cost is what the stages keep all the time (Candidate.steady_bytes), which adds up; so
    a group is worth what it saves, and chains of groups that share operators are solved
    from left to right.
    """
    alone = {index: candidates.single(index) for index in ops}
    by_depthwise: dict[int, list[tuple[int, ...]]] = {}
    for group in groups:
        key = next(i for i in group if graph.ops[i].kind == "depthwise")
        by_depthwise.setdefault(key, []).append(group)
    # Least cost so far, by the set of operators taken that a later group could want.
    states: dict[frozenset[int], tuple[int, Groups]] = {frozenset(): (0, ())}
    keys = sorted(by_depthwise)
    for position, key in enumerate(keys):
        wanted = {i for later in keys[position + 1 :] for g in by_depthwise[later] for i in g}
        following: dict[frozenset[int], tuple[int, Groups]] = {}
        for taken, (cost, picked) in states.items():
            for group in [(), *by_depthwise[key]]:
                if taken & set(group):
                    continue
                now_taken = frozenset((taken | set(group)) & wanted)
                saved = sum(alone[i].steady_bytes for i in group)
                added = candidates.fused(group).steady_bytes if group else 0
                option = (cost - saved + added, (*picked, group) if group else picked)
                if now_taken not in following or option < following[now_taken]:
                    following[now_taken] = option
        states = following
    _, picked = min(states.values())
    fused = {i for group in picked for i in group}
    chosen = [candidates.fused(group) for group in picked]
    chosen += [alone[index] for index in ops if index not in fused]
    return in_order(chosen)


def in_order(chosen: Sequence[Candidate]) -> list[Candidate]:
    """Stages in execution order."""
    return sorted(chosen, key=lambda c: c.stage.ops[-1])
