# SPDX-License-Identifier: Apache-2.0
"""Networks with variables: what a .tflite file says of them, and those of Home Assistant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from models import missing

Array = np.ndarray[Any, Any]
WAKE_WORDS = ("alexa", "hey_jarvis", "hey_mycroft", "okay_nabu")
RESOURCE = schema.TensorType.RESOURCE
CODE, OPTIONS = schema.BuiltinOperator, schema.BuiltinOptions


def wake_word(name: str) -> Path:
    """A streaming network that listens for a word, of the package pymicro-wakeword."""
    package = find_spec("pymicro_wakeword")
    if package is None or package.origin is None:
        missing("pymicro-wakeword")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).with_name("models") / f"{name}.tflite"


FEATURES = (1, 3, 40)  # three frames of 40 spectral features, as microWakeWord's models take them


def features(rng: np.random.Generator, count: int) -> Array:
    """Sounds and silence: bursts of a few features, which wander and fade."""
    frames = np.zeros((count, *FEATURES))
    level = np.zeros(40)
    for frame in frames.reshape(-1, 40):
        if rng.random() < 0.05:
            level += 250 * rng.random() * np.exp(-(((np.arange(40) - rng.uniform(0, 40)) / 6) ** 2))
        level = np.roll(level, rng.integers(-1, 2)) * rng.uniform(0.85, 1.02)
        frame[:] = level - 128 + rng.normal(0, 4, 40)
    return np.clip(frames, -128, 127).astype(np.int8)


@dataclass(frozen=True)
class Remembered:
    """A variable in the place of an input and an output of a model: ``read`` becomes ``assigned``;
    first: its values, None if nothing assigns them."""

    read: int
    assigned: int
    first: Array | None


def streaming(
    data: bytes, variables: Sequence[Remembered], *, reads_last: bool = False
) -> schema.ModelT:
    """A model whose variables are inputs and outputs in ``data``. reads_last: what follows an
    ASSIGN_VARIABLE reads the variable once more, in the place of what was assigned."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))
    graph = model.subgraphs[0]
    once = schema.SubGraphT()
    once.name, once.tensors, once.operators = b"once", [], []
    once.inputs = once.outputs = np.zeros(0, np.int32)
    before = [_operator(model, CODE.CALL_ONCE, [], [], OPTIONS.CallOnceOptions, _call(1))]
    behind = []
    for number, variable in enumerate(variables):
        handle = _handle(model, graph, number, before)
        before.append(_operator(model, CODE.READ_VARIABLE, [handle], [variable.read]))
        behind.append(_operator(model, CODE.ASSIGN_VARIABLE, [handle, variable.assigned], []))
        if reads_last:
            again = _copy(graph.tensors[variable.assigned])
            graph.tensors.append(again)
            index = len(graph.tensors) - 1
            behind.append(_operator(model, CODE.READ_VARIABLE, [handle], [index]))
            graph.outputs = np.array(
                [index if i == variable.assigned else i for i in graph.outputs], np.int32
            )
        if variable.first is not None:
            value = _copy(graph.tensors[variable.read])
            value.buffer = len(model.buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(variable.first.tobytes(), np.uint8)
            model.buffers.append(buffer)
            theirs = _handle(model, once, number, once.operators)
            once.tensors.append(value)
            inputs = [theirs, len(once.tensors) - 1]
            once.operators.append(_operator(model, CODE.ASSIGN_VARIABLE, inputs, []))
    reads, assigns = ({getattr(v, key) for v in variables} for key in ("read", "assigned"))
    graph.inputs = np.array([i for i in graph.inputs if i not in reads], np.int32)
    outputs = [i for i in graph.outputs if i not in assigns]
    graph.outputs = np.array(outputs or graph.outputs, np.int32)
    graph.operators = [*before, *graph.operators, *behind]
    model.subgraphs.append(once)
    return model


def assigned(data: bytes) -> list[int]:
    """The tensors of a file that its variables become, in the order of the first reads."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))
    codes = [code.builtinCode for code in model.operatorCodes]
    named, becomes, read = {}, {}, []
    for operator in model.subgraphs[0].operators:
        match codes[operator.opcodeIndex]:
            case CODE.VAR_HANDLE:
                named[operator.outputs[0]] = operator.builtinOptions.sharedName
            case CODE.ASSIGN_VARIABLE:
                becomes[named[operator.inputs[0]]] = int(operator.inputs[1])
            case CODE.READ_VARIABLE:
                read.append(named[operator.inputs[0]])
    return [becomes[name] for name in read]


def packed(model: schema.ModelT) -> bytes:
    """The bytes of a file."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _copy(tensor: schema.TensorT) -> schema.TensorT:
    twin = schema.TensorT()
    twin.__dict__.update(tensor.__dict__)
    return twin


def _operator(
    model: schema.ModelT,
    code: int,
    inputs: list[int],
    outputs: list[int],
    kind: int = 0,
    options: Any = None,
) -> schema.OperatorT:
    codes = [c.builtinCode for c in model.operatorCodes]
    if code not in codes:
        new = schema.OperatorCodeT()
        new.builtinCode, new.deprecatedBuiltinCode, new.version = code, 127, 1
        model.operatorCodes.append(new)
        codes.append(code)
    made = schema.OperatorT()
    made.opcodeIndex = codes.index(code)
    made.inputs, made.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
    made.builtinOptionsType, made.builtinOptions = kind, options
    return made


def _call(subgraph: int) -> schema.CallOnceOptionsT:
    options = schema.CallOnceOptionsT()
    options.initSubgraphIndex = subgraph
    return options


def _handle(
    model: schema.ModelT, graph: schema.SubGraphT, number: int, operators: list[Any]
) -> int:
    """The tensor that stands for a variable, and the VAR_HANDLE that makes it so."""
    tensor = schema.TensorT()
    tensor.name, tensor.type = b"handle", RESOURCE
    tensor.shape, tensor.buffer = np.zeros(0, np.int32), 0
    graph.tensors.append(tensor)
    options = schema.VarHandleOptionsT()
    options.container, options.sharedName = b"", b"variable %d" % number
    index = len(graph.tensors) - 1
    operators.append(
        _operator(model, CODE.VAR_HANDLE, [], [index], OPTIONS.VarHandleOptions, options)
    )
    return index
