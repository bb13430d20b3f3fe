# SPDX-License-Identifier: Apache-2.0
"""``narrows bench`` as its users meet it, and the milliseconds that ``compile``, ``plan`` tell."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import Narrows
from models import need
from narrows.bench import bench_host, can_estimate
from narrows.blob import read_blob
from narrows.boards import load_board, load_boards
from narrows.budget import predicted_seconds
from narrows.models import DIGITS_INT8
from narrows.native import Layout
from narrows.planning.rates import CYCLES, cycles_per_instruction, table_name
from test_cli import refused

BOARD = "mps2-an386"


# --- On the host -------------------------------------------------------------------------------


def test_runtimes_are_compared(narrows: Narrows, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    done = narrows("bench", DIGITS_INT8, "--rounds", 3, "--json", path)
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    assert report["target"] == "host"
    runtimes = report["runtimes"]
    assert list(runtimes) == ["narrows", "TFLite Micro", "LiteRT with XNNPACK"]
    assert report["missing"] == []
    own = runtimes["narrows"]["milliseconds"]
    for name, figures in runtimes.items():
        assert name in done.stdout
        assert len(figures["rounds"]) == 3
        assert figures["milliseconds"] == sorted(figures["rounds"])[1] > 0
        assert figures["ratio"] == pytest.approx(figures["milliseconds"] / own)


def test_a_blob_is_compared_with_the_model_that_is_given(
    narrows: Narrows, digits_blob: Path
) -> None:
    done = narrows("bench", digits_blob, "--rounds", 1)
    assert done.returncode == 0, done.stderr
    assert "give --model MODEL" in done.stdout
    assert "TFLite Micro" not in done.stdout
    done = narrows("bench", digits_blob, "--rounds", 1, "--model", DIGITS_INT8)
    assert done.returncode == 0, done.stderr
    assert "TFLite Micro" in done.stdout


@pytest.mark.parametrize(
    ("package", "name", "install"),
    [
        ("tflite_micro", "TFLite Micro", "pip install --pre tflite-micro"),
        ("ai_edge_litert.interpreter", "LiteRT with XNNPACK", "pip install ai-edge-litert"),
    ],
)
def test_a_missing_runtime_is_said(
    package: str, name: str, install: str, digits_blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    blob = read_blob(digits_blob)
    inputs = [np.zeros(info.shape, np.int8) for info in blob.model.inputs]
    found = bench_host(blob, inputs, DIGITS_INT8, 1)
    assert name not in [runtime.name for runtime in found.runtimes]
    assert len(found.runtimes) == 2
    (line,) = found.missing
    assert install in line


# --- What is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--rounds", "0"), ["--rounds 0", "1 or more"]),
        (("--mhz", "100"), ["--mhz", "--target qemu:BOARD"]),
        (("--cycles",), ["--cycles", "--target qemu:BOARD"]),
        (("--target", f"qemu:{BOARD}", "--mhz", "0"), ["--mhz 0", "more than 0"]),
        (("--target", "serial:/dev/ttyACM0"), ["serial:/dev/ttyACM0", "qemu:BOARD"]),
        (("--target", "qemu"), ["'qemu'", "qemu:BOARD"]),
        (("--target", "qemu:mps3-an547", "--cycles"), ["Cortex-M4's timings", "cortex-m55"]),
        (("--target", "qemu:microbit", "--mhz", "16"), ["Cortex-M4's timings", "cortex-m0"]),
        (("--target", "qemu:lm3s6965evb", "--cycles"), ["core.optimize", "qemu:mps2-an385"]),
        (("--model", DIGITS_INT8), ["--model is for a blob"]),
    ],
)
def test_what_makes_no_sense(narrows: Narrows, options: tuple[str, ...], words: list[str]) -> None:
    refused(narrows("bench", DIGITS_INT8, *options), *words, code=2)


def test_a_board_that_is_not_there(narrows: Narrows) -> None:
    refused(narrows("bench", DIGITS_INT8, "--target", "qemu:nothing"), "there is none")


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        (("arm-none-eabi-gcc", "cc"), ["qemu-system-arm", "apt-get install qemu-system-arm"]),
        (("qemu-system-arm", "arm-none-eabi-gcc"), ["C compiler", "apt-get install gcc"]),
    ],
)
def test_a_missing_tool_is_said(
    tools: tuple[str, ...], words: list[str], narrows: Narrows, tmp_path: Path
) -> None:
    """The plugin's compiler is asked for even where the plugin was built before."""
    need("arm-none-eabi-gcc", "qemu-system-arm", "cc")
    for tool in tools:
        (tmp_path / tool).symlink_to(os.path.realpath(str(shutil.which(tool))))
    done = narrows("bench", DIGITS_INT8, "--target", f"qemu:{BOARD}", env={"PATH": str(tmp_path)})
    refused(done, *words)


def test_a_plugin_that_cannot_be_built(narrows: Narrows, tmp_path: Path) -> None:
    """The compiler's own first line of error is shown."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    for tool in ("qemu-system-arm", "arm-none-eabi-gcc"):
        (tmp_path / tool).symlink_to(os.path.realpath(str(shutil.which(tool))))
    compiler = tmp_path / "cc"
    compiler.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && exit 0\necho "error: no luck" >&2\nexit 1\n'
    )
    compiler.chmod(0o755)
    done = narrows(
        "bench", DIGITS_INT8, "--target", f"qemu:{BOARD}", env={"PATH": f"{tmp_path}:/bin"}
    )
    refused(done, f"{compiler} failed", "no luck")


# --- On a board --------------------------------------------------------------------------------


def test_instructions_and_cycles_of_a_board(narrows: Narrows, tmp_path: Path) -> None:
    need("arm-none-eabi-gcc", "qemu-system-arm", "cc")
    path = tmp_path / "bench.json"
    options = ("--target", f"qemu:{BOARD}", "--mhz", "80", "--json", path)
    done = narrows("bench", DIGITS_INT8, *options)
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text())
    assert report["macs"] == sum(stage["macs"] for stage in report["stages"])
    for unit in ("instructions", "cycles"):
        stages = sum(stage[unit] for stage in report["stages"])
        assert 0.95 * report[unit] < stages < report[unit]
        assert report[f"{unit}_per_mac"] == report[unit] / report["macs"]
        assert sum(cost[unit] for cost in report["functions"].values()) == report[unit]
    assert report["clock_hz"] == 80_000_000
    assert report["milliseconds"] == report["cycles"] / 80_000
    assert f"about {report['milliseconds']:.1f} ms at 80 MHz" in done.stdout
    for word in ("rows in and out", "nrw_conv_sum_two_dsp", "without wait states"):
        assert word in done.stdout


def test_a_board_without_an_estimate(narrows: Narrows, tmp_path: Path) -> None:
    need("arm-none-eabi-gcc", "qemu-system-arm")
    path = tmp_path / "bench.json"
    done = narrows("bench", DIGITS_INT8, "--target", "qemu:microbit", "--json", path)
    assert done.returncode == 0, done.stderr
    assert "cycles are not estimated: board microbit" in done.stdout
    report = json.loads(path.read_text())
    assert report["instructions"] > 0
    assert not report.keys() & {"cycles", "milliseconds", "functions"}


def test_boards_with_an_estimate() -> None:
    able = {board.name for board in load_boards() if can_estimate(board) is None}
    assert able >= {"mps2-an385", "mps2-an386", "netduinoplus2"}
    assert not able & {"microbit", "mps3-an547", "sifive_e", "pico", "nucleo-f446re"}


# --- What compile and plan predict --------------------------------------------------------------


def test_compile_says_milliseconds_where_the_clock_is_known(
    narrows: Narrows, tmp_path: Path
) -> None:
    path = tmp_path / "report.json"
    command = ("compile", DIGITS_INT8, "-o", tmp_path / "d.nrw", "--json", path, "--board")
    done = narrows(*command, "nucleo-f446re")
    predicted = json.loads(path.read_text())["predicted"]
    rate = cycles_per_instruction(Layout.PAIRED, "dsp")
    assert rate is not None
    milliseconds = predicted["instructions"] * rate / 180e3
    assert predicted["milliseconds"] == pytest.approx(milliseconds)
    assert f"about {milliseconds:.1f} ms at 180 MHz (estimated, zero-wait memory)" in done.stdout
    done = narrows(*command, "microbit")
    assert "ms at" not in done.stdout
    assert "milliseconds" not in json.loads(path.read_text())["predicted"]


def test_plan_says_milliseconds_where_the_clock_is_known(narrows: Narrows, tmp_path: Path) -> None:
    path = tmp_path / "front.json"
    command = ("plan", DIGITS_INT8, "--effort", "fast", "--json", path, "--board")
    done = narrows(*command, "nucleo-f446re")
    assert "milliseconds are at 180 MHz (estimated, zero-wait memory)" in done.stdout
    for choice in json.loads(path.read_text())["front"]:
        assert f"{choice['milliseconds']:.1f}" in done.stdout
    done = narrows(*command, "mps3-an547")
    assert "about ms" not in done.stdout


def test_the_clock_of_a_core() -> None:
    """As the file names it, as the chip's drivers set it, or as SysTick counts."""
    clocks = {board.name: board.core_hz for board in load_boards()}
    assert clocks["nrf52840dk"] == 64_000_000
    assert clocks["nucleo-f446re"] == 180_000_000
    assert clocks["mps2-an386"] == 25_000_000
    assert clocks["sifive_e"] is None
    assert predicted_seconds(1e6, load_board("sifive_e")) is None
    assert predicted_seconds(1e6, None) is None


def test_stored_cycles_are_the_median_of_networks() -> None:
    stored = json.loads(CYCLES.read_text())
    core = load_board("mps2-an386").core
    assert table_name(Layout[core.layout.upper()], core.kernels) in stored
    for entry in stored.values():
        assert entry["cycles_per_instruction"] == np.median(list(entry["networks"].values()))
        assert all(1 < rate < 3 for rate in entry["networks"].values())
