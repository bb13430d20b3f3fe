# SPDX-License-Identifier: Apache-2.0
"""Networks of PyTorch compile, give the oracle's bytes and stay close to floats: a sample of them
in every run, all of them with NARROWS_SLOW=1."""

from __future__ import annotations

import warnings
from random import Random
from typing import Any

import numpy as np
import pytest
from judge import ran, samples

from narrows.exporters.export import export_tflite
from narrows.importers.onnx import import_onnx
from sweep import documented

pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch onnxscript")
pytest.importorskip("onnxscript", reason="the second exporter needs it: pip install onnxscript")

import torch
import torch.ao.quantization as ao
from torch_blocks import NETWORKS
from torch_export import EXPORTERS, exported, outcome_of

SEED, SAMPLED = 20, 8
LEAST_DECIBELS = 15.0
PAIRS = [(name, exporter) for name in NETWORKS for exporter in EXPORTERS]
SAMPLE = Random(SEED).sample(PAIRS, SAMPLED)


def _check(name: str, exporter: str) -> None:
    outcome = outcome_of(name, exporter)
    assert not outcome.refused or (name, exporter) in documented(), outcome.refused
    assert outcome.apart == 0
    assert outcome.decibels > LEAST_DECIBELS


@pytest.mark.parametrize(("name", "exporter"), SAMPLE)
def test_sampled(name: str, exporter: str) -> None:
    _check(name, exporter)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "exporter"), [pair for pair in PAIRS if pair not in SAMPLE])
def test_all(name: str, exporter: str) -> None:
    _check(name, exporter)


class _Quantized(torch.nn.Module):
    """A residual network between the stubs of PyTorch's eager quantization."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()
        self.conv, self.relu = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()
        self.pool, self.inner = nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.sum, self.last = torch.ao.nn.quantized.FloatFunctional(), nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        x = self.pool(self.relu(self.conv(self.quant(x))))
        x = self.sum.add(x, self.inner(x))
        return self.dequant(self.last(x.mean((2, 3))))


@pytest.mark.parametrize("kind", ["trained", "calibrated"])
def test_quantized_by_torch(kind: str) -> None:
    """Networks that PyTorch itself has made int8 compile as they are."""
    trained = kind == "trained"
    torch.manual_seed(5)
    if "qnnpack" in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = "qnnpack"
    module = _Quantized().train(trained)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = ao.get_default_qat_qconfig if trained else ao.get_default_qconfig
        module.qconfig = config("qnnpack")
        fuse = ao.fuse_modules_qat if trained else ao.fuse_modules
        module = (ao.prepare_qat if trained else ao.prepare)(fuse(module, [["conv", "relu"]]))
        inputs = samples(((1, 3, 16, 16),))
        for (x,) in inputs[:8]:
            module(torch.from_numpy(x))
        module = ao.convert(module.eval())
        graph = import_onnx(exported(module, inputs[0], "torchscript"), kind)
    answers = [[module(torch.from_numpy(x)).numpy()] for (x,) in inputs[-3:]]
    cases = [[np.ascontiguousarray(np.moveaxis(x, 1, -1))] for (x,) in inputs[-3:]]
    apart, decibels = ran(export_tflite(graph), cases, answers)
    assert apart == 0
    assert decibels > 25


def test_what_is_documented_exists() -> None:
    assert documented() <= set(PAIRS)
    assert len(documented()) <= len(PAIRS) // 10
