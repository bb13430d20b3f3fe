# SPDX-License-Identifier: Apache-2.0
"""How far a quantized network is from its source file, as that file's own runtime runs it.

A file that is uint8, in QOperator form or quantized in part computes otherwise than the float
network that it is taken as; only LiteRT or onnxruntime knows what it really gives. Neither is
needed for anything else, so where one is missing there is no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from narrows.graph.edges import Array, to_internal
from narrows.graph.graph import Graph, Port
from narrows.quantization import reference
from narrows.quantization.float_model import Sample
from narrows.quantization.lower import lower

_Run: TypeAlias = Callable[[Sequence[Array]], list[Array]]


@dataclass(frozen=True)
class Distance:
    """runtime: what ran the source. samples: how many. decibels: of its outputs over the
    difference; infinite if there is none. most: the largest difference. largest: the largest of
    its outputs."""

    runtime: str
    samples: int
    decibels: float
    most: float
    largest: float


def distance(path: str | Path, quantized: Graph, samples: Sequence[Sample]) -> Distance | str:
    """Run a source file and the int8 network that was made of it.

    Args:
        samples: float32 inputs in the ports' shapes.

    Returns:
        How far apart the outputs are, or why that is not known.
    """
    is_tflite = Path(path).read_bytes()[4:8] == b"TFL3"
    name = "LiteRT" if is_tflite else "onnxruntime"
    package = "ai-edge-litert" if is_tflite else "onnxruntime"
    try:
        run = _litert(path, quantized.inputs) if is_tflite else _onnxruntime(path, quantized.inputs)
    except ImportError:
        return f"{name} is not installed: pip install {package}"
    except Exception as error:  # whatever another runtime raises for its own file
        return f"{name} does not run it ({' '.join(str(error).split())[:100]})"
    qgraph = lower(quantized)
    power, noise, most, largest = 0.0, 0.0, 0.0, 0.0
    for sample in samples:
        inside = [
            to_internal(edge, qgraph.tensors[edge.tensor], _as_edge(edge, x))
            for edge, x in zip(qgraph.inputs, sample, strict=True)
        ]
        made, wanted = reference.run(qgraph, inside), run(sample)
        for edge, port, got, want in zip(
            qgraph.outputs, quantized.outputs, made, wanted, strict=True
        ):
            tensor = qgraph.tensors[edge.tensor]
            real = (got.astype(np.float64) - tensor.zero_point) * tensor.scale
            right = np.moveaxis(want, 1, -1) if port.channels_first else want
            apart = real.reshape(-1) - right.reshape(-1)
            power += float(np.square(right, dtype=np.float64).sum())
            noise += float(np.square(apart).sum())
            most = max(most, float(np.abs(apart).max()))
            largest = max(largest, float(np.abs(right).max()))
    with np.errstate(divide="ignore"):
        decibels = float(10 * np.log10(np.float64(power) / noise)) if noise else np.inf
    return Distance(name, len(samples), decibels, most, largest)


def _as_edge(edge: Any, x: Array) -> Array:
    """Real numbers as an edge takes them."""
    if edge.dtype == "float32":
        return x
    limits = np.iinfo(edge.dtype)
    steps = np.rint(x.astype(np.float64) / edge.scale) + edge.zero_point
    made: Array = np.clip(steps, limits.min, limits.max).astype(edge.dtype)
    return made


def _as_file(ports: Sequence[Port], inputs: Sequence[Array]) -> list[Array]:
    """Inputs in the ports' shapes as the file has them."""
    pairs = zip(ports, inputs, strict=True)
    return [np.moveaxis(x, -1, 1) if port.channels_first else x for port, x in pairs]


def _litert(path: str | Path, given: Sequence[Port]) -> _Run:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter: Any = Interpreter(
        model_content=Path(path).read_bytes(),
        num_threads=1,
        # XNNPACK's kernels round float weights of int8 networks otherwise than the file says.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()

    def run(inputs: Sequence[Array]) -> list[Array]:
        for port, x in zip(interpreter.get_input_details(), _as_file(given, inputs), strict=True):
            interpreter.set_tensor(port["index"], _encoded(x.reshape(port["shape"]), port))
        interpreter.invoke()
        ports = interpreter.get_output_details()
        return [_decoded(interpreter.get_tensor(port["index"]), port) for port in ports]

    return run


def _encoded(x: Array, port: Any) -> Array:
    scale, zero_point = port["quantization"]
    if port["dtype"] is np.float32:
        return x.astype(np.float32)
    limits = np.iinfo(port["dtype"])
    steps = np.rint(x / scale) + zero_point
    made: Array = np.clip(steps, limits.min, limits.max).astype(port["dtype"])
    return made


def _decoded(y: Array, port: Any) -> Array:
    scale, zero_point = port["quantization"]
    return y if port["dtype"] is np.float32 else (y.astype(np.float64) - zero_point) * scale


def _onnxruntime(path: str | Path, ports: Sequence[Port]) -> _Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(inputs: Sequence[Array]) -> list[Array]:
        names = (given.name for given in session.get_inputs())
        return list(session.run(None, dict(zip(names, _as_file(ports, inputs), strict=True))))

    return run
