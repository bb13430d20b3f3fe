# SPDX-License-Identifier: Apache-2.0
"""Names for people: converters join many, and begin with long paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

_WIDTH = 40
_MOST = 3
# Parts of a path that are looked at, and those that a name may have: names come from files.
_DEEPEST, _LONGEST = 16, 6


def short_name(name: str) -> str:
    """The first of the names, and its end if that is long."""
    name = name.split(";")[0]
    return name if len(name) <= _WIDTH else "…" + name[1 - _WIDTH :]


def first_names(names: Sequence[str]) -> str:
    """The first of some, and how many more there are; "" of none."""
    listed = ", ".join(map(short_name, names[:_MOST]))
    return f"{listed} and {len(names) - _MOST} more" if len(names) > _MOST else listed


def distinct_names(names: Sequence[str]) -> list[str]:
    """For each of a network's names the shortest part of its path that no other has: of
    ``model/conv2d_3/Conv2D;model/bn/...`` it is ``conv2d_3``. Names that begin alike share one."""
    paths = {name: name.split(";")[0].strip("/").split("/")[-_DEEPEST:] for name in names}
    owners = Counter(run for path in set(map(tuple, paths.values())) for run in set(_runs(path)))
    found = {}
    for name, path in paths.items():
        own = (run for run in _runs(path) if owners[run] == 1 and any(map(_is_word, run)))
        found[name] = short_name("/".join(next(own, tuple(path))))
    return [found[name] for name in names]


def _runs(path: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """All short parts of a path, of those of one length the first one first, but that with which it
    begins, the network as a rule, last."""
    for length in range(1, min(len(path), _LONGEST) + 1):
        for start in (*range(1, len(path) - length + 1), 0):
            yield tuple(path[start : start + length])


def _is_word(part: str) -> bool:
    """Whether a part of a path says anything; a number alone does not."""
    return not part.isdigit()
