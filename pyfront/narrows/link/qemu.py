# SPDX-License-Identifier: Apache-2.0
"""QEMU with a board's firmware."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from narrows.boards import Board, Family
from narrows.errors import ToolError, UsageError
from narrows.link.emulator import START_SECONDS, Emulator, Inherited, path_of, unnamed_file

PROGRAMS = {
    Family.CORTEX_M: ("qemu-system-arm", "qemu-system-arm"),
    Family.RISCV: ("qemu-system-riscv32", "qemu-system-misc"),
}
"""QEMU's program for each family of cores, and the Debian package that has it."""

_POLL_SECONDS = 0.005
# A bound on what takes a moment, even on a busy machine.
_QUIT_SECONDS = 60.0


class Qemu(Emulator):
    """A board in QEMU that waits, halted, for someone to connect to its UART.

    Args:
        board: one that QEMU has.
        image: its firmware, an ELF file.
        contents: (address, bytes) that stand in memory from the start, such as a model in flash.
        count: one instruction per nanosecond of the board's time, so that they can be counted.
        plugin: a TCG plugin with its arguments, as QEMU's option ``-plugin`` takes it; "": none.

    A context manager; leaving it ends QEMU. So does the end of this process, SIGKILL included.

    Raises: ToolError: QEMU is not installed, or does not start. UsageError: not in QEMU.
    """

    def __init__(
        self,
        board: Board,
        image: Path,
        contents: Sequence[tuple[int, bytes]] = (),
        count: bool = True,
        plugin: str = "",
    ) -> None:
        if board.qemu is None:
            raise UsageError(f"board {board.name}: QEMU does not have it; use serial:PORT")
        name, package = PROGRAMS[board.core.family]
        program = shutil.which(name)
        if program is None:
            raise ToolError(f"{name} is not installed: apt-get install {package}")
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        command = [program, "-M", board.qemu.machine, "-display", "none", "-nodefaults", "-S"]
        command += ["-serial", "tcp:127.0.0.1:0,server=on,wait=off,nodelay=on"]
        command += ["-chardev", f"socket,id=control,fd={theirs.fileno()}"]
        command += ["-mon", "chardev=control,mode=control", "-kernel", str(image)]
        if count:
            command += ["-icount", "shift=0"]
        if plugin:
            command += ["-plugin", plugin]
        files: list[Inherited] = [theirs]
        for address, data in _pieces(board, contents):
            file = unnamed_file(data)
            files.append(file)
            place = f"file={path_of(file)},addr={address:#x}"
            command += ["-device", f"loader,{place},force-raw=on"]
        super().__init__(name, command, files)

    def reset(self) -> None:
        """Reset the board at once, whatever it does: as if by a moment without power, but that RAM
        keeps its contents."""
        self._ask("system_reset")

    def finish(self) -> None:
        """End QEMU in good order: plugins write what they have found.

        Raises: ToolError: it does not end.
        """
        self._ask("quit")
        if not self.has_ended(_QUIT_SECONDS):
            raise ToolError(f"{self._name} does not end within {_QUIT_SECONDS:.0f} s")

    def close(self) -> None:
        """End QEMU."""
        super().close()
        self._control.close()

    def _wait_for_port(self) -> int:
        """QEMU has chosen a port once the machine is whole; it is let go once someone connects. A
        byte that came earlier could be lost by the first reset of a UART."""
        self._replies = self._control.makefile("rb")
        self._control.settimeout(START_SECONDS)
        self._ask("qmp_capabilities")
        port = re.search(r"127\.0\.0\.1:(\d+)", self._serial_line())
        assert port is not None
        threading.Thread(target=self._let_go, daemon=True).start()
        return int(port.group(1))

    def _let_go(self) -> None:
        with contextlib.suppress(ToolError):  # it has ended
            while "<->" not in self._serial_line():
                time.sleep(_POLL_SECONDS)
            self._ask("cont")

    def _serial_line(self) -> str:
        """What QEMU says of the board's UART: where it listens, and who has connected."""
        lines = {line["label"]: line["filename"] for line in self._ask("query-chardev")}
        return str(lines["serial0"])

    def _ask(self, command: str) -> Any:
        """A command of QEMU's monitor (its QMP). Raises: ToolError: QEMU has ended."""
        with self._lock:
            try:
                self._control.sendall(json.dumps({"execute": command}).encode() + b"\n")
                for line in self._replies:
                    reply = json.loads(line)
                    if "return" in reply:
                        return reply["return"]
            except (OSError, ValueError) as error:
                raise self.failed(str(error)) from error
        raise self.failed("it has ended")


def _pieces(board: Board, contents: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """QEMU's loader takes no file that is larger than the machine's RAM, wherever it goes."""
    assert board.qemu is not None
    most = max(board.qemu.ram_bytes, board.ram.bytes)
    for address, data in contents:
        for at in range(0, len(data), most):
            yield address + at, data[at : at + most]
