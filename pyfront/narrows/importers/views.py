# SPDX-License-Identifier: Apache-2.0
"""Views: how a model's tensor of any rank and order stands in a [height, width, channels] one.

RESHAPE, SQUEEZE, EXPAND_DIMS and TRANSPOSE move no bytes here: they only change which axes of
the stored tensor, or which pieces of such axes, a dimension of the model's tensor stands for. A
reader that needs whole axes or the plain NHWC order asks for it, and only then may bytes have to
be relabelled or moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

from narrows.graph.qgraph import Axis
from narrows.importers.refusals import Refused

HEIGHT, WIDTH, CHANNELS = Axis

Layout: TypeAlias = tuple[tuple[int, int, int], tuple[tuple[Axis, ...], ...]]
"""Storage and axes of a view."""


@dataclass(frozen=True)
class View:
    """tensor: index in the Graph. shape: the model's. storage: the tensor's [h, w, c].

    axes: for each dimension of ``shape`` the stored axes that it runs over, slowest first;
    their sizes multiply to the dimension. An axis that no dimension names has size 1.
    """

    tensor: int
    shape: tuple[int, ...]
    storage: tuple[int, int, int]
    axes: tuple[tuple[Axis, ...], ...]

    def order(self) -> tuple[Axis, ...]:
        """Stored axes longer than 1 in the order of the model's dimensions."""
        return tuple(a for group in self.axes for a in group if self.storage[a] > 1)

    @property
    def contiguous(self) -> bool:
        """The model's elements and the stored bytes have the same order."""
        order = self.order()
        return list(order) == sorted(order)

    def axis(self, dimension: int) -> Axis | None:
        """The stored axis that a dimension is, if it is exactly one."""
        group = self.axes[dimension]
        long = [a for a in group if self.storage[a] > 1]
        if len(long) == 1:
            return long[0]
        return group[0] if group and not long else None

    def on(self, tensor: int, storage: Sequence[int]) -> View:
        """The same layout over another tensor whose axes may have other sizes."""
        shape = tuple(
            prod(storage[a] for a in group) if group else n
            for n, group in zip(self.shape, self.axes, strict=True)
        )
        height, width, channels = storage
        return View(tensor, shape, (height, width, channels), self.axes)

    def picked(self, dimensions: Sequence[int]) -> View:
        """These of the model's dimensions, in this order; those left out have size 1."""
        return View(
            self.tensor,
            tuple(self.shape[d] for d in dimensions),
            self.storage,
            tuple(self.axes[d] for d in dimensions),
        )


@dataclass(frozen=True)
class Pieces:
    """What a View is, but dimensions may run over parts of stored axes.

    sizes: the pieces that the stored axes are cut into, slowest first, all longer than 1. numbers:
    for each dimension of ``shape`` the pieces that it runs over, slowest first.
    """

    tensor: int
    shape: tuple[int, ...]
    storage: tuple[int, int, int]
    sizes: tuple[int, ...]
    numbers: tuple[tuple[int, ...], ...]

    def order(self) -> tuple[int, ...]:
        """The pieces in the order of the model's dimensions."""
        return tuple(number for group in self.numbers for number in group)

    @property
    def contiguous(self) -> bool:
        """The model's elements and the stored bytes have the same order."""
        return list(self.order()) == sorted(self.order())

    def picked(self, dimensions: Sequence[int]) -> Pieces:
        """These of the model's dimensions, in this order; those left out have size 1."""
        shape = tuple(self.shape[d] for d in dimensions)
        return replace(self, shape=shape, numbers=tuple(self.numbers[d] for d in dimensions))


AnyView: TypeAlias = View | Pieces


def in_pieces(view: AnyView) -> Pieces:
    """A view whose pieces are whole axes."""
    if isinstance(view, Pieces):
        return view
    long = [a for a in Axis if view.storage[a] > 1]
    numbers = tuple(tuple(long.index(a) for a in group if a in long) for group in view.axes)
    sizes = tuple(view.storage[a] for a in long)
    return Pieces(view.tensor, view.shape, view.storage, sizes, numbers)


def standard(shape: tuple[int, ...]) -> Layout:
    """Storage and axes of a tensor that has no layout yet: NHWC, short ranks by rows.

    Raises:
        Refused: a dimension is not fixed, or another than the last three is longer than 1.
    """
    if any(n < 0 for n in shape):
        raise Refused(f"shape {list(shape)} is not fixed; convert the model for one input shape")
    if len(shape) >= 4:
        if any(n != 1 for n in shape[:-3]):
            long = sum(n > 1 for n in shape)
            if long > 3:
                raise Refused(
                    f"shape {list(shape)} has {long} dimensions longer than 1, 3 are supported"
                )
            raise Refused(
                f"shape {list(shape)}: dimensions before the last three must be 1 (the batch)"
            )
        height, width, channels = shape[-3:]
        return (height, width, channels), (
            *((),) * (len(shape) - 3),
            (HEIGHT,),
            (WIDTH,),
            (CHANNELS,),
        )
    if len(shape) == 3:
        if shape[0] == 1:
            return (shape[1], 1, shape[2]), ((WIDTH,), (HEIGHT,), (CHANNELS,))
        return (shape[0], shape[1], shape[2]), ((HEIGHT,), (WIDTH,), (CHANNELS,))
    if len(shape) == 2:
        return (shape[0], 1, shape[1]), ((HEIGHT,), (CHANNELS,))
    return (1, 1, prod(shape)), ((CHANNELS,),) * len(shape)


def check_batch(shape: tuple[int, ...]) -> None:
    """Raises: Refused: the shape of a model's input or output has a batch of several."""
    if len(shape) == 4 and shape[0] > 1:
        raise Refused(f"shape {list(shape)} has a batch of {shape[0]}, 1 is supported")


def regroup(view: AnyView, shape: tuple[int, ...]) -> AnyView | None:
    """The view under another shape if its dimensions are runs of stored axes or of pieces of such,
    else None."""
    whole = in_pieces(view)
    rest = [(number, whole.sizes[number]) for number in whole.order()]
    parts: list[list[int]] = [[] for _ in whole.sizes]
    groups: list[list[tuple[int, int]]] = []
    for n in shape:
        group: list[tuple[int, int]] = []
        while n > 1:
            if not rest:
                return None
            number, size = rest.pop(0)
            if n % size and size % n:
                return None
            part = min(n, size)
            group.append((number, len(parts[number])))
            parts[number].append(part)
            n //= part
            if size > part:
                rest.insert(0, (number, size // part))
        groups.append(group)
    first = [sum(len(p) for p in parts[:number]) for number in range(len(parts))]
    sizes = tuple(size for p in parts for size in p)
    numbers = tuple(tuple(first[number] + i for number, i in group) for group in groups)
    return regrouped(Pieces(view.tensor, shape, view.storage, sizes, numbers))


def axes_of(view: Pieces) -> list[Axis]:
    """The stored axis of each piece."""
    owners: list[Axis] = []
    for axis in Axis:
        rest = view.storage[axis]
        while rest > 1:
            rest //= view.sizes[len(owners)]
            owners.append(axis)
    return owners


def regrouped(view: AnyView) -> AnyView:
    """The same as a View if its dimensions run over whole axes."""
    if isinstance(view, View):
        return view
    owners, axes = axes_of(view), []
    for group in view.numbers:
        named, left = [], list(group)
        while left:
            axis = owners[left[0]]
            whole = [number for number, owner in enumerate(owners) if owner == axis]
            if left[: len(whole)] != whole:
                return view
            named.append(axis)
            del left[: len(whole)]
        axes.append(tuple(named))
    return View(view.tensor, view.shape, view.storage, tuple(axes))
