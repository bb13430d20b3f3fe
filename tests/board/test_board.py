# SPDX-License-Identifier: Apache-2.0
"""Networks on a Cortex-M4 in QEMU, over the serial line: the host's bytes, the plan's arena, and
what it costs."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from random import Random

import numpy as np
import pytest
from figures import (
    BOARD,
    NETWORKS,
    PHOTO,
    ROOT,
    STORED,
    firmware_bytes,
    grown,
)

from models import missing, need
from narrows.blob import parse_blob
from narrows.boards import Board, load_board
from narrows.compiler import compile_model
from narrows.errors import BlobError, LinkError
from narrows.graph.edges import decode, encode
from narrows.link import firmware, open_target
from narrows.link.client import Client
from narrows.link.frames import ANSWER, Decoder, Frame, Type
from narrows.link.line import PATIENCE, Line, open_port
from narrows.link.qemu import Qemu
from narrows.native import Layout, Model, Run
from narrows.pack import pack
from narrows.planning import PlanOptions, random_plan
from narrows.planning.memories import spread
from narrows.planning.planner import plan
from narrows.quantization import reference
from oracle import Oracle
from parts import by_parts, picture_for
from random_graphs import random_graph

SMALL = "mps2-an386-16k"
BOARDS = [
    (BOARD, Layout.PAIRED),
    (BOARD, Layout.PLAIN),
    (str(ROOT / "tests" / "board" / "portable.toml"), Layout.PLAIN),
    (str(ROOT / "tests" / "board" / "blocked.toml"), Layout.BLOCKED),
    ("mps2-an385", Layout.BLOCKED),
    ("mps2-an385", Layout.PLAIN),
    ("mps3-an547", Layout.PLAIN),
]
MOST_STACK = 2048
MEMORY_FAULT = 0xFF
"""MMFSR in the cause of a fault: what the MPU forbids."""


@pytest.fixture(autouse=True)
def tools() -> None:
    need("arm-none-eabi-gcc", "qemu-system-arm")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_tflite_micro_s_bytes(name: str) -> None:
    """And the host's; within the RAM of its board, as the board itself counts it."""
    network = NETWORKS[name]
    for path in (network.file, PHOTO):
        if name != "digits" and path is not None and not path.is_file():
            missing(str(path))
    blob = network.compiled()
    values = network.input(blob)
    inputs = [encode(blob.inputs[0], values)]
    result, figures = network.measure(blob, inputs)
    for found, wanted in zip(result.outputs, Run(blob.model).infer(inputs), strict=True):
        np.testing.assert_array_equal(found, wanted)
    expected = Oracle(network.model(), 64 << 20).run([values], len(blob.outputs))
    for edge, found, own in zip(blob.outputs, result.outputs, expected, strict=True):
        np.testing.assert_array_equal(decode(edge, found), own)
    assert figures.arena_bytes == blob.model.arena_bytes
    assert 0 < figures.stack_bytes <= MOST_STACK
    assert figures.ram_high_water_bytes >= blob.model.memory_bytes + figures.stack_bytes
    assert figures.ram_high_water_bytes <= load_board(network.board).ram.bytes
    assert not grown(json.loads(STORED.read_text())["networks"][name], asdict(figures))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("board", "layout"),
    BOARDS,
    ids=[f"{Path(board).stem}-{layout.name}" for board, layout in BOARDS],
)
def test_random_graphs_and_plans(board: str, layout: Layout, seed: int) -> None:
    """Several inputs and outputs, outputs by rows, whatever the generator draws."""
    graph = random_graph(seed)
    rng = np.random.default_rng(seed)
    tensors = [graph.tensors[edge.tensor] for edge in graph.inputs]
    shapes = [(t.height, t.width, t.channels) for t in tensors]
    inputs = [rng.integers(-128, 128, shape).astype(np.int8) for shape in shapes]
    expected = reference.run(graph, inputs)
    everything = tuple(range(len(graph.outputs)))
    for planned in (
        plan(graph, PlanOptions(streamed_outputs=everything, layout=layout)),
        random_plan(graph, Random(seed), (layout,)),
    ):
        blob = pack(graph, planned, None)
        with open_target(f"qemu:{board}", blob) as target:
            for _ in range(2):
                result = target.infer(inputs, profile=True)
                for found, wanted in zip(result.outputs, expected, strict=True):
                    np.testing.assert_array_equal(found, wanted)
                assert result.arena_bytes == planned.arena_total
                assert len(result.profile) == len(Model(blob).stages)
                assert result.instructions is not None
                assert 0 < sum(cost.cost for cost in result.profile) <= result.instructions
            assert target.client.status().overruns == 0


def test_an_input_by_parts_of_rows() -> None:
    graph, planned = by_parts()
    inputs = picture_for(graph)
    expected = reference.run(graph, inputs)
    with open_target(f"qemu:{BOARD}", pack(graph, planned, None)) as target:
        for _ in range(2):
            result = target.infer(inputs, profile=True)
            for found, wanted in zip(result.outputs, expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
            assert result.arena_bytes == planned.arena_total
        assert target.client.status().overruns == 0


def test_instructions_are_counted_exactly() -> None:
    """Two runs of one network differ by the timer's grain only, not by what the line does."""
    blob = NETWORKS["digits"].compiled()
    inputs = [NETWORKS["digits"].input(blob)]
    with open_target(f"qemu:{BOARD}", blob.data) as target:
        counts = [target.infer(inputs).instructions for _ in range(4)]
    assert None not in counts
    numbers = [count or 0 for count in counts]
    assert max(numbers) - min(numbers) < max(numbers) / 500


def test_the_firmware_does_not_grow() -> None:
    assert not grown(json.loads(STORED.read_text())["firmware"], firmware_bytes())


def frames_of(qemu: Qemu, sent: bytes, last: Type) -> list[Frame]:
    """What firmware says, up to a frame of a type."""
    port = open_port(qemu.url)
    port.timeout = 300
    port.write(sent)
    decoder = Decoder()
    frames: list[Frame] = []
    while not frames or frames[-1].type != last | ANSWER:
        data = port.read(1)
        assert data, f"neither a {last.name} nor another frame"
        frames += decoder.feed(data)
    port.close()
    return frames


def words(frame: Frame) -> tuple[int, int]:
    return (
        int.from_bytes(frame.payload[:4], "little"),
        int.from_bytes(frame.payload[4:8], "little"),
    )


def firmware_with(main: str, board: Board, folder: Path) -> Path:
    """Firmware with a test's file in the place of the application."""
    image = folder / "test.elf"
    sources = [path for path in firmware.sources(board) if path.parent.name != "app"]
    flags = ("-Wno-infinite-recursion",)
    firmware.compile_image(board, [ROOT / "tests" / "board" / main, *sources], folder, image, flags)
    return image


@pytest.mark.parametrize("name", [BOARD, SMALL])
def test_a_stack_that_overflows_is_a_fault(tmp_path: Path, name: str) -> None:
    """It stays within its place to the last byte, and the fault reaches the host."""
    board = load_board(name)
    with Qemu(board, firmware_with("overflow.c", board, tmp_path)) as qemu:
        *told, fault = map(words, frames_of(qemu, b"", Type.FAULT))
    used, lowest = zip(*told, strict=True)
    assert list(used) == sorted(used)
    assert board.stack_bytes - 600 < used[-1] <= board.stack_bytes
    assert board.ram.base <= lowest[-1] < board.ram.base + 1000
    assert fault[1] & MEMORY_FAULT


@pytest.mark.parametrize("name", [SMALL, "mps2-an386-64k"])
def test_what_lies_beyond_a_small_board_s_ram_is_a_fault(tmp_path: Path, name: str) -> None:
    """From the first byte behind it to the last that QEMU has, and below the stack; so a run
    without a fault has touched none of them."""
    board = load_board(name)
    assert board.qemu is not None
    image = firmware_with("poke.c", board, tmp_path)
    end, last = (board.ram.base + size for size in (board.ram.bytes, board.qemu.ram_bytes))
    with Qemu(board, image) as qemu:
        (done,) = frames_of(qemu, (end - 1).to_bytes(4, "little"), Type.STATE)
        assert words(done)[0] == end - 1
    for address in (end, end + 4096, (end + last) // 2, last - 1, board.ram.base):
        with Qemu(board, image) as qemu:
            fault = frames_of(qemu, address.to_bytes(4, "little"), Type.FAULT)
            assert len(fault) == 1, f"{address:#x} can be written"
            assert words(fault[0])[1] & MEMORY_FAULT


@pytest.mark.parametrize("flags", [(), ("-DHUNGRY",)], ids=["fed", "hungry"])
def test_a_watchdog_is_fed_before_every_step(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """A port's own takes the place of the one that does nothing; unfed, it is a fault."""
    board = load_board(BOARD)
    image = tmp_path / "watched.elf"
    files = [ROOT / "tests" / "board" / "watchdog.c", *firmware.sources(board)]
    firmware.compile_image(board, files, tmp_path, image, ("-Wl,--wrap=nrw_step", *flags))
    graph = random_graph(3, size=5)
    blob = pack(graph, plan(graph), {})
    model = Model(blob)
    inputs = [np.zeros(info.shape, np.int8) for info in model.inputs]
    with Qemu(board, image) as qemu, contextlib.closing(open_port(qemu.url)) as port:
        client = Client(Line(port, "watched", PATIENCE))
        client.upload(blob)
        if flags:
            with pytest.raises(LinkError, match="fault"):
                client.infer(model, inputs)
            return
        found = client.infer(model, inputs)
    for values, expected in zip(found, Run(model).infer(inputs), strict=True):
        np.testing.assert_array_equal(values, expected)


def test_an_arena_in_four_memories() -> None:
    """A network in them gives the host's bytes; one that has no room in the first is refused."""
    spec = ROOT / "tests" / "board" / "memories.toml"
    board = load_board(str(spec))
    assert [arena.name for arena in board.arenas] == [
        *("tightly coupled", "ram", "second bank", "external"),
    ]
    network = NETWORKS["mlperf_vww_96_int8"]
    assert network.file is not None
    if not network.file.is_file():
        missing(str(network.file))
    alone = compile_model(network.file)
    rooms = (2500, 3000, 3500, 1 << 20)
    assert all(room <= size for room, size in zip(rooms, board.memories, strict=True))
    planned = spread(alone.qgraph, alone.plan, rooms)
    assert all(planned.arena_bytes)
    blob = pack(alone.qgraph, planned, {})
    (edge,) = parse_blob(blob).inputs
    values = [encode(edge, network.input(parse_blob(blob)))]
    expected = Run(Model(blob)).infer(values)
    with open_target(f"qemu:{spec}", blob) as target:
        for profile in (False, True):
            result = target.infer(values, profile)
            for found, wanted in zip(result.outputs, expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
        assert result.arena_bytes == planned.arena_total
    with (
        open_target(f"qemu:{spec}", alone.blob) as target,
        pytest.raises(BlobError, match=r"more memory than one of the memories has.*--board"),
    ):
        target.infer(values)
