# SPDX-License-Identifier: Apache-2.0
"""The pass list from a file to a blob, on the default model."""

from __future__ import annotations

import pytest

from blob_reader import read_blob
from narrows import native
from narrows.compile import STATE_BYTES, CompileOptions, compile_model
from narrows.errors import PlanError
from narrows.graph.qgraph import QConv, QDepthwise
from narrows.models import DIGITS_INT8
from narrows.native import Model
from narrows.plan import PlanOptions


def test_report() -> None:
    compiled = compile_model(DIGITS_INT8)
    report = compiled.report
    header = read_blob(compiled.blob).header
    model = Model(compiled.blob)
    assert report["arena_bytes"] == header["arena_bytes"] == compiled.plan.arena_bytes
    assert report["blob_bytes"] == len(compiled.blob)
    assert (report["macs"], report["max_step_macs"]) == (header["macs"], header["max_step_macs"])
    assert (report["mac_factor"], report["input_passes"]) == (1.0, 1)
    beside = 15 + STATE_BYTES + model.progress_bytes + model.inputs[0].row_bytes
    assert report["ram_bytes"] == model.arena_bytes + beside
    filters = [op for op in compiled.qgraph.ops if isinstance(op, (QConv, QDepthwise))]
    assert report["weight_bytes"] == sum(op.weights.size for op in filters)
    assert len(compiled.blob) <= report["weight_bytes"] + 4096 + len(
        str(read_blob(compiled.blob).metadata)
    ) + 16 * sum(len(op.bias) for op in filters)


def test_progress_rises_to_one() -> None:
    seen: list[tuple[str, float]] = []
    compile_model(DIGITS_INT8, progress=lambda what, done: seen.append((what, done)))
    assert [what for what, _ in seen] == ["import", "lower", "plan", "pack", "done"]
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    assert seen[-1][1] == 1.0


def test_budget_counts_all_ram() -> None:
    need = compile_model(DIGITS_INT8).report["ram_bytes"]
    assert isinstance(need, int)
    compile_model(DIGITS_INT8, CompileOptions(PlanOptions(ram=need)))
    with pytest.raises(PlanError, match=rf"needs {need} bytes of RAM.*fullest when"):
        compile_model(DIGITS_INT8, CompileOptions(PlanOptions(ram=need - 1)))
    with pytest.raises(PlanError, match=r"no plan of .* within 100 bytes"):
        compile_model(DIGITS_INT8, CompileOptions(PlanOptions(ram=100)))


def test_state_bytes_are_those_of_a_32_bit_chip() -> None:
    ffi, _ = native._load()
    total = 0
    for name in ("model", "run"):
        for _, field in ffi.typeof(f"struct nrw_{name}").fields:
            total += 4 if field.type.kind == "pointer" else ffi.sizeof(field.type)
    assert total == STATE_BYTES
