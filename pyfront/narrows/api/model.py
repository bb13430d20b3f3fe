# SPDX-License-Identifier: Apache-2.0
"""Models: files of other frameworks, as ``quantize``, ``plan`` and ``compile`` take them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from narrows.errors import InputError, ModelError, UsageError
from narrows.files import read_file, write_file
from narrows.graph.detection import parse_detection
from narrows.graph.edges import HostEdge
from narrows.graph.graph import Graph
from narrows.graph.graph import Port as GraphPort
from narrows.graph.preprocessing import Preprocessing
from narrows.importers import load, model_files
from narrows.importers.metadata import model_metadata
from narrows.notebook import table
from narrows.quantization.measure import LayerReport
from narrows.result import Progress, no_progress


@dataclass(frozen=True)
class Port:
    """An input or output of a network, as its model's file has it.

    Attributes:
        name: the tensor's name.
        dtype: ``int8``, ``uint8`` or ``float32``; of outputs also ``int32``, ``int64``, ``bool``.
        shape: with the batch, which is 1, and with channels last; of inputs whose file has them
            first, either order is taken.
        scale: real value of one step of an integer: real = scale * (integer - zero_point). 0 for
            float32.
        zero_point: the integer that stands for 0.0.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float = 0.0
    zero_point: int = 0

    @staticmethod
    def of(edge: HostEdge | GraphPort) -> Port:
        """What is public of an edge."""
        scale, zero = (0.0, 0) if edge.dtype == "float32" else (edge.scale, edge.zero_point)
        return Port(edge.name, edge.dtype, edge.shape, scale, zero)


@dataclass(frozen=True, eq=False)
class Quantization:
    """How a model was quantized, and how far it is from the float network.

    Attributes:
        samples: how many calibration inputs were used; 0 if the file said the ranges.
        method: ``best`` or ``minmax``.
        weights: ``channel`` or ``tensor``, what has a scale of its own.
        decibels: ratio of signal to quantization noise at the output, before a softmax.
        layers: the same of each layer, with its range and its weights.
    """

    samples: int
    method: str
    weights: str
    decibels: float
    layers: tuple[LayerReport, ...]
    _page: Callable[[Progress], str] = field(repr=False)

    def report(self, progress: Progress = no_progress) -> str:
        """One HTML page about the layers and about the memory plans of the result, which it plans
        now."""
        return self._page(progress)


class Model:
    """A network in a ``.tflite`` or ``.onnx`` file: made by ``load_model`` and ``quantize``.

    It is never changed, so threads may share it.

    Attributes:
        path: its file; None for one that ``quantize`` has made.
        name: of the file.
        quantization: how it was quantized; None for a model from a file.
    """

    def __init__(
        self,
        source: str | Path | bytes,
        name: str | None = None,
        *,
        requantize: bool = False,
        input_shapes: Mapping[str, Sequence[int]] | None = None,
        quantization: Quantization | None = None,
    ) -> None:
        self.path = None if isinstance(source, bytes) else Path(source)
        self.name = name or (self.path.name if self.path is not None else "model")
        self.quantization = quantization
        self._source = source
        self._name = name
        self._requantize = requantize
        self._shapes = {key: tuple(shape) for key, shape in (input_shapes or {}).items()}
        self._graphs: dict[bool, Graph] = {}
        self._lock = threading.Lock()

    @property
    def place(self) -> str:
        """What errors call it: its path, or its name."""
        return self.name if self.path is None else str(self.path)

    @property
    def metadata(self) -> dict[str, Any]:
        """What narrows has stored in the file: ``labels``, ``preprocessing``, ``detection``.

        Raises:
            ModelError: it is damaged.
        """
        return model_metadata(self._source)

    @property
    def is_quantized(self) -> bool:
        """Whether it can be compiled; if not, ``quantize`` makes one of it that can."""
        return not _is_float(self._graph())

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What it takes, in order."""
        return tuple(map(Port.of, self._graph().inputs))

    @property
    def outputs(self) -> tuple[Port, ...]:
        """What it gives, in order."""
        return tuple(map(Port.of, self._graph().outputs))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What you should know although it can be taken, a line each."""
        return self._graph().warnings

    @property
    def data(self) -> bytes:
        """The file's bytes.

        Raises:
            NarrowsError: it cannot be read.
        """
        source = self._source
        return source if isinstance(source, bytes) else read_file(source, "model")

    def save(self, path: str | Path) -> None:
        """Write the model's file; it is whole there, or not at all.

        Raises:
            NarrowsError: the place cannot be written.
            UsageError: the file has weights in other files beside it, which are not copied.
        """
        if self.path is not None and len(model_files(self.path)) > 1:
            raise UsageError(f"{self.place}: its weights are in files beside it; copy them all")
        write_file(path, self.data)

    def _graph(self) -> Graph:
        """As compile takes it, or else as quantize does. Raises: ModelError: neither can."""
        with self._lock:
            known = next(iter(self._graphs.values()), None)
        if known is not None:
            return known
        try:
            return imported(self)
        except ModelError as refusal:
            try:
                return imported(self, floats=True)
            except ModelError:
                raise refusal from None

    def __repr__(self) -> str:
        kind = "quantized" if self.is_quantized else "float"
        return f"<narrows.Model {self.name}: {kind}, {_edges(self.inputs)} -> " + (
            f"{_edges(self.outputs)}>"
        )

    def _repr_html_(self) -> str:
        ports = [("input", port) for port in self.inputs]
        ports += [("output", port) for port in self.outputs]
        rows = [(kind, p.name, p.dtype, "x".join(map(str, p.shape))) for kind, p in ports]
        kind = "quantized" if self.is_quantized else "float"
        return table(("", "name", "type", "shape"), rows, f"{self.name}: {kind} network")


def load_model(
    path: str | Path,
    *,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    requantize: bool = False,
) -> Model:
    """Read a ``.tflite`` or ``.onnx`` file, float or quantized.

    Args:
        path: the file; its content says which kind it is.
        input_shapes: of an ``.onnx`` model's inputs whose shapes have free dimensions, by name,
            such as ``{"image": (1, 3, 96, 96)}``; ``""`` is the only input.
        requantize: take a quantized ``.onnx`` as the float network that it stands for, to choose
            new scales.

    Returns:
        The model; ``is_quantized`` says whether it can be compiled as it is.

    Raises:
        ModelError: the file cannot be read, is damaged or of another kind.
        UnsupportedError: operators that cannot be imported, all of them at once.
    """
    model = Model(path, requantize=requantize, input_shapes=input_shapes)
    model.is_quantized  # noqa: B018 - imports it, which finds what is wrong with it
    return model


def imported(model: Model, *, floats: bool = False) -> Graph:
    """The network of a model. floats: as ``quantize`` takes it, not as ``compile`` does.

    Raises: ModelError.
    """
    with model._lock:
        plain = model._graphs.get(False)
        if floats and plain is not None and _is_float(plain):
            return plain  # there is nothing in it that would be taken in another way
        if floats not in model._graphs:
            model._graphs[floats] = load(
                model._source,
                model._name,
                requantize=model._requantize,
                floats=floats or model._requantize,
                shapes=model._shapes,
            )
        return model._graphs[floats]


def as_model(model: Model | str | Path) -> Model:
    """A model that is one already, or the path of one. Raises: UsageError: neither."""
    if isinstance(model, Model):
        return model
    if isinstance(model, (str, Path)):
        return Model(model)
    raise UsageError(f"model: a narrows.Model or a path is expected, not {type(model).__name__}")


def stored_metadata(
    labels: Sequence[str] | None,
    preprocessing: Preprocessing | str | None,
    detection: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What is given, as files hold it. Raises: InputError: it is not what it must be."""
    metadata: dict[str, Any] = {}
    if labels is not None:
        if isinstance(labels, str) or not all(isinstance(label, str) for label in labels):
            raise InputError("labels: a sequence of strings is expected, class 0 first")
        metadata["labels"] = list(labels)
    if preprocessing is not None:
        metadata["preprocessing"] = _as_preprocessing(preprocessing).metadata
    if detection is not None:
        try:
            parse_detection(dict(detection))
        except ValueError as error:
            raise InputError(f"detection: {error}") from error
        metadata["detection"] = dict(detection)
    return metadata


def _as_preprocessing(given: Preprocessing | str) -> Preprocessing:
    try:
        return Preprocessing.named(given) if isinstance(given, str) else given
    except ValueError as error:
        raise InputError(f"preprocessing: {error}") from error


def _is_float(graph: Graph) -> bool:
    return any(tensor.dtype == "float32" for tensor in graph.tensors)


def _edges(ports: Sequence[Port]) -> str:
    return ", ".join(f"{port.dtype} {'x'.join(map(str, port.shape))}" for port in ports)
