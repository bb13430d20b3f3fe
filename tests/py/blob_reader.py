# SPDX-License-Identifier: Apache-2.0
"""A reader of blobs, written from runtime/SPEC.md alone: it imports nothing of the package."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

NONE = 0xFFFF
(
    INPUT, OUTPUT, CONV, DEPTHWISE, BOTTLENECK, ELEMENTWISE, AVG_POOL, MAX_POOL, MEAN, SOFTMAX,
    LOOKUP, CONCAT, RESIZE,
) = range(13)  # fmt: skip
PAD, MOVE, MATMUL, ARG_MAX = 14, 18, 19, 20
PLAIN, BLOCKED, PAIRED = range(3)
SINGLE, ACCUMULATING, FOLDED, TILED, ROLLING = range(5)
FORMS = {
    CONV: (SINGLE, ACCUMULATING), DEPTHWISE: (SINGLE, FOLDED), BOTTLENECK: (TILED, ROLLING),
    AVG_POOL: (SINGLE, ACCUMULATING), MEAN: (SINGLE, ACCUMULATING),
}  # fmt: skip


class FormatError(Exception):
    """The blob breaks a rule of the page."""


def require(condition: bool, message: str) -> None:
    if not condition:
        raise FormatError(message)


@dataclass
class Tensor:
    offset: int
    capacity: int
    height: int
    width: int
    channels: int
    producer: int
    readers: list[int]
    zero_point: int
    constant: bool
    persistent: bool

    @property
    def pixels(self) -> int:
        return self.height * self.width

    @property
    def whole(self) -> bool:
        return self.capacity == self.pixels

    @property
    def may_wrap(self) -> bool:
        return self.capacity % self.width != 0


@dataclass
class Filter:
    """weights: int8 bytes. table: [channels, 3]: bias, multiplier, shift. prescales: [channels], 0
    where there is none."""

    act: tuple[int, int]
    weights: np.ndarray
    table: np.ndarray
    prescales: np.ndarray


@dataclass
class Windowed:
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]
    act: tuple[int, int]
    depth_multiplier: int
    filter: Filter | None = None


@dataclass
class Stage:
    op: int
    form: int
    flags: int
    inputs: list[int]
    output: int
    strip: int
    params: int
    state: tuple[int, int]
    scratch: tuple[int, int]
    fields: dict[str, Any]


@dataclass
class Variable:
    tensor: int
    source: int
    first: int
    initial: np.ndarray


@dataclass
class Blob:
    header: dict[str, int]
    arena_bytes: tuple[int, ...]
    tensors: list[Tensor]
    stages: list[Stage]
    outputs: list[int]
    metadata: dict[str, Any]
    variables: list[Variable]


HEADER = (
    ("magic", "I"), ("major", "H"), ("minor", "H"), ("blob_bytes", "I"), ("layout", "I"),
    ("arena_0", "I"), ("arena_1", "I"), ("arena_2", "I"), ("arena_3", "I"),
    ("tensor_count", "H"), ("stage_count", "H"), ("reader_count", "H"), ("output_count", "H"),
    ("input_count", "H"), ("input_passes", "H"), ("max_step_work", "I"), ("macs", "Q"),
    ("firings", "I"), ("metadata_offset", "I"), ("metadata_bytes", "I"), ("variables", "I"),
    ("body_crc", "I"), ("header_crc", "I"),
)  # fmt: skip


def read_blob(data: bytes) -> Blob:
    """Parse and check a blob. Raises: FormatError."""
    return _Reader(data).blob()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def unpack(self, layout: str, offset: int) -> tuple[Any, ...]:
        size = struct.calcsize("<" + layout)
        require(0 <= offset <= len(self.data) - size, f"byte {offset} is outside the blob")
        return struct.unpack_from("<" + layout, self.data, offset)

    def array(self, dtype: str, count: int, offset: int, alignment: int = 4) -> np.ndarray:
        require(offset % alignment == 0, f"byte {offset} is not {alignment}-aligned")
        size = np.dtype(dtype).itemsize * count
        require(self.records_end <= offset <= len(self.data) - size, f"array at {offset}")
        return np.frombuffer(self.data, dtype, count, offset)

    def blob(self) -> Blob:
        values = self.unpack("".join(code for _, code in HEADER), 0)
        h: dict[str, int] = {name: v for (name, _), v in zip(HEADER, values, strict=True)}
        require(h["magic"] == 0x4257524E, "magic")
        require(h["major"] == 3, "major version")
        require(h["blob_bytes"] == len(self.data) and len(self.data) % 16 == 0, "blob_bytes")
        require(h["header_crc"] == zlib.crc32(self.data[:76]), "header CRC")
        require(h["body_crc"] == zlib.crc32(self.data[80:]), "body CRC")
        self.header = h
        self.arena_bytes = tuple(h[f"arena_{i}"] for i in range(4))
        require(all(n % 16 == 0 and n < 1 << 28 for n in self.arena_bytes), "arena_bytes")
        stages_at = 80 + 24 * h["tensor_count"]
        readers_at = stages_at + 36 * h["stage_count"]
        outputs_at = readers_at + 2 * h["reader_count"]
        self.records_end = outputs_at + 2 * h["output_count"]
        readers = list(self.unpack(f"{h['reader_count']}H", readers_at))
        outputs = list(self.unpack(f"{h['output_count']}H", outputs_at))
        self.tensors = self.read_tensors(readers)
        stages = [self.read_stage(stages_at + 36 * i) for i in range(h["stage_count"])]
        for number, stage in enumerate(stages):
            require((stage.op == INPUT) == (number < h["input_count"]), "INPUT stages")
            if stage.op != OUTPUT:
                require(self.tensors[stage.output].producer == number, "producer")
            self.check_runs(stage)
        self.check_output_stages(stages, outputs)
        for number, tensor in enumerate(self.tensors):
            reads = [s for s, stage in enumerate(stages) if number in stage.inputs]
            require(tensor.readers == reads, f"readers of tensor {number}")
        variables = self.read_variables()
        metadata = {}
        if h["metadata_bytes"]:
            start = h["metadata_offset"]
            metadata = json.loads(self.data[start : start + h["metadata_bytes"]].decode())
        return Blob(h, self.arena_bytes, self.tensors, stages, outputs, metadata, variables)

    def check_output_stages(self, stages: list[Stage], outputs: list[int]) -> None:
        kinds = [stage.op == OUTPUT for stage in stages]
        require(kinds == sorted(kinds), "OUTPUT stages are the last")
        handed_out = [stage.inputs[0] for stage in stages if stage.op == OUTPUT]
        require(len(handed_out) == len(set(handed_out)), "a tensor is handed out twice")
        for stage in stages:
            if stage.op == OUTPUT:
                require(stage.inputs[0] in outputs, "OUTPUT of no output")
                require(stage.fields["output"] == outputs.index(stage.inputs[0]), "output number")

    def read_variables(self) -> list[Variable]:
        at = self.header["variables"]
        persistent = [i for i, tensor in enumerate(self.tensors) if tensor.persistent]
        require(at != 0 or not persistent, "a list where there are variables")
        variables: list[Variable] = []
        if at:
            require(at % 4 == 0 and at >= self.records_end, "variables")
            require(self.unpack("I", at) == (len(persistent),), "count of variables")
        for number, tensor in enumerate(persistent):
            found, source, first, initial = self.unpack("HHII", at + 4 + 12 * number)
            require(found == tensor and source < len(self.tensors), f"variable {number}")
            taken, given = self.tensors[tensor], self.tensors[source]
            require(given.producer != NONE and given.whole, f"source of variable {number}")
            require(taken.channels == given.channels, f"channels of variable {number}")
            require(first + taken.pixels <= given.pixels, f"first of variable {number}")
            size = taken.pixels * taken.channels
            values = self.array("i1", size, initial, 1)
            variables.append(Variable(tensor, source, first, values))
        sizes = [len(variable.initial) for variable in variables]
        require(sum(sizes) <= sum(self.arena_bytes), "bytes of all variables")
        return variables

    def read_tensors(self, readers: list[int]) -> list[Tensor]:
        tensors = []
        next_reader = 0
        for i in range(self.header["tensor_count"]):
            (
                offset, capacity, height, width, channels, producer, first, count, zero, flags,
                element_bytes, reserved,
            ) = self.unpack("IIHHHHHHbBBB", 80 + 24 * i)  # fmt: skip
            require(first == next_reader, "readers follow each other")
            next_reader += count
            tensor = Tensor(
                offset, capacity, height, width, channels, producer,
                readers[first:next_reader], zero, bool(flags & 1), bool(flags & 2),
            )  # fmt: skip
            require(flags <= 2 and element_bytes == 1 and reserved == 0, f"tensor {i}")
            require(1 <= capacity <= tensor.pixels < 1 << 28, f"capacity of tensor {i}")
            require(tensor.whole or not flags, f"capacity of tensor {i}")
            require((producer == NONE) == bool(flags), f"producer of tensor {i}")
            size = capacity * channels
            require(size < 1 << 28, f"size of tensor {i}")
            if tensor.constant:
                require(offset % 16 == 0 and offset + size <= len(self.data), "constant")
            else:
                self.check_place(offset, size)
            tensors.append(tensor)
        require(next_reader == len(readers), "all readers used")
        return tensors

    def check_place(self, offset: int, size: int) -> None:
        """An arena offset with its byte count."""
        memory, byte = offset >> 28, offset % (1 << 28)
        require(memory < 4 and offset % 16 == 0, f"arena offset {offset:#x}")
        require(byte + size <= self.arena_bytes[memory], f"{size} bytes at {offset:#x}")

    def check_runs(self, stage: Stage) -> None:
        """The rules of "Strips" and of "Wrapped rows"."""
        sources = [self.tensors[i] for i in stage.inputs]
        out = sources[0] if stage.op == OUTPUT else self.tensors[stage.output]
        adds_up = accumulates(stage)
        width = sources[0].width if adds_up else out.width
        require(1 <= stage.strip <= width, "strip")
        if not by_pixels(stage):
            require(stage.strip == width, "strip of an operator of rows")
            require(
                not any(source.may_wrap for source in sources), "whole rows of an input that wraps"
            )
        if stage.op == BOTTLENECK:
            rolling = stage.form == ROLLING
            row_tile, col_tile = stage.fields["row_tile"], stage.fields["col_tile"]
            require(1 <= row_tile <= (1 if rolling else out.height), "row_tile")
            require(1 <= col_tile <= stage.strip, "col_tile")
            require(row_tile == 1 or stage.strip == width, "strip of a tile of rows")
        elif adds_up and stage.op == MEAN:
            require(stage.strip == width or stage.fields["over"][1] == 1, "strip of a mean")
        elif adds_up:
            window = stage.fields["window"]
            covers = out.width == 1 and window.pad[1] == 0 and window.kernel[1] >= width
            require(stage.strip == width or covers, "strip of an average")
        expands = "expansion" in stage.fields or stage.fields.get("row_tile", 1) > 1
        if stage.op == INPUT or (stage.form == TILED and expands) or not by_pixels(stage):
            require(stage.op == OUTPUT or is_even(stage, out), "what a firing gives wraps")

    def read_stage(self, at: int) -> Stage:
        op, form, flags, count, output, strip, *rest = self.unpack("BBBBHH4HIIIII", at)
        inputs, (params, *extents) = rest[:4], rest[4:]
        require(form in FORMS.get(op, (SINGLE,)) and count <= 4, "stage record")
        require(all(i == NONE for i in inputs[count:]), "unused inputs")
        require(all(i < len(self.tensors) for i in inputs[:count]), "inputs")
        for offset, size in (extents[:2], extents[2:]):
            self.check_place(offset, size)
            require(size > 0 or offset == 0, "offset of nothing")
        require(params % 4 == 0 or op == OUTPUT, "params")
        stage = Stage(
            op, form, flags, inputs[:count], output, strip, params,
            (extents[0], extents[1]), (extents[2], extents[3]), {},
        )  # fmt: skip
        stage.fields = self.read_params(stage)
        return stage

    def window(self, at: int) -> Windowed:
        kh, kw, sh, sw, dh, dw, top, left, low, high, last, *rest = self.unpack(
            "HHBBBBHHhhHHBBH", at
        )
        require(rest == [1, 1, 1, 0], "groups and upsampling are 1")
        require(-128 <= low <= high <= 127, "range of activations")
        return Windowed((kh, kw), (sh, sw), (dh, dw), (top, left), (low, high), last)

    def check_covering(self, stage: Stage, window: Windowed) -> None:
        source, out = self.tensors[stage.inputs[0]], self.tensors[stage.output]
        if accumulates(stage):
            require(window.kernel == (source.height, source.width), "kernel of a whole input")
            require((out.height, out.width, *window.pad) == (1, 1, 0, 0), "window of all")
            require(window.dilation == (1, 1) and source.channels % 4 == 0, "window of all")
            require(source.pixels * source.channels < 2**16, "window of all")

    def filter(
        self, at: int, act: tuple[int, int], taps: int, channels: int, depth: int | None = None
    ) -> Filter:
        """depth: input channels of a convolution; None of a depthwise one."""
        weights, table = self.unpack("II", at)
        layout = self.header["layout"]
        require(layout in (PLAIN, BLOCKED, PAIRED), "layout")
        if depth is None:
            values = self.array("i1", taps * channels, weights)
        elif layout == PLAIN:
            values = self.array("i1", channels * taps * depth, weights)
        elif layout == BLOCKED:
            values = self.blocked(weights, channels, taps, depth)
        else:
            values = self.paired(weights, channels, taps * depth)
        return Filter(act, values, *self.channel_table(channels, table))

    def channel_table(self, channels: int, at: int) -> tuple[np.ndarray, np.ndarray]:
        """Biases, multipliers and shifts; and prescales, 0 where there is none."""
        rows, prescales = [], []
        for channel in range(channels):
            bias, multiplier, last = self.unpack("iii", at + 12 * channel)
            shift, prescale = last, 0
            if not -31 <= last <= 30:
                shift, prescale = (last & 0xFF) - 256, last >> 16
                require(last >> 8 & 0xFF == 0 and -13 <= shift <= -1, "shift with a prescale")
                require(prescale == 2 ** (13 + shift), "prescale")
            rows.append((bias, multiplier, shift))
            prescales.append(prescale)
        return np.array(rows), np.array(prescales)

    def blocked(self, at: int, channels: int, taps: int, depth: int) -> np.ndarray:
        """Weights of the blocked layout in the order of the plain one."""
        blocks, groups = -(-channels // 4), -(-depth // 4)
        values = self.array("i1", 16 * blocks * taps * groups, at)
        values = values.reshape(blocks, taps, groups, 4, 4).transpose(0, 3, 1, 2, 4)
        values = values.reshape(4 * blocks, taps, 4 * groups)
        require(not values[channels:].any() and not values[..., depth:].any(), "filled blocks")
        return values[:channels, :, :depth].ravel()

    def paired(self, at: int, channels: int, elements: int) -> np.ndarray:
        """Weights of the paired layout in the order of the plain one."""
        blocks, pairs = -(-channels // 4), -(-elements // 2)
        values = self.array("u1", 8 * blocks * pairs, at).reshape(blocks, pairs, 2, 2, 2)
        values = values.astype(np.int16)
        values[..., 0] -= 128
        values[..., 1] -= 256 * (values[..., 1] > 127)
        values = values.transpose(0, 2, 4, 1, 3).reshape(4 * blocks, 2 * pairs)
        require(not values[channels:].any() and not values[:, elements:].any(), "filled pairs")
        return values[:channels, :elements].ravel()

    def read_params(self, stage: Stage) -> dict[str, Any]:
        at = stage.params
        if stage.op == OUTPUT:
            return {"output": at}
        if stage.op == INPUT:
            require(at == 0, "params of an operator without any")
            return {}
        if stage.op == ARG_MAX:
            require(at == 0, "params of an operator without any")
            x, y = self.tensors[stage.inputs[0]], self.tensors[stage.output]
            require((y.height, y.width, y.channels) == (x.height, x.width, 4), "numbers")
            return {}
        require(at >= self.records_end, "params")
        source = self.tensors[stage.inputs[0]]
        out = self.tensors[stage.output]
        if stage.op in (CONV, DEPTHWISE):
            window = self.window(at)
            taps, depth = window.kernel[0] * window.kernel[1], None
            if stage.op == CONV:
                require(window.depth_multiplier == 0, "reserved")
                depth = source.channels
                self.check_covering(stage, window)
            else:
                require(out.channels == source.channels * window.depth_multiplier, "multiplier")
            if stage.form == FOLDED:
                shape = (window.kernel, window.stride, window.dilation, window.depth_multiplier)
                require(shape == ((3, 3), (2, 2), (1, 1), 1), "rolling depthwise")
                require(max(window.pad) < 3, "rolling depthwise")
            window.filter = self.filter(at + 24, window.act, taps, out.channels, depth)
            return {"window": window}
        if stage.op == BOTTLENECK:
            return self.bottleneck(stage, at)
        if stage.op == ELEMENTWISE:
            return self.elementwise(at)
        if stage.op == MATMUL:
            fields = self.elementwise(at)
            require(fields["function"] == 2, "function of a matrix")
            matrix = self.tensors[stage.inputs[1]]
            one = matrix.pixels == out.channels
            require(one or (matrix.height, matrix.width) == (out.height, out.channels), "matrices")
            same = (source.height, source.width) == (out.height, out.width)
            require(same and source.channels == matrix.channels, "shapes of matrices")
            return {**fields, "one": one}
        if stage.op in (AVG_POOL, MAX_POOL):
            window = self.window(at)
            require(window.depth_multiplier == 0 and window.dilation == (1, 1), "pool")
            return {"window": window}
        if stage.op == MEAN:
            over_height, over_width, zero, bias, multiplier, shift = self.unpack("BBHiii", at)
            require(zero == 0, "reserved")
            require(over_height == (stage.form == ACCUMULATING), "form of a mean")
            return {
                "over": (over_height, over_width),
                "bias": bias,
                "multiplier": multiplier,
                "shift": shift,
            }
        if stage.op == SOFTMAX:
            return {"table": self.array("<i4", 256, *self.unpack("I", at))}
        if stage.op == LOOKUP:
            return {"table": self.array("u1", 256, *self.unpack("I", at), 1)}
        if stage.op == CONCAT:
            axis, *zeros = self.unpack("BBBB", at)
            require(not any(zeros) and axis <= 2, "concat")
            return {"axis": axis}
        if stage.op == RESIZE:
            rows, cols = self.unpack("II", at)
            return {
                "rows": self.array("<u2", 2 * out.height, rows).reshape(-1, 2),
                "cols": self.array("<u2", 2 * out.width, cols).reshape(-1, 2),
            }
        if stage.op == MOVE:
            return self.move(at, source, out)
        require(stage.op == PAD, "operator")
        *before, value, zero = self.unpack("HHHbB", at)
        require(zero == 0, "reserved")
        return {"before": tuple(before), "value": value}

    def move(self, at: int, source: Tensor, out: Tensor) -> dict[str, Any]:
        offset, *loops = self.unpack("11I", at)
        counts, strides = loops[:5], loops[5:]
        sizes = [t.pixels * t.channels for t in (source, out)]
        require(max(sizes) < 2**31 and prod(counts) == sizes[1], "counts of loops")
        last = offset + sum((n - 1) * s for n, s in zip(counts, strides, strict=True))
        require(last < sizes[0], "loops beyond the input")
        reads = np.array([offset])
        for n, s in zip(counts, strides, strict=True):
            reads = (reads[:, None] + np.arange(n) * s).ravel()
        return {"reads": reads}

    def elementwise(self, at: int) -> dict[str, Any]:
        (ma, mb, mo, sa, sb, so, left, low, high, function, *zeros) = self.unpack(
            "iiibbbBhhBBBB", at
        )
        require(not any(zeros) and function <= 6, "elementwise")
        return {
            "a": (ma, sa), "b": (mb, sb), "out": (mo, so), "left_shift": left,
            "act": (low, high), "function": function,
        }  # fmt: skip

    def bottleneck(self, stage: Stage, at: int) -> dict[str, Any]:
        mid, slice_, col_tile, *zero_points, kept, row_tile = self.unpack("HHHbbbBH", at)
        source, out = self.tensors[stage.inputs[0]], self.tensors[stage.output]
        window = self.window(at + 12)
        most = window.kernel[0] - window.stride[0] if stage.form == ROLLING else 0
        require(kept <= most, "kept_rows")
        require(window.dilation == (1, 1) and window.depth_multiplier == 1, "depthwise")
        taps = window.kernel[0] * window.kernel[1]
        window.filter = self.filter(at + 36, window.act, taps, mid)
        fields: dict[str, Any] = {
            "mid": mid,
            "slice": slice_,
            "col_tile": col_tile,
            "row_tile": row_tile,
            "kept_rows": kept,
            "zero_points": tuple(zero_points),
            "window": window,
        }
        grid = self.unpack("HH", at + 112)
        require(min(grid) > 0, "grid")
        if stage.flags & 1:
            expansion = self.window(at + 44)
            require(expansion.dilation == (1, 1) and expansion.depth_multiplier == 0, "expand")
            taps = expansion.kernel[0] * expansion.kernel[1]
            fields["expand_kernel"] = expansion.kernel
            fields["expand"] = self.filter(at + 68, expansion.act, taps, mid, source.channels)
            sizes = (source.height, source.width)
            shape = (sizes, expansion.stride, expansion.pad, expansion.kernel)
            fields["expansion"] = tuple(Axis(*values) for values in zip(*shape, strict=True))
            plain = (expansion.kernel, expansion.stride, expansion.pad) == ((1, 1), (1, 1), (0, 0))
            require(plain or not stage.flags & 4, "expansion of a residual")
        else:
            require(self.data[at + 44 : at + 76] == bytes(32), "expand")
            require(grid == (source.height, source.width), "grid")
            fields["expand_kernel"] = (0, 0)
        fields["grid"] = grid
        if stage.flags & 2:
            low, high = self.unpack("hh", at + 76)
            require(-128 <= low <= high <= 127, "range of activations")
            fields["project"] = self.filter(at + 80, (low, high), 1, out.channels, mid)
        else:
            require(self.data[at + 76 : at + 88] == bytes(12), "project")
        if stage.flags & 4:
            fields["add"] = self.elementwise(at + 88)
        else:
            require(self.data[at + 88 : at + 112] == bytes(24), "add")
        return fields


# --- Firing ------------------------------------------------------------------------------


def accumulates(stage: Stage) -> bool:
    return stage.form == ACCUMULATING


def by_pixels(stage: Stage) -> bool:
    """Whether it is an operator of pixels."""
    if stage.op == CONCAT:
        return bool(stage.fields["axis"] != 1)
    if stage.op == MEAN:
        return accumulates(stage)
    return stage.op not in (OUTPUT, RESIZE, PAD)


def clip(value: int, size: int) -> int:
    return min(max(value, 0), size)


@dataclass(frozen=True)
class Axis:
    """(stride, pad, span) of a window along an axis of an input."""

    size: int
    stride: int = 1
    pad: int = 0
    span: int = 1

    def start(self, first: int) -> int:
        return clip(first * self.stride - self.pad, self.size)

    def end(self, end: int) -> int:
        return clip((end - 1) * self.stride - self.pad + self.span, self.size)


class Engine:
    """The rule of "Firing", on a blob's own records."""

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.firings = [self.count(stage) for stage in blob.stages]

    def order(self) -> list[int]:
        """The stage of each firing, to the end or to a stall."""
        blob = self.blob
        fired = [0] * len(blob.stages)
        order: list[int] = []

        def produced(tensor: int) -> int:
            t = blob.tensors[tensor]
            if t.producer == NONE:
                return t.pixels
            done = fired[t.producer]
            return self.given(blob.stages[t.producer], done - 1) if done else 0

        def dead(tensor: int) -> int:
            t = blob.tensors[tensor]
            least = t.pixels if t.readers else 0
            for reader in t.readers:
                if fired[reader] < self.firings[reader]:
                    stage = blob.stages[reader]
                    for i, other in enumerate(stage.inputs):
                        if other == tensor:
                            least = min(least, self.needs(stage, i, fired[reader])[0])
            return least

        def can_fire(number: int) -> bool:
            stage = blob.stages[number]
            firing = fired[number]
            if firing == self.firings[number]:
                return False
            for i, tensor in enumerate(stage.inputs):
                if produced(tensor) < self.needs(stage, i, firing)[1]:
                    return False
            if stage.op == OUTPUT or blob.tensors[stage.output].whole:
                return True
            pixels = self.given(stage, firing) - dead(stage.output)
            return pixels <= blob.tensors[stage.output].capacity

        # A firing changes what its own stage, its readers and its sources can do, no other's.
        maybe = set(range(len(blob.stages)))
        while maybe:
            number = min(maybe)
            if not can_fire(number):
                maybe.remove(number)
                continue
            stage = blob.stages[number]
            fired[number] += 1
            order.append(number)
            maybe.update(blob.tensors[i].producer for i in stage.inputs)
            maybe.discard(NONE)
            if stage.op != OUTPUT:
                maybe.update(blob.tensors[stage.output].readers)
        return order

    def source(self, stage: Stage, which: int = 0) -> Tensor:
        return self.blob.tensors[stage.inputs[which]]

    def absorbed(self, stage: Stage) -> int:
        """A, in rows."""
        kept = stage.fields["kept_rows"] - stage.fields["window"].pad[0]
        return min(stage.fields["grid"][0], max(0, kept))

    def strips(self, stage: Stage) -> int:
        """R."""
        if stage.op == OUTPUT or accumulates(stage):
            return -(-self.source(stage).width // stage.strip)
        return -(-self.blob.tensors[stage.output].width // stage.strip)

    def count(self, stage: Stage) -> int:
        if stage.op == OUTPUT or accumulates(stage):
            return self.source(stage).height * self.strips(stage)
        height = self.blob.tensors[stage.output].height
        if stage.form == FOLDED:
            return (2 * height + 1) * self.strips(stage)
        if stage.form == ROLLING:
            return (self.absorbed(stage) + height) * self.strips(stage)
        return -(-height // stage.fields.get("row_tile", 1)) * self.strips(stage)

    def gives(self, stage: Stage, firing: int) -> tuple[int, int, int, int]:
        """y0, y1, x0, x1 of an ordinary stage."""
        tile = stage.fields.get("row_tile", 1)
        row, column = divmod(firing, self.strips(stage))
        height = self.blob.tensors[stage.output].height
        return row * tile, min((row + 1) * tile, height), *self.columns_of(stage, column)

    def columns_of(self, stage: Stage, number: int) -> tuple[int, int]:
        """x0 and x1 of a strip of the frame."""
        by_input = stage.op == OUTPUT or accumulates(stage)
        width = (self.source(stage) if by_input else self.blob.tensors[stage.output]).width
        return number * stage.strip, min((number + 1) * stage.strip, width)

    def given(self, stage: Stage, firing: int) -> int:
        """Pixels of the output that are there when a firing ends."""
        if stage.op == OUTPUT:
            return 0
        out = self.blob.tensors[stage.output]
        if accumulates(stage):
            return out.pixels if firing == self.count(stage) - 1 else 0
        if stage.form == FOLDED:
            step, column = divmod(firing, self.strips(stage))
            if step % 2:
                return step // 2 * out.width
            return (step // 2 - 1) * out.width + self.columns_of(stage, column)[1] if step else 0
        if stage.form == ROLLING:
            firing -= self.absorbed(stage) * self.strips(stage)
            if firing < 0:
                return 0
        _, y1, _, x1 = self.gives(stage, firing)
        return (y1 - 1) * out.width + x1

    def needs(self, stage: Stage, which: int, firing: int) -> tuple[int, int]:
        """Pixels [lo, hi) of an input."""
        source = self.source(stage, which)
        if stage.op == OUTPUT or accumulates(stage):
            row, column = divmod(firing, self.strips(stage))
            first, end = self.columns_of(stage, column)
            return row * source.width + first, row * source.width + end
        if stage.form == ROLLING:
            return self.rolling_needs(stage, firing)
        if stage.form == FOLDED:
            rows, columns = self.windows(stage, which)
            step, column = divmod(firing, self.strips(stage))
            row, (x0, x1) = step - rows.pad, self.columns_of(stage, column)
            if not 0 <= row < rows.size:
                return (clip(row, rows.size) * source.width,) * 2
            at = row * source.width
            return at + columns.start(x0), at + columns.end(x1)
        if stage.op == MOVE:
            return self.moved_from(stage, source, firing)
        y0, y1, x0, x1 = self.gives(stage, firing)
        if not by_pixels(stage):
            top, bottom = self.whole_rows(stage, which, y0)
            return top * source.width, max(top, bottom) * source.width
        rows, columns = self.windows(stage, which)
        seen = (rows.start(y0), rows.end(y1), columns.start(x0), columns.end(x1))
        lo, hi = self.pixels(stage, source.width, *seen, rows.start(y1))
        if stage.op == BOTTLENECK and stage.flags & 4:
            lo = min(lo, y0 * source.width + x0)
        return lo, hi

    def moved_from(self, stage: Stage, source: Tensor, firing: int) -> tuple[int, int]:
        """From the first pixel that is still read to the last that has been read."""
        y0, _, x0, x1 = self.gives(stage, firing)
        out = self.blob.tensors[stage.output]
        reads = stage.fields["reads"] // source.channels
        lo = reads[(y0 * out.width + x0) * out.channels :].min()
        return int(lo), int(reads[: (y0 * out.width + x1) * out.channels].max()) + 1

    def pixels(
        self, stage: Stage, width: int, top: int, bottom: int, left: int, right: int, after: int
    ) -> tuple[int, int]:
        """[lo, hi) of rows [top, bottom), columns [left, right), of a bottleneck's expansion if it
        has one."""
        if "expansion" in stage.fields:
            rows, columns = stage.fields["expansion"]
            bottom = rows.end(bottom) if bottom > top else 0
            top, after = rows.start(top), rows.start(after)
            left, right = columns.start(left), columns.end(right)
        if bottom <= top:
            return top * width, top * width
        hi = (bottom - 1) * width + right
        return min(top * width + left, after * width, hi), hi

    def rolling_needs(self, stage: Stage, firing: int) -> tuple[int, int]:
        rows, columns = self.windows(stage, 0)
        width, absorbed, strips = self.source(stage).width, self.absorbed(stage), self.strips(stage)
        add = bool(stage.flags & 4)
        column, last = self.columns_of(stage, firing % strips)
        first = columns.end(column) if column else 0
        end = columns.end(last)
        row = firing // strips
        if row < absorbed:
            lo, hi = self.pixels(stage, width, row, row + 1, first, end, row + 1)
            return 0 if add else lo, hi
        y = row - absorbed
        bottom = rows.end(y + 1)

        def not_kept(y: int) -> int:
            kept = clip(y * rows.stride - rows.pad + stage.fields["kept_rows"], rows.size)
            return max(absorbed, kept)

        top = min(bottom, not_kept(y))
        lo, hi = self.pixels(stage, width, top, bottom, first, end, not_kept(y + 1))
        return (min(lo, y * width + column) if add else lo), hi

    def windows(self, stage: Stage, which: int) -> tuple[Axis, Axis]:
        """Of rows and columns, of an operator of pixels."""
        fields, source = stage.fields, self.source(stage, which)
        sizes = fields.get("grid", (source.height, source.width))
        if "window" in fields:
            w = fields["window"]
            spans = [(k - 1) * d + 1 for k, d in zip(w.kernel, w.dilation, strict=True)]
            rows, columns = (Axis(*v) for v in zip(sizes, w.stride, w.pad, spans, strict=True))
            return rows, columns
        if stage.op == ELEMENTWISE:
            out = self.blob.tensors[stage.output]
            rows, columns = (
                Axis(size, int(size == whole))
                for size, whole in zip(sizes, (out.height, out.width), strict=True)
            )
            return rows, columns
        if stage.op == MATMUL and which == 1:
            rows = Axis(sizes[0], 0, 0, sizes[0]) if fields["one"] else Axis(sizes[0])
            return rows, Axis(sizes[1], 0, 0, sizes[1])
        before = 0
        if stage.op == CONCAT and fields["axis"] == 0:
            before = sum(self.source(stage, i).height for i in range(which))
        return Axis(sizes[0], 1, before), Axis(sizes[1])

    def whole_rows(self, stage: Stage, which: int, y: int) -> tuple[int, int]:
        """The rows of an input that output row y of an operator of rows needs."""
        source = self.source(stage, which)
        if stage.op == RESIZE:
            low, fraction = (int(v) for v in stage.fields["rows"][y])
            return low, low + (fraction != 0) + 1
        rows = Axis(source.height, 1, stage.fields["before"][0] if stage.op == PAD else 0)
        return rows.start(y), rows.end(y + 1)


# --- Work ----------------------------------------------------------------------------------


def is_even(stage: Stage, out: Tensor) -> bool:
    """Whether all strips have one length and the ring's end cuts none."""
    return out.width % stage.strip == 0 and (out.whole or out.capacity % stage.strip == 0)


def max_step_work(engine: Engine) -> int:
    """The rule of "Work", on a blob's own records."""
    header = engine.blob.header
    most = max(stage_work(engine, stage) for stage in engine.blob.stages)
    return header["stage_count"] + 4 * header["reader_count"] + most


def stage_work(engine: Engine, stage: Stage) -> int:
    if stage.op == OUTPUT:
        return stage.strip * engine.source(stage).channels
    out = engine.blob.tensors[stage.output]
    if stage.op == BOTTLENECK:
        return bottleneck_work(engine, stage, out)
    strip, per_element, channels = stage.strip, 1, out.channels
    if stage.op == MATMUL:
        per_element = engine.source(stage).channels + 1
    if stage.op == ARG_MAX:
        channels = engine.source(stage).channels + 1
    if "window" in stage.fields:
        height, width = stage.fields["window"].kernel
        if stage.op in (AVG_POOL, MAX_POOL):
            width = min(width, engine.source(stage).width)
        per_element = height * width + 1
    if stage.op == CONV and accumulates(stage):
        strip, per_element = 1, stage.strip * engine.source(stage).channels + 1
    elif stage.op == CONV:
        per_element = height * width * engine.source(stage).channels + 1
    elif stage.form == FOLDED:
        per_element = 7
    elif accumulates(stage):
        strip = out.width
        if stage.op == MEAN:
            per_element = 1 + (stage.strip if stage.fields["over"][1] else 1)
        else:
            per_element = 1 + min(stage.fields["window"].kernel[1], stage.strip)
    elif stage.op == MEAN:
        per_element = 1 + (engine.source(stage).width if stage.fields["over"][1] else 1)
    wrapped = sum(wrapped_row(engine, stage, i) for i in range(len(stage.inputs)))
    wrapped *= 1 if is_even(stage, out) else 2
    return strip * channels * per_element + wrapped


def wrapped_row(engine: Engine, stage: Stage, which: int) -> int:
    """The rule of "Wrapped rows": bytes of scratch for an input."""
    source = engine.source(stage, which)
    if not source.may_wrap or stage.op == MOVE:
        return 0
    if stage.op == BOTTLENECK:
        segment = bottleneck_columns(stage, source)
    elif accumulates(stage):
        segment = stage.strip
    else:
        _, columns = engine.windows(stage, which)
        segment = min(source.width, (stage.strip - 1) * columns.stride + columns.span)
    return -(-segment * source.channels // 16) * 16


def bottleneck_columns(stage: Stage, source: Tensor) -> int:
    """``columns`` of the state and scratch of a BOTTLENECK."""
    window, grid_width = stage.fields["window"], stage.fields["grid"][1]
    last = max(window.kernel[1], window.stride[1]) if stage.form == ROLLING else window.kernel[1]
    held = min(grid_width, (stage.fields["col_tile"] - 1) * window.stride[1] + last)
    if "expansion" not in stage.fields:
        return min(source.width, held)
    across = stage.fields["expansion"][1]
    return min(source.width, (held - 1) * int(across.stride) + int(across.span))


def bottleneck_work(engine: Engine, stage: Stage, out: Tensor) -> int:
    fields, source = stage.fields, engine.source(stage)
    kernel, mid = fields["window"].kernel, fields["mid"]
    projects, adds = bool(stage.flags & 2), bool(stage.flags & 4)
    expands = bool(stage.flags & 1)
    per_pixel = mid * (kernel[0] * kernel[1] + 1)
    per_pixel += out.channels * (mid + 1) * projects + out.channels * adds
    expand_kernel = fields["expand_kernel"]
    per_expanded = mid * (expand_kernel[0] * expand_kernel[1] * source.channels + 1) * expands
    columns = max(run_columns(engine, stage, x) for x in range(0, out.width, stage.strip))
    tiles, slices = -(-stage.strip // fields["col_tile"]), -(-mid // fields["slice"])
    starts = range(0, engine.count(stage), engine.strips(stage))
    rows = [firing_rows(engine, stage, firing) for firing in starts]
    most = max(
        given * stage.strip * per_pixel + expanded * columns * per_expanded
        for given, expanded in rows
    )
    read = max(expanded for _, expanded in rows) if expands else fields["row_tile"]
    copies = tiles * (slices * read + fields["row_tile"] * adds) * (2 - is_even(stage, out))
    return most + copies * wrapped_row(engine, stage, 0)


def run_columns(engine: Engine, stage: Stage, x: int) -> int:
    """Columns that a bottleneck's firing from output column x on expands."""
    _, columns = engine.windows(stage, 0)
    end = min(x + stage.strip, engine.blob.tensors[stage.output].width)
    if stage.form == ROLLING:
        return columns.end(end) - (columns.end(x) if x else 0)
    tile = stage.fields["col_tile"]
    return sum(columns.end(min(s + tile, end)) - columns.start(s) for s in range(x, end, tile))


def firing_rows(engine: Engine, stage: Stage, firing: int) -> tuple[int, int]:
    """Output rows of a bottleneck's firing, and the rows that it expands."""
    rows, _ = engine.windows(stage, 0)
    if stage.form != ROLLING:
        y0, y1, _, _ = engine.gives(stage, firing)
        return y1 - y0, rows.end(y1) - rows.start(y0)
    absorbed = engine.absorbed(stage)
    y = firing // engine.strips(stage) - absorbed
    if y < 0:
        return 0, 1
    not_kept = clip(y * rows.stride - rows.pad + stage.fields["kept_rows"], rows.size)
    return 1, rows.end(y + 1) - min(rows.end(y + 1), max(absorbed, not_kept))
