# SPDX-License-Identifier: Apache-2.0
"""Chains of functions of one element, which become one table: every int8 value through them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from narrows.graph.qgraph import QGraph
from single import Net
from subjects import check
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
