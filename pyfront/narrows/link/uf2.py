# SPDX-License-Identifier: Apache-2.0
"""UF2 files, which bootloaders take as if they were written to a USB stick.

A file is a row of blocks of 512 bytes, each of which names its own place: a head of eight words, up
to 476 bytes, and a magic number (https://github.com/microsoft/uf2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

from narrows.errors import NarrowsError
from narrows.link.image import Segment

BLOCK_BYTES = 512
PAYLOAD_BYTES = 256
"""The size of the blocks that are written: a page of flash. The RP2040 takes no others."""

_MOST_PAYLOAD_BYTES = 476
_HEAD = struct.Struct("<8I")
_START = (0x0A324655, 0x9E5D5157)
_END = struct.pack("<I", 0x0AB16F30)
_ERASED = b"\xff"
_ADDRESS_SPACE = 1 << 32


class Family(IntEnum):
    """Chips, as a UF2 file names them."""

    RP2040 = 0xE48BFF56
    RP2350_ARM_S = 0xE48BFF59
    NRF52840 = 0xADA52840
    STM32F4 = 0x57755A57


class _Flag(IntEnum):
    NOT_MAIN_FLASH = 0x1
    FILE_CONTAINER = 0x1000
    FAMILY_PRESENT = 0x2000


class Uf2(NamedTuple):
    """What a file holds. family: None if it does not say; segments: by address, apart."""

    family: int | None
    segments: tuple[Segment, ...]


def write_uf2(segments: Iterable[Segment], family: int) -> bytes:
    """Make a file.

    Args:
        segments: apart from each other, in any order. What pages have beyond them is 0xFF, which
            is erased flash.
        family: of the chip, see ``Family``.

    Raises: NarrowsError: nothing to write, two segments overlap, or one leaves the address space.
    """
    pages: dict[int, bytearray] = {}
    for address, data in _joined(segments):
        end = address + len(data)
        for page in range(address - address % PAYLOAD_BYTES, end, PAYLOAD_BYTES):
            part = data[max(0, page - address) : page + PAYLOAD_BYTES - address]
            place = max(0, address - page)
            content = pages.setdefault(page, bytearray(_ERASED * PAYLOAD_BYTES))
            content[place : place + len(part)] = part
    if not pages:
        raise NarrowsError("a UF2 file needs at least one byte of firmware")
    blocks = []
    for number, (page, content) in enumerate(sorted(pages.items())):
        head = (_Flag.FAMILY_PRESENT, page, PAYLOAD_BYTES, number, len(pages), family)
        block = _HEAD.pack(*_START, *head) + content
        blocks.append(block.ljust(BLOCK_BYTES - len(_END), b"\0") + _END)
    return b"".join(blocks)


def read_uf2(file: bytes, name: str) -> Uf2:
    """Read a file. Blocks that are not for the main flash are left out.

    Args:
        file: all its bytes.
        name: what errors call it.

    Raises: NarrowsError: the block that is wrong, and why. All blocks must be of one chip and
        in their order, and none may overlap another.
    """
    if not file or len(file) % BLOCK_BYTES:
        raise NarrowsError(
            f"{name}: not a UF2 file: {len(file)} bytes are not blocks of {BLOCK_BYTES}"
        )
    total = len(file) // BLOCK_BYTES
    families: set[int | None] = set()
    segments = []
    for number in range(total):
        begin = number * BLOCK_BYTES
        try:
            family, segment = _read_block(file[begin : begin + BLOCK_BYTES], number, total)
            if segment is not None:
                families.add(family)
                segments.append(segment)
            if len(families) > 1:
                raise NarrowsError("is for another chip than those before")
        except NarrowsError as error:
            raise NarrowsError(f"{name}: UF2 block {number} (byte {begin}) {error}") from None
    if not segments:
        raise NarrowsError(f"{name}: no UF2 block is for the main flash")
    try:
        return Uf2(families.pop(), tuple(_joined(segments)))
    except NarrowsError as error:
        raise NarrowsError(f"{name}: {error}") from error


def _read_block(block: bytes, number: int, total: int) -> tuple[int | None, Segment | None]:
    """One of a file's blocks. Returns: its family and its bytes, None if they are not for the main
    flash. Raises: NarrowsError: what is wrong with it."""
    first, second, flags, address, size, own_number, own_total, family = _HEAD.unpack_from(block)
    if (first, second) != _START or not block.endswith(_END):
        raise NarrowsError("has no magic numbers of UF2")
    if (own_number, own_total) != (number, total):
        raise NarrowsError(
            f"says that it is number {own_number} of {own_total}, but there are {total}"
        )
    if not 0 < size <= _MOST_PAYLOAD_BYTES:
        raise NarrowsError(f"cannot hold {size} bytes")
    if address + size > _ADDRESS_SPACE:
        raise NarrowsError("reaches beyond 4 GiB")
    if flags & _Flag.FILE_CONTAINER:
        raise NarrowsError("is a part of a file, not of a memory")
    data = None if flags & _Flag.NOT_MAIN_FLASH else block[_HEAD.size : _HEAD.size + size]
    return (
        family if flags & _Flag.FAMILY_PRESENT else None,
        None if data is None else Segment(address, data),
    )


def _joined(segments: Iterable[Segment]) -> list[Segment]:
    """By address; what adjoins is one. Raises: NarrowsError."""
    joined: list[tuple[int, bytearray]] = []
    for address, data in sorted(segments):
        end = joined[-1][0] + len(joined[-1][1]) if joined else 0
        if address < end:
            raise NarrowsError(f"two segments of the firmware overlap at {address:#x}")
        if address + len(data) > _ADDRESS_SPACE:
            raise NarrowsError(f"the firmware's segment at {address:#x} reaches beyond 4 GiB")
        if joined and address == end:
            joined[-1][1].extend(data)
        elif data:
            joined.append((address, bytearray(data)))
    return [Segment(address, bytes(data)) for address, data in joined]
