# SPDX-License-Identifier: Apache-2.0
"""The firmware's reader of JSON, under sanitizers: what Python reads, and hostile texts."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from conftest import ROOT, BuildC

APP = ROOT / "firmware" / "app"
ROUNDS, TEXTS = 2000, 60
SCALE = '{"outputs":[{"tensor_scale":%s}]}'


@pytest.fixture(scope="module")
def program(build_c: BuildC) -> Path:
    fuzz, fault = ROOT / "tests" / "fuzz", ROOT / "tests" / "fault"
    return build_c("json", fuzz / "json.c", fault / "hostile.c", APP / "json.c", more=(f"-I{APP}",))


def read(program: Path, texts: list[str], folder: Path, rounds: int = 0) -> list[float | None]:
    """What the firmware reads from each text; None: nothing."""
    paths = [folder / f"{i}.json" for i in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    command = [program, str(rounds), "1", *paths]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(texts)
    pairs = [None if line == "none" else line.split() for line in lines]
    return [None if pair is None else float(f"{pair[0]}e{pair[1]}") for pair in pairs]


def anything(random: Random, depth: int = 0) -> Any:
    """A JSON value with what could be mistaken for the end of another."""
    names = ["outputs", "tensor_scale", 'a"b', "\\", "}]", "é\n", "", "x" * 40]
    kind = random.randrange(4 if depth > 3 else 6)
    if kind < 4:
        return random.choice([random.choice(names), random.random(), None, True, -7, 1e300])
    count = random.randrange(4)
    if kind == 4:
        return [anything(random, depth + 1) for _ in range(count)]
    return {random.choice(names): anything(random, depth + 1) for _ in range(count)}


def metadata(random: Random) -> dict[str, Any]:
    """Outputs with a scale, and before and within them anything else."""
    edge = {f"key{i}": anything(random) for i in range(random.randrange(4))}
    edge["tensor_scale"] = random.choice([random.random(), 10.0 ** random.randrange(-30, 30), 1])
    whole = {f"key{i}": anything(random) for i in range(random.randrange(6))}
    return {**whole, "outputs": [edge, anything(random)]}


def test_the_firmware_reads_what_python_reads(program: Path, tmp_path: Path) -> None:
    random = Random(0)
    values = [metadata(random) for _ in range(TEXTS)]
    texts = [
        json.dumps(
            value, indent=random.choice([None, 2]), ensure_ascii=random.choice([True, False])
        )
        for value in values
    ]
    for value, found in zip(values, read(program, texts, tmp_path, ROUNDS), strict=True):
        assert found is not None
        assert math.isclose(found, value["outputs"][0]["tensor_scale"], rel_tol=2e-8)


@pytest.mark.parametrize("number", ["0", "12", "0.00390625", "1e-05", "2.5E+3", "123456789012345"])
def test_numbers(program: Path, tmp_path: Path, number: str) -> None:
    (found,) = read(program, [SCALE % number], tmp_path)
    assert found is not None
    assert math.isclose(found, float(number), rel_tol=1e-8)


@pytest.mark.parametrize(
    "text",
    [
        *(SCALE % value for value in ("-1", '"1"', "null", "[1]", ".5", "")),
        *("{}", "[]", "{", '{"outputs"', '{"outputs":[]}', '{"outputs":{}}', '{"outputs":[[]]}'),
        *('{"outputs\\u0000":[{"tensor_scale":1}]}', '{"x":{"outputs":[{"tensor_scale":1}]}}'),
        *('{"output":[{"tensor_scale":1}]}', '{"outputs":[{"tensor_scales":1}]}', "x", " "),
    ],
)
def test_what_is_not_there_is_not_found(program: Path, tmp_path: Path, text: str) -> None:
    assert read(program, [text], tmp_path) == [None]
