# SPDX-License-Identifier: Apache-2.0
"""Boards: what ``boards/*.toml`` says of chips, memories and how to reach them."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from narrows.errors import NarrowsError
from narrows.flashing import EspFlash, FlashTools, Stm32Bootloader, Uf2Drive
from narrows.share import share_dir

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECORDS_BYTES = 384
"""At a slot's end, behind the blob: what the firmware's store notes of it."""

GUARD_BYTES = 256
"""Below the stack, of the RAM: touching them is a fault."""

_ADDRESS_SPACE = 1 << 32
_ALIGNMENT = 16
_MOST_ARENAS = 4
_MOST_SECTORS = 1 << 16  # the bootloader numbers them by two bytes
_LEAST_RECEIVE_BYTES = 512  # the longest packet as it goes over the line, and room for PING
_NAME = re.compile(r"[A-Za-z0-9 ._+-]{1,64}")  # goes into C and into an answer of the link
# Cores with the SIMD instructions of Armv7E-M, and those with the vectors of Armv8.1-M beside.
_ARMV6_CORES = {"cortex-m0", "cortex-m0plus", "cortex-m1"}
_DSP_CORES = {"cortex-m4", "cortex-m7", "cortex-m33", "cortex-m35p"}
_MVE_CORES = {"cortex-m55", "cortex-m85"}
_LAYOUTS = {"c": "plain", "fast": "blocked", "dsp": "paired", "mve": "plain"}
"""The weight layout in which an implementation of the kernels is the fastest."""
_CORE_TIMER = "systick"  # counts the core's clock
_VARIABLE_BYTES = 640  # of the application beside its receive buffer; the linker checks


class Family(Enum):
    """A family of cores: ``firmware/core/NAME`` has its start, vectors and linker script."""

    CORTEX_M = "cortex_m"
    RISCV = "riscv"


@dataclass(frozen=True)
class Core:
    """cpu: as GCC calls it (``cortex-m4``, ``rv32imac``); flags: for the compiler; kernels: the
    implementation that it runs, ``c``, ``fast``, ``dsp`` or ``mve``; layout: of weights, one that
    this implementation reads (``runtime/kernels/kernels_LAYOUT_KERNELS.c``); small: its firmware is
    rather small than fast; hz: its clock, where the board's file names it."""

    cpu: str
    family: Family
    flags: tuple[str, ...]
    kernels: str
    layout: str
    small: bool
    hz: int | None = None

    @property
    def layouts(self) -> tuple[str, ...]:
        """Weight layouts that its firmware runs: its own, and where flash is not short the plain
        one, in which models are compiled for no board."""
        return (self.layout,) if self.small or self.layout == "plain" else (self.layout, "plain")


@dataclass(frozen=True)
class Chip:
    """start: ``firmware/chip/start_*.c``, clocks and pins; None: the chip needs none. facts: what
    its drivers want to know beside addresses, each a macro ``BOARD_NAME``."""

    start: str | None
    facts: Mapping[str, int]


@dataclass(frozen=True)
class Memory:
    """``bytes`` bytes from address ``base`` on."""

    base: int
    bytes: int


@dataclass(frozen=True)
class Arena(Memory):
    """Memory for tensors. cycles: of one access, to compare memories."""

    name: str
    cycles: float


@dataclass(frozen=True)
class Models(Memory):
    """Flash where blobs stand (``firmware/app/store.h``). driver: ``firmware/chip/flash_*.c``;
    erase_bytes: of its sectors."""

    driver: str
    erase_bytes: int

    @property
    def half(self) -> int:
        """Bytes of one of two slots."""
        return self.bytes // self.erase_bytes // 2 * self.erase_bytes

    @property
    def room(self) -> int:
        """Bytes of the largest blob."""
        return max(0, self.bytes - RECORDS_BYTES)

    @property
    def room_beside(self) -> int:
        """Bytes of the largest blob that can be written while another runs."""
        return max(0, self.half - RECORDS_BYTES)


@dataclass(frozen=True)
class Uart:
    """driver: ``firmware/chip/uart_*.c``; irq: interrupt of the receiver; clock_hz: what the
    baud rate is divided from; receive_bytes: of the receive buffer."""

    driver: str
    base: int
    irq: int
    clock_hz: int
    baud: int
    receive_bytes: int


@dataclass(frozen=True)
class Timer:
    """driver: ``timer_*.c`` of the core's folder or ``firmware/chip``."""

    driver: str
    hz: int


@dataclass(frozen=True)
class Qemu:
    """instructions_per_tick: of the timer, under ``-icount shift=0``; ram_bytes: what QEMU has
    where the chip's RAM is, if that is more; programs_flash: its model of the chip's flash takes
    what firmware writes."""

    machine: str
    instructions_per_tick: float
    ram_bytes: int
    programs_flash: bool


@dataclass(frozen=True)
class Rp2040js:
    """instructions_per_tick: of the timer, where each instruction takes one cycle."""

    instructions_per_tick: float


@dataclass(frozen=True)
class Board:
    """One file of ``boards/``.

    code: where the firmware stands; ram: all that it may use, stack_bytes of it as stack and
        driver_bytes for its chip's drivers, beyond what every board's have.
    arenas: memories for tensors, the fastest first; what stack and variables leave of the RAM is
        the one named "ram".
    flash: tools that write firmware and models.
    qemu, rp2040js: None if the emulator does not have the board.
    """

    name: str
    title: str
    core: Core
    chip: Chip
    code: Memory
    ram: Memory
    models: Models
    stack_bytes: int
    driver_bytes: int
    arenas: tuple[Arena, ...]
    uart: Uart
    timer: Timer
    flash: FlashTools
    qemu: Qemu | None
    rp2040js: Rp2040js | None

    @property
    def emulator(self) -> str | None:
        """The kind of target that runs it here: ``qemu`` or ``rp2040js``; None for neither."""
        return (
            "qemu" if self.qemu is not None else "rp2040js" if self.rp2040js is not None else None
        )

    @property
    def instructions_per_tick(self) -> float:
        """How many make a tick of the timer in the emulator; for boards that have one."""
        emulated = self.qemu or self.rp2040js
        assert emulated is not None
        return emulated.instructions_per_tick

    @property
    def core_hz(self) -> int | None:
        """The core's clock: as the file names it, as the chip's drivers set it, or as SysTick
        counts it; None if it is not known."""
        counted = self.timer.hz if self.timer.driver == _CORE_TIMER else None
        return self.core.hz or self.chip.facts.get("core_hz") or counted

    @property
    def memories(self) -> tuple[int, ...]:
        """Bytes of the memories for tensors, the fastest first."""
        return tuple(arena.bytes for arena in self.arenas)

    @property
    def variable_bytes(self) -> int:
        """The most that the firmware's variables have."""
        return self.uart.receive_bytes + _VARIABLE_BYTES + self.driver_bytes


def load_boards() -> tuple[Board, ...]:
    """All boards, by name. Raises: NarrowsError: a file that is wrong."""
    return tuple(read_board(path) for path in sorted(_folder().glob("*.toml")))


def load_board(name: str) -> Board:
    """One board. name: of a file of ``boards/``, or the path of another ``.toml`` file.

    Raises: NarrowsError: there is none of that name, or its file is wrong.
    """
    if name.endswith(".toml"):
        return read_board(Path(name))
    names = sorted(path.stem for path in _folder().glob("*.toml"))
    if name not in names:
        raise NarrowsError(
            f"board {name!r}: there is none; known are: {', '.join(names)} (narrows boards)"
        )
    return read_board(_folder() / f"{name}.toml")


def read_board(path: Path) -> Board:
    """Read a board's file. Raises: NarrowsError: the file and the key that is wrong."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NarrowsError(f"{path}: not a board's file: {error}") from error
    table = _Table(path, "", values)
    core, memory, uart, timer = (table.table(key) for key in ("core", "memory", "uart", "timer"))
    models, ram = memory.table("models"), memory.table("ram")
    cpu = core.text("cpu")
    family, flags = _compiled_for(core, cpu)
    kernels = _kernels(core, cpu)
    board = Board(
        name=path.stem,
        title=table.text("title"),
        core=Core(
            cpu,
            family,
            flags,
            kernels,
            core.layout("layout", kernels) if "layout" in core else _LAYOUTS[kernels],
            _is_small(core),
            core.integer("hz", 1) if "hz" in core else None,
        ),
        chip=_chip(table.table("chip")) if "chip" in table else Chip(None, {}),
        code=_memory(memory.table("code")),
        ram=_memory(ram),
        models=Models(
            **vars(_memory(models)),
            driver=models.driver("driver", "flash", family),
            erase_bytes=models.integer("erase_bytes", 256),
        ),
        stack_bytes=memory.integer("stack_bytes", 256, 1 << 20),
        driver_bytes=memory.integer("driver_bytes", 0, 1 << 16) if "driver_bytes" in memory else 0,
        arenas=tuple(map(_arena, memory.tables("others"))),
        uart=Uart(
            uart.driver("driver", "uart", family),
            uart.integer("base"),
            uart.integer("irq", 0, 495),
            uart.integer("clock_hz", 1),
            uart.integer("baud", 300),
            uart.integer("receive_bytes", _LEAST_RECEIVE_BYTES, 1 << 20),
        ),
        timer=Timer(timer.driver("driver", "timer", family), timer.integer("hz", 1)),
        flash=_flash_tools(table.table("flash")) if "flash" in table else FlashTools(),
        qemu=_qemu(table.table("qemu")) if "qemu" in table else None,
        rp2040js=_rp2040js(table.table("rp2040js")) if "rp2040js" in table else None,
    )
    cycles = ram.number("cycles", 1.0)
    table.finish()
    _check(path, board)
    left = board.ram.bytes - GUARD_BYTES - board.stack_bytes - board.variable_bytes
    if left < _ALIGNMENT:
        raise NarrowsError(f"{path}: memory.ram.bytes: stack and variables leave nothing of it")
    rest = Arena(board.ram.base, left // _ALIGNMENT * _ALIGNMENT, "ram", cycles)
    return replace(board, arenas=tuple(sorted((rest, *board.arenas), key=lambda a: a.cycles)))


def _check(path: Path, board: Board) -> None:
    """What no key says by itself."""

    def require(condition: bool, place: str, what: str) -> None:
        if not condition:
            raise NarrowsError(f"{path}: {place}: {what}")

    require(
        _NAME.fullmatch(board.name) is not None,
        "the file's name",
        "not 1 to 64 letters, digits, spaces or ._+- before .toml; rename the file",
    )
    require(board.stack_bytes % 8 == 0, "memory.stack_bytes", "not a multiple of 8")
    received = board.uart.receive_bytes
    require(_is_power_of_two(received), "uart.receive_bytes", "not a power of two")
    fence = board.qemu.ram_bytes if board.qemu is not None else 0
    if fence:
        sizes = fence, board.ram.bytes
        require(
            all(_is_power_of_two(size) and board.ram.base % size == 0 for size in sizes)
            and fence >= board.ram.bytes,
            "qemu.ram_bytes",
            "it and memory.ram.bytes must be powers of two that divide memory.ram.base",
        )
    require(len(board.arenas) < _MOST_ARENAS, "memory.others", f"more than {_MOST_ARENAS - 1}")
    aligned = f"not a multiple of {_ALIGNMENT}"
    require(board.models.base % _ALIGNMENT == 0, "memory.models.base", aligned)
    require(board.models.room > 0, "memory.models.bytes", "no room for a model")
    sectors = f"not a multiple of erase_bytes, {board.models.erase_bytes}"
    require(board.models.bytes % board.models.erase_bytes == 0, "memory.models.bytes", sectors)
    memories = {
        "memory.code": board.code,
        "memory.models": board.models,
        "memory.ram": replace(board.ram, bytes=max(fence, board.ram.bytes)),
    }
    for i, arena in enumerate(board.arenas):
        place = f"memory.others[{i}]"
        require(arena.base % _ALIGNMENT == 0, f"{place}.base", aligned)
        require(arena.base > 0, f"{place}.base", "no pointer can point there")
        memories[place] = arena
    for (one, a), (other, b) in itertools.combinations(memories.items(), 2):
        apart = a.base + a.bytes <= b.base or b.base + b.bytes <= a.base
        require(apart, other, f"overlaps {one}")


def driver_files(kind: str, family: Family | None) -> dict[str, Path]:
    """Drivers of a kind (``uart``, ``timer``, ``flash``, ``start``) by name: those of any chip, and
    those that come with a core."""
    firmware = share_dir() / "firmware"
    folders = [firmware / "chip", *([firmware / "core" / family.value] if family else [])]
    paths = [path for folder in folders for path in folder.glob(f"{kind}_*.c")]
    return {path.stem.removeprefix(f"{kind}_"): path for path in paths}


def _compiled_for(table: _Table, cpu: str) -> tuple[Family, tuple[str, ...]]:
    """Family and flags of a core, which its name says."""
    hard = _has_vectors(table)
    if re.fullmatch(r"cortex-m[0-9a-z]+", cpu):
        unit = ("-mfloat-abi=hard", "-mfpu=auto") if hard else ("-mfloat-abi=soft",)
        return Family.CORTEX_M, (f"-mcpu={cpu}", "-mthumb", *unit)
    if re.fullmatch(r"rv32[a-z]+(_z[a-z]+)*", cpu) and not hard:
        return Family.RISCV, (f"-march={cpu}_zicsr", "-mabi=ilp32", "-mcmodel=medany")
    raise table.error("cpu", f"{cpu!r} is no core that is known: cortex-m..., or rv32... (soft)")


def _has_vectors(table: _Table) -> bool:
    """Whether the compiler may use the floating-point and vector registers."""
    return "float" in table and table.choice("float", ("soft", "hard")) == "hard"


def _kernels(table: _Table, cpu: str) -> str:
    """The implementation of the kernels: the one that is said, else the small one where firmware is
    to be small, else the fastest that the core runs. That an Armv6-M core has half of the registers
    makes "fast" 2% faster there than the small one at most."""
    runs = ["c", "fast"]
    if cpu in _DSP_CORES or cpu in _MVE_CORES:
        runs.append("dsp")
    if cpu in _MVE_CORES and _has_vectors(table):
        runs.append("mve")
    if "kernels" in table:
        return table.choice("kernels", tuple(runs))
    return "c" if _is_small(table) or cpu in _ARMV6_CORES else runs[-1]


def _is_small(table: _Table) -> bool:
    return "optimize" in table and table.choice("optimize", ("speed", "size")) == "size"


def _chip(table: _Table) -> Chip:
    return Chip(
        table.driver("start", "start") if "start" in table else None,
        table.table("facts").integers() if "facts" in table else {},
    )


def _is_power_of_two(value: int) -> bool:
    return value & (value - 1) == 0


def _folder() -> Path:
    return share_dir() / "boards"


def _memory(table: _Table) -> Memory:
    memory = Memory(table.integer("base"), table.integer("bytes", 1))
    if memory.base + memory.bytes > _ADDRESS_SPACE:
        raise table.error("bytes", "reaches beyond 4 GiB")
    return memory


def _arena(table: _Table) -> Arena:
    memory = _memory(table)
    usable = memory.bytes // _ALIGNMENT * _ALIGNMENT
    return Arena(memory.base, usable, table.text("name"), table.number("cycles"))


def _qemu(table: _Table) -> Qemu:
    return Qemu(
        table.text("machine"),
        table.number("instructions_per_tick"),
        table.integer("ram_bytes", 1) if "ram_bytes" in table else 0,
        table.boolean("programs_flash") if "programs_flash" in table else True,
    )


def _rp2040js(table: _Table) -> Rp2040js:
    return Rp2040js(table.number("instructions_per_tick"))


# Each tool, and the key of the table ``flash`` that says what it has to know.
_FLASH_KEYS = {
    "pyocd": "target",
    "openocd": "openocd",
    "uf2": "uf2",
    "stm32loader": "stm32",
    "esptool": "esp",
}


def _flash_tools(table: _Table) -> FlashTools:
    tools = table.texts("tools")
    for tool in tools:
        if tool not in _FLASH_KEYS:
            raise table.error("tools", f"{tool!r} is none of {', '.join(_FLASH_KEYS)}")
    keys = {key for tool, key in _FLASH_KEYS.items() if tool in tools or key in table}
    flash = FlashTools(tools)
    if "target" in keys:
        flash = replace(flash, target=table.text("target"))
    if "openocd" in keys:
        flash = replace(flash, openocd=table.texts("openocd"))
    if "uf2" in keys:
        uf2 = table.table("uf2")
        flash = replace(flash, uf2=Uf2Drive(uf2.text("family"), uf2.text("board_id")))
    if "stm32" in keys:
        stm32 = table.table("stm32")
        places = stm32.integer("base"), stm32.pairs("sectors")
        flash = replace(flash, stm32=Stm32Bootloader(stm32.integer("chip_id"), *places))
    if "esp" in keys:
        esp = table.table("esp")
        flash = replace(flash, esp=EspFlash(esp.text("chip"), esp.integer("base")))
    return flash


class _Table:
    """A table of a TOML file whose errors say where they are."""

    def __init__(self, path: Path, name: str, values: Any) -> None:
        self._path = path
        self._name = name
        self._values = values
        self._read: set[str] = set()
        self._children: list[_Table] = []
        if not isinstance(values, dict):
            raise NarrowsError(f"{path}: {name}: a table is wanted here")

    def error(self, key: str, what: str) -> NarrowsError:
        place = f"{self._name}.{key}" if self._name else key
        return NarrowsError(f"{self._path}: {place}: {what}")

    def _get(self, key: str) -> Any:
        if key not in self._values:
            raise self.error(key, "is missing")
        self._read.add(key)
        return self._values[key]

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def table(self, key: str) -> _Table:
        name = f"{self._name}.{key}" if self._name else key
        self._children.append(_Table(self._path, name, self._get(key)))
        return self._children[-1]

    def tables(self, key: str) -> list[_Table]:
        """Of an array of tables; none if it is not there."""
        values = self._get(key) if key in self else []
        if not isinstance(values, list):
            raise self.error(key, "is no array of tables")
        name = f"{self._name}.{key}"
        tables = [_Table(self._path, f"{name}[{i}]", value) for i, value in enumerate(values)]
        self._children += tables
        return tables

    def text(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, f"{value!r} is no text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """One or several."""
        value = self._get(key)
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
            raise self.error(key, f"{value!r} is no text, nor a list of some")
        return tuple(values)

    def pairs(self, key: str) -> tuple[tuple[int, int], ...]:
        """A list of lists of two positive integers."""
        values = self._get(key)
        good = isinstance(values, list) and all(
            isinstance(pair, list)
            and len(pair) == 2
            and all(type(number) is int and 0 < number < _ADDRESS_SPACE for number in pair)
            for pair in values
        )
        if not good or sum(count for count, _ in values) > _MOST_SECTORS:
            raise self.error(key, f"{values!r} is no list of pairs [how many, bytes]")
        return tuple((count, size) for count, size in values)

    def choice(self, key: str, known: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in known:
            raise self.error(key, f"{value!r} is none of {', '.join(known)}")
        return value

    def integer(self, key: str, least: int = 0, most: int = _ADDRESS_SPACE) -> int:
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.error(key, f"{value!r} is no integer from {least} to {most}")
        return value

    def boolean(self, key: str) -> bool:
        value = self._get(key)
        if not isinstance(value, bool):
            raise self.error(key, f"{value!r} is neither true nor false")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        value = self._get(key) if default is None or key in self else default
        if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
            raise self.error(key, f"{value!r} is no positive number")
        return float(value)

    def driver(self, key: str, kind: str, family: Family | None = None) -> str:
        value = self.text(key)
        known = driver_files(kind, family)
        if value not in known:
            raise self.error(key, f"no driver {value!r}; known are: {', '.join(sorted(known))}")
        return value

    def integers(self) -> dict[str, int]:
        """All of the table's values."""
        return {key: self.integer(key) for key in self._values}

    def layout(self, key: str, kernels: str) -> str:
        """A weight layout that an implementation of the kernels has a table for."""
        value = self.text(key)
        tables = (share_dir() / "runtime" / "kernels").glob(f"kernels_*_{kernels}.c")
        names = sorted(path.stem.split("_")[1] for path in tables)
        if value not in names:
            raise self.error(
                key,
                f"no weight layout {value!r} that kernels {kernels!r} read; "
                f"they read: {', '.join(names)}",
            )
        return value

    def finish(self) -> None:
        """Raises: NarrowsError: a key that nobody has asked for."""
        for key in self._values:
            if key not in self._read:
                raise self.error(key, "is not a key of a board's file")
        for child in self._children:
            child.finish()
