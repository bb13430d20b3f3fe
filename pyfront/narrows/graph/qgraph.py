# SPDX-License-Identifier: Apache-2.0
"""QGraph: a network in integers only, the value between quantization and planning.

Every tensor is NHWC with batch 1 and int8 elements. Every operator carries the very
integers that the runtime uses (multiplier, shift, table), so nothing after this point
knows about scales. Operators stand in an order in which they can be executed.

Rounding is TensorFlow Lite Micro's: ``requantize(x, multiplier, shift)`` is gemmlowp's
rounding doubling high multiply of ``x << max(shift, 0)`` followed by a rounding division
by ``2 ** max(-shift, 0)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.graph.moves import Move

Int8Array: TypeAlias = npt.NDArray[np.int8]
Int32Array: TypeAlias = npt.NDArray[np.int32]
ExternalDtype: TypeAlias = Literal["int8", "uint8", "float32", "int32", "int64", "bool"]
"""The types of a model's own inputs, which are one of the first three, and of its outputs."""
Elements: TypeAlias = Literal["int8", "int32", "bool"]
"""What a tensor at an edge holds: int8, the bytes of int32 side by side (the lowest first) or truth
values, 1 and 0."""


@dataclass(frozen=True, eq=False)
class LiveChannels:
    """Which channels of the model's tensor are left of it.

    codes: int16 [channels in the model], for each LIVE, or the value that it always has, or
    UNKNOWN: it varies, but nothing looks at it.
    """

    codes: npt.NDArray[np.int16]
    LIVE: ClassVar[int] = 256
    UNKNOWN: ClassVar[int] = 257

    def fill(self, values: Int8Array) -> np.ma.MaskedArray[tuple[int, ...], np.dtype[np.int8]]:
        """The model's tensor from [..., channels] that are left; what is unknown is masked."""
        shape = (*values.shape[:-1], len(self.codes))
        codes = np.broadcast_to(self.codes, shape)
        filled = np.ma.array(codes.astype(np.int8), mask=codes == self.UNKNOWN)
        filled[..., self.codes == self.LIVE] = values
        return filled


@dataclass(frozen=True, eq=False)
class QTensor:
    """A tensor of ``height x width x channels`` int8.

    scale: real value of one step; used by reports and at the edges, never by arithmetic.
    data: the values [height, width, channels] of a constant, or those that a variable begins
        with, else None.
    live: None if it has all channels of the model's tensor.
    """

    name: str
    height: int
    width: int
    channels: int
    scale: float
    zero_point: int
    data: Int8Array | None = None
    live: LiveChannels | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def row_bytes(self) -> int:
        return self.width * self.channels

    @property
    def bytes(self) -> int:
        return self.height * self.row_bytes


@dataclass(frozen=True, eq=False)
class Edge:
    """An input or output of the network as the outside sees it.

    The host converts between ``dtype`` and the int8 tensor: float32 by ``scale`` and
    ``zero_point`` of the tensor (TFLite's QUANTIZE and DEQUANTIZE formulas), uint8 by
    ``table`` (256 entries: external byte to int8 for inputs, int8 as an unsigned byte to
    external byte for outputs).

    shape: the model's own shape, with the batch dimension.
    scale, zero_point: of the external tensor; (0.0, 0) for float32, (1.0, 0) for numbers and truth
        values, which have no scale: they become ``dtype`` as they are.
    channels_first: as graph.Port has it.
    elements: of the tensor.
    """

    name: str
    tensor: int
    dtype: ExternalDtype
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    table: bytes | None = None
    channels_first: bool = False
    elements: Elements = "int8"


@dataclass(frozen=True, eq=False)
class QConv:
    """CONV_2D and FULLY_CONNECTED.

    weights: int8 [out_channels, kernel_h, kernel_w, in_channels].
    bias: int32 [out_channels], the model's own (input zero point not folded in).
    multiplier, shift: int32 [out_channels].
    pad: (top, left); padding is the input's zero point.
    """

    inputs: tuple[int]
    output: int
    weights: Int8Array
    bias: Int32Array
    multiplier: Int32Array
    shift: Int32Array
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]
    act_min: int
    act_max: int
    kind: ClassVar[str] = "conv"


@dataclass(frozen=True, eq=False)
class QDepthwise:
    """DEPTHWISE_CONV_2D. weights: int8 [kernel_h, kernel_w, out_channels];
    output channel c reads input channel ``c // depth_multiplier``. Rest as QConv."""

    inputs: tuple[int]
    output: int
    weights: Int8Array
    bias: Int32Array
    multiplier: Int32Array
    shift: Int32Array
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]
    act_min: int
    act_max: int
    depth_multiplier: int = 1
    kind: ClassVar[str] = "depthwise"


MAX_COVERED = 65535
"""Elements of an input that a convolution may cover without having to see them at once."""


class Elementwise(IntEnum):
    ADD = 0
    SUB = 1
    MUL = 2
    MAXIMUM = 3
    MINIMUM = 4
    PRELU = 5
    SQUARED_DIFFERENCE = 6
    DIV = 7  # within tables alone: the runtime divides nothing


EXTREMA = (Elementwise.MAXIMUM, Elementwise.MINIMUM)


@dataclass(frozen=True, eq=False)
class QElementwise:
    """Two tensors by element; an operand may be 1 in any of height, width, channels (broadcast).

    ADD, SUB: requantize(requantize((a - za) << left_shift, *a) +- requantize((b - zb) <<
    left_shift, *b), *out) + zo. SQUARED_DIFFERENCE: as SUB, of which *out takes the square. MUL:
    requantize((a - za) * (b - zb), *out) + zo. DIV: (a - za) / (b - zb) times *out, + zo.
    MAXIMUM, MINIMUM: of a and b themselves. PRELU: requantize(a - za, *a) + zo if a >= za, else as
    MUL. Each of a, b, out is (multiplier, shift), and (0, 0) where it is not used.
    """

    inputs: tuple[int, int]
    output: int
    function: Elementwise
    left_shift: int
    a: tuple[int, int]
    b: tuple[int, int]
    out: tuple[int, int]
    act_min: int
    act_max: int
    kind: ClassVar[str] = "elementwise"


@dataclass(frozen=True, eq=False)
class QMatMul:
    """BATCH_MATMUL, its second operand transposed: each pixel of the first tensor times a matrix
    whose columns are pixels of the second, all of them (if they are as many as the output has
    channels) or those of the same row.

    requantize(sum of (a - za) * (b - zb), *out) + zo; out: (multiplier, shift).
    """

    inputs: tuple[int, int]
    output: int
    out: tuple[int, int]
    kind: ClassVar[str] = "matmul"


@dataclass(frozen=True, eq=False)
class QArgMax:
    """ARG_MAX over channels, the first of several: an int32 in four channels, the lowest byte
    first."""

    inputs: tuple[int]
    output: int
    kind: ClassVar[str] = "arg_max"


@dataclass(frozen=True, eq=False)
class QPool:
    """AVERAGE_POOL_2D, MAX_POOL_2D; padding counts for nothing (average over what is inside)."""

    inputs: tuple[int]
    output: int
    function: Literal["average", "max"]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    act_min: int
    act_max: int
    kind: ClassVar[str] = "pool"


@dataclass(frozen=True, eq=False)
class QMean:
    """MEAN over height, width or both.

    clamp(requantize(sum + bias, multiplier, shift) + zo, -128, 127), where bias is
    -zero_point * count and the division by count is part of the multiplier.
    """

    inputs: tuple[int]
    output: int
    over_height: bool
    over_width: bool
    bias: int
    multiplier: int
    shift: int
    kind: ClassVar[str] = "mean"


@dataclass(frozen=True, eq=False)
class QSoftmax:
    """SOFTMAX over channels, per pixel. table: int32 [256], table[d] is exp(-d * beta * scale)
    in Q0.31 for d = max - x (0 where TFLite skips the element)."""

    inputs: tuple[int]
    output: int
    table: Int32Array
    kind: ClassVar[str] = "softmax"


@dataclass(frozen=True, eq=False)
class QLookup:
    """Any function of one int8 element. table: 256 bytes, indexed by the element as an
    unsigned byte (so index 0 is the value 0, index 128 the value -128)."""

    inputs: tuple[int]
    output: int
    table: bytes
    name: str
    kind: ClassVar[str] = "lookup"


class Axis(IntEnum):
    HEIGHT = 0
    WIDTH = 1
    CHANNELS = 2


@dataclass(frozen=True, eq=False)
class QConcat:
    """CONCATENATION of two to four tensors (longer ones are chained)."""

    inputs: tuple[int, ...]
    output: int
    axis: Axis
    kind: ClassVar[str] = "concat"


@dataclass(frozen=True, eq=False)
class QResize:
    """RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR (whose fractions are all 0).

    rows: int32 [out_height, 2], (low, fraction): output row y mixes input rows low and
    low + (fraction != 0) with weights 1024 - fraction and fraction. cols: the same for
    columns, [out_width, 2].
    """

    inputs: tuple[int]
    output: int
    rows: Int32Array
    cols: Int32Array
    kind: ClassVar[str] = "resize"


@dataclass(frozen=True, eq=False)
class QPad:
    """PAD, PADV2. before: (height, width, channels); what is behind follows from the
    output's shape. value: the int8 constant."""

    inputs: tuple[int]
    output: int
    before: tuple[int, int, int]
    value: int
    kind: ClassVar[str] = "pad"


QOp: TypeAlias = (
    QConv
    | QDepthwise
    | QElementwise
    | QMatMul
    | QArgMax
    | QPool
    | QMean
    | QSoftmax
    | QLookup
    | QConcat
    | QResize
    | Move
    | QPad
)


@dataclass(frozen=True)
class QVariable:
    """A tensor that stays from one inference to the next. It becomes as many rows of ``source`` as
    it has, from row ``row`` on, when an inference has ended."""

    tensor: int
    source: int
    row: int


@dataclass(frozen=True, eq=False)
class QGraph:
    """tensors: inputs, constants, variables and every operator's output.

    ops: in execution order.
    """

    name: str
    tensors: tuple[QTensor, ...]
    ops: tuple[QOp, ...]
    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    variables: tuple[QVariable, ...] = ()

    @property
    def sources(self) -> frozenset[int]:
        """Tensors that variables become parts of; they are whole when an inference ends."""
        return frozenset(variable.source for variable in self.variables)

    def appended(self, variable: QVariable) -> bool:
        """Whether the source begins with the variable itself, to which new rows are appended, and
        no other variable becomes a part of it. Both may then stand in one place."""
        alone = sum(other.source == variable.source for other in self.variables) == 1
        return alone and any(
            op.axis is Axis.HEIGHT and op.inputs[0] == variable.tensor
            for op in self.ops
            if isinstance(op, QConcat) and op.output == variable.source
        )

    @property
    def ends(self) -> frozenset[int]:
        """Tensors that are seen from outside: outputs, and what variables become."""
        return self.sources | {edge.tensor for edge in self.outputs}


def without_unused(graph: QGraph) -> QGraph:
    """Without tensors that no operator, edge or variable has."""
    edges = (*graph.inputs, *graph.outputs)
    used = {edge.tensor for edge in edges}.union(*((*op.inputs, op.output) for op in graph.ops))
    used.update(i for v in graph.variables for i in (v.tensor, v.source))
    number = {old: new for new, old in enumerate(sorted(used))}
    return replace(
        graph,
        tensors=tuple(t for i, t in enumerate(graph.tensors) if i in used),
        ops=tuple(renamed(op, number) for op in graph.ops),
        inputs=tuple(replace(edge, tensor=number[edge.tensor]) for edge in graph.inputs),
        outputs=tuple(replace(edge, tensor=number[edge.tensor]) for edge in graph.outputs),
        variables=tuple(
            replace(v, tensor=number[v.tensor], source=number[v.source]) for v in graph.variables
        ),
    )


def renamed(op: QOp, names: Mapping[int, int]) -> QOp:
    """The operator with other numbers for some tensors."""
    inputs = tuple(names.get(t, t) for t in op.inputs)
    return replace(op, inputs=inputs, output=names.get(op.output, op.output))  # type: ignore[arg-type]


def macs(graph: QGraph) -> int:
    """Multiply-accumulates of its convolutions and matrices, each computed once; padding counts."""
    total = 0
    for op in graph.ops:
        output = graph.tensors[op.output]
        if isinstance(op, (QConv, QDepthwise)):
            total += output.height * output.width * int(op.weights.size)
        elif isinstance(op, QMatMul):
            total += output.bytes * graph.tensors[op.inputs[0]].channels
    return total


def model_macs(graph: QGraph) -> int:
    """The same with the channels that have been left out."""
    total = 0
    for op in graph.ops:
        output, source = graph.tensors[op.output], graph.tensors[op.inputs[0]]
        if isinstance(op, QMatMul):
            total += output.bytes * source.channels
        elif isinstance(op, (QConv, QDepthwise)):
            products = output.height * output.width * int(op.weights.size)
            for tensor in (output, source)[: 2 if isinstance(op, QConv) else 1]:
                if tensor.live is not None:
                    products = products // tensor.channels * len(tensor.live.codes)
            total += products
    return total
