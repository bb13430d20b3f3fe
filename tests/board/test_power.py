# SPDX-License-Identifier: Apache-2.0
"""Boards that are reset in the midst of updates: after each the old model runs or the new one.

``NARROWS_SLOW=1 python -m pytest tests/board/test_power.py`` does it 200 times each.
"""

from __future__ import annotations

import contextlib
import threading
from random import Random

import numpy as np
import pytest
from figures import NETWORKS

from models import need
from narrows.boards import load_board
from narrows.errors import LinkError
from narrows.link import firmware
from narrows.link.client import Client
from narrows.link.line import Line, open_port
from narrows.link.qemu import Qemu
from narrows.native import Model, Run
from narrows.pack import pack
from narrows.planning.planner import plan
from random_graphs import GraphBuilder

PATIENCE = 120.0
LONGEST_DELAY = 0.01  # seconds: some pieces of a blob, and what is written of them


def blobs() -> list[bytes]:
    """The digits, and a network of another size."""
    build = GraphBuilder(np.random.default_rng(0))
    x = build.input(8, 8, 4)
    for _ in range(3):
        x = build.conv(x, 48)
    graph = build.graph([x])
    return [NETWORKS["digits"].compiled("microbit").data, pack(graph, plan(graph), {})]


class Gone(Exception):
    """The host has lost its board."""


class ResetInBetween:
    """Progress of an upload that resets the board at some moment, and ends with it."""

    def __init__(self, qemu: Qemu, random: Random) -> None:
        self._at = random.random() * 1.1
        self._timer = threading.Timer(random.random() * LONGEST_DELAY, qemu.reset)
        self._shares: list[float] = []

    def __call__(self, what: str, share: float) -> None:
        self._shares.append(share)
        if self._timer.finished.is_set():
            raise Gone
        if share >= self._at and not self._timer.is_alive():
            self._timer.start()

    def finish(self) -> bool:
        """The board has been reset. Returns whether the upload went on with an earlier one."""
        if not self._timer.is_alive() and not self._timer.finished.is_set():
            self._timer.start()
        self._timer.join()
        return bool(self._shares) and self._shares[0] > 0


def run(client: Client, blob: bytes) -> None:
    model = Model(blob)
    inputs = [np.full(info.shape, 5, np.int8) for info in model.inputs]
    for found, expected in zip(client.infer(model, inputs), Run(model).infer(inputs), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "resets", [pytest.param(200, marks=pytest.mark.slow), 12], ids=["all", "some"]
)
@pytest.mark.parametrize("name", ["microbit", "emcraft-sf2"])
def test_resets_in_the_midst_of_updates(name: str, resets: int) -> None:
    """Never neither, never a mix; and the update goes on where it was, more often than not."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    board = load_board(name)
    random = Random(f"{name} {resets}")
    old, new = blobs()
    survived = resumed = 0
    with Qemu(board, firmware.build(board)) as qemu:
        port = open_port(qemu.url)
        Client(Line(port, name, PATIENCE)).upload(old)
        for _ in range(resets):
            client = Client(Line(port, name, PATIENCE))
            progress = ResetInBetween(qemu, random)
            with contextlib.suppress(Gone, LinkError):
                client.upload(new, progress)
            resumed += progress.finish()
            client = Client(Line(port, name, PATIENCE))
            standing = client.model()
            assert standing is not None
            assert standing.runs
            is_old = standing.is_blob(old)
            assert is_old or standing.is_blob(new)
            run(client, old if is_old else new)
            survived += is_old
            if not is_old:
                old, new = new, old
        port.close()
    assert 0 < survived < resets
    assert resumed > 0
