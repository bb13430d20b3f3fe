# SPDX-License-Identifier: Apache-2.0
"""Models that come with the package."""

from __future__ import annotations

from narrows.models.digits import (
    DIGITS_FLOAT,
    DIGITS_HELD_OUT,
    DIGITS_INT8,
    DIGITS_LABELS,
    DIGITS_METADATA,
    DIGITS_SIZE,
    Digits,
    Split,
    enlarge_digits,
    load_held_out,
    prepare_digits,
    split_digits,
)

__all__ = [
    "DIGITS_FLOAT",
    "DIGITS_HELD_OUT",
    "DIGITS_INT8",
    "DIGITS_LABELS",
    "DIGITS_METADATA",
    "DIGITS_SIZE",
    "Digits",
    "Split",
    "enlarge_digits",
    "load_held_out",
    "prepare_digits",
    "split_digits",
]
