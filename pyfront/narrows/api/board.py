# SPDX-License-Identifier: Apache-2.0
"""``narrows.Board``: a board in an emulator, behind a serial port or in a farm."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from narrows.api.compiling import Blob, parsed
from narrows.api.items import Data, Inputs, as_dataset, as_datasets
from narrows.api.model import Model
from narrows.api.results import Profile, Result, Results, given_sequence, infer, read_sequence
from narrows.boards import load_board
from narrows.compare import Comparison, compare
from narrows.errors import UsageError
from narrows.farm import PlaceTarget
from narrows.flash.over_link import connect
from narrows.link import KINDS
from narrows.link.client import Client
from narrows.link.target import BoardTarget
from narrows.result import Progress, Target, no_progress
from narrows.sides import Side, open_side, target_side
from narrows.targets import HostTarget, check_spec, open_target


@dataclass(frozen=True)
class BoardInfo:
    """What a board says of itself; of an emulated one that has no blob yet, what its file says.

    Attributes:
        target: as ``Board`` was given it.
        board: its name.
        core: its processor.
        arena_bytes: RAM for a model's tensors and counters.
        room_bytes: flash for a blob.
        firmware: its version; None as long as an emulated board has not been started.
        signed_only: whether it takes signed models only.
        model: name of the model in its flash; None for none.
    """

    target: str
    board: str
    core: str
    arena_bytes: int
    room_bytes: int
    firmware: str | None
    signed_only: bool
    model: str | None


class Board:
    """A board that runs blobs; a context manager, which ends whatever was started for it::

        with narrows.Board("qemu:mps2-an386") as board:
            board.upload(blob)
            print(board.run(x).top(1))

    Threads may share it: each call waits for the one before it, because the board runs one
    inference at a time.

    Args:
        target: ``qemu:BOARD`` or ``rp2040js:BOARD`` (emulated here), ``serial:PORT`` (PORT
            optionally with ``@BAUD``) or ``labgrid:PLACE``; ``narrows boards`` lists the boards.
        progress: called with what takes long (building firmware, uploading) and how much of it is
            done, 0 to 1.

    Raises:
        UsageError: no such kind of target.
        NarrowsError: no such board.
    """

    def __init__(self, target: str, *, progress: Progress = no_progress) -> None:
        if not isinstance(target, str) or target == "host":
            raise UsageError(
                f"board {target!r}: give qemu:BOARD, rp2040js:BOARD, serial:PORT or "
                "labgrid:PLACE; on this computer a blob runs by itself: blob.run"
            )
        check_spec(target)
        self.target = target
        self._progress = progress
        self._lock = threading.RLock()
        self._entered = False
        self._blob: Blob | None = None
        self._running: Target | None = None

    def __enter__(self) -> Board:
        self._entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._entered = False
            self._end()

    def upload(self, blob: Blob) -> None:
        """Make a blob the board's model and wait until it is ready to run; one that stands there
        already is not written again, and an upload that was broken off goes on.

        Raises:
            BlobError: the board refuses it: too large, or not signed.
            LinkError: the port, or the board behind it.
            ToolError: the emulator or a compiler is not installed.
        """
        with self._lock:
            if not self._entered:
                raise UsageError(f"{self.target}: use it as a context manager: with Board(...)")
            self._end()
            contents = parsed(blob)
            target = open_target(self.target, contents.data, self._progress, contents.signature)
            self._running, self._blob = target.__enter__(), blob

    def run(self, inputs: Inputs, *, profile: bool = False) -> Result:
        """Run the blob once on the board. See ``Blob.run`` for the arguments.

        Raises:
            UsageError: nothing has been uploaded.
            InputError: something that does not fit.
            LinkError: the port, or the board behind it.
        """
        with self._ready() as (target, blob):
            contents = parsed(blob)
            return infer(contents, target, given_sequence(contents, inputs), profile)

    def run_many(self, data: Data, *, progress: Progress = no_progress) -> Results:
        """Run many inputs, one after the other. See ``Blob.run_many`` for the arguments.

        Raises:
            NarrowsError: as of ``run``.
        """
        with self._ready() as (target, blob):
            contents, found = parsed(blob), list[Result]()
            columns = as_datasets(data, [edge.name for edge in contents.inputs])
            items = zip(*(column.items for column in columns), strict=True)
            for number, item in enumerate(items):
                names = [column.name_of(number) for column in columns]
                found.append(infer(contents, target, read_sequence(contents, item, names)))
                progress("running", len(found) / len(columns[0].items))
            return Results(found)

    def profile(self, inputs: Inputs) -> Profile:
        """Run the blob once and measure each stage: instructions on emulated boards, else seconds.

        Raises:
            NarrowsError: as of ``run``.
        """
        return self.run(inputs, profile=True).profile

    def compare(
        self,
        data: Data,
        to: Blob | Model | str | Path | None = None,
        *,
        count: int = 8,
        layer: str | None = None,
        progress: Progress = no_progress,
    ) -> Comparison:
        """Find the first layer in which the board parts from a reference.

        Args:
            data: inputs, as ``run_many`` takes them, for a network with one input.
            to: the reference, which the result calls A: another blob, a model (TensorFlow Lite
                Micro runs a ``.tflite``, NumPy other models) or ``MODEL@PLACE`` as
                ``narrows compare`` takes it; None: the same blob on this computer.
            count: how many of the inputs.
            layer: the name of the only layer to look at.
            progress: called with how much is done, 0 to 1.

        Returns:
            Side A is the reference, B the board; ``parted`` is the first layer whose bytes differ,
            or None.

        Raises:
            UsageError: nothing has been uploaded, or no layer is in common.
            NarrowsError: as of ``run``.
        """
        with self._ready() as (target, blob), contextlib.ExitStack() as resources:
            b = target_side(self.target, parsed(blob), target)
            a = _reference(blob if to is None else to, resources)
            if count < 1:
                raise UsageError(f"count {count}: give 1 or more")
            return compare(a, b, as_dataset(data, blob.labels), count, progress, layer)

    def info(self) -> BoardInfo:
        """What the board says of itself.

        Raises:
            LinkError: it does not answer.
        """
        with self._lock:
            target = self._running
            if isinstance(target, PlaceTarget):
                target = target.board
            if isinstance(target, BoardTarget):
                return self._told(target.client)
            kind, _, place = self.target.partition(":")
            if kind in KINDS:
                board = load_board(place)
                arena = sum(board.memories)
                room = board.models.room
                return BoardInfo(
                    self.target, board.name, board.core.cpu, arena, room, None, False, None
                )
            if kind != "serial":
                raise UsageError(f"{self.target}: upload a blob first")
            with connect(place) as client:
                return self._told(client)

    def _told(self, client: Client) -> BoardInfo:
        hello, standing = client.hello, client.model()
        return BoardInfo(
            target=self.target,
            board=hello.board,
            core=hello.core,
            arena_bytes=hello.arena_bytes,
            room_bytes=hello.room,
            firmware=hello.firmware,
            signed_only=hello.signed_only,
            model=None if standing is None else standing.name,
        )

    @contextlib.contextmanager
    def _ready(self) -> Iterator[tuple[Target, Blob]]:
        with self._lock:
            if self._running is None or self._blob is None:
                raise UsageError(f"{self.target}: upload a blob first")
            yield self._running, self._blob

    def _end(self) -> None:
        running, self._running, self._blob = self._running, None, None
        if running is not None:
            running.__exit__(None, None, None)

    def __repr__(self) -> str:
        name = "no blob" if self._blob is None else self._blob.name
        return f"<narrows.Board {self.target}: {name}>"


def _reference(to: Blob | Model | str | Path, resources: contextlib.ExitStack) -> Side:
    """Raises: UsageError: it is none. NarrowsError."""
    if isinstance(to, Blob):
        contents = parsed(to)
        return target_side(f"{contents.name}@host", contents, HostTarget(contents.data))
    if isinstance(to, Model):
        path = to.path
        if path is None:  # made here: references read files
            folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="narrows-"))
            path = Path(folder) / to.name
            to.save(path)
        return open_side(str(path), resources, no_progress)
    if isinstance(to, (str, Path)):
        return open_side(str(to), resources, no_progress)
    raise UsageError(f"to: a Blob, a Model or a path is expected, not {type(to).__name__}")
