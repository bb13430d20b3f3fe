# SPDX-License-Identifier: Apache-2.0
"""Parameters, multiply-adds, and the tensors that have to exist as a whole."""

from __future__ import annotations

from math import prod

from narrows.graph.graph import WEIGHTED, Conv, DepthwiseConv, Graph, Operator, readers


def parameters(graph: Graph, operators: tuple[Operator, ...] | None = None) -> int:
    """Weights and biases of all operators, or of these."""
    total = 0
    for operator in graph.operators if operators is None else operators:
        if isinstance(operator, WEIGHTED):
            total += prod(graph.tensors[operator.weights].shape)
            if operator.bias is not None:
                total += prod(graph.tensors[operator.bias].shape)
    return total


def multiply_adds(graph: Graph, operators: tuple[Operator, ...] | None = None) -> int:
    """Multiply-adds of convolutions and fully connected layers, of all operators or of these;
    what falls on padding is counted, as papers do."""
    total = 0
    for operator in graph.operators if operators is None else operators:
        if isinstance(operator, WEIGHTED):
            height, width, _ = graph.tensors[operator.output].shape
            weights = prod(graph.tensors[operator.weights].shape)
            total += height * width * weights
    return total


def materialized(graph: Graph) -> list[int]:
    """Tensors that exist as a whole when each bottleneck runs in slices of its inner channels.

    A bottleneck is a depthwise convolution, the convolution before it that it alone reads,
    and the convolution behind that alone reads it. What stands between them is inner. A
    convolution that already ends one bottleneck does not begin the next one.
    """
    reading = readers(graph)
    maker = {operator.output: operator for operator in graph.operators}
    inner: set[int] = set()
    ends: set[int] = set()  # outputs of the last convolutions of bottlenecks
    for operator in graph.operators:
        if not isinstance(operator, DepthwiseConv):
            continue
        behind = [graph.operators[i] for i in reading.get(operator.output, [])]
        if len(behind) != 1 or not isinstance(behind[0], Conv):
            continue
        inner.add(operator.output)
        ends.add(behind[0].output)
        source = operator.inputs[0]
        if isinstance(maker.get(source), Conv) and len(reading[source]) == 1 and source not in ends:
            inner.add(source)
    return [operator.output for operator in graph.operators if operator.output not in inner]


def largest_materialized(graph: Graph, bits: int) -> tuple[int, str]:
    """(bytes, shape) of the largest tensor that has to exist as a whole.

    Args:
        bits: of one activation.
    """
    largest = max(materialized(graph), key=lambda i: prod(graph.tensors[i].shape))
    shape = graph.tensors[largest].shape
    return prod(shape) * bits // 8, "x".join(map(str, shape))
