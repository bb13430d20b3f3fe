# SPDX-License-Identifier: Apache-2.0
"""Library code that may end the whole process, run where it cannot."""

from __future__ import annotations

import os
from collections.abc import Callable


def isolated(function: Callable[[], bytes]) -> bytes | None:
    """What a function returns in a copy of this process; None if it raises or the copy dies.

    Where processes cannot be copied it is called in this one.
    """
    if not hasattr(os, "fork"):
        return function()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(function, writing)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    return answer if status == 0 else None


def _answer(function: Callable[[], bytes], writing: int) -> None:
    """Write the answer and end this process, without what an ordinary exit does."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # last words of an abort
        with open(writing, "wb") as pipe:
            pipe.write(function())
        code = 0
    finally:
        os._exit(code)
