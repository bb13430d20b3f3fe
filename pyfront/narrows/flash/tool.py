# SPDX-License-Identifier: Apache-2.0
"""What all tools that write a chip from outside have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from narrows.boards import Board
from narrows.link.image import Segment
from narrows.result import Progress, no_progress


@dataclass(frozen=True)
class Job:
    """What is to be written, and where.

    segments: apart from each other; sectors that they do not touch stay as they are.
    port: serial port, or the folder of a UF2 drive; probe: serial number of a debug probe, or a
        part of it. None: the only one that there is.
    """

    board: Board
    segments: Sequence[Segment]
    port: str | None = None
    probe: str | None = None
    progress: Progress = no_progress


@dataclass(frozen=True)
class Tool:
    """obstacle: why it cannot begin, with what to do; None if it can. write: does the job, checks
    what was written, starts the firmware, and says where it has written.

    Both raise ToolError; write also LinkError, for a port.
    """

    name: str
    obstacle: Callable[[Job], str | None]
    write: Callable[[Job], str]
