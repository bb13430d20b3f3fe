# SPDX-License-Identifier: Apache-2.0
"""Import an ``.onnx`` model: float32, or int8 in QDQ form.

As in the importer of ``.tflite`` files, each operator has a rule: checks whose docstrings make
the table of supported operators, and a builder. NCHW becomes NHWC without moving a byte: views
know which axis of a stored tensor a dimension of the model's is. Nodes whose inputs are all
known are computed on the way.

In QDQ form a QuantizeLinear gives the tensor before it a scale and a zero point; a
DequantizeLinear of a constant gives weights. ``integers`` turns such a graph into a quantized
one, if TFLite's rules hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from narrows.errors import ModelError, Unsupported, UnsupportedError
from narrows.graph.graph import (
    MAX_DIMENSION,
    MAX_TENSOR_BYTES,
    Activation,
    Array,
    Binary,
    Concat,
    Conv,
    DepthwiseConv,
    FullyConnected,
    Graph,
    Mean,
    Operator,
    Pad,
    Pool,
    Port,
    Quantization,
    Reshape,
    Resize,
    Slice,
    Softmax,
    Tensor,
    Unary,
    UnaryFunction,
    verify_graph,
)
from narrows.graph.passes import drop_unused, fold_padding, fuse_activations
from narrows.graph.qgraph import Axis, Elementwise, ExternalDtype
from narrows.importers.onnx_file import (
    FOLDABLE,
    MALFORMED,
    Folder,
    NodeRecord,
    OnnxRecord,
    ValueRecord,
    read_onnx,
)
from narrows.importers.onnx_qdq import integers
from narrows.importers.simplify import fold_affine, fuse_hard_swish
from narrows.importers.tflite import SupportedOperator
from narrows.importers.views import CHANNELS, HEIGHT, WIDTH, View, regroup, standard

_MAX_STRIDE = 255
_MAX_GROUPS = 64
_MAX_FLATTENED_HEIGHT = 64
_NCHW: tuple[tuple[Axis, ...], ...] = ((), (CHANNELS,), (HEIGHT,), (WIDTH,))


def import_onnx(
    model: str | Path | bytes, name: str | None = None, *, requantize: bool = False
) -> Graph:
    """Import a model.

    Args:
        model: a path, or the bytes of a file.
        name: of the network, and of the file in errors; defaults to the file's stem.
        requantize: drop the quantization of a model in QDQ form, which gives a float network.

    Returns:
        The network in NHWC: float32, or quantized if the model is in QDQ form. Four-dimensional
        inputs and outputs are [1, height, width, channels].

    Raises:
        UnsupportedError: operators that cannot be imported, all of them; or tensors whose
            quantization does not keep TFLite's rules.
        ModelError: the file cannot be read, or is damaged.
    """
    path = (name or "model") if isinstance(model, bytes) else str(model)
    record = read_onnx(model, path)
    importer = _Importer(record, path, keep=not requantize)
    graph = importer.run(name or (path if isinstance(model, bytes) else Path(path).stem))
    steps = [fuse_activations, fold_affine, fuse_hard_swish, drop_unused]
    if any(t.quantization is not None and t.data is None for t in graph.tensors):
        steps.append(integers)
    for step in (*steps, fold_padding, drop_unused):
        graph = step(graph)
        verify_graph(graph)
    return graph


def supported_operators() -> tuple[SupportedOperator, ...]:
    """What can be imported, from the checks themselves; for the documentation."""
    rows = []
    for name, rule in sorted(_RULES.items()):
        texts = [" ".join((f.__doc__ or "").split()) for f in (*rule.checks, rule.build)]
        rows.append(SupportedOperator(name, tuple(t for t in texts if t)))
    return tuple(rows)


class _Refused(Exception):
    """The operator cannot be imported; the message is the reason."""


class _Skipped(Exception):
    """An operator before it was refused; nothing more can be said about this one."""


@dataclass(frozen=True, eq=False)
class _Constant:
    """data: values. In QDQ form also its integers (int8, or int32 of biases) and what they
    stand for; the quantization's axis is one of data's."""

    data: Array
    integers: Array | None = None
    quantization: Quantization | None = None


_Value: TypeAlias = _Constant | View | None


class _Importer:
    """Walks the nodes in order. ``values``: what every name became; None after a refusal."""

    def __init__(self, record: OnnxRecord, path: str, *, keep: bool) -> None:
        self.record = record
        self.path = path
        self.keep = keep  # quantization
        self.folder = Folder(record.opset)
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.values: dict[str, _Value] = {n: _Constant(a) for n, a in record.constants.items()}
        self.integer: dict[str, ExternalDtype] = {}  # values that are integers in the model
        self.where = ""

    def run(self, name: str) -> Graph:
        ports = [self._add_input(value) for value in self.record.inputs]
        refused = []
        for node in self.record.nodes:
            self.where = f"node {node.index} {node.operator}"
            try:
                reason = self._import(node)
            except MALFORMED as error:
                detail = " ".join(str(error).split())[:200]
                raise ModelError(
                    f"{self.path}: {self.where}: damaged, or of an unknown kind ({detail})"
                ) from error
            if reason is not None:
                tensor = node.outputs[0] if node.outputs else ""
                refused.append(Unsupported(node.operator, node.index, tensor, reason))
        outputs = []
        for output in self.record.outputs:
            try:
                outputs.append(self._output(output))
            except _Refused as error:
                refused.append(Unsupported("output", len(self.record.nodes), output, str(error)))
            except _Skipped:
                pass
        if refused:
            raise UnsupportedError(self.path, tuple(refused))
        graph = Graph(
            name, tuple(self.tensors), tuple(self.operators), tuple(ports), tuple(outputs)
        )
        verify_graph(graph)
        return graph

    def _add_input(self, value: ValueRecord) -> Port:
        shape = value.shape
        if len(shape) > 1 and shape[0] is None:
            shape = (1, *shape[1:])  # a batch of any size
        known = tuple(n for n in shape if n is not None)
        if len(known) != len(shape) or not shape:
            raise ModelError(f"{self.path}: input {value.name} has no fixed shape: {value.shape}")
        if value.dtype not in ("float32", "int8", "uint8"):
            raise ModelError(
                f"{self.path}: input {value.name} is {value.dtype}; float32 is supported"
            )
        if value.name in self.values:
            raise ModelError(f"{self.path}: input {value.name} is listed twice")
        nchw = len(known) == 4 and known[0] == 1 and not self._is_nhwc(value.name)
        try:
            storage, axes = standard(known)
            if nchw:
                storage, axes = (known[2], known[3], known[1]), _NCHW
            made = self.tensor(value.name, storage)
        except (_Refused, ValueError) as error:
            raise ModelError(f"{self.path}: input {value.name}: {error}") from error
        self.values[value.name] = View(made, known, storage, axes)
        dtype: ExternalDtype = "float32"
        if value.dtype != "float32":
            dtype = "int8" if value.dtype == "int8" else "uint8"
            self.integer[value.name] = dtype
        return Port(value.name, made, dtype, (1, *storage) if nchw else known, 0.0, 0)

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
            raise _Skipped
        if not isinstance(value, View):
            raise _Refused("it does not depend on an input")
        if len(value.shape) == 4 and _is_nchw(value):
            shape: tuple[int, ...] = (1, *value.storage)
        elif value.contiguous:
            shape = value.shape
        else:
            raise _Refused("a Transpose or Flatten before it cannot be absorbed")
        return Port(name, value.tensor, self.integer.get(name, "float32"), shape, 0.0, 0)

    def _import(self, record: NodeRecord) -> str | None:
        """Add a node; the reason if it is refused."""
        node = _Node(self, record)
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
            rule = _RULES.get(record.operator)
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
        except _Refused as refusal:
            return str(refusal)
        except _Skipped:
            return None
        finally:
            for name in record.outputs:
                if name:
                    self.values.setdefault(name, None)

    def _known(self, node: _Node) -> bool:
        """Compute a node from constants and shapes; False if it needs an input's values."""
        record, operator = node.record, node.record.operator
        values = [self.values[n] if n else _Constant(np.zeros(0)) for n in record.inputs]
        if operator == "Constant":
            self.values[record.outputs[0]] = _Constant(_constant_of(record))
            return True
        if operator in ("Shape", "Size") and isinstance(values[0], View):
            shape = values[0].shape
            numbers = np.array(prod(shape), np.int64)
            if operator == "Shape":
                cut = slice(node.attribute("start", 0), node.attribute("end", None))
                numbers = np.array(shape[cut], np.int64)
            self.values[record.outputs[0]] = _Constant(numbers)
            return True
        constants = [v for v in values if isinstance(v, _Constant)]
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
            made = [_Constant(result) for result in self.folder.fold(record, arrays)]
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
        if not all(0 < n <= MAX_DIMENSION for n in storage) or prod(storage) > MAX_TENSOR_BYTES:
            raise _Refused(f"shape {list(storage)} is not supported (1 to {MAX_DIMENSION})")
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
            raise _Refused(str(error)) from error
        if len(shape) == 4 and shape[1] == 1:  # of one channel: NCHW and NHWC are the same
            storage, axes = (shape[2], shape[3], 1), _NCHW
        if not view.contiguous:
            raise _Refused("a Transpose or Flatten before it cannot be absorbed")
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
    raise _Refused("a constant of another kind than numbers")


def _is_nchw(view: View) -> bool:
    """Dimensions longer than 1 are stored as channels, height and width."""
    pairs = zip(view.axes, _NCHW, strict=True)
    return all({a for a in group if view.storage[a] > 1} <= set(wanted) for group, wanted in pairs)


class _Node:
    """One node, as its checks and its builder see it."""

    def __init__(self, importer: _Importer, record: NodeRecord) -> None:
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

    def value(self, i: int) -> _Constant | View:
        value = self.importer.values[self.record.inputs[i]]
        if value is None:
            raise _Skipped
        return value

    def view(self, i: int = 0) -> View:
        """Where input i stands. Constants get a tensor of their own."""
        value = self.value(i)
        if isinstance(value, View):
            return value
        try:
            storage, axes = standard(value.data.shape)
        except ValueError as error:
            raise _Refused(str(error)) from error
        if value.data.dtype.kind != "f":
            raise _Refused(f"{self.record.inputs[i]} is a constant of {value.data.dtype}")
        made = self.importer.tensor(self.record.inputs[i], storage, value.data)
        return View(made, value.data.shape, storage, axes)

    def constant(self, i: int, what: str) -> _Constant:
        value = self.value(i)
        if not isinstance(value, _Constant):
            raise _Refused(f"its {what} is not a constant")
        return value

    def floats(self, i: int, what: str) -> Array:
        data = self.constant(i, what).data
        if data.dtype.kind != "f":
            raise _Refused(f"its {what} is {data.dtype}")
        return data

    def ints(self, i: int, what: str) -> list[int]:
        data = self.constant(i, what).data
        if data.dtype.kind not in "iu":
            raise _Refused(f"its {what} is {data.dtype}")
        return [int(n) for n in data.reshape(-1)]

    def operand(self, name: str, i: int, default: list[int] | None) -> list[int] | None:
        """Integers that older opsets have as an attribute, later ones as input i."""
        if self.has(i):
            return self.ints(i, name)
        value = self.attribute(name, default)
        return None if value is None else [int(n) for n in value]

    def nchw(self) -> View:
        """Input 0 of an operator that works on [1, channels, height, width]."""
        x = self.view(0)
        if len(x.shape) != 4 or x.shape[0] != 1:
            raise _Refused(
                f"its input has shape {list(x.shape)}, [1, channels, height, width] expected"
            )
        if not _is_nchw(x):
            x = self.importer.relabel(x, x.shape)
            if not _is_nchw(x):
                raise _Refused("a Transpose or Reshape before it cannot be absorbed")
        return replace(x, axes=_NCHW)

    def new(self, storage: Sequence[int], i: int = 0) -> int:
        """The tensor that output i becomes."""
        return self.importer.tensor(self.record.outputs[i], storage)

    def emit(self, operator: Operator) -> None:
        self.importer.operators.append(operator)

    def result(self, view: View, i: int = 0) -> None:
        self.importer.values[self.record.outputs[i]] = view


# --- Quantization ------------------------------------------------------------------------


def _parameters(constants: Sequence[_Constant], kind: str) -> tuple[Array, Array]:
    """(scales, zero points) of a QuantizeLinear or DequantizeLinear; uint8 is shifted by 128,
    which is the same int8."""
    scales = constants[0].data.astype(np.float32).reshape(-1)
    if not (np.isfinite(scales) & (scales > 0)).all():
        raise _Refused("a scale that is not a positive number")
    zero_points = np.zeros(scales.shape, np.int32)
    if len(constants) > 1:
        zero_points = np.broadcast_to(constants[1].data.reshape(-1), scales.shape).astype(np.int32)
    if kind == "uint8":
        zero_points = zero_points - 128
    return scales, zero_points.astype(np.int32)


def _along(node: _Node, constants: Sequence[_Constant], kind: str) -> tuple[Quantization, Any]:
    """Quantization of a constant, and the shape in which its scales meet the values."""
    values, name = constants[0].data, node.record.inputs[0]
    given = zip(constants[1:], node.record.inputs[1:], strict=True)
    scales, zero_points = _parameters([c for c, n in given if n], kind)
    axis = 0
    if len(scales) > 1:
        axis = int(node.attribute("axis", 1)) % max(values.ndim, 1)
    if len(scales) not in (1, values.shape[axis] if values.ndim else 1):
        raise _Refused(f"{len(scales)} scales of {name}: blocks are not TFLite's")
    shape = [len(scales) if d == axis else 1 for d in range(values.ndim)]
    return Quantization(scales, zero_points, axis), shape


def _quantized(node: _Node, constants: Sequence[_Constant]) -> _Constant:
    """Of a float constant, as training with quantization in mind leaves it."""
    kind = constants[2].data.dtype.name if node.has(2) else "uint8"
    if kind not in ("int8", "uint8"):
        raise _Refused(f"it quantizes to {kind}; TFLite's weights are int8")
    q, shape = _along(node, constants, kind)
    shift = 128 if kind == "uint8" else 0
    steps = np.rint(constants[0].data.astype(np.float32) / q.scales.reshape(shape))
    steps = steps + (q.zero_points.reshape(shape) + shift)
    low, high = -128 + shift, 127 + shift
    return _Constant(np.clip(np.nan_to_num(steps), low, high).astype(kind))


def _dequantized(node: _Node, constants: Sequence[_Constant]) -> _Constant:
    """Weights and biases of QDQ form."""
    values = constants[0].data
    if values.dtype.name not in ("int8", "uint8", "int32"):
        name = node.record.inputs[0]
        raise _Refused(f"{name} is {values.dtype}; int8, uint8 and int32 are TFLite's")
    q, shape = _along(node, constants, values.dtype.name)
    if values.dtype == np.uint8:
        values = (values.astype(np.int16) - 128).astype(np.int8)
    steps = values.astype(np.int64) - q.zero_points.reshape(shape)
    data = (steps * q.scales.astype(np.float64).reshape(shape)).astype(np.float32)
    return _Constant(data, values, q) if node.importer.keep else _Constant(data)


def _transposed(node: _Node, constant: _Constant, data: Array) -> _Constant:
    q, values = constant.quantization, constant.integers
    assert q is not None
    assert values is not None
    order = node.attribute("perm", list(range(data.ndim))[::-1])
    axis = order.index(q.axis)
    return _Constant(data, values.transpose(order), replace(q, axis=axis))


def _quantize_linear(node: _Node) -> None:
    """Behind an activation: int8 or uint8 with one scale. See QDQ form."""
    x = node.view(0)
    kind = "uint8"
    if node.has(2):
        kind = node.constant(2, "zero point").data.dtype.name
    if not node.importer.keep:
        node.result(x)
        return
    if kind not in ("int8", "uint8"):
        raise _Refused(f"it quantizes to {kind}; TFLite's activations are int8")
    constants = [node.constant(i, "scale and zero point") for i in (1, 2) if node.has(i)]
    scales, zero_points = _parameters(constants, kind)
    if len(scales) != 1:
        raise _Refused(f"{len(scales)} scales; TFLite's activations have one for the tensor")
    q = Quantization(scales, zero_points)
    tensor = node.importer.tensors[x.tensor]
    if tensor.quantization is None:
        node.importer.tensors[x.tensor] = replace(tensor, quantization=q)
    elif not _equal(tensor.quantization, q):
        y = node.new(x.storage)
        node.importer.tensors[y] = replace(node.importer.tensors[y], quantization=q)
        node.emit(Unary((x.tensor,), y, UnaryFunction.REQUANTIZE))
        x = replace(x, tensor=y)
    node.importer.integer[node.name] = "int8" if kind == "int8" else "uint8"
    node.result(x)


def _dequantize_linear(node: _Node) -> None:
    """With the scale and zero point of the QuantizeLinear before."""
    x = node.view(0)
    if node.importer.keep:
        kind = node.importer.integer.get(node.record.inputs[0], "int8")
        constants = [node.constant(i, "scale and zero point") for i in (1, 2) if node.has(i)]
        scales, zero_points = _parameters(constants, kind)
        q, tensor = Quantization(scales, zero_points), node.importer.tensors[x.tensor]
        if len(scales) != 1:
            raise _Refused(f"{len(scales)} scales; TFLite's activations have one for the tensor")
        if tensor.quantization is None:
            node.importer.tensors[x.tensor] = replace(tensor, quantization=q)
        elif not _equal(tensor.quantization, q):
            raise _Refused(f"{tensor.name} was quantized with another scale or zero point")
    node.result(x)


def _equal(a: Quantization, b: Quantization) -> bool:
    return (float(a.scale), a.zero_point) == (float(b.scale), b.zero_point)


# --- Checks: a docstring is a line of the table of supported operators --------------------


def _real(node: _Node) -> None:
    """float32; in QDQ form, between DequantizeLinear and QuantizeLinear."""
    for name in node.record.inputs:
        if name in node.importer.integer:
            raise _Refused(f"{name} is an integer tensor; a DequantizeLinear is missing")


# --- Builders ------------------------------------------------------------------------------


def _pads(
    node: _Node,
    size: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[list[int], list[int]]:
    """(before, after) of height and width."""
    mode = node.attribute("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = [int(n) for n in node.attribute("pads", [0, 0, 0, 0])]
        if len(pads) != 4 or not all(0 <= n <= MAX_DIMENSION for n in pads):
            raise _Refused(f"pads {pads}")
        return pads[:2], pads[2:]
    if mode not in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        raise _Refused(f"auto_pad {mode}")
    before, after = [0, 0], [0, 0]
    for i in (0, 1) if mode != "VALID" else ():
        extent = (kernel[i] - 1) * dilation[i] + 1
        total = max(0, (-(-size[i] // stride[i]) - 1) * stride[i] + extent - size[i])
        small = total // 2
        before[i], after[i] = (small, total - small)[:: 1 if mode == "SAME_UPPER" else -1]
    return before, after


def _pair(node: _Node, name: str, default: list[int] | None, least: int, most: int) -> list[int]:
    values = node.attribute(name, default)
    if values is None or len(values) != 2 or not all(least <= int(n) <= most for n in values):
        raise _Refused(f"{name} {values}")
    return [int(n) for n in values]


def _conv(node: _Node) -> None:
    """Two dimensions, any kernel, stride, dilation and padding; depthwise, or in up to 64
    groups."""
    x = node.nchw()
    weights = node.constant(1, "weights")
    if weights.data.ndim != 4 or weights.data.dtype.kind != "f":
        raise _Refused(f"its weights have shape {list(weights.data.shape)}")
    out, inner, *kernel = weights.data.shape
    groups, channels = int(node.attribute("group", 1)), x.storage[2]
    if min(weights.data.shape) < 1 or groups < 1 or out % groups or inner * groups != channels:
        raise _Refused(
            f"{groups} groups and a kernel of shape {list(weights.data.shape)} for {channels} "
            "channels"
        )
    stride = _pair(node, "strides", [1, 1], 1, _MAX_STRIDE)
    dilation = _pair(node, "dilations", [1, 1], 1, _MAX_STRIDE)
    before, after = _pads(node, x.storage[:2], kernel, stride, dilation)
    size = []
    for i in (0, 1):
        room = x.storage[i] + before[i] + after[i] - ((kernel[i] - 1) * dilation[i] + 1)
        if room < 0:
            raise _Refused(f"a kernel of {kernel} over {x.storage[:2]}")
        size.append(room // stride[i] + 1)
    window = ((stride[0], stride[1]), (dilation[0], dilation[1]), (before[0], before[1]))
    y = node.new((*size, out))
    none = Activation.NONE
    if inner == 1 and groups > 1:
        w = _weights(node, 1, weights, (2, 3, 0), squeeze=1)
        bias = _bias(node, 2, out)
        node.emit(DepthwiseConv((x.tensor,), y, w, bias, *window, none, out // groups))
    elif groups == 1:
        w, bias = _weights(node, 1, weights, (0, 2, 3, 1)), _bias(node, 2, out)
        node.emit(Conv((x.tensor,), y, w, bias, *window, none))
    else:
        if groups > _MAX_GROUPS:
            raise _Refused(f"{groups} groups, at most {_MAX_GROUPS} are supported")
        parts = []
        for group in range(groups):
            part = node.importer.tensor(f"{node.name}/in{group}", (*x.storage[:2], inner))
            result = node.importer.tensor(f"{node.name}/out{group}", (*size, out // groups))
            node.emit(Slice((x.tensor,), part, (0, 0, group * inner), (1, 1, 1)))
            rows = slice(group * (out // groups), (group + 1) * (out // groups))
            w = _weights(node, 1, _rows(weights, rows), (0, 2, 3, 1))
            bias = _bias(node, 2, out, rows)
            node.emit(Conv((part,), result, w, bias, *window, none))
            parts.append(result)
        node.emit(Concat(tuple(parts), y, CHANNELS))
    node.result(View(y, (1, out, *size), (size[0], size[1], out), _NCHW))


def _rows(constant: _Constant, rows: slice) -> _Constant:
    q = constant.quantization
    if q is not None and len(q.scales) > 1:
        q = replace(q, scales=q.scales[rows], zero_points=q.zero_points[rows])
    whole = constant.integers
    return _Constant(constant.data[rows], None if whole is None else whole[rows], q)


def _weights(
    node: _Node, i: int, constant: _Constant, order: Sequence[int], squeeze: int | None = None
) -> int:
    """A constant in the Graph's order. order: of dimensions, without one of size 1 to drop."""
    data, q = constant.data, constant.quantization
    whole = (*order, squeeze) if squeeze is not None else tuple(order)
    shape = tuple(data.shape[d] for d in order)
    values = np.ascontiguousarray(data.transpose(whole).reshape(shape), np.float32)
    if q is not None:
        name = node.record.inputs[i]
        if q.zero_points.any():
            raise _Refused(f"{name} has a zero point; TFLite's weights are symmetric")
        channel = 2 if squeeze is not None else 0
        if len(q.scales) > 1 and q.axis != order[channel]:
            raise _Refused(f"{name} is quantized along dimension {q.axis}, not output channels")
        if constant.integers is None or constant.integers.dtype != np.int8:
            raise _Refused(f"{name} is not quantized to 8 bits")
        q = replace(q, axis=channel if len(q.scales) > 1 else 0)
    tensor = Tensor(node.record.inputs[i], shape, "float32", q, values)
    node.importer.tensors.append(tensor)
    return len(node.importer.tensors) - 1


def _bias(node: _Node, i: int, channels: int, rows: slice | None = None) -> int | None:
    if not node.has(i):
        return None
    constant = node.constant(i, "bias")
    name, q = node.record.inputs[i], constant.quantization
    values = constant.data
    if q is not None:
        assert constant.integers is not None
        if constant.integers.dtype != np.int32 or q.zero_points.any():
            raise _Refused(f"bias {name} is not int32 with zero point 0")
        values = constant.integers
    elif values.dtype.kind != "f":
        raise _Refused(f"bias {name} is {values.dtype}")
    if values.size not in (1, channels):
        raise _Refused(f"{values.size} biases for {channels} output channels")
    values = np.broadcast_to(values.reshape(-1), (channels,))
    if rows is not None:
        values = values[rows]
        if q is not None and len(q.scales) > 1:
            q = replace(q, scales=q.scales[rows], zero_points=q.zero_points[rows])
    dtype: Literal["float32", "int32"] = "float32" if q is None else "int32"
    if q is not None and len(q.scales) > 1 and len(q.scales) != len(values):
        raise _Refused(f"{len(q.scales)} scales of {len(values)} biases {name}")
    data = np.ascontiguousarray(values).astype(dtype)
    node.importer.tensors.append(Tensor(name, data.shape, dtype, q, data))
    return len(node.importer.tensors) - 1


def _batch_normalization(node: _Node) -> None:
    """In inference; folded into the weights before it where there are some."""
    if node.attribute("training_mode", 0):
        raise _Refused("it is in training mode")
    x = node.view(0)
    gamma, beta, mean, variance = (
        node.floats(i, "parameters").reshape(-1).astype(np.float64) for i in (1, 2, 3, 4)
    )
    channels = x.storage[2]
    if len(x.shape) < 2 or x.axis(1) is not CHANNELS or x.shape[1] != channels:
        raise _Refused("its second dimension is not the channels")
    if {len(v) for v in (gamma, beta, mean, variance)} != {channels}:
        raise _Refused(f"parameters for {channels} channels")
    scale = gamma / np.sqrt(variance + float(node.attribute("epsilon", 1e-5)))
    shift = beta - mean * scale
    y = node.new(x.storage)
    shape = (1, 1, channels) if channels > 1 else (1, 1, 1, 1)
    made = []
    for kind, data in (("scale", scale.reshape(shape)), ("shift", shift)):
        values = data.astype(np.float32)
        tensor = Tensor(f"{node.name}/{kind}", values.shape, "float32", None, values)
        node.importer.tensors.append(tensor)
        made.append(len(node.importer.tensors) - 1)
    window = ((1, 1), (1, 1), (0, 0), Activation.NONE)
    if channels > 1:
        node.emit(DepthwiseConv((x.tensor,), y, made[0], made[1], *window, 1))
    else:
        node.emit(Conv((x.tensor,), y, made[0], made[1], *window))
    node.result(replace(x, tensor=y))


def _gemm(node: _Node) -> None:
    """Weights and bias are constants, the input is not transposed, alpha and beta 1."""
    alpha, beta = float(node.attribute("alpha", 1.0)), float(node.attribute("beta", 1.0))
    if node.attribute("transA", 0):
        raise _Refused("its input is transposed")
    if alpha != 1 or (beta != 1 and node.has(2)):
        raise _Refused(f"alpha {alpha}, beta {beta}")
    _fully_connected(node, transposed=bool(node.attribute("transB", 0)), bias=2)


def _matmul(node: _Node) -> None:
    """By a constant of two dimensions."""
    _fully_connected(node, transposed=False, bias=None)


def _fully_connected(node: _Node, *, transposed: bool, bias: int | None) -> None:
    x = node.view(0)
    constant = node.constant(1, "weights")
    if constant.data.ndim != 2 or not x.shape:
        raise _Refused(f"its weights have shape {list(constant.data.shape)}")
    order = (0, 1) if transposed else (1, 0)
    out, depth = (constant.data.shape[d] for d in order)
    if depth != x.shape[-1] or out < 1:
        raise _Refused(f"weights of {depth} inputs for an input of shape {list(x.shape)}")
    w = _weights(node, 1, constant, order)
    if prod(x.shape) != depth:  # pixel by pixel
        if x.axis(len(x.shape) - 1) is not CHANNELS or x.storage[2] != depth:
            x = node.importer.relabel(x, x.shape)
            if x.storage[2] != depth:
                raise _Refused(f"an input of shape {list(x.shape)}")
        kernel = (out, 1, 1, depth)
        storage = (x.storage[0], x.storage[1], out)
    elif x.storage[0] > _MAX_FLATTENED_HEIGHT and x.contiguous:
        x = node.importer.relabel(x, (1, depth))
        kernel, storage = (out, 1, 1, depth), (1, 1, out)
    else:  # the kernel covers the input; its axes follow the stored order
        kernel, storage = (out, *x.storage), (1, 1, out)
        ordered = x.order()
        axes = (*(a for a in Axis if a not in ordered), *ordered)
        tensor = node.importer.tensors[w]
        assert tensor.data is not None
        data = tensor.data.reshape(out, *(x.storage[a] for a in axes))
        data = np.ascontiguousarray(data.transpose(0, *(1 + axes.index(a) for a in Axis)))
        node.importer.tensors[w] = replace(tensor, data=data)
    tensor = node.importer.tensors[w]
    assert tensor.data is not None
    node.importer.tensors[w] = replace(tensor, shape=kernel, data=tensor.data.reshape(kernel))
    y = node.new(storage)
    b = None if bias is None else _bias(node, bias, out)
    node.emit(FullyConnected((x.tensor,), y, w, b, Activation.NONE))
    shape = (*x.shape[:-1], out)
    if storage[:2] == (1, 1):
        axes_out: tuple[tuple[Axis, ...], ...] = ((),) * (len(shape) - 1) + ((CHANNELS,),)
        node.result(View(y, shape, storage, axes_out))
    else:
        node.result(View(y, shape, storage, x.axes))


def _placed(node: _Node, i: int, other: View) -> tuple[int, View]:
    """A constant operand, stored as the operand that it meets."""
    constant = node.constant(i, "operand")
    if constant.data.dtype.kind != "f":
        raise _Refused(f"{node.record.inputs[i]} is a constant of {constant.data.dtype}")
    rank = max(len(other.shape), constant.data.ndim)
    if constant.data.size == 1:
        other = (
            other
            if len(other.shape) == rank
            else node.importer.reshaped(other, (1,) * (rank - len(other.shape)) + other.shape)
        )
        made, groups = (1, 1, 1), other.axes
        data = constant.data
    else:
        if len(other.shape) < rank:
            other = node.importer.reshaped(other, (1,) * (rank - len(other.shape)) + other.shape)
        shape = (1,) * (rank - constant.data.ndim) + constant.data.shape
        used = set(other.order())
        labels: list[Axis] = []
        placed = []
        for d, n in enumerate(shape):
            group = tuple(a for a in other.axes[d] if other.storage[a] > 1)
            if n == 1:
                placed.append(other.axes[d])
                continue
            if n != other.shape[d]:
                free = [a for a in (*other.axes[d], *Axis) if a not in used]
                if other.shape[d] != 1 or not free:
                    raise _Refused(f"shapes {list(other.shape)} and {list(shape)}")
                group = (free[0],)
                used.add(free[0])
            labels += group
            placed.append(group)
        sizes = [other.storage[a] for a in labels]
        for d, n in enumerate(shape):
            if n != 1 and n != other.shape[d]:
                sizes[labels.index(placed[d][0])] = n
        order = sorted(range(len(labels)), key=lambda k: labels[k])
        data = constant.data.reshape(sizes).transpose(order)
        extents = dict(zip(labels, sizes, strict=True))
        made = (extents.get(HEIGHT, 1), extents.get(WIDTH, 1), extents.get(CHANNELS, 1))
        groups = tuple(placed)
    index = node.importer.tensor(node.record.inputs[i], made, np.ascontiguousarray(data))
    q = constant.quantization
    if q is not None:
        if len(q.scales) != 1 or constant.integers is None or constant.integers.dtype != np.int8:
            raise _Refused(f"{node.record.inputs[i]} is not int8 with one scale")
        tensor = node.importer.tensors[index]
        node.importer.tensors[index] = replace(tensor, quantization=q)
    view_shape = (1,) * (rank - constant.data.ndim) + constant.data.shape
    return index, View(index, view_shape, made, groups)


def _aligned(a: View, b: View) -> tuple[tuple[Axis, ...], ...] | None:
    """Axes of the result if both operands store equal dimensions alike."""
    chosen: list[tuple[Axis, ...]] = []
    for p, q in zip(a.axes, b.axes, strict=True):
        first = tuple(x for x in p if a.storage[x] > 1)
        second = tuple(x for x in q if b.storage[x] > 1)
        if first and second and first != second:
            return None
        chosen.append(first or second)
    taken = [axis for group in chosen for axis in group]
    if len(taken) != len(set(taken)):
        return None
    for d, group in enumerate(chosen):
        if not group:
            chosen[d] = tuple(axis for axis in a.axes[d] if axis not in taken)
            taken += chosen[d]
    return tuple(chosen)


def _binary(node: _Node) -> None:
    """Shapes are equal or broadcast along height, width and channels; an operand may be a
    constant; a divisor is one."""
    operator = node.operator
    if operator == "Div":
        divisor = node.constant(1, "divisor")
        if divisor.data.dtype.kind != "f" or (divisor.data == 0).any():
            raise _Refused("its divisor is zero or not a float")
        if divisor.quantization is not None:
            raise _Refused("a quantized divisor; TFLite's int8 has no DIV")
        inverse = (1 / divisor.data.astype(np.float64)).astype(np.float32)
        name = f"{node.record.inputs[1]}/inverse/{node.record.index}"
        node.importer.values[name] = _Constant(inverse)
        node.record = replace(node.record, inputs=(node.record.inputs[0], name))
        operator = "Mul"
    function = {"Add": Elementwise.ADD, "Sub": Elementwise.SUB, "Mul": Elementwise.MUL}[operator]
    values = [node.value(i) for i in (0, 1)]
    views = []
    for i, value in enumerate(values):
        if isinstance(value, _Constant):
            other = values[1 - i]
            if not isinstance(other, View):
                raise _Refused("both operands are constants of a kind that is not folded")
            views.append(_placed(node, i, other)[1])
        else:
            views.append(value)
    a, b = views
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise _Refused(f"shapes {list(a.shape)} and {list(b.shape)}") from None
    a, b = (
        v
        if len(v.shape) == len(shape)
        else node.importer.reshaped(v, (1,) * (len(shape) - len(v.shape)) + v.shape)
        for v in (a, b)
    )
    axes = _aligned(a, b)
    if axes is None:
        a, b = (node.importer.relabel(v, v.shape) for v in (a, b))
        axes = _aligned(a, b)
        if axes is None:
            raise _Refused("a Transpose or Flatten before it cannot be absorbed")
    storage = tuple(max(m, n) for m, n in zip(a.storage, b.storage, strict=True))
    y = node.new(storage)
    node.emit(Binary((a.tensor, b.tensor), y, function, Activation.NONE))
    node.result(View(y, shape, (storage[0], storage[1], storage[2]), axes))


def _pool(node: _Node) -> None:
    """Two dimensions, any kernel, stride and padding; dilations 1."""
    x = node.nchw()
    average = node.operator == "AveragePool"
    kernel = _pair(node, "kernel_shape", None, 1, MAX_DIMENSION)
    stride = _pair(node, "strides", [1, 1], 1, _MAX_STRIDE)
    _pair(node, "dilations", [1, 1], 1, 1)
    before, after = _pads(node, x.storage[:2], kernel, stride, (1, 1))
    source, extent = x.tensor, list(x.storage[:2])
    size = []
    for i in (0, 1):
        room = extent[i] + before[i] + after[i] - kernel[i]
        if room < 0:
            raise _Refused(f"a kernel of {kernel} over {x.storage[:2]}")
        out = room // stride[i] + 1
        if node.attribute("ceil_mode", 0):
            out = -(-room // stride[i]) + 1
            out -= (out - 1) * stride[i] >= extent[i] + before[i]  # it would begin behind the end
        if before[i] >= kernel[i] or (out - 1) * stride[i] >= extent[i] + before[i]:
            raise _Refused(f"pads {before} and {after}: a window over padding alone")
        size.append(out)
    if average and node.attribute("count_include_pad", 0) and any((*before, *after)):
        padded = [n + b + m for n, b, m in zip(extent, before, after, strict=True)]
        source = node.importer.tensor(f"{node.name}/padded", (*padded, x.storage[2]))
        node.emit(Pad((x.tensor,), source, (before[0], before[1], 0), 0.0))
        before = [0, 0]
    y = node.new((*size, x.storage[2]))
    node.emit(
        Pool(
            (source,),
            y,
            "average" if average else "max",
            (kernel[0], kernel[1]),
            (stride[0], stride[1]),
            (before[0], before[1]),
            Activation.NONE,
        )
    )
    node.result(View(y, (1, x.storage[2], *size), (size[0], size[1], x.storage[2]), _NCHW))


def _global_pool(node: _Node) -> None:
    """Two dimensions."""
    x = node.nchw()
    channels = x.storage[2]
    y = node.new((1, 1, channels))
    if node.operator == "GlobalAveragePool":
        node.emit(Mean((x.tensor,), y, True, True))
    else:
        kernel = (x.storage[0], x.storage[1])
        node.emit(Pool((x.tensor,), y, "max", kernel, (1, 1), (0, 0), Activation.NONE))
    node.result(View(y, (1, channels, 1, 1), (1, 1, channels), _NCHW))


def _dimensions(values: Iterable[int], rank: int) -> set[int]:
    axes = set()
    for value in values:
        if not -rank <= value < rank:
            raise _Refused(f"axis {value} of {rank} dimensions")
        axes.add(int(value) % rank)
    return axes


def _reduce_mean(node: _Node) -> None:
    """Over height, width or both."""
    x = node.view(0)
    axes = node.operand("axes", 1, None)
    if axes is None and not node.attribute("noop_with_empty_axes", 0):
        axes = list(range(len(x.shape)))
    dimensions = _dimensions(axes or (), len(x.shape))
    over = {a for d in dimensions for a in x.axes[d] if x.storage[a] > 1}
    if CHANNELS in over:
        raise _Refused("it runs over channels")
    height, width = (1 if a in over else x.storage[a] for a in (HEIGHT, WIDTH))
    storage, y = (height, width, x.storage[2]), x.tensor
    if over:
        y = node.new(storage)
        node.emit(Mean((x.tensor,), y, HEIGHT in over, WIDTH in over))
    keep = node.attribute("keepdims", 1)
    kept = [
        (1, ()) if d in dimensions else (x.shape[d], x.axes[d])
        for d in range(len(x.shape))
        if keep or d not in dimensions
    ]
    node.result(View(y, tuple(n for n, _ in kept), storage, tuple(g for _, g in kept)))


def _softmax(node: _Node) -> None:
    """Over the channels, or over the only dimension longer than 1."""
    x = node.view(0)
    (axis,) = _dimensions([int(node.attribute("axis", -1))], len(x.shape))
    if x.shape[axis] != x.storage[2] or (
        x.storage[2] > 1 and [a for a in x.axes[axis] if x.storage[a] > 1] != [CHANNELS]
    ):
        if axis != len(x.shape) - 1:
            raise _Refused(f"axis {axis} of shape {list(x.shape)} is not the channels")
        shape = x.shape
        x = node.importer.relabel(x, (prod(shape[:-1]), shape[-1]))
        y = node.new(x.storage)
        node.emit(Softmax((x.tensor,), y, 1.0))
        node.result(node.importer.reshaped(replace(x, tensor=y), shape))
        return
    y = node.new(x.storage)
    node.emit(Softmax((x.tensor,), y, 1.0))
    node.result(replace(x, tensor=y))


def _unary_of(node: _Node, function: UnaryFunction, alpha: float = 0.0) -> None:
    x = node.view(0)
    y = node.new(x.storage)
    node.emit(Unary((x.tensor,), y, function, alpha))
    node.result(replace(x, tensor=y))


def _unary(node: _Node) -> None:
    """Any shape."""
    functions = {
        "Relu": UnaryFunction.RELU,
        "Sigmoid": UnaryFunction.LOGISTIC,
        "Tanh": UnaryFunction.TANH,
        "HardSwish": UnaryFunction.HARD_SWISH,
    }
    _unary_of(node, functions[node.operator])


def _leaky_relu(node: _Node) -> None:
    """alpha is not negative; of PRelu: one for all channels."""
    if node.operator == "PRelu":
        slope = node.floats(1, "slope")
        if slope.size < 1 or (slope != slope.flat[0]).any():
            raise _Refused("slopes differ between channels")
        alpha = float(slope.flat[0])
    else:
        alpha = float(node.attribute("alpha", 0.01))
    if not 0 <= alpha < 2**15:
        raise _Refused(f"alpha {alpha}")
    _unary_of(node, UnaryFunction.LEAKY_RELU, alpha)


def _with(
    node: _Node, x: View, function: Elementwise, value: float, activation: Activation, name: str
) -> View:
    """x with a number added or multiplied."""
    operand = node.importer.tensor(f"{name}/{value:g}", (1, 1, 1), np.array(value, np.float32))
    y = node.importer.tensor(name, x.storage)
    node.emit(Binary((x.tensor, operand), y, function, activation))
    return replace(x, tensor=y)


def _hard_sigmoid(node: _Node) -> None:
    """As an addition, a clip at 6 and a multiplication; HARD_SWISH where it is multiplied by its
    input."""
    x = node.view(0)
    alpha, beta = float(node.attribute("alpha", 0.2)), float(node.attribute("beta", 0.5))
    if abs(6 * alpha - 1) > 1e-6:
        x = _with(node, x, Elementwise.MUL, 6 * alpha, Activation.NONE, f"{node.name}/scaled")
    x = _with(node, x, Elementwise.ADD, 6 * beta, Activation.RELU6, f"{node.name}/clipped")
    node.result(_with(node, x, Elementwise.MUL, 1 / 6, Activation.NONE, node.name))


def _clip(node: _Node) -> None:
    """To [0, inf], [0, 6] or [-1, 1], or not at all."""
    bounds = []
    for i, name, none in ((1, "min", -np.inf), (2, "max", np.inf)):
        bounds.append(float(node.floats(i, name).reshape(-1)[0]) if node.has(i) else none)
    largest = float(np.finfo(np.float32).max)
    low, high = (n if abs(n) < largest else np.copysign(np.inf, n) for n in bounds)
    if (low, high) == (0, np.inf):
        _unary_of(node, UnaryFunction.RELU)
    elif (low, high) == (0, 6):
        _unary_of(node, UnaryFunction.RELU6)
    elif (low, high) == (-1, 1):
        activation = Activation.RELU_N1_TO_1
        node.result(_with(node, node.view(0), Elementwise.ADD, 0.0, activation, node.name))
    elif (low, high) == (-np.inf, np.inf):
        node.result(node.view(0))
    else:
        raise _Refused(f"bounds {low:g} and {high:g}")


def _shape_of(node: _Node, x: View) -> tuple[int, ...]:
    rank, count = len(x.shape), prod(x.shape)
    if node.operator == "Flatten":
        axis = int(node.attribute("axis", 1))
        if not -rank <= axis <= rank:
            raise _Refused(f"axis {axis}")
        axis += rank * (axis < 0)
        return (prod(x.shape[:axis]), prod(x.shape[axis:]))
    if node.operator == "Reshape":
        shape = node.ints(1, "shape")
        if not node.attribute("allowzero", 0):
            if any(n == 0 and i >= rank for i, n in enumerate(shape)):
                raise _Refused(f"shape {shape}")
            shape = [x.shape[i] if n == 0 else n for i, n in enumerate(shape)]
        if shape.count(-1) == 1:
            rest = -prod(shape)
            shape = [count // rest if n == -1 and rest > 0 else n for n in shape]
        if prod(shape) != count or min(shape, default=1) < 1:
            raise _Refused(f"{list(x.shape)} into {shape}")
        return tuple(shape)
    axes = node.operand("axes", 1, None)
    if node.operator == "Squeeze":
        if axes is None:
            return tuple(n for n in x.shape if n != 1)
        dropped = _dimensions(axes, rank)
        if any(x.shape[d] != 1 for d in dropped):
            raise _Refused(f"axes {axes} of shape {list(x.shape)}")
        return tuple(n for d, n in enumerate(x.shape) if d not in dropped)
    if axes is None or rank + len(axes) > 8:
        raise _Refused(f"axes {axes}")
    added = _dimensions(axes, rank + len(axes))
    sizes = iter(x.shape)
    return tuple(1 if d in added else next(sizes) for d in range(rank + len(added)))


def _reshape(node: _Node) -> None:
    """A constant shape; absorbed where it only joins or splits off dimensions."""
    x = node.view(0)
    node.result(node.importer.reshaped(x, _shape_of(node, x)))


def _identity(node: _Node) -> None:
    """No change: Dropout in inference, Cast to float32."""
    if node.operator == "Cast" and node.attribute("to", 0) != 1:
        raise _Refused(f"to another type than float32 ({node.attribute('to', 0)})")
    if node.operator == "Dropout" and node.has(2) and node.constant(2, "mode").data.any():
        raise _Refused("it is in training mode")
    if node.record.inputs[0] in node.importer.integer:
        if node.operator == "Cast":
            raise _Refused("it casts integers")
        node.importer.integer[node.name] = node.importer.integer[node.record.inputs[0]]
    node.result(node.view(0))


def _transpose(node: _Node) -> None:
    """Absorbed by what reads it: spatial operators that want NCHW, Gemm, elementwise operators,
    another Transpose, ReduceMean."""
    x = node.view(0)
    order = [int(n) for n in node.attribute("perm", list(range(len(x.shape)))[::-1])]
    if sorted(order) != list(range(len(x.shape))):
        raise _Refused(f"permutation {order}")
    shape, axes = tuple(x.shape[d] for d in order), tuple(x.axes[d] for d in order)
    node.result(replace(x, shape=shape, axes=axes))


def _concat(node: _Node) -> None:
    """Along height, width or channels."""
    views = [node.view(i) for i in range(len(node.record.inputs))]
    rank = len(views[0].shape)
    if any(len(v.shape) != rank for v in views):
        raise _Refused("inputs of different ranks")
    (d,) = _dimensions([int(node.attribute("axis", 0))], rank)
    others = {v.shape[:d] + v.shape[d + 1 :] for v in views}
    if len(others) != 1:
        raise _Refused(f"shapes {[list(v.shape) for v in views]}")
    whole = (*views[0].shape[:d], sum(v.shape[d] for v in views), *views[0].shape[d + 1 :])
    if rank == 4 and all(_is_nchw(v) for v in views):
        views = [replace(v, axes=_NCHW) for v in views]
    axis = views[0].axis(d)
    if len({v.axes for v in views}) != 1 or axis is None or any(v.axis(d) != axis for v in views):
        views = [node.importer.relabel(v, v.shape) for v in views]
        axis = views[0].axis(d)
    if axis is None or len({v.axes for v in views}) != 1:
        raise _Refused(f"axis {d} of shape {list(whole)}")
    storage = list(views[0].storage)
    storage[axis] = sum(v.storage[axis] for v in views)
    if any(v.storage[a] != storage[a] for v in views for a in Axis if a != axis):
        raise _Refused(f"shapes {[list(v.shape) for v in views]}")
    y = node.new(storage)
    node.emit(Concat(tuple(v.tensor for v in views), y, axis))
    node.result(views[0].on(y, (storage[0], storage[1], storage[2])))


def _cut(
    node: _Node, begin: Sequence[int], step: Sequence[int], size: Sequence[int], i: int = 0
) -> None:
    """Output i is input 0, cut along its dimensions."""
    x = node.view(0)
    first, stride, storage = [0, 0, 0], [1, 1, 1], list(x.storage)
    for d, n in enumerate(x.shape):
        if (begin[d], step[d], size[d]) == (0, 1, n) or n == size[d] == 1:
            continue
        axis = x.axis(d)
        if axis is None:
            raise _Refused(f"it cuts dimension {d} of shape {list(x.shape)}")
        first[axis], stride[axis], storage[axis] = begin[d], step[d], size[d]
    if max(*first, *stride) > MAX_DIMENSION:
        raise _Refused(f"begin {begin}, step {step}")
    y = node.new(storage, i)
    node.emit(
        Slice((x.tensor,), y, (first[0], first[1], first[2]), (stride[0], stride[1], stride[2]))
    )
    node.result(x.on(y, (storage[0], storage[1], storage[2])), i)


def _slice(node: _Node) -> None:
    """Starts, ends, axes and steps are constants; steps are positive."""
    shape = node.view(0).shape
    starts, ends = node.ints(1, "starts"), node.ints(2, "ends")
    axes = node.ints(3, "axes") if node.has(3) else list(range(len(starts)))
    steps = node.ints(4, "steps") if node.has(4) else [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) <= len(shape):
        raise _Refused(f"ranges {starts}, {ends}, {axes}, {steps}")
    begin, step, size = [0] * len(shape), [1] * len(shape), list(shape)
    for b, e, d, s in zip(starts, ends, axes, steps, strict=True):
        (d,) = _dimensions([d], len(shape))
        if s < 1:
            raise _Refused(f"step {s}")
        b = min(max(b + shape[d] * (b < 0), 0), shape[d])
        e = min(max(e + shape[d] * (e < 0), 0), shape[d])
        begin[d], step[d], size[d] = b, s, -(-(e - b) // s)
        if size[d] < 1:
            raise _Refused("its result is empty")
    _cut(node, begin, step, size)


def _split(node: _Node) -> None:
    """Sizes are a constant."""
    shape = node.view(0).shape
    (d,) = _dimensions([int(node.attribute("axis", 0))], len(shape))
    parts = len(node.record.outputs)
    sizes = node.operand("split", 1, None)
    if sizes is None:
        each = -(-shape[d] // parts)
        sizes = [each] * (parts - 1) + [shape[d] - each * (parts - 1)]
    if len(sizes) != parts or min(sizes) < 1 or sum(sizes) != shape[d]:
        raise _Refused(f"{parts} parts of sizes {sizes} along {shape[d]}")
    begin = 0
    for i, size in enumerate(sizes):
        starts, extents = [0] * len(shape), list(shape)
        starts[d], extents[d] = begin, size
        if node.record.outputs[i]:
            _cut(node, starts, [1] * len(shape), extents, i)
        begin += size


def _pad(node: _Node) -> None:
    """Constant mode; pads and value are constants; not of the batch. Folded into a convolution
    that reads it alone, if the value is 0."""
    if node.attribute("mode", "constant") != "constant":
        raise _Refused(f"mode {node.attribute('mode', '')}")
    x = node.view(0)
    rank = len(x.shape)
    pads = node.ints(1, "pads")
    value = float(node.floats(2, "value").reshape(-1)[0]) if node.has(2) else 0.0
    axes = node.ints(3, "axes") if node.has(3) else list(range(rank))
    if len(pads) != 2 * len(axes) or not np.isfinite(value):
        raise _Refused(f"pads {pads} of {rank} dimensions, value {value}")
    before, storage = [0, 0, 0], list(x.storage)
    for i, d in enumerate(axes):
        first, last = pads[i], pads[i + len(axes)]
        if not (0 <= first <= MAX_DIMENSION and 0 <= last <= MAX_DIMENSION):
            raise _Refused(f"pads {pads}")
        (d,) = _dimensions([d], rank)
        axis = x.axis(d)
        if first or last:
            if axis is None:
                raise _Refused(f"it pads dimension {d} of shape {list(x.shape)}")
            before[axis], storage[axis] = first, storage[axis] + first + last
    y = node.new(storage)
    node.emit(Pad((x.tensor,), y, (before[0], before[1], before[2]), value))
    node.result(x.on(y, (storage[0], storage[1], storage[2])))


def _resize(node: _Node) -> None:
    """Nearest or linear of height and width, where TFLite takes its samples at the same places
    (with align_corners, half_pixel_centers or neither)."""
    x = node.view(0)
    mode = node.attribute("mode", "nearest")
    transform = node.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = node.attribute("nearest_mode", "round_prefer_floor")
    if mode not in ("nearest", "linear") or node.attribute("antialias", 0):
        raise _Refused(f"mode {mode}, antialias {node.attribute('antialias', 0)}")
    if node.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise _Refused("keep_aspect_ratio_policy")
    rank = len(x.shape)
    axes = [d % rank for d in node.attribute("axes", list(range(rank)))]
    by_size = node.has(3)
    values = node.constant(3 if by_size else 2, "sizes or scales").data.reshape(-1)
    if len(values) != len(axes) or not (np.isfinite(values) & (values > 0)).all():
        raise _Refused(f"sizes or scales {values.tolist()}")
    storage = list(x.storage)
    matching = {(False, False), (False, True), (True, False)}
    for d, number in zip(axes, values.tolist(), strict=True):
        n = x.shape[d]
        out = int(number) if by_size else int(np.floor(n * np.float32(number)))
        scale = out / n if by_size else float(np.float32(number))
        if out == n and scale == 1:
            continue
        axis = x.axis(d)
        if axis not in (HEIGHT, WIDTH) or not 1 <= out <= MAX_DIMENSION:
            raise _Refused(f"dimension {d} from {n} to {out}")
        storage[axis] = out
        wanted = _places(n, out, scale, transform)
        matching = {flags for flags in matching if _same_places(n, wanted, flags, mode, rounding)}
    if not matching:
        raise _Refused(f"{mode}, {transform}, {rounding} takes samples where TFLite cannot")
    corners, centers = min(matching)
    y = node.new(storage)
    function: Literal["nearest", "bilinear"] = "nearest" if mode == "nearest" else "bilinear"
    node.emit(Resize((x.tensor,), y, function, corners, centers))
    node.result(x.on(y, (storage[0], storage[1], storage[2])))


def _places(n: int, out: int, scale: float, transform: str) -> Array:
    """Where ONNX samples, for each output position."""
    i = np.arange(out, dtype=np.float64)
    if transform == "asymmetric":
        return np.asarray(i / scale)
    if transform == "align_corners":
        return np.asarray(i * (n - 1) / (out - 1) if out > 1 else 0 * i)
    if transform == "half_pixel" or (transform == "pytorch_half_pixel" and out > 1):
        return np.asarray((i + 0.5) / scale - 0.5)
    if transform == "pytorch_half_pixel":
        return 0 * i
    raise _Refused(f"coordinate_transformation_mode {transform}")


def _same_places(n: int, wanted: Array, flags: tuple[bool, bool], mode: str, rounding: str) -> bool:
    out = len(wanted)
    corners, centers = flags
    i = np.arange(out, dtype=np.float32)
    scale = np.float32(n - 1) / np.float32(out - 1) if corners and out > 1 else np.float32(n / out)
    if mode == "linear":
        real = (i + np.float32(0.5)) * scale - np.float32(0.5) if centers else i * scale
        near = np.abs(np.clip(real, 0, n - 1) - np.clip(wanted, 0, n - 1)) < 1e-4
        return bool(near.all())
    real = (i + np.float32(0.5 if centers else 0)) * scale
    taken = np.floor(real + np.float32(0.5)) if corners else np.floor(real)
    functions: dict[str, Callable[[Array], Array]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda p: np.ceil(p - 0.5),
        "round_prefer_ceil": lambda p: np.floor(p + 0.5),
    }
    if rounding not in functions:
        raise _Refused(f"nearest_mode {rounding}")
    places = functions[rounding](wanted)
    return bool((np.clip(places, 0, n - 1) == np.clip(taken, 0, n - 1)).all())


# --- Rules -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rule:
    """inputs: least and most. outputs: None for any."""

    build: Callable[[_Node], None]
    inputs: tuple[int, int]
    checks: tuple[Callable[[_Node], None], ...] = (_real,)
    outputs: int | None = 1


_UNARY = _Rule(_unary, (1, 1))
_BINARY = _Rule(_binary, (2, 2))
_POOL, _GLOBAL_POOL = _Rule(_pool, (1, 1)), _Rule(_global_pool, (1, 1))
_LABELS, _SAME = _Rule(_reshape, (1, 2), ()), _Rule(_identity, (1, 3), ())
# Operators that do not care which dimension is which.
_ANY_ORDER = frozenset(
    (
        "Identity",
        "Cast",
        "Dropout",
        "QuantizeLinear",
        "DequantizeLinear",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Clip",
        "Relu",
    )
)

_RULES: dict[str, _Rule] = {
    "Conv": _Rule(_conv, (2, 3)),
    "BatchNormalization": _Rule(_batch_normalization, (5, 5)),
    "Gemm": _Rule(_gemm, (2, 3)),
    "MatMul": _Rule(_matmul, (2, 2)),
    "Add": _BINARY,
    "Sub": _BINARY,
    "Mul": _BINARY,
    "Div": _BINARY,
    "Relu": _UNARY,
    "Sigmoid": _UNARY,
    "Tanh": _UNARY,
    "HardSwish": _UNARY,
    "LeakyRelu": _Rule(_leaky_relu, (1, 1)),
    "PRelu": _Rule(_leaky_relu, (2, 2)),
    "HardSigmoid": _Rule(_hard_sigmoid, (1, 1)),
    "Clip": _Rule(_clip, (1, 3)),
    "AveragePool": _POOL,
    "MaxPool": _POOL,
    "GlobalAveragePool": _GLOBAL_POOL,
    "GlobalMaxPool": _GLOBAL_POOL,
    "ReduceMean": _Rule(_reduce_mean, (1, 2)),
    "Softmax": _Rule(_softmax, (1, 1)),
    "Concat": _Rule(_concat, (1, 1024)),
    "Slice": _Rule(_slice, (3, 5)),
    "Split": _Rule(_split, (1, 2), outputs=None),
    "Pad": _Rule(_pad, (2, 4)),
    "Resize": _Rule(_resize, (1, 4)),
    "Flatten": _LABELS,
    "Reshape": _LABELS,
    "Squeeze": _LABELS,
    "Unsqueeze": _LABELS,
    "Transpose": _Rule(_transpose, (1, 1), ()),
    "Identity": _SAME,
    "Cast": _SAME,
    "Dropout": _SAME,
    "QuantizeLinear": _Rule(_quantize_linear, (2, 3), ()),
    "DequantizeLinear": _Rule(_dequantize_linear, (2, 3), ()),
}
