# SPDX-License-Identifier: Apache-2.0
"""Two sides, layer by layer: where they part, or how far they are from each other."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from narrows.data import Dataset, Item, load_array, load_input
from narrows.errors import InputError, UsageError
from narrows.graph.edges import Array, dequantize, real
from narrows.jobs import in_order
from narrows.notebook import table
from narrows.quantization.measure import MOST_DECIBELS, decibels
from narrows.result import Progress
from narrows.sides import Inputs, Layer, Side

# Channels whose scale differs by more than this have been equalized, ...
_RESCALED = 1.2
# ... if that explains so much of the noise.
_RESCALED_DECIBELS = 6.0


@dataclass(frozen=True)
class First:
    """The first element that differs. item: number in the data; a, b: its two values."""

    item: int
    position: tuple[int, int, int]
    a: int
    b: int


@dataclass(frozen=True)
class Difference:
    """One layer on all items.

    layer, other: as side A has it, and as B has it.
    elements: how many were compared; differing: of these; most: the largest difference.
    first: None if all are equal.
    decibels: of A's real values over the difference from B's; None if bytes were compared, or
    nothing is known of the scale.
    rescaled: decibels when each channel of B may have a scale of its own, if that matters: so
    equalization does, which changes no output.
    drop: decibels less than in the layer before, unless that was equal: some noise is the price of
    eight bits.
    """

    layer: Layer
    other: Layer
    elements: int
    differing: int
    most: float
    first: First | None
    decibels: float | None = None
    rescaled: float | None = None
    drop: float | None = None

    @property
    def same_steps(self) -> bool:
        """Whether, as far as is known, equal bytes stand for equal values."""
        a, b = self.layer, self.other
        scales = a.scale is None or b.scale is None or np.float32(a.scale) == np.float32(b.scale)
        return bool(scales) and a.zero_point == b.zero_point

    @property
    def best(self) -> float | None:
        """decibels, without what is only scale."""
        return self.decibels if self.rescaled is None else self.rescaled


@dataclass(frozen=True)
class Comparison:
    """exact: bytes were compared, not real values.

    layers: in order of computation. only_a, only_b: names of layers that the other side does not
    have. right: items whose class either side finds; None if classes or scores are unknown.
    shown: values of each layer by A and by B, for the first item that they part in, or item 0.
    """

    exact: bool
    items: int
    layers: tuple[Difference, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    right: tuple[int, int] | None
    shown: tuple[tuple[Array, Array], ...]

    @property
    def equal(self) -> bool:
        """Whether all that was compared is the same."""
        return all(layer.differing == 0 for layer in self.layers)

    @property
    def parted(self) -> Difference | None:
        """The first layer whose bytes differ."""
        return next((d for d in self.layers if self.exact and d.first is not None), None)

    @property
    def worst(self) -> Difference | None:
        """The layer with the largest drop, if there is any."""
        drops = [d for d in self.layers if d.drop is not None and d.drop > 0]
        return max(drops, key=lambda d: d.drop or 0.0, default=None)

    def _repr_html_(self) -> str:
        figures = ("differ>", "by up to>") if self.exact else ("dB>", "rescaled>", "drop>")
        rows = []
        for d in self.layers:
            row = ["->" if d is (self.parted or self.worst) else "", d.layer.name, d.layer.operator]
            if self.exact:
                row += [f"{d.differing:,}", f"{d.most:.0f}"]
            else:
                row += ["" if v is None else f"{v:.1f}" for v in (d.decibels, d.rescaled, d.drop)]
            rows.append(row)
        return table(("", "layer", "operator", *figures), rows, f"{self.items:,} inputs")


def compare(
    a: Side, b: Side, dataset: Dataset, count: int, progress: Progress, only: str | None = None
) -> Comparison:
    """Run both sides on the first items of a data set.

    Args:
        count: how many items, if there are so many.
        only: the name of the layer that is wanted.

    Raises: InputError: an item that does not fit, a network with several inputs. UsageError: no
    layer in common. NarrowsError.
    """
    for side in (a, b):
        if len(side.edges) != 1:
            raise InputError(
                f"{side.spec} has {len(side.edges)} inputs; compare takes networks with one"
            )
    count = min(count, len(dataset.items))

    def items() -> Iterator[tuple[Inputs, Inputs]]:
        for number, item in zip(range(count), dataset.items, strict=False):
            progress("comparing", number / count)
            name = dataset.name_of(number)
            yield [_values(a, b, item, name)], [_values(b, a, item, name)]

    return compare_inputs(a, b, items(), only, dataset.labels)


def compare_inputs(
    a: Side,
    b: Side,
    items: Iterable[tuple[Inputs, Inputs]],
    only: str | None = None,
    labels: npt.NDArray[np.int64] | None = None,
) -> Comparison:
    """Run both sides on inputs that each takes as they are, in as many threads as both serve. What
    is found does not depend on how many these are.

    Args:
        items: for each inference what A takes, and what B takes.
        only: the name of the layer that is wanted.
        labels: the class of each item, if known.

    Raises: UsageError: no layer in common. NarrowsError.
    """
    exact = not (a.is_float or b.is_float)
    pairs = _pairs(a, b, exact)
    only_a, only_b = _unpaired(a, (i for i, _ in pairs)), _unpaired(b, (j for _, j in pairs))
    if only is not None:
        pairs = [(i, j) for i, j in pairs if only in (a.layers[i].name, b.layers[j].name)]
    if not pairs:
        raise UsageError(
            f"{a.spec} and {b.spec} have no layer{f' {only}' if only else ''} in common"
        )
    wanted = pairs[0] if only is not None else (-1, -1)
    both = [_Both(a.layers[i], b.layers[j], exact) for i, j in pairs]
    scored = labels is not None and only is None and min(a.outputs[0], b.outputs[0]) >= 0
    shown = _Shown()

    def look(numbered: tuple[int, tuple[Inputs, Inputs]]) -> tuple[list[_Tally], list[int]]:
        number, (inputs_a, inputs_b) = numbered
        seen_a, seen_b = a.see(inputs_a, wanted[0]), b.see(inputs_b, wanted[1])
        values = tuple((seen_a[i], seen_b[j]) for i, j in pairs)
        tallies = [two.tally(number, *seen) for two, seen in zip(both, values, strict=True)]
        shown.offer(number, any(tally.differing for tally in tallies), values)
        if not scored or labels is None:
            return tallies, [0, 0]
        scores = seen_a[a.outputs[0]], seen_b[b.outputs[0]]
        return tallies, [int(score.argmax() == labels[number]) for score in scores]

    totals = [_Tally(np.zeros((4, two.a.shape[2]))) for two in both]
    right = np.zeros(2, np.int64)
    count = 0
    for tallies, hits in in_order(look, enumerate(items), min(a.jobs, b.jobs)):
        count += 1
        right += hits
        for total, tally in zip(totals, tallies, strict=True):
            total.add(tally)
    return Comparison(
        exact,
        count,
        _with_drops([two.result(total) for two, total in zip(both, totals, strict=True)]),
        only_a,
        only_b,
        (int(right[0]), int(right[1])) if scored else None,
        shown.values,
    )


def _pairs(a: Side, b: Side, exact: bool) -> list[tuple[int, int]]:
    """Layers that can be compared: of one name; inputs and outputs whatever their names."""
    partner = dict(zip((*a.inputs, *a.outputs), (*b.inputs, *b.outputs), strict=False))
    names = {layer.name: j for j, layer in reversed(list(enumerate(b.layers)))}
    pairs: dict[int, int] = {}
    for i, layer in enumerate(a.layers):
        edge, named = partner.get(i, -1), names.get(layer.name, -1)
        for j, shape in ((edge, math.prod), (named, _line)):
            free = j >= 0 and i not in pairs and j not in pairs.values()
            alike = free and shape(layer.shape) == shape(b.layers[j].shape)
            if alike and _comparable(layer, b.layers[j], exact):
                pairs[i] = j
    return list(pairs.items())


def _unpaired(side: Side, paired: Iterable[int]) -> tuple[str, ...]:
    """Names of the layers that have no partner. A RESHAPE may have the name of its input."""
    known = {side.layers[i].name for i in paired}
    names = dict.fromkeys(layer.name for layer in side.layers)
    return tuple(name for name in names if name not in known)


def _comparable(a: Layer, b: Layer, exact: bool) -> bool:
    if exact:
        return not (a.is_float or b.is_float)
    return all(layer.is_float or layer.scale is not None for layer in (a, b))


def _line(shape: tuple[int, int, int]) -> tuple[int, ...]:
    """A shape without the ones before its channels: the same bytes, whether they stand along the
    height or the width."""
    return (*(n for n in shape[:2] if n != 1), shape[2])


def _values(side: Side, other: Side, item: Item, name: str) -> Array:
    """An item as a side takes it. Floats take what the data holds; if those are the other side's
    own integers, what they stand for. name: of the item, in errors."""
    preprocessing = side.preprocessing or other.preprocessing
    # Both sides understand an array alike, so where one's file has channels first, both do.
    first = side.edges[0].channels_first or other.edges[0].channels_first
    edge, others = (replace(s.edges[0], channels_first=first) for s in (side, other))
    if isinstance(item, Path) and item.suffix.lower() == ".npy":
        name, item = str(item), load_array(item)
    if edge.dtype == "float32":
        if edge.tensor_scale == 0:  # of a float network; tells how pixels become values
            edge = replace(edge, tensor_scale=others.tensor_scale)
        if isinstance(item, np.ndarray) and item.dtype == np.dtype(others.dtype):
            inner = load_input(others, preprocessing, item, name)
            return real(others, inner).reshape(edge.shape)
    return load_input(edge, preprocessing, item, name)


def _with_drops(layers: Sequence[Difference]) -> tuple[Difference, ...]:
    result: list[Difference] = []
    before: float | None = None
    for layer in layers:
        if before is not None and layer.best is not None:
            layer = replace(layer, drop=before - layer.best)
        before = None if layer.best == MOST_DECIBELS else layer.best
        result.append(layer)
    return tuple(result)


class _Shown:
    """The values of the first item that differs; until there is one, of the first item."""

    def __init__(self) -> None:
        self.values: tuple[tuple[Array, Array], ...] = ()
        self._rank = (True, sys.maxsize)
        self._lock = threading.Lock()

    def offer(self, item: int, differs: bool, values: tuple[tuple[Array, Array], ...]) -> None:
        """Any thread, in any order."""
        with self._lock:
            if (not differs, item) < self._rank:
                self._rank, self.values = (not differs, item), values


@dataclass
class _Tally:
    """One layer on some items.

    powers: by channel, [4, channels]: A squared, B squared, A times B, difference squared.
    Others as in ``Difference``.
    """

    powers: npt.NDArray[np.float64]
    elements: int = 0
    differing: int = 0
    most: float = 0.0
    first: First | None = None

    def add(self, later: _Tally) -> None:
        """What was found on items behind these."""
        self.powers += later.powers
        self.elements += later.elements
        self.differing += later.differing
        self.most = max(self.most, later.most)
        self.first = self.first or later.first


@dataclass(frozen=True)
class _Both:
    """One layer as either side has it. exact: bytes are compared."""

    a: Layer
    b: Layer
    exact: bool

    def tally(self, item: int, a: Array, b: Array) -> _Tally:
        """What is found on one item."""
        a, b = (np.ma.asarray(values).reshape(self.a.shape) for values in (a, b))
        there = ~(np.ma.getmaskarray(a) | np.ma.getmaskarray(b))
        left, right = self._numbers(self.a, a), self._numbers(self.b, b)
        products = (left * left, right * right, left * right, (left - right) ** 2)
        powers = np.array([np.where(there, p, 0).sum(axis=(0, 1)) for p in products])
        found = _Tally(powers, int(there.sum()))
        apart = there & (left != right)
        if apart.any():
            found.differing = int(apart.sum())
            found.most = float(np.abs(left - right)[apart].max())
            if self.exact:
                y, x, c = (int(v[0]) for v in np.nonzero(apart))
                found.first = First(item, (y, x, c), int(left[y, x, c]), int(right[y, x, c]))
        return found

    def _numbers(self, layer: Layer, values: Array) -> npt.NDArray[np.float64]:
        """Bytes as they are, or the real values that they stand for."""
        filled = np.ma.filled(values, 0)
        if not self.exact and not layer.is_float:
            assert layer.scale is not None
            filled = dequantize(filled, layer.scale, layer.zero_point)
        return np.asarray(filled, np.float64)

    def result(self, total: _Tally) -> Difference:
        """What has been found on all items."""
        plain, rescaled = (None, None) if self.exact else _decibels(total.powers)
        return Difference(
            self.a,
            self.b,
            total.elements,
            total.differing,
            total.most,
            total.first,
            plain,
            rescaled,
        )


def _decibels(powers: npt.NDArray[np.float64]) -> tuple[float, float | None]:
    """See ``Difference``. powers: see ``_Tally``."""
    square_a, square_b, product, noise = powers
    plain = decibels(float(square_a.sum()), float(noise.sum()))
    alive = (square_a > 0) & (product > 0)
    gain = product[alive] / square_a[alive]
    if gain.size == 0 or max(gain.max(), 1 / gain.min()) < _RESCALED:
        return plain, None
    # The best gain for each channel, taken back: what is left is noise.
    left = square_b[alive] / gain**2 - square_a[alive]
    dead = noise[~alive].sum()
    rescaled = decibels(float(square_a.sum()), float(np.maximum(left, 0).sum() + dead))
    return plain, rescaled if rescaled > plain + _RESCALED_DECIBELS else None
