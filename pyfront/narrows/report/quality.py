# SPDX-License-Identifier: Apache-2.0
"""Layers of a quantization or of a comparison as JSON values: one form for both, so that a page has
one way to show them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from narrows.compare import Comparison, Difference
from narrows.quantization.histogram import BINS, Histogram
from narrows.quantization.measure import LayerReport
from narrows.report.plans import Names
from narrows.sides import Layer, Side

_BARS = 64
"""Bars of a histogram."""
_LOWEST, _HIGHEST = -128, 127


def quantization_json(
    layers: Iterable[LayerReport],
    histograms: Mapping[int, Histogram],
    lines: Iterable[tuple[str, str]],
    names: Names,
) -> dict[str, Any]:
    """What ``narrows quantize`` has measured. histograms: of activations, by tensor. lines: what
    was done, in words."""
    return {
        "unit": "dB",
        "lines": [list(line) for line in lines],
        "layers": [_quantized(layer, histograms.get(layer.tensor), names) for layer in layers],
    }


def comparison_json(a: Side, b: Side, found: Comparison, names: Names) -> dict[str, Any]:
    """What ``narrows compare`` finds."""
    lines: list[tuple[Any, ...]] = [("A", a.spec), ("B", b.spec), ("inputs", f"{found.items:,}")]
    if found.right is not None:
        lines.append(("right classes", f"{found.right[0]} by A, {found.right[1]} by B"))
    for side, only in (("A", found.only_a), ("B", found.only_b)):
        if only:
            layers = f"{len(only):,} layer{'s' * (len(only) > 1)}"
            lines.append((f"not compared, only in {side}", layers))
    lines.append(_verdict(found, names))
    marked = found.parted or found.worst
    return {
        "unit": "bytes" if found.exact else "dB",
        "lines": [list(line) for line in lines],
        "layers": [{**_compared(d, names), "marked": d is marked} for d in found.layers],
    }


def _verdict(found: Comparison, names: Names) -> tuple[Any, ...]:
    """What was found: [what, in words, the name of the layer that they speak of, if any]."""
    parted, worst = found.parted, found.worst
    if parted is not None and parted.first is not None:
        first, (y, x, channel) = parted.first, parted.first.position
        where = f"input {first.item}, y {y}, x {x}, channel {channel}"
        text = f": {where}: {first.a} in A, {first.b} in B"
        return "they part in", text, names.number(parted.layer.name)
    if found.exact:
        elements = sum(layer.elements for layer in found.layers)
        return "all equal", f"{elements:,} elements of {len(found.layers):,} layers"
    if worst is None:
        return "no layer loses", "what the one before had"
    drop = f", by {worst.drop or 0.0:.1f} dB"
    return "the largest drop", drop, names.number(worst.layer.name)


def _quantized(layer: LayerReport, histogram: Histogram | None, names: Names) -> dict[str, Any]:
    value: dict[str, Any] = {
        "name": names.number(layer.name),
        "operator": layer.kind.lower(),
        "decibels": layer.decibels,
        "range": [layer.least, layer.most],
        "by": layer.method,
        "worst": [list(pair) for pair in layer.worst],
    }
    if histogram is not None and histogram.reach > 0:
        value["activations"] = bars(histogram.counts, -histogram.reach, histogram.reach)
    if layer.weights is not None:
        value["weights"] = bars(*layer.weights)
        value["weight_decibels"] = layer.weight_decibels
        value["per_tensor_decibels"] = layer.per_tensor_decibels
    return _finite(value)


def _compared(difference: Difference, names: Names) -> dict[str, Any]:
    layer = difference.layer
    value: dict[str, Any] = {
        "name": names.number(layer.name),
        "operator": layer.operator,
        "shape": list(layer.shape),
        "elements": difference.elements,
        "differing": difference.differing,
        "most": difference.most,
    }
    for key in ("decibels", "rescaled", "drop"):
        if getattr(difference, key) is not None:
            value[key] = getattr(difference, key)
    limits = next((_range(side) for side in (difference.other, layer) if not side.is_float), None)
    return _finite(value if limits is None else {**value, "range": limits})


def _finite(value: dict[str, Any]) -> dict[str, Any]:
    """Without numbers that JSON has not: a float network may give any."""

    def is_finite(one: Any) -> bool:
        parts = one if isinstance(one, list) else [one]
        return all(not isinstance(part, float) or math.isfinite(part) for part in parts)

    return {key: one for key, one in value.items() if is_finite(one)}


def _range(layer: Layer) -> list[float] | None:
    """The real values that an int8 layer covers."""
    if layer.scale is None:
        return None
    return [layer.scale * (n - layer.zero_point) for n in (_LOWEST, _HIGHEST)]


def bars(counts: npt.NDArray[np.int64], low: float, high: float) -> dict[str, Any] | None:
    """A histogram from ``low`` to ``high``, cut to what was seen, in few bars of logarithmic
    height, 0 to 100. None if nothing was seen."""
    filled = np.flatnonzero(counts)
    if not len(filled):
        return None
    width = (high - low) / len(counts)
    first, last = int(filled[0]), int(filled[-1]) + 1
    part = counts[first:last]
    group = -(-len(part) // _BARS) if len(counts) == BINS else 1
    padded = np.pad(part, (0, -len(part) % group)).reshape(-1, group).sum(axis=1)
    heights = np.log1p(padded) / np.log1p(padded.max()) * 100
    return {
        "low": low + first * width,
        "high": low + (first + len(padded) * group) * width,
        "bars": [int(h) for h in np.ceil(heights)],
    }
