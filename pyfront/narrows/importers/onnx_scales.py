# SPDX-License-Identifier: Apache-2.0
"""QuantizeLinear and DequantizeLinear of activations: they give a tensor its scale and zero point,
or its bounds where the quantization is dropped."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from narrows.graph.graph import Quantization, Unary, UnaryFunction
from narrows.importers.onnx_constants import Integers, NotTflites
from narrows.importers.onnx_node import Node
from narrows.importers.refusals import Refused
from narrows.importers.views import AnyView


def quantize_linear(node: Node) -> None:
    """Behind an activation: int8 or uint8 with one scale."""
    x, importer = node.pieces(0), node.importer
    kind = node.quantized_type()
    scales, zero_points = node.parameters(kind)
    if importer.keep and kind not in ("int8", "uint8"):
        raise NotTflites(f"it quantizes to {kind}; TFLite's activations are int8")
    if importer.keep and len(scales) != 1:
        raise NotTflites(f"{len(scales)} scales; TFLite's activations have one for the tensor")
    q = Quantization(scales, zero_points)
    importer.integer[node.name] = Integers(kind, q)
    if not importer.keep:
        node.result(_clipped(node, x, importer.integer[node.name]))
        return
    tensor = importer.tensors[x.tensor]
    if tensor.quantization is None:
        importer.tensors[x.tensor] = replace(tensor, quantization=q)
    elif not _equal(tensor.quantization, q):
        y = node.new(x.storage)
        importer.tensors[y] = replace(importer.tensors[y], quantization=q)
        node.emit(Unary((x.tensor,), y, UnaryFunction.REQUANTIZE))
        x = replace(x, tensor=y)
    node.result(x)


def dequantize_linear(node: Node) -> None:
    """With the scale and zero point of the QuantizeLinear before."""
    x, importer = node.pieces(0), node.importer
    given = importer.integer.get(node.record.inputs[0])
    if given is None:
        raise Refused(f"{node.record.inputs[0]} holds no integers; a QuantizeLinear is missing")
    scales, zero_points = node.parameters(given.kind)
    q, tensor = Quantization(scales, zero_points), importer.tensors[x.tensor]
    known = given.quantization
    if importer.keep and len(scales) != 1:
        raise NotTflites(f"{len(scales)} scales; TFLite's activations have one for the tensor")
    if known is not None and not _equal(known, q):
        raise Refused(f"{tensor.name} was quantized with another scale or zero point")
    if not importer.keep:
        node.result(x if known is not None else _clipped(node, x, Integers(given.kind, q)))
        return
    if tensor.quantization is None:
        importer.tensors[x.tensor] = replace(tensor, quantization=q)
    node.result(x)


def _clipped(node: Node, x: AnyView, integers: Integers) -> AnyView:
    """x within what the integers can hold."""
    q, limits = integers.quantization, np.iinfo(integers.kind)
    assert q is not None
    # The zero points of uint8 are shifted, see ``parameters``.
    limits = np.iinfo(np.int8) if integers.kind == "uint8" else limits
    ends = {
        tuple(float(scale) * (end - int(zero)) for end in (limits.min, limits.max))
        for scale, zero in zip(q.scales, q.zero_points, strict=True)
    }
    if len(ends) != 1:
        raise Refused(f"{len(ends)} scales, each with a range of its own")
    ((least, most),) = ends
    clips = node.importer.clips
    if (x.tensor, least, most) not in clips:
        y = node.new(x.storage)
        node.importer.tensors[y] = replace(node.importer.tensors[y], bounds=(least, most))
        node.emit(Unary((x.tensor,), y, UnaryFunction.REQUANTIZE))
        clips[x.tensor, least, most] = y
    return replace(x, tensor=clips[x.tensor, least, most])


def _equal(a: Quantization, b: Quantization) -> bool:
    return np.array_equal(a.scales, b.scales) and np.array_equal(a.zero_points, b.zero_points)
