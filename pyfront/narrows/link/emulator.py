# SPDX-License-Identifier: Apache-2.0
"""A program that runs a board's firmware, its UART on a TCP socket, and never outlives us."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, TypeAlias, TypeVar

from narrows.errors import ToolError

# Bounds on what takes a moment, even on a busy machine: if the program hangs, they end the
# waiting.
START_SECONDS = 120.0
_END_SECONDS = 10.0
# Runs before the program, in its process: asks the kernel to kill it when the thread that has
# started it ends, for whatever reason, and makes sure that this has not happened already.
_TRAMPOLINE = """
import ctypes, os, sys
if ctypes.CDLL(None, use_errno=True).prctl(1, 9, 0, 0, 0) != 0 or os.getppid() != int(sys.argv[1]):
    sys.exit("cannot be tied to its parent")
os.execv(sys.argv[2], sys.argv[2:])
"""
_WAITING = "waiting for connection"

Inherited: TypeAlias = "IO[bytes] | socket.socket"
AnyEmulator = TypeVar("AnyEmulator", bound="Emulator")


class Emulator:
    """An emulator that waits for someone to connect to its board's UART before it runs anything.

    Args:
        name: what errors call the program.
        command: the program's absolute path and its arguments. It chooses a free port and prints
            a line with "waiting for connection" and "tcp:127.0.0.1:PORT".
        files: open files and sockets that it inherits; closed here once it has ended.
        environment: variables that it gets besides those of this process.

    A context manager; leaving it ends the program. So does the end of this process, SIGKILL
    included.

    Raises: ToolError: the program does not start.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        files: Sequence[Inherited] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if os.name == "nt":
            raise ToolError(
                f"{name} is driven on Linux and macOS alone; on Windows run narrows in WSL"
            )
        self._name = name
        with contextlib.ExitStack() as stack:
            for file in files:
                stack.enter_context(file)
            self._log = stack.enter_context(tempfile.TemporaryFile())
            self._process: subprocess.Popen[bytes] | None = None
            self._failure: OSError | None = None
            self._started = threading.Event()
            inherited = [file.fileno() for file in files]
            variables = {**os.environ, **(environment or {})}
            # The kernel's tie is to a thread, so this one stays as long as the program does.
            self._thread = threading.Thread(
                target=self._run, args=(command, inherited, variables), daemon=True
            )
            self._thread.start()
            stack.callback(self._end)
            self._started.wait()
            self.url = f"socket://127.0.0.1:{self._wait_for_port()}"
            self._cleanup = stack.pop_all()

    @property
    def pid(self) -> int:
        """The process id of the program."""
        assert self._process is not None
        return self._process.pid

    def failure(self) -> str | None:
        """What the program said when it ended by itself; None if it runs.

        To be asked once the line is broken, which is noticed a moment before the end of the
        process that held it.
        """
        self._thread.join(_END_SECONDS)
        if self._thread.is_alive():
            return None
        last_words = [line for line in self._said() if _WAITING not in line]
        return " ".join(last_words) or "without a word"

    def has_ended(self, seconds: float) -> bool:
        """Whether the program has ended by itself, or does so within some seconds."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def close(self) -> None:
        """End the program."""
        self._cleanup.close()

    def __enter__(self: AnyEmulator) -> AnyEmulator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(
        self, command: Sequence[str], inherited: Sequence[int], variables: Mapping[str, str]
    ) -> None:
        trampoline = [sys.executable, "-I", "-S", "-c", _TRAMPOLINE, str(os.getpid())]
        try:
            self._process = subprocess.Popen(
                [*trampoline, *command],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=inherited,
                env=variables,
                start_new_session=True,
            )
        except OSError as error:
            self._failure = error
        finally:
            self._started.set()
        if self._process is not None:
            self._process.wait()

    def failed(self, otherwise: str) -> ToolError:
        """The error for a program that has ended: its own words, or other ones without any."""
        self._thread.join(_END_SECONDS)
        said = " ".join(self._said())
        return ToolError(f"{self._name} does not start: {said or self._failure or otherwise}")

    def _wait_for_port(self) -> int:
        """The program chooses a free port and tells."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            said = " ".join(self._said())
            if match := re.search(rf"{_WAITING}.*tcp:127\.0\.0\.1:(\d+)", said):
                return int(match.group(1))
            if not self._thread.is_alive():
                raise self.failed(str(self._failure))
            time.sleep(0.005)
        raise ToolError(f"{self._name} does not start within {START_SECONDS:.0f} s")

    def _said(self) -> list[str]:
        if sys.platform == "win32":
            return []
        size = os.fstat(self._log.fileno()).st_size
        lines = os.pread(self._log.fileno(), size, 0).decode("utf-8", "replace").split("\n")
        return [line.strip() for line in lines if line.strip()]

    def _end(self) -> None:
        self._started.wait()
        if self._process is not None:
            self._process.kill()
        self._thread.join()


def unnamed_file(data: bytes) -> IO[bytes]:
    """A file for ``Emulator`` that nothing can leave behind, because it has no name."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  the emulator closes it
    try:
        file.write(data)
        file.flush()
    except OSError:
        file.close()
        raise
    return file


def path_of(file: IO[bytes]) -> str:
    """Where the program finds an inherited file."""
    return f"/dev/fd/{file.fileno()}"
