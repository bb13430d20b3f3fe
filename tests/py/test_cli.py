# SPDX-License-Identifier: Apache-2.0
"""The command line as its users meet it: processes, exit codes, one clear line each."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Narrows
from models import FLOAT_NETWORK, network, photo
from narrows.budget import parse_size
from narrows.cli.doctor import Finding, command_for_most
from narrows.errors import UsageError
from narrows.models import DIGITS_INT8, load_held_out, prepare_digits
from oracle import Oracle


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Held-out digits as the network takes them, and their classes."""
    held_out = load_held_out()
    return prepare_digits(held_out.images)[:8], held_out.labels[:8]


@pytest.fixture
def digit_file(digits: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> Path:
    path = tmp_path / "digit.npy"
    np.save(path, digits[0][0])
    return path


def refused(done: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> None:
    """One line on stderr that begins as it should and says each of the words."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("narrows: error: ")
    for word in words:
        assert word in lines[0]
    assert done.stdout == ""


# --- What it gives -----------------------------------------------------------------------------


def test_compile_writes_a_blob_and_its_figures(narrows: Narrows, tmp_path: Path) -> None:
    blob, figures = tmp_path / "d.nrw", tmp_path / "d.json"
    done = narrows("compile", DIGITS_INT8, "-o", blob, "--json", figures)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(figures.read_text())
    for key in (
        "arena_bytes",
        "ram_bytes",
        "macs",
        "input_passes",
        "max_step_macs",
        "max_step_work",
    ):
        assert isinstance(report[key], int)
    assert report["blob_bytes"] == blob.stat().st_size
    assert 0 < report["weight_bytes"] < report["blob_bytes"]
    assert report["mac_factor"] == 1.0
    assert report["arena_bytes"] <= report["ram_bytes"]


def test_slices_cost_work_and_save_ram(narrows: Narrows, tmp_path: Path) -> None:
    reports = []
    for options in ((), ("--slice", "1")):
        done = narrows("compile", DIGITS_INT8, "-o", tmp_path / "d.nrw", "--json", "-", *options)
        reports.append(json.loads(done.stdout))
    assert reports[1]["arena_bytes"] < reports[0]["arena_bytes"]
    assert reports[1]["mac_factor"] > 1.0


def test_slices_that_save_nothing(narrows: Narrows, tmp_path: Path) -> None:
    """Depthwise separable layers have no expansion that could be cut; the user is told."""
    model = network("mlperf_kws_int8")
    done = narrows("compile", model, "-o", tmp_path / "k.nrw", "--slice", "1")
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert "--slice 1 needs 4," in line
    assert "would do without it" in line


def test_run_gives_what_tflite_micro_gives(
    narrows: Narrows, digits_blob: Path, digits: tuple[np.ndarray, np.ndarray], digit_file: Path
) -> None:
    output, figures = digit_file.with_suffix(".out.npy"), digit_file.with_suffix(".json")
    done = narrows("run", digits_blob, "--input", digit_file, "--output", output, "--json", figures)
    assert done.returncode == 0, done.stderr
    expected = Oracle(DIGITS_INT8.read_bytes()).run([digits[0][:1]])[0]
    np.testing.assert_array_equal(np.load(output), expected)
    report = json.loads(figures.read_text())
    assert report["output_sha256"] == hashlib.sha256(expected.tobytes()).hexdigest()
    assert report["seconds"] > 0
    assert report["arena_bytes"] < report["ram_high_water_bytes"]
    assert report["top"][0]["index"] == int(expected.argmax())
    assert len(report["top"]) == 5
    assert report["top"][0]["label"] in done.stdout


def test_run_with_labels_and_profile(
    narrows: Narrows, digits_blob: Path, digit_file: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(f"digit-{i}" for i in range(10)))
    options = ("--labels", labels, "--top", "2", "--profile", "--json", tmp_path / "r.json")
    done = narrows("run", digits_blob, "--input", digit_file, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("digit-") == 2
    assert "bottleneck" in done.stdout
    profile = json.loads((tmp_path / "r.json").read_text())["profile"]
    assert [entry["stage"] for entry in profile] == list(range(len(profile)))


def test_json_on_stdout_is_alone_there(
    narrows: Narrows, digits_blob: Path, digit_file: Path
) -> None:
    for command in (
        ("run", digits_blob, "--input", digit_file, "--profile", "--json", "-"),
        ("info", digits_blob, "--json", "-"),
        ("doctor", "--json", "-"),
    ):
        assert json.loads(narrows(*command).stdout)


def test_a_picture_and_its_array_are_the_same(
    narrows: Narrows, digits_blob: Path, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    np.save(tmp_path / "p.npy", (pixels / 255).astype(np.float32).reshape(1, 32, 32, 1))
    digests = [
        json.loads(narrows("run", digits_blob, "--input", tmp_path / name, "--json", "-").stdout)
        for name in ("p.png", "p.npy")
    ]
    assert digests[0]["output_sha256"] == digests[1]["output_sha256"]


def test_mobilenet_sees_a_cat(narrows: Narrows, tmp_path: Path) -> None:
    model, cat = network("mobilenet_v2_1.0_224_ptq"), photo("cat.bmp")
    blob = tmp_path / "m.nrw"
    labels = ("--labels", photo("imagenet_labels.txt"))
    done = narrows("compile", model, "-o", blob)
    assert done.returncode == 0, done.stderr
    done = narrows("run", blob, "--input", cat, *labels)
    assert done.returncode == 0, done.stderr
    assert "Egyptian cat" in done.stdout.splitlines()[0]


def test_info_names_stages_and_edges(narrows: Narrows, digits_blob: Path) -> None:
    done = narrows("info", digits_blob)
    assert done.returncode == 0, done.stderr
    assert "bottleneck" in done.stdout
    assert "rolling" in done.stdout
    assert "int8 1x32x32x1" in done.stdout


def test_doctor_says_how_to_get_what_is_missing(narrows: Narrows) -> None:
    done = narrows("doctor", env={"PATH": "/nowhere"})
    assert done.returncode == 0
    assert done.stderr == ""
    for package in ("gcc-arm-none-eabi", "qemu-system-arm", "nodejs npm"):
        assert f"apt-get install {package}" in done.stdout


def missing(what: str, apt: str = "", pip: str = "") -> Finding:
    return Finding(what, "", "something", "a remedy", apt=apt, pip=pip)


def test_doctor_has_one_line_for_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip and apt-get would install together, and nothing that is there."""
    found = [
        Finding("gcc", "12", "something", apt="gcc"),
        missing("qemu-system-arm", apt="qemu-system-arm"),
        missing("serial ports"),
        missing("cryptography", pip="narrows[sign]"),
        missing("pyocd", pip="narrows[pyocd]"),
        missing("tflite-micro", pip="tflite-micro>=0.dev1"),
    ]
    pip = "pip install 'narrows[sign,pyocd]' 'tflite-micro>=0.dev1'"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/apt-get")
    assert command_for_most(found) == f"{pip} && apt-get install qemu-system-arm"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert command_for_most(found) == f"{pip} && sudo apt-get install qemu-system-arm"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert command_for_most(found) == pip
    assert command_for_most(found[:4]) is None


def test_boards_lists_the_cortex_m4(narrows: Narrows) -> None:
    assert "mps2-an386" in narrows("boards").stdout
    assert json.loads(narrows("boards", "--json", "-").stdout)["mps2-an386"]["ram_bytes"] > 0


def test_version(narrows: Narrows) -> None:
    import narrows as package

    expected = f"narrows {package.__version__}\n"
    assert narrows("version").stdout == narrows("--version").stdout == expected


@pytest.mark.parametrize("before", [[], ["--debug"]])
def test_a_command_loads_no_other(before: list[str]) -> None:
    code = f"import sys; from narrows.cli import main; main({[*before, 'sign', '--help']}); "
    code += "print([name for name in ('run', 'sign') if f'narrows.cli.{name}' in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.stdout.splitlines()[-1] == "['sign']"
    assert done.stdout.startswith("usage: narrows sign ")


# --- What it refuses ------------------------------------------------------------------------------


def test_usage_is_2(narrows: Narrows, digits_blob: Path, digit_file: Path) -> None:
    assert narrows().returncode == 2
    assert narrows("compile").returncode == 2
    assert narrows("fly").returncode == 2
    run = ("run", digits_blob, "--input", digit_file)
    refused(
        narrows(*run, "--target", "moon"),
        "host, qemu:BOARD, rp2040js:BOARD, serial:PORT or labgrid:PLACE",
        code=2,
    )
    refused(narrows(*run, "--top", "0"), "--top", code=2)
    refused(
        narrows("check", digits_blob, "--data", digit_file, "--reference", "tflm"),
        "--model",
        code=2,
    )
    compile_ = ("compile", DIGITS_INT8, "-o", digit_file.with_suffix(".nrw"))
    refused(narrows(*compile_, "--ram", "lots"), "lots", "64K", code=2)
    refused(narrows(*compile_, "--slice", "0"), "--slice", code=2)


@pytest.mark.parametrize(
    ("text", "size"), [("9728", 9728), ("9.5K", 9728), ("64KiB", 65536), ("1.5mb", 3 << 19)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "K", "0", "9.5", "-1K", "1.2.3K", "0.0001K"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match=r"9\.5K"):
        parse_size(text)


def test_a_float_model(narrows: Narrows, tmp_path: Path) -> None:
    done = narrows("compile", network(FLOAT_NETWORK), "-o", tmp_path / "b")
    refused(done, "float", "quantize")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 3, 100, 5000])
def test_a_truncated_model(narrows: Narrows, tmp_path: Path, size: int) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(DIGITS_INT8.read_bytes()[:size])
    refused(narrows("compile", model, "-o", tmp_path / "b"), "m.tflite")


def test_a_model_that_is_not_there(narrows: Narrows, tmp_path: Path) -> None:
    done = narrows("compile", tmp_path / "none.tflite", "-o", tmp_path / "b")
    refused(done, "none.tflite", "No such file")


def test_a_budget_that_cannot_be_met(narrows: Narrows, tmp_path: Path) -> None:
    refused(narrows("compile", DIGITS_INT8, "-o", tmp_path / "b", "--ram", "1K"), "1024")


def test_a_truncated_blob(
    narrows: Narrows, digits_blob: Path, digit_file: Path, tmp_path: Path
) -> None:
    blob = tmp_path / "t.nrw"
    blob.write_bytes(digits_blob.read_bytes()[:-100])
    refused(narrows("run", blob, "--input", digit_file), "t.nrw", "shorter", "compile it anew")


def test_a_blob_of_another_version(narrows: Narrows, digits_blob: Path, tmp_path: Path) -> None:
    data = bytearray(digits_blob.read_bytes())
    data[4] = 9
    struct.pack_into("<I", data, 76, zlib.crc32(data[:76]))
    blob = tmp_path / "v.nrw"
    blob.write_bytes(data)
    refused(narrows("info", blob), "v.nrw", "another version", "compile the model anew")


def test_a_damaged_blob(narrows: Narrows, digits_blob: Path, tmp_path: Path) -> None:
    data = bytearray(digits_blob.read_bytes())
    data[-20] ^= 4
    blob = tmp_path / "x.nrw"
    blob.write_bytes(data)
    refused(narrows("info", blob), "x.nrw", "checksum")


def test_something_that_is_no_blob(narrows: Narrows) -> None:
    refused(narrows("info", DIGITS_INT8), "not a narrows blob", "narrows compile")


def test_a_picture_that_is_none(narrows: Narrows, digits_blob: Path, tmp_path: Path) -> None:
    text = tmp_path / "p.png"
    text.write_text("hello")
    refused(narrows("run", digits_blob, "--input", text), "p.png", "not a picture")
    Image.effect_noise((64, 64), 50).save(tmp_path / "q.png")
    (tmp_path / "q.png").write_bytes((tmp_path / "q.png").read_bytes()[:500])
    refused(narrows("run", digits_blob, "--input", tmp_path / "q.png"), "q.png", "not a picture")


def test_a_picture_for_a_network_that_takes_none(narrows: Narrows, tmp_path: Path) -> None:
    blob = tmp_path / "a.nrw"
    assert narrows("compile", network("mlperf_ad01_int8"), "-o", blob).returncode == 0
    refused(narrows("run", blob, "--input", photo("cat.bmp")), "no picture", ".npy")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((1, 31, 32, 1), np.int8), ("(1, 31, 32, 1)", "(1, 32, 32, 1)")),
        (np.zeros((1, 32, 32, 1), np.int64), ("int64", "int8")),
        (np.full((1, 32, 32, 1), np.nan, np.float32), ("not finite",)),
        (np.array(["a"]), ("shape",)),
    ],
)
def test_arrays_that_do_not_fit(
    narrows: Narrows, digits_blob: Path, tmp_path: Path, values: np.ndarray, words: tuple[str]
) -> None:
    path = tmp_path / "x.npy"
    np.save(path, values)
    refused(narrows("run", digits_blob, "--input", path), "x.npy", *words)


def test_arrays_that_are_none(narrows: Narrows, digits_blob: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY garbage")
    refused(narrows("run", digits_blob, "--input", path), "x.npy", "not a readable")
    np.save(path, np.array([{}], dtype=object))
    refused(narrows("run", digits_blob, "--input", path), "x.npy", "not a readable")


def test_too_many_inputs(narrows: Narrows, digits_blob: Path, digit_file: Path) -> None:
    twice = ("--input", digit_file, "--input", digit_file)
    refused(narrows("run", digits_blob, *twice), "1 input(s)", "not 2")


def test_a_port_that_is_not_there(narrows: Narrows, digits_blob: Path, digit_file: Path) -> None:
    run = ("run", digits_blob, "--input", digit_file)
    refused(narrows(*run, "--target", "serial:/dev/ttyNONE"), "/dev/ttyNONE")


def test_a_board_that_nobody_knows(narrows: Narrows, digits_blob: Path, digit_file: Path) -> None:
    run = ("run", digits_blob, "--input", digit_file)
    refused(narrows(*run, "--target", "qemu:commodore64"), "commodore64", "narrows boards")
    done = narrows("compile", DIGITS_INT8, "-o", digit_file.with_suffix(".b"), "--board", "c64")
    refused(done, "c64", "narrows boards")


def test_qemu_that_is_not_installed(narrows: Narrows, digits_blob: Path, digit_file: Path) -> None:
    run = ("run", digits_blob, "--input", digit_file, "--target", "qemu:mps2-an386")
    refused(narrows(*run, env={"PATH": "/nowhere"}), "apt-get install")


def test_outputs_that_cannot_be_written(
    narrows: Narrows, digits_blob: Path, digit_file: Path, tmp_path: Path
) -> None:
    refused(narrows("compile", DIGITS_INT8, "-o", tmp_path / "no" / "b"), "cannot be written")
    refused(narrows("compile", DIGITS_INT8, "-o", "/dev/full"), "/dev/full", "No space left")
    done = narrows("run", digits_blob, "--input", digit_file, "--json", tmp_path)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


def test_a_failed_write_leaves_the_old_file(narrows: Narrows, tmp_path: Path) -> None:
    blob = tmp_path / "b.nrw"
    blob.write_bytes(b"old")
    done = narrows("compile", DIGITS_INT8, "-o", blob, "--ram", "1K")
    assert done.returncode == 1
    assert blob.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["b.nrw"]


def test_tracebacks_only_when_asked_for(narrows: Narrows) -> None:
    done = narrows("--debug", "info", DIGITS_INT8)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_bug_is_70(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from narrows import cli

    def broken(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "_print_version", broken)
    assert cli.main(["version"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_no_progress_where_nobody_looks(
    narrows: Narrows, digits_blob: Path, digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    data = tmp_path / "some.npy"
    np.save(data, np.repeat(digits[0], 500, axis=0))
    done = narrows("check", digits_blob, "--data", data)
    assert done.returncode == 0
    assert done.stderr == ""


def test_an_empty_data_set(narrows: Narrows, digits_blob: Path, tmp_path: Path) -> None:
    refused(narrows("check", digits_blob, "--data", tmp_path), "nothing in it", "per class")
    refused(narrows("check", digits_blob, "--data", tmp_path / "none.npz"), "no such file")
