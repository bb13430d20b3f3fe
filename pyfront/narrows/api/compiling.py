# SPDX-License-Identifier: Apache-2.0
"""``narrows.compile``: an int8 network becomes a blob, which runs here and on boards."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from narrows import budget
from narrows.api.items import Data, Inputs, as_datasets, as_jobs
from narrows.api.model import Model, Port, as_model, imported, stored_metadata
from narrows.api.planning import EffortName, LayoutName, Plan, plan_options
from narrows.api.results import Profile, Result, Results, given_sequence, infer, read_sequence
from narrows.blob import Blob as Parsed
from narrows.blob import parse_blob
from narrows.boards import Board, load_board
from narrows.compiler import Compiled, CompileOptions, compile_graph, pack_plan
from narrows.errors import PlanError, UsageError
from narrows.files import read_file, write_file
from narrows.graph.preprocessing import Preprocessing
from narrows.jobs import in_order
from narrows.native import Layout
from narrows.notebook import table
from narrows.planning import PlanOptions, Tiling
from narrows.planning.ram import ram_of_blob
from narrows.result import Progress, Target, no_progress


class Blob:
    """One file with network, memory plan and weights: made by ``compile`` and ``load_blob``.

    It is never changed, and any number of threads may run it at the same time.

    Attributes:
        data: the file's bytes.
        figures: what is known of it, by name, as ``narrows compile --json`` writes it; of a blob
            from a file what that says.
        warnings: what you should know of it, a line each.
    """

    def __init__(
        self, data: bytes, parsed: Parsed, report: Mapping[str, Any] | None = None
    ) -> None:
        self.data = data
        self.figures = dict(report) if report is not None else _figures(parsed)
        self.warnings: tuple[str, ...] = tuple(self.figures.get("warnings", ()))
        self._parsed = parsed
        self._of_thread = threading.local()

    @property
    def name(self) -> str:
        """The network's name."""
        return self._parsed.name

    @property
    def arena_bytes(self) -> int:
        """Memory for tensors, exact."""
        return self._parsed.model.arena_bytes

    @property
    def arena_by_memory(self) -> tuple[int, ...]:
        """The same in each of a chip's memories, the fastest first."""
        return self._parsed.header.bytes_by_memory

    @property
    def ram_bytes(self) -> int:
        """All RAM that a run needs on a 32-bit chip, beside its stack: arena, alignment slack,
        state, counters and the row that the caller fills."""
        return ram_of_blob(self._parsed.model)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference, repeats included."""
        return self._parsed.header.macs

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What it takes, in order."""
        return tuple(map(Port.of, self._parsed.inputs))

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What it gives, in order."""
        return tuple(map(Port.of, self._parsed.outputs))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes of the first output; () if they are not known."""
        return self._parsed.labels

    @property
    def preprocessing(self) -> Preprocessing | None:
        """How pictures become its input; None if nothing is said of it."""
        return self._parsed.preprocessing

    def save(self, path: str | Path) -> None:
        """Write the file; it is whole there, or not at all.

        Raises:
            NarrowsError: the place cannot be written.
        """
        write_file(path, self.data)

    def run(self, inputs: Inputs, *, profile: bool = False) -> Result:
        """Run once on this computer, by the C code that boards run.

        Args:
            inputs: an array of the model's own type, or of floats, which are quantized, in the
                input's shape (leading ones may be left out); an array of uint8 that is a picture,
                if the model says how pictures are prepared; or the path of a picture or an
                ``.npy`` file. Of a network with several inputs a mapping from their names. Of
                one that goes on from one inference to the next a sequence, with a dimension
                before all others.
            profile: whether the result has the cost of each stage.

        Raises:
            InputError: something that does not fit: another shape or type, or no numbers.
        """
        return infer(self._parsed, self._target(), given_sequence(self._parsed, inputs), profile)

    def run_many(
        self, data: Data, *, jobs: int | None = None, progress: Progress = no_progress
    ) -> Results:
        """Run many inputs, each by itself.

        Args:
            data: an array [n, ...], a sequence of what ``run`` takes, or the path of a data set;
                of a network with several inputs a mapping from their names to arrays [n, ...].
            jobs: how many threads compute; as many as there are processors if None. The results
                do not depend on it.
            progress: called, by this thread, with how much is done, 0 to 1.

        Raises:
            InputError: an item that does not fit, or no items.
        """
        columns = as_datasets(data, [port.name for port in self.inputs])
        count, found = len(columns[0].items), list[Result]()
        work = zip(*(column.items for column in columns), strict=True)

        def one(numbered: tuple[int, tuple[Any, ...]]) -> Result:
            number, items = numbered
            names = [column.name_of(number) for column in columns]
            sequence = read_sequence(self._parsed, items, names)
            return infer(self._parsed, self._target(), sequence)

        for result in in_order(one, enumerate(work), as_jobs(jobs)):
            found.append(result)
            progress("running", len(found) / count)
        return Results(found)

    def profile(self, inputs: Inputs) -> Profile:
        """Run once and measure the seconds of each stage.

        Args:
            inputs: as ``run`` takes them.

        Raises:
            InputError: something that does not fit.
        """
        return self.run(inputs, profile=True).profile

    def _target(self) -> Target:
        """The calling thread's own."""
        if not hasattr(self._of_thread, "host"):
            from narrows.targets import HostTarget  # with all that reaches boards; not to compile

            self._of_thread.host = HostTarget(self._parsed.data)
        host: Target = self._of_thread.host
        return host

    def __repr__(self) -> str:
        return (
            f"<narrows.Blob {self.name}: {len(self.data):,} B, arena {self.arena_bytes:,} B, "
            f"RAM {self.ram_bytes:,} B>"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("blob", f"{len(self.data):,} B"),
            ("arena", f"{self.arena_bytes:,} B"),
            ("RAM", f"{self.ram_bytes:,} B"),
            ("multiply-accumulates", f"{self.macs:,}"),
        ]
        for kind, ports in (("input", self.inputs), ("output", self.outputs)):
            rows += [(kind, f"{p.name}: {p.dtype} {'x'.join(map(str, p.shape))}") for p in ports]
        return table(("", self.name), rows)


def compile(
    model: Model | str | Path,
    *,
    ram: int | str | None = None,
    board: str | None = None,
    layout: LayoutName | None = None,
    plan: Plan | None = None,
    slice: int | None = None,
    stream: int | None = None,
    effort: EffortName = "normal",
    labels: Sequence[str] | None = None,
    preprocessing: Preprocessing | str | None = None,
    detection: Mapping[str, Any] | None = None,
    progress: Progress = no_progress,
) -> Blob:
    """Compile an int8 network to a blob.

    Args:
        model: an int8 network, or the path of one.
        ram: take the fastest plan that needs so much RAM in all, in bytes or as ``"64K"``; None:
            the least RAM that computes nothing twice.
        board: to fit, by its name (``narrows boards``): its memories, layout and kernels count.
        layout: order of the weights; the board's, else plain, if None.
        plan: the one to take, of the front of this very model; ``ram``, ``slice``, ``stream``,
            ``layout`` and ``effort`` are then not to be given.
        slice: channels of a bottleneck computed at a time, instead of the planner's choice.
        stream: for a network over time whose windows overlap: how many rows of its input are new
            in each inference.
        effort: how long to look for a better plan: ``fast``, ``normal`` or ``best``.
        labels, preprocessing, detection: stored with the blob; see ``quantize``.
        progress: called with what is being done and how much of all is done, 0 to 1.

    Raises:
        ModelError: the model cannot be compiled; a float one is to be quantized first.
        PlanError: no plan keeps the budget, or the board has no room for the blob.
        UsageError: an argument that makes no sense.
        NarrowsError: there is no such board.
    """
    model = as_model(model)
    known = None if board is None else load_board(board)
    metadata = {**model.metadata, **stored_metadata(labels, preprocessing, detection)}
    if plan is not None:
        if any(value is not None for value in (ram, layout, slice, stream)):
            raise UsageError("plan: it says all of ram, layout, slice and stream; leave them out")
        compiled = _packed(model, plan, metadata)
    else:
        how = _tiled(plan_options(ram, known, layout, effort), slice)
        progress("import", 0.0)
        graph = imported(model)
        options = CompileOptions(how, metadata, stream)
        compiled = compile_graph(graph, options, progress, model.place)
    return _finished(model, compiled, known)


def load_blob(path: str | Path) -> Blob:
    """Read a blob's file, signed or not.

    Raises:
        NarrowsError: it cannot be read.
        BlobError: it is no blob, damaged, or of another version.
    """
    data = read_file(path, "blob")
    return Blob(data, parse_blob(data, str(path)))


def parsed(blob: Blob) -> Parsed:
    """What is in it, for targets."""
    return blob._parsed


def _tiled(options: PlanOptions, slice: int | None) -> PlanOptions:
    if slice is None:
        return options
    if slice < 1:
        raise UsageError(f"slice {slice}: give 1 or more")
    return replace(options, tiling=Tiling(slice=slice))


def _packed(model: Model, plan: Plan, metadata: dict[str, Any]) -> Compiled:
    if plan.model is not model:
        raise UsageError("plan: it is of another model; take one of narrows.plan(model)")
    choice = plan._choice
    return pack_plan(choice.graph, choice.plan, metadata, imported(model).warnings)


def _finished(model: Model, compiled: Compiled, board: Board | None) -> Blob:
    """Raises: BlobError: what its readers refuse is no result. PlanError: no room on the board."""
    contents = parse_blob(compiled.blob, model.place)
    if board is not None and len(compiled.blob) > board.models.room:
        raise PlanError(
            f"{model.place}: the blob has {len(compiled.blob):,} B, but board {board.name} has "
            f"room for {board.models.room:,} B; take a smaller model"
        )
    report = compiled.report
    predicted = report["predicted"]
    seconds = budget.predicted_seconds(
        predicted["instructions"], board, Layout(compiled.plan.layout)
    )
    if seconds is not None:
        predicted["milliseconds"] = 1e3 * seconds
    return Blob(compiled.blob, contents, report)


def _figures(contents: Parsed) -> dict[str, Any]:
    """What a blob says of itself, by the names that compile has."""
    model, header = contents.model, contents.header
    return {
        "name": contents.name,
        "arena_bytes": model.arena_bytes,
        "ram_bytes": ram_of_blob(model),
        "macs": header.macs,
        "input_passes": header.input_passes,
        "max_step_work": header.max_step_work,
        "blob_bytes": header.blob_bytes,
        "stages": len(model.stages),
    }
