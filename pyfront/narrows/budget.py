# SPDX-License-Identifier: Apache-2.0
"""What a budget of RAM and a board ask of a memory plan, and how long it takes on the board."""

from __future__ import annotations

from numbers import Integral

from narrows.boards import Board
from narrows.errors import UsageError
from narrows.native import Layout
from narrows.planning import Effort, PlanOptions
from narrows.planning.plan import PORTABLE
from narrows.planning.rates import cycles_per_instruction

_ESTIMATED = "cortex-m4"  # the core whose cycles the figures of planning/costs are


def parse_size(text: int | str) -> int:
    """``65536``, ``64K``, ``9.5KB``, ``64KiB``, ``1M``, or a number -> bytes. Raises:
    UsageError."""
    if not isinstance(text, str):
        if isinstance(text, bool) or not isinstance(text, Integral) or text < 1:
            raise UsageError(f"{text!r} is no size; give bytes, or KiB as in '64K'")
        return int(text)
    number = text.upper().removesuffix("B").removesuffix("I")
    unit = {"K": 1 << 10, "M": 1 << 20}.get(number[-1:], 1)
    whole, _, fraction = (number if unit == 1 else number[:-1]).partition(".")
    digits = whole + fraction
    size = int(digits) * unit // 10 ** len(fraction) if digits.isdecimal() else 0
    if size == 0 or (fraction and unit == 1):
        raise UsageError(f"{text!r} is no size; give bytes, or KiB as in 64K or 9.5K")
    return size


def plan_options(
    ram: int | str | None,
    board: Board | None,
    layout: Layout | None = None,
    effort: Effort = Effort.NORMAL,
) -> PlanOptions:
    """The plan's options for a budget and a board.

    Args:
        ram: a size, as ``parse_size`` takes it; None: what the board has, if there is one.
        board: its memories bound the plan.
        layout: order of the weights; None: the board's, else plain.

    Raises: UsageError: ram is no size.
    """
    budgets = [] if ram is None else [parse_size(ram)]
    if board is not None:
        budgets.append(sum(board.memories))
    if layout is None:
        layout = Layout.PLAIN if board is None else Layout[board.core.layout.upper()]
    return PlanOptions(
        ram=min(budgets, default=None),
        memories=None if board is None else board.memories,
        effort=effort,
        layout=layout,
        kernels=PORTABLE if board is None else board.core.kernels,
    )


def remarks(layout: int, board: Board | None) -> list[str]:
    """What the user of a board should know of a blob that runs there, a line each. layout: of its
    weights."""
    if board is None or Layout[board.core.layout.upper()] == layout:
        return []
    return [
        f"weights in the {Layout(layout).name.lower()} layout; {board.name} is faster with "
        f"{board.core.layout} ones: compile the model with --board {board.name}"
    ]


def predicted_seconds(
    instructions: float, board: Board | None, layout: Layout = Layout.PLAIN
) -> float | None:
    """About how long an inference takes on a board, with memory that never makes the core wait.

    Args:
        instructions: predicted, of the inference.
        layout: order of the weights.

    Returns: None unless the board has a Cortex-M4 whose clock is known, and the cycles of the
        layout's kernels have been estimated.
    """
    if board is None or board.core.cpu != _ESTIMATED or board.core_hz is None:
        return None
    cycles = cycles_per_instruction(layout, board.core.kernels)
    return None if cycles is None else instructions * cycles / board.core_hz


def clock(board: Board | None) -> str:
    """The board's clock, and what is assumed of times at it."""
    assert board is not None
    assert board.core_hz is not None
    return f"at {board.core_hz / 1e6:g} MHz (estimated, zero-wait memory)"
