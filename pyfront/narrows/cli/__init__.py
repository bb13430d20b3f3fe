# SPDX-License-Identifier: Apache-2.0
"""The console command ``narrows``: one file per subcommand, this one for what they share."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from narrows import __version__
from narrows.cli import (
    boards,
    check,
    compare,
    compile,
    doctor,
    info,
    plan,
    quantize,
    run,
    zoo,
)
from narrows.errors import NarrowsError, UsageError

EXIT_ERROR, EXIT_USAGE, EXIT_BUG, EXIT_INTERRUPTED = 1, 2, 70, 130

_COMMANDS = (quantize, plan, compile, run, check, compare, info, boards, zoo, doctor)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="narrows",
        description="int8 convolutional networks in a fraction of the RAM, to the same bits",
    )
    parser.add_argument("--version", action="version", version=f"narrows {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_print_version)
    return parser


def _print_version(arguments: argparse.Namespace) -> int:
    print(f"narrows {__version__}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns: the exit code (0 good, 1 error, 2 usage, 70 bug)."""
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has had enough; keep Python from complaining when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except (NarrowsError, OSError, MemoryError) as error:
        if arguments.debug:
            traceback.print_exc()
        print(f"narrows: error: {_explain(error)}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, UsageError) else EXIT_ERROR
    except Exception:
        traceback.print_exc()
        print("narrows: this is a bug in narrows; please report what is above", file=sys.stderr)
        return EXIT_BUG


def _explain(error: BaseException) -> str:
    if isinstance(error, NarrowsError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory on this machine"
    assert isinstance(error, OSError)
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{error.strerror or error}"
