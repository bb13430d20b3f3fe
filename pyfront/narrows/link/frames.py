# SPDX-License-Identifier: Apache-2.0
"""Frames and numbers of the serial protocol (``firmware/PROTOCOL.md``)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from cobs import cobs

from narrows.errors import LinkError

MAJOR = 2
DATA_BYTES = 256
FRAME_BYTES = 280
ANSWER = 0x80
START_PROFILE, START_GOES_ON = 1, 2
SIGNED_ONLY = 1
WATCH_ALL, WATCH_NONE = 0xFFFE, 0xFFFF
_HEADER = struct.Struct("<BH")
_CRC = struct.Struct("<I")
# A packet and the stuffing that it may need; what is longer is noise.
_MOST_STUFFED = FRAME_BYTES + FRAME_BYTES // 254 + 1


class Type(IntEnum):
    """Requests; an answer has the bit ``ANSWER`` set."""

    HELLO = 0x01
    PING = 0x02
    STATUS = 0x03
    RESET = 0x04
    BAUD = 0x05
    REBOOT = 0x06
    MODEL = 0x10
    BLOB_BEGIN = 0x11
    BLOB_DATA = 0x12
    BLOB_END = 0x13
    START = 0x20
    STATE = 0x21
    ROW = 0x22
    OUTPUT = 0x23
    TAKE = 0x24
    PROFILE = 0x25
    WATCH = 0x26
    TENSOR = 0x27
    NEXT = 0x28
    INPUT = 0x29
    INFER = 0x2A
    FAULT = 0x30


class LinkStatus(IntEnum):
    """What an answer may say beside ``narrows.native.Status``."""

    HAVE_TENSOR = 32
    ERR_TYPE = -32
    ERR_LENGTH = -33
    ERR_VERSION = -34
    ERR_GAP = -35
    ERR_SIZE = -36
    ERR_UPLOAD = -37
    ERR_NO_MODEL = -38
    ERR_RUN = -39
    ERR_FLASH = -40
    ERR_OLDER = -41
    ERR_UNTRUSTED = -42
    ERR_HASH = -43
    ERR_ROOM = -44


@dataclass(frozen=True)
class Frame:
    """type: with the bit ``ANSWER``, if it is one; number: 1 to 65535, 0 for an event."""

    type: int
    number: int
    payload: bytes


def encode_frame(frame: Frame) -> bytes:
    """What goes over the line: a zero that ends whatever was cut short before, the stuffed
    packet, and its ending zero."""
    body = _HEADER.pack(frame.type, frame.number) + frame.payload
    return b"\0" + bytes(cobs.encode(body + _CRC.pack(zlib.crc32(body)))) + b"\0"


def decode_packet(stuffed: bytes) -> Frame | None:
    """The frame that stands between two zeros; None if it is damaged."""
    try:
        packet = bytes(cobs.decode(stuffed))
    except cobs.DecodeError:
        return None
    if len(packet) < _HEADER.size + _CRC.size:
        return None
    body, crc = packet[: -_CRC.size], packet[-_CRC.size :]
    if _CRC.unpack(crc)[0] != zlib.crc32(body):
        return None
    type_, number = _HEADER.unpack_from(body)
    return Frame(type_, number, body[_HEADER.size :])


def status_of(frame: Frame, name: str) -> tuple[int, bytes]:
    """An answer's status and what follows it. Raises: LinkError: it has none."""
    if len(frame.payload) < 2:
        raise LinkError(f"{name}: sends an answer without a status")
    return int.from_bytes(frame.payload[:2], "little", signed=True), frame.payload[2:]


class Decoder:
    """Finds frames in a stream of bytes; whatever stands between them is passed over: damaged
    frames, and text that other code of the board prints."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that end within ``data``."""
        *packets, rest = (bytes(self._rest) + data).split(b"\0")
        # Noise without a zero is not kept for ever; what is left of it fails its CRC.
        self._rest = bytearray(rest[: _MOST_STUFFED + 1])
        for stuffed in packets:
            frame = decode_packet(stuffed)
            if frame is not None:
                yield frame
