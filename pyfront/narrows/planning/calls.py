# SPDX-License-Identifier: Apache-2.0
"""How many pixels the calls of a kernel compute, which decides how many go in pairs."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

Calls: TypeAlias = "Counter[int]"
"""Calls of a kernel, by the pixels of each."""


def calls_of(width: int, strip: int, tile: int, rows: int) -> Calls:
    """The calls that give so many rows, each strip in tiles."""
    found: Calls = Counter()
    for pixels, strips in ((strip, width // strip), (width % strip, 1)):
        found[tile] += rows * strips * (pixels // tile)
        found[pixels % tile] += rows * strips
    del found[0]
    return +found


def even_calls(pixels: int, calls: int) -> Calls:
    """So many calls, as even as can be."""
    each, longer = divmod(pixels, max(1, calls))
    return +Counter({each: calls - longer, each + 1: longer} if each else {1: pixels})


def with_cuts(calls: Calls, capacity: int) -> Calls:
    """The same where the end of a ring of so many pixels cuts what they give."""
    found: Calls = Counter()
    for pixels, count in calls.items():
        cut = min(count, round(count * (pixels - 1) / capacity))
        found[pixels] += count - cut
        found[pixels // 2] += cut
        found[pixels - pixels // 2] += cut
    del found[0]
    return +found
