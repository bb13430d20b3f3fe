# SPDX-License-Identifier: Apache-2.0
"""How much quantization costs, side by side with others; each part can be run alone.

    python tests/bench/quantize_quality.py [vww] [stress] [digits] [--json FILE]

vww: MLPerf Tiny's visual wake words, quantized here from crops and flips of two of four photos,
whichever, and judged on the other two, beside the vendor's own int8 model; error of the logits.
stress: MobileNetV2 0.35 96 whose pointwise channels are scaled by 0.1 to 10; decibels of the
logits against the float network, beside plain extremes.
digits: right answers of the default model, float, int8, and int8 with per-tensor weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from narrows import zoo
from narrows.graph.edges import to_internal
from narrows.graph.graph import Conv, Graph, Softmax
from narrows.graph.passes import drop_unused
from narrows.importers.tflite import import_tflite
from narrows.models import DIGITS_FLOAT, enlarge_digits, load_held_out
from narrows.quantization.equalize import pairs, scale_channels
from narrows.quantization.float_model import FloatModel, Sample
from narrows.quantization.lower import lower
from narrows.quantization.measure import decibels
from narrows.quantization.pipeline import MIN_MAX, PipelineOptions, quantize_network
from narrows.quantization.quantize import WeightScales
from narrows.quantization.reference import run_all

SHARED = Path(__file__).resolve().parents[3] / "shared"
PHOTOS = ("bird.bmp", "cat.bmp", "parrot.jpg", "sunflower.bmp")
FLOAT, VENDOR = "mlperf_vww_96_float.tflite", "mlperf_vww_96_int8.tflite"
CROPS = 16
STRESS_SEED = 1

FloatArray = npt.NDArray[np.float32]


def crops(photo: Path | Image.Image, size: int, count: int, seed: int) -> list[Sample]:
    """Seeded square crops, half of them flipped; pixels 0 to 1, as the network was trained."""
    rng = np.random.default_rng(seed)
    samples: list[Sample] = []
    if isinstance(photo, Path):
        with Image.open(photo) as opened:
            photo = opened.convert("RGB")
    image = photo
    for _ in range(count):
        side = int(min(image.size) * rng.uniform(0.4, 1))
        left, top = (int(rng.integers(0, n - side + 1)) for n in image.size)
        box = (left, top, left + side, top + side)
        pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box), np.float32)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        samples.append([np.ascontiguousarray(pixels / 255)])
    return samples


def logits_tensor(graph: Graph) -> int:
    """What the first output is before a softmax."""
    wanted = graph.outputs[0].tensor
    makers = {operator.output: operator for operator in graph.operators}
    maker = makers.get(wanted)
    return maker.inputs[0] if isinstance(maker, Softmax) else wanted


def float_logits(graph: Graph, samples: Sequence[Sample]) -> FloatArray:
    """[samples, classes]"""
    wanted, model = logits_tensor(graph), FloatModel(graph)
    rows = []
    for sample in samples:
        values: dict[int, Any] = {}
        model.run(sample, values.__setitem__)
        rows.append(values[wanted].ravel())
    return np.array(rows, np.float32)


def int8_logits(graph: Graph, samples: Sequence[Sample]) -> FloatArray:
    """Real values of the quantized logits, from integer arithmetic. [samples, classes]"""
    graph = drop_unused(graph)
    wanted = graph.tensors[logits_tensor(graph)].name
    qgraph = lower(graph)
    place = next(i for i, tensor in enumerate(qgraph.tensors) if tensor.name == wanted)
    tensor, edge = qgraph.tensors[place], qgraph.inputs[0]
    rows = []
    for sample in samples:
        inputs = [to_internal(edge, qgraph.tensors[edge.tensor], sample[0])]
        values = run_all(qgraph, inputs)[place].astype(np.float32)
        rows.append(((values - tensor.zero_point) * tensor.scale).ravel())
    return np.array(rows, np.float32)


def ratio(right: FloatArray, got: FloatArray) -> float:
    """Signal-to-noise ratio in decibels."""
    noise = float(np.square(right - got, dtype=np.float64).sum())
    return decibels(float(np.square(right, dtype=np.float64).sum()), noise)


def vww() -> list[dict[str, Any]]:
    """For any two photos: root mean square error of the logits on the others, ours and the
    vendor's."""
    network = import_tflite(SHARED / "models" / FLOAT)
    vendor = import_tflite(SHARED / "models" / VENDOR)
    rows = []
    for calibrated in combinations(range(len(PHOTOS)), 2):
        judged = [number for number in range(len(PHOTOS)) if number not in calibrated]
        calibration, test = (
            [
                sample
                for number in chosen
                for sample in crops(SHARED / "images" / PHOTOS[number], 96, CROPS, seed + number)
            ]
            for chosen, seed in ((calibrated, 0), (judged, 100))
        )
        right = float_logits(network, test)
        row: dict[str, Any] = {"calibrated_on": [PHOTOS[i] for i in calibrated]}
        made = {
            "best": quantize_network(network, lambda kept=calibration: kept).graph,
            "minmax": quantize_network(network, lambda kept=calibration: kept, MIN_MAX).graph,
            "vendor": vendor,
        }
        for name, graph in made.items():
            got = int8_logits(graph, test)
            row[f"{name}_error"] = float(np.sqrt(np.square(right - got).mean()))
            row[f"{name}_decibels"] = ratio(right, got)
        rows.append(row)
    return rows


def stressed(graph: Graph, seed: int = STRESS_SEED) -> Graph:
    """Pointwise convolutions' output channels scaled by 0.1 to 10, log-uniform, and what reads
    them by the inverse."""
    rng = np.random.default_rng(seed)
    for pair in pairs(graph):
        first = graph.operators[pair.first]
        if isinstance(first, Conv) and graph.tensors[first.weights].shape[1:3] == (1, 1):
            factors = 10.0 ** rng.uniform(-1, 1, graph.tensors[first.output].shape[2])
            graph = scale_channels(graph, pair, factors)
    return graph


def stress(samples: int = 32) -> dict[str, float]:
    """Decibels of the logits on other pictures than those of calibration."""
    graph = stressed(zoo.build("mobilenet_v2", width=0.35, size=96))
    shape = (96, 96, 3)
    calibration = [[x] for x in zoo.pictures(shape, samples, 7)]
    test = [[x] for x in zoo.pictures(shape, 8, 8)]
    right = float_logits(graph, test)
    variants = {
        "minmax": MIN_MAX,
        "equalized_and_corrected": replace(
            PipelineOptions(),
            choose=False,
            refine=replace(PipelineOptions().refine, rounding=False),
        ),
        "best": PipelineOptions(),
    }
    return {
        name: ratio(right, int8_logits(quantize_network(graph, lambda: calibration, o).graph, test))
        for name, o in variants.items()
    }


def digits() -> dict[str, int]:
    """Right answers of the held-out digits; training pictures calibrate."""
    from narrows.models.quantize_digits import quantize_digits  # needs scikit-learn

    model = DIGITS_FLOAT.read_bytes()
    held_out = load_held_out()
    pixels = enlarge_digits(held_out.images)[..., np.newaxis].astype(np.float32) / 255
    test: list[Sample] = [[x] for x in pixels]

    def correct(logits: FloatArray) -> int:
        return int((logits.argmax(axis=1) == held_out.labels).sum())

    figures = {"held_out": len(held_out)}
    figures["float"] = correct(float_logits(import_tflite(model, "digits"), test))
    for weights in WeightScales:
        made = quantize_digits(model, weights).graph
        figures[f"int8 {weights.value}"] = correct(int8_logits(made, test))
    return figures


def main() -> int:
    """Run what was asked for; print JSON."""
    parts = {"vww": vww, "stress": stress, "digits": digits}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join(parts))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures = {name: parts[name]() for name in arguments.parts or parts}
    text = json.dumps(figures, indent=2) + "\n"
    print(text, end="")
    if arguments.json is not None:
        arguments.json.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
