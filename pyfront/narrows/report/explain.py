# SPDX-License-Identifier: Apache-2.0
"""Why a plan needs the RAM that it needs, and what more or less of it would do."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.planning.occupancy import Occupancy
from narrows.report.front import Choice, Front


@dataclass(frozen=True)
class Held:
    """kind: ring, variable, state or scratch. name: of the tensor, or of what is computed."""

    kind: str
    name: str
    bytes: int


@dataclass(frozen=True)
class Step:
    """From one plan to another. ram_bytes: how many more; instructions: how many more,
    relative to those of the first; mac_factor: there."""

    ram_bytes: int
    instructions: float
    mac_factor: float


@dataclass(frozen=True)
class Explanation:
    """The moment when the arena is fullest.

    bound_bytes: live at that moment: no placement has a smaller arena.
    firing: its number, of ``firings``; stage: what is being computed.
    held: who is there; the largest first.
    larger, smaller: to the neighbours of the front.
    """

    bound_bytes: int
    firing: int
    firings: int
    stage: str
    held: tuple[Held, ...]
    larger: Step | None
    smaller: Step | None


def explain(front: Front, occupied: Occupancy) -> Explanation:
    """Explain the chosen plan. occupied: its occupancy."""
    chosen = front.choices[front.chosen]
    peak = occupied.peak
    return Explanation(
        bound_bytes=occupied.bound,
        firing=peak,
        firings=len(occupied.order),
        stage=occupied.busy(peak),
        held=tuple(Held(tenant.kind, tenant.name, n) for tenant, n in occupied.held(peak)),
        larger=_step(chosen, front.larger),
        smaller=_step(chosen, front.smaller),
    )


def _step(start: Choice, end: Choice | None) -> Step | None:
    if end is None:
        return None
    more = end.instructions / start.instructions - 1 if start.instructions else 0.0
    return Step(end.ram_bytes - start.ram_bytes, more, end.plan.mac_factor)
