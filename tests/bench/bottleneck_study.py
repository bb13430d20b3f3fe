# SPDX-License-Identifier: Apache-2.0
"""The study of the MobileNetV2 paper's section 5.1 (arXiv 1801.04381): an inverted residual whose
inner channels are computed in t parts, so that the inner tensor never exists as a whole.

The paper recommends t between 2 and 5. Each block of MobileNetV2 stands alone here, its input
and output whole as in the paper; t goes from 1 to one channel at a time, and the tile from the
whole picture (the paper's case) to a part of a row.

python tests/bench/bottleneck_study.py [--width W] [--size S] [--measure] [--plot FILE.png]
    [--json FILE] [--write]

--measure runs every block and counts its instructions in QEMU, some minutes for --size 96;
--write renews the committed table.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from narrows import zoo
from narrows.boards import load_board
from narrows.files import write_file
from narrows.graph.qgraph import Edge, QGraph
from narrows.native import Form, Layout, Model
from narrows.pack import pack
from narrows.planning.candidates import Candidates, fusions
from narrows.planning.plan import Plan
from narrows.planning.timeline import lay_out, simulated
from narrows.planning.verify import verify_plan
from narrows.quantization.lower import lower
from narrows.report.front import choice
from narrows.report.plots import new_figure, png
from narrows.stages.fusion import bottleneck, is_pointwise
from narrows.stages.stage import Stage
from narrows.targets import open_target

RESULTS = Path(__file__).with_suffix(".md")
BOARD = "mps2-an386"
CORE = load_board(BOARD).core
LAYOUT = Layout[CORE.layout.upper()]
PARTS = (1, 2, 3, 4, 5, 8, 16, 0)
"""0: one channel at a time."""


@dataclass(frozen=True)
class Tile:
    """rows: 0 for all; parts: into how many each row is cut."""

    name: str
    rows: int
    parts: int = 1


TILES = (Tile("whole", 0), Tile("1 row", 1), Tile("1/4 row", 1, 4))


@dataclass(frozen=True)
class Point:
    """One block computed in one way.

    t: into how many parts the inner channels are cut, or one channel at a time.
    arena_bytes: with input and output, whose bytes are edge_bytes.
    macs: repeats included; macs_once: without.
    instructions: predicted or measured.
    """

    block: int
    tile: str
    t: str
    arena_bytes: int
    edge_bytes: int
    macs: int
    macs_once: int
    instructions: float


def blocks(graph: QGraph) -> Iterator[QGraph]:
    """Every inverted residual as a network of its own."""
    by_depthwise: dict[int, tuple[int, ...]] = {}
    for group in fusions(graph):
        parts = bottleneck(graph, group)
        inverted = parts.expand is not None and is_pointwise(parts.expand)
        if inverted and parts.project is not None:
            by_depthwise[parts.depthwise.output] = group  # the longest comes last
    for number, group in enumerate(by_depthwise.values(), 1):
        parts = bottleneck(graph, group)
        yield QGraph(
            f"block {number}",
            graph.tensors,
            tuple(graph.ops[i] for i in group),
            (edge(graph, parts.input),),
            (edge(graph, parts.output),),
        )


def edge(graph: QGraph, tensor: int) -> Edge:
    """A tensor as an input or output of type int8."""
    info = graph.tensors[tensor]
    shape = (1, info.height, info.width, info.channels)
    return Edge(info.name, tensor, "int8", shape, info.scale, info.zero_point)


def planned(block: QGraph, tile: Tile, slice_: int) -> Plan:
    """A block in tiles and slices, its input and output whole."""
    ops = tuple(range(len(block.ops)))
    ends = (block.inputs[0].tensor, block.outputs[0].tensor)
    out = block.tensors[ends[1]]
    rows = min(tile.rows or out.height, out.height)
    columns = math.ceil(out.width / tile.parts)
    candidates = Candidates(block, LAYOUT, kernels=CORE.kernels)
    chosen = [candidates.make(Stage(ops, out.width, Form.TILED, slice_, rows, columns))]
    whole = {t: block.tensors[t].height * block.tensors[t].width for t in ends}
    found = lay_out(simulated(block, chosen, whole), chosen, layout=LAYOUT, kernels=CORE.kernels)
    verify_plan(block, found)
    return found


def study(graph: QGraph, measure: bool) -> Iterator[Point]:
    """Every block in every way."""
    for number, block in enumerate(blocks(graph), 1):
        mid = bottleneck(block, tuple(range(len(block.ops)))).depthwise.weights.shape[2]
        ends = (block.inputs[0].tensor, block.outputs[0].tensor)
        for tile in TILES:
            for t in PARTS:
                plan = planned(block, tile, math.ceil(mid / (t or mid)))
                yield Point(
                    number,
                    tile.name,
                    str(t) if t else "one channel",
                    plan.arena_total,
                    sum(block.tensors[i].bytes for i in ends),
                    plan.macs,
                    plan.macs_once,
                    measured(block, plan) if measure else choice(block, plan).instructions,
                )


def measured(block: QGraph, plan: Plan) -> int:
    """Instructions of one inference on the board."""
    blob = pack(block, plan, None)
    shape = Model(blob).inputs[0].shape
    picture = np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)
    with open_target(f"qemu:{BOARD}", blob) as target:
        found = target.infer([picture]).instructions
    assert found is not None
    return found


@dataclass(frozen=True)
class Total:
    """All blocks computed in one way. ram: relative to inputs and outputs; macs, instructions: to
    each block as one part and one tile."""

    tile: str
    t: str
    ram: float
    macs: float
    instructions: float


def totals(points: Sequence[Point]) -> list[Total]:
    """One for each way."""
    ways: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        ways.setdefault((point.tile, point.t), []).append(point)
    cost = sum(p.instructions for p in next(iter(ways.values())))
    return [
        Total(
            tile,
            t,
            sum(p.arena_bytes for p in way) / sum(p.edge_bytes for p in way),
            sum(p.macs for p in way) / sum(p.macs_once for p in way),
            sum(p.instructions for p in way) / cost,
        )
        for (tile, t), way in ways.items()
    ]


def report(title: str, how: str, points: Sequence[Point]) -> str:
    """The tables."""
    every = totals(points)
    macs = {total.tile: total.macs for total in every}
    heads = [f"{tile}: RAM | instructions" for tile in macs]
    lines = [
        f"## {title}, instructions {how}",
        "",
        f"The {len({p.block for p in points})} blocks with an expansion, by tile and t; the paper "
        "recommends a t between 2",
        "and 5. RAM: of arenas, relative to inputs and outputs, which they hold whole;",
        "instructions: relative to blocks computed at once. MACs, since the halo of a tile is",
        f"computed again: {', '.join(f'{tile} x{factor:.2f}' for tile, factor in macs.items())}.",
        "",
        f"| t | {' | '.join(heads)} |",
        "|---:|" + "---:|---:|" * len(heads),
    ]
    for t in dict.fromkeys(total.t for total in every):
        row = [f"{total.ram:.2f} | {total.instructions:.3f}" for total in every if total.t == t]
        lines.append(f"| {t} | {' | '.join(row)} |")
    ways = [(tile, t) for tile in ("whole", "1 row") for t in ("1", "2", "5", "one channel")]
    lines += [
        "",
        "Arena of each block in bytes, by tile and t.",
        "",
        "| block | input + output | " + " | ".join(f"{tile}, {t}" for tile, t in ways) + " |",
        "|---:|---:|" + "---:|" * len(ways),
    ]
    for number in sorted({p.block for p in points}):
        mine = {(p.tile, p.t): p for p in points if p.block == number}
        edges = mine[ways[0]].edge_bytes
        cells = [f"{n:,}" for n in (edges, *(mine[way].arena_bytes for way in ways))]
        lines.append(f"| {number} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(title: str, points: Sequence[Point]) -> bytes:
    """t against RAM and instructions, a line per tile, the paper's range shaded."""
    figure = new_figure(12, 4.5)
    every = totals(points)
    names = list(dict.fromkeys(total.t for total in every))
    for axes, what in zip(figure.subplots(1, 2), ("ram", "instructions"), strict=True):
        for tile in TILES:
            values = [getattr(total, what) for total in every if total.tile == tile.name]
            axes.plot(names, values, "o-", label=f"tile: {tile.name}")
        axes.axvspan("2", "5", color="0.9", zorder=0, label="the paper's t")
        axes.set(xlabel="t", yscale="log", title=title)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
        axes.set_ylabel({"ram": "RAM, in inputs + outputs"}.get(what, f"{what}, relative"))
    return png(figure)


def main() -> int:
    """Study and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--plot", metavar="FILE.png", type=Path)
    parser.add_argument("--json", metavar="FILE", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    graph = lower(zoo.shapes("mobilenet_v2", width=arguments.width, size=arguments.size))
    points = list(study(graph, arguments.measure))
    how = "counted in QEMU (Cortex-M4)" if arguments.measure else "predicted"
    title = f"MobileNetV2 {arguments.width:g} {arguments.size}"
    text = report(title, how, points)
    print(text)
    if arguments.plot:
        write_file(arguments.plot, plot(f"{title}, instructions {how}", points))
    if arguments.json:
        write_file(arguments.json, json.dumps([asdict(p) for p in points], indent=1).encode())
    if arguments.write:
        RESULTS.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
