# SPDX-License-Identifier: Apache-2.0
"""Every tensor of a blob while it runs: each element is seen right after the firing that made it,
before anything else may stand in its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from narrows.errors import InputError
from narrows.graph.qgraph import Int8Array
from narrows.native import Model, Run

MaskedArray: TypeAlias = "np.ma.MaskedArray[Any, np.dtype[Any]]"


class Dump:
    """The tensors of one inference, by their numbers in the blob.

    values: int8 [height, width, channels] each; masked where nothing has been seen, such as
    constants, or rows that were gone when their firing ended.
    reached: how far each tensor has come, in bytes.
    """

    def __init__(self, model: Model) -> None:
        self.values: list[MaskedArray] = [
            np.ma.MaskedArray(np.zeros(info.shape, np.int8), mask=True) for info in model.tensors
        ]
        self.reached = [0] * len(self.values)

    def add(self, tensor: int, offset: int, data: bytes) -> None:
        """Elements of a tensor, the first at an offset from its start."""
        end = offset + len(data)
        self.values[tensor].reshape(-1)[offset:end] = np.frombuffer(data, np.int8)
        self.reached[tensor] = end


def observe(run: Run, inputs: Sequence[Int8Array]) -> Dump:
    """One inference, of which every tensor is seen.

    inputs: int8 [height, width, channels] each, or any shape with as many elements.

    Raises: InputError: inputs that do not fit. BlobError: a plan that stalls.
    """
    dump = Dump(run.model)
    values = [tensor.data for tensor in dump.values]
    unseen = [np.ma.getmaskarray(tensor) for tensor in dump.values]
    reached = np.zeros(len(values), np.uint32)
    run.observe(inputs, values, unseen, reached)
    dump.reached = reached.tolist()
    return dump


def input_bytes(model: Model, inputs: Sequence[Int8Array]) -> list[bytes]:
    """Each input, as it is pushed or goes over a line. Raises: InputError."""
    if len(inputs) != len(model.inputs):
        raise InputError(f"{model.name} has {len(model.inputs)} inputs, not {len(inputs)}")
    for i, (values, info) in enumerate(zip(inputs, model.inputs, strict=True)):
        if values.dtype != np.int8 or values.size != info.bytes:
            raise InputError(f"input {i} is int8 {info.shape}, not {values.dtype} {values.shape}")
    return [values.tobytes() for values in inputs]
