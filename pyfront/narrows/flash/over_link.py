# SPDX-License-Identifier: Apache-2.0
"""A new model over the link, while the firmware runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from narrows.blob import Blob
from narrows.boards import Board
from narrows.errors import BlobError, LinkError
from narrows.flash.contents import update_of
from narrows.link.client import Client, DeviceModel
from narrows.link.line import PATIENCE, Line, open_port
from narrows.link.target import split_baud
from narrows.native import Status
from narrows.result import Progress, no_progress

# What even slow flash erases, and a slow core hashes, in a second.
_BYTES_PER_SECOND = 50_000


@dataclass(frozen=True)
class Update:
    """What is to be written to a board that runs the firmware.

    board: which one it must be; None: any. force: even if it is another.
    """

    blob: Blob
    name: str
    board: Board | None = None
    force: bool = False


@contextlib.contextmanager
def connect(port: str, blob: Blob | None = None, trial: float | None = None) -> Iterator[Client]:
    """A device.

    Args:
        port: optionally with ``@BAUD``.
        blob: that is to be written, which takes a large one's time.
        trial: seconds of patience with the first answer; None: as with others.

    Raises: PortError, LinkError, UsageError.
    """
    url, baud = split_baud(port)
    opened = open_port(url, baud)
    try:
        patience = PATIENCE + (len(blob.data) / _BYTES_PER_SECOND if blob is not None else 0.0)
        line = Line(opened, port, trial or patience)
        client = Client(line)
        line.patience = patience
        yield client
    finally:
        opened.close()


def check_board(client: Client, board: Board | None, force: bool) -> None:
    """Raises: LinkError: it is of another kind."""
    found = client.hello.board
    if board is not None and found != board.name and not force:
        raise LinkError(
            f"{client.name}: this is a board {found!r}, not {board.name!r}; give --board "
            f"{found!r}, another --port, or --force"
        )


def check_update(client: Client, update: Update, standing: DeviceModel | None) -> None:
    """Before anything is written. Raises: LinkError, BlobError: the device would refuse it."""
    check_board(client, update.board, update.force)
    hello, blob = client.hello, update.blob
    if hello.blob_version != blob.header.major:
        raise BlobError(
            f"{client.name}: the firmware there runs blobs of version {hello.blob_version}, "
            f"{update.name} has {blob.header.major}; flash this version's firmware, too",
            Status.ERR_VERSION,
        )
    if blob.model.memory_bytes > hello.arena_bytes:
        raise BlobError(
            f"{client.name}: {update.name} needs {blob.model.memory_bytes:,} B of RAM, the board "
            f"has {hello.arena_bytes:,} B for it; compile it with --ram, or choose another board",
            Status.ERR_MEMORY,
        )
    if hello.signed_only and blob.signature is None:
        raise LinkError(
            f"{client.name}: the board takes signed models alone, and {update.name} has no "
            "signature; sign it: narrows sign"
        )
    signature = blob.signature
    if standing is not None and signature is not None and signature.counter < standing.counter:
        raise LinkError(
            f"{client.name}: the board has a model with counter {standing.counter}, and "
            f"{update.name} has {signature.counter}, so it is older; take the newest one"
        )


def write_model(client: Client, update: Update, progress: Progress = no_progress) -> bool:
    """Make a blob the device's model, and see that it is. Goes on where the same was broken off.

    Returns: False if it was that already.

    Raises: LinkError, BlobError.
    """
    standing = client.model()
    check_update(client, update, standing)
    announced = update_of(update.blob, standing.counter if standing is not None else 0)
    there = standing is not None and standing.runs and standing.is_blob(update.blob.data)
    if there and standing is not None and standing.counter == announced.counter:
        return False
    client.upload(
        update.blob.data,
        progress,
        name=announced.name,
        signature=update.blob.signature,
    )
    check_written(client, update.blob)
    return True


def check_written(client: Client, blob: Blob) -> None:
    """Raises: LinkError: the device has no model, another one, or cannot run it."""
    standing = client.model()
    if standing is None or not standing.is_blob(blob.data):
        what = "no model" if standing is None else f"another model, {standing.name!r}"
        raise LinkError(f"{client.name}: has {what}, though all was written; write it again")
    if not standing.runs:
        raise BlobError(
            f"{client.name}: the firmware there cannot run the model; flash this version's "
            "firmware, and compile the model for the board",
        )
