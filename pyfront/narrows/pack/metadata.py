# SPDX-License-Identifier: Apache-2.0
"""The metadata of a blob: what the outside needs to know, and the runtime does not."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np

import narrows
from narrows.errors import BlobError
from narrows.graph.edges import HostEdge, host_edge
from narrows.graph.qgraph import Edge, Elements, ExternalDtype, LiveChannels, QGraph, QTensor
from narrows.stages.records import HEADER, MAGIC

# A tensor has at most 65,535 channels.
_MOST_CODE_BYTES = 2 * 65535


def producer() -> str:
    """What wrote the blob, with its version."""
    return f"narrows {narrows.__version__}"


def describe_edges(graph: QGraph, edges: tuple[Edge, ...]) -> list[dict[str, Any]]:
    """Inputs or outputs as JSON values."""
    described = []
    for edge in edges:
        value = vars(host_edge(edge, graph.tensors[edge.tensor])).copy()
        table, elements = value.pop("table"), value.pop("elements")
        if elements != "int8":
            value["elements"] = elements
        if table is not None:
            value["table"] = base64.b64encode(table).decode()
        described.append(value)
    return described


def describe_channels(tensors: Sequence[QTensor]) -> dict[str, dict[str, str]]:
    """``channels`` of the metadata. tensors: what each stage computes."""
    described = {}
    for stage, tensor in enumerate(tensors):
        if tensor.live is not None:
            codes = zlib.compress(tensor.live.codes.astype("<i2").tobytes(), 9)
            described[str(stage)] = base64.b64encode(codes).decode()
    return {"channels": described} if described else {}


def unpack_channels(metadata: Mapping[str, Any]) -> dict[int, LiveChannels]:
    """The live channels that metadata (see ``unpack_metadata``) give, by stage. Raises:
    ValueError: they are malformed."""
    described = metadata.get("channels", {})
    if not isinstance(described, dict):
        raise ValueError("channels is not an object")
    found = {}
    for stage, text in described.items():
        if not isinstance(text, str):
            raise ValueError(f"channels of stage {stage} are not a string")
        try:
            stream = zlib.decompressobj()
            codes = stream.decompress(base64.b64decode(text, validate=True), _MOST_CODE_BYTES)
            if not stream.eof or len(codes) % 2 != 0:
                raise ValueError("their length is wrong")
            found[int(stage)] = LiveChannels(np.frombuffer(codes, "<i2"))
        except (ValueError, zlib.error) as error:
            raise ValueError(f"channels of stage {stage}: {error}") from error
    return found


def unpack_metadata(blob: bytes) -> dict[str, Any]:
    """The metadata of a blob; {} if it has none.

    The runtime checks the blob; this checks only what it reads.

    Raises: BlobError: not a blob, or metadata that is not a JSON object.
    """
    if len(blob) < HEADER.size or blob[:4] != MAGIC:
        raise BlobError("not a narrows blob")
    values = HEADER.unpack_from(blob)
    offset, size = values[-5], values[-4]
    if not size:
        return {}
    if offset > len(blob) or size > len(blob) - offset:
        raise BlobError(f"metadata at byte {offset} reaches beyond the blob", offset=offset)
    try:
        value = json.loads(blob[offset : offset + size].decode())
    except (ValueError, RecursionError) as error:
        raise BlobError(f"metadata at byte {offset} is not JSON: {error}", offset=offset) from error
    if not isinstance(value, dict):
        raise BlobError(f"metadata at byte {offset} is not a JSON object", offset=offset)
    return value


def unpack_edges(blob: bytes) -> tuple[tuple[HostEdge, ...], tuple[HostEdge, ...]]:
    """Inputs and outputs of a blob, by which it runs without its model.

    Raises: BlobError: the metadata does not describe them.
    """
    metadata = unpack_metadata(blob)
    try:
        return (
            tuple(_edge(value) for value in metadata["inputs"]),
            tuple(_edge(value) for value in metadata["outputs"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BlobError(f"metadata does not describe inputs and outputs: {error!r}") from error


def _edge(value: dict[str, Any]) -> HostEdge:
    dtype: ExternalDtype = value["dtype"]
    elements: Elements = value.get("elements", "int8")
    if dtype not in get_args(ExternalDtype) or elements not in get_args(Elements):
        raise ValueError(f"dtype {dtype} of {elements}")
    if elements == "int8" and dtype not in ("int8", "uint8", "float32"):
        raise ValueError(f"dtype {dtype}")
    table = base64.b64decode(value["table"], validate=True) if "table" in value else None
    is_uint8 = dtype == "uint8" and elements == "int8"
    if (table is not None) != is_uint8 or (table is not None and len(table) != 256):
        raise ValueError("a table of 256 bytes belongs to uint8")
    channels_first = value.get("channels_first", False)
    if channels_first not in (False, True) or (channels_first and len(value["shape"]) < 3):
        raise ValueError("channels_first of a shape without channels")
    return HostEdge(
        name=str(value["name"]),
        dtype=dtype,
        shape=tuple(int(v) for v in value["shape"]),
        scale=float(value["scale"]),
        zero_point=int(value["zero_point"]),
        tensor_scale=float(value["tensor_scale"]),
        tensor_zero_point=int(value["tensor_zero_point"]),
        table=table,
        elements=elements,
        channels_first=bool(channels_first),
    )
