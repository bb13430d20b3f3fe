# SPDX-License-Identifier: Apache-2.0
"""Flash that runtime and kernels take in a Cortex-M4's firmware, without what it does not call.

``linked.py`` prints the figures beside their limits, and ends with 1 if one is over.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from narrows.blob import Blob, parse_blob
from narrows.boards import Board, load_board
from narrows.compiler import compile_model
from narrows.link.compilers import run_tool
from narrows.link.firmware import compile_image, model_flags, sources
from narrows.models import DIGITS_INT8
from narrows.share import share_dir

ROOT = Path(__file__).resolve().parents[2]
BOARD = load_board("mps2-an386")
PORTABLE = load_board(str(ROOT / "tests" / "board" / "portable.toml"))
SMALL = replace(PORTABLE, core=replace(PORTABLE.core, small=True))

LIMITS = {
    "every operator, DSP kernels, for speed": 44 * 1024,
    "every operator, portable kernels, for size": 26 * 1024,
    "the digits' operators, portable kernels, for size": 14 * 1024,
}
"""Bytes."""

# A section that the linker's map says was kept: its function's name, its place and its length.
_SECTION = re.compile(
    r"^ \.(?:text|rodata)(?:\.unlikely)?\.([\w$]+)\S*\s+0x0*[1-9a-f][0-9a-f]*\s+0x([0-9a-f]+)\s",
    re.MULTILINE,
)
# A function or a constant in what nm prints.
_DEFINED = re.compile(r"^\w+ [tTrR] ([\w$]+)", re.MULTILINE)
_PARTS = ("src", "ops", "kernels")


def functions(board: Board) -> set[str]:
    """The names of the runtime's. Optimization at link time mixes all objects, so these come from
    firmware without it; if another part has one of the same name, that counts, too."""
    files = sources(board)
    found = set[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compile_image(board, files, folder, folder / "firmware.elf", ("-fno-lto",))
        for file in files:
            if file.parent.name in _PARTS and file.is_relative_to(share_dir() / "runtime"):
                made = folder / f"{file.parent.name}_{file.stem}.o"
                found |= set(_DEFINED.findall(run_tool(["arm-none-eabi-nm", str(made)])))
    return found


def flash(board: Board, ours: set[str], blobs: Collection[Blob] | None = None) -> int:
    """Bytes. ours: functions of the runtime. blobs: the models that the firmware shall run;
    None: every operator."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = folder / "firmware.map"
        flags = (*model_flags(blobs), f"-Wl,-Map={written}")
        compile_image(board, sources(board), folder, folder / "firmware.elf", flags)
        text = written.read_text()
    kept = text[text.index("Linker script and memory map") :]
    joined = re.sub(r"^( \.\S+)\n\s+0x", r"\1 0x", kept, flags=re.MULTILINE)
    return sum(int(size, 16) for name, size in _SECTION.findall(joined) if name in ours)


def figures() -> dict[str, int]:
    """The bytes that each of LIMITS is about."""
    digits = [parse_blob(compile_model(DIGITS_INT8).blob)]
    small = functions(SMALL)
    found = flash(BOARD, functions(BOARD)), flash(SMALL, small), flash(SMALL, small, digits)
    return dict(zip(LIMITS, found, strict=True))


def main() -> int:
    found = figures()
    for name, size in found.items():
        print(f"{name}: {size:,} B of {LIMITS[name]:,}")
    return int(any(size > LIMITS[name] for name, size in found.items()))


if __name__ == "__main__":
    sys.exit(main())
