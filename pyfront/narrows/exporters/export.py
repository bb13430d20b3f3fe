# SPDX-License-Identifier: Apache-2.0
"""Graph -> ``.tflite``: a model that TensorFlow Lite Micro and LiteRT run.

Inside, every activation is [1, height, width, channels]; a RESHAPE at the edge gives a port
the model's own shape, QUANTIZE and DEQUANTIZE its own dtype. Padding that SAME and VALID
cannot say becomes an operator of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tflite

from narrows.errors import Unsupported, UnsupportedError
from narrows.exporters.tflite import ModelWriter
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
    Port,
    Reduce,
    Relation,
    Resize,
    Select,
    Softmax,
    Tensor,
    Unary,
    UnaryFunction,
    verify_graph,
)
from narrows.graph.moves import Move
from narrows.graph.qgraph import EXTREMA, Elementwise

_ACTIVATIONS = {
    Activation.NONE: tflite.ActivationFunctionType.NONE,
    Activation.RELU: tflite.ActivationFunctionType.RELU,
    Activation.RELU6: tflite.ActivationFunctionType.RELU6,
    Activation.RELU_N1_TO_1: tflite.ActivationFunctionType.RELU_N1_TO_1,
}
# The versions of an operator that know float32 and int8.
_VERSIONS = {
    "CONV_2D": (1, 3),
    "DEPTHWISE_CONV_2D": (2, 3),  # 2: dilation
    "FULLY_CONNECTED": (5, 5),  # 5: dimensions kept
    "ADD": (1, 2),
    "SUB": (1, 2),
    "MUL": (1, 2),
    "DIV": (1, 2),
    **{relation.value: (1, 2) for relation in Relation},
    "SQUARED_DIFFERENCE": (1, 2),
    "BATCH_MATMUL": (1, 4),
    "MAXIMUM": (1, 2),
    "MINIMUM": (1, 2),
    "AVERAGE_POOL_2D": (1, 2),
    "MAX_POOL_2D": (1, 2),
    "MEAN": (1, 2),
    "SUM": (1, 2),
    "REDUCE_MAX": (1, 2),
    "REDUCE_MIN": (1, 2),
    "SOFTMAX": (1, 2),
    "LOGISTIC": (1, 2),
    "TANH": (1, 2),
    "LEAKY_RELU": (1, 2),
    "RELU": (1, 2),
    "RELU6": (1, 2),
    "ABS": (1, 2),
    "RSQRT": (1, 2),
    "SQRT": (1, 2),
    "EXP": (1, 2),
    "LOG": (1, 2),
    "GELU": (1, 2),
    "QUANTIZE": (1, 2),
    "DEQUANTIZE": (1, 2),
    "CONCATENATION": (1, 2),
    "RESIZE_BILINEAR": (3, 3),  # 3: half-pixel centers
    "RESIZE_NEAREST_NEIGHBOR": (3, 3),
    "STRIDED_SLICE": (1, 2),
    "PAD": (1, 2),
    "PADV2": (1, 2),
}
_PER_CHANNEL_FULLY_CONNECTED = 12
_MAX_CONCATENATION = 10  # TFLite Micro's limit


def export_tflite(graph: Graph, metadata: Mapping[str, bytes] | None = None) -> bytes:
    """Write a network as a ``.tflite`` file.

    Args:
        graph: quantized (int8 activations and weights, int32 biases) or float32.
        metadata: entries of the file's metadata by name, which interpreters ignore.

    Returns:
        The bytes of the file. Of a quantized graph, TFLite Micro computes from them what
        narrows computes from the graph, bit for bit.

    Raises:
        UnsupportedError: operators that no ``.tflite`` can express, all of them.
    """
    verify_graph(graph)
    return _Exporter(graph, metadata).run()


class _Inexpressible(Exception):
    """The message is the reason."""


class _Exporter:
    """``numbers``: the file's tensor for each of the graph's."""

    def __init__(self, graph: Graph, metadata: Mapping[str, bytes] | None) -> None:
        self.graph = graph
        self.writer = ModelWriter(graph.name, metadata)
        self.numbers: dict[int, int] = {}

    def run(self) -> bytes:
        inputs = [self._input(port) for port in self.graph.inputs]
        refused = []
        for index, variable in enumerate(self.graph.variables):
            name = self.graph.tensors[variable.tensor].name
            refused.append(Unsupported("variable", index, name, "variables cannot be exported"))
            self.numbers[variable.tensor] = self._like(variable.tensor)
        for index, operator in enumerate(self.graph.operators):
            try:
                if self.graph.tensors[operator.output].bounds is not None:
                    raise _Inexpressible("a float tensor with bounds; quantize it")
                self._add(operator)
            except _Inexpressible as error:
                name = self.graph.tensors[operator.output].name
                refused.append(Unsupported(type(operator).__name__, index, name, str(error)))
                self.numbers[operator.output] = self._like(operator.output)
        if refused:
            raise UnsupportedError(self.graph.name, tuple(refused))
        taken = set(inputs)
        outputs = []
        for port in self.graph.outputs:
            outputs.append(self._output(port, taken))
            taken.add(outputs[-1])
        return self.writer.finish(inputs, outputs)

    # --- Tensors -----------------------------------------------------------------------------

    def _like(self, index: int, shape: Sequence[int] | None = None, name: str | None = None) -> int:
        """A new tensor of the file with the dtype and the quantization of one of the graph's."""
        tensor = self.graph.tensors[index]
        q = tensor.quantization
        return self.writer.tensor(
            (1, *tensor.shape) if shape is None else shape,
            tensor.dtype,
            scale=None if q is None else q.scales,
            zero_point=0 if q is None else q.zero_points,
            name=name or tensor.name,
        )

    def _read(self, index: int) -> int:
        """The file's tensor for an operand, which may be a constant."""
        if index not in self.numbers:
            tensor = self.graph.tensors[index]
            self.numbers[index] = self._constant(tensor, (1, *tensor.shape), 0)
        return self.numbers[index]

    def _constant(self, tensor: Tensor, shape: Sequence[int], axis: int) -> int:
        q = tensor.quantization
        return self.writer.tensor(
            shape,
            tensor.dtype,
            scale=None if q is None else q.scales,
            zero_point=0 if q is None else q.zero_points,
            axis=axis,
            data=tensor.data,
            name=tensor.name,
        )

    def _ints(self, values: Sequence[int] | Sequence[Sequence[int]]) -> int:
        array = np.asarray(values, np.int32)
        return self.writer.tensor(array.shape, "int32", data=array)

    def _write(
        self,
        name: str,
        inputs: Sequence[int],
        output: int,
        table: str | None = None,
        version: int | None = None,
        **options: int | float | bool | Sequence[int],
    ) -> int:
        quantized = any(t.dtype == "int8" for t in self.graph.tensors)
        known = _VERSIONS.get(name, (1, 1))[quantized]
        self.writer.operator(name, inputs, [output], table, options, version=version or known)
        return output

    def _reshape(self, source: int, target: int, shape: Sequence[int]) -> int:
        inputs = [source, self._ints(shape)]
        return self._write("RESHAPE", inputs, target, "ReshapeOptions", new_shape=tuple(shape))

    # --- Edges -------------------------------------------------------------------------------

    def _input(self, port: Port) -> int:
        inner = self.graph.tensors[port.tensor]
        if port.dtype == inner.dtype:
            outer = current = self._like(port.tensor, port.shape, port.name)
        else:
            outer = self._edge(port)
            current = self._like(port.tensor, port.shape)
            self._write("QUANTIZE", [outer], current, "QuantizeOptions", version=1)
        if port.shape != (1, *inner.shape):
            current = self._reshape(current, self._like(port.tensor), (1, *inner.shape))
        self.numbers[port.tensor] = current
        return outer

    def _output(self, port: Port, taken: set[int]) -> int:
        inner = self.graph.tensors[port.tensor]
        current = self._read(port.tensor)
        converted = port.dtype != inner.dtype
        # A tensor can be an input or output of the model only once.
        if port.shape != (1, *inner.shape) or (current in taken and not converted):
            name = None if converted else port.name
            current = self._reshape(current, self._like(port.tensor, port.shape, name), port.shape)
        if converted and not inner.is_real:
            return self._write("CAST", [current], self._edge(port), "CastOptions")
        if converted and port.dtype == "float32":
            return self._write("DEQUANTIZE", [current], self._edge(port), "DequantizeOptions")
        if converted:
            return self._write("QUANTIZE", [current], self._edge(port), "QuantizeOptions")
        return current

    def _edge(self, port: Port) -> int:
        is_real = self.graph.tensors[port.tensor].is_real
        scale = port.scale if is_real and port.dtype != "float32" else None
        return self.writer.tensor(
            port.shape, port.dtype, scale=scale, zero_point=port.zero_point, name=port.name
        )

    # --- Operators ---------------------------------------------------------------------------

    def _add(self, operator: Operator) -> None:
        inputs = [self._read(i) for i in operator.inputs]
        y = self._result(operator, inputs)
        self.numbers[operator.output] = y

    def _result(self, operator: Operator, inputs: list[int]) -> int:
        out = operator.output
        shape = self.graph.tensors[out].shape
        source = self.graph.tensors[operator.inputs[0]]
        match operator:
            case Conv() | DepthwiseConv():
                return self._convolution(operator, inputs[0])
            case FullyConnected():
                return self._fully_connected(operator, inputs[0])
            case Binary() if operator.function in EXTREMA:
                table = "MaximumMinimumOptions"
                return self._write(operator.function.name, inputs, self._like(out), table)
            case Binary(function=Elementwise.PRELU | Elementwise.SQUARED_DIFFERENCE):
                return self._write(operator.function.name, inputs, self._like(out))
            case Binary():
                name = operator.function.name
                return self._write(
                    name,
                    inputs,
                    self._like(out),
                    f"{name.capitalize()}Options",
                    fused_activation_function=_ACTIVATIONS[operator.activation],
                )
            case MatMul():
                return self._matmul(operator, inputs)
            case ArgMax():
                return self._arg_max(operator, inputs[0])
            case Compare():
                name = operator.relation.value
                table = f"{name.title().replace('_', '')}Options"
                return self._write(name, inputs, self._like(out), table)
            case Select():
                return self._write("SELECT_V2", inputs, self._like(out), "SelectV2Options")
            case Pool():
                return self._pool(operator, inputs[0])
            case Reduce():
                name = operator.function.value
                operands = [inputs[0], self._ints([axis + 1 for axis in operator.axes])]
                return self._write(
                    name, operands, self._like(out), "ReducerOptions", keep_dims=True
                )
            case Softmax():
                return self._write(
                    "SOFTMAX", inputs, self._like(out), "SoftmaxOptions", beta=operator.beta
                )
            case Unary():
                return self._unary(operator, inputs[0])
            case Concat():
                return self._concat(operator, inputs)
            case Resize():
                bilinear = operator.function == "bilinear"
                return self._write(
                    "RESIZE_BILINEAR" if bilinear else "RESIZE_NEAREST_NEIGHBOR",
                    [inputs[0], self._ints(shape[:2])],
                    self._like(out),
                    "ResizeBilinearOptions" if bilinear else "ResizeNearestNeighborOptions",
                    align_corners=operator.align_corners,
                    half_pixel_centers=operator.half_pixel_centers,
                )
            case Move():
                return self._moved(operator, inputs[0])
            case Pad():
                sizes = zip(operator.before, source.shape, shape, strict=True)
                amounts = [(b, m - b - n) for b, n, m in sizes]
                return self._pad(inputs[0], amounts, operator.inputs[0], operator.value, out)

    def _matmul(self, operator: MatMul, inputs: list[int]) -> int:
        """The second operand as it is, since its columns are side by side."""
        x, other, made = (self.graph.tensors[i].shape for i in (*operator.inputs, operator.output))
        first, second = inputs
        options = {"adj_x": False, "adj_y": True}
        if other[0] * other[1] != made[2] or x[0] == other[0] == 1:
            y = self._like(operator.output)
            return self._write("BATCH_MATMUL", [first, second], y, "BatchMatMulOptions", **options)
        # All pixels are one matrix.
        shapes = [(1, 1, s[0] * s[1], s[2]) for s in (x, other, made)]
        first = self._reshape(first, self._like(operator.inputs[0], shapes[0]), shapes[0])
        second = self._reshape(second, self._like(operator.inputs[1], shapes[1]), shapes[1])
        y = self._like(operator.output, shapes[2])
        self._write("BATCH_MATMUL", [first, second], y, "BatchMatMulOptions", **options)
        return self._reshape(y, self._like(operator.output), (1, *made))

    def _arg_max(self, operator: ArgMax, x: int) -> int:
        """Without the channels, which an ARG_MAX leaves out, and then with one."""
        shape = (1, *self.graph.tensors[operator.output].shape)
        y = self._like(operator.output, shape[:-1])
        name = "ARG_MIN" if operator.least else "ARG_MAX"
        table = name.title().replace("_", "") + "Options"
        self._write(name, [x, self._ints([3])], y, table, output_type=tflite.TensorType.INT32)
        return self._reshape(y, self._like(operator.output), shape)

    def _moved(self, operator: Move, x: int) -> int:
        out = operator.output
        source, target = (self.graph.tensors[i].shape for i in (operator.inputs[0], out))
        steps = operator.written(source, target)
        for form in steps:
            operands = [x, *(self._ints(values.tolist()) for values in form.operands)]
            y = self._like(out) if form is steps[-1] else self._like(out, form.shape)
            x = self._write(form.name, operands, y, form.options, None, **form.fields)
        return x

    def _pad(
        self, x: int, amounts: Sequence[tuple[int, int]], like: int, value: float, out: int | None
    ) -> int:
        """PAD of [height, width, channels]; PADV2 where the value is not zero.

        out: the graph's tensor that this becomes; None before another operator.
        """
        tensor = self.graph.tensors[like]
        q = tensor.quantization
        padded = [sum(pair) + n for pair, n in zip(amounts, tensor.shape, strict=True)]
        target = self._like(like, (1, *padded)) if out is None else self._like(out)
        operands = [x, self._ints([(0, 0), *amounts])]
        if value == (0 if q is None else q.zero_point):
            return self._write("PAD", operands, target, "PadOptions")
        operands.append(
            self.writer.tensor(
                (1,),
                tensor.dtype,
                scale=None if q is None else q.scales,
                zero_point=0 if q is None else q.zero_points,
                data=[value],
            )
        )
        return self._write("PADV2", operands, target, "PadV2Options")

    def _window(
        self,
        operator: Conv | DepthwiseConv | Pool,
        x: int,
        kernel: tuple[int, int],
        dilation: tuple[int, int],
        outside: float | None,
    ) -> tuple[int, int]:
        """(tensor to read, padding scheme), with a PAD in between where neither scheme fits.

        outside: what padding holds, in the tensor's own numbers; None if it holds nothing.
        """
        source = self.graph.tensors[operator.inputs[0]].shape
        target = self.graph.tensors[operator.output].shape
        fits = {tflite.Padding.SAME: True, tflite.Padding.VALID: True}
        amounts = []
        for axis in (0, 1):
            n, out, stride = source[axis], target[axis], operator.stride[axis]
            before, span = operator.pad[axis], (kernel[axis] - 1) * dilation[axis] + 1
            total = max(0, (out - 1) * stride + span - n)
            fits[tflite.Padding.SAME] &= out == -(-n // stride) and before == total // 2
            fits[tflite.Padding.VALID] &= before == 0 and out == (n + stride - span) // stride
            after = max(0, (out - 1) * stride + span - before - n)
            if out != (n + before + after + stride - span) // stride:
                raise _Inexpressible(f"{out} windows of {span} over {n} elements")
            amounts.append((before, after))
        for padding, good in fits.items():
            if good:
                return x, padding
        if outside is None:
            raise _Inexpressible(
                f"an average over padding {operator.pad} that is neither SAME nor VALID"
            )
        padded = self._pad(x, [*amounts, (0, 0)], operator.inputs[0], outside, None)
        return padded, tflite.Padding.VALID

    def _convolution(self, operator: Conv | DepthwiseConv, x: int) -> int:
        weights = self.graph.tensors[operator.weights]
        q = self.graph.tensors[operator.inputs[0]].quantization
        depthwise = isinstance(operator, DepthwiseConv)
        shape = (1, *weights.shape) if depthwise else weights.shape
        kernel = (shape[1], shape[2])
        source, padding = self._window(
            operator, x, kernel, operator.dilation, 0 if q is None else q.zero_point
        )
        operands = self._weighted(operator, source, shape, 3 if depthwise else 0)
        options: dict[str, int] = {
            "padding": padding,
            "stride_h": operator.stride[0],
            "stride_w": operator.stride[1],
            "dilation_h_factor": operator.dilation[0],
            "dilation_w_factor": operator.dilation[1],
            "fused_activation_function": _ACTIVATIONS[operator.activation],
        }
        name, table = "CONV_2D", "Conv2DOptions"
        if isinstance(operator, DepthwiseConv):
            name, table = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
            options["depth_multiplier"] = operator.depth_multiplier
        return self._write(name, operands, self._like(operator.output), table, **options)

    def _weighted(
        self,
        operator: Conv | DepthwiseConv | FullyConnected,
        x: int,
        shape: Sequence[int],
        axis: int,
    ) -> list[int]:
        """Input, weights and bias, if there is one."""
        weights = self.graph.tensors[operator.weights]
        operands = [x, self._constant(weights, shape, axis)]
        if operator.bias is not None:
            bias = self.graph.tensors[operator.bias]
            inner, w = self.graph.tensors[operator.inputs[0]].quantization, weights.quantization
            scales = None if inner is None or w is None else inner.scale * w.scales
            operands.append(
                self.writer.tensor(
                    bias.shape, bias.dtype, scale=scales, data=bias.data, name=bias.name
                )
            )
        return operands

    def _fully_connected(self, operator: FullyConnected, x: int) -> int:
        weights = self.graph.tensors[operator.weights]
        source = self.graph.tensors[operator.inputs[0]]
        out, depth = weights.shape[0], int(np.prod(weights.shape[1:]))
        if depth != source.shape[2]:  # the kernel covers the input: one pixel of all its elements
            flat = (1, 1, 1, depth)
            x = self._reshape(x, self._like(operator.inputs[0], flat), flat)
        operands = self._weighted(operator, x, (out, depth), 0)
        q = weights.quantization
        per_channel = q is not None and len(q.scales) > 1
        return self._write(
            "FULLY_CONNECTED",
            operands,
            self._like(operator.output),
            "FullyConnectedOptions",
            version=_PER_CHANNEL_FULLY_CONNECTED if per_channel else None,
            keep_num_dims=True,
            fused_activation_function=_ACTIVATIONS[operator.activation],
        )

    def _pool(self, operator: Pool, x: int) -> int:
        quantized = self.graph.tensors[operator.inputs[0]].dtype == "int8"
        least = -128.0 if quantized else float(np.finfo(np.float32).min)
        outside = least if operator.function == "max" else None
        source, padding = self._window(operator, x, operator.kernel, (1, 1), outside)
        return self._write(
            f"{operator.function.upper()}_POOL_2D",
            [source],
            self._like(operator.output),
            "Pool2DOptions",
            padding=padding,
            stride_h=operator.stride[0],
            stride_w=operator.stride[1],
            filter_height=operator.kernel[0],
            filter_width=operator.kernel[1],
            fused_activation_function=_ACTIVATIONS[operator.activation],
        )

    def _unary(self, operator: Unary, x: int) -> int:
        source, target = self.graph.tensors[operator.inputs[0]], self._like(operator.output)
        match operator.function:
            case UnaryFunction.LEAKY_RELU:
                return self._write(
                    "LEAKY_RELU", [x], target, "LeakyReluOptions", alpha=operator.alpha
                )
            case UnaryFunction.REQUANTIZE if source.dtype == "float32":
                return x
            case UnaryFunction.REQUANTIZE:
                return self._write("QUANTIZE", [x], target, "QuantizeOptions")
            case UnaryFunction.GELU | UnaryFunction.GELU_TANH:
                approximate = operator.function is UnaryFunction.GELU_TANH
                return self._write("GELU", [x], target, "GeluOptions", approximate=approximate)
            case function if operator.in_floats and source.dtype == "int8":
                inner, outer = (self._floats(t) for t in (operator.inputs[0], operator.output))
                self._write("DEQUANTIZE", [x], inner, "DequantizeOptions")
                self._write(function.value, [inner], outer, version=1)
                return self._write("QUANTIZE", [outer], target, "QuantizeOptions", version=1)
            case function:
                return self._write(function.value, [x], target)

    def _floats(self, index: int) -> int:
        """A new tensor of the file in float32."""
        return self.writer.tensor((1, *self.graph.tensors[index].shape), "float32")

    def _concat(self, operator: Concat, inputs: list[int]) -> int:
        """Several in a row where there are more inputs than TFLite Micro takes."""
        sizes = [self.graph.tensors[i].shape[operator.axis] for i in operator.inputs]
        shape = list(self.graph.tensors[operator.output].shape)
        while True:
            last = len(inputs) <= _MAX_CONCATENATION
            count = len(inputs) if last else _MAX_CONCATENATION
            shape[operator.axis] = sum(sizes[:count])
            joined = self._write(
                "CONCATENATION",
                inputs[:count],
                self._like(operator.output, (1, *shape)),
                "ConcatenationOptions",
                axis=int(operator.axis) + 1,
            )
            if last:
                return joined
            inputs = [joined, *inputs[count:]]
            sizes = [shape[operator.axis], *sizes[count:]]
