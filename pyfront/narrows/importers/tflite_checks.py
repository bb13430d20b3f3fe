# SPDX-License-Identifier: Apache-2.0
"""What a ``.tflite`` file may say of an operator. A check's docstring is a line of the table of
supported operators; where a check fails, it raises Refused."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from narrows.graph.graph import Quantization
from narrows.importers.refusals import Refused, Skipped, not_supported
from narrows.importers.tflite_file import TensorRecord
from narrows.importers.tflite_node import (
    ACTIVATIONS,
    NUMBERS,
    Node,
    per_tensor,
    quantization,
    same_quantization,
)


def activations_int8(node: Node, inputs: Iterable[int] | None = None) -> None:
    """Activations are int8 with one scale and zero point per tensor."""
    tensors = [node.input(i) for i in ((_source(node),) if inputs is None else inputs)]
    tensors += [node.output(i) for i in range(node.output_count)]
    for tensor in tensors:
        _check_int8(node, tensor)


def _check_int8(node: Node, tensor: TensorRecord) -> None:
    """A tensor is int8, or float32 in a network of float32."""
    if tensor.dtype != node.importer.dtype:
        raise Refused(f"{tensor.name} is {tensor.dtype} in a network of {node.importer.dtype}")
    if not node.is_float and per_tensor(tensor) is None:
        raise Refused(f"{tensor.name} has {tensor.scale_words}; one of int8 is supported")
    if tensor.is_variable or tensor.is_sparse:
        raise Refused(f"{tensor.name} is a variable or sparse")


def int8_or_in_floats(node: Node) -> None:
    """Activations are int8 with one scale and zero point per tensor, or float32 between a
    DEQUANTIZE and a QUANTIZE."""
    if not node.in_floats:
        activations_int8(node)
        return
    if node.operator.inputs[0] in node.importer.assumed:
        raise Skipped  # the refused operator before it says enough
    x = node.pieces(0).tensor
    if node.output().dtype != "float32" or node.importer.tensors[x].quantization is None:
        raise Refused(f"{node.input(0).name} is float32, but no DEQUANTIZE of int8 gives it")


def in_floats(node: Node) -> None:
    """Activations are float32 between a DEQUANTIZE and a QUANTIZE."""
    if node.input(0).dtype == "int8":
        raise Refused("it is int8; TFLite computes this function in float32 alone")
    int8_or_in_floats(node)


def all_int8(node: Node) -> None:
    """All inputs and outputs are int8 with one scale and zero point per tensor."""
    activations_int8(node, range(node.input_count))


def both_int8(node: Node) -> None:
    """Both operands are int8 with one scale and zero point per tensor; one may be a constant."""
    activations_int8(node, (0, 1))


def rank_4(node: Node) -> None:
    """The input has four dimensions, batch 1."""
    shape = node.input(_source(node)).shape
    if len(shape) != 4 or shape[0] != 1:
        raise Refused(f"its input has shape {list(shape)}, [1, height, width, channels] expected")


def weights(node: Node) -> None:
    """Weights are a constant of int8 with zero point 0; one scale, or one per output channel."""
    weights, rank = node.input(1), 2 if node.name == "FULLY_CONNECTED" else 4
    axis = 3 if node.name == "DEPTHWISE_CONV_2D" else 0
    dtype = node.importer.dtype
    if weights.data is None or weights.dtype != dtype or weights.is_sparse:
        raise Refused(f"its weights {weights.name} are not a dense {dtype} constant")
    if len(weights.shape) != rank:
        raise Refused(f"its weights have shape {list(weights.shape)}")
    if node.is_float:
        return
    q, channels = weights.quantization, weights.shape[axis]
    if q is None:
        raise Refused(f"its weights {weights.name} have {weights.scale_words}")
    if q.zero_points.any():
        raise Refused("its weights are not quantized symmetrically: a zero point is not 0")
    if len(q.scales) > 1 and (q.axis, len(q.scales)) != (axis, channels):
        raise Refused(
            f"its weights have {len(q.scales)} scales along dimension {q.axis}; supported is one "
            f"for all, or one for each of the {channels} output channels along dimension {axis}"
        )


def bias(node: Node) -> None:
    """The bias is a constant of int32, or left out."""
    place = place_of_bias(node)
    if node.has(place):
        bias = node.input(place)
        dtype = "float32" if node.is_float else "int32"
        if bias.data is None or bias.dtype != dtype:
            raise Refused(f"its bias {bias.name} is not a constant of {dtype}")


def place_of_bias(node: Node) -> int:
    """Which input of an operator with weights the bias is."""
    return 3 if node.name == "TRANSPOSE_CONV" else 2


def fused(node: Node) -> None:
    """Fused activation NONE, RELU, RELU6 or RELU_N1_TO_1."""
    if node.options["FusedActivationFunction"] not in ACTIVATIONS:
        raise Refused(f"fused activation {node.options['FusedActivationFunction']}")


def quantized_as_output(node: Node) -> None:
    """All inputs are quantized as the output."""
    for i in range(node.input_count):
        if not node.is_float and not same_quantization(node.input(i), node.output()):
            raise Refused(f"{node.input(i).name} is not quantized as its output")


def compared(node: Node) -> None:
    """Both operands are int8 with one scale, below 1, and zero point per tensor; one may be a
    constant. A SELECT_V2 or CAST reads the output, or it is an output of the model."""
    for tensor in (node.input(0), node.input(1)):
        _check_int8(node, tensor)
        if not node.is_float and not _scale(tensor) < 1:  # TFLite Micro stops
            raise Refused(f"{tensor.name} has {tensor.scale_words}; scales below 1 are compared")
    if node.output().dtype != "bool":
        raise Refused(f"its output is {node.output().dtype}")


def selected(node: Node) -> None:
    """The first operand is the output of a comparison, the others are int8 and quantized as the
    output; they may be constants."""
    if node.input(0).dtype != "bool" or node.input(0).data is not None:
        raise Refused(f"{node.input(0).name} is no output of a comparison")
    for tensor in (node.input(1), node.input(2), node.output()):
        _check_int8(node, tensor)
        if not node.is_float and not same_quantization(tensor, node.output()):
            raise Refused(f"{tensor.name} is not quantized as its output")


def numbered(node: Node) -> None:
    """The input is int8 with one scale and zero point; the output is int32 or int64, and an output
    of the model or the input of a CAST, RESHAPE or their like that is one."""
    _check_int8(node, node.input(0))
    if node.output().dtype not in ("int32", "int64"):
        raise Refused(f"its output is {node.output().dtype}")


def is_number(node: Node) -> bool:
    """Whether the input holds numbers of an ARG_MAX or truth values of a comparison."""
    if node.input(0).dtype in ("int8", "uint8") and node.input(0).quantization is not None:
        return False
    view = node.importer.views.get(node.operator.inputs[0])
    return view is not None and node.importer.tensors[view.tensor].dtype in NUMBERS


def cast_number(node: Node) -> None:
    """From the output of an ARG_MAX, ARG_MIN or comparison to an output of the model."""
    if not is_number(node):
        raise Refused(not_supported(node.name, of_constants=True))


def not_fused(node: Node) -> None:
    """No fused activation."""
    if node.options["FusedActivationFunction"] != 0:
        raise Refused(f"fused activation {node.options['FusedActivationFunction']}")


def sum_scales(node: Node) -> None:
    """The output's scale is more than 2 ** -19 times the larger scale of the operands."""
    if node.is_float:
        return
    a, b, out = (per_tensor(t) for t in (node.input(0), node.input(1), node.output()))
    assert a is not None
    assert b is not None
    assert out is not None
    if not 2.0 * float(max(a.scale, b.scale)) < 2.0**20 * float(out.scale):
        raise Refused("its output's scale is too small for its operands'")


def square_scale(node: Node) -> None:
    """The output's scale is more than 2 ** -42 times the square of the larger scale of the
    operands."""
    if node.is_float:
        return
    twice = 2 * max(_scale(node.input(0)), _scale(node.input(1)))
    if not _fits(twice**2 / 2.0**14 / _scale(node.output()), 30):
        raise Refused("its output's scale is too small for its operands'")


def probabilities(node: Node) -> None:
    """The output has scale 1/256 and zero point -128."""
    if node.is_float:
        return
    q = per_tensor(node.output())
    if q is None or q.scale != np.float32(1 / 256) or q.zero_point != -128:
        raise Refused("its output does not have scale 1/256 and zero point -128")


def fixed_point_input(node: Node) -> None:
    """The input's scale is at least 2 ** -28 and less than 2 ** 35."""
    # TFLite Micro shifts by an exponent of the scale, which C defines for these alone.
    if not node.is_float and not 2.0**-28 <= _scale(node.input(0)) < 2.0**35:
        raise Refused(f"its input has {node.input(0).scale_words}")


def hard_swish_scale(node: Node) -> None:
    """The output's scale is more than 1/128 of the input's."""
    if node.is_float:
        return
    a, out = per_tensor(node.input(0)), per_tensor(node.output())
    assert a is not None
    assert out is not None
    if not float(a.scale) / 128 / float(out.scale) < 1 - 2.0**-31:
        raise Refused("its output's scale is too small for its input's")


def slope_scales(node: Node) -> None:
    """The output's scale is more than 2 ** -30 times the input's, and times the product of the
    operands'."""
    if node.is_float:
        return
    a, b, out = (_scale(t) for t in (node.input(0), node.input(1), node.output()))
    if not _fits(a * max(1.0, b) / out, 30):
        raise Refused("its output's scale is too small for its operands'")


def product_scale(node: Node) -> None:
    """The output's scale is more than 2 ** -30 times the product of the operands'."""
    if node.is_float:
        return
    a, b, out = (_scale(t) for t in (node.input(0), node.input(1), node.output()))
    if not _fits(a * b / out, 30):
        raise Refused("its output's scale is too small for its operands'")


def quotient_scale(node: Node) -> None:
    """The output's scale is more than 2 ** -23 times the quotient of the operands'."""
    if node.is_float:
        return
    a, b, out = (_scale(t) for t in (node.input(0), node.input(1), node.output()))
    if not _fits(a / b / out, 23):
        raise Refused("its output's scale is too small for its operands'")


def ratio(node: Node) -> None:
    """The output's scale is more than 2 ** -31 times the input's."""
    if node.is_float or node.in_floats:
        return
    slope = max(1.0, float(node.options.get("Alpha", 1.0)))
    if not _fits(_scale(node.input(0)) * slope / _scale(node.output()), 31):
        raise Refused("its output's scale is too small for its input's")


def steps_scale(node: Node) -> None:
    """The output's scale is at least 2 ** -23 times the input's."""
    if node.is_float or node.in_floats:
        return
    if not _scale(node.output()) >= 2.0**-23 * _scale(node.input(0)):
        raise Refused("its output's scale is too small for its input's")


def total_scale(node: Node) -> None:
    """The output's scale is more than 2 ** -30 times the input's."""
    if not node.is_float and not _fits(_scale(node.input(0)) / _scale(node.output()), 30):
        raise Refused("its output's scale is too small for its input's")


def root_scale(node: Node) -> None:
    """The output's scale, times the square root of the input's, is more than 2 ** -30 and less
    than 2 ** 12."""
    if node.is_float or node.in_floats:
        return
    # TFLite Micro shifts by an exponent of this, which C defines for these alone.
    product = _scale(node.output()) * _scale(node.input(0)) ** 0.5
    if not (_fits(1 / product, 30) and product < 2.0**12):
        raise Refused(f"its output has {node.output().scale_words}")


def holds_six(node: Node) -> None:
    """6 is less than 2 ** 31 steps of the input."""
    if not node.is_float and not _fits(6 / _scale(node.input(0)), 31):
        raise Refused("its input's scale is too small for TensorFlow Lite Micro to find 6 by it")


def _scale(tensor: TensorRecord) -> float:
    q = per_tensor(tensor)
    assert q is not None
    return float(q.scale)


def _fits(real: float, bits: int) -> bool:
    """Whether a multiplier is still less than 2 ** bits when TFLite has rounded it to 31 bits."""
    return real < 2.0**bits * (1 - 2.0**-32)


def same_type(node: Node) -> None:
    """The output has the input's type."""
    a, out = node.input(0), node.output()
    if a.dtype != out.dtype:
        raise Refused(f"it turns {a.dtype} into {out.dtype}")


# --- Scales that kernels do not look at -----------------------------------------------------
#
# Kernels that move or choose elements, and a few that compute, take it for granted that their
# output is quantized as their input, or in one certain way. Where that is not so, TensorFlow Lite
# Micro or LiteRT refuse some of these operators, and then so do we; others they compute as if it
# were so. Which does which was found by running both (tests/py/test_scales.py does it again).


def quantized_as_input(node: Node) -> None:
    """The output is quantized as the input."""
    source = node.input(_source(node))
    for i in range(node.output_count if not is_number(node) else 0):
        if source.dtype != "float32" and not same_quantization(source, node.output(i)):
            said, meant = node.output(i).scale_words, source.scale_words
            raise Refused(
                f"its output has {said}, its input {meant}, and this operator does not rescale; "
                "quantize both alike"
            )


def taken_as_input(node: Node) -> None:
    """An output that is not quantized as the input is computed as if it were, with a warning."""
    source = node.input(_source(node))
    outputs = range(node.output_count)
    q = per_tensor(source)
    if (
        source.dtype != "int8"
        or q is None
        or any(per_tensor(node.output(i)) is None for i in outputs)
    ):
        quantized_as_input(node)
        return
    for i in outputs:
        if not same_quantization(source, node.output(i)):
            _warn(node, i, q)


def taken_as_tanh(node: Node) -> None:
    """An output whose scale is not 1/128 with zero point 0 is computed as if it were, with a
    warning."""
    if not node.is_float:
        _warn(node, 0, quantization(1 / 128, 0))


def _source(node: Node) -> int:
    """Which input the elements come from."""
    return {"SPLIT": 1, "TRANSPOSE_CONV": 2}.get(node.name, 0)


def _warn(node: Node, i: int, taken: Quantization) -> None:
    """Say how far the output is from what the file says of it, if any value is half a step off."""
    stated = per_tensor(node.output(i))
    assert stated is not None
    steps = np.arange(-128, 128)
    computed = float(taken.scale) * (steps - taken.zero_point)
    error = float(stated.scale) * (steps - stated.zero_point) - computed
    if np.abs(error).max() < float(stated.scale) / 2:
        return
    decibels = 10 * np.log10((computed**2).sum() / (error**2).sum())
    output = node.output(i)
    words = (
        f"operator {node.operator.index} {node.name} ({output.name}): the file says that its "
        f"output has {output.scale_words}, but TensorFlow Lite Micro computes it as if it had "
        f"scale {taken.scale:g} and zero point {taken.zero_point}; so does narrows, to the same "
        f"bytes, which are at {decibels:.1f} dB from what the file means"
    )
    node.importer.off.setdefault(node.name, []).append((float(decibels), words))
