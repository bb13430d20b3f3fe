# SPDX-License-Identifier: Apache-2.0
"""Kinds of models that cannot be imported whatever their operators are, and what to do instead.

All operators of a model that share a kind make one line or sentence of the error.
"""

from __future__ import annotations

from narrows.errors import ModelKind

INT16_ACTIVATIONS = ModelKind(
    "quantized 16x8: int16 activations, int8 weights",
    "convert it with TFLITE_BUILTINS_INT8, or give the float32 model to 'narrows quantize'",
)
UINT8 = ModelKind(
    "quantized to uint8, as TensorFlow 1 did",
    "give it to 'narrows quantize', which makes an int8 file of it by the ranges that it has",
)
INT4 = ModelKind(
    "int4 weights",
    "quantize the weights to int8",
)
SPARSE = ModelKind(
    "sparse (pruned) weights",
    "convert it without EXPERIMENTAL_SPARSITY, which stores the zeros, too",
)
PARTLY_FLOAT = ModelKind(
    "quantized in part: some operators compute in float32",
    "convert it with supported_ops = [TFLITE_BUILTINS_INT8], which names the operators that have "
    "no int8 form; or give the float32 model to 'narrows quantize'",
)
FAKE_QUANT = ModelKind(
    "trained quantization-aware, but left in float32 (FAKE_QUANT)",
    "convert it with optimizations = [tf.lite.Optimize.DEFAULT], which makes it int8 by the ranges "
    "that it learned",
)
RECURRENT = ModelKind(
    "recurrent (an LSTM, a GRU, a loop or variables)",
    "narrows runs networks whose operators are each computed once, and variables in int8 alone",
)
ETHOS_U = ModelKind(
    "compiled by Vela for an Ethos-U",
    "give the .tflite from before Vela",
)
EDGE_TPU = ModelKind(
    "compiled for the Edge TPU",
    "give the .tflite from before edgetpu_compiler",
)
FLEX = ModelKind(
    "operators of TensorFlow itself (Flex)",
    "convert it with TFLITE_BUILTINS alone, without SELECT_TF_OPS",
)

# Kinds of ONNX models.
_FLOAT_MODEL = "give its float model to 'narrows quantize'"
QOPERATOR = ModelKind(
    "in QOperator form",
    f"quantize with quant_format=QuantFormat.QDQ, or {_FLOAT_MODEL}",
)
DYNAMIC = ModelKind(
    "dynamically quantized: it computes scales anew in each run, from floats",
    f"quantize it statically, in QDQ form, or {_FLOAT_MODEL}",
)
WEIGHTS_ONLY = ModelKind(
    "quantized in its weights only",
    _FLOAT_MODEL,
)
RECURRENT_NODES = ModelKind(
    "recurrent",
    "narrows keeps no state between inferences; use convolutions over time instead",
)
BRANCHES = ModelKind(
    "not one fixed sequence of operators",
    "export it without loops and branches for one fixed input shape",
)
CLASSICAL = ModelKind(
    "of classical machine learning, not a neural network",
    "narrows runs convolutional networks",
)
ONNXRUNTIME = ModelKind(
    "optimized by onnxruntime, with operators of its own",
    "give the model before that, or save it with ORT_ENABLE_BASIC",
)
