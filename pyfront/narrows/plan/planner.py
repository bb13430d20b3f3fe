# SPDX-License-Identifier: Apache-2.0
"""plan: the memory plan of a network that needs least RAM and computes nothing twice."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.errors import PlanError
from narrows.graph.qgraph import QGraph
from narrows.plan.candidates import Candidates, Tiling
from narrows.plan.layout import Candidate, Layout, lay_out, lifetimes, simulated
from narrows.plan.plan import Plan
from narrows.plan.schedule import plan_network, simulate
from narrows.plan.search import Search
from narrows.plan.verify import verify_plan


@dataclass(frozen=True)
class PlanOptions:
    """What a plan may look like.

    ram: bytes that there are. The planner refuses a larger arena; compile_model counts what
        stands beside the arena too. None: no limit.
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

    Returns: a plan that verify_plan has proved.

    Raises: PlanError: a budget that the least plan found does not keep.
    """
    candidates = Candidates(graph, options.isa, options.tiling)
    search = Search(graph, candidates, options.fuse, options.streamed_outputs)
    if options.materialize or not graph.ops:
        chosen = search.partition(0, len(graph.ops))
        tensors = [edge.tensor for edge in graph.inputs] + [c.firings.output for c in chosen]
        capacities = {tensor: graph.tensors[tensor].height for tensor in tensors}
    else:
        cascades = search.best()
        chosen = [c for cascade in cascades for c in cascade.chosen]
        capacities = {t: n for cascade in cascades for t, n in cascade.layout.capacities.items()}
    layout = simulated(graph, chosen, capacities, options.streamed_outputs)
    found = lay_out(layout, chosen, options.streamed_outputs, options.isa)
    if options.ram is not None and found.arena_bytes > options.ram:
        raise PlanError(
            f"no plan of {graph.name} within {options.ram} bytes: the least arena found has "
            f"{found.arena_bytes}; {what_binds(graph, found)}"
        )
    wide = widened(graph, candidates, layout, chosen, found)
    verify_plan(graph, wide)
    return wide


def widened(
    graph: QGraph,
    candidates: Candidates,
    layout: Layout,
    chosen: list[Candidate],
    found: Plan,
) -> Plan:
    """The same plan with column tiles as wide as fit into the same arena: long runs are fast."""
    live = layout.live_bytes(chosen)
    for eighths in (8, 6, 4, 2, 1):
        wider = []
        for number, c in enumerate(chosen, len(graph.inputs)):
            if len(c.stage.ops) == 1 or candidates.tiling:
                wider.append(c)
                continue
            most = max(live[time] for time in layout.schedule.times[number])
            spare = (found.arena_bytes - most) * eighths // 8
            fitting = [
                option
                for option in candidates.widths(c.stage)
                if option.stage.scratch.bytes <= c.stage.scratch.bytes + spare
            ]
            wider.append(max(fitting, key=lambda option: option.stage.col_tile))
        trial = lay_out(layout, wider, found.streamed_outputs, found.isa)
        if trial.arena_bytes <= found.arena_bytes:
            return trial
    return found


def what_binds(graph: QGraph, found: Plan) -> str:
    """What stands in the arena when it is fullest, for a message."""
    net = plan_network(graph, found)
    capacities = {ring.tensor: ring.capacity for ring in found.rings}
    layout = lifetimes(graph, net, capacities, simulate(net, capacities), len(graph.inputs))
    stages = [
        Candidate(stage, net.stages[number], 0)
        for number, stage in enumerate(found.stages, layout.inputs)
    ]
    live = layout.live_bytes(stages)
    time = live.index(max(live))
    number = layout.schedule.order[time]
    busy = net.stages[number]
    where = graph.tensors[busy.output if busy.output >= 0 else busy.inputs[0]].name
    held = {
        item.name: size
        for item in layout.items(stages).values()
        if (size := sum(s.size for s in item.slots if s.mask >> time & 1))
    }
    largest = sorted(held.items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    parts = ", ".join(f"{name} ({size})" for name, size in largest)
    return f"it is fullest when {where} is computed, mostly with {parts}"
