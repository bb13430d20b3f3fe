# SPDX-License-Identifier: Apache-2.0
"""The rules of the operators that an ONNX graph may have: a builder for each."""

from __future__ import annotations

from dataclasses import replace

from narrows.graph.moves import REARRANGEMENTS
from narrows.importers import onnx_layers as layers
from narrows.importers import onnx_moves as moves
from narrows.importers import onnx_scales as scales
from narrows.importers.onnx_node import Rule

_UNARY = Rule(layers.unary, (1, 1))
_BINARY = Rule(layers.binary, (2, 2))
_EXTREMUM = Rule(layers.extremum, (2, 2))
_POOL, _GLOBAL_POOL = Rule(layers.pool, (1, 1)), Rule(layers.global_pool, (1, 1))
_REDUCE = Rule(layers.reduce, (1, 2))
_LABELS, _SAME = Rule(moves.reshape, (1, 2), ()), Rule(moves.identity, (1, 3), ())
RULES: dict[str, Rule] = {
    "Conv": Rule(layers.conv, (2, 3)),
    "ConvTranspose": Rule(layers.conv_transpose, (2, 3)),
    "BatchNormalization": Rule(layers.batch_normalization, (5, 5)),
    "Gemm": Rule(layers.gemm, (2, 3)),
    "MatMul": Rule(layers.matmul, (2, 2)),
    "Add": _BINARY,
    "Sub": _BINARY,
    "Mul": _BINARY,
    "Div": _BINARY,
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
    "Elu": Rule(layers.elu, (1, 1)),
    "Gelu": Rule(layers.gelu, (1, 1)),
    "Pow": Rule(layers.power, (2, 2)),
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
    "Softmax": Rule(layers.softmax, (1, 1)),
    "Concat": Rule(moves.concat, (1, 1024)),
    "Gather": Rule(moves.gather, (2, 2)),
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
