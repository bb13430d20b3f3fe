# SPDX-License-Identifier: Apache-2.0
"""Variables, which stay from one inference to the next: TFLite Micro's bytes over long sequences,
whatever the plan."""

from __future__ import annotations

import struct
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from blob_reader import Engine, FormatError, read_blob
from hostile_blobs import sealed
from narrows.compiler import Compiled, compile_model
from narrows.errors import BlobError, ModelError, PlanError, UnsupportedError
from narrows.exporters.export import export_tflite
from narrows.graph.qgraph import Axis, Int8Array, QGraph, QVariable
from narrows.importers.tflite import import_tflite
from narrows.native import Model, Run, Status
from narrows.pack import pack
from narrows.planning import random_plan
from narrows.planning.memories import spread
from narrows.planning.occupancy import occupancy
from narrows.planning.plan import Plan
from narrows.planning.planner import plan
from narrows.planning.verify import verify_plan
from narrows.quantization import reference
from narrows.quantization.arrangements import arrangements
from narrows.quantization.dead_channels import without_dead_channels
from narrows.quantization.verify import verify_qgraph
from narrows.reference import Tflm
from oracle import Oracle
from random_graphs import GraphBuilder, random_block, random_graph, random_inputs, seeds
from single import Net
from streams import (
    WAKE_WORDS,
    Array,
    Remembered,
    assigned,
    features,
    packed,
    streaming,
    wake_word,
)


def check_frames(data: bytes, blob: bytes, frames: Array) -> None:
    """Outputs and all variables are TFLite Micro's after each frame. What each layer gives becomes
    a part of a variable, so nothing is off inside either."""
    oracle, run, becomes = Oracle(data), Run(Model(blob)), assigned(data)
    for number, frame in enumerate(frames):
        (expected,) = oracle.run([frame])
        (found,) = run.infer([frame], goes_on=number > 0)
        assert (expected.astype(int) - 128 == found).all(), number
        run.start(goes_on=True)
        for variable, tensor in zip(run.variables, becomes, strict=True):
            np.testing.assert_array_equal(variable, oracle.tensor(tensor).reshape(-1))


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return compile_model(wake_word("alexa"))


@pytest.fixture(scope="module")
def alexa(compiled: Compiled) -> bytes:
    return compiled.blob


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", WAKE_WORDS)
def test_wake_words(name: str, count: int) -> None:
    path = wake_word(name)
    blob = compile_model(path).blob
    check_frames(path.read_bytes(), blob, features(np.random.default_rng(count), count))


# --- Any plan -----------------------------------------------------------------------------------


def streaming_graph(seed: int, size: int = 6) -> QGraph:
    """A random network that appends rows to variables, or computes with them, between blocks."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder(rng)
    x = build.input(int(rng.integers(1, 6)), int(rng.integers(1, 5)), int(rng.integers(1, 6)))
    variables = []
    for _ in range(size):
        height, width, channels = build.shape(x)
        if rng.integers(2) and height < 20:
            rows = int(rng.integers(1, 6))
            variable = build.tensor(rows, width, channels, constant=True)
            x = build.concat([variable, x], Axis.HEIGHT)
            # Most often the last rows, as in a stream.
            row = height if rng.integers(3) else int(rng.integers(height + 1))
            variables.append(QVariable(variable, x, row))
        elif rng.integers(3) == 0:
            variable = build.tensor(height, width, channels, constant=True)
            x = build.elementwise(x, variable)
            variables.append(QVariable(variable, x, 0))
        x = random_block(build, rng, [x], x)
    if not variables:
        variable = build.tensor(*build.shape(x), constant=True)
        x = build.elementwise(variable, x)
        variables.append(QVariable(variable, x, 0))
    graph = replace(build.graph([x]), variables=tuple(variables))
    verify_qgraph(graph)
    return graph


def check_sequence(graph: QGraph, planned: Plan, seed: int, count: int = 4) -> None:
    blob = pack(graph, planned, None)
    assert read_blob(blob).header["firings"] == len(Engine(read_blob(blob)).order())
    run, variables = Run(Model(blob)), []
    for number in range(count):
        inputs = random_inputs(graph, seed + number)
        expected = reference.run(graph, inputs, variables)
        for found, wanted in zip(run.infer(inputs, goes_on=number > 0), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("seed", seeds(60, every=20))
def test_random_graphs_and_plans(seed: int) -> None:
    graph = streaming_graph(seed)
    rng = Random(seed)
    for planned in [plan(graph), *(random_plan(graph, rng) for _ in range(6))]:
        check_sequence(graph, planned, seed)


@pytest.mark.parametrize("seed", range(2))
def test_dead_channels_and_several_memories(seed: int) -> None:
    graph = streaming_graph(seed)
    check_sequence(without_dead_channels(graph), plan(without_dead_channels(graph)), seed)
    planned = plan(graph)
    counters = 12 * (1 + len(planned.stages))
    half = [counters + planned.arena_total // 2 // 16 * 16, 2 * planned.arena_total]
    divided = spread(graph, planned, half)
    assert divided.arena_bytes[1] > 0
    verify_plan(graph, divided)
    check_sequence(graph, divided, seed)


def test_a_variable_stands_in_the_ring_that_it_begins(compiled: Compiled) -> None:
    """What is appended to is not copied: the arena holds each variable once."""
    graph, planned = compiled.qgraph, compiled.plan
    rings = {ring.tensor: ring.offset for ring in planned.rings}
    for variable, offset in zip(graph.variables, planned.variables, strict=True):
        assert offset == rings[variable.source]
    remembered = sum(graph.tensors[v.tensor].bytes for v in graph.variables)
    assert remembered < planned.arena_total < 1.5 * remembered
    assert occupancy(graph, planned).live.min() >= remembered


def test_a_false_place_is_found() -> None:
    graph = streaming_graph(3)
    planned = plan(graph)
    for offsets in (planned.variables[1:], tuple(0 for _ in planned.variables)):
        with pytest.raises(PlanError, match=r"variable|overwritten"):
            verify_plan(graph, replace(planned, variables=offsets))
    outside = tuple(o + planned.arena_total for o in planned.variables)
    with pytest.raises(PlanError, match="arena_bytes"):
        verify_plan(graph, replace(planned, variables=outside))


# --- From one inference to the next -------------------------------------------------------------


def test_start_forgets_and_an_abandoned_inference_changes_nothing(alexa: bytes) -> None:
    frames = features(np.random.default_rng(1), 8)
    run = Run(Model(alexa))
    first = [array.copy() for array in run.variables]
    for frame in frames:
        run.infer([frame], goes_on=True)
    run.start(goes_on=True)
    later = [array.copy() for array in run.variables]
    assert any((a != b).any() for a, b in zip(first, later, strict=True))
    while run.step() == Status.OK:
        pass
    for _ in range(2):  # one that waits for its input, and one that has not begun
        run.start(goes_on=True)
        for array, before in zip(run.variables, later, strict=True):
            np.testing.assert_array_equal(array, before)
    run.start()
    for array, before in zip(run.variables, first, strict=True):
        np.testing.assert_array_equal(array, before)


def test_what_is_remembered_can_be_saved(alexa: bytes) -> None:
    frames = features(np.random.default_rng(2), 60)
    run, other = Run(Model(alexa)), Run(Model(alexa))
    for frame in frames[:30]:
        run.infer([frame], goes_on=True)
    run.start(goes_on=True)
    for ours, theirs in zip(run.variables, other.variables, strict=True):
        theirs[:] = ours
    for frame in frames[30:]:
        expected, found = (r.infer([frame], goes_on=True) for r in (run, other))
        np.testing.assert_array_equal(found[0], expected[0])
        for r in (run, other):
            r.start(goes_on=True)
        for ours, theirs in zip(run.variables, other.variables, strict=True):
            np.testing.assert_array_equal(theirs, ours)


def test_a_model_without_variables_has_none() -> None:
    run = Run(Model(pack(graph := random_graph(3), plan(graph), None)))
    assert run.variables == []
    inputs = random_inputs(graph, 3)
    expected = run.infer(inputs)
    for found, wanted in zip(run.infer(inputs, goes_on=True), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


# --- What files say ------------------------------------------------------------------------------

SHAPE = (1, 5, 3, 4)
SCALE = {"scale": 0.1, "zero_point": 3}


def values(net: Net, shape: tuple[int, ...] = SHAPE) -> Array:
    return net.rng.integers(-128, 128, shape).astype(np.int8)


def _sum(net: Net) -> schema.ModelT:
    """A variable that adds up inputs, and is the output."""
    x, old, new = (net.int8(SHAPE, **SCALE) for _ in range(3))
    net.operator("ADD", [x, old], [new], "AddOptions", {})
    return streaming(net.finish([x, old], [new]), [Remembered(old, new, values(net))])


def _delay(net: Net) -> schema.ModelT:
    """The input, two inferences later: each variable becomes what another one was."""
    x, one, two, y = (net.int8(SHAPE, **SCALE) for _ in range(4))
    net.operator("MAXIMUM", [two, net.constant((1, 1, 1, 4), **SCALE)], [y])
    variables = [Remembered(one, x, values(net)), Remembered(two, one, values(net))]
    return streaming(net.finish([x, one, two], [y]), variables)


def _read_again(net: Net) -> schema.ModelT:
    """What is read behind an assignment is what was assigned."""
    x, old, new = (net.int8(SHAPE, **SCALE) for _ in range(3))
    net.operator("MINIMUM", [x, old], [new])
    variable = Remembered(old, new, values(net))
    return streaming(net.finish([x, old], [new]), [variable], reads_last=True)


def _one_number(net: Net) -> schema.ModelT:
    """An operand that is a constant would make a table."""
    x, y = net.int8(SHAPE, **SCALE), net.int8(SHAPE, **SCALE)
    old, new = net.int8((1, 1, 1, 1), **SCALE), net.int8((1, 1, 1, 1), **SCALE)
    one = net.int8((1, 1, 1, 1), **SCALE, data=np.full((1, 1, 1, 1), 8))
    net.operator("ADD", [old, one], [new], "AddOptions", {})
    net.operator("MUL", [x, old], [y], "MulOptions", {})
    return streaming(net.finish([x, old], [y, new]), [Remembered(old, new, values(net, (1,) * 4))])


def _constants(net: Net) -> schema.ModelT:
    """A variable that is assigned a constant, and one that is assigned itself."""
    x, y, z = (net.int8(SHAPE, **SCALE) for _ in range(3))
    one, same = (net.int8(SHAPE, **SCALE) for _ in range(2))
    constant = net.constant(SHAPE, **SCALE)
    net.operator("MAXIMUM", [x, one], [y])
    net.operator("MINIMUM", [y, same], [z])
    variables = [Remembered(one, constant, values(net)), Remembered(same, same, values(net))]
    return streaming(net.finish([x, one, same], [z]), variables)


def _unread(net: Net) -> schema.ModelT:
    """A variable that no output depends on."""
    x, y, old, new = (net.int8(SHAPE, **SCALE) for _ in range(4))
    net.operator("MAXIMUM", [x, net.constant((1, 1, 1, 4), **SCALE)], [y])
    net.operator("ADD", [y, old], [new], "AddOptions", {})
    return streaming(net.finish([x, old], [y]), [Remembered(old, new, values(net))])


def _rank_3(net: Net) -> schema.ModelT:
    """Rows of a tensor without a width, appended in front and cut out by a SLICE."""
    x, y = net.int8((1, 3, 4), **SCALE), net.int8((1, 7, 4), **SCALE)
    old, new = net.int8((1, 4, 4), **SCALE), net.int8((1, 4, 4), **SCALE)
    net.operator("CONCATENATION", [x, old], [y], "ConcatenationOptions", {"axis": 1})
    net.operator("SLICE", [y, net.ints([0, 0, 0]), net.ints([1, 4, 4])], [new], "SliceOptions", {})
    data = net.finish([x, old], [y])
    return streaming(data, [Remembered(old, new, values(net, (1, 4, 4)))])


FILES: dict[str, tuple[Callable[[Net], schema.ModelT], int]] = {
    "sum": (_sum, 1),
    "delay": (_delay, 2),
    "read again": (_read_again, 1),
    "one number": (_one_number, 1),
    "constants": (_constants, 1),
    "unread": (_unread, 0),
    "rank 3": (_rank_3, 1),
}


@pytest.mark.parametrize("name", FILES)
def test_files(name: str, tmp_path: Path) -> None:
    build, count = FILES[name]
    net = Net(11)
    data = packed(build(net))
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    compiled = compile_model(path)
    assert len(compiled.qgraph.variables) == count
    oracle, run = Oracle(data), Run(Model(compiled.blob))
    shape = compiled.qgraph.inputs[0].shape
    for number in range(6):
        x = net.rng.integers(-128, 128, shape).astype(np.int8)
        (expected,), (found,) = oracle.run([x]), run.infer([x], goes_on=number > 0)
        np.testing.assert_array_equal(found.reshape(-1), expected.reshape(-1))


def refused(model: schema.ModelT) -> str:
    with pytest.raises(UnsupportedError) as caught:
        import_tflite(packed(model), "file")
    return str(caught.value)


def test_refusals() -> None:
    def built(change: Callable[[schema.ModelT], None]) -> schema.ModelT:
        model = _sum(Net(3))
        change(model)
        return model

    def no_first(model: schema.ModelT) -> None:
        model.subgraphs[1].operators = []

    def computed(model: schema.ModelT) -> None:
        graph = model.subgraphs[1]
        graph.operators[1].inputs[1] = len(graph.tensors)
        graph.tensors.append(copy(graph.tensors[1]))
        graph.tensors[-1].buffer, graph.tensors[-1].name = 0, b"late"

    def other_first(model: schema.ModelT) -> None:
        model.subgraphs[1].tensors[1].shape = np.array([1, 5, 4, 3], np.int32)

    def other_scale(model: schema.ModelT) -> None:
        old = model.subgraphs[0].tensors[1]
        old.quantization = copy(old.quantization)
        old.quantization.scale = np.array([0.2], np.float32)

    def other_type(model: schema.ModelT) -> None:
        old = model.subgraphs[0].tensors[1]
        old.type, old.quantization = schema.TensorType.FLOAT32, None

    for change, words in (
        (no_first, "no CALL_ONCE assigns what it begins with"),
        (computed, "its CALL_ONCE: late is not a constant"),
        (other_first, "it begins with int8 of shape [1, 5, 4, 3] instead of int8 of shape"),
        (other_scale, "it is assigned what is not quantized as it is"),
        (other_type, "recurrent (an LSTM, a GRU, a loop or variables)"),
    ):
        assert words in refused(built(change))


def test_a_subgraph_that_is_not_there() -> None:
    model = _sum(Net(3))
    model.subgraphs[0].operators[0].builtinOptions.initSubgraphIndex = 7
    with pytest.raises(ModelError, match=r"operator 0 CALL_ONCE: .*subgraph 7 of 2"):
        import_tflite(packed(model), "file")


# --- What blobs say ------------------------------------------------------------------------------


def test_every_field_of_the_list_is_checked(alexa: bytes) -> None:
    (at,) = struct.unpack_from("<I", alexa, 68)
    (count,) = struct.unpack_from("<I", alexa, at)
    tensor, source, _, _ = struct.unpack_from("<HHII", alexa, at + 4)
    (last,) = struct.unpack_from("<H", alexa, at + 4 + 12 * (count - 1))
    flags, last_flags = (80 + 24 * number + 21 for number in (tensor, last))
    faults: list[tuple[int, str, int, int]] = [
        # at, layout and value that is wrong there, field that the runtime names
        (68, "<I", 0, flags),
        (68, "<I", 80, 68),
        (68, "<I", at + 2, 68),
        (68, "<I", len(alexa), 68),
        (at, "<I", 0, flags),
        (at, "<I", count + 1, 68),
        (at, "<I", count - 1, last_flags),
        (at, "<I", 2**32 - 1, at),
        (at + 4, "<H", tensor + 1, at + 4),
        (at + 6, "<H", 65535, at + 4),
        (at + 6, "<H", tensor, at + 6),
        (at + 8, "<I", 2**32 - 1, at + 6),
        (at + 8, "<I", 2, at + 6),
        (at + 12, "<I", len(alexa), at + 12),
        (at + 12, "<I", 80, at + 12),
        (flags, "<B", 3, flags),
        (80 + 24 * source + 21, "<B", 2, 80 + 24 * source + 14),
        (80 + 24 * tensor, "<I", 1 << 27, 80 + 24 * tensor),
    ]
    for place, layout, value, named in faults:
        blob = bytearray(alexa)
        struct.pack_into(layout, blob, place, value)
        with pytest.raises(BlobError) as caught:
            Model(sealed(bytes(blob)))
        assert (caught.value.status, caught.value.offset) == (Status.ERR_STRUCTURE, named), place
        with pytest.raises(FormatError):
            read_blob(sealed(bytes(blob)))


# --- Beside TensorFlow Lite Micro ----------------------------------------------------------------


def test_each_inference_of_the_reference_is_a_first_one(alexa: bytes) -> None:
    """So that a data set may be shared out, in any order."""
    path = wake_word("alexa")
    tflm, streamed, run = Tflm(path), Tflm(path, goes_on=True), Run(Model(alexa))
    answers = []
    for frame in features(np.random.default_rng(1), 40):
        (alone,), (found,) = tflm.infer([frame], 1), run.infer([frame])
        assert (alone.astype(int) - 128 == found).all()
        answers.append((alone.item(), streamed.infer([frame], 1)[0].item()))
    assert any(alone != later for alone, later in answers)


def test_variables_are_not_exported() -> None:
    with pytest.raises(UnsupportedError, match=r"variable .*: variables cannot be exported"):
        export_tflite(import_tflite(wake_word("alexa")))


def test_a_network_that_lies_is_set_upright() -> None:
    """Its variables lie as it does, and are turned with it."""
    build = GraphBuilder(np.random.default_rng(3))
    x, variable = build.input(1, 9, 4), build.tensor(1, 9, 4, constant=True)
    y = build.elementwise(build.conv(x, 4, (1, 3)), variable)
    graph = build.graph([build.lookup(build.depthwise(y, (1, 3)))])
    graph = replace(graph, variables=(QVariable(variable, y, 0),))
    verify_qgraph(graph)
    upright, same = arrangements(graph)
    assert upright.tensors[upright.variables[0].tensor].height == 9
    check_sequence(upright, plan(upright), 3)
    check_sequence(same, plan(same), 3)
    one: list[Int8Array] = []
    other: list[Int8Array] = []
    for number in range(3):
        (values,) = random_inputs(graph, number)
        (wanted,) = reference.run(graph, [values], one)
        (found,) = reference.run(upright, [values.swapaxes(0, 1)], other)
        np.testing.assert_array_equal(found.swapaxes(0, 1), wanted)
