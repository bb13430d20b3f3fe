# SPDX-License-Identifier: Apache-2.0
"""RAM that a run needs beside its arena."""

from __future__ import annotations

from narrows.graph.qgraph import QGraph
from narrows.plan.plan import Plan

STATE_BYTES = 72
"""sizeof(struct nrw_model) + sizeof(struct nrw_run) where pointers have 4 bytes."""
ALIGNMENT_SLACK = 15
"""What memory of any address loses until the arena is 16-byte aligned."""
PROGRESS_BYTES = 12
"""Counters of one stage, nrw_progress_bytes."""


def beside_arena(graph: QGraph, plan: Plan) -> int:
    """Alignment slack, state of run and model on a 32-bit chip, counters, and the row buffer
    that the caller fills."""
    inputs = [graph.tensors[edge.tensor] for edge in graph.inputs]
    streamed = {graph.outputs[i].tensor for i in plan.streamed_outputs}
    stages = len(inputs) + len(plan.stages) + len(streamed)
    row_buffer = max(tensor.width * tensor.channels for tensor in inputs)
    return ALIGNMENT_SLACK + STATE_BYTES + PROGRESS_BYTES * stages + row_buffer


def ram_bytes(graph: QGraph, plan: Plan) -> int:
    """The arena and all that stands beside it."""
    return plan.arena_total + beside_arena(graph, plan)
