# SPDX-License-Identifier: Apache-2.0
"""``narrows quantize`` from end to end: ONNX, scales that are dropped, and what is hard."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper

from models import case
from narrows.blob import read_blob
from narrows.cli import main
from narrows.exporters.export import export_tflite
from narrows.graph.edges import dequantize, to_external, to_internal
from narrows.graph.graph import Activation, Graph
from narrows.importers import load
from narrows.quantization.float_model import FloatModel
from narrows.quantization.lower import lower
from narrows.zoo.builder import NONE, RELU6, Builder
from oracle import Oracle
from test_onnx import Net, Qdq, qdq_network

Array = npt.NDArray[Any]
SHAPE = (7, 6, 4)  # of the inputs here, as they are stored


def save_inputs(path: Path, count: int = 8, seed: int = 1, scale: float = 1.0) -> Path:
    rng = np.random.default_rng(seed)
    np.save(path, (scale * rng.normal(0, 1, (count, *SHAPE))).astype(np.float32))
    return path


def quantized_equals_tflm(model: Path, *options: str, inputs: Sequence[Path] = ()) -> None:
    """quantize, compile; then what the host gives is what TFLite Micro gives for the .tflite."""
    folder = model.parent
    made, blob, got = (folder / name for name in ("q.tflite", "q.nrw", "y.npy"))
    data = save_inputs(folder / "x.npy")
    assert main(["quantize", str(model), "--data", str(data), "-o", str(made), *options]) == 0
    assert main(["compile", str(made), "-o", str(blob)]) == 0
    unseen = save_inputs(folder / "unseen.npy", seed=2, scale=3.0)
    for path in (data, unseen, *inputs):
        check = f"check {blob} --data {path} --reference tflm --model {made}"
        assert main(check.split()) == 0, path
    one = folder / "one.npy"
    np.save(one, np.load(unseen)[0])
    assert main(["run", str(blob), "--input", str(one), "--output", str(got)]) == 0
    (edge,) = read_blob(blob).inputs
    steps = np.rint(np.load(one) / np.float32(edge.scale)) + edge.zero_point
    x = np.clip(steps, -128, 127).astype(np.int8).reshape(edge.shape)
    np.testing.assert_array_equal(np.load(got), Oracle(made.read_bytes()).run([x])[0])


def float_onnx() -> bytes:
    net = Net()
    x = net.add("Relu", net.conv("x", 8, 4, 3, 3, pads=[1, 1, 1, 1]))
    y = net.conv(x, 8, 1, 3, 3, group=8, pads=[1, 1, 1, 1])
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Add", x, y)))
    return net.model(net.add("Softmax", net.add("Gemm", x, net.normal(8, 5))))


def clipped_onnx() -> bytes:
    """Bounds that TFLite's activations do not have."""
    net = Net()
    x = net.conv("x", 8, 4, 3, 3, pads=[1, 1, 1, 1])
    x = net.add("Clip", x, net.constant(0.0), net.constant(1.0))
    x = net.add("Clip", net.conv(x, 8, 8, 1, 1), net.constant(-0.5), net.constant(2.0))
    x = net.add("Clip", net.conv(x, 8, 1, 3, 3, group=8), "", net.constant(0.5))
    return net.model(net.add("Max", x, net.constant(-0.25)))


def test_clips_to_any_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "float.onnx"
    model.write_bytes(clipped_onnx())
    quantized_equals_tflm(model)
    (line,) = (x for x in capsys.readouterr().out.splitlines() if "dB at the output" in x)
    assert float(line.split("; ")[1].split()[0]) > 30
    graph = load(tmp_path / "q.tflite")
    (port,) = graph.outputs
    q = graph.tensors[port.tensor].quantization
    assert q is not None
    least, most = (float(q.scale) * (n - q.zero_point) for n in (-128, 127))
    np.testing.assert_allclose((least, most), (-0.25, 0.5), atol=0.02)


def qdq_onnx(*, keeps_the_rules: bool) -> bytes:
    net = Qdq()
    y = qdq_network(net)
    if not keeps_the_rules:  # TFLite's probabilities have a scale of 1/256
        y = net.around(net.add("Sigmoid", y), 0.01, -128)
    return net.model(y, opset=19)


def test_onnx_from_floats_to_the_host(tmp_path: Path) -> None:
    model = tmp_path / "float.onnx"
    model.write_bytes(float_onnx())
    quantized_equals_tflm(model)


def test_scales_that_do_not_fit_are_chosen_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "qdq.onnx"
    model.write_bytes(qdq_onnx(keeps_the_rules=False))
    data = save_inputs(tmp_path / "x.npy")
    for command in (
        f"compile {model} -o {tmp_path}/b.nrw",
        f"quantize {model} --data {data} -o {tmp_path}/b.tflite",
    ):
        assert main(command.split()) == 1
        error = capsys.readouterr().err
        assert "TFLite prescribes" in error
        assert "'narrows quantize --requantize' chooses new scales" in error
    assert not list(tmp_path.glob("b.*"))
    quantized_equals_tflm(model, "--requantize")


def test_scales_that_fit_are_dropped_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "qdq.onnx"
    model.write_bytes(qdq_onnx(keeps_the_rules=True))
    data = save_inputs(tmp_path / "x.npy")
    command = f"quantize {model} --data {data} -o {tmp_path}/b.tflite"
    assert main(command.split()) == 1
    assert "--requantize" in capsys.readouterr().err
    quantized_equals_tflm(model, "--requantize")


def test_calibration_data_larger_than_the_memory_that_it_takes(tmp_path: Path) -> None:
    net = Builder("net", (64, 64, 3), seed=1)
    graph = net.finish([net.dense(net.mean(net.conv(0, 4, 3, 2, name="a"), name="b"), 4, name="c")])
    model, data, made = (tmp_path / n for n in ("f.tflite", "x.npz", "q.tflite"))
    model.write_bytes(export_tflite(graph))
    whole, most, item = 48 << 20, 16 << 20, 64 * 64 * 3 * 4
    picture = np.random.default_rng(1).normal(0, 1, (64, 64, 3)).astype(np.float32)
    np.savez_compressed(data, x=np.broadcast_to(picture, (whole // item, 64, 64, 3)))
    tracemalloc.start()
    try:
        assert main(f"quantize {model} --data {data} -o {made} --method minmax".split()) == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak} bytes for a data set of {whole}"


# --- What is hard ------------------------------------------------------------------------------


def network(activation: Activation = RELU6) -> Graph:
    net = Builder("net", SHAPE, seed=1)
    x = net.conv(0, 8, 3, 1, activation, name="first")
    x = net.conv(net.depthwise(x, 3, 1, name="depthwise"), 8, activation=NONE, name="second")
    return net.finish([net.dense(net.mean(x, name="mean"), 4, name="dense")])


def changed(graph: Graph, name: str, change: Callable[[Array], None]) -> Graph:
    """The graph with a constant changed in a copy."""
    (index,) = (i for i, t in enumerate(graph.tensors) if t.name == name)
    tensors = list(graph.tensors)
    data = tensors[index].data
    assert data is not None
    data = data.copy()
    change(data)
    tensors[index] = replace(tensors[index], data=data)
    return replace(graph, tensors=tuple(tensors))


def dead(graph: Graph) -> Graph:
    graph = changed(graph, "first/weights", lambda w: w[:2].fill(0))
    return changed(graph, "second/weights", lambda w: w[3].fill(0))


def constant(graph: Graph) -> Graph:
    """Channels of one value each: no weights, only biases, one of them beyond ReLU6's cut."""
    graph = changed(graph, "first/weights", lambda w: w[:3].fill(0))
    return changed(graph, "first/bias", lambda b: b.__setitem__(slice(3), (2.5, 9.0, -1.0)))


def huge(graph: Graph) -> Graph:
    factors = np.geomspace(1e-12, 1e12, 8, dtype=np.float32)
    return changed(graph, "second/weights", lambda w: w.__imul__(factors.reshape(-1, 1, 1, 1)))


@pytest.mark.parametrize("make", [dead, constant, huge])
@pytest.mark.parametrize("weights", ["channel", "tensor"])
def test_hard_channels(tmp_path: Path, make: Callable[[Graph], Graph], weights: str) -> None:
    model = tmp_path / "hard.tflite"
    model.write_bytes(export_tflite(make(network())))
    far = save_inputs(tmp_path / "far.npy", seed=3, scale=1e30)
    quantized_equals_tflm(model, "--weights", weights, inputs=[far])


def test_calibration_of_zeros(tmp_path: Path) -> None:
    model, made, blob = (tmp_path / n for n in ("f.tflite", "q.tflite", "q.nrw"))
    model.write_bytes(export_tflite(network()))
    data = save_inputs(tmp_path / "x.npy", scale=0.0)
    assert main(f"quantize {model} --data {data} -o {made}".split()) == 0
    assert main(f"compile {made} -o {blob}".split()) == 0
    unseen = save_inputs(tmp_path / "unseen.npy", seed=2)
    assert main(f"check {blob} --data {unseen} --reference tflm --model {made}".split()) == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e-40, 1e20, 1e37])
@pytest.mark.parametrize("activation", [NONE, RELU6])
def test_calibration_of_any_magnitude(tmp_path: Path, scale: float, activation: Activation) -> None:
    """Squares of such values are no float32; scales of so far apart tensors hardly multiply."""
    model, made, blob = (tmp_path / n for n in ("f.tflite", "q.tflite", "q.nrw"))
    model.write_bytes(export_tflite(network(activation)))
    data = save_inputs(tmp_path / "x.npy", scale=scale)
    assert main(f"quantize {model} --data {data} -o {made}".split()) == 0
    assert main(f"compile {made} -o {blob}".split()) == 0
    assert main(f"check {blob} --data {data} --reference tflm --model {made}".split()) == 0


def _nan(array: Array) -> None:
    array.flat[0] = np.nan


def _infinite(array: Array) -> None:
    array.flat[-1] = np.inf


@pytest.mark.parametrize("value", [_nan, _infinite])
def test_numbers_that_are_not_finite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: Callable[[Array], None]
) -> None:
    good, bad = tmp_path / "good.tflite", tmp_path / "bad.tflite"
    good.write_bytes(export_tflite(network()))
    bad.write_bytes(export_tflite(changed(network(), "second/weights", value)))
    data = save_inputs(tmp_path / "x.npy")
    samples = np.load(data)
    value(samples)
    np.save(tmp_path / "bad.npy", samples)
    made = tmp_path / "q.tflite"
    for model, calibration, message in (
        (bad, data, "second/weights holds NaN or infinite values"),
        (good, tmp_path / "bad.npy", "values that are not finite"),
    ):
        assert main(f"quantize {model} --data {calibration} -o {made}".split()) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert not made.exists()


@pytest.mark.parametrize(
    ("shape", "message"), [((0, *SHAPE), "nothing in it"), ((3, 4, 6, 7), "is (1, 4, 7, 6)")]
)
def test_calibration_that_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: tuple[int, ...], message: str
) -> None:
    model, data = tmp_path / "float.onnx", tmp_path / "x.npy"
    model.write_bytes(float_onnx())
    np.save(data, np.zeros(shape, np.float32))
    assert main(f"quantize {model} --data {data} -o {tmp_path}/q.tflite".split()) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# --- What the data may be ----------------------------------------------------------------------


def saved(path: Path, model: bytes) -> Path:
    path.write_bytes(model)
    return path


def quantize_bytes(model: Path, data: Path, *options: str) -> bytes:
    made = model.parent / "made.tflite"
    made.unlink(missing_ok=True)
    assert main(["quantize", str(model), "--data", str(data), "-o", str(made), *options]) == 0
    return made.read_bytes()


def test_arrays_may_have_the_layout_of_the_file(tmp_path: Path) -> None:
    """Channels first as in the .onnx, with or without a batch, or last."""
    model = saved(tmp_path / "float.onnx", float_onnx())
    last = np.load(save_inputs(tmp_path / "last.npy"))
    first = np.ascontiguousarray(last.transpose(0, 3, 1, 2))
    np.save(tmp_path / "first.npy", first)
    np.save(tmp_path / "batches.npy", first[:, np.newaxis])
    made = [quantize_bytes(model, tmp_path / f"{n}.npy") for n in ("last", "first", "batches")]
    assert made[0] == made[1] == made[2]


def test_an_array_that_fits_both_layouts_has_that_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Net((1, 4, 4, 4))
    model = saved(tmp_path / "cube.onnx", net.model(net.conv("x", 5, 4, 3, 3)))
    first = np.random.default_rng(1).normal(0, 1, (8, 4, 4, 4)).astype(np.float32)
    first *= np.array([1, 2, 3, 4], np.float32).reshape(4, 1, 1)
    np.save(tmp_path / "first.npy", first)
    made = saved(tmp_path / "q.tflite", quantize_bytes(model, tmp_path / "first.npy"))
    capsys.readouterr()
    # compare takes an array alike for both, so the two agree; and the figure is the report's.
    command = f"compare {model} {made}@numpy --data {tmp_path}/first.npy --json -"
    assert main(command.split()) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert all(layer["decibels"] > 30 for layer in layers)


def test_what_was_made_from_onnx_takes_arrays_with_channels_first(tmp_path: Path) -> None:
    model = saved(tmp_path / "float.onnx", float_onnx())
    last = np.load(save_inputs(tmp_path / "last.npy"))
    made = saved(tmp_path / "q.tflite", quantize_bytes(model, tmp_path / "last.npy"))
    blob = tmp_path / "q.nrw"
    assert main(f"compile {made} -o {blob}".split()) == 0
    outputs = []
    for name, x in (("last", last[0]), ("first", last[0].transpose(2, 0, 1))):
        np.save(tmp_path / "one.npy", np.ascontiguousarray(x))
        got = tmp_path / f"{name}_y.npy"
        command = f"run {blob} --input {tmp_path}/one.npy --output {got}"
        assert main(command.split()) == 0
        outputs.append(np.load(got))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize(
    "y",
    [np.zeros((8, 5)), np.zeros(3, np.int64), np.array(["a"] * 8), np.zeros(8, np.float32)],
    ids=["scores", "too few", "text", "floats"],
)
def test_what_y_is_does_not_matter(tmp_path: Path, y: Array) -> None:
    model = saved(tmp_path / "float.onnx", float_onnx())
    x = np.load(save_inputs(tmp_path / "x.npy"))
    np.savez(tmp_path / "xy.npz", x=x, y=y)
    made = quantize_bytes(model, tmp_path / "xy.npz")
    assert made == quantize_bytes(model, tmp_path / "x.npy")


def two_inputs_onnx() -> bytes:
    net = Net()
    side = helper.make_tensor_value_info("side", TensorProto.FLOAT, (1, 3))
    y = net.add("Flatten", net.add("GlobalAveragePool", net.conv("x", 8, 4, 3, 3)))
    z = net.add("Gemm", "side", net.normal(3, 8), net.normal(8))
    model = onnx.load_from_string(net.model(net.add("Relu", net.add("Add", y, z))))
    model.graph.input.append(side)
    return bytes(model.SerializeToString())


def test_two_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = saved(tmp_path / "two.onnx", two_inputs_onnx())
    rng = np.random.default_rng(1)
    x, side = np.load(save_inputs(tmp_path / "x.npy")), rng.normal(0, 2, (8, 3)).astype(np.float32)
    np.savez(tmp_path / "named.npz", side=side, x=x, y=np.zeros(2))
    np.savez(tmp_path / "ordered.npz", x, side)
    named = quantize_bytes(model, tmp_path / "named.npz")
    assert float(capsys.readouterr().out.split("; ")[1].split()[0]) > 30
    assert named == quantize_bytes(model, tmp_path / "ordered.npz")
    assert len(load(saved(tmp_path / "two.tflite", named)).inputs) == 2
    assert main(f"compile {tmp_path}/two.tflite -o {tmp_path}/two.nrw".split()) == 0
    graph = load(model)
    sample = [x[0], side[:1]]
    wanted = FloatModel(graph).run(sample)[0]
    qgraph = lower(load(tmp_path / "two.tflite"))
    edges = [(e, qgraph.tensors[e.tensor]) for e in qgraph.inputs]
    ints = [
        to_external(edge, tensor, to_internal(edge, tensor, a))
        for (edge, tensor), a in zip(edges, sample, strict=True)
    ]
    (got,) = Oracle(named).run(ints)
    edge = qgraph.outputs[0]
    np.testing.assert_allclose(dequantize(got, edge.scale, edge.zero_point), wanted, atol=0.2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": (8, *SHAPE)}, "inputs x, side; give an .npz file with an array for each"),
        ({"x": (8, *SHAPE), "side": (7, 3)}, "8 of x, 7 of side"),
        ({"x": (8, *SHAPE), "side": (8, 4)}, "but input side is (1, 3)"),
        ({"a": (8, *SHAPE), "b": (8, 3), "c": (8, 3)}, "by these names"),
        ({"x": (0, *SHAPE), "side": (0, 3)}, "nothing in it"),
    ],
)
def test_two_inputs_whose_data_does_not_fit(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arrays: dict[str, tuple[int, ...]],
    message: str,
) -> None:
    model = saved(tmp_path / "two.onnx", two_inputs_onnx())
    np.savez(tmp_path / "x.npz", **{n: np.zeros(s, np.float32) for n, s in arrays.items()})
    assert main(f"quantize {model} --data {tmp_path}/x.npz -o {tmp_path}/q.tflite".split()) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_two_inputs_of_a_tflite(tmp_path: Path) -> None:
    model = saved(tmp_path / "multi.tflite", case("multi.float.tflite").read_bytes())
    graph = load(model)
    rng = np.random.default_rng(1)
    shapes = {port.name: (8, *port.shape[1:]) for port in graph.inputs}
    arrays = {name: rng.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "x.npz", **arrays)
    assert (
        len(load(saved(tmp_path / "q.tflite", quantize_bytes(model, tmp_path / "x.npz"))).inputs)
        == 2
    )
    assert main(f"compile {tmp_path}/q.tflite -o {tmp_path}/q.nrw".split()) == 0


# --- Inputs that are outputs -------------------------------------------------------------------


def edge_case(name: str) -> bytes:
    net = Net()
    y = (
        net.add("Relu", net.conv("x", 4, 4, 1, 1))
        if name != "identity"
        else net.add("Identity", "x")
    )
    outputs = {
        "identity": [y],
        "input": ["x"],
        "input and more": ["x", y],
        "twice": [y, y],
        "two names": [y, net.add("Identity", y)],
        "transposed": [net.add("Transpose", "x", perm=[0, 2, 3, 1])],
    }[name]
    return net.model(*outputs)


@pytest.mark.parametrize("edges", ["int8", "uint8", "float32"])
@pytest.mark.parametrize(
    "name", ["identity", "input", "input and more", "twice", "two names", "transposed"]
)
def test_outputs_that_no_operator_computes(tmp_path: Path, name: str, edges: str) -> None:
    model = saved(tmp_path / "edge.onnx", edge_case(name))
    data = save_inputs(tmp_path / "x.npy")
    compiled_equals_tflm(model, data, "--edges", edges)


def compiled_equals_tflm(model: Path, data: Path, *options: str) -> None:
    """Whatever the network's inputs, outputs and edges are."""
    made = saved(model.parent / "q.tflite", quantize_bytes(model, data, *options))
    blob = model.parent / "q.nrw"
    assert main(f"compile {made} -o {blob}".split()) == 0
    assert main(f"check {blob} --data {data} --reference tflm --model {made}".split()) == 0


def test_an_output_that_is_an_input(tmp_path: Path) -> None:
    model = saved(tmp_path / "edge.onnx", case("output_is_input.onnx").read_bytes())
    (port,) = load(model).inputs
    samples = np.random.default_rng(1).normal(0, 1, (8, *port.shape[1:])).astype(np.float32)
    np.save(tmp_path / "x.npy", samples)
    compiled_equals_tflm(model, tmp_path / "x.npy")


def test_an_output_that_is_a_constant_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = Net()
    y = net.add("Relu", "x")
    model = saved(tmp_path / "edge.onnx", net.model(y, net.normal(1, 4)))
    data = save_inputs(tmp_path / "x.npy")
    assert main(f"quantize {model} --data {data} -o {tmp_path}/q.tflite".split()) == 1
    assert "it does not depend on an input" in capsys.readouterr().err


def test_an_input_that_nothing_reads(tmp_path: Path) -> None:
    net = Net()
    model = onnx.load_from_string(net.model(net.add("Relu", "x")))
    model.graph.input.append(helper.make_tensor_value_info("unused", TensorProto.FLOAT, (1, 3)))
    path = saved(tmp_path / "edge.onnx", bytes(model.SerializeToString()))
    x = np.load(save_inputs(tmp_path / "x.npy"))
    np.savez(tmp_path / "x.npz", x=x, unused=np.ones((8, 3), np.float32))
    made = saved(tmp_path / "q.tflite", quantize_bytes(path, tmp_path / "x.npz"))
    assert main(f"compile {made} -o {tmp_path}/q.nrw".split()) == 0
