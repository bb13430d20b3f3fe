# SPDX-License-Identifier: Apache-2.0
"""The stages that a plan may use: every operator alone, and every bottleneck."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace

import numpy as np

from narrows.errors import PlanError
from narrows.graph.qgraph import (
    Elementwise,
    QConv,
    QDepthwise,
    QElementwise,
    QGraph,
    QOp,
    QTensor,
)
from narrows.native import Form, Layout
from narrows.planning.cost import reads_window
from narrows.planning.plan import PORTABLE
from narrows.planning.timeline import Candidate, candidate
from narrows.stages.firings import stage_firings
from narrows.stages.forms import forms_of, frame, least_strip
from narrows.stages.fusion import Bottleneck, bottleneck, is_pointwise
from narrows.stages.stage import Extent, Stage


@dataclass(frozen=True)
class Tiling:
    """How inverted residuals are cut, if they are to be tiled.

    slice: channels at a time; 0: all.
    row_tile, col_tile: output rows and columns at a time; 0: one row, all columns.
    """

    slice: int = 0
    row_tile: int = 0
    col_tile: int = 0


@dataclass(frozen=True)
class Guess:
    """How a search sees strips.

    is_uneven: whether short ones need not divide the width.
    ahead: what share of the pixels that a firing gives, but for one, is taken to be room that the
        ring needs beside its readers' windows. In truth that depends on the strips of these.
    """

    is_uneven: bool = False
    ahead: float = 1.0


EVEN = Guess()
UNEVEN = (Guess(True, 0.5), Guess(True, 0.0))
"""Further guesses. Of those from 0 to 1 that were tried these two found the cheapest plans for
MLPerf Tiny's keyword spotting: 0.5 for Cortex-M4 and M55, 0 for Cortex-M3."""
LEAN = Guess(False, 0.0)
"""What else a large network is searched with that has a budget: there are more ways to it than one
search follows. MobileNetV2 on a Cortex-M55 takes 4% less by it."""


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
        if len(readers) != 1 or tensor in self.graph.ends:
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
        if alone and before is not None and _expands(graph.ops[before]):
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


def _expands(op: QOp) -> bool:
    return isinstance(op, QConv) and op.dilation == (1, 1)


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
    """Sized stages, made once each.

    recompute: whether stages may compute elements twice.
    tiling: the one way in which inverted residuals are cut, if that is prescribed.
    guess: what else strips may be, and what they are taken to need.
    """

    def __init__(
        self,
        graph: QGraph,
        layout: Layout = Layout.PLAIN,
        recompute: bool = False,
        tiling: Tiling | None = None,
        kernels: str = PORTABLE,
        guess: Guess = EVEN,
    ) -> None:
        self.graph = graph
        self.layout = layout
        self.kernels = kernels
        self.recompute = recompute
        self.tiling = tiling
        self.guess = guess
        self.strips = strips if guess.is_uneven else divisors
        self._made: dict[Stage, Candidate] = {}
        self._options: dict[tuple[int, ...], tuple[Candidate, ...]] = {}
        self._first: dict[Hashable, tuple[int, ...]] = {}
        self._wiring = Wiring(graph)

    def make(self, stage: Stage) -> Candidate:
        """A stage, sized."""
        if stage not in self._made:
            self._made[stage] = candidate(
                self.graph, stage, self.layout, self.kernels, self.guess.ahead
            )
        return self._made[stage]

    def options(self, ops: tuple[int, ...]) -> tuple[Candidate, ...]:
        """Every way to run one operator, or several as a bottleneck, that no other way beats in
        each respect, the cheapest first."""
        if ops not in self._options:
            first = self._first.setdefault(self._shape(ops), ops)
            if first != ops:
                self._options[ops] = tuple(self._moved(c, ops) for c in self._options[first])
                return self._options[ops]
            found = undominated(self._single(ops) if len(ops) == 1 else self._fused(ops))
            if len(ops) == 1 and not found:
                name = self.graph.tensors[self.graph.ops[ops[0]].output].name
                raise PlanError(f"tensor {name}: more than {MAX_FIRINGS} rows; shrink the input")
            self._options[ops] = found
        return self._options[ops]

    def _tensors(self, ops: tuple[int, ...]) -> list[int]:
        """What operators read and write, each tensor once."""
        some = (self.graph.ops[index] for index in ops)
        return list(dict.fromkeys(tensor for op in some for tensor in (*op.inputs, op.output)))

    def _shape(self, ops: tuple[int, ...]) -> Hashable:
        """Everything about operators that makes a difference to their stages: those with equal
        ones have the same options."""
        tensors = self._tensors(ops)
        found: list[Hashable] = []
        for index in ops:
            op = self.graph.ops[index]
            found.append((op.kind, *map(tensors.index, op.inputs), tensors.index(op.output)))
            for part in fields(op):
                value = getattr(op, part.name)
                if part.name == "weights":
                    found.append(value.shape)
                elif part.name not in _VALUES:
                    found.append(value.tobytes() if isinstance(value, np.ndarray) else value)
        for tensor in tensors:
            info = self.graph.tensors[tensor]
            found.append((info.height, info.width, info.channels, info.data is None))
            readers = (self.graph.ops[i] for i in self._wiring.readers.get(tensor, ()))
            found.append(tuple(sorted(reads_window(op) for op in readers)))
        return tuple(found)

    def _moved(self, c: Candidate, ops: tuple[int, ...]) -> Candidate:
        """The same stage of other operators of the same shape."""
        tensors = dict(zip(self._tensors(c.stage.ops), self._tensors(ops), strict=True))
        inputs = tuple(tensors[tensor] for tensor in c.firings.inputs)
        firings = replace(c.firings, inputs=inputs, output=tensors[c.firings.output])
        return replace(c, stage=replace(c.stage, ops=ops), firings=firings)

    def _single(self, ops: tuple[int, ...]) -> Iterator[Candidate]:
        op = self.graph.ops[ops[0]]
        for form in forms_of(self.graph, op):
            through = frame(self.graph, ops, form)
            rows = 2 * through.height + 1 if form is Form.FOLDED else through.height
            for strip in self.strips(through.width, least_strip(self.graph, op, form), rows):
                yield self.make(Stage(ops, strip, form))

    def _fused(self, ops: tuple[int, ...]) -> Iterator[Candidate]:
        parts = bottleneck(self.graph, ops)
        mid = parts.depthwise.weights.shape[2]
        out = self.graph.tensors[parts.output]
        if self.tiling:
            slice_ = min(self.tiling.slice or mid, mid)
            rows = min(self.tiling.row_tile or 1, out.height)
            columns = min(self.tiling.col_tile or out.width, out.width)
            yield self.make(Stage(ops, out.width, Form.TILED, slice_, rows, columns))
            return
        if can_roll(parts):
            overlap = parts.depthwise.weights.shape[0] - parts.depthwise.stride[0]
            for kept in range(0 if self.recompute else overlap, overlap + 1):
                for strip in self.strips(
                    out.width, 1, out.height + parts.depthwise.weights.shape[0]
                ):
                    tiles = tile_widths(out.width) if strip == out.width else (strip,)
                    for tile in tiles:
                        yield self.make(Stage(ops, strip, Form.ROLLING, mid, 1, tile, kept))
        for stage in self._tiled(ops, mid, out, parts.expand is not None):
            if self.recompute or stage_firings(self.graph, stage).is_exact:
                yield self.make(stage)

    def _tiled(
        self, ops: tuple[int, ...], mid: int, out: QTensor, is_expanded: bool
    ) -> Iterator[Stage]:
        for slice_ in sorted({mid, max(SLICE, mid // 4), SLICE}):
            if slice_ > mid:
                continue
            some = divisors if is_expanded else self.strips
            for strip in some(out.width, 1, out.height):
                yield Stage(ops, strip, Form.TILED, slice_, 1, strip)
            for rows in ROW_TILES:
                for parts in COLUMN_TILES:
                    if rows <= out.height and (rows > 1 or parts > 1):
                        tile = -(-out.width // parts)
                        yield Stage(ops, out.width, Form.TILED, slice_, rows, tile)

    def widths(self, c: Candidate) -> list[Candidate]:
        """A bottleneck with every tile width that computes as much, narrow ones first."""
        stage = c.stage
        made = [
            self.make(replace(stage, col_tile=tile, state=Extent(), scratch=Extent()))
            for tile in tile_widths(stage.strip)
        ]
        macs = int(c.firings.macs.sum())
        same = [m for m in made if int(m.firings.macs.sum()) == macs]
        return [m for m in same if m.stage.state.bytes == stage.state.bytes]


_VALUES = {
    *("inputs", "output", "bias", "multiplier", "shift", "act_min", "act_max"),
    *("left_shift", "a", "b", "out", "table", "name", "value"),
}
"""Fields of operators of which stages do not depend, or that are looked at by themselves."""

SLICE = 16
"""Channels of the narrowest slices that are worth a try: narrower ones save little, and of plans
that compute nothing twice neither half nor twice as many change one."""

ROW_TILES = (1, 2, 4, 7)
"""Heights of tiles that are worth a try: each halo row is shared by so many output rows."""

COLUMN_TILES = (1, 2, 4, 8)
"""Into how many tiles a row is cut that is given as a whole."""

SHORT = (2, 3, 4)
"""Strips that need not divide the width: kernels take pixels by twos, threes and fours."""

FEW = 32
"""Operators of a network whose searches take a second or less."""

MAX_FIRINGS = 65535
"""Firings of a stage that the runtime counts."""


def divisors(width: int, least: int, rows: int) -> list[int]:
    """Strips from ``least`` on that divide the width and whose firings can be counted."""
    return [strip for strip in countable(width, least, rows) if width % strip == 0]


def strips(width: int, least: int, rows: int) -> list[int]:
    """As ``divisors``, and short ones that leave a shorter one at the end of each row."""
    few = tile_widths(width)
    return [
        strip
        for strip in countable(width, least, rows)
        if width % strip == 0 or (strip in few and strip in SHORT)
    ]


def guesses(graph: QGraph, is_bounded: bool) -> tuple[Guess, ...]:
    """The guesses that are worth a search. is_bounded: whether there is a budget, and time."""
    if not is_bounded:
        return (EVEN,)
    if len(graph.ops) > FEW:
        return EVEN, LEAN
    every, odd = 0, 0
    for op in graph.ops:
        if isinstance(op, (QConv, QDepthwise)):
            out = graph.tensors[op.output]
            products = out.height * out.width * int(op.weights.size)
            every += products
            odd += products * (out.width > max(SHORT) and all(out.width % n for n in SHORT))
    return (EVEN, *UNEVEN) if 2 * odd > every else (EVEN,)


def countable(width: int, least: int, rows: int) -> Iterator[int]:
    """Strips from ``least`` on of which the firings of so many rows can be counted."""
    return (n for n in range(least, width + 1) if -(-width // n) * rows <= MAX_FIRINGS)


def tile_widths(width: int) -> list[int]:
    """Widths that cut a row into equal parts, but for the last."""
    return sorted({-(-width // count) for count in range(1, width + 1)})


def undominated(ways: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Those for which no other has neither more bytes nor more cost; of those that compute
    nothing twice, for which no other such has."""
    found: list[Candidate] = []
    for c in sorted(ways, key=lambda c: (c.cost, c.steady_bytes + c.working_bytes)):
        beaten = any(
            f.steady_bytes <= c.steady_bytes
            and f.working_bytes <= c.working_bytes
            and (f.exact or not c.exact)
            for f in found
        )
        if not beaten:
            found.append(c)
    return tuple(found)


def can_roll(parts: Bottleneck) -> bool:
    """Whether a bottleneck may keep expanded rows (runtime/SPEC.md, "Rolling")."""
    overlap = parts.depthwise.weights.shape[0] >= parts.depthwise.stride[0]
    return parts.expand is not None and overlap
