# SPDX-License-Identifier: Apache-2.0
"""Which operators TensorFlow Lite Micro has kernels for, and why narrows lacks some of them."""

from __future__ import annotations

import faulthandler
import os

import tflite
from tflite_micro import runtime

from narrows.importers.tflite import supported_operators
from single import Net

# What the schema lists beside operators.
_NO_OPERATORS = ("CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES")
_UNKNOWN = b"find op for builtin"

GAPS = {
    "Computed on import where it follows from shapes and constants, as in most files; not where it "
    "is about activations.": (
        *("BROADCAST_ARGS", "BROADCAST_TO", "FILL", "FLOOR_DIV", "FLOOR_MOD"),
        *("GATHER_ND", "REDUCE_ALL", "SHAPE", "ZEROS_LIKE"),
    ),
    "The runtime has no kernel for it.": (
        *("CUMSUM", "L2_NORMALIZATION", "LOG_SOFTMAX", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"),
    ),
    "Rare in files with int8 activations.": (
        *("ADD_N", "EMBEDDING_LOOKUP", "L2_POOL_2D"),
        *("LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR"),
    ),
    "What is computed, or where it is put, is known only when the network runs; a plan knows all "
    "before.": ("DYNAMIC_UPDATE_SLICE", "IF", "WHILE"),
}
"""Reason -> operators."""


def micro_operators() -> frozenset[str]:
    """The operators that TensorFlow Lite Micro's interpreter has kernels for."""
    names = [name for name in vars(tflite.BuiltinOperator) if name.isupper()]
    return frozenset(name for name in names if name not in _NO_OPERATORS and _is_known(name))


def _is_known(name: str) -> bool:
    net = Net(0)
    x, y = net.int8((1, 4)), net.int8((1, 4))
    net.operator(name, [x], [y])
    return _UNKNOWN not in _said_of(net.finish([x], [y]))


def _said_of(model: bytes) -> bytes:
    """What the interpreter prints of a model. A kernel may crash of wrong operands, so a process
    of its own asks."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        try:
            runtime.Interpreter.from_bytes(model, arena_size=1 << 16)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def gaps() -> frozenset[str]:
    """What TensorFlow Lite Micro has and narrows has not."""
    ours = (name for operator in supported_operators() for name in operator.name.split(", "))
    return micro_operators() - frozenset(ours)


def gap_table() -> str:
    """The README's table of them."""
    lines = ["| operator | why not |", "|---|---|"]
    lines += [f"| {', '.join(sorted(names))} | {reason} |" for reason, names in GAPS.items()]
    return "\n".join(lines)
