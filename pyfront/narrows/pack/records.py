# SPDX-License-Identifier: Apache-2.0
"""Byte-level building blocks of a blob (runtime/SPEC.md)."""

from __future__ import annotations

import struct

from narrows.errors import PlanError

MAGIC = b"NRWB"
MAJOR, MINOR = 3, 0
ELEMENT_BYTES = 1
"""Bytes of an element of every tensor that this version runs."""
HEADER = struct.Struct("<4sHHII4I6HIQIIIIII")
TENSOR = struct.Struct("<IIHHHHHHbBBB")
GEOMETRY = struct.Struct("<HHBBBBHHhhHHBBH")
STAGE = struct.Struct("<BBBBHH4HIIIII")
NONE = 0xFFFF


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

    def pad(self, alignment: int) -> None:
        self._data += bytes(-self.end % alignment)

    @property
    def end(self) -> int:
        return self._start + len(self._data)

    def __bytes__(self) -> bytes:
        return bytes(self._data)


def fields(layout: struct.Struct | str, place: str, *values: int | bytes) -> bytes:
    """Pack values.

    Raises: PlanError: a value does not fit its field of the format.
    """
    try:
        return struct.pack(layout if isinstance(layout, str) else layout.format, *values)
    except struct.error as error:
        raise PlanError(f"{place}: too large for the blob format ({error})") from error
