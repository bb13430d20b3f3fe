# SPDX-License-Identifier: Apache-2.0
"""The arena over time as JSON values that are small when compressed.

Every byte of the arena is known for every firing. Times are counted in *units* of some firings, one
if the page has room for it: what lives during any firing of a unit lives during the unit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from narrows.planning.occupancy import Occupancy, Tenant
from narrows.planning.place import Times
from narrows.planning.timeline import row_lives
from narrows.report.views import View

_KINDS = ("ring", "variable", "state", "scratch")
_HELD = 64
"""Tenants that the list of the fullest moment names at most."""


def arena_json(view: View, unit: int) -> dict[str, Any]:
    """What the page draws and looks up.

    unit: firings of one unit of time.

    Returns:
        firings: how many; unit.
        live: the most bytes in use in each unit; at: the stage that fires then.
        tenants: [kind, number, offset, slots], as ``Tenant``; a slot is [offset, size, spans].
        rows: by tensor of a ring, [births, deaths] of its rows in firings.
        peak: the first firing with the most bytes in use, its stage, and who is there,
            [tenant, bytes], the largest first.
    """
    occupied = view.occupied
    firings = len(occupied.order)
    starts = np.arange(0, firings, unit)
    most = np.maximum.reduceat(occupied.live, starts) if firings else np.zeros(0, np.int64)
    return {
        "firings": firings,
        "unit": unit,
        "live": most.tolist(),
        "at": _busiest(occupied, unit).tolist(),
        "tenants": [_tenant(tenant, unit) for tenant in occupied.tenants],
        "rows": {str(t.number): _rows(view, t) for t in occupied.tenants if t.kind == "ring"},
        "peak": _peak(occupied),
    }


def spans(first: Times, last: Times, unit: int) -> list[int]:
    """Lifetimes, both ends included, as gap before and length of each, in units."""
    starts, ends = np.asarray(first, np.int64) // unit, np.asarray(last, np.int64) // unit + 1
    apart = starts[1:] > ends[:-1]
    starts, ends = starts[np.append(True, apart)], ends[np.append(apart, True)]
    gaps = starts - np.append(0, ends[:-1])
    return [int(n) for n in np.stack((gaps, ends - starts), axis=1).ravel()]


def _tenant(tenant: Tenant, unit: int) -> list[Any]:
    slots = [[s.offset, s.size, spans(s.first, s.last, unit)] for s in tenant.item.slots]
    return [_KINDS.index(tenant.kind), tenant.number, tenant.offset, slots]


def _busiest(occupied: Occupancy, unit: int) -> npt.NDArray[np.int32]:
    """The stage that fires in each unit when most is in use."""
    if unit == 1:
        return occupied.order
    count = -(-len(occupied.order) // unit)
    live = np.pad(occupied.live, (0, count * unit - len(occupied.order)), constant_values=-1)
    at = live.reshape(count, unit).argmax(axis=1) + unit * np.arange(count)
    stages: npt.NDArray[np.int32] = occupied.order[at]
    return stages


def _rows(view: View, tenant: Tenant) -> list[list[int]]:
    """Differences of the firings that bring the first pixel of each row, and of those after which
    no pixel of it is read."""
    births, deaths = row_lives(view.timeline, tenant.number)
    return [np.diff(times, prepend=0).tolist() for times in (births, deaths)]


def _peak(occupied: Occupancy) -> dict[str, Any] | None:
    if not len(occupied.order):
        return None
    peak = occupied.peak
    numbers = {tenant: i for i, tenant in enumerate(occupied.tenants)}
    held = [[numbers[tenant], size] for tenant, size in occupied.held(peak)[:_HELD]]
    return {
        "firing": peak,
        "stage": int(occupied.order[peak]),
        "bytes": int(occupied.live[peak]),
        "held": held,
    }
