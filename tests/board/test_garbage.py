# SPDX-License-Identifier: Apache-2.0
"""A board in QEMU that gets garbage: random bytes, and frames with right checksums around random
requests, faster than it reads them. It neither stops nor stays silent, and works on.

``NARROWS_SLOW=1 python -m pytest tests/board/test_garbage.py`` sends a million bytes.
"""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from figures import BOARD, NETWORKS

from models import need
from narrows.boards import load_board
from narrows.link import firmware
from narrows.link.client import Client
from narrows.link.frames import Frame, Type, encode_frame
from narrows.link.line import Line, open_port
from narrows.link.qemu import Qemu
from narrows.native import Run

PATIENCE = 120.0
BURST_BYTES = 4096
UPDATE_BYTES = 144  # of a BLOB_BEGIN


def garbage(random: Random) -> bytes:
    """Bytes, or requests of any type and length. Those that reset the chip or change the rate
    would end the test's own line; a well-formed BLOB_BEGIN is no garbage: of a blob that takes both
    slots, it ends the model."""
    if random.random() < 0.5:
        return random.randbytes(random.randrange(1, 400))
    types = [type_ for type_ in range(256) if type_ not in (Type.BAUD, Type.REBOOT)]
    type_ = random.choice([random.choice(types), Type.BLOB_DATA, Type.START, Type.ROW, Type.INPUT])
    size = random.choice([0, 1, 4, 5, 9, 12, 32, random.randrange(268)])
    size += type_ == Type.BLOB_BEGIN and size == UPDATE_BYTES
    return encode_frame(Frame(type_, random.randrange(1 << 16), random.randbytes(size)))


@pytest.mark.parametrize(
    "count", [pytest.param(1_000_000, marks=pytest.mark.slow), 150_000], ids=["all", "some"]
)
def test_a_board_survives_garbage(count: int) -> None:
    need("arm-none-eabi-gcc", "qemu-system-arm")
    blob = NETWORKS["digits"].compiled()
    inputs = [np.full(blob.model.inputs[0].shape, 7, np.int8)]
    (expected,) = Run(blob.model).infer(inputs)
    random = Random(count)
    board = load_board(BOARD)
    sent = 0
    with Qemu(board, firmware.build(board)) as qemu:
        port = open_port(qemu.url)
        Client(Line(port, "board", PATIENCE)).upload(blob.data)
        while sent < count:
            burst = b""
            while len(burst) < BURST_BYTES:
                burst += garbage(random)
            port.write(burst)
            sent += len(burst)
            client = Client(Line(port, "board", PATIENCE))
            client.ping()
        standing = client.model()
        assert standing is not None
        assert standing.is_blob(blob.data)
        client.reset()
        (output,) = client.infer(blob.model, inputs)
        np.testing.assert_array_equal(output, expected)
        status = client.status()
        assert status.bad_frames > 0
        port.close()
