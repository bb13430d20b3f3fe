# SPDX-License-Identifier: Apache-2.0
"""What networks take that go on from one inference to the next: one input behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from narrows.errors import InputError
from narrows.graph.edges import Array, HostEdge, channels_last, conform, core_shape

_MOST_ROWS = 65535


@dataclass(frozen=True)
class Stream:
    """How a network goes on that was made from one of a window (quantization.streaming).

    rows: new ones of the window's rows in each inference. window: its rows.
    shapes: of the inputs of the window's network.
    """

    rows: int
    window: int
    shapes: tuple[tuple[int, ...], ...]

    @property
    def metadata(self) -> dict[str, Any]:
        """As the metadata of a blob have it."""
        return {"rows": self.rows, "window": self.window, "shapes": list(map(list, self.shapes))}


def parse_stream(value: Any, inputs: Sequence[HostEdge]) -> Stream | None:
    """From the metadata of a blob; None for None. Raises: ValueError: it does not fit the inputs,
    or is none."""
    if value is None:
        return None
    try:
        rows, window = (_integer(value[key]) for key in ("rows", "window"))
        shapes = tuple(tuple(map(_integer, shape)) for shape in value["shapes"])
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise ValueError("stream does not say which rows of a window are new") from error
    fits = 1 <= rows < window <= _MOST_ROWS and len(shapes) == len(inputs)
    for edge, shape in zip(inputs, shapes, strict=False):
        grows = prod(shape) * rows == prod(edge.shape) * window and _time(shape) is not None
        fits = fits and min(shape, default=1) > 0 and (shape == edge.shape or grows)
    if not fits:
        raise ValueError("stream does not fit the inputs")
    return Stream(rows, window, shapes)


def _integer(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no whole number")
    return value


def frames(
    edge: HostEdge, values: Array, name: str, stream: Stream | None, number: int
) -> list[Array]:
    """What a user has for a network that goes on -> what each inference takes.

    Args:
        values: as ``conform`` takes it; for one inference, or for several: with a dimension before
            all others, or, of a stream, with any number of rows. Where they are no multiple of the
            new rows of an inference, zero points come before them, as before a sequence.
        name: what errors call it. number: of the input, in the stream's shapes.

    Raises: InputError: another shape or dtype.
    """
    if stream is None or stream.shapes[number] == edge.shape:
        tail = core_shape(edge.shape)
        lead = values.shape[: values.ndim - len(tail)]
        if values.shape[len(lead) :] != tail or prod(lead) <= 1:
            return [conform(edge, values, name)]
        return [conform(edge, one, name) for one in values.reshape(-1, *tail)]
    shape = stream.shapes[number]
    time = _time(shape)
    assert time is not None
    window = replace(edge, shape=shape)
    values = channels_last(window, values)
    row, inner = prod(shape) // stream.window, shape[time + 1 :]
    core = core_shape(values.shape)
    is_row = values.size == row and core in (core_shape(inner), core_shape((1, *inner)))
    if not (is_row or (values.size > 0 and core[1:] == inner and values.size % row == 0)):
        raise InputError(
            f"{name}: shape {values.shape}, but a window of input {edge.name} is {shape}; give an "
            f"array like that, of any number of rows"
        )
    rows = values.reshape(-1, row)
    missing = -len(rows) % stream.rows
    if missing:
        zero = edge.zero_point if np.issubdtype(values.dtype, np.integer) else 0
        rows = np.concatenate([np.full((missing, row), zero, values.dtype), rows])
    return [
        conform(edge, one.reshape(edge.shape), name) for one in rows.reshape(-1, stream.rows, row)
    ]


def window_of(inputs: Sequence[Array], stream: Stream, number: int = 0) -> Array:
    """What the window's network takes when a stream has taken these inputs. Raises: InputError:
    they do not fill it."""
    shape = stream.shapes[number]
    row = prod(shape) // stream.window
    rows = np.concatenate([one.reshape(-1, row) for one in inputs])[-stream.window :]
    if len(rows) < stream.window:
        raise InputError(
            f"a sequence of {len(rows)} rows does not fill a window of {stream.window}; give more"
        )
    return rows.reshape(shape)


def _time(shape: Sequence[int]) -> int | None:
    """The time is the outermost dimension, so it is part of the first that is not 1."""
    return next((i for i, n in enumerate(shape) if n > 1), None)
