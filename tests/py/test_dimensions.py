# SPDX-License-Identifier: Apache-2.0
"""Operators on tensors of more than three long dimensions, those alike in a row counted as one."""

from __future__ import annotations

import zlib
from math import prod
from typing import Any

import pytest

from narrows.errors import UnsupportedError
from narrows.importers.tflite import import_tflite
from single import Net
from subjects import check

WHOLE = (1, 6, 5, 4, 2)


def _check(net: Net, sources: list[int], *outputs: int) -> Any:
    return check(net.finish(sources, list(outputs)), net.rng)


@pytest.mark.parametrize("other", [(1, 1, 1, 4, 1), (1, 6, 5, 1, 1), (1, 1, 1, 4, 2), (2,), WHOLE])
@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL", "GREATER"])
def test_two_operands(name: str, other: Any) -> None:
    net = Net(zlib.crc32(repr((name, other)).encode()))
    x = net.int8((1, 6, 5, 8))
    whole = net.reshape(x, WHOLE)
    if other == WHOLE:
        second = net.reshape(net.unary("RELU", x, 0.1), WHOLE)
    elif other == (1, 6, 5, 1, 1):
        second = net.mean(whole, (3, 4), True)
    else:
        second = net.constant(other)
    if name == "GREATER":
        y = net.compare(name, whole, second)
        _check(net, [x], y)
        return
    y = net.binary(name, whole, second, 0.3)
    _check(net, [x], net.reshape(y, (1, 6, 5, 8)))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axes", [(1, 2, 4), (3, 4), (1, 2), (2, 3, 4), (1, 2, 3, 4)], ids=str)
@pytest.mark.parametrize("name", ["MEAN", "SUM", "REDUCE_MAX"])
def test_reductions(name: str, axes: Any, keep: bool) -> None:
    net = Net(zlib.crc32(repr((name, axes, keep)).encode()))
    x = net.int8((1, 6, 5, 8))
    scale = None if name == "REDUCE_MAX" else 0.4
    y = net.reduce(name, net.reshape(x, WHOLE), axes, keep, scale)
    _check(net, [x], net.reshape(y, (1, prod(net.shapes[y]))))


def test_what_is_told_apart_is_refused() -> None:
    net = Net(1)
    x = net.int8((1, 6, 5, 8))
    y = net.mean(net.reshape(x, WHOLE), (2, 4), False)
    with pytest.raises(UnsupportedError, match=r"tell 4 dimensions from each other, 3 are"):
        import_tflite(net.finish([x], [y]), "refused")
