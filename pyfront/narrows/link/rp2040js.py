# SPDX-License-Identifier: Apache-2.0
"""A Raspberry Pi Pico with its firmware in rp2040js, an emulator that runs in Node.js."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from narrows.errors import ToolError
from narrows.link.emulator import Emulator, path_of, unnamed_file
from narrows.link.image import Segment, load_segments
from narrows.link.uf2 import Family, write_uf2

INSTRUCTIONS_PER_CYCLE = 1
"""Of the system clock's cycles, while instructions are counted."""

_FOLDER_VARIABLE = "NARROWS_RP2040JS"
_PACKAGE = "rp2040js"
_VERSION = "1.4.1"
_COMPATIBLE = "1.4."  # the runner uses what rp2040js does not document
_RUNNER = Path(__file__).with_name("rp2040") / "run.mjs"


class Rp2040js(Emulator):
    """A Pico that waits, halted, for someone to connect to its UART0.

    Args:
        image: its firmware, an ELF file whose second stage of booting has its checksum.
        more: what else stands in its flash from the start, a model for instance.
        count: every instruction takes one cycle of the system clock, so that the chip's timer
            counts them: 125 are a microsecond at 125 MHz. Otherwise each takes the cycles that
            rp2040js knows of (a load two, a taken branch two...), and none waits for the flash.

    Bytes arrive at the UART as fast as its baud rate says and are lost if it is not read in time.
    What a chip answers with a hard fault is one here, and what makes it hang ends the emulator
    with the reason.

    A context manager; leaving it ends the emulator. So does the end of this process, SIGKILL
    included.

    Raises: ToolError: Node.js or rp2040js is not installed, or the firmware is none for a Pico.
    """

    def __init__(self, image: Path, more: Iterable[Segment] = (), count: bool = True) -> None:
        node, folder = find_rp2040js()
        firmware = unnamed_file(write_uf2([*load_segments(image), *more], Family.RP2040))
        time = "instructions" if count else "cycles"
        super().__init__(
            _PACKAGE,
            [node, str(_RUNNER), path_of(firmware), time],
            [firmware],
            {_FOLDER_VARIABLE: str(folder)},
        )


def find_rp2040js() -> tuple[str, Path]:
    """Node.js, and the folder whose ``node_modules`` have the emulator.

    ``NARROWS_RP2040JS`` names that folder; without it, Node.js's own rule is followed: this folder,
    those above it, and what ``npm install -g`` fills.

    Raises: ToolError: one of them is missing, or the emulator has another version.
    """
    node = shutil.which("node")
    if node is None:
        raise ToolError("node is not installed: apt-get install nodejs npm")
    for folder in _folders():
        description = folder / "node_modules" / _PACKAGE / "package.json"
        try:
            version = json.loads(description.read_text(encoding="utf-8"))["version"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if not str(version).startswith(_COMPATIBLE):
            raise ToolError(
                f"{description.parent}: {_PACKAGE} {version} is not {_VERSION}: "
                f"npm install --prefix {folder} {_PACKAGE}@{_VERSION}"
            )
        return node, folder.resolve()
    chosen = os.environ.get(_FOLDER_VARIABLE)
    where = f" --prefix {chosen}" if chosen else ""
    hint = "" if chosen else f" here, or elsewhere and say where by {_FOLDER_VARIABLE}=FOLDER"
    raise ToolError(f"{_PACKAGE} is not installed: npm install{where} {_PACKAGE}@{_VERSION}{hint}")


def _folders() -> Iterator[Path]:
    chosen = os.environ.get(_FOLDER_VARIABLE)
    if chosen:
        yield Path(chosen)
        return
    here = Path.cwd()
    yield from (here, *here.parents)
    npm = shutil.which("npm")
    if npm is not None:
        found = subprocess.run([npm, "root", "-g"], capture_output=True, text=True)
        if found.returncode == 0:
            yield Path(found.stdout.strip()).parent
