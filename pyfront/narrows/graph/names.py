# SPDX-License-Identifier: Apache-2.0
"""Names for people: converters join many, and begin with long paths."""

from __future__ import annotations

from collections.abc import Sequence

_WIDTH = 40
_MOST = 3


def short_name(name: str) -> str:
    """The first of the names, and its end if that is long."""
    name = name.split(";")[0]
    return name if len(name) <= _WIDTH else "…" + name[1 - _WIDTH :]


def first_names(names: Sequence[str]) -> str:
    """The first of some, and how many more there are; "" of none."""
    listed = ", ".join(map(short_name, names[:_MOST]))
    return f"{listed} and {len(names) - _MOST} more" if len(names) > _MOST else listed
