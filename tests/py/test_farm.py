# SPDX-License-Identifier: Apache-2.0
"""Boards of a labgrid farm: labgrid's own coordinator, exporter and drivers, boards in QEMU."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conftest import Narrows
from labgrid_farm import Farm, farm, free_port
from models import missing, need
from narrows.blob import read_blob
from narrows.checking import check, host_reference
from narrows.data import Dataset
from narrows.models import load_held_out, prepare_digits
from narrows.targets import open_target

ITEMS = 24
PLACES = ("one", "two")
SERIAL_PLACE = "three"
# Debian has it where only root looks for commands.
HAS_SER2NET = shutil.which("ser2net", path=f"{os.environ['PATH']}:/usr/sbin") is not None


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    need("qemu-system-arm", "arm-none-eabi-gcc")
    if importlib.util.find_spec("labgrid") is None:
        missing("labgrid")
    folder = tmp_path_factory.mktemp("farm")
    by_ser2net = [SERIAL_PLACE] * HAS_SER2NET
    with pytest.MonkeyPatch.context() as patch, farm(folder, PLACES, by_ser2net) as running:
        patch.setenv("LG_COORDINATOR", running.coordinator)
        yield running


@pytest.fixture(autouse=True)
def all_in_order(places: Farm) -> Iterator[None]:
    """Every test leaves the places free; the sockets forget what they did."""
    for one in places.power.sockets.values():
        one.works = True
        one.switched.clear()
    yield
    for name in (*PLACES, *[SERIAL_PLACE] * HAS_SER2NET):
        assert not places.acquired(name)


@pytest.fixture
def dataset() -> Dataset:
    held_out = load_held_out()
    return Dataset(prepare_digits(held_out.images)[:ITEMS], held_out.labels[:ITEMS].astype(int))


@pytest.fixture
def data(dataset: Dataset, tmp_path: Path) -> Path:
    path = tmp_path / "digits.npz"
    np.savez(path, x=dataset.items, y=dataset.labels)
    return path


def test_places_share_a_data_set(
    places: Farm, narrows: Narrows, digits_blob: Path, data: Path
) -> None:
    """Each is switched off and on before it is used."""
    targets = [word for name in PLACES for word in ("--target", f"labgrid:{name}")]
    done = narrows("check", digits_blob, "--data", data, *targets, "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [target["name"] for target in found["targets"]] == [f"labgrid:{n}" for n in PLACES]
    assert sum(target["items"] for target in found["targets"]) == ITEMS
    assert found["total"]["differing"] == []
    assert all(one.switched == [False, True] for one in places.power.sockets.values())


def test_a_port_that_ser2net_serves(narrows: Narrows, digits_blob: Path, data: Path) -> None:
    """RFC 2217, as labgrid exports every serial device; the place has no power switch."""
    if not HAS_SER2NET:
        missing("ser2net")
    target = f"labgrid:{SERIAL_PLACE}"
    done = narrows("check", digits_blob, "--data", data, "--target", target, "--json", "-")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["targets"]
    assert (found["items"], found["differing"]) == (ITEMS, [])


def test_a_board_that_hangs_is_switched_off_and_on(
    places: Farm, digits_blob: Path, dataset: Dataset
) -> None:
    """It is killed between two inferences, and answers the next one once it is on again."""
    values = [np.asarray(item) for item in dataset.items]
    with open_target("labgrid:one", digits_blob.read_bytes()) as target:
        before = target.infer(values[:1])
        qemu = places.power.sockets["one"].qemu
        assert qemu is not None
        qemu.kill()
        after = target.infer(values[:1])
    assert np.array_equal(before.outputs[0], after.outputs[0])
    assert places.power.sockets["one"].switched == [False, True] * 2


def test_a_board_that_stays_dead_is_given_up(
    places: Farm, digits_blob: Path, dataset: Dataset
) -> None:
    """Once it was switched on in vain. The others go on, and its place is released too."""
    sockets = places.power.sockets

    def progress(what: str, done: float) -> None:
        if what == "checking" and done >= 0.25 and sockets["one"].works:
            sockets["one"].works = False
            assert sockets["one"].qemu is not None
            sockets["one"].qemu.kill()

    blob = read_blob(digits_blob)
    found = check(
        blob,
        dataset,
        ["labgrid:one", "host", "labgrid:two"],
        host_reference(blob),
        each=True,
        progress=progress,
    )
    one, host, two = found.verdicts
    assert one.failure is not None
    assert one.failure.startswith("labgrid:one: ")
    assert one.items < ITEMS
    assert host.items == two.items == ITEMS
    assert two.differing == ()
    assert sockets["one"].switched == [False, True] * 2
    assert sockets["two"].switched == [False, True]


def test_a_place_that_somebody_holds(
    places: Farm, narrows: Narrows, digits_blob: Path, data: Path
) -> None:
    command = ("check", digits_blob, "--data", data, "--target", "labgrid:one")
    places.client("-p", "one", "acquire")
    try:
        done = narrows(*command)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith("narrows: error: labgrid:one: ")
        assert "release one" in line
        assert places.acquired("one"), "it is not ours to release"
    finally:
        places.client("-p", "one", "release")
    assert places.power.sockets["one"].switched == []


def test_ctrl_c_releases_places(
    places: Farm, digits_blob: Path, dataset: Dataset, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.repeat(np.stack(list(dataset.items)), 1000, axis=0))
    targets = [word for name in PLACES for word in ("--target", f"labgrid:{name}")]
    command = ["check", digits_blob, "--data", tmp_path / "x.npy", *targets]
    process = subprocess.Popen(
        [sys.executable, "-m", "narrows", *map(str, command)], stderr=subprocess.PIPE, text=True
    )
    try:
        while not all(one.qemu is not None for one in places.power.sockets.values()):
            assert process.poll() is None
            places.client("places")
        process.send_signal(2)
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
        process.communicate()
    assert errors == "narrows: interrupted\n"
    assert process.returncode == 130


def test_what_is_not_there(places: Farm, narrows: Narrows, digits_blob: Path, data: Path) -> None:
    command = ("check", digits_blob, "--data", data, "--target")
    nobody = f"127.0.0.1:{free_port()}"
    places.client("-p", "empty", "create")
    blocked = "import sys; sys.modules['labgrid'] = None; from narrows.cli import main; "
    without = subprocess.run(
        [sys.executable, "-c", f"{blocked} sys.exit(main())", *map(str, command), "labgrid:one"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    for done, words in (
        (narrows(*command, "labgrid:moon"), "moon matches nothing"),
        (narrows(*command, "labgrid:empty"), "has no serial port; its resources: none"),
        (narrows(*command, "labgrid:one", env={"LG_COORDINATOR": nobody}), nobody),
        (without, "pip install 'narrows[labgrid]'"),
    ):
        assert done.returncode == 1, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("narrows: error: labgrid:"), line
        assert words in line
    assert not places.acquired("empty")


def test_other_commands_take_places(
    places: Farm, narrows: Narrows, digits_blob: Path, data: Path, dataset: Dataset
) -> None:
    first = data.with_name("first.npy")
    np.save(first, next(iter(dataset.items)))
    done = narrows("run", digits_blob, "--input", first, "--target", "labgrid:one")
    assert done.returncode == 0, done.stderr
    other = f"{digits_blob}@labgrid:two"
    done = narrows("compare", digits_blob, other, "--data", data, "--count", "1")
    assert done.returncode == 0, done.stderr
