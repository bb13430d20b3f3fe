# SPDX-License-Identifier: Apache-2.0
"""Why an operator is not imported, and which of the refused operators are worth telling.

An operator that is refused does not end an import: what stands behind it is looked at too, and
all that is refused is reported at once.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from narrows.errors import Unsupported

_EDGE = "leave it out of the model, and compute it where the output is read"
_RECIPROCAL = "by a constant, multiply by its reciprocal instead"
# What can be done about operators that are not supported, by the names of all formats.
_ADVICE: Mapping[str, str] = {
    **dict.fromkeys(("ArgMax", "ArgMin", "TOPK_V2", "TopK"), _EDGE),
    **dict.fromkeys(("CAST", "LOG_SOFTMAX", "LogSoftmax"), _EDGE + ", if it is the last"),
    "FLOOR_DIV": _RECIPROCAL,
    "POW": "write small whole powers as products",
    **dict.fromkeys(
        ("L2_NORMALIZATION", "LpNormalization"),
        "write it as a product with RSQRT of the SUM of squares, as Keras' UnitNormalization does",
    ),
}


def not_supported(operator: str, *, of_constants: bool = False) -> str:
    """The reason for refusing an operator. of_constants: it is computed of constants."""
    reason = "this operator is not supported"
    if of_constants:
        reason = "this operator is supported of shapes and constants alone"
    advice = _ADVICE.get(operator)
    return reason if advice is None else f"{reason}; {advice}"


class Refused(Exception):
    """The operator cannot be imported; the message is the reason."""


class NotAbsorbed(Refused):
    """The operator cannot be imported because of how its input is stored. movers: the format's
    operators that leave a tensor so."""

    def __init__(self, movers: str) -> None:
        super().__init__(f"a {movers} before it cannot be absorbed")


class Skipped(Exception):
    """An operator before it was refused, and nothing more can be said about this one."""


Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Step:
    """An operator as ``causes`` sees it: which values it reads, and which it gives.

    is_arithmetic: it gives numbers such as shapes have, and no activations.
    """

    inputs: Sequence[Hashable]
    outputs: Sequence[Hashable]
    is_arithmetic: bool


def causes(
    steps: Mapping[Key, Step],
    outputs: Iterable[Hashable],
    refused: Mapping[Key, Unsupported],
    lost: Container[Key],
) -> list[Unsupported]:
    """The refused operators, without arithmetic on shapes that only leads to refused ones.

    Args:
        steps: the operators in the model's order.
        outputs: values that the model gives; arithmetic that gives one of them is told.
        refused: what to tell, in this order; operators by their keys in ``steps``.
        lost: operators that say nothing of their inputs' worth: what was refused, and what
            could not be looked at because of that.
    """
    readers: dict[Hashable, set[Key]] = {}
    for key, step in steps.items():
        for value in step.inputs:
            readers.setdefault(value, set()).add(key)
    wanted = set(outputs)
    dropped = set[Key]()
    leading = set[Key]()  # refused operators, and what leads to one
    for key, step in reversed(list(steps.items())):
        behind = set[Key]().union(*(readers.get(value, ()) for value in step.outputs))
        leads = bool(behind & leading)
        if key in refused or leads:
            leading.add(key)
        is_read = wanted.intersection(step.outputs) or not all(b in lost for b in behind)
        if step.is_arithmetic and leads and not is_read:
            dropped.add(key)
    return [item for key, item in refused.items() if key not in dropped]
