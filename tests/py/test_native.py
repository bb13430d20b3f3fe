# SPDX-License-Identifier: Apache-2.0
"""The wrapper says what the C header says, and refuses what the runtime refuses."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from narrows import native
from narrows.errors import BlobError, InputError, UsageError
from narrows.native import Form, Layout, Model, Op, Run, Status
from narrows.pack import pack
from narrows.planning import PlanOptions
from narrows.planning.planner import plan
from random_graphs import random_graph


def c_enum(name: str, prefix: str) -> dict[str, int]:
    ffi, _ = native.load()
    return {
        key.removeprefix(prefix): value
        for key, value in ffi.typeof(f"enum {name}").relements.items()
    }


@pytest.mark.parametrize(
    ("enum", "name", "prefix"),
    [
        (Status, "nrw_status", "NRW_"),
        (Op, "nrw_op", "NRW_OP_"),
        (Form, "nrw_form", "NRW_"),
        (Layout, "nrw_layout", "NRW_LAYOUT_"),
    ],
)
def test_enums_equal_the_header(enum: type[IntEnum], name: str, prefix: str) -> None:
    expected = c_enum(name, prefix)
    expected = {name: value for name, value in expected.items() if not name.endswith("COUNT")}
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


def in_threads(count: int, work: Callable[[int], object]) -> list[object]:
    """What each thread's work returns; they begin together."""
    together = Barrier(count)

    def begin(number: int) -> object:
        together.wait(timeout=60)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return [task.result(timeout=300) for task in [pool.submit(begin, n) for n in range(count)]]


def many_inputs(model: Model, count: int) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(1)
    shapes = [info.shape for info in model.inputs]
    return [
        [rng.integers(-128, 128, shape).astype(np.int8) for shape in shapes] for _ in range(count)
    ]


@pytest.mark.parametrize("shared", [True, False], ids=["one run", "a run each"])
def test_four_threads_get_the_right_bytes(blob: bytes, shared: bool) -> None:
    """With one run each waits for the others; with one model they run side by side."""
    model = Model(blob)
    run = Run(model)
    inputs = many_inputs(model, 4)
    expected = [run.infer(values) for values in inputs]

    def work(number: int) -> int:
        own = run if shared else Run(model)
        wrong = 0
        for turn in range(50):
            found = own.infer(inputs[number], measure=turn == 0)
            pairs = zip(found, expected[number], strict=True)
            wrong += not all(np.array_equal(a, b) for a, b in pairs)
        return wrong

    assert in_threads(4, work) == [0] * 4


def test_another_thread_cannot_go_on_with_an_inference(blob: bytes) -> None:
    """But it can begin anew, and then the first one is refused."""
    run = Run(Model(blob))
    assert run.step() == Status.NEED_ROW

    def others(_: int) -> Status:
        for method in (run.step, run.due_bytes, run.take_row, run.last_stage):
            with pytest.raises(UsageError, match="another thread has begun an inference"):
                method()
        run.start()
        return run.step()

    assert in_threads(1, others) == [Status.NEED_ROW]
    with pytest.raises(UsageError, match="make a Run for each thread"):
        run.step()
    run.start()
    assert run.step() == Status.NEED_ROW


def test_four_threads_step_one_run(blob: bytes) -> None:
    """One of them comes to the end with the right bytes, or none; the others are refused."""
    model = Model(blob)
    run = Run(model)
    (values,) = many_inputs(model, 1)
    expected = run.infer(values)

    def work(_: int) -> bool:
        pushed = [0] * len(values)
        run.start()
        try:
            while (status := run.step()) != Status.DONE:
                if status == Status.NEED_ROW:
                    wanted = run.wanted_input()
                    run.push_row(values[wanted][pushed[wanted]])
                    pushed[wanted] += 1
            outputs = [run.output(i) for i in range(len(expected))]
        except UsageError:
            return False
        assert all(np.array_equal(a, b) for a, b in zip(outputs, expected, strict=True))
        return True

    assert True in in_threads(4, work)
    run.start()
    run.check_guards()


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


def test_the_host_has_kernels_for_every_layout() -> None:
    assert native.layouts() == tuple(Layout)


@pytest.mark.parametrize("layout", Layout)
def test_the_host_has_the_kernels_of_its_processor(layout: Layout) -> None:
    library = ctypes.CDLL(str(Path(native.__file__).with_name("_runtime.so")))
    machines = {"x86_64": "avx2", "AMD64": "avx2", "aarch64": "neon", "arm64": "neon"}
    kernels = machines.get(platform.machine(), "c")
    assert hasattr(library, f"nrw_kernels_{layout.name.lower()}_{kernels}")


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from narrows.errors import ToolError

    native.load.cache_clear()
    monkeypatch.setattr(native, "__file__", str(tmp_path / "__init__.py"))
    for name in native.HEADERS:
        (tmp_path / name).write_text("/* cffi: begin */ /* cffi: end */")
    with pytest.raises(ToolError, match="pip install"):
        native.layouts()
    monkeypatch.undo()
    native.load.cache_clear()
