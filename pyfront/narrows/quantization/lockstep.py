# SPDX-License-Identifier: Apache-2.0
"""A float network and its quantized twin, operator by operator on a few samples at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np

from narrows.graph.graph import WEIGHTED, Graph, Operator, Pad, Quantization, Tensor
from narrows.jobs import in_order
from narrows.quantization.float_model import FloatArray, FloatModel, Sample, evaluate

# Samples that are kept: at most so many, and so many bytes of live values.
MOST_SAMPLES = 64
_MOST_BYTES = 400 << 20


class Keeper:
    """Keeps a few samples of a stream, evenly spaced, whatever its length."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.samples: list[Sample] = []
        self._step = 1
        self._count = 0

    def through(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The same samples; some are kept as they pass."""
        for sample in samples:
            if self._count % self._step == 0:
                if len(self.samples) == self.limit:
                    self.samples = self.samples[::2]
                    self._step *= 2
                if self._count % self._step == 0:
                    self.samples.append([np.array(array, np.float32) for array in sample])
            self._count += 1
            yield sample


def sample_limit(graph: Graph) -> int:
    """How many samples can run at once, for all live values of both networks to fit."""
    dying = _dying(graph)
    sizes = [prod(tensor.shape) for tensor in graph.tensors]
    most = live = sum(sizes[port.tensor] for port in graph.inputs)
    for operator, ends in zip(graph.operators, dying, strict=True):
        live += sizes[operator.output]
        most = max(most, live)
        live -= sum(sizes[i] for i in ends)
    return int(np.clip(_MOST_BYTES // (8 * most), 1, MOST_SAMPLES))


def snap(values: FloatArray, q: Quantization) -> FloatArray:
    """Real values -> the nearest ones that int8 holds."""
    scale = np.float32(q.scale)
    steps: FloatArray = np.rint(values / scale)
    np.clip(steps, -128 - q.zero_point, 127 - q.zero_point, out=steps)
    steps *= scale
    return steps


def dequantized(graph: Graph) -> Graph:
    """The float network that a quantized one would be without rounding of activations: indices
    of tensors and operators stay."""
    graph = _with_bias_scales(graph)
    tensors = tuple(dequantize_tensor(tensor) for tensor in graph.tensors)
    operators: list[Operator] = []
    for operator in graph.operators:
        if isinstance(operator, Pad):
            q = graph.tensors[operator.output].quantization
            assert q is not None
            operator = replace(operator, value=(operator.value - q.zero_point) * float(q.scale))
        operators.append(operator)
    return replace(graph, tensors=tensors, operators=tuple(operators))


def _with_bias_scales(graph: Graph) -> Graph:
    """Importers leave out a bias's scale, which is that of input times weights."""
    tensors = list(graph.tensors)
    for operator in graph.operators:
        if isinstance(operator, WEIGHTED) and operator.bias is not None:
            bias = tensors[operator.bias]
            x = tensors[operator.inputs[0]].quantization
            w = tensors[operator.weights].quantization
            assert x is not None
            assert w is not None
            if bias.quantization is None:
                scales = np.asarray(x.scale * w.scales, np.float32)
                q = Quantization(scales, np.zeros(len(scales), np.int32))
                tensors[operator.bias] = replace(bias, quantization=q)
    return replace(graph, tensors=tuple(tensors))


def dequantize_tensor(tensor: Tensor) -> Tensor:
    """Real values of a constant; of others only the type changes."""
    data, q = tensor.data, tensor.quantization
    if data is not None and tensor.dtype != "float32":
        assert q is not None
        shape = [1] * data.ndim
        shape[q.axis] = len(q.scales)
        steps = data.astype(np.float64) - q.zero_points.reshape(shape)
        data = (steps * q.scales.astype(np.float64).reshape(shape)).astype(np.float32)
    return replace(tensor, dtype="float32", quantization=None, data=data)


@dataclass(frozen=True, eq=False)
class Step:
    """One operator of the float network on all samples.

    inputs: for each sample the operator's inputs; outputs: for each sample its output.
    """

    number: int
    operator: Operator
    inputs: list[list[FloatArray]]
    outputs: list[FloatArray]


def walk(graph: Graph, samples: Sequence[Sample], jobs: int = 1) -> Iterator[Step]:
    """Run all samples through a float network, one operator after the other; holds what is
    still to be read. jobs: how many threads; each has a sample at a time."""
    model = FloatModel(graph)
    constants = {i: t.data for i, t in enumerate(graph.tensors) if t.data is not None}
    values = [{**constants, **model.inputs(sample)} for sample in samples]
    for number, (operator, dying) in enumerate(zip(graph.operators, _dying(graph), strict=True)):
        inputs = [[held[i] for i in operator.inputs] for held in values]
        outputs = list(in_order(partial(_evaluate, operator, graph.tensors), inputs, jobs))
        for held, y in zip(values, outputs, strict=True):
            held[operator.output] = y
        yield Step(number, operator, inputs, outputs)
        for held in values:
            for index in dying:
                del held[index]


def _evaluate(
    operator: Operator, tensors: Sequence[Tensor], inputs: Sequence[FloatArray]
) -> FloatArray:
    return evaluate(operator, inputs, tensors)


class Twin:
    """The quantized network on the same samples; driven from outside, operator by operator, so
    that an operator can be changed before it runs. jobs: as of ``walk``."""

    def __init__(self, quantized: Graph, samples: Sequence[Sample], jobs: int = 1) -> None:
        self.quantized = quantized
        self._jobs = jobs
        self._dying = _dying(quantized)
        real = dequantized(quantized)
        self.operators = real.operators
        self.tensors = list(real.tensors)
        self._values: list[dict[int, FloatArray]] = []
        for sample in samples:
            constants = {i: t.data for i, t in enumerate(self.tensors) if t.data is not None}
            inputs = FloatModel(real).inputs(sample)
            snapped = {i: snap(x, self._q(i)) for i, x in inputs.items()}
            self._values.append({**constants, **snapped})

    def _q(self, index: int) -> Quantization:
        q = self.quantized.tensors[index].quantization
        assert q is not None
        return q

    def inputs(self, number: int) -> list[list[FloatArray]]:
        """For each sample the inputs of an operator."""
        return [[held[i] for i in self.operators[number].inputs] for held in self._values]

    def step(self, number: int) -> list[FloatArray]:
        """Run an operator; for each sample its output."""
        operator = self.operators[number]
        is_real = self.quantized.tensors[operator.output].is_real
        q = self._q(operator.output) if is_real else None

        def run(inputs: Sequence[FloatArray]) -> FloatArray:
            y = evaluate(operator, inputs, self.tensors)
            return y if q is None else snap(y, q)

        outputs = list(in_order(run, self.inputs(number), self._jobs))
        for held, y in zip(self._values, outputs, strict=True):
            held[operator.output] = y
            for index in self._dying[number]:
                del held[index]
        return outputs


def _dying(graph: Graph) -> list[list[int]]:
    """For each operator the values that nobody reads behind it."""
    constants = {i for i, tensor in enumerate(graph.tensors) if tensor.data is not None}
    last = {i: n for n, op in enumerate(graph.operators) for i in (*op.inputs, op.output)}
    result: list[list[int]] = [[] for _ in graph.operators]
    for index, number in last.items():
        if index not in constants:
            result[number].append(index)
    return result
