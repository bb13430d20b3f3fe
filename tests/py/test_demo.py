# SPDX-License-Identifier: Apache-2.0
"""The demo: what it prints, and with which code it ends."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from models import need
from narrows import demo
from narrows.blob import read_blob
from narrows.cli import main
from narrows.data import load_dataset, load_input
from narrows.errors import LinkError, ToolError
from narrows.models import load_held_out, prepare_digits
from narrows.result import Progress, Result, Target
from narrows.targets import HostTarget, open_target


class FakeBoard(HostTarget):
    """The host under another name, which counts and may be wrong."""

    def __init__(self, blob: bytes, wrong: bool) -> None:
        super().__init__(blob)
        self.wrong = wrong

    def infer(self, inputs, profile=False):  # type: ignore[no-untyped-def]
        result = super().infer(inputs, profile)
        outputs = tuple(output ^ np.int8(self.wrong) for output in result.outputs)
        return Result(
            outputs, result.arena_bytes, result.ram_high_water_bytes, instructions=12_345_678
        )


def use_board(monkeypatch: pytest.MonkeyPatch, board: str | Exception) -> None:
    """board: "right", "wrong", or what opening it raises."""

    def opener(spec: str, blob: bytes, progress: Progress) -> Target:
        if spec == "host":
            return open_target(spec, blob, progress)
        assert spec == f"qemu:{demo.BOARD}"
        if isinstance(board, Exception):
            raise board
        return FakeBoard(blob, board == "wrong")

    monkeypatch.setattr(demo, "open_target", opener)


def test_all_agree(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    use_board(monkeypatch, "right")
    assert demo.main(["--board-digits", "5"]) == 0
    text = capsys.readouterr().out
    assert "12,345,678" in text
    assert "5 of 5" in text
    assert f"qemu:{demo.BOARD} and host: the same bytes for all 5 digits" in text
    assert f"TFLite Micro and host: the same bytes for all {len(load_held_out())} digits" in text
    assert "@@" in text  # the drawn digit


def test_a_board_that_differs_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_board(monkeypatch, "wrong")
    assert demo.main(["--board-digits", "3"]) == 1
    assert "differs from the host for 3 digits" in capsys.readouterr().out


def test_goes_on_without_tools(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_board(monkeypatch, ToolError("QEMU is not installed: apt install qemu-system-arm"))
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    assert demo.main([]) == 0
    text = capsys.readouterr().out
    assert "apt install qemu-system-arm" in text
    assert "pip install --pre tflite-micro" in text


def test_a_broken_link_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_board(monkeypatch, LinkError("the board does not answer"))
    assert demo.main([]) == 1
    assert "the board does not answer" in capsys.readouterr().err


def test_low_accuracy_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_board(monkeypatch, "right")
    monkeypatch.setattr(demo, "LEAST_ACCURACY", 0.999)
    assert demo.main(["--board-digits", "1"]) == 1
    assert "is below" in capsys.readouterr().out


@pytest.mark.parametrize("tool", ["qemu-system-arm", "arm-none-eabi-gcc"])
def test_names_the_tool_that_is_missing(
    tool: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    which, find = shutil.which, importlib.util.find_spec
    monkeypatch.setattr(shutil, "which", lambda name: None if name == tool else which(name))
    # Zig stands in for GCC where it is installed.
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ziglang" else find(name)
    )
    assert demo.main(["--board-digits", "1"]) == 0
    assert f"left out qemu:{demo.BOARD}: " in capsys.readouterr().out


def test_board_in_qemu(capsys: pytest.CaptureFixture[str]) -> None:
    need("qemu-system-arm", "arm-none-eabi-gcc")
    assert demo.main(["--board-digits", "2"]) == 0
    assert f"qemu:{demo.BOARD} and host: the same bytes for all 2 digits" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert demo.main(["--save", str(tmp_path / "file" / "folder")]) == 1
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("count", ["0", "-1", "some"])
def test_a_number_of_digits_that_makes_no_sense(count: str) -> None:
    with pytest.raises(SystemExit) as caught:
        demo.main(["--board-digits", count])
    assert caught.value.code == 2


def test_saved_files_are_of_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To every command, and without any inference."""
    folder = tmp_path / "a" / "b"
    assert demo.main(["--save", str(folder)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert {Path(line) for line in said} == set(folder.iterdir())
    blob = read_blob(folder / "digits.nrw")
    dataset = load_dataset(folder / "digits.npz")
    held_out = load_held_out()
    expected = prepare_digits(held_out.images)
    assert dataset.labels is not None
    np.testing.assert_array_equal(dataset.labels, held_out.labels)
    for values, own in zip(dataset.items, expected, strict=True):
        given = load_input(blob.inputs[0], blob.preprocessing, values)
        np.testing.assert_array_equal(given.ravel(), own.ravel())
    picture = load_input(blob.inputs[0], blob.preprocessing, folder / "digit.png")
    np.testing.assert_array_equal(picture.ravel(), expected[demo.DRAWN].ravel())
    float_, int8, data = (
        str(folder / name) for name in ("digits_float.tflite", "digits_int8.tflite", "digits.npz")
    )
    made, nrw = str(tmp_path / "made.tflite"), str(folder / "digits.nrw")
    for command in (
        ("quantize", float_, "--data", data, "--method", "minmax", "--limit", "20", "-o", made),
        ("compare", float_, made, "--data", data, "--count", "2"),
        ("compare", int8, nrw, "--data", data, "--count", "2"),
        ("check", nrw, "--data", data, "--reference", "tflm", "--model", int8),
    ):
        assert main(command) == 0, command
