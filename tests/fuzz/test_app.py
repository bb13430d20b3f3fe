# SPDX-License-Identifier: Apache-2.0
"""The firmware's application on this host, under sanitizers, at the mercy of whoever sits at the
other end of the line: it neither crashes nor hangs, and answers as the protocol's page says, in
frames and in MLPerf Tiny's text.

``FUZZ_ROUNDS=1000000 python -m pytest tests/fuzz/test_app.py`` runs longer, ``FUZZ_SEED`` others.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

from conftest import ROOT, BuildC
from narrows.pack import pack
from narrows.planning import PlanOptions, random_plan
from narrows.planning.planner import plan
from parts import by_parts
from random_graphs import random_graph

HERE = ROOT / "tests" / "fuzz"
FIRMWARE = ROOT / "firmware"
GRAPHS = 12
ROUNDS = os.environ.get("FUZZ_ROUNDS", "1500")
SEED = os.environ.get("FUZZ_SEED", "1")


def write_blobs(folder: Path) -> list[Path]:
    """Inputs and outputs by rows, by parts of rows and whole, short rings, several of each."""
    blobs = [pack(*by_parts(), {})]
    for seed in range(GRAPHS):
        graph = random_graph(seed, size=4)
        by_rows = PlanOptions(streamed_outputs=tuple(range(len(graph.outputs))))
        planned = random_plan(graph, Random(seed)) if seed % 2 else plan(graph, by_rows)
        blobs.append(pack(graph, planned, {} if seed % 3 == 0 else None))
    paths = [folder / f"{i}.nrw" for i in range(len(blobs))]
    for path, blob in zip(paths, blobs, strict=True):
        path.write_bytes(blob)
    return paths


def test_hostile_requests_are_harmless(
    build_c: BuildC, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    program = build_c(
        "app",
        *(HERE / name for name in ("app.c", "app_port.c", "app_text.c")),
        ROOT / "tests" / "fault" / "hostile.c",
        *(path for path in sorted((FIRMWARE / "app").glob("*.c")) if path.name != "main.c"),
        *sorted((FIRMWARE / "link").glob("*.c")),
        more=(
            *(f"-I{FIRMWARE / folder}" for folder in ("app", "link", "port")),
            f"-I{HERE}",
        ),
    )
    command = [program, ROUNDS, SEED, *write_blobs(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record_property("hostile requests to the firmware", done.stdout.splitlines()[0])
