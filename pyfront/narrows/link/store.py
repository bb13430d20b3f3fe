# SPDX-License-Identifier: Apache-2.0
"""What the firmware's store of models (``firmware/app/store.h``) has beside a blob."""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass

from narrows.boards import RECORDS_BYTES, Models

NAME_BYTES, SIGNATURE_BYTES = 40, 64
_UPDATE = struct.Struct(f"<II32s{NAME_BYTES}s{SIGNATURE_BYTES}s")
_RECORD_BYTES = 192
_MANIFEST, _FORMAT = b"NMRM", 1
_FIRST, _WHOLE = 0, 2


@dataclass(frozen=True)
class Update:
    """What is announced of a blob.

    blob_bytes: its size. counter: a device takes no model whose counter is below that of its own.
    name: of the model; cut to 40 bytes. signature: Ed25519; empty for none.
    """

    blob_bytes: int
    sha256: bytes
    counter: int
    name: str
    signature: bytes = b""

    @staticmethod
    def of(blob: bytes, name: str, counter: int = 0, signature: bytes = b"") -> Update:
        """That of a blob."""
        return Update(len(blob), hashlib.sha256(blob).digest(), counter, name, signature)

    def pack(self) -> bytes:
        """As it goes over the line and stands in flash."""
        name = self.name.encode("utf-8")[:NAME_BYTES].decode("utf-8", "ignore").encode()
        return _UPDATE.pack(self.blob_bytes, self.counter, self.sha256, name, self.signature)


def image(models: Models, blob: bytes, update: Update) -> list[tuple[int, bytes]]:
    """(address, bytes) that make a blob the model of a board, whatever its flash has held before,
    if the sectors that they touch are erased and written.

    Raises: ValueError: it has no room.
    """
    if len(blob) > models.room:
        raise ValueError("no room")
    slot = _FIRST if len(blob) <= models.room_beside else _WHOLE
    end = models.half if slot == _FIRST else models.bytes
    body = struct.pack("<III", _FORMAT, slot, 1) + update.pack()
    body += bytes(_RECORD_BYTES - len(_MANIFEST) - len(body) - 4)
    record = _MANIFEST + body + struct.pack("<I", zlib.crc32(body))
    parts = [(0, blob), (end - _RECORD_BYTES, record)]
    # The records of other models, which may be newer, would win.
    for other in sorted({models.half, 2 * models.half, models.bytes} - {end}):
        if other - RECORDS_BYTES >= len(blob) and abs(other - end) >= RECORDS_BYTES:
            parts.append((other - RECORDS_BYTES, bytes(RECORDS_BYTES)))
    return [(models.base + offset, data) for offset, data in parts]
