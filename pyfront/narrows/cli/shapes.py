# SPDX-License-Identifier: Apache-2.0
"""The option that fixes the shapes of a model's inputs."""

from __future__ import annotations

import argparse

from narrows.errors import UsageError


def add_input_shapes(parser: argparse.ArgumentParser) -> None:
    """The option ``--input-shape``."""
    parser.add_argument(
        "--input-shape",
        action="append",
        default=[],
        metavar="[NAME=]1x3x96x96",
        help="an .onnx model's input whose shape has free dimensions; for each input once",
    )


def parse_input_shapes(arguments: argparse.Namespace) -> dict[str, tuple[int, ...]]:
    """Shapes by the names of inputs; "" where none is given. Raises: UsageError."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in arguments.input_shape:
        name, _, sizes = text.rpartition("=")
        parts = sizes.replace(",", "x").split("x")
        if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
            raise UsageError(f"--input-shape {text}: give sizes such as 1x3x96x96")
        if name in shapes:
            raise UsageError(f"--input-shape {text}: the second shape of one input")
        shapes[name] = tuple(map(int, parts))
    return shapes
