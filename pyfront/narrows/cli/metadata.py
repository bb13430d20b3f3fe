# SPDX-License-Identifier: Apache-2.0
"""Options that say what a model's pictures, classes and outputs are, to be stored with it."""

from __future__ import annotations

import argparse
import json
from typing import Any

from narrows.cli.console import parse_numbers
from narrows.cli.places import add_input
from narrows.data import load_labels
from narrows.errors import InputError, UsageError
from narrows.files import read_file
from narrows.graph.detection import parse_detection
from narrows.graph.preprocessing import (
    CHANNEL_ORDERS,
    EXIF_ROTATIONS,
    RESIZE_MODES,
    parse_preprocessing,
)

_OF_PICTURES = ("pixel_mean", "pixel_scale", "resize", "crop_fraction", "order", "exif_rotation")


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


def parse_metadata(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the options say, as metadata holds it; only what was given.

    Raises: UsageError: options that make no sense. InputError, NarrowsError: labels, or a
        detection, that cannot be read.
    """
    metadata: dict[str, Any] = {}
    if arguments.labels is not None:
        metadata["labels"] = list(load_labels(arguments.labels))
    if arguments.detection is not None:
        metadata["detection"] = _detection(arguments.detection)
    given = {key: getattr(arguments, key) for key in _OF_PICTURES}
    given = {key.removeprefix("pixel_"): v for key, v in given.items() if v is not None}
    if not given:
        return metadata
    if not {"mean", "scale"} <= set(given):
        raise UsageError(
            "pictures: --pixel-mean and --pixel-scale belong together, and other options to them"
        )
    for key in ("mean", "scale"):
        given[key] = parse_numbers(f"--pixel-{key}", given[key])
    try:
        parse_preprocessing(given)
    except ValueError as error:
        raise UsageError(f"pictures: {error}") from error
    return metadata | {"preprocessing": given}


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
