# SPDX-License-Identifier: Apache-2.0
"""One root for every failure that is the user's or the world's; anything else is a bug."""

from __future__ import annotations

from dataclasses import dataclass


class NarrowsError(Exception):
    """A failure with one clear line: what, where, and what to do about it."""


class UsageError(NarrowsError):
    """An argument that makes no sense."""


class ModelError(NarrowsError):
    """A model file that cannot be read: truncated, malformed, inconsistent."""


@dataclass(frozen=True)
class Unsupported:
    """One operator that cannot be imported."""

    operator: str
    index: int
    tensor: str
    reason: str

    def __str__(self) -> str:
        if self.operator in ("input", "output"):
            return f"{self.operator} {self.tensor}: {self.reason}"
        return f"operator {self.index} {self.operator} ({self.tensor}): {self.reason}"


class UnsupportedError(ModelError):
    """All the operators of a model that cannot be imported, at once.

    kinds: sentences on what kind of model it is, each of which explains operators that are not
    among ``items``.
    """

    def __init__(
        self, path: str, items: tuple[Unsupported, ...], kinds: tuple[str, ...] = ()
    ) -> None:
        self.path = path
        self.items = items
        self.kinds = kinds
        same: dict[tuple[str, str], list[Unsupported]] = {}
        for item in items:
            same.setdefault((item.operator, item.reason), []).append(item)
        lines = "".join(
            f"\n  {first}" + (f" (and {len(more)} more like it)" if more else "")
            for first, *more in same.values()
        )
        count = f"{len(items)} unsupported operator(s):{lines}" if items else ""
        besides = ("besides, " if kinds else "") + count if items else ""
        super().__init__(f"{path}: " + "; ".join(filter(None, (*kinds, besides))))


class PlanError(NarrowsError):
    """No plan: a budget that cannot be met, or a plan that is not valid."""


class BlobError(NarrowsError):
    """A blob that the runtime refuses. status: enum nrw_status; offset: byte in the blob."""

    def __init__(self, message: str, status: int = 0, offset: int = 0) -> None:
        self.status = status
        self.offset = offset
        super().__init__(message)


class InputError(NarrowsError):
    """An input that does not fit the model: picture, array, data set."""


class LinkError(NarrowsError):
    """The serial link or the board behind it failed."""


class ToolError(NarrowsError):
    """A tool that is not installed or does not work: QEMU, a cross compiler."""
