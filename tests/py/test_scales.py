# SPDX-License-Identifier: Apache-2.0
"""Scales that kernels take as equal without looking: where TensorFlow Lite Micro or LiteRT refuse
them so do we, else our bytes are TensorFlow Lite Micro's and a warning says how far off they are.
And scales so far apart that multipliers overflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tflite_micro import runtime

from models import case, missing
from narrows.cli import main
from narrows.compiler import compile_model
from narrows.errors import ModelError, UnsupportedError
from narrows.graph.graph import Graph
from narrows.importers import load
from narrows.importers.tflite import import_tflite
from narrows.quantization.lower import lower
from single import Net
from subjects import check

SHAPE = (1, 8, 8, 4)
FACTOR = 1.5


def _slice(net: Net, x: int) -> list[int]:
    y = net.like(x, (1, 4, 8, 4))
    net.operator("SLICE", [x, net.ints((0, 1, 0, 0)), net.ints((1, 4, 8, 4))], [y], version=2)
    return [y]


def _blocks(name: str, shape: tuple[int, ...]) -> Callable[[Net, int], list[int]]:
    table = "".join(word.capitalize() for word in name.split("_")) + "Options"

    def build(net: Net, x: int) -> list[int]:
        y = net.like(x, shape)
        net.operator(name, [x], [y], table, {"block_size": 2})
        return [y]

    return build


def _strided_slice(net: Net, x: int) -> list[int]:
    y = net.like(x, (1, 5, 8, 4))
    ranges = [net.ints((0, 1, 0, 0)), net.ints((1, 6, 8, 4)), net.ints((1, 1, 1, 1))]
    net.operator("STRIDED_SLICE", [x, *ranges], [y], "StridedSliceOptions", {}, version=2)
    return [y]


def _split(net: Net, x: int) -> list[int]:
    parts = [net.like(x, (1, 4, 8, 4)) for _ in range(2)]
    net.operator("SPLIT", [net.ints(1), x], parts, "SplitOptions", {"num_splits": 2}, version=2)
    return parts


def _split_v(net: Net, x: int) -> list[int]:
    parts = [net.like(x, (1, n, 8, 4)) for n in (3, 5)]
    inputs = [x, net.ints((3, 5)), net.ints(1)]
    net.operator("SPLIT_V", inputs, parts, "SplitVOptions", {"num_splits": 2}, version=2)
    return parts


def _squeeze(net: Net, x: int) -> list[int]:
    y = net.like(x, SHAPE[1:])
    net.operator("SQUEEZE", [x], [y], "SqueezeOptions", {"squeeze_dims": (0,)})
    return [y]


def _expand_dims(net: Net, x: int) -> list[int]:
    y = net.like(x, (1, *SHAPE))
    net.operator("EXPAND_DIMS", [x, net.ints((0,))], [y], "ExpandDimsOptions", {})
    return [y]


def _like(name: str) -> Callable[[Net, int], list[int]]:
    def build(net: Net, x: int) -> list[int]:
        return [net.unary(name, x, net.scales[x], int(net._tensors[x].zero_points[0]))]

    return build


def _resize(name: str) -> Callable[[Net, int], list[int]]:
    return lambda net, x: [net.resize(name, x, (16, 12), False, True)]


def _reduce(name: str) -> Callable[[Net, int], list[int]]:
    return lambda net, x: [net.reduce(name, x, (1, 2), False)]


def _unpack(net: Net, x: int) -> list[int]:
    parts = [net.like(x, (1, 8, 4)) for _ in range(8)]
    net.operator("UNPACK", [x], parts, "UnpackOptions", {"axis": 1, "num": 8})
    return parts


def _pack(net: Net, x: int) -> list[int]:
    y = net.like(x, SHAPE)
    options = {"axis": 1, "values_count": 8}
    net.operator("PACK", _unpack(net, x), [y], "PackOptions", options)
    return [y]


def _gather(net: Net, x: int) -> list[int]:
    y = net.like(x, (1, 8, 8, 2))
    net.operator("GATHER", [x, net.ints((3, 0))], [y], "GatherOptions", {"axis": 3}, version=2)
    return [y]


def _mirror_pad(net: Net, x: int) -> list[int]:
    y, amounts = net.like(x, (1, 10, 9, 4)), net.ints(((0, 0), (1, 1), (1, 0), (0, 0)))
    net.operator("MIRROR_PAD", [x, amounts], [y], "MirrorPadOptions", {})
    return [y]


def _tile(net: Net, x: int) -> list[int]:
    y = net.like(x, (1, 8, 16, 4))
    net.operator("TILE", [x, net.ints((1, 1, 2, 1))], [y], version=3)
    return [y]


REFUSED: dict[str, Callable[[Net, int], list[int]]] = {
    "AVERAGE_POOL_2D": lambda net, x: [net.pool("AVERAGE_POOL_2D", x, (2, 2), (2, 2))],
    "MAX_POOL_2D": lambda net, x: [net.pool("MAX_POOL_2D", x, (2, 2), (2, 2))],
    "REDUCE_MAX": _reduce("REDUCE_MAX"),
    "REDUCE_MIN": _reduce("REDUCE_MIN"),
    "PACK": _pack,
    "UNPACK": _unpack,
    "MIRROR_PAD": _mirror_pad,
    "TILE": _tile,
    "CONCATENATION": lambda net, x: [net.concat([x, x], 3)],
    "RESIZE_BILINEAR": _resize("RESIZE_BILINEAR"),
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SPACE_TO_DEPTH": _blocks("SPACE_TO_DEPTH", (1, 4, 4, 16)),
    "DEPTH_TO_SPACE": _blocks("DEPTH_TO_SPACE", (1, 16, 16, 1)),
    "SPLIT": _split,
    "PADV2": lambda net, x: [net.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), 5)],
    "PAD": lambda net, x: [net.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))],
    "EXPAND_DIMS": _expand_dims,
    "TRANSPOSE": lambda net, x: [net.transpose(x, (0, 2, 1, 3))],
}
WARNED: dict[str, Callable[[Net, int], list[int]]] = {
    "RELU6": _like("RELU6"),
    "TANH": lambda net, x: [net.unary("TANH", x, 1 / 128, 0)],
    "RESIZE_NEAREST_NEIGHBOR": _resize("RESIZE_NEAREST_NEIGHBOR"),
    "SPLIT_V": _split_v,
    "GATHER": _gather,
    "RESHAPE": lambda net, x: [net.reshape(x, (1, 16, 4, 4))],
    "SQUEEZE": _squeeze,
}


def _net(build: Callable[[Net, int], list[int]], factor: float, shift: int = 0) -> tuple[Net, Any]:
    """A net of one operator, of which each output's scale is changed; and its ports."""
    net = Net(3)
    x = net.int8(SHAPE, 0.05, -10)
    outputs = build(net, x)
    for y in outputs:
        q = net._tensors[y]
        changed = (q.scales * np.float32(factor), q.zero_points + shift)
        net._tensors[y] = replace(q, scales=changed[0], zero_points=changed[1])
    return net, ([x], outputs)


def _runs_on_tflm(model: bytes) -> bool:
    try:
        interpreter = runtime.Interpreter.from_bytes(model, arena_size=1 << 18)
        interpreter.set_input(np.zeros(SHAPE, np.int8), 0)
        interpreter.invoke()
    except RuntimeError:
        return False
    return True


def _runs_on_litert(model: bytes) -> bool:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        missing("ai-edge-litert")
    try:
        Interpreter(model_content=model, num_threads=1).allocate_tensors()
    except RuntimeError:
        return False
    return True


@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_by_tflm_or_litert(name: str) -> None:
    net, ports = _net(REFUSED[name], FACTOR)
    model = net.finish(*ports)
    assert not (_runs_on_tflm(model) and _runs_on_litert(model))
    with pytest.raises(UnsupportedError) as caught:
        import_tflite(model, "unequal")
    (item,) = caught.value.items
    assert item.operator == name
    assert "rescale" in item.reason or "is not quantized as its output" in item.reason
    net, ports = _net(REFUSED[name], 1.0)
    assert not import_tflite(net.finish(*ports), "equal").warnings


@pytest.mark.parametrize("shift", [0, 7])
@pytest.mark.parametrize("name", WARNED)
def test_computed_as_tflm_does_with_a_warning(name: str, shift: int) -> None:
    net, ports = _net(WARNED[name], FACTOR, shift)
    model = net.finish(*ports)
    assert _runs_on_litert(model)
    warnings = import_tflite(model, "unequal").warnings
    (warning,) = warnings
    assert warning.startswith(f"operator 0 {name} (tensor_")
    assert "as if it had scale" in warning
    assert " dB " in warning
    check(model, net.rng)


@pytest.mark.parametrize("name", WARNED)
def test_no_warning_below_half_a_step(name: str) -> None:
    net, ports = _net(WARNED[name], 1 + 1e-6)
    assert not import_tflite(net.finish(*ports), "close").warnings


def test_the_next_operator_reads_the_scale_of_the_file() -> None:
    """After a RESHAPE with another scale a convolution's multiplier follows from that scale."""
    net = Net(4)
    x = net.int8(SHAPE, 0.05, -10)
    y = net.reshape(x, (1, 16, 4, 4))
    net._tensors[y] = replace(net._tensors[y], scales=np.array([0.08], np.float32))
    net.scales[y] = 0.08
    check(net.finish([x], [net.conv(y, (3, 3), 3)]), net.rng)


def test_decibels_of_a_warning() -> None:
    """They are those that the values are off: a RELU6 that is rescaled rightly has far more."""
    net, ports = _net(_like("RELU6"), FACTOR)
    model = net.finish(*ports)
    every = np.arange(256).reshape(SHAPE).astype(np.uint8).view(np.int8)
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=1 << 18)
    interpreter.set_input(every, 0)
    interpreter.invoke()
    got = np.asarray(interpreter.get_output(0)).astype(float)
    right = np.clip((every.astype(float) + 10) * 0.05, 0, 6)
    error = (got + 10) * 0.05 * FACTOR - right
    decibels = 10 * np.log10((right**2).sum() / (error**2).sum())
    (warning,) = import_tflite(model, "relu6").warnings
    assert f"at {decibels:.1f} dB" in warning


def test_the_worst_of_many_warnings_stands_for_all() -> None:
    net = Net(5)
    x = y = net.int8(SHAPE, 0.05, 0)
    for factor in (1.1, 1.5, 1.2):
        y = net.unary("RELU6", y, 0.05 * factor, 0)
    z = net.unary("TANH", y, 1 / 64, 0)
    first, second = import_tflite(net.finish([x], [z]), "many").warnings
    assert first.startswith("operator 1 RELU6 (")
    assert first.endswith("; 2 more RELU6 are off by no more")
    assert second.startswith("operator 3 TANH (")


def test_warnings_reach_the_user(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, ports = _net(_like("RELU6"), FACTOR)
    model = tmp_path / "relu6.tflite"
    model.write_bytes(net.finish(*ports))
    assert len(compile_model(model).report["warnings"]) == 1
    figures = tmp_path / "figures.json"
    blob = tmp_path / "relu6.nrw"
    assert main(["compile", str(model), "-o", str(blob), "--json", str(figures)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [["narrows", "warning", str(model)]]
    assert json.loads(figures.read_text())["warnings"][0] in lines[0]
    assert main(["plan", str(model)]) == 0
    assert capsys.readouterr().err.splitlines() == lines


@pytest.mark.parametrize("name", ["MAX_POOL_2D", "RESIZE_BILINEAR", "STRIDED_SLICE"])
def test_shared_cases_of_unequal_scales(name: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"operator \d {name} .*does not rescale"):
        load(case(f"mis_{name}.tflite"))


# --- Multipliers -----------------------------------------------------------------------------

ALL = np.arange(-128, 128, dtype=np.int8).reshape(1, 4, 16, 4)


def _ratio(name: str, exponent: float) -> tuple[Net, int, int]:
    """An operator whose input's scale is 2 ** exponent times that of its output."""
    net = Net(1)
    x = net.int8(ALL.shape, 1e4, -3)
    scale = 1e4 / 2.0**exponent
    if name == "MUL":
        return net, x, net.binary("MUL", x, net.constant((1, 1, 1, 4), 1e2), scale * 1e2)
    if name == "MEAN":
        return net, x, net.mean(x, (1, 2), False, scale)
    options = {"alpha": 0.3} if name == "LEAKY_RELU" else None
    return net, x, net.unary(name, x, scale, 5, options)


LARGEST = {"RELU": 31, "LEAKY_RELU": 31, "QUANTIZE": 31, "MEAN": 31, "MUL": 30}


@pytest.mark.parametrize("name", LARGEST)
def test_scales_too_far_apart(name: str) -> None:
    for exponent in (LARGEST[name] - 0.5, LARGEST[name] - 1e-6):
        net, x, y = _ratio(name, exponent)
        check(net.finish([x], [y]), net.rng, [[ALL]])
    for exponent in (LARGEST[name], LARGEST[name] + 0.5, 40):
        net, x, y = _ratio(name, exponent)
        with pytest.raises(UnsupportedError, match="its output's scale is too small for its"):
            import_tflite(net.finish([x], [y]), "far")


def test_a_steep_slope() -> None:
    net = Net(1)
    x = net.int8(ALL.shape, 1e4, -3)
    y = net.unary("LEAKY_RELU", x, 1e4 / 2.0**20, 5, {"alpha": 2.0**11})
    with pytest.raises(UnsupportedError, match="its output's scale is too small for its input's"):
        import_tflite(net.finish([x], [y]), "steep")


def test_steps_so_small_that_six_is_out_of_reach() -> None:
    """TensorFlow Lite Micro counts the steps of 6 in an int32."""
    for scale, taken in ((6.01 / 2.0**31, True), (6 / 2.0**31, False), (1.6e-13, False)):
        net = Net(1)
        x = net.int8(ALL.shape, scale, -29)
        model = net.finish([x], [net.unary("RELU6", x, scale, -29)])
        if taken:
            check(model, net.rng, [[ALL]])
        else:
            with pytest.raises(UnsupportedError, match="to find 6 by it"):
                import_tflite(model, "small")


@pytest.mark.parametrize("dtypes", [("uint8", "int8"), ("int8", "uint8")])
def test_external_scales_too_far_apart(dtypes: tuple[str, str]) -> None:
    for exponent, taken in ((30.5, True), (31, False)):
        net = Net(1)
        scales = (1e4, 1e4 / 2.0**exponent)
        x, y = (
            net.tensor((1, 8), dtype, scale=scale, zero_point=3)
            for dtype, scale in zip(dtypes, scales, strict=True)
        )
        net.operator("QUANTIZE", [x], [y], "QuantizeOptions", {})
        model = net.finish([x], [y])
        if taken:
            check(model, net.rng)
        else:
            with pytest.raises(UnsupportedError, match="too small"):
                import_tflite(model, "far")


# --- Depth multipliers -----------------------------------------------------------------------


def _depthwise(channels: int, stated: int) -> tuple[bytes, np.random.Generator]:
    net = Net(1)
    x = net.int8((1, 6, 6, channels))
    y = net.depthwise(x, (3, 3), 2)
    net._operators[-1].options["depth_multiplier"] = stated
    return net.finish([x], [y]), net.rng


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("stated", [0, 1, 3, 255])
def test_a_depth_multiplier_that_contradicts_the_shapes(channels: int, stated: int) -> None:
    with pytest.raises(UnsupportedError, match=f"its depth multiplier is {stated}, but its kernel"):
        import_tflite(_depthwise(channels, stated)[0], "depthwise")
    check(*_depthwise(channels, 2))


# --- Scales that make no sense, and those that do not matter ----------------------------------


def _changed(name: str, which: int, **changes: Any) -> tuple[Net, bytes]:
    """A convolution or fully connected layer, with input ``which`` changed."""
    net = Net(7)
    x = net.int8((1, 8) if name == "FULLY_CONNECTED" else (1, 6, 6, 4))
    if name == "FULLY_CONNECTED":
        y = net.fully_connected(x, 8, per_channel=True)
    else:
        y = net.window(name, x, (3, 3), 8)
    index = net._operators[-1].inputs[which]
    net._tensors[index] = replace(net._tensors[index], **changes)
    return net, net.finish([x], [y])


LAYERS = ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]
ONE_ZERO = np.zeros(1, np.int64)


@pytest.mark.parametrize(
    "changes",
    [
        {"axis": 1},
        {"axis": 3},
        {"axis": 77},
        {"scales": np.full(3, 0.1, np.float32), "zero_points": np.zeros(3, np.int64)},
        {"scales": np.array([np.inf], np.float32), "zero_points": ONE_ZERO},
        {"scales": np.array([np.nan], np.float32), "zero_points": ONE_ZERO},
        {"scales": np.zeros(0, np.float32), "zero_points": np.zeros(0, np.int64)},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", LAYERS)
def test_scales_of_a_bias_do_not_matter(name: str, changes: dict[str, Any]) -> None:
    """TensorFlow Lite Micro takes them from input and weights; its own person_detect states a
    dimension that a bias does not have."""
    net, model = _changed(name, 2, **changes)
    check(model, net.rng)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axis": 2}, "8 scales along dimension 2; supported is one for all, or one for each"),
        ({"axis": 77}, "8 scales along dimension 77"),
        ({"scales": np.full(3, 0.1, np.float32)}, "3 scales and 8 zero points"),
        ({"zero_points": ONE_ZERO[:0]}, "8 scales and 0 zero points"),
        ({"scales": np.array([np.inf], np.float32), "zero_points": ONE_ZERO}, "scale inf"),
        ({"zero_points": np.full(8, 1, np.int64)}, "a zero point is not 0"),
        ({"zero_points": np.full(8, 2**40, np.int64)}, f"zero point {2**40}"),
        ({"scales": np.zeros(0, np.float32), "zero_points": ONE_ZERO[:0]}, "have no scale"),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", LAYERS)
def test_scales_of_weights_that_make_no_sense(
    name: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UnsupportedError, match=words) as caught:
        import_tflite(_changed(name, 1, **changes)[1], "weights")
    assert "damaged" not in str(caught.value)


def _relu(net: Net, x: int) -> bytes:
    y = net.int8((1, 2))
    net.operator("RELU", [x], [y])
    return net.finish([x], [y])


@pytest.mark.parametrize(
    ("scale", "zero_point", "words"),
    [(np.inf, 0, "scale inf"), (0.1, 300, "zero point 300"), ((0.1, 0.2), 0, "2 scales")],
)
def test_scales_of_activations_that_make_no_sense(scale: Any, zero_point: int, words: str) -> None:
    net = Net(1)
    x = net.int8((1, 2))
    y = net.tensor((1, 2), scale=scale, zero_point=zero_point, axis=1)
    net.operator("RELU", [x], [y])
    with pytest.raises(UnsupportedError, match=rf"operator 0 RELU .*tensor_1 has .*{words}"):
        import_tflite(net.finish([x], [y]), "out")
    net = Net(1)
    x = net.tensor((1, 2), scale=scale, zero_point=zero_point, axis=1)
    with pytest.raises(UnsupportedError, match=rf"input tensor_0: it has .*{words}"):
        import_tflite(_relu(net, x), "in")


def test_a_scale_without_a_zero_point() -> None:
    """TensorFlow Lite Micro takes such a tensor as not quantized at all."""
    for which in ("input", "output"):
        net = Net(1)
        x = net.int8((1, 4))
        y = net.unary("RELU", x)
        changed = x if which == "input" else y
        net._tensors[changed] = replace(net._tensors[changed], zero_points=ONE_ZERO[:0])
        with pytest.raises(UnsupportedError, match="1 scales and 0 zero points"):
            import_tflite(net.finish([x], [y]), "none")


def test_errors_of_later_stages_name_the_file(tmp_path: Path) -> None:
    """With its path and its extension."""
    path = tmp_path / "net.int8.tflite"
    net = Net(1)
    x = net.int8((1, 4), 1e6)
    path.write_bytes(net.finish([x], [net.fully_connected(x, 2, gain=1e20)]))
    graph: Graph = load(path)
    with pytest.raises(ModelError) as caught:
        lower(graph)
    assert str(caught.value).startswith(f"{path}: ")
