# SPDX-License-Identifier: Apache-2.0
"""Functions of one element in float32, as TensorFlow Lite's float kernels compute them.

What a C library does in float32 is done in float64 here and rounded once: its own results are
these but for a last bit now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from math import erfc

import numpy as np
import numpy.typing as npt

from narrows.graph.graph import UnaryFunction

FloatArray = npt.NDArray[np.float32]
_ONE, _HALF = np.float32(1), np.float32(0.5)


def evaluate(function: UnaryFunction, x: FloatArray) -> FloatArray:
    """A function of each element, of those that have no parameters. Where it has no value, it is
    NaN or infinite."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(_FUNCTIONS[function](x), np.float32)


def _rounded(function: Callable[[npt.NDArray[np.float64]], object]) -> Callable[..., FloatArray]:
    return lambda x: np.asarray(function(x.astype(np.float64)), np.float32)


_erfc, _exp, _tanh = _rounded(np.vectorize(erfc, otypes="d")), _rounded(np.exp), _rounded(np.tanh)


def _gelu(x: FloatArray) -> FloatArray:
    return np.asarray(_HALF * x * _erfc(x * np.float32(-(0.5**0.5))))


def _gelu_tanh(x: FloatArray) -> FloatArray:
    inner = x + np.float32(0.044715) * x * x * x
    return np.asarray(_HALF * x * (_ONE + _tanh(np.float32((2 / np.pi) ** 0.5) * inner)))


_FUNCTIONS: dict[UnaryFunction, Callable[[FloatArray], FloatArray]] = {
    UnaryFunction.ABS: np.abs,
    UnaryFunction.NEG: np.negative,
    UnaryFunction.SQUARE: np.square,
    UnaryFunction.SQRT: np.sqrt,
    UnaryFunction.RSQRT: lambda x: _ONE / np.sqrt(x),
    UnaryFunction.EXP: _exp,
    UnaryFunction.LOG: _rounded(np.log),
    UnaryFunction.SIN: _rounded(np.sin),
    UnaryFunction.COS: _rounded(np.cos),
    UnaryFunction.FLOOR: np.floor,
    UnaryFunction.CEIL: np.ceil,
    UnaryFunction.ROUND: np.rint,
    UnaryFunction.ELU: lambda x: np.where(x < 0, _rounded(np.expm1)(x), x),
    UnaryFunction.GELU: _gelu,
    UnaryFunction.GELU_TANH: _gelu_tanh,
}
