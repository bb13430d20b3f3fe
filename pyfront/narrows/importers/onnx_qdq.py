# SPDX-License-Identifier: Apache-2.0
"""QDQ form -> quantized Graph, where TFLite's int8 rules hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from narrows.errors import Unsupported, UnsupportedError
from narrows.graph.graph import (
    WEIGHTED,
    Conv,
    DepthwiseConv,
    FullyConnected,
    Graph,
    Operator,
    Pad,
    Port,
    Quantization,
    Tensor,
)
from narrows.graph.scales import prescribed_scale, quantized_inputs, shares_scale
from narrows.importers.onnx_node import requantizable

# Relative, of a bias's scale against the product of its input's and its weights'.
_SAME_SCALE = 1e-5


def integers(graph: Graph, path: str) -> Graph:
    """Turn a float graph whose tensors carry their quantization into a quantized one.

    Args:
        graph: float32 tensors; quantization on activations (one scale) and weights (one, or one
            per output channel); biases float32, or int32 with their quantization.
        path: the model's name in errors.

    Returns:
        The network in int8. Biases that were float are rounded to steps of input times weights.

    Raises:
        UnsupportedError: every tensor that breaks a rule of TFLite's, and which rule.
    """
    graph = _spread(graph)
    tensors = list(graph.tensors)
    problems: list[Unsupported] = []
    operators: list[Operator] = []
    for index in {i for op in graph.operators for i in op.inputs}:
        tensor = tensors[index]
        if tensor.data is not None:
            tensors[index] = _constant(tensor)
    for index, operator in enumerate(graph.operators):

        def problem(tensor: Tensor, reason: str) -> None:
            problems.append(
                Unsupported(type(operator).__name__, index, tensor.name, reason)  # noqa: B023
            )

        touched = [tensors[i] for i in (*quantized_inputs(operator), operator.output)]
        touched = [tensor for tensor in touched if tensor.is_real]
        bare = [t for t in touched if t.quantization is None]
        for tensor in bare:
            problem(tensor, "no QuantizeLinear gives its scale")
        if not bare:
            broken = _rule(operator, [_of(t) for t in touched])
            if broken is not None:
                problem(touched[-1], broken)
            if isinstance(operator, WEIGHTED):
                weights = tensors[operator.weights]
                if weights.quantization is None:
                    problem(weights, "weights that no DequantizeLinear gives")
                else:
                    operator, broken = _weighted(tensors, operator)
                    if broken is not None:
                        problem(weights, broken)
            elif isinstance(operator, Pad):
                operator = replace(operator, value=int(_steps(operator.value, _of(touched[-1]))))
        operators.append(operator)
    for port in graph.inputs:
        if tensors[port.tensor].quantization is None:
            reason = "no QuantizeLinear gives its scale"
            problems.append(Unsupported("input", 0, port.name, reason))
    if problems:
        raise UnsupportedError(requantizable(path), tuple(dict.fromkeys(problems)))
    activations = {i for op in operators for i in (*op.inputs, op.output)}
    activations |= {port.tensor for port in (*graph.inputs, *graph.outputs)}
    for index in activations:
        if tensors[index].is_real:
            tensors[index] = replace(tensors[index], dtype="int8")
    return replace(
        graph,
        tensors=tuple(tensors),
        operators=tuple(operators),
        inputs=tuple(_port(port, tensors) for port in graph.inputs),
        outputs=tuple(_port(port, tensors) for port in graph.outputs),
    )


def _spread(graph: Graph) -> Graph:
    """Give what moves elements the quantization of the side that has one."""
    known = {i: t.quantization for i, t in enumerate(graph.tensors) if t.quantization is not None}
    moving = [op for op in graph.operators if shares_scale(op)]
    for _ in range(2):
        for operator in moving:
            first = quantized_inputs(operator)[0]
            if first in known:
                known.setdefault(operator.output, known[first])
        for operator in reversed(moving):
            if operator.output in known:
                for index in quantized_inputs(operator):
                    known.setdefault(index, known[operator.output])
    tensors = [replace(t, quantization=known.get(i)) for i, t in enumerate(graph.tensors)]
    return replace(graph, tensors=tuple(tensors))


def _rule(operator: Operator, quantizations: list[Quantization]) -> str | None:
    """The rule that an operator's tensors break."""
    y = quantizations[-1]
    if shares_scale(operator):
        for q in quantizations:
            if (float(q.scale), q.zero_point) != (float(y.scale), y.zero_point):
                return "its input has another scale or zero point; TFLite's have the same"
    wanted = prescribed_scale(operator)
    if wanted is not None and (float(y.scale), y.zero_point) != wanted:
        return (
            f"scale {float(y.scale):g} and zero point {y.zero_point} of int8; TFLite "
            f"prescribes {wanted[0]:g} and {wanted[1]}"
        )
    return None


def _of(tensor: Tensor) -> Quantization:
    assert tensor.quantization is not None
    return tensor.quantization


def _steps(value: float, q: Quantization) -> float:
    return float(np.clip(np.rint(value / float(q.scale)) + q.zero_point, -128, 127))


def _constant(tensor: Tensor) -> Tensor:
    """An operand in int8. A single number is expressed exactly even without a scale."""
    assert tensor.data is not None
    q = tensor.quantization
    if q is None and tensor.data.size == 1:
        step = abs(np.float32(tensor.data.flat[0])) / np.float32(127)
        scale = step if step > 0 else np.float32(1)
        q = Quantization(np.array([scale], np.float32), np.zeros(1, np.int32))
    if q is None:
        return tensor
    steps = np.rint(tensor.data / np.float64(q.scale)) + q.zero_point
    data = np.clip(steps, -128, 127).astype(np.int8)
    return replace(tensor, dtype="int8", quantization=q, data=data)


def _weighted(
    tensors: list[Tensor], operator: Conv | DepthwiseConv | FullyConnected
) -> tuple[Operator, str | None]:
    """The operator with integer weights and bias, and the rule that they break."""
    weights, x = tensors[operator.weights], _of(tensors[operator.inputs[0]])
    q = _of(weights)
    assert weights.data is not None
    shape = [1] * weights.data.ndim
    shape[q.axis] = len(q.scales)
    data = np.rint(weights.data / q.scales.astype(np.float64).reshape(shape)).astype(np.int8)
    tensors.append(replace(weights, dtype="int8", data=data))
    whole = replace(operator, weights=len(tensors) - 1)
    if operator.bias is not None:
        bias = tensors[operator.bias]
        assert bias.data is not None
        steps = (x.scale * q.scales).astype(np.float32)
        values = bias.data
        if bias.dtype == "int32":
            if not np.allclose(_of(bias).scales, steps, rtol=_SAME_SCALE, atol=0):
                return operator, (
                    f"its bias {bias.name} has another scale than its input times its weights"
                )
        else:
            exact = np.rint(values.astype(np.float64) / steps.astype(np.float64))
            if not np.abs(exact).max() < 2**31:
                return operator, f"its bias {bias.name} does not fit 32 bits"
            values = exact.astype(np.int32)
        made = replace(
            bias,
            dtype="int32",
            quantization=Quantization(steps, np.zeros(len(steps), np.int32)),
            data=values,
        )
        tensors.append(made)
        whole = replace(whole, bias=len(tensors) - 1)
    return whole, None


def _port(port: Port, tensors: list[Tensor]) -> Port:
    if port.dtype == "float32":
        return port
    q = _of(tensors[port.tensor])
    shift = 128 if port.dtype == "uint8" else 0
    return replace(port, scale=float(q.scale), zero_point=q.zero_point + shift)
