# SPDX-License-Identifier: Apache-2.0
"""The forms that a cascade can take: the cheapest stages for every number of bytes.

A stage keeps bytes from one firing to the next (what lives of its state, and what its window needs
of its inputs) and uses scratch while it fires, which here is all that ends with the firing. Along a
cascade what is kept adds up, of the scratch only the largest counts, and costs add up: for each
limit of the scratch, a shortest path over the operators finds the cheapest stages for every number
of units of bytes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from narrows.native import load, pointer
from narrows.planning.timeline import Candidate

UNITS = 640
"""Into how many units bytes are divided: with half as many some arenas grow by 1 or 2%, twice as
many make none smaller."""

FINENESS = 1.3
"""How much larger the units of the next level are: between 1.15 and 1.6 it hardly matters."""

SCRATCH_STEP = 1.15
"""Limits of the scratch, relative to the one before: each is a search of its own."""

WORTHWHILE = 0.0002
"""Share of all instructions by which a larger form must be cheaper: the prediction knows no less.
With ten times as much planning takes a quarter less, and a few arenas are larger."""


@dataclass(frozen=True)
class CascadeForm:
    """A form of a cascade, before its stages are looked up.

    number: among those of the cascade. estimate: bytes. cost: as prices. scratch: number of
    its limit. units: of what is kept.
    """

    number: int
    estimate: float
    cost: float
    scratch: int
    units: int


FormArray = npt.NDArray[np.void]
"""``struct plan_form``: the forms of a cascade that none beats, the smallest first."""


class Stages:
    """All stages that may be used, by their last operator.

    price: what a stage costs, a whole number.
    """

    def __init__(self, options: Sequence[Candidate], price: Callable[[Candidate], float]) -> None:
        self.options = sorted(options, key=lambda c: c.stage.ops[-1])
        self.first = np.array([c.stage.ops[0] for c in self.options], np.int32)
        self.end = np.array([c.stage.ops[-1] + 1 for c in self.options], np.int32)
        self.steady = np.array([c.steady_bytes for c in self.options], np.int64)
        self.scratch = np.array([c.working_bytes for c in self.options], np.int64)
        self.cost = np.array([price(c) for c in self.options], np.float32)
        self._choices: dict[int, npt.NDArray[np.int32]] = {}
        self.operators = int(self.end.max(initial=0))
        easiest = np.array([c.steady_bytes for c in self.cheapest(0, self.operators)])
        self.most = int(easiest.sum())
        # Rounded to units, the cheapest stages must still be within all units.
        self._coarsest = max(1.0, self.most / (UNITS - 1))
        while np.rint(easiest / self._coarsest).sum() > UNITS - 1:
            self._coarsest *= 1.001

    def level(self, size: float) -> int:
        """The level whose forms suit cascades of so many bytes; 0 is the largest."""
        level, reach = 0, self.most / FINENESS
        while reach > size and reach > UNITS:
            level, reach = level + 1, reach / FINENESS
        return level

    def size(self, level: int) -> float:
        """Bytes that stages keep at most."""
        return float(self.most / FINENESS**level)

    def unit(self, level: int) -> float:
        """Bytes."""
        return max(1.0, self.size(level) / (UNITS - 1)) if level else self._coarsest

    def cheapest(self, first: int, end: int, ends: Sequence[int] = ()) -> tuple[Candidate, ...]:
        """The cheapest stages of [first, end); none if one ends at one of ``ends``."""
        nothing = np.zeros(len(self.options), np.int32)
        if first not in self._choices:
            which = np.arange(len(self.options))
            _, self._choices[first] = self.paths(first, self.operators, nothing, which, 1)
        return self.chain(first, end, nothing, self._choices[first], 0, ends)

    def least(self, ends: Sequence[int]) -> dict[tuple[int, int], int]:
        """The fewest bytes that stages keep, between every two ends."""
        nothing, every = np.zeros(len(self.options), np.int32), np.arange(len(self.options))
        found: dict[tuple[int, int], int] = {}
        for number, first in enumerate(ends):
            kept = self.costs(first, self.operators, nothing, every, 1, self.steady)
            found |= {(first, end): int(kept[end - first, 0]) for end in ends[number:]}
        return found

    def costs(
        self,
        first: int,
        end: int,
        units: npt.NDArray[np.int32],
        which: npt.NDArray[np.integer],
        most: int,
        price: npt.NDArray[np.number] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Costs for each number of operators from ``first`` to ``end`` and each number of units
        below ``most``; see forms.h.

        units: of every option. which: those that may be used, ascending. price: of every option,
            if not what it costs.
        """
        cost = np.empty((end - first + 1, most), np.float32)
        records = self._records(units, which, self.cost if price is None else price)
        _, lib = load()
        lib.plan_forms(
            pointer("struct plan_option *", records), len(records), first, end, most,
            pointer("float *", cost), pointer("int32_t *", None),
        )  # fmt: skip
        return cost

    def paths(
        self,
        first: int,
        end: int,
        units: npt.NDArray[np.int32],
        which: npt.NDArray[np.integer],
        most: int,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """As costs; and the choices."""
        shape = end - first + 1, most
        cost, choice = np.empty(shape, np.float32), np.empty(shape, np.int32)
        records = self._records(units, which, self.cost)
        _, lib = load()
        lib.plan_forms(
            pointer("struct plan_option *", records), len(records), first, end, most,
            pointer("float *", cost), pointer("int32_t *", choice),
        )  # fmt: skip
        return cost, np.append(which, -1)[choice].astype(np.int32)

    def _records(
        self,
        units: npt.NDArray[np.int32],
        which: npt.NDArray[np.integer],
        price: npt.NDArray[np.number],
    ) -> npt.NDArray[np.void]:
        records = np.zeros(len(which), _OPTION)
        records["first"], records["end"] = self.first[which], self.end[which]
        records["units"], records["cost"] = units[which], price[which]
        return records

    def between(self, first: int, end: int) -> slice:
        """The options of the operators [first, end), and some that reach beyond them."""
        return slice(*np.searchsorted(self.end, (first + 1, end + 1)))

    def chain(
        self,
        first: int,
        end: int,
        units: npt.NDArray[np.int32],
        choice: npt.NDArray[np.int32],
        most: int,
        ends: Sequence[int] = (),
    ) -> tuple[Candidate, ...]:
        """The stages of the operators [first, end) that keep at most so many units; none if one
        ends at one of ``ends``."""
        found: list[Candidate] = []
        while end > first:
            number = int(choice[end - first, most])
            most -= int(units[number])
            end = int(self.first[number])
            if end in ends:
                return ()
            found.append(self.options[number])
        return tuple(found[::-1])


_OPTION = np.dtype([("first", "i4"), ("end", "i4"), ("units", "i4"), ("cost", "f4")])
_FORM = np.dtype([("size", "f8"), ("cost", "f4"), ("scratch", "i4"), ("units", "i4")], align=True)


class Forms:
    """The forms of all cascades about one size.

    ends: where cascades may begin and end.
    """

    def __init__(self, stages: Stages, ends: Sequence[int], level: int) -> None:
        self.stages = stages
        self.ends = list(ends)
        self.unit = stages.unit(level)
        self.units = np.minimum(np.rint(stages.steady / self.unit), UNITS).astype(np.int32)
        limits = [0.0]
        while limits[-1] < stages.scratch.max(initial=0):
            limits.append(max(64.0, SCRATCH_STEP * limits[-1]))
        self.limits = limits

    def between(self, first: int, besides: Mapping[int, int]) -> dict[int, FormArray]:
        """The forms of the cascades from one operator on that none beats, the smallest first.

        besides: by the cascade's end, bytes that it needs in any form; ascending.
        """
        last = max(besides)
        here = self.stages.between(first, last)
        scratch = self.stages.scratch[here]
        # A larger limit that allows nothing more is none.
        allowed = np.searchsorted(np.sort(scratch), self.limits, "right")
        numbers = np.flatnonzero(np.diff(allowed, prepend=-1)).tolist()
        costs = []
        for number in numbers:
            which = np.flatnonzero(scratch <= self.limits[number]) + here.start
            cost = self.stages.costs(first, last, self.units, which, UNITS)
            costs.append(cost[[end - first for end in besides]])
        return {
            end: self._front(np.ascontiguousarray(some), numbers, beside)
            for (end, beside), some in zip(besides.items(), np.stack(costs, axis=1), strict=True)
        }

    def _front(
        self, costs: npt.NDArray[np.float32], numbers: Sequence[int], beside: int
    ) -> FormArray:
        """costs: by limit of the scratch and units. numbers: of the limits."""
        _, lib = load()
        limits = np.array([self.limits[number] for number in numbers])
        found = np.empty(costs.size, _FORM)
        count = lib.plan_front(
            pointer("float *", costs), pointer("double *", limits), len(limits), UNITS,
            self.unit, beside, WORTHWHILE, pointer("struct plan_form *", found),
        )  # fmt: skip
        front: FormArray = found[:count].copy()
        front["scratch"] = np.array(numbers, np.int32)[front["scratch"]]
        return front

    def chosen(self, edge: tuple[int, int], form: CascadeForm) -> tuple[Candidate, ...]:
        """The stages of a form."""
        here = self.stages.between(*edge)
        which = np.flatnonzero(self.stages.scratch[here] <= self.limits[form.scratch]) + here.start
        _, choice = self.stages.paths(*edge, self.units, which, UNITS)
        return self.stages.chain(*edge, self.units, choice, form.units)
