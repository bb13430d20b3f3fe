# SPDX-License-Identifier: Apache-2.0
"""Blobs as arrays in C: what is written compiles, and the example in its header runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from models import ROOT, need
from narrows.blob import Blob, read_blob
from narrows.cli import main
from narrows.embed import identifier
from narrows.native import Run

WARNINGS = "-Wall -Wextra -Wconversion -Wmissing-prototypes -Wundef -pedantic -Werror"

PROGRAM = """
#include <stdio.h>
#include <string.h>
#include "narrows.h"
#include "digit_net.h"
static const int8_t picture[] = {{ {picture} }};
static size_t at;
static void read_row(int8_t *to, uint32_t bytes)
{{
    memcpy(to, picture + at, bytes);
    at += bytes;
}}
int main(void)
{{
    {example}
    for (int i = 0; i < 10; i++) {{
        printf("%d ", scores[i]);
    }}
    return status != NRW_DONE;
}}
"""


@pytest.fixture
def embedded(digits_blob: Path, tmp_path: Path) -> Path:
    command = f"embed {digits_blob} -o {tmp_path}/digit_net.c"
    assert main(command.split()) == 0
    return tmp_path


def test_the_example_runs(embedded: Path, digits_blob: Path) -> None:
    """Without a warning, and with the host's answer."""
    need("cc")
    blob = read_blob(digits_blob)
    picture = np.random.default_rng(1).integers(-128, 128, blob.inputs[0].shape).astype(np.int8)
    header = (embedded / "digit_net.h").read_text()
    example = re.sub(r"(?m)^ \* {0,5}", "", header.split("*/")[0].split(" *\n")[-1])
    program = PROGRAM.format(picture=", ".join(map(str, picture.ravel())), example=example)
    (embedded / "main.c").write_text(program)
    sources = [*(ROOT / "runtime").glob("src/*.c"), *(ROOT / "runtime").glob("ops/*.c")]
    sources += [*(ROOT / "runtime").glob("kernels/*_c.c"), ROOT / "runtime/kernels/layouts.c"]
    includes = [f"-I{ROOT / 'runtime' / part}" for part in ("include", "src")]
    own = [embedded / "digit_net.c", embedded / "main.c"]
    for path in own:
        command = [
            "cc",
            "-std=c99",
            *WARNINGS.split(),
            *includes,
            "-c",
            path,
            "-o",
            path.with_suffix(".o"),
        ]
        subprocess.run(command, check=True)
    binary = embedded / "program"
    link = ["cc", "-std=c99", "-O1", *includes, *sources]
    subprocess.run([*link, *(p.with_suffix(".o") for p in own), "-o", binary], check=True)
    done = subprocess.run([binary], check=True, capture_output=True, text=True)
    (expected,) = Run(blob.model).infer([picture[0]])
    assert [int(word) for word in done.stdout.split()] == expected.ravel().tolist()


def test_from_cpp(embedded: Path) -> None:
    compiler = shutil.which("c++")
    if compiler is None:
        need("c++")
    (embedded / "user.cpp").write_text(
        '#include "digit_net.h"\n#include "narrows.h"\n'
        "int first() { return digit_net[0] + static_cast<int>(DIGIT_NET_BYTES); }\n"
    )
    flags = ["-std=c++11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    include = f"-I{ROOT / 'runtime' / 'include'}"
    subprocess.run([str(compiler), *flags, include, embedded / "user.cpp"], check=True)


def test_the_bytes_are_the_blob_s(embedded: Path, digits_blob: Path) -> None:
    blob: Blob = read_blob(digits_blob)
    written = re.findall(r"0x([0-9a-f]{2}),", (embedded / "digit_net.c").read_text())
    assert bytes.fromhex("".join(written)) == blob.data
    header = (embedded / "digit_net.h").read_text()
    assert f"#define DIGIT_NET_BYTES {len(blob.data)}u" in header
    assert f"#define DIGIT_NET_MEMORY_BYTES {blob.model.memory_bytes}u" in header


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("net", "net"),
        ("my-net.v2", "my_net_v2"),
        ("9", "model_9"),
        ("--", "model"),
        ("int", "model_int"),
    ],
)
def test_names_for_c(text: str, name: str) -> None:
    assert identifier(text) == name


@pytest.mark.parametrize("name", ["9a", "a-b", "", "while", "\u00e9"])
def test_names_that_c_has_not(
    name: str, digits_blob: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", str(digits_blob), "-o", str(tmp_path / "x.c"), "--name", name]) == 2
    assert "is no name for an array in C" in capsys.readouterr().err
    assert list(tmp_path.glob("x.*")) == []


def test_nothing_is_overwritten_that_is_read(
    digits_blob: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The header is a place like any other, also where it was not named."""
    source = tmp_path / "x.h"
    source.write_bytes(digits_blob.read_bytes())
    assert main(["embed", str(source), "-o", str(tmp_path / "x.c")]) == 2
    assert source.read_bytes() == digits_blob.read_bytes()
    assert "x.h" in capsys.readouterr().err
