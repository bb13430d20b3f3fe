# SPDX-License-Identifier: Apache-2.0
"""The whole way from a model file to a blob: the pass list to read first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from narrows.graph.qgraph import QGraph
from narrows.importers.tflite import import_tflite
from narrows.pack import pack
from narrows.plan.plan import Plan
from narrows.plan.planner import PlanOptions, plan
from narrows.quantize.lower import lower

Progress = Callable[[str, float], None]
"""Called with what is being done and how much of it is done, 0 to 1."""


@dataclass(frozen=True)
class CompileOptions:
    """metadata: further keys of the blob's metadata: labels, preprocessing."""

    plan: PlanOptions = PlanOptions()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Compiled:
    qgraph: QGraph
    plan: Plan
    blob: bytes
    report: dict[str, Any]


def compile_model(
    path: str | Path,
    options: CompileOptions = CompileOptions(),
    progress: Progress | None = None,
) -> Compiled:
    """Compile a model file."""
    graph = import_tflite(path)
    qgraph = lower(graph)
    planned = plan(qgraph, options.plan)
    blob = pack(qgraph, planned, options.metadata)
    report = {
        "arena_bytes": planned.arena_bytes,
        "macs": planned.macs,
        "mac_factor": planned.mac_factor,
        "input_passes": planned.input_passes,
        "max_step_macs": planned.max_step_macs,
        "blob_bytes": len(blob),
    }
    return Compiled(qgraph, planned, blob, report)
