# SPDX-License-Identifier: Apache-2.0
"""Boards in QEMU that start from files alone, and terminals in the place of serial ports."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import socket
import subprocess
import tempfile
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

from models import need, need_rp2040js
from narrows.boards import Board
from narrows.link import rp2040js
from narrows.link.rp2040js import find_rp2040js

HANG = 60.0
"""Seconds after which something will never come."""


@contextlib.contextmanager
def booted(board: Board, files: dict[Path, int | None]) -> Iterator[str]:
    """A board whose memory holds these files, and nothing else. files: each with the address of its
    first byte; None: it says so itself. Yields the address of its UART."""
    assert board.qemu is not None
    need("qemu-system-arm")
    command = ["qemu-system-arm", "-M", board.qemu.machine, "-display", "none", "-nodefaults"]
    command += ["-monitor", "none", "-serial", "tcp:127.0.0.1:0,server=on,wait=on,nodelay=on"]
    for file, address in files.items():
        place = "" if address is None else f",addr={address:#x},force-raw=on"
        command += ["-device", f"loader,file={file}{place}"]
    with _running(command) as url:
        yield url


@contextlib.contextmanager
def booted_pico(file: Path) -> Iterator[str]:
    """A Raspberry Pi Pico whose flash holds what a UF2 file says, and nothing else."""
    need_rp2040js()
    node, folder = find_rp2040js()
    runner = Path(rp2040js.__file__).with_name("rp2040") / "run.mjs"
    with _running([node, str(runner), str(file), "instructions"], str(folder)) as url:
        yield url


@contextlib.contextmanager
def _running(command: list[str], folder: str = "") -> Iterator[str]:
    environment = {**os.environ, "NARROWS_RP2040JS": folder}
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        try:
            yield f"socket://127.0.0.1:{_port(process, Path(log.name))}"
        finally:
            process.kill()
            process.wait()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + HANG
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"waiting for connection.*tcp:127\.0\.0\.1:(\d+)", log.read_text())
        if found:
            return int(found.group(1))
        time.sleep(0.01)
    raise AssertionError(f"it does not start: {log.read_text()}")


class Terminal:
    """A serial port whose other end is ours. name: what a host opens."""

    def __init__(self) -> None:
        self.end, self._follower = pty.openpty()
        tty.setraw(self.end)
        self.name = os.ttyname(self._follower)

    def vanish(self) -> None:
        """As if the adapter were pulled out."""
        os.close(self.end)
        self.end = -1

    def close(self) -> None:
        for handle in (self.end, self._follower):
            if handle >= 0:
                os.close(handle)


@contextlib.contextmanager
def terminal() -> Iterator[Terminal]:
    opened = Terminal()
    try:
        yield opened
    finally:
        opened.close()


def pump(terminal: Terminal, url: str, stop: threading.Event) -> None:
    """Carry bytes between a terminal and a board in QEMU until told to stop."""
    host, number = url.removeprefix("socket://").split(":")
    with socket.create_connection((host, int(number))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not stop.is_set():
            for end in select.select([terminal.end, connection], [], [], 0.05)[0]:
                if end is connection:
                    data = connection.recv(4096)
                    if not data:
                        return
                    os.write(terminal.end, data)
                else:
                    connection.sendall(os.read(terminal.end, 4096))
