# SPDX-License-Identifier: Apache-2.0
"""Small .tflite models, an operator at a time, with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tflite

from narrows.exporters.tflite import ModelWriter

Shape = Sequence[int]
SAME, VALID = tflite.Padding.SAME, tflite.Padding.VALID
NONE = tflite.ActivationFunctionType.NONE
RELU = tflite.ActivationFunctionType.RELU
RELU6 = tflite.ActivationFunctionType.RELU6
RELU_N1_TO_1 = tflite.ActivationFunctionType.RELU_N1_TO_1
ACTIVATIONS = (NONE, RELU, RELU6, RELU_N1_TO_1)


class Net(ModelWriter):
    """A writer with operators for methods; each takes and returns tensor indices.

    Scales and zero points are drawn where they are not given.
    """

    def __init__(self, seed: int) -> None:
        super().__init__("test")
        self.rng = np.random.default_rng(seed)
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.scales: dict[int, float] = {}

    def int8(
        self,
        shape: Shape,
        scale: float | None = None,
        zero_point: int | None = None,
        data: Any = None,
    ) -> int:
        scale = float(self.rng.uniform(0.01, 0.2)) if scale is None else scale
        zero_point = int(self.rng.integers(-100, 101)) if zero_point is None else zero_point
        index = self.tensor(shape, "int8", scale=scale, zero_point=zero_point, data=data)
        self.shapes[index], self.scales[index] = tuple(shape), scale
        return index

    def ints(self, values: Any, dtype: str = "int32") -> int:
        array = np.asarray(values)
        return self.tensor(array.shape, dtype, data=array)

    def constant(self, shape: Shape, scale: float | None = None, **kw: Any) -> int:
        return self.int8(shape, scale, data=self.rng.integers(-128, 128, shape), **kw)

    def weights(
        self, shape: Shape, axis: int, per_channel: bool, scale: float = 0.01
    ) -> tuple[int, np.ndarray[Any, Any]]:
        """Weights over -127 to 127; scales of channels differ by up to 4."""
        count = shape[axis] if per_channel else 1
        scales = scale * self.rng.uniform(0.5, 2.0, count)
        data = self.rng.integers(-127, 128, shape)
        return self.tensor(shape, "int8", scale=scales, axis=axis, data=data), scales

    def bias(self, x: int, channels: int, scales: np.ndarray[Any, Any]) -> int:
        data = self.rng.integers(-20000, 20000, channels)
        return self.tensor((channels,), "int32", scale=self.scales[x] * scales, data=data)

    def window(
        self,
        name: str,
        x: int,
        kernel: tuple[int, int],
        out: int,
        *,
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        padding: int = SAME,
        activation: int = NONE,
        per_channel: bool = True,
        bias: bool = True,
        gain: float = 1.0,
        groups: int = 1,
    ) -> int:
        """CONV_2D or DEPTHWISE_CONV_2D. gain: more than 1 saturates, far less than 1 gives
        zero points only."""
        _, height, width, channels = self.shapes[x]
        size = [
            -(-n // s) if padding == SAME else -(-(n - (k - 1) * d) // s)
            for n, k, s, d in zip((height, width), kernel, stride, dilation, strict=True)
        ]
        depthwise = name == "DEPTHWISE_CONV_2D"
        shape = (1, *kernel, out) if depthwise else (out, *kernel, channels // groups)
        w, scales = self.weights(shape, 3 if depthwise else 0, per_channel)
        terms = kernel[0] * kernel[1] * (1 if depthwise else channels)
        spread = 0.01 * self.scales[x] * terms**0.5 * 70 * 70
        y = self.int8((1, *size, out), spread / 60 / gain)
        options: dict[str, int | float | bool | Sequence[int]] = {
            "padding": padding,
            "stride_h": stride[0],
            "stride_w": stride[1],
            "dilation_h_factor": dilation[0],
            "dilation_w_factor": dilation[1],
            "fused_activation_function": activation,
        }
        table = "Conv2DOptions"
        if depthwise:
            table = "DepthwiseConv2DOptions"
            options["depth_multiplier"] = out // channels
        inputs = [x, w, self.bias(x, out, scales)] if bias else [x, w]
        self.operator(name, inputs, [y], table, options, version=3)
        return y

    def conv(self, x: int, kernel: tuple[int, int], out: int, **kw: Any) -> int:
        return self.window("CONV_2D", x, kernel, out, **kw)

    def depthwise(self, x: int, kernel: tuple[int, int], multiplier: int = 1, **kw: Any) -> int:
        return self.window("DEPTHWISE_CONV_2D", x, kernel, self.shapes[x][3] * multiplier, **kw)

    def transpose_conv(
        self,
        x: int,
        kernel: tuple[int, int],
        out: int,
        *,
        stride: tuple[int, int] = (2, 2),
        padding: int = SAME,
        size: tuple[int, int] | None = None,
        shape: int | None = None,
        activation: int = NONE,
        per_channel: bool = True,
        bias: bool = True,
    ) -> int:
        """size: height and width of the output, by default all that the kernels cover. shape: a
        tensor that says the same."""
        _, height, width, channels = self.shapes[x]
        if size is None:
            rows, columns = (
                n * s if padding == SAME else (n - 1) * s + max(k, s)
                for n, k, s in zip((height, width), kernel, stride, strict=True)
            )
            size = rows, columns
        w, scales = self.weights((out, *kernel, channels), 0, per_channel)
        terms = kernel[0] * kernel[1] * channels / (stride[0] * stride[1])
        y = self.int8((1, *size, out), 0.01 * self.scales[x] * max(terms, 1.0) ** 0.5 * 80)
        inputs = [self.ints((1, *size, out)) if shape is None else shape, w, x]
        inputs += [self.bias(x, out, scales)] if bias else []
        options: dict[str, int | float | bool | Sequence[int]] = {
            "padding": padding,
            "stride_h": stride[0],
            "stride_w": stride[1],
            "fused_activation_function": activation,
        }
        self.operator("TRANSPOSE_CONV", inputs, [y], "TransposeConvOptions", options, version=3)
        return y

    def fully_connected(
        self,
        x: int,
        out: int,
        shape: Shape | None = None,
        depth: int | None = None,
        *,
        activation: int = NONE,
        per_channel: bool = False,
        bias: bool = True,
        gain: float = 1.0,
    ) -> int:
        depth = depth or int(np.prod(self.shapes[x]))
        w, scales = self.weights((out, depth), 0, per_channel)
        y = self.int8(shape or (1, out), 0.01 * self.scales[x] * depth**0.5 * 80 / gain)
        inputs = [x, w, self.bias(x, out, scales)] if bias else [x, w]
        options: dict[str, int | float | bool | Sequence[int]] = {
            "fused_activation_function": activation,
            "keep_num_dims": len(self.shapes[y]) > 2,
        }
        self.operator("FULLY_CONNECTED", inputs, [y], "FullyConnectedOptions", options, version=4)
        return y

    def binary(
        self, name: str, a: int, b: int, scale: float | None = None, activation: int = NONE
    ) -> int:
        y = self.int8(np.broadcast_shapes(self.shapes[a], self.shapes[b]), scale)
        options: dict[str, int | float | bool | Sequence[int]] = {
            "fused_activation_function": activation
        }
        self.operator(name, [a, b], [y], f"{name.capitalize()}Options", options, version=2)
        return y

    def matmul(
        self, a: int, b: int, *, adj_x: bool = False, adj_y: bool = False, scale: float = 0.0
    ) -> int:
        (*left, rows, depth), (*right, more, columns) = self.shapes[a], self.shapes[b]
        if adj_x:
            rows, depth = depth, rows
        columns = more if adj_y else columns
        shape = (*np.broadcast_shapes(tuple(left), tuple(right)), rows, columns)
        y = self.int8(shape, scale or self.scales[a] * self.scales[b] * depth**0.5 * 60)
        options: dict[str, int | float | bool | Sequence[int]] = {"adj_x": adj_x, "adj_y": adj_y}
        self.operator("BATCH_MATMUL", [a, b], [y], "BatchMatMulOptions", options, version=4)
        return y

    def arg_max(self, x: int, axis: int, name: str = "ARG_MAX", dtype: str = "int32") -> int:
        shape = [n for d, n in enumerate(self.shapes[x]) if d != axis % len(self.shapes[x])]
        y = self.tensor(shape, dtype)
        self.shapes[y] = tuple(shape)
        kind = tflite.TensorType.INT32 if dtype == "int32" else tflite.TensorType.INT64
        table = "ArgMaxOptions" if name == "ARG_MAX" else "ArgMinOptions"
        self.operator(name, [x, self.ints([axis])], [y], table, {"output_type": kind}, version=2)
        return y

    def cast(self, x: int, dtype: str) -> int:
        y = self.tensor(self.shapes[x], dtype)
        self.shapes[y] = self.shapes[x]
        self.operator("CAST", [x], [y], "CastOptions")
        return y

    def compare(self, name: str, a: int, b: int) -> int:
        shape = np.broadcast_shapes(self.shapes[a], self.shapes[b])
        y = self.tensor(shape, "bool")
        self.shapes[y] = tuple(shape)
        self.operator(name, [a, b], [y], f"{name.title().replace('_', '')}Options")
        return y

    def extremum(self, name: str, a: int, b: int) -> int:
        """MAXIMUM or MINIMUM."""
        y = self.like(a, np.broadcast_shapes(self.shapes[a], self.shapes[b]))
        self.operator(name, [a, b], [y], "MaximumMinimumOptions", version=2)
        return y

    def prelu(self, x: int, slopes: int, scale: float | None = None) -> int:
        y = self.int8(np.broadcast_shapes(self.shapes[x], self.shapes[slopes]), scale)
        self.operator("PRELU", [x, slopes], [y])
        return y

    def pool(
        self,
        name: str,
        x: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: int = SAME,
        activation: int = NONE,
    ) -> int:
        _, height, width, channels = self.shapes[x]
        size = [
            -(-n // s) if padding == SAME else -(-(n - k + 1) // s)
            for n, k, s in zip((height, width), kernel, stride, strict=True)
        ]
        y = self.like(x, (1, *size, channels))
        self.operator(
            name,
            [x],
            [y],
            "Pool2DOptions",
            {
                "padding": padding,
                "stride_h": stride[0],
                "stride_w": stride[1],
                "filter_height": kernel[0],
                "filter_width": kernel[1],
                "fused_activation_function": activation,
            },
            version=2,
        )
        return y

    def like(self, x: int, shape: Shape, data: Any = None) -> int:
        """A tensor with the quantization of x."""
        source = self._tensors[x]
        return self.int8(shape, self.scales[x], int(source.zero_points[0]), data)

    def mean(self, x: int, axes: Sequence[int], keep: bool, scale: float | None = None) -> int:
        return self.reduce("MEAN", x, axes, keep, scale or self.scales[x] * 0.4)

    def reduce(
        self, name: str, x: int, axes: Sequence[int], keep: bool, scale: float | None = None
    ) -> int:
        """MEAN, SUM, REDUCE_MAX or REDUCE_MIN. scale: the input's, and its zero point, if None."""
        rank = len(self.shapes[x])
        over = {a % rank for a in axes}
        shape = [
            1 if d in over else n for d, n in enumerate(self.shapes[x]) if keep or d not in over
        ]
        y = self.like(x, shape) if scale is None else self.int8(shape, scale)
        inputs, options = [x, self.ints(axes)], {"keep_dims": keep}
        self.operator(name, inputs, [y], "ReducerOptions", options, version=2)
        return y

    def reshape(self, x: int, shape: Shape) -> int:
        y = self.like(x, shape)
        self.operator("RESHAPE", [x, self.ints(shape)], [y], "ReshapeOptions", {"new_shape": shape})
        return y

    def transpose(self, x: int, order: Sequence[int]) -> int:
        y = self.like(x, [self.shapes[x][d] for d in order])
        self.operator("TRANSPOSE", [x, self.ints(order)], [y], "TransposeOptions", {}, version=2)
        return y

    def softmax(self, x: int, beta: float = 1.0) -> int:
        y = self.int8(self.shapes[x], 1 / 256, -128)
        self.operator("SOFTMAX", [x], [y], "SoftmaxOptions", {"beta": beta}, version=2)
        return y

    def unary(
        self,
        name: str,
        x: int,
        scale: float | None = None,
        zero_point: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> int:
        y = self.int8(self.shapes[x], scale, zero_point)
        table = {"LEAKY_RELU": "LeakyReluOptions", "QUANTIZE": "QuantizeOptions"}.get(name)
        self.operator(name, [x], [y], table, options or {}, version=2 if table else 1)
        return y

    def concat(self, inputs: Sequence[int], axis: int) -> int:
        shape = list(self.shapes[inputs[0]])
        shape[axis] = sum(self.shapes[i][axis] for i in inputs)
        y = self.like(inputs[0], shape)
        options = {"axis": axis, "fused_activation_function": NONE}
        self.operator("CONCATENATION", inputs, [y], "ConcatenationOptions", options, version=2)
        return y

    def resize(self, name: str, x: int, size: tuple[int, int], corners: bool, centers: bool) -> int:
        y = self.like(x, (1, *size, self.shapes[x][3]))
        table = "ResizeBilinearOptions"
        if name == "RESIZE_NEAREST_NEIGHBOR":
            table = "ResizeNearestNeighborOptions"
        options = {"align_corners": corners, "half_pixel_centers": centers}
        self.operator(name, [x, self.ints(size)], [y], table, options, version=3)
        return y

    def pad(self, x: int, amounts: Sequence[tuple[int, int]], value: int | None = None) -> int:
        shape = [n + sum(pair) for n, pair in zip(self.shapes[x], amounts, strict=True)]
        y = self.like(x, shape)
        inputs = [x, self.ints(amounts)]
        if value is not None:
            zero_point = int(self._tensors[x].zero_points[0])
            inputs.append(self.int8((1,), self.scales[x], zero_point, data=[value]))
        self.operator("PAD" if value is None else "PADV2", inputs, [y], version=2)
        return y
