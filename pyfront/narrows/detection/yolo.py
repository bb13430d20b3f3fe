# SPDX-License-Identifier: Apache-2.0
"""Heads of YOLOv5 (boxes by anchors) and YOLOv8 (distances from each cell), as Ultralytics defines
them; suppression is that of TFLite_Detection_PostProcess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from narrows.graph.detection import Floats, Shape, Yolo
from narrows.native.detection import Found, suppress

_CENTER = 0.5


def find_yolo(declared: Yolo, outputs: Sequence[Floats], input_shape: Shape) -> list[Found]:
    """As ``narrows.detection.find``."""
    size = np.array(input_shape, np.float32)  # height, width
    boxes, scores = [], []
    for number, parts in enumerate(declared.outputs):
        if declared.encoding == "xywh":
            box, score = _rows(declared, outputs[parts[0]], size)
        else:
            cells = np.concatenate([_cells(outputs[i]) for i in parts], axis=2)
            way = _by_anchors if declared.version == 5 else _by_distances
            box, score = way(declared, number, cells, size)
        boxes.append(box)
        scores.append(score)
    return suppress(np.concatenate(boxes), np.concatenate(scores), declared.suppression)


def _cells(head: Floats) -> Floats:
    """[height, width, channels]."""
    return head.reshape((1, 1, *head.shape)[-3:])


def _sigmoid(values: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-values)), np.float32)


def _corners(middle: npt.NDArray[Any], size: npt.NDArray[Any]) -> Floats:
    """[n, 2] each, y and x -> [n, 4]."""
    corners = np.concatenate([middle - size / 2, middle + size / 2], axis=-1)
    return corners.astype(np.float32, copy=False)


def _grid(height: int, width: int) -> Floats:
    """y and x of each cell, [height, width, 2]."""
    places: Floats = np.moveaxis(np.indices((height, width), np.float32), 0, -1)
    return places


def _by_anchors(declared: Yolo, number: int, cells: Floats, size: Floats) -> tuple[Floats, Floats]:
    """x and y are (2 * sigmoid - 0.5) cells from the cell, width and height (2 * sigmoid) ** 2
    times the anchor; a class' score is multiplied by that of there being an object."""
    height, width, _ = cells.shape
    anchors = np.array(declared.anchors[number], np.float32)[:, ::-1]
    values = cells.reshape(height, width, len(anchors), declared.columns)
    values = _sigmoid(values) if declared.sigmoid else values
    moved = _grid(height, width)[:, :, np.newaxis] + 2 * values[..., 1::-1] - _CENTER
    middle = moved / np.array((height, width), np.float32)
    extent = np.square(2 * values[..., 3:1:-1]) * anchors / size
    scores = values[..., 4:5] * values[..., 5:]
    return _corners(middle, extent).reshape(-1, 4), scores.reshape(-1, declared.classes)


def _by_distances(
    declared: Yolo, number: int, cells: Floats, size: Floats
) -> tuple[Floats, Floats]:
    """Left, top, right and bottom are so many cells from the cell's middle: the mean of a
    distribution over whole numbers, given by logits."""
    height, width, channels = cells.shape
    bins = (channels - declared.classes) // 4
    logits = cells[..., : 4 * bins].reshape(height, width, 4, bins)
    if bins > 1:
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        places = np.arange(bins, dtype=np.float32)
        distances = (shares @ places) / shares.sum(axis=-1)
    else:
        distances = logits[..., 0]
    middle = _grid(height, width) + _CENTER
    low, high = middle - distances[..., 1::-1], middle + distances[..., 3:1:-1]
    corners = np.concatenate([low, high], axis=-1) / np.array((height, width) * 2, np.float32)
    scores = cells[..., 4 * bins :]
    scores = _sigmoid(scores) if declared.sigmoid else scores
    return corners.reshape(-1, 4).astype(np.float32), scores.reshape(-1, declared.classes)


def _rows(declared: Yolo, output: Floats, size: Floats) -> tuple[Floats, Floats]:
    """Decoded boxes: x, y, width, height, of version 5 an objectness, and the classes."""
    table = output.reshape((1, *output.shape)[-2:])
    table = table if table.shape[1] == declared.columns else table.T
    unit = size if declared.units == "pixels" else np.ones(2, np.float32)
    scores = table[:, -declared.classes :]
    if declared.version == 5:
        scores = scores * table[:, 4:5]
    return _corners(table[:, 1::-1] / unit, table[:, 3:1:-1] / unit), scores
