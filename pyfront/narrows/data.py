# SPDX-License-Identifier: Apache-2.0
"""What goes into a network: pictures, arrays, data sets; and the names of what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.arrays import StoredArray, load_array, stored_arrays
from narrows.blob import Blob
from narrows.errors import InputError
from narrows.files import read_file
from narrows.graph.edges import Array, HostEdge, channels_last, conform
from narrows.graph.preprocessing import Preprocessing
from narrows.graph.sequences import frames
from narrows.pictures import PICTURES, load_picture

__all__ = [
    "PICTURES",
    "Dataset",
    "Item",
    "Preprocessing",
    "dataset_files",
    "load_array",
    "load_dataset",
    "load_input",
    "load_labels",
    "load_sequence",
]

Item: TypeAlias = "Path | Array"

_FILES = (*PICTURES, ".npy")
_LABELS_FILES = ("labels.txt", "labels.csv")


def load_input(
    edge: HostEdge, preprocessing: Preprocessing | None, item: Item, name: str = "array"
) -> Array:
    """A picture, an .npy file or an array -> what the model takes.

    An array of uint8 that is not the input's own type is a picture, [height, width] or [height,
    width, channels], if the model says how pictures are prepared.

    Args:
        name: what errors call an array.

    Returns: the edge's dtype and shape.

    Raises: InputError: cannot be read, or does not fit.
    """
    return conform(edge, *_read(edge, preprocessing, item, name))


def load_sequence(blob: Blob, number: int, item: Item, name: str = "array") -> list[Array]:
    """As ``load_input`` for an input of a blob, and what it takes in one inference after the other
    if it goes on: a sequence is an array with a dimension before all others or, of a stream, with
    any number of rows; a picture is a stream's window.

    Returns: for each inference the edge's dtype and shape.

    Raises: InputError: cannot be read, or does not fit.
    """
    edge, stream = blob.inputs[number], blob.stream
    if not blob.goes_on:
        return [load_input(edge, blob.preprocessing, item, name)]
    window = edge if stream is None else replace(edge, shape=stream.shapes[number])
    values, name = _read(window, blob.preprocessing, item, name)
    return frames(edge, values, name, stream, number)


def _read(
    edge: HostEdge, preprocessing: Preprocessing | None, item: Item, name: str
) -> tuple[Array, str]:
    """An array as a user has it, or of a picture what the model takes; and what errors call it."""
    if isinstance(item, Path):
        name = str(item)
        if item.suffix.lower() == ".npy":
            item = load_array(item)
    own = isinstance(item, np.ndarray) and (
        preprocessing is None or item.dtype != np.uint8 or edge.dtype == "uint8"
    )
    if not own:
        if isinstance(item, np.ndarray):
            item = channels_last(edge, item)
        item = load_picture(edge, preprocessing, item, name)
    assert isinstance(item, np.ndarray)
    return item, name


def load_labels(path: str | Path) -> tuple[str, ...]:
    """Class names, one per line, class 0 first. Raises: InputError, NarrowsError."""
    return tuple(_lines(path, "labels"))


def _lines(path: str | Path, what: str) -> list[str]:
    try:
        return read_file(path, what).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {what} are text in UTF-8, one per line") from error


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
    """labels: class numbers, one for each item; None if unknown. name: where it comes from."""

    items: Items
    labels: npt.NDArray[np.int64] | None
    name: str = "data"

    def first(self, count: int) -> Dataset:
        """As many items from the beginning, if there are."""
        labels = None if self.labels is None else self.labels[:count]
        return Dataset(_First(self.items, count), labels, self.name)

    def name_of(self, number: int) -> str:
        """What errors call an item that is no file of its own."""
        return f"{self.name}: item {number}"


def load_dataset(path: Path, classes: Sequence[str] = (), *, labelled: bool = True) -> Dataset:
    """Inputs with the classes that they belong to.

    Args:
        path: an .npz file with ``x`` [n, ...] and ``y`` [n]; an .npy file with ``x``; a picture;
            or a folder. That has a folder of pictures or .npy files per class; or
            such files and a labels file, labels.txt or labels.csv, with a line for each: the
            file's name, a comma, tab or blank, and its class; or such files alone, whose classes
            are unknown.
        classes: names of the classes, in order. Other names than these must be class numbers,
            or, if none is, stand for classes in their own order.
        labelled: whether ``y`` is read.

    Raises: InputError.
    """
    if path.is_dir():
        dataset = _folder(path, classes)
    elif path.suffix.lower() in PICTURES and path.exists():
        dataset = Dataset([path], None)
    else:
        dataset = _arrays(path, labelled)
    return _filled(path, replace(dataset, name=str(path)))


def load_inputs(path: Path, names: Sequence[str]) -> list[Dataset]:
    """Items for each input of a model, without classes.

    Args:
        path: as load_dataset takes it; for several inputs an .npz file with an array [n, ...] for
            each, by the inputs' names or else in their order.
        names: of the inputs.

    Raises: InputError.
    """
    if len(names) == 1:
        return [load_dataset(path, labelled=False)]
    arrays = {} if path.is_dir() else stored_arrays(path)
    found = [arrays.get(name, arrays.get(name.removesuffix(":0"))) for name in names]
    if not any(found):
        others = [array for name, array in arrays.items() if name != "y"]
        found = list(others) if len(others) == len(names) else found
    chosen = [array for array in found if array is not None]
    if len(chosen) < len(names):
        raise InputError(
            f"{path}: the model has inputs {', '.join(names)}; give an .npz file with an array for "
            "each, by these names"
        )
    if len({len(array) for array in chosen}) != 1:
        counts = ", ".join(f"{len(a)} of {n}" for a, n in zip(chosen, names, strict=True))
        raise InputError(f"{path}: not as many items of each input: {counts}")
    named = zip(chosen, names, strict=True)
    return [_filled(path, Dataset(array, None, f"{path}: {name}")) for array, name in named]


def _filled(path: Path, dataset: Dataset) -> Dataset:
    if len(dataset.items) == 0:
        raise InputError(
            f"{path}: nothing in it; a data set is an .npz with x and y, an .npy, or a folder of "
            "pictures with labels.txt or a folder per class"
        )
    return dataset


def dataset_files(path: str | Path) -> Iterator[Path]:
    """The files that ``load_dataset`` and its items may read, as long as they exist."""
    path = Path(path)
    yield path
    if path.is_dir():
        yield from path.glob("*")
        yield from path.glob("*/*")
        for name in _LABELS_FILES:
            if (path / name).is_file():
                yield from (file for file, _ in _entries(path / name))


def _arrays(path: Path, labelled: bool) -> Dataset:
    arrays = stored_arrays(path)
    x, y = arrays.get(None, arrays.get("x")), arrays.get("y") if labelled else None
    if x is None:
        raise InputError(f"{path}: has no array x; an .npz data set has x and y")
    return Dataset(x, None if y is None else _labels(y, len(x)))


def _labels(y: StoredArray, count: int) -> npt.NDArray[np.int64]:
    if y.shape != (count,) or not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"{y.path}: y is not one class number for each of x")
    return np.concatenate([np.empty(0, y.dtype), *y.blocks()]).astype(np.int64)


def _folder(path: Path, classes: Sequence[str]) -> Dataset:
    for name in _LABELS_FILES:
        if (path / name).is_file():
            return _listed(path / name, classes)
    loose = _files(path)
    folders = sorted(e for e in path.iterdir() if e.is_dir() and not e.name.startswith("."))
    if not folders:
        return Dataset(loose, None)
    if loose:
        raise InputError(
            f"{path}: {loose[0].name} stands beside folders, such as {folders[0].name}; put it "
            "into one, or write a labels.txt with the class of every file"
        )
    numbers = _class_numbers(path, [folder.name for folder in folders], classes)
    found = [(entry, numbers[folder.name]) for folder in folders for entry in _files(folder)]
    labels = np.array([number for _, number in found], np.int64)
    return Dataset([entry for entry, _ in found], labels)


def _files(folder: Path) -> list[Path]:
    return [
        e
        for e in sorted(folder.iterdir())
        if e.suffix.lower() in _FILES and not e.name.startswith(".")
    ]


def _listed(path: Path, classes: Sequence[str]) -> Dataset:
    """What a labels file names, in its order."""
    found = list(_entries(path))
    numbers = _class_numbers(path, sorted({name for _, name in found}), classes)
    labels = np.array([numbers[name] for _, name in found], np.int64)
    return Dataset([file for file, _ in found], labels)


def _entries(path: Path) -> Iterator[tuple[Path, str]]:
    """The files and classes of a labels file. A first line that names no such file is a heading."""
    for number, line in enumerate(_lines(path, "labels")):
        if not line.strip():
            continue
        separator = next((s for s in ",\t" if s in line), None)
        name, *rest = (part.strip().strip('"') for part in line.split(separator, 1))
        if number == 0 and Path(name).suffix.lower() not in _FILES:
            continue
        file = path.parent / name
        if not rest or not rest[0] or file.suffix.lower() not in _FILES:
            raise InputError(
                f"{path}: line {number + 1}: {line.strip()[:80]!r} is not a picture or .npy file "
                "and its class"
            )
        if not file.is_file():
            raise InputError(f"{path}: line {number + 1}: there is no {name}")
        yield file, rest[0]


def _class_numbers(path: Path, names: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """names: sorted, as folders or a labels file have them."""
    known = {name: i for i, name in enumerate(classes)}
    strange = [name for name in names if name not in known]
    if strange and all(name.isdecimal() for name in names):
        return {name: int(name) for name in names}
    if not strange:
        return {name: known[name] for name in names}
    if len(strange) < len(names):
        raise InputError(f"{path}: {strange[0]} is none of the model's classes, but others are")
    return {name: i for i, name in enumerate(names)}
