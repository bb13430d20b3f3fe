# SPDX-License-Identifier: Apache-2.0
"""Operators that move or resample elements, added to the graph: what they become whatever format
they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from narrows.graph.graph import MAX_DIMENSION, Array, Concat, Pad, Resize
from narrows.graph.moves import Rearrangement, Slice
from narrows.graph.qgraph import Axis
from narrows.importers.build import Node, transposition
from narrows.importers.refusals import NotAbsorbed, Refused
from narrows.importers.views import (
    CHANNELS,
    HEIGHT,
    WIDTH,
    AnyView,
    Pieces,
    View,
    axes_of,
    in_pieces,
    regrouped,
)

# Slices that one operator of a file may become.
MAX_RUNS = 64


def permuted(node: Node, x: AnyView, order: Sequence[int]) -> AnyView:
    """x with its dimensions in another order; moves nothing, unless what has been permuted before
    and this would be too much at once."""
    if sorted(order) != list(range(len(x.shape))):
        raise Refused(f"permutation {list(order)}")
    if not x.contiguous and transposition(x.picked(order)).problem(x.storage, x.storage):
        x = node.importer.pieced(node.importer.flat(x, x.shape), x.shape)
    return x.picked(order)


def concat(node: Node, views: Sequence[View], dimension: int) -> None:
    """The views, one behind the other along a dimension, become output 0."""
    node.result(joined(node, views, dimension))


def joined(node: Node, views: Sequence[View], dimension: int, i: int = 0) -> View:
    """The views, one behind the other along a dimension, as the tensor of output i."""
    shape = views[0].shape
    for other in views:
        if other.shape[:dimension] != shape[:dimension] or (
            other.shape[dimension + 1 :] != shape[dimension + 1 :]
        ):
            raise Refused(f"shapes {list(shape)} and {list(other.shape)} along axis {dimension}")
    axis = views[0].axis(dimension)
    if len({v.axes for v in views}) != 1 or any(v.axis(dimension) != axis for v in views):
        axis = None
    if axis is None:
        views = [node.importer.relabel(v, v.shape) for v in views]
        axis = views[0].axis(dimension)
    storage = list(views[0].storage)
    if axis is None or len({v.axes for v in views}) != 1:
        raise Refused(f"axis {dimension} of shape {list(shape)} is not height, width or channels")
    storage[axis] = sum(v.storage[axis] for v in views)
    for other in views:
        if any(other.storage[a] != storage[a] for a in Axis if a != axis):
            raise NotAbsorbed(node.importer.movers)
    y = node.new(storage, i)
    node.emit(Concat(tuple(v.tensor for v in views), y, axis))
    return views[0].on(y, storage)


def stack(node: Node, views: Sequence[View], dimension: int) -> None:
    """The views, one behind the other along a dimension that they do not have, become output 0."""
    shape = views[0].shape
    shape = (*shape[:dimension], 1, *shape[dimension:])
    if any(v.shape != views[0].shape for v in views):
        raise Refused(f"its inputs have shapes {[list(v.shape) for v in views[:MAX_RUNS]]}")
    views = [node.importer.reshaped(v, shape) for v in views]
    node.result(views[0] if len(views) == 1 else joined(node, views, dimension))


def _with_axes(
    node: Node, x: View, dimensions: Sequence[int], what: str
) -> tuple[View, list[Axis]]:
    """x stored so that each of these dimensions is one stored axis, and these axes."""
    if any(x.axis(d) is None for d in dimensions):
        x = node.importer.relabel(x, x.shape)
    axes = []
    for d in dimensions:
        axis = x.axis(d)
        if axis is None:
            raise Refused(f"it {what} dimension {d} of shape {list(x.shape)}")
        axes.append(axis)
    return x, axes


def cut(
    node: Node,
    x: View,
    begin: Sequence[int],
    step: Sequence[int],
    size: Sequence[int],
    i: int = 0,
) -> View:
    """The part of x that begins at ``begin`` and has ``size`` elements along each dimension, as
    the tensor of output i."""
    whole = zip(x.shape, begin, step, size, strict=True)
    shortened = [
        d for d, (n, b, s, m) in enumerate(whole) if (b, s, m) != (0, 1, n) and not n == m == 1
    ]
    x, axes = _with_axes(node, x, shortened, "cuts")
    first, stride, storage = [0, 0, 0], [1, 1, 1], list(x.storage)
    for d, axis in zip(shortened, axes, strict=True):
        first[axis], stride[axis], storage[axis] = begin[d], step[d], size[d]
    if max(*first, *stride) > MAX_DIMENSION:
        raise Refused(f"begin {list(begin)}, stride {list(step)}")
    y = node.new(storage, i)
    node.emit(
        Slice((x.tensor,), y, (first[0], first[1], first[2]), (stride[0], stride[1], stride[2]))
    )
    return x.on(y, storage)


def cut_anywhere(
    node: Node,
    x: AnyView,
    begin: Sequence[int],
    step: Sequence[int],
    size: Sequence[int],
    i: int = 0,
) -> AnyView:
    """As ``cut``, of a tensor whose dimensions may be pieces of stored axes."""
    try:
        return cut(node, node.importer.settled(x), begin, step, size, i)
    except Refused:
        if isinstance(x, View):
            raise
        for d, (n, b, s, m) in enumerate(zip(x.shape, begin, step, size, strict=True)):
            if (b, s, m) != (0, 1, n):
                x = in_pieces(_taken(node, in_pieces(x), d, [b + s * k for k in range(m)], i))
        return regrouped(x)


def _taken(node: Node, x: Pieces, dimension: int, places: Sequence[int], i: int = 0) -> AnyView:
    """The elements of x at places of a dimension that is a piece of a stored axis, cut along that
    axis, as the tensor of output i."""
    owners = axes_of(x)
    if len(x.numbers[dimension]) != 1:
        raise Refused(f"it cuts dimension {dimension} of shape {list(x.shape)}")
    (piece,) = x.numbers[dimension]
    axis = owners[piece]
    pieces = [number for number, owner in enumerate(owners) if owner == axis]
    elements: Array = np.arange(x.storage[axis]).reshape([x.sizes[n] for n in pieces])
    whole = View(x.tensor, x.storage, x.storage, ((HEIGHT,), (WIDTH,), (CHANNELS,)))
    elements = elements.take(places, pieces.index(piece)).reshape(-1)
    made = _gathered(node, whole, axis, elements, i)
    shape = (*x.shape[:dimension], len(places), *x.shape[dimension + 1 :])
    sizes = [len(places) if n == piece else size for n, size in enumerate(x.sizes)]
    kept = [n for n, size in enumerate(sizes) if size > 1]
    numbers = tuple(tuple(kept.index(n) for n in group if n in kept) for group in x.numbers)
    left = tuple(sizes[n] for n in kept)
    return regrouped(Pieces(made.tensor, shape, made.storage, left, numbers))


def split(
    node: Node, x: AnyView, dimension: int, sizes: Sequence[int], *, keep: bool = True
) -> None:
    """Parts of x of these sizes along a dimension become the outputs. keep: with the dimension,
    which is left out of parts of size 1 otherwise."""
    kept = [d for d in range(len(x.shape)) if keep or d != dimension]
    count, parts = x.shape[dimension], node.output_count
    if len(sizes) != parts or min(sizes) < 1 or sum(sizes) != count:
        raise Refused(f"{parts} parts of sizes {list(sizes)} along {count}")
    begin = 0
    for i, size in enumerate(sizes):
        starts, lengths = [0] * len(x.shape), list(x.shape)
        starts[dimension], lengths[dimension] = begin, size
        if node.gives(i):
            part = cut_anywhere(node, x, starts, [1] * len(x.shape), lengths, i)
            node.result(part.picked(kept), i)
        begin += size


def gather(node: Node, x: AnyView, dimension: int, indices: Array) -> None:
    """The elements of x at these indices of a dimension become output 0. indices: whose dimensions
    stand in the place of the dimension; a number leaves it out."""
    rank, places = len(x.shape), indices.reshape(-1)
    whole: AnyView
    try:
        whole = _gathered(node, node.importer.settled(x), dimension, places)
    except Refused:
        if isinstance(x, View):
            raise
        whole = _taken(node, x, dimension, [int(n) for n in places])
    if indices.ndim == 0:
        node.result(whole.picked([d for d in range(rank) if d != dimension]))
    else:
        shape = (*x.shape[:dimension], *indices.shape, *x.shape[dimension + 1 :])
        node.result(node.importer.pieced(whole, shape))


def repeated(node: Node, x: View, counts: Sequence[int]) -> View:
    """x, that many times along each dimension, as the tensor of output 0."""
    source = x.tensor
    for d, count in enumerate(counts):
        if count == 1:
            continue
        if x.tensor != source:
            _name_part(node, x)
        if x.shape[d] == 1 and x.axis(d) is None:
            x = _with_free_axis(x, d)
        axis = x.axis(d)
        if x.shape[d] == 1 and axis in (HEIGHT, WIDTH):
            size = [n * (count if a == axis else 1) for a, n in enumerate(x.storage[:2])]
            x = resized(node, x, size, "nearest", corners=False, centers=True)
        elif count > MAX_RUNS:
            raise Refused(f"{count} copies, up to {MAX_RUNS} are supported")
        else:
            x = _gathered(node, x, d, np.tile(np.arange(x.shape[d]), count))
    return x


def _with_free_axis(x: View, dimension: int) -> View:
    """x with a stored axis, of those that no long dimension has, for a dimension of size 1."""
    long = {a for group, n in zip(x.axes, x.shape, strict=True) for a in group if n > 1}
    free = next((a for a in Axis if a not in long), None)
    if free is None:
        return x
    groups = [tuple(a for a in group if a != free) for group in x.axes]
    groups[dimension] = (free,)
    return replace(x, axes=tuple(groups))


def pad_with_itself(
    node: Node,
    x: View,
    amounts: Sequence[tuple[int, int]],
    mode: Literal["reflect", "symmetric", "edge", "wrap"],
) -> None:
    """x with elements of its own before and after each dimension becomes output 0. mode: which
    ones, as NumPy calls it."""
    source = x.tensor
    for d, (n, (before, after)) in enumerate(zip(x.shape, amounts, strict=True)):
        least = 0 if mode == "edge" else max(before, after) + (mode == "reflect")
        if not (min(before, after) >= 0 and max(before, after) <= MAX_DIMENSION and least <= n):
            raise Refused(f"paddings {list(amounts)} of shape {list(x.shape)}")
        if before or after:
            if x.tensor != source:
                _name_part(node, x)
            x = _gathered(node, x, d, np.pad(np.arange(n), (before, after), mode))
    node.result(x)


def _gathered(node: Node, x: View, dimension: int, indices: Array, i: int = 0) -> View:
    """The elements of x at these indices of a dimension, as the tensor of output i: slices, one
    behind the other."""
    count, rank = x.shape[dimension], len(x.shape)
    places = [int(n) for n in indices]
    if not places or min(places) < 0 or max(places) >= count:
        raise Refused(f"indices {places[:MAX_RUNS]} of a dimension of size {count}")
    runs = _runs(places)
    if len(runs) > MAX_RUNS:
        raise Refused(
            f"it takes {len(runs)} runs of equal steps along dimension {dimension}, up to "
            f"{MAX_RUNS} are supported"
        )
    parts = []
    for first, stride, length in runs:
        begin, step, size = [0] * rank, [1] * rank, list(x.shape)
        begin[dimension], step[dimension], size[dimension] = first, stride, length
        parts.append(cut(node, x, begin, step, size, i))
    if len(parts) == 1:
        return parts[0]
    for part in parts:
        _name_part(node, part)
    return joined(node, parts, dimension, i)


def _name_part(node: Node, x: View) -> None:
    """Tell a tensor that is only on the way to output 0 from that by its name."""
    tensor = node.importer.tensors[x.tensor]
    node.importer.tensors[x.tensor] = replace(tensor, name=f"{tensor.name} (part)")


def _runs(places: Sequence[int]) -> list[tuple[int, int, int]]:
    """Numbers as (first, step, count) of progressions that rise."""
    runs: list[tuple[int, int, int]] = []
    for n in places:
        first, step, count = runs[-1] if runs else (n, 1, 0)
        if count == 1 and n > first:
            runs[-1] = (first, n - first, 2)
        elif count > 1 and n == first + count * step:
            runs[-1] = (first, step, count + 1)
        else:
            runs.append((n, 1, 1))
    return runs


def pad(node: Node, x: View, amounts: Sequence[tuple[int, int]], value: float) -> None:
    """x with elements before and after each dimension becomes output 0. value: what they hold, as
    the output's tensor stores it."""
    if any(not 0 <= n <= MAX_DIMENSION for pair in amounts for n in pair):
        raise Refused(f"paddings {list(amounts)}")
    padded = [d for d, pair in enumerate(amounts) if pair != (0, 0)]
    x, axes = _with_axes(node, x, padded, "pads")
    before, storage = [0, 0, 0], list(x.storage)
    for d, axis in zip(padded, axes, strict=True):
        before[axis] = amounts[d][0]
        storage[axis] += sum(amounts[d])
    y = node.new(storage)
    node.emit(Pad((x.tensor,), y, (before[0], before[1], before[2]), value))
    node.result(x.on(y, storage))


def resized(
    node: Node,
    x: View,
    size: Sequence[int],
    function: Literal["nearest", "bilinear"],
    *,
    corners: bool,
    centers: bool,
) -> View:
    """x with this height and width, as the tensor of output 0."""
    storage = (size[0], size[1], x.storage[2])
    y = node.new(storage)
    node.emit(Resize((x.tensor,), y, function, corners, centers))
    return x.on(y, storage)


def rearrange(node: Node, x: View, kind: type[Rearrangement], options: Mapping[str, Any]) -> None:
    """x, stored as height, width and channels, rearranged becomes output 0. options: of the
    operator, by our names."""
    operator = kind((x.tensor,), 0, **options)
    try:
        storage = operator.target(x.storage)
    except ValueError as error:
        raise Refused(str(error)) from error
    y = node.new(storage)
    node.emit(replace(operator, output=y))
    node.result(x.on(y, storage))
