# SPDX-License-Identifier: Apache-2.0
"""Which operators fuse, and where cascades are cut.

A *cut* is a tensor that everything behind it needs and that nothing else crosses. If it
is held whole, all that comes before it has finished before anything behind it begins,
since the engine fires what is nearest the input. So a network is a chain of *cascades*
between cuts that do not see each other: the arena is as large as the largest cascade, and
the cost is their sum. For a budget of bytes the cheapest plan is a shortest path over those
forms of cascades that fit.

What stages keep adds up along a cascade, and so does what they cost: which operators fuse, and
the strips, slices and tiles of each stage, come from ``forms``, for every number of bytes.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from itertools import accumulate

import numpy as np

from narrows.graph.qgraph import QGraph
from narrows.planning.candidates import Candidates, fusions
from narrows.planning.capacities import least_capacities, needed_pixels
from narrows.planning.effort import Bounds, Gauge
from narrows.planning.forms import CascadeForm, FormArray, Forms, Stages
from narrows.planning.schedule import Network, network, network_of
from narrows.planning.timeline import Candidate, lifetimes
from narrows.planning.ways import GUESS, Cascade, Edge, Way, Ways
from narrows.stages.firings import Firings
from narrows.stages.fusion import bottleneck, is_pointwise

LEAST_NEAR = 4
"""Ends behind a cascade's first one that are all tried, however many cascades there are: only very
long networks come so far."""

PRICE = 1 << 20
"""What a network costs by its cheapest layers, in the unit in which prices are counted. They are
whole numbers, and so few that single precision adds them up exactly, even if some stages cost 16
times as much: so two ways that cost the same compare as equal, whatever way they are summed up."""


class Search:
    """The cheapest cascades of one network, for any number of bytes.

    gauge: told of stages that are sized, then of forms that are looked at.
    input_strips: as in ``Plan.input_strips``.
    """

    input_strips: tuple[int, ...] = ()

    def __init__(
        self,
        graph: QGraph,
        candidates: Candidates,
        fuse: bool,
        streamed: tuple[int, ...],
        bounds: Bounds,
        gauge: Gauge,
    ) -> None:
        self.graph = graph
        self.bounds = bounds
        self.streamed = streamed
        self.gauge = gauge
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
        options: list[Candidate] = []
        for number, group in enumerate(groups, 1):
            options += candidates.options(group)
            gauge.reach(number / len(groups))
        self.layers = tuple(candidates.options((i,))[0] for i in range(len(graph.ops)))
        self.unit = max(1.0, sum(c.cost for c in self.layers)) / PRICE
        self.stages = Stages(options, self.price)
        least = [min(candidates.options(c.stage.ops), key=steady_bytes) for c in self.layers]
        self.kept = kept_bytes(graph, least)
        self.kept_before = [0, *accumulate(self.kept.get(op.output, 0) for op in graph.ops)]
        self.least = self.stages.least(self.ends)
        self.easy_before = [0] * (len(graph.ops) + 1)
        for c in self.stages.cheapest(0, len(graph.ops)):
            self.easy_before[c.stage.ops[-1] + 1] = c.steady_bytes
        self.easy_before = list(accumulate(self.easy_before))
        # All of it is found when it is asked for, and none of it changes an answer.
        self._forms: dict[int, Forms] = {}
        self._edges: dict[int, list[tuple[Edge, int]]] = {}
        self._filled: dict[tuple[int, int], dict[int, tuple[FormArray, tuple[Way, ...]]]] = {}
        self._formed: dict[tuple[Edge, int, int], Way] = {}
        self._ways: dict[tuple[Edge, tuple[Candidate, ...], frozenset[int]], Way] = {}
        self._cascades: dict[Way, Cascade] = {}
        self._limit, self._within = math.inf, dict[Edge, Ways]()

    def taking(self, input_strips: tuple[int, ...]) -> Search:
        """One for the same network whose inputs come by other parts.

        input_strips: as in ``Plan.input_strips``.
        """
        found = copy(self)
        found.input_strips = input_strips
        found._cascades, found._within = {}, {}
        return found

    def price(self, c: Candidate) -> int:
        """What a stage costs, in units; more than the network if it is an operator alone that
        should not be."""
        alone = len(c.stage.ops) == 1 and c.stage.ops[0] in self.bound
        return round(c.cost / self.unit) + (2 * PRICE if alone else 0)

    def cheapest(
        self, limit: float, budget: float = math.inf, excluded: frozenset[Way] = frozenset()
    ) -> list[Cascade] | None:
        """The cascades that cost least of those that need at most ``limit`` bytes each; None if
        none do, or only at more than ``budget``.

        excluded: ways that may not be used.

        What a cascade needs is found only where the cheapest path passes: each that has not been
        looked at costs no less than it seems, so the answer is the same whatever has been.
        """
        level = self.stages.level(limit / GUESS)
        without: dict[Edge, frozenset[Way]] = {}
        for way in excluded:
            without[way.edge] = without.get(way.edge, frozenset()) | {way}
        while (path := self.path(limit, level, without)) is not None:
            if self.unit * sum(way.cost for _, way in path) > budget:
                return None
            found = [self.look(ways, level, way) for ways, way in path]
            self.gauge.step()
            if all(cascade.peak <= limit for cascade in found):
                for (ways, _), cascade in zip(path, found, strict=True):
                    ways.needs(cascade.way, cascade.placed)
                fit = all(cascade.placed <= limit for cascade in found)
                if fit and all(isinstance(way, Way) for _, way in path):
                    return found
        return None

    def look(self, ways: Ways, level: int, form: CascadeForm | Way) -> Cascade:
        """Find out what a form needs, which tells about those like it."""
        if isinstance(form, Way):
            cascade = self.evaluate(form)
            ways.needs(form, cascade.peak)
            return cascade
        cascade = self.evaluate(self.way_of(ways.edge, level, form))
        ways.take(form, cascade)
        return cascade

    def way_of(self, edge: Edge, level: int, form: CascadeForm) -> Way:
        """The way that a form is."""
        key = edge, level, form.number
        if key not in self._formed:
            self._formed[key] = self.way(edge, self.forms(level).chosen(edge, form), frozenset())
        return self._formed[key]

    def way(
        self, edge: Edge, chosen: tuple[Candidate, ...], whole: frozenset[int], least: int = 0
    ) -> Way:
        """The one way to run a cascade by these stages."""
        key = edge, chosen, whole
        if key not in self._ways:
            self._ways[key] = Way(edge, chosen, whole, least, sum(map(self.price, chosen)))
        return self._ways[key]

    def path(
        self, limit: float, level: int, excluded: Mapping[Edge, frozenset[Way]]
    ) -> list[tuple[Ways, CascadeForm | Way]] | None:
        """The cheapest chain of cascades from the first operator to the last."""
        cost = {0: 0.0}
        last: dict[int, tuple[Ways, CascadeForm | Way]] = {}
        if limit != self._limit:
            self._limit, self._within = limit, {}
        for edge, least in self.edges(level):
            start, end = edge
            if start not in cost or least > limit:
                continue
            if edge not in self._within:
                self._within[edge] = Ways(edge, limit, *self.fill(edge, level))
            ways = self._within[edge]
            way = ways.cheapest(excluded.get(edge, frozenset()))
            if way is not None and cost[start] + way.cost < cost.get(end, math.inf):
                cost[end] = cost[start] + way.cost
                last[end] = ways, way
        end = len(self.graph.ops)
        found = []
        while end in last:
            found.append(last[end])
            end = last[end][0].edge[0]
        return found[::-1] or None

    def forms(self, level: int) -> Forms:
        if level not in self._forms:
            self._forms[level] = Forms(self.stages, self.worthy(level), level)
        return self._forms[level]

    def worthy(self, level: int) -> list[int]:
        """The ends of cascades; if there are very many, without those that others nearly beat."""
        found, slack = self.ends, self.stages.size(level) / 1024
        while len(found) > self.bounds.ends:
            found = self.sparse(slack)
            slack *= 1.5
        return found

    def sparse(self, slack: float) -> list[int]:
        """Of neighbouring ends between which the cheapest stages keep few bytes, the one whose
        tensor is smallest."""
        found, group = [0], list[int]()
        for end in self.ends[1:-1]:
            near = [*group, end]
            best = min(near, key=self.cut_bytes)
            need = self.cut_bytes(best) - slack
            if any(need + self.easily_kept(best, n) > self.cut_bytes(n) for n in near):
                found.append(min(group, key=self.cut_bytes))
                group = []
            group.append(end)
        if group:
            found.append(min(group, key=self.cut_bytes))
        return [*found, self.ends[-1]]

    def edges(self, level: int) -> list[tuple[Edge, int]]:
        """The cascades that may fit, by their ends, and the bytes that each needs at least. If
        there are very many, only some: where one ends that reaches far matters little, so the
        farther, the fewer ends are tried."""
        if level not in self._edges:
            near = len(self.ends)
            while len(found := self.some_edges(level, near)) > self.bounds.edges:
                if near <= LEAST_NEAR:
                    break
                near = near * 3 // 4
            self._edges[level] = [(edge, max(map(self.cut_bytes, edge))) for edge in found]
        return self._edges[level]

    def some_edges(self, level: int, near: int) -> list[Edge]:
        """near: how many ends behind its first one are all tried."""
        ends = self.forms(level).ends
        most = self.stages.size(level) if level else math.inf
        found = []
        for number, start in enumerate(ends):
            for after in range(number + 1, len(ends)):
                edge = start, ends[after]
                if after > number + 1 and self.cut_bytes(start) + self.least[edge] > most:
                    break
                if after > number + 1 and self.beside(edge) + self.least[edge] > most:
                    continue
                step = 1 << ((after - number) // near).bit_length()
                if after == len(ends) - 1 or after - number < near or after % step == 0:
                    found.append(edge)
        return found

    def cut_bytes(self, end: int) -> int:
        """Bytes of the tensor that is whole where a cascade ends."""
        return self.graph.tensors[self.graph.ops[end - 1].output].bytes if end else 0

    def easily_kept(self, first: int, end: int) -> int:
        """Bytes that the cheapest stages keep between two ends."""
        return abs(self.easy_before[end] - self.easy_before[first])

    def beside(self, edge: Edge) -> int:
        """Bytes that stand beside what stages keep."""
        first, end = edge
        whole = max(map(self.cut_bytes, edge))
        return whole + self.kept_before[end - 1] - self.kept_before[first]

    def fill(self, edge: Edge, level: int) -> tuple[FormArray, tuple[Way, ...]]:
        """The forms of a cascade: what the stages leave to choose, and with all tensors whole."""
        key = level, edge[0]
        if key not in self._filled:
            some = [other for other, _ in self.edges(level) if other[0] == edge[0]]
            besides = {other[1]: self.beside(other) for other in some}
            self._filled[key] = {
                end: (forms, tuple(self.whole((edge[0], end), level)))
                for end, forms in self.forms(level).between(edge[0], besides).items()
            }
        return self._filled[key][edge[1]]

    def whole(self, edge: Edge, level: int) -> Iterator[Way]:
        """A cascade with every tensor whole, the network's inputs too or not; none if that is
        two cascades."""
        first, end = edge
        some = self.forms(level).ends
        between = some[bisect_right(some, first) : bisect_left(some, end)]
        layers = () if between else self.layers[first:end]
        for chosen in dict.fromkeys((self.stages.cheapest(first, end, between), layers)):
            if len(chosen) < 2:
                continue
            inner = frozenset(c.firings.output for c in chosen)
            outer = inner if first else inner | {edge.tensor for edge in self.graph.inputs}
            for whole in dict.fromkeys((inner, outer)):
                size = max(self.graph.tensors[tensor].bytes for tensor in whole)
                yield self.way(edge, chosen, whole, size)

    def evaluate(self, way: Way) -> Cascade:
        """Simulate a cascade."""
        if way not in self._cascades:
            first, end = way.edge
            net = self.cascade_network(first, end, way.chosen)
            cuts = {self.graph.ops[index - 1].output for index in way.edge if index}
            capacities, schedule = least_capacities(net, way.whole | cuts, self.channels)
            inputs = 1 if first else len(self.graph.inputs)
            timeline = lifetimes(self.graph, net, capacities, schedule, inputs)
            self._cascades[way] = Cascade(way, timeline)
        return self._cascades[way]

    def cascade_network(self, first: int, end: int, chosen: Sequence[Candidate]) -> Network:
        """The stages of a cascade; the cut at its start is there at once."""
        streamed = self.streamed_in(first, end)
        whole = network(self.graph, [c.firings for c in chosen], streamed, self.input_strips)
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
