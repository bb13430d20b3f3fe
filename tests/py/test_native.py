# SPDX-License-Identifier: Apache-2.0
"""The wrapper says what the C header says, and refuses what the runtime refuses."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest

from narrows import native
from narrows.errors import BlobError, InputError
from narrows.native import Model, Op, Run, Status
from narrows.pack import pack
from narrows.plan import PlanOptions
from narrows.plan.planner import plan
from random_graphs import random_graph


def c_enum(name: str, prefix: str) -> dict[str, int]:
    ffi, _ = native.load()
    return {
        key.removeprefix(prefix): value
        for key, value in ffi.typeof(f"enum {name}").relements.items()
    }


@pytest.mark.parametrize(
    ("enum", "name", "prefix"), [(Status, "nrw_status", "NRW_"), (Op, "nrw_op", "NRW_OP_")]
)
def test_enums_equal_the_header(enum: type[IntEnum], name: str, prefix: str) -> None:
    expected = c_enum(name, prefix)
    expected.pop("COUNT", None)
    assert {member.name: member.value for member in enum} == expected


def test_every_failure_has_a_line() -> None:
    for status in Status:
        if status < 0:
            assert "status" not in native.describe(status)


@pytest.fixture
def blob() -> bytes:
    graph = random_graph(3, size=5)
    return pack(graph, plan(graph), {})


@pytest.fixture
def streamed() -> bytes:
    graph = random_graph(3, size=5)
    return pack(graph, plan(graph, PlanOptions(streamed_outputs=(0,))), {})


def inputs_for(model: Model) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(-128, 128, info.shape).astype(np.int8) for info in model.inputs]


def by_steps(model: Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The same inference through the step interface."""
    run = Run(model)
    outputs = [np.zeros(info.shape, np.int8) for info in model.outputs]
    pushed = [0] * len(inputs)
    while (status := run.step()) != Status.DONE:
        if status == Status.NEED_ROW:
            wanted = run.wanted_input()
            run.push_row(inputs[wanted][pushed[wanted]])
            pushed[wanted] += 1
        elif status == Status.HAVE_ROW:
            row = run.take_row()
            outputs[row.output][row.row] = row.values
    for i in range(len(outputs)):
        if (whole := run.output(i)) is not None:
            outputs[i] = whole
    run.check_guards()
    return outputs


def test_infer_equals_steps(blob: bytes, streamed: bytes) -> None:
    model = Model(blob)
    model.verify()
    inputs = inputs_for(model)
    expected = Run(model).infer(inputs)
    for other in (model, Model(streamed)):
        for a, b in zip(by_steps(other, inputs), expected, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(Run(other).infer(inputs, measure=True), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_measured(blob: bytes) -> None:
    model = Model(blob)
    run = Run(model)
    run.infer(inputs_for(model), measure=True)
    assert len(run.measured.stage_seconds) == len(model.stages)
    assert all(seconds >= 0 for seconds in run.measured.stage_seconds)
    assert 100 < run.measured.stack_bytes < 8192


def test_pixels_of_tensors_can_be_looked_at(blob: bytes) -> None:
    model = Model(blob)
    run = Run(model)
    inputs = inputs_for(model)
    outputs = run.infer(inputs)
    last = model.stages[-1].output
    pixels = model.tensors[last].height * model.tensors[last].width
    assert run.tensor_pixels(last) == pixels
    pixel = run.tensor_pixel(last, pixels - 1)
    assert pixel is not None
    assert any(np.array_equal(pixel, values[-1, -1]) for values in outputs)
    assert run.tensor_pixel(last, pixels) is None


def test_a_row_nobody_asked_for(blob: bytes) -> None:
    model = Model(blob)
    run = Run(model)
    with pytest.raises(BlobError, match="out of order"):
        run.push_row(np.zeros(model.inputs[0].shape[1:], np.int8))


def test_a_row_that_does_not_fit(blob: bytes) -> None:
    run = Run(Model(blob))
    assert run.step() == Status.NEED_ROW
    with pytest.raises(InputError, match="a row of input 0 is"):
        run.push_row(np.zeros(3, np.int8))


def test_inputs_that_do_not_fit(blob: bytes) -> None:
    model = Model(blob)
    with pytest.raises(InputError, match="inputs, not 0"):
        Run(model).infer([])
    wrong = [values.astype(np.int16) for values in inputs_for(model)]
    with pytest.raises(InputError, match="int16"):
        Run(model).infer(wrong)


@pytest.mark.parametrize(
    ("at", "status"),
    [
        (0, Status.ERR_MAGIC),
        (4, Status.ERR_VERSION),
        (76, Status.ERR_CRC),
    ],
)
def test_refusals(blob: bytes, at: int, status: Status) -> None:
    damaged = bytearray(blob)
    damaged[at] ^= 0xFF
    with pytest.raises(BlobError, match=r"x\.nrw: ") as caught:
        Model(damaged, "x.nrw")
    assert caught.value.status == status


def test_truncated(blob: bytes) -> None:
    with pytest.raises(BlobError) as caught:
        Model(blob[:-16])
    assert caught.value.status == Status.ERR_TRUNCATED


def test_a_damaged_body(blob: bytes) -> None:
    damaged = bytearray(blob)
    damaged[-1] ^= 1
    model = Model(damaged)
    with pytest.raises(BlobError, match="checksum") as caught:
        model.verify()
    assert caught.value.status == Status.ERR_CRC


def test_scratch_sizes_are_multiples_of_16() -> None:
    assert native.conv_scratch_bytes(0, 3, 3, 5, 7) % 16 == 0
    assert native.depthwise_scratch_bytes(0, 3, 3, 5) % 16 == 0
    assert native.accumulate_state_bytes(1, 3) == 16
    assert native.isa_classes() & 1


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from narrows.errors import ToolError

    native.load.cache_clear()
    monkeypatch.setattr(native, "__file__", str(tmp_path / "__init__.py"))
    for name in native.HEADERS:
        (tmp_path / name).write_text("/* cffi: begin */ /* cffi: end */")
    with pytest.raises(ToolError, match="pip install"):
        native.isa_classes()
    monkeypatch.undo()
    native.load.cache_clear()
