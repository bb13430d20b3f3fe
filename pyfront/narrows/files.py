# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from narrows.errors import NarrowsError


def read_file(path: str | Path, what: str) -> bytes:
    """All bytes of a file. what: what it should be, for the error. Raises: NarrowsError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise NarrowsError(f"{path}: cannot read the {what}: {error.strerror}") from error


def write_file(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all: beside it first, then renamed into its place.

    Raises: NarrowsError: the disk is full, the folder cannot be written.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():  # a pipe or device cannot be replaced
            with path.open("wb") as stream:
                stream.write(data)
            return
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise NarrowsError(
            f"{path}: cannot be written: {error.strerror}; choose another place or make room"
        ) from error
