# SPDX-License-Identifier: Apache-2.0
"""Which dimension of an ONNX graph's input is which, as the operators that read it show."""

from __future__ import annotations

from narrows.importers.onnx_constants import given_constant
from narrows.importers.onnx_file import NodeRecord, OnnxRecord

# Operators that take [1, channels, length] and then see one dimension of pixels.
_OF_LINES = frozenset((
    "Conv", "ConvTranspose", "BatchNormalization", "MaxPool", "AveragePool", "GlobalMaxPool",
    "GlobalAveragePool", "Resize",
))  # fmt: skip

# Operators that do not care which dimension is which, or say it by number.
_ANY_ORDER = frozenset((
    "Identity", "Cast", "Dropout", "QuantizeLinear", "DequantizeLinear", "Add", "Sub", "Mul",
    "Div", "Clip", "Max", "Min", "Relu", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "HardSwish",
    "HardSigmoid", "Abs", "Neg", "Sqrt", "Exp", "Log", "Sin", "Cos", "Floor", "Ceil", "Round",
    "Elu", "Selu", "Celu", "Gelu", "Softplus", "Mish", "Swish", "Sign", "Shrink",
    "ThresholdedRelu", "Pow", "Pad", "Slice", "Split", "Concat", "Where", "Not", "And", "Or",
    "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual",
))  # fmt: skip


def is_nhwc(record: OnnxRecord, name: str) -> bool:
    """Whether the first operator that cares for the order of dimensions is a TRANSPOSE from
    NHWC to NCHW."""
    names = {name}
    for node in record.nodes:
        if not names.intersection(node.inputs):
            continue
        if node.operator == "Transpose":
            return node.attributes.get("perm") == [0, 3, 1, 2]
        if node.operator not in _ANY_ORDER:
            return False
        names.update(node.outputs)
    return False


def is_ncw(record: OnnxRecord, name: str) -> bool:
    """Whether the first operator that cares for the order of three dimensions takes them as
    [1, channels, length], or with a height or width of 1 beside the length."""
    names = {name}
    for node in record.nodes:
        if not names.intersection(node.inputs):
            continue
        if node.operator in _OF_LINES:
            return True
        if node.operator not in _ANY_ORDER and not _adds_behind_channels(record, node):
            return False
        names.update(node.outputs)
    return False


def _adds_behind_channels(record: OnnxRecord, node: NodeRecord) -> bool:
    """Whether a node makes [1, channels, 1, length] or [1, channels, length, 1] of three
    dimensions."""
    axes = node.attributes.get("axes")
    if axes is None and len(node.inputs) > 1:
        maker = next((n for n in record.nodes if node.inputs[1] in n.outputs), None)
        given = record.constants.get(node.inputs[1])
        if maker is not None and maker.operator == "Constant":
            given = given_constant(maker).data
        axes = [] if given is None else given.reshape(-1).tolist()
    return node.operator == "Unsqueeze" and axes in ([2], [3], [-1], [-2])
