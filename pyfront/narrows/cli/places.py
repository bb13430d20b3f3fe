# SPDX-License-Identifier: Apache-2.0
"""Which options name files, and what becomes of those that are written.

An option declares itself as an input or an output where it is added to its parser. Before a command
begins, every output is tried and compared with all other places: nothing that is read, or was just
written, is overwritten. ``-`` as an output is stdout; whatever else a command prints then goes to
stderr.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from narrows.errors import NarrowsError, UsageError
from narrows.files import NEW_FILE_MODE, Identity, file_identity, try_place, write_file

Files: TypeAlias = Callable[[str], Iterable[str | Path]]
"""What an input option is given -> all files that may be read for it."""

STDOUT = "-"
_STDOUT_FILES = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


@dataclass(frozen=True)
class _Place:
    """An option that names files. label: its name in errors. files: None for an output."""

    destination: str
    label: str
    files: Files | None


def add_input(
    parser: argparse.ArgumentParser,
    *names: str,
    files: Files = lambda value: (value,),
    **options: Any,
) -> None:
    """``parser.add_argument`` for an option that names what is read."""
    _declare(parser, parser.add_argument(*names, **options), files)


def add_output(parser: argparse.ArgumentParser, *names: str, **options: Any) -> None:
    """``parser.add_argument`` for an option that names what is written."""
    _declare(parser, parser.add_argument(*names, **options), None)


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option ``--json``."""
    add_output(parser, "--json", metavar="FILE", help="write the figures as JSON; - is stdout")


def _declare(parser: argparse.ArgumentParser, action: argparse.Action, files: Files | None) -> None:
    label = action.option_strings[-1] if action.option_strings else str(action.metavar)
    place = _Place(action.dest, label, files)
    parser.set_defaults(places=(*(parser.get_default("places") or ()), place))


def write_error(text: str) -> None:
    """On stderr, if there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


class Stdout(io.TextIOBase):
    """Takes the place of ``sys.stdout``, so that a reader who has had enough, or a full disk, keeps
    a command from nothing but printing.

    stream: the real one; None where it is closed.
    failure: what went wrong with it first.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._taken = False
        self.failure: OSError | None = None

    def take(self) -> None:
        """From now on stdout is for ``write_bytes`` alone, and text goes to stderr."""
        self._taken = True

    def write(self, text: str) -> int:
        if self._taken:
            write_error(text)
        elif self._stream is not None:
            self._try(lambda stream: stream.write(text))
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Data that is the contents of an output."""
        self._try(lambda stream: (stream.flush(), stream.buffer.write(data)))

    def flush(self) -> None:
        if self._stream is not None:
            self._try(lambda stream: stream.flush())

    def isatty(self) -> bool:
        stream = sys.stderr if self._taken else self._stream
        return stream is not None and stream.isatty()

    def _try(self, action: Callable[[TextIO], object]) -> None:
        if self.failure is not None:
            return
        try:
            if self._stream is None:
                raise OSError(0, "it is closed")
            action(self._stream)
        except OSError as error:
            self.failure = error
            if self._stream is not None:
                # Python tries once more when it ends, and would complain.
                with contextlib.suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


class Outputs:
    """What a command writes. An output that fails does not keep the others from being written.

    failures: a line for each that has failed so far.

    Raises: UsageError: a place is used twice. NarrowsError: one that cannot be written.
    """

    def __init__(self, arguments: argparse.Namespace, stdout: Stdout) -> None:
        places: Sequence[_Place] = getattr(arguments, "places", ())
        values = {place: getattr(arguments, place.destination) for place in places}
        given = {
            place: value if isinstance(value, list) else [value]
            for place, value in values.items()
            if value is not None
        }
        self.failures: list[str] = []
        self._stdout = stdout
        self._paths = {p.destination: v[0] for p, v in given.items() if p.files is None}
        outputs = [(p.label, v[0]) for p, v in given.items() if p.files is None]
        printed = [label for label, path in outputs if is_stdout(path)]
        if len(printed) > 1:
            raise UsageError(f"{printed[0]} and {printed[1]} are both stdout; give one a file")
        outputs = [(label, _STDOUT_FILES[0] if is_stdout(p) else p) for label, p in outputs]
        _check_distinct(outputs, [(p, v) for p, v in given.items() if p.files is not None])
        for _, path in outputs:
            if not is_stdout(path):
                try_place(path)
        if printed:
            stdout.take()

    def write(self, destination: str, data: bytes | str, mode: int = NEW_FILE_MODE) -> bool:
        """Write an output, if it is asked for. mode: of a new file, without what the umask takes
        away. Returns: False if it failed."""
        path = self._paths.get(destination)
        data = data.encode() if isinstance(data, str) else data
        if path is None:
            return True
        if is_stdout(path):
            self._stdout.write_bytes(data)
            return True  # the command's end reports it
        try:
            write_file(path, data, mode)
        except NarrowsError as error:
            self.failures.append(str(error))
            return False
        return True

    def write_json(self, value: dict[str, Any]) -> None:
        """What ``--json`` asks for."""
        self.write("json", json.dumps(value, indent=2) + "\n")


def is_stdout(path: str) -> bool:
    """Does the place of an output mean stdout?"""
    return path == STDOUT or path in _STDOUT_FILES


def _check_distinct(
    outputs: Sequence[tuple[str, str]], inputs: Sequence[tuple[_Place, Sequence[str]]]
) -> None:
    """Raises: UsageError: an output is another output, or something that is read."""
    taken: dict[Identity, tuple[str, str]] = {}
    for label, path in outputs:
        identity = file_identity(path)
        if identity is None:
            continue
        if identity in taken:
            other = taken[identity][0]
            raise UsageError(f"{label} {path}: the same file as {other}; give each its own")
        taken[identity] = (label, path)
    if not any(os.path.isfile(path) for _, path in taken.values()):
        return  # what is read exists, so no new file can be one of it
    for place, values in inputs:
        assert place.files is not None
        for file in (file for value in values for file in place.files(value)):
            if (identity := file_identity(file)) in taken:
                label, path = taken[identity]
                raise UsageError(
                    f"{label} {path}: would overwrite {file}, which {place.label} reads; "
                    "choose another place"
                )
