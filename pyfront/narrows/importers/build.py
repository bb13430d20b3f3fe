# SPDX-License-Identifier: Apache-2.0
"""What the importers of all formats share: the graph that they add to, an operator's rule, and
what a rule sees of an operator.

A format's importer is a ``Builder`` that walks over the operators of a file; its ``Node`` knows
how the file names inputs, outputs and attributes. What the operators become does not depend on
the format: that stands in ``build_layers`` and ``build_moves``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Generic, Literal, TypeVar

import numpy as np

from narrows.graph.graph import (
    MAX_DIMENSION,
    MAX_TENSOR_BYTES,
    Array,
    Operator,
    Quantization,
    Tensor,
)
from narrows.graph.moves import Reshape, Transpose
from narrows.importers.refusals import Refused
from narrows.importers.views import AnyView, Layout, Pieces, View, in_pieces, regroup, standard


class Builder:
    """A graph that operators are added to, one after the other.

    dtype: of activations. movers: names of the operators that change how a tensor is stored.
    """

    movers: str

    def __init__(self, path: str, dtype: Literal["float32", "int8"]) -> None:
        self.path = path
        self.dtype = dtype
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        # Moves that are made already, by tensor, new storage, and the sizes and order of the move.
        self._relabelled: dict[tuple[object, ...], int] = {}

    def plain_layout(self, shape: tuple[int, ...]) -> Layout:
        """How a tensor of this shape is stored when nothing before has decided it."""
        return standard(shape)

    def tensor(
        self,
        name: str,
        storage: Sequence[int],
        quantization: Quantization | None = None,
        data: Array | None = None,
    ) -> int:
        """A new activation or constant operand."""
        height, width, channels = storage
        if not all(0 < n <= MAX_DIMENSION for n in storage):
            raise Refused(
                f"shape {list(storage)}: dimensions from 1 to {MAX_DIMENSION} are supported"
            )
        if prod(storage) > MAX_TENSOR_BYTES:
            raise Refused(f"shape {list(storage)} has {prod(storage)} elements, which is too many")
        shape = (height, width, channels)
        values = None if data is None else np.asarray(data, self.dtype).reshape(shape)
        return self.constant(Tensor(name, shape, self.dtype, quantization, values))

    def constant(self, tensor: Tensor) -> int:
        """A tensor of any shape, such as weights and biases have."""
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def truth(self, name: str, storage: Sequence[int]) -> int:
        """A new tensor of what is true or false."""
        height, width, channels = storage
        return self.constant(Tensor(name, (height, width, channels), "bool", None))

    def placed(
        self,
        name: str,
        shape: tuple[int, ...],
        layout: Layout,
        quantization: Quantization | None = None,
        data: Array | None = None,
    ) -> View:
        """A new tensor, and the view of it as the model's shape."""
        storage, axes = layout
        return View(self.tensor(name, storage, quantization, data), shape, storage, axes)

    def pieced(self, view: AnyView, shape: tuple[int, ...]) -> AnyView:
        """The same elements in the same order under another shape."""
        regrouped = regroup(view, shape)
        if regrouped is None and any(n > 1 for n in shape[:-3]):
            regrouped = regroup(self.flat(view, shape), shape)
        return self.relabel(view, shape) if regrouped is None else regrouped

    def flat(self, view: AnyView, shape: tuple[int, ...], name: str = "") -> View:
        """The same elements as a tensor that holds them in the order of this shape."""
        flat = shape if len(shape) < 4 else (prod(shape[:-2]), *shape[-2:])
        return self.relabel(view, flat, standard(flat), name)

    def reshaped(self, view: View, shape: tuple[int, ...]) -> View:
        """The same, over whole stored axes."""
        regrouped = regroup(view, shape)
        return regrouped if isinstance(regrouped, View) else self.relabel(view, shape)

    def settled(self, view: AnyView, name: str = "") -> View:
        """The same elements with each dimension on whole stored axes. name: of the value."""
        if isinstance(view, View):
            return view
        return self.relabel(view, view.shape, name=name)

    def given(self, view: AnyView, name: str) -> int:
        """The tensor that has the elements in the model's order, for an output of the model."""
        return view.tensor if view.contiguous else self.flat(view, view.shape, name).tensor

    def relabel(
        self,
        view: AnyView,
        shape: tuple[int, ...],
        layout: Layout | None = None,
        name: str = "",
    ) -> View:
        """The same elements as a tensor of ``shape``, plain or with a layout; adds a RESHAPE or a
        TRANSPOSE where needed. The layout stores the elements in their order. name: of what a
        TRANSPOSE makes, if not that of the tensor before it."""
        storage, axes = layout or self.plain_layout(shape)
        if view.contiguous and storage == view.storage:
            return View(view.tensor, shape, storage, axes)
        made = self._moved(in_pieces(view), storage, name)
        return View(made, shape, storage, axes)

    def _moved(self, view: Pieces, storage: tuple[int, int, int], name: str) -> int:
        """The tensor of the view's elements in the order of its dimensions."""
        transpose = None if view.contiguous else transposition(view)
        key = (view.tensor, storage, transpose)
        if key not in self._relabelled:
            source = self.tensors[view.tensor]
            data = source.data
            if not source.is_real:
                raise Refused(
                    f"it moves elements of {source.dtype}, which the model's end may hold"
                )
            if transpose is not None:
                problem = transpose.problem(view.storage, storage)
                if problem is not None:
                    raise Refused(f"it needs a TRANSPOSE, but {problem}")
                data = None if data is None else transpose.moved(data, storage)
            if data is None and source.quantization is None and self.dtype == "int8":
                raise Refused("it moves elements of an input before that is quantized")
            # A float tensor's quantization is that of the QuantizeLinear right behind it.
            q = source.quantization if self.dtype == "int8" else None
            name = name if transpose and name else source.name
            made = self.tensor(name, storage, q, data)
            if data is None:
                move = transpose or Reshape((view.tensor,), made)
                self.operators.append(replace(move, output=made))
            self._relabelled[key] = made
        return self._relabelled[key]


def transposition(view: AnyView) -> Transpose:
    """What puts a view's elements in the order of its dimensions, its output left open."""
    whole = in_pieces(view)
    return Transpose((view.tensor,), 0, whole.sizes, whole.order())


class Node(ABC):
    """One operator of the file, as its checks and its builder see it."""

    importer: Builder

    @property
    @abstractmethod
    def input_count(self) -> int:
        """Inputs that the file lists, those that it leaves out in the middle among them."""

    @property
    @abstractmethod
    def output_count(self) -> int:
        """Outputs that the file lists."""

    @abstractmethod
    def has(self, i: int) -> bool:
        """Whether the file gives input i."""

    @abstractmethod
    def gives(self, i: int) -> bool:
        """Whether the file wants output i."""

    @abstractmethod
    def pieces(self, i: int = 0) -> AnyView:
        """Where input i stands. Constants get a tensor of their own."""

    def view(self, i: int = 0) -> View:
        """Where input i stands, its dimensions on whole axes."""
        return self.importer.settled(self.pieces(i), self.called(i))

    @abstractmethod
    def called(self, i: int) -> str:
        """What the model calls input i."""

    @abstractmethod
    def gives_name(self) -> str:
        """What the model calls output 0."""

    @abstractmethod
    def new(self, storage: Sequence[int], i: int = 0) -> int:
        """The tensor that output i becomes."""

    @abstractmethod
    def result(self, view: AnyView, i: int = 0) -> None:
        """Output i is this view."""

    def emit(self, operator: Operator) -> None:
        self.importer.operators.append(operator)


AnyNode = TypeVar("AnyNode", bound=Node)


@dataclass(frozen=True)
class Rule(Generic[AnyNode]):
    """What one operator of a format becomes.

    build: adds it to the graph. inputs: how many, least and most. checks: what must hold before.
    outputs: how many at most, None for any number. The docstrings of checks and builder are the
    operator's row in the table of supported operators.
    """

    build: Callable[[AnyNode], None]
    inputs: tuple[int, int]
    checks: tuple[Callable[[AnyNode], None], ...] = ()
    outputs: int | None = 1

    def apply(self, node: AnyNode) -> None:
        """Check an operator and add it. Raises: Refused, Skipped."""
        low, high = self.inputs
        inputs, outputs = node.input_count, node.output_count
        if not low <= inputs <= high or not outputs:
            raise Refused(f"{inputs} inputs and {outputs} outputs")
        if not all(node.has(i) for i in range(low)):
            raise Refused("an input is missing")
        if self.outputs is not None and any(node.gives(i) for i in range(self.outputs, outputs)):
            raise Refused(f"{outputs} outputs")
        for check in self.checks:
            check(node)
        self.build(node)


@dataclass(frozen=True)
class SupportedOperator:
    """A row of the table of supported operators."""

    name: str
    constraints: tuple[str, ...]


def supported(rules: Mapping[str, Rule[AnyNode]]) -> tuple[SupportedOperator, ...]:
    """What can be imported, from the checks themselves; for the documentation."""
    rows = []
    for name, rule in sorted(rules.items()):
        texts = [" ".join((f.__doc__ or "").split()) for f in (*rule.checks, rule.build)]
        rows.append(SupportedOperator(name, tuple(t for t in texts if t)))
    return tuple(rows)
