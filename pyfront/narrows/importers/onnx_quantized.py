# SPDX-License-Identifier: Apache-2.0
"""Quantized ONNX graphs of other forms than QDQ, as that form or as the float network.

In QOperator form an operator takes 8-bit integers with their scales and gives such: it is the float
operator between DequantizeLinear and QuantizeLinear. A dynamically quantized graph finds the scales
of activations when it runs and knows those of weights: without the rounding it is a float network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from narrows.graph.graph import Array
from narrows.importers.onnx_file import NodeRecord, OnnxRecord

_MICROSOFT = "com.microsoft."
_IN_QOPERATORS = "it is in QOperator form, which is taken as QDQ form"
_DYNAMIC = "it is dynamically quantized; it is taken as the float network with these weights"


@dataclass(frozen=True)
class _Form:
    """operator: in floats. tensors: the first input of each (values, scale, zero point), and of
    the (scale, zero point) of the output. bias: an input of int32. axis: of weights' scales."""

    operator: str
    tensors: tuple[int, ...]
    made: int
    bias: int | None = None
    axis: int = 0


_OF_ONE = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearSigmoid": "Sigmoid",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearSoftmax": "Softmax",
    "QLinearReduceMean": "ReduceMean",
}
_FORMS: Mapping[str, _Form] = {
    "QLinearConv": _Form("Conv", (0, 3), 6, 8),
    "QLinearMatMul": _Form("MatMul", (0, 3), 6, axis=-1),
    f"{_MICROSOFT}QGemm": _Form("Gemm", (0, 3), 7, 6, axis=-1),
    f"{_MICROSOFT}QLinearAdd": _Form("Add", (0, 3), 6),
    f"{_MICROSOFT}QLinearMul": _Form("Mul", (0, 3), 6),
    **{_MICROSOFT + name: _Form(float_name, (0,), 3) for name, float_name in _OF_ONE.items()},
}
_LEAST_INPUTS = {
    "DynamicQuantizeLinear": 1,
    "MatMulInteger": 2,
    "ConvInteger": 2,
    "MatMulIntegerToFloat": 4,
    "DynamicQuantizeMatMul": 3,
}
_CONCAT = f"{_MICROSOFT}QLinearConcat"
# Operators that take integers as they take floats: these only name them otherwise, ...
_LABELS = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"))
# ... and these choose or move them.
_MOVES = frozenset((
    "MaxPool", "Slice", "Split", "Concat", "Resize", "Gather", "Pad", "DepthToSpace",
    "SpaceToDepth", "Expand", "Tile", "Max", "Min",
))  # fmt: skip


def in_qoperators(record: OnnxRecord) -> bool:
    """Whether a graph is in QOperator form."""
    return any(node.operator in _FORMS or node.operator == _CONCAT for node in record.nodes)


def without_qoperators(record: OnnxRecord) -> tuple[OnnxRecord, tuple[str, ...]]:
    """The record in QDQ form if it is in QOperator form, in floats if it is dynamically quantized,
    and what to tell of it."""
    rewriting = _Rewriting(record)
    if in_qoperators(record):
        rewriting.static()
        told = _IN_QOPERATORS
    elif any(node.operator == "DynamicQuantizeLinear" for node in record.nodes) or any(
        node.operator == f"{_MICROSOFT}DynamicQuantizeMatMul" for node in record.nodes
    ):
        rewriting.dynamic()
        told = _DYNAMIC
    else:
        return record, ()
    return replace(record, nodes=tuple(rewriting.nodes), constants=rewriting.constants), (told,)


class _Rewriting:
    """nodes, constants: what the record becomes. ``_scales``: the (scale, zero point) of values
    that are 8-bit integers."""

    def __init__(self, record: OnnxRecord) -> None:
        self._record = record
        self.nodes: list[NodeRecord] = []
        self.constants = dict(record.constants)
        self._scales: dict[str, tuple[str, str]] = {}
        self._next = len(record.nodes)

    # --- QOperator form ------------------------------------------------------------------------

    def static(self) -> None:
        for node in self._record.nodes:
            form = _FORMS.get(node.operator)
            if form is not None and self._is_whole(node, form):
                self._expand(node, form)
            elif node.operator == _CONCAT:
                parts = [self._real(node.inputs[i : i + 3]) for i in range(2, len(node.inputs), 3)]
                self._put(node, "Concat", parts, (node.inputs[0], node.inputs[1]))
            elif node.operator == "QuantizeLinear" and len(node.inputs) > 2:
                self._scales[node.outputs[0]] = (node.inputs[1], node.inputs[2])
                self.nodes.append(node)
            else:
                self._follow(node)

    def _is_whole(self, node: NodeRecord, form: _Form) -> bool:
        """Whether its scales are there, and constants where a bias has theirs."""
        needed = [form.made, *(i + 1 for i in form.tensors)]
        if len(node.inputs) <= max(needed) or node.attributes.get("channels_last", 0):
            return False
        return form.bias is None or all(node.inputs[i] in self.constants for i in needed)

    def _expand(self, node: NodeRecord, form: _Form) -> None:
        axis = 0 if node.attributes.get("transB", 0) else form.axis
        inputs = [self._real(node.inputs[i : i + 3], axis) for i in form.tensors]
        bias = form.bias
        if bias is not None and bias < len(node.inputs) and node.inputs[bias]:
            steps = [self.constants[node.inputs[i + 1]].astype(np.float32) for i in form.tensors]
            scale = self._constant(f"{node.inputs[bias]}/scale", np.asarray(steps[0] * steps[1]))
            inputs.append(self._real((node.inputs[bias], scale), 0))
        made = (*node.inputs[form.made : form.made + 2], "")[:2]
        self._put(node, form.operator, inputs, (made[0], made[1]))

    def _follow(self, node: NodeRecord) -> None:
        """An operator that may take integers as it takes floats."""
        given = next((self._scales[n] for n in node.inputs if n in self._scales), None)
        if given is None or node.operator not in _LABELS | _MOVES:
            self.nodes.append(node)
        elif node.operator in _LABELS:
            self._scales[node.outputs[0]] = given
            self.nodes.append(node)
        else:
            inputs = [
                self._real((n, *self._scales[n])) if n in self._scales else n for n in node.inputs
            ]
            outputs = tuple(f"{name}/real" for name in node.outputs)
            self.nodes.append(replace(node, inputs=tuple(inputs), outputs=outputs))
            for real, name in zip(outputs, node.outputs, strict=True):
                self._quantize(real, name, given)

    def _real(self, tensor: Any, axis: int = 0) -> str:
        """A DequantizeLinear of (values, scale, zero point)."""
        name = f"{tensor[0]}/real{self._next}"
        self._add("DequantizeLinear", tuple(tensor), (name,), {"axis": axis})
        return name

    def _put(
        self, node: NodeRecord, operator: str, inputs: list[str], made: tuple[str, str]
    ) -> None:
        real = f"{node.outputs[0]}/real"
        kept = replace(node, operator=operator, inputs=tuple(inputs), outputs=(real,))
        self.nodes.append(kept)
        self._quantize(real, node.outputs[0], made)

    def _quantize(self, real: str, name: str, made: tuple[str, str]) -> None:
        self._scales[name] = made
        self._add("QuantizeLinear", (real, *(n for n in made if n)), (name,), {})

    # --- Dynamically quantized -----------------------------------------------------------------

    def dynamic(self) -> None:
        wide: set[str] = set()  # floats that were integers of 32 bits
        for node in self._record.nodes:
            name, inputs = node.operator.removeprefix(_MICROSOFT), node.inputs
            if len(inputs) < _LEAST_INPUTS.get(name, 0):
                self.nodes.append(node)
            elif name == "DynamicQuantizeLinear" and len(node.outputs) == 3:
                values, scale, zero = node.outputs
                self._scales[values] = (scale, zero)
                self.constants[scale] = np.array(1, np.float32)
                self.constants[zero] = np.array(0, np.uint8)
                self.nodes.append(replace(node, operator="Identity", outputs=(values,)))
            elif name in ("MatMulInteger", "ConvInteger") and self._is_scaled(node):
                weights = self._weights(inputs[1], "", inputs[3] if len(inputs) > 3 else "")
                operator = name.removesuffix("Integer")
                wide.add(node.outputs[0])
                self.nodes.append(replace(node, operator=operator, inputs=(inputs[0], weights)))
            elif name == "MatMulIntegerToFloat" and (
                self._scales.get(inputs[0]) == (inputs[2], (*inputs, "", "")[4])
            ):
                parts = (*inputs, "", "", "")
                self._product(node, inputs[0], (inputs[1], inputs[3], parts[5]), parts[6])
            elif name == "DynamicQuantizeMatMul":
                parts = (*inputs, "", "")
                self._product(node, inputs[0], (inputs[1], inputs[2], parts[3]), parts[4])
            elif name == "Cast" and wide.intersection(inputs):
                self.nodes.append(replace(node, operator="Identity", attributes={}))
            else:
                if name in _LABELS and inputs and inputs[0] in self._scales:
                    self._scales[node.outputs[0]] = self._scales[inputs[0]]
                self.nodes.append(node)

    def _is_scaled(self, node: NodeRecord) -> bool:
        """Whether a product of integers takes off the zero point that its input has, and whether
        all that reads it multiplies it by the scale: it is the product of real numbers then."""
        scale, zero = self._scales.get(node.inputs[0], ("", ""))
        if len(node.inputs) < 3 or not zero or node.inputs[2] != zero:
            return False
        nodes = self._record.nodes
        scales = {scale}
        scales.update(n.outputs[0] for n in nodes if n.operator == "Mul" and scale in n.inputs)
        casts = [n for n in nodes if node.outputs[0] in n.inputs]
        made = {name for cast in casts for name in cast.outputs}
        readers = [n for n in nodes if made.intersection(n.inputs)]
        return (
            all(cast.operator == "Cast" for cast in casts)
            and all(n.operator == "Mul" and scales.intersection(n.inputs) for n in readers)
            and not made.union(node.outputs).intersection(self._record.outputs)
        )

    def _product(self, node: NodeRecord, x: str, weights: tuple[str, str, str], bias: str) -> None:
        made = self._weights(*weights)
        if not bias:
            self.nodes.append(replace(node, operator="MatMul", inputs=(x, made), attributes={}))
            return
        product = f"{node.outputs[0]}/product"
        self._add("MatMul", (x, made), (product,), {})
        self.nodes.append(replace(node, operator="Add", inputs=(product, bias), attributes={}))

    def _weights(self, values: str, scale: str, zero: str) -> str:
        """Constant weights as real numbers, in steps of 1 without a scale; others as they are."""
        if values not in self.constants:
            return values
        number = self.constants[values].astype(np.float32)
        if zero in self.constants:
            number = number - _along(self.constants[zero], number)
        if scale in self.constants:
            number = number * _along(self.constants[scale], number)
        return self._constant(f"{values}/real{self._next}", number)

    # --- Both ----------------------------------------------------------------------------------

    def _constant(self, name: str, values: Array) -> str:
        self._next += 1
        self.constants[name] = values.astype(np.float32)
        return name

    def _add(
        self,
        operator: str,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
        attributes: dict[str, Any],
    ) -> None:
        self.nodes.append(NodeRecord(self._next, operator, inputs, outputs, attributes, None))
        self._next += 1


def _along(numbers: Array, weights: Array) -> Array:
    """Scales or zero points, one for all or one for each output channel, beside the weights: the
    last dimension of a matrix, the first one of a convolution's."""
    numbers = numbers.astype(np.float32).reshape(-1)
    if numbers.size > 1 and weights.ndim > 2:
        return numbers.reshape(-1, *(1,) * (weights.ndim - 1))
    return numbers
