# SPDX-License-Identifier: Apache-2.0
"""Requests over a line that may lose, double and change bytes, to a device with little room.

Never more bytes are in flight than the device has room for: a request counts as in flight until
it, or one after it, has been answered. After a silence only a PING follows, for which room is
always kept; its answer proves that whatever was sent before and has not been answered is lost.
"""

from __future__ import annotations

import errno
import os
import random
import select
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import serial
from serial.tools import list_ports

from narrows.errors import LinkError
from narrows.link.frames import ANSWER, Decoder, Frame, LinkStatus, Type, encode_frame, status_of

BAUD = 115_200
PATIENCE = 30.0
ROOM_BEFORE_HELLO = 256
_ROOM_FOR_PINGS = 128
# Seconds without an answer before the first PING: some times what answers usually take.
_FIRST_TIMEOUT, _SHORTEST_TIMEOUT, _USUAL_TIMES = 0.25, 0.03, 4
_SMOOTHING = 0.125  # of that time: what a new one counts (as TCP does it, RFC 6298)
_LONGEST_TIMEOUT = 8.0
_WRITE_TIMEOUT = 10.0
_ATTEMPTS = 30
_CHUNK = 4096
_TAKEN = (errno.EAGAIN, errno.EBUSY)  # of opening a port for oneself alone
_SHOWN_BYTES = 60  # of what arrived instead of an answer: about a line in an error message


class PortError(LinkError):
    """The port, or the connection behind it, is not there or has gone."""


def open_port(port: str, baud: int = BAUD) -> serial.SerialBase:
    """Open a serial port, or a URL that pyserial knows (``socket://HOST:PORT``).

    Raises: PortError: it is not there, or not to be had.
    """
    try:
        return serial.serial_for_url(
            port, baudrate=baud, timeout=0, write_timeout=_WRITE_TIMEOUT, exclusive=True
        )
    except (serial.SerialException, ValueError, OSError) as error:
        if getattr(error, "errno", None) in _TAKEN:
            raise PortError(
                f"{port}: cannot be opened: it is in use; close the other program that has it open"
            ) from error
        present = ", ".join(sorted(item.device for item in list_ports.comports())) or "none"
        raise PortError(
            f"{port}: cannot be opened ({_reason(error)}); serial ports here: {present}"
        ) from error


class _Request(NamedTuple):
    """In flight. size: bytes on the line; sent: seconds of the clock."""

    type: Type
    size: int
    sent: float


class Line:
    """Requests and their answers over an open port.

    Args:
        port: of pyserial, with timeout 0.
        name: what errors call the device.
        patience: seconds without a sign of life after which it is given up.

    Every method raises LinkError: silence, noise that nothing comes through, a port that has
    gone, firmware that has stopped.
    """

    def __init__(self, port: serial.SerialBase, name: str, patience: float = PATIENCE) -> None:
        self.name = name
        self.credit = ROOM_BEFORE_HELLO
        self.events: deque[Frame] = deque()
        self._port = port
        self.first_baud: int = port.baudrate
        self.patience = patience
        self._decoder = Decoder()
        self._answers: deque[Frame] = deque()
        # How many bytes have come since the last answer, and the first of them.
        self._stray_bytes, self._stray = 0, b""
        # A device that was spoken to before may still answer that.
        self._number = random.randrange(1 << 16)
        self._in_flight: dict[int, _Request] = {}
        self._usual: float | None = None  # seconds from a request to its answer
        self.losses = 0  # requests that had to be sent again
        try:
            port.reset_input_buffer()
        except (serial.SerialException, OSError) as error:
            raise self._gone(error) from error

    def request(self, type_: Type, payload: bytes = b"") -> tuple[int, bytes]:
        """Ask until there is an answer. Returns: its status and its other fields."""
        for _ in range(_ATTEMPTS):
            number = self._send(type_, payload)
            if number is None:
                raise self._silent()
            answer = self._answer_to(number)
            if answer is not None:
                return status_of(answer, self.name)
            self.losses += 1
        raise self._too_noisy()

    def transfer(
        self,
        type_: Type,
        piece: Callable[[int], bytes],
        piece_bytes: int,
        position: int,
        end: int,
    ) -> int:
        """Send bytes ``position`` to ``end``, as many pieces at a time as the device has room
        for. Every answer tells how far all has arrived; after a loss it goes on from there.

        Args:
            piece: payload with at most ``piece_bytes`` bytes from an offset on.

        Returns: the last status; what is neither OK nor ERR_GAP ends the transfer.
        """
        sent: deque[tuple[int, int]] = deque()
        next_offset, failures = position, 0
        while position < end:
            while next_offset < end:
                number = self._send(type_, piece(next_offset), wait=not sent)
                if number is None:
                    break
                next_offset = min(end, next_offset + piece_bytes)
                sent.append((number, next_offset))
            answer = self._answer_to(sent.popleft()[0]) if sent else None
            if answer is not None:
                status, fields = status_of(answer, self.name)
                if status not in (0, LinkStatus.ERR_GAP):
                    return status
                arrived = int.from_bytes(fields[:4], "little")
                if arrived > end:
                    raise LinkError(f"{self.name}: has received more than was sent")
                failures = 0 if arrived > position else failures + 1
                position = arrived
            else:
                status, failures = LinkStatus.ERR_GAP, failures + 1
            if status != 0:
                self.losses += 1
                sent.clear()
                next_offset = position
            if failures > _ATTEMPTS:
                raise self._too_noisy()
        return 0

    def set_baud(self, baud: int) -> None:
        """What is sent and heard from now on has this rate."""
        try:
            self._port.flush()
            self._port.baudrate = baud
        except (serial.SerialException, ValueError, OSError) as error:
            raise self._gone(error) from error

    @property
    def first_timeout(self) -> float:
        """Seconds after which an answer that has not come is probably lost."""
        if self._usual is None:
            return _FIRST_TIMEOUT
        return min(max(_USUAL_TIMES * self._usual, _SHORTEST_TIMEOUT), _FIRST_TIMEOUT)

    def wait_event(self, timeout: float) -> Frame | None:
        """What the device says without being asked; None if it is silent so long."""
        deadline = time.monotonic() + timeout
        while not self.events and (left := deadline - time.monotonic()) > 0:
            self._listen(left)
        return self.events.popleft() if self.events else None

    def _send(self, type_: Type, payload: bytes = b"", wait: bool = True) -> int | None:
        """Returns: the request's number; None if there is no room. wait: make room first."""
        number = self._number = self._number % 0xFFFF + 1
        data = encode_frame(Frame(type_, number, payload))
        reserve = 0 if type_ is Type.PING else _ROOM_FOR_PINGS
        in_flight = sum(request.size for request in self._in_flight.values())
        if in_flight + len(data) > self.credit - reserve:
            if wait and type_ is not Type.PING:
                self.request(Type.PING)
                return self._send(type_, payload, wait=False)
            return None
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            raise self._gone(error) from error
        self._in_flight[number] = _Request(type_, len(data), time.monotonic())
        return number

    def _answer_to(self, number: int) -> Frame | None:
        """The answer to a request; None if it is certain that there will be none."""
        timeout, silence = self.first_timeout, 0.0
        while number in self._in_flight or self._answers:
            answer = self._receive(timeout)
            if answer is None:
                # Time that this process itself has slept through does not count.
                silence += timeout
                if silence >= self.patience:
                    raise self._silent()
                self._send(Type.PING)
                timeout = min(2 * timeout, _LONGEST_TIMEOUT)
            elif answer.number == number:
                return answer
        return None

    def _receive(self, timeout: float) -> Frame | None:
        """The next answer to a request in flight; None after the timeout."""
        deadline = time.monotonic() + timeout
        while not self._answers and (left := deadline - time.monotonic()) > 0:
            self._listen(left)
        return self._answers.popleft() if self._answers else None

    def _listen(self, timeout: float) -> None:
        """Take what the line has, or has within the timeout."""
        for frame in self._decoder.feed(self._read(timeout)):
            self._sort(frame)

    def _read(self, timeout: float) -> bytes:
        try:
            if not select.select([self._port.fileno()], [], [], timeout)[0]:
                return b""
            data = bytes(self._port.read(_CHUNK))
        except (serial.SerialException, OSError) as error:
            raise self._gone(error) from error
        self._stray_bytes += len(data)
        self._stray = (self._stray + data)[:_SHOWN_BYTES]
        return data

    def _sort(self, frame: Frame) -> None:
        if frame.type == Type.FAULT | ANSWER and len(frame.payload) >= 8:
            pc, cause = (int.from_bytes(frame.payload[i : i + 4], "little") for i in (0, 4))
            raise LinkError(
                f"{self.name}: the firmware has stopped by a fault at {pc:#010x} "
                f"(cause {cause:#010x}); reset the board"
            )
        if frame.number == 0 and frame.type & ANSWER:
            self.events.append(frame)
        elif (
            frame.number in self._in_flight
            and frame.type == self._in_flight[frame.number].type | ANSWER
        ):
            took = time.monotonic() - self._in_flight[frame.number].sent
            before = took if self._usual is None else self._usual
            self._usual = before + _SMOOTHING * (took - before)
            for number in list(self._in_flight):
                del self._in_flight[number]
                if number == frame.number:
                    break
            self._answers.append(frame)
            self._stray_bytes, self._stray = 0, b""

    def _gone(self, error: Exception) -> PortError:
        return PortError(f"{self.name}: the connection is gone: {_reason(error)}")

    def _silent(self) -> LinkError:
        silence = f"{self.name}: no answer for {self.patience:.0f} s"
        if self._stray_bytes == 0:
            return LinkError(
                f"{silence}, nor any other byte; is it connected, and does the narrows "
                "firmware run on it?"
            )
        return LinkError(
            f"{silence}, though {self._stray_bytes:,} other bytes arrived, beginning with "
            f"{repr(self._stray)[1:]}; is the baud rate right, and is it the narrows firmware "
            "that runs there?"
        )

    def _too_noisy(self) -> LinkError:
        return LinkError(
            f"{self.name}: {_ATTEMPTS} attempts were lost, though it is there; check the cable, "
            "the baud rate, and that no other code prints in the midst of frames"
        )


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    text = os.strerror(number) if number else str(error) or type(error).__name__
    return text.splitlines()[0]
