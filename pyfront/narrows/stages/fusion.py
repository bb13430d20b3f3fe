# SPDX-License-Identifier: Apache-2.0
"""Which operators may fire together as one bottleneck stage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from narrows.errors import PlanError
from narrows.graph.qgraph import Elementwise, QConv, QDepthwise, QElementwise, QGraph


@dataclass(frozen=True, eq=False)
class Bottleneck:
    """The operators of a bottleneck stage, section 5.1 of the MobileNetV2 paper.

    expand: any convolution without dilation; in an inverted residual it is 1x1.
    input, output: tensors of the graph that the stage reads and writes.
    grid: tensor whose pixels the depthwise filters: the expansion, or without one the input.
    expanded, filtered, projected: tensors in between; the last part's is the output.
    """

    expand: QConv | None
    depthwise: QDepthwise
    project: QConv | None
    add: QElementwise | None

    @property
    def input(self) -> int:
        return (self.expand or self.depthwise).inputs[0]

    @property
    def output(self) -> int:
        return (self.add or self.project or self.depthwise).output

    @property
    def grid(self) -> int:
        return self.depthwise.inputs[0]

    @property
    def inner(self) -> tuple[int, ...]:
        """Tensors that never stand in the arena."""
        parts = (self.expand, self.depthwise, self.project)
        return tuple(p.output for p in parts if p is not None and p.output != self.output)


def is_pointwise(op: object) -> bool:
    """Whether op is a 1x1 convolution of stride 1 without padding."""
    return (
        isinstance(op, QConv)
        and op.weights.shape[1:3] == (1, 1)
        and op.stride == (1, 1)
        and op.pad == (0, 0)
    )


@lru_cache(maxsize=1024)
def bottleneck(graph: QGraph, ops: tuple[int, ...]) -> Bottleneck:
    """The parts of the bottleneck that ``ops`` form.

    Raises: PlanError: they do not form one.
    """
    expand: QConv | None = None
    depthwise: QDepthwise | None = None
    project: QConv | None = None
    add: QElementwise | None = None
    for index in ops:
        op = graph.ops[index]
        if isinstance(op, QDepthwise) and depthwise is None and op.depth_multiplier == 1:
            depthwise = op
        elif isinstance(op, QConv) and (depthwise or expand) is None and op.dilation == (1, 1):
            expand = op
        elif isinstance(op, QConv) and is_pointwise(op) and depthwise and not (project or add):
            project = op
        elif isinstance(op, QElementwise) and op.function == Elementwise.ADD and project:
            add = op
        else:
            raise PlanError(f"operator {index} ({op.kind}) cannot be part {ops} of a bottleneck")
    if depthwise is None or not (expand or project) or depthwise.dilation != (1, 1):
        raise PlanError(f"operators {ops} do not form a bottleneck")
    found = Bottleneck(expand, depthwise, project, add)
    _check_wiring(graph, ops, found)
    return found


def _check_wiring(graph: QGraph, ops: tuple[int, ...], found: Bottleneck) -> None:
    previous = found.input
    for part in (found.expand, found.depthwise, found.project):
        if part is None:
            continue
        if part.inputs[0] != previous:
            raise PlanError(f"operators {ops} are not a chain")
        previous = part.output
    if found.add is not None:
        shapes = {
            (t.height, t.width, t.channels)
            for t in (graph.tensors[i] for i in (*found.add.inputs, found.add.output))
        }
        if set(found.add.inputs) != {previous, found.input} or len(shapes) != 1:
            raise PlanError(f"operators {ops}: the ADD does not add the input to the projection")
        inside = found.depthwise.pad[0] < found.depthwise.weights.shape[0]
        if previous == found.input or found.depthwise.stride != (1, 1) or not inside:
            raise PlanError(f"operators {ops}: a residual needs stride 1, pad below the kernel")
        if found.expand is not None and not is_pointwise(found.expand):
            raise PlanError(f"operators {ops}: a residual needs an expansion of 1x1")
    for tensor in found.inner:
        readers = [i for i, op in enumerate(graph.ops) if tensor in op.inputs]
        if tensor in graph.ends or any(i not in ops for i in readers):
            raise PlanError(f"tensor {graph.tensors[tensor].name} is read outside operators {ops}")
