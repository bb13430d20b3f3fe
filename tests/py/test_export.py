# SPDX-License-Identifier: Apache-2.0
"""Graphs go out as .tflite and give the same bytes; see also ``check`` in subjects, which
sends every operator's model through the exporter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models import FLOAT_NETWORK, INT8_NETWORKS, network
from narrows.errors import UnsupportedError
from narrows.exporters.export import export_tflite
from narrows.graph.graph import Activation, Concat, Conv, Graph, Pool, Port, Quantization, Tensor
from narrows.graph.qgraph import Axis
from narrows.importers.tflite import import_tflite
from narrows.native import Model, Run
from narrows.pack import pack
from narrows.planning.planner import plan
from narrows.quantization.float_model import FloatModel
from narrows.quantization.lower import lower
from oracle import Array, Oracle
from subjects import check


def inputs(graph: Graph, count: int) -> list[Array]:
    (port,) = graph.inputs
    rng = np.random.default_rng(8)
    shape = (count, *port.shape)
    if port.dtype == "float32":
        return list(rng.normal(0, 1, shape).astype(np.float32))
    info = np.iinfo(port.dtype)
    return list(rng.integers(info.min, info.max + 1, shape).astype(port.dtype))


@pytest.mark.parametrize("name", INT8_NETWORKS)
def test_networks_come_back(name: str) -> None:
    original = network(name).read_bytes()
    graph = import_tflite(original, name)
    exported = export_tflite(graph)
    again = import_tflite(exported, name)
    ports = ((*g.inputs, *g.outputs) for g in (graph, again))
    for old, new in zip(*ports, strict=True):
        assert (old.name, old.dtype, old.shape) == (new.name, new.dtype, new.shape)
        assert (old.scale, old.zero_point) == (new.scale, new.zero_point)
    first, second = Oracle(original), Oracle(exported)
    hosts = []
    for qgraph in (lower(graph), lower(again)):
        hosts.append(Run(Model(pack(qgraph, plan(qgraph), {}), name)))
    assert [op.__class__ for op in graph.operators] == [op.__class__ for op in again.operators]
    rng = np.random.default_rng(9)
    for sample in inputs(graph, 1 if "224" in name else 4):
        (wanted,), (got,) = first.run([sample]), second.run([sample])
        assert wanted.dtype == got.dtype
        np.testing.assert_array_equal(got, wanted)
        shape = graph.tensors[graph.inputs[0].tensor].shape
        inside = rng.integers(-128, 128, shape).astype(np.int8)
        (a,), (b,) = (host.infer([inside]) for host in hosts)
        np.testing.assert_array_equal(a, b)


def test_a_float_network() -> None:
    graph = import_tflite(network(FLOAT_NETWORK))
    oracle, model = Oracle(export_tflite(graph)), FloatModel(graph)
    for sample in inputs(graph, 2):
        np.testing.assert_allclose(oracle.run([sample])[0], model.run([sample])[0], atol=1e-5)


def quantization(scale: float, zero_point: int) -> Quantization:
    return Quantization(np.array([scale], np.float32), np.array([zero_point], np.int32))


class Net:
    """A quantized graph with one input, built by hand."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.rng = np.random.default_rng(5)
        self.q = quantization(0.05, 7)
        self.tensors = [Tensor("x", shape, "int8", self.q)]

    def tensor(self, shape: tuple[int, ...], data: Array | None = None) -> int:
        dtype = "int8" if data is None or data.dtype == np.int8 else "int32"
        q = self.q if data is None else None
        if dtype == "int8" and data is not None:
            scales = self.rng.uniform(0.001, 0.002, shape[0]).astype(np.float32)
            q = Quantization(scales, np.zeros(shape[0], np.int32), 0)
        self.tensors.append(Tensor(f"t{len(self.tensors)}", shape, dtype, q, data))  # type: ignore[arg-type]
        return len(self.tensors) - 1

    def graph(self, *operators: Conv | Pool | Concat) -> Graph:
        def port(index: int) -> Port:
            t = self.tensors[index]
            return Port(t.name, index, "int8", (1, *t.shape), float(self.q.scale), 7)

        last = operators[-1].output
        return Graph("test", tuple(self.tensors), operators, (port(0),), (port(last),))


@pytest.mark.parametrize("pad", [(0, 0), (0, 1), (1, 1), (2, 0)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (2, 3)])
@pytest.mark.parametrize("size", [(8, 9), (7, 6)])
def test_padding_on_all_sides(
    pad: tuple[int, int], stride: tuple[int, int], size: tuple[int, int]
) -> None:
    """Also padding that SAME and VALID cannot say, as other frameworks have it."""
    net = Net((*size, 3))
    weights = net.tensor((4, 3, 3, 3), net.rng.integers(-127, 128, (4, 3, 3, 3), np.int8))
    out = [(n + 2 * p - 3) // s + 1 for n, p, s in zip(size, pad, stride, strict=True)]
    y = net.tensor((*out, 4))
    conv = Conv((0,), y, weights, None, stride, (1, 1), pad, Activation.NONE)
    z = net.tensor((*out, 4))
    pool = Pool((y,), z, "max", (3, 3), (1, 1), (1, 1), Activation.NONE)
    qgraph = check(export_tflite(net.graph(conv, pool)), net.rng)
    # What was exported is the graph itself, not another one with the same shapes.
    x = net.rng.integers(-128, 128, (*size, 3)).astype(np.int8)
    own = lower(net.graph(conv, pool))
    first, second = (Run(Model(pack(g, plan(g), {}), "test")).infer([x])[0] for g in (own, qgraph))
    np.testing.assert_array_equal(first, second)


def test_an_average_over_odd_padding_is_refused() -> None:
    net = Net((8, 8, 2))
    y = net.tensor((4, 4, 2))
    pool = Pool((0,), y, "average", (3, 3), (2, 2), (1, 1), Activation.NONE)
    with pytest.raises(UnsupportedError, match="neither SAME nor VALID"):
        export_tflite(net.graph(pool))


def test_more_inputs_than_a_concatenation_takes() -> None:
    net = Net((3, 4, 2))
    y = net.tensor((3, 4, 46))
    check(export_tflite(net.graph(Concat((0,) * 23, y, Axis.CHANNELS))), net.rng)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_edges_of_other_types(dtype: str) -> None:
    net = Net((3, 4, 2))
    y = net.tensor((3, 4, 2))
    graph = net.graph(Pool((0,), y, "max", (1, 1), (1, 1), (0, 0), Activation.RELU))
    changes = {"dtype": dtype, "scale": 0.0, "zero_point": 0}
    if dtype == "uint8":
        changes |= {"scale": 0.05, "zero_point": 135}
    ports = [replace(port, **changes) for port in (*graph.inputs, *graph.outputs)]
    graph = replace(graph, inputs=(ports[0],), outputs=(replace(ports[1], shape=(1, 24)),))
    check(export_tflite(graph), net.rng)
