# SPDX-License-Identifier: Apache-2.0
"""An ``.onnx`` file, checked and turned into plain records.

The file is hostile: names, counts and types in it may be wrong. Protocol buffers are touched
here only, under one guard that turns whatever goes wrong into a ModelError.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import google.protobuf.message
import numpy as np
import onnx
import onnx.inliner
import onnx.numpy_helper
import onnx.reference
import onnx.shape_inference

from narrows.errors import ModelError
from narrows.graph.graph import MAX_TENSOR_BYTES, Array
from narrows.importers.folding import Budget
from narrows.importers.isolation import isolated

MIN_OPSET = 7  # broadcasting has NumPy's rules from here on
CONVERT_TO = 13
# What readers of damaged records raise; reference kernels add errors of their own.
MALFORMED = (
    struct.error,
    ArithmeticError,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    MemoryError,
    AttributeError,
    RuntimeError,
    google.protobuf.message.Error,
)
_ELEMENTWISE = frozenset((
    "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Mod", "Equal", "Less", "Greater",
    "LessOrEqual", "GreaterOrEqual", "And", "Or", "Xor", "Where", "BitShift", "PRelu",
))  # fmt: skip
_SHAPES = frozenset(("Expand", "ConstantOfShape"))
_MOVES = frozenset((
    "Identity", "Cast", "Gather", "Unsqueeze", "Squeeze", "Concat", "Slice", "Reshape", "Flatten",
    "Transpose", "Neg", "Abs", "Sqrt", "Reciprocal", "Floor", "Ceil", "Round", "Exp", "Not",
    "ReduceProd", "ReduceSum", "ReduceMin", "ReduceMax", "ReduceMean", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "Split", "Sign", "Log", "Sin", "Cos",
    "Erf", "Relu", "Sigmoid", "Tanh", "Softmax", "Clip", "IsNaN", "IsInf", "Trilu", "CumSum",
    "GatherElements",
))  # fmt: skip
_GROWING = frozenset(("Range", "Tile", "MatMul", "GatherND"))
_PAIR = ("QuantizeLinear", "DequantizeLinear")
FOLDABLE = _ELEMENTWISE | _SHAPES | _MOVES | _GROWING


@dataclass(frozen=True, eq=False)
class NodeRecord:
    """inputs, outputs: names; "" for one that is left out. proto: for constant folding."""

    index: int
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    proto: Any


@dataclass(frozen=True)
class ValueRecord:
    """dtype: NumPy's name. shape: None for a dimension that is not a number. words: the shape for
    people, with the names of such dimensions."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    words: str


@dataclass(frozen=True, eq=False)
class OnnxRecord:
    nodes: tuple[NodeRecord, ...]
    constants: dict[str, Array]
    inputs: tuple[ValueRecord, ...]
    outputs: tuple[str, ...]
    opset: int
    proto: Any


def read_onnx(model: str | Path | bytes, path: str) -> OnnxRecord:
    """Read an ``.onnx`` file.

    Args:
        model: a path (weights in files beside it are read too), or the bytes of a file.
        path: its name in errors.

    Raises:
        ModelError: not an ONNX model, or truncated, or malformed; says where.
    """
    where = ["header"]
    try:
        if isinstance(model, bytes):
            proto = onnx.load_from_string(model)
        else:
            proto = onnx.load(str(model), load_external_data=False)
            _load_weights(proto, Path(model), where)
        return _record(proto, path, where)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (*MALFORMED, onnx.checker.ValidationError) as error:
        detail = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path}: {where[0]}: not an ONNX model, or truncated or damaged ({detail})"
        ) from error


def external_files(path: Path) -> tuple[Path, ...]:
    """The files that hold weights of an ``.onnx`` file; () if it cannot be read."""
    try:
        proto = onnx.load(str(path), load_external_data=False)
    except (OSError, *MALFORMED):
        return ()
    places = {
        entry.value
        for tensor in proto.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return tuple(path.parent / place for place in sorted(places))


def _load_weights(proto: Any, path: Path, where: list[str]) -> None:
    """Read weights that stand in other files."""
    named: dict[str, int] = {}
    for tensor in proto.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
            named[place] = named.get(place, 0) + 1
    for place, count in named.items():
        where[0] = f"weights file {printable(place)}"
        if not (path.parent / place).is_file():
            raise ModelError(
                f"{path}: its weights ({count} tensors) stand in {printable(place)}, which is not "
                f"there; put it into {path.parent}"
            )
    if named:
        onnx.load_external_data_for_model(proto, str(path.parent))


def _opset(proto: Any, path: str) -> int:
    opsets = {o.domain: o.version for o in proto.opset_import}
    opset = int(opsets.get("", opsets.get("ai.onnx", 0)))
    if opset == 0 and not opsets:
        raise ValueError("no opset")
    if opset < MIN_OPSET:
        raise ModelError(
            f"{path}: ONNX of opset {opset or ', '.join(map(printable, opsets))}; narrows takes "
            f"opset {MIN_OPSET} and later: export it anew, or convert it with "
            f"onnx.version_converter.convert_version(model, {CONVERT_TO})"
        )
    return opset


def _record(proto: Any, path: str, where: list[str]) -> OnnxRecord:
    if not proto.graph.node and not proto.graph.output:
        raise ValueError("no nodes")
    opset = _opset(proto, path)
    if proto.functions:
        where[0] = "functions"
        proto = onnx.inliner.inline_local_functions(proto)
    graph = proto.graph
    _make_names_printable(graph)
    if not all(value.name for value in (*graph.input, *graph.output)):
        raise ValueError("an input or output without a name")
    constants = {}
    for tensor in graph.initializer:
        where[0] = f"initializer {printable(tensor.name)}"
        constants[_text(tensor.name)] = _array(tensor)
    if graph.sparse_initializer:
        raise ModelError(
            f"{path}: {len(graph.sparse_initializer)} sparse initializers; store them dense"
        )
    inputs = []
    for value in graph.input:
        where[0] = f"input {printable(value.name)}"
        if _text(value.name) not in constants:
            kind = value.type.WhichOneof("value") or "tensor_type"
            if kind != "tensor_type":
                raise ModelError(
                    f"{path}: {where[0]} is a {kind.removesuffix('_type')}; narrows takes tensors"
                )
            inputs.append(_value(value))
    nodes = [_node(index, node, where) for index, node in enumerate(graph.node)]
    outputs = tuple(_text(value.name) for value in graph.output)
    where[0] = "header"
    if not outputs:
        raise ValueError("no outputs")
    if not inputs:
        raise ModelError(f"{path}: it has no inputs, so its outputs are always the same")
    return OnnxRecord(tuple(nodes), constants, tuple(inputs), outputs, opset, proto)


def _node(index: int, node: Any, where: list[str]) -> NodeRecord:
    # onnxruntime wrote pairs of 16 bits so before ONNX had them.
    paired = node.domain == "com.microsoft" and node.op_type in _PAIR
    domain = "" if node.domain in ("", "ai.onnx") or paired else f"{node.domain}."
    operator = printable(f"{domain}{node.op_type}")
    where[0] = f"node {index} {operator}"
    attributes = {}
    for attribute in node.attribute:
        item = onnx.helper.get_attribute_value(attribute)
        if isinstance(item, bytes):
            item = printable(item.decode("utf-8", "replace"))
        elif isinstance(item, onnx.TensorProto):
            item = _array(item)
        attributes[attribute.name] = item
    inputs, outputs = (tuple(map(_text, names)) for names in (node.input, node.output))
    return NodeRecord(index, operator, inputs, outputs, attributes, node)


def inferred_values(record: OnnxRecord) -> dict[str, ValueRecord]:
    """Types and shapes of values, as far as ONNX itself can tell them."""

    def infer() -> bytes:
        model = onnx.shape_inference.infer_shapes(record.proto, data_prop=True)
        del model.graph.initializer[:]
        return bytes(model.SerializeToString())

    # It is C++ that aborts on a Slice of a negative dimension, such as a kernel makes that is
    # larger than its input.
    answer = isolated(infer)
    if answer is None:
        return {}
    graph = onnx.load_from_string(answer).graph
    found = {}
    for value in (*graph.value_info, *graph.output):
        with contextlib.suppress(*MALFORMED):
            found[_text(value.name)] = _value(value)
    return found


def _make_names_printable(graph: Any) -> None:
    """Rename values whose names would spoil the line of an error, before anything refers to
    them; others keep their names."""
    renamed: dict[str, str] = {}

    def name(old: str) -> str:
        if printable(old) != old:
            renamed.setdefault(old, f"{printable(old)}#{len(renamed)}")
        return renamed.get(old, old)

    for node in graph.node:
        node.input[:] = [name(old) for old in node.input]
        node.output[:] = [name(old) for old in node.output]
    for value in (*graph.initializer, *graph.input, *graph.output):
        value.name = name(value.name)


def _array(tensor: Any) -> Array:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError("its values stand in another file: import by path, not by bytes")
    if any(n < 0 for n in tensor.dims) or prod(tensor.dims) > MAX_TENSOR_BYTES // 4:
        raise ValueError(f"shape {list(tensor.dims)}")
    values: Array = onnx.numpy_helper.to_array(tensor)
    return values


def _value(value: Any) -> ValueRecord:
    if not value.type.HasField("tensor_type"):
        raise ValueError("it is not a tensor")
    kind = value.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    shape = tuple(
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim
    )
    names = [
        str(n) if n is not None else printable(d.dim_param) or "?"
        for n, d in zip(shape, kind.shape.dim, strict=True)
    ]
    return ValueRecord(_text(value.name), dtype, shape, f"[{', '.join(names)}]")


def _text(name: str | bytes) -> str:
    """A name as protocol buffers give it: as bytes if it is not UTF-8."""
    return name if isinstance(name, str) else name.decode("utf-8", "replace")


def printable(name: str | bytes) -> str:
    """A name for people: one line, not endless."""
    return "".join(c if c.isprintable() else "?" for c in _text(name))[:200]


@dataclass
class Folder:
    """Computes nodes whose inputs are all constants, by ONNX's own reference kernels, within
    bounds: a small hostile file must not make endless constants."""

    opset: int
    budget: Budget = field(default_factory=Budget)

    def fold(self, node: NodeRecord, inputs: Sequence[Array | None]) -> list[Array]:
        """The node's outputs.

        Raises:
            ValueError: too large. Or whatever the kernels raise, see MALFORMED.
        """
        arrays = [a for a in inputs if a is not None]
        self.budget.take(_largest(node.operator, arrays))
        names = [n for n in node.inputs if n]
        function = onnx.helper.make_function(
            "narrows",
            "fold",
            list(dict.fromkeys(names)),
            list(node.outputs),
            [node.proto],
            [onnx.helper.make_opsetid("", self.opset)],
        )
        with np.errstate(all="ignore"):
            results = onnx.reference.ReferenceEvaluator(function).run(
                None, dict(zip(names, arrays, strict=True)), attributes={}
            )
        return [np.asarray(result) for result in results]


def _largest(operator: str, arrays: Sequence[Array]) -> int:
    if operator in _SHAPES:
        sizes = [int(n) for n in arrays[-1].reshape(-1)]
        return max(1, prod(max(n, 1) for n in sizes)) * max(1, arrays[0].size * (len(arrays) > 1))
    if operator in _ELEMENTWISE:
        return prod(np.broadcast_shapes(*(a.shape for a in arrays)))
    if operator == "Range":
        first, last, step = (a.item() for a in arrays)
        return int(max(0, (last - first) / step)) + 1
    if operator == "Tile":
        return arrays[0].size * prod(max(int(n), 1) for n in arrays[1].reshape(-1))
    if operator == "MatMul":
        rows, columns = (a.size // (a.shape[d] or 1) for a, d in zip(arrays, (-1, -2), strict=True))
        return rows * columns
    if operator in ("Gather", "GatherND"):
        return arrays[0].size * max(1, arrays[1].size)
    return sum(a.size for a in arrays)
