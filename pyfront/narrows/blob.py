# SPDX-License-Identifier: Apache-2.0
"""A blob as a user meets it: a file with a model, its edges, its labels, its name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narrows.errors import BlobError
from narrows.files import read_file
from narrows.graph import preprocessing as rules
from narrows.graph.detection import Detection, parse_detection
from narrows.graph.edges import HostEdge
from narrows.graph.preprocessing import Preprocessing as Preprocessing
from narrows.graph.qgraph import LiveChannels
from narrows.graph.sequences import Stream, parse_stream
from narrows.native import Model, Op, TensorInfo
from narrows.pack import unpack_channels, unpack_edges, unpack_metadata
from narrows.signing import Signature, split_signed
from narrows.stages.records import MAGIC
from narrows.stages.records import Header as Header


@dataclass(frozen=True, eq=False)
class Blob:
    """A blob that the runtime accepts and whose checksums are right.

    data: the blob alone. signature: what stood behind it in a signed file; nobody has verified it.
    inputs, outputs: edges as the model's author sees them, one per tensor of ``model``.
    labels: classes of output 0; () if unknown.
    stage_names: what each stage computes; () if unknown.
    stage_scales: the real value of one step of it; () if unknown.
    stage_channels: by stage, which of the model's channels are left of what it computes; others
        have all.
    detection: what its outputs say of places in the picture; None if nothing is known.
    stream: how it goes on, if it was made from the network of a window; a network that goes on
        otherwise has none.
    source: the model that it was compiled from, if whoever made it has said so.
    """

    data: bytes
    header: Header
    model: Model
    name: str
    inputs: tuple[HostEdge, ...]
    outputs: tuple[HostEdge, ...]
    labels: tuple[str, ...]
    stage_names: tuple[str, ...]
    stage_scales: tuple[float, ...]
    stage_channels: dict[int, LiveChannels]
    preprocessing: Preprocessing | None
    metadata: dict[str, Any]
    signature: Signature | None = None
    detection: Detection | None = None
    stream: Stream | None = None
    source: Path | None = None

    @property
    def goes_on(self) -> bool:
        """Whether an inference goes on with what the one before has made its variables."""
        return self.header.variables > 0


def is_blob(path: str | Path, data: bytes) -> bool:
    """Whether a file is meant to be a blob, and not a model. data: what it contains."""
    return data[:4] == MAGIC or Path(path).suffix == ".nrw"


def read_blob(path: str | Path) -> Blob:
    """A blob's file, signed or not.

    Raises: NarrowsError: cannot be read. BlobError: no blob, damaged, of another version.
    """
    return parse_blob(read_file(path, "blob"), str(path))


def parse_blob(data: bytes, name: str = "blob") -> Blob:
    """Open a blob, or the one in a signed file. name: what errors call it. Raises: BlobError."""
    data, signature = split_signed(data, name)
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
        stage_scales=_scales(name, metadata),
        stage_channels=_channels(name, metadata, model),
        preprocessing=parse_preprocessing(
            name, metadata.get("preprocessing"), inputs[0].shape[-1] if inputs[0].shape else 1
        ),
        metadata=metadata,
        signature=signature,
        detection=_detection(name, metadata.get("detection"), outputs),
        stream=_stream(name, metadata, inputs),
    )


def _stream(name: str, metadata: dict[str, Any], inputs: Sequence[HostEdge]) -> Stream | None:
    try:
        return parse_stream(metadata.get("stream"), inputs)
    except ValueError as error:
        raise BlobError(f"{name}: metadata: {error}; compile it anew") from error


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
    fitting = [edge.bytes for edge in edges] == [info.bytes for info in infos]
    if not fitting or any(min(e.shape, default=1) < 1 or len(e.shape) > 8 for e in edges):
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


def _channels(name: str, metadata: dict[str, Any], model: Model) -> dict[int, LiveChannels]:
    try:
        found = unpack_channels(metadata)
    except ValueError as error:
        raise BlobError(f"{name}: metadata: {error}; compile it anew") from error
    for stage, channels in found.items():
        live = int((channels.codes == LiveChannels.LIVE).sum())
        fits = 0 <= stage < len(model.stages) and model.stages[stage].op is not Op.OUTPUT
        if not fits or live != model.tensors[model.stages[stage].output].shape[2]:
            raise BlobError(
                f"{name}: metadata: channels of stage {stage} do not fit it; compile it anew"
            )
    return found


def _scales(name: str, metadata: dict[str, Any]) -> tuple[float, ...]:
    value = metadata.get("scales", [])
    if not isinstance(value, list) or not all(
        isinstance(entry, (int, float)) and 0 < entry < 1e38 for entry in value
    ):
        raise BlobError(f"{name}: metadata: scales are not positive numbers; compile it anew")
    return tuple(map(float, value))


def _detection(name: str, value: Any, outputs: Sequence[HostEdge]) -> Detection | None:
    if value is None:
        return None
    try:
        detection = parse_detection(value)
        detection.check([edge.shape for edge in outputs])
    except ValueError as error:
        raise BlobError(f"{name}: metadata: detection: {error}; compile it anew") from error
    return detection


def parse_preprocessing(name: str, value: Any, channels: int | None = None) -> Preprocessing | None:
    """From the metadata of a blob or a model; None for None.

    Args:
        name: what errors call it. channels: of the input, if known.

    Raises: BlobError.
    """
    if value is None:
        return None
    try:
        preprocessing = rules.parse_preprocessing(value)
        if channels is not None:
            preprocessing.check_channels(channels)
    except ValueError as error:
        raise BlobError(f"{name}: metadata: preprocessing: {error}; compile it anew") from error
    return preprocessing
