# SPDX-License-Identifier: Apache-2.0
"""From PyTorch to TensorFlow Lite Micro's bytes: export, import, quantize, compile, run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Narrows
from litert import count_differences
from narrows.exporters.export import export_tflite
from narrows.graph.graph import Activation, Binary, DepthwiseConv, Graph
from narrows.importers import load
from narrows.quantization.float_model import FloatModel
from narrows.quantization.lower import lower
from narrows.quantization.quantize import QuantizeOptions, quantize
from oracle import Oracle
from quantized import as_inputs
from subjects import check

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
nn = torch.nn

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


class Gated(nn.Module):
    """As MobileNetV3: hard swish, squeeze and excitation with a hard sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish())
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(8, 4, 1),
            nn.ReLU(),
            nn.Conv2d(4, 8, 1),
            nn.Hardsigmoid(),
        )
        self.deep = nn.Conv2d(8, 8, 5, 1, 2, groups=8)
        self.last = nn.Sequential(nn.Linear(8, 16), nn.Hardswish(), nn.Linear(16, 4))

    def forward(self, x: Any) -> Any:
        x = self.deep(self.first(x))
        return self.last((x * self.gate(x)).mean([2, 3]))


class Residual(nn.Module):
    """As ResNet: a wide first kernel, overlapping pools, a classifier on the flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.BatchNorm2d(8))
        self.last = nn.Linear(512, 5)

    def forward(self, x: Any) -> Any:
        x = self.pool(nn.functional.relu(self.first(x)))
        x = nn.functional.relu(x + self.body(x))
        return nn.functional.softmax(self.last(x.view(x.size(0), -1)), dim=1)


class Segments(nn.Module):
    """As U-Net: upsampling by both kinds, concatenation, a map as the output."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1)
        self.last = nn.Conv2d(12, 2, 1)

    def forward(self, x: Any) -> Any:
        a = nn.functional.leaky_relu(self.a(x), 0.1)
        b = nn.functional.interpolate(nn.functional.silu(self.b(a)), scale_factor=2.0)
        y = self.last(torch.cat([a, b], 1))
        return nn.functional.interpolate(y, size=(SIZE, SIZE), mode="bilinear")


class Mixed(nn.Module):
    """Normalization of the input, groups, padding on two sides, halves, cuts, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.grouped = nn.Conv2d(6, 8, 3, padding=1, groups=2)
        self.last = nn.Conv2d(4, 4, 3, padding="same")

    def forward(self, x: Any) -> Any:
        x = nn.functional.pad(self.norm((x - 0.5) / 0.25), (1, 0, 0, 1))
        x = torch.cat([x, torch.tanh(x)], 1)
        a, b = nn.functional.avg_pool2d(nn.functional.relu6(self.grouped(x)), 2).chunk(2, 1)
        x = self.last((a * torch.sigmoid(b))[:, :, ::2, 1:]).clamp(-1, 1)
        return x.permute(0, 2, 3, 1).reshape(1, -1, 2), x.flatten(2).mean(2)


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
def test_mobilenet_v2(
    network: MobileNetV2,
    tmp_path: Path,
    dynamo: bool,
    record_property: Callable[[str, object], None],
) -> None:
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

    options = QuantizeOptions(edges="float32")
    data = export_tflite(quantize(graph, ([nhwc(p)] for p in pictures[:16]), options))
    cases = [[nhwc(p)] for p in pictures[16:20]]
    # Every plan on the host, the board, the reference and TFLite Micro: same bytes.
    check(data, np.random.default_rng(2), cases, board=True)
    count_differences("torch's MobileNetV2", data, cases, record_property)


def test_mobilenet_v2_by_the_commands(
    network: MobileNetV2, tmp_path: Path, narrows: Narrows
) -> None:
    model, data, blob = (tmp_path / name for name in ("m.onnx", "m.tflite", "m.nrw"))
    imported(network, model, dynamo=False)
    pictures = samples(17).transpose(0, 2, 3, 1)
    np.save(tmp_path / "calibration.npy", pictures[:16])
    np.save(tmp_path / "input.npy", pictures[16])
    for arguments in (
        ("quantize", model, "--data", tmp_path / "calibration.npy", "-o", data),
        ("compile", data, "-o", blob),
        ("run", blob, "--input", tmp_path / "input.npy", "--output", tmp_path / "output.npy"),
    ):
        done = narrows(*arguments)
        assert done.returncode == 0, done.stderr
    ((x,),) = as_inputs(lower(load(data)), [[pictures[16]]])
    (wanted,) = Oracle(data.read_bytes()).run([x])
    assert len(np.unique(wanted)) > 5
    np.testing.assert_array_equal(np.load(tmp_path / "output.npy"), wanted)


@pytest.mark.parametrize("kind", [Gated, Residual, Segments, Mixed])
def test_what_torch_writes(
    kind: type[Any], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    torch.manual_seed(6)
    network, pictures = kind(), samples(8)
    with torch.no_grad():
        for picture in pictures:  # statistics of the batch normalizations
            network(torch.from_numpy(picture[None]))
        network.eval()
        outputs = network(torch.from_numpy(pictures[:1]))
    graph = imported(network, tmp_path / "network.onnx", dynamo=False)
    wanted = [v.numpy() for v in (outputs if isinstance(outputs, tuple) else (outputs,))]
    for got, want in zip(FloatModel(graph).run([nhwc(pictures[0])]), wanted, strict=True):
        expected = want.transpose(0, 2, 3, 1) if want.ndim == 4 else want
        np.testing.assert_allclose(got, expected, atol=1e-4)
    data = export_tflite(quantize(graph, ([nhwc(p)] for p in pictures)))
    qgraph = check(data, np.random.default_rng(2), board=True)
    cases = as_inputs(qgraph, [[nhwc(p)[0]] for p in pictures])
    count_differences(f"torch's {kind.__name__}", data, cases, record_property)
