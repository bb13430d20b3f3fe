# SPDX-License-Identifier: Apache-2.0
"""What the zoo's networks take and give, as a model's metadata say it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from narrows.graph.detection import Floats, is_map, pack_anchors
from narrows.graph.graph import Graph

# Every network's pictures are fitted to values from -1 to 1.
_PREPROCESSING = {"mean": [127.5], "scale": [1 / 127.5]}
# The anchors that SSDLite is published with (TensorFlow's object detection): sizes of the scales,
# as shares of the picture, and ratios of width to height.
_SMALLEST, _LARGEST = 0.2, 0.95
_FIRST_SIZE = 0.1
_RATIOS = (1.0, 2.0, 0.5, 3.0, 1 / 3)
_SUPPRESSION = {
    "score_threshold": 0.3,
    "iou_threshold": 0.6,
    "max_detections": 20,
    "regular": True,
    "detections_per_class": 20,
}


def ssd_anchors(grids: Sequence[tuple[int, int]]) -> Floats:
    """Anchors of SSD (Liu et al., section 2.2), [boxes, 4]: y, x, height and width as shares of the
    picture. On the first grid three for each cell, on the others six.

    Args:
        grids: height and width of each scale, the finest first.
    """
    steps = np.linspace(_SMALLEST, _LARGEST, len(grids))
    sizes = [*steps, 1.0]
    anchors = []
    for number, (height, width) in enumerate(grids):
        size, following = sizes[number], sizes[number + 1]
        shapes = [(size, ratio) for ratio in _RATIOS] + [(np.sqrt(size * following), 1.0)]
        if number == 0:
            shapes = [(_FIRST_SIZE, 1.0), (size, 2.0), (size, 0.5)]
        extents = np.array([(s / np.sqrt(ratio), s * np.sqrt(ratio)) for s, ratio in shapes])
        rows, columns = np.indices((height, width)) + 0.5
        middles = np.stack([rows / height, columns / width], axis=-1)[:, :, np.newaxis]
        cell = np.broadcast_to(middles, (height, width, len(shapes), 2))
        anchors.append(
            np.concatenate([cell, np.broadcast_to(extents, cell.shape)], axis=-1).reshape(-1, 4)
        )
    return np.concatenate(anchors).astype(np.float32)


def metadata(name: str, graph: Graph) -> dict[str, Any]:
    """For ``narrows.importers.metadata.encode_metadata``: preprocessing and detection, as far as
    the network has them.

    Args:
        name: of the network in the zoo. graph: float or quantized.
    """
    found: dict[str, Any] = {}
    if graph.inputs[0].shape[-1] == 3:
        found["preprocessing"] = dict(_PREPROCESSING)
    shapes = [port.shape for port in graph.outputs]
    if name == "ssdlite":
        found["detection"] = _ssd(shapes)
    elif len(shapes) == 1 and is_map(shapes[0]):
        found["detection"] = {"kind": "segmentation", "output": 0}
    return found


def _ssd(shapes: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """Outputs are the scores and the boxes of each scale in turn, as ``ssdlite`` gives them."""
    scores, boxes = range(0, len(shapes), 2), range(1, len(shapes), 2)
    count = prod(shapes[boxes[0]]) // 4
    return {
        "kind": "ssd",
        "classes": prod(shapes[0]) // count - 1,
        "boxes": list(boxes),
        "scores": list(scores),
        "anchors": pack_anchors(ssd_anchors([(shapes[i][1], shapes[i][2]) for i in boxes])),
        **_SUPPRESSION,
    }
