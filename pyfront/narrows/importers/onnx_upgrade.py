# SPDX-License-Identifier: Apache-2.0
"""Nodes of opset 7 to 12 in the words of opset 13: what was an attribute became an input.

ONNX's own converter is not used: it is compiled code that files made to harm can crash, and it
forgets that Resize took its samples elsewhere before opset 11. Attributes that later opsets have
as inputs, but that the rules take in both forms, stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from narrows.graph.graph import Array
from narrows.importers.onnx_file import NodeRecord

LEGACY_NEAREST = "before opset 11"
"""The nearest_mode of an old Resize: floor where it enlarges, ceil where it shrinks."""

# Operator -> (the first opset that has these attributes as inputs, their names in order).
_MOVED: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "Clip": (11, ("min", "max")),
    "Pad": (11, ("pads", "value")),
    "Slice": (10, ("starts", "ends", "axes")),
}


def upgraded(
    node: NodeRecord, opset: int, add_constant: Callable[[str, Array], None]
) -> NodeRecord:
    """A node of an older opset as one of opset 13.

    Args:
        add_constant: is called with a name and values, for an input that was an attribute.

    Raises:
        ValueError: an attribute of another kind than its operator has.
    """

    def constant(name: str, values: Any) -> str:
        array = np.asarray(values)
        if array.dtype.kind not in "if":
            raise ValueError(f"{name} {str(values)[:40]}")
        known = f"{node.outputs[0] if node.outputs else node.index} {name}"
        add_constant(known, array.astype(np.float32 if array.dtype.kind == "f" else np.int64))
        return known

    first, names = _MOVED.get(node.operator, (0, ()))
    if opset < first:
        given = [constant(n, node.attributes[n]) if n in node.attributes else "" for n in names]
        return replace(node, inputs=(*node.inputs[:1], *given))
    if node.operator in ("Upsample", "Resize") and opset < 11:
        scales = node.inputs[1] if len(node.inputs) > 1 else ""
        if "scales" in node.attributes:
            scales = constant("scales", node.attributes["scales"])
        mode = {"bilinear": "linear"}.get(node.attributes.get("mode", ""))
        places = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": LEGACY_NEAREST}
        attributes = {**node.attributes, **places} | ({"mode": mode} if mode else {})
        inputs = (*node.inputs[:1], "", scales)
        return replace(node, operator="Resize", inputs=inputs, attributes=attributes)
    return node
