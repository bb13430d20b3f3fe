# SPDX-License-Identifier: Apache-2.0
"""Shapes that a user gives the inputs of an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from narrows.errors import ModelError
from narrows.importers.onnx_file import OnnxRecord, printable


def with_shapes(record: OnnxRecord, shapes: Mapping[str, tuple[int, ...]], path: str) -> OnnxRecord:
    """The record whose inputs have these shapes.

    Args:
        shapes: by name; "" is the only input.

    Raises:
        ModelError: no such input, or a shape that contradicts what the file says.
    """
    if not shapes:
        return record
    names = [value.name for value in record.inputs]
    wanted = dict(shapes)
    if "" in wanted and len(names) == 1:
        wanted.setdefault(names[0], wanted.pop(""))
    unknown = [name for name in wanted if name not in names]
    if unknown:
        known = ", ".join(printable(name) for name in names)
        raise ModelError(f"{path}: no input {unknown[0] or 'without a name'}; it has {known}")
    inputs = []
    for value in record.inputs:
        shape = wanted.get(value.name, value.shape)
        fits = len(shape) == len(value.shape) and all(
            old is None or old == new for old, new in zip(value.shape, shape, strict=True)
        )
        if not fits:
            given, name = "x".join(map(str, shape)), printable(value.name)
            raise ModelError(f"{path}: input {name} is {value.words}, which {given} does not fit")
        inputs.append(replace(value, shape=tuple(shape)))
    for value in record.proto.graph.input:  # shapes inside follow from these
        if value.name in wanted:
            dims = value.type.tensor_type.shape.dim
            for dim, size in zip(dims, wanted[value.name], strict=True):
                dim.dim_value = size
    return replace(record, inputs=tuple(inputs))
