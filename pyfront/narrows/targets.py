# SPDX-License-Identifier: Apache-2.0
"""Where a blob can run: this host, a board in QEMU, behind a serial port, or in a farm."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from narrows import link
from narrows.boards import load_board
from narrows.errors import UsageError
from narrows.farm import PlaceTarget
from narrows.graph.qgraph import Int8Array
from narrows.native import Measured, Model, Run
from narrows.native.observe import Dump, observe
from narrows.result import Progress, Result, StageCost, Target, no_progress
from narrows.signing import Signature

GIVE = "host, qemu:BOARD, rp2040js:BOARD, serial:PORT or labgrid:PLACE"
"""What a target may be."""


class HostTarget:
    """The runtime's own C code in this process.

    Raises: BlobError.
    """

    def __init__(self, blob: bytes) -> None:
        self.name = "host"
        self._model = Model(blob)
        self._model.verify()
        self._run = Run(self._model)
        self._measured: Measured | None = None

    def infer(
        self, inputs: Sequence[Int8Array], profile: bool = False, *, goes_on: bool = False
    ) -> Result:
        """Run once; see ``Target``. Raises: InputError."""
        model, run = self._model, self._run
        if self._measured is None or profile:
            run.start(goes_on=goes_on)
            before = [array.copy() for array in run.variables]
            run.infer(inputs, measure=True, goes_on=True)
            self._measured = run.measured
            run.start()
            for array, values in zip(run.variables, before, strict=True):
                array[:] = values
            goes_on = True
        began = time.perf_counter()
        outputs = run.infer(inputs, goes_on=goes_on)
        seconds = time.perf_counter() - began
        due = max(info.strip_bytes for info in model.inputs)
        ram = model.memory_bytes + model.state_bytes + due + self._measured.stack_bytes
        costs = self._measured.stage_seconds if profile else []
        return Result(
            outputs=tuple(outputs),
            arena_bytes=model.arena_bytes,
            ram_high_water_bytes=ram,
            stack_bytes=self._measured.stack_bytes,
            seconds=seconds,
            profile=tuple(
                StageCost(i, model.stages[i].op.name.lower(), cost) for i, cost in enumerate(costs)
            ),
        )

    def dump(self, inputs: Sequence[Int8Array], tensor: int | None = None) -> Dump:
        """Run once; see ``Target``. There is no hurry here: all tensors are seen."""
        return observe(self._run, inputs)

    def __enter__(self) -> HostTarget:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


def host_of_thread(blob: bytes) -> Callable[[], HostTarget]:
    """A function that gives each thread a target of its own.

    Raises: BlobError.
    """
    HostTarget(blob)
    of_thread = threading.local()

    def get() -> HostTarget:
        if not hasattr(of_thread, "host"):
            of_thread.host = HostTarget(blob)
        host: HostTarget = of_thread.host
        return host

    return get


def check_spec(spec: str) -> None:
    """Find out whether a target can exist; whether it does shows when it is opened.

    Raises: UsageError: no such kind. NarrowsError: no such board.
    """
    kind, _, place = spec.partition(":")
    if spec != "host" and (kind not in (*link.KINDS, "serial", "labgrid") or not place):
        raise UsageError(f"target {spec!r}: give {GIVE}")
    if kind in link.KINDS:
        load_board(place)


def open_target(
    spec: str,
    blob: bytes,
    progress: Progress = no_progress,
    signature: Signature | None = None,
) -> Target:
    """Make a blob ready to run.

    Args:
        spec: ``host``, ``qemu:BOARD``, ``rp2040js:BOARD``, ``serial:PORT`` or ``labgrid:PLACE``.
        blob: the whole file.
        progress: told of whatever takes long: building firmware, uploading.
        signature: for boards that take signed models only.

    Returns: a context manager; leaving it ends whatever was started for it.

    Raises: UsageError: no such target. BlobError, ToolError, LinkError.
    """
    check_spec(spec)
    if spec == "host":
        return HostTarget(blob)
    kind, _, place = spec.partition(":")
    if kind == "labgrid":
        return PlaceTarget(
            place, lambda port: link.open_target(f"serial:{port}", blob, progress, signature)
        )
    return link.open_target(spec, blob, progress, signature)


def is_emulated(spec: str) -> bool:
    """Whether a target is a board in an emulator, which computes on this host."""
    return spec.partition(":")[0] in link.KINDS


def runnable_targets() -> tuple[str, ...]:
    """The host, and every board whose emulator and compiler are installed."""
    return ("host", *link.emulated_targets())
