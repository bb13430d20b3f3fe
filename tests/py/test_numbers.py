# SPDX-License-Identifier: Apache-2.0
"""Outputs that are numbers or truth values: ARG_MAX, ARG_MIN, comparisons and CAST at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hostile_blobs import sealed
from litert import litert_outputs
from narrows.blob import parse_blob, read_blob
from narrows.cli import main
from narrows.compiler import compile_model
from narrows.errors import BlobError, UnsupportedError
from narrows.graph.edges import decode
from narrows.importers.tflite import import_tflite
from narrows.native import Run
from narrows.pack import unpack_metadata
from single import Net
from subjects import check


def _check(net: Net, sources: list[int], *outputs: int, **kw: Any) -> Any:
    return check(net.finish(sources, list(outputs)), net.rng, **kw)


@pytest.mark.parametrize("name", ["ARG_MAX", "ARG_MIN"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((1, 5, 4, 7), 3), ((1, 5, 4, 7), -1), ((1, 5, 4, 7), 1), ((1, 5, 4, 7), 2), ((1, 600), 1),
     ((1, 12, 5), 1), ((1, 12, 5), 2), ((1, 3, 3, 1), 3)],
)  # fmt: skip
def test_arg_max(shape: Any, axis: int, name: str) -> None:
    net = Net(len(shape) + axis)
    x = net.int8(shape)
    _check(net, [x], net.arg_max(x, axis, name), board=shape == (1, 600))


def test_the_first_of_equal_elements() -> None:
    net = Net(1)
    x = net.int8((1, 4, 3))
    values = np.array([[[5, 5, 5], [1, 7, 7], [-128, -128, -128], [127, 3, 127]]], np.int8)
    _check(net, [x], net.arg_max(x, 2), net.arg_max(x, 2, "ARG_MIN"), inputs=[[values]])


def test_scores_and_their_greatest() -> None:
    """Both of a network's outputs, and what is behind the numbers."""
    net = Net(2)
    x = net.int8((1, 6, 5, 3))
    y = net.conv(x, (3, 3), 9)
    numbers = net.arg_max(y, 3)
    _check(net, [x], y, numbers, net.cast(numbers, "float32"), net.cast(numbers, "int8"))


@pytest.mark.parametrize("dtype", ["bool", "int8", "int32", "float32"])
@pytest.mark.parametrize("relation", ["GREATER", "LESS_EQUAL", "EQUAL"])
def test_comparisons(relation: str, dtype: str) -> None:
    net = Net(3)
    a, b = net.int8((1, 4, 5, 3)), net.int8((1, 1, 1, 3))
    y = net.compare(relation, a, b)
    _check(net, [a, b], y if dtype == "bool" else net.cast(y, dtype))


def compiled(model: bytes, folder: Path) -> bytes:
    (folder / "m.tflite").write_bytes(model)
    return compile_model(folder / "m.tflite").blob


def test_int64_is_litert_s(tmp_path: Path) -> None:
    """TFLite Micro gives no int64."""
    net = Net(4)
    x = net.int8((1, 3, 4, 6))
    model = net.finish([x], [net.arg_max(x, 3, dtype="int64")])
    blob = parse_blob(compiled(model, tmp_path))
    values = net.rng.integers(-128, 128, (1, 3, 4, 6)).astype(np.int8)
    (found,) = Run(blob.model).infer([values[0]])
    (wanted,) = litert_outputs(model, [values], "BUILTIN_REF")
    got = decode(blob.outputs[0], found)
    assert got.dtype == wanted.dtype == np.int64
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("follow", "says"),
    [
        (lambda net, y: net.transpose(y, (0, 2, 1)), "another order"),
        (lambda net, y: net.binary("ADD", y, y, 0.1), "is int32 in a network of int8"),
        (lambda net, y: net.cast(y, "int16"), "it is int16"),
    ],
)
def test_numbers_only_end_a_network(follow: Any, says: str) -> None:
    net = Net(5)
    x = net.int8((1, 4, 5, 3))
    y = net.arg_max(net.conv(x, (1, 1), 4), 3)
    net.scales[y] = 1.0
    last = net.tensor((1, 5, 4), "int32") if "another" in says else follow(net, y)
    if "another" in says:
        net.operator("TRANSPOSE", [y, net.ints((0, 2, 1))], [last], "TransposeOptions")
    with pytest.raises(UnsupportedError, match=says):
        import_tflite(net.finish([x], [last]), "refused")


def test_run_prints_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net(6)
    x = net.int8((1, 4, 5, 3))
    (tmp_path / "m.tflite").write_bytes(net.finish([x], [net.arg_max(x, 3)]))
    values = net.rng.integers(-128, 128, (1, 4, 5, 3)).astype(np.int8)
    np.save(tmp_path / "x.npy", values)
    assert main(["compile", str(tmp_path / "m.tflite"), "-o", str(tmp_path / "m.nrw")]) == 0
    files = [f"--{n}={tmp_path / f}" for n, f in (("json", "r.json"), ("output", "y.npy"))]
    assert main(["run", str(tmp_path / "m.nrw"), "--input", str(tmp_path / "x.npy"), *files]) == 0
    numbers = values.argmax(3)
    report, output = json.loads((tmp_path / "r.json").read_text()), np.load(tmp_path / "y.npy")
    assert output.dtype == np.int32
    np.testing.assert_array_equal(output, numbers)
    assert report["outputs"][0]["dtype"] == "int32"
    most = np.bincount(numbers.ravel(), minlength=3).argmax()
    best = report["top"][0]
    assert (best["index"], best["score"]) == (most, (numbers == most).mean())


def test_metadata_that_says_otherwise_is_refused(tmp_path: Path) -> None:
    net = Net(7)
    x = net.int8((1, 4, 5, 3))
    blob = compiled(net.finish([x], [net.arg_max(x, 3)]), tmp_path)
    assert unpack_metadata(blob)["outputs"][0]["elements"] == "int32"
    for wrong in (b'"elements":"int33"', b'"elements":"int8" '):
        data = blob.replace(b'"elements":"int32"', wrong)
        assert data != blob
        (tmp_path / "b.nrw").write_bytes(sealed(data))
        with pytest.raises(BlobError, match="metadata"):
            read_blob(tmp_path / "b.nrw")
