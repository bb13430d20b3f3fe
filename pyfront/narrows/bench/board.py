# SPDX-License-Identifier: Apache-2.0
"""One inference on a board in QEMU: instructions, and cycles where they can be estimated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from narrows import link
from narrows.bench.cycles import CORES, Cost, Counted, CyclePlugin
from narrows.blob import Blob
from narrows.boards import Board, load_board
from narrows.errors import LinkError, ToolError, UsageError
from narrows.graph.qgraph import Int8Array
from narrows.link.firmware import build
from narrows.link.image import Function, load_functions
from narrows.native import Model, Run, Status
from narrows.native.observe import input_bytes
from narrows.result import Progress, no_progress

_FUNCTIONS = ("nrw_start_memories", "nrw_step", "nrw_push_slot")
"""What of the runtime the firmware calls for an inference; its profile counts the same calls."""

_HANDLER = "_interrupt"
"""How the names of the firmware's interrupt handlers end: when bytes arrive is chance."""


@dataclass(frozen=True)
class StageBench:
    """One stage. cycles: None where they are not estimated."""

    stage: int
    op: str
    macs: int
    instructions: int
    cycles: int | None = None


@dataclass(frozen=True)
class BoardBench:
    """One inference, from the first request for a row to the last byte of the outputs, without what
    waits for the line.

    stages: their firings alone; the rest of the total asks for rows, takes and gives them.
    cycles: None where they are not estimated. functions: where they go, a function without those
        that it calls, the dearest first.
    clock_hz: of the core, if it is known.
    """

    target: str
    core: str
    macs: int
    instructions: int
    stages: tuple[StageBench, ...]
    arena_bytes: int
    ram_high_water_bytes: int
    cycles: int | None = None
    functions: Mapping[str, Cost] = field(default_factory=dict)
    clock_hz: int | None = None


def board_of(spec: str) -> Board:
    """The board of a target. Raises: UsageError: it is none in an emulator. NarrowsError."""
    kind, _, place = spec.partition(":")
    if kind not in link.KINDS or not place:
        raise UsageError(f"target {spec!r}: give host, qemu:BOARD or rp2040js:BOARD")
    return load_board(place)


def can_estimate(board: Board) -> str | None:
    """Why the cycles of a board cannot be estimated; None: they can."""
    if board.qemu is None:
        return f"board {board.name}: cycles are estimated in QEMU, which does not have it"
    if board.core.cpu not in CORES:
        return (
            f"board {board.name}: the estimate of cycles has a Cortex-M4's timings, and this is a "
            f"{board.core.cpu}; take a board with a Cortex-M4 or M3, such as qemu:mps2-an386"
        )
    if board.core.small:
        return (
            f"board {board.name}: its firmware is built to be small (core.optimize), without "
            "functions of the runtime to count; take qemu:mps2-an386 or qemu:mps2-an385"
        )
    return None


def bench_board(
    blob: Blob,
    spec: str,
    inputs: Sequence[Int8Array],
    cycles: bool = True,
    progress: Progress = no_progress,
) -> BoardBench:
    """Run a blob once on an emulated board.

    Args:
        spec: ``qemu:BOARD`` or ``rp2040js:BOARD``.
        inputs: int8 [height, width, channels] each.
        cycles: estimate them; ``can_estimate`` must say that they can be.

    Raises: UsageError, BlobError, ToolError, LinkError.
    """
    board = board_of(spec)
    if not cycles:
        return _bench(blob, spec, board, inputs, progress)
    if (reason := can_estimate(board)) is not None:
        raise UsageError(reason)
    if (missing := link.missing_tool(board)) is not None:
        raise ToolError(f"{spec}: {missing}")
    functions = load_functions(build(board, progress))
    handlers = [f.address for f in functions if f.name.endswith(_HANDLER)]
    with CyclePlugin(_addresses(board, functions), handlers) as plugin:
        bench = _bench(blob, spec, board, inputs, progress, plugin.argument)
        counted = plugin.read()
    return _with_cycles(bench, blob.model, inputs, counted, functions)


def _bench(
    blob: Blob,
    spec: str,
    board: Board,
    inputs: Sequence[Int8Array],
    progress: Progress,
    plugin: str = "",
) -> BoardBench:
    """Without cycles; with instructions as the firmware's profile has them, to a tick of the
    board's timer for each call."""
    with link.open_target(spec, blob.data, progress, blob.signature, plugin) as target:
        result = target.infer(inputs, profile=True)
        if plugin:
            target.finish()
    assert result.instructions is not None
    stages = zip(result.profile, blob.model.stage_macs(), strict=True)
    return BoardBench(
        target=spec,
        core=board.core.cpu,
        macs=blob.header.macs,
        instructions=result.instructions,
        stages=tuple(StageBench(c.stage, c.op, macs, round(c.cost)) for c, macs in stages),
        arena_bytes=result.arena_bytes,
        ram_high_water_bytes=result.ram_high_water_bytes,
        clock_hz=board.core_hz,
    )


def _addresses(board: Board, functions: Sequence[Function]) -> list[int]:
    """Where the functions stand that are counted."""
    known = {function.name: function.address for function in functions}
    for name in _FUNCTIONS:
        if name not in known:
            raise ToolError(
                f"board {board.name}: its firmware has no function {name} to count; build it "
                "without link-time optimization"
            )
    return [known[name] for name in _FUNCTIONS]


def _with_cycles(
    bench: BoardBench,
    model: Model,
    inputs: Sequence[Int8Array],
    counted: Counted,
    functions: Sequence[Function],
) -> BoardBench:
    """The plugin counts calls one by one, and which stage each of them fires depends on the blob
    alone: the host knows."""
    firings = list(fired_stages(model, inputs))
    if len(firings) != len(counted.calls):
        raise LinkError(
            f"{bench.target}: {len(counted.calls)} calls of the runtime were counted where an "
            f"inference has {len(firings)}: something has disturbed it; run it again"
        )
    costs = [Cost(0, 0)] * len(model.stages)
    for stage, (_, cost) in zip(firings, counted.calls, strict=True):
        if stage is not None:
            costs[stage] += cost
    stages = (
        StageBench(s.stage, s.op, s.macs, cost.instructions, cost.cycles)
        for s, cost in zip(bench.stages, costs, strict=True)
    )
    return replace(
        bench,
        instructions=counted.total.instructions,
        stages=tuple(stages),
        cycles=counted.total.cycles,
        functions=counted.by_function(functions),
    )


def fired_stages(model: Model, inputs: Sequence[Int8Array]) -> Iterator[int | None]:
    """For each call of the runtime that an inference makes (start, step, push), the stage that a
    step has fired; None where it is no firing's."""
    data, sent = input_bytes(model, inputs), [0] * len(inputs)
    run = Run(model)
    yield None
    while True:
        status = run.step()
        yield run.last_stage() if status is Status.OK else None
        if status is Status.DONE:
            return
        if status is Status.NEED_ROW:
            number = run.wanted_input()
            begin, due = sent[number], run.due_bytes()
            sent[number] += due
            run.push(np.frombuffer(data[number], np.int8)[begin : begin + due])
            yield None
        elif status is Status.HAVE_ROW:
            run.take_row()
