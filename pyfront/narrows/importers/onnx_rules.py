# SPDX-License-Identifier: Apache-2.0
"""The rules of the operators that an ONNX graph may have: a builder for each."""

from __future__ import annotations

from dataclasses import replace

from narrows.graph.moves import REARRANGEMENTS
from narrows.importers import onnx_functions as functions
from narrows.importers import onnx_layers as layers
from narrows.importers import onnx_logic as logic
from narrows.importers import onnx_moves as moves
from narrows.importers import onnx_norms as norms
from narrows.importers import onnx_scales as scales
from narrows.importers.onnx_node import Rule

_UNARY = Rule(layers.unary, (1, 1))
_ELU = Rule(functions.elu, (1, 1))
_LOGIC = Rule(logic.logic, (2, 2), ())
_BINARY = Rule(layers.binary, (2, 2))
_EXTREMUM = Rule(layers.extremum, (2, 2))
_POOL, _GLOBAL_POOL = Rule(layers.pool, (1, 1)), Rule(layers.global_pool, (1, 1))
_REDUCE = Rule(layers.reduce, (1, 2))
_LABELS, _SAME = Rule(moves.reshape, (1, 2), ()), Rule(moves.identity, (1, 3), ())
RULES: dict[str, Rule] = {
    "Conv": Rule(layers.conv, (2, 3)),
    "ConvTranspose": Rule(layers.conv_transpose, (2, 3)),
    "BatchNormalization": Rule(layers.batch_normalization, (5, 5)),
    "InstanceNormalization": Rule(norms.instance_normalization, (3, 3)),
    "GroupNormalization": Rule(norms.group_normalization, (3, 3)),
    "MeanVarianceNormalization": Rule(norms.mean_variance_normalization, (1, 1)),
    "LpNormalization": Rule(norms.lp_normalization, (1, 1)),
    "LayerNormalization": Rule(norms.layer_normalization, (2, 3), outputs=None),
    "Gemm": Rule(layers.gemm, (2, 3)),
    "MatMul": Rule(layers.matmul, (2, 2)),
    "Add": _BINARY,
    "Sub": _BINARY,
    "Mul": _BINARY,
    "Div": Rule(layers.divide, (2, 2)),
    "Relu": _UNARY,
    "Sigmoid": _UNARY,
    "Tanh": _UNARY,
    "HardSwish": _UNARY,
    "Abs": _UNARY,
    "Neg": _UNARY,
    "Sqrt": _UNARY,
    "Exp": _UNARY,
    "Log": _UNARY,
    "Sin": _UNARY,
    "Cos": _UNARY,
    "Floor": _UNARY,
    "Ceil": _UNARY,
    "Round": _UNARY,
    "Elu": _ELU,
    "Selu": _ELU,
    "Celu": _ELU,
    "Softplus": Rule(functions.softplus, (1, 1)),
    "Mish": Rule(functions.mish, (1, 1)),
    "Swish": Rule(functions.swish, (1, 1)),
    "Softsign": Rule(functions.softsign, (1, 1)),
    "Reciprocal": Rule(functions.reciprocal, (1, 1)),
    "Sign": Rule(logic.sign, (1, 1)),
    "Shrink": Rule(logic.shrink, (1, 1)),
    "ThresholdedRelu": Rule(logic.thresholded_relu, (1, 1)),
    **{name: Rule(logic.compare, (2, 2), (logic.numbers,)) for name in logic.RELATIONS},
    "Where": Rule(logic.where, (3, 3), (logic.selected,)),
    "Not": Rule(logic.logic, (1, 1), ()),
    "And": _LOGIC,
    "Or": _LOGIC,
    "Gelu": Rule(layers.gelu, (1, 1)),
    "Pow": Rule(functions.power, (2, 2)),
    "LeakyRelu": Rule(layers.leaky_relu, (1, 1)),
    "PRelu": Rule(layers.prelu, (2, 2)),
    "HardSigmoid": Rule(layers.hard_sigmoid, (1, 1)),
    "Clip": Rule(layers.clip, (1, 3)),
    "Max": _EXTREMUM,
    "Min": _EXTREMUM,
    "AveragePool": _POOL,
    "MaxPool": _POOL,
    "GlobalAveragePool": _GLOBAL_POOL,
    "GlobalMaxPool": _GLOBAL_POOL,
    "ReduceMean": _REDUCE,
    "ReduceMax": _REDUCE,
    "ReduceMin": _REDUCE,
    "ReduceSum": _REDUCE,
    **dict.fromkeys(norms.SUMS, Rule(norms.reduce_norm, (1, 2))),
    "ArgMax": Rule(layers.arg_max, (1, 1)),
    "ArgMin": Rule(layers.arg_max, (1, 1)),
    "Softmax": Rule(layers.softmax, (1, 1)),
    "LogSoftmax": Rule(norms.log_softmax, (1, 1)),
    "Concat": Rule(moves.concat, (1, 1024)),
    "Gather": Rule(moves.gather, (2, 2)),
    "GatherND": Rule(moves.gather_nd, (2, 2)),
    "Expand": Rule(moves.expand, (2, 2)),
    "Tile": Rule(moves.tile, (2, 2)),
    "Slice": Rule(moves.cut, (3, 5)),
    "Split": Rule(moves.split, (1, 2), outputs=None),
    "Pad": Rule(moves.pad, (2, 4)),
    "Resize": Rule(moves.resize, (1, 4)),
    "Flatten": _LABELS,
    "Reshape": _LABELS,
    "Squeeze": _LABELS,
    "Unsqueeze": _LABELS,
    "Transpose": Rule(moves.transpose, (1, 1), ()),
    "Identity": _SAME,
    "Cast": _SAME,
    "Dropout": replace(_SAME, outputs=None),
    "QuantizeLinear": Rule(scales.quantize_linear, (2, 3), ()),
    "DequantizeLinear": Rule(scales.dequantize_linear, (2, 3), ()),
    **{k.in_onnx.name: Rule(moves.rearrangement(k), (1, 1)) for k in REARRANGEMENTS},
}
