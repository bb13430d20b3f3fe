# SPDX-License-Identifier: Apache-2.0
"""The console command ``narrows``: one file per subcommand, this one for what they share."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from narrows import __version__, interrupt
from narrows.cli.places import Outputs, Stdout, write_error
from narrows.errors import NarrowsError, NarrowsWarning, UsageError

EXIT_ERROR, EXIT_USAGE, EXIT_BUG = 1, 2, 70

_MODELS = ("quantize", "plan", "compile", "run", "check", "compare", "bench", "info", "sign")
_COMMANDS = (*_MODELS, "report", "embed", "build", "flash", "boards", "zoo", "doctor", "completion")

_OPTION, _NEGATIVE = re.compile(r"--[^=]+$"), re.compile(r"-\.?[0-9]")


def load(argv: Sequence[str]) -> None:
    """Load what a command line needs, which takes a while, before ``main`` runs it."""
    for command in _needed(_command(argv)):
        importlib.import_module(f"{__name__}.{command}")


def complete(line: str) -> None:
    """Tell a shell how its command line may go on, and end the process. line: up to there, or
    more of it."""
    from narrows.cli.completion import complete as tell  # no other command needs it

    command = _command(line.split()[1:])
    if command is not None:
        tell(build_parser(command))
    parser, commands = _empty_parser()
    for name in (*_COMMANDS, "version"):
        commands.add_parser(name)  # its name is enough, and loads nothing
    tell(parser)


def build_parser(only: str | None = None) -> argparse.ArgumentParser:
    """The parser of all subcommands, or of one alone: a command starts sooner where
    what the others need is not loaded."""
    parser, commands = _empty_parser()
    for command in _needed(only):
        importlib.import_module(f"{__name__}.{command}").add_parser(commands)
    version = commands.add_parser("version", help="print the version")
    version.set_defaults(run=_print_version)
    return parser


def _empty_parser() -> tuple[argparse.ArgumentParser, Any]:
    """A parser, and where subcommands are added to it."""
    parser = argparse.ArgumentParser(
        prog="narrows",
        description="int8 convolutional networks in a fraction of the RAM, to the same bits",
    )
    parser.add_argument("--version", action="version", version=f"narrows {__version__}")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    return parser, parser.add_subparsers(dest="command", metavar="COMMAND", required=True)


def _needed(only: str | None) -> Iterator[str]:
    return (command for command in _COMMANDS if only in (None, command))


def _command(argv: Sequence[str]) -> str | None:
    """The subcommand that these arguments are surely for; None if argparse has to tell."""
    first = next((argument for argument in argv if argument != "--debug"), None)
    return first if first in (*_COMMANDS, "version") else None


def _print_version(arguments: argparse.Namespace) -> int:
    print(f"narrows {__version__}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns: the exit code (0 good, 1 error, 2 usage, 70 bug).

    Raises: KeyboardInterrupt.
    """
    stdout = Stdout(sys.stdout)
    try:
        with contextlib.redirect_stdout(stdout), _warnings_shown():
            code = _run(argv, stdout)
    finally:
        stdout.flush()
    if stdout.failure is None:
        return code
    if not isinstance(stdout.failure, BrokenPipeError):  # whoever reads may have had enough
        _complain(f"stdout: cannot be written: {stdout.failure.strerror}")
    return code or EXIT_ERROR


def _run(argv: Sequence[str] | None, stdout: Stdout) -> int:
    try:
        argv = sys.argv[1:] if argv is None else argv
        arguments = build_parser(_command(argv)).parse_args(_with_numbers(argv))
    except SystemExit as end:  # argparse has printed help, or what is wrong
        return int(end.code or 0)
    failures: list[str] = []
    try:
        arguments.outputs = Outputs(arguments, stdout)
        failures = arguments.outputs.failures
        code: int = arguments.run(arguments)
    except (NarrowsError, OSError, MemoryError) as error:
        interrupt.check()
        if arguments.debug:
            traceback.print_exc()
        failures.append(_explain(error))
        code = EXIT_USAGE if isinstance(error, UsageError) else EXIT_ERROR
    except Exception:
        interrupt.check()
        traceback.print_exc()
        write_error("narrows: this is a bug in narrows; please report what is above\n")
        code = EXIT_BUG
    for failure in failures:
        _complain(failure)
    return code or (EXIT_ERROR if failures else 0)


def _with_numbers(argv: Sequence[str]) -> list[str]:
    """The same, where argparse would take values such as ``-1..1`` or ``-1,-1`` for options: they
    are joined to the option before them."""
    joined: list[str] = []
    for argument in argv:
        if _NEGATIVE.match(argument) and joined and _OPTION.match(joined[-1]):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def _complain(text: str) -> None:
    write_error(f"narrows: error: {text}\n")


@contextlib.contextmanager
def _warnings_shown() -> Iterator[None]:
    """Show the first of each kind of our own warnings as a line on stderr."""
    seen: set[type[Warning]] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", NarrowsWarning)
        show = warnings.showwarning

        def show_once(message: Warning | str, category: type[Warning], *rest: object) -> None:
            if not issubclass(category, NarrowsWarning):
                show(message, category, *rest)  # type: ignore[arg-type]
            elif category not in seen:
                seen.add(category)
                write_error(f"narrows: warning: {message}\n")

        warnings.showwarning = show_once  # type: ignore[assignment]
        yield


def _explain(error: BaseException) -> str:
    if isinstance(error, NarrowsError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory on this machine"
    assert isinstance(error, OSError)
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{error.strerror or error}"
