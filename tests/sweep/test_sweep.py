# SPDX-License-Identifier: Apache-2.0
"""Networks of PyTorch compile, give the oracle's bytes and stay close to floats: a sample of them
in every run, all of them with NARROWS_SLOW=1."""

from __future__ import annotations

from random import Random

import pytest

from sweep import documented

pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch onnxscript")
pytest.importorskip("onnxscript", reason="the second exporter needs it: pip install onnxscript")

from torch_blocks import NETWORKS
from torch_export import EXPORTERS, outcome_of

SEED, SAMPLED = 20, 10
LEAST_DECIBELS = 15.0
PAIRS = [(name, exporter) for name in NETWORKS for exporter in EXPORTERS]
SAMPLE = Random(SEED).sample(PAIRS, SAMPLED)


def _check(name: str, exporter: str) -> None:
    outcome = outcome_of(name, exporter)
    assert bool(outcome.refused) == ((name, exporter) in documented()), outcome.refused
    assert outcome.apart == 0
    assert outcome.decibels > LEAST_DECIBELS


@pytest.mark.parametrize(("name", "exporter"), SAMPLE)
def test_sampled(name: str, exporter: str) -> None:
    _check(name, exporter)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "exporter"), [pair for pair in PAIRS if pair not in SAMPLE])
def test_all(name: str, exporter: str) -> None:
    _check(name, exporter)


def test_what_is_documented_exists() -> None:
    assert documented() <= set(PAIRS)
    assert len(documented()) <= len(PAIRS) // 10
