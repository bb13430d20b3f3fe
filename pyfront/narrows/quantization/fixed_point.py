# SPDX-License-Identifier: Apache-2.0
"""Integer arithmetic as TensorFlow Lite Micro does it (gemmlowp's fixed point).

A *raw* Qm.n number is an int32 that stands for ``raw / 2**n`` with ``m + n = 31``.
Arrays are int64 that hold int32 values, so that products do not overflow.
"""

from __future__ import annotations

from math import floor, frexp
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Int64Array: TypeAlias = npt.NDArray[np.int64]

_INT32_MAX = 2**31 - 1
_INT32_MIN = -(2**31)


def round_half_away(x: float) -> int:
    """To the nearest integer, halves away from zero (C's round)."""
    return floor(x + 0.5) if x >= 0 else -floor(0.5 - x)


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) with ``real = multiplier * 2 ** (shift - 31)``.

    Args:
        real: finite and not negative.

    Returns:
        A multiplier of 0 or 2**30 to 2**31 - 1 and a shift of -31 or more. Reals below
        2**-32 become 0, as in TFLite's QuantizeMultiplier.
    """
    if real == 0.0:
        return 0, 0
    fraction, shift = frexp(real)
    multiplier = round_half_away(fraction * 2**31)
    if multiplier == 2**31:
        multiplier //= 2
        shift += 1
    return (0, 0) if shift < -31 else (multiplier, shift)


def wrap(x: Int64Array) -> Int64Array:
    """Modulo 2**32, as int32."""
    return x.astype(np.int32).astype(np.int64)


def high_mul(a: Any, b: Any) -> Int64Array:
    """SaturatingRoundingDoublingHighMul: ``a * b / 2**31`` to nearest, halves up."""
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    nudged = product + np.where(product >= 0, 2**30, 1 - 2**30)
    high = np.where(nudged >= 0, nudged >> 31, -(-nudged >> 31))
    result: Int64Array = np.minimum(high, _INT32_MAX)
    return result


def divide_by_power(x: Any, exponent: Any) -> Int64Array:
    """RoundingDivideByPOT: ``x / 2**exponent`` to nearest, halves away from zero."""
    x = np.asarray(x, np.int64)
    mask = (np.int64(1) << np.asarray(exponent, np.int64)) - 1
    result: Int64Array = (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))
    return result


def requantize(x: Any, multiplier: Any, shift: Any) -> Int64Array:
    """MultiplyByQuantizedMultiplier. Arrays broadcast; shift is -31 to 30."""
    shift = np.asarray(shift, np.int64)
    shifted = wrap(np.asarray(x, np.int64) << np.maximum(shift, 0))
    return divide_by_power(high_mul(shifted, multiplier), np.maximum(-shift, 0))


def shift_left_saturating(x: Any, exponent: int) -> Int64Array:
    """SaturatingRoundingMultiplyByPOT for positive exponents."""
    result: Int64Array = np.clip(np.asarray(x, np.int64) << exponent, _INT32_MIN, _INT32_MAX)
    return result


def exp_on_negative_values(a: Any, integer_bits: int) -> Int64Array:
    """exp(a) as raw Q0.31 for raw a <= 0 with at most 5 integer bits."""
    a = np.asarray(a, np.int64)
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    within = (a & (quarter - 1)) - quarter  # in [-1/4, 0)
    # Taylor series around -1/8.
    x = shift_left_saturating(within, integer_bits) + (1 << 28)
    x2 = high_mul(x, x)
    x3 = high_mul(x2, x)
    x4_over_4 = divide_by_power(high_mul(x2, x2), 2)
    series = divide_by_power(high_mul(x4_over_4 + x3, 715827883) + x2, 1)  # constant: 1/3
    result = 1895147668 + high_mul(1895147668, x + series)  # constant: exp(-1/8)
    # exp(-2**k) for every bit k of what remains, k = -2 to 4.
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    remainder = within - a
    for power, factor in zip(range(-2, integer_bits), factors, strict=False):
        bit = remainder & (1 << (fraction_bits + power))
        result = np.where(bit != 0, high_mul(result, factor), result)
    return np.where(a == 0, _INT32_MAX, result)


def _reciprocal(a: Any) -> Int64Array:
    """2 / (1 + a) as raw Q2.29 for raw Q0.31 a in [0, 1): three Newton-Raphson steps."""
    half_denominator = (np.asarray(a, np.int64) + _INT32_MAX + 1) // 2
    x = 1515870810 + high_mul(half_denominator, -1010580540)  # constants: 48/17, -32/17
    for _ in range(3):
        rest = (1 << 29) - high_mul(half_denominator, x)
        x = x + shift_left_saturating(high_mul(x, rest), 2)
    return x


def one_over_one_plus(a: Any) -> Int64Array:
    """1 / (1 + a) as raw Q0.31 for raw Q0.31 a in [0, 1)."""
    return shift_left_saturating(_reciprocal(a), 1)


def quotient(a: Int64Array, b: Int64Array, multiplier: int, shift: int) -> Int64Array:
    """a / b times ``multiplier * 2 ** (shift - 31)`` as TFLite's DivElementwise computes it; where
    b is 0, and C defines nothing, the greatest or least int32, or 0 of 0.

    a, b: -255 to 255.
    """
    a, b = np.where(b < 0, -a, a), np.abs(b)
    zero, b = b == 0, np.maximum(b, 1)
    bits = np.frexp(b.astype(np.float64))[1].astype(np.int64)
    inverse = one_over_one_plus((b << (32 - bits)) - (1 << 31))
    # The bits of a's sign but one: 31 less the bits that |a|, or for a < 0 that |a| - 1, takes.
    magnitude = np.where(a < 0, -a - 1, a).astype(np.float64)
    headroom = 31 - np.frexp(magnitude)[1].astype(np.int64)
    unscaled = high_mul(a << headroom, inverse)
    total = shift - (bits - 1) - headroom
    scaled = divide_by_power(high_mul(unscaled, multiplier), np.clip(-total, 0, 62))
    return np.where(zero, np.sign(a) * _INT32_MAX, scaled)


def logistic(a: Any, integer_bits: int) -> Int64Array:
    """1 / (1 + exp(-a)) as raw Q0.31."""
    a = np.asarray(a, np.int64)
    positive = one_over_one_plus(exp_on_negative_values(-np.abs(a), integer_bits))
    result = np.where(a > 0, positive, _INT32_MAX - positive)
    return np.where(a == 0, 1 << 30, result)


def tanh(a: Any, integer_bits: int) -> Int64Array:
    """tanh(a) as raw Q0.31."""
    a = np.asarray(a, np.int64)
    # The raw value of a read with one more integer bit is 2 a.
    decay = exp_on_negative_values(-np.abs(a), integer_bits + 1)
    magnitude = shift_left_saturating(_reciprocal(decay) - (1 << 29), 2)
    result = np.where(a < 0, -magnitude, magnitude)
    return np.where(a == 0, 0, result)


def input_radius(integer_bits: int, left_shift: int) -> int:
    """TFLite's CalculateInputRadius: differences from here on saturate."""
    return floor(((1 << integer_bits) - 1) * 2.0 ** (31 - integer_bits) / 2.0**left_shift)


def inverse_square_root(x: Int64Array) -> tuple[Int64Array, Int64Array]:
    """(multiplier, shift) of 1 / sqrt(x) for x from 1 to 255, as TFLite's
    GetInvSqrtQuantizedMultiplierExp finds them: five Newton-Raphson steps in Q3.28."""
    pairs = (31 - np.frexp(x.astype(np.float64))[1]) // 2 - 1  # bits to shift by, in twos
    half = divide_by_power((x << (2 * pairs)) >> 1, 1)
    root = np.full_like(x, 1 << 28)
    for _ in range(5):
        cube = shift_left_saturating(high_mul(high_mul(root, root), root), 6)
        step = high_mul((1 << 28) + (1 << 27), root) - high_mul(half, cube)
        root = shift_left_saturating(step, 3)
    root = high_mul(root, 1518500250)  # constant: sqrt(1/2)
    one = x == 1
    return np.where(one, _INT32_MAX, root), np.where(one, 0, pairs - 11)
