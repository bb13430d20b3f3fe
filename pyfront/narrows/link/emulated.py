# SPDX-License-Identifier: Apache-2.0
"""Boards that an emulator has: the one that starts it, and what it needs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from narrows.boards import Board, load_boards
from narrows.errors import ToolError, UsageError
from narrows.link.emulator import Emulator
from narrows.link.firmware import missing_compiler
from narrows.link.qemu import PROGRAMS, Qemu
from narrows.link.rp2040js import Rp2040js, find_rp2040js

KINDS = ("qemu", "rp2040js")
"""Targets ``KIND:BOARD``."""


def start(
    kind: str,
    board: Board,
    image: Path,
    contents: Sequence[tuple[int, bytes]] = (),
    plugin: str = "",
) -> Emulator:
    """A board that waits for someone to connect to its UART.

    Args:
        kind: one of ``KINDS``.
        image: its firmware, an ELF file.
        contents: (address, bytes) that stand in its flash besides.
        plugin: of QEMU, as its option ``-plugin`` takes it; "": none.

    Raises: UsageError: this emulator does not have the board. ToolError: it is not installed, or
        does not start.
    """
    if board.emulator != kind:
        raise UsageError(
            f"{kind}:{board.name}: {kind} does not have this board; use "
            + (f"{board.emulator}:{board.name}" if board.emulator else "serial:PORT")
        )
    if kind == "qemu":
        return Qemu(board, image, contents, plugin=plugin)
    return Rp2040js(image, contents)


def missing_tool(board: Board) -> str | None:
    """What is not installed of what the board's emulation needs, and how to install it."""
    compiler = missing_compiler(board)
    if compiler is not None:
        return compiler
    name, package = PROGRAMS[board.core.family]
    if board.qemu is not None and shutil.which(name) is None:
        return f"{name} is not installed: apt-get install {package}"
    if board.rp2040js is not None:
        try:
            find_rp2040js()
        except ToolError as error:
            return str(error)
    return None


def emulated_targets() -> tuple[str, ...]:
    """All boards that run here, as ``KIND:BOARD``."""
    boards = [board for board in load_boards() if board.emulator is not None]
    return tuple(f"{b.emulator}:{b.name}" for b in boards if missing_tool(b) is None)
