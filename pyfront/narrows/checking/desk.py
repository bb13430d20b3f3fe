# SPDX-License-Identifier: Apache-2.0
"""Who does what: tasks for threads that may be lost, and the progress of all together."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from narrows.graph.qgraph import Int8Array
from narrows.result import Progress


@dataclass(frozen=True, eq=False)
class Task:
    """An item to run. inputs: of one inference after the other; the answer is the last one's.
    expected: digest of the reference's outputs; None if it was not run."""

    item: int
    inputs: list[Int8Array]
    expected: bytes | None
    label: int | None


class Stopped(Exception):
    """Ends a thread from within whatever it does, by way of its progress."""


class Desk:
    """Hands out tasks: each of them to one worker of every crew.

    It knows what each worker has in hand, so that nobody goes home while a colleague may still
    leave something unfinished.

    crews: for each worker the number of its crew.
    """

    def __init__(self, crews: Sequence[int]) -> None:
        self._changed = threading.Condition()
        waiting: dict[int, deque[Task]] = {crew: deque() for crew in crews}
        self._waiting = [waiting[crew] for crew in crews]
        self._in_hand: dict[int, Task] = {}
        self._staff = set(range(len(crews)))
        # Two for each worker: one is loaded while the other is run.
        self._most = {id(waiting[crew]): 2 * number for crew, number in Counter(crews).items()}
        self._is_closed = False
        self._is_stopped = False

    def put(self, task: Task) -> bool:
        """Lay a task ready once there is room. Returns: False if nobody would take it."""
        with self._changed:
            while self._staff and not self._is_stopped:
                queues = list(
                    {id(self._waiting[n]): self._waiting[n] for n in self._staff}.values()
                )
                if all(len(queue) < self._most[id(queue)] for queue in queues):
                    for queue in queues:
                        queue.append(task)
                    self._changed.notify_all()
                    return True
                self._changed.wait()
        return False

    def close(self) -> None:
        """There are no more tasks."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Nobody shall go on."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def take(self, worker: int) -> Task | None:
        """The next task; None if there will be none. Raises: Stopped."""
        queue = self._waiting[worker]
        with self._changed:
            while not self._is_stopped:
                if queue:
                    task = self._in_hand[worker] = queue.popleft()
                    self._changed.notify_all()
                    return task
                if self._is_closed and not any(self._waiting[n] is queue for n in self._in_hand):
                    return None
                self._changed.wait()
        raise Stopped

    def done(self, worker: int) -> None:
        """The worker has finished what it took."""
        with self._changed:
            del self._in_hand[worker]
            self._changed.notify_all()

    def leave(self, worker: int) -> None:
        """What the worker has in hand goes back, in front of what has not been begun."""
        with self._changed:
            if worker in self._in_hand:
                self._waiting[worker].appendleft(self._in_hand.pop(worker))
            self._staff.discard(worker)
            self._changed.notify_all()

    def check(self) -> None:
        """Raises: Stopped."""
        if self._is_stopped:
            raise Stopped


class Meter:
    """The progress of many threads as that of one."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._finished = 0
        self._lock = threading.Lock()

    def opening(self, what: str, done: float) -> None:
        """What a target does before it can run anything; shown until the first one can."""
        with self._lock:
            if self._finished == 0:
                self._progress(what, done)

    def finished(self, what: str) -> None:
        """One more inference is made."""
        with self._lock:
            self._finished += 1
            self._progress(what, self._finished / self._total)
