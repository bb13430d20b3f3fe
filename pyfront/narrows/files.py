# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from narrows.errors import NarrowsError

Identity: TypeAlias = tuple[object, ...]
"""Equal for two paths if and only if they lead to one file."""

NEW_FILE_MODE = 0o666
"""The mode of a new file, before the umask takes away what it does."""

# A trial writes this much, because an empty file fits on a full disk.
_TRIAL_BYTES = 4096


def read_file(path: str | Path, what: str) -> bytes:
    """All bytes of a file. what: what it should be, for the error. Raises: NarrowsError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise NarrowsError(f"{path}: cannot read the {what}: {error.strerror}") from error


def file_identity(path: str | Path) -> Identity | None:
    """By device and number, through links of both kinds; by folder and name for a file that does
    not exist yet; None for a character device, which keeps nothing that could be lost."""
    try:
        found = os.stat(path)
    except OSError:
        target = Path(os.path.realpath(path))
        return (file_identity(target.parent), _folded(target)) if target.parent.is_dir() else None
    return None if stat.S_ISCHR(found.st_mode) else (found.st_dev, found.st_ino)


def try_place(path: str | Path) -> None:
    """Find out whether ``write_file`` can write there, and leave everything as it is.

    Raises: NarrowsError: there is no such folder, it cannot be written, the disk is full.
    """
    with _reported(path):
        target, found = _place(Path(path))
        if found is not None and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "it is read-only")
        if found is None or stat.S_ISREG(found.st_mode):
            with _beside(target) as (_, stream):
                _write(stream, bytes(_TRIAL_BYTES))


def write_file(path: str | Path, data: bytes, mode: int = NEW_FILE_MODE) -> None:
    """Write a file whole or not at all: beside it first, then renamed into its place.

    A symbolic link is followed and stays. A new file has the mode given, without what the umask
    takes away; a file that was there hands its mode on, and its owner
    where that is allowed. Devices and pipes, which nothing can replace, are written directly.

    Raises: NarrowsError: the disk is full, the folder cannot be written.
    """
    with _reported(path):
        target, found = _place(Path(path))
        if found is not None and not stat.S_ISREG(found.st_mode):
            with target.open("wb") as stream:
                stream.write(data)
            return
        with _beside(target, mode) as (temporary, stream):
            if found is not None and sys.platform != "win32":
                with contextlib.suppress(PermissionError):
                    os.fchown(stream.fileno(), found.st_uid, found.st_gid)
                os.fchmod(stream.fileno(), stat.S_IMODE(found.st_mode))
            _write(stream, data)
            stream.close()  # Windows renames no open file.
            os.replace(temporary, target)


@contextmanager
def _reported(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NarrowsError(
            f"{path}: cannot be written: {error.strerror}; choose another place or make room"
        ) from error


def _place(path: Path) -> tuple[Path, os.stat_result | None]:
    """Where to write, and what is there: a file (symbolic links lead to it), a device or a pipe.

    Raises: OSError: nothing can be written there.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        found = None
    if found is None or stat.S_ISREG(found.st_mode):
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"there is no folder {target.parent}")
        return target, found
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.ENXIO, "it is a socket")
    return path, found


@contextmanager
def _beside(target: Path, mode: int = NEW_FILE_MODE) -> Iterator[tuple[Path, io.FileIO]]:
    """A new file in the same folder; gone in the end, unless it was renamed."""
    temporary = target.parent / f".narrows-{secrets.token_hex(8)}"
    try:  # an interrupt may come before os.open gives the file that it has made
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with io.FileIO(handle, "wb") as stream:
            yield temporary, stream
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _write(stream: io.FileIO, data: bytes) -> None:
    """All of it, onto the disk."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(stream.fileno(), rest) :]
    os.fsync(stream.fileno())


def _folded(target: Path) -> str:
    """The name of a file that does not exist yet, as its folder tells names apart."""
    with contextlib.suppress(OSError), _beside(target) as (temporary, _):
        if temporary.with_name(temporary.name.upper()).exists():
            return target.name.casefold()
    return target.name
