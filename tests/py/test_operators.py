# SPDX-License-Identifier: Apache-2.0
"""Every operator against TensorFlow Lite Micro, on models of one or a few operators."""

from __future__ import annotations

import zlib
from itertools import product
from typing import Any

import numpy as np
import pytest

from narrows.errors import UnsupportedError
from narrows.importers.tflite import import_tflite
from single import ACTIVATIONS, NONE, RELU, RELU6, RELU_N1_TO_1, SAME, VALID, Net
from subjects import check, typical_inputs

IMAGE = (1, 9, 8, 5)


def _seed(*parts: object) -> int:
    return zlib.crc32(repr(parts).encode())


def _check(net: Net, inputs: list[int], *outputs: int) -> Any:
    return check(net.finish(inputs, list(outputs)), net.rng)


# --- Convolutions ----------------------------------------------------------------------------

WINDOWS = [
    # height, width, kernel, stride, dilation
    (7, 6, (1, 1), (1, 1), (1, 1)),
    (7, 6, (1, 1), (2, 2), (1, 1)),
    (8, 8, (3, 3), (1, 1), (1, 1)),
    (8, 8, (3, 3), (2, 2), (1, 1)),
    (9, 9, (3, 3), (2, 2), (1, 1)),
    (9, 8, (3, 3), (2, 1), (1, 1)),
    (8, 9, (5, 3), (1, 2), (1, 1)),
    (9, 9, (5, 5), (2, 2), (1, 1)),
    (10, 7, (7, 7), (2, 2), (1, 1)),
    (11, 11, (9, 9), (1, 1), (1, 1)),
    (9, 10, (2, 2), (2, 2), (1, 1)),
    (9, 10, (4, 2), (3, 3), (1, 1)),
    (11, 12, (3, 3), (1, 1), (2, 2)),
    (11, 12, (3, 3), (1, 1), (3, 1)),
    (12, 11, (3, 2), (2, 2), (2, 3)),
    (3, 3, (3, 3), (1, 1), (2, 2)),
    (1, 9, (1, 5), (1, 2), (1, 1)),
    (2, 2, (5, 5), (1, 1), (1, 1)),
    (6, 6, (1, 1), (3, 4), (1, 1)),
]


def _fits(window: Any, padding: int) -> bool:
    height, width, kernel, _, dilation = window
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    return padding == SAME or (height >= spans[0] and width >= spans[1])


WINDOWS_AND_PADDINGS = [pair for pair in product(WINDOWS, (SAME, VALID)) if _fits(*pair)]


@pytest.mark.parametrize(("window", "padding"), WINDOWS_AND_PADDINGS, ids=str)
def test_conv(window: Any, padding: int) -> None:
    height, width, kernel, stride, dilation = window
    net = Net(_seed("conv", window, padding))
    x = net.int8((1, height, width, int(net.rng.integers(1, 7))))
    out = int(net.rng.integers(1, 8))
    _check(net, [x], net.conv(x, kernel, out, stride=stride, dilation=dilation, padding=padding))


@pytest.mark.parametrize(("window", "padding"), WINDOWS_AND_PADDINGS, ids=str)
def test_depthwise(window: Any, padding: int) -> None:
    height, width, kernel, stride, dilation = window
    net = Net(_seed("depthwise", window, padding))
    x = net.int8((1, height, width, int(net.rng.integers(2, 9))))
    multiplier = int(net.rng.integers(1, 4))
    y = net.depthwise(x, kernel, multiplier, stride=stride, dilation=dilation, padding=padding)
    _check(net, [x], y)


@pytest.mark.parametrize("multiplier", [1, 2, 5])
def test_depthwise_of_one_channel_is_a_convolution(multiplier: int) -> None:
    net = Net(multiplier)
    x = net.int8((1, 7, 7, 1))
    qgraph = _check(net, [x], net.depthwise(x, (3, 3), multiplier, stride=(2, 2)))
    assert qgraph.ops[0].kind == "conv"


GROUPED = [(6, 4, 2, (1, 1)), (6, 9, 3, (2, 1)), (4, 4, 4, (1, 1)), (4, 12, 4, (2, 2))]


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(("channels", "out", "groups", "stride"), GROUPED, ids=str)
def test_groups(channels: int, out: int, groups: int, stride: Any, per_channel: bool) -> None:
    net = Net(_seed("groups", channels, out, per_channel))
    x = net.int8((1, 7, 8, channels))
    options = {"groups": groups, "stride": stride, "per_channel": per_channel, "activation": RELU6}
    qgraph = _check(net, [x], net.conv(x, (3, 2), out, bias=per_channel, **options))
    kinds = {op.kind for op in qgraph.ops}
    assert ("depthwise" in kinds) == (groups == channels)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_weighted_activations(name: str, per_channel: bool, activation: int) -> None:
    net = Net(_seed(name, per_channel, activation))
    x = net.int8((1, 6, 6, 4))
    y = net.window(
        name, x, (3, 3), 8, activation=activation, per_channel=per_channel, bias=per_channel
    )
    _check(net, [x], y)


@pytest.mark.parametrize("zero_points", [(-128, -128), (127, 127), (-128, 127), (0, 0)])
@pytest.mark.parametrize("gain", [1e-12, 1e-9, 1e-7, 1e-3, 1.0, 30.0, 1e4, 1e6])
@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_multipliers_at_their_limits(name: str, gain: float, zero_points: Any) -> None:
    """Multipliers from below 2**-31, which become 0, to more than 1."""
    net = Net(_seed(name, gain, zero_points))
    x = net.int8((1, 3, 3, 4), 0.05, zero_points[0])
    if name == "FULLY_CONNECTED":
        y = net.fully_connected(x, 6, gain=gain)
    else:
        y = net.window(name, x, (3, 3), 8, gain=gain)
    _check(net, [x], y)


# --- Fully connected ----------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("per_channel", [True, False])
def test_fully_connected(per_channel: bool, activation: int) -> None:
    net = Net(_seed("fc", per_channel, activation))
    x = net.int8((1, 37))
    y = net.fully_connected(
        x, 11, activation=activation, per_channel=per_channel, bias=not per_channel
    )
    _check(net, [x], y)


@pytest.mark.parametrize(
    ("shape", "out_shape", "depth"),
    [
        ((1, 4, 3, 5), (1, 7), 60),  # flattened by the operator itself
        ((1, 100, 2, 3), (1, 7), 600),  # too high for one kernel
        ((1, 4, 3, 5), (12, 7), 5),  # pixel by pixel
        ((1, 4, 3, 5), (1, 4, 3, 7), 5),
        ((6, 5), (6, 7), 5),
    ],
)
def test_fully_connected_shapes(shape: Any, out_shape: Any, depth: int) -> None:
    net = Net(_seed(shape, out_shape))
    x = net.int8(shape)
    _check(net, [x], net.fully_connected(x, 7, out_shape, depth))


def test_fully_connected_over_transposed_pixels() -> None:
    """The pixels stay where they are; only what reads them sees the other order."""
    net = Net(_seed("transposed pixels"))
    x = net.int8(IMAGE)
    y = net.fully_connected(net.transpose(x, (0, 2, 1, 3)), 7, (1, 8, 9, 7), 5)
    qgraph = _check(net, [x], net.transpose(y, (0, 2, 1, 3)))
    assert len(qgraph.ops) == 1


def test_fully_connected_after_a_reshape() -> None:
    net = Net(3)
    x = net.int8((1, 4, 3, 5))
    _check(net, [x], net.fully_connected(net.reshape(x, (1, 60)), 9))


@pytest.mark.parametrize("order", [(0, 3, 1, 2), (0, 2, 1, 3), (0, 3, 2, 1), (0, 2, 3, 1)])
def test_fully_connected_after_a_transpose(order: Any) -> None:
    net = Net(_seed(order))
    x = net.int8((1, 4, 3, 5))
    y = net.conv(x, (1, 1), 6)
    turned = net.transpose(y, order)
    _check(net, [x], net.fully_connected(net.reshape(turned, (1, 72)), 5))


# --- Elementwise --------------------------------------------------------------------------------

BROADCASTS = [
    ((1, 5, 4, 3), (1, 5, 4, 3)),
    ((1, 5, 4, 3), (1, 1, 1, 3)),
    ((1, 1, 1, 3), (1, 5, 4, 3)),
    ((1, 5, 4, 3), (1, 5, 1, 1)),
    ((1, 5, 4, 3), (1, 1, 4, 1)),
    ((1, 5, 1, 3), (1, 1, 4, 3)),
    ((1, 5, 4, 3), (3,)),
    ((1, 5, 4, 3), (1, 1, 1, 1)),
    ((1, 9), (1, 9)),
]


@pytest.mark.parametrize("shapes", BROADCASTS, ids=str)
@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL"])
def test_binary(name: str, shapes: Any) -> None:
    net = Net(_seed(name, shapes))
    a, b = net.int8(shapes[0]), net.int8(shapes[1])
    scale = net.scales[a] * net.scales[b] * 60 if name == "MUL" else None
    _check(net, [a, b], net.binary(name, a, b, scale))


@pytest.mark.parametrize("shape", [(1, 5, 4, 3), (1, 1, 1, 3), (3,), (), (1,), (1, 1, 1, 1)])
@pytest.mark.parametrize("constant_first", [True, False])
@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL"])
def test_binary_constant(name: str, constant_first: bool, shape: Any) -> None:
    net = Net(_seed(name, constant_first, shape))
    x, c = net.int8((1, 5, 4, 3)), net.constant(shape)
    scale = net.scales[x] * net.scales[c] * 60 if name == "MUL" else None
    y = net.binary(name, *((c, x) if constant_first else (x, c)), scale)
    qgraph = _check(net, [x], y)
    assert qgraph.ops[0].kind == ("lookup" if int(np.prod(shape)) == 1 else "elementwise")


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL"])
def test_binary_activations(name: str, activation: int) -> None:
    net = Net(_seed(name, activation))
    a, b = net.int8(IMAGE), net.int8(IMAGE)
    _check(net, [a, b], net.binary(name, a, b, 0.05, activation))


@pytest.mark.parametrize("shapes", BROADCASTS, ids=str)
@pytest.mark.parametrize("name", ["MAXIMUM", "MINIMUM", "PRELU"])
def test_extrema_and_prelu(name: str, shapes: Any) -> None:
    net = Net(_seed(name, shapes))
    a = net.int8(shapes[0])
    b = net.int8(shapes[1]) if name == "PRELU" else net.like(a, shapes[1])
    _check(net, [a, b], net.prelu(a, b) if name == "PRELU" else net.extremum(name, a, b))


@pytest.mark.parametrize("shape", [(1, 5, 4, 3), (1, 1, 3), (3,), (), (1, 1, 1, 1)])
@pytest.mark.parametrize("name", ["MAXIMUM", "MINIMUM", "PRELU"])
def test_extrema_and_prelu_of_a_constant(name: str, shape: Any) -> None:
    net = Net(_seed(name, "constant", shape))
    x, data = net.int8((1, 5, 4, 3)), net.rng.integers(-128, 128, shape)
    if name == "PRELU":
        y = net.prelu(x, net.int8(shape, data=data))
    else:
        y = net.extremum(name, x, net.like(x, shape, data))
    qgraph = _check(net, [x], y)
    assert qgraph.ops[0].kind == ("lookup" if int(np.prod(shape)) == 1 else "elementwise")


@pytest.mark.parametrize("zero_points", [(-128, -128), (127, 127), (-3, 5)])
@pytest.mark.parametrize("scales", [(0.02, 0.01, 0.02), (3.0, 2.0, 1e-5), (1e-4, 1e-4, 1.0)])
def test_prelu_of_every_value(scales: Any, zero_points: Any) -> None:
    values = np.arange(-128, 128, dtype=np.int8)
    net = Net(_seed(scales))
    x = net.int8((1, 256, 1, 1), scales[0], zero_points[0])
    slopes = net.int8((1, 1, 256, 1), scales[1], zero_points[1])
    y = net.prelu(x, slopes, scales[2])
    inputs = [values.reshape(1, 256, 1, 1), values.reshape(1, 1, 256, 1)]
    check(net.finish([x, slopes], [y]), net.rng, [inputs])


@pytest.mark.parametrize("scales", [(0.02, 0.01, 0.02), (3.0, 2.0, 1e-9), (1e-4, 0.7, 1.0)])
@pytest.mark.parametrize("zero_points", [(-128, 127), (127, 127), (-3, 5)])
def test_squared_difference_of_every_value(zero_points: Any, scales: Any) -> None:
    values = np.arange(-128, 128, dtype=np.int8)
    net = Net(_seed(scales))
    a = net.int8((1, 256, 1, 1), scales[0], zero_points[0])
    b = net.int8((1, 1, 256, 1), scales[1], zero_points[1])
    y, z = net.int8((1, 256, 256, 1), scales[2]), net.int8((1, 256, 1, 1), scales[2])
    net.operator("SQUARED_DIFFERENCE", [a, b], [y], version=2)
    net.operator("SQUARED_DIFFERENCE", [net.constant(()), a], [z], version=2)
    inputs = [values.reshape(1, 256, 1, 1), values.reshape(1, 1, 256, 1)]
    check(net.finish([a, b], [y, z]), net.rng, [inputs])


@pytest.mark.parametrize("scales", [(1e-6, 10.0, 1.0), (10.0, 10.0, 1e-4), (1.0, 3e-4, 1e5)])
@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL"])
def test_binary_scales(name: str, scales: Any) -> None:
    net = Net(_seed(name, scales))
    a, b = net.int8(IMAGE, scales[0]), net.int8(IMAGE, scales[1])
    _check(net, [a, b], net.binary(name, a, b, scales[2]))


def test_squeeze_and_excitation() -> None:
    net = Net(5)
    x = net.int8((1, 6, 7, 8))
    gate = net.conv(net.mean(x, (1, 2), True), (1, 1), 8)
    gate = net.unary("LOGISTIC", gate, 1 / 256, -128)
    y = net.binary("MUL", x, gate, net.scales[x] * 0.9)
    _check(net, [x], y)


def test_an_operand_twice() -> None:
    net = Net(6)
    x = net.int8(IMAGE)
    _check(net, [x], net.binary("ADD", x, x), net.binary("MUL", x, x))


# --- Pools and means ----------------------------------------------------------------------------

POOLS = [
    ((8, 8), (2, 2), (2, 2)),
    ((9, 7), (2, 2), (2, 2)),
    ((9, 7), (3, 3), (2, 2)),
    ((9, 7), (3, 2), (1, 3)),
    ((5, 6), (5, 6), (1, 1)),
    ((5, 6), (5, 6), (5, 6)),
    ((6, 6), (1, 1), (2, 2)),
    ((7, 5), (7, 1), (1, 1)),
]


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("pool", POOLS, ids=str)
@pytest.mark.parametrize("name", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pool(name: str, pool: Any, padding: int) -> None:
    size, kernel, stride = pool
    net = Net(_seed(name, pool, padding))
    x = net.int8((1, *size, 5))
    activation = ACTIVATIONS[_seed(pool) % 4]
    _check(net, [x], net.pool(name, x, kernel, stride, padding, activation))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axes", [(1, 2), (1,), (-2,), (3,), (-1, 2), (1, 3), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("name", ["REDUCE_MAX", "REDUCE_MIN"])
def test_extrema_of_one_tensor(name: str, axes: Any, keep: bool) -> None:
    net = Net(_seed(axes, keep))
    x = net.int8((1, 7, 6, 5))
    _check(net, [x], net.reduce(name, x, axes, keep))


@pytest.mark.parametrize("name", ["REDUCE_MAX", "REDUCE_MIN"])
@pytest.mark.parametrize("shape", [(1, 7, 1, 5), (1, 1, 6, 5), (1, 12, 5), (1, 3, 2, 300)])
def test_extrema_of_thin_tensors(shape: Any, name: str) -> None:
    net = Net(_seed(shape))
    x = net.int8(shape)
    last = len(shape) - 1
    _check(net, [x], *(net.reduce(name, x, axes, True) for axes in ((last,), (1, last), (1,))))


@pytest.mark.parametrize(
    ("name", "shape", "axes"),
    [("REDUCE_MAX", (1, 300, 300, 2), (3,)), ("SUM", (1, 300, 300, 20), (1, 2, 3))],
)
def test_reductions_over_too_much(name: str, shape: Any, axes: Any) -> None:
    net = Net(1)
    x = net.int8(shape)
    model = net.finish([x], [net.reduce(name, x, axes, True)])
    with pytest.raises(UnsupportedError, match=rf"{name} .*channels.* more than"):
        import_tflite(model, "refused")


@pytest.mark.parametrize(
    "axes", [(1, 2), (1,), (2,), (3,), (1, 3), (2, 3), (1, 2, 3), (0, 3)], ids=str
)
@pytest.mark.parametrize("name", ["SUM", "MEAN"])
def test_sums(name: str, axes: Any) -> None:
    net = Net(_seed(axes))
    x = net.int8((1, 7, 6, 5))
    sums = [
        net.reduce(name, x, axes, keep, scale)
        for keep, scale in ((True, None), (False, 0.3), (True, 1e-3), (True, 5.0), (True, 1e9))
    ]
    _check(net, [x], *sums)


@pytest.mark.parametrize("shape", [(1, 4, 1), (1, 1, 1, 9), (1, 2, 2, 700)])
@pytest.mark.parametrize("ratio", [1e-9, 0.01, 1.0, 3.0, 300.0, 2.0**29])
@pytest.mark.parametrize("name", ["SUM", "MEAN"])
def test_sums_over_channels(name: str, ratio: float, shape: Any) -> None:
    net = Net(_seed(shape, ratio))
    x = net.int8(shape, 0.1)
    _check(net, [x], net.reduce(name, x, (-1,), True, 0.1 / ratio))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axes", [(1, 2), (2, 1), (1,), (2,), (-2,), (-3, -2), (1, 1, 2)], ids=str)
def test_mean(axes: Any, keep: bool) -> None:
    net = Net(_seed(axes, keep))
    x = net.int8((1, 7, 6, 5))
    _check(net, [x], net.mean(x, axes, keep))


@pytest.mark.parametrize("shape", [(1, 1, 1, 5), (1, 1, 6, 5), (1, 40, 50, 3), (1, 64, 1, 2)])
@pytest.mark.parametrize("ratio", [1e-9, 0.01, 1.0, 3.0, 300.0])
def test_mean_scales(shape: Any, ratio: float) -> None:
    net = Net(_seed(shape, ratio))
    x = net.int8(shape, 0.1)
    _check(net, [x], net.mean(x, (1, 2), False, 0.1 / ratio))


def test_two_means_round_twice() -> None:
    net = Net(8)
    x = net.int8((1, 5, 3, 4))
    y = net.mean(net.mean(x, (1,), False, 0.2), (1,), False, 0.1)
    _check(net, [x], y)


def test_means_after_a_transpose() -> None:
    net = Net(9)
    x = net.int8((1, 5, 3, 4))
    turned = net.transpose(x, (0, 3, 1, 2))
    y = net.mean(net.mean(turned, (2,), False, 0.2), (2,), False, 0.1)
    _check(net, [x], net.fully_connected(y, 3))


# --- Functions of one element ----------------------------------------------------------------

ALL = np.arange(-128, 128, dtype=np.int8).reshape(1, 4, 16, 4)
SCALES = [1e-4, 0.003, 0.02, 0.05, 0.1, 0.33, 1.0, 3.0, 9.0, 40.0]


def _check_all(net: Net, x: int, y: int) -> None:
    check(net.finish([x], [y]), net.rng, [[ALL]])


@pytest.mark.parametrize("zero_point", [-128, -3, 0, 77, 127])
@pytest.mark.parametrize("scale", [2.0**-28, *SCALES, 2.0**34])
@pytest.mark.parametrize("name", ["LOGISTIC", "TANH"])
def test_saturating_tables(name: str, scale: float, zero_point: int) -> None:
    net = Net(1)
    x = net.int8(ALL.shape, scale, zero_point)
    out = (1 / 256, -128) if name == "LOGISTIC" else (1 / 128, 0)
    _check_all(net, x, net.unary(name, x, *out))


@pytest.mark.parametrize("zero_points", [(-128, -128), (0, 0), (127, -100), (-10, 90)])
@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.99, 1.0, 1.7, 20.0, 100.0])
@pytest.mark.parametrize("scale", [1e-4, 0.01, 0.05, 0.3, 5.0])
def test_hard_swish(scale: float, ratio: float, zero_points: Any) -> None:
    net = Net(1)
    x = net.int8(ALL.shape, scale, zero_points[0])
    _check_all(net, x, net.unary("HARD_SWISH", x, scale / ratio, zero_points[1]))


@pytest.mark.parametrize("zero_points", [(-128, -128), (0, 0), (127, -100), (-10, 90)])
@pytest.mark.parametrize("ratio", [1e-10, 0.01, 0.5, 1.0, 1.7, 300.0])
@pytest.mark.parametrize("name", ["RELU", "RELU6", "QUANTIZE", "LEAKY_RELU"])
def test_rescaling_tables(name: str, ratio: float, zero_points: Any) -> None:
    for scale in (1e-3, 0.04, 2.0):
        net = Net(1)
        x = net.int8(ALL.shape, scale, zero_points[0])
        options = {"alpha": 0.3} if name == "LEAKY_RELU" else None
        _check_all(net, x, net.unary(name, x, scale / ratio, zero_points[1], options))


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 0.2, 1.0, 3.5])
def test_leaky_relu_slopes(alpha: float) -> None:
    net = Net(2)
    x = net.int8(ALL.shape, 0.1, 11)
    _check_all(net, x, net.unary("LEAKY_RELU", x, 0.07, -9, {"alpha": alpha}))


# --- Softmax ----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-5, 1e-3, 0.02, 0.1, 0.5, 3.0, 100.0])
@pytest.mark.parametrize("beta", [1.0, 0.3, 4.0])
def test_softmax(scale: float, beta: float) -> None:
    net = Net(_seed(scale, beta))
    x = net.int8((1, 10), scale)
    _check(net, [x], net.softmax(x, beta))


@pytest.mark.parametrize("shape", [(1, 2), (1, 1), (1, 200), (1, 3, 4, 5), (1, 6, 7), (4, 7), (9,)])
def test_softmax_shapes(shape: Any) -> None:
    net = Net(_seed(shape))
    x = net.int8(shape, 0.1)
    _check(net, [x], net.softmax(x))


@pytest.mark.parametrize("scale", [0.003, 0.05, 0.2])
def test_softmax_of_every_difference(scale: float) -> None:
    net = Net(1)
    x = net.int8((1, 256, 1, 2), scale)
    rows = np.stack([np.full(256, 127), np.arange(-128, 128)], axis=1).astype(np.int8)
    check(net.finish([x], [net.softmax(x)]), net.rng, [[rows.reshape(1, 256, 1, 2)]])


# --- Operators that move elements --------------------------------------------------------------


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_concatenation(axis: int, count: int) -> None:
    net = Net(_seed(axis, count))
    inputs = []
    for i in range(count):
        shape = [1, 4, 3, 5]
        shape[axis] = 1 + i % 3
        inputs.append(net.int8(shape, 0.1, -5))
    _check(net, inputs, net.concat(inputs, axis))


def test_concatenation_of_flat_tensors() -> None:
    net = Net(2)
    a, b, c = (net.int8(shape, 0.1, 3) for shape in ((1, 4), (1, 6), (1, 2, 3, 2)))
    _check(net, [a, b, c], net.concat([a, b, net.reshape(c, (1, 12))], 1))


def test_concatenation_of_detection_heads() -> None:
    net = Net(3)
    a, b = net.int8((1, 4, 4, 6), 0.1, 3), net.int8((1, 2, 2, 6), 0.1, 3)
    heads = [net.reshape(a, (1, 32, 3)), net.reshape(b, (1, 8, 3))]
    _check(net, [a, b], net.concat(heads, 1))


def test_concatenation_with_a_constant_and_itself() -> None:
    net = Net(4)
    x, c = net.int8((1, 3, 3, 2), 0.1, 3), net.constant((1, 3, 3, 4), 0.1, zero_point=3)
    _check(net, [x], net.concat([x, c, x], 3))


RESIZES = [
    ((4, 5), (8, 10)),
    ((4, 5), (7, 9)),
    ((7, 9), (4, 5)),
    ((5, 5), (1, 1)),
    ((1, 1), (3, 4)),
    ((3, 6), (3, 12)),
    ((6, 7), (13, 2)),
]


@pytest.mark.parametrize("corners_centers", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("sizes", RESIZES, ids=str)
@pytest.mark.parametrize("name", ["RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"])
def test_resize(name: str, sizes: Any, corners_centers: Any) -> None:
    net = Net(_seed(name, sizes, corners_centers))
    x = net.int8((1, *sizes[0], 3))
    _check(net, [x], net.resize(name, x, sizes[1], *corners_centers))


def test_resize_nearest_with_both_options() -> None:
    net = Net(1)
    x = net.int8((1, 5, 4, 3))
    _check(net, [x], net.resize("RESIZE_NEAREST_NEIGHBOR", x, (9, 7), True, True))


SLICES = [
    # begin, end, strides, begin_mask, end_mask, shrink_axis_mask
    ((0, 1, 2, 0), (1, 7, 6, 5), (1, 1, 1, 1), 0, 0, 0),
    ((0, 0, 0, 1), (1, 9, 8, 5), (1, 2, 3, 2), 0, 0, 0),
    ((0, 2, 0, 0), (0, 0, 0, 0), (1, 1, 1, 1), 0, 0b1111, 0),
    ((0, 5, 5, 5), (1, 8, 8, 4), (1, 1, 1, 1), 0b1110, 0, 0),
    ((0, -5, -4, -3), (1, -1, 20, -1), (1, 1, 1, 1), 0, 0, 0),
    ((0, 3, 0, 0), (1, 4, 8, 5), (1, 1, 1, 1), 0, 0, 0b0010),
    ((0, 3, 2, 0), (1, 4, 3, 5), (1, 1, 1, 1), 0, 0, 0b0111),
    ((0, 0, 0, -1), (1, 9, 8, 0), (1, 1, 1, 1), 0, 0, 0b1000),
]


@pytest.mark.parametrize("case", SLICES, ids=str)
def test_strided_slice(case: Any) -> None:
    begin, end, strides, begin_mask, end_mask, shrink = case
    net = Net(1)
    x = net.int8(IMAGE)
    index = []
    for d, n in enumerate(IMAGE):
        first = None if begin_mask >> d & 1 else begin[d]
        last = None if end_mask >> d & 1 else end[d]
        if shrink >> d & 1:
            index.append(begin[d] % n)
        else:
            index.append(slice(first, last, strides[d]))
    shape = np.empty(IMAGE)[tuple(index)].shape
    y = net.like(x, shape)
    net.operator(
        "STRIDED_SLICE",
        [x, net.ints(begin), net.ints(end), net.ints(strides)],
        [y],
        "StridedSliceOptions",
        {"begin_mask": begin_mask, "end_mask": end_mask, "shrink_axis_mask": shrink},
        version=2,
    )
    _check(net, [x], y)


def test_slice() -> None:
    net = Net(1)
    x = net.int8(IMAGE)
    y = net.like(x, (1, 4, 8, 2))
    net.operator("SLICE", [x, net.ints((0, 3, 0, 1)), net.ints((1, 4, -1, 2))], [y], version=2)
    _check(net, [x], y)


def _rearranged(net: Net, name: str, x: int, shape: tuple[int, ...], block: int) -> int:
    y = net.like(x, shape)
    table = "SpaceToDepthOptions" if name == "SPACE_TO_DEPTH" else "DepthToSpaceOptions"
    net.operator(name, [x], [y], table, {"block_size": block})
    return y


@pytest.mark.parametrize("block", [1, 2, 3])
def test_space_to_depth(block: int) -> None:
    net = Net(block)
    x = net.int8((1, 6, 12, 5))
    deep = (1, 6 // block, 12 // block, 5 * block * block)
    y = _rearranged(net, "SPACE_TO_DEPTH", x, deep, block)
    _check(net, [x], y, _rearranged(net, "DEPTH_TO_SPACE", y, (1, 6, 12, 5), block))


@pytest.mark.parametrize("block", [2, 3])
def test_depth_to_space(block: int) -> None:
    net = Net(block)
    x = net.int8((1, 5, 7, 36))
    wide = (1, 5 * block, 7 * block, 36 // block**2)
    y = _rearranged(net, "DEPTH_TO_SPACE", x, wide, block)
    _check(net, [x], y, net.pad(y, ((0, 0), (1, 0), (0, 1), (0, 0))))


@pytest.mark.parametrize(
    ("name", "shape", "block"),
    [
        ("SPACE_TO_DEPTH", (1, 2, 3, 20), 4),
        ("SPACE_TO_DEPTH", (1, 6, 12, 5), 0),
        ("DEPTH_TO_SPACE", (1, 12, 24, 2), 2),
        ("DEPTH_TO_SPACE", (1, 6, 12, 5), -1),
    ],
)
def test_blocks_that_do_not_fit(name: str, shape: tuple[int, ...], block: int) -> None:
    net = Net(1)
    x = net.int8((1, 6, 12, 5))
    model = net.finish([x], [_rearranged(net, name, x, shape, block)])
    with pytest.raises(UnsupportedError, match=rf"{name}.*blocks of {block} x {block} of shape"):
        import_tflite(model)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_split(axis: int) -> None:
    net = Net(axis)
    x = net.int8((1, 6, 6, 6))
    shape = [1, 6, 6, 6]
    shape[axis] = 2
    parts = [net.like(x, shape) for _ in range(3)]
    net.operator("SPLIT", [net.ints(axis), x], parts, "SplitOptions", {"num_splits": 3}, version=2)
    _check(net, [x], *parts)


def test_split_v() -> None:
    net = Net(1)
    x = net.int8((1, 4, 4, 7))
    parts = [net.like(x, (1, 4, 4, n)) for n in (1, 4, 2)]
    inputs = [x, net.ints((1, -1, 2)), net.ints(3)]
    net.operator("SPLIT_V", inputs, parts, "SplitVOptions", {"num_splits": 3}, version=2)
    _check(net, [x], *parts)


@pytest.mark.parametrize("value", [None, -128, 33])
@pytest.mark.parametrize(
    "amounts",
    [
        ((0, 0), (1, 2), (3, 0), (0, 0)),
        ((0, 0), (0, 0), (0, 0), (2, 1)),
        ((0, 0), (2, 2), (1, 1), (1, 0)),
        ((0, 0), (0, 3), (0, 0), (0, 0)),
    ],
)
def test_pad(amounts: Any, value: int | None) -> None:
    net = Net(_seed(amounts, value))
    x = net.int8((1, 5, 4, 3))
    _check(net, [x], net.pad(x, amounts, value))


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("amounts", [(1, 1, 1, 1), (0, 1, 0, 1), (2, 0, 3, 1), (5, 5, 5, 5)])
def test_pad_is_folded(name: str, stride: Any, padding: int, amounts: Any) -> None:
    net = Net(_seed(name, stride, padding, amounts))
    x = net.int8((1, 7, 6, 4))
    padded = net.pad(x, ((0, 0), amounts[:2], amounts[2:], (0, 0)))
    qgraph = _check(net, [x], net.window(name, padded, (3, 3), 4, stride=stride, padding=padding))
    assert len(qgraph.ops) == 1


def test_pad_is_not_folded_where_it_shows() -> None:
    net = Net(1)
    x = net.int8((1, 7, 6, 4), zero_point=5)
    amounts = ((0, 0), (1, 1), (1, 1), (0, 0))
    other = net.conv(net.pad(x, amounts, value=6), (3, 3), 4, padding=VALID)
    padded = net.pad(x, amounts)
    twice = net.conv(padded, (3, 3), 4, padding=VALID), net.depthwise(padded, (3, 3))
    seen = net.pad(x, amounts)
    last = net.conv(seen, (3, 3), 4)
    qgraph = _check(net, [x], other, *twice, seen, last)
    assert sum(op.kind == "pad" for op in qgraph.ops) == 3


@pytest.mark.parametrize(
    "shapes",
    [
        ((1, 60),),
        ((1, 4, 15),),
        ((1, 4, 15), (1, 4, 3, 5)),
        ((1, 2, 6, 5),),
        ((1, 5, 4, 3), (1, 12, 5)),
        ((60,), (3, 4, 5)),
    ],
)
def test_reshape(shapes: Any) -> None:
    net = Net(1)
    x = net.int8((1, 4, 3, 5))
    y = x
    for shape in shapes:
        y = net.reshape(y, shape)
    _check(net, [x], net.unary("QUANTIZE", y))


def test_reshape_to_a_computed_shape() -> None:
    net = Net(1)
    x = net.int8((1, 4, 3, 8))
    shape, batch = net.tensor((4,), "int32"), net.tensor((), "int32")
    net.operator("SHAPE", [x], [shape], "ShapeOptions", {"out_type": 2})
    cut = [net.ints(values) for values in ((0,), (1,), (1,))]
    options: dict[str, Any] = {"shrink_axis_mask": 1}
    net.operator("STRIDED_SLICE", [shape, *cut], [batch], "StridedSliceOptions", options)
    packed, flat = net.tensor((2,), "int32"), net.like(x, (1, 96))
    options = {"values_count": 2, "axis": 0}
    net.operator("PACK", [batch, net.ints(96)], [packed], "PackOptions", options)
    net.operator("RESHAPE", [x, packed], [flat], "ReshapeOptions", {})
    _check(net, [x], net.fully_connected(flat, 3))


def test_reshape_before_a_convolution() -> None:
    net = Net(1)
    x = net.int8((1, 4, 3, 8))
    y = net.reshape(net.conv(x, (3, 3), 4), (1, 6, 8, 1))
    _check(net, [x], net.conv(y, (3, 3), 2))


def test_squeeze_and_expand_dims() -> None:
    net = Net(1)
    x = net.int8((1, 1, 1, 5))
    flat = net.like(x, (1, 5))
    net.operator("SQUEEZE", [x], [flat], "SqueezeOptions", {"squeeze_dims": (1, 2)})
    dense = net.fully_connected(flat, 4)
    back = net.like(dense, (1, 1, 4))
    net.operator("EXPAND_DIMS", [dense, net.ints(1)], [back])
    _check(net, [x], back)


def test_transposes_that_cancel() -> None:
    net = Net(1)
    x = net.int8((1, 4, 3, 8))
    y = net.transpose(net.conv(x, (1, 1), 6), (0, 3, 1, 2))
    y = net.unary("LOGISTIC", y, 1 / 256, -128)
    y = net.transpose(y, (0, 2, 3, 1))
    _check(net, [x], net.conv(y, (3, 3), 2))


def test_transpose_of_axes_of_length_one() -> None:
    net = Net(1)
    x = net.int8((1, 1, 6, 8))
    _check(net, [x], net.conv(net.transpose(x, (0, 2, 1, 3)), (3, 1), 2))


# --- The edges ---------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [(0.02, -128), (0.02, -1), (0.05, 100), (0.001, 0)])
def test_uint8_edges(inside: Any) -> None:
    net = Net(1)
    x = net.tensor((1, 16, 16, 1), "uint8", scale=0.02, zero_point=127)
    q = net.int8((1, 16, 16, 1), *inside)
    net.operator("QUANTIZE", [x], [q], "QuantizeOptions", {})
    r = net.unary("RELU", q, inside[0] * 0.8, 3)
    y = net.tensor((1, 16, 16, 1), "uint8", scale=0.017, zero_point=9)
    net.operator("QUANTIZE", [r], [y], "QuantizeOptions", {})
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    check(net.finish([x], [y]), net.rng, [[values]])


@pytest.mark.parametrize("scale", [0.0039, 0.1, 7.0])
def test_float_edges(scale: float) -> None:
    net = Net(1)
    x = net.tensor((1, 40, 30, 1), "float32")
    q = net.int8((1, 40, 30, 1), scale, -7)
    net.operator("QUANTIZE", [x], [q], "QuantizeOptions", {})
    r = net.unary("RELU", q, scale * 1.1, -100)
    y = net.tensor((1, 40, 30, 1), "float32")
    net.operator("DEQUANTIZE", [r], [y], "DequantizeOptions", {})
    halves = (np.arange(1200) - 600) / 2 * np.float32(scale)
    near = halves * net.rng.choice([1 - 1e-7, 1.0, 1 + 1e-7], 1200)
    far = net.rng.uniform(-1e3, 1e3, 1200) * scale
    cases = [[v.reshape(1, 40, 30, 1).astype(np.float32)] for v in (halves, near, far)]
    check(net.finish([x], [y]), net.rng, cases)


def test_several_inputs_and_outputs() -> None:
    net = Net(1)
    a, b = net.int8((1, 6, 6, 3)), net.int8((1, 3, 3, 4))
    c = net.conv(a, (3, 3), 4, stride=(2, 2), activation=RELU)
    d = net.binary("ADD", c, b)
    e = net.softmax(net.fully_connected(d, 5))
    unused = net.conv(d, (1, 1), 2, activation=RELU6)
    qgraph = _check(net, [a, b], e, d, c)
    assert unused
    assert len(qgraph.ops) == 4  # what feeds nothing is gone


def test_an_output_in_two_types() -> None:
    net = Net(1)
    x = net.int8((1, 4, 4, 3))
    y = net.conv(x, (3, 3), 2, activation=RELU_N1_TO_1)
    z = net.tensor((1, 4, 4, 2), "float32")
    net.operator("DEQUANTIZE", [y], [z], "DequantizeOptions", {})
    check(net.finish([x], [y, z]), net.rng, board=True)  # of rows, the board offers each once


def test_an_input_that_is_an_output_too() -> None:
    net = Net(1)
    x = net.int8((1, 4, 4, 3))
    _check(net, [x], net.pool("MAX_POOL_2D", x, (2, 2), (2, 2), VALID, NONE), x)


def test_inverted_residuals() -> None:
    net = Net(1)
    x = net.int8((1, 12, 11, 4))
    y = net.conv(x, (3, 3), 6, stride=(2, 2), activation=RELU6)
    for kernel, stride in product(((3, 3), (5, 5)), ((1, 1), (2, 2))):
        z = net.conv(y, (1, 1), 18, activation=RELU6)
        z = net.depthwise(z, kernel, stride=stride, activation=RELU6)
        z = net.conv(z, (1, 1), 6)
        y = net.binary("ADD", y, z) if stride == (1, 1) else z
    y = net.fully_connected(net.mean(y, (1, 2), False), 5)
    _check(net, [x], net.softmax(y))


def test_typical_inputs_hold_the_extremes() -> None:
    net = Net(1)
    x = net.int8((1, 2, 2, 1))
    qgraph = _check(net, [x], net.unary("RELU", x))
    values = [case[0] for case in typical_inputs(qgraph, net.rng)]
    assert any((v == -128).all() for v in values)
    assert any((v == 127).all() for v in values)


# --- Precision of the multipliers ------------------------------------------------------------


def _next_to(rng: np.random.Generator, x: float) -> float:
    """x as a float32, or a neighbour of it."""
    near = np.float32(x)
    return float(np.nextafter(near, np.float32(rng.choice([0.0, x, 2 * x]))))


@pytest.mark.parametrize("name", ["LEAKY_RELU", "HARD_SWISH", "RELU", "QUANTIZE"])
def test_tables_where_halves_are_rounded(name: str) -> None:
    """Ratios of scales next to fractions of small integers show in which precision they were
    computed."""
    for seed in range(60):
        net = Net(seed)
        scale = float(np.float32(net.rng.uniform(0.01, 0.2)))
        ratio = float(net.rng.choice([0.5, 0.25, 0.75, 1.5, 0.1, 0.3, 0.35, 2.5]))
        alpha = _next_to(net.rng, float(net.rng.choice([0.5, 0.1, 0.3, 0.25])))
        x = net.int8(ALL.shape, _next_to(net.rng, scale * ratio))
        options = {"alpha": alpha} if name == "LEAKY_RELU" else None
        _check_all(net, x, net.unary(name, x, scale, None, options))


@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL"])
def test_sums_where_halves_are_rounded(name: str) -> None:
    values = np.arange(-128, 128, dtype=np.int8)
    case: list[Any] = [values.reshape(1, 256, 1, 1), values.reshape(1, 1, 256, 1)]
    for seed in range(20):
        net = Net(seed)
        b = net.int8((1, 1, 256, 1))
        ratio = float(net.rng.choice([0.5, 0.25, 0.75, 1.5, 0.1, 0.3, 0.35, 2.5]))
        a = net.int8((1, 256, 1, 1), _next_to(net.rng, net.scales[b] * ratio))
        scale = net.scales[a] * float(net.rng.choice([0.5, 1.0, 2.0, 4.0]))
        if name == "MUL":
            scale *= net.scales[b] * 50
        y = net.binary(name, a, b, _next_to(net.rng, scale))
        check(net.finish([a, b], [y]), net.rng, [case])


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", ["CONV_2D", "FULLY_CONNECTED"])
def test_accumulators_where_halves_are_rounded(name: str, per_channel: bool) -> None:
    """Large biases in steps around every half: the last bits of the multiplier decide."""
    for seed in range(5):
        net = Net(seed)
        x = net.int8((1, 1, 1, 1), float(net.rng.uniform(1e-4, 3e-4)), 0)
        scale = float(net.rng.uniform(0.5, 2))
        weight = np.float32(net.rng.uniform(1e-3, 2e-3))
        real = float(np.float32(net.scales[x])) * float(weight) / float(np.float32(scale))
        halves = np.arange(0.5, 100) / real
        biases = np.concatenate([halves * (1 + e * 1e-8) for e in range(-8, 9)]).astype(np.int64)
        biases = biases[biases < 2**31]
        count = len(biases)
        scales = np.full(count if per_channel else 1, weight)
        shape = (count, 1) if name == "FULLY_CONNECTED" else (count, 1, 1, 1)
        w = net.tensor(shape, "int8", scale=scales, data=np.zeros(count))
        b = net.tensor((count,), "int32", scale=net.scales[x] * scales, data=biases)
        y = net.int8((1, count) if name == "FULLY_CONNECTED" else (1, 1, 1, count), scale, 0)
        options: dict[str, Any] = {}
        table = "FullyConnectedOptions"
        if name == "CONV_2D":
            table = "Conv2DOptions"
            options = dict.fromkeys(
                ("stride_h", "stride_w", "dilation_h_factor", "dilation_w_factor"), 1
            )
        net.operator(name, [x, w, b], [y], table, options, version=4)
        check(net.finish([x], [y]), net.rng, [[np.zeros((1, 1, 1, 1), np.int8)]])
