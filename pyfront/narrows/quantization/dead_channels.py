# SPDX-License-Identifier: Apache-2.0
"""Leaving out the channels that nothing depends on.

Training prunes: many networks have channels whose weights are almost 0, so that they have one
value whatever the picture is. A convolution that reads such a channel adds the same to every sum,
which its bias can have at once. Then neither the channel nor the weights that read it need to be
there, and no output of the network changes by a bit.

What a channel can be follows from intervals: those of all its sums over every int8 input, by the
runtime's own arithmetic, which is monotone where it does not wrap.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from narrows.graph.qgraph import (
    Int32Array,
    LiveChannels,
    QConv,
    QDepthwise,
    QGraph,
    QLookup,
    QMean,
    QOp,
    QPool,
    QTensor,
)
from narrows.quantization.fixed_point import requantize, wrap

Int64Array = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Kernels go through channels in fours: a group that is not whole saves nothing.
_GROUP = 4


@dataclass(frozen=True, eq=False)
class _Range:
    """The least and the greatest value of each channel of a tensor."""

    least: Int64Array
    most: Int64Array

    @property
    def is_constant(self) -> Bools:
        return np.asarray(self.least == self.most)


def without_dead_channels(graph: QGraph) -> QGraph:
    """The same network without its dead channels. Tensors that have lost some tell which
    (``QTensor.live``); inputs and outputs of the network keep all."""
    ranges = _ranges(graph)
    live = _live_channels(graph, ranges)
    if not live:
        return graph
    tensors = tuple(
        _reduced(tensor, live[number], ranges[number]) if number in live else tensor
        for number, tensor in enumerate(graph.tensors)
    )
    ops = tuple(_without(graph, op, live, ranges) for op in graph.ops)
    return replace(graph, tensors=tensors, ops=ops)


# --- What values channels have ------------------------------------------------------------------


def _ranges(graph: QGraph) -> list[_Range]:
    """What values the channels of each tensor can have."""
    variables = {variable.tensor for variable in graph.variables}
    ranges = [_range_of(t, number in variables) for number, t in enumerate(graph.tensors)]
    for op in graph.ops:
        match op:
            case QConv() | QDepthwise():
                ranges[op.output] = _filtered(graph, op, ranges[op.inputs[0]])
            case QPool():
                source = ranges[op.inputs[0]]
                clamp = op.act_min, op.act_max
                ranges[op.output] = _Range(
                    np.clip(source.least, *clamp), np.clip(source.most, *clamp)
                )
            case QMean():
                ranges[op.output] = _averaged(graph, op, ranges[op.inputs[0]])
            case QLookup():
                ranges[op.output] = _looked_up(op, ranges[op.inputs[0]])
            case _:
                pass
    return ranges


def _range_of(tensor: QTensor, is_variable: bool) -> _Range:
    if tensor.data is None or is_variable:
        whole = np.ones(tensor.channels, np.int64)
        return _Range(-128 * whole, 127 * whole)
    data = tensor.data.astype(np.int64)
    return _Range(data.min(axis=(0, 1)), data.max(axis=(0, 1)))


def _filtered(graph: QGraph, op: QConv | QDepthwise, source: _Range) -> _Range:
    zero_point = graph.tensors[op.inputs[0]].zero_point
    least, most = source.least - zero_point, source.most - zero_point
    if _may_see_padding(graph, op):
        least, most = np.minimum(least, 0), np.maximum(most, 0)
    weights = op.weights.astype(np.int64)
    axes: tuple[int, ...] = (1, 2, 3)
    if isinstance(op, QDepthwise):
        axes = (0, 1)
        least, most = (np.repeat(x, op.depth_multiplier) for x in (least, most))
    lowest = np.minimum(weights * least, weights * most).sum(axis=axes)
    highest = np.maximum(weights * least, weights * most).sum(axis=axes)
    target = graph.tensors[op.output]
    clamp = op.act_min, op.act_max
    return _requantized(
        op.bias + lowest, op.bias + highest, op.multiplier, op.shift, target.zero_point, clamp
    )


def _averaged(graph: QGraph, op: QMean, source: _Range) -> _Range:
    tensor = graph.tensors[op.inputs[0]]
    count = (tensor.height if op.over_height else 1) * (tensor.width if op.over_width else 1)
    ends = (count * source.least + op.bias, count * source.most + op.bias)
    scale = np.full(tensor.channels, op.multiplier), np.full(tensor.channels, op.shift)
    return _requantized(*ends, *scale, graph.tensors[op.output].zero_point, (-128, 127))


def _requantized(
    least: Int64Array,
    most: Int64Array,
    multiplier: npt.NDArray[np.integer],
    shift: npt.NDArray[np.integer],
    zero_point: int,
    clamp: tuple[int, int],
) -> _Range:
    """Channels with sums that could wrap may have any value."""
    limit = np.int64(2**31) >> np.maximum(shift, 0).astype(np.int64)
    wraps = (least < -limit) | (most >= limit)
    low, high = (
        np.clip(requantize(np.where(wraps, 0, x), multiplier, shift) + zero_point, *clamp)
        for x in (least, most)
    )
    return _Range(np.where(wraps, clamp[0], low), np.where(wraps, clamp[1], high))


def _looked_up(op: QLookup, source: _Range) -> _Range:
    table = np.roll(np.frombuffer(op.table, np.int8), 128).astype(np.int64)  # from -128 on
    values = [table[a + 128 : b + 129] for a, b in zip(source.least, source.most, strict=True)]
    return _Range(np.array([v.min() for v in values]), np.array([v.max() for v in values]))


def _may_see_padding(graph: QGraph, op: QConv | QDepthwise) -> bool:
    source, target = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    kernel = op.weights.shape[1:3] if isinstance(op, QConv) else op.weights.shape[:2]
    ends = [
        (size - 1) * stride - pad + (taps - 1) * dilation
        for size, stride, pad, taps, dilation in zip(
            (target.height, target.width), op.stride, op.pad, kernel, op.dilation, strict=True
        )
    ]
    return max(op.pad) > 0 or ends[0] >= source.height or ends[1] >= source.width


# --- Which channels are dead --------------------------------------------------------------------


def _is_channelwise(op: QOp) -> bool:
    """Whether channel c of the output depends on channel c of the input alone."""
    return isinstance(op, (QPool, QMean, QLookup)) or (
        isinstance(op, QDepthwise) and op.depth_multiplier == 1
    )


def _live_channels(graph: QGraph, ranges: list[_Range]) -> dict[int, Int32Array]:
    """The live channels of each tensor that has dead ones, in their order."""
    live = {}
    for group in _groups(graph):
        dead = np.ones(graph.tensors[group[0]].channels, bool)
        for op in graph.ops:
            if isinstance(op, QConv) and op.inputs[0] in group:
                dead &= _not_needed(graph, op, ranges[op.inputs[0]])
        for channel in np.nonzero(dead)[0][::-1]:
            count = int((~dead).sum())
            if count > 0 and (count % _GROUP == 0 or len(dead) % _GROUP != 0):
                break
            dead[channel] = False
        if dead.any():
            channels = np.nonzero(~dead)[0].astype(np.int32)
            live.update(dict.fromkeys(group, channels))
    return live


def _groups(graph: QGraph) -> Iterator[tuple[int, ...]]:
    """Tensors that must lose the same channels and may do so: convolutions make the first of them
    and read the last ones."""
    first = list(range(len(graph.tensors)))
    fixed = {edge.tensor for edge in graph.inputs} | graph.ends
    fixed |= {number for number, tensor in enumerate(graph.tensors) if tensor.data is not None}
    for op in graph.ops:
        if _is_channelwise(op):
            first[op.output] = first[op.inputs[0]]
        elif not isinstance(op, QConv):
            fixed |= {*op.inputs, op.output}
    groups = defaultdict(list)
    for number, representative in enumerate(first):
        groups[representative].append(number)
    for group in groups.values():
        if fixed.isdisjoint(group):
            yield tuple(group)


def _not_needed(graph: QGraph, op: QConv, source: _Range) -> Bools:
    """Input channels that only add a constant to the sums of a convolution."""
    zero_point = graph.tensors[op.inputs[0]].zero_point
    adds_nothing = ~op.weights.any(axis=(0, 1, 2))
    is_even = source.is_constant
    if _may_see_padding(graph, op):
        is_even &= source.least == zero_point
    return np.asarray(is_even | adds_nothing)


# --- The network without them -------------------------------------------------------------------


def _reduced(tensor: QTensor, live: Int32Array, values: _Range) -> QTensor:
    known = np.where(values.is_constant, values.least, LiveChannels.UNKNOWN)
    known[live] = LiveChannels.LIVE
    channels = LiveChannels(known.astype(np.int16))
    return replace(tensor, channels=len(live), live=channels)


def _without(graph: QGraph, op: QOp, live: dict[int, Int32Array], ranges: list[_Range]) -> QOp:
    if not isinstance(op, (QConv, QDepthwise)):
        return op
    weights, bias = op.weights, op.bias.astype(np.int64)
    if isinstance(op, QConv) and op.inputs[0] in live:
        kept = live[op.inputs[0]]
        zero_point = graph.tensors[op.inputs[0]].zero_point
        constants = np.where(
            ranges[op.inputs[0]].is_constant, ranges[op.inputs[0]].least, zero_point
        )
        constants[kept] = zero_point
        bias = bias + weights.astype(np.int64).sum(axis=(1, 2)) @ (constants - zero_point)
        weights = weights[..., kept]
    if op.output in live:
        kept = live[op.output]
        weights = weights[kept] if isinstance(op, QConv) else weights[..., kept]
        bias = bias[kept]
        op = replace(op, multiplier=op.multiplier[kept], shift=op.shift[kept])
    return replace(op, weights=np.ascontiguousarray(weights), bias=wrap(bias).astype(np.int32))
