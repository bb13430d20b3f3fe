# SPDX-License-Identifier: Apache-2.0
"""What goes into a network: pictures, arrays, data sets; and the names of what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.arrays import StoredArray, load_array, stored_arrays
from narrows.errors import InputError
from narrows.files import read_file
from narrows.graph.edges import Array, HostEdge, conform
from narrows.graph.preprocessing import Preprocessing
from narrows.pictures import PICTURES, load_picture

__all__ = [
    "PICTURES",
    "Dataset",
    "Item",
    "Preprocessing",
    "load_array",
    "load_dataset",
    "load_input",
    "load_labels",
]

Item: TypeAlias = "Path | Array"


def load_input(edge: HostEdge, preprocessing: Preprocessing | None, item: Item) -> Array:
    """A picture, an .npy file or an array -> what the model takes.

    Returns: the edge's dtype and shape.

    Raises: InputError: cannot be read, or does not fit.
    """
    if isinstance(item, np.ndarray):
        return conform(edge, item, "array")
    if item.suffix.lower() == ".npy":
        return conform(edge, load_array(item), str(item))
    return conform(edge, load_picture(edge, preprocessing, item), str(item))


def load_labels(path: str | Path) -> tuple[str, ...]:
    """Class names, one per line, class 0 first. Raises: InputError, NarrowsError."""
    try:
        return tuple(read_file(path, "labels").decode().splitlines())
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: labels are text in UTF-8, one per line") from error


class Items(Protocol):
    """Pictures' paths or arrays, read one after the other, and anew each time."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Item]: ...


@dataclass(frozen=True)
class _First:
    """The first items of some."""

    items: Items
    count: int

    def __len__(self) -> int:
        return min(self.count, len(self.items))

    def __iter__(self) -> Iterator[Item]:
        return islice(self.items, self.count)


@dataclass(frozen=True, eq=False)
class Dataset:
    """labels: class numbers, one for each item; None if unknown."""

    items: Items
    labels: npt.NDArray[np.int64] | None

    def first(self, count: int) -> Dataset:
        """As many items from the beginning, if there are."""
        labels = None if self.labels is None else self.labels[:count]
        return Dataset(_First(self.items, count), labels)


def load_dataset(path: Path, classes: Sequence[str] = ()) -> Dataset:
    """Inputs with the classes that they belong to.

    Args:
        path: an .npz file with ``x`` [n, ...] and ``y`` [n]; an .npy file with ``x``; or a
            folder with a folder of pictures or .npy files per class, or with such files
            themselves, whose classes are unknown.
        classes: names of the classes; a folder that has one of these names belongs to it,
            otherwise folders are numbered in order of their names.

    Raises: InputError.
    """
    dataset = _folder(path, classes) if path.is_dir() else _arrays(path)
    if len(dataset.items) == 0:
        raise InputError(
            f"{path}: nothing in it; a data set is an .npz with x and y, an .npy, or a folder "
            "with a folder of pictures per class"
        )
    return dataset


def _arrays(path: Path) -> Dataset:
    arrays = stored_arrays(path)
    x, y = arrays.get(None, arrays.get("x")), arrays.get("y")
    if x is None:
        raise InputError(f"{path}: has no array x; an .npz data set has x and y")
    return Dataset(x, None if y is None else _labels(y, len(x)))


def _labels(y: StoredArray, count: int) -> npt.NDArray[np.int64]:
    if y.shape != (count,) or not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"{y.path}: y is not one class number for each of x")
    return np.concatenate([np.empty(0, y.dtype), *y.blocks()]).astype(np.int64)


def _folder(path: Path, classes: Sequence[str]) -> Dataset:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir())
    if not folders:
        return Dataset(_files(path), None)
    names = [folder.name for folder in folders]
    numbers = {name: i for i, name in enumerate(classes if set(names) <= set(classes) else names)}
    found = [(entry, numbers[folder.name]) for folder in folders for entry in _files(folder)]
    labels = np.array([number for _, number in found], np.int64)
    return Dataset([entry for entry, _ in found], labels)


def _files(folder: Path) -> list[Path]:
    return [e for e in sorted(folder.iterdir()) if e.suffix.lower() in (*PICTURES, ".npy")]
