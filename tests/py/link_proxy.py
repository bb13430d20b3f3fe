# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy between pyserial and a board: it counts, damages and holds back bytes."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from random import Random
from types import TracebackType

from narrows.link.frames import ANSWER, Decoder

Filter = Callable[[bytes], bytes]


def untouched(data: bytes) -> bytes:
    return data


def noise(seed: int, drop: float = 0.0, double: float = 0.0, change: float = 0.0) -> Filter:
    """Damage each byte with these probabilities."""
    random = Random(seed)

    def damage(data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            chance = random.random()
            if chance < drop:
                continue
            if chance < drop + double:
                out += bytes([byte, byte])
            elif chance < drop + double + change:
                out.append(byte ^ random.randrange(1, 256))
            else:
                out.append(byte)
        return bytes(out)

    return damage


def each_frame(damage: Filter) -> Filter:
    """Damage whole frames, in whatever chunks they come: QEMU writes single bytes."""
    rest = bytearray()

    def filter_(data: bytes) -> bytes:
        *frames, left = (bytes(rest) + data).split(b"\0")
        rest[:] = left
        return b"".join(damage(frame + b"\0") if frame else b"\0" for frame in frames)

    return filter_


def doubled_frames(seed: int, share: float) -> Filter:
    """Send a share of all frames twice."""
    random = Random(seed)
    return each_frame(lambda frame: frame * 2 if random.random() < share else frame)


def lost_frames(seed: int, share: float) -> Filter:
    """Keep a share of all frames back for ever."""
    random = Random(seed)
    return each_frame(lambda frame: b"" if random.random() < share else frame)


class Proxy:
    """Listens at ``url``; connects to the board's socket when it is connected to.

    most_in_flight: the most bytes sent to the board without an answer, at any time.
    sent: bytes to the board.
    hold: while set, what the board says is kept back.
    """

    def __init__(
        self, board_url: str, to_board: Filter = untouched, to_host: Filter = untouched
    ) -> None:
        self.most_in_flight = 0
        self.sent = 0
        self.hold = threading.Event()
        self._board = board_url.removeprefix("socket://").split(":")
        self._filters = to_board, to_host
        self._in_flight: dict[int, int] = {}
        self._requests, self._answers = Decoder(), Decoder()
        self._counted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._listener.getsockname()[1]}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while not select.select([self._listener], [], [], 0.02)[0]:
            if self._stop.is_set():
                return
        host, _ = self._listener.accept()
        board = socket.create_connection((self._board[0], int(self._board[1])))
        for end in (host, board):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with host, board:
            while not self._stop.is_set():
                ends = [host] if self.hold.is_set() else [host, board]
                for end in select.select(ends, [], [], 0.02)[0]:
                    try:
                        data = end.recv(4096)
                        if not data:
                            return
                        if end is host:
                            self._count_requests(data)
                            board.sendall(self._filters[0](data))
                        else:
                            self._count_answers(data)
                            host.sendall(self._filters[1](data))
                    except ConnectionError:
                        return

    def _count_requests(self, data: bytes) -> None:
        """By the byte, before the frame that they belong to is known."""
        self.sent += len(data)
        for i in range(len(data)):
            self._counted += 1
            for frame in self._requests.feed(data[i : i + 1]):
                self._in_flight[frame.number] = self._counted
                self._counted = 0
            self.most_in_flight = max(
                self.most_in_flight, sum(self._in_flight.values()) + self._counted
            )

    def _count_answers(self, data: bytes) -> None:
        for frame in self._answers.feed(data):
            if frame.type & ANSWER and frame.number in self._in_flight:
                for number in list(self._in_flight):
                    del self._in_flight[number]
                    if number == frame.number:
                        break
