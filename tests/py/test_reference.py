# SPDX-License-Identifier: Apache-2.0
"""The NumPy model and its arithmetic against TensorFlow Lite Micro, whole networks included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tflite
from PIL import Image

from models import INT8_NETWORKS, PHOTOS, network, photo
from narrows.errors import InputError, ModelError
from narrows.graph.edges import to_external, to_internal
from narrows.graph.qgraph import Edge, QGraph, QTensor
from narrows.importers.tflite import import_tflite
from narrows.quantization import reference
from narrows.quantization.fixed_point import quantize_multiplier, requantize, round_half_away
from narrows.quantization.lower import lower
from narrows.quantization.verify import verify_qgraph
from oracle import Array, Oracle
from single import ACTIVATIONS, RELU6, VALID, Net
from subjects import check, typical_inputs

RANDOM_INPUTS = {"mobilenet_v2_1.0_224_ptq": 2}
RANDOM_NETS = 25


# --- Arithmetic -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "multiplier", "shift", "result"),
    [
        (1000, 1073741824, -2, 125),
        (-3, 1073741824, 0, -1),
        (3, 1073741824, 0, 2),
        (-10, 2147483647, -2, -3),
        (1, 1073741824, 30, 2**29),
        (-(2**31), 2147483647, 0, -(2**31) + 1),
        (2**30, 1073741824, 2, 0),  # the left shift wraps
    ],
)
def test_requantize(x: int, multiplier: int, shift: int, result: int) -> None:
    assert int(requantize(np.int64(x), multiplier, shift)) == result


@pytest.mark.parametrize(
    ("real", "pair"),
    [
        (0.0, (0, 0)),
        (1.0, (2**30, 1)),
        (0.75, (3 * 2**29, 0)),
        (1 - 2**-33, (2**30, 1)),  # rounds up to 2**31 and is halved
        (2.0**-32, (2**30, -31)),
        (2.0**-33, (0, 0)),
        (3e5, (round_half_away(3e5 * 2**12), 19)),
    ],
)
def test_quantize_multiplier(real: float, pair: tuple[int, int]) -> None:
    assert quantize_multiplier(real) == pair


# --- Networks ---------------------------------------------------------------------------------


def _photo(name: str, edge: Edge) -> Array:
    """A photo in an edge's shape and dtype, if that is an image's."""
    _, height, width, _ = edge.shape
    image = Image.open(photo(name)).convert("RGB").resize((width, height))
    pixels = np.asarray(image)[None]
    if edge.dtype == "uint8":
        return pixels
    if edge.dtype == "int8":
        return (pixels.astype(np.int16) - 128).astype(np.int8)
    return (pixels / np.float32(127.5) - 1).astype(np.float32)


def _inputs(name: str, qgraph: QGraph) -> list[list[Array]]:
    cases = typical_inputs(qgraph, np.random.default_rng(1), RANDOM_INPUTS.get(name, 16))
    (edge,) = qgraph.inputs
    if len(edge.shape) == 4 and edge.shape[3] == 3:
        cases += [[_photo(picture, edge)] for picture in PHOTOS]
    return cases


@pytest.mark.parametrize("name", INT8_NETWORKS)
def test_networks(name: str) -> None:
    path = network(name)
    qgraph = lower(import_tflite(path))
    oracle = Oracle(path.read_bytes())
    (source,), (target,) = qgraph.inputs, qgraph.outputs
    for case in _inputs(name, qgraph):
        inside = to_internal(source, qgraph.tensors[source.tensor], case[0])
        (got,) = reference.run(qgraph, [inside])
        (wanted,) = oracle.run(case)
        outside = to_external(target, qgraph.tensors[target.tensor], got)
        assert outside.dtype == wanted.dtype
        np.testing.assert_array_equal(outside, wanted)


@pytest.mark.parametrize("name", INT8_NETWORKS)
def test_every_tensor_of_the_networks(name: str) -> None:
    """Layer by layer: a difference is found where it begins."""
    path = network(name)
    qgraph = lower(import_tflite(path))
    oracle = Oracle(path.read_bytes(), arena_bytes=32 << 20)
    (source,) = qgraph.inputs
    case = typical_inputs(qgraph, np.random.default_rng(2), 1)[0]
    values = reference.run_all(qgraph, [to_internal(source, qgraph.tensors[source.tensor], *case)])
    oracle.run(case)
    names = _tensor_names(path.read_bytes())
    compared = 0
    for tensor, value in zip(qgraph.tensors, values, strict=True):
        wanted = [oracle.tensor(i) for i, n in enumerate(names) if n[:200] == tensor.name]
        wanted = [w for w in wanted if w.dtype == np.int8 and w.size == value.size]
        # Behind a TRANSPOSE the model's order is another.
        wanted += [np.moveaxis(w, 1, 2) for w in wanted if w.ndim == 3]
        if wanted:
            compared += 1
            assert any((value.ravel() == w.ravel()).all() for w in wanted), tensor.name
    assert compared >= len(qgraph.ops)


def _tensor_names(data: bytes) -> list[str]:
    graph = tflite.Model.GetRootAsModel(data, 0).Subgraphs(0)
    return [graph.Tensors(i).Name().decode() for i in range(graph.TensorsLength())]


# --- Random networks of random operators ------------------------------------------------------


def _grow(net: Net, x: int) -> int:
    """One random operator on x (or its shape unchanged where it does not fit)."""
    rng = net.rng
    _, height, width, channels = net.shapes[x]
    kernel = tuple(int(n) for n in rng.integers(1, 6, 2))
    stride = tuple(int(n) for n in rng.integers(1, 3, 2))
    activation = int(rng.choice(ACTIVATIONS))
    window: dict[str, Any] = {"stride": stride, "activation": activation}
    if kernel[0] <= height and kernel[1] <= width and rng.integers(2):
        window["padding"] = VALID
    kind = int(rng.integers(12))
    if kind < 3:
        return net.conv(x, kernel, int(rng.integers(1, 12)), **window)
    if kind < 5:
        return net.depthwise(x, kernel, int(rng.integers(1, 3)), **window)
    if kind == 5:
        wide = net.conv(x, (1, 1), channels * 3, activation=RELU6)
        wide = net.depthwise(wide, (3, 3), activation=RELU6)
        return net.binary("ADD", x, net.conv(wide, (1, 1), channels))
    if kind == 6:
        name = str(rng.choice(["AVERAGE_POOL_2D", "MAX_POOL_2D"]))
        return net.pool(name, x, (2, 2), stride, activation=activation)
    if kind == 7:
        sides = [net.conv(x, (1, 1), 4), net.conv(x, (3, 3), 4)]
        scale = net.scales[sides[0]] * net.scales[sides[1]] * 40
        return net.binary(str(rng.choice(["SUB", "MUL"])), *sides, scale)
    if kind == 8:
        amounts = [(0, 0), *(tuple(int(n) for n in rng.integers(0, 3, 2)) for _ in range(3))]
        return net.pad(x, amounts)
    if kind == 9:
        size = (int(rng.integers(1, 2 * height + 1)), int(rng.integers(1, 2 * width + 1)))
        name = str(rng.choice(["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"]))
        return net.resize(name, x, size, False, bool(rng.integers(2)))
    if kind == 10:
        gate = net.unary("LOGISTIC", net.mean(x, (1, 2), True), 1 / 256, -128)
        return net.binary("MUL", x, gate, net.scales[x])
    return net.concat([x, net.pool("MAX_POOL_2D", x, (3, 3), (1, 1))], int(rng.integers(1, 4)))


@pytest.mark.parametrize("seed", range(RANDOM_NETS))
def test_random_networks(seed: int) -> None:
    net = Net(seed)
    sizes = [int(n) for n in net.rng.integers(4, 20, 2)]
    x = net.int8((1, *sizes, int(net.rng.integers(1, 5))))
    seen = [x]
    for _ in range(int(net.rng.integers(3, 10))):
        latest = seen[-1] if net.rng.integers(4) else int(net.rng.choice(seen))
        seen.append(_grow(net, latest))
    ends = [seen[-1]]
    if net.rng.integers(2):
        ends.append(net.softmax(net.fully_connected(net.mean(seen[-1], (1, 2), False), 6)))
    check(net.finish([x], ends), net.rng)


# --- Edges ------------------------------------------------------------------------------------


def _edge(dtype: Any, scale: float, zero_point: int, table: bytes | None = None) -> Edge:
    return Edge("x", 0, dtype, (1, 2, 2, 1), scale, zero_point, table)


TENSOR = QTensor("x", 2, 2, 1, 0.5, -3)


def test_real_values_are_quantized_with_the_edge() -> None:
    values = np.array([0.25, -0.25, 1e9, -1e30], np.float32).reshape(2, 2, 1)
    for edge in (_edge("int8", 0.5, -3), _edge("float32", 0.0, 0)):
        got = to_internal(edge, TENSOR, values)
        assert got.ravel().tolist() == [-2, -4, 127, -128]
    flip = bytes((i + 128) % 256 for i in range(256))
    got = to_internal(_edge("uint8", 0.5, 125, flip), TENSOR, values.astype(np.float64)[None])
    assert got.ravel().tolist() == [-2, -4, 127, -128]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 2, 2), np.int8), r"shape \(2, 2, 2\), but input x is \(1, 2, 2, 1\)"),
        (np.zeros((2, 2, 1), np.uint8), "uint8, but input x takes int8"),
        (np.zeros((2, 2, 1), np.int64), "int64, but input x takes int8"),
        (np.full((2, 2, 1), np.nan), "not finite"),
    ],
)
def test_inputs_that_do_not_fit(values: Array, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_internal(_edge("int8", 0.5, -3), TENSOR, values)


def test_outputs_in_their_own_types() -> None:
    values = np.array([-128, -3, 0, 127], np.int8).reshape(2, 2, 1)
    got = to_external(_edge("float32", 0.0, 0), TENSOR, values)
    assert (got.dtype, got.shape) == (np.float32, (1, 2, 2, 1))
    assert got.ravel().tolist() == [-62.5, 0.0, 1.5, 65.0]


# --- Invariants of a QGraph -------------------------------------------------------------------


def _qgraph() -> QGraph:
    net = Net(1)
    x = net.int8((1, 6, 6, 3))
    y = net.pool("MAX_POOL_2D", net.conv(x, (3, 3), 4), (2, 2), (2, 2))
    return lower(import_tflite(net.finish([x], [net.softmax(net.reshape(y, (1, 36)))]), "small"))


def _with_op(qgraph: QGraph, index: int, **changes: Any) -> QGraph:
    ops = list(qgraph.ops)
    ops[index] = replace(ops[index], **changes)
    return replace(qgraph, ops=tuple(ops))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: _with_op(g, 0, inputs=(99,)), "too early"),
        (lambda g: _with_op(g, 0, output=0), "cannot write tensor 0"),
        (lambda g: _with_op(g, 0, shift=np.full(4, 31, np.int32)), "shift 31"),
        (lambda g: _with_op(g, 0, bias=np.zeros(3, np.int32)), "bias"),
        (lambda g: _with_op(g, 0, act_min=5, act_max=4), "activation range 5 to 4"),
        (lambda g: _with_op(g, 0, stride=(0, 1)), "stride"),
        (lambda g: _with_op(g, 0, weights=np.zeros((4, 3, 3, 2), np.int8)), "weights of shape"),
        (lambda g: _with_op(g, 1, kernel=(0, 2)), "kernel"),
        (lambda g: _with_op(g, 1, pad=(2, 0)), "window 2, stride 2, pad 2"),
        (lambda g: replace(g, ops=g.ops[:-1]), "never written"),
        (lambda g: replace(g, inputs=()), "no inputs"),
        (
            lambda g: replace(g, tensors=(replace(g.tensors[0], zero_point=128), *g.tensors[1:])),
            "zero point 128",
        ),
    ],
)
def test_verify_qgraph_finds(change: Any, message: str) -> None:
    verify_qgraph(_qgraph())
    with pytest.raises(ModelError, match=message):
        verify_qgraph(change(_qgraph()))
