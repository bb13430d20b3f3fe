# SPDX-License-Identifier: Apache-2.0
"""The order in which the engine fires, and from it when every pixel lives and dies.

The rule is runtime/SPEC.md's "Firing": of all stages that can fire, the one with the
smallest number does. Capacities alone decide what streams and what waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from narrows.graph.qgraph import QGraph
from narrows.native import load
from narrows.planning.plan import Plan
from narrows.stages.firings import (
    Firings,
    Pixels,
    input_firings,
    input_strips,
    output_firings,
    stage_firings,
)


@dataclass(frozen=True, eq=False)
class Network:
    """The stages of a plan as the engine numbers them: inputs, planned stages, outputs.

    pixels: of every tensor that lives in the arena.
    widths: of the same.
    held: tensors that stay to the end (outputs that are not streamed, what variables become).
    """

    stages: tuple[Firings, ...]
    pixels: Mapping[int, int]
    widths: Mapping[int, int]
    held: frozenset[int]

    @cached_property
    def readers(self) -> dict[int, list[tuple[int, int]]]:
        """Per tensor, its readers: (stage, which of the stage's inputs)."""
        readers: dict[int, list[tuple[int, int]]] = {tensor: [] for tensor in self.pixels}
        for number, stage in enumerate(self.stages):
            for i, tensor in enumerate(stage.inputs):
                readers[tensor].append((number, i))
        return readers

    @cached_property
    def units(self) -> dict[int, int]:
        """Per tensor, what its capacity is a multiple of unless it is whole: strips, where all of
        a row are as long, and rows where a reader wants whole ones."""
        units = {}
        for stage in self.stages:
            if stage.output >= 0:
                width = self.widths[stage.output]
                strip = min(stage.gives_most, width)
                units[stage.output] = strip if width % strip == 0 else 1
        for stage in self.stages:
            for tensor, segment in zip(stage.inputs, stage.segments, strict=True):
                if segment == 0:
                    units[tensor] = self.widths[tensor]
        return units

    @cached_property
    def _native(self) -> tuple[Any, Any, Any, list[Any]]:
        """(stages, tensors, times) for the C code, and what keeps their arrays alive."""
        ffi, _ = load()
        numbers = {tensor: i for i, tensor in enumerate(self.pixels)}
        stages = ffi.new("struct plan_stage[]", len(self.stages))
        tensors = ffi.new("struct plan_tensor[]", max(1, len(numbers)))
        alive: list[Any] = [numbers]

        def array(values: Pixels) -> Any:
            alive.append(values := np.ascontiguousarray(values, np.int32))
            return ffi.cast("int32_t *", values.ctypes.data)

        times = np.zeros(sum(stage.count for stage in self.stages), np.int32)
        at = 0
        for number, stage in enumerate(self.stages):
            record = stages[number]
            record.firings = stage.count
            record.output = numbers[stage.output] if stage.output >= 0 else -1
            record.input_count = len(stage.inputs)
            record.given = array(stage.given)
            record.times = array(times[at : at + stage.count])
            at += stage.count
            for i, tensor in enumerate(stage.inputs):
                record.inputs[i] = numbers[tensor]
                record.lo[i], record.hi[i] = array(stage.lo[i]), array(stage.hi[i])
            if stage.output >= 0:
                tensors[numbers[stage.output]].producer = number
        for tensor, i in numbers.items():
            readers = sorted({number for number, _ in self.readers[tensor]})
            tensors[i].pixels = self.pixels[tensor]
            tensors[i].reader_count = len(readers)
            tensors[i].readers = array(np.array(readers, np.int32))
        return stages, tensors, times, alive

    def simulate(self, capacities: Mapping[int, int]) -> Schedule:
        """Fire all stages as the engine does.

        capacities: pixels of every tensor's ring.
        """
        ffi, lib = load()
        stages, tensors, times, _ = self._native
        for i, tensor in enumerate(self.pixels):
            tensors[i].capacity = capacities[tensor]
        order = np.zeros(len(times), np.int32)
        awake = np.zeros(len(self.stages), np.uint8)
        count = lib.plan_schedule(
            stages, len(self.stages), tensors, len(self.pixels),
            ffi.cast("int32_t *", order.ctypes.data), ffi.cast("uint8_t *", awake.ctypes.data),
        )  # fmt: skip
        if count == len(times):
            bounds = np.cumsum([stage.count for stage in self.stages])[:-1]
            return Schedule(order, tuple(np.split(times.copy(), bounds)))
        return Schedule(order[:count], (), self._blocked())

    def blocked(self, capacities: Mapping[int, int], is_begun: bool = False) -> tuple[int, ...]:
        """Whether it stalls: ``Schedule.blocked``, or nothing.

        is_begun: go on from where the last call has ended, with rings that have grown since.
        """
        _, lib = load()
        stages, tensors, *_ = self._native
        for i, tensor in enumerate(self.pixels):
            tensors[i].capacity = capacities[tensor]
        left = lib.plan_drain(stages, len(self.stages), tensors, len(self.pixels), is_begun)
        return self._blocked() if left else ()

    def _blocked(self) -> tuple[int, ...]:
        stages, tensors, *_ = self._native
        fired = [stages[number].fired for number in range(len(self.stages))]
        produced = {tensor: tensors[i].produced for i, tensor in enumerate(self.pixels)}
        return tuple(
            stage.output
            for stage, f in zip(self.stages, fired, strict=True)
            if f < stage.count
            and all(produced[t] >= hi[f] for t, hi in zip(stage.inputs, stage.hi, strict=True))
        )


@dataclass(frozen=True, eq=False)
class Schedule:
    """order: the stage of every firing.
    times: per stage, when each of its firings happens (index into order); empty if stalled.
    blocked: (if stalled) tensors whose full ring kept a stage with all its input from firing.
    """

    order: Pixels
    times: tuple[Pixels, ...]
    blocked: tuple[int, ...] = ()

    @property
    def stalled(self) -> bool:
        """Whether no stage could fire although some had not finished."""
        return not self.times


def network(
    graph: QGraph,
    planned: Sequence[Firings],
    streamed: Sequence[int],
    strips: Sequence[int] = (),
) -> Network:
    """The network of planned stages. streamed: indices of outputs handed out by rows.
    strips: as in ``Plan.input_strips``."""
    tensors = dict.fromkeys(graph.outputs[i].tensor for i in streamed)
    taken = zip(graph.inputs, input_strips(graph, strips), strict=True)
    stages = (
        *(input_firings(graph, edge.tensor, strip) for edge, strip in taken),
        *planned,
        *(output_firings(graph, tensor) for tensor in tensors),
    )
    held = graph.sources | (graph.ends - tensors.keys())
    return network_of(graph, stages, held)


def network_of(graph: QGraph, stages: tuple[Firings, ...], held: frozenset[int]) -> Network:
    """A network of these stages; of ``held`` only what they write."""
    written = [stage.output for stage in stages if stage.output >= 0]
    pixels = {t: graph.tensors[t].height * graph.tensors[t].width for t in written}
    widths = {t: graph.tensors[t].width for t in written}
    return Network(stages, pixels, widths, held & pixels.keys())


def plan_network(graph: QGraph, plan: Plan) -> Network:
    """The network of a finished plan."""
    planned = [stage_firings(graph, stage) for stage in plan.stages]
    return network(graph, planned, plan.streamed_outputs, plan.input_strips)
