# SPDX-License-Identifier: Apache-2.0
"""Watch a float network at work and say which range each of its tensors needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from narrows.errors import InputError
from narrows.graph.graph import Graph
from narrows.jobs import in_order
from narrows.quantization.float_model import FloatArray, FloatModel, Sample

Ranges: TypeAlias = Mapping[int, tuple[float, float]]
"""(least, most) real value to represent, by tensor; of inputs and operators' outputs."""


class Observer(Protocol):
    """Sees one tensor, and keeps a summary of bounded size."""

    def update(self, values: FloatArray) -> None:
        """One more sample. values: [height, width, channels], finite; not to be kept."""
        ...

    def add(self, later: Any) -> None:
        """What another one of this kind has seen in samples behind these."""
        ...

    def range(self) -> tuple[float, float]:
        """(least, most) real value to represent; least <= most."""
        ...


AnyObserver = TypeVar("AnyObserver", bound=Observer)
MakeObserver: TypeAlias = Callable[[Graph, int], Observer]
"""An observer for a tensor of a network; so the choice may differ from tensor to tensor."""


class MinMax:
    """The extremes that were seen."""

    def __init__(self) -> None:
        self._least, self._most = np.inf, -np.inf

    def update(self, values: FloatArray) -> None:
        """See Observer."""
        self._least = min(self._least, float(values.min()))
        self._most = max(self._most, float(values.max()))

    def add(self, later: MinMax) -> None:
        """See Observer."""
        self._least, self._most = min(self._least, later._least), max(self._most, later._most)

    def range(self) -> tuple[float, float]:
        """See Observer."""
        return self._least, self._most


def min_max(graph: Graph, tensor: int) -> Observer:
    """The extremes of every tensor."""
    return MinMax()


def calibrate(
    graph: Graph,
    samples: Iterable[Sample],
    observer: MakeObserver = min_max,
    progress: Callable[[int], None] | None = None,
) -> Ranges:
    """Run samples through a float network. Arguments and errors: as observe."""
    watching = observe(graph, samples, observer, progress)
    return {tensor: watch.range() for tensor, watch in watching.items()}


def observe(
    graph: Graph,
    samples: Iterable[Sample],
    observer: Callable[[Graph, int], AnyObserver],
    progress: Callable[[int], None] | None = None,
    jobs: int = 1,
) -> dict[int, AnyObserver]:
    """What watched each input and every operator's output, but not what is true of them.

    Each sample has observers of its own, which are added up in the samples' order: so the result
    does not depend on the number of jobs, not by a bit.

    Args:
        samples: read once, one at a time; a few more than there are jobs are in memory.
        jobs: how many threads run samples.
        progress: called with the number of samples that have been seen.

    Raises:
        InputError: no samples, or one that does not fit, is not finite, or overflows inside.
        ModelError: the network is not float.
    """
    model = FloatModel(graph)

    def run(numbered: tuple[int, Sample]) -> dict[int, AnyObserver]:
        number, sample = numbered
        seen: dict[int, AnyObserver] = {}

        def watch(tensor: int, values: FloatArray) -> None:
            if not graph.tensors[tensor].is_real:
                return
            if not np.isfinite(values).all():
                raise InputError(
                    f"{graph.name}: calibration sample {number} gives NaN or infinite values in "
                    f"{graph.tensors[tensor].name}"
                )
            seen[tensor] = observer(graph, tensor)
            seen[tensor].update(values)

        with np.errstate(over="ignore", invalid="ignore"):
            model.run(sample, watch)
        return seen

    observers: dict[int, AnyObserver] = {}
    count = 0
    for seen in in_order(run, enumerate(samples), jobs):
        for tensor, watched in seen.items():
            if count == 0:
                observers[tensor] = watched
            else:
                observers[tensor].add(watched)
        count += 1
        if progress is not None:
            progress(count)
    if count == 0:
        raise InputError(f"{graph.name}: no calibration samples; quantization needs at least one")
    return observers
