# SPDX-License-Identifier: Apache-2.0
"""What every target gives back, be it the host, QEMU or a board behind a serial line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, TypeAlias

from narrows.graph.qgraph import Int8Array
from narrows.native.observe import Dump

Progress: TypeAlias = Callable[[str, float], None]
"""Called with what is being done and how much of it is done, 0 to 1; the library never
prints."""


def no_progress(what: str, done: float) -> None:
    """For callers who do not want to know."""


@dataclass(frozen=True)
class StageCost:
    """One stage of one inference. cost: instructions or seconds, as the Result has them."""

    stage: int
    op: str
    cost: float


@dataclass(frozen=True, eq=False)
class Result:
    """One inference.

    outputs: int8 [height, width, channels] per output.
    instructions: of the whole inference (QEMU); None where they cannot be counted.
    seconds: of the whole inference (host, boards); None in QEMU, whose time means nothing.
    arena_bytes: what the runtime on the target uses, from the blob that stands there.
    ram_high_water_bytes: arena, run and model state, row buffer, stack and link buffers.
    stack_bytes: the part of it that is stack, as painted.
    profile: per stage, when asked for.
    """

    outputs: tuple[Int8Array, ...]
    arena_bytes: int
    ram_high_water_bytes: int
    stack_bytes: int = 0
    instructions: int | None = None
    seconds: float | None = None
    profile: tuple[StageCost, ...] = ()


class Target(Protocol):
    """A place where a blob is ready to run; a context manager that leaves nothing behind."""

    name: str

    def infer(
        self, inputs: Sequence[Int8Array], profile: bool = False, *, goes_on: bool = False
    ) -> Result:
        """Run once. inputs: int8 [height, width, channels] each. goes_on: with what the run before
        has made the model's variables, not with those that it begins with.

        Raises: NarrowsError.
        """
        ...

    def dump(self, inputs: Sequence[Int8Array], tensor: int | None = None) -> Dump:
        """Run once and see every tensor of the blob, or just one.

        Raises: NarrowsError.
        """
        ...

    def __enter__(self) -> Target: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
