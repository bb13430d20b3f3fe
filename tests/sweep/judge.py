# SPDX-License-Identifier: Apache-2.0
"""What becomes of a float network: quantized, compiled, run, and compared with the oracle and with
the framework's own answers."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from narrows.compiler import compile_model
from narrows.exporters.export import export_tflite
from narrows.graph.edges import to_external, to_internal
from narrows.graph.graph import Graph, Port, UnaryFunction
from narrows.graph.passes import drop_unused
from narrows.graph.qgraph import Int8Array, QGraph
from narrows.native import Model, Run
from narrows.quantization import reference
from narrows.quantization.float_model import FloatModel
from narrows.quantization.pipeline import quantize_network
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


def reason_of(error: Exception, name: str) -> str:
    """Why a network was refused, in a line without its name."""
    said = " ".join(str(error).split()).removeprefix(f"{name}: ")
    said = said.partition(" operator(s): ")[2] or said
    # Exporters number and name the same operators in their own ways.
    said = re.sub(r"operator \d+ (\S+) \([^()]*\):", r"\1:", said)
    return re.sub(r" \((so is operator|so are operators) [\d, ]+\)", "", said)


def samples(shapes: Sequence[tuple[int, ...]]) -> list[list[Array]]:
    """Float32 inputs of a batch of 1, to calibrate with and to judge by."""
    rng, count = np.random.default_rng(3), CALIBRATION + JUDGED
    return [[rng.normal(0, 1, shape).astype(np.float32) for shape in shapes] for _ in range(count)]


def _as_ports(ports: Sequence[Port], case: Sequence[Array], turned: bool) -> list[Array]:
    """A framework's values as ports take or give them."""
    made = []
    for port, values in zip(ports, case, strict=True):
        if port.channels_first and not turned:
            values = np.moveaxis(values, 1, -1)
        made.append(np.ascontiguousarray(values).reshape(port.shape))
    return made


def judged(
    graph: Graph,
    inputs: Sequence[Sequence[Array]],
    wanted: Sequence[Sequence[Array]],
    *,
    turned: bool = False,
) -> tuple[int, float]:
    """Quantize, compile and run a float network.

    Args:
        inputs: to calibrate with, and behind them those of ``wanted``.
        wanted: the framework's answers.
        turned: both have channels last already.

    Returns:
        As Outcome has them: outputs apart, and decibels.
    """
    cases = [_as_ports(graph.inputs, case, turned) for case in inputs]
    answers = [_as_ports(graph.outputs, case, turned) for case in wanted]
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
    return ran(model, cases, answers, gelu=has_gelu(quantized))


def ran(
    model: bytes,
    cases: Sequence[Sequence[Array]],
    answers: Sequence[Sequence[Array]] | None = None,
    *,
    gelu: bool = False,
) -> tuple[int, float]:
    """Compile and run an int8 .tflite file.

    Args:
        cases: inputs, as real numbers or in the file's own types.
        answers: real numbers that the outputs should be near; None if none are known.
        gelu: TensorFlow Lite Micro cannot run it.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"
        path.write_bytes(model)
        compiled = compile_model(path)
    run, qgraph = Run(Model(compiled.blob)), compiled.qgraph
    oracle = None if gelu else Oracle(model)
    apart, powers = 0, np.zeros((2, len(qgraph.outputs)))
    for number, case in enumerate(cases):
        inside = [
            to_internal(edge, qgraph.tensors[edge.tensor], x)
            for edge, x in zip(qgraph.inputs, case, strict=True)
        ]
        outputs = run.infer(inside)
        expected = _expected(qgraph, oracle, inside)
        for i, (edge, got) in enumerate(zip(qgraph.outputs, outputs, strict=True)):
            tensor = qgraph.tensors[edge.tensor]
            given = to_external(edge, tensor, got)
            apart += int((given != expected[i]).sum())
            if answers is not None:
                real = given.astype(np.float64)
                if edge.elements == "int8":
                    real = (got.astype(np.float64) - tensor.zero_point) * tensor.scale
                want = answers[number][i].reshape(real.shape)
                powers[:, i] += np.square(want).sum(), np.square(real - want).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        return apart, float((10 * np.log10(powers[0] / powers[1])).min())


def has_gelu(graph: Graph) -> bool:
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
