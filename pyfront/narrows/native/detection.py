# SPDX-License-Identifier: Apache-2.0
"""Boxes by anchors and non-maximum suppression: ``narrows_detection.h``, called from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from narrows.errors import InputError
from narrows.graph.detection import Floats, Suppression
from narrows.native import Status, load, pointer


@dataclass(frozen=True)
class Found:
    """box: top, left, bottom, right as shares of the input. score: as the network says it, or of
    two that are multiplied. index: the class, 0 the first behind a background."""

    box: tuple[float, float, float, float]
    score: float
    index: int


def detect(
    boxes: Sequence[Floats],
    scores: Sequence[Floats],
    anchors: Floats,
    scales: Sequence[float],
    classes: int,
    suppression: Suppression,
) -> list[Found]:
    """TFLite_Detection_PostProcess, in parts. The best come first.

    Args:
        boxes: of each part, [boxes, 4 or more]. scores: [boxes, classes or 1 more].
        anchors: [all boxes, 4].

    Raises: InputError: a box has no extent, as TensorFlow Lite has it.
    """
    _, lib = load()
    settings = _settings(len(anchors), scores[0].shape[1] - classes, classes, suppression)
    settings.box_values = boxes[0].shape[1]
    settings.scale = list(scales)
    kept = [np.ascontiguousarray(a, np.float32) for a in (anchors, *boxes, *scores)]
    parts = _parts(kept[1 : 1 + len(boxes)], kept[1 + len(boxes) :])
    total = len(anchors)
    return _call(
        lib.nrw_detect,
        settings,
        parts,
        pointer("struct nrw_anchor *", kept[0]),
        int(lib.nrw_detection_scratch_bytes(total)),
    )


def suppress(boxes: Floats, scores: Floats, suppression: Suppression) -> list[Found]:
    """Suppression alone. The best come first.

    Args:
        boxes: [boxes, 4], top, left, bottom, right. scores: [boxes, classes].
    """
    if len(boxes) == 0:
        return []
    _, lib = load()
    settings = _settings(len(boxes), 0, scores.shape[1], suppression)
    settings.box_values = 4
    settings.scale = [1.0] * 4
    kept = [np.ascontiguousarray(a, np.float32) for a in (boxes, scores)]
    return _call(
        lib.nrw_suppress,
        settings,
        _parts([None], kept[1:]),
        pointer("struct nrw_box *", kept[0]),
        int(lib.nrw_suppress_scratch_bytes(len(boxes))),
    )


def _settings(boxes: int, background: int, classes: int, suppression: Suppression) -> Any:
    """Counts that metadata may ask for are cut to what there can be: a detection for each score."""
    ffi, _ = load()
    most = boxes * classes if suppression.regular else boxes
    settings = ffi.new("struct nrw_detection *")
    settings.classes = classes
    settings.background = background
    settings.max_detections = min(suppression.max_detections, most)
    settings.max_classes_per_detection = min(suppression.max_classes_per_detection, classes)
    settings.detections_per_class = suppression.detections_per_class
    settings.is_regular = suppression.regular
    settings.score_threshold = suppression.score_threshold
    settings.iou_threshold = suppression.iou_threshold
    return settings


def _parts(boxes: Sequence[Floats | None], scores: Sequence[Floats]) -> Any:
    """struct nrw_predictions[] of arrays that must outlive it."""
    ffi, _ = load()
    parts = ffi.new("struct nrw_predictions[]", len(scores))
    for part, codes, values in zip(parts, boxes, scores, strict=True):
        part.boxes = len(values)
        part.coordinates.values = pointer("void *", codes)
        part.scores.values = pointer("void *", values)
    return parts


def _call(function: Any, settings: Any, parts: Any, places: Any, scratch_bytes: int) -> list[Found]:
    ffi, lib = load()
    room = int(lib.nrw_detection_room(settings))
    scratch: npt.NDArray[np.uint32] = np.empty(scratch_bytes // 4, np.uint32)
    found = np.zeros(room * ffi.sizeof("struct nrw_detected") // 4, np.uint32)
    count = function(
        settings,
        parts,
        len(parts),
        places,
        pointer("void *", scratch),
        scratch.nbytes,
        pointer("struct nrw_detected *", found),
        room,
    )
    if count == Status.ERR_STRUCTURE:
        raise InputError("a predicted box has no extent; anchors or scales are not the network's")
    if count < 0:
        raise InputError(f"the boxes cannot be decoded ({Status(count).name})")
    seen = ffi.cast("struct nrw_detected *", found.ctypes.data)
    return [
        Found(
            (seen[i].box.top, seen[i].box.left, seen[i].box.bottom, seen[i].box.right),
            seen[i].score,
            seen[i].class_index,
        )
        for i in range(count)
    ]
