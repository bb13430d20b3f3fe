# SPDX-License-Identifier: Apache-2.0
"""Operators that give every element of their output the value of one of their input's: no scale, no
arithmetic. One class says all that this package has to know of such an operator, and stands for it
in a Graph and in a QGraph. The runtime has one operator for all of them, MOVE, whose loops each
class gives; adding one takes no more than that class."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Shape: TypeAlias = tuple[int, ...]
"""Height, width and channels."""

Elements: TypeAlias = npt.NDArray[Any]
"""int8 or float32 [height, width, channels]."""


class Named(NamedTuple):
    """An operator as a format names it. fields: by the format's name of an option, as its schema
    spells it, ours. options: the FlatBuffers table that they stand in, if there is one."""

    name: str
    fields: Mapping[str, str]
    options: str = ""


class Written(NamedTuple):
    """An operator of a ``.tflite`` file.

    shape: of its output, batch included. operands: constants, int32. options: the table's name;
    fields: by their names in it.
    """

    name: str
    shape: Shape
    operands: tuple[npt.NDArray[np.int32], ...] = ()
    options: str | None = None
    fields: Mapping[str, int | Shape] = {}


MAX_LOOPS = 5
"""Loops of MOVE (runtime/SPEC.md)."""


class Loops(NamedTuple):
    """Where the elements of an output stand in the input, one after the other: nested loops over
    it, the last of them the innermost. Numbers are elements."""

    offset: int
    counts: Shape
    strides: Shape

    def merged(self) -> Loops:
        """The same with as few loops as can be."""
        loops: list[tuple[int, int]] = []
        for count, stride in zip(self.counts, self.strides, strict=True):
            if count == 1:
                continue
            if loops and loops[-1][1] == count * stride:
                count *= loops.pop()[0]
            loops.append((count, stride))
        loops = loops or [(1, 1)]
        return Loops(self.offset, tuple(n for n, _ in loops), tuple(s for _, s in loops))


def _strides(shape: Shape) -> Shape:
    """Elements from one place of each dimension to the next."""
    return tuple(prod(shape[d + 1 :]) for d in range(len(shape)))


@dataclass(frozen=True)
class Move(ABC):
    """inputs: one tensor.

    kind: what people call it, in small letters.
    """

    inputs: tuple[int]
    output: int
    kind: ClassVar[str]

    @abstractmethod
    def problem(self, source: Shape, target: Shape) -> str | None:
        """Why it does not make a tensor of one shape from one of another; None if it does."""

    @abstractmethod
    def moved(self, x: Elements, target: Shape) -> Elements:
        """What it makes of x, in the target's shape."""

    @abstractmethod
    def loops(self, source: Shape, target: Shape) -> Loops:
        """The same for the runtime."""

    @abstractmethod
    def written(self, source: Shape, target: Shape) -> tuple[Written, ...]:
        """The operators that a ``.tflite`` has for it, one behind the other."""

    def params(self, source: Shape, target: Shape) -> bytes:
        """Its parameters in a blob (runtime/SPEC.md). Raises: struct.error: no room for one."""
        offset, counts, strides = self.loops(source, target).merged()
        absent = MAX_LOOPS - len(counts)
        return struct.pack(
            f"<I{MAX_LOOPS}I{MAX_LOOPS}I", offset, *(1,) * absent, *counts, *(0,) * absent, *strides
        )


@dataclass(frozen=True)
class Slice(Move):
    """begin, stride: (height, width, channels); the end follows from the output's shape."""

    begin: tuple[int, int, int]
    stride: tuple[int, int, int]
    kind: ClassVar[str] = "slice"

    def problem(self, source: Shape, target: Shape) -> str | None:
        for n, out, b, s in zip(source, target, self.begin, self.stride, strict=True):
            if b < 0 or s < 1 or b + (out - 1) * s >= n:
                return f"from {self.begin} by {self.stride} to shape {target}"
        return None

    def moved(self, x: Elements, target: Shape) -> Elements:
        cut = self.ends(target)
        taken = zip(self.begin, cut, self.stride, strict=True)
        return x[tuple(slice(b, e, s) for b, e, s in taken)]

    def loops(self, source: Shape, target: Shape) -> Loops:
        steps = _strides(source)
        offset = sum(b * n for b, n in zip(self.begin, steps, strict=True))
        strides = tuple(s * n for s, n in zip(self.stride, steps, strict=True))
        return Loops(offset, target, strides)

    def written(self, source: Shape, target: Shape) -> tuple[Written, ...]:
        ranges = ((0, *self.begin), (1, *self.ends(target)), (1, *self.stride))
        operands = tuple(np.array(values, np.int32) for values in ranges)
        return (Written("STRIDED_SLICE", (1, *target), operands, "StridedSliceOptions"),)

    def ends(self, target: Shape) -> Shape:
        """Where what is cut out ends, along each axis."""
        steps = zip(self.begin, target, self.stride, strict=True)
        return tuple(b + (n - 1) * s + 1 for b, n, s in steps)


@dataclass(frozen=True)
class Reshape(Move):
    """The same elements in the same order under another height, width and channels."""

    kind: ClassVar[str] = "reshape"

    def problem(self, source: Shape, target: Shape) -> str | None:
        return None if prod(source) == prod(target) else f"shape {target}"

    def moved(self, x: Elements, target: Shape) -> Elements:
        return x.reshape(target)

    def loops(self, source: Shape, target: Shape) -> Loops:
        return Loops(0, source, _strides(source))

    def written(self, source: Shape, target: Shape) -> tuple[Written, ...]:
        return (_reshape((1, *target)),)


def _reshape(shape: Shape) -> Written:
    operands = (np.array(shape, np.int32),)
    return Written("RESHAPE", shape, operands, "ReshapeOptions", {"new_shape": shape})


class Permutation(Move):
    """A move of all elements: the input's, seen under some shape, have its dimensions put in
    another order, and are seen under the output's."""

    @abstractmethod
    def dimensions(self, source: Shape) -> tuple[Shape, Shape]:
        """That shape, and its dimensions in the order in which they are put."""

    def moved(self, x: Elements, target: Shape) -> Elements:
        height, width, channels = x.shape
        sizes, order = self.dimensions((height, width, channels))
        return np.reshape(x.reshape(sizes).transpose(order), target)

    def loops(self, source: Shape, target: Shape) -> Loops:
        sizes, order = self.dimensions(source)
        strides = _strides(sizes)
        return Loops(0, tuple(sizes[d] for d in order), tuple(strides[d] for d in order))

    def written(self, source: Shape, target: Shape) -> tuple[Written, ...]:
        loops = self.loops(source, target).merged()
        # The loops' dimensions in the order of the input, in which strides fall.
        falling = sorted(range(len(loops.counts)), key=lambda d: -loops.strides[d])
        order = np.array([falling.index(d) for d in range(len(falling))], np.int32)
        steps = [
            _reshape(tuple(loops.counts[d] for d in falling)),
            Written("TRANSPOSE", loops.counts, (order,), "TransposeOptions"),
            _reshape((1, *target)),
        ]
        before = (1, *source)
        kept = []
        for step in steps:
            if step.name == "TRANSPOSE" or step.shape != before:
                kept.append(step)
            before = step.shape
        return tuple(kept)


@dataclass(frozen=True)
class Transpose(Permutation):
    """sizes: the shape under which the input is seen. order: of its dimensions."""

    sizes: Shape
    order: Shape
    kind: ClassVar[str] = "transpose"

    def problem(self, source: Shape, target: Shape) -> str | None:
        if sorted(self.order) != list(range(len(self.sizes))):
            return f"order {self.order}"
        if not prod(source) == prod(target) == prod(self.sizes):
            return f"{source} as {self.sizes} to {target}"
        if len(self.loops(source, target).merged().counts) > MAX_LOOPS:
            return f"order {self.order} of {self.sizes} moves more than {MAX_LOOPS} dimensions"
        return None

    def dimensions(self, source: Shape) -> tuple[Shape, Shape]:
        return self.sizes, self.order


class Rearrangement(Permutation):
    """A permutation that needs no more than some options, whose output has a shape of its own, and
    that formats have under a name.

    constraints: which of them are taken, for the table of supported operators.
    """

    in_tflite: ClassVar[Named]
    in_onnx: ClassVar[Named]
    constraints: ClassVar[str]

    @abstractmethod
    def target(self, source: Shape) -> Shape:
        """The shape of what it makes. Raises: ValueError: why it takes no such shape."""

    def problem(self, source: Shape, target: Shape) -> str | None:
        try:
            made = self.target(source)
        except ValueError as error:
            return str(error)
        return None if made == target else f"shape {target} instead of {made}"

    def written(self, source: Shape, target: Shape) -> tuple[Written, ...]:
        fields = {name: getattr(self, field) for name, field in self.in_tflite.fields.items()}
        name, options = self.in_tflite.name, self.in_tflite.options
        return (Written(name, (1, *target), (), options, fields),)


@dataclass(frozen=True)
class SpaceToDepth(Rearrangement):
    """The pixels of each block side by side in one pixel, row by row. block: along both axes."""

    block: int
    kind: ClassVar[str] = "space_to_depth"
    in_tflite = Named("SPACE_TO_DEPTH", {"block_size": "block"}, "SpaceToDepthOptions")
    in_onnx = Named("SpaceToDepth", {"blocksize": "block"})
    constraints = "Blocks of up to 255 x 255 pixels that divide height and width."

    def target(self, source: Shape) -> Shape:
        height, width, channels = source
        _check(self.block, divides=(height, width), shape=source)
        return height // self.block, width // self.block, channels * self.block**2

    def dimensions(self, source: Shape) -> tuple[Shape, Shape]:
        height, width, channels = source
        block = self.block
        return (height // block, block, width // block, block, channels), (0, 2, 1, 3, 4)


@dataclass(frozen=True)
class DepthToSpace(Rearrangement):
    """The way back. order: of the deep channels, "DCR" as SpaceToDepth makes them, place by place,
    or "CRD", channel by channel, as PyTorch's PixelShuffle has them; a ``.tflite`` does that by a
    TRANSPOSE."""

    block: int
    order: str = "DCR"
    kind: ClassVar[str] = "depth_to_space"
    in_tflite = Named("DEPTH_TO_SPACE", {"block_size": "block"}, "DepthToSpaceOptions")
    in_onnx = Named("DepthToSpace", {"blocksize": "block", "mode": "order"})
    constraints = "Blocks of up to 255 x 255 pixels, whose number divides the channels."

    def target(self, source: Shape) -> Shape:
        height, width, channels = source
        _check(self.block, divides=(channels,), shape=source, number=self.block**2)
        if self.order not in _ORDERS:
            raise ValueError(f"mode {self.order}")
        return height * self.block, width * self.block, channels // self.block**2

    def dimensions(self, source: Shape) -> tuple[Shape, Shape]:
        height, width, channels = source
        block, each = self.block, channels // self.block**2
        if self.order == "CRD":
            return (height, width, each, block, block), (0, 3, 1, 4, 2)
        return (height, width, block, block, each), (0, 2, 1, 3, 4)

    def written(self, source: Shape, target: Shape) -> tuple[Written, ...]:
        if self.order == "CRD":
            return Permutation.written(self, source, target)
        return super().written(source, target)


_ORDERS = ("DCR", "CRD")


def _check(block: int, divides: Shape, shape: Shape, number: int | None = None) -> None:
    number = block if number is None else number
    if not 1 <= block <= 255 or any(n % number for n in divides):
        raise ValueError(f"blocks of {block} x {block} of shape {list(shape)}")


REARRANGEMENTS: tuple[type[Rearrangement], ...] = (SpaceToDepth, DepthToSpace)
"""All of them."""
