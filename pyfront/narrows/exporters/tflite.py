# SPDX-License-Identifier: Apache-2.0
"""Write a ``.tflite`` file: tensors, operators and their options, one subgraph.

The schema's own bindings (package ``tflite``) do the byte work. What is written is taken
as it stands: the writer knows the format, not the meaning of an operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import tflite

_DTYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "int8": tflite.TensorType.INT8,
    "uint8": tflite.TensorType.UINT8,
    "int16": tflite.TensorType.INT16,
    "int32": tflite.TensorType.INT32,
    "int64": tflite.TensorType.INT64,
    "bool": tflite.TensorType.BOOL,
}
# TFLite and its micro variant read constants in place.
_BUFFER_ALIGNMENT = 16


@dataclass(frozen=True, eq=False)
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: npt.NDArray[np.float32]
    zero_points: npt.NDArray[np.int64]
    axis: int
    data: bytes | None


@dataclass(frozen=True)
class _Operator:
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    table: str | None
    options: dict[str, int | float | bool | Sequence[int]]
    version: int
    custom: bytes | None


class ModelWriter:
    """Collects tensors and operators; ``finish`` returns the file's bytes.

    Operators are executed in the order in which they were added. Typical use::

        writer = ModelWriter("example")
        x = writer.tensor((1, 8, 8, 3), "int8", scale=0.5, zero_point=-1)
        y = writer.tensor((1, 8, 8, 3), "int8", scale=1 / 256, zero_point=-128)
        writer.operator("LOGISTIC", [x], [y])
        data = writer.finish(inputs=[x], outputs=[y])
    """

    def __init__(
        self, description: str = "narrows", metadata: Mapping[str, bytes] | None = None
    ) -> None:
        self._description = description
        self._metadata = dict(metadata or {})
        self._tensors: list[_Tensor] = []
        self._operators: list[_Operator] = []

    def tensor(
        self,
        shape: Sequence[int],
        dtype: str = "int8",
        *,
        scale: float | Sequence[float] | npt.NDArray[np.floating[Any]] | None = None,
        zero_point: int | Sequence[int] | npt.NDArray[np.integer[Any]] = 0,
        axis: int = 0,
        data: npt.ArrayLike | None = None,
        name: str | None = None,
    ) -> int:
        """Add a tensor and return its index.

        Args:
            shape: dimensions, batch first.
            dtype: ``float32``, ``int8``, ``uint8``, ``int16``, ``int32``, ``int64``, ``bool``.
            scale: real value of one step, one number or one per index of ``axis``; None for
                a tensor that is not quantized.
            zero_point: one integer for all scales, or one per scale.
            axis: dimension that several scales belong to.
            data: the values of a constant, convertible to ``dtype`` and ``shape``.
            name: defaults to ``tensor_<index>``.

        Raises:
            ValueError: the data does not fit shape and dtype.
        """
        index = len(self._tensors)
        scales = np.atleast_1d(np.asarray([] if scale is None else scale, np.float32))
        zero_points = np.broadcast_to(np.asarray(zero_point, np.int64), scales.shape)
        raw: bytes | None = None
        if data is not None:
            array = np.asarray(data, dtype)
            if array.size != int(np.prod(shape, dtype=np.int64)):
                raise ValueError(f"data of shape {array.shape} does not fill {tuple(shape)}")
            raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        self._tensors.append(
            _Tensor(name or f"tensor_{index}", tuple(shape), dtype, scales, zero_points, axis, raw)
        )
        return index

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        table: str | None = None,
        options: dict[str, int | float | bool | Sequence[int]] | None = None,
        *,
        version: int = 1,
        custom: bytes | None = None,
    ) -> None:
        """Add an operator.

        Args:
            name: the schema's ``BuiltinOperator``, for instance ``CONV_2D``, or the custom
                operator's own name.
            inputs: tensor indices; -1 for an optional input that is left out.
            outputs: tensor indices.
            table: the schema's options table, for instance ``Conv2DOptions``; None for none.
            options: the table's fields in the schema's spelling (``stride_w``); enums as
                numbers (``tflite.Padding.SAME``), vectors of int32 as sequences.
            version: version of the operator that the file asks for.
            custom: options of a custom operator, as it reads them; None for a builtin one.
        """
        ends, fields = (tuple(inputs), tuple(outputs)), dict(options or {})
        self._operators.append(_Operator(name, *ends, table, fields, version, custom))

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The bytes of the file, with the given tensors as the model's inputs and outputs."""
        builder = flatbuffers.Builder(1024)
        buffers = [_buffer(builder, None)]  # buffer 0 is the empty one, by convention
        tensors = []
        for tensor in self._tensors:
            if tensor.data is not None:
                buffers.append(_buffer(builder, tensor.data))
            tensors.append(_tensor(builder, tensor, 0 if tensor.data is None else len(buffers) - 1))
        keys = [(op.name, op.version, op.custom is not None) for op in self._operators]
        codes = list(dict.fromkeys(keys))
        operators = [
            _operator(builder, op, codes.index(key))
            for op, key in zip(self._operators, keys, strict=True)
        ]
        graph = _table(
            builder,
            "SubGraph",
            {
                "Tensors": _offsets(builder, tensors),
                "Inputs": _int32s(builder, inputs),
                "Outputs": _int32s(builder, outputs),
                "Operators": _offsets(builder, operators),
                "Name": builder.CreateString("main"),
            },
        )
        code_tables = [_operator_code(builder, *code) for code in codes]
        entries = []
        for name, data in self._metadata.items():
            buffers.append(_buffer(builder, data))
            label = builder.CreateString(name)
            entries.append(_table(builder, "Metadata", {"Name": label, "Buffer": len(buffers) - 1}))
        fields = {
            "Version": 3,
            "OperatorCodes": _offsets(builder, code_tables),
            "Subgraphs": _offsets(builder, [graph]),
            "Description": builder.CreateString(self._description),
            "Buffers": _offsets(builder, buffers),
        }
        if entries:
            fields["Metadata"] = _offsets(builder, entries)
        model = _table(builder, "Model", fields)
        builder.Finish(model, file_identifier=b"TFL3")
        return bytes(builder.Output())


def _table(builder: Any, name: str, fields: dict[str, Any]) -> int:
    """A table of the schema from field values (offsets of children already written)."""
    getattr(tflite, f"{name}Start")(builder)
    for field, value in fields.items():
        getattr(tflite, f"{name}Add{field}")(builder, value)
    return int(getattr(tflite, f"{name}End")(builder))


def _offsets(builder: Any, items: Sequence[int]) -> int:
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        builder.PrependUOffsetTRelative(item)
    return int(builder.EndVector())


def _int32s(builder: Any, items: Sequence[int]) -> int:
    return int(builder.CreateNumpyVector(np.asarray(items, np.int32)))


def _buffer(builder: Any, data: bytes | None) -> int:
    if data is None:
        return _table(builder, "Buffer", {})
    builder.StartVector(1, len(data), _BUFFER_ALIGNMENT)
    builder.head -= len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    return _table(builder, "Buffer", {"Data": int(builder.EndVector())})


def _tensor(builder: Any, tensor: _Tensor, buffer: int) -> int:
    fields: dict[str, Any] = {
        "Shape": _int32s(builder, tensor.shape),
        "Type": _DTYPES[tensor.dtype],
        "Buffer": buffer,
        "Name": builder.CreateString(tensor.name),
    }
    if tensor.scales.size:
        fields["Quantization"] = _table(
            builder,
            "QuantizationParameters",
            {
                "Scale": int(builder.CreateNumpyVector(tensor.scales)),
                "ZeroPoint": int(builder.CreateNumpyVector(tensor.zero_points)),
                "QuantizedDimension": tensor.axis,
            },
        )
    return _table(builder, "Tensor", fields)


def _operator(builder: Any, op: _Operator, code: int) -> int:
    fields: dict[str, Any] = {
        "OpcodeIndex": code,
        "Inputs": _int32s(builder, op.inputs),
        "Outputs": _int32s(builder, op.outputs),
    }
    if op.table is not None:
        options = {
            "".join(part.capitalize() for part in key.split("_")): (
                _int32s(builder, value) if isinstance(value, Sequence) else value
            )
            for key, value in op.options.items()
        }
        fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, op.table)
        fields["BuiltinOptions"] = _table(builder, op.table, options)
    if op.custom is not None:
        fields["CustomOptions"] = int(builder.CreateByteVector(op.custom))
    return _table(builder, "Operator", fields)


def _operator_code(builder: Any, name: str, version: int, is_custom: bool) -> int:
    number = getattr(tflite.BuiltinOperator, "CUSTOM" if is_custom else name)
    label = {"CustomCode": builder.CreateString(name)} if is_custom else {}
    # Old readers look at the 8-bit field, which saturates at the placeholder.
    deprecated = min(number, tflite.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
    return _table(
        builder,
        "OperatorCode",
        {
            "DeprecatedBuiltinCode": deprecated,
            "Version": version,
            "BuiltinCode": number,
            **label,
        },
    )
