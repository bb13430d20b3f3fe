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

from boards import BOARDS, CHIP, INCLUDES, RV32, Board
from conftest import ROOT, WARNINGS
from models import missing, need

HERE = ROOT / "tests" / "chip"
SANITIZE = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

Build: TypeAlias = Callable[..., Path]
"""(board, test, driver, model): a program of tests/chip/TEST.c over that model of registers."""


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def run(board: Board, test: str, driver: str, model: str) -> Path:
        need("cc")
        board.write(tmp_path)
        sources = [HERE / f"{name}.c" for name in (test, model, "model")] + [CHIP / f"{driver}.c"]
        includes = [f"-I{folder}" for folder in (tmp_path, HERE, *INCLUDES[:2])]
        options = [*WARNINGS, "-Wshadow", *SANITIZE, "-DREGISTERS_MODEL", *includes]
        program = tmp_path / test
        command = ["cc", *options, *sources, "-lm", "-o", program]
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
    program = build(board, "uart", f"uart_{uart}", f"model_uart_{uart}")
    for seed in range(5):
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
    program = build(BOARDS[name], "timer", f"timer_{timer}", f"model_timer_{model}")
    for seed in range(5):
        passes(program, seed)
