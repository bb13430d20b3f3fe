# SPDX-License-Identifier: Apache-2.0
"""The sides of a comparison: a model at a place where each of its layers can be seen."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from narrows.blob import Blob, Preprocessing, is_blob, parse_blob, parse_preprocessing
from narrows.compiler import compile_model
from narrows.errors import ModelError, UsageError
from narrows.files import read_file
from narrows.graph.edges import Array, HostEdge, encode, host_edge, in_file
from narrows.graph.graph import Graph
from narrows.graph.qgraph import LiveChannels
from narrows.importers import load
from narrows.importers.metadata import model_metadata
from narrows.importers.tflite_file import read_model
from narrows.native import Op
from narrows.quantization import reference
from narrows.quantization.float_model import FloatArray, FloatModel
from narrows.quantization.lower import lower
from narrows.reference import TflmCrew
from narrows.result import Progress, Target
from narrows.targets import GIVE, host_of_thread, open_target

_PLACE = re.compile(r"@(host|tflm|numpy|qemu:.+|serial:.+|labgrid:.+)$")
_BATCHED = 4
# Of TensorFlow Lite Micro's tensors: the bytes of an element, and of all together.
_LARGEST_ELEMENT = 4
_MOST_PRESERVED = 1 << 30

Inputs: TypeAlias = Sequence[Array]
"""An array for each input of a network, as the model takes it."""

See: TypeAlias = Callable[[Inputs, int], Sequence[Array]]
"""Inputs -> the values of all layers, in their order. The number is that of the only layer that is
wanted, -1 for all; of others the values are not defined. Elements that could not be seen are
masked."""


@dataclass(frozen=True)
class Layer:
    """The output of one operator, or an input.

    shape: (height, width, channels).
    scale: real value of one step; None for floats, and if it is unknown.
    """

    name: str
    operator: str
    shape: tuple[int, int, int]
    is_float: bool
    scale: float | None = None
    zero_point: int = 0


@dataclass(frozen=True, eq=False)
class Side:
    """A network, ready to run.

    is_float: the network, not just its edges.
    layers: in the order in which they are computed.
    inputs, outputs: their layers; -1 where there is none that can be compared.
    edges: of the inputs, as the model takes them.
    jobs: from how many threads ``see`` may be called at a time.
    """

    spec: str
    is_float: bool
    layers: tuple[Layer, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    edges: tuple[HostEdge, ...]
    preprocessing: Preprocessing | None
    labels: tuple[str, ...]
    see: See
    jobs: int = 1


def open_side(
    spec: str, resources: contextlib.ExitStack, progress: Progress, jobs: int = 1
) -> Side:
    """Make one side ready.

    Args:
        spec: ``MODEL`` or ``MODEL@PLACE``. A blob runs at ``host`` (the default),
            ``qemu:BOARD``, ``serial:PORT`` or ``labgrid:PLACE``; an int8 model is compiled for
            these places, or runs at ``tflm`` (TensorFlow Lite Micro; the default of .tflite) or
            ``numpy`` (integers without any plan; the default of .onnx); a float model at
            ``numpy`` (the default) or ``tflm``.
        resources: closes what was opened for it.
        jobs: how many threads would call it at a time. A board serves one.

    Raises: UsageError: no such place, or not for this model. NarrowsError.
    """
    path, place = split_side(spec)
    data = read_file(path, "model")
    if is_blob(path, data):
        return _blob_side(spec, parse_blob(data, path), place or "host", resources, progress, jobs)
    graph = load(path)
    is_float = any(tensor.dtype == "float32" for tensor in graph.tensors)
    is_tflite = data[4:8] == b"TFL3"
    place = place or ("tflm" if is_tflite and not is_float else "numpy")
    if place == "tflm":
        if not is_tflite:
            raise UsageError(
                f"{spec}: TensorFlow Lite Micro runs .tflite models; give {path}@numpy"
            )
        return _tflm_side(spec, path, data, graph, is_float, jobs)
    if place == "numpy":
        numpy_side = _float_side if is_float else _integer_side
        return replace(numpy_side(spec, path, graph), jobs=jobs)
    if is_float:
        raise UsageError(f"{spec}: a float model runs at numpy or tflm; quantize it for {place}")
    blob = parse_blob(compile_model(path, progress=progress).blob, path)
    return _blob_side(spec, blob, place, resources, progress, jobs)


def split_side(spec: str) -> tuple[str, str]:
    """The path of a model, and its place; "" if none is named."""
    match = _PLACE.search(spec)
    if match is None or Path(spec).exists():
        path, _, place = spec.rpartition("@")
        if path and Path(path).exists() and not Path(spec).exists():
            raise UsageError(
                f"{spec}: no place {place!r}; give host, qemu:BOARD, serial:PORT, "
                "labgrid:PLACE, tflm or numpy"
            )
        return spec, ""
    return spec[: match.start()], match.group(1)


# --- Blobs --------------------------------------------------------------------------------------


def _blob_side(
    spec: str,
    blob: Blob,
    place: str,
    resources: contextlib.ExitStack,
    progress: Progress,
    jobs: int,
) -> Side:
    if place in ("tflm", "numpy"):
        raise UsageError(f"{spec}: a blob runs at {GIVE}")
    if place == "host":
        return replace(_dumping_side(spec, blob, host_of_thread(blob.data)), jobs=jobs)
    target = resources.enter_context(open_target(place, blob.data, progress, blob.signature))
    return target_side(spec, blob, target)


def target_side(spec: str, blob: Blob, target: Target) -> Side:
    """A blob where it is ready to run. spec: what the side is called."""
    return _dumping_side(spec, blob, lambda: target)


def _dumping_side(spec: str, blob: Blob, target: Callable[[], Target]) -> Side:
    """target: the one that the calling thread may use."""
    model = blob.model
    ports = _input_tensors(blob), blob.model.output_tensors
    edges = dict(zip((*ports[0], *ports[1]), (*blob.inputs, *blob.outputs), strict=True))
    layers, tensors = [], []
    live: dict[int, LiveChannels] = {}
    for number, stage in enumerate(model.stages):
        if stage.op is Op.OUTPUT:
            continue
        info = model.tensors[stage.output]
        scale = blob.stage_scales[number] if number < len(blob.stage_scales) else None
        name = blob.stage_names[number] if number < len(blob.stage_names) else ""
        if scale is None and stage.output in edges:
            scale = edges[stage.output].tensor_scale
        channels = blob.stage_channels.get(number)
        shape = (*info.shape[:2], info.shape[2] if channels is None else len(channels.codes))
        if channels is not None:
            live[stage.output] = channels
        layers.append(
            Layer(
                name or f"tensor {stage.output}",
                stage.op.name.lower(),
                shape,
                False,
                scale,
                info.zero_point,
            )
        )
        tensors.append(stage.output)

    position = {tensor: i for i, tensor in enumerate(tensors)}

    def see(values: Inputs, only: int) -> list[Array]:
        inside = [encode(edge, array) for edge, array in zip(blob.inputs, values, strict=True)]
        dump = target().dump(inside, None if only < 0 else tensors[only])
        return [
            live[tensor].fill(dump.values[tensor]) if tensor in live else dump.values[tensor]
            for tensor in tensors
        ]

    return Side(
        spec=spec,
        is_float=False,
        layers=tuple(layers),
        inputs=tuple(position.get(tensor, -1) for tensor in ports[0]),
        outputs=tuple(position.get(tensor, -1) for tensor in ports[1]),
        edges=blob.inputs,
        preprocessing=blob.preprocessing,
        labels=blob.labels,
        see=see,
    )


def _input_tensors(blob: Blob) -> tuple[int, ...]:
    """In the order of the blob's inputs, which is that of their stages."""
    return tuple(stage.output for stage in blob.model.stages if stage.op is Op.INPUT)


# --- Models -------------------------------------------------------------------------------------


def _model_side(
    spec: str,
    path: str,
    edges: tuple[HostEdge, ...],
    is_float: bool,
    layers: Sequence[tuple[int, Layer]],
    ports: tuple[Sequence[int], Sequence[int]],
    see: Callable[[Inputs], dict[int, Array]],
) -> Side:
    """A side of which every tensor of the model's file is seen at once.

    layers: with the number of each one's tensor, by which ``see`` returns its values.
    ports: tensors of the inputs, and of the outputs.
    """
    numbers = [number for number, _ in layers]
    metadata = model_metadata(path)
    labels = metadata.get("labels")
    position = {number: i for i, number in reversed(list(enumerate(numbers)))}

    def see_all(values: Inputs, only: int) -> list[Array]:
        seen = see(values)
        return [seen[number] for number in numbers]

    return Side(
        spec=spec,
        is_float=is_float,
        layers=tuple(layer for _, layer in layers),
        inputs=tuple(position.get(number, -1) for number in ports[0]),
        outputs=tuple(position.get(number, -1) for number in ports[1]),
        edges=edges,
        preprocessing=parse_preprocessing(path, metadata.get("preprocessing")),
        labels=tuple(map(str, labels)) if isinstance(labels, list) else (),
        see=see_all,
    )


def _integer_side(spec: str, path: str, graph: Graph) -> Side:
    """The integer model in NumPy: every operator, none of them fused."""
    qgraph = lower(graph)
    ports = [edge.tensor for edge in qgraph.inputs], [edge.tensor for edge in qgraph.outputs]
    kinds = [(number, "input") for number in ports[0]]
    kinds += [(op.output, op.kind) for op in qgraph.ops]
    layers = []
    for number, kind in kinds:
        t = qgraph.tensors[number]
        shape = (t.height, t.width, t.channels)
        layers.append((number, Layer(t.name, kind, shape, False, t.scale, t.zero_point)))
    edges = _input_edges(spec, graph, False)

    def see(values: Inputs) -> dict[int, Array]:
        inside = [
            encode(edge, array).reshape(layer.shape)
            for edge, array, (_, layer) in zip(edges, values, layers, strict=False)
        ]
        return dict(enumerate(reference.run_all(qgraph, inside)))

    return _model_side(spec, path, edges, False, layers, ports, see)


def _float_side(spec: str, path: str, graph: Graph) -> Side:
    """The float model in NumPy."""
    model = FloatModel(graph)
    ports = [port.tensor for port in graph.inputs], [port.tensor for port in graph.outputs]
    kinds = [(number, "input") for number in ports[0]]
    kinds += [(op.output, type(op).__name__.lower()) for op in graph.operators]
    layers = []
    for number, kind in kinds:
        height, width, channels = graph.tensors[number].shape
        shape = (height, width, channels)
        layers.append((number, Layer(graph.tensors[number].name, kind, shape, True)))

    def see(values: Inputs) -> dict[int, Array]:
        seen: dict[int, Array] = {}

        def keep(number: int, array: FloatArray) -> None:
            seen[number] = array.copy()

        model.run(values, keep)
        return seen

    return _model_side(spec, path, _input_edges(spec, graph, True), True, layers, ports, see)


def _tflm_side(spec: str, path: str, data: bytes, graph: Graph, is_float: bool, jobs: int) -> Side:
    """TensorFlow Lite Micro, told to preserve every tensor of the file."""
    record = read_model(data, path, {})
    kinds = [(number, "input") for number in record.inputs]
    kinds += [(number, op.name.lower()) for op in record.operators for number in op.outputs]
    ports = zip(record.inputs, graph.inputs, strict=True)
    first = frozenset(number for number, port in ports if port.channels_first)
    layers, preserved = [], 0
    for number, kind in kinds:
        tensor = record.tensors[number]
        preserved += _LARGEST_ELEMENT * int(np.prod(tensor.shape, dtype=object))
        if tensor.dtype not in ("int8", "float32") or len(tensor.shape) > _BATCHED:
            continue
        # Without the batch, which is 1.
        inner = tensor.shape[-3:] if len(tensor.shape) == _BATCHED else tensor.shape
        if number in first:
            inner = (*inner[1:], inner[0])
        height, width, channels = (1,) * (3 - len(inner)) + inner
        shape = (height, width, channels)
        is_real, q = tensor.dtype == "float32", tensor.quantization
        scale, zero = (None, 0) if q is None or is_real else (float(q.scale), q.zero_point)
        layers.append((number, Layer(tensor.name, kind, shape, is_real, scale, zero)))
    if preserved > _MOST_PRESERVED:
        raise ModelError(f"{spec}: its tensors take {preserved} bytes; give {path}@numpy")
    # All processes together preserve no more than one may.
    jobs = min(jobs, max(1, _MOST_PRESERVED // max(1, preserved)))
    tflm = TflmCrew(path, jobs, preserved)
    numbers = list(dict.fromkeys(number for number, _ in layers))

    edges = _input_edges(spec, graph, is_float)

    def see(values: Inputs) -> dict[int, Array]:
        taken = [in_file(edge, array) for edge, array in zip(edges, values, strict=True)]
        seen = dict(zip(numbers, tflm.see(taken, numbers), strict=True))
        return {n: np.moveaxis(v, 1, -1) if n in first else v for n, v in seen.items()}

    return replace(
        _model_side(spec, path, edges, is_float, layers, (record.inputs, record.outputs), see),
        jobs=jobs,
    )


def _input_edges(spec: str, graph: Graph, is_float: bool) -> tuple[HostEdge, ...]:
    if not is_float:
        qgraph = lower(graph)
        return tuple(host_edge(edge, qgraph.tensors[edge.tensor]) for edge in qgraph.inputs)
    for port in graph.inputs:
        if port.dtype != "float32":
            raise ModelError(f"{spec}: its input is {port.dtype}, but it computes in floats")
    return tuple(
        HostEdge(p.name, p.dtype, p.shape, 0.0, 0, 0.0, 0, channels_first=p.channels_first)
        for p in graph.inputs
    )
