# SPDX-License-Identifier: Apache-2.0
"""Networks of overlapping windows as streams: the window's answers, from what is new alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import network
from narrows.blob import parse_blob
from narrows.cli import main
from narrows.compiler import Compiled, CompileOptions, compile_model
from narrows.data import load_sequence
from narrows.errors import BlobError, InputError, PlanError
from narrows.graph.moves import Slice
from narrows.graph.qgraph import Axis, Elementwise, Int8Array, QGraph, QVariable, macs
from narrows.native import Model, Run
from narrows.pack import pack
from narrows.planning.planner import plan
from narrows.quantization import reference
from narrows.quantization.arrangements import arrangements
from narrows.quantization.streaming import Streaming, streaming
from narrows.reference import Tflm
from oracle import Oracle
from random_graphs import GraphBuilder, seeds
from single import SAME, VALID, Net
from streams import features, wake_word

HOPS = 3
"""Windows that are compared, after the first."""


# --- Any network ---------------------------------------------------------------------------------


def network_over_time(seed: int) -> tuple[QGraph, int]:
    """A random network that pads nothing along the height, and the product of its strides."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder(rng)
    x = build.input(int(rng.integers(30, 60)), int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    strides, outputs = 1, []
    for _ in range(int(rng.integers(3, 8))):
        height, _, channels = build.shape(x)
        kernel, stride, dilation = (int(n) for n in rng.integers(1, 4, 3))
        stride = stride if rng.integers(3) == 0 and strides * stride <= 6 else 1
        if height < (kernel - 1) * dilation + 1 + stride:
            break
        geometry = ((kernel, 1), (stride, 1), (dilation, 1), False)
        match int(rng.integers(9)):
            case 0 | 1:
                x = build.conv(x, int(rng.integers(1, 7)), *geometry)
            case 2:
                x = build.depthwise(x, *geometry)
            case 3:
                x = build.pool(x, bool(rng.integers(2)), (kernel, 1), (stride, 1), same=False)
            case 4:  # a residual, whose rows come before those of the convolutions beside it
                y = build.conv(build.conv(x, 5, *geometry), channels, (1, 3))
                begin = int(rng.integers(1 + height - stride * (build.shape(y)[0] - 1) - 1))
                x = build.elementwise(_rows(build, x, begin, stride, build.shape(y)[0]), y)
            case 5:
                stride = 1
                x = build.lookup(build.softmax(x) if rng.integers(2) else x)
                x = build.elementwise(x, build.tensor(1, 1, channels, constant=True))
            case 6:
                stride = 1
                x = build.concat([x, build.conv(x, 3, (1, 3))], Axis.CHANNELS)
                x = build.shuffled(x, 2) if build.shape(x)[2] % 2 == 0 else x
            case 7:
                stride = 1
                outputs.append(x)
                x = build.mean(x, over_height=False)
            case 8:
                if height % 2:
                    stride = 1
                    continue
                stride = 2
                x = build.space_to_depth(x, 2) if build.shape(x)[1] % 2 == 0 else x
                stride = 1 if build.shape(x)[0] == height else 2
        strides *= stride
    match int(rng.integers(5)):
        case 0:
            x = build.mean(x)
        case 1:
            x = build.fully_connected(x, 3)
        case 2:  # a gate: what follows it is computed anew
            gate = build.conv(build.mean(x), build.shape(x)[2])
            x = build.depthwise(build.elementwise(x, gate, Elementwise.MUL), (3, 3))
        case 3:
            x = build.resize(x, 7, 2)
    return build.graph(list(dict.fromkeys([*outputs[:1], x]))), strides


def _rows(build: GraphBuilder, x: int, begin: int, stride: int, count: int) -> int:
    _, width, channels = build.shape(x)
    y = build.tensor(count, width, channels, build.tensors[x].zero_point)
    build.ops.append(Slice((x,), y, (begin, 0, 0), (stride, 1, 1)))
    return y


def sequence_of(graph: QGraph, rows: int, seed: int) -> Int8Array:
    tensor = graph.tensors[graph.inputs[0].tensor]
    shape = (rows, tensor.width, tensor.channels)
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def answers(stream: Streaming, sequence: Int8Array) -> Iterator[list[Int8Array]]:
    """The runtime's, of every inference."""
    graph, rows = arrangements(stream.graph)[0], stream.sequence.rows
    run = Run(Model(pack(graph, plan(graph), None)))
    shapes = [stream.graph.tensors[edge.tensor].shape for edge in stream.graph.outputs]
    for number in range(len(sequence) // rows):
        found = run.infer([sequence[number * rows : (number + 1) * rows]], goes_on=number > 0)
        yield [values.reshape(shape) for values, shape in zip(found, shapes, strict=True)]


@pytest.mark.parametrize("seed", seeds(240, every=12))
def test_every_window_of_a_sequence(seed: int) -> None:
    """Once the window is full, a stream gives what the network of the window gives, of those rows
    that are new."""
    graph, strides = network_over_time(seed)
    window = graph.tensors[graph.inputs[0].tensor].height
    rows = strides * int(np.random.default_rng(seed).integers(1, 4))
    if rows >= window:
        rows = strides
    stream = streaming(graph, rows)
    assert stream.padded == ()
    assert stream.sequence.window == window
    before = -window % rows
    sequence = sequence_of(graph, window + before + HOPS * rows, seed)
    for number, found in enumerate(answers(stream, sequence)):
        if (number + 1) * rows < window:
            continue
        seen = sequence[(number + 1) * rows - window : (number + 1) * rows]
        for ours, wanted in zip(found, reference.run(graph, [seen]), strict=True):
            np.testing.assert_array_equal(ours, wanted[-len(ours) :])
    assert stream.fills == number + 1 - HOPS


@pytest.mark.parametrize("seed", seeds(40, every=8))
def test_rows_in_the_place_of_padding(seed: int) -> None:
    """Where a network pads, a stream gives what the same network gives of the whole sequence, once
    it sees nothing of what was before the sequence."""

    def padded(height: int) -> tuple[QGraph, int]:
        rng = np.random.default_rng(seed)
        build = GraphBuilder(rng)
        x, strides = build.input(height, 3, 2), 1
        for _ in range(int(rng.integers(1, 5))):
            kernel, dilation = (int(n) for n in rng.integers(1, 5, 2))
            stride = int(rng.integers(1, 3)) if strides < 4 else 1
            strides *= stride
            make = build.conv if rng.integers(2) else build.depthwise
            more = (4,) if make == build.conv else ()
            x = make(x, *more, (kernel, 3), (stride, 1), (dilation, 1))
            if rng.integers(2):
                x = build.elementwise(x, build.conv(x, build.shape(x)[2], (3, 1)))
        return build.graph([x]), strides

    reach = 160  # rows that a row of the output can depend on, at most
    graph, strides = padded(reach)
    stream = streaming(graph, strides)
    whole, _ = padded(reach + strides * 16)
    height = whole.tensors[whole.inputs[0].tensor].height
    sequence = sequence_of(whole, height, seed)
    (expected,) = reference.run(whole, [sequence])
    found = np.concatenate([given[0] for given in answers(stream, sequence)])
    (late,) = stream.late
    assert (late > 0) <= (stream.padded != ())
    complete = slice(reach // strides, len(expected) - late)
    np.testing.assert_array_equal(found[late:][complete], expected[complete])


# --- Files ---------------------------------------------------------------------------------------


def listener(path: Path, *, upright: bool, padding: int = VALID) -> Path:
    """A 1-D convolutional network: 96 steps of 8 features, convolutions, mean, dense layer."""
    net = Net(3)
    turn = (lambda a, b: (a, b)) if upright else (lambda a, b: (b, a))
    x = net.int8((1, *turn(96, 1), 8), 0.1)
    y = net.conv(x, turn(5, 1), 16, stride=turn(2, 1), padding=padding)
    y = net.conv(y, turn(3, 1), 16, padding=padding)
    y = net.conv(y, turn(3, 1), 16, dilation=turn(2, 1), padding=padding)
    y = net.mean(y, (1, 2), keep=False)
    y = net.fully_connected(y, 4)
    path.write_bytes(net.finish([x], [y]))
    return path


def compiled(path: Path, rows: int) -> Compiled:
    return compile_model(path, CompileOptions(stream=rows))


@pytest.mark.parametrize("upright", [True, False])
def test_tflm_s_bytes_for_each_window(tmp_path: Path, upright: bool) -> None:
    """Whichever axis has the time. A new pair of steps costs a small part of the window."""
    path = listener(tmp_path / "l.tflite", upright=upright)
    made = compiled(path, 2)
    blob, oracle = parse_blob(made.blob), Oracle(path.read_bytes())
    rng, sequence = np.random.default_rng(1), np.zeros((0, 8), np.int8)
    run = Run(blob.model)
    for number in range(60):
        new = rng.integers(-128, 128, (2, 8)).astype(np.int8)
        sequence = np.concatenate([sequence, new])
        (found,) = run.infer([new], goes_on=number > 0)
        if len(sequence) >= 96:
            window = sequence[-96:].reshape((1, 96, 1, 8) if upright else (1, 1, 96, 8))
            (expected,) = oracle.run([window])
            np.testing.assert_array_equal(found.reshape(-1), expected.reshape(-1))
    figures = made.report["stream"]
    assert figures["fills"] == 48
    assert made.plan.macs == macs(made.qgraph) == (5 * 8 + 3 * 16 + 3 * 16) * 16 + 16 * 4
    assert figures["window_macs"] > 40 * made.plan.macs
    assert "warnings" not in made.report


def test_keywords_as_a_stream() -> None:
    """MLPerf's keywords: two new rows of 49 take a 25th of the products."""
    path = network("mlperf_kws_int8")
    made = compiled(path, 2)
    assert made.plan.mac_factor == 1.0
    assert made.plan.macs < made.report["stream"]["window_macs"] / 24
    (warning,) = made.report["warnings"]
    assert "and 2 more have padding along the window's height" in warning
    sequence, run = sequence_of(made.qgraph, 16, 1), Run(Model(made.blob))
    variables = list[Int8Array]()
    for number, new in enumerate(np.split(sequence, 8)):
        (found,) = run.infer([new], goes_on=number > 0)
        (expected,) = reference.run(made.qgraph, [new], variables)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (0, "--stream 0: give how many of the 49 rows of a window are new, 1 to 48"),
        (49, "1 to 48"),
        (3, "takes one of 2 rows, of which 3 are new; give a multiple of 6"),
    ],
)
def test_rows_that_are_none(rows: int, words: str) -> None:
    with pytest.raises(PlanError, match=words) as caught:
        compiled(network("mlperf_kws_int8"), rows)
    assert "mlperf_kws_int8.tflite: --stream" in str(caught.value)


def test_networks_without_a_window(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"not one window here: .*640"):
        compiled(network("mlperf_ad01_int8"), 1)
    with pytest.raises(PlanError, match="it is a stream already"):
        compiled(wake_word("alexa"), 1)
    net = Net(1)
    a, b = net.int8((1, 8, 4, 3)), net.int8((1, 6, 4, 3))
    path = tmp_path / "two.tflite"
    path.write_bytes(net.finish([a, b], [net.conv(a, (3, 3), 4), net.conv(b, (3, 3), 4)]))
    with pytest.raises(PlanError, match="not one window here"):
        compiled(path, 1)


def test_variables_of_another_kind_are_no_window() -> None:
    build = GraphBuilder(np.random.default_rng(1))
    x, variable = build.input(4, 1, 2), build.tensor(4, 1, 2, constant=True)
    graph = build.graph([build.elementwise(x, variable)])
    graph = replace(graph, variables=(QVariable(variable, len(build.tensors) - 1, 0),))
    with pytest.raises(PlanError, match="stream already"):
        streaming(graph, 1)


# --- Sequences -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network of windows, and its stream's blob."""
    folder = tmp_path_factory.mktemp("stream")
    path = listener(folder / "l.tflite", upright=False)
    (folder / "l.nrw").write_bytes(compiled(path, 4).blob)
    return path, folder / "l.nrw"


def test_windows_are_checked_against_the_network_of_the_window(
    stream: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each item is a window, which is taken by new rows, and answered as TFLM answers it."""
    model, blob = stream
    windows = np.random.default_rng(2).integers(-128, 128, (9, 1, 96, 8)).astype(np.int8)
    np.save(tmp_path / "x.npy", windows)
    command = f"check {blob} --data {tmp_path}/x.npy --reference tflm --model {model}"
    assert main(command.split()) == 0
    assert "all equal tflm" in capsys.readouterr().out
    np.save(tmp_path / "x.npy", windows[:, :, :40])
    assert main(command.split()) == 1
    error = capsys.readouterr().err
    assert "a sequence of 40 rows does not fill a window of 96; give more" in error
    assert error.count("\n") == 1


def test_a_sequence_of_a_wake_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run and check: TFLM's answers, one after the other; the last is printed."""
    model, blob = wake_word("alexa"), tmp_path / "alexa.nrw"
    blob.write_bytes(compile_model(model).blob)
    sounds = np.stack([features(np.random.default_rng(n), 12) for n in range(3)])
    np.save(tmp_path / "x.npy", sounds)
    np.save(tmp_path / "one.npy", sounds[1])
    tflm = Tflm(model, goes_on=True)
    expected = [tflm.infer([frame], 1)[0] for frame in sounds[1]]
    files = f"--input {tmp_path}/one.npy --output {tmp_path}/y.npy --json {tmp_path}/y.json"
    assert main(f"run {blob} {files}".split()) == 0
    assert "host: the last of 12 inferences: " in capsys.readouterr().out
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.concatenate(expected))
    report = json.loads((tmp_path / "y.json").read_text())
    assert report["inferences"] == 12
    assert report["top"][0]["score"] == pytest.approx(expected[-1].item() / 256)
    command = f"check {blob} --data {tmp_path}/x.npy --reference tflm --model {model}"
    assert main(command.split()) == 0
    assert "all equal tflm" in capsys.readouterr().out


def test_a_sequence_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blob = tmp_path / "alexa.nrw"
    blob.write_bytes(compile_model(wake_word("alexa")).blob)
    np.save(tmp_path / "x.npy", np.zeros((0, 1, 3, 40), np.int8))
    assert main(f"run {blob} --input {tmp_path}/x.npy".split()) == 1
    error = capsys.readouterr().err
    assert "shape (0, 1, 3, 40)" in error
    assert error.count("\n") == 1


def test_what_a_sequence_may_look_like(stream: tuple[Path, Path]) -> None:
    blob = parse_blob(stream[1].read_bytes())
    assert blob.stream is not None
    assert (blob.stream.rows, blob.stream.window) == (4, 96)
    (edge,) = blob.inputs
    assert math.prod(edge.shape) == 32
    rows = np.arange(6 * 8, dtype=np.int8).reshape(6, 8)
    first, second = load_sequence(blob, 0, rows)
    np.testing.assert_array_equal(second.reshape(-1, 8), rows[2:])
    np.testing.assert_array_equal(first.reshape(-1, 8)[2:], rows[:2])
    assert (first.reshape(-1, 8)[:2] == edge.zero_point).all()
    (floats,) = load_sequence(blob, 0, np.zeros((1, 1, 4, 8)))
    assert (floats == edge.zero_point).all()
    assert len(load_sequence(blob, 0, np.zeros(8, np.int8))) == 1
    for shape in ((6, 7), (8, 6), (2, 6, 8), (0, 8)):
        with pytest.raises(InputError, match="shape"):
            load_sequence(blob, 0, np.zeros(shape, np.int8))


@pytest.mark.parametrize(
    "value",
    [1, [], {"rows": 4}, {"rows": 4, "window": 96}, {"rows": 4, "window": 4, "shapes": [[1, 4, 8]]}]
    + [{"rows": rows, "window": 96, "shapes": [[1, 1, 96, 8]]} for rows in (0, -4, 3, 4.0, True)]
    + [{"rows": 4, "window": 96, "shapes": shapes} for shapes in ([], [[96]], [[-1, -96, 8]], [1])],
)
def test_a_window_that_does_not_fit(stream: tuple[Path, Path], value: object) -> None:
    model, _ = stream
    made = compiled(model, 4)
    blob = pack(made.qgraph, made.plan, {"stream": value})
    with pytest.raises(BlobError, match="metadata: stream does not"):
        parse_blob(blob)


def test_padding_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = listener(tmp_path / "l.tflite", upright=True, padding=SAME)
    assert main(["compile", str(path), "--stream", "2", "-o", str(tmp_path / "l.nrw")]) == 0
    printed = capsys.readouterr()
    assert "have padding along the window's height" in printed.err
    assert "2 of 96 rows are new in each inference, the window is full after 48" in printed.out
