# SPDX-License-Identifier: Apache-2.0
"""The shortest rings with which given stages do not stall."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from narrows.errors import PlanError
from narrows.plan.firing import Pixels
from narrows.plan.schedule import Network, Schedule


def needed_pixels(net: Network) -> dict[int, int]:
    """Pixels that each ring needs at least: from the lowest that one firing of a reader needs
    to the highest that is there when all that the firing needs is."""
    producers = {s.output: number for number, s in enumerate(net.stages) if s.output >= 0}
    pixels = {tensor: net.stages[number].gives_most for tensor, number in producers.items()}
    for number, reader in enumerate(net.stages):
        demand = _demand(net, number, producers) if len(set(reader.inputs)) > 1 else {}
        for i, tensor in enumerate(reader.inputs):
            highest = demand.get(tensor, reader.hi[i])
            given = net.stages[producers[tensor]].given
            there = given[np.searchsorted(given, highest)]
            pixels[tensor] = max(pixels[tensor], int((there - reader.lo[i]).max()))
    return {tensor: whole_units(net, tensor, count) for tensor, count in pixels.items()}


def whole_units(net: Network, tensor: int, pixels: int) -> int:
    """The least capacity from ``pixels`` on that a ring may have."""
    unit = net.units[tensor]
    return min(-(-pixels // unit) * unit, net.pixels[tensor])


def _demand(net: Network, number: int, producers: Mapping[int, int]) -> dict[int, Pixels]:
    """Per tensor, the pixels that must have been produced before each firing of a stage."""
    demand: dict[int, Pixels] = {}

    def ask(tensor: int, pixels: Pixels) -> None:
        known = demand.get(tensor)
        demand[tensor] = pixels if known is None else np.maximum(known, pixels)

    for i, tensor in enumerate(net.stages[number].inputs):
        ask(tensor, net.stages[number].hi[i])
    # What comes before all that the stage reads says nothing about it.
    first = min(producers[tensor] for tensor in net.stages[number].inputs)
    for stage in reversed(net.stages[first:number]):
        pixels = demand.get(stage.output)
        if pixels is not None and stage.inputs:
            firing = stage.births(np.maximum(pixels, 1) - 1)
            for i, tensor in enumerate(stage.inputs):
                ask(tensor, np.where(pixels > 0, np.maximum.accumulate(stage.hi[i])[firing], 0))
    return demand


def least_capacities(
    net: Network, whole: frozenset[int], channels: Mapping[int, int]
) -> tuple[dict[int, int], Schedule]:
    """The shortest rings that do not stall: none can be shorter while the others stay.

    Where a short way and a long one meet, some ring on the short way must hold what waits for
    the long one: any that is full when the network stalls may be grown. Of those that are all
    grown together, and only the one nearest the output, what needs fewer bytes is taken.

    whole: tensors held whole. channels: bytes of a pixel of each tensor.

    Raises: PlanError: the network stalls with whole tensors even.
    """
    least = needed_pixels(net)
    for tensor, pixels in net.pixels.items():
        if tensor in whole or tensor in net.held or not net.readers[tensor]:
            least[tensor] = pixels
    if not net.blocked(least):
        return least, net.simulate(least)
    found = [_grown(net, least, channels, last) for last in (False, True)]
    best = min(found, key=lambda f: sum(n * channels[t] for t, n in f.items()))
    return best, net.simulate(best)


def _grown(
    net: Network, least: Mapping[int, int], channels: Mapping[int, int], last: bool
) -> dict[int, int]:
    """Rings grown from ``least`` on until nothing stalls; then what grew in vain is taken back.

    last: grow only the full ring nearest the output, not all that are full.
    """
    capacities = dict(least)
    blocked = net.blocked(capacities)
    while blocked:
        grown = [t for t in blocked if capacities[t] < net.pixels[t]]
        if not grown:
            raise PlanError("the network stalls with every tensor whole")
        for tensor in grown[-1:] if last else grown:
            more = capacities[tensor] + max(1, capacities[tensor] // (3 if last else 8))
            capacities[tensor] = whole_units(net, tensor, more)
        blocked = net.blocked(capacities, is_begun=True)
    changed = [tensor for tensor in capacities if capacities[tensor] > least[tensor]]
    for tensor in sorted(changed, key=lambda t: -capacities[t] * channels[t]):
        unit = net.units[tensor]
        low, high = -(-least[tensor] // unit), -(-capacities[tensor] // unit)
        while low < high:  # longer rings never stall where shorter ones do not
            middle = (low + high) // 2
            if net.blocked({**capacities, tensor: whole_units(net, tensor, middle * unit)}):
                low = middle + 1
            else:
                high = middle
        capacities[tensor] = whole_units(net, tensor, high * unit)
    return capacities
