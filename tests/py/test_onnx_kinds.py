# SPDX-License-Identifier: Apache-2.0
"""What errors say of ONNX models that are not taken: the kind of model, each cause once, all of
them, and nothing that only follows from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnx_static
from models import case
from narrows.cli import main
from narrows.errors import ModelError, UnsupportedError
from narrows.exporters.export import export_tflite
from narrows.importers.onnx import import_onnx
from narrows.quantization.lower import lower
from oracle import Oracle
from quantized import as_inputs
from test_onnx import Net, nhwc


def refusal(model: bytes, name: str = "model.onnx") -> str:
    with pytest.raises(ModelError) as caught:
        import_onnx(model, name)
    message = str(caught.value)
    assert "damaged" not in message
    return message


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
def test_recurrent_networks(operator: str) -> None:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator]
    net = Net((9, 1, 4))
    w, r = net.normal(1, gates * 5, 4), net.normal(1, gates * 5, 5)
    y, last = net.add(operator, "x", w, r, outputs=2, hidden_size=5)
    y = net.add("Squeeze", y, net.constant([1]))
    message = refusal(net.model(net.add("Relu", y), last))
    assert f"it is recurrent ({operator})" in message
    assert "convolutions over time" in message


def custom(operator: str, domain: str) -> bytes:
    net = Net()
    y = net.add(operator, net.conv("x", 4, 4, 1, 1), domain=domain)
    model = onnx.load_from_string(net.model(net.add("Relu", y)))
    model.opset_import.append(helper.make_opsetid(domain, 1))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("operator", "domain", "words"),
    [
        ("FusedConv", "com.microsoft", "optimized by onnxruntime"),
        ("MatMulNBits", "com.microsoft", "quantized in its weights only"),
        ("DynamicQuantizeMatMul", "com.microsoft", "dynamically quantized"),
        ("TreeEnsembleRegressor", "ai.onnx.ml", "classical machine learning"),
        ("Mine", "my.domain", "operator 1 my.domain.Mine (t1_0): this operator is not supported"),
    ],
)
def test_operators_of_other_domains(operator: str, domain: str, words: str) -> None:
    assert words in refusal(custom(operator, domain))


def test_a_kind_and_other_causes() -> None:
    model = onnx.load_from_string(custom("FusedConv", "com.microsoft"))
    model.graph.node.append(helper.make_node("Hardmax", ["x"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    message = refusal(bytes(model.SerializeToString()))
    assert "; besides, 1 unsupported operator(s):\n  operator 3 Hardmax" in message


def test_a_cause_that_repeats_is_told_once() -> None:
    net = Net()
    y = "x"
    for _ in range(12):
        y = net.add("Hardmax", y)
    message = refusal(net.model(net.add("Erf", y)))
    assert message.count("\n") == 2
    assert (
        "operator 0 Hardmax (t0_0): this operator is not supported (so are operators 1, 2,"
        in message
    )
    assert "13 unsupported operator(s)" in message


def test_what_stands_behind_a_refusal_is_looked_at() -> None:
    net = Net()
    y = net.conv(net.add("Hardmax", "x"), 5, 4, 3, 3)
    y = net.add("AveragePool", y, kernel_shape=[2, 2], dilations=[2, 2])
    y = net.add("Resize", y, "", net.constant([1.0, 1.0, 2.0, 2.0]), mode="cubic")
    with pytest.raises(UnsupportedError) as caught:
        import_onnx(net.model(y, opset=19))
    assert [item.operator for item in caught.value.items] == ["Hardmax", "AveragePool", "Resize"]


def test_what_stands_behind_an_input_that_is_refused_is_looked_at() -> None:
    net = Net(dtype=TensorProto.FLOAT16)
    y = net.add("Hardmax", net.add("Cast", "x", to=1))
    with pytest.raises(UnsupportedError) as caught:
        import_onnx(net.model(y))
    assert [item.operator for item in caught.value.items] == ["input", "Hardmax"]


def test_nothing_is_said_of_what_only_follows() -> None:
    """How the values behind a refusal are stored is not known, nor their shapes always."""
    net = Net()
    y = net.add("Hardmax", "x")
    y = net.add("Transpose", y, perm=[0, 3, 2, 1])
    y = net.add("Reshape", net.add("Flatten", y), net.constant([1, 6, 4, 7]))
    z = net.add("Mystery", "x")
    size = net.add("Slice", net.add("Shape", z), net.constant([0]), net.constant([1]))
    z = net.add("Reshape", z, net.add("Concat", size, net.constant([-1]), axis=0))
    with pytest.raises(UnsupportedError) as caught:
        import_onnx(net.model(net.conv(y, 2, 6, 1, 1), net.add("Relu", z)))
    assert [item.operator for item in caught.value.items] == ["Hardmax", "Mystery"]


def test_shape_arithmetic_that_feeds_a_refusal_is_not_listed() -> None:
    net = Net()
    indices = net.add("Cast", net.add("ArgMax", "x", axis=1), to=TensorProto.INT64)
    y = net.add("ScatterND", "x", net.add("Mod", indices, net.constant(3)), "x")
    with pytest.raises(UnsupportedError) as caught:
        import_onnx(net.model(y))
    assert [item.operator for item in caught.value.items] == ["ScatterND"]


# --- Whole files that are not what narrows takes ----------------------------------------------


def changed(change: Any) -> bytes:
    net = Net()
    model = onnx.load_from_string(net.model(net.conv("x", 4, 4, 1, 1)))
    change(model)
    return bytes(model.SerializeToString())


def _sparse(model: Any) -> None:
    values = helper.make_tensor("s", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [2])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))


def _sequence(model: Any) -> None:
    model.graph.input.append(
        helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None)
    )


def _no_inputs(model: Any) -> None:
    del model.graph.input[:]
    model.graph.node.insert(0, helper.make_node("Identity", ["c0"], ["x"]))


def _half(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def _named_size(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "rows"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_sparse, "1 sparse initializers; store them dense"),
        (_sequence, "input list is a sequence; narrows takes tensors"),
        (_no_inputs, "it has no inputs"),
        (_half, "input x: it is float16; narrows takes inputs of float32"),
        (
            _named_size,
            "no fixed shape: [1, 4, rows, 6]; give one, as in --input-shape 1x4x32x6",
        ),
    ],
)
def test_whole_files_are_not_called_damaged(change: Any, words: str) -> None:
    assert words in refusal(changed(change))


def test_a_model_without_nodes_is_one() -> None:
    def bare(model: Any) -> None:
        del model.graph.node[:]
        model.graph.output[0].name = "x"

    graph = import_onnx(changed(bare), "bare")
    assert not graph.operators
    assert graph.outputs[0].tensor == graph.inputs[0].tensor


def test_errors_show_the_names_of_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.v2.onnx"
    path.write_bytes(changed(lambda model: None))
    assert main(f"compile {path} -o {tmp_path}/net.nrw".split()) == 1
    assert "net.v2.onnx: a float model" in capsys.readouterr().err


# --- PyTorch's converted models ---------------------------------------------------------------


def test_a_converted_pytorch_model_is_exact_enough() -> None:
    """Its integers are cast to the type that they have. Judged by onnxruntime, which rounds in
    floats: a step of difference may be there."""
    model = case("qat_x86_conv.onnx").read_bytes()
    graph = import_onnx(model, "qat")
    qgraph = lower(graph)
    _, height, width, channels = graph.inputs[0].shape
    rng = np.random.default_rng(1)
    shape = (1, channels, height, width)
    samples = [rng.normal(0, 1, shape).astype(np.float32) for _ in range(16)]
    wanted = onnx_static.run(model, samples)
    oracle, edge = Oracle(export_tflite(graph)), qgraph.outputs[0]
    got = [oracle.run(x)[0] for x in as_inputs(qgraph, [[nhwc(x)] for x in samples])]
    assert edge.dtype == "float32"
    step = qgraph.tensors[edge.tensor].scale
    steps = np.rint((np.concatenate(got) - wanted) / step)
    assert np.abs(steps).max() <= 1
    assert (steps != 0).mean() < 0.1
