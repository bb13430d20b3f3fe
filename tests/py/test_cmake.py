# SPDX-License-Identifier: Apache-2.0
"""The runtime in a stranger's CMake project: as a folder of it, and installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, RUNTIME
from models import cmake_program, need

CONSUMER = ROOT / "tests" / "c" / "consumer"


@pytest.fixture(scope="module")
def cmake() -> str:
    need("cc")
    return cmake_program()


def run(*command: object) -> None:
    texts = [str(part) for part in command]
    done = subprocess.run(texts, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def build(cmake: str, source: Path, folder: Path, *options: str) -> None:
    run(cmake, "-S", source, "-B", folder, *options)
    run(cmake, "--build", folder)


def test_as_a_folder_of_another_project(cmake: str, tmp_path: Path) -> None:
    """What it installs is then the other project's business."""
    build(cmake, CONSUMER, tmp_path / "build", f"-DNARROWS_RUNTIME={RUNTIME}")
    run(tmp_path / "build" / "consumer")
    run(tmp_path / "build" / "detector")
    run(cmake, "--install", tmp_path / "build", "--prefix", tmp_path / "prefix")
    assert not (tmp_path / "prefix").exists()


@pytest.mark.parametrize(
    ("kernels", "prefix", "flags"),
    [
        ("fast", "arm-none-eabi-", "-mcpu=cortex-m3 -mthumb"),
        ("dsp", "arm-none-eabi-", "-mcpu=cortex-m4 -mthumb"),
        ("mve", "arm-none-eabi-", "-mcpu=cortex-m55 -mfloat-abi=hard -mfpu=auto -mthumb"),
        ("neon", "aarch64-linux-gnu-", ""),
        ("neon", "aarch64-linux-gnu-", "-mcpu=neoverse-n1"),
    ],
)
def test_for_another_core(
    cmake: str, tmp_path: Path, kernels: str, prefix: str, flags: str
) -> None:
    """Each table of the implementation, and its names of kernels, are in the library."""
    need(f"{prefix}gcc")
    folder = tmp_path / "build"
    build(
        *(cmake, RUNTIME, folder),
        *("-DCMAKE_SYSTEM_NAME=Generic", "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY"),
        *(f"-DCMAKE_C_COMPILER={prefix}gcc", f"-DCMAKE_C_FLAGS={flags}"),
        *("-DNARROWS_WARNINGS=ON", f"-DNARROWS_KERNELS={kernels}"),
    )
    symbols = subprocess.run(
        [f"{prefix}nm", folder / "libnarrows.a"], capture_output=True, text=True, check=True
    ).stdout
    for table in (RUNTIME / "kernels").glob(f"kernels_*_{kernels}.c"):
        assert f"nrw_{table.stem}\n" in symbols


def test_kernels_that_do_not_exist(cmake: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [cmake, "-S", RUNTIME, "-B", tmp_path, "-DNARROWS_KERNELS=sve"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode != 0
    assert "NARROWS_KERNELS: no kernels sve: one of c, fast, dsp, mve, avx2, neon" in done.stderr


def test_installed(cmake: str, tmp_path: Path) -> None:
    """From a copy that is gone by then: the package names no file of the sources."""
    copy, prefix = tmp_path / "runtime", tmp_path / "prefix"
    shutil.copytree(RUNTIME, copy, ignore=shutil.ignore_patterns("build"))
    build(cmake, copy, tmp_path / "library")
    run(cmake, "--install", tmp_path / "library", "--prefix", prefix)
    shutil.rmtree(copy)
    shutil.rmtree(tmp_path / "library")
    installed = sorted(path.name for path in prefix.rglob("*") if path.is_file())
    assert [name for name in installed if not name.startswith("narrows-config")] == [
        *("libnarrows.a", "libnarrows_detection.a", "narrows.h", "narrows.pc"),
        *("narrows_detection.h", "narrows_detection.pc"),
    ]
    build(cmake, CONSUMER, tmp_path / "build", "-DFOUND=ON", f"-DCMAKE_PREFIX_PATH={prefix}")
    run(tmp_path / "build" / "consumer")
    run(tmp_path / "build" / "detector")
