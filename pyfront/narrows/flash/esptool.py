# SPDX-License-Identifier: Apache-2.0
"""esptool, which talks to the bootloader in the ROM of Espressif's chips."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from narrows.errors import ToolError
from narrows.flash.tool import Job, Tool

_SECONDS = 600


def _obstacle(job: Job) -> str | None:
    if importlib.util.find_spec("esptool") is None:
        return "esptool is not installed: pip install 'narrows[esptool]'"
    return None if job.port is not None else "esptool needs --port"


def _write(job: Job) -> str:
    with tempfile.TemporaryDirectory(prefix="narrows-") as folder:
        job.progress("writing by esptool", 0.0)
        command = [sys.executable, "-m", "esptool", *_arguments(job, Path(folder))]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"{job.port}: esptool: {error}") from error
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if "rror" in line]
        raise ToolError(f"{job.port}: esptool: {(errors or lines or ['without a word'])[0]}")
    job.progress("writing by esptool", 1.0)
    return str(job.port)


def _arguments(job: Job, folder: Path) -> list[str]:
    """It checks by MD5 what it has written. Its addresses count from the flash's start."""
    esp = job.board.flash.esp
    assert esp is not None
    assert job.port is not None
    arguments = ["--chip", esp.chip, "--port", job.port, "write-flash"]
    for address, data in job.segments:
        if address < esp.base:
            raise ToolError(
                f"board {job.board.name}: flash.esp.base: {address:#x} lies before the flash"
            )
        file = folder / f"{address:08x}.bin"
        file.write_bytes(data)
        arguments += [hex(address - esp.base), str(file)]
    return arguments


ESPTOOL = Tool("esptool", _obstacle, _write)
