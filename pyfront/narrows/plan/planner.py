# SPDX-License-Identifier: Apache-2.0
"""plan: the memory plan of a network that needs least RAM and computes nothing twice."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.errors import PlanError
from narrows.graph.qgraph import QGraph
from narrows.plan.candidates import Candidates, Tiling
from narrows.plan.layout import lay_out
from narrows.plan.plan import Plan
from narrows.plan.search import Search
from narrows.plan.verify import verify_plan


@dataclass(frozen=True)
class PlanOptions:
    """What a plan may look like.

    ram: bytes that the arena may have; None: as few as can be found.
    fuse: whether operators may fuse into bottlenecks.
    materialize: hold every tensor whole.
    tiling: cut inverted residuals into slices and tiles in this way instead of rolling.
    streamed_outputs: indices of outputs handed out by rows.
    isa: instruction-set class of the target.
    """

    ram: int | None = None
    fuse: bool = True
    materialize: bool = False
    tiling: Tiling | None = None
    streamed_outputs: tuple[int, ...] = ()
    isa: int = 0


def plan(graph: QGraph, options: PlanOptions = PlanOptions()) -> Plan:
    """Plan a network.

    Raises: PlanError: a budget that no plan found can keep.
    """
    candidates = Candidates(graph, options.isa, options.tiling)
    search = Search(graph, candidates, options.fuse, options.streamed_outputs)
    if options.materialize:
        chosen = search.partition(0, len(graph.ops))
        tensors = [e.tensor for e in graph.inputs] + [c.firings.output for c in chosen]
        capacities = {t: graph.tensors[t].height for t in tensors}
    else:
        cascades = search.best()
        chosen = [c for cascade in cascades for c in cascade.chosen]
        capacities = {t: n for cascade in cascades for t, n in cascade.capacities.items()}
    found = lay_out(graph, chosen, capacities, options.streamed_outputs, options.isa)
    verify_plan(graph, found)
    if options.ram is not None and found.arena_bytes > options.ram:
        raise PlanError(f"{found.arena_bytes} over budget")
    return found
