# SPDX-License-Identifier: Apache-2.0
"""Networks that onnxruntime's quantize_static puts in QDQ form, and its runs of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from test_onnx import Net

Array = npt.NDArray[Any]
SHAPE = (1, 3, 24, 24)
# What people set of quantize_static; the rest are its defaults.
STATIC: dict[str, dict[str, Any]] = {
    "defaults": {},
    "per-channel": {"per_channel": True},
    "symmetric": {"extra_options": {"ActivationSymmetric": True}},
    "uint8": {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8},
    "uint8 weights": {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QUInt8},
    "int8 per-channel symmetric": {
        "activation_type": QuantType.QInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
        "extra_options": {"ActivationSymmetric": True},
    },
    "pair for each reader": {"extra_options": {"DedicatedQDQPair": True}},
}


def pictures(count: int, seed: int, shape: Sequence[int] = SHAPE) -> list[Array]:
    """Smooth pictures, -1 to 1."""
    rng = np.random.default_rng(seed)
    _, c, h, w = shape
    coarse = rng.uniform(-1, 1, (count, c, 5, 5))
    rows, cols = (np.linspace(0, 4, n).round().astype(int) for n in (h, w))
    fine = coarse[:, :, rows][:, :, :, cols] + rng.normal(0, 0.1, (count, c, h, w))
    return [x[np.newaxis].astype(np.float32) for x in np.clip(fine, -1, 1)]


class Layers(Net):
    """Weights scaled so that activations keep their size."""

    def __init__(self, shape: Sequence[int] = SHAPE, seed: int = 3) -> None:
        super().__init__(shape)
        self.rng = np.random.default_rng(seed)

    def unit(
        self, x: str, inside: int, out: int, kernel: int, stride: int = 1, *,
        depthwise: bool = False, clip: str = "Clip",
    ) -> str:  # fmt: skip
        fan = kernel * kernel * (1 if depthwise else inside)
        w = self.normal(out, 1 if depthwise else inside, kernel, kernel, scale=(3 / fan) ** 0.5)
        b = self.normal(out, scale=0.5)
        pads = [kernel // 2] * 4
        y = str(self.add(
            "Conv", x, w, b, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads,
            group=inside if depthwise else 1,
        ))  # fmt: skip
        if clip == "Clip":
            return str(self.add("Clip", y, self.constant(0.0), self.constant(6.0)))
        return str(self.add(clip, y)) if clip else y

    def head(self, x: str, channels: int, classes: int = 10) -> str:
        y = self.add("Flatten", self.add("GlobalAveragePool", x))
        w = self.normal(channels, classes, scale=channels**-0.5)
        return str(self.add("Gemm", y, w, self.normal(classes)))


def mobilenet(clip: str) -> bytes:
    """Inverted residuals, with Relu or Clip from 0 to 6."""
    net = Layers()
    x, channels = net.unit("x", 3, 8, 3, 2, clip=clip), 8
    for out, stride in ((8, 1), (12, 2), (12, 1)):
        wide = 4 * channels
        y = net.unit(x, channels, wide, 1, clip=clip)
        y = net.unit(y, wide, wide, 3, stride, depthwise=True, clip=clip)
        y = net.unit(y, wide, out, 1, clip="")
        x = net.add("Add", x, y) if stride == 1 and out == channels else y
        channels = out
    x = net.unit(x, channels, 32, 1, clip=clip)
    return net.model(net.head(x, 32))


def joined() -> bytes:
    """What shares scales, and what has prescribed ones."""
    net = Layers()
    x = net.unit("x", 3, 8, 3, 2, clip="Relu")
    a = net.add("MaxPool", net.unit(x, 8, 8, 1, clip="Relu"), kernel_shape=[2, 2], strides=[2, 2])
    b = net.unit(x, 8, 8, 3, 2, clip="")
    c = net.add("Sigmoid", b)
    d = net.unit(x, 8, 4, 3, 2, clip="Clip")
    y = net.add("Concat", a, net.add("Mul", b, c), c, d, axis=1)
    y = net.add("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = net.unit(y, 28, 16, 1, clip="Relu")
    return net.model(net.add("Softmax", net.head(y, 16)))


NETWORKS = {"relu": lambda: mobilenet("Relu"), "relu6": lambda: mobilenet("Clip"), "joined": joined}


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: Sequence[Array]) -> None:
        self._items: Iterator[dict[str, Array]] = iter([{"x": x} for x in samples])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._items, None)


def static(folder: Path, model: bytes, samples: Sequence[Array], **options: Any) -> bytes:
    """The model in QDQ form."""
    source, target = folder / "float.onnx", folder / "qdq.onnx"
    source.write_bytes(model)
    options = {"quant_format": QuantFormat.QDQ, **options}
    quantize_static(source, target, _Reader(samples), **options)
    return target.read_bytes()


def run(model: bytes, samples: Sequence[Array]) -> Array:
    """First outputs, [n, ...]. Nothing is fused, so that the file's own words count."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    rows = [session.run(None, {names[0]: x})[0] for x in samples]
    return np.concatenate(rows)


def operators(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


def decibels(right: Array, got: Array) -> float:
    noise = np.square(right - got.reshape(right.shape), dtype=np.float64).sum()
    signal = np.square(right, dtype=np.float64).sum()
    return float(10 * np.log10(signal / max(noise, 1e-20)))
