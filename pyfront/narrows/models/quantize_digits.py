# SPDX-License-Identifier: Apache-2.0
"""Make the default int8 model from its float weights.

    pip install scikit-learn
    python -m narrows.models.quantize_digits

The training part of ``split_digits`` calibrates; no other digit is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_digits

from narrows.exporters.export import export_tflite
from narrows.graph.passes import drop_unused
from narrows.importers.metadata import encode_metadata
from narrows.importers.tflite import import_tflite
from narrows.models.digits import (
    DIGITS_FLOAT,
    DIGITS_INT8,
    DIGITS_METADATA,
    enlarge_digits,
    split_digits,
)
from narrows.quantization.float_model import Sample
from narrows.quantization.pipeline import PipelineOptions, Quantized, quantize_network
from narrows.quantization.quantize import WeightScales

# Every so many of the training pictures calibrates.
_EVERY = 4


def calibration() -> Iterator[Sample]:
    """Training pictures as the float network takes them, 0 to 1."""
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    chosen = images[split_digits(images, labels).train[::_EVERY]]
    for image in enlarge_digits(chosen):
        yield [image[..., np.newaxis].astype(np.float32) / 255]


def quantize_digits(
    float_model: bytes, weights: WeightScales = WeightScales.PER_CHANNEL
) -> Quantized:
    """Quantize the trained network. float_model: a ``.tflite``."""
    graph = import_tflite(float_model, "digits")
    return quantize_network(graph, calibration, PipelineOptions(weights=weights))


def digits_int8(float_model: bytes) -> bytes:
    """The ``.tflite`` of the default model."""
    graph = drop_unused(quantize_digits(float_model).graph)
    return export_tflite(graph, encode_metadata(dict(DIGITS_METADATA)))


def main() -> int:
    """Write the int8 file anew."""
    DIGITS_INT8.write_bytes(digits_int8(DIGITS_FLOAT.read_bytes()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
