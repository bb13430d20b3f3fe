# SPDX-License-Identifier: Apache-2.0
"""What quantization costs, held against limits; the measurements are those of tests/bench."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import ROOT, Narrows
from models import network, photo
from narrows.blob import parse_preprocessing
from narrows.exporters.export import export_tflite
from narrows.importers.metadata import encode_metadata, model_metadata
from narrows.importers.tflite import import_tflite
from narrows.models import DIGITS_FLOAT, DIGITS_INT8, DIGITS_METADATA, load_held_out
from oracle import Oracle
from test_report import page_data

PIXELS = ("--pixel-mean", "0", "--pixel-scale", str(1 / 255))


@pytest.fixture(scope="module")
def quality() -> ModuleType:
    """tests/bench/quantize_quality.py"""
    path = ROOT / "tests" / "bench" / "quantize_quality.py"
    spec = importlib.util.spec_from_file_location("quantize_quality", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["quantize_quality"] = module
    spec.loader.exec_module(module)
    return module


def test_visual_wake_words_beside_the_vendor(quality: ModuleType) -> None:
    for name in (quality.FLOAT, quality.VENDOR):
        network(name.removesuffix(".tflite"))
    for name in quality.PHOTOS:
        photo(name)
    rows = quality.vww()
    assert len(rows) == 6
    for row in rows:
        assert row["best_error"] <= row["vendor_error"], row


def test_scaled_channels(quality: ModuleType) -> None:
    figures = quality.stress(samples=16)
    assert figures["equalized_and_corrected"] >= figures["minmax"] + 6
    assert figures["best"] >= figures["minmax"] + 6


def test_digits_lose_at_most_one(quality: ModuleType) -> None:
    pytest.importorskip("sklearn.datasets", reason="needs scikit-learn's digits")
    figures = quality.digits()
    assert figures["held_out"] == len(load_held_out())
    assert figures["int8 per channel"] >= figures["float"] - 1


def test_the_default_model_is_made_by_the_quantizer() -> None:
    """The same integers, up to what another processor's float sums may change."""
    pytest.importorskip("sklearn.datasets", reason="needs scikit-learn's digits")
    from narrows.models.quantize_digits import digits_int8

    made = import_tflite(digits_int8(DIGITS_FLOAT.read_bytes()))
    stored = import_tflite(DIGITS_INT8)
    assert len(made.operators) == len(stored.operators)
    for a, b in zip(made.tensors, stored.tensors, strict=True):
        assert (a.name, a.shape, a.dtype) == (b.name, b.shape, b.dtype)
        if a.data is not None and a.dtype == "int8":
            assert b.data is not None
            assert (np.abs(a.data.astype(int) - b.data) <= 1).mean() > 0.99


# --- Metadata and the command line -------------------------------------------------------------


def test_metadata_goes_through_the_file() -> None:
    values: dict[str, Any] = dict(DIGITS_METADATA)
    data = export_tflite(import_tflite(DIGITS_FLOAT), encode_metadata(values))
    assert model_metadata(data) == values
    assert model_metadata(DIGITS_INT8) == values
    assert model_metadata(DIGITS_FLOAT) == {}
    Oracle(data)  # TFLite Micro does not mind


def test_quantize_command(narrows: Narrows, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.uniform(0, 1, (6, 32, 32, 1)).astype(np.float32))
    out, page, figures = (tmp_path / n for n in ("q.tflite", "q.html", "q.json"))
    arguments = ("quantize", DIGITS_FLOAT, "--data", tmp_path / "x.npy", "-o", out, *PIXELS)
    done = narrows(*arguments, "--report", page, "--json", figures)
    assert done.returncode == 0, done.stderr
    assert "dB at the output" in done.stdout
    assert "worst channels" in done.stdout
    values = json.loads(figures.read_text())
    assert values["samples"] == 6
    assert values["logits_decibels"] > 10
    layers = [layer for layer in values["layers"] if layer["weight_decibels"] is not None]
    data = page_data(page.read_text())
    shown = {data["names"][layer["name"]][1]: layer for layer in data["quality"]["layers"]}
    assert list(shown) == [layer["name"] for layer in values["layers"]]
    assert len(layers) > 15
    for layer in layers:  # what one scale for all channels costs, in the terminal and on the page
        both = [layer["weight_decibels"], layer["per_tensor_decibels"]]
        assert both[0] >= both[1] - 0.1
        (line,) = (x for x in done.stdout.splitlines() if x.split()[:1] == [layer["name"]])
        row = shown[layer["name"]]
        assert [row["weight_decibels"], row["per_tensor_decibels"]] == both
        assert row["weights"]["bars"]
        for value in both:
            assert f" {value:.1f} " in line
    for layer in values["layers"]:
        row = shown[layer["name"]]
        assert (row["decibels"], row["range"]) == (layer["decibels"], layer["range"])
        assert max(row["activations"]["bars"]) == 100
    assert len(data["front"]["plans"]) > 2  # the memory plans of the result
    assert page.stat().st_size < 400_000
    preprocessing = parse_preprocessing("q", model_metadata(out)["preprocessing"])
    assert preprocessing is not None
    assert math.isclose(preprocessing.scale[0], 1 / 255)
    blob = tmp_path / "q.nrw"
    assert narrows("compile", out, "-o", blob).returncode == 0
    Image.fromarray(rng.integers(0, 256, (40, 60), np.uint8)).save(tmp_path / "p.png")
    assert narrows("run", blob, "--input", tmp_path / "p.png").returncode == 0


def _empty(tmp_path: Path) -> tuple[object, ...]:
    (tmp_path / "none").mkdir()
    return ("quantize", DIGITS_FLOAT, "--data", tmp_path / "none", "-o", tmp_path / "q.tflite")


def _integers(tmp_path: Path) -> tuple[object, ...]:
    np.save(tmp_path / "x.npy", np.zeros((2, 32, 32, 1), np.uint8))
    return ("quantize", DIGITS_FLOAT, "--data", tmp_path / "x.npy", "-o", tmp_path / "q.tflite")


def _quantized(tmp_path: Path) -> tuple[object, ...]:
    np.save(tmp_path / "x.npy", np.zeros((2, 32, 32, 1), np.float32))
    return ("quantize", DIGITS_INT8, "--data", tmp_path / "x.npy", "-o", tmp_path / "q.tflite")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_empty, "nothing in it"),
        (_integers, "x.npy: item 0: dtype uint8, but input"),
        (_quantized, "quantized already"),
    ],
)
def test_errors_are_one_line(
    narrows: Narrows,
    tmp_path: Path,
    make: Callable[[Path], tuple[object, ...]],
    message: str,
) -> None:
    done = narrows(*make(tmp_path))
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "q.tflite").exists()


@pytest.mark.slow
def test_mobilenet_v2_from_200_pictures() -> None:
    """Under 2 GiB: exit code 0 of the measurement."""
    import subprocess

    script = ROOT / "tests" / "bench" / "quantize_large.py"
    command = [sys.executable, script, "--most-seconds", "inf"]
    subprocess.run(command, check=True, timeout=3000)
