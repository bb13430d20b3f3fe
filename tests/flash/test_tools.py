# SPDX-License-Identifier: Apache-2.0
"""OpenOCD, UF2 drives, esptool, and which tool is taken. No probe, drive or Espressif chip can be
had here: OpenOCD itself reads our scripts and looks for a probe in vain, a folder is the drive."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from intelhex import IntelHex

from conftest import Narrows
from models import need
from narrows.blob import read_blob
from narrows.boards import load_board, load_boards, read_board
from narrows.cli import main
from narrows.errors import NarrowsError, ToolError
from narrows.flash import uf2_drive
from narrows.flash.contents import model_segments
from narrows.flash.esptool import ESPTOOL
from narrows.flash.openocd import OPENOCD
from narrows.flash.tool import Job
from narrows.flash.tools import choose_tool
from narrows.flash.uf2_drive import UF2_DRIVE
from narrows.flashing import EspFlash, FlashTools, Uf2Drive
from narrows.link import firmware
from narrows.link.image import Segment, load_segments
from narrows.link.uf2 import Family, read_uf2
from narrows.share import share_dir

MICROBIT = load_board("microbit")
FAKE = """#!/bin/sh
printf '%s\\n' "$@" > "$RECORD"
for word in "$@"; do
    case "$word" in program*) file=${word#*\\{}; cp "${file%%\\}*}" "$RECORD.hex";; esac
done
if [ -n "$FAIL" ]; then echo "Info : hello" >&2; echo "Error: $FAIL" >&2; exit 1; fi
"""
WITH_DRIVE = replace(
    load_board("lm3s6965evb"),
    flash=FlashTools(tools=("uf2",), uf2=Uf2Drive("RP2040", "RPI-RP2")),
)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An openocd that writes down what it is told. Returns: where."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "openocd"
    program.write_text(FAKE)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    return tmp_path / "record"


def test_openocd_is_told_what_to_write(narrows: Narrows, fake: Path, digits_blob: Path) -> None:
    need("arm-none-eabi-gcc")
    arguments = ("flash", digits_blob, "--board", "microbit", "--via", "openocd", "--json", "-")
    done = narrows(*arguments, "--probe", "0001")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["checked"] == "openocd"
    words = fake.read_text().splitlines()
    assert words[:6] == [
        *("-f", "interface/cmsis-dap.cfg", "-f", "target/nrf51.cfg", "-c", "adapter serial {0001}"),
    ]
    assert words[6] == "-c"
    assert words[7].startswith("program {")
    assert words[7].endswith("} verify reset exit")
    written = IntelHex(str(fake.with_suffix(".hex")))
    model = model_segments(MICROBIT, read_blob(digits_blob))
    parts = [*load_segments(firmware.build(MICROBIT)), *model]
    expected = {a + i: byte for a, data in parts for i, byte in enumerate(data)}
    assert {at: written[at] for at in written.addresses()} == expected


def silent() -> str:
    """A device that takes connections, and says nothing. Returns: its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        kept = []
        while True:
            kept.append(listener.accept())

    threading.Thread(target=run, daemon=True).start()
    return f"socket://127.0.0.1:{listener.getsockname()[1]}"


def test_where_nothing_answers_a_tool_writes_and_the_check_is_over_the_link(
    fake: Path,
    digits_blob: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """There pyOCD has no probe, so it is OpenOCD; what it wrote does not answer, which is said."""
    monkeypatch.setattr("narrows.cli.flash._TRIAL_SECONDS", 0.1)
    monkeypatch.setattr("narrows.flash.over_link.PATIENCE", 0.1)
    url = silent()
    words = ["flash", str(digits_blob), "--board", "microbit", "--port", url, "--model-only"]
    assert main([*words, "--probe", "no such probe"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"narrows: warning: microbit: not over the link: {url}: no answer")
    assert second.startswith(
        f"narrows: error: all was written, but the check over the link fails: {url}: no answer"
    )
    assert fake.exists()


def test_openocd_s_error_is_one_line(
    narrows: Narrows, fake: Path, digits_blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "unable to find a matching CMSIS-DAP device")
    arguments = ("flash", digits_blob, "--board", "microbit", "--via", "openocd", "--model-only")
    done = narrows(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "narrows: error: openocd failed: unable to find a matching CMSIS-DAP device; are probe"
    )
    assert done.stderr.count("\n") == 1


WITH_OPENOCD = [board.name for board in load_boards() if "openocd" in board.flash.tools]


@pytest.mark.parametrize("name", WITH_OPENOCD)
def test_openocd_knows_our_words(name: str) -> None:
    """It has the board's files, reads them and our command, and fails for want of a probe alone."""
    need("openocd")
    job = Job(load_board(name), [Segment(0, b"firmware")], probe="0001")
    with pytest.raises(ToolError) as caught:
        OPENOCD.write(job)
    said = str(caught.value).lower()
    assert not any(word in said for word in ("can't find", "syntax", "invalid command", "usage"))
    assert any(
        word in said
        for word in ("unable to", "no device", "cannot", "no j-link device", "open failed")
    ), said


def info_file(folder: Path, name: str) -> Path:
    (folder / "INFO_UF2.TXT").write_text(
        f"UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: {name}\r\n"
    )
    return folder


@pytest.mark.parametrize("given", [True, False])
def test_a_uf2_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits_blob: Path, given: bool
) -> None:
    """The file that appears on it has all that was to be written, for the drive's chip."""
    other, drive = tmp_path / "other", tmp_path / "with space"
    for folder, name in ((other, "SAMD21"), (drive, "RPI-RP2")):
        folder.mkdir()
        info_file(folder, name)
    monkeypatch.setattr(uf2_drive, "_mounted", lambda: iter((tmp_path, other, drive)))
    segments = model_segments(WITH_DRIVE, read_blob(digits_blob))
    job = Job(WITH_DRIVE, segments, str(drive) if given else None)
    assert choose_tool(job) is UF2_DRIVE
    assert UF2_DRIVE.write(job) == str(drive)
    read = read_uf2((drive / "narrows.uf2").read_bytes(), "file")
    assert read.family == Family.RP2040
    memory = {a + i: byte for a, data in read.segments for i, byte in enumerate(data)}
    assert all(memory[a + i] == byte for a, data in segments for i, byte in enumerate(data))
    assert not (other / "narrows.uf2").exists()


def test_drives_that_do_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uf2_drive, "_mounted", lambda: iter([tmp_path]))
    job = Job(WITH_DRIVE, ())
    assert "plug the board in with its BOOT button" in str(UF2_DRIVE.obstacle(job))
    info_file(tmp_path, "SAMD21")
    assert f"(there is {tmp_path} of 'SAMD21')" in str(UF2_DRIVE.obstacle(job))
    given = replace(job, port=str(tmp_path))
    assert UF2_DRIVE.obstacle(given) == (
        f"{tmp_path}: the drive of board 'SAMD21', not of 'RPI-RP2'"
    )
    (tmp_path / "INFO_UF2.TXT").unlink()
    assert "no drive of a UF2 bootloader" in str(UF2_DRIVE.obstacle(given))
    info_file(tmp_path, "RPI-RP2")
    monkeypatch.setattr(uf2_drive, "_mounted", lambda: iter([tmp_path, tmp_path / "."]))
    assert UF2_DRIVE.obstacle(job) is None
    (tmp_path / "b").mkdir()
    monkeypatch.setattr(
        uf2_drive, "_mounted", lambda: iter([tmp_path, info_file(tmp_path / "b", "RPI-RP2")])
    )
    assert "drives of several boards" in str(UF2_DRIVE.obstacle(job))


def test_a_drive_that_is_full(tmp_path: Path) -> None:
    info_file(tmp_path, "RPI-RP2")
    (tmp_path / "narrows.uf2").symlink_to("/dev/full")
    with pytest.raises(ToolError, match="cannot be written behind byte 0 of 512: No space left"):
        UF2_DRIVE.write(Job(WITH_DRIVE, [Segment(0, b"firmware")], str(tmp_path)))


def test_a_drive_whose_writing_is_interrupted(tmp_path: Path) -> None:
    """A part of the file would be there for the next who looks at it as a drive."""
    info_file(tmp_path, "RPI-RP2")

    def interrupt(what: str, done: float) -> None:
        raise KeyboardInterrupt

    segments = [Segment(0, bytes(1 << 20))]
    with pytest.raises(KeyboardInterrupt):
        UF2_DRIVE.write(Job(WITH_DRIVE, segments, str(tmp_path), progress=interrupt))
    assert [path.name for path in tmp_path.iterdir()] == ["INFO_UF2.TXT"]


def test_mounted_drives_are_found() -> None:
    """On this machine: whatever is mounted, none of it is a bootloader's."""
    assert uf2_drive.find_drives() == {}


WITH_ESP = replace(
    load_board("lm3s6965evb"),
    flash=FlashTools(tools=("esptool",), esp=EspFlash("esp32c3", 0x42000000)),
)


def test_esptool_knows_our_words() -> None:
    """It takes the arguments, and fails for want of the port alone."""
    job = Job(WITH_ESP, [Segment(0x42000000, b"firmware")], "/dev/nowhere")
    with pytest.raises(ToolError, match=r"/dev/nowhere: esptool: .*(open|find).*/dev/nowhere"):
        ESPTOOL.write(job)
    with pytest.raises(ToolError, match="0x41ffffff lies before the flash"):
        ESPTOOL.write(replace(job, segments=[Segment(0x41FFFFFF, b"firmware")]))
    assert ESPTOOL.obstacle(replace(job, port=None)) == "esptool needs --port"


@pytest.mark.parametrize(
    ("table", "place"),
    [
        ('tools = ["jlink"]', "flash.tools: 'jlink' is none of pyocd, openocd, uf2, stm32loader"),
        ("tools = 3", "flash.tools: 3 is no text, nor a list of some"),
        ('tools = ["pyocd"]', "flash.target: is missing"),
        ('tools = "openocd"\nopenocd = [1]', "flash.openocd: [1] is no text, nor a list"),
        ('tools = "uf2"\nuf2 = { family = "RP2040" }', "flash.uf2.board_id: is missing"),
        ('tools = "pyocd"\ntarget = "x"\nuf2 = 3', "flash.uf2: a table is wanted here"),
        ('tools = "openocd"\nopenocd = "x"\nbaud = 3', "flash.baud: is not a key"),
        (
            'tools = "stm32loader"\nstm32 = { chip_id = 1, base = 0, sectors = [[1, 0]] }',
            "flash.stm32.sectors: [[1, 0]] is no list of pairs",
        ),
        (
            'tools = "stm32loader"\nstm32 = { chip_id = 1, base = 0, sectors = [[99999, 1]] }',
            "flash.stm32.sectors",
        ),
    ],
)
def test_a_wrong_table_names_the_key(tmp_path: Path, table: str, place: str) -> None:
    text = (share_dir() / "boards" / "netduinoplus2.toml").read_text()
    path = tmp_path / "board.toml"
    path.write_text(f"{text}\n[flash]\n{table}\n")
    with pytest.raises(NarrowsError) as caught:
        read_board(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert place in str(caught.value)


def test_no_tool_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one's reason is said."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolError) as caught:
        choose_tool(Job(MICROBIT, (), probe="no such probe"))
    said = str(caught.value)
    assert said.startswith("board microbit: no tool can write it (pyocd: ")
    assert "openocd: openocd is not installed: apt-get install openocd" in said


@pytest.mark.parametrize(
    ("tool", "package", "extra"),
    [
        ("pyocd", "pyocd", "pyocd"),
        ("stm32loader", "stm32loader", "stm32"),
        ("esptool", "esptool", "esptool"),
    ],
)
def test_packages_that_are_missing(tool: str, package: str, extra: str) -> None:
    """In a process without the package."""
    code = (
        "import sys, importlib.util as u\n"
        "find = u.find_spec\n"
        f"u.find_spec = lambda name, *a: None if name == {package!r} else find(name, *a)\n"
        "from narrows.flash.tools import TOOLS\n"
        "from narrows.flash.tool import Job\n"
        "from narrows.boards import load_board\n"
        f"print(TOOLS[{tool!r}].obstacle(Job(load_board('microbit'), ())))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install 'narrows[{extra}]'" in done.stdout
