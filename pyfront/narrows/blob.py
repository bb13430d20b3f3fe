# SPDX-License-Identifier: Apache-2.0
"""A blob as a user meets it: a file with a model, its edges, its labels, its name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from narrows.errors import BlobError
from narrows.files import read_file
from narrows.graph.edges import HostEdge
from narrows.native import Model, TensorInfo
from narrows.pack import unpack_edges, unpack_metadata
from narrows.pack.layout import HEADER


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes an input: resized, then real value = (pixel - mean) * scale.

    mean, scale: one number, or one per channel in the order of the input; pixels are 0 to 255.
    resize: "stretch" to the input's height and width, or "crop" the middle that has their shape.
    order: of an input's three channels, "RGB" or "BGR".
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    resize: Literal["stretch", "crop"] = "stretch"
    order: Literal["RGB", "BGR"] = "RGB"


class Header(NamedTuple):
    """The header of a blob, field by field (runtime/SPEC.md)."""

    magic: bytes
    major: int
    minor: int
    blob_bytes: int
    isa: int
    region_bytes: tuple[int, ...]
    tensor_count: int
    stage_count: int
    reader_count: int
    output_count: int
    input_count: int
    input_passes: int
    max_step_macs: int
    macs: int
    firings: int
    metadata_offset: int
    metadata_bytes: int
    reserved: int
    body_crc: int
    header_crc: int

    @property
    def arena_bytes(self) -> int:
        """Of all regions."""
        return sum(self.region_bytes)

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        fields = HEADER.unpack_from(data)
        return cls._make((*fields[:5], fields[5:9], *fields[9:]))


@dataclass(frozen=True, eq=False)
class Blob:
    """A blob that the runtime accepts and whose checksums are right.

    inputs, outputs: edges as the model's author sees them, one per tensor of ``model``.
    labels: classes of output 0; () if unknown.
    stage_names: what each stage computes; () if unknown.
    """

    data: bytes
    header: Header
    model: Model
    name: str
    inputs: tuple[HostEdge, ...]
    outputs: tuple[HostEdge, ...]
    labels: tuple[str, ...]
    stage_names: tuple[str, ...]
    preprocessing: Preprocessing | None
    metadata: dict[str, Any]


def read_blob(path: str | Path) -> Blob:
    """Raises: NarrowsError: cannot be read. BlobError: no blob, damaged, of another version."""
    return parse_blob(read_file(path, "blob"), str(path))


def parse_blob(data: bytes, name: str = "blob") -> Blob:
    """Open a blob. name: what errors call it. Raises: BlobError."""
    model = Model(data, name)
    model.verify()
    metadata = unpack_metadata(data)
    if "inputs" in metadata and "outputs" in metadata:
        inputs, outputs = unpack_edges(data)
    else:
        inputs = tuple(_plain_edge(i, info) for i, info in enumerate(model.inputs))
        outputs = tuple(_plain_edge(i, info) for i, info in enumerate(model.outputs))
    _check_edges(name, inputs, model.inputs)
    _check_edges(name, outputs, model.outputs)
    return Blob(
        data=data,
        header=Header.unpack(data),
        model=model,
        name=str(metadata.get("name", name)),
        inputs=inputs,
        outputs=outputs,
        labels=_strings(name, metadata, "labels"),
        stage_names=_strings(name, metadata, "stages"),
        preprocessing=parse_preprocessing(name, metadata.get("preprocessing")),
        metadata=metadata,
    )


def _plain_edge(index: int, info: TensorInfo) -> HostEdge:
    """A blob without metadata takes and gives its int8 tensors, in steps of 1."""
    return HostEdge(
        name=str(index),
        dtype="int8",
        shape=(1, *info.shape),
        scale=1.0,
        zero_point=info.zero_point,
        tensor_scale=1.0,
        tensor_zero_point=info.zero_point,
    )


def _check_edges(name: str, edges: Sequence[HostEdge], infos: Sequence[TensorInfo]) -> None:
    if [math.prod(edge.shape) for edge in edges] != [info.bytes for info in infos]:
        raise BlobError(f"{name}: metadata does not fit the tensors; compile it anew")
    for edge in edges:
        scales = [edge.tensor_scale] + [edge.scale] * (edge.dtype != "float32")
        points = [edge.tensor_zero_point, edge.zero_point]
        if not all(0 < scale < math.inf for scale in scales) or any(
            not -128 <= point <= 255 for point in points
        ):
            raise BlobError(f"{name}: metadata: quantization of {edge.name} is out of range")


def _strings(name: str, metadata: dict[str, Any], key: str) -> tuple[str, ...]:
    value = metadata.get(key, [])
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise BlobError(f"{name}: metadata: {key} is not a list of strings; compile it anew")
    return tuple(value)


def parse_preprocessing(name: str, value: Any) -> Preprocessing | None:
    """From the metadata of a blob or a model. name: what errors call it. Raises: BlobError."""
    if value is None:
        return None
    try:
        mean = tuple(float(v) for v in np.ravel(value["mean"]))
        scale = tuple(float(v) for v in np.ravel(value["scale"]))
        resize, order = value.get("resize", "stretch"), value.get("order", "RGB")
        if resize not in ("stretch", "crop") or order not in ("RGB", "BGR"):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BlobError(f"{name}: metadata: preprocessing is malformed; compile it anew") from error
    return Preprocessing(mean, scale, resize, order)
