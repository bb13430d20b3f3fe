# SPDX-License-Identifier: Apache-2.0
"""Operators that become several others on import: TensorFlow Lite Micro's bytes for each of them,
and the values of ONNX's own evaluator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnx.reference
import pytest

from narrows.errors import UnsupportedError
from narrows.exporters.export import export_tflite
from narrows.graph.graph import Graph
from narrows.importers.onnx import import_onnx
from narrows.importers.tflite import import_tflite
from oracle import Oracle
from single import Net
from subjects import check
from test_onnx import Net as OnnxNet
from test_onnx import Qdq, nhwc, outside
from test_onnx import check as check_onnx


def refusal(net: Net, x: int, *outputs: int) -> str:
    """What the import says of a model that it refuses."""
    with pytest.raises(UnsupportedError) as caught:
        import_tflite(net.finish([x], outputs), "refused")
    return str(caught.value)


def check_qdq(add: Callable[[OnnxNet, str], str]) -> Graph:
    """An operator that keeps the scale, in QDQ form: the .tflite that it becomes is exact, and
    gives what ONNX's own evaluator does."""
    net = Qdq()
    y = net.around(add(net, net.around("x", 0.05, 3)), 0.05, 3)
    model = net.model(y, opset=19)
    graph = import_onnx(model, "qdq")
    data = export_tflite(graph)
    check(data, net.rng)
    x = net.rng.normal(0, 2, net.shape).astype(np.float32)
    (want,) = onnx.reference.ReferenceEvaluator(onnx.load_from_string(model)).run(None, {"x": x})
    (got,) = Oracle(data).run([nhwc(x)])
    np.testing.assert_allclose(got, outside(want, got.shape), atol=1e-6)
    return graph


# --- PACK, UNPACK and GATHER -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis", "count"),
    [
        ((1, 5, 4), -1, 2),
        ((1, 5, 4), 1, 3),
        ((1, 5, 4), 2, 12),
        ((1, 7), 1, 2),
        ((1, 7), 2, 2),
        ((7,), 0, 3),
        ((5, 4, 3), 0, 1),
    ],
)
def test_pack(shape: tuple[int, ...], axis: int, count: int) -> None:
    net = Net(1)
    x = net.int8(shape)
    parts = [x, net.like(x, shape, net.rng.integers(-128, 128, shape))] + [x] * (count - 2)
    place = axis % (len(shape) + 1)
    y = net.like(x, (*shape[:place], count, *shape[place:]))
    options = {"axis": axis, "values_count": count}
    net.operator("PACK", parts[:count], [y], "PackOptions", options)
    check(net.finish([x], [y]), net.rng)


def unpacked(net: Net, x: int, axis: int) -> list[int]:
    shape = list(net.shapes[x])
    count = shape.pop(axis)
    parts = [net.like(x, shape) for _ in range(count)]
    net.operator("UNPACK", [x], parts, "UnpackOptions", {"axis": axis, "num": count})
    return parts


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_unpack(axis: int) -> None:
    net = Net(2)
    x = net.int8((1, 3, 4, 2))
    check(net.finish([x], unpacked(net, x, axis)), net.rng)


def test_counts_that_contradict_the_tensors() -> None:
    net = Net(9)
    x = net.int8((1, 3, 4, 2))
    y, z = net.like(x, (1, 3, 4)), net.like(x, (1, 3, 4, 1))
    net.operator("UNPACK", [x], [y], "UnpackOptions", {"axis": 3, "num": 2})
    net.operator("PACK", [y], [z], "PackOptions", {"axis": 3, "values_count": 2})
    said = refusal(net, x, z)
    assert "1 outputs instead of 2" in said
    assert "1 inputs instead of 2" in said


def test_rows_that_are_unpacked_and_packed_the_other_way_round() -> None:
    net = Net(3)
    x = net.int8((1, 3, 4, 2))
    y = net.like(x, (1, 4, 3, 2))
    options = {"axis": 2, "values_count": 3}
    net.operator("PACK", unpacked(net, x, 1)[::-1], [y], "PackOptions", options)
    check(net.finish([x], [y]), net.rng)


def gathered(net: Net, x: int, axis: int, indices: int | Sequence[int] | np.ndarray) -> int:
    places = np.asarray(indices)
    shape = net.shapes[x]
    d = axis % len(shape)
    y = net.like(x, (*shape[:d], *places.shape, *shape[d + 1 :]))
    net.operator("GATHER", [x, net.ints(places)], [y], "GatherOptions", {"axis": axis}, version=2)
    return y


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize(
    "indices", [2, [4], [0, 1, 2, 3, 4, 5], [0, 2, 4, 1, 3, 5], [5, 4, 3], [1, 1, 2, 4], [[0], [3]]]
)
def test_gather(axis: int, indices: int | list[int]) -> None:
    net = Net(4)
    x = net.int8((1, 6, 6, 6))
    if np.ndim(indices) == 2 and axis != 2:  # five dimensions, three of which are longer than 1
        x = net.int8((1, 6, 6, 1)) if axis == 1 else net.int8((1, 1, 6, 6))
    check(net.finish([x], [gathered(net, x, axis, indices)]), net.rng)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_reverse(axis: int) -> None:
    net = Net(6)
    x = net.int8((1, 5, 4, 3))
    y = net.like(x, (1, 5, 4, 3))
    net.operator("REVERSE_V2", [x, net.ints([axis])], [y])
    check(net.finish([x], [y]), net.rng)
    net.operator("REVERSE_V2", [x, net.ints([1, 2])], [z := net.like(x, (1, 5, 4, 3))])
    assert "2 axes" in refusal(net, x, z)


def test_gather_of_many_runs_is_refused() -> None:
    net = Net(5)
    x = net.int8((1, 2, 2, 70))
    assert "it takes 66 runs of equal steps along dimension 3, up to 64" in refusal(
        net, x, gathered(net, x, 3, range(65, -1, -1))
    )
    assert "indices [70]" in refusal(net, x, gathered(net, x, 3, [70]))


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("indices", [1, -1, [2, 0], [0, 2, 1, 3], [-1, -2]])
def test_onnx_gather(axis: int, indices: int | list[int]) -> None:
    def add(net: OnnxNet, x: str) -> str:
        y = net.add("Gather", x, net.constant(indices), axis=axis)
        kept = net.add("Unsqueeze", y, net.constant([axis])) if np.ndim(indices) == 0 else y
        return str(kept)

    net = OnnxNet()
    check_onnx(net, add(net, "x"))
    check_qdq(add)


# --- Padding with a tensor's own elements -----------------------------------------------------


NOTHING = ((0, 0), (0, 0), (0, 0), (0, 0))


def mirrored(net: Net, x: int, amounts: Sequence[tuple[int, int]], mode: int) -> int:
    shape = [n + sum(pair) for n, pair in zip(net.shapes[x], amounts, strict=True)]
    y = net.like(x, shape)
    net.operator("MIRROR_PAD", [x, net.ints(amounts)], [y], "MirrorPadOptions", {"mode": mode})
    return y


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize(
    "amounts",
    [
        ((0, 0), (1, 1), (1, 1), (0, 0)),
        ((0, 0), (3, 0), (0, 2), (0, 0)),
        ((0, 0), (0, 0), (0, 0), (1, 2)),
        NOTHING,
    ],
)
def test_mirror_pad(amounts: Sequence[tuple[int, int]], mode: int) -> None:
    net = Net(6)
    x = net.int8((1, 5, 4, 3))
    y = mirrored(net, x, amounts, mode)
    qgraph = check(net.finish([x], [net.conv(y, (3, 3), 2)]), net.rng)
    assert sum(tensor.name == f"tensor_{y}" for tensor in qgraph.tensors) == (amounts != NOTHING)


def test_mirror_pad_that_is_refused() -> None:
    net = Net(7)
    x = net.int8((1, 40, 4, 3))
    for amounts, mode in (((4, 0), 0), ((5, 0), 1), ((-1, 2), 0)):
        y = mirrored(net, x, ((0, 0), (0, 0), amounts, (0, 0)), mode)
        assert "MIRROR_PAD" in refusal(net, x, y)
    y = net.like(x, (1, 42, 4, 3))
    net.operator("MIRROR_PAD", [x, net.ints(((0, 0), (1, 1), (0, 0), (0, 0)))], [y])
    assert "it has no mode" in refusal(net, x, y)
    assert "65 runs" in refusal(net, x, mirrored(net, x, ((0, 0), (32, 32), (0, 0), (0, 0)), 0))


@pytest.mark.parametrize("mode", ["reflect", "edge", "wrap"])
@pytest.mark.parametrize("pads", [[0, 0, 1, 1, 0, 0, 1, 1], [0, 2, 0, 3, 0, 1, 2, 0]])
def test_onnx_pad_with_its_own_elements(pads: list[int], mode: str) -> None:
    def add(net: OnnxNet, x: str) -> str:
        return str(net.add("Pad", x, net.constant(pads), mode=mode))

    net = OnnxNet()
    check_onnx(net, add(net, "x"), opset=19)
    check_qdq(add)


def test_onnx_pad_of_too_few_elements() -> None:
    net = OnnxNet()
    y = net.add("Pad", "x", net.constant([0, 0, 7, 0, 0, 0, 0, 0]), mode="reflect")
    with pytest.raises(UnsupportedError, match=r"Pad .*paddings"):
        import_onnx(net.model(y), "refused")
