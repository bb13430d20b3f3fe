# SPDX-License-Identifier: Apache-2.0
"""One root for every failure that is the user's or the world's; anything else is a bug."""

from __future__ import annotations

from dataclasses import dataclass

# Operators that one line of an UnsupportedError names by their numbers.
_NAMED = 5
_LONGEST_REASON = 400  # characters
_PORTS = ("input", "output", "variable")


class NarrowsError(Exception):
    """A failure with one clear line: what, where, and what to do about it."""


class UsageError(NarrowsError):
    """An argument that makes no sense."""


class ModelError(NarrowsError):
    """A model file that cannot be read: truncated, malformed, inconsistent."""


@dataclass(frozen=True)
class ModelKind:
    """A kind of model that cannot be imported as it is. advice: what to do instead."""

    name: str
    advice: str


@dataclass(frozen=True)
class Unsupported:
    """One operator that cannot be imported, or an input, output or variable of the model.

    operator: its type, or ``input``, ``output`` or ``variable``. index: its number among its like.
    kind: of the model, where this shows it.
    """

    operator: str
    index: int
    tensor: str
    reason: str
    kind: ModelKind | None = None

    @property
    def short_place(self) -> str:
        """Without an operator's tensor."""
        if self.operator in _PORTS:
            return f"{self.operator} {self.tensor or self.index}"
        return f"operator {self.index} {self.operator}"

    @property
    def place(self) -> str:
        is_named = self.operator not in _PORTS and self.tensor
        return self.short_place + f" ({self.tensor})" * bool(is_named)

    def __str__(self) -> str:
        reason = self.reason
        if len(reason) > _LONGEST_REASON:  # the values of a hostile file
            reason = f"{reason[:_LONGEST_REASON]}..."
        return f"{self.place}: {reason}"


class UnsupportedError(ModelError):
    """All that keeps a model from being imported, at once; a line for each cause.

    kinds: sentences on what kind of model it is, each of which explains operators that are not
    among ``items``.
    """

    def __init__(
        self, path: str, items: tuple[Unsupported, ...], kinds: tuple[str, ...] = ()
    ) -> None:
        self.path = path
        self.items = items
        self.kinds = kinds
        causes: dict[object, list[Unsupported]] = {}
        for item in items:
            causes.setdefault(item.kind or (item.operator, item.reason), []).append(item)
        lines = [_cause(alike) for alike in causes.values()]
        if len(lines) == 1 and items[0].kind is not None:
            kinds, lines = (*kinds, *lines), []
        if lines:
            besides = "besides, " if kinds else ""
            text = "".join(f"\n  {line}" for line in lines)
            kinds = (*kinds, f"{besides}{len(items)} unsupported operator(s):{text}")
        super().__init__(f"{path}: {'; '.join(kinds)}")


def _cause(alike: list[Unsupported]) -> str:
    """One line for what has one cause."""
    first, others = alike[0], len(alike) - 1
    kind = first.kind
    if kind is not None:
        more = f" and {others} more" * (others > 0)
        return f"{kind.name}; {kind.advice} ({first.short_place}{more})"
    if others == 0:
        return str(first)
    named = ", ".join(str(item.index) for item in alike[1 : _NAMED + 1])
    more = f" and {others - _NAMED} more" * (others > _NAMED)
    noun = first.operator if first.operator in _PORTS else "operator"
    return f"{first} (so {'is' if others == 1 else 'are'} {noun}{'s' * (others > 1)} {named}{more})"


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
