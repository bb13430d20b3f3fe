# SPDX-License-Identifier: Apache-2.0
"""OpenOCD, the program, with the debug probes that it knows."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from narrows.errors import ToolError
from narrows.flash.formats import hex_file
from narrows.flash.tool import Job, Tool

_PROGRAM = "openocd"
_SECONDS = 600  # even serial flash of 16 MB is written by then


def _obstacle(job: Job) -> str | None:
    if shutil.which(_PROGRAM) is None:
        return "openocd is not installed: apt-get install openocd"
    return None


def _write(job: Job) -> str:
    with tempfile.TemporaryDirectory(prefix="narrows-") as folder:
        file = Path(folder) / "image.hex"
        file.write_bytes(hex_file(job.segments))
        job.progress("writing by OpenOCD", 0.0)
        try:
            done = subprocess.run(
                [_PROGRAM, *_arguments(job, file)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ToolError(f"openocd: {error}") from error
    if done.returncode != 0:
        raise ToolError(
            f"openocd failed: {_reason(done.stderr)}; are probe and board connected, and does "
            f"{' '.join(job.board.flash.openocd or ())} describe them?"
        )
    job.progress("writing by OpenOCD", 1.0)
    return "OpenOCD's probe"


def _arguments(job: Job, file: Path) -> list[str]:
    files = [word for name in job.board.flash.openocd or () for word in ("-f", name)]
    probe = [] if job.probe is None else ["-c", f"adapter serial {{{job.probe}}}"]
    return [*files, *probe, "-c", f"program {{{file.as_posix()}}} verify reset exit"]


def _reason(said: str) -> str:
    """The first line that it calls an error, else the last."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("Error:", "embedded:"))]
    return (errors or lines[-1:] or ["without a word"])[0].removeprefix("Error: ")


OPENOCD = Tool(_PROGRAM, _obstacle, _write)
