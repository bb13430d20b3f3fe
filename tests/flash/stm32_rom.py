# SPDX-License-Identifier: Apache-2.0
"""A model of the bootloader in the ROM of an STM32F405, written from AN3155 and RM0090: what it
answers to every byte, and a flash whose bits only erasing sets."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from functools import reduce
from operator import xor

BASE = 0x08000000
SECTORS = [0x4000] * 4 + [0x10000] + [0x20000] * 7
CHIP_ID = 0x413
ACK, NACK, SYNCHRONIZE = 0x79, 0x1F, 0x7F
GET, GET_VERSION, GET_ID, READ, GO, WRITE, ERASE = 0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44
COMMANDS = (GET, GET_VERSION, GET_ID, READ, GO, WRITE, ERASE)


class Ended(Exception):
    """The host has gone, or the firmware runs."""


class Bootloader:
    """Answers on a file handle until firmware is started.

    started: called with the address of GO. chip_id: what it says. erased: numbers of sectors, in
    the order in which they were erased.
    """

    def __init__(
        self,
        handle: int,
        started: Callable[[int], None] = lambda address: None,
        chip_id: int = CHIP_ID,
    ) -> None:
        self.flash = bytearray(b"\x55" * sum(SECTORS))  # what stood there before
        self.erased: list[int] = []
        self.worn: set[int] = set()  # offsets of bytes that no longer change
        self.dies_at: int | None = None  # count of writes after which the line is silent
        self.dying: Callable[[], None] = lambda: None  # what is done then
        self._handle = handle
        self._started = started
        self._chip_id = chip_id
        self._writes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._take(1)[0] != SYNCHRONIZE:
                pass
            self._say(ACK)
            while True:
                self._command()
        except Ended:
            pass

    def _command(self) -> None:
        code, complement = self._take(2)
        if code ^ 0xFF != complement or code not in COMMANDS:
            self._say(NACK)
            return
        self._say(ACK)
        if code == GET:
            self._say(len(COMMANDS), 0x31, *COMMANDS, ACK)
        elif code == GET_VERSION:
            self._say(0x31, 0, 0, ACK)
        elif code == GET_ID:
            self._say(1, *self._chip_id.to_bytes(2, "big"), ACK)
        elif code == ERASE:
            self._erase()
        else:
            address = self._address()
            if address is not None:
                {READ: self._read, WRITE: self._write, GO: self._go}[code](address)

    def _read(self, address: int) -> None:
        count, complement = self._take(2)
        if count ^ 0xFF != complement:
            self._say(NACK)
            return
        offset = address - BASE
        self._say(ACK, *self.flash[offset : offset + count + 1])

    def _write(self, address: int) -> None:
        count = self._take(1)[0]
        data = self._take(count + 1)
        if self._take(1)[0] != reduce(xor, data, count) or len(data) % 4 or address % 4:
            self._say(NACK)
            return
        self._writes += 1
        if self._writes == self.dies_at:
            self.dying()
            raise Ended
        for at, byte in enumerate(data, address - BASE):
            if at not in self.worn:
                self.flash[at] &= byte
        self._say(ACK)

    def _erase(self) -> None:
        head = self._take(2)
        count = int.from_bytes(head, "big") + 1
        numbers = self._take(2 * count)
        checksum = self._take(1)[0]
        sectors = [int.from_bytes(numbers[i : i + 2], "big") for i in range(0, len(numbers), 2)]
        if checksum != reduce(xor, head + numbers) or max(sectors) >= len(SECTORS):
            self._say(NACK)
            return
        for sector in sectors:
            start = sum(SECTORS[:sector])
            kept = {at: self.flash[at] for at in self.worn}
            self.flash[start : start + SECTORS[sector]] = b"\xff" * SECTORS[sector]
            for at, byte in kept.items():
                self.flash[at] = byte
            self.erased.append(sector)
        self._say(ACK)

    def _go(self, address: int) -> None:
        self._say(ACK)
        self._started(address)
        raise Ended

    def _address(self) -> int | None:
        data = self._take(5)
        address = int.from_bytes(data[:4], "big")
        inside = BASE <= address < BASE + len(self.flash)
        if reduce(xor, data) != 0 or not inside:
            self._say(NACK)
            return None
        self._say(ACK)
        return address

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            while not select.select([self._handle], [], [], 0.05)[0]:
                if self._stop.is_set():
                    raise Ended
            try:
                data += os.read(self._handle, count - len(data))
            except OSError as error:
                raise Ended from error
        return data

    def _say(self, *data: int) -> None:
        os.write(self._handle, bytes(data))
