# SPDX-License-Identifier: Apache-2.0
"""Kinds of ONNX models that narrows does not take, told by their operators; and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping

from narrows.errors import Unsupported
from narrows.importers.onnx_file import OnnxRecord

_OF_SHAPES = {"int64", "bool"}
_OUTPUT = "output "
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


def causes(
    record: OnnxRecord,
    refused: Mapping[str, Unsupported],
    known: Container[str],
    types: Mapping[str, str],
) -> list[Unsupported]:
    """What was refused, without arithmetic on shapes that only leads to what is refused too.

    Args:
        refused: by the name of the node's first output.
        known: names of values that were computed, or that a stand-in has.
        types: NumPy's names of values' types, as far as ONNX can tell.
    """
    readers: dict[str, set[str]] = {}
    for node in record.nodes:
        for name in node.inputs:
            readers.setdefault(name, set()).update(node.outputs[:1])
    for name in record.outputs:
        readers.setdefault(name, set()).add(_OUTPUT + name)
    kept, leading = dict(refused), set[str]()  # to what is refused
    for node in reversed(record.nodes):
        first = node.outputs[0] if node.outputs else ""
        behind = set[str]().union(*(readers.get(n, set()) for n in node.outputs))
        lost = all(n in refused or not (n in known or n.startswith(_OUTPUT)) for n in behind)
        of_shapes = {types[n] for n in node.outputs if n in types} <= _OF_SHAPES
        inferred = any(n in types for n in node.outputs)
        if first in refused or behind & leading:
            leading.add(first)
        if inferred and of_shapes and lost and behind & leading:
            kept.pop(first, None)
    return list(kept.values())


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
