# SPDX-License-Identifier: Apache-2.0
"""A wheel with firmware in it, in an environment of its own without a compiler."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from machines import booted

from conftest import ROOT
from models import missing, need
from narrows.blob import read_blob
from narrows.boards import load_board

BOARD = "lm3s6965evb"
# What the environment must not have: the package in place, and Zig.
LEFT_OUT = ("narrows", "_narrows", "__editable__", "ziglang")


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=1800, **options)  # type: ignore[call-overload, no-any-return]


def done(*command: object, **options: object) -> str:
    finished = run(*command, **options)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("arm-none-eabi-gcc", "qemu-system-arm", "cc")
    if importlib.util.find_spec("scikit_build_core") is None:
        missing("scikit-build-core")
    folder = tmp_path_factory.mktemp("wheel")
    images = folder / "images"
    done(sys.executable, "-m", "narrows.link.shipped", images, BOARD)
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    define = f"--config-settings=cmake.define.NARROWS_IMAGES={images}"
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": places}
    done(sys.executable, "-m", "pip", "wheel", *options, define, ROOT, env=environment)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment: the wheel, and this one's other packages."""
    folder = tmp_path_factory.mktemp("fresh")
    done(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    interpreter = folder / "venv" / "bin" / "python"
    done(sys.executable, "-m", "pip", "--python", interpreter, "install", "--no-deps", wheel)
    others = folder / "others"
    others.mkdir()
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not path.name.startswith(LEFT_OUT) and path.suffix != ".pth":
            (others / path.name).symlink_to(path)
    (site,) = (folder / "venv").glob("lib/python3*/site-packages")
    (site / "others.pth").write_text(f"{others}\n")
    return interpreter


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing but QEMU is on PATH, and no firmware was built before."""
    qemu = shutil.which("qemu-system-arm")
    assert qemu is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "qemu-system-arm").symlink_to(qemu)
    return {"PATH": str(tmp_path / "bin"), "NARROWS_CACHE_DIR": str(tmp_path / "cache")}


def test_a_board_runs_without_a_compiler(
    python: Path, environment: dict[str, str], digits_blob: Path, tmp_path: Path
) -> None:
    """The host's bytes from firmware that came with the wheel, and a file to flash it."""
    picture = tmp_path / "zeros.npy"
    np.save(picture, np.zeros(read_blob(digits_blob).inputs[0].shape, np.float32))
    outputs = []
    for target in ("host", f"qemu:{BOARD}"):
        output = tmp_path / f"{target.partition(':')[0]}.npy"
        arguments = ("--input", picture, "--target", target, "--output", output)
        done(python, "-m", "narrows", "run", digits_blob, *arguments, env=environment)
        outputs.append(output.read_bytes())
    assert outputs[0] == outputs[1]
    file = tmp_path / "all.hex"
    arguments = ("--board", BOARD, "--with", digits_blob, "-o", file)
    assert "firmware: " in done(python, "-m", "narrows", "build", *arguments, env=environment)
    with booted(load_board(BOARD), {file: None}) as url:
        arguments = ("--port", url, "--board", BOARD)
        said = done(python, "-m", "narrows", "flash", digits_blob, *arguments, env=environment)
    assert "is there already" in said
    assert not (tmp_path / "cache").exists()


def test_boards_that_need_a_compiler_say_so(python: Path, environment: dict[str, str]) -> None:
    """Those that the wheel has no image for, and what is built otherwise than the image."""
    for options in (("--board", "mps2-an386"), ("--board", BOARD, "--compiler", "gcc")):
        failed = run(python, "-m", "narrows", "build", *options, "-o", "a.hex", env=environment)
        assert failed.returncode == 1
        assert "apt-get install gcc-arm-none-eabi" in failed.stderr
    failed = run(
        python, "-m", "narrows", "build", "--board", "mps2-an386", "-o", "a.hex", env=environment
    )
    assert "no compiler for cortex-m4" in failed.stderr
    assert "pip install 'narrows[firmware]'" in failed.stderr


def test_an_image_of_other_sources_is_not_used(python: Path, environment: dict[str, str]) -> None:
    """One changed byte of what it was built from, and it is stale."""
    code = "from narrows.share import share_dir; print(share_dir())"
    share = Path(done(python, "-c", code).strip())
    assert list((share / "firmware-images").glob(f"{BOARD}-*.elf"))
    source = share / "firmware" / "app" / "main.c"
    text = source.read_text()
    source.write_text(text + "\n")
    try:
        failed = run(
            python, "-m", "narrows", "build", "--board", BOARD, "-o", "a.hex", env=environment
        )
    finally:
        source.write_text(text)
    assert failed.returncode == 1
    assert "no compiler for cortex-m3" in failed.stderr
