# SPDX-License-Identifier: Apache-2.0
"""Runs a data set on targets that work at the same time.

    data set -> load, reference -> tasks -> a crew for each target -> verdicts
                 ahead, in order     ^               |
                                     +---------------+
                          what a lost target has not finished

The calling thread reads each item once, has the reference computed for it, some items ahead, and
hands it out; it waits while enough tasks lie ready, so a data set may be larger than memory. A
target takes one task at a time: that costs microseconds where an inference takes milliseconds, and
no item waits behind a slow board while another is free. This host has a thread for each job.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from narrows.blob import Blob
from narrows.checking.desk import Desk, Meter, Stopped, Task
from narrows.checking.verdict import Check, Checked, Verdict
from narrows.data import Dataset, Item, load_sequence
from narrows.errors import InputError, NarrowsError, UsageError
from narrows.graph.edges import Array, decode, encode, in_file
from narrows.graph.qgraph import Int8Array
from narrows.graph.sequences import window_of
from narrows.jobs import in_order
from narrows.reference import TflmCrew
from narrows.result import Progress, Result, Target, no_progress
from narrows.targets import (
    check_spec,
    host_of_thread,
    is_emulated,
    open_target,
    runnable_targets,
)

ALL = "all"
"""Stands for the host and every board in QEMU."""

# A typing error must not start thousands of processes; this is more than a large farm has boards.
_MOST_TARGETS = 256
# A board in QEMU computes for about 60 of 100 ms (digits, on mps2-an386), and waits for the line in
# between; with many more, patience with a silent board would end where only the host is slow.
_BOARDS_PER_PROCESSOR = 2
_REPEATED = re.compile(r"(.+)\*([0-9]+)")
# Only one connection at a time can use one of these.
_EXCLUSIVE = ("serial", "labgrid")
# A board in QEMU notices within one firing that it shall stop; a silent serial port takes longer,
# and nobody who has pressed Ctrl-C waits for that.
_STOP_SECONDS = 3.0


@dataclass(frozen=True, eq=False)
class Reference:
    """What every output must equal. infer: what the model takes in one inference after the other ->
    the outputs of the last. jobs: from how many threads it may be called at a time."""

    name: str
    infer: Callable[[Sequence[Array]], list[Array]]
    jobs: int = 1


def host_reference(blob: Blob, jobs: int = 1) -> Reference:
    """The blob itself on this host."""
    edge, host = blob.inputs[0], host_of_thread(blob.data)

    def infer(inputs: Sequence[Array]) -> list[Array]:
        return _decoded(blob, _run(host(), [encode(edge, values) for values in inputs]))

    return Reference("host", infer, jobs)


def tflm_reference(blob: Blob, path: str | Path, jobs: int = 1) -> Reference:
    """The ``.tflite`` that the blob was compiled from, in TensorFlow Lite Micro. A stream's window
    is computed as one.

    jobs: how many processes may compute it, if that takes long.

    Raises: ToolError, ModelError.
    """
    tflm = TflmCrew(path, jobs)
    stream = blob.stream

    def infer(inputs: Sequence[Array]) -> list[Array]:
        taken = inputs if stream is None else [window_of(inputs, stream)]
        in_files = [[in_file(blob.inputs[0], values)] for values in taken]
        return tflm.infer_sequence(in_files, len(blob.outputs))

    return Reference("tflm", infer, jobs)


def _run(target: Target, inputs: Sequence[Int8Array]) -> Result:
    """One inference after the other; the last one's result."""
    for number, values in enumerate(inputs):
        result = target.infer([values], goes_on=number > 0)
    return result


def parse_targets(texts: Sequence[str]) -> tuple[str, ...]:
    """Targets as a user gives them -> one entry for each that is to be opened.

    Args:
        texts: each as ``open_target`` takes it, or ``all`` for the host and every board in QEMU;
            with ``*N`` behind it, N of them.

    Raises: UsageError: too many, or one twice that only one can use.
    """
    specs: list[str] = []
    for text in texts:
        match = _REPEATED.fullmatch(text)
        spec, number = (match[1], match[2]) if match else (text, "1")
        times = int(number) if len(number) <= len(str(_MOST_TARGETS)) else _MOST_TARGETS + 1
        if times == 0:
            raise UsageError(f"target {text!r}: give how many, 1 or more, behind the *")
        if len(specs) + times > _MOST_TARGETS:
            raise UsageError(f"target {text!r}: at most {_MOST_TARGETS} targets at a time")
        specs += (runnable_targets() if spec == ALL else (spec,)) * times
    for spec, times in Counter(specs).items():
        if times > 1 and spec.partition(":")[0] in _EXCLUSIVE:
            raise UsageError(f"target {spec!r} is given {times} times, but there is one of it")
    return tuple(specs)


def check(
    blob: Blob,
    dataset: Dataset,
    specs: Sequence[str],
    reference: Reference,
    *,
    each: bool = False,
    jobs: int = 1,
    progress: Progress = no_progress,
) -> Check:
    """Run a data set on one target or more, all at the same time.

    A target that cannot be opened, refuses the blob or is lost later is noted in its verdict; where
    the data set is shared out, the others do what it has not finished.

    Args:
        blob: a network with one input.
        specs: of the targets, see ``open_target``; at least one, several may be equal.
        reference: run once for each item.
        each: every target runs every item, two boards in QEMU for each processor at a
            time; otherwise an item is run once, by whichever target is free.
        jobs: threads of a target that is this host, and those that load items. What is found
            does not depend on it.
        progress: called from several threads, but never from two at the same time.

    Raises: InputError: another number of inputs, or an item that does not fit. UsageError,
        NarrowsError: no such target. Targets are closed before anything is raised.
    """
    if len(blob.inputs) != 1:
        raise InputError(
            f"{blob.name} has {len(blob.inputs)} inputs; check takes networks with one"
        )
    for spec in dict.fromkeys(specs):
        check_spec(spec)
    expected = _Expected(reference)
    meter = Meter(progress, len(dataset.items) * (len(specs) if each else 1))
    firsts: dict[str, _Worker] = {}
    crews: dict[int, list[_Worker]] = {}
    for wave in _waves(specs) if each else [range(len(specs))]:
        places = [i for i in wave for _ in range(jobs if specs[i] == "host" else 1)]
        desk = Desk([place if each else 0 for place in places])
        staff = []
        for number, place in enumerate(places):
            spec = specs[place]
            # The host compared with itself says nothing.
            is_compared = (spec, reference.name) != ("host", "host")
            worker = _Worker(number, spec, blob, is_compared, desk, meter, firsts.get(spec))
            crews.setdefault(place, []).append(worker)
            firsts.setdefault(spec, worker)
            staff.append(worker)
        # The reference is run for whom it is compared with; a data set is read by as many threads.
        needed = expected if any(worker.is_compared for worker in staff) else None
        threads = jobs if needed is None else reference.jobs
        _work_through(_tasks(blob, dataset, needed, threads), staff, desk)
    spans = [w.span for crew in crews.values() for w in crew if w.span is not None]
    return Check(
        model=blob.name,
        reference=reference.name,
        items=len(dataset.items),
        each=each,
        verdicts=tuple(
            _together([worker.verdict(name) for worker in crews[place]])
            for place, name in enumerate(_names(specs))
        ),
        wall_seconds=max(e for _, e in spans) - min(b for b, _ in spans) if spans else 0.0,
    )


def _together(crew: Sequence[Verdict]) -> Verdict:
    """The verdicts of the workers of one target as one."""
    checked = (one for verdict in crew for one in verdict.checked)
    rams = [v.ram_high_water_bytes for v in crew if v.ram_high_water_bytes is not None]
    return replace(
        crew[0],
        checked=tuple(sorted(checked, key=lambda one: one.item)),
        wall_seconds=sum(verdict.wall_seconds for verdict in crew) / len(crew),
        ram_high_water_bytes=max(rams, default=None),
        failure=next((v.failure for v in crew if v.failure is not None), None),
    )


def _waves(specs: Sequence[str]) -> list[list[int]]:
    """Which targets run every item at the same time, by their places in the list. Only so many are
    boards in QEMU; what costs this host little is in the first wave."""
    emulated = [i for i, spec in enumerate(specs) if is_emulated(spec)]
    others = [i for i, spec in enumerate(specs) if not is_emulated(spec)]
    most = _BOARDS_PER_PROCESSOR * (os.cpu_count() or 1)
    waves = [emulated[i : i + most] for i in range(0, len(emulated), most)] or [[]]
    return [others + waves[0], *waves[1:]]


def _work_through(tasks: Iterator[Task], workers: Sequence[_Worker], desk: Desk) -> None:
    """Hand out the data set to targets, until they have done what they can."""
    try:
        for worker in workers:
            worker.start()
        for task in tasks:
            if not desk.put(task):
                break
        desk.close()
        for worker in workers:
            worker.join()
    finally:
        desk.stop()
        for worker in workers:
            worker.end()
    for worker in workers:
        if worker.error is not None:
            raise worker.error


def _names(specs: Sequence[str]) -> list[str]:
    """The targets, with a number where several are equal."""
    times, seen = Counter(specs), Counter[str]()
    names = []
    for spec in specs:
        seen[spec] += 1
        names.append(f"{spec}#{seen[spec]}" if times[spec] > 1 else spec)
    return names


class _Expected:
    """What the reference gives for each item, computed once.

    Digests (SHA-256) take the place of outputs, which for segmentation maps would fill the memory.
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._digests: dict[int, bytes] = {}

    def of(self, item: int, inputs: Sequence[Array]) -> bytes:
        """The digest for an item. inputs: as the model takes them, one inference after another."""
        if item not in self._digests:
            self._digests[item] = _digest(self._reference.infer(inputs))
        return self._digests[item]


def _digest(outputs: Sequence[Array]) -> bytes:
    """Equal for outputs that are equal byte for byte, in type and number."""
    digest = hashlib.sha256()
    for values in outputs:
        digest.update(f"{values.dtype} {values.nbytes} ".encode())
        digest.update(values.tobytes())
    return digest.digest()


def _tasks(blob: Blob, dataset: Dataset, expected: _Expected | None, jobs: int) -> Iterator[Task]:
    """In the order of the items; the next ones are being loaded, and what is expected of them
    computed."""
    edge = blob.inputs[0]

    def load(numbered: tuple[int, Item]) -> Task:
        number, item = numbered
        inputs = load_sequence(blob, 0, item, dataset.name_of(number))
        label = None if dataset.labels is None else int(dataset.labels[number])
        digest = None if expected is None else expected.of(number, inputs)
        return Task(number, [encode(edge, values) for values in inputs], digest, label)

    return in_order(load, enumerate(dataset.items), jobs)


def _decoded(blob: Blob, result: Result) -> list[Array]:
    return [decode(e, v) for e, v in zip(blob.outputs, result.outputs, strict=True)]


def _rank(scores: Array, label: int) -> int:
    """How many classes have a higher score, or the same one and a lower number."""
    flat = scores.reshape(-1)
    if not 0 <= label < flat.size:
        return int(flat.size)  # a class that the model does not know is behind all others
    return int((flat > flat[label]).sum() + (flat[:label] == flat[label]).sum())


class _Worker(threading.Thread):
    """A target at work.

    number: at the desk. is_compared: with the reference.
    before: works on an equal target; None for the first of its kind. The first builds the firmware,
        and whoever waits for that finds it built.
    error: what the check must end with.
    span: when the first inference began and the last one ended; None if there was none.
    """

    def __init__(
        self,
        number: int,
        spec: str,
        blob: Blob,
        is_compared: bool,
        desk: Desk,
        meter: Meter,
        before: _Worker | None,
    ) -> None:
        # A daemon, because a board that has fallen silent shall not keep a process from ending.
        super().__init__(name=f"narrows {spec}", daemon=True)
        self.is_compared = is_compared
        self.opened = threading.Event()  # or could not be
        self.error: BaseException | None = None
        self.span: tuple[float, float] | None = None
        self._number = number
        self._spec = spec
        self._blob = blob
        self._desk = desk
        self._meter = meter
        self._before = before
        self._checked: list[Checked] = []
        self._wall_seconds = 0.0
        self._ram: int | None = None
        self._failure: str | None = None

    def run(self) -> None:
        try:
            if self._before is not None:
                self._before.opened.wait()
            self._work()
        except Stopped:
            pass
        except UsageError as error:
            self._end_all(error)
        except NarrowsError as error:
            self._failure = str(error)
        except BaseException as error:
            self._end_all(error)
        finally:
            self.opened.set()
            self._desk.leave(self._number)

    def end(self) -> None:
        """Wait until the target is closed. Others wait for places of a farm: so does this."""
        if self.ident is not None:
            self.join(None if self._spec.startswith("labgrid:") else _STOP_SECONDS)

    def verdict(self, name: str) -> Verdict:
        """Once it has ended."""
        return Verdict(
            name=name,
            spec=self._spec,
            checked=tuple(sorted(self._checked, key=lambda one: one.item)),
            classes=math.prod(self._blob.outputs[0].shape),
            wall_seconds=self._wall_seconds,
            ram_high_water_bytes=self._ram,
            failure=self._failure,
        )

    def _work(self) -> None:
        with open_target(
            self._spec, self._blob.data, self._progress, self._blob.signature
        ) as target:
            self.opened.set()
            while (task := self._desk.take(self._number)) is not None:
                began = time.monotonic()
                result = _run(target, task.inputs)
                ended = time.monotonic()
                self._checked.append(self._judge(task, result))
                self.span = (self.span[0] if self.span is not None else began, ended)
                self._wall_seconds += ended - began
                self._ram = max(self._ram or 0, result.ram_high_water_bytes)
                self._desk.done(self._number)
                self._meter.finished("checking")

    def _judge(self, task: Task, result: Result) -> Checked:
        outputs = _decoded(self._blob, result)
        return Checked(
            item=task.item,
            equal=_digest(outputs) == task.expected if self.is_compared else None,
            rank=None if task.label is None else _rank(outputs[0], task.label),
            instructions=result.instructions,
            seconds=result.seconds,
        )

    def _progress(self, what: str, done: float) -> None:
        """What the target tells. Raises: Stopped."""
        self._desk.check()
        if not self.opened.is_set():
            self._meter.opening(what, done)

    def _end_all(self, error: BaseException) -> None:
        self.error = error
        self._desk.stop()
