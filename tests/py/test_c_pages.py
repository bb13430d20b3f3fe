# SPDX-License-Identifier: Apache-2.0
"""The C of the documentation compiles without a warning and does what its page says."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import ROOT, WARNINGS
from models import need
from narrows.blob import Blob, parse_blob, read_blob
from narrows.compiler import compile_model
from narrows.embed import embed_header, embed_source
from narrows.models import load_held_out, prepare_digits
from narrows.native import Run
from pages import blocks, shell
from streams import features, wake_word


def built(folder: Path, prefix: Path, blob: Blob, source: str, *more: str) -> list[str]:
    """Compile a program with the installed runtime and a blob named ``net``. Returns what it
    prints, by words."""
    need("cc")
    write_sources(folder, blob, source)
    command = ["cc", *WARNINGS, "-O1", f"-I{prefix / 'include'}", f"-I{folder}", *more]
    command += [str(folder / "main.c"), str(folder / "net.c")]
    command += [f"-L{prefix / 'lib'}", "-lnarrows", "-o", str(folder / "program")]
    subprocess.run(command, check=True, timeout=1800)
    return words(folder / "program")


def write_sources(folder: Path, blob: Blob, source: str) -> None:
    (folder / "net.h").write_text(embed_header(blob, "net"))
    (folder / "net.c").write_text(embed_source(blob, "net", "net.h"))
    (folder / "main.c").write_text(source)


def words(program: Path) -> list[str]:
    done = subprocess.run([program], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout
    return done.stdout.split()


def numbers(values: np.ndarray[Any, Any]) -> str:
    return ", ".join(map(str, np.ravel(values)))


CLASSIFY = """
{example}
#include <stdio.h>
#include <string.h>
static const int8_t picture[] = {{ {picture} }};
static size_t at;
void read_pixels(int8_t *to, uint32_t bytes)
{{
    memcpy(to, picture + at, bytes);
    at += bytes;
}}
int main(void)
{{
    static NET_ALIGNED uint8_t memory[NET_MEMORY_BYTES];
    printf("%d %d\\n", classify(memory, sizeof memory), classify(memory, 16));
    return 0;
}}
"""


def test_the_program(digits_blob: Path, tmp_path: Path) -> None:
    """Built by CMake, as its page says."""
    blob = read_blob(digits_blob)
    picture = prepare_digits(load_held_out().images[:1])[0]
    expected = int(Run(blob.model).infer([picture])[0].argmax())
    (example,) = blocks("howto/firmware", "c program")
    (build,) = blocks("howto/firmware", "cmake")
    write_sources(tmp_path, blob, CLASSIFY.format(example=example, picture=numbers(picture)))
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(app C)\n"
        f"add_executable(app main.c net.c)\n{build}"
    )
    (tmp_path / "narrows").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "narrows" / "runtime").symlink_to(ROOT / "runtime")
    shell("cmake -S . -B build && cmake --build build", tmp_path)
    assert words(tmp_path / "build" / "app") == [str(expected), "-8"]


TASK = """
{example}
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
static const int8_t picture[] = {{ {picture} }};
static size_t at;
static int shown, delays;
static TaskFunction_t task;
static jmp_buf end;
void wait_for_row(int8_t *to, uint32_t bytes)
{{
    memcpy(to, picture + at, bytes);
    at += bytes;
}}
void show(const int8_t *scores)
{{
    int best = 0;
    for (int i = 1; i < 10; i++) {{
        best = scores[i] > scores[best] ? i : best;
    }}
    printf("%d\\n", best);
    at = 0;
    if (++shown == 2) {{
        longjmp(end, 1);
    }}
}}
void complain(int status)
{{
    printf("error %d\\n", status);
    longjmp(end, 1);
}}
void vTaskDelay(const TickType_t ticks)
{{
    delays += (int)ticks;
}}
BaseType_t xTaskCreate(TaskFunction_t code, const char *const name, const uint32_t stack,
                       void *const user, UBaseType_t priority, TaskHandle_t *const made)
{{
    (void)name, (void)stack, (void)user, (void)priority, (void)made;
    task = code;
    return pdPASS;
}}
int main(void)
{{
    if (start_classifying() == pdPASS && setjmp(end) == 0) {{
        task(0);
    }}
    printf("%d\\n", delays);
    return 0;
}}
"""


def test_the_task(digits_blob: Path, installed_runtime: Path, tmp_path: Path) -> None:
    """Two pictures, and between them others may run."""
    blob = read_blob(digits_blob)
    picture = prepare_digits(load_held_out().images[:1])[0]
    best = str(Run(blob.model).infer([picture])[0].argmax())
    (example,) = blocks("howto/rtos", "c program")
    source = TASK.format(example=example, picture=numbers(picture))
    stubs = f"-I{ROOT / 'tests' / 'esp_idf' / 'include'}"
    assert built(tmp_path, installed_runtime, blob, source, stubs) == [best, best, "1"]


KEEP = """
#include <stdio.h>
#include "net.h"
{keep}
static const int8_t frames[][{size}] = {{ {frames} }};
static struct nrw_model model;
static struct nrw_run run;
static NET_ALIGNED uint8_t memory[NET_MEMORY_BYTES];
static size_t memory_bytes = sizeof memory;
static void infer(int i, int is_first, int is_restored)
{{
    static uint8_t kept[NET_MEMORY_BYTES];
    int status;
    {line}
    if (is_restored) {{
        keep(&run, kept, 1);
    }} else if (i == 2) {{
        printf("%d\\n", keep(&run, kept, 0) > 0);
    }}
    while (status >= 0 && status != NRW_DONE) {{
        status = nrw_step(&run);
        if (status == NRW_NEED_ROW) {{
            static uint32_t at;
            at = nrw_tensor_pixels(&run, 0) == 0 ? 0 : at;
            memcpy(nrw_row_slot(&run), frames[i] + at, nrw_due_bytes(&run));
            at += nrw_due_bytes(&run);
            status = nrw_push_slot(&run);
        }}
    }}
    printf("%d\\n", *(const int8_t *)nrw_output(&run, 0));
}}
int main(void)
{{
    nrw_open(&model, net, NET_BYTES);
    infer(0, 1, 0);
    infer(1, 0, 0);
    infer(2, 0, 0);
    infer(2, 1, 1);
    return 0;
}}
"""


@pytest.fixture(scope="module")
def listening() -> Blob:
    """A network that remembers."""
    return parse_blob(compile_model(wake_word("alexa")).blob)


def test_what_is_kept(listening: Blob, installed_runtime: Path, tmp_path: Path) -> None:
    """An inference gives the same with what was saved before it, after a new start."""
    frames = features(np.random.default_rng(3), 60)[40:43]
    run = Run(listening.model)
    expected = [run.infer([frame], goes_on=i > 0)[0].item() for i, frame in enumerate(frames)]
    (keep,) = blocks("howto/state", "c program")
    (line,) = blocks("howto/state", "c line")
    keep = keep.replace("uint32_t keep", "static uint32_t keep", 1)
    rows = ", ".join(f"{{ {numbers(frame)} }}" for frame in frames)
    source = KEEP.format(keep=keep, line=line, frames=rows, size=frames[0].size)
    found = built(tmp_path, installed_runtime, listening, source)
    assert found == [str(v) for v in (*expected[:2], 1, expected[2], expected[2])]
    assert Run(listening.model).infer([frames[2]])[0].item() != expected[2]
