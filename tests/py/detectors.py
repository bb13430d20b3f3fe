# SPDX-License-Identifier: Apache-2.0
"""Small detectors: TFLite_Detection_PostProcess by itself, and behind a network."""

from __future__ import annotations

from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from narrows.exporters.tflite import ModelWriter
from oracle import Array
from single import NONE, RELU6, SAME, Net

OPERATOR = "TFLite_Detection_PostProcess"
OPTIONS: dict[str, Any] = {
    "max_detections": 10,
    "max_classes_per_detection": 1,
    "detections_per_class": 5,
    "nms_score_threshold": 0.3,
    "nms_iou_threshold": 0.5,
    "num_classes": 4,
    "y_scale": 10.0,
    "x_scale": 10.0,
    "h_scale": 5.0,
    "w_scale": 5.0,
    "use_regular_nms": False,
}
SIDE = 16  # of the small network's input


def anchors_of(count: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    parts = [rng.uniform(0, 1, (count, 2)), rng.uniform(0.05, 0.6, (count, 2))]
    return np.concatenate(parts, axis=1).astype(np.float32)


def postprocess(
    writer: ModelWriter, boxes: int, scores: int, anchors: Array, options: dict[str, Any]
) -> list[int]:
    """Add the operator; its outputs: boxes, classes, scores, how many."""
    place = writer.tensor(anchors.shape, "float32", data=anchors)
    each = 1 if options["use_regular_nms"] else options["max_classes_per_detection"]
    count = options["max_detections"] * each
    shapes: tuple[tuple[int, ...], ...] = ((1, count, 4), (1, count), (1, count), (1,))
    outputs = [writer.tensor(shape, "float32") for shape in shapes]
    packed = bytes(flexbuffers.Dumps(options))
    writer.operator(OPERATOR, [boxes, scores, place], outputs, custom=packed)
    return outputs


def operator_alone(
    anchors: Array, columns: int, options: dict[str, Any], box_values: int = 4
) -> bytes:
    """A model of nothing but the operator, of float inputs: boxes, scores."""
    writer = ModelWriter("detection")
    boxes = writer.tensor((1, len(anchors), box_values), "float32")
    scores = writer.tensor((1, len(anchors), columns), "float32")
    outputs = postprocess(writer, boxes, scores, anchors, options)
    return writer.finish([boxes, scores], outputs)


def float_ssd() -> bytes:
    """A float network of one scale, of 2 x 3 boxes, with the operator behind it."""
    writer, rng = ModelWriter("float"), np.random.default_rng(8)
    options = OPTIONS | {"num_classes": 2}
    x = writer.tensor((1, 4, 6, 3), "float32")
    ends = []
    for channels in (4, 3):
        w = writer.tensor(
            (channels, 3, 3, 3), "float32", data=rng.normal(0, 0.4, (channels, 3, 3, 3))
        )
        b = writer.tensor((channels,), "float32", data=rng.normal(0, 1, channels))
        y = writer.tensor((1, 2, 3, channels), "float32")
        steps = {"padding": SAME, "stride_h": 2, "stride_w": 2}
        steps |= {"dilation_h_factor": 1, "dilation_w_factor": 1}
        writer.operator("CONV_2D", [x, w, b], [y], "Conv2DOptions", steps)
        ends.append(writer.tensor((1, 6, channels), "float32"))
        shape = writer.tensor((3,), "int32", data=(1, 6, channels))
        writer.operator("RESHAPE", [y, shape], [ends[-1]])
    scores = writer.tensor((1, 6, 3), "float32")
    writer.operator("LOGISTIC", [ends[1]], [scores])
    return writer.finish([x], postprocess(writer, ends[0], scores, anchors_of(6, 9), options))


def small_ssd(
    options: dict[str, Any] = OPTIONS, *, anchors: Array | None = None, raw: bool = False
) -> bytes:
    """An int8 network of pictures, with two scales of boxes, five scores for each, and the operator
    behind them. raw: without it."""
    net = Net(5)
    columns = options["num_classes"] + 1
    image = net.int8((1, SIDE, SIDE, 3), 2 / 255, -1)
    x = net.conv(image, (3, 3), 8, stride=(2, 2), activation=RELU6)
    x = net.conv(x, (3, 3), 8, stride=(2, 2), activation=RELU6)
    scales = [x, net.conv(x, (3, 3), 8, stride=(2, 2), activation=RELU6)]
    boxes, scores, total = [], [], 0
    for x, each in zip(scales, (2, 3), strict=True):
        _, height, width, _ = net.shapes[x]
        count = height * width * each
        for parts, values in ((boxes, 4), (scores, columns)):
            y = net.conv(x, (3, 3), each * values, activation=NONE)
            alike = net.int8(net.shapes[y], 0.08, 3)
            net.operator("QUANTIZE", [y], [alike], "QuantizeOptions", {}, version=2)
            parts.append(net.reshape(alike, (1, count, values)))
        total += count
    joined = [net.concat(parts, 1) for parts in (boxes, scores)]
    joined[1] = net.unary("LOGISTIC", joined[1], 1 / 256, -128)
    reals = [net.tensor(net.shapes[i], "float32") for i in joined]
    for source, target in zip(joined, reals, strict=True):
        net.operator("DEQUANTIZE", [source], [target], "DequantizeOptions", {}, version=2)
    if raw:
        return net.finish([image], reals)
    anchors = anchors_of(total, 6) if anchors is None else anchors
    return net.finish([image], postprocess(net, *reals, anchors, options))
