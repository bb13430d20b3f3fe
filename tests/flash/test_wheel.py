# SPDX-License-Identifier: Apache-2.0
"""A wheel with firmware in it, in an environment of its own without a compiler."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from machines import booted
from PIL import Image

from conftest import ROOT
from models import missing, need
from narrows.blob import read_blob
from narrows.boards import load_board
from onnx_mobilenet import write_mobilenet_v2

BOARD = "lm3s6965evb"
MACHINE = platform.machine()
WHEELS = ROOT / "packaging" / "wheels.py"
# What the environment must not have: the package in place, and Zig.
LEFT_OUT = ("narrows", "_narrows", "__editable__", "ziglang")

# From a float network to what a board's project compiles, for somebody who has the wheel alone.
JOURNEY = (
    "quantize net.onnx --data pictures --pixels -1..1 -o net_int8.tflite",
    "compile net_int8.tflite -o net.nrw",
    "report net_int8.tflite --float net.onnx --data pictures -o report.html",
    "run net.nrw --input pictures/dark/0.png --top 1",
    "embed net.nrw -o net.c",
)
USER = """\
from pathlib import Path

import numpy as np

import narrows


def best(path: Path) -> int:
    blob = narrows.load_blob(path)
    picture = np.zeros(blob.inputs[0].shape, np.int8)
    scores = blob.run(picture).output
    return int(scores.argmax())
"""


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=1800, **options)  # type: ignore[call-overload, no-any-return]


def done(*command: object, **options: object) -> str:
    finished = run(*command, **options)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For this machine's Linux, as ``make wheels`` builds it, with the firmware of one board."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    for name in ("scikit_build_core", "ziglang", "wheel", "auditwheel"):
        if importlib.util.find_spec(name) is None:
            missing(name)
    folder = tmp_path_factory.mktemp("wheel")
    images = folder / "images"
    done(sys.executable, "-m", "narrows.link.shipped", images, BOARD)
    options = ("--no-build-isolation", "--images", images, "--out", folder)
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": places}
    done(sys.executable, WHEELS, f"linux-{MACHINE}-glibc", *options, env=environment)
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


def test_from_a_float_network_to_c_with_the_wheel_alone(python: Path, tmp_path: Path) -> None:
    """No compiler, no QEMU, nothing on PATH but the environment's own programs."""
    write_mobilenet_v2(tmp_path / "net.onnx")
    rng = np.random.default_rng(2)
    for name, low in (("dark", 0), ("light", 128)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(low, low + 128, (96, 96, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{i}.png")
    environment = {"PATH": str(python.parent)}
    assert shutil.which("cc", path=environment["PATH"]) is None
    for command in JOURNEY:
        done(python.parent / "narrows", *command.split(), env=environment, cwd=tmp_path)
    blob = (tmp_path / "net.nrw").read_bytes()
    written = re.findall(r"0x([0-9a-f]{2}),", (tmp_path / "net.c").read_text())
    assert bytes.fromhex("".join(written)) == blob
    assert f"#define NET_BYTES {len(blob)}u" in (tmp_path / "net.h").read_text()


def test_types_for_whoever_uses_it(python: Path, tmp_path: Path) -> None:
    """mypy sees the package's own types, and a wrong use."""
    script = tmp_path / "user.py"
    command = (sys.executable, "-m", "mypy", "--strict", "--python-executable", python)
    command += ("--cache-dir", str(tmp_path / "cache"), script.name)
    script.write_text(USER)
    done(*command, cwd=tmp_path)
    script.write_text(USER.replace("return int(scores.argmax())", "return blob.inputs"))
    failed = run(*command, cwd=tmp_path)
    assert failed.returncode == 1
    assert "Incompatible return value type" in failed.stdout


def test_what_package_indexes_ask(wheel: Path) -> None:
    """The platform that its name promises, whole metadata, and nothing in it that should not be."""
    assert wheel.name.endswith(f"-py3-none-manylinux2014_{MACHINE}.manylinux_2_17_{MACHINE}.whl")
    said = done(sys.executable, "-m", "auditwheel", "show", wheel)
    assert f'"manylinux_2_17_{MACHINE}"' in said.replace("\n", " ")
    scripts = Path(sys.executable).parent
    done(scripts / "twine", "check", "--strict", wheel)
    done(scripts / "check-wheel-contents", wheel)
