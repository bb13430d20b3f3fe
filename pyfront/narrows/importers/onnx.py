# SPDX-License-Identifier: Apache-2.0
"""Import an ``.onnx`` model: float32, or int8 in QDQ form.

As in the importer of ``.tflite`` files, each operator has a rule: checks whose docstrings make
the table of supported operators, and a builder. NCHW becomes NHWC without moving a byte: views
know which axis of a stored tensor a dimension of the model's is. Nodes whose inputs are all
known are computed on the way.

In QDQ form a QuantizeLinear gives the tensor before it a scale and a zero point; a
DequantizeLinear of a constant gives weights. ``integers`` turns such a graph into a quantized
one, if TFLite's rules hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from narrows.errors import ModelError
from narrows.graph.graph import Graph, verify_graph
from narrows.graph.passes import drop_unused, fold_padding, fuse_activations
from narrows.graph.transposed import expand_transposed
from narrows.importers.build import SupportedOperator, supported
from narrows.importers.onnx_clips import fold_clips
from narrows.importers.onnx_file import MALFORMED, read_onnx
from narrows.importers.onnx_node import Importer
from narrows.importers.onnx_patterns import fold_gelus
from narrows.importers.onnx_qdq import integers
from narrows.importers.onnx_quantized import in_qoperators, without_qoperators
from narrows.importers.onnx_rules import RULES
from narrows.importers.onnx_shapes import with_shapes
from narrows.importers.simplify import fold_affine, fuse_hard_swish


def import_onnx(
    model: str | Path | bytes,
    name: str | None = None,
    *,
    requantize: bool = False,
    floats: bool = False,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Graph:
    """Import a model.

    Args:
        model: a path, or the bytes of a file.
        name: of the network, and of the file in errors; defaults to the file's name.
        requantize: drop the quantization of a model in QDQ form, which gives a float network that
            clips where the model does.
        floats: do so with a model in QOperator form.
        shapes: of inputs whose shapes are not fixed, by name; "" is the only input.

    Returns:
        The network in NHWC: float32, or quantized if the model is in QDQ form. Four-dimensional
        inputs and outputs are [1, height, width, channels].

    Raises:
        UnsupportedError: operators that cannot be imported, all of them; or tensors whose
            quantization does not keep TFLite's rules.
        ModelError: the file cannot be read, or is damaged.
    """
    path = (name or "model") if isinstance(model, bytes) else str(model)
    record = with_shapes(read_onnx(model, path), shapes or {}, path)
    requantize |= floats and in_qoperators(record)
    try:
        record, told = without_qoperators(fold_gelus(record))
    except MALFORMED as error:
        detail = " ".join(str(error).split())[:200]
        raise ModelError(f"{path}: its nodes are damaged or unknown ({detail})") from error
    with np.errstate(all="ignore"):  # what is not finite is refused later
        importer = Importer(record, path, RULES, keep=not requantize)
        graph = importer.run(name or (path if isinstance(model, bytes) else Path(path).name))
        steps: list[Callable[[Graph], Graph]] = [
            fuse_activations,
            fold_affine,
            fuse_hard_swish,
            drop_unused,
        ]
        if requantize:
            steps.append(fold_clips)
        if any(t.quantization is not None and t.data is None for t in graph.tensors):
            steps.append(partial(integers, path=path))
        for step in (*steps, expand_transposed, fold_padding, drop_unused):
            graph = step(graph)
            verify_graph(graph)
    return replace(graph, warnings=(*told, *graph.warnings))


def supported_operators() -> tuple[SupportedOperator, ...]:
    """What can be imported, from the checks themselves; for the documentation."""
    return supported(RULES)
