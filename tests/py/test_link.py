# SPDX-License-Identifier: Apache-2.0
"""The line between host and board: the right answer or a clear error, whatever happens to the
bytes; the board's buffer is never overrun; QEMU never outlives its user."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from conftest import missing
from link_proxy import Filter, Proxy, doubled_frames, lost_frames, noise
from narrows.blob import parse_blob
from narrows.boards import load_board, load_boards, read_board
from narrows.errors import BlobError, InputError, LinkError, NarrowsError, ToolError
from narrows.link import firmware, frames, open_target
from narrows.link.client import Client
from narrows.link.frames import ANSWER, Decoder, Frame, LinkStatus, Type, encode_frame
from narrows.link.line import Line, open_port
from narrows.link.qemu import Qemu
from narrows.native import Layout, Model, Run, Status
from narrows.native.observe import Dump, observe
from narrows.pack import pack
from narrows.planning import PlanOptions, random_plan
from narrows.planning.planner import plan
from narrows.quantization import reference
from narrows.result import Progress
from parts import by_parts, picture_for
from random_graphs import GraphBuilder, random_graph
from terminal import terminal

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


# A board that is alive answers at last, however busy the machine is; these only end a hang.
PATIENCE = 120.0
HANG = 120.0


@contextmanager
def client_of(url: str, patience: float = PATIENCE) -> Iterator[Client]:
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


def settled(line: Line) -> int:
    """What the board waits for; it may not have come to that when it answers what was asked."""
    while (status := line.request(Type.STATE)[0]) == Status.OK:
        pass
    return status


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


# --- Inputs by parts of rows ------------------------------------------------------------------


def test_parts_of_rows_through_a_bad_line(board: Qemu) -> None:
    """Frames that are lost and doubled, of parts that are longer than a frame."""
    graph, planned = by_parts()
    blob = pack(graph, planned, {})
    model = Model(blob)

    def bad(seed: int) -> Filter:
        lost, doubled = lost_frames(seed, 0.02), doubled_frames(seed, 0.2)
        return lambda data: doubled(lost(data))

    with Proxy(board.url, bad(1), bad(2)) as proxy, client_of(proxy.url) as client:
        client.upload(blob)
        for i in range(2):
            inputs = picture_for(graph, i)
            assert same(client.infer(model, inputs), blob, inputs)
        inputs = picture_for(graph, 2)
        assert same_dumps(dump_of(client, model, inputs), observe(Run(model), inputs))


def test_a_part_of_a_row_is_taken_as_far_as_it_is_due(board: Qemu) -> None:
    """Piece by piece, some of them too long, twice or too early; STATE says how far it is."""
    graph, planned = by_parts()
    blob = pack(graph, planned, {})
    (picture,) = picture_for(graph)
    part, row = 48 * 12, 192 * 12

    with client_of(board.url) as client:
        client.upload(blob)
        line = client._line

        def send(number: int, offset: int, count: int) -> tuple[int, int]:
            data = picture[number].tobytes()[offset : offset + count]
            status, fields = line.request(
                Type.ROW, struct.pack("<IBHI", 7, 0, number, offset) + data
            )
            return status, int.from_bytes(fields[:4], "little")

        def state() -> tuple[int, int, int]:
            status, fields = line.request(Type.STATE)
            _, _, number, count, _ = struct.unpack_from("<IBHII", fields)
            return status, number, count

        assert line.request(Type.START, struct.pack("<IB", 7, 0))[0] == 0
        for number in range(len(picture)):
            for begin in range(0, row, part):
                while (now := state())[0] == 0:  # it computes
                    assert now[1:] == (number, begin)
                assert now == (1, number, begin)
                assert send(number, begin, 250) == (0, begin + 250)
                assert state() == (1, number, begin + 250)
                assert send(number, begin, 250) == (0, begin + 250)
                assert send(number, begin + 251, 9)[0] == LinkStatus.ERR_GAP
                if number + 1 < len(picture):
                    assert send(number + 1, 0, 9)[0] == -9
                assert send(number, begin + 250, 250) == (0, begin + 500)
                # The last 76 bytes of the part, and 124 of the next if there is one.
                count = min(200, row - begin - 500)
                assert send(number, begin + 500, count) == (0, begin + part)
                assert send(number, begin + 500, 76) == (0, begin + part)
                assert send(number, begin, 250) == (0, begin + part)
        while (now := state())[0] == 0:
            assert now[1:] == (len(picture), 0)
        assert now[0] == 3


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
    with Proxy(board.url) as proxy, client_of(proxy.url) as client:
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
        skipped |= {Type.REBOOT}
        for type_ in set(Type) - skipped:
            for size in (0, 1, 4, 5, 7, 8, 11, 12, 30, 260, 267, 270):
                status, _ = line.request(type_, chance.randbytes(size))
                assert min(LinkStatus) <= status < 0, (type_, size)
        status, _ = line.request(Type.FAULT)
        assert status == -32
        client.ping()


# --- Tensors ------------------------------------------------------------------------------------


def same_dumps(found: Dump, expected: Dump) -> bool:
    return all(
        np.array_equal(a.mask, b.mask) and np.array_equal(a.filled(0), b.filled(0))
        for a, b in zip(found.values, expected.values, strict=True)
    )


def dump_of(client: Client, model: Model, inputs: list[np.ndarray]) -> Dump:
    dump = Dump(model)
    client.infer(model, inputs, dump=dump)
    return dump


@pytest.mark.parametrize("seed", range(4))
def test_every_tensor_of_random_plans_is_what_it_should_be(board: Qemu, seed: int) -> None:
    """Several inputs and outputs, outputs by rows, short rings, tiles: on the board and on the host
    what the integer model says."""
    graph = random_graph(seed)
    rng = np.random.default_rng(seed)
    tensors = [graph.tensors[edge.tensor] for edge in graph.inputs]
    shapes = [(t.height, t.width, t.channels) for t in tensors]
    inputs = [rng.integers(-128, 128, shape).astype(np.int8) for shape in shapes]
    expected = reference.run_all(graph, inputs)
    everything = tuple(range(len(graph.outputs)))
    numbers = {tensor.name: i for i, tensor in enumerate(graph.tensors)}
    assert len(numbers) == len(graph.tensors)
    with client_of(board.url) as client:
        for planned in (
            plan(graph, PlanOptions(streamed_outputs=everything)),
            random_plan(graph, random.Random(seed), (Layout.PLAIN,)),
        ):
            blob = parse_blob(pack(graph, planned, {}))
            client.upload(blob.data)
            dump = dump_of(client, blob.model, inputs)
            assert same_dumps(dump, observe(Run(blob.model), inputs))
            for name, stage in zip(blob.stage_names, blob.model.stages, strict=True):
                if stage.output >= 0:
                    seen = dump.values[stage.output]
                    assert seen.count() > 0, name
                    assert (seen == expected[numbers[name]]).all(), name


def test_one_tensor_alone(board: Qemu, digits_blob: Path) -> None:
    model = Model(digits_blob.read_bytes())
    inputs = picture(model)
    wanted = observe(Run(model), inputs)
    with client_of(board.url) as client:
        client.upload(digits_blob.read_bytes())
        for tensor in (0, 3, len(model.tensors) - 1):
            dump = Dump(model)
            outputs = client.infer(model, inputs, dump=dump, watch=tensor)
            assert same(outputs, digits_blob.read_bytes(), inputs)
            for number, values in enumerate(dump.values):
                if number == tensor:
                    assert np.array_equal(values.filled(0), wanted.values[number].filled(0))
                assert values.count() == (values.size if number == tensor else 0)


@pytest.mark.parametrize("seed", range(2))
def test_a_bad_line_loses_and_doubles_no_element(board: Qemu, digits_blob: Path, seed: int) -> None:
    model = Model(digits_blob.read_bytes())
    inputs = picture(model)
    bad = threading.Event()
    filters = [
        (noise(seed, 2e-5, 2e-5, 2e-5), lost_frames(seed, 0.01), doubled_frames(seed, 0.2)),
        (noise(seed + 9, 2e-5, 2e-5, 2e-5), lost_frames(seed, 0.01), doubled_frames(seed, 0.2)),
    ]

    def damage(data: bytes, chain: tuple[Filter, ...]) -> bytes:
        for filter_ in chain if bad.is_set() else ():
            data = filter_(data)
        return data

    with (
        Proxy(board.url, *(partial(damage, chain=chain) for chain in filters)) as proxy,
        client_of(proxy.url) as client,
    ):
        client.upload(digits_blob.read_bytes())
        bad.set()
        assert same_dumps(dump_of(client, model, inputs), observe(Run(model), inputs))
        assert proxy.most_in_flight <= client.hello.credit


def test_what_is_not_offered_is_not_given(board: Qemu, digits_blob: Path) -> None:
    model = Model(digits_blob.read_bytes())
    row = bytes(model.inputs[0].row_bytes)
    with client_of(board.url) as client:
        client.upload(digits_blob.read_bytes())
        line = client._line

        def ask(type_: Type, layout: str, *values: int) -> tuple[int, bytes]:
            return line.request(type_, struct.pack("<I" + layout, 7, *values))

        assert ask(Type.WATCH, "H", 0)[0] == -39
        assert ask(Type.START, "B", 0)[0] == 0
        assert ask(Type.WATCH, "H", len(model.tensors))[0] == -1
        assert ask(Type.WATCH, "H", 0)[0] == 0
        assert ask(Type.TENSOR, "HIH", 0, 0, 1)[0] == -9
        assert settled(line) == Status.NEED_ROW
        head = struct.pack("<IBHI", 7, 0, 0, 0)
        assert line.request(Type.ROW, head + row)[0] == 0
        state = struct.pack("<IBHI", 7, 0, 0, len(row))
        assert line.request(Type.STATE)[1][: len(state)] == state
        assert line.request(Type.STATE)[0] == LinkStatus.HAVE_TENSOR
        assert ask(Type.TENSOR, "HIH", 1, 0, 1)[0] == -9
        assert ask(Type.TENSOR, "HIH", 0, 0, 257)[0] == -1
        assert ask(Type.TENSOR, "HIH", 0, 3, 256) == (0, struct.pack("<I", 3) + row[3:])
        assert ask(Type.TENSOR, "HIH", 0, 1 << 31, 9) == (0, struct.pack("<I", 1 << 31))
        # What is done already, or another place: nothing happens.
        for tensor, size in ((1, len(row)), (0, 0), (0, len(row) + 1)):
            assert ask(Type.NEXT, "HI", tensor, size)[0] == 0
            assert line.request(Type.STATE)[0] == LinkStatus.HAVE_TENSOR
        for _ in range(2):
            assert ask(Type.NEXT, "HI", 0, len(row))[0] == 0
        assert settled(line) == Status.NEED_ROW
        assert ask(Type.TENSOR, "HIH", 0, 0, 1)[0] == -9


# --- What can go wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True])
def test_an_upload_goes_on_after_the_host_was_gone(
    board: Qemu, digits_blob: Path, reset: bool
) -> None:
    """And after the board was reset meanwhile."""
    blob = digits_blob.read_bytes()
    model = Model(blob)
    inputs = picture(model)

    shares: list[float] = []
    port = open_port(board.url)
    with pytest.raises(Gone):
        Client(Line(port, "board")).upload(blob, gone_after(0.5))
    client = Client(Line(port, "board"))
    if reset:
        client.reboot()
    assert client.model() is None
    client.upload(blob, lambda what, share: shares.append(share))
    assert shares[0] > 0.45
    found = client.model()
    assert found is not None
    assert found.is_blob(blob)
    assert same(client.infer(model, inputs), blob, inputs)
    port.close()


class Gone(Exception):
    """The host is not there any more."""


def gone_after(share: float) -> Progress:
    def progress(what: str, done: float) -> None:
        if done > share:
            raise Gone

    return progress


@pytest.mark.parametrize("share", [0.5, 1.1])
def test_an_upload_does_not_go_on_with_another_blob(
    board: Qemu, digits_blob: Path, share: float
) -> None:
    """A blob with the same body and another header; it came in part, or whole and was refused."""
    blob = digits_blob.read_bytes()
    other = bytearray(blob)
    other[48] ^= 1  # the multiply-accumulates that the header claims
    other[76:80] = zlib.crc32(other[:76]).to_bytes(4, "little")
    with client_of(board.url) as client:
        with pytest.raises((Gone, BlobError)):
            client.upload(bytes(other), gone_after(share))
        client.upload(blob)
        inputs = picture(Model(blob))
        assert same(client.infer(Model(blob), inputs), blob, inputs)


def test_the_board_refuses_what_the_host_would(board: Qemu, digits_blob: Path) -> None:
    blob = bytearray(digits_blob.read_bytes())
    blob[-20] ^= 1
    with client_of(board.url) as client:
        with pytest.raises(BlobError, match="damaged"):
            client.upload(bytes(blob))
        with pytest.raises(LinkError, match="flash has room for"):
            client.upload(bytes(client.hello.room + 1))
        assert client.model() is None
        client.upload(digits_blob.read_bytes())
        assert client.model() is not None


# --- Updates ------------------------------------------------------------------------------------


def test_an_upload_never_touches_the_model_that_runs(board: Qemu, digits_blob: Path) -> None:
    """Not one that breaks off, nor one that is refused; nor the run that is going on."""
    blob = digits_blob.read_bytes()
    model = Model(blob)
    graph = random_graph(1)
    other = pack(graph, plan(graph), {})
    damaged = bytearray(other)
    damaged[-20] ^= 1
    inputs = picture(model)
    with client_of(board.url) as client:
        client.upload(blob, name="digits")
        calls: list[float] = []

        def in_between(what: str, share: float) -> None:
            """An upload to the board while it computes."""
            calls.append(share)
            if len(calls) == 6:
                with pytest.raises(Gone):
                    client.upload(other, gone_after(0.5))
                with pytest.raises(BlobError, match="damaged"):
                    client.upload(bytes(damaged))

        assert same(client.infer(model, inputs, in_between), blob, inputs)
        assert len(calls) > 6
        for _ in range(2):
            standing = client.model()
            assert standing is not None
            assert standing.is_blob(blob)
            assert standing.name == "digits"
            assert same(client.infer(model, inputs), blob, inputs)
            client.reboot()
        client.upload(other)
        client.reboot()
        standing = client.model()
        assert standing is not None
        assert standing.is_blob(other)


def test_a_model_with_a_lower_counter_is_refused(board: Qemu, digits_blob: Path) -> None:
    blob = digits_blob.read_bytes()
    with client_of(board.url) as client:
        client.upload(blob, counter=7)
        graph = random_graph(1)
        other = pack(graph, plan(graph), {})
        for _ in range(2):
            with pytest.raises(LinkError, match=r"newer model.*counter is lower"):
                client.upload(other, counter=6)
            standing = client.model()
            assert standing is not None
            assert standing.is_blob(blob)
            assert standing.counter == 7
            client.reboot()
        client.upload(other)
        standing = client.model()
        assert standing is not None
        assert standing.counter == 7


def test_another_baud_rate(board: Qemu, digits_blob: Path) -> None:
    """What the clock cannot make is refused; a host that is not heard at the new rate is awaited at
    the old one."""
    blob = digits_blob.read_bytes()
    inputs = picture(Model(blob))
    with client_of(board.url) as client:
        for baud in (921_600, 9_600, 115_200):
            client.set_baud(baud)
            client.ping()
        for baud in (3_000_000, 10):
            with pytest.raises(LinkError, match=f"cannot make {baud} baud"):
                client.set_baud(baud)
        client.upload(blob)
        assert same(client.infer(Model(blob), inputs), blob, inputs)


# --- Whole inputs -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_whole_inputs_give_the_same(board: Qemu, seed: int) -> None:
    """Several inputs and outputs, outputs by rows; the device takes its rows from what it holds."""
    graph = random_graph(seed)
    everything = tuple(range(len(graph.outputs)))
    blob = pack(graph, plan(graph, PlanOptions(streamed_outputs=everything)), {})
    model = Model(blob)
    with client_of(board.url) as client:
        client.upload(blob)
        for i in range(2):
            inputs = picture(model, i)
            assert same(client.infer_whole(model, inputs), blob, inputs)
            assert same(client.infer(model, inputs), blob, inputs)


def test_whole_inputs_through_a_bad_line(board: Qemu, digits_blob: Path) -> None:
    blob = digits_blob.read_bytes()
    model = Model(blob)

    def bad(seed: int) -> Filter:
        lost, doubled = lost_frames(seed, 0.05), doubled_frames(seed, 0.2)
        return lambda data: doubled(lost(data))

    with Proxy(board.url, bad(1), bad(2)) as proxy, client_of(proxy.url) as client:
        client.upload(blob)
        for i in range(4):
            inputs = picture(model, i)
            assert same(client.infer_whole(model, inputs), blob, inputs)


def test_whole_inputs_need_room(image: Path, digits_blob: Path) -> None:
    """A board of 16 KiB has none for a picture of 16 KiB; by rows it runs."""
    board = load_board("mps2-an386-16k")
    build = GraphBuilder(np.random.default_rng(0))
    graph = build.graph([build.pool(build.input(96, 96, 2), False, (2, 2), (2, 2))])
    blob = pack(graph, plan(graph), {})
    model = Model(blob)
    inputs = picture(model)
    with Qemu(board, firmware.build(board)) as qemu, client_of(qemu.url) as client:
        client.upload(blob)
        with pytest.raises(LinkError, match="no room to hold whole inputs"):
            client.infer_whole(model, inputs)
        assert same(client.infer(model, inputs), blob, inputs)


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


def serve(replies: Callable[[Frame], bytes]) -> str:
    """A device that is none: what it says is what ``replies`` makes of each request."""
    return serving(replies)[0]


def serving(replies: Callable[[Frame], bytes]) -> tuple[str, threading.Thread]:
    """The same, and the thread that ends when the host has gone and all that it sent was read."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        connection, _ = listener.accept()
        decoder = Decoder()
        with connection, listener:
            while data := connection.recv(4096):
                for frame in decoder.feed(data):
                    connection.sendall(replies(frame))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return f"socket://127.0.0.1:{listener.getsockname()[1]}", thread


def answer(frame: Frame, payload: bytes) -> bytes:
    return encode_frame(Frame(frame.type | ANSWER, frame.number, payload))


def test_silence_ends_in_an_error() -> None:
    """After 0.25, 0.5 and 1 s a PING asks for a sign of life; 2 s later patience is at an end."""
    asked: list[int] = []

    def say_nothing(frame: Frame) -> bytes:
        asked.append(frame.type)
        return b""

    url, server = serving(say_nothing)
    with (
        pytest.raises(LinkError, match="no answer for 2 s, nor any other byte; is it connected"),
        client_of(url, patience=2),
    ):
        pass
    server.join(HANG)
    assert asked == [Type.HELLO, Type.PING, Type.PING, Type.PING]


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


def scripted(answers: dict[Type, bytes], repeats: bytes = b"") -> str:
    """A device that greets and then says always the same. repeats: the state that it tells."""
    sizes = (1024, 1, 1 << 20, 1000, 1 << 20, 1 << 19, 1 << 20, 1 << 20)
    hello = struct.pack("<hBBH8IBB", 0, frames.MAJOR, 0, 280, *sizes, 0, 3) + bytes(3)
    run = bytearray(4)

    def reply(frame: Frame) -> bytes:
        if frame.type == Type.HELLO:
            return answer(frame, hello)
        if frame.type == Type.START:
            run[:] = frame.payload[:4]
        if frame.type == Type.STATE:
            return answer(frame, repeats[:2] + run + repeats[2:])
        return answer(frame, answers.get(Type(frame.type), b"\0\0"))

    return serve(reply)


def test_old_firmware_that_shows_no_tensors_says_so(digits_blob: Path) -> None:
    model = Model(digits_blob.read_bytes())
    refused = struct.pack("<h", LinkStatus.ERR_TYPE)
    with (
        client_of(scripted({Type.WATCH: refused})) as client,
        pytest.raises(LinkError, match="does not know this request; flash this version's firmware"),
    ):
        dump_of(client, model, picture(model))


@pytest.mark.parametrize("data", [b"", bytes(4), struct.pack("<I", 9), bytes(4 + 17), b"\xff" * 20])
def test_a_device_that_shows_nonsense_ends_in_an_error(digits_blob: Path, data: bytes) -> None:
    model = Model(digits_blob.read_bytes())
    offered = struct.pack("<hBHII", LinkStatus.HAVE_TENSOR, 0, 0, 16, 0)
    with (
        client_of(scripted({Type.TENSOR: b"\0\0" + data}, offered)) as client,
        pytest.raises(LinkError, match="sends other bytes of tensor 0"),
    ):
        dump_of(client, model, picture(model))


@pytest.mark.parametrize(("tensor", "size"), [(999, 1), (0, 1 << 30)])
def test_a_device_that_shows_what_is_not_there_ends_in_an_error(
    digits_blob: Path, tensor: int, size: int
) -> None:
    model = Model(digits_blob.read_bytes())
    offered = struct.pack("<hBHII", LinkStatus.HAVE_TENSOR, 0, tensor, size, 0)
    with (
        client_of(scripted({}, offered)) as client,
        pytest.raises(LinkError, match=f"byte {size} of tensor {tensor}; there is none"),
    ):
        dump_of(client, model, picture(model))


def test_a_port_that_is_not_there(digits_blob: Path) -> None:
    with pytest.raises(LinkError, match=r"/dev/nowhere: cannot be opened .*serial ports here"):
        open_target("serial:/dev/nowhere", digits_blob.read_bytes())


def test_missing_tools_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch, image: Path, tmp_path: Path, digits_blob: Path
) -> None:
    blob = digits_blob.read_bytes()
    monkeypatch.setattr("narrows.link.compilers.has_zig", lambda: False)
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
    blob = digits_blob.read_bytes()
    inputs = picture(Model(blob))
    with terminal(board.url) as device:
        for uploaded in (True, False):
            heard: list[str] = []
            spec = f"serial:{device}@115200"
            with open_target(spec, blob, lambda what, share: heard.append(what)) as target:  # noqa: B023
                result = target.infer(inputs)
            assert any("uploading" in what for what in heard) is uploaded
            assert same(result.outputs, blob, inputs)
            assert result.instructions is None
            assert result.seconds is not None
            assert result.arena_bytes == Model(blob).arena_bytes


# --- QEMU leaves nothing behind ----------------------------------------------------------------

CHILD = """
import signal, sys, time
from narrows.boards import load_board
from narrows.link import firmware
from narrows.link.client import Client
from narrows.link.line import Line, open_port
from narrows.link.qemu import Qemu
board = load_board("mps2-an386")
# Shells start what runs in the background with Ctrl-C ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
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


def ends(pid: int) -> bool:
    deadline = time.monotonic() + HANG
    while is_running(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
def test_qemu_dies_with_the_process(image: Path, end: signal.Signals | None) -> None:
    wait = "time.sleep(600)" if end is not None else ""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD + wait], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    with child:
        pid = int(child.stdout.readline())
        if end is not None:
            assert is_running(pid)
            child.send_signal(end)
        child.wait(timeout=HANG)
        assert ends(pid)


def test_qemu_ends_with_its_block_even_by_an_error(image: Path, digits_blob: Path) -> None:
    target = open_target(f"qemu:{BOARD}", digits_blob.read_bytes())
    assert target.pid is not None
    assert is_running(target.pid)
    with pytest.raises(InputError), target:
        target.infer([])
    # Left is waited for: there is nothing to wait for here.
    assert not is_running(target.pid)


def test_qemu_outlives_the_thread_that_asked_for_it(image: Path) -> None:
    found: list[Qemu] = []
    thread = threading.Thread(target=lambda: found.append(Qemu(load_board(BOARD), image)))
    thread.start()
    thread.join()
    # The kernel would have killed it by now.
    with found[0] as qemu, client_of(qemu.url) as client:
        time.sleep(0.3)
        client.ping()


def test_a_qemu_that_dies_is_an_error(image: Path, digits_blob: Path) -> None:
    blob = digits_blob.read_bytes()
    with open_target(f"qemu:{BOARD}", blob) as target:
        assert target.pid is not None
        os.kill(target.pid, signal.SIGKILL)
        with pytest.raises(LinkError, match="the emulator has ended"):
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
        ("base = 0x21000000", "base = 0x21000001", "memory.models.base"),
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
