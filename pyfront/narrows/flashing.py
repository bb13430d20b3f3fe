# SPDX-License-Identifier: Apache-2.0
"""Tools that write a board from outside, and what each has to know of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass


@dataclass(frozen=True)
class Uf2Drive:
    """family: as ``narrows.link.uf2.Family`` names chips; board_id: what the bootloader's drive
    says in its INFO_UF2.TXT."""

    family: str
    board_id: str


@dataclass(frozen=True)
class Stm32Bootloader:
    """What ST's bootloader in ROM must know. chip_id: its answer to GET_ID; base: of the flash;
    sectors: (how many, bytes of each) from there on, as it numbers them."""

    chip_id: int
    base: int
    sectors: tuple[tuple[int, int], ...]

    def sectors_of(self, start: int, end: int) -> range:
        """The numbers of all sectors with a byte of ``start`` to ``end``."""
        sizes = [size for count, size in self.sectors for _ in range(count)]
        ends = list(itertools.accumulate(sizes, initial=self.base))
        touched = [i for i in range(len(sizes)) if ends[i] < end and start < ends[i + 1]]
        if not touched or start < self.base or end > ends[-1]:
            raise ValueError("not in this flash")
        return range(touched[0], touched[-1] + 1)


@dataclass(frozen=True)
class EspFlash:
    """chip: as esptool calls it; base: the address where the flash's first byte is seen."""

    chip: str
    base: int


@dataclass(frozen=True)
class FlashTools:
    """What writes a chip from outside, the best first, and what each has to know.

    target: pyOCD's name of the chip. openocd: its configuration files.
    """

    tools: tuple[str, ...] = ()
    target: str | None = None
    openocd: tuple[str, ...] | None = None
    uf2: Uf2Drive | None = None
    stm32: Stm32Bootloader | None = None
    esp: EspFlash | None = None
