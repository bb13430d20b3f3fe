# SPDX-License-Identifier: Apache-2.0
"""``narrows embed``: a blob as an array in C."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from narrows.blob import read_blob
from narrows.cli.console import count
from narrows.cli.places import add_input, add_output, is_stdout
from narrows.embed import check_identifier, embed_header, embed_source, identifier


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "embed",
        help="write a blob as an array in C, with a header",
        description="Write a blob as an array in C, and a header with sizes and an example.",
    )
    add_input(parser, "blob", metavar="BLOB")
    add_output(parser, "-o", "--output", metavar="FILE.c", required=True, action=_WithHeader)
    add_output(
        parser, "--header", metavar="FILE.h", help="declares the array (default: FILE.h beside it)"
    )
    parser.add_argument("--name", metavar="NAME", help="of the array (default: the file's)")
    parser.set_defaults(run=run)


class _WithHeader(argparse.Action):
    """A C file, whose header stands beside it unless it is named."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        namespace.output = values
        if namespace.header is None and not is_stdout(values):
            namespace.header = str(Path(values).with_suffix(".h"))


def run(arguments: argparse.Namespace) -> int:
    """Write both files."""
    file = Path(arguments.blob if arguments.header is None else arguments.header)
    name = identifier(file.stem) if arguments.name is None else arguments.name
    check_identifier(name)
    blob = read_blob(arguments.blob)
    arguments.outputs.write("header", embed_header(blob, name))
    source = embed_source(blob, name, file.with_suffix(".h").name)
    if arguments.outputs.write("output", source):
        print(
            f"{arguments.output}: {name}[{count(len(blob.data))}]; "
            f"a run takes {count(blob.model.memory_bytes)} B of memory"
        )
    return 0
