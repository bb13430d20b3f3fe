# SPDX-License-Identifier: Apache-2.0
"""Offsets in the arena: things that live at the same time do not overlap.

An *item* is what gets one offset: a ring, or a stage's state or scratch. It consists of
*slots*, each a run of bytes with its own lifetime. A ring that holds most of its tensor
has a slot per row, so that a tensor whose rows die can lie over one whose rows are born.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from narrows.native import load

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
    """Offsets of the items, multiples of 16, and the end of the highest; see native/place.h.

    Args:
        firings: how many there are.
        rounds: how many orders to try.
    """
    count = len(items)
    if not count:
        return [], 0
    conflicts: list[list[tuple[int, int, int]]] = [[] for _ in items]
    for i in range(count):
        for j in range(i):
            for low, high in forbidden(items[j], items[i]):
                conflicts[i].append((j, low, high))
                conflicts[j].append((i, -high, -low))
    orders = [
        sorted(range(count), key=lambda i: (-items[i].size, i)),
        sorted(range(count), key=lambda i: (-items[i].first, -items[i].size, i)),
        sorted(range(count), key=lambda i: (items[i].first, -items[i].size, i)),
    ]
    bound = round_up(int(live_bytes(items, firings).max(initial=0)))
    ffi, lib = load()
    offsets = ffi.new("int32_t[]", count)
    end = lib.plan_place(
        [item.size for item in items], count,
        ffi.new("struct plan_conflict[]", [c for some in conflicts for c in some]),
        [0, *accumulate(map(len, conflicts))],
        [i for order in orders for i in order], len(orders), bound, rounds, offsets,
    )  # fmt: skip
    if end < 0:
        raise MemoryError
    return list(offsets), int(end)
