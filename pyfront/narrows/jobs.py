# SPDX-License-Identifier: Apache-2.0
"""Work that is shared out over this host's processors; what comes out does not depend on that.

Threads are enough where the time goes to C that leaves Python's lock alone: the runtime, NumPy on
large arrays. A job's own calls of BLAS shall not start threads again; ``one_thread_of_blas`` sees
to that.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")

# OpenBLAS and MKL; Apple's Accelerate.
_BLAS_THREADS = ("OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def one_thread_of_blas() -> None:
    """Call before NumPy is imported: it reads the environment then, and a user's word counts.

    Threads of BLAS wait for each other in every product, for most of the time where something else
    runs beside them; and how a product is cut into theirs decides how its sums are rounded, so that
    a quantized model would depend on the computer that has made it.
    """
    for name in _BLAS_THREADS:
        os.environ.setdefault(name, "1")


def processors() -> int:
    """How many this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order(
    function: Callable[[_Item], _Found], items: Iterable[_Item], jobs: int
) -> Iterator[_Found]:
    """As ``map``, in several threads.

    Args:
        function: called for several items at a time.
        items: read by the caller's thread, at most ``jobs`` + 1 ahead of what it has taken.
        jobs: how many threads. 1: none but the caller's.

    Returns: what the function gives for each item, in the order of the items; an error as well
    comes where its item's turn is.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    ahead: deque[Future[_Found]] = deque()
    with ThreadPoolExecutor(jobs, "narrows job") as pool:
        try:
            for item in items:
                ahead.append(pool.submit(function, item))
                if len(ahead) > jobs:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
