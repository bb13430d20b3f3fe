# SPDX-License-Identifier: Apache-2.0
"""What board files say of memory, and what follows from it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from random import Random

import numpy as np
import pytest

from blob_reader import read_blob
from conftest import Narrows, missing
from link_proxy import Proxy
from models import need_rp2040js
from narrows.blob import parse_blob
from narrows.boards import load_board, load_boards, read_board
from narrows.errors import BlobError, NarrowsError
from narrows.link import firmware
from narrows.link.client import Client
from narrows.link.emulated import start
from narrows.link.line import Line, open_port
from narrows.link.qemu import Qemu
from narrows.native import Layout, Model, Run, Status
from narrows.pack import pack
from narrows.planning import PlanOptions, Tiling, random_plan
from narrows.planning.planner import plan
from narrows.share import share_dir
from random_graphs import GraphBuilder

BOARDS = share_dir() / "boards"
SMALL = BOARDS / "mps2-an386-16k.toml"
LAYOUTS = {"c": "plain", "fast": "blocked", "dsp": "paired", "mve": "plain"}
OTHER = """
[[memory.others]]
name = "external"
base = 0x23000000
bytes = 0x1000
cycles = 4
"""


@pytest.fixture(scope="module")
def tools() -> None:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            missing(tool)


def changed(folder: Path, old: str, new: str) -> Path:
    text = SMALL.read_text()
    assert text.count(old) == 1
    path = folder / "changed.toml"
    path.write_text(text.replace(old, new))
    return path


def with_memory(folder: Path, old: str = "", new: str = "") -> Path:
    """The board with one more memory, in whose table something is changed."""
    assert old in OTHER
    return changed(folder, "[uart]", OTHER.replace(old, new, 1) + "[uart]")


@pytest.mark.parametrize(
    "name", [board.name for board in load_boards() if board.emulator is not None]
)
def test_the_linker_leaves_what_is_planned_with(tools: None, name: str) -> None:
    """At least that, and not much more; so a plan for the board has room on the board."""
    board = load_board(name)
    if board.rp2040js is not None:
        need_rp2040js()
    with start(str(board.emulator), board, firmware.build(board)) as emulator:
        port = open_port(emulator.url)
        hello = Client(Line(port, name)).hello
        port.close()
    assert sum(board.memories) <= hello.arena_bytes < sum(board.memories) + 512
    assert (hello.board, hello.core) == (board.name, board.core.cpu)
    assert (hello.room, hello.room_beside) == (board.models.room, board.models.room_beside)
    assert (hello.ram_bytes, hello.flash_bytes) == (board.ram.bytes, board.code.bytes)
    assert all(memory % 16 == 0 for memory in board.memories)


def refused(path: Path) -> str:
    with pytest.raises(NarrowsError) as caught:
        read_board(path)
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("receive_bytes = 512", "receive_bytes = 256", "uart.receive_bytes: 256 is no integer"),
        ("receive_bytes = 512", "receive_bytes = 1000", "uart.receive_bytes: not a power of two"),
        ("stack_bytes = 2048", "stack_bytes = 15200", "memory.ram.bytes: stack and variables"),
        ("ram_bytes = 0x400000", "ram_bytes = 0x2000", "qemu.ram_bytes: it and memory.ram.bytes"),
        ("ram_bytes = 0x400000", "ram_bytes = 0x500000", "qemu.ram_bytes: it and memory.ram.bytes"),
        ("bytes = 0x4000 }", "bytes = 0x5000 }", "qemu.ram_bytes: it and memory.ram.bytes"),
        ("bytes = 0x4000 }", "bytes = 0x4000, cycles = 0 }", "memory.ram.cycles: 0 is no positive"),
        ("0x21000000", "0x20001000", "memory.ram: overlaps memory.models"),
    ],
)
def test_memories_that_cannot_be(tmp_path: Path, old: str, new: str, place: str) -> None:
    assert refused(changed(tmp_path, old, new)).startswith(place)


@pytest.mark.parametrize(
    ("core", "kernels"),
    [
        ('"cortex-m0"', "c"),
        ('"cortex-m0plus"\nkernels = "fast"', "fast"),
        ('"cortex-m3"', "fast"),
        ('"cortex-m3"\noptimize = "size"', "c"),
        ('"rv32imac"', "fast"),
        ('"cortex-m4"', "dsp"),
        ('"cortex-m33"', "dsp"),
        ('"cortex-m7"\nkernels = "c"', "c"),
        ('"cortex-m55"', "dsp"),
        ('"cortex-m55"\nfloat = "hard"', "mve"),
        ('"cortex-m55"\nfloat = "hard"\nkernels = "dsp"', "dsp"),
    ],
)
def test_the_implementation_of_a_core(tmp_path: Path, core: str, kernels: str) -> None:
    driver = "clint" if "rv32" in core else "systick"
    path = changed(tmp_path, '"cortex-m4"', core)
    path.write_text(path.read_text().replace("systick", driver))
    board = read_board(path)
    assert board.core.kernels == kernels
    assert board.core.layout == LAYOUTS[kernels]
    ends = {file.stem.rpartition("_")[2] for file in firmware.sources(board) if is_kernel(file)}
    assert ends == {"c", kernels, "layouts"}


def is_kernel(file: Path) -> bool:
    return file.parent.name == "kernels"


@pytest.mark.parametrize(
    ("core", "said"),
    [
        ('"cortex-m3"\nkernels = "dsp"', "core.kernels: 'dsp' is none of c, fast"),
        ('"cortex-m4"\nkernels = "mve"', "core.kernels: 'mve' is none of c, fast, dsp"),
        ('"cortex-m55"\nkernels = "mve"', "core.kernels: 'mve' is none of c, fast, dsp"),
    ],
)
def test_an_implementation_that_the_core_does_not_run(tmp_path: Path, core: str, said: str) -> None:
    assert refused(changed(tmp_path, '"cortex-m4"', core)) == said


def test_a_layout_that_the_implementation_does_not_read(tmp_path: Path) -> None:
    said = refused(changed(tmp_path, '"cortex-m4"', '"cortex-m4"\nlayout = "blocked"'))
    assert said.startswith("core.layout: no weight layout 'blocked' that kernels 'dsp' read; they")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("[[memory.others]]", "[memory.others]", ": is no array of tables"),
        ("name", "title", "[0].name: is missing"),
        ("cycles", "x", "[0].cycles: is missing"),
        ("cycles = 4", "cycles = 4\nspeed = 1", "[0].speed: is not a key"),
        ("0x23000000", "0x23000008", "[0].base: not a multiple of 16"),
        ("0x23000000", "0", "[0].base: no pointer"),
        ("0x23000000", "0x21000000", "[0]: overlaps memory.models"),
        # Behind the chip's RAM, where QEMU has some that is forbidden.
        ("0x23000000", "0x20100000", "[0]: overlaps memory.ram"),
        (OTHER, 2 * OTHER, "[1]: overlaps memory.others[0]"),
        (OTHER, 4 * OTHER, ": more than 3"),
    ],
)
def test_other_memories_that_cannot_be(tmp_path: Path, old: str, new: str, place: str) -> None:
    path = with_memory(tmp_path, old, new)
    assert refused(path).startswith(f"memory.others{place}")


def test_the_fastest_memory_comes_first(tmp_path: Path) -> None:
    for cycles, order in (
        (4, ["ram", "external"]),
        (0.5, ["external", "ram"]),
        (1, ["ram", "external"]),
    ):
        board = read_board(with_memory(tmp_path, "cycles = 4", f"cycles = {cycles}"))
        assert [arena.name for arena in board.arenas] == order


def test_a_path_is_a_board_too(tmp_path: Path) -> None:
    path = changed(tmp_path, "stack_bytes = 2048", "stack_bytes = 1536")
    assert load_board(str(path)).stack_bytes == 1536
    with pytest.raises(NarrowsError, match="not a board's file"):
        load_board(str(tmp_path / "nothing.toml"))


@pytest.mark.parametrize("name", ["x" * 65, 'a"b', "a\\b", "bo\u00e4rd"])
def test_a_name_that_no_answer_has_room_for(tmp_path: Path, name: str) -> None:
    """It goes into the firmware's source as it is, and into a frame."""
    path = changed(tmp_path, "stack_bytes = 2048", "stack_bytes = 2048")
    assert refused(path.rename(tmp_path / f"{name}.toml")).startswith("the file's name: not 1 to")


def test_a_small_receive_buffer_is_enough(tools: None, digits_blob: Path) -> None:
    """The host keeps to what the board grants, and all arrives."""
    board = load_board(SMALL.stem)
    blob = digits_blob.read_bytes()
    model = Model(blob)
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-128, 128, info.shape).astype(np.int8) for info in model.inputs]
    with Qemu(board, firmware.build(board)) as qemu, Proxy(qemu.url) as proxy:
        port = open_port(proxy.url)
        client = Client(Line(port, board.name))
        client.upload(blob)
        outputs = client.infer(model, inputs)
        assert client.hello.credit == board.uart.receive_bytes == 512
        assert 256 < proxy.most_in_flight <= 512
        assert client.status().overruns == 0
        port.close()
    for found, wanted in zip(outputs, Run(model).infer(inputs), strict=True):
        np.testing.assert_array_equal(found, wanted)


def flash_bytes(image: Path) -> int:
    size = subprocess.run(
        ["arm-none-eabi-size", image], check=True, capture_output=True, text=True
    ).stdout
    text, data = size.splitlines()[1].split()[:2]
    return int(text) + int(data)


def remembering() -> tuple[bytes, int]:
    """A blob with a variable, and where the variable's flags stand in it."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.remembered(build.input(2, 6, 4), 3, 2)
    graph = build.graph([build.softmax(build.conv(x, 4, (5, 6), same=False))])
    data = pack(graph, plan(graph), None)
    (number,) = (i for i, tensor in enumerate(read_blob(data).tensors) if tensor.persistent)
    return data, 80 + 24 * number + 21


def uneven() -> bytes:
    """A blob whose strips do not divide the row."""
    build = GraphBuilder(np.random.default_rng(0))
    graph = build.graph([build.conv(build.input(4, 5, 4), 4)])
    plans = (random_plan(graph, Random(seed), (Layout.PAIRED,)) for seed in range(99))
    return pack(graph, next(p for p in plans if any(5 % s.strip for s in p.stages)), None)


def test_firmware_of_one_model_alone(tools: None, digits_blob: Path) -> None:
    """It is a fifth smaller at least, runs that model, and refuses others for what it lacks."""
    board = load_board("mps2-an386")
    blob = digits_blob.read_bytes()
    model = Model(blob)
    image = firmware.build(board, blobs=[parse_blob(blob)])
    assert flash_bytes(image) <= 0.8 * flash_bytes(firmware.build(board))
    inputs = [np.zeros(info.shape, np.int8) for info in model.inputs]
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input(6, 6, 4)
    other = build.graph([build.resize(x, 12, 12)])
    tiled = build.graph([build.inverted_residual(x, 16, 4)])
    single = build.graph([build.mean(x, over_height=False)])  # the digits' mean accumulates
    lacking = (
        (other, PlanOptions()),
        (tiled, PlanOptions(tiling=Tiling(4))),
        (single, PlanOptions()),
    )
    with Qemu(board, image) as qemu:
        port = open_port(qemu.url)
        client = Client(Line(port, board.name))
        for graph, options in lacking:
            with pytest.raises(BlobError, match="that this build lacks") as caught:
                client.upload(pack(graph, plan(graph, options), None))
            assert caught.value.status == Status.ERR_OPERATOR
        data, flags = remembering()
        with pytest.raises(BlobError, match="that this build lacks") as caught:
            client.upload(data)
        assert (caught.value.status, caught.value.offset) == (Status.ERR_OPERATOR, flags)
        with pytest.raises(BlobError, match="that this build lacks") as caught:
            client.upload(uneven())
        assert caught.value.status == Status.ERR_OPERATOR
        client.upload(blob)
        outputs = client.infer(model, inputs)
        port.close()
    for found, wanted in zip(outputs, Run(model).infer(inputs), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_compiled_for_a_board_with_two_memories(narrows: Narrows, tmp_path: Path) -> None:
    """The command line plans with what both have, and shows it."""
    board = with_memory(tmp_path, "bytes = 0x1000\ncycles = 4", "bytes = 0x800\ncycles = 0.5")
    blob = tmp_path / "digits.nrw"
    model = share_dir() / "pyfront" / "narrows" / "models" / "digits_int8.tflite"
    done = narrows("compile", model, "-o", blob, "--board", board, "--ram", "6K")
    assert done.returncode == 0, done.stderr
    done = narrows("info", blob, "--json", tmp_path / "info.json")
    assert done.returncode == 0, done.stderr
    info = json.loads((tmp_path / "info.json").read_text())
    first, second, *others = info["bytes_by_memory"]
    assert 0 < first + info["progress_bytes"] <= 0x800
    assert second > 0
    assert others == [0, 0]
    assert f"arena {first + second:,} B ({first:,} + {second:,} + 0 + 0)" in done.stdout
