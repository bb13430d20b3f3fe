# SPDX-License-Identifier: Apache-2.0
"""How long an inference takes on this computer: narrows beside TensorFlow Lite Micro and LiteRT."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narrows.blob import Blob
from narrows.errors import ModelError, ToolError
from narrows.files import read_file
from narrows.graph.edges import Array, decode, in_file
from narrows.graph.qgraph import Int8Array
from narrows.native import Run
from narrows.reference import Tflm
from narrows.result import Progress, no_progress

Inference = Callable[[], object]
"""One inference over inputs that are chosen already, outputs included."""


@dataclass(frozen=True)
class Runtime:
    """What one runtime took. seconds: of each round."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class HostBench:
    """runtimes: narrows first. missing: why others could not run, a line each."""

    macs: int
    runtimes: tuple[Runtime, ...]
    missing: tuple[str, ...]

    def ratio(self, runtime: Runtime) -> float:
        """How many times as long as narrows a runtime takes."""
        return runtime.median / self.runtimes[0].median


def bench_host(
    blob: Blob,
    inputs: Sequence[Int8Array],
    model: Path | None,
    rounds: int,
    progress: Progress = no_progress,
) -> HostBench:
    """Measure one inference in each runtime, on one thread each.

    Each round runs every runtime once, so that what else the computer does meets all of them; what
    is compared are medians.

    Args:
        inputs: int8 [height, width, channels] each.
        model: the int8 ``.tflite`` of the blob, for the other runtimes; None: narrows alone.
        rounds: 1 or more, beside one that only warms up.

    Raises: ModelError: another runtime refuses the model.
    """
    run = Run(blob.model)
    runtimes: dict[str, Inference] = {"narrows": lambda: run.infer(inputs)}
    missing: list[str] = []
    if model is not None:
        known = zip(blob.inputs, inputs, strict=True)
        values = [in_file(edge, decode(edge, v)) for edge, v in known]
        for name, prepare in (("TFLite Micro", _tflm), ("LiteRT with XNNPACK", _litert)):
            try:
                runtimes[name] = prepare(model, values, len(blob.outputs))
            except ToolError as error:
                missing.append(str(error))
    seconds: dict[str, list[float]] = {name: [] for name in runtimes}
    for number in range(rounds + 1):
        for index, (name, infer) in enumerate(runtimes.items()):
            progress(name, (number + index / len(runtimes)) / (rounds + 1))
            began = time.perf_counter()
            infer()
            seconds[name].append(time.perf_counter() - began)
    return HostBench(
        macs=blob.header.macs,
        runtimes=tuple(Runtime(name, tuple(taken[1:])) for name, taken in seconds.items()),
        missing=tuple(missing),
    )


def _tflm(model: Path, values: Sequence[Array], outputs: int) -> Inference:
    """The reference kernels, as the wheel has them."""
    tflm = Tflm(model, goes_on=True)
    return lambda: tflm.infer(values, outputs)


def _litert(model: Path, values: Sequence[Array], outputs: int) -> Inference:
    """The kernels that LiteRT chooses by itself: XNNPACK's where it has some."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ToolError("LiteRT is not installed: pip install ai-edge-litert") from error
    try:
        interpreter: Any = Interpreter(model_content=read_file(model, "model"), num_threads=1)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{model}: LiteRT refuses it: {error}") from error
    takes = [port["index"] for port in interpreter.get_input_details()]
    gives = [port["index"] for port in interpreter.get_output_details()]

    def infer() -> list[Array]:
        for port, value in zip(takes, values, strict=True):
            interpreter.set_tensor(port, value)
        interpreter.invoke()
        return [interpreter.get_tensor(port) for port in gives]

    return infer
