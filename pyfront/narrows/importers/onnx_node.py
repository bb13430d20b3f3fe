# SPDX-License-Identifier: Apache-2.0
"""Nodes of an ONNX graph, one after the other, and what each value becomes: a constant that is
known now, or a view of a tensor of the Graph."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, TypeAlias

import numpy as np
import onnx

from narrows.errors import ModelError, Unsupported, UnsupportedError
from narrows.graph.graph import Array, Graph, Port, verify_graph
from narrows.graph.qgraph import Axis, ExternalDtype
from narrows.importers import build
from narrows.importers.onnx_constants import (
    Constant,
    Integers,
    NotTflites,
    dequantized,
    given_constant,
    parameters,
    quantized,
    transposed,
)
from narrows.importers.onnx_file import (
    FOLDABLE,
    MALFORMED,
    Folder,
    NodeRecord,
    OnnxRecord,
    ValueRecord,
    inferred_values,
    printable,
)
from narrows.importers.onnx_kinds import kinds_of
from narrows.importers.onnx_order import is_ncw, is_nhwc
from narrows.importers.onnx_upgrade import upgraded
from narrows.importers.refusals import NotAbsorbed, Refused, Skipped, Step, causes, not_supported
from narrows.importers.views import (
    CHANNELS,
    HEIGHT,
    WIDTH,
    AnyView,
    Layout,
    Pieces,
    View,
    check_batch,
    standard,
)

# Types of what is no real number, and in which of them the model gives it: TFLite Micro knows no
# int64.
AS_THEY_ARE: Mapping[str, ExternalDtype] = {
    "bool": "bool",
    "int32": "int32",
    "int64": "int32",
    "float32": "float32",
}
_INPUTS = ("float32", "int8", "uint8")
_UNMOVED = ("Identity", "Cast")
_OF_SHAPES = {"int64", "bool"}
_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32")
NCHW: tuple[tuple[Axis, ...], ...] = ((), (CHANNELS,), (HEIGHT,), (WIDTH,))
# Operators that repeat the operand which is shorter.
BROADCASTING = frozenset(("Add", "Sub", "Mul", "Div", "Max", "Min"))

Value: TypeAlias = Constant | View | Pieces | None


def real(node: Node) -> None:
    # True of nearly all operators, so not a line of the table.
    for name in node.record.inputs:
        integers = node.importer.integer.get(name)
        if integers is not None and integers.kind == "bool":
            raise Refused(f"{name} holds truth values; Where and Cast take them")
        if integers is not None and integers.kind in AS_THEY_ARE:
            raise Refused(f"{name} holds numbers of elements; Cast and Reshape take them")
        if integers is not None:
            raise Refused(f"{name} is an integer tensor; a DequantizeLinear is missing")


@dataclass(frozen=True)
class Rule(build.Rule["Node"]):
    """A rule of nodes that take real numbers, unless it has other checks."""

    checks: tuple[Callable[[Node], None], ...] = (real,)


def requantizable(path: str) -> str:
    """What errors call a model whose scales could be chosen anew."""
    return f"{path} (in QDQ form; 'narrows quantize --requantize' chooses new scales)"


class Importer(build.Builder):
    """Walks the nodes in order. ``values``: what every name became; None after a refusal."""

    movers = "Transpose, Flatten or Reshape"

    def __init__(
        self, record: OnnxRecord, path: str, rules: Mapping[str, Rule], *, keep: bool
    ) -> None:
        super().__init__(path, "float32")
        self.record = record
        self.rules = rules
        self.keep = keep  # quantization
        self.in_integers = keep and any(n.operator == "QuantizeLinear" for n in record.nodes)
        self.helped = False  # something is refused that requantization would not mind
        self.folder = Folder(record.opset)
        self.values: dict[str, Value] = {n: Constant(a) for n, a in record.constants.items()}
        self.integer: dict[str, Integers] = {}  # values that are integers in the model
        # Where a tensor stands clipped to bounds: (tensor, least, most) -> tensor.
        self.clips: dict[tuple[int, float, float], int] = {}
        self.where = ""
        self.doubtful: set[str] = set()  # values that depend on what was refused

    def run(self, name: str) -> Graph:
        ports = []
        refused: dict[int | str, Unsupported] = {}  # by a node's number, or a port
        for value in self.record.inputs:
            try:
                ports.append(self._add_input(value))
            except Refused as error:
                refused[f"input {value.name}"] = Unsupported(
                    "input", 0, printable(value.name), str(error)
                )
                self.doubtful.add(value.name)
                self.values.setdefault(value.name, None)
        for node in self.record.nodes:
            self.where = f"node {node.index} {node.operator}"
            tensor = node.outputs[0] if node.outputs else ""
            try:
                node = upgraded(node, self.record.opset, self._add_constant)
                reason = self._import(node)
            except MALFORMED as error:
                detail = " ".join(str(error).split())[:200]
                raise ModelError(
                    f"{self.path}: {self.where}: damaged, or of an unknown kind ({detail})"
                ) from error
            if reason is not None:
                item = Unsupported(node.operator, node.index, printable(tensor), reason)
                refused[node.index] = item
                self._stand_in(node)
            if reason is not None or self.doubtful.intersection(node.inputs):
                self.doubtful.update(node.outputs)
        outputs = []
        for output in self.record.outputs:
            try:
                outputs.append(self._output(output))
            except Refused as error:
                if not (isinstance(error, NotAbsorbed) and output in self.doubtful):
                    place = len(self.record.nodes)
                    item = Unsupported("output", place, printable(output), str(error))
                    refused[f"output {output}"] = item
            except Skipped:
                pass
        if refused:
            kinds, rest = kinds_of(self._causes(refused))
            path = requantizable(self.path) if self.helped else self.path
            raise UnsupportedError(path, rest, kinds)
        graph = Graph(
            name, tuple(self.tensors), tuple(self.operators), tuple(ports), tuple(outputs)
        )
        verify_graph(graph)
        return graph

    def _causes(self, refused: Mapping[int | str, Unsupported]) -> list[Unsupported]:
        types = {name: value.dtype for name, value in self._inferred.items()}
        steps: dict[int | str, Step] = {}
        lost = set(refused)
        for node in self.record.nodes:
            made = {types[n] for n in node.outputs if n in types}
            steps[node.index] = Step(node.inputs, node.outputs, bool(made) and made <= _OF_SHAPES)
            if all(self.values.get(n) is None for n in node.outputs[:1]):
                lost.add(node.index)
        outputs = [n for n in self.record.outputs if f"output {n}" not in refused]
        return causes(steps, outputs, refused, lost)

    def _add_constant(self, name: str, values: Array) -> None:
        self.values[name] = Constant(values)

    @cached_property
    def _inferred(self) -> dict[str, ValueRecord]:
        return inferred_values(self.record)

    def _stand_in(self, node: NodeRecord) -> None:
        """Give the outputs of a node that was refused a tensor each, so that what reads them is
        looked at too."""
        for name in node.outputs:
            value = self._inferred.get(name)
            if value is None or self.values[name] is not None:
                continue
            shape = tuple(1 if n is None and d == 0 else n for d, n in enumerate(value.shape))
            known = tuple(n for n in shape if n is not None)
            if value.dtype not in _INPUTS or len(known) != len(shape):
                continue
            with contextlib.suppress(Refused):
                self.values[name] = self.placed(name, known, _layout(known, nchw=len(known) == 4))
                if value.dtype != "float32":
                    self.integer[name] = Integers(value.dtype)

    def plain_layout(self, shape: tuple[int, ...]) -> Layout:
        # With one channel, NCHW and NHWC are the same.
        return _layout(shape, nchw=len(shape) == 4 and shape[1] == 1)

    def reads(self, names: Sequence[str]) -> bool:
        """Whether the model reads one of these values."""
        read = {n for node in self.record.nodes for n in node.inputs} | set(self.record.outputs)
        return any(name in read for name in names if name)

    def _shape_of(self, name: str) -> tuple[int | None, ...] | None:
        """The shape of a value, as far as it is known before it is computed."""
        given = {value.name: value.shape for value in self.record.inputs}
        if name in self.record.constants:
            return self.record.constants[name].shape
        value = self._inferred.get(name)
        return given.get(name) if value is None else value.shape

    def broadcasts(self, name: str) -> bool:
        """Whether all that reads a value is elementwise, and has another operand of its shape."""
        reading = [node for node in self.record.nodes if name in node.inputs]
        if name in self.record.outputs or not reading:
            return False
        for node in reading:
            others = [self._shape_of(n) for n in node.inputs if n != name]
            made = self._shape_of(node.outputs[0])
            if node.operator not in BROADCASTING or made is None or made not in others:
                return False
        return True

    def _add_input(self, value: ValueRecord) -> Port:
        shape = value.shape
        if len(shape) > 1 and shape[0] is None:
            shape = (1, *shape[1:])  # a batch of any size
        known = tuple(n for n in shape if n is not None)
        if value.name in self.values:
            raise ModelError(f"{self.path}: input {printable(value.name)} is listed twice")
        if len(known) != len(shape) or not shape:
            raise Refused(
                f"it has no fixed shape: {value.words}; give one, as in --input-shape "
                f"{'x'.join(str(n or 32) for n in shape) or '1x32'}"
            )
        nchw = len(known) == 4 and known[0] == 1 and not is_nhwc(self.record, value.name)
        ncw = len(known) == 3 and known[0] == 1 and is_ncw(self.record, value.name)
        check_batch(known)
        layout = _line_layout(known) if ncw else _layout(known, nchw=nchw)
        view = self.placed(printable(value.name), known, layout)
        self.values[value.name] = view
        if value.dtype not in _INPUTS:  # what reads it is looked at all the same
            raise Refused(f"it is {value.dtype}; narrows takes inputs of {', '.join(_INPUTS)}")
        if value.dtype != "float32":
            self.integer[value.name] = Integers(value.dtype)
        dtype = self._outside(value.name)
        outside = _channels_last(known) if nchw or ncw else known
        name = printable(value.name)
        return Port(name, view.tensor, dtype, outside, 0.0, 0, channels_first=nchw or ncw)

    def _output(self, name: str) -> Port:
        value = self.values.get(name)
        if value is None and name in self.values:
            raise Skipped
        if value is None or isinstance(value, Constant):
            raise Refused("it does not depend on an input")
        if len(value.shape) <= 4:
            value = self.settled(value, printable(name))
        nchw = len(value.shape) == 4 and isinstance(value, View) and is_nchw(value)
        nchw = nchw or (not value.contiguous and _is_channels_last(value))
        tensor = value.tensor if nchw else self.given(value, printable(name))
        shape = _channels_last(value.shape) if nchw else value.shape
        return Port(name, tensor, self._outside(name), shape, 0.0, 0, channels_first=nchw)

    def settled(self, view: AnyView, name: str = "") -> View:
        if isinstance(view, View) or view.contiguous or len(view.shape) != 4 or view.shape[0] != 1:
            return super().settled(view, name)
        return self.turned(view, _layout(view.shape, nchw=True), name)

    def turned(self, x: AnyView, layout: Layout, name: str) -> View:
        """x with this layout, which stores it with channels last."""
        last = x.picked([0, *range(2, len(x.shape)), 1])
        storage, axes = layout
        turned = (storage, (axes[0], *axes[2:], axes[1]))
        whole = self.relabel(last, last.shape, turned, name)
        return replace(whole, shape=x.shape, axes=axes)

    def _outside(self, name: str) -> ExternalDtype:
        """The type of an input or output; of integers whose quantization is dropped, float32."""
        integers = self.integer.get(name)
        if integers is not None and (kind := AS_THEY_ARE.get(integers.kind)):
            return kind
        if integers is None or not self.keep:
            return "float32"
        return "int8" if integers.kind == "int8" else "uint8"

    def _import(self, record: NodeRecord) -> str | None:
        """Add a node; the reason if it is refused."""
        node = Node(self, record)
        for name in record.outputs:
            if name in self.values:
                raise ModelError(f"{self.path}: {self.where} writes {name} a second time")
        for name in record.inputs:
            if name and name not in self.values:
                raise ModelError(
                    f"{self.path}: {self.where} reads {name}, which nothing has computed"
                )
        try:
            if self._known(node):
                return None
            rule = self.rules.get(record.operator)
            if rule is None and record.operator in (*FOLDABLE, "Shape", "Size"):
                for i, name in enumerate(record.inputs):
                    if name:
                        node.value(i)  # which may have been refused
            if rule is None:
                return not_supported(record.operator)
            rule.apply(node)
            return None
        except NotAbsorbed as refusal:
            return None if self.doubtful.intersection(record.inputs) else str(refusal)
        except Refused as refusal:
            self.helped |= isinstance(refusal, NotTflites)
            return str(refusal)
        except Skipped:
            return None
        finally:
            for name in record.outputs:
                if name:
                    self.values.setdefault(name, None)

    def _known(self, node: Node) -> bool:
        """Compute a node from constants and shapes; False if it needs an input's values."""
        record, operator = node.record, node.record.operator
        values = [self.values[n] if n else Constant(np.zeros(0)) for n in record.inputs]
        if operator == "Constant":
            self.values[record.outputs[0]] = given_constant(record)
            return True
        if operator in ("Shape", "Size") and isinstance(values[0], View | Pieces):
            shape = values[0].shape
            numbers = np.array(prod(shape), np.int64)
            if operator == "Shape":
                cut = slice(node.attribute("start", 0), node.attribute("end", None))
                numbers = np.array(shape[cut], np.int64)
            self.values[record.outputs[0]] = Constant(numbers)
            return True
        constants = [v for v in values if isinstance(v, Constant)]
        known = operator in FOLDABLE or operator in ("QuantizeLinear", "DequantizeLinear")
        if len(constants) != len(values) or not known or not values:
            return False
        arrays = [
            constant.data if name else None
            for name, constant in zip(record.inputs, constants, strict=True)
        ]
        if operator == "QuantizeLinear":
            made = [quantized(record, constants, keep=self.keep)]
        elif operator == "DequantizeLinear":
            made = [dequantized(record, constants, keep=self.keep)]
        elif operator == "Identity":
            made = [constants[0]]
        else:
            made = [Constant(result) for result in self.folder.fold(record, arrays)]
            if operator == "Transpose":
                made = [transposed(record, constants[0], made[0].data)]
        for name, constant in zip(record.outputs, made, strict=True):
            if name:
                self.values[name] = constant
        return True


def _layout(shape: tuple[int, ...], *, nchw: bool) -> Layout:
    storage, axes = standard(shape)
    return ((shape[2], shape[3], shape[1]), NCHW) if nchw else (storage, axes)


def _line_layout(shape: tuple[int, ...]) -> Layout:
    """[1, channels, length] as a column of pixels, so that each pixel is a row and may arrive and
    die by itself: the least RAM. A .tflite file's [1, length, channels] is stored so, too."""
    return (shape[2], 1, shape[1]), ((), (CHANNELS,), (HEIGHT,))


def _channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1])


def _is_channels_last(view: AnyView) -> bool:
    """[1, channels, height, width] or [1, channels, length] is stored with channels last, and
    otherwise in the order of its dimensions."""
    rank = len(view.shape)
    return rank in (3, 4) and view.shape[0] == 1 and view.picked([*range(2, rank), 1]).contiguous


def pixel_axes(view: View) -> tuple[Axis, ...] | None:
    """The stored axes of the dimensions behind [1, channels]: height and width, in either order, or
    one of them. None if the dimensions are not stored so."""
    _, channels, *pixels = ([a for a in group if view.storage[a] > 1] for group in view.axes)
    used = [a for group in pixels for a in group]
    if channels not in ([], [CHANNELS]) or CHANNELS in used or any(len(g) > 1 for g in pixels):
        return None
    free = [a for a in (HEIGHT, WIDTH) if a not in used]
    return tuple(group[0] if group else free.pop(0) for group in pixels)


def is_nchw(view: View) -> bool:
    """Dimensions longer than 1 are stored as channels, height and width."""
    pairs = zip(view.axes, NCHW, strict=True)
    return all({a for a in group if view.storage[a] > 1} <= set(wanted) for group, wanted in pairs)


class Node(build.Node):
    """One node, as its checks and its builder see it."""

    importer: Importer

    def __init__(self, importer: Importer, record: NodeRecord) -> None:
        self.importer = importer
        self.record = record

    @property
    def operator(self) -> str:
        return self.record.operator

    @property
    def name(self) -> str:
        return self.record.outputs[0]

    @property
    def input_count(self) -> int:
        return len(self.record.inputs)

    @property
    def output_count(self) -> int:
        return len(self.record.outputs)

    def gives(self, i: int) -> bool:
        return self.record.outputs[i] != ""

    def has(self, i: int) -> bool:
        return i < len(self.record.inputs) and self.record.inputs[i] != ""

    def attribute(self, name: str, default: Any) -> Any:
        return self.record.attributes.get(name, default)

    def flag(self, name: str, default: bool = False) -> bool:
        """An attribute that is 0 or 1; what runtimes make of other numbers differs."""
        number = self.attribute(name, int(default))
        if number not in (0, 1):
            raise Refused(f"its {name} is {number}, 0 or 1 are defined")
        return bool(number)

    def value(self, i: int) -> Constant | View | Pieces:
        value = self.importer.values[self.record.inputs[i]]
        if value is None:
            raise Skipped
        return value

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of an input."""
        value = self.value(i)
        return value.data.shape if isinstance(value, Constant) else value.shape

    def pieces(self, i: int = 0) -> AnyView:
        value, name = self.value(i), self.record.inputs[i]
        if not isinstance(value, Constant):
            return value
        layout = standard(value.data.shape)
        if value.data.dtype.kind != "f":
            raise Refused(f"{name} is a constant of {value.data.dtype}")
        return self.importer.placed(name, value.data.shape, layout, data=value.data)

    def constant(self, i: int, what: str) -> Constant:
        value = self.value(i)
        if not isinstance(value, Constant):
            raise Refused(f"its {what} is not a constant")
        return value

    def floats(self, i: int, what: str) -> Array:
        data = self.constant(i, what).data
        if data.dtype.kind != "f":
            raise Refused(f"its {what} is {data.dtype}")
        return data

    def ints(self, i: int, what: str) -> list[int]:
        data = self.constant(i, what).data
        if data.dtype.kind not in "iu":
            raise Refused(f"its {what} is {data.dtype}")
        return [int(n) for n in data.reshape(-1)]

    def operand(self, name: str, i: int, default: list[int] | None) -> list[int] | None:
        """Integers that older opsets have as an attribute, later ones as input i."""
        if self.has(i):
            return self.ints(i, name)
        value = self.attribute(name, default)
        return None if value is None else [int(n) for n in value]

    def nchw(self) -> View:
        """Input 0 of an operator that works on [1, channels, height, width]."""
        x = self._with_channels((4,))
        if not (isinstance(x, View) and is_nchw(x)):
            x = self.importer.turned(x, _layout(x.shape, nchw=True), self.called(0))
        return replace(x, axes=NCHW)

    def pixels(self) -> View:
        """Input 0 of an operator that works on [1, channels, height, width], which may be stored
        as width and height, or on [1, channels, length], which is stored as either."""
        x = self._with_channels((3, 4))
        axes = pixel_axes(x) if isinstance(x, View) else None
        if not isinstance(x, View) or axes is None:
            nchw = len(x.shape) == 4
            layout = _layout(x.shape, nchw=True) if nchw else _line_layout(x.shape)
            x = self.importer.turned(x, layout, self.called(0))
            axes = (HEIGHT, WIDTH) if nchw else (HEIGHT,)
        return replace(x, axes=((), (CHANNELS,), *((axis,) for axis in axes)))

    def _with_channels(self, ranks: Sequence[int]) -> AnyView:
        if isinstance(self.value(0), Constant):
            raise Refused("its input is a constant; let onnxsim compute it beforehand")
        x = self.pieces(0)
        if len(x.shape) not in ranks or x.shape[0] != 1:
            takes = "[1, channels, height, width]" + " or [1, channels, length]" * (3 in ranks)
            raise Refused(f"its input has shape {list(x.shape)}; it takes {takes}")
        return x

    def called(self, i: int) -> str:
        """What an operand is called; the node itself, of one that it makes of its own."""
        inputs = self.record.inputs
        return printable(inputs[i]) if i < len(inputs) else self.name

    def gives_name(self) -> str:
        return self.name

    def new(self, storage: Sequence[int], i: int = 0) -> int:
        integers = self.importer.integer.get(self.record.outputs[i])
        if integers is not None and integers.kind == "bool":
            return self.importer.truth(self.record.outputs[i], storage)
        return self.importer.tensor(self.record.outputs[i], storage)

    def result(self, view: AnyView, i: int = 0) -> None:
        self.importer.values[self.record.outputs[i]] = view

    def type_of(self, attribute: str) -> str:
        """NumPy's name of the type that an attribute gives; "" if it is not there."""
        number = self.attribute(attribute, 0)
        return onnx.helper.tensor_dtype_to_np_dtype(number).name if number else ""

    def quantized_type(self) -> str:
        """The name of the integers that a QuantizeLinear makes."""
        name = self.type_of("output_dtype") or "uint8"
        if self.has(2):
            name = self.constant(2, "zero point").data.dtype.name
        if name not in _INTEGERS:
            raise Refused(f"it quantizes to {name}, which is no integer of 8, 16 or 32 bits")
        return name

    def parameters(self, kind: str) -> tuple[Array, Array]:
        """The integers of a QuantizeLinear or DequantizeLinear; see ``parameters``."""
        constants = [self.constant(i, "scale and zero point") for i in (1, 2) if self.has(i)]
        return parameters(constants, kind)

    def still_integers(self) -> None:
        """Output 0 holds integers if input 0 does."""
        integers = self.importer.integer.get(self.record.inputs[0])
        if integers is not None and integers.kind == "bool" and self.operator not in _UNMOVED:
            raise Refused(f"{self.record.inputs[0]} holds truth values; Where and Cast take them")
        if integers is not None:
            self.importer.integer[self.name] = integers
