# SPDX-License-Identifier: Apache-2.0
"""How the RAM of MobileNetV2 grows with its input and its width, and the time of planning with
the number of layers. Default plans, of shapes alone.

python tests/bench/growth.py [--plot FILE.png] [--json FILE] [--write]

--write renews the committed table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from narrows import zoo
from narrows.files import write_file
from narrows.graph.qgraph import Edge, QGraph
from narrows.plan.planner import plan
from narrows.plan.ram import ram_bytes
from narrows.plan.search import cut_points
from narrows.quantize.lower import lower
from narrows.report.plots import new_figure, png

RESULTS = Path(__file__).with_suffix(".md")
SIZES = (96, 128, 160, 192, 224, 288, 352, 416, 512)
WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
SIZE, WIDTH = 224, 1.0
LAYERS = 8
"""How many beginnings of the network are planned."""


@dataclass(frozen=True)
class Point:
    """One plan. layer_by_layer: bytes of the most demanding operator's inputs and output;
    seconds: of the processor."""

    study: str
    width: float
    size: int
    layers: int
    layer_by_layer: int
    arena_bytes: int
    ram_bytes: int
    seconds: float


def points() -> Iterator[Point]:
    """Everything that is measured."""
    for size in SIZES:
        yield point("input", WIDTH, size, network(WIDTH, size))
    for width in WIDTHS:
        yield point("width", width, SIZE, network(width, SIZE))
    graph = network(WIDTH, SIZE)
    ends = [*cut_points(graph), len(graph.ops)]
    for number in range(1, LAYERS + 1):
        end = ends[number * len(ends) // LAYERS - 1]
        yield point("layers", WIDTH, SIZE, beginning(graph, end))


def network(width: float, size: int) -> QGraph:
    """MobileNetV2."""
    return lower(zoo.shapes("mobilenet_v2", width=width, size=size))


def beginning(graph: QGraph, end: int) -> QGraph:
    """The first operators of a network, up to a cut."""
    tensor = graph.ops[end - 1].output
    info = graph.tensors[tensor]
    shape = (1, info.height, info.width, info.channels)
    output = Edge(info.name, tensor, "int8", shape, info.scale, info.zero_point)
    return QGraph(graph.name, graph.tensors, graph.ops[:end], graph.inputs, (output,))


def point(study: str, width: float, size: int, graph: QGraph) -> Point:
    """Plan a network, by default."""
    began = time.process_time()
    found = plan(graph)
    seconds = time.process_time() - began
    whole = max(sum(graph.tensors[t].bytes for t in {*op.inputs, op.output}) for op in graph.ops)
    total = ram_bytes(graph, found)
    return Point(
        study, width, size, len(graph.ops), whole, found.arena_total, total, round(seconds, 2)
    )


def report(found: Sequence[Point]) -> str:
    """The table."""
    lines = [
        "## Growth of MobileNetV2's default plan",
        "",
        "| width | input | layer by layer | arena | RAM | share | planning |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for p in found:
        if p.study != "layers":
            lines.append(
                f"| {p.width:g} | {p.size} | {p.layer_by_layer:,} | {p.arena_bytes:,} "
                f"| {p.ram_bytes:,} | 1/{p.layer_by_layer / p.ram_bytes:.1f} | {p.seconds:.1f} s |"
            )
    lines += ["", f"Planning the first operators ({WIDTH:g}, {SIZE}).", ""]
    lines += ["| operators | planning |", "|---:|---:|"]
    lines += [f"| {p.layers} | {p.seconds:.1f} s |" for p in found if p.study == "layers"]
    return "\n".join(lines)


def plot(found: Sequence[Point]) -> bytes:
    """Three pictures side by side."""
    figure = new_figure(14, 4.5)
    axes = figure.subplots(1, 3)
    studies = {p.study: [q for q in found if q.study == p.study] for p in found}
    for place, study in zip(axes, ("input", "width"), strict=False):
        mine = studies[study]
        x = [p.size if study == "input" else p.width for p in mine]
        place.plot(x, [p.layer_by_layer / 1024 for p in mine], "o-", label="layer by layer")
        place.plot(x, [p.ram_bytes / 1024 for p in mine], "o-", label="planned")
        unit = "height and width" if study == "input" else "multiplier"
        place.set(title=study, xlabel=unit, ylabel="RAM [KiB]", yscale="log")
        place.legend()
    mine = studies["layers"]
    axes[2].plot([p.layers for p in mine], [p.seconds for p in mine], "o-")
    axes[2].set(title="planning", xlabel="operators", ylabel="seconds", ylim=(0, None))
    for place in axes:
        place.grid(alpha=0.3, which="both")
    return png(figure)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plot", metavar="FILE.png", type=Path)
    parser.add_argument("--json", metavar="FILE", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    found = list(points())
    text = report(found)
    print(text)
    if arguments.plot:
        write_file(arguments.plot, plot(found))
    if arguments.json:
        write_file(arguments.json, json.dumps([asdict(p) for p in found], indent=1).encode())
    if arguments.write:
        RESULTS.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
