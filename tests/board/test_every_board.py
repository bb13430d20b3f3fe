# SPDX-License-Identifier: Apache-2.0
"""Every board that can run here: the host's bytes, over its own UART, within its own RAM."""

from __future__ import annotations

import json

import numpy as np
import pytest
from figures import GROWTH, INTERRUPT, NETWORKS, ROOT

from conftest import missing
from models import need, need_rp2040js
from narrows.boards import Board, load_board, load_boards
from narrows.errors import BlobError, LinkError
from narrows.graph.edges import encode
from narrows.link import firmware, open_target
from narrows.link.compilers import GCC
from narrows.link.qemu import PROGRAMS, Qemu
from narrows.native import Run
from narrows.result import Result

BOARDS = [board.name for board in load_boards() if board.emulator is not None]
VWW = "mlperf_vww_96_int8"
STORED = json.loads((ROOT / "tests" / "budget" / "boards.json").read_text())["boards"]


def ready(name: str) -> Board:
    """The board, whose compiler and emulator are there."""
    board = load_board(name)
    if board.rp2040js is not None:
        need_rp2040js()
    else:
        need(PROGRAMS[board.core.family][0])
    need(GCC[board.core.family][0])
    return board


def spec(board: Board) -> str:
    return f"{board.emulator}:{board.name}"


def assert_not_grown(board: str, network: str, result: Result) -> None:
    """Against what boards_table.py has stored."""
    figures = {
        "instructions": (result.instructions or 0, 0),
        "stack": (result.stack_bytes, INTERRUPT),
        "ram": (result.ram_high_water_bytes, INTERRUPT),
    }
    for key, (value, margin) in figures.items():
        stored = STORED[board][f"{network}_{key}"]
        assert value <= stored * GROWTH + margin, f"{network}: {key}, was {stored}"


@pytest.mark.parametrize("name", BOARDS)
def test_digits(name: str) -> None:
    """Rows in, results out; and whole inputs, where there is room for one beside the arena."""
    board = ready(name)
    blob = NETWORKS["digits"].compiled(name)
    (info,) = blob.model.inputs
    rng = np.random.default_rng(0)
    with open_target(spec(board), blob.data) as target:
        for profile in (False, True):
            inputs = [rng.integers(-128, 128, info.shape).astype(np.int8)]
            expected = Run(blob.model).infer(inputs)
            result = target.infer(inputs, profile)
            np.testing.assert_array_equal(result.outputs[0], expected[0])
            if not profile:
                assert_not_grown(name, "digits", result)
        assert 0 < result.stack_bytes <= board.stack_bytes
        beside = result.ram_high_water_bytes - blob.model.memory_bytes
        # The counters of the profile are there, too.
        assert beside - 4 * len(blob.model.stages) <= 3 * 1024
        assert result.ram_high_water_bytes <= board.ram.bytes
        room = sum(board.memories) - blob.model.memory_bytes - 4 * len(blob.model.stages)
        if room >= info.bytes:
            (output,) = target.client.infer_whole(blob.model, inputs)
            np.testing.assert_array_equal(output, expected[0])
        else:
            with pytest.raises(LinkError, match="no room to hold"):
                target.client.infer_whole(blob.model, inputs)
        # A request that was cut short by the start of QEMU is the only one that may be lost.
        assert target.client.status().overruns == 0


@pytest.mark.parametrize("name", BOARDS)
def test_visual_wake_words(name: str) -> None:
    """Where flash and RAM have room for the network; elsewhere that is said."""
    board = ready(name)
    network = NETWORKS[VWW]
    assert network.file is not None
    if not network.file.is_file():
        missing(str(network.file))
    blob = network.compiled(name)
    if len(blob.data) > board.models.room:
        with pytest.raises(LinkError, match="flash has room for"):
            open_target(spec(board), blob.data)
        return
    if blob.model.memory_bytes > sum(board.memories):
        with pytest.raises(BlobError, match=r"needs \d+ bytes of RAM"):
            open_target(spec(board), blob.data)
        return
    inputs = [encode(blob.inputs[0], network.input(blob))]
    with open_target(spec(board), blob.data) as target:
        result = target.infer(inputs)
    np.testing.assert_array_equal(result.outputs[0], Run(blob.model).infer(inputs)[0])
    assert result.ram_high_water_bytes <= board.ram.bytes
    assert_not_grown(name, "vww", result)


def test_the_boards_have_all_families_of_cores() -> None:
    """From Cortex-M0 to M55, and RISC-V."""
    cores = {load_board(name).core.cpu for name in BOARDS}
    assert cores >= {f"cortex-m{n}" for n in ("0", "0plus", 3, 4, 7, 33, 55)} | {"rv32imac"}


@pytest.mark.parametrize("name", ["emcraft-sf2", "microbit"])
def test_flash_keeps_its_model_over_a_reset(name: str) -> None:
    """Boards whose flash QEMU models with its controller: erased, programmed, and read after."""
    board = ready(name)
    blob = NETWORKS["digits"].compiled(name)
    with (
        Qemu(board, firmware.build(board)) as qemu,
        open_target(f"serial:{qemu.url}", blob.data) as target,
    ):
        target.client.reboot()
        standing = target.client.model()
        assert standing is not None
        assert standing.runs
        assert standing.is_blob(blob.data)
