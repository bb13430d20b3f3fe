# SPDX-License-Identifier: Apache-2.0
"""A line of which one byte in a thousand is changed, dropped or doubled, both ways: every upload
and every inference ends right.

``NARROWS_SLOW=1 python -m pytest tests/board/test_noise.py`` does 100 uploads and 1,000 inferences.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from figures import BOARD, NETWORKS

from link_proxy import Proxy, noise
from models import need
from narrows.boards import load_board
from narrows.link import firmware
from narrows.link.client import Client
from narrows.link.line import Line, open_port
from narrows.link.qemu import Qemu
from narrows.native import Run
from narrows.pack import pack
from narrows.planning.planner import plan
from random_graphs import random_graph

PATIENCE = 120.0
RATE = 1e-3 / 3


@pytest.mark.parametrize(
    ("uploads", "inferences"),
    [pytest.param(100, 1000, marks=pytest.mark.slow), (4, 40)],
    ids=["all", "some"],
)
def test_everything_ends_right(
    uploads: int, inferences: int, record_property: Callable[[str, object], None]
) -> None:
    need("arm-none-eabi-gcc", "qemu-system-arm")
    blob = NETWORKS["digits"].compiled()
    graph = random_graph(2)
    between = pack(graph, plan(graph), {})
    (info,) = blob.model.inputs
    rng = np.random.default_rng(0)
    run = Run(blob.model)
    board = load_board(BOARD)
    seconds = {}
    with Qemu(board, firmware.build(board)) as qemu:
        for name, rate in (("quiet", 0.0), ("noisy", RATE)):
            rates = {"drop": rate, "double": rate, "change": rate}
            with Proxy(qemu.url, noise(1, **rates), noise(2, **rates)) as proxy:
                port = open_port(proxy.url)
                client = Client(Line(port, "board", PATIENCE))
                few = name == "quiet"
                began = time.perf_counter()
                for _ in range(4 if few else uploads):
                    client.upload(between)
                    client.upload(blob.data)
                    standing = client.model()
                    assert standing is not None
                    assert standing.is_blob(blob.data)
                for i in range(40 if few else inferences):
                    inputs = [rng.integers(-128, 128, info.shape).astype(np.int8)]
                    infer = client.infer if i % 4 == 0 else client.infer_whole
                    (output,) = infer(blob.model, inputs)
                    np.testing.assert_array_equal(output, run.infer(inputs)[0])
                took = time.perf_counter() - began
                seconds[name] = took / (44 if few else uploads + inferences)
                assert proxy.most_in_flight <= client.hello.credit
                status = client.status()
                assert status.overruns == 0
                assert (status.bad_frames > 0) == (rate > 0)
                port.close()
    record_property(
        "1 byte in 1,000 damaged both ways",
        f"{seconds['noisy'] / seconds['quiet']:.1f} times slower than a quiet line",
    )
