# SPDX-License-Identifier: Apache-2.0
"""What goes into a network and comes out: pictures, arrays, data sets.

How a picture becomes an input: it is resized (bilinear) to the input's height and width, as
grey for 1 channel, as RGB for 3. Then, if the input is uint8, its bytes are the pixels.
Otherwise real values follow from the blob's preprocessing; if it has none, from the size of
the input's quantization step: 1/255 means 0 to 1, 2/255 means -1 to 1, 1 means 0 to 255.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from narrows.blob import Preprocessing
from narrows.errors import InputError
from narrows.files import read_file
from narrows.graph.edges import Array, HostEdge, conform

Item: TypeAlias = "Path | Array"

PICTURES = (".bmp", ".jpg", ".jpeg", ".png", ".gif", ".webp", ".ppm", ".pgm")

# Quantization step -> (mean, scale) of pixels; a step counts if it is within 10%.
_CONVENTIONS = {1 / 255: (0.0, 1 / 255), 2 / 255: (127.5, 1 / 127.5), 1.0: (0.0, 1.0)}


def load_input(edge: HostEdge, preprocessing: Preprocessing | None, item: Item) -> Array:
    """A picture, an .npy file or an array -> what the model takes.

    Returns: the edge's dtype and shape.

    Raises: InputError: cannot be read, or does not fit.
    """
    if isinstance(item, np.ndarray):
        return conform(edge, item, "array")
    if item.suffix.lower() == ".npy":
        return conform(edge, load_array(item), str(item))
    return conform(edge, _picture(edge, preprocessing, item), str(item))


def load_array(path: Path) -> Array:
    """An .npy file. Raises: InputError."""
    values = _load(path)
    if not isinstance(values, np.ndarray):
        raise InputError(f"{path}: holds several arrays; give an .npy file with one")
    return values


def load_labels(path: str | Path) -> tuple[str, ...]:
    """Class names, one per line, class 0 first. Raises: InputError, NarrowsError."""
    try:
        return tuple(read_file(path, "labels").decode().splitlines())
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: labels are text in UTF-8, one per line") from error


@dataclass(frozen=True, eq=False)
class Dataset:
    """items: pictures' paths or arrays; labels: class numbers, or None if unknown."""

    items: Sequence[Item]
    labels: npt.NDArray[np.int64] | None


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
    values = _load(path)
    if isinstance(values, np.ndarray):
        return Dataset(list(values), None)
    if "x" not in values:
        raise InputError(f"{path}: has no array x; an .npz data set has x and y")
    labels = values.get("y")
    if labels is None:
        return Dataset(list(values["x"]), None)
    if labels.shape != values["x"].shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{path}: y is not one class number for each of x")
    return Dataset(list(values["x"]), labels.astype(np.int64))


def _folder(path: Path, classes: Sequence[str]) -> Dataset:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir())
    if not folders:
        return Dataset(_items(path), None)
    names = [folder.name for folder in folders]
    numbers = {name: i for i, name in enumerate(classes if set(names) <= set(classes) else names)}
    items = [(entry, numbers[folder.name]) for folder in folders for entry in _items(folder)]
    labels = np.array([number for _, number in items], np.int64)
    return Dataset([entry for entry, _ in items], labels)


def _items(folder: Path) -> list[Item]:
    return [e for e in sorted(folder.iterdir()) if e.suffix.lower() in (*PICTURES, ".npy")]


def _load(path: Path) -> Array | dict[str, Array]:
    try:
        values = np.load(path, allow_pickle=False)
        if isinstance(values, np.ndarray):
            return values
        with values:
            return {name: values[name] for name in values.files}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (ValueError, EOFError, MemoryError, zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: not a readable .npy or .npz file: {_line(error)}") from error


def _picture(edge: HostEdge, preprocessing: Preprocessing | None, path: Path) -> Array:
    """[height, width, channels]: uint8 pixels for uint8 edges, else real values."""
    if len(edge.shape) != 4 or edge.shape[3] not in (1, 3):
        raise InputError(
            f"{path}: input {edge.name} is {edge.shape}, no picture; give an .npy file"
        )
    height, width, channels = edge.shape[1:]
    try:
        with Image.open(path) as image:
            mode = image.convert("L" if channels == 1 else "RGB")
            box = _crop(mode.size, (width, height)) if _is(preprocessing, "crop") else None
            resized = mode.resize((width, height), Image.Resampling.BILINEAR, box)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except Exception as error:  # a malformed picture makes Pillow raise anything
        raise InputError(f"{path}: not a picture that can be read: {_line(error)}") from error
    pixels = np.asarray(resized, np.uint8).reshape(height, width, channels)
    if channels == 3 and _is(preprocessing, "BGR"):
        pixels = np.ascontiguousarray(pixels[:, :, ::-1])
    if edge.dtype == "uint8":
        return pixels
    mean, scale = _pixel_scaling(edge, preprocessing, channels, path)
    return ((pixels - mean) * scale).astype(np.float32)


def _is(preprocessing: Preprocessing | None, what: str) -> bool:
    return preprocessing is not None and what in (preprocessing.resize, preprocessing.order)


def _crop(size: tuple[int, int], target: tuple[int, int]) -> tuple[float, float, float, float]:
    """The middle of a picture that has the target's shape: left, top, right, bottom."""
    factor = min(size[0] / target[0], size[1] / target[1])
    width, height = target[0] * factor, target[1] * factor
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _pixel_scaling(
    edge: HostEdge, preprocessing: Preprocessing | None, channels: int, path: Path
) -> tuple[Array, Array]:
    if preprocessing is not None:
        mean, scale = np.array(preprocessing.mean), np.array(preprocessing.scale)
        if mean.size not in (1, channels) or scale.size not in (1, channels):
            raise InputError(f"{path}: the blob's preprocessing is not for {channels} channels")
        return mean, scale
    step = edge.tensor_scale if edge.dtype == "float32" else edge.scale
    for convention, (offset, factor) in _CONVENTIONS.items():
        if 0.9 < step / convention < 1.1:
            return np.array(offset), np.array(factor)
    raise InputError(
        f"{path}: cannot tell how pixels become values of input {edge.name} (steps of {step:g}); "
        "compile with --pixel-mean and --pixel-scale, or give an .npy file"
    )


def _line(error: BaseException) -> str:
    """An exception's message as one line."""
    return " ".join(str(error).split()) or type(error).__name__
