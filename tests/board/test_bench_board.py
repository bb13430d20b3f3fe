# SPDX-License-Identifier: Apache-2.0
"""The instructions of ``narrows bench`` against the firmware's own profile, and its cycles against
what the planner predicts."""

from __future__ import annotations

import pytest
from figures import BOARD, NETWORKS

from models import need
from narrows.bench import bench_board
from narrows.bench.board import fired_stages
from narrows.blob import parse_blob
from narrows.boards import load_board
from narrows.budget import plan_options, predicted_seconds
from narrows.compiler import CompileOptions, compile_model
from narrows.link import open_target
from narrows.models import DIGITS_INT8

# What the profile counts of a call beside it: reading the timer before and after, and its grain.
MOST_AROUND_A_CALL = 80
# The profile counts interrupts, too, one for each byte of a row or of what frames it, wherever it
# meets the run; the bench does not.
MOST_OF_AN_INTERRUPT, MOST_BYTES_OF_A_BYTE = 150, 2


@pytest.fixture(autouse=True)
def tools() -> None:
    need("arm-none-eabi-gcc", "qemu-system-arm", "cc")


@pytest.mark.parametrize("name", [BOARD, "mps2-an385", "mps2-an386-16k"])
def test_instructions_are_those_of_the_profile(name: str) -> None:
    """The whole and each stage agree, but for what the profile counts around each call and of
    interrupts."""
    blob = NETWORKS["digits"].compiled(name)
    inputs = [NETWORKS["digits"].input(blob)]
    with open_target(f"qemu:{name}", blob.data) as target:
        result = target.infer(inputs, profile=True)
    found = bench_board(blob, f"qemu:{name}", inputs)
    firings = list(fired_stages(blob.model, inputs))
    assert result.instructions is not None
    interrupts = MOST_OF_AN_INTERRUPT * MOST_BYTES_OF_A_BYTE * inputs[0].size
    around = result.instructions - found.instructions
    assert 0 < around <= MOST_AROUND_A_CALL * len(firings) + interrupts
    beyond = 0
    for stage, cost in zip(found.stages, result.profile, strict=True):
        around = round(cost.cost) - stage.instructions
        calls = firings.count(stage.stage)
        assert around >= -40 * calls
        beyond += max(0, around - MOST_AROUND_A_CALL * calls)
    assert beyond <= interrupts


def test_the_same_twice() -> None:
    """Nothing is left to chance: neither the line nor an interrupt changes a figure."""
    blob = NETWORKS["digits"].compiled()
    inputs = [NETWORKS["digits"].input(blob)]
    one, two = (bench_board(blob, f"qemu:{BOARD}", inputs) for _ in range(2))
    assert (one.instructions, one.cycles, one.stages) == (two.instructions, two.cycles, two.stages)


def test_milliseconds_are_predicted() -> None:
    """From the plan alone, within what networks differ by."""
    board = load_board(BOARD)
    compiled = compile_model(DIGITS_INT8, CompileOptions(plan_options(None, board)))
    blob = parse_blob(compiled.blob)
    instructions = compiled.report["predicted"]["instructions"]
    predicted = predicted_seconds(instructions, board, compiled.plan.layout)
    found = bench_board(blob, f"qemu:{BOARD}", [NETWORKS["digits"].input(blob)])
    assert board.core_hz is not None
    assert found.cycles is not None
    assert predicted == pytest.approx(found.cycles / board.core_hz, rel=0.15)


def test_without_cycles_the_board_may_have_any_core() -> None:
    blob = NETWORKS["digits"].compiled("mps3-an547")
    inputs = [NETWORKS["digits"].input(blob)]
    found = bench_board(blob, "qemu:mps3-an547", inputs, cycles=False)
    assert found.cycles is None
    assert 0 < sum(stage.instructions for stage in found.stages) < found.instructions
