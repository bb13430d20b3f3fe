# SPDX-License-Identifier: Apache-2.0
"""What ESP-IDF's build makes of the component, without ESP-IDF: its sources, its sdkconfig.h, and
the example as a program of this host."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from models import ROOT, missing

HERE = ROOT / "tests" / "esp_idf"
COMPONENT = ROOT / "firmware" / "esp_idf" / "narrows"
EXAMPLE = ROOT / "firmware" / "esp_idf" / "example"
# What ESP-IDF's own Kconfig says before that of a component.
_ROOT_KCONFIG = """mainmenu "test"

config IDF_TARGET
    string
    default "esp32c3"

config IDF_TARGET_ARCH
    string
    default "riscv"

source "{component}"
"""


class Component(NamedTuple):
    """What ``CMakeLists.txt`` tells ESP-IDF."""

    sources: list[Path]
    includes: list[Path]
    requires: list[str]
    definitions: list[str]


class Row(NamedTuple):
    """A line of ``partitions.csv``; address and size in bytes."""

    label: str
    type: str
    subtype: str
    address: int
    size: int

    def text(self, wish: str = "") -> str:
        """As the program of this host takes it. wish: encrypted or worn."""
        return f"{self.label},{self.type},{self.address:#x},{self.size:#x},{wish}".rstrip(",")


def read_component(version: str = "5.3", **settings: str) -> Component:
    """What the component asks for. settings: of Kconfig, which CMake sees too.

    Raises: subprocess.CalledProcessError: it refuses them.
    """
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    cmake = shutil.which("cmake", path=places)
    if cmake is None:
        missing("cmake")
    assert cmake is not None
    major, _, minor = version.partition(".")
    values = {"IDF_VERSION_MAJOR": major, "IDF_VERSION_MINOR": minor, **settings}
    command = [cmake, *(f"-D{name}={value}" for name, value in values.items())]
    command += [f"-DCOMPONENT={COMPONENT / 'CMakeLists.txt'}", "-P", str(HERE / "stub.cmake")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        kind, _, value = line.partition(" ")
        found.setdefault(kind, []).append(value)
    folders = found["INCLUDE_DIRS"] + found["PRIV_INCLUDE_DIRS"]
    return Component(
        [(COMPONENT / path).resolve() for path in found["SRCS"]],
        [(COMPONENT / path).resolve() for path in folders],
        found["PRIV_REQUIRES"],
        found.get("DEFINITION", []),
    )


def write_sdkconfig(folder: Path, **settings: object) -> dict[str, str]:
    """Write ``sdkconfig.h`` by ESP-IDF's own tool. settings: that differ from the defaults, without
    CONFIG_.

    Returns: all settings, as C has them.
    """
    if find_spec("kconfgen") is None:
        missing("esp-idf-kconfig")
    root, header = folder / "Kconfig", folder / "sdkconfig.h"
    root.write_text(_ROOT_KCONFIG.format(component=COMPONENT / "Kconfig"))
    defaults = folder / "sdkconfig.defaults"
    defaults.write_text("".join(f"CONFIG_{name}={value}\n" for name, value in settings.items()))
    command = [sys.executable, "-m", "kconfgen", "--kconfig", root, "--defaults", defaults]
    command += ["--config", folder / "sdkconfig", "--output", "header", header]
    subprocess.run(
        list(map(str, command)), capture_output=True, check=True, timeout=120, cwd=folder
    )
    lines = (line.split(maxsplit=2) for line in header.read_text().splitlines())
    return {words[1]: words[2] for words in lines if len(words) == 3 and words[0] == "#define"}


def read_partitions() -> list[Row]:
    """The example's partition table."""
    rows = []
    for line in (EXAMPLE / "partitions.csv").read_text().splitlines():
        if not line.startswith("#"):
            label, type_, subtype, address, size = (field.strip() for field in line.split(","))
            rows.append(Row(label, type_, subtype, int(address, 0), int(size, 0)))
    return rows


class Program:
    """The example on this host. port: of its UART; process: it."""

    def __init__(self, process: subprocess.Popen[str], port: str) -> None:
        self.process = process
        self.port = port


@contextlib.contextmanager
def started(program: Path, flash: Path, wish: str = "") -> Iterator[Program]:
    """The example runs; leaving kills it, as a loss of power does. wish: as in ``Row.text``."""
    rows = [row.text(wish if row.type == "data" else "") for row in read_partitions()]
    log = flash.with_suffix(".log")
    with (
        log.open("a") as errors,
        subprocess.Popen(
            [program, flash, *rows], stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, log.read_text()
            yield Program(process, port)
        finally:
            process.kill()
