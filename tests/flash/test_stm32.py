# SPDX-License-Identifier: Apache-2.0
"""ST's bootloader over a serial port: the package stm32loader against a model of the ROM, and then
the board in QEMU that starts from the flash that the model was left with."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from machines import HANG, Terminal, booted, pump, terminal
from stm32_rom import BASE, SECTORS, Bootloader

from conftest import Narrows
from models import need
from narrows.blob import read_blob
from narrows.boards import Board, read_board
from narrows.errors import LinkError, ToolError
from narrows.flash.contents import model_segments
from narrows.flash.stm32 import STM32LOADER
from narrows.flash.tool import Job
from narrows.flashing import Stm32Bootloader
from narrows.link import firmware
from narrows.link.image import Segment, load_segments
from narrows.share import share_dir

FLASH = """
[flash]
tools = ["stm32loader"]

[flash.stm32]
chip_id = 0x413
base = 0x08000000
sectors = [[4, 0x4000], [1, 0x10000], [7, 0x20000]]
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = (share_dir() / "boards" / "netduinoplus2.toml").read_text() + FLASH
    path = tmp_path_factory.mktemp("boards") / "netduinoplus2.toml"
    path.write_text(text)
    return path


@pytest.fixture
def line() -> Iterator[Terminal]:
    with terminal() as opened:
        yield opened


def holds(rom: Bootloader, segments: list[Segment]) -> bool:
    return all(rom.flash[a - BASE : a - BASE + len(data)] == data for a, data in segments)


def test_firmware_and_model_and_then_the_board_runs(
    narrows: Narrows, path: Path, line: Terminal, digits_blob: Path, tmp_path: Path
) -> None:
    """The ROM's GO starts what it was given, and the firmware there answers with the model."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    board, blob = read_board(path), read_blob(digits_blob)
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(address: int) -> None:
        threads.append(threading.Thread(target=run_board, args=(address,), daemon=True))
        threads[0].start()

    def run_board(address: int) -> None:
        assert address == board.code.base
        flash = tmp_path / "flash.bin"
        flash.write_bytes(rom.flash)
        with booted(board, {flash: BASE}) as url:
            pump(line, url, stop)

    rom = Bootloader(line.end, start)
    arguments = ("flash", digits_blob, "--board", path, "--port", line.name)
    done = narrows(*arguments, "--via", "stm32loader", timeout=10 * HANG)
    stop.set()
    rom.stop()
    for thread in threads:
        thread.join(HANG)
    assert done.returncode == 0, done.stderr
    assert "checked over the link" in done.stdout
    segments = [*load_segments(firmware.build(board)), *model_segments(board, blob)]
    assert holds(rom, segments)
    # Firmware in the first sectors, the model's in the others that it and its records touch.
    assert set(rom.erased) < set(range(len(SECTORS)))
    assert len(rom.erased) == len(set(rom.erased))


def test_a_model_alone_leaves_the_firmware(path: Path, line: Terminal, digits_blob: Path) -> None:
    board = read_board(path)
    segments = model_segments(board, read_blob(digits_blob))
    rom = Bootloader(line.end)
    before = bytes(rom.flash[: board.models.base - BASE])
    STM32LOADER.write(Job(board, segments, line.name))
    rom.stop()
    assert holds(rom, segments)
    assert bytes(rom.flash[: board.models.base - BASE]) == before
    assert min(rom.erased) == 5  # the first of the sectors of 128 KiB


@contextlib.contextmanager
def refused(rom: Bootloader, error: type[Exception], words: str) -> Iterator[None]:
    with pytest.raises(error) as caught:
        yield
    rom.stop()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def job(path: Path, line: Terminal, data: bytes = b"firmware", address: int = BASE) -> Job:
    return Job(read_board(path), [Segment(address, data)], line.name)


def test_another_chip_is_refused(path: Path, line: Terminal) -> None:
    rom = Bootloader(line.end, chip_id=0x419)
    words = f"{line.name}: a chip with ID 0x419 answers, but board netduinoplus2 has 0x413"
    with refused(rom, ToolError, words):
        STM32LOADER.write(job(path, line))
    assert not rom.erased


def test_worn_flash_is_found_by_reading_back(path: Path, line: Terminal) -> None:
    rom = Bootloader(line.end)
    rom.flash[0x104] = 0
    rom.worn.add(0x104)
    with refused(rom, ToolError, "holds other bytes than were written"):
        STM32LOADER.write(job(path, line, bytes([0xFF]) * 0x104 + b"\x01" * 8))


def test_silence_in_the_midst_is_an_error(
    path: Path, line: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("narrows.flash.stm32._SILENCE_SECONDS", 0.2)
    rom = Bootloader(line.end)
    rom.dies_at = 2
    with refused(rom, ToolError, f"{line.name}: the STM32 bootloader fails"):
        STM32LOADER.write(job(path, line, bytes(1024)))


def test_a_board_that_is_not_in_its_bootloader(
    narrows: Narrows, path: Path, line: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("narrows.flash.stm32._SILENCE_SECONDS", 0.2)
    with pytest.raises(ToolError, match="BOOT0 high, then reset"):
        STM32LOADER.write(job(path, line))


def test_a_port_that_vanishes(path: Path, line: Terminal) -> None:
    rom = Bootloader(line.end)
    rom.dies_at, rom.dying = 2, line.vanish
    with pytest.raises((LinkError, ToolError)) as caught:
        STM32LOADER.write(job(path, line, bytes(1024)))
    assert str(caught.value).startswith(line.name)
    assert "\n" not in str(caught.value)
    rom.stop()


def test_what_is_not_in_the_flash_is_refused(path: Path, line: Terminal) -> None:
    with pytest.raises(ToolError, match=r"flash.stm32: 0x7fffff0 to 0x7fffff8 is not in"):
        STM32LOADER.write(job(path, line, address=BASE - 16))


def test_sectors() -> None:
    stm32 = Stm32Bootloader(0x413, BASE, ((4, 0x4000), (1, 0x10000), (7, 0x20000)))
    assert list(stm32.sectors_of(BASE, BASE + 1)) == [0]
    assert list(stm32.sectors_of(BASE + 0x3FFF, BASE + 0x4001)) == [0, 1]
    assert list(stm32.sectors_of(BASE + 0x10000, BASE + 0x20000)) == [4]
    assert list(stm32.sectors_of(BASE + 0x1FFFF, BASE + 0x100000)) == list(range(4, 12))
    for start, end in ((BASE - 1, BASE + 1), (BASE, BASE + 0x100001)):
        with pytest.raises(ValueError, match="not in this flash"):
            stm32.sectors_of(start, end)


def test_it_needs_a_port(path: Path) -> None:
    board: Board = read_board(path)
    assert STM32LOADER.obstacle(Job(board, ())) == "stm32loader needs --port"
