# SPDX-License-Identifier: Apache-2.0
"""The shortest rings with which given stages do not stall."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from narrows.errors import PlanError
from narrows.planning.schedule import Network, Schedule
from narrows.stages.firings import Firings, Pixels


def needed_pixels(net: Network) -> dict[int, int]:
    """Pixels that each ring needs at least: from the lowest that one firing of a reader needs
    to the highest that is there when all that the firing needs is."""
    found = {}
    for number, stage in enumerate(net.stages):
        if stage.output < 0:
            continue
        pixels = stage.gives_most
        highest = _highest(net, number)
        for reader, which in net.readers[stage.output]:
            there = stage.given[np.searchsorted(stage.given, highest[reader])]
            pixels = max(pixels, int((there - net.stages[reader].lo[which]).max()))
        found[stage.output] = whole_units(net, stage.output, pixels)
    return found


def whole_units(net: Network, tensor: int, pixels: int) -> int:
    """The least capacity from ``pixels`` on that a ring may have."""
    unit = net.units[tensor]
    return min(-(-pixels // unit) * unit, net.pixels[tensor])


def _highest(net: Network, number: int) -> dict[int, Pixels]:
    """Per stage that reads what a stage writes, the pixels of it that must be there before each
    firing: what that needs itself, or what its other inputs have needed on their way."""
    source = net.stages[number].output
    found: dict[int, Pixels] = {}
    asked: dict[int, tuple[Firings, Pixels]] = {}  # by tensor: its producer, and before its firings
    for reader in range(number + 1, max((r for r, _ in net.readers[source]), default=number) + 1):
        stage = net.stages[reader]
        needs = []
        for tensor, hi in zip(stage.inputs, stage.hi, strict=True):
            if tensor == source:
                needs.append(hi)
            elif tensor in asked:
                producer, before = asked[tensor]
                needs.append(np.where(hi > 0, before[producer.births(np.maximum(hi, 1) - 1)], 0))
        if needs:
            highest = np.maximum.reduce(needs)
            found[reader] = highest
            asked[stage.output] = stage, np.maximum.accumulate(highest)
    return found


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
