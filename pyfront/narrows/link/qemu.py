# SPDX-License-Identifier: Apache-2.0
"""QEMU with a board's firmware."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from narrows.boards import Board, Family
from narrows.errors import ToolError, UsageError
from narrows.link.emulator import Emulator, path_of, unnamed_file

PROGRAMS = {
    Family.CORTEX_M: ("qemu-system-arm", "qemu-system-arm"),
    Family.RISCV: ("qemu-system-riscv32", "qemu-system-misc"),
}
"""Of each family of cores QEMU's program, and the Debian package that has it."""


class Qemu(Emulator):
    """A board in QEMU that waits, halted, for someone to connect to its UART.

    Args:
        board: one that QEMU has.
        image: its firmware, an ELF file.
        contents: (address, bytes) that stand in memory from the start, such as a model in flash.
        count: one instruction per nanosecond of the board's time, so that they can be counted.

    A context manager; leaving it ends QEMU. So does the end of this process, SIGKILL included.

    Raises: ToolError: QEMU is not installed, or does not start. UsageError: not in QEMU.
    """

    def __init__(
        self,
        board: Board,
        image: Path,
        contents: Sequence[tuple[int, bytes]] = (),
        count: bool = True,
    ) -> None:
        if board.qemu is None:
            raise UsageError(f"board {board.name}: QEMU does not have it; use serial:PORT")
        name, package = PROGRAMS[board.core.family]
        program = shutil.which(name)
        if program is None:
            raise ToolError(f"{name} is not installed: apt-get install {package}")
        command = [program, "-M", board.qemu.machine, "-display", "none", "-monitor", "none"]
        command += ["-serial", "tcp:127.0.0.1:0,server=on,wait=on,nodelay=on"]
        command += ["-kernel", str(image), "-nodefaults"]
        if count:
            command += ["-icount", "shift=0"]
        files = []
        for address, data in _pieces(board, contents):
            files.append(unnamed_file(data))
            place = f"file={path_of(files[-1])},addr={address:#x}"
            command += ["-device", f"loader,{place},force-raw=on"]
        super().__init__(name, command, files)


def _pieces(board: Board, contents: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """QEMU's loader takes no file that is larger than the machine's RAM, wherever it goes."""
    assert board.qemu is not None
    most = max(board.qemu.ram_bytes, board.ram.bytes)
    for address, data in contents:
        for at in range(0, len(data), most):
            yield address + at, data[at : at + most]
