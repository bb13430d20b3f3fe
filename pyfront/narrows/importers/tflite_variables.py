# SPDX-License-Identifier: Apache-2.0
"""Variables of a ``.tflite`` file: what a streaming network remembers between inferences.

VAR_HANDLE names one, READ_VARIABLE gives its value, ASSIGN_VARIABLE takes another, and CALL_ONCE
runs a subgraph before the first inference, which assigns the values to begin with. Here all four
are taken out of the record: a variable is a tensor that is there when an inference begins, and
another one that it becomes when the inference has ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from narrows.graph.graph import Array
from narrows.importers.folding import Budget
from narrows.importers.refusals import Refused
from narrows.importers.tflite_constants import foldable, folded
from narrows.importers.tflite_file import ModelRecord, OperatorRecord, VariableRecord
from narrows.importers.tflite_node import Node, UnknownShape, per_tensor, same_quantization

READ, ASSIGN, HANDLE, ONCE = "READ_VARIABLE", "ASSIGN_VARIABLE", "VAR_HANDLE", "CALL_ONCE"
VARIABLES = (ASSIGN, ONCE, READ, HANDLE)
OPTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    HANDLE: ("VarHandleOptions", ("Container", "SharedName")),
    ONCE: ("CallOnceOptions", ("InitSubgraphIndex",)),
}

_Key = tuple[bytes | None, bytes | None]


def fold_variables(record: ModelRecord) -> ModelRecord:
    """The record with its variables as such, and without the operators that spell them.

    A READ_VARIABLE that cannot be folded stays; its option ``Reason`` says why.
    """
    if all(operator.name not in VARIABLES for operator in record.operators):
        return record
    folding = _Folding(record)
    for operator in record.operators:
        folding.add(operator)
    return folding.folded()


def variable(node: Node) -> None:
    """What stays from one inference to the next: int8 with one scale and zero point per tensor,
    assigned what has the same shape, scale and zero point. A subgraph of CALL_ONCE assigns the
    constants that it begins with."""
    raise UnknownShape(node.options["Reason"])


class _Folding:
    """A record on its way. Tensors are those of the file, by their numbers.

    read: of each variable, the tensor that stands for its value as an inference begins; value: the
    one that is its value after the operators so far.
    """

    def __init__(self, record: ModelRecord) -> None:
        self._record = record
        self._tensors = list(record.tensors)
        self._handles = _handles(record)
        self._same: dict[int, int] = {}
        self._operators: list[OperatorRecord] = []
        self._read: dict[_Key, int] = {}
        self._value: dict[_Key, int] = {}
        self._first: dict[_Key, Array] = {}
        self._reasons: dict[_Key, str] = {}
        self._readers: dict[_Key, OperatorRecord] = {}

    def add(self, operator: OperatorRecord) -> None:
        """Take one operator after the other, in the order of the file."""
        if operator.name == ONCE:
            self._begin(operator)
        elif operator.name == HANDLE:
            pass
        elif operator.name == READ and len(operator.inputs) == len(operator.outputs) == 1:
            key = self._key(operator)
            output = operator.outputs[0]
            if key not in self._value:
                self._read[key] = self._value[key] = output
                self._readers[key] = operator
            self._same[output] = self._value[key]
        elif operator.name == ASSIGN and len(operator.inputs) == 2:
            key, value = self._key(operator), operator.inputs[1]
            self._value[key] = self._same.get(value, value)
        else:
            inputs = tuple(self._same.get(i, i) for i in operator.inputs)
            self._operators.append(replace(operator, inputs=inputs))

    def _key(self, operator: OperatorRecord) -> _Key:
        """The variable that an operator is about; one without a handle is about a variable that
        nothing else names."""
        return self._handles.get(operator.inputs[0], (b"", b"%d" % operator.index))

    def _begin(self, operator: OperatorRecord) -> None:
        """Find the values that a CALL_ONCE gives its variables."""
        graph = self._record.subgraphs[operator.options["InitSubgraphIndex"]]
        handles = _handles(graph)
        try:
            for index, value in _assigned(graph):
                key = handles.get(index)
                if key is not None and value is not None:
                    self._first[key] = value
        except Refused as refusal:
            self._reasons.update(dict.fromkeys(handles.values(), f"its {ONCE}: {refusal}"))

    def folded(self) -> ModelRecord:
        variables = []
        for key, read in self._read.items():
            value, tensor = self._value[key], self._tensors[read]
            try:
                first = self._first_value(key, read)
                if value == read:  # it always has the value that it begins with
                    self._tensors[read] = replace(tensor, data=first, is_constant=True)
                    continue
                given = self._tensors[value]
                if given.dtype != tensor.dtype or not same_quantization(tensor, given):
                    raise Refused("it is assigned what is not quantized as it is")
                if tensor.shape != given.shape:
                    raise Refused(
                        f"it has shape {list(tensor.shape)} and is assigned shape "
                        f"{list(given.shape)}"
                    )
                variables.append(VariableRecord(read, value, first))
            except Refused as refusal:
                kept = replace(self._readers[key], inputs=(), options={"Reason": str(refusal)})
                self._operators.append(kept)
        return replace(
            self._record,
            tensors=tuple(self._tensors),
            operators=tuple(sorted(self._operators, key=lambda operator: operator.index)),
            outputs=tuple(self._same.get(i, i) for i in self._record.outputs),
            variables=tuple(variables),
        )

    def _first_value(self, key: _Key, read: int) -> Array:
        tensor = self._tensors[read]
        q = per_tensor(tensor)
        if key in self._reasons:
            raise Refused(self._reasons[key])
        if tensor.dtype != "int8" or q is None:
            raise Refused(f"a variable of {tensor.dtype} with {tensor.scale_words}")
        if key not in self._first:
            raise Refused(f"no {ONCE} assigns what it begins with")
        first = self._first[key]
        if first.dtype != np.int8 or first.shape != tensor.shape:
            raise Refused(
                f"it begins with {first.dtype} of shape {list(first.shape)} instead of int8 of "
                f"shape {list(tensor.shape)}"
            )
        return first


def _handles(record: ModelRecord) -> dict[int, _Key]:
    """The variable of each tensor that stands for one."""
    return {
        index: (operator.options["Container"], operator.options["SharedName"])
        for operator in record.operators
        if operator.name == HANDLE
        for index in operator.outputs
    }


def _assigned(record: ModelRecord) -> Iterator[tuple[int, Array | None]]:
    """What a subgraph of constants assigns, by the handle's tensor. Raises: Refused: it has other
    operators than those that are computed on import."""
    tensors, budget = list(record.tensors), Budget()
    for operator in record.operators:
        if operator.name == ASSIGN and len(operator.inputs) == 2:
            value = tensors[operator.inputs[1]]
            if value.data is None:
                raise Refused(f"{value.name} is not a constant")
            yield operator.inputs[0], value.data
        elif operator.name != HANDLE:
            inputs = [tensors[i] for i in operator.inputs if i != -1]
            output = tensors[operator.outputs[0]] if len(operator.outputs) == 1 else None
            if output is None or not foldable(operator.name, inputs, output):
                raise Refused(f"{operator.name} does not follow from constants")
            values = folded(operator.name, inputs, operator.options, output, budget)
            tensors[operator.outputs[0]] = replace(output, data=values)
