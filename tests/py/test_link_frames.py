# SPDX-License-Identifier: Apache-2.0
"""Frames: C and Python agree with each other and with the protocol's page."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narrows.link import frames
from narrows.link.frames import Decoder, Frame, LinkStatus, Type, decode_packet, encode_frame

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = (ROOT / "firmware" / "PROTOCOL.md").read_text(encoding="utf-8")
HEADER = (ROOT / "firmware" / "link" / "protocol.h").read_text(encoding="utf-8")
SEND = ctypes.CFUNCTYPE(None, ctypes.c_uint8)
# No zeros, zeros only, and blocks that COBS must cut.
PAYLOADS = st.one_of(
    st.binary(max_size=frames.FRAME_BYTES - 7),
    st.integers(0, frames.FRAME_BYTES - 7).map(bytes),
    st.integers(0, frames.FRAME_BYTES - 7).map(lambda n: b"\x07" * n),
)
FRAMES = st.builds(Frame, st.sampled_from([*Type]), st.integers(1, 65535), PAYLOADS)


class Cobs(ctypes.Structure):
    _fields_ = (
        ("bytes", ctypes.POINTER(ctypes.c_uint8)),
        ("size", ctypes.c_uint32),
        ("count", ctypes.c_uint32),
        ("code", ctypes.c_uint8),
        ("left", ctypes.c_uint8),
        ("bad", ctypes.c_bool),
    )


class DeviceDecoder:
    """The firmware's decoder, with guard bytes behind its buffer."""

    GUARD = b"\xa5" * 64

    def __init__(self, library: ctypes.CDLL, size: int = frames.FRAME_BYTES) -> None:
        self._library = library
        self._size = size
        self._buffer = (ctypes.c_uint8 * (size + len(self.GUARD)))()
        ctypes.memmove(ctypes.addressof(self._buffer) + size, self.GUARD, len(self.GUARD))
        self._cobs = Cobs()
        library.nrw_cobs_begin(ctypes.byref(self._cobs), self._buffer, size)

    def feed(self, data: bytes) -> Iterator[bytes]:
        for byte in data:
            count = self._library.nrw_cobs_push(ctypes.byref(self._cobs), byte)
            if count > 0 and self._library.nrw_frame_is_good(self._buffer, count):
                yield bytes(self._buffer)[:count]
        assert bytes(self._buffer)[self._size :] == self.GUARD


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("cc")
    assert compiler is not None
    path = tmp_path_factory.mktemp("link") / "link.so"
    sources = ["firmware/link/cobs.c", "firmware/link/frame.c", "runtime/src/crc32.c"]
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-shared", "-fPIC"]
    command = [compiler, *flags, "-Iruntime/src", *sources, "-o", str(path)]
    subprocess.run(command, cwd=ROOT, check=True)
    library = ctypes.CDLL(str(path))
    library.nrw_cobs_push.argtypes = (ctypes.c_void_p, ctypes.c_uint8)
    library.nrw_cobs_push.restype = ctypes.c_int32
    library.nrw_frame_is_good.restype = ctypes.c_bool
    library.nrw_frame_seal.argtypes = (
        ctypes.c_void_p,
        ctypes.c_uint8,
        ctypes.c_uint16,
        ctypes.c_uint32,
    )
    library.nrw_frame_seal.restype = ctypes.c_uint32
    library.nrw_crc32.restype = ctypes.c_uint32
    return library


def device_encode(library: ctypes.CDLL, frame: Frame) -> bytes:
    buffer = (ctypes.c_uint8 * (len(frame.payload) + 7))()
    ctypes.memmove(ctypes.addressof(buffer) + 3, frame.payload, len(frame.payload))
    size = library.nrw_frame_seal(buffer, frame.type, frame.number, len(frame.payload))
    assert size == len(buffer)
    out = bytearray()
    library.nrw_cobs_send(buffer, size, SEND(out.append))
    return bytes(out)


@given(frame=FRAMES)
@settings(max_examples=200, deadline=None)
def test_both_sides_write_and_read_the_same(library: ctypes.CDLL, frame: Frame) -> None:
    data = encode_frame(frame)
    assert data == device_encode(library, frame)
    assert list(Decoder().feed(data)) == [frame]
    (packet,) = DeviceDecoder(library).feed(data)
    assert packet[3:-4] == frame.payload
    assert int.from_bytes(packet[-4:], "little") == zlib.crc32(packet[:-4])


@given(
    sent=st.lists(FRAMES, max_size=4),
    noise=st.binary(max_size=400),
    cut=st.integers(0, 2000),
    size=st.integers(8, frames.FRAME_BYTES),
)
@settings(max_examples=200, deadline=None)
def test_both_sides_find_the_same_frames_in_noise(
    library: ctypes.CDLL, sent: list[Frame], noise: bytes, cut: int, size: int
) -> None:
    data = b"".join(encode_frame(frame) for frame in sent)
    data = data[: cut % (len(data) + 1)] + noise + data[cut % (len(data) + 1) :]
    host = [frame.payload for frame in Decoder().feed(data)]
    assert [packet[3:-4] for packet in DeviceDecoder(library).feed(data)] == host
    fitting = [payload for payload in host if len(payload) + 7 <= size]
    assert [packet[3:-4] for packet in DeviceDecoder(library, size).feed(data)] == fitting


@given(frame=FRAMES, at=st.integers(0, 10**6), bits=st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_a_changed_byte_is_noticed(frame: Frame, at: int, bits: int) -> None:
    data = bytearray(encode_frame(frame))
    data[at % len(data)] ^= bits
    assert all(found == frame for found in Decoder().feed(bytes(data)))


@given(
    sent=st.lists(FRAMES, min_size=1, max_size=4),
    text=st.binary(min_size=1, max_size=1000).filter(lambda text: 0 not in text),
)
@settings(max_examples=100, deadline=None)
def test_text_between_frames_spoils_none(
    library: ctypes.CDLL, sent: list[Frame], text: bytes
) -> None:
    """Log lines have no zero, so the one before each frame is what ends them."""
    data = b"".join(text + device_encode(library, frame) for frame in sent) + text
    assert list(Decoder().feed(data)) == sent
    assert len(list(DeviceDecoder(library).feed(data))) == len(sent)


def test_noise_without_zeros_is_not_kept() -> None:
    decoder = Decoder()
    for _ in range(100):
        assert not list(decoder.feed(b"\x55" * 1000))
    assert len(decoder._rest) < 2 * frames.FRAME_BYTES
    frame = Frame(Type.PING, 7, b"")
    assert list(decoder.feed(encode_frame(frame))) == [frame]


def test_the_numbers_are_those_of_the_firmware() -> None:
    values = {name: int(value, 0) for name, value in re.findall(r"LINK_(\w+) = (-?\w+)", HEADER)}
    assert {item.name: item.value for item in Type}.items() <= values.items()
    assert {item.name: item.value for item in LinkStatus}.items() <= values.items()
    others = {"DATA_BYTES", "FRAME_BYTES", "ANSWER", "START_PROFILE", "WATCH_ALL", "WATCH_NONE"}
    others |= {"SIGNED_ONLY", "BAUD_SECONDS", "START_GOES_ON"}
    assert len(Type) + len(LinkStatus) == len(values.keys() - others) == len(values) - len(others)
    assert values["DATA_BYTES"] == frames.DATA_BYTES
    assert values["FRAME_BYTES"] == frames.FRAME_BYTES
    assert values["ANSWER"] == frames.ANSWER
    assert values["START_PROFILE"] == frames.START_PROFILE
    assert values["START_GOES_ON"] == frames.START_GOES_ON
    assert values["SIGNED_ONLY"] == frames.SIGNED_ONLY
    assert values["WATCH_ALL"] == frames.WATCH_ALL
    assert values["WATCH_NONE"] == frames.WATCH_NONE
    assert f"#define LINK_MAJOR {frames.MAJOR}\n" in HEADER


def test_the_page_names_every_number() -> None:
    for status in LinkStatus:
        assert f"| {status.value} | LINK_{status.name} |" in PROTOCOL
    for type_ in Type:
        value = type_ | frames.ANSWER if type_ is Type.FAULT else type_
        assert re.search(rf"^##+ {type_.name}, 0x{value:02X}$", PROTOCOL, re.MULTILINE), type_


def test_the_page_s_example() -> None:
    line = re.search(r"on the line\n`([0-9a-f ]+)`", PROTOCOL)
    assert line is not None
    data = bytes.fromhex(line.group(1))
    assert data == encode_frame(Frame(Type.PING, 1, b""))
    assert decode_packet(data.strip(b"\0")) == Frame(Type.PING, 1, b"")
