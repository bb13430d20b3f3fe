# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, and requests to end, stop narrows with one line, whenever they come.

While modules are loaded there is nothing to clean up, and an exception could be taken for a module
that is missing: a signal then ends the process at once. While a command runs, the first signal
raises KeyboardInterrupt, so whatever the command has begun is undone; a second one does not wait.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
if sys.platform != "win32":
    _WORDS[signal.SIGHUP] = "the terminal was closed"


class _State:
    """came: the signal that has come; 0 for none. raises: whether it raises KeyboardInterrupt."""

    came = 0
    raises = False


def leave_at_once() -> None:
    """From now on a signal ends the process; one that is ignored (``nohup``, ``&``) stays so."""
    for number in _WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    sys.unraisablehook = _unraisable


def run(command: Callable[[], int]) -> int:
    """Run a command that a signal interrupts. Returns: its exit code, or 128 + the signal."""
    code = 0
    try:
        _State.raises = True
        code = command()
        _State.raises = False
    except KeyboardInterrupt:
        _State.raises = False
        _State.came = _State.came or signal.SIGINT
        _say(_State.came)
    return 128 + _State.came if _State.came else code


def check() -> None:
    """Call where an exception is reported: a signal that came during a call of a library written
    in C may have become an exception of another kind. Raises: KeyboardInterrupt: one has come."""
    if _State.came:
        raise KeyboardInterrupt


def _stop(number: int, frame: FrameType | None) -> None:
    first = not _State.came
    _State.came = number
    if first and _State.raises:
        raise KeyboardInterrupt
    _leave(number)


def _unraisable(problem: sys.UnraisableHookArgs) -> None:
    """A signal that comes while Python runs a destructor raises an exception that goes nowhere."""
    if issubclass(problem.exc_type, KeyboardInterrupt):
        _leave(_State.came or signal.SIGINT)
    sys.__unraisablehook__(problem)


def _leave(number: int) -> None:
    _say(number)
    os._exit(128 + number)


def _say(number: int) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"narrows: {_WORDS[signal.Signals(number)]}\n".encode())
