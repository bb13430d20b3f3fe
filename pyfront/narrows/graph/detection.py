# SPDX-License-Identifier: Apache-2.0
"""What a network's outputs say of places in the picture: a declaration that is stored with a model,
and in its blob's metadata, under ``detection``."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Shape: TypeAlias = tuple[int, ...]
Floats: TypeAlias = npt.NDArray[np.float32]

MAX_BOXES = 1 << 20
MAX_CLASSES = 65535
# Multiplied with each other they are still finite floats.
_MOST = 1e15
_COORDINATES = 4
_MOST_ANCHOR_BYTES = 4 * _COORDINATES * MAX_BOXES
_ENCODINGS = ("raw", "xywh")
_UNITS = ("normalized", "pixels")


@dataclass(frozen=True)
class Suppression:
    """Which boxes count: the numbers of TFLite_Detection_PostProcess (narrows_detection.h).

    score_threshold: at least so sure. iou_threshold: boxes that share more (intersection over
    union) are one. regular: each class by itself; otherwise each box by its best class, with up
    to max_classes_per_detection.
    """

    score_threshold: float = 0.5
    iou_threshold: float = 0.5
    max_detections: int = 100
    max_classes_per_detection: int = 1
    detections_per_class: int = 100
    regular: bool = False


@dataclass(frozen=True, eq=False)
class Ssd:
    """Boxes by anchors.

    boxes, scores: outputs of each scale, [boxes, box_values] and [boxes, columns] by their
        elements; the columns are the classes, or a background and the classes.
    anchors: [boxes, 4], y, x, height and width as shares of the picture.
    scales: what y, x, height and width are divided by.
    """

    classes: int
    boxes: tuple[int, ...]
    scores: tuple[int, ...]
    anchors: Floats
    suppression: Suppression
    scales: tuple[float, ...] = (10.0, 10.0, 5.0, 5.0)
    box_values: int = _COORDINATES

    def counts(self, shapes: Sequence[Shape]) -> list[int]:
        """Boxes of each scale."""
        return [math.prod(shapes[i]) // self.box_values for i in self.boxes]

    def background(self, shapes: Sequence[Shape]) -> int:
        """Columns of scores before the classes: 0 or 1."""
        return math.prod(shapes[self.scores[0]]) // self.counts(shapes)[0] - self.classes

    def check(self, shapes: Sequence[Shape]) -> None:
        """Raises: ValueError: the outputs do not fit."""
        _check_outputs((*self.boxes, *self.scores), shapes)
        counts = self.counts(shapes)
        for box, scored, count in zip(self.boxes, self.scores, counts, strict=True):
            if count * self.box_values != math.prod(shapes[box]) or count == 0:
                raise ValueError(f"output {box} is no boxes of {self.box_values} values")
            columns = math.prod(shapes[scored]) / count
            if columns not in (self.classes, self.classes + 1):
                raise ValueError(
                    f"output {scored} has {columns:g} scores for each box of output {box}; "
                    f"{self.classes} classes need {self.classes}, or 1 more for a background"
                )
            if columns != self.classes + self.background(shapes):
                raise ValueError(f"outputs {self.scores[0]} and {scored}: one has a background")
        if sum(counts) != len(self.anchors):
            raise ValueError(f"{len(self.anchors)} anchors for {sum(counts)} boxes")


@dataclass(frozen=True)
class Yolo:
    """Heads of YOLO networks.

    version: 5, boxes by anchors with an objectness; 8, without either.
    outputs: one for each scale; several that are joined along their channels.
    encoding: raw, what the last convolutions give ([height, width, channels]: of version 5 for each
        anchor x, y, width, height, objectness and the classes; of version 8 four distributions of
        distances, and the classes); or xywh, boxes as rows or columns of one output, decoded.
    anchors: of version 5, raw: for each scale pairs of width and height, in pixels of the input.
    sigmoid: whether scores, and of version 5 coordinates, are logits in the raw outputs.
    units: of xywh: shares of the input, or its pixels.
    """

    version: Literal[5, 8]
    classes: int
    outputs: tuple[tuple[int, ...], ...]
    suppression: Suppression
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()
    encoding: Literal["raw", "xywh"] = "raw"
    sigmoid: bool = True
    units: Literal["normalized", "pixels"] = "normalized"

    @property
    def columns(self) -> int:
        """Values of a decoded box."""
        return self.classes + (5 if self.version == 5 else 4)

    def check(self, shapes: Sequence[Shape]) -> None:
        """Raises: ValueError: the outputs do not fit."""
        _check_outputs([i for parts in self.outputs for i in parts], shapes)
        for number, parts in enumerate(self.outputs):
            sides = {_core(shapes[i])[:-1] for i in parts}
            if self.encoding == "xywh":
                if len(parts) > 1 or self.columns not in _core(shapes[parts[0]], 2):
                    raise ValueError(
                        f"output {parts[0]} of shape {list(shapes[parts[0]])} has no dimension of "
                        f"{self.columns}, for a box and {self.classes} classes"
                    )
                continue
            if len(sides) != 1:
                raise ValueError(f"outputs {list(parts)} are not of one height and width")
            channels = sum(_core(shapes[i])[-1] for i in parts)
            if self.version == 5:
                wanted = len(self.anchors[number]) * self.columns
                if channels != wanted:
                    raise ValueError(
                        f"output {parts[0]} has {channels} channels; {len(self.anchors[number])} "
                        f"anchors and {self.classes} classes need {wanted}"
                    )
            elif channels <= self.classes or (channels - self.classes) % _COORDINATES:
                raise ValueError(
                    f"output {parts[0]} has {channels} channels, which are no four distributions "
                    f"and {self.classes} classes"
                )


@dataclass(frozen=True)
class Fomo:
    """A grid of class scores, [height, width, background and classes]: cells that are sure of a
    class, and touch, are one object."""

    output: int
    score_threshold: float = 0.5

    def check(self, shapes: Sequence[Shape]) -> None:
        """Raises: ValueError: the output does not fit."""
        _check_outputs((self.output,), shapes)
        if _core(shapes[self.output])[-1] < 2:
            raise ValueError(f"output {self.output} has no class beside the background")


@dataclass(frozen=True)
class Segmentation:
    """A score of each class for each pixel, [height, width, classes]."""

    output: int

    def check(self, shapes: Sequence[Shape]) -> None:
        """Raises: ValueError: the output does not fit."""
        _check_outputs((self.output,), shapes)
        if not is_map(shapes[self.output]):
            raise ValueError(f"output {self.output} has no scores of two classes for each pixel")


Detection: TypeAlias = Ssd | Yolo | Fomo | Segmentation


def is_map(shape: Shape) -> bool:
    """Whether an output can be scores of several classes for each pixel."""
    height, width, channels = _core(shape)
    return len(shape) == 4 and height > 1 and width > 1 and channels > 1


def parse_detection(value: Any) -> Detection:
    """From what JSON holds; keys that are not known are left to later versions.

    Raises: ValueError: which part is not what it must be.
    """
    if not isinstance(value, dict):
        raise ValueError("is not an object")
    kinds: dict[str, Callable[[dict[Any, Any]], Detection]] = {
        "ssd": _ssd,
        "yolo_v5": lambda v: _yolo(v, 5),
        "yolo_v8": lambda v: _yolo(v, 8),
        "fomo": lambda v: Fomo(_output(v), _threshold(v, "score_threshold", 0.5)),
        "segmentation": lambda v: Segmentation(_output(v)),
    }
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"kind is not one of {', '.join(kinds)}")
    return kinds[kind](value)


def pack_anchors(anchors: Floats) -> str:
    """As metadata have them: base64 of what zlib makes of float32, little-endian."""
    return base64.b64encode(zlib.compress(anchors.astype("<f4").tobytes(), 9)).decode()


def _ssd(value: dict[Any, Any]) -> Ssd:
    boxes, scores = _outputs(value, "boxes"), _outputs(value, "scores")
    if len(boxes) != len(scores):
        raise ValueError(f"{len(boxes)} outputs of boxes and {len(scores)} of scores")
    scales = _numbers(value.get("scales", [10.0, 10.0, 5.0, 5.0]), "scales")
    if len(scales) != _COORDINATES or not all(float(np.float32(v)) > 0 for v in scales):
        raise ValueError("scales are not four positive numbers")
    return Ssd(
        classes=_count(value, "classes", None, MAX_CLASSES),
        boxes=boxes,
        scores=scores,
        anchors=_anchors(value.get("anchors")),
        suppression=_suppression(value),
        scales=scales,
        box_values=_count(value, "box_values", _COORDINATES, MAX_CLASSES, _COORDINATES),
    )


def _anchors(value: Any) -> Floats:
    if isinstance(value, str):
        try:
            stream = zlib.decompressobj()
            raw = stream.decompress(base64.b64decode(value, validate=True), _MOST_ANCHOR_BYTES + 1)
        except (ValueError, zlib.error) as error:
            raise ValueError("anchors are not base64 of a zlib stream") from error
        if not stream.eof or len(raw) % (4 * _COORDINATES):
            raise ValueError("anchors are not four numbers each")
        anchors = np.frombuffer(raw, "<f4").astype(np.float32).reshape(-1, _COORDINATES)
    elif isinstance(value, list):
        rows = [_numbers(row, f"anchor {i}") for i, row in enumerate(value[: MAX_BOXES + 1])]
        if any(len(row) != _COORDINATES for row in rows):
            raise ValueError("anchors are not four numbers each")
        anchors = np.array(rows, np.float32).reshape(-1, _COORDINATES)
    else:
        raise ValueError("anchors are neither a list nor base64")
    if not 0 < len(anchors) <= MAX_BOXES:
        raise ValueError(f"{len(anchors)} anchors, 1 to {MAX_BOXES} are possible")
    if not (np.abs(anchors) <= _MOST).all():  # NaN is not, either
        raise ValueError(f"anchors are not numbers from {-_MOST:g} to {_MOST:g}")
    return anchors


def _yolo(value: dict[Any, Any], version: Literal[5, 8]) -> Yolo:
    outputs = value.get("outputs")
    if not isinstance(outputs, list) or not outputs:
        raise ValueError("outputs are not a list of outputs' numbers")
    encoding = value.get("encoding", "raw")
    if encoding not in _ENCODINGS:
        raise ValueError(f"encoding is not one of {', '.join(_ENCODINGS)}")
    units = value.get("units", "normalized")
    if units not in _UNITS:
        raise ValueError(f"units is not one of {', '.join(_UNITS)}")
    scales: list[tuple[tuple[float, float], ...]] = []
    if version == 5 and encoding == "raw":
        given = value.get("anchors")
        if not isinstance(given, list) or len(given) != len(outputs):
            raise ValueError("anchors are not a list of pairs for each output")
        for row in given:
            pairs = row if isinstance(row, list) and row else [[]]
            sizes = [_numbers(pair, "anchors") for pair in pairs]
            if not all(len(size) == 2 and min(size) > 0 for size in sizes):
                raise ValueError("anchors are not pairs of a width and a height, in pixels")
            scales.append(tuple((size[0], size[1]) for size in sizes))
    return Yolo(
        version=version,
        classes=_count(value, "classes", None, MAX_CLASSES),
        outputs=tuple(
            _outputs({"outputs": entry if isinstance(entry, list) else [entry]}, "outputs")
            for entry in outputs
        ),
        suppression=_suppression(value),
        anchors=tuple(scales),
        encoding=encoding,
        sigmoid=_flag(value, "sigmoid", True),
        units=units,
    )


def _suppression(value: dict[Any, Any]) -> Suppression:
    default = Suppression()
    iou = _threshold(value, "iou_threshold", default.iou_threshold)
    if not 0 < np.float32(iou) <= 1:
        raise ValueError("iou_threshold is not above 0 and at most 1")
    counts = {
        key: _count(value, key, getattr(default, key), MAX_CLASSES)
        for key in ("max_detections", "max_classes_per_detection", "detections_per_class")
    }
    return Suppression(
        score_threshold=_threshold(value, "score_threshold", default.score_threshold),
        iou_threshold=iou,
        regular=_flag(value, "regular", default.regular),
        **counts,
    )


def _check_outputs(outputs: Sequence[int], shapes: Sequence[Shape]) -> None:
    for output in outputs:
        if output >= len(shapes):
            raise ValueError(f"there is no output {output}; the network has {len(shapes)}")


def _core(shape: Shape, count: int = 3) -> Shape:
    """The last dimensions, 1 where there are none."""
    return ((1,) * count + tuple(shape))[-count:]


def _output(value: dict[Any, Any]) -> int:
    return _outputs({"output": [value.get("output", 0)]}, "output")[0]


def _outputs(value: dict[Any, Any], key: str) -> tuple[int, ...]:
    numbers = value.get(key)
    if not isinstance(numbers, list) or not numbers:
        raise ValueError(f"{key} are not a list of outputs' numbers")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < MAX_CLASSES:
            raise ValueError(f"{key}: {str(number)[:40]!r} is not the number of an output")
    return tuple(numbers)


def _count(value: dict[Any, Any], key: str, default: int | None, most: int, least: int = 1) -> int:
    number = value.get(key, default)
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise ValueError(f"{key} is not a whole number from {least} to {most}")
    return number


def _threshold(value: dict[Any, Any], key: str, default: float) -> float:
    (number,) = _numbers([value.get(key, default)], key)
    return number


def _numbers(value: Any, key: str) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{key} is not a list of numbers")
    for number in value:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise ValueError(f"{key}: {str(number)[:40]!r} is not a number")
        if not abs(number) <= _MOST:  # NaN is not, either
            raise ValueError(f"{key} is not from {-_MOST:g} to {_MOST:g}")
    return tuple(map(float, value))


def _flag(value: dict[Any, Any], key: str, default: bool) -> bool:
    flag = value.get(key, default)
    if not isinstance(flag, bool):
        raise ValueError(f"{key} is not true or false")
    return flag
