# SPDX-License-Identifier: Apache-2.0
"""C compilers for the cores of boards: GCC, and Zig's Clang, which pip installs everywhere."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from narrows.boards import Core, Family
from narrows.errors import ToolError

GCC = {
    Family.CORTEX_M: ("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
    Family.RISCV: ("riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf"),
}
"""The compiler for each family of cores, and the Debian package that has it."""

# As small as can be: on a Cortex-M4 link-time optimization saves 9% of the flash. The passes that
# are left out make code larger here, and save a thousandth of the instructions.
_GCC_SMALL = (
    *("-Os", "-fno-inline-small-functions", "-fno-tree-slsr"),
    *("-flto", "-fno-fat-lto-objects"),
)
# Zig's own defaults trap what C leaves undefined, watch the stack and keep tables for unwinding.
# Unrolled loops make the firmware half as large again as GCC's.
_ZIG_FLAGS = (
    "-fno-sanitize=undefined",
    "-fno-stack-protector",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fno-unroll-loops",
    "-g0",
)
# Zig names an entry of its own, whatever the linker script says.
_ZIG_LINK_FLAGS = ("-Wl,--entry=reset", "-Wl,--strip-debug")


class CompilerKind(Enum):
    """Which compiler."""

    GCC = "gcc"
    ZIG = "zig"


@dataclass(frozen=True)
class Compiler:
    """A compiler that is installed.

    command: what compiles and links. flags: for the core, and for its speed or size. libraries:
    what compiled code needs beside the firmware's own. version: the command that prints it.
    """

    command: tuple[str, ...]
    flags: tuple[str, ...]
    libraries: tuple[str, ...]
    version: tuple[str, ...]


def find_compiler(core: Core, kind: CompilerKind | None = None) -> Compiler:
    """The compiler for a core. kind: which; None: GCC if it is there, else Zig.

    Raises: ToolError: it is not installed.
    """
    name, package = GCC[core.family]
    gcc = shutil.which(name) if kind is not CompilerKind.ZIG else None
    if gcc is not None:
        return Compiler((gcc,), gcc_flags(core), ("-lgcc",), (gcc, "--version"))
    if kind is not CompilerKind.GCC and has_zig():
        zig = (sys.executable, "-m", "ziglang")
        return Compiler(
            (*zig, "cc"), _zig_flags(core), ("-lcompiler_rt", *_ZIG_LINK_FLAGS), (*zig, "version")
        )
    ways = {
        CompilerKind.GCC: f"{name} is not installed: apt-get install {package}",
        CompilerKind.ZIG: "Zig is not installed: pip install 'narrows[firmware]'",
    }
    if kind is not None:
        raise ToolError(ways[kind])
    raise ToolError(
        f"no compiler for {core.cpu}: {ways[CompilerKind.GCC]}, or take Zig, which needs no "
        "rights: pip install 'narrows[firmware]'"
    )


def has_zig() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("ziglang") is not None


def gcc_flags(core: Core) -> tuple[str, ...]:
    """For a core, and for its speed or size."""
    speed = _GCC_SMALL if core.small else ("-O2",)
    # Loops that are memset and memcpy must not be compiled into calls of themselves.
    return (*core.flags, *speed, "-fno-tree-loop-distribute-patterns")


def run_tool(command: Sequence[str]) -> str:
    """What a tool says. Raises: ToolError: it failed, with the first line that says why."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        words = ("error", "undefined")
        lines = [line for line in error.stderr.splitlines() if any(w in line for w in words)]
        lines = lines or ["no message"]
        name = command[2] if command[1] == "-m" else command[0]
        raise ToolError(f"{name} failed: {lines[0].strip()}") from error
    return done.stdout


def _zig_flags(core: Core) -> tuple[str, ...]:
    """As ``gcc_flags``, in Zig's words."""
    more = (*_ZIG_FLAGS, "-Os" if core.small else "-O2")
    if core.family is Family.RISCV:
        extensions = "".join(f"+{letter}" for letter in core.cpu.removeprefix("rv32i"))
        target = ("riscv32-freestanding-none", f"-mcpu=generic_rv32{extensions}")
        return ("-target", *target, "-mcmodel=medany", *more)
    hard = "-mfloat-abi=hard" in core.flags
    # Helium has to be asked for: Zig's compiler does not take it from the core.
    cpu = core.cpu.replace("-", "_") + ("+mve_fp" if core.kernels == "mve" else "")
    target = ("thumb-freestanding-eabihf", f"-mcpu={cpu}")
    if not hard:
        target = ("thumb-freestanding-eabi", f"-mcpu={cpu}+soft_float")
    return ("-target", *target, *more)
