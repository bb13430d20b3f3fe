# SPDX-License-Identifier: Apache-2.0
"""Streaming networks on a board with 64 KiB of RAM: TFLite Micro's bytes, frame after frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from models import need, network
from narrows.compiler import CompileOptions, compile_model
from narrows.errors import LinkError
from narrows.link import open_target
from narrows.link.target import BoardTarget
from narrows.native import Model, Run
from oracle import Oracle
from streams import WAKE_WORDS, features, wake_word

BOARD = "mps2-an386-64k"
FRAMES = 200


@pytest.fixture(scope="module", params=WAKE_WORDS)
def board(request: pytest.FixtureRequest) -> Iterator[tuple[str, BoardTarget]]:
    need("qemu-system-arm", "arm-none-eabi-gcc")
    blob = compile_model(wake_word(request.param)).blob
    with open_target(f"qemu:{BOARD}", blob) as target:
        assert isinstance(target, BoardTarget)
        yield request.param, target


def test_wake_words(board: tuple[str, BoardTarget]) -> None:
    name, target = board
    oracle = Oracle(wake_word(name).read_bytes())
    for number, frame in enumerate(features(np.random.default_rng(5), FRAMES)):
        (expected,) = oracle.run([frame])
        (found,) = target.infer([frame], goes_on=number > 0).outputs
        assert expected.item() - 128 == found.item(), number


def test_what_goes_on_has_begun(board: tuple[str, BoardTarget]) -> None:
    """After a reset there is nothing to go on with, and the device says so instead of beginning."""
    _, target = board
    model, frames = target._model, features(np.random.default_rng(6), 6)
    target.client.reset()
    with pytest.raises(LinkError, match="run"):
        target.infer([frames[0]], goes_on=True)
    by_rows = [target.infer([f], goes_on=i > 0).outputs[0].item() for i, f in enumerate(frames)]
    whole = [
        target.client.infer_whole(model, [f], goes_on=i > 0)[0].item() for i, f in enumerate(frames)
    ]
    assert whole == by_rows


def test_windows_as_a_stream() -> None:
    """What was compiled with --stream goes on on a board as on the host."""
    need("qemu-system-arm", "arm-none-eabi-gcc")
    blob = compile_model(network("mlperf_kws_int8"), CompileOptions(stream=2)).blob
    run = Run(Model(blob))
    rows = np.random.default_rng(7).integers(-128, 128, (30, 2, 10, 1)).astype(np.int8)
    with open_target(f"qemu:{BOARD}", blob) as target:
        for number, new in enumerate(rows):
            (found,) = target.infer([new], goes_on=number > 0).outputs
            (expected,) = run.infer([new], goes_on=number > 0)
            np.testing.assert_array_equal(found, expected)
