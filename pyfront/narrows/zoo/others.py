# SPDX-License-Identifier: Apache-2.0
"""Networks that the MobileNetV2 paper compares with: ShuffleNet and NASNet-A."""

from __future__ import annotations

import numpy as np

from narrows.errors import UsageError
from narrows.graph.graph import Graph, UnaryFunction
from narrows.graph.qgraph import Elementwise
from narrows.zoo.builder import CUT, NONE, RELU, Builder
from narrows.zoo.naming import check, named

# ShuffleNet paper, Table 1: channels of the first stage by the number of groups, which double from
# stage to stage; units of each stage.
_SHUFFLE_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
_SHUFFLE_UNITS = (4, 8, 4)

# NASNet paper, figure 4: the two operations that each of five blocks adds up, each with the state
# that it reads: 0 is the cell's input, 1 that of the cell before, 2 and on the blocks.
_Operation = tuple[str, int]
_Cell = tuple[tuple[_Operation, _Operation], ...]
_NORMAL: _Cell = (
    (("separable 5", 0), ("separable 3", 1)),
    (("separable 5", 1), ("separable 3", 1)),
    (("average", 0), ("identity", 1)),
    (("average", 1), ("average", 1)),
    (("separable 3", 0), ("identity", 0)),
)
_REDUCTION: _Cell = (
    (("separable 5", 0), ("separable 7", 1)),
    (("max", 0), ("separable 7", 1)),
    (("average", 0), ("separable 5", 1)),
    (("identity", 3), ("average", 2)),
    (("separable 3", 2), ("max", 0)),
)
# States that no block reads are the output.
_NORMAL_OUTPUT, _REDUCTION_OUTPUT = (1, 2, 3, 4, 5, 6), (3, 4, 5, 6)


def shufflenet(
    width: float = 1.0,
    size: int = 224,
    classes: int = 1000,
    seed: int | None = 0,
    groups: int = 3,
    stages: int = 3,
) -> Graph:
    """ShuffleNet (v1) up to the logits: pointwise convolutions in groups, whose channels are
    shuffled between them.

    Args:
        width: multiplier of all channels. groups: 1, 2, 3, 4 or 8. stages: the first so many of
            three.
    """
    check(width, size)
    if not 1 <= stages <= len(_SHUFFLE_UNITS):
        raise UsageError(f"{stages} stages: 1 to {len(_SHUFFLE_UNITS)} make sense")
    if groups not in _SHUFFLE_CHANNELS:
        raise UsageError(f"{groups} groups: 1, 2, 3, 4 and 8 have a network")
    net = Builder(named("shufflenet", width, size), (size, size, 3), seed)
    # The published networks of widths 0.5, 1, 1.5 and 2 begin with 12, 24, 24 and 48 channels.
    x = net.conv(0, max(6, int(24 * 2 ** np.floor(np.log2(width)))), 3, 2, RELU, name="stem")
    x = net.pool(x, "max", 3, 2, name="stem/pool")
    # Each group of a bottleneck, a quarter of the channels, has as many.
    unit = 4 * groups
    channels = max(unit, round(_SHUFFLE_CHANNELS[groups] * width / unit) * unit)
    for stage, units in enumerate(_SHUFFLE_UNITS[:stages], 2):
        for number in range(units):
            first = stage == 2 and number == 0
            name, stride = f"stage_{stage}/unit_{number}", 2 if number == 0 else 1
            x = _shuffle_unit(net, x, channels, stride, (1 if first else groups, groups), name)
        channels *= 2
    return net.finish([net.dense(net.mean(x, name="mean"), classes, name="logits")])


def _shuffle_unit(
    net: Builder, x: int, channels: int, stride: int, groups: tuple[int, int], name: str
) -> int:
    """groups: of the first and of the last convolution."""
    added = channels - net.channels(x) if stride == 2 else channels
    y = net.conv(x, channels // 4, activation=RELU, name=f"{name}/reduce", groups=groups[0])
    if groups[0] > 1:
        y = net.shuffle(y, groups[0], name=f"{name}/shuffle")
    y = net.depthwise(y, 3, stride, NONE, name=f"{name}/depthwise")
    if stride == 1:
        y = net.conv(y, added, activation=NONE, name=f"{name}/expand", groups=groups[1])
        return net.binary(Elementwise.ADD, x, y, RELU, name=f"{name}/add")
    # What is pooled is not negative, so the unit's last RELU is that of the convolution.
    y = net.conv(y, added, activation=RELU, name=f"{name}/expand", groups=groups[1])
    return net.concat([net.pool(x, "average", 3, 2, name=f"{name}/pool"), y], name=f"{name}/both")


def nasnet_a(
    width: float = 1.0,
    size: int = 224,
    classes: int = 1000,
    seed: int | None = 0,
    cells: int = 4,
) -> Graph:
    """NASNet-A (4 @ 1056) up to the logits, "mobile", without the auxiliary head.

    Args:
        width: multiplier of all channels, 44 of the first cells among them. cells: normal cells
            between two reductions.
    """
    check(width, size)
    if not 1 <= cells <= 16:
        raise UsageError(f"{cells} cells: 1 to 16 make sense")
    # Fitted to fewer pictures, deep cells would answer others by ever larger values.
    net = _Nasnet(named("nasnet_a", width, size), (size, size, 3), seed, count=16)
    filters = max(8, round(44 * width / 4) * 4)
    before, x = None, net.conv(0, round(32 * width), 3, 2, NONE, name="stem", valid=True)
    for number, share in enumerate((4, 2)):
        before, x = x, net.cell(before, x, filters // share, _REDUCTION, f"stem_{number}")
    for stage in range(3):
        if stage > 0:
            filters *= 2
            before, x = x, net.cell(before, x, filters, _REDUCTION, f"reduction_{stage}")
        for number in range(cells):
            name = f"stage_{stage}/cell_{number}"
            before, x = x, net.cell(before, x, filters, _NORMAL, name)
    return net.finish([net.dense(net.mean(net.relu(x), name="mean"), classes, name="logits")])


class _Nasnet(Builder):
    """A builder with NASNet's cells."""

    def relu(self, x: int) -> int:
        """One RELU for all that want it of a tensor."""
        name = f"{self.tensors[x].name}/relu"
        for operator in self.operators:
            if self.tensors[operator.output].name == name:
                return operator.output
        return self.unary(x, UnaryFunction.RELU, name=name)

    def cell(self, before: int | None, x: int, filters: int, kind: _Cell, name: str) -> int:
        """before: what the cell before x's read; None in the first one."""
        stride = 2 if kind is _REDUCTION else 1
        earlier = x if before is None else self._fitted(before, x, filters, f"{name}/before")
        states = [self._pointwise(x, filters, f"{name}/input"), earlier]
        for number, pair in enumerate(kind):
            block = f"{name}/block_{number}"
            terms = [
                self._operation(what, states[i], filters, stride if i < 2 else 1, f"{block}/{side}")
                for side, (what, i) in zip(("left", "right"), pair, strict=True)
            ]
            states.append(self.binary(Elementwise.ADD, terms[0], terms[1], name=block))
        taken = _REDUCTION_OUTPUT if kind is _REDUCTION else _NORMAL_OUTPUT
        return self.concat([states[i] for i in taken], name=name)

    def _pointwise(self, x: int, filters: int, name: str) -> int:
        return self.conv(self.relu(x), filters, activation=NONE, name=name)

    def _fitted(self, before: int, x: int, filters: int, name: str) -> int:
        """An earlier tensor with the height and width of x, and so many channels."""
        if self.tensors[before].shape[:2] == self.tensors[x].shape[:2]:
            if self.channels(before) == filters:
                return before
            return self._pointwise(before, filters, name)
        source = self.relu(before)
        here = self.conv(source, filters // 2, 1, 2, NONE, name=f"{name}/even")
        there = self.shifted(source, name=f"{name}/shifted")
        there = self.conv(there, filters - filters // 2, activation=NONE, name=f"{name}/odd")
        return self.concat([here, there], name=name)

    def _operation(self, what: str, x: int, filters: int, stride: int, name: str) -> int:
        kind, _, kernel = what.partition(" ")
        if kind == "separable":
            for number, step in enumerate((stride, 1)):
                part = f"{name}/{number}"
                x = self.depthwise(
                    *(self.relu(x), int(kernel), step, NONE), name=f"{part}/depthwise"
                )
                spread = CUT if number == 0 else None
                x = self.conv(x, filters, activation=NONE, name=part, spread=spread)
            return x
        if kind == "average":
            return self.pool(x, "average", 3, stride, name=name)
        if kind == "max":
            return self.pool(x, "max", 3, stride, name=name)
        return x
