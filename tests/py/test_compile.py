# SPDX-License-Identifier: Apache-2.0
"""The pass list from a file to a blob, on the default model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from blob_reader import read_blob
from narrows import native
from narrows.compiler import CompileOptions, compile_model
from narrows.errors import PlanError
from narrows.graph.qgraph import QConv, QDepthwise
from narrows.models import DIGITS_INT8
from narrows.native import Model
from narrows.planning import PlanOptions
from narrows.planning.ram import STATE_BYTES
from single import Net


def test_report() -> None:
    compiled = compile_model(DIGITS_INT8)
    report = compiled.report
    header = read_blob(compiled.blob).header
    model = Model(compiled.blob)
    assert report["arena_bytes"] == model.arena_bytes == compiled.plan.arena_total
    assert report["blob_bytes"] == len(compiled.blob)
    assert (report["macs"], report["max_step_work"]) == (header["macs"], header["max_step_work"])
    assert report["max_step_macs"] == compiled.plan.max_step_macs < report["max_step_work"]
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
    assert [*dict.fromkeys(what for what, _ in seen)] == ["import", "lower", "plan", "pack", "done"]
    assert [done for _, done in seen] == sorted(done for _, done in seen)
    assert seen[-1][1] == 1.0


def test_errors_of_planning_and_packing_name_the_file(tmp_path: Path) -> None:
    net = Net(1)
    x = net.int8((1, 100, 4, 2))
    path = tmp_path / "tall.tflite"
    path.write_bytes(net.finish([x], [net.pool("MAX_POOL_2D", x, (65, 1), (1, 1))]))
    with pytest.raises(PlanError, match=r"^/.*tall\.tflite: operator .* kernel has 65 rows"):
        compile_model(path)


def test_budget_counts_all_ram() -> None:
    """The least that a refusal names can be had, and no byte less."""

    def ram_of(budget: int) -> int | float | str:
        return compile_model(DIGITS_INT8, CompileOptions(PlanOptions(ram=budget))).report[
            "ram_bytes"
        ]

    with pytest.raises(PlanError, match=r"no plan of .* within 100 bytes.*fullest when") as refusal:
        ram_of(100)
    least = int(re.findall(r"(\d+) with all RAM", str(refusal.value))[0])
    assert ram_of(least) == least
    with pytest.raises(PlanError, match=f"{least} with all RAM"):
        ram_of(least - 1)
    need = compile_model(DIGITS_INT8).report["ram_bytes"]
    assert isinstance(need, int)
    for budget in (least + 50, need - 1, need):
        ram = ram_of(budget)
        assert isinstance(ram, int)
        assert ram <= budget


def test_state_bytes_are_those_of_a_32_bit_chip() -> None:
    ffi, _ = native.load()

    def size(kind: Any) -> int:
        if kind.kind == "array":
            return int(kind.length * size(kind.item))
        return 4 if kind.kind == "pointer" else int(ffi.sizeof(kind))

    structs = [ffi.typeof(f"struct nrw_{name}") for name in ("model", "run")]
    assert sum(size(field.type) for s in structs for _, field in s.fields) == STATE_BYTES
