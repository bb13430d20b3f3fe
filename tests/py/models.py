# SPDX-License-Identifier: Apache-2.0
"""Where the shared networks and photos stand, beside the repository, and what tests need."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from narrows.errors import ToolError
from narrows.link.rp2040js import find_rp2040js

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
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


def cmake_program() -> str:
    """The path of CMake, which may stand beside Python alone; skips the test where it is absent."""
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    found = shutil.which("cmake", path=places)
    if found is None:
        missing("cmake")
    assert found is not None
    return found


def need_rp2040js() -> None:
    """Skip the test where the emulator of the Pico is absent; make emulators installs it."""
    os.environ.setdefault("NARROWS_RP2040JS", str(ROOT / "build" / "node"))
    try:
        find_rp2040js()
    except ToolError as error:
        missing(f"rp2040js ({error})")


def network(name: str) -> Path:
    """A shared network; the test is skipped where it is absent."""
    return _present(SHARED / "models" / f"{name}.tflite")


def case(name: str) -> Path:
    """A small shared file from a public report, as ``network``; its name with the extension."""
    return _present(SHARED / "cases" / name)


def photo(name: str) -> Path:
    return _present(SHARED / "images" / name)


def data_set(name: str) -> Path:
    """Labelled inputs of a shared network: an .npz with x, y and names."""
    return _present(SHARED / "data" / f"{name}.npz")


def _present(path: Path) -> Path:
    if not path.exists():
        missing(f"{path} (the shared networks stand beside the repository)")
    return path
