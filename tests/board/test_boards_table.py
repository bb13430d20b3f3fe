# SPDX-License-Identifier: Apache-2.0
"""What boards/README.md says of flash, RAM and instructions is so, and small enough."""

from __future__ import annotations

import json

import pytest
from boards_table import BEGIN, END, PAGE, STORED, flash_bytes, measure_sizes, table
from figures import GROWTH, NETWORKS

from models import need
from narrows.boards import load_board, load_boards
from narrows.link.compilers import GCC

FIGURES = json.loads(STORED.read_text())
MOST_FLASH = 44 * 1024
MOST_FLASH_FOR_DIGITS = 24 * 1024


def test_the_page_has_the_stored_figures() -> None:
    assert PAGE.read_text().split(BEGIN)[1].split(END)[0].strip() == table(FIGURES)
    emulated = {board.name for board in load_boards() if board.emulator is not None}
    assert set(FIGURES["boards"]) == emulated


@pytest.mark.parametrize("name", [board.name for board in load_boards()])
def test_firmware_of_every_board_is_built(name: str) -> None:
    """Also of those that cannot run here; it fits, and has not grown."""
    board = load_board(name)
    need(GCC[board.core.family][0])
    flash = flash_bytes(board)
    assert flash <= board.code.bytes
    if name in FIGURES["boards"]:
        assert flash <= FIGURES["boards"][name]["firmware_flash"] * GROWTH


def test_small_firmware() -> None:
    """With link, store and every operator within 44 KiB; for the digits alone within 24."""
    need("arm-none-eabi-gcc")
    sizes = measure_sizes()
    for cpu, measured in sizes.items():
        assert measured["all"] <= MOST_FLASH
        assert measured["digits"] <= MOST_FLASH_FOR_DIGITS
        for kind, size in measured.items():
            assert size <= FIGURES["sizes"][cpu][kind] * GROWTH


def test_small_firmware_of_a_board_with_drivers() -> None:
    """A Cortex-M0 with UART, timer and flash of a real chip: for the digits within 24 KiB too."""
    need("arm-none-eabi-gcc")
    board = load_board("microbit")
    assert board.core.small
    assert flash_bytes(board, NETWORKS["digits"].compiled("microbit")) <= MOST_FLASH_FOR_DIGITS


def test_ram_beside_the_arena() -> None:
    """Stack, variables and buffers: 3 KiB on every board."""
    for name, row in FIGURES["boards"].items():
        assert row["digits_ram"] - row["digits_run"] <= 3 * 1024, name
        if "vww_ram" in row:
            assert row["vww_ram"] - row["vww_run"] <= 3 * 1024, name
