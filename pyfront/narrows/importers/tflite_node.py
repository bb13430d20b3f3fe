# SPDX-License-Identifier: Apache-2.0
"""The walk over the operators of a ``.tflite`` file, and what rules see of each of them.

An operator that is refused does not end the walk: its outputs are assumed to be what the file
says of them, so that the operators behind it are looked at, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from narrows.errors import ModelError, Unsupported, UnsupportedError
from narrows.graph.graph import (
    Activation,
    Array,
    Graph,
    Port,
    Quantization,
    Variable,
    verify_graph,
)
from narrows.graph.moves import Reshape
from narrows.graph.qgraph import ExternalDtype
from narrows.importers import build
from narrows.importers.folding import Budget
from narrows.importers.refusals import Refused, Skipped, not_supported
from narrows.importers.tflite_constants import FOLDED, foldable, folded
from narrows.importers.tflite_file import ModelRecord, OperatorRecord, TensorRecord
from narrows.importers.tflite_kinds import Refusals, needed, operands, read
from narrows.importers.views import AnyView, View, check_batch, standard

ACTIVATIONS = {
    0: Activation.NONE,
    1: Activation.RELU,
    2: Activation.RELU_N1_TO_1,
    3: Activation.RELU6,
}
_INT8 = (-128, 127)
_TYPES: Mapping[str, ExternalDtype] = {name: name for name in get_args(ExternalDtype)}
NUMBERS = ("int32", "bool")
"""Types of the graph's tensors that are numbers or truth values, without a scale."""


REPEATED = "a TILE before it repeats rows or columns, and a RESHAPE does not join them"


class UnknownShape(Refused):
    """The operator cannot be imported, and nothing is known of its output: what the file says of
    its shape does not help."""


@dataclass(frozen=True)
class Rule(build.Rule["Node"]):
    """options: the schema's table and fields."""

    options: tuple[str, tuple[str, ...]] = ("", ())


class Importer(build.Builder):
    """Walks the operators in order. ``views`` knows what every tensor of the file became."""

    movers = "TRANSPOSE"

    def __init__(self, record: ModelRecord, path: str, rules: Mapping[str, Rule]) -> None:
        super().__init__(path, "float32" if _is_float(record) else "int8")
        self.record = record
        self.rules = rules
        # Decibels and words of each output that is off what the file means, by operator.
        self.off: dict[str, list[tuple[float, str]]] = {}
        self.views: dict[int, AnyView | None] = {}  # None: refused, and nothing can be assumed
        self.assumed: set[int] = set()  # outputs of what was refused
        # Inputs, and what is computed in float32, whose QUANTIZE has not been seen.
        self.pending: set[int] = set()
        self.channels = 0  # of all weights
        # Tensors of which more is known than the file says: constants that follow from others, and
        # shapes that the file states otherwise than they are when it runs.
        self.found: dict[int, TensorRecord] = {}
        # Outputs of TILE whose shape no view has, under one that a view has.
        self.repeats: dict[int, View] = {}
        self.variables: tuple[Variable, ...] = ()
        self._budget = Budget()

    def run(self, name: str) -> Graph:
        self._check_written_once()
        self._walk()
        for number in self.pending:  # nobody reads them
            unread = replace(self.tensors[number], quantization=quantization(1.0, 0))
            self.tensors[number] = unread
        graph = Graph(
            name,
            tuple(self.tensors),
            tuple(self.operators),
            tuple(self._port(i) for i in self.record.inputs),
            tuple(self._port(i) for i in self.record.outputs),
            source=self.path,
            warnings=self._warnings(),
            variables=self.variables,
        )
        verify_graph(graph)
        return graph

    def _check_written_once(self) -> None:
        """Even an operator that nothing depends on must not write over what others read."""
        written = set(self.record.inputs)
        for operator in self.record.operators:
            for index in operator.outputs:
                tensor = self.record.tensors[index]
                if index in written or tensor.data is not None:
                    raise ModelError(
                        f"{self.path}: operator {operator.index} {operator.name} writes "
                        f"{tensor.name}, which has a value already"
                    )
                written.add(index)

    def _walk(self) -> None:
        """Import inputs, operators and outputs. Raises: UnsupportedError: all that is refused."""
        operators = needed(self.record)
        refusals = Refusals(self.record, operators, self.dtype)
        refused = []
        for number, index in enumerate(self.record.inputs):
            reason = self._add_input(index)
            if reason is not None:
                kind = refusals.kind_of_input(index)
                tensor = self.record.tensors[index].name
                refused.append(Unsupported("input", number, tensor, reason, kind))
        for variable in self.record.variables:
            self.assume(variable.read)
            self.assumed.remove(variable.read)
        behind, numbers = {}, {operator.index for operator in operators}
        for operator in read(self.record):
            reason = self._import(operator)
            if reason is not None and operator.index in numbers:
                first = operator.outputs[0] if operator.outputs else None
                tensor = "" if first is None else self.record.tensors[first].name
                kind = refusals.kind_of(operator, supported=operator.name in self.rules)
                behind[operator.index] = Unsupported(
                    operator.name, operator.index, tensor, reason, kind
                )
        lost = {
            operator.index
            for operator in operators
            if operator.index in behind
            or all(self.views.get(i) is None for i in operator.outputs[:1])
        }
        refused += [*refusals.causes(behind, lost), *self._unfit_outputs()]
        refused += self._assign()
        if refused:
            raise UnsupportedError(self.path, tuple(refused))

    def _assign(self) -> list[Unsupported]:
        """Let variables become what they are assigned; what is refused."""
        refused = []
        for number, variable in enumerate(self.record.variables):
            if variable.assigned not in self.views and variable.assigned not in self.found:
                record = self.record.tensors[variable.assigned]
                if record.data is not None:
                    self.add_constant(variable.assigned)
            read, view = self.views[variable.read], self.views.get(variable.assigned)
            name = self.record.tensors[variable.assigned].name
            if not isinstance(read, View) or view is None:
                if read is None or variable.assigned not in self.assumed:
                    refused.append(Unsupported("variable", number, name, "nothing computes it"))
                continue
            try:
                source = self.relabel(view, read.shape, (read.storage, read.axes)).tensor
            except Refused as refusal:
                refused.append(Unsupported("variable", number, name, str(refusal)))
                continue
            made = {operator.output for operator in self.operators}
            if source not in made:  # it is an input, a constant or a variable
                tensor, given = self.tensors[source], source
                source = self.tensor(tensor.name, tensor.shape, tensor.quantization)
                self.operators.append(Reshape((given,), source))
            first = variable.first.reshape(read.storage)
            self.variables += (Variable(read.tensor, source, 0, first),)
        return refused

    def _warnings(self) -> tuple[str, ...]:
        """The worst output of each operator, and how many more there are."""
        lines = []
        for name, outputs in self.off.items():
            _, words = min(outputs)
            others = len(outputs) - 1
            lines.append(words + f"; {others} more {name} are off by no more" * (others > 0))
        return tuple(lines)

    def _add_input(self, index: int) -> str | None:
        """Add an input of the model; the reason if it is refused."""
        tensor = self.record.tensors[index]
        if index in self.views:
            raise ModelError(f"{self.path}: input {tensor.name} is listed twice")
        self.assume(index)
        if tensor.data is not None:
            return "it has values in the file, which other tensors may share; give it none"
        if tensor.dtype not in ("int8", "uint8", "float32"):
            return f"it is {tensor.dtype}; int8, uint8 and float32 are supported"
        if tensor.dtype != "float32" and per_tensor(tensor) is None:
            return f"it has {tensor.scale_words}; one scale is supported"
        q = tensor.quantization if tensor.dtype == "int8" else None
        try:
            check_batch(tensor.shape)
            view = self.placed(tensor.name, tensor.shape, standard(tensor.shape), q)
        except Refused as refusal:
            return str(refusal)
        if tensor.dtype != self.dtype:
            self.pending.add(view.tensor)
        self.bound(view.tensor, tensor)
        self.views[index] = view
        self.assumed.remove(index)
        return None

    def bound(self, number: int, record: TensorRecord) -> None:
        """Give a tensor of the graph the bounds that its record has."""
        if record.bounds is not None:
            self.tensors[number] = replace(self.tensors[number], bounds=record.bounds)

    def assume(self, index: int) -> None:
        """Let a tensor be what the file says of it, although what gives it was refused."""
        tensor = self.record.tensors[index]
        self.assumed.add(index)
        self.views[index] = None
        with contextlib.suppress(Refused):
            layout = standard(tensor.shape)
            self.views[index] = self.placed(tensor.name, tensor.shape, layout, tensor.quantization)

    def add_constant(self, index: int) -> None:
        """Let a tensor with values in the file be one of the graph."""
        record = self.tensor_of(index)
        layout = standard(record.shape)
        self.views[index] = self.placed(
            record.name, record.shape, layout, record.quantization, record.data
        )

    def tensor_of(self, index: int) -> TensorRecord:
        """What is known of a tensor of the file."""
        return self.found.get(index, self.record.tensors[index])

    def _port(self, index: int) -> Port:
        tensor, view = self.tensor_of(index), self.views[index]
        assert view is not None
        dtype = _TYPES.get(tensor.dtype, "float32")
        number = self.given(view, tensor.name)
        if self.tensors[number].dtype in NUMBERS:
            return Port(tensor.name, number, dtype, tensor.shape, 1.0, 0)
        q = tensor.quantization if dtype != "float32" else None
        return Port(
            tensor.name,
            number,
            dtype,
            tensor.shape,
            float(q.scale) if q else 0.0,
            q.zero_point if q else 0,
        )

    def _unfit_outputs(self) -> list[Unsupported]:
        converted = {
            index
            for operator in self.record.operators
            if operator.name in ("QUANTIZE", "DEQUANTIZE")
            for index in operator.outputs
        }
        refused = []
        for number, index in enumerate(self.record.outputs):
            view, name = self.views.get(index), self.record.tensors[index].name
            reason = None
            if index in self.repeats:
                reason = REPEATED
            elif index in self.found and index not in self.views:
                reason = "it does not depend on an input"
            elif index not in self.views:
                reason = "no operator computes it"
            elif view is None or index in self.assumed:
                continue
            elif self.tensors[view.tensor].dtype in NUMBERS:
                dtype = self.record.tensors[index].dtype
                if dtype not in _TYPES:
                    reason = f"it is {dtype}; {', '.join(_TYPES)} are supported"
                elif not view.contiguous:
                    reason = "a TRANSPOSE before it puts numbers or truth values in another order"
            elif self.record.tensors[index].dtype not in ("int8", "uint8", "float32"):
                dtype = self.record.tensors[index].dtype
                reason = f"it is {dtype}; int8, uint8 and float32 are supported"
            elif self.record.tensors[index].dtype != self.dtype and index not in converted:
                reason = "it is a float32 or uint8 input"
                if index not in self.record.inputs:
                    reason = "it is computed in float32; a QUANTIZE behind it is missing"
            else:
                try:
                    self.given(view, name)
                except Refused as refusal:
                    reason = str(refusal)
            if reason is not None:
                refused.append(Unsupported("output", number, name, reason))
        return refused

    def _import(self, operator: OperatorRecord) -> str | None:
        """Add an operator, or compute it; the reason if it is refused."""
        node = Node(self, operator)
        try:
            if self._fold(node):
                return None
            rule = self.rules.get(operator.name)
            if rule is None:
                return not_supported(operator.name, of_constants=operator.name in FOLDED)
            if any(i in self.views and self.views[i] is None for i in operands(operator)):
                raise Skipped
            rule.apply(node)
            return None
        except UnknownShape as refusal:
            self.views.update(dict.fromkeys(operator.outputs))
            return str(refusal)
        except Refused as refusal:
            return str(refusal)
        except Skipped:
            self.views.update(dict.fromkeys(operator.outputs))
            return None
        finally:
            for index in operator.outputs:
                if not any(index in made for made in (self.views, self.found, self.repeats)):
                    self.assume(index)

    def _fold(self, node: Node) -> bool:
        """Compute an operator that follows from shapes and constants, if it is one."""
        operator = node.operator
        if len(operator.outputs) != 1 or -1 in operator.inputs:
            return False
        output = node.output()
        is_shape = operator.name == "SHAPE" and output.dtype in ("int32", "int64")
        if is_shape and node.input_count == 1:
            constant = node.input(0).data
            shape = node.pieces(0).shape if constant is None else constant.shape
            values = np.array(shape, output.dtype)
        else:
            inputs = [node.input(i) for i in range(node.input_count)]
            if not foldable(operator.name, inputs, output):
                return False
            values = folded(operator.name, inputs, operator.options, output, self._budget)
        self.found[operator.outputs[0]] = replace(output, shape=values.shape, data=values)
        return True


class Node(build.Node):
    """One operator of the file, as its checks and its builder see it."""

    importer: Importer

    def __init__(self, importer: Importer, operator: OperatorRecord) -> None:
        self.importer = importer
        self.operator = operator
        self.options = operator.options

    @property
    def name(self) -> str:
        return self.operator.name

    @property
    def input_count(self) -> int:
        return len(self.operator.inputs)

    @property
    def output_count(self) -> int:
        return len(self.operator.outputs)

    def gives(self, i: int) -> bool:
        return True

    def has(self, i: int) -> bool:
        return i < len(self.operator.inputs) and self.operator.inputs[i] != -1

    def input(self, i: int) -> TensorRecord:
        return self.importer.tensor_of(self.operator.inputs[i])

    def output(self, i: int = 0) -> TensorRecord:
        return self.importer.tensor_of(self.operator.outputs[i])

    @property
    def is_resized(self) -> bool:
        """An input does not have the shape that the file states, so an output need not either."""
        record, found = self.importer.record, self.importer.found
        return any(
            i in found and found[i].data is None and found[i].shape != record.tensors[i].shape
            for i in self.operator.inputs
        )

    def values(self, i: int, what: str) -> Array:
        """Values of a constant int32 or int64 operand."""
        tensor = self.input(i)
        if tensor.data is None and self.operator.inputs[i] in self.importer.assumed:
            raise Skipped
        if tensor.data is None or tensor.dtype not in ("int32", "int64"):
            raise Refused(f"its {what} is not a constant of integers")
        return tensor.data.reshape(-1)

    def pieces(self, i: int = 0) -> AnyView:
        index = self.operator.inputs[i]
        record = self.importer.tensor_of(index)
        if index in self.importer.repeats:
            raise Refused(REPEATED)
        if index not in self.importer.views:
            if record.data is None:
                raise ModelError(
                    f"{self.importer.path}: operator {self.operator.index} {self.name} reads "
                    f"{record.name}, which nothing has computed"
                )
            if record.dtype != self.importer.dtype:
                raise Refused(f"{record.name} is a constant of {record.dtype}")
            self.importer.add_constant(index)
        view = self.importer.views[index]
        if view is None:
            raise Skipped
        return view

    def called(self, i: int) -> str:
        return self.input(i).name

    def gives_name(self) -> str:
        return self.output().name

    def plain(self, i: int) -> View:
        """Input i in NHWC order."""
        return self.importer.relabel(self.pieces(i), self.input(i).shape, name=self.called(i))

    def new(self, storage: Sequence[int], i: int = 0) -> int:
        record = self.output(i)
        if record.dtype == "bool":
            return self.importer.truth(record.name, storage)
        made = self.importer.tensor(record.name, storage, record.quantization)
        self.importer.bound(made, record)
        return made

    def assume(self) -> None:
        """Let its output be what the file says of it."""
        self.importer.assume(self.operator.outputs[0])

    def result(self, view: AnyView, i: int = 0, *, anew: bool = False) -> None:
        """Output i is this view; the file must agree on its shape, unless that follows from one
        that is found only when the model runs. anew: it is such a one."""
        index, output = self.operator.outputs[i], self.output(i)
        if view.shape != output.shape:
            if not (anew or self.is_resized):
                raise Refused(f"output shape {list(output.shape)} instead of {list(view.shape)}")
            self.importer.found[index] = replace(output, shape=view.shape)
        self.importer.views[index] = view

    @property
    def is_float(self) -> bool:
        return self.importer.dtype == "float32"

    @property
    def in_floats(self) -> bool:
        """Whether it computes in float32 in a network of int8."""
        return not self.is_float and self.input(0).dtype == "float32"

    @property
    def activation(self) -> Activation:
        return ACTIVATIONS[self.options.get("FusedActivationFunction", 0)]


def _is_float(record: ModelRecord) -> bool:
    computing = [op for op in record.operators if op.name != "CAST"]
    outputs = [record.tensors[i].dtype for op in computing for i in op.outputs]
    return "float32" in outputs and "int8" not in outputs


def quantization(scale: float, zero_point: int) -> Quantization:
    return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int32))


def per_tensor(tensor: TensorRecord) -> Quantization | None:
    q = tensor.quantization
    low, high = (0, 255) if tensor.dtype == "uint8" else _INT8
    if q is None or len(q.scales) != 1 or not low <= q.zero_point <= high:
        return None
    return q


def same_quantization(a: TensorRecord, b: TensorRecord) -> bool:
    p, q = per_tensor(a), per_tensor(b)
    return p is not None and q is not None and p.scale == q.scale and p.zero_point == q.zero_point
