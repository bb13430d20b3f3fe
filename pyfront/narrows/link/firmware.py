# SPDX-License-Identifier: Apache-2.0
"""Builds the firmware of a board from the runtime's and the firmware's own sources."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from narrows.boards import GUARD_BYTES, Board
from narrows.errors import ToolError
from narrows.native import Form, Op, StageInfo
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
# The application waits for the line most of the time: small is better than fast.
_FOLDER_FLAGS = {"app": ("-Os",)}
_LINK_FLAGS = ("-nostdlib", "-Wl,--gc-sections", "-Wl,--fatal-warnings")
_IMAGE = "firmware.elf"


def build(
    board: Board, progress: Progress = no_progress, stages: Collection[StageInfo] | None = None
) -> Path:
    """The board's firmware, built now or taken from the user's cache.

    Args:
        stages: of the models that it shall run, whose operators and forms alone are built
            in; None: all.

    Returns: path of the ELF file.

    Raises: ToolError: no compiler, or it failed, or the cache cannot be written.
    """
    try:
        flags = _stage_flags(stages)
        folder = cache_dir() / f"{board.name}-{_key(board, flags)}"
        if not (folder / _IMAGE).is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".build-", dir=folder.parent) as temporary:
                whole = Path(temporary) / "whole"
                whole.mkdir()
                image = Path(temporary) / _IMAGE
                compile_image(board, sources(board), Path(temporary), image, flags, progress)
                image.rename(whole / _IMAGE)
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


def sources(board: Board) -> list[Path]:
    """The C files of the board's firmware."""
    root = share_dir()
    app, link, libc, port = (root / "firmware" / part for part in ("app", "link", "libc", "port"))
    drivers = (
        f"startup_{board.core.startup}.c",
        f"uart_{board.uart.driver}.c",
        f"timer_{board.timer.driver}.c",
        f"slot_{board.slot.driver}.c",
    )
    return [
        *(path for folder in (app, link, libc) for path in sorted(folder.glob("*.c"))),
        *(port / name for name in drivers),
        *sorted((root / "runtime" / "src").glob("*.c")),
        *sorted((root / "runtime" / "ops").glob("*.c")),
        *sorted((root / "runtime" / "kernels").glob("*_c.c")),
        root / "runtime" / "kernels" / "layouts.c",
    ]


def compile_image(
    board: Board,
    files: Sequence[Path],
    folder: Path,
    image: Path,
    more_flags: Sequence[str] = (),
    progress: Progress = no_progress,
) -> None:
    """Compile C files and link them for a board.

    Args:
        folder: where object files may stand.
        image: the ELF file to write.

    Raises: ToolError: no compiler, or it failed.
    """
    command = [_compiler(), *_flags(board), *more_flags]
    objects = []
    for index, file in enumerate(files):
        progress("building the firmware", index / (len(files) + 1))
        objects.append(str(folder / f"{file.parent.name}_{file.stem}.o"))
        few = _FOLDER_FLAGS.get(file.parent.name, ())
        _run([*command, *few, "-c", str(file), "-o", objects[-1]])
    script = folder / "board.ld"
    template = share_dir() / "firmware" / "port" / "cortex_m.ld"
    _run([*command, "-E", "-P", "-x", "c", str(template), "-o", str(script)])
    _run([*command, *_LINK_FLAGS, f"-T{script}", *objects, "-lgcc", "-o", str(image)])
    progress("building the firmware", 1.0)


def _compiler() -> str:
    compiler = shutil.which(_COMPILER)
    if compiler is None:
        raise ToolError(f"{_COMPILER} is not installed: apt-get install {_PACKAGE}")
    return compiler


def _flags(board: Board) -> list[str]:
    root = share_dir()
    folders = [root / "firmware" / name for name in ("libc", "link", "port", "app")]
    folders += [root / "runtime" / name for name in ("include", "src", "ops", "kernels")]
    facts = {
        "BOARD_NAME": f'"{board.name}"',
        "BOARD_CODE_BASE": board.code.base,
        "BOARD_CODE_BYTES": board.code.bytes,
        "BOARD_RAM_BASE": board.ram.base,
        "BOARD_RAM_BYTES": board.ram.bytes,
        "BOARD_STACK_BYTES": board.stack_bytes,
        "BOARD_GUARD_BYTES": GUARD_BYTES,
        "BOARD_VARIABLE_BYTES": board.variable_bytes,
        "BOARD_FENCE_BYTES": board.qemu.ram_bytes if board.qemu is not None else 0,
        "BOARD_ARENAS": _arenas(board),
        "BOARD_SLOT_BASE": board.slot.base,
        "BOARD_SLOT_BYTES": board.slot.bytes,
        "BOARD_UART_BASE": board.uart.base,
        "BOARD_UART_IRQ": board.uart.irq,
        "BOARD_UART_CLOCK_HZ": board.uart.clock_hz,
        "BOARD_UART_BAUD": board.uart.baud,
        "BOARD_RECEIVE_BYTES": board.uart.receive_bytes,
        "BOARD_TIMER_HZ": board.timer.hz,
        "NRW_LAYOUTS(X)": f"X({board.core.layout.upper()},{board.core.layout}_c)",
    }
    return [
        *board.core.flags,
        *_FLAGS,
        *(f"-D{name}={value}" for name, value in facts.items()),
        *(f"-I{folder}" for folder in folders),
    ]


def _stage_flags(stages: Collection[StageInfo] | None) -> tuple[str, ...]:
    """The lists of ``runtime/ops/operator.h``, where they are not those of all."""
    if stages is None:
        return ()
    used = {Op.INPUT, Op.OUTPUT, *(stage.op for stage in stages)}
    operators = " ".join(f"X({op.name},{op.name.lower()})" for op in sorted(used))
    forms = sum(1 << form for form in {Form.SINGLE, *(stage.form for stage in stages)})
    return f"-DNRW_OPERATORS(X)={operators}", f"-DNRW_FORMS={forms}u"


def _arenas(board: Board) -> str:
    """As an initializer in C; the linker knows best what is left of the RAM."""
    places = [
        (0, 0) if arena.base == board.ram.base else (arena.base, arena.bytes)
        for arena in board.arenas
    ]
    return ",".join(f"{{{base},{size}}}" for base, size in places)


def _key(board: Board, more_flags: Sequence[str]) -> str:
    """Of everything that the image follows from."""
    root, compiler = share_dir(), _compiler()
    version = _run([compiler, "--version"]).splitlines()[0]
    digest = hashlib.sha256(
        "\n".join((version, *_flags(board), *more_flags, str(_FOLDER_FLAGS), *_LINK_FLAGS)).encode()
    )
    for folder in ("firmware", "runtime"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".c", ".h", ".ld"):
                digest.update(f"\n{path.relative_to(root)}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        words = ("error", "undefined")
        lines = [line for line in error.stderr.splitlines() if any(w in line for w in words)]
        lines = lines or ["no message"]
        raise ToolError(f"{command[0]} failed: {lines[0].strip()}") from error
    return done.stdout
