# SPDX-License-Identifier: Apache-2.0
"""Names for people: converters join many, and begin with long paths."""

from __future__ import annotations

_WIDTH = 40


def short_name(name: str) -> str:
    """The first of the names, and its end if that is long."""
    name = name.split(";")[0]
    return name if len(name) <= _WIDTH else "…" + name[1 - _WIDTH :]
