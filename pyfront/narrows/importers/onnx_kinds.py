# SPDX-License-Identifier: Apache-2.0
"""Which kind of ONNX model that narrows does not take its operators show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from narrows.errors import ModelKind, Unsupported
from narrows.importers import model_kinds as kinds

_MICROSOFT = "com.microsoft."
# The operators of each kind; a name may end with an asterisk. onnxruntime's own operators stand
# before the name of its domain alone.
_KINDS: tuple[tuple[tuple[str, ...], ModelKind], ...] = (
    (("QLinear*", "QGemm"), kinds.QOPERATOR),
    (("DynamicQuantize*", "ConvInteger", "MatMulInteger*"), kinds.DYNAMIC),
    (("MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "GatherBlockQuantized"), kinds.WEIGHTS_ONLY),
    (("LSTM", "GRU", "RNN", "Scan"), kinds.RECURRENT_NODES),
    (("Loop", "If", "Sequence*", "Optional*"), kinds.BRANCHES),
    (("ai.onnx.ml.*",), kinds.CLASSICAL),
    ((f"{_MICROSOFT}*",), kinds.ONNXRUNTIME),
)


def kinds_of(items: Iterable[Unsupported]) -> tuple[tuple[str, ...], tuple[Unsupported, ...]]:
    """What operators that were refused say of the whole model.

    Returns:
        A sentence for each kind, and the items that none of them explains.
    """
    found: dict[ModelKind, Counter[str]] = {kind: Counter() for _, kind in _KINDS}
    rest = []
    for item in items:
        kind = next((kind for names, kind in _KINDS if _among(item.operator, names)), None)
        if kind is None:
            rest.append(item)
        else:
            found[kind][item.operator] += 1
    sentences = []
    for kind, counts in found.items():
        names = ", ".join(f"{name} x{n}" if n > 1 else name for name, n in counts.items())
        if counts:
            sentences.append(f"it is {kind.name} ({names}); {kind.advice}")
    return tuple(sentences), tuple(rest)


def _among(operator: str, names: Iterable[str]) -> bool:
    known = {operator, operator.removeprefix(_MICROSOFT)}
    return any(
        name in known or (name.endswith("*") and any(k.startswith(name[:-1]) for k in known))
        for name in names
    )
