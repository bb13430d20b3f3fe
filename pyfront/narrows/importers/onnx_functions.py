# SPDX-License-Identifier: Apache-2.0
"""Builders of functions of one element for which TFLite has no operator of its own: a few of its
operators are the same function. Compiled, each is one table again. A docstring ends a line of the
table of supported operators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from narrows.graph.graph import FLOAT_FUNCTIONS, Activation, Binary, Unary, UnaryFunction
from narrows.graph.qgraph import Elementwise
from narrows.importers.onnx_layers import with_number
from narrows.importers.onnx_node import Node
from narrows.importers.refusals import Refused
from narrows.importers.views import View

_MAX_POWER = 8


def function_of(
    node: Node, x: View, function: UnaryFunction, name: str, alpha: float = 0.0
) -> View:
    """A function of x within what a node becomes."""
    y = node.importer.tensor(name, x.storage)
    node.emit(Unary((x.tensor,), y, function, alpha, function in FLOAT_FUNCTIONS))
    return replace(x, tensor=y)


def pair_of(node: Node, a: View, b: View, function: Elementwise, name: str) -> View:
    """What a node's two tensors of one storage become."""
    y = node.importer.tensor(name, a.storage)
    node.emit(Binary((a.tensor, b.tensor), y, function, Activation.NONE))
    return replace(a, tensor=y)


def reciprocal_of(node: Node, x: View, name: str) -> View:
    """1 over each element of x, within what a node becomes."""
    return with_number(node, x, Elementwise.DIV, 1.0, Activation.NONE, name, first=True)


def _scaled(node: Node, x: View, factor: float, name: str) -> View:
    if factor == 1:
        return x
    return with_number(node, x, Elementwise.MUL, factor, Activation.NONE, name)


def elu(node: Node) -> None:
    """As ELU, and LEAKY_RELU and MUL where alpha (and gamma) are not 1."""
    x, name = node.view(0), node.name
    given = {
        "Elu": (1.0, 1.0),
        "Celu": (1.0, 1.0),
        "Selu": (1.67326319217681884765625, 1.05070102214813232421875),
    }
    alpha, gamma = (
        float(node.attribute(n, number))
        for n, number in zip(("alpha", "gamma"), given[node.operator], strict=True)
    )
    if not (np.isfinite([alpha, gamma]).all() and alpha > 0 and gamma > 0):
        raise Refused(f"alpha {alpha:g}, gamma {gamma:g}")
    if node.operator == "Celu":  # alpha times the ELU of x / alpha
        x = _scaled(node, x, 1 / alpha, f"{name}/scaled")
        alpha, gamma = 1.0, alpha
    if alpha == gamma == 1:
        y = replace(x, tensor=node.new(x.storage))
        node.emit(Unary((x.tensor,), y.tensor, UnaryFunction.ELU))
        node.result(y)
        return
    x = function_of(node, x, UnaryFunction.ELU, f"{name}/elu")
    if alpha != 1:
        last = name if gamma == 1 else f"{name}/leaky"
        x = function_of(node, x, UnaryFunction.LEAKY_RELU, last, alpha)
    node.result(_scaled(node, x, gamma, name))


def _softplus(node: Node, x: View, name: str) -> View:
    """relu(x) - log(logistic(|x|)): its parts stay small where exp(x) would not."""
    inner = function_of(node, x, UnaryFunction.ABS, f"{name}/abs")
    inner = function_of(node, inner, UnaryFunction.LOGISTIC, f"{name}/logistic")
    inner = function_of(node, inner, UnaryFunction.LOG, f"{name}/log")
    outer = function_of(node, x, UnaryFunction.RELU, f"{name}/relu")
    return pair_of(node, outer, inner, Elementwise.SUB, name)


def softplus(node: Node) -> None:
    """As RELU less the LOG of the LOGISTIC of ABS."""
    node.result(_softplus(node, node.view(0), node.name))


def mish(node: Node) -> None:
    """As the product with TANH of a Softplus."""
    x, name = node.view(0), node.name
    gate = function_of(
        node, _softplus(node, x, f"{name}/softplus"), UnaryFunction.TANH, f"{name}/tanh"
    )
    node.result(pair_of(node, x, gate, Elementwise.MUL, name))


def swish(node: Node) -> None:
    """As the product with LOGISTIC."""
    x, name, alpha = node.view(0), node.name, float(node.attribute("alpha", 1.0))
    gate = _scaled(node, x, alpha, f"{name}/scaled")
    gate = function_of(node, gate, UnaryFunction.LOGISTIC, f"{name}/logistic")
    node.result(pair_of(node, x, gate, Elementwise.MUL, name))


def softsign(node: Node) -> None:
    """As the product with the reciprocal of 1 and ABS."""
    x, name, add = node.view(0), node.name, Elementwise.ADD
    divisor = function_of(node, x, UnaryFunction.ABS, f"{name}/abs")
    divisor = with_number(node, divisor, add, 1.0, Activation.NONE, f"{name}/divisor")
    divisor = reciprocal_of(node, divisor, f"{name}/reciprocal")
    node.result(pair_of(node, x, divisor, Elementwise.MUL, name))


def reciprocal(node: Node) -> None:
    """As DIV, or RSQRT with a Sqrt before it."""
    x = node.view(0)
    roots = (op for op in node.importer.operators if isinstance(op, Unary))
    root = next((op for op in roots if op.output == x.tensor), None)
    if root is None or root.function is not UnaryFunction.SQRT:
        node.result(reciprocal_of(node, x, node.name))
        return
    y = node.new(x.storage)
    node.emit(Unary(root.inputs, y, UnaryFunction.RSQRT))
    node.result(replace(x, tensor=y))


def power(node: Node) -> None:
    """The exponent is a constant: a whole number from -8 to 8 but 0, 0.5 or -0.5. As products,
    SQUARE, SQRT, RSQRT and DIV."""
    exponents = node.constant(1, "exponent").data
    exponent = float(exponents.reshape(-1)[0]) if exponents.size == 1 else np.nan
    x, name = node.view(0), node.name
    roots = {0.5: UnaryFunction.SQRT, -0.5: UnaryFunction.RSQRT}
    if exponent in roots:
        node.result(function_of(node, x, roots[exponent], name))
    elif exponent and abs(exponent) <= _MAX_POWER and exponent.is_integer():
        if exponent < 0:
            x = reciprocal_of(node, x, name if exponent == -1 else f"{name}/reciprocal")
        node.result(_power(node, x, int(abs(exponent)), name))
    else:
        raise Refused(
            f"its exponent is neither a whole number of at most {_MAX_POWER} nor 0.5 or -0.5"
        )


def _power(node: Node, x: View, exponent: int, name: str) -> View:
    if exponent == 1:
        return x
    square = _power(node, x, exponent // 2, f"{name}/{exponent // 2}")
    even = name if exponent % 2 == 0 else f"{name}/even"
    y = function_of(node, square, UnaryFunction.SQUARE, even)
    return y if exponent % 2 == 0 else pair_of(node, y, x, Elementwise.MUL, name)
