# SPDX-License-Identifier: Apache-2.0
"""The README's commands work, its program compiles and is right, its table is up to date."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from models import INT8_NETWORKS, missing, network
from narrows import zoo
from narrows.blob import read_blob
from narrows.compiler import compile_model
from narrows.models import DIGITS_INT8, load_held_out, prepare_digits
from narrows.native import Run
from narrows.planning.occupancy import occupancy
from narrows.planning.planner import plan
from narrows.planning.ram import beside_arena
from narrows.quantization.lower import lower
from readme import README, blocks, stated_arenas, with_operators
from tflm_operators import GAPS, gaps

QEMU_DIGITS = 100


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the checkout to the commands, to write into."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "pyfront").symlink_to(ROOT / "pyfront")
    (folder / "bin").mkdir()
    for name, arguments in (("narrows", "-m narrows "), ("python", "")):
        command = folder / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments}"$@"\n')
        command.chmod(0o755)
    return folder


def run_block(script: str, folder: Path) -> str:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def worked(workshop: Path) -> str:
    """Output of the worked example."""
    (script,) = blocks("sh run")
    return run_block(script, workshop)


def test_worked_example(worked: str) -> None:
    assert "all equal tflm" in worked


def test_example_in_qemu(worked: str, workshop: Path) -> None:
    for tool in ("qemu-system-arm", "arm-none-eabi-gcc"):
        if shutil.which(tool) is None:
            missing(tool)
    # Some digits are enough to try the commands with.
    data = workshop / "digits" / "digits.npz"
    with np.load(data) as digits:
        some = {name: values[:QEMU_DIGITS] for name, values in digits.items()}
    np.savez(data, **some)
    outputs = [run_block(script, workshop) for script in blocks("sh run qemu")]
    said = ("instructions", "B of flash", "instructions", "cycles")
    assert all(word in output for word, output in zip(said, outputs, strict=True))


MAIN = """
#include <stdio.h>
#include <string.h>
{example}
const uint8_t blob[] __attribute__((aligned(16))) = {{ {blob} }};
const size_t blob_bytes = sizeof blob;
static const int8_t picture[] = {{ {picture} }};
static size_t at;
void read_pixels(int8_t *to, uint32_t bytes)
{{
    memcpy(to, picture + at, bytes);
    at += bytes;
}}
int main(void)
{{
    static uint8_t memory[{memory}] __attribute__((aligned(16)));
    printf("%d %d\\n", classify(memory, sizeof memory), classify(memory, 16));
    return 0;
}}
"""


# The line of a streaming network, among what it mentions.
GO_ON = """
int go_on(struct nrw_run *state, int is_first, struct nrw_model model, void *memory,
          size_t memory_bytes);
int go_on(struct nrw_run *state, int is_first, struct nrw_model model, void *memory,
          size_t memory_bytes)
{{
    struct nrw_run run = *state;
    int status;
    {line}
    *state = run;
    return status;
}}
"""


def test_program(digits_blob: Path, tmp_path: Path) -> None:
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if cmake is None:
        missing("cmake")
    blob = read_blob(digits_blob)
    picture = prepare_digits(load_held_out().images)[0]
    expected = int(Run(blob.model).infer([picture])[0].argmax())
    program, go_on = blocks("c")
    (build,) = blocks("cmake")
    (tmp_path / "main.c").write_text(
        MAIN.format(
            example=f"{program}\n{GO_ON.format(line=go_on)}",
            blob=", ".join(map(str, blob.data)),
            picture=", ".join(map(str, np.ravel(picture))),
            memory=blob.model.memory_bytes,
        )
    )
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.18)\nproject(app C)\nadd_executable(app main.c)\n{build}"
    )
    (tmp_path / "narrows").mkdir()
    (tmp_path / "narrows" / "runtime").symlink_to(ROOT / "runtime")
    for command in ([cmake, "-S", ".", "-B", "build"], [cmake, "--build", "build"]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=1800)
    output = subprocess.run(
        [tmp_path / "build" / "app"], capture_output=True, text=True, check=True, timeout=1800
    ).stdout
    assert output == f"{expected} -8\n"


def test_every_operator_of_tflite_micro_is_supported_or_has_a_reason() -> None:
    listed = [name for names in GAPS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert gaps() == set(listed)


def test_table_of_operators_is_up_to_date() -> None:
    text = README.read_text(encoding="utf-8")
    assert with_operators(text) == text, "write it anew: python tests/py/readme.py"


def test_the_peak_of_mobilenet_is_as_the_design_says() -> None:
    """Every line of the list: bytes, and which ring, state or scratch it is."""
    text = (ROOT / "runtime" / "DESIGN.md").read_text(encoding="utf-8")
    listed = text.split("`narrows plan zoo:mobilenet_v2 --explain` prints", 1)[1]
    graph = lower(zoo.shapes("mobilenet_v2"))
    planned = plan(graph)
    occupied = occupancy(graph, planned)
    held = occupied.held(occupied.peak)
    rows = re.findall(
        r"^\| ([\d,]+) \| (ring|rings|state|scratch) of (?:the )?(.*?) \|", listed, re.M
    )
    found = {}
    for size, kind, names in rows:
        for name in re.findall(
            r"[a-z]\w*/\w+|input", names.split(",")[0] if kind == "state" else names
        ):
            found[kind.removesuffix("s") if kind == "rings" else kind, name] = size
    assert found.keys() == {(tenant.kind, tenant.name) for tenant, _ in held}
    for size in set(found.values()):
        own = [n for tenant, n in held if found[tenant.kind, tenant.name] == size]
        assert f"{sum(own):,}" == size
    alive = sum(n for _, n in held)
    assert f"| **{alive:,}** | alive at once |" in listed
    assert f"the arena has {planned.arena_total:,} bytes" in text
    assert f"Beside the arena stand {beside_arena(graph, planned):,} bytes" in text
    place = (occupied.peak, len(occupied.order))
    assert "firing {:,} of {:,}".format(*place) in " ".join(text.split())


@pytest.mark.parametrize("name", [DIGITS_INT8.stem, *INT8_NETWORKS])
def test_arenas_are_as_stated(name: str) -> None:
    path = DIGITS_INT8 if name == DIGITS_INT8.stem else network(name)
    assert compile_model(path).plan.arena_total == stated_arenas()[name], (
        "measure anew: python tests/py/readme.py --figures"
    )
