# SPDX-License-Identifier: Apache-2.0
"""QEMU with a board's firmware, its UART on a TCP socket; it never outlives this process."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from narrows.boards import Board, Family
from narrows.errors import ToolError, UsageError

PROGRAMS = {
    Family.CORTEX_M: ("qemu-system-arm", "qemu-system-arm"),
    Family.RISCV: ("qemu-system-riscv32", "qemu-system-misc"),
}
"""Of each family of cores QEMU's program, and the Debian package that has it."""
# Bounds on what takes a moment, even on a busy machine: if QEMU hangs, this ends the waiting.
_START_SECONDS = 120.0
_END_SECONDS = 10.0
# Runs before QEMU, in its process: asks the kernel to kill it when the thread that has started
# it ends, for whatever reason, and makes sure that this has not happened already.
_TRAMPOLINE = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).prctl(1, 9, 0, 0, 0) != 0 or os.getppid() != int(sys.argv[1]):
    sys.exit("cannot be tied to its parent")
os.execv(sys.argv[2], sys.argv[2:])
"""


def _pieces(board: Board, contents: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """QEMU's loader takes no file that is larger than the machine's RAM, wherever it goes."""
    assert board.qemu is not None
    most = max(board.qemu.ram_bytes, board.ram.bytes)
    for address, data in contents:
        for at in range(0, len(data), most):
            yield address + at, data[at : at + most]


class Qemu:
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
        self._name, package = PROGRAMS[board.core.family]
        program = shutil.which(self._name)
        if program is None:
            raise ToolError(f"{self._name} is not installed: apt-get install {package}")
        command = [program, "-M", board.qemu.machine, "-display", "none", "-monitor", "none"]
        command += ["-serial", "tcp:127.0.0.1:0,server=on,wait=on,nodelay=on"]
        command += ["-kernel", str(image), "-nodefaults"]
        if count:
            command += ["-icount", "shift=0"]
        inherited: list[int] = []
        with contextlib.ExitStack() as stack:
            for address, data in _pieces(board, contents):
                # Without a name: nothing to be left behind.
                file = stack.enter_context(tempfile.TemporaryFile())
                file.write(data)
                file.flush()
                inherited.append(file.fileno())
                place = f"file=/dev/fd/{file.fileno()},addr={address:#x}"
                command += ["-device", f"loader,{place},force-raw=on"]
            self._log = stack.enter_context(tempfile.TemporaryFile())
            self._process: subprocess.Popen[bytes] | None = None
            self._failure: OSError | None = None
            self._started = threading.Event()
            # The kernel's tie is to a thread, so this one stays as long as QEMU does.
            self._thread = threading.Thread(
                target=self._run, args=(command, inherited), daemon=True
            )
            self._thread.start()
            stack.callback(self._end)
            self._started.wait()
            self.url = f"socket://127.0.0.1:{self._wait_for_port()}"
            self._cleanup = stack.pop_all()

    @property
    def pid(self) -> int:
        """Of the QEMU process."""
        assert self._process is not None
        return self._process.pid

    def failure(self) -> str | None:
        """What QEMU said when it ended by itself; None if it runs.

        To be asked once the line is broken, which is noticed a moment before the end of the
        process that held it.
        """
        self._thread.join(_END_SECONDS)
        return None if self._thread.is_alive() else self._said() or "without a word"

    def close(self) -> None:
        """End QEMU."""
        self._cleanup.close()

    def __enter__(self) -> Qemu:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, command: list[str], inherited: list[int]) -> None:
        trampoline = [sys.executable, "-I", "-S", "-c", _TRAMPOLINE, str(os.getpid())]
        try:
            self._process = subprocess.Popen(
                trampoline + command,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=inherited,
                start_new_session=True,
            )
        except OSError as error:
            self._failure = error
        finally:
            self._started.set()
        if self._process is not None:
            self._process.wait()

    def _wait_for_port(self) -> int:
        """QEMU chooses a free port and tells."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            said = self._said()
            if match := re.search(r"waiting for connection.*tcp:127\.0\.0\.1:(\d+)", said):
                return int(match.group(1))
            if not self._thread.is_alive():
                raise ToolError(f"{self._name} does not start: {said or self._failure}")
            time.sleep(0.005)
        raise ToolError(f"{self._name} does not start within {_START_SECONDS:.0f} s")

    def _said(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        lines = os.pread(self._log.fileno(), size, 0).decode("utf-8", "replace").split("\n")
        return " ".join(line.strip() for line in lines if line.strip())

    def _end(self) -> None:
        self._started.wait()
        if self._process is not None:
            self._process.kill()
        self._thread.join()
