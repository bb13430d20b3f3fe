# SPDX-License-Identifier: Apache-2.0
"""How the RAM of MobileNetV2 grows with its input and its width, and the time of planning with
the number of blocks, operators and branches. Default plans, of shapes alone.

python tests/bench/growth.py [--plot FILE.png] [--json FILE] [--write] [--only STUDY]

--write renews the committed table. Times are of the processor.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from narrows import zoo
from narrows.files import write_file
from narrows.graph.qgraph import QGraph
from narrows.planning.planner import plan
from narrows.planning.ram import ram_bytes
from narrows.quantization.lower import lower
from narrows.report.plots import new_figure, png

sys.path.insert(0, str(Path(__file__).parents[1] / "py"))
import large_graphs

RESULTS = Path(__file__).with_suffix(".md")
SIZES = (96, 128, 160, 192, 224, 288, 352, 416, 512)
WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
SIZE, WIDTH = 224, 1.0
GROWING: dict[str, tuple[Callable[[int], QGraph], Sequence[int]]] = {
    "inverted residuals": (large_graphs.residuals, (10, 20, 40, 70, 100)),
    "convolutions": (large_graphs.convolutions, (50, 100, 200, 350, 500)),
    "lookups": (large_graphs.lookups, (50, 100, 200, 300, 500)),
    "sums of the last two": (large_graphs.ladder, (50, 100, 200, 300, 500)),
    "sums with the input": (lambda n: large_graphs.ladder(n, reach=0), (50, 100, 200, 300, 500)),
    "branches": (large_graphs.branches, (5, 10, 20, 40, 80)),
    "rows": (large_graphs.tall, (2000, 8000, 20000, 65000)),
}
"""Networks by the number of something."""
SINGLE: dict[str, Callable[[], QGraph]] = {
    "like MoveNet, 192": large_graphs.pose,
    "like SSD, 320": large_graphs.plain_detector,
    "like SSD FPNLite, 320": large_graphs.detector,
}


@dataclass(frozen=True)
class Point:
    """One plan. at: of what the study varies. layer_by_layer: bytes of the most demanding
    operator's inputs and output; seconds: of the processor."""

    study: str
    at: float
    operators: int
    layer_by_layer: int
    arena_bytes: int
    ram_bytes: int
    seconds: float


def points(only: str | None) -> Iterator[Point]:
    """Everything that is measured, or one study."""
    studies: dict[str, Iterator[tuple[float, QGraph]]] = {
        "input": ((size, network(WIDTH, size)) for size in SIZES),
        "width": ((width, network(width, SIZE)) for width in WIDTHS),
    }
    for name, (make, numbers) in GROWING.items():
        studies[name] = zip(numbers, map(make, numbers), strict=True)
    for name, build in SINGLE.items():
        studies[name] = ((1, make()) for make in (build,))
    for study, some in studies.items():
        if only in (None, study):
            yield from (point(study, at, graph) for at, graph in some)


def network(width: float, size: int) -> QGraph:
    """MobileNetV2."""
    return lower(zoo.shapes("mobilenet_v2", width=width, size=size))


def point(study: str, at: float, graph: QGraph) -> Point:
    """Plan a network, by default."""
    began = time.process_time()
    found = plan(graph)
    seconds = round(time.process_time() - began, 2)
    whole = max(sum(graph.tensors[t].bytes for t in {*op.inputs, op.output}) for op in graph.ops)
    total = ram_bytes(graph, found)
    return Point(study, at, len(graph.ops), whole, found.arena_total, total, seconds)


def report(found: Sequence[Point]) -> str:
    """The tables."""
    lines = [
        "## Growth of MobileNetV2's default plan",
        "",
        "| width | input | layer by layer | arena | RAM | share | planning |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for p in found:
        if p.study in ("input", "width"):
            width, size = (WIDTH, p.at) if p.study == "input" else (p.at, SIZE)
            lines.append(
                f"| {width:g} | {size:g} | {p.layer_by_layer:,} | {p.arena_bytes:,} "
                f"| {p.ram_bytes:,} | 1/{p.layer_by_layer / p.ram_bytes:.1f} | {p.seconds:.1f} s |"
            )
    lines += ["", "## Growth of planning", ""]
    lines += ["| network | operators | arena | planning |", "|---|---:|---:|---:|"]
    for p in found:
        if p.study not in ("input", "width"):
            name = p.study if p.study in SINGLE else f"{p.at:,g} {p.study}"
            lines.append(f"| {name} | {p.operators} | {p.arena_bytes:,} | {p.seconds:.1f} s |")
    return "\n".join(lines)


def plot(found: Sequence[Point]) -> bytes:
    """RAM by input and width; time of planning by input, blocks, operators and branches."""
    figure = new_figure(15, 9)
    axes = figure.subplots(2, 3)
    studies = {p.study: [q for q in found if q.study == p.study] for p in found}
    for place, study in zip(axes[0], ("input", "width"), strict=False):
        mine = studies.get(study, [])
        x = [p.at for p in mine]
        place.plot(x, [p.layer_by_layer / 1024 for p in mine], "o-", label="layer by layer")
        place.plot(x, [p.ram_bytes / 1024 for p in mine], "o-", label="planned")
        unit = "height and width" if study == "input" else "multiplier"
        place.set(title=study, xlabel=unit, ylabel="RAM [KiB]", yscale="log")
        place.legend()
    chains = ("convolutions", "lookups", "sums of the last two", "sums with the input")
    times = (
        (axes[0][2], ("input",), "height and width"),
        (axes[1][0], ("inverted residuals",), "blocks"),
        (axes[1][1], chains, "operators"),
        (axes[1][2], ("branches",), "branches"),
    )
    for place, names, unit in times:
        for name in names:
            mine = studies.get(name, [])
            place.plot([p.at for p in mine], [p.seconds for p in mine], "o-", label=name)
        place.set(title="planning", xlabel=unit, ylabel="seconds", ylim=(0, None))
        place.legend()
    for place in axes.flat:
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
    parser.add_argument("--only", metavar="STUDY", help="one row of networks, such as lookups")
    arguments = parser.parse_args()
    found = list(points(arguments.only))
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
