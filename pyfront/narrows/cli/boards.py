# SPDX-License-Identifier: Apache-2.0
"""``narrows boards``: the boards that firmware can be built for."""

from __future__ import annotations

import argparse
from typing import Any

from narrows.boards import load_boards
from narrows.cli.console import count, print_table
from narrows.cli.places import add_json


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser("boards", help="list the boards")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print one line per board."""
    boards = load_boards()
    print_table(
        ("board", "core", "RAM>", "code>", "room for a blob>", "QEMU", "written by", "what it is"),
        (
            (
                board.name,
                board.core.cpu,
                count(board.ram.bytes),
                count(board.code.bytes),
                count(board.models.room),
                board.qemu.machine if board.qemu else (board.emulator or ""),
                ", ".join(board.flash.tools),
                board.title,
            )
            for board in boards
        ),
    )
    arguments.outputs.write_json(
        {
            board.name: {
                "title": board.title,
                "cpu": board.core.cpu,
                "ram_bytes": board.ram.bytes,
                "arena_bytes": {arena.name: arena.bytes for arena in board.arenas},
                "code_bytes": board.code.bytes,
                "model_bytes": board.models.room,
                "qemu": board.qemu.machine if board.qemu else None,
                "flash_tools": list(board.flash.tools),
            }
            for board in boards
        },
    )
    return 0
