# SPDX-License-Identifier: Apache-2.0
"""What all tests share: a C compiler with sanitizers, the command line, the default model."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from models import missing
from narrows.compiler import CompileOptions, compile_model
from narrows.models import DIGITS_INT8, DIGITS_METADATA
from skips import pytest_make_collect_report as pytest_make_collect_report
from skips import pytest_runtest_makereport as pytest_runtest_makereport

# Tests that run in the background inherit an ignored Ctrl-C; what they start must not.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
RUNTIME = ROOT / "runtime"

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wmissing-prototypes", "-Werror")
_SANITIZE = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

# Each of these has a test that takes half a minute or more.
LONG_FILES = {
    "test_front.py",
    "test_layouts.py",
    "test_plugin.py",
    "test_quantized.py",
    "test_readme.py",
}

BuildC: TypeAlias = Callable[..., Path]
Narrows: TypeAlias = Callable[..., "subprocess.CompletedProcess[str]"]


def runtime_sources() -> list[Path]:
    """The runtime's own files and its portable kernels."""
    kernels = sorted((RUNTIME / "kernels").glob("*.c"))
    portable = [
        path for path in kernels if not path.stem.endswith(("_dsp", "_mve", "_avx2", "_neon"))
    ]
    own = [path for part in ("src", "ops") for path in sorted((RUNTIME / part).glob("*.c"))]
    return [*own, *portable]


def include_flags() -> list[str]:
    """For tests in C, which may look inside the runtime."""
    folders = [RUNTIME / part for part in ("include", "src", "ops", "kernels")]
    folders.append(ROOT / "tests" / "fault")
    return [f"-I{folder}" for folder in folders]


@pytest.fixture(scope="session")
def build_c(tmp_path_factory: pytest.TempPathFactory) -> BuildC:
    """Builds a program from C files and the runtime, with sanitizers unless told otherwise.
    more: further options of the compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    folder = tmp_path_factory.mktemp("c")

    def build(name: str, *sources: Path, sanitize: bool = True, more: Sequence[str] = ()) -> Path:
        if compiler is None:
            missing("a C compiler")
        assert compiler is not None
        program = folder / name
        options = _SANITIZE if sanitize else ("-O2",)
        command = [compiler, *WARNINGS, *options, *include_flags(), *more, *sources]
        command += runtime_sources()
        subprocess.run([*command, "-o", program], check=True, timeout=1800)
        return program

    return build


@pytest.fixture(scope="session")
def narrows() -> Narrows:
    """Runs the command line in a process of its own."""

    def run(
        *arguments: object,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 1800,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "narrows", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
        )

    return run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run share, and no other run."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def digits_blob(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model, compiled."""
    path = tmp_path_factory.mktemp("digits") / "digits.nrw"
    options = CompileOptions(metadata=DIGITS_METADATA)
    path.write_bytes(compile_model(DIGITS_INT8, options).blob)
    return path


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that take minutes, unless they are asked for, and begin with the longest
    of the others, so that no worker is alone with one at the end."""
    if "NARROWS_SLOW" not in os.environ:
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests counted, a line each."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")
