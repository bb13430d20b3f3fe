# SPDX-License-Identifier: Apache-2.0
"""Work in several threads: the same bytes as in one, in order, and no more ahead than promised."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from conftest import Narrows
from damage import damaged
from narrows import reference
from narrows.compare import compare_inputs
from narrows.compiler import compile_model
from narrows.errors import InputError
from narrows.jobs import in_order
from narrows.models import DIGITS_FLOAT, DIGITS_INT8, load_held_out, prepare_digits
from narrows.pack import pack
from narrows.result import no_progress
from narrows.sides import open_side

ITEMS = 7
JOBS = (1, 2, 5)


@pytest.fixture(scope="module")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    held_out = load_held_out()
    path = tmp_path_factory.mktemp("jobs") / "digits.npz"
    np.savez(path, x=prepare_digits(held_out.images)[:ITEMS], y=held_out.labels[:ITEMS])
    return path


@pytest.fixture(scope="module")
def bad_blob(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the digits' model becomes with one weight of an inner layer changed."""
    compiled = compile_model(DIGITS_INT8)
    path = tmp_path_factory.mktemp("jobs") / "bad.nrw"
    path.write_bytes(pack(damaged(compiled, "block3/project"), compiled.plan, {}))
    return path


# --- In order -------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", JOBS)
def test_results_come_in_the_order_of_the_items(jobs: int) -> None:
    """The first item is done last: whoever has it waits for the others that are ahead."""
    others = threading.Semaphore(0)

    def square(item: int) -> int:
        if item == 0:
            for _ in range(jobs - 1):
                assert others.acquire(timeout=60)
        else:
            others.release()
        return item * item

    assert list(in_order(square, range(20), jobs)) == [n * n for n in range(20)]


@pytest.mark.parametrize("jobs", JOBS)
def test_no_more_is_read_than_promised(jobs: int) -> None:
    read = 0

    def items() -> Iterator[int]:
        nonlocal read
        for number in range(30):
            read += 1
            yield number

    for taken, _ in enumerate(in_order(str, items(), jobs)):
        assert read <= taken + 1 + jobs


@pytest.mark.parametrize("jobs", JOBS)
def test_an_error_comes_at_its_place_and_ends_the_threads(jobs: int) -> None:
    def halve(item: int) -> int:
        if item in (6, 8):
            raise InputError(f"item {item}")
        return item // 2

    results = in_order(halve, range(20), jobs)
    assert [next(results) for _ in range(6)] == [0, 0, 1, 1, 2, 2]
    with pytest.raises(InputError, match="item 6"):
        next(results)
    assert not [one for one in threading.enumerate() if one.name.startswith("narrows job")]


def test_one_job_is_the_callers_thread() -> None:
    (used,) = set(in_order(lambda _: threading.get_ident(), range(3), 1))
    assert used == threading.get_ident()


# --- Commands -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "code"),
    [("host", "bad", 1), ("tflm", "bad", 1), ("tflm", "host", 0), ("float", "numpy", 0)],
)
def test_compare_finds_the_same(
    narrows: Narrows,
    digits_blob: Path,
    bad_blob: Path,
    data_file: Path,
    tmp_path: Path,
    a: str,
    b: str,
    code: int,
) -> None:
    sides = {
        "host": digits_blob,
        "bad": bad_blob,
        "tflm": DIGITS_INT8,
        "float": DIGITS_FLOAT,
        "numpy": f"{DIGITS_INT8}@numpy",
    }
    found = set()
    for jobs in JOBS:
        files = [tmp_path / f"{jobs}.{ending}" for ending in ("json", "npz")]
        options = ("--data", data_file, "--jobs", jobs, "--json", files[0], "--save", files[1])
        done = narrows("compare", sides[a], sides[b], *options)
        assert done.returncode == code, done.stderr
        with np.load(files[1]) as layers:
            saved = tuple((name, layers[name].tobytes()) for name in layers.files)
        found.add((done.stdout, files[0].read_text(), saved))
    ((_, report, _),) = found
    assert json.loads(report)["items"] == ITEMS


def test_interpreters_in_processes_show_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "_ALONE_SECONDS", 0.0)
    images = prepare_digits(load_held_out().images)[:ITEMS]
    with ExitStack() as resources:
        sides = [open_side(str(DIGITS_INT8), resources, no_progress, jobs) for jobs in (1, 2)]
        assert [side.jobs for side in sides] == [1, 2]
        items = [[image.reshape(sides[0].edges[0].shape)] for image in images]
        # As many threads as both sides serve, which is one; so the second side twice, for two.
        for a, b in (sides, sides[1:] * 2):
            found = compare_inputs(a, b, [(x, x) for x in items])
            assert found.items == ITEMS
            assert found.parted is None
            assert len(found.layers) == len(a.layers)
        assert 1 <= len(multiprocessing.active_children()) <= 2
        with pytest.raises(InputError, match="TensorFlow Lite Micro"):
            sides[1].see([np.zeros(3, np.int8)], -1)


def test_quantize_writes_the_same(narrows: Narrows, data_file: Path, tmp_path: Path) -> None:
    pixels = tmp_path / "pixels.npy"
    with np.load(data_file) as data:
        np.save(pixels, (data["x"].astype(np.float32) + 128) / 255)
    made, reports, pages = set(), set(), set()
    for jobs in JOBS:
        model, report, page = (tmp_path / f"q.{ending}" for ending in ("tflite", "json", "html"))
        options = ("--jobs", jobs, "--json", report, "--report", page)
        done = narrows("quantize", DIGITS_FLOAT, "--data", pixels, "-o", model, *options)
        assert done.returncode == 0, done.stderr
        made.add(model.read_bytes())
        reports.add(report.read_text())
        pages.add(page.read_text())
    assert len(made) == len(reports) == len(pages) == 1


# --- BLAS -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "expected"), [(None, "1"), ("3", "3")])
def test_blas_has_one_thread_unless_the_user_says_otherwise(
    given: str | None, expected: str
) -> None:
    """What the command line sets, before NumPy is there to read it."""
    code = (
        "import os, sys, narrows.__main__ as command\n"
        "sys.argv = ['narrows', '--version']\n"
        "assert 'numpy' not in sys.modules\n"
        "try: command.main()\n"
        "except SystemExit: pass\n"
        "print(os.environ['OMP_NUM_THREADS'])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    if given is not None:
        environment["OMP_NUM_THREADS"] = given
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == expected
