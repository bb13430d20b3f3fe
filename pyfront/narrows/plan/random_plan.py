# SPDX-License-Identifier: Apache-2.0
"""Plans drawn at random: whatever is valid, however silly, must give the same answer."""

from __future__ import annotations

from random import Random

from narrows.graph.qgraph import QGraph
from narrows.plan.candidates import Candidates, can_roll, fusions
from narrows.plan.fusion import bottleneck
from narrows.plan.layout import Candidate, lay_out, simulated
from narrows.plan.plan import Plan, Stage
from narrows.plan.schedule import network
from narrows.plan.search import least_capacities
from narrows.plan.verify import verify_plan


def random_plan(graph: QGraph, rng: Random) -> Plan:
    """A valid plan: random fusions, rolling or tiled, slices, tiles, capacities between the
    least and the whole tensor, streamed outputs."""
    candidates = Candidates(graph)
    chosen = _random_stages(graph, candidates, rng)
    streamed = tuple(i for i in range(len(graph.outputs)) if rng.randrange(4) == 0)
    net = network(graph, [c.firings for c in chosen], streamed)
    share = rng.random()
    whole = frozenset(t for t in net.heights if rng.random() < share)
    capacities, _ = least_capacities(net, whole)
    for tensor, height in net.heights.items():
        if rng.randrange(3) == 0:
            capacities[tensor] = rng.randint(capacities[tensor], height)
    layout = simulated(graph, chosen, capacities, streamed)
    found = lay_out(layout, chosen, streamed, rounds=rng.randrange(30))
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
    chosen += [candidates.make(Stage((i,)), rng.random() < 0.5) for i in sorted(free)]
    return sorted(chosen, key=lambda c: c.stage.ops[-1])


def _random_bottleneck(graph: QGraph, ops: tuple[int, ...], rng: Random) -> Stage:
    parts = bottleneck(graph, ops)
    mid = parts.depthwise.weights.shape[2]
    out = graph.tensors[parts.output]
    col_tile = _one_to(out.width, rng)
    if can_roll(parts) and rng.random() < 0.5:
        return Stage(ops, True, mid, 1, col_tile)
    return Stage(ops, False, _one_to(mid, rng), _one_to(out.height, rng), col_tile)


def _one_to(most: int, rng: Random) -> int:
    """1, most, or anything between."""
    return rng.choice((1, most, rng.randint(1, most)))
