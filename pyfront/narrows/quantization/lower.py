# SPDX-License-Identifier: Apache-2.0
"""Graph -> QGraph: scales become multipliers, activations become ranges, functions tables.

Every formula is TensorFlow Lite Micro's, in the precision that it uses: multipliers are computed
in double from float32 scales.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np

from narrows.errors import ModelError
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
    Quantization,
    Reduce,
    Reduction,
    Resize,
    Select,
    Softmax,
    Tensor,
    Unary,
)
from narrows.graph.moves import Move, Reshape, Transpose
from narrows.graph.qgraph import (
    EXTREMA,
    Axis,
    Edge,
    Elements,
    Elementwise,
    Int8Array,
    Int32Array,
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
from narrows.quantization.arithmetic import RELATIONS, elementwise
from narrows.quantization.chains import fold_chains
from narrows.quantization.fixed_point import quantize_multiplier, round_half_away
from narrows.quantization.tables import (
    ALL_INT8,
    ALL_UINT8,
    as_bytes,
    requantized,
    softmax_table,
    unary_table,
)
from narrows.quantization.verify import verify_qgraph

# TFLite brings both operands to a common scale with so many bits behind the point, on int8.
_LEFT_SHIFTS = {Elementwise.ADD: 20, Elementwise.SUB: 20, Elementwise.SQUARED_DIFFERENCE: 7}
_MAX_CONCAT = 4
_INT32_BYTES = 4
# A multiplier and shift that change nothing.
_ONE = (2**30, 1)
_COMPLEMENT = as_bytes(-1 - ALL_INT8)
_TRUTH = as_bytes((ALL_INT8 > 0).astype(np.int64))


def lower(graph: Graph) -> QGraph:
    """Turn a quantized network into integers.

    Raises:
        ModelError: a tensor is not quantized, or a multiplier is out of range.
    """
    if any(tensor.dtype == "float32" for tensor in graph.tensors):
        raise ModelError(f"{graph.place}: a float model; quantize it first with 'narrows quantize'")
    lowering = _Lowering(graph)
    for operator in graph.operators:
        lowering.add(operator)
    for variable in graph.variables:
        number = lowering.number[variable.tensor]
        lowering.tensors[number] = replace(lowering.tensors[number], data=variable.first)
    inputs = tuple(lowering.edge(port, is_input=True) for port in graph.inputs)
    outputs = tuple(lowering.edge(port, is_input=False) for port in graph.outputs)
    qgraph = QGraph(
        graph.name,
        tuple(lowering.tensors),
        tuple(lowering.ops),
        inputs,
        outputs,
        tuple(
            QVariable(lowering.number[v.tensor], lowering.number[v.source], v.row)
            for v in graph.variables
        ),
    )
    verify_qgraph(qgraph)
    qgraph = fold_chains(qgraph)
    for op in qgraph.ops:
        if isinstance(op, QElementwise) and op.function is Elementwise.DIV:
            raise ModelError(
                f"{graph.place}: {qgraph.tensors[op.output].name}: a DIV of two int8 tensors or by "
                "several numbers; multiply by reciprocals instead"
            )
    verify_qgraph(qgraph)
    return qgraph


def activation_range(activation: Activation, q: Quantization) -> tuple[int, int]:
    """(least, most) int8 of a fused activation: TFLite's CalculateActivationRangeQuantized."""

    def quantized(value: float) -> int:
        return q.zero_point + round_half_away(float(np.float32(value) / q.scale))

    match activation:
        case Activation.NONE:
            return -128, 127
        case Activation.RELU:
            return max(-128, quantized(0)), 127
        case Activation.RELU6:
            return max(-128, quantized(0)), min(127, quantized(6))
        case Activation.RELU_N1_TO_1:
            return max(-128, quantized(-1)), min(127, quantized(1))


class _Lowering:
    """Adds one operator after the other. Tensors are those that operators and ports name, then
    what a long CONCATENATION needs between its parts."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        used = {port.tensor for port in (*graph.inputs, *graph.outputs)}
        used.update(i for v in graph.variables for i in (v.tensor, v.source))
        for operator in graph.operators:
            used.update((*operator.inputs, operator.output))
        self.number = {index: number for number, index in enumerate(sorted(used))}
        self.tensors = [self._tensor(graph.tensors[index]) for index in sorted(used)]
        self.ops: list[QOp] = []

    def _tensor(self, tensor: Tensor) -> QTensor:
        height, width, channels = tensor.shape
        if tensor.dtype == "int32":  # its bytes are channels
            return QTensor(tensor.name, height, width, channels * _INT32_BYTES, 1.0, 0)
        if tensor.dtype == "bool":  # true is the greatest int8, false the least
            return QTensor(tensor.name, height, width, channels, 1.0, 0)
        q = self.parameters(tensor)
        return QTensor(
            tensor.name, height, width, channels, float(q.scale), q.zero_point, tensor.data
        )

    def parameters(self, tensor: Tensor) -> Quantization:
        if tensor.quantization is None or tensor.dtype != "int8":
            raise ModelError(
                f"{self.graph.place}: {tensor.name} is not quantized; quantize the model first"
            )
        return tensor.quantization

    def of(self, index: int) -> Quantization:
        return self.parameters(self.graph.tensors[index])

    def add(self, operator: Operator) -> None:
        output = self.number[operator.output]
        x = operator.inputs[0]
        one = (self.number[x],)
        match operator:
            case Conv() | DepthwiseConv() | FullyConnected():
                self.ops.append(self._weighted(operator, one, output))
            case Binary():
                self.ops.append(self._binary(operator, output))
            case MatMul():
                a, b, y = (self.of(i) for i in (*operator.inputs, operator.output))
                inputs = (self.number[operator.inputs[0]], self.number[operator.inputs[1]])
                real = float(a.scale) * float(b.scale) / float(y.scale)
                self.ops.append(QMatMul(inputs, output, quantize_multiplier(real)))
            case ArgMax():
                self._arg_max(operator, one, output)
            case Compare():
                self._compare(operator, output)
            case Select():
                self._select(operator, output)
            case Pool():
                low, high = activation_range(operator.activation, self.of(operator.output))
                self.ops.append(
                    QPool(
                        one,
                        output,
                        operator.function,
                        operator.kernel,
                        operator.stride,
                        operator.pad,
                        low,
                        high,
                    )
                )
            case Reduce(function=Reduction.MEAN | Reduction.SUM):
                self.ops.append(self._sum(operator, one, output))
            case Reduce():
                self._extremum(operator, one, output)
            case Softmax():
                self.ops.append(QSoftmax(one, output, softmax_table(operator.beta, self.of(x))))
            case Unary():
                table = unary_table(operator, self.of(x), self.of(operator.output))
                self.ops.append(QLookup(one, output, table, operator.function.value))
            case Concat():
                self._concat(operator, output)
            case Resize():
                self.ops.append(self._resize(operator, one, output))
            case Move():
                self.ops.append(replace(operator, inputs=one, output=output))
            case Pad():
                self.ops.append(QPad(one, output, operator.before, int(operator.value)))

    def _weighted(
        self, operator: Conv | DepthwiseConv | FullyConnected, inputs: tuple[int], output: int
    ) -> QConv | QDepthwise:
        weights = self.graph.tensors[operator.weights]
        assert weights.data is not None
        x, w, y = self.of(operator.inputs[0]), self.parameters(weights), self.of(operator.output)
        data: Int8Array = weights.data
        channels = self.tensors[output].channels
        reals = [float(x.scale) * float(s) / float(y.scale) for s in w.scales]
        pairs = np.array([quantize_multiplier(real) for real in reals], np.int64)
        if pairs[:, 1].max() > 30:
            raise ModelError(
                f"{self.graph.place}: {self.tensors[output].name}: its scale {float(y.scale):g} is "
                f"too small for its input's {float(x.scale):g}"
            )
        multiplier, shift = (
            np.broadcast_to(pairs[:, i].astype(np.int32), (channels,)).copy() for i in (0, 1)
        )
        bias: Int32Array = np.zeros(channels, np.int32)
        if operator.bias is not None:
            values = self.graph.tensors[operator.bias].data
            assert values is not None
            bias = values.astype(np.int32)
        low, high = activation_range(operator.activation, y)
        numbers = (data, bias, multiplier, shift)
        if isinstance(operator, FullyConnected):
            return QConv(inputs, output, *numbers, (1, 1), (1, 1), (0, 0), low, high)
        window = (operator.stride, operator.dilation, operator.pad)
        if isinstance(operator, Conv):
            return QConv(inputs, output, *numbers, *window, low, high)
        return QDepthwise(inputs, output, *numbers, *window, low, high, operator.depth_multiplier)

    def _binary(self, operator: Binary, output: int) -> QElementwise | QLookup:
        a, b, y = (self.of(i) for i in (*operator.inputs, operator.output))
        low, high = activation_range(operator.activation, y)
        return self._elementwise(
            QElementwise(
                (self.number[operator.inputs[0]], self.number[operator.inputs[1]]),
                output,
                operator.function,
                _LEFT_SHIFTS.get(operator.function, 0),
                *_elementwise_multipliers(operator.function, a.scale, b.scale, y.scale),
                low,
                high,
            )
        )

    def _elementwise(self, op: QElementwise) -> QElementwise | QLookup:
        """The operator, or its table where an operand is a constant number."""
        for constant, other in ((0, 1), (1, 0)):
            tensor, rest = (self.tensors[op.inputs[i]] for i in (constant, other))
            if tensor.data is not None and tensor.bytes == 1 and rest.data is None:
                value = np.full(256, int(tensor.data.flat[0]), np.int64)
                left, right = (value, ALL_INT8) if constant == 0 else (ALL_INT8, value)
                a, b, y = (self.tensors[i].zero_point for i in (*op.inputs, op.output))
                table = as_bytes(elementwise(op, left, right, a, b, y))
                return QLookup((op.inputs[other],), op.output, table, op.function.name)
        return op

    def _compare(self, operator: Compare, output: int) -> None:
        """A difference of the operands, clamped, which has its sign, and a table of the signs."""
        a, b = (quantize_multiplier(float(self.of(i).scale)) for i in operator.inputs)
        difference = self._part(output, self.tensors[output].shape)
        inputs = (self.number[operator.inputs[0]], self.number[operator.inputs[1]])
        sub = Elementwise.SUB
        numbers = (a, b, _ONE, -128, 127)
        self.ops.append(self._elementwise(QElementwise(inputs, difference, sub, 8, *numbers)))
        holds = RELATIONS[operator.relation](ALL_INT8, 0)
        table = as_bytes(np.where(holds, 127, -128))
        self.ops.append(QLookup((difference,), output, table, operator.relation.value))

    def _arg_max(self, operator: ArgMax, inputs: tuple[int], output: int) -> None:
        """The least element is the greatest of the complements."""
        if operator.least:
            tensor = self.tensors[inputs[0]]
            inputs = (self._part(inputs[0], tensor.shape, complement=True),)
            number = self.number[operator.inputs[0]]
            self.ops.append(QLookup((number,), inputs[0], _COMPLEMENT, "complement"))
        self.ops.append(QArgMax(inputs, output))

    def _select(self, operator: Select, output: int) -> None:
        """The greater one of what is the least int8 wherever it is not selected."""
        where, a, b = (self.number[i] for i in operator.inputs)
        elsewhere = self._part(output, self.tensors[where].shape)
        self.ops.append(QLookup((where,), elsewhere, _COMPLEMENT, "complement"))
        parts = [self._extreme(Elementwise.MINIMUM, a, where)]
        parts.append(self._extreme(Elementwise.MINIMUM, b, elsewhere))
        self._extreme(Elementwise.MAXIMUM, parts[0], parts[1], output)

    def _extreme(self, function: Elementwise, a: int, b: int, output: int | None = None) -> int:
        """A tensor of the greater or lesser elements of two; a new one like the first if output is
        None."""
        if output is None:
            shapes = (self.tensors[a].shape, self.tensors[b].shape)
            height, width, channels = np.broadcast_shapes(*shapes)
            output = self._part(a, (height, width, channels))
        none = (0, 0)
        op = QElementwise((a, b), output, function, 0, none, none, none, -128, 127)
        self.ops.append(self._elementwise(op))
        return output

    def _sum(self, operator: Reduce, inputs: tuple[int], output: int) -> QOp:
        """MEAN and SUM. Over channels, too, they are a convolution whose weights are all 1."""
        x, y = self.of(operator.inputs[0]), self.of(operator.output)
        source, axes = self.tensors[inputs[0]], operator.axes
        shape = source.shape
        count = prod(shape[axis] for axis in axes)
        multiplier, shift = quantize_multiplier(float(x.scale) / float(y.scale))
        if operator.function is Reduction.MEAN:
            # The division by count is part of the multiplier (TFLite's QuantizedMeanOrSum).
            bits = min(count.bit_length() - 1, 32, 31 + shift)
            multiplier, shift = (multiplier << bits) // count, shift - bits
        if Axis.CHANNELS in axes and Axis.HEIGHT in axes and Axis.WIDTH not in axes:
            # Columns become channels, so that sums of them all come row by row.
            height, width, channels = shape
            turned = self._part(inputs[0], (height, channels, width))
            self.ops.append(Transpose(inputs, turned, shape, (0, 2, 1)))
            mean = self._part(output, (1, 1, width))
            start = -x.zero_point * count
            self.ops.append(QMean((turned,), mean, True, True, start, multiplier, shift))
            return Reshape((mean,), output)
        if Axis.CHANNELS in axes:
            kernel = tuple(shape[axis] if axis in axes else 1 for axis in Axis)
            weights = np.ones((1, *kernel), np.int8)
            bias, *numbers = (np.array([n], np.int32) for n in (0, multiplier, shift))
            window = ((1, 1), (1, 1), (0, 0))
            return QConv(inputs, output, weights, bias, numbers[0], numbers[1], *window, -128, 127)
        over = (Axis.HEIGHT in axes, Axis.WIDTH in axes)
        return QMean(inputs, output, *over, -x.zero_point * count, multiplier, shift)

    def _extremum(self, operator: Reduce, inputs: tuple[int], output: int) -> None:
        """MAX is a pooling with one window, or one for each row or column; channels are the width
        of another one. MIN is MAX of the complements -1 - x, whose order is the opposite one."""
        (height, width, channels), axes = self.tensors[inputs[0]].shape, operator.axes
        kernel = (height if Axis.HEIGHT in axes else 1, width if Axis.WIDTH in axes else 1)
        height, width = height // kernel[0], width // kernel[1]
        pixels, end = height * width, self.tensors[output].shape
        lowest, deep = operator.function is Reduction.MIN, Axis.CHANNELS in axes

        def pool(kernel: tuple[int, int]) -> Callable[[tuple[int], int], QOp]:
            return lambda x, y: QPool(x, y, "max", kernel, (1, 1), (0, 0), -128, 127)

        def complement(x: tuple[int], y: int) -> QOp:
            return QLookup(x, y, _COMPLEMENT, "complement")

        # Whether there is such an operator, the operator, and the shape that it makes.
        steps: list[tuple[bool, Callable[[tuple[int], int], QOp], tuple[int, int, int]]] = [
            (lowest, complement, self.tensors[inputs[0]].shape),
            (kernel != (1, 1), pool(kernel), (height, width, channels)),
            (deep, Reshape, (pixels, channels, 1)),
            (deep, pool((1, channels)), (pixels, 1, 1)),
            (deep and width > 1, Reshape, end),
            (lowest, complement, end),
        ]
        chosen = [(make, shape) for is_wanted, make, shape in steps if is_wanted]
        for make, shape in chosen[:-1]:
            y = self._part(output, shape, complement=lowest)
            self.ops.append(make(inputs, y))
            inputs = (y,)
        self.ops.append(chosen[-1][0](inputs, output))

    def _part(self, whole: int, shape: tuple[int, int, int], *, complement: bool = False) -> int:
        """A new tensor between the operators that one of the model's becomes. complement: it holds
        -1 - x in the place of x."""
        tensor = self.tensors[whole]
        zero_point = -1 - tensor.zero_point if complement else tensor.zero_point
        height, width, channels = shape
        self.tensors.append(
            QTensor(f"{tensor.name} (part)", height, width, channels, tensor.scale, zero_point)
        )
        return len(self.tensors) - 1

    def _concat(self, operator: Concat, output: int) -> None:
        inputs = [self.number[i] for i in operator.inputs]
        while len(inputs) > _MAX_CONCAT:
            shapes = [self.tensors[i].shape for i in inputs[:_MAX_CONCAT]]
            height, width, channels = (
                sum(lengths) if axis == operator.axis else lengths[0]
                for axis, lengths in enumerate(zip(*shapes, strict=True))
            )
            joined = self._part(output, (height, width, channels))
            self.ops.append(QConcat(tuple(inputs[:_MAX_CONCAT]), joined, operator.axis))
            inputs = [joined, *inputs[_MAX_CONCAT:]]
        if len(inputs) == 1:
            self.ops.append(Reshape((inputs[0],), output))
        else:
            self.ops.append(QConcat(tuple(inputs), output, operator.axis))

    def _resize(self, operator: Resize, inputs: tuple[int], output: int) -> QResize:
        x, y = self.tensors[inputs[0]], self.tensors[output]
        positions = nearest_positions if operator.function == "nearest" else _bilinear
        corners, centers = operator.align_corners, operator.half_pixel_centers
        rows = positions(x.height, y.height, corners, centers)
        cols = positions(x.width, y.width, corners, centers)
        for table, size in ((rows, x.height), (cols, x.width)):
            if (table[:, 0] + (table[:, 1] > 0)).max() >= size:
                raise ModelError(
                    f"{self.graph.place}: {y.name}: resized so far that TFLite Micro reads outside "
                    "of its input"
                )
        return QResize(inputs, output, rows, cols)

    def edge(self, port: Port, *, is_input: bool) -> Edge:
        table, number, elements = None, self.number[port.tensor], self._elements(port.tensor)
        if elements == "bool":
            number = self._truth(number)
        elif port.dtype == "uint8" and elements == "int8":
            inside, outside = self.of(port.tensor), _external(port)
            if is_input:
                table = as_bytes(requantized(ALL_UINT8, outside, inside))
            else:
                table = as_bytes(requantized(ALL_INT8, inside, outside), 0, 255)
        return Edge(
            port.name,
            number,
            port.dtype,
            port.shape,
            port.scale,
            port.zero_point,
            table,
            port.channels_first,
            elements,
        )

    def _elements(self, index: int) -> Elements:
        dtype = self.graph.tensors[index].dtype
        return dtype if dtype in ("int32", "bool") else "int8"

    def _truth(self, index: int) -> int:
        """A tensor of 1 and 0 in the place of the greatest and the least int8."""
        output = self._part(index, self.tensors[index].shape)
        self.ops.append(QLookup((index,), output, _TRUTH, "truth"))
        return output


def _elementwise_multipliers(
    function: Elementwise, a: np.float32, b: np.float32, y: np.float32
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """(multiplier, shift) of both operands and of the output."""
    none = (0, 0)
    if function in EXTREMA:
        return none, none, none
    if function not in _LEFT_SHIFTS:
        rest = quantize_multiplier(float(a) / float(y)) if function is Elementwise.PRELU else none
        real = float(a) / float(b) if function is Elementwise.DIV else float(a) * float(b)
        return rest, none, quantize_multiplier(real / float(y))
    twice = 2 * float(max(a, b))
    step = twice / 2.0 ** _LEFT_SHIFTS[function]
    square = step if function is Elementwise.SQUARED_DIFFERENCE else 1.0
    reals = (float(a) / twice, float(b) / twice, step * square / float(y))
    first, second, third = (quantize_multiplier(real) for real in reals)
    return first, second, third


def nearest_positions(size: int, out: int, corners: bool, centers: bool) -> Int32Array:
    """(low, 0) for each output position: TFLite's GetNearestNeighbor, in float32."""
    if corners and out > 1:
        scale = np.float32(size - 1) / np.float32(out - 1)
    else:
        scale = np.float32(size) / np.float32(out)
    position = (np.arange(out, dtype=np.float32) + np.float32(0.5 if centers else 0)) * scale
    exact = position.astype(np.float64)
    low = np.minimum(np.floor(exact + 0.5 if corners else exact), size - 1)
    return np.stack([low.astype(np.int32), np.zeros(out, np.int32)], axis=1)


def _bilinear(size: int, out: int, corners: bool, centers: bool) -> Int32Array:
    """(low, fraction in 1/1024) for each output position: TFLite's integer interpolation."""
    if corners and out > 1:
        scale = (1024 * (size - 1) + (out - 1) // 2) // (out - 1)
    else:
        scale = (1024 * size + out // 2) // out
    position = np.arange(out, dtype=np.int64) * scale
    if centers:
        position += scale // 2 - 512
    low = np.maximum(position, 0) >> 10
    high = np.minimum((position + 1023) >> 10, size - 1)
    # Where both neighbours are the same element the fraction does not matter.
    fraction = np.where(high > low, position - (low << 10), 0)
    return np.stack([low, fraction], axis=1).astype(np.int32)


def _external(port: Port) -> Quantization:
    return Quantization(np.array([port.scale], np.float32), np.array([port.zero_point], np.int32))
