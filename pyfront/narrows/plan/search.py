# SPDX-License-Identifier: Apache-2.0
"""Which operators fuse, and where cascades are cut.

A *cut* is a tensor that everything behind it needs and that nothing else crosses. If it
is held whole, all that comes before it has finished before anything behind it begins,
since the engine fires what is nearest the input. So a network is a chain of *cascades*
between cuts that do not see each other: the arena is as large as the largest cascade, and
the cost is their sum. For a budget of bytes the cheapest plan is a shortest path over those
forms of cascades that fit.

A cascade's forms come from a price: where a byte of RAM costs so many instructions, what each
stage should be (alone or fused, its runs, slices and tiles) is a sum of independent choices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from narrows.errors import PlanError
from narrows.graph.qgraph import QGraph
from narrows.plan.candidates import FREE, Candidates, Price, fusions, worth
from narrows.plan.firing import Firings, Pixels
from narrows.plan.fusion import bottleneck
from narrows.plan.layout import Candidate, Layout, lifetimes
from narrows.plan.place import round_up
from narrows.plan.schedule import Network, Schedule, network, network_of

PLACE_ROUNDS = 40
"""Effort of trial placements."""

PRICES = (
    FREE,
    *(
        Price(p, share * p, exact)
        for exact in (True, False)
        for share in (0.3, 1.0)
        for p in (10.0 * 1.5**n for n in range(31))
    ),
)
"""At each price a cascade has one cheapest form."""

GUESS = 0.7
"""What share of its estimate a cascade may turn out to need."""

LIKENESS = 0.93
"""What share of what one form needs, relative to its estimate, others need at least."""

WORTHWHILE = 0.001
"""Share of all instructions for which it is worth to look for a form between two."""

TRIALS = 6
"""Simulations of one cascade that is being shortened."""

FORBIDDEN = 1e18
"""Instructions, more than any network has."""

Edge = tuple[int, int]
"""The operators [first, end) of a cascade."""


@dataclass(eq=False)
class Way:
    """One form of a cascade: which stages run it.

    estimate: of the bytes it needs.
    bytes: an optimistic estimate at first, then what has been found.
    cost: instructions.
    """

    chosen: tuple[Candidate, ...]
    whole: frozenset[int]
    estimate: int
    bytes: int
    cost: float
    cascade: Cascade | None = None
    placed: bool = False

    def bytes_of(self, simulated: bool) -> int:
        """What is said to be needed before anything is placed, simulated or estimated."""
        return self.cascade.peak if simulated and self.cascade else self.estimate


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
        return round_up(int(self.layout.live_bytes(self.chosen).max()))

    @cached_property
    def placed(self) -> int:
        """Bytes of an arena of its own."""
        return self.layout.placed_bytes(self.chosen, PLACE_ROUNDS)

    @property
    def cost(self) -> float:
        """Instructions."""
        return sum(c.cost for c in self.chosen)


def needed_pixels(net: Network) -> dict[int, int]:
    """Pixels that each ring needs at least: from the lowest that one firing of a reader needs
    to the highest that is there when all that the firing needs is."""
    producer = {stage.output: stage for stage in net.stages if stage.output >= 0}
    pixels = {tensor: stage.gives_most for tensor, stage in producer.items()}
    for number, reader in enumerate(net.stages):
        demand = _demand(net, number) if len(set(reader.inputs)) > 1 else {}
        for i, tensor in enumerate(reader.inputs):
            highest = demand.get(tensor, reader.hi[i])
            given = producer[tensor].given
            there = given[np.searchsorted(given, highest)]
            pixels[tensor] = max(pixels[tensor], int((there - reader.lo[i]).max()))
    return {tensor: whole_units(net, tensor, count) for tensor, count in pixels.items()}


def whole_units(net: Network, tensor: int, pixels: int) -> int:
    """The least capacity from ``pixels`` on that a ring may have."""
    unit = net.units[tensor]
    return min(-(-pixels // unit) * unit, net.pixels[tensor])


def _demand(net: Network, number: int) -> dict[int, Pixels]:
    """Per tensor, the pixels that must have been produced before each firing of a stage."""
    demand: dict[int, Pixels] = {}

    def ask(tensor: int, pixels: Pixels) -> None:
        known = demand.get(tensor)
        demand[tensor] = pixels if known is None else np.maximum(known, pixels)

    for i, tensor in enumerate(net.stages[number].inputs):
        ask(tensor, net.stages[number].hi[i])
    for stage in reversed(net.stages[:number]):
        pixels = demand.get(stage.output)
        if pixels is not None and stage.inputs:
            firing = stage.births(np.maximum(pixels, 1) - 1)
            for i, tensor in enumerate(stage.inputs):
                ask(tensor, np.where(pixels > 0, np.maximum.accumulate(stage.hi[i])[firing], 0))
    return demand


def least_capacities(
    net: Network, whole: frozenset[int], channels: Mapping[int, int]
) -> tuple[dict[int, int], Schedule]:
    """The shortest rings that do not stall: none can be shorter while the others stay.

    Where a short way and a long one meet, some ring on the short way must hold what waits for
    the long one: any that is full when the network stalls may be grown. Of those that are all
    grown together, and only the one nearest the output, what needs fewer bytes is taken.

    whole: tensors held whole. channels: bytes of a pixel of each tensor.

    Raises: PlanError: the network stalls with whole tensors even.
    """
    least = needed_pixels(net)
    for tensor, pixels in net.pixels.items():
        if tensor in whole or tensor in net.held or not net.readers[tensor]:
            least[tensor] = pixels
    schedule = net.simulate(least)
    if not schedule.stalled:
        return least, schedule
    found = [_grown(net, least, channels, last) for last in (False, True)]
    return min(found, key=lambda f: sum(n * channels[t] for t, n in f[0].items()))


def _grown(
    net: Network, least: Mapping[int, int], channels: Mapping[int, int], last: bool
) -> tuple[dict[int, int], Schedule]:
    """Rings grown from ``least`` on until nothing stalls; then what grew in vain is taken back.

    last: grow only the full ring nearest the output, not all that are full.
    """
    capacities = dict(least)
    while (schedule := net.simulate(capacities)).stalled:
        grown = [t for t in schedule.blocked if capacities[t] < net.pixels[t]]
        if not grown:
            raise PlanError("the network stalls with every tensor whole")
        for tensor in grown[-1:] if last else grown:
            more = capacities[tensor] + max(1, capacities[tensor] // (3 if last else 8))
            capacities[tensor] = whole_units(net, tensor, more)
    changed = [tensor for tensor in capacities if capacities[tensor] > least[tensor]]
    for tensor in sorted(changed, key=lambda t: -capacities[t] * channels[t]):
        unit = net.units[tensor]
        low, high = -(-least[tensor] // unit), -(-capacities[tensor] // unit)
        while low < high:  # longer rings never stall where shorter ones do not
            middle = (low + high) // 2
            trial = net.simulate({**capacities, tensor: whole_units(net, tensor, middle * unit)})
            if trial.stalled:
                low = middle + 1
            else:
                high, schedule = middle, trial
        capacities[tensor] = whole_units(net, tensor, high * unit)
    return capacities, schedule


class Search:
    """The cheapest cascades of one network, for any number of bytes."""

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
        self.ending: dict[int, list[tuple[int, ...]]] = {}
        for group in fusions(graph) if fuse else ():
            neighbours = group == tuple(range(group[0], group[-1] + 1))
            inverted = bottleneck(graph, group).project is not None
            if neighbours and (inverted or not candidates.tiling):
                self.ending.setdefault(group[-1] + 1, []).append(group)
        # Prescribed tiles leave no choice: no part of an inverted residual stands alone if it can
        # be helped.
        self.bound = {
            index
            for groups in self.ending.values()
            for group in groups
            for index in group
            if candidates.tiling
        }
        self.ends = [0, *cut_points(graph), len(graph.ops)]
        self.channels = {i: tensor.channels for i, tensor in enumerate(graph.tensors)}
        self.kept = kept_bytes(graph, candidates)
        self._ways: dict[Edge, list[Way]] = {}
        self._partitions: dict[tuple[int, Price], list[tuple[float, tuple[Candidate, ...]]]] = {}
        self._trimmed: set[tuple[Edge, Way]] = set()

    def cheapest(self, limit: float) -> list[Cascade] | None:
        """The cascades that cost least of those that need at most ``limit`` bytes each; None if
        none do.

        What a cascade needs is found only where the cheapest path passes.
        """
        while True:
            path = self.path(limit)
            if path is None:
                return None
            known = False
            for edge, way in path:
                if way.cascade is None:
                    way.cascade = self.evaluate(*edge, way.chosen, way.whole)
                    self.learn(edge, way, way.cascade.peak)
                    known = True
            if known and any(way.bytes > limit for _, way in path):
                continue
            for edge, way in path:
                assert way.cascade is not None
                if not way.placed:
                    way.placed = True
                    self.learn(edge, way, way.cascade.placed)
            if any(way.bytes > limit for _, way in path):
                continue
            if not self.trim(path, limit):
                return [way.cascade for _, way in path if way.cascade is not None]

    def learn(self, edge: Edge, known: Way, found: int) -> None:
        """What one form has turned out to need tells about those like it."""
        share = LIKENESS * found / known.bytes_of(known.placed)
        for way in self._ways[edge]:
            alike = way.whole == known.whole and not way.placed
            if alike and (way.cascade is not None) == known.placed:
                way.bytes = max(way.bytes, int(share * way.bytes_of(known.placed)))
        known.bytes = found

    def forget(self, cascade: Cascade) -> None:
        """Use this form of a cascade no more."""
        edge = (cascade.first, cascade.end)
        self._ways[edge] = [way for way in self._ways[edge] if way.cascade is not cascade]

    def trim(self, path: list[tuple[Edge, Way]], limit: float) -> bool:
        """Look between the forms that prices give: shorten the next cheaper form of each cascade
        until it fits. Whether any has been found."""
        total = sum(way.cost for _, way in path)
        found = False
        for edge, way in path:
            cheaper = [w for w in self._ways[edge] if w.cost < way.cost - WORTHWHILE * total]
            if cheaper and (edge, way) not in self._trimmed:
                self._trimmed.add((edge, way))
                start = max(cheaper, key=lambda w: w.cost)
                trimmed = self.trimmed(edge, start, limit, way.cost)
                if trimmed is not None:
                    self._ways[edge].append(trimmed)
                    found = True
        return found

    def trimmed(self, edge: Edge, way: Way, limit: float, most: float) -> Way | None:
        """A form that fits into ``limit`` bytes by single changes of stages, each the one that
        saves most of what is too much per instruction; None if it would cost ``most`` or more."""
        cascade = way.cascade or self.evaluate(*edge, way.chosen, way.whole)
        chosen = list(way.chosen)
        for _ in range(TRIALS):
            excess = cascade.peak - limit
            if excess <= 0:
                cost = cascade.cost
                peak = cascade.peak
                return Way(tuple(chosen), way.whole, peak, peak, cost, cascade)
            while excess > 0:
                changes = [
                    (min(saved, excess) / max(option.cost - c.cost, 1.0), saved, number, option)
                    for number, c in enumerate(chosen)
                    for option in self.candidates.options(c.stage.ops)
                    if (saved := c.steady_bytes - option.steady_bytes) > 0
                    and option.stage.scratch.bytes - c.stage.scratch.bytes < saved
                ]
                if not changes:
                    return None
                _, saved, number, option = max(changes, key=lambda change: change[:3])
                chosen[number] = option
                excess -= saved
            if sum(c.cost for c in chosen) >= most:
                return None
            cascade = self.evaluate(*edge, chosen, way.whole)
        return None

    def path(self, limit: float) -> list[tuple[Edge, Way]] | None:
        """The cheapest chain of cascades from the first operator to the last."""
        best: dict[int, tuple[float, int, tuple[tuple[Edge, Way], ...]]] = {0: (0.0, 0, ())}
        for i, end in enumerate(self.ends[1:], 1):
            options = []
            for start in self.ends[:i]:
                if start not in best or start == end:
                    continue
                way = self.way((start, end), limit)
                if way is not None:
                    cost, size, path = best[start]
                    options.append(
                        (cost + way.cost, size + way.bytes, (*path, ((start, end), way)))
                    )
            if options:
                best[end] = min(options, key=lambda option: option[:2])
        found = best.get(self.ends[-1])
        return None if found is None else list(found[2])

    def way(self, edge: Edge, limit: float) -> Way | None:
        """The cheapest form of a cascade that may need at most ``limit`` bytes."""
        if edge not in self._ways:
            self._ways[edge] = list(self.ways(*edge))
        fitting = [way for way in self._ways[edge] if way.bytes <= limit]
        return min(fitting, key=lambda way: (way.cost, way.bytes), default=None)

    def ways(self, first: int, end: int) -> Iterator[Way]:
        """The forms of a cascade: one for each price of a byte, streamed or held whole."""
        cuts = [self.graph.ops[index - 1].output for index in (first, end) if index]
        beside = max((self.graph.tensors[tensor].bytes for tensor in cuts), default=0)
        beside += sum(self.kept.get(op.output, 0) for op in self.graph.ops[first : end - 1])
        forms = [
            self.partition(first, end, price)
            for price in PRICES
            if price.exact or self.candidates.recompute
        ]
        if not self.bound:
            forms.append(tuple(self.candidates.best((i,), FREE) for i in range(first, end)))
        plain = {forms[0], forms[-1]}
        for chosen in dict.fromkeys(forms):
            cost = sum(c.cost + self.penalty(c.stage.ops) for c in chosen)
            steady = sum(c.steady_bytes for c in chosen)
            scratch = max(c.stage.scratch.bytes for c in chosen)
            size = beside + steady + scratch
            yield Way(chosen, frozenset(), size, int(GUESS * size), cost)
            if len(chosen) > 1 and chosen in plain:
                inner = frozenset(c.firings.output for c in chosen)
                outer = inner if first else inner | {edge.tensor for edge in self.graph.inputs}
                for whole in dict.fromkeys((inner, outer)):
                    size = max(self.graph.tensors[tensor].bytes for tensor in whole)
                    yield Way(chosen, whole, size, size, cost)

    def penalty(self, ops: tuple[int, ...]) -> float:
        """Of an operator alone that should not be."""
        return FORBIDDEN if len(ops) == 1 and ops[0] in self.bound else 0.0

    def partition(self, first: int, end: int, price: Price) -> tuple[Candidate, ...]:
        """The stages of the operators [first, end) that are cheapest at a price."""
        key = (first, price)
        if key not in self._partitions:
            self._partitions[key] = self.partitions(first, price)
        return self._partitions[key][end - first][1]

    def partitions(self, first: int, price: Price) -> list[tuple[float, tuple[Candidate, ...]]]:
        """For each number of operators from ``first`` on, the cheapest stages and their worth:
        a shortest path, since what stages are worth adds up."""
        best: list[tuple[float, tuple[Candidate, ...]]] = [(0.0, ())]
        for end in range(first + 1, len(self.graph.ops) + 1):
            options = []
            for group in ((end - 1,), *self.ending.get(end, ())):
                if group[0] >= first:
                    c = self.candidates.best(group, price)
                    value, before = best[group[0] - first]
                    value += worth(c, price)[0] + self.penalty(group)
                    options.append((value, -len(group), before, c))
            value, _, before, c = min(options, key=lambda option: option[:2])
            best.append((value, (*before, c)))
        return best

    def evaluate(
        self, first: int, end: int, chosen: Sequence[Candidate], whole: frozenset[int]
    ) -> Cascade:
        """Simulate a cascade. whole: tensors held whole beside the cuts at its ends."""
        net = self.cascade_network(first, end, chosen)
        cuts = {self.graph.ops[index - 1].output for index in (first, end) if index}
        capacities, schedule = least_capacities(net, whole | cuts, self.channels)
        inputs = 1 if first else len(self.graph.inputs)
        layout = lifetimes(self.graph, net, capacities, schedule, inputs)
        return Cascade(first, end, tuple(chosen), whole, layout)

    def cascade_network(self, first: int, end: int, chosen: Sequence[Candidate]) -> Network:
        """The stages of a cascade; the cut at its start is there at once."""
        streamed = self.streamed_in(first, end)
        whole = network(self.graph, [c.firings for c in chosen], streamed)
        last = {self.graph.ops[end - 1].output} if end < len(self.graph.ops) else set()
        if not first:
            return network_of(self.graph, whole.stages, whole.held | last)
        start = self.graph.ops[first - 1].output
        info = self.graph.tensors[start]
        given = np.array([info.height * info.width], np.int32)
        source = Firings((), start, (), (), given, np.zeros(1, np.int64), 0)
        stages = (source, *whole.stages[len(self.graph.inputs) :])
        return network_of(self.graph, stages, whole.held | last)

    def streamed_in(self, first: int, end: int) -> tuple[int, ...]:
        made = {op.output for op in self.graph.ops[first:end]}
        return tuple(i for i in self.streamed if self.graph.outputs[i].tensor in made)


def kept_bytes(graph: QGraph, candidates: Candidates) -> dict[int, int]:
    """Bytes of the tensors that must be whole although they are no cuts: those that are
    multiplied by their own mean, for one."""
    stages = [candidates.best((i,), PRICES[-1]).firings for i in range(len(graph.ops))]
    net = network(graph, stages, ())
    return {
        tensor: graph.tensors[tensor].bytes
        for tensor, pixels in needed_pixels(net).items()
        if pixels == net.pixels[tensor] > net.widths[tensor]
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
