# SPDX-License-Identifier: Apache-2.0
"""Every tensor whole (a streaming planner follows)."""
from __future__ import annotations

from dataclasses import dataclass

from narrows.graph.qgraph import QGraph
from narrows.plan.firing import stage_firings
from narrows.plan.plan import Plan, Region, Ring, Stage
from narrows.plan.sizes import stage_bytes


@dataclass(frozen=True)
class PlanOptions:
    ram: int | None = None


def plan(graph: QGraph, options: PlanOptions = PlanOptions()) -> Plan:
    end = 0

    def take(size: int) -> Region:
        nonlocal end
        offset = end
        end += -(-size // 16) * 16
        return Region(offset, size) if size else Region()

    stages = []
    macs = []
    for index in range(len(graph.ops)):
        stage = Stage((index,))
        state, scratch = stage_bytes(graph, stage)
        stages.append(Stage((index,), state=take(state), scratch=take(scratch)))
        macs += stage_firings(graph, stage, state > 0).macs
    tensors = [e.tensor for e in graph.inputs] + [op.output for op in graph.ops]
    rings = tuple(
        Ring(t, graph.tensors[t].height, take(graph.tensors[t].bytes).offset) for t in tensors
    )
    return Plan(tuple(stages), rings, end, sum(macs), sum(macs), max(macs))
