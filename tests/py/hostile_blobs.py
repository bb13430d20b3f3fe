# SPDX-License-Identifier: Apache-2.0
"""Blobs that nobody compiles: parameters at their ends, false plans, very many outputs."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

import numpy as np

from models import SHARED, missing
from narrows.errors import BlobError
from narrows.graph.qgraph import Axis, QGraph
from narrows.native import Form, max_step_work
from narrows.pack import pack
from narrows.planning import random_plan
from narrows.planning.plan import Plan
from narrows.planning.timeline import candidate, lay_out, simulated
from narrows.stages.records import (
    ELEMENT_BYTES,
    GEOMETRY,
    HEADER,
    MAGIC,
    MAJOR,
    MINOR,
    NONE,
    STAGE,
    TENSOR,
)
from narrows.stages.stage import Stage
from random_graphs import GraphBuilder

INPUT, OUTPUT, CONV, DEPTHWISE, MAX_POOL, LOOKUP = 0, 1, 2, 3, 7, 10
FOLDED = 2
OLD_ROLLING_DEPTHWISE = 16
OLD_GEOMETRY = struct.Struct("<HHBBBBHHbbH")


def sealed(blob: bytes, work: int | None = None) -> bytes:
    """The same with right checksums, of this major version. work: of a step; None: as it was."""
    data = bytearray(blob)
    struct.pack_into("<HH", data, 4, MAJOR, MINOR)
    if work is not None:
        struct.pack_into("<I", data, 44, work)
    struct.pack_into("<I", data, 72, zlib.crc32(data[80:]))
    struct.pack_into("<I", data, 76, zlib.crc32(data[:76]))
    return bytes(data)


def repaired(blob: bytes) -> bytes:
    """The same with max_step_work as it is, or 0 where the work is more than any blob may have."""
    draft = sealed(blob, 0)
    try:
        return sealed(draft, max_step_work(draft))
    except BlobError:
        return draft


def shared_case(name: str) -> bytes:
    """A blob of format 2 from the shared cases, as one of this format."""
    path = SHARED / "cases" / name
    if not path.exists():
        missing(str(path))
    return repaired(from_format_2(path.read_bytes()))


def from_format_2(old: bytes) -> bytes:
    """A blob of INPUT, OUTPUT, CONV, DEPTHWISE and MAX_POOL in the records of this format: wider
    parameters stand behind all else."""
    blob = bytearray(old)
    tensors, stages = struct.unpack_from("<HH", blob, 32)
    for at in range(HEADER.size, HEADER.size + tensors * TENSOR.size, TENSOR.size):
        blob[at + 22] = ELEMENT_BYTES
    for at in range(HEADER.size + tensors * TENSOR.size, len(blob), STAGE.size)[:stages]:
        op, flags, inputs, _ = blob[at : at + 4]
        folded = op == OLD_ROLLING_DEPTHWISE
        assert folded or (flags == 0 and op in (INPUT, OUTPUT, CONV, DEPTHWISE, MAX_POOL))
        op, form = (DEPTHWISE, FOLDED) if folded else (op, 0)
        blob[at : at + 4] = bytes((op, form, 0, inputs))
        if op not in (INPUT, OUTPUT):
            (params,) = struct.unpack_from("<I", blob, at + 16)
            *window, multiplier = OLD_GEOMETRY.unpack_from(blob, params)
            rest = blob[params + OLD_GEOMETRY.size : params + OLD_GEOMETRY.size + 8]
            struct.pack_into("<I", blob, at + 16, len(blob))
            blob += GEOMETRY.pack(*window, multiplier, 1, 1, 1, 0) + rest
    blob += bytes(-len(blob) % 16)
    struct.pack_into("<I", blob, 8, len(blob))
    return bytes(blob)


# --- Parameters at their ends --------------------------------------------------------------


def _pools(build: GraphBuilder) -> list[int]:
    x = build.input(1, 500, 2)
    wide = [build.pool(x, average, (1, 999), (1, 1), same=True) for average in (False, True)]
    tall = build.pool(build.input(64, 3, 2), False, (64, 3), (1, 1), same=True)
    return [*wide, tall, build.pool(build.input(300, 2, 3), True, (300, 2), (1, 1), same=False)]


def _filters(build: GraphBuilder) -> list[int]:
    x = build.input(5, 80, 1)
    dilated = build.conv(x, 1, (2, 2), dilation=(2, 40))
    many = build.depthwise(build.input(3, 4, 2), (3, 3), depth_multiplier=300)
    wide = build.conv(build.input(2, 6, 3), 40, (2, 300))
    return [dilated, many, wide, build.depthwise(build.input(9, 9, 5), (3, 3), (2, 2))]


def _means(build: GraphBuilder) -> list[int]:
    x = build.input(40, 60, 3)
    return [build.mean(x, *over) for over in ((True, True), (True, False), (False, True))]


def _moves(build: GraphBuilder) -> list[int]:
    x = build.input(4, 6, 5)
    joined = [build.concat([x, x, x, x], axis) for axis in Axis]
    resized = [build.resize(x, 1, 1), build.resize(x, 60, 70)]
    turned = [build.transpose(x, (4, 6, 5), order) for order in ((2, 1, 0), (1, 0, 2))]
    many = build.transpose(build.input(6, 4, 30), (2, 3, 4, 6, 5), (4, 3, 2, 1, 0))
    moved = [*turned, many, build.shuffled(x, 5), build.slice(x), build.space_to_depth(x, 2)]
    return [*joined, *resized, build.reshape(x, 120, 1, 1), build.reshape(x, 1, 1, 120), *moved]


def _elements(build: GraphBuilder) -> list[int]:
    wide = build.softmax(build.input(2, 3, 3000))
    x, y = build.input(5, 7, 300), build.input(1, 1, 1)
    return [wide, build.elementwise(x, y), build.elementwise(y, x), build.lookup(x)]


def _bottlenecks(build: GraphBuilder) -> list[int]:
    x = build.input(7, 12, 4)
    for expansion, channels, stride in ((30, 4, 1), (3, 6, 2), (5, 6, 1)):
        x = build.inverted_residual(x, expansion, channels, stride=stride)
    return [x]


EXTREMES: dict[str, Callable[[GraphBuilder], list[int]]] = {
    "pools": _pools,
    "filters": _filters,
    "means": _means,
    "moves": _moves,
    "elements": _elements,
    "bottlenecks": _bottlenecks,
}


def extreme_blobs(name: str, plans: int) -> Iterator[bytes]:
    """Networks of one family of operators, each by several random plans."""
    build = GraphBuilder(np.random.default_rng(7))
    graph = build.graph(EXTREMES[name](build))
    for seed in range(plans):
        yield pack(graph, random_plan(graph, Random(seed)), None)


# --- False plans ---------------------------------------------------------------------------


def whole(graph: QGraph, stage: Stage) -> Plan:
    """The plan of a network of one operator, whose input and output stand whole."""
    chosen = [candidate(graph, stage)]
    pixels = {i: tensor.height * tensor.width for i, tensor in enumerate(graph.tensors)}
    return lay_out(simulated(graph, chosen, pixels), chosen)


def state_over_the_input() -> bytes:
    """What a depthwise that keeps a row keeps stands on the very ring that it is copied from."""
    build = GraphBuilder(np.random.default_rng(3))
    graph = build.graph([build.depthwise(build.input(9, 7, 4), (3, 3), (2, 2))])
    planned = whole(graph, Stage((0,), 4, Form.FOLDED))
    (stage,) = planned.stages
    offset = next(ring.offset for ring in planned.rings if ring.tensor == 0)
    false = replace(stage, state=replace(stage.state, offset=offset))
    return pack(graph, replace(planned, stages=(false,)), None)


# --- Very many outputs -----------------------------------------------------------------------


def _laid(
    tensors: list[tuple[int, int, list[int]]],
    stages: list[tuple[int, list[int], int, int]],
    outputs: list[int],
    table: bytes = b"",
) -> bytes:
    """tensors of one element: (offset, producer, readers). stages: (op, inputs, output, params)."""
    readers = [stage for *_, read_by in tensors for stage in read_by]
    lists = struct.pack(f"<{len(readers) + len(outputs)}H", *readers, *outputs)
    records, first = [], 0
    for offset, producer, read_by in tensors:
        counts = (first, len(read_by))
        records.append(TENSOR.pack(offset, 1, 1, 1, 1, producer, *counts, 0, 0, ELEMENT_BYTES, 0))
        first += len(read_by)
    for op, inputs, output, params in stages:
        padded = [*inputs, *(NONE,) * (4 - len(inputs))]
        records.append(STAGE.pack(op, 0, 0, len(inputs), output, 1, *padded, params, 0, 0, 0, 0))
    body = b"".join(records) + lists + table
    body += bytes(-len(body) % 16)
    arena = 16 + max(offset for offset, *_ in tensors)
    header = HEADER.pack(
        MAGIC, MAJOR, MINOR, HEADER.size + len(body), 0, arena, 0, 0, 0, len(tensors),
        len(stages), len(readers), len(outputs), 1, 1, 0, 0, len(stages), 0, 0, 0, 0, 0,
    )  # fmt: skip
    return repaired(header + body)


def outputs_handed_out(count: int) -> bytes:
    """An input is looked up ``count`` times, and each result is handed out by a stage of its own,
    twice over in the list of outputs."""
    lookups, last = range(1, count + 1), 2 * count
    lists_end = HEADER.size + TENSOR.size * (count + 1) + STAGE.size * (2 * count + 1) + 8 * count
    params = -(-lists_end // 4) * 4
    table = bytes(params - lists_end) + struct.pack("<I", params + 4) + bytes(range(256))
    tensors = [(0, 0, list(lookups)), *((16 * n, n, [count + n]) for n in lookups)]
    stages = [(INPUT, [], 0, 0), *((LOOKUP, [0], n, params) for n in lookups)]
    stages += [(OUTPUT, [n], NONE, n - 1) for n in lookups]
    assert len(stages) == last + 1
    return _laid(tensors, stages, [*lookups, *lookups], table)


def one_output_often(count: int) -> bytes:
    """An input of very many readers is the network's output, ``count`` times."""
    readers = range(1, count + 1)
    lists_end = HEADER.size + TENSOR.size * (count + 1) + STAGE.size * (count + 1) + 4 * count
    params = -(-lists_end // 4) * 4
    table = bytes(params - lists_end) + struct.pack("<I", params + 4) + bytes(range(256))
    tensors = [(0, 0, list(readers)), *((16 * n, n, []) for n in readers)]
    stages = [(INPUT, [], 0, 0), *((LOOKUP, [0], n, params) for n in readers)]
    return _laid(tensors, stages, [0] * count, table)
