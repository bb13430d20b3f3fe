# SPDX-License-Identifier: Apache-2.0
"""Run a float Graph in NumPy, one sample at a time: what quantization is measured against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import floor, log2
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.errors import InputError, ModelError
from narrows.graph.graph import (
    Activation,
    ArgMax,
    Binary,
    Compare,
    Concat,
    Conv,
    DepthwiseConv,
    FullyConnected,
    Graph,
    MatMul,
    Operator,
    Pad,
    Pool,
    Reduce,
    Reduction,
    Resize,
    Select,
    Softmax,
    Tensor,
    Unary,
    UnaryFunction,
    verify_graph,
)
from narrows.graph.moves import Move
from narrows.graph.qgraph import Elementwise
from narrows.quantization import functions
from narrows.quantization.arithmetic import RELATIONS, matmul
from narrows.quantization.lower import nearest_positions

FloatArray: TypeAlias = npt.NDArray[np.float32]
Sample: TypeAlias = Sequence[npt.NDArray[np.floating]]
"""One array for each input of the network, in the port's shape or [height, width, channels]."""
Observe: TypeAlias = Callable[[int, FloatArray], None]
"""Called with a tensor's index and its values [height, width, channels]; keeps no reference."""

# Elements of a depthwise convolution's output that are summed at once: stays in the cache.
_BLOCK_ELEMENTS = 1 << 15

_REDUCTIONS: dict[Reduction, Callable[..., FloatArray]] = {
    Reduction.MEAN: np.mean,
    Reduction.SUM: np.sum,
    Reduction.MAX: np.max,
    Reduction.MIN: np.min,
}


def verify_float(graph: Graph) -> None:
    """Check that a network can be run here.

    Raises:
        ModelError: a tensor of numbers that is not float32, a weight that is not finite.
    """
    verify_graph(graph)
    for tensor in graph.tensors:
        if (tensor.is_real and tensor.dtype != "float32") or tensor.quantization is not None:
            raise ModelError(
                f"{graph.place}: {tensor.name} is quantized already; give the float model "
                "(or --requantize, for an .onnx in QDQ form)"
            )
        if tensor.data is not None and not np.isfinite(tensor.data).all():
            raise ModelError(f"{graph.place}: {tensor.name} holds NaN or infinite values")


class FloatModel:
    """A float network that is ready to run.

    Raises:
        ModelError: as verify_float.
    """

    def __init__(self, graph: Graph) -> None:
        verify_float(graph)
        self.graph = graph
        self._constants = {
            i: tensor.data for i, tensor in enumerate(graph.tensors) if tensor.data is not None
        }
        # Values die behind their last reader, so memory is that of the widest place.
        last = {i: n for n, op in enumerate(graph.operators) for i in op.inputs}
        kept = {port.tensor for port in graph.outputs} | set(self._constants)
        self._dying: list[list[int]] = [[] for _ in graph.operators]
        for index, number in last.items():
            if index not in kept:
                self._dying[number].append(index)

    def run(self, sample: Sample, observe: Observe | None = None) -> list[FloatArray]:
        """Run one sample.

        Args:
            observe: is called for every input and every operator's output.

        Returns:
            The outputs in their ports' shapes.

        Raises:
            InputError: an array that does not fit its input.
        """
        values = dict(self._constants)
        for index, array in self.inputs(sample).items():
            values[index] = array
            if observe is not None:
                observe(index, array)
        for operator, dying in zip(self.graph.operators, self._dying, strict=True):
            inputs = [values[i] for i in operator.inputs]
            result = evaluate(operator, inputs, self.graph.tensors)
            values[operator.output] = result
            if observe is not None:
                observe(operator.output, result)
            for index in dying:
                del values[index]
        return [values[port.tensor].reshape(port.shape) for port in self.graph.outputs]

    def stream(self, samples: Iterable[Sample]) -> Iterator[list[FloatArray]]:
        """Outputs of one sample after the other; holds one at a time."""
        return (self.run(sample) for sample in samples)

    def inputs(self, sample: Sample) -> dict[int, FloatArray]:
        """Arrays [height, width, channels] by tensor. Raises: InputError."""
        ports = self.graph.inputs
        if len(sample) != len(ports):
            raise InputError(f"{self.graph.name}: {len(sample)} arrays for {len(ports)} inputs")
        arrays = {}
        for port, array in zip(ports, sample, strict=True):
            shape = self.graph.tensors[port.tensor].shape
            if array.shape not in (port.shape, shape) or array.dtype.kind != "f":
                raise InputError(
                    f"input {port.name}: {array.dtype} {list(array.shape)} instead of "
                    f"float32 {list(port.shape)}"
                )
            values = np.ascontiguousarray(array, np.float32).reshape(shape)
            arrays[port.tensor] = _clipped(values, self.graph.tensors[port.tensor])
        return arrays


def evaluate(
    operator: Operator, inputs: Sequence[FloatArray], tensors: Sequence[Tensor]
) -> FloatArray:
    """The output of one operator.

    Args:
        inputs: float32 [height, width, channels] each.
        tensors: of the network; gives weights, biases and the output's shape.

    Returns:
        float32 [height, width, channels].
    """
    result = _evaluate(operator, inputs, tensors)
    activation = getattr(operator, "activation", Activation.NONE)
    return _clipped(np.asarray(activate(result, activation), np.float32), tensors[operator.output])


def _clipped(values: FloatArray, tensor: Tensor) -> FloatArray:
    if tensor.bounds is None:
        return values
    least, most = map(np.float32, tensor.bounds)
    return values.clip(least, most)


def _evaluate(
    operator: Operator, inputs: Sequence[FloatArray], tensors: Sequence[Tensor]
) -> FloatArray:
    x = inputs[0]
    shape = tensors[operator.output].shape
    match operator:
        case Conv() | DepthwiseConv() | FullyConnected():
            w = tensors[operator.weights].data
            assert w is not None
            y = _weighted(operator, x, w, (shape[0], shape[1]))
            if operator.bias is not None:
                bias = tensors[operator.bias].data
                assert bias is not None
                y += bias
            return y
        case Binary():
            a, b = inputs
            match operator.function:
                case Elementwise.ADD:
                    return a + b
                case Elementwise.SUB:
                    return a - b
                case Elementwise.MUL:
                    return a * b
                case Elementwise.DIV:
                    with np.errstate(divide="ignore", invalid="ignore"):
                        return a / b
                case Elementwise.MAXIMUM:
                    return np.maximum(a, b)
                case Elementwise.MINIMUM:
                    return np.minimum(a, b)
                case Elementwise.SQUARED_DIFFERENCE:
                    square: FloatArray = np.square(a - b)
                    return square
                case Elementwise.PRELU:
                    leaky: FloatArray = np.where(a >= 0, a, a * b)
                    return leaky
        case MatMul():
            return matmul(x, inputs[1], shape[2])
        case ArgMax():
            found = x.argmin(axis=2) if operator.least else x.argmax(axis=2)
            return np.asarray(found[..., None], np.float32)
        case Compare():
            return np.asarray(RELATIONS[operator.relation](inputs[0], inputs[1]), np.float32)
        case Select():
            return np.where(x != 0, inputs[1], inputs[2])
        case Pool():
            return _pool(operator, x, (shape[0], shape[1]))
        case Reduce():
            return np.asarray(_REDUCTIONS[operator.function](x, operator.axes, keepdims=True))
        case Softmax():
            scaled = np.float32(operator.beta) * x
            powers = np.exp(scaled - scaled.max(axis=2, keepdims=True))
            normed: FloatArray = powers / powers.sum(axis=2, keepdims=True)
            return normed
        case Unary():
            return _unary(operator, x)
        case Concat():
            return np.concatenate(inputs, axis=int(operator.axis))
        case Resize():
            return _resize(operator, x, (shape[0], shape[1]))
        case Move():
            return operator.moved(x, shape)
        case Pad():
            after = [n - b - m for n, b, m in zip(shape, operator.before, x.shape, strict=True)]
            widths = list(zip(operator.before, after, strict=True))
            return np.pad(x, widths, constant_values=np.float32(operator.value))


def unit_of(magnitude: float) -> float:
    """A power of two: divided by it, which is exact, numbers of up to this magnitude have
    squares that float32 can sum."""
    return 2.0 ** min(max(floor(log2(magnitude)), -126), 127) if magnitude > 0 else 1.0


def activate(x: FloatArray, activation: Activation) -> FloatArray:
    """A fused activation. x: float32 of any shape."""
    match activation:
        case Activation.NONE:
            return x
        case Activation.RELU:
            return x.clip(np.float32(0), None)
        case Activation.RELU6:
            return x.clip(np.float32(0), np.float32(6))
        case Activation.RELU_N1_TO_1:
            return x.clip(np.float32(-1), np.float32(1))


def _weighted(
    operator: Conv | DepthwiseConv | FullyConnected,
    x: FloatArray,
    w: FloatArray,
    size: tuple[int, int],
) -> FloatArray:
    """size: height and width of the output."""
    if isinstance(operator, DepthwiseConv):
        kernel, step, reach = (w.shape[0], w.shape[1]), operator.stride, operator.dilation
        x = _covered(x, size, kernel, step, reach, operator.pad, 0)
        return _depthwise(np.repeat(x, operator.depth_multiplier, axis=2), w, size, step, reach)
    result: FloatArray = seen(operator, x, w.shape, size) @ w.reshape(w.shape[0], -1).T
    return result.reshape(*size, -1)


def seen(
    operator: Conv | DepthwiseConv | FullyConnected,
    x: FloatArray,
    weights: tuple[int, ...],
    size: tuple[int, int],
) -> FloatArray:
    """What an operator's weights are multiplied by.

    Args:
        weights: their shape. size: height and width of the output.

    Returns:
        [pixels, kernel_h * kernel_w * in]; of a depthwise convolution
        [pixels, kernel_h * kernel_w, out].
    """
    if isinstance(operator, FullyConnected):
        return x.reshape(-1, weights[1] * weights[2] * weights[3])
    depthwise = isinstance(operator, DepthwiseConv)
    kernel = (weights[0], weights[1]) if depthwise else (weights[1], weights[2])
    step, reach = operator.stride, operator.dilation
    x = _covered(x, size, kernel, step, reach, operator.pad, 0)
    if isinstance(operator, DepthwiseConv):
        x = np.repeat(x, operator.depth_multiplier, axis=2)
    taps = [
        _tap(x, size, (i * reach[0], j * reach[1]), step)
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]
    columns = taps[0] if len(taps) == 1 else np.concatenate(taps, axis=2)
    pixels = size[0] * size[1]
    return columns.reshape(pixels, len(taps), -1) if depthwise else columns.reshape(pixels, -1)


def _covered(
    x: FloatArray,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pad: tuple[int, int],
    value: float,
) -> FloatArray:
    """x with its padding, as far as the windows of ``size`` outputs reach."""
    widths = []
    for n, out, k, s, d, p in zip(x.shape[:2], size, kernel, stride, dilation, pad, strict=True):
        widths.append((p, max(0, (out - 1) * s + (k - 1) * d + 1 - p - n)))
    if not any(map(any, widths)):
        return x
    return np.pad(x, [*widths, (0, 0)], constant_values=np.float32(value))


def _tap(
    x: FloatArray, size: tuple[int, int], offset: tuple[int, int], stride: tuple[int, int]
) -> FloatArray:
    """What one place of the kernel sees, for every output: [height, width, channels]."""
    rows, cols = (
        slice(o, o + (n - 1) * s + 1, s) for o, n, s in zip(offset, size, stride, strict=True)
    )
    return x[rows, cols]


def _depthwise(
    x: FloatArray,
    w: FloatArray,
    size: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> FloatArray:
    height, width = size
    y = np.empty((height, width, w.shape[2]), np.float32)
    step = max(1, _BLOCK_ELEMENTS // (width * w.shape[2]))
    product = np.empty((min(step, height), width, w.shape[2]), np.float32)
    for first in range(0, height, step):
        part = y[first : first + step]
        rows = len(part)
        for i in range(w.shape[0]):
            for j in range(w.shape[1]):
                offset = (first * stride[0] + i * dilation[0], j * dilation[1])
                seen = _tap(x, (rows, width), offset, stride)
                if i == j == 0:
                    np.multiply(seen, w[0, 0], out=part)
                else:
                    np.multiply(seen, w[i, j], out=product[:rows])
                    part += product[:rows]
    return y


def _pool(operator: Pool, x: FloatArray, size: tuple[int, int]) -> FloatArray:
    places = [(i, j) for i in range(operator.kernel[0]) for j in range(operator.kernel[1])]
    window = (size, operator.kernel, operator.stride, (1, 1), operator.pad)
    average = operator.function == "average"
    padded = _covered(x, *window, 0 if average else -np.inf)
    y: FloatArray = _tap(padded, size, places[0], operator.stride).copy()
    for place in places[1:]:
        seen = _tap(padded, size, place, operator.stride)
        if average:
            y += seen
        else:
            np.maximum(y, seen, out=y)
    if average:
        inside = _covered(np.ones((*x.shape[:2], 1), np.float32), *window, 0)
        y /= sum(_tap(inside, size, place, operator.stride) for place in places)
    return y


def _unary(operator: Unary, x: FloatArray) -> FloatArray:
    match operator.function:
        case UnaryFunction.LOGISTIC:
            logistic: FloatArray = np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1))
            return logistic
        case UnaryFunction.TANH:
            tanh: FloatArray = np.tanh(x)
            return tanh
        case UnaryFunction.HARD_SWISH:
            ramp = activate(x + np.float32(3), Activation.RELU6)
            swish: FloatArray = x * ramp * np.float32(1 / 6)
            return swish
        case UnaryFunction.LEAKY_RELU:
            leaky: FloatArray = np.where(x >= 0, x, x * np.float32(operator.alpha))
            return leaky
        case UnaryFunction.RELU:
            return activate(x, Activation.RELU)
        case UnaryFunction.RELU6:
            return activate(x, Activation.RELU6)
        case UnaryFunction.REQUANTIZE:
            return x
        case function:
            return functions.evaluate(function, x)


def _resize(operator: Resize, x: FloatArray, size: tuple[int, int]) -> FloatArray:
    flags = (operator.align_corners, operator.half_pixel_centers)
    if operator.function == "nearest":
        rows, cols = (
            nearest_positions(n, out, *flags)[:, 0]
            for n, out in zip(x.shape[:2], size, strict=True)
        )
        nearest: FloatArray = x[rows][:, cols]
        return nearest
    for axis, out in enumerate(size):
        low, high, fraction = _bilinear(x.shape[axis], out, *flags)
        weight = fraction.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        x = x.take(low, axis) * (np.float32(1) - weight) + x.take(high, axis) * weight
    return x


def _bilinear(
    size: int, out: int, corners: bool, centers: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], FloatArray]:
    """(low, high, weight of high) for each output position, as TFLite places them."""
    scale = np.float32(size - 1) / np.float32(out - 1) if corners and out > 1 else size / out
    position = np.arange(out, dtype=np.float32) * np.float32(scale)
    if centers:
        position += np.float32(0.5) * np.float32(scale) - np.float32(0.5)
    low = np.maximum(np.floor(position), 0).astype(np.int64)
    high = np.minimum(np.ceil(position), size - 1).astype(np.int64)
    fraction = np.where(high > low, position - low, 0).astype(np.float32)
    return np.minimum(low, size - 1), np.maximum(high, 0), fraction
