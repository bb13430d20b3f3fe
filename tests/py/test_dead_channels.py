# SPDX-License-Identifier: Apache-2.0
"""Channels that nothing depends on are left out, and nothing changes."""

from __future__ import annotations

import base64
import contextlib
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest

from models import network
from narrows.blob import parse_blob
from narrows.compare import compare_inputs
from narrows.compiler import compile_model
from narrows.errors import BlobError
from narrows.graph.qgraph import LiveChannels, QConv, QDepthwise, QGraph, QOp, macs
from narrows.importers import load
from narrows.native import Run
from narrows.pack import pack, unpack_metadata
from narrows.planning.planner import plan
from narrows.quantization import reference
from narrows.quantization.dead_channels import without_dead_channels
from narrows.quantization.lower import lower
from narrows.result import no_progress
from narrows.sides import open_side
from narrows.stages.records import HEADER
from random_graphs import GraphBuilder, random_graph, random_inputs

VWW = "mlperf_vww_96_int8"


def pruned(graph: QGraph, seed: int) -> QGraph:
    """With channels that have one value, in the ways in which trained ones do, and others that
    nobody reads."""
    rng = np.random.default_rng(seed)

    def prune(op: QOp) -> QOp:
        if not isinstance(op, (QConv, QDepthwise)):
            return op
        weights, bias = op.weights.copy(), op.bias.copy()
        multiplier, shift = op.multiplier.copy(), op.shift.copy()
        last = weights if isinstance(op, QDepthwise) else np.moveaxis(weights, 0, -1)
        for c in np.nonzero(rng.integers(2, size=len(bias)))[0]:
            match rng.integers(4):
                case 0:  # the zero point
                    last[..., c], bias[c] = 0, 0
                case 1:  # any value
                    last[..., c], bias[c] = 0, rng.integers(-8000, 8000)
                case 2:  # a scale so small that the bias is all
                    bias[c] = rng.integers(-(2**30), 2**30)
                    multiplier[c], shift[c] = 2**30, -24
                case _:  # beyond what the activation lets pass
                    bias[c] = rng.choice([-(2**25), 2**25])
        if isinstance(op, QConv):
            weights[..., rng.integers(4, size=weights.shape[-1]) == 0] = 0
        return replace(op, weights=weights, bias=bias, multiplier=multiplier, shift=shift)

    return replace(graph, ops=tuple(map(prune, graph.ops)))


def check_the_same(graph: QGraph, reduced: QGraph, seed: int) -> None:
    """All tensors of both, as far as anything depends on them."""
    inputs = random_inputs(graph, seed)
    found = reference.run_all(reduced, inputs)
    expected = reference.run_all(graph, inputs)
    for tensor, ours, theirs in zip(reduced.tensors, found, expected, strict=True):
        if tensor.live is not None:
            filled = tensor.live.fill(ours)
            assert filled.shape == theirs.shape
            assert (filled == theirs).all(), tensor.name  # but for what is masked
        else:
            np.testing.assert_array_equal(ours, theirs, tensor.name)


@pytest.mark.parametrize("seed", range(60))
def test_random_pruned_networks_stay_the_same(seed: int) -> None:
    graph = pruned(random_graph(seed), seed)
    reduced = without_dead_channels(graph)
    assert macs(reduced) <= macs(graph)
    check_the_same(graph, reduced, seed)


@pytest.mark.parametrize("seed", range(12))
def test_the_runtime_gives_the_outputs_of_the_whole_network(seed: int) -> None:
    graph = pruned(random_graph(100 + seed), seed)
    reduced = without_dead_channels(graph)
    inputs = random_inputs(graph, seed)
    blob = parse_blob(pack(reduced, plan(reduced), {}))
    found = Run(blob.model).infer(inputs)
    for ours, theirs in zip(found, reference.run(graph, inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def chain(channels: int = 8, pad: bool = True) -> tuple[GraphBuilder, QGraph]:
    """conv, depthwise, conv; no channel is dead."""
    build = GraphBuilder(np.random.default_rng(3))
    x = build.conv(build.input(6, 6, 3), channels)
    x = build.conv(build.depthwise(x, same=pad), 5)
    ops = [replace(op, act_min=-128, act_max=127) for op in build.ops]
    build.ops = ops
    return build, build.graph([x])


def with_constant(graph: QGraph, at: int, channels: list[int], bias: int = 0) -> QGraph:
    """Channels of operator `at` get weights of 0."""
    ops = list(graph.ops)
    op = ops[at]
    weights, biases = op.weights.copy(), op.bias.copy()
    if isinstance(op, QConv):
        weights[channels] = 0
    else:
        weights[..., channels] = 0
    biases[channels] = bias
    ops[at] = replace(op, weights=weights, bias=biases)
    return replace(graph, ops=tuple(ops))


def test_a_network_without_dead_channels_is_left_alone() -> None:
    _, graph = chain()
    assert without_dead_channels(graph) is graph


def test_channels_go_in_fours_where_they_come_in_fours() -> None:
    _, graph = chain()
    for count, left in ((1, 8), (3, 8), (4, 4), (7, 4), (8, 4)):
        pruned_graph = with_constant(graph, 1, list(range(count)))
        reduced = without_dead_channels(pruned_graph)
        assert [t.channels for t in reduced.tensors[1:3]] == [left, left]
        check_the_same(pruned_graph, reduced, count)
    _, odd = chain(channels=7)
    reduced = without_dead_channels(with_constant(odd, 1, [2]))
    assert [t.channels for t in reduced.tensors[1:3]] == [6, 6]
    assert without_dead_channels(with_constant(odd, 1, list(range(7)))).tensors[1].channels == 1


def test_what_only_a_dead_channel_reads_is_dead() -> None:
    """Channels 0 to 3 vary before the depthwise convolution, which makes nothing of them."""
    _, graph = chain()
    reduced = without_dead_channels(with_constant(graph, 1, [0, 1, 2, 3]))
    first, second = reduced.tensors[1], reduced.tensors[2]
    assert first.live is not None
    assert second.live is not None
    assert first.live.codes.tolist() == [LiveChannels.UNKNOWN] * 4 + [LiveChannels.LIVE] * 4
    assert (second.live.codes[:4] == second.zero_point).all()


def test_a_constant_beside_padding_is_no_constant() -> None:
    """Unless it is what the padding is."""
    for pad, bias, left in ((True, 4000, 8), (False, 4000, 4), (True, 0, 4)):
        _, graph = chain(pad=pad)
        graph = with_constant(graph, 0, [0, 1, 2, 3], bias)
        reduced = without_dead_channels(graph)
        assert reduced.tensors[1].channels == left, (pad, bias)
        check_the_same(graph, reduced, 1)


def test_half_of_visual_wake_words_is_left_out() -> None:
    graph = lower(load(network(VWW)))
    reduced = without_dead_channels(graph)
    assert (macs(graph), macs(reduced)) == (7_489_664, 3_766_476)
    check_the_same(graph, reduced, 1)
    assert compile_model(network(VWW)).report["left_out_macs"] == macs(graph) - macs(reduced)


def test_layers_are_compared_with_all_their_channels() -> None:
    """Each layer of the blob has the model's shape, and equals TensorFlow Lite Micro's."""
    with contextlib.ExitStack() as resources:
        ours, theirs = (
            open_side(f"{network(VWW)}@{place}", resources, no_progress)
            for place in ("host", "tflm")
        )
        graph = lower(load(network(VWW)))
        inputs = [x[None] for x in random_inputs(graph, 5)]
        found = compare_inputs(ours, theirs, [(inputs, inputs)])
    assert found.exact
    assert found.parted is None
    shapes = {layer.layer.name: layer.layer.shape for layer in found.layers}
    whole = {
        tensor.name: (tensor.height, tensor.width, tensor.channels) for tensor in graph.tensors
    }
    assert len(shapes) > 15
    assert all(shapes[name] == whole[name] for name in shapes if name in whole)


def _code(values: list[int]) -> str:
    return base64.b64encode(zlib.compress(np.array(values, "<i2").tobytes())).decode()


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ([], "channels is not an object"),
        ({"1": 3}, "channels of stage 1 are not a string"),
        ({"1": "?"}, "channels of stage 1: "),
        ({"1": base64.b64encode(b"no stream").decode()}, "channels of stage 1: "),
        ({"1": base64.b64encode(zlib.compress(b"odd")).decode()}, "their length is wrong"),
        ({"1": base64.b64encode(zlib.compress(bytes(1 << 20))).decode()}, "their length is wrong"),
        ({"one": _code([256])}, "channels of stage one: "),
        ({"1": _code([256])}, "channels of stage 1 do not fit it"),
        ({"99": _code([256] * 8)}, "channels of stage 99 do not fit it"),
    ],
)
def test_broken_metadata(channels: object, message: str) -> None:
    _, graph = chain()
    data = pack(graph, plan(graph), {"channels": channels})
    with pytest.raises(BlobError, match=message):
        parse_blob(data)


def test_metadata_of_a_reduced_network() -> None:
    _, graph = chain()
    reduced = without_dead_channels(with_constant(graph, 1, [0, 1, 2, 3]))
    data = pack(reduced, plan(reduced), {})
    blob = parse_blob(data)
    found = {blob.stage_names[stage]: codes for stage, codes in blob.stage_channels.items()}
    for tensor in reduced.tensors:
        if tensor.name in found:
            assert tensor.live is not None
            np.testing.assert_array_equal(found[tensor.name].codes, tensor.live.codes)
    offset, size = HEADER.unpack_from(data)[-5:-3]
    assert json.loads(data[offset : offset + size]) == unpack_metadata(data)
