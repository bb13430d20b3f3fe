# SPDX-License-Identifier: Apache-2.0
"""What a stage costs: what it does, counted, times the instructions of each on the target.

Counts mirror the loops of the kernels and of the engine; what one of each takes was measured
(``tests/bench/cost_model.py``), and ``rates.py`` reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from narrows.graph.moves import Move, Reshape
from narrows.graph.qgraph import (
    Elementwise,
    QArgMax,
    QConcat,
    QConv,
    QDepthwise,
    QElementwise,
    QGraph,
    QLookup,
    QMatMul,
    QMean,
    QOp,
    QPad,
    QPool,
    QResize,
    QSoftmax,
    QTensor,
)
from narrows.native import Form, Layout
from narrows.planning.calls import Calls, calls_of, even_calls, with_cuts
from narrows.planning.depthwise_strips import strips_of_fours
from narrows.planning.plan import PORTABLE, Plan
from narrows.planning.rates import rates
from narrows.stages.firings import Firings, input_strips, stage_firings
from narrows.stages.forms import frame
from narrows.stages.fusion import Bottleneck, bottleneck, is_pointwise
from narrows.stages.stage import Stage

Work: TypeAlias = "Counter[str]"
"""How often something is done in an inference. ``macs.*``, ``bytes.*`` and ``requantized`` are
of interest by themselves; the others are loops and calls."""


@dataclass(frozen=True)
class Tiles:
    """How the kernels of a layout cut their work (``runtime/kernels``).

    outputs: channels that a convolution computes together; the last ones go alone.
    pixels: pixels that a convolution computes together, whose windows it widens first; 0: it
        reads pixels in place, one by one.
    part: pairs of elements of such pixels that a slice adds at a time.
    block: channels of a pixel that are finished together.
    group: taps that a depthwise convolution computes together.
    """

    outputs: int
    block: int
    group: int
    pixels: int = 0
    part: int = 0

    def blocks(self, channels: int) -> int:
        """Blocks of so many channels."""
        return -(-channels // self.block)


TILES = {
    Layout.PLAIN: Tiles(outputs=4, block=16, group=3),
    Layout.BLOCKED: Tiles(outputs=4, block=16, group=3),
    Layout.PAIRED: Tiles(outputs=4, block=16, group=3, pixels=2, part=16),
}
"""How kernels cut their work, by weight layout."""

_UNKNOWN: Mapping[int, int] = {}


def instructions(
    graph: QGraph,
    stage: Stage,
    firings: Firings,
    layout: Layout = Layout.PLAIN,
    kernels: str = PORTABLE,
) -> float:
    """Predicted instructions of a stage in one inference."""
    return priced(work(graph, stage, firings, layout), rates(layout, kernels))


def priced(done: Work, table: Mapping[str, float]) -> float:
    """Predicted instructions of counted work. table: instructions of one of each."""
    return sum(table.get(name, 0.0) * count for name, count in done.items())


def work(
    graph: QGraph,
    stage: Stage,
    firings: Firings,
    layout: Layout = Layout.PLAIN,
    capacities: Mapping[int, int] = _UNKNOWN,
) -> Work:
    """What a stage does in one inference. capacities: of rings, where they are known; otherwise
    they are taken to be as short as can be.
    """
    counter = _Counter(graph, stage, firings, TILES[layout], capacities)
    if stage.form is Form.ROLLING:
        counter.rolling(bottleneck(graph, stage.ops))
    elif stage.form is Form.TILED:
        counter.tiled(bottleneck(graph, stage.ops))
    else:
        counter.single(graph.ops[stage.ops[0]])
    counter.engine()
    return counter.done


def plan_work(graph: QGraph, plan: Plan) -> list[Work]:
    """What each stage of a plan does, and last, what taking and giving rows does."""
    capacities = {ring.tensor: ring.capacity for ring in plan.rings}
    works = [
        work(graph, stage, stage_firings(graph, stage), plan.layout, capacities)
        for stage in plan.stages
    ]
    edges = edge_work(graph, plan.input_strips, plan.streamed_outputs, len(plan.stages))
    return [*works, edges]


def edge_work(
    graph: QGraph, strips: tuple[int, ...], streamed_outputs: tuple[int, ...], stages: int
) -> Work:
    """What taking and giving rows does. strips: as in ``Plan.input_strips``."""
    inputs = [graph.tensors[edge.tensor] for edge in graph.inputs]
    outputs = [graph.tensors[graph.outputs[i].tensor] for i in streamed_outputs]
    pairs = zip(inputs, input_strips(graph, strips), strict=True)
    parts = sum(tensor.height * (tensor.width // strip) for tensor, strip in pairs)
    return Counter(
        {
            "edge.row": parts + sum(tensor.height for tensor in outputs),
            "edge.bytes": sum(tensor.bytes for tensor in [*inputs, *outputs]),
            "edge.stage": len(inputs) + len(outputs) + stages,
        }
    )


@lru_cache(maxsize=1)
def _readers(graph: QGraph) -> dict[str, list[set[int]]]:
    """Of each tensor, the operators that read it through windows, and those that do without."""
    readers: dict[str, list[set[int]]] = {
        name: [set() for _ in graph.tensors] for name in ("window", "reader")
    }
    for index, op in enumerate(graph.ops):
        for tensor in op.inputs:
            readers["window" if reads_window(op) else "reader"][tensor].add(index)
    return readers


def reads_window(op: QOp) -> bool:
    """Whether an operator gathers rows of its input."""
    return isinstance(op, (QConv, QDepthwise, QPool)) and not is_pointwise(op)


def plan_instructions(graph: QGraph, plan: Plan) -> float:
    """Predicted instructions of one inference, from the first request for a row."""
    return sum(priced(done, rates(plan.layout, plan.kernels)) for done in plan_work(graph, plan))


def figures(graph: QGraph, plan: Plan) -> dict[str, int]:
    """The prediction for one inference, for reports.

    flash_bytes: weights and channel tables that kernels read, as often as they do.
    moved_bytes: copied or filled without arithmetic.
    """
    works = plan_work(graph, plan)
    done = sum(works, Counter())
    totals = {
        "macs_pointwise": ("macs.pointwise",),
        "macs_window": ("macs.window",),
        "macs_depthwise": ("macs.depthwise",),
        "macs_repeated": ("macs.repeated",),
        "flash_bytes": ("bytes.flash",),
        "moved_bytes": ("bytes.copied", "bytes.copied_singly", "bytes.set", "move.element"),
        "requantizations": ("requantized", "depthwise.requantized", "accumulate.requantized"),
    }
    return {
        "instructions": round(priced(done, rates(plan.layout, plan.kernels))),
        **{name: sum(done[part] for part in parts) for name, parts in totals.items()},
    }


class _Counter:
    """Counts the work of one stage."""

    def __init__(
        self,
        graph: QGraph,
        stage: Stage,
        firings: Firings,
        tiles: Tiles,
        capacities: Mapping[int, int],
    ) -> None:
        self.graph = graph
        self.stage = stage
        self.firings = firings
        self.tiles = tiles
        self.capacities = capacities
        self.done: Work = Counter()

    def engine(self) -> None:
        """To find, set up and account for the firings."""
        self.done["firing"] += self.firings.count
        self.done["firing.input"] += self.firings.count * len(self.firings.inputs)
        for which, tensor in enumerate(self.firings.inputs):
            self.ring(which, tensor)
        if self.stage.strip < frame(self.graph, self.stage.ops, self.stage.form).width:
            self.done["firing.part"] += self.firings.count * len(self.firings.inputs)
        self.done["macs.repeated"] += int(self.firings.macs.sum()) - self.firings.macs_once

    def ring(self, which: int, tensor: int) -> None:
        """What it costs that an input is no whole tensor: others read it too, or wraps rows."""
        info = self.graph.tensors[tensor]
        pixels, count = info.height * info.width, self.firings.count
        most = int((self.firings.hi[which] - self.firings.lo[which]).max())
        capacity = self.capacities.get(tensor, most)
        if capacity == pixels:
            return
        for name, readers in _readers(self.graph).items():
            others = len(readers[tensor].difference(self.stage.ops))
            self.done[f"firing.other_{name}"] += count * others
        segment = self.firings.segments[which]
        if capacity % info.width and segment > 1:
            op = self.graph.ops[self.stage.ops[0]]
            rows = 1
            if isinstance(op, (QConv, QDepthwise)) and self.stage.form is not Form.FOLDED:
                rows = op.weights.shape[-3]
            copies = count * rows * (segment - 1) / capacity
            self.done["wrapped.row"] += round(copies)
            self.copied(round(copies * segment * info.channels), info.channels)

    # --- Kernels -------------------------------------------------------------------------

    def products(self, kind: str, rows: int, channels: int, depth: int) -> None:
        """Rows of input elements, each with the weights of every output channel."""
        tiles, alone = divmod(channels, self.tiles.outputs)
        self.done[f"{kind}.tile"] += rows * tiles
        self.done[f"{kind}.step"] += rows * tiles * depth
        if kind != "single":
            self.done["alone.step"] += rows * alone * depth

    def pointwise(self, pixels: int, depth: int, channels: int, calls: Calls) -> None:
        """A 1x1 convolution."""
        self.done["macs.pointwise"] += pixels * channels * depth
        if self.tiles.pixels:
            self.widened(pixels, (1, 1, depth), channels, calls)
            return
        self.done["pointwise.block"] += pixels * self.tiles.blocks(channels)
        self.products("pointwise", pixels, channels, depth)
        self.products("single", _odd(calls), channels, depth)
        self.finished(pixels, channels, pixels * channels * depth)
        self.done["conv.call"] += calls.total()

    def convolution(self, op: QConv, pixels: int, channels: int, calls: Calls) -> None:
        """A convolution with a window, of so many pixels and channels of its output."""
        source, out = (self.graph.tensors[t] for t in (op.inputs[0], op.output))
        _, kernel_h, kernel_w, depth = op.weights.shape
        blocks, taps = self.tiles.blocks(channels), kernel_h * kernel_w * depth
        rows = _inside(op.stride[0], op.pad[0], op.dilation[0], kernel_h, out.height, source.height)
        inside = _inside(op.stride[1], op.pad[1], op.dilation[1], kernel_w, out.width, source.width)
        begins = min(out.width, -(-op.pad[1] // op.stride[1]))
        reach = source.width + op.pad[1] - (kernel_w - 1) * op.dilation[1]
        ends = max(0, out.width - max(0, -(-reach // op.stride[1])))
        products = rows * (out.width if op.dilation[1] == 1 else inside)
        share = blocks * pixels / (out.height * out.width)
        self.done["macs.window"] += pixels * channels * taps
        if self.tiles.pixels:
            self.done["window.padding"] += pixels * (kernel_h * out.height - rows) // out.height
            self.widened(pixels, (kernel_h, kernel_w, depth), channels, calls)
            return
        self.done["window.block"] += pixels * blocks
        self.done["window.row"] += round(share * products)
        self.products("window", pixels * kernel_h, channels, kernel_w * depth)
        self.products("single", _odd(calls), channels, taps)
        missing = out.height * kernel_h - rows
        padded = missing * out.width + rows * (begins + ends)
        self.done["window.padding"] += round(share * padded)
        self.finished(pixels, channels, pixels * channels * taps)
        self.done["conv.call"] += calls.total()

    def widened(
        self, pixels: int, window: tuple[int, int, int], channels: int, calls: Calls
    ) -> None:
        """A convolution whose windows are widened. Of the pixels of a call, those that are not
        together with others are computed alone."""
        kernel_h, kernel_w, depth = window
        elements = kernel_h * kernel_w * depth
        size = self.tiles.pixels
        together = sum(count * (each - each % size) for each, count in calls.items())
        pairs = -(-elements // 2)
        groups = -(-channels // self.tiles.outputs)
        most, part = _WIDENED[kernel_h * kernel_w > 1] if together else _ONE_WIDENED
        parts, times = 1, 1
        if pairs > most:
            parts, times = -(-pairs // part), -(-groups // _KEPT_GROUPS)
        for name, count in ("pair", together // size), ("single", pixels - together):
            self.done[f"{name}.pixels"] += count
            self.done[f"{name}.group"] += count * groups
            self.done[f"{name}.step"] += count * groups * pairs
            self.done["parts.part"] += count * times * (parts - 1)
            self.done["parts.group"] += count * groups * (parts - 1)
        self.done["widened.element"] += pixels * times * elements
        self.done["requantized"] += pixels * channels
        self.weights(pixels * channels * elements, pixels * channels)
        self.done["conv.call"] += calls.total()

    def expansion(self, parts: Bottleneck, pixels: int, channels: int, calls: int) -> None:
        """So much of a bottleneck's expansion."""
        assert parts.expand is not None
        _, kernel_h, _, depth = parts.expand.weights.shape
        self.done["window.firing_row"] += calls * kernel_h
        alike = even_calls(pixels, calls)
        if is_pointwise(parts.expand):
            self.pointwise(pixels, depth, channels, alike)
        else:
            self.convolution(parts.expand, pixels, channels, alike)

    def depthwise(self, op: QDepthwise, pixels: int, slices: list[int], calls: Calls) -> None:
        """slices: channels of each. calls: for each slice."""
        channels = sum(slices)
        self.done["macs.depthwise"] += pixels * pixel_macs(op)
        self.done["depthwise.requantized"] += pixels * channels
        self.weights(pixels * pixel_macs(op), pixels * channels)
        self.done["depthwise.call"] += calls.total() * len(slices)
        if self.tiles.pixels:
            for strip, count in calls.items():
                self.done += strips_of_fours(op, strip, slices, count)
            return
        taps = op.weights.shape[0] * op.weights.shape[1]
        groups = -(-taps // self.tiles.group)
        blocks = pixels * sum(map(self.tiles.blocks, slices))
        self.done["depthwise.block"] += blocks
        self.done["depthwise.tap"] += blocks * taps
        self.done["depthwise.step"] += pixels * channels * groups
        if op.depth_multiplier > 1:
            self.done["depthwise.repeat"] += pixels * channels * taps
        self.finished(pixels * len(slices), 0, 0)

    def folding(self, op: QDepthwise) -> None:
        """A rolling depthwise: windows of two rows, then of one."""
        source, out = (self.graph.tensors[t] for t in (op.inputs[0], op.output))
        pixels = out.height * out.width
        taps = op.weights.shape[0] * op.weights.shape[1]
        blocks = 2 * pixels * self.tiles.blocks(out.channels)
        groups = -(-taps // self.tiles.group)
        self.done["macs.depthwise"] += pixels * pixel_macs(op)
        self.done["depthwise.block"] += blocks
        self.done["depthwise.tap"] += blocks * taps // 2
        self.done["depthwise.step"] += pixels * out.channels * groups
        self.done["depthwise.requantized"] += pixels * out.channels
        self.done["folding.element"] += pixels * out.channels
        self.done["folding.firing"] += self.firings.count
        self.done["pixel"] += 2 * pixels
        self.copied((out.height + 1) * source.width * source.channels, source.channels)
        self.weights(pixels * pixel_macs(op), pixels * out.channels)

    def accumulation(self, pixels: int, slices: list[int], channels: int, calls: int) -> None:
        """A projection by slices, and its end."""
        self.done["macs.pointwise"] += pixels * sum(slices) * channels
        if self.tiles.pixels:
            self.added(pixels, slices, channels, calls)
        else:
            self.done["accumulate.pixel"] += pixels * len(slices)
            for depth in slices:
                self.products("accumulate", pixels, channels, depth)
        self.done["accumulate.requantized"] += pixels * channels
        self.weights(pixels * sum(slices) * channels, pixels * channels)
        self.done["accumulate.call"] += calls

    def added(self, pixels: int, slices: list[int], channels: int, calls: int) -> None:
        """A projection by slices, of pixels that are widened part by part."""
        each = pixels * len(slices) // max(1, calls)
        together = pixels * -(-each // self.tiles.pixels) // max(1, each)
        whole, few = divmod(channels, self.tiles.outputs)
        for depth in slices:
            pairs = -(-depth // 2)
            parts = -(-pairs // self.tiles.part)
            self.done["accumulate.pixel"] += together * parts
            self.done["added.group"] += together * parts * whole
            self.done["added.step"] += together * whole * pairs
            self.done["widened.element"] += pixels * depth
            self.done["alone.step"] += pixels * few * depth

    def elementwise(self, function: Elementwise, out: QTensor, calls: int) -> None:
        kind = "add" if function in (Elementwise.ADD, Elementwise.SUB) else "mul"
        self.done[f"elementwise.{kind}"] += out.bytes
        self.done["elementwise.pixel"] += out.height * out.width
        self.done["elementwise.call"] += calls

    def finished(self, pixels: int, channels: int, weights: int) -> None:
        """Outputs of a convolution."""
        self.done["pixel"] += pixels
        self.done["requantized"] += pixels * channels
        self.weights(weights, pixels * channels)

    def weights(self, weights: int, requantized: int) -> None:
        """Bytes read from flash: weights, and a line of the channel table per element."""
        self.done["bytes.flash"] += weights + _CHANNEL_BYTES * requantized

    def copied(self, size: int, pitch: int) -> None:
        """Bytes moved from one row of pixels to another."""
        self.done["bytes.copied" if pitch % _WORD == 0 else "bytes.copied_singly"] += size

    def calls(self, out: QTensor, tile: int) -> Calls:
        """The kernels' for what the stage gives."""
        strip, pixels = self.stage.strip, out.height * out.width
        found = calls_of(out.width, strip, tile, out.height)
        capacity = self.capacities.get(self.firings.output, pixels)
        if capacity < pixels and (out.width % strip or capacity % strip):
            return with_cuts(found, capacity)
        return found

    def windowed(self, kernel_h: int) -> None:
        """Firings that gather the rows of a window."""
        self.done["window.firing"] += self.firings.count
        self.done["window.firing_row"] += self.firings.count * kernel_h

    # --- Stages --------------------------------------------------------------------------

    def single(self, op: QOp) -> None:
        out = self.graph.tensors[op.output]
        source = self.graph.tensors[op.inputs[0]]
        pixels, elements, calls = out.height * out.width, out.bytes, self.firings.count
        strips = self.calls(out, self.stage.strip)
        match op:
            case QConv() if self.stage.form is Form.ACCUMULATING:
                self.accumulation(1, [source.bytes // calls] * calls, out.channels, calls)
            case QConv():
                channels, kernel_h, kernel_w, depth = op.weights.shape
                is_1x1 = (kernel_h, kernel_w) == (1, 1) and op.pad == (0, 0)
                if not is_pointwise(op):
                    self.windowed(kernel_h)
                if is_1x1:
                    self.pointwise(pixels, depth, channels, strips)
                else:
                    self.convolution(op, pixels, channels, strips)
            case QDepthwise():
                if self.stage.form is Form.FOLDED:
                    self.folding(op)
                else:
                    self.windowed(op.weights.shape[0])
                    self.depthwise(op, pixels, [out.channels], strips)
            case QElementwise():
                self.elementwise(op.function, out, calls)
            case QMatMul():  # a loop for each product, as that of a pooling for each element
                self.done["max.element"] += elements * source.channels
                self.done["requantized"] += elements
                self.done["elementwise.call"] += calls
            case QArgMax():
                self.done["max.element"] += source.bytes
                self.done["pixel"] += pixels
            case QPool() | QMean():
                self.pool(op)
            case QSoftmax():
                self.done["softmax.pixel"] += pixels
                self.done["softmax.element"] += elements
            case QLookup():
                self.done["lookup.element"] += elements
            case Reshape():
                self.copied(elements, _WORD)
                self.done["reshape.firing"] += calls
            case QResize():
                self.done["resize.element"] += elements
                self.done["pixel"] += pixels
            case Move():
                counts = (1, *op.loops(source.shape, out.shape).merged().counts)
                inner = min(counts[-1], elements // calls)
                at_once = min(inner * counts[-2], elements // calls)
                self.done["move.element"] += elements
                self.done["move.pixel"] += elements // inner
                self.done["move.call"] += elements // at_once
            case QConcat() | QPad():
                self.done["move.element"] += source.bytes if isinstance(op, QPad) else elements
                self.done["move.pixel"] += pixels * len(op.inputs)
                self.done["move.call"] += calls * len(op.inputs)
                if isinstance(op, QPad):
                    self.done["bytes.set"] += elements

    def pool(self, op: QPool | QMean) -> None:
        out = self.graph.tensors[op.output]
        source = self.graph.tensors[op.inputs[0]]
        calls, pixels = self.firings.count, out.height * out.width
        if isinstance(op, QPool) and op.function == "max":
            taps = op.kernel[0] * op.kernel[1]
            self.windowed(op.kernel[0])
            self.done["pixel"] += pixels
            self.done["max.element"] += out.bytes * (taps + 2)
            return
        if self.stage.form is Form.ACCUMULATING:
            self.done["sum.call"] += calls
            self.done["sum.element"] += source.bytes
        else:
            kernel = op.kernel if isinstance(op, QPool) else (1, source.width)
            taps = kernel[0] * (kernel[1] if isinstance(op, QPool) or op.over_width else 1)
            self.windowed(kernel[0])
            self.done["pixel"] += pixels
            self.done["average.block"] += pixels * -(-out.channels // 16)
            self.done["average.element"] += out.bytes * taps
        self.done["mean.finished" if isinstance(op, QMean) else "average.finished"] += out.bytes

    def rolling(self, parts: Bottleneck) -> None:
        """Rows are expanded column by column; some are kept."""
        grid, out = (self.graph.tensors[t] for t in (parts.grid, parts.output))
        mid = parts.depthwise.weights.shape[2]
        kernel, stride = parts.depthwise.weights.shape[:2], parts.depthwise.stride
        calls = self.calls(out, self.stage.col_tile)
        tiles = -(-calls.total() // out.height)
        pixels = out.height * out.width
        expanded = self.expanded(parts)
        rows = -(-expanded // grid.width)
        self.done["rolling.firing"] += self.firings.count
        self.expansion(parts, expanded, mid, rows * tiles)
        self.depthwise(parts.depthwise, pixels, [mid], calls)
        self.done["rolling.row"] += out.height * tiles * kernel[0]
        if parts.project:
            self.pointwise(pixels, mid, out.channels, calls)
        if parts.add:
            self.elementwise(Elementwise.ADD, out, out.height * tiles)
        # Columns pass on to the kept rows, and those that the next tile shares move ahead.
        kept = out.height * min(self.stage.kept_rows, stride[0]) * grid.width
        shared = max(0, kernel[1] - stride[1]) * (tiles - 1)
        self.copied((kept + rows * shared) * mid, mid)

    def tiled(self, parts: Bottleneck) -> None:
        """Each tile's halo is expanded, slice by slice."""
        grid, out = (self.graph.tensors[t] for t in (parts.grid, parts.output))
        mid = parts.depthwise.weights.shape[2]
        kernel_h, kernel_w = parts.depthwise.weights.shape[:2]
        stage = self.stage
        slices = [min(stage.slice, mid - first) for first in range(0, mid, stage.slice)]
        tiled = self.calls(out, stage.col_tile)
        rows = tiled.total()
        tiles_of_row = -(-rows // out.height)
        pixels = out.height * out.width
        self.done["tiled.firing"] += self.firings.count
        self.done["tiled.tile"] += -(-out.height // stage.row_tile) * tiles_of_row
        self.done["tiled.row"] += rows * len(slices) * kernel_h
        if parts.expand:
            across = (stage.col_tile - 1) * parts.depthwise.stride[1] + kernel_w
            expanded = self.expanded(parts)
            calls = -(-expanded // min(grid.width, across))
            for channels in slices:
                self.expansion(parts, expanded, channels, calls)
        self.depthwise(parts.depthwise, pixels, slices, tiled)
        if parts.project and len(slices) > 1:
            self.accumulation(pixels, slices, out.channels, rows * len(slices))
        elif parts.project:
            self.pointwise(pixels, mid, out.channels, tiled)
        if parts.add:
            self.elementwise(Elementwise.ADD, out, rows)

    def expanded(self, parts: Bottleneck) -> int:
        """Pixels of the input that are expanded, repeats included."""
        assert parts.expand is not None
        out = self.graph.tensors[parts.output]
        later = pixel_macs(parts.depthwise) + (pixel_macs(parts.project) if parts.project else 0)
        macs = int(self.firings.macs.sum()) - out.height * out.width * later
        return macs // pixel_macs(parts.expand)


# Pairs of elements that the paired layout's kernels widen at a time (runtime/kernels/layouts.h): of
# two pixels, by whether windows have several taps, and of one; of whole windows, else of each part.
# The last one: groups of channels whose sums are kept from part to part.
_WIDENED = {False: (512, 448), True: (72, 36)}
_ONE_WIDENED = (128, 64)
_KEPT_GROUPS = 16
_WORD = 4
_CHANNEL_BYTES = 12


def pixel_macs(op: QConv | QDepthwise) -> int:
    """Multiply-accumulates of one output pixel."""
    return int(op.weights.size)


def _odd(calls: Calls) -> int:
    """Pixels that have no partner, if each call computes them two by two."""
    return sum(pixels % 2 * count for pixels, count in calls.items())


def _inside(stride: int, pad: int, dilation: int, taps: int, outputs: int, size: int) -> int:
    """Taps of all windows along an axis that are not padding."""
    total = 0
    for tap in range(taps):
        shift = pad - tap * dilation
        first, end = -(-shift // stride), -(-(size + shift) // stride)
        total += max(0, min(outputs, end) - max(0, first))
    return total
