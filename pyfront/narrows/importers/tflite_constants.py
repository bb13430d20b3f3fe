# SPDX-License-Identifier: Apache-2.0
"""Operators of a ``.tflite`` file that follow from shapes and constants alone. They are computed on
import, as NumPy does it: converters leave such arithmetic where a shape was not known to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np

from narrows.graph.graph import Array
from narrows.importers.folding import Budget
from narrows.importers.refusals import Refused
from narrows.importers.tflite_file import TensorRecord

# Types whose numbers are what they say; 8-bit ones have a scale, which NumPy knows nothing of.
_PLAIN = ("int32", "int64", "bool", "float32")
# What NumPy raises where operands do not fit each other.
_UNFIT = (ValueError, TypeError, IndexError, ArithmeticError, MemoryError)

Options: TypeAlias = Mapping[str, Any]
Function: TypeAlias = Callable[[Sequence[Array], Options, TensorRecord], Any]
"""(operands, options, what the file says of the output) -> values."""


def _axes(values: Array) -> tuple[int, ...]:
    return tuple(int(n) for n in values.reshape(-1))


def _strided_slice(x: Sequence[Array], options: Options, _: TensorRecord) -> Any:
    if options["EllipsisMask"] or options["NewAxisMask"] or options["Offset"]:
        raise Refused("ellipsis, new_axis or offset")
    cuts: list[int | slice] = []
    for d, (begin, end, step) in enumerate(zip(*(_axes(v) for v in x[1:4]), strict=True)):
        if options["ShrinkAxisMask"] >> d & 1:
            cuts.append(begin)
            continue
        first = None if options["BeginMask"] >> d & 1 else begin
        cuts.append(slice(first, None if options["EndMask"] >> d & 1 else end, step))
    return x[0][tuple(cuts)]


def _slice(x: Sequence[Array], _: Options, __: TensorRecord) -> Any:
    pairs = zip(_axes(x[1]), _axes(x[2]), strict=True)
    return x[0][tuple(slice(b, None if n == -1 else b + n) for b, n in pairs)]


def _gather(x: Sequence[Array], options: Options, _: TensorRecord) -> Any:
    if options["BatchDims"]:
        raise Refused(f"{options['BatchDims']} dimensions of a batch")
    return np.take(x[0], x[1], options["Axis"])


def _reshape(x: Sequence[Array], _: Options, output: TensorRecord) -> Any:
    return x[0].reshape(_axes(x[1]) if len(x) > 1 else output.shape)


def _reduce(function: Callable[..., Any]) -> Function:
    return lambda x, options, _: function(x[0], _axes(x[1]), keepdims=bool(options["KeepDims"]))


def _elementwise(function: Callable[[Array, Array], Any]) -> Function:
    def compute(x: Sequence[Array], options: Options, _: TensorRecord) -> Any:
        if options.get("FusedActivationFunction", 0):
            raise Refused("a fused activation of constants")
        if function in (np.floor_divide, np.remainder) and not x[1].all():
            raise Refused("its divisor is zero")
        return function(x[0], x[1])

    return compute


_ELEMENTWISE: Mapping[str, Callable[[Array, Array], Any]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "FLOOR_DIV": np.floor_divide,
    "FLOOR_MOD": np.remainder,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
}
FOLDED: Mapping[str, Function] = {
    **{name: _elementwise(function) for name, function in _ELEMENTWISE.items()},
    "REDUCE_PROD": _reduce(np.prod),
    "SUM": _reduce(np.sum),
    "CAST": lambda x, _, __: x[0],
    "PACK": lambda x, options, _: np.stack(x, options["Axis"]),
    "CONCATENATION": lambda x, options, _: np.concatenate(x, options["Axis"]),
    "GATHER": _gather,
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    "RESHAPE": _reshape,
    "SQUEEZE": lambda x, _, output: x[0].reshape(output.shape),
    "EXPAND_DIMS": lambda x, _, __: np.expand_dims(x[0], _axes(x[1])),
    "TRANSPOSE": lambda x, _, __: x[0].transpose(_axes(x[1])),
    "TILE": lambda x, _, __: np.tile(x[0], _axes(x[1])),
    "FILL": lambda x, _, __: np.full(_axes(x[0]), x[1].reshape(())),
    "BROADCAST_TO": lambda x, _, __: np.broadcast_to(x[0], _axes(x[1])),
    "RANGE": lambda x, _, __: np.arange(*(v.item() for v in x[:3])),
}
OPTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "REDUCE_PROD": ("ReducerOptions", ("KeepDims",)),
}


def foldable(name: str, inputs: Sequence[TensorRecord], output: TensorRecord) -> bool:
    """Whether an operator's output follows from constants."""
    plain = all(t.data is not None and t.dtype in _PLAIN for t in inputs)
    return name in FOLDED and bool(inputs) and plain and output.dtype in _PLAIN


def folded(
    name: str,
    inputs: Sequence[TensorRecord],
    options: Options,
    output: TensorRecord,
    budget: Budget,
) -> Array:
    """What a foldable operator gives. Raises: Refused."""
    operands = [t.data for t in inputs if t.data is not None]
    try:
        budget.take(_largest(name, operands))
        with np.errstate(all="ignore"):
            return np.asarray(FOLDED[name](operands, options, output), output.dtype)
    except _UNFIT as error:
        reason = " ".join(str(error).split())[:100]
        raise Refused(f"its constants do not fit ({reason})") from error


def _largest(name: str, operands: Sequence[Array]) -> int:
    """Elements that an operator may give."""
    if name == "RANGE":
        first, last, step = (v.item() for v in operands[:3])
        return int(abs((last - first) / step)) + 1
    if name == "GATHER":
        return operands[0].size * max(1, operands[1].size)
    if name in ("FILL", "BROADCAST_TO", "TILE"):
        sizes = prod(max(int(n), 1) for n in operands[0 if name == "FILL" else 1].reshape(-1))
        return sizes * (operands[0].size if name == "TILE" else 1)
    if name in _ELEMENTWISE:
        return prod(np.broadcast_shapes(*(v.shape for v in operands)))
    return sum(v.size for v in operands)
