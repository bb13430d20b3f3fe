# SPDX-License-Identifier: Apache-2.0
"""``narrows boards``: the boards that firmware can be built for."""

from __future__ import annotations

import argparse
from typing import Any


from narrows.cli.console import add_json, print_table, write_json


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser("boards", help="list the boards")
    add_json(parser)
    parser.set_defaults(run=run)
