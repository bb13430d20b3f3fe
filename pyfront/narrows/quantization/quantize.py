# SPDX-License-Identifier: Apache-2.0
"""Float Graph -> quantized Graph, by TFLite's int8 specification.

Two steps with a value between them: ``calibrate`` says which range every tensor needs,
``apply_ranges`` turns ranges into scales and weights into integers. Whatever improves
accuracy is a pass before (float to float), an observer inside, a change of the ranges, or a
pass behind (integers to integers), and leaves both steps as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import numpy.typing as npt

from narrows.errors import ModelError
from narrows.graph.graph import (
    WEIGHTED,
    Binary,
    Conv,
    DepthwiseConv,
    FullyConnected,
    Graph,
    MatMul,
    Operator,
    Pad,
    Port,
    Quantization,
    Softmax,
    Tensor,
    Unary,
    UnaryFunction,
    verify_graph,
)
from narrows.graph.passes import drop_unused, fuse_activations
from narrows.graph.qgraph import EXTREMA, Elementwise, ExternalDtype
from narrows.graph.scales import (
    ANY,
    covers,
    hull,
    prescribed_scale,
    quantized_inputs,
    shares_scale,
)
from narrows.quantization.calibrate import MakeObserver, Ranges, calibrate, min_max
from narrows.quantization.float_model import FloatArray, Sample, verify_float

# Of a tensor that is always zero: any range is right, so one that leaves room.
_RANGE_OF_ZERO = (0.0, 1.0)
# Scales below this leave float32's normal numbers when they are multiplied.
_LEAST_SCALE = 2.0**-60
# A bias and the products that are added to it fit 32 bits.
_MAX_BIAS = 2.0**30
# The largest multiplier that gemmlowp's fixed point holds is 2 ** 31; half of it stays clear.
_MAX_RATIO = 2.0**29


class WeightScales(Enum):
    """One scale per output channel, or one per tensor."""

    PER_CHANNEL = "per channel"
    PER_TENSOR = "per tensor"


@dataclass(frozen=True)
class QuantizeOptions:
    """observer: makes what watches each tensor in calibration.
    edges: type of the quantized model's own inputs and outputs.
    progress: called with the number of samples that calibration has seen."""

    observer: MakeObserver = min_max
    weights: WeightScales = WeightScales.PER_CHANNEL
    edges: ExternalDtype = "int8"
    progress: Callable[[int], None] | None = None


def quantize(
    graph: Graph, samples: Iterable[Sample], options: QuantizeOptions | None = None
) -> Graph:
    """Quantize a float network to int8.

    Args:
        graph: all tensors float32.
        samples: what the network will typically see; read once, one at a time.

    Returns:
        The network with int8 activations and weights and int32 biases, ready to be lowered.

    Raises:
        ModelError: a weight that is not finite, or the network is quantized already.
        InputError: no samples, or one that does not fit or is not finite.
    """
    options = options or QuantizeOptions()
    verify_float(graph)
    for step in (fuse_activations, separate_scales):
        graph = step(graph)
        verify_float(graph)
    ranges = calibrate(graph, samples, options.observer, options.progress)
    quantized = drop_unused(apply_ranges(graph, ranges, options))
    verify_quantized(quantized)
    return quantized


def separate_scales(graph: Graph) -> Graph:
    """Put a REQUANTIZE before what shares a scale with others that reach beyond its own.

    An operator that shares scales gives all its inputs the scale of the widest. An input whose
    scale is prescribed, or which int8 has to clip to bounds, keeps its own, and a copy of it
    takes the shared one.
    """
    tensors = list(graph.tensors)
    operators: list[Operator] = []
    # The interval that a tensor's scale must not reach beyond.
    limits = {i: t.bounds for i, t in enumerate(tensors) if t.bounds is not None}
    limits |= {i: _range(_quantization(*pair)) for i, pair in _fixed(graph).items()}
    for operator in graph.operators:
        if shares_scale(operator):
            numbers = quantized_inputs(operator)
            shared = hull(*(limits.get(i, ANY) for i in numbers))
            if isinstance(operator, Pad):
                shared = hull(shared, (operator.value, operator.value))
            parts = list(operator.inputs[: len(operator.inputs) - len(numbers)])
            for index in numbers:
                limit = limits.get(index, ANY)
                if not covers(limit, shared):
                    source = tensors[index]
                    name = f"{source.name}/requantized"
                    tensors.append(replace(source, name=name, data=None, bounds=None))
                    made = len(tensors) - 1
                    operators.append(Unary((index,), made, UnaryFunction.REQUANTIZE))
                    index = made
                elif limit != ANY:
                    limits[operator.output] = limit
                parts.append(index)
            operator = replace(operator, inputs=tuple(parts))  # type: ignore[arg-type]
        operators.append(operator)
    return replace(graph, tensors=tuple(tensors), operators=tuple(operators))


def apply_ranges(graph: Graph, ranges: Ranges, options: QuantizeOptions | None = None) -> Graph:
    """Quantize every tensor.

    Args:
        graph: float; scales separated.
        ranges: of every input and every operator's output.

    Raises:
        ModelError: a network whose numbers no int8 network can express.
    """
    options = options or QuantizeOptions()
    tensors = list(graph.tensors)
    chosen = _parameters(graph, ranges)
    for index, q in chosen.items():
        tensor = tensors[index]
        data = None if tensor.data is None else _integers(tensor.data, q)
        tensors[index] = replace(tensor, dtype="int8", quantization=q, data=data, bounds=None)
    operators = []
    for operator in graph.operators:
        if isinstance(operator, WEIGHTED):
            operator = _quantize_weights(graph, tensors, operator, options.weights)
        elif isinstance(operator, Pad):
            q = chosen[operator.output]
            value = _integers(np.array([operator.value], np.float32), q)[0]
            operator = replace(operator, value=int(value))
        operators.append(operator)
    quantized = Graph(
        graph.name,
        tuple(tensors),
        tuple(operators),
        tuple(_port(port, chosen.get(port.tensor), options.edges) for port in graph.inputs),
        tuple(_port(port, chosen.get(port.tensor), options.edges) for port in graph.outputs),
    )
    verify_graph(quantized)
    return quantized


def quantization_of(least: float, most: float) -> Quantization:
    """One scale and zero point such that int8 covers [least, most] and 0 is represented
    exactly (TFLite's asymmetric int8)."""
    least, most = min(least, 0.0), max(most, 0.0)
    if least == most:
        least, most = _RANGE_OF_ZERO
    scale = max((most - least) / 255, _LEAST_SCALE)
    zero_point = int(np.clip(np.rint(-128 - least / scale), -128, 127))
    return _quantization(scale, zero_point)


def verify_quantized(graph: Graph) -> None:
    """Check TFLite's int8 specification.

    Raises:
        ModelError: the first tensor or operator that breaks it.
    """
    verify_graph(graph)

    def need(condition: bool | np.bool_, tensor: Tensor, message: str) -> None:
        if not condition:
            raise ModelError(f"{graph.name}: {tensor.name}: {message}")

    fixed = _fixed(graph)
    for operator in graph.operators:
        touched = [graph.tensors[i] for i in (*quantized_inputs(operator), operator.output)]
        touched = [tensor for tensor in touched if tensor.is_real]
        for tensor in touched:
            q = tensor.quantization
            need(tensor.dtype == "int8" and q is not None, tensor, "is not quantized")
            assert q is not None
            need(len(q.scales) == 1 and -128 <= q.zero_point <= 127, tensor, "zero point")
            need(np.isfinite(q.scale) and q.scale > 0, tensor, f"scale {q.scale}")
        y = touched[-1] if touched else graph.tensors[operator.output]
        if shares_scale(operator):
            same = all(_equal(t.quantization, y.quantization) for t in touched)
            need(same, y, "is not quantized as its input")
        if operator.output in fixed:
            prescribed = _quantization(*fixed[operator.output])
            need(_equal(y.quantization, prescribed), y, "does not have the prescribed scale")
        if isinstance(operator, WEIGHTED):
            w = graph.tensors[operator.weights]
            need(w.dtype == "int8" and w.quantization is not None, w, "is not quantized")
            assert w.quantization is not None
            assert w.data is not None
            need(not w.quantization.zero_points.any(), w, "is not symmetric")
            need((w.data > -128).all(), w, "holds -128")
            if operator.bias is not None:
                need(graph.tensors[operator.bias].dtype == "int32", w, "bias is not int32")


# --- Scales of activations -----------------------------------------------------------------


def _quantization(scale: float, zero_point: int) -> Quantization:
    return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int32))


def _range(q: Quantization) -> tuple[float, float]:
    """The least and the greatest real value of int8."""
    return (float(q.scale) * (-128 - q.zero_point), float(q.scale) * (127 - q.zero_point))


def _equal(a: Quantization | None, b: Quantization | None) -> bool:
    return (
        a is not None
        and b is not None
        and (float(a.scale), a.zero_point) == (float(b.scale), b.zero_point)
    )


def _integers(values: FloatArray, q: Quantization) -> npt.NDArray[np.int8]:
    steps = np.rint(values.astype(np.float64) / float(q.scale)) + q.zero_point
    integers: npt.NDArray[np.int8] = np.clip(steps, -128, 127).astype(np.int8)
    return integers


def _fixed(graph: Graph) -> dict[int, tuple[float, int]]:
    """Outputs whose scale and zero point are prescribed."""
    pairs = ((op.output, prescribed_scale(op)) for op in graph.operators)
    return {output: pair for output, pair in pairs if pair is not None}


def _groups(graph: Graph) -> list[int]:
    """A representative of each tensor's group, which has one scale."""
    parent = list(range(len(graph.tensors)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for operator in graph.operators:
        if shares_scale(operator):
            for index in quantized_inputs(operator):
                parent[root(index)] = root(operator.output)
    return [root(i) for i in range(len(parent))]


def _parameters(graph: Graph, ranges: Ranges) -> dict[int, Quantization]:
    """Scale and zero point of every activation and every constant operand."""
    groups = _groups(graph)
    wanted: dict[int, tuple[float, float]] = {}

    def widen(index: int, least: float, most: float) -> None:
        low, high = wanted.get(groups[index], (0.0, 0.0))
        wanted[groups[index]] = (min(low, least), max(high, most))

    touched = {port.tensor for port in (*graph.inputs, *graph.outputs)}
    for operator in graph.operators:
        touched.update((*operator.inputs, operator.output))
    touched -= {i for i in touched if not graph.tensors[i].is_real}
    for index in touched:
        data = graph.tensors[index].data
        if data is not None:
            widen(index, float(data.min()), float(data.max()))
        else:
            widen(index, *ranges[index])
    for operator in graph.operators:
        if isinstance(operator, Pad):
            widen(operator.output, operator.value, operator.value)
    prescribed = {groups[i]: _quantization(*pair) for i, pair in _fixed(graph).items()}
    of_group = {group: prescribed.get(group) or quantization_of(*wanted[group]) for group in wanted}
    _raise_scales(graph, groups, of_group, prescribed)
    return {index: of_group[groups[index]] for index in touched}


def _raise_scales(
    graph: Graph,
    groups: list[int],
    of_group: dict[int, Quantization],
    prescribed: dict[int, Quantization],
) -> None:
    """Make output scales as large as TFLite Micro's fixed point needs for the inputs' scales;
    changes ``of_group``. Operators in order, so that a change reaches what comes behind."""
    for operator in graph.operators:
        group = groups[operator.output]
        if group not in of_group:  # what is true of two tensors has no scale
            continue
        scales = [float(of_group[groups[i]].scale) for i in quantized_inputs(operator)]
        match operator:
            case Conv() | DepthwiseConv() | FullyConnected():
                w = graph.tensors[operator.weights].data
                assert w is not None
                least = scales[0] * float(np.abs(w).max()) / 127 / _MAX_RATIO
            case Softmax():  # its exponent is a fixed-point number with 26 fractional bits
                group, least = groups[operator.inputs[0]], 2.0**-25 / operator.beta
            case Binary(function=Elementwise.SQUARED_DIFFERENCE):
                least = 4 * max(scales) ** 2 * 2.0**-14 / _MAX_RATIO
            case Binary(function=Elementwise.MUL) | MatMul():
                least = scales[0] * scales[1] / _MAX_RATIO
            case Binary(function=Elementwise.DIV):
                least = scales[0] / scales[1] * 2.0**-22
            case Binary(function=Elementwise.PRELU):
                least = scales[0] * max(1.0, scales[1]) / _MAX_RATIO
            case Binary() if operator.function not in EXTREMA:
                least = max(scales) * 2.0**-18
            case Unary(function=UnaryFunction.HARD_SWISH):
                least = scales[0] / 120
            case Unary(function=UnaryFunction.RSQRT):
                least = 1 / (scales[0] ** 0.5 * _MAX_RATIO)
            case _:
                least = max(scales) / _MAX_RATIO
        q = of_group[group]
        if float(q.scale) < least and group not in prescribed:
            # The zero point stays: a larger scale only widens the range. Nor may rounding to
            # float32 take away what is needed.
            of_group[group] = _quantization(least * (1 + 2.0**-22), q.zero_point)


def _port(port: Port, q: Quantization | None, dtype: ExternalDtype) -> Port:
    if q is None:  # it holds no real numbers
        return port
    scale, zero_point = float(q.scale), q.zero_point
    if dtype == "float32":
        scale, zero_point = 0.0, 0
    elif dtype == "uint8":
        zero_point += 128
    return replace(port, dtype=dtype, scale=scale, zero_point=zero_point)


# --- Weights and biases --------------------------------------------------------------------


def _quantize_weights(
    graph: Graph, tensors: list[Tensor], operator: Operator, granularity: WeightScales
) -> Operator:
    """Replace an operator's weights and bias by integers: new tensors, since another operator
    may share them and have other scales."""
    assert isinstance(operator, WEIGHTED)
    weights = graph.tensors[operator.weights]
    assert weights.data is not None
    x, y = tensors[operator.inputs[0]].quantization, tensors[operator.output].quantization
    assert x is not None
    assert y is not None
    axis = 2 if isinstance(operator, DepthwiseConv) else 0
    channels = weights.shape[axis]
    bias = np.zeros(channels)
    if operator.bias is not None:
        values = graph.tensors[operator.bias].data
        assert values is not None
        bias = values.astype(np.float64)
    others = tuple(d for d in range(weights.data.ndim) if d != axis)
    largest = np.abs(weights.data).max(axis=others).astype(np.float64)
    extremes = (largest, np.abs(bias))
    if granularity is WeightScales.PER_TENSOR:
        extremes = (largest.max(keepdims=True), np.abs(bias).max(keepdims=True))
    scales = weight_scales(*extremes, float(x.scale), float(y.scale))
    if not (float(x.scale) * scales.max() / float(y.scale) < _MAX_RATIO):
        raise ModelError(
            f"{graph.name}: {weights.name}: weights up to {largest.max():g} and biases up to "
            f"{np.abs(bias).max():g} do not fit an output of scale {float(y.scale):g}"
        )
    single = scales.astype(np.float32)
    shape = [1] * weights.data.ndim
    shape[axis] = len(single)
    steps = np.rint(weights.data / single.astype(np.float64).reshape(shape))
    integers = np.clip(steps, -127, 127).astype(np.int8)
    q = Quantization(single, np.zeros(len(single), np.int32), axis if len(single) > 1 else 0)
    tensors.append(replace(weights, dtype="int8", quantization=q, data=integers))
    weights_index, bias_index = len(tensors) - 1, None
    if operator.bias is not None:
        steps_of_bias = x.scale * single  # a product of float32, as TFLite has it
        whole = np.rint(bias / steps_of_bias.astype(np.float64))
        tensors.append(
            replace(
                graph.tensors[operator.bias],
                dtype="int32",
                quantization=Quantization(steps_of_bias, np.zeros(len(single), np.int32)),
                data=np.clip(whole, -(2.0**31), 2.0**31 - 1).astype(np.int32),
            )
        )
        bias_index = len(tensors) - 1
    return replace(operator, weights=weights_index, bias=bias_index)


def weight_scales(
    largest: npt.NDArray[np.float64], bias: npt.NDArray[np.float64], x: float, y: float
) -> npt.NDArray[np.float64]:
    """Symmetric scales of weights, [channels].

    The largest weight of a channel becomes 127. A dead channel, which is its bias alone, gets
    1/256 of an output step for each step of its accumulator. Where weights are so small that
    the bias would not fit 32 bits, the scale grows until it does.

    Args:
        largest: greatest |weight| of each output channel. bias: |bias|, real values.
        x, y: scales of input and output.
    """
    scales = np.where(largest > 0, largest / 127, y / (256 * x))
    return np.maximum(scales, np.maximum(bias / (x * _MAX_BIAS), _LEAST_SCALE))
