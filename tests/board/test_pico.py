# SPDX-License-Identifier: Apache-2.0
"""A Raspberry Pi Pico in rp2040js: it boots as the chip does, and its UART, timer, faults and flash
are those that drivers meet there."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial

from conftest import ROOT
from models import need, need_rp2040js
from narrows.errors import ToolError
from narrows.link.image import boot2_checksum, load_segments, seal_boot2
from narrows.link.line import open_port
from narrows.link.rp2040js import Rp2040js, find_rp2040js

FOLDER = Path(__file__).parent / "pico"
BOOT2 = ROOT / "firmware" / "chip" / "rp2040_boot2.S"
FLASH = 0x10000000
FLASH_BYTES = 2 << 20
RAM_END = 0x20042000
SLOT = 0x100000
PAGE_BYTES = 256
CANARY = 0x600DF00D
CYCLES_PER_TICK = 12  # the tests' firmware runs at 12 MHz; a tick of the timer is a microsecond
HANG = 120.0
FLAGS = (
    *("-mcpu=cortex-m0plus", "-mthumb", "-std=c99", "-Os", "-ffreestanding", "-nostdlib"),
    *("-fno-tree-loop-distribute-patterns", "-Wall", "-Wextra", "-Wconversion", "-Wshadow"),
    *("-Wmissing-prototypes", "-Werror", "-Wl,--fatal-warnings"),
)


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    need("arm-none-eabi-gcc")
    need_rp2040js()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests' own firmware."""
    image = tmp_path_factory.mktemp("pico") / "firmware.elf"
    link(image, BOOT2)
    return image


def link(image: Path, boot2: Path) -> None:
    sources = [FOLDER / "firmware.c", boot2]
    command = ["arm-none-eabi-gcc", *FLAGS, "-T", FOLDER / "pico.ld", *sources, "-lgcc"]
    subprocess.run([*command, "-o", image], check=True)
    seal_boot2(image)


class Talk:
    """Commands of the tests' firmware."""

    def __init__(self, port: serial.SerialBase) -> None:
        self._port = port
        port.timeout = HANG

    def read(self, size: int) -> bytes:
        data = bytes(self._port.read(size))
        assert len(data) == size, f"{data!r} and then nothing"
        return data

    def word(self) -> int:
        return int.from_bytes(self.read(4), "little")

    def boots(self) -> None:
        assert self.read(1) == b"!"
        assert self.word() == CANARY

    def say(self, command: str, *words: int, data: bytes = b"") -> None:
        arguments = b"".join(word.to_bytes(4, "little") for word in words)
        self._port.write(command.encode() + arguments + data)

    def ask(self, command: str, *words: int, data: bytes = b"") -> int:
        self.say(command, *words, data=data)
        return self.word()

    def echo(self, data: bytes) -> bytes:
        self.say("e", len(data), data=data)
        return self.read(len(data))

    def fault(self, command: str, *words: int) -> int:
        """Returns: the address of the instruction."""
        self.say(command, *words)
        assert self.read(1) == b"F"
        return self.word()


@contextlib.contextmanager
def talk_to(pico: Rp2040js) -> Iterator[Talk]:
    with contextlib.closing(open_port(pico.url)) as port:
        yield Talk(port)


@contextlib.contextmanager
def booted(image: Path, count: bool = True) -> Iterator[Talk]:
    with Rp2040js(image, count=count) as pico, talk_to(pico) as talk:
        talk.boots()
        yield talk


def test_bytes_come_and_go(image: Path) -> None:
    """Far more than the UART's buffer and the firmware's hold."""
    data = random.Random(0).randbytes(20000)
    with booted(image) as talk:
        assert talk.echo(data) == data


def test_the_second_stage_has_the_checksum_that_the_bootrom_wants(image: Path) -> None:
    # The check value of CRC-32/MPEG-2 in the catalogue of parametrised CRC algorithms.
    assert boot2_checksum(b"123456789") == 0x0376E6E7
    (first, *_) = load_segments(image)
    assert first.address == FLASH
    stored = int.from_bytes(first.data[252:256], "little")
    assert stored == boot2_checksum(first.data[:252]) != 0


def test_a_chip_does_not_run_another_second_stage(image: Path, tmp_path: Path) -> None:
    data = bytearray(image.read_bytes())
    code = load_segments(image)[0].data[:256]
    data[data.index(code) + 100] ^= 1
    other = tmp_path / "other.elf"
    other.write_bytes(data)
    with pytest.raises(ToolError, match=r"does not start: .*first 256 bytes.* wrong checksum"):
        Rp2040js(other)
    seal_boot2(other)
    assert load_segments(other)[0].data[:252] == bytes(code[:100]) + bytes([code[100] ^ 1]) + bytes(
        code[101:252]
    )


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("bne quad_is_enabled", "b quad_is_enabled", "EBh was sent while the quad-enable bit is"),
        ("bne flash_is_busy", "nop", "EBh was sent while the flash is busy"),
        ("WRITE_ENABLE, 0x06", "WRITE_ENABLE, 0x04", "command 4 is not one"),
        ("MODE_CONTINUOUS, 0xa0", "MODE_CONTINUOUS, 0", "cannot be read now: 0x10000100"),
        ("READ_QUAD_IO, 0xeb", "READ_QUAD_IO, 0xbb", "cannot be read now: 0x10000100"),
        ("24 | 4 << 11", "24 | 6 << 11", "cannot be read now: 0x10000100"),
    ],
)
def test_a_second_stage_with_a_mistake_is_seen(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    """What the flash and its interface do not agree on does not go well by luck."""
    source, image = tmp_path / "boot2.S", tmp_path / "wrong.elf"
    text = BOOT2.read_text(encoding="utf-8")
    assert text.count(right) == 1
    source.write_text(text.replace(right, wrong), encoding="utf-8")
    link(image, source)
    with Rp2040js(image) as pico, talk_to(pico):
        failure = pico.failure()
    assert failure is not None
    assert message in failure


def test_firmware_without_a_second_stage_cannot_be_sealed(tmp_path: Path) -> None:
    source, image = tmp_path / "empty.c", tmp_path / "empty.elf"
    source.write_text("void start(void) {}\n")
    subprocess.run(["arm-none-eabi-gcc", "-nostdlib", source, "-e", "start", "-o", image])
    with pytest.raises(ToolError, match=r"no section \.boot2 of 256 bytes"):
        seal_boot2(image)
    image.write_bytes(image.read_bytes()[:40])
    for use in (seal_boot2, load_segments):
        with pytest.raises(ToolError, match=r"empty\.elf: "):
            use(image)


def test_the_timer_counts_instructions(image: Path) -> None:
    """Two in each turn of the loop, some around it."""
    with booted(image) as talk:
        for turns in (600, 60000, 600000):
            ticks = talk.ask("t", turns)
            assert 0 <= ticks - 2 * turns // CYCLES_PER_TICK <= 2


def test_the_timer_counts_cycles(image: Path) -> None:
    """One of the subtraction, two of the branch."""
    with booted(image, count=False) as talk:
        for turns in (600, 60000, 600000):
            ticks = talk.ask("t", turns)
            assert 0 <= ticks - 3 * turns // CYCLES_PER_TICK <= 3


def test_what_is_not_read_in_time_is_lost(image: Path) -> None:
    """The line goes on at its rate, and the UART has room for 32 bytes."""
    with booted(image) as talk:
        assert talk.ask("d", 100_000, data=bytes(100)) == 32
        assert talk.echo(b"still there") == b"still there"


def test_faults(image: Path) -> None:
    """What is not there and what is not aligned; the firmware is told where."""
    (first, *_) = load_segments(image)
    for command, *words in (
        ("r", RAM_END),
        ("r", RAM_END - 2),
        ("r", FLASH + FLASH_BYTES),
        ("r", 0x60000000),
        ("w", 0x1FFFFFFC, 0),
        ("w", RAM_END - 3, 0),
        ("w", FLASH, 0),
    ):
        with booted(image) as talk:
            place = talk.fault(command, *words)
            assert FLASH + 256 <= place < FLASH + len(first.data)
            instruction = first.data[place - FLASH : place - FLASH + 2]
            # LDR or STR with an offset, ARMv6-M Architecture Reference Manual, A6.7.
            assert int.from_bytes(instruction, "little") >> 11 == (
                0b01101 if command == "r" else 12
            )


def test_a_lockup_ends_the_emulator(image: Path) -> None:
    """No vector can be read: the next byte's interrupt becomes a hard fault, and that no better."""
    vector_table, uart = 0xE000ED08, 16 + 20
    with Rp2040js(image) as pico, talk_to(pico) as talk:
        talk.boots()
        talk.ask("w", vector_table, 0x60000000)
        talk.say("x")
        failure = pico.failure()
    assert failure == (
        f"the core has locked up: a read of {0x60000000 + 4 * uart:#x} (taking exception {uart}), "
        "then a read of 0x6000000c (taking exception 3)"
    )


def test_flash_is_written_and_keeps_it(image: Path) -> None:
    """By the functions of the bootrom, from RAM, with the second stage called once more."""
    page = random.Random(1).randbytes(PAGE_BYTES)
    with booted(image) as talk:
        talk.say("f", data=page)
        assert talk.read(2 * PAGE_BYTES) == 2 * page
        talk.say("x")
        talk.boots()
        word = int.from_bytes(page[:4], "little")
        assert talk.ask("r", FLASH + SLOT) == word
        assert talk.ask("r", FLASH + SLOT + 2 * PAGE_BYTES) == 0xFFFFFFFF


def test_more_than_the_firmware_stands_in_the_flash(image: Path) -> None:
    contents = [(FLASH + SLOT, b"blob"), (FLASH + FLASH_BYTES - 4, b"last")]
    with Rp2040js(image, contents) as pico, talk_to(pico) as talk:
        talk.boots()
        assert talk.ask("r", FLASH + SLOT) == int.from_bytes(b"blob", "little")
        assert talk.ask("r", FLASH + FLASH_BYTES - 4) == int.from_bytes(b"last", "little")
    with pytest.raises(ToolError, match="address 0x10200000 is not in the flash"):
        Rp2040js(image, [(FLASH + FLASH_BYTES, b"beyond")])


def test_it_goes_on_for_the_next_who_connects(image: Path) -> None:
    with Rp2040js(image) as pico:
        with talk_to(pico) as talk:
            talk.boots()
            talk.ask("w", RAM_END - 4, 0x12345678)
        with talk_to(pico) as talk:
            assert talk.ask("r", RAM_END - 4) == 0x12345678


# --- What is started ends, and what is missing is said -----------------------------------------

CHILD = """
import sys, time
from pathlib import Path
from narrows.link.line import open_port
from narrows.link.rp2040js import Rp2040js
pico = Rp2040js(Path(sys.argv[1]))
assert open_port(pico.url) is not None
print(pico.pid, flush=True)
time.sleep(600)
"""


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_it_dies_with_the_process(image: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(image)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child:
        pid = int(child.stdout.readline())
        assert is_running(pid)
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=HANG)
        deadline = time.monotonic() + HANG
        while is_running(pid):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_one_that_was_killed_says_nothing(image: Path) -> None:
    with Rp2040js(image) as pico:
        os.kill(pico.pid, signal.SIGKILL)
        assert pico.failure() == "without a word"


def test_a_missing_tool_is_named(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NARROWS_RP2040JS", str(tmp_path))
    with pytest.raises(ToolError, match=f"npm install --prefix {tmp_path} rp2040js@1"):
        Rp2040js(image)
    package = tmp_path / "node_modules" / "rp2040js" / "package.json"
    package.parent.mkdir(parents=True)
    package.write_text('{"version": "0.19.4"}')
    with pytest.raises(ToolError, match=r"rp2040js 0\.19\.4 is installed there, but 1\."):
        Rp2040js(image)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="node is not installed: apt-get install nodejs npm"):
        Rp2040js(image)


def test_it_is_found_above_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = find_rp2040js()
    (tmp_path / "node_modules").symlink_to(folder / "node_modules")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.delenv("NARROWS_RP2040JS")
    monkeypatch.chdir(below)
    assert find_rp2040js()[1] == tmp_path
