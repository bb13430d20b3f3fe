# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite Micro's reference kernels, for comparing."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tflite

from narrows.errors import InputError, ModelError, ToolError
from narrows.files import read_file
from narrows.graph.edges import Array
from narrows.importers.tflite_detection import without_detection

# Of the interpreter's arena: scratch of operators, its own records.
_BESIDE_TENSORS = 4 << 20
# To start processes takes about as long; what is done sooner needs none.
_ALONE_SECONDS = 2.0


class Tflm:
    """A model in TensorFlow Lite Micro's interpreter. One that ends with boxes of a detector gives
    what these are made from, as narrows does.

    preserved_bytes: of all its tensors together, if ``see`` is to give them.
    goes_on: whether an inference of a model with variables goes on with what the one before has
        made them; if not, each is a first one.

    Raises: ToolError: it is not installed. ModelError: it refuses the model.
    """

    def __init__(
        self, path: str | Path, preserved_bytes: int = 0, *, goes_on: bool = False
    ) -> None:
        try:
            from tflite_micro import runtime
        except ImportError as error:
            raise ToolError(
                "TensorFlow Lite Micro is not installed: pip install --pre tflite-micro"
            ) from error
        self._path = path
        model = without_detection(read_file(path, "model"))
        options: dict[str, Any] = {"model_data": model}
        if preserved_bytes:
            options["arena_size"] = preserved_bytes + len(model) + _BESIDE_TENSORS
            options["intrepreter_config"] = runtime.InterpreterConfig.kPreserveAllTensors
        self._make = partial(runtime.Interpreter.from_bytes, **options)
        try:
            self._interpreter: Any = self._make()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{path}: TensorFlow Lite Micro refuses it: {error}") from error
        # Resetting an interpreter makes its variables zero, whatever they begin with.
        self._begins_anew = _has_variables(model) and not goes_on
        self._is_new = True

    def infer(self, inputs: Sequence[Array], outputs: int) -> list[Array]:
        """Run once. inputs: of the model's own types and shapes; outputs: how many there are.

        Raises: InputError: inputs that do not fit.
        """
        if self._begins_anew and not self._is_new:
            self._interpreter = self._make()
        self._is_new = False
        try:
            for i, values in enumerate(inputs):
                self._interpreter.set_input(values, i)
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{self._path}: TensorFlow Lite Micro: {error}") from error
        return [np.array(self._interpreter.get_output(i)) for i in range(outputs)]

    def infer_sequence(self, sequence: Sequence[Sequence[Array]], outputs: int) -> list[Array]:
        """Run once for each of some inputs, each inference going on with what the one before has
        made the model's variables. Returns: outputs of the last. Raises: InputError."""
        found = self.infer(sequence[0], outputs)
        begins_anew, self._begins_anew = self._begins_anew, False
        try:
            for inputs in sequence[1:]:
                found = self.infer(inputs, outputs)
        finally:
            self._begins_anew = begins_anew
        return found

    def see(self, inputs: Sequence[Array], tensors: Sequence[int]) -> list[Array]:
        """Run once. tensors: of the file, inputs or computed by an operator; preserved.

        Raises: InputError: inputs that do not fit.
        """
        self.infer(inputs, 0)
        return [np.array(self._interpreter.GetTensor(i, 0)["tensor_data"]) for i in tensors]


def _has_variables(data: bytes) -> bool:
    """Whether a file that an interpreter has taken assigns variables."""
    model = tflite.Model.GetRootAs(data, 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    return tflite.BuiltinOperator.ASSIGN_VARIABLE in (code.BuiltinCode() for code in codes)


_Task: TypeAlias = Callable[[Tflm], list[Array]]


class TflmCrew:
    """A model in several interpreters, each in a process of its own: one keeps all of Python's
    threads waiting while it computes. They are started once that is worth the time.

    jobs: how many processes at the most. 1: this one alone.
    preserved_bytes: as of ``Tflm``, in each process.

    Raises: ToolError: it is not installed. ModelError: it refuses the model.
    """

    def __init__(self, path: str | Path, jobs: int, preserved_bytes: int = 0) -> None:
        self._model = (path, preserved_bytes)
        self._jobs = jobs
        self._own = Tflm(*self._model)
        self._lock = threading.Lock()
        self._spent = 0.0
        self._crew: ProcessPoolExecutor | None = None

    def infer_sequence(self, sequence: Sequence[Sequence[Array]], outputs: int) -> list[Array]:
        """As ``Tflm.infer_sequence``, from several threads at a time."""
        return self._run(partial(Tflm.infer_sequence, sequence=sequence, outputs=outputs))

    def see(self, inputs: Sequence[Array], tensors: Sequence[int]) -> list[Array]:
        """As ``Tflm.see``, from several threads at a time."""
        return self._run(partial(Tflm.see, inputs=inputs, tensors=tensors))

    def _run(self, task: _Task) -> list[Array]:
        with self._lock:
            if self._crew is None:
                began = time.perf_counter()
                found = task(self._own)
                self._spent += time.perf_counter() - began
                if self._jobs > 1 and self._spent > _ALONE_SECONDS:
                    self._crew = ProcessPoolExecutor(
                        self._jobs, multiprocessing.get_context("spawn"), _begin, self._model
                    )
                return found
        with _without_interrupts():
            found_there = self._crew.submit(_there, task)
        return found_there.result()


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """A process that is started meanwhile inherits this thread's mask: Ctrl-C is for the first one.
    Windows has no masks, and processes that are interrupted too."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Here:
    """What a process of a crew has."""

    tflm: Tflm


def _begin(path: str | Path, preserved_bytes: int) -> None:
    """A process of a crew begins."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _Here.tflm = Tflm(path, preserved_bytes)


def _end_with_parent() -> None:
    """However the first process ends, no other stays."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _there(task: _Task) -> list[Array]:
    return task(_Here.tflm)
