# SPDX-License-Identifier: Apache-2.0
"""ONNX of opset 7 to 25, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnx_static
from conftest import Narrows
from models import case
from narrows.errors import ModelError, UnsupportedError
from narrows.importers.onnx import import_onnx
from narrows.importers.tflite import import_tflite
from narrows.quantization.float_model import FloatModel
from test_onnx import Net, batch_norm, nhwc, outside

# What changed between opset 7 and 13, or reads its attributes in another way; with the opsets
# that have the form.
Make = Callable[[Net], str]


def _scaled(net: Net, operator: str, mode: str, scales: tuple[float, float]) -> Any:
    return net.add(operator, "x", net.constant([1.0, 1.0, *scales]), mode=mode)


def _shape_arithmetic(net: Net) -> Any:
    batch = net.add("Gather", net.add("Shape", "x"), net.constant(0), axis=0)
    batch = net.add("Unsqueeze", batch, axes=[0])
    flat = net.add("Reshape", "x", net.add("Concat", batch, net.constant([-1]), axis=0))
    return net.add("Gemm", flat, net.normal(168, 3), net.normal(3))


def _squeezed(net: Net) -> Any:
    y = net.add("Squeeze", net.add("GlobalAveragePool", "x"), axes=[2, 3])
    return net.add("Mul", "x", net.add("Unsqueeze", y, axes=[2, 3]))


def _split(net: Net) -> Any:
    a, b = net.add("Split", "x", outputs=2, axis=1, split=[1, 3])
    return net.add("Concat", b, a, axis=1)


def _quantized(net: Net) -> Any:
    s, z = net.constant(np.float32(0.05)), net.constant(3, np.uint8)
    return net.add("DequantizeLinear", net.add("QuantizeLinear", "x", s, z), s, z)


def _logits(net: Net) -> Any:
    flat = net.add("Flatten", "x")
    return net.add("Gemm", flat, net.normal(168, 6, scale=0.1), net.normal(6))


FORMS: dict[str, tuple[range, Make]] = {
    "clip": (range(7, 11), lambda n: n.add("Clip", "x", min=0.0, max=6.0)),
    "clip below": (range(7, 11), lambda n: n.add("Clip", "x", min=0.5)),
    "clip by inputs": (
        range(11, 13),
        lambda n: n.add("Clip", "x", n.constant(-0.5), n.constant(2.0)),
    ),
    "batch normalization": (range(7, 13), lambda n: batch_norm(n, "x", 4)),
    "dropout": (range(7, 12), lambda n: n.add("Dropout", "x", outputs=2, ratio=0.3)[0]),
    "upsample": (
        range(7, 9),
        lambda n: n.add("Upsample", "x", scales=[1.0, 1.0, 2.0, 3.0], mode="nearest"),
    ),
    "upsample by an input": (
        range(9, 10),
        lambda n: _scaled(n, "Upsample", "nearest", (2.0, 2.0)),
    ),
    "upsample linearly": (range(9, 10), lambda n: _scaled(n, "Upsample", "linear", (2.0, 2.0))),
    "resize": (range(10, 11), lambda n: _scaled(n, "Resize", "nearest", (3.0, 2.0))),
    "resize linearly": (range(10, 11), lambda n: _scaled(n, "Resize", "linear", (2.0, 2.0))),
    "softmax": (range(7, 13), lambda n: n.add("Softmax", _logits(n))),
    "softmax of pixels": (
        range(7, 13),
        lambda n: n.add("Softmax", n.add("GlobalAveragePool", "x"), axis=1),
    ),
    "squeeze": (range(7, 13), _squeezed),
    "mean": (range(7, 13), lambda n: n.add("ReduceMean", "x", axes=[2, 3], keepdims=0)),
    "slice": (
        range(7, 10),
        lambda n: n.add("Slice", "x", starts=[1, -5], ends=[4, 100], axes=[1, 2]),
    ),
    "slice by inputs": (
        range(10, 13),
        lambda n: n.add("Slice", "x", n.constant([1]), n.constant([4]), n.constant([1])),
    ),
    "pad": (
        range(7, 11),
        lambda n: n.add("Pad", "x", pads=[0, 0, 1, 1, 0, 0, 1, 2], value=0.5),
    ),
    "pad by inputs": (
        range(11, 13),
        lambda n: n.add("Pad", "x", n.constant([0, 0, 1, 1, 0, 0, 1, 2])),
    ),
    "split": (range(7, 13), _split),
    "shapes": (range(7, 13), _shape_arithmetic),
    "pool": (
        range(7, 13),
        lambda n: n.add("AveragePool", "x", kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
    ),
    "leaky relu": (
        range(7, 13),
        lambda n: n.add("LeakyRelu", n.add("PRelu", "x", n.constant([[[0.3]]])), alpha=0.2),
    ),
    "convolution": (range(7, 13), lambda n: n.conv("x", 5, 4, 3, 3, pads=[1] * 4)),
    "extrema": (
        range(8, 13),
        lambda n: n.add("Min", n.add("Max", "x", n.constant([-0.5])), n.constant([1.0])),
    ),
    "pair": (range(10, 13), _quantized),
}
# Of a value and of a rounding step in the pair.
TOLERANCES = {"pair": 0.026}


@pytest.mark.parametrize(
    ("form", "opset"), [(form, opset) for form, (known, _) in FORMS.items() for opset in known]
)
def test_older_opsets(form: str, opset: int) -> None:
    net = Net()
    model = net.model(FORMS[form][1](net), opset=opset)
    x = net.rng.normal(0, 2, net.shape).astype(np.float32)
    (wanted,) = onnx_static.run(model, [x])
    graph = import_onnx(model, "old", requantize=form == "pair")
    (got,) = FloatModel(graph).run([np.ascontiguousarray(nhwc(x))])
    expected = outside(wanted[np.newaxis], got.shape)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=TOLERANCES.get(form, 1e-4))


@pytest.mark.parametrize("name", ["op9", "op11"])
def test_files_of_older_opsets(name: str) -> None:
    model = case(f"{name}.onnx").read_bytes()
    graph = import_onnx(model, name)
    _, height, width, channels = graph.inputs[0].shape
    shape = (1, channels, height, width)
    x = np.random.default_rng(1).normal(0, 2, shape).astype(np.float32)
    (wanted,) = onnx_static.run(model, [x])
    (got,) = FloatModel(graph).run([np.ascontiguousarray(nhwc(x))])
    np.testing.assert_allclose(got[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("opset", [1, 6])
def test_opsets_before_that_are_told_how_to_convert(opset: int) -> None:
    net = Net()
    with pytest.raises(ModelError) as caught:
        import_onnx(net.model(net.add("Relu", "x"), opset=opset), "old.onnx")
    message = str(caught.value)
    assert f"old.onnx: ONNX of opset {opset}; narrows takes opset 7 and later" in message
    assert "onnx.version_converter.convert_version(model, 13)" in message
    assert "damaged" not in message


def test_a_mask_of_dropout_is_refused() -> None:
    net = Net()
    y, mask = net.add("Dropout", "x", outputs=2)
    with pytest.raises(ModelError, match="its mask is read"):
        import_onnx(net.model(y, mask, opset=12))


def test_softmax_over_all_that_follows() -> None:
    """Before opset 13 it ran over every dimension from its axis on, here all of NHWC's."""
    net = Net((1, 7, 6, 4))
    y = net.add("Transpose", "x", perm=[0, 3, 1, 2])
    y = net.add("Transpose", net.conv(y, 4, 4, 1, 1), perm=[0, 2, 3, 1])
    model = net.model(net.add("Softmax", y, axis=1), opset=11)
    x = net.rng.normal(0, 1, net.shape).astype(np.float32)
    (wanted,) = onnx_static.run(model, [x])
    (got,) = FloatModel(import_onnx(model, "old")).run([x])
    np.testing.assert_allclose(got[0], wanted, rtol=1e-4, atol=1e-6)
    assert onnx.load_from_string(model).opset_import[0].version == 11


# What opset 13 to 25 say in another way than those before, with the opsets that have it.
NEWEST = 25


def _whole(net: Net, opset: int) -> Any:
    """A small network in the words of an opset."""
    axes = net.constant([2, 3])
    y = batch_norm(net, net.conv("x", 6, 4, 3, 3, pads=[1] * 4), 6)
    y = net.add("Clip", y, net.constant(0.0), net.constant(6.0))
    y = net.add("Pad", y, net.constant([0, 0, 1, 1, 0, 0, 1, 1]), net.constant(0.5))
    y = net.add("AveragePool", y, kernel_shape=[2, 2], count_include_pad=1, pads=[0, 1, 0, 1])
    parts = {"num_outputs": 2} if opset >= 18 else {}
    a, b = net.add("Split", y, outputs=2, axis=1, **parts)
    y = net.add("Concat", net.add("Mul", a, net.add("Sigmoid", b)), net.add("Tanh", a), axis=1)
    scales = net.constant([1.0, 1.0, 2.0, 2.0])
    y = net.add("Resize", y, "", scales, mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric")  # fmt: skip
    if opset >= 18:
        y = net.add("ReduceMax", net.add("ReduceMean", y, net.constant([2])), axes, keepdims=0)
    else:
        y = net.add("ReduceMax", net.add("ReduceMean", y, axes=[2]), axes=[2, 3], keepdims=0)
    y = net.add("Unsqueeze", net.add("Squeeze", y, net.constant([0])), net.constant([0]))
    y = net.add("Reshape", y, net.constant([0, -1]), **({"allowzero": 0} if opset >= 14 else {}))
    return net.add("Softmax", net.add("Gemm", y, net.normal(6, 5), net.normal(5)), axis=-1)


@pytest.mark.parametrize("opset", range(13, NEWEST + 1))
def test_newer_opsets(opset: int) -> None:
    _judged(lambda net: _whole(net, opset), opset)


NEWER: dict[str, tuple[int, Make]] = {
    "padding along axes": (
        18,
        lambda n: n.add("Pad", "x", n.constant([1, 2]), "", n.constant([3])),
    ),
    "resizing along axes": (
        18,
        lambda n: n.add("Resize", "x", "", "", n.constant([14, 18]), axes=[2, 3],
                        mode="linear", coordinate_transformation_mode="half_pixel"),
    ),
    "split in unequal parts": (
        18,
        lambda n: n.add("Concat", *n.add("Split", "x", outputs=3, axis=2, num_outputs=3)[::-1],
                        axis=2),
    ),
    "reducing along no axes": (
        18,
        lambda n: n.add("ReduceMean", "x", noop_with_empty_axes=1),
    ),
    "sum along axes": (13, lambda n: n.add("ReduceSum", "x", n.constant([1]))),
    "layer normalization": (
        17,
        lambda n: n.add("LayerNormalization", "x", n.normal(7, 6), n.normal(7, 6), axis=2),
    ),
    "hard swish": (14, lambda n: n.add("HardSwish", "x")),
    "gelu": (20, lambda n: n.add("Gelu", "x")),
    "squeeze of computed axes": (
        13,
        lambda n: n.add("Squeeze", n.add("GlobalAveragePool", "x"), n.constant([-1, -2])),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("form", "opset"),
    [(form, opset) for form, (first, _) in NEWER.items() for opset in {first, NEWEST}],
)
def test_newer_forms(form: str, opset: int) -> None:
    _judged(NEWER[form][1], opset)


def _judged(make: Make, opset: int) -> None:
    net = Net()
    model = net.model(make(net), opset=opset)
    x = net.rng.normal(0, 2, net.shape).astype(np.float32)
    (wanted,) = onnx_static.run(model, [x])
    (got,) = FloatModel(import_onnx(model, "new")).run([np.ascontiguousarray(nhwc(x))])
    expected = outside(wanted[np.newaxis], got.shape)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


# --- Free dimensions ----------------------------------------------------------------------------


def _free() -> bytes:
    net = Net(("batch", 4, "rows", "columns"))
    size = net.add("Slice", net.add("Shape", "x"), net.constant([0]), net.constant([1]))
    y = net.add("Relu", net.conv("x", 5, 4, 3, 3))
    shape = net.add("Concat", size, net.constant([-1]), axis=0)
    return net.model(net.add("Reshape", net.add("GlobalAveragePool", y), shape), y)


def test_a_shape_fixes_free_dimensions() -> None:
    with pytest.raises(UnsupportedError, match=r"\[batch, 4, rows, columns\].*--input-shape 1x4"):
        import_onnx(_free(), "free")
    x = np.random.default_rng(1).normal(0, 1, (1, 4, 9, 5)).astype(np.float32)
    for shapes in ({"": x.shape}, {"x": x.shape}):
        graph = import_onnx(_free(), "free", shapes=shapes)
        got = FloatModel(graph).run([np.ascontiguousarray(nhwc(x))])
        wanted = onnx_static.run(_free(), [x])
        np.testing.assert_allclose(got[0], wanted, rtol=1e-4, atol=1e-5)
        assert graph.outputs[1].shape == (1, 7, 3, 5)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"y": (1, 4, 9, 5)}, "no input y; it has x"),
        ({"": (1, 3, 9, 5)}, "which 1x3x9x5 does not fit"),
        ({"": (1, 4, 9)}, "which 1x4x9 does not fit"),
    ],
)
def test_shapes_that_do_not_fit(shapes: dict[str, tuple[int, ...]], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        import_onnx(_free(), "free", shapes=shapes)


def test_input_shape_of_the_commands(tmp_path: Path, narrows: Narrows) -> None:
    model, data, made = (tmp_path / n for n in ("free.onnx", "data.npy", "made.tflite"))
    model.write_bytes(_free())
    np.save(data, np.random.default_rng(1).normal(0, 1, (4, 9, 5, 4)).astype(np.float32))
    arguments = ("quantize", model, "--data", data, "-o", made, "--input-shape")
    done = narrows(*arguments, "1x4x9x5")
    assert done.returncode == 0, done.stderr
    assert import_tflite(made).inputs[0].shape == (1, 9, 5, 4)
    for shape, code, words in (("1x4xh", 2, "such as 1x3x96x96"), ("z=1x4", 1, "no input z")):
        done = narrows(*arguments, shape)
        assert done.returncode == code
        assert words in done.stderr
    done = narrows("compile", made, "-o", tmp_path / "made.nrw", "--input-shape", "1x9x5x4")
    assert "a .tflite file fixes the shapes" in done.stderr
