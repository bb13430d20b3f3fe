# SPDX-License-Identifier: Apache-2.0
"""A picture -> what a network takes.

A file is first brought to 8 bits a channel, as TensorFlow, Keras and torchvision do: of 16 bits the
high byte counts, alpha is dropped. Pixels whose white no one knows (floats, 32-bit integers) are
refused. Of several frames the first is taken, with a warning; an EXIF orientation is applied or
ignored as the preprocessing says, and by default ignored with a warning. (Pillow itself applies the
orientation of a TIFF file, which belongs to that format.)

The part of the picture that the preprocessing names is resized (bilinear) to the input's height
and width, as grey for 1 channel, as RGB or BGR for 3; real values follow from mean and scale.
Without preprocessing the whole picture is resized, the bytes of a uint8 input are the pixels, and
otherwise real values follow from the size of the input's quantization step: 1/255 means 0 to 1,
2/255 means -1 to 1, 1 means 0 to 255.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from narrows.errors import FrameWarning, InputError, RotationWarning
from narrows.graph.edges import Array, HostEdge
from narrows.graph.preprocessing import CONVENTION_HELP, Preprocessing

PICTURES = (
    *(".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)

# Quantization step -> (mean, scale) of pixels; a step counts if it is within 10%.
_CONVENTIONS = {1 / 255: (0.0, 1 / 255), 2 / 255: (127.5, 1 / 127.5), 1.0: (0.0, 1.0)}

# Which part of a picture is taken where nothing is said of it, and none of its values.
_PLAIN = Preprocessing((0.0,), (1.0,))

_GREY_MODES = ("1", "L", "LA")
_STRAIGHT_ALPHA = {"La": "LA", "RGBa": "RGBA"}
# Formats (Pillow's names) whose grey samples of more than 8 bits are 0 to 65535: in modes I;16,
# and in mode I, which Pillow also uses for 32-bit integers.
_SIXTEEN_BIT_FORMATS = ("IM", "JPEG2000", "PNG", "PPM", "TIFF")
_SIXTEEN_IN_32_FORMATS = ("PNG", "PPM")
_TIFF_BITS_PER_SAMPLE, _TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0
_EXIF_ORIENTATION = 274
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
        pixels = _pixels(source, name, edge.shape[1:], _PLAIN)
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


def shown_part(
    edge: HostEdge, preprocessing: Preprocessing | None, source: Path, name: str
) -> tuple[Image.Image, tuple[float, float, float, float]]:
    """The picture in colours as it is looked at, and the part of it that the network sees: left,
    top, right, bottom in its pixels.

    Raises: InputError: as ``load_picture``.
    """
    preprocessing = preprocessing or _PLAIN
    whole, _, _ = _upright(source, name, "RGB", preprocessing)
    return whole, _part(whole.size, (edge.shape[2], edge.shape[1]), preprocessing)


def _pixels(
    source: Path | Array, name: str, shape: tuple[int, ...], preprocessing: Preprocessing
) -> Array:
    """uint8 [height, width, channels]."""
    height, width, channels = shape
    mode = "L" if channels == 1 else "RGB"
    whole, frames, orientation = _upright(source, name, mode, preprocessing)
    box = _part(whole.size, (width, height), preprocessing)
    resized = whole.resize((width, height), Image.Resampling.BILINEAR, box)
    if frames > 1:
        warnings.warn(
            FrameWarning(f"{name}: has {frames} frames; the first is taken"), stacklevel=2
        )
    if preprocessing.exif_rotation is None and orientation in _UPRIGHT:
        message = (
            f"{name}: its EXIF orientation ({orientation}) is ignored, as in every picture; "
            "--exif-rotation of quantize and compile turns pictures upright (apply) or ends this "
            "warning (ignore)"
        )
        warnings.warn(RotationWarning(message), stacklevel=2)
    pixels = np.asarray(resized, np.uint8).reshape(height, width, channels)
    return pixels[:, :, ::-1] if preprocessing.order == "BGR" else pixels


def _upright(
    source: Path | Array, name: str, mode: str, preprocessing: Preprocessing
) -> tuple[Image.Image, int, int]:
    """The picture in a mode (L or RGB), turned if the preprocessing says so; how many frames it
    has, and its EXIF orientation. Raises: InputError: it cannot be read."""
    try:
        # Pillow's remarks on odd files come with its own source lines and help nobody here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with _opened(source) as image:
                frames = _frames(image)
                whole = _eight_bits(image, name).convert(mode)
                orientation = _orientation(image)
            if preprocessing.exif_rotation == "apply" and orientation in _UPRIGHT:
                whole = whole.transpose(_UPRIGHT[orientation])
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file") from error
    except InputError:
        raise
    except Exception as error:  # a malformed picture makes Pillow raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{name}: not a picture that can be read: {reason}") from error
    return whole, frames, orientation


def _frames(image: Image.Image) -> int:
    """The other pictures of an MPO file are previews and the like, no frames: phones write them
    into ordinary photos."""
    if image.format == "MPO" or not getattr(image, "is_animated", False):
        return 1
    return int(getattr(image, "n_frames", 1))


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Mode L if the picture is grey, else RGB. Raises: InputError: nobody knows its white."""
    if min(image.size) < 1:
        raise InputError(f"{name}: the picture has no pixels ({image.width} x {image.height})")
    mode = image.mode
    if (mode.startswith("I;16") and image.format in _SIXTEEN_BIT_FORMATS) or (
        mode == "I" and image.format in _SIXTEEN_IN_32_FORMATS
    ):
        return Image.fromarray(_high_bytes(image))
    if mode[0] in "IF":
        kind = "floats" if mode == "F" else "integers of unknown range"
        raise InputError(
            f"{name}: its pixels are {kind}, whose black and white are not known; save the "
            "picture with 8 or 16 bits, or give an .npy file of floats"
        )
    if mode in _STRAIGHT_ALPHA:
        image = image.convert(_STRAIGHT_ALPHA[mode])
    return image.convert("L" if image.mode in _GREY_MODES else "RGB")


def _high_bytes(image: Image.Image) -> Array:
    """Grey samples of up to 16 bits -> uint8. Only TIFF has fewer than 16, or white as 0."""
    image.load()
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(_TIFF_BITS_PER_SAMPLE, (16,))[0]
    samples = np.clip(np.asarray(image).astype(np.int32), 0, (1 << bits) - 1) >> (bits - 8)
    high: Array = samples.astype(np.uint8)
    return 255 - high if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO else high


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1, upright, where there is none or it cannot be read."""
    try:
        return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # malformed metadata make Pillow raise anything, and the pixels are good
        return 1


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
        f"{name}: cannot tell how pixels become values of input {edge.name}; give quantize or "
        f"compile --pixels: {CONVENTION_HELP}; or --pixel-mean and --pixel-scale (in Python: "
        "preprocessing); or an .npy file of floats"
    )
