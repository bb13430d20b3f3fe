# SPDX-License-Identifier: Apache-2.0
"""The plans of a page as JSON values: the front, and of each plan stages, costs and arena."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from narrows.blob import Blob
from narrows.graph.names import distinct_names
from narrows.graph.qgraph import QGraph
from narrows.planning.cost import plan_work, priced
from narrows.planning.planner import PlanOptions, plan
from narrows.planning.rates import rates
from narrows.report.arena import arena_json
from narrows.report.front import Choice, Front, choice
from narrows.report.views import StageView, View, blob_view, plan_view

_LARGEST_PAGE = 3 << 20
"""Bytes that the arenas of all plans of a page may take: with all else it stays below 4 MiB."""
_LARGEST_ARENA = 16 << 20
"""Bytes of one plan's JSON, so that a browser reads it at once."""


@dataclass(eq=False)
class Names:
    """Names of tensors, which the page refers to by numbers."""

    numbers: dict[str, int] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """The number of a name, known or new."""
        return self.numbers.setdefault(name, len(self.numbers))

    def json(self) -> list[list[str]]:
        """[short, full] of each."""
        full = list(self.numbers)
        return [list(pair) for pair in zip(distinct_names(full), full, strict=True)]


Seconds: TypeAlias = Callable[[float], "float | None"]
"""Predicted instructions of an inference -> its predicted seconds on a board, if they are known."""


def front_json(
    found: Front,
    options: PlanOptions,
    names: Names,
    seconds: Seconds = lambda instructions: None,
) -> dict[str, Any]:
    """All plans of the front, and behind them the layer by layer execution of the network.

    Args:
        options: what the front was planned with.

    Returns:
        plans: as ``_plan_json``; chosen: the one that compile takes; layers: the number of the
        layer by layer execution.
    """
    layers: dict[int, Choice] = {}
    for c in found.choices:
        if id(c.graph) not in layers:
            layers[id(c.graph)] = one_by_one(c.graph, options)
    costs = {number: _costs(c) for number, c in layers.items()}
    choices = (*found.choices, layers[id(found.choices[found.chosen].graph)])
    room = _LARGEST_PAGE // len(choices)
    plans = [
        {
            **_plan_json(c, plan_view(c.graph, c.plan, costs[id(c.graph)]), names, room),
            "seconds": seconds(c.instructions),
        }
        for c in choices
    ]
    return {"plans": plans, "chosen": found.chosen, "layers": len(choices) - 1}


def blob_json(blob: Blob, names: Names) -> dict[str, Any]:
    """As ``front_json``, of the only plan that a blob has; what its stages take is not known."""
    view = blob_view(blob)
    arena = sum(view.arena_bytes)
    known = {
        "arena": arena,
        "ram": None,
        "macs": blob.header.macs,
        "macs_once": sum(stage.macs_once for stage in view.stages),
        "instructions": None,
        "detail": _detail(view, names, _LARGEST_PAGE),
    }
    return {"plans": [known], "chosen": 0, "layers": None}


def one_by_one(graph: QGraph, options: PlanOptions) -> Choice:
    """Every operator by itself and every tensor whole."""
    layers = replace(options, ram=None, memories=None, materialize=True, fuse=False, tiling=None)
    return choice(graph, plan(graph, layers))


def _costs(layers: Choice) -> list[float]:
    """Predicted instructions of each operator by itself."""
    table = rates(layers.plan.layout, layers.plan.kernels)
    return [priced(done, table) for done in plan_work(layers.graph, layers.plan)[:-1]]


def _plan_json(c: Choice, view: View, names: Names, room: int) -> dict[str, Any]:
    """The figures of a plan; detail: the rest of it, compressed."""
    return {
        "arena": c.plan.arena_total,
        "ram": c.ram_bytes,
        "macs": c.plan.macs,
        "macs_once": c.plan.macs_once,
        "instructions": round(c.instructions),
        "detail": _detail(view, names, room),
    }


def _detail(view: View, names: Names, room: int) -> str:
    """The stages of a plan and its arena. room: bytes that it may take."""
    capacities = view.timeline.capacities
    fixed = {
        "tensors": [
            [names.number(t.name), *t.shape, capacities.get(number, 0)]
            for number, t in enumerate(view.tensors)
        ],
        "stages": [_stage(stage, names) for stage in view.stages],
        "memories": list(view.arena_bytes),
    }
    unit = 1
    while True:
        text = dumps({**fixed, **arena_json(view, unit)})
        packed = pack_text(text)
        last = unit >= len(view.occupied.order)
        if last or (len(packed) <= room and len(text) <= _LARGEST_ARENA):
            return packed
        unit *= 2


def _stage(stage: StageView, names: Names) -> dict[str, Any]:
    value = {
        "parts": list(stage.parts),
        "names": [names.number(name) for name in stage.names],
        "inputs": list(stage.inputs),
        "output": stage.output,
        "form": stage.form,
        "strip": stage.strip,
        "macs": stage.macs,
        "macs_once": stage.macs_once,
    }
    costs = {"instructions": stage.instructions, "alone": stage.alone}
    return value | {key: round(cost) for key, cost in costs.items() if cost is not None}


def dumps(value: object) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def pack_text(text: str) -> str:
    """Text as base64 of a zlib stream, which every browser unpacks itself."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()
