# SPDX-License-Identifier: Apache-2.0
"""UF2 files: what goes in comes out, block by block as the format says, and hostile ones are
refused by the block's number."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narrows.errors import NarrowsError
from narrows.link.image import Segment
from narrows.link.uf2 import BLOCK_BYTES, PAYLOAD_BYTES, Family, read_uf2, write_uf2

BASE = 0x10000000
FIRMWARE = [Segment(BASE, bytes(range(256)) * 2), Segment(BASE + 0x1010, b"model")]


def word(file: bytes, block: int, index: int) -> int:
    return int(struct.unpack_from("<I", file, block * BLOCK_BYTES + 4 * index)[0])


def test_blocks_are_as_the_format_says() -> None:
    file = write_uf2(FIRMWARE, Family.RP2040)
    assert len(file) == 3 * BLOCK_BYTES
    for block, address in enumerate((BASE, BASE + 0x100, BASE + 0x1000)):
        head = [word(file, block, index) for index in range(8)]
        assert head == [
            *(0x0A324655, 0x9E5D5157, 0x2000, address, 256, block, 3, 0xE48BFF56),
        ]
        assert word(file, block, 127) == 0x0AB16F30
    assert file[32 : 32 + 256] == bytes(range(256))
    last = file[2 * BLOCK_BYTES + 32 : 2 * BLOCK_BYTES + 32 + 256]
    assert last == b"\xff" * 16 + b"model" + b"\xff" * 235


@st.composite
def apart(draw: st.DrawFn) -> list[Segment]:
    """Segments with gaps of any size, in any order."""
    segments, address = [], draw(st.integers(0, 1 << 20))
    for _ in range(draw(st.integers(1, 6))):
        data = draw(st.binary(min_size=1, max_size=700))
        segments.append(Segment(address, data))
        address += len(data) + draw(st.integers(0, 900))
    return draw(st.permutations(segments))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(apart())
def test_what_is_written_is_read(segments: list[Segment]) -> None:
    """Besides, only erased flash, and whole pages of it."""
    read = read_uf2(write_uf2(segments, Family.STM32F4), "file")
    assert read.family == Family.STM32F4
    memory = {a + i: byte for a, data in read.segments for i, byte in enumerate(data)}
    expected = {a + i: byte for a, data in segments for i, byte in enumerate(data)}
    assert {place: memory.pop(place) for place in expected} == expected
    assert set(memory.values()) <= {0xFF}
    pages = {place // PAYLOAD_BYTES for place in (*expected, *memory)}
    assert pages == {place // PAYLOAD_BYTES for place in expected}


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([], "at least one byte"),
        ([Segment(BASE, b"")], "at least one byte"),
        ([Segment(BASE, bytes(9)), Segment(BASE + 8, b"x")], "overlap at 0x10000008"),
        ([Segment(0xFFFFFFFF, b"ab")], "0xffffffff reaches beyond 4 GiB"),
    ],
)
def test_what_cannot_be_written(segments: list[Segment], message: str) -> None:
    with pytest.raises(NarrowsError, match=message):
        write_uf2(segments, Family.RP2040)


def changed(block: int, index: int, value: int) -> bytes:
    file = bytearray(write_uf2(FIRMWARE, Family.RP2040))
    struct.pack_into("<I", file, block * BLOCK_BYTES + 4 * index, value)
    return bytes(file)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "not a UF2 file: 0 bytes"),
        (write_uf2(FIRMWARE, 1)[:-1], "not a UF2 file: 1535 bytes"),
        (write_uf2(FIRMWARE, 1)[:-512], "block 0 .* number 0 of 3, but there are 2"),
        (changed(1, 0, 7), r"file: UF2 block 1 \(byte 512\) has no magic numbers"),
        (changed(1, 1, 7), "block 1 .* no magic numbers"),
        (changed(2, 127, 7), "block 2 .* no magic numbers"),
        (changed(2, 5, 1), "block 2 .* number 1 of 3"),
        (changed(1, 4, 477), "block 1 .* cannot hold 477 bytes"),
        (changed(1, 4, 0), "block 1 .* cannot hold 0 bytes"),
        (changed(1, 3, 0xFFFFFF80), "block 1 .* beyond 4 GiB"),
        (changed(1, 3, BASE + 1), "overlap at 0x10000001"),
        (changed(1, 7, 0xADA52840), "block 1 .* another chip"),
        (changed(1, 2, 0), "block 1 .* another chip"),
        (changed(0, 2, 0x1000), "block 0 .* a part of a file"),
        (write_uf2(FIRMWARE[1:], 1)[:8] + b"\1" + write_uf2(FIRMWARE[1:], 1)[9:], "main flash"),
    ],
)
def test_a_wrong_file_names_the_block(file: bytes, message: str) -> None:
    with pytest.raises(NarrowsError, match=message):
        read_uf2(file, "file")


def test_a_file_that_names_no_chip() -> None:
    file = bytearray(write_uf2(FIRMWARE[1:], 0))
    struct.pack_into("<I", file, 8, 0)
    assert read_uf2(bytes(file), "file").family is None


def test_blocks_beside_the_main_flash_are_left_out() -> None:
    read = read_uf2(changed(1, 2, 0x2001), "file")
    assert [segment.address for segment in read.segments] == [BASE, BASE + 0x1000]


def outcome(file: bytes) -> str:
    """How many bytes were read, or the error."""
    try:
        read = read_uf2(file, "file")
    except NarrowsError as error:
        return str(error)
    return f"read {sum(len(segment.data) for segment in read.segments)}"


def test_no_change_of_a_file_is_more_than_an_error() -> None:
    rng = random.Random(1)
    whole = write_uf2(FIRMWARE, Family.RP2040)
    for _ in range(3000):
        file = bytearray(whole[: rng.choice((len(whole), BLOCK_BYTES, rng.randrange(1600)))])
        for _ in range(rng.randrange(1, 4)):
            if file:
                block = rng.randrange(0, len(file), BLOCK_BYTES)
                file[min(block + rng.randrange(32), len(file) - 1)] = rng.randrange(256)
        assert outcome(bytes(file)).startswith(("read", "file: "))
