# SPDX-License-Identifier: Apache-2.0
"""A network over time whose windows overlap, as one that takes only what is new.

A window is the height of the input: the newest row of a sequence without an end, and those before
it. When it moves on by some rows, most rows of every layer are those of the window before, moved.
Here each layer computes its new rows alone; the rows before them that its kernel reaches are a
variable (graph.qgraph.QVariable), to which the new ones are appended.

    window of 6 rows, kernel of 3, 1 new row in each inference

    inference 8           | 3  4 |  5 |          variable | new row of the input
                            \\____ ____/
                                 3                new row of the layer
    inference 9           | 4  5 |  6 |

A layer that sees all rows of a window (a mean, a fully connected layer, an operator that mixes rows
otherwise than by a moving kernel) has a whole window of its input before it; what follows it is
computed anew each time, as in the network of the window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd
from typing import NamedTuple

import numpy as np

from narrows.errors import PlanError
from narrows.graph.moves import Reshape, Slice, SpaceToDepth, Transpose
from narrows.graph.names import short_name
from narrows.graph.qgraph import (
    Axis,
    Edge,
    QArgMax,
    QConcat,
    QConv,
    QDepthwise,
    QElementwise,
    QGraph,
    QLookup,
    QMean,
    QOp,
    QPad,
    QPool,
    QResize,
    QSoftmax,
    QTensor,
    QVariable,
    renamed,
    without_unused,
)
from narrows.graph.sequences import Stream
from narrows.quantization.verify import verify_qgraph


@dataclass(frozen=True)
class Streaming:
    """A network that goes on from one inference to the next.

    sequence: which rows of its window are new.
    padded: outputs of operators that pad the window along its height. They have the rows before the
        window in the place of the padding above, and the rows that a padding below would be in
        are left for later windows; so the answer is not that of the window by itself.
    anew: outputs of convolutions that compute their whole window each time.
    late: of each output of the network, how many of the rows that the window's network gives come
        after the newest row; each waits for rows of the input that a padding below would be in.
    """

    graph: QGraph
    sequence: Stream
    padded: tuple[str, ...]
    anew: tuple[str, ...]
    late: tuple[int, ...]

    @property
    def fills(self) -> int:
        """Inferences until the window is full. Before, the rows that are missing are zero points:
        what a sequence is padded with."""
        return -(-self.sequence.window // self.sequence.rows)


def streaming(graph: QGraph, rows: int) -> Streaming:
    """The network that takes ``rows`` new rows of its window in each inference.

    Raises: PlanError: it has no such window, or its strides do not divide the rows.
    """
    if graph.variables:
        raise PlanError(f"--stream {rows}: the network has variables, so it is a stream already")
    first = _Build(graph, rows, {})
    first.run()
    build = _Build(graph, rows, first.reached)
    return build.run()


class _Series(NamedTuple):
    """A tensor that goes on: it has so many new rows in each inference. late: how many rows of the
    window's tensor come after the newest of them."""

    tensor: int
    rows: int
    late: int


class _Window(NamedTuple):
    """Output row i is made of ``size`` rows of the input, from ``i * stride - pad`` on."""

    size: int = 1
    stride: int = 1
    pad: int = 0


class _Build:
    """The new network in the making.

    longest: of each tensor of the graph, how many rows are reached at once; what is not in it is
        found out as the network is made, and then in ``reached``.
    """

    def __init__(self, graph: QGraph, rows: int, longest: dict[int, int]) -> None:
        self._graph = graph
        self._rows = rows
        self._longest = longest
        self.reached: dict[int, int] = {}
        self._tensors = list(graph.tensors)
        self._ops: list[QOp] = []
        self._variables: list[QVariable] = []
        self._series: dict[int, _Series] = {}
        self._rings: dict[int, int] = {}
        self._padded: list[str] = []
        self._anew: list[str] = []

    def run(self) -> Streaming:
        window = self._begin()
        for op in self._graph.ops:
            self._add(op)
        made = replace(
            self._graph,
            tensors=tuple(self._tensors),
            ops=tuple(self._ops),
            inputs=tuple(map(self._edge, self._graph.inputs)),
            outputs=tuple(map(self._edge, self._graph.outputs)),
            variables=tuple(self._variables),
        )
        made = without_unused(made)
        verify_qgraph(made)
        sequence = Stream(self._rows, window, tuple(edge.shape for edge in self._graph.inputs))
        going_on = (self._series.get(edge.tensor) for edge in self._graph.outputs)
        late = tuple(0 if series is None else series.late for series in going_on)
        return Streaming(made, sequence, tuple(self._padded), tuple(self._anew), late)

    def _begin(self) -> int:
        """The inputs. Returns the height of the window."""
        heights = {self._graph.tensors[edge.tensor].height for edge in self._graph.inputs} - {1}
        if len(heights) != 1:
            found = ", ".join(f"{edge.name} {list(edge.shape)}" for edge in self._graph.inputs)
            raise PlanError(
                f"--stream {self._rows}: the time runs along the height of the inputs, which is "
                f"not one window here: {found}"
            )
        (window,) = heights
        if not 1 <= self._rows < window:
            raise PlanError(
                f"--stream {self._rows}: give how many of the {window} rows of a window are new, 1 "
                f"to {window - 1}"
            )
        for edge in self._graph.inputs:
            if self._graph.tensors[edge.tensor].height > 1:
                new = self._tensor(self._graph.tensors[edge.tensor], self._rows)
                self._series[edge.tensor] = _Series(new, self._rows, 0)
        return window

    def _tensor(self, like: QTensor, height: int, **changes: object) -> int:
        self._tensors.append(replace(like, height=height, **changes))  # type: ignore[arg-type]
        return len(self._tensors) - 1

    def _edge(self, edge: Edge) -> Edge:
        series = self._series.get(edge.tensor)
        if series is None:
            return edge
        height = self._graph.tensors[edge.tensor].height
        # The time is the outermost dimension, so it is part of the first that is not 1.
        at = next(i for i, n in enumerate(edge.shape) if n > 1)
        if edge.shape[at] % height:
            raise PlanError(
                f"--stream {self._rows}: {edge.name} has shape {list(edge.shape)}, in which the "
                f"{height} rows of the window are no dimension"
            )
        shape = list(edge.shape)
        shape[at] = shape[at] // height * series.rows
        return replace(edge, tensor=series.tensor, shape=tuple(shape))

    # --- Operators ------------------------------------------------------------------------------

    def _add(self, op: QOp) -> None:
        streams = [i for i in op.inputs if i in self._series]
        if not streams:
            self._copy(op, {})
            return
        window = self._window(op)
        late = max(self._series[i].late for i in streams)
        if window is None:
            whole = {
                i: self._reach(i, self._graph.tensors[i].height, late - self._series[i].late)
                for i in streams
            }
            self._copy(op, whole)
        else:
            self._move_on(op, window, late)

    def _copy(self, op: QOp, names: dict[int, int]) -> None:
        """The operator over its whole window."""
        self._ops.append(renamed(op, {**names, op.output: op.output}))
        high = any(self._graph.tensors[i].height > 1 for i in op.inputs)
        output = self._graph.tensors[op.output]
        if high and output.height > 1 and isinstance(op, (QConv, QDepthwise)):
            self._anew.append(output.name)

    def _move_on(self, op: QOp, window: _Window, late: int) -> None:
        """The operator over its new rows."""
        first = next(i for i in op.inputs if i in self._series)
        source, output = self._graph.tensors[first], self._graph.tensors[op.output]
        size, stride, pad = window
        made = op.output
        if output.height == 1:
            rows = 1
            left = max(0, source.height - late - size + pad)
        else:
            rows = self._rows_of(output, self._series[first].rows, stride)
            last = (source.height - late - size + pad) // stride
            out_late = max(0, output.height - 1 - last)
            end = (output.height - 1 - out_late) * stride - pad + size
            left = source.height - late - end
            behind = (output.height - 1) * stride - pad + size - source.height
            if pad > 0 or behind > 0:
                self._padded.append(output.name)
            made = self._tensor(output, rows)
            self._series[op.output] = _Series(made, rows, out_late)
        height = (rows - 1) * stride + size
        # A kernel that moves on does not look at rows that are behind its last place.
        kernel = isinstance(op, (QConv, QDepthwise, QPool, Slice))
        names = {
            i: self._reach(i, height, left + late - self._series[i].late, more=kernel)
            for i in op.inputs
            if i in self._series
        }
        self._ops.append(_of_new_rows(renamed(op, {**names, op.output: made}), rows))

    def _rows_of(self, output: QTensor, rows: int, stride: int) -> int:
        if rows % stride:
            least = self._rows * stride // gcd(rows, stride)
            raise PlanError(
                f"--stream {self._rows}: {short_name(output.name)} takes one of "
                f"{stride} rows, of which {rows} are new; give a multiple of {least}"
            )
        return rows // stride

    def _window(self, op: QOp) -> _Window | None:
        """How an operator's rows come from its input's; None if it has to see all of them."""
        sources = [self._graph.tensors[i] for i in op.inputs]
        output = self._graph.tensors[op.output]
        match op:
            case QConv() | QDepthwise():
                kernel = op.weights.shape[1 if isinstance(op, QConv) else 0]
                window = _Window(op.dilation[0] * (kernel - 1) + 1, op.stride[0], op.pad[0])
            case QPool():
                window = _Window(op.kernel[0], op.stride[0], op.pad[0])
            case QPad():
                window = _Window(pad=op.before[0])
            case Slice():
                window = _Window(1, op.stride[0], -op.begin[0])
            case SpaceToDepth():
                window = _Window(op.block, op.block)
            case _:
                return _Window() if self._is_by_row(op, sources, output) else None
        if output.height == 1 and not 0 <= -window.pad <= sources[0].height - window.size:
            return None  # a window that has rows of padding, in the only place that it has
        return window

    def _is_by_row(self, op: QOp, sources: list[QTensor], output: QTensor) -> bool:
        """Whether row i of its output is made of row i of what goes on, and of nothing else that
        changes from row to row."""
        height = sources[0].height
        match op:
            case QLookup() | QSoftmax() | QArgMax():
                return True
            case QMean():
                return not op.over_height
            case QElementwise():
                return all(
                    i in self._series or (t.data is not None and t.height == 1)
                    for i, t in zip(op.inputs, sources, strict=True)
                )
            case QConcat():
                return op.axis is not Axis.HEIGHT and all(i in self._series for i in op.inputs)
            case Reshape():
                return output.height == height
            case Transpose():
                kept = op.sizes[0] == height and op.order[0] == 0
                return kept and output.height == height
            case QResize():
                return np.array_equal(op.rows, [[row, 0] for row in range(height)])
        return False

    # --- Rows that were before ------------------------------------------------------------------

    def _reach(self, old: int, rows: int, late: int, more: bool = False) -> int:
        """A tensor of so many rows, the last of which came ``late`` rows before the newest one.
        more: it may also have those behind it."""
        series = self._series[old]
        total = rows + late
        self.reached[old] = max(self.reached.get(old, 0), total)
        longest = max(total, self._longest.get(old, 0))
        source, has = series.tensor, series.rows
        if longest > series.rows:
            source, has = self._ring(old, longest), longest
        if has == total and (late == 0 or more):
            return source
        cut = self._tensor(self._graph.tensors[old], rows)
        self._ops.append(Slice((source,), cut, (has - total, 0, 0), (1, 1, 1)))
        return cut

    def _ring(self, old: int, longest: int) -> int:
        """The new rows behind a variable, so many in all."""
        if old not in self._rings:
            like, series = self._graph.tensors[old], self._series[old]
            height = longest - series.rows
            data = np.full((height, like.width, like.channels), like.zero_point, np.int8)
            past = self._tensor(like, height, name=f"{like.name} (past)", data=data)
            ring = self._tensor(like, longest)
            self._ops.append(QConcat((past, series.tensor), ring, Axis.HEIGHT))
            self._variables.append(QVariable(past, ring, series.rows))
            self._rings[old] = ring
        return self._rings[old]


def _of_new_rows(op: QOp, rows: int) -> QOp:
    """The operator for so many rows of output, from the first row of its input on."""
    match op:
        case QConv() | QDepthwise() | QPool():
            return replace(op, pad=(0, op.pad[1]))
        case QPad():
            return replace(op, before=(0, *op.before[1:]))
        case Slice():
            return replace(op, begin=(0, *op.begin[1:]))
        case Transpose():
            return replace(op, sizes=(rows, *op.sizes[1:]))
        case QResize():
            return replace(op, rows=op.rows[:rows])
    return op
