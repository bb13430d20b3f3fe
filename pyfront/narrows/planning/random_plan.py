# SPDX-License-Identifier: Apache-2.0
"""Plans drawn at random: whatever is valid, however silly, must give the same answer."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from narrows.graph.qgraph import QGraph
from narrows.native import Form, Layout
from narrows.planning.candidates import Candidates, can_roll, countable, divisors, fusions
from narrows.planning.capacities import least_capacities, whole_units
from narrows.planning.plan import Plan
from narrows.planning.schedule import network
from narrows.planning.timeline import Candidate, lay_out, simulated
from narrows.planning.verify import verify_plan
from narrows.stages.forms import forms_of, frame, least_strip
from narrows.stages.fusion import bottleneck
from narrows.stages.stage import Stage


def random_plan(graph: QGraph, rng: Random, layouts: Sequence[Layout] = tuple(Layout)) -> Plan:
    """A valid plan: one of these weight layouts, random fusions, of every form, strips, slices,
    tiles, capacities between the least and the whole tensor, inputs by parts of rows, streamed
    outputs."""
    layout = rng.choice(layouts)
    candidates = Candidates(graph, layout)
    chosen = _random_stages(graph, candidates, rng)
    streamed = tuple(i for i in range(len(graph.outputs)) if rng.randrange(4) == 0)
    inputs = [graph.tensors[edge.tensor] for edge in graph.inputs]
    taken = tuple(_random_strip(t.width, divisors(t.width, 1, t.height), rng) for t in inputs)
    net = network(graph, [c.firings for c in chosen], streamed, taken)
    share = rng.random()
    whole = frozenset(t for t in net.pixels if rng.random() < share)
    capacities, _ = least_capacities(net, whole, dict(enumerate(t.channels for t in graph.tensors)))
    for tensor, pixels in net.pixels.items():
        if rng.randrange(3) == 0:
            capacities[tensor] = whole_units(net, tensor, rng.randint(capacities[tensor], pixels))
    timeline = simulated(graph, chosen, capacities, streamed, taken)
    found = lay_out(timeline, chosen, streamed, layout, rounds=rng.randrange(30))
    verify_plan(graph, found)
    return found


def _random_stages(graph: QGraph, candidates: Candidates, rng: Random) -> list[Candidate]:
    groups = list(fusions(graph))
    rng.shuffle(groups)
    chosen = []
    free = set(range(len(graph.ops)))
    for group in groups:
        if free.issuperset(group) and rng.randrange(8):
            free.difference_update(group)
            chosen.append(candidates.make(_random_bottleneck(graph, group, rng)))
    for index in sorted(free):
        chosen.append(_random_single(graph, candidates, index, rng))
    return sorted(chosen, key=lambda c: c.stage.ops[-1])


def _random_single(graph: QGraph, candidates: Candidates, index: int, rng: Random) -> Candidate:
    op = graph.ops[index]
    form = rng.choice(forms_of(graph, op))
    through = frame(graph, (index,), form)
    rows = 2 * through.height + 1 if form is Form.FOLDED else through.height
    some = list(countable(through.width, least_strip(graph, op, form), rows))
    strip = _random_strip(through.width, some, rng)
    return candidates.make(Stage((index,), strip, form))


def _random_bottleneck(graph: QGraph, ops: tuple[int, ...], rng: Random) -> Stage:
    parts = bottleneck(graph, ops)
    mid = parts.depthwise.weights.shape[2]
    out = graph.tensors[parts.output]
    # Twice the rows: those that a rolling stage absorbs fire too.
    strip = _random_strip(out.width, list(countable(out.width, 1, 2 * out.height)), rng)
    if can_roll(parts) and rng.random() < 0.5:
        overlap = parts.depthwise.weights.shape[0] - parts.depthwise.stride[0]
        kept = rng.choice((overlap, rng.randint(0, overlap)))
        return Stage(ops, strip, Form.ROLLING, mid, 1, _one_to(strip, rng), kept)
    if parts.expand is not None:
        strip = _random_strip(out.width, divisors(out.width, 1, out.height), rng)
    row_tile = _one_to(out.height, rng) if strip == out.width else 1
    return Stage(ops, strip, Form.TILED, _one_to(mid, rng), row_tile, _one_to(strip, rng))


def _random_strip(width: int, strips: Sequence[int], rng: Random) -> int:
    """A whole row, or one of these."""
    return rng.choice((width, rng.choice(strips)))


def _one_to(most: int, rng: Random) -> int:
    """1, most, or anything between."""
    return rng.choice((1, most, rng.randint(1, most)))
