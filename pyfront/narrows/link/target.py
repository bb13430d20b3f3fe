# SPDX-License-Identifier: Apache-2.0
"""The targets ``qemu:BOARD``, ``rp2040js:BOARD`` and ``serial:PORT``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from narrows.blob import Header, parse_blob
from narrows.boards import Board, load_board
from narrows.errors import BlobError, LinkError, ToolError, UsageError
from narrows.graph.qgraph import Int8Array
from narrows.link.client import Client
from narrows.link.emulated import KINDS, missing_tool, start
from narrows.link.emulator import Emulator
from narrows.link.firmware import build
from narrows.link.frames import WATCH_ALL
from narrows.link.line import BAUD, PATIENCE, Line, PortError, open_port
from narrows.link.qemu import Qemu
from narrows.link.store import Update, image
from narrows.native import Model, Status
from narrows.native.observe import Dump
from narrows.result import Progress, Result, StageCost, no_progress
from narrows.signing import Signature

# A larger blob is placed by the emulator; uploading it would take seconds.
_LOADER_BYTES = 16 * 1024
# What even a slow board or a busy QEMU computes in a second, for the patience with a firing.
_WORK_PER_SECOND = 1e6


class BoardTarget:
    """A board that has the blob; see ``Target``."""

    def __init__(
        self,
        name: str,
        client: Client,
        model: Model,
        firings: int,
        board: Board | None,
        emulator: Emulator | None,
        resources: contextlib.ExitStack,
        progress: Progress,
    ) -> None:
        self.name = name
        self.client = client
        self._model = model
        self._firings = firings
        self._board = board
        self._emulator = emulator
        self._resources = resources
        self._progress = progress

    @property
    def pid(self) -> int | None:
        """The process id of the emulator; None for a real board."""
        return self._emulator.pid if self._emulator is not None else None

    def infer(
        self, inputs: Sequence[Int8Array], profile: bool = False, *, goes_on: bool = False
    ) -> Result:
        """Run once. inputs: int8 [height, width, channels] each.

        Raises: InputError, LinkError, BlobError.
        """
        with self._explained():
            outputs = self.client.infer(
                self._model, inputs, self._progress, self._firings, profile, goes_on=goes_on
            )
            total, ticks = self.client.profile()
            status = self.client.status()
        costs = [self._cost(value) for value in ticks]
        whole = self._cost(total)
        counted = self._board is not None
        return Result(
            outputs=tuple(outputs),
            arena_bytes=status.arena_bytes,
            ram_high_water_bytes=status.ram_high_water_bytes,
            stack_bytes=status.stack_high_water,
            instructions=round(whole) if counted else None,
            seconds=None if counted else whole,
            profile=tuple(
                StageCost(i, self._model.stages[i].op.name.lower(), cost)
                for i, cost in enumerate(costs)
            ),
        )

    def dump(self, inputs: Sequence[Int8Array], tensor: int | None = None) -> Dump:
        """Run once; see ``Target``."""
        dump = Dump(self._model)
        watch = WATCH_ALL if tensor is None else tensor
        with self._explained():
            self.client.infer(
                self._model, inputs, self._progress, self._firings, dump=dump, watch=watch
            )
        return dump

    def finish(self) -> None:
        """End QEMU in good order, so that its plugin writes what it has found; nothing can be asked
        of the board any more. Raises: ToolError."""
        assert isinstance(self._emulator, Qemu)
        self._emulator.finish()

    def __enter__(self) -> BoardTarget:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _cost(self, ticks: int) -> float:
        """Instructions in an emulator, seconds elsewhere."""
        if self._board is not None:
            return ticks * self._board.instructions_per_tick
        return ticks / self.client.hello.ticks_per_second

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        return _explained(self._emulator)


def open_target(
    spec: str,
    blob: bytes,
    progress: Progress = no_progress,
    signature: Signature | None = None,
    plugin: str = "",
) -> BoardTarget:
    """Make a blob ready to run on a board.

    Args:
        spec: ``qemu:BOARD``, ``rp2040js:BOARD`` or ``serial:PORT``, PORT optionally with ``@BAUD``.
        blob: the whole file; uploaded unless it is what stands on the board.
        progress: told of building, uploading and running.
        signature: for boards that take signed models only.
        plugin: of QEMU, as its option ``-plugin`` takes it; "": none. See ``BoardTarget.finish``.

    Returns: a context manager; leaving it ends the emulator and closes the port.

    Raises: UsageError: no such target. BlobError: the board refuses the blob. ToolError: no
        compiler, no emulator. LinkError: the port or the board behind it.
    """
    kind, _, place = spec.partition(":")
    model = Model(blob)
    model.verify()
    header, name = Header.unpack(blob), parse_blob(blob).name
    patience = PATIENCE + model.max_step_work / _WORK_PER_SECOND
    board, emulator, baud = None, None, BAUD
    with contextlib.ExitStack() as resources:
        if kind in KINDS:
            board = load_board(place)
            if len(blob) > board.models.room:
                raise LinkError(
                    f"{spec}: the blob has {len(blob)} bytes, the board's flash has room for "
                    f"{board.models.room}; choose a smaller model or another board"
                )
            # Said before the firmware is built, which takes a while.
            if (missing := missing_tool(board)) is not None:
                raise ToolError(f"{spec}: {missing}")
            contents = _placed(board, blob, name)
            firmware = build(board, progress)
            emulator = resources.enter_context(start(kind, board, firmware, contents, plugin))
            url = emulator.url
        elif kind == "serial":
            url, baud = split_baud(place)
        else:
            raise UsageError(f"target {spec!r}: give qemu:BOARD, rp2040js:BOARD or serial:PORT")
        with _explained(emulator):
            port = open_port(url, baud)
            resources.callback(port.close)
            client = Client(Line(port, spec, patience))
            if model.memory_bytes > client.hello.arena_bytes:
                raise BlobError(
                    f"{spec}: the model needs {model.memory_bytes} bytes of RAM, the board has "
                    f"{client.hello.arena_bytes}; compile it with --ram, or choose another board",
                    Status.ERR_MEMORY,
                )
            standing = client.model()
            # One that stands there but cannot run is uploaded too: the refusal says why.
            if standing is None or not standing.runs or not standing.is_blob(blob):
                client.upload(blob, progress, name=name, signature=signature)
        return BoardTarget(
            spec, client, model, header.firings, board, emulator, resources.pop_all(), progress
        )


def _placed(board: Board, blob: bytes, name: str) -> Sequence[tuple[int, bytes]]:
    """What stands in an emulated board's flash from the start: the model, if uploading it would
    take long or come to nothing."""
    programs_flash = board.qemu is None or board.qemu.programs_flash
    if len(blob) <= _LOADER_BYTES and programs_flash:
        return ()
    return image(board.models, blob, Update.of(blob, name))


@contextlib.contextmanager
def _explained(emulator: Emulator | None) -> Iterator[None]:
    """A lost line to an emulator that has ended says why it has ended."""
    try:
        yield
    except PortError as error:
        reason = emulator.failure() if emulator is not None else None
        if reason is None:
            raise
        raise LinkError(f"{error}; the emulator has ended: {reason}") from error


def split_baud(place: str) -> tuple[str, int]:
    """``PORT`` or ``PORT@BAUD``. Raises: UsageError: that is no rate."""
    port, _, baud = place.rpartition("@")
    if not port:
        return place, BAUD
    if not baud.isdecimal() or int(baud) == 0:
        raise UsageError(f"serial:{place}: {baud!r} is no baud rate")
    return port, int(baud)
