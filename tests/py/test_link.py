# SPDX-License-Identifier: Apache-2.0
"""The line between host and board: the right answer or a clear error, whatever happens to the
bytes; the board's buffer is never overrun; QEMU never outlives its user."""

from __future__ import annotations

import os
import pty
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from conftest import missing
from link_proxy import Proxy, doubled_frames, lost_frames, noise
from narrows.boards import load_board, load_boards, read_board
from narrows.errors import BlobError, InputError, LinkError, NarrowsError, ToolError
from narrows.link import firmware, open_target
from narrows.link.client import Client
from narrows.link.frames import ANSWER, Decoder, Frame, Type, encode_frame
from narrows.link.line import Line, open_port
from narrows.link.qemu import Qemu
from narrows.native import Model, Run

BOARD = "mps2-an386"
TOOLS = ("arm-none-eabi-gcc", "qemu-system-arm")


@pytest.fixture(scope="module")
def image() -> Path:
    for tool in TOOLS:
        if shutil.which(tool) is None:
            missing(tool)
    return firmware.build(load_board(BOARD))


@pytest.fixture
def board(image: Path) -> Iterator[Qemu]:
    with Qemu(load_board(BOARD), image) as qemu:
        yield qemu


@contextmanager
def client_of(url: str, patience: float = 10.0) -> Iterator[Client]:
    port = open_port(url)
    try:
        yield Client(Line(port, "board", patience))
    finally:
        port.close()


def picture(model: Model, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-128, 128, info.shape).astype(np.int8) for info in model.inputs]


def same(outputs: object, blob: bytes, inputs: list[np.ndarray]) -> bool:
    expected = Run(Model(blob)).infer(inputs)
    return [a.tobytes() for a in outputs] == [a.tobytes() for a in expected]  # type: ignore[attr-defined]


# --- Through a bad line ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_noisy_line_changes_no_answer(board: Qemu, digits_blob: Path, seed: int) -> None:
    blob = digits_blob.read_bytes()
    model = Model(blob)
    rates = {"drop": 2e-5, "double": 2e-5, "change": 2e-5}
    with (
        Proxy(board.url, noise(seed, **rates), noise(seed + 100, **rates)) as proxy,
        client_of(proxy.url) as client,
    ):
        client.upload(blob)
        for i in range(3):
            inputs = picture(model, i)
            assert same(client.infer(model, inputs), blob, inputs)


@pytest.mark.parametrize("seed", range(2))
def test_a_very_noisy_line_gives_the_answer_or_an_error(
    board: Qemu, digits_blob: Path, seed: int
) -> None:
    """Most frames of rows are hit; the blob came over a good line."""
    blob = digits_blob.read_bytes()
    model = Model(blob)
    inputs = picture(model)
    rates = {"drop": 4e-4, "double": 4e-4, "change": 4e-4}
    damage = noise(seed, **rates), noise(seed + 100, **rates)
    noisy = threading.Event()
    proxy = Proxy(
        board.url,
        lambda data: damage[0](data) if noisy.is_set() else data,
        lambda data: damage[1](data) if noisy.is_set() else data,
    )
    with proxy, client_of(proxy.url) as client:
        client.upload(blob)
        noisy.set()
        with suppress(LinkError):
            assert same(client.infer(model, inputs), blob, inputs)


def test_doubled_frames_do_nothing_twice(board: Qemu, digits_blob: Path) -> None:
    blob = digits_blob.read_bytes()
    model = Model(blob)
    with (
        Proxy(board.url, doubled_frames(1, 0.3), doubled_frames(2, 0.3)) as proxy,
        client_of(proxy.url) as client,
    ):
        client.upload(blob)
        for i in range(3):
            inputs = picture(model, i)
            assert same(client.infer(model, inputs), blob, inputs)


@pytest.mark.parametrize("seed", range(2))
def test_lost_requests_and_answers_of_every_kind(board: Qemu, digits_blob: Path, seed: int) -> None:
    """Whole frames vanish: begins, ends, starts, events."""
    blob = digits_blob.read_bytes()
    model = Model(blob)
    inputs = picture(model)
    with (
        Proxy(board.url, lost_frames(seed, 0.04), lost_frames(seed + 100, 0.04)) as proxy,
        client_of(proxy.url) as client,
    ):
        client.upload(blob)
        assert same(client.infer(model, inputs), blob, inputs)


# --- Credit -----------------------------------------------------------------------------------


def test_never_more_in_flight_than_the_device_grants(board: Qemu, digits_blob: Path) -> None:
    blob = digits_blob.read_bytes()
    model = Model(blob)
    inputs = picture(model)
    with Proxy(board.url) as proxy, client_of(proxy.url) as client:
        client.upload(blob)
        assert same(client.infer(model, inputs), blob, inputs)
        credit = client.hello.credit
        assert credit // 2 < proxy.most_in_flight <= credit
        assert client.status().overruns == 0


def test_a_stalled_device_is_not_overrun(board: Qemu) -> None:
    """Nothing comes back for some seconds in the midst of an upload."""
    with Proxy(board.url) as proxy, client_of(proxy.url, patience=30) as client:
        done = threading.Event()
        released = threading.Timer(4.0, proxy.hold.clear)

        def progress(what: str, share: float) -> None:
            if share > 0.3 and not done.is_set():
                done.set()
                proxy.hold.set()
                released.start()

        with pytest.raises(BlobError, match="not a narrows blob"):
            client.upload(os.urandom(20_000), progress)
        assert done.is_set()
        assert proxy.most_in_flight <= client.hello.credit
        assert client.status().overruns == 0


def test_a_sender_without_manners_harms_only_itself(board: Qemu, digits_blob: Path) -> None:
    """Noise, far more than the credit, while the board computes: the board lives on."""
    blob = digits_blob.read_bytes()
    model = Model(blob)
    inputs = picture(model)
    port = open_port(board.url)
    client = Client(Line(port, "board"))
    client.upload(blob)
    for _ in range(40):
        port.write(random.Random(1).randbytes(2048))
        port.write(encode_frame(Frame(Type.ROW, 9, os.urandom(200))))
    assert same(client.infer(model, inputs), blob, inputs)
    assert client.status().bad_frames > 0
    port.close()


def test_every_malformed_request_is_refused_by_number(board: Qemu) -> None:
    """Each type with each length of random payload: an answer, and no harm."""
    with client_of(board.url) as client:
        line = client._line
        chance = random.Random(7)
        skipped = {Type.HELLO, Type.PING, Type.STATUS, Type.RESET, Type.FAULT, Type.STATE}
        for type_ in set(Type) - skipped:
            for size in (0, 1, 4, 5, 7, 8, 11, 12, 30, 260, 267, 270):
                status, _ = line.request(type_, chance.randbytes(size))
                assert -39 <= status < 0, (type_, size)
        status, _ = line.request(Type.FAULT)
        assert status == -32
        client.ping()


# --- What can go wrong --------------------------------------------------------------------------


def test_an_upload_goes_on_after_the_host_was_gone(board: Qemu, digits_blob: Path) -> None:
    blob = digits_blob.read_bytes()
    model = Model(blob)
    inputs = picture(model)

    class Gone(Exception):
        pass

    def vanish(what: str, share: float) -> None:
        if share > 0.5:
            raise Gone

    shares: list[float] = []
    port = open_port(board.url)
    with pytest.raises(Gone):
        Client(Line(port, "board")).upload(blob, vanish)
    client = Client(Line(port, "board"))
    assert client.model() is None
    client.upload(blob, lambda what, share: shares.append(share))
    assert shares[0] > 0.45
    found = client.model()
    assert found is not None
    assert found.is_blob(blob)
    assert same(client.infer(model, inputs), blob, inputs)
    port.close()


def test_the_board_refuses_what_the_host_would(board: Qemu, digits_blob: Path) -> None:
    blob = bytearray(digits_blob.read_bytes())
    blob[-20] ^= 1
    with client_of(board.url) as client:
        with pytest.raises(BlobError, match="damaged"):
            client.upload(bytes(blob))
        with pytest.raises(LinkError, match="model slot"):
            client.upload(bytes(client.hello.slot_bytes + 1))
        assert client.model() is None
        client.upload(digits_blob.read_bytes())
        assert client.model() is not None


def test_a_board_that_was_reset_is_an_error(board: Qemu, digits_blob: Path) -> None:
    blob = digits_blob.read_bytes()
    model = Model(blob)
    with client_of(board.url) as client:
        client.upload(blob)
        calls = []

        def progress(what: str, share: float) -> None:
            calls.append(share)
            if len(calls) == 5:
                client.reset()

        with pytest.raises(LinkError, match="lost the run"):
            client.infer(model, picture(model), progress)


def serve(replies: object) -> str:
    """A device that is none: what it says is what ``replies`` makes of each request."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        connection, _ = listener.accept()
        decoder = Decoder()
        with connection, listener:
            while data := connection.recv(4096):
                for frame in decoder.feed(data):
                    connection.sendall(replies(frame))  # type: ignore[operator]

    threading.Thread(target=run, daemon=True).start()
    return f"socket://127.0.0.1:{listener.getsockname()[1]}"


def answer(frame: Frame, payload: bytes) -> bytes:
    return encode_frame(Frame(frame.type | ANSWER, frame.number, payload))


def test_silence_ends_in_an_error() -> None:
    began = time.monotonic()
    with (
        pytest.raises(LinkError, match="no answer for 2 s"),
        client_of(serve(lambda frame: b""), patience=2),
    ):
        pass
    assert 2 <= time.monotonic() - began < 6


def test_another_protocol_ends_in_an_error() -> None:
    hello = (-34).to_bytes(2, "little", signed=True) + bytes([9, 0]) + bytes(24)
    with (
        pytest.raises(LinkError, match="another version of the protocol"),
        client_of(serve(lambda frame: answer(frame, hello))),
    ):
        pass


@pytest.mark.parametrize("payload", [b"", b"\0", b"\0\0", bytes(30), b"\0\0" + b"\xff" * 3])
def test_a_device_that_talks_nonsense_ends_in_an_error(payload: bytes) -> None:
    url = serve(lambda frame: answer(frame, payload))
    with pytest.raises(LinkError), client_of(url):
        pass


def test_a_port_that_is_not_there(digits_blob: Path) -> None:
    with pytest.raises(LinkError, match=r"/dev/nowhere: cannot be opened .*serial ports here"):
        open_target("serial:/dev/nowhere", digits_blob.read_bytes())


def test_missing_tools_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch, image: Path, tmp_path: Path, digits_blob: Path
) -> None:
    blob = digits_blob.read_bytes()
    tools = {tool: shutil.which(tool) for tool in TOOLS}
    for gone, package in zip(TOOLS, ("gcc-arm-none-eabi", "qemu-system-arm"), strict=True):
        folder = tmp_path / gone
        folder.mkdir()
        for tool, path in tools.items():
            if tool != gone and path is not None:
                (folder / tool).symlink_to(path)
        monkeypatch.setenv("PATH", str(folder))
        with pytest.raises(ToolError, match=f"apt-get install {package}"):
            open_target(f"qemu:{BOARD}", blob)


@pytest.mark.parametrize("spec", ["qemu:nothing", "serial:/dev/x@fast"])
def test_a_target_that_is_none(spec: str, digits_blob: Path) -> None:
    with pytest.raises(NarrowsError):
        open_target(spec, digits_blob.read_bytes())


# --- A real serial port ---------------------------------------------------------------------------


def test_a_serial_port(board: Qemu, digits_blob: Path) -> None:
    """The board behind a terminal device, as an adapter at a USB port is one."""
    blob = digits_blob.read_bytes()
    inputs = picture(Model(blob))
    leader, follower = pty.openpty()
    tty.setraw(leader)
    stop = threading.Event()
    host, number = board.url.removeprefix("socket://").split(":")
    connection = socket.create_connection((host, int(number)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def pump() -> None:
        while not stop.is_set():
            for end in select.select([leader, connection], [], [], 0.05)[0]:
                if end is connection:
                    os.write(leader, connection.recv(4096))
                else:
                    connection.sendall(os.read(leader, 4096))

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        for uploaded in (True, False):
            heard: list[str] = []
            spec = f"serial:{os.ttyname(follower)}@115200"
            with open_target(spec, blob, lambda what, share: heard.append(what)) as target:  # noqa: B023
                result = target.infer(inputs)
            assert any("uploading" in what for what in heard) is uploaded
            assert same(result.outputs, blob, inputs)
            assert result.instructions is None
            assert result.seconds is not None
            assert result.arena_bytes == Model(blob).arena_bytes
    finally:
        stop.set()
        thread.join()
        connection.close()
        os.close(leader)
        os.close(follower)


# --- QEMU leaves nothing behind ----------------------------------------------------------------

CHILD = """
import sys, time
from narrows.boards import load_board
from narrows.link import firmware
from narrows.link.client import Client
from narrows.link.line import Line, open_port
from narrows.link.qemu import Qemu
board = load_board("mps2-an386")
qemu = Qemu(board, firmware.build(board))
Client(Line(open_port(qemu.url), "board")).ping()
print(qemu.pid, flush=True)
"""


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
def test_qemu_dies_with_the_process(image: Path, end: signal.Signals | None) -> None:
    wait = "time.sleep(60)" if end is not None else ""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD + wait], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    with child:
        pid = int(child.stdout.readline())
        if end is not None:
            assert is_running(pid)
            child.send_signal(end)
        child.wait(timeout=10)
        assert gone_within(pid, 5)


def test_qemu_ends_with_its_block_even_by_an_error(image: Path, digits_blob: Path) -> None:
    target = open_target(f"qemu:{BOARD}", digits_blob.read_bytes())
    assert target.pid is not None
    assert is_running(target.pid)
    with pytest.raises(InputError), target:
        target.infer([])
    assert gone_within(target.pid, 1)


def test_qemu_outlives_the_thread_that_asked_for_it(image: Path) -> None:
    found: list[Qemu] = []
    thread = threading.Thread(target=lambda: found.append(Qemu(load_board(BOARD), image)))
    thread.start()
    thread.join()
    with found[0] as qemu, client_of(qemu.url) as client:
        time.sleep(0.3)
        client.ping()


def test_a_qemu_that_dies_is_an_error(image: Path, digits_blob: Path) -> None:
    blob = digits_blob.read_bytes()
    with open_target(f"qemu:{BOARD}", blob) as target:
        assert target.pid is not None
        os.kill(target.pid, signal.SIGKILL)
        with pytest.raises(LinkError, match="QEMU has ended"):
            target.infer(picture(Model(blob)))


# --- Boards and their firmware -----------------------------------------------------------------


def test_boards_are_read() -> None:
    assert BOARD in [board.name for board in load_boards()]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('title = "', "#", "title: is missing"),
        ("irq = 0", 'irq = "0"', "uart.irq"),
        ("irq = 0", "irq = true", "uart.irq"),
        ("irq = 0", "irq = 0\nparity = 1", "uart.parity: is not a key"),
        ('driver = "cmsdk"', 'driver = "../x"', "uart.driver: no driver"),
        ("stack_bytes = 2048", "stack_bytes = 2047", "memory.stack_bytes"),
        ("base = 0x21000000", "base = 0x21000001", "memory.slot.base"),
        ("base = 0x20000000", "base = 0xfff00000", "memory.ram.bytes: reaches beyond"),
        ("[core]", "[cores]", "core: is missing"),
        ("[core]", "[[[", "not a board's file"),
        ("instructions_per_tick = 40", "instructions_per_tick = 0", "qemu.instructions_per_tick"),
    ],
)
def test_a_wrong_board_file_names_the_place(tmp_path: Path, old: str, new: str, place: str) -> None:
    text = (firmware.share_dir() / "boards" / f"{BOARD}.toml").read_text()
    assert old in text
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(NarrowsError, match=r"wrong\.toml: ") as caught:
        read_board(path)
    assert place in str(caught.value)


def test_firmware_is_built_once_and_whole(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NARROWS_CACHE_DIR", str(tmp_path / "cache"))
    said: list[str] = []
    first = firmware.build(load_board(BOARD), lambda what, share: said.append(what))
    assert said
    said.clear()
    assert firmware.build(load_board(BOARD), lambda what, share: said.append(what)) == first
    assert not said
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [first.parent.name]
