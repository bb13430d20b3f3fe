# SPDX-License-Identifier: Apache-2.0
"""A data set over many targets: every item is run as asked for, whatever becomes of the boards."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Narrows
from models import need, network
from narrows import reference
from narrows.blob import Blob, read_blob
from narrows.checking import (
    Check,
    Checked,
    Reference,
    Verdict,
    check,
    host_reference,
    parse_targets,
    tflm_reference,
)
from narrows.checking.check import _rank
from narrows.checking.desk import Desk, Stopped, Task
from narrows.cli import main
from narrows.compiler import CompileOptions, compile_model
from narrows.data import Dataset
from narrows.errors import InputError, UsageError
from narrows.models import DIGITS_INT8, load_held_out, prepare_digits
from narrows.native import Layout
from narrows.planning.planner import PlanOptions
from narrows.report.checks import junit
from processes import own_qemus

BOARD = "qemu:mps2-an386"
TFLM = ("--reference", "tflm", "--model", DIGITS_INT8)
ITEMS = 60


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Held-out digits as the network takes them, and their classes."""
    held_out = load_held_out()
    return Dataset(prepare_digits(held_out.images)[:ITEMS], held_out.labels[:ITEMS].astype(int))


@pytest.fixture(scope="module")
def blob(digits_blob: Path) -> Blob:
    return read_blob(digits_blob)


@pytest.fixture
def data(dataset: Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "digits.npz"
    np.savez(path, x=dataset.items, y=dataset.labels)
    return path


@pytest.fixture
def few(dataset: Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "few.npz"
    np.savez(path, x=list(dataset.first(8).items), y=dataset.first(8).labels)
    return path


@pytest.fixture
def boards() -> None:
    need("qemu-system-arm", "arm-none-eabi-gcc")


def every_item_once(found: Check) -> bool:
    items = [one.item for verdict in found.verdicts for one in verdict.checked]
    return sorted(items) == list(range(found.items))


# --- One target -----------------------------------------------------------------------------------


def test_counts_and_compares(narrows: Narrows, digits_blob: Path, few: Path) -> None:
    report = few.with_name("j.xml")
    done = narrows("check", digits_blob, "--data", few, *TFLM, "--junit", report, "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["agree"] is True
    assert (found["items"], found["missing"]) == (8, 0)
    (target,) = found["targets"]
    assert (target["target"], target["name"], target["items"]) == ("host", "host", 8)
    assert target["differing"] == []
    assert target["correct"] / 8 == target["accuracy"] >= 0.75
    assert target["correct"] <= target["top5"] <= 8
    assert target["ram_high_water_bytes"] > 0
    assert target["seconds"] > 0
    assert "instructions" not in target
    assert target["failure"] is None
    suite = ET.parse(report).getroot()[0]
    assert suite.get("tests") == "8"
    assert suite.get("failures") == suite.get("errors") == "0"


def test_qemu_has_instructions_and_no_seconds(
    boards: None, narrows: Narrows, digits_blob: Path, few: Path
) -> None:
    done = narrows("check", digits_blob, "--data", few, "--target", BOARD, *TFLM, "--json", "-")
    assert done.returncode == 0, done.stderr
    (target,) = json.loads(done.stdout)["targets"]
    assert target["instructions"] > 1_000_000
    assert "seconds" not in target
    assert " M instructions" in done.stderr  # the table makes room for the JSON
    assert " ms" not in done.stderr


def test_ends_with_1_when_bits_differ(narrows: Narrows, digits_blob: Path, few: Path) -> None:
    """A blob whose last bias is not the model's: same shape, other answers."""
    blob = bytearray(digits_blob.read_bytes())
    (tensors, stages) = struct.unpack_from("<HH", blob, 32)
    logits = next(
        80 + 24 * tensors + 36 * i
        for i in reversed(range(stages))
        if blob[80 + 24 * tensors + 36 * i] == 2
    )
    (params,) = struct.unpack_from("<I", blob, logits + 16)
    (table,) = struct.unpack_from("<I", blob, params + 28)
    struct.pack_into("<i", blob, table, 1 << 20)
    struct.pack_into("<I", blob, 72, zlib.crc32(blob[80:]))
    struct.pack_into("<I", blob, 76, zlib.crc32(blob[:76]))
    changed, report = few.with_name("c.nrw"), few.with_name("j.xml")
    changed.write_bytes(blob)
    done = narrows("check", changed, "--data", few, *TFLM, "--target", "host*2", "--junit", report)
    assert done.returncode == 1
    assert "DIFFER from tflm" in done.stdout
    suites = ET.parse(report).getroot()
    assert sum(int(suite.get("failures", "0")) for suite in suites) > 0
    assert sum(len(suite.findall("testcase/failure")) for suite in suites) > 0


def test_reads_a_folder_of_pictures(narrows: Narrows, digits_blob: Path, tmp_path: Path) -> None:
    held_out = load_held_out()
    for image, label in list(zip(prepare_digits(held_out.images), held_out.labels, strict=True))[
        :6
    ]:
        folder = tmp_path / "data" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        pixels = (image.reshape(32, 32).astype(np.int16) + 128).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{len(list(folder.iterdir()))}.png")
    done = narrows("check", digits_blob, "--data", tmp_path / "data", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["targets"][0]["accuracy"] >= 0.8


def test_without_labels_and_with_nothing_to_compare(blob: Blob, dataset: Dataset) -> None:
    found = check(blob, replace(dataset.first(3), labels=None), ["host"], host_reference(blob))
    (verdict,) = found.verdicts
    assert verdict.items == 3
    assert verdict.correct is verdict.top5 is verdict.differing is None
    assert found.agree


# --- Figures --------------------------------------------------------------------------------------


def test_ranks_are_those_of_a_stable_sort() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        scores = rng.integers(-3, 3, (1, 9)).astype(np.int8)
        order = np.argsort(-scores[0].astype(int), kind="stable")
        assert order[0] == scores.argmax()
        assert [_rank(scores, label) for label in order] == list(range(9))
        assert _rank(scores, 9) == _rank(scores, -1) == 9


def verdict(ranks: list[int], classes: int) -> Verdict:
    checked = tuple(Checked(i, True, rank, 10 + i, None) for i, rank in enumerate(ranks))
    return Verdict("board", "board", checked, classes, 2.0, 100)


def test_top_5_is_told_where_it_says_something() -> None:
    ranks = [0, 4, 5, 0]
    assert (verdict(ranks, 10).correct, verdict(ranks, 10).top5) == (2, 3)
    assert verdict(ranks, 6).top5 == 3
    assert verdict([0, 1, 4], 5).top5 is None
    assert verdict(ranks, 10).items_per_second == 2.0
    assert verdict(ranks, 10).instructions == round((11 + 12) / 2)


def test_junit_holds_what_a_dead_board_has_sent() -> None:
    failed = replace(verdict([0], 10), failure="bell \x07, escape \x1b[0m, <tag> & more")
    root = ET.fromstring(junit(Check("m", "tflm", 2, False, (failed,), 1.0)))
    assert root[0].get("tests") == "2"
    assert root[0].get("errors") == "1"
    (error,) = root.iter("error")
    assert error.get("message") == "bell ?, escape ?[0m, <tag> & more"


# --- Several targets ------------------------------------------------------------------------------


def test_targets_as_they_are_given() -> None:
    assert parse_targets(["host"]) == ("host",)
    assert parse_targets(["qemu:a*2", "serial:/dev/x", "qemu:a"]) == (
        *("qemu:a", "qemu:a"),
        *("serial:/dev/x", "qemu:a"),
    )
    assert parse_targets(["all", "serial:x"])[:1] == ("host",)
    assert parse_targets(["all", "serial:x"])[-1:] == ("serial:x",)
    for texts, words in (
        (["host*0"], "1 or more"),
        (["host*257"], "at most 256"),
        (["host*99999999999999999999"], "at most 256"),
        (["host*200", "host*57"], "at most 256"),
        (["serial:x", "serial:x"], "given 2 times"),
        (["labgrid:a*3"], "given 3 times"),
    ):
        with pytest.raises(UsageError, match=words):
            parse_targets(texts)


def test_a_data_set_is_shared_out(blob: Blob, dataset: Dataset) -> None:
    found = check(blob, dataset, ["host"] * 3, host_reference(blob))
    assert [one.name for one in found.verdicts] == ["host#1", "host#2", "host#3"]
    assert every_item_once(found)
    assert found.missing == 0
    assert found.total.items == ITEMS
    assert found.total.correct == check(blob, dataset, ["host"], host_reference(blob)).total.correct


def test_each_item_on_each_target_with_one_reference(blob: Blob, dataset: Dataset) -> None:
    asked = []
    host = host_reference(blob)

    def infer(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        asked.append(inputs)
        return host.infer(inputs)

    found = check(blob, dataset, ["host"] * 3, Reference("counted", infer), each=True)
    assert len(asked) == ITEMS
    for one in found.verdicts:
        assert [checked.item for checked in one.checked] == list(range(ITEMS))
        assert one.differing == ()
    assert found.total.items == 3 * ITEMS


def test_all_targets_run_all_items(
    boards: None, narrows: Narrows, digits_blob: Path, few: Path
) -> None:
    done = narrows("check", digits_blob, "--data", few, "--target", "all", *TFLM, "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["mode"] == "each"
    targets = [target["target"] for target in found["targets"]]
    assert targets == list(parse_targets(["all"]))
    assert len(targets) > 2
    assert all(target["items"] == 8 for target in found["targets"])
    assert all(target["differing"] == [] for target in found["targets"])
    assert len({target["correct"] for target in found["targets"]}) == 1


def test_progress_is_that_of_one(blob: Blob, dataset: Dataset) -> None:
    seen: list[float] = []
    lock = threading.Lock()

    def progress(what: str, done: float) -> None:
        assert lock.acquire(blocking=False), "two at a time"
        if what == "checking":
            seen.append(done)
        lock.release()

    check(blob, dataset, ["host"] * 4, host_reference(blob), progress=progress)
    assert seen == [(i + 1) / ITEMS for i in range(ITEMS)]


def test_an_item_that_does_not_fit_ends_everything(
    boards: None, narrows: Narrows, digits_blob: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """Also a board that works on the items before it."""
    values = np.stack(list(dataset.items)).astype(np.float32)
    values[20, 3] = np.nan
    np.save(tmp_path / "x.npy", values)
    done = narrows("check", digits_blob, "--data", tmp_path / "x.npy", "--target", f"{BOARD}*2")
    assert done.returncode == 1
    assert done.stderr == (
        f"narrows: error: {tmp_path}/x.npy: item 20: has values that are not finite; "
        "give finite numbers\n"
    )
    with pytest.raises(InputError, match="item 20"):
        check(
            read_blob(digits_blob),
            Dataset(values, None),
            [BOARD, "host"],
            host_reference(read_blob(digits_blob)),
        )
    assert own_qemus() == []


def test_no_such_target(narrows: Narrows, digits_blob: Path, few: Path) -> None:
    """A name that is misspelled is no board that is lost."""
    for spec, code, words in (
        ("moon", 2, "give host, qemu:BOARD"),
        ("qemu:none", 1, "board 'none'"),
    ):
        done = narrows("check", digits_blob, "--data", few, "--target", "host", "--target", spec)
        assert done.returncode == code, done.stderr
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""


# --- Several at a time on this host -----------------------------------------------------------


def found_by(narrows: Narrows, jobs: int, *more: object) -> dict[str, object]:
    """What a check finds, without what the clock says."""
    done = narrows("check", *more, "--jobs", jobs, "--json", "-")
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return without_times(found)


def without_times(found: dict[str, object]) -> dict[str, object]:
    clocks = ("seconds", "items_per_second", "wall_seconds")
    return {
        key: [without_times(one) for one in value]
        if isinstance(value, list) and value and isinstance(value[0], dict)
        else without_times(value)
        if isinstance(value, dict)
        else value
        for key, value in found.items()
        if not key.endswith(clocks)
    }


@pytest.mark.parametrize("more", [(), TFLM], ids=["host", "tflm"])
def test_jobs_change_nothing(
    narrows: Narrows, digits_blob: Path, data: Path, more: tuple[object, ...]
) -> None:
    asked = (digits_blob, "--data", data, *more)
    assert (
        found_by(narrows, 1, *asked) == found_by(narrows, 2, *asked) == found_by(narrows, 5, *asked)
    )


def test_a_host_with_several_jobs_is_one_target(blob: Blob, dataset: Dataset) -> None:
    found = check(blob, dataset, ["host", "host"], host_reference(blob, 2), each=True, jobs=3)
    assert [one.name for one in found.verdicts] == ["host#1", "host#2"]
    for one in found.verdicts:
        assert [checked.item for checked in one.checked] == list(range(ITEMS))
    assert found.missing == 0


def test_interpreters_in_processes_give_the_same(
    blob: Blob, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "_ALONE_SECONDS", 0.0)
    crew = tflm_reference(blob, DIGITS_INT8, 2)
    found = check(blob, dataset, ["host"], crew, jobs=2)
    alone = check(blob, dataset, ["host"], tflm_reference(blob, DIGITS_INT8))
    assert 1 <= len(multiprocessing.active_children()) <= 2
    assert found.total.differing == alone.total.differing == ()
    with pytest.raises(InputError, match="TensorFlow Lite Micro"):
        crew.infer([np.zeros(3, np.int8)])


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_in_the_midst_ends_all_jobs(blob: Blob, dataset: Dataset, jobs: int) -> None:
    host = host_reference(blob, jobs)

    def infer(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        if inputs[0].tobytes() == np.asarray(dataset.items[30]).tobytes():
            raise InputError("item 30 is refused")
        return host.infer(inputs)

    with pytest.raises(InputError, match="item 30 is refused"):
        check(blob, dataset, ["host"] * 2, Reference("failing", infer, jobs), jobs=jobs)
    assert not [one for one in threading.enumerate() if one.name.startswith("narrows")]


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "9999999"])
def test_jobs_that_cannot_be(narrows: Narrows, digits_blob: Path, data: Path, jobs: str) -> None:
    done = narrows("check", digits_blob, "--data", data, "--jobs", jobs)
    assert done.returncode == 2
    assert f"argument --jobs: {jobs!r}: give a number from 1 to 1024" in done.stderr


# --- The desk -------------------------------------------------------------------------------------


def tasks(count: int) -> list[Task]:
    return [Task(i, [], None, None) for i in range(count)]


def test_what_a_lost_worker_had_in_hand_comes_first() -> None:
    desk = Desk([0, 0])
    for task in tasks(3):
        assert desk.put(task)
    assert [desk.take(n).item for n in (0, 1)] == [0, 1]  # type: ignore[union-attr]
    desk.leave(0)
    desk.done(1)
    assert desk.take(1).item == 0  # type: ignore[union-attr]


def test_nobody_goes_home_before_all_is_finished() -> None:
    """The last item is in the hands of a worker that is lost."""
    desk = Desk([0, 0])
    desk.put(tasks(1)[0])
    desk.close()
    assert desk.take(0) is not None
    taken: list[Task | None] = []
    other = threading.Thread(target=lambda: taken.append(desk.take(1)))
    other.start()
    desk.leave(0)
    other.join()
    assert taken[0] is not None
    desk.done(1)
    assert desk.take(1) is None


def test_a_desk_without_workers_takes_nothing() -> None:
    for crews in ([0, 0], [0, 1]):
        desk = Desk(crews)
        desk.leave(0)
        assert desk.put(tasks(1)[0])
        desk.leave(1)
        assert not desk.put(tasks(1)[0])
        desk.stop()
        with pytest.raises(Stopped):
            desk.take(1)


# --- Boards that are lost -------------------------------------------------------------------------


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_one_of_four_is_killed(
    boards: None,
    digits_blob: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By its pid, when a third is done. The first board to open has certainly begun by then."""
    killed: list[int] = []

    def progress(what: str, done: float) -> None:
        if what == "checking" and done >= 1 / 3 and not killed:
            killed.append(own_qemus()[0])
            kill(killed)

    monkeypatch.setattr("narrows.cli.check.progress_bar", lambda: contextlib.nullcontext(progress))
    paths = {"--json": str(data.with_name("f.json")), "--junit": str(data.with_name("j.xml"))}
    options = [word for pair in paths.items() for word in pair]
    command = ["check", digits_blob, "--data", data, "--target", f"{BOARD}*4", *TFLM, *options]
    assert main([str(word) for word in command]) == 0
    told = capsys.readouterr()
    assert len(killed) == 1
    assert own_qemus() == []

    found = json.loads(Path(paths["--json"]).read_text())
    (dead,) = [target for target in found["targets"] if target["failure"]]
    assert dead["name"] == f"{BOARD}#1"
    assert 0 < dead["items"] < ITEMS
    assert sum(target["items"] for target in found["targets"]) == ITEMS
    assert (found["missing"], found["agree"], found["mode"]) == (0, True, "shared")
    assert found["total"]["items"] == ITEMS
    assert told.err.startswith(f"narrows: warning: digits_int8.tflite: {BOARD}#1: ")
    assert f"(after {dead['items']} items)" in told.err
    assert told.err.count("\n") == 1

    suites = ET.parse(paths["--junit"]).getroot()
    names = [c.get("name") for suite in suites for c in suite if c.find("error") is None]
    assert sorted(names) == sorted(f"input {i}" for i in range(ITEMS))
    assert [suite.get("errors") for suite in suites] == ["1", "0", "0", "0"]


def test_all_are_killed(
    boards: None,
    digits_blob: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def progress(what: str, done: float) -> None:
        if what == "checking" and done >= 1 / 6:
            kill(own_qemus())

    monkeypatch.setattr("narrows.cli.check.progress_bar", lambda: contextlib.nullcontext(progress))
    figures = data.with_name("f.json")
    command = ["check", digits_blob, "--data", data, "--target", f"{BOARD}*2", "--json", figures]
    assert main([str(word) for word in command]) == 1
    told = capsys.readouterr()
    lines = told.err.splitlines()
    found = json.loads(figures.read_text())
    ran = found["total"]["items"]
    assert ITEMS / 6 <= ran < ITEMS
    assert found["missing"] == ITEMS - ran
    assert len(lines) == 3
    for number, line in enumerate(lines[:2], 1):
        assert line.startswith(f"narrows: error: {BOARD}#{number}: ")
    assert lines[2] == f"narrows: error: {ITEMS - ran} inferences were not made"
    assert "100.00%" in told.out  # what was done is told
    assert own_qemus() == []


def test_with_each_nobody_takes_a_lost_boards_place(
    boards: None, blob: Blob, dataset: Dataset
) -> None:
    def progress(what: str, done: float) -> None:
        if what == "checking" and done > 0.5:
            kill(own_qemus())

    found = check(
        blob, dataset, ["host", BOARD], host_reference(blob), each=True, progress=progress
    )
    host, board = found.verdicts
    assert (host.items, host.failure) == (ITEMS, None)
    assert board.failure is not None
    assert found.missing == ITEMS - board.items > 0


def test_boards_that_cannot_begin(
    boards: None, narrows: Narrows, digits_blob: Path, few: Path
) -> None:
    """A port that is not there, and firmware for another kind of weights: the host does it all."""
    blocked = few.with_name("b.nrw")
    options = CompileOptions(plan=PlanOptions(layout=Layout.BLOCKED))
    blocked.write_bytes(compile_model(DIGITS_INT8, options).blob)
    targets = [option for t in ("host", "serial:/none", BOARD) for option in ("--target", t)]
    done = narrows("check", blocked, "--data", few, *targets, "--json", "-")
    assert done.returncode == 0, done.stderr
    host, port, board = json.loads(done.stdout)["targets"]
    assert host["items"] == 8
    assert "/none: cannot be opened" in port["failure"]
    assert "blocked layout" in board["failure"]
    assert (port["items"], board["items"]) == (0, 0)
    assert done.stderr.count("narrows: warning: ") == 2


def test_a_board_that_refuses_the_blob(boards: None, narrows: Narrows, tmp_path: Path) -> None:
    options = CompileOptions(plan=PlanOptions(ram=64 << 10))
    blob = tmp_path / "t.nrw"
    blob.write_bytes(compile_model(network("tinyengine_vww"), options).blob)
    np.save(tmp_path / "x.npy", np.zeros((2, 80, 80, 3), np.float32))
    check = ("check", blob, "--data", tmp_path / "x.npy", "--target", f"{BOARD}-16k")
    done = narrows(*check, "--junit", tmp_path / "j.xml")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"narrows: error: {BOARD}-16k: the model needs ")
    assert len(ET.parse(tmp_path / "j.xml").getroot().findall("testsuite/testcase/error")) == 1
    done = narrows(*check, "--target", "host")
    assert done.returncode == 0, done.stderr
    assert "the model needs " in done.stderr


def test_no_tool(narrows: Narrows, digits_blob: Path, few: Path) -> None:
    done = narrows(
        "check", digits_blob, "--data", few, "--target", f"{BOARD}*2", env={"PATH": "/none"}
    )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines, 1):
        assert line.startswith(f"narrows: error: {BOARD}#{number}: ")
        assert "apt-get install" in line


def test_ctrl_c_while_a_board_is_silent(digits_blob: Path, data: Path) -> None:
    terminal, side = os.openpty()
    command = ("check", digits_blob, "--data", data, "--target", f"serial:{os.ttyname(side)}")
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "narrows", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert os.read(terminal, 1)  # the link has begun to ask
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
        os.close(terminal)
        os.close(side)
    assert errors == "narrows: interrupted\n"
    assert process.returncode == 130
