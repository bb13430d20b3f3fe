# SPDX-License-Identifier: Apache-2.0
"""Views: how a model's tensor of any rank and order stands in a [height, width, channels] one.

RESHAPE, SQUEEZE, EXPAND_DIMS and TRANSPOSE move no bytes here: they only change which axes of
the stored tensor a dimension of the model's tensor stands for. A reader that needs the
plain NHWC order asks for it, and only then may bytes have to be relabelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from narrows.graph.qgraph import Axis

HEIGHT, WIDTH, CHANNELS = Axis


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

    def on(self, tensor: int, storage: tuple[int, int, int]) -> View:
        """The same layout over another tensor whose axes may have other sizes."""
        shape = tuple(
            prod(storage[a] for a in group) if group else n
            for n, group in zip(self.shape, self.axes, strict=True)
        )
        return View(tensor, shape, storage, self.axes)


def standard(shape: tuple[int, ...]) -> tuple[tuple[int, int, int], tuple[tuple[Axis, ...], ...]]:
    """Storage and axes of a tensor that has no layout yet: NHWC, short ranks by rows.

    Raises:
        ValueError: more than three dimensions longer than 1, or a batch.
    """
    if len(shape) > 4:
        if any(n > 1 for n in shape[:-3]):
            raise ValueError(f"shape {list(shape)} has more than [1, height, width, channels]")
        storage, axes = standard(shape[-4:])
        return storage, ((),) * (len(shape) - 4) + axes
    if len(shape) == 4:
        if shape[0] != 1:
            raise ValueError(f"shape {list(shape)} has a batch of {shape[0]}, 1 is supported")
        return (shape[1], shape[2], shape[3]), ((), (HEIGHT,), (WIDTH,), (CHANNELS,))
    if len(shape) == 3:
        if shape[0] == 1:
            return (shape[1], 1, shape[2]), ((WIDTH,), (HEIGHT,), (CHANNELS,))
        return (shape[0], shape[1], shape[2]), ((HEIGHT,), (WIDTH,), (CHANNELS,))
    if len(shape) == 2:
        return (shape[0], 1, shape[1]), ((HEIGHT,), (CHANNELS,))
    return (1, 1, prod(shape)), ((CHANNELS,),) * len(shape)


def regroup(view: View, shape: tuple[int, ...]) -> View | None:
    """The view under another shape if its dimensions are runs of stored axes, else None."""
    rest = list(view.order())
    axes: list[tuple[Axis, ...]] = []
    for n in shape:
        group: list[Axis] = []
        while n > 1 and rest and n % view.storage[rest[0]] == 0:
            n //= view.storage[rest[0]]
            group.append(rest.pop(0))
        if n > 1:
            return None
        axes.append(tuple(group))
    return View(view.tensor, shape, view.storage, tuple(axes))
