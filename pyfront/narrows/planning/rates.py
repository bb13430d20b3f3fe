# SPDX-License-Identifier: Apache-2.0
"""What kernels cost, as it was measured: the coefficients of the cost model and the cycles of an
instruction (``costs/``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from narrows.native import Layout
from narrows.planning.plan import PORTABLE

FOLDER = Path(__file__).with_name("costs")
"""A file of coefficients for each layout and implementation of its kernels."""

CYCLES = FOLDER / "cycles.json"
"""Cycles that an instruction takes on a Cortex-M4 with memory without wait states, for each weight
layout and implementation: the median of what ``tests/bench/cycles_per_instruction.py`` measures."""


def table_name(layout: Layout, kernels: str = PORTABLE) -> str:
    """How files call an implementation of a layout's kernels: as C calls its table."""
    return f"{layout.name.lower()}_{kernels}"


def costs_file(layout: Layout, kernels: str = PORTABLE) -> Path:
    """The coefficients of an implementation of a layout's kernels."""
    return FOLDER / f"{table_name(layout, kernels)}.json"


@lru_cache
def rates(layout: Layout, kernels: str = PORTABLE) -> Mapping[str, float]:
    """Instructions of one of each. An implementation that has no coefficients is taken for one of
    the same layout that has."""
    path = costs_file(layout, kernels)
    if not path.is_file():
        path = min(FOLDER.glob(f"{layout.name.lower()}_*.json"))
    table: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))["instructions"]
    return table


@lru_cache
def cycles_per_instruction(layout: Layout, kernels: str = PORTABLE) -> float | None:
    """On a Cortex-M4, as ``CYCLES`` says; None for kernels of which it says nothing."""
    table: dict[str, dict[str, float]] = json.loads(CYCLES.read_text(encoding="utf-8"))
    entry = table.get(table_name(layout, kernels))
    return None if entry is None else entry["cycles_per_instruction"]
