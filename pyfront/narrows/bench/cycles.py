# SPDX-License-Identifier: Apache-2.0
"""An estimate of a Cortex-M4's cycles, by a plugin that watches QEMU execute (``cycles.c``;
``cortex_m4.h`` says what is charged and what is assumed)."""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from narrows.errors import ToolError
from narrows.link.compilers import run_tool
from narrows.link.firmware import cache_dir
from narrows.link.image import Function

CORES = ("cortex-m3", "cortex-m4")
"""Cores whose instructions the plugin knows. The timings are those of a Cortex-M4 for both."""

_SOURCE = Path(__file__).with_name("cycles.c")
_HEADER = Path(__file__).with_name("cortex_m4.h")
_COMPILERS = ("cc", "gcc", "clang")
# The first versions of QEMU whose plugin interface has version 2, and 3.
_NEW_INTERFACES = ((9, 0), (9, 1))
_FLAGS = ("-std=c99", "-O2", "-fPIC", "-shared", "-fvisibility=hidden")


@dataclass(frozen=True)
class Cost:
    """Executed instructions, and the cycles that they are estimated to take."""

    instructions: int
    cycles: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.instructions + other.instructions, self.cycles + other.cycles)


@dataclass(frozen=True)
class Counted:
    """What the plugin has counted. calls: (address of the function, cost), in their order; blocks:
    by the address at which they begin."""

    calls: tuple[tuple[int, Cost], ...]
    blocks: Mapping[int, Cost]

    @property
    def total(self) -> Cost:
        """What all calls have cost together."""
        return sum((cost for _, cost in self.calls), Cost(0, 0))

    def by_function(self, functions: Sequence[Function]) -> dict[str, Cost]:
        """What each function has cost, without what it calls, the dearest first. functions: by
        address."""
        starts = [function.address for function in functions]
        costs: dict[str, Cost] = {}
        for address, cost in self.blocks.items():
            index = bisect.bisect_right(starts, address) - 1
            name = functions[index].name if index >= 0 else f"{address:#x}"
            costs[name] = costs.get(name, Cost(0, 0)) + cost
        return dict(sorted(costs.items(), key=lambda item: -item[1].cycles))


class CyclePlugin:
    """The plugin, ready to be loaded by one QEMU.

    Args:
        addresses: of the functions that are counted; none: everything is.
        handlers: addresses of interrupt handlers, which are not.
        qemu: the program, whose version decides what its plugins look like.

    A context manager; leaving it deletes the file of the result.

    Attributes:
        argument: of QEMU's option ``-plugin``.

    Raises: ToolError: there is no C compiler, or it fails.
    """

    def __init__(
        self,
        addresses: Sequence[int],
        handlers: Sequence[int] = (),
        qemu: str = "qemu-system-arm",
    ) -> None:
        library = build_plugin(_interface(run_tool([qemu, "--version"])))
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="narrows-"))
            self._result = Path(folder) / "cycles.txt"
            fields = [f"file={library}", f"out={self._result}"]
            fields += [f"call={address:#x}" for address in addresses]
            fields += [f"skip={address:#x}" for address in handlers]
            # A comma within a value is doubled.
            self.argument = ",".join(field.replace(",", ",,") for field in fields)
            self._cleanup = stack.pop_all()

    def read(self) -> Counted:
        """The result, once QEMU has ended in good order. Raises: ToolError: there is none."""
        lines = self._result.read_text("ascii").splitlines() if self._result.is_file() else []
        if not lines or lines.pop() != "end":
            raise ToolError("QEMU has ended before its plugin could write the cycles; run it again")
        calls: list[tuple[int, Cost]] = []
        instructions: Counter[int] = Counter()
        cycles: Counter[int] = Counter()
        for kind, address, cost in map(_parse, lines):
            if kind == "call":
                calls.append((address, cost))
            else:
                instructions[address] += cost.instructions
                cycles[address] += cost.cycles
        blocks = {address: Cost(n, cycles[address]) for address, n in instructions.items()}
        return Counted(tuple(calls), blocks)

    def __enter__(self) -> CyclePlugin:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()


def _parse(line: str) -> tuple[str, int, Cost]:
    kind, *numbers = line.split()
    address, instructions, cycles = map(int, numbers)
    return kind, address, Cost(instructions, cycles)


def _interface(said: str) -> int:
    """The version of the plugin interface to build for. said: what QEMU says of its version."""
    match = re.search(r"version (\d+)\.(\d+)", said)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    return 1 + sum(version >= first for first in _NEW_INTERFACES)


def build_plugin(interface: int) -> Path:
    """The plugin as a shared library: built now, or taken from the user's cache.

    Args:
        interface: the version of QEMU's plugin interface, 1 to 3.

    Raises: ToolError: no C compiler, or it failed, or the cache cannot be written.
    """
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise ToolError(
            "the estimate of cycles needs a C compiler for this computer: apt-get install gcc"
        )
    source = _SOURCE.read_bytes() + _HEADER.read_bytes()
    flags = (*_FLAGS, f"-DPLUGIN_VERSION={interface}")
    said = f"{run_tool([compiler, '--version'])}{flags}".encode()
    library = cache_dir() / f"cycles-{hashlib.sha256(source + said).hexdigest()[:16]}.so"
    try:
        if not library.is_file():
            library.parent.mkdir(parents=True, exist_ok=True)
            with _temporary(library.parent) as path:
                run_tool([compiler, *flags, str(_SOURCE), "-o", str(path)])
                path.rename(library)
    except OSError as error:
        raise ToolError(
            f"{error.filename}: QEMU's plugin cannot be built there: {error.strerror}; "
            "set NARROWS_CACHE_DIR to a folder with room"
        ) from error
    return library


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A file's path that does not outlive the block, unless the file is moved."""
    handle, name = tempfile.mkstemp(prefix=".build-", suffix=".so", dir=folder)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
