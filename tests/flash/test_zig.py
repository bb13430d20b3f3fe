# SPDX-License-Identifier: Apache-2.0
"""Firmware that Zig's Clang has built: the same bytes, in little more flash."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models import missing, need
from narrows.blob import read_blob
from narrows.boards import load_board
from narrows.errors import ToolError
from narrows.flash.contents import firmware_sizes, model_segments
from narrows.link import open_target
from narrows.link.compilers import GCC, CompilerKind, find_compiler
from narrows.link.firmware import build
from narrows.link.qemu import PROGRAMS, Qemu
from narrows.native import Run

BOARDS = ("mps2-an386", "microbit", "sifive_e", "mps3-an547")
"""Cortex-M4, M0 and M55 with its vector unit, and RISC-V."""
# Measured with Zig 0.17 and GCC 12: 1.11 to 1.29 of the flash.
MOST_OF_GCC = 1.4


@pytest.mark.parametrize("name", BOARDS)
def test_the_same_bytes(
    name: str, digits_blob: object, record_property: Callable[[str, object], None]
) -> None:
    board = load_board(name)
    try:
        find_compiler(board.core, CompilerKind.ZIG)
    except ToolError:
        missing("ziglang")
    need(GCC[board.core.family][0], PROGRAMS[board.core.family][0])
    blob = read_blob(str(digits_blob))
    image = build(board, compiler=CompilerKind.ZIG)
    sizes = [firmware_sizes(path).flash for path in (image, build(board))]
    record_property(f"flash by Zig and by GCC on {name}", sizes)
    assert sizes[0] <= MOST_OF_GCC * sizes[1]
    assert sizes[0] <= board.code.bytes
    inputs = [np.random.default_rng(2).integers(-128, 128, blob.model.inputs[0].shape, np.int8)]
    model = model_segments(board, blob)  # not all boards' flash can be programmed in QEMU
    with (
        Qemu(board, image, model) as qemu,
        open_target(f"serial:{qemu.url}", blob.data) as target,
    ):
        result = target.infer(inputs)
    np.testing.assert_array_equal(result.outputs[0], Run(blob.model).infer(inputs)[0])
    assert result.stack_bytes <= board.stack_bytes


def test_it_is_taken_where_gcc_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    core = load_board("mps2-an386").core
    need(GCC[core.family][0])
    assert find_compiler(core).command[0].endswith("arm-none-eabi-gcc")
    monkeypatch.setenv("PATH", "/nowhere")
    try:
        assert "ziglang" in find_compiler(core).command
    except ToolError:
        missing("ziglang")
    with pytest.raises(ToolError, match="arm-none-eabi-gcc is not installed: apt-get install"):
        find_compiler(core, CompilerKind.GCC)
    monkeypatch.setattr("narrows.link.compilers.has_zig", lambda: False)
    with pytest.raises(ToolError, match=r"Zig is not installed: pip install 'narrows\[firmware\]'"):
        find_compiler(core, CompilerKind.ZIG)
    with pytest.raises(ToolError, match=r"gcc-arm-none-eabi, or take Zig.*narrows\[firmware\]"):
        find_compiler(core)
