# SPDX-License-Identifier: Apache-2.0
"""``narrows build``: firmware and models as files for programmers and bootloaders."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any, get_args

from narrows.blob import Blob, read_blob
from narrows.boards import Board, load_board
from narrows.cli.console import count, progress_bar
from narrows.cli.places import add_input, add_json, add_output
from narrows.errors import BlobError, UsageError
from narrows.files import read_file
from narrows.flash.contents import check_model, firmware_sizes, model_segments, total_bytes
from narrows.flash.formats import Format, encode, format_of
from narrows.link.compilers import CompilerKind
from narrows.link.firmware import Protocol, build
from narrows.link.image import Segment, load_segments
from narrows.result import Progress
from narrows.signing import fingerprint, load_public_key

_HELP = """\
for example

  narrows build --board microbit -o firmware.hex
  narrows build --board microbit --with model.nrw -o all.hex      firmware and model
  narrows build --board microbit --model model.nrw -o model.hex   the model alone
  narrows build --board microbit --for model.nrw -o small.elf     only what the model needs

The model stands at its own address, apart from the firmware. Its file also makes older models there
void, so that it is the one that runs. Plain bytes (.bin) have no address: it is printed."""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "build",
        help="firmware, model or both as .elf, .hex, .uf2 or .bin",
        description="Build a board's firmware, or put a model for it into a file.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_input(parser, "--board", metavar="NAME", required=True, help="see 'narrows boards'")
    add_output(parser, "-o", "--output", metavar="FILE", required=True)
    parser.add_argument(
        "--format",
        choices=[format_.value for format_ in Format],
        help="of the file (default: by its ending)",
    )
    add_input(parser, "--with", dest="with_", metavar="BLOB", help="firmware and this model")
    add_input(parser, "--model", metavar="BLOB", help="this model alone, no firmware")
    add_input(
        parser,
        "--for",
        dest="for_",
        metavar="BLOB",
        action="append",
        help="only the operators, in the forms, that this model needs; may be given several times",
    )
    add_firmware(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def add_firmware(parser: argparse.ArgumentParser) -> None:
    """The options ``--key``, ``--protocol`` and ``--compiler``, which ``build_firmware`` obeys."""
    add_input(
        parser,
        "--key",
        metavar="PUBLIC.pem",
        help="the firmware takes no models but those that this key's owner has signed",
    )
    parser.add_argument(
        "--protocol",
        choices=get_args(Protocol),
        help="mlperf: the firmware also understands MLPerf Tiny's runner",
    )
    parser.add_argument(
        "--compiler",
        choices=[kind.value for kind in CompilerKind],
        help="which builds the firmware (default: none where it came with the package, else GCC, "
        "else Zig)",
    )


def check_no_firmware(arguments: argparse.Namespace, option: str, *others: str) -> None:
    """Raises: UsageError: there are options for firmware beside one that wants none. others: more
    of them."""
    for name in ("protocol", "compiler", *others):
        if getattr(arguments, name) is not None:
            raise UsageError(f"{option} builds no firmware: leave out --{name.rstrip('_')}")


def build_firmware(
    arguments: argparse.Namespace,
    board: Board,
    progress: Progress,
    blobs: Collection[Blob] | None = None,
) -> Path:
    """The ELF file that the options ask for. Raises: ToolError."""
    return build(
        board,
        progress,
        blobs,
        key=key_of(arguments),
        protocol=arguments.protocol or "narrows",
        compiler=None if arguments.compiler is None else CompilerKind(arguments.compiler),
    )


def key_of(arguments: argparse.Namespace) -> bytes | None:
    """What ``--key`` asks for. Raises: NarrowsError: no key in that file."""
    return None if arguments.key is None else load_public_key(arguments.key)


def check_signed(blob: Blob, name: str, key: bytes | None) -> None:
    """Raises: BlobError: firmware with this key would not take the blob."""
    if key is None:
        return
    signature = blob.signature
    if signature is None or signature.key != key or not signature.verifies(blob.data):
        raise BlobError(
            f"{name}: not signed with the key of --key ({fingerprint(key)}), so its firmware would "
            "not take it; sign it: narrows sign"
        )


def run(arguments: argparse.Namespace) -> int:
    """Build; print and write the figures."""
    board = load_board(arguments.board)
    format_ = Format(arguments.format) if arguments.format else format_of(arguments.output)
    if arguments.with_ is not None and arguments.model is not None:
        raise UsageError("--with and --model: give one, for firmware and model or the model alone")
    model = arguments.with_ or arguments.model
    if model is not None and format_ is Format.ELF:
        raise UsageError("a model does not go into an ELF file; take .hex, .uf2 or .bin")
    if arguments.model is not None:
        check_no_firmware(arguments, "--model", "for_")
    report: dict[str, Any] = {"board": board.name, "format": format_.value}
    segments: list[Segment] = []
    lines = []
    if model is not None:
        blob = read_blob(model)
        check_model(board, blob, model)
        check_signed(blob, model, key_of(arguments))
        segments += model_segments(board, blob)
        lines.append(_describe_model(board, blob, report))
    image = None
    if arguments.model is None:
        kept = [read_blob(name) for name in arguments.for_ or ()]
        with progress_bar() as progress:
            image = build_firmware(arguments, board, progress, kept or None)
        segments += load_segments(image)
        lines.append(_describe_firmware(board, image, report))
    elf = image if format_ is Format.ELF else None
    data = read_file(elf, "firmware") if elf is not None else encode(segments, format_, board)
    start = min(segment.address for segment in segments)
    report |= {"address": start, "written_bytes": total_bytes(segments), "file_bytes": len(data)}
    written = arguments.outputs.write("output", data)
    arguments.outputs.write_json(report)
    if written:
        for line in lines:
            print(line)
        where = f", for address {start:#010x}" if format_ is Format.BIN else ""
        print(f"{arguments.output}: {count(len(data))} B{where}")
    return 0


def _describe_model(board: Board, blob: Blob, report: dict[str, Any]) -> str:
    report["model"] = {
        "name": blob.name,
        "bytes": len(blob.data),
        "address": board.models.base,
        "room_bytes": board.models.room,
    }
    return (
        f"model {blob.name}: {count(len(blob.data))} of {count(board.models.room)} B at "
        f"{board.models.base:#010x}"
    )


def _describe_firmware(board: Board, image: Path, report: dict[str, Any]) -> str:
    sizes, arena = firmware_sizes(image), sum(board.memories)
    report["firmware"] = {
        "flash_bytes": sizes.flash,
        "flash_room_bytes": board.code.bytes,
        "ram_bytes": sizes.ram,
        "ram_room_bytes": board.ram.bytes,
        "arena_bytes": arena,
    }
    return (
        f"firmware: {count(sizes.flash)} of {count(board.code.bytes)} B of flash, "
        f"{count(sizes.ram)} of {count(board.ram.bytes)} B of RAM, {count(arena)} B for arenas"
    )
