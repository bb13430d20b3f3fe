# SPDX-License-Identifier: Apache-2.0
"""Pictures of plans, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt

from narrows.errors import ToolError
from narrows.planning.occupancy import Occupancy, Tenant
from narrows.report.front import Front, undominated

_DPI = 120
_COLUMNS, _ROWS = 1400, 700
_LEGEND = 16
# How much of its tensor's colour each kind shows on white.
_SHADES = {"ring": 1.0, "variable": 1.0, "state": 0.6, "scratch": 0.35}


def require_plots() -> None:
    """Raises: ToolError: matplotlib is not there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ToolError("pictures need matplotlib; install it: pip install matplotlib") from error


def new_figure(width: float, height: float) -> Any:
    """A figure without a window. width, height: inches. Raises: ToolError."""
    require_plots()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png(figure: Any) -> bytes:
    """A figure as a file's bytes."""
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return stream.getvalue()


def plot_front(title: str, front: Front) -> bytes:
    """RAM against predicted instructions."""
    figure = new_figure(8, 5)
    axes = figure.subplots()
    ram = [c.ram_bytes / 1024 for c in front.choices]
    cost = [c.instructions / 1e6 for c in front.choices]
    line = undominated(front.choices)
    steps = [c.ram_bytes / 1024 for c in line], [c.instructions / 1e6 for c in line]
    axes.step(*steps, where="pre", color="0.8", zorder=1)
    once = [c.plan.macs == c.plan.macs_once for c in front.choices]
    for twice, label in ((False, "nothing twice"), (True, "some elements twice")):
        shown = [i for i, o in enumerate(once) if o != twice]
        axes.plot([ram[i] for i in shown], [cost[i] for i in shown], "o", label=label)
    axes.plot(
        ram[front.chosen],
        cost[front.chosen],
        "o",
        ms=13,
        mfc="none",
        mec="k",
        label="what compile takes",
    )
    axes.set(title=title, xlabel="RAM [KiB]", ylabel="instructions, predicted [M]")
    axes.set_xscale("log")
    _plain_ticks(axes, ram)
    axes.grid(alpha=0.3)
    axes.legend()
    return png(figure)


def _plain_ticks(axes: Any, values: Sequence[float]) -> None:
    """Some round numbers on a logarithmic axis."""
    low, high = min(values) * 0.9, max(values) * 1.1
    steps = [m * 10.0**e for e in range(-1, 6) for m in (1, 1.5, 2, 3, 4, 5, 6, 8)]
    ticks = [tick for tick in steps if low <= tick <= high]
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def plot_arena(title: str, occupied: Occupancy, arena_bytes: int) -> bytes:
    """Who has which bytes of the arena, firing by firing."""
    names = list(dict.fromkeys(tenant.name for tenant in occupied.tenants))
    colours = dict(zip(names, _colours(len(names)), strict=True))
    image = np.ones((_ROWS, _COLUMNS, 3))
    weights = dict.fromkeys(names, 0)
    for tenant in occupied.tenants:
        shade = _SHADES[tenant.kind]
        colour = 1 - shade * (1 - colours[tenant.name])
        weights[tenant.name] += _paint(image, tenant, colour, len(occupied.order), arena_bytes)
    figure = new_figure(13, 7)
    axes = figure.subplots()
    extent = (0, len(occupied.order), 0, arena_bytes)
    axes.imshow(image, origin="lower", aspect="auto", interpolation="nearest", extent=extent)
    axes.axvline(occupied.peak + 0.5, color="k", lw=0.8, ls=":")
    axes.set(title=title, xlabel="firing (dotted: when most is live)", ylabel="arena [bytes]")
    for name in sorted(names, key=lambda name: -weights[name])[:_LEGEND]:
        axes.plot([], [], "s", color=colours[name], label=name)
    note = "rings and variables; paler: state, palest: scratch"
    figure.legend(loc="outside right upper", title=note, fontsize=7, title_fontsize=7)
    return png(figure)


def _paint(
    image: npt.NDArray[np.float64],
    tenant: Tenant,
    colour: npt.NDArray[np.float64],
    firings: int,
    arena_bytes: int,
) -> int:
    """Fill a tenant's bytes while they live. Returns: how many pixels of the picture."""
    painted = 0
    starts = np.arange(_COLUMNS) * firings // _COLUMNS
    ends = np.maximum(starts + 1, (np.arange(_COLUMNS) + 1) * firings // _COLUMNS)
    for slot in tenant.item.slots:
        change = np.zeros(firings + 1, np.int32)
        np.add.at(change, slot.first, 1)
        np.add.at(change, slot.last + 1, -1)
        alive = np.append(0, np.cumsum(np.cumsum(change[:-1]) > 0))
        columns = alive[ends] > alive[starts]
        bottom = tenant.offset + slot.offset
        low = bottom * _ROWS // arena_bytes
        high = max(low + 1, (bottom + slot.size) * _ROWS // arena_bytes)
        image[low:high, columns] = colour
        painted += (high - low) * int(columns.sum())
    return painted


def _colours(count: int) -> list[npt.NDArray[np.float64]]:
    """Colours of which neighbours differ: hues by the golden ratio, two brightnesses."""
    from matplotlib.colors import hsv_to_rgb

    return [
        np.asarray(hsv_to_rgb((i * 0.618034 % 1, 0.75, (0.85, 0.6)[i % 2])), np.float64)
        for i in range(count)
    ]
