# SPDX-License-Identifier: Apache-2.0
"""What a check of a data set has found."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

TOP = 5
"""How many classes count for the second accuracy; only models with more classes have it."""


@dataclass(frozen=True)
class Checked:
    """One item on one target.

    item: its number in the data set.
    equal: whether all outputs are the reference's; None if nothing was compared.
    rank: of the item's class, 0 if it has the highest score (of equal ones the first counts as
        higher); None without labels.
    instructions, seconds: of the inference; one of them is None (see ``Result``).
    """

    item: int
    equal: bool | None
    rank: int | None
    instructions: int | None
    seconds: float | None


@dataclass(frozen=True)
class Verdict:
    """What one target has done, or all together.

    name: its own; spec: the target as it was given, which several may share.
    checked: in the order of the items.
    classes: how many the model has.
    wall_seconds: time spent with the items, link and emulation included.
    ram_high_water_bytes: the most that an inference took; None if there was none.
    failure: why the target did not finish; None if it did.
    """

    name: str
    spec: str
    checked: tuple[Checked, ...]
    classes: int
    wall_seconds: float
    ram_high_water_bytes: int | None
    failure: str | None = None

    @property
    def items(self) -> int:
        """How many were run."""
        return len(self.checked)

    @property
    def compared(self) -> int:
        """How many of them were compared with the reference."""
        return sum(one.equal is not None for one in self.checked)

    @property
    def differing(self) -> tuple[int, ...] | None:
        """Numbers of the items whose outputs are not the reference's; None if none was compared."""
        if self.compared == 0:
            return None
        return tuple(one.item for one in self.checked if one.equal is False)

    @property
    def correct(self) -> int | None:
        """How many have their class before all others; None without labels."""
        return self._ranked_below(1)

    @property
    def top5(self) -> int | None:
        """How many have their class among the first five; None without labels, and of models
        with so few classes that it says nothing."""
        return self._ranked_below(TOP) if self.classes > TOP else None

    @property
    def instructions(self) -> int | None:
        """Median of one inference; None where they are not counted."""
        counts = [one.instructions for one in self.checked if one.instructions is not None]
        return round(statistics.median(counts)) if counts else None

    @property
    def seconds(self) -> float | None:
        """Median of one inference, in the target's own time; None in QEMU, whose time means
        nothing."""
        times = [one.seconds for one in self.checked if one.seconds is not None]
        return statistics.median(times) if times else None

    @property
    def items_per_second(self) -> float | None:
        """Items in a second of wall time, with link and emulation; None if nothing was run."""
        return self.items / self.wall_seconds if self.wall_seconds > 0 else None

    def _ranked_below(self, rank: int) -> int | None:
        ranks = [one.rank for one in self.checked if one.rank is not None]
        return sum(found < rank for found in ranks) if ranks else None


@dataclass(frozen=True)
class Check:
    """A blob over a data set.

    model, reference: their names.
    items: of the data set.
    each: whether every target was to run every item, instead of sharing them out.
    verdicts: one for each target, in the order in which they were given.
    wall_seconds: from the first inference to the end of the last.
    """

    model: str
    reference: str
    items: int
    each: bool
    verdicts: tuple[Verdict, ...]
    wall_seconds: float

    @property
    def agree(self) -> bool:
        """Whether no output differs from the reference."""
        return not any(verdict.differing for verdict in self.verdicts)

    @property
    def missing(self) -> int:
        """How many inferences were asked for and not made, for want of a target."""
        asked = self.items * (len(self.verdicts) if self.each else 1)
        return asked - sum(verdict.items for verdict in self.verdicts)

    @property
    def total(self) -> Verdict:
        """All targets together."""
        rams = [v.ram_high_water_bytes for v in self.verdicts if v.ram_high_water_bytes is not None]
        checked = (one for verdict in self.verdicts for one in verdict.checked)
        return Verdict(
            name="total",
            spec="total",
            checked=tuple(sorted(checked, key=lambda one: one.item)),
            classes=self.verdicts[0].classes,
            wall_seconds=self.wall_seconds,
            ram_high_water_bytes=max(rams, default=None),
        )
