# SPDX-License-Identifier: Apache-2.0
"""What goes in and comes out: TFLite's formulas, pictures, labels, files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrows.blob import Preprocessing
from narrows.data import load_dataset, load_input, load_labels
from narrows.errors import InputError, NarrowsError
from narrows.files import write_file
from narrows.graph.edges import HostEdge, conform, decode, dequantize, encode, quantize, real

INT8 = HostEdge("in", "int8", (1, 2, 2, 3), 1 / 255, -128, 1 / 255, -128)
UINT8 = replace(INT8, dtype="uint8", zero_point=0, table=bytes((i - 128) % 256 for i in range(256)))
FLOAT = replace(INT8, dtype="float32", scale=0.0, zero_point=0)


def test_quantize_rounds_halves_away_from_zero_and_clamps() -> None:
    values = np.array([0.25, -0.25, 0.75, -0.75, 100.0, -100.0, 0.2499999], np.float32)
    expected = [1, -1, 2, -2, 127, -128, 0]
    assert quantize(values, 0.5, 0, np.int8).tolist() == expected
    # Adding half to this float32 would round up to 1.
    assert quantize(np.array([0.49999997], np.float32), 1.0, 0, np.int8).tolist() == [0]


def test_dequantize_multiplies_in_double() -> None:
    scale = float(np.float32(0.1))
    values = np.array([-128, 127], np.int8)
    expected = np.array([scale * -131, scale * 124], np.float32)
    np.testing.assert_array_equal(dequantize(values, scale, 3), expected)


def test_edges_there_and_back() -> None:
    values = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    inside = encode(UINT8, values)
    assert inside.dtype == np.int8
    assert inside.ravel().tolist() == list(range(-128, -116))
    back = replace(UINT8, table=bytes((i + 128) % 256 for i in range(256)))
    np.testing.assert_array_equal(decode(back, inside), values)
    floats = decode(FLOAT, inside)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(encode(FLOAT, floats), inside)
    np.testing.assert_allclose(real(UINT8, values), values / 255, rtol=1e-6)


def test_the_batch_dimension_is_optional() -> None:
    assert conform(INT8, np.zeros((2, 2, 3), np.int8), "x").shape == INT8.shape
    for shape in ((2, 3, 2), (12,), (2, 2, 2, 3)):
        with pytest.raises(InputError, match="shape"):
            conform(INT8, np.zeros(shape, np.int8), "x")


@pytest.mark.parametrize(
    ("step", "values"),
    [(1 / 255, (0.0, 1.0)), (2 / 255, (-1.0, 1.0)), (1.0, (0.0, 255.0))],
)
def test_pixels_follow_the_quantization(
    tmp_path: Path, step: float, values: tuple[float, float]
) -> None:
    edge = replace(FLOAT, shape=(1, 1, 2, 1), tensor_scale=step)
    path = tmp_path / "p.png"
    Image.fromarray(np.array([[0, 255]], np.uint8)).save(path)
    np.testing.assert_allclose(load_input(edge, None, path).ravel(), values)


def test_pixels_follow_the_preprocessing(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    Image.fromarray(np.full((5, 7, 3), 100, np.uint8)).save(path)
    rule = Preprocessing((100.0, 90.0, 80.0), (0.5,))
    np.testing.assert_allclose(load_input(FLOAT, rule, path)[0, 0, 0], (0, 5, 10))
    with pytest.raises(InputError, match="channels"):
        load_input(FLOAT, Preprocessing((1.0, 2.0), (1.0,)), path)


def test_pixels_that_nobody_explains(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)
    with pytest.raises(InputError, match="--pixel-mean"):
        load_input(replace(INT8, scale=0.05, tensor_scale=0.05), None, path)


def test_uint8_takes_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(load_input(UINT8, None, path)[0], pixels)


def test_data_sets(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), y=np.arange(3))
    assert load_dataset(tmp_path / "a.npz").labels is not None
    np.save(tmp_path / "b.npy", np.zeros((3, 2)))
    assert load_dataset(tmp_path / "b.npy").labels is None
    for name, arrays in (("c", {"z": [1]}), ("d", {"x": [1, 2], "y": [1]}), ("e", {"x": []})):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(InputError, match=f"{name}.npz"):
            load_dataset(tmp_path / f"{name}.npz")


def test_folders_are_classes_by_name_or_by_order(tmp_path: Path) -> None:
    for name in ("cat", "ant"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", np.zeros(1))
    labels = load_dataset(tmp_path).labels
    assert labels is not None
    assert labels.tolist() == [0, 1]
    labels = load_dataset(tmp_path, ("dog", "cat", "ant")).labels
    assert labels is not None
    assert labels.tolist() == [2, 1]


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("café\nthé\n".encode())
    assert load_labels(path) == ("café", "thé")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        load_labels(path)


def test_files_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_file(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(NarrowsError, match="No space left on device"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
