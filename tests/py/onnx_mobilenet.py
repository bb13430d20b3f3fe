# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2 as a float .onnx file, with random weights, as PyTorch writes it: NCHW, batch
normalizations folded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from narrows.zoo.networks import V2_STAGES


class _Net:
    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: object) -> str:
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def conv(self, x: str, shape: tuple[int, ...], stride: int = 1, *, clips: bool = True) -> str:
        """A convolution, depthwise if it has one input channel, and RELU6."""
        out, depth, kernel = shape[:3]
        scale = (2.0 / (depth * kernel * kernel)) ** 0.5
        weights = self.constant(self.rng.normal(0, scale, shape))
        bias = self.constant(self.rng.normal(0, 0.1, out))
        pads = [kernel // 2] * 4
        group = out if depth == 1 else 1
        y = self.add("Conv", x, weights, bias, strides=[stride] * 2, pads=pads, group=group)
        if not clips:
            return y
        return self.add("Clip", y, self.constant(np.array(0)), self.constant(np.array(6)))


def write_mobilenet_v2(path: Path, width: float = 0.35, size: int = 96, classes: int = 2) -> None:
    """A network of [1, 3, size, size] to [1, classes]."""
    net = _Net(seed=1)

    def scaled(channels: int) -> int:
        return max(8, int(channels * width + 4) // 8 * 8)

    channels = scaled(32)
    x = net.conv("x", (channels, 3, 3, 3), 2)
    for expansion, out, count, first in V2_STAGES:
        for stride in (first, *[1] * (count - 1)):
            before, wide, narrow = x, channels * expansion, scaled(out)
            if expansion != 1:
                x = net.conv(x, (wide, channels, 1, 1))
            x = net.conv(x, (wide, 1, 3, 3), stride)
            x = net.conv(x, (narrow, wide, 1, 1), clips=False)
            if stride == 1 and narrow == channels:
                x = net.add("Add", before, x)
            channels = narrow
    x = net.conv(x, (1280, channels, 1, 1))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    dense = net.constant(net.rng.normal(0, 1280**-0.5, (1280, classes)))
    net.add("MatMul", x, dense)
    net.nodes[-1].output[0] = "y"
    edges = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, size, size]), ("y", [1, classes]))
    ]
    graph = helper.make_graph(net.nodes, "mobilenet_v2", edges[:1], edges[1:], net.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
