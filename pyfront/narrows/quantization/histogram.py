# SPDX-License-Identifier: Apache-2.0
"""A tensor's values as a histogram of bounded size, and the ranges that it suggests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.quantization.float_model import FloatArray

Float64Array: TypeAlias = npt.NDArray[np.float64]

BINS = 4096
_LEVELS = 256
_PERCENTILES = (99.9, 99.99, 99.999)
# Fractions of the extremes that are tried as the range.
_FRACTIONS = tuple(float(f) for f in np.geomspace(0.1, 1, 40)[::-1])
_EMPTY = 1e-9


@dataclass(frozen=True)
class Candidate:
    """method: how the range was found. least, most: real values."""

    method: str
    least: float
    most: float


class Histogram:
    """An observer: counts in equal bins from -reach to reach, a power of two that grows with
    what is seen. Order of samples makes no difference."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.reach = 0.0
        self.least, self.most = np.inf, -np.inf

    def update(self, values: FloatArray) -> None:
        """See calibrate.Observer."""
        low, high = float(values.min()), float(values.max())
        self.least, self.most = min(self.least, low), max(self.most, high)
        self._grow(max(-low, high))
        if self.reach == 0.0:
            self.counts[BINS // 2] += values.size
            return
        places = values.ravel() * np.float32(BINS / 2 / self.reach)
        places += np.float32(BINS / 2)
        numbers = np.minimum(places.astype(np.int32), BINS - 1)
        self.counts += np.bincount(numbers, minlength=BINS)

    def add(self, later: Histogram) -> None:
        """See calibrate.Observer."""
        copy = Histogram()
        copy.counts, copy.reach = later.counts, later.reach
        self._grow(later.reach)
        copy._grow(self.reach)
        self.counts = self.counts + copy.counts
        self.least, self.most = min(self.least, later.least), max(self.most, later.most)

    def _grow(self, needed: float) -> None:
        if needed <= self.reach:
            return
        # Far from float32's limits, so that every bin has a width.
        reach = 2.0 ** float(max(np.ceil(np.log2(needed)), -100.0))
        if self.reach > 0.0:
            for _ in range(round(np.log2(reach / self.reach))):
                halves = self.counts.reshape(-1, 2).sum(axis=1)
                self.counts = np.zeros(BINS, np.int64)
                self.counts[BINS // 4 : BINS // 4 + BINS // 2] = halves
                if self.counts[BINS // 2 - 1 : BINS // 2 + 1].sum() == halves.sum():
                    break  # all in the middle: nothing changes any more
        self.reach = reach

    def range(self) -> tuple[float, float]:
        """See calibrate.Observer: the extremes."""
        return self.least, self.most

    @property
    def centers(self) -> Float64Array:
        """Real value in the middle of each bin."""
        places = np.arange(BINS, dtype=np.float64) + (0.5 - BINS / 2)
        return places * (2 * self.reach / BINS)


def merged(a: Histogram, b: Histogram) -> Histogram:
    """What one observer of both streams would have counted."""
    result = Histogram()
    result.add(a)
    result.add(b)
    return result


def candidates(histogram: Histogram) -> list[Candidate]:
    """Ranges worth trying, the extremes first; always as many and in the same order of methods,
    unless the tensor is constant."""
    extremes = Candidate("min/max", histogram.least, histogram.most)
    if not (histogram.most > histogram.least and histogram.reach > 0):
        return [extremes]
    return [
        extremes,
        *_percentiles(histogram),
        _least_error(histogram),
        _least_entropy(histogram),
    ]


def _percentiles(histogram: Histogram) -> Iterator[Candidate]:
    total = np.cumsum(histogram.counts)
    width = 2 * histogram.reach / BINS
    for percentile in _PERCENTILES:
        outside = (1 - percentile / 100) * total[-1]
        low = int(np.searchsorted(total, outside, side="right"))
        high = int(np.searchsorted(total, total[-1] - outside, side="left"))
        least = max(histogram.least, low * width - histogram.reach)
        most = min(histogram.most, (high + 1) * width - histogram.reach)
        yield Candidate(f"{percentile:g}%", min(least, most), max(least, most))


def _least_error(histogram: Histogram) -> Candidate:
    """The range of least mean squared error: first the upper end, then the lower one."""
    low, high = min(histogram.least, 0.0), max(histogram.most, 0.0)
    best = min((high * f for f in _FRACTIONS), key=lambda h: squared_error(histogram, low, h))
    lower = min((low * f for f in _FRACTIONS), key=lambda x: squared_error(histogram, x, best))
    return Candidate("mean squared error", lower, best)


def squared_error(histogram: Histogram, least: float, most: float) -> float:
    """Sum of squared errors of rounding and of clipping to a range."""
    x = histogram.centers
    step = (most - least) / (_LEVELS - 1)
    outside = np.maximum(x - most, 0) + np.maximum(least - x, 0)
    inside = outside == 0
    return float((histogram.counts * (outside**2 + inside * step**2 / 12)).sum())


def _least_entropy(histogram: Histogram) -> Candidate:
    """The range that loses least information: Kullback-Leibler divergence of the distribution
    that 256 levels keep from the one that was seen."""
    low, high = min(histogram.least, 0.0), max(histogram.most, 0.0)
    best = min(_FRACTIONS, key=lambda f: _divergence(histogram, low * f, high * f))
    return Candidate("entropy", low * best, high * best)


def _divergence(histogram: Histogram, least: float, most: float) -> float:
    x, counts = histogram.centers, histogram.counts.astype(np.float64)
    step = (most - least) / (_LEVELS - 1)
    if step <= 0:
        return np.inf
    inside = (x >= least) & (x <= most)
    if not inside.any():
        return np.inf
    seen = np.where(inside, counts, 0.0)
    kept = seen.copy()
    first, last = np.flatnonzero(inside)[[0, -1]]
    seen[first] += counts[:first].sum()
    seen[last] += counts[last + 1 :].sum()
    levels = np.clip(np.rint((x - least) / step), 0, _LEVELS - 1).astype(np.int64)
    filled = (kept > 0).astype(np.float64)
    sums = np.bincount(levels, kept, _LEVELS)
    places = np.bincount(levels, filled, _LEVELS)
    coded = np.where(filled > 0, sums[levels] / np.maximum(places[levels], 1), 0.0)
    p, q = seen / seen.sum(), coded / max(coded.sum(), 1.0)
    some = p > 0
    return float((p[some] * np.log(p[some] / np.maximum(q[some], _EMPTY))).sum())
