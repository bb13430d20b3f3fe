# SPDX-License-Identifier: Apache-2.0
"""A board in QEMU behind a terminal device, as an adapter at a USB port is one."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import socket
import threading
import tty
from collections.abc import Iterator


@contextlib.contextmanager
def terminal(url: str) -> Iterator[str]:
    """url: of QEMU's UART. Gives: the path of the device."""
    leader, follower = pty.openpty()
    tty.setraw(leader)
    stop = threading.Event()
    host, number = url.removeprefix("socket://").split(":")
    connection = socket.create_connection((host, int(number)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def pump() -> None:
        while not stop.is_set():
            for end in select.select([leader, connection], [], [], 0.05)[0]:
                if end is connection:
                    os.write(leader, connection.recv(4096))
                else:
                    connection.sendall(os.read(leader, 4096))

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        yield os.ttyname(follower)
    finally:
        stop.set()
        thread.join()
        connection.close()
        os.close(leader)
        os.close(follower)
