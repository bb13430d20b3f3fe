# SPDX-License-Identifier: Apache-2.0
"""What each firing of a stage needs, gives and costs, and the memory of the stage: as the C code of
its operator says (runtime/ops), so that there is one statement of it.

C is asked about a stage before there is a blob: it gets a sketch of one, with the records of one
stage and its tensors and without weights.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from narrows.errors import PlanError
from narrows.graph.qgraph import QGraph
from narrows.native import Form, Layout, Op, load, pointer
from narrows.stages.forms import forms_of
from narrows.stages.fusion import bottleneck
from narrows.stages.params import stage_params
from narrows.stages.records import (
    HEADER,
    NONE,
    STAGE,
    TENSOR,
    Body,
    Header,
    Sketch,
    header,
    stage_fields,
    stage_place,
    stage_record,
    tensor_fields,
    tensor_record,
)
from narrows.stages.stage import Stage

Pixels: TypeAlias = npt.NDArray[np.int32]
"""A number of pixels per firing."""

Positions: TypeAlias = npt.NDArray[np.int64]
"""Rows or columns."""


@dataclass(frozen=True, eq=False)
class Firings:
    """One stage, firing by firing. Pixels are numbered row by row.

    inputs: tensors of the graph that live in the arena (constants are always there).
    output: the tensor written; -1 for an OUTPUT stage.
    lo, hi: per input, the pixels [lo, hi) that each firing needs.
    given: pixels of the output that are there after each firing.
    macs: multiply-accumulates of each firing; macs_once: of all, without repeats.
    segments: per input, the most pixels of a row that are read side by side; 0 where whole
        rows must lie side by side.
    wrapped_bytes: per input, what the stage's scratch grows by if its ring wraps rows.
    """

    inputs: tuple[int, ...]
    output: int
    lo: tuple[Pixels, ...]
    hi: tuple[Pixels, ...]
    given: Pixels
    macs: npt.NDArray[np.int64]
    macs_once: int
    segments: tuple[int, ...] = ()
    wrapped_bytes: tuple[int, ...] = ()

    @property
    def count(self) -> int:
        return len(self.given)

    @cached_property
    def gives_most(self) -> int:
        """Pixels that one firing gives at most."""
        return int(np.diff(self.given, prepend=0).max(initial=0))

    @property
    def is_exact(self) -> bool:
        """Whether nothing is computed twice."""
        return int(self.macs.sum()) == self.macs_once

    def births(self, pixels: Positions) -> Positions:
        """The firings that give these pixels of the output."""
        return np.searchsorted(self.given, pixels, "right")

    def last_uses(self, which: int, pixels: Positions) -> Positions:
        """Per pixel of an input, the last firing before it is dead."""
        return np.searchsorted(self.lo[which], pixels, "right") - 1


class Columns(NamedTuple):
    """What of a stage's state does not live as long as the stage: of each of ``rows`` rows of
    ``pitch`` bytes, the first of them at ``offset``, the first ``carried`` bytes live from the
    first firing that gives a row of the output to the last, the others during firings only."""

    offset: int
    rows: int
    pitch: int
    carried: int

    @property
    def idle_bytes(self) -> int:
        """What does not live between firings."""
        return self.rows * (self.pitch - self.carried)


class Outline:
    """What C says of a stage; its extents are not looked at.

    Attributes:
        state_bytes, scratch_bytes: multiples of 16; scratch without that for wrapped rows.
        columns: those of its state; None if there are none.
    """

    def __init__(
        self,
        sketch: bytes,
        tensors: int,
        inputs: tuple[int, ...],
        output: int,
        constants: Collection[int],
    ) -> None:
        """sketch: see native/firings.h; it has so many tensors. inputs, output: the numbers of the
        stage's tensors outside the sketch; -1 for no output. constants: those of the inputs that do
        not live in the arena."""
        self._inputs, self._output = inputs, output
        self._sketch, self._tensors = sketch, tensors
        self._living = [i for i, t in enumerate(inputs) if t not in constants]
        ffi, lib = load()
        found = self._found = ffi.new("struct plan_outline *")
        lib.plan_outline_of(ffi.from_buffer(self._sketch), self._tensors, found)
        self.state_bytes, self.scratch_bytes = int(found.state_bytes), int(found.scratch_bytes)
        columns = Columns(
            found.columns_offset, found.columns_rows, found.columns_pitch, found.columns_carried
        )
        self.columns = columns if columns.rows else None

    @property
    def count(self) -> int:
        """Firings."""
        return int(self._found.firings)

    def wrapped_bytes(self, tensors: Collection[int]) -> int:
        """Scratch on top for inputs among these tensors, if their rings wrap rows."""
        return sum(
            int(self._found.wrapped_bytes[i])
            for i, tensor in enumerate(self._inputs)
            if tensor in tensors
        )

    def firings(self) -> Firings:
        """All of them."""
        ffi, lib = load()
        needs = np.zeros((2, len(self._inputs), self.count), np.int32)
        given, macs = np.zeros(self.count, np.int32), np.zeros(self.count, np.int64)
        room = ffi.new("struct plan_firings *")
        for side, rows in zip((room.lo, room.hi), needs, strict=True):
            for i, row in enumerate(rows):
                side[i] = pointer("int32_t *", row)
        room.given, room.macs = pointer("int32_t *", given), pointer("int64_t *", macs)
        lib.plan_firings_of(ffi.from_buffer(self._sketch), self._tensors, room)
        return Firings(
            tuple(self._inputs[i] for i in self._living),
            self._output,
            tuple(needs[0, i] for i in self._living),
            tuple(needs[1, i] for i in self._living),
            given if self._output >= 0 else np.zeros_like(given),
            macs,
            int(self._found.macs_once),
            tuple(int(self._found.segments[i]) for i in self._living),
            tuple(int(self._found.wrapped_bytes[i]) for i in self._living),
        )


def outline(graph: QGraph, stage: Stage, layout: Layout = Layout.PLAIN) -> Outline:
    """Ask C about a stage.

    Raises: PlanError: its form does not suit its operators; a size that the format has no room for.
    """
    _check_form(graph, stage)
    inputs, output = stage_inputs(graph, stage), stage_output(graph, stage)
    body = _body(len(inputs) + 1, layout)
    code, flags, params = stage_params(graph, stage, body)
    place = body.add(params) if params else 0
    numbers = range(len(inputs))
    record = stage_record(code, stage.form, flags, numbers, len(inputs), stage.strip, place)
    return _sketched(graph, inputs, output, record, body)


def _sketched(
    graph: QGraph, inputs: tuple[int, ...], output: int, record: bytes, body: Body
) -> Outline:
    """record: its input i is tensor i of the sketch, its output the last one; -1 for none.
    body: what the parameters stand in."""
    tensors = [graph.tensors[t] for t in (*inputs, output) if t >= 0]
    records = [tensor_record(info, 0, info.height * info.width) for info in tensors]
    top = header(0, body.layout, (len(tensors), 1, 0, 0, 0, 1))
    sketch = b"".join((top, *records, record, bytes(body)))
    constants = {t for t in inputs if graph.tensors[t].data is not None}
    return Outline(sketch, len(tensors), inputs, output, constants)


def blob_outline(blob: bytes, stage: int) -> Outline:
    """Ask C about a stage of a blob, whose tensors have the blob's numbers. blob: one that the
    runtime has opened; stage: by the engine's number."""
    fields = stage_fields(blob, stage)
    first, record = (stage_place(blob, number) for number in (0, stage))
    # The sketch's only stage is its first; all offsets of parameters stay what they are.
    sketch = blob[:first] + blob[record : record + STAGE.size] + blob[first + STAGE.size :]
    constants = {t for t in fields.inputs if tensor_fields(blob, t).is_kept}
    tensors = Header.unpack(blob).tensor_count
    return Outline(sketch, tensors, fields.inputs, fields.output, constants)


def stage_firings(graph: QGraph, stage: Stage) -> Firings:
    """The firings of a stage of the plan. Raises: PlanError: as ``outline``."""
    return outline(graph, stage).firings()


def input_firings(graph: QGraph, tensor: int, strip: int) -> Firings:
    """INPUT: ``strip`` pixels of a row per firing."""
    record = stage_record(Op.INPUT, Form.SINGLE, 0, (), 0, strip)
    return _sketched(graph, (), tensor, record, _body(1)).firings()


def output_firings(graph: QGraph, tensor: int) -> Firings:
    """OUTPUT: one row per firing."""
    record = stage_record(Op.OUTPUT, Form.SINGLE, 0, (0,), NONE, graph.tensors[tensor].width)
    return _sketched(graph, (tensor,), -1, record, _body(1)).firings()


def input_strips(graph: QGraph, strips: Sequence[int]) -> tuple[int, ...]:
    """Pixels per firing of each input. strips: as in ``Plan.input_strips``."""
    return tuple(strips) or tuple(graph.tensors[edge.tensor].width for edge in graph.inputs)


def stage_inputs(graph: QGraph, stage: Stage) -> tuple[int, ...]:
    """The tensors that a stage reads, constants too."""
    if len(stage.ops) > 1:
        return (bottleneck(graph, stage.ops).input,)
    return graph.ops[stage.ops[0]].inputs


def stage_output(graph: QGraph, stage: Stage) -> int:
    """The tensor that a stage writes."""
    return graph.ops[stage.ops[-1]].output


def _body(tensors: int, layout: Layout = Layout.PLAIN) -> Sketch:
    return Sketch(HEADER.size + TENSOR.size * tensors + STAGE.size, layout)


def _check_form(graph: QGraph, stage: Stage) -> None:
    if stage.form in (Form.TILED, Form.ROLLING):
        parts = bottleneck(graph, stage.ops)
        out = graph.tensors[parts.output]
        if stage.row_tile != 1 and stage.strip != out.width:
            raise PlanError(
                f"operators {stage.ops}: tiles of several rows are as wide as the output"
            )
        overlap = parts.depthwise.weights.shape[0] - parts.depthwise.stride[0]
        if stage.form is Form.ROLLING and (
            parts.expand is None or stage.row_tile != 1 or stage.kept_rows > overlap
        ):
            raise PlanError(
                f"operators {stage.ops}: rolling needs an expansion and kernel >= stride"
            )
        return
    (index,) = stage.ops
    op = graph.ops[index]
    if stage.form not in forms_of(graph, op):
        raise PlanError(f"operator {index} ({op.kind}): it has no form {stage.form.name}")
    if stage.row_tile != 1:
        raise PlanError(f"operator {index} ({op.kind}): row_tile must be 1")
