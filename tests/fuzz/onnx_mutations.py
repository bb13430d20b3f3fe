# SPDX-License-Identifier: Apache-2.0
"""Changes at random to the structure of an .onnx file: still a protocol buffer, mostly no model.

A change is drawn from a seed; the same file, seed and version of this module give the same
file. Attributes, names, dimensions, types, opsets and initializers get wrong values of every
kind; any other field of any message is changed through its descriptor.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from mutations import OF_BYTES, change_list, draw_float, draw_int, mutate_bytes
from onnx import TensorProto, helper, numpy_helper

from narrows.importers.onnx import supported_operators

_REFUSED = (
    "ConvTranspose", "Upsample", "ReduceMax", "Shape", "Gather", "Constant", "ConstantOfShape",
    "Expand", "Erf", "If", "Loop", "LSTM", "Einsum", "TopK", "Range",
)  # fmt: skip
_OPERATORS = (*(row.name for row in supported_operators()), *_REFUSED)
_ATTRIBUTES = (
    "axis", "axes", "pads", "strides", "dilations", "kernel_shape", "group", "auto_pad",
    "ceil_mode", "count_include_pad", "alpha", "beta", "transA", "transB", "keepdims", "mode",
    "coordinate_transformation_mode", "nearest_mode", "to", "perm", "epsilon", "min", "max",
    "split", "num_outputs", "value", "start", "end", "allowzero", "storage_order", "saturate",
)  # fmt: skip
_STRINGS = (b"", b"SAME_UPPER", b"SAME_LOWER", b"VALID", b"NOTSET", b"constant", b"reflect",
            b"nearest", b"linear", b"cubic", b"align_corners", b"half_pixel", b"asymmetric",
            b"floor", b"ceil", b"\n\n", b"\xff\xfe", b"n" * 3000)  # fmt: skip
_TYPES = tuple(v for _, v in TensorProto.DataType.items())
_LARGEST_EDITED = 4096  # bytes of an initializer whose numbers are changed one by one


def parse(data: bytes) -> Any:
    """The message of a file."""
    return onnx.load_from_string(data)


def mutate(tree: Any, seeds: Sequence[int]) -> bytes | None:
    """The file of a message (which stays) after one change per seed; None if one finds nothing
    of its kind to change."""
    model, rngs = onnx.ModelProto(), [Random(seed) for seed in seeds]
    model.CopyFrom(tree)
    of_bytes = [rng for rng in rngs if rng.random() < OF_BYTES]
    try:
        with np.errstate(all="ignore"):
            for rng in rngs:
                if rng not in of_bytes:
                    rng.choices(_CHANGES, _WEIGHTS)[0](model, rng)
        data = bytes(model.SerializeToString())
    except (LookupError, ValueError, TypeError, AttributeError, OverflowError, struct.error):
        return None
    for rng in of_bytes:
        data = mutate_bytes(data, rng)
    return data


# --- Changes -----------------------------------------------------------------------------------


def _names(model: Any) -> list[str]:
    graph = model.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    return [*names, *(t.name for t in graph.initializer), *(v.name for v in graph.input)]


def _attribute(model: Any, rng: Random) -> None:
    node = rng.choice([n for n in model.graph.node if n.attribute])
    attribute = rng.choice(node.attribute)
    match attribute.type:
        case onnx.AttributeProto.INT:
            attribute.i = rng.choice((attribute.i + 1, attribute.i - 1, draw_int(rng)))
        case onnx.AttributeProto.FLOAT:
            attribute.f = float(np.float32(draw_float(rng, attribute.f)))
        case onnx.AttributeProto.STRING:
            attribute.s = rng.choice(_STRINGS)
        case onnx.AttributeProto.INTS:
            attribute.ints[:] = change_list(attribute.ints, rng, lambda: draw_int(rng))
        case onnx.AttributeProto.TENSOR:
            _edit(attribute.t, rng)
        case _:
            attribute.type = rng.randrange(15)


def _attributes(model: Any, rng: Random) -> None:
    """One more, one fewer, or one of another type or name."""
    node = rng.choice(model.graph.node)
    if node.attribute and rng.random() < 0.5:
        i = rng.randrange(len(node.attribute))
        match rng.randrange(3):
            case 0:
                del node.attribute[i]
            case 1:
                node.attribute[i].type = rng.randrange(15)
            case _:
                node.attribute[i].name = rng.choice(_ATTRIBUTES)
        return
    value: Any = rng.choice((
        draw_int(rng), draw_float(rng, 1.0), rng.choice(_STRINGS),
        [draw_int(rng) for _ in range(rng.randrange(1, 5))],
    ))  # fmt: skip
    node.attribute.append(helper.make_attribute(rng.choice(_ATTRIBUTES), value))


def _operator(model: Any, rng: Random) -> None:
    node = rng.choice(model.graph.node)
    if rng.random() < 0.15:
        node.domain = rng.choice(("ai.onnx", "com.microsoft", "ai.onnx.ml", "x" * 300, "\n"))
    else:
        node.op_type = rng.choice(_OPERATORS)


def _wires(model: Any, rng: Random) -> None:
    node = rng.choice(model.graph.node)
    names = _names(model)
    field = node.input if rng.random() < 0.75 else node.output

    def draw() -> str:
        return rng.choice(("", "unknown", "\n", rng.choice(names), rng.choice(names)))

    items = list(field)
    match rng.randrange(4):
        case 0:
            items.insert(rng.randint(0, len(items)), draw())
        case 1:
            del items[rng.randrange(len(items))]
        case _:
            items[rng.randrange(len(items))] = draw()
    field[:] = items


def _nodes(model: Any, rng: Random) -> None:
    nodes = list(model.graph.node)
    i, j = rng.randrange(len(nodes)), rng.randrange(len(nodes))
    match rng.randrange(4):
        case 0:
            del nodes[i]
        case 1:
            nodes.insert(j, nodes[i])
        case 2:
            nodes[i], nodes[j] = nodes[j], nodes[i]
        case _:  # what it reads is computed by itself or later
            nodes[i].input[:] = nodes[j].output
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _edit(tensor: Any, rng: Random) -> None:
    """Values, dimensions, type or place of a constant."""
    match rng.randrange(8):
        case 0:
            tensor.dims[:] = change_list(tensor.dims, rng, lambda: draw_int(rng))
        case 1:
            tensor.data_type = rng.choice(_TYPES)
        case 2:
            tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data))]
        case 3:
            tensor.data_location = TensorProto.EXTERNAL
            entry = tensor.external_data.add()
            entry.key = rng.choice(("location", "offset", "length", "unknown"))
            entry.value = rng.choice(("../../../etc/passwd", "/dev/zero", "", "-1", "absent", "."))
        case _:
            _edit_values(tensor, rng)


def _edit_values(tensor: Any, rng: Random) -> None:
    if tensor.data_location == TensorProto.EXTERNAL:
        raise ValueError("its values are elsewhere")
    values = np.array(numpy_helper.to_array(tensor))
    if values.nbytes > _LARGEST_EDITED or values.size == 0:
        raise ValueError("nothing to edit")
    flat, i = values.reshape(-1), rng.randrange(values.size)
    if values.dtype.kind == "f":
        flat[i] = draw_float(rng, float(flat[i]))
        if rng.random() < 0.2:
            flat[:] = flat[i]
    elif values.dtype.kind in "iu":
        drawn = rng.choice((int(flat[i]) + 1, int(flat[i]) - 1, draw_int(rng)))
        flat[i] = np.array(drawn).astype(values.dtype)
    else:
        flat[i] = values.dtype.type(rng.randrange(2))
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _initializer(model: Any, rng: Random) -> None:
    _edit(rng.choice(model.graph.initializer), rng)


def _value_info(model: Any, rng: Random) -> None:
    value = rng.choice([*model.graph.input, *model.graph.input, *model.graph.output])
    kind = value.type.tensor_type
    match rng.randrange(6):
        case 0:
            kind.elem_type = rng.choice(_TYPES)
        case 1:
            value.name = rng.choice(_names(model))
        case 2:
            dimension = rng.choice(kind.shape.dim)
            dimension.dim_param = rng.choice(("N", "", "\n", "batch"))
        case 3:
            kind.shape.dim.add().dim_value = draw_int(rng)
        case _:
            dimension = rng.choice(kind.shape.dim)
            dimension.dim_value = rng.choice((dimension.dim_value + 1, draw_int(rng)))


def _edges(model: Any, rng: Random) -> None:
    """An inner value becomes an output, an initializer loses its values, an edge is gone."""
    graph = model.graph
    match rng.randrange(4):
        case 0:
            value = graph.output.add()
            value.CopyFrom(rng.choice(list(graph.output)[:-1]))
            value.name = rng.choice(_names(model))
        case 1:
            del graph.output[rng.randrange(len(graph.output))]
        case 2:
            del graph.input[rng.randrange(len(graph.input))]
        case _:
            del graph.initializer[rng.randrange(len(graph.initializer))]


def _opset(model: Any, rng: Random) -> None:
    opset = rng.choice(model.opset_import)
    match rng.randrange(4):
        case 0:
            opset.domain = rng.choice(("ai.onnx", "com.microsoft", "x"))
        case 1:
            model.ir_version = draw_int(rng)
        case _:
            opset.version = rng.choice((rng.randrange(7, 26), draw_int(rng)))


def _any_field(model: Any, rng: Random) -> None:
    """A field anywhere, reached by random steps through the messages."""
    message: Message = model
    while True:
        set_fields = message.ListFields()
        field, value = rng.choice(set_fields)
        repeated = not isinstance(value, (Message, int, float, str, bytes))
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            if repeated and rng.random() < 0.1:
                del value[rng.randrange(len(value))]
                return
            if rng.random() < 0.05:
                message.ClearField(field.name)
                return
            message = rng.choice(value) if repeated else value
            continue
        if repeated:
            value[rng.randrange(len(value))] = _scalar(field, rng)
        elif rng.random() < 0.2:
            message.ClearField(field.name)
        else:
            setattr(message, field.name, _scalar(field, rng))
        return


def _scalar(field: Any, rng: Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            text = rng.choice(_STRINGS)
            return text if field.type == FieldDescriptor.TYPE_BYTES else text.decode("latin-1")
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return draw_float(rng, 1.0)
        case FieldDescriptor.CPPTYPE_ENUM:
            return rng.randrange(20)
        case _:
            return draw_int(rng)


_TABLE: tuple[tuple[int, Callable[[Any, Random], None]], ...] = (
    (18, _attribute),
    (10, _attributes),
    (8, _operator),
    (10, _wires),
    (6, _nodes),
    (22, _initializer),
    (9, _value_info),
    (4, _edges),
    (4, _opset),
    (8, _any_field),
)
_WEIGHTS = [weight for weight, _ in _TABLE]
_CHANGES = [change for _, change in _TABLE]
