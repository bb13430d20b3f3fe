# SPDX-License-Identifier: Apache-2.0
"""Cascades, and the ways to run each that a search knows of."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from narrows.plan.forms import CascadeForm, FormArray
from narrows.plan.place import round_up
from narrows.plan.timeline import Candidate, Timeline

PLACE_ROUNDS = 400
"""Effort of trial placements."""

GUESS = 0.7
"""What share of its estimate a cascade may turn out to need."""

LIKENESS = 0.9
"""What share of what one form needs, relative to its estimate, others need at least."""

Edge = tuple[int, int]
"""The operators [first, end) of a cascade."""


@dataclass(frozen=True, eq=False)
class Cascade:
    """Stages between two cuts, and the rings they need to run without a stall.

    first, end: the operators [first, end) of the graph.
    whole: tensors held whole beside the cuts.
    """

    first: int
    end: int
    chosen: tuple[Candidate, ...]
    whole: frozenset[int]
    timeline: Timeline

    @cached_property
    def peak(self) -> int:
        """Bytes live at once at most, the cuts at both ends included."""
        return round_up(int(self.timeline.live_bytes(self.chosen).max()))

    @cached_property
    def placed(self) -> int:
        """Bytes of an arena of its own."""
        return self.timeline.placed_bytes(self.chosen, PLACE_ROUNDS)

    @property
    def cost(self) -> float:
        """Instructions."""
        return sum(c.cost for c in self.chosen)


@dataclass(eq=False)
class Way:
    """One form of a cascade: which stages run it.

    whole: tensors held whole beside the cuts at its ends.
    bytes: an optimistic estimate at first, then what has been found.
    """

    chosen: tuple[Candidate, ...]
    whole: frozenset[int]
    bytes: float
    cost: float
    cascade: Cascade | None = None
    placed: bool = False


@dataclass(eq=False)
class Ways:
    """The forms of one cascade about one size.

    least: bytes that every form needs.
    forms: all that stages leave to choose, the cheapest last; None: not found yet.
    looked: those whose stages are known, the cheapest first.
    factor: what share of its estimate a form needs at least.
    """

    edge: Edge
    least: int
    forms: FormArray | None = None
    looked: list[Way] = field(default_factory=list)
    factor: float = GUESS
    _taken: set[int] = field(default_factory=set)
    _known: tuple[float, CascadeForm | Way | None] | None = None

    def cheapest(self, limit: float) -> CascadeForm | Way | None:
        """The cheapest that may need at most ``limit`` bytes."""
        if self._known is None or self._known[0] != limit:
            self._known = limit, self._cheapest(limit)
        return self._known[1]

    def _cheapest(self, limit: float) -> CascadeForm | Way | None:
        assert self.forms is not None
        fitting = (way for way in self.looked if way.bytes <= limit)
        way = next(fitting, None)
        at = int(np.searchsorted(self.forms["size"], limit / self.factor, "right")) - 1
        while at in self._taken:
            at -= 1
        if at >= 0 and (way is None or self.forms["cost"][at] < way.cost):
            return CascadeForm(at, *self.forms[at].item())
        return way

    def take(self, form: CascadeForm, way: Way) -> None:
        """Somebody looks at a form."""
        self._taken.add(form.number)
        if way not in self.looked:
            self.add(way)

    def add(self, way: Way) -> None:
        insort(self.looked, way, key=lambda w: w.cost)

    def forget(self) -> None:
        """Bytes of ways have changed."""
        self._known = None
