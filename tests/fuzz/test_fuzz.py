# SPDX-License-Identifier: Apache-2.0
"""Blobs changed at random, with right checksums, never make the runtime read or write
outside blob and memory, loop for ever or do more than the header says: under sanitizers, and in
a build that counts what it does."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from conftest import ROOT, WARNINGS, BuildC, include_flags, missing, runtime_sources
from hostile_blobs import (
    EXTREMES,
    extreme_blobs,
    one_output_often,
    outputs_handed_out,
    shared_case,
    state_over_the_input,
)
from models import need
from narrows.pack import pack
from narrows.planning.memories import spread
from narrows.planning.random_plan import random_plan
from random_graphs import random_graph

GRAPHS = 24
ROUNDS = 4000
COUNTED_ROUNDS = 1000
SEED = 1
MOST_PER_WORK = 12
"""Basic blocks for a unit of work where tensors are large: 8 in softmax and small tiles. Where a
kernel's blocks of channels are hardly filled it is more (hostile.h)."""
HERE = ROOT / "tests" / "fuzz"
HOSTILE = ROOT / "tests" / "fault" / "hostile.c"


def written(folder: Path, name: str, blob: bytes) -> Path:
    path = folder / f"{name}.nrw"
    path.write_bytes(blob)
    return path


def corpus(folder: Path) -> list[Path]:
    """Random networks, and what the fuzzer or a reader of the code has found."""
    blobs = [written(folder, "state", state_over_the_input())]
    arenas = []
    for seed in range(GRAPHS):
        graph = random_graph(seed, size=5)
        planned = random_plan(graph, Random(seed))
        if seed % 4 == 0:
            planned = spread(graph, planned, 4 * [planned.arena_total])
            arenas.append(sum(size > 0 for size in planned.arena_bytes))
        blobs.append(written(folder, str(seed), pack(graph, planned, {})))
    assert sum(count > 1 for count in arenas) > len(arenas) // 2
    return blobs


def run(*command: object) -> str:
    texts = [str(part) for part in command]
    done = subprocess.run(texts, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def fuzz(build_c: BuildC) -> Path:
    return build_c("fuzz", HERE / "fuzz.c", HOSTILE)


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds a program with a runtime that counts what it does (see counted.h)."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        missing("a C compiler")
    assert compiler is not None
    folder = tmp_path_factory.mktemp("counted")
    common = [compiler, *WARNINGS, *include_flags()]
    counting = ["-O1", "-fsanitize-coverage=trace-pc", "-include", str(HERE / "counted.h")]
    for source in runtime_sources():
        run(*common, *counting, "-c", source, "-o", folder / f"{source.stem}.o")

    def build(name: str) -> Path:
        program = folder / name
        sources = [HERE / f"{name}.c", HERE / "counted.c", HOSTILE]
        run(*common, "-O2", *sources, *sorted(folder.glob("*.o")), "-o", program)
        return program

    return build


def test_hostile_blobs_are_harmless(fuzz: Path, digits_blob: Path, tmp_path: Path) -> None:
    run(fuzz, ROUNDS, SEED, digits_blob, *corpus(tmp_path))


def test_clang_s_sanitizer_finds_nothing_either(tmp_path: Path) -> None:
    """It knows more kinds of undefined behaviour: an offset of 0 from NULL is one."""
    need("clang")
    program = tmp_path / "fuzz"
    options = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [HERE / "fuzz.c", HOSTILE, *runtime_sources()]
    run("clang", *WARNINGS, *options, *include_flags(), *sources, "-o", program)
    run(program, ROUNDS // 20, SEED, *corpus(tmp_path))


def test_a_false_plan_of_the_shared_cases_is_harmless(fuzz: Path, tmp_path: Path) -> None:
    blob = shared_case("memcpy_overlap_rolling_depthwise.nrw")
    run(fuzz, 100, SEED, written(tmp_path, "case", blob))


@pytest.mark.parametrize("family", EXTREMES)
def test_parameters_at_their_ends_do_no_more_than_the_header_says(
    counted: Callable[[str], Path], fuzz: Path, tmp_path: Path, family: str
) -> None:
    blobs = [
        written(tmp_path, f"{family}{i}", blob)
        for i, blob in enumerate(extreme_blobs(family, plans=6))
    ]
    program = counted("fuzz")
    most = re.search(r"at most (\d+) for a unit", run(program, 0, SEED, *blobs))
    assert most is not None
    assert int(most[1]) <= MOST_PER_WORK
    run(program, COUNTED_ROUNDS, SEED, *blobs)
    run(fuzz, COUNTED_ROUNDS // 10, SEED, *blobs)


def test_hostile_blobs_do_no_more_than_the_header_says(
    counted: Callable[[str], Path], tmp_path: Path
) -> None:
    run(counted("fuzz"), COUNTED_ROUNDS, SEED, *corpus(tmp_path))


@pytest.mark.parametrize("laid", [outputs_handed_out, one_output_often])
def test_to_open_very_many_outputs_takes_no_more_than_so_many_times_few(
    counted: Callable[[str], Path], tmp_path: Path, laid: Callable[[int], bytes]
) -> None:
    few, many = 1000, 30000
    blobs = [written(tmp_path, str(n), laid(n)) for n in (few, many)]
    counts = [int(line) for line in run(counted("count_open"), *blobs).split()]
    assert counts[0] < counts[1] < 1.1 * many / few * counts[0]
