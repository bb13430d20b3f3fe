# SPDX-License-Identifier: Apache-2.0
"""Nodes of an ONNX graph that together are what a later opset has an operator for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from narrows.importers.onnx_constants import given_constant
from narrows.importers.onnx_file import NodeRecord, OnnxRecord
from narrows.importers.refusals import Refused


def fold_gelus(record: OnnxRecord) -> OnnxRecord:
    """The record with a Gelu for each x / 2 * (1 + erf(x / sqrt(2))), in whatever order the
    factors stand; so exporters write it before opset 20."""
    patterns = _Patterns(record)
    made: dict[int, NodeRecord] = {}
    dropped: set[int] = set()
    for node in record.nodes:
        found = patterns.gelu(node) if node.operator == "Erf" else None
        if found is not None:
            last, x, inner = found
            made[last.index] = replace(last, operator="Gelu", inputs=(x,), attributes={})
            dropped.update(n.index for n in inner)
    nodes = (made.get(n.index, n) for n in record.nodes if n.index not in dropped)
    return replace(record, nodes=tuple(nodes))


class _Patterns:
    """What makes and what reads each value."""

    def __init__(self, record: OnnxRecord) -> None:
        self._record = record
        self._makers = {name: node for node in record.nodes for name in node.outputs}
        self._readers: dict[str, list[NodeRecord]] = {}
        for node in record.nodes:
            for name in node.inputs:
                self._readers.setdefault(name, []).append(node)

    def gelu(self, erf: NodeRecord) -> tuple[NodeRecord, str, Sequence[NodeRecord]] | None:
        """The last node, the input, and all nodes but the last; None if it is something else."""
        scaled = self._makers.get(erf.inputs[0]) if erf.inputs else None
        plus = self._reader(erf)
        if scaled is None or plus is None or self._by(plus, "Add", 1.0) is None:
            return None
        x = self._by(scaled, "Div", 2**0.5) or self._by(scaled, "Mul", 0.5**0.5)
        first = self._reader(plus)
        if x is None or first is None or first.operator != "Mul":
            return None
        inner = [erf, plus, *([scaled] if self._reader(scaled) is erf else [])]
        other = next((n for n in first.inputs if n != plus.outputs[0]), "")
        half = self._makers.get(other)
        if half is not None and self._by(half, "Mul", 0.5) == x:
            return first, x, [*inner, *([half] if self._reader(half) is first else [])]
        last = self._reader(first)
        if last is None:
            return None
        if other == x and self._by(last, "Mul", 0.5) == first.outputs[0]:
            return last, x, [*inner, first]
        if self._by(first, "Mul", 0.5) and set(last.inputs) == {x, first.outputs[0]}:
            return (last, x, [*inner, first]) if last.operator == "Mul" else None
        return None

    def _reader(self, node: NodeRecord) -> NodeRecord | None:
        """The only node that reads what a node makes."""
        name = node.outputs[0]
        reading = self._readers.get(name, [])
        return reading[0] if len(reading) == 1 and name not in self._record.outputs else None

    def _by(self, node: NodeRecord, operator: str, number: float) -> str | None:
        """The other operand of such a node; a divisor is the second one."""
        if node.operator != operator or len(node.inputs) != 2:
            return None
        for i in (1,) if operator == "Div" else (0, 1):
            value = self._number(node.inputs[i])
            if value is not None and np.isclose(value, number, rtol=1e-4):
                return node.inputs[1 - i]
        return None

    def _number(self, name: str) -> float | None:
        values = self._record.constants.get(name)
        maker = self._makers.get(name)
        if values is None and maker is not None and maker.operator == "Constant":
            try:
                values = given_constant(maker).data
            except Refused:
                return None
        return float(values.reshape(-1)[0]) if values is not None and values.size == 1 else None
