# SPDX-License-Identifier: Apache-2.0
"""What follows from shapes and constants in a .tflite file: LiteRT's numbers, computed on import;
and shapes that only they tell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from litert import PLAIN, LiteRT
from narrows.errors import UnsupportedError
from narrows.importers.tflite import import_tflite
from narrows.importers.tflite_constants import FOLDED, OPTIONS
from narrows.importers.tflite_file import read_model
from narrows.importers.tflite_node import Importer
from narrows.importers.tflite_rules import RULES
from oracle import Array
from single import Net
from subjects import check

INTS = np.array([[7, -3, 2], [5, 1, -8]])
CUT = {"begin_mask": 1, "end_mask": 2, "shrink_axis_mask": 0}
# operator: operands (the first one is the model's input for LiteRT), the output's shape, the
# options' table and its fields.
CASES: dict[str, tuple[list[Any], tuple[int, ...], str | None, dict[str, Any]]] = {
    "ADD": ([INTS, [[1], [2]]], (2, 3), "AddOptions", {}),
    "SUB": ([INTS, [1, 2, 3]], (2, 3), "SubOptions", {}),
    "MUL": ([INTS, INTS], (2, 3), "MulOptions", {}),
    "FLOOR_DIV": ([INTS, [[2], [-3]]], (2, 3), None, {}),
    "FLOOR_MOD": ([INTS, [[2], [-3]]], (2, 3), None, {}),
    "MAXIMUM": ([INTS, [1, 2, 3]], (2, 3), "MaximumMinimumOptions", {}),
    "MINIMUM": ([INTS, [1, 2, 3]], (2, 3), "MaximumMinimumOptions", {}),
    "REDUCE_PROD": ([INTS, [1]], (2, 1), "ReducerOptions", {"keep_dims": True}),
    "SUM": ([INTS, [-2]], (3,), "ReducerOptions", {"keep_dims": False}),
    "PACK": ([INTS, INTS + 1], (2, 2, 3), "PackOptions", {"axis": 1, "values_count": 2}),
    "CONCATENATION": ([INTS, [[1], [2]]], (2, 4), "ConcatenationOptions", {"axis": -1}),
    "GATHER": ([INTS, [2, 0]], (2, 2), "GatherOptions", {"axis": 1}),
    "STRIDED_SLICE": ([INTS, [1, 1], [9, 0], [1, 1]], (2, 2), "StridedSliceOptions", CUT),
    "SLICE": ([INTS, [0, 1], [1, -1]], (1, 2), None, {}),
    "RESHAPE": ([INTS, [3, -1]], (3, 2), "ReshapeOptions", {"new_shape": (3, -1)}),
    "SQUEEZE": ([INTS[:1]], (3,), "SqueezeOptions", {"squeeze_dims": (0,)}),
    "EXPAND_DIMS": ([INTS, -2], (2, 1, 3), "ExpandDimsOptions", {}),
    "TRANSPOSE": ([INTS, [1, 0]], (3, 2), "TransposeOptions", {}),
    "TILE": ([INTS, [2, 1]], (4, 3), None, {}),
    "FILL": ([[2, 3], 5], (2, 3), None, {}),
    "BROADCAST_TO": ([INTS, [2, 2, 3]], (2, 2, 3), None, {}),
    "RANGE": ([2, 11, 3], (3,), "RangeOptions", {}),
}


def test_every_function_is_tested() -> None:
    assert set(CASES) | {"CAST"} == set(FOLDED)


def computed(name: str, operands: list[Any], known: bool) -> tuple[Net, int, int]:
    """A net of one operator over integers; known: its first operand is a constant, too."""
    net, (_, shape, table, options) = Net(1), CASES[name]
    first = np.asarray(operands[0], np.int32)
    x = net.tensor(first.shape, "int32", data=first if known else None)
    y = net.tensor(shape, "int32")
    inputs = [x, *map(net.ints, operands[1:])]
    net.operator(name, inputs, [y], table, options, version=2 if name == "BROADCAST_TO" else 1)
    return net, x, y


@pytest.mark.parametrize("name", CASES)
def test_as_litert_does(name: str) -> None:
    operands, shape, *_ = CASES[name]
    net, x, y = computed(name, operands, known=False)
    first = np.asarray(operands[0], np.int32)
    (want,) = LiteRT(net.finish([x], [y]), PLAIN).run([first])
    net, _, y = computed(name, operands, known=True)
    got = constant_of(net, y)
    assert got.shape == want.shape == shape
    np.testing.assert_array_equal(got, want)


def constant_of(net: Net, index: int) -> Array:
    """What an import finds for a tensor that a RESHAPE reads as its shape."""
    x = net.int8((1, 4))
    y = net.like(x, (4, 1))
    net.operator("RESHAPE", [x, index], [y], "ReshapeOptions", {})
    wanted = {name: rule.options for name, rule in RULES.items() if rule.options[0]}
    record = read_model(net.finish([x], [y]), "constant", {**OPTIONS, **wanted})
    importer = Importer(record, "constant", RULES)
    importer.run("constant")
    data = importer.found[index].data
    assert data is not None
    return data


def test_floats_and_casts() -> None:
    net = Net(2)
    limits = [net.tensor((), "float32", data=n) for n in (0.5, 2.6, 0.5)]
    row = net.tensor((5,), "float32")
    net.operator("RANGE", limits, [row], "RangeOptions", {})
    whole = net.tensor((5,), "int32")
    net.operator("CAST", [row], [whole], "CastOptions", {})
    assert constant_of(net, whole).tolist() == [0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("name", "operands"),
    [
        ("FILL", [[65536, 65536], 1]),
        ("TILE", [INTS, [65536, 65536]]),
        ("BROADCAST_TO", [INTS, [65536, 65536, 2, 3]]),
        ("RANGE", [0, 2**31 - 1, 1]),
        ("RANGE", [0, 5, 0]),
        ("FLOOR_DIV", [INTS, [1, 0, 1]]),
        ("GATHER", [INTS, [7]]),
        ("RESHAPE", [INTS, [4, 2]]),
        ("TRANSPOSE", [INTS, [0, 0]]),
        ("ADD", [INTS, [1, 2]]),
    ],
)
def test_hostile_operands(name: str, operands: list[Any]) -> None:
    net, _, axes = computed(name, operands, known=True)
    x = net.int8((1, 4, 4, 2))
    y = net.like(x, (1, 2))
    net.operator("MEAN", [x, axes], [y], "ReducerOptions", {})
    with pytest.raises(UnsupportedError) as caught:
        import_tflite(net.finish([x], [y]), "hostile")
    assert caught.value.items[0].operator == name


def test_an_operator_of_constants_alone_says_so() -> None:
    net = Net(3)
    x = net.int8((1, 4))
    y = net.like(x, (1, 1))
    net.operator("REDUCE_PROD", [x, net.ints([1])], [y], "ReducerOptions", {"keep_dims": True})
    with pytest.raises(UnsupportedError, match="of shapes and constants alone"):
        import_tflite(net.finish([x], [y]), "product")


# --- Shapes that the file states wrongly ------------------------------------------------------


def product_of(net: Net, shape: int, indices: tuple[int, ...]) -> int:
    some, product = net.tensor((len(indices),), "int32"), net.tensor((), "int32")
    net.operator("GATHER", [shape, net.ints(indices)], [some], "GatherOptions", {})
    options = ("ReducerOptions", {"keep_dims": False})
    net.operator("REDUCE_PROD", [some, net.ints([0])], [product], *options)
    return product


def test_a_shape_that_is_found_only_when_the_model_runs() -> None:
    """What is behind such a RESHAPE has other shapes than the file states, too."""
    net = Net(4)
    x = net.int8((1, 6, 5, 3))
    shape, target = net.tensor((4,), "int32"), net.tensor((2,), "int32")
    net.operator("SHAPE", [x], [shape], "ShapeOptions", {"out_type": 2})
    parts = [product_of(net, shape, (0, 1, 2)), product_of(net, shape, (3,))]
    net.operator("PACK", parts, [target], "PackOptions", {"values_count": 2})
    rows = net.like(x, (1, 1))
    net.operator("RESHAPE", [x, target], [rows], "ReshapeOptions", {})
    model = net.finish([x], [net.unary("LEAKY_RELU", rows, options={"alpha": 0.25})])
    graph = import_tflite(model, "resized")
    assert graph.outputs[0].shape == (30, 3)
    check(model, net.rng, interpreter=PlainLiteRT)


class PlainLiteRT(LiteRT):
    def __init__(self, model: bytes) -> None:
        super().__init__(model, PLAIN)


# --- TILE -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "counts"),
    [
        ((1, 3, 4, 2), (1, 3, 1, 1)),
        ((1, 3, 4, 2), (1, 1, 1, 2)),
        ((1, 1, 4, 2), (1, 12, 1, 1)),
        ((1, 3, 1, 2), (1, 1, 5, 1)),
        ((1, 3, 4, 2), (1, 1, 1, 1)),
    ],
)
def test_tile(shape: tuple[int, ...], counts: tuple[int, ...]) -> None:
    net = Net(5)
    x = net.int8(shape)
    y = net.like(x, np.multiply(shape, counts))
    net.operator("TILE", [x, net.ints(counts)], [y], version=3)
    check(net.finish([x], [y]), net.rng, interpreter=PlainLiteRT)


def test_a_vector_that_is_repeated() -> None:
    """As Keras' RepeatVector writes it: along a dimension that was not there."""
    net = Net(5)
    x = net.int8((1, 8))
    y = net.reshape(x, (1, 1, 1, 8))
    tiled = net.like(y, (1, 1, 6, 8))
    net.operator("TILE", [y, net.ints((1, 1, 6, 1))], [tiled], version=3)
    check(net.finish([x], [tiled]), net.rng, interpreter=PlainLiteRT)


def repeated(net: Net, x: int, dimension: int, count: int, joined: bool = True) -> int:
    shape = list(net.shapes[x])
    inserted = [*shape[: dimension + 1], 1, *shape[dimension + 1 :]]
    y = net.like(x, inserted)
    axis = net.ints(dimension + 1)
    net.operator("EXPAND_DIMS", [x, axis], [y], "ExpandDimsOptions", {})
    counts = [count if d == dimension + 1 else 1 for d in range(5)]
    tiled = net.like(x, np.multiply(inserted, counts))
    net.operator("TILE", [y, net.ints(counts)], [tiled], version=3)
    shape[dimension] *= count
    return net.reshape(tiled, shape) if joined else tiled


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (3, 5), (1, 7)])
def test_repeated_rows_and_columns_are_resized(rows: int, columns: int) -> None:
    net = Net(6)
    x = net.int8((1, 5, 6, 3))
    model = net.finish([x], [repeated(net, repeated(net, x, 1, rows), 2, columns)])
    graph = import_tflite(model, "repeated")
    assert {op.function for op in graph.operators} == {"nearest"}
    check(model, net.rng, interpreter=PlainLiteRT)


def test_repeated_rows_that_nothing_joins() -> None:
    net = Net(7)
    x = net.int8((1, 5, 6, 3))
    y = repeated(net, x, 1, 2, joined=False)
    for outputs in ([y], [net.unary("RELU", y)]):
        with pytest.raises(UnsupportedError, match="a TILE before it repeats rows or columns"):
            import_tflite(net.finish([x], outputs), "repeated")


@pytest.mark.parametrize("counts", [(1, 2, 2, 1), (1, 11, 1, 1), (2, 1, 1, 1), (1, 1, 1, 0)])
def test_a_tile_that_is_refused(counts: tuple[int, ...]) -> None:
    net = Net(8)
    x = net.int8((1, 3, 4, 2))
    y = net.like(x, np.maximum(np.multiply((1, 3, 4, 2), counts), 1))
    net.operator("TILE", [x, net.ints(counts)], [y], version=3)
    with pytest.raises(UnsupportedError, match="TILE"):
        import_tflite(net.finish([x], [y]), "tile")


def test_a_shape_in_floats_is_refused() -> None:
    net = Net(9)
    x = net.int8((1, 2, 3, 4))
    shape, y = net.tensor((4,), "float32"), net.like(x, (1, 6, 4, 1))
    net.operator("SHAPE", [x], [shape], "ShapeOptions", {})
    net.operator("TILE", [x, shape], [y])
    with pytest.raises(UnsupportedError, match=r"SHAPE .*is not supported"):
        import_tflite(net.finish([x], [y]), "floats")
