# SPDX-License-Identifier: Apache-2.0
"""The default model: accuracy, equality with TensorFlow Lite Micro, size, clean split."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from narrows.compiler import CompileOptions, compile_model
from narrows.models import (
    DIGITS_FLOAT,
    DIGITS_INT8,
    DIGITS_METADATA,
    enlarge_digits,
    load_held_out,
    prepare_digits,
    split_digits,
)
from narrows.native import Model, Run
from narrows.pack.metadata import unpack_metadata
from oracle import Oracle

LEAST_ACCURACY = 0.98
MOST_BYTES = 300_000


@cache
def reference_outputs() -> npt.NDArray[np.int8]:
    """int8 [n, 10] of the held-out digits, by TFLite Micro."""
    return tflm(DIGITS_INT8.read_bytes(), prepare_digits(load_held_out().images))


def tflm(model: bytes, inputs: npt.NDArray[np.generic]) -> npt.NDArray[np.int8]:
    oracle = Oracle(model)
    return np.stack([oracle.run([image[np.newaxis]])[0].ravel() for image in inputs])


def accuracy(outputs: npt.NDArray[np.generic]) -> float:
    return float((outputs.argmax(axis=1) == load_held_out().labels).mean())


def test_int8_accuracy_with_tflite_micro() -> None:
    assert accuracy(reference_outputs()) >= LEAST_ACCURACY


def test_float_accuracy_with_tflite_micro() -> None:
    pixels = enlarge_digits(load_held_out().images)[..., np.newaxis]
    outputs = tflm(DIGITS_FLOAT.read_bytes(), pixels.astype(np.float32) / 255)
    assert accuracy(outputs) >= LEAST_ACCURACY


def test_host_equals_tflite_micro() -> None:
    blob = compile_model(DIGITS_INT8, CompileOptions(metadata=DIGITS_METADATA)).blob
    run = Run(Model(blob))
    inputs = prepare_digits(load_held_out().images)
    outputs = np.stack([run.infer([image])[0].ravel() for image in inputs])
    np.testing.assert_array_equal(outputs, reference_outputs())
    assert accuracy(outputs) >= LEAST_ACCURACY
    metadata = unpack_metadata(blob)
    assert {key: metadata[key] for key in DIGITS_METADATA} == dict(DIGITS_METADATA)


def test_both_files_are_small() -> None:
    assert DIGITS_INT8.stat().st_size + DIGITS_FLOAT.stat().st_size < MOST_BYTES


def test_held_out_digits_are_not_trained_on() -> None:
    """The training script's split, computed anew, against the stored digits."""
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn's digits")
    digits = datasets.load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    split, stored = split_digits(images, labels), load_held_out()

    parts = [split.train, split.validation, split.held_out]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    np.testing.assert_array_equal(split.held_out, stored.indices)
    np.testing.assert_array_equal(images[split.held_out], stored.images)
    np.testing.assert_array_equal(labels[split.held_out], stored.labels)

    def digests(chosen: npt.NDArray[np.uint8]) -> set[bytes]:
        return {hashlib.sha256(image.tobytes()).digest() for image in chosen}

    seen = digests(images[np.concatenate([split.train, split.validation])])
    assert not seen & digests(stored.images)


def test_split_keeps_the_classes_in_proportion() -> None:
    counts = np.bincount(load_held_out().labels)
    assert len(counts) == 10
    assert counts.min() >= 30
    assert counts.max() <= 40


def test_enlargement() -> None:
    """A ramp stays a ramp between the outermost pixel centres and flat beyond."""
    ramp = np.broadcast_to(2 * np.arange(8, dtype=np.uint8), (1, 8, 8))
    row = enlarge_digits(ramp)[0, 0].astype(int)
    exact = np.clip((2 * np.arange(32) - 3) / 8, 0, 7) * 2 * 255 / 16
    assert np.abs(row - exact).max() <= 0.5
    np.testing.assert_array_equal(prepare_digits(ramp)[0, 0, :, 0], row - 128)
    assert enlarge_digits(np.full((1, 8, 8), 16, np.uint8)).min() == 255
