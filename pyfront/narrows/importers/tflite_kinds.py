# SPDX-License-Identifier: Apache-2.0
"""Which operators of a ``.tflite`` file matter, and what refused ones say of the whole file."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from narrows.errors import ModelKind, Unsupported
from narrows.importers import model_kinds as kinds
from narrows.importers.refusals import Step, causes
from narrows.importers.tflite_file import ModelRecord, OperatorRecord, TensorRecord

_RECURRENT = frozenset((
    "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN",
    "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN", "SVDF", "WHILE", "IF", "CALL",
))  # fmt: skip
_CUSTOM = {"ethos-u": kinds.ETHOS_U, "edgetpu-custom-op": kinds.EDGE_TPU}
# Operators that pass between two types of number.
_CASTS = frozenset(("QUANTIZE", "DEQUANTIZE"))
_INTEGERS = ("int32", "int64", "bool")


class Refusals:
    """Names the kind of model that a refusal points at.

    needed: the operators that are imported. network: the type of the network's activations.
    """

    def __init__(self, record: ModelRecord, needed: Sequence[OperatorRecord], network: str) -> None:
        self._record = record
        self._needed = needed
        self._network = network
        self._makers = {i: op for op in record.operators for i in op.outputs}
        made = {record.tensors[i].dtype for i in self._makers}
        self._is_uint8 = "uint8" in made and "int8" not in made

    def kind_of_input(self, index: int) -> ModelKind | None:
        """Note that an input of the model is refused."""
        return kinds.INT16_ACTIVATIONS if self._record.tensors[index].dtype == "int16" else None

    def kind_of(self, operator: OperatorRecord, *, supported: bool) -> ModelKind | None:
        """Of a refused operator; supported: there is a rule for it, which these tensors break."""
        if operator.name == "READ_VARIABLE":
            made = {self._record.tensors[i].dtype for i in operator.outputs}
            return None if "int8" in made else kinds.RECURRENT
        return _named_kind(operator.name) or (self._typed_kind(operator) if supported else None)

    def _typed_kind(self, operator: OperatorRecord) -> ModelKind | None:
        inputs = [i for i in operator.inputs if i != -1]
        constants = [self._stored(i) for i in inputs]
        weights = {t.dtype for t in constants if t is not None}
        makers = {self._makers[i].name for i in inputs if i in self._makers}
        if "DENSIFY" in makers or any(t is not None and t.is_sparse for t in constants):
            return kinds.SPARSE
        if "int4" in weights:
            return kinds.INT4
        computed = [i for i, t in zip(inputs, constants, strict=True) if t is None]
        activations = {self._record.tensors[i].dtype for i in (*computed, *operator.outputs)}
        if "int16" in activations:
            return kinds.INT16_ACTIVATIONS
        if "uint8" in activations and self._is_uint8 and operator.name != "QUANTIZE":
            return kinds.UINT8
        if "float32" not in activations:
            return None
        is_cast = operator.name in _CASTS
        return None if is_cast or self._network == "float32" else kinds.PARTLY_FLOAT

    def _stored(self, index: int) -> TensorRecord | None:
        """The constant that a tensor is, or that a DEQUANTIZE or DENSIFY makes it from."""
        for name in ("DEQUANTIZE", "DENSIFY"):
            maker = self._makers.get(index)
            if maker is not None and maker.name == name and maker.inputs:
                index = maker.inputs[0]
        tensor = self._record.tensors[index]
        return tensor if tensor.is_constant else None

    def causes(self, refused: Mapping[int, Unsupported], lost: Container[int]) -> list[Unsupported]:
        """What was refused, without what only computes shapes for it; see ``refusals.causes``.

        Shapes are computed from shapes and constants. refused, lost: by operators' numbers.
        """
        known = {i for i, t in enumerate(self._record.tensors) if t.is_constant}
        arithmetic = set()
        for operator in self._record.operators:
            made = [self._record.tensors[i].dtype for i in operator.outputs]
            if operator.name == "SHAPE" or (
                all(i in known for i in operator.inputs if i != -1)
                and all(dtype in _INTEGERS for dtype in made)
            ):
                arithmetic.add(operator.index)
                known.update(operator.outputs)
        steps = {
            operator.index: Step(operands(operator), operator.outputs, operator.index in arithmetic)
            for operator in self._needed
        }
        return causes(steps, self._record.ends, refused, lost)


def operands(operator: OperatorRecord) -> tuple[int, ...]:
    """The inputs that must be imported. The shape operand of a RESHAPE is not one: the file gives
    every shape, so what computes it (SHAPE, PACK) need not be imported."""
    return operator.inputs[:1] if operator.name in ("RESHAPE", "EXPAND_DIMS") else operator.inputs


def needed(record: ModelRecord) -> tuple[OperatorRecord, ...]:
    """Operators that an output or a variable depends on."""
    return _behind(record, operands)


def read(record: ModelRecord) -> tuple[OperatorRecord, ...]:
    """The same, and those that compute shapes."""
    return _behind(record, lambda operator: operator.inputs)


def _behind(
    record: ModelRecord, inputs: Callable[[OperatorRecord], Iterable[int]]
) -> tuple[OperatorRecord, ...]:
    wanted = set(record.ends)
    found = []
    for operator in reversed(record.operators):
        if wanted.intersection(operator.outputs):
            found.append(operator)
            wanted.update(inputs(operator))
    return tuple(reversed(found))


def _named_kind(name: str) -> ModelKind | None:
    custom = name.removeprefix("CUSTOM ")
    if custom != name:
        return kinds.FLEX if custom.startswith("Flex") else _CUSTOM.get(custom)
    if name in _RECURRENT:
        return kinds.RECURRENT
    return {"FAKE_QUANT": kinds.FAKE_QUANT, "DENSIFY": kinds.SPARSE}.get(name)
