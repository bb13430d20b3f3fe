# SPDX-License-Identifier: Apache-2.0
"""Import a ``.tflite`` model: int8, or float32 as a whole.

Each operator has a rule: checks on what the file says (their docstrings make the table of
supported operators) and a builder that adds to the Graph. Whatever is refused, by a check or
by a builder, is collected, and all of it is reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Literal

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
from narrows.graph.passes import drop_unused, fold_padding
from narrows.graph.qgraph import Axis, Elementwise
from narrows.importers.tflite_file import ModelRecord, OperatorRecord, TensorRecord, read_model
from narrows.importers.views import CHANNELS, HEIGHT, WIDTH, View, regroup, standard

# A fully connected layer over more rows than this reads a flattened copy instead: as a
# convolution it would hold all of its input's rows in one kernel.
MAX_FLATTENED_HEIGHT = 64
_MAX_STRIDE = 255
# Of all operators: a small hostile file must not make tables without end.
_MAX_OUTPUT_CHANNELS = 2**24
_ACTIVATIONS = {
    0: Activation.NONE,
    1: Activation.RELU,
    2: Activation.RELU_N1_TO_1,
    3: Activation.RELU6,
}
_INT8 = (-128, 127)


@dataclass(frozen=True)
class SupportedOperator:
    """A row of the table of supported operators."""

    name: str
    constraints: tuple[str, ...]


def import_tflite(model: str | Path | bytes, name: str | None = None) -> Graph:
    """Import a model, quantized or float.

    Args:
        model: a path, or the bytes of a file.
        name: of the network, and of the file in errors; defaults to the file's name.

    Returns:
        The network with int8 activations, or all of it in float32; layout changes absorbed,
        paddings folded, operators that nothing depends on dropped.

    Raises:
        UnsupportedError: operators that cannot be imported, all of them.
        ModelError: the file cannot be read or is damaged.
    """
    if isinstance(model, bytes):
        data, path = model, name or "model"
    else:
        path = str(model)
        try:
            data = Path(model).read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    record = read_model(data, path, {n: r.options for n, r in _RULES.items() if r.options[0]})
    graph = _Importer(record, path).run(name or (path if model is data else Path(path).name))
    for step in (fold_padding, drop_unused):
        graph = step(graph)
        verify_graph(graph)
    return graph


def supported_operators() -> tuple[SupportedOperator, ...]:
    """What can be imported, from the checks themselves; for the documentation."""
    rows = []
    for name, rule in sorted(_RULES.items()):
        texts = [_text(check) for check in rule.checks] + [_text(rule.build)]
        rows.append(SupportedOperator(name, tuple(t for t in texts if t)))
    return tuple(rows)


def _text(function: Callable[..., object]) -> str:
    return " ".join((function.__doc__ or "").split())


def _is_float(record: ModelRecord) -> bool:
    outputs = [record.tensors[i].dtype for op in record.operators for i in op.outputs]
    return "float32" in outputs and "int8" not in outputs


def _needed(record: ModelRecord) -> tuple[OperatorRecord, ...]:
    """Operators that an output depends on. The shape operand of a RESHAPE does not count: the
    file gives every shape, so what computes one (SHAPE, PACK) need not be imported."""
    wanted = set(record.outputs)
    needed = []
    for operator in reversed(record.operators):
        if wanted.intersection(operator.outputs):
            needed.append(operator)
            count = 1 if operator.name in ("RESHAPE", "EXPAND_DIMS") else None
            wanted.update(operator.inputs[:count])
    return tuple(reversed(needed))


class _Refused(Exception):
    """The operator cannot be imported; the message is the reason."""


class _Skipped(Exception):
    """An operator before it was refused; nothing more can be said about this one."""


class _Importer:
    """Walks the operators in order. ``views`` knows what every tensor of the file became."""

    def __init__(self, record: ModelRecord, path: str) -> None:
        self.record = record
        self.path = path
        self.dtype: Literal["float32", "int8"] = "float32" if _is_float(record) else "int8"
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.views: dict[int, View | None] = {}  # None: its producer was refused
        self.pending: set[int] = set()  # inputs whose QUANTIZE has not been seen
        self.channels = 0  # of all weights
        self.relabelled: dict[tuple[int, tuple[int, int, int]], int] = {}

    def run(self, name: str) -> Graph:
        for index in self.record.inputs:
            self._add_input(index)
        refused = []
        for operator in _needed(self.record):
            reason = self._import(operator)
            if reason is not None:
                first = operator.outputs[0] if operator.outputs else None
                tensor = "" if first is None else self.record.tensors[first].name
                refused.append(Unsupported(operator.name, operator.index, tensor, reason))
        if not refused:
            refused = self._unfit_outputs()
        if refused:
            raise UnsupportedError(self.path, tuple(refused))
        for number in self.pending:  # an input that nobody reads
            unread = replace(self.tensors[number], quantization=_quantization(1.0, 0))
            self.tensors[number] = unread
        graph = Graph(
            name,
            tuple(self.tensors),
            tuple(self.operators),
            tuple(self._port(i) for i in self.record.inputs),
            tuple(self._port(i) for i in self.record.outputs),
        )
        verify_graph(graph)
        return graph

    def _add_input(self, index: int) -> None:
        tensor = self.record.tensors[index]
        if tensor.dtype not in ("int8", "uint8", "float32"):
            raise ModelError(
                f"{self.path}: input {tensor.name} is {tensor.dtype}; "
                "int8, uint8 and float32 are supported"
            )
        if index in self.views:
            raise ModelError(f"{self.path}: input {tensor.name} is listed twice")
        if tensor.dtype != "float32" and _per_tensor(tensor) is None:
            raise ModelError(f"{self.path}: input {tensor.name} is not quantized as a whole")
        try:
            storage, axes = standard(tensor.shape)
            made = self.tensor(
                tensor.name, storage, tensor.quantization if tensor.dtype == "int8" else None
            )
        except (_Refused, ValueError) as error:
            raise ModelError(f"{self.path}: input {tensor.name}: {error}") from error
        if tensor.dtype != self.dtype:
            self.pending.add(made)
        self.views[index] = View(made, tensor.shape, storage, axes)

    def _port(self, index: int) -> Port:
        tensor, view = self.record.tensors[index], self.views[index]
        assert view is not None
        dtype: Literal["int8", "uint8", "float32"]
        dtype = (
            "int8"
            if tensor.dtype == "int8"
            else ("uint8" if tensor.dtype == "uint8" else "float32")
        )
        q = tensor.quantization if dtype != "float32" else None
        return Port(
            tensor.name,
            view.tensor,
            dtype,
            tensor.shape,
            float(q.scale) if q else 0.0,
            q.zero_point if q else 0,
        )

    def _unfit_outputs(self) -> list[Unsupported]:
        refused = []
        for index in self.record.outputs:
            view, name = self.views.get(index), self.record.tensors[index].name
            reason = None
            if view is None:
                reason = "no operator computes it"
            elif not view.contiguous:
                reason = "a TRANSPOSE before it cannot be absorbed"
            elif view.tensor in self.pending:
                reason = "it is a float32 or uint8 input"
            if reason is not None:
                refused.append(Unsupported("output", len(self.record.operators), name, reason))
        return refused

    def _import(self, operator: OperatorRecord) -> str | None:
        """Add an operator; the reason if it is refused."""
        node = _Node(self, operator)
        try:
            for index in operator.outputs:
                if index in self.views or self.record.tensors[index].data is not None:
                    raise ModelError(
                        f"{self.path}: operator {operator.index} {operator.name} writes "
                        f"{self.record.tensors[index].name}, which has a value already"
                    )
            rule = _RULES.get(operator.name)
            if rule is None:
                return "this operator is not supported"
            low, high = rule.inputs
            if not low <= len(operator.inputs) <= high or not operator.outputs:
                return f"{len(operator.inputs)} inputs and {len(operator.outputs)} outputs"
            if any(i == -1 for i in operator.inputs[:low]):
                return "an input is missing"
            if rule.outputs is not None and len(operator.outputs) != rule.outputs:
                return f"{len(operator.outputs)} outputs"
            for check in rule.checks:
                check(node)
            rule.build(node)
            return None
        except _Refused as refusal:
            return str(refusal)
        except _Skipped:
            return None
        finally:
            for index in operator.outputs:
                self.views.setdefault(index, None)

    # --- What builders add ---------------------------------------------------------------

    def tensor(
        self,
        name: str,
        storage: tuple[int, int, int],
        quantization: Quantization | None,
        data: Array | None = None,
    ) -> int:
        """A new activation or constant."""
        if not all(0 < n <= MAX_DIMENSION for n in storage) or prod(storage) > MAX_TENSOR_BYTES:
            raise _Refused(f"shape {list(storage)} is not supported (1 to {MAX_DIMENSION})")
        values = None if data is None else data.reshape(storage)
        self.tensors.append(Tensor(name, storage, self.dtype, quantization, values))
        return len(self.tensors) - 1

    def constant(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
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
        if not view.contiguous:
            raise _Refused("a TRANSPOSE before it cannot be absorbed")
        if storage == view.storage:
            return View(view.tensor, shape, storage, axes)
        key = (view.tensor, storage)
        if key not in self.relabelled:
            source = self.tensors[view.tensor]
            made = self.tensor(source.name, storage, source.quantization, source.data)
            if source.data is None:
                self.operators.append(Reshape((view.tensor,), made))
            self.relabelled[key] = made
        return View(self.relabelled[key], shape, storage, axes)


class _Node:
    """One operator of the file, as its checks and its builder see it."""

    def __init__(self, importer: _Importer, operator: OperatorRecord) -> None:
        self.importer = importer
        self.operator = operator
        self.options = operator.options

    @property
    def name(self) -> str:
        return self.operator.name

    def has(self, i: int) -> bool:
        return i < len(self.operator.inputs) and self.operator.inputs[i] != -1

    def input(self, i: int) -> TensorRecord:
        return self.importer.record.tensors[self.operator.inputs[i]]

    def output(self, i: int = 0) -> TensorRecord:
        return self.importer.record.tensors[self.operator.outputs[i]]

    def values(self, i: int, what: str) -> Array:
        """Values of a constant int32 or int64 operand."""
        tensor = self.input(i)
        if tensor.data is None or tensor.dtype not in ("int32", "int64"):
            raise _Refused(f"its {what} is not a constant of integers")
        return tensor.data.reshape(-1)

    def view(self, i: int) -> View:
        """Where input i stands. Constants get a tensor of their own."""
        index = self.operator.inputs[i]
        record = self.importer.record.tensors[index]
        if index not in self.importer.views:
            if record.data is None:
                raise ModelError(
                    f"{self.importer.path}: operator {self.operator.index} {self.name} reads "
                    f"{record.name}, which nothing has computed"
                )
            if record.dtype != self.importer.dtype:
                raise _Refused(f"{record.name} is a constant of {record.dtype}")
            storage, axes = _standard(record.shape)
            made = self.importer.tensor(record.name, storage, record.quantization, record.data)
            self.importer.views[index] = View(made, record.shape, storage, axes)
        view = self.importer.views[index]
        if view is None:
            raise _Skipped
        return view

    def plain(self, i: int) -> View:
        """Input i in NHWC order."""
        return self.importer.relabel(self.view(i), self.input(i).shape)

    def new(self, storage: tuple[int, int, int], i: int = 0) -> int:
        """The tensor that output i becomes."""
        record = self.output(i)
        return self.importer.tensor(record.name, storage, record.quantization)

    def emit(self, operator: Operator) -> None:
        self.importer.operators.append(operator)

    def result(self, view: View, i: int = 0) -> None:
        """Output i is this view; the file must agree on its shape."""
        if view.shape != self.output(i).shape:
            raise _Refused(
                f"output shape {list(self.output(i).shape)} instead of {list(view.shape)}"
            )
        self.importer.views[self.operator.outputs[i]] = view

    @property
    def is_float(self) -> bool:
        return self.importer.dtype == "float32"

    @property
    def activation(self) -> Activation:
        return _ACTIVATIONS[self.options["FusedActivationFunction"]]


def _standard(shape: tuple[int, ...]) -> tuple[tuple[int, int, int], tuple[tuple[Axis, ...], ...]]:
    try:
        return standard(shape)
    except ValueError as error:
        raise _Refused(str(error)) from error


def _quantization(scale: float, zero_point: int) -> Quantization:
    return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int32))


def _per_tensor(tensor: TensorRecord) -> Quantization | None:
    q = tensor.quantization
    low, high = (0, 255) if tensor.dtype == "uint8" else _INT8
    if q is None or len(q.scales) != 1 or not low <= q.zero_point <= high:
        return None
    return q


def _same_quantization(a: TensorRecord, b: TensorRecord) -> bool:
    p, q = _per_tensor(a), _per_tensor(b)
    return p is not None and q is not None and p.scale == q.scale and p.zero_point == q.zero_point


# --- Checks: a docstring is a line of the table of supported operators --------------------


def _activations_int8(node: _Node, inputs: Iterable[int] = (0,)) -> None:
    """Activations are int8 with one scale and zero point per tensor."""
    tensors = [node.input(i) for i in inputs]
    tensors += [node.output(i) for i in range(len(node.operator.outputs))]
    for tensor in tensors:
        if tensor.dtype != node.importer.dtype:
            raise _Refused(f"{tensor.name} is {tensor.dtype}, {node.importer.dtype} is supported")
        if not node.is_float and _per_tensor(tensor) is None:
            raise _Refused(f"{tensor.name} is not quantized with one scale and an int8 zero point")
        if tensor.is_variable or tensor.is_sparse:
            raise _Refused(f"{tensor.name} is a variable or sparse")


def _all_int8(node: _Node) -> None:
    """All inputs and outputs are int8 with one scale and zero point per tensor."""
    _activations_int8(node, range(len(node.operator.inputs)))


def _both_int8(node: _Node) -> None:
    """Both operands are int8 with one scale and zero point per tensor; one may be a constant."""
    _activations_int8(node, (0, 1))


def _second_int8(node: _Node) -> None:
    """Activations are int8 with one scale and zero point per tensor."""
    _activations_int8(node, (1,))


def _rank_4(node: _Node) -> None:
    """The input has four dimensions, batch 1."""
    shape = node.input(0).shape
    if len(shape) != 4 or shape[0] != 1:
        raise _Refused(f"its input has shape {list(shape)}, [1, height, width, channels] expected")


def _weights(node: _Node) -> None:
    """Weights are a constant of int8 with zero point 0; one scale, or one per output channel."""
    weights, rank = node.input(1), 2 if node.name == "FULLY_CONNECTED" else 4
    axis = 3 if node.name == "DEPTHWISE_CONV_2D" else 0
    dtype = node.importer.dtype
    if weights.data is None or weights.dtype != dtype or weights.is_sparse:
        raise _Refused(f"its weights {weights.name} are not a dense {dtype} constant")
    if len(weights.shape) != rank:
        raise _Refused(f"its weights have shape {list(weights.shape)}")
    q = weights.quantization
    if node.is_float:
        return
    if q is None or q.zero_points.any() or (len(q.scales) > 1 and q.axis != axis):
        raise _Refused("its weights are not quantized symmetrically, whole or per output channel")


def _bias(node: _Node) -> None:
    """The bias is a constant of int32, or left out."""
    if node.has(2):
        bias = node.input(2)
        dtype = "float32" if node.is_float else "int32"
        if bias.data is None or bias.dtype != dtype:
            raise _Refused(f"its bias {bias.name} is not a constant of {dtype}")


def _fused(node: _Node) -> None:
    """Fused activation NONE, RELU, RELU6 or RELU_N1_TO_1."""
    if node.options["FusedActivationFunction"] not in _ACTIVATIONS:
        raise _Refused(f"fused activation {node.options['FusedActivationFunction']}")


def _quantized_as_output(node: _Node) -> None:
    """All inputs are quantized as the output."""
    for i in range(len(node.operator.inputs)):
        if not node.is_float and not _same_quantization(node.input(i), node.output()):
            raise _Refused(f"{node.input(i).name} is not quantized as its output")


def _not_fused(node: _Node) -> None:
    """No fused activation."""
    if node.options["FusedActivationFunction"] != 0:
        raise _Refused(f"fused activation {node.options['FusedActivationFunction']}")


def _sum_scales(node: _Node) -> None:
    """The output's scale is more than 2 ** -19 times the larger scale of the operands."""
    if node.is_float:
        return
    a, b, out = (_per_tensor(t) for t in (node.input(0), node.input(1), node.output()))
    assert a is not None
    assert b is not None
    assert out is not None
    if not 2.0 * float(max(a.scale, b.scale)) < 2.0**20 * float(out.scale):
        raise _Refused("its output's scale is too small for its operands'")


def _probabilities(node: _Node) -> None:
    """The output has scale 1/256 and zero point -128."""
    if node.is_float:
        return
    q = _per_tensor(node.output())
    if q is None or q.scale != np.float32(1 / 256) or q.zero_point != -128:
        raise _Refused("its output does not have scale 1/256 and zero point -128")


def _hard_swish_scale(node: _Node) -> None:
    """The output's scale is more than 1/128 of the input's."""
    if node.is_float:
        return
    a, out = _per_tensor(node.input(0)), _per_tensor(node.output())
    assert a is not None
    assert out is not None
    if not float(a.scale) / 128 / float(out.scale) < 1 - 2.0**-31:
        raise _Refused("its output's scale is too small for its input's")


def _same_type_and_quantization(node: _Node) -> None:
    """The output has the input's type and quantization."""
    a, out = node.input(0), node.output()
    if a.dtype != out.dtype:
        raise _Refused(f"it turns {a.dtype} into {out.dtype}")
    if a.dtype != "float32" and not _same_quantization(a, out):
        raise _Refused("its output is not quantized as its input")


# --- Builders ------------------------------------------------------------------------------


def _geometry(
    node: _Node, size: Sequence[int], kernel: Sequence[int], dilation: Sequence[int]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """(output height and width, stride, pad before) of a sliding window."""
    stride = (node.options["StrideH"], node.options["StrideW"])
    limits = [(n, _MAX_STRIDE) for n in (*stride, *dilation)] + [(n, MAX_DIMENSION) for n in kernel]
    if not all(1 <= n <= limit for n, limit in limits):
        raise _Refused(f"kernel {kernel}, stride {stride}, dilation {dilation}")
    padding = node.options["Padding"]
    output, before = [], []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        extent = (k - 1) * d + 1
        out = -(-n // s) if padding == 0 else (n + s - extent) // s  # 0: SAME, 1: VALID
        if padding not in (0, 1) or out < 1:
            raise _Refused(f"padding {padding}: a window of {extent} in {n} elements")
        output.append(out)
        before.append(max(0, (out - 1) * s + extent - n) // 2)
    return (output[0], output[1]), stride, (before[0], before[1])


def _bias_tensor(node: _Node, channels: int) -> int | None:
    if not node.has(2):
        return None
    bias = node.input(2)
    assert bias.data is not None
    if bias.data.size != channels:
        raise _Refused(f"{bias.data.size} biases for {channels} output channels")
    values = bias.data.reshape(channels)
    dtype: Literal["float32", "int32"] = "float32" if node.is_float else "int32"
    return node.importer.constant(Tensor(bias.name, (channels,), dtype, None, values))


def _weight_tensor(node: _Node, data: Array, axis: int) -> int:
    record = node.input(1)
    node.importer.channels += prod(node.output().shape[-1:])
    if node.importer.channels > _MAX_OUTPUT_CHANNELS:
        raise _Refused(f"more than {_MAX_OUTPUT_CHANNELS} output channels in all")
    q = None
    if not node.is_float:
        assert record.quantization is not None
        q = replace(record.quantization, axis=axis)
    return node.importer.constant(Tensor(record.name, data.shape, node.importer.dtype, q, data))


def _conv_2d(node: _Node) -> None:
    """Any kernel, stride, dilation and padding; not grouped."""
    x = node.plain(0)
    weights = node.input(1).data
    assert weights is not None
    out, kernel_h, kernel_w, channels = weights.shape
    if channels != x.storage[2]:
        raise _Refused(f"its kernel has {channels} input channels, its input {x.storage[2]}")
    _window(node, x, weights, (kernel_h, kernel_w), out, 1, depthwise=False)


def _depthwise_conv_2d(node: _Node) -> None:
    """Any kernel, stride, dilation, padding and depth multiplier."""
    x = node.plain(0)
    weights = node.input(1).data
    assert weights is not None
    one, kernel_h, kernel_w, out = weights.shape
    channels = x.storage[2]
    if one != 1 or out % channels != 0:
        raise _Refused(f"its kernel has shape {list(weights.shape)} for {channels} channels")
    if channels == 1:  # every output channel reads the only input channel: a convolution
        weights = np.ascontiguousarray(np.transpose(weights, (3, 1, 2, 0)))
        _window(node, x, weights, (kernel_h, kernel_w), out, 1, depthwise=False)
    else:
        multiplier = out // channels
        _window(node, x, weights[0], (kernel_h, kernel_w), out, multiplier, depthwise=True)


def _window(
    node: _Node,
    x: View,
    weights: Array,
    kernel: tuple[int, int],
    out: int,
    depth_multiplier: int,
    depthwise: bool,
) -> None:
    dilation = (node.options["DilationHFactor"], node.options["DilationWFactor"])
    size, stride, pad = _geometry(node, x.storage[:2], kernel, dilation)
    y = node.new((*size, out))
    w = _weight_tensor(node, weights, 2 if depthwise else 0)
    bias = _bias_tensor(node, out)
    if depthwise:
        node.emit(
            DepthwiseConv(
                (x.tensor,), y, w, bias, stride, dilation, pad, node.activation, depth_multiplier
            )
        )
    else:
        node.emit(Conv((x.tensor,), y, w, bias, stride, dilation, pad, node.activation))
    node.result(x.on(y, (*size, out)))


def _fully_connected(node: _Node) -> None:
    """Default weights format; the input is flattened, or each of its pixels is mapped."""
    weights = node.input(1).data
    assert weights is not None
    if node.options["WeightsFormat"] != 0:
        raise _Refused(f"weights format {node.options['WeightsFormat']}")
    out, depth = weights.shape
    x = node.view(0)
    count = prod(x.shape)
    if count % depth != 0 or prod(node.output().shape) != count // depth * out:
        raise _Refused(f"weights of shape {[out, depth]} for an input of shape {list(x.shape)}")
    if count != depth:  # pixel by pixel
        if not (x.contiguous and x.storage[2] == depth):
            x = node.importer.relabel(x, (count // depth, depth))
        weights = weights.reshape(out, 1, 1, depth)
    elif x.storage[0] > MAX_FLATTENED_HEIGHT:
        x = node.importer.relabel(x, (1, depth))
        weights = weights.reshape(out, 1, 1, depth)
    else:  # the kernel covers the input; its axes follow the stored order
        order = x.order()
        rest = [a for a in Axis if a not in order]
        sizes = [x.storage[a] for a in (*rest, *order)]
        placed = [1 + (*rest, *order).index(a) for a in Axis]
        weights = np.ascontiguousarray(weights.reshape(out, *sizes).transpose(0, *placed))
    storage = (1, 1, out) if count == depth else (x.storage[0], x.storage[1], out)
    y = node.new(storage)
    w, bias = _weight_tensor(node, weights, 0), _bias_tensor(node, out)
    node.emit(FullyConnected((x.tensor,), y, w, bias, node.activation))
    pixels = View(y, storage, storage, ((HEIGHT,), (WIDTH,), (CHANNELS,)))
    node.result(node.importer.reshaped(pixels, node.output().shape))


def _binary(node: _Node) -> None:
    """Shapes are equal or broadcast along height, width and channels."""
    function = {"ADD": Elementwise.ADD, "SUB": Elementwise.SUB, "MUL": Elementwise.MUL}[node.name]
    a, b = node.view(0), node.view(1)
    try:
        shape = np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise _Refused(f"shapes {list(a.shape)} and {list(b.shape)}") from None
    like = a if prod(b.shape) == 1 else b
    same = a.shape == b.shape and a.axes == b.axes and a.storage == b.storage
    if same or (min(prod(a.shape), prod(b.shape)) == 1 and len(like.shape) == len(shape)):
        y = node.new(like.storage)
        result = replace(like, tensor=y)
    else:
        rank = max(4, len(shape))
        a, b = (node.importer.relabel(v, (1,) * (rank - len(v.shape)) + v.shape) for v in (a, b))
        height, width, channels = (max(m, n) for m, n in zip(a.storage, b.storage, strict=True))
        y = node.new((height, width, channels))
        storage, axes = (height, width, channels), ((), (HEIGHT,), (WIDTH,), (CHANNELS,))
        whole = View(y, (1, *storage), storage, axes)
        result = node.importer.reshaped(whole, shape)
    node.emit(Binary((a.tensor, b.tensor), y, function, node.activation))
    node.result(result)


def _pool(node: _Node) -> None:
    """Any kernel, stride and padding."""
    x = node.plain(0)
    kernel = (node.options["FilterHeight"], node.options["FilterWidth"])
    size, stride, pad = _geometry(node, x.storage[:2], kernel, (1, 1))
    storage = (*size, x.storage[2])
    y = node.new(storage)
    function: Literal["average", "max"] = "average" if node.name == "AVERAGE_POOL_2D" else "max"
    node.emit(Pool((x.tensor,), y, function, kernel, stride, pad, node.activation))
    node.result(x.on(y, storage))


def _dimensions(node: _Node, values: Iterable[int], rank: int) -> set[int]:
    axes = set()
    for value in values:
        if not -rank <= value < rank:
            raise _Refused(f"axis {value} of {rank} dimensions")
        axes.add(int(value) % rank)
    return axes


def _mean(node: _Node) -> None:
    """Axes are a constant and name height, width or both."""
    x = node.view(0)
    dimensions = _dimensions(node, node.values(1, "axes"), len(x.shape))
    over = {a for d in dimensions for a in x.axes[d] if x.storage[a] > 1}
    if CHANNELS in over:
        raise _Refused("it runs over channels")
    storage = (
        1 if HEIGHT in over else x.storage[0],
        1 if WIDTH in over else x.storage[1],
        x.storage[2],
    )
    y = node.new(storage)
    if over:
        node.emit(Mean((x.tensor,), y, HEIGHT in over, WIDTH in over))
    else:  # the mean of one element: only the quantization changes
        node.emit(Unary((x.tensor,), y, UnaryFunction.REQUANTIZE))
    kept = [
        (1, ()) if d in dimensions else (x.shape[d], x.axes[d])
        for d in range(len(x.shape))
        if node.options["KeepDims"] or d not in dimensions
    ]
    node.result(View(y, tuple(n for n, _ in kept), storage, tuple(g for _, g in kept)))


def _softmax(node: _Node) -> None:
    """Over the last dimension; beta is positive."""
    beta = node.options["Beta"]
    q = _per_tensor(node.input(0))
    # TFLite Micro's fixed-point format has five integer bits and needs a multiplier over 1.
    if not (np.isfinite(beta) and beta > 0 and (q is None or beta * float(q.scale) * 2**26 > 1)):
        raise _Refused(f"beta {beta}")
    x = node.view(0)
    if not x.shape:
        raise _Refused("its input is a scalar")
    long = [a for a in x.axes[-1] if x.storage[a] > 1]
    if long != [CHANNELS] and not (x.shape[-1] == x.storage[2] == 1):
        x = node.importer.relabel(x, (prod(x.shape[:-1]), x.shape[-1]))
    y = node.new(x.storage)
    node.emit(Softmax((x.tensor,), y, float(beta)))
    if node.output().shape != node.input(0).shape:
        raise _Refused(f"output shape {list(node.output().shape)}")
    node.result(node.importer.reshaped(replace(x, tensor=y), node.output().shape))


def _unary(node: _Node) -> None:
    """Any shape."""
    x = node.view(0)
    y = node.new(x.storage)
    alpha = float(node.options.get("Alpha", 0.0))
    if not 0.0 <= alpha < 2.0**15:
        raise _Refused(f"alpha {alpha}")
    node.emit(Unary((x.tensor,), y, UnaryFunction(node.name), alpha))
    node.result(replace(x, tensor=y))


def _quantize(node: _Node) -> None:
    """float32 or uint8 to int8 right behind an input of the model; int8 to int8 anywhere; int8
    to uint8 right before an output of the model."""
    source, target = node.input(0), node.output()
    if target.dtype not in ("int8", "uint8") or _per_tensor(target) is None:
        raise _Refused(f"its output is {target.dtype}, int8 and uint8 are supported")
    if source.dtype == target.dtype == "int8":
        _activations_int8(node)
        _unary(node)
    elif target.dtype == "uint8":
        _leave(node)
    elif source.dtype in ("float32", "uint8"):
        x = node.view(0)
        tensor = node.importer.tensors[x.tensor]
        known = tensor.quantization
        q = _per_tensor(target)
        assert q is not None
        if x.tensor in node.importer.pending:
            node.importer.pending.remove(x.tensor)
            node.importer.tensors[x.tensor] = replace(tensor, quantization=q)
        elif known is None or (known.scale, known.zero_point) != (q.scale, q.zero_point):
            raise _Refused("its input is quantized in several ways")
        elif node.operator.inputs[0] not in node.importer.record.inputs:
            raise _Refused("it quantizes inside the network")
        node.result(x)
    else:
        raise _Refused(f"it turns {source.dtype} into {target.dtype}")


def _leave(node: _Node) -> None:
    """From int8, right before an output of the model."""
    source = node.input(0)
    if source.dtype != "int8" or _per_tensor(source) is None:
        raise _Refused(f"{source.name} is {source.dtype}, int8 with one scale is supported")
    if node.output().dtype not in ("float32", "uint8"):
        raise _Refused(f"its output is {node.output().dtype}")
    node.result(node.view(0))


def _common_layout(node: _Node, count: int) -> list[View]:
    """Inputs 0 to count - 1 in one layout, for operators that only move elements."""
    views = [node.view(i) for i in range(count)]
    if len({v.axes for v in views}) == 1:
        return views
    return [node.plain(i) for i in range(count)]


def _concatenation(node: _Node) -> None:
    """Along height, width or channels."""
    count = len(node.operator.inputs)
    rank = len(node.output().shape)
    if any(len(node.input(i).shape) != rank for i in range(count)):
        raise _Refused("its inputs differ in rank")
    (dimension,) = _dimensions(node, [node.options["Axis"]], rank)
    views = _common_layout(node, count)
    axis = views[0].axis(dimension)
    if axis is None or any(v.axis(dimension) != axis for v in views):
        views = [node.plain(i) for i in range(count)]
        axis = views[0].axis(dimension)
    if axis is None:
        raise _Refused(f"axis {dimension} of shape {list(node.output().shape)} is a batch")
    storage = list(views[0].storage)
    storage[axis] = sum(v.storage[axis] for v in views)
    others = [a for a in Axis if a != axis]
    if any(v.storage[a] != storage[a] for v in views for a in others):
        raise _Refused("its inputs' shapes do not fit together")
    whole = (storage[0], storage[1], storage[2])
    y = node.new(whole)
    node.emit(Concat(tuple(v.tensor for v in views), y, axis))
    node.result(views[0].on(y, whole))


def _resize(node: _Node) -> None:
    """The size is a constant; align_corners and half_pixel_centers as TFLite Micro has them."""
    x = node.plain(0)
    size = [int(n) for n in node.values(1, "size")]
    corners, centers = bool(node.options["AlignCorners"]), bool(node.options["HalfPixelCenters"])
    function: Literal["nearest", "bilinear"] = (
        "bilinear" if node.name == "RESIZE_BILINEAR" else "nearest"
    )
    if len(size) != 2 or (corners and centers and function == "bilinear"):
        raise _Refused(f"size {size}, align_corners and half_pixel_centers both set")
    storage = (size[0], size[1], x.storage[2])
    y = node.new(storage)
    node.emit(Resize((x.tensor,), y, function, corners, centers))
    node.result(x.on(y, storage))


def _slice_of(node: _Node, i: int, begin: list[int], stride: list[int], size: list[int]) -> View:
    """Input i cut along its dimensions, before any of them is dropped."""
    for x in (node.view(i), None):
        if x is None:
            x = node.plain(i)
        first, step, storage = [0, 0, 0], [1, 1, 1], list(x.storage)
        for d, n in enumerate(x.shape):
            if (begin[d], stride[d], size[d]) == (0, 1, n) or (n == size[d] == 1):
                continue
            axis = x.axis(d)
            if axis is None:
                break
            first[axis], step[axis], storage[axis] = begin[d], stride[d], size[d]
        else:
            break
    else:
        raise _Refused("it cuts the batch")
    if max(*first, *step) > MAX_DIMENSION:
        raise _Refused(f"begin {begin}, stride {stride}")
    cut = (storage[0], storage[1], storage[2])
    output = node.importer.tensor(node.output().name, cut, None)
    node.emit(
        Slice((x.tensor,), output, (first[0], first[1], first[2]), (step[0], step[1], step[2]))
    )
    return x.on(output, cut)


def _finish_slice(node: _Node, view: View, i: int = 0) -> None:
    record, made = node.output(i), node.importer.tensors[view.tensor]
    node.importer.tensors[view.tensor] = replace(
        made, name=record.name, quantization=record.quantization
    )
    node.result(view, i)


def _slice(node: _Node) -> None:
    """Begin and size are constants."""
    shape = node.input(0).shape
    begin = [int(n) for n in node.values(1, "begin")]
    size = [int(n) for n in node.values(2, "size")]
    if len(begin) != len(shape) or len(size) != len(shape):
        raise _Refused(f"begin {begin} and size {size} of shape {list(shape)}")
    size = [n - b if s == -1 else s for n, b, s in zip(shape, begin, size, strict=True)]
    if any(b < 0 or s < 1 or b + s > n for n, b, s in zip(shape, begin, size, strict=True)):
        raise _Refused(f"begin {begin} and size {size} of shape {list(shape)}")
    _finish_slice(node, _slice_of(node, 0, begin, [1] * len(shape), size))


def _strided_slice(node: _Node) -> None:
    """Begin, end and strides are constants; strides are positive; no new_axis, no ellipsis."""
    shape = node.input(0).shape
    rank = len(shape)
    operands = [[int(n) for n in node.values(i, "range")] for i in (1, 2, 3)]
    if any(len(values) != rank for values in operands):
        raise _Refused(f"ranges {operands} of shape {list(shape)}")
    if node.options["EllipsisMask"] or node.options["NewAxisMask"] or node.options["Offset"]:
        raise _Refused("ellipsis, new_axis or offset")
    begin, size, dropped = [], [], set()
    for d, (n, b, e, s) in enumerate(zip(shape, *operands, strict=True)):
        if s < 1:
            raise _Refused(f"stride {s}")
        b = 0 if node.options["BeginMask"] >> d & 1 else min(max(b + n * (b < 0), 0), n)
        e = n if node.options["EndMask"] >> d & 1 else min(max(e + n * (e < 0), 0), n)
        if node.options["ShrinkAxisMask"] >> d & 1:
            e = b + 1
            dropped.add(d)
        count = -(-(e - b) // s)
        if count < 1 or b >= n:
            raise _Refused("its result is empty")
        begin.append(b)
        size.append(count)
    view = _slice_of(node, 0, begin, operands[2], size)
    kept = [d for d in range(rank) if d not in dropped]
    _finish_slice(
        node,
        replace(
            view,
            shape=tuple(view.shape[d] for d in kept),
            axes=tuple(view.axes[d] for d in kept),
        ),
    )


def _split(node: _Node) -> None:
    """The axis is a constant and not the batch."""
    value, axis = (1, 0) if node.name == "SPLIT" else (0, 2)
    shape = node.input(value).shape
    axes = node.values(axis, "axis")
    if len(axes) != 1:
        raise _Refused(f"{len(axes)} axes")
    (d,) = _dimensions(node, axes, len(shape))
    parts = len(node.operator.outputs)
    if node.name == "SPLIT":
        sizes = [shape[d] // parts] * parts
    else:
        sizes = [int(n) for n in node.values(1, "sizes")]
        if sizes.count(-1) == 1:
            rest = shape[d] - sum(sizes) - 1
            sizes = [rest if n == -1 else n for n in sizes]
    if len(sizes) != parts or min(sizes) < 1 or sum(sizes) != shape[d]:
        raise _Refused(f"{parts} parts of sizes {sizes} along {shape[d]}")
    begin = 0
    for i, size in enumerate(sizes):
        starts, extents = [0] * len(shape), list(shape)
        starts[d], extents[d] = begin, size
        _finish_slice(node, _slice_of(node, value, starts, [1] * len(shape), extents), i)
        begin += size


def _pad(node: _Node) -> None:
    """Paddings are constants; not of the batch. Folded into a convolution that reads it alone,
    if the constant is the zero point."""
    x = node.view(0)
    rank = len(x.shape)
    values = node.values(1, "paddings")
    if len(values) != 2 * rank:
        raise _Refused(f"{len(values)} paddings of {rank} dimensions")
    amounts = [(int(b), int(a)) for b, a in values.reshape(rank, 2)]
    if any(not 0 <= n <= MAX_DIMENSION for pair in amounts for n in pair):
        raise _Refused(f"paddings {amounts}")
    q = _per_tensor(node.output())
    value: float = 0 if q is None else q.zero_point
    if node.name == "PADV2" and node.has(2):
        constant = node.input(2)
        if constant.data is None or constant.data.size != 1:
            raise _Refused("its value is not a constant")
        if constant.dtype != node.importer.dtype:
            raise _Refused(f"its value is {constant.dtype} instead of {node.importer.dtype}")
        if not node.is_float and not _same_quantization(constant, node.output()):
            raise _Refused("its value is not quantized as its output")
        value = constant.data.reshape(-1)[0].item()
    if any(pair != (0, 0) and x.axis(d) is None for d, pair in enumerate(amounts)):
        x = node.plain(0)
    before, storage = [0, 0, 0], list(x.storage)
    for d, (first, last) in enumerate(amounts):
        axis = x.axis(d)
        if (first, last) != (0, 0):
            if axis is None:
                raise _Refused("it pads the batch")
            before[axis], storage[axis] = first, storage[axis] + first + last
    whole = (storage[0], storage[1], storage[2])
    y = node.new(whole)
    node.emit(Pad((x.tensor,), y, (before[0], before[1], before[2]), value))
    node.result(x.on(y, whole))


def _reshape(node: _Node) -> None:
    """Any shapes of as many elements."""
    x, shape = node.view(0), node.output().shape
    if prod(shape) != prod(x.shape):
        raise _Refused(f"{list(x.shape)} into {list(shape)}")
    if x.tensor in node.importer.pending and regroup(x, shape) is None:
        raise _Refused(f"{list(x.shape)} into {list(shape)} before the input is quantized")
    node.result(node.importer.reshaped(x, shape))


def _transpose(node: _Node) -> None:
    """Absorbed by what reads it: MEAN, FULLY_CONNECTED, elementwise operators, another
    TRANSPOSE, a RESHAPE that only joins or splits off dimensions."""
    x = node.view(0)
    order = [int(n) for n in node.values(1, "permutation")]
    order = [n + len(order) * (n < 0) for n in order]
    if sorted(order) != list(range(len(x.shape))):
        raise _Refused(f"permutation {order}")
    node.result(
        replace(
            x,
            shape=tuple(x.shape[d] for d in order),
            axes=tuple(x.axes[d] for d in order),
        )
    )


# --- Rules -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rule:
    """options: the schema's table and fields. inputs: least and most. outputs: None for any."""

    build: Callable[[_Node], None]
    inputs: tuple[int, int]
    checks: tuple[Callable[[_Node], None], ...]
    options: tuple[str, tuple[str, ...]] = ("", ())
    outputs: int | None = 1


_FUSED = "FusedActivationFunction"
_STRIDE = ("Padding", "StrideH", "StrideW", _FUSED)
_DILATION = ("DilationHFactor", "DilationWFactor")
_CONV_CHECKS = (_activations_int8, _rank_4, _weights, _bias, _fused)
_POOL = _Rule(
    _pool,
    (1, 1),
    (_activations_int8, _rank_4, _fused),
    ("Pool2DOptions", (*_STRIDE, "FilterHeight", "FilterWidth")),
)
_CORNERS = ("AlignCorners", "HalfPixelCenters")
_LABELS = (_same_type_and_quantization,)

_RULES: dict[str, _Rule] = {
    "CONV_2D": _Rule(_conv_2d, (2, 3), _CONV_CHECKS, ("Conv2DOptions", (*_STRIDE, *_DILATION))),
    "DEPTHWISE_CONV_2D": _Rule(
        _depthwise_conv_2d,
        (2, 3),
        _CONV_CHECKS,
        ("DepthwiseConv2DOptions", (*_STRIDE, *_DILATION)),
    ),
    "FULLY_CONNECTED": _Rule(
        _fully_connected,
        (2, 3),
        (_activations_int8, _weights, _bias, _fused),
        ("FullyConnectedOptions", (_FUSED, "WeightsFormat")),
    ),
    "ADD": _Rule(_binary, (2, 2), (_both_int8, _fused, _sum_scales), ("AddOptions", (_FUSED,))),
    "SUB": _Rule(_binary, (2, 2), (_both_int8, _fused, _sum_scales), ("SubOptions", (_FUSED,))),
    "MUL": _Rule(_binary, (2, 2), (_both_int8, _fused), ("MulOptions", (_FUSED,))),
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "MEAN": _Rule(_mean, (2, 2), (_activations_int8,), ("ReducerOptions", ("KeepDims",))),
    "SOFTMAX": _Rule(
        _softmax, (1, 1), (_activations_int8, _probabilities), ("SoftmaxOptions", ("Beta",))
    ),
    "LOGISTIC": _Rule(_unary, (1, 1), (_activations_int8, _probabilities)),
    "TANH": _Rule(_unary, (1, 1), (_activations_int8,)),
    "HARD_SWISH": _Rule(_unary, (1, 1), (_activations_int8, _hard_swish_scale)),
    "LEAKY_RELU": _Rule(_unary, (1, 1), (_activations_int8,), ("LeakyReluOptions", ("Alpha",))),
    "RELU": _Rule(_unary, (1, 1), (_activations_int8,)),
    "RELU6": _Rule(_unary, (1, 1), (_activations_int8,)),
    "QUANTIZE": _Rule(_quantize, (1, 1), ()),
    "DEQUANTIZE": _Rule(_leave, (1, 1), ()),
    "CONCATENATION": _Rule(
        _concatenation,
        (1, 10),
        (_all_int8, _quantized_as_output, _not_fused),
        ("ConcatenationOptions", ("Axis", _FUSED)),
    ),
    "RESIZE_BILINEAR": _Rule(
        _resize, (2, 2), (_activations_int8, _rank_4), ("ResizeBilinearOptions", _CORNERS)
    ),
    "RESIZE_NEAREST_NEIGHBOR": _Rule(
        _resize, (2, 2), (_activations_int8, _rank_4), ("ResizeNearestNeighborOptions", _CORNERS)
    ),
    "SLICE": _Rule(_slice, (3, 3), (_activations_int8,)),
    "STRIDED_SLICE": _Rule(
        _strided_slice,
        (4, 4),
        (_activations_int8,),
        (
            "StridedSliceOptions",
            ("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask", "Offset"),
        ),
    ),
    "SPLIT": _Rule(_split, (2, 2), (_second_int8,), outputs=None),
    "SPLIT_V": _Rule(_split, (3, 3), (_activations_int8,), outputs=None),
    "PAD": _Rule(_pad, (2, 2), (_activations_int8,)),
    "PADV2": _Rule(_pad, (2, 3), (_activations_int8,)),
    "RESHAPE": _Rule(_reshape, (1, 2), _LABELS),
    "SQUEEZE": _Rule(_reshape, (1, 1), _LABELS),
    "EXPAND_DIMS": _Rule(_reshape, (2, 2), _LABELS),
    "TRANSPOSE": _Rule(_transpose, (2, 2), _LABELS),
}
