# SPDX-License-Identifier: Apache-2.0
"""Byte-level building blocks of a blob (runtime/SPEC.md)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from narrows.errors import PlanError
from narrows.graph.qgraph import QTensor
from narrows.native import Form, Op

MAGIC = b"NRWB"
MAJOR, MINOR = 3, 2
ELEMENT_BYTES = 1
"""Bytes of an element of every tensor that this version runs."""
HEADER = struct.Struct("<4sHHII4I6HIQIIIIII")
TENSOR = struct.Struct("<IIHHHHHHbBBB")
VARIABLE = struct.Struct("<HHII")
GEOMETRY = struct.Struct("<HHBBBBHHhhHHBBH")
STAGE = struct.Struct("<BBBBHH4HIIIII")
NONE = 0xFFFF
CONSTANT, PERSISTENT = 1, 2
"""Flags of a tensor whose elements stand in the blob, and of a variable."""


class Header(NamedTuple):
    """The header of a blob, field by field (runtime/SPEC.md)."""

    magic: bytes
    major: int
    minor: int
    blob_bytes: int
    layout: int
    bytes_by_memory: tuple[int, ...]
    tensor_count: int
    stage_count: int
    reader_count: int
    output_count: int
    input_count: int
    input_passes: int
    max_step_work: int
    macs: int
    firings: int
    metadata_offset: int
    metadata_bytes: int
    variables: int
    body_crc: int
    header_crc: int

    @property
    def arena_bytes(self) -> int:
        """Bytes of the arena, in all memories together."""
        return sum(self.bytes_by_memory)

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        fields = HEADER.unpack_from(data)
        return cls._make((*fields[:5], fields[5:9], *fields[9:]))


class TensorFields(NamedTuple):
    """A tensor's record, field by field (runtime/SPEC.md)."""

    offset: int
    capacity: int
    height: int
    width: int
    channels: int
    producer: int
    first_reader: int
    reader_count: int
    zero_point: int
    flags: int
    element_bytes: int
    reserved: int

    @property
    def is_kept(self) -> bool:
        """Whether its elements are there from the start: a constant or a variable."""
        return bool(self.flags & (CONSTANT | PERSISTENT))


class StageFields(NamedTuple):
    """A stage's record, field by field (runtime/SPEC.md). inputs: those that it has. output: -1 for
    none. state, scratch: (offset, bytes)."""

    op: Op
    form: Form
    flags: int
    inputs: tuple[int, ...]
    output: int
    strip: int
    params: int
    state: tuple[int, int]
    scratch: tuple[int, int]


class VariableFields(NamedTuple):
    """A variable's record, field by field (runtime/SPEC.md)."""

    tensor: int
    source: int
    first: int
    initial: int


def tensor_fields(blob: bytes, number: int) -> TensorFields:
    """The record of a tensor of a blob that the runtime has opened."""
    return TensorFields(*TENSOR.unpack_from(blob, HEADER.size + TENSOR.size * number))


def stage_place(blob: bytes, number: int) -> int:
    """The offset of a stage's record in a blob."""
    return HEADER.size + TENSOR.size * Header.unpack(blob).tensor_count + STAGE.size * number


def stage_fields(blob: bytes, number: int) -> StageFields:
    """The record of a stage of a blob that the runtime has opened."""
    fields = STAGE.unpack_from(blob, stage_place(blob, number))
    op, form, flags, count, output, strip = fields[:6]
    return StageFields(
        Op(op),
        Form(form),
        flags,
        fields[6 : 6 + count],
        -1 if output == NONE else output,
        strip,
        fields[10],
        fields[11:13],
        fields[13:15],
    )


def variable_fields(blob: bytes) -> list[VariableFields]:
    """The variables of a blob that the runtime has opened."""
    place = Header.unpack(blob).variables
    if not place:
        return []
    (count,) = struct.unpack_from("<I", blob, place)
    records = struct.iter_unpack(VARIABLE.format, blob[place + 4 :][: VARIABLE.size * count])
    return [VariableFields(*record) for record in records]


class Body:
    """Everything behind the records: grows, and hands out blob offsets.

    layout: that of the weights.
    """

    def __init__(self, start: int, layout: int) -> None:
        self.layout = layout
        self._start = start
        self._data = bytearray()

    def add(self, data: bytes, alignment: int = 4) -> int:
        """Append data; returns its blob offset."""
        self.pad(alignment)
        offset = self.end
        self._data += data
        return offset

    def add_filter(self, pack: Callable[[], bytes]) -> int:
        """Append what a firing computes with but does not depend on: weights, channel tables."""
        return self.add(pack())

    def pad(self, alignment: int) -> None:
        self._data += bytes(-self.end % alignment)

    @property
    def end(self) -> int:
        return self._start + len(self._data)

    def __bytes__(self) -> bytes:
        return bytes(self._data)


class Sketch(Body):
    """A body without weights: all that tells when a stage may fire, and what it takes."""

    def add_filter(self, pack: Callable[[], bytes]) -> int:
        return 0


def header(
    size: int,
    layout: int,
    counts: Sequence[int],
    arena: Sequence[int] = (0, 0, 0, 0),
    work: int = 0,
    macs: int = 0,
    firings: int = 0,
    places: tuple[int, int, int] = (0, 0, 0),
    crc: int = 0,
) -> bytes:
    """The first bytes of a blob, but for their own CRC.

    Args:
        counts: tensors, stages, readers, outputs, inputs, passes over the inputs.
        places: offset and bytes of the metadata, offset of the variables.
    """
    return fields(
        HEADER, "header", MAGIC, MAJOR, MINOR, size, layout, *arena, *counts, work, macs, firings,
        *places, crc, 0,
    )  # fmt: skip


def tensor_record(
    info: QTensor,
    offset: int,
    capacity: int,
    producer: int = NONE,
    readers: tuple[int, int] = (0, 0),
    flags: int = 0,
) -> bytes:
    """A tensor's 24 bytes. capacity: pixels. readers: the first in the list, and how many."""
    return fields(
        TENSOR, f"tensor {info.name}", offset, capacity, info.height, info.width, info.channels,
        producer, *readers, info.zero_point, flags, ELEMENT_BYTES, 0,
    )  # fmt: skip


def stage_record(
    code: Op,
    form: Form,
    flags: int,
    inputs: Sequence[int],
    output: int,
    strip: int,
    params: int = 0,
    state: tuple[int, int] = (0, 0),
    scratch: tuple[int, int] = (0, 0),
) -> bytes:
    """A stage's 36 bytes. inputs, output: numbers of tensors. state, scratch: offset, bytes."""
    padded = (*inputs, *(NONE,) * (4 - len(inputs)))
    return fields(
        STAGE, f"stage {code.name}", code, form, flags, len(inputs), output, strip, *padded, params,
        *state, *scratch,
    )  # fmt: skip


def fields(layout: struct.Struct | str, place: str, *values: int | bytes) -> bytes:
    """Pack values.

    Raises: PlanError: a value does not fit its field of the format.
    """
    with for_the_format(place):
        return struct.pack(layout if isinstance(layout, str) else layout.format, *values)


@contextmanager
def for_the_format(place: str) -> Iterator[None]:
    """Where values are packed. Raises: PlanError: one does not fit its field."""
    try:
        yield
    except struct.error as error:
        raise PlanError(f"{place}: too large for the blob format ({error})") from error
