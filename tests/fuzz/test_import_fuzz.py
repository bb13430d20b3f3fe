# SPDX-License-Identifier: Apache-2.0
"""A few hundred mutants of model files, always the same ones; import_fuzz.py by itself goes on
for as long as it may."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("ai_edge_litert", reason="its schema changes .tflite files")
pytest.importorskip("onnxruntime", reason="it judges .onnx files")

from import_fuzz import fuzz

MUTANTS = {"tflite": 700, "onnx": 700}
# What must have been compared at least: without it the mutants would show nothing.
COMPARED = {"tflite": ("int8 compared", 60), "onnx": ("float compared", 40)}


@pytest.mark.parametrize("kind", MUTANTS)
def test_mutants_are_refused_or_exact(kind: str, tmp_path: Path) -> None:
    report = fuzz(kind, 1, tmp_path, mutants=MUTANTS[kind])
    findings = "\n".join(f"{f.mutant}\n{f.what}\n{f.detail}" for f in report.findings)
    assert not report.findings, findings
    count, least = COMPARED[kind]
    assert report.counts[count] >= least, report
    assert report.counts["commands"] > 0
