# SPDX-License-Identifier: Apache-2.0
"""The stages that a plan may use: every operator alone, and every bottleneck."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from narrows.errors import PlanError
from narrows.graph.qgraph import Elementwise, QDepthwise, QElementwise, QGraph
from narrows.plan.fusion import Bottleneck, bottleneck, is_pointwise
from narrows.plan.layout import Candidate, candidate
from narrows.plan.plan import Stage


@dataclass(frozen=True)
class Tiling:
    """How inverted residuals are cut, if they are to be tiled.

    slice: channels at a time; 0: all.
    row_tile, col_tile: output rows and columns at a time; 0: one row, all columns.
    """

    slice: int = 0
    row_tile: int = 0
    col_tile: int = 0


@dataclass(frozen=True, eq=False)
class Wiring:
    """Who reads and who writes each tensor of a graph (operator indices)."""

    graph: QGraph
    readers: dict[int, list[int]] = field(default_factory=dict)
    writer: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for index, op in enumerate(self.graph.ops):
            self.writer[op.output] = index
            for tensor in dict.fromkeys(op.inputs):
                self.readers.setdefault(tensor, []).append(index)

    def only_reader(self, tensor: int) -> int | None:
        """The one operator that reads a tensor which nothing else needs."""
        readers = self.readers.get(tensor, [])
        if len(readers) != 1 or any(edge.tensor == tensor for edge in self.graph.outputs):
            return None
        return readers[0]


def fusions(graph: QGraph) -> Iterator[tuple[int, ...]]:
    """Every group of operators that a bottleneck can be, in order of the depthwise."""
    wiring = Wiring(graph)
    for index, op in enumerate(graph.ops):
        if not isinstance(op, QDepthwise) or op.depth_multiplier != 1 or op.dilation != (1, 1):
            continue
        before = wiring.writer.get(op.inputs[0])
        expand: tuple[tuple[int, ...], ...] = ((),)
        alone = wiring.only_reader(op.inputs[0]) == index
        if alone and before is not None and is_pointwise(graph.ops[before]):
            expand = ((), (before,))
        after = wiring.only_reader(op.output)
        if after is not None and not is_pointwise(graph.ops[after]):
            after = None
        for start in expand:
            if start:
                yield (*start, index)
            if after is None:
                continue
            group = (*start, index, after)
            yield group
            residual = wiring.only_reader(graph.ops[after].output)
            if residual is not None and _adds(graph, group, residual):
                yield (*group, residual)


def _adds(graph: QGraph, group: tuple[int, ...], residual: int) -> bool:
    op = graph.ops[residual]
    if not isinstance(op, QElementwise) or op.function != Elementwise.ADD:
        return False
    try:
        bottleneck(graph, (*group, residual))
    except PlanError:
        return False
    return True


class Candidates:
    """Sized stages, made once each."""

    def __init__(self, graph: QGraph, isa: int = 0, tiling: Tiling | None = None) -> None:
        self.graph = graph
        self.isa = isa
        self.tiling = tiling
        self._made: dict[tuple[Stage, bool], Candidate] = {}
        self._best: dict[tuple[int, ...], Candidate] = {}

    def make(self, stage: Stage, accumulate: bool = True) -> Candidate:
        """A stage, sized. accumulate: whether an average pool adds up row by row."""
        key = (stage, accumulate)
        if key not in self._made:
            self._made[key] = candidate(self.graph, stage, self.isa, accumulate)
        return self._made[key]

    def single(self, index: int) -> Candidate:
        """An operator alone, as it needs least."""
        if (index,) not in self._best:
            options = [self.make(Stage((index,)), accumulate) for accumulate in (True, False)]
            self._best[(index,)] = min(options, key=lambda c: c.steady_bytes)
        return self._best[(index,)]

    def fused(self, ops: tuple[int, ...]) -> Candidate:
        """The bottleneck of ``ops`` that computes nothing twice and needs least scratch; as
        ``tiling`` says, if that is set."""
        if ops not in self._best:
            self._best[ops] = self._fused(ops)
        return self._best[ops]

    def _fused(self, ops: tuple[int, ...]) -> Candidate:
        parts = bottleneck(self.graph, ops)
        mid = parts.depthwise.weights.shape[2]
        out = self.graph.tensors[parts.output]
        if self.tiling:
            slice_ = min(self.tiling.slice or mid, mid)
            rows = min(self.tiling.row_tile or 1, out.height)
            columns = min(self.tiling.col_tile or out.width, out.width)
            return self.make(Stage(ops, False, slice_, rows, columns))
        options = self.widths(Stage(ops, can_roll(parts), mid))
        return min(options, key=lambda c: (c.stage.scratch.bytes, -c.stage.col_tile))

    def widths(self, stage: Stage) -> list[Candidate]:
        """A bottleneck with every tile width that computes nothing twice, narrow ones first.

        A tile that starts anew repeats columns of an expansion, unless the stage rolls or
        windows do not overlap.
        """
        parts = bottleneck(self.graph, stage.ops)
        width = self.graph.tensors[parts.output].width
        apart = parts.depthwise.weights.shape[1] <= parts.depthwise.stride[1]
        free = stage.rolling or parts.expand is None or apart
        tiles = {-(-width // count) for count in range(1, width + 1)} if free else {width}
        return [self.make(replace(stage, col_tile=tile)) for tile in sorted(tiles)]


def can_roll(parts: Bottleneck) -> bool:
    """Whether a bottleneck may keep expanded rows (runtime/SPEC.md, "Rolling")."""
    overlap = parts.depthwise.weights.shape[0] >= parts.depthwise.stride[0]
    return parts.expand is not None and overlap
