# SPDX-License-Identifier: Apache-2.0
"""What README and documentation state of figures and operators is so."""

from __future__ import annotations

import json
import re

import pytest

from conftest import ROOT
from documented import BOARD, SCRATCH, STORED, anew, measure, parts
from figured import figures_by_key
from models import INT8_NETWORKS, need, network
from narrows import zoo
from narrows.compiler import compile_model
from narrows.models import DIGITS_INT8
from narrows.planning.occupancy import occupancy
from narrows.planning.planner import plan
from narrows.planning.ram import beside_arena, ram_bytes
from narrows.quantization.lower import lower
from pages import README, all_pages
from tflm_operators import GAPS, gaps

MOST_README_LINES = 100
GROWTH = 1.02  # as of all figures of QEMU
FIGURES = json.loads(STORED.read_text())


def test_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_README_LINES


def test_every_operator_of_tflite_micro_is_supported_or_has_a_reason() -> None:
    listed = [name for names in GAPS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert gaps() == set(listed)


def test_generated_parts_are_up_to_date() -> None:
    known, figures = parts(), figures_by_key()
    for path in all_pages():
        text = path.read_text(encoding="utf-8")
        assert anew(text, known, figures) == text, (
            f"{path.name}: write it anew: python tests/py/documented.py"
        )


def test_every_part_is_shown() -> None:
    shown = "".join(path.read_text(encoding="utf-8") for path in all_pages())
    assert all(f"<!-- {name}: begin -->" in shown for name in parts())


def test_unknown_figures_are_errors() -> None:
    with pytest.raises(KeyError, match="no such figure"):
        anew("<!-- =no such figure -->1<!-- = -->", {}, {})
    with pytest.raises(KeyError, match="no such part"):
        anew("<!-- no such part: begin -->\n<!-- no such part: end -->", {}, {})
    assert anew("a <!-- =b -->1<!-- = --> c", {}, {"b": "2"}) == "a <!-- =b -->2<!-- = --> c"


def test_the_peak_of_mobilenet_is_as_the_design_says() -> None:
    """Every line of the list: bytes, and which ring, state or scratch it is."""
    text = (ROOT / "runtime" / "DESIGN.md").read_text(encoding="utf-8")
    listed = text.split("`narrows plan zoo:mobilenet_v2 --explain` prints", 1)[1]
    graph = lower(zoo.shapes("mobilenet_v2"))
    planned = plan(graph)
    occupied = occupancy(graph, planned)
    held = occupied.held(occupied.peak)
    rows = re.findall(
        r"^\| ([\d,]+) \| (ring|rings|state|scratch) of (?:the )?(.*?) \|", listed, re.M
    )
    found = {}
    for size, kind, names in rows:
        for name in re.findall(
            r"[a-z]\w*/\w+|input", names.split(",")[0] if kind == "state" else names
        ):
            found[kind.removesuffix("s") if kind == "rings" else kind, name] = size
    assert found.keys() == {(tenant.kind, tenant.name) for tenant, _ in held}
    for size in set(found.values()):
        own = [n for tenant, n in held if found[tenant.kind, tenant.name] == size]
        assert f"{sum(own):,}" == size
    alive = sum(n for _, n in held)
    assert f"| **{alive:,}** | alive at once |" in listed
    assert f"the arena has {planned.arena_total:,} bytes" in text
    assert f"Beside the arena stand {beside_arena(graph, planned):,} bytes" in text
    place = (occupied.peak, len(occupied.order))
    assert "firing {:,} of {:,}".format(*place) in " ".join(text.split())


@pytest.mark.parametrize("name", [DIGITS_INT8.stem, *INT8_NETWORKS])
def test_arenas_are_as_stated(name: str) -> None:
    path = DIGITS_INT8 if name == DIGITS_INT8.stem else network(name)
    stated = FIGURES["networks"][name]["portable"]["arena"]
    assert compile_model(path).plan.arena_total == stated, (
        "measure anew: python tests/py/documented.py --figures"
    )


def test_a_network_on_a_board_is_as_stated() -> None:
    """The least of them; others are measured by board/test_cores.py, for plans of their own."""
    need("qemu-system-arm", "arm-none-eabi-gcc")
    stated = FIGURES["networks"]["mlperf_ad01_int8"]["dsp"]
    compiled = compile_model(network("mlperf_ad01_int8"))
    ram = ram_bytes(compiled.qgraph, compiled.plan) + SCRATCH
    found = measure(network("mlperf_ad01_int8"), BOARD, ram)
    assert found.arena == stated["arena"]
    assert found.ram <= stated["ram"] * GROWTH
    assert found.instructions <= stated["instructions"] * GROWTH
