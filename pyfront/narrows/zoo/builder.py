# SPDX-License-Identifier: Apache-2.0
"""Build float networks layer by layer, with seeded weights that keep every layer alive.

Weights start as He's normal distribution. Then, as each layer is added, a few seeded pictures
run through it, and its weights and bias are set so that every output channel has a mean and a
spread of its own, drawn around what batch normalization leaves in trained networks:
activations are cut at 0 and at 6 now and then, and no channel is constant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.graph.graph import (
    Activation,
    Binary,
    Concat,
    Conv,
    DepthwiseConv,
    FullyConnected,
    Graph,
    Operator,
    Pad,
    Pool,
    Port,
    Reduce,
    Reduction,
    Resize,
    Softmax,
    Tensor,
    Unary,
    UnaryFunction,
    verify_graph,
)
from narrows.graph.moves import Reshape, Slice, Transpose
from narrows.graph.qgraph import Axis, Elementwise
from narrows.quantization.float_model import FloatArray, activate, evaluate

_Weighted: TypeAlias = Conv | DepthwiseConv | FullyConnected
_Float64Array: TypeAlias = npt.NDArray[np.float64]
Shape: TypeAlias = tuple[int, int, int]
NONE, RELU, RELU6 = Activation.NONE, Activation.RELU, Activation.RELU6
# The spread of one channel over fewer values says nothing: layers on a few pixels.
_FEW_VALUES = 32
# In such layers channels may differ this much more (variance) than one channel varies.
_FIXED_SHARE = 8.0
_LEAST_STD = 1e-6


@dataclass(frozen=True)
class Spread:
    """Ranges from which each channel's mean and standard deviation are drawn."""

    mean: tuple[float, float]
    std: tuple[float, float]


# Before an activation that cuts, and before none.
CUT = Spread((-0.25, 2.25), (0.8, 2.6))
LINEAR = Spread((-0.5, 0.5), (0.6, 1.4))


def pictures(shape: Shape, count: int, seed: int) -> Iterator[FloatArray]:
    """Seeded inputs like pictures: noise of every scale, the coarse ones strongest, with a
    tint of their own.

    Returns:
        float32 [height, width, channels]; each reaches -1 and 1.
    """
    height, width, channels = shape
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        image = rng.uniform(-0.4, 0.4, (1, 1, channels))
        cells = 2
        while cells < 2 * max(height, width):
            noise = rng.uniform(-1, 1, (min(cells, height), min(cells, width), channels))
            image = image + _enlarged(noise, height, width) / np.log2(2 * cells)
            cells *= 2
        low, high = image.min(), image.max()
        yield ((2 * image - low - high) / (high - low)).astype(np.float32)


def _enlarged(x: _Float64Array, height: int, width: int) -> _Float64Array:
    for axis, size in enumerate((height, width)):
        position = np.linspace(0, x.shape[axis] - 1, size)
        low = position.astype(np.int64)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        weight = (position - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        x = x.take(low, axis) * (1 - weight) + x.take(high, axis) * weight
    return x


def _smooth(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """Kernels [height, width, channels] that blur, of either sign: with noise alone, depthwise
    convolutions would let every rounding error grow faster than the picture."""
    rows, cols = (np.hanning(n + 2)[1:-1] for n in shape[:2])
    signs = rng.choice([-1.0, 1.0], shape[2])
    kernels: FloatArray = (rows[:, None, None] * cols[:, None] * signs).astype(np.float32)
    return kernels


def _statistics(rows: FloatArray) -> tuple[_Float64Array, _Float64Array]:
    """What to subtract from each channel and what to divide it by, [channels].

    Over few values all channels are divided by the same, and they keep their differences, as
    far as what the picture changes does not drown in them.

    Args:
        rows: [values, channels].
    """
    means, variances = rows.mean(axis=0, dtype=np.float64), rows.var(axis=0, dtype=np.float64)
    if len(rows) >= _FEW_VALUES:
        return means, np.maximum(np.sqrt(variances), _LEAST_STD)
    within, between = float(variances.mean()), float(means.var())
    kept = min(between, _FIXED_SHARE * within)
    share = (kept / between) ** 0.5 if between > 0 else 0.0
    std = max((within + kept) ** 0.5, _LEAST_STD)
    return means - share * (means - means.mean()), np.full(len(means), std)


class Builder:
    """A network in the making. Methods add one layer and return the tensor that it writes.

    Args:
        shape: [height, width, channels] of the only input.
        seed: of the weights; None leaves all weights zero and costs nothing, for those who
            only count.
        count: pictures that the weights are fitted to.
    """

    def __init__(self, name: str, shape: Shape, seed: int | None, count: int = 4) -> None:
        self.name = name
        self.seed = seed
        self.tensors = [Tensor("input", shape, "float32", None)]
        self.operators: list[Operator] = []
        self.values: list[list[FloatArray]] = [
            [] if seed is None else list(pictures(shape, count, seed))
        ]

    def channels(self, x: int) -> int:
        """Channels of a tensor."""
        return self.tensors[x].shape[2]

    def conv(
        self,
        x: int,
        out: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        activation: Activation = RELU6,
        *,
        name: str,
        dilation: int = 1,
        spread: Spread | None = None,
        groups: int = 1,
        valid: bool = False,
    ) -> int:
        """A convolution with a bias, and SAME padding unless it is ``valid``. groups: of channels,
        each with a convolution of its own."""
        if groups > 1:
            each = self.channels(x) // groups
            parts = [
                self.conv(
                    self.cut(x, i * each, each, name=f"{name}/of_{i}"),
                    *(out // groups, kernel, stride, activation),
                    name=f"{name}/{i}",
                    spread=spread,
                )
                for i in range(groups)
            ]
            return self.concat(parts, name=name)
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        size, pad = self._window(x, kernel, stride, dilation, valid)
        weights = (out, *kernel, self.channels(x))

        def make(y: int, w: int, b: int) -> _Weighted:
            geometry = ((stride, stride), (dilation, dilation), pad)
            return Conv((x,), y, w, b, *geometry, activation)

        return self._weighted(name, (*size, out), weights, 0, make, spread)

    def depthwise(
        self,
        x: int,
        kernel: int = 3,
        stride: int = 1,
        activation: Activation = RELU6,
        *,
        name: str,
        dilation: int = 1,
        spread: Spread | None = None,
    ) -> int:
        """A depthwise convolution with SAME padding and a bias."""
        size, pad = self._window(x, (kernel, kernel), stride, dilation)
        out = self.channels(x)

        def make(y: int, w: int, b: int) -> _Weighted:
            geometry = ((stride, stride), (dilation, dilation), pad)
            return DepthwiseConv((x,), y, w, b, *geometry, activation, 1)

        return self._weighted(name, (*size, out), (kernel, kernel, out), 2, make, spread)

    def dense(self, x: int, out: int, activation: Activation = NONE, *, name: str) -> int:
        """A fully connected layer over the whole input."""

        def make(y: int, w: int, b: int) -> _Weighted:
            return FullyConnected((x,), y, w, b, activation)

        return self._weighted(name, (1, 1, out), (out, *self.tensors[x].shape), 0, make)

    def binary(
        self, function: Elementwise, a: int, b: int, activation: Activation = NONE, *, name: str
    ) -> int:
        """ADD, SUB or MUL of two tensors, one of which may be 1 in any dimension."""
        shapes = (self.tensors[a].shape, self.tensors[b].shape)
        shape = np.broadcast_shapes(*shapes)
        return self._add(name, shape, lambda y: Binary((a, b), y, function, activation))

    def constant(self, value: float) -> int:
        """A constant of one element."""
        data = np.full((1, 1, 1), value, np.float32)
        self.tensors.append(Tensor(f"constant {value:g}", (1, 1, 1), "float32", None, data))
        self.values.append([data] * len(self.values[0]))
        return len(self.tensors) - 1

    def mean(self, x: int, *, name: str) -> int:
        """The mean over height and width."""
        axes = (Axis.HEIGHT, Axis.WIDTH)
        shape = (1, 1, self.channels(x))
        return self._add(name, shape, lambda y: Reduce((x,), y, Reduction.MEAN, axes))

    def average_pool(self, x: int, *, name: str) -> int:
        """An average pool over the whole height and width."""
        height, width, channels = self.tensors[x].shape
        window = ((height, width), (1, 1), (0, 0))
        return self._add(name, (1, 1, channels), lambda y: Pool((x,), y, "average", *window, NONE))

    def pool(
        self,
        x: int,
        function: Literal["average", "max"],
        kernel: int = 3,
        stride: int = 1,
        *,
        name: str,
    ) -> int:
        """A pool with SAME padding."""
        size, pad = self._window(x, (kernel, kernel), stride, 1)
        window = ((kernel, kernel), (stride, stride), pad)
        shape = (*size, self.channels(x))
        return self._add(name, shape, lambda y: Pool((x,), y, function, *window, NONE))

    def cut(self, x: int, first: int, count: int, *, name: str) -> int:
        """Some of the channels."""
        height, width, _ = self.tensors[x].shape
        shape = (height, width, count)
        return self._add(name, shape, lambda y: Slice((x,), y, (0, 0, first), (1, 1, 1)))

    def shuffle(self, x: int, groups: int, *, name: str) -> int:
        """The first channel of each group, then the second of each, and so on."""
        height, width, channels = self.tensors[x].shape
        sizes = (height, width, groups, channels // groups)
        shape = self.tensors[x].shape
        return self._add(name, shape, lambda y: Transpose((x,), y, sizes, (0, 1, 3, 2)))

    def shifted(self, x: int, *, name: str) -> int:
        """Every second pixel of every second row, beginning with the second of each; where a size
        is odd, zeros come behind its last one."""
        height, width, channels = self.tensors[x].shape
        even = (height + height % 2, width + width % 2, channels)
        if even != self.tensors[x].shape:
            source = x
            x = self._add(f"{name}/padded", even, lambda y: Pad((source,), y, (0, 0, 0), 0.0))
        shape = (even[0] // 2, even[1] // 2, channels)
        return self._add(name, shape, lambda y: Slice((x,), y, (1, 1, 0), (2, 2, 1)))

    def softmax(self, x: int) -> int:
        """Softmax over channels."""
        return self._add("softmax", self.tensors[x].shape, lambda y: Softmax((x,), y, 1.0))

    def unary(self, x: int, function: UnaryFunction, *, name: str) -> int:
        """A function of each element."""
        return self._add(name, self.tensors[x].shape, lambda y: Unary((x,), y, function))

    def concat(self, parts: Sequence[int], *, name: str) -> int:
        """Concatenation along channels."""
        height, width, _ = self.tensors[parts[0]].shape
        shape = (height, width, sum(map(self.channels, parts)))
        return self._add(name, shape, lambda y: Concat(tuple(parts), y, Axis.CHANNELS))

    def bilinear(self, x: int, height: int, width: int, *, name: str) -> int:
        """Bilinear resizing with the corners aligned."""
        shape = (height, width, self.channels(x))
        return self._add(name, shape, lambda y: Resize((x,), y, "bilinear", True, False))

    def reshape(self, x: int, shape: Shape, *, name: str) -> int:
        """The same elements under another shape."""
        return self._add(name, shape, lambda y: Reshape((x,), y))

    def finish(self, outputs: Sequence[int]) -> Graph:
        """The network with these outputs."""
        graph = Graph(
            self.name,
            tuple(self.tensors),
            tuple(self.operators),
            (self._port(0),),
            tuple(self._port(i) for i in outputs),
        )
        verify_graph(graph)
        return graph

    def _port(self, index: int) -> Port:
        tensor = self.tensors[index]
        return Port(tensor.name, index, "float32", (1, *tensor.shape), 0.0, 0)

    def _window(
        self, x: int, kernel: tuple[int, int], stride: int, dilation: int, valid: bool = False
    ) -> tuple[tuple[int, int], tuple[int, int]]:
        """(height and width of the output, padding before) of TFLite's SAME, or of its VALID."""
        height, width, _ = self.tensors[x].shape
        if valid:
            rows, columns = (
                (n - (k - 1) * dilation - 1) // stride + 1
                for n, k in zip((height, width), kernel, strict=True)
            )
            return (rows, columns), (0, 0)
        size = (-(-height // stride), -(-width // stride))
        before = [
            max(0, (out - 1) * stride + (k - 1) * dilation + 1 - n) // 2
            for n, out, k in zip((height, width), size, kernel, strict=True)
        ]
        return size, (before[0], before[1])

    def _add(self, name: str, shape: tuple[int, ...], make: Callable[[int], Operator]) -> int:
        self.tensors.append(Tensor(name, shape, "float32", None))
        y = len(self.tensors) - 1
        operator = make(y)
        self.operators.append(operator)
        self.values.append(self._run(operator))
        return y

    def _run(self, operator: Operator) -> list[FloatArray]:
        columns = zip(*(self.values[i] for i in operator.inputs), strict=True)
        return [evaluate(operator, inputs, self.tensors) for inputs in columns]

    def _weighted(
        self,
        name: str,
        shape: Shape,
        weights: tuple[int, ...],
        axis: int,
        make: Callable[[int, int, int], _Weighted],
        spread: Spread | None = None,
    ) -> int:
        """make: the operator from its output, weights and bias. axis: of the weights' output
        channels."""
        w, b, y = (len(self.tensors) + i for i in range(3))
        zero = np.float32(0)
        self.tensors += [
            Tensor(f"{name}/weights", weights, "float32", None, np.broadcast_to(zero, weights)),
            Tensor(f"{name}/bias", shape[2:], "float32", None, np.broadcast_to(zero, shape[2:])),
            Tensor(name, shape, "float32", None),
        ]
        operator = make(y, w, b)
        self.operators.append(operator)
        fitted = [] if self.seed is None else self._fit(operator, axis, spread)
        self.values += [[], [], fitted]
        return y

    def _fit(self, operator: _Weighted, axis: int, spread: Spread | None) -> list[FloatArray]:
        """Draw weights, then scale them and choose the bias by what the pictures give."""
        assert self.seed is not None
        assert operator.bias is not None
        rng = np.random.default_rng((self.seed, len(self.operators)))
        shape = self.tensors[operator.weights].shape
        fan_in = prod(shape) // shape[axis]
        drawn = rng.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
        if isinstance(operator, DepthwiseConv):
            drawn += _smooth(shape, rng)
        self._set(operator.weights, drawn)
        raw = self._run(replace(operator, bias=None, activation=NONE))

        spread = spread or (LINEAR if operator.activation is NONE else CUT)
        rows = np.concatenate([values.reshape(-1, shape[axis]) for values in raw])
        mean, std = _statistics(rows)
        factor = (rng.uniform(*spread.std, len(mean)) / std).astype(np.float32)
        bias = (rng.uniform(*spread.mean, len(mean)) - mean * factor).astype(np.float32)
        along = [1] * len(shape)
        along[axis] = -1
        self._set(operator.weights, drawn * factor.reshape(along))
        self._set(operator.bias, bias)
        return [activate(values * factor + bias, operator.activation) for values in raw]

    def _set(self, index: int, data: FloatArray) -> None:
        self.tensors[index] = replace(self.tensors[index], data=data)
