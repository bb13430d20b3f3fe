# SPDX-License-Identifier: Apache-2.0
"""``narrows compare``: equal where the bytes are, and the very layer, pixel and channel where they
are not."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import Narrows
from damage import damaged
from models import missing, network, photo
from narrows.blob import parse_blob
from narrows.compare import Comparison, compare
from narrows.compiler import Compiled, compile_model
from narrows.data import Dataset
from narrows.errors import InputError, NarrowsError
from narrows.exporters.export import export_tflite
from narrows.graph.edges import HostEdge
from narrows.importers import load
from narrows.models import DIGITS_FLOAT, DIGITS_INT8, load_held_out, prepare_digits
from narrows.native import Model, Run
from narrows.native.observe import observe
from narrows.pack import pack
from narrows.quantization import reference
from narrows.quantization.equalize import pairs, scale_channels
from narrows.quantization.pipeline import MIN_MAX, quantize_network
from narrows.result import no_progress
from narrows.sides import Layer, Side, open_side
from narrows.stages.records import HEADER

ITEMS = 4
BOARD = "mps2-an386"


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Held-out digits as the int8 network takes them."""
    held_out = load_held_out()
    return Dataset(list(prepare_digits(held_out.images)[:ITEMS]), held_out.labels[:ITEMS])


@pytest.fixture
def data_file(data: Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "digits.npz"
    np.savez(path, x=np.stack(list(data.items)), y=data.labels)
    return path


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return compile_model(DIGITS_INT8)


@pytest.fixture
def board() -> str:
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            missing(tool)
    return f"qemu:{BOARD}"


def compared(a: object, b: object, data: Dataset, only: str | None = None) -> Comparison:
    with contextlib.ExitStack() as resources:
        sides = [open_side(str(spec), resources, no_progress) for spec in (a, b)]
        return compare(*sides, data, ITEMS, no_progress, only)


# --- Bytes --------------------------------------------------------------------------------------


def test_host_and_tflite_micro_are_equal(digits_blob: Path, data: Dataset) -> None:
    found = compared(DIGITS_INT8, digits_blob, data)
    assert found.exact
    assert found.parted is None
    assert found.items == ITEMS
    assert found.only_b == ()
    # Within a bottleneck nothing stands in memory; everything else has been compared, whole.
    assert {"input", "block0/project", "logits", "probabilities"} <= {
        layer.layer.name for layer in found.layers
    }
    assert "block1/expand" in found.only_a
    assert all(d.elements == ITEMS * np.prod(d.layer.shape) for d in found.layers)
    assert found.right is not None
    assert found.right[0] == found.right[1] >= ITEMS - 1


def test_the_integer_model_has_every_layer_of_tflite_micro(data: Dataset) -> None:
    found = compared(DIGITS_INT8, f"{DIGITS_INT8}@numpy", data)
    assert found.parted is None
    assert (found.only_a, found.only_b) == ((), ())
    assert len(found.layers) == 26


@pytest.mark.parametrize("layer", ["block0/project", "block3/project", "logits"])
def test_one_damaged_weight_is_found_at_its_layer(
    compiled: Compiled, data: Dataset, tmp_path: Path, layer: str
) -> None:
    graph = damaged(compiled, layer)
    blob = pack(graph, compiled.plan, {})
    good = pack(compiled.qgraph, compiled.plan, {})
    # Behind the header with its checksums: a byte, and a bias that has the zero point folded in.
    assert 1 <= sum(a != b for a, b in list(zip(good, blob, strict=True))[HEADER.size :]) <= 5
    path = tmp_path / "damaged.nrw"
    path.write_bytes(blob)
    found = compared(DIGITS_INT8, path, data)
    parted = found.parted
    assert parted is not None
    assert parted.first is not None
    assert parted.layer.name == layer

    # What is said of it, from the integer model.
    item, (y, x, c) = parted.first.item, parted.first.position
    number = next(i for i, t in enumerate(graph.tensors) if t.name == layer)
    inputs = [values.reshape(1, 32, 32, 1)[0] for values in data.items]
    right = [reference.run_all(compiled.qgraph, [values])[number] for values in inputs]
    wrong = [reference.run_all(graph, [values])[number] for values in inputs]
    apart = [np.argwhere(r != w) for r, w in zip(right, wrong, strict=True)]
    assert item == next(i for i, places in enumerate(apart) if len(places))
    assert (y, x, c) == tuple(apart[item][0])
    assert c == 1
    assert (parted.first.a, parted.first.b) == (right[item][y, x, c], wrong[item][y, x, c])
    assert parted.differing == sum(map(len, apart))
    steps = [np.abs(r.astype(int) - w).max() for r, w in zip(right, wrong, strict=True)]
    assert parted.most == max(steps)


def test_boards_show_their_inner_tensors(board: str, digits_blob: Path, data: Dataset) -> None:
    found = compared(digits_blob, f"{digits_blob}@{board}", data)
    assert found.parted is None
    assert (found.only_a, found.only_b) == ((), ())
    assert all(d.elements == ITEMS * np.prod(d.layer.shape) for d in found.layers)
    found = compared(f"{digits_blob}@{board}", digits_blob, data, "block3/project")
    assert [layer.layer.name for layer in found.layers] == ["block3/project"]
    assert found.layers[0].elements == ITEMS * 4 * 4 * 24
    assert found.parted is None


def test_a_damaged_blob_on_a_board_is_found(
    board: str, compiled: Compiled, data: Dataset, tmp_path: Path
) -> None:
    graph = damaged(compiled, "block3/project")
    path = tmp_path / "damaged.nrw"
    path.write_bytes(pack(graph, compiled.plan, {}))
    found = compared(f"{path}@{board}", DIGITS_INT8, data)
    assert found.parted is not None
    assert found.parted.layer.name == "block3/project"


@pytest.mark.parametrize("name", ["mobilenet_v2_1.0_224_ptq", "mlperf_kws_int8"])
def test_networks_with_other_edges(name: str, tmp_path: Path) -> None:
    """uint8 pixels and 49 x 10 features: what runs on the host is TFLite Micro, inside as well."""
    path = network(name)
    if name.startswith("mobilenet"):
        items: Dataset = Dataset([photo("cat.bmp")], None)
    else:
        rng = np.random.default_rng(1)
        items = Dataset([rng.integers(-128, 128, (49, 10, 1)).astype(np.int8)], None)
    found = compared(path, f"{path}@host", items)
    assert found.parted is None
    assert len(found.layers) >= 8
    names = {layer.layer.name for layer in found.layers}
    turned = compared(f"{path}@host", path, items)
    assert {layer.layer.name for layer in turned.layers} == names


def test_every_element_is_seen_once(digits_blob: Path, data: Dataset) -> None:
    """Nothing of the default plan is gone before it is seen; outputs are those of ``infer``."""
    blob = parse_blob(digits_blob.read_bytes())
    values = np.asarray(next(iter(data.items))).reshape(32, 32, 1)
    run = Run(blob.model)
    dump = observe(run, [values])
    assert all(tensor.count() == tensor.size for tensor in dump.values)
    assert dump.reached == [info.bytes for info in blob.model.tensors]
    (output,) = run.infer([values])
    assert np.array_equal(dump.values[-1], output)
    with pytest.raises(InputError):
        observe(run, [])
    with pytest.raises(InputError):
        observe(run, [values[1:]])


# --- Real values --------------------------------------------------------------------------------


def test_float_against_int8(data: Dataset) -> None:
    found = compared(DIGITS_FLOAT, DIGITS_INT8, data)
    assert not found.exact
    assert found.parted is None
    values = {d.layer.name: d.best for d in found.layers}
    assert len(values) == 26
    assert values["input"] == 99  # the data are the network's own int8
    assert all(v is not None and 20 < v < 60 for n, v in values.items() if n != "input")
    worst = found.worst
    assert worst is not None
    assert worst.drop == max(d.drop for d in found.layers if d.drop is not None)
    assert found.right is not None
    assert min(found.right) >= ITEMS - 1


def test_float_data_and_a_blob_on_the_float_side(digits_blob: Path, data: Dataset) -> None:
    """Floats are not rounded for the float model; a blob knows its scales."""
    held_out = load_held_out()
    pictures = held_out.images[:ITEMS].astype(np.float32) / held_out.images.max()
    real = np.kron(pictures.reshape(ITEMS, *held_out.images.shape[1:]), np.ones((1, 4, 4)))
    items = Dataset([v.astype(np.float32).reshape(32, 32, 1) for v in real], None)
    found = compared(DIGITS_FLOAT, digits_blob, items)
    values = {d.layer.name: d.best for d in found.layers}
    assert values["input"] is not None
    assert 30 < values["input"] < 99
    assert values["block0/project"] is not None
    assert values["block0/project"] > 20
    both = compared(DIGITS_FLOAT, f"{DIGITS_FLOAT}@tflm", items)
    assert all(d.decibels is not None and d.decibels > 90 for d in both.layers)
    assert len(both.layers) == 26


def test_a_layer_that_is_broken_has_the_largest_drop(
    compiled: Compiled, data: Dataset, tmp_path: Path
) -> None:
    graph = damaged(compiled, "block3/project", weights=96)
    path = tmp_path / "damaged.nrw"
    path.write_bytes(pack(graph, compiled.plan, {}))
    found = compared(DIGITS_FLOAT, path, data)
    assert found.worst is not None
    assert found.worst.layer.name == "block3/project"


def test_equalized_channels_are_no_noise(data: Dataset, tmp_path: Path) -> None:
    graph = load(DIGITS_FLOAT)
    (pair,) = (p for p in pairs(graph) if graph.tensors[p.tensor].name == "block0/project")
    path = tmp_path / "equalized.tflite"
    path.write_bytes(export_tflite(scale_channels(graph, pair, np.geomspace(0.2, 5, 8))))
    floats = [np.asarray(v, np.float32) / 255 for v in data.items]
    found = compared(DIGITS_FLOAT, path, Dataset(floats, None))
    for layer in found.layers:
        assert layer.decibels is not None
        if layer.layer.name == "block0/project":
            assert layer.decibels < 10
            assert layer.rescaled is not None
            assert layer.rescaled > 80
        else:
            assert layer.rescaled is None
            assert layer.decibels > 80


def by_hand(values: np.ndarray, **changes: object) -> Side:
    """A side whose only layer has these values."""
    height, width, channels = values.shape
    edge = HostEdge("x", "float32", values.shape, 0.0, 0, 0.0, 0)
    layer = Layer("x", "input", (height, width, channels), True)
    side = Side(
        "by hand", True, (layer,), (0,), (0,), (edge,), None, (), lambda item, only: [values]
    )
    return replace(side, **changes)  # type: ignore[arg-type]


def test_decibels_by_their_definition() -> None:
    rng = np.random.default_rng(5)
    signal, noise = rng.normal(size=(6, 5, 4)), 0.01 * rng.normal(size=(6, 5, 4))
    items = Dataset([signal.astype(np.float32)], None)
    expected = 10 * np.log10(np.square(signal).sum() / np.square(noise).sum())

    def layer(b: np.ndarray) -> tuple[float | None, float | None]:
        (found,) = compare(by_hand(signal), by_hand(b), items, 1, no_progress).layers
        return found.decibels, found.rescaled

    assert layer(signal + noise) == (pytest.approx(expected), None)
    # Equalized channels: the noise is what is left when each channel's scale is taken back.
    gain = np.array([0.25, 1.0, 3.0, 10.0])
    plain, rescaled = layer((signal + noise) * gain)
    assert plain is not None
    assert plain < 0
    assert rescaled == pytest.approx(expected, abs=0.5)
    # What is not there on either side is left out.
    hole = np.zeros(signal.shape, bool)
    hole[2:4] = True
    bad = np.ma.MaskedArray(np.where(hole, 1e9, signal), mask=hole)
    assert layer(bad) == (99, None)


# --- The command line ---------------------------------------------------------------------------


def test_the_command_says_where(
    narrows: Narrows, compiled: Compiled, data_file: Path, tmp_path: Path
) -> None:
    graph = damaged(compiled, "block3/project")
    path, report = tmp_path / "damaged.nrw", tmp_path / "report.json"
    path.write_bytes(pack(graph, compiled.plan, {}))
    saved = tmp_path / "layers.npz"
    options = ("--data", data_file, "--json", report, "--save", saved)
    done = narrows("compare", DIGITS_INT8, path, *options)
    assert done.returncode == 1
    assert done.stderr == ""
    first = json.loads(report.read_text())["first"]
    y, x, channel = first["position"]
    a, b = first["values"]
    assert (
        f"they part in block3/project (conv_2d): input {first['item']}, y {y}, x {x}, "
        f"channel {channel}: {a} in A, {b} in B"
    ) in done.stdout
    (marked,) = (line for line in done.stdout.splitlines() if line.startswith("->"))
    assert marked.split()[1] == "block3/project"
    assert f"{first['differing']} of its" in done.stdout
    with np.load(saved) as layers:
        place = (0, y, x, channel)
        assert layers["a/block3/project"].reshape(1, 4, 4, 24)[place] == a
        assert layers["b/block3/project"].reshape(1, 4, 4, 24)[place] == b
        assert np.array_equal(
            layers["a/block0/project"].ravel(), layers["b/block0/project"].ravel()
        )
        assert len(layers.files) == 2 * len(Model(path.read_bytes()).tensors)


def test_two_quantizations_are_told_apart(
    narrows: Narrows, data: Dataset, data_file: Path, tmp_path: Path
) -> None:
    samples = [[np.asarray(values, np.float32) / 255 + 0.5] for values in data.items]
    made = quantize_network(load(DIGITS_FLOAT), lambda: samples, MIN_MAX)
    path = tmp_path / "other.tflite"
    path.write_bytes(export_tflite(made.graph))
    done = narrows("compare", DIGITS_INT8, path, "--data", data_file)
    assert done.returncode == 1, done.stderr
    assert re.search(
        r"^quantized with scale [\d.e-]+ and zero point -?\d+ in A, scale .* in B$",
        done.stdout,
        re.MULTILINE,
    )


def test_the_command_finds_nothing(narrows: Narrows, digits_blob: Path, data_file: Path) -> None:
    options = ("--data", data_file, "--count", "2", "--json", "-")
    done = narrows("compare", DIGITS_INT8, digits_blob, *options)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["equal"] is True
    assert report["items"] == 2
    assert report["compared"] == "bytes"
    assert "first" not in report
    done = narrows("compare", DIGITS_INT8, digits_blob, *options[:-2])
    tensors = Model(digits_blob.read_bytes()).tensors
    elements = 2 * sum(tensor.bytes for tensor in tensors)
    assert f"all equal: {elements:,} elements of {len(tensors)} layers, 2 inputs" in done.stdout


def test_the_table_of_a_float_model(narrows: Narrows, data_file: Path) -> None:
    done = narrows("compare", DIGITS_FLOAT, DIGITS_INT8, "--data", data_file)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    (marked,) = (line for line in lines if line.startswith("->"))
    assert f"is in {marked.split()[1]}; 4 inputs" in done.stdout
    names = [line[2:].split()[0] for line in lines if "x" in line and line[:2] in ("  ", "->")]
    assert names[:3] == ["input", "stem", "block0/depthwise"]
    assert names[-1] == "probabilities"


def test_what_users_do_wrong(
    narrows: Narrows, digits_blob: Path, data_file: Path, tmp_path: Path
) -> None:
    def refused(*arguments: object, code: int, words: str) -> None:
        done = narrows("compare", *arguments)
        assert done.returncode == code, done.stderr
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("narrows: error: ")
        assert words in line

    wrong = tmp_path / "wrong.npy"
    np.save(wrong, np.zeros((2, 7, 7, 1), np.int8))
    other = tmp_path / "other.nrw"
    other.write_bytes(b"NRWB" + bytes(60))
    usage: list[tuple[object, object, str]] = [
        (f"{digits_blob}@moon", digits_blob, "no place 'moon'; give host, qemu:BOARD"),
        (
            f"{digits_blob}@tflm",
            digits_blob,
            "a blob runs at host, qemu:BOARD, rp2040js:BOARD, serial:PORT or labgrid",
        ),
        (f"{DIGITS_FLOAT}@host", digits_blob, "runs at numpy or tflm; quantize it for host"),
    ]
    for a, b, words in usage:
        refused(a, b, "--data", data_file, code=2, words=words)
    same = (digits_blob, digits_blob, "--data")
    refused(*same, data_file, "--count", "0", code=2, words="--count 0: give 1 or more")
    refused(*same, data_file, "--layer", "none", code=2, words="no layer none in common")
    refused(*same, wrong, code=1, words="but input input is (1, 32, 32, 1)")
    refused(*same, tmp_path / "none.npz", code=1, words="no such file")
    refused(
        digits_blob, tmp_path / "no.nrw", "--data", wrong, code=1, words="cannot read the model"
    )
    refused(digits_blob, other, "--data", data_file, code=1, words="other.nrw")
    refused(digits_blob, f"{digits_blob}@qemu:none", "--data", wrong, code=1, words="board 'none'")
    refused(
        digits_blob,
        f"{digits_blob}@serial:/dev/nowhere",
        "--data",
        wrong,
        code=1,
        words="/dev/nowhere",
    )


def test_networks_that_have_nothing_in_common(digits_blob: Path, data: Dataset) -> None:
    other = network("mlperf_kws_int8")
    with pytest.raises(NarrowsError, match="have no layer in common"):
        compared(digits_blob, f"{other}@host", data)
