# SPDX-License-Identifier: Apache-2.0
"""Pages of documentation, and what of their code blocks is run.

What stands behind a code block's language says what becomes of it, all in one folder for each page,
from its beginning to its end:

* ``run``: a block of ``sh`` is run, and has to succeed;
* ``file=NAME``: the block becomes a file;
* ``output``: what the block before has printed, where ``...`` stands for anything;
* ``like``: of ``output``, numbers may be others, and so may be the spaces before them;
* ``demo``: what the block writes is there, with some of the demo's digits alone;
* ``qemu``, ``torch``, ``shared``: what the page needs besides, the last the shared networks.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from narrows.demo import save_files

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
_FENCE = re.compile(r"^(`{3,})([^\n`]*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
_MARKS = ("run", "file=", "output")
WORDS = frozenset(("run", "output", "like", "demo", "qemu", "torch", "shared"))
DEMO_DIGITS = 24


@dataclass(frozen=True)
class Block:
    """A code block: its language, the words behind that, its text and the line of its fence."""

    language: str
    words: tuple[str, ...]
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The name of the file that it becomes."""
        names = [word.removeprefix("file=") for word in self.words if word.startswith("file=")]
        return names[0] if names else None


def all_pages() -> list[Path]:
    """The README and every page of the documentation."""
    return [README, *sorted(path for path in DOCS.rglob("*.md") if path.name != "README.md")]


def page(name: str) -> Path:
    """A page by its place below docs, without ``.md``."""
    return DOCS / f"{name}.md"


def page_blocks(path: Path) -> list[Block]:
    """All code blocks of a page."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        language, *words = match.group(2).split() or [""]
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(language, tuple(words), match.group(3), line))
    return found


def blocks(name: str, kind: str) -> list[str]:
    """The texts of a page's code blocks whose opening fence says exactly ``kind``."""
    found = page_blocks(page(name))
    return [block.text for block in found if " ".join((block.language, *block.words)) == kind]


def is_run(path: Path) -> bool:
    """Whether a page has blocks to run."""
    words = (word for block in page_blocks(path) for word in block.words)
    return any(word.startswith(_MARKS) for word in words)


def needs(path: Path) -> set[str]:
    """Which of ``qemu``, ``torch`` and ``shared`` a page's blocks need."""
    words = {word for block in page_blocks(path) for word in block.words}
    return words & {"qemu", "torch", "shared"}


def prepare(folder: Path, *models: Path) -> None:
    """Make a folder look like the checkout to the commands, to write into. models: files that
    are to stand in it."""
    for model in models:
        (folder / model.name).symlink_to(model)
    for name in ("pyfront", "runtime", "boards"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "bin").mkdir()
    for name, arguments in (("narrows", "-m narrows "), ("python", ""), ("pytest", "-m pytest ")):
        command = folder / "bin" / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {arguments}"$@"\n')
        command.chmod(0o755)


def demo_files(folder: Path) -> None:
    """What ``python -m narrows.demo --save`` writes, with some of the digits."""
    save_files(folder)
    with np.load(folder / "digits.npz") as data:
        some = {name: values[:DEMO_DIGITS] for name, values in data.items()}
    np.savez(folder / "digits.npz", **some)


def shell(script: str, folder: Path, **environment: str) -> str:
    """Run a script in a prepared folder. Returns what it prints.

    Raises: AssertionError if it fails.
    """
    here = Path(sys.executable).parent
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=folder,
        env={
            **os.environ,
            **environment,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}:{here}",
        },
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def run_page(path: Path, folder: Path, **environment: str) -> list[str]:
    """Do what a page's blocks say. Returns what each of those that were run has printed.

    Raises: AssertionError with the block's place if one fails, or prints something else.
    """
    printed: list[str] = []
    for block in page_blocks(path):
        place = f"{path.name}, line {block.line}"
        if block.file is not None:
            (folder / block.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.file).write_text(block.text, encoding="utf-8")
        elif "demo" in block.words:
            demo_files(folder / "digits")
        elif "run" in block.words:
            try:
                printed.append(shell(block.text, folder, **environment))
            except AssertionError as error:
                raise AssertionError(f"{place}: {error}") from error
        elif "output" in block.words:
            is_like = "like" in block.words
            assert agrees(block.text, printed[-1], is_like), (
                f"{place}: this is printed:\n{printed[-1]}"
            )
    return printed


def agrees(shown: str, printed: str, is_like: bool = False) -> bool:
    """Whether a text is what is shown, in which ``...`` stands for anything. Spaces at the ends of
    lines do not count. is_like: numbers may be others."""
    pattern = re.escape(_trim(shown)).replace(r"\.\.\.", ".*")
    if is_like:
        pattern = re.sub(r"\d(?:(?:\\\.|,)?\d)*", r"\\d[\\d.,]*", pattern)
        pattern = re.sub(r"(?:\\ )+", " +", pattern)
    return re.fullmatch(pattern, _trim(printed), re.DOTALL) is not None


def _trim(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
