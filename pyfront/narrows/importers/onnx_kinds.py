# SPDX-License-Identifier: Apache-2.0
"""Kinds of ONNX models that narrows does not take, told by their operators; and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from narrows.errors import Unsupported

_MICROSOFT = "com.microsoft."
_FLOAT = "give its float model to 'narrows quantize'"
# Of each kind: operators, whose names may end with an asterisk; what the model is; what to do.
# onnxruntime's own operators stand before the name of its domain alone.
_KINDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (
        ("QLinear*", "QGemm"),
        "in QOperator form",
        f"quantize with quant_format=QuantFormat.QDQ, or {_FLOAT}",
    ),
    (
        ("DynamicQuantize*", "ConvInteger", "MatMulInteger*"),
        "dynamically quantized: it computes scales anew in each run, from floats",
        f"quantize it statically, in QDQ form, or {_FLOAT}",
    ),
    (
        ("MatMulNBits", "MatMulBnb4", "MatMulFpQ4", "GatherBlockQuantized"),
        "quantized in its weights only",
        _FLOAT,
    ),
    (
        ("LSTM", "GRU", "RNN", "Scan"),
        "recurrent",
        "narrows keeps no state between inferences; use convolutions over time instead",
    ),
    (
        ("Loop", "If", "Sequence*", "Optional*"),
        "not one fixed sequence of operators",
        "export it without loops and branches for one fixed input shape",
    ),
    (
        ("ai.onnx.ml.*",),
        "of classical machine learning, not a neural network",
        "narrows runs convolutional networks",
    ),
    (
        (f"{_MICROSOFT}*",),
        "optimized by onnxruntime, with operators of its own",
        "give the model before that, or save it with ORT_ENABLE_BASIC",
    ),
)


def kinds_of(items: Iterable[Unsupported]) -> tuple[tuple[str, ...], tuple[Unsupported, ...]]:
    """What operators that were refused say of the whole model.

    Returns:
        A sentence for each kind, and the items that none of them explains.
    """
    found: dict[int, Counter[str]] = {}
    rest = []
    for item in items:
        number = next((i for i, kind in enumerate(_KINDS) if _among(item.operator, kind[0])), None)
        if number is None:
            rest.append(item)
        else:
            found.setdefault(number, Counter())[item.operator] += 1
    sentences = []
    for number, counts in sorted(found.items()):
        _, what, advice = _KINDS[number]
        names = ", ".join(f"{name} x{n}" if n > 1 else name for name, n in counts.items())
        sentences.append(f"it is {what} ({names}); {advice}")
    return tuple(sentences), tuple(rest)


def _among(operator: str, names: Iterable[str]) -> bool:
    known = {operator, operator.removeprefix(_MICROSOFT)}
    return any(
        name in known or (name.endswith("*") and any(k.startswith(name[:-1]) for k in known))
        for name in names
    )
