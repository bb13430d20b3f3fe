# SPDX-License-Identifier: Apache-2.0
"""The whole way from a model file to a blob: the pass list to read first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from narrows.errors import PlanError
from narrows.graph.graph import verify_graph
from narrows.graph.qgraph import QConv, QDepthwise, QGraph
from narrows.importers import load
from narrows.importers.metadata import model_metadata
from narrows.native import Model
from narrows.pack import pack
from narrows.plan.plan import Plan
from narrows.plan.planner import PlanOptions, plan, what_binds
from narrows.plan.verify import verify_plan
from narrows.quantize.lower import lower
from narrows.quantize.verify import verify_qgraph
from narrows.result import Progress, no_progress

STATE_BYTES = 48
"""sizeof(struct nrw_model) + sizeof(struct nrw_run) where pointers have 4 bytes."""
ALIGNMENT_SLACK = 15
"""What memory of any address loses until the arena is 16-byte aligned."""


@dataclass(frozen=True)
class CompileOptions:
    """plan: what the memory plan may look like.
    metadata: further keys of the blob's metadata: labels, preprocessing."""

    plan: PlanOptions = field(default_factory=PlanOptions)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Compiled:
    """Every value on the way, and the figures of ``compile --json``."""

    qgraph: QGraph
    plan: Plan
    blob: bytes
    report: dict[str, int | float | str]


def compile_model(
    path: str | Path,
    options: CompileOptions | None = None,
    progress: Progress = no_progress,
) -> Compiled:
    """Compile an int8 ``.tflite`` file, or an ``.onnx`` file in QDQ form. Each pass is followed
    by its check.

    Raises:
        ModelError: the file cannot be read or has operators that are not supported.
        PlanError: no plan keeps the budget.
    """
    options = options or CompileOptions()
    progress("import", 0.0)
    graph = load(path)
    verify_graph(graph)

    progress("lower", 0.1)
    qgraph = lower(graph)
    verify_qgraph(qgraph)

    progress("plan", 0.2)
    planned = plan(qgraph, options.plan)
    verify_plan(qgraph, planned)

    progress("pack", 0.8)
    blob = pack(qgraph, planned, {**model_metadata(path), **options.metadata})
    model = Model(blob, qgraph.name)  # the runtime's own structural check
    model.verify()

    report = describe(qgraph, planned, blob, model)
    budget = options.plan.ram
    if budget is not None and report["ram_bytes"] > budget:
        raise PlanError(
            f"{qgraph.name} needs {report['ram_bytes']} bytes of RAM, {planned.arena_bytes} of "
            f"them arena, not {budget}; {what_binds(qgraph, planned)}"
        )
    progress("done", 1.0)
    return Compiled(qgraph, planned, blob, report)


def describe(qgraph: QGraph, planned: Plan, blob: bytes, model: Model) -> dict[str, Any]:
    """The figures of a compiled model, in bytes and multiply-accumulates.

    ram_bytes: arena, alignment slack, state of run and model on a 32-bit chip, and the row
    buffer that the caller fills.
    """
    row_buffer = max(info.row_bytes for info in model.inputs)
    beside = ALIGNMENT_SLACK + STATE_BYTES + model.progress_bytes + row_buffer
    weights = sum(int(op.weights.size) for op in qgraph.ops if isinstance(op, (QConv, QDepthwise)))
    return {
        "name": qgraph.name,
        "arena_bytes": planned.arena_bytes,
        "ram_bytes": planned.arena_bytes + beside,
        "macs": planned.macs,
        "mac_factor": planned.mac_factor,
        "input_passes": planned.input_passes,
        "max_step_macs": planned.max_step_macs,
        "weight_bytes": weights,
        "blob_bytes": len(blob),
        "stages": len(model.stages),
    }
