# SPDX-License-Identifier: Apache-2.0
"""Where the shared networks and photos stand, beside the repository."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"
INT8_NETWORKS = (
    "mlperf_ad01_int8",
    "mlperf_kws_int8",
    "mlperf_resnet_int8",
    "mlperf_vww_96_int8",
    "mobilenet_v2_1.0_224_ptq",
    "tinyengine_vww",
)
FLOAT_NETWORK = "mlperf_vww_96_float"
PHOTOS = ("bird.bmp", "cat.bmp", "parrot.jpg", "sunflower.bmp")


def missing(what: str) -> None:
    """Skip the test for want of something; where everything must be there, fail it."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing")


def need(*tools: str) -> None:
    """Skip the test, or fail it under CI, where a command is absent."""
    for tool in tools:
        if shutil.which(tool) is None:
            missing(tool)


def network(name: str) -> Path:
    """A shared network; the test is skipped, or fails under CI, where it is absent."""
    return _present(SHARED / "models" / f"{name}.tflite")


def photo(name: str) -> Path:
    return _present(SHARED / "images" / name)


def case(name: str) -> Path:
    """A small case from a public report."""
    return _present(SHARED / "cases" / name)


def _present(path: Path) -> Path:
    if not path.exists():
        missing(f"{path} (the shared networks stand beside the repository)")
    return path
