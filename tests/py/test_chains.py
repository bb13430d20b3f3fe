# SPDX-License-Identifier: Apache-2.0
"""Chains of functions of one element, which become one table: every int8 value through them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from litert import LiteRT
from narrows.errors import ModelError
from narrows.exporters.export import export_tflite
from narrows.graph.graph import Relation
from narrows.graph.passes import drop_unused
from narrows.graph.qgraph import QGraph
from narrows.importers.tflite import import_tflite
from narrows.quantization import reference
from narrows.quantization.float_model import FloatModel
from narrows.quantization.lower import lower
from narrows.quantization.measure import measure_layers
from narrows.quantization.pipeline import quantize_network
from single import Net
from subjects import check
from test_lowered import refusal
from test_operators import ALL


def kinds(qgraph: QGraph) -> list[str]:
    return [op.kind for op in qgraph.ops]


def every(net: Net, x: int, *outputs: int) -> QGraph:
    """All int8 values through a net of one input."""
    return check(net.finish([x], list(outputs)), net.rng, [[ALL]])


@pytest.mark.parametrize("seed", range(3))
def test_a_silu(seed: int) -> None:
    net = Net(seed)
    x = net.int8(ALL.shape)
    y = net.binary("MUL", x, net.unary("LOGISTIC", x, 1 / 256, -128))
    assert kinds(every(net, x, y)) == ["lookup"]


@pytest.mark.parametrize("seed", range(3))
def test_numbers_and_branches(seed: int) -> None:
    net = Net(seed)
    x = net.int8(ALL.shape)
    y = net.binary("SUB", net.constant((), 0.01), net.unary("TANH", x, 1 / 128, 0))
    y = net.binary("ADD", y, net.prelu(x, net.constant((1, 1, 1))))
    assert kinds(every(net, x, net.unary("QUANTIZE", net.binary("MUL", y, x)))) == ["lookup"]


@pytest.mark.parametrize("scales", [(0.02, 0.01, 0.02), (3.0, 2.0, 0.01), (1.0, 0.7, 3e-3)])
@pytest.mark.parametrize("zero_point", [-128, -3, 127])
def test_a_number_over_every_value(zero_point: int, scales: tuple[float, ...]) -> None:
    net = Net(11)
    x = net.int8(ALL.shape, scales[1], zero_point)
    above = net.int8((), scales[0], -90, data=np.array([41]))
    y = net.binary("DIV", above, x, scales[2])
    # What TFLite Micro makes of a division by 0 is not defined.
    values = np.where(zero_point == ALL, -1 if zero_point else 1, ALL).astype(np.int8)
    assert kinds(check(net.finish([x], [y]), net.rng, [[values]])) == ["lookup"]


def test_every_value_over_a_number() -> None:
    net = Net(12)
    x = net.int8(ALL.shape, 0.02, -5)
    y = net.binary("DIV", x, net.int8((), 0.3, 3, data=np.array([9])), 0.05)
    # What TFLite Micro makes of quotients as small as these is not defined.
    values = np.where(np.abs(ALL + 5) <= 1, 50, ALL).astype(np.int8)
    assert kinds(check(net.finish([x], [y]), net.rng, [[values]])) == ["lookup"]


@pytest.mark.parametrize("seed", range(3))
def test_a_softsign(seed: int) -> None:
    net = Net(seed)
    x = net.int8(ALL.shape, 0.04, -3)
    below = net.binary("ADD", net.unary("ABS", x), net.int8((), 0.01, 0, data=np.array([100])))
    assert kinds(every(net, x, net.binary("DIV", x, below, 0.01))) == ["lookup"]


def test_a_division_that_is_no_table() -> None:
    net = Net(13)
    a, b = net.int8(ALL.shape), net.int8(ALL.shape)
    graph = import_tflite(net.finish([a, b], [net.binary("DIV", a, b, 0.1)]), "quotient")
    with pytest.raises(ModelError, match=r"quotient.*a DIV of two int8 tensors.*reciprocals"):
        lower(graph)


@pytest.mark.parametrize(("number", "given"), [(5, 127), (-5, -128), (0, 7)])
def test_a_division_by_zero(number: int, given: int) -> None:
    """The end on the side that the sign says; 0 of 0."""
    net = Net(14)
    x, above = net.int8((1, 1, 1, 1), 0.1, 10), net.int8((), 0.1, 0, data=np.array([number]))
    y = net.int8((1, 1, 1, 1), 0.1, 7)
    net.operator("DIV", [above, x], [y], "DivOptions")
    qgraph = lower(import_tflite(net.finish([x], [y]), "zero"))
    (got,) = reference.run(qgraph, [np.full((1, 1, 1), 10, np.int8)])
    assert got.item() == given


def test_what_is_read_in_between_is_kept() -> None:
    """It is computed from what is nearest, so that the source need not stay."""
    net = Net(4)
    x = net.int8(ALL.shape)
    seen = net.unary("RELU", x)
    y = net.unary("QUANTIZE", net.unary("LEAKY_RELU", seen, options={"alpha": 0.2}))
    qgraph = every(net, x, net.unary("RELU", seen), y, net.conv(seen, (1, 1), 2))
    assert kinds(qgraph) == ["lookup", "lookup", "lookup", "conv"]
    assert qgraph.ops[1].inputs == (qgraph.ops[0].output,)


@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (1, 4, 16, 4)])
def test_two_sources_are_no_chain(shape: Any) -> None:
    net = Net(5)
    x = net.int8(ALL.shape)
    y = net.binary("MUL", net.unary("RELU", x), net.constant(shape))
    mean = net.mean(y, (1, 2), True)
    assert "elementwise" in kinds(every(net, x, net.binary("ADD", y, net.binary("ADD", mean, y))))


def test_a_number_in_a_table_that_is_an_output_too() -> None:
    net = Net(10)
    x, factor = net.int8(ALL.shape), net.constant((1,))
    assert kinds(every(net, x, net.binary("MUL", x, factor), factor)) == ["lookup"]


def test_an_operand_of_another_shape_is_no_chain() -> None:
    net = Net(6)
    x = net.int8((1, 1, 256, 1))
    turned = net.reshape(x, (1, 256, 1, 1))
    y = net.binary("ADD", x, turned)
    check(
        net.finish([x], [y]),
        net.rng,
        [[np.arange(-128, 128).astype(np.int8).reshape(1, 1, 256, 1)]],
    )


# --- Comparisons and SELECT_V2 ----------------------------------------------------------------


def compared(net: Net, name: str, a: int, b: int) -> int:
    y = net.tensor(np.broadcast_shapes(net.shapes[a], net.shapes[b]), "bool")
    net.operator(name, [a, b], [y], f"{name.title().replace('_', '')}Options", {}, version=2)
    return y


def selected(net: Net, where: int, a: int, b: int, shape: Any) -> int:
    y = net.like(a, shape)
    net.operator("SELECT_V2", [where, a, b], [y], "SelectV2Options", {})
    return y


def number(net: Net, like: int, value: int) -> int:
    return net.like(like, (), np.array(value, np.int8))


@pytest.mark.parametrize("relation", [r.value for r in Relation])
def test_one_tensor_compared_with_a_number(relation: str) -> None:
    for scale in (0.9, 0.05, 1e-3, 1e-7):
        net = Net(7)
        x = net.int8(ALL.shape, scale)
        limit = net.int8((), scale, data=np.array(net.rng.integers(-100, 101)))
        y = net.unary("LEAKY_RELU", x, options={"alpha": 0.1})
        first, last = compared(net, relation, x, limit), compared(net, relation, limit, x)
        z = selected(net, first, number(net, y, 9), y, ALL.shape)
        assert kinds(every(net, x, selected(net, last, y, z, ALL.shape))) == ["lookup"]


@pytest.mark.parametrize("relation", [r.value for r in Relation])
@pytest.mark.parametrize("shape", [(1, 5, 4, 3), (1, 1, 1, 3), (1, 5, 1, 1)])
def test_two_tensors_compared(shape: Any, relation: str) -> None:
    net, whole = Net(8), (1, 5, 4, 3)
    a, c = net.int8(whole, 0.05, 3), net.int8(whole, 0.05, 3)
    b = net.int8(shape, 0.07 if shape == (1, 1, 1, 3) else 0.05, 3)
    y = selected(net, compared(net, relation, a, b), a, c, whole)
    numbers = [number(net, a, value) for value in (-128, 40)]
    z = selected(net, compared(net, relation, b, a), numbers[0], numbers[1], whole)
    check(net.finish([a, b, c], [y, z]), net.rng, board=relation == "GREATER" and shape == whole)


def test_the_older_select() -> None:
    net, shape = Net(8), (1, 5, 4, 3)
    a, b = net.int8(shape, 0.05, 3), net.int8(shape, 0.05, 3)
    y = net.like(a, shape)
    net.operator("SELECT", [compared(net, "LESS", a, b), a, b], [y], "SelectOptions", {})
    check(net.finish([a, b], [y]), net.rng, interpreter=LiteRT)


def test_comparisons_that_are_refused() -> None:
    net = Net(9)
    x = net.int8((1, 4, 4, 2), 1.5)
    where = compared(net, "LESS", x, net.int8((), 0.1, data=np.array(3)))
    assert "scales below 1 are compared" in refusal(
        net, x, selected(net, where, x, x, (1, 4, 4, 2))
    )
    net = Net(9)
    x = net.int8((1, 4, 4, 2), 0.1)
    where = compared(net, "LESS", x, number(net, x, 3))
    y = net.int8((1, 4, 4, 2), 0.2)
    net.operator("SELECT_V2", [where, x, x], [y], "SelectV2Options", {})
    assert "is not quantized as its output" in refusal(net, x, y)
    y = net.like(x, (1, 4, 4, 2))
    net.operator("SELECT_V2", [x, x, x], [y], "SelectV2Options", {})
    assert "is no output of a comparison" in refusal(net, x, y)


def test_a_float_network_that_compares_is_quantized() -> None:
    net, shape = Net(9), (1, 5, 4, 3)
    x, z, y = (net.tensor(shape, "float32") for _ in range(3))
    limit = net.tensor((), "float32", data=np.array(0.25, np.float32))
    where = net.tensor(shape, "bool")
    net.operator("GREATER", [x, limit], [where], "GreaterOptions", {})
    net.operator("MUL", [x, x], [z], "MulOptions", {})
    net.operator("SELECT_V2", [where, z, x], [y], "SelectV2Options", {})
    graph = import_tflite(net.finish([x], [y]), "floats")
    samples = [[net.rng.uniform(-1, 1, shape).astype(np.float32)] for _ in range(4)]
    model = FloatModel(graph)
    for (sample,) in samples:
        (got,) = model.run([sample])
        np.testing.assert_allclose(got, np.where(sample > 0.25, sample * sample, sample), 1e-6)
    quantized = quantize_network(graph, lambda: iter(samples))
    reports = measure_layers(quantized)
    assert [report.kind for report in reports] == ["Binary", "Select"]
    assert min(report.decibels for report in reports) > 30
    check(export_tflite(drop_unused(quantized.graph)), net.rng)
