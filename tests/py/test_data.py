# SPDX-License-Identifier: Apache-2.0
"""What goes in and comes out: TFLite's formulas, pictures, labels, files."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from narrows.blob import parse_blob, read_blob
from narrows.cli import _with_numbers, build_parser, main
from narrows.cli.metadata import parse_metadata
from narrows.compiler import CompileOptions, compile_model
from narrows.data import load_array, load_dataset, load_input, load_labels
from narrows.errors import BlobError, InputError, ModelError, NarrowsError
from narrows.exporters.export import export_tflite
from narrows.files import write_file
from narrows.graph.edges import HostEdge, conform, decode, dequantize, encode, quantize, real
from narrows.graph.preprocessing import Preprocessing
from narrows.importers.metadata import encode_metadata, model_metadata
from narrows.importers.tflite import import_tflite
from narrows.models import DIGITS_INT8
from narrows.quantization.float_model import FloatModel
from narrows.targets import HostTarget
from narrows.zoo.builder import Builder
from test_blob import with_metadata

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
    with pytest.raises(InputError, match=r"--pixels: -1\.\.1 .* --pixel-mean"):
        load_input(replace(INT8, scale=0.05, tensor_scale=0.05), None, path)


def test_uint8_takes_the_bytes_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    pixels = np.arange(0, 24, 2, dtype=np.uint8).reshape(2, 2, 3)
    Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(load_input(UINT8, None, path)[0], pixels)
    half = Preprocessing((0.0,), (0.5 / 255,))
    np.testing.assert_array_equal(load_input(UINT8, half, path)[0], pixels // 2)


def test_which_part_of_a_picture_is_taken(tmp_path: Path) -> None:
    """A picture whose pixel (x, y) has red x and green y tells by itself what was taken."""
    y, x = np.mgrid[0:100, 0:200].astype(np.uint8)
    path = tmp_path / "p.png"
    Image.fromarray(np.stack([x, y, np.full_like(x, 7)], axis=2)).save(path)
    edge = replace(FLOAT, shape=(1, 20, 20, 3))

    def taken(**options: Any) -> list[list[float]]:
        """First and last column's red, first and last row's green."""
        values = load_input(edge, Preprocessing((0.0,), (1.0,), **options), path)[0]
        return [[*values[10, [0, -1], 0]], [*values[[0, -1], 10, 1]]]

    # The middle of a block of n pixels of 0, 1, 2 ... is (n - 1) / 2.
    np.testing.assert_allclose(taken(), [[4.5, 194.5], [2, 97]], atol=1)
    np.testing.assert_allclose(taken(resize="crop"), [[52, 147], [2, 97]], atol=1)
    halved = taken(resize="crop", crop_fraction=0.5)
    np.testing.assert_allclose(halved, [[75.75, 123.25], [25.75, 73.25]], atol=1)
    np.testing.assert_allclose(taken(crop_fraction=0.5), [[52, 147], [25.75, 73.25]], atol=1)
    smallest = Preprocessing((0.0,), (1.0,), "crop", 0.01, "BGR")
    values = load_input(edge, smallest, path)[0]
    np.testing.assert_allclose(values[10, 10], (7, 50, 100), atol=1)


BAD_PREPROCESSING = [
    (1, "not an object"),
    ([], "not an object"),
    ({"scale": 1}, "no mean"),
    ({"mean": 1}, "no scale"),
    ({"mean": "1", "scale": 1}, "mean is not a number"),
    ({"mean": True, "scale": 1}, "mean is not a number"),
    ({"mean": [[1]], "scale": 1}, "mean is not a number"),
    ({"mean": [], "scale": 1}, "mean is not numbers"),
    ({"mean": 0, "scale": float("nan")}, "scale is not numbers"),
    ({"mean": float("inf"), "scale": 1}, "mean is not numbers"),
    ({"mean": 10**400, "scale": 1}, "mean is too large"),
    ({"mean": 0, "scale": -1e300}, "scale is not numbers"),
    ({"mean": 0, "scale": [1, 0, 1]}, "scale is 0"),
    ({"mean": [0] * 100_000, "scale": 1}, "mean has 100000 numbers for 1 channels"),
    ({"mean": 0, "scale": 1, "resize": "fit"}, "resize is not one of"),
    ({"mean": 0, "scale": 1, "resize": ["crop"]}, "resize is not one of"),
    ({"mean": 0, "scale": 1, "order": {}}, "order is not one of"),
    ({"mean": 0, "scale": 1, "crop_fraction": -0.5}, "crop_fraction is not from"),
    ({"mean": 0, "scale": 1, "crop_fraction": 0}, "crop_fraction is not from"),
    ({"mean": 0, "scale": 1, "crop_fraction": 1e300}, "crop_fraction is not from"),
    ({"mean": 0, "scale": 1, "crop_fraction": float("nan")}, "crop_fraction is not from"),
    ({"mean": 0, "scale": 1, "crop_fraction": None}, "crop_fraction is not a number"),
]


@pytest.mark.parametrize(("value", "message"), BAD_PREPROCESSING)
def test_preprocessing_that_makes_no_sense(digits_blob: Path, value: Any, message: str) -> None:
    """In a blob, and in a model."""
    text = encode_metadata({"preprocessing": value})["narrows"]
    with pytest.raises(BlobError, match=f"blob: metadata: preprocessing: .*{message}"):
        parse_blob(with_metadata(digits_blob.read_bytes(), text))
    if "channels" not in message:
        model = export_tflite(import_tflite(DIGITS_INT8), {"narrows": text})
        with pytest.raises(ModelError, match=f"metadata narrows: preprocessing: .*{message}"):
            model_metadata(model)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", [-1, -32, 32, 1]),
        ("shape", [float("inf")]),
        ("shape", [1] * 70 + [32, 32]),
        ("zero_point", float("nan")),
        ("zero_point", float("inf")),
        ("scale", 10**400),
        ("tensor_scale", float("nan")),
    ],
)
def test_edges_that_make_no_sense(digits_blob: Path, key: str, value: Any) -> None:
    blob = digits_blob.read_bytes()
    metadata = dict(parse_blob(blob).metadata)
    metadata["inputs"] = [metadata["inputs"][0] | {key: value}]
    with pytest.raises(BlobError, match="metadata"):
        parse_blob(with_metadata(blob, json.dumps(metadata).encode()))


def test_preprocessing_goes_through_compile() -> None:
    rule = {"mean": [3], "scale": 0.25, "resize": "crop", "crop_fraction": 0.5, "order": "BGR"}
    blob = parse_blob(
        compile_model(DIGITS_INT8, CompileOptions(metadata={"preprocessing": rule})).blob
    )
    assert blob.preprocessing == Preprocessing((3.0,), (0.25,), "crop", 0.5, "BGR")


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [
        (["--pixels", "-1..1"], -1.0, 1.0),
        (["--pixels=-1..1", "--exif-rotation", "apply"], -1.0, 1.0),
        (["--pixels", "0..1"], 0.0, 1.0),
        (["--pixels", "0..255", "--resize", "crop"], 0.0, 255.0),
        (["--pixel-mean", "-1,-1,-1", "--pixel-scale", "2"], 2.0, 512.0),
        # torchvision.transforms.Normalize of ToTensor's 0 to 1, for red, green and blue.
        (["--pixels", "imagenet"], (-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225), None),
        (
            ["--pixels", "imagenet", "--order", "BGR"],
            (-0.406 / 0.225, -0.456 / 0.224, -0.485 / 0.229),
            ((1 - 0.406) / 0.225, (1 - 0.456) / 0.224, (1 - 0.485) / 0.229),
        ),
    ],
)
def test_usual_ways_to_take_pixels_have_names(options: list[str], least: Any, most: Any) -> None:
    """Black and white, as the network takes them."""
    command = ["compile", "m", "-o", "b", *options]
    rule = parse_metadata(build_parser("compile").parse_args(_with_numbers(command)))
    preprocessing = rule["preprocessing"]
    assert preprocessing is not None
    edge = replace(FLOAT, shape=(1, 2, 2, 3))
    for pixel, expected in ((0, least), (255, most)):
        if expected is not None:
            values = load_input(edge, preprocessing, np.full((2, 2, 3), pixel, np.uint8))
            np.testing.assert_allclose(values[0, 0, 0], np.broadcast_to(expected, 3), 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pixels", "0..1", "--pixel-mean", "1"], "--pixels says mean and scale"),
        (["--pixels", "imagenet"], "3 numbers for 1 channels"),
        (["--pixel-mean", "1"], "belong together"),
        (["--order", "BGR"], "belong together"),
        (["--pixel-mean", "nan", "--pixel-scale", "1"], "mean is not numbers"),
        (["--pixel-mean", "1", "--pixel-scale", "0"], "scale is 0"),
        (["--pixel-mean", "1,2", "--pixel-scale", "1"], "mean has 2 numbers for 1 channels"),
        (["--pixel-mean", "1", "--pixel-scale", "1", "--crop-fraction", "-1"], "crop_fraction"),
    ],
)
def test_options_that_make_no_sense(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    blob = tmp_path / "b.nrw"
    assert main(["compile", str(DIGITS_INT8), "-o", str(blob), *options]) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not blob.exists()


@pytest.mark.parametrize("edges", ["int8", "uint8", "float32"])
def test_every_command_prepares_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edges: str
) -> None:
    """What 'quantize' calibrates with, and 'run' and 'check' send to their target."""
    net = Builder("net", (24, 32, 3), seed=1)
    graph = net.finish([net.dense(net.mean(net.conv(0, 8, 3, 2, name="a"), name="b"), 4, name="c")])
    model, quantized, blob = (tmp_path / n for n in ("f.tflite", "q.tflite", "q.nrw"))
    model.write_bytes(export_tflite(graph))
    (tmp_path / "x").mkdir()
    rng = np.random.default_rng(1)
    shapes = ((50, 37, 3), (31, 90, 3), (24, 32, 3), (40, 40))
    for i, shape in enumerate(shapes):
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(tmp_path / "x" / f"{i}.png")
    np.save(tmp_path / "x" / "5.npy", rng.normal(0, 1, (24, 32, 3)))
    rules = "--pixel-mean 120,110,100 --pixel-scale 0.01,0.02,0.03 --resize crop --order BGR"
    calibrated: list[Any] = []
    sent: list[Any] = []
    inputs, infer = FloatModel.inputs, HostTarget.infer

    def watch_inputs(self: FloatModel, sample: Any) -> Any:
        calibrated.append(np.array(sample[0]))
        return inputs(self, sample)

    def watch_infer(self: HostTarget, tensors: Any, *rest: Any, **more: Any) -> Any:
        sent.append(np.array(tensors[0]).ravel())
        return infer(self, tensors, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(FloatModel, "inputs", watch_inputs)
        command = f"quantize {model} --data {tmp_path}/x -o {quantized} --edges {edges} {rules}"
        more = "--crop-fraction 0.9 --method minmax --jobs 1"  # In the files' order.
        assert main([*command.split(), *more.split()]) == 0
    assert main(["compile", str(quantized), "-o", str(blob)]) == 0
    monkeypatch.setattr(HostTarget, "infer", watch_infer)
    files = sorted((tmp_path / "x").iterdir())
    for file in files:
        assert main(["run", str(blob), "--input", str(file)]) == 0
    check = f"check {blob} --data {tmp_path}/x --reference tflm --model {quantized} --jobs 1"
    assert main(check.split()) == 0
    (edge,) = read_blob(blob).inputs
    assert edge.dtype == edges
    assert len(sent) == 2 * len(files)
    for i in range(len(files)):
        wanted = encode(edge, conform(edge, calibrated[i], "calibration")).ravel()
        assert len(np.unique(wanted)) > 50
        np.testing.assert_array_equal(sent[i], wanted)
        np.testing.assert_array_equal(sent[len(files) + i], wanted)


def test_data_sets(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), y=np.arange(3))
    assert load_dataset(tmp_path / "a.npz").labels is not None
    np.save(tmp_path / "b.npy", np.zeros((3, 2)))
    assert load_dataset(tmp_path / "b.npy").labels is None
    for name, arrays in (("c", {"z": [1]}), ("d", {"x": [1, 2], "y": [1]}), ("e", {"x": []})):
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(InputError, match=f"{name}.npz"):
            load_dataset(tmp_path / f"{name}.npz")


SAVE: dict[str, Callable[[Path, Any], None]] = {
    "x.npy": np.save,
    "stored.npz": lambda path, x: np.savez(path, x=x, y=np.arange(len(x)), other=np.ones(9)),
    "packed.npz": lambda path, x: np.savez_compressed(path, x=x, y=np.arange(len(x))),
}


@pytest.mark.parametrize("name", SAVE)
@pytest.mark.parametrize("dtype", [np.int8, np.float32, ">f8"])
def test_items_come_in_order_and_again(tmp_path: Path, name: str, dtype: Any) -> None:
    x = np.random.default_rng(1).integers(-100, 100, (2000, 7, 5, 3)).astype(dtype)
    SAVE[name](tmp_path / name, x)
    dataset = load_dataset(tmp_path / name)
    assert len(dataset.items) == 2000
    for _ in range(2):
        np.testing.assert_array_equal(np.array(list(dataset.items)), x)
    part = dataset.first(3)
    assert len(part.items) == 3
    np.testing.assert_array_equal(np.array(list(part.items)), x[:3])
    assert len(dataset.first(9999).items) == 2000
    if name != "x.npy":
        assert dataset.labels is not None
        assert part.labels is not None
        assert dataset.labels.tolist() == list(range(2000))
        assert part.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", SAVE)
def test_a_data_set_is_never_in_memory_as_a_whole(tmp_path: Path, name: str) -> None:
    whole, most = 48 << 20, 2 << 20
    picture = np.random.default_rng(1).integers(0, 9, (64, 64, 3)).astype(np.float32)
    count = whole // picture.nbytes
    SAVE[name](tmp_path / name, np.broadcast_to(picture, (count, *picture.shape)))
    edge = replace(FLOAT, shape=(1, *picture.shape))
    tracemalloc.start()
    try:
        total = 0.0
        dataset = load_dataset(tmp_path / name)
        for item in dataset.items:
            total += float(load_input(edge, None, item).sum())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == count * picture.sum()
    assert peak < most, f"{peak} bytes for a data set of {whole}"


def _header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def _npy(shape: str, descr: str = "'<f4'", order: str = "False") -> bytes:
    return _header(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a readable"),
        (b"PK\x03\x04 no archive", "not a readable"),
        (b"\x93NUMPY\x09\x00", "not a readable"),
        (_header("{(((" + "\n"), "not a readable"),
        (_header("(" * 5000), "not a readable"),
        (_npy("()") + bytes(4), "give an array of items"),
        (_npy("(-4, 2)") + bytes(64), "give an array of items"),
        (_npy("(10, 2)") + bytes(79), "ends before its last item"),
        (_npy("(1000000000000, 2)"), "ends before its last item"),
        (_npy("(1, 1000000000000)"), "has items of 4000000000000 bytes"),
        (_npy("(1000000000000, 0)"), "has items of 0 bytes"),
        (_npy("(2, 3)", order="True") + bytes(24), "Fortran order"),
        (_npy("(2,)", descr="'|O'") + bytes(16), "Python objects"),
        (_npy("(2,)", descr="'no type'"), "not a readable"),
    ],
)
def test_arrays_that_are_damaged(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(path)
    assert "\n" not in str(caught.value)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(InputError, match=r"x\.npz"):
        load_dataset(tmp_path / "x.npz")
    if "Fortran" not in message and "()" not in content.decode("latin1"):
        with pytest.raises(InputError, match=r"x\.npy"):
            conform(FLOAT, load_array(path), str(path))


def test_every_broken_byte_of_an_archive_is_an_error_or_harmless(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.arange(300, dtype=np.float32).reshape(10, 30), y=np.arange(10))
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with contextlib.suppress(InputError):
            assert len(list(load_dataset(path).items)) <= 10
        path.write_bytes(whole[:place])
        with pytest.raises(InputError):
            load_dataset(path)


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


def _classes(path: Path, classes: tuple[str, ...] = ()) -> list[int]:
    labels = load_dataset(path, classes).labels
    assert labels is not None
    return list(labels.tolist())


def test_folders_that_are_numbers(tmp_path: Path) -> None:
    for name in ("10", "2", ".hidden"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", np.zeros(1))
        np.save(tmp_path / name / ".y.npy", np.zeros(1))
    assert _classes(tmp_path) == [10, 2]
    assert _classes(tmp_path, ("2", "10")) == [1, 0]


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("labels.txt", "b.npy cat\n\na/c.npy  ant\n", [1, 0]),
        ("labels.txt", "a/c.npy\tred ant\nb.npy\tcat\n", [1, 0]),
        ("labels.txt", "b.npy 7\na/c.npy 10", [7, 10]),
        ("labels.csv", "\ufefffile,class\nb.npy,3\na/c.npy, 1\n", [3, 1]),
        ("labels.csv", '"b.npy","cat"\r\n"a/c.npy","ant"\r\n', [1, 0]),
    ],
)
def test_a_labels_file(tmp_path: Path, name: str, text: str, wanted: list[int]) -> None:
    """It says what belongs to the data set, in which order."""
    (tmp_path / "a").mkdir()
    for place in ("b", "a/c", "unnamed"):
        np.save(tmp_path / f"{place}.npy", np.zeros(1))
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert _classes(tmp_path) == wanted
    first = next(iter(load_dataset(tmp_path).items))
    assert isinstance(first, Path)
    assert first.name == ("c.npy" if text.startswith("a/c") else "b.npy")


def test_a_labels_file_with_the_models_classes(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", np.zeros(1))
    (tmp_path / "labels.txt").write_text("b.npy cat\n")
    assert _classes(tmp_path, ("dog", "cat")) == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("b.npy\n", "line 1: 'b.npy' is not"),
        ("cat\ndog\n", "line 2: 'dog' is not"),
        ("b.npy cat\nc.npy dog\n", "line 2: there is no c.npy"),
        ("b.npy dog\nb.npy cow\n", "cow is none of the model's classes"),
        ("\n", "nothing in it"),
        ("\xff", "UTF-8"),
    ],
)
def test_labels_files_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    np.save(tmp_path / "b.npy", np.zeros(1))
    (tmp_path / "labels.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        load_dataset(tmp_path, ("cat", "dog"))


def test_files_beside_folders_are_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    np.save(tmp_path / "b.npy", np.zeros(1))
    with pytest.raises(InputError, match=r"b\.npy stands beside folders, such as cat"):
        load_dataset(tmp_path)


def test_one_picture_is_a_data_set(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(path)
    assert list(load_dataset(path).items) == [path]
    with pytest.raises(InputError, match="no such file"):
        load_dataset(tmp_path / "q.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_of_pixels_are_prepared_as_pictures(tmp_path: Path, channels: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, channels)).astype(np.uint8)
    path = tmp_path / "p.png"
    Image.fromarray(pixels if channels > 1 else pixels[:, :, 0]).save(path)
    edge = replace(FLOAT, shape=(1, 8, 8, channels))
    rule = Preprocessing((100.0,), (0.5,), "crop", 0.9, "BGR" if channels == 3 else "RGB")
    wanted = load_input(edge, rule, path)
    np.testing.assert_array_equal(load_input(edge, rule, pixels), wanted)
    np.testing.assert_array_equal(load_input(edge, rule, pixels[np.newaxis]), wanted)
    np.save(tmp_path / "p.npy", pixels)
    np.testing.assert_array_equal(load_input(edge, rule, tmp_path / "p.npy"), wanted)
    with pytest.raises(InputError, match=r"x\.npy: item 3: dtype uint8"):
        load_input(edge, None, pixels[:8, :8], "x.npy: item 3")
    own = replace(UINT8, shape=(1, 8, 8, channels))  # the input's own type is taken as it is
    np.testing.assert_array_equal(load_input(own, rule, pixels[:8, :8])[0], pixels[:8, :8])


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
