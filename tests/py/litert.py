# SPDX-License-Identifier: Apache-2.0
"""LiteRT, whose kernels round otherwise than TFLite Micro's: how far apart the answers are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from models import missing
from narrows.importers.tflite import import_tflite
from narrows.quantization.lower import lower
from oracle import Array, Oracle

# Steps of the output that answers may be apart. The kernels that LiteRT chooses by itself round
# once where the definition rounds twice, which adds up over the layers, and a sigmoid behind them
# takes several steps for one of its input (37 in SSDLite's scores); of its reference kernels the
# mean and the fully connected layer alone do so.
MOST = {"AUTO": 40, "BUILTIN_REF": 1}
# Kernels for every operator, without XNNPACK; they round as the reference kernels do, or once.
PLAIN = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"


class LiteRT:
    """A model in LiteRT's interpreter, as ``Oracle`` is one in TFLite Micro's. kernels: the name
    of an OpResolverType."""

    def __init__(self, model: bytes, kernels: str = "BUILTIN_REF") -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError:
            missing("ai-edge-litert")
        self._interpreter = Interpreter(
            model_content=model,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType[kernels],
        )
        self._interpreter.allocate_tensors()

    def run(self, inputs: Sequence[Array], outputs: int = 1) -> list[Array]:
        """Inputs and outputs in the model's own dtypes and shapes."""
        for port, values in zip(self._interpreter.get_input_details(), inputs, strict=True):
            self._interpreter.set_tensor(port["index"], values)
        self._interpreter.invoke()
        ports = self._interpreter.get_output_details()[:outputs]
        return [self._interpreter.get_tensor(port["index"]) for port in ports]


def litert_outputs(
    model: bytes, inputs: Sequence[Array], kernels: str = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
) -> list[Array]:
    """One inference. kernels: LiteRT's resolver."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        missing("ai-edge-litert")
    interpreter = Interpreter(
        model_content=model, num_threads=1, experimental_op_resolver_type=OpResolverType[kernels]
    )
    interpreter.allocate_tensors()
    for port, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(port["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(port["index"]) for port in interpreter.get_output_details()]


def count_differences(
    name: str,
    model: bytes,
    inputs: Sequence[Sequence[Array]],
    record_property: Callable[[str, object], None],
) -> None:
    """Record how many outputs of a .tflite file differ and by how much, and bound that."""
    qgraph = lower(import_tflite(model, name))
    tensors = [qgraph.tensors[edge.tensor] for edge in qgraph.outputs]
    oracle = Oracle(model)
    expected = [oracle.run(case, len(tensors)) for case in inputs]
    counted = []
    for kernels, most in MOST.items():
        interpreter, apart = LiteRT(model, kernels), []
        for case, wanted in zip(inputs, expected, strict=True):
            outputs = interpreter.run(case, len(tensors))
            for got, tensor, want in zip(outputs, tensors, wanted, strict=True):
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
