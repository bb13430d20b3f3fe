# SPDX-License-Identifier: Apache-2.0
"""How a picture becomes an input: stored with a model, and in its blob's metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

ResizeMode: TypeAlias = Literal["stretch", "crop"]
ChannelOrder: TypeAlias = Literal["RGB", "BGR"]
ExifRotation: TypeAlias = Literal["apply", "ignore"]

RESIZE_MODES: tuple[ResizeMode, ...] = ("stretch", "crop")
CHANNEL_ORDERS: tuple[ChannelOrder, ...] = ("RGB", "BGR")
EXIF_ROTATIONS: tuple[ExifRotation, ...] = ("apply", "ignore")
LEAST_CROP = 0.01

_IMAGENET_MEAN, _IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CONVENTIONS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "0..1": ((0.0,), (1 / 255,)),
    "-1..1": ((127.5,), (1 / 127.5,)),
    "0..255": ((0.0,), (1.0,)),
    "imagenet": (
        tuple(255 * mean for mean in _IMAGENET_MEAN),
        tuple(1 / (255 * deviation) for deviation in _IMAGENET_DEVIATION),
    ),
}
"""How networks usually take pixels: name -> (mean, scale). ``imagenet`` is 0 to 1, less the mean of
ImageNet's pixels and over their standard deviation, for red, green and blue."""

CONVENTION_HELP = (
    "-1..1 (Keras' MobileNet, MobileNetV2, NASNet, ResNetV2, Xception), imagenet (torchvision, "
    "most of timm, Keras' DenseNet), 0..255 (Keras' MobileNetV3, EfficientNet, which rescale "
    "inside), 0..1 (Ultralytics' YOLO, TensorFlow Hub)"
)
"""Which of them networks of well-known origins take."""
# (255 + most) * most is a float32, whatever the signs.
_MOST = 1e15


@dataclass(frozen=True)
class Preprocessing:
    """A part of the picture is resized, then real value = (pixel - mean) * scale.

    ``Preprocessing.named("imagenet")`` has the usual numbers.

    mean, scale: one number, or one per channel in the order of the input; pixels are 0 to 255.
    resize: "stretch" takes the whole picture, "crop" its middle that has the input's shape.
    crop_fraction: of that part's height and width this share is kept, from the middle.
    order: of an input's three channels.
    exif_rotation: whether a picture is first turned upright as its EXIF orientation says; None
        ignores the orientation, too, and warns of a picture that has one.

    Raises: ValueError: a number out of range.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    resize: ResizeMode = "stretch"
    crop_fraction: float = 1.0
    order: ChannelOrder = "RGB"
    exif_rotation: ExifRotation | None = None

    def __post_init__(self) -> None:
        for key, numbers in (("mean", self.mean), ("scale", self.scale)):
            if not numbers or not all(abs(v) <= _MOST for v in numbers):  # NaN is not, either
                raise ValueError(f"{key} is not numbers from {-_MOST:g} to {_MOST:g}")
        if 0 in self.scale:
            raise ValueError("scale is 0")
        if self.resize not in RESIZE_MODES:
            raise ValueError(f"resize is not one of {', '.join(RESIZE_MODES)}")
        if not LEAST_CROP <= self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction is not from {LEAST_CROP} to 1")
        if self.order not in CHANNEL_ORDERS:
            raise ValueError(f"order is not one of {', '.join(CHANNEL_ORDERS)}")
        if self.exif_rotation is not None and self.exif_rotation not in EXIF_ROTATIONS:
            raise ValueError(f"exif_rotation is not one of {', '.join(EXIF_ROTATIONS)}")

    @classmethod
    def named(
        cls,
        convention: str,
        *,
        resize: ResizeMode = "stretch",
        crop_fraction: float = 1.0,
        order: ChannelOrder = "RGB",
        exif_rotation: ExifRotation | None = None,
    ) -> Preprocessing:
        """A usual way to take pixels: ``0..1``, ``-1..1``, ``0..255`` or ``imagenet``.

        Raises: ValueError: another name, or a number out of range.
        """
        if convention not in CONVENTIONS:
            raise ValueError(f"{convention!r} is not one of {', '.join(CONVENTIONS)}")
        mean, scale = CONVENTIONS[convention]
        if order == "BGR":
            mean, scale = mean[::-1], scale[::-1]
        return cls(mean, scale, resize, crop_fraction, order, exif_rotation)

    @property
    def metadata(self) -> dict[str, Any]:
        """As metadata has it; what is as it is anyway is left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        known = {field.name: field.default for field in fields(self)}
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in values.items()
            if value != known[key]
        }

    def check_channels(self, channels: int) -> None:
        """Raises: ValueError: mean or scale is for another number of channels."""
        for key, numbers in (("mean", self.mean), ("scale", self.scale)):
            if len(numbers) not in (1, channels):
                raise ValueError(f"{key} has {len(numbers)} numbers for {channels} channels")


def parse_preprocessing(value: Any) -> Preprocessing:
    """From what JSON holds; keys that are not known are left to later versions.

    Raises: ValueError: which part is not what it must be.
    """
    if not isinstance(value, dict):
        raise ValueError("is not an object")
    return Preprocessing(
        mean=_numbers(value, "mean"),
        scale=_numbers(value, "scale"),
        resize=value.get("resize", "stretch"),
        crop_fraction=_number("crop_fraction", value.get("crop_fraction", 1.0)),
        order=value.get("order", "RGB"),
        exif_rotation=value.get("exif_rotation"),
    )


def _numbers(value: dict[Any, Any], key: str) -> tuple[float, ...]:
    if key not in value:
        raise ValueError(f"has no {key}")
    entry = value[key]
    return tuple(_number(key, v) for v in (entry if isinstance(entry, list) else [entry]))


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key} is not a number")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{key} is too large") from error
