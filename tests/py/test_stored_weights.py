# SPDX-License-Identifier: Apache-2.0
"""Float networks whose files keep weights in fewer bits are the float networks that they stand
for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from litert import litert_outputs
from models import case
from narrows.errors import UnsupportedError
from narrows.graph.graph import Graph
from narrows.importers.tflite import import_tflite
from narrows.quantization.float_model import FloatModel
from single import Net

X = np.random.default_rng(1).normal(0, 1, (3, 1, 5, 6, 4)).astype(np.float32)


def convolution(net: Net, x: int, weights: int) -> int:
    y = net.tensor((1, 5, 6, 3), "float32")
    bias = net.tensor((3,), "float32", data=np.array([0.5, -1.0, 2.0], np.float32))
    options = {"padding": 0, "stride_h": 1, "stride_w": 1}
    options |= {"dilation_h_factor": 1, "dilation_w_factor": 1}
    net.operator("CONV_2D", [x, weights, bias], [y], "Conv2DOptions", options)
    return y


def whole(net: Net) -> int:
    """int8 with a scale for each channel, which a kernel for dynamic ranges reads."""
    return net.weights((3, 3, 3, 4), 0, per_channel=True)[0]


def whole_dequantized(net: Net) -> int:
    """int8 and a DEQUANTIZE."""
    weights = net.tensor((3, 3, 3, 4), "float32")
    net.operator("DEQUANTIZE", [net.weights((3, 3, 3, 4), 0, per_channel=False)[0]], [weights])
    return weights


KINDS = {"int8": whole, "int8, dequantized": whole_dequantized}


def built(kind: str) -> bytes:
    net = Net(2)
    x = net.tensor((1, 5, 6, 4), "float32")
    y = convolution(net, x, KINDS[kind](net))
    return net.finish([x], [y])


def require_near(graph: Graph, model: bytes, inputs: npt.NDArray[np.float32], share: float) -> None:
    """Outputs of LiteRT for the file. share: of the largest that others may be off."""
    for x in inputs:
        (got,) = FloatModel(graph).run([x])
        (want,) = litert_outputs(model, [x])
        np.testing.assert_allclose(got, want, rtol=0, atol=share * np.abs(want).max())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_the_numbers_that_they_stand_for(kind: str) -> None:
    model = built(kind)
    graph = import_tflite(model, "stored")
    assert graph.warnings == ("its weights are int8; they are taken as float32",)
    assert {t.dtype for t in graph.tensors} == {"float32"}
    # LiteRT rounds activations, too, where no DEQUANTIZE stands between.
    require_near(graph, model, X, 0.03 if kind == "int8" else 1e-5)


@pytest.mark.parametrize(
    ("name", "dtype", "share"), [("fp16", "float16", 1e-4), ("dyn", "int8", 0.1)]
)
def test_files_of_tensorflow_s_converter(name: str, dtype: str, share: float) -> None:
    model = case(f"cnn.{name}.tflite").read_bytes()
    graph = import_tflite(model, name)
    assert graph.warnings == (f"its weights are {dtype}; they are taken as float32",)
    shape = graph.inputs[0].shape
    inputs = np.random.default_rng(4).normal(0, 1, (3, *shape)).astype(np.float32)
    require_near(graph, model, inputs, share)


def test_scales_that_do_not_fit_the_weights_are_refused() -> None:
    net = Net(2)
    x = net.tensor((1, 5, 6, 4), "float32")
    data = np.ones((3, 3, 3, 4), np.int8)
    weights = net.tensor(data.shape, "int8", scale=np.full(2, 0.1), axis=0, data=data)
    with pytest.raises(UnsupportedError, match="CONV_2D"):
        import_tflite(net.finish([x], [convolution(net, x, weights)]), "unfit")


def test_a_network_of_int8_keeps_its_weights() -> None:
    net = Net(3)
    x = net.int8((1, 5, 6, 4))
    graph = import_tflite(net.finish([x], [net.conv(x, (3, 3), 3)]), "int8")
    assert not graph.warnings
    assert "int8" in {t.dtype for t in graph.tensors if t.data is not None}
