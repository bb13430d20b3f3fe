# SPDX-License-Identifier: Apache-2.0
"""Which tool writes a board."""

from __future__ import annotations

from narrows.errors import ToolError, UsageError
from narrows.flash.esptool import ESPTOOL
from narrows.flash.openocd import OPENOCD
from narrows.flash.pyocd import PYOCD
from narrows.flash.stm32 import STM32LOADER
from narrows.flash.tool import Job, Tool
from narrows.flash.uf2_drive import UF2_DRIVE

TOOLS = {tool.name: tool for tool in (PYOCD, OPENOCD, UF2_DRIVE, STM32LOADER, ESPTOOL)}


def choose_tool(job: Job, name: str | None = None) -> Tool:
    """The one that is asked for, or the first of the board's that can begin.

    Raises: UsageError: it does not fit the board, or none does. ToolError: what keeps it, or each,
        from beginning.
    """
    board = job.board
    fitting = board.flash.tools
    if not fitting:
        raise UsageError(
            f"board {board.name}: its file names no tool that writes it (flash.tools); a model "
            "goes over the link, with --port, once the firmware runs there"
        )
    if name is not None:
        if name not in fitting:
            raise UsageError(f"board {board.name}: --via {name}: give {' or '.join(fitting)}")
        obstacle = TOOLS[name].obstacle(job)
        if obstacle is not None:
            raise ToolError(f"board {board.name}: {obstacle}")
        return TOOLS[name]
    obstacles = []
    for known in fitting:
        obstacle = TOOLS[known].obstacle(job)
        if obstacle is None:
            return TOOLS[known]
        obstacles.append(f"{known}: {obstacle}")
    raise ToolError(f"board {board.name}: no tool can write it ({'; '.join(obstacles)})")
