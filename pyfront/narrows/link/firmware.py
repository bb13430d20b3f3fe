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
from typing import Literal, TypeAlias

from narrows.boards import GUARD_BYTES, Board, Family, driver_files
from narrows.errors import ToolError
from narrows.link.image import seal_boot2
from narrows.native import Form, Op, StageInfo
from narrows.result import Progress, no_progress
from narrows.share import share_dir

COMPILERS = {
    Family.CORTEX_M: ("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
    Family.RISCV: ("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"),
}
"""Of each family of cores the compiler, and the Debian package that has it."""
Protocol: TypeAlias = Literal["narrows", "mlperf"]
"""What firmware speaks: its own frames alone, or MLPerf Tiny's commands too (``PROTOCOL.md``)."""
_FLAGS = (
    "-std=c99",
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
# The application waits for the line most of the time: small is better than fast. Link-time
# optimization must not see what the compiler calls by itself, nor what only assembly jumps to.
_FOLDER_FLAGS = {
    "app": ("-Os",),
    "libc": ("-fno-lto",),
    "core": ("-fno-lto",),
    "cortex_m": ("-fno-lto",),
    "riscv": ("-fno-lto",),
}
_PROTOCOL_FLAGS: dict[Protocol, tuple[str, ...]] = {
    "narrows": (),
    "mlperf": ("-DBOARD_MLPERF=1",),
}
# As small as can be: on a Cortex-M4 link-time optimization saves 9% of the flash.
_SMALL_FLAGS = ("-Os", "-flto", "-fno-fat-lto-objects")
_LINK_FLAGS = ("-nostdlib", "-Wl,--gc-sections", "-Wl,--fatal-warnings")
_IMAGE = "firmware.elf"
# Of a chip that boots in two stages: the second, which carries a checksum.
_BOOT2 = "_boot2.S"


def build(
    board: Board,
    progress: Progress = no_progress,
    stages: Collection[StageInfo] | None = None,
    key: bytes | None = None,
    protocol: Protocol = "narrows",
) -> Path:
    """The board's firmware, built now or taken from the user's cache.

    Args:
        stages: of the models that it shall run, whose operators and forms alone are built
            in; None: all.
        key: Ed25519 public key, 32 bytes; it takes no model that this has not signed. None: any.
        protocol: "mlperf": the commands of MLPerf Tiny's runner too.

    Returns: path of the ELF file.

    Raises: ToolError: no compiler, or it failed, or the cache cannot be written.
    """
    try:
        flags = (*_stage_flags(stages), *_key_flags(key), *_PROTOCOL_FLAGS[protocol])
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
    """The files of the board's firmware, in C, and in assembly if its chip starts by it."""
    root, family = share_dir(), board.core.family
    drivers = {
        "uart": board.uart.driver,
        "timer": board.timer.driver,
        "flash": board.models.driver,
    }
    if board.chip.start is not None:
        drivers["start"] = board.chip.start
    return [
        *(
            path
            for folder in ("app", "link", "libc")
            for path in sorted((root / "firmware" / folder).glob("*.c"))
        ),
        root / "firmware" / "core" / "memory.c",
        root / "firmware" / "core" / family.value / "startup.c",
        *(driver_files(kind, family)[name] for kind, name in drivers.items()),
        *(root / "firmware" / "chip").glob(f"{board.chip.start}{_BOOT2}"),
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
    """Compile files and link them for a board.

    Args:
        folder: where object files may stand.
        image: the ELF file to write.

    Raises: ToolError: no compiler, or it failed.
    """
    (folder / "board.h").write_text(board_header(board), encoding="ascii")
    command = [_compiler(board), *_flags(board), f"-I{folder}", *more_flags]
    objects = []
    for index, file in enumerate(files):
        progress("building the firmware", index / (len(files) + 1))
        objects.append(str(folder / f"{file.parent.name}_{file.stem}.o"))
        few = _FOLDER_FLAGS.get(file.parent.name, ())
        _run([*command, *few, "-c", str(file), "-o", objects[-1]])
    script = folder / "board.ld"
    template = share_dir() / "firmware" / "core" / board.core.family.value / "memories.ld"
    _run([*command, "-E", "-P", "-x", "c", str(template), "-o", str(script)])
    _run([*command, *_LINK_FLAGS, f"-T{script}", *objects, "-lgcc", "-o", str(image)])
    if any(file.name.endswith(_BOOT2) for file in files):
        seal_boot2(image)
    progress("building the firmware", 1.0)


def board_header(board: Board) -> str:
    """The text of ``board.h``: what the board's file says, as C and the linker script read it."""
    facts: dict[str, int | str] = {
        "NAME": f'"{board.name}"',
        "CORE": f'"{board.core.cpu}"',
        "CODE_BASE": board.code.base,
        "CODE_BYTES": board.code.bytes,
        "RAM_BASE": board.ram.base,
        "RAM_BYTES": board.ram.bytes,
        "STACK_BYTES": board.stack_bytes,
        "GUARD_BYTES": GUARD_BYTES,
        "VARIABLE_BYTES": board.variable_bytes,
        "FENCE_BYTES": board.qemu.ram_bytes if board.qemu is not None else 0,
        "ARENAS": _arenas(board),
        "FLASH_BASE": board.models.base,
        "FLASH_BYTES": board.models.bytes,
        "FLASH_ERASE_BYTES": board.models.erase_bytes,
        "UART_BASE": board.uart.base,
        "UART_IRQ": board.uart.irq,
        "UART_CLOCK_HZ": board.uart.clock_hz,
        "UART_BAUD": board.uart.baud,
        "RECEIVE_BYTES": board.uart.receive_bytes,
        "TIMER_HZ": board.timer.hz,
        **{name.upper(): value for name, value in board.chip.facts.items()},
    }
    lines = [
        f"#define BOARD_{name} {value if isinstance(value, str) else hex(value)}"
        for name, value in facts.items()
    ]
    return "\n".join(["#ifndef BOARD_H", "#define BOARD_H", *lines, "#endif", ""])


def _compiler(board: Board) -> str:
    name, package = COMPILERS[board.core.family]
    compiler = shutil.which(name)
    if compiler is None:
        raise ToolError(f"{name} is not installed: apt-get install {package}")
    return compiler


def _flags(board: Board) -> list[str]:
    root = share_dir()
    folders = [root / "firmware" / name for name in ("libc", "link", "port", "chip", "core", "app")]
    folders += [root / "runtime" / name for name in ("include", "src", "ops", "kernels")]
    layout = board.core.layout
    return [
        *board.core.flags,
        *_FLAGS,
        *(_SMALL_FLAGS if board.core.small else ("-O2",)),
        f"-DNRW_LAYOUTS(X)=X({layout.upper()},{layout}_c)",
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


def _key_flags(key: bytes | None) -> tuple[str, ...]:
    if key is None:
        return ()
    return (f"-DBOARD_PUBLIC_KEY={','.join(map(str, key))}",)


def _arenas(board: Board) -> str:
    """As an initializer in C; the linker knows best what is left of the RAM."""
    places = [
        (0, 0) if arena.base == board.ram.base else (arena.base, arena.bytes)
        for arena in board.arenas
    ]
    return ",".join(f"{{{base},{size}}}" for base, size in places)


def _key(board: Board, more_flags: Sequence[str]) -> str:
    """Of everything that the image follows from."""
    root = share_dir()
    version = _run([_compiler(board), "--version"]).splitlines()[0]
    said = (version, board_header(board), *map(str, sources(board)))
    flags = (*_flags(board), *more_flags, str(_FOLDER_FLAGS), *_LINK_FLAGS)
    digest = hashlib.sha256("\n".join((*said, *flags)).encode())
    for folder in ("firmware", "runtime"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".c", ".h", ".ld", ".S"):
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
