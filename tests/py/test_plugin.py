# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin, in pytests of its own: models on targets, what is shared and what is left out;
and that it is in nobody's way."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from conftest import ROOT
from damage import damaged
from models import missing, need
from narrows.blob import Blob, parse_blob
from narrows.boards import load_board, load_boards
from narrows.compiler import Compiled, compile_model
from narrows.link import firmware
from narrows.link.qemu import Qemu
from narrows.models import DIGITS_INT8, enlarge_digits, load_held_out, prepare_digits
from narrows.pack import pack
from narrows.testing.session import Session, locked, port_lock
from readme import blocks
from single import Net
from terminal import terminal

pytest_plugins = ["pytester"]

BOARD = "mps2-an386"
MODEL = DIGITS_INT8.name
LAYER = "block3/project"
DIGITS = prepare_digits(load_held_out().images)[:4]
# labgrid brings a plugin too, with a fixture "target" like that of pytest-embedded.
OPTIONS = ("-p", "no:cacheprovider", "-p", "no:labgrid", "-ra")
ALONE = ("-p", "no:pytest_embedded")

TEST = f"""
import numpy as np
import pytest
from narrows.testing import assert_matches_reference

DIGITS = np.load("digits.npz")["x"][:4]

@pytest.mark.narrows(model={MODEL!r})
def test_it(narrows_board):
    assert_matches_reference(narrows_board, DIGITS)
"""


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return compile_model(DIGITS_INT8)


@pytest.fixture(scope="module")
def good(compiled: Compiled) -> Blob:
    return parse_blob(compiled.blob, "good")


@pytest.fixture(scope="module")
def wrong(compiled: Compiled) -> Blob:
    """One bit of one weight is another."""
    return parse_blob(pack(damaged(compiled, LAYER), compiled.plan, {}), "wrong")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with the model and its data, as the README has them."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    shutil.copy(DIGITS_INT8, pytester.path)
    pixels = enlarge_digits(load_held_out().images)[..., np.newaxis]
    np.savez(pytester.path / "digits.npz", x=(pixels / 255).astype(np.float32))
    pytester.makefile(".ini", pytest="[pytest]\n")
    return pytester


def run(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    return project.runpytest_subprocess(*OPTIONS, *ALONE, *options, timeout=1800)


# --- Targets ------------------------------------------------------------------------------------


def test_the_readme(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example passes by the command of the workflow, which installs what it needs."""
    need("qemu-system-arm", "arm-none-eabi-gcc")
    monkeypatch.setenv("CI", "true")
    (example,) = blocks("python")
    project.path.joinpath("test_model.py").write_text(example)
    (workflow,) = (yaml.safe_load(text) for text in blocks("yaml"))
    (job,) = workflow["jobs"].values()
    *_, install, pip, test = (step["run"] for step in job["steps"] if "run" in step)

    makefile = (ROOT / "Makefile").read_text()
    tools = re.findall(r"(?:qemu-system-arm|arm-none-eabi-gcc)=(\S+)", makefile)
    packages = {package for names in tools for package in names.split(",")}
    assert packages == set(shlex.split(install)[4:])
    assert {"./narrows", "pytest", "pytest-xdist"} < set(shlex.split(pip))

    command, *arguments = shlex.split(test)
    assert command == "pytest"
    done = run(project, *arguments)
    done.assert_outcomes(passed=4)
    done.stdout.fnmatch_lines(["*2 workers*"])


def test_a_board_that_is_wrong(project: pytest.Pytester, wrong: Blob, good: Blob) -> None:
    """The failure is what the README shows; a QEMU is shared by blob, and ends with the session."""
    need("qemu-system-arm", "arm-none-eabi-gcc")
    (project.path / "wrong.nrw").write_bytes(wrong.data)
    (project.path / "good.nrw").write_bytes(good.data)
    project.makepyfile(
        TEST.replace(f"model={MODEL!r}", "blob='wrong.nrw'").replace(
            "DIGITS)\n", f"DIGITS, {MODEL!r})\n"
        )
        + f"""
@pytest.mark.parametrize("turn", range(2))
@pytest.mark.parametrize("narrows_blob", ["good.nrw", "wrong.nrw"], indirect=True)
def test_share(narrows_board, turn):
    print("pid", narrows_board._target.pid, narrows_board.blob.name)
    with pytest.raises(Exception, match="not int8"):
        narrows_board.infer([DIGITS[0][:3]])

@pytest.mark.parametrize("narrows_blob", ["good.nrw"], indirect=True)
def test_good(narrows_board):
    assert_matches_reference(narrows_board, DIGITS)
    assert_matches_reference(narrows_board, DIGITS, {MODEL!r})
"""
    )
    done = run(project, "--narrows-target", f"qemu:{BOARD}", "-s")
    done.assert_outcomes(passed=5, failed=1)
    said = done.stdout.str()
    (shown,) = (text for text in blocks("text") if "first differing layer" in text)
    error = re.findall(r"^E {3,7}(.*)$", said, re.MULTILINE)
    assert [line.strip() for line in error] == [line.strip() for line in shown.splitlines()]
    assert "pyfront" not in said.split("FAILURES")[1].split("short test summary")[0]
    pids = set(re.findall(r"pid (\d+) (\S+)", said))
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid, _ in pids)


def test_a_serial_port_is_for_one_test_at_a_time(project: pytest.Pytester) -> None:
    """Two workers want it, and neither finds that the other has it, which would be an error."""
    need("qemu-system-arm", "arm-none-eabi-gcc")
    board = load_board(BOARD)
    project.makepyfile(
        TEST
        + f"""
@pytest.mark.parametrize("turn", range(6))
@pytest.mark.narrows(model={MODEL!r})
def test_alone(narrows_board, turn, worker_id):
    narrows_board.infer([DIGITS[0]])
    with open("workers", "a") as file:
        print(worker_id, file=file)
"""
    )
    with Qemu(board, firmware.build(board)) as qemu, terminal(qemu.url) as device:
        done = run(project, "-n", "2", "--narrows-target", f"serial:{device}@115200")
        done.assert_outcomes(passed=7)
    assert set((project.path / "workers").read_text().split()) == {"gw0", "gw1"}


def test_locks(tmp_path: Path) -> None:
    """A port has one lock by whatever name; a lock that is held keeps another process out."""
    device, link = tmp_path / "ttyACM0", tmp_path / "by-id"
    device.touch()
    link.symlink_to(device)
    assert port_lock(f"serial:{link}") == port_lock(f"serial:{device}@9600")
    assert port_lock(f"serial:{device}") != port_lock(f"serial:{device}1")
    path = tmp_path / "a.lock"
    script = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    command = (sys.executable, "-c", script, path)
    with locked(path):
        held = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert "BlockingIOError" in held.stderr
    subprocess.run(command, check=True, timeout=600)


def test_targets_stay_open_for_tests_to_come(compiled: Compiled, tmp_path: Path) -> None:
    """Eight of them, the last ones used; one that is broken is opened anew."""
    blobs = [parse_blob(pack(compiled.qgraph, compiled.plan, {"n": n})) for n in range(9)]
    with Session(tmp_path) as session:

        def opened(blob: Blob, breaks: bool = False) -> object:
            with session.target("host", blob) as loaded:
                loaded.broken = breaks
                return loaded._target

        first = [opened(blob) for blob in blobs[:8]]
        assert opened(blobs[0]) is first[0]
        opened(blobs[8])
        assert opened(blobs[0]) is first[0]
        assert opened(blobs[1]) is not first[1]
        assert opened(blobs[0], breaks=True) is first[0]
        assert opened(blobs[0]) is not first[0]


# --- Models -------------------------------------------------------------------------------------

COUNT = """
import narrows.testing.session as session
compile_model = session.compile_model

def counted(*arguments):
    with open("compiled", "a") as file:
        print("once", file=file)
    return compile_model(*arguments)

session.compile_model = counted
"""


def test_a_model_is_compiled_once_for_all_workers(project: pytest.Pytester) -> None:
    """By its contents and options, wherever it stands."""
    project.makeconftest(COUNT)
    folder = project.mkdir("folder")
    shutil.copy(DIGITS_INT8, folder / "copy.tflite")
    folder.joinpath("test_b.py").write_text(
        f"""
import pytest

@pytest.mark.parametrize("turn", range(4))
@pytest.mark.narrows(model={MODEL!r})
def test_from_the_root(narrows_blob, turn):
    assert narrows_blob.source.name == {MODEL!r}

@pytest.mark.narrows(model="copy.tflite")
class TestCopy:
    def test_from_its_folder(self, narrows_blob):
        assert narrows_blob.source.name == "copy.tflite"

    @pytest.mark.narrows(model="copy.tflite", ram="5K", board="{BOARD}-16k")
    def test_of_the_nearest_marker(self, narrows_blob):
        assert narrows_blob.header.arena_bytes < 5 * 1024
"""
    )
    project.makepyfile(TEST)
    run(project, "-n", "2").assert_outcomes(passed=7)
    assert (project.path / "compiled").read_text().split() == ["once"] * 2


def test_parameters_choose_models(project: pytest.Pytester, digits_blob: Path) -> None:
    shutil.copy(digits_blob, project.path / "digits.nrw")
    project.makepyfile(
        f"""
import pytest

MODELS = ["digits.nrw", {MODEL!r}, {{"model": {MODEL!r}, "ram": "64K"}}]

@pytest.mark.parametrize("narrows_blob", MODELS, indirect=True)
@pytest.mark.parametrize("narrows_target", ["host"], indirect=True)
def test_it(narrows_board, narrows_target):
    assert narrows_board.name == narrows_target == "host"

@pytest.fixture
def narrows_blob_of_my_own(narrows_blob):
    return narrows_blob

class TestOther:
    @pytest.fixture
    def narrows_blob(self):
        from narrows.blob import read_blob
        return read_blob("digits.nrw")

    def test_other(self, narrows_board):
        assert narrows_board.blob.labels
"""
    )
    run(project, "--narrows-target", "host").assert_outcomes(passed=4)


def test_a_model_that_does_not_fit(project: pytest.Pytester) -> None:
    project.makepyfile(TEST.replace(")\ndef", ", ram='1K')\ndef"))
    done = run(project)
    done.assert_outcomes(errors=1)
    done.stdout.re_match_lines([rf".*{MODEL}: .*1,?024.*"])
    assert "Traceback" not in done.stdout.str()
    assert "pyfront" not in done.stdout.str()


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ("model='none.tflite'", "model='none.tflite': there is no file"),
        (f"modle={MODEL!r}", "no argument 'modle'; give model, blob, ram, board"),
        (f"{MODEL!r}", "name the argument, as in model="),
        ("ram='64K'", "give either model= or blob="),
        ("blob='digits.npz', ram='64K'", "a blob is compiled already"),
        (f"model={MODEL!r}, ram='64Q'", "'64Q' is no size"),
        (f"model={MODEL!r}, ram=64", "ram=64 is not text"),
        (f"model={MODEL!r}, board='moon'", "board 'moon': there is none; known are"),
    ],
)
def test_usage_errors_of_markers(project: pytest.Pytester, marker: str, words: str) -> None:
    project.makepyfile(TEST.replace(f"model={MODEL!r}", marker))
    done = run(project)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = (line for line in done.stderr.lines if line)
    assert line.startswith("ERROR: test_usage_errors_of_markers.py::test_it[host]: ")
    assert words in line


def test_usage_errors_under_xdist(project: pytest.Pytester) -> None:
    """A worker cannot end the run by a usage error, so each test fails with it."""
    project.makepyfile(TEST.replace(f"model={MODEL!r}", "model='none.tflite'"))
    done = run(project, "-n", "1")
    done.assert_outcomes(errors=1)
    said = done.stdout.str()
    assert "model='none.tflite': there is no file" in said
    assert "INTERNALERROR" not in said
    assert "pyfront" not in said


def test_no_model_at_all(project: pytest.Pytester) -> None:
    project.makepyfile("def test_it(narrows_blob):\n    pass\n")
    done = run(project)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*which model? Mark the test with narrows(model=*"])


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("moon", "give host, qemu:BOARD, rp2040js:BOARD, serial:PORT or all"),
        ("qemu:", "give host, qemu:BOARD, rp2040js:BOARD, serial:PORT or all"),
        ("qemu:moon", "board 'moon': there is none; known are: emcraft-sf2"),
    ],
)
@pytest.mark.parametrize("place", ["option", "ini"])
def test_usage_errors_of_targets(
    project: pytest.Pytester, place: str, target: str, words: str
) -> None:
    project.makepyfile(TEST)
    options = ("--narrows-target", target)
    if place == "ini":
        project.makefile(".ini", pytest=f"[pytest]\nnarrows_target = host {target}\n")
        options = ()
    done = run(project, *options)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    name = "narrows_target" if place == "ini" else "--narrows-target"
    (line,) = (line for line in done.stderr.lines if line)
    assert line.startswith(f"ERROR: {name} {target}: ")
    assert words in line


def test_a_port_that_is_not_there(project: pytest.Pytester) -> None:
    project.makepyfile(TEST)
    done = run(project, "--narrows-target", "serial:/dev/nowhere")
    done.assert_outcomes(errors=1)
    assert "/dev/nowhere" in done.stdout.str()
    assert "pyfront" not in done.stdout.str()


# --- What is left out ---------------------------------------------------------------------------


def test_without_tools(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skipped with the command that installs them; in CI that is a failure of what was asked for
    by name, and still a skip of what "all" stands for."""
    project.makepyfile(TEST)
    monkeypatch.setenv("PATH", str(project.mkdir("empty")))
    monkeypatch.setenv("NARROWS_CACHE_DIR", str(project.path / "cache"))
    explicit = ("--narrows-target", f"qemu:{BOARD}")
    for ci, options, outcomes in (
        ("", explicit, {"skipped": 1}),
        ("true", explicit, {"errors": 1}),
        ("true", ("--narrows-target", "all"), {"passed": 1, "skipped": boards()}),
        ("true", ("--narrows-target", "all", *explicit), {"passed": 1, "skipped": boards() - 1}),
    ):
        monkeypatch.setenv("CI", ci)
        done = run(project, *options)
        if "all" in options and explicit[1] in options:
            outcomes = {**outcomes, "errors": 1}
        done.assert_outcomes(**outcomes)
        assert "is not installed: apt-get install" in done.stdout.str()
        assert "pyfront" not in done.stdout.str()


def boards() -> int:
    """How many an emulator has."""
    return sum(board.emulator is not None for board in load_boards())


def test_boards_of_all_that_are_too_small(project: pytest.Pytester) -> None:
    """A skip that says why; by its name, the board fails."""
    need("qemu-system-arm", "arm-none-eabi-gcc")
    net = Net(3)
    x = net.int8((1, 64, 64, 4))
    (project.path / "large.tflite").write_bytes(net.finish([x], [net.conv(x, (1, 1), 4)]))
    project.makepyfile(
        "import pytest\n@pytest.mark.narrows(model='large.tflite')\n"
        "def test_it(narrows_board):\n    pass\n"
    )
    small = f"qemu:{BOARD}-16k"
    done = run(project, "--narrows-target", "all", "-k", "16k or host")
    done.assert_outcomes(passed=1, skipped=1, deselected=boards() - 1)
    done.stdout.re_match_lines([rf"SKIPPED .*{small}: the model needs \d+ bytes of RAM"])
    run(project, "--narrows-target", small).assert_outcomes(errors=1)


def test_it_can_be_switched_off(project: pytest.Pytester) -> None:
    project.makepyfile("def test_it():\n    pass\ndef test_fixture(narrows_board):\n    pass\n")
    done = run(project, "-p", "no:narrows")
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["*fixture 'narrows_board' not found*"])
    assert run(project, "-p", "no:narrows", "--narrows-target", "host").ret == 4


# --- Other people's tests -----------------------------------------------------------------------


def test_who_does_not_use_it_loads_nothing(project: pytest.Pytester) -> None:
    """What the plugin imports of narrows can be counted on two fingers."""
    project.makepyfile(
        """
import sys

def test_it():
    assert "narrows.pytest_plugin" in sys.modules
    assert not {"numpy", "cffi", "onnx", "serial", "PIL", "rich"} & sys.modules.keys()
    ours = {name for name in sys.modules if name.split(".")[0] == "narrows"}
    assert ours == {"narrows", "narrows.errors", "narrows.pytest_plugin"}
"""
    )
    run(project).assert_outcomes(passed=1)


def test_beside_pytest_embedded(project: pytest.Pytester) -> None:
    """Both plugins' fixtures in one test, both plugins' options in one command."""
    if importlib.util.find_spec("pytest_embedded") is None:
        missing("pytest-embedded")
    project.makepyfile(
        TEST
        + f"""
@pytest.mark.narrows(model={MODEL!r})
def test_both(narrows_board, target, msg_queue, dut):
    assert (narrows_board.name, target) == ("host", "esp32")
"""
    )
    options = ("--target", "esp32", "--narrows-target", "host")
    done = project.runpytest_subprocess(*OPTIONS, *options, timeout=1800)
    done.assert_outcomes(passed=2)


def test_it_is_documented(project: pytest.Pytester) -> None:
    for option, words in (
        ("--help", ["*--narrows-target=TARGET*", "*narrows_target (args):*"]),
        ("--markers", ["@pytest.mark.narrows(model=*"]),
        ("--fixtures", ["narrows_blob*", "narrows_board*"]),
    ):
        run(project, option).stdout.fnmatch_lines(words)
