# SPDX-License-Identifier: Apache-2.0
"""Graph: a network as it was imported, with real-valued quantization parameters.

Activations are NHWC with batch 1 and are written [height, width, channels]; layout
changes of the model have been absorbed, paddings are numbers. Operators keep the model's
own attributes, so that a quantizer or an exporter still sees what the model says; the
integers that the runtime uses (multipliers, tables) appear only in the QGraph.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.errors import ModelError
from narrows.graph.moves import Move
from narrows.graph.qgraph import Axis, Elementwise, ExternalDtype

Array: TypeAlias = npt.NDArray[Any]
# Counts and sizes of the blob are 16 bits, the last value means "none".
MAX_DIMENSION = 65535
MAX_TENSOR_BYTES = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Quantization:
    """real = scale * (q - zero_point).

    scales: float32 [1] or, along dimension ``axis`` of the tensor, [shape[axis]].
    zero_points: int32, as many.
    """

    scales: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.int32]
    axis: int = 0

    @property
    def scale(self) -> np.float32:
        first: np.float32 = self.scales[0]
        return first

    @property
    def zero_point(self) -> int:
        return int(self.zero_points[0])


@dataclass(frozen=True, eq=False)
class Tensor:
    """shape: [height, width, channels] of activations; weights and biases as their operator
    says. data: the values of a constant in this shape and dtype, else None.

    bounds: (least, most) to which the values of a float activation are clipped, 0 within; None
    for no clip. A quantized tensor needs none, since its scale and zero point clip. What writes
    a tensor with bounds has a free output scale (graph.scales), so that int8 can clip."""

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "int8", "int32", "bool"]
    quantization: Quantization | None
    data: Array | None = None
    bounds: tuple[float, float] | None = None

    @property
    def is_real(self) -> bool:
        """Whether an activation holds real numbers, which int8 stands for: neither truth values nor
        the numbers of elements, which only an output of the model is."""
        return self.dtype not in ("int32", "bool")


@dataclass(frozen=True, eq=False)
class Port:
    """An input or output of the model in the model's own dtype and shape (batch included).

    scale, zero_point: of the external tensor; (0.0, 0) for float32, (1.0, 0) where the tensor holds
        int32 or bool, which become ``dtype`` as they are.
    channels_first: whether the model's file has it as [1, channels, height, width] or
    [1, channels, length]; in ``shape`` the channels are last all the same.
    """

    name: str
    tensor: int
    dtype: ExternalDtype
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    channels_first: bool = False


@dataclass(frozen=True, eq=False)
class Variable:
    """A tensor that no operator writes: it stays from one inference to the next.

    source: the tensor of which it becomes a part when an inference has ended: as many rows as it
        has, from row ``row`` on.
    first: int8, its values in the first inference, in its shape.
    """

    tensor: int
    source: int
    row: int
    first: Array


class Activation(Enum):
    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"
    RELU_N1_TO_1 = "relu_n1_to_1"


@dataclass(frozen=True)
class Conv:
    """weights: [out, kernel_h, kernel_w, in], scales along axis 0. bias: [out] or None.
    pad: (top, left); the rest follows from the output's shape.

    transposed: each input pixel adds the kernel to the output, ``stride`` pixels behind the one
        before; ``pad`` of what that gives is cut off. Importers make convolutions of it
        (graph.transposed), so that none is left in what they return."""

    inputs: tuple[int]
    output: int
    weights: int
    bias: int | None
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]
    activation: Activation
    transposed: bool = False


@dataclass(frozen=True)
class DepthwiseConv:
    """weights: [kernel_h, kernel_w, out], scales along axis 2; output channel c reads input
    channel ``c // depth_multiplier``. Rest as Conv."""

    inputs: tuple[int]
    output: int
    weights: int
    bias: int | None
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]
    activation: Activation
    depth_multiplier: int
    transposed: bool = False


@dataclass(frozen=True)
class FullyConnected:
    """weights: [out, kernel_h, kernel_w, in] where the kernel is the whole input, or 1x1 when
    every pixel is mapped on its own. bias: [out] or None."""

    inputs: tuple[int]
    output: int
    weights: int
    bias: int | None
    activation: Activation


@dataclass(frozen=True)
class Binary:
    """Two tensors by element; an operand may be 1 in any dimension and may be a constant. PRELU:
    the second are the slopes below zero. Only ADD, SUB and MUL have an activation."""

    inputs: tuple[int, int]
    output: int
    function: Elementwise
    activation: Activation


@dataclass(frozen=True)
class MatMul:
    """Each pixel of the first tensor times a matrix, whose columns are pixels of the second: all of
    these, if they are as many as the output has channels, else those of the pixel's row."""

    inputs: tuple[int, int]
    output: int


class Relation(Enum):
    """What a comparison asks of two elements, as a ``.tflite`` names it."""

    EQUAL = "EQUAL"
    NOT_EQUAL = "NOT_EQUAL"
    GREATER = "GREATER"
    GREATER_EQUAL = "GREATER_EQUAL"
    LESS = "LESS"
    LESS_EQUAL = "LESS_EQUAL"


@dataclass(frozen=True)
class Compare:
    """Where a relation of two tensors holds; operands as of Binary. The output is bool."""

    inputs: tuple[int, int]
    output: int
    relation: Relation


@dataclass(frozen=True)
class Select:
    """The second tensor where the first, which is bool, is true, and the third elsewhere; each may
    be 1 in any dimension."""

    inputs: tuple[int, int, int]
    output: int


@dataclass(frozen=True)
class Pool:
    """AVERAGE_POOL_2D, MAX_POOL_2D. pad: (top, left); padding counts for nothing."""

    inputs: tuple[int]
    output: int
    function: Literal["average", "max"]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    activation: Activation


class Reduction(Enum):
    """What becomes of the elements along an axis, as a ``.tflite`` names it."""

    MEAN = "MEAN"
    SUM = "SUM"
    MAX = "REDUCE_MAX"
    MIN = "REDUCE_MIN"


@dataclass(frozen=True)
class Reduce:
    """Over some axes, which have size 1 in the output."""

    inputs: tuple[int]
    output: int
    function: Reduction
    axes: tuple[Axis, ...]


@dataclass(frozen=True)
class Softmax:
    """Over channels, per pixel."""

    inputs: tuple[int]
    output: int
    beta: float


@dataclass(frozen=True)
class ArgMax:
    """For each pixel the number of its greatest channel, the first of several, or of its least one.
    The output is int32."""

    inputs: tuple[int]
    output: int
    least: bool = False


class UnaryFunction(Enum):
    LOGISTIC = "LOGISTIC"
    TANH = "TANH"
    HARD_SWISH = "HARD_SWISH"
    LEAKY_RELU = "LEAKY_RELU"
    RELU = "RELU"
    RELU6 = "RELU6"
    ABS = "ABS"
    NEG = "NEG"
    SQUARE = "SQUARE"
    SQRT = "SQRT"
    RSQRT = "RSQRT"
    EXP = "EXP"
    LOG = "LOG"
    SIN = "SIN"
    COS = "COS"
    FLOOR = "FLOOR"
    CEIL = "CEIL"
    ROUND = "ROUND"
    ELU = "ELU"
    GELU = "GELU"
    GELU_TANH = "GELU (tanh)"
    REQUANTIZE = "QUANTIZE"


# The functions that TFLite Micro computes in float32 and not in int8.
FLOAT_FUNCTIONS = frozenset((
    UnaryFunction.NEG, UnaryFunction.SQUARE, UnaryFunction.SQRT, UnaryFunction.EXP,
    UnaryFunction.LOG, UnaryFunction.SIN, UnaryFunction.COS, UnaryFunction.FLOOR,
    UnaryFunction.CEIL, UnaryFunction.ROUND,
))  # fmt: skip


@dataclass(frozen=True)
class Unary:
    """A function of one element. alpha: slope of LEAKY_RELU below zero.

    in_floats: if the tensors are int8, whether it is computed in float32 between a DEQUANTIZE and
        a QUANTIZE: so converters write functions that TFLite has no int8 kernel for.
    """

    inputs: tuple[int]
    output: int
    function: UnaryFunction
    alpha: float = 0.0
    in_floats: bool = False


@dataclass(frozen=True)
class Concat:
    """Two or more tensors along an axis."""

    inputs: tuple[int, ...]
    output: int
    axis: Axis


@dataclass(frozen=True)
class Resize:
    inputs: tuple[int]
    output: int
    function: Literal["nearest", "bilinear"]
    align_corners: bool
    half_pixel_centers: bool


@dataclass(frozen=True)
class Pad:
    """before: (height, width, channels). value: in the input's own numbers."""

    inputs: tuple[int]
    output: int
    before: tuple[int, int, int]
    value: float


Operator: TypeAlias = (
    Conv
    | DepthwiseConv
    | FullyConnected
    | Binary
    | MatMul
    | Compare
    | Select
    | Pool
    | Reduce
    | Softmax
    | ArgMax
    | Unary
    | Concat
    | Resize
    | Move
    | Pad
)


@dataclass(frozen=True, eq=False)
class Graph:
    """operators: in execution order. source: the file that it comes from, for errors.

    warnings: what the user should know although it can be compiled, a line each.
    """

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    source: str = ""
    warnings: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = ()

    @property
    def place(self) -> str:
        """What errors call it."""
        return self.source or self.name

    @property
    def ends(self) -> frozenset[int]:
        """Tensors that are seen from outside: outputs, and what variables become."""
        return frozenset((*(p.tensor for p in self.outputs), *(v.source for v in self.variables)))


# Operators with weights and an optional bias.
WEIGHTED = (Conv, DepthwiseConv, FullyConnected)


def readers(graph: Graph) -> dict[int, list[int]]:
    """Operators that have a tensor as an input, by tensor; constants' weights left out."""
    result: dict[int, list[int]] = {}
    for number, operator in enumerate(graph.operators):
        for tensor in dict.fromkeys(operator.inputs):
            result.setdefault(tensor, []).append(number)
    return result


def verify_graph(graph: Graph) -> None:
    """Check what every later stage relies on.

    Raises:
        ModelError: an index out of range, a tensor read before it is written or written
            twice, a shape that does not fit its operator.
    """
    written = {port.tensor for port in graph.inputs} | {v.tensor for v in graph.variables}
    for number, tensor in enumerate(graph.tensors):
        _expect(graph, all(n > 0 for n in tensor.shape), f"tensor {number} is empty")
        if tensor.data is not None:
            fits = tensor.data.shape == tensor.shape and tensor.data.dtype == tensor.dtype
            _expect(graph, fits, f"tensor {number}: data of shape {tensor.data.shape}")
            written.add(number)
        q = tensor.quantization
        if q is not None:
            count = len(q.scales)
            fits = count == 1 or (q.axis < len(tensor.shape) and count == tensor.shape[q.axis])
            _expect(graph, fits and len(q.zero_points) == count, f"tensor {number}: {count} scales")
    for number, operator in enumerate(graph.operators):
        where = f"operator {number} {type(operator).__name__}"
        for tensor_index in operator.inputs:
            _expect(graph, tensor_index in written, f"{where} reads {tensor_index} too early")
        _expect(graph, operator.output not in written, f"{where} writes {operator.output} again")
        _expect(graph, 0 <= operator.output < len(graph.tensors), f"{where}: no such output")
        written.add(operator.output)
        shapes = [graph.tensors[i].shape for i in (*operator.inputs, operator.output)]
        _expect(graph, all(len(s) == 3 for s in shapes), f"{where}: shapes {shapes}")
    for port in graph.outputs:
        _expect(graph, port.tensor in written, f"output {port.name} is never written")
    for variable in graph.variables:
        tensor, source = (graph.tensors[i] for i in (variable.tensor, variable.source))
        where = f"variable {tensor.name}"
        _expect(graph, variable.source in written, f"{where} becomes what is never written")
        rows = range(variable.row, variable.row + tensor.shape[0])
        inside = rows.start >= 0 and rows.stop <= source.shape[0]
        _expect(graph, inside and tensor.shape[1:] == source.shape[1:], f"{where}: {source.shape}")
        fits = variable.first.shape == tensor.shape and variable.first.dtype == np.int8
        _expect(graph, fits, f"{where} begins with {variable.first.shape}")
    _expect(graph, bool(graph.inputs and graph.outputs), "no inputs or no outputs")


def _expect(graph: Graph, condition: bool, message: str) -> None:
    if not condition:
        raise ModelError(f"{graph.place}: {message}")
