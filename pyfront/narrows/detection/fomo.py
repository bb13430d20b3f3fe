# SPDX-License-Identifier: Apache-2.0
"""FOMO: a grid of class scores, in which cells that touch are one object."""

from __future__ import annotations

import numpy as np

from narrows.graph.detection import Floats, Fomo
from narrows.native.detection import Found


def find_fomo(declared: Fomo, output: Floats) -> list[Found]:
    """As ``narrows.detection.find``. A box is that of the object's cells, its score the best of
    them, its class the one that each is surest of; channel 0 is the background."""
    grid = output.reshape(output.shape[-3:])
    classes, scores = grid.argmax(axis=2), grid.max(axis=2)
    height, width = scores.shape
    left = {
        (int(y), int(x))
        for y, x in np.argwhere((classes > 0) & (scores >= declared.score_threshold))
    }
    found = []
    while left:
        first = min(left)
        left.remove(first)
        cells, kind = [first], classes[first]
        for y, x in cells:  # grows while it is gone through
            around = ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
            touching = [cell for cell in around if cell in left and classes[cell] == kind]
            left.difference_update(touching)
            cells += touching
        rows, columns = zip(*cells, strict=True)
        box = (
            min(rows) / height,
            min(columns) / width,
            (max(rows) + 1) / height,
            (max(columns) + 1) / width,
        )
        found.append(Found(box, max(float(scores[cell]) for cell in cells), int(kind) - 1))
    return sorted(found, key=lambda one: -one.score)
