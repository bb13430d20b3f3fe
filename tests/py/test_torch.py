# SPDX-License-Identifier: Apache-2.0
"""From PyTorch to TensorFlow Lite Micro's bytes: export, import, quantize, compile, run."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from narrows.exporters.export import export_tflite
from narrows.graph.graph import Activation, Binary, DepthwiseConv, Graph
from narrows.importers import load
from narrows.quantize.float_model import FloatModel
from narrows.quantize.quantize import QuantizeOptions, quantize
from subjects import check

try:
    import torch
    from torch import nn
except ImportError:
    if os.environ.get("CI") == "true":
        raise
    pytest.skip("PyTorch is not installed: pip install torch", allow_module_level=True)

SIZE = 32
# (expansion, channels, repeats, stride) of the paper's table, narrow and short.
BLOCKS = ((1, 8, 1, 1), (4, 12, 2, 2), (4, 16, 2, 2), (4, 24, 2, 1))


def unit(inside: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> Any:
    return nn.Sequential(
        nn.Conv2d(inside, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU6(),
    )


class Bottleneck(nn.Module):
    def __init__(self, inside: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        layers = [unit(inside, wide, 1)] if expansion > 1 else []
        layers += [unit(wide, wide, 3, stride, wide), nn.Conv2d(wide, out, 1, bias=False)]
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(out))
        self.residual = stride == 1 and inside == out

    def forward(self, x: Any) -> Any:
        return x + self.body(x) if self.residual else self.body(x)


class MobileNetV2(nn.Module):
    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers, channels = [unit(3, 8, 3, 2)], 8
        for expansion, out, repeats, stride in BLOCKS:
            for i in range(repeats):
                layers.append(Bottleneck(channels, out, stride if i == 0 else 1, expansion))
                channels = out
        self.features = nn.Sequential(*layers, unit(channels, 64, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, classes))

    def forward(self, x: Any) -> Any:
        x = nn.functional.adaptive_avg_pool2d(self.features(x), 1)
        return self.classifier(torch.flatten(x, 1))


def samples(count: int) -> np.ndarray[Any, Any]:
    """Float32 [count, 3, height, width], smooth in places as pictures are."""
    rng = np.random.default_rng(11)
    coarse = rng.normal(0, 1, (count, 3, SIZE // 4, SIZE // 4))
    fine = rng.normal(0, 0.3, (count, 3, SIZE, SIZE))
    return (coarse.repeat(4, 2).repeat(4, 3) + fine).astype(np.float32)


def nhwc(sample: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(sample.transpose(1, 2, 0)[None])


@pytest.fixture(scope="module")
def network() -> MobileNetV2:
    torch.manual_seed(4)
    torch.set_num_threads(1)
    model = MobileNetV2()
    model.train()
    with torch.no_grad():
        for _ in range(5):  # statistics of the batch normalizations
            model(torch.from_numpy(samples(16)))
    return model.eval()


def imported(network: MobileNetV2, path: Path, dynamo: bool) -> Graph:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.zeros(1, 3, SIZE, SIZE),), str(path), dynamo=dynamo, verbose=False
        )
    return load(path)


@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
def test_mobilenet_v2(network: MobileNetV2, tmp_path: Path, dynamo: bool) -> None:
    if dynamo:
        pytest.importorskip("onnxscript")
    graph = imported(network, tmp_path / "mobilenet_v2.onnx", dynamo)
    # Normalizations and activations are part of the convolutions, nothing else is left over.
    units = [op for op in graph.operators if isinstance(op, DepthwiseConv)]
    assert all(op.activation is Activation.RELU6 for op in units)
    assert len(units) == sum(repeats for _, _, repeats, _ in BLOCKS)
    residuals = sum(isinstance(m, Bottleneck) and m.residual for m in network.modules())
    assert sum(isinstance(op, Binary) for op in graph.operators) == residuals
    assert graph.inputs[0].shape == (1, SIZE, SIZE, 3)

    pictures = samples(24)
    with torch.no_grad():
        wanted = network(torch.from_numpy(pictures)).numpy()
    model = FloatModel(graph)
    exact = np.stack([model.run([nhwc(p)])[0][0] for p in pictures])
    np.testing.assert_allclose(exact, wanted, atol=1e-4)

    quantized = quantize(
        graph, ([nhwc(p)] for p in pictures[:16]), QuantizeOptions(edges="float32")
    )
    # Every plan on the host, the reference and TFLite Micro on the exported file: same bytes.
    check(export_tflite(quantized), np.random.default_rng(2), [[nhwc(p)] for p in pictures[16:20]])
