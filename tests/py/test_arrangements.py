# SPDX-License-Identifier: Apache-2.0
"""Networks over time stream along the time, whichever axis a file has it on."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from random import Random

import numpy as np
import pytest

from hostile_blobs import sealed
from narrows.blob import parse_blob
from narrows.compare import compare_inputs
from narrows.compiler import CompileOptions, compile_model
from narrows.errors import BlobError
from narrows.graph.edges import to_external, to_internal
from narrows.graph.moves import Reshape
from narrows.graph.qgraph import QGraph
from narrows.importers.tflite import import_tflite
from narrows.native import Form, Layout, Model, Op, Run
from narrows.pack import pack
from narrows.planning import PlanOptions
from narrows.planning.plan import Plan
from narrows.planning.planner import plan
from narrows.planning.random_plan import random_plan
from narrows.quantization import reference
from narrows.quantization.arrangements import arrangements
from narrows.quantization.lower import lower
from narrows.result import no_progress
from narrows.sides import open_side
from narrows.stages.records import GEOMETRY, HEADER, STAGE, TENSOR
from narrows.stages.stage import Stage
from oracle import Oracle
from random_graphs import random_inputs
from single import RELU, SAME, VALID, Net
from subjects import typical_inputs

LENGTH = 37


def along_time(net: Net, x: int) -> int:
    """Every operator that has a height and a width, on tensors of height 1."""
    y = net.conv(x, (1, 5), 8, stride=(1, 2), activation=RELU)
    y = net.depthwise(y, (1, 3), dilation=(1, 2), padding=VALID)
    y = net.conv(y, (3, 3), 8)
    a = net.pool("MAX_POOL_2D", y, (1, 3), (1, 1), SAME)
    b = net.pool("AVERAGE_POOL_2D", y, (1, 2), (1, 1), SAME)
    y = net.binary("ADD", a, b)
    y = net.binary("MUL", y, net.constant((1, 1, net.shapes[y][2], 1)))
    y = net.pad(y, [(0, 0), (0, 0), (2, 1), (0, 0)])
    y = net.concat([y, y], 2)
    y = net.resize("RESIZE_NEAREST_NEIGHBOR", y, (1, 2 * net.shapes[y][2]), False, False)
    return net.conv(y, (1, 4), 8, stride=(1, 3))


def with_mean(net: Net) -> tuple[int, int]:
    x = net.int8((1, 1, LENGTH, 3))
    return x, net.fully_connected(net.mean(along_time(net, x), [1, 2], False), 5)


def flattened(net: Net) -> tuple[int, int]:
    """As Keras has it: three dimensions outside, and at the end a FLATTEN."""
    x = net.int8((1, LENGTH, 3))
    y = along_time(net, net.reshape(x, (1, 1, LENGTH, 3)))
    return x, net.fully_connected(net.reshape(y, (1, int(np.prod(net.shapes[y])))), 5)


def reshaped(net: Net) -> tuple[int, int]:
    x = net.int8((1, 12 * 10 * 2))
    y = net.conv(net.reshape(x, (1, 12, 10, 2)), (3, 3), 4)
    return x, net.reshape(y, (1, 12 * 10 * 4))


def tall(net: Net) -> tuple[int, int]:
    """More rows than a window may have."""
    x = net.int8((1, 70, 2, 3))
    return x, net.fully_connected(net.conv(x, (3, 1), 8), 5)


def dense(net: Net) -> tuple[int, int]:
    x = net.int8((1, 1024))
    return x, net.fully_connected(net.fully_connected(x, 96, activation=RELU), 5)


NETWORKS = {"mean": with_mean, "flattened": flattened, "reshaped": reshaped}
ADDED_UP = {"flattened": flattened, "tall": tall, "dense": dense}
NETWORKS |= ADDED_UP


def written(name: str, seed: int = 3) -> bytes:
    net = Net(seed)
    x, y = NETWORKS[name](net)
    return net.finish([x], [y])


def arranged(model: bytes) -> tuple[QGraph, tuple[QGraph, ...]]:
    graph = lower(import_tflite(model, "line"))
    return graph, arrangements(graph)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NETWORKS)
def test_each_arrangement_gives_the_same_bytes(name: str, seed: int) -> None:
    model = written(name, seed)
    graph, found = arranged(model)
    oracle = Oracle(model)
    for values in typical_inputs(graph, np.random.default_rng(seed)):
        (wanted,) = oracle.run(values, 1)
        for arrangement in found:
            tensor = arrangement.tensors[arrangement.inputs[0].tensor]
            inside = to_internal(arrangement.inputs[0], tensor, values[0])
            blob = pack(arrangement, plan(arrangement), {})
            edge = arrangement.outputs[0]
            for (got,) in (
                reference.run(arrangement, [inside]),
                Run(Model(blob, name)).infer([inside]),
            ):
                outside = to_external(edge, arrangement.tensors[edge.tensor], got)
                np.testing.assert_array_equal(outside, wanted)


@pytest.mark.parametrize("name", ADDED_UP)
def test_a_fully_connected_layer_needs_no_whole_input(name: str) -> None:
    _, (found, *_) = arranged(written(name))
    planned = plan(found)
    (stage,) = adding_up(found, planned)
    source = found.tensors[found.ops[stage.ops[0]].inputs[0]]
    (ring,) = [r for r in planned.rings if found.tensors[r.tensor] is source]
    assert ring.capacity * source.channels <= source.bytes // 4


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("name", ADDED_UP)
def test_products_are_added_up_in_every_layout(name: str, layout: Layout) -> None:
    _, (found, *_) = arranged(written(name))
    plans = [random_plan(found, Random(seed), [layout]) for seed in range(6)]
    assert any(adding_up(found, planned) for planned in plans)
    for planned in plans:
        run = Run(Model(pack(found, planned, {}), name))
        for inside in (random_inputs(found, seed) for seed in range(2)):
            for got, wanted in zip(run.infer(inside), reference.run(found, inside), strict=True):
                np.testing.assert_array_equal(got, wanted)


# Fields of the geometry: the kernel's height and width, dilations, paddings.
@pytest.mark.parametrize("field", [0, 1, 4, 5, 6, 7])
def test_a_kernel_that_is_not_the_whole_input_adds_nothing_up(field: int) -> None:
    _, (found, *_) = arranged(written("tall"))
    blob = bytearray(pack(found, plan(found), {}))
    tensors, stages = struct.unpack_from("<HH", blob, 32)
    records = range(HEADER.size + tensors * TENSOR.size, len(blob), STAGE.size)[:stages]
    found_stages = [STAGE.unpack_from(blob, at) for at in records]
    (at,) = [s[10] for s in found_stages if s[:2] == (Op.CONV, Form.ACCUMULATING)]
    values = list(GEOMETRY.unpack_from(blob, at))
    values[field] += 1
    GEOMETRY.pack_into(blob, at, *values)
    with pytest.raises(BlobError):
        Model(sealed(bytes(blob)), "tall").verify()


def adding_up(graph: QGraph, planned: Plan) -> list[Stage]:
    """The convolutions that do."""
    return [
        stage
        for stage in planned.stages
        if stage.form is Form.ACCUMULATING and graph.ops[stage.ops[0]].kind == "conv"
    ]


@pytest.mark.parametrize("name", ["mean", "flattened"])
def test_time_becomes_the_height(name: str) -> None:
    _, (upright, *_, lying) = arranged(written(name))
    sizes = [t.width * t.height for t in upright.tensors if t.data is None]
    assert max(sizes) >= LENGTH
    assert all(t.width == 1 for t in upright.tensors)
    assert max(t.width for t in lying.tensors) >= LENGTH


def test_a_picture_keeps_its_axes() -> None:
    net = Net(1)
    x = net.int8((1, 8, 9, 2))
    graph, found = arranged(net.finish([x], [net.conv(x, (3, 1), 4, padding=VALID)]))
    assert len(found) == 1
    assert [(t.height, t.width) for t in found[0].tensors] == [
        (t.height, t.width) for t in graph.tensors
    ]


def test_an_operator_that_needs_a_picture_keeps_the_axes() -> None:
    """Here the pixels of one row become two rows."""
    net = Net(1)
    x = net.int8((1, 1, 8, 8))
    y = net.conv(x, (1, 3), 8)
    z = net.like(y, (1, 2, 16, 2))
    net.operator("DEPTH_TO_SPACE", [y], [z], "DepthToSpaceOptions", {"block_size": 2})
    _, found = arranged(net.finish([x], [z]))
    assert len(found) == 1


def test_an_input_needs_no_reshape() -> None:
    graph, (found,) = arranged(written("reshaped"))
    assert sum(isinstance(op, Reshape) for op in graph.ops) == 1
    assert not any(isinstance(op, Reshape) for op in found.ops)
    assert found.inputs[0].shape == (1, 240)
    assert found.tensors[found.inputs[0].tensor].height == 12


def test_the_budget_decides(tmp_path: Path) -> None:
    """The least RAM is that along the time; with more, long rows are faster."""
    path = tmp_path / "line.tflite"
    path.write_bytes(written("mean"))
    least = compile_model(path)
    roomy = compile_model(path, CompileOptions(PlanOptions(1 << 16)))
    assert least.qgraph.tensors[0].height == LENGTH
    assert roomy.qgraph.tensors[0].height == 1
    assert least.report["ram_bytes"] < 0.7 * roomy.report["ram_bytes"]
    figures = [made.report["predicted"]["instructions"] for made in (least, roomy)]
    assert figures[1] < figures[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_can_be_compared(name: str, tmp_path: Path) -> None:
    path = tmp_path / "line.tflite"
    path.write_bytes(written(name))
    blob = tmp_path / "line.nrw"
    blob.write_bytes(compile_model(path).blob)
    (edge,) = parse_blob(blob.read_bytes(), blob).inputs
    rng = np.random.default_rng(5)
    inputs = [[rng.integers(-128, 128, edge.shape).astype(np.int8)] for _ in range(3)]
    with contextlib.ExitStack() as resources:
        sides = [
            open_side(spec, resources, no_progress) for spec in (f"{path}@tflm", f"{blob}@host")
        ]
        found = compare_inputs(*sides, [(x, x) for x in inputs])
    assert found.parted is None
    assert not found.only_b
