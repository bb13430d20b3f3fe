# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite Micro's reference kernels, which decide what is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from tflite_micro import runtime

Array: TypeAlias = npt.NDArray[Any]


class Oracle:
    """A model in TFLite Micro's interpreter. model: the bytes of a .tflite file."""

    def __init__(self, model: bytes, arena_bytes: int | None = None) -> None:
        self._interpreter = runtime.Interpreter.from_bytes(
            model,
            arena_size=arena_bytes or max(1 << 20, 12 * len(model)),
            intrepreter_config=runtime.InterpreterConfig.kPreserveAllTensors,
        )

    def run(self, inputs: Sequence[Array], outputs: int = 1) -> list[Array]:
        """Inputs and outputs in the model's own dtypes and shapes."""
        for number, values in enumerate(inputs):
            self._interpreter.set_input(values, number)
        self._interpreter.invoke()
        return [np.array(self._interpreter.get_output(i)) for i in range(outputs)]

    def tensor(self, index: int) -> Array:
        """Any tensor of the file after a run, by its index there."""
        values: Array = self._interpreter.GetTensor(index, 0)["tensor_data"]
        return values
