# SPDX-License-Identifier: Apache-2.0
"""Random QGraphs with random weights and sane multipliers, built directly."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import pytest

from narrows.graph.moves import DepthToSpace, Rearrangement, Reshape, Slice, SpaceToDepth, Transpose
from narrows.graph.qgraph import (
    Axis,
    Edge,
    Elementwise,
    QArgMax,
    QConcat,
    QConv,
    QDepthwise,
    QElementwise,
    QGraph,
    QLookup,
    QMatMul,
    QMean,
    QOp,
    QPad,
    QPool,
    QResize,
    QSoftmax,
    QTensor,
    QVariable,
)

# Functions of two tensors that the runtime has; it divides nothing.
_FUNCTIONS = [f for f in Elementwise if f is not Elementwise.DIV]


def seeds(count: int, every: int) -> list[Any]:
    """For a test of random graphs: `count` in all, of which one in `every` is not slow."""
    return [pytest.param(n, marks=pytest.mark.slow if n % every else ()) for n in range(count)]


def random_inputs(graph: QGraph, seed: int) -> list[np.ndarray]:
    """Any bytes, [height, width, channels] for each input."""
    rng = np.random.default_rng(seed)
    tensors = [graph.tensors[edge.tensor] for edge in graph.inputs]
    shapes = [(t.height, t.width, t.channels) for t in tensors]
    return [rng.integers(-128, 128, shape).astype(np.int8) for shape in shapes]


def quantized_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) of TFLite: real = multiplier / 2**31 * 2**shift."""
    if real == 0.0:
        return 0, 0
    fraction, shift = np.frexp(real)
    multiplier = int(np.floor(float(fraction) * 2.0**31 + 0.5))
    if multiplier == 2**31:
        multiplier //= 2
        shift += 1
    return (multiplier, int(shift)) if shift >= -31 else (0, 0)


class GraphBuilder:
    """Adds operators with random weights; methods return the new tensor's index."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.tensors: list[QTensor] = []
        self.ops: list[QOp] = []
        self.inputs: list[int] = []
        self.variables: list[QVariable] = []

    def shape(self, tensor: int) -> tuple[int, int, int]:
        t = self.tensors[tensor]
        return t.height, t.width, t.channels

    def tensor(
        self,
        height: int,
        width: int,
        channels: int,
        zero_point: int | None = None,
        constant: bool = False,
    ) -> int:
        if zero_point is None:
            zero_point = int(self.rng.integers(-128, 128))
        data = self._int8((height, width, channels)) if constant else None
        name = f"t{len(self.tensors)}"
        self.tensors.append(QTensor(name, height, width, channels, 0.05, zero_point, data))
        return len(self.tensors) - 1

    def input(self, height: int, width: int, channels: int) -> int:
        tensor = self.tensor(height, width, channels)
        self.inputs.append(tensor)
        return tensor

    def conv(
        self,
        source: int,
        channels: int,
        kernel: tuple[int, int] = (1, 1),
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        same: bool = True,
    ) -> int:
        in_channels = self.shape(source)[2]
        height, width, pad = self._window(source, kernel, stride, dilation, same)
        output = self.tensor(height, width, channels)
        depth = kernel[0] * kernel[1] * in_channels
        self.ops.append(
            QConv(
                inputs=(source,),
                output=output,
                weights=self._int8((channels, *kernel, in_channels)),
                bias=self.rng.integers(-3000, 3000, channels).astype(np.int32),
                **self._requantization(channels, depth),
                stride=stride,
                dilation=dilation,
                pad=pad,
                **self._activation(),
            )
        )
        return output

    def fully_connected(self, source: int, channels: int) -> int:
        """Over all of the source."""
        height, width, _ = self.shape(source)
        return self.conv(source, channels, (height, width), same=False)

    def depthwise(
        self,
        source: int,
        kernel: tuple[int, int] = (3, 3),
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        same: bool = True,
        depth_multiplier: int = 1,
    ) -> int:
        channels = self.shape(source)[2] * depth_multiplier
        height, width, pad = self._window(source, kernel, stride, dilation, same)
        output = self.tensor(height, width, channels)
        self.ops.append(
            QDepthwise(
                inputs=(source,),
                output=output,
                weights=self._int8((*kernel, channels)),
                bias=self.rng.integers(-3000, 3000, channels).astype(np.int32),
                **self._requantization(channels, kernel[0] * kernel[1]),
                stride=stride,
                dilation=dilation,
                pad=pad,
                **self._activation(),
                depth_multiplier=depth_multiplier,
            )
        )
        return output

    def elementwise(self, a: int, b: int, function: Elementwise = Elementwise.ADD) -> int:
        shape = tuple(max(p, q) for p, q in zip(self.shape(a), self.shape(b), strict=True))
        output = self.tensor(*shape)
        if function is Elementwise.SQUARED_DIFFERENCE:
            left_shift = 7
            qa, qb = (quantized_multiplier(float(self.rng.uniform(0.1, 0.5))) for _ in range(2))
            out = quantized_multiplier(float(self.rng.uniform(0.01, 1)) / (1 << 14))
        elif function not in (Elementwise.ADD, Elementwise.SUB):
            left_shift, qa, qb = 0, (0, 0), (0, 0)
            if function == Elementwise.PRELU:
                qa = quantized_multiplier(float(self.rng.uniform(0.2, 2)))
            out = quantized_multiplier(float(self.rng.uniform(0.002, 0.05)))
        else:
            left_shift = 20
            qa = quantized_multiplier(float(self.rng.uniform(0.2, 0.5)))
            qb = quantized_multiplier(float(self.rng.uniform(0.2, 0.5)))
            out = quantized_multiplier(float(self.rng.uniform(0.5, 2)) / (1 << (left_shift - 1)))
        self.ops.append(
            QElementwise((a, b), output, function, left_shift, qa, qb, out, **self._activation())
        )
        return output

    def matmul(self, a: int, b: int) -> int:
        """b: as many pixels as the output gets channels, or rows of such."""
        (height, width, depth), (rows, columns, _) = self.shape(a), self.shape(b)
        batched = rows == height > 1
        output = self.tensor(height, width, columns if batched else rows * columns)
        real = float(self.rng.uniform(0.3, 1.5)) / (64 * depth**0.5)
        self.ops.append(QMatMul((a, b), output, quantized_multiplier(real)))
        return output

    def arg_max(self, source: int) -> int:
        height, width, _ = self.shape(source)
        output = self.tensor(height, width, 4)
        self.ops.append(QArgMax((source,), output))
        return output

    def remembered(self, source: int, rows: int, row: int) -> int:
        """The source behind a variable, which becomes rows of that from `row` on."""
        _, width, channels = self.shape(source)
        variable = self.tensor(rows, width, channels, constant=True)
        joined = self.concat([variable, source], Axis.HEIGHT)
        self.variables.append(QVariable(variable, joined, row))
        return joined

    def inverted_residual(
        self,
        source: int,
        expansion: int,
        channels: int,
        kernel: int = 3,
        stride: int = 1,
        same: bool = True,
    ) -> int:
        """Expand, filter, project, and add the input where shapes allow."""
        x = self.conv(source, self.shape(source)[2] * expansion) if expansion > 1 else source
        x = self.depthwise(x, (kernel, kernel), (stride, stride), same=same)
        x = self.conv(x, channels)
        if self.shape(x) == self.shape(source):
            operands = (x, source) if self.rng.integers(2) else (source, x)
            x = self.elementwise(*operands)
        return x

    def pool(
        self,
        source: int,
        average: bool,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        same: bool = True,
    ) -> int:
        height, width, pad = self._window(source, kernel, stride, (1, 1), same)
        channels = self.shape(source)[2]
        output = self.tensor(height, width, channels, self.tensors[source].zero_point)
        function = "average" if average else "max"
        self.ops.append(
            QPool((source,), output, function, kernel, stride, pad, **self._activation())
        )
        return output

    def mean(self, source: int, over_height: bool = True, over_width: bool = True) -> int:
        height, width, channels = self.shape(source)
        count = (height if over_height else 1) * (width if over_width else 1)
        output = self.tensor(1 if over_height else height, 1 if over_width else width, channels)
        multiplier, shift = quantized_multiplier(float(self.rng.uniform(0.5, 2)) / count)
        bias = -self.tensors[source].zero_point * count
        self.ops.append(QMean((source,), output, over_height, over_width, bias, multiplier, shift))
        return output

    def softmax(self, source: int) -> int:
        height, width, channels = self.shape(source)
        output = self.tensor(height, width, channels, -128)
        beta = float(self.rng.uniform(0.01, 0.3))
        table = np.floor(np.exp(-beta * np.arange(256)) * (2**31 - 1)).astype(np.int32)
        self.ops.append(QSoftmax((source,), output, table))
        return output

    def lookup(self, source: int) -> int:
        output = self.tensor(*self.shape(source))
        self.ops.append(QLookup((source,), output, self.rng.bytes(256), "random"))
        return output

    def concat(self, sources: list[int], axis: Axis) -> int:
        shapes = np.array([self.shape(t) for t in sources])
        shape = shapes[0].copy()
        shape[axis] = shapes[:, axis].sum()
        output = self.tensor(*(int(v) for v in shape))
        self.ops.append(QConcat(tuple(sources), output, axis))
        return output

    def resize(self, source: int, height: int, width: int) -> int:
        rows_in, columns_in, channels = self.shape(source)
        output = self.tensor(height, width, channels, self.tensors[source].zero_point)
        nearest = bool(self.rng.integers(2))

        def table(size_in: int, size: int) -> np.ndarray:
            at = np.arange(size) * size_in * 1024 // size
            at = np.minimum(at, (size_in - 1) * 1024)
            fraction = np.zeros_like(at) if nearest else at % 1024
            return np.stack([at // 1024, fraction], axis=1).astype(np.int32)

        self.ops.append(
            QResize((source,), output, table(rows_in, height), table(columns_in, width))
        )
        return output

    def slice(self, source: int) -> int:
        begin, stride, shape = [], [], []
        for size in self.shape(source):
            begin.append(int(self.rng.integers(0, size)))
            stride.append(int(self.rng.integers(1, 4)))
            most = -(-(size - begin[-1]) // stride[-1])
            shape.append(int(self.rng.integers(1, most + 1)))
        output = self.tensor(*shape, self.tensors[source].zero_point)
        self.ops.append(Slice((source,), output, tuple(begin), tuple(stride)))
        return output

    def space_to_depth(self, source: int, block: int) -> int:
        return self._rearranged(SpaceToDepth((source,), len(self.tensors), block))

    def depth_to_space(self, source: int, block: int, order: str = "DCR") -> int:
        return self._rearranged(DepthToSpace((source,), len(self.tensors), block, order))

    def _rearranged(self, op: Rearrangement) -> int:
        (source,) = op.inputs
        self.ops.append(op)
        return self.tensor(*op.target(self.shape(source)), self.tensors[source].zero_point)

    def pad(self, source: int) -> int:
        before = [int(v) for v in self.rng.integers(0, 3, 3)]
        behind = [int(v) for v in self.rng.integers(0, 3, 3)]
        shape = [a + b + c for a, b, c in zip(self.shape(source), before, behind, strict=True)]
        output = self.tensor(*shape, self.tensors[source].zero_point)
        value = int(self.rng.integers(-128, 128))
        self.ops.append(QPad((source,), output, tuple(before), value))
        return output

    def reshape(self, source: int, height: int, width: int, channels: int) -> int:
        output = self.tensor(height, width, channels, self.tensors[source].zero_point)
        self.ops.append(Reshape((source,), output))
        return output

    def transpose(self, source: int, sizes: Sequence[int], order: Sequence[int]) -> int:
        """The source seen under some shape, its dimensions in another order, and the last two of
        them as width and channels."""
        output = len(self.tensors)
        self.ops.append(Transpose((source,), output, tuple(sizes), tuple(order)))
        *_, width, channels = (sizes[d] for d in order)
        height = prod(sizes) // (width * channels)
        return self.tensor(height, width, channels, self.tensors[source].zero_point)

    def shuffled(self, source: int, groups: int) -> int:
        """Channel shuffle."""
        height, width, channels = self.shape(source)
        output = self.tensor(height, width, channels, self.tensors[source].zero_point)
        sizes = (height, width, groups, channels // groups)
        self.ops.append(Transpose((source,), output, sizes, (0, 1, 3, 2)))
        return output

    def graph(self, outputs: list[int]) -> QGraph:
        def edge(tensor: int) -> Edge:
            t = self.tensors[tensor]
            shape = (1, t.height, t.width, t.channels)
            return Edge(t.name, tensor, "int8", shape, t.scale, t.zero_point)

        return QGraph(
            "random",
            tuple(self.tensors),
            tuple(self.ops),
            tuple(edge(t) for t in self.inputs),
            tuple(edge(t) for t in outputs),
            tuple(self.variables),
        )

    def _int8(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.rng.integers(-128, 128, shape).astype(np.int8)

    def _window(
        self,
        source: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        dilation: tuple[int, int],
        same: bool,
    ) -> tuple[int, int, tuple[int, int]]:
        sizes, pads = [], []
        for size, k, s, d in zip(self.shape(source)[:2], kernel, stride, dilation, strict=True):
            span = (k - 1) * d + 1
            if same or size < span:
                sizes.append(-(-size // s))
                pads.append(max(0, (sizes[-1] - 1) * s + span - size) // 2)
            else:
                sizes.append((size - span) // s + 1)
                pads.append(0)
        return sizes[0], sizes[1], (pads[0], pads[1])

    def _requantization(self, channels: int, depth: int) -> dict[str, np.ndarray]:
        real = self.rng.uniform(0.3, 1.5, channels) / (64 * np.sqrt(depth))
        pairs = [quantized_multiplier(float(v)) for v in real]
        return {
            "multiplier": np.array([p[0] for p in pairs], np.int32),
            "shift": np.array([p[1] for p in pairs], np.int32),
        }

    def _activation(self) -> dict[str, int]:
        if self.rng.integers(2):
            return {"act_min": -128, "act_max": 127}
        low, high = sorted(int(v) for v in self.rng.integers(-128, 128, 2))
        return {"act_min": min(low, -20), "act_max": max(high, 20)}


def random_graph(seed: int, size: int = 8) -> QGraph:
    """A network of about ``size`` operators or blocks: branches, residuals, several outputs."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder(rng)
    height, width = (int(v) for v in rng.integers(5, 20, 2))
    live = [build.input(height, width, int(rng.integers(1, 6)))]
    if rng.integers(4) == 0:
        live.append(build.input(height, width, int(rng.integers(1, 4))))
    for _ in range(size):
        source = live[int(rng.integers(max(0, len(live) - 2), len(live)))]
        live.append(random_block(build, rng, live, source))
    if rng.integers(3) == 0:
        fours = 4 * int(rng.integers(1, 3))
        live.append(build.fully_connected(build.conv(live[-1], fours), int(rng.integers(1, 9))))
    read = {tensor for op in build.ops for tensor in op.inputs}
    outputs = [op.output for op in build.ops if op.output not in read]
    if rng.integers(4) == 0:  # an output that other operators read
        inner = [op.output for op in build.ops if op.output in read]
        outputs += inner[:1]
    return build.graph(outputs)


def random_block(
    build: GraphBuilder, rng: np.random.Generator, live: list[int], source: int
) -> int:
    height, width, channels = build.shape(source)
    stride = (1, 1) if rng.integers(2) else tuple(int(v) for v in rng.integers(1, 4, 2))
    kernel = tuple(int(v) for v in rng.integers(1, 6, 2))
    dilation = (1, 1) if rng.integers(3) else tuple(int(v) for v in rng.integers(1, 4, 2))
    same = bool(rng.integers(4))
    new_channels = int(rng.integers(1, 9))
    peers = [t for t in live if t != source and build.shape(t)[:2] == (height, width)]
    match int(rng.integers(20)):
        case 0 | 1:
            return build.conv(source, new_channels, kernel, stride, dilation, same)
        case 2:
            return build.depthwise(source, kernel, stride, dilation, same, int(rng.integers(1, 3)))
        case 3 | 4 | 5 | 6:
            block_stride = int(rng.integers(1, 3))
            block_kernel = int(rng.choice([2, 3, 5]))
            out = channels if rng.integers(2) else new_channels
            expansion = int(rng.integers(1, 4))
            return build.inverted_residual(source, expansion, out, block_kernel, block_stride, same)
        case 7:
            partner = build.conv(source, channels, kernel)
            function = _FUNCTIONS[int(rng.integers(len(_FUNCTIONS)))]
            return build.elementwise(source, partner, function)
        case 8:
            gate = build.lookup(build.conv(build.mean(source), channels))
            return build.elementwise(source, gate, Elementwise.MUL)
        case 9:
            constant = build.tensor(1, 1, channels, constant=True)
            function = _FUNCTIONS[int(rng.integers(len(_FUNCTIONS)))]
            return build.elementwise(source, constant, function)
        case 10:
            if peers and build.shape(source)[2] < 24:
                axis = Axis.CHANNELS
                others = peers[: int(rng.integers(1, 4))]
            else:
                axis = Axis(int(rng.integers(2)))
                others = [source]
            if height * width > 400:
                return build.lookup(source)
            return build.concat([source, *others], axis)
        case 11:
            average = bool(rng.integers(2))
            return build.pool(source, average, kernel, stride, same)
        case 12:
            if rng.integers(3):
                size = [int(v) for v in rng.integers(1, 16, 2)]
                return build.resize(source, *size)
            return build.softmax(build.mean(source, bool(rng.integers(2)), bool(rng.integers(2))))
        case 13:
            return build.pad(source) if height < 24 and channels < 24 else build.slice(source)
        case 14:
            blocks = [b for b in (2, 3) if height % b == width % b == 0 and channels * b * b <= 64]
            if blocks and rng.integers(2):
                return build.space_to_depth(source, int(rng.choice(blocks)))
            if channels % 4 == 0 and height * width <= 100:
                return build.depth_to_space(source, 2, str(rng.choice(["DCR", "CRD"])))
            return build.slice(source)
        case 15 if channels % 2 == 0 and rng.integers(2):
            return build.shuffled(source, int(rng.choice([2, channels // 2])))
        case 15:
            sizes = [height, width, channels]
            for n in (2, 3):
                fits = [d for d, size in enumerate(sizes) if size % n == 0 and size > n]
                if fits and rng.integers(2):
                    d = int(rng.choice(fits))
                    sizes[d : d + 1] = [sizes[d] // n, n]
            return build.transpose(source, sizes, [int(d) for d in rng.permutation(len(sizes))])
        case 16:
            rows = int(rng.integers(1, 4))
            return build.remembered(source, rows, int(rng.integers(height + 1)))
        case 17:
            return build.arg_max(source)
        case 18:
            if width <= 16 and rng.integers(2):  # a matrix for each row
                return build.matmul(source, build.conv(source, channels, same=True))
            few = (-(-height // 3), -(-width // 3))
            return build.matmul(source, build.pool(source, False, (2, 2), few))
        case _:
            if rng.integers(2):
                return build.reshape(source, width, height, channels)
            whole = build.pool(source, True, (height, width), (1, 1), same=False)
            return build.softmax(build.conv(whole, new_channels))
