# SPDX-License-Identifier: Apache-2.0
"""The store of models over a flash whose power fails at every moment, under sanitizers; and its
hash against Python's."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from random import Random

import pytest

from conftest import ROOT, BuildC

APP = ROOT / "firmware" / "app"
INCLUDES = tuple(f"-I{ROOT / 'firmware' / folder}" for folder in ("app", "port"))
FLASHES = [(2, 6, 256), (1, 3, 512), (2, 2, 1024), (1, 1, 2048), (1, 8, 256)]
"""(slots, sectors, bytes of a sector)."""
HASH_LENGTHS = [*range(130), 1000, 4095, 4096, 65537]


@pytest.fixture(scope="module")
def store(build_c: BuildC) -> Path:
    sources = (ROOT / "tests" / "store" / "store.c", APP / "store.c", APP / "sha256.c")
    return build_c("store", *sources, more=INCLUDES)


@pytest.mark.parametrize("unit", [1, 2, 4, 8, 16, 32, 64])
@pytest.mark.parametrize(("slots", "sectors", "erase_bytes"), FLASHES)
def test_power_fails_at_every_moment(
    store: Path, slots: int, sectors: int, erase_bytes: int, unit: int
) -> None:
    """Two slots leave the old model or the new one; one slot these or none; never a mix."""
    command = [store, *map(str, (slots, sectors, erase_bytes, unit, unit + slots))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cuts = int(done.stdout.split()[0])
    assert cuts >= 3 * (sectors // slots + 64 // unit)


def test_hashes_are_those_of_the_standard(build_c: BuildC, tmp_path: Path) -> None:
    program = build_c("hash", ROOT / "tests" / "store" / "hash.c", APP / "sha256.c", more=INCLUDES)
    rng = Random(0)
    for length in HASH_LENGTHS:
        data = rng.randbytes(length)
        done = subprocess.run([program], input=data, capture_output=True, check=True)
        assert done.stdout.decode() == hashlib.sha256(data).hexdigest()
