# SPDX-License-Identifier: Apache-2.0
"""``narrows plan``: the front, what it says of the arena, and its pictures."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Narrows
from models import INT8_NETWORKS, network
from narrows import zoo
from narrows.cli.plan import read_network
from narrows.compiler import CompileOptions, compile_model
from narrows.errors import ToolError, UsageError
from narrows.importers import load
from narrows.models import DIGITS_INT8
from narrows.planning import PlanOptions, verify_plan
from narrows.planning.occupancy import Occupancy, occupancy
from narrows.planning.plan import Plan
from narrows.planning.planner import plan
from narrows.planning.ram import ram_bytes
from narrows.quantization.lower import lower
from narrows.report.explain import explain
from narrows.report.front import Choice, Front, front, undominated
from narrows.report.plots import plot_arena, plot_front, require_plots
from random_graphs import random_graph


@pytest.fixture(scope="module")
def digits() -> Front:
    return front([lower(load(DIGITS_INT8))], PlanOptions())


# --- The front ---------------------------------------------------------------------------------


def test_no_plan_of_the_front_beats_another(digits: Front) -> None:
    best = [c for c in digits.choices if c is not digits.choices[digits.chosen]]
    assert len(best) > 3
    for one, next_ in pairwise(best):
        assert one.ram_bytes > next_.ram_bytes
        assert one.instructions < next_.instructions
    graph = lower(load(DIGITS_INT8))
    for c in digits.choices:
        verify_plan(graph, c.plan)
        assert c.ram_bytes == ram_bytes(graph, c.plan)


def test_the_marked_plan_is_the_one_that_compile_takes(digits: Front) -> None:
    compiled = compile_model(DIGITS_INT8)
    assert digits.choices[digits.chosen].plan == compiled.plan
    assert digits.choices[digits.chosen].ram_bytes == compiled.report["ram_bytes"]


def test_progress_rises_to_one() -> None:
    seen: list[float] = []
    front([lower(zoo.shapes("ds_cnn"))], PlanOptions(), lambda _, done: seen.append(done))
    assert len(seen) > 3
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_random_graphs(seed: int) -> None:
    """Branches, several inputs and outputs; and a network without operators."""
    graph = random_graph(seed, size=7)
    for g in (graph, replace(graph, ops=(), outputs=graph.inputs, variables=())):
        found = front([g], PlanOptions())
        planned = found.choices[found.chosen].plan
        occupied = occupancy(g, planned)
        e = explain(found, occupied)
        assert e.bound_bytes <= planned.arena_total
        assert (e.larger is None) == (found.chosen == 0)
        assert (e.smaller is None) == (found.chosen == len(found.choices) - 1)
        assert size_of(plot_front("random", found)) > (400, 300)
        assert size_of(plot_arena("random", occupied, planned.arena_total)) > (400, 300)


def test_what_is_beaten_goes() -> None:
    graph = lower(zoo.shapes("ds_cnn"))
    planned = plan(graph)
    points = [(100, 5.0), (90, 5.0), (90, 6.0), (80, 4.0), (70, 9.0), (60, 9.5), (60, 9.5)]
    kept = undominated([Choice(graph, planned, *point) for point in points])
    assert [(c.ram_bytes, c.instructions) for c in kept] == [(80, 4.0), (70, 9.0), (60, 9.5)]


# --- The arena ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INT8_NETWORKS)
def test_offsets_are_within_one_percent_of_the_bound(name: str) -> None:
    graph = lower(load(network(name)))
    planned = plan(graph)
    occupied = occupancy(graph, planned)
    assert occupied.bound <= planned.arena_total <= 1.01 * occupied.bound


def live_by_hand(occupied: Occupancy, arena_bytes: int) -> tuple[list[int], bool]:
    """Bytes in use per firing by painting every byte, and whether two tenants ever share one."""
    counts = np.zeros((len(occupied.order), arena_bytes), np.int16)
    for tenant in occupied.tenants:
        for slot in tenant.item.slots:
            start = tenant.offset + slot.offset
            for first, last in zip(slot.first, slot.last, strict=True):
                counts[first : last + 1, start : start + slot.size] += 1
    return (counts > 0).sum(axis=1).tolist(), bool((counts > 1).any())


def test_occupancy_by_hand() -> None:
    graph = lower(load(DIGITS_INT8))
    planned = plan(graph)
    occupied = occupancy(graph, planned)
    live, shared = live_by_hand(occupied, planned.arena_total)
    assert not shared
    assert live == occupied.live.tolist()
    assert live[occupied.peak] == max(live)
    held = occupied.held(occupied.peak)
    assert sum(size for _, size in held) == max(live)
    assert held[0][1] == max(size for _, size in held)


def test_memories_follow_each_other() -> None:
    graph = lower(load(DIGITS_INT8))
    planned = plan(graph)
    at = 1 << 28
    moved = replace(
        planned,
        rings=tuple(replace(ring, offset=ring.offset + at) for ring in planned.rings),
        arena_bytes=(planned.arena_total, planned.arena_total, 0, 0),
    )
    for before, after in zip(
        occupancy(graph, planned).tenants, occupancy(graph, moved).tenants, strict=True
    ):
        further = planned.arena_total if before.kind == "ring" else 0
        assert after.offset == before.offset + further


def test_the_explanation_adds_up(digits: Front) -> None:
    chosen = digits.choices[digits.chosen]
    e = explain(digits, occupancy(lower(load(DIGITS_INT8)), chosen.plan))
    assert sum(held.bytes for held in e.held) <= e.bound_bytes < sum(h.bytes for h in e.held) + 16
    assert e.bound_bytes <= chosen.plan.arena_total
    assert e.larger is not None
    assert e.smaller is not None
    assert e.larger.ram_bytes == digits.choices[digits.chosen - 1].ram_bytes - chosen.ram_bytes > 0
    assert e.smaller.ram_bytes < 0


# --- Pictures ----------------------------------------------------------------------------------


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        return image.size


def test_pictures(digits: Front) -> None:
    assert size_of(plot_front("digits", digits)) > (400, 300)
    planned: Plan = digits.choices[digits.chosen].plan
    occupied = occupancy(lower(load(DIGITS_INT8)), planned)
    full = plot_arena("digits", occupied, planned.arena_total)
    empty = plot_arena("digits", replace(occupied, tenants=occupied.tenants[:1]), 1 << 20)
    with Image.open(io.BytesIO(full)) as one, Image.open(io.BytesIO(empty)) as other:
        dark = [np.asarray(image.convert("L")).mean() for image in (one, other)]
    assert dark[0] < dark[1]


def test_without_matplotlib_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ToolError, match="pip install matplotlib"):
        require_plots()


# --- The command -------------------------------------------------------------------------------


def test_the_command(narrows: Narrows, tmp_path: Path) -> None:
    files = {key: tmp_path / f"{key}.out" for key in ("json", "plot", "arena")}
    options = [part for key, path in files.items() for part in (f"--{key}", path)]
    done = narrows("plan", DIGITS_INT8, "--ram", "4K", "--explain", *options)
    assert done.returncode == 0, done.stderr
    report = json.loads(files["json"].read_text())
    chosen = report["chosen"]
    compiled = compile_model(DIGITS_INT8, CompileOptions(PlanOptions(ram=4096)))
    for key in ("arena_bytes", "ram_bytes", "macs", "max_step_macs"):
        assert chosen[key] == compiled.report[key]
    assert chosen["ram_bytes"] <= 4096
    assert chosen["bound_bytes"] <= chosen["arena_bytes"]
    assert [f["ram_bytes"] for f in report["front"]] == sorted(
        (f["ram_bytes"] for f in report["front"]), reverse=True
    )
    assert report["front"][0]["relative"] == 1.0
    (marked,) = (line for line in done.stdout.splitlines() if line.startswith("*  "))
    assert f"{chosen['ram_bytes']:,}" in marked
    for word in (chosen["stage"], "live at once", "of the instructions", "scratch"):
        assert word in done.stdout
    assert size_of(files["plot"].read_bytes()) > (400, 300)
    assert size_of(files["arena"].read_bytes()) > (400, 300)


def test_a_network_of_the_zoo(narrows: Narrows) -> None:
    done = narrows("plan", "zoo:ds_cnn", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "ds_cnn"
    assert read_network("zoo:mobilenet_v2,width=0.35,size=96").tensors[0].height == 96
    for text, message in (
        ("zoo:alexnet", "no network 'alexnet'"),
        ("zoo:mobilenet_v2,depth=3", "no option 'depth'"),
        ("zoo:mobilenet_v2,size", "'size': give options as in zoo:"),
        ("zoo:mobilenet_v2,size=big", "'size=big': give options as in zoo:"),
    ):
        with pytest.raises(UsageError, match=message):
            read_network(text)


def test_shapes_are_those_of_the_calibrated_network() -> None:
    quick, real = (
        lower(make("mobilenet_v2", width=0.35, size=64)) for make in (zoo.shapes, zoo.quantized)
    )
    assert [op.kind for op in quick.ops] == [op.kind for op in real.ops]
    shapes = [[(t.height, t.width, t.channels) for t in g.tensors] for g in (quick, real)]
    assert shapes[0] == shapes[1]
    assert plan(quick) == plan(real)


def test_a_budget_that_cannot_be_kept(narrows: Narrows) -> None:
    done = narrows("plan", DIGITS_INT8, "--ram", "1K")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    for word in ("within 1024 bytes", "with all RAM", "fullest when"):
        assert word in line
