# SPDX-License-Identifier: Apache-2.0
"""Models that the fuzzer of the importers starts from: every operator by itself, the default
networks, and the shared cases where they are there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import single
import test_onnx
from cases import CASES
from detectors import small_ssd
from narrows.models import DIGITS_FLOAT, DIGITS_INT8
from single import RELU, RELU6, VALID
from test_chains import compared, selected
from test_functions import in_floats
from test_lowered import gathered, mirrored, unpacked
from test_onnx import Qdq, qdq_network

# A mutant of a large file takes long and says no more.
_LARGEST_CASE = 1 << 16


def seeds(kind: str) -> dict[str, bytes]:
    """Files by name. kind: ``tflite`` or ``onnx``."""
    found = _tflite() if kind == "tflite" else _onnx()
    for path in sorted(CASES.glob(f"*.{kind}")):
        if path.stat().st_size <= _LARGEST_CASE:
            found[f"cases/{path.name}"] = path.read_bytes()
    return found


# --- .tflite -------------------------------------------------------------------------------------

IMAGE = (1, 7, 6, 4)

_OPERATORS: dict[str, Callable[[single.Net, int], int]] = {
    "conv": lambda net, x: net.conv(x, (3, 3), 6, stride=(2, 1), activation=RELU6),
    "conv_valid": lambda net, x: net.conv(x, (3, 2), 5, dilation=(2, 1), padding=VALID),
    "groups": lambda net, x: net.conv(x, (3, 2), 6, groups=2, stride=(1, 2)),
    "depthwise": lambda net, x: net.depthwise(x, (3, 3), 2, stride=(2, 2)),
    "transpose_conv": lambda net, x: net.transpose_conv(x, (3, 4), 3, stride=(2, 3)),
    "fully_connected": lambda net, x: net.fully_connected(x, 5, activation=RELU),
    "fully_connected_pixels": lambda net, x: net.fully_connected(x, 5, (1, 7, 6, 5), 4),
    "add": lambda net, x: net.binary("ADD", x, net.int8(IMAGE, data=np.ones(IMAGE))),
    "sub": lambda net, x: net.binary("SUB", x, net.constant((1, 1, 1, 4)), activation=RELU),
    "mul": lambda net, x: net.binary("MUL", x, net.mean(x, (1, 2), True)),
    "square": lambda net, x: net.binary("MUL", x, x),
    "maximum": lambda net, x: net.extremum("MAXIMUM", x, net.like(x, IMAGE, data=np.ones(IMAGE))),
    "select": lambda net, x: selected(
        net, compared(net, "LESS", x, net.constant((1, 1, 1, 4))), x, net.like(x, (), [5]), IMAGE
    ),
    "prelu": lambda net, x: net.prelu(x, net.constant((1, 1, 4))),
    "average_pool": lambda net, x: net.pool("AVERAGE_POOL_2D", x, (3, 3), (2, 2)),
    "max_pool": lambda net, x: net.pool("MAX_POOL_2D", x, (2, 3), (1, 2), VALID, RELU),
    "mean": lambda net, x: net.mean(x, (1, 2), False),
    "mean_height": lambda net, x: net.mean(x, (1,), True),
    "sum_channels": lambda net, x: net.reduce("SUM", x, (1, 3), True, 0.9),
    "minimum_of_all": lambda net, x: net.reduce("REDUCE_MIN", x, (2, 3), False),
    "gather": lambda net, x: gathered(net, x, 3, [3, 0, 2]),
    "unpack": lambda net, x: net.binary("ADD", *unpacked(net, x, 3)[1:3]),
    "mirror_pad": lambda net, x: mirrored(net, x, ((0, 0), (1, 2), (0, 1), (0, 0)), 0),
    "matmul": lambda net, x: net.matmul(net.reshape(x, (1, 42, 4)), net.constant((1, 4, 3))),
    "matrices": lambda net, x: net.matmul(net.transpose(x, (0, 1, 3, 2)), x),
    "arg_max": lambda net, x: net.arg_max(x, 3),
    "arg_min": lambda net, x: net.cast(net.arg_max(x, 1, "ARG_MIN"), "int8"),
    "greater": lambda net, x: net.compare("GREATER", x, net.constant((1, 1, 1, 4))),
    "softmax": lambda net, x: net.softmax(net.reshape(x, (1, 168))),
    "logistic": lambda net, x: net.unary("LOGISTIC", x, 1 / 256, -128),
    "tanh": lambda net, x: net.unary("TANH", x, 1 / 128, 0),
    "hard_swish": lambda net, x: net.unary("HARD_SWISH", x, 0.1),
    "leaky_relu": lambda net, x: net.unary("LEAKY_RELU", x, options={"alpha": 0.1}),
    "relu": lambda net, x: net.unary("RELU", x),
    "relu6": lambda net, x: net.unary("RELU6", x),
    "abs": lambda net, x: net.unary("ABS", x),
    "elu": lambda net, x: net.unary("ELU", x),
    "square_in_floats": lambda net, x: in_floats(net, "SQUARE", x, 0.1, -128),
    "requantize": lambda net, x: net.unary("QUANTIZE", x),
    "concat": lambda net, x: net.concat([x, x], 3),
    "concat_height": lambda net, x: net.concat([x, x, x], 1),
    "bilinear": lambda net, x: net.resize("RESIZE_BILINEAR", x, (12, 5), False, True),
    "nearest": lambda net, x: net.resize("RESIZE_NEAREST_NEIGHBOR", x, (3, 11), True, False),
    "pad": lambda net, x: net.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))),
    "pad_conv": lambda net, x: net.conv(
        net.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), 4, padding=VALID
    ),
    "padv2": lambda net, x: net.pad(x, ((0, 0), (1, 0), (0, 1), (2, 0)), 7),
    "reshape": lambda net, x: net.reshape(x, (1, 6, 7, 4)),
    "transpose": lambda net, x: net.mean(net.transpose(x, (0, 2, 1, 3)), (1, 2), False),
    "slice": lambda net, x: _slice(net, x),
    "strided_slice": lambda net, x: _strided_slice(net, x),
    "split": lambda net, x: _split(net, x),
    "blocks": lambda net, x: _blocks(net, x),
    "block": lambda net, x: _block(net, x),
}


def _tflite() -> dict[str, bytes]:
    found = {"digits_int8": DIGITS_INT8.read_bytes(), "digits_float": DIGITS_FLOAT.read_bytes()}
    for number, (name, build) in enumerate(_OPERATORS.items()):
        net = single.Net(number)
        x = net.int8(IMAGE)
        found[name] = net.finish([x], [build(net, x)])
    found["edges"] = _edges()
    found["detection"] = small_ssd()
    return found


def _slice(net: single.Net, x: int) -> int:
    y = net.like(x, (1, 4, 3, 4))
    net.operator("SLICE", [x, net.ints((0, 1, 2, 0)), net.ints((1, 4, 3, -1))], [y])
    return y


def _strided_slice(net: single.Net, x: int) -> int:
    y = net.like(x, (1, 3, 5, 4))
    ranges = [net.ints(values) for values in ((0, 1, 1, 0), (1, 7, 6, 4), (1, 2, 1, 1))]
    options = {"begin_mask": 1, "end_mask": 9, "ellipsis_mask": 0}
    net.operator("STRIDED_SLICE", [x, *ranges], [y], "StridedSliceOptions", options, version=2)
    return y


def _split(net: single.Net, x: int) -> int:
    parts = [net.like(x, (1, 7, 6, 2)) for _ in range(2)]
    net.operator("SPLIT", [net.ints(3), x], parts, "SplitOptions", {"num_splits": 2}, version=2)
    return net.binary("SUB", *parts)


def _blocks(net: single.Net, x: int) -> int:
    wide = net.like(x, (1, 14, 12, 1))
    net.operator("DEPTH_TO_SPACE", [x], [wide], "DepthToSpaceOptions", {"block_size": 2})
    deep = net.like(x, (1, 7, 6, 4))
    net.operator("SPACE_TO_DEPTH", [wide], [deep], "SpaceToDepthOptions", {"block_size": 2})
    return deep


def _shuffle(net: single.Net, x: int) -> int:
    parts = net.transpose(net.reshape(x, (1, 7, 6, 2, 2)), (0, 1, 2, 4, 3))
    return net.transpose(net.reshape(parts, (1, 7, 6, 4)), (0, 3, 1, 2))


def _block(net: single.Net, x: int) -> int:
    """An inverted residual with a gate, and a head."""
    wide = net.conv(x, (1, 1), 12, activation=RELU6)
    wide = net.depthwise(wide, (3, 3), activation=RELU6)
    gate = net.unary("LOGISTIC", net.conv(net.mean(wide, (1, 2), True), (1, 1), 12), 1 / 256, -128)
    x = net.binary("ADD", x, net.conv(net.binary("MUL", wide, gate), (1, 1), 4))
    pooled = net.pool("AVERAGE_POOL_2D", x, (7, 6), (1, 1), VALID)
    return net.softmax(net.fully_connected(net.reshape(pooled, (1, 4)), 3))


def _edges() -> bytes:
    """A float input, a uint8 output, two of each."""
    net = single.Net(99)
    a, b = net.tensor(IMAGE, "float32"), net.tensor(IMAGE, "uint8", scale=0.02, zero_point=128)
    inside = [net.int8(IMAGE, 0.02, 0), net.int8(IMAGE, 0.02, 0)]
    for source, target in zip((a, b), inside, strict=True):
        net.operator("QUANTIZE", [source], [target], "QuantizeOptions", {})
    y = net.binary("ADD", *inside)
    real, bytes_ = net.tensor(IMAGE, "float32"), net.tensor(IMAGE, "uint8", scale=0.1, zero_point=9)
    net.operator("DEQUANTIZE", [y], [real], "DequantizeOptions", {}, version=2)
    net.operator("QUANTIZE", [y], [bytes_], "QuantizeOptions", {})
    return net.finish([a, b], [real, bytes_])


def _dynamic(net: test_onnx.Net) -> Any:
    values, scale, zero = net.add("DynamicQuantizeLinear", "x", outputs=3)
    weights = net.constant(np.ones((5, 4, 1, 1)), np.int8)
    y = net.add("Cast", net.add("ConvInteger", values, weights, zero), to=1)
    return net.add("Mul", y, scale)


def _qoperators(net: test_onnx.Net) -> Any:
    scale, zero = net.constant(np.float32(0.05)), net.constant(3, np.int8)
    weights = (net.constant(np.ones((5, 4, 1, 1)), np.int8), scale, net.constant(0, np.int8))
    x = (net.add("QuantizeLinear", "x", scale, zero), scale, zero)
    y = net.add("MaxPool", net.add("QLinearConv", *x, *weights, scale, zero), kernel_shape=[2, 2])
    return net.add("DequantizeLinear", y, scale, zero)


# --- .onnx ---------------------------------------------------------------------------------------

_NODES: dict[str, Callable[[test_onnx.Net], Any]] = {
    "conv": lambda net: net.conv("x", 6, 4, 3, 3, pads=[1, 1, 1, 1], strides=[2, 1]),
    "group": lambda net: net.conv("x", 6, 2, 3, 3, group=2, auto_pad="SAME_UPPER"),
    "depthwise": lambda net: net.conv("x", 8, 1, 3, 3, group=4, dilations=[2, 1]),
    "transposed": lambda net: net.add(
        "ConvTranspose", "x", net.normal(4, 3, 3, 4), strides=[2, 3], pads=[1, 0, 0, 1]
    ),
    "batch_norm": lambda net: test_onnx.batch_norm(net, net.conv("x", 4, 4, 1, 1), 4),
    "relu": lambda net: net.add("Relu", "x"),
    "clip": lambda net: net.add("Clip", "x", net.constant(-0.5), net.constant(1.5)),
    "leaky": lambda net: net.add(
        "LeakyRelu", net.add("PRelu", "x", net.constant([0.2])), alpha=0.1
    ),
    "sigmoid": lambda net: net.add("Tanh", net.add("Sigmoid", "x")),
    "elu": lambda net: net.add("Elu", net.add("Exp", net.add("Pow", "x", net.constant(2.0)))),
    "hard": lambda net: net.add("HardSwish", net.add("HardSigmoid", "x", alpha=0.2)),
    "add": lambda net: net.add("Add", "x", net.normal(4, 1, 1)),
    "div": lambda net: net.add("Sub", net.constant(1.0), net.add("Div", "x", net.constant(3.0))),
    "gate": lambda net: net.add("Mul", "x", net.add("GlobalAveragePool", "x")),
    "average": lambda net: net.add(
        "AveragePool", "x", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0]
    ),
    "max": lambda net: net.add("MaxPool", "x", kernel_shape=[2, 2], ceil_mode=1, strides=[2, 2]),
    "mean": lambda net: net.add("ReduceMean", "x", axes=[2, 3], keepdims=0),
    "min": lambda net: net.add("ReduceMin", "x", axes=[1], keepdims=1),
    "gather": lambda net: net.add("Gather", "x", net.constant([3, 0, 2]), axis=1),
    "reflect": lambda net: net.add(
        "Pad", "x", net.constant([0, 0, 1, 0, 0, 0, 2, 1]), mode="reflect"
    ),
    "gemm": lambda net: net.add(
        "Gemm", net.add("Flatten", "x"), net.normal(168, 3), net.normal(3), alpha=0.5
    ),
    "matmul": lambda net: net.add(
        "Add",
        net.add("MatMul", net.add("Reshape", "x", net.constant([1, -1])), net.normal(168, 3)),
        net.normal(3),
    ),
    "matrices": lambda net: net.add("MatMul", "x", net.add("Transpose", "x", perm=[0, 1, 3, 2])),
    "softmax": lambda net: net.add("Softmax", "x", axis=1),
    "concat": lambda net: net.add("Concat", "x", net.add("Relu", "x"), axis=1),
    "slice": lambda net: net.add(
        "Slice",
        "x",
        net.constant([1, 0]),
        net.constant([7, 5]),
        net.constant([2, 3]),
        net.constant([2, 1]),
    ),
    "split": lambda net: net.add(
        "Sub", *net.add("Split", "x", net.constant([2, 2]), outputs=2, axis=1)
    ),
    "pad": lambda net: net.add(
        "Pad", "x", net.constant([0, 0, 1, 0, 0, 1, 0, 2]), net.constant(0.5)
    ),
    "resize": lambda net: net.add(
        "Resize",
        "x",
        "",
        net.constant([1.0, 1.0, 2.0, 2.0]),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    ),
    "blocks": lambda net: net.add(
        "SpaceToDepth", net.add("DepthToSpace", "x", blocksize=2, mode="CRD"), blocksize=2
    ),
    "softplus": lambda net: net.add("Softplus", net.add("Selu", "x")),
    "where": lambda net: net.add(
        "Where", net.add("Not", net.add("Less", "x", net.normal(1))), "x", net.normal(1)
    ),
    "tile": lambda net: net.add("Tile", "x", net.constant([1, 2, 1, 1])),
    "expand": lambda net: net.add(
        "Expand", net.add("GlobalMaxPool", "x"), net.constant([1, 4, 3, 3])
    ),
    "dynamic": _dynamic,
    "qoperators": _qoperators,
    "shuffle": lambda net: net.conv(test_onnx.shuffled(net, "x", 2, 5), 4, 6, 1, 1),
    "transpose": lambda net: net.add("Softmax", net.add("Transpose", "x", perm=[0, 2, 3, 1])),
    "shapes": lambda net: _shapes(net),
    "minimum": lambda net: net.add(
        "Min", net.add("Max", "x", net.constant(0.0)), net.constant(6.0)
    ),
}


def _onnx() -> dict[str, bytes]:
    found = {"small": test_onnx.small()}
    for name, build in _NODES.items():
        net = test_onnx.Net()
        found[name] = net.model(build(net))
    for name, kind in (("qdq_int8", np.int8), ("qdq_uint8", np.uint8)):
        qdq = Qdq(kind=kind)
        found[name] = qdq.model(qdq_network(qdq), opset=19)
    return found


def _parts(net: test_onnx.Net) -> Any:
    return net.add("Sub", *net.add("Split", "x", net.constant([2, 2]), outputs=2, axis=1))


def _shapes(net: test_onnx.Net) -> Any:
    """A shape computed at run time, as exporters write it."""
    sizes = net.add("Shape", "x")
    first = net.add("Gather", sizes, net.constant([0]), axis=0)
    shape = net.add("Concat", first, net.constant([-1]), axis=0)
    return net.add("Gemm", net.add("Reshape", "x", shape), net.normal(168, 3))
