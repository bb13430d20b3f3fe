# SPDX-License-Identifier: Apache-2.0
"""What a network says of a picture, drawn over it: boxes with classes, or a coloured mask."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from narrows.errors import UsageError

Part: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom of what the network sees of a picture, in its pixels."""

_GOLDEN = 0.618034  # of a turn: hues of neighbouring classes are far apart
_MASK_SHARE = 0.5
_TEXT_SHARE = 28  # a line of text is this part of the picture's shorter side
_LEAST_TEXT, _MOST_TEXT = 10, 40


@dataclass(frozen=True)
class Marked:
    """A box to draw: left, top, right, bottom in pixels of the picture."""

    box: Part
    text: str
    index: int


def colour(index: int) -> tuple[int, int, int]:
    """The colour of a class: strong, and unlike those of the classes beside it."""
    red, green, blue = colorsys.hsv_to_rgb((index * _GOLDEN) % 1, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def in_pixels(box: Part, part: Part) -> Part:
    """A box in shares of what the network sees (top, left, bottom, right) -> left, top, right,
    bottom in pixels of the picture."""
    top, left, bottom, right = box
    width, height = part[2] - part[0], part[3] - part[1]
    return (
        part[0] + left * width,
        part[1] + top * height,
        part[0] + right * width,
        part[1] + bottom * height,
    )


def draw_boxes(picture: Image.Image, boxes: Sequence[Marked]) -> Image.Image:
    """A copy with the boxes; the first ones lie over the others."""
    made = picture.copy()
    canvas = ImageDraw.Draw(made)
    size = min(max(min(made.size) // _TEXT_SHARE, _LEAST_TEXT), _MOST_TEXT)
    font = ImageFont.load_default(size) if _has_sizes() else ImageFont.load_default()
    for marked in reversed(boxes):
        left, top, right, bottom = _inside(marked.box, made.size)
        shade = colour(marked.index)
        canvas.rectangle((left, top, right, bottom), outline=shade, width=max(2, size // 6))
        text = canvas.textbbox((left, top), marked.text, font=font)
        height = text[3] - top + 2
        # The words stand over the box, or in it where there is no room.
        y = top - height if top >= height else top
        x = max(0, min(left, made.width - (text[2] - left) - 4))
        canvas.rectangle((x, y, x + text[2] - left + 4, y + height), fill=shade)
        canvas.text((x + 2, y), marked.text, fill=(0, 0, 0), font=font)
    return made


def draw_mask(
    picture: Image.Image, classes: npt.NDArray[np.integer[Any]], part: Part
) -> Image.Image:
    """A copy, over what the network sees of it each pixel's class as a colour; class 0 is left
    clear. classes: [height, width]."""
    palette = np.array([colour(i) for i in range(int(classes.max()) + 1)], np.uint8)
    veil = np.where(classes > 0, round(255 * _MASK_SHARE), 0).astype(np.uint8)
    left, top, right, bottom = (round(v) for v in part)
    size = (max(1, right - left), max(1, bottom - top))
    paint = Image.fromarray(palette[classes]).resize(size, Image.Resampling.NEAREST)
    cover = Image.fromarray(veil).resize(size, Image.Resampling.NEAREST)
    made = picture.copy()
    made.paste(paint, (left, top), cover)
    return made


def picture_kind(path: str) -> str:
    """Pillow's name of the kind of picture that a file's name says; PNG if it has no ending.

    Raises: UsageError: Pillow writes no such files.
    """
    ending = Path(path).suffix.lower() or ".png"
    kind = Image.registered_extensions().get(ending)
    if kind is None or kind not in Image.SAVE:
        raise UsageError(f"{path}: pictures are not written as {ending}; give a .png file")
    return kind


def encode_picture(picture: Image.Image, kind: str) -> bytes:
    """The file's bytes. kind: see ``picture_kind``."""
    buffer = io.BytesIO()
    picture.save(buffer, kind)
    return buffer.getvalue()


def _inside(box: Part, size: tuple[int, int]) -> Part:
    """Cut to the picture; whatever a network predicts, left is not behind right, and what is no
    number is 0."""
    width, height = size
    left, right = (min(max(0.0, v), width - 1.0) for v in (box[0], box[2]))
    top, bottom = (min(max(0.0, v), height - 1.0) for v in (box[1], box[3]))
    return min(left, right), min(top, bottom), max(left, right), max(top, bottom)


def _has_sizes() -> bool:
    """Whether Pillow is built with FreeType, and new enough to bring a font for it."""
    try:
        ImageFont.load_default(_LEAST_TEXT)
    except (TypeError, OSError, ImportError):
        return False
    return True
