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

_FOLDER_VARIABLE = "NARROWS_RP2040JS"
_PACKAGE = "rp2040js"
_RUNNER = Path(__file__).with_name("rp2040")


class Rp2040js(Emulator):
    """A Pico that waits, halted, for someone to connect to its UART0.

    Args:
        image: its firmware, an ELF file whose second stage of booting has its checksum.
        contents: (address, bytes) that stand in its flash besides, such as a model.
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

    def __init__(
        self, image: Path, contents: Iterable[tuple[int, bytes]] = (), count: bool = True
    ) -> None:
        node, folder = find_rp2040js()
        segments = [*load_segments(image), *(Segment(*content) for content in contents)]
        firmware = unnamed_file(write_uf2(segments, Family.RP2040))
        time = "instructions" if count else "cycles"
        super().__init__(
            _PACKAGE,
            [node, str(_RUNNER / "run.mjs"), path_of(firmware), time],
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
    wanted = _version(_RUNNER / "package.json", "dependencies", _PACKAGE)
    for folder in _folders():
        found = _version(folder / "node_modules" / _PACKAGE / "package.json", "version")
        # What the runner uses of it is in part not documented, so a new minor version may lack it.
        if found is not None and found.split(".")[:2] == str(wanted).split(".")[:2]:
            return node, folder.resolve()
        if found is not None:
            raise ToolError(
                f"{folder}: {_PACKAGE} {found} is installed there, but {wanted} is needed: "
                f"npm install --prefix {folder} {_PACKAGE}@{wanted}"
            )
    chosen = os.environ.get(_FOLDER_VARIABLE)
    raise ToolError(
        f"{_PACKAGE} is not installed: npm install --prefix {chosen} {_PACKAGE}@{wanted}"
        if chosen
        else f"{_PACKAGE} is not installed: npm install {_PACKAGE}@{wanted}, here or in another "
        f"folder that {_FOLDER_VARIABLE} names"
    )


def _version(description: Path, *keys: str) -> str | None:
    """What a package.json says; None if there is none that could be read."""
    try:
        value = json.loads(description.read_text(encoding="utf-8"))
        for key in keys:
            value = value[key]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(value)


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
