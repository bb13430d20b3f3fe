# SPDX-License-Identifier: Apache-2.0
"""A step is bounded: the header says by how much, no blob has more, and Ctrl-C need not wait
for a whole inference."""

from __future__ import annotations

import signal
import struct
from pathlib import Path

import numpy as np
import pytest

from hostile_blobs import one_output_often, outputs_handed_out, repaired, sealed, shared_case, whole
from narrows import native
from narrows.errors import BlobError, PlanError
from narrows.native import MAX_STEP_WORK, Model, Run, Status
from narrows.pack import pack
from narrows.planning.planner import plan
from narrows.stages.records import HEADER, TENSOR
from narrows.stages.stage import Stage
from random_graphs import GraphBuilder, random_graph

WORK_AT = 44
TINY = Path(__file__).resolve().parents[1] / "golden" / "tiny-3.0.nrw"


def test_the_bound_is_the_header_s() -> None:
    assert native.load()[1].NRW_MAX_STEP_WORK == MAX_STEP_WORK


def refused(blob: bytes, offset: int) -> None:
    with pytest.raises(BlobError, match=rf"out of range.*\(byte {offset}\)") as caught:
        Model(blob)
    assert (caught.value.status, caught.value.offset) == (Status.ERR_STRUCTURE, offset)


@pytest.mark.parametrize("change", [-1, 1])
def test_a_header_that_says_something_else(change: int) -> None:
    graph = random_graph(5)
    blob = pack(graph, plan(graph), None)
    (work,) = struct.unpack_from("<I", blob, WORK_AT)
    assert Model(blob).max_step_work == work
    refused(sealed(blob, work + change), WORK_AT)


def with_kernel(height: int, width: int, kernel: int) -> bytes:
    """Maxima over windows of one row, a row at a time, as ``pool_128K.nrw`` has them."""
    build = GraphBuilder(np.random.default_rng(0))
    pooled = build.pool(build.input(height, width, 1), False, (1, kernel), (1, 1))
    graph = build.graph([pooled])
    return pack(graph, whole(graph, Stage((0,), width)), None)


def test_a_wide_window_is_work() -> None:
    blob = with_kernel(1, 5000, 4999)
    assert Model(blob).max_step_work == 5000 * (4999 + 1) + 2 + 4
    refused(sealed(blob, 0), WORK_AT)


def test_more_work_than_any_step_may_have() -> None:
    """3e9 operations in a step are refused, and by the packer with the operator's name."""
    blob = shared_case("pool_128K.nrw")
    tensors = struct.unpack_from("<H", blob, 32)[0]
    refused(blob, HEADER.size + TENSOR.size * tensors + 36)
    with pytest.raises(PlanError, match="t1: one firing of it computes more than"):
        with_kernel(1, 50000, 49999)


def test_a_blob_of_format_2_is_refused_before_anything_else() -> None:
    old = bytearray(TINY.read_bytes())
    old[4] = 2
    with pytest.raises(BlobError, match=r"another version .*; compile the model anew") as caught:
        Model(bytes(old))
    assert caught.value.status == Status.ERR_VERSION


def test_ctrl_c_ends_an_inference_before_its_end() -> None:
    """The signal comes a moment after it has begun; most of it is still to do then."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input(160, 160, 32)
    for _ in range(24):
        x = build.conv(x, 32, (3, 3))
    graph = build.graph([x])
    model = Model(pack(graph, plan(graph), None))
    run = Run(model)
    values = [np.zeros(model.inputs[0].shape, np.int8)]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            run.infer(values)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    last = model.stages[-1].output
    assert run.tensor_pixels(last) < 160 * 160
    assert run.infer(values)[0].shape == (160, 160, 32)


@pytest.mark.parametrize("laid", [outputs_handed_out, one_output_often])
def test_very_many_outputs(laid: object) -> None:
    assert callable(laid)
    model = Model(laid(30000))
    outputs = Run(model).infer([np.array([[[-3]]], np.int8)])
    assert len(outputs) == len(model.outputs) >= 30000
    assert {int(values.reshape(())) for values in outputs} == {-3}


@pytest.mark.parametrize(
    ("what", "field"), [("another output", "params"), ("the second", "params"), ("twice", "inputs")]
)
def test_an_output_stage_names_the_first_output_that_it_hands_out(what: str, field: str) -> None:
    blob = bytearray(outputs_handed_out(2))
    stages = HEADER.size + TENSOR.size * 3
    last = stages + 4 * 36
    if what == "twice":
        struct.pack_into("<H", blob, last + 8, 1)
        struct.pack_into("<I", blob, last + 16, 0)
    else:
        struct.pack_into("<I", blob, last + 16, 0 if what == "another output" else 3)
    with pytest.raises(BlobError) as caught:
        Model(repaired(bytes(blob)))
    assert caught.value.status == Status.ERR_STRUCTURE
    if field == "params":
        assert caught.value.offset == last + 16


def test_output_stages_are_the_last() -> None:
    blob = bytearray(outputs_handed_out(2))
    stages = HEADER.size + TENSOR.size * 3
    third, fourth = (stages + i * 36 for i in (2, 3))
    lookup, output = blob[third : third + 36], blob[fourth : fourth + 36]
    blob[third : third + 36], blob[fourth : fourth + 36] = output, lookup
    struct.pack_into("<H", blob, HEADER.size + TENSOR.size * 2 + 14, 3)
    with pytest.raises(BlobError) as caught:
        Model(repaired(bytes(blob)))
    assert (caught.value.status, caught.value.offset) == (Status.ERR_STRUCTURE, fourth)
