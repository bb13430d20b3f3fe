# SPDX-License-Identifier: Apache-2.0
"""The bootloader in the ROM of STM32 chips (AN3155), by the package stm32loader."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator, Sequence
from typing import Any

from narrows.errors import LinkError, ToolError
from narrows.flash.contents import total_bytes
from narrows.flash.tool import Job, Tool
from narrows.link.line import open_port

_PIECE_BYTES = 256
# Erasing as many of the slowest sectors ends before the package's patience does.
_SECTORS_AT_ONCE = 8
_SILENCE_SECONDS = 5.0
_BAUD = 115_200


def _obstacle(job: Job) -> str | None:
    if importlib.util.find_spec("stm32loader") is None:
        return "stm32loader is not installed: pip install 'narrows[stm32]'"
    return None if job.port is not None else "stm32loader needs --port"


def _write(job: Job) -> str:
    stm32 = job.board.flash.stm32
    assert stm32 is not None
    sectors: set[int] = set()
    for address, data in job.segments:
        try:
            sectors |= set(stm32.sectors_of(address, address + len(data)))
        except ValueError as error:
            raise ToolError(
                f"board {job.board.name}: flash.stm32: {address:#x} to "
                f"{address + len(data):#x} is {error}"
            ) from error
    with _bootloader(job) as loader:
        found = loader.get_id()
        if found != stm32.chip_id:
            raise ToolError(
                f"{job.port}: a chip with ID {found:#x} answers, but board {job.board.name} has "
                f"{stm32.chip_id:#x}; is it the right board?"
            )
        _erase(job, loader, sorted(sectors))
        _program(job, loader)
        _verify(job, loader)
        # Where BOOT0 is set by hand, a reset would lead to the bootloader again.
        loader.go(job.board.code.base)
        loader.connection.enable_boot0(False)
    return str(job.port)


@contextlib.contextmanager
def _bootloader(job: Job) -> Iterator[Any]:
    """One that answers. Raises: ToolError, LinkError: it does not, or no longer."""
    from stm32loader.bootloader import Stm32Bootloader, Stm32LoaderError
    from stm32loader.uart import SerialConnection

    class Connection(SerialConnection):  # type: ignore[misc]
        """Lines for reset and BOOT0 are not there on every port."""

        def enable_reset(self, enable: bool = True) -> None:
            with contextlib.suppress(OSError):
                super().enable_reset(enable)

        def enable_boot0(self, enable: bool = True) -> None:
            with contextlib.suppress(OSError):
                super().enable_boot0(enable)

    assert job.port is not None
    connection = Connection(job.port, _BAUD)
    connection.serial_connection = open_port(job.port, _BAUD)
    try:
        _set_even_parity(connection.serial_connection)
        connection.timeout = _SILENCE_SECONDS
        loader = Stm32Bootloader(connection, verbosity=0)
        with _quiet():
            loader.reset_from_system_memory()
        loader.get()
        yield loader
    except (Stm32LoaderError, IndexError) as error:  # IndexError: silence in the midst of an answer
        raise ToolError(
            f"{job.port}: the STM32 bootloader fails ({error}); start it: BOOT0 high, then reset; "
            "and is the flash unprotected?"
        ) from error
    except OSError as error:
        raise LinkError(f"{job.port}: the connection is gone: {error}") from error
    finally:
        connection.disconnect()


def _quiet() -> contextlib.AbstractContextManager[object]:
    """The package prints what it is patient with, which the progress says."""
    return contextlib.redirect_stderr(io.StringIO())


def _set_even_parity(port: Any) -> None:
    """A terminal that stands for a port elsewhere has no parity of its own; who is at its other end
    sets it."""
    try:
        port.parity = "E"
    except Exception as error:
        if type(error).__module__ != "termios":  # which Windows does not have
            raise
        port.parity = "N"


def _erase(job: Job, loader: Any, sectors: Sequence[int]) -> None:
    for at in range(0, len(sectors), _SECTORS_AT_ONCE):
        job.progress(f"erasing {job.port}", at / len(sectors))
        with _quiet():
            loader.erase_memory(list(sectors[at : at + _SECTORS_AT_ONCE]))


def _program(job: Job, loader: Any) -> None:
    done, whole = 0, total_bytes(job.segments)
    for address, data in job.segments:
        for at in range(0, len(data), _PIECE_BYTES):
            piece = data[at : at + _PIECE_BYTES]
            loader.write_memory(address + at, piece)
            done += len(piece)
            job.progress(f"writing to {job.port}", done / whole)


def _verify(job: Job, loader: Any) -> None:
    done, whole = 0, total_bytes(job.segments)
    for address, data in job.segments:
        for at in range(0, len(data), _PIECE_BYTES):
            piece = data[at : at + _PIECE_BYTES]
            if bytes(loader.read_memory(address + at, len(piece))) != piece:
                raise ToolError(
                    f"{job.port}: the flash at {address + at:#010x} holds other bytes than were "
                    "written; is it worn out or write-protected?"
                )
            done += len(piece)
            job.progress(f"reading back from {job.port}", done / whole)


STM32LOADER = Tool("stm32loader", _obstacle, _write)
