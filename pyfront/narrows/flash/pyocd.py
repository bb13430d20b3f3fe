# SPDX-License-Identifier: Apache-2.0
"""Debug probes by the package pyOCD: CMSIS-DAP, ST-Link, J-Link."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

from narrows.errors import ToolError
from narrows.flash.contents import total_bytes
from narrows.flash.tool import Job, Tool

_PIECE_BYTES = 4096


def _obstacle(job: Job) -> str | None:
    if importlib.util.find_spec("pyocd") is None:
        return "pyOCD is not installed: pip install 'narrows[pyocd]'"
    from pyocd.core.helpers import ConnectHelper

    try:
        probes = ConnectHelper.get_all_connected_probes(blocking=False, unique_id=job.probe)
    except Exception as error:  # whatever USB and its rights have in store
        return f"pyOCD cannot look for debug probes: {error}"
    if not probes:
        which = "" if job.probe is None else f" with {job.probe!r} in its serial number"
        return f"no debug probe{which} is connected that pyOCD finds"
    if len(probes) > 1:
        names = ", ".join(f"{probe.description} {probe.unique_id}" for probe in probes)
        return f"several debug probes: {names}; give one's serial number as --probe"
    return None


def _write(job: Job) -> str:
    from pyocd.flash.loader import MemoryLoader

    with _session(job) as session:
        loader = MemoryLoader(
            session,
            progress=lambda done: job.progress("writing by pyOCD", done),
            chip_erase="sector",  # models that are not written stay
            smart_flash=True,
        )
        for address, data in job.segments:
            loader.add_data(address, list(data))
        loader.commit()
        target = session.target
        _verify(job, target)
        target.reset()
        return str(session.probe.description)


@contextlib.contextmanager
def _session(job: Job) -> Iterator[Any]:
    """Connected to the board. Raises: ToolError: pyOCD's own words."""
    from pyocd.core.exceptions import Error
    from pyocd.core.helpers import ConnectHelper

    target = job.board.flash.target
    try:
        session = ConnectHelper.session_with_chosen_probe(
            blocking=False,
            return_first=True,
            unique_id=job.probe,
            options={"target_override": target, "hide_programming_progress": True},
        )
        if session is None:
            raise ToolError("pyOCD: the debug probe is gone; connect it again")
        with session:
            yield session
    except (Error, ValueError, OSError) as error:
        advice = f"; does pyOCD know {target}? (pyocd list --targets; pyocd pack install {target})"
        known = "" if "not recognized" not in str(error) else advice
        raise ToolError(f"board {job.board.name}: pyOCD: {error}{known}") from error


def _verify(job: Job, target: Any) -> None:
    done, whole = 0, total_bytes(job.segments)
    for address, data in job.segments:
        for at in range(0, len(data), _PIECE_BYTES):
            piece = data[at : at + _PIECE_BYTES]
            if bytes(target.read_memory_block8(address + at, len(piece))) != piece:
                raise ToolError(
                    f"board {job.board.name}: the flash at {address + at:#010x} and behind holds "
                    "other bytes than were written; is it worn out or write-protected?"
                )
            done += len(piece)
            job.progress("reading back by pyOCD", done / whole)


PYOCD = Tool("pyocd", _obstacle, _write)
