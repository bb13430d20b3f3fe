# SPDX-License-Identifier: Apache-2.0
"""Model files that others have written: float networks are quantized first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from judge import CALIBRATION, JUDGED, Outcome, judged, ran, reason_of

from litert import litert_outputs
from narrows.errors import NarrowsError
from narrows.importers import load
from oracle import Array, Oracle

SUFFIXES = (".tflite", ".onnx")


def outcome_of_file(path: Path) -> Outcome:
    """Compile and run a file of int8 or of float32."""
    name, kind = path.stem, path.suffix.removeprefix(".")
    try:
        graph = load(path)
        rng = np.random.default_rng(3)
        if all(t.dtype in ("float32", "bool") for t in graph.tensors):
            cases = [
                [rng.normal(0, 1, port.shape).astype(np.float32) for port in graph.inputs]
                for _ in range(CALIBRATION + JUDGED)
            ]
            wanted = [_framework(path, case, graph) for case in cases[-JUDGED:]]
            return Outcome(name, kind, "", *judged(graph, cases, wanted, turned=True))
        types = [(port.dtype, port.shape) for port in graph.inputs]
        drawn = [
            [rng.integers(-128, 128, shape).astype(dtype) for dtype, shape in types]
            for _ in range(JUDGED)
        ]
        data = path.read_bytes()
        gelu = not _is_for_micro(data, drawn[0]) or any(
            "SPACE_TO_BATCH" in w for w in graph.warnings
        )
        return Outcome(name, kind, "", *ran(data, drawn, gelu=gelu))
    except NarrowsError as error:
        return Outcome(name, kind, reason_of(error, str(path)))


def _is_for_micro(data: bytes, case: Sequence[Array]) -> bool:
    """Whether TensorFlow Lite Micro runs a file at all."""
    try:
        Oracle(data).run(case)
    except RuntimeError:
        return False
    return True


def _framework(path: Path, case: Any, graph: Any) -> list[Any]:
    """What the file's own runtime makes of inputs in the ports' shapes, as ports give it."""
    pairs = zip(case, graph.inputs, strict=True)
    given = [np.moveaxis(x, -1, 1) if port.channels_first else x for x, port in pairs]
    if path.suffix == ".tflite":
        made = litert_outputs(path.read_bytes(), given)
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = (value.name for value in session.get_inputs())
        made = session.run(None, dict(zip(names, given, strict=True)))
    outputs = zip(made, graph.outputs, strict=True)
    return [np.moveaxis(y, 1, -1) if port.channels_first else y for y, port in outputs]
