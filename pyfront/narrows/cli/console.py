# SPDX-License-Identifier: Apache-2.0
"""What the user sees: progress on stderr, tables and figures on stdout."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from narrows import result
from narrows.errors import UsageError
from narrows.graph.names import short_name

_PATIENCE_SECONDS = 1.0
_PLAIN_WIDTH = 200
# What is left is told by the speed of so long: steps of quantizing may take minutes each.
_SPEED_SECONDS = 600.0


@contextmanager
def progress_bar() -> Iterator[result.Progress]:
    """A bar on stderr for what takes longer than a second, with the time that has gone and that is
    left; nothing if that is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield result.no_progress
        return
    bar = Progress(
        *(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()),
        *(TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn()),
        console=console,
        transient=True,
        speed_estimate_period=_SPEED_SECONDS,
    )
    task = bar.add_task("", total=1.0)
    timer = threading.Timer(_PATIENCE_SECONDS, bar.start)
    timer.daemon = True
    timer.start()

    def report(what: str, done: float) -> None:
        bar.update(task, description=what, completed=done)

    try:
        yield report
    finally:
        timer.cancel()
        timer.join()
        bar.stop()


def part(progress: result.Progress, index: int, count: int) -> result.Progress:
    """Progress of part ``index`` of ``count`` equal ones, as progress of the whole."""
    return lambda what, done: progress(what, (index + done) / count)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; columns whose heading ends with ``>`` stand at the right."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        right = heading.endswith(">")
        table.add_column(heading.rstrip(">"), justify="right" if right else "left", no_wrap=right)
    for row in rows:
        table.add_row(*(str(value) for value in row))
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())


def count(value: int) -> str:
    """A number with commas."""
    return f"{value:,}"


def arena(memories: Sequence[int]) -> str:
    """Bytes of an arena, and what of them is in which memory if that is not all in the first."""
    parts = f" ({' + '.join(map(count, memories))})" if any(memories[1:]) else ""
    return f"arena {count(sum(memories))} B{parts}"


def stage_label(names: Sequence[str], stage: int) -> str:
    """What a stage computes, short."""
    return short_name(names[stage]) if stage < len(names) else ""


def warn(model: str, warnings: Iterable[str]) -> None:
    """Lines on stderr, whatever becomes of stdout."""
    for warning in warnings:
        print(f"narrows: warning: {model}: {warning}", file=sys.stderr)


def parse_numbers(option: str, text: str) -> list[float]:
    """Numbers with commas between. Raises: UsageError."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} {text!r}: give numbers, as in 127.5 or 0.5,0.5,0.5") from error
