# SPDX-License-Identifier: Apache-2.0
"""Inputs that a .tflite has with channels first: taken row by row, and understood both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrows.blob import read_blob
from narrows.cli import main
from narrows.errors import UnsupportedError
from narrows.importers.tflite import import_tflite
from oracle import Oracle
from single import Net
from subjects import check

SHAPE = (1, 3, 20, 16)


def network(seed: int = 1, *, quantize: bool = False) -> bytes:
    """As converters from PyTorch write one."""
    net = Net(seed)
    x = net.int8(SHAPE, 1 / 255, -128)
    y = net.unary("QUANTIZE", x, 0.03, 5) if quantize else x
    y = net.conv(net.transpose(y, (0, 2, 3, 1)), (3, 3), 8, stride=(2, 2))
    y = net.conv(net.depthwise(y, (3, 3)), (1, 1), 8)
    return net.finish([x], [net.fully_connected(net.mean(y, (1, 2), keep=False), 5)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("first") / "m.tflite"
    path.write_bytes(network())
    assert main(["compile", str(path), "-o", str(path.with_suffix(".nrw"))]) == 0
    return path


@pytest.mark.parametrize("quantize", [False, True])
def test_the_file_s_bytes(quantize: bool) -> None:
    graph = check(network(2, quantize=quantize), np.random.default_rng(1))
    (edge,) = graph.inputs
    assert (edge.shape, edge.channels_first) == ((1, 20, 16, 3), True)
    assert not any(op.kind == "transpose" for op in graph.ops)


def test_of_one_dimension() -> None:
    net = Net(3)
    x = net.int8((1, 6, 40))
    y = net.conv(net.reshape(net.transpose(x, (0, 2, 1)), (1, 40, 1, 6)), (3, 1), 4)
    (edge,) = check(net.finish([x], [y]), net.rng).inputs
    assert (edge.shape, edge.channels_first) == ((1, 40, 6), True)


def test_an_input_that_is_wanted_as_it_is() -> None:
    """It is turned for one reader, and another one has it with channels first."""
    net = Net(4)
    x = net.int8((1, 4, 5, 6))
    y = net.conv(net.transpose(x, (0, 2, 3, 1)), (3, 3), 4)
    model = net.finish([x], [y, net.unary("RELU", x)])
    (port,) = import_tflite(model).inputs
    assert (port.shape, port.channels_first) == ((1, 4, 5, 6), False)
    check(model, net.rng)


def test_a_float_network() -> None:
    net = Net(7)
    x, turned = net.tensor((1, 3, 6, 5), "float32"), net.tensor((1, 6, 5, 3), "float32")
    y = net.tensor((1, 6, 5, 3), "float32")
    net.operator("TRANSPOSE", [x, net.ints([0, 2, 3, 1])], [turned])
    net.operator("RELU", [turned], [y])
    (port,) = import_tflite(net.finish([x], [y])).inputs
    assert (port.shape, port.channels_first) == ((1, 6, 5, 3), True)


def test_a_transpose_that_is_quantized_otherwise_is_refused() -> None:
    """It stays, so that the rule for it sees it."""
    net = Net(6)
    x, y = net.int8((1, 4, 5, 6), 0.1, 3), net.int8((1, 5, 6, 4), 0.2, 3)
    net.operator("TRANSPOSE", [x, net.ints([0, 2, 3, 1])], [y])
    with pytest.raises(UnsupportedError, match="TRANSPOSE"):
        import_tflite(net.finish([x], [net.conv(y, (3, 3), 4)]))


def test_another_order_is_computed() -> None:
    net = Net(5)
    x = net.int8((1, 4, 5, 6))
    model = net.finish([x], [net.conv(net.transpose(x, (0, 3, 1, 2)), (3, 3), 4)])
    (port,) = import_tflite(model).inputs
    assert not port.channels_first
    check(model, net.rng)


def test_arrays_of_either_order_and_pictures(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blob = model.with_suffix(".nrw")
    values = np.random.default_rng(2).integers(-128, 128, SHAPE).astype(np.int8)
    (expected,) = Oracle(model.read_bytes()).run([values])
    np.save(tmp_path / "first.npy", values)
    np.save(tmp_path / "last.npy", values.transpose(0, 2, 3, 1))
    for name in ("first", "last"):
        command = f"run {blob} --input {tmp_path}/{name}.npy --output {tmp_path}/y.npy"
        assert main(command.split()) == 0
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)
    picture = np.random.default_rng(3).integers(0, 256, (20, 16, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "x.png")
    assert main(f"run {blob} --input {tmp_path}/x.png".split()) == 0
    np.save(tmp_path / "x.npy", np.stack([values[0]] * 3))
    capsys.readouterr()
    assert (
        main(f"check {blob} --data {tmp_path}/x.npy --reference tflm --model {model}".split()) == 0
    )
    assert "all equal tflm" in capsys.readouterr().out
    assert main(f"compare {blob} {model} --data {tmp_path}/x.npy".split()) == 0
    assert "equal" in capsys.readouterr().out
    assert main(f"compare {model}@numpy {model} --data {tmp_path}/x.npy".split()) == 0


def test_beside_other_runtimes(model: Path) -> None:
    assert main(f"bench {model} --rounds 1".split()) == 0


def test_a_row_is_all_that_waits(model: Path) -> None:
    """Not three planes."""
    assert read_blob(model.with_suffix(".nrw")).model.arena_bytes < 20 * 16 * 3
