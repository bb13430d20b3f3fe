# SPDX-License-Identifier: Apache-2.0
"""LiteRT, whose kernels round otherwise than TFLite Micro's: how far apart the answers are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from models import missing
from narrows.importers.tflite import import_tflite
from narrows.quantize.lower import lower
from oracle import Array, Oracle

# Steps of the output that answers may be apart. The kernels that LiteRT chooses by itself round
# once where the definition rounds twice, which adds up over the layers; of its reference kernels
# the mean and the fully connected layer alone do so.
MOST = {"AUTO": 32, "BUILTIN_REF": 1}


def count_differences(
    name: str,
    model: bytes,
    inputs: Sequence[Sequence[Array]],
    record_property: Callable[[str, object], None],
) -> None:
    """Record how many outputs of a .tflite file differ and by how much, and bound that."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        missing("ai-edge-litert")
    qgraph = lower(import_tflite(model, name))
    tensors = [qgraph.tensors[edge.tensor] for edge in qgraph.outputs]
    oracle = Oracle(model)
    expected = [oracle.run(case, len(tensors)) for case in inputs]
    counted = []
    for kernels, most in MOST.items():
        interpreter = Interpreter(
            model_content=model,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType[kernels],
        )
        interpreter.allocate_tensors()
        apart = []
        for case, wanted in zip(inputs, expected, strict=True):
            for port, values in zip(interpreter.get_input_details(), case, strict=True):
                interpreter.set_tensor(port["index"], values)
            interpreter.invoke()
            ports = interpreter.get_output_details()
            for port, tensor, want in zip(ports, tensors, wanted, strict=True):
                got = interpreter.get_tensor(port["index"])
                assert got.dtype == want.dtype
                step = tensor.scale if got.dtype == np.float32 else 1
                steps = np.abs(got.astype(np.float64) - want).ravel() / step
                apart.append(np.rint(steps).astype(int))
        steps = np.concatenate(apart)
        counted.append(f"{(steps > 0).sum()} by up to {steps.max()} ({kernels})")
        assert steps.max() <= most, f"{name}: {counted[-1]}"
    line = f"{name}: of {steps.size} outputs differ {', '.join(counted)}"
    record_property("LiteRT", line)
    print(line)
