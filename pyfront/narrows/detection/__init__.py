# SPDX-License-Identifier: Apache-2.0
"""A detector's outputs -> boxes with classes and scores, as its declaration says
(``graph.detection``)."""

from __future__ import annotations

from collections.abc import Sequence

from narrows.detection.fomo import find_fomo
from narrows.detection.yolo import find_yolo
from narrows.graph.detection import Floats, Fomo, Shape, Ssd, Yolo
from narrows.native.detection import Found, detect

__all__ = ["Found", "find"]


def find(declared: Ssd | Yolo | Fomo, outputs: Sequence[Floats], input_shape: Shape) -> list[Found]:
    """What a network has found, the surest first.

    Args:
        outputs: real values of all outputs, of the shapes that the declaration has been checked
            with. input_shape: height and width, to which pixels of anchors and boxes belong.

    Raises: InputError: the outputs are no boxes.
    """
    if isinstance(declared, Yolo):
        return find_yolo(declared, outputs, input_shape)
    if isinstance(declared, Fomo):
        return find_fomo(declared, outputs[declared.output])
    columns = declared.classes + declared.background([o.shape for o in outputs])
    return detect(
        [outputs[i].reshape(-1, declared.box_values) for i in declared.boxes],
        [outputs[i].reshape(-1, columns) for i in declared.scores],
        declared.anchors,
        declared.scales,
        declared.classes,
        declared.suppression,
    )
