# SPDX-License-Identifier: Apache-2.0
"""A serial port behind RFC 2217 (Telnet's protocol for serial ports, which ser2net speaks) as a
plain socket.

The link waits for its port by ``select``; pyserial's RFC 2217 port has nothing to select on,
because a thread of its own takes Telnet's commands out of what arrives.
"""

from __future__ import annotations

import contextlib
import socket
import threading

import serial

from narrows.errors import LinkError

# How long a thread may not notice that the other has ended.
_POLL_SECONDS = 0.1
_CHUNK = 4096


class Bridge:
    """A socket on this host that is a serial port elsewhere; a context manager.

    Args:
        address: ``HOST:PORT`` of what speaks RFC 2217.
        speed: baud rate that the port is to have.
        name: what errors call the board.

    url: of the socket, for pyserial; it takes one connection.

    Raises: LinkError: nobody is there, or speaks something else.
    """

    def __init__(self, address: str, speed: int, name: str) -> None:
        try:
            # The board's handshake lines are left alone; on many boards they reset it.
            self._port = serial.serial_for_url(
                f"rfc2217://{address}?ign_set_control", baudrate=speed, timeout=_POLL_SECONDS
            )
        except (serial.SerialException, ValueError, OSError) as error:
            raise LinkError(f"{name}: {address}: no RFC 2217 port: {error}") from error
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._server.getsockname()[1]}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> Bridge:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._port.close()

    def _serve(self) -> None:
        with self._server:
            self._server.settimeout(_POLL_SECONDS)
            while not self._ended.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = self._server.accept()
                    break
            else:
                return
        with connection:
            connection.settimeout(_POLL_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._read_port, args=(connection,), daemon=True)
            back.start()
            with contextlib.suppress(serial.SerialException, OSError):
                while not self._ended.is_set():
                    with contextlib.suppress(TimeoutError):
                        data = connection.recv(_CHUNK)
                        if not data:
                            break
                        self._port.write(data)
            self._ended.set()
            back.join()

    def _read_port(self, connection: socket.socket) -> None:
        with contextlib.suppress(serial.SerialException, OSError):
            while not self._ended.is_set():
                if data := self._port.read(max(1, self._port.in_waiting)):
                    connection.sendall(data)
        self._ended.set()
