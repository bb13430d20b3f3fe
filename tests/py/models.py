# SPDX-License-Identifier: Apache-2.0
"""Where the shared networks and photos stand, beside the repository."""

from __future__ import annotations

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
    """Skip the test for want of something, which is a failure under CI (see skips.py)."""
    pytest.skip(f"{what} is missing")


def need(*tools: str) -> None:
    """Skip the test where a command is absent."""
    for tool in tools:
        if shutil.which(tool) is None:
            missing(tool)


def network(name: str) -> Path:
    """A shared network; the test is skipped where it is absent."""
    return _present(SHARED / "models" / f"{name}.tflite")


def case(name: str) -> Path:
    """A small shared file from a public report, as ``network``; its name with the extension."""
    return _present(SHARED / "cases" / name)


def photo(name: str) -> Path:
    return _present(SHARED / "images" / name)


def _present(path: Path) -> Path:
    if not path.exists():
        missing(f"{path} (the shared networks stand beside the repository)")
    return path
