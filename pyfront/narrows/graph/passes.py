# SPDX-License-Identifier: Apache-2.0
"""Passes from Graph to Graph that leave every output bit unchanged."""

from __future__ import annotations

from dataclasses import replace

from narrows.graph.graph import (
    WEIGHTED,
    Activation,
    Binary,
    Conv,
    DepthwiseConv,
    Graph,
    Operator,
    Pad,
    Pool,
    Unary,
    UnaryFunction,
    Variable,
    readers,
)
from narrows.graph.moves import Slice


def fold_padding(graph: Graph) -> Graph:
    """Make a PAD part of the convolution that reads it.

    Allowed only if the padding is what the convolution itself takes for outside: its value
    is the zero point, scales and zero points on both sides are equal, channels are not
    padded, and nobody else reads the padded tensor.
    """
    reading = readers(graph)
    visible = graph.ends
    folded: dict[int, Pad] = {}  # padded tensor -> its operator
    for operator in graph.operators:
        if not isinstance(operator, Pad) or operator.output in visible:
            continue
        source, padded = graph.tensors[operator.inputs[0]], graph.tensors[operator.output]
        q, p = source.quantization, padded.quantization
        same = (q is None and p is None and operator.value == 0) or (
            q is not None
            and p is not None
            and q.scale == p.scale
            and operator.value == q.zero_point == p.zero_point
        )
        users = [graph.operators[i] for i in reading.get(operator.output, [])]
        if (
            same
            and source.shape[2] == padded.shape[2]
            and len(users) == 1
            and isinstance(users[0], (Conv, DepthwiseConv))
        ):
            folded[operator.output] = operator
    operators: list[Operator] = []
    for operator in graph.operators:
        if operator.output in folded:
            continue
        if isinstance(operator, (Conv, DepthwiseConv)):
            while (padding := folded.get(operator.inputs[0])) is not None:
                top, left = operator.pad
                operator = replace(
                    operator,
                    inputs=padding.inputs,
                    pad=(top + padding.before[0], left + padding.before[1]),
                )
        operators.append(operator)
    return replace(graph, operators=tuple(operators))


_FUSED = {UnaryFunction.RELU: Activation.RELU, UnaryFunction.RELU6: Activation.RELU6}


def fuse_activations(graph: Graph) -> Graph:
    """Make RELU and RELU6 of a float network part of the operator before.

    Allowed if that operator has no other activation yet and nobody else reads its output. In a
    quantized network the two may differ in scale, so there they stay apart.
    """
    reading = readers(graph)
    visible = graph.ends
    operators: list[Operator] = []
    makers: dict[int, int] = {}  # tensor -> place of the operator that writes it
    for operator in graph.operators:
        if isinstance(operator, Unary) and operator.function in _FUSED:
            source = operator.inputs[0]
            before = operators[makers[source]] if source in makers else None
            if (
                isinstance(before, (*WEIGHTED, Binary, Pool))
                and before.activation in (Activation.NONE, *_FUSED.values())
                and graph.tensors[source].quantization is None
                and graph.tensors[source].bounds is None
                and len(reading[source]) == 1
                and source not in visible
            ):
                activation = _FUSED[operator.function]
                if before.activation is Activation.RELU6:  # the narrower one stays
                    activation = Activation.RELU6
                fused = replace(before, output=operator.output, activation=activation)
                operators[makers[source]] = fused
                makers[operator.output] = makers[source]
                continue
        makers[operator.output] = len(operators)
        operators.append(operator)
    return replace(graph, operators=tuple(operators))


def fold_assigned(graph: Graph) -> Graph:
    """Let a variable become rows of a tensor that nothing need copy before.

    A streaming network appends new rows to those that it remembers and assigns the last of them,
    cut out by a SLICE.
    """
    makers = {operator.output: operator for operator in graph.operators}
    variables = []
    for variable in graph.variables:
        maker = makers.get(variable.source)
        while isinstance(maker, Slice) and maker.stride == (1, 1, 1) and maker.begin[1:] == (0, 0):
            shapes = [graph.tensors[i].shape for i in (maker.inputs[0], maker.output)]
            if shapes[0][1:] != shapes[1][1:] or maker.inputs[0] not in makers:
                break
            row = variable.row + maker.begin[0]
            variable = replace(variable, source=maker.inputs[0], row=row)
            maker = makers[maker.inputs[0]]
        variables.append(variable)
    return replace(graph, variables=tuple(variables))


def drop_unused(graph: Graph) -> Graph:
    """Drop operators and variables that no output depends on, and tensors that nobody names."""
    variables: list[Variable] = []
    while True:
        roots = {port.tensor for port in graph.outputs} | {v.source for v in variables}
        kept, needed = _behind(graph, roots)
        found = [v for v in graph.variables if v.tensor in needed]
        if len(found) == len(variables):
            break
        variables = found
    needed.update(port.tensor for port in graph.inputs)
    order = sorted(needed)
    number = {old: new for new, old in enumerate(order)}
    return replace(
        graph,
        tensors=tuple(graph.tensors[i] for i in order),
        operators=tuple(_renumbered(operator, number) for operator in reversed(kept)),
        inputs=tuple(replace(port, tensor=number[port.tensor]) for port in graph.inputs),
        outputs=tuple(replace(port, tensor=number[port.tensor]) for port in graph.outputs),
        variables=tuple(
            replace(v, tensor=number[v.tensor], source=number[v.source]) for v in variables
        ),
    )


def _behind(graph: Graph, roots: set[int]) -> tuple[list[Operator], set[int]]:
    """The operators that tensors depend on, last ones first, and all tensors that they name."""
    needed = set(roots)
    kept: list[Operator] = []
    for operator in reversed(graph.operators):
        if operator.output in needed:
            kept.append(operator)
            needed.update(operator.inputs)
            if isinstance(operator, WEIGHTED):
                needed.add(operator.weights)
                needed.update(() if operator.bias is None else (operator.bias,))
    return kept, needed


def _renumbered(operator: Operator, number: dict[int, int]) -> Operator:
    changes: dict[str, object] = {
        "inputs": tuple(number[i] for i in operator.inputs),
        "output": number[operator.output],
    }
    if isinstance(operator, WEIGHTED):
        changes["weights"] = number[operator.weights]
        changes["bias"] = None if operator.bias is None else number[operator.bias]
    return replace(operator, **changes)  # type: ignore[arg-type]
