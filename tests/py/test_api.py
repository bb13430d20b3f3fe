# SPDX-License-Identifier: Apache-2.0
"""The Python API: its tutorial, its types, its errors, and that threads may share what it gives."""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import narrows
from conftest import ROOT
from models import need
from narrows.cli import main
from narrows.models import DIGITS_FLOAT, DIGITS_INT8, enlarge_digits, load_held_out
from narrows.reference import Tflm
from single import VALID, Net

TUTORIAL = ROOT / "docs" / "tutorial-python.md"
BOARD = "qemu:mps2-an386"
_BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def pixels() -> npt.NDArray[np.float32]:
    """[n, 32, 32, 1], 0 to 1."""
    return (enlarge_digits(load_held_out().images)[..., None] / 255).astype(np.float32)


@pytest.fixture(scope="module")
def blob() -> narrows.Blob:
    return narrows.compile(DIGITS_INT8, labels=list("0123456789"), preprocessing="0..1")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two operators with two inputs: planning takes no time."""
    net = Net(7)
    x, y = net.int8((1, 6, 5, 3), 0.1), net.int8((1, 6, 5, 3), 0.1)
    joined = net.binary("ADD", net.conv(x, (3, 3), 3), y, 0.1)
    path = tmp_path_factory.mktemp("two") / "two.tflite"
    path.write_bytes(net.finish([x, y], [joined]))
    return path


@pytest.fixture(scope="module")
def two_inputs(tiny: Path) -> narrows.Blob:
    return narrows.compile(tiny)


def tflm(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What TensorFlow Lite Micro gives for real values, [10]."""
    own = (np.round(x * 255) - 128).astype(np.int8)
    return Tflm(DIGITS_INT8).infer([own[np.newaxis]], 1)[0].ravel()


# --- The tutorial ---------------------------------------------------------------------------------


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block by block, in one namespace; a block of text behind one is what it prints."""
    need("qemu-system-arm", "arm-none-eabi-gcc")
    monkeypatch.chdir(tmp_path)
    text = TUTORIAL.read_text(encoding="utf-8")
    blocks = list(_BLOCK.finditer(text))
    assert len(blocks) == text.count("```python") > 5
    names: dict[str, Any] = {}
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        code = compile("\n" * line + block.group(1), str(TUTORIAL), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, names)
        if block.group(2) is not None:
            assert printed.getvalue() == block.group(2), f"line {line}"


# --- Names, loading, types ------------------------------------------------------------------------


def test_import_loads_nothing() -> None:
    """``import narrows`` is fast: neither NumPy nor any other module of the package comes with it,
    and each name brings what it needs, whatever was loaded before."""
    code = (
        "import sys, narrows; "
        "print([m for m in sys.modules if m.split('.')[0] in ('narrows', 'numpy')]); "
        "import narrows.planning.planner, narrows.quantization.pipeline, narrows.compiler; "
        "print([name for name in narrows.__all__ if name not in dir(narrows)]); "
        "[getattr(narrows, name) for name in narrows.__all__]; "
        "print(callable(narrows.plan), callable(narrows.quantize), callable(narrows.compile))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert printed == ["['narrows']", "[]", "True True True"]


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        narrows.quantise  # type: ignore[attr-defined]  # noqa: B018


SCRIPT = """
import numpy as np

import narrows


def told(what: str, done: float) -> None:
    print(what, done)


def work(path: str) -> float:
    model: narrows.Model = narrows.load_model(path, input_shapes={"": (1, 3, 8, 8)})
    int8 = narrows.quantize(model, np.zeros((4, 8, 8, 3)), method="minmax", progress=told)
    if int8.quantization is not None:
        print(int8.quantization.decibels + 1.0, int8.quantization.layers[0].decibels)
    front: narrows.Front = narrows.plan(int8, ram="64K", board="pico")
    chosen: narrows.Plan = front.best(ram=65536)
    blob: narrows.Blob = narrows.compile(int8, plan=chosen, preprocessing="imagenet")
    blob.save("x.nrw")
    result: narrows.Result = blob.run(np.zeros((8, 8, 3)))
    results: narrows.Results = blob.run_many([[1.0, 2.0]], jobs=2)
    print(result.output.argmax(), results.output.shape, [score.label for score in result.top(3)])
    try:
        with narrows.Board("serial:/dev/ttyACM0") as board:
            board.upload(blob)
            profile: narrows.Profile = board.profile(np.zeros((8, 8, 3)))
            comparison: narrows.Comparison = board.compare(np.zeros((4, 8, 8, 3)), model)
            info: narrows.BoardInfo = board.info()
            print(info.arena_bytes, comparison.equal, comparison.parted)
            return profile.total
    except narrows.LinkError as error:
        raise SystemExit(str(error)) from error
"""


def test_a_users_script_is_typed(tmp_path: Path) -> None:
    """mypy --strict of a script that uses the API, and of one that misuses it."""
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(SCRIPT, encoding="utf-8")
    bad.write_text(
        "import narrows\n"
        "narrows.quantise\n"
        "narrows.compile(3)\n"
        "narrows.load_model('x').nothing\n"
        "narrows.plan('x').best(1.5)\n",
        encoding="utf-8",
    )
    # As the package is installed, and not with this checkout's settings.
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "good.py", "bad.py"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    wrong = re.findall(r"^(\w+\.py):(\d+): error", found.stdout, re.MULTILINE)
    assert wrong == [("bad.py", str(line)) for line in (2, 3, 4, 5)], found.stdout


def test_every_public_name_is_explained() -> None:
    """Docstrings of all that is public, for a page of reference."""
    silent = []
    for name in narrows.__all__:
        value = getattr(narrows, name)
        if not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        silent += [name] * (not value.__doc__)
        for key, member in vars(value).items() if isinstance(value, type) else ():
            public = not key.startswith("_")
            if public and (isinstance(member, property) or callable(member)):
                silent += [f"{name}.{key}"] * (not member.__doc__)
    assert not silent


# --- What comes out -------------------------------------------------------------------------------


def test_outputs_are_tflms_however_inputs_are_given(
    blob: narrows.Blob, pixels: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    x = pixels[3]
    own = (np.round(x * 255) - 128).astype(np.int8)
    np.save(tmp_path / "own.npy", own)
    expected = tflm(x)
    for given in (x, x[np.newaxis], x.astype(np.float64), x.tolist(), own, tmp_path / "own.npy"):
        result = blob.run(given)
        assert (result.output.ravel() == expected).all()
    assert result.output.dtype == np.int8
    assert result.output.shape == (1, 10)
    assert np.allclose(result.floats[0], (result.output.astype(float) + 128) / 256)
    assert (np.asarray(result) == result.output).all()
    assert result.top(1)[0].label == "7"
    picture = np.round(x * 255).astype(np.uint8)
    assert (blob.run({"input": picture}).output.ravel() == expected).all()


def test_the_command_line_gives_the_same(pixels: npt.NDArray[np.float32], tmp_path: Path) -> None:
    """Every file is the command line's, byte for byte."""
    np.save(tmp_path / "x.npy", pixels[:20])
    data, int8 = tmp_path / "x.npy", tmp_path / "int8.tflite"
    how = ["--method", "minmax", "--pixels", "0..1"]
    assert main(["quantize", *map(str, (DIGITS_FLOAT, "--data", data, "-o", int8)), *how]) == 0
    model = narrows.load_model(DIGITS_FLOAT)
    made = narrows.quantize(model, pixels[:20], method="minmax", preprocessing="0..1")
    assert made.data == int8.read_bytes()
    told = tmp_path / "told.json"
    places = map(str, (int8, "-o", tmp_path / "b", "--json", told))
    assert main(["compile", *places, "--ram", "5K"]) == 0
    blob = narrows.compile(int8, ram="5K")
    assert blob.data == (tmp_path / "b").read_bytes()
    assert blob.figures == json.loads(told.read_text(encoding="utf-8"))
    read = narrows.load_blob(tmp_path / "b")
    shared = read.figures.keys() & blob.figures.keys()
    assert {"arena_bytes", "ram_bytes", "macs", "blob_bytes"} <= shared
    assert all(read.figures[key] == blob.figures[key] for key in shared)


def test_run_many_is_run(blob: narrows.Blob, pixels: npt.NDArray[np.float32]) -> None:
    told: list[float] = []
    one = blob.run_many(pixels[:9], jobs=1, progress=lambda what, done: told.append(done))
    four = blob.run_many(list(pixels[:9]), jobs=4)
    assert told[-1] == 1.0
    assert len(one) == 9
    assert one.output.shape == (9, 10)
    assert (one.output == four.output).all()
    assert (one.output[5] == blob.run(pixels[5]).output).all()
    assert (one[2:4].output == one.output[2:4]).all()


def test_several_inputs_by_name(two_inputs: narrows.Blob) -> None:
    a, b = (port.name for port in two_inputs.inputs)
    shape = two_inputs.inputs[0].shape
    ones, twos = np.ones(shape, np.int8), np.full(shape, 2, np.int8)
    swapped = two_inputs.run({b: ones, a: twos})
    assert (swapped.output == two_inputs.run({a: twos, b: ones}).output).all()
    assert (swapped.output != two_inputs.run({a: ones, b: twos}).output).any()
    many = two_inputs.run_many({a: np.stack([ones, twos]), b: np.stack([twos, ones])})
    assert (many[1].output == swapped.output).all()
    for wrong in (ones, {a: ones}, {a: ones, b: twos, "c": ones}):
        with pytest.raises(narrows.InputError, match=f"{a}, {b}"):
            two_inputs.run(wrong)
    with pytest.raises(narrows.InputError, match="not as many items"):
        two_inputs.run_many({a: np.stack([ones, twos]), b: ones})


def test_a_sequence_of_one_that_goes_on(tmp_path: Path) -> None:
    """One new row at a time gives the windows' answers."""
    net = Net(5)
    x = net.int8((1, 12, 1, 4), 0.1)
    path = tmp_path / "windows.tflite"
    y = net.conv(net.conv(x, (3, 1), 4, padding=VALID), (3, 1), 3, padding=VALID)
    path.write_bytes(net.finish([x], [y]))
    windows, stream = narrows.compile(path), narrows.compile(path, stream=1)
    assert stream.macs < windows.macs
    rows = net.rng.integers(-128, 128, (15, 1, 4)).astype(np.int8)
    result = stream.run(rows)
    assert result.inferences == len(rows)
    assert result.output.shape[0] == len(rows) * result.last[0].shape[0]
    expected = windows.run(rows[-12:]).output
    assert (result.last[0].ravel() == expected.ravel()[-result.last[0].size :]).all()
    many = stream.run_many([rows, rows[::-1].copy()], jobs=1)
    assert (many[0].last[0] == result.last[0]).all()


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.zeros((64, 64, 1)), r"\(64, 64, 1\), but input input is \(1, 32, 32, 1\)"),
        (np.zeros((3, 32, 32, 1)), r"\(1, 32, 32, 1\)"),
        (np.zeros((32, 32, 1), np.int64), "int64, but input input takes int8 or floats"),
        (np.full((32, 32, 1), np.nan), "not finite"),
        (np.zeros((32, 32, 1), complex), "an array of numbers"),
        (["a"], "an array of numbers"),
        ([[1, 2], [3]], "an array of numbers"),
        (None, "an array of numbers"),
        (object(), "an array of numbers"),
        ("nowhere.png", "no such file"),
        ({"other": np.zeros((32, 32, 1))}, "given are other, but the network has input"),
    ],
)
def test_inputs_that_do_not_fit(blob: narrows.Blob, given: Any, expected: str) -> None:
    with pytest.raises(narrows.InputError, match=expected):
        blob.run(given)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: narrows.load_model("nowhere.tflite"), "nowhere.tflite"),
        (lambda: narrows.compile(DIGITS_FLOAT), "quantize"),
        (lambda: narrows.compile(3), "a narrows.Model or a path is expected, not int"),
        (lambda: narrows.compile(DIGITS_INT8, ram="much"), "'much' is no size"),
        (lambda: narrows.compile(DIGITS_INT8, ram=0), "0 is no size"),
        (lambda: narrows.compile(DIGITS_INT8, ram=1.5), "1.5 is no size"),
        (lambda: narrows.compile(DIGITS_INT8, board="no"), "board 'no'"),
        (lambda: narrows.compile(DIGITS_INT8, layout="no"), "one of plain, blocked, paired"),
        (lambda: narrows.compile(DIGITS_INT8, slice=0), "slice 0"),
        (lambda: narrows.compile(DIGITS_INT8, labels="abc"), "labels"),
        (lambda: narrows.compile(DIGITS_INT8, preprocessing="no"), "-1..1"),
        (lambda: narrows.compile(DIGITS_INT8, preprocessing="imagenet"), "3 numbers for 1"),
        (lambda: narrows.plan(DIGITS_INT8, effort="no"), "one of fast, normal, best"),
        (lambda: narrows.quantize(DIGITS_INT8, np.zeros((2, 32, 32, 1))), "quantized already"),
        (lambda: narrows.quantize(DIGITS_FLOAT), "data is missing"),
        (lambda: narrows.quantize(DIGITS_FLOAT, np.zeros((0, 32, 32, 1))), "nothing in it"),
        (lambda: narrows.quantize(DIGITS_FLOAT, np.zeros((2, 8, 8, 1))), "item 0: shape"),
        (lambda: narrows.quantize(DIGITS_FLOAT, np.zeros(()), method="no"), "best, minmax"),
        (lambda: narrows.quantize(DIGITS_FLOAT, np.zeros((2, 32, 32, 1)), jobs=0), "jobs 0"),
        (lambda: narrows.compile(DIGITS_INT8, detection={"kind": "no"}), "detection: "),
        (lambda: narrows.load_blob(DIGITS_INT8), "digits_int8"),
        (lambda: narrows.Board("host"), "blob.run"),
        (lambda: narrows.Board("pigeon:x"), "pigeon"),
        (lambda: narrows.Board(BOARD).run(np.zeros(1)), "upload a blob first"),
    ],
)
def test_errors_say_what_is_expected(call: Callable[[], object], expected: str) -> None:
    with pytest.raises(narrows.NarrowsError, match=re.escape(expected)):
        call()


def test_plans_of_a_front(tiny: Path) -> None:
    one, other = narrows.load_model(tiny), narrows.load_model(tiny)
    front = narrows.plan(one, effort="fast")
    best = front.best()
    assert front.chosen in front
    assert [plan.ram_bytes for plan in front] == sorted((p.ram_bytes for p in front), reverse=True)
    assert front.best(front[-1].ram_bytes) is front[-1]
    assert front.explain().bound_bytes <= front.chosen.arena_bytes
    with pytest.raises(narrows.PlanError, match="the least takes"):
        front.best(f"{0.01}K")
    assert narrows.compile(one, plan=best).ram_bytes == best.ram_bytes
    with pytest.raises(narrows.UsageError, match="another model"):
        narrows.compile(other, plan=best)
    with pytest.raises(narrows.UsageError, match="leave them out"):
        narrows.compile(one, plan=best, ram="64K")


def test_a_callback_ends_the_work(pixels: npt.NDArray[np.float32]) -> None:
    class Enough(Exception):
        pass

    def stop(what: str, done: float) -> None:
        raise Enough

    with pytest.raises(Enough):
        narrows.quantize(DIGITS_FLOAT, pixels[:4], progress=stop)
    with pytest.raises(Enough):
        narrows.compile(DIGITS_INT8, progress=stop)


# --- Threads --------------------------------------------------------------------------------------


def in_threads(work: Callable[[int], None], count: int = 6) -> None:
    """Each number in a thread of its own, all at the same time."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(count)

    def one(number: int) -> None:
        barrier.wait()
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_threads_share_a_blob(blob: narrows.Blob, pixels: npt.NDArray[np.float32]) -> None:
    expected = blob.run_many(pixels[:30], jobs=1).output

    def work(number: int) -> None:
        for i in range(number, 30):
            assert (blob.run(pixels[i]).output == expected[i]).all()

    in_threads(work)


def test_threads_share_a_model(tiny: Path) -> None:
    model = narrows.Model(tiny)  # nothing of it has been read yet
    expected = narrows.compile(model, effort="fast").data

    def work(number: int) -> None:
        assert narrows.compile(model, effort="fast").data == expected

    in_threads(work, 3)


def test_threads_share_a_board(blob: narrows.Blob, pixels: npt.NDArray[np.float32]) -> None:
    need("qemu-system-arm", "arm-none-eabi-gcc")
    expected = blob.run_many(pixels[:4], jobs=1).output
    told: list[str] = []
    with narrows.Board(BOARD, progress=lambda what, done: told.append(what)) as board:
        assert board.info().firmware is None
        board.upload(blob)

        def work(number: int) -> None:
            assert (board.run(pixels[number]).output == expected[number]).all()

        in_threads(work, 4)
        assert (board.run_many(pixels[:2]).output == expected[:2]).all()
        info = board.info()
        assert info.board == "mps2-an386"
        assert info.firmware is not None
        profile = board.profile(pixels[0])
        assert profile.unit == "instructions"
        assert profile.total > 1e6
        assert board.compare(pixels, count=1).equal
        other = narrows.compile(DIGITS_INT8, ram="8K")
        assert board.compare(pixels, other, count=1).equal
        board.upload(other)
        assert (board.run(pixels[0]).output == expected[0]).all()
    assert told
    with pytest.raises(narrows.UsageError, match="upload"):
        board.run(pixels[0])
    with pytest.raises(narrows.UsageError, match="context manager"):
        board.upload(blob)


# --- Notebooks ------------------------------------------------------------------------------------


def test_tables_for_notebooks(
    blob: narrows.Blob, tiny: Path, pixels: npt.NDArray[np.float32]
) -> None:
    """Whole, and without anything that the file's names could put into a page."""
    model = narrows.load_model(DIGITS_INT8)
    hostile = narrows.compile(model, labels=["<script>"] * 10)
    shown = (
        *(model, blob, narrows.plan(tiny)),
        *(hostile.run(pixels[0]), blob.profile(pixels[0])),
    )
    for one in shown:
        page = one._repr_html_()
        assert page.startswith("<table>")
        assert page.endswith("</table>")
        assert "<script" not in page
        assert page.count("<tr>") >= 2
