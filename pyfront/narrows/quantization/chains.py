# SPDX-License-Identifier: Apache-2.0
"""Chains of functions of one element become one table.

What several operators compute of each element of a tensor with nothing but single numbers is a
function of one byte, however they branch and meet: a SiLU's LOGISTIC and MUL, an exponential with
what converters put around it. Its 256 values are those operators' own, so no byte changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from narrows.graph.qgraph import QElementwise, QGraph, QLookup, QOp, without_unused
from narrows.quantization.arithmetic import elementwise
from narrows.quantization.fixed_point import Int64Array
from narrows.quantization.tables import ALL_INT8, as_bytes


@dataclass(frozen=True, eq=False)
class _Function:
    """What a tensor is of another one.

    source: that tensor; None of a constant number. values: for each of ALL_INT8.
    """

    source: int | None
    values: Int64Array


def fold_chains(graph: QGraph) -> QGraph:
    """The same network with one LOOKUP for each tensor that is a function of the elements of
    another one and that something else reads."""
    deepest = _functions(graph, set(), {})
    seen = set(graph.ends)
    for op in graph.ops:
        if op.output not in deepest:
            seen.update(op.inputs)
    functions = _functions(graph, seen, deepest)
    ops: list[QOp] = []
    for op in graph.ops:
        function = functions.get(op.output)
        if function is None or (op.output in seen and _is_alone(op, function)):
            ops.append(op)
        elif op.output in seen:
            assert function.source is not None
            table = as_bytes(function.values)
            ops.append(QLookup((function.source,), op.output, table, "several functions"))
    return without_unused(replace(graph, ops=tuple(ops)))


def _is_alone(op: QOp, function: _Function) -> bool:
    return isinstance(op, QLookup) and function.source == op.inputs[0]


def _functions(
    graph: QGraph, stops: set[int], others: Mapping[int, _Function]
) -> dict[int, _Function]:
    """The tensors that are functions of another one's elements.

    Args:
        stops: tensors that are there anyway, and are sources rather than what they are functions
            of.
        others: what tensors are if they are functions of no single stop.
    """
    found: dict[int, _Function] = {}
    variables = {variable.tensor for variable in graph.variables}

    def function(index: int) -> _Function:
        tensor = graph.tensors[index]
        if tensor.data is not None and tensor.bytes == 1 and index not in variables:
            return _Function(None, np.full(256, int(tensor.data.flat[0]), np.int64))
        whole = _Function(index, ALL_INT8)
        return whole if index in stops else found.get(index, whole)

    for op in graph.ops:
        if isinstance(op, (QLookup, QElementwise)):
            made = _composed(graph, op, [function(i) for i in op.inputs])
            made = others.get(op.output) if made is None else made
            if made is not None:
                found[op.output] = made
    return found


def _composed(
    graph: QGraph, op: QLookup | QElementwise, operands: Sequence[_Function]
) -> _Function | None:
    """What an operator makes of functions; None if they are of several tensors, or broadcast."""
    sources = {f.source for f in operands if f.source is not None}
    shape = graph.tensors[op.output].shape
    if len(sources) != 1 or any(graph.tensors[i].shape != shape for i in sources):
        return None
    if isinstance(op, QLookup):
        table = np.frombuffer(op.table, np.int8).astype(np.int64)
        return _Function(operands[0].source, table[operands[0].values & 0xFF])
    a, b, y = (graph.tensors[i].zero_point for i in (*op.inputs, op.output))
    values = elementwise(op, operands[0].values, operands[1].values, a, b, y)
    return _Function(sources.pop(), values)
