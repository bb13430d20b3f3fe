# SPDX-License-Identifier: Apache-2.0
"""What a device with narrows firmware can be asked (``firmware/PROTOCOL.md``)."""

from __future__ import annotations

import hashlib
import random
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from narrows import native
from narrows.blob import Header
from narrows.errors import BlobError, LinkError
from narrows.graph.qgraph import Int8Array
from narrows.link.frames import (
    DATA_BYTES,
    MAJOR,
    SIGNED_ONLY,
    START_GOES_ON,
    START_PROFILE,
    WATCH_ALL,
    LinkStatus,
    Type,
    status_of,
)
from narrows.link.line import ROOM_BEFORE_HELLO, Line
from narrows.link.store import Update
from narrows.native import Layout, Model, Status
from narrows.native.observe import Dump, input_bytes
from narrows.result import Progress, no_progress
from narrows.signing import Signature

_FIRST_POLL, _LONGEST_POLL = 0.25, 2.0
_HELLO = struct.Struct("<BBH8IBB")
_STATUS = struct.Struct("<7I")
_MODEL = struct.Struct("<3I32s2I3H40s")
_STATE = struct.Struct("<IBHII")
_PROFILE = struct.Struct("<QH")
_REFUSALS = {
    LinkStatus.ERR_TYPE: "does not know this request; flash this version's firmware",
    LinkStatus.ERR_LENGTH: "finds the request too short or too long; flash this version's firmware",
    LinkStatus.ERR_VERSION: "speaks another version of the protocol; flash this version's firmware",
    LinkStatus.ERR_GAP: "has not received all bytes",
    LinkStatus.ERR_SIZE: "has no room for this blob in its flash",
    LinkStatus.ERR_UPLOAD: "has lost the upload; was it reset?",
    LinkStatus.ERR_NO_MODEL: "has no model",
    LinkStatus.ERR_RUN: "has lost the run; was it reset?",
    LinkStatus.ERR_FLASH: "cannot write its flash; is it worn out, or for a programmer alone?",
    LinkStatus.ERR_OLDER: "has a newer model: this one's counter is lower; take the newest one",
    LinkStatus.ERR_UNTRUSTED: "takes models alone that are signed with its key",
    LinkStatus.ERR_HASH: "has received other bytes than were announced; upload it again",
    LinkStatus.ERR_ROOM: "has no room to hold whole inputs beside the arena",
}


@dataclass(frozen=True)
class Hello:
    """What a device says of itself.

    frame_bytes: its longest packet; credit: bytes of its receive buffer; arena_bytes: room for a
    run; room: bytes of the largest blob; room_beside: and of the largest that can be written while
    another runs; ram_bytes, flash_bytes: of the chip, models apart; signed_only: it takes no other
    models; blob_version: of the format.
    """

    frame_bytes: int
    credit: int
    layouts: int
    arena_bytes: int
    ticks_per_second: int
    room: int
    room_beside: int
    ram_bytes: int
    flash_bytes: int
    signed_only: bool
    blob_version: int
    firmware: str
    board: str
    core: str


@dataclass(frozen=True)
class DeviceStatus:
    """stack_bytes: reserved; stack_high_water: the most of it since reset; static_bytes:
    variables, the link's buffers among them; arena_bytes: of the model; memory_bytes: arena and
    counters of the run and of the profile; bad_frames: damaged ones; overruns: bytes that found
    no room."""

    stack_bytes: int
    stack_high_water: int
    static_bytes: int
    arena_bytes: int
    memory_bytes: int
    bad_frames: int
    overruns: int

    @property
    def ram_high_water_bytes(self) -> int:
        """All RAM that has been used."""
        return self.stack_high_water + self.static_bytes + self.memory_bytes


@dataclass(frozen=True)
class DeviceModel:
    """The model that stands in a device's flash. runs: its runtime can run it; error_at: byte of
    the blob that was refused, if it was for its structure."""

    runs: bool
    error_at: int
    blob_bytes: int
    counter: int
    sha256: bytes
    name: str

    def is_blob(self, blob: bytes) -> bool:
        """Whether it is this one."""
        return self.sha256 == hashlib.sha256(blob).digest()


@dataclass(frozen=True)
class _State:
    """Of a run. index, row: the row that is wanted or offered; row: or the tensor that is.
    bytes: of that row or tensor, how many have arrived or been made."""

    status: int
    run: int
    index: int
    row: int
    bytes: int
    firings: int


class _Rows:
    """Inputs that go out by rows. data: bytes of each input; sent: how many of them have gone."""

    def __init__(self, data: Sequence[bytes]) -> None:
        self.data = data
        self.sent = [0] * len(data)


class Client:
    """A device with narrows firmware. Every method raises LinkError; see ``Line``."""

    def __init__(self, line: Line) -> None:
        self.name = line.name
        self._line = line
        self._run = 0
        self._moved: tuple[tuple[int, ...], float] = (), 0.0  # how far, since when
        self.hello = self._greet()
        line.credit = self.hello.credit

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._ask(Type.PING)

    def status(self) -> DeviceStatus:
        """Memory and line, as the device has measured them."""
        return DeviceStatus(*self._unpack(_STATUS, self._ask(Type.STATUS)))

    def reset(self) -> None:
        """End a run that may be going on."""
        self._ask(Type.RESET)

    def _counter(self) -> int:
        """The lowest that the device takes."""
        fields = self._line.request(Type.MODEL)[1]
        counter: int = self._unpack(_MODEL, fields)[2]
        return counter

    def model(self) -> DeviceModel | None:
        """The model that stands on the device; None if there is none."""
        status, fields = self._line.request(Type.MODEL)
        if len(fields) < _MODEL.size:
            self._check(status, fields)
        error_at, size, counter, digest, _, _, _, _, _, name = _MODEL.unpack_from(fields)
        text = name.rstrip(b"\0").decode("utf-8", "replace")
        runs = status == Status.OK
        return DeviceModel(runs, error_at, size, counter, digest, text) if size else None

    def reboot(self) -> None:
        """Reset the chip, and wait until its firmware answers again."""
        self._ask(Type.REBOOT)
        self._line.set_baud(self._line.first_baud)
        self.hello = self._greet()

    def set_baud(self, baud: int) -> None:
        """Go on at another rate. Raises: LinkError: the device cannot; the rate stays."""
        status, _ = self._line.request(Type.BAUD, struct.pack("<I", baud))
        if status == Status.ERR_ARGUMENT:
            raise LinkError(f"{self.name}: its clock cannot make {baud} baud; choose another rate")
        self._check(status, b"")
        self._line.set_baud(baud)

    def upload(
        self,
        blob: bytes,
        progress: Progress = no_progress,
        *,
        name: str = "",
        counter: int | None = None,
        signature: Signature | None = None,
    ) -> None:
        """Make a blob the device's model; goes on where the same upload was broken off.

        Args:
            name: of the model, for people.
            counter: a device refuses a lower one than that of its model; None: that of the
                signature, or without one that of its model.
            signature: for devices that take signed models only.

        Raises: BlobError: the device's runtime refuses it.
        """
        if len(blob) > self.hello.room:
            raise LinkError(
                f"{self.name}: the blob has {len(blob)} bytes, the board's flash has room for "
                f"{self.hello.room}; choose a smaller model or another board"
            )
        self._check_layout(Header.unpack(blob).layout)
        if counter is None:
            counter = signature.counter if signature is not None else self._counter()
        signed = signature.signature if signature is not None else b""
        update = Update.of(blob, name, counter, signed)
        resumed, status, fields = self._upload(blob, update, progress)
        if (resumed and status < 0) or status == LinkStatus.ERR_UPLOAD:
            # What was there was spoiled by a loss of power, and the device has dropped it; or it
            # has refused the whole, and its reason was lost.
            _, status, fields = self._upload(blob, update, progress)
        self._check(status, fields)

    def infer(
        self,
        model: Model,
        inputs: Sequence[Int8Array],
        progress: Progress = no_progress,
        firings: int = 0,
        profile: bool = False,
        dump: Dump | None = None,
        watch: int = WATCH_ALL,
        *,
        goes_on: bool = False,
    ) -> list[Int8Array]:
        """Run the device's model once, sending each row, or part of one, when it is asked for.

        Args:
            model: the host's view of the same blob.
            inputs: int8 [height, width, channels] each.
            firings: of all stages together, to tell the progress; 0 if unknown.
            profile: count ticks of each stage, see ``profile``.
            dump: filled with what each firing gives to the tensor ``watch``, or to every one.
            goes_on: with what the run before has made the model's variables.

        Returns: int8 [height, width, channels] per output.

        Raises: InputError: inputs that do not fit. BlobError: the run failed on the device.
        """
        rows = _Rows(input_bytes(model, inputs))
        self._begin()
        flags = START_PROFILE * profile | START_GOES_ON * goes_on
        self._ask(Type.START, struct.pack("<IB", self._run, flags))
        if dump is not None:
            self._ask(Type.WATCH, struct.pack("<IH", self._run, watch))
        return self._collect(model, progress, firings, rows, dump)

    def infer_whole(
        self,
        model: Model,
        inputs: Sequence[Int8Array],
        progress: Progress = no_progress,
        *,
        goes_on: bool = False,
    ) -> list[Int8Array]:
        """Run the device's model once over inputs that the device holds beside the arena, so that
        no row has to be asked for; they arrive while it computes.

        Args and returns: as ``infer``.

        Raises: LinkError: also if the device has no room for them. InputError, BlobError.
        """
        data = b"".join(input_bytes(model, inputs))
        held = random.randrange(1, 1 << 32)
        self._begin()
        first = data if len(data) <= DATA_BYTES else b""
        flags = START_GOES_ON * goes_on
        self._ask(Type.INFER, struct.pack("<IBI", self._run, flags, held) + first)

        def piece(offset: int) -> bytes:
            progress(f"inference on {self.name}", offset / len(data))
            return struct.pack("<II", held, offset) + data[offset : offset + DATA_BYTES]

        status = self._line.transfer(Type.INPUT, piece, DATA_BYTES, len(first), len(data))
        self._check(status, b"")
        return self._collect(model)

    def profile(self) -> tuple[int, list[int]]:
        """Timer ticks spent inside the runtime in the last run: all of them, and those of each
        stage if it was run with ``profile``."""
        ticks: list[int] = []
        while True:
            fields = self._ask(Type.PROFILE, struct.pack("<IH", self._run, len(ticks)))
            total, first = self._unpack(_PROFILE, fields)
            some = [value for (value,) in struct.iter_unpack("<I", fields[_PROFILE.size :])]
            if not some:
                return total, ticks
            if first != len(ticks):
                raise LinkError(f"{self.name}: sends other stages than asked for")
            ticks += some

    # --- Parts ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._run = random.randrange(1, 1 << 32)
        self._line.events.clear()
        self._moved = (), time.monotonic()

    def _collect(
        self,
        model: Model,
        progress: Progress = no_progress,
        firings: int = 0,
        rows: _Rows | None = None,
        dump: Dump | None = None,
    ) -> list[Int8Array]:
        """Give the run what it asks for, and take what it offers, until it is done."""
        outputs = [bytearray(info.bytes) for info in model.outputs]
        taken = [0] * len(outputs)
        while True:
            state = self._next_state()
            progress(f"inference on {self.name}", min(1.0, state.firings / max(1, firings)))
            if state.status == Status.NEED_ROW:
                self._within(state, [info.height for info in model.inputs])
                if rows is not None:
                    self._give(state, model, rows)
            elif state.status == Status.HAVE_ROW:
                self._within(state, [info.height for info in model.outputs])
                if state.row == taken[state.index]:
                    size = model.outputs[state.index].row_bytes
                    self._read(outputs, state.index, state.row * size, size)
                    self._ask(Type.TAKE, struct.pack("<IBH", self._run, state.index, state.row))
                    taken[state.index] += 1
            elif state.status == LinkStatus.HAVE_TENSOR and dump is not None:
                self._fetch(state, dump)
            elif state.status == Status.DONE:
                break
            elif state.status != Status.OK:
                self._check(state.status, b"")
        for index in sorted(set(model.first_outputs)):
            info = model.outputs[index]
            if taken[index] == 0:
                self._read(outputs, index, 0, info.bytes)
            elif taken[index] != info.height:
                raise LinkError(f"{self.name}: did not offer all rows of output {index}")
        return [
            np.frombuffer(bytes(outputs[first]), np.int8).reshape(model.outputs[first].shape)
            for first in model.first_outputs
        ]

    def _give(self, state: _State, model: Model, rows: _Rows) -> None:
        """The row, or the part of it, that is asked for."""
        info, sent = model.inputs[state.index], rows.sent[state.index]
        begin = state.bytes - state.bytes % info.strip_bytes
        # An event that comes late or twice asks for what is there already.
        if state.row * info.row_bytes + begin == sent:
            row = rows.data[state.index][sent - begin :]
            self._send_part(state, row, begin, begin + info.strip_bytes)
            rows.sent[state.index] += info.strip_bytes

    def _greet(self) -> Hello:
        fields = self._ask(Type.HELLO, bytes([MAJOR]))
        _, _, frame, credit, layouts, arena, ticks, room, beside, ram, flash, flags, version = (
            self._unpack(_HELLO, fields)
        )
        texts, rest = [], fields[_HELLO.size :]
        for _ in range(3):
            size = rest[0] if rest else 0
            texts.append(rest[1 : 1 + size].decode("ascii", "replace"))
            rest = rest[1 + size :]
        hello = Hello(
            frame_bytes=frame,
            credit=credit,
            layouts=layouts,
            arena_bytes=arena,
            ticks_per_second=ticks,
            room=room,
            room_beside=beside,
            ram_bytes=ram,
            flash_bytes=flash,
            signed_only=flags & SIGNED_ONLY != 0,
            blob_version=version,
            firmware=texts[0],
            board=texts[1],
            core=texts[2],
        )
        if hello.credit < ROOM_BEFORE_HELLO or hello.ticks_per_second == 0:
            raise LinkError(f"{self.name}: says impossible things of itself: {hello}")
        return hello

    def _upload(self, blob: bytes, update: Update, progress: Progress) -> tuple[bool, int, bytes]:
        """Returns: whether a part was there already; the status of the whole, and its fields."""
        what = f"uploading to {self.name}"
        fields = self._ask(Type.BLOB_BEGIN, update.pack())
        (received,) = self._unpack(struct.Struct("<I"), fields)

        def piece(offset: int) -> bytes:
            progress(what, offset / len(blob))
            return struct.pack("<I", offset) + blob[offset : offset + DATA_BYTES]

        status = self._line.transfer(Type.BLOB_DATA, piece, DATA_BYTES, received, len(blob))
        fields = b""
        if status == 0:
            status, fields = self._line.request(Type.BLOB_END, update.sha256)
        progress(what, 1.0)
        return received > 0, status, fields

    def _check_layout(self, number: int) -> None:
        """Raises: LinkError: the firmware has no kernels for weights in this layout. What is none
        at all is left to the device."""
        names = {int(layout): layout.name.lower() for layout in Layout}
        known = [name for layout, name in names.items() if self.hello.layouts >> layout & 1]
        if number in names and names[number] not in known:
            raise LinkError(
                f"{self.name}: the blob's weights are in the {names[number]} layout, the firmware "
                f"has kernels for {' and '.join(known)} alone; compile the model with "
                f"--layout {known[0] if known else 'plain'}"
            )

    def _ask(self, type_: Type, payload: bytes = b"") -> bytes:
        status, fields = self._line.request(type_, payload)
        self._check(status, fields)
        return fields

    def _check(self, status: int, fields: bytes) -> None:
        """Raises: BlobError, LinkError: what a status below 0 says."""
        if status >= 0:
            return
        if status in set(Status):
            offset = int.from_bytes(fields[:4], "little")
            where = f" (byte {offset})" if status == Status.ERR_STRUCTURE else ""
            raise BlobError(
                f"{self.name}: the blob {native.describe(status)}{where}", status, offset
            )
        try:
            what = _REFUSALS[LinkStatus(status)]
        except ValueError:
            what = f"fails with status {status}"
        raise LinkError(f"{self.name}: the board {what}")

    def _unpack(self, layout: struct.Struct, fields: bytes) -> tuple[int, ...]:
        if len(fields) < layout.size:
            raise LinkError(f"{self.name}: sends an answer that is too short")
        return layout.unpack_from(fields)

    def _next_state(self) -> _State:
        """What the run does or wants now: told, or, if that was lost, asked for."""
        # On a line that loses frames an event is one that may be lost.
        timeout = self._line.first_timeout if self._line.losses else _FIRST_POLL
        while True:
            event = self._line.wait_event(timeout)
            if event is not None and event.type & 0x7F != Type.STATE:
                continue
            told = event is not None
            status, fields = (
                status_of(event, self.name) if event else self._line.request(Type.STATE)
            )
            run, index, row, size, firings = self._unpack(_STATE, fields)
            if run == self._run:
                self._watch((firings, row, size))
                return _State(status, run, index, row, size, firings)
            if not told:
                self._check(LinkStatus.ERR_RUN, b"")
            timeout = min(2 * timeout, _LONGEST_POLL)

    def _watch(self, progress: tuple[int, ...]) -> None:
        """A device that answers, but does not go on, is given up too."""
        now = time.monotonic()
        if progress != self._moved[0]:
            self._moved = progress, now
        elif now - self._moved[1] > self._line.patience:
            raise LinkError(
                f"{self.name}: the run makes no progress for {self._line.patience:.0f} s"
            )

    def _within(self, state: _State, rows: Sequence[int]) -> None:
        if state.index >= len(rows) or state.row >= rows[state.index]:
            raise LinkError(
                f"{self.name}: speaks of row {state.row} of tensor {state.index}; there is none"
            )

    def _send_part(self, state: _State, row: bytes, begin: int, end: int) -> None:
        """What is due of a row: no piece reaches beyond it."""
        head = struct.pack("<IBH", self._run, state.index, state.row)

        def piece(offset: int) -> bytes:
            return head + struct.pack("<I", offset) + row[offset : min(end, offset + DATA_BYTES)]

        self._check(self._line.transfer(Type.ROW, piece, DATA_BYTES, begin, end), b"")

    def _fetch(self, state: _State, dump: Dump) -> None:
        """What a tensor has more than before; then the run goes on."""
        tensor, made = state.row, state.bytes
        if tensor >= len(dump.values) or made > dump.values[tensor].size:
            raise LinkError(f"{self.name}: speaks of byte {made} of tensor {tensor}; there is none")
        while (begin := dump.reached[tensor]) < made:
            size = min(DATA_BYTES, made - begin)
            fields = self._ask(Type.TENSOR, struct.pack("<IHIH", self._run, tensor, begin, size))
            offset, data = int.from_bytes(fields[:4], "little"), fields[4:]
            end = offset + len(data)
            if not begin <= offset or not begin < end <= made or len(data) > size:
                raise LinkError(f"{self.name}: sends other bytes of tensor {tensor} than asked for")
            dump.add(tensor, offset, data)
        self._ask(Type.NEXT, struct.pack("<IHI", self._run, tensor, made))

    def _read(self, outputs: Sequence[bytearray], index: int, begin: int, count: int) -> None:
        for offset in range(begin, begin + count, DATA_BYTES):
            size = min(DATA_BYTES, begin + count - offset)
            fields = self._ask(Type.OUTPUT, struct.pack("<IBIH", self._run, index, offset, size))
            if fields[:4] != struct.pack("<I", offset) or len(fields) != 4 + size:
                raise LinkError(f"{self.name}: sends other bytes of output {index} than asked for")
            outputs[index][offset : offset + size] = fields[4:]
