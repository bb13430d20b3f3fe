# SPDX-License-Identifier: Apache-2.0
"""Metadata comes from outside too: what does not fit is refused in one line."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from narrows.blob import parse_blob, read_blob
from narrows.errors import BlobError, NarrowsError


def with_metadata(blob: bytes, text: bytes) -> bytes:
    """The same blob with other metadata."""
    (offset,) = struct.unpack_from("<I", blob, 60)
    data = bytearray(blob[:offset] + text)
    data += bytes(-len(data) % 16)
    struct.pack_into("<I", data, 8, len(data))
    struct.pack_into("<II", data, 60, offset if text else 0, len(text))
    struct.pack_into("<I", data, 72, zlib.crc32(data[80:]))
    struct.pack_into("<I", data, 76, zlib.crc32(data[:76]))
    return bytes(data)


@pytest.fixture(scope="module")
def blob(digits_blob: Path) -> bytes:
    return digits_blob.read_bytes()


@pytest.fixture
def metadata(blob: bytes) -> dict[str, Any]:
    return dict(parse_blob(blob).metadata)


def refuse(blob: bytes, metadata: object, words: str) -> None:
    with pytest.raises(BlobError, match=words) as caught:
        parse_blob(with_metadata(blob, json.dumps(metadata).encode()))
    assert "\n" not in str(caught.value)


def test_a_blob_without_metadata_runs_as_int8(blob: bytes) -> None:
    bare = parse_blob(with_metadata(blob, b""), "bare.nrw")
    assert bare.name == "bare.nrw"
    assert bare.labels == ()
    assert [edge.dtype for edge in bare.inputs + bare.outputs] == ["int8", "int8"]
    assert bare.inputs[0].shape == (1, 32, 32, 1)


def test_metadata_that_is_no_object(blob: bytes) -> None:
    for text in (b"[]", b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(BlobError, match="metadata"):
            parse_blob(with_metadata(blob, text))


def test_labels_and_stages_are_strings(blob: bytes, metadata: dict[str, Any]) -> None:
    for key in ("labels", "stages"):
        for value in ("abc", [1], {}):
            refuse(blob, metadata | {key: value}, f"metadata: {key}")


def test_scales_are_positive_numbers(blob: bytes, metadata: dict[str, Any]) -> None:
    for value in (1.0, {}, ["x"], [0], [-1], [1e999], [10**400]):
        refuse(blob, metadata | {"scales": value}, "metadata: scales")


def test_preprocessing_is_numbers(blob: bytes, metadata: dict[str, Any]) -> None:
    for value in (1, {}, {"mean": "x", "scale": 1}, {"mean": [1], "scale": None}):
        refuse(blob, metadata | {"preprocessing": value}, "preprocessing")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [1, 32, 32, 2]),
        ("shape", "x"),
        ("dtype", "int16"),
        ("dtype", "uint8"),
        ("scale", 0.0),
        ("scale", 1e999),
        ("tensor_scale", -1.0),
        ("zero_point", 1000),
        ("table", "AAAA"),
    ],
)
def test_edges_fit_the_tensors(
    blob: bytes, metadata: dict[str, Any], key: str, value: object
) -> None:
    edge = metadata["inputs"][0] | {key: value}
    refuse(blob, metadata | {"inputs": [edge]}, "metadata")
    refuse(blob, metadata | {"inputs": []}, "metadata")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NarrowsError, match="cannot read the blob"):
        read_blob(tmp_path / "none.nrw")
