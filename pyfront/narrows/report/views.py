# SPDX-License-Identifier: Apache-2.0
"""What a page shows of one plan: its stages, and who stands where in the arena and when.

A plan comes from the planner, with the graph that it is for, or out of a blob, which has no
operators any more but the same stages; both become a ``View``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from narrows.blob import Blob
from narrows.errors import BlobError
from narrows.graph.qgraph import (
    Axis,
    Edge,
    QConcat,
    QConv,
    QDepthwise,
    QElementwise,
    QGraph,
    QLookup,
    QOp,
    QPool,
    QTensor,
    QVariable,
)
from narrows.native import Form, Op, Status, describe
from narrows.planning.cost import plan_work, priced
from narrows.planning.occupancy import Occupancy, occupancy, placed, replay
from narrows.planning.plan import Plan
from narrows.planning.rates import rates
from narrows.planning.schedule import network_of
from narrows.planning.timeline import Candidate, Timeline, lifetimes
from narrows.stages.firings import blob_outline, stage_inputs, stage_output
from narrows.stages.params import ADD, EXPAND, PROJECT
from narrows.stages.records import (
    GEOMETRY,
    StageFields,
    stage_fields,
    tensor_fields,
    variable_fields,
)
from narrows.stages.stage import Extent, Stage

# Where the parameters of a BOTTLENECK have its depthwise and its expansion (runtime/SPEC.md).
_DEPTHWISE_AT, _EXPAND_AT = 12, 44
# Firings of all stages, beyond which a blob is nothing to look at.
_MOST_FIRINGS = 1 << 24


@dataclass(frozen=True)
class StageView:
    """One stage.

    parts: the operators that fire together, in words. names: of what they compute, as far as it
        is known; the last is that of the stage's output.
    inputs, output: tensors of the view; -1 for no output.
    form: in words; "" for the plain one. strip: columns of one firing.
    macs: of one inference, repeats included; macs_once: without.
    instructions: predicted; None if unknown. alone: what its operators take layer by layer.
    """

    parts: tuple[str, ...]
    names: tuple[str, ...]
    inputs: tuple[int, ...]
    output: int
    form: str
    strip: int
    macs: int
    macs_once: int
    instructions: float | None = None
    alone: float | None = None


@dataclass(frozen=True, eq=False)
class View:
    """One plan. tensors: those that its numbers mean. stages: as the engine numbers them."""

    tensors: tuple[QTensor, ...]
    timeline: Timeline
    occupied: Occupancy
    stages: tuple[StageView, ...]
    arena_bytes: tuple[int, ...]


def plan_view(graph: QGraph, plan: Plan, alone: Sequence[float] | None = None) -> View:
    """A plan that verify_plan has proved. alone: predicted instructions of each operator by
    itself."""
    timeline, _ = replay(graph, plan)
    table = rates(plan.layout, plan.kernels)
    costs = [priced(done, table) for done in plan_work(graph, plan)]
    stages = [_edge_stage(timeline, i) for i in range(timeline.inputs)]
    for number, stage in enumerate(plan.stages):
        firings = timeline.net.stages[number + timeline.inputs]
        ops = [graph.ops[i] for i in stage.ops]
        stages.append(
            StageView(
                parts=tuple(map(operator_words, ops)),
                names=tuple(graph.tensors[op.output].name for op in ops),
                inputs=stage_inputs(graph, stage),
                output=stage_output(graph, stage),
                form=_form_words(stage.form),
                strip=stage.strip,
                macs=int(firings.macs.sum()),
                macs_once=firings.macs_once,
                instructions=costs[number],
                alone=None if alone is None else sum(alone[i] for i in stage.ops),
            )
        )
    first_end = len(stages)
    stages += [_edge_stage(timeline, i) for i in range(first_end, len(timeline.net.stages))]
    return View(graph.tensors, timeline, occupancy(graph, plan), tuple(stages), plan.arena_bytes)


def blob_view(blob: Blob) -> View:
    """The plan in a blob, as its records and the runtime's C code tell it. Raises: BlobError: its
    plan stalls, or fires too often to be shown."""
    if blob.header.firings > _MOST_FIRINGS:
        raise BlobError(f"{blob.name}: {blob.header.firings:,} firings are too many for a page")
    graph = _tensors_of(blob)
    fields = [stage_fields(blob.data, i) for i in range(len(blob.model.stages))]
    outlines = [blob_outline(blob.data, i) for i in range(len(fields))]
    firings = tuple(outline.firings() for outline in outlines)
    streamed = {f.inputs[0] for f in fields if f.op is Op.OUTPUT}
    net = network_of(graph, firings, graph.sources | (graph.ends - streamed))
    records = {t: tensor_fields(blob.data, t) for t in net.pixels}
    capacities = {t: record.capacity for t, record in records.items()}
    inputs = sum(f.op is Op.INPUT for f in fields)
    schedule = net.simulate(capacities)
    if schedule.stalled:
        raise BlobError(f"{blob.name} {describe(Status.ERR_STALLED)}", Status.ERR_STALLED)
    timeline = lifetimes(graph, net, capacities, schedule, inputs)
    places = {("ring", t): record.offset for t, record in records.items()}
    for number, variable in enumerate(graph.variables):
        places["variable", number] = tensor_fields(blob.data, variable.tensor).offset
    chosen: list[Candidate] = []
    for number, (f, outline) in enumerate(zip(fields, outlines, strict=True)):
        if f.op in (Op.INPUT, Op.OUTPUT):
            continue
        places["state", len(chosen)], places["scratch", len(chosen)] = f.state[0], f.scratch[0]
        state, scratch = Extent(0, outline.state_bytes), Extent(0, outline.scratch_bytes)
        stage = Stage((), f.strip, f.form, state=state, scratch=scratch)
        chosen.append(Candidate(stage, firings[number], outline.columns, 0, 0, 0.0))
    memories = blob.header.bytes_by_memory
    occupied = placed(timeline, chosen, places, memories)
    stages = [
        _edge_stage(timeline, number)
        if f.op in (Op.INPUT, Op.OUTPUT)
        else StageView(
            parts=_stage_words(blob.data, f),
            names=(graph.tensors[f.output].name,),
            inputs=f.inputs,
            output=f.output,
            form=_form_words(f.form),
            strip=f.strip,
            macs=int(firings[number].macs.sum()),
            macs_once=firings[number].macs_once,
        )
        for number, f in enumerate(fields)
    ]
    return View(graph.tensors, timeline, occupied, tuple(stages), memories)


def operator_words(op: QOp) -> str:
    """An operator for people, such as ``depthwise 3×3/2``."""
    if isinstance(op, QConv):
        return f"conv {_window(op.weights.shape[1:3], op.stride)}"
    if isinstance(op, QDepthwise):
        return f"depthwise {_window(op.weights.shape[:2], op.stride)}"
    if isinstance(op, QPool):
        return f"{op.function} pool {_window(op.kernel, op.stride)}"
    if isinstance(op, QElementwise):
        return op.function.name.lower().replace("_", " ")
    return (op.name if isinstance(op, QLookup) else op.kind).lower().replace("_", " ")


def _window(kernel: Sequence[int], stride: Sequence[int]) -> str:
    """Such as ``3×3/2``: a stride of 1 is not worth a word."""
    strides = "" if max(stride) == 1 else f"/{stride[0]}"
    strides += "" if stride[0] == stride[1] else f"×{stride[1]}"
    return f"{kernel[0]}×{kernel[1]}{strides}"


def _form_words(form: Form) -> str:
    return "" if form is Form.SINGLE else form.name.lower()


def _edge_stage(timeline: Timeline, number: int) -> StageView:
    """INPUT, or an OUTPUT that hands rows out."""
    firings = timeline.net.stages[number]
    tensor = firings.output if firings.output >= 0 else firings.inputs[0]
    word = "input" if firings.output >= 0 else "output"
    name, strip = timeline.graph.tensors[tensor].name, max(1, firings.gives_most)
    return StageView((word,), (name,), firings.inputs, firings.output, "", strip, 0, 0)


# --- What a blob still knows ---------------------------------------------------------------------


def _tensors_of(blob: Blob) -> QGraph:
    """A graph of the blob's tensors; of its operators only those that append rows to variables."""
    names = {}
    scales = {}
    for number, stage in enumerate(blob.model.stages):
        if stage.output >= 0:
            known = blob.stage_names[number : number + 1]
            names[stage.output] = known[0] if known else f"tensor {stage.output}"
            scales[stage.output] = (blob.stage_scales[number : number + 1] or (1.0,))[0]
    variables = variable_fields(blob.data)
    for variable in variables:
        names[variable.tensor] = f"{names[variable.source]} (before)"
    tensors = tuple(
        QTensor(
            names.get(number, f"tensor {number}"),
            *info.shape,
            scales.get(number, 1.0),
            info.zero_point,
        )
        for number, info in enumerate(blob.model.tensors)
    )
    stages = [stage_fields(blob.data, i) for i in range(len(blob.model.stages))]
    widths = [tensor.width for tensor in tensors]
    appending = tuple(
        QConcat(f.inputs, f.output, Axis(blob.data[f.params])) for f in stages if f.op is Op.CONCAT
    )
    return QGraph(
        blob.name,
        tensors,
        appending,
        _edges(tensors, [f.output for f in stages if f.op is Op.INPUT]),
        _edges(tensors, blob.model.output_tensors),
        tuple(QVariable(v.tensor, v.source, v.first // widths[v.source]) for v in variables),
    )


def _edges(tensors: Sequence[QTensor], numbers: Sequence[int]) -> tuple[Edge, ...]:
    return tuple(Edge(tensors[t].name, t, "int8", tensors[t].shape, 1.0, 0) for t in numbers)


def _stage_words(blob: bytes, fields: StageFields) -> tuple[str, ...]:
    """The operators of a stage."""

    def window(name: str, at: int) -> str:
        kernel_h, kernel_w, *strides = GEOMETRY.unpack_from(blob, fields.params + at)[:4]
        return f"{name} {_window((kernel_h, kernel_w), strides)}"

    if fields.op is Op.BOTTLENECK:
        expand = [window("conv", _EXPAND_AT)] if fields.flags & EXPAND else []
        project = ["conv 1×1"] if fields.flags & PROJECT else []
        add = ["add"] if fields.flags & ADD else []
        return (*expand, window("depthwise", _DEPTHWISE_AT), *project, *add)
    if fields.op in (Op.CONV, Op.DEPTHWISE):
        return (window(fields.op.name.lower(), 0),)
    return (fields.op.name.lower().replace("_", " "),)
