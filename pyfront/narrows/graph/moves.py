# SPDX-License-Identifier: Apache-2.0
"""Operators that give every element of their output the value of one of their input's: no scale, no
arithmetic. One class says all that this package has to know of such an operator, and stands for it
in a Graph and in a QGraph; adding one takes that class and its record in ``runtime/ops``."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
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

    operands: constants, int32. options: the table's name; fields: by their names in it.
    """

    name: str
    operands: tuple[npt.NDArray[np.int32], ...] = ()
    options: str | None = None
    fields: Mapping[str, int] = {}


@dataclass(frozen=True)
class Move(ABC):
    """inputs: one tensor.

    kind: as ``native.Op`` calls it, in small letters.
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
    def params(self) -> bytes:
        """Its parameters in a blob (runtime/SPEC.md). Raises: struct.error: no room for one."""

    @abstractmethod
    def written(self, target: Shape) -> Written | None:
        """How a ``.tflite`` has it; None if it cannot."""


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

    def params(self) -> bytes:
        return struct.pack("<6H", *self.begin, *self.stride)

    def written(self, target: Shape) -> Written:
        ranges = ((0, *self.begin), (1, *self.ends(target)), (1, *self.stride))
        operands = tuple(np.array(values, np.int32) for values in ranges)
        return Written("STRIDED_SLICE", operands, "StridedSliceOptions")

    def ends(self, target: Shape) -> Shape:
        """Where what is cut out ends, along each axis."""
        steps = zip(self.begin, target, self.stride, strict=True)
        return tuple(b + (n - 1) * s + 1 for b, n, s in steps)


class Rearrangement(Move):
    """A move of all elements that needs no more than some options, whose output has a shape of its
    own, and that formats have under a name.

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

    def written(self, target: Shape) -> Written | None:
        fields = {name: getattr(self, field) for name, field in self.in_tflite.fields.items()}
        return Written(self.in_tflite.name, (), self.in_tflite.options, fields)


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

    def moved(self, x: Elements, target: Shape) -> Elements:
        height, width, _ = target
        blocks: Elements = x.reshape(height, self.block, width, self.block, -1)
        return np.reshape(blocks.transpose(0, 2, 1, 3, 4), target)

    def params(self) -> bytes:
        return struct.pack("<BBH", self.block, 0, 0)


@dataclass(frozen=True)
class DepthToSpace(Rearrangement):
    """The way back. order: of the deep channels, "DCR" as SpaceToDepth makes them, place by place,
    or "CRD", channel by channel, as PyTorch's PixelShuffle has them and no ``.tflite``."""

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

    def moved(self, x: Elements, target: Shape) -> Elements:
        height, width, _ = x.shape
        blocks: Elements = x.reshape(height, width, self.block, self.block, -1)
        if self.order == "CRD":
            blocks = np.moveaxis(x.reshape(height, width, -1, self.block, self.block), 2, 4)
        return np.reshape(blocks.transpose(0, 2, 1, 3, 4), target)

    def params(self) -> bytes:
        return struct.pack("<BBH", self.block, _ORDERS.index(self.order), 0)

    def written(self, target: Shape) -> Written | None:
        return super().written(target) if self.order == "DCR" else None


_ORDERS = ("DCR", "CRD")


def _check(block: int, divides: Shape, shape: Shape, number: int | None = None) -> None:
    number = block if number is None else number
    if not 1 <= block <= 255 or any(n % number for n in divides):
        raise ValueError(f"blocks of {block} x {block} of shape {list(shape)}")


REARRANGEMENTS: tuple[type[Rearrangement], ...] = (SpaceToDepth, DepthToSpace)
"""All of them."""
