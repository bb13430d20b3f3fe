# SPDX-License-Identifier: Apache-2.0
"""An independent proof that a plan is right.

Replays the plan firing by firing over a map of the arena, byte by byte, written from
runtime/SPEC.md alone: it shares no code with the planner's simulator, so that a mistake
there does not repeat here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from narrows.errors import PlanError
from narrows.graph.qgraph import (
    QConcat,
    QConv,
    QDepthwise,
    QElementwise,
    QGraph,
    QMean,
    QOp,
    QPad,
    QPool,
    QReshape,
    QResize,
    QSlice,
)
from narrows.plan.plan import Plan, Region, Ring, Stage
from narrows.plan.sizes import stage_bytes

Range = tuple[int, int]


def verify_plan(graph: QGraph, plan: Plan) -> None:
    """Prove that a plan computes its network within its arena.

    Raises: PlanError: it does not, and where.
    """
    _check_stages(graph, plan)
    actors = _actors(graph, plan)
    _check_rings(graph, plan, actors)
    _check_arena(graph, plan)
    replay = _Replay(graph, plan, actors)
    replay.run()
    if (replay.macs, replay.max_step_macs) != (plan.macs, plan.max_step_macs):
        raise PlanError(
            f"the plan says {plan.macs} macs, at most {plan.max_step_macs} a step; "
            f"it is {replay.macs} and {replay.max_step_macs}"
        )
    once = sum(_macs_once(graph, stage) for stage in plan.stages)
    if once != plan.macs_once:
        raise PlanError(f"the plan says {plan.macs_once} macs without repeats; it is {once}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise PlanError(f"invalid plan: {message}")


@dataclass
class _Actor:
    """A stage as the engine sees it."""

    name: str
    inputs: tuple[int, ...]
    output: int | None
    firings: int
    stage: Stage | None = None
    fired: int = field(default=0)


def _actors(graph: QGraph, plan: Plan) -> list[_Actor]:
    actors = []
    for edge in graph.inputs:
        height = graph.tensors[edge.tensor].height
        actors.append(_Actor(f"input {edge.name}", (), edge.tensor, height))
    for number, stage in enumerate(plan.stages):
        first, last = graph.ops[stage.ops[0]], graph.ops[stage.ops[-1]]
        inputs = first.inputs if len(stage.ops) == 1 else first.inputs[:1]
        name = f"stage {number} ({first.kind} {graph.tensors[last.output].name})"
        actors.append(_Actor(name, inputs, last.output, _firings(graph, stage), stage))
    streamed: list[int] = []
    for i in plan.streamed_outputs:
        _require(0 <= i < len(graph.outputs), f"there is no output {i} to stream")
        if graph.outputs[i].tensor not in streamed:
            streamed.append(graph.outputs[i].tensor)
    for tensor in streamed:
        name = f"output {graph.tensors[tensor].name}"
        actors.append(_Actor(name, (tensor,), None, graph.tensors[tensor].height))
    return actors


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
            _require(stage.row_tile == 1, f"stage {number}: row_tile of a single operator")
    _require(sorted(done) == list(range(len(graph.ops))), "operators are missing or doubled")
    for edge in graph.outputs:
        _require(edge.tensor in written, f"output {edge.name} is hidden inside a stage")


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
            _require(plain, f"stage {number}: a convolution is not 1x1")
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
        pad, kernel_h = depthwise.pad[0], depthwise.weights.shape[0]
        wired = set(add.inputs) == {ops[0].inputs[0], ops[-2].output}
        _require(
            adds and wired and same and depthwise.stride == (1, 1) and pad < kernel_h,
            f"stage {number}: the ADD is not a residual",
        )
    inner = {op.output for op in ops[:-1]}
    for index, op in enumerate(graph.ops):
        if index not in stage.ops:
            _require(not inner & set(op.inputs), f"stage {number}: its inside is read outside")
    out = graph.tensors[ops[-1].output]
    _require(
        1 <= stage.slice <= depthwise.weights.shape[2]
        and 1 <= stage.col_tile <= out.width
        and 1 <= stage.row_tile <= out.height,
        f"stage {number}: slice or tile out of range",
    )
    if stage.rolling:
        _require(
            kinds[0] == "conv"
            and depthwise.weights.shape[0] >= depthwise.stride[0]
            and stage.row_tile == 1
            and stage.slice == depthwise.weights.shape[2],
            f"stage {number} cannot roll",
        )


def _check_rings(graph: QGraph, plan: Plan, actors: list[_Actor]) -> None:
    tensors = sorted(actor.output for actor in actors if actor.output is not None)
    found = sorted(ring.tensor for ring in plan.rings)
    _require(tensors == found, f"rings are for tensors {found}, not {tensors}")
    streamed = {graph.outputs[i].tensor for i in plan.streamed_outputs}
    whole = {edge.tensor for edge in graph.outputs} - streamed
    for ring in plan.rings:
        tensor = graph.tensors[ring.tensor]
        _require(
            1 <= ring.capacity <= tensor.height,
            f"the ring of {tensor.name} has {ring.capacity} rows of {tensor.height}",
        )
        if ring.tensor in whole:
            _require(ring.capacity == tensor.height, f"output {tensor.name} is not whole")


def _check_arena(graph: QGraph, plan: Plan) -> None:
    ends = [0]
    regions = [(f"ring {r.tensor}", Region(r.offset, _ring_bytes(graph, r))) for r in plan.rings]
    for number, stage in enumerate(plan.stages):
        op = graph.ops[stage.ops[0]]
        pools = isinstance(op, QPool) and len(stage.ops) == 1
        accumulate = not pools or stage.state.bytes > 0
        expected = stage_bytes(graph, stage, plan.isa, accumulate)
        actual = (stage.state.bytes, stage.scratch.bytes)
        _require(
            actual == expected,
            f"stage {number} has (state, scratch) {actual} bytes, needs {expected}",
        )
        regions += [
            (f"state of stage {number}", stage.state),
            (f"scratch of stage {number}", stage.scratch),
        ]
    for name, region in regions:
        _require(region.offset >= 0 and region.offset % 16 == 0, f"{name} is not 16-aligned")
        if region.bytes:
            ends.append(region.offset + region.bytes)
        else:
            _require(region.offset == 0, f"{name} is empty, its offset is not 0")
    exact = -(-max(ends) // 16) * 16
    _require(plan.arena_bytes == exact, f"arena_bytes is {plan.arena_bytes}, exact is {exact}")


def _ring_bytes(graph: QGraph, ring: Ring) -> int:
    tensor = graph.tensors[ring.tensor]
    return ring.capacity * tensor.width * tensor.channels


class _Replay:
    """The engine over a map of who owns each byte."""

    def __init__(self, graph: QGraph, plan: Plan, actors: list[_Actor]) -> None:
        self.graph = graph
        self.actors = actors
        self.rings = {ring.tensor: ring for ring in plan.rings}
        self.owner: npt.NDArray[np.int64] = np.full(plan.arena_bytes, -1, np.int64)
        self.produced = dict.fromkeys(self.rings, 0)
        for i, tensor in enumerate(graph.tensors):
            if tensor.data is not None:
                self.produced[i] = tensor.height
        streamed = {graph.outputs[i].tensor for i in plan.streamed_outputs}
        self.held = [e.tensor for e in graph.outputs if e.tensor not in streamed]
        self.readers: dict[int, list[_Actor]] = {tensor: [] for tensor in self.rings}
        for actor in actors:
            for index in set(actor.inputs) & self.rings.keys():
                self.readers[index].append(actor)
        # One number for each row of each tensor, each state and each scratch.
        self.row_id: dict[int, int] = {}
        count = 0
        for index in self.rings:
            self.row_id[index] = count
            count += graph.tensors[index].height
        self.first_region_id = count
        self.macs = 0
        self.max_step_macs = 0

    def run(self) -> None:
        while True:
            for number, actor in enumerate(self.actors):
                if self.can_fire(actor):
                    self.fire(actor, number)
                    break
            else:
                break
        waiting = [actor.name for actor in self.actors if actor.fired < actor.firings]
        _require(not waiting, f"it stalls; waiting for ever: {', '.join(waiting)}")
        for tensor in self.held:
            height = self.graph.tensors[tensor].height
            self.check_rows(tensor, (0, height), "the end of the inference")

    def dead(self, tensor: int) -> int:
        readers = self.readers[tensor]
        if not readers:
            return 0
        height = self.graph.tensors[tensor].height
        rows = [height]
        for reader in readers:
            if reader.fired < reader.firings:
                for i, other in enumerate(reader.inputs):
                    if other == tensor:
                        rows.append(_need(self.graph, reader, reader.fired, i)[0])
        return min(rows)

    def can_fire(self, actor: _Actor) -> bool:
        if actor.fired == actor.firings:
            return False
        for i, tensor in enumerate(actor.inputs):
            if self.produced[tensor] < _need(self.graph, actor, actor.fired, i)[1]:
                return False
        if actor.output is None:
            return True
        rows = _give(self.graph, actor, actor.fired)[1]
        return rows - self.dead(actor.output) <= self.rings[actor.output].capacity

    def fire(self, actor: _Actor, number: int) -> None:
        firing = actor.fired
        place = f"firing {firing} of {actor.name}"
        stage = actor.stage or Stage(())
        state_id = self.first_region_id + 2 * number
        state = slice(stage.state.offset, stage.state.offset + stage.state.bytes)
        scratch = slice(stage.scratch.offset, stage.scratch.offset + stage.scratch.bytes)
        if firing > 0:
            _require(bool((self.owner[state] == state_id).all()), f"{place}: its state is lost")
        self.owner[scratch] = state_id + 1
        self.owner[state] = state_id
        given = (0, 0)
        if actor.output is not None:
            given = _give(self.graph, actor, firing)
            for row in range(*given):
                self.owner[self.row(actor.output, row)] = self.row_id[actor.output] + row
            self.produced[actor.output] = max(self.produced[actor.output], given[1])
        # What one firing touches must be apart: all of it is still there after the painting.
        _require(bool((self.owner[state] == state_id).all()), f"{place}: its state is lost")
        whole = bool((self.owner[scratch] == state_id + 1).all())
        _require(whole, f"{place}: its scratch overlaps its state or output")
        for i, tensor in enumerate(actor.inputs):
            if tensor in self.rings:
                self.check_rows(tensor, _need(self.graph, actor, firing, i), place)
        macs = _macs(self.graph, actor, firing) if actor.stage else 0
        self.macs += macs
        self.max_step_macs = max(self.max_step_macs, macs)
        actor.fired += 1

    def row(self, tensor: int, row: int) -> slice:
        ring = self.rings[tensor]
        info = self.graph.tensors[tensor]
        row_bytes = info.width * info.channels
        start = ring.offset + row % ring.capacity * row_bytes
        return slice(start, start + row_bytes)

    def check_rows(self, tensor: int, rows: Range, place: str) -> None:
        for row in range(*rows):
            if not (self.owner[self.row(tensor, row)] == self.row_id[tensor] + row).all():
                name = self.graph.tensors[tensor].name
                raise PlanError(f"invalid plan: {place}: row {row} of {name} is overwritten")


def _accumulates(graph: QGraph, stage: Stage) -> bool:
    op = graph.ops[stage.ops[0]]
    if len(stage.ops) > 1:
        return False
    return (isinstance(op, QMean) and op.over_height) or (
        isinstance(op, QPool) and stage.state.bytes > 0
    )


def _depthwise(graph: QGraph, stage: Stage) -> QDepthwise:
    return next(op for i in stage.ops if isinstance(op := graph.ops[i], QDepthwise))


def _has_add(graph: QGraph, stage: Stage) -> bool:
    return isinstance(graph.ops[stage.ops[-1]], QElementwise)


def _absorbed(graph: QGraph, stage: Stage) -> int:
    """A of a rolling bottleneck."""
    op = _depthwise(graph, stage)
    height = graph.tensors[graph.ops[stage.ops[0]].inputs[0]].height
    kernel_h: int = op.weights.shape[0]
    return min(height, max(0, kernel_h - op.stride[0] - op.pad[0]))


def _firings(graph: QGraph, stage: Stage) -> int:
    height = graph.tensors[graph.ops[stage.ops[-1]].output].height
    if _accumulates(graph, stage):
        return graph.tensors[graph.ops[stage.ops[0]].inputs[0]].height
    if stage.rolling:
        return _absorbed(graph, stage) + height
    return -(-height // stage.row_tile)


def _give(graph: QGraph, actor: _Actor, firing: int) -> Range:
    """[a, b): the rows that a firing gives."""
    stage = actor.stage
    if stage is None:
        return firing, firing + 1
    height = graph.tensors[graph.ops[stage.ops[-1]].output].height
    if _accumulates(graph, stage):
        return (0, 1) if firing == actor.firings - 1 else (0, 0)
    if stage.rolling:
        row = firing - _absorbed(graph, stage)
        return (row, row + 1) if row >= 0 else (0, 0)
    return firing * stage.row_tile, min((firing + 1) * stage.row_tile, height)


def _need(graph: QGraph, actor: _Actor, firing: int, which: int) -> Range:
    """[lo, hi): the rows of an input that a firing needs."""
    stage = actor.stage
    if stage is None or _accumulates(graph, stage):
        return firing, firing + 1
    if stage.rolling:
        return _rolling_need(graph, stage, firing)
    first, end = _give(graph, actor, firing)
    if len(stage.ops) > 1:
        op: QOp = _depthwise(graph, stage)
        height = graph.tensors[graph.ops[stage.ops[0]].inputs[0]].height
    else:
        op = graph.ops[stage.ops[0]]
        height = graph.tensors[op.inputs[which]].height
    lo = _window(graph, op, which, first, height)[0]
    hi = _window(graph, op, which, end - 1, height)[1]
    if len(stage.ops) > 1 and _has_add(graph, stage):
        lo = min(lo, first)
    return lo, hi


def _rolling_need(graph: QGraph, stage: Stage, firing: int) -> Range:
    op = _depthwise(graph, stage)
    height = graph.tensors[graph.ops[stage.ops[0]].inputs[0]].height
    kernel, stride, pad = op.weights.shape[0], op.stride[0], op.pad[0]
    absorbed = _absorbed(graph, stage)
    add = _has_add(graph, stage)
    if firing < absorbed:
        return (0 if add else firing), firing + 1
    y = firing - absorbed
    hi = min(max(y * stride - pad + kernel, 0), height)
    kept = min(max(y * stride - pad + kernel - stride, 0), height)
    lo = min(hi, max(absorbed, kept))
    return (min(lo, y) if add else lo), hi


def _window(graph: QGraph, op: QOp, which: int, y: int, height: int) -> Range:
    """The rows of input ``which`` that output row y needs."""
    stride, pad, extent = 1, 0, 1
    if isinstance(op, QConv):
        stride, pad = op.stride[0], op.pad[0]
        extent = (op.weights.shape[1] - 1) * op.dilation[0] + 1
    elif isinstance(op, QDepthwise):
        stride, pad = op.stride[0], op.pad[0]
        extent = (op.weights.shape[0] - 1) * op.dilation[0] + 1
    elif isinstance(op, QPool):
        stride, pad, extent = op.stride[0], op.pad[0], op.kernel[0]
    elif isinstance(op, QElementwise) and height == 1:
        stride = 0
    elif isinstance(op, QConcat) and op.axis == 0:
        pad = sum(graph.tensors[t].height for t in op.inputs[:which])
    elif isinstance(op, QSlice):
        stride, pad = op.stride[0], -op.begin[0]
    elif isinstance(op, QPad):
        pad = op.before[0]
    elif isinstance(op, QResize):
        low, fraction = (int(v) for v in op.rows[y])
        return low, low + (fraction != 0) + 1
    elif isinstance(op, QReshape):
        source, out = graph.tensors[op.inputs[0]], graph.tensors[op.output]
        in_bytes, out_bytes = source.width * source.channels, out.width * out.channels
        return y * out_bytes // in_bytes, ((y + 1) * out_bytes + in_bytes - 1) // in_bytes
    top = y * stride - pad
    return min(max(top, 0), height), min(max(top + extent, 0), height)


def _row_macs(graph: QGraph, op: QOp) -> int:
    """Multiply-accumulates of one output row."""
    out = graph.tensors[op.output]
    if isinstance(op, QConv):
        return out.width * out.channels * math.prod(op.weights.shape[1:])
    if isinstance(op, QDepthwise):
        return out.width * out.channels * math.prod(op.weights.shape[:2])
    return 0


def _pixel_macs(op: QOp) -> int:
    """Multiply-accumulates of one pixel of a 1x1 convolution."""
    return int(op.weights.size) if isinstance(op, QConv) else 0


def _macs(graph: QGraph, actor: _Actor, firing: int) -> int:
    stage = actor.stage
    assert stage is not None
    first, end = _give(graph, actor, firing)
    ops = [graph.ops[i] for i in stage.ops]
    if len(ops) == 1:
        return (end - first) * _row_macs(graph, ops[0])
    inner = [op for op in ops if op is not ops[0] or isinstance(op, QDepthwise)]
    macs = (end - first) * sum(_row_macs(graph, op) for op in inner)
    if not isinstance(ops[0], QConv):
        return macs
    source, depthwise = graph.tensors[ops[0].inputs[0]], _depthwise(graph, stage)
    if stage.rolling:
        before = _rolling_need(graph, stage, firing - 1)[1] if firing else 0
        rows = max(0, _rolling_need(graph, stage, firing)[1] - before)
        return macs + rows * _reached_columns(graph, stage) * _pixel_macs(ops[0])
    columns = 0
    for x in range(0, _out_width(graph, stage), stage.col_tile):
        last = min(x + stage.col_tile, _out_width(graph, stage)) - 1
        left = x * depthwise.stride[1] - depthwise.pad[1]
        right = last * depthwise.stride[1] - depthwise.pad[1] + depthwise.weights.shape[1]
        columns += min(max(right, 0), source.width) - min(max(left, 0), source.width)
    lo = _window(graph, depthwise, 0, first, source.height)[0]
    hi = _window(graph, depthwise, 0, end - 1, source.height)[1]
    return macs + (hi - lo) * columns * _pixel_macs(ops[0])


def _out_width(graph: QGraph, stage: Stage) -> int:
    return graph.tensors[graph.ops[stage.ops[-1]].output].width


def _reached_columns(graph: QGraph, stage: Stage) -> int:
    """Columns of the input that a rolling bottleneck expands."""
    op = _depthwise(graph, stage)
    end: int = (_out_width(graph, stage) - 1) * op.stride[1] - op.pad[1] + op.weights.shape[1]
    return min(graph.tensors[op.inputs[0]].width, max(0, end))


def _macs_once(graph: QGraph, stage: Stage) -> int:
    """Multiply-accumulates of a stage if each element that it needs were computed once."""
    ops = [graph.ops[i] for i in stage.ops]
    height = graph.tensors[ops[-1].output].height
    expands = len(ops) > 1 and isinstance(ops[0], QConv)
    macs = height * sum(_row_macs(graph, op) for op in (ops[1:] if expands else ops))
    if not expands:
        return macs
    source, depthwise = graph.tensors[ops[0].inputs[0]], _depthwise(graph, stage)
    if stage.rolling:
        last = _rolling_need(graph, stage, _firings(graph, stage) - 1)[1]
        return macs + last * _reached_columns(graph, stage) * _pixel_macs(ops[0])
    rows: npt.NDArray[np.bool_] = np.zeros(source.height, np.bool_)
    columns: npt.NDArray[np.bool_] = np.zeros(source.width, np.bool_)
    for seen, axis, size in ((rows, 0, height), (columns, 1, _out_width(graph, stage))):
        for at in range(size):
            top = at * depthwise.stride[axis] - depthwise.pad[axis]
            seen[max(top, 0) : max(top + depthwise.weights.shape[axis], 0)] = True
    return macs + int(rows.sum()) * int(columns.sum()) * _pixel_macs(ops[0])
