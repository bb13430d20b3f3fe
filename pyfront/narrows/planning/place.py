# SPDX-License-Identifier: Apache-2.0
"""Offsets in the arena: things that live at the same time do not overlap.

An *item* is what gets one offset: a ring, or a stage's state or scratch. It consists of
*slots*, each a range of bytes with its own lifetime. A ring that holds most of its tensor
has a slot per row or some, so that a tensor whose rows die can lie over one whose rows are born.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from narrows.native import load, pointer

ALIGNMENT = 16

CONFLICTS = 1000
"""How many there may be of items and conflicts until fewer orders are tried."""

Interval = tuple[int, int]

Times = npt.NDArray[np.integer]


def round_up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, eq=False)
class Slot:
    """Bytes [offset, offset + size) of an item, in use during the firings ``first[i]`` to
    ``last[i]``, both included; both ascend."""

    offset: int
    size: int
    first: Times
    last: Times

    def is_live(self, time: int) -> bool:
        """Whether it is in use during a firing."""
        at = int(np.searchsorted(self.last, time))
        return at < len(self.last) and int(self.first[at]) <= time


@dataclass(frozen=True, eq=False)
class Item:
    """name: for messages. size: bytes. slots: by their offsets."""

    name: str
    size: int
    slots: tuple[Slot, ...]

    @cached_property
    def first(self) -> int:
        return min(int(slot.first[0]) for slot in self.slots)


_SLOT = np.dtype([(name, "i4") for name in ("item", "offset", "size", "begin", "end")])
_CONFLICT = np.dtype([(name, "i4") for name in ("item", "other", "low", "high")])

Conflicts = npt.NDArray[np.void]
"""``struct plan_conflict`` of every two items that live at the same time."""


def _lifetimes(items: Sequence[Item]) -> tuple[npt.NDArray[np.void], Times, Times]:
    """``struct plan_slot`` of all slots, and the first and last firings of their lifetimes."""
    slots = [(number, slot) for number, item in enumerate(items) for slot in item.slots]
    records = np.zeros(len(slots), _SLOT)
    records["item"] = [number for number, _ in slots]
    records["offset"] = [slot.offset for _, slot in slots]
    records["size"] = [slot.size for _, slot in slots]
    records["end"] = np.cumsum([len(slot.first) for _, slot in slots])
    records["begin"][1:] = records["end"][:-1]
    none = np.zeros(0, np.int32)
    first, last = (
        np.concatenate([none, *times], dtype=np.int32, casting="same_kind")
        for times in ([slot.first for _, slot in slots], [slot.last for _, slot in slots])
    )
    return records, first, last


def live_bytes(items: Sequence[Item], firings: int) -> npt.NDArray[np.int64]:
    """Bytes in use during each firing: no placement can need less than the largest."""
    records, first, last = _lifetimes(items)
    sizes = np.repeat(records["size"].astype(np.int64), records["end"] - records["begin"])
    change = np.bincount(first, sizes, firings + 1) - np.bincount(last + 1, sizes, firings + 1)
    return np.cumsum(change[:firings]).astype(np.int64)


def conflicts(items: Sequence[Item]) -> Conflicts:
    """Which items cannot stand where; see native/conflicts.h."""
    _, lib = load()
    records, first, last = _lifetimes(items)
    room = 16 * len(items)
    while True:
        found = np.zeros(room, _CONFLICT)
        count = lib.plan_conflicts(
            pointer("struct plan_slot *", records), len(records), len(items),
            pointer("int32_t *", first), pointer("int32_t *", last),
            pointer("struct plan_conflict *", found), room,
        )  # fmt: skip
        if count < 0:
            raise MemoryError
        if count <= room:
            return found[:count]
        room = count


def among(pairs: Conflicts, taken: npt.NDArray[np.bool_]) -> Conflicts:
    """The conflicts between some of the items, by their numbers among these."""
    numbers = np.cumsum(taken, dtype=np.int32) - 1
    found: Conflicts = pairs[taken[pairs["item"]] & taken[pairs["other"]]]
    found["item"], found["other"] = numbers[found["item"]], numbers[found["other"]]
    return found


def forbidden(a: Item, b: Item) -> list[Interval]:
    """Open intervals of ``offset of b - offset of a`` in which live bytes would overlap."""
    return [(int(c["low"]), int(c["high"])) for c in conflicts([a, b])]


def place(
    items: Sequence[Item],
    firings: int,
    rounds: int = 8000,
    enough: float = 0,
    known: Conflicts | None = None,
) -> tuple[list[int], int]:
    """Offsets of the items, multiples of 16, and the end of the highest; see native/place.h.

    Args:
        firings: how many there are.
        rounds: how many orders to try; fewer where there are very many conflicts.
        enough: an end that need not be lower.
        known: the conflicts.
    """
    count = len(items)
    if not count:
        return [], 0
    pairs = np.ascontiguousarray(conflicts(items) if known is None else known)
    orders = [
        sorted(range(count), key=lambda i: (-items[i].size, i)),
        sorted(range(count), key=lambda i: (-items[i].first, -items[i].size, i)),
        sorted(range(count), key=lambda i: (items[i].first, -items[i].size, i)),
    ]
    bound = round_up(int(live_bytes(items, firings).max(initial=0)))
    rounds = min(rounds, rounds * CONFLICTS // (2 * len(pairs) + count))
    ffi, lib = load()
    offsets = ffi.new("int32_t[]", count)
    end = lib.plan_place(
        [item.size for item in items], count, pointer("struct plan_conflict *", pairs), len(pairs),
        [i for order in orders for i in order], len(orders), bound, int(min(enough, 2**31 - 1)),
        rounds, offsets,
    )  # fmt: skip
    if end < 0:
        raise MemoryError
    return list(offsets), int(end)
