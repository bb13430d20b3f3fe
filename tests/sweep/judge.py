# SPDX-License-Identifier: Apache-2.0
"""What becomes of a float network: quantized, compiled, run, and compared with the oracle and with
the framework's own answers."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from narrows.compile import compile_model
from narrows.exporters.export import export_tflite
from narrows.graph.edges import to_external, to_internal
from narrows.graph.graph import Graph, Port, UnaryFunction
from narrows.graph.passes import drop_unused
from narrows.graph.qgraph import Int8Array, QGraph
from narrows.native import Model, Run
from narrows.quantize import reference
from narrows.quantize.float_model import FloatModel
from narrows.quantize.pipeline import quantize_network
from oracle import Array, Oracle

CALIBRATION, JUDGED = 16, 3
# Of the float network's outputs against the framework's, relative to the largest of them.
_TOLERANCE = 2e-4


@dataclass(frozen=True)
class Outcome:
    """What became of a network.

    refused: why it does not compile. apart: how many outputs are not the oracle's bytes. decibels:
    of the framework's answers over the difference from them; the worst output's.
    """

    name: str
    exporter: str
    refused: str = ""
    apart: int = 0
    decibels: float = np.inf


def samples(shapes: Sequence[tuple[int, ...]]) -> list[list[Array]]:
    """Float32 inputs of a batch of 1, to calibrate with and to judge by."""
    rng, count = np.random.default_rng(3), CALIBRATION + JUDGED
    return [[rng.normal(0, 1, shape).astype(np.float32) for shape in shapes] for _ in range(count)]


def _as_port(port: Port, values: Array) -> Array:
    """A framework's values as a port takes or gives them."""
    turned = np.moveaxis(values, 1, -1) if port.channels_first else values
    return np.ascontiguousarray(turned).reshape(port.shape)


def judged(
    graph: Graph, inputs: Sequence[Sequence[Array]], wanted: Sequence[Sequence[Array]]
) -> tuple[int, float]:
    """Quantize, compile and run a float network.

    Args:
        inputs: to calibrate with, and behind them those of ``wanted``.
        wanted: the framework's answers.

    Returns:
        As Outcome has them: outputs apart, and decibels.
    """
    cases = [
        [_as_port(port, x) for port, x in zip(graph.inputs, case, strict=True)] for case in inputs
    ]
    answers = [
        [_as_port(port, y) for port, y in zip(graph.outputs, case, strict=True)] for case in wanted
    ]
    exact = FloatModel(graph)
    for case, right in zip(cases[-len(wanted) :], answers, strict=True):
        for got, want in zip(exact.run(case), right, strict=True):
            most = max(1.0, float(np.abs(want).max()))
            np.testing.assert_allclose(got, want, atol=_TOLERANCE * most, rtol=_TOLERANCE)
    quantized = quantize_network(graph, lambda: iter(cases[: -len(wanted)])).graph
    return _compared(quantized, cases[-len(wanted) :], answers)


def _compared(
    quantized: Graph, cases: Sequence[Sequence[Array]], answers: Sequence[Sequence[Array]]
) -> tuple[int, float]:
    model = export_tflite(drop_unused(quantized))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"
        path.write_bytes(model)
        compiled = compile_model(path)
    run, qgraph = Run(Model(compiled.blob)), compiled.qgraph
    oracle = None if _has_gelu(quantized) else Oracle(model)
    apart, powers = 0, np.zeros((2, len(qgraph.outputs)))
    for case, right in zip(cases, answers, strict=True):
        inside = [
            to_internal(edge, qgraph.tensors[edge.tensor], x)
            for edge, x in zip(qgraph.inputs, case, strict=True)
        ]
        outputs = run.infer(inside)
        expected = _expected(qgraph, oracle, inside)
        for i, (edge, got) in enumerate(zip(qgraph.outputs, outputs, strict=True)):
            tensor = qgraph.tensors[edge.tensor]
            apart += int((to_external(edge, tensor, got) != expected[i]).sum())
            real = (got.astype(np.float64) - tensor.zero_point) * tensor.scale
            want = right[i].reshape(real.shape)
            powers[:, i] += np.square(want).sum(), np.square(real - want).sum()
    with np.errstate(divide="ignore"):
        return apart, float((10 * np.log10(powers[0] / powers[1])).min())


def _has_gelu(graph: Graph) -> bool:
    """Whether TensorFlow Lite Micro, which does not know GELU, cannot run a network."""
    functions = {getattr(operator, "function", None) for operator in graph.operators}
    return bool(functions.intersection((UnaryFunction.GELU, UnaryFunction.GELU_TANH)))


def _expected(qgraph: QGraph, oracle: Oracle | None, inside: Sequence[Int8Array]) -> list[Array]:
    """The oracle's outputs; without one those of the plain integers of the reference."""
    if oracle is None:
        outputs = zip(qgraph.outputs, reference.run(qgraph, inside), strict=True)
        return [to_external(edge, qgraph.tensors[edge.tensor], y) for edge, y in outputs]
    outside = [
        to_external(edge, qgraph.tensors[edge.tensor], x)
        for edge, x in zip(qgraph.inputs, inside, strict=True)
    ]
    return oracle.run(outside, len(qgraph.outputs))
