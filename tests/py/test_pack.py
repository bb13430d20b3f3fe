# SPDX-License-Identifier: Apache-2.0
"""Blobs, read back by a reader that was written from runtime/SPEC.md alone."""

from __future__ import annotations

import re
from random import Random

import numpy as np
import pytest

import blob_reader
from blob_reader import Engine, read_blob
from narrows.errors import BlobError, PlanError
from narrows.graph.moves import Move
from narrows.graph.qgraph import (
    QConv,
    QDepthwise,
    QElementwise,
    QGraph,
    QMatMul,
    QMean,
    QPool,
)
from narrows.native import Model
from narrows.pack import pack, unpack_edges, unpack_metadata
from narrows.planning import PlanOptions, random_plan
from narrows.planning.plan import Plan
from narrows.planning.planner import plan
from narrows.stages.records import MINOR
from narrows.stages.stage import Stage
from random_graphs import GraphBuilder, random_graph

KINDS = {
    "conv": blob_reader.CONV,
    "depthwise": blob_reader.DEPTHWISE,
    "elementwise": blob_reader.ELEMENTWISE,
    "mean": blob_reader.MEAN,
    "softmax": blob_reader.SOFTMAX,
    "lookup": blob_reader.LOOKUP,
    "matmul": blob_reader.MATMUL,
    "arg_max": blob_reader.ARG_MAX,
    "concat": blob_reader.CONCAT,
    "resize": blob_reader.RESIZE,
    "pad": blob_reader.PAD,
}


def folded(graph: QGraph, op: QConv | QDepthwise) -> np.ndarray:
    """Channel table by the page's formula, in Python's integers."""
    zero_point = graph.tensors[op.inputs[0]].zero_point
    rows = []
    for c in range(len(op.bias)):
        weights = op.weights[c] if isinstance(op, QConv) else op.weights[..., c]
        bias = int(op.bias[c]) - zero_point * sum(int(w) for w in weights.ravel())
        bias = (bias + 2**31) % 2**32 - 2**31
        rows.append((bias, int(op.multiplier[c]), int(op.shift[c])))
    return np.array(rows)


def has_prescale(graph: QGraph, op: QConv | QDepthwise, c: int) -> bool:
    """Whether the page gives output channel c one: by its least and its greatest sum."""
    weights = op.weights[c] if isinstance(op, QConv) else op.weights[..., c]
    zero_point = graph.tensors[op.inputs[0]].zero_point
    sums = []
    for positive, negative in ((127, -128), (-128, 127)):
        inputs = [positive if weight > 0 else negative for weight in weights.ravel()]
        products = [int(w) * (x - zero_point) for w, x in zip(weights.ravel(), inputs, strict=True)]
        sums.append(int(op.bias[c]) + sum(products))
    shift = int(op.shift[c])
    return -13 <= shift <= -1 and all(abs(total) * 2 ** (15 + shift) < 2**31 for total in sums)


def check_filter(graph: QGraph, op: QConv | QDepthwise, found: blob_reader.Filter) -> None:
    np.testing.assert_array_equal(found.weights, op.weights.ravel())
    np.testing.assert_array_equal(found.table, folded(graph, op))
    for c, prescale in enumerate(found.prescales):
        assert (prescale > 0) == has_prescale(graph, op, c)
    assert found.act == (op.act_min, op.act_max)


def check_window(op: QConv | QDepthwise | QPool, found: blob_reader.Windowed) -> None:
    kernel = op.kernel if isinstance(op, QPool) else op.weights.shape[op.kind == "conv" :][:2]
    assert found.kernel == tuple(kernel)
    assert (found.stride, found.pad, found.act) == (op.stride, op.pad, (op.act_min, op.act_max))
    if not isinstance(op, QPool):
        assert found.dilation == op.dilation


def check_elementwise(op: QElementwise, found: dict[str, object], swap: bool = False) -> None:
    a, b = (op.b, op.a) if swap else (op.a, op.b)
    assert (found["a"], found["b"], found["out"]) == (a, b, op.out)
    assert (found["left_shift"], found["function"]) == (op.left_shift, op.function)
    assert found["act"] == (op.act_min, op.act_max)


def check_stage(graph: QGraph, planned: Stage, found: blob_reader.Stage) -> None:
    assert (found.strip, found.form) == (planned.strip, planned.form)
    assert found.state == (planned.state.offset, planned.state.bytes)
    assert found.scratch == (planned.scratch.offset, planned.scratch.bytes)
    ops = [graph.ops[i] for i in planned.ops]
    fields = found.fields
    if len(ops) > 1:
        assert found.op == blob_reader.BOTTLENECK
        names = [op.kind for op in ops]
        at = names.index("depthwise")
        flags = (at > 0) + 2 * ("conv" in names[at:]) + 4 * ("elementwise" in names)
        assert found.flags == flags
        for name in ("slice", "row_tile", "col_tile", "kept_rows"):
            assert fields[name] == getattr(planned, name)
        check_window(ops[at], fields["window"])
        check_filter(graph, ops[at], fields["window"].filter)
        if at:
            check_filter(graph, ops[0], fields["expand"])
        if flags & 2:
            check_filter(graph, ops[at + 1], fields["project"])
        if flags & 4:
            check_elementwise(ops[-1], fields["add"], ops[-1].inputs[0] == ops[0].inputs[0])
        projected = ops[at + 1] if flags & 2 else ops[at]
        tensors = (ops[at].inputs[0], ops[at].output, projected.output)
        assert fields["zero_points"] == tuple(graph.tensors[t].zero_point for t in tensors)
        return
    op = ops[0]
    if isinstance(op, QPool):
        average = op.function == "average"
        assert found.op == (blob_reader.AVG_POOL if average else blob_reader.MAX_POOL)
        check_window(op, fields["window"])
        return
    if isinstance(op, Move):
        assert (found.op, found.flags) == (blob_reader.MOVE, 0)
        source, out = (graph.tensors[t] for t in (op.inputs[0], op.output))
        read = op.moved(np.arange(source.bytes).reshape(source.shape), out.shape)
        np.testing.assert_array_equal(fields["reads"], read.ravel())
        return
    assert (found.op, found.flags) == (KINDS[op.kind], 0)
    if isinstance(op, (QConv, QDepthwise)):
        check_window(op, fields["window"])
        check_filter(graph, op, fields["window"].filter)
    elif isinstance(op, QElementwise):
        check_elementwise(op, fields)
    elif isinstance(op, QMatMul):
        assert (fields["out"], fields["act"], fields["function"]) == (op.out, (-128, 127), 2)
    elif isinstance(op, QMean):
        assert fields["over"] == (op.over_height, op.over_width)
        assert (fields["bias"], fields["multiplier"], fields["shift"]) == (
            op.bias,
            op.multiplier,
            op.shift,
        )
    else:
        for name, value in fields.items():
            expected = getattr(op, name)
            if isinstance(expected, bytes):
                expected = np.frombuffer(expected, np.uint8)
            np.testing.assert_array_equal(value, expected)


def check_blob(graph: QGraph, planned: Plan, data: bytes) -> blob_reader.Blob:
    blob = read_blob(data)
    header = blob.header
    assert blob.arena_bytes == planned.arena_bytes
    assert header["macs"] == planned.macs
    assert (header["minor"], header["layout"], header["input_passes"]) == (MINOR, planned.layout, 1)
    inputs = [edge.tensor for edge in graph.inputs]
    tensor_of = {blob.stages[i].output: tensor for i, tensor in enumerate(inputs)}
    widths = tuple(graph.tensors[tensor].width for tensor in inputs)
    assert tuple(s.strip for s in blob.stages[: len(inputs)]) == (planned.input_strips or widths)
    stages = blob.stages[len(inputs) :]
    for stage, found in zip(planned.stages, stages, strict=False):
        check_stage(graph, stage, found)
        sources = graph.ops[stage.ops[0]].inputs[: None if len(stage.ops) == 1 else 1]
        for number, tensor in zip(found.inputs, sources, strict=True):
            assert tensor_of.setdefault(number, tensor) == tensor
        tensor_of[found.output] = graph.ops[stage.ops[-1]].output
    streamed = dict.fromkeys(graph.outputs[i].tensor for i in planned.streamed_outputs)
    tail = stages[len(planned.stages) :]
    assert [tensor_of[s.inputs[0]] for s in tail] == list(streamed)
    assert all(s.op == blob_reader.OUTPUT and s.output == blob_reader.NONE for s in tail)
    assert [tensor_of[i] for i in blob.outputs] == [edge.tensor for edge in graph.outputs]
    rings = {ring.tensor: ring for ring in planned.rings}
    variables = zip(graph.variables, planned.variables, strict=True)
    remembered = {variable.tensor: offset for variable, offset in variables}
    for number, found in enumerate(blob.tensors):
        tensor = graph.tensors[tensor_of[number]]
        shape = (tensor.height, tensor.width, tensor.channels, tensor.zero_point)
        assert (found.height, found.width, found.channels, found.zero_point) == shape
        if found.constant:
            assert data[found.offset : found.offset + tensor.bytes] == tensor.data.tobytes()
        elif found.persistent:
            assert (found.offset, found.whole) == (remembered[tensor_of[number]], True)
        else:
            ring = rings[tensor_of[number]]
            assert (found.offset, found.capacity) == (ring.offset, ring.capacity)
    engine = Engine(blob)
    assert header["max_step_work"] == blob_reader.max_step_work(engine)
    assert header["firings"] == sum(engine.firings) == len(engine.order())
    return blob


@pytest.mark.parametrize("seed", range(40))
def test_every_field(seed: int) -> None:
    graph = random_graph(seed)
    rng = Random(seed)
    for planned in (plan(graph), random_plan(graph, rng), random_plan(graph, rng)):
        data = pack(graph, planned, {"labels": ["a", "b"]})
        check_blob(graph, planned, data)
        Model(data).verify()
        assert pack(graph, planned, {"labels": ["a", "b"]}) == data


def test_metadata() -> None:
    graph = random_graph(3)
    data = pack(graph, plan(graph), {"labels": ["cat", "dög"], "preprocessing": {"mean": 1.5}})
    metadata = read_blob(data).metadata
    assert metadata == unpack_metadata(data)
    assert metadata["labels"] == ["cat", "dög"]
    assert metadata["name"] == graph.name
    assert re.fullmatch(r"narrows \d+\.\d+.*", metadata["producer"])
    assert len(metadata["stages"]) == read_blob(data).header["stage_count"]
    inputs, outputs = unpack_edges(data)
    for edges, described in ((graph.inputs, inputs), (graph.outputs, outputs)):
        for edge, found in zip(edges, described, strict=True):
            tensor = graph.tensors[edge.tensor]
            assert (found.name, found.dtype, found.shape) == (edge.name, edge.dtype, edge.shape)
            assert (found.scale, found.zero_point) == (edge.scale, edge.zero_point)
            expected = (tensor.scale, tensor.zero_point)
            assert (found.tensor_scale, found.tensor_zero_point) == expected


def test_metadata_can_be_left_out() -> None:
    graph = random_graph(3)
    data = pack(graph, plan(graph), None)
    header = read_blob(data).header
    assert (header["metadata_offset"], header["metadata_bytes"]) == (0, 0)
    assert unpack_metadata(data) == {}
    with pytest.raises(BlobError, match="does not describe"):
        unpack_edges(data)


def test_metadata_of_bad_blobs() -> None:
    graph = random_graph(3)
    data = bytearray(pack(graph, plan(graph), {}))
    with pytest.raises(BlobError, match="not a narrows blob"):
        unpack_metadata(b"hello")
    offset = read_blob(bytes(data)).header["metadata_offset"]
    with pytest.raises(BlobError, match="beyond the blob"):
        unpack_metadata(bytes(data[:offset]))
    data[offset] = 0xFF
    with pytest.raises(BlobError, match="not JSON"):
        unpack_metadata(bytes(data))


def test_size_is_weights_and_little_more() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.conv(build.input(32, 32, 3), 16, (3, 3), (2, 2))
    for channels in (16, 24, 24, 32, 32, 64):
        x = build.inverted_residual(x, 6, channels)
    graph = build.graph([build.softmax(build.conv(build.mean(x), 100))])
    for options in (PlanOptions(), PlanOptions(fuse=False, materialize=True)):
        data = pack(graph, plan(graph, options), None)
        filters = [op for op in graph.ops if isinstance(op, (QConv, QDepthwise))]
        weights = sum(op.weights.size for op in filters)
        channels = sum(len(op.bias) for op in filters)
        assert len(data) <= weights + 16 * channels + 4096


def test_too_large_for_the_format() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    graph = build.graph([build.lookup(build.input(70000, 1, 1))])
    with pytest.raises(PlanError, match="tensor t1: more than 65535 rows"):
        pack(graph, plan(graph), {})


@pytest.mark.parametrize("kind", ["conv", "depthwise", "pool"])
def test_kernels_that_the_runtime_does_not_take(kind: str) -> None:
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input(70, 2, 2)
    if kind == "conv":
        x = build.conv(x, 2, (65, 1))
    elif kind == "depthwise":
        x = build.depthwise(x, (65, 1))
    else:
        x = build.pool(x, True, (65, 1), (1, 1), same=False)
    graph = build.graph([x])
    with pytest.raises(PlanError, match=f"{kind}.*kernel has 65 rows; the runtime takes 64"):
        pack(graph, plan(graph), {})


def test_an_average_of_all_rows_may_be_tall() -> None:
    build = GraphBuilder(np.random.default_rng(0))
    graph = build.graph([build.pool(build.input(70, 2, 2), True, (70, 2), (1, 1), same=False)])
    for planned in (plan(graph), random_plan(graph, Random(0)), random_plan(graph, Random(1))):
        Model(pack(graph, planned, None))
