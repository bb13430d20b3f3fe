# SPDX-License-Identifier: Apache-2.0
"""Quantization without data: by the ranges that a network's file gives its tensors."""

from __future__ import annotations

import numpy as np

from narrows.errors import ModelError
from narrows.graph.graph import Graph, Unary, UnaryFunction
from narrows.graph.passes import fuse_activations
from narrows.graph.scales import Interval, hull, prescribed_scale, quantized_inputs, shares_scale
from narrows.quantization.calibrate import Ranges
from narrows.quantization.float_model import Sample, verify_float
from narrows.quantization.pipeline import PipelineOptions, Quantized
from narrows.quantization.quantize import (
    QuantizeOptions,
    apply_ranges,
    separate_scales,
    verify_quantized,
)

_SAMPLES = 4
"""Inputs that the result is measured with."""


def has_ranges(graph: Graph) -> bool:
    """Whether the file of a float network says which numbers its inputs hold."""
    return all(graph.tensors[port.tensor].bounds is not None for port in graph.inputs)


def quantize_by_ranges(graph: Graph, options: PipelineOptions) -> Quantized:
    """Quantize a float network whose tensors have bounds.

    Args:
        options: scales of weights, and edges.

    Returns:
        The network, with inputs drawn evenly from the inputs' ranges as its samples.

    Raises:
        ModelError: a tensor whose range follows from nothing.
    """
    verify_float(graph)
    for step in (fuse_activations, separate_scales):
        graph = step(graph)
        verify_float(graph)
    settings = QuantizeOptions(weights=options.weights, edges=options.edges)
    quantized = apply_ranges(graph, _ranges(graph), settings)
    verify_quantized(quantized)
    return Quantized(quantized, graph, {}, {}, drawn_samples(graph, _SAMPLES))


def drawn_samples(graph: Graph, count: int) -> list[Sample]:
    """Random inputs within their bounds, evenly."""
    rng, samples = np.random.default_rng(0), list[Sample]()
    for _ in range(count):
        arrays = []
        for port in graph.inputs:
            bounds = graph.tensors[port.tensor].bounds
            assert bounds is not None
            arrays.append(rng.uniform(*bounds, port.shape).astype(np.float32))
        samples.append(arrays)
    return samples


def _ranges(graph: Graph) -> Ranges:
    """Of each input and each operator's output: its bounds, or what shares a scale with it."""
    known: dict[int, Interval] = {
        i: tensor.bounds for i, tensor in enumerate(graph.tensors) if tensor.bounds is not None
    }
    for operator in graph.operators:
        if prescribed_scale(operator) is not None:
            known[operator.output] = (0.0, 0.0)  # no range chooses its scale
    moving = [
        op
        for op in graph.operators
        if shares_scale(op) or (isinstance(op, Unary) and op.function is UnaryFunction.REQUANTIZE)
    ]
    for _ in range(2):
        for operator in moving:
            given = [known[i] for i in quantized_inputs(operator) if i in known]
            if given:
                known.setdefault(operator.output, hull(*given))
        for operator in reversed(moving):
            if operator.output in known:
                for index in quantized_inputs(operator):
                    known.setdefault(index, known[operator.output])
    for operator in graph.operators:
        tensor = graph.tensors[operator.output]
        if operator.output not in known and tensor.is_real:
            raise ModelError(
                f"{graph.place}: it does not say which numbers {tensor.name} holds; give --data"
            )
    return known
