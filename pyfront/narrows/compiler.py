# SPDX-License-Identifier: Apache-2.0
"""The whole way from a model file to a blob: the pass list to read first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from narrows.errors import PlanError
from narrows.graph.graph import Graph
from narrows.graph.names import first_names
from narrows.graph.qgraph import QConv, QDepthwise, QGraph, macs, model_macs
from narrows.importers import load
from narrows.importers.metadata import model_metadata
from narrows.native import Model
from narrows.pack import pack
from narrows.planning.cost import figures
from narrows.planning.plan import Plan
from narrows.planning.planner import PlanOptions, plan_best
from narrows.planning.ram import ram_bytes
from narrows.quantization.arrangements import arrangements, over_time
from narrows.quantization.dead_channels import without_dead_channels
from narrows.quantization.lower import lower
from narrows.quantization.streaming import Streaming, streaming
from narrows.result import Progress, no_progress

# What share of the work is done, as a rule, before planning and after it.
_PLAN, _PACK = 0.2, 0.8


@dataclass(frozen=True)
class CompileOptions:
    """plan: what the memory plan may look like; its budget is for all RAM, ``ram_bytes``.
    metadata: further keys of the blob's metadata: labels, preprocessing.
    stream: how many rows of the input's window are new in each inference, if it shall go on from
        one to the next (quantization.streaming).
    shapes: of an ONNX model's inputs that the file does not fix, by name; "" is the only one."""

    plan: PlanOptions = field(default_factory=PlanOptions)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    stream: int | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Compiled:
    """Every value on the way, and the figures of ``compile --json``; ``warnings`` among them, if
    there is something that the user should know."""

    qgraph: QGraph
    plan: Plan
    blob: bytes
    report: dict[str, Any]


def compile_model(
    path: str | Path,
    options: CompileOptions | None = None,
    progress: Progress = no_progress,
) -> Compiled:
    """Compile an int8 ``.tflite`` file, or an ``.onnx`` file in QDQ form.

    Raises:
        ModelError: the file cannot be read or has operators that are not supported.
        PlanError: no plan keeps the budget.
    """
    options = options or CompileOptions()
    progress("import", 0.0)
    graph = load(path, shapes=options.shapes)
    metadata = {**model_metadata(path), **options.metadata}
    return compile_graph(graph, replace(options, metadata=metadata), progress, str(path))


def compile_graph(
    graph: Graph, options: CompileOptions, progress: Progress = no_progress, place: str = ""
) -> Compiled:
    """Compile an int8 network. Each pass checks what it has made.

    Args:
        options: all of the blob's metadata; its shapes are not looked at.
        place: what errors call the network, which name an operator or a tensor of it.

    Raises:
        ModelError: it is not quantized.
        PlanError: no plan keeps the budget.
    """
    progress("lower", _PLAN / 2)
    lowered = without_dead_channels(lower(graph))
    qgraphs = arrangements(lowered)
    how = replace(options.plan, all_ram=True)
    metadata = dict(options.metadata)
    figures_of_stream: dict[str, Any] = {}
    try:
        if options.stream is not None:
            stream = streaming(over_time(lowered), options.stream)
            of_windows = plan_best(qgraphs, replace(how, ram=None, memories=None))
            figures_of_stream = _of_stream(stream, *of_windows)
            metadata["stream"] = stream.sequence.metadata
            qgraphs = arrangements(stream.graph)

        progress("plan", _PLAN)
        qgraph, planned = plan_best(
            qgraphs, how, lambda done: progress("plan", _PLAN + (_PACK - _PLAN) * done)
        )
        warnings = [*graph.warnings, *_warnings_of_tiling(qgraphs, how, ram_bytes(qgraph, planned))]
        progress("pack", _PACK)
        compiled = pack_plan(qgraph, planned, metadata, warnings, figures_of_stream)
    except PlanError as error:
        raise PlanError(f"{place or graph.place}: {error}") from error
    progress("done", 1.0)
    return compiled


def pack_plan(
    qgraph: QGraph,
    planned: Plan,
    metadata: Mapping[str, Any],
    warnings: Sequence[str] = (),
    figures_of_stream: dict[str, Any] | None = None,
) -> Compiled:
    """The blob of a network whose plan has been chosen, and its figures. Raises: PlanError."""
    blob = pack(qgraph, planned, metadata)
    model = Model(blob, qgraph.name)  # the runtime's own structural check
    model.verify()
    report = describe(qgraph, planned, blob, model)
    report["left_out_macs"] = model_macs(qgraph) - macs(qgraph)
    if figures_of_stream:
        report["stream"] = figures_of_stream
        warnings = [*warnings, *_warnings_of_stream(figures_of_stream)]
    if warnings:
        report["warnings"] = list(warnings)
    return Compiled(qgraph, planned, blob, report)


def describe(qgraph: QGraph, planned: Plan, blob: bytes, model: Model) -> dict[str, Any]:
    """The figures of a compiled model, in bytes and multiply-accumulates; ``predicted``: what the
    cost model says of one inference.

    max_step_macs: the most that one firing computes; max_step_work: with all else that it does, in
    the unit of the blob format.
    ram_bytes: arena, alignment slack, state of run and model on a 32-bit chip, and a buffer for
    what the caller is asked for at a time.
    input_strips: pixels of a row that each input takes at a time, if not all take whole rows.
    """
    weights = sum(int(op.weights.size) for op in qgraph.ops if isinstance(op, (QConv, QDepthwise)))
    return {
        "name": qgraph.name,
        "arena_bytes": planned.arena_total,
        "ram_bytes": ram_bytes(qgraph, planned),
        "macs": planned.macs,
        "mac_factor": planned.mac_factor,
        "input_passes": planned.input_passes,
        "max_step_macs": planned.max_step_macs,
        "max_step_work": model.max_step_work,
        "weight_bytes": weights,
        "blob_bytes": len(blob),
        "stages": len(model.stages),
        "predicted": figures(qgraph, planned),
        **({"input_strips": list(planned.input_strips)} if planned.input_strips else {}),
    }


def _warnings_of_tiling(qgraphs: Sequence[QGraph], how: PlanOptions, ram: int) -> list[str]:
    """ram: of the plan whose inverted residuals are cut, if that was asked for."""
    if how.tiling is None:
        return []
    rolling = ram_bytes(*plan_best(qgraphs, replace(how, tiling=None)))
    if ram <= rolling:
        return []
    return [
        f"--slice {how.tiling.slice} needs {ram:,} B of RAM, and {rolling:,} B would do without "
        "it: its slices take more than the rows that they save"
    ]


def _of_stream(stream: Streaming, windows: QGraph, planned: Plan) -> dict[str, Any]:
    """fills: inferences until the window is full. window_macs, window_ram_bytes: of the network
    that computes whole windows. padded, anew: as Streaming has them."""
    return {
        "rows": stream.sequence.rows,
        "window": stream.sequence.window,
        "fills": stream.fills,
        "window_macs": planned.macs,
        "window_ram_bytes": ram_bytes(windows, planned),
        "padded": list(stream.padded),
        "anew": list(stream.anew),
    }


def _warnings_of_stream(figures_of_stream: dict[str, Any]) -> list[str]:
    padded, anew = (first_names(figures_of_stream[key]) for key in ("padded", "anew"))
    found = []
    if padded:
        found.append(
            f"{padded} have padding along the window's height, in whose place a stream has the "
            "rows before and behind: its answers are not those of windows by themselves"
        )
    if anew:
        found.append(f"{anew} are computed anew for each window: they see all of what is before")
    return found
