# SPDX-License-Identifier: Apache-2.0
"""Quantized networks as they are exported, and inputs to judge them by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from models import FLOAT_NETWORK, INT8_NETWORKS, PHOTOS, network, photo
from narrows import zoo
from narrows.exporters.export import export_tflite
from narrows.graph.edges import to_external, to_internal
from narrows.graph.graph import Graph, UnaryFunction
from narrows.graph.passes import drop_unused
from narrows.graph.qgraph import Elementwise, QGraph
from narrows.importers.tflite import import_tflite
from narrows.models import DIGITS_INT8, load_held_out, prepare_digits
from narrows.quantization.float_model import FloatArray, Sample
from narrows.quantization.lower import lower
from narrows.quantization.pipeline import quantize_network
from narrows.quantization.quantize import quantize
from narrows.zoo.builder import NONE, RELU, Builder
from oracle import Array
from subjects import typical_inputs

FRESH = 77  # seed of pictures that nothing was fitted to

ZOO: list[tuple[str, dict[str, Any]]] = [
    ("ds_cnn", {}),
    ("resnet8", {}),
    ("mobilenet_v1", {"width": 0.25, "size": 96}),
    ("mobilenet_v2", {"width": 0.35, "size": 96}),
    ("mobilenet_v2", {"width": 0.35, "size": 144}),
    ("mobilenet_v3", {"size": 96}),
    ("ssdlite", {"width": 0.35, "size": 96}),
    ("deeplab_v3", {"width": 0.35, "size": 89, "upsample": True}),
    ("deeplab_v3", {"width": 0.35, "size": 113, "pyramid": True}),
    ("shufflenet", {"width": 0.5, "size": 48, "stages": 1}),
    ("nasnet_a", {"width": 0.25, "size": 96, "cells": 1}),
]
ZOO_IDS = [name + "".join(f"-{v}" for v in options.values()) for name, options in ZOO]
NAMES = (*ZOO_IDS, FLOAT_NETWORK, "digits", "everything", *INT8_NETWORKS)


def network_of_everything() -> Graph:
    """Operators that share scales, that prescribe them, and that do neither."""
    net = Builder("everything", (12, 10, 3), seed=3)
    x = net.conv(0, 8, 3, 2, name="stem")
    swish = net.unary(x, UnaryFunction.HARD_SWISH, name="swish")
    gate = net.unary(x, UnaryFunction.LOGISTIC, name="gate")
    tanh = net.unary(x, UnaryFunction.TANH, name="tanh")
    leaky = net.unary(net.conv(x, 8, activation=NONE, name="b"), UnaryFunction.RELU6, name="r6")
    gated = net.binary(Elementwise.MUL, swish, gate, name="gated")
    joined = net.concat([gated, gate, tanh, leaky], name="joined")
    wide = net.bilinear(joined, 12, 10, name="wide")
    x = net.depthwise(wide, 5, 1, RELU, name="depthwise")
    x = net.binary(Elementwise.SUB, x, net.mean(x, name="mean"), RELU, name="sub")
    x = net.average_pool(net.conv(x, 8, name="pointwise"), name="pool")
    return net.finish([net.softmax(net.dense(x, 5, name="dense")), tanh, joined])


def shape_of(graph: Graph) -> tuple[int, int, int]:
    height, width, channels = graph.tensors[graph.inputs[0].tensor].shape
    return height, width, channels


def exported(graph: Graph) -> bytes:
    """A quantized network as ``narrows quantize`` writes it."""
    return export_tflite(drop_unused(graph))


def as_inputs(qgraph: QGraph, samples: Sequence[Sample]) -> list[list[Array]]:
    """Real values of networks with one input, rounded to its own type."""
    (edge,) = qgraph.inputs
    tensor = qgraph.tensors[edge.tensor]
    return [[to_external(edge, tensor, to_internal(edge, tensor, x))] for (x,) in samples]


@cache
def quantized(name: str) -> tuple[bytes, list[list[Array]]]:
    """One of NAMES as a .tflite file that was exported here, and inputs that nothing was fitted
    to; bytes at random for what others quantized."""
    if name in INT8_NETWORKS:
        graph = import_tflite(network(name))
        return export_tflite(graph), typical_inputs(lower(graph), np.random.default_rng(6), 1)[:1]
    if name == "digits":
        pixels = prepare_digits(load_held_out().images[:8])
        return DIGITS_INT8.read_bytes(), [[x[np.newaxis]] for x in pixels]
    if name == FLOAT_NETWORK:
        pixels = [_pixels(file) for file in PHOTOS]
        graph = import_tflite(network(name))
        graph = quantize_network(graph, lambda: [[x] for x in pixels[:3]]).graph
        samples = pixels[3:]
    elif name == "everything":
        graph = network_of_everything()
        graph = quantize(graph, ([x] for x in zoo.pictures(shape_of(graph), 3, 50)))
        samples = list(zoo.pictures(shape_of(graph), 1, FRESH))
    else:
        kind, options = ZOO[ZOO_IDS.index(name)]
        graph = zoo.quantized(kind, **options)
        samples = list(zoo.pictures(shape_of(graph), 1, FRESH))
    data = exported(graph)
    return data, as_inputs(lower(import_tflite(data, name)), [[x] for x in samples])


def _pixels(name: str) -> FloatArray:
    """A photo as visual wake words see it: 0 to 1."""
    with Image.open(photo(name)) as image:
        return np.asarray(image.convert("RGB").resize((96, 96)), np.float32) / 255
