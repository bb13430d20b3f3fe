# SPDX-License-Identifier: Apache-2.0
"""Calibrates the planner's cost model against instructions counted in QEMU, and says how far off
it is.

    python tests/bench/cost_model.py [--fit] [--update] [--layout blocked] [--kernels mve]

--fit: first profile many plans of many networks stage by stage, and find the instructions of each
loop and call (``pyfront/narrows/planning/costs``). Then the shared networks are planned with
that and measured as wholes: the error of each, and what each costs beside layers one by one.
--update: store what was measured in ``tests/budget/cost.json``, which a test predicts anew.
--layout: of the weights; --kernels: their implementation. Of others than the plain and portable
ones, only the fit is of interest.
Measurements are kept in the user's cache, by firmware and blob.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from narrows import zoo
from narrows.boards import load_board
from narrows.errors import PlanError
from narrows.graph.qgraph import QGraph
from narrows.importers import load
from narrows.link import firmware, open_target
from narrows.native import Layout
from narrows.pack import pack
from narrows.planning import cost
from narrows.planning.candidates import Tiling
from narrows.planning.cost import Work
from narrows.planning.plan import Plan
from narrows.planning.planner import PlanOptions, plan
from narrows.planning.random_plan import random_plan
from narrows.planning.rates import costs_file, rates
from narrows.quantization.lower import lower

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "models"
STORED = ROOT / "tests" / "budget" / "cost.json"
BOARDS = {
    (Layout.PLAIN, "c"): str(ROOT / "tests" / "board" / "portable.toml"),
    (Layout.BLOCKED, "c"): str(ROOT / "tests" / "board" / "blocked.toml"),
    (Layout.BLOCKED, "fast"): "mps2-an385",
    (Layout.PAIRED, "dsp"): "mps2-an386",
    (Layout.PLAIN, "mve"): "mps3-an547",
}
NETWORKS = (
    "mlperf_ad01_int8",
    "mlperf_kws_int8",
    "mlperf_resnet_int8",
    "mlperf_vww_96_int8",
    "tinyengine_vww",
    "mobilenet_v2_1.0_224_ptq",
)
LAYERS = PlanOptions(materialize=True, fuse=False)
MOST_ERROR = 0.10
OVERHEAD = 1.05
TICK = 40.0  # instructions that the board's timer tells apart
# A fit with relative errors would have 1, with absolute ones 0: small stages count less.
RELATIVE = 0.75
# Relative errors above that are taken for what the counts do not say.
GOOD_ERROR = 0.005
ROUNDS = 8

FloatArray: TypeAlias = npt.NDArray[np.float64]
Rows: TypeAlias = "list[tuple[Work, float]]"
"""What was done, and the instructions that it took."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Instructions of one inference, and of each stage of the plan."""

    total: float
    stages: list[float]


def shared_network(name: str) -> QGraph:
    """One of the shared models."""
    return lower(load(SHARED / f"{name}.tflite"))


def measure(graph: QGraph, planned: Plan) -> Measured:
    """Run once on the board, or recall it."""
    blob = pack(graph, planned, None)
    board = BOARDS[planned.layout, planned.kernels]
    image = firmware.build(load_board(board))
    key = hashlib.sha256(image.read_bytes() + blob).hexdigest()[:32]
    kept = firmware.cache_dir() / "measured" / f"{key}.json"
    if not kept.is_file():
        rng = np.random.default_rng(0)
        tensors = [graph.tensors[edge.tensor] for edge in graph.inputs]
        shapes = [(t.height, t.width, t.channels) for t in tensors]
        inputs = [rng.integers(-128, 128, shape).astype(np.int8) for shape in shapes]
        with open_target(f"qemu:{board}", blob) as target:
            result = target.infer(inputs, profile=True)
        first = len(graph.inputs)
        stages = [s.cost for s in result.profile[first : first + len(planned.stages)]]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps([result.instructions, stages]))
    return Measured(*json.loads(kept.read_text()))


# --- What to learn from --------------------------------------------------------------------


def lessons(layout: Layout, kernels: str) -> Iterator[tuple[str, QGraph, Plan]]:
    """Plans of many kinds, with every kernel in them."""
    default = PlanOptions(layout=layout, kernels=kernels)
    layers = replace(LAYERS, layout=layout, kernels=kernels)
    graphs = {name: shared_network(name) for name in NETWORKS[:-1]}
    for name, options in (
        ("mobilenet_v2", {"width": 0.35, "size": 96}),
        ("mobilenet_v3", {"width": 0.35, "size": 64}),
    ):
        graphs[name] = lower(zoo.quantized(name, samples=1, **options))
    for name, graph in graphs.items():
        for options in (layers, default, replace(default, tiling=Tiling(16, 4, 0))):
            yield name, graph, plan(graph, options)
        for seed in range(3):
            yield name, graph, random_plan(graph, Random(seed), (layout,))
    wide = lower(zoo.quantized("deeplab_v3", samples=1, width=0.35, size=65, upsample=True))
    yield "deeplab_v3", wide, plan(wide, layers)
    yield "deeplab_v3", wide, random_plan(wide, Random(0), (layout,))
    sys.path.insert(0, str(ROOT / "tests" / "py"))
    from random_graphs import random_graph

    for seed in range(16):
        graph = random_graph(seed, 12)
        yield f"random {seed}", graph, random_plan(graph, Random(seed), (layout,))


def tightest(graph: QGraph) -> Plan | None:
    """A plan that computes elements twice; None if there is none that saves by that."""
    arena = plan(graph).arena_total
    for share in (0.75, 0.85, 0.95):
        with suppress(PlanError):
            return plan(graph, PlanOptions(ram=int(share * arena)))
    return None


# --- Fit -----------------------------------------------------------------------------------


def fit(rows: Rows) -> dict[str, float]:
    """Instructions of each kind of work: none negative, least squares, rows weighted. Rows that
    the counts do not explain count less (Huber's weights)."""
    counted = ("macs.", "bytes.flash")
    names = sorted({n for done, _ in rows for n in done if not n.startswith(counted)})
    table = np.array([[done[name] for name in names] for done, _ in rows], np.float64)
    measured = np.array([value for _, value in rows])
    weight = measured**-RELATIVE
    trust = np.ones(len(rows))
    for _ in range(ROUNDS):
        found = non_negative(table * (weight * trust)[:, None], measured * weight * trust)
        error = np.abs(table @ found / measured - 1)
        trust = np.sqrt(GOOD_ERROR / np.maximum(error, GOOD_ERROR))
    return {name: round(float(x), 3) for name, x in zip(names, found, strict=True)}


def non_negative(a: FloatArray, b: FloatArray) -> FloatArray:
    """x >= 0 with the least |a x - b|: Lawson and Hanson, Solving Least Squares Problems, 23."""
    scale = np.linalg.norm(a, axis=0)
    scale[scale == 0] = 1.0
    a = a / scale
    x = np.zeros(a.shape[1])
    free = np.zeros(a.shape[1], bool)
    while True:
        gain = np.where(free, -np.inf, a.T @ (b - a @ x))
        if free.all() or gain.max() <= 1e-9 * np.linalg.norm(b):
            return x / scale
        free[gain.argmax()] = True
        while True:
            trial = np.zeros_like(x)
            trial[free] = np.linalg.lstsq(a[:, free], b, rcond=None)[0]
            wrong = free & (trial <= 0)
            if not wrong.any():
                break
            step = (x[wrong] / (x[wrong] - trial[wrong])).min()
            x = np.maximum(0, x + step * (trial - x))
            free &= x > 1e-12
            x[~free] = 0
        x = trial


def calibrate(layout: Layout, kernels: str) -> None:
    """Measure lessons, and store what they teach."""
    stages, edges = measured_lessons(layout, kernels)
    found = {**fit(stages), **fit(edges)}
    errors = [abs(cost.priced(done, found) / value - 1) for done, value in stages]
    spread = {share: round(float(np.quantile(errors, share)), 4) for share in (0.5, 0.9, 1.0)}
    print(f"{len(stages)} stages; share of them and their error: {spread}")
    store(layout, kernels, found, spread)


def measured_lessons(layout: Layout, kernels: str) -> tuple[Rows, Rows]:
    """Of all stages, and of each network's edges."""
    stages: Rows = []
    edges: Rows = []
    for name, graph, planned in lessons(layout, kernels):
        measured = measure(graph, replace(planned, kernels=kernels))
        *works, outside = cost.plan_work(graph, planned)
        stages += zip(works, (max(TICK, value) for value in measured.stages), strict=True)
        edges.append((outside, max(TICK, measured.total - sum(measured.stages))))
        print(f"{name}: {len(planned.stages)} stages, {measured.total / 1e6:.2f} M", flush=True)
    return stages, edges


def store(
    layout: Layout, kernels: str, found: dict[str, float], spread: dict[float, float]
) -> None:
    """Write the coefficients, with what they were measured with, and how far off they are.

    spread: below which relative error which share of single stages stays.
    """
    board = load_board(BOARDS[layout, kernels])
    compiler = subprocess.run(
        ["arm-none-eabi-gcc", "--version"], check=True, capture_output=True, text=True
    )
    table = {
        "board": board.name,
        "compiler": compiler.stdout.splitlines()[0],
        "flags": [*board.core.flags, "-O2"],
        "stage_errors": spread,
        "instructions": found,
    }
    costs_file(layout, kernels).write_text(json.dumps(table, indent=2) + "\n")
    rates.cache_clear()


# --- Check ---------------------------------------------------------------------------------


def judged() -> Iterator[tuple[str, str, QGraph, Plan]]:
    """The shared networks: the layers first, then default, then plans that compute twice."""
    for name in NETWORKS:
        graph = shared_network(name)
        yield name, "layers", graph, plan(graph, LAYERS)
        yield name, "default", graph, plan(graph)
        tiled = plan(graph, PlanOptions(tiling=Tiling(0, 4, 0)))
        if tiled.macs > tiled.macs_once:
            yield name, "tiled", graph, tiled
        tight = tightest(graph)
        if tight is not None:
            yield name, "tight", graph, tight


def judge() -> dict[str, Any]:
    """Measure the shared networks; a line each."""
    found: dict[str, dict[str, Any]] = {}
    layers = 0.0
    for name, kind, graph, planned in judged():
        total = measure(graph, planned).total
        layers = total if kind == "layers" else layers
        error = cost.plan_instructions(graph, planned) / total - 1
        ratio, allowed = total / layers, OVERHEAD * planned.mac_factor
        print(
            f"{name:26} {kind:8} {planned.arena_total:8} bytes {total / 1e6:9.2f} M {error:+6.1%}"
            f"   x{ratio:.3f} of layers, allowed x{allowed:.3f}"
            + ("  TOO MUCH" if ratio > allowed else "")
            + ("  ERROR" if abs(error) > MOST_ERROR else ""),
            flush=True,
        )
        stages = [
            [
                s.ops,
                s.strip,
                s.form.name,
                s.slice,
                s.row_tile,
                s.col_tile,
                s.kept_rows,
                s.state.bytes,
            ]
            for s in planned.stages
        ]
        found.setdefault(name, {})[kind] = {"instructions": total, "stages": stages}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--fit", action="store_true", help="find the coefficients anew")
    parser.add_argument("--update", action="store_true", help="store what was measured")
    names = sorted({layout.name.lower() for layout, _ in BOARDS})
    parser.add_argument("--layout", choices=names, default="plain", help="of the weights")
    implementations = sorted({kernels for _, kernels in BOARDS})
    parser.add_argument("--kernels", choices=implementations, default="c", help="their code")
    arguments = parser.parse_args()
    layout = Layout[arguments.layout.upper()]
    if (layout, arguments.kernels) not in BOARDS:
        parser.error(f"no board has {arguments.kernels} kernels for layout {arguments.layout}")
    if arguments.fit:
        calibrate(layout, arguments.kernels)
    if (layout, arguments.kernels) != (Layout.PLAIN, "c"):
        return 0
    found = judge()
    if arguments.update:
        STORED.write_text(json.dumps({"board": BOARDS[layout, "c"], "networks": found}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
