# SPDX-License-Identifier: Apache-2.0
"""The quantization report as one HTML page with inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from narrows.quantization.histogram import BINS, Histogram
from narrows.quantization.measure import LayerReport

_WIDTH, _HEIGHT, _BARS = 240, 48, 64
_GOOD, _POOR = 30.0, 15.0
# Of the profile: decibels at its top, those that have a line, and pixels for one.
_MOST, _LINES, _PIXELS = 60, (0, 15, 30, 45, 60), 2
_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; }
table { border-collapse: collapse; } td, th { padding: 2px 10px; text-align: left; }
td { border-top: 1px solid #ddd; vertical-align: top; } .n { text-align: right; }
.good { fill: #3a8f5c; } .fair { fill: #c9931f; } .poor { fill: #c0392b; }
.line { stroke: #ddd; } text { font-size: 10px; fill: #666; }
.bar { fill: #5b83b5; } .cut { stroke: #c0392b; stroke-dasharray: 3 2; }
"""


def quantization_page(
    title: str,
    summary: Sequence[tuple[str, str]],
    layers: Sequence[LayerReport],
    histograms: Mapping[int, Histogram],
) -> str:
    """The page.

    Args:
        summary: (what, value) lines on top.
        histograms: of activations, by tensor.
    """
    lines = "".join(f"<tr><th>{escape(a)}</th><td>{escape(b)}</td></tr>" for a, b in summary)
    rows = "".join(_row(layer, histograms.get(layer.tensor)) for layer in layers)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1><table>{lines}</table>"
        "<h2>Signal-to-quantization-noise ratio</h2>"
        f"{_profile(layers)}"
        "<p>Decibels of each layer's output against the float network, all noise from before "
        "included. Histograms: counts on a logarithmic scale; red lines: the range that int8 "
        "covers, what lies outside is clipped.</p>"
        '<table><tr><th>layer</th><th class="n">dB</th><th>range</th><th>activations</th>'
        '<th>weights</th><th class="n">weights dB</th><th class="n">with one scale</th>'
        "<th>worst channels</th></tr>"
        f"{rows}</table></body></html>\n"
    )


def _row(layer: LayerReport, histogram: Histogram | None) -> str:
    activations = ""
    if histogram is not None and histogram.reach > 0:
        activations = _histogram(
            histogram.counts, -histogram.reach, histogram.reach, layer.least, layer.most
        )
    weights = ""
    if layer.weights is not None:
        weights = _histogram(*layer.weights, layer.weights[1], layer.weights[2])
    quality, single = (
        "" if value is None else f"{value:.1f}"
        for value in (layer.weight_decibels, layer.per_tensor_decibels)
    )
    worst = ", ".join(f"{c}: {value:.1f} dB" for c, value in layer.worst)
    return (
        f"<tr><td>{escape(layer.name)}<br><small>{escape(layer.kind)}</small></td>"
        f'<td class="n">{layer.decibels:.1f}</td>'
        f"<td>{layer.least:.4g} to {layer.most:.4g}<br><small>{escape(layer.method)}</small></td>"
        f'<td>{activations}</td><td>{weights}</td><td class="n">{quality}</td>'
        f'<td class="n">{single}</td><td>{worst}</td></tr>'
    )


def _profile(layers: Sequence[LayerReport]) -> str:
    width, height = 9 * len(layers), _MOST * _PIXELS
    parts = []
    for level in _LINES:
        y = height - level * _PIXELS
        parts.append(
            f'<line class="line" x1="0" x2="{width}" y1="{y}" y2="{y}"/>'
            f'<text x="{width + 4}" y="{y + 3}">{level} dB</text>'
        )
    for number, layer in enumerate(layers):
        extent = float(np.clip(layer.decibels, 0, _MOST)) * _PIXELS
        kind = "good" if layer.decibels >= _GOOD else "fair" if layer.decibels > _POOR else "poor"
        parts.append(
            f'<rect class="{kind}" x="{number * 9}" y="{height - extent:.1f}" width="7" '
            f'height="{extent:.1f}"><title>{escape(layer.name)}: {layer.decibels:.1f} dB</title>'
            "</rect>"
        )
    return (
        f'<svg width="{width + 40}" height="{height + 10}" viewBox="0 -5 {width + 40} '
        f'{height + 10}">{"".join(parts)}</svg>'
    )


def _histogram(
    counts: npt.NDArray[np.int64], low: float, high: float, least: float, most: float
) -> str:
    """least, most: where lines mark the range."""
    filled = np.flatnonzero(counts)
    if not len(filled):
        return ""
    # Only what was seen is drawn.
    width = (high - low) / len(counts)
    first, last = int(filled[0]), int(filled[-1]) + 1
    low, high = low + first * width, low + last * width
    part = counts[first:last]
    group = -(-len(part) // _BARS) if len(counts) == BINS else 1
    padded = np.pad(part, (0, -len(part) % group)).reshape(-1, group).sum(axis=1)
    heights = np.log1p(padded) / np.log1p(padded.max()) * _HEIGHT
    step = _WIDTH / len(padded)
    path = "".join(
        f"M{i * step:.1f} {_HEIGHT}v-{h:.1f}h{step:.1f}V{_HEIGHT}z"
        for i, h in enumerate(heights)
        if h > 0
    )
    marks = "".join(
        f'<line class="cut" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{_HEIGHT}"/>'
        for x in ((value - low) / (high - low) * _WIDTH for value in (least, most))
        if 0 <= x <= _WIDTH
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}"><path class="bar" d="{path}"/>{marks}</svg>'
        f"<br><small>{low:.3g} to {high:.3g}</small>"
    )
