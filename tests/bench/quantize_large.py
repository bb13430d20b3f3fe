# SPDX-License-Identifier: Apache-2.0
"""Quantize MobileNetV2 1.0 224 from 200 pictures: seconds and memory.

python tests/bench/quantize_large.py [--samples N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

from narrows import zoo
from narrows.quantization.measure import logits_decibels, measure_layers
from narrows.quantization.pipeline import PipelineOptions, quantize_network

SHAPE = (224, 224, 3)
CALIBRATION_SEED = 1_000_003


def main() -> int:
    """Measure and print; exit code 1 if a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--most-seconds", type=float, default=300)
    parser.add_argument("--most-bytes", type=int, default=2 << 30)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    graph = zoo.build("mobilenet_v2")
    began = time.perf_counter()
    quantized = quantize_network(
        graph,
        lambda: ([x] for x in zoo.pictures(SHAPE, arguments.samples, CALIBRATION_SEED)),
        PipelineOptions(count=arguments.samples),
    )
    seconds = time.perf_counter() - began
    cpu_seconds = time.process_time()  # what a busy machine does not stretch
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    figures = {
        "samples": arguments.samples,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_bytes": peak,
        "logits_decibels": logits_decibels(quantized, measure_layers(quantized)),
    }
    print(json.dumps(figures, indent=2))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if seconds < arguments.most_seconds and peak < arguments.most_bytes else 1


if __name__ == "__main__":
    raise SystemExit(main())
