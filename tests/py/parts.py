# SPDX-License-Identifier: Apache-2.0
"""A network whose input comes by parts of rows where RAM is short."""

from __future__ import annotations

from functools import cache

import numpy as np

from narrows.graph.qgraph import Int8Array, QGraph
from narrows.planning.candidates import Candidates
from narrows.planning.plan import Plan
from narrows.planning.schedule import network
from narrows.planning.search import least_capacities
from narrows.planning.timeline import lay_out, simulated
from random_graphs import GraphBuilder


def wide_graph() -> QGraph:
    """Rows of the input are most of what is held."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.conv(build.input(8, 192, 12), 4, (3, 3), (2, 2))
    return build.graph([build.conv(build.mean(x), 5)])


@cache
def by_parts() -> tuple[QGraph, Plan]:
    """The wide graph, and a plan by parts that are longer than a frame."""
    graph, strips = wide_graph(), (48,)
    candidates = Candidates(graph)
    chosen = [candidates.options((i,))[-1] for i in range(len(graph.ops))]
    net = network(graph, [c.firings for c in chosen], (), strips)
    channels = dict(enumerate(t.channels for t in graph.tensors))
    capacities, _ = least_capacities(net, frozenset(), channels)
    found = lay_out(simulated(graph, chosen, capacities, (), strips), chosen)
    assert found.input_strips == strips
    return graph, found


def picture_for(graph: QGraph, seed: int = 0) -> list[Int8Array]:
    """Random inputs."""
    rng = np.random.default_rng(seed)
    tensors = [graph.tensors[edge.tensor] for edge in graph.inputs]
    shapes = [(t.height, t.width, t.channels) for t in tensors]
    return [rng.integers(-128, 128, shape).astype(np.int8) for shape in shapes]
