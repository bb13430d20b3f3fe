# SPDX-License-Identifier: Apache-2.0
"""A picture -> what a network takes.

The part of the picture that the preprocessing names is resized (bilinear) to the input's height
and width, as grey for 1 channel, as RGB or BGR for 3; real values follow from mean and scale.
Without preprocessing the whole picture is resized, the bytes of a uint8 input are the pixels, and
otherwise real values follow from the size of the input's quantization step: 1/255 means 0 to 1,
2/255 means -1 to 1, 1 means 0 to 255.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from narrows.errors import InputError
from narrows.graph.edges import Array, HostEdge
from narrows.graph.preprocessing import Preprocessing

PICTURES = (".bmp", ".jpg", ".jpeg", ".png", ".gif", ".webp", ".ppm", ".pgm")

# Quantization step -> (mean, scale) of pixels; a step counts if it is within 10%.
_CONVENTIONS = {1 / 255: (0.0, 1 / 255), 2 / 255: (127.5, 1 / 127.5), 1.0: (0.0, 1.0)}


def load_picture(
    edge: HostEdge, preprocessing: Preprocessing | None, source: Path | Array, name: str
) -> Array:
    """[height, width, channels]: real values, or pixels for uint8 that nothing else is said of.

    Args:
        source: a file, or pixels: uint8 [height, width] or [height, width, channels].
        name: what errors call it.

    Raises: InputError: cannot be read, or the input is no picture.
    """
    if len(edge.shape) != 4 or edge.shape[3] not in (1, 3):
        raise InputError(
            f"{name}: input {edge.name} is {edge.shape_in_file}, no picture; give an .npy file of "
            "floats"
        )
    if preprocessing is None:
        pixels = _pixels(source, name, edge.shape[1:], Preprocessing((0.0,), (1.0,)))
        if edge.dtype == "uint8":
            return pixels
        preprocessing = _by_convention(edge, name)
    else:
        try:
            preprocessing.check_channels(edge.shape[3])
        except ValueError as error:
            raise InputError(f"{name}: the model's preprocessing: {error}") from error
        pixels = _pixels(source, name, edge.shape[1:], preprocessing)
    mean, scale = np.array(preprocessing.mean), np.array(preprocessing.scale)
    values: Array = ((pixels - mean) * scale).astype(np.float32)
    return values


def _pixels(
    source: Path | Array, name: str, shape: tuple[int, ...], preprocessing: Preprocessing
) -> Array:
    """uint8 [height, width, channels]."""
    height, width, channels = shape
    try:
        with _opened(source) as image:
            whole = image.convert("L" if channels == 1 else "RGB")
            box = _part(whole.size, (width, height), preprocessing)
            resized = whole.resize((width, height), Image.Resampling.BILINEAR, box)
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file") from error
    except Exception as error:  # a malformed picture makes Pillow raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: not a picture that can be read: {reason}") from error
    pixels = np.asarray(resized, np.uint8).reshape(height, width, channels)
    return pixels[:, :, ::-1] if preprocessing.order == "BGR" else pixels


def _opened(source: Path | Array) -> Image.Image:
    if isinstance(source, Path):
        return Image.open(source)
    pixels = source[0] if source.ndim == 4 and len(source) == 1 else source
    if pixels.ndim == 3 and pixels.shape[2] == 1:  # Pillow's grey has no channels
        pixels = pixels[:, :, 0]
    return Image.fromarray(pixels)


def _part(
    size: tuple[int, int], target: tuple[int, int], preprocessing: Preprocessing
) -> tuple[float, float, float, float]:
    """What of a picture is resized: left, top, right, bottom. Sizes are (width, height)."""
    width, height = float(size[0]), float(size[1])
    if preprocessing.resize == "crop":
        factor = min(width / target[0], height / target[1])
        width, height = target[0] * factor, target[1] * factor
    width, height = (n * preprocessing.crop_fraction for n in (width, height))
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _by_convention(edge: HostEdge, name: str) -> Preprocessing:
    step = edge.tensor_scale if edge.dtype == "float32" else edge.scale
    for convention, (mean, scale) in _CONVENTIONS.items():
        if 0.9 < step / convention < 1.1:
            return Preprocessing((mean,), (scale,))
    raise InputError(
        f"{name}: cannot tell how pixels become values of input {edge.name}; give --pixel-mean and "
        "--pixel-scale to quantize or compile, or an .npy file of floats"
    )
