# SPDX-License-Identifier: Apache-2.0
"""Offsets in the arena: things that live at the same time do not overlap.

An *item* is what gets one offset: a ring, or a stage's state or scratch. It consists of
*slots*, each a run of bytes with its own lifetime. A ring that holds most of its tensor
has a slot per row, so that a tensor whose rows die can lie over one whose rows are born.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

ALIGNMENT = 16

Interval = tuple[int, int]

Times = npt.NDArray[np.integer]


def round_up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, eq=False)
class Slot:
    """Bytes [offset, offset + size) of an item, in use during the firings ``first[i]`` to
    ``last[i]``, both included."""

    offset: int
    size: int
    first: Times
    last: Times

    @cached_property
    def mask(self) -> int:
        """One bit per firing."""
        change = np.zeros(int(self.last.max()) + 2, np.int32)
        np.add.at(change, self.first, 1)
        np.add.at(change, self.last + 1, -1)
        live = np.cumsum(change)[:-1] > 0
        return int.from_bytes(np.packbits(live, bitorder="little").tobytes(), "little")


@dataclass(frozen=True, eq=False)
class Item:
    """name: for messages. size: bytes."""

    name: str
    size: int
    slots: tuple[Slot, ...]

    @cached_property
    def mask(self) -> int:
        mask = 0
        for slot in self.slots:
            mask |= slot.mask
        return mask

    @cached_property
    def first(self) -> int:
        return min(int(slot.first.min()) for slot in self.slots)


def live_bytes(items: Sequence[Item], firings: int) -> npt.NDArray[np.int64]:
    """Bytes in use during each firing: no placement can need less than the largest."""
    change = np.zeros(firings + 1, np.int64)
    for item in items:
        for slot in item.slots:
            np.add.at(change, slot.first, slot.size)
            np.add.at(change, slot.last + 1, -slot.size)
    return np.cumsum(change[:-1])


def forbidden(a: Item, b: Item) -> list[Interval]:
    """Open intervals of ``offset of b - offset of a`` in which live bytes would overlap."""
    if not a.mask & b.mask:
        return []
    found = []
    for p in a.slots:
        if not p.mask & b.mask:
            continue
        for q in b.slots:
            if p.mask & q.mask:
                low = p.offset - q.offset - q.size
                high = p.offset + p.size - q.offset
                found.append((low // ALIGNMENT * ALIGNMENT, round_up(high)))
    return _merged(found)


def _merged(intervals: list[Interval]) -> list[Interval]:
    """Union of open intervals, ascending."""
    merged: list[Interval] = []
    for low, high in sorted(intervals):
        if merged and low < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged


def place(items: Sequence[Item], firings: int, rounds: int = 8000) -> tuple[list[int], int]:
    """Offsets of the items, multiples of 16, and the end of the highest.

    One after the other, each as low or as high as it fits below a ceiling, which is the bytes
    that live at once at first, rises where that is in vain, and falls where it was not. What
    did not fit goes further to the front of the order, at either end of the arena. The same
    items give the same offsets.

    Args:
        firings: how many there are.
        rounds: how many orders to try.
    """
    count = len(items)
    conflicts: list[dict[int, list[Interval]]] = [{} for _ in items]
    for i in range(count):
        for j in range(i):
            between = forbidden(items[j], items[i])
            if between:
                conflicts[i][j] = between
                conflicts[j][i] = [(-high, -low) for low, high in reversed(between)]
    bound = round_up(int(live_bytes(items, firings).max(initial=0)))

    def fit(order: Sequence[int], high: Sequence[bool], ceiling: int) -> tuple[list[int], int]:
        """Offsets, and the number of the item that ends above the ceiling, or -1."""
        offsets = [-1] * count
        failed, end = -1, ceiling
        for item in order:
            taken = []
            for other, between in conflicts[item].items():
                base = offsets[other]
                if base >= 0:
                    taken += [(base + low, base + top) for low, top in between]
            size = items[item].size
            offsets[item] = _highest(taken, ceiling - size) if high[item] else _lowest(taken)
            if offsets[item] < 0:
                offsets[item] = _lowest(taken)
            if offsets[item] + size > end:
                failed, end = item, offsets[item] + size
        return offsets, failed

    def end_of(offsets: list[int]) -> int:
        return round_up(max((o + i.size for o, i in zip(offsets, items, strict=True)), default=0))

    starts = [
        sorted(range(count), key=lambda i: (-items[i].size, i)),
        sorted(range(count), key=lambda i: (-items[i].first, -items[i].size, i)),
        sorted(range(count), key=lambda i: (items[i].first, -items[i].size, i)),
    ]
    rng = random.Random(0)
    low = [False] * count
    best, start = min(
        ((fit(order, low, bound)[0], order) for order in starts), key=lambda t: end_of(t[0])
    )
    for trial in range(rounds):
        if end_of(best) <= bound:
            break
        if trial % RESTART == 0:
            order, high, ceiling = list(start), list(low), bound
        offsets, failed = fit(order, high, ceiling)
        if end_of(offsets) < end_of(best):
            best = offsets
        if failed < 0:  # it can be done below this ceiling: try halfway to what lives at once
            ceiling = (bound + end_of(best)) // 2 // ALIGNMENT * ALIGNMENT
            continue
        if trial % RISE == RISE - 1:
            ceiling = min(
                ceiling + max(ALIGNMENT, round_up(bound // 256)), end_of(best) - ALIGNMENT
            )
        order = [i for i in order if i != failed]
        order.insert(rng.randrange(count // 2 + 1) if rng.randrange(4) else 0, failed)
        high[failed] = rng.random() < 0.5
    return best, end_of(best)


RISE = 100
"""Orders that are tried before the ceiling rises."""

RESTART = 2000
"""Orders that are tried before the search begins anew, by other chances."""


def _lowest(taken: list[Interval]) -> int:
    """The lowest multiple of 16 outside the open intervals."""
    offset = 0
    for low, high in sorted(taken):
        if offset <= low:
            break
        offset = max(offset, high)
    return offset


def _highest(taken: list[Interval], most: int) -> int:
    """The highest multiple of 16 up to ``most`` outside the open intervals; -1 if there is none."""
    offset = most // ALIGNMENT * ALIGNMENT
    for low, high in sorted(taken, key=lambda pair: -pair[1]):
        if offset >= high:
            break
        offset = min(offset, low)
    return offset if offset >= 0 else -1
