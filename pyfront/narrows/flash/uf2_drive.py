# SPDX-License-Identifier: Apache-2.0
"""Bootloaders that take UF2 files, and show themselves as a USB drive."""

from __future__ import annotations

import contextlib
import os
import string
import sys
from collections.abc import Iterator
from pathlib import Path

from narrows.errors import ToolError
from narrows.flash.formats import uf2_file
from narrows.flash.tool import Job, Tool

INFO = "INFO_UF2.TXT"
_FILE = "narrows.uf2"
_MOST_INFO_BYTES = 4096
_PIECE_BYTES = 64 * 1024


def read_board_id(drive: Path) -> str | None:
    """The Board-ID that a drive names; None if it is no drive of a bootloader."""
    try:
        with (drive / INFO).open("rb") as stream:
            lines = stream.read(_MOST_INFO_BYTES).decode("ascii", "replace").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip().lower() == "board-id":
            return value.strip()
    return None


def find_drives() -> dict[Path, str]:
    """All drives of bootloaders that are mounted, with the Board-ID of each."""
    found = {drive: read_board_id(drive) for drive in _mounted()}
    return {drive: name for drive, name in found.items() if name is not None}


def _mounted() -> Iterator[Path]:
    if sys.platform == "win32":
        yield from (Path(f"{letter}:\\") for letter in string.ascii_uppercase)
    elif sys.platform == "darwin":
        yield from Path("/Volumes").glob("*")
    else:
        with contextlib.suppress(OSError):
            for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
                # Spaces in the names of folders are written as octal numbers there.
                place = line.split()[1].replace("\\040", " ")
                if line.startswith("/dev/"):
                    yield Path(place)


def _obstacle(job: Job) -> str | None:
    uf2 = job.board.flash.uf2
    if uf2 is None:
        return f"board {job.board.name} takes no UF2 files"
    if job.port is not None and Path(job.port).is_dir():
        found = read_board_id(Path(job.port))
        if found is None:
            return f"{job.port}: no drive of a UF2 bootloader, which has a file {INFO}"
        if found != uf2.board_id:
            return f"{job.port}: the drive of board {found!r}, not of {uf2.board_id!r}"
        return None
    drives = find_drives()
    fitting = [str(drive) for drive, name in drives.items() if name == uf2.board_id]
    if len(fitting) > 1:
        return f"drives of several boards: {', '.join(fitting)}; give one as --port"
    others = ", ".join(f"{drive} of {name!r}" for drive, name in drives.items())
    if not fitting:
        return (
            f"no drive of a UF2 bootloader with Board-ID {uf2.board_id!r}"
            f"{f' (there is {others})' if others else ''}; plug the board in with its BOOT button "
            "held, or press its reset button twice"
        )
    return None


def _write(job: Job) -> str:
    """The board restarts by itself once it has all blocks, and its drive goes away."""
    uf2 = job.board.flash.uf2
    assert uf2 is not None
    drive = (
        Path(job.port)
        if job.port is not None and Path(job.port).is_dir()
        else next(place for place, name in find_drives().items() if name == uf2.board_id)
    )
    file = uf2_file(job.segments, job.board)
    written = 0
    try:
        handle = os.open(drive / _FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            while written < len(file):
                written += os.write(handle, file[written : written + _PIECE_BYTES])
                job.progress(f"writing to {drive}", written / len(file))
            _flush(handle, drive)
        except BaseException:  # a part of it is of no use to anybody, least of all after Ctrl-C
            with contextlib.suppress(OSError):
                os.unlink(drive / _FILE)
            raise
        finally:
            with contextlib.suppress(OSError):
                os.close(handle)
    except OSError as error:
        raise ToolError(
            f"{drive}: cannot be written behind byte {written:,} of {len(file):,}: "
            f"{error.strerror}; connect the board anew and try again"
        ) from error
    return str(drive)


def _flush(handle: int, drive: Path) -> None:
    """Out of this machine's memory. A drive that has everything may be gone before it says so."""
    try:
        os.fsync(handle)
    except OSError:
        if read_board_id(drive) is not None:
            raise


UF2_DRIVE = Tool("uf2", _obstacle, _write)
