# SPDX-License-Identifier: Apache-2.0
"""A ``.tflite`` file that ends with TFLite_Detection_PostProcess: the network gives what that
operator reads, and what it does with it becomes a declaration (``graph.detection``)."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import tflite
from flatbuffers import flexbuffers

from narrows.errors import ModelError
from narrows.graph.detection import pack_anchors, parse_detection
from narrows.importers.tflite_file import (
    CUSTOM_OPTIONS,
    MALFORMED,
    ModelRecord,
    OperatorRecord,
    read_model,
)

POSTPROCESS = "TFLite_Detection_PostProcess"
_NAME = f"CUSTOM {POSTPROCESS}"
_SCALES = ("y_scale", "x_scale", "h_scale", "w_scale")
# The operator's options and what each is in a declaration.
_REALS = {"nms_score_threshold": "score_threshold", "nms_iou_threshold": "iou_threshold"}
_COUNTS = {
    "num_classes": "classes",
    "max_detections": "max_detections",
    "max_classes_per_detection": "max_classes_per_detection",
    "detections_per_class": "detections_per_class",
}
_OPTIONAL = ("detections_per_class", "use_regular_nms")
# Place of a subgraph's outputs in its vtable.
_OUTPUTS = 8


def fold_detection(record: ModelRecord, path: str) -> tuple[ModelRecord, dict[str, Any] | None]:
    """The network without the operator, and the declaration of what it does; None without one.
    Boxes and scores come before whatever other outputs the network has.

    Raises: ModelError: the operator is not what TensorFlow Lite Micro runs.
    """
    found = [operator for operator in record.operators if operator.name == _NAME]
    if not found:
        return record, None
    operator = found[0]
    where = f"{path}: operator {operator.index} {POSTPROCESS}"
    read = {i for other in record.operators for i in other.inputs}
    if len(found) > 1 or read.intersection(operator.outputs):
        raise ModelError(f"{where}: it is not the last; cut the model behind one of them")
    try:
        declaration = _declaration(record, operator)
        parse_detection(declaration)
    except (*MALFORMED, AssertionError) as error:
        detail = " ".join(str(error).split())[:100]
        raise ModelError(f"{where}: {detail}; export the model anew") from error
    others = [i for i in record.outputs if i not in operator.outputs]
    outputs = (*operator.inputs[:2], *(i for i in others if i not in operator.inputs[:2]))
    operators = tuple(other for other in record.operators if other is not operator)
    return replace(record, operators=operators, outputs=outputs), declaration


def detection_of(data: bytes, path: str) -> dict[str, Any] | None:
    """The declaration of the operator that a file ends with. Raises: ModelError."""
    if POSTPROCESS.encode() not in data:
        return None
    return fold_detection(read_model(data, path, {}), path)[1]


def without_detection(data: bytes) -> bytes:
    """A file that ``fold_detection`` has taken, whose outputs are those of the network without the
    operator: so interpreters give what narrows computes. The operator stays, and gives nothing."""
    if POSTPROCESS.encode() not in data:
        return data
    record = read_model(data, "model", {})
    kept, declaration = fold_detection(record, "model")
    if declaration is None:
        return data
    graph = tflite.Model.GetRootAsModel(data, 0).Subgraphs(0)
    start = graph._tab.Vector(graph._tab.Offset(_OUTPUTS))
    made = bytearray(data)
    struct.pack_into(f"<I{len(kept.outputs)}i", made, start - 4, len(kept.outputs), *kept.outputs)
    return bytes(made)


def _declaration(record: ModelRecord, operator: OperatorRecord) -> dict[str, Any]:
    if len(operator.inputs) != 3 or -1 in operator.inputs or len(operator.outputs) != 4:
        raise ValueError("it has not 3 inputs and 4 outputs")
    boxes, scores, anchors = (record.tensors[i] for i in operator.inputs)
    if len(boxes.shape) != 3 or len(scores.shape) != 3 or boxes.shape[:2] != scores.shape[:2]:
        raise ValueError(f"boxes of shape {boxes.shape} and scores of shape {scores.shape}")
    if anchors.data is None or anchors.dtype != "float32" or anchors.shape != (boxes.shape[1], 4):
        raise ValueError("its anchors are not a constant of float32, four for each box")
    options = _options(operator.options[CUSTOM_OPTIONS])
    return {
        "kind": "ssd",
        "boxes": [0],
        "scores": [1],
        "anchors": pack_anchors(anchors.data),
        "box_values": boxes.shape[2],
        **options,
    }


def _options(data: bytes) -> dict[str, Any]:
    """What the operator's flexbuffer says."""
    if not data:
        raise ValueError("it has no options")
    options = flexbuffers.GetRoot(bytearray(data)).AsMap

    def option(key: str) -> Any:
        try:
            return options[key]
        except KeyError as error:
            if key in _OPTIONAL:
                return None
            raise ValueError(f"it has no option {key}") from error

    found: dict[str, Any] = {ours: option(key).AsFloat for key, ours in _REALS.items()}
    counts = {ours: option(key) for key, ours in _COUNTS.items()}
    found |= {ours: count.AsInt for ours, count in counts.items() if count is not None}
    found["scales"] = [option(key).AsFloat for key in _SCALES]
    regular = option("use_regular_nms")
    return found | {"regular": regular is not None and bool(regular.AsBool)}
