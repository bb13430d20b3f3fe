# SPDX-License-Identifier: Apache-2.0
"""Streaming networks on a board with 64 KiB of RAM: TFLite Micro's bytes, frame after frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from models import need
from narrows.compile import compile_model
from narrows.errors import LinkError
from narrows.link import open_target
from narrows.link.target import BoardTarget
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
