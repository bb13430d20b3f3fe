# SPDX-License-Identifier: Apache-2.0
"""The zoo: shapes as in the papers, layers that are alive, int8 that resembles the float."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Narrows
from models import need, photo
from narrows import zoo
from narrows.blob import parse_blob
from narrows.data import load_input
from narrows.errors import UsageError
from narrows.graph.detection import Ssd, parse_detection
from narrows.graph.edges import encode, to_internal
from narrows.graph.graph import Activation
from narrows.importers.tflite import import_tflite
from narrows.native import Run
from narrows.pack import pack
from narrows.planning import Effort, PlanOptions
from narrows.planning.planner import plan
from narrows.quantization.dead_channels import without_dead_channels
from narrows.quantization.float_model import FloatArray, FloatModel
from narrows.quantization.lower import lower
from narrows.quantization.reference import run
from narrows.zoo.measure import largest_materialized, materialized, multiply_adds, parameters
from narrows.zoo.networks import rounded
from narrows.zoo.paper import compare, compare_maxima
from oracle import Oracle
from quantized import FRESH, ZOO, ZOO_IDS, exported, shape_of


def signal_to_noise(signal: FloatArray, other: FloatArray) -> float:
    """In decibels, of what varies around the mean."""
    power = np.square(signal - signal.mean()).sum()
    return float(10 * np.log10(power / np.square(signal - other).sum()))


@pytest.mark.parametrize(("name", "options"), ZOO, ids=ZOO_IDS)
def test_every_layer_is_alive(name: str, options: dict[str, Any]) -> None:
    graph = zoo.build(name, **options)
    model = FloatModel(graph)
    seen: dict[int, list[FloatArray]] = {}
    for image in zoo.pictures(shape_of(graph), 3, FRESH):
        model.run([image], lambda i, values: seen.setdefault(i, []).append(values.copy()))
    for operator in graph.operators:
        tensor = graph.tensors[operator.output].name
        values = np.stack(seen[operator.output])
        std = values.std()
        assert 0.04 < std < 20, tensor
        assert np.abs(values).max() < 100, tensor
        # Pictures differ, and so does what the network makes of them.
        assert (values[0] - values[1]).std() > 0.1 * std, tensor
        match getattr(operator, "activation", Activation.NONE):
            case Activation.RELU:
                assert 0.05 < (values == 0).mean() < 0.6, tensor
            case Activation.RELU6:
                assert (values == 0).mean() < 0.6, tensor
                assert (values == 6).mean() < 0.3, tensor
        rows = values.reshape(-1, values.shape[-1])
        if len(rows) >= 48:
            assert (rows.std(axis=0) < 1e-3).mean() < 0.1, f"{tensor}: dead channels"


def test_some_activations_reach_six() -> None:
    graph = zoo.build("mobilenet_v2", width=0.35, size=96)
    clipped: list[float] = []
    image = next(zoo.pictures(shape_of(graph), 1, FRESH))
    FloatModel(graph).run([image], lambda i, values: clipped.append(float((values == 6).mean())))
    assert 0.001 < float(np.mean(clipped)) < 0.05


@pytest.mark.parametrize(("name", "options"), ZOO, ids=ZOO_IDS)
def test_int8_resembles_float(name: str, options: dict[str, Any]) -> None:
    graph, quantized = zoo.build(name, **options), zoo.quantized(name, **options)
    qgraph = lower(quantized)
    image = next(zoo.pictures(shape_of(graph), 1, FRESH))
    edge = qgraph.inputs[0]
    outputs = run(qgraph, [to_internal(edge, qgraph.tensors[edge.tensor], image)])
    expected = FloatModel(graph).run([image])
    assert len(outputs) == len(expected) == len(graph.outputs)
    for port, values, reference in zip(quantized.outputs, outputs, expected, strict=True):
        real = port.scale * (values.astype(np.float32) - port.zero_point)
        assert signal_to_noise(reference, real.reshape(reference.shape)) > 6, port.name


def test_the_same_weights_every_time() -> None:
    options: dict[str, Any] = {"width": 0.35, "size": 64}
    first, second = (zoo.build("mobilenet_v2", **options) for _ in range(2))
    other = zoo.build("mobilenet_v2", **options, seed=1)
    weights = [
        [t.data for t in graph.tensors if t.data is not None] for graph in (first, second, other)
    ]
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert not np.array_equal(weights[0][0], weights[2][0])
    assert zoo.quantized("mobilenet_v2", **options) is zoo.quantized("mobilenet_v2", **options)


def test_structure_alone_costs_nothing() -> None:
    graph = zoo.build("deeplab_v3", seed=None)
    assert sum(t.data.strides[0] for t in graph.tensors if t.data is not None) == 0
    assert graph.outputs[0].shape == (1, 33, 33, 21)
    boxes = [port.shape[1:] for port in zoo.build("ssdlite", seed=None).outputs[1::2]]
    assert boxes == [(20, 20, 12), (10, 10, 24), (5, 5, 24), (3, 3, 24), (2, 2, 24), (1, 1, 24)]


def test_widths() -> None:
    # Widths 0.35 and 1.4 as the published models have them.
    assert [rounded(0.35 * c) for c in (32, 16, 24, 32, 64, 96, 160, 320)] == [
        *(16, 8, 8, 16, 24, 32, 56, 112),
    ]
    assert [rounded(1.4 * c) for c in (32, 16, 24, 32, 64, 96, 160, 320)] == [
        *(48, 24, 32, 48, 88, 136, 224, 448),
    ]
    for width, head in ((0.35, 1280), (1.0, 1280), (1.4, 1792)):
        graph = zoo.build("mobilenet_v2", width=width, seed=None)
        (shape,) = (t.shape for t in graph.tensors if t.name == "head")
        assert shape == (7, 7, head)


def test_counts_beside_the_papers() -> None:
    rows = compare()
    for row in rows:
        assert row.fits == (not row.explanation), row
    by_name = {row.network: row for row in rows}
    wide = by_name["MobileNetV2 1.4"]
    assert 6.05e6 < wide.parameters < 6.1e6
    assert "6.9 M" in wide.explanation
    for maximum in compare_maxima():
        assert abs(maximum.bytes / maximum.printed - 1) < 0.005, maximum


def test_counts_of_a_small_network() -> None:
    graph = zoo.build("ds_cnn", seed=None)
    assert parameters(graph) == 64 * 41 + 4 * (64 * 10 + 64 * 65) + 12 * 65
    assert multiply_adds(graph) == 125 * (64 * 40 + 4 * (64 * 9 + 64 * 64)) + 12 * 64
    whole = [graph.tensors[i].name for i in materialized(graph)]
    assert whole[0] == "layer_0/pointwise"  # stem and first depthwise run in slices
    assert "layer_1/depthwise" not in whole
    assert largest_materialized(graph, 16) == (25 * 5 * 64 * 2, "25x5x64")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deeplab_v3", {}),
        ("deeplab_v3", {"pyramid": True}),
        ("shufflenet", {"width": 1.5}),
        ("shufflenet", {"width": 2.0}),
        ("nasnet_a", {}),
    ],
)
def test_whole_networks(
    name: str, options: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    """Those of the paper's tables 4 and 7 as a whole give TensorFlow Lite Micro's bytes for a
    photo. Reduced ones are in every run (test_quantized)."""
    graph = zoo.quantized(name, samples=1, **options)
    model = exported(graph)
    qgraph = without_dead_channels(lower(import_tflite(model, name)))
    planned = plan(qgraph, PlanOptions(effort=Effort.FAST))
    blob = parse_blob(pack(qgraph, planned, zoo.metadata(name, graph)))
    assert planned.mac_factor == 1
    record_property(
        f"{graph.name} {options}",
        f"arena {planned.arena_total:,} B, {planned.macs / 1e6:.1f} M MACs",
    )
    inputs = load_input(blob.inputs[0], blob.preprocessing, photo("parrot.jpg"))
    (got,) = Run(blob.model).infer([encode(blob.inputs[0], inputs)])
    (wanted,) = Oracle(model, 1 << 27).run([inputs])
    np.testing.assert_array_equal(got.reshape(wanted.shape), wanted)


def test_anchors_are_those_of_ssd() -> None:
    """Figures by hand, of the published generator: scales 0.2 to 0.95."""
    graph = zoo.build("ssdlite", seed=None)
    declared = parse_detection(zoo.metadata("ssdlite", graph)["detection"])
    assert isinstance(declared, Ssd)
    declared.check([port.shape for port in graph.outputs])
    assert len(declared.anchors) == 3 * 400 + 6 * (100 + 25 + 9 + 4 + 1)
    assert declared.classes == 90
    assert declared.background([port.shape for port in graph.outputs]) == 1
    np.testing.assert_allclose(declared.anchors[0], (0.025, 0.025, 0.1, 0.1), rtol=1e-6)
    wide = (0.025, 0.025, 0.2 / 2**0.5, 0.2 * 2**0.5)
    np.testing.assert_allclose(declared.anchors[1], wide, rtol=1e-6)
    np.testing.assert_allclose(declared.anchors[5], (0.025, 0.075, 0.2 * 2**0.5, 0.2 / 2**0.5))
    np.testing.assert_allclose(declared.anchors[1200], (0.05, 0.05, 0.35, 0.35), rtol=1e-6)
    between = (0.35 * 0.5) ** 0.5
    np.testing.assert_allclose(declared.anchors[1205], (0.05, 0.05, between, between), rtol=1e-6)
    last = (0.5, 0.5, 0.95**0.5, 0.95**0.5)
    np.testing.assert_allclose(declared.anchors[-1], last, rtol=1e-6)


def test_networks_become_files(narrows: Narrows, tmp_path: Path) -> None:
    """From a name to boxes on a photo, on the host and on a board."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    model, blob, drawn = (tmp_path / n for n in ("m.tflite", "m.nrw", "m.png"))
    done = narrows("zoo", "ssdlite,width=0.1,size=64,classes=4", "-o", model)
    assert done.returncode == 0, done.stderr
    done = narrows("compile", model, "-o", blob, "--effort", "fast")
    assert done.returncode == 0, done.stderr
    options = ("--input", photo("cat.bmp"), "--draw", drawn, "--json", tmp_path / "json")
    reports = []
    for target in ("host", "qemu:mps2-an386"):
        done = narrows("run", blob, "--target", target, *options)
        assert done.returncode == 0, done.stderr
        reports.append(json.loads((tmp_path / "json").read_text()))
    assert reports[0]["detections"]
    assert reports[0]["detections"] == reports[1]["detections"]
    assert {one["index"] for one in reports[0]["detections"]} <= {0, 1, 2}
    assert drawn.exists()
    done = narrows("zoo", "ssdlite")
    assert done.returncode == 2
    assert "a network of the zoo and -o MODEL_INT8 belong together" in done.stderr


def test_unknown_networks_and_options() -> None:
    with pytest.raises(UsageError, match="no network 'alexnet' in the zoo; it has mobilenet_v1"):
        zoo.build("alexnet")
    with pytest.raises(UsageError, match="resnet8 has no option 'width'; it has seed"):
        zoo.build("resnet8", width=2)
    with pytest.raises(UsageError, match="width 0 and input 224"):
        zoo.build("mobilenet_v2", width=0)
    for name, option, value in (
        *(("shufflenet", "groups", 5), ("shufflenet", "stages", 0), ("nasnet_a", "cells", 0)),
    ):
        with pytest.raises(UsageError, match=f"{value} {option}: 1"):
            zoo.build(name, **{option: value})


def test_the_command(narrows: Narrows, tmp_path: Path) -> None:
    done = narrows("zoo", "--json", tmp_path / "zoo.json")
    assert done.returncode == 0, done.stderr
    for text in ("MobileNetV2 1.4", "6.085 M", "6.900 M", "582.2 M", "[1]", "401K", "1606K"):
        assert text in done.stdout
    report = json.loads((tmp_path / "zoo.json").read_text())
    assert len(report["networks"]) == len(compare())
    assert report["table_3"][1]["bytes"] == 112 * 112 * 16 * 2
