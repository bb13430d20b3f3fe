# SPDX-License-Identifier: Apache-2.0
"""Transposed convolutions as ordinary ones.

Output pixels whose rows and columns leave the same remainders when they are divided by the strides
are one *phase*. The pixels of a phase see one and the same part of the kernel, so a phase is a
convolution of stride 1, with as many products as the transposed one has for it. Phases of columns
become channels of one tensor, phases of rows stand side by side along its width; then all pixels
are in their order, and a RESHAPE says which shape they have. Sums, biases, multipliers and
activations are those of the transposed convolution, and so is every bit.

Two things cost more: where the stride does not divide the output's size, all phases have as many
pixels as the longest, and a SLICE cuts off what is behind the end; where the stride is longer than
the kernel, phases that see nothing of it get a tap of 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count, groupby
from math import gcd

import numpy as np

from narrows.graph.graph import Array, Concat, Conv, DepthwiseConv, Graph, Operator, Reshape
from narrows.graph.moves import Slice
from narrows.graph.qgraph import Axis

_ZERO = -1  # a tap that is 0


@dataclass(frozen=True)
class _Phase:
    """The window of a phase along one axis: its taps as numbers of the kernel's, in the order of
    the input's pixels, and how far these are apart."""

    taps: tuple[int, ...]
    dilation: int
    before: int

    @property
    def form(self) -> tuple[int, int, int]:
        """Phases that agree in it are convolutions with other weights alone."""
        return len(self.taps), self.dilation, self.before

    @property
    def reach(self) -> int:
        """Pixels behind the padding from the first to the last one that it sees."""
        return (len(self.taps) - 1) * self.dilation - self.before


def expand_transposed(graph: Graph) -> Graph:
    """Make ordinary convolutions of those that are transposed."""
    expanding = _Expanding(graph)
    for operator in graph.operators:
        if isinstance(operator, (Conv, DepthwiseConv)) and operator.transposed:
            expanding.expand(operator)
        else:
            expanding.operators.append(operator)
    tensors, operators = tuple(expanding.tensors), tuple(expanding.operators)
    return replace(graph, tensors=tensors, operators=operators)


def _phases(kernel: int, stride: int, dilation: int, cut: int) -> list[_Phase]:
    """The phases along one axis, by remainder. cut: output pixels that are cut off before."""
    apart = dilation // gcd(dilation, stride)
    phases = []
    for remainder in range(stride):
        # Output pixel q * stride + remainder sees input pixel q + n through tap taps[n].
        places = ((remainder + cut - k * dilation, k) for k in range(kernel))
        taps = {place // stride: k for place, k in places if place % stride == 0}
        first, last = min(taps, default=0), max(taps, default=0)
        while first > 0:  # no convolution begins behind the first pixel
            first -= apart
        window = (taps.get(n, _ZERO) for n in range(first, last + 1, apart))
        phases.append(_Phase(tuple(window), apart, -first))
    return phases


class _Expanding:
    """A graph on its way."""

    def __init__(self, graph: Graph) -> None:
        self.tensors = list(graph.tensors)
        self.operators: list[Operator] = []
        self._numbers = count()

    def expand(self, operator: Conv | DepthwiseConv) -> None:
        self._numbers = count()
        x, y = self.tensors[operator.inputs[0]], self.tensors[operator.output]
        kernel, is_depthwise = self.tensors[operator.weights], isinstance(operator, DepthwiseConv)
        sizes = kernel.shape[:2] if is_depthwise else kernel.shape[1:3]
        geometry = (sizes, operator.stride, operator.dilation, operator.pad)
        rows, columns = (_phases(*numbers) for numbers in zip(*geometry, strict=True))
        # Pixels of each phase: enough for all outputs, and so many that all inputs are seen.
        height, width = (
            max(-(-out // len(phases)), *(n - phase.reach for phase in phases))
            for n, out, phases in zip(x.shape, y.shape, (rows, columns), strict=False)
        )
        alike = [[c] for c in columns]
        if not is_depthwise:
            alike = [list(group) for _, group in groupby(columns, lambda c: c.form)]
        lines = []
        for row in rows:
            parts = [self._phase(operator, row, group, (height, width)) for group in alike]
            lines.append(self._joined(parts, operator.output, Axis.CHANNELS))
        whole = self._joined(lines, operator.output, Axis.WIDTH)
        shape = (height * len(rows), width * len(columns), y.shape[2])
        if self.tensors[whole].shape != shape:
            whole = self._added(Reshape((whole,), operator.output), shape)
        if shape != y.shape:
            self._added(Slice((whole,), operator.output, (0, 0, 0), (1, 1, 1)), y.shape)
        last = self.operators[-1]
        self.operators[-1] = replace(last, output=operator.output)
        self.tensors[operator.output] = replace(self.tensors[last.output], name=y.name)

    def _phase(
        self,
        operator: Conv | DepthwiseConv,
        row: _Phase,
        columns: Sequence[_Phase],
        size: tuple[int, int],
    ) -> int:
        """One phase of rows, and as many channels as there are phases of columns, which are alike,
        times channels."""
        weights = self.tensors[operator.weights]
        is_depthwise = isinstance(operator, DepthwiseConv)
        channel, height = (2, 0) if is_depthwise else (0, 1)
        assert weights.data is not None
        rows = _taken(weights.data, row, height)
        kernels = [_taken(rows, column, height + 1) for column in columns]
        data = np.concatenate(kernels, channel)
        bias = None
        if operator.bias is not None:
            values = self.tensors[operator.bias].data
            assert values is not None
            bias = self._constant(operator.bias, np.tile(values, len(columns)), len(columns))
        phase = replace(
            operator,
            weights=self._constant(operator.weights, data, len(columns)),
            bias=bias,
            stride=(1, 1),
            dilation=(row.dilation, columns[0].dilation),
            pad=(row.before, columns[0].before),
            transposed=False,
        )
        return self._added(phase, (*size, data.shape[channel]))

    def _joined(self, parts: Sequence[int], target: int, axis: Axis) -> int:
        if len(parts) == 1:
            return parts[0]
        shape = list(self.tensors[parts[0]].shape)
        shape[axis] = sum(self.tensors[i].shape[axis] for i in parts)
        return self._added(Concat(tuple(parts), target, axis), shape)

    def _added(self, operator: Operator, shape: Sequence[int]) -> int:
        """Add an operator; its output is a part of the tensor that it names."""
        whole, number = self.tensors[operator.output], len(self.tensors)
        clips = isinstance(operator, (Conv, DepthwiseConv))  # the others move what is clipped
        bounds = whole.bounds if clips else None
        name = f"{whole.name}/part{next(self._numbers)}"
        self.tensors.append(replace(whole, name=name, shape=tuple(shape), bounds=bounds))
        self.operators.append(replace(operator, output=number))
        return number

    def _constant(self, index: int, data: Array, copies: int) -> int:
        """Other values for a constant, whose scales are repeated."""
        tensor = self.tensors[index]
        q = tensor.quantization
        if q is not None and len(q.scales) > 1:
            scales, zero_points = np.tile(q.scales, copies), np.tile(q.zero_points, copies)
            q = replace(q, scales=scales, zero_points=zero_points)
        data = np.ascontiguousarray(data)
        self.tensors.append(replace(tensor, shape=data.shape, quantization=q, data=data))
        return len(self.tensors) - 1


def _taken(weights: Array, phase: _Phase, axis: int) -> Array:
    """The taps of a phase along one axis."""
    zeros = np.zeros_like(np.take(weights, [0], axis))
    taken: Array = np.take(np.concatenate([weights, zeros], axis), phase.taps, axis)
    return taken
