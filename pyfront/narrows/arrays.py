# SPDX-License-Identifier: Apache-2.0
"""Arrays in .npy and .npz files; the large ones are read a piece at a time.

A member of an .npz archive is an .npy file, packed or not: both are streams with a header in
front, and no more than a piece of one is ever in memory.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from narrows.errors import InputError
from narrows.graph.edges import Array

_MAGIC_OF_ZIP = b"PK"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
# No input of a microcontroller is larger; an item has to fit the memory.
_MOST_ITEM_BYTES = 1 << 28
_BLOCK_BYTES = 1 << 18


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An array [n, ...] in a file. member: of an .npz archive; None if the file is an .npy.

    Iterating gives its items, read-only, from the file anew each time.
    """

    path: Path
    member: str | None
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def item_bytes(self) -> int:
        """Of one of the n."""
        return self.dtype.itemsize * prod(self.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        """Raises: InputError: the file is damaged."""
        for block in self.blocks():
            yield from block

    def blocks(self) -> Iterator[Array]:
        """A few items at a time, [some, ...]. Raises: InputError: the file is damaged."""
        most = max(1, _BLOCK_BYTES // self.item_bytes)
        with ExitStack() as stack:
            with _reading(self.path):
                stream, _ = stack.enter_context(_opened(self.path, self.member))
                _header(stream)
            for first in range(0, len(self), most):
                count = min(most, len(self) - first)
                with _reading(self.path):
                    data = stream.read(count * self.item_bytes)
                    block = np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])
                yield block


def stored_arrays(path: Path) -> dict[str | None, StoredArray]:
    """What a file holds, by name; an .npy file holds one array, named None. Reads headers only.

    Raises: InputError: the file cannot be read, or an array not in pieces.
    """
    with _reading(path):
        with path.open("rb") as file:
            archived = file.read(2) == _MAGIC_OF_ZIP
        if not archived:
            return {None: _stored(path, None)}
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".npy")]
        return {name.removesuffix(".npy"): _stored(path, name) for name in members}


def load_array(path: Path) -> Array:
    """An .npy file as a whole. Raises: InputError."""
    with _reading(path):
        values = np.load(path, allow_pickle=False)
        if isinstance(values, np.ndarray):
            return values
        values.close()
        raise InputError(f"{path}: holds several arrays; give an .npy file with one")


def _stored(path: Path, member: str | None) -> StoredArray:
    with _opened(path, member) as (stream, size):
        shape, fortran, dtype = _header(stream)
        array = StoredArray(path, member, shape, dtype)
        broken = None
        if not shape or min(shape) < 0:
            broken = f"has shape {shape}; give an array of items"
        elif dtype.hasobject:
            broken = "holds Python objects; save it as numbers"
        elif fortran and len(shape) > 1:
            broken = "is in Fortran order; save numpy.ascontiguousarray of it"
        elif not 0 < array.item_bytes <= _MOST_ITEM_BYTES:
            broken = f"has items of {array.item_bytes} bytes; no input is like that"
        elif len(array) * array.item_bytes > size - stream.tell():
            broken = "ends before its last item; write it anew"
        if broken is not None:
            name = path if member is None else f"{path}: {member}"
            raise InputError(f"{name} {broken}")
        return array


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, dtype; leaves the stream at the first value."""
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the format; save plain numbers")
    shape, fortran, dtype = _HEADERS[version](stream)
    return shape, fortran, dtype


@contextmanager
def _opened(path: Path, member: str | None) -> Iterator[tuple[IO[bytes], int]]:
    """The bytes of an .npy file, wherever it stands, and how many there are."""
    if member is None:
        with path.open("rb") as file:
            yield file, os.fstat(file.fileno()).st_size
    else:
        with zipfile.ZipFile(path) as archive, archive.open(member) as packed:
            yield packed, archive.getinfo(member).file_size


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever a damaged file makes its readers raise into an InputError."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a readable .npy or .npz file: {reason}") from error
