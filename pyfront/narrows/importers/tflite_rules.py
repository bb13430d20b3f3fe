# SPDX-License-Identifier: Apache-2.0
"""The rules of the operators that a ``.tflite`` file may have: checks and a builder for each."""

from __future__ import annotations

from narrows.graph.graph import Relation
from narrows.graph.moves import REARRANGEMENTS
from narrows.importers import tflite_checks as checks
from narrows.importers import tflite_layers as layers
from narrows.importers import tflite_moves as moves
from narrows.importers.tflite_dilation import TO_BATCH, TO_SPACE, batches
from narrows.importers.tflite_node import Rule
from narrows.importers.tflite_variables import OPTIONS, VARIABLES, variable

_FUSED = "FusedActivationFunction"
_STRIDE = ("Padding", "StrideH", "StrideW", _FUSED)
_DILATION = ("DilationHFactor", "DilationWFactor")
_CONV_CHECKS = (checks.activations_int8, checks.rank_4, checks.weights, checks.bias, checks.fused)
_POOL = Rule(
    layers.pool,
    (1, 1),
    (checks.activations_int8, checks.rank_4, checks.fused, checks.quantized_as_input),
    options=("Pool2DOptions", (*_STRIDE, "FilterHeight", "FilterWidth")),
)
_IN_FLOATS = Rule(layers.unary, (1, 1), (checks.in_floats,))
_IN_TABLE = Rule(layers.unary, (1, 1), (checks.int8_or_in_floats,))
_EXTREMUM = Rule(layers.binary, (2, 2), (checks.both_int8, checks.quantized_as_output))
_REDUCER = ("ReducerOptions", ("KeepDims",))
_CHOICE = Rule(
    layers.reduce,
    (2, 2),
    (checks.activations_int8, checks.quantized_as_input),
    options=_REDUCER,
)
_CORNERS = ("AlignCorners", "HalfPixelCenters")
_LABELS = (checks.same_type, checks.quantized_as_input)
_LABELS_TAKEN = (checks.same_type, checks.taken_as_input)

RULES: dict[str, Rule] = {
    "CONV_2D": Rule(
        layers.conv_2d, (2, 3), _CONV_CHECKS, options=("Conv2DOptions", (*_STRIDE, *_DILATION))
    ),
    "DEPTHWISE_CONV_2D": Rule(
        layers.depthwise_conv_2d,
        (2, 3),
        _CONV_CHECKS,
        options=("DepthwiseConv2DOptions", (*_STRIDE, *_DILATION, "DepthMultiplier")),
    ),
    "TRANSPOSE_CONV": Rule(
        layers.transpose_conv, (3, 4), _CONV_CHECKS, options=("TransposeConvOptions", _STRIDE)
    ),
    "FULLY_CONNECTED": Rule(
        layers.fully_connected,
        (2, 3),
        (checks.activations_int8, checks.weights, checks.bias, checks.fused),
        options=("FullyConnectedOptions", (_FUSED, "WeightsFormat", "KeepNumDims")),
    ),
    "ADD": Rule(
        layers.binary,
        (2, 2),
        (checks.both_int8, checks.fused, checks.sum_scales),
        options=("AddOptions", (_FUSED,)),
    ),
    "SUB": Rule(
        layers.binary,
        (2, 2),
        (checks.both_int8, checks.fused, checks.sum_scales),
        options=("SubOptions", (_FUSED,)),
    ),
    "MUL": Rule(
        layers.binary,
        (2, 2),
        (checks.both_int8, checks.fused, checks.product_scale),
        options=("MulOptions", (_FUSED,)),
    ),
    "DIV": Rule(
        layers.divide,
        (2, 2),
        (checks.both_int8, checks.fused, checks.quotient_scale),
        options=("DivOptions", (_FUSED,)),
    ),
    "BATCH_MATMUL": Rule(
        layers.matmul,
        (2, 2),
        (checks.both_int8, checks.product_scale),
        options=("BatchMatMulOptions", ("AdjX", "AdjY")),
    ),
    TO_BATCH: Rule(batches, (0, 3)),
    TO_SPACE: Rule(batches, (0, 3)),
    "MAXIMUM": _EXTREMUM,
    "MINIMUM": _EXTREMUM,
    "PRELU": Rule(layers.binary, (2, 2), (checks.both_int8, checks.slope_scales)),
    **{r.value: Rule(layers.compare, (2, 2), (checks.compared,)) for r in Relation},
    **{n: Rule(layers.select, (3, 3), (checks.selected,)) for n in ("SELECT", "SELECT_V2")},
    "SQUARED_DIFFERENCE": Rule(layers.binary, (2, 2), (checks.both_int8, checks.square_scale)),
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "MEAN": Rule(layers.reduce, (2, 2), (checks.activations_int8, checks.ratio), options=_REDUCER),
    "SUM": Rule(
        layers.reduce, (2, 2), (checks.activations_int8, checks.total_scale), options=_REDUCER
    ),
    "REDUCE_MAX": _CHOICE,
    "REDUCE_MIN": _CHOICE,
    "ARG_MAX": Rule(layers.arg_max, (2, 2), (checks.numbered,)),
    "ARG_MIN": Rule(layers.arg_max, (2, 2), (checks.numbered,)),
    "CAST": Rule(layers.cast, (1, 1), (checks.cast_number,)),
    "SOFTMAX": Rule(
        layers.softmax,
        (1, 1),
        (checks.activations_int8, checks.probabilities),
        options=("SoftmaxOptions", ("Beta",)),
    ),
    "LOGISTIC": Rule(
        layers.unary,
        (1, 1),
        (checks.activations_int8, checks.fixed_point_input, checks.probabilities),
    ),
    "TANH": Rule(
        layers.unary,
        (1, 1),
        (checks.activations_int8, checks.fixed_point_input, checks.taken_as_tanh),
    ),
    "HARD_SWISH": Rule(layers.unary, (1, 1), (checks.activations_int8, checks.hard_swish_scale)),
    "LEAKY_RELU": Rule(
        layers.unary,
        (1, 1),
        (checks.activations_int8, checks.ratio),
        options=("LeakyReluOptions", ("Alpha",)),
    ),
    "RELU": Rule(layers.unary, (1, 1), (checks.activations_int8, checks.ratio)),
    "RELU6": Rule(
        layers.unary,
        (1, 1),
        (checks.activations_int8, checks.holds_six, checks.taken_as_input),
    ),
    "ABS": Rule(layers.unary, (1, 1), (checks.int8_or_in_floats, checks.ratio)),
    "RSQRT": Rule(layers.unary, (1, 1), (checks.int8_or_in_floats, checks.root_scale)),
    # TFLite Micro has no int8 kernels of EXP, LOG, SQRT and GELU: LiteRT's answers count.
    "GELU": Rule(
        layers.unary,
        (1, 1),
        (checks.activations_int8,),
        options=("GeluOptions", ("Approximate",)),
    ),
    # Its steps must be an int32 even where it is its input.
    "ELU": Rule(layers.unary, (1, 1), (checks.int8_or_in_floats, checks.steps_scale)),
    **dict.fromkeys(("EXP", "LOG", "SQRT"), _IN_TABLE),
    **dict.fromkeys(("NEG", "SQUARE", "SIN", "COS", "FLOOR", "CEIL", "ROUND"), _IN_FLOATS),
    "QUANTIZE": Rule(layers.quantize, (1, 1), ()),
    "DEQUANTIZE": Rule(layers.leave, (1, 1), ()),
    "CONCATENATION": Rule(
        moves.concatenation,
        (1, 10),
        (checks.all_int8, checks.quantized_as_output, checks.not_fused),
        options=("ConcatenationOptions", ("Axis", _FUSED)),
    ),
    "PACK": Rule(
        moves.pack,
        (1, 1024),
        (checks.all_int8, checks.quantized_as_output),
        options=("PackOptions", ("Axis", "ValuesCount")),
    ),
    "UNPACK": Rule(
        moves.unpack,
        (1, 1),
        (checks.activations_int8, checks.quantized_as_input),
        outputs=None,
        options=("UnpackOptions", ("Axis", "Num")),
    ),
    "GATHER": Rule(
        moves.gather,
        (2, 2),
        (checks.activations_int8, checks.taken_as_input),
        options=("GatherOptions", ("Axis", "BatchDims")),
    ),
    "REVERSE_V2": Rule(moves.reverse, (2, 2), (checks.activations_int8, checks.quantized_as_input)),
    "RESIZE_BILINEAR": Rule(
        moves.resize,
        (2, 2),
        (checks.activations_int8, checks.rank_4, checks.quantized_as_input),
        options=("ResizeBilinearOptions", _CORNERS),
    ),
    "RESIZE_NEAREST_NEIGHBOR": Rule(
        moves.resize,
        (2, 2),
        (checks.activations_int8, checks.rank_4, checks.taken_as_input),
        options=("ResizeNearestNeighborOptions", _CORNERS),
    ),
    "SLICE": Rule(moves.cut, (3, 3), (checks.activations_int8, checks.quantized_as_input)),
    "STRIDED_SLICE": Rule(
        moves.strided_slice,
        (4, 4),
        (checks.activations_int8, checks.quantized_as_input),
        options=(
            "StridedSliceOptions",
            ("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask", "Offset"),
        ),
    ),
    "SPLIT": Rule(
        moves.split, (2, 2), (checks.activations_int8, checks.quantized_as_input), outputs=None
    ),
    "SPLIT_V": Rule(
        moves.split, (3, 3), (checks.activations_int8, checks.taken_as_input), outputs=None
    ),
    "PAD": Rule(moves.pad, (2, 2), (checks.activations_int8, checks.quantized_as_input)),
    "PADV2": Rule(moves.pad, (2, 3), (checks.activations_int8, checks.quantized_as_input)),
    "MIRROR_PAD": Rule(
        moves.mirror_pad,
        (2, 2),
        (checks.activations_int8, checks.quantized_as_input),
        options=("MirrorPadOptions", ("Mode",)),
    ),
    "RESHAPE": Rule(moves.reshape, (1, 2), _LABELS_TAKEN),
    "SQUEEZE": Rule(moves.reshape, (1, 1), _LABELS_TAKEN),
    "EXPAND_DIMS": Rule(moves.reshape, (2, 2), _LABELS),
    "TILE": Rule(moves.tile, (2, 2), (checks.activations_int8, checks.quantized_as_input)),
    "TRANSPOSE": Rule(moves.transpose, (2, 2), _LABELS),
    **{name: Rule(variable, (0, 2), options=OPTIONS.get(name, ("", ()))) for name in VARIABLES},
    **{
        kind.in_tflite.name: Rule(
            moves.rearrangement(kind),
            (1, 1),
            (checks.activations_int8, checks.rank_4, checks.quantized_as_input),
            options=(kind.in_tflite.options, moves.options_of(kind)),
        )
        for kind in REARRANGEMENTS
    },
}
