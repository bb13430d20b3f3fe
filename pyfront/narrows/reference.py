# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite Micro's reference kernels, for comparing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from narrows.errors import InputError, ModelError, ToolError
from narrows.files import read_file
from narrows.graph.edges import Array

# Of the interpreter's arena: scratch of operators, its own records.
_BESIDE_TENSORS = 4 << 20


class Tflm:
    """A model in TensorFlow Lite Micro's interpreter.

    preserved_bytes: of all its tensors together, if ``tensor`` is to be asked for them.

    Raises: ToolError: it is not installed. ModelError: it refuses the model.
    """

    def __init__(self, path: str | Path, preserved_bytes: int = 0) -> None:
        try:
            from tflite_micro import runtime
        except ImportError as error:
            raise ToolError(
                "TensorFlow Lite Micro is not installed: pip install --pre tflite-micro"
            ) from error
        self._path = path
        model = read_file(path, "model")
        options: dict[str, Any] = {}
        if preserved_bytes:
            options["arena_size"] = preserved_bytes + len(model) + _BESIDE_TENSORS
            options["intrepreter_config"] = runtime.InterpreterConfig.kPreserveAllTensors
        try:
            self._interpreter: Any = runtime.Interpreter.from_bytes(model, **options)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{path}: TensorFlow Lite Micro refuses it: {error}") from error

    def infer(self, inputs: Sequence[Array], outputs: int) -> list[Array]:
        """Run once. inputs: of the model's own types and shapes; outputs: how many there are.

        Raises: InputError: inputs that do not fit.
        """
        try:
            for i, values in enumerate(inputs):
                self._interpreter.set_input(values, i)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{self._path}: TensorFlow Lite Micro: {error}") from error
        return [np.array(self._interpreter.get_output(i)) for i in range(outputs)]

    def tensor(self, index: int) -> Array:
        """After a run: any tensor of the file that an operator has computed, or an input."""
        values: Array = np.array(self._interpreter.GetTensor(index, 0)["tensor_data"])
        return values
