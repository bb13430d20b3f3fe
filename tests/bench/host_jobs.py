# SPDX-License-Identifier: Apache-2.0
"""What several jobs are worth on this host: ``check``, ``compare`` and ``quantize``.

OMP_NUM_THREADS=1 python tests/bench/host_jobs.py [--rounds N] [--jobs N] INT8.tflite FLOAT.tflite

The two numbers of jobs take turns, so that whatever else the machine does meets both. For each the
least of the wall clock's seconds, and the processors' seconds of that round: what they do more with
several jobs is what sharing out costs. BLAS has one thread, as it has for the commands.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from narrows.blob import parse_blob
from narrows.checking import check, host_reference
from narrows.compare import compare
from narrows.compiler import compile_model
from narrows.data import Dataset
from narrows.importers import load
from narrows.quantization.pipeline import PipelineOptions, quantize_network
from narrows.result import no_progress
from narrows.sides import open_side


def seconds(work: Callable[[int], object], jobs: int) -> tuple[float, float]:
    """Seconds by the wall's clock, and of processor time on all processors together."""
    wall, busy = time.perf_counter(), time.process_time()
    work(jobs)
    return time.perf_counter() - wall, time.process_time() - busy


def works(int8: Path, real: Path) -> dict[str, Callable[[int], object]]:
    """What is measured, for a number of jobs."""
    blob = parse_blob(compile_model(int8).blob, int8)
    rng = np.random.default_rng(1)
    (edge,) = blob.inputs
    items = [rng.integers(-128, 128, edge.shape).astype(edge.dtype) for _ in range(400)]
    graph = load(real)
    samples = [[rng.random(port.shape, np.float32) for port in graph.inputs] for _ in range(40)]

    def compare_sides(jobs: int) -> None:
        with ExitStack() as resources:
            a, b = (
                open_side(f"{int8}@{place}", resources, no_progress, jobs)
                for place in ("numpy", "host")
            )
            compare(a, b, Dataset(items, None), 20, no_progress)

    return {
        "check": lambda jobs: check(
            blob, Dataset(items, None), ["host"], host_reference(blob, jobs), jobs=jobs
        ),
        "compare": compare_sides,
        "quantize": lambda jobs: quantize_network(
            graph, lambda: samples, PipelineOptions(jobs=jobs)
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("int8", type=Path, metavar="INT8.tflite")
    parser.add_argument("real", type=Path, metavar="FLOAT.tflite")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    print(f"{'seconds':10} {'1 job':>8} {'cpu':>8} {f'{arguments.jobs} jobs':>8} {'cpu':>8} ratio")
    for name, work in works(arguments.int8, arguments.real).items():
        rounds: list[list[tuple[float, float]]] = [[], []]
        for _ in range(arguments.rounds):
            for found, jobs in zip(rounds, (1, arguments.jobs), strict=True):
                found.append(seconds(work, jobs))
        one, more = map(min, rounds)
        print(
            f"{name:10} {one[0]:8.2f} {one[1]:8.2f} {more[0]:8.2f} {more[1]:8.2f} "
            f"{one[0] / more[0]:5.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
