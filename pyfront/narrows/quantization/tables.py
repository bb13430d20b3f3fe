# SPDX-License-Identifier: Apache-2.0
"""Tables of 256 entries, filled by the very integer code that TensorFlow Lite Micro runs.

Quantization parameters are (scale, zero point) of int8 tensors; scales are float32 and are
combined in double.
"""

from __future__ import annotations

from math import frexp

import numpy as np

from narrows.graph.edges import dequantize, quantize
from narrows.graph.graph import Quantization, Unary, UnaryFunction
from narrows.graph.qgraph import Int32Array
from narrows.quantization import functions
from narrows.quantization.fixed_point import (
    Int64Array,
    divide_by_power,
    exp_on_negative_values,
    high_mul,
    input_radius,
    inverse_square_root,
    logistic,
    quantize_multiplier,
    requantize,
    round_half_away,
    tanh,
)

# Every int8 value in the order of a table's index: 0 to 127, then -128 to -1.
ALL_INT8: Int64Array = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64)
ALL_UINT8: Int64Array = np.arange(256, dtype=np.int64)


def as_bytes(values: Int64Array, low: int = -128, high: int = 127) -> bytes:
    """A table's bytes from values that are clamped to [low, high]."""
    return np.clip(values, low, high).astype(np.int16).astype(np.uint8).tobytes()


def requantized(x: Int64Array, source: Quantization, target: Quantization) -> Int64Array:
    """QUANTIZE between two 8-bit types, not clamped."""
    multiplier, shift = quantize_multiplier(float(source.scale) / float(target.scale))
    return requantize(x - source.zero_point, multiplier, shift) + target.zero_point


def unary_table(operator: Unary, source: Quantization, target: Quantization) -> bytes:
    """256 bytes: the function of every int8 value."""
    if operator.in_floats:
        return _in_floats(operator.function, source, target)
    x = ALL_INT8 - source.zero_point
    match operator.function:
        case UnaryFunction.REQUANTIZE:
            return as_bytes(requantized(ALL_INT8, source, target))
        case UnaryFunction.RELU:
            return as_bytes(requantized(ALL_INT8, source, target), target.zero_point)
        case UnaryFunction.RELU6:  # TFLite Micro clamps and does not change the scale
            six = round_half_away(float(np.float32(6) / source.scale)) + source.zero_point
            return as_bytes(ALL_INT8, source.zero_point, min(six, 127))
        case UnaryFunction.LEAKY_RELU:
            above = float(source.scale) / float(target.scale)
            below = float(source.scale) * operator.alpha / float(target.scale)
            y = np.where(
                x >= 0,
                requantize(x, *quantize_multiplier(above)),
                requantize(x, *quantize_multiplier(below)),
            )
            return as_bytes(y + target.zero_point)
        case UnaryFunction.LOGISTIC:
            return as_bytes(_saturating(x, source, logistic, 31 - 8, -128))
        case UnaryFunction.TANH:
            return as_bytes(_saturating(x, source, tanh, 31 - 7, 0))
        case UnaryFunction.HARD_SWISH:
            return as_bytes(_hard_swish(x, source, target) + target.zero_point)
        case UnaryFunction.ABS:
            return as_bytes(requantized(np.abs(x) + source.zero_point, source, target))
        case UnaryFunction.RSQRT:
            return as_bytes(_rsqrt(x, source, target))
        case function:
            return _rounded(function, source, target)


def _in_floats(function: UnaryFunction, source: Quantization, target: Quantization) -> bytes:
    """DEQUANTIZE, the function in float32, QUANTIZE. What is NaN or too large for the int32 of
    QUANTIZE, where C does not define it, is clamped: NaN becomes the least value."""
    with np.errstate(over="ignore"):
        x = dequantize(ALL_INT8, float(source.scale), source.zero_point)
        y = np.nan_to_num(functions.evaluate(function, x), nan=-np.inf)
        return bytes(quantize(y, float(target.scale), target.zero_point, np.int8).tobytes())


def _rounded(function: UnaryFunction, source: Quantization, target: Quantization) -> bytes:
    """A table as TensorFlow Lite itself fills it for a function in int8, by float32: ELU of TFLite
    Micro; EXP, LOG, SQRT and GELU of LiteRT, since TFLite Micro has these in float32 or not."""
    with np.errstate(over="ignore"):
        x = source.scale * (ALL_INT8 - source.zero_point).astype(np.float32)
        y = np.nan_to_num(functions.evaluate(function, x), nan=-np.inf)
        if function is UnaryFunction.ELU:  # less exact next to 0 than in float32
            y = np.where(x < 0, functions.evaluate(UnaryFunction.EXP, x) - np.float32(1), x)
        if function is UnaryFunction.SQRT:  # LiteRT's does not round
            steps = np.trunc(y / target.scale)
        else:
            steps = (y * (np.float32(1) / target.scale)).astype(np.float64)
            steps = np.trunc(steps + np.copysign(0.5, steps))
    return as_bytes(np.clip(steps + target.zero_point, -128, 127).astype(np.int64))


def _rsqrt(x: Int64Array, source: Quantization, target: Quantization) -> Int64Array:
    """RSQRT, not clamped; the most where TFLite Micro gives that (at 0) or stops (below)."""
    bits = 20  # of the root's fraction
    real = 1.0 / float(np.sqrt(source.scale) * target.scale)
    multiplier, shift = quantize_multiplier(real)
    root, root_shift = inverse_square_root(np.maximum(x, 1))
    y = requantize(requantize(np.ones_like(x), root, root_shift + bits), multiplier, shift - bits)
    return np.where(x > 0, y + target.zero_point, 127)


def _saturating(
    x: Int64Array,
    source: Quantization,
    function: object,
    exponent: int,
    offset: int,
) -> Int64Array:
    """LOGISTIC and TANH: Q4.27 in, Q0.31 out, the ends saturate."""
    assert callable(function)
    fraction, shift = frexp(float(source.scale) * 2**27)
    radius = input_radius(4, shift)
    inside = np.where(np.abs(x) < radius, x, 0)
    raw = function(requantize(inside, round_half_away(fraction * 2**31), shift), 4)
    y = divide_by_power(raw, exponent) + offset
    return np.where(x <= -radius, -128, np.where(x >= radius, 127, y))


def _hard_swish(x: Int64Array, source: Quantization, target: Quantization) -> Int64Array:
    """x * relu6(x + 3) / 6 in 16-bit fixed point."""
    fine = float(source.scale) / 128
    out_multiplier, out_exponent = _multiplier16(fine / float(target.scale))
    ramp_multiplier, ramp_exponent = _multiplier16(fine / (3 / 32768))
    x = x << 7
    scaled = _high_mul16(x, out_multiplier)
    ramp = x
    if ramp_exponent > 0:
        ramp = _int16(ramp << (ramp_exponent - 1))
    ramp = _high_mul16(ramp, ramp_multiplier)
    if ramp_exponent > 0:
        ramp = _int16(ramp << 1)
    ramp = _divide16(ramp, max(-ramp_exponent, 0))
    ramp = (ramp + 2**15) >> 1
    product = ramp * scaled
    y = np.where(product >= 0, product >> 15, -(-product >> 15))  # truncates
    return _divide16(np.minimum(y, 2**15 - 1), -out_exponent)


def _multiplier16(real: float) -> tuple[int, int]:
    multiplier, exponent = quantize_multiplier(real)
    return min((multiplier + 2**15) >> 16, 2**15 - 1), exponent


def _int16(x: Int64Array) -> Int64Array:
    return np.clip(x, -(2**15), 2**15 - 1)


def _high_mul16(a: Int64Array, b: int) -> Int64Array:
    product = a * b
    nudged = product + np.where(product >= 0, 2**14, 1 - 2**14)
    return np.where(nudged >= 0, nudged >> 15, -(-nudged >> 15))


def _divide16(x: Int64Array, exponent: int) -> Int64Array:
    """RoundingDivideByPOT on int16, whose mask of more than 15 bits is all ones."""
    mask = (1 << exponent) - 1 if exponent < 16 else -1
    return (x >> min(exponent, 63)) + ((x & mask) > (mask >> 1) + (x < 0))


def softmax_table(beta: float, source: Quantization) -> Int32Array:
    """int32 [256]: entry d is exp(-d * beta * scale) in Q0.31, 0 where TFLite skips."""
    real = min(beta * float(source.scale) * 2**26, 2.0**31 - 1)
    multiplier, shift = quantize_multiplier(real)
    d = np.arange(256, dtype=np.int64)
    inside = np.where(d <= input_radius(5, shift), d, 0)
    table = exp_on_negative_values(high_mul(-inside << shift, multiplier), 5)
    return np.where(d <= input_radius(5, shift), table, 0).astype(np.int32)
