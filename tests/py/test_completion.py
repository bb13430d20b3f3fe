# SPDX-License-Identifier: Apache-2.0
"""What shells are told when the tab key is pressed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from narrows.cli import main
from narrows.cli.completion import SHELLS


def completions(line: str, tmp_path: Path) -> list[str]:
    """As a shell asks for them."""
    answer = tmp_path / "answer"
    environment = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    command = [sys.executable, "-m", "narrows"]
    subprocess.run(command, check=True, env={**os.environ, **environment}, cwd=tmp_path)
    return [found.strip() for found in answer.read_text(encoding="utf-8").split("\n")]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("narrows comp", {"compile", "compare", "completion"}),
        ("narrows compile --boa", {"--board"}),
        ("narrows compile --board nucleo-f", {"nucleo-f446re"}),
        ("narrows run digits.nrw --target qemu:mps2-an5", {"qemu:mps2-an500", "qemu:mps2-an505"}),
        ("narrows quantize --pixels ", {"0..1", "-1..1", "0..255", "imagenet"}),
        ("narrows compile dig", {"digits.tflite"}),
    ],
)
def test_what_may_come_next(line: str, expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "digits.tflite").touch()
    assert set(completions(line, tmp_path)) == expected


def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The script that is printed, in a real shell."""
    assert main(["completion", "bash"]) == 0
    program = tmp_path / "narrows"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m narrows "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    script = capsys.readouterr().out + (
        f"\nPATH='{tmp_path}':$PATH; COMP_LINE='narrows zo'; COMP_POINT=10; COMP_TYPE=9; "
        'COMP_WORDS=(narrows zo); COMP_CWORD=1; _python_argcomplete narrows; echo "[$COMPREPLY]"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() in (["[zoo]"], ["[zoo", "]"]), done.stderr


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "narrows" in script
    assert "_ARGCOMPLETE" in script
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=script, text=True, check=True)
