# SPDX-License-Identifier: Apache-2.0
"""Every weight layout computes the same, on the host and on a board whose firmware has it; firmware
without it refuses the blob by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TypeAlias

import numpy as np
import pytest

from blob_reader import Engine, read_blob
from conftest import ROOT
from models import INT8_NETWORKS, need, network
from narrows.compiler import CompileOptions, compile_model
from narrows.errors import LinkError
from narrows.files import write_file
from narrows.graph.qgraph import Int8Array, QConv, QGraph
from narrows.link import open_target
from narrows.models import DIGITS_INT8
from narrows.native import Layout, Model, Run
from narrows.pack import pack
from narrows.planning import PlanOptions, random_plan
from narrows.quantization import reference
from random_graphs import random_graph

BLOCKED_BOARD = str(ROOT / "tests" / "board" / "blocked.toml")
PAIRED_BOARD = "mps2-an386"
PLANS = 3


def some_inputs(model: Model) -> list[Int8Array]:
    rng = np.random.default_rng(0)
    return [rng.integers(-128, 128, info.shape).astype(np.int8) for info in model.inputs]


Compiled: TypeAlias = Callable[[Path, Layout], bytes]


@pytest.fixture(scope="session")
def compiled(run_folder: Path) -> Compiled:
    """The blob of a network in a layout, which one of pytest's workers makes for all."""

    def blob(path: Path, layout: Layout) -> bytes:
        made = run_folder / f"{path.stem}.{layout.name}.nrw"
        if not made.exists():
            write_file(made, compile_model(path, CompileOptions(PlanOptions(layout=layout))).blob)
        return made.read_bytes()

    return blob


def plain_weights(graph: QGraph) -> list[bytes]:
    return sorted(op.weights.tobytes() for op in graph.ops if isinstance(op, QConv))


@pytest.mark.parametrize("layout", [Layout.BLOCKED, Layout.PAIRED])
@pytest.mark.parametrize("seed", range(24))
def test_random_plans_in_a_layout(seed: int, layout: Layout) -> None:
    graph = random_graph(seed, size=8)
    for plan_seed in range(PLANS):
        planned = random_plan(graph, Random(plan_seed), (layout,))
        data = pack(graph, planned, {})
        blob = read_blob(data)  # whose reader unpacks by the page alone
        filters = [
            part
            for stage in blob.stages
            for name, part in stage.fields.items()
            if name in ("window", "expand", "project")
        ]
        found = [getattr(part, "filter", part) for part in filters]
        weights = [f.weights.astype(np.int8).tobytes() for f in found if f is not None]
        assert set(plain_weights(graph)) <= set(weights)
        assert Engine(blob).order()
        model = Model(data)
        inputs = some_inputs(model)
        for got, want in zip(Run(model).infer(inputs), reference.run(graph, inputs), strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", INT8_NETWORKS)
def test_networks_compute_the_same_in_every_layout(name: str, compiled: Compiled) -> None:
    path = network(name)
    found = []
    for layout in Layout:
        model = Model(compiled(path, layout))
        found.append([output.tobytes() for output in Run(model).infer(some_inputs(model))])
    assert all(outputs == found[0] for outputs in found)


@pytest.mark.parametrize(
    ("board", "layout"),
    [(BLOCKED_BOARD, Layout.BLOCKED), (PAIRED_BOARD, Layout.PAIRED)],
    ids=["blocked", "paired"],
)
@pytest.mark.parametrize("name", ["digits", *INT8_NETWORKS])
def test_a_board_of_the_layout_gives_the_host_s_bytes(
    name: str, board: str, layout: Layout, compiled: Compiled
) -> None:
    need("qemu-system-arm", "arm-none-eabi-gcc")
    path = DIGITS_INT8 if name == "digits" else network(name)
    blob = compiled(path, layout)
    model = Model(blob)
    inputs = some_inputs(model)
    expected = Run(model).infer(inputs)
    with open_target(f"qemu:{board}", blob) as target:
        got = target.infer(inputs).outputs
    assert [output.tobytes() for output in got] == [output.tobytes() for output in expected]


@pytest.mark.parametrize(
    ("layout", "board", "known"),
    [
        (Layout.BLOCKED, PAIRED_BOARD, "plain and paired"),
        (Layout.PAIRED, BLOCKED_BOARD, "plain and blocked"),
        (Layout.PAIRED, "mps2-an385", "plain and blocked"),
    ],
)
def test_firmware_refuses_another_layout_by_name(
    layout: Layout, board: str, known: str, compiled: Compiled
) -> None:
    need("qemu-system-arm", "arm-none-eabi-gcc")
    words = f"{layout.name.lower()} layout, the firmware has kernels for {known} alone"
    with (
        pytest.raises(LinkError, match=words),
        open_target(f"qemu:{board}", compiled(DIGITS_INT8, layout)) as target,
    ):
        target.infer([])
