# SPDX-License-Identifier: Apache-2.0
"""What is to stand in a board's flash, and whether it can."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from narrows.blob import Blob
from narrows.boards import Board
from narrows.errors import BlobError, ToolError
from narrows.link.image import Segment
from narrows.link.store import Update, image
from narrows.native import Layout


@dataclass(frozen=True)
class Sizes:
    """Bytes that a firmware takes. flash: of the board's code memory; ram: variables, stack and
    its guard."""

    flash: int
    ram: int


def firmware_sizes(file: Path) -> Sizes:
    """What an ELF file takes. Raises: ToolError: it cannot be read, or is none."""
    try:
        with file.open("rb") as stream:
            elf = ELFFile(stream)
            flash = sum(part["p_filesz"] for part in elf.iter_segments("PT_LOAD"))
            writable = SH_FLAGS.SHF_ALLOC | SH_FLAGS.SHF_WRITE
            ram = sum(
                section["sh_size"]
                for section in elf.iter_sections()
                if section["sh_flags"] & writable == writable or section.name == ".stack"
            )
    except (OSError, ELFError) as error:
        raise ToolError(f"{file}: not firmware in an ELF file: {error}") from error
    return Sizes(flash, ram)


def check_model(board: Board, blob: Blob, name: str) -> None:
    """Raises: BlobError: a board that runs this version's firmware cannot run the blob."""
    if Layout(blob.header.layout).name.lower() not in board.core.layouts:
        raise BlobError(
            f"{name}: its weights are in another layout than board {board.name} reads, "
            f"{' or '.join(board.core.layouts)}; compile the model with --board {board.name}"
        )
    if len(blob.data) > board.models.room:
        raise BlobError(
            f"{name}: the blob has {len(blob.data):,} B, but board {board.name} has room for "
            f"{board.models.room:,} B; take a smaller model or another board"
        )
    memory = sum(board.memories)
    if blob.model.memory_bytes > memory:
        raise BlobError(
            f"{name}: the model needs {blob.model.memory_bytes:,} B of RAM, but board {board.name} "
            f"has {memory:,} B for it; compile it with --board {board.name}"
        )


def update_of(blob: Blob, counter: int = 0) -> Update:
    """What a board is told of a blob. counter: of one without a signature."""
    signature = blob.signature
    if signature is None:
        return Update.of(blob.data, blob.name, counter)
    return Update.of(blob.data, blob.name, signature.counter, signature.signature)


def model_segments(board: Board, blob: Blob) -> list[Segment]:
    """A model in a board's flash, whatever stood there before."""
    return [Segment(*part) for part in image(board.models, blob.data, update_of(blob))]


def total_bytes(segments: Iterable[Segment]) -> int:
    """The bytes of all segments together."""
    return sum(len(segment.data) for segment in segments)
