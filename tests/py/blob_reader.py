# SPDX-License-Identifier: Apache-2.0
"""A reader of blobs, written from runtime/SPEC.md alone: it imports nothing of the package."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

NONE = 0xFFFF
(
    INPUT, OUTPUT, CONV, DEPTHWISE, BOTTLENECK, ELEMENTWISE, AVG_POOL, MAX_POOL, MEAN, SOFTMAX,
    LOOKUP, CONCAT, RESIZE, SLICE, PAD, RESHAPE,
) = range(16)  # fmt: skip


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

    @property
    def row_bytes(self) -> int:
        return self.width * self.channels


@dataclass
class Filter:
    """weights: int8 bytes. table: int32 [channels, 3]: bias, multiplier, shift."""

    act: tuple[int, int]
    weights: np.ndarray
    table: np.ndarray


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
    flags: int
    inputs: list[int]
    output: int
    row_tile: int
    params: int
    state: tuple[int, int]
    scratch: tuple[int, int]
    fields: dict[str, Any]


@dataclass
class Blob:
    header: dict[str, int]
    tensors: list[Tensor]
    stages: list[Stage]
    outputs: list[int]
    metadata: dict[str, Any]


HEADER = (
    ("magic", "I"), ("major", "H"), ("minor", "H"), ("blob_bytes", "I"), ("isa", "I"),
    ("arena_bytes", "I"), ("tensor_count", "H"), ("stage_count", "H"), ("reader_count", "H"),
    ("output_count", "H"), ("input_count", "H"), ("input_passes", "H"), ("macs", "Q"),
    ("max_step_macs", "I"), ("firings", "I"), ("metadata_offset", "I"), ("metadata_bytes", "I"),
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
        require(h["major"] == 1, "major version")
        require(h["blob_bytes"] == len(self.data) and len(self.data) % 16 == 0, "blob_bytes")
        require(h["header_crc"] == zlib.crc32(self.data[:60]), "header CRC")
        require(h["body_crc"] == zlib.crc32(self.data[64:]), "body CRC")
        require(h["arena_bytes"] % 16 == 0, "arena_bytes")
        self.header = h
        stages_at = 64 + 20 * h["tensor_count"]
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
        for number, tensor in enumerate(self.tensors):
            reads = [s for s, stage in enumerate(stages) if number in stage.inputs]
            require(tensor.readers == reads, f"readers of tensor {number}")
        metadata = {}
        if h["metadata_bytes"]:
            start = h["metadata_offset"]
            metadata = json.loads(self.data[start : start + h["metadata_bytes"]].decode())
        return Blob(h, self.tensors, stages, outputs, metadata)

    def read_tensors(self, readers: list[int]) -> list[Tensor]:
        tensors = []
        next_reader = 0
        for i in range(self.header["tensor_count"]):
            (offset, capacity, height, width, channels, producer, first, count, zero, flags) = (
                self.unpack("IHHHHHHHbB", 64 + 20 * i)
            )
            require(first == next_reader, "readers follow each other")
            next_reader += count
            tensor = Tensor(
                offset, capacity, height, width, channels, producer,
                readers[first:next_reader], zero, bool(flags & 1),
            )  # fmt: skip
            require(flags <= 1 and 1 <= capacity <= height, f"tensor {i}")
            require((producer == NONE) == tensor.constant, f"producer of tensor {i}")
            end = offset + capacity * tensor.row_bytes
            room = len(self.data) if tensor.constant else self.header["arena_bytes"]
            require(offset % 16 == 0 and end <= room, f"place of tensor {i}")
            tensors.append(tensor)
        require(next_reader == len(readers), "all readers used")
        return tensors

    def read_stage(self, at: int) -> Stage:
        op, flags, count, reserved, output, row_tile, *rest = self.unpack("BBBBHH4HIIIII", at)
        inputs, (params, *regions) = rest[:4], rest[4:]
        require(reserved == 0 and count <= 4, "stage record")
        require(all(i == NONE for i in inputs[count:]), "unused inputs")
        require(all(i < len(self.tensors) for i in inputs[:count]), "inputs")
        for offset, size in (regions[:2], regions[2:]):
            require(offset % 16 == 0 and offset + size <= self.header["arena_bytes"], "region")
            require(size > 0 or offset == 0, "offset of nothing")
        require(params % 4 == 0, "params")
        stage = Stage(
            op, flags, inputs[:count], output, row_tile, params,
            (regions[0], regions[1]), (regions[2], regions[3]), {},
        )  # fmt: skip
        stage.fields = self.read_params(stage)
        return stage

    def window(self, at: int) -> Windowed:
        kh, kw, sh, sw, dh, dw, top, left, low, high, last = self.unpack("HHBBBBHHbbH", at)
        return Windowed((kh, kw), (sh, sw), (dh, dw), (top, left), (low, high), last)

    def filter(self, at: int, act: tuple[int, int], size: int, channels: int) -> Filter:
        weights, table = self.unpack("II", at)
        return Filter(
            act,
            self.array("i1", size, weights),
            self.array("<i4", 3 * channels, table).reshape(channels, 3),
        )

    def read_params(self, stage: Stage) -> dict[str, Any]:
        at = stage.params
        if stage.op in (INPUT, OUTPUT, RESHAPE):
            require(at == 0, "params of an operator without any")
            return {}
        require(at >= self.records_end, "params")
        source = self.tensors[stage.inputs[0]]
        out = self.tensors[stage.output]
        if stage.op in (CONV, DEPTHWISE):
            window = self.window(at)
            size = window.kernel[0] * window.kernel[1] * out.channels
            if stage.op == CONV:
                require(window.depth_multiplier == 0, "reserved")
                size *= source.channels
            else:
                require(out.channels == source.channels * window.depth_multiplier, "multiplier")
            window.filter = self.filter(at + 16, window.act, size, out.channels)
            return {"window": window}
        if stage.op == BOTTLENECK:
            return self.bottleneck(stage, at)
        if stage.op == ELEMENTWISE:
            return self.elementwise(at)
        if stage.op in (AVG_POOL, MAX_POOL):
            window = self.window(at)
            require(window.depth_multiplier == 0 and window.dilation == (1, 1), "pool")
            return {"window": window}
        if stage.op == MEAN:
            over_height, over_width, zero, bias, multiplier, shift = self.unpack("BBHiii", at)
            require(zero == 0, "reserved")
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
        if stage.op == SLICE:
            values = self.unpack("6H", at)
            return {"begin": values[:3], "stride": values[3:]}
        require(stage.op == PAD, "operator")
        *before, value, zero = self.unpack("HHHbB", at)
        require(zero == 0, "reserved")
        return {"before": tuple(before), "value": value}

    def elementwise(self, at: int) -> dict[str, Any]:
        (ma, mb, mo, sa, sb, so, left, low, high, function, zero) = self.unpack("iiibbbBbbBB", at)
        require(zero == 0 and function <= 2, "elementwise")
        return {
            "a": (ma, sa), "b": (mb, sb), "out": (mo, so), "left_shift": left,
            "act": (low, high), "function": function,
        }  # fmt: skip

    def bottleneck(self, stage: Stage, at: int) -> dict[str, Any]:
        mid, slice_, col_tile, expanded, filtered, projected, *zeros = self.unpack("HHHbbbBBB", at)
        require(not any(zeros), "reserved")
        source, out = self.tensors[stage.inputs[0]], self.tensors[stage.output]
        window = self.window(at + 12)
        require(window.dilation == (1, 1) and window.depth_multiplier == 1, "depthwise")
        size = window.kernel[0] * window.kernel[1] * mid
        window.filter = self.filter(at + 28, window.act, size, mid)
        fields: dict[str, Any] = {
            "mid": mid,
            "slice": slice_,
            "col_tile": col_tile,
            "zero_points": (expanded, filtered, projected),
            "window": window,
        }
        parts = (("expand", 36, 1, mid, source.channels), ("project", 48, 2, out.channels, mid))
        for name, offset, bit, channels, depth in parts:
            if stage.flags & bit:
                low, high, zero = self.unpack("bbH", at + offset)
                require(zero == 0, "reserved")
                fields[name] = self.filter(at + offset + 4, (low, high), channels * depth, channels)
            else:
                require(self.data[at + offset : at + offset + 12] == bytes(12), name)
        if stage.flags & 4:
            fields["add"] = self.elementwise(at + 60)
        else:
            require(self.data[at + 60 : at + 80] == bytes(20), "add")
        return fields


# --- Firing ------------------------------------------------------------------------------


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
            if t.constant:
                return t.height
            done = fired[t.producer]
            return self.gives(blob.stages[t.producer], done - 1)[1] if done else 0

        def dead(tensor: int) -> int:
            t = blob.tensors[tensor]
            rows = [t.height] if t.readers else [0]
            for reader in t.readers:
                if fired[reader] < self.firings[reader]:
                    stage = blob.stages[reader]
                    rows += [
                        self.needs(stage, i, fired[reader])[0]
                        for i, other in enumerate(stage.inputs)
                        if other == tensor
                    ]
            return min(rows)

        def can_fire(number: int) -> bool:
            stage = blob.stages[number]
            firing = fired[number]
            if firing == self.firings[number]:
                return False
            for i, tensor in enumerate(stage.inputs):
                if produced(tensor) < self.needs(stage, i, firing)[1]:
                    return False
            if stage.op == OUTPUT:
                return True
            rows = self.gives(stage, firing)[1] - dead(stage.output)
            return rows <= blob.tensors[stage.output].capacity

        while True:
            ready = next((n for n in range(len(blob.stages)) if can_fire(n)), None)
            if ready is None:
                return order
            fired[ready] += 1
            order.append(ready)

    def accumulates(self, stage: Stage) -> bool:
        if stage.op == MEAN:
            return bool(stage.fields["over"][0])
        return stage.op == AVG_POOL and bool(stage.flags & 1)

    def absorbed(self, stage: Stage) -> int:
        window = stage.fields["window"]
        kept = window.kernel[0] - window.stride[0]
        return min(self.height_in(stage), max(0, kept - window.pad[0]))

    def height_in(self, stage: Stage, which: int = 0) -> int:
        return self.blob.tensors[stage.inputs[which]].height

    def count(self, stage: Stage) -> int:
        if stage.op == OUTPUT or self.accumulates(stage):
            return self.height_in(stage)
        height = self.blob.tensors[stage.output].height
        if stage.op == BOTTLENECK and stage.flags & 8:
            return self.absorbed(stage) + height
        return -(-height // stage.row_tile)

    def gives(self, stage: Stage, firing: int) -> tuple[int, int]:
        """Rows [a, b) of the output; b counts all rows so far."""
        if stage.op == OUTPUT:
            return 0, 0
        if self.accumulates(stage):
            return 0, int(firing == self.height_in(stage) - 1)
        if stage.op == BOTTLENECK and stage.flags & 8:
            row = firing - self.absorbed(stage)
            return max(row, 0), max(row + 1, 0)
        height = self.blob.tensors[stage.output].height
        return firing * stage.row_tile, min((firing + 1) * stage.row_tile, height)

    def needs(self, stage: Stage, which: int, firing: int) -> tuple[int, int]:
        """Rows [lo, hi) of an input."""
        if stage.op == OUTPUT or self.accumulates(stage):
            return firing, firing + 1
        height = self.height_in(stage, which)
        add = stage.op == BOTTLENECK and bool(stage.flags & 4)
        if stage.op == BOTTLENECK and stage.flags & 8:
            window = stage.fields["window"]
            absorbed = self.absorbed(stage)
            if firing < absorbed:
                return (0 if add else firing), firing + 1
            y = firing - absorbed
            top = y * window.stride[0] - window.pad[0]
            hi = min(max(top + window.kernel[0], 0), height)
            kept = window.kernel[0] - window.stride[0]
            lo = min(hi, max(absorbed, min(max(top + kept, 0), height)))
            return (min(lo, y) if add else lo), hi
        first, end = self.gives(stage, firing)
        lo = self.rows(stage, which, first)[0]
        return (min(lo, first) if add else lo), self.rows(stage, which, end - 1)[1]

    def rows(self, stage: Stage, which: int, y: int) -> tuple[int, int]:
        """The rows of an input that output row y needs."""
        fields = stage.fields
        height = self.height_in(stage, which)
        stride, pad, extent = 1, 0, 1
        if "window" in fields:
            window = fields["window"]
            stride, pad = window.stride[0], window.pad[0]
            extent = (window.kernel[0] - 1) * window.dilation[0] + 1
        elif stage.op == ELEMENTWISE:
            stride = int(height > 1)
        elif stage.op == CONCAT and fields["axis"] == 0:
            pad = sum(self.height_in(stage, i) for i in range(which))
        elif stage.op == SLICE:
            stride, pad = fields["stride"][0], -fields["begin"][0]
        elif stage.op == PAD:
            pad = fields["before"][0]
        elif stage.op == RESIZE:
            low, fraction = (int(v) for v in fields["rows"][y])
            return low, low + (fraction != 0) + 1
        elif stage.op == RESHAPE:
            in_bytes = self.blob.tensors[stage.inputs[0]].row_bytes
            out_bytes = self.blob.tensors[stage.output].row_bytes
            return y * out_bytes // in_bytes, -(-(y + 1) * out_bytes // in_bytes)
        top = y * stride - pad
        return min(max(top, 0), height), min(max(top + extent, 0), height)
