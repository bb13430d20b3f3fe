# SPDX-License-Identifier: Apache-2.0
"""Outputs of every command: nothing that is read is overwritten, nothing half is left behind."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest

from conftest import Narrows
from narrows.blob import read_blob
from narrows.cli import build_parser, main
from narrows.errors import NarrowsError
from narrows.exporters.export import export_tflite
from narrows.files import try_place, write_file
from narrows.models import DIGITS_INT8, load_held_out, prepare_digits
from narrows.signing import key_pem, new_key
from narrows.zoo.builder import Builder

# --- Every option that names a file says so -----------------------------------------------------

NO_FILES = {
    *("--ram", "--slice", "--target", "--reference", "--top", "--count", "--layer", "--limit"),
    *("--pixel-mean", "--pixel-scale", "--crop-fraction", "--counter"),
    *("--port", "--probe", "--jobs", "--rounds", "--mhz", "--stream", "--name", "--input-shape"),
    "NAME[,OPTION=VALUE...]",
}


def _commands(only: str | None = None) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in build_parser(only)._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


@pytest.mark.parametrize("name", [name for name, _ in _commands()])
def test_every_option_that_names_a_file_is_declared(name: str) -> None:
    parser = dict(_commands())[name]
    declared = {place.destination for place in parser.get_default("places") or ()}
    for action in parser._actions:
        takes_text = action.nargs != 0 and action.choices is None
        if takes_text and not NO_FILES & {*action.option_strings, str(action.metavar)}:
            assert action.dest in declared, f"{name}: {action.dest}: add_input or add_output"


@pytest.mark.parametrize("name", [name for name, _ in _commands()])
def test_a_command_alone_is_as_among_all(name: str) -> None:
    assert dict(_commands(name)).keys() == {name, "version"}
    alone, among_all = (dict(_commands(only))[name].format_help() for only in (name, None))
    assert alone == among_all


# --- What would be overwritten --------------------------------------------------------------------


@pytest.fixture
def things(tmp_path: Path, digits_blob: Path) -> Path:
    """A folder with one of everything that commands read."""
    shutil.copy(DIGITS_INT8, tmp_path / "m.tflite")
    shutil.copy(digits_blob, tmp_path / "b.nrw")
    inputs = prepare_digits(load_held_out().images)[:3]
    np.savez(tmp_path / "d.npz", x=inputs)
    np.save(tmp_path / "x.npy", inputs[0])
    (tmp_path / "labels.txt").write_text("\n".join("0123456789"))
    (tmp_path / "p.txt").write_text("a secret\n")
    (tmp_path / "k.pem").write_bytes(key_pem(new_key(), b"a secret"))
    (tmp_path / "data").mkdir()
    np.save(tmp_path / "data" / "a.npy", inputs[0])
    np.save(tmp_path / "elsewhere.npy", inputs[1])
    (tmp_path / "data" / "labels.csv").write_text("a.npy,1\n../elsewhere.npy,2\n")
    net = Builder("net", (8, 8, 1), seed=1)
    graph = net.finish([net.dense(net.mean(net.conv(0, 4, 3, 2, name="a"), name="b"), 2, name="c")])
    (tmp_path / "f.tflite").write_bytes(export_tflite(graph))
    np.save(tmp_path / "f.npy", np.ones((4, 8, 8, 1), np.float32))
    shutil.copy(Path(__file__).parents[2] / "boards" / "mps2-an386.toml", tmp_path / "my.toml")
    weights = onnx.numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "w")
    value = onnx.helper.make_tensor_value_info
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Conv", ["x", "w"], ["y"])],
            "net",
            [value("x", 1, (1, 1, 8, 8))],
            [value("y", 1, (1, 1, 6, 6))],
            [weights],
        )
    )
    onnx.save(
        model,
        str(tmp_path / "o.onnx"),
        save_as_external_data=True,
        location="o.onnx.data",
        size_threshold=0,
    )
    return tmp_path


COMMANDS = {
    "compile m.tflite --labels labels.txt --board my.toml": ["-o", "--json"],
    "quantize f.tflite --data f.npy --labels labels.txt": ["-o", "--json", "--report"],
    "quantize o.onnx --data data": ["-o"],
    "plan m.tflite --board my.toml": ["--json", "--plot", "--arena"],
    "run b.nrw --input x.npy --labels labels.txt": ["--output", "--json"],
    "check b.nrw --data d.npz --reference tflm --model m.tflite": ["--junit", "--json"],
    "check b.nrw --data data": ["--junit", "--json"],
    "compare m.tflite b.nrw@host --data d.npz --labels labels.txt": ["--save", "--json"],
    "info b.nrw": ["--json"],
    "sign b.nrw --key k.pem --passphrase-file p.txt": ["-o", "--json"],
    "sign --public k.pem --passphrase-file p.txt": ["--json"],
}
READ = {"o.onnx": ["o.onnx", "o.onnx.data"]} | {
    "data": ["data/a.npy", "data/labels.csv", "elsewhere.npy"]
}


def _inputs(command: str) -> list[str]:
    words = [word.split("@")[0] for word in command.split()[1:] if "." in word or word == "data"]
    return [file for word in words for file in READ.get(word, [word])]


CASES = [
    (command, option, file)
    for command, options in COMMANDS.items()
    for option in options
    for file in _inputs(command)
]


@pytest.mark.parametrize(("command", "option", "file"), CASES, ids=lambda v: str(v).split()[0])
def test_inputs_are_not_overwritten(
    things: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    option: str,
    file: str,
) -> None:
    """By its name, another spelling of it, a symbolic and a hard link."""
    monkeypatch.chdir(things)
    os.symlink(file, "soft")
    os.symlink("soft", "softer")
    os.link(file, "hard")
    os.symlink(".", "here")
    before = Path(file).read_bytes()
    needed = ["-o", "new"] if "-o" in COMMANDS[command] and option != "-o" else []
    for place in (file, f"./here/{file}", "softer", "hard"):
        assert main([*command.split(), *needed, option, place]) == 2
        out, error = capsys.readouterr()
        assert out == ""
        assert error.startswith("narrows: error: ")
        assert error.count("\n") == 1
        assert f"{place}: would overwrite" in error
        assert Path(file).read_bytes() == before
    assert not Path("new").exists()


PAIRS = [
    (command, options[i], options[j])
    for command, options in COMMANDS.items()
    for i in range(len(options))
    for j in range(i)
]


@pytest.mark.parametrize(("command", "one", "other"), PAIRS, ids=lambda v: str(v).split()[0])
@pytest.mark.parametrize("exists", [True, False])
def test_outputs_are_told_apart(
    things: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    one: str,
    other: str,
    exists: bool,
) -> None:
    monkeypatch.chdir(things)
    os.symlink("z", "soft")
    os.symlink(".", "here")
    if exists:
        Path("z").write_text("old")
        os.link("z", "hard")
    needed = ["-o", "new"] if "-o" in {*COMMANDS[command]} - {one, other} else []
    for place in ("z", "here/z", "soft", *(["hard"] if exists else [])):
        assert main([*command.split(), *needed, one, "z", other, place]) == 2
        out, error = capsys.readouterr()
        assert "the same file as" in error
        assert out == ""
        assert Path("z").exists() == exists
    assert main([*command.split(), *needed, one, "-", other, "/dev/stdout"]) == 2
    assert "both stdout" in capsys.readouterr().err


def test_new_files_in_a_folder_that_ignores_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Linux has no such folder to test in without being root, so a file is found there by a
    name in capitals as it would be."""
    monkeypatch.chdir(tmp_path)
    assert main(["compile", str(DIGITS_INT8), "-o", "z", "--json", "Z"]) == 0
    os.remove("z")
    os.remove("Z")
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: exists(path.with_name(path.name.lower())))
    assert main(["compile", str(DIGITS_INT8), "-o", "z", "--json", "Z"]) == 2
    assert "the same file as" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_device_may_take_several_outputs(things: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(things)
    null = "/dev/null"
    check = ["check", "b.nrw", "--data", "d.npz", "--junit", null, "--json", null]
    assert main(check) == 0
    assert main(["compile", "m.tflite", "-o", null, "--json", null]) == 0
    assert stat.S_ISCHR(os.stat(null).st_mode)


# --- Places ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("none/b", "there is no folder"),
        ("file/b", "Not a directory"),
        ("folder", "it is a folder"),
        (".", "it is a folder"),
        ("", "it is a folder"),
        ("circle", "Too many levels of symbolic links"),
        ("n" * 300, "File name too long"),
    ],
)
@pytest.mark.parametrize("option", ["-o", "--json"])
def test_places_are_tried_before_the_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    message: str,
    option: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("folder").mkdir()
    os.symlink("circle", "circle")
    monkeypatch.setattr("narrows.cli.compile.compile", None)  # is not called
    other = {"-o": "--json", "--json": "-o"}[option]
    assert main(["compile", str(DIGITS_INT8), option, place, other, "new"]) == 1
    error = capsys.readouterr().err
    assert f"{place}: cannot be written: {message}" in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["circle", "file", "folder"]


@contextmanager
def _nobody() -> Iterator[None]:
    """Someone whom permissions bind; root writes everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def test_what_permissions_forbid(tmp_path: Path) -> None:
    for folder in tmp_path.parents:
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    locked, shared = tmp_path / "locked", tmp_path / "shared"
    for folder, mode in ((locked, 0o555), (shared, 0o777), (tmp_path, 0o755)):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
    kept = shared / "kept"
    kept.write_text("old")
    kept.chmod(0o444)
    with _nobody():
        for call in (try_place, lambda path: write_file(path, b"new")):
            with pytest.raises(NarrowsError, match=r"locked/b: cannot .*: Permission denied"):
                call(locked / "b")
        with pytest.raises(NarrowsError, match="kept: cannot be written: it is read-only"):
            try_place(kept)
    assert kept.read_text() == "old"
    assert list(locked.iterdir()) == []
    locked.chmod(0o755)


def test_a_full_disk_is_found_before_the_work(tmp_path: Path) -> None:
    """A limit on the size of files stands in for it: an empty file would still fit."""
    code = (
        "import resource, signal\n"
        "from narrows.files import try_place\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "open('empty', 'w').close()\n"
        "try_place('b')\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, cwd=tmp_path)
    assert "b: cannot be written: File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


# --- Writing --------------------------------------------------------------------------------------


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "t", tmp_path / "link"
    link.symlink_to("there/t")
    for old in (None, b"old"):
        if old is not None:
            target.write_bytes(old)
        try_place(link)
        assert target.exists() == (old is not None)
        write_file(link, b"new")
        assert link.is_symlink()
        assert target.read_bytes() == b"new"
        target.unlink()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o755, 0o4711])
def test_the_mode_of_a_file_is_kept(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    path.chmod(mode)
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_new_file_has_the_mode_of_new_files(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_file(tmp_path / "f", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o666 & ~mask


def test_a_reader_of_the_old_file_keeps_it(tmp_path: Path) -> None:
    """The file is replaced, not written over; so are other names of it spared."""
    path = tmp_path / "f"
    path.write_bytes(b"old")
    os.link(path, tmp_path / "other")
    with path.open("rb") as reader:
        write_file(path, b"new")
        assert reader.read() == b"old"
    assert (tmp_path / "other").read_bytes() == b"old"


@pytest.mark.parametrize("fails", ["fsync", "replace", "write"])
def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(f"os.{fails}", full)
        with pytest.raises(NarrowsError, match="No space left on device"):
            write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_is_written_directly(things: Path, narrows: Narrows) -> None:
    pipe = things / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        done = narrows("compile", "m.tflite", "-o", "b", "--json", pipe, cwd=things)
        assert done.returncode == 0, done.stderr
        assert reader.stdout is not None
        assert json.load(reader.stdout)["blob_bytes"] == (things / "b").stat().st_size
    assert stat.S_ISFIFO(pipe.stat().st_mode)


# --- stdout ---------------------------------------------------------------------------------------


def _raw(*arguments: object, cwd: Path, shell: str = "") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "narrows", *map(str, arguments)]
    if shell:
        command = ["bash", "-c", f'"$@" {shell}', "bash", *command]
    return subprocess.run(command, capture_output=True, timeout=1800, cwd=cwd)


def test_a_blob_on_stdout_is_alone_there(things: Path) -> None:
    done = _raw("compile", "m.tflite", "-o", "-", "--json", "j", cwd=things)
    assert done.returncode == 0, done.stderr
    (things / "out.nrw").write_bytes(done.stdout)
    assert read_blob(things / "out.nrw").data == done.stdout
    assert json.loads((things / "j").read_text())["blob_bytes"] == len(done.stdout)
    assert b"RAM" in done.stderr


STDOUT_CASES: dict[str, tuple[str, Callable[[bytes], object], bytes]] = {
    "json of compile": ("compile m.tflite -o b --json -", json.loads, b"RAM"),
    "json of run": ("run b.nrw --input x.npy --profile --json -", json.loads, b"instr"),
    "output": ("run b.nrw --input x.npy --output /dev/stdout", lambda data: data[1:6], b"RAM"),
    "junit": ("check b.nrw --data d.npz --junit -", ET.fromstring, b"3 inputs"),
    "json of info": ("info b.nrw --json -", json.loads, b"stage"),
    "json of zoo": ("zoo --json /dev/fd/1", json.loads, b"MobileNet"),
    "model": (
        "quantize f.tflite --data f.npy --method minmax -o -",
        lambda data: data.index(b"TFL3") == 4,
        b"dB",
    ),
}


@pytest.mark.parametrize("name", STDOUT_CASES)
def test_one_output_may_be_stdout(things: Path, name: str) -> None:
    command, read, said = STDOUT_CASES[name]
    done = _raw(*command.split(), cwd=things)
    assert done.returncode == 0, done.stderr
    assert read(done.stdout)
    assert not (things / "-").exists()
    if name != "json of run":
        assert said in done.stderr


def test_stdout_that_is_a_file_that_is_read(things: Path) -> None:
    before = (things / "b.nrw").read_bytes()
    done = _raw("info", "b.nrw", "--json", "-", cwd=things, shell=">> b.nrw")
    assert done.returncode == 2
    assert b"would overwrite b.nrw" in done.stderr
    assert (things / "b.nrw").read_bytes() == before


@pytest.mark.parametrize("shell", ["| head -c 0", "| head -n 1", "> /dev/full", ">&-"])
@pytest.mark.parametrize("command", ["zoo", "info b.nrw", "--help", "run --help"])
def test_a_stdout_that_fails(things: Path, shell: str, command: str) -> None:
    """No traceback, whether the reader stops early, the disk is full, or stdout is closed."""
    with_json = ["--json", "j"] if command in ("zoo", "info b.nrw") else []
    done = _raw(*command.split(), *with_json, cwd=things, shell=f"{shell}; exit ${{PIPESTATUS[0]}}")
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
    lines = done.stderr.splitlines()
    if "full" in shell:
        assert lines == [b"narrows: error: stdout: cannot be written: No space left on device"]
        assert done.returncode == 1
    else:
        assert lines == []
        assert done.returncode in (0, 1)
    if with_json:
        assert json.loads((things / "j").read_text())


def test_an_output_that_fails_keeps_no_other_from_being_written(things: Path) -> None:
    """/dev/full passes every trial, because only data show that it is full."""
    full = b"narrows: error: /dev/full: cannot be written: No space left on device"
    check = ("check", "b.nrw", "--data", "d.npz")
    done = _raw(*check, "--junit", "/dev/full", "--json", "j", cwd=things)
    assert done.returncode == 1
    assert done.stderr.startswith(full)
    assert json.loads((things / "j").read_text())["agree"] is True
    done = _raw(*check, "--json", "/dev/full", "--junit", "j.xml", cwd=things)
    assert done.returncode == 1
    assert ET.parse(things / "j.xml")
    done = _raw("compile", "m.tflite", "-o", "/dev/full", "--json", "j2", cwd=things)
    assert done.returncode == 1
    assert done.stdout == b""
    assert json.loads((things / "j2").read_text())["blob_bytes"] > 0
    done = _raw(
        "run", "b.nrw", "--input", "x.npy", "--output", "/dev/full", "--json", "-", cwd=things
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["top"]
    done = _raw("compile", "m.tflite", "-o", "/dev/full", "--json", "/dev/full", cwd=things)
    assert done.returncode == 1
    assert done.stderr.count(full) == 2


def test_a_name_keeps_its_extension(things: Path, narrows: Narrows) -> None:
    """In errors and in the blob; a dot within a name is no extension to cut."""
    for name in ("v1.0", "net.v2.tflite"):
        shutil.copy(things / "m.tflite", things / name)
        done = narrows("compile", name, "-o", "new", cwd=things)
        assert done.returncode == 0, done.stderr
        assert read_blob(things / "new").name == name
    shutil.copy(things / "f.tflite", things / "f.v1.0.tflite")
    done = narrows("compile", "f.v1.0.tflite", "-o", "new", cwd=things)
    assert done.returncode == 1
    assert "f.v1.0.tflite: a float model" in done.stderr
