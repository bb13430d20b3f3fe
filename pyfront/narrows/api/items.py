# SPDX-License-Identifier: Apache-2.0
"""What users give as inputs and data sets: paths, arrays, and what NumPy makes arrays of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.data import Dataset, Item, load_dataset, load_inputs
from narrows.errors import InputError, UsageError
from narrows.graph.edges import Array
from narrows.jobs import processors

Input: TypeAlias = "npt.ArrayLike | Path"
"""One input of a network: an array, or the path of a picture or an ``.npy`` file."""

Inputs: TypeAlias = "Input | Mapping[str, Input]"
"""All inputs of one inference; of a network with several by their names."""

Data: TypeAlias = "str | Path | Array | Sequence[Input] | Mapping[str, Array | Sequence[Input]]"
"""Many inputs: the path of a data set, an array [n, ...], or a sequence of n inputs; of a network
with several inputs, such an array or sequence for each, by their names."""


def as_item(value: Input, name: str) -> Item:
    """A path, or an array. name: what errors call it. Raises: InputError: it is neither."""
    if isinstance(value, (str, Path)):
        return Path(value)
    try:
        array: Array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name}: {_EXPECTED}: {error}") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name}: {_EXPECTED}, not {_kind(value, array)}")
    return array


def as_items(inputs: Inputs, names: Sequence[str]) -> list[Item]:
    """An item for each input of a network.

    Args:
        names: of the inputs.

    Raises: InputError: not one for each input.
    """
    if isinstance(inputs, Mapping):
        _check_names(inputs, names)
        return [as_item(inputs[name], f"input {name}") for name in names]
    if len(names) > 1:
        raise InputError(
            f"inputs: the network has {len(names)} of them; give a mapping with an array for each "
            f"of {', '.join(names)}"
        )
    return [as_item(inputs, f"input {names[0]}")]


def as_datasets(data: Data, names: Sequence[str]) -> list[Dataset]:
    """A data set for each input of a network, all of one length.

    Args:
        names: of the inputs.

    Raises: InputError: it cannot be read, is empty, or does not fit the names.
    """
    if isinstance(data, (str, Path)):
        return load_inputs(Path(data), names)
    if isinstance(data, Mapping):
        _check_names(data, names)
        columns = [_dataset(data[name], f"input {name}") for name in names]
    elif len(names) > 1:
        raise InputError(
            f"data: the network has {len(names)} inputs; give a mapping with an array [n, ...] "
            f"for each of {', '.join(names)}"
        )
    else:
        columns = [_dataset(data, "data")]
    counts = {len(column.items) for column in columns}
    if len(counts) > 1:
        raise InputError(f"data: not as many items of each input: {sorted(counts)}")
    return columns


def as_dataset(data: Data, labels: Sequence[str]) -> Dataset:
    """The data of a network with one input, with classes if they are known. Raises: InputError."""
    if isinstance(data, (str, Path)):
        return load_dataset(Path(data), labels)
    if isinstance(data, Mapping):
        raise InputError("data: a mapping is for networks with several inputs; give an array")
    return _dataset(data, "data")


def as_jobs(jobs: int | None) -> int:
    """How many threads. Raises: UsageError: less than one."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs {jobs}: give 1 or more")
    return jobs or processors()


_EXPECTED = "an array of numbers, or the path of a picture or an .npy file, is expected"


def _dataset(values: Array | Sequence[Input], name: str) -> Dataset:
    if isinstance(values, np.ndarray):
        if values.ndim == 0:
            raise InputError(f"{name}: an array [n, ...] is expected, not a single number")
        items: Sequence[Item] = list(values)
    elif isinstance(values, Sequence) and not isinstance(values, (str, bytes)):
        items = [as_item(value, f"{name}: item {i}") for i, value in enumerate(values)]
    else:
        array = as_item(values, name)
        assert isinstance(array, np.ndarray)
        return _dataset(array, name)
    if not items:
        raise InputError(f"{name}: there is nothing in it")
    if isinstance(values, np.ndarray) and values.dtype.kind not in "biuf":
        raise InputError(f"{name}: {_EXPECTED}, not an array of {values.dtype}")
    return Dataset(items, None, name)


def _check_names(given: Mapping[str, Any], names: Sequence[str]) -> None:
    if set(given) != set(names):
        raise InputError(
            f"inputs: given are {', '.join(map(str, given)) or 'none'}, but the network has "
            f"{', '.join(names)}"
        )


def _kind(value: object, array: Array) -> str:
    return f"{type(value).__name__} of {array.dtype}" if array.ndim else type(value).__name__
