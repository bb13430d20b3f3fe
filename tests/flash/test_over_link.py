# SPDX-License-Identifier: Apache-2.0
"""narrows flash over the link: a new model for firmware that runs, and every refusal."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from machines import terminal

from conftest import Narrows
from models import need
from narrows.blob import read_blob
from narrows.boards import load_board
from narrows.compiler import CompileOptions, compile_model
from narrows.errors import BlobError, LinkError
from narrows.flash.over_link import Update, connect, write_model
from narrows.link import firmware, frames, open_target
from narrows.link.frames import ANSWER, Decoder, Frame, LinkStatus, Type, encode_frame
from narrows.link.line import open_port
from narrows.link.qemu import Qemu
from narrows.models import DIGITS_INT8
from narrows.native import Layout, Run
from narrows.planning import PlanOptions
from narrows.signing import new_key, public_bytes, sign_blob

BOARD = "mps2-an386"


@pytest.fixture(scope="module")
def image() -> Path:
    need("arm-none-eabi-gcc", "qemu-system-arm")
    return firmware.build(load_board(BOARD))


@pytest.fixture
def url(image: Path) -> Iterator[str]:
    with Qemu(load_board(BOARD), image) as qemu:
        yield qemu.url


def signed(blob: Path, folder: Path, counter: int) -> Path:
    path = folder / f"signed-{counter}.nrw"
    path.write_bytes(sign_blob(blob.read_bytes(), new_key(), counter))
    return path


def test_a_model_is_written_once_and_runs(narrows: Narrows, url: str, digits_blob: Path) -> None:
    blob = read_blob(digits_blob)
    for written in (len(blob.data), 0):
        arguments = ("flash", digits_blob, "--port", url, "--board", BOARD, "--json", "-")
        done = narrows(*arguments)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert report["written_bytes"] == written
        assert report["via"] == report["checked"] == "link"
        assert ("is there already" in done.stderr) is (written == 0)
        assert f"compile the model with --board {BOARD}" in done.stderr
    with open_target(f"serial:{url}", blob.data) as target:
        inputs = [np.zeros(blob.model.inputs[0].shape, np.int8)]
        result = target.infer(inputs)
    np.testing.assert_array_equal(result.outputs[0], Run(blob.model).infer(inputs)[0])


def test_the_board_may_go_unnamed(narrows: Narrows, url: str, digits_blob: Path) -> None:
    done = narrows("flash", digits_blob, "--port", url)
    assert done.returncode == 0
    assert done.stdout.startswith(f"{BOARD}: model ")


def test_another_board_is_refused(narrows: Narrows, url: str, digits_blob: Path) -> None:
    arguments = ("flash", digits_blob, "--port", url, "--board", "mps2-an385", "--via", "link")
    done = narrows(*arguments)
    assert done.returncode == 1
    assert f"{url}: this is a board 'mps2-an386', not 'mps2-an385'" in done.stderr
    with connect(url) as client:
        assert client.model() is None
    assert narrows(*arguments, "--force").returncode == 0
    with connect(url) as client:
        assert client.model() is not None


class Gone(Exception):
    """The host is not there any more."""


def test_it_goes_on_where_it_was_broken_off(url: str, digits_blob: Path) -> None:
    update = Update(read_blob(digits_blob), "digits", load_board(BOARD))

    def break_off(what: str, share: float) -> None:
        if share > 0.5:
            raise Gone

    shares: list[float] = []
    with pytest.raises(Gone), connect(url) as client:
        write_model(client, update, break_off)
    with connect(url) as client:
        assert write_model(client, update, lambda what, share: shares.append(share))
    assert shares[0] > 0.45


def test_counters_of_signed_models(
    narrows: Narrows, url: str, digits_blob: Path, tmp_path: Path
) -> None:
    """Kept with the model; an older one is refused before it is sent."""
    new, old = (signed(digits_blob, tmp_path, counter) for counter in (7, 6))
    assert narrows("flash", new, "--port", url).returncode == 0
    with connect(url) as client:
        standing = client.model()
    assert standing is not None
    assert standing.counter == 7
    done = narrows("flash", old, "--port", url)
    assert done.returncode == 1
    assert f"has a model with counter 7, and {old} has 6, so it is older" in done.stderr
    assert done.stderr.count("\n") == 1
    # Without a signature the counter stays what it was.
    assert narrows("flash", digits_blob, "--port", url).returncode == 0


def test_firmware_with_a_key_takes_its_owner_s_models_alone(
    narrows: Narrows, digits_blob: Path, tmp_path: Path
) -> None:
    key = new_key()
    mine, other = tmp_path / "mine.nrw", tmp_path / "other.nrw"
    mine.write_bytes(sign_blob(digits_blob.read_bytes(), key, 1))
    other.write_bytes(sign_blob(digits_blob.read_bytes(), new_key(), 1))
    board = load_board(BOARD)
    with Qemu(board, firmware.build(board, key=public_bytes(key))) as qemu:
        for path, words in (
            (digits_blob, f"takes signed models alone, and {digits_blob} has no signature"),
            (other, "takes models alone that are signed with its key"),
        ):
            done = narrows("flash", path, "--port", qemu.url)
            assert done.returncode == 1
            assert f"{qemu.url}: the board {words}" in done.stderr
        assert narrows("flash", mine, "--port", qemu.url).returncode == 0


def test_another_layout_is_refused(narrows: Narrows, url: str, tmp_path: Path) -> None:
    path = tmp_path / "blocked.nrw"
    options = CompileOptions(PlanOptions(layout=Layout.BLOCKED))
    path.write_bytes(compile_model(DIGITS_INT8, options).blob)
    done = narrows("flash", path, "--port", url)
    assert done.returncode == 1
    assert "weights are in the blocked layout" in done.stderr
    assert "compile the model with --layout plain" in done.stderr


# --- Devices that are none ------------------------------------------------------------------------


def device(replies: Callable[[Frame], bytes | None]) -> str:
    """What it says is what ``replies`` makes of each request; None: it closes the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        connection, _ = listener.accept()
        decoder = Decoder()
        with connection, listener:
            while data := connection.recv(4096):
                for frame in decoder.feed(data):
                    reply = replies(frame)
                    if reply is None:
                        return
                    connection.sendall(reply)

    threading.Thread(target=run, daemon=True).start()
    return f"socket://127.0.0.1:{listener.getsockname()[1]}"


def scripted(
    answers: dict[Type, bytes | None],
    room: int = 1 << 20,
    beside: int = 1 << 19,
    arena: int = 1 << 20,
    flags: int = 0,
    version: int = 3,
) -> str:
    sizes = (1024, 1, arena, 1000, room, beside, 1 << 20, 1 << 20)
    hello = struct.pack("<hBBH8IBB", 0, frames.MAJOR, 0, 280, *sizes, flags, version)
    texts = b"".join(bytes([len(text)]) + text for text in (b"1.0", b"scripted", b"none"))

    def reply(frame: Frame) -> bytes | None:
        payload = answers.get(Type(frame.type), b"\0\0")
        if frame.type == Type.HELLO:
            payload = hello + texts
        if payload is None:
            return None
        return encode_frame(Frame(frame.type | ANSWER, frame.number, payload))

    return device(reply)


NO_MODEL = struct.pack("<h", LinkStatus.ERR_NO_MODEL) + bytes(98)


def status(code: LinkStatus) -> bytes:
    return struct.pack("<h", code)


def refusal(url: str, blob: Path) -> str:
    """What the user is told."""
    with pytest.raises((LinkError, BlobError)) as caught, connect(url) as client:
        write_model(client, Update(read_blob(blob), blob.name))
    text = str(caught.value)
    assert text.startswith(url)
    assert "\n" not in text
    return text


def test_refusals_before_anything_is_written(digits_blob: Path) -> None:
    nothing: dict[Type, bytes | None] = {Type.MODEL: NO_MODEL, Type.BLOB_BEGIN: None}
    for url, words in (
        (scripted(nothing, flags=1), "takes signed models alone, and digits.nrw has no signature"),
        (scripted(nothing, version=2), "runs blobs of version 2, digits.nrw has 3"),
        (scripted(nothing, arena=64), "B of RAM, the board has 64 B for it"),
        (scripted(nothing, room=4096), "the board's flash has room for 4096"),
    ):
        assert words in refusal(url, digits_blob)


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (Type.BLOB_BEGIN, LinkStatus.ERR_UNTRUSTED, "that are signed with its key"),
        (Type.BLOB_BEGIN, LinkStatus.ERR_OLDER, "has a newer model"),
        (Type.BLOB_BEGIN, LinkStatus.ERR_SIZE, "has no room for this blob"),
        (Type.BLOB_DATA, LinkStatus.ERR_FLASH, "cannot write its flash"),
        (Type.BLOB_END, LinkStatus.ERR_HASH, "has received other bytes than were announced"),
    ],
)
def test_refusals_of_the_device(
    digits_blob: Path, request_: Type, code: LinkStatus, words: str
) -> None:
    size = len(digits_blob.read_bytes())
    answers: dict[Type, bytes | None] = {
        Type.MODEL: NO_MODEL,
        Type.BLOB_BEGIN: bytes(6),
        Type.BLOB_DATA: struct.pack("<hI", 0, size),
        request_: status(code) + bytes(4),
    }
    assert words in refusal(scripted(answers), digits_blob)


def test_a_device_that_keeps_another_model_is_found_out(digits_blob: Path) -> None:
    size = len(digits_blob.read_bytes())
    other = struct.pack("<hII", 0, 0, 77) + bytes(4 + 32 + 14) + b"other".ljust(40, b"\0")
    answers: dict[Type, bytes | None] = {
        Type.MODEL: other,
        Type.BLOB_BEGIN: bytes(6),
        Type.BLOB_DATA: struct.pack("<hI", 0, size),
    }
    assert "has another model, 'other', though all was written" in refusal(
        scripted(answers), digits_blob
    )


def test_a_port_that_vanishes(digits_blob: Path) -> None:
    answers: dict[Type, bytes | None] = {
        Type.MODEL: NO_MODEL,
        Type.BLOB_BEGIN: bytes(6),
        Type.BLOB_DATA: None,
    }
    text = refusal(scripted(answers), digits_blob)
    assert "the connection is gone" in text


def test_a_large_model_s_risk_is_said(narrows: Narrows, digits_blob: Path) -> None:
    """It takes the old one's place from its first byte on."""
    url = scripted({Type.MODEL: NO_MODEL, Type.BLOB_BEGIN: None}, beside=8192)
    done = narrows("flash", digits_blob, "--port", url)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("narrows: warning: ")
    assert "old and new model do not both fit (8,192 B each): if power fails" in first
    assert "the connection is gone" in second


def test_two_hosts_on_one_port(narrows: Narrows, digits_blob: Path) -> None:
    with terminal() as line:
        port = open_port(line.name)
        done = narrows("flash", digits_blob, "--port", line.name)
        port.close()
    assert done.returncode == 1
    assert f"{line.name}: cannot be opened" in done.stderr
    assert "in use" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_small_model_after_a_large_one_is_a_risk_too(digits_blob: Path) -> None:
    size = len(digits_blob.read_bytes())
    large = struct.pack("<hII", 0, 0, size + 1) + bytes(4 + 32 + 14) + b"large".ljust(40, b"\0")
    url = scripted({Type.MODEL: large, Type.BLOB_BEGIN: None}, beside=size)
    warned: list[str] = []
    with pytest.raises(LinkError), connect(url) as client:
        write_model(client, Update(read_blob(digits_blob), "digits"), warn=warned.append)
    assert len(warned) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--via", "link"), "--via link writes a model alone: give a BLOB"),
        (("--model-only", "--board", BOARD), "--model-only writes a model alone: give a BLOB"),
        (("BLOB", "--via", "link"), "--via link: give the board's --port"),
        (("BLOB",), "give --board"),
        (
            ("BLOB", "--board", BOARD, "--model-only", "--compiler", "zig"),
            "--model-only builds no firmware: leave out --compiler",
        ),
        (("BLOB", "--board", BOARD), "names no tool that writes it (flash.tools)"),
        (("BLOB", "--board", "microbit", "--via", "uf2"), "--via uf2: give pyocd or openocd"),
    ],
)
def test_wrong_usage(
    narrows: Narrows, digits_blob: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = narrows("flash", *(str(digits_blob) if word == "BLOB" else word for word in arguments))
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_at_the_port(narrows: Narrows, digits_blob: Path) -> None:
    done = narrows("flash", digits_blob, "--port", "/dev/nowhere")
    assert done.returncode == 1
    assert "/dev/nowhere: cannot be opened" in done.stderr
