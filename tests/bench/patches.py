# SPDX-License-Identifier: Apache-2.0
"""How far back from each window patches pay: where rows that two windows share are held as input of
an earlier operator, and all in between is computed anew where patches overlap.

python tests/bench/patches.py MODEL.tflite ...

A window of k rows shares k - 1 rows of its input with the next one. Held behind an operator with
rows of A bytes they take (k - 1) * A; held before operators whose strides multiply to s, of rows of
B bytes, (k - 1) * s * B. What the patches need beside, sums and halos, comes on top. Of all places,
and of those from which one stage of the planner reaches to the window, the best is named.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from narrows.cli.plan import read_network
from narrows.graph.qgraph import QConv, QDepthwise, QGraph
from narrows.planning.candidates import Wiring, fusions

DEPTH = 6
"""Operators before a window that are looked at."""


@dataclass(frozen=True)
class Reach:
    """A window, and where its rows are held: ``bytes[d]`` before the d operators before it."""

    op: int
    bytes: tuple[int, ...]

    def best(self, depths: Iterable[int]) -> int:
        """Of some places, that with the fewest bytes."""
        return min(depths, key=lambda depth: self.bytes[depth])


def reaches(graph: QGraph) -> Iterator[Reach]:
    """Of every window of more than one row."""
    wiring = Wiring(graph)
    for index, op in enumerate(graph.ops):
        if not isinstance(op, (QConv, QDepthwise)):
            continue
        rows = op.weights.shape[-3] - 1
        if rows == 0:
            continue
        held, strides, reader = [], 1, index
        for _ in range(DEPTH + 1):
            tensor = graph.ops[reader].inputs[0]
            held.append(rows * strides * graph.tensors[tensor].row_bytes)
            before = wiring.writer.get(tensor)
            if before is None or wiring.only_reader(tensor) != reader:
                break
            if not isinstance(graph.ops[before], (QConv, QDepthwise)):
                break
            strides *= graph.ops[before].stride[0]
            reader = before
        yield Reach(index, tuple(held))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    for path in parser.parse_args().models:
        graph = read_network(path)
        stages = {group[: group.index(w) + 1] for group in fusions(graph) for w in group}
        print(
            f"{graph.name}\n  operator      held: at the window, before the operators before it ..."
        )
        for reach in reaches(graph):
            op, depths = reach.op, range(len(reach.bytes))
            reached = [d for d in depths if d == 0 or tuple(range(op - d, op + 1)) in stages]
            held = " ".join(f"{size:7,}" for size in reach.bytes)
            where = f"best {reach.best(depths)} back, by a stage {reach.best(reached)}"
            print(f"  {op:3} {graph.ops[op].kind:9} {held:56} {where}")


if __name__ == "__main__":
    main()
