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
from narrows.graph.graph import (
    MAX_DIMENSION,
    MAX_TENSOR_BYTES,
    Array,
    Graph,
    Operator,
    Port,
    Quantization,
    Reshape,
    Tensor,
    verify_graph,
)
from narrows.graph.qgraph import Axis, ExternalDtype
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
from narrows.importers.onnx_kinds import causes, kinds_of
from narrows.importers.onnx_upgrade import upgraded
from narrows.importers.views import CHANNELS, HEIGHT, WIDTH, View, check_batch, regroup, standard

_INPUTS = ("float32", "int8", "uint8")
_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32")
NCHW: tuple[tuple[Axis, ...], ...] = ((), (CHANNELS,), (HEIGHT,), (WIDTH,))


# Operators that do not care which dimension is which, or say it by number.
_ANY_ORDER = frozenset((
    "Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear", "Add", "Sub", "Mul",
    "Div", "Clip", "Max", "Min", "Relu", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSwish",
    "HardSigmoid", "Pad", "Slice", "Split", "Concat",
))  # fmt: skip


class Refused(Exception):
    """The operator cannot be imported; the message is the reason."""


class NotTflites(Refused):
    """Because of how it is quantized, which ``requantize`` would not mind."""


class NotAbsorbed(Refused):
    """Because of how its input is stored."""

    def __init__(self) -> None:
        super().__init__("a Transpose, Flatten or Reshape before it cannot be absorbed")


class Skipped(Exception):
    """An operator before it was refused; nothing more can be said about this one."""


@dataclass(frozen=True, eq=False)
class Constant:
    """data: values. In QDQ form also its integers (int8, or int32 of biases) and what they
    stand for; the quantization's axis is one of data's."""

    data: Array
    integers: Array | None = None
    quantization: Quantization | None = None


Value: TypeAlias = Constant | View | None


@dataclass(frozen=True, eq=False)
class Integers:
    """What a value that is integers in the model holds. kind: NumPy's name of its type.
    quantization: None of an input, which only a DequantizeLinear tells."""

    kind: str
    quantization: Quantization | None = None


def real(node: Node) -> None:
    # True of nearly all operators, so not a line of the table.
    for name in node.record.inputs:
        if name in node.importer.integer:
            raise Refused(f"{name} is an integer tensor; a DequantizeLinear is missing")


@dataclass(frozen=True)
class Rule:
    """inputs: least and most. outputs: None for any."""

    build: Callable[[Node], None]
    inputs: tuple[int, int]
    checks: tuple[Callable[[Node], None], ...] = (real,)
    outputs: int | None = 1


def requantizable(path: str) -> str:
    """What errors call a model whose scales could be chosen anew."""
    return f"{path} (in QDQ form; 'narrows quantize --requantize' chooses new scales)"


class Importer:
    """Walks the nodes in order. ``values``: what every name became; None after a refusal."""

    def __init__(
        self, record: OnnxRecord, path: str, rules: Mapping[str, Rule], *, keep: bool
    ) -> None:
        self.record = record
        self.rules = rules
        self.path = path
        self.keep = keep  # quantization
        self.in_integers = keep and any(n.operator == "QuantizeLinear" for n in record.nodes)
        self.helped = False  # something is refused that requantization would not mind
        self.folder = Folder(record.opset)
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.values: dict[str, Value] = {n: Constant(a) for n, a in record.constants.items()}
        self.integer: dict[str, Integers] = {}  # values that are integers in the model
        # Where a tensor stands clipped to bounds: (tensor, least, most) -> tensor.
        self.clips: dict[tuple[int, float, float], int] = {}
        self.where = ""
        self.doubtful: set[str] = set()  # values that depend on what was refused

    def run(self, name: str) -> Graph:
        ports = []
        refused: dict[str, Unsupported] = {}  # by the first output's name
        for value in self.record.inputs:
            try:
                ports.append(self._add_input(value))
            except Refused as error:
                refused[value.name] = Unsupported("input", 0, printable(value.name), str(error))
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
                refused[tensor] = Unsupported(node.operator, node.index, printable(tensor), reason)
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
            known = {name for name, value in self.values.items() if value is not None}
            types = {name: value.dtype for name, value in self._inferred.items()}
            kinds, rest = kinds_of(causes(self.record, refused, known, types))
            path = requantizable(self.path) if self.helped else self.path
            raise UnsupportedError(path, rest, kinds)
        graph = Graph(
            name, tuple(self.tensors), tuple(self.operators), tuple(ports), tuple(outputs)
        )
        verify_graph(graph)
        return graph

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
            with contextlib.suppress(Refused, ValueError):
                storage, axes = standard(known)
                if len(known) == 4:
                    storage, axes = (known[2], known[3], known[1]), NCHW
                self.values[name] = View(self.tensor(name, storage), known, storage, axes)
                if value.dtype != "float32":
                    self.integer[name] = Integers(value.dtype)

    def reads(self, names: Sequence[str]) -> bool:
        """Whether the model reads one of these values."""
        read = {n for node in self.record.nodes for n in node.inputs} | set(self.record.outputs)
        return any(name in read for name in names if name)

    def _add_input(self, value: ValueRecord) -> Port:
        shape = value.shape
        if len(shape) > 1 and shape[0] is None:
            shape = (1, *shape[1:])  # a batch of any size
        known = tuple(n for n in shape if n is not None)
        if value.name in self.values:
            raise ModelError(f"{self.path}: input {printable(value.name)} is listed twice")
        if len(known) != len(shape) or not shape:
            raise Refused(
                f"it has no fixed shape: {value.words}; fix it with 'python -m "
                "onnxruntime.tools.make_dynamic_shape_fixed', or export it so"
            )
        nchw = len(known) == 4 and known[0] == 1 and not self._is_nhwc(value.name)
        try:
            check_batch(known)
            storage, axes = standard(known)
        except ValueError as error:
            raise Refused(str(error)) from error
        if nchw:
            storage, axes = (known[2], known[3], known[1]), NCHW
        made = self.tensor(printable(value.name), storage)
        self.values[value.name] = View(made, known, storage, axes)
        if value.dtype not in _INPUTS:  # what reads it is looked at all the same
            raise Refused(f"it is {value.dtype}; narrows takes inputs of {', '.join(_INPUTS)}")
        if value.dtype != "float32":
            self.integer[value.name] = Integers(value.dtype)
        dtype = self._outside(value.name)
        outside = (1, *storage) if nchw else known
        return Port(printable(value.name), made, dtype, outside, 0.0, 0, channels_first=nchw)

    def _is_nhwc(self, name: str) -> bool:
        """Whether the first operator that cares for the order of dimensions is a TRANSPOSE from
        NHWC to NCHW."""
        names = {name}
        for node in self.record.nodes:
            if not names.intersection(node.inputs):
                continue
            if node.operator == "Transpose":
                return node.attributes.get("perm") == [0, 3, 1, 2]
            if node.operator not in _ANY_ORDER:
                return False
            names.update(node.outputs)
        return False

    def _output(self, name: str) -> Port:
        value = self.values.get(name)
        if value is None and name in self.values:
            raise Skipped
        if not isinstance(value, View):
            raise Refused("it does not depend on an input")
        nchw = len(value.shape) == 4 and is_nchw(value)
        if nchw:
            shape: tuple[int, ...] = (1, *value.storage)
        elif value.contiguous:
            shape = value.shape
        else:
            raise NotAbsorbed
        return Port(name, value.tensor, self._outside(name), shape, 0.0, 0, channels_first=nchw)

    def _outside(self, name: str) -> ExternalDtype:
        """The type of an input or output; of integers whose quantization is dropped, float32."""
        integers = self.integer.get(name)
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
                return "this operator is not supported"
            low, high = rule.inputs
            if not low <= len(record.inputs) <= high or not record.outputs:
                return f"{len(record.inputs)} inputs and {len(record.outputs)} outputs"
            if not all(record.inputs[:low]):
                return "an input is missing"
            if rule.outputs is not None and any(record.outputs[rule.outputs :]):
                return f"{len(record.outputs)} outputs"
            for check in rule.checks:
                check(node)
            rule.build(node)
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
            self.values[record.outputs[0]] = Constant(_constant_of(record))
            return True
        if operator in ("Shape", "Size") and isinstance(values[0], View):
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
        if operator in ("QuantizeLinear", "DequantizeLinear"):
            made = [(_quantized if operator == "QuantizeLinear" else _dequantized)(node, constants)]
        elif operator == "Identity":
            made = [constants[0]]
        else:
            made = [Constant(result) for result in self.folder.fold(record, arrays)]
            if operator == "Transpose" and constants[0].quantization is not None:
                made = [_transposed(node, constants[0], made[0].data)]
        for name, constant in zip(record.outputs, made, strict=True):
            if name:
                self.values[name] = constant
        return True

    # --- What builders add ---------------------------------------------------------------

    def tensor(self, name: str, storage: Sequence[int], data: Array | None = None) -> int:
        """A new activation or constant operand."""
        height, width, channels = storage
        for n in storage:
            if not 0 < n <= MAX_DIMENSION:
                raise Refused(f"a dimension of {n}; 1 to {MAX_DIMENSION} are supported")
        if prod(storage) > MAX_TENSOR_BYTES:
            raise Refused(f"{prod(storage)} elements in one tensor")
        shape = (height, width, channels)
        values = None if data is None else np.asarray(data, np.float32).reshape(shape)
        self.tensors.append(Tensor(name, shape, "float32", None, values))
        return len(self.tensors) - 1

    def reshaped(self, view: View, shape: tuple[int, ...]) -> View:
        """The same elements in the same order under another shape."""
        regrouped = regroup(view, shape)
        return self.relabel(view, shape) if regrouped is None else regrouped

    def relabel(self, view: View, shape: tuple[int, ...]) -> View:
        """The same elements as a plain tensor of ``shape``; adds a RESHAPE where needed."""
        try:
            storage, axes = standard(shape)
        except ValueError as error:
            raise Refused(str(error)) from error
        if len(shape) == 4 and shape[1] == 1:  # of one channel: NCHW and NHWC are the same
            storage, axes = (shape[2], shape[3], 1), NCHW
        if not view.contiguous:
            raise NotAbsorbed
        if storage == view.storage:
            return View(view.tensor, shape, storage, axes)
        made = self.tensor(self.tensors[view.tensor].name, storage)
        self.operators.append(Reshape((view.tensor,), made))
        return View(made, shape, storage, axes)


def _constant_of(record: NodeRecord) -> Array:
    for key in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if key in record.attributes:
            value = record.attributes[key]
            if isinstance(value, np.ndarray):
                return value
            return np.asarray(value, np.float32 if "float" in key else np.int64)
    raise Refused("a constant of another kind than numbers")


def is_nchw(view: View) -> bool:
    """Dimensions longer than 1 are stored as channels, height and width."""
    pairs = zip(view.axes, NCHW, strict=True)
    return all({a for a in group if view.storage[a] > 1} <= set(wanted) for group, wanted in pairs)


class Node:
    """One node, as its checks and its builder see it."""

    def __init__(self, importer: Importer, record: NodeRecord) -> None:
        self.importer = importer
        self.record = record

    @property
    def operator(self) -> str:
        return self.record.operator

    @property
    def name(self) -> str:
        return self.record.outputs[0]

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

    def value(self, i: int) -> Constant | View:
        value = self.importer.values[self.record.inputs[i]]
        if value is None:
            raise Skipped
        return value

    def view(self, i: int = 0) -> View:
        """Where input i stands. Constants get a tensor of their own."""
        value = self.value(i)
        if isinstance(value, View):
            return value
        try:
            storage, axes = standard(value.data.shape)
        except ValueError as error:
            raise Refused(str(error)) from error
        if value.data.dtype.kind != "f":
            raise Refused(f"{self.record.inputs[i]} is a constant of {value.data.dtype}")
        made = self.importer.tensor(self.record.inputs[i], storage, value.data)
        return View(made, value.data.shape, storage, axes)

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
        if isinstance(self.value(0), Constant):
            raise Refused("its input is a constant; let onnxsim compute it beforehand")
        x = self.view(0)
        if len(x.shape) != 4 or x.shape[0] != 1:
            rank = f"{len(x.shape)} dimensions" if len(x.shape) != 4 else f"a batch of {x.shape[0]}"
            raise Refused(f"its input has {rank}; it takes [1, channels, height, width]")
        if not is_nchw(x):
            x = self.importer.relabel(x, x.shape)
            if not is_nchw(x):
                raise NotAbsorbed
        return replace(x, axes=NCHW)

    def new(self, storage: Sequence[int], i: int = 0) -> int:
        """The tensor that output i becomes."""
        return self.importer.tensor(self.record.outputs[i], storage)

    def emit(self, operator: Operator) -> None:
        self.importer.operators.append(operator)

    def result(self, view: View, i: int = 0) -> None:
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
        """Of a QuantizeLinear or DequantizeLinear, see ``parameters``."""
        constants = [self.constant(i, "scale and zero point") for i in (1, 2) if self.has(i)]
        return parameters(constants, kind)

    def still_integers(self) -> None:
        """Output 0 holds integers if input 0 does."""
        integers = self.importer.integer.get(self.record.inputs[0])
        if integers is not None:
            self.importer.integer[self.name] = integers


# --- Quantization ------------------------------------------------------------------------


def parameters(constants: Sequence[Constant], kind: str) -> tuple[Array, Array]:
    """(scales, zero points) of a QuantizeLinear or DequantizeLinear; uint8 is shifted by 128,
    which is the same int8."""
    scales = constants[0].data.astype(np.float32).reshape(-1)
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise Refused("a scale that is not a positive number")
    zero_points = np.zeros(scales.shape, np.int32)
    if len(constants) > 1:
        zero_points = np.broadcast_to(constants[1].data.reshape(-1), scales.shape).astype(np.int32)
    if kind == "uint8":
        zero_points = zero_points - 128
    return scales, zero_points.astype(np.int32)


def _along(node: Node, constants: Sequence[Constant], kind: str) -> tuple[Quantization, Any]:
    """Quantization of a constant, and the shape in which its scales meet the values."""
    values, name = constants[0].data, node.record.inputs[0]
    given = zip(constants[1:], node.record.inputs[1:], strict=True)
    scales, zero_points = parameters([c for c, n in given if n], kind)
    axis = 0
    if len(scales) > 1:
        axis = int(node.attribute("axis", 1)) % max(values.ndim, 1)
    if len(scales) not in (1, values.shape[axis] if values.ndim else 1):
        raise Refused(f"{len(scales)} scales of {name}: blocks are not TFLite's")
    shape = [len(scales) if d == axis else 1 for d in range(values.ndim)]
    return Quantization(scales, zero_points, axis), shape


def _quantized(node: Node, constants: Sequence[Constant]) -> Constant:
    """Of a float constant, as training with quantization in mind leaves it."""
    dtype = constants[2].data.dtype if node.has(2) else np.dtype(np.uint8)
    _check_integers(node, dtype, ("int8", "uint8"))
    q, shape = _along(node, constants, dtype.name)
    steps = np.rint(constants[0].data.astype(np.float32) / q.scales.reshape(shape))
    steps = steps + (q.zero_points.reshape(shape) + (128 if dtype == np.uint8 else 0))
    limits = np.iinfo(dtype)
    return Constant(np.clip(np.nan_to_num(steps), limits.min, limits.max).astype(dtype))


def _check_integers(node: Node, dtype: np.dtype[Any], known: Sequence[str]) -> None:
    if dtype.kind not in "iu":
        raise Refused(f"integers of type {dtype}")
    if node.importer.keep and dtype.name not in known:
        raise NotTflites(f"{node.record.inputs[0]} in {dtype}; TFLite's are {', '.join(known)}")


def _dequantized(node: Node, constants: Sequence[Constant]) -> Constant:
    """Weights and biases of QDQ form."""
    values = constants[0].data
    _check_integers(node, values.dtype, ("int8", "uint8", "int32"))
    q, shape = _along(node, constants, values.dtype.name)
    if values.dtype == np.uint8:
        values = (values.astype(np.int16) - 128).astype(np.int8)
    steps = values.astype(np.int64) - q.zero_points.reshape(shape)
    data = (steps * q.scales.astype(np.float64).reshape(shape)).astype(np.float32)
    return Constant(data, values, q) if node.importer.keep else Constant(data)


def _transposed(node: Node, constant: Constant, data: Array) -> Constant:
    q, values = constant.quantization, constant.integers
    assert q is not None
    assert values is not None
    order = node.attribute("perm", list(range(data.ndim))[::-1])
    axis = order.index(q.axis)
    return Constant(data, values.transpose(order), replace(q, axis=axis))
