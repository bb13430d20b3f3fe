# SPDX-License-Identifier: Apache-2.0
"""What a stage costs: instructions on the target, predicted from what it computes."""

from __future__ import annotations

from narrows.graph.qgraph import QConv, QDepthwise, QGraph
from narrows.plan.firing import Firings
from narrows.plan.plan import Stage


def instructions(graph: QGraph, stage: Stage, firings: Firings) -> float:
    """Provisional."""
    total = float(firings.macs.sum())
    per_mac = 3.4
    if len(stage.ops) == 1 and isinstance(graph.ops[stage.ops[0]], QDepthwise):
        per_mac = 12.0
    elif len(stage.ops) == 1 and isinstance(graph.ops[stage.ops[0]], QConv):
        per_mac = 3.6
    out = graph.tensors[firings.output]
    elements = out.height * out.width * out.channels
    return total * per_mac + 25.0 * elements + 700.0 * firings.count
