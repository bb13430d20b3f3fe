# SPDX-License-Identifier: Apache-2.0
"""Import: what is refused and how, hostile files, what the Graph says."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite
from ai_edge_litert import schema_py_generated as schema

from models import FLOAT_NETWORK, INT8_NETWORKS, network
from narrows.errors import ModelError, NarrowsError, Unsupported, UnsupportedError
from narrows.exporters import tflite as exporter
from narrows.exporters.tflite import ModelWriter
from narrows.graph.graph import Graph, verify_graph
from narrows.importers.tflite import import_tflite, supported_operators
from narrows.quantization.lower import lower
from single import RELU, VALID, Net


def _small() -> bytes:
    net = Net(1)
    x = net.int8((1, 6, 6, 3))
    padded = net.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    a = net.conv(padded, (3, 3), 4, padding=VALID)
    b = net.binary("ADD", a, net.depthwise(a, (3, 3)), activation=RELU)
    c = net.unary("LEAKY_RELU", b, options={"alpha": 0.1})
    d = net.resize("RESIZE_BILINEAR", net.concat([c, c], 3), (3, 3), False, True)
    e = net.fully_connected(net.reshape(net.mean(d, (1, 2), False), (1, 8)), 4)
    return net.finish([x], [net.softmax(e)])


# An honest file takes 6 steps for each of its bytes, and any file some thousand.
_STEPS_PER_BYTE = 30
_STEPS_ANYWAY = 10_000


@contextmanager
def _limited(steps: int) -> Iterator[None]:
    """Ends what takes more steps: calls of any function, and lines of narrows itself.

    Steps are the same on every machine, and a file that takes too many is not waited for.
    """
    left = steps

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise AssertionError(f"more than {steps} steps")
        return trace if f"{Path('narrows')}/" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def _import(data: bytes, counted: bool = True) -> bool:
    """Whether the file is taken; a refusal must be a NarrowsError, and in bounded work.

    Counting takes four times as long, so of thousands of files only some are counted.
    """
    steps = _STEPS_ANYWAY + _STEPS_PER_BYTE * len(data)
    refusal: NarrowsError | None = None
    with _limited(steps) if counted else nullcontext():
        try:
            lower(import_tflite(data, "hostile"))
        except NarrowsError as error:
            refusal = error
    if refusal is not None:
        assert str(refusal).startswith("hostile: ")
        assert isinstance(refusal, UnsupportedError) or "\n" not in str(refusal)
    return refusal is None


# --- Hostile files ------------------------------------------------------------------------------


def test_truncation_at_every_byte() -> None:
    data = _small()
    assert _import(data)
    assert not any(_import(data[:size]) for size in range(len(data)))


def test_a_wrong_byte_anywhere() -> None:
    data = _small()
    rng = random.Random(1)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= rng.choice((0x01, 0x80, 0xFF, rng.randrange(1, 256)))
        _import(bytes(damaged), counted=place % 16 == 0)


def test_wrong_words() -> None:
    data = _small()
    rng = random.Random(1)
    words = [n.to_bytes(4, "little") for n in (2**31 - 1, 2**31, 2**32 - 1, 65536, 65535)]
    for number in range(2000):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 5)):
            place = rng.randrange(0, len(data) - 4) & ~3
            inside = rng.randrange(len(data)).to_bytes(4, "little")
            damaged[place : place + 4] = rng.choice([*words, inside, rng.randbytes(4)])
        _import(bytes(damaged), counted=number % 16 == 0)


@pytest.mark.parametrize("name", INT8_NETWORKS)
def test_truncated_networks(name: str) -> None:
    data = network(name).read_bytes()
    for part in (8, 100, 1000, len(data) // 2):
        assert not _import(data[:part])


def test_operators_that_share_one_endless_vector(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of 24 KB with one operator in it, which stands for 9 million inputs."""
    writer = ModelWriter()
    x = writer.tensor((1, 4, 4, 1), scale=1.0)
    writer.operator("CONCATENATION", [x] * 3000, [x])
    writer._operators *= 3000
    write, written = exporter._operator, []

    def write_once(*arguments: Any) -> Any:
        if not written:
            written.append(write(*arguments))
        return written[0]

    monkeypatch.setattr(exporter, "_operator", write_once)
    data = writer.finish([x], [x])
    assert len(data) < 30_000
    assert not _import(data)


def test_the_limit_of_steps_ends_what_is_endless() -> None:
    with pytest.raises(AssertionError, match="more than 1000 steps"), _limited(1000):
        lower(import_tflite(_small(), "hostile"))


def test_values_of_another_size() -> None:
    writer = ModelWriter()
    x = writer.tensor((1, 2), scale=1.0)
    w = writer.tensor((4, 2), scale=1.0, data=np.zeros((4, 2)))
    writer._tensors[w] = replace(writer._tensors[w], shape=(4, 3))
    y = writer.tensor((1, 4), scale=1.0)
    writer.operator("FULLY_CONNECTED", [x, w], [y])
    with pytest.raises(ModelError, match=r"tensor 1: .*8 bytes of values.*needs 12"):
        import_tflite(writer.finish([x], [y]), "values")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a .tflite file"),
        (b"PK\3\4 a zip file instead", "not a .tflite file"),
        (b"\x10\0\0\0TFL3", "header: the file is truncated or damaged"),
    ],
)
def test_not_a_model(data: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        import_tflite(data, "file")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.tflite: cannot be read: No such file"):
        import_tflite(tmp_path / "absent.tflite")
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        import_tflite(tmp_path)


# --- Refusals ----------------------------------------------------------------------------------


def test_float_models_are_imported_but_not_lowered() -> None:
    graph = import_tflite(network(FLOAT_NETWORK))
    assert {tensor.dtype for tensor in graph.tensors} == {"float32"}
    with pytest.raises(ModelError, match="a float model; quantize it first") as caught:
        lower(graph)
    assert "\n" not in str(caught.value)


def test_all_unsupported_operators_are_named_at_once() -> None:
    net = Net(1)
    x = net.int8((1, 4, 4, 2))
    a = net.int8((1, 4, 4, 2))
    net.operator("SIGN", [x], [a])
    b = net.binary("ADD", a, x)  # depends on a refused operator: not a reason of its own
    c = net.transpose(b, (0, 3, 1, 2))
    d = net.int8((1, 2, 4, 4))
    net.operator("L2_NORMALIZATION", [c], [d], "L2NormOptions", {})
    split = net.reshape(x, (4, 2, 2, 2))
    e = net.softmax(split)
    with pytest.raises(UnsupportedError) as caught:
        import_tflite(net.finish([x], [d, e]), "bad")
    items = caught.value.items
    assert [(i.operator, i.index) for i in items] == [
        ("SIGN", 0),
        ("L2_NORMALIZATION", 3),
        ("SOFTMAX", 5),
    ]
    assert "has 4 dimensions longer than 1" in items[2].reason
    assert items[0].tensor == f"tensor_{a}"
    assert "bad: 3 unsupported operator(s)" in str(caught.value)


def _reason(net: Net, x: int, *outputs: int) -> str:
    with pytest.raises(UnsupportedError) as caught:
        import_tflite(net.finish([x], list(outputs)), "bad")
    assert len(caught.value.items) == 1
    return caught.value.items[0].reason


def test_custom_operators_are_named() -> None:
    net = Net(1)
    x = net.int8((1, 4))
    y = net.int8((1, 4))
    net.operator("CUSTOM", [x], [y])
    with pytest.raises(UnsupportedError, match="operator 0 CUSTOM"):
        import_tflite(net.finish([x], [y]), "bad")


def test_batches_are_refused() -> None:
    net = Net(1)
    x = net.int8((2, 4, 4, 1))
    with pytest.raises(ModelError, match=r"input tensor_0: shape .* has a batch of 2"):
        import_tflite(net.finish([x], [net.unary("RELU", x)]), "bad")


def test_an_input_has_no_values_in_the_file() -> None:
    net = Net(1)
    x = net.constant((1, 4, 4, 1))  # TFLite Micro would write inputs over it
    assert "it has values in the file" in _reason(net, x, net.unary("RELU", x))


def test_a_float_input_is_no_output_of_a_quantized_network() -> None:
    """TFLite Micro would give its floats back as they are, not as they are quantized."""
    net = Net(1)
    x, y = net.tensor((1, 4), "float32"), net.int8((1, 4))
    net.operator("QUANTIZE", [x], [y], "QuantizeOptions", {})
    assert _reason(net, x, y, x) == "it is a float32 or uint8 input"


def test_a_fully_connected_output_ends_with_its_channels() -> None:
    """TFLite Micro takes the last dimension for them, and reads so many rows of weights."""
    net = Net(1)
    x = net.int8((1, 2, 3, 4))
    assert "output shape [1, 2, 5, 3] of 5" in _reason(
        net, x, net.fully_connected(x, 5, (1, 2, 5, 3), 4)
    )


def test_a_shape_of_too_many_dimensions() -> None:
    net = Net(1)
    x = net.int8((1,) * 9)
    with pytest.raises(ModelError, match=r"tensor 0: .*9 dimensions, more than 8"):
        import_tflite(net.finish([x], [net.unary("RELU", x)]), "rank")


def test_what_feeds_nothing_writes_nothing_else() -> None:
    """TFLite Micro runs it all the same, and the next inference begins with what it wrote."""
    net = Net(1)
    x, w = net.int8((1, 4)), net.constant((1, 4))
    y = net.binary("ADD", x, w)
    net.operator("RELU", [x], [w])
    with pytest.raises(ModelError, match=r"operator 1 RELU writes .* which has a value already"):
        import_tflite(net.finish([x], [y]), "dead")


def test_a_reason_is_not_endless() -> None:
    item = Unsupported("PAD", 3, "y", f"paddings {list(range(1000))}")
    assert len(str(item)) < 450
    assert str(item).startswith("operator 3 PAD (y): paddings [0, 1, ")
    assert str(item).endswith("...")


def test_a_variable_has_no_values() -> None:
    """TFLite Micro begins with its zero point and does not look at the file's values."""
    net = Net(1)
    x = net.int8((1, 4, 4, 2))
    y = net.conv(x, (1, 1), 3)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(net.finish([x], [y])))
    model.subgraphs[0].tensors[1].isVariable = True
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    with pytest.raises(
        UnsupportedError, match="its weights tensor_1 are not a dense int8 constant"
    ):
        import_tflite(bytes(builder.Output()), "variable")


@pytest.mark.parametrize("scale", [2.0**-29, 2.0**35, 1e-38])
@pytest.mark.parametrize("name", ["LOGISTIC", "TANH"])
def test_scales_that_fixed_point_does_not_hold(name: str, scale: float) -> None:
    net = Net(1)
    x = net.int8((1, 4, 4, 2), scale, 3)
    y = net.unary(name, x, *((1 / 256, -128) if name == "LOGISTIC" else (1 / 128, 0)))
    assert f"its input has scale {scale:g}" in _reason(net, x, y)


def test_softmax_needs_its_own_output_quantization() -> None:
    net = Net(1)
    x, y = net.int8((1, 4)), net.int8((1, 4), 0.1, 0)
    net.operator("SOFTMAX", [x], [y], "SoftmaxOptions", {"beta": 1.0})
    assert "1/256" in _reason(net, x, y)


def test_computed_weights_are_refused() -> None:
    net = Net(1)
    x = net.int8((1, 4))
    y = net.int8((1, 4))
    net.operator("FULLY_CONNECTED", [x, x], [y], "FullyConnectedOptions", {})
    assert "not a dense int8 constant" in _reason(net, x, y)


def test_asymmetric_weights_are_refused() -> None:
    net = Net(1)
    x, w, y = net.int8((1, 4)), net.constant((2, 4), zero_point=3), net.int8((1, 2))
    net.operator("FULLY_CONNECTED", [x, w], [y], "FullyConnectedOptions", {})
    assert "symmetrically" in _reason(net, x, y)


@pytest.mark.parametrize(
    ("channels", "out", "groups", "reason"),
    [
        (6, 5, 2, "2 groups for 5 output channels"),
        (5, 4, 2, "its kernel has 2 input channels, its input 5"),
        (130, 65, 65, "65 groups, at most 64 are supported"),
    ],
)
def test_groups_that_are_refused(channels: int, out: int, groups: int, reason: str) -> None:
    net = Net(1)
    x = net.int8((1, 4, 4, channels))
    y = net.conv(x, (3, 3), out, groups=groups)
    assert _reason(net, x, y) == reason


def test_a_wrong_output_shape_is_refused() -> None:
    net = Net(1)
    x = net.int8((1, 5, 5, 2))
    y = net.pool("MAX_POOL_2D", x, (2, 2), (2, 2))
    net._tensors[y] = replace(net._tensors[y], shape=(1, 2, 2, 2))
    assert _reason(net, x, y) == "output shape [1, 2, 2, 2] instead of [1, 3, 3, 2]"


def test_float_inside_the_network_is_refused() -> None:
    net = Net(1)
    x = net.int8((1, 4, 4, 2))
    y = net.tensor((1, 4, 4, 2), "float32")
    net.operator("DEQUANTIZE", [x], [y])
    z = net.tensor((1, 4, 4, 2), "float32")
    net.operator("LOGISTIC", [y], [z])
    w = net.conv(x, (1, 1), 2)
    assert "is float32 in a network of int8" in _reason(net, x, z, w)


def test_what_feeds_nothing_is_not_looked_at() -> None:
    net = Net(1)
    x, unused = net.int8((1, 4)), net.int8((1, 4))
    net.operator("SIGN", [x], [unused])
    graph = import_tflite(net.finish([x], [net.unary("RELU", x)]), "fine")
    assert len(graph.operators) == 1


def test_an_input_quantized_in_two_ways_is_refused() -> None:
    net = Net(1)
    x = net.tensor((1, 4, 4, 1), "float32")
    parts = [net.int8((1, 4, 4, 1), scale, 0) for scale in (0.1, 0.2)]
    for part in parts:
        net.operator("QUANTIZE", [x], [part])
    assert _reason(net, x, *parts) == "its input is quantized in several ways"


def test_a_tensor_read_before_it_is_written() -> None:
    net = Net(1)
    x, y, z = (net.int8((1, 4)) for _ in range(3))
    net.operator("RELU", [y], [z])
    net.operator("RELU", [x], [y])
    with pytest.raises(ModelError, match="operator 0 RELU reads tensor_1, which nothing has"):
        import_tflite(net.finish([x], [z]), "bad")


def test_a_tensor_written_twice() -> None:
    net = Net(1)
    x, y = net.int8((1, 4)), net.int8((1, 4))
    net.operator("RELU", [x], [y])
    net.operator("RELU", [x], [y])
    with pytest.raises(ModelError, match="operator 1 RELU writes tensor_1, which has a value"):
        import_tflite(net.finish([x], [y]), "bad")


def test_a_multiplier_that_is_too_large() -> None:
    net = Net(1)
    x = net.int8((1, 4), 1e6)
    y = net.fully_connected(x, 2, gain=1e20)
    with pytest.raises(ModelError, match=r"its scale .* is too small for its input's"):
        lower(import_tflite(net.finish([x], [y]), "bad"))


# --- What comes out ------------------------------------------------------------------------------


def test_the_table_of_supported_operators() -> None:
    rows = {row.name: row.constraints for row in supported_operators()}
    assert {"CONV_2D", "MEAN", "TRANSPOSE", "QUANTIZE", "SPLIT"} <= set(rows)
    assert all(text.endswith(".") for texts in rows.values() for text in texts)
    assert all(hasattr(tflite.BuiltinOperator, name) for name in rows)
    assert any("batch 1" in text for text in rows["CONV_2D"])


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("mlperf_ad01_int8", {"conv": 10}),
        ("mlperf_kws_int8", {"conv": 6, "depthwise": 4, "pool": 1, "softmax": 1, "reshape": 0}),
        ("tinyengine_vww", {"conv": 31, "depthwise": 15, "mean": 2, "pad": 0, "reshape": 0}),
        ("mobilenet_v2_1.0_224_ptq", {"conv": 36, "depthwise": 17, "lookup": 0}),
    ],
)
def test_operators_of_the_networks(name: str, kinds: dict[str, int]) -> None:
    qgraph = lower(import_tflite(network(name)))
    assert qgraph.name == f"{name}.tflite"
    found = [op.kind for op in qgraph.ops]
    assert {kind: found.count(kind) for kind in kinds} == kinds


def test_edges_of_the_networks() -> None:
    mobilenet = lower(import_tflite(network("mobilenet_v2_1.0_224_ptq")))
    (source,), (target,) = mobilenet.inputs, mobilenet.outputs
    assert (source.dtype, source.shape) == ("uint8", (1, 224, 224, 3))
    assert (target.dtype, target.shape, target.zero_point) == ("uint8", (1, 1001), 0)
    assert source.table == bytes((i + 128) % 256 for i in range(256))
    assert target.table == bytes((i + 128) % 256 for i in range(256))
    vww = lower(import_tflite(network("tinyengine_vww")))
    assert [edge.dtype for edge in (*vww.inputs, *vww.outputs)] == ["float32", "float32"]


def _graph() -> Graph:
    return import_tflite(_small(), "small")


@pytest.mark.parametrize(
    "change",
    [
        lambda g: replace(g, operators=g.operators[1:]),
        lambda g: replace(g, operators=(*g.operators, g.operators[0])),
        lambda g: replace(g, outputs=()),
        lambda g: replace(g, tensors=(replace(g.tensors[0], shape=(6, 6, 0)), *g.tensors[1:])),
    ],
)
def test_verify_graph_finds(change: Any) -> None:
    verify_graph(_graph())
    with pytest.raises(ModelError, match="small: "):
        verify_graph(change(_graph()))


# --- The writer -------------------------------------------------------------------------------


def test_written_values_are_aligned() -> None:
    data = _small()
    assert data[4:8] == b"TFL3"
    model = tflite.Model.GetRootAsModel(data, 0)
    base = np.frombuffer(data, np.uint8).ctypes.data
    places = [
        model.Buffers(i).DataAsNumpy().ctypes.data - base
        for i in range(model.BuffersLength())
        if model.Buffers(i).DataLength()
    ]
    assert places
    assert all(place % 16 == 0 for place in places)


def test_written_data_must_fill_the_tensor() -> None:
    with pytest.raises(ValueError, match="does not fill"):
        ModelWriter().tensor((2, 3), data=np.zeros(5))
