# SPDX-License-Identifier: Apache-2.0
"""Chip drivers over models of the registers that their manuals describe, under sanitizers; and
what the cross compilers say to them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest
from chip_boards import BOARDS, CHIP, INCLUDES, RV32, Board

from conftest import ROOT, WARNINGS
from models import need

HERE = ROOT / "tests" / "chip"
SANITIZE = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

Build: TypeAlias = Callable[..., Path]
"""(board, driver, *sources): a program of that driver and files of tests/chip: a test, a model."""


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def run(board: Board, driver: str, *sources: str) -> Path:
        need("cc")
        board.write(tmp_path)
        files = [CHIP / f"{driver}.c", *(HERE / f"{name}.c" for name in ("model", *sources))]
        includes = [f"-I{folder}" for folder in (tmp_path, HERE, *INCLUDES[:2])]
        options = [*WARNINGS, "-Wshadow", *SANITIZE, "-DREGISTERS_MODEL", *includes]
        program = tmp_path / driver
        command = ["cc", *options, *files, "-lm", "-o", program]
        subprocess.run(command, check=True, timeout=600)
        return program

    return run


def passes(program: Path, seed: int = 0) -> None:
    """Run a test's program, which must find nothing wrong."""
    environment = {**os.environ, "SEED": str(seed)}
    done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def with_facts(name: str, **facts: int) -> Board:
    board = BOARDS[name]
    return replace(board, facts={**board.facts, **facts})


UARTS = [
    ("mps2", "cmsdk", {}),
    ("stm32f100", "stm32_v1", {}),
    ("stm32f446", "stm32_v1", {}),
    ("stm32l4r5", "stm32_v2", {}),
    ("stm32h743", "stm32_v2", {}),
    ("lm3s", "pl011", {}),
    ("rp2040", "pl011", {}),
    ("msf2", "ns16550", {}),
    ("msf2", "ns16550", {"uart_fraction": 1}),
    ("fe310", "sifive", {}),
    ("nrf51", "nrf", {}),
    ("nrf52840", "nrf", {}),
]


@pytest.mark.parametrize(("name", "uart", "facts"), UARTS)
def test_uart(build: Build, name: str, uart: str, facts: dict[str, int]) -> None:
    """Rates within 2% or refused, every byte in order, no byte sent without room, an overrun that
    passes, and rates that change only between bytes."""
    board = with_facts(name, **facts)
    program = build(board, f"uart_{uart}", "uart", f"model_uart_{uart}")
    for seed in range(3):
        passes(program, seed)


TIMERS = [
    ("nrf51", "nrf", "nrf"),
    ("nrf52840", "nrf", "nrf"),
    ("fe310", "clint", "64"),
    ("rp2040", "rp2", "64"),
    ("rp2350", "rp2", "64"),
]


@pytest.mark.parametrize(("name", "timer", "model"), TIMERS)
def test_timer(build: Build, name: str, timer: str, model: str) -> None:
    """The time is right to the accesses that reading it takes and never goes back, wherever 32
    bits run over and however late the interrupt comes."""
    program = build(BOARDS[name], f"timer_{timer}", "timer", f"model_timer_{model}")
    for seed in range(5):
        passes(program, seed)


FLASHES = [
    ("stm32f446", "stm32f4", "stm32f4", {}),
    ("stm32f429", "stm32f4", "stm32f4", {}),
    ("stm32f100", "stm32f1", "stm32f1", {}),
    ("stm32f100", "stm32f1", "stm32f1", {"flash_erase_bytes": 2048}),
    ("stm32l4r5", "stm32l4", "stm32l4", {}),
    ("stm32h743", "stm32h7", "stm32h7", {}),
    ("nrf51", "nrf", "nrf", {}),
    ("nrf52840", "nrf", "nrf", {}),
    ("lm3s", "lm3s", "lm3s", {}),
    ("msf2", "spi_nor_msf2", "spi_nor_msf2", {}),
    ("rp2040", "rp2040", "rp2", {}),
    ("rp2350", "rp2350", "rp2", {"setup_base": 0x400E0000}),
    ("mps2", "ram", "ram", {}),
]


@pytest.mark.parametrize(("name", "flash", "model", "facts"), FLASHES)
def test_flash(build: Build, name: str, flash: str, model: str, facts: dict[str, int]) -> None:
    """Every sector is erased and every unit programmed, by the manual's rules; errors are told and
    pass; nothing outside the area is touched; the controller is locked again, and caches hold
    nothing old."""
    sources = ("flash_chip", "flash_support", f"model_flash_{model}")
    passes(build(with_facts(name, **facts), f"flash_{flash}", *sources))


def test_flash_that_only_a_programmer_writes(build: Build) -> None:
    passes(build(BOARDS["fe310"], "flash_rom", "rom", "flash_support", "model_flash_ram"))


TORN = [("stm32h743", "stm32h7", "torn_h7"), ("stm32l4r5", "stm32l4", "torn_l4")]


@pytest.mark.parametrize(("name", "flash", "test"), TORN)
def test_what_the_power_has_torn(build: Build, name: str, flash: str, test: str) -> None:
    """Units whose code is wrong do not keep the chip from starting."""
    program = build(BOARDS[name], f"flash_{flash}", test, "flash_support", f"model_flash_{flash}")
    for seed in range(5):
        passes(program, seed)


HSI = {"hse_hz": 0, "hse_bypass": 0}
STARTS = [
    ("stm32f100", "stm32f1", "stm32f1", {}),
    ("stm32f100", "stm32f1", "stm32f1", {"hse_hz": 0, "pll_n": 6}),
    ("stm32f205", "stm32f4", "stm32f4", {}),
    ("stm32f429", "stm32f4", "stm32f4", {}),
    ("stm32f446", "stm32f4", "stm32f4", {}),
    ("stm32f446", "stm32f4", "stm32f4", {**HSI, "pll_m": 8}),
    ("stm32l4r5", "stm32l4", "stm32l4", {}),
    ("stm32l4r5", "stm32l4", "stm32l4", {"hse_hz": 16_000_000, "pll_m": 2, "pll_n": 30}),
    ("stm32h743", "stm32h7", "stm32h7", {}),
    ("stm32h743", "stm32h7", "stm32h7", {**HSI, "pll_m": 32, "pll_n": 400}),
    ("rp2040", "rp2040", "rp2", {}),
    ("rp2350", "rp2350", "rp2", {}),
    ("lm3s", "lm3s", "small", {}),
    ("fe310", "fe310", "small", {}),
    ("nrf51", "nrf51", "small", {}),
    ("nrf52840", "nrf52", "small", {}),
    ("msf2", "msf2", "small", {}),
]


@pytest.mark.parametrize(("name", "start", "model", "facts"), STARTS)
def test_start(build: Build, name: str, start: str, model: str, facts: dict[str, int]) -> None:
    """After a reset and after a boot loader: sources are ready before they are used, wait states
    and voltage are there before the clock rises, and the board's frequencies come out."""
    program = build(
        with_facts(name, **facts), f"start_{start}", "clock", "clock_gpio", f"model_start_{model}"
    )
    for seed in range(6):
        passes(program, seed)


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_cross_compilers_find_nothing(name: str, tmp_path: Path) -> None:
    """Every driver of the board, for its core."""
    board = BOARDS[name]
    compiler = "riscv64-unknown-elf-gcc" if board.flags == RV32 else "arm-none-eabi-gcc"
    need(compiler)
    board.write(tmp_path)
    includes = [f"-I{folder}" for folder in (tmp_path, *INCLUDES)]
    options = [*WARNINGS, "-Wshadow", "-ffreestanding", *board.flags, *includes]
    for driver in board.drivers:
        for level in ("-O2", "-Os"):
            command = [compiler, *options, level, "-c", CHIP / f"{driver}.c", "-o", tmp_path / "o"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
            assert (done.returncode, done.stderr) == (0, "")


def test_every_driver_is_on_a_board() -> None:
    """No driver is left out of these tests."""
    used = {driver for board in BOARDS.values() for driver in board.drivers}
    assert {path.stem for path in CHIP.glob("*.c")} <= used


def section(board: Board, driver: str, name: str, folder: Path) -> bytes:
    """The bytes of a section of a driver that is compiled for its board."""
    need("arm-none-eabi-gcc", "arm-none-eabi-objcopy")
    board.write(folder)
    includes = [f"-I{part}" for part in (folder, *INCLUDES)]
    unit, out = folder / "unit.o", folder / "section.bin"
    options = ["-std=c99", "-O2", "-ffreestanding", *board.flags, *includes]
    command = ["arm-none-eabi-gcc", *options, "-c", CHIP / f"{driver}.c", "-o", unit]
    subprocess.run(command, check=True, timeout=600)
    command = ["arm-none-eabi-objcopy", "-O", "binary", "-j", name, unit, out]
    subprocess.run(command, check=True, timeout=600)
    return out.read_bytes()


def test_the_boot_rom_of_rp2350_finds_an_image(tmp_path: Path) -> None:
    block = section(BOARDS["rp2350"], "start_rp2350", ".image_def", tmp_path)
    words = [int.from_bytes(block[at : at + 4], "little") for at in range(0, len(block), 4)]
    assert words == [0xFFFFDED3, 0x10210142, 0x000001FF, 0, 0xAB123579]


@pytest.mark.parametrize("name", ["rp2040", "rp2350"])
def test_what_changes_the_flash_of_rp2_runs_from_ram(name: str, tmp_path: Path) -> None:
    """It calls by pointers alone, which a relocation to anything but its own variables and a
    branch out of it would belie."""
    code = section(BOARDS[name], f"flash_{name}", ".data.ramcode", tmp_path)
    assert 32 < len(code) < 256
    command = ["arm-none-eabi-objdump", "-r", "-j", ".data.ramcode", tmp_path / "unit.o"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    targets = {line.split()[-1] for line in done.stdout.splitlines() if "R_ARM" in line}
    assert targets == {".bss"}
