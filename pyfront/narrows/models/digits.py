# SPDX-License-Identifier: Apache-2.0
"""Handwritten digits: the default model, its pictures and how they are prepared.

The pictures are those of scikit-learn's ``load_digits``: 1797 of 8 x 8 pixels with values
0 to 16 (E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
Learning Repository, CC BY 4.0). The network sees 32 x 32 pixels of 0 to 255 (white ink on
black).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

UInt8Array: TypeAlias = npt.NDArray[np.uint8]
Int8Array: TypeAlias = npt.NDArray[np.int8]
IndexArray: TypeAlias = npt.NDArray[np.int64]

FOLDER = Path(__file__).resolve().parent
DIGITS_INT8 = FOLDER / "digits_int8.tflite"
DIGITS_FLOAT = FOLDER / "digits_float.tflite"
DIGITS_HELD_OUT = FOLDER / "digits_held_out.npz"
DIGITS_LABELS = tuple("0123456789")
# For the blob: real value = (pixel - mean) * scale, pixels 0 to 255, white ink on black.
DIGITS_METADATA: Mapping[str, Any] = {
    "labels": list(DIGITS_LABELS),
    "preprocessing": {"mean": 0.0, "scale": 1 / 255},
}
DIGITS_SIZE = 32
ENLARGEMENT = 4


@dataclass(frozen=True, eq=False)
class Digits:
    """Pictures of handwritten digits.

    indices: [n], places in ``load_digits``; images: uint8 [n, 8, 8] of 0 to 16;
    labels: uint8 [n] of 0 to 9.
    """

    indices: IndexArray
    images: UInt8Array
    labels: UInt8Array

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of the three parts: ``held_out`` is for the final measurement and nothing else."""

    train: IndexArray
    validation: IndexArray
    held_out: IndexArray


def split_digits(images: UInt8Array, labels: UInt8Array) -> Split:
    """Split without a random generator, so that it is the same everywhere and for ever.

    The pictures of each class are ordered by the SHA-256 of their bytes; the first fifth is
    held out, the next 2/15 validate, the rest trains. Equal pictures fall side by side, so
    only a pair right at a border could be divided; ``load_digits`` has none.

    Args:
        images: uint8 [n, 8, 8], 0 to 16.
        labels: [n].
    """
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label).tolist(), key=digests.__getitem__)
        first, second = len(members) // 5, len(members) // 3
        for part, chosen in zip(
            parts, (members[second:], members[first:second], members[:first]), strict=True
        ):
            part.extend(chosen)
    return Split(*(np.array(sorted(part), dtype=np.int64) for part in parts))


def enlarge_digits(images: UInt8Array) -> UInt8Array:
    """Enlarge 8 x 8 pixels to 32 x 32 by bilinear interpolation, in integers.

    With pixel centres aligned, pixel i of a row of 32 lies at (i + 1/2) / 4 - 1/2 of the row
    of 8, which is (2 i - 3) / 8; beyond the outermost centres the edge goes on. So both
    directions weigh with eighths, a value is at most 16 * 64, and
    ``pixel = (255 * sum + 512) // 1024``.

    Args:
        images: uint8 [n, 8, 8], 0 to 16.

    Returns:
        uint8 [n, 32, 32], 0 to 255.
    """
    size = images.shape[1]
    eighths = np.clip(2 * np.arange(ENLARGEMENT * size) - 3, 0, 8 * (size - 1))
    low, fraction = eighths // 8, eighths % 8
    weights = np.zeros((len(eighths), size), dtype=np.int64)
    rows = np.arange(len(eighths))
    weights[rows, low] += 8 - fraction
    weights[rows, np.minimum(low + 1, size - 1)] += fraction
    sums = np.einsum("yi,nij,xj->nyx", weights, images.astype(np.int64), weights)
    enlarged: UInt8Array = ((255 * sums + 512) // 1024).astype(np.uint8)
    return enlarged


def prepare_digits(images: UInt8Array) -> Int8Array:
    """The network's int8 input: scale 1/255, zero point -128, so ``pixel - 128``.

    Args:
        images: uint8 [n, 8, 8], 0 to 16.

    Returns:
        int8 [n, 32, 32, 1].
    """
    pixels = enlarge_digits(images)[..., np.newaxis]
    return (pixels.astype(np.int16) - 128).astype(np.int8)


def load_held_out() -> Digits:
    """The digits that the default model has never seen."""
    with np.load(DIGITS_HELD_OUT, allow_pickle=False) as archive:
        return Digits(
            indices=archive["indices"].astype(np.int64),
            images=archive["images"],
            labels=archive["labels"],
        )
