# SPDX-License-Identifier: Apache-2.0
"""Builds the firmware of a board from the runtime's and the firmware's own sources."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from narrows.blob import Blob
from narrows.boards import GUARD_BYTES, Board, driver_files
from narrows.errors import ToolError
from narrows.link.compilers import Compiler, CompilerKind, find_compiler, gcc_flags, run_tool
from narrows.link.image import seal_boot2
from narrows.native import Form, Op
from narrows.result import Progress, no_progress
from narrows.share import share_dir

Protocol: TypeAlias = Literal["narrows", "mlperf"]
"""What firmware speaks: its own frames alone, or MLPerf Tiny's commands too (``PROTOCOL.md``)."""
_FLAGS = (
    "-std=c99",
    "-ffreestanding",
    "-ffunction-sections",
    "-fdata-sections",
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
# Portable kernels do what is rare where there are others with SIMD instructions, but for the
# convolution of plain weights.
_PORTABLE_FLAGS = {"dsp": ("-Os",), "mve": ("-Os",)}
# The files of the runtime whose code runs once for a model, or takes little of a firing's time. Of
# the operators, those that do more than ask a kernel for a strip.
_SMALL = ("blob", "check", "firing", "model", "sizes", "stage", "work")
_BUSY = ("bottleneck_compute",)
# Kernels that take little of a network's time.
_SELDOM = ("pool_dsp",)
_PROTOCOL_FLAGS: dict[Protocol, tuple[str, ...]] = {
    "narrows": (),
    "mlperf": ("-DBOARD_MLPERF=1",),
}
_LINK_FLAGS = ("-nostdlib", "-Wl,--gc-sections", "-Wl,--fatal-warnings")
_INCLUDES = (
    *(f"firmware/{room}" for room in ("libc", "link", "port", "chip", "core", "app")),
    *(f"runtime/{part}" for part in ("include", "src", "ops", "kernels")),
)
_IMAGE = "firmware.elf"
# The second stage of a chip that boots in two; it carries a checksum.
_BOOT2 = "_boot2.S"
IMAGES = "firmware-images"
"""Folder beside ``boards`` where a package that was built with them has images."""


def build(
    board: Board,
    progress: Progress = no_progress,
    blobs: Collection[Blob] | None = None,
    key: bytes | None = None,
    protocol: Protocol = "narrows",
    compiler: CompilerKind | None = None,
) -> Path:
    """The board's firmware: as it came with the package, built now, or taken from the user's cache.

    Args:
        blobs: the models that it shall run; what they use of the runtime is built in alone. None:
            all of it.
        key: Ed25519 public key, 32 bytes; it takes no model that this has not signed. None: any.
        protocol: "mlperf": the commands of MLPerf Tiny's runner too.
        compiler: which builds it; None: what came with the package, or any compiler.

    Returns: path of the ELF file.

    Raises: ToolError: no compiler, or it failed, or the cache cannot be written.
    """
    flags = (*model_flags(blobs), *_key_flags(key), *_PROTOCOL_FLAGS[protocol])
    content = _content_key(board, flags)
    shipped = _shipped(board, content)
    if compiler is None and shipped is not None:
        return shipped
    found = find_compiler(board.core, compiler)
    said = f"{run_tool(found.version)}{found.flags}{found.libraries}"
    tool = hashlib.sha256(said.encode()).hexdigest()[:8]
    try:
        folder = cache_dir() / f"{board.name}-{content}-{tool}"
        if not (folder / _IMAGE).is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".build-", dir=folder.parent) as temporary:
                whole = Path(temporary) / "whole"
                whole.mkdir()
                image = Path(temporary) / _IMAGE
                files = sources(board)
                compile_image(board, files, Path(temporary), image, flags, progress, found)
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


def missing_compiler(board: Board) -> str | None:
    """What ``build`` needs that is not installed, and how to install it; None: nothing, perhaps
    because the firmware came with the package."""
    if _shipped(board, _content_key(board, ())) is not None:
        return None
    try:
        find_compiler(board.core)
    except ToolError as error:
        return str(error)
    return None


def build_shipped(folder: Path, boards: Iterable[Board]) -> None:
    """Build the images that come with the package, so that its users need no compiler.

    Args:
        folder: where they are put, and what else is there is deleted; to be installed as
            ``firmware-images`` beside ``boards``.

    Raises: ToolError: as ``build``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = {_image_name(board, _content_key(board, ())): board for board in boards}
    for path in folder.glob("*.elf"):
        if path.name not in names:
            path.unlink()
    for name, board in names.items():
        if not (folder / name).is_file():
            shutil.copyfile(build(board, compiler=CompilerKind.GCC), folder / name)


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
        *(
            path
            for kernels in sorted({"c", board.core.kernels})
            for path in sorted((root / "runtime" / "kernels").glob(f"*_{kernels}.c"))
        ),
        root / "runtime" / "kernels" / "layouts.c",
    ]


def compile_image(
    board: Board,
    files: Sequence[Path],
    folder: Path,
    image: Path,
    more_flags: Sequence[str] = (),
    progress: Progress = no_progress,
    compiler: Compiler | None = None,
) -> None:
    """Compile files and link them for a board.

    Args:
        folder: where object files may stand.
        image: the ELF file to write.
        compiler: None: any that is there.

    Raises: ToolError: no compiler, or it failed.
    """
    (folder / "board.h").write_text(board_header(board), encoding="ascii")
    compiler = compiler or find_compiler(board.core)
    command = [*compiler.command, *compiler.flags, *_flags(board), f"-I{folder}"]
    command += [*(f"-I{share_dir() / path}" for path in _INCLUDES), *more_flags]
    objects = []
    for index, file in enumerate(files):
        progress("building the firmware", index / (len(files) + 1))
        objects.append(str(folder / f"{file.parent.name}_{file.stem}.o"))
        run_tool([*command, *_file_flags(board, file), "-c", str(file), "-o", objects[-1]])
    script = folder / "board.ld"
    template = share_dir() / "firmware" / "core" / board.core.family.value / "memories.ld"
    run_tool([*command, "-E", "-P", "-x", "c", str(template), "-o", str(script)])
    command += [*_LINK_FLAGS, f"-T{script}", *objects, *compiler.libraries]
    run_tool([*command, "-o", str(image)])
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


def _flags(board: Board) -> list[str]:
    kernels = board.core.kernels
    tables = " ".join(f"X({name.upper()},{name}_{kernels})" for name in board.core.layouts)
    return [
        *_FLAGS,
        f"-DNRW_LAYOUTS(X)={tables}",
        f'-DNRW_KERNELS="names_{kernels}.h"',
    ]


def _file_flags(board: Board, file: Path) -> tuple[str, ...]:
    rare = file.stem.endswith("_c") and file.stem != "conv_c"
    if file.parent.name == "kernels" and rare:
        return _PORTABLE_FLAGS.get(board.core.kernels, ())
    if (file.parent.name == "src" and file.stem in _SMALL) or file.stem in _SELDOM:
        return ("-Os",)
    if file.parent.name == "ops" and file.stem not in _BUSY:
        return ("-Os",)
    return _FOLDER_FLAGS.get(file.parent.name, ())


def model_flags(blobs: Collection[Blob] | None) -> tuple[str, ...]:
    """The list of ``runtime/ops/operator.h``, where it is not that of all, and whether there are
    variables, and stages that do not give evenly."""
    if blobs is None:
        return ()
    stages = [stage for blob in blobs for stage in blob.model.stages]
    ends = {(Op.INPUT, Form.SINGLE), (Op.OUTPUT, Form.SINGLE)}
    forms: dict[Op, int] = {}
    for op, form in sorted(ends | {(stage.op, stage.form) for stage in stages}):
        forms[op] = forms.get(op, 0) | 1 << form
    entries = (f"X({op.name},{op.name.lower()},{bits}u)" for op, bits in forms.items())
    variables = int(any(blob.header.variables for blob in blobs))
    uneven = int(not all(map(_gives_evenly, blobs)))
    return (
        f"-DNRW_OPERATORS(X)={' '.join(entries)}",
        f"-DNRW_VARIABLES={variables}",
        f"-DNRW_UNEVEN={uneven}",
    )


def _gives_evenly(blob: Blob) -> bool:
    """Whether all stages do: ``nrw_is_even``."""
    made = (
        blob.model.tensors[stage.output]
        for stage in blob.model.stages
        if stage.op is not Op.OUTPUT and stage.form is not Form.ACCUMULATING
    )
    return all(
        t.width % t.strip == 0 and (t.capacity == t.height * t.width or t.capacity % t.strip == 0)
        for t in made
    )


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


def _shipped(board: Board, content: str) -> Path | None:
    """An image that came with the package and follows from these very sources."""
    path = share_dir() / IMAGES / _image_name(board, content)
    return path if path.is_file() else None


def _image_name(board: Board, key: str) -> str:
    return f"{board.name}-{key}.elf"


def _content_key(board: Board, more_flags: Sequence[str]) -> str:
    """Of everything that the image follows from, but the compiler; the same on every machine."""
    root = share_dir()
    files = (
        " ".join((path.relative_to(root).as_posix(), *_file_flags(board, path)))
        for path in sources(board)
    )
    flags = (*gcc_flags(board.core), *_flags(board), *more_flags)
    said = (board_header(board), *files, *flags, *_LINK_FLAGS)
    digest = hashlib.sha256("\n".join(said).encode())
    for folder in ("firmware", "runtime"):
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root)
            if path.suffix in (".c", ".h", ".ld", ".S") and "build" not in name.parts:
                digest.update(f"\n{name.as_posix()}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
