# SPDX-License-Identifier: Apache-2.0
"""What runs on this machine, as /proc has it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def children(pid: int) -> list[int]:
    """Processes that a process has started and that still run, the oldest first."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z" and int(fields[1]) == pid:
                found.append((int(fields[19]), int(entry.name)))
    return [number for _, number in sorted(found)]


def is_qemu(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"qemu-system-arm" in (Path("/proc") / str(pid) / "cmdline").read_bytes()
    return False


def own_qemus() -> list[int]:
    """Boards in QEMU that this process has started, the oldest first."""
    return list(filter(is_qemu, children(os.getpid())))
