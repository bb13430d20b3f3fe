# SPDX-License-Identifier: Apache-2.0
"""What the constants of the planner's search are worth: each is varied by itself, and networks are
planned again. Shown against the values in use: the arenas of all networks (geometric mean), the
largest change of one, and the planning of all (of the processor).

python tests/bench/search_constants.py [--only NAME] [--write]

--write renews the committed table.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from narrows import zoo
from narrows.files import write_file
from narrows.graph.qgraph import QGraph
from narrows.planning import effort
from narrows.planning.effort import BOUNDS, Effort
from narrows.planning.planner import PlanOptions, plan
from narrows.quantization.lower import lower

sys.path.insert(0, str(Path(__file__).parents[1] / "py"))
from random_graphs import random_graph

RESULTS = Path(__file__).with_suffix(".md")
NETWORKS: Sequence[tuple[str, Mapping[str, float]]] = (
    ("ds_cnn", {}),
    ("resnet8", {}),
    ("mobilenet_v1", {"width": 0.25, "size": 96}),
    ("mobilenet_v2", {"width": 0.35, "size": 144}),
    ("mobilenet_v2", {"width": 1.0, "size": 224}),
    ("mobilenet_v3", {}),
)
SEEDS = range(24)
"""Random graphs that are planned too."""

VALUES: Mapping[str, Sequence[float]] = {
    "UNITS": (320, 1280),
    "FINENESS": (1.15, 1.6),
    "SCRATCH_STEP": (1.07, 1.3),
    "WORTHWHILE": (0.0, 0.002),
    "GUESS": (0.5, 0.85),
    "LIKENESS": (0.7, 1.0),
    "PLACE_ROUNDS": (100, 1600),
    "LEAST_NEAR": (2, 8),
    "OVERHEAD": (1.02, 1.1),
    "CLOSER": (0.97, 0.997),
    "MOST_SLOTS": (64, 4096),
    "SLICE": (8, 32),
    "misses": (10, 160),
    "rounds": (2000, 32000),
}
"""Other values of each constant. A name in small letters is a bound of ``effort.BOUNDS``."""


@dataclass(frozen=True)
class Outcome:
    """arenas: bytes of every network. seconds: of all."""

    arenas: tuple[int, ...]
    seconds: float

    def change(self, usual: Outcome) -> float:
        """How much larger the arenas are than usual, as a share; their geometric mean."""
        ratios = [math.log(a / b) for a, b in zip(self.arenas, usual.arenas, strict=True)]
        return math.exp(sum(ratios) / len(ratios)) - 1

    def largest(self, usual: Outcome) -> float:
        """The change of the arena that changes most."""
        changes = [a / b - 1 for a, b in zip(self.arenas, usual.arenas, strict=True)]
        return max(changes, key=abs)


def networks() -> Iterator[QGraph]:
    """Networks of people, then random ones, which find what these do not."""
    for name, options in NETWORKS:
        yield lower(zoo.shapes(name, **options))
    for seed in SEEDS:
        yield random_graph(seed, size=7)


def planned(graphs: Sequence[QGraph]) -> Outcome:
    """The default plans."""
    begun = time.process_time()
    arenas = tuple(plan(graph, PlanOptions()).arena_total for graph in graphs)
    return Outcome(arenas, time.process_time() - begun)


@contextmanager
def having(name: str, value: float) -> Iterator[None]:
    """The planner with another value of a constant."""
    if name.islower():
        usual = BOUNDS[Effort.NORMAL]
        effort.BOUNDS[Effort.NORMAL] = replace(usual, **{name: int(value)})
        try:
            yield
        finally:
            effort.BOUNDS[Effort.NORMAL] = usual
        return
    modules = [m for key, m in sys.modules.items() if key.startswith("narrows.planning.")]
    holders = [module for module in modules if hasattr(module, name)]
    (before,) = {getattr(module, name) for module in holders}
    try:
        for module in holders:
            setattr(module, name, value)
        yield
    finally:
        for module in holders:
            setattr(module, name, before)


def value_of(name: str) -> float:
    """The value in use."""
    if name.islower():
        return float(getattr(BOUNDS[Effort.NORMAL], name))
    modules = [m for key, m in sys.modules.items() if key.startswith("narrows.planning.")]
    return float(next(getattr(m, name) for m in modules if hasattr(m, name)))


def rows(names: Sequence[str]) -> Iterator[str]:
    """The lines of the table."""
    graphs = list(networks())
    planned(graphs)  # what is loaded or cached at the first time
    usual = planned(graphs)
    yield f"# What the constants of the search are worth, over {len(graphs)} networks\n"
    yield "| constant | in use | instead | arenas | the largest change | planning |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name in names:
        for value in VALUES[name]:
            with having(name, value):
                found = planned(graphs)
            yield (
                f"| {name} | {value_of(name):g} | {value:g} | {found.change(usual):+.2%} "
                f"| {found.largest(usual):+.1%} | {found.seconds / usual.seconds - 1:+.0%} |"
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--only", choices=VALUES, help="one constant")
    parser.add_argument("--write", action="store_true", help=f"renew {RESULTS.name}")
    arguments = parser.parse_args()
    lines = []
    for line in rows([arguments.only] if arguments.only else list(VALUES)):
        print(line, flush=True)
        lines.append(line)
    if arguments.write:
        write_file(RESULTS, ("\n".join(lines) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
