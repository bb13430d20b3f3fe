# SPDX-License-Identifier: Apache-2.0
"""Clips to the range of an 8-bit tensor, in the float network that a QDQ form stands for.

A QuantizeLinear clips. Converters rely on that: onnxruntime drops a Relu or Clip where the range
of the QuantizeLinear behind it cuts at the same values. So the importer makes each of them a
REQUANTIZE to a tensor with bounds; here those become part of the operator before.
"""

from __future__ import annotations

from dataclasses import replace

from narrows.graph.graph import (
    WEIGHTED,
    Activation,
    Binary,
    Concat,
    Graph,
    Operator,
    Pad,
    Pool,
    Reduce,
    Reduction,
    Reshape,
    Resize,
    Softmax,
    Tensor,
    Unary,
    UnaryFunction,
    readers,
)
from narrows.graph.moves import Move
from narrows.graph.scales import ANY, Interval, covers, has_free_scale, hull

_ACTIVATIONS: dict[Activation, Interval] = {
    Activation.NONE: ANY,
    Activation.RELU: (0, ANY[1]),
    Activation.RELU6: (0, 6),
    Activation.RELU_N1_TO_1: (-1, 1),
}
_RECTIFIERS = {
    UnaryFunction.RELU: Activation.RELU,
    UnaryFunction.RELU6: Activation.RELU6,
}
_FUNCTIONS: dict[UnaryFunction, Interval] = {
    UnaryFunction.LOGISTIC: (0, 1),
    UnaryFunction.TANH: (-1, 1),
    **{function: _ACTIVATIONS[name] for function, name in _RECTIFIERS.items()},
}


def fold_clips(graph: Graph) -> Graph:
    """Drop clips that change nothing, and make the others part of the operator before.

    A clip changes nothing if the values before it stay within its bounds, up to half a step. It
    becomes part of an operator whose int8 output may have any scale, if nobody else reads the
    values before the clip; what begins at 0 is a RELU, and what ends at 6 besides a RELU6. So
    does a RELU or RELU6 behind a clip.
    """
    tensors, operators = list(graph.tensors), list[Operator]()
    reading = readers(graph)
    inputs = {port.tensor for port in graph.inputs}
    # Outputs of the model, and what is read under another number too.
    visible = {port.tensor for port in graph.outputs}
    makers: dict[int, int] = {}  # tensor -> place of the operator that writes it
    same: dict[int, int] = {}  # what is read instead of a tensor
    intervals = {
        i: ANY if t.data is None else (float(t.data.min()), float(t.data.max()))
        for i, t in enumerate(tensors)
    }
    for operator in graph.operators:
        single = len(reading[operator.inputs[0]]) == 1 and operator.inputs[0] not in visible
        known = tuple(same.get(i, i) for i in operator.inputs)
        operator = replace(operator, inputs=known)  # type: ignore[arg-type]
        x, y = operator.inputs[0], operator.output
        clip = _clip_of(operator, tensors)
        if clip is not None and covers(clip, intervals[x]):
            same[y] = x
            visible.update(() if single else (y,))
            continue
        if clip is not None and single:
            bounds = _cut(tensors[x].bounds or ANY, clip)
            if x in inputs:
                tensors[x], intervals[x] = replace(tensors[x], bounds=bounds), bounds
                same[y] = x
                continue
            if x in makers and has_free_scale(operators[makers[x]]):
                tensors[y], intervals[y] = replace(tensors[y], bounds=bounds), bounds
                operators[makers[x]] = _clipping(operators[makers[x]], tensors, y)
                makers[y] = makers[x]
                continue
        makers[y] = len(operators)
        operators.append(operator)
        intervals[y] = _interval(operator, tensors, intervals)
    ports = tuple(replace(p, tensor=same.get(p.tensor, p.tensor)) for p in graph.outputs)
    return replace(graph, tensors=tuple(tensors), operators=tuple(operators), outputs=ports)


def _clip_of(operator: Operator, tensors: list[Tensor]) -> Interval | None:
    """The interval to which an operator clips, if it does nothing else."""
    if not isinstance(operator, Unary):
        return None
    if operator.function in _RECTIFIERS and tensors[operator.inputs[0]].bounds is not None:
        return _ACTIVATIONS[_RECTIFIERS[operator.function]]
    return tensors[operator.output].bounds


def _clipping(before: Operator, tensors: list[Tensor], output: int) -> Operator:
    """The operator with a clip to its new output's bounds, as an activation where there is one."""
    bounds = tensors[output].bounds
    assert bounds is not None
    before = replace(before, output=output)
    if not isinstance(before, (*WEIGHTED, Binary)) or bounds[0] != 0:
        return before
    six = _ACTIVATIONS[Activation.RELU6]
    if not (covers(bounds, six) and covers(six, bounds)):
        if before.activation is Activation.RELU6:
            return before
        return replace(before, activation=Activation.RELU)
    tensors[output] = replace(tensors[output], bounds=None)
    return replace(before, activation=Activation.RELU6)


def _interval(
    operator: Operator, tensors: list[Tensor], intervals: dict[int, Interval]
) -> Interval:
    """In which the operator's output lies."""
    x = hull(*(intervals[i] for i in operator.inputs))
    bounds = tensors[operator.output].bounds or ANY
    match operator:
        case Pad():
            x = hull(x, (operator.value, operator.value))
        case Softmax():
            x = (0, 1)
        case Unary(function=UnaryFunction.REQUANTIZE) | Concat() | Reshape():
            pass
        case Pool() | Resize() | Move():
            pass
        case Reduce() if operator.function is not Reduction.SUM:
            pass
        case Unary() if operator.function in _FUNCTIONS:
            x = _FUNCTIONS[operator.function]
        case _:
            x = ANY
    return _cut(_cut(x, _ACTIVATIONS[getattr(operator, "activation", Activation.NONE)]), bounds)


def _cut(interval: Interval, bounds: Interval) -> Interval:
    """What an interval becomes by a clip."""
    least, most = (min(max(n, bounds[0]), bounds[1]) for n in interval)
    return least, most
