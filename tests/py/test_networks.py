# SPDX-License-Identifier: Apache-2.0
"""Whole networks: the host's bytes are TensorFlow Lite Micro's, whatever the plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from models import INT8_NETWORKS, PHOTOS, network, photo
from narrows.blob import Blob, parse_blob
from narrows.compiler import CompileOptions, compile_model
from narrows.data import load_input
from narrows.errors import InputError
from narrows.graph.edges import HostEdge, decode, encode
from narrows.graph.qgraph import Int8Array, QGraph
from narrows.native import Run
from narrows.pack import pack
from narrows.planning import PlanOptions, Tiling, random_plan
from narrows.planning.plan import Plan
from oracle import Oracle
from random_graphs import seeds

Array: TypeAlias = npt.NDArray[Any]

MOBILENET = "mobilenet_v2_1.0_224_ptq"
RANDOM_INPUTS = 16
RANDOM_PLANS = 10


@dataclass(frozen=True, eq=False)
class Case:
    """A network, its inputs as the runtime takes them, and TFLite Micro's answers."""

    path: Path
    graph: QGraph
    plan: Plan
    blob: Blob
    inputs: tuple[Int8Array, ...]
    expected: tuple[bytes, ...]


@cache
def case(name: str) -> Case:
    path = network(name)
    compiled = compile_model(path)
    blob = parse_blob(compiled.blob, name)
    (edge,) = blob.inputs
    values = [picture(edge, photo(file)) for file in PHOTOS] + made_inputs(edge)
    oracle = Oracle(path.read_bytes())
    expected = tuple(as_bytes(oracle.run([value], len(blob.outputs))) for value in values)
    inputs = tuple(encode(edge, value) for value in values)
    return Case(path, compiled.qgraph, compiled.plan, blob, inputs, expected)


def picture(edge: HostEdge, path: Path) -> Array:
    """By the package's own preparation; for an input that is no picture, grey values."""
    try:
        return load_input(edge, None, path)
    except InputError:
        shape = (1, int(np.prod(edge.shape)) // 10, 10, 1)
        grey = replace(edge, shape=shape, scale=1 / 255, zero_point=-128)
        return load_input(grey, None, path).reshape(edge.shape)


def made_inputs(edge: HostEdge) -> list[Array]:
    """Random values and the extremes, in the model's own type."""
    rng = np.random.default_rng(7)
    shape = (RANDOM_INPUTS, *edge.shape)
    low: float
    high: float
    if edge.dtype == "float32":
        # A little beyond what int8 can hold, and between its steps.
        low, high = ((v - edge.tensor_zero_point) * edge.tensor_scale for v in (-135.0, 134.0))
        values: Array = rng.uniform(low, high, shape).astype(np.float32)
    else:
        low, high = np.iinfo(edge.dtype).min, np.iinfo(edge.dtype).max
        values = rng.integers(low, high, shape, edge.dtype, endpoint=True)
    return [*values, *(np.full(edge.shape, value, edge.dtype) for value in (low, high))]


def as_bytes(outputs: list[Array]) -> bytes:
    return b"".join(output.tobytes() for output in outputs)


def check(case: Case, blob: Blob) -> None:
    """Every input through the blob gives TFLite Micro's bytes."""
    run = Run(blob.model)
    for i, (values, expected) in enumerate(zip(case.inputs, case.expected, strict=True)):
        outputs = zip(blob.outputs, run.infer([values]), strict=True)
        assert as_bytes([decode(edge, output) for edge, output in outputs]) == expected, (
            f"input {i}"
        )


@pytest.fixture(scope="module", params=INT8_NETWORKS)
def chosen(request: pytest.FixtureRequest) -> Case:
    """Module scope makes pytest go through the tests network by network."""
    return case(request.param)


def test_default_plan(chosen: Case) -> None:
    check(chosen, chosen.blob)


def test_slice_width_1(chosen: Case) -> None:
    options = PlanOptions(tiling=Tiling(slice=1))
    check(chosen, parse_blob(compile_model(chosen.path, CompileOptions(options)).blob))


@pytest.mark.parametrize("seed", seeds(RANDOM_PLANS, every=2))
def test_random_plan(chosen: Case, seed: int) -> None:
    plan = random_plan(chosen.graph, Random(seed))
    check(chosen, parse_blob(pack(chosen.graph, plan, {})))


def test_state_beside_the_arena_is_small(chosen: Case) -> None:
    """Run and model state: all RAM beside arena, stack and row buffer."""
    model = chosen.blob.model
    beside = model.memory_bytes - model.arena_bytes + model.state_bytes
    assert beside <= 16 * len(model.stages) + 256


def test_arena_is_the_planned_one(chosen: Case) -> None:
    assert chosen.blob.model.arena_bytes == chosen.plan.arena_total


def test_mobilenet_needs_little() -> None:
    plan = case(MOBILENET).plan
    assert plan.arena_total <= 128 * 1024
    assert plan.mac_factor == 1.0
    assert plan.input_passes == 1
