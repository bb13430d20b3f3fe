# SPDX-License-Identifier: Apache-2.0
"""The page of ``narrows report`` in a browser: what is seen, and what the mouse does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from browser import Browser, chromium
from conftest import Narrows
from models import network
from narrows.cli.plan import read_network
from narrows.graph.qgraph import QGraph, QLookup, QTensor
from narrows.models import DIGITS_FLOAT, DIGITS_INT8
from narrows.planning import PlanOptions
from narrows.report.front import Front, front
from narrows.report.page import report_page
from narrows.report.plans import Names, front_json, one_by_one
from random_graphs import random_graph
from test_report import HOSTILE
from test_variables import streaming_graph

WIDTHS = (400, 1400)
_LARGEST_PAGE = 4 << 20


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def written(path: Path, graph: QGraph, found: Front) -> Path:
    """The page of a front."""
    names = Names()
    value = front_json(found, PlanOptions(), names)
    path.write_text(report_page(graph.name, names, {"front": value}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def digits(folder: Path) -> Path:
    """The default model's page, with names as a malicious file has them."""
    graph = read_network(str(DIGITS_INT8))
    tensors = tuple(
        replace(t, name=f"net/layer_{i}/{HOSTILE};{'long_name/' * 200}")
        for i, t in enumerate(graph.tensors)
    )
    graph = replace(graph, name=HOSTILE, tensors=tensors)
    return written(folder / "digits.html", graph, front([graph], PlanOptions()))


@pytest.fixture(scope="module")
def quantization(folder: Path, narrows: Narrows) -> Path:
    """What ``narrows quantize`` writes."""
    x = np.random.default_rng(0).uniform(0, 1, (4, 32, 32, 1)).astype(np.float32)
    np.save(folder / "x.npy", x)
    page = folder / "quantization.html"
    options = ("--data", folder / "x.npy", "--method", "minmax", "--report", page)
    done = narrows("quantize", DIGITS_FLOAT, *options, "-o", folder / "q.tflite")
    assert done.returncode == 0, done.stderr
    return page


@pytest.fixture(scope="module")
def deep(folder: Path) -> Path:
    """A network of 150 layers."""
    tensor = replace(read_network(str(DIGITS_INT8)).tensors[0], height=12, width=12, channels=4)
    count = 150
    tensors = [replace(tensor, name=f"model/layer_{i}/Relu6") for i in range(count + 1)]
    graph = deep_graph(tensors)
    found = Front((one_by_one(graph, PlanOptions()),), 0)
    return written(folder / "deep.html", graph, found)


def deep_graph(tensors: list[QTensor]) -> QGraph:
    """A chain of tables."""
    base = read_network(str(DIGITS_INT8))
    ops = tuple(QLookup((i,), i + 1, bytes(range(256)), "abs") for i in range(len(tensors) - 1))
    edges = [
        replace(base.inputs[0], name=name, tensor=number, shape=(1, *tensors[0].shape))
        for name, number in (("x", 0), ("y", len(tensors) - 1))
    ]
    return QGraph("deep", tuple(tensors), ops, (edges[0],), (edges[1],))


@pytest.fixture(scope="module")
def variables(folder: Path) -> Path:
    """The page of a network that remembers, with several branches."""
    graph = streaming_graph(3)
    return written(folder / "variables.html", graph, Front((one_by_one(graph, PlanOptions()),), 0))


@pytest.fixture(scope="module")
def nothing(folder: Path) -> Path:
    """The page of a network without operators."""
    graph = random_graph(0, size=7)
    graph = replace(graph, ops=(), outputs=graph.inputs, variables=())
    return written(folder / "nothing.html", graph, front([graph], PlanOptions()))


# --- What is seen -------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["digits", "quantization", "deep", "variables", "nothing"])
def test_nothing_is_wrong(
    browser: Browser, request: pytest.FixtureRequest, name: str, width: int
) -> None:
    page: Path = request.getfixturevalue(name)
    assert page.stat().st_size < _LARGEST_PAGE
    browser.open(page, width)
    assert browser.complaints() == []
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run("return innerWidth") == width
    # Nothing stands beyond the right edge but what scrolls in a box of its own.
    beyond = browser.run(
        "return [...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll') &&"
        " e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 200))"
    )
    assert beyond == []
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    places = ["#front-plot", "#arena-map", *(["#costs-plot"] if name != "nothing" else [])]
    for place in places:
        assert painted(browser, place) > 2, place


def painted(browser: Browser, place: str) -> int:
    """How many colours are on a plot."""
    found: int = browser.run(
        "const c = document.querySelector(arguments[0] + ' canvas');"
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        "const seen = new Set(); for (let i = 0; i < d.length; i += 4)"
        " if (d[i + 3] === 255) seen.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]);"
        "return seen.size",
        place,
    )
    return found


def test_hostile_names_are_text(browser: Browser, digits: Path) -> None:
    browser.open(digits)
    assert browser.run("return document.body.dataset.hacked") is None
    assert browser.run("return document.images.length") == 0
    assert browser.run("return document.getElementById('title').textContent") == HOSTILE
    shown = browser.run("return [...document.querySelectorAll('.stage .name')].map(e => e.title)")
    assert all(HOSTILE in title for title in shown)
    assert "layer_3" in browser.run("return report.names.map(([short]) => short)")


def test_dark_mode(browser: Browser, digits: Path) -> None:
    colours = []
    for dark in (False, True):
        browser.open(digits, dark=dark)
        back = browser.run("return getComputedStyle(document.body).backgroundColor")
        text = browser.run("return getComputedStyle(document.body).color")
        axis = browser.run("return colour('soft')")
        levels = [sum(map(int, c[4:-1].split(","))) for c in (back, text)]
        colours.append((levels, axis))
    (light, axis), (dark_levels, dark_axis) = colours
    assert light[0] > 650 > 200 > light[1]
    assert dark_levels[0] < 150 < 550 < dark_levels[1]
    assert axis != dark_axis


def test_every_layer_of_a_deep_network(browser: Browser, deep: Path) -> None:
    browser.open(deep, 400)
    names = browser.run(
        "return [...document.querySelectorAll('.stage .name')].map(e => e.innerText)"
    )
    assert names == [f"layer_{i}" for i in range(151)]


def test_quantization_is_a_part_of_the_page(browser: Browser, quantization: Path) -> None:
    browser.open(quantization)
    links = browser.run("return [...document.querySelectorAll('nav a')].map(e => e.textContent)")
    assert links == [
        *("Memory plans", "The arena over time", "The network", "Cost by stage", "Quantization")
    ]
    rows = browser.run("return document.querySelectorAll('#quality tbody tr').length")
    assert rows == browser.run("return report.quality.layers.length") > 15
    histograms = browser.run("return document.querySelectorAll('#quality svg.histogram').length")
    assert rows < histograms <= 2 * rows
    browser.move("#quality .u-over", 12, 20)
    assert " dB" in tooltip(browser)


# --- What the mouse does ------------------------------------------------------------------------


def tooltip(browser: Browser) -> str:
    """What it says; "" while it is hidden."""
    text: str = browser.run(
        "const tip = document.getElementById('tip'); return tip.hidden ? '' : tip.innerText"
    )
    return text


def test_hovering_says_who_is_there(browser: Browser, digits: Path) -> None:
    browser.open(digits)
    # The middle of the largest block of the fullest moment, which is a ring.
    x, y, name, rows = browser.run(
        "const {peak, tenants} = state.detail; const m = arena.map;"
        "const tenant = tenants[peak.held.find(([n]) => tenants[n].kind === 0)[0]];"
        "const slot = tenant.slots.find((s) => lives(s, peak.firing));"
        "return [m.valToPos(middleOf(peak.firing), 'x'),"
        " m.valToPos((slot.low + slot.high) / 2, 'y'),"
        " nameOf(tensorName(state.detail, tenant.tensor)),"
        " rowWords(state.detail, tenant, peak.firing)]"
    )
    browser.move("#arena-map .u-over", x, y)
    said = tooltip(browser)
    assert said.startswith(name + "\n")
    assert f"{rows} live" in said
    assert "fullest moment" in said
    assert "is computed" in said
    browser.move("h1", 1, 1)
    assert tooltip(browser) == ""


def test_a_click_on_the_front_shows_that_plan(browser: Browser, digits: Path) -> None:
    browser.open(digits)
    before = browser.run(
        "return [state.plan, document.getElementById('arena-map').innerText,"
        " document.getElementById('moment-text').innerText]"
    )
    x, y, other = browser.run(
        "const i = front.shown.findIndex(({number}) => number === 0);"
        "const c = front.chart; const at = (j, axis) => c.valToPos(c.data[j][i], axis);"
        "return [at(0, 'x'), at(1, 'y'), report.front.plans[0].arena]"
    )
    pixels = canvas(browser)
    browser.click("#front-plot .u-over", x, y)
    browser.wait("document.body.dataset.plan === '0'")
    assert before[0] != 0
    assert browser.run("return arenaBytes(state.detail)") == other
    assert browser.run("return document.getElementById('moment-text').innerText") != before[2]
    assert f"{other:,} B" in browser.run("return document.getElementById('figures').innerText")
    assert canvas(browser) != pixels
    (layers,) = [
        b
        for b in browser.driver.find_elements("css selector", "#front-plans button")
        if b.text == "layer by layer"
    ]
    layers.click()
    browser.wait("state.plan === report.front.layers")
    assert browser.complaints() == []


def canvas(browser: Browser) -> str:
    """What is drawn of the arena."""
    url: str = browser.run("return document.querySelector('#arena-map canvas').toDataURL()")
    return url


def test_a_moment_is_held_and_zoomed_into(browser: Browser, digits: Path) -> None:
    browser.open(digits)
    browser.click("#arena-map .u-over", 30, 200)
    assert browser.run("return document.getElementById('moment-title').innerText") == (
        "At this moment"
    )
    held = browser.run("return heldAt(state.detail, Math.floor(arena.held)).map(({size}) => size)")
    cells = browser.run(
        "return [...document.querySelectorAll('#moment td.n')].map(e => e.innerText)"
    )
    assert cells == [f"{size:,}" for size in held]
    assert sum(held) == browser.run("return state.detail.live[arena.held]")
    browser.run("arena.map.setScale('x', {min: arena.at[10], max: arena.at[20]})")
    browser.wait("arena.live.scales.x.max === arena.at[20]")
    assert browser.complaints() == []


def test_a_stage_marks_its_tensor(browser: Browser, digits: Path) -> None:
    browser.open(digits, 400)
    pixels = canvas(browser)
    browser.click(".stage[data-stage='2']", 60, 10)
    assert "ring of" in tooltip(browser)
    marked = browser.run(
        "return [...document.querySelectorAll('.stage.selected')].map(e => e.dataset.stage)"
    )
    assert marked == ["2"]
    browser.wait("state.tensor !== null")
    assert canvas(browser) != pixels


# --- A large network ----------------------------------------------------------------------------


@pytest.mark.slow
def test_the_page_of_mobilenet(browser: Browser, narrows: Narrows, folder: Path) -> None:
    page = folder / "mobilenet.html"
    done = narrows("report", network("mobilenet_v2_1.0_224_ptq"), "-o", page)
    assert done.returncode == 0, done.stderr
    opened(browser, page)


def test_one_plan_of_mobilenet(browser: Browser, folder: Path) -> None:
    """As many firings as any of its plans has; the others are unpacked when they are clicked."""
    graph = read_network(str(network("mobilenet_v2_1.0_224_ptq")))
    found = Front((one_by_one(graph, PlanOptions()),), 0)
    opened(browser, written(folder / "layers.html", graph, found))


def opened(browser: Browser, page: Path) -> None:
    """Assert that it opens, and is as small as it must be."""
    assert page.stat().st_size < _LARGEST_PAGE
    for width in WIDTHS:
        browser.open(page, width)
        assert browser.complaints() == []
        assert browser.run("return document.documentElement.scrollWidth") <= width
