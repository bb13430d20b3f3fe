# SPDX-License-Identifier: Apache-2.0
"""Everything that has to give TensorFlow Lite Micro's bytes, and the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

import numpy as np

from litert import LiteRT
from models import need
from narrows.exporters.export import export_tflite
from narrows.graph.edges import conform, host_edge, in_file, to_external, to_internal
from narrows.graph.qgraph import Int8Array, QGraph
from narrows.importers.tflite import import_tflite
from narrows.link import open_target
from narrows.native import Model, Run
from narrows.pack import pack
from narrows.planning.planner import PlanOptions, plan
from narrows.planning.random_plan import random_plan
from narrows.quantization import reference
from narrows.quantization.lower import lower
from oracle import Array, Oracle

Infer = Callable[[Sequence[Int8Array]], list[Int8Array]]
RANDOM_PLANS = 2
BOARD = "mps2-an386"


def subjects(qgraph: QGraph, rng: np.random.Generator, board: bool) -> Iterator[tuple[str, Infer]]:
    """(name, function from int8 inputs to int8 outputs)."""
    yield "reference", lambda inputs: reference.run(qgraph, inputs)
    whole = plan(qgraph, PlanOptions(materialize=True))
    plans = [("host, default plan", plan(qgraph)), ("host, whole tensors", whole)]
    drawn = Random(int(rng.integers(2**32)))
    plans += [(f"host, random plan {i}", random_plan(qgraph, drawn)) for i in range(RANDOM_PLANS)]
    for name, planned in plans:
        yield name, Run(Model(pack(qgraph, planned, {}), name)).infer
    if board:
        rows = PlanOptions(streamed_outputs=tuple(range(len(qgraph.outputs))))
        blob = pack(qgraph, plan(qgraph, rows), {})
        yield "host, outputs by rows", Run(Model(blob, "rows")).infer
        need("arm-none-eabi-gcc", "qemu-system-arm")
        with open_target(f"qemu:{BOARD}", blob) as target:
            yield "board, outputs by rows", lambda inputs: list(target.infer(inputs).outputs)


def typical_inputs(qgraph: QGraph, rng: np.random.Generator, count: int = 3) -> list[list[Array]]:
    """Random inputs, and the extremes: least, most, alternating, zero."""
    sets = []
    for case in range(count + 4):
        inputs: list[Array] = []
        for edge in qgraph.inputs:
            if edge.dtype == "float32":
                t = qgraph.tensors[edge.tensor]
                low, high = (t.scale * (n - t.zero_point) for n in (-140, 140))
                values = rng.uniform(low, high, edge.shape).astype(np.float32)
                extremes = (low, high)
            else:
                info = np.iinfo(edge.dtype)
                values = rng.integers(info.min, info.max + 1, edge.shape).astype(edge.dtype)
                extremes = (info.min, info.max)
            if count <= case < count + 2:
                values = np.full_like(values, extremes[case - count])
            elif case == count + 2:
                values = np.resize(np.array(extremes, values.dtype), edge.shape)
            elif case == count + 3:
                values = np.full_like(values, edge.zero_point)
            inputs.append(values)
        sets.append(inputs)
    return sets


def check(
    model: bytes,
    rng: np.random.Generator,
    inputs: Sequence[Sequence[Array]] | None = None,
    board: bool = False,
    interpreter: type[Oracle | LiteRT] = Oracle,
) -> QGraph:
    """Require every subject to give TFLite Micro's bytes, dtypes and shapes, and the model that
    is exported again to give them in TFLite Micro.

    Args:
        board: one in QEMU is a subject, too.
        interpreter: what decides in the place of TFLite Micro where that errs.
    """
    graph = import_tflite(model, "single")
    qgraph = lower(graph)
    oracle, exported = interpreter(model), Oracle(export_tflite(graph))
    edges = [host_edge(edge, qgraph.tensors[edge.tensor]) for edge in qgraph.inputs]
    cases = [
        [conform(edge, values, "case") for edge, values in zip(edges, case, strict=True)]
        for case in inputs or typical_inputs(qgraph, rng)
    ]
    expected = [
        oracle.run([in_file(e, v) for e, v in zip(edges, case, strict=True)], len(qgraph.outputs))
        for case in cases
    ]
    for case, wanted in zip(cases, expected, strict=True):
        for got, want in zip(exported.run(case, len(wanted)), wanted, strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want, "exported")
    for name, infer in subjects(qgraph, rng, board):
        for number, (case, wanted) in enumerate(zip(cases, expected, strict=True)):
            inside = [
                to_internal(edge, qgraph.tensors[edge.tensor], values)
                for edge, values in zip(qgraph.inputs, case, strict=True)
            ]
            for edge, got, want in zip(qgraph.outputs, infer(inside), wanted, strict=True):
                outside = to_external(edge, qgraph.tensors[edge.tensor], got)
                where = f"{name}, input {number}, output {edge.name}"
                assert outside.dtype == want.dtype, where
                np.testing.assert_array_equal(outside, want, where)
    return qgraph
