# SPDX-License-Identifier: Apache-2.0
"""pack: a graph and its plan as the bytes of a blob."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from narrows.errors import BlobError, PlanError
from narrows.graph.qgraph import QConv, QDepthwise, QGraph, QOp, QPool, QTensor
from narrows.native import MAX_KERNEL_ROWS, MAX_STEP_WORK, Form, Op, max_step_work
from narrows.pack.metadata import describe_channels, describe_edges, producer
from narrows.planning.plan import Plan
from narrows.stages.firings import (
    input_firings,
    input_strips,
    output_firings,
    stage_firings,
    stage_inputs,
    stage_output,
)
from narrows.stages.params import stage_params
from narrows.stages.records import (
    CONSTANT,
    HEADER,
    NONE,
    PERSISTENT,
    STAGE,
    TENSOR,
    VARIABLE,
    Body,
    fields,
    header,
    stage_record,
    tensor_record,
)
from narrows.stages.stage import Stage


def pack(graph: QGraph, plan: Plan, metadata: Mapping[str, Any] | None) -> bytes:
    """The blob of a planned network.

    Args:
        metadata: further keys of the metadata (labels, preprocessing), JSON values; None
            leaves the metadata out.

    Returns: the bytes, a multiple of 16.

    Raises: PlanError: a size that the format has no room for.
    """
    return _Packer(graph, plan).pack(metadata)


def values_of(info: QTensor) -> bytes:
    """The elements of a constant, or those that a variable begins with."""
    return np.ascontiguousarray(info.data, np.int8).tobytes()


class _Packer:
    def __init__(self, graph: QGraph, plan: Plan) -> None:
        self.graph = graph
        self.plan = plan
        self.rings = {ring.tensor: ring for ring in plan.rings}
        self.inputs = [edge.tensor for edge in graph.inputs]
        self.input_strips = input_strips(graph, plan.input_strips)
        self.outputs = [edge.tensor for edge in graph.outputs]
        self.streamed = list(dict.fromkeys(self.outputs[i] for i in plan.streamed_outputs))
        constants = {
            tensor
            for stage in plan.stages
            for tensor in stage_inputs(graph, stage)
            if graph.tensors[tensor].data is not None
        }
        self.variables = {v.tensor: n for n, v in enumerate(graph.variables)}
        used = sorted(self.rings.keys() | constants | self.variables.keys() | set(self.outputs))
        self.number = {tensor: i for i, tensor in enumerate(used)}
        self.stage_count = len(self.inputs) + len(plan.stages) + len(self.streamed)

    def pack(self, metadata: Mapping[str, Any] | None) -> bytes:
        readers, producers = self.wiring()
        reader_list = [stage for tensor in self.number for stage in readers[tensor]]
        records = HEADER.size + TENSOR.size * len(self.number) + STAGE.size * self.stage_count
        lists = np.array(reader_list + [self.number[t] for t in self.outputs], "<u2").tobytes()
        body = Body(records + len(lists), self.plan.layout)
        stages = self.stage_records(body)
        tensors = self.tensor_records(body, readers, producers)
        variables = self.variable_records(body)
        text = b"" if metadata is None else self.metadata_bytes(metadata)
        place = (body.add(text) if text else 0, len(text))
        body.pad(16)
        data = tensors + stages + lists + bytes(body)
        counts = (len(self.number), self.stage_count, len(reader_list), len(self.outputs))
        places = (*place, variables)
        draft = self.header(data, counts, 0, places) + data
        return self.header(data, counts, self.work(draft), places) + data

    def header(
        self, data: bytes, counts: tuple[int, ...], work: int, places: tuple[int, int, int]
    ) -> bytes:
        """work: of a step at most. counts: tensors, stages, readers, outputs. places: offset and
        bytes of the metadata, offset of the variables."""
        bare = header(
            HEADER.size + len(data),
            self.plan.layout,
            (*counts, len(self.inputs), self.plan.input_passes),
            self.plan.arena_bytes,
            work,
            self.plan.macs,
            sum(self.firing_counts()),
            places,
            zlib.crc32(data),
        )
        return bare[:-4] + zlib.crc32(bare[:-4]).to_bytes(4, "little")

    def work(self, draft: bytes) -> int:
        """max_step_work of a blob that is finished but for it: the runtime's own count."""
        try:
            return max_step_work(draft)
        except BlobError as error:
            number, place = divmod(
                error.offset - HEADER.size - TENSOR.size * len(self.number), STAGE.size
            )
            planned = number - len(self.inputs)
            if place == 0 and 0 <= planned < len(self.plan.stages):
                name = self.graph.tensors[stage_output(self.graph, self.plan.stages[planned])].name
                raise PlanError(
                    f"{name}: one firing of it computes more than the runtime takes at a time "
                    f"({MAX_STEP_WORK} multiply-accumulates); give the model smaller inputs"
                ) from error
            raise

    def wiring(self) -> tuple[dict[int, list[int]], dict[int, int]]:
        """Readers (ascending) and producer of each tensor, as stage numbers."""
        readers: dict[int, list[int]] = {tensor: [] for tensor in self.number}
        producers = {tensor: number for number, tensor in enumerate(self.inputs)}
        for number, stage in enumerate(self.plan.stages, len(self.inputs)):
            for tensor in dict.fromkeys(stage_inputs(self.graph, stage)):
                readers[tensor].append(number)
            producers[stage_output(self.graph, stage)] = number
        first_output = len(self.inputs) + len(self.plan.stages)
        for number, tensor in enumerate(self.streamed, first_output):
            readers[tensor].append(number)
        return readers, producers

    def tensor_records(
        self, body: Body, readers: dict[int, list[int]], producers: dict[int, int]
    ) -> bytes:
        records = b""
        first_reader = 0
        for tensor in self.number:
            info = self.graph.tensors[tensor]
            offset, capacity, flags = 0, info.height * info.width, 0
            if tensor in self.variables:
                offset, flags = self.plan.variables[self.variables[tensor]], PERSISTENT
            elif info.data is not None:
                offset, flags = body.add(values_of(info), 16), CONSTANT
            else:
                offset, capacity = self.rings[tensor].offset, self.rings[tensor].capacity
            listed = (first_reader, len(readers[tensor]))
            producer = producers.get(tensor, NONE)
            records += tensor_record(info, offset, capacity, producer, listed, flags)
            first_reader += len(readers[tensor])
        return records

    def variable_records(self, body: Body) -> int:
        """Add the list of the variables, in the order of their tensors. Returns its offset."""
        records = b""
        for tensor in sorted(self.variables):
            variable = self.graph.variables[self.variables[tensor]]
            info = self.graph.tensors[tensor]
            first = body.add(values_of(info), 1)
            numbers = (self.number[tensor], self.number[variable.source])
            records += fields(VARIABLE, info.name, *numbers, variable.row * info.width, first)
        count = len(self.variables)
        return body.add(fields("<I", "variables", count) + records) if count else 0

    def stage_records(self, body: Body) -> bytes:
        records = b""
        for tensor, strip in zip(self.inputs, self.input_strips, strict=True):
            records += stage_record(Op.INPUT, Form.SINGLE, 0, (), self.number[tensor], strip)
        for stage in self.plan.stages:
            records += self.planned_record(stage, body)
        for tensor in self.streamed:
            width = self.graph.tensors[tensor].width
            number = self.outputs.index(tensor)
            inputs = (self.number[tensor],)
            records += stage_record(Op.OUTPUT, Form.SINGLE, 0, inputs, NONE, width, number)
        return records

    def planned_record(self, stage: Stage, body: Body) -> bytes:
        if len(stage.ops) == 1:
            self.check_kernel(self.graph.ops[stage.ops[0]], stage)
        code, flags, params = stage_params(self.graph, stage, body)
        offset = body.add(params) if params else 0
        inputs = tuple(self.number[tensor] for tensor in stage_inputs(self.graph, stage))
        output = self.number[stage_output(self.graph, stage)]
        state = (stage.state.offset, stage.state.bytes)
        scratch = (stage.scratch.offset, stage.scratch.bytes)
        return stage_record(
            code, stage.form, flags, inputs, output, stage.strip, offset, state, scratch
        )

    def check_kernel(self, op: QOp, stage: Stage) -> None:
        if stage.form is Form.ACCUMULATING:
            return
        if isinstance(op, QPool):
            rows = op.kernel[0]
        elif isinstance(op, (QConv, QDepthwise)):
            rows = op.weights.shape[1 if isinstance(op, QConv) else 0]
        else:
            return
        if rows > MAX_KERNEL_ROWS:
            name = self.graph.tensors[op.output].name
            raise PlanError(
                f"operator {op.kind} ({name}): its kernel has {rows} rows; the runtime takes "
                f"{MAX_KERNEL_ROWS} at most"
            )

    def firing_counts(self) -> list[int]:
        taken = zip(self.inputs, self.input_strips, strict=True)
        return [
            *(input_firings(self.graph, tensor, strip).count for tensor, strip in taken),
            *(stage_firings(self.graph, stage).count for stage in self.plan.stages),
            *(output_firings(self.graph, tensor).count for tensor in self.streamed),
        ]

    def metadata_bytes(self, metadata: Mapping[str, Any]) -> bytes:
        numbers = [
            *self.inputs,
            *(stage_output(self.graph, s) for s in self.plan.stages),
            *self.streamed,
        ]
        tensors = [self.graph.tensors[tensor] for tensor in numbers]
        value = {
            "name": self.graph.name,
            "producer": producer(),
            "inputs": describe_edges(self.graph, self.graph.inputs),
            "outputs": describe_edges(self.graph, self.graph.outputs),
            "stages": [tensor.name for tensor in tensors],
            # As few digits as tell one float32 from all others.
            "scales": [float(str(np.float32(tensor.scale))) for tensor in tensors],
            **describe_channels(tensors),
            **metadata,
        }
        try:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        except (TypeError, ValueError) as error:
            raise PlanError(f"metadata: not JSON ({error})") from error
