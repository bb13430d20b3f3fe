# SPDX-License-Identifier: Apache-2.0
"""Changes at random to the structure of a .tflite file: still a flatbuffer, mostly no model.

A change is drawn from a seed; the same file, seed and version of this module give the same
file. What is changed is the schema's own object tree, so fields, shapes, quantization, indices
and options get wrong values of every kind, rarely bytes that no reader could parse.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from mutations import OF_BYTES, as_list, change_list, draw_float, draw_int, mutate_bytes

_TYPES = tuple(v for k, v in vars(schema.TensorType).items() if isinstance(v, int))


def parse(data: bytes) -> Any:
    """The object tree of a file."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


def serialize(model: Any) -> bytes | None:
    """The file of a tree; None if a value does not fit its field."""
    builder = flatbuffers.Builder(4096)
    try:
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    except (struct.error, TypeError, ValueError, OverflowError, AttributeError, AssertionError):
        return None
    return bytes(builder.Output())


def mutate(tree: Any, seeds: Sequence[int]) -> bytes | None:
    """The file of a tree (which stays) after one change per seed; None if one finds nothing of
    its kind to change."""
    model, rngs = copy.deepcopy(tree), [Random(seed) for seed in seeds]
    of_bytes = [rng for rng in rngs if rng.random() < OF_BYTES]
    try:
        for rng in rngs:
            if rng not in of_bytes:
                rng.choices(_CHANGES, _WEIGHTS)[0](model, rng)
    except (IndexError, ValueError, TypeError, AttributeError):
        return None
    data = serialize(model)
    for rng in of_bytes:
        data = None if data is None else mutate_bytes(data, rng)
    return data


# --- Changes -----------------------------------------------------------------------------------


def _graph(model: Any) -> Any:
    return model.subgraphs[0]


def _tensor(model: Any, rng: Random) -> Any:
    """Half of the time one that is no constant."""
    tensors = _graph(model).tensors
    if rng.random() < 0.5:
        tensors = [t for t in tensors if model.buffers[t.buffer].data is None] or tensors
    return rng.choice(tensors)


def _shape(model: Any, rng: Random) -> None:
    tensor = _tensor(model, rng)
    old = as_list(tensor.shape)
    new = change_list(old, rng, lambda: draw_int(rng))
    if rng.random() < 0.2:
        new = as_list(_tensor(model, rng).shape)
    same = [t for t in _graph(model).tensors if as_list(t.shape) == old]
    for each in same if rng.random() < 0.4 else [tensor]:
        each.shape = np.array(new, np.int32)


def _scale(model: Any, rng: Random) -> None:
    q = rng.choice([t.quantization for t in _graph(model).tensors if _scaled(t)])
    scales = [float(s) for s in q.scale]
    i = rng.randrange(len(scales))
    scales[i] = draw_float(rng, scales[i])
    q.scale = np.array(scales, np.float32)


def _scaled(tensor: Any) -> bool:
    return tensor.quantization is not None and tensor.quantization.scale is not None


def _zero_point(model: Any, rng: Random) -> None:
    q = rng.choice([t.quantization for t in _graph(model).tensors if _scaled(t)])
    points = as_list(q.zeroPoint) or [0]
    i = rng.randrange(len(points))
    points[i] = rng.choice((points[i] + 1, -128, 127, 0, 255, -129, 128, 2**31, -(2**40), 2**15))
    q.zeroPoint = np.array(points, np.int64)


def _quantization(model: Any, rng: Random) -> None:
    tensor, other = _tensor(model, rng), _tensor(model, rng)
    match rng.randrange(5):
        case 0:
            tensor.quantization = None
        case 1:
            tensor.quantization.quantizedDimension = draw_int(rng)
        case 2:
            scales = change_list(tensor.quantization.scale, rng, lambda: rng.uniform(0.001, 1))
            tensor.quantization.scale = np.array(scales, np.float32)
        case _:
            tensor.quantization = copy.deepcopy(other.quantization)


def _type(model: Any, rng: Random) -> None:
    _tensor(model, rng).type = rng.choice(_TYPES)


def _tensor_field(model: Any, rng: Random) -> None:
    tensor = _tensor(model, rng)
    match rng.randrange(5):
        case 0:
            tensor.buffer = rng.choice((0, rng.randrange(len(model.buffers)), draw_int(rng)))
        case 1:
            tensor.isVariable = not tensor.isVariable
        case 2:
            tensor.name = rng.choice((None, b"", b"\n\n", b"\xff\x00", b"n" * 3000))
        case 3:
            tensor.sparsity = schema.SparsityParametersT()
        case _:
            tensor.shapeSignature = np.array([-1, *as_list(tensor.shape)[1:]], np.int32)


def _values(model: Any, rng: Random) -> None:
    """Numbers of a small constant of integers (axes, shapes, paddings), or bytes of weights."""
    constants = [t for t in _graph(model).tensors if model.buffers[t.buffer].data is not None]
    integers = {schema.TensorType.INT32: "<i4", schema.TensorType.INT64: "<i8"}
    small = [t for t in constants if t.type in integers and len(model.buffers[t.buffer].data) < 129]
    tensor = rng.choice(small if small and rng.random() < 0.7 else constants)
    buffer = model.buffers[tensor.buffer]
    data = np.array(buffer.data, np.uint8)
    if rng.random() < 0.1:
        buffer.data = data[: rng.randrange(len(data))]
        return
    if (tensor.type in integers and len(data) % 8 == 0) or tensor.type == schema.TensorType.INT32:
        values = data.view(integers[tensor.type])
        i = rng.randrange(len(values))
        values[i] = rng.choice((int(values[i]) + rng.choice((-1, 1)), draw_int(rng)))
    elif rng.random() < 0.3:
        data[:] = rng.choice((0, 127, 128, 255))
    else:
        data[rng.randrange(len(data))] = rng.randrange(256)
    buffer.data = data.view(np.uint8)


def _operator_tensors(model: Any, rng: Random) -> None:
    graph = _graph(model)
    operator = rng.choice(graph.operators)
    field = rng.choice(("inputs", "inputs", "outputs"))

    def draw() -> int:
        return rng.randrange(len(graph.tensors)) if rng.random() < 0.8 else draw_int(rng)

    changed = change_list(getattr(operator, field), rng, draw)
    setattr(operator, field, np.array(changed, np.int32))


def _option(model: Any, rng: Random) -> None:
    operators = [op for op in _graph(model).operators if op.builtinOptions is not None]
    operator = rng.choice(operators)
    if rng.random() < 0.1:
        operator.builtinOptions, operator.builtinOptionsType = None, 0
        return
    options = operator.builtinOptions
    name = rng.choice(sorted(vars(options)))
    value = getattr(options, name)
    if isinstance(value, bool):
        setattr(options, name, not value)
    elif isinstance(value, float):
        setattr(options, name, draw_float(rng, value or 1.0))
    elif isinstance(value, int):
        setattr(options, name, rng.choice((value + 1, rng.randrange(8), draw_int(rng))))
    else:
        changed = change_list(value, rng, lambda: draw_int(rng))
        setattr(options, name, np.array(changed, np.int32))


def _code(model: Any, rng: Random) -> None:
    match rng.randrange(4):
        case 0:
            rng.choice(_graph(model).operators).opcodeIndex = rng.choice(
                (rng.randrange(len(model.operatorCodes)), draw_int(rng))
            )
        case 1:
            rng.choice(model.operatorCodes).version = draw_int(rng)
        case _:
            code = rng.choice(model.operatorCodes)
            code.builtinCode = rng.randrange(210)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            if rng.random() < 0.3:
                code.deprecatedBuiltinCode = rng.choice((0, 32, rng.randrange(128)))


def _order(model: Any, rng: Random) -> None:
    operators = _graph(model).operators
    i, j = rng.randrange(len(operators)), rng.randrange(len(operators))
    match rng.randrange(4):
        case 0:
            del operators[i]
        case 1:
            operators.insert(j, copy.deepcopy(operators[i]))
        case 2:
            operators[i], operators[j] = operators[j], operators[i]
        case _:  # what it reads is computed by itself or later
            operators[i].inputs = operators[j].outputs


def _edges(model: Any, rng: Random) -> None:
    graph = _graph(model)
    field = rng.choice(("inputs", "outputs"))
    changed = change_list(getattr(graph, field), rng, lambda: rng.randrange(len(graph.tensors)))
    setattr(graph, field, np.array(changed, np.int32))


def _whole(model: Any, rng: Random) -> None:
    match rng.randrange(5):
        case 0:
            model.version = draw_int(rng)
        case 1:
            model.subgraphs.append(copy.deepcopy(_graph(model)))
        case 2:
            model.subgraphs.clear()
        case 3:
            entry = schema.MetadataT()
            entry.name = rng.choice((b"narrows", b"min_runtime_version", b""))
            entry.buffer = rng.choice((0, 1, draw_int(rng) & 0xFFFF))
            model.metadata = [*(model.metadata or []), entry]
        case _:
            buffer = rng.choice(model.buffers)
            buffer.offset, buffer.size = draw_int(rng) & 0xFFFF, draw_int(rng) & 0xFFFF


_TABLE: tuple[tuple[int, Callable[[Any, Random], None]], ...] = (
    (14, _shape),
    (12, _scale),
    (8, _zero_point),
    (8, _quantization),
    (4, _type),
    (5, _tensor_field),
    (14, _values),
    (10, _operator_tensors),
    (16, _option),
    (7, _code),
    (5, _order),
    (5, _edges),
    (2, _whole),
)
_WEIGHTS = [weight for weight, _ in _TABLE]
_CHANGES = [change for _, change in _TABLE]
