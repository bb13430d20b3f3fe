# SPDX-License-Identifier: Apache-2.0
"""Operators of ONNX that TFLite has not, and what becomes of them: against ONNX's own reference
evaluator in floats, and quantized against TensorFlow Lite Micro."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from narrows.errors import UnsupportedError
from narrows.exporters.export import export_tflite
from narrows.graph.graph import Binary, Graph, Reduce, Unary, UnaryFunction
from narrows.graph.passes import drop_unused
from narrows.importers.onnx import import_onnx
from narrows.quantization.float_model import FloatModel
from narrows.quantization.pipeline import quantize_network
from oracle import Oracle
from subjects import check as check_int8
from test_onnx import Net, X, check, kinds, nhwc

Make = Callable[[Net], Any]


def _half(net: Net) -> str:
    return net.constant(np.float32(0.5))


def _where(net: Net, relation: str) -> Any:
    other = net.conv("x", 4, 4, 1, 1)
    return net.add("Where", net.add(relation, "x", other), other, net.constant(np.float32(0.25)))


def _between(net: Net, operator: str) -> Any:
    low = net.add("Greater", "x", net.constant(np.float32(-0.5)))
    high = net.add("Not", net.add("Greater", "x", net.constant(np.float32(1))))
    both = net.add(operator, low, high)
    return net.add("Mul", "x", net.add("Cast", both, to=1))


def _normalized(net: Net, axis: int) -> Any:
    shape = X[axis:]
    return net.add(
        "LayerNormalization", "x", net.normal(*shape), net.normal(*shape), axis=axis, epsilon=0.01
    )


def _expanded(net: Net) -> Any:
    mean = net.add("ReduceMean", net.conv("x", 4, 4, 1, 1), axes=[2, 3])
    return net.add("Mul", "x", net.add("Expand", mean, net.constant(list(X))))


def _positive(net: Net) -> Any:
    return net.add("Add", net.add("Abs", "x"), net.constant(0.5))


def _grouped(net: Net, groups: int) -> Any:
    """A GroupNormalization as PyTorch exports it."""
    x = net.add("Reshape", "x", net.constant([0, groups, -1]))
    ones, zeros = net.constant(np.ones(groups)), net.constant(np.zeros(groups))
    y = net.add("InstanceNormalization", x, ones, zeros, epsilon=0.01)
    y = net.add("Reshape", y, net.constant(list(X)))
    return net.add("Mul", y, net.normal(4, 1, 1))


def _of_groups(net: Net, operator: str, *numbers: Any, **attributes: Any) -> Any:
    """An operator on dimensions that are pieces of the channels: [1, 2, 2, height, width]."""
    x = net.add("Reshape", net.conv("x", 4, 4, 1, 1), net.constant([1, 2, 2, 7, 6]))
    return net.add(operator, x, *(net.constant(n) for n in numbers), **attributes)


def _split_groups(net: Net) -> Any:
    first, second = _of_groups(net, "Split", [1, 1], axis=2, outputs=2)
    return net.add("Reshape", net.add("Sub", first, second), net.constant([1, 2, 7, 6]))


def _folded_weights(net: Net) -> Any:
    """As a weight normalization stands in a file."""
    weights, length = net.normal(5, 4, 3, 3), net.constant(np.full((5, 1, 1, 1), 0.7))
    norm = net.add("ReduceL2", weights, axes=[1, 2, 3], keepdims=1)
    return net.add("Conv", "x", net.add("Mul", length, net.add("Div", weights, norm)))


FORMS: dict[str, Make] = {
    "elu of alpha 0.5": lambda n: n.add("Elu", "x", alpha=0.5),
    "selu": lambda n: n.add("Selu", "x"),
    "selu of its own": lambda n: n.add("Selu", "x", alpha=1.5, gamma=0.5),
    "celu": lambda n: n.add("Celu", "x", alpha=2.0),
    "softplus": lambda n: n.add("Softplus", "x"),
    "mish": lambda n: n.add("Mish", "x"),
    "swish": lambda n: n.add("Swish", "x", alpha=1.5),
    "sign": lambda n: n.add("Sign", "x"),
    "shrink": lambda n: n.add("Shrink", "x", lambd=0.5, bias=0.25),
    "hard shrink": lambda n: n.add("Shrink", "x", lambd=0.75),
    "thresholded relu": lambda n: n.add("ThresholdedRelu", "x", alpha=0.5),
    **{
        f"where {relation}": (lambda n, r=relation: _where(n, r))  # type: ignore[misc]
        for relation in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    },
    "and": lambda n: _between(n, "And"),
    "or": lambda n: _between(n, "Or"),
    "layer normalization of a picture": lambda n: _normalized(n, 1),
    "layer normalization of rows": lambda n: _normalized(n, -1),
    "expand": _expanded,
    "expand height": lambda n: n.add(
        "Expand", n.add("ReduceMax", "x", axes=[2]), n.constant([1, 4, 3, 6])
    ),
    "expand channels": lambda n: n.add(
        "Expand", n.add("ReduceMax", "x", axes=[1]), n.constant([3, 1, 1])
    ),
    "tile": lambda n: n.add("Tile", "x", n.constant([1, 2, 1, 3])),
    "flip": lambda n: n.add(
        "Slice", "x", n.constant([-1]), n.constant([-100]), n.constant([3]), n.constant([-1])
    ),
    "gather nd": lambda n: n.add("GatherND", "x", n.constant([[0]])),
    "gather of groups": lambda n: _of_groups(n, "Gather", np.array(1), axis=2),
    "gather of groups in another order": lambda n: n.add(
        "Reshape", _of_groups(n, "Gather", [1, 0], axis=1), n.constant(list(X))
    ),
    "slice of groups": lambda n: n.add(
        "Reshape", _of_groups(n, "Slice", [1, 1], [2, 7], [2, 3]), n.constant([1, 2, 6, 6])
    ),
    "split of groups": _split_groups,
    "weight normalization": _folded_weights,
    "reciprocal root": lambda n: n.add(
        "Reciprocal", n.add("Sqrt", n.add("Add", n.add("Abs", "x"), n.constant(0.5)))
    ),
    "reciprocal": lambda n: n.add("Reciprocal", _positive(n)),
    "softsign": lambda n: n.add("Softsign", "x"),
    "quotient": lambda n: n.add("Div", n.conv("x", 4, 4, 1, 1), _positive(n)),
    "quotient of a number": lambda n: n.add("Div", n.constant(3.0), _positive(n)),
    "quotient of numbers": lambda n: n.add("Div", n.normal(4, 1, 1), _positive(n)),
    **{
        f"power {power:g}": (
            lambda n, p=power: n.add("Pow", _positive(n), n.constant(p))  # type: ignore[misc]
        )
        for power in (1.0, 3.0, 6.0, -0.5, -1.0, -2.0)
    },
    **{
        f"{name} over {axes}": (
            lambda n, o=name, a=axes: n.add(o, _positive(n), axes=a, keepdims=0)  # type: ignore[misc]
        )
        for name in ("ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp")
        for axes in ([1], [2, 3])
    },
    "unit length": lambda n: n.add("LpNormalization", "x", axis=1),
    "unit sum": lambda n: n.add("LpNormalization", _positive(n), axis=1, p=1),
    "log softmax": lambda n: n.add("LogSoftmax", "x", axis=1),
    "instance normalization": lambda n: n.add(
        "InstanceNormalization", "x", n.normal(4), n.normal(4), epsilon=0.01
    ),
    "group normalization": lambda n: n.add(
        "GroupNormalization", "x", n.normal(4), n.normal(4), epsilon=0.01, num_groups=2
    ),
    "one group": lambda n: _grouped(n, 1),
    "groups written out": lambda n: _grouped(n, 2),
    "as many groups as channels": lambda n: _grouped(n, 4),
    "mean and variance": lambda n: n.add("MeanVarianceNormalization", n.conv("x", 4, 4, 1, 1)),
    "slopes behind a convolution": lambda n: n.add(
        "PRelu", n.conv("x", 5, 4, 3, 3), n.normal(5, 1, 1)
    ),
    "bounds behind a convolution": lambda n: n.add(
        "Max", n.conv("x", 5, 4, 3, 3), n.normal(5, 1, 1)
    ),
    "average of what is there": lambda n: n.add(
        "AveragePool", "x", kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 3]
    ),
    "average with a ceiling": lambda n: n.add(
        "AveragePool", "x", kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1
    ),
}
_OPSETS = {"mish": 18, "swish": 24, "group normalization": 21}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str) -> None:
    net = Net()
    check(net, FORMS[form](net), opset=_OPSETS.get(form, 17))


_LEAST_DECIBELS = 20.0
"""Of a quantized form, signal to noise."""
_QUANTIZED = (
    "selu of its own", "celu", "mish", "shrink", "where Less", "or", "layer normalization of rows",
    "average of what is there", "softsign", "quotient", "power 3", "power -1", "unit length",
    "log softmax", "instance normalization", "groups written out", "ReduceL2 over [1]",
)  # fmt: skip


@pytest.mark.parametrize("form", _QUANTIZED)
def test_forms_in_integers(form: str) -> None:
    net = Net()
    model = net.model(FORMS[form](net), opset=_OPSETS.get(form, 17))
    graph = import_onnx(model, form)
    samples = [[np.ascontiguousarray(nhwc(net.rng.normal(0, 1, X)), np.float32)] for _ in range(33)]
    quantized = quantize_network(graph, lambda: iter(samples[:32])).graph
    data = export_tflite(drop_unused(quantized))
    check_int8(data, net.rng)
    (port,), (wanted,) = quantized.outputs, FloatModel(graph).run(samples[32])
    assert port.dtype == "int8"
    real = _real(quantized, samples[32][0], data)
    noise = np.square(real - wanted.reshape(real.shape)).sum()
    assert 10 * np.log10(np.square(wanted).sum() / noise) > _LEAST_DECIBELS


def _real(quantized: Graph, x: Any, data: bytes) -> Any:
    """What TensorFlow Lite Micro makes of a quantized network, as real numbers."""
    (given,), (port,) = quantized.inputs, quantized.outputs
    steps = np.rint(x / given.scale) + given.zero_point
    (got,) = Oracle(data).run([np.clip(steps, -128, 127).astype(np.int8)])
    return (got.astype(np.float64) - port.zero_point) * port.scale


def _gelu(net: Net, form: str) -> Any:
    def erf(x: str) -> Any:
        inner = net.add("Div", x, net.constant(np.float32(2**0.5)))
        return net.add("Add", net.add("Erf", inner), net.constant(np.float32(1)))

    x = net.conv("x", 4, 4, 1, 1)
    if form == "half first":
        return net.add("Mul", net.add("Mul", x, _half(net)), erf(x))
    if form == "half last":
        return net.add("Mul", net.add("Mul", x, erf(x)), _half(net))
    return net.add("Mul", net.add("Mul", erf(x), _half(net)), x)


@pytest.mark.parametrize("form", ["half first", "half last", "half between"])
def test_gelu_written_out(form: str) -> None:
    net = Net()
    (_, gelu) = check(net, _gelu(net, form), opset=14, export=False).operators
    assert isinstance(gelu, Unary)
    assert gelu.function is UnaryFunction.GELU


def test_what_is_nearly_a_gelu() -> None:
    net = Net()
    inner = net.add("Erf", net.add("Div", "x", net.constant(np.float32(2))))
    plus = net.add("Add", inner, net.constant(np.float32(1)))
    y = net.add("Mul", net.add("Mul", "x", plus), _half(net))
    with pytest.raises(UnsupportedError, match="Erf"):
        import_onnx(net.model(y, opset=14), "nearly")


def test_what_is_broadcast_is_not_repeated() -> None:
    net = Net()
    assert kinds(check(net, _expanded(net), opset=17))[-2:] == [Reduce, Binary]


@pytest.mark.parametrize(
    ("reason", "make"),
    [
        ("holds truth values", lambda n: n.add("Relu", n.add("Greater", "x", _half(n)))),
        ("holds truth values", lambda n: n.add("Flatten", n.add("Greater", "x", _half(n)))),
        (
            "true in places",
            lambda n: n.add("Where", n.constant([True, False] * 3, bool), "x", _half(n)),
        ),
        ("not computed by a comparison", lambda n: n.add("Not", "x")),
        ("divisor is zero", lambda n: n.add("Div", "x", n.constant([1.0, 0, 1, 1, 1, 1]))),
        ("at most 8", lambda n: n.add("Pow", "x", n.constant(9.0))),
        ("p is 3", lambda n: n.add("LpNormalization", "x", p=3)),
        ("axis 2 of shape", lambda n: n.add("LogSoftmax", "x", axis=2)),
        ("the last of several", lambda n: n.add("ArgMax", "x", axis=1, select_last_index=1)),
        ("numbers of elements", lambda n: n.add("Add", n.add("ArgMax", "x", axis=1), _half(n))),
        (
            "3 groups of 4",
            lambda n: n.add("GroupNormalization", "x", n.normal(3), n.normal(3), num_groups=3),
        ),
        ("alpha -1", lambda n: n.add("Elu", "x", alpha=-1.0)),
        ("indices of shape", lambda n: n.add("GatherND", "x", n.constant([[0, 1]]))),
        ("65 copies", lambda n: n.add("Tile", "x", n.constant([1, 65, 1, 1]))),
        (
            "be cut",
            lambda n: n.add(
                "Slice",
                "x",
                *(n.constant(numbers) for numbers in ([1, 5], [4, 0], [2, 3], [1, -1])),
            ),
        ),
    ],
)
def test_refused_forms(reason: str, make: Make) -> None:
    net = Net()
    with pytest.raises(UnsupportedError, match=reason):
        import_onnx(net.model(make(net), opset=17), "refused")
