# SPDX-License-Identifier: Apache-2.0
"""Networks that are wrong in one known place."""

from __future__ import annotations

from dataclasses import replace

from narrows.compiler import Compiled
from narrows.graph.qgraph import QConv, QGraph


def damaged(compiled: Compiled, layer: str, weights: int = 1) -> QGraph:
    """The network with one bit changed of so many weights of channel 1 of a layer."""
    graph = compiled.qgraph
    ops = list(graph.ops)
    (number,) = (i for i, op in enumerate(ops) if graph.tensors[op.output].name == layer)
    op = ops[number]
    assert isinstance(op, QConv)
    changed = op.weights.copy()
    changed[1].reshape(-1)[:weights] ^= 0x40
    ops[number] = replace(op, weights=changed)
    return replace(graph, ops=tuple(ops))
