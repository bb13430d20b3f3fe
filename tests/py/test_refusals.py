# SPDX-License-Identifier: Apache-2.0
"""What is said of files that cannot be imported: their kind in one line, all causes at once, and
nothing that merely follows from another refusal."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

from models import case
from narrows.cli import main
from narrows.errors import ModelError, ModelKind, Unsupported, UnsupportedError
from narrows.importers import load, model_kinds
from narrows.importers.metadata import model_metadata
from narrows.importers.other_files import refuse_other_files
from narrows.importers.tflite import import_tflite
from narrows.stages.records import MAGIC
from single import Net
from test_functions import in_floats


def refusal(model: bytes | Path) -> UnsupportedError:
    with pytest.raises(UnsupportedError) as caught:
        import_tflite(model, "file" if isinstance(model, bytes) else None)
    return caught.value


def lines(error: UnsupportedError) -> list[str]:
    return [line.strip() for line in str(error).splitlines()[1:]]


# --- Kinds of models -------------------------------------------------------------------------


def changed(data: bytes, change: Callable[[Any], None]) -> bytes:
    """A file whose records (the schema's object interface) are changed."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def custom(name: str) -> bytes:
    """A network of one custom operator of this name."""
    net = Net(1)
    x, y = net.int8((1, 4)), net.int8((1, 4))
    net.operator("CUSTOM", [x], [y])
    return changed(net.finish([x], [y]), lambda m: setattr(m.operatorCodes[0], "customCode", name))


def _floats(net: Net, *names: str) -> tuple[int, int]:
    """A chain of float operators of one input and one output each."""
    x = y = net.tensor((1, 4), "float32")
    for name in names:
        y, source = net.tensor((1, 4), "float32"), y
        net.operator(name, [source], [y])
    return x, y


def _dense(net: Net, x: int, weights: int, dtype: str, **kw: float) -> int:
    y = net.tensor((1, 4), dtype, **kw)
    net.operator("FULLY_CONNECTED", [x, weights], [y], "FullyConnectedOptions", {})
    return y


def _uint8() -> bytes:
    net = Net(1)
    x = net.tensor((1, 4), "uint8", scale=0.1, zero_point=128)
    w = net.tensor((4, 4), "uint8", scale=0.1, zero_point=128, data=np.ones((4, 4)))
    y = _dense(net, _dense(net, x, w, "uint8", scale=0.1), w, "uint8", scale=0.1)
    z = net.tensor((1, 4), "float32")
    net.operator("DEQUANTIZE", [y], [z], "DequantizeOptions", {})
    return net.finish([x], [z])


def _int16() -> bytes:
    net = Net(1)
    x = net.tensor((1, 4), "int16", scale=0.1)
    w = net.constant((4, 4), zero_point=0)
    return net.finish([x], [_dense(net, x, w, "int16", scale=0.1)])


def _fake_quant() -> bytes:
    net = Net(1)
    x, y = _floats(net, "FAKE_QUANT", "LOGISTIC", "FAKE_QUANT", "LOGISTIC", "FAKE_QUANT")
    return net.finish([x], [y])


def _partly_float() -> bytes:
    net = Net(1)
    x, z = net.int8((1, 4)), net.int8((1, 4))
    y = net.tensor((1, 4), "float32")
    net.operator("DEQUANTIZE", [x], [y], "DequantizeOptions", {})
    for name in ("TANH", "LOGISTIC"):
        y, source = net.tensor((1, 4), "float32"), y
        net.operator(name, [source], [y])
    net.operator("QUANTIZE", [y], [z], "QuantizeOptions", {})
    return net.finish([x], [net.unary("RELU", z, 0.1)])


def _recurrent() -> bytes:
    net = Net(1)
    x, y = _floats(net, "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "WHILE")
    return net.finish([x], [y])


def _sparse() -> bytes:
    net = Net(1)
    x, w = net.int8((1, 4)), net.int8((4, 4), zero_point=0)
    net.operator("DENSIFY", [net.constant((4, 4), zero_point=0)], [w])
    return net.finish([x], [_dense(net, x, w, "int8", scale=0.1)])


def _weights(change: Callable[[Any, Any], None]) -> bytes:
    """A fully connected layer whose weights are changed: their tensor and buffer."""
    net = Net(1)
    x, w = net.int8((1, 4)), net.constant((4, 4), zero_point=0)
    data = net.finish([x], [_dense(net, x, w, "int8", scale=0.1)])

    def apply(model: Any) -> None:
        tensor = model.subgraphs[0].tensors[w]
        change(tensor, model.buffers[tensor.buffer])

    return changed(data, apply)


def _sparsity() -> bytes:
    """Weights with a sparsity record, whose buffer holds a part of the values only."""

    def change(tensor: Any, buffer: Any) -> None:
        tensor.sparsity = schema.SparsityParametersT()
        buffer.data = buffer.data[:7]

    return _weights(change)


def _int4() -> bytes:
    def change(tensor: Any, buffer: Any) -> None:
        tensor.type = schema.TensorType.INT4
        buffer.data = buffer.data[:8]

    return _weights(change)


KINDS: list[tuple[Callable[[], bytes], ModelKind, str]] = [
    (_int16, model_kinds.INT16_ACTIVATIONS, "input tensor_0 and 1 more"),
    (_uint8, model_kinds.UINT8, "operator 0 FULLY_CONNECTED and 2 more"),
    (_fake_quant, model_kinds.FAKE_QUANT, "operator 0 FAKE_QUANT and 2 more"),
    (_partly_float, model_kinds.PARTLY_FLOAT, "operator 1 TANH and 1 more"),
    (_recurrent, model_kinds.RECURRENT, "operator 0 UNIDIRECTIONAL_SEQUENCE_LSTM and 2 more"),
    (_sparse, model_kinds.SPARSE, "operator 0 DENSIFY"),
    (_sparsity, model_kinds.SPARSE, "operator 0 FULLY_CONNECTED"),
    (_int4, model_kinds.INT4, "operator 0 FULLY_CONNECTED"),
    (lambda: custom("ethos-u"), model_kinds.ETHOS_U, "operator 0 CUSTOM ethos-u"),
    (lambda: custom("edgetpu-custom-op"), model_kinds.EDGE_TPU, "operator 0 CUSTOM edgetpu-"),
    (lambda: custom("FlexErf"), model_kinds.FLEX, "operator 0 CUSTOM FlexErf"),
]


@pytest.mark.parametrize(("build", "kind", "where"), KINDS, ids=[k[1].name for k in KINDS])
def test_the_kind_of_a_model_is_named_in_one_line(
    build: Callable[[], bytes], kind: ModelKind, where: str
) -> None:
    text = str(refusal(build()))
    assert text.startswith(f"file: {kind.name}; {kind.advice} ({where}")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cnn.i16x8.tflite", model_kinds.INT16_ACTIVATIONS),
    ],
)
@pytest.mark.parametrize("command", ["compile", "quantize"])
def test_shared_kinds(
    name: str, kind: ModelKind, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(case(name))
    data = ["--data", str(tmp_path)] if command == "quantize" else []
    assert main([command, path, "-o", str(tmp_path / "out"), *data]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"narrows: error: {path}: {kind.name}; {kind.advice}")
    assert "is supported" not in line


def test_other_causes_stand_beside_the_kind() -> None:
    net = Net(1)
    x, y, z, v = (net.int8((1, 4)) for _ in range(4))
    net.operator("SVDF", [x], [y])
    net.operator("RNN", [y], [z])
    net.operator("CUMSUM", [z], [v])
    error = refusal(net.finish([x], [v]))
    first, second = lines(error)
    assert first.startswith(f"{model_kinds.RECURRENT.name}; ")
    assert first.endswith("(operator 0 SVDF and 1 more)")
    assert second.startswith("operator 2 CUMSUM (")
    assert f"{len(error.items)} unsupported operator(s)" in str(error)


def test_one_cause_is_one_line() -> None:
    items = [Unsupported("GELU", i, f"t{i}", "this operator is not supported") for i in range(66)]
    error = UnsupportedError("many", (*items, Unsupported("ELU", 66, "", "so")))
    assert lines(error) == [
        "operator 0 GELU (t0): this operator is not supported "
        "(so are operators 1, 2, 3, 4, 5 and 60 more)",
        "operator 66 ELU: so",
    ]


# --- Whole files that are not damaged ---------------------------------------------------------


def test_shapes_that_are_not_fixed() -> None:
    net = Net(1)
    x = net.int8((-1, 4))
    y = net.int8((-1, 4))
    net.operator("RELU", [x], [y])
    assert "input tensor_0: shape [-1, 4] is not fixed" in str(refusal(net.finish([x], [y])))


def test_shapes_that_are_left_to_run_time() -> None:
    net = Net(1)
    x = net.int8((1, 10, 6))
    y = net.like(x, (1, 1))
    net.operator("RESHAPE", [x], [y], "ReshapeOptions", {})
    (line,) = lines(refusal(net.finish([x], [y])))
    assert line.startswith("operator 0 RESHAPE (")
    assert "shape [1, 1] for the elements of [1, 10, 6], so its shapes are found only when" in line


def test_no_inputs() -> None:
    net = Net(1)
    x = net.int8((1, 4))
    data = net.finish([], [net.unary("RELU", x)])
    with pytest.raises(ModelError, match="file: its main subgraph has no inputs or no outputs"):
        import_tflite(data, "file")


def test_values_behind_the_flatbuffer() -> None:
    def change(tensor: Any, buffer: Any) -> None:
        buffer.data, buffer.offset, buffer.size = None, 4096, 16

    with pytest.raises(ModelError, match="the values of tensor_1 stand behind the flatbuffer"):
        import_tflite(_weights(change), "file")


# --- One refusal does not hide another, nor make others up -----------------------------------


def test_the_walk_goes_on_behind_a_refused_input() -> None:
    net = Net(1)
    x, other = net.int8((2, 4, 4, 1)), net.int8((1, 4))
    y, z = net.int8((2, 4, 4, 1)), net.int8((1, 4))
    net.operator("SIGN", [x], [y])
    net.operator("CUMSUM", [other], [z])
    error = refusal(net.finish([x, other], [y, z]))
    assert [str(item) for item in error.items] == [
        "input tensor_0: shape [2, 4, 4, 1] has a batch of 2, 1 is supported",
        f"operator 0 SIGN (tensor_{y}): this operator is not supported",
        f"operator 1 CUMSUM (tensor_{z}): this operator is not supported",
    ]


def test_the_walk_goes_on_behind_a_refused_operator() -> None:
    net = Net(1)
    x, a = net.int8((1, 6, 6, 4)), net.int8((1, 6, 6, 4))
    net.operator("SIGN", [x], [a])
    b = net.conv(a, (3, 3), 4)  # fine as far as anyone can tell
    c = net.unary("LOGISTIC", b, 0.1)
    error = refusal(net.finish([x], [net.unary("RELU", c)]))
    assert [(i.operator, i.index) for i in error.items] == [("SIGN", 0), ("LOGISTIC", 2)]


def test_a_quantize_behind_a_refused_operator_is_not_listed() -> None:
    """SIGN has no int8 form: TensorFlow's converter puts a DEQUANTIZE before and a QUANTIZE
    behind it."""
    net = Net(1)
    x = net.int8((1, 6, 6, 4))
    y = in_floats(net, "SIGN", x, 0.1, 0)
    (line,) = lines(refusal(net.finish([x], [y])))
    assert line.startswith("operator 1 SIGN (")


def _shape_of(net: Net, x: int) -> int:
    """What TensorFlow's converter writes for the shape of a transposed convolution's output."""
    shape, batch, whole = (net.tensor(s, "int32") for s in ((4,), (), (4,)))
    net.operator("SHAPE", [x], [shape], "ShapeOptions", {"out_type": 2})
    ranges = [net.ints((n,)) for n in (0, 1, 1)]
    options = {"shrink_axis_mask": 1}
    net.operator("STRIDED_SLICE", [shape, *ranges], [batch], "StridedSliceOptions", options)
    sizes = [net.ints(n) for n in (8, 8, 3)]
    net.operator("PACK", [batch, *sizes], [whole], "PackOptions", {"values_count": 4})
    return whole


def test_shape_arithmetic_for_a_refused_operator_is_not_listed() -> None:
    net = Net(1)
    x, y = net.int8((1, 4, 4, 3)), net.int8((1, 8, 8, 3))
    w = net.constant((3, 2, 2, 3), zero_point=0)
    net.operator("CONV_3D_TRANSPOSE", [_shape_of(net, x), w, x], [y])
    (line,) = lines(refusal(net.finish([x], [y])))
    assert line == f"operator 3 CONV_3D_TRANSPOSE (tensor_{y}): this operator is not supported"


def test_shapes_that_are_an_output_are_listed() -> None:
    net = Net(1)
    x = net.int8((1, 4, 4, 3))
    whole = _shape_of(net, x)
    error = refusal(net.finish([x], [whole]))
    assert [(item.operator, item.reason) for item in error.items] == [
        ("output", "it does not depend on an input")
    ]


def test_arithmetic_on_values_is_listed() -> None:
    """An ARG_MAX gives integers, too, but of an activation's values."""
    net = Net(1)
    x, y, z = net.int8((1, 4)), net.tensor((1,), "int32"), net.tensor((1,), "int32")
    net.operator("ARG_MAX", [x, net.ints(1)], [y])
    net.operator("NEG", [y], [z])
    error = refusal(net.finish([x], [z]))
    assert [item.operator for item in error.items] == ["NEG"]


# --- Words of shapes -------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 4, 4, 3, 2), (4, 4, 3, 2)])
def test_an_inner_dimension_is_no_batch(shape: tuple[int, ...]) -> None:
    net = Net(1)
    x = net.int8((1, 4, 4, 6))
    text = str(refusal(net.finish([x], [net.softmax(net.reshape(x, shape))])))
    assert f"shape {list(shape)} has 4 dimensions longer than 1, 3 are supported" in text
    assert "batch" not in text


def test_six_dimensions_that_change_places() -> None:
    net = Net(1)
    x = net.int8((8, 8, 8))
    y = net.transpose(net.reshape(x, (4, 2, 4, 2, 4, 2)), (5, 4, 3, 2, 1, 0))
    text = str(refusal(net.finish([x], [net.reshape(y, (8, 8, 8))])))
    assert "output" in text
    assert "moves more than 5 dimensions" in text


# --- Files that are no models ----------------------------------------------------------------


def _zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")


OTHERS: list[tuple[str, bytes | tuple[str, ...], str]] = [
    ("net.h5", b"\x89HDF\r\n\x1a\n" + bytes(99), "a Keras or HDF5 file; convert it with tf.lite"),
    ("net.keras", ("config.json", "model.weights.h5"), "a Keras file; convert it with tf.lite"),
    ("net.pt", ("net/data.pkl", "net/version"), "a PyTorch file; .*torch.onnx.export"),
    ("net.pt2", ("net/models/model.json",), "a PyTorch file; .*torch.onnx.export"),
    ("net.pth", b"\x80\x02\x8a\nl\xfc", "a Python pickle, as PyTorch saves .*torch.onnx.export"),
    ("net.zip", ("a/net.tflite", "labels.txt"), "a zip archive; unpack a/net.tflite"),
    ("net.task", ("labels.txt",), "a zip archive; give a .tflite"),
    ("net.nrw", MAGIC + bytes(99), "a blob, which is compiled already"),
    ("net.tflite", b"", "an empty file"),
    ("net.tflite", b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    ("net.tflite", b"\n\n<!DOCTYPE html>\n<html>", "a web page"),
    ("net.cc", b"#include <x.h>\nalignas(16) const unsigned char g[] = {0x1c,", "C source"),
    ("net.ort", b"\x30\0\0\0ORTM" + bytes(9), "an ONNX Runtime .ort file"),
    ("net.pte", b"\x30\0\0\0ET12" + bytes(9), "an ExecuTorch program"),
    ("saved_model.pb", b"\x08\x01\x12\x09", "a SavedModel; .*from_saved_model"),
    ("cat.png", b"\x89PNG\r\n", "a picture"),
    ("x.npy", b"\x93NUMPY\x01", "a NumPy array"),
    ("net.tflite.gz", b"\x1f\x8b\x08", "compressed by gzip"),
]


@pytest.mark.parametrize(("name", "content", "words"), OTHERS, ids=[o[2][:20] for o in OTHERS])
def test_other_files(
    name: str,
    content: bytes | tuple[str, ...],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        _zip(path, *content)
    with pytest.raises(ModelError, match=f"{name}: this is {words}"):
        load(path)
    for command in (["compile"], ["quantize", "--data", str(tmp_path)], ["plan"]):
        output = [] if command == ["plan"] else ["-o", str(tmp_path / "out")]
        assert main([command[0], str(path), *command[1:], *output]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"narrows: error: {path}: this is ")


@pytest.mark.parametrize("name", ["saved_model.pb", "saved_model.pbtxt", "other.txt"])
def test_folders(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x08\x01")
    words = "a folder" if name == "other.txt" else "a SavedModel; .*from_saved_model"
    for read in (load, model_metadata):
        with pytest.raises(ModelError, match=f"this is {words}"):
            read(tmp_path)


def test_what_is_in_a_file_decides_not_its_name(tmp_path: Path) -> None:
    net = Net(1)
    x = net.int8((1, 4))
    data = net.finish([x], [net.unary("RELU", x)])
    for name in ("net.onnx", "net.h5", "net", "saved_model.pb"):
        (tmp_path / name).write_bytes(data)
        assert len(load(tmp_path / name).operators) == 1
    # TensorFlow Lite keeps labels in a zip archive behind the model.
    labelled = tmp_path / "labelled.tflite"
    _zip(labelled, "labels.txt")
    labelled.write_bytes(data + labelled.read_bytes())
    assert len(load(labelled).operators) == 1


def test_a_file_of_no_known_kind_is_left_to_its_importer(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(b"no model of any kind")
    refuse_other_files(path)
    with pytest.raises(ModelError, match=r"not a \.tflite file"):
        load(path)
    refuse_other_files(tmp_path / "absent.tflite")
    with pytest.raises(ModelError, match=r"absent\.tflite: cannot be read"):
        load(tmp_path / "absent.tflite")
