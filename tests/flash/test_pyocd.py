# SPDX-License-Identifier: Apache-2.0
"""pyOCD: its real loader, memory map and errors, over a chip that is a row of bytes. No probe and
no chip can be had here, so connecting and flash algorithms are not run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyocd.core.exceptions import TargetSupportError, TransferFaultError
from pyocd.core.helpers import ConnectHelper
from pyocd.core.memory_map import MemoryMap, RamRegion
from pyocd.core.options_manager import OptionsManager
from pyocd.core.target import Target
from pyocd.target import TARGET

from narrows.blob import read_blob
from narrows.boards import load_board, load_boards
from narrows.errors import ToolError
from narrows.flash.contents import model_segments
from narrows.flash.pyocd import PYOCD
from narrows.flash.tool import Job
from narrows.flash.tools import choose_tool
from narrows.link.image import Segment

BOARD = load_board("microbit")
# As Keil's device packs call them (pyocd pack install); those cannot be had here.
OF_PACKS = {"stm32f446retx", "stm32l4r5zitx"}
FLASH_BYTES = 0x40000
PROBE = SimpleNamespace(description="a probe", unique_id="0001")


class Chip(Target):  # type: ignore[misc]
    """A target of pyOCD, as far as its loader and we ask it. calls: what was asked, in order."""

    def __init__(self) -> None:
        self.memory = bytearray(b"\xff" * FLASH_BYTES)
        self.memory_map = MemoryMap(RamRegion(name="flash", start=0, length=FLASH_BYTES))
        self.selected_core = SimpleNamespace(node_name=None)
        self.debug_sequence_delegate = None
        self.calls: list[str] = []
        self.sticks = False  # what is written there comes to nothing

    def write_memory_block8(self, address: int, data: list[int]) -> None:
        self.calls.append("write")
        if not self.sticks:
            self.memory[address : address + len(data)] = bytes(data)

    def read_memory_block8(self, address: int, size: int) -> list[int]:
        self.calls.append("read")
        return list(self.memory[address : address + size])

    def reset(self) -> None:
        self.calls.append("reset")


class Session:
    """An open session with the chip."""

    def __init__(self, chip: Chip) -> None:
        self.target = chip
        self.board = SimpleNamespace(target=chip)
        self.probe = PROBE
        self.options = OptionsManager()
        self.is_open = False

    def __enter__(self) -> Session:
        self.is_open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.is_open = False


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Chip:
    chip = Chip()
    asked: dict[str, Any] = {}

    def connect(**options: Any) -> Session:
        asked.update(options)
        return Session(chip)

    monkeypatch.setattr(ConnectHelper, "session_with_chosen_probe", connect)
    monkeypatch.setattr(ConnectHelper, "get_all_connected_probes", lambda **_: [PROBE])
    chip.asked = asked  # type: ignore[attr-defined]
    return chip


def test_everything_is_written_read_back_and_reset(chip: Chip, digits_blob: Path) -> None:
    segments = [Segment(0, b"firmware" * 1000), *model_segments(BOARD, read_blob(digits_blob))]
    shares: list[float] = []
    job = Job(BOARD, segments, probe="0001", progress=lambda what, share: shares.append(share))
    assert choose_tool(job) is PYOCD
    assert PYOCD.write(job) == "a probe"
    for address, data in segments:
        assert chip.memory[address : address + len(data)] == data
    written = {a + i for a, data in segments for i in range(len(data))}
    assert all(chip.memory[at] == 0xFF for at in range(FLASH_BYTES) if at not in written)
    # All writes, then all reads, then the start.
    order = [name for i, name in enumerate(chip.calls) if chip.calls[i - 1] != name or i == 0]
    assert order == ["write", "read", "reset"]
    assert shares[-1] == 1.0
    asked = chip.asked  # type: ignore[attr-defined]
    assert asked["unique_id"] == "0001"
    assert asked["options"]["target_override"] == "nrf51822"
    assert asked["blocking"] is False


def test_flash_that_takes_nothing_is_found_out(chip: Chip) -> None:
    chip.sticks = True
    with pytest.raises(ToolError, match="flash at 0x00000000 and behind holds other bytes"):
        PYOCD.write(Job(BOARD, [Segment(0, b"firmware")]))
    assert "reset" not in chip.calls


def test_what_the_chip_does_not_have_is_an_error(chip: Chip) -> None:
    with pytest.raises(ToolError, match=r"board microbit: pyOCD: no memory region .*0x00040000"):
        PYOCD.write(Job(BOARD, [Segment(FLASH_BYTES, b"firmware")]))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TransferFaultError(), "board microbit: pyOCD: Memory transfer fault"),
        (TargetSupportError("Target type nrf51822 not recognized."), "pyocd pack install nrf51822"),
        (OSError("the cable"), "board microbit: pyOCD: the cable"),
    ],
)
def test_pyocd_s_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, chip: Chip, error: Exception, words: str
) -> None:
    def fail(**_: Any) -> Session:
        raise error

    monkeypatch.setattr(ConnectHelper, "session_with_chosen_probe", fail)
    with pytest.raises(ToolError) as caught:
        PYOCD.write(Job(BOARD, [Segment(0, b"firmware")]))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_probes_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """By pyOCD itself: none is connected here, or its search fails, and both are said."""
    obstacle = PYOCD.obstacle(Job(BOARD, (), probe="no such probe"))
    assert obstacle is not None
    assert "probe" in obstacle
    two = [PROBE, SimpleNamespace(description="another", unique_id="0002")]
    monkeypatch.setattr(ConnectHelper, "get_all_connected_probes", lambda **_: two)
    obstacle = PYOCD.obstacle(Job(BOARD, ()))
    assert obstacle == (
        "several debug probes: a probe 0001, another 0002; give one's serial number as --probe"
    )


def test_chips_that_boards_name_are_known_to_pyocd() -> None:
    targets = {b.flash.target for b in load_boards() if "pyocd" in b.flash.tools}
    assert "rp2040" in targets
    assert targets - set(TARGET) == OF_PACKS
