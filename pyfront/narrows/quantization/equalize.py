# SPDX-License-Identifier: Apache-2.0
"""Cross-layer equalization: give the channels of a tensor the same range (Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction", section 4.1).

Channel c between two layers may be divided by any s_c > 0 if the next layer's weights for c are
multiplied by s_c: exactly the same function where the activation between is none or ReLU. ReLU6
cuts at 6 whatever the channel's scale, so there a channel is only enlarged, and only as far as
what it may reach on inputs that calibration never saw stays clear of 6; one that reaches 6 already
stays as it is. So do a tensor's bounds cut.

Weights here have a scale for each output channel, so what counts are the ranges of the
activations, which share one scale, and of the next layer's weights for each of them. Into a
depthwise convolution a channel meets weights of its own scale: only activations count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.graph.graph import (
    WEIGHTED,
    Activation,
    Conv,
    DepthwiseConv,
    FullyConnected,
    Graph,
    Pool,
    Reduce,
    Tensor,
    readers,
)
from narrows.graph.qgraph import Axis
from narrows.quantization.float_model import FloatArray, unit_of, verify_float

# What a channel may reach may grow up to this share of a cut, as ReLU6's at 6. If what it was seen
# to reach grew to as much, a network trained on ImageNet would lose 13 decibels on photos of other
# things than calibration had (tests/bench/imagenet_quality.py).
_CLEAR = 0.8
# From this share of the cut on, a channel counts as cut.
_HIGHEST = 1 - 2.0**-10
# A channel is changed by at most this factor, so that dead ones stay numbers.
_MOST = 2.0**10
# A channel is expected to reach so many standard deviations. From 0 to 10, those from 6 on lose
# least on inputs that calibration never saw (tests/bench/quantize_thresholds.py), and 6 is about
# what the greatest of a billion normal values reaches.
_DEVIATIONS = 6.0
# Of the mean power of a layer's input channels, each is expected to have this share at least: one
# that calibration left asleep may wake. On average 0 is as good, to some tenths of a decibel, where
# tests/bench/quantize_thresholds.py measures it, whose pictures are more alike than photos are.
_LEAST_POWER = 0.25
# Shares of the ranges' spread that are taken away, on a logarithmic scale: at most half, which
# leaves weak channels room for inputs that calibration never saw. Measured likewise: up to 1,
# scaled channels gain up to 3.5 dB and trained networks lose as much.
_EXPONENTS = (0.25, 0.5)
# Predicted noise must fall below this share of what it was: enlarged channels have less room for
# inputs that calibration never saw, so a small gain on what it saw is a loss. Measured likewise.
_ADVANTAGE = 0.5

Float64Array: TypeAlias = npt.NDArray[np.float64]
_Weighted: TypeAlias = Conv | DepthwiseConv | FullyConnected


@dataclass(frozen=True)
class Pair:
    """Two weighted operators, by number, and the first one's output that only leads to the
    second."""

    first: int
    second: int
    tensor: int


class ChannelStatistics:
    """An observer: greatest magnitude and mean square of each channel."""

    def __init__(self) -> None:
        self.magnitude = np.zeros(1)
        self._squares = np.zeros(1)
        self._count = 0
        self.samples = 0
        self._low, self._high = np.inf, -np.inf

    def update(self, values: FloatArray) -> None:
        """See calibrate.Observer."""
        flat = values.reshape(-1, values.shape[2])
        least, most = flat.min(axis=0), flat.max(axis=0)
        self._low, self._high = min(self._low, least.min()), max(self._high, most.max())
        self.magnitude = np.maximum(self.magnitude, np.maximum(-least, most))
        unit = unit_of(max(-float(least.min()), float(most.max())))
        small = flat / np.float32(unit)
        squares = np.einsum("pc,pc->c", small, small).astype(np.float64)
        self._squares = self._squares + squares * unit**2
        self._count += len(flat)
        self.samples += 1

    def add(self, later: ChannelStatistics) -> None:
        """See calibrate.Observer."""
        self._low, self._high = min(self._low, later._low), max(self._high, later._high)
        self.magnitude = np.maximum(self.magnitude, later.magnitude)
        self._squares = self._squares + later._squares
        self._count += later._count
        self.samples += later.samples

    def range(self) -> tuple[float, float]:
        """See calibrate.Observer."""
        return float(self._low), float(self._high)

    @property
    def mean_square(self) -> Float64Array:
        """[channels]"""
        return self._squares / self._count


def pairs(graph: Graph) -> list[Pair]:
    """Places that can be equalized, first to last. Between the two there may be poolings and
    reductions that treat each channel alone: they commute with a positive factor."""
    reading = readers(graph)
    visible = {port.tensor for port in graph.outputs}
    result = []
    for number, operator in enumerate(graph.operators):
        if not isinstance(operator, WEIGHTED) or operator.activation is Activation.RELU_N1_TO_1:
            continue
        tensor = operator.output
        while tensor not in visible and len(reading.get(tensor, ())) == 1:
            place = reading[tensor][0]
            behind = graph.operators[place]
            if graph.tensors[behind.output].bounds is not None and isinstance(
                behind, (Reduce, Pool)
            ):
                break
            if isinstance(behind, WEIGHTED):
                if _takes_channels(graph, behind):
                    result.append(Pair(number, place, operator.output))
                break
            if not (
                (isinstance(behind, Reduce) and Axis.CHANNELS not in behind.axes)
                or (isinstance(behind, Pool) and behind.activation is Activation.NONE)
            ):
                break
            tensor = behind.output
    return result


def _takes_channels(graph: Graph, operator: _Weighted) -> bool:
    """Whether its weights keep the input's channels apart."""
    if isinstance(operator, DepthwiseConv):
        return operator.depth_multiplier == 1
    channels = graph.tensors[operator.inputs[0]].shape[2]
    return graph.tensors[operator.weights].shape[3] == channels


def equalize(graph: Graph, statistics: Mapping[int, ChannelStatistics]) -> Graph:
    """Equalize all pairs, each once, from the input on.

    Args:
        graph: float.
        statistics: of every input and every operator's output.

    Returns:
        The same network, up to rounding, for all inputs whose activations under ReLU6 and bounds
        stay where calibration saw them.
    """
    # Channels have been divided by these.
    divided: dict[int, Float64Array] = {}
    for pair in pairs(graph):
        first, second = graph.operators[pair.first], graph.operators[pair.second]
        assert isinstance(first, WEIGHTED)
        assert isinstance(second, WEIGHTED)
        source = first.inputs[0]
        squares = statistics[source].mean_square / np.square(divided.get(source, 1.0))
        squares = np.maximum(squares, _LEAST_POWER * squares.mean())
        seen = statistics[pair.tensor]
        magnitude = np.maximum(seen.magnitude, _expected(graph.tensors, first, squares))
        factors = _factors(
            magnitude, seen.magnitude, seen.mean_square, graph.tensors, second, _cut(graph, first)
        )
        if factors is not None:
            divided[pair.tensor] = factors
            graph = scale_channels(graph, pair, 1 / factors)
    verify_float(graph)
    return graph


def scale_channels(graph: Graph, pair: Pair, factors: Float64Array) -> Graph:
    """Multiply the channels between two operators by positive factors, and divide what the
    second one's weights take. The same function unless an activation cuts elsewhere than at 0.

    Args:
        factors: [channels]
    """
    tensors, operators = list(graph.tensors), list(graph.operators)
    first, second = operators[pair.first], operators[pair.second]
    assert isinstance(first, WEIGHTED)
    assert isinstance(second, WEIGHTED)
    shape = (1, 1, -1) if isinstance(first, DepthwiseConv) else (-1, 1, 1, 1)
    operators[pair.first] = replace(
        first,
        weights=_multiplied(tensors, first.weights, factors.reshape(shape)),
        bias=None if first.bias is None else _multiplied(tensors, first.bias, factors),
    )
    operators[pair.second] = replace(
        second, weights=_multiplied(tensors, second.weights, 1 / factors)
    )
    return replace(graph, tensors=tuple(tensors), operators=tuple(operators))


def _expected(
    tensors: Sequence[Tensor], operator: _Weighted, squares: Float64Array
) -> Float64Array:
    """What the weights say of each output channel's magnitude, before the activation: a channel
    that no calibration sample has woken may wake later."""
    w = tensors[operator.weights].data
    assert w is not None
    power = np.square(w.astype(np.float64))
    if isinstance(operator, DepthwiseConv):
        variance = power.sum(axis=(0, 1)) * np.repeat(squares, operator.depth_multiplier)
    elif w.shape[3] == len(squares):
        variance = power.sum(axis=(1, 2)) @ squares
    else:
        variance = power.sum(axis=(1, 2, 3)) * squares.mean()
    result: Float64Array = _DEVIATIONS * np.sqrt(variance)
    return result


def _cut(graph: Graph, operator: _Weighted) -> float:
    """The least magnitude, besides 0, at which what follows an operator's sums cuts."""
    cuts = [6.0 if operator.activation is Activation.RELU6 else np.inf]
    cuts += map(abs, graph.tensors[operator.output].bounds or ())
    return min(cut for cut in cuts if cut > 0)


def _factors(
    magnitude: Float64Array,
    seen: Float64Array,
    mean_square: Float64Array,
    tensors: Sequence[Tensor],
    second: _Weighted,
    cut: float,
) -> Float64Array | None:
    """s_c: channel c is divided by it; None if no choice is clearly better than none.

    Args:
        magnitude: what each channel may reach. seen: what it has reached. cut: see _cut.
    """
    alive = magnitude > 0
    if not alive.any():
        return None
    relative = np.where(alive, magnitude, magnitude.max()) / magnitude.max()
    relative = np.maximum(relative, 1 / _MOST)
    best, least = (
        None,
        _ADVANTAGE * _noise(np.ones_like(seen), magnitude, mean_square, tensors, second),
    )
    for exponent in _EXPONENTS:
        factors = relative**exponent
        if cut < np.inf:
            # Unseen inputs reach further than those of a calibration, and what is cut is lost.
            reach = np.where(seen < _HIGHEST * cut, magnitude / (_CLEAR * cut), 1.0)
            factors = np.maximum(factors, np.minimum(reach, 1.0))
        noise = _noise(factors, magnitude, mean_square, tensors, second)
        if noise < least:
            best, least = factors, noise
    return best


def _noise(
    factors: Float64Array,
    magnitude: Float64Array,
    mean_square: Float64Array,
    tensors: Sequence[Tensor],
    operator: _Weighted,
) -> float:
    """Noise that rounding of its input and of its weights gives the second operator's outputs,
    relative to their power, on average over its channels."""
    w = tensors[operator.weights].data
    assert w is not None
    step = (magnitude / factors).max() / 255
    squares = mean_square / factors**2
    if isinstance(operator, DepthwiseConv):  # each channel has its own scale of weights
        alive = squares > 0
        return float((step**2 / squares[alive]).mean()) if alive.any() else 0.0
    scaled = np.abs(w.astype(np.float64) * factors)
    power = np.square(scaled).sum(axis=(1, 2))
    steps = scaled.max(axis=(1, 2, 3)) / 127
    count = w.shape[1] * w.shape[2]
    noise = step**2 * power.sum(axis=1) + steps**2 * count * squares.sum()
    signal = power @ squares
    alive = signal > 0
    return float((noise[alive] / signal[alive]).mean()) if alive.any() else 0.0


def _multiplied(tensors: list[Tensor], index: int, factors: Float64Array) -> int:
    """A new constant: others may share the old one."""
    data = tensors[index].data
    assert data is not None
    values = (data.astype(np.float64) * factors).astype(np.float32)
    tensors.append(replace(tensors[index], data=values))
    return len(tensors) - 1
