# SPDX-License-Identifier: Apache-2.0
"""What narrows build writes: every format holds the same bytes, and boards start from it."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from intelhex import IntelHex
from machines import booted, booted_pico

from conftest import Narrows
from models import need
from narrows.blob import Blob, read_blob
from narrows.boards import Board, load_board, read_board
from narrows.compiler import CompileOptions, compile_model
from narrows.flash.contents import model_segments, update_of
from narrows.link import firmware, open_target
from narrows.link.client import Client
from narrows.link.image import Segment, load_segments
from narrows.link.line import Line, open_port
from narrows.link.store import image
from narrows.link.uf2 import Family, read_uf2
from narrows.models import DIGITS_INT8
from narrows.native import Run
from narrows.share import share_dir
from narrows.signing import key_pem, new_key, public_bytes, sign_blob

BOARDS = ("mps2-an386", "lm3s6965evb")
UF2 = '[flash]\ntools = ["uf2"]\nuf2 = { family = "STM32F4", board_id = "TEST" }\n'


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    need("arm-none-eabi-gcc")


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model than ``digits_blob``."""
    path = tmp_path_factory.mktemp("older") / "older.nrw"
    path.write_bytes(compile_model(DIGITS_INT8, CompileOptions()).blob)
    return path


def with_uf2(folder: Path, name: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text((share_dir() / "boards" / f"{name}.toml").read_text() + UF2)
    return path


def built(narrows: Narrows, *arguments: object) -> dict[str, object]:
    done = narrows("build", *arguments, "--json", "-")
    assert done.returncode == 0, done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


def memory_of(segments: list[Segment]) -> dict[int, int]:
    return {address + i: byte for address, data in segments for i, byte in enumerate(data)}


def memory_of_hex(path: Path) -> dict[int, int]:
    contents = IntelHex(str(path))
    return {address: contents[address] for address in contents.addresses()}


def expected(board: Board, blob: Path) -> dict[int, int]:
    """Firmware and model."""
    parts = [*load_segments(firmware.build(board)), *model_segments(board, read_blob(blob))]
    return memory_of(parts)


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_starts_from_one_hex_file(
    narrows: Narrows, digits_blob: Path, tmp_path: Path, name: str
) -> None:
    """Firmware and model in one file; nothing else is in the board's memory."""
    board, blob = load_board(name), read_blob(digits_blob)
    file = tmp_path / "all.hex"
    built(narrows, "--board", name, "--with", digits_blob, "-o", file)
    inputs = [np.random.default_rng(1).integers(-128, 128, blob.model.inputs[0].shape, np.int8)]
    with booted(board, {file: None}) as url:
        assert runs(url, blob, inputs)


def runs(url: str, blob: Blob, inputs: list[np.ndarray]) -> bool:
    """Whether the device gives the host's bytes, with the model that it had."""
    told: list[str] = []
    with open_target(f"serial:{url}", blob.data, lambda what, share: told.append(what)) as target:
        result = target.infer(inputs)
    assert not [what for what in told if "uploading" in what]
    return bool(np.array_equal(result.outputs[0], Run(blob.model).infer(inputs)[0]))


def test_a_pico_starts_from_one_uf2_file(
    narrows: Narrows, digits_blob: Path, tmp_path: Path
) -> None:
    """As its bootloader would take it: the second stage of booting, firmware and model."""
    blob, file = read_blob(digits_blob), tmp_path / "all.uf2"
    built(narrows, "--board", "pico", "--with", digits_blob, "-o", file)
    inputs = [np.random.default_rng(1).integers(-128, 128, blob.model.inputs[0].shape, np.int8)]
    with booted_pico(file) as url:
        assert runs(url, blob, inputs)


def test_all_formats_hold_the_same(narrows: Narrows, digits_blob: Path, tmp_path: Path) -> None:
    path = with_uf2(tmp_path, "netduinoplus2")
    board = read_board(path)
    whole = expected(board, digits_blob)
    files = {ending: tmp_path / f"all.{ending}" for ending in ("hex", "uf2", "bin")}
    for ending, file in files.items():
        report = built(narrows, "--board", path, "--with", digits_blob, "-o", file)
        assert report["format"] == ending
        assert report["written_bytes"] == len(whole)
        assert report["file_bytes"] == file.stat().st_size
    assert memory_of_hex(files["hex"]) == whole
    uf2 = read_uf2(files["uf2"].read_bytes(), "file")
    assert uf2.family == Family.STM32F4
    paged = memory_of(list(uf2.segments))
    assert {at: paged.pop(at) for at in whole} == whole
    assert set(paged.values()) <= {0xFF}
    plain = files["bin"].read_bytes()
    assert {at: plain[at - board.code.base] for at in whole} == whole
    assert len(plain) == max(whole) + 1 - board.code.base


def test_elf_is_what_the_compiler_made(narrows: Narrows, tmp_path: Path) -> None:
    board = load_board("lm3s6965evb")
    file = tmp_path / "firmware"
    report = built(narrows, "--board", board.name, "-o", file, "--format", "elf")
    assert file.read_bytes() == firmware.build(board).read_bytes()
    sizes = report["firmware"]
    assert isinstance(sizes, dict)
    assert sizes["flash_bytes"] == sum(len(data) for _, data in load_segments(file))
    assert sizes["flash_room_bytes"] == board.code.bytes
    # The stack, its guard, and at least the receive buffer.
    assert board.stack_bytes + 256 + board.uart.receive_bytes < sizes["ram_bytes"]
    assert sizes["ram_bytes"] + sizes["arena_bytes"] <= board.ram.bytes + 16


def test_firmware_for_a_model_is_smaller_and_runs_it(
    narrows: Narrows, digits_blob: Path, tmp_path: Path
) -> None:
    name = "lm3s6965evb"
    board, blob, file = load_board(name), read_blob(digits_blob), tmp_path / "all.hex"
    small = built(narrows, "--board", name, "--for", digits_blob, "--with", digits_blob, "-o", file)
    whole = built(narrows, "--board", name, "-o", tmp_path / "whole.hex")
    sizes = [report["firmware"] for report in (small, whole)]
    assert isinstance(sizes[0], dict)
    assert isinstance(sizes[1], dict)
    assert sizes[0]["flash_bytes"] < sizes[1]["flash_bytes"] - 4096
    inputs = [np.zeros(blob.model.inputs[0].shape, np.int8)]
    with booted(board, {file: None}) as url:
        assert runs(url, blob, inputs)


@pytest.mark.parametrize("at", ["first", "second"])
def test_a_model_s_file_beats_every_model_that_was_there(
    narrows: Narrows, digits_blob: Path, older: Path, tmp_path: Path, at: str
) -> None:
    """Also one with a higher number in the other half, which would be newer; a programmer erases
    the sectors that a file touches and leaves the others."""
    board, before = load_board("lm3s6965evb"), read_blob(older)
    models = board.models
    start = models.base + (models.half if at == "second" else 0)
    record = bytearray(image(models, before.data, update_of(before))[1][1])
    record[8:16] = struct.pack("<II", 1 if at == "second" else 0, 9)
    record[-4:] = struct.pack("<I", crc32(record[4:-4]))
    memory = memory_of(
        [
            *load_segments(firmware.build(board)),
            Segment(start, before.data),
            Segment(start + models.half - len(record), bytes(record)),
        ]
    )
    assert model_that_runs(board, memory, tmp_path) == before.name
    file = tmp_path / "model.hex"
    built(narrows, "--board", board.name, "--model", digits_blob, "-o", file)
    new = memory_of_hex(file)
    assert min(new) == models.base
    assert max(new) < models.base + models.bytes
    sectors = {place // models.erase_bytes for place in new}
    kept = {p: byte for p, byte in memory.items() if p // models.erase_bytes not in sectors}
    assert model_that_runs(board, kept | new, tmp_path) == read_blob(digits_blob).name


def crc32(data: bytes) -> int:
    import zlib

    return zlib.crc32(data)


def model_that_runs(board: Board, memory: dict[int, int], folder: Path) -> str:
    contents = IntelHex()
    contents.frombytes(b"")
    contents.fromdict(memory)
    text = io.StringIO()
    contents.write_hex_file(text)
    file = folder / "memory.hex"
    file.write_text(text.getvalue())
    with booted(board, {file: None}) as url:
        port = open_port(url)
        standing = Client(Line(port, "board")).model()
        port.close()
    assert standing is not None
    assert standing.runs
    return standing.name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "a.elf", "--with", "BLOB"), "a model does not go into an ELF file"),
        (("-o", "a.txt"), "a.txt: its ending is none of .elf, .hex, .uf2, .bin; give --format"),
        (("-o", "a.hex", "--with", "BLOB", "--model", "BLOB"), "--with and --model: give one"),
        (
            ("-o", "a.hex", "--model", "BLOB", "--for", "BLOB"),
            "--model builds no firmware: leave out --for",
        ),
        (("-o", "a.uf2"), "names no chip for UF2"),
        (("-o", "a.bin", "--with", "BLOB"), "570,425,344 B apart, too far for one file"),
    ],
)
def test_what_cannot_be_built(
    narrows: Narrows, digits_blob: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    words = [str(digits_blob) if word == "BLOB" else word for word in arguments]
    done = narrows("build", "--board", "mps2-an386", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_options_of_firmware(narrows: Narrows, digits_blob: Path, tmp_path: Path) -> None:
    """A key and another protocol make other firmware; a model must be signed with the key."""
    key = new_key()
    public, signed = tmp_path / "key.pem", tmp_path / "signed.nrw"
    public.write_bytes(key_pem(key))
    signed.write_bytes(sign_blob(digits_blob.read_bytes(), key))
    board, name, file = load_board("mps2-an386"), "mps2-an386", tmp_path / "firmware.elf"
    for options, expected in (
        (("--key", public), firmware.build(board, key=public_bytes(key))),
        (("--protocol", "mlperf"), firmware.build(board, protocol="mlperf")),
    ):
        built(narrows, "--board", name, "-o", file, *options)
        assert file.read_bytes() == expected.read_bytes()
        assert file.read_bytes() != firmware.build(board).read_bytes()
    both = ("--board", name, "--key", public, "-o", tmp_path / "all.hex")
    assert narrows("build", *both, "--with", signed).returncode == 0
    done = narrows("build", *both, "--with", digits_blob)
    assert done.returncode == 1
    assert f"{digits_blob}: not signed with the key of --key" in done.stderr


def test_a_model_that_does_not_fit_is_refused(narrows: Narrows, tmp_path: Path) -> None:
    """By its layout, its RAM and its size, before anything is built."""
    blob = tmp_path / "blocked.nrw"
    done = narrows("compile", DIGITS_INT8, "-o", blob, "--layout", "blocked")
    assert done.returncode == 0
    done = narrows("build", "--board", "microbit", "--model", blob, "-o", tmp_path / "a.hex")
    assert done.returncode == 1
    assert f"{blob}: its weights are in another layout than board microbit reads" in done.stderr
