# SPDX-License-Identifier: Apache-2.0
"""An independent proof that a plan is right.

Replays the plan firing by firing over a map of the arena that says of each byte whether it
lives, written from runtime/SPEC.md alone: it shares no code with the planner's simulator, so
that a mistake there does not repeat here. Nothing is ever written on a byte that lives, so
whatever a firing needs is still there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from narrows.errors import PlanError
from narrows.graph.moves import Move
from narrows.graph.qgraph import (
    Axis,
    QConcat,
    QConv,
    QDepthwise,
    QElementwise,
    QGraph,
    QMatMul,
    QMean,
    QOp,
    QPad,
    QPool,
    QResize,
)
from narrows.native import Form
from narrows.planning.plan import Plan
from narrows.stages.firings import outline
from narrows.stages.stage import Extent, Stage

Numbers = npt.NDArray[np.int64]

MAX_FIRINGS = 65535
MEMORY_SHIFT = 28
MEMORY_BYTES = (1 << MEMORY_SHIFT) - 16


def verify_plan(graph: QGraph, plan: Plan) -> None:
    """Prove that a plan computes its network within its arena.

    Raises: PlanError: it does not, and where.
    """
    _check_stages(graph, plan)
    actors = _actors(graph, plan)
    _check_rings(graph, plan, actors)
    _check_wrapping(graph, plan, actors)
    _check_arena(graph, plan)
    _Replay(graph, plan, actors).run()
    macs = sum(sum(actor.macs) for actor in actors)
    most = max(max(actor.macs) for actor in actors)
    if (macs, most) != (plan.macs, plan.max_step_macs):
        raise PlanError(
            f"the plan says {plan.macs} macs, at most {plan.max_step_macs} a step; "
            f"it is {macs} and {most}"
        )
    once = sum(_macs_once(graph, a.stage, sum(a.macs)) for a in actors if a.stage)
    if once != plan.macs_once:
        raise PlanError(f"the plan says {plan.macs_once} macs without repeats; it is {once}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise PlanError(f"invalid plan: {message}")


@dataclass
class _Actor:
    """A stage as the engine sees it, firing by firing.

    lo, hi: per input, the pixels that each firing needs.
    given: pixels of the output that are there after each firing.
    """

    name: str
    inputs: tuple[int, ...]
    output: int | None
    lo: list[list[int]]
    hi: list[list[int]]
    given: list[int]
    macs: list[int]
    stage: Stage | None = None
    strip: int = 0
    fired: int = field(default=0)

    @property
    def finished(self) -> bool:
        return self.fired == len(self.given)


def _actors(graph: QGraph, plan: Plan) -> list[_Actor]:
    actors = []
    strips = plan.input_strips
    _require(
        len(strips) in (0, len(graph.inputs)),
        f"input_strips has {len(strips)} entries for {len(graph.inputs)} inputs",
    )
    for number, edge in enumerate(graph.inputs):
        info, name = graph.tensors[edge.tensor], f"input {edge.name}"
        strip = strips[number] if strips else info.width
        _require(
            1 <= strip <= info.width and info.width % strip == 0,
            f"{name} takes {strip} pixels of {info.width} at a time",
        )
        _check_count(name, info.height * (info.width // strip))
        given = [
            row * info.width + end
            for row in range(info.height)
            for end in range(strip, info.width + 1, strip)
        ]
        actors.append(_Actor(name, (), edge.tensor, [], [], given, [0] * len(given), strip=strip))
    for number, stage in enumerate(plan.stages):
        actors.append(_stage_actor(graph, number, stage))
    for i in plan.streamed_outputs:
        _require(0 <= i < len(graph.outputs), f"there is no output {i} to stream")
    for tensor in dict.fromkeys(graph.outputs[i].tensor for i in plan.streamed_outputs):
        info = graph.tensors[tensor]
        lo = [row * info.width for row in range(info.height)]
        hi = [at + info.width for at in lo]
        name, none = f"output {info.name}", [0] * info.height
        actors.append(_Actor(name, (tensor,), None, [lo], [hi], none, none))
    for actor in actors:
        _check_count(actor.name, len(actor.given))
    return actors


def _check_count(name: str, firings: int) -> None:
    if firings > MAX_FIRINGS:
        raise PlanError(
            f"{name} fires {firings} times, more than the {MAX_FIRINGS} that the blob format "
            "has room for; give the model smaller inputs"
        )


def _check_stages(graph: QGraph, plan: Plan) -> None:
    done: list[int] = []
    written = {edge.tensor for edge in graph.inputs}
    written |= {i for i, tensor in enumerate(graph.tensors) if tensor.data is not None}
    for number, stage in enumerate(plan.stages):
        _require(bool(stage.ops), f"stage {number} is empty")
        inner: set[int] = set()
        for index in stage.ops:
            _require(0 <= index < len(graph.ops), f"stage {number}: no operator {index}")
            op = graph.ops[index]
            _require(
                all(t in written or t in inner for t in op.inputs),
                f"stage {number}: operator {index} reads what is not written yet",
            )
            inner.add(op.output)
            done.append(index)
        written.add(graph.ops[stage.ops[-1]].output)
        if len(stage.ops) > 1:
            _check_bottleneck(graph, stage, number)
        else:
            tiles = (stage.row_tile, stage.kept_rows)
            _require(tiles == (1, 0), f"stage {number}: a single operator has no tiles")
            _check_form(graph, graph.ops[stage.ops[0]], stage.form, number)
        _check_run(graph, stage, number)
    _require(sorted(done) == list(range(len(graph.ops))), "operators are missing or doubled")
    for tensor in graph.ends:
        name = graph.tensors[tensor].name
        _require(tensor in written, f"{name}, which is seen from outside, is hidden in a stage")


def _check_run(graph: QGraph, stage: Stage, number: int) -> None:
    op = graph.ops[stage.ops[0]]
    source = graph.tensors[op.inputs[0]]
    width = graph.tensors[graph.ops[stage.ops[-1]].output].width
    whole = _fires_rows(graph, stage) or stage.row_tile > 1
    if stage.form is Form.ACCUMULATING:
        if isinstance(op, QConv):
            whole = False
        elif isinstance(op, QPool):
            covers = op.kernel[0] - op.pad[0] >= source.height
            _require(
                op.function == "average" and covers and graph.tensors[op.output].height == 1,
                f"stage {number} cannot add up rows",
            )
            whole = width > 1 or op.pad[1] > 0 or op.kernel[1] < source.width
        else:
            whole = isinstance(op, QMean) and not op.over_width
        width = source.width
    _require(
        1 <= stage.strip <= width,
        f"stage {number}: its strip is {stage.strip} columns of {width}",
    )
    _require(not whole or stage.strip == width, f"stage {number} must fire by rows")
    _require(
        _may_be_cut(graph, stage) or width % stage.strip == 0,
        f"stage {number} expands anew for each of its strips, but {stage.strip} columns do not "
        f"divide {width}",
    )


def _check_bottleneck(graph: QGraph, stage: Stage, number: int) -> None:
    ops = [graph.ops[i] for i in stage.ops]
    kinds = [op.kind for op in ops]
    shapes = {
        ("conv", "depthwise"),
        ("depthwise", "conv"),
        ("conv", "depthwise", "conv"),
        ("depthwise", "conv", "elementwise"),
        ("conv", "depthwise", "conv", "elementwise"),
    }
    _require(tuple(kinds) in shapes, f"stage {number}: {kinds} is no bottleneck")
    depthwise = _depthwise(graph, stage)
    for a, b in pairwise(ops):
        _require(a.output in b.inputs, f"stage {number}: operators are not a chain")
    for op in ops:
        if isinstance(op, QConv):
            plain = op.weights.shape[1:3] == (1, 1) and op.stride == (1, 1) and op.pad == (0, 0)
            expands = op is ops[0] and op.dilation == (1, 1) and kinds[-1] != "elementwise"
            _require(plain or expands, f"stage {number}: a convolution is not 1x1")
    _require(
        depthwise.depth_multiplier == 1 and depthwise.dilation == (1, 1),
        f"stage {number}: the depthwise has a multiplier or a dilation",
    )
    if kinds[-1] == "elementwise":
        add, source = ops[-1], graph.tensors[ops[0].inputs[0]]
        out = graph.tensors[add.output]
        same = (source.height, source.width, source.channels) == (
            out.height,
            out.width,
            out.channels,
        )
        adds = isinstance(add, QElementwise) and add.function == 0
        inside = all(p < k for p, k in zip(depthwise.pad, depthwise.weights.shape, strict=False))
        wired = set(add.inputs) == {ops[0].inputs[0], ops[-2].output}
        _require(
            adds and wired and same and depthwise.stride == (1, 1) and inside,
            f"stage {number}: the ADD is not a residual",
        )
    inner = {op.output for op in ops[:-1]}
    for index, op in enumerate(graph.ops):
        if index not in stage.ops:
            _require(not inner & set(op.inputs), f"stage {number}: its inside is read outside")
    out = graph.tensors[ops[-1].output]
    _require(
        1 <= stage.slice <= depthwise.weights.shape[2]
        and 1 <= stage.col_tile <= stage.strip
        and 1 <= stage.row_tile <= out.height,
        f"stage {number}: slice or tile out of range",
    )
    overlap = depthwise.weights.shape[0] - depthwise.stride[0]
    _require(
        0 <= stage.kept_rows <= (overlap if stage.form is Form.ROLLING else 0),
        f"stage {number}: {stage.kept_rows} rows cannot be kept",
    )
    if stage.form is Form.ROLLING:
        _require(
            kinds[0] == "conv"
            and overlap >= 0
            and stage.row_tile == 1
            and stage.slice == depthwise.weights.shape[2],
            f"stage {number} cannot roll",
        )


def _check_rings(graph: QGraph, plan: Plan, actors: list[_Actor]) -> None:
    producers = {actor.output: actor for actor in actors if actor.output is not None}
    found = sorted(ring.tensor for ring in plan.rings)
    _require(sorted(producers) == found, f"rings are for tensors {found}, not {sorted(producers)}")
    for ring in plan.rings:
        tensor, producer = graph.tensors[ring.tensor], producers[ring.tensor]
        pixels = tensor.height * tensor.width
        _require(
            1 <= ring.capacity <= pixels,
            f"the ring of {tensor.name} has {ring.capacity} pixels of {pixels}",
        )
        if ring.capacity < pixels:
            _require(
                ring.tensor not in _held(graph, plan), f"{tensor.name} is not whole at the end"
            )
            strip, stage = producer.strip, producer.stage
            adds_up = stage is not None and stage.form is Form.ACCUMULATING
            is_even = tensor.width % strip == 0 and ring.capacity % strip == 0
            _require(
                not adds_up and (is_even or (stage is not None and _may_be_cut(graph, stage))),
                f"the ring of {tensor.name} has {ring.capacity} pixels; it cannot hold what "
                f"{producer.name} gives side by side",
            )


def _may_be_cut(graph: QGraph, stage: Stage) -> bool:
    """Whether the ring's end may cut what a firing gives."""
    if stage.form is Form.TILED:
        return stage.row_tile == 1 and not _expand_macs(graph, stage)
    return not _fires_rows(graph, stage)


def _held(graph: QGraph, plan: Plan) -> set[int]:
    """Tensors that stand in the arena at the end."""
    streamed = {graph.outputs[i].tensor for i in plan.streamed_outputs}
    return ({edge.tensor for edge in graph.outputs} - streamed) | graph.sources


def _wrapping(graph: QGraph, plan: Plan) -> set[int]:
    """Tensors whose rows need not lie side by side."""
    return {ring.tensor for ring in plan.rings if ring.capacity % graph.tensors[ring.tensor].width}


def _check_wrapping(graph: QGraph, plan: Plan, actors: list[_Actor]) -> None:
    wrapping = _wrapping(graph, plan)
    for actor in actors:
        if actor.stage is None or _fires_rows(graph, actor.stage):
            for tensor in wrapping.intersection(actor.inputs):
                name = graph.tensors[tensor].name
                _require(False, f"{actor.name} reads whole rows of {name}, whose ring wraps them")


def _check_arena(graph: QGraph, plan: Plan) -> None:
    wrapping = _wrapping(graph, plan)
    extents = [
        (f"ring {r.tensor}", Extent(r.offset, r.capacity * graph.tensors[r.tensor].channels))
        for r in plan.rings
    ]
    _require(len(plan.variables) == len(graph.variables), "variables are missing")
    for variable, offset in zip(graph.variables, plan.variables, strict=True):
        tensor = graph.tensors[variable.tensor]
        extents.append((f"variable {tensor.name}", Extent(offset, tensor.bytes)))
    for number, stage in enumerate(plan.stages):
        found = outline(graph, stage, plan.layout)
        expected = (found.state_bytes, found.scratch_bytes + found.wrapped_bytes(wrapping))
        actual = (stage.state.bytes, stage.scratch.bytes)
        _require(
            actual == expected,
            f"stage {number} has (state, scratch) {actual} bytes, needs {expected}",
        )
        extents += [
            (f"state of stage {number}", stage.state),
            (f"scratch of stage {number}", stage.scratch),
        ]
    ends = [0, 0, 0, 0]
    for name, extent in extents:
        which, offset = extent.offset >> MEMORY_SHIFT, extent.offset % (1 << MEMORY_SHIFT)
        _require(0 <= which < len(ends) and offset % 16 == 0, f"the offset of {name} is bad")
        _require(extent.bytes > 0 or extent.offset == 0, f"{name} is empty, its offset is not 0")
        _require(offset + extent.bytes <= MEMORY_BYTES, f"{name} ends behind its memory")
        ends[which] = max(ends[which], offset + extent.bytes)
    exact = tuple(-(-end // 16) * 16 for end in ends)
    _require(plan.arena_bytes == exact, f"arena_bytes is {plan.arena_bytes}, exact is {exact}")


class _Replay:
    """The engine over a map of the bytes that live."""

    def __init__(self, graph: QGraph, plan: Plan, actors: list[_Actor]) -> None:
        self.graph = graph
        self.actors = actors
        self.rings = {ring.tensor: ring for ring in plan.rings}
        # Most slices are short, for which bytes are several times as fast as an array of NumPy.
        self.alive = bytearray(sum(plan.arena_bytes))
        self.bases = [sum(plan.arena_bytes[:i]) for i in range(len(plan.arena_bytes))]
        self.columns = [_columns(graph, actor) for actor in actors]
        self.needs = [list(zip(actor.inputs, actor.hi, strict=True)) for actor in actors]
        self.read = [sorted(set(actor.inputs) & self.rings.keys()) for actor in actors]
        self.produced = dict.fromkeys(self.rings, 0)
        for i, info in enumerate(graph.tensors):
            if info.data is not None:
                self.produced[i] = info.height * info.width
        self.dead = dict.fromkeys(self.rings, 0)
        self.whole = {
            tensor
            for tensor, ring in self.rings.items()
            if ring.capacity == graph.tensors[tensor].height * graph.tensors[tensor].width
        }
        self.held = _held(graph, plan)
        self.readers: dict[int, list[tuple[_Actor, list[int]]]] = {i: [] for i in self.rings}
        for actor in actors:
            for tensor, lo in zip(actor.inputs, actor.lo, strict=True):
                if tensor in self.rings:
                    info = graph.tensors[tensor]
                    self.readers[tensor].append((actor, [*lo, info.height * info.width]))
        for tensor in self.rings:
            self.dead[tensor] = self.least_needed(tensor)
        self.there = self.begin(plan)
        self.wakes = [self.woken_by(number) for number in range(len(actors))]

    def begin(self, plan: Plan) -> dict[int, int]:
        """Variables live from the start to the end. Returns of each ring that begins with one how
        many of its pixels are there before its stage gives them once more."""
        there = {}
        for variable, offset in zip(self.graph.variables, plan.variables, strict=True):
            tensor, ring = self.graph.tensors[variable.tensor], self.rings[variable.source]
            piece = self.place(offset, tensor.bytes)
            _require(
                self.alive.find(1, piece.start, piece.stop) < 0,
                f"variable {tensor.name} stands on another one",
            )
            self.fill(piece)
            if offset == ring.offset:
                maker = next(op for op in self.graph.ops if op.output == variable.source)
                alone = [v for v in self.graph.variables if v.source == variable.source]
                _require(
                    isinstance(maker, QConcat)
                    and maker.axis == Axis.HEIGHT
                    and maker.inputs[0] == variable.tensor
                    and alone == [variable],
                    f"{self.graph.tensors[ring.tensor].name} does not begin with the variable "
                    "that stands in its place",
                )
                there[variable.source] = tensor.height * tensor.width
        return there

    def woken_by(self, number: int) -> list[int]:
        """Who may be able to fire after a stage has: itself, its readers, its sources."""
        actor = self.actors[number]
        neighbours = {
            i
            for i, other in enumerate(self.actors)
            if other.output in (actor.inputs or (-1,)) or actor.output in other.inputs
        }
        return sorted({number, *neighbours})

    def run(self) -> None:
        """Fire the smallest that can; only those in the heap may be able to."""
        heap = list(range(len(self.actors)))
        heapify(heap)
        queued = set(heap)
        while heap:
            number = heappop(heap)
            queued.discard(number)
            if self.can_fire(number):
                self.fire(number)
                for other in self.wakes[number]:
                    if other not in queued:
                        queued.add(other)
                        heappush(heap, other)
        waiting = [actor.name for actor in self.actors if not actor.finished]
        _require(not waiting, f"it stalls; waiting for ever: {', '.join(waiting)}")

    def least_needed(self, tensor: int) -> int:
        """Pixels below which no reader needs any more."""
        return min((lo[actor.fired] for actor, lo in self.readers[tensor]), default=0)

    def can_fire(self, number: int) -> bool:
        actor = self.actors[number]
        if actor.finished:
            return False
        firing = actor.fired
        for tensor, hi in self.needs[number]:
            if self.produced[tensor] < hi[firing]:
                return False
        if actor.output is None or actor.output in self.whole:
            return True
        held = actor.given[firing] - self.dead[actor.output]
        return held <= self.rings[actor.output].capacity

    def fire(self, number: int) -> None:
        actor, columns = self.actors[number], self.columns[number]
        stage, firing = actor.stage, actor.fired
        if stage and stage.state.bytes:
            if firing == 0:
                self.write(self.part(stage, columns.before), actor, "the state of {}")
            if columns.gives(firing):
                for some in () if columns.is_first(firing) else columns.carried:
                    self.free(self.part(stage, some))
                self.write(self.part(stage, columns.all), actor, "the columns of {}")
        output, given = actor.output, actor.given[firing]
        if output is not None:
            fresh = max(self.produced[output], self.there.get(output, 0))
            for piece in self.pieces(output, fresh, given):
                self.write(piece, actor, "what {} gives")
        if stage and stage.scratch.bytes:
            scratch = self.place(stage.scratch.offset, stage.scratch.bytes)
            self.require_free(scratch, actor, "the scratch of {}")
        actor.fired += 1
        if output is not None:
            first, self.produced[output] = self.produced[output], given
            # What nobody reads lives no longer, although it counts as never dead.
            self.die(output, first, self.dead[output] if self.readers[output] else given)
        for tensor in self.read[number]:
            before, now = self.dead[tensor], self.least_needed(tensor)
            if now < before:
                place = f"firing {firing} of {actor.name}"
                raise PlanError(f"invalid plan: {place} needs pixels again that were dead")
            self.dead[tensor] = now
            self.die(tensor, before, now)
        if stage and stage.state.bytes:
            self.free(self.part(stage, columns.all))
            for some in () if columns.is_last(firing) else columns.carried:
                self.fill(self.part(stage, some))
            if actor.finished:
                self.free(self.part(stage, columns.before))

    def die(self, tensor: int, first: int, end: int) -> None:
        """Pixels [first, end) are dead, as far as they have been given."""
        if tensor not in self.held:
            for piece in self.pieces(tensor, first, min(end, self.produced[tensor])):
                self.free(piece)

    def part(self, stage: Stage, piece: range) -> slice:
        """Of a stage's state."""
        return self.place(stage.state.offset + piece.start, len(piece))

    def place(self, offset: int, size: int) -> slice:
        start = self.bases[offset >> MEMORY_SHIFT] + offset % (1 << MEMORY_SHIFT)
        return slice(start, start + size)

    def pieces(self, tensor: int, first: int, end: int) -> Iterator[slice]:
        """Where pixels [first, end) stand, in pieces that lie side by side."""
        ring, channels = self.rings[tensor], self.graph.tensors[tensor].channels
        while first < end:
            at = first % ring.capacity
            count = min(end - first, ring.capacity - at)
            yield self.place(ring.offset + at * channels, count * channels)
            first += count

    def fill(self, piece: slice) -> None:
        self.alive[piece] = b"\1" * (piece.stop - piece.start)

    def free(self, piece: slice) -> None:
        self.alive[piece] = bytes(piece.stop - piece.start)

    def write(self, piece: slice, actor: _Actor, what: str) -> None:
        self.require_free(piece, actor, what)
        self.fill(piece)

    def require_free(self, piece: slice, actor: _Actor, what: str) -> None:
        """what: is written there, with {} for the actor's next firing."""
        byte = self.alive.find(1, piece.start, piece.stop)
        if byte >= 0:
            writer = what.format(f"firing {actor.fired} of {actor.name}")
            raise PlanError(f"invalid plan: {self.whose(byte)} is overwritten by {writer}")

    def whose(self, byte: int) -> str:
        """Who lives on a byte."""
        for tensor in self.rings:
            first = 0 if tensor in self.held else self.dead[tensor]
            for piece in self.pieces(tensor, first, self.produced[tensor]):
                if piece.start <= byte < piece.stop:
                    return self.graph.tensors[tensor].name
        return "a state, or what the same firing gives,"


@dataclass(frozen=True)
class _Columns:
    """Bytes of a state: ``before`` live from the first firing to the last; ``all`` are what a
    firing that gives something expands into, and of them ``carried`` live until the next firing,
    unless it is the row's last.

    absorbing: how many firings come before the first that gives something.
    parts: how many firings give a row.
    """

    before: range
    all: range = range(0)
    carried: tuple[range, ...] = ()
    absorbing: int = 0
    parts: int = 1

    def gives(self, firing: int) -> bool:
        return firing >= self.absorbing

    def is_first(self, firing: int) -> bool:
        """Whether it is the first of a row."""
        return (firing - self.absorbing) % self.parts == 0

    def is_last(self, firing: int) -> bool:
        """Whether it carries nothing on."""
        return not self.gives(firing) or self.is_first(firing + 1)


def _columns(graph: QGraph, actor: _Actor) -> _Columns:
    """How an actor keeps columns in its state."""
    stage = actor.stage
    if stage is None or stage.form is not Form.ROLLING:
        return _Columns(range(stage.state.bytes if stage else 0))
    depthwise = next(op for i in stage.ops if isinstance(op := graph.ops[i], QDepthwise))
    grid, out = graph.tensors[depthwise.inputs[0]], graph.tensors[depthwise.output]
    parts = -(-out.width // stage.strip)
    if parts == 1:
        return _Columns(range(stage.state.bytes))
    height, width, channels = depthwise.weights.shape
    step = depthwise.stride[1]
    before = -(-stage.kept_rows * grid.width * channels // 16) * 16
    held = min(grid.width, (stage.col_tile - 1) * step + max(width, step)) * channels
    shared = min(grid.width, max(0, width - step)) * channels
    starts = [before + i * held for i in range(min(grid.height, height - stage.kept_rows))]
    return _Columns(
        range(before),
        range(before, starts[-1] + held),
        tuple(range(start, start + shared) for start in starts),
        len(actor.given) - out.height * parts,
        parts,
    )


def _check_form(graph: QGraph, op: QOp, form: Form, number: int) -> None:
    """Of an operator alone."""
    adds_up = isinstance(op, QMean) and op.over_height
    possible = {Form.ACCUMULATING} if adds_up else {Form.SINGLE}
    if isinstance(op, QPool) and op.function == "average":
        possible.add(Form.ACCUMULATING)
    if isinstance(op, QConv) and _is_whole(graph, op):
        possible.add(Form.ACCUMULATING)
    if _folds(op):
        possible.add(Form.FOLDED)
    _require(form in possible, f"stage {number}: its operator has no form {form.name}")


def _is_whole(graph: QGraph, op: QConv) -> bool:
    """Whether a convolution's kernel is its input, which has few enough elements in fours."""
    source, out = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    return (
        op.weights.shape[1:] == (source.height, source.width, source.channels)
        and (out.height, out.width) == (1, 1)
        and (op.pad, op.dilation) == ((0, 0), (1, 1))
        and source.channels % 4 == 0
        and source.bytes < 2**16
    )


def _fires_rows(graph: QGraph, stage: Stage) -> bool:
    """Whether it is an operator of rows."""
    op = graph.ops[stage.ops[0]]
    if isinstance(op, QConcat):
        return op.axis == Axis.WIDTH
    return isinstance(op, (QPad, QResize)) or (isinstance(op, QMean) and not op.over_height)


def _depthwise(graph: QGraph, stage: Stage) -> QDepthwise:
    return next(op for i in stage.ops if isinstance(op := graph.ops[i], QDepthwise))


def _folds(op: QOp) -> bool:
    """Whether an operator alone may go row by row over a window."""
    return (
        isinstance(op, QDepthwise)
        and op.weights.shape == (3, 3, op.weights.shape[2])
        and (op.stride, op.dilation, op.depth_multiplier) == ((2, 2), (1, 1), 1)
        and all(pad <= 2 for pad in op.pad)
    )


def _has_add(graph: QGraph, stage: Stage) -> bool:
    return len(stage.ops) > 1 and isinstance(graph.ops[stage.ops[-1]], QElementwise)


@dataclass(frozen=True)
class _Windows:
    """Input positions [start(a), end(b)) that output positions [a, b) need along an axis."""

    stride: int
    pad: int
    span: int
    size: int

    def start(self, first: Numbers) -> Numbers:
        return np.clip(first * self.stride - self.pad, 0, self.size)

    def end(self, end: Numbers) -> Numbers:
        return np.clip((end - 1) * self.stride - self.pad + self.span, 0, self.size)


def _windows(graph: QGraph, op: QOp, which: int) -> tuple[_Windows, _Windows]:
    """Of rows and columns, for input ``which`` of an operator of pixels."""
    source, out = graph.tensors[op.inputs[which]], graph.tensors[op.output]
    strides, pads, spans = (1, 1), (0, 0), (1, 1)
    if isinstance(op, (QConv, QDepthwise)):
        kernel = op.weights.shape[1:3] if isinstance(op, QConv) else op.weights.shape[:2]
        strides, pads = op.stride, op.pad
        spans = tuple((k - 1) * d + 1 for k, d in zip(kernel, op.dilation, strict=True))
    elif isinstance(op, QPool):
        strides, pads, spans = op.stride, op.pad, op.kernel
    elif isinstance(op, QElementwise):
        strides = (int(source.height == out.height), int(source.width == out.width))
    elif isinstance(op, QMatMul) and which == 1:  # rows of matrices, or all of the only one
        is_only = source.height * source.width == out.channels
        strides, spans = (int(not is_only), 0), (source.height if is_only else 1, source.width)
    elif isinstance(op, QConcat) and op.axis == Axis.HEIGHT:
        pads = (sum(graph.tensors[t].height for t in op.inputs[:which]), 0)
    rows = _Windows(strides[0], pads[0], spans[0], source.height)
    return rows, _Windows(strides[1], pads[1], spans[1], source.width)


def _whole_rows(graph: QGraph, op: QOp, which: int, y: Numbers) -> tuple[Numbers, Numbers]:
    """Rows [t, b) of an input that output rows y of an operator of rows need."""
    source = graph.tensors[op.inputs[which]]
    if isinstance(op, QResize):
        low, fraction = op.rows.astype(np.int64)[y].T
        return low, low + (fraction != 0) + 1
    pad = op.before[0] if isinstance(op, QPad) else 0
    rows = _Windows(1, pad, 1, source.height)
    return rows.start(y), rows.end(y + 1)


def _stage_actor(graph: QGraph, number: int, stage: Stage) -> _Actor:
    first, last = graph.ops[stage.ops[0]], graph.ops[stage.ops[-1]]
    inputs = first.inputs if len(stage.ops) == 1 else first.inputs[:1]
    source, out = graph.tensors[inputs[0]], graph.tensors[last.output]
    adds_up = stage.form is Form.ACCUMULATING
    width = (source if adds_up else out).width
    strips = -(-width // stage.strip)
    rows = -(-(source if adds_up else out).height // stage.row_tile)
    name = f"stage {number} ({first.kind} {out.name})"
    _check_count(name, strips * rows)
    firings = np.arange(strips * rows)
    y0, x0 = firings // strips * stage.row_tile, firings % strips * stage.strip
    y1, x1 = np.minimum(y0 + stage.row_tile, out.height), np.minimum(x0 + stage.strip, width)
    given = (y1 - 1) * out.width + x1
    if adds_up:
        needs = [(y0 * width + x0, y0 * width + x1)]
        given = np.where(firings == len(firings) - 1, out.height * out.width, 0)
        products = int(first.weights.size) if isinstance(first, QConv) else 0
        macs: Numbers = (x1 - x0) * (products // (source.height * width))
    elif stage.form is Form.FOLDED:
        lo, hi, given, macs = _folding(graph, stage)
        _check_count(name, len(given))
        needs = [(lo, hi)]
    elif stage.form is Form.ROLLING:
        lo, hi, macs = _rolling(graph, stage, y0, x0, x1)
        needs = [(lo, hi)]
        given = np.concatenate([np.zeros(len(lo) - len(given), np.int64), given])
    else:
        needs = [_ordinary_need(graph, stage, i, y0, y1, x0, x1) for i in range(len(inputs))]
        expanded = _expanded(graph, stage, y0, y1, x0, x1)
        macs = ((y1 - y0) * (x1 - x0)).astype(np.int64) * _filter_macs(graph, stage)
        macs += expanded * _expand_macs(graph, stage)
    return _Actor(
        name,
        inputs,
        last.output,
        [lo.tolist() for lo, _ in needs],
        [hi.tolist() for _, hi in needs],
        given.tolist(),
        macs.tolist(),
        stage,
        stage.strip,
    )


def _ordinary_need(
    graph: QGraph,
    stage: Stage,
    which: int,
    y0: Numbers,
    y1: Numbers,
    x0: Numbers,
    x1: Numbers,
) -> tuple[Numbers, Numbers]:
    """[lo, hi) of each firing."""
    op = graph.ops[stage.ops[0]] if len(stage.ops) == 1 else _depthwise(graph, stage)
    if _fires_rows(graph, stage):
        width = graph.tensors[op.inputs[which]].width
        top, bottom = _whole_rows(graph, op, which, y0)
        return top * width, np.maximum(top, bottom) * width
    if isinstance(op, Move):
        return _moved_pixels(graph, op, y0 * graph.tensors[op.output].width + x0)
    rows, columns = _windows(graph, op, which)
    seen = (rows.start(y0), rows.end(y1), columns.start(x0), columns.end(x1))
    lo, hi = _of_source(graph, stage, columns.size, *seen, rows.start(y1))
    if _has_add(graph, stage):
        lo = np.minimum(lo, y0 * columns.size + x0)
    return lo, hi


def _moved_pixels(graph: QGraph, op: Move, given: Numbers) -> tuple[Numbers, Numbers]:
    """[lo, hi) of each firing: from the first pixel that it or a later one reads to the last that
    it or an earlier one reads. given: the first pixel that each gives."""
    source, out = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    pixels = np.repeat(np.arange(source.height * source.width), source.channels)
    read = op.moved(pixels.reshape(source.shape), out.shape).ravel()
    first = given * out.channels
    later = np.minimum.accumulate(np.minimum.reduceat(read, first)[::-1])[::-1]
    return later, np.maximum.accumulate(np.maximum.reduceat(read, first)) + 1


def _of_source(
    graph: QGraph,
    stage: Stage,
    width: int,
    top: Numbers,
    bottom: Numbers,
    left: Numbers,
    right: Numbers,
    after: Numbers,
) -> tuple[Numbers, Numbers]:
    """[lo, hi) of an input of that width for rows [top, bottom), columns [left, right) if rows from
    ``after`` on come later. Of a bottleneck they are the expansion's."""
    seen = bottom > top
    if _expand_macs(graph, stage):
        rows, columns = _windows(graph, graph.ops[stage.ops[0]], 0)
        width = columns.size
        top, bottom, after = rows.start(top), rows.end(bottom), rows.start(after)
        left, right = columns.start(left), columns.end(right)
        seen = seen & (bottom > top)
    hi = np.where(seen, (bottom - 1) * width + right, top * width)
    return np.minimum(np.minimum(top * width + left, after * width), hi), hi


def _rolling(
    graph: QGraph, stage: Stage, y: Numbers, x: Numbers, x1: Numbers
) -> tuple[Numbers, Numbers, Numbers]:
    """lo, hi and multiply-accumulates of each firing, those that absorb first."""
    rows, columns = _windows(graph, _depthwise(graph, stage), 0)
    kept = stage.kept_rows
    absorbed = min(rows.size, max(0, kept - rows.pad))
    strips = int(np.count_nonzero(y == 0))

    def reach(columns_out: Numbers) -> Numbers:
        return np.where(columns_out == 0, 0, columns.end(columns_out))

    bottom = rows.end(y + 1)
    kept_to, kept_next = (
        np.maximum(absorbed, np.clip(row * rows.stride - rows.pad + kept, 0, rows.size))
        for row in (y, y + 1)
    )
    top = np.minimum(bottom, kept_to)
    early = np.arange(absorbed * strips)
    row, column, end = early // strips, x[early % strips], x1[early % strips]
    lo, hi = _of_source(graph, stage, columns.size, top, bottom, reach(x), reach(x1), kept_next)
    ends = reach(column), reach(end)
    early_lo, early_hi = _of_source(graph, stage, columns.size, row, row + 1, *ends, row + 1)
    if _has_add(graph, stage):
        lo, early_lo = np.minimum(lo, y * columns.size + x), early_lo * 0
    expanded = np.concatenate([np.ones(len(early), np.int64), bottom - top])
    expanded *= reach(np.concatenate([end, x1])) - reach(np.concatenate([column, x]))
    macs = expanded * _expand_macs(graph, stage)
    macs[len(early) :] += (x1 - x) * _filter_macs(graph, stage)
    return np.concatenate([early_lo, lo]), np.concatenate([early_hi, hi]), macs


def _folding(graph: QGraph, stage: Stage) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """lo, hi, given and multiply-accumulates of each firing of a rolling depthwise."""
    op = _depthwise(graph, stage)
    rows, columns = _windows(graph, op, 0)
    out = graph.tensors[op.output]
    lo, hi, given, macs = [], [], [], []
    for arrival in range(2 * out.height + 1):
        row, y = arrival - rows.pad, (arrival - 1) // 2
        for x in range(0, out.width, stage.strip):
            x1 = min(x + stage.strip, out.width)
            start, end = int(columns.start(np.array(x))), int(columns.end(np.array(x1)))
            if 0 <= row < rows.size:
                lo.append(row * columns.size + start)
                hi.append(row * columns.size + end)
            else:
                lo.append(min(max(row, 0), rows.size) * columns.size)
                hi.append(lo[-1])
            done = arrival > 0 and arrival % 2 == 0
            given.append(max(y, 0) * out.width + (x1 if done else 0))
            rows_used = 0 if arrival == 0 else 1 if done else 2
            macs.append(rows_used * 3 * out.channels * (x1 - x))
    return np.array(lo), np.array(hi), np.array(given), np.array(macs)


def _expand_macs(graph: QGraph, stage: Stage) -> int:
    """Multiply-accumulates of one expanded pixel; 0 without an expansion."""
    op = graph.ops[stage.ops[0]]
    return int(op.weights.size) if len(stage.ops) > 1 and isinstance(op, QConv) else 0


def _filter_macs(graph: QGraph, stage: Stage) -> int:
    """Multiply-accumulates of one output pixel behind the expansion."""
    ops = [graph.ops[i] for i in stage.ops]
    macs = sum(int(op.weights.size) for op in ops if isinstance(op, (QConv, QDepthwise)))
    if isinstance(ops[0], QMatMul):
        macs = graph.tensors[ops[0].inputs[0]].channels * graph.tensors[ops[0].output].channels
    return macs - _expand_macs(graph, stage)


def _expanded(
    graph: QGraph, stage: Stage, y0: Numbers, y1: Numbers, x0: Numbers, x1: Numbers
) -> Numbers:
    """Pixels that each firing of a tiled bottleneck expands."""
    if not _expand_macs(graph, stage):
        return np.zeros_like(y0)
    rows, columns = _windows(graph, _depthwise(graph, stage), 0)
    across: Numbers = np.zeros_like(x0)
    for x in range(0, stage.strip, stage.col_tile):
        first, end = x0 + x, np.minimum(x0 + x + stage.col_tile, x1)
        across += np.where(first < end, columns.end(end) - columns.start(first), 0)
    return (rows.end(y1) - rows.start(y0)) * across


def _macs_once(graph: QGraph, stage: Stage, macs: int) -> int:
    """Multiply-accumulates of a stage if each element that it needs were computed once."""
    if not _expand_macs(graph, stage):
        return macs
    out = graph.tensors[graph.ops[stage.ops[-1]].output]
    if stage.form is Form.ROLLING:  # goes through every column, those between windows too
        rows, columns = _windows(graph, _depthwise(graph, stage), 0)
        ends = rows.end(np.array(out.height)), columns.end(np.array(out.width))
        expanded = int(ends[0] * ends[1]) * _expand_macs(graph, stage)
        return expanded + out.height * out.width * _filter_macs(graph, stage)
    seen = []
    for size, axis in zip(
        (out.height, out.width), _windows(graph, _depthwise(graph, stage), 0), strict=True
    ):
        at = np.arange(size)
        covered = np.zeros(axis.size, np.bool_)
        for start, end in zip(axis.start(at), axis.end(at + 1), strict=True):
            covered[start:end] = True
        seen.append(int(covered.sum()))
    filtered = out.height * out.width * _filter_macs(graph, stage)
    return filtered + seen[0] * seen[1] * _expand_macs(graph, stage)
