# SPDX-License-Identifier: Apache-2.0
"""Builders of what is true or false, and of what depends on it. A docstring ends a line of the
table of supported operators."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from narrows.graph.graph import Activation, Compare, Relation, Select
from narrows.graph.qgraph import Elementwise
from narrows.importers import build_layers as layers
from narrows.importers.onnx_constants import Constant, Integers
from narrows.importers.onnx_functions import pair_of
from narrows.importers.onnx_layers import operands, with_number
from narrows.importers.onnx_node import Node
from narrows.importers.onnx_operands import operand
from narrows.importers.refusals import Refused
from narrows.importers.views import AnyView, View

RELATIONS = {
    "Equal": Relation.EQUAL,
    "Greater": Relation.GREATER,
    "GreaterOrEqual": Relation.GREATER_EQUAL,
    "Less": Relation.LESS,
    "LessOrEqual": Relation.LESS_EQUAL,
}


def is_true(node: Node, i: int) -> bool:
    """Whether input i holds truth values that are computed."""
    integers = node.importer.integer.get(node.record.inputs[i])
    return integers is not None and integers.kind == "bool"


def numbers(node: Node) -> None:
    # Said of nearly all operators, so not a line of the table.
    for name in node.record.inputs:
        if name in node.importer.integer:
            raise Refused(f"{name} holds integers or truth values; it compares numbers")


def selected(node: Node) -> None:
    # Said of nearly all operators, so not a line of the table.
    for name in node.record.inputs[1:]:
        if name in node.importer.integer:
            raise Refused(f"{name} holds integers or truth values; it selects numbers")


def compare(node: Node) -> None:
    """Shapes are equal or broadcast along height, width and channels; an operand may be a
    constant."""
    a, b = operands(node)
    _compared(node, a, b, RELATIONS[node.operator])


def _compared(node: Node, a: AnyView, b: AnyView, relation: Relation) -> None:
    node.importer.integer[node.name] = Integers("bool")
    layers.compare(node, a, b, relation)


def where(node: Node) -> None:
    """The condition is a comparison, or a constant that is all true or all false; a and b may
    be constants. Shapes are equal or broadcast along height, width and channels."""
    condition = node.value(0)
    if isinstance(condition, Constant):
        holds = condition.data.astype(bool)
        if holds.size < 1 or not (holds.all() or not holds.any()):
            raise Refused("its condition is a constant that is true in places; use a product")
        shape = np.broadcast_shapes(holds.shape, *(node.shape(i) for i in (1, 2)))
        chosen = node.view(1 if holds.all() else 2)
        if chosen.shape != shape:
            raise Refused(f"it repeats shape {list(chosen.shape)} to {list(shape)}")
        node.result(chosen)
        return
    if not is_true(node, 0):
        raise Refused(f"{node.record.inputs[0]} does not hold truth values")
    known = [i for i in (1, 2) if not isinstance(node.value(i), Constant)]
    views = {i: node.view(i) for i in (0, *known)}
    largest = max(views.values(), key=lambda v: (len(v.shape), prod(v.shape)))
    a, b = (views[i] if i in views else operand(node, i, largest) for i in (1, 2))
    layers.select(node, views[0], a, b)


def as_number(node: Node, x: View, name: str) -> View:
    """1 where x is true, and 0 elsewhere."""
    importer = node.importer
    one, zero = (
        importer.tensor(f"{name}/{n:g}", (1, 1, 1), data=np.array(n, np.float32)) for n in (1, 0)
    )
    y = importer.tensor(name, x.storage)
    node.emit(Select((x.tensor, one, zero), y))
    return replace(x, tensor=y)


def logic(node: Node) -> None:
    """Its operands are comparisons."""
    if not all(is_true(node, i) for i in range(node.input_count)):
        raise Refused("an operand is not computed by a comparison")
    name = node.name
    views = [as_number(node, node.view(i), f"{name}/{i}") for i in range(node.input_count)]
    if node.operator == "Not":
        _against(node, views[0], 0.5, Relation.LESS)
        return
    a, b = views
    if a.storage != b.storage or a.axes != b.axes:
        raise Refused(f"shapes {list(a.shape)} and {list(b.shape)}")
    function = Elementwise.MINIMUM if node.operator == "And" else Elementwise.MAXIMUM
    both = pair_of(node, a, b, function, f"{name}/both")
    _against(node, both, 0.5, Relation.GREATER)


def _against(node: Node, x: View, number: float, relation: Relation) -> None:
    constant = _number(node, x, number)
    _compared(node, x, constant, relation)


def _number(node: Node, x: View, number: float) -> View:
    data = np.full((1, 1, 1), number, np.float32)
    tensor = node.importer.tensor(f"{node.name}/{number:g}", (1, 1, 1), data=data)
    return View(tensor, (1,) * len(x.shape), (1, 1, 1), x.axes)


def _chosen(
    node: Node, x: View, number: float, relation: Relation, a: View, b: View, name: str
) -> View:
    """a where x is in a relation to a number, b elsewhere."""
    importer = node.importer
    true = importer.truth(f"{name}/{relation.value.lower()}", x.storage)
    node.emit(Compare((x.tensor, _number(node, x, number).tensor), true, relation))
    y = importer.tensor(name, x.storage)
    node.emit(Select((true, a.tensor, b.tensor), y))
    return replace(x, tensor=y)


def sign(node: Node) -> None:
    """As two comparisons."""
    x, name = node.view(0), node.name
    low, zero, high = (_number(node, x, n) for n in (-1.0, 0.0, 1.0))
    inner = _chosen(node, x, 0.0, Relation.LESS, low, zero, f"{name}/negative")
    node.result(_chosen(node, x, 0.0, Relation.GREATER, high, inner, name))


def shrink(node: Node) -> None:
    """As two comparisons."""
    x, name = node.view(0), node.name
    bound, bias = (float(node.attribute(n, d)) for n, d in (("lambd", 0.5), ("bias", 0.0)))
    if not (np.isfinite([bound, bias]).all() and bound >= 0):
        raise Refused(f"lambd {bound:g}, bias {bias:g}")
    zero, none = _number(node, x, 0.0), Activation.NONE
    low, high = x, x
    if bias:
        low = with_number(node, x, Elementwise.ADD, bias, none, f"{name}/low")
        high = with_number(node, x, Elementwise.SUB, bias, none, f"{name}/high")
    inner = _chosen(node, x, -bound, Relation.LESS, low, zero, f"{name}/below")
    node.result(_chosen(node, x, bound, Relation.GREATER, high, inner, name))


def thresholded_relu(node: Node) -> None:
    """As a comparison."""
    x, alpha = node.view(0), float(node.attribute("alpha", 1.0))
    if not np.isfinite(alpha):
        raise Refused(f"alpha {alpha:g}")
    zero = _number(node, x, 0.0)
    node.result(_chosen(node, x, alpha, Relation.GREATER, x, zero, node.name))
