# SPDX-License-Identifier: Apache-2.0
"""Which operators fuse, and where cascades are cut.

A *cut* is a tensor that everything behind it needs and that nothing else crosses. If it
is held whole, all that comes before it has finished before anything behind it begins,
since the engine fires what is nearest the input. So a network is a chain of *cascades*
between cuts that do not see each other: the arena is as large as the largest cascade, and
the cost is their sum. For a budget of bytes the cheapest plan is a shortest path over those
forms of cascades that fit.

What stages keep adds up along a cascade, and so does what they cost: which operators fuse, and
the runs, slices and tiles of each stage, come from ``forms``, for every number of bytes.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from narrows.errors import PlanError
from narrows.graph.qgraph import QGraph
from narrows.plan.candidates import Candidates, fusions
from narrows.plan.firing import Firings, Pixels
from narrows.plan.forms import Form, Forms, Stages
from narrows.plan.fusion import bottleneck, is_pointwise
from narrows.plan.layout import Candidate, Layout, lifetimes
from narrows.plan.place import round_up
from narrows.plan.schedule import Network, Schedule, network, network_of

PLACE_ROUNDS = 400
"""Effort of trial placements."""

GUESS = 0.7
"""What share of its estimate a cascade may turn out to need."""

LIKENESS = 0.9
"""What share of what one form needs, relative to its estimate, others need at least."""

FORBIDDEN = 1e18
"""Instructions, more than any network has."""

Edge = tuple[int, int]
"""The operators [first, end) of a cascade."""


@dataclass(eq=False)
class Way:
    """One form of a cascade: which stages run it.

    whole: tensors held whole beside the cuts at its ends.
    bytes: an optimistic estimate at first, then what has been found.
    """

    chosen: tuple[Candidate, ...]
    whole: frozenset[int]
    bytes: float
    cost: float
    cascade: Cascade | None = None
    placed: bool = False


@dataclass(eq=False)
class Ways:
    """The forms of one cascade about one size.

    forms: those that nobody has looked at yet, the cheapest last.
    looked: those whose stages are known.
    factor: what share of its estimate a form needs at least.
    """

    forms: list[Form]
    looked: list[Way]
    factor: float = GUESS

    def cheapest(self, limit: float) -> Form | Way | None:
        """The cheapest that may need at most ``limit`` bytes."""
        fitting: list[Form | Way] = [way for way in self.looked if way.bytes <= limit]
        end = bisect_right(self.forms, limit / self.factor, key=lambda form: form.estimate)
        if end:
            fitting.append(self.forms[end - 1])
        return min(fitting, key=lambda way: way.cost, default=None)


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
    """The cheapest cascades of one network, for any number of bytes.

    input_runs: as in ``Plan.input_runs``.
    """

    def __init__(
        self,
        graph: QGraph,
        candidates: Candidates,
        fuse: bool,
        streamed: tuple[int, ...],
        input_runs: tuple[int, ...] = (),
    ) -> None:
        self.graph = graph
        self.streamed = streamed
        self.input_runs = input_runs
        groups: list[tuple[int, ...]] = [(index,) for index in range(len(graph.ops))]
        for group in fusions(graph) if fuse else ():
            neighbours = group == tuple(range(group[0], group[-1] + 1))
            parts = bottleneck(graph, group)
            inverted = parts.project and (parts.expand is None or is_pointwise(parts.expand))
            if neighbours and (inverted or not candidates.tiling):
                groups.append(group)
        # Prescribed tiles leave no choice: no part of an inverted residual stands alone if it can
        # be helped.
        fused = {index for group in groups if len(group) > 1 for index in group}
        self.bound = fused if candidates.tiling else set()
        self.ends = [0, *cut_points(graph), len(graph.ops)]
        self.channels = {i: tensor.channels for i, tensor in enumerate(graph.tensors)}
        self.stages = Stages([c for group in groups for c in candidates.options(group)], self.price)
        self.layers = tuple(candidates.options((i,))[0] for i in range(len(graph.ops)))
        least = [min(candidates.options(c.stage.ops), key=steady_bytes) for c in self.layers]
        self.kept = kept_bytes(graph, least)
        self._ways: dict[tuple[Edge, int], Ways] = {}
        self._looked: dict[tuple[Edge, tuple[Candidate, ...], frozenset[int]], Way] = {}
        self._forms: dict[int, Forms] = {}

    def price(self, c: Candidate) -> float:
        """What a stage costs; more than anything if it is an operator alone that should not be."""
        alone = len(c.stage.ops) == 1 and c.stage.ops[0] in self.bound
        return c.cost + (FORBIDDEN if alone else 0.0)

    def cheapest(self, limit: float) -> list[Cascade] | None:
        """The cascades that cost least of those that need at most ``limit`` bytes each; None if
        none do.

        What a cascade needs is found only where the cheapest path passes.
        """
        level = self.stages.level(limit / GUESS)
        while (path := self.path(limit, level)) is not None:
            ways = [self.look(edge, level, way) for edge, way in path]
            if all(way.bytes <= limit for way in ways):
                for way in ways:
                    if not way.placed and way.cascade is not None:
                        way.placed = True
                        way.bytes = max(way.bytes, way.cascade.placed)
                if all(way.bytes <= limit for way in ways):
                    return [way.cascade for way in ways if way.cascade is not None]
        return None

    def look(self, edge: Edge, level: int, form: Form | Way) -> Way:
        """Find out what a form needs, which tells about those like it."""
        ways = self._ways[edge, level]
        if isinstance(form, Form):
            ways.forms.remove(form)
            chosen = self._forms[level].chosen(edge, form)
            way = self._looked.get((edge, chosen, frozenset()))
            if way is None:
                way = Way(chosen, frozenset(), 0.0, sum(map(self.price, chosen)))
                self._looked[edge, chosen, frozenset()] = way
            if way not in ways.looked:
                ways.looked.append(way)
        else:
            way = form
        if way.cascade is None:
            way.cascade = self.evaluate(*edge, way.chosen, way.whole)
            way.bytes = max(way.bytes, way.cascade.peak)
        if isinstance(form, Form):
            ways.factor = max(ways.factor, LIKENESS * way.cascade.peak / form.estimate)
        return way

    def exclude(self, cascade: Cascade, limit: float) -> None:
        """Use this form of a cascade no more within ``limit`` bytes."""
        for way in self._looked.values():
            if way.cascade is cascade:
                way.bytes = max(way.bytes, limit + 1)

    def cost_without(self, cascade: Cascade, limit: float) -> float:
        """The least cost within ``limit`` bytes without this form of a cascade."""
        ways = [(way, way.bytes) for way in self._looked.values() if way.cascade is cascade]
        self.exclude(cascade, limit)
        found = self.cheapest(limit)
        for way, size in ways:
            way.bytes = size
        return math.inf if found is None else sum(c.cost for c in found)

    def path(self, limit: float, level: int) -> list[tuple[Edge, Form | Way]] | None:
        """The cheapest chain of cascades from the first operator to the last."""
        best: dict[int, tuple[float, tuple[tuple[Edge, Form | Way], ...]]] = {0: (0.0, ())}
        for i, end in enumerate(self.ends[1:], 1):
            options = []
            for start in self.ends[:i]:
                if start not in best or start == end:
                    continue
                way = self.ways((start, end), level).cheapest(limit)
                if way is not None:
                    cost, path = best[start]
                    options.append((cost + way.cost, (*path, ((start, end), way))))
            if options:
                best[end] = min(options, key=lambda option: option[0])
        found = best.get(self.ends[-1])
        return None if found is None else list(found[1])

    def ways(self, edge: Edge, level: int) -> Ways:
        """The forms of a cascade: what the stages leave to choose, or with all tensors whole."""
        if (edge, level) not in self._ways:
            if level not in self._forms:
                self._forms[level] = Forms(self.stages, self.ends, level)
            first, end = edge
            cuts = [self.graph.ops[index - 1].output for index in edge if index]
            beside = max((self.graph.tensors[tensor].bytes for tensor in cuts), default=0)
            beside += sum(self.kept.get(op.output, 0) for op in self.graph.ops[first : end - 1])
            forms = self._forms[level].between(edge, beside)
            self._ways[edge, level] = Ways(forms, self.whole(edge))
        return self._ways[edge, level]

    def whole(self, edge: Edge) -> list[Way]:
        """A cascade with every tensor whole, the network's inputs too or not."""
        first, end = edge
        ways = []
        for chosen in dict.fromkeys((self.stages.cheapest(first, end), self.layers[first:end])):
            inner = frozenset(c.firings.output for c in chosen)
            outer = inner if first else inner | {edge.tensor for edge in self.graph.inputs}
            for whole in dict.fromkeys((inner, outer)):
                if len(chosen) > 1 and (edge, chosen, whole) not in self._looked:
                    size = max(self.graph.tensors[tensor].bytes for tensor in whole)
                    cost = sum(map(self.price, chosen))
                    self._looked[edge, chosen, whole] = Way(chosen, whole, size, cost)
                if len(chosen) > 1:
                    ways.append(self._looked[edge, chosen, whole])
        return ways

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
        whole = network(self.graph, [c.firings for c in chosen], streamed, self.input_runs)
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


def steady_bytes(c: Candidate) -> int:
    """What a stage keeps."""
    return c.steady_bytes


def kept_bytes(graph: QGraph, layers: Sequence[Candidate]) -> dict[int, int]:
    """Bytes of the tensors that must be whole although they are no cuts: those that are
    multiplied by their own mean, for one. layers: operators alone that keep little."""
    net = network(graph, [c.firings for c in layers], ())
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
