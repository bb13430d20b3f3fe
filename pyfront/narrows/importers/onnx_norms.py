# SPDX-License-Identifier: Apache-2.0
"""Builders of normalizations by what an input itself holds. A docstring ends a line of the table of
supported operators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from narrows.graph.graph import Activation, Binary, Reduction, UnaryFunction
from narrows.graph.qgraph import Elementwise
from narrows.importers import build_layers as layers
from narrows.importers.onnx_functions import function_of
from narrows.importers.onnx_layers import with_number
from narrows.importers.onnx_node import Node
from narrows.importers.onnx_operands import operand
from narrows.importers.refusals import Refused
from narrows.importers.views import View


def layer_normalization(node: Node) -> None:
    """Scale and bias are constants. As MEAN, SQUARED_DIFFERENCE and RSQRT."""
    x = node.view(0)
    rank = len(x.shape)
    (first,) = layers.dimensions([int(node.attribute("axis", -1))], rank)
    if node.output_count > 1 and node.importer.reads(node.record.outputs[1:]):
        raise Refused("its mean or deviation is read")
    epsilon = float(node.attribute("epsilon", 1e-5))
    x = _standardized(node, x, set(range(first, rank)), epsilon, mean=True)
    steps = [(i, f) for i, f in ((1, Elementwise.MUL), (2, Elementwise.ADD)) if node.has(i)]
    node.result(_affine(node, x, steps))


def _standardized(node: Node, x: View, over: set[int], epsilon: float, *, mean: bool) -> View:
    """x less its mean, if that is wanted, over its deviation along dimensions."""
    importer, name, none = node.importer, node.name, Activation.NONE
    axes = layers.long_axes(x, over)
    if not axes or not (np.isfinite(epsilon) and epsilon >= 0):
        raise Refused(f"over one element, or epsilon {epsilon:g}")
    storage = layers.without(x, axes)

    def averaged(values: View, of: str) -> View:
        y = importer.tensor(f"{name}/{of}", storage)
        layers.reduce_axes(node, values, y, Reduction.MEAN, axes)
        return replace(values, tensor=y, storage=storage)

    if mean:
        average, moved = averaged(x, "mean"), importer.tensor(f"{name}/moved", x.storage)
        node.emit(Binary((x.tensor, average.tensor), moved, Elementwise.SUB, none))
        x = replace(x, tensor=moved)
    square = importer.tensor(f"{name}/square", x.storage)
    node.emit(Binary((x.tensor, x.tensor), square, Elementwise.MUL, none))
    variance = averaged(replace(x, tensor=square), "variance")
    if epsilon:
        variance = with_number(node, variance, Elementwise.ADD, epsilon, none, f"{name}/positive")
    root = function_of(node, variance, UnaryFunction.RSQRT, f"{name}/rsqrt")
    y = importer.tensor(f"{name}/standardized", x.storage)
    node.emit(Binary((x.tensor, root.tensor), y, Elementwise.MUL, none))
    return replace(x, tensor=y)


def _affine(node: Node, x: View, steps: list[tuple[int, Elementwise]]) -> View:
    """x with the constants that are inputs i of a node multiplied or added."""
    for i, function in steps:
        other = operand(node, i, x)
        y = node.importer.tensor(f"{node.name}/{function.name.lower()}", x.storage)
        node.emit(Binary((x.tensor, other.tensor), y, function, Activation.NONE))
        x = replace(x, tensor=y)
    tensor = node.importer.tensors[x.tensor]
    node.importer.tensors[x.tensor] = replace(tensor, name=node.name)
    return x
