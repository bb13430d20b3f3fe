# SPDX-License-Identifier: Apache-2.0
"""What ``narrows_detection.h`` needs to know of a network, as C for firmware that decodes boxes by
itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from narrows.graph.detection import Ssd
from narrows.graph.edges import HostEdge

_TEXT = """\
/* Boxes of {name}, as narrows info --header has written them. */
#ifndef NARROWS_BOXES_H
#define NARROWS_BOXES_H

#include "narrows_detection.h"

enum {{
    BOXES_PARTS = {parts},
    BOXES_ROOM = {room},
    BOXES_SCRATCH_WORDS = {words}
}};

static const struct nrw_detection boxes_settings = {{
    .classes = {classes},
    .background = {background},
    .box_values = {box_values},
    .max_detections = {max_detections},
    .max_classes_per_detection = {max_classes_per_detection},
    .detections_per_class = {detections_per_class},
    .is_regular = {is_regular},
    .score_threshold = {score_threshold},
    .iou_threshold = {iou_threshold},
    .scale = {{ {scale} }}
}};

static const struct nrw_anchor boxes_anchors[{boxes}] = {{
{anchors}
}};

/* What a run that is done has predicted; its outputs must stand in the arena. */
static inline void boxes_predictions(const struct nrw_run *run,
                                     struct nrw_predictions parts[BOXES_PARTS])
{{
{assigned}
}}

#endif
"""


def c_header(name: str, declared: Ssd, outputs: Sequence[HostEdge]) -> str:
    """The header's text.

    Args:
        name: of the model. outputs: which the declaration has been checked with.
    """
    shapes = [edge.shape for edge in outputs]
    asked, total = declared.suppression, len(declared.anchors)
    each = 1 if asked.regular else min(asked.max_classes_per_detection, declared.classes)
    counts = declared.counts(shapes)
    parts = zip(counts, declared.boxes, declared.scores, strict=True)
    assigned = [
        f"    parts[{i}].boxes = {count};\n"
        + _reals(f"parts[{i}].coordinates", outputs[box], box)
        + _reals(f"parts[{i}].scores", outputs[scored], scored)
        for i, (count, box, scored) in enumerate(parts)
    ]
    return _TEXT.format(
        name="".join(c if c.isalnum() or c in "._-" else "?" for c in name),
        parts=len(counts),
        room=asked.max_detections * each,
        words=6 * total,
        classes=declared.classes,
        background=declared.background(shapes),
        box_values=declared.box_values,
        max_detections=asked.max_detections,
        max_classes_per_detection=asked.max_classes_per_detection,
        detections_per_class=asked.detections_per_class,
        is_regular=int(asked.regular),
        score_threshold=_real(asked.score_threshold),
        iou_threshold=_real(asked.iou_threshold),
        scale=", ".join(map(_real, declared.scales)),
        boxes=total,
        anchors="\n".join(f"    {{ {', '.join(map(_real, row))} }}," for row in declared.anchors),
        assigned="".join(assigned).rstrip(),
    )


def _reals(place: str, edge: HostEdge, output: int) -> str:
    return (
        f"    {place}.values = nrw_output(run, {output});\n"
        f"    {place}.scale = {_real(edge.tensor_scale)};\n"
        f"    {place}.zero_point = {edge.tensor_zero_point};\n"
    )


def _real(value: float) -> str:
    """The shortest decimal that is this float32."""
    return f"{np.float32(value)}f"
