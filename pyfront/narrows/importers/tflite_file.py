# SPDX-License-Identifier: Apache-2.0
"""The bytes of a ``.tflite`` file, checked and turned into plain records.

The file is hostile: any offset, count or index in it may be wrong. Everything that touches
the flatbuffer happens in this module, under one guard that turns whatever goes wrong into
a ModelError that names the place.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tflite
from flatbuffers.number_types import Int8Flags, Int32Flags

from narrows.errors import ModelError
from narrows.graph.graph import MAX_DIMENSION, Array, Quantization

_DTYPES = {
    tflite.TensorType.FLOAT32: "float32",
    tflite.TensorType.FLOAT16: "float16",
    tflite.TensorType.INT8: "int8",
    tflite.TensorType.UINT8: "uint8",
    tflite.TensorType.INT16: "int16",
    tflite.TensorType.INT32: "int32",
    tflite.TensorType.INT64: "int64",
    tflite.TensorType.BOOL: "bool",
}
_OTHER_DTYPES = {v: k.lower() for k, v in vars(tflite.TensorType).items() if isinstance(v, int)}
_OPERATORS = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
_QUANTIZED = ("int8", "uint8")
_MAX_ZERO_POINT = 2**15
# Places of an OperatorCode's fields in its vtable: deprecated_builtin_code, builtin_code.
_DEPRECATED_CODE, _BUILTIN_CODE = 4, 10
# TensorFlow Lite's own limit of a tensor's dimensions.
_MAX_RANK = 8
CUSTOM_OPTIONS = "CustomOptions"
# What the flatbuffer accessors raise on bytes that are not what they should be.
MALFORMED = (
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    TypeError,
    OverflowError,
    MemoryError,
    AttributeError,
)


@dataclass(frozen=True, eq=False)
class TensorRecord:
    """A tensor as the file has it. Only its readers know whether its quantization fits them.

    shape: as stated; a dimension that is not fixed may be negative.
    dtype: NumPy's name where one exists.
    quantization: of an 8-bit tensor. fault: what stands in its place if it makes no sense.
    data: values of a constant in ``shape``; None if it is computed, sparse, or of a type that
        NumPy does not have.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None
    fault: str
    data: Array | None
    is_constant: bool
    is_variable: bool
    is_sparse: bool

    @property
    def scale_words(self) -> str:
        """How it is quantized, behind "it has"."""
        q = self.quantization
        if q is None:
            return self.fault or "no scale"
        if len(q.scales) > 1:
            return f"{len(q.scales)} scales"
        return f"scale {q.scale:g} and zero point {q.zero_point}"


@dataclass(frozen=True, eq=False)
class OperatorRecord:
    """options: the fields that the operator's importer asked for, defaults filled in; of a custom
    operator its bytes, under ``CUSTOM_OPTIONS``."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]


@dataclass(frozen=True, eq=False)
class VariableRecord:
    """What stays from one inference to the next: tensor ``read`` is there when one begins, with
    the values ``first`` in the first one, and is what ``assigned`` was when the last one ended."""

    read: int
    assigned: int
    first: Array


@dataclass(frozen=True, eq=False)
class ModelRecord:
    """The main subgraph. subgraphs: those that a CALL_ONCE names, by their numbers. variables:
    none in a file; ``fold_variables`` finds them."""

    tensors: tuple[TensorRecord, ...]
    operators: tuple[OperatorRecord, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: Mapping[int, ModelRecord] = field(default_factory=dict)
    variables: tuple[VariableRecord, ...] = ()

    @property
    def ends(self) -> tuple[int, ...]:
        """Tensors that are wanted: outputs, and what variables become."""
        return (*self.outputs, *(v.assigned for v in self.variables))


def read_model(
    data: bytes, path: str, options: dict[str, tuple[str, tuple[str, ...]]]
) -> ModelRecord:
    """Read the first subgraph of a ``.tflite`` file, and those that it calls once.

    Args:
        data: the whole file.
        path: its name in errors.
        options: for each operator whose attributes are wanted, the schema's options table and
            the names of its fields.

    Raises:
        ModelError: not a .tflite file, or truncated, or malformed; says where.
    """
    if data[4:8] != b"TFL3":
        raise ModelError(f"{path}: not a .tflite file (no TFL3 identifier at byte 4)")
    reader = _Reader(data, path, options)
    try:
        return reader.model()
    except MALFORMED as error:
        detail = " ".join(str(error).split())[:100]
        raise ModelError(
            f"{path}: {reader.where}: the file is truncated or damaged ({detail})"
        ) from error


def read_metadata(data: bytes, path: str, name: str) -> bytes | None:
    """An entry of the file's metadata; None if it has none of this name.

    Raises:
        ModelError: as read_model.
    """
    if data[4:8] != b"TFL3":
        raise ModelError(f"{path}: not a .tflite file (no TFL3 identifier at byte 4)")
    try:
        model = tflite.Model.GetRootAsModel(data, 0)
        for i in range(min(model.MetadataLength(), MAX_DIMENSION)):
            entry = model.Metadata(i)
            if entry.Name() == name.encode():
                _in_range(entry.Buffer(), model.BuffersLength(), "buffer")
                buffer = model.Buffers(entry.Buffer())
                return bytes(buffer.DataAsNumpy()) if buffer.DataLength() else b""
    except MALFORMED as error:
        detail = " ".join(str(error).split())[:100]
        raise ModelError(
            f"{path}: metadata: the file is truncated or damaged ({detail})"
        ) from error
    return None


class _Reader:
    def __init__(
        self, data: bytes, path: str, options: dict[str, tuple[str, tuple[str, ...]]]
    ) -> None:
        self._data = data
        self._path = path
        self._options = options
        # Tables and vectors may overlap, so a small file could stand for endless records.
        # Sharing between a few tensors is normal.
        self._budget = 4 * len(data)
        self.where = "header"

    def model(self) -> ModelRecord:
        model = tflite.Model.GetRootAsModel(self._data, 0)
        if model.Version() != 3:
            raise ValueError(f"schema version {model.Version()}, 3 is known")
        if self._count(model.SubgraphsLength()) == 0:
            raise ValueError("no subgraph")
        self._count(model.BuffersLength())
        self._count(model.OperatorCodesLength())
        main = self._subgraph(model, 0)
        if not main.inputs or not main.outputs:
            raise ModelError(f"{self._path}: its main subgraph has no inputs or no outputs")
        others = {}
        for operator in main.operators:
            number = operator.options.get("InitSubgraphIndex")
            if number is not None:
                self.where = f"operator {operator.index} {operator.name}"
                _in_range(number, model.SubgraphsLength(), "subgraph")
                others[number] = self._subgraph(model, number)
        return replace(main, subgraphs=others)

    def _subgraph(self, model: Any, number: int) -> ModelRecord:
        graph = model.Subgraphs(number)
        tensors = []
        for i in range(self._count(graph.TensorsLength())):
            self.where = f"tensor {i}"
            tensors.append(self._tensor(model, graph.Tensors(i)))
        operators = []
        for i in range(self._count(graph.OperatorsLength())):
            self.where = f"operator {i}"
            operators.append(self._operator(model, i, graph.Operators(i), len(tensors)))
        self.where = "subgraph"
        inputs = self._ints(graph.InputsLength, graph.InputsAsNumpy)
        outputs = self._ints(graph.OutputsLength, graph.OutputsAsNumpy)
        for i in (*inputs, *outputs):
            _in_range(i, len(tensors), "tensor")
        return ModelRecord(tuple(tensors), tuple(operators), inputs, outputs)

    def _count(self, count: int) -> int:
        """The length of a vector whose elements take 4 bytes or more."""
        if count > MAX_DIMENSION:
            raise ValueError(f"{count} elements, more than {MAX_DIMENSION}")
        self._charge(4 * count)
        return count

    def _charge(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise ValueError(f"{size} bytes more than {len(self._data)} can hold")

    def _ints(self, length: Callable[[], int], values: Callable[[], Any]) -> tuple[int, ...]:
        return tuple(int(v) for v in values()) if self._count(length()) else ()

    def _tensor(self, model: Any, tensor: Any) -> TensorRecord:
        name = _name(tensor.Name())
        shape = self._ints(tensor.ShapeLength, tensor.ShapeAsNumpy)
        if len(shape) > _MAX_RANK:
            raise ValueError(f"{len(shape)} dimensions, more than {_MAX_RANK}")
        dtype = _DTYPES.get(tensor.Type(), _OTHER_DTYPES.get(tensor.Type(), "unknown type"))
        q, fault = None, ""
        if dtype in _QUANTIZED:
            q, fault = self._quantization(tensor.Quantization())
        is_sparse = tensor.Sparsity() is not None
        buffer = self._buffer(model, tensor, name)
        is_variable = bool(tensor.IsVariable())
        # A variable begins with its zero point, whatever values the file has for it.
        unused = is_sparse or is_variable
        data = None if unused else self._values(buffer, shape, dtype)
        return TensorRecord(
            name,
            shape,
            dtype,
            q,
            fault,
            data,
            buffer.DataLength() > 0,
            is_variable,
            is_sparse,
        )

    def _quantization(self, q: Any) -> tuple[Quantization | None, str]:
        """Scales and zero points, or what is wrong with them."""
        if q is None or self._count(q.ScaleLength()) == 0:
            return None, ""
        scales = np.array(q.ScaleAsNumpy(), np.float32)
        for scale in scales[~(np.isfinite(scales) & (scales > 0))]:
            return None, f"scale {scale:g}"
        # TensorFlow Lite Micro takes a tensor without a zero point as one without a scale.
        zero_points = np.array(self._ints(q.ZeroPointLength, q.ZeroPointAsNumpy), np.int64)
        if len(zero_points) == 1:
            zero_points = np.broadcast_to(zero_points, scales.shape)
        if len(zero_points) != len(scales):
            return None, f"{len(scales)} scales and {len(zero_points)} zero points"
        for zero_point in zero_points[np.abs(zero_points) > _MAX_ZERO_POINT]:
            return None, f"zero point {zero_point}"
        axis = int(q.QuantizedDimension()) if len(scales) > 1 else 0
        return Quantization(scales, zero_points.astype(np.int32), axis), ""

    def _buffer(self, model: Any, tensor: Any, name: str) -> Any:
        _in_range(tensor.Buffer(), model.BuffersLength(), "buffer")
        buffer = model.Buffers(tensor.Buffer())
        if buffer.Offset() > 1 or buffer.Size() > 0:
            raise ModelError(
                f"{self._path}: the values of {name} stand behind the flatbuffer, as in models of "
                "more than 2 GB; convert a smaller model"
            )
        return buffer

    def _values(self, buffer: Any, shape: tuple[int, ...], dtype: str) -> Array | None:
        size = buffer.DataLength()
        if size == 0 or dtype not in _DTYPES.values():
            return None
        count = 1
        for n in shape:
            count *= n
        expected = count * np.dtype(dtype).itemsize
        if size != expected:
            raise ValueError(f"{size} bytes of values, shape {shape} of {dtype} needs {expected}")
        self._charge(size)
        raw: Array = buffer.DataAsNumpy()
        values: Array = raw.view(np.dtype(dtype).newbyteorder("<")).reshape(shape)
        return values

    def _operator(self, model: Any, index: int, operator: Any, tensors: int) -> OperatorRecord:
        code_index = operator.OpcodeIndex()
        _in_range(code_index, model.OperatorCodesLength(), "operator code")
        code = model.OperatorCodes(code_index)
        number = _operator_number(code)
        name = _OPERATORS.get(number, f"operator code {number}")
        if number == tflite.BuiltinOperator.CUSTOM:
            name = f"CUSTOM {_name(code.CustomCode())}"
        self.where = f"operator {index} {name}"
        inputs = self._ints(operator.InputsLength, operator.InputsAsNumpy)
        outputs = self._ints(operator.OutputsLength, operator.OutputsAsNumpy)
        for i in inputs:
            if i != -1:  # an optional input that is left out
                _in_range(i, tensors, "tensor")
        for i in outputs:
            _in_range(i, tensors, "tensor")
        return OperatorRecord(index, name, inputs, outputs, self._attributes(name, operator))

    def _attributes(self, name: str, operator: Any) -> dict[str, Any]:
        if name.startswith("CUSTOM "):
            self._charge(operator.CustomOptionsLength())
            has_some = operator.CustomOptionsLength() > 0
            return {CUSTOM_OPTIONS: bytes(operator.CustomOptionsAsNumpy()) if has_some else b""}
        if name not in self._options:
            return {}
        table_name, fields = self._options[name]
        table = getattr(tflite, table_name)()
        source = operator.BuiltinOptions()
        if source is not None:
            kind = operator.BuiltinOptionsType()
            if kind != getattr(tflite.BuiltinOptions, table_name):
                raise ValueError(f"options of kind {kind} instead of {table_name}")
            table.Init(source.Bytes, source.Pos)
        elif name in _WITHOUT_DEFAULTS:
            return {}
        else:  # a table without fields: every field has its default
            table.Init(_EMPTY_TABLE, 4)
        return {field: getattr(table, field)() for field in fields}


# Operators whose options have other values in TensorFlow Lite than the schema's defaults where the
# file gives no table.
_WITHOUT_DEFAULTS = ("MIRROR_PAD",)
# A flatbuffer table without fields: a vtable of 4 bytes, then the table that points back to it.
_EMPTY_TABLE = struct.pack("<HHi", 4, 4, 4)


def _operator_number(code: Any) -> int:
    """The operator that a code means: the larger of its two fields, as TFLite reads them.

    The fields themselves are read, because the package's ``BuiltinCode()`` returns the 8-bit one
    for all numbers below 127, and current writers leave that one empty.
    """
    table = code._tab

    def number(slot: int, flags: Any) -> int:
        offset = table.Offset(slot)
        return int(table.Get(flags, offset + table.Pos)) if offset else 0

    return max(number(_DEPRECATED_CODE, Int8Flags), number(_BUILTIN_CODE, Int32Flags))


def _in_range(index: int, count: int, what: str) -> None:
    if not 0 <= index < count:
        raise ValueError(f"{what} {index} of {count}")


def _name(raw: bytes | None) -> str:
    """A name for people: one line, printable, not endless."""
    text = (raw or b"").decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
