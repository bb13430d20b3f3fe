# SPDX-License-Identifier: Apache-2.0
"""The examples: without warnings for the host and for Cortex-M, and with the host's answer over a
board of the tests' own (``host_*``)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, RUNTIME
from models import need
from narrows.blob import read_blob
from narrows.cli import main
from narrows.models import load_held_out, prepare_digits
from narrows.native import Run

HERE = Path(__file__).parent
EXAMPLES = ROOT / "examples"
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
INCLUDES = (HERE / "freertos", HERE, RUNTIME / "include")
PROGRAMS = {
    "camera_rows.c": "host_camera.c",
    "main_loop.c": "host_loop.c",
    "freertos_task.c": "host_freertos.c",
    "cpp_user.cpp": "host_cpp.cpp",
}
CORES = {
    "cortex-m0": "-mcpu=cortex-m0 -mthumb",
    "cortex-m4": "-mcpu=cortex-m4 -mthumb",
    "cortex-m55": "-mcpu=cortex-m55 -mthumb -mfloat-abi=hard -mfpu=auto",
}


@pytest.fixture(scope="module")
def built(digits_blob: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A folder with the network, a picture and the runtime's objects; the digit that it shows."""
    need("cc")
    folder = tmp_path_factory.mktemp("examples")
    assert main(["embed", str(digits_blob), "-o", f"{folder}/digits_net.c"]) == 0
    picture = prepare_digits(load_held_out().images[:1])[0]
    rows = ",\n".join("{" + ", ".join(map(str, row.ravel())) + "}" for row in picture)
    (folder / "picture.h").write_text(
        "#include <stdint.h>\nenum { PICTURE_ROWS = 32, PICTURE_COLUMNS = 32 };\n"
        f"static const int8_t picture[32][32] = {{\n{rows}}};\n"
    )
    kernels = RUNTIME / "kernels"
    sources = [*RUNTIME.glob("src/*.c"), *RUNTIME.glob("ops/*.c"), *kernels.glob("*_c.c")]
    command = ["cc", "-std=c99", f"-I{RUNTIME / 'include'}", "-c", kernels / "layouts.c"]
    subprocess.run([*command, *sources, folder / "digits_net.c"], check=True, cwd=folder)
    objects = [path.name for path in folder.glob("*.o")]
    subprocess.run(["ar", "rc", "libnarrows.a", *objects], check=True, cwd=folder)
    (scores,) = Run(read_blob(digits_blob).model).infer([picture])
    return folder, int(scores.ravel().argmax())


def compiler(example: str, prefix: str = "", clang: bool = False) -> list[str]:
    """The command that compiles an example, without what follows."""
    is_cpp = example.endswith("pp")
    name = ("clang++" if is_cpp else "clang") if clang else prefix + ("g++" if is_cpp else "gcc")
    need(name)
    return [name, "-std=c++11" if is_cpp else "-std=c99", *WARNINGS]


def build(example: str, built: Path, program: Path, clang: bool = False) -> Path:
    includes = [f"-I{path}" for path in (*INCLUDES, built, EXAMPLES)]
    sources = [EXAMPLES / example, HERE / PROGRAMS[example]]
    command = [*compiler(example, clang=clang), *includes, *sources, built / "libnarrows.a"]
    done = subprocess.run([*map(str, command), "-o", str(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.parametrize("clang", [False, True], ids=["gcc", "clang"])
@pytest.mark.parametrize("example", PROGRAMS)
def test_it_finds_the_digit(
    example: str, clang: bool, built: tuple[Path, int], tmp_path: Path
) -> None:
    folder, digit = built
    program = build(example, folder, tmp_path / "program", clang)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    first, *rest = done.stdout.split("\n")
    assert first == str(digit)
    if example == "main_loop.c":
        # No turn of the other work came late, also where the clock wrapped around.
        assert rest == [str(digit), str(digit), "1 turns, 0 late", ""]


def test_a_camera_that_is_too_fast(built: tuple[Path, int], tmp_path: Path) -> None:
    """A line that comes while both buffers are full ends the picture; nothing is mixed up."""
    folder, digit = built
    program = build("camera_rows.c", folder, tmp_path / "program")
    answers = [
        int(subprocess.run([program, str(line)], capture_output=True, check=True).stdout)
        for line in (1, 17, 30, 31)
    ]
    # The camera is two lines ahead; only behind the last line no further buffer is needed.
    assert answers == [-9, -9, -9, digit]


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("example", PROGRAMS)
def test_for_a_microcontroller(
    example: str, core: str, built: tuple[Path, int], tmp_path: Path
) -> None:
    includes = [f"-I{path}" for path in (*INCLUDES, built[0], EXAMPLES)]
    command = [*compiler(example, "arm-none-eabi-"), *CORES[core].split(), *includes]
    command += ["-c", str(EXAMPLES / example), "-o", str(tmp_path / "a.o")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_example_is_tested_and_listed() -> None:
    files = {path.name for path in EXAMPLES.iterdir()}
    assert files == {*PROGRAMS, "network.hpp", "README.md"}
    text = (EXAMPLES / "README.md").read_text()
    assert all(f"]({name})" in text for name in files - {"README.md"})
