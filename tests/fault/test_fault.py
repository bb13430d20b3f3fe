# SPDX-License-Identifier: Apache-2.0
"""Damaged blobs end in an error code, under sanitizers: every truncation, every flipped bit
of the header, every flipped byte of the body, a call with wrong arguments."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random

import pytest

from conftest import ROOT, BuildC
from narrows.pack import pack
from narrows.planning.planner import plan
from narrows.planning.random_plan import random_plan
from random_graphs import random_graph

HERE = ROOT / "tests" / "fault"


@pytest.fixture(scope="module")
def fault(build_c: BuildC) -> Path:
    return build_c("fault", HERE / "fault.c", HERE / "hostile.c")


@pytest.mark.parametrize("seed", range(4))
def test_damage_ends_in_an_error_code(fault: Path, tmp_path: Path, seed: int) -> None:
    graph = random_graph(seed, size=4)
    chosen = plan(graph) if seed == 0 else random_plan(graph, Random(seed))
    blob = pack(graph, chosen, {})
    path = tmp_path / "blob"
    path.write_bytes(blob)
    done = subprocess.run([fault, path], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
