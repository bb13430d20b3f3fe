# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and requests to end, at every moment: one line, exit code 130 or 143, nothing left over.

Each moment is one that the process itself has shown: a module that it loads, a file that it makes,
a bar that it draws, a child that it starts.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from conftest import ROOT
from models import need, network
from narrows import interrupt
from narrows.boards import load_board
from narrows.link.firmware import build
from narrows.models import DIGITS_FLOAT, DIGITS_INT8, load_held_out, prepare_digits
from processes import children, is_qemu

Sign = TypeVar("Sign")
PATIENCE = 600  # for what takes a second on an idle machine
ENDS = {
    signal.SIGINT: (130, "narrows: interrupted"),
    signal.SIGTERM: (143, "narrows: terminated"),
    signal.SIGHUP: (129, "narrows: the terminal was closed"),
}
BOARD = "mps2-an386"


def _heed() -> None:
    for number in ENDS:
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def _started(*command: object, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        preexec_fn=_heed,  # whoever started the tests may ignore them
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _ended(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """The process ends as the signal demands, with one line."""
    _, errors = process.communicate(timeout=PATIENCE)
    code, line = ENDS[number]
    said = [text for text in errors.splitlines() if not text.startswith("import time:")]
    assert said == [line]
    assert process.returncode == code


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A data set that takes minutes."""
    path = tmp_path / "many.npy"
    digits = prepare_digits(load_held_out().images)[:8]
    np.save(path, np.repeat(digits, 8000, axis=0))
    return path


# --- While modules are loaded -------------------------------------------------------------------

# Loaded for the command, from first to last.
MODULES = ["argparse", "numpy.version", "numpy.linalg", "narrows.native", "PIL.Image"]
MODULES += ["narrows.link.client", "narrows.checking.check", "rich.console"]


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("module", MODULES)
def test_while_modules_are_loaded(
    tmp_path: Path, many: Path, digits_blob: Path, module: str, number: signal.Signals
) -> None:
    """Python says which module it has loaded; the next one is interrupted."""
    command = ("-X", "importtime", "-m", "narrows", "check", digits_blob, "--data", many)
    with _started(*command, cwd=tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.rpartition("|")[2].strip() == module:
                break
        else:
            pytest.fail(f"{module} was not loaded")
        process.send_signal(number)
        _ended(process, number)


_IN_BACKGROUND = "trap '' INT HUP; \"$@\" & kill -INT $!; kill -HUP $!; wait $!"


@pytest.mark.parametrize("module", ["narrows.demo", "narrows"])
def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path, module: str) -> None:
    """As the shell starts commands in the background, and nohup all."""
    command = (sys.executable, "-m", module, "--help")
    done = subprocess.run(
        ["bash", "-c", _IN_BACKGROUND, "", *command],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert "usage" in done.stdout
    assert done.stderr == ""


# --- While it works -------------------------------------------------------------------------------


def _verdict_of_terminal(
    command: list[object], number: signal.Signals, sign: bytes, cwd: Path | None = None
) -> bytes:
    """Wait until a bar says something, send the signal. Returns: all that the terminal got."""
    terminal, side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "narrows", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=side,
        cwd=cwd,
    )
    os.close(side)
    seen = b""
    try:
        while sign not in seen:
            assert select.select([terminal], [], [], PATIENCE)[0], "no progress"
            seen += os.read(terminal, 4096)
        process.send_signal(number)
        with contextlib.suppress(OSError):  # the terminal's end, once the process has ended
            while select.select([terminal], [], [], PATIENCE)[0]:
                seen += os.read(terminal, 65536)
        assert process.wait(timeout=PATIENCE) == ENDS[number][0]
    finally:
        process.kill()
        process.communicate()
        os.close(terminal)
    return seen


@pytest.mark.parametrize("number", ENDS)
def test_while_a_bar_is_drawn(digits_blob: Path, many: Path, number: signal.Signals) -> None:
    seen = _verdict_of_terminal(["check", digits_blob, "--data", many], number, b"checking")
    assert b"Traceback" not in seen
    assert seen.count(ENDS[number][1].encode()) == 1
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l"), "the cursor is hidden"


# Commands that write files and take long, with what their bar says while they work.
LONG: dict[str, tuple[object, ...]] = {
    "quantize": (b"calibrate", "--data", "x.npy", "-o", "m.tflite", "--report", "r.html"),
    "compile": (b"plan", "-o", "m.nrw"),
    "plan": (b"plan",),
    "compare": (
        b"comparing",
        str(DIGITS_INT8),
        "--data",
        "x.npy",
        "--count",
        "3000",
        "--save",
        "s.npz",
    ),
}


@pytest.mark.parametrize("command", LONG)
def test_what_takes_long_leaves_nothing(tmp_path: Path, command: str) -> None:
    """Neither a file nor a part of one beside its place; and the bar has said how long it takes."""
    sign, *options = LONG[command]
    assert isinstance(sign, bytes)
    model = {"quantize": DIGITS_FLOAT, "compare": DIGITS_INT8}.get(command)
    if model is None:
        model = network("mobilenet_v2_1.0_224_ptq")
        options += ["--effort", "best"]
    np.save(tmp_path / "x.npy", np.zeros((3000, 32, 32, 1), np.float32))
    arguments = [command, model, *options, "--json", "j.json"]
    seen = _verdict_of_terminal(arguments, signal.SIGINT, sign, tmp_path)
    assert b"left: " in seen
    assert b"Traceback" not in seen
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


@pytest.mark.parametrize("number", ENDS)
def test_while_an_output_waits_for_its_reader(tmp_path: Path, number: signal.Signals) -> None:
    """The blob stands there already; opening the pipe blocks until someone reads."""
    shutil.copy(DIGITS_INT8, tmp_path / "m.tflite")
    os.mkfifo(tmp_path / "pipe")
    command = ("-m", "narrows", "compile", "m.tflite", "-o", "b.nrw", "--json", "pipe")
    with _started(*command, cwd=tmp_path) as process:
        _wait_for(process, lambda: (tmp_path / "b.nrw").exists())
        process.send_signal(number)
        _ended(process, number)
    assert {path.name for path in tmp_path.iterdir()} == {"m.tflite", "b.nrw", "pipe"}


def _wait_for(process: subprocess.Popen[str], sign: Callable[[], Sign]) -> Sign:
    """Returns: the first sign that counts as true."""
    while not (seen := sign()):
        assert process.poll() is None, "it ended before"
        select.select([], [], [], 0.005)
    return seen


@pytest.mark.parametrize("delay", range(12))
def test_at_any_moment(tmp_path: Path, digits_blob: Path, delay: int) -> None:
    """From the first module to the last instruction, wherever the moments of a machine fall:
    the command is interrupted, or was done."""
    command = ("-X", "importtime", "-m", "narrows", "info", digits_blob, "--json", "figures")
    with _started(*command, cwd=tmp_path) as process:
        assert process.stderr is not None
        loaded = 0
        for line in process.stderr:
            # From the first module after the one that takes care of signals: what Python does
            # before it runs anything of narrows is beyond reach.
            loaded += loaded > 0 or "narrows.interrupt" in line
            if loaded > 1 + 45 * delay:
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
        said = [text for text in errors.splitlines() if not text.startswith("import time:")]
        assert (process.returncode, said) in ((130, ["narrows: interrupted"]), (0, []))
    assert {path.name for path in tmp_path.iterdir()} <= {"figures"}


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from narrows import interrupt\n"
        "def slow():\n"
        "    try:\n"
        "        print('working', flush=True)\n"
        "        time.sleep(3600)\n"
        "    finally:\n"
        "        print('cleaning', flush=True)\n"
        "        time.sleep(3600)\n"
        "interrupt.leave_at_once()\n"
        "sys.exit(interrupt.run(slow))\n"
    )
    with _started("-c", code, cwd=tmp_path) as process:
        assert process.stdout is not None
        for sign in ("working", "cleaning"):
            assert process.stdout.readline().strip() == sign
            process.send_signal(signal.SIGINT)
        _ended(process, signal.SIGINT)


@pytest.mark.parametrize(
    "body",
    [
        "class Thing:\n    def __del__(self): wait()\nThing()",
        "try:\n    wait()\nexcept BaseException as e:\n    raise OSError('no module') from e",
        "try:\n    wait()\nexcept BaseException as e:\n    raise ImportError('no module') from e",
    ],
)
def test_a_signal_that_something_swallows(tmp_path: Path, body: str) -> None:
    """Destructors ignore every exception, and loaders of modules in C make their own of it."""
    indented = body.replace("\n", "\n    ")
    code = (
        "import sys, time\n"
        "from narrows import cli, interrupt\n"
        "def wait():\n"
        "    print('working', flush=True)\n"
        "    time.sleep(3600)\n"
        "def command(_):\n"
        f"    {indented}\n"
        "    time.sleep(3600)\n"
        "cli._print_version = command\n"
        "interrupt.leave_at_once()\n"
        "sys.exit(interrupt.run(lambda: cli.main(['version'])))\n"
    )
    with _started("-c", code, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "working"
        process.send_signal(signal.SIGINT)
        _ended(process, signal.SIGINT)


def test_a_write_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import os, sys, time\n"
        "from narrows import interrupt\n"
        "from narrows.files import write_file\n"
        "def slow(handle):\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(3600)\n"
        "os.fsync = slow\n"
        "interrupt.leave_at_once()\n"
        "sys.exit(interrupt.run(lambda: write_file('f', b'new')))\n"
    )
    (tmp_path / "f").write_text("old")
    for number in ENDS:
        with _started("-c", code, cwd=tmp_path) as process:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "writing"
            assert len(list(tmp_path.iterdir())) == 2
            process.send_signal(number)
            _ended(process, number)
        assert [path.name for path in tmp_path.iterdir()] == ["f"]
        assert (tmp_path / "f").read_text() == "old"


# --- Children -------------------------------------------------------------------------------------


@pytest.mark.parametrize("boards", [1, 3])
@pytest.mark.parametrize("number", ENDS)
def test_qemu_is_gone(
    tmp_path: Path, digits_blob: Path, many: Path, number: signal.Signals, boards: int
) -> None:
    need("qemu-system-arm", "arm-none-eabi-gcc")
    build(load_board(BOARD))
    check = ("check", digits_blob, "--data", many, "--target", f"qemu:{BOARD}*{boards}")
    with _started("-m", "narrows", *check, cwd=tmp_path) as process:

        def all_run() -> list[int]:
            # The trampoline has QEMU's name among its arguments, and becomes QEMU.
            found = list(filter(is_qemu, children(process.pid)))
            return found if len(found) == boards else []

        qemus = _wait_for(process, all_run)
        process.send_signal(number)
        _ended(process, number)
    while any(map(is_qemu, qemus)):  # the test's own limit of time ends this
        select.select([], [], [], 0.01)


@pytest.mark.parametrize("number", ENDS)
def test_interpreters_are_gone(
    tmp_path: Path, digits_blob: Path, many: Path, number: signal.Signals
) -> None:
    pytest.importorskip("tflite_micro")
    told = ("--reference", "tflm", "--model", DIGITS_INT8, "--jobs", 2)
    command = ("check", digits_blob, "--data", many, *told)
    with _started("-m", "narrows", *command, cwd=tmp_path) as process:
        crew = _wait_for(process, lambda: list(filter(_is_interpreter, children(process.pid))))
        process.send_signal(number)
        _ended(process, number)
    while any(map(_is_interpreter, crew)):  # the test's own limit of time ends this
        select.select([], [], [], 0.01)


def _is_interpreter(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"multiprocessing.spawn" in (Path("/proc") / str(pid) / "cmdline").read_bytes()
    return False


def test_the_state_of_this_process_is_untouched() -> None:
    """The tests import the module; only the commands install handlers."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert interrupt.run(lambda: 3) == 3
    assert (ROOT / "pyfront").exists()
