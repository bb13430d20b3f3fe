# SPDX-License-Identifier: Apache-2.0
"""Options that say what a model's pictures, classes and outputs are, to be stored with it."""

from __future__ import annotations

import argparse
import json
from typing import Any, TypedDict

from narrows.cli.console import parse_numbers
from narrows.cli.places import add_input
from narrows.data import load_labels
from narrows.errors import InputError, UsageError
from narrows.files import read_file
from narrows.graph.detection import parse_detection
from narrows.graph.preprocessing import (
    CHANNEL_ORDERS,
    CONVENTION_HELP,
    CONVENTIONS,
    EXIF_ROTATIONS,
    RESIZE_MODES,
    Preprocessing,
)

_OF_PICTURES = ("resize", "crop_fraction", "order", "exif_rotation")


class Metadata(TypedDict):
    """What is stored with a model; None: nothing is said of it."""

    labels: tuple[str, ...] | None
    preprocessing: Preprocessing | None
    detection: dict[str, Any] | None


def add_metadata(parser: argparse.ArgumentParser) -> None:
    """The options ``--labels``, ``--detection``, ``--pixel-mean`` and its like."""
    add_input(parser, "--labels", metavar="FILE", help="class names, one per line, to store")
    add_input(
        parser,
        "--detection",
        metavar="FILE.json",
        help="how outputs become boxes or a mask, to store: see the README, Detectors",
    )
    parser.add_argument(
        "--pixels",
        choices=tuple(CONVENTIONS),
        help=f"pictures: what the network takes their pixels as: {CONVENTION_HELP}",
    )
    parser.add_argument(
        "--pixel-mean", metavar="M[,M,M]", help="pictures: real value = (pixel - mean) * scale"
    )
    parser.add_argument("--pixel-scale", metavar="S[,S,S]", help="see --pixel-mean")
    parser.add_argument(
        "--resize",
        choices=RESIZE_MODES,
        help="pictures: stretched to the input's shape (default), or cropped to it in the middle",
    )
    parser.add_argument(
        "--crop-fraction",
        type=float,
        metavar="F",
        help="pictures: keep this share of height and width, such as 0.875",
    )
    parser.add_argument("--order", choices=CHANNEL_ORDERS, help="of channels (RGB)")
    parser.add_argument(
        "--exif-rotation",
        choices=EXIF_ROTATIONS,
        help="pictures: turn them upright as their EXIF orientation says, or don't (default, with "
        "a warning)",
    )


def parse_metadata(arguments: argparse.Namespace) -> Metadata:
    """What the options say, as the API takes it.

    Raises: UsageError: options that make no sense. InputError, NarrowsError: labels, or a
        detection, that cannot be read.
    """
    return {
        "labels": None if arguments.labels is None else load_labels(arguments.labels),
        "preprocessing": _preprocessing(arguments),
        "detection": None if arguments.detection is None else _detection(arguments.detection),
    }


def _preprocessing(arguments: argparse.Namespace) -> Preprocessing | None:
    more = {key: getattr(arguments, key) for key in _OF_PICTURES}
    more = {key: value for key, value in more.items() if value is not None}
    mean, scale = arguments.pixel_mean, arguments.pixel_scale
    if arguments.pixels is not None and not mean is scale is None:
        raise UsageError("pictures: --pixels says mean and scale; give it or them")
    if arguments.pixels is None and (mean is None or scale is None):
        if mean is scale is None and not more:
            return None
        raise UsageError(
            "pictures: --pixel-mean and --pixel-scale belong together, and other options to them "
            "or to --pixels"
        )
    try:
        if arguments.pixels is not None:
            return Preprocessing.named(arguments.pixels, **more)
        means, scales = parse_numbers("--pixel-mean", mean), parse_numbers("--pixel-scale", scale)
        return Preprocessing(tuple(means), tuple(scales), **more)
    except ValueError as error:
        raise UsageError(f"pictures: {error}") from error


def _detection(path: str) -> Any:
    try:
        value = json.loads(read_file(path, "detection").decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: a detection is JSON ({reason})") from error
    try:
        parse_detection(value)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    return value
