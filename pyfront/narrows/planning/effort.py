# SPDX-License-Identifier: Apache-2.0
"""How much work planning may take, and how much of it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Effort(Enum):
    """What to spend on a plan."""

    FAST = "fast"
    NORMAL = "normal"
    BEST = "best"


@dataclass(frozen=True)
class Bounds:
    """misses: forms of cascades that are given up for one budget before all must be smaller, at
        most; work: this times the operators, at most.
    closeness: share of the arena that is too little to search for.
    rounds: of the placement of a plan.
    ends: where cascades may end, at most; edges: cascades about one size that are tried, as far as
        that can be.
    """

    misses: int
    work: int
    closeness: float
    rounds: int
    ends: int
    edges: int

    def misses_of(self, operators: int) -> int:
        """``misses`` of a network of so many operators."""
        return max(_FEWEST, min(self.misses, self.work // operators))


# NORMAL is where more wins nothing: four times the misses or the rounds make no arena smaller; a
# quarter of them costs up to 1.4% of one (tests/bench/search_constants.md).
BOUNDS = {
    Effort.FAST: Bounds(misses=1, work=0, closeness=0.03, rounds=1000, ends=32, edges=200),
    Effort.NORMAL: Bounds(misses=40, work=2600, closeness=0, rounds=8000, ends=160, edges=4000),
    Effort.BEST: Bounds(misses=120, work=12000, closeness=0, rounds=16000, ends=320, edges=12000),
}


class Gauge:
    """How much of some work is done, 0 to 1; it never goes back.

    report: told of it.
    """

    def __init__(self, report: Callable[[float], None] = lambda done: None) -> None:
        self.report = report
        self.done = 0.0

    def reach(self, done: float) -> None:
        """So much is done in all."""
        if done > self.done:
            self.done = done
            self.report(done)

    def step(self) -> None:
        """One of many steps is done; how many are left is not known."""
        self.reach(self.done + _STEP * (1 - self.done))

    def part(self, begin: float, end: float) -> Gauge:
        """That of a part of the work."""
        return Gauge(lambda done: self.reach(begin + (end - begin) * done))


_STEP = 0.02
_FEWEST = 1
