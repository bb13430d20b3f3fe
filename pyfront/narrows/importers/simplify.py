# SPDX-License-Identifier: Apache-2.0
"""Passes over imported float networks: what one TFLite operator says, one operator does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from narrows.graph.graph import (
    WEIGHTED,
    Activation,
    Binary,
    Conv,
    DepthwiseConv,
    FullyConnected,
    Graph,
    Operator,
    Tensor,
    Unary,
    UnaryFunction,
    readers,
)
from narrows.graph.qgraph import Elementwise

_AFFINE = (Elementwise.ADD, Elementwise.SUB, Elementwise.MUL)


def fold_affine(graph: Graph) -> Graph:
    """Fold a scale and a shift per channel into the weights and the bias before them.

    A 1x1 depthwise convolution (what a batch normalization becomes) or an ADD, SUB or MUL with
    a constant per channel; allowed if the operator before has no activation, nobody else reads
    its output, and that is not quantized by itself. Weights that are quantized already take a
    shift, no scale.
    """
    single = _single_readers(graph)
    tensors, operators = list(graph.tensors), list[Operator]()
    makers: dict[int, int] = {}
    for operator in graph.operators:
        affine = _affine(tensors, operator)
        before = operators[makers[affine.source]] if affine and affine.source in makers else None
        if (
            affine is not None
            and isinstance(before, WEIGHTED)
            and before.activation is Activation.NONE
            and affine.source in single
            and tensors[affine.source].quantization is None
            and tensors[affine.source].shape == tensors[operator.output].shape
            and (affine.shifts or tensors[before.weights].quantization is None)
            and (before.bias is None or tensors[before.bias].dtype == "float32")
        ):
            place = makers[affine.source]
            operators[place] = _folded(tensors, before, operator.output, affine)
            makers[operator.output] = place
            continue
        makers[operator.output] = len(operators)
        operators.append(operator)
    return replace(graph, tensors=tuple(tensors), operators=tuple(operators))


@dataclass(frozen=True, eq=False)
class _Affine:
    """y = scale * x + shift, both [channels] or [1]."""

    source: int
    scale: npt.NDArray[np.float64]
    shift: npt.NDArray[np.float64]
    activation: Activation

    @property
    def shifts(self) -> bool:
        return bool((self.scale == 1).all())


def _affine(tensors: list[Tensor], operator: Operator) -> _Affine | None:
    if isinstance(operator, DepthwiseConv):
        w = tensors[operator.weights]
        if (
            w.shape[:2] != (1, 1)
            or w.quantization is not None
            or (*operator.stride, *operator.pad, operator.depth_multiplier) != (1, 1, 0, 0, 1)
        ):
            return None
        shift = np.zeros(w.shape[2]) if operator.bias is None else _float(tensors[operator.bias])
        return _Affine(operator.inputs[0], _float(w), shift, operator.activation)
    if not isinstance(operator, Binary) or operator.function not in _AFFINE:
        return None
    for constant in (0, 1):
        tensor, other = tensors[operator.inputs[constant]], operator.inputs[1 - constant]
        if (
            tensor.data is None
            or tensor.shape[:2] != (1, 1)
            or tensor.quantization is not None
            or tensors[other].data is not None
        ):
            continue
        value, one = _float(tensor), np.ones(1)
        scale, shift = one, value
        if operator.function is Elementwise.MUL:
            scale, shift = value, np.zeros(1)
        elif operator.function is Elementwise.SUB:
            scale, shift = (one, -value) if constant == 1 else (-one, value)
        return _Affine(other, scale, shift, operator.activation)
    return None


def _float(tensor: Tensor) -> npt.NDArray[np.float64]:
    assert tensor.data is not None
    values: npt.NDArray[np.float64] = tensor.data.reshape(-1).astype(np.float64)
    return values


def _folded(
    tensors: list[Tensor],
    before: Conv | DepthwiseConv | FullyConnected,
    output: int,
    affine: _Affine,
) -> Operator:
    """New constants, since another operator may share the old ones."""
    weights = tensors[before.weights]
    assert weights.data is not None
    axis = 2 if isinstance(before, DepthwiseConv) else 0
    channels = weights.shape[axis]
    bias = np.zeros(channels)
    name = f"{weights.name}/bias"
    if before.bias is not None:
        bias, name = _float(tensors[before.bias]), tensors[before.bias].name
    bias = bias * affine.scale + affine.shift
    tensors.append(Tensor(name, (channels,), "float32", None, bias.astype(np.float32)))
    before = replace(before, bias=len(tensors) - 1)
    if not affine.shifts:
        shape = [1] * weights.data.ndim
        shape[axis] = channels
        factor = np.broadcast_to(affine.scale, (channels,)).reshape(shape)
        data = (weights.data * factor).astype(np.float32)
        tensors.append(replace(weights, data=data))
        before = replace(before, weights=len(tensors) - 1)
    return replace(before, output=output, activation=affine.activation)


def fuse_hard_swish(graph: Graph) -> Graph:
    """Make x * relu6(x + 3) / 6, with the division at either place, one HARD_SWISH.

    Expects activations to be fused. Allowed if nobody else reads what lies between, and
    nothing of it is quantized by itself.
    """
    single = _single_readers(graph)
    makers = {op.output: op for op in graph.operators}

    def inner(index: int) -> Operator | None:
        loose = index in single and graph.tensors[index].quantization is None
        return makers.get(index) if loose else None

    def by_constant(operator: Operator | None, function: Elementwise, value: float) -> int | None:
        """The other operand of such an operator."""
        if isinstance(operator, Binary) and operator.function is function:
            for constant in (0, 1):
                data = graph.tensors[operator.inputs[constant]].data
                if data is not None and data.size == 1 and np.isclose(data.flat[0], value, 1e-4):
                    return operator.inputs[1 - constant]
        return None

    def ramp(index: int) -> int | None:
        """x of relu6(x + 3)."""
        operator = inner(index)
        if isinstance(operator, Binary) and operator.activation is Activation.RELU6:
            return by_constant(operator, Elementwise.ADD, 3.0)
        return None

    def sixth(operator: Operator | None) -> int | None:
        if isinstance(operator, Binary) and operator.activation is Activation.NONE:
            return by_constant(operator, Elementwise.MUL, 1 / 6)
        return None

    def product(operator: Operator | None) -> tuple[int, int] | None:
        """Factors of a MUL."""
        plain = isinstance(operator, Binary) and operator.activation is Activation.NONE
        if isinstance(operator, Binary) and plain and operator.function is Elementwise.MUL:
            return operator.inputs
        return None

    def swish(operator: Operator) -> int | None:
        """x of a MUL that ends the pattern."""
        divided = sixth(operator)
        factors = product(operator if divided is None else inner(divided))
        for a, b in (factors, factors[::-1]) if factors is not None else ():
            gate = b if divided is not None else sixth(inner(b))
            if gate is not None and ramp(gate) == a:
                return a
        return None

    operators: list[Operator] = []
    for operator in graph.operators:
        x = swish(operator)
        if x is not None:
            operator = Unary((x,), operator.output, UnaryFunction.HARD_SWISH)
        operators.append(operator)
    return replace(graph, operators=tuple(operators))


def _single_readers(graph: Graph) -> set[int]:
    """Tensors that one operator reads, and no output of the model shows."""
    visible = {port.tensor for port in graph.outputs}
    return {i for i, users in readers(graph).items() if len(users) == 1 and i not in visible}
