# SPDX-License-Identifier: Apache-2.0
"""Better integers for weights and biases, with the scales as they are.

Layer by layer, on a few calibration samples, with what the layer before really gives:

* Adaptive rounding: which way a weight is rounded follows from the others of its output
  channel and from the covariance of their inputs (Frantar et al. 2022, "GPTQ", section 3:
  column by column, each rounding error spread over the columns to come). No training; one
  matrix inversion per layer.
* Bias correction: the mean error that remains in a channel goes into its bias (Nagel et al.
  2019, section 4.2, from samples instead of batch normalization's statistics).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.graph.graph import (
    WEIGHTED,
    Conv,
    DepthwiseConv,
    FullyConnected,
    Graph,
    Tensor,
)
from narrows.jobs import in_order
from narrows.quantization.float_model import FloatArray, Sample, seen, unit_of
from narrows.quantization.lockstep import Twin, dequantize_tensor, walk

Float64Array: TypeAlias = npt.NDArray[np.float64]
_Weighted: TypeAlias = Conv | DepthwiseConv | FullyConnected

# Share of the mean variance that every input's variance is raised by: what few samples say of
# many inputs is not trusted to the end.
_DAMPING = 0.05
# Rows of one sample that go into a covariance.
_MOST_ROWS = 2048
# Rows of weights that are rounded at a time: what is read and written for a column fits a cache.
_ROWS = 64
# Layers with more inputs per output are rounded to nearest: time grows with the third power.
_MOST_INPUTS = 2048


@dataclass(frozen=True)
class RefineOptions:
    """Which of the two is done."""

    rounding: bool = True
    bias: bool = True


def refine(
    graph: Graph,
    quantized: Graph,
    samples: Sequence[Sample],
    options: RefineOptions | None = None,
    progress: Callable[[float], None] | None = None,
    jobs: int = 1,
) -> Graph:
    """Replace integers of weights and biases.

    Args:
        graph: float.
        quantized: from it, with the same activations and operators under the same indices.
        samples: run through both at once.
        progress: called with the share that is done, 0 to 1.
        jobs: how many threads; the result does not depend on it.

    Returns:
        The quantized network with the same scales.
    """
    options = options or RefineOptions()
    twin = Twin(quantized, samples, jobs)
    tensors = list(quantized.tensors)
    for step in walk(graph, samples, jobs):
        operator, target = step.operator, quantized.operators[step.number]
        if isinstance(operator, WEIGHTED):
            assert isinstance(target, WEIGHTED)
            layer = _Layer(graph, operator, jobs)
            right = list(in_order(layer.rows, step.inputs, jobs))
            real = list(in_order(layer.rows, twin.inputs(step.number), jobs))
            if options.rounding:
                tensors[target.weights] = layer.rounded(tensors[target.weights], real)
            if options.bias and target.bias is not None:
                error = layer.mean_error(tensors[target.weights], right, real)
                tensors[target.bias] = _shifted(tensors[target.bias], error)
            for index in (target.weights, target.bias):
                if index is not None:
                    twin.tensors[index] = dequantize_tensor(tensors[index])
        twin.step(step.number)
        if progress is not None:
            progress((step.number + 1) / len(graph.operators))
    return replace(quantized, tensors=tuple(tensors))


class _Layer:
    """One weighted operator of the float network, its weights as a matrix [out, inputs]."""

    def __init__(self, graph: Graph, operator: _Weighted, jobs: int) -> None:
        self.jobs = jobs
        self.operator = operator
        self.shape = graph.tensors[operator.weights].shape
        self.size = graph.tensors[operator.output].shape[:2]
        self.depthwise = isinstance(operator, DepthwiseConv)
        data = graph.tensors[operator.weights].data
        assert data is not None
        self.weights = self._matrix(data).astype(np.float64)

    def _matrix(self, data: npt.NDArray[Any]) -> npt.NDArray[Any]:
        matrix: npt.NDArray[Any] = data.reshape(self.shape[0], -1)
        if self.depthwise:
            matrix = data.reshape(-1, self.shape[2]).T
        return matrix

    def rows(self, inputs: Sequence[FloatArray]) -> FloatArray:
        """See float_model.seen."""
        return seen(self.operator, inputs[0], self.shape, (self.size[0], self.size[1]))

    def rounded(self, tensor: Tensor, samples: Sequence[FloatArray]) -> Tensor:
        """The weights' integers, rounded by what the samples' rows say."""
        q, data = tensor.quantization, tensor.data
        assert q is not None
        assert data is not None
        if self.weights.shape[1] > _MOST_INPUTS:
            return tensor
        steps = self.weights / q.scales.astype(np.float64).reshape(-1, 1)
        integers = round_adaptively(steps, self._covariance(samples), self.jobs).astype(np.int8)
        shaped = integers.T if self.depthwise else integers
        return replace(tensor, data=np.ascontiguousarray(shaped.reshape(self.shape)))

    def _covariance(self, samples: Sequence[FloatArray]) -> Float64Array:
        """[1, inputs, inputs], in a unit of its own; of a depthwise convolution [out, inputs,
        inputs]."""
        unit = unit_of(max(float(np.abs(rows).max()) for rows in samples))
        thinned = [rows[:: -(-len(rows) // _MOST_ROWS)] for rows in samples]
        count = sum(map(len, thinned))
        mean = np.asarray(
            sum(rows.sum(axis=0, dtype=np.float64) for rows in thinned) / count, np.float32
        )

        def squared(rows: FloatArray) -> FloatArray:
            centered = rows - mean
            centered /= np.float32(unit)
            if self.depthwise:
                by_channel = centered.transpose(2, 1, 0)
                products: FloatArray = by_channel @ by_channel.transpose(0, 2, 1)
            else:
                products = (centered.T @ centered)[np.newaxis]
            return products

        total = sum(part.astype(np.float64) for part in in_order(squared, thinned, self.jobs))
        return np.asarray(total / count, np.float64)

    def mean_error(
        self, tensor: Tensor, right: Sequence[FloatArray], real: Sequence[FloatArray]
    ) -> Float64Array:
        """What the output channels lack on average, before the activation, [out]."""
        data = dequantize_tensor(tensor).data
        assert data is not None
        weights = self._matrix(data).astype(np.float64)
        wanted, got = (
            sum(rows.mean(axis=0, dtype=np.float64) for rows in samples) / len(samples)
            for samples in (right, real)
        )
        if self.depthwise:
            error: Float64Array = (self.weights * wanted.T - weights * got.T).sum(axis=1)
        else:
            error = self.weights @ wanted - weights @ got
        return error


def _shifted(bias: Tensor, error: Float64Array) -> Tensor:
    q, data = bias.quantization, bias.data
    assert q is not None
    assert data is not None
    steps = data + np.rint(error / q.scales.astype(np.float64))
    return replace(bias, data=np.clip(steps, -(2.0**31), 2.0**31 - 1).astype(np.int32))


def round_adaptively(steps: Float64Array, covariance: Float64Array, jobs: int = 1) -> Float64Array:
    """Round rows of weights so that their products with inputs of this covariance are near.

    Args:
        steps: [out, inputs], in steps of the weights' scale.
        covariance: [1 or out, inputs, inputs] of the inputs, symmetric, not negative.
        jobs: how many threads; each has some rows at a time.

    Returns:
        Integers -127 to 127. No row's error is above that of rounding to nearest.
    """
    diagonal = np.einsum("gii->gi", covariance)
    level = diagonal.mean(axis=1, keepdims=True)
    damping = np.where(level > 0, _DAMPING * level, 1.0)
    damped = covariance + damping[..., np.newaxis] * np.eye(covariance.shape[1])
    order = np.argsort(-diagonal.sum(axis=0), kind="stable")
    ordered = damped[:, order][:, :, order]
    # The upper factor U of the inverse, U'U: row j says how an error at j is made good behind.
    upper = np.linalg.cholesky(np.linalg.inv(ordered)).transpose(0, 2, 1)

    def rounded(first: int) -> Float64Array:
        some = slice(first, first + _ROWS)
        return _round_columns(steps[some, order], upper if len(upper) == 1 else upper[some])

    adaptive = np.empty_like(steps)
    adaptive[:, order] = np.concatenate(list(in_order(rounded, range(0, len(steps), _ROWS), jobs)))
    nearest = np.clip(np.rint(steps), -127, 127)
    better = _error(adaptive - steps, damped) < _error(nearest - steps, damped)
    return np.where(better[:, np.newaxis], adaptive, nearest)


def _round_columns(rest: Float64Array, upper: Float64Array) -> Float64Array:
    """Column by column; ``rest`` takes the errors that are spread. upper: [1 or out, ...]."""
    result = np.empty_like(rest)
    for j in range(rest.shape[1]):
        result[:, j] = np.clip(np.rint(rest[:, j]), -127, 127)
        error = (rest[:, j] - result[:, j]) / upper[:, j, j]
        rest[:, j + 1 :] -= error[:, np.newaxis] * upper[:, j, j + 1 :]
    return result


def _error(wrong: Float64Array, covariance: Float64Array) -> Float64Array:
    """Mean squared error of each row's products, [out]."""
    if len(covariance) == 1:
        products = wrong @ covariance[0]
    else:
        products = np.einsum("oi,oij->oj", wrong, covariance)
    error: Float64Array = (products * wrong).sum(axis=1)
    return error
