# SPDX-License-Identifier: Apache-2.0
"""Import a ``.tflite`` model: int8, or float32 as a whole.

Each operator has a rule: checks on what the file says (their docstrings make the table of
supported operators) and a builder that adds to the Graph. Whatever is refused, by a check or
by a builder, is collected, and all of it is reported at once.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from narrows.errors import ModelError
from narrows.graph.graph import Graph, verify_graph
from narrows.graph.passes import (
    drop_unused,
    fold_assigned,
    fold_padding,
    fuse_activations,
)
from narrows.graph.transposed import expand_transposed
from narrows.importers.build import SupportedOperator, supported
from narrows.importers.tflite_channels import channels_last_inputs
from narrows.importers.tflite_constants import OPTIONS
from narrows.importers.tflite_detection import fold_detection
from narrows.importers.tflite_dilation import fold_dilations
from narrows.importers.tflite_file import read_model
from narrows.importers.tflite_node import Importer
from narrows.importers.tflite_rules import RULES
from narrows.importers.tflite_variables import fold_variables
from narrows.importers.tflite_weights import float_weights


def import_tflite(model: str | Path | bytes, name: str | None = None) -> Graph:
    """Import a model, quantized or float.

    Args:
        model: a path, or the bytes of a file.
        name: of the network, and of the file in errors; defaults to the file's name.

    Returns:
        The network with int8 activations, or all of it in float32; layout changes absorbed,
        paddings folded, operators that nothing depends on dropped.

    Raises:
        UnsupportedError: operators that cannot be imported, all of them.
        ModelError: the file cannot be read or is damaged.
    """
    if isinstance(model, bytes):
        data, path = model, name or "model"
    else:
        path = str(model)
        try:
            data = Path(model).read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    options = {n: r.options for n, r in RULES.items() if r.options[0]}
    record, _ = fold_detection(read_model(data, path, {**OPTIONS, **options}), path)
    record, stored = float_weights(record)
    record, misread = fold_dilations(fold_variables(record))
    record, turned = channels_last_inputs(record)
    graph = Importer(record, path, RULES).run(name or (path if model is data else Path(path).name))
    ports = zip(graph.inputs, record.inputs, strict=True)
    graph = replace(
        graph,
        inputs=tuple(replace(port, channels_first=index in turned) for port, index in ports),
        warnings=(*stored, *misread, *graph.warnings),
    )
    # Converters leave a RELU behind a TRANSPOSE_CONV to itself, in float networks too.
    steps = (fuse_activations, expand_transposed, fold_padding, fold_assigned, drop_unused)
    for step in steps:
        graph = step(graph)
        verify_graph(graph)
    return graph


def supported_operators() -> tuple[SupportedOperator, ...]:
    """What can be imported, from the checks themselves; for the documentation."""
    return supported(RULES)
