# SPDX-License-Identifier: Apache-2.0
"""RAM that a run needs beside its arena."""

from __future__ import annotations

from narrows.graph.qgraph import QGraph
from narrows.native import Model
from narrows.planning.plan import Plan
from narrows.stages.firings import input_strips

STATE_BYTES = 76
"""sizeof(struct nrw_model) + sizeof(struct nrw_run) where pointers have 4 bytes."""
ALIGNMENT_SLACK = 15
"""What memory of any address loses until the arena is 16-byte aligned."""
PROGRESS_BYTES = 12
"""Counters of one stage, nrw_progress_bytes."""


def beside_arena(graph: QGraph, plan: Plan) -> int:
    """Alignment slack, state of run and model on a 32-bit chip, counters, and a buffer for what
    the caller is asked for at a time."""
    inputs = [graph.tensors[edge.tensor] for edge in graph.inputs]
    streamed = {graph.outputs[i].tensor for i in plan.streamed_outputs}
    stages = len(inputs) + len(plan.stages) + len(streamed)
    strips = zip(inputs, input_strips(graph, plan.input_strips), strict=True)
    due = max(strip * tensor.channels for tensor, strip in strips)
    return ALIGNMENT_SLACK + STATE_BYTES + PROGRESS_BYTES * stages + due


def ram_of_blob(model: Model) -> int:
    """``ram_bytes`` of what has been packed."""
    due = max(info.strip_bytes for info in model.inputs)
    return model.arena_bytes + ALIGNMENT_SLACK + STATE_BYTES + model.progress_bytes + due


def ram_bytes(graph: QGraph, plan: Plan) -> int:
    """The arena and all that stands beside it."""
    return plan.arena_total + beside_arena(graph, plan)
