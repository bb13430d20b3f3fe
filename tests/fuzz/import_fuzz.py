#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fuzz the importers: mutants of .tflite and .onnx files, all the way to what they compute.

A mutant must be refused with an error of a few lines, or be accepted, and then give what
TensorFlow Lite Micro gives for it (every byte of an int8 model; a float network within rounding,
an ONNX one against onnxruntime), wherever that takes the file. Anything else is a finding: an
exception that is not an error of ours, too much memory or time, another answer. Now and then a
mutant also goes through the real command.

    python tests/fuzz/import_fuzz.py --kind tflite --seconds 600
    python tests/fuzz/import_fuzz.py --kind onnx --replay conv:17,4
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

# The tests' own modules; pytest finds them without this.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "py"))

import numpy as np
import onnx_mutations
import tflite_mutations
from import_children import Array, Child, Died, Verdict, ask, examine
from import_seeds import seeds

_MUTATIONS: dict[str, Any] = {"tflite": tflite_mutations, "onnx": onnx_mutations}
# Lines of an error, and characters of a line: for people to read.
MOST_LINES = 24
MOST_CHARACTERS = 500
# Every so many mutants one goes through the command.
COMMANDS = 100
# Floats are summed in another order; this part of the largest value may be lost.
TOLERANCE = 1e-4
_KEPT = 3  # files of findings that look the same


@dataclass(frozen=True)
class Mutant:
    """A seed's name, and a number for each change."""

    name: str
    changes: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name}:{','.join(map(str, self.changes))}"


@dataclass(frozen=True)
class Finding:
    """what: the same for all that look the same."""

    mutant: Mutant
    what: str
    detail: str


@dataclass
class Report:
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        counted = ", ".join(f"{name}: {n:,}" for name, n in sorted(self.counts.items()))
        kinds = Counter(finding.what for finding in self.findings)
        lines = [counted, *(f"FINDING {what} ({n})" for what, n in kinds.most_common())]
        return "\n".join(lines)


class Fuzzer:
    """Examines mutants of one kind of file; ``close`` ends its processes."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.seeds = seeds(kind)
        self._trees = {n: _MUTATIONS[kind].parse(data) for n, data in self.seeds.items()}
        self._subject, self._oracle = Child(examine), Child(ask, processor=20)
        self.report = Report()

    def close(self) -> None:
        self._subject.close()
        self._oracle.close()

    def draw(self, rng: Random) -> Mutant:
        count = rng.choices((1, 2, 3, 5), (60, 25, 10, 5))[0]
        name = rng.choice(list(self.seeds))
        return Mutant(name, tuple(rng.randrange(1 << 32) for _ in range(count)))

    def data(self, mutant: Mutant) -> bytes | None:
        made: bytes | None = _MUTATIONS[self.kind].mutate(self._trees[mutant.name], mutant.changes)
        return made

    def run(self, seed: int, mutants: int | None = None, seconds: float | None = None) -> Report:
        """Examine so many mutants, or as many as there is time for."""
        rng, end = Random(seed), None if seconds is None else time.monotonic() + seconds
        number = 0
        while (mutants is None or number < mutants) and (end is None or time.monotonic() < end):
            mutant = self.draw(rng)
            finding = self.examine(mutant, command=number % COMMANDS == COMMANDS - 1)
            number += 1
            if finding is not None:
                self._record(finding)
        return self.report

    def _record(self, finding: Finding) -> None:
        """Keep the file of a finding, with no more changes than it takes."""
        known = sum(f.what == finding.what for f in self.report.findings)
        if known < _KEPT:
            finding = self._smallest(finding)
            data = self.data(finding.mutant)
            assert data is not None
            place = self.folder / f"{len(self.report.findings)}.{self.kind}"
            place.write_bytes(data)
            text = f"{finding.mutant}\n{finding.what}\n{finding.detail}\n"
            place.with_suffix(".txt").write_text(text, encoding="utf-8")
        self.report.findings.append(finding)

    def _smallest(self, finding: Finding) -> Finding:
        for change in finding.mutant.changes:
            rest = tuple(c for c in finding.mutant.changes if c != change)
            again = self.examine(Mutant(finding.mutant.name, rest)) if rest else None
            if again is not None and again.what == finding.what:
                return self._smallest(again)
        return finding

    # --- One mutant ----------------------------------------------------------------------------

    def examine(self, mutant: Mutant, command: bool = False) -> Finding | None:
        data = self.data(mutant)
        if data is None:
            self.report.counts["nothing to change"] += 1
            return None
        path = self.folder / f"mutant.{self.kind}"
        path.write_bytes(data)
        try:
            verdict: Verdict = self._subject(str(path))
        except Died as died:
            return Finding(mutant, f"narrows died: {died}", "")
        self.report.counts[verdict.kind] += 1
        wrong = self._judge(verdict, path)
        if wrong is None and command:
            wrong = self._command(verdict, path)
        return None if wrong is None else Finding(mutant, *wrong)

    def _judge(self, verdict: Verdict, path: Path) -> tuple[str, str] | None:
        if verdict.kind == "exception":
            return verdict.place, verdict.text
        if verdict.kind == "refused":
            return _unreadable(verdict.text, str(path))
        if not verdict.reference:
            self.report.counts["not run"] += 1
            return None
        if verdict.kind == "float" and not verdict.magnitude < 1e30:
            return None  # infinite somewhere: nothing to compare
        engine = "ort" if verdict.kind == "float" and self.kind == "onnx" else "tflm"
        count = len(verdict.outputs[0])
        try:
            answers = self._oracle(engine, verdict.reference, verdict.inputs, count)
        except Died:
            self.report.counts["oracle died"] += 1
            return None
        if isinstance(answers, str):
            self.report.counts["oracle refuses"] += 1
            return None
        self.report.counts[f"{verdict.kind} compared"] += 1
        wrong = _difference(verdict, engine, answers)
        return None if wrong is None else (f"differs: {', '.join(verdict.operators)}", wrong)

    def _command(self, verdict: Verdict, path: Path) -> tuple[str, str] | None:
        """The same through ``narrows compile``."""
        blob = path.with_suffix(".nrw")
        command = [sys.executable, "-m", "narrows", "compile", str(path), "-o", str(blob)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
        self.report.counts["commands"] += 1
        expected = 0 if verdict.kind == "int8" else 1
        if done.returncode != expected or "Traceback" in done.stderr:
            return f"command: exit code {done.returncode} instead of {expected}", done.stderr
        if expected == 0:
            return None
        words = done.stderr.strip().removeprefix("narrows: error: ")
        if verdict.kind == "refused" and words != verdict.text.strip():
            return "command: another message", f"{done.stderr}\n{verdict.text}"
        return _unreadable(words, str(path))


def _unreadable(message: str, path: str) -> tuple[str, str] | None:
    lines = message.split("\n")
    name = Path(path).stem
    if not message.startswith((path, name)):
        return "message does not begin with the file", message
    if len(lines) > MOST_LINES or max(map(len, lines)) > MOST_CHARACTERS + len(path):
        return "message is long", message
    if not all(line.isprintable() for line in lines):
        return "message is not printable", repr(message)
    return None


def _difference(verdict: Verdict, engine: str, answers: list[Any]) -> str | None:
    if engine == "ort":
        fitting = answers[0]
        wrong = [_unlike(verdict, verdict.outputs[0], answer) for answer in fitting]
        return wrong[0] if wrong and None not in wrong else None
    for found, wanted in zip(verdict.outputs, answers, strict=True):
        if wrong_one := _unlike(verdict, found, wanted):
            return wrong_one
    return None


def _unlike(verdict: Verdict, found: Sequence[Array], wanted: Sequence[Array]) -> str | None:
    for number, (got, want) in enumerate(zip(found, wanted, strict=True)):
        allowed = TOLERANCE * verdict.magnitude if verdict.kind == "float" else 0
        layouts = [want]
        if want.ndim == 4 and verdict.kind == "float":
            layouts.append(want.transpose(0, 2, 3, 1))
        fitting = [w for w in layouts if w.shape == got.shape and w.dtype == got.dtype]
        if not fitting:
            return f"output {number}: {got.dtype}{got.shape}, wanted {want.dtype}{want.shape}"
        if verdict.kind == "float" and not np.isfinite(want).all():
            continue
        apart = min(float(np.abs(got.astype(float) - w).max(initial=0)) for w in fitting)
        if apart > allowed:
            return f"output {number}: apart by {apart:g}, {allowed:g} allowed"
    return None


def fuzz(
    kind: str,
    seed: int,
    folder: Path,
    *,
    mutants: int | None = None,
    seconds: float | None = None,
) -> Report:
    """Run the fuzzer; files of findings go into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    fuzzer = Fuzzer(kind, folder)
    try:
        return fuzzer.run(seed, mutants, seconds)
    finally:
        fuzzer.close()


def replay(kind: str, text: str) -> None:
    """Examine one mutant and print what becomes of it."""
    name, _, changes = text.rpartition(":")
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(kind, Path(folder))
        mutant = Mutant(name, tuple(map(int, changes.split(","))))
        print(fuzzer.examine(mutant, command=True))
        print(fuzzer.report)
        fuzzer.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--kind", choices=tuple(_MUTATIONS), required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes, each with its own seed")
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"), metavar="FOLDER")
    parser.add_argument("--replay", metavar="NAME:CHANGES", help="examine one mutant again")
    arguments = parser.parse_args()
    if arguments.replay is not None:
        replay(arguments.kind, arguments.replay)
        return 0
    failed = False
    with ProcessPoolExecutor(arguments.jobs) as pool:
        started = []
        for seed in range(arguments.seed, arguments.seed + arguments.jobs):
            folder = arguments.findings / f"{arguments.kind}-{seed}"
            started.append(
                pool.submit(fuzz, arguments.kind, seed, folder, seconds=arguments.seconds)
            )
        for done in started:
            report = done.result()
            failed = failed or bool(report.findings)
            print(report)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
