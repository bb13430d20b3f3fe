# SPDX-License-Identifier: Apache-2.0
"""plan: the cheapest memory plan within a budget, or the least that computes nothing twice;
plan_front: all that none beats in both RAM and cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from narrows.errors import PlanError
from narrows.graph.qgraph import QGraph, macs, model_macs
from narrows.native import Layout
from narrows.planning.candidates import Candidates, Tiling, divisors, guesses
from narrows.planning.cost import edge_work, instructions, plan_instructions, priced
from narrows.planning.effort import BOUNDS, Effort, Gauge
from narrows.planning.memories import spread
from narrows.planning.occupancy import occupancy
from narrows.planning.place import ALIGNMENT, among, conflicts, place
from narrows.planning.plan import PORTABLE, Plan
from narrows.planning.ram import beside_arena
from narrows.planning.rates import rates
from narrows.planning.search import Search
from narrows.planning.timeline import Candidate, Timeline, lay_out, simulated
from narrows.planning.verify import verify_plan
from narrows.planning.ways import PLACE_ROUNDS, Cascade, Way

OVERHEAD = 1.05
"""Instructions that a plan may cost, relative to layers one by one and its arithmetic: a promise to
those who ask for no budget, not a setting of the search. More would buy smaller arenas. What is
beyond 1 is a share of what portable kernels take for the whole model, so that faster ones, beside
which a firing weighs more, and channels that are left out do not enlarge the arena."""

CLOSER = 0.99
"""How much smaller all cascades must be, again and again, when none of those that clash can be
given up any more; from 0.97 to 0.997 it makes no difference."""

FEWEST = 3
"""Pixels of an input that come at a time at least."""

STEP = 0.97
"""Budgets of neighbouring points of the front."""

_SIZED, _SEARCHED = 0.3, 0.95
"""What share of the work is done, as a rule, when all stages have been sized, and when all that is
left is the proof."""


@dataclass(frozen=True)
class PlanOptions:
    """What a plan may look like.

    ram: bytes that the arena may have: the cheapest plan within is taken, and it may compute
        elements twice. None: the least arena of the plans that compute nothing twice.
    all_ram: whether ``ram`` is for all that a run needs (``ram_bytes``), not the arena alone.
    memories: bytes of the memories that the arena may stand in, the fastest first; None: there is
        one, of any size. Those behind are used only where that saves much, or must be.
    fuse: whether operators may fuse into bottlenecks.
    materialize: hold every tensor whole.
    tiling: cut inverted residuals into slices and tiles in this way instead of rolling.
    streamed_outputs: indices of outputs handed out by rows.
    layout: weight layout of the target.
    kernels: the implementation that the target runs, whose costs decide; the plan runs anywhere.
    effort: what to spend on it.
    """

    ram: int | None = None
    all_ram: bool = False
    memories: tuple[int, ...] | None = None
    fuse: bool = True
    materialize: bool = False
    tiling: Tiling | None = None
    streamed_outputs: tuple[int, ...] = ()
    layout: Layout = Layout.PLAIN
    kernels: str = PORTABLE
    effort: Effort = Effort.NORMAL


def plan(
    graph: QGraph,
    options: PlanOptions = PlanOptions(),
    progress: Callable[[float], None] = lambda done: None,
) -> Plan:
    """Plan a network.

    Args:
        progress: told how much is done, 0 to 1.

    Returns: a plan that verify_plan has proved.

    Raises: PlanError: a budget that the least plan found does not keep.
    """
    gauge = Gauge(progress)
    within = options.ram is not None
    everything = [
        Candidates(graph, options.layout, within, options.tiling, options.kernels, guess)
        for guess in guesses(graph, within and options.effort is not Effort.FAST)
    ]
    searches = [(c, effort) for c in everything for effort in quicker(options)]
    found: list[Plan] = []
    for number, (candidates, effort) in enumerate(searches, 1):
        part = gauge.part(*(_SEARCHED * n / len(searches) for n in (number - 1, number)))
        try:
            found.append(_search(graph, replace(options, effort=effort), candidates, part))
        except PlanError:
            if number == len(searches) and not found:
                raise
    gauge.reach(_SEARCHED)
    best = min(found, key=lambda p: (within or p.arena_total, plan_instructions(graph, p)))
    verify_plan(graph, best)
    gauge.reach(1.0)
    return best


def plan_best(
    graphs: Sequence[QGraph],
    options: PlanOptions = PlanOptions(),
    progress: Callable[[float], None] = lambda done: None,
) -> tuple[QGraph, Plan]:
    """Plan a network: the arrangement that is taken, and its plan.

    Args:
        graphs: arrangements of the network, first the one that can be had in the least RAM.

    Raises: PlanError: a budget that none of them keeps.
    """
    if options.ram is None:
        graphs = graphs[:1]
    found = list[tuple[QGraph, Plan]]()
    for number, graph in enumerate(graphs):
        gauge = Gauge(progress).part(number / len(graphs), (number + 1) / len(graphs))
        try:
            found.append((graph, plan(graph, options, gauge.reach)))
        except PlanError:
            if number == len(graphs) - 1 and not found:
                raise
    return min(found, key=lambda graph_and_plan: plan_instructions(*graph_and_plan))


def quicker(options: PlanOptions) -> list[Effort]:
    """The effort that is asked for, and before it those that it must not be worse than: more work
    does not always find more."""
    if options.materialize:
        return [options.effort]
    efforts = list(Effort)[: list(Effort).index(options.effort) + 1]
    return efforts if options.ram is None or len(efforts) == 1 else efforts[1:]


def _search(graph: QGraph, options: PlanOptions, candidates: Candidates, gauge: Gauge) -> Plan:
    planner = _Planner(graph, options, gauge=gauge, candidates=candidates)
    if options.materialize or not graph.ops:
        found = planner.materialized()
    elif options.ram is None:
        found = planner.least()
    else:
        found = planner.near(options.ram)
    return found if options.memories is None else planner.spread(found, options.memories)


@dataclass(frozen=True, eq=False)
class Point:
    """A plan of the front.

    instructions: predicted, of one inference.
    excluded: ways of cascades that clash with others where it was looked for, so also in less RAM.
    """

    plan: Plan
    instructions: float
    excluded: frozenset[Way]


def plan_front(
    graph: QGraph,
    options: PlanOptions = PlanOptions(),
    progress: Callable[[float], None] = lambda done: None,
) -> Iterator[Point]:
    """The plans of which no other has neither more RAM nor more cost, the largest first;
    neighbours are apart by some percent. Those that take whole input rows come first, and those
    by large parts of rows below them: of smaller parts, there are more to be taken, which costs
    more than it saves. ``options.ram`` is not looked at.

    progress: told how much is done, 0 to 1, as far as that can be known.
    """
    planner = _Planner(graph, options, recompute=True, gauge=Gauge(progress))
    if not graph.ops:
        yield Point(planner.materialized(), 0.0, frozenset())
        return
    last = None
    limit = math.inf
    for input_strips in ((), *tuple(planner.by_parts())[:1]):
        if input_strips:
            planner = planner.taking(input_strips)
            limit = math.inf if last is None else STEP * last.plan.arena_total
        excluded = frozenset[Way]()
        while (point := planner.cheapest(limit, excluded=excluded)) is not None:
            limit, excluded = STEP * point.plan.arena_total, point.excluded
            if planner.affordable(point):
                if last is not None and last.instructions < point.instructions:
                    yield last
                last = point
    if last is not None:
        yield last


class _Planner:
    def __init__(
        self,
        graph: QGraph,
        options: PlanOptions,
        recompute: bool | None = None,
        gauge: Gauge | None = None,
        candidates: Candidates | None = None,
    ) -> None:
        self.graph = graph
        self.options = options
        self.bounds = BOUNDS[options.effort]
        self.recompute = options.ram is not None if recompute is None else recompute
        self.input_strips: tuple[int, ...] = ()
        gauge = gauge or Gauge()
        self.gauge = gauge.part(_SIZED, 1.0)
        self.candidates = candidates or Candidates(
            graph, options.layout, self.recompute, options.tiling, options.kernels
        )
        self.search = Search(
            graph,
            self.candidates,
            options.fuse,
            options.streamed_outputs,
            self.bounds,
            gauge.part(0.0, _SIZED),
        )
        self.search.gauge = self.gauge
        layers = self.search.layers
        whole = model_macs(self.graph) / max(1, macs(self.graph))
        self.budget = self.cost(layers, ()) + (OVERHEAD - 1) * whole * self.portable_cost(layers)

    def by_parts(self) -> Iterator[tuple[int, ...]]:
        """``Plan.input_strips``, from large parts to small, that may save RAM."""
        inputs = [edge.tensor for edge in self.graph.inputs]
        streaming = {
            tensor
            for c in self.search.layers
            for tensor, segment in zip(c.firings.inputs, c.firings.segments, strict=True)
            if segment and tensor not in self.search.kept
        }
        choices = [parts(self.graph, t) if t in streaming else [] for t in inputs]
        for level in range(max(map(len, choices))):
            yield tuple(
                some[min(level, len(some) - 1)] if some else self.graph.tensors[tensor].width
                for tensor, some in zip(inputs, choices, strict=True)
            )

    def taking(self, input_strips: tuple[int, ...]) -> _Planner:
        """A planner of the same whose inputs come by these parts."""
        found = copy(self)
        found.input_strips = input_strips
        found.search = self.search.taking(input_strips)
        return found

    def cost(self, chosen: Sequence[Candidate], input_strips: tuple[int, ...]) -> float:
        """Predicted instructions of one inference by these stages."""
        options = self.options
        edges = edge_work(self.graph, input_strips, options.streamed_outputs, len(chosen))
        return sum(c.cost for c in chosen) + priced(edges, rates(options.layout, options.kernels))

    def portable_cost(self, chosen: Sequence[Candidate]) -> float:
        """The same by portable kernels, of stages that take whole rows of the input."""
        edges = edge_work(self.graph, (), self.options.streamed_outputs, len(chosen))
        return sum(instructions(self.graph, c.stage, c.firings) for c in chosen) + priced(
            edges, rates(Layout.PLAIN)
        )

    def affordable(self, point: Point) -> bool:
        """Whether a plan's cost is that of its arithmetic, and little more."""
        return point.instructions <= self.budget * point.plan.mac_factor

    def materialized(self) -> Plan:
        """Every tensor whole."""
        return self.placed_whole(self.search.stages.cheapest(0, len(self.graph.ops)))

    def layers(self) -> Plan:
        """Every operator alone and every tensor whole."""
        return self.placed_whole(self.search.layers)

    def placed_whole(self, chosen: Sequence[Candidate]) -> Plan:
        """These stages with every tensor whole."""
        tensors = [edge.tensor for edge in self.graph.inputs] + [c.firings.output for c in chosen]
        whole = {t: self.graph.tensors[t].height * self.graph.tensors[t].width for t in tensors}
        streamed = self.options.streamed_outputs
        timeline = simulated(self.graph, chosen, whole, streamed)
        return lay_out(
            timeline, chosen, streamed, self.options.layout, kernels=self.options.kernels
        )

    def least(self) -> Plan:
        """The least arena whose plan is affordable."""
        # Prescribed tiles cost what they cost.
        found = self.narrowed(math.inf if self.options.tiling else self.budget)
        whole = max(self.graph.tensors[op.output].bytes for op in self.graph.ops)
        if self.search.bound or whole >= found.arena_total:
            return found
        return min(found, self.layers(), key=lambda plan: plan.arena_total)

    def narrowed(self, budget: float) -> Plan:
        """The least arena whose plan costs at most ``budget``, or that of the cheapest."""
        point = self.cheapest(math.inf)
        assert point is not None
        low, high = 0, point.plan.arena_total
        steps = max(1, high // ALIGNMENT).bit_length() + 1
        begun, step = self.gauge.done, 0
        while low < high - max(ALIGNMENT, self.bounds.closeness * high):
            middle = (low + high) // 2
            self.search.gauge = self.gauge.part(
                *(begun + (1 - begun) * n / steps for n in (step, step + 1))
            )
            step += 1
            smaller = self.cheapest(middle, budget, point.excluded)
            if smaller is None:
                low = middle
            else:
                point, high = smaller, smaller.plan.arena_total
        self.search.gauge = self.gauge
        return point.plan

    def narrower(self, found: Plan) -> Plan:
        """The least plan below another, or that one: they cannot be far apart."""
        while (smaller := self.fitting(self.size(found) - 1)) is not None:
            found = smaller.plan
        return found

    def size(self, found: Plan) -> int:
        """Bytes of what counts toward ``options.ram``."""
        return found.arena_total + self.beside(found)

    def beside(self, found: Plan) -> int:
        """Bytes beside the arena that count toward ``options.ram``."""
        return beside_arena(self.graph, found) if self.options.all_ram else 0

    def cheapest(
        self, limit: float, budget: float = math.inf, excluded: frozenset[Way] = frozenset()
    ) -> Point | None:
        """The cheapest plan of at most ``limit`` bytes, if it costs at most ``budget``.
        excluded: ways that it may not use.

        Cascades share the tensors between them, so they may need more together than one by one:
        then a form of those that clash is given up, and in the end all must be smaller.
        """
        tight, misses = limit, 0
        while (cascades := self.search.cheapest(tight, budget, excluded)) is not None:
            chosen = [c for cascade in cascades for c in cascade.chosen]
            cost = self.cost(chosen, self.input_strips)
            if cost > budget:
                return None
            timeline = self.joined(cascades, chosen)
            # What clashed so often will hardly fit.
            found = self.placed(timeline, chosen, self.bounds.rounds // (1 if misses < 16 else 4))
            if found.arena_total <= limit:
                return Point(self.widened(found, timeline, chosen), cost, excluded)
            misses += 1
            if misses <= self.bounds.misses_of(len(self.graph.ops)):
                for clashing in self.clashing(cascades, timeline, chosen, limit):
                    excluded |= {self.given_up(clashing, limit, excluded, price(cascades))}
            else:
                tight = int(CLOSER * min(tight, max(c.placed for c in cascades)))
        return None

    def given_up(
        self, clashing: Sequence[Cascade], limit: float, excluded: frozenset[Way], least: int
    ) -> Way:
        """The way to give up of cascades that clash: the one without which all cost least, and of
        several such the largest. least: what they cost with all."""
        best, lowest = clashing[0], math.inf
        for cascade in sorted(clashing, key=lambda c: -c.placed):
            found = self.search.cheapest(limit, excluded=excluded | {cascade.way})
            cost = math.inf if found is None else price(found)
            if cost < lowest:
                best, lowest = cascade, cost
            if cost <= least:
                break
        return best.way

    def joined(self, cascades: Sequence[Cascade], chosen: Sequence[Candidate]) -> Timeline:
        """The stages of all cascades, one after the other."""
        capacities = {t: n for cascade in cascades for t, n in cascade.timeline.capacities.items()}
        streamed = self.options.streamed_outputs
        return simulated(self.graph, chosen, capacities, streamed, self.input_strips)

    def placed(self, timeline: Timeline, chosen: Sequence[Candidate], rounds: int) -> Plan:
        return lay_out(
            timeline,
            chosen,
            self.options.streamed_outputs,
            self.options.layout,
            rounds,
            self.options.kernels,
        )

    def clashing(
        self,
        cascades: Sequence[Cascade],
        timeline: Timeline,
        chosen: Sequence[Candidate],
        limit: float,
    ) -> list[Sequence[Cascade]]:
        """The fewest neighbours that are above the limit together, wherever there are so few. All
        that have these among them are too, so a window moves over the cascades, as narrow as one
        was."""
        items = timeline.items(chosen)
        pairs = conflicts(list(items.values()))
        members = []
        stages = iter(range(len(chosen)))
        for cascade in cascades:
            own = {("ring", tensor) for tensor in cascade.timeline.rings}
            for _, number in zip(cascade.chosen, stages, strict=False):
                own |= {("state", number), ("scratch", number)}
            members.append(np.array([key in own for key in items]))

        def clash(first: int, end: int) -> bool:
            taken = np.logical_or.reduce(members[first:end])
            some = [item for item, is_taken in zip(items.values(), taken, strict=True) if is_taken]
            firings = len(timeline.schedule.order)
            return place(some, firings, PLACE_ROUNDS, limit, among(pairs, taken))[1] > limit

        found, fewest, first = list[tuple[int, int]](), len(cascades), 0
        for end in range(2, len(cascades) + 1):
            first = max(first, end - fewest)
            narrow = 0
            while end - first > 1 and clash(first, end):
                narrow = end - first
                first += 1
            if narrow:
                found = [(end - narrow, end), *(w for w in found if narrow == fewest)]
                fewest, first = narrow, end
        return [cascades[first:end] for first, end in found[::-1]] or [cascades]

    def near(self, limit: int) -> Plan:
        """A plan of at most ``limit`` bytes: one for as few of the memories as are enough for an
        affordable one, else the cheapest."""
        for room in accumulate(self.options.memories or ()):
            cascades = self.search.cheapest(min(room, limit))
            chosen = [c for cascade in cascades or () for c in cascade.chosen]
            if chosen and self.cost(chosen, ()) <= self.budget:
                found = self.fitting(min(room, limit))
                if found is not None:
                    return found.plan
        return self.within(limit)

    def spread(self, found: Plan, memories: tuple[int, ...]) -> Plan:
        """The same plan in several memories; a smaller one if that does not fit."""
        while True:
            try:
                return spread(self.graph, found, memories)
            except PlanError as misfit:
                if self.options.ram is None:
                    raise
                try:
                    found = self.within(int(STEP * self.size(found)))
                except PlanError:
                    raise misfit from None

    def fitting(self, limit: int) -> Point | None:
        """The cheapest plan of at most ``limit`` bytes."""
        tight, excluded = limit, frozenset[Way]()
        while (point := self.cheapest(tight, excluded=excluded)) is not None:
            excluded = point.excluded
            beside = self.beside(point.plan)
            if point.plan.arena_total + beside <= limit:
                return point
            tight = min(tight, point.plan.arena_total) - ALIGNMENT
            tight = min(tight, limit - beside)
        return None

    def within(self, limit: int) -> Plan:
        """The cheapest plan of at most ``limit`` bytes, but an affordable one of whole input rows
        before those by parts of rows, and among these one of large parts before those of small.
        """
        best = None
        for planner in (self, *map(self.taking, self.by_parts())):
            point = planner.fitting(limit)
            if point is not None:
                if self.affordable(point):
                    return point.plan
                if best is None or point.instructions < best.instructions:
                    best = point
        if best is not None:
            return best.plan
        found = self.smallest()
        for input_strips in self.by_parts():
            found = self.taking(input_strips).narrower(found)
        beside = self.beside(found)
        if found.arena_total + beside <= limit:
            return found
        raise PlanError(
            f"no plan of {self.graph.name} within {limit} bytes: the least arena found has "
            f"{found.arena_total}{f', {found.arena_total + beside} with all RAM' if beside else ''}"
            f"; {occupancy(self.graph, found).describe_peak()}"
        )

    def smallest(self) -> Plan:
        """The least arena of whole input rows."""
        plans = []
        for recompute in (False, True):
            planner = _Planner(self.graph, replace(self.options, ram=None), recompute, self.gauge)
            plans += [planner.least(), planner.narrowed(math.inf)]
        return min(plans, key=lambda plan: plan.arena_total)

    def widened(self, found: Plan, timeline: Timeline, chosen: Sequence[Candidate]) -> Plan:
        """The same plan with tiles as wide as fit into the same arena: long strips are fast."""
        if self.options.tiling:
            return found
        live = timeline.live_bytes(chosen)
        for eighths in (8, 4, 1):
            wider = [
                self.wider(c, timeline, found.arena_total - int(live[times].max()), eighths)
                for c, times in zip(
                    chosen, timeline.schedule.times[timeline.inputs :], strict=False
                )
            ]
            trial = self.placed(timeline, wider, self.bounds.rounds)
            if trial.arena_total <= found.arena_total:
                return trial
        return found

    def wider(self, c: Candidate, timeline: Timeline, spare: int, eighths: int) -> Candidate:
        """The same stage with wider tiles. spare: bytes that nothing uses while it fires."""
        if len(c.stage.ops) == 1:
            return c
        largest_piece = max(self.options.memories or (math.inf,))
        most = min(timeline.scratch_bytes(c) + spare * eighths // 8, largest_piece)
        fitting = [w for w in self.candidates.widths(c) if timeline.scratch_bytes(w) <= most]
        return max([c, *fitting], key=lambda option: option.stage.col_tile)


def price(cascades: Sequence[Cascade]) -> int:
    """What cascades cost, in the units of the search."""
    return sum(cascade.way.cost for cascade in cascades)


def parts(graph: QGraph, tensor: int) -> list[int]:
    """Pixels of an input that may come at a time, less than a row: about a quarter and an eighth
    of one, and the fewest that are worth a call."""
    info = graph.tensors[tensor]
    strips = [n for n in divisors(info.width, FEWEST, info.height) if n < info.width]
    widest = [
        max((strip for strip in strips if strip <= info.width // n), default=0) for n in (4, 8)
    ]
    return sorted({*widest, *strips[:1]} - {0}, reverse=True)
