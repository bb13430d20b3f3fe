# SPDX-License-Identifier: Apache-2.0
"""The two processes behind the fuzzer of the importers, which may die of what they are given:
the subject, where narrows compiles and runs a file under limits, and the oracle, where
TensorFlow Lite Micro or onnxruntime run it."""

from __future__ import annotations

import multiprocessing
import os
import resource
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from narrows.blob import parse_blob
from narrows.compiler import compile_model
from narrows.errors import NarrowsError
from narrows.exporters.export import export_tflite
from narrows.graph.edges import decode, encode
from narrows.graph.graph import Graph
from narrows.graph.passes import drop_unused
from narrows.importers import load
from narrows.native import Run
from narrows.quantization.float_model import FloatModel

Array = npt.NDArray[Any]

MEMORY = 2 << 30  # bytes of address space that a file may take
PROCESSOR = 120  # seconds of processor after which a file counts as a hang
_MOST_WORK = 1 << 25  # elements and multiply-accumulates of a model that is run
_CASES = 2


# --- The subject -------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Verdict:
    """What narrows made of a file.

    kind: refused with an error of ours; an exception that is none; accepted, as integers or as
        floats.
    text: the message, or the traceback.
    place: of an exception: its type and the innermost function of the package.
    reference: the model for the oracle; b"" if nothing was run.
    magnitude: the largest absolute value that any layer of a float network takes.
    """

    kind: Literal["refused", "exception", "int8", "float"]
    text: str = ""
    place: str = ""
    reference: bytes = b""
    inputs: list[list[Array]] = field(default_factory=list)
    outputs: list[list[Array]] = field(default_factory=list)
    operators: tuple[str, ...] = ()
    magnitude: float = 0.0


def limit_memory(more: int) -> None:
    """Let this process take so many bytes more than it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def limit_processor(seconds: int) -> None:
    """Kill this process when it has computed for so many seconds from now."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.RLIM_INFINITY))


def examine(path: str) -> Verdict:
    """Compile a file and run what is accepted."""
    try:
        return _examine(path)
    except NarrowsError as error:
        return Verdict("refused", str(error))
    except Exception as error:  # a finding, whatever it is
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if "/narrows/" in f.filename] or frames
        place = f"{type(error).__name__} in {Path(own[-1].filename).name}:{own[-1].name}"
        return Verdict("exception", traceback.format_exc(), place)


def _examine(path: str) -> Verdict:
    graph = load(path)
    rng = np.random.default_rng(1)
    if any(tensor.dtype == "float32" for tensor in graph.tensors):
        _refuses_floats(path)
        return _run_floats(path, graph, rng)
    compiled = compile_model(path)
    blob = parse_blob(compiled.blob, path)
    kinds = tuple(sorted({op.kind for op in compiled.qgraph.ops}))
    work = compiled.plan.macs + sum(
        t.height * t.width * t.channels for t in compiled.qgraph.tensors
    )
    if work > _MOST_WORK:
        return Verdict("int8", operators=kinds)
    # The importer warns of what TensorFlow Lite Micro misreads, which then gets it as we read it.
    as_it_is = path.endswith(".tflite") and not graph.warnings
    reference = Path(path).read_bytes() if as_it_is else export_tflite(drop_unused(graph))
    inputs, outputs = [], []
    for _ in range(_CASES):
        outside = [_draw(edge.dtype, edge.shape, edge.tensor_scale, rng) for edge in blob.inputs]
        inside = [
            encode(edge, values).reshape(info.shape)
            for edge, values, info in zip(blob.inputs, outside, blob.model.inputs, strict=True)
        ]
        found = Run(blob.model).infer(inside)
        inputs.append(outside)
        outputs.append([decode(e, v) for e, v in zip(blob.outputs, found, strict=True)])
    return Verdict("int8", "", "", reference, inputs, outputs, kinds)


def _refuses_floats(path: str) -> None:
    try:
        compile_model(path)
    except NarrowsError as error:
        if "quantize it first" in str(error):
            return
        raise
    raise AssertionError("a float model was compiled")


def _run_floats(path: str, graph: Graph, rng: np.random.Generator) -> Verdict:
    kinds = tuple(sorted({type(op).__name__ for op in graph.operators}))
    # A file that is dynamically quantized rounds, which the float network of it does not.
    if _work(graph) > _MOST_WORK or any("dynamically" in w for w in graph.warnings):
        return Verdict("float", operators=kinds)
    try:
        model, largest = FloatModel(graph), [0.0]
    except NarrowsError:  # what quantize refuses; compile refuses any float model
        return Verdict("float", operators=kinds)

    def see(_: int, values: Array) -> None:
        largest[0] = max(largest[0], float(np.abs(values).max(initial=0)))

    inputs = [[rng.normal(0, 1, p.shape).astype(np.float32) for p in graph.inputs]]
    with np.errstate(all="ignore"):
        outputs = [model.run(case, see) for case in inputs]
    reference = Path(path).read_bytes()
    return Verdict("float", "", "", reference, inputs, outputs, kinds, largest[0])


def _work(graph: Graph) -> int:
    """Elements that are computed, each with its weights."""
    work = 0
    for op in graph.operators:
        output = int(np.prod(graph.tensors[op.output].shape))
        constants = [t for t in map(graph.tensors.__getitem__, op.inputs) if t.data is not None]
        window = int(np.prod(getattr(op, "kernel", (1, 1))))
        work += output * max(window, *(int(np.prod(t.shape)) for t in constants), 1)
    return work


def _draw(dtype: str, shape: Sequence[int], scale: float, rng: np.random.Generator) -> Array:
    if dtype == "float32":
        reach = min(140 * scale, 1e38)
        return rng.uniform(-reach, reach, shape).astype(np.float32)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


# --- The oracle --------------------------------------------------------------------------------


def ask(engine: str, model: bytes, cases: list[list[Array]], count: int) -> list[Any] | str:
    """The outputs for each case, from TFLite Micro or onnxruntime; the reason if it refuses.
    onnxruntime has several answers for a case whose layout is not certain."""
    try:
        return _ask_tflm(model, cases, count) if engine == "tflm" else _ask_ort(model, cases)
    except Exception as error:  # it has no error of its own
        return f"{type(error).__name__}: {error}"


def _ask_tflm(model: bytes, cases: list[list[Array]], count: int) -> list[Any]:
    from narrows.importers.tflite_detection import without_detection
    from oracle import Oracle

    oracle = Oracle(without_detection(model), 1 << 24)
    return [oracle.run(case, count) for case in cases]


def _ask_ort(model: bytes, cases: list[list[Array]]) -> list[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    ports = session.get_inputs()
    answers = []
    for case in cases:
        for turned in (True, False):
            arrays = [_nchw(x) if turned and x.ndim == 4 else x for x in case]
            if all(_fits(p.shape, x.shape) for p, x in zip(ports, arrays, strict=True)):
                feed = {p.name: x for p, x in zip(ports, arrays, strict=True)}
                answers.append(session.run(None, feed))
    return [answers]


def _nchw(array: Array) -> Array:
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _fits(wanted: Sequence[Any], shape: Sequence[int]) -> bool:
    return len(wanted) == len(shape) and all(
        not isinstance(w, int) or w == n for w, n in zip(wanted, shape, strict=True)
    )


# --- Processes that may die ------------------------------------------------------------------


class Died(Exception):
    """The child is gone; the text says how."""


class Child:
    """A function in a process of its own, started anew after it died."""

    def __init__(self, function: Callable[..., Any], processor: int = PROCESSOR) -> None:
        self._function, self._processor = function, processor
        self._process: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """Raises: Died."""
        if self._process is None:
            self._start()
        try:
            self._pipe.send(arguments)
            return self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join()
            code, self._process = self._process.exitcode, None
            raise Died(f"signal {-code}" if code < 0 else f"exit code {code}") from None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, self._function, self._processor)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def _serve(pipe: Any, function: Callable[..., Any], processor: int) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)  # what the libraries behind it print
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_memory(MEMORY)
    while True:
        try:
            arguments = pipe.recv()
        except EOFError:
            return
        limit_processor(processor)
        pipe.send(function(*arguments))
