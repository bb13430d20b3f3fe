# SPDX-License-Identifier: Apache-2.0
"""Products of two activations, and the attention that is made of them: TFLite Micro's bytes."""

from __future__ import annotations

import zlib
from math import prod
from typing import Any

import numpy as np
import pytest

import test_onnx
from narrows.errors import UnsupportedError
from narrows.exporters.export import export_tflite
from narrows.importers.tflite import import_tflite
from narrows.quantization.quantize import quantize
from single import Net
from subjects import check

SHAPES = [
    # Matrices of one operand and of the other, as they are multiplied.
    ((1, 5, 7), (1, 7, 3)),
    ((5, 7), (7, 3)),
    ((1, 1, 5), (1, 5, 1)),
    ((1, 2, 6, 5), (1, 2, 5, 4)),  # heads
    ((3, 6, 5), (3, 5, 6)),
    ((1, 2, 3, 4, 5), (1, 2, 3, 5, 2)),
    ((1, 4, 3, 8), (1, 1, 8, 6)),  # one matrix for all of them
    ((1, 4, 3, 8), (8, 6)),
    ((2, 3, 4, 5), (1, 1, 5, 2)),
]


def _check(net: Net, sources: list[int], *outputs: int, **kw: Any) -> Any:
    return check(net.finish(sources, list(outputs)), net.rng, **kw)


def _turned(shape: tuple[int, ...], turn: bool) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2]) if turn else shape


@pytest.mark.parametrize("adj", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_two_activations(shapes: Any, adj: tuple[bool, bool]) -> None:
    net = Net(zlib.crc32(repr((shapes, adj)).encode()))
    wanted = [_turned(s, turn) for s, turn in zip(shapes, adj, strict=True)]
    # Inputs have up to three dimensions longer than 1, and no batch of several.
    inputs = [net.int8((1, prod(s[:-2]), *s[-2:])) for s in wanted]
    a, b = (net.reshape(x, s) for x, s in zip(inputs, wanted, strict=True))
    y = net.matmul(a, b, adj_x=adj[0], adj_y=adj[1])
    shape = net.shapes[y]
    qgraph = _check(net, inputs, net.reshape(y, (1, prod(shape[:-2]), *shape[-2:])))
    assert [op.kind for op in qgraph.ops].count("matmul") == 1


@pytest.mark.parametrize("zero_points", [(-128, 127), (127, -128), (0, 0)])
@pytest.mark.parametrize("scale", [1e-6, 0.05, 40.0])
def test_scales_and_zero_points(scale: float, zero_points: Any) -> None:
    net = Net(int(scale * 1e6))
    a = net.int8((1, 4, 40), 0.1, zero_points[0])
    b = net.int8((1, 40, 6), 0.02, zero_points[1])
    _check(net, [a, b], net.matmul(a, b, scale=scale))


def test_a_tensor_times_itself() -> None:
    net = Net(1)
    x = net.int8((1, 3, 5, 4))
    _check(net, [x], net.matmul(x, x, adj_y=True))


@pytest.mark.parametrize("which", [0, 1])
def test_a_constant_matrix(which: int) -> None:
    net = Net(which)
    x, constant = net.int8((1, 6, 6)), net.constant((1, 6, 6))
    operands = (constant, x) if which == 0 else (x, constant)
    _check(net, [x], net.matmul(*operands), net.matmul(*operands, adj_x=True))


def attention(net: Net, x: int, heads: int) -> int:
    """As Keras and PyTorch write it: projections, heads for a dimension, two products."""
    _, time, width = net.shapes[x]
    deep = width // heads
    parts = []
    for order in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)):
        y = net.fully_connected(x, width, (1, time, width), width)
        parts.append(net.transpose(net.reshape(y, (1, time, heads, deep)), order))
    query, key, value = parts
    scores = net.matmul(query, key)
    mask = net.constant((1, 1, time, time), 0.1, zero_point=0)
    scores = net.binary("ADD", scores, mask, net.scales[scores])
    mixed = net.matmul(net.softmax(scores), value, scale=net.scales[value])
    joined = net.reshape(net.transpose(mixed, (0, 2, 1, 3)), (1, time, width))
    return net.fully_connected(joined, width, (1, time, width), width)


@pytest.mark.parametrize(("heads", "board"), [(1, False), (2, True), (4, False)])
def test_attention(heads: int, board: bool) -> None:
    net = Net(heads)
    x = net.int8((1, 9, 8))
    y = net.binary("ADD", x, attention(net, x, heads), 0.2)
    qgraph = _check(net, [x], y, board=board)
    # What puts heads in their places is all that moves: one copy for each operand and one back. Of
    # one head the columns of the values move, and for the mask the scores and back.
    moves = [op.kind for op in qgraph.ops if op.kind in ("transpose", "reshape")]
    assert len(moves) == (3 if heads == 1 else 4)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        (((1, 2, 3, 4), (1, 3, 4, 5)), "as many are supported"),
        (((1, 3, 4), (1, 5, 6)), "4 columns and 5 rows"),
        (((4,), (4, 3)), r"shapes \[4\]"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(shapes: Any, says: str) -> None:
    net = Net(1)
    a, b = (net.int8(shape) for shape in shapes)
    y = net.int8((1, 2, 3, 5))
    options = {"adj_x": False, "adj_y": False}
    net.operator("BATCH_MATMUL", [a, b], [y], "BatchMatMulOptions", options, version=4)
    with pytest.raises(UnsupportedError, match=says):
        import_tflite(net.finish([a, b], [y]), "refused")


def test_wide_matrices_wrap_as_the_reference() -> None:
    """Sums of products beyond 32 bits."""
    net = Net(2)
    a = net.int8((1, 1, 40000), 0.001, -128)
    b = net.int8((1, 2, 40000), 0.001, -128)
    y = net.matmul(a, b, adj_y=True, scale=0.5)
    most = [np.full((1, 1, 40000), 127, np.int8), np.full((1, 2, 40000), 127, np.int8)]
    _check(net, [a, b], y, inputs=[most])


# --- Float networks ---------------------------------------------------------------------------


def onnx_attention(heads: int, *, by_one: bool = False) -> tuple[test_onnx.Net, str]:
    """As exporters of PyTorch write it. by_one: keys of one head for all of them."""
    time, width = 6, 8
    net = test_onnx.Net((1, time, width))
    deep, parts = width // heads, []
    for place, count in enumerate((heads, 1 if by_one else heads, 1 if by_one else heads)):
        y = net.add("MatMul", "x", net.normal(width, count * deep, scale=0.3))
        y = net.add("Reshape", y, net.constant([1, time, count, deep]))
        parts.append(net.add("Transpose", y, perm=[0, 2, 3, 1] if place == 1 else [0, 2, 1, 3]))
    scores = net.add("Div", net.add("MatMul", *parts[:2]), net.constant(deep**0.5))
    mixed = net.add("MatMul", net.add("Softmax", scores, axis=-1), parts[2])
    joined = net.add("Transpose", mixed, perm=[0, 2, 1, 3])
    y = net.add("Reshape", joined, net.constant([1, time, width]))
    return net, net.add("MatMul", y, net.normal(width, width, scale=0.3))


@pytest.mark.parametrize("by_one", [False, True])
@pytest.mark.parametrize("heads", [1, 2])
def test_attention_of_onnx(heads: int, by_one: bool) -> None:
    net, y = onnx_attention(heads, by_one=by_one)
    graph = test_onnx.check(net, y, transposed=False)
    samples = [[net.rng.normal(0, 2, (1, 6, 8)).astype(np.float32)] for _ in range(6)]
    check(export_tflite(quantize(graph, samples)), net.rng)


@pytest.mark.parametrize("shape", [(3, 8, 5), (1, 8, 5)])
def test_a_constant_of_several_matrices(shape: Any) -> None:
    net = test_onnx.Net((1, 18, 8))
    y = net.add("MatMul", net.add("Reshape", "x", net.constant([3, 6, 8])), net.normal(*shape))
    y = net.add("Reshape", y, net.constant([1, 18, 5]))
    graph = test_onnx.check(net, y, transposed=False)
    samples = [[net.rng.normal(0, 2, (1, 18, 8)).astype(np.float32)] for _ in range(3)]
    check(export_tflite(quantize(graph, samples)), net.rng)
