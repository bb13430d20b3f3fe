# SPDX-License-Identifier: Apache-2.0
"""Networks on a Cortex-M4 in QEMU, over the serial line: the host's bytes, the plan's arena, and
what it costs."""

from __future__ import annotations

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
    compiled,
    firmware_bytes,
    grown,
    measure,
    network_input,
)

from models import missing, need
from narrows.boards import load_board
from narrows.link import firmware, open_target
from narrows.link.frames import ANSWER, Decoder, Type
from narrows.link.line import open_port
from narrows.link.qemu import Qemu
from narrows.native import Model, Run
from narrows.pack import pack
from narrows.plan import PlanOptions, random_plan
from narrows.plan.planner import plan
from narrows.quantize import reference
from random_graphs import random_graph

MOST_STACK = 2048


@pytest.fixture(autouse=True)
def tools() -> None:
    need("arm-none-eabi-gcc", "qemu-system-arm")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_the_host_s_bytes(name: str) -> None:
    for path in (NETWORKS[name], PHOTO):
        if name != "digits" and not path.is_file():
            missing(str(path))
    blob = compiled(name)
    inputs = network_input(name, blob)
    result, figures = measure(blob, inputs)
    for found, wanted in zip(result.outputs, Run(blob.model).infer(inputs), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert figures.arena_bytes == blob.model.arena_bytes
    assert 0 < figures.stack_bytes <= MOST_STACK
    assert figures.ram_high_water_bytes >= blob.model.memory_bytes + figures.stack_bytes
    assert not grown(json.loads(STORED.read_text())["networks"][name], asdict(figures))


@pytest.mark.parametrize("seed", range(6))
def test_random_graphs_and_plans(seed: int) -> None:
    """Several inputs and outputs, outputs by rows, whatever the generator draws."""
    graph = random_graph(seed)
    rng = np.random.default_rng(seed)
    tensors = [graph.tensors[edge.tensor] for edge in graph.inputs]
    shapes = [(t.height, t.width, t.channels) for t in tensors]
    inputs = [rng.integers(-128, 128, shape).astype(np.int8) for shape in shapes]
    expected = reference.run(graph, inputs)
    everything = tuple(range(len(graph.outputs)))
    for planned in (
        plan(graph, PlanOptions(streamed_outputs=everything)),
        random_plan(graph, Random(seed)),
    ):
        blob = pack(graph, planned, None)
        with open_target(f"qemu:{BOARD}", blob) as target:
            for _ in range(2):
                result = target.infer(inputs, profile=True)
                for found, wanted in zip(result.outputs, expected, strict=True):
                    np.testing.assert_array_equal(found, wanted)
                assert result.arena_bytes == planned.arena_total
                assert len(result.profile) == len(Model(blob).stages)
                assert result.instructions is not None
                assert 0 < sum(cost.cost for cost in result.profile) <= result.instructions
            assert target.client.status().overruns == 0


def test_instructions_are_counted_exactly() -> None:
    """Two runs of one network differ by the timer's grain only, not by what the line does."""
    blob = compiled("digits")
    inputs = network_input("digits", blob)
    with open_target(f"qemu:{BOARD}", blob.data) as target:
        counts = [target.infer(inputs).instructions for _ in range(4)]
    assert None not in counts
    numbers = [count or 0 for count in counts]
    assert max(numbers) - min(numbers) < max(numbers) / 500


def test_the_firmware_does_not_grow() -> None:
    assert not grown(json.loads(STORED.read_text())["firmware"], firmware_bytes())


def test_a_stack_that_overflows_is_a_fault(tmp_path: Path) -> None:
    """It stays within its place to the last byte, and the fault reaches the host."""
    board = load_board(BOARD)
    image = tmp_path / "overflow.elf"
    sources = [path for path in firmware.sources(board) if path.parent.name != "app"]
    test = ROOT / "tests" / "board" / "overflow.c"
    firmware.compile_image(board, [test, *sources], tmp_path, image, ("-Wno-infinite-recursion",))
    with Qemu(board, image) as qemu:
        port = open_port(qemu.url)
        port.timeout = 10
        decoder = Decoder()
        frames = []
        while not frames or frames[-1].type != Type.FAULT | ANSWER:
            data = port.read(1)
            assert data, "neither a fault nor a frame"
            frames += decoder.feed(data)
        port.close()
    used = [int.from_bytes(frame.payload[:4], "little") for frame in frames[:-1]]
    lowest = [int.from_bytes(frame.payload[4:8], "little") for frame in frames[:-1]]
    assert used == sorted(used)
    assert board.stack_bytes - 600 < used[-1] <= board.stack_bytes
    assert board.ram.base <= lowest[-1] < board.ram.base + 1000
    # A memory fault, by the guard: MMFSR is bits 0 to 7.
    assert int.from_bytes(frames[-1].payload[4:8], "little") & 0xFF
