# SPDX-License-Identifier: Apache-2.0
"""The assertion that a target computes what the reference does, byte for byte."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TypeAlias

import numpy as np

from narrows.blob import Blob
from narrows.compare import Comparison, compare_inputs
from narrows.data import load_input
from narrows.errors import NarrowsError, NarrowsWarning, ToolError, UsageError
from narrows.files import read_file
from narrows.graph.edges import Array, HostEdge, channels_last, core_shape, decode, encode, in_file
from narrows.graph.names import short_name
from narrows.reference import Tflm
from narrows.result import Target, no_progress
from narrows.sides import Inputs, Side, open_side, target_side
from narrows.targets import HostTarget
from narrows.testing.loaded import LoadedTarget

Item: TypeAlias = "str | Path | Array"


def assert_matches_reference(
    board_or_blob: LoadedTarget | Blob,
    inputs: Item | Sequence[Item],
    model: str | Path | None = None,
) -> None:
    """Run inputs on a target and on a reference, whose outputs must be equal byte for byte.

    The reference is TensorFlow Lite Micro if the model is a ``.tflite`` and ``tflite-micro`` is
    installed. Otherwise it is the runtime on the host; for the host itself, the integer model in
    NumPy, or, with a warning, nothing but the host again if the model is not known.

    Args:
        board_or_blob: what the fixture ``narrows_board`` gives; or a blob, which runs on the host.
        inputs: of a network with one input: a picture's or an ``.npy`` file's path, an array that
            the input takes, or several of these, as a sequence or an array [n, ...]. Of a network
            with several inputs: a sequence of as many such values.
        model: the file that the blob was compiled from, if that is not ``blob.source``.

    Raises:
        AssertionError: they differ; the message names the first layer that does.
        UsageError: no inputs, or a model that is not the blob's.
        NarrowsError: inputs that do not fit, files that cannot be read, a link that fails.
    """
    __tracebackhide__ = True
    try:
        difference = _difference(board_or_blob, inputs, model)
    except NarrowsError as error:
        raise error.with_traceback(None) from None
    if difference is not None:
        raise AssertionError(difference)


@dataclass(frozen=True)
class _Reference:
    """name: in messages. outputs: of one inference, as the model gives them. side: opens it anew,
    with every layer to be seen."""

    name: str
    outputs: Callable[[Inputs], Sequence[Array]]
    side: Callable[[], Side]


def _difference(
    board_or_blob: LoadedTarget | Blob, inputs: Item | Sequence[Item], model: str | Path | None
) -> str | None:
    """What differs first; None if nothing does."""
    if isinstance(board_or_blob, Blob):
        blob: Blob = board_or_blob
        target: Target = HostTarget(blob.data)
    else:
        blob, target = board_or_blob.blob, board_or_blob
    items = _items(blob, inputs)
    reference = _reference(blob, target.name, blob.source if model is None else Path(model))
    for number, values in enumerate(items):
        expected = reference.outputs(values)
        found = _run(target, blob, values)
        for edge, a, b in zip(blob.outputs, expected, found, strict=True):
            if a.dtype != b.dtype or a.shape != b.shape:
                raise UsageError(
                    f"{reference.name} gives {a.dtype} {a.shape} for output {edge.name}, but the "
                    f"blob {b.dtype} {b.shape}; give the model that the blob was compiled from"
                )
        if any(a.tobytes() != b.tobytes() for a, b in zip(expected, found, strict=True)):
            sides = reference.side(), target_side(target.name, blob, target)
            if sides[0].is_float:
                raise UsageError(f"{sides[0].spec} computes in floats; give the blob's int8 model")
            compared = compare_inputs(*sides, [(values, values)])
            head = f"{target.name} differs from {reference.name} in input {number}"
            lines = [*_layer(sides[0], compared), *_outputs(blob, expected, found)]
            return "\n  ".join([head, *lines])
    return None


# --- The reference ------------------------------------------------------------------------------


def _reference(blob: Blob, target: str, model: Path | None) -> _Reference:
    if model is not None and read_file(model, "model")[4:8] == b"TFL3":
        with contextlib.suppress(ToolError):  # not installed: there are other references
            tflm = Tflm(model)
            return _Reference(
                "TensorFlow Lite Micro",
                lambda values: tflm.infer(_in_files(blob, values), len(blob.outputs)),
                lambda: _model_side(f"{model}@tflm"),
            )
    if target == "host" and model is not None:
        side = _model_side(f"{model}@numpy")
        return _Reference(
            "the integer model in NumPy",
            lambda values: _outputs_of(side, blob, values),
            lambda: side,
        )
    if target == "host":
        warnings.warn(
            f"{blob.name}: the host was compared with itself alone; give model=, the .tflite file",
            NarrowsWarning,
            stacklevel=4,
        )
    host = HostTarget(blob.data)
    return _Reference(
        "the runtime on the host",
        lambda values: _run(host, blob, values),
        lambda: target_side("host", blob, host),
    )


def _in_files(blob: Blob, values: Inputs) -> list[Array]:
    return [in_file(edge, array) for edge, array in zip(blob.inputs, values, strict=True)]


def _run(target: Target, blob: Blob, values: Inputs) -> list[Array]:
    """Inputs as the model takes them -> outputs as it gives them."""
    inside = [encode(edge, array) for edge, array in zip(blob.inputs, values, strict=True)]
    given = target.infer(inside).outputs
    return [decode(edge, array) for edge, array in zip(blob.outputs, given, strict=True)]


def _model_side(spec: str) -> Side:
    """A model that runs in this process, so that there is nothing to close."""
    return open_side(spec, contextlib.ExitStack(), no_progress)


def _outputs_of(side: Side, blob: Blob, values: Inputs) -> list[Array]:
    """The outputs of a side whose layers are int8, as the model gives them."""
    seen = side.see(values, -1)
    return [
        decode(edge, np.ma.getdata(seen[number]))
        for edge, number in zip(blob.outputs, side.outputs, strict=True)
    ]


# --- Inputs -------------------------------------------------------------------------------------


def _items(blob: Blob, inputs: Item | Sequence[Item]) -> list[list[Array]]:
    """For each inference an array for each input of the network, of its type and shape."""
    columns: Sequence[Item | Sequence[Item]] = [inputs]
    if len(blob.inputs) != 1:
        if isinstance(inputs, (str, Path, np.ndarray)) or len(inputs) != len(blob.inputs):
            names = ", ".join(edge.name for edge in blob.inputs)
            raise UsageError(
                f"{blob.name} has {len(blob.inputs)} inputs: give a sequence of {names}"
            )
        columns = inputs
    read = [_read(blob, e, column) for e, column in zip(blob.inputs, columns, strict=True)]
    counts = [len(column) for column in read]
    if len(set(counts)) != 1:
        raise UsageError(f"{blob.name}: {counts} values for its inputs; give as many for each")
    if not counts[0]:
        raise UsageError(f"{blob.name}: there are no inputs to compare")
    return [list(values) for values in zip(*read, strict=True)]


def _read(blob: Blob, edge: HostEdge, value: Item | Sequence[Item]) -> list[Array]:
    """The values of one input."""
    items: list[Item] = []
    for part in [value] if isinstance(value, (str, Path, np.ndarray)) else value:
        if isinstance(part, np.ndarray) and not _fits(edge, part):
            items += list(part)
        else:
            items.append(part)
    return [
        load_input(
            edge,
            blob.preprocessing,
            item if isinstance(item, np.ndarray) else Path(item),
            f"input {edge.name}: item {number}",
        )
        for number, item in enumerate(items)
    ]


def _fits(edge: HostEdge, values: Array) -> bool:
    """Whether an array is one value of an input, and not several."""
    turned = channels_last(edge, values)
    return values.ndim == 0 or core_shape(turned.shape) == core_shape(edge.shape)


# --- Words --------------------------------------------------------------------------------------


def _layer(reference: Side, found: Comparison) -> list[str]:
    """The first layer that differs, where, and how much of it."""
    parted = found.parted
    if parted is None or parted.first is None:
        return ["no layer that both can show differs when they run once more"]
    layer, first = parted.layer, parted.first
    lines = [
        f"first differing layer: {short_name(layer.name)} ({layer.operator}), shape {layer.shape}",
        f"at index {first.position}: expected {first.a}, found {first.b}",
        f"{parted.differing:,} of its {parted.elements:,} elements differ, by up to "
        f"{parted.most:.0f}",
    ]
    if not parted.same_steps:
        lines.append("the two quantize it differently: was the blob compiled from this model?")
    names = [other.name for other in reference.layers]
    before = reversed(names[: names.index(layer.name)])
    unseen = list(takewhile(lambda name: name in found.only_a, before))[::-1]
    if unseen:
        lines.append(f"or in what it is fused with and nobody sees: {', '.join(unseen)}")
    return lines


def _outputs(blob: Blob, expected: Sequence[Array], found: Sequence[Array]) -> list[str]:
    """How much of each output differs."""
    lines = []
    for edge, a, b in zip(blob.outputs, expected, found, strict=True):
        # Bytes, because a float that is no number is not equal to itself.
        apart = (a.reshape(-1, 1).view(np.uint8) != b.reshape(-1, 1).view(np.uint8)).any(axis=1)
        if apart.any():
            lines.append(f"output {edge.name}: {apart.sum():,} of its {a.size:,} elements differ")
    return lines
