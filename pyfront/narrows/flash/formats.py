# SPDX-License-Identifier: Apache-2.0
"""Files that programmers and bootloaders take: ELF, Intel HEX, UF2, plain bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from enum import Enum
from pathlib import Path

from intelhex import IntelHex

from narrows.boards import Board
from narrows.errors import UsageError
from narrows.link.image import Segment
from narrows.link.uf2 import Family, write_uf2

# A file of plain bytes has all that lies between, too: the flash of any microcontroller is smaller.
_MOST_PLAIN_BYTES = 64 << 20
_ERASED = b"\xff"


class Format(Enum):
    """The format that the ending of a file's name means."""

    ELF = "elf"
    HEX = "hex"
    UF2 = "uf2"
    BIN = "bin"


def format_of(path: str) -> Format:
    """What a file's name says. Raises: UsageError: nothing that is known."""
    ending = Path(path).suffix.lower().removeprefix(".")
    if ending not in [known.value for known in Format]:
        known = ", ".join(f".{known.value}" for known in Format)
        raise UsageError(f"{path}: its ending is none of {known}; give --format")
    return Format(ending)


def encode(segments: Sequence[Segment], format_: Format, board: Board) -> bytes:
    """A file with these contents. format_: not ELF.

    Raises: UsageError: the board takes no UF2 files, or plain bytes would be too many.
    """
    if format_ is Format.HEX:
        return hex_file(segments)
    if format_ is Format.UF2:
        return uf2_file(segments, board)
    assert format_ is Format.BIN
    start = min(segment.address for segment in segments)
    end = max(segment.address + len(segment.data) for segment in segments)
    if end - start > _MOST_PLAIN_BYTES:
        raise UsageError(
            f"board {board.name}: firmware and model lie {end - start:,} B apart, too far for one "
            "file of plain bytes; take .hex, or a file for each"
        )
    data = bytearray(_ERASED * (end - start))
    for address, part in segments:
        data[address - start : address - start + len(part)] = part
    return bytes(data)


def hex_file(segments: Sequence[Segment]) -> bytes:
    """Intel HEX."""
    contents = IntelHex()
    for address, data in segments:
        contents.puts(address, data)
    text = io.StringIO()
    contents.write_hex_file(text)
    return text.getvalue().encode("ascii")


def uf2_file(segments: Sequence[Segment], board: Board) -> bytes:
    """UF2, for the board's chip. Raises: UsageError: its bootloader takes none."""
    uf2 = board.flash.uf2
    if uf2 is None:
        raise UsageError(
            f"board {board.name}: its file names no chip for UF2 (flash.uf2); take .hex or .bin"
        )
    if uf2.family not in Family.__members__:
        known = ", ".join(Family.__members__)
        raise UsageError(f"board {board.name}: flash.uf2.family: {uf2.family!r} is none of {known}")
    return write_uf2(segments, Family[uf2.family])
