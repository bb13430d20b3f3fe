# SPDX-License-Identifier: Apache-2.0
"""Boards to compile the chip drivers for: what their board.h would say, and the drivers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

CHIP = ROOT / "firmware" / "chip"
INCLUDES = (CHIP, ROOT / "firmware" / "port", ROOT / "firmware" / "libc")


@dataclass(frozen=True)
class Board:
    """drivers: stems of files in firmware/chip; flags: of the compiler, for the core."""

    drivers: Sequence[str]
    flags: Sequence[str]
    uart: tuple[int, int, int]  # base, interrupt, clock in Hz
    flash: tuple[int, int, int]  # base, bytes, bytes of a sector
    facts: dict[str, int]

    def header(self) -> str:
        """The text of board.h."""
        base, irq, clock = self.uart
        values = {
            "uart_base": base,
            "uart_irq": irq,
            "uart_clock_hz": clock,
            "uart_baud": 115200,
            "flash_base": self.flash[0],
            "flash_bytes": self.flash[1],
            "flash_erase_bytes": self.flash[2],
            "timer_hz": 16_000_000,
            **self.facts,
        }
        lines = [f"#define BOARD_{name.upper()} {value:#x}" for name, value in values.items()]
        return "\n".join(["#ifndef BOARD_H", "#define BOARD_H", *lines, "#endif", ""])

    def write(self, folder: Path) -> None:
        (folder / "board.h").write_text(self.header(), encoding="utf-8")


M0 = ("-mcpu=cortex-m0", "-mthumb")
M3 = ("-mcpu=cortex-m3", "-mthumb")
M4 = ("-mcpu=cortex-m4", "-mthumb")
M7 = ("-mcpu=cortex-m7", "-mthumb")
M33 = ("-mcpu=cortex-m33", "-mthumb")
RV32 = ("-march=rv32imac", "-mabi=ilp32")
K = 1024

PINS_A2_A3 = {"uart_tx_port": 0, "uart_tx_pin": 2, "uart_rx_port": 0, "uart_rx_pin": 3}
PINS_D8_D9 = {"uart_tx_port": 3, "uart_tx_pin": 8, "uart_rx_port": 3, "uart_rx_pin": 9}

BOARDS = {
    "lm3s": Board(
        ("start_lm3s", "uart_pl011", "flash_lm3s"),
        M3,
        (0x4000C000, 5, 50_000_000),
        (0x20000, 128 * K, 1 * K),
        {"core_hz": 50_000_000},
    ),
    "msf2": Board(
        ("start_msf2", "uart_ns16550", "flash_spi_nor_msf2"),
        M3,
        (0x40000000, 10, 71_000_000),
        (0x20000000, 256 * K, 64 * K),
        {"spi_base": 0x40001000, "spi_clock_hz": 71_000_000, "nor_offset": 0x100000},
    ),
    "fe310": Board(
        ("start_fe310", "uart_sifive", "timer_clint", "flash_rom"),
        RV32,
        (0x10013000, 3, 16_000_000),
        (0x20480000, 128 * K, 64 * K),
        {},
    ),
    "mps2": Board(
        ("uart_cmsdk", "flash_ram"),
        M4,
        (0x40004000, 0, 25_000_000),
        (0x21000000, 64 * K, 4 * K),
        {},
    ),
    "nrf51": Board(
        ("start_nrf51", "uart_nrf", "timer_nrf", "flash_nrf"),
        M0,
        (0x40002000, 2, 16_000_000),
        (0x20000, 128 * K, 1 * K),
        {
            "uart_tx_pin": 24,
            "uart_rx_pin": 25,
            "timer_base": 0x40008000,
            "timer_irq": 8,
        },
    ),
    "nrf52840": Board(
        ("start_nrf52", "uart_nrf", "timer_nrf", "flash_nrf"),
        M4,
        (0x40002000, 2, 16_000_000),
        (0x80000, 512 * K, 4 * K),
        {
            "uart_tx_pin": 6,
            "uart_rx_pin": 40,
            "timer_base": 0x40008000,
            "timer_irq": 8,
        },
    ),
    "stm32f100": Board(
        ("start_stm32f1", "uart_stm32_v1", "flash_stm32f1"),
        M3,
        (0x40013800, 37, 24_000_000),
        (0x08010000, 64 * K, 1 * K),
        {
            "hse_hz": 8_000_000,
            "core_hz": 24_000_000,
            "pll_n": 3,
            "apb1_divider": 1,
            "apb2_divider": 1,
            "uart_clock_bit": 14,
            "uart_port": 0,
            "uart_tx_pin": 9,
            "uart_rx_pin": 10,
        },
    ),
    "stm32f205": Board(
        ("start_stm32f4", "uart_stm32_v1", "flash_stm32f4"),
        M3,
        (0x40011000, 37, 16_000_000),
        (0x08080000, 512 * K, 128 * K),
        {
            "core_hz": 16_000_000,
            "apb1_divider": 1,
            "apb2_divider": 1,
            "uart_clock_bit": 4,
            "uart_tx_port": 0,
            "uart_tx_pin": 9,
            "uart_rx_port": 0,
            "uart_rx_pin": 10,
            "uart_function": 7,
        },
    ),
    "stm32f446": Board(
        ("start_stm32f4", "uart_stm32_v1", "flash_stm32f4"),
        M4,
        (0x40004400, 38, 45_000_000),
        (0x08020000, 384 * K, 128 * K),
        {
            "hse_hz": 8_000_000,
            "hse_bypass": 1,
            "core_hz": 180_000_000,
            "pll_m": 4,
            "pll_n": 180,
            "pll_p": 2,
            "apb1_divider": 4,
            "apb2_divider": 2,
            "overdrive": 1,
            "voltage_scale": 3,
            "uart_clock_bit": 17,
            "uart_function": 7,
            **PINS_A2_A3,
        },
    ),
    "stm32f429": Board(
        ("start_stm32f4", "uart_stm32_v1", "flash_stm32f4"),
        M4,
        (0x40011000, 37, 84_000_000),
        (0x08120000, 896 * K, 128 * K),
        {
            "core_hz": 168_000_000,
            "pll_m": 8,
            "pll_n": 168,
            "pll_p": 2,
            "apb1_divider": 4,
            "apb2_divider": 2,
            "uart_clock_bit": 4,
            "uart_tx_port": 0,
            "uart_tx_pin": 9,
            "uart_rx_port": 0,
            "uart_rx_pin": 10,
            "uart_function": 7,
        },
    ),
    "stm32l4r5": Board(
        ("start_stm32l4", "uart_stm32_v2", "flash_stm32l4"),
        M4,
        (0x40004400, 38, 60_000_000),
        (0x080C0000, 512 * K, 4 * K),
        {
            "core_hz": 120_000_000,
            "pll_m": 1,
            "pll_n": 60,
            "pll_r": 2,
            "apb1_divider": 2,
            "apb2_divider": 1,
            "uart_clock_bit": 17,
            "uart_function": 7,
            "uart_fifo": 1,
            "flash_bank_bytes": 0x100000,
            **PINS_A2_A3,
        },
    ),
    "stm32h743": Board(
        ("start_stm32h7", "uart_stm32_v2", "flash_stm32h7"),
        M7,
        (0x40004800, 39, 100_000_000),
        (0x080C0000, 1280 * K, 128 * K),
        {
            "hse_hz": 8_000_000,
            "hse_bypass": 1,
            "core_hz": 400_000_000,
            "pll_m": 1,
            "pll_n": 100,
            "pll_p": 2,
            "uart_clock_bit": 18,
            "uart_function": 7,
            "uart_fifo": 1,
            **PINS_D8_D9,
        },
    ),
    "rp2040": Board(
        ("start_rp2040", "uart_pl011", "timer_rp2", "flash_rp2040"),
        ("-mcpu=cortex-m0plus", "-mthumb"),
        (0x40034000, 20, 125_000_000),
        (0x10100000, 1024 * K, 4 * K),
        {
            "crystal_hz": 12_000_000,
            "core_hz": 125_000_000,
            "pll_n": 125,
            "pll_p1": 6,
            "pll_p2": 2,
            "timer_base": 0x40054000,
            "timer_hz": 1_000_000,
        },
    ),
    "rp2350": Board(
        ("start_rp2350", "uart_pl011", "timer_rp2", "flash_rp2350"),
        M33,
        (0x40070000, 33, 150_000_000),
        (0x10200000, 2048 * K, 4 * K),
        {
            "crystal_hz": 12_000_000,
            "core_hz": 150_000_000,
            "pll_n": 125,
            "pll_p1": 5,
            "pll_p2": 2,
            "timer_base": 0x400B0000,
            "timer_hz": 1_000_000,
        },
    ),
}
