# SPDX-License-Identifier: Apache-2.0
"""How long an inference takes on this host, beside LiteRT with XNNPACK, both with one thread.

python tests/bench/host_speed.py [--rounds N] [--layout NAME] MODEL.tflite ...

The two take turns, an inference each, so that whatever else the machine does meets both; the table
has the least and the median of their milliseconds. The plan is the one that ``narrows compile``
chooses by itself.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from narrows.compiler import CompileOptions, compile_model
from narrows.native import Layout, Model, Run
from narrows.planning.planner import PlanOptions


def seconds(infer: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    infer()
    return time.perf_counter() - start


def measure(path: Path, layout: Layout, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of each inference, of narrows and of LiteRT."""
    options = CompileOptions(PlanOptions(layout=layout))
    run = Run(Model(compile_model(path, options).blob, str(path)))
    rng = np.random.default_rng(1)
    inputs = [rng.integers(-128, 128, info.shape, np.int8) for info in run.model.inputs]
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    for port, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(port["index"], values.reshape(port["shape"]).astype(port["dtype"]))
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(seconds(lambda: run.infer(inputs)))
        theirs.append(seconds(interpreter.invoke))
    return ours, theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--layout", choices=[e.name.lower() for e in Layout], default="plain")
    arguments = parser.parse_args()
    print(f"{'':32} {'narrows':>17} {'LiteRT':>17} {'ratio':>11}")
    for path in arguments.models:
        both = measure(path, Layout[arguments.layout.upper()], arguments.rounds)
        least, median = (tuple(map(of, both)) for of in (min, statistics.median))
        print(
            f"{path.stem:32} {least[0] * 1e3:8.3f} {median[0] * 1e3:8.3f} "
            f"{least[1] * 1e3:8.3f} {median[1] * 1e3:8.3f} "
            f"{least[0] / least[1]:5.2f} {median[0] / median[1]:5.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
