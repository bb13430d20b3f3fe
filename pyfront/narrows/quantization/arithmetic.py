# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of operators on arrays, shared by tables and by the reference model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from narrows.graph.graph import Relation
from narrows.graph.qgraph import EXTREMA, Elementwise, QElementwise
from narrows.quantization.fixed_point import Int64Array, quotient, requantize, wrap

_Real = TypeVar("_Real", np.float32, np.float64)

RELATIONS: Mapping[Relation, Callable[[Any, Any], Any]] = {
    Relation.EQUAL: np.equal,
    Relation.NOT_EQUAL: np.not_equal,
    Relation.GREATER: np.greater,
    Relation.GREATER_EQUAL: np.greater_equal,
    Relation.LESS: np.less,
    Relation.LESS_EQUAL: np.less_equal,
}


def elementwise(
    op: QElementwise, a: Int64Array, b: Int64Array, za: int, zb: int, zo: int
) -> Int64Array:
    """An ELEMENTWISE of int8 values that broadcast, clamped to the operator's range.

    za, zb, zo: zero points of the operands and of the output.
    """
    if op.function in EXTREMA:
        extremum = np.maximum if op.function is Elementwise.MAXIMUM else np.minimum
        return np.clip(extremum(a, b), op.act_min, op.act_max)
    a, b = a - za, b - zb
    if op.function is Elementwise.MUL:
        x = requantize(a * b, *op.out)
    elif op.function is Elementwise.DIV:
        x = quotient(a, b, *op.out)
    elif op.function is Elementwise.PRELU:
        x = np.where(a >= 0, requantize(a, *op.a), requantize(a * b, *op.out))
    else:
        a = requantize(a << op.left_shift, *op.a)
        b = requantize(b << op.left_shift, *op.b)
        total = a + b if op.function is Elementwise.ADD else a - b
        if op.function is Elementwise.SQUARED_DIFFERENCE:
            total = wrap(total * total)
        x = requantize(total, *op.out)
    return np.clip(x + zo, op.act_min, op.act_max)


def matmul(a: npt.NDArray[_Real], b: npt.NDArray[_Real], columns: int) -> npt.NDArray[_Real]:
    """Each pixel of a times the matrix whose columns are the pixels of b, all of them or those of
    its row (graph.MatMul). a, b: [height, width, channels]; columns: of a matrix."""
    matrices = b.reshape(-1, columns, b.shape[2])
    product: npt.NDArray[_Real] = a @ matrices.swapaxes(1, 2)
    return product
