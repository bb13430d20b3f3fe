# SPDX-License-Identifier: Apache-2.0
"""``narrows report``: what its page says, value by value. test_report_page.py looks at the page."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Narrows
from narrows import __file__ as narrows_package
from narrows.blob import parse_blob
from narrows.cli import main
from narrows.cli.plan import read_network
from narrows.compare import Comparison, Difference
from narrows.errors import BlobError
from narrows.graph.names import distinct_names
from narrows.models import DIGITS_FLOAT, DIGITS_INT8
from narrows.native import Op
from narrows.pack import pack
from narrows.planning import PlanOptions
from narrows.planning.planner import plan
from narrows.planning.random_plan import random_plan
from narrows.planning.timeline import row_lives
from narrows.report.arena import arena_json, spans
from narrows.report.front import Front, front
from narrows.report.page import report_page
from narrows.report.plans import Names, dumps, front_json, one_by_one
from narrows.report.quality import bars, comparison_json
from narrows.report.views import View, blob_view, plan_view
from narrows.sides import Layer, Side
from random_graphs import random_graph, seeds
from test_plan_cli import live_by_hand
from test_variables import streaming_graph

HOSTILE = '</script><img src=x onerror="document.body.dataset.hacked=1">&amp;\'`<!--'


def unpacked(text: str) -> Any:
    """What the page unpacks of a plan."""
    return json.loads(zlib.decompress(base64.b64decode(text)))


def page_data(page: str) -> Any:
    """The data of a page, as its script reads it."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


@pytest.fixture(scope="module")
def digits() -> Front:
    return front([read_network(str(DIGITS_INT8))], PlanOptions())


# --- Views --------------------------------------------------------------------------------------


def assert_alike(a: View, b: View) -> None:
    """The same stages at the same times in the same places; tensors may have other numbers."""
    assert np.array_equal(a.occupied.order, b.occupied.order)
    assert np.array_equal(a.occupied.live, b.occupied.live)
    assert len(a.stages) == len(b.stages)
    for one, other in zip(a.stages, b.stages, strict=True):
        assert (one.form, one.strip, one.macs, one.macs_once, one.names[-1]) == (
            (other.form, other.strip, other.macs, other.macs_once, other.names[-1])
        )
        # A blob knows how many operators an inverted residual has, and no more of them.
        assert len(one.parts) == len(other.parts)

    def places(view: View) -> list[Any]:
        # A blob does not know what its variables are called.
        return sorted(
            (
                t.kind,
                t.offset,
                t.kind == "variable" or t.name,
                [(s.offset, s.size, s.first.tolist()) for s in t.item.slots],
            )
            for t in view.occupied.tenants
        )

    assert places(a) == places(b)


@pytest.mark.parametrize("seed", seeds(40, 8))
def test_a_blob_tells_what_its_plan_was(seed: int) -> None:
    graph = random_graph(seed, size=7)
    planned = random_plan(graph, random.Random(seed))
    view = plan_view(graph, planned)
    assert_alike(view, blob_view(parse_blob(pack(graph, planned, {}))))


@pytest.mark.parametrize("seed", seeds(16, 4))
def test_of_a_blob_with_variables(seed: int) -> None:
    graph = streaming_graph(seed)
    planned = random_plan(graph, random.Random(seed))
    assert_alike(plan_view(graph, planned), blob_view(parse_blob(pack(graph, planned, {}))))


def test_operators_in_words() -> None:
    graph = read_network(str(DIGITS_INT8))
    planned = plan(graph)
    parts = [stage.parts for stage in plan_view(graph, planned).stages]
    assert parts[0] == ("input",)
    assert parts[1][:2] == ("conv 3×3/2", "depthwise 3×3")
    of_blob = [stage.parts for stage in blob_view(parse_blob(pack(graph, planned, {}))).stages]
    assert of_blob[:3] == parts[:3]


def test_a_blob_that_stalls_is_refused() -> None:
    graph = read_network(str(DIGITS_INT8))
    planned = plan(graph)
    input_ring = graph.inputs[0].tensor
    rings = tuple(
        replace(ring, capacity=graph.tensors[ring.tensor].width)
        if ring.tensor == input_ring
        else ring
        for ring in planned.rings
    )
    blob = parse_blob(pack(graph, replace(planned, rings=rings), {}))
    assert blob.model.stages[0].op is Op.INPUT
    with pytest.raises(BlobError, match="stalls"):
        blob_view(blob)


def test_a_board_gives_times(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "x.html"
    options = ("--board", "nucleo-f446re", "--effort", "fast", "-o", str(page))
    assert main(["report", "zoo:ds_cnn", *options]) == 0
    data = page_data(page.read_text())
    assert "MHz" in data["clock"]
    for shown in data["front"]["plans"]:
        assert 0.001 < shown["seconds"] < 1
    assert ["board", "nucleo-f446re"] in data["lines"]


# --- The arena ----------------------------------------------------------------------------------


def live_of_json(arena: dict[str, Any], size: int) -> np.ndarray[Any, Any]:
    """Bytes in use in each unit, by painting what the page would draw."""
    units = len(arena["live"])
    used = np.zeros((units, size), bool)
    for _, _, offset, slots in arena["tenants"]:
        for at, length, steps in slots:
            time = 0
            for gap, lived in zip(steps[::2], steps[1::2], strict=True):
                time += gap
                used[time : time + lived, offset + at : offset + at + length] = True
                time += lived
            assert time <= units
    return used


@pytest.mark.parametrize("unit", [1, 3])
def test_the_arena_by_hand(unit: int) -> None:
    graph = read_network(str(DIGITS_INT8))
    planned = plan(graph)
    view = plan_view(graph, planned)
    arena = arena_json(view, unit)
    live, _ = live_by_hand(view.occupied, planned.arena_total)
    units = [live[i : i + unit] for i in range(0, len(live), unit)]
    assert arena["live"] == [max(some) for some in units]
    painted = live_of_json(arena, planned.arena_total).sum(axis=1)
    if unit == 1:
        assert painted.tolist() == live
    assert (painted >= arena["live"]).all()
    for time, stage in enumerate(arena["at"]):
        most = unit * time + int(np.argmax(units[time]))
        assert stage == view.occupied.order[most]
    peak = arena["peak"]
    assert peak["bytes"] == max(live)
    assert peak["firing"] == live.index(max(live))
    assert sum(size for _, size in peak["held"]) == max(live)
    json.dumps(arena)  # plain numbers


def test_spans_meet() -> None:
    assert spans(np.array([0, 4, 6]), np.array([1, 5, 9]), 1) == [0, 2, 2, 6]
    assert spans(np.array([0, 4, 6]), np.array([1, 5, 9]), 2) == [0, 1, 1, 3]
    assert spans(np.array([7]), np.array([7]), 4) == [1, 1]


def test_rows_by_hand() -> None:
    """When each row is first written and last read, by going through all firings."""
    graph = read_network(str(DIGITS_INT8))
    view = plan_view(graph, plan(graph))
    net = view.timeline.net
    for tensor in view.timeline.rings:
        width, height = net.widths[tensor], graph.tensors[tensor].height
        births, deaths = np.full(height, -1), np.full(height, -1)
        fired = [0] * len(net.stages)
        for time, number in enumerate(view.occupied.order):
            stage, f = net.stages[number], fired[number]
            fired[number] += 1
            for source, lo in zip(stage.inputs, stage.lo, strict=True):
                if source == tensor:  # all from lo on may still be read
                    rows = np.arange(int(lo[f]) // width, height)
                    deaths[rows[births[rows] >= 0]] = time
            if stage.output == tensor:
                before, given = (int(stage.given[f - 1]) if f else 0), int(stage.given[f])
                rows = np.arange(before // width, -(-given // width)) if given > before else []
                births[[row for row in rows if births[row] < 0]] = time
                deaths[rows] = time
        if tensor in net.held:
            deaths[:] = len(view.occupied.order) - 1
        found = row_lives(view.timeline, tensor)
        assert found[0].tolist() == births.tolist()
        assert found[1].tolist() == deaths.tolist()


# --- Plans and their costs ----------------------------------------------------------------------


def test_the_front_as_values(digits: Front) -> None:
    found, names = digits, Names()
    graph = found.choices[0].graph
    value = front_json(found, PlanOptions(), names)
    layers = value["plans"][value["layers"]]
    alone = one_by_one(graph, PlanOptions())
    assert layers["ram"] == alone.ram_bytes
    assert layers["ram"] > max(c.ram_bytes for c in found.choices)
    of_layers = unpacked(layers["detail"])
    for stage in of_layers["stages"]:
        assert len(stage["parts"]) == 1
        assert stage.get("instructions") == stage.get("alone")
    costs = sum(stage.get("alone", 0) for stage in of_layers["stages"])
    for number, choice in enumerate(found.choices):
        shown = value["plans"][number]
        assert (shown["arena"], shown["ram"]) == (choice.plan.arena_total, choice.ram_bytes)
        assert (shown["macs"], shown["macs_once"]) == (choice.plan.macs, choice.plan.macs_once)
        detail = unpacked(shown["detail"])
        assert detail["unit"] == 1
        assert sum(stage["macs"] for stage in detail["stages"]) == choice.plan.macs
        # Whatever is fused, by itself each operator takes what it takes.
        total = sum(stage.get("alone", 0) for stage in detail["stages"])
        assert abs(total - costs) <= len(graph.ops)
        parts = sum(len(stage["parts"]) for stage in detail["stages"] if stage.get("alone"))
        assert parts == len(graph.ops)
        known = [names.json()[number][1] for number, *_ in detail["tensors"]]
        assert known == [tensor.name for tensor in graph.tensors]


def test_an_arena_that_is_too_large_is_told_in_longer_units(
    digits: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    def details() -> list[Any]:
        value = front_json(digits, PlanOptions(), Names())
        return [unpacked(shown["detail"]) for shown in value["plans"]]

    whole = details()
    room = max(len(dumps(detail)) for detail in whole) - 1
    monkeypatch.setattr("narrows.report.plans._LARGEST_ARENA", room)
    cut = details()
    assert {detail["unit"] for detail in whole} == {1}
    assert {detail["unit"] for detail in cut} == {1, 2}
    for detail in cut:
        assert len(dumps(detail)) <= room
        assert len(detail["live"]) == -(-detail["firings"] // detail["unit"])


def test_histograms_show_what_was_seen() -> None:
    counts = np.zeros(8, np.int64)
    counts[2:5] = 1, 0, 100
    shown = bars(counts, -4.0, 4.0)
    assert shown is not None
    assert (shown["low"], shown["high"]) == (-2.0, 1.0)
    assert shown["bars"] == [16, 0, 100]
    assert bars(np.zeros(8, np.int64), -1, 1) is None


def test_what_is_no_number_is_left_out() -> None:
    layer = Layer("x", "conv", (1, 1, 2), True)
    difference = Difference(layer, layer, 2, 2, math.inf, None, math.nan, None, 1.5)
    found = Comparison(False, 1, (difference,), (), (), None, ())
    side = Side("m", True, (layer,), (0,), (0,), (), None, (), lambda inputs, only: [])
    (shown,) = json.loads(dumps(comparison_json(side, side, found, Names())))["layers"]
    assert "most" not in shown
    assert "decibels" not in shown
    assert shown["drop"] == 1.5


# --- Names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["model/conv2d_3/Conv2D;model/bn/FusedBatchNormV3", "model/conv2d/Conv2D"], None),
        (["net/block_1/add/add", "net/block_1/expand/relu", "net/block_2/expand/relu"], None),
        (["a", "a/b", "a/b/c"], ["a", "a/b", "c"]),
        (["x", "model/dense/BiasAdd"], ["x", "dense"]),
        (["x;one", "x;two"], ["x", "x"]),
        (["", "/", "3/4"], ["", "", "3/4"]),
    ],
)
def test_the_shortest_part_that_tells_names_apart(
    names: list[str], short: list[str] | None
) -> None:
    expected = {
        2: ["conv2d_3", "conv2d"],
        3: ["add", "block_1/expand", "block_2"],
    }
    assert distinct_names(names) == (short or expected[len(names)])


def test_no_name_takes_long() -> None:
    deep = ["/".join(f"p{i % 7}" for i in range(50_000)) + f"/{n}" for n in range(3)]
    assert all(len(name) <= 40 for name in distinct_names([*deep, "x" * 100_000]))


# --- The page -----------------------------------------------------------------------------------


def test_names_cannot_leave_the_data() -> None:
    names = Names()
    names.number(HOSTILE)
    page = report_page(HOSTILE, names, {"lines": [["model", HOSTILE + "\u2028"]]})
    data = page_data(page)
    assert data["title"] == HOSTILE == data["names"][0][1]
    assert data["lines"] == [["model", HOSTILE + "\u2028"]]
    assert "<img" not in page
    assert page.count("</script>") == 2
    assert "<title>&lt;/script&gt;" in page


def test_the_page_allows_itself_nothing_else() -> None:
    page = report_page("x", Names(), {})
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    for tag, source in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{source} 'sha256-{digest}'" in policy.group(1)
    assert policy.group(1).startswith("default-src 'none';")
    assert "unsafe" not in policy.group(1)
    assert not re.search(r"(src|href)=[\"']?http|@import|url\(", page)
    # Whoever gets the page gets the licence of what is in it.
    assert "Copyright (c) 2022 Leon Sorokin" in page
    assert "@@" not in page


def test_the_bundle_is_the_released_one() -> None:
    """uPlot 1.6.32 as npm has it."""
    folder = Path(narrows_package).parent / "report" / "web" / "uplot"
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in folder.glob("uPlot.*")
    }
    assert digests == {
        "uPlot.iife.min.js": "19c8d4c6ad88929a",
        "uPlot.min.css": "df630c6a8d6f8eea",
    }


# --- The command --------------------------------------------------------------------------------


def test_a_model_and_its_blob(
    capsys: pytest.CaptureFixture[str], digits_blob: Path, tmp_path: Path
) -> None:
    pages = {}
    for name, file in (("model", DIGITS_INT8), ("blob", digits_blob)):
        page = tmp_path / f"{name}.html"
        assert main(["report", str(file), "-o", str(page)]) == 0
        assert str(page) in capsys.readouterr().out
        pages[name] = page_data(page.read_text())
    of_model, of_blob = pages["model"]["front"], pages["blob"]["front"]
    chosen = of_model["plans"][of_model["chosen"]]
    assert len(of_model["plans"]) > 4
    assert of_blob["layers"] is None
    (only,) = of_blob["plans"]
    assert (only["arena"], only["macs"]) == (chosen["arena"], chosen["macs"])
    details = unpacked(chosen["detail"]), unpacked(only["detail"])
    assert details[0]["live"] == details[1]["live"]


def test_float_and_another_side(narrows: Narrows, digits_blob: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(-128, 128, (3, 32, 32, 1)).astype(np.int8)
    np.save(tmp_path / "x.npy", x)
    page = tmp_path / "page.html"
    done = narrows(
        *("report", DIGITS_INT8, "--effort", "fast", "--float", DIGITS_FLOAT),
        *("--against", digits_blob, "--data", tmp_path / "x.npy", "--count", 2, "-o", page),
    )
    assert done.returncode == 0, done.stderr
    data = page_data(page.read_text())
    quality, comparison = data["quality"], data["comparison"]
    assert (quality["unit"], comparison["unit"]) == ("dB", "bytes")
    assert len(quality["layers"]) > 15
    assert all("decibels" in layer and "range" in layer for layer in quality["layers"])
    assert all(layer["differing"] == 0 for layer in comparison["layers"])
    assert ["inputs", "2"] in comparison["lines"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--float", DIGITS_FLOAT), "--float needs --data"),
        (("--data", DIGITS_FLOAT), "--data is for --float or --against"),
        (("--against", DIGITS_INT8, "--count", "0"), "--count 0: give 1 or more"),
    ],
)
def test_options_that_lack_others(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: tuple[object, ...], words: str
) -> None:
    page = tmp_path / "x.html"
    assert main(["report", str(DIGITS_INT8), "-o", str(page), *map(str, options)]) == 2
    assert words in capsys.readouterr().err
    assert not page.exists()


def test_what_is_not_trained_is_like_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ("--float", str(DIGITS_FLOAT), "--data", str(DIGITS_FLOAT))
    assert main(["report", "zoo:ds_cnn", "-o", str(tmp_path / "x.html"), *options]) == 2
    assert "is not trained" in capsys.readouterr().err


def test_a_blob_has_its_plan(
    capsys: pytest.CaptureFixture[str], digits_blob: Path, tmp_path: Path
) -> None:
    page = tmp_path / "x.html"
    assert main(["report", str(digits_blob), "--ram", "64K", "-o", str(page)]) == 2
    assert "which has its plan" in capsys.readouterr().err
