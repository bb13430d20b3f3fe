# SPDX-License-Identifier: Apache-2.0
"""Blobs changed at random, with right checksums, never make the runtime read or write
outside blob and memory, loop for ever or do more than the header says: under sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random

from conftest import ROOT, BuildC
from narrows.pack import pack
from narrows.plan.random_plan import random_plan
from random_graphs import random_graph

GRAPHS = 24
ROUNDS = 4000
SEED = 1


def test_hostile_blobs_are_harmless(build_c: BuildC, digits_blob: Path, tmp_path: Path) -> None:
    blobs = [digits_blob]
    for seed in range(GRAPHS):
        graph = random_graph(seed, size=5)
        blobs.append(tmp_path / f"{seed}.nrw")
        blobs[-1].write_bytes(pack(graph, random_plan(graph, Random(seed)), {}))
    program = build_c(
        "fuzz", ROOT / "tests" / "fuzz" / "fuzz.c", ROOT / "tests" / "fault" / "hostile.c"
    )
    command = [program, str(ROUNDS), str(SEED), *blobs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
