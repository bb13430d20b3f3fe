# SPDX-License-Identifier: Apache-2.0
"""The firmware on an emulated Raspberry Pi Pico: the host's bytes, and models in its flash."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
import serial
from test_board import firmware_with, words

from models import need, need_rp2040js, network
from narrows.boards import load_board
from narrows.compiler import compile_model
from narrows.graph.qgraph import Int8Array
from narrows.link import firmware
from narrows.link.client import Client
from narrows.link.frames import Decoder
from narrows.link.line import PATIENCE, Line, open_port
from narrows.link.rp2040js import Rp2040js
from narrows.link.store import Update
from narrows.link.store import image as store_image
from narrows.models import DIGITS_INT8
from narrows.native import Layout, Model, Run
from narrows.pack import pack
from narrows.planning import PlanOptions, random_plan
from narrows.planning.planner import plan
from narrows.quantization import reference
from random_graphs import random_graph

BOARD = "pico"


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    need("arm-none-eabi-gcc")
    need_rp2040js()


@pytest.fixture(scope="module")
def image() -> Path:
    return firmware.build(load_board(BOARD))


@contextlib.contextmanager
def client_of(image: Path, contents: Sequence[tuple[int, bytes]] = ()) -> Iterator[Client]:
    with Rp2040js(image, contents) as pico, contextlib.closing(open_port(pico.url)) as port:
        yield Client(Line(port, BOARD, PATIENCE))


def inputs_of(model: Model) -> list[Int8Array]:
    rng = np.random.default_rng(0)
    return [rng.integers(-128, 128, info.shape).astype(np.int8) for info in model.inputs]


def test_digits_are_the_host_s_bytes(image: Path) -> None:
    """Uploaded into its flash, and still there after a reset."""
    blob = compile_model(DIGITS_INT8).blob
    model = Model(blob)
    inputs = inputs_of(model)
    expected = Run(model).infer(inputs)
    with client_of(image) as client:
        client.upload(blob)
        counts = []
        for again in (False, False, True):
            if again:
                client.reboot()
            standing = client.model()
            assert standing is not None
            assert standing.is_blob(blob)
            for found, wanted in zip(client.infer(model, inputs), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
            counts.append(client.profile()[0])
        status = client.status()
    assert status.overruns == status.bad_frames == 0
    assert status.arena_bytes == model.arena_bytes
    # What the line's interrupts take meanwhile is all that differs.
    assert max(counts) - min(counts) < max(counts) / 500


@pytest.mark.parametrize("seed", range(3))
def test_random_graphs_and_plans(image: Path, seed: int) -> None:
    """Several inputs and outputs, rows in and rows out; unaligned accesses are faults here."""
    graph = random_graph(seed)
    rng = np.random.default_rng(seed)
    tensors = [graph.tensors[edge.tensor] for edge in graph.inputs]
    shapes = [(t.height, t.width, t.channels) for t in tensors]
    inputs = [rng.integers(-128, 128, shape).astype(np.int8) for shape in shapes]
    expected = reference.run(graph, inputs)
    everything = tuple(range(len(graph.outputs)))
    with client_of(image) as client:
        for planned in (
            plan(graph, PlanOptions(streamed_outputs=everything)),
            random_plan(graph, Random(seed), (Layout.PLAIN,)),
        ):
            blob = pack(graph, planned, None)
            client.upload(blob)
            outputs = client.infer(Model(blob), inputs)
            for found, wanted in zip(outputs, expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
        assert client.status().overruns == 0


def test_a_network_that_stands_in_its_flash(image: Path) -> None:
    blob = compile_model(network("mlperf_vww_96_int8")).blob
    model = Model(blob)
    inputs = inputs_of(model)
    contents = store_image(load_board(BOARD).models, blob, Update.of(blob, "vww"))
    with client_of(image, contents) as client:
        standing = client.model()
        assert standing is not None
        assert standing.is_blob(blob)
        outputs = client.infer(model, inputs)
    for found, wanted in zip(outputs, Run(model).infer(inputs), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_stack_that_overflows_is_seen(tmp_path: Path) -> None:
    """The core cannot save anything below the RAM, and locks up at the last byte above."""
    board = load_board(BOARD)
    decoder, frames = Decoder(), []
    with Rp2040js(firmware_with("overflow.c", board, tmp_path)) as pico:
        with contextlib.closing(open_port(pico.url)) as port:
            port.timeout = 300
            with contextlib.suppress(serial.SerialException):
                while data := port.read(1):
                    frames += decoder.feed(data)
        failure = pico.failure()
    used, lowest = zip(*map(words, frames), strict=True)
    assert list(used) == sorted(used)
    assert board.stack_bytes - 600 < used[-1] <= board.stack_bytes
    assert board.ram.base <= lowest[-1] < board.ram.base + 1000
    assert failure is not None
    assert "locked up: a write to 0x1fff" in failure
