# SPDX-License-Identifier: Apache-2.0
"""The targets ``qemu:BOARD`` and ``serial:PORT``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from narrows.blob import Header, parse_blob
from narrows.boards import Board, load_board
from narrows.errors import BlobError, LinkError, UsageError
from narrows.graph.qgraph import Int8Array
from narrows.link.client import Client
from narrows.link.firmware import build
from narrows.link.frames import WATCH_ALL
from narrows.link.line import BAUD, PATIENCE, Line, PortError, open_port
from narrows.link.qemu import Qemu
from narrows.link.store import Update, image
from narrows.native import Model, Status
from narrows.native.observe import Dump
from narrows.result import Progress, Result, StageCost, no_progress

# A larger blob is placed by QEMU's loader; uploading it would take seconds.
_LOADER_BYTES = 128 * 1024
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
        qemu: Qemu | None,
        resources: contextlib.ExitStack,
        progress: Progress,
    ) -> None:
        self.name = name
        self.client = client
        self._model = model
        self._firings = firings
        self._board = board
        self._qemu = qemu
        self._resources = resources
        self._progress = progress

    @property
    def pid(self) -> int | None:
        """Of QEMU's process; None for a real board."""
        return self._qemu.pid if self._qemu is not None else None

    def infer(self, inputs: Sequence[Int8Array], profile: bool = False) -> Result:
        """Run once. inputs: int8 [height, width, channels] each.

        Raises: InputError, LinkError, BlobError.
        """
        with self._explained():
            outputs = self.client.infer(self._model, inputs, self._progress, self._firings, profile)
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

    def __enter__(self) -> BoardTarget:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _cost(self, ticks: int) -> float:
        """Instructions in QEMU, seconds elsewhere."""
        if self._board is not None and self._board.qemu is not None:
            return ticks * self._board.qemu.instructions_per_tick
        return ticks / self.client.hello.ticks_per_second

    def _explained(self) -> contextlib.AbstractContextManager[None]:
        return _explained(self._qemu)


def open_target(spec: str, blob: bytes, progress: Progress = no_progress) -> BoardTarget:
    """Make a blob ready to run on a board.

    Args:
        spec: ``qemu:BOARD`` or ``serial:PORT``, PORT optionally with ``@BAUD``.
        blob: the whole file; uploaded unless it is what stands on the board.
        progress: told of building, uploading and running.

    Returns: a context manager; leaving it ends QEMU and closes the port.

    Raises: UsageError: no such target. BlobError: the board refuses the blob. ToolError: no
        compiler, no QEMU. LinkError: the port or the board behind it.
    """
    kind, _, place = spec.partition(":")
    model = Model(blob)
    model.verify()
    header, name = Header.unpack(blob), parse_blob(blob).name
    patience = PATIENCE + model.max_step_work / _WORK_PER_SECOND
    board, qemu, baud = None, None, BAUD
    with contextlib.ExitStack() as resources:
        if kind == "qemu":
            board = load_board(place)
            if len(blob) > board.models.room:
                raise LinkError(
                    f"{spec}: the blob has {len(blob)} bytes, the board's flash has room for "
                    f"{board.models.room}; choose a smaller model or another board"
                )
            contents = _placed(board, blob, name)
            qemu = resources.enter_context(Qemu(board, build(board, progress), contents))
            url = qemu.url
        elif kind == "serial":
            url, baud = _split_baud(place)
        else:
            raise UsageError(f"target {spec!r}: give qemu:BOARD or serial:PORT")
        with _explained(qemu):
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
            if standing is None or not standing.is_blob(blob):
                client.upload(blob, progress, name=name)
        return BoardTarget(
            spec, client, model, header.firings, board, qemu, resources.pop_all(), progress
        )


def _placed(board: Board, blob: bytes, name: str) -> Sequence[tuple[int, bytes]]:
    """What stands in a QEMU board's flash from the start: the model, if uploading it would take
    long or come to nothing."""
    assert board.qemu is not None
    if len(blob) <= _LOADER_BYTES and board.qemu.programs_flash:
        return ()
    return image(board.models, blob, Update.of(blob, name))


@contextlib.contextmanager
def _explained(qemu: Qemu | None) -> Iterator[None]:
    """A lost line to a QEMU that has ended says why it has ended."""
    try:
        yield
    except PortError as error:
        reason = qemu.failure() if qemu is not None else None
        if reason is None:
            raise
        raise LinkError(f"{error}; QEMU has ended: {reason}") from error


def _split_baud(place: str) -> tuple[str, int]:
    port, _, baud = place.rpartition("@")
    if not port:
        return place, BAUD
    if not baud.isdecimal() or int(baud) == 0:
        raise UsageError(f"serial:{place}: {baud!r} is no baud rate")
    return port, int(baud)
