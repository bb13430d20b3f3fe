# SPDX-License-Identifier: Apache-2.0
"""The forms that a cascade can take: the cheapest stages for every number of bytes.

A stage keeps bytes from one firing to the next (what lives of its state, and what its window needs
of its inputs) and uses scratch while it fires, which here is all that ends with the firing. Along a
cascade what is kept adds up, of the scratch only the largest counts, and costs add up: for each
limit of the scratch, a shortest path over the operators finds the cheapest stages for every number
of units of bytes at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from narrows.native import load
from narrows.plan.layout import Candidate

UNITS = 640
"""Into how many units bytes are divided."""

FINENESS = 1.3
"""How much larger the units of the next level are."""

SCRATCH_STEP = 1.15
"""Limits of the scratch, relative to the one before."""

WORTHWHILE = 0.0002
"""Share of all instructions by which a larger form must be cheaper."""


@dataclass(frozen=True)
class Form:
    """A form of a cascade, before its stages are looked up.

    estimate: bytes. cost: instructions. scratch: number of its limit. units: of what is kept.
    """

    estimate: int
    cost: float
    scratch: int
    units: int


class Stages:
    """All stages that may be used, by their last operator.

    price: what a stage costs.
    """

    def __init__(self, options: Sequence[Candidate], price: Callable[[Candidate], float]) -> None:
        self.options = sorted(options, key=lambda c: c.stage.ops[-1])
        self.first = np.array([c.stage.ops[0] for c in self.options], np.int32)
        self.end = np.array([c.stage.ops[-1] + 1 for c in self.options], np.int32)
        self.steady = np.array([c.steady_bytes for c in self.options], np.int64)
        self.scratch = np.array([c.working_bytes for c in self.options], np.int64)
        self.cost = np.array([price(c) for c in self.options], np.float32)
        self.operators = int(self.end.max(initial=0))
        self.most = sum(c.steady_bytes for c in self.cheapest(0, self.operators))

    def level(self, size: float) -> int:
        """The level whose forms suit cascades of so many bytes; 0 is the largest."""
        level, reach = 0, self.most / FINENESS
        while reach > size and reach > UNITS:
            level, reach = level + 1, reach / FINENESS
        return level

    def unit(self, level: int) -> float:
        """Bytes."""
        return max(1.0, self.most / FINENESS**level / (UNITS - 1))

    def cheapest(self, first: int, end: int) -> tuple[Candidate, ...]:
        """The cheapest stages of the operators [first, end)."""
        nothing = np.zeros(len(self.options), np.int32)
        _, choice = self.paths(first, nothing, np.arange(len(self.options)), 1)
        return self.chain(first, end, nothing, choice, 0)

    def paths(
        self, first: int, units: npt.NDArray[np.int32], which: npt.NDArray[np.integer], most: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """Costs and choices for each number of operators from ``first`` on and each number of
        units below ``most``; see forms.h.

        units: of every option. which: those that may be used, ascending.
        """
        ffi, lib = load()
        records = np.zeros(len(which), _OPTION)
        records["first"], records["end"] = self.first[which], self.end[which]
        records["units"], records["cost"] = units[which], self.cost[which]
        shape = self.operators - first + 1, most
        cost, choice = np.empty(shape, np.float32), np.empty(shape, np.int32)

        def pointer(kind: str, values: npt.NDArray[Any]) -> Any:
            return ffi.cast(kind, values.ctypes.data)

        lib.plan_forms(
            pointer("struct plan_option *", records), len(records), first, self.operators, most,
            pointer("float *", cost), pointer("int32_t *", choice),
        )  # fmt: skip
        return cost, np.append(which, -1)[choice].astype(np.int32)

    def chain(
        self,
        first: int,
        end: int,
        units: npt.NDArray[np.int32],
        choice: npt.NDArray[np.int32],
        most: int,
    ) -> tuple[Candidate, ...]:
        """The stages of the operators [first, end) that keep at most so many units."""
        found: list[Candidate] = []
        while end > first:
            number = int(choice[end - first, most])
            most -= int(units[number])
            end = int(self.first[number])
            found.insert(0, self.options[number])
        return tuple(found)


_OPTION = np.dtype([("first", "i4"), ("end", "i4"), ("units", "i4"), ("cost", "f4")])


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
        self._costs: dict[int, npt.NDArray[np.float32]] = {}

    def between(self, edge: tuple[int, int], beside: int) -> list[Form]:
        """The forms of a cascade that none beats, the smallest first.

        beside: bytes that it needs in any form.
        """
        first, end = edge
        if first not in self._costs:
            rows = [e - first for e in self.ends if e > first]
            costs = [self._paths(first, number)[0][rows] for number in range(len(self.limits))]
            self._costs[first] = np.stack(costs, axis=1)
        after = [e for e in self.ends if e > first].index(end)
        costs = self._costs[first][after]
        kept = np.arange(UNITS) * self.unit
        sizes = beside + kept[None, :] + np.array(self.limits)[:, None]
        # Only what is cheaper than with one unit less: the others need not be sorted.
        fewer = np.pad(costs[:, :-1], ((0, 0), (1, 0)), constant_values=np.inf)
        falls = np.flatnonzero(costs < fewer)
        order = falls[np.lexsort((costs.ravel()[falls], sizes.ravel()[falls]))]
        best = np.minimum.accumulate(costs.ravel()[order])
        found: list[Form] = []
        worthwhile = WORTHWHILE * float(best[-1]) if len(best) else 0.0
        for at in np.flatnonzero(best < np.append(np.inf, best[:-1])):
            number, units = divmod(int(order[at]), UNITS)
            form = Form(int(sizes[number, units]), float(best[at]), number, units)
            if not found or form.cost < found[-1].cost - worthwhile:
                found.append(form)
        return found

    def chosen(self, edge: tuple[int, int], form: Form) -> tuple[Candidate, ...]:
        """The stages of a form."""
        _, choice = self._paths(edge[0], form.scratch)
        return self.stages.chain(*edge, self.units, choice, form.units)

    def _paths(
        self, first: int, limit: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        which = np.flatnonzero(self.stages.scratch <= self.limits[limit])
        return self.stages.paths(first, self.units, which, UNITS)
