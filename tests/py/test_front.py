# SPDX-License-Identifier: Apache-2.0
"""The front of memory plans, run and not only predicted; and what budgets must be enough for."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import ROOT
from models import INT8_NETWORKS, need, network
from narrows import zoo
from narrows.blob import parse_blob
from narrows.graph.edges import decode, encode
from narrows.graph.qgraph import QGraph
from narrows.importers import load
from narrows.link import open_target
from narrows.native import Run
from narrows.pack import pack
from narrows.planning import PlanOptions
from narrows.planning.cost import plan_instructions
from narrows.planning.planner import OVERHEAD, plan, plan_front
from narrows.quantization.lower import lower
from oracle import Oracle

BOARD = str(ROOT / "tests" / "board" / "portable.toml")
KIB = 1024


@pytest.mark.parametrize("name", INT8_NETWORKS)
def test_every_plan_of_the_front_runs(name: str) -> None:
    """On the host, and three of them on a board: TFLite Micro's bytes, the arena that was
    predicted, and no more instructions than the arithmetic explains."""
    path = network(name)
    graph = lower(load(path))
    points = list(plan_front(graph))
    layers = plan_instructions(graph, plan(graph, PlanOptions(materialize=True, fuse=False)))
    blobs = [parse_blob(pack(graph, point.plan, {}), name) for point in points]
    (edge,) = blobs[0].inputs
    rng = np.random.default_rng(3)
    if edge.dtype == "float32":
        values = rng.uniform(-1, 1, edge.shape).astype(np.float32)
    else:
        info = np.iinfo(edge.dtype)
        values = rng.integers(info.min, info.max + 1, edge.shape).astype(edge.dtype)
    inside = [encode(edge, values)]
    expected = Oracle(path.read_bytes()).run([values], len(graph.outputs))

    for point, blob in zip(points, blobs, strict=True):
        assert blob.model.arena_bytes == point.plan.arena_total
        assert point.instructions <= OVERHEAD * layers * point.plan.mac_factor
        for out, found, wanted in zip(
            blob.outputs, Run(blob.model).infer(inside), expected, strict=True
        ):
            np.testing.assert_array_equal(decode(out, found), wanted)

    need("arm-none-eabi-gcc", "qemu-system-arm")
    for number in sorted({0, len(points) // 2, len(points) - 1}):
        blob = blobs[number]
        with open_target(f"qemu:{BOARD}", blob.data) as target:
            result = target.infer(inside)
        assert result.arena_bytes == points[number].plan.arena_total
        assert result.instructions == pytest.approx(points[number].instructions, rel=0.1)
        for out, found, wanted in zip(blob.outputs, result.outputs, expected, strict=True):
            np.testing.assert_array_equal(decode(out, found), wanted)


def shapes(width: float, size: int) -> QGraph:
    return lower(zoo.shapes("mobilenet_v2", width=width, size=size))


@pytest.mark.parametrize(
    ("name", "kib", "mac_factor"),
    [
        ("mobilenet_v2_1.0_224_ptq", 78, 1.0),
        ("mobilenet_v2_1.0_224_ptq", 58, 1.08),
        ("mobilenet_v2_1.0_224_ptq", 48, 1.25),
        ("mobilenet_v2_1.0_224_ptq", 44, 1.25),
        ("mobilenet_v2 1.4 224", 110, 1.0),
        ("mobilenet_v2 1.4 224", 83, 1.08),
        ("mobilenet_v2 0.35 144", 18.5, 1.0),
        ("mobilenet_v2 0.35 144", 14, 1.09),
        ("mobilenet_v2 0.35 144", 10, 1.4),
        ("tinyengine_vww", 12, 1.0),
        ("tinyengine_vww", 9.5, 1.25),
        ("mlperf_vww_96_int8", 11, 1.0),
        ("mlperf_vww_96_int8", 8, 1.25),
        ("mlperf_resnet_int8", 9.5, 1.0),
        ("mlperf_kws_int8", 4.2, 1.0),
    ],
)
def test_a_budget_is_enough(name: str, kib: float, mac_factor: float) -> None:
    """Arenas of so many KiB, at so much arithmetic."""
    if name.startswith("mobilenet_v2 "):
        _, width, size = name.split()
        graph = shapes(float(width), int(size))
    else:
        graph = lower(load(network(name)))
    options = PlanOptions() if mac_factor == 1.0 else PlanOptions(ram=int(kib * KIB))
    found = plan(graph, options)
    assert found.arena_total <= kib * KIB
    assert found.mac_factor <= mac_factor
    assert found.input_passes == 1
