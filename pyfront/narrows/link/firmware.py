# SPDX-License-Identifier: Apache-2.0
"""Builds the firmware of a board from the runtime's and the firmware's own sources."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from narrows.boards import Board
from narrows.errors import ToolError
from narrows.result import Progress, no_progress
from narrows.share import share_dir

_COMPILER = "arm-none-eabi-gcc"
_PACKAGE = "gcc-arm-none-eabi"
_FLAGS = (
    "-std=c99",
    "-O2",
    "-ffreestanding",
    "-ffunction-sections",
    "-fdata-sections",
    # memset and memcpy must not be compiled into calls of themselves.
    "-fno-tree-loop-distribute-patterns",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wmissing-prototypes",
    "-Wshadow",
    "-Werror",
)
_LINK_FLAGS = ("-nostdlib", "-Wl,--gc-sections", "-Wl,--fatal-warnings")
_IMAGE = "firmware.elf"


def build(board: Board, progress: Progress = no_progress) -> Path:
    """The board's firmware, built now or taken from the user's cache.

    Returns: path of the ELF file.

    Raises: ToolError: no compiler, or it failed, or the cache cannot be written.
    """
    compiler = shutil.which(_COMPILER)
    if compiler is None:
        raise ToolError(f"{_COMPILER} is not installed: apt-get install {_PACKAGE}")
    root = share_dir()
    sources = _sources(root, board)
    flags = _flags(root, board)
    try:
        folder = cache_dir() / f"{board.name}-{_key(root, compiler, flags)}"
        if not (folder / _IMAGE).is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".build-", dir=folder.parent) as temporary:
                whole = Path(temporary) / "whole"
                whole.mkdir()
                _build(root, compiler, flags, sources, whole, progress)
                # Whoever else was faster has made the same.
                with contextlib.suppress(OSError):
                    whole.rename(folder)
    except OSError as error:
        raise ToolError(
            f"{error.filename}: the firmware cannot be built there: {error.strerror}; "
            "set NARROWS_CACHE_DIR to a folder with room"
        ) from error
    return folder / _IMAGE


def cache_dir() -> Path:
    """``$NARROWS_CACHE_DIR``, or ``narrows`` in the user's cache folder."""
    chosen = os.environ.get("NARROWS_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "narrows"


def _sources(root: Path, board: Board) -> list[Path]:
    firmware, runtime = root / "firmware", root / "runtime"
    drivers = (
        f"startup_{board.core.startup}.c",
        f"uart_{board.uart.driver}.c",
        f"timer_{board.timer.driver}.c",
        f"slot_{board.slot.driver}.c",
    )
    return [
        *sorted((firmware / "app").glob("*.c")),
        *sorted((firmware / "link").glob("*.c")),
        *sorted((firmware / "libc").glob("*.c")),
        *(firmware / "port" / name for name in drivers),
        *sorted((runtime / "src").glob("*.c")),
        *sorted((runtime / "kernels").glob("*_c.c")),
        runtime / "kernels" / "scratch.c",
    ]


def _flags(root: Path, board: Board) -> list[str]:
    folders = [root / "firmware" / name for name in ("libc", "link", "port", "app")]
    folders += [root / "runtime" / name for name in ("include", "src", "kernels")]
    facts = {
        "BOARD_NAME": f'"{board.name}"',
        "BOARD_CODE_BASE": board.code.base,
        "BOARD_CODE_BYTES": board.code.bytes,
        "BOARD_RAM_BASE": board.ram.base,
        "BOARD_RAM_BYTES": board.ram.bytes,
        "BOARD_STACK_BYTES": board.stack_bytes,
        "BOARD_SLOT_BASE": board.slot.base,
        "BOARD_SLOT_BYTES": board.slot.bytes,
        "BOARD_UART_BASE": board.uart.base,
        "BOARD_UART_IRQ": board.uart.irq,
        "BOARD_UART_CLOCK_HZ": board.uart.clock_hz,
        "BOARD_UART_BAUD": board.uart.baud,
        "BOARD_TIMER_HZ": board.timer.hz,
    }
    return [
        *board.core.flags,
        *_FLAGS,
        *(f"-D{name}={value}" for name, value in facts.items()),
        *(f"-I{folder}" for folder in folders),
    ]


def _key(root: Path, compiler: str, flags: Sequence[str]) -> str:
    """Of everything that the image follows from."""
    version = _run([compiler, "--version"]).splitlines()[0]
    digest = hashlib.sha256("\n".join((version, *flags, *_LINK_FLAGS)).encode())
    for folder in ("firmware", "runtime"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".c", ".h", ".ld"):
                digest.update(f"\n{path.relative_to(root)}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _build(
    root: Path,
    compiler: str,
    flags: Sequence[str],
    sources: Sequence[Path],
    folder: Path,
    progress: Progress,
) -> None:
    objects = []
    for index, source in enumerate(sources):
        progress("building the firmware", index / (len(sources) + 1))
        objects.append(str(folder / f"{source.stem}.o"))
        _run([compiler, *flags, "-c", str(source), "-o", objects[-1]])
    script = folder / "board.ld"
    template = root / "firmware" / "port" / "cortex_m.ld"
    _run([compiler, *flags, "-E", "-P", "-x", "c", str(template), "-o", str(script)])
    image = str(folder / _IMAGE)
    _run([compiler, *flags, *_LINK_FLAGS, f"-T{script}", *objects, "-lgcc", "-o", image])
    progress("building the firmware", 1.0)


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if "error" in line] or ["no message"]
        raise ToolError(f"{command[0]} failed: {lines[0].strip()}") from error
    return done.stdout
