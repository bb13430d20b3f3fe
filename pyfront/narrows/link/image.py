# SPDX-License-Identifier: Apache-2.0
"""What a firmware's ELF file puts into a chip's memory."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from narrows.errors import ToolError

BOOT2_SECTION = ".boot2"
BOOT2_BYTES = 256


class Segment(NamedTuple):
    """Bytes from an address on."""

    address: int
    data: bytes


class Function(NamedTuple):
    """Code of a function, at an address."""

    name: str
    address: int
    bytes: int


def load_segments(image: Path) -> list[Segment]:
    """What stands in the chip's non-volatile memory once the firmware is flashed, by address.

    Args:
        image: an ELF file.

    Raises: ToolError: it cannot be read, or is none.
    """
    try:
        with image.open("rb") as file:
            found = [
                Segment(segment["p_paddr"], segment.data())
                for segment in ELFFile(file).iter_segments("PT_LOAD")
                if segment["p_filesz"] > 0
            ]
    except (OSError, ELFError) as error:
        raise ToolError(f"{image}: not firmware in an ELF file: {error}") from error
    return sorted(found)


def load_functions(image: Path) -> list[Function]:
    """The functions that an ELF file for a Cortex-M names, by address.

    Raises: ToolError: it cannot be read, or is none.
    """
    try:
        with image.open("rb") as file:
            symbols = [
                symbol
                for section in ELFFile(file).iter_sections()
                if isinstance(section, SymbolTableSection)
                for symbol in section.iter_symbols()
            ]
    except (OSError, ELFError) as error:
        raise ToolError(f"{image}: not firmware in an ELF file: {error}") from error
    # Bit 0 of an address says that the code is Thumb's.
    return sorted(
        (
            Function(symbol.name, symbol["st_value"] & ~1, symbol["st_size"])
            for symbol in symbols
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] != "SHN_UNDEF"
        ),
        key=lambda function: function.address,
    )


def seal_boot2(image: Path) -> None:
    """Put its checksum behind the RP2040's second stage of booting, without which the chip's
    bootrom does not run it (RP2040 datasheet, 2.8.1.3.1).

    Args:
        image: an ELF file with a section ``.boot2`` of 256 bytes; changed in place.

    Raises: ToolError: it cannot be changed, or has no such section.
    """
    try:
        with image.open("r+b") as file:
            section = ELFFile(file).get_section_by_name(BOOT2_SECTION)
            if section is None or section["sh_size"] != BOOT2_BYTES:
                raise ToolError(f"{image}: has no section {BOOT2_SECTION} of {BOOT2_BYTES} bytes")
            code = section.data()[: BOOT2_BYTES - 4]
            file.seek(section["sh_offset"] + len(code))
            file.write(boot2_checksum(code).to_bytes(4, "little"))
    except (OSError, ELFError) as error:
        raise ToolError(f"{image}: the checksum cannot be put in: {error}") from error


def boot2_checksum(code: bytes) -> int:
    """CRC-32/MPEG-2: polynomial 0x04C11DB7, initial value 0xFFFFFFFF, nothing reflected or
    inverted."""
    crc = 0xFFFFFFFF
    for byte in code:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc
