# SPDX-License-Identifier: Apache-2.0
"""Firmware that has a key: what nobody has signed with it does not run, however it came."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import need
from narrows.boards import load_board
from narrows.errors import LinkError
from narrows.link import firmware
from narrows.link.client import Client
from narrows.link.line import Line, open_port
from narrows.link.qemu import Qemu
from narrows.link.store import Update, image
from narrows.native import Model, Run
from narrows.signing import Signature, new_key, public_bytes, sign_blob, split_signed

BOARD = load_board("mps2-an386")


@pytest.fixture(scope="module")
def key() -> object:
    return new_key()


@pytest.fixture(scope="module")
def signed_only(key: object) -> Path:
    need("arm-none-eabi-gcc", "qemu-system-arm")
    return firmware.build(BOARD, key=public_bytes(key))  # type: ignore[arg-type]


@contextmanager
def board(firmware_: Path, contents: list[tuple[int, bytes]] | None = None) -> Iterator[Client]:
    with Qemu(BOARD, firmware_, contents or ()) as qemu:
        port = open_port(qemu.url)
        try:
            yield Client(Line(port, "board"))
        finally:
            port.close()


def signature_of(blob: bytes, key: object, counter: int = 0) -> Signature:
    _, signature = split_signed(sign_blob(blob, key, counter))  # type: ignore[arg-type]
    assert signature is not None
    return signature


def test_signed_models_alone_are_taken(signed_only: Path, key: object, digits_blob: Path) -> None:
    blob = digits_blob.read_bytes()
    model = Model(blob)
    inputs = [np.zeros(info.shape, np.int8) for info in model.inputs]
    good = signature_of(blob, key, 3)
    other = bytearray(blob)
    other[-20] ^= 1
    with board(signed_only) as client:
        assert client.hello.signed_only
        refused = (
            None,
            signature_of(blob, new_key(), 3),
            signature_of(bytes(other), key, 3),
            replace(good, counter=4),
            replace(good, signature=bytes(64)),
        )
        for signature in refused:
            with pytest.raises(LinkError, match="signed with its key"):
                client.upload(blob, signature=signature)
            assert client.model() is None
        client.upload(blob, signature=good)
        for _ in range(2):
            standing = client.model()
            assert standing is not None
            assert standing.runs
            assert standing.counter == 3
            (output,) = client.infer(model, inputs)
            assert np.array_equal(output, Run(model).infer(inputs)[0])
            client.reboot()
        # The model that runs stays while others are refused, and so do older ones with a signature.
        for signature in refused:
            with pytest.raises(LinkError, match=r"signed with its key|counter is lower"):
                client.upload(blob, signature=signature)
        with pytest.raises(LinkError, match="counter is lower"):
            client.upload(blob, signature=signature_of(blob, key, 2))
        assert client.model() == standing


def test_what_a_programmer_has_written_must_be_signed_too(
    signed_only: Path, key: object, digits_blob: Path
) -> None:
    blob = digits_blob.read_bytes()
    good = signature_of(blob, key)
    for signature, runs in ((b"", False), (good.signature, True), (bytes(64), False)):
        update = Update.of(blob, "digits", 0, signature)
        with board(signed_only, image(BOARD.models, blob, update)) as client:
            assert (client.model() is not None) == runs


def test_firmware_without_a_key_takes_both(key: object, digits_blob: Path) -> None:
    need("arm-none-eabi-gcc", "qemu-system-arm")
    blob = digits_blob.read_bytes()
    with board(firmware.build(BOARD)) as client:
        assert not client.hello.signed_only
        for signature in (None, signature_of(blob, key)):
            client.upload(blob, signature=signature)
            assert client.model() is not None
