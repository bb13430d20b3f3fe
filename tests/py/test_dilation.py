# SPDX-License-Identifier: Apache-2.0
"""Dilated convolutions that a .tflite file spells as SPACE_TO_BATCH_ND, a convolution and
BATCH_TO_SPACE_ND: LiteRT's bytes, whatever batch the file states."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from litert import LiteRT
from narrows.errors import UnsupportedError
from narrows.graph.graph import Conv, DepthwiseConv
from narrows.importers.tflite import import_tflite
from single import RELU, SAME, VALID, Net
from subjects import check

Pairs = Sequence[Sequence[int]]


def spelt(
    net: Net,
    x: int,
    kernel: tuple[int, int],
    block: tuple[int, int],
    pads: Pairs,
    crops: Pairs,
    *,
    name: str = "CONV_2D",
    out: int = 4,
    padding: int = VALID,
    batches: int | None = None,
) -> int:
    """The three operators. batches: what the file states for them, the right number by default."""
    count = int(np.prod(block))
    height, width, channels = net.shapes[x][1:]
    inner = [(n + sum(p)) // b for n, p, b in zip((height, width), pads, block, strict=True)]
    dealt = net.like(x, (batches or count, *inner, channels))
    net.operator("SPACE_TO_BATCH_ND", [x, net.ints(block), net.ints(pads)], [dealt])
    y = net.window(name, dealt, kernel, out, padding=padding, activation=RELU)
    inner = list(net.shapes[y][1:3])
    net._tensors[y] = replace(net._tensors[y], shape=(batches or count, *inner, out))
    size = [n * b - sum(c) for n, b, c in zip(inner, block, crops, strict=True)]
    whole = net.like(y, (1, *size, out))
    net.operator("BATCH_TO_SPACE_ND", [y, net.ints(block), net.ints(crops)], [whole])
    return whole


CASES = {
    "same": ((3, 3), (2, 2), ((2, 2), (2, 2)), ((0, 0), (0, 0)), VALID),
    "valid": ((3, 3), (2, 2), ((0, 0), (0, 0)), ((0, 0), (0, 0)), VALID),
    "uneven": ((3, 2), (3, 2), ((3, 2), (1, 1)), ((0, 2), (0, 0)), VALID),
    "cropped before": ((3, 3), (2, 2), ((4, 2), (2, 2)), ((2, 0), (0, 0)), VALID),
    "columns": ((1, 3), (1, 4), ((0, 0), (8, 0)), ((0, 0), (0, 0)), VALID),
    "rows": ((5, 1), (2, 1), ((4, 4), (0, 0)), ((0, 0), (0, 0)), VALID),
    "pictures padded": ((3, 3), (2, 2), ((0, 0), (0, 0)), ((0, 0), (0, 0)), SAME),
}


@pytest.mark.parametrize("batches", [None, 1])
@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize("case", CASES)
def test_one_convolution(case: str, name: str, batches: int | None) -> None:
    kernel, block, pads, crops, padding = CASES[case]
    net = Net(7)
    x = net.int8((1, 10, 12, 4))
    y = spelt(net, x, kernel, block, pads, crops, name=name, padding=padding, batches=batches)
    model = net.finish([x], [y])
    graph = import_tflite(model, "dilated")
    (operator,) = graph.operators
    assert isinstance(operator, DepthwiseConv if name.startswith("DEPTHWISE") else Conv)
    assert operator.dilation == block
    assert len(graph.warnings) == (batches is not None)
    check(model, net.rng, interpreter=LiteRT)


@pytest.mark.parametrize("place", [1, 2])
def test_one_dimension(place: int) -> None:
    net = Net(8)
    x = net.int8((1, 30, 3))
    blocks, pads, crops = net.ints([3]), net.ints([[4, 2]]), net.ints([[0, 0]])
    dealt = net.like(x, (1, 12, 3))
    net.operator("SPACE_TO_BATCH_ND", [x, blocks, pads], [dealt])
    pictures = net.like(x, (1, 1, 12, 3) if place == 1 else (1, 12, 1, 3))
    options = ("ExpandDimsOptions", {})
    net.operator("EXPAND_DIMS", [dealt, net.ints(place)], [pictures], *options)
    y = net.conv(pictures, (1, 3) if place == 1 else (3, 1), 5, padding=VALID)
    flat, whole = net.like(y, (1, 10, 5)), net.like(y, (1, 30, 5))
    net.operator("SQUEEZE", [y], [flat], "SqueezeOptions", {"squeeze_dims": (place,)})
    net.operator("BATCH_TO_SPACE_ND", [flat, blocks, crops], [whole])
    model = net.finish([x], [whole])
    (note,) = import_tflite(model, "dilated").warnings
    assert note.startswith("operator 0 SPACE_TO_BATCH_ND (")
    check(model, net.rng, interpreter=LiteRT)


def reasons(net: Net, x: int, *outputs: int) -> list[str]:
    with pytest.raises(UnsupportedError) as caught:
        import_tflite(net.finish([x], list(outputs)), "refused")
    return [f"{item.operator}: {item.reason}" for item in caught.value.items]


@pytest.mark.parametrize(
    ("pads", "crops", "message"),
    [
        (((1, 0), (2, 2)), ((0, 0), (0, 0)), "blocks of 2 over 10 \\+ 1"),
        (((2, 2), (2, 2)), ((4, 0), (0, 0)), "no convolution's"),
        (((2, 2), (2, 2)), ((0, 6), (0, 0)), "no convolution's"),
    ],
)
def test_paddings_that_no_convolution_has(pads: Pairs, crops: Pairs, message: str) -> None:
    net = Net(9)
    x = net.int8((1, 10, 12, 4))
    (reason,) = reasons(net, x, spelt(net, x, (3, 3), (2, 2), pads, crops))
    assert re.match(f"SPACE_TO_BATCH_ND: .*{message}", reason)


def test_what_stands_between_is_seen_by_nobody_else() -> None:
    net = Net(10)
    x = net.int8((1, 10, 12, 4))
    y = spelt(net, x, *CASES["same"][:4], batches=1)
    first, conv, _ = net._operators
    for seen in (first, conv):
        (reason,) = reasons(net, x, y, seen.outputs[0])
        assert reason.startswith("SPACE_TO_BATCH_ND: ")
        assert "alone" in reason


def test_one_of_the_three_alone() -> None:
    net = Net(11)
    x = net.int8((1, 10, 12, 4))
    y = net.like(x, (4, 5, 6, 4))
    net.operator("SPACE_TO_BATCH_ND", [x, net.ints((2, 2)), net.ints(((0, 0), (0, 0)))], [y])
    assert "read by one CONV_2D or DEPTHWISE_CONV_2D alone" in reasons(net, x, y)[0]
    net = Net(11)
    x = net.int8((1, 10, 12, 4))
    y = net.like(x, (1, 20, 24, 1))
    net.operator("BATCH_TO_SPACE_ND", [x, net.ints((2, 2)), net.ints(((0, 0), (0, 0)))], [y])
    (reason,) = reasons(net, x, y)
    assert reason == "BATCH_TO_SPACE_ND: no SPACE_TO_BATCH_ND begins what it ends"


def test_several_notes_are_one() -> None:
    net = Net(12)
    x = net.int8((1, 10, 12, 4))
    y = spelt(net, x, *CASES["same"][:4], batches=1)
    y = spelt(net, y, *CASES["same"][:4], batches=1)
    (note,) = import_tflite(net.finish([x], [y]), "dilated").warnings
    assert note.startswith("operator 0 SPACE_TO_BATCH_ND (")
    assert note.endswith("so it does for 1 more")
