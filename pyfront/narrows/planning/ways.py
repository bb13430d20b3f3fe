# SPDX-License-Identifier: Apache-2.0
"""Cascades, and the ways to run each."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from narrows.planning.forms import CascadeForm, FormArray
from narrows.planning.place import round_up
from narrows.planning.timeline import Candidate, Timeline

PLACE_ROUNDS = 400
"""Effort of trial placements: a quarter of it costs up to 1% of an arena, four times as much wins
as much."""

GUESS = 0.7
"""What share of its estimate a cascade may turn out to need: forms above that are not looked at.
At 0.85 some are missed, and arenas grow by up to 2%; at 0.5 planning takes longer and finds no
more."""

LIKENESS = 0.9
"""What share of what one form needs, relative to its estimate, others need at least: at 1 some that
fit are passed over, and arenas grow by up to 2%; at 0.7 planning takes longer and finds no more."""

Edge = tuple[int, int]
"""The operators [first, end) of a cascade."""


@dataclass(frozen=True, eq=False)
class Way:
    """One form of a cascade whose stages are known.

    whole: tensors held whole beside the cuts at its ends.
    least: bytes that it needs at least.
    cost: in the units of the search.
    """

    edge: Edge
    chosen: tuple[Candidate, ...]
    whole: frozenset[int]
    least: int
    cost: int


@dataclass(frozen=True, eq=False)
class Cascade:
    """Stages between two cuts, and the rings they need to run without a stall."""

    way: Way
    timeline: Timeline

    @property
    def chosen(self) -> tuple[Candidate, ...]:
        """The stages."""
        return self.way.chosen

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
class Ways:
    """The ways to run one cascade within ``limit`` bytes, in the order in which they are looked at,
    the cheapest first. How many have been looked at makes no difference to an answer: a way that
    has not is no better than it seems.

    forms: all that stages leave to choose, the cheapest last.
    whole: ways with every tensor whole.
    """

    edge: Edge
    limit: float
    forms: FormArray
    whole: Sequence[Way]
    _share: float = 0.0  # of its estimate, what a form needs at least
    _taken: set[int] = field(default_factory=set)  # numbers of forms
    _looked: list[Way] = field(default_factory=list)  # the cheapest first
    _bytes: dict[Way, float] = field(default_factory=dict)
    _known: tuple[frozenset[Way], CascadeForm | Way | None] | None = None

    def __post_init__(self) -> None:
        self._share = GUESS
        for way in self.whole:
            self._add(way, way.least)

    def cheapest(self, excluded: frozenset[Way]) -> CascadeForm | Way | None:
        """The cheapest that may fit; None if none does. excluded: ways of this cascade."""
        if self._known is None or self._known[0] != excluded:
            self._known = excluded, self._cheapest(excluded)
        return self._known[1]

    def _cheapest(self, excluded: frozenset[Way]) -> CascadeForm | Way | None:
        fitting = (w for w in self._looked if self._bytes[w] <= self.limit and w not in excluded)
        way = next(fitting, None)
        at = int(np.searchsorted(self.forms["size"], self.limit / self._share, "right")) - 1
        while at in self._taken:
            at -= 1
        if at >= 0 and (way is None or self.forms["cost"][at] < way.cost):
            return CascadeForm(at, *self.forms[at].item())
        return way

    def take(self, form: CascadeForm, cascade: Cascade) -> None:
        """What a form turned out to be; others are much like it."""
        self._taken.add(form.number)
        if cascade.way not in self._bytes:
            self._add(cascade.way, cascade.peak)
        self._share = max(self._share, LIKENESS * cascade.peak / form.estimate)
        self._known = None

    def needs(self, way: Way, size: int) -> None:
        """A way needs so many bytes."""
        if size > self._bytes[way]:
            self._bytes[way] = size
            self._known = None

    def _add(self, way: Way, size: float) -> None:
        insort(self._looked, way, key=lambda w: w.cost)
        self._bytes[way] = size
