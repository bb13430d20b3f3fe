# SPDX-License-Identifier: Apache-2.0
"""Networks of the same bytes in the same order whose tensors have another height and width.

The planner streams along the height. A tensor of height 1 has its bytes in the same order if its
width is taken for the height; so a network over time that a file spells with the time along the
width, as Keras does, can stream along the time. The numbers are the same, each computed from the
same operands in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from narrows.graph.moves import Reshape, Slice, Transpose
from narrows.graph.qgraph import (
    MAX_COVERED,
    Axis,
    QArgMax,
    QConcat,
    QConv,
    QDepthwise,
    QElementwise,
    QGraph,
    QLookup,
    QMatMul,
    QMean,
    QOp,
    QPad,
    QPool,
    QResize,
    QSoftmax,
    QTensor,
    renamed,
    without_unused,
)
from narrows.quantization.verify import verify_qgraph

# These see their input and their output as elements in a row.
_OF_BYTES = (Reshape, Transpose)
# These are the same with width for height, if the height is 1.
_OF_PIXELS = (QElementwise, QMatMul, QArgMax, QSoftmax, QLookup, *_OF_BYTES)
_WORD = 4
_PART = 64
"""Elements of a flat input that come at a time, at most."""

_AXES = {Axis.HEIGHT: Axis.WIDTH, Axis.WIDTH: Axis.HEIGHT, Axis.CHANNELS: Axis.CHANNELS}


def arrangements(graph: QGraph) -> tuple[QGraph, ...]:
    """All that are worth planning; the first is the one that can be had in the least RAM, others
    may be faster."""
    plain = _at_inputs(graph)
    found = dict[QGraph, None]()
    for base in dict.fromkeys((_in_parts(plain), plain)):
        found |= dict.fromkeys((_upright(base), base))
    for arrangement in found:
        verify_qgraph(arrangement)
    return tuple(found)


def over_time(graph: QGraph) -> QGraph:
    """The one in which a network over time has the time along the height, from its input on."""
    arrangement = _upright(_in_parts(_at_inputs(graph), inputs=False))
    verify_qgraph(arrangement)
    return arrangement


# --- Shapes that only inputs have --------------------------------------------------------------


def _at_inputs(graph: QGraph) -> QGraph:
    """Without the RESHAPE of an input: its tensor has that shape from the start, and is streamed
    in it."""
    tensors, ops = list(graph.tensors), list(graph.ops)
    ends = graph.ends
    for edge in graph.inputs:
        readers = [op for op in ops if edge.tensor in op.inputs]
        if edge.tensor in ends or len(readers) != 1 or not isinstance(readers[0], Reshape):
            continue
        (reader,) = readers
        if reader.output in ends:
            continue
        tensors[edge.tensor] = _shaped(tensors[edge.tensor], tensors[reader.output])
        ops.remove(reader)
        ops = [renamed(op, {reader.output: edge.tensor}) for op in ops]
    return without_unused(replace(graph, tensors=tuple(tensors), ops=tuple(ops)))


def _shaped(tensor: QTensor, other: QTensor) -> QTensor:
    return replace(tensor, height=other.height, width=other.width, channels=other.channels)


# --- Fully connected layers --------------------------------------------------------------------


def _in_parts(graph: QGraph, inputs: bool = True) -> QGraph:
    """With rows of pixels for what fully connected layers read as one pixel: of what a RESHAPE
    flattened, its own; of an input, parts of it, if those may be taken apart. So they can add up
    what each row gives."""
    tensors, ops = list(graph.tensors), list(graph.ops)
    edges = {edge.tensor for edge in graph.inputs} | graph.ends
    for place, op in enumerate(ops):
        if not isinstance(op, QConv) or not _maps_one_pixel(graph, op):
            continue
        (flat,) = op.inputs
        if sum(flat in other.inputs for other in ops) > 1 or tensors[flat].live is not None:
            continue
        maker = next((other for other in ops if other.output == flat), None)
        if isinstance(maker, Reshape) and flat not in edges:
            if _is_countable(tensors[maker.inputs[0]]):
                ops[place] = _over(tensors[maker.inputs[0]], replace(op, inputs=maker.inputs))
                ops[ops.index(maker)] = ops[place]
        elif inputs and _is_input(graph, flat) and _is_countable(tensors[flat]):
            part = max(n for n in range(_WORD, _PART + 1, _WORD) if tensors[flat].channels % n == 0)
            rows = tensors[flat].channels // part
            tensors[flat] = replace(tensors[flat], height=rows, channels=part)
            ops[place] = _over(tensors[flat], op)
    if ops == list(graph.ops):
        return graph
    return without_unused(replace(graph, tensors=tuple(tensors), ops=tuple(dict.fromkeys(ops))))


def _is_input(graph: QGraph, tensor: int) -> bool:
    return any(edge.tensor == tensor for edge in graph.inputs)


def _maps_one_pixel(graph: QGraph, op: QConv) -> bool:
    source, out = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    return op.weights.shape[1:3] == (1, 1) and source.bytes == source.channels and out.width == 1


def _is_countable(tensor: QTensor) -> bool:
    """Whether a convolution may add up what its rows give."""
    return tensor.channels % _WORD == 0 and tensor.bytes <= MAX_COVERED


def _over(source: QTensor, op: QConv) -> QConv:
    """The layer with these rows of pixels for its input."""
    shape = (len(op.weights), source.height, source.width, source.channels)
    return replace(op, weights=op.weights.reshape(shape))


# --- Width for height --------------------------------------------------------------------------


def _upright(graph: QGraph) -> QGraph:
    """With width for height wherever operators pass on tensors of height 1."""
    turned = {t for part in _parts(graph) if _lies(graph, part) for t in part}
    if not turned:
        return graph
    tensors = [_turned_tensor(t) if i in turned else t for i, t in enumerate(graph.tensors)]
    ops = [_turned(op) or op if _among(op, turned) else op for op in graph.ops]
    return replace(graph, tensors=tuple(tensors), ops=tuple(ops))


def _parts(graph: QGraph) -> Iterator[set[int]]:
    """Tensors of more than a pixel that operators and variables connect. What sees both sides as
    bytes in a row gives the same whatever the shape of either."""
    sides: list[tuple[int, ...]] = [(v.tensor, v.source) for v in graph.variables]
    for op in graph.ops:
        if isinstance(op, _OF_BYTES):
            sides += [op.inputs, (op.output,)]
        else:
            sides.append((*op.inputs, op.output))
    part_of: dict[int, set[int]] = {}
    for side in sides:
        joined = set[int]()
        for tensor in side:
            if graph.tensors[tensor].height * graph.tensors[tensor].width > 1:
                joined |= part_of.get(tensor, {tensor})
        part_of.update(dict.fromkeys(joined, joined))
    yield from {id(part): part for part in part_of.values()}.values()


def _lies(graph: QGraph, part: set[int]) -> bool:
    ops = [op for op in graph.ops if _among(op, part) and not isinstance(op, _OF_BYTES)]
    return all(graph.tensors[t].height == 1 for t in part) and None not in map(_turned, ops)


def _among(op: QOp, tensors: set[int]) -> bool:
    return not tensors.isdisjoint((*op.inputs, op.output))


def _turned_tensor(tensor: QTensor) -> QTensor:
    data = None if tensor.data is None else np.ascontiguousarray(tensor.data.swapaxes(0, 1))
    return replace(tensor, height=tensor.width, width=tensor.height, data=data)


def _turned(op: QOp) -> QOp | None:
    """The operator with width for height; None if there is no such one."""
    if isinstance(op, QConv):
        weights = np.ascontiguousarray(op.weights.swapaxes(1, 2))
        return _turned_window(replace(op, weights=weights, dilation=op.dilation[::-1]))
    if isinstance(op, QDepthwise):
        weights = np.ascontiguousarray(op.weights.swapaxes(0, 1))
        return _turned_window(replace(op, weights=weights, dilation=op.dilation[::-1]))
    if isinstance(op, QPool):
        return _turned_window(replace(op, kernel=op.kernel[::-1]))
    if isinstance(op, QMean):
        return replace(op, over_height=op.over_width, over_width=op.over_height)
    if isinstance(op, QConcat):
        return replace(op, axis=_AXES[op.axis])
    if isinstance(op, QResize):
        return replace(op, rows=op.cols, cols=op.rows)
    if isinstance(op, QPad):
        return replace(op, before=_swapped(op.before))
    if isinstance(op, Slice):
        return replace(op, begin=_swapped(op.begin), stride=_swapped(op.stride))
    return op if isinstance(op, _OF_PIXELS) else None


def _turned_window(op: QConv | QDepthwise | QPool) -> QOp:
    return replace(op, stride=op.stride[::-1], pad=op.pad[::-1])


def _swapped(values: tuple[int, int, int]) -> tuple[int, int, int]:
    return values[1], values[0], values[2]
