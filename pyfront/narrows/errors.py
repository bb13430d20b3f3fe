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
        return f"operator {self.index} {self.operator} ({self.tensor}): {self.reason}"


class UnsupportedError(ModelError):
    """All the operators of a model that cannot be imported, at once."""

    def __init__(self, path: str, items: tuple[Unsupported, ...]) -> None:
        self.path = path
        self.items = items
        lines = "".join(f"\n  {item}" for item in items)
        super().__init__(f"{path}: {len(items)} unsupported operator(s):{lines}")


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


class NarrowsWarning(UserWarning):
    """What a result may suffer from, in one line; given by ``warnings.warn``.

    The command line shows the first warning of each subclass, so a folder of a thousand pictures
    with the same fault gives one line.
    """


class RotationWarning(NarrowsWarning):
    """A picture's EXIF orientation is ignored."""


class FrameWarning(NarrowsWarning):
    """A picture has more frames than the first, which is taken."""
