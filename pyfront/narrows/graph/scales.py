# SPDX-License-Identifier: Apache-2.0
"""What TFLite's int8 specification says of the scale of each operator's output, and the intervals
of real values that scales stand for."""

from __future__ import annotations

from math import inf
from typing import TypeAlias

from narrows.graph.graph import (
    Binary,
    Concat,
    Operator,
    Pad,
    Pool,
    Reduce,
    Reduction,
    Resize,
    Select,
    Softmax,
    Unary,
    UnaryFunction,
)
from narrows.graph.moves import Move
from narrows.graph.qgraph import EXTREMA

Interval: TypeAlias = tuple[float, float]
"""(least, most)"""
ANY: Interval = (-inf, inf)

# These operators move, choose or average elements.
_SHARING = (Pool, Concat, Resize, Pad, Move, Select)
_CHOOSING = (Reduction.MAX, Reduction.MIN)
_PRESCRIBED = {
    UnaryFunction.LOGISTIC: (1 / 256, -128),
    UnaryFunction.TANH: (1 / 128, 0),
}
_PROBABILITIES = (1 / 256, -128)


def shares_scale(operator: Operator) -> bool:
    """Whether the output is quantized as the inputs."""
    # TFLite Micro's RELU6 clamps and does not change the scale.
    return (
        isinstance(operator, _SHARING)
        or (isinstance(operator, Unary) and operator.function is UnaryFunction.RELU6)
        or (isinstance(operator, Binary) and operator.function in EXTREMA)
        or (isinstance(operator, Reduce) and operator.function in _CHOOSING)
    )


def quantized_inputs(operator: Operator) -> tuple[int, ...]:
    """The inputs that hold numbers: not what a SELECT_V2 selects by."""
    return operator.inputs[1:] if isinstance(operator, Select) else operator.inputs


def prescribed_scale(operator: Operator) -> tuple[float, int] | None:
    """The scale and zero point that the output must have; None if there are none such."""
    if isinstance(operator, Softmax):
        return _PROBABILITIES
    return _PRESCRIBED.get(operator.function) if isinstance(operator, Unary) else None


def has_free_scale(operator: Operator) -> bool:
    """Whether the output may have any scale and zero point."""
    return not shares_scale(operator) and prescribed_scale(operator) is None


def hull(*intervals: Interval) -> Interval:
    """The smallest interval that holds them all."""
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def covers(outer: Interval, inner: Interval) -> bool:
    """Whether values of the inner interval, clipped to the outer one, change by no more than half
    a step of the outer one's int8: by nothing that rounding leaves."""
    finite = outer[1] - outer[0] < inf
    slack = (outer[1] - outer[0]) / 510 if finite else 0.0
    return outer[0] - slack <= inner[0] and inner[1] <= outer[1] + slack
