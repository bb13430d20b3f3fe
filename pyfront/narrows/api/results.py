# SPDX-License-Identifier: Apache-2.0
"""What comes out of inferences: arrays and figures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from narrows import result
from narrows.api.items import Inputs, as_items
from narrows.blob import Blob
from narrows.data import Item, load_sequence
from narrows.errors import InputError
from narrows.graph.edges import Array, HostEdge, decode, encode, real
from narrows.graph.names import short_name
from narrows.notebook import table


@dataclass(frozen=True)
class Score:
    """A class and how sure the network is of it.

    Attributes:
        index: of the class.
        label: its name, ``class N`` if it is not known.
        score: a real value, as the model's output stands for it.
    """

    index: int
    label: str
    score: float


@dataclass(frozen=True)
class StageCost:
    """What one stage of an inference costs.

    Attributes:
        stage: its number in the blob.
        operator: what kind it is.
        name: of the tensor that it computes; "" if it is not known.
        cost: instructions on emulated boards, seconds elsewhere.
    """

    stage: int
    operator: str
    name: str
    cost: float


@dataclass(frozen=True, eq=False)
class Profile:
    """The cost of each stage of one inference.

    Attributes:
        target: where it ran.
        unit: ``instructions`` or ``seconds``.
        stages: in the order of the blob.
    """

    target: str
    unit: str
    stages: tuple[StageCost, ...]

    @property
    def total(self) -> float:
        """The cost of all stages."""
        return sum(stage.cost for stage in self.stages)

    def _repr_html_(self) -> str:
        whole = self.total or 1.0
        counted = self.unit == "instructions"
        rows = [
            (
                s.stage,
                s.operator,
                short_name(s.name) if s.name else "",
                f"{s.cost:,.0f}" if counted else f"{1e3 * s.cost:.3f}",
                f"{s.cost / whole:.1%}",
            )
            for s in self.stages
        ]
        unit = "instructions>" if counted else "ms>"
        return table(("stage>", "operator", "what", unit, "share>"), rows, self.target)


@dataclass(frozen=True, eq=False)
class Result:
    """One inference; of a network that goes on, all inferences of a sequence.

    ``numpy.asarray(result)`` is ``result.output``.

    Attributes:
        target: where it ran.
        outputs: an array for each output, in the model's own types and shapes: the bytes that
            TensorFlow Lite Micro gives. Of a sequence the answers stand one behind the other along
            the first axis.
        arena_bytes: memory for tensors, as the blob says.
        ram_high_water_bytes: arena, state, row buffer, stack and, on a board, the link's buffers.
        stack_bytes: the part of it that is stack, as measured.
        instructions: of the (last) inference, on emulated boards; else None.
        seconds: of the (last) inference; None on emulated boards, whose time means nothing.
        inferences: how many there were, one behind the other.
    """

    target: str
    outputs: tuple[Array, ...]
    arena_bytes: int
    ram_high_water_bytes: int
    stack_bytes: int
    instructions: int | None
    seconds: float | None
    inferences: int
    _blob: Blob
    _last: result.Result

    @property
    def output(self) -> Array:
        """The first output, of most networks the only one."""
        return self.outputs[0]

    @property
    def floats(self) -> tuple[npt.NDArray[np.float32], ...]:
        """The outputs as real values: scale * (integer - zero_point)."""
        return tuple(
            real(edge, values)
            for edge, values in zip(self._blob.outputs, self.outputs, strict=True)
        )

    @property
    def last(self) -> tuple[Array, ...]:
        """The outputs of the last inference of a sequence; else ``outputs``."""
        return tuple(_decoded(self._blob, self._last))

    @property
    def profile(self) -> Profile:
        """The cost of each stage, if it was asked for; else without stages."""
        names = self._blob.stage_names
        unit = "seconds" if self._last.instructions is None else "instructions"
        stages = (
            StageCost(c.stage, c.op, names[c.stage] if c.stage < len(names) else "", c.cost)
            for c in self._last.profile
        )
        return Profile(self.target, unit, tuple(stages))

    @property
    def sha256(self) -> str:
        """The hash of the bytes of all outputs, in order."""
        return hashlib.sha256(b"".join(values.tobytes() for values in self.outputs)).hexdigest()

    def top(self, count: int = 5, labels: Sequence[str] | None = None) -> list[Score]:
        """The best classes of the first output of the last inference, the best first; equal ones
        in the order of the classes.

        Args:
            count: how many.
            labels: names of the classes; those of the blob if none are given.
        """
        edge, labels = self._blob.outputs[0], self._blob.labels if labels is None else labels
        values = real(edge, self.last[0])
        flat = _shares(values) if edge.elements == "int32" else values.ravel()
        order = np.argsort(-flat, kind="stable")[:count]
        return [
            Score(int(i), labels[i] if i < len(labels) else f"class {i}", float(flat[i]))
            for i in order
        ]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        array = np.asarray(self.output, dtype)
        return array.copy() if copy else array

    def _repr_html_(self) -> str:
        rows = [(score.label, f"{score.score:.6g}") for score in self.top()]
        return table(("class", "score>"), rows, f"{self._blob.name} on {self.target}")


class Results(Sequence[Result]):
    """Inferences that do not depend on each other, in the order of their inputs."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._results = tuple(results)

    @property
    def outputs(self) -> tuple[Array, ...]:
        """For each output of the network an array [n, ...], in the model's own type."""
        columns = zip(*(one.last for one in self._results), strict=True)
        return tuple(np.concatenate([np.atleast_1d(v) for v in column]) for column in columns)

    @property
    def output(self) -> Array:
        """The first output, [n, ...]."""
        return self.outputs[0]

    @property
    def floats(self) -> tuple[npt.NDArray[np.float32], ...]:
        """As ``outputs``, as real values."""
        edges: tuple[HostEdge, ...] = self._results[0]._blob.outputs
        return tuple(real(edge, v) for edge, v in zip(edges, self.outputs, strict=True))

    @overload
    def __getitem__(self, index: int) -> Result: ...

    @overload
    def __getitem__(self, index: slice) -> Results: ...

    def __getitem__(self, index: int | slice) -> Result | Results:
        if isinstance(index, slice):
            return Results(self._results[index])
        return self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> Array:
        return np.asarray(self.output, dtype)


def given_sequence(blob: Blob, inputs: Inputs) -> list[list[Array]]:
    """For each inference an int8 array per input, as the runtime takes it. Raises: InputError."""
    return read_sequence(blob, as_items(inputs, [edge.name for edge in blob.inputs]))


def read_sequence(
    blob: Blob, items: Sequence[Item], names: Sequence[str] = ()
) -> list[list[Array]]:
    """The same of one item for each input. names: what errors call them. Raises: InputError."""
    columns = [
        load_sequence(blob, number, item, *names[number : number + 1])
        for number, item in enumerate(items)
    ]
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        raise InputError(
            f"{blob.name}: {lengths} inputs, one after the other; give as many of each"
        )
    return [
        [encode(edge, values) for edge, values in zip(blob.inputs, inputs, strict=True)]
        for inputs in zip(*columns, strict=True)
    ]


def infer(
    blob: Blob,
    target: result.Target,
    sequence: Sequence[Sequence[Array]],
    profile: bool = False,
    progress: result.Progress = result.no_progress,
) -> Result:
    """Run one inference after the other, where a blob is ready to run.

    Raises: NarrowsError.
    """
    found = []
    for number, tensors in enumerate(sequence):
        progress("inference", (number + 1) / len(sequence))
        found.append(target.infer(tensors, profile, goes_on=number > 0))
    last = found[-1]
    return Result(
        target=target.name,
        outputs=tuple(_joined(blob, found)),
        arena_bytes=last.arena_bytes,
        ram_high_water_bytes=last.ram_high_water_bytes,
        stack_bytes=last.stack_bytes,
        instructions=last.instructions,
        seconds=last.seconds,
        inferences=len(found),
        _blob=blob,
        _last=last,
    )


def _joined(blob: Blob, results: Sequence[result.Result]) -> list[Array]:
    """What the model gives: of several inferences with the answer of each, one behind the other."""
    answers = [_decoded(blob, one) for one in results]
    if len(answers) == 1:
        return answers[0]
    return [
        np.concatenate([np.atleast_1d(values) for values in of_one])
        for of_one in zip(*answers, strict=True)
    ]


def _decoded(blob: Blob, found: result.Result) -> list[Array]:
    return [decode(edge, v) for edge, v in zip(blob.outputs, found.outputs, strict=True)]


def _shares(numbers: Array) -> npt.NDArray[Any]:
    """Which part of the numbers, which are those of classes, each class is."""
    counts: Array = np.bincount(numbers.astype(np.int64).ravel())
    shares: Array = counts / numbers.size
    return shares
