# SPDX-License-Identifier: Apache-2.0
"""What ``narrows run`` says and draws of a model that finds things in a picture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from narrows.blob import Blob
from narrows.detection import Found, find
from narrows.drawing import (
    Marked,
    Part,
    draw_boxes,
    draw_mask,
    encode_picture,
    in_pixels,
    picture_kind,
)
from narrows.errors import UsageError
from narrows.graph.detection import Detection, Fomo, Segmentation, Ssd, Yolo, is_map
from narrows.graph.edges import Array, real
from narrows.pictures import PICTURES, shown_part


@dataclass(frozen=True, eq=False)
class Findings(ABC):
    """labels: of classes. file: what the input came from."""

    blob: Blob
    labels: Sequence[str]
    file: Path

    @property
    @abstractmethod
    def report(self) -> dict[str, Any]:
        """What ``--json`` holds of it."""

    @abstractmethod
    def lines(self, top: int) -> list[str]:
        """What is printed. top: of the classes of a mask so many."""

    @abstractmethod
    def drawn(self, path: str) -> bytes:
        """The picture that is written to a place."""

    @property
    def part(self) -> Part | None:
        """What the network sees of the picture, in its pixels; None if the input is an array."""
        return self._shown()[1] if self.file.suffix.lower() in PICTURES else None

    def _shown(self) -> tuple[Any, Part]:
        return shown_part(self.blob.inputs[0], self.blob.preprocessing, self.file, str(self.file))

    def label(self, index: int, classes: int) -> str:
        """What a class is called; labels may begin with the background, which no class is."""
        index += len(self.labels) == classes + 1
        return self.labels[index] if index < len(self.labels) else f"class {index}"


@dataclass(frozen=True, eq=False)
class Boxes(Findings):
    """classes: how many there are, without a background."""

    found: Sequence[Found]
    classes: int

    @property
    def report(self) -> dict[str, Any]:
        return {"detections": [self._described(one) for one in self.found]}

    def lines(self, top: int) -> list[str]:
        if not self.found:
            return ["nothing found"]
        lines = []
        for one in self.report["detections"]:
            pixels = one.get("pixels")
            places = [f"{v:.3f}" for v in one["box"]]
            if pixels is not None:
                places = [f"{pixels[i]:.0f}" for i in (1, 0, 3, 2)]
            top_, left, bottom, right = places
            where = f"left {left}, top {top_}, right {right}, bottom {bottom}"
            lines.append(f"{one['score']:10.6g}  {one['label']}: {where}")
        return lines

    def _described(self, one: Found) -> dict[str, Any]:
        part = self.part
        entry: dict[str, Any] = {
            "index": one.index,
            "label": self.label(one.index, self.classes),
            "score": one.score,
            "box": list(one.box),
        }
        return entry if part is None else entry | {"pixels": list(in_pixels(one.box, part))}

    def drawn(self, path: str) -> bytes:
        picture, part = self._shown()
        boxes = [
            Marked(
                in_pixels(one.box, part),
                f"{self.label(one.index, self.classes)} {one.score:.2f}",
                one.index,
            )
            for one in self.found
        ]
        return encode_picture(draw_boxes(picture, boxes), picture_kind(path))


@dataclass(frozen=True, eq=False)
class Mask(Findings):
    """pixels: the best class of each, [height, width]. classes: how many there are."""

    pixels: npt.NDArray[np.integer[Any]]
    classes: int

    @property
    def report(self) -> dict[str, Any]:
        counts = np.bincount(self.pixels.ravel(), minlength=self.classes)
        order = np.argsort(-counts, kind="stable")
        return {
            "classes": [
                {
                    "index": int(i),
                    "label": self.labels[i] if i < len(self.labels) else f"class {i}",
                    "share": float(counts[i] / self.pixels.size),
                }
                for i in order
                if counts[i] > 0
            ]
        }

    def lines(self, top: int) -> list[str]:
        return [f"{one['share']:10.1%}  {one['label']}" for one in self.report["classes"][:top]]

    def drawn(self, path: str) -> bytes:
        picture, part = self._shown()
        return encode_picture(draw_mask(picture, self.pixels, part), picture_kind(path))


def look(blob: Blob, outputs: Sequence[Array], labels: Sequence[str], file: str) -> Findings | None:
    """What a model has found; None if it only scores the whole input.

    Args:
        outputs: in the model's own types.

    Raises: InputError: its outputs are no boxes.
    """
    declared = _declared(blob)
    if declared is None:
        return None
    values = [real(edge, output) for edge, output in zip(blob.outputs, outputs, strict=True)]
    if isinstance(declared, Segmentation):
        scores = values[declared.output][0]
        return Mask(blob, labels, Path(file), scores.argmax(axis=2), scores.shape[2])
    shape = blob.inputs[0].shape
    found = find(declared, values, shape[1:3] if len(shape) == 4 else (1, 1))
    return Boxes(blob, labels, Path(file), found, _classes(declared, blob))


def check_drawing(blob: Blob, path: str, files: Sequence[str]) -> None:
    """Raises: UsageError: nothing can be drawn, and why."""
    if _declared(blob) is None:
        raise UsageError(
            f"{path}: nothing to draw: {blob.name} scores its whole input; if its outputs are "
            "boxes, compile it with --detection"
        )
    if Path(files[0]).suffix.lower() not in PICTURES:
        raise UsageError(f"{path}: nothing to draw on: {files[0]} is no picture")
    picture_kind(path)


def _declared(blob: Blob) -> Detection | None:
    """An only output that can be a score of each class for each pixel is one, unless the model says
    otherwise."""
    if blob.detection is None and len(blob.outputs) == 1 and is_map(blob.outputs[0].shape):
        return Segmentation(0)
    return blob.detection


def _classes(declared: Ssd | Yolo | Fomo, blob: Blob) -> int:
    if isinstance(declared, Fomo):
        return blob.outputs[declared.output].shape[-1] - 1
    return declared.classes
