# SPDX-License-Identifier: Apache-2.0
"""Names and sizes of the zoo's networks."""

from __future__ import annotations

from narrows.errors import UsageError


def named(kind: str, width: float, size: int) -> str:
    """Of a network with a width multiplier and a size of its input."""
    return f"{kind}_{width:g}_{size}"


def check(width: float, size: int) -> None:
    """Raises: UsageError: numbers with which no such network makes sense."""
    if not (0.1 <= width <= 4 and 32 <= size <= 4096):
        raise UsageError(f"width {width:g} and input {size}: 0.1 to 4 and 32 to 4096 make sense")
