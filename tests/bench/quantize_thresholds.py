# SPDX-License-Identifier: Apache-2.0
"""Choose the quantizer's thresholds by measurement, on what tests/bench/quantize_quality.py does
not judge by.

    python tests/bench/quantize_thresholds.py [NAME ...] [--json FILE]

Every case calibrates on one set of pictures and counts the decibels of the logits on another:

* digits: the default model, calibrated on training pictures, judged on the validation part;
* vww: visual wake words, calibrated on crops of one of scikit-learn's two sample photos and
  judged on crops of the other, both ways;
* zoo: seeded networks, plain and with pointwise channels scaled by 0.1 to 10, calibrated on crops
  of two seeded pictures and judged on crops of two others; some also with a broken picture in
  their calibration, eight times as bright as pictures can be.

One threshold after the other is tried, with the others as they stand in the package; printed is,
for each value, how many decibels each case loses against that case's best value. Values whose
mean loss is within a tenth of a decibel of the least are left to choose from by other reasons;
they are marked. On the shares of equalization the networks do not agree: there the trained ones
have the say. The judged photos had been looked at once before, with shares up to 1, which was
worse than the vendor's network one way round.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from quantize_quality import FLOAT, SHARED, crops, stressed
from sklearn.datasets import load_digits, load_sample_image

from narrows import zoo
from narrows.graph.graph import Graph
from narrows.importers.tflite import import_tflite
from narrows.models import DIGITS_FLOAT, enlarge_digits, split_digits
from narrows.quantization import choose, equalize
from narrows.quantization.float_model import Sample
from narrows.quantization.measure import logits_decibels, measure_layers
from narrows.quantization.pipeline import PipelineOptions, quantize_network

# What is tried: (module, name, values); an advantage of 0 is never enough, of 1 always.
THRESHOLDS: tuple[tuple[Any, str, tuple[Any, ...]], ...] = (
    (equalize, "_EXPONENTS", ((0.25, 0.5), (0.25, 0.5, 0.75, 1.0))),
    (equalize, "_ADVANTAGE", (0.0, 0.03, 0.1, 0.25, 0.5, 1.0)),
    (equalize, "_DEVIATIONS", (10.0, 6.0, 4.0, 3.0, 2.0, 0.0)),
    (choose, "_ADVANTAGE", (0.0, 0.5, 0.7, 0.85, 1.0)),
    (equalize, "_LEAST_POWER", (0.0, 1 / 16, 1 / 4, 1.0)),
)
_UNDECIDED = 0.1  # decibels
SEEDS = (21, 22)
CROPS = 24
SCENE = 256
BROKEN = 8.0
NETWORKS = (  # whether also with scaled channels, and with a broken picture
    ("mobilenet_v1", {"width": 0.25, "size": 96}, True, True),
    ("mobilenet_v2", {"width": 0.35, "size": 64}, True, False),
    ("mobilenet_v3", {"width": 0.35, "size": 64}, False, False),
    ("resnet8", {}, False, True),
)

Case = tuple[str, Graph, list[Sample], list[Sample]]
"""Name, float network, calibration, test."""


def digits() -> Case:
    """The held-out part is not touched."""
    data = load_digits()
    images, labels = data.images.astype(np.uint8), data.target.astype(np.uint8)
    split = split_digits(images, labels)

    def samples(indices: Any) -> list[Sample]:
        pixels = enlarge_digits(images[indices])[..., np.newaxis].astype(np.float32) / 255
        return [[image] for image in pixels]

    network = import_tflite(DIGITS_FLOAT, "digits")
    return "digits", network, samples(split.train[::12]), samples(split.validation[::4])


def visual_wake_words() -> Iterator[Case]:
    network = import_tflite(SHARED / "models" / FLOAT)
    photos = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    for calibrated, judged in ((0, 1), (1, 0)):
        calibration = crops(photos[calibrated], 96, CROPS, calibrated)
        yield f"vww {calibrated}", network, calibration, crops(photos[judged], 96, CROPS, 100)


def seeded() -> Iterator[Case]:
    for name, options, stress, broken in NETWORKS:
        for seed in SEEDS:
            network = zoo.build(name, seed=seed, **options)
            size = network.tensors[network.inputs[0].tensor].shape[0]
            calibration, test = (_scenes(size, 10 * seed + part) for part in (0, 1))
            yield f"{name} {seed}", network, calibration, test
            if stress:
                yield f"{name} {seed} scaled", stressed(network, seed), calibration, test
            if broken:
                bright = [[BROKEN * x for x in calibration[0]]]
                yield f"{name} {seed} broken", network, bright + calibration[1:], test


def _scenes(size: int, seed: int) -> list[Sample]:
    """Crops of two seeded pictures, -1 to 1."""
    result: list[Sample] = []
    for number, scene in enumerate(zoo.pictures((SCENE, SCENE, 3), 2, seed)):
        image = Image.fromarray(np.rint((scene + 1) * 127.5).astype(np.uint8))
        result += [[2 * x - 1 for x in s] for s in crops(image, size, CROPS // 2, seed + number)]
    return result


def measure(case: Case, options: PipelineOptions) -> float:
    """Decibels of the logits on pictures that calibration has not seen."""
    _, network, calibration, test = case
    quantized = quantize_network(network, lambda: calibration, options)
    judged = replace(quantized, samples=test)
    return logits_decibels(judged, measure_layers(judged))


def sweep(
    cases: Sequence[Case], module: Any, name: str, values: Sequence[Any]
) -> list[dict[str, Any]]:
    """Decibels of every case for every value; the module is as before afterwards."""
    before = getattr(module, name)
    # What equalization does shows best where nothing else differs.
    options = replace(PipelineOptions(), choose=module is choose)
    rows: list[dict[str, Any]] = []
    try:
        for value in values:
            setattr(module, name, value)
            rows.append({"value": value, "decibels": [measure(case, options) for case in cases]})
    finally:
        setattr(module, name, before)
    best = np.max([row["decibels"] for row in rows], axis=0)
    for row in rows:
        row["loss"] = [round(float(x), 2) for x in best - row["decibels"]]
        row["mean_loss"] = round(float(np.mean(best - row["decibels"])), 3)
    return rows


def main() -> int:
    """Sweep all thresholds; print and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", help="thresholds to try, such as equalize._LEAST_POWER; all"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cases = [digits(), *visual_wake_words(), *seeded()]
    print("cases:", ", ".join(case[0] for case in cases), flush=True)
    figures: dict[str, Any] = {"cases": [case[0] for case in cases]}
    for module, name, values in THRESHOLDS:
        key = f"{module.__name__}.{name}"
        if arguments.names and not key.endswith(tuple(f".{n}" for n in arguments.names)):
            continue
        began = time.monotonic()
        rows = sweep(cases, module, name, values)
        least = min(row["mean_loss"] for row in rows)
        figures[key] = rows
        print(f"\n{key}, now {getattr(module, name)} ({time.monotonic() - began:.0f} s)")
        for row in rows:
            mark = "*" if row["mean_loss"] <= least + _UNDECIDED else " "
            losses = " ".join(f"{loss:5.1f}" for loss in row["loss"])
            print(f"{row['value']!s:>22}{mark} mean {row['mean_loss']:6.2f}  {losses}", flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
