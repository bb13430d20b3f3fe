# SPDX-License-Identifier: Apache-2.0
"""Firmware that speaks MLPerf Tiny's protocol too, on a Cortex-M4 in QEMU, with a client of a few
lines: the host's scores, whatever else comes over the line, and narrows' own frames in between.

The runner itself drives it in ``tests/mlperf/run_runner.py``.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from link_proxy import Proxy, noise
from models import data_set, need, network
from narrows.blob import Blob, parse_blob
from narrows.boards import load_board
from narrows.compiler import CompileOptions, compile_model
from narrows.graph.qgraph import Int8Array
from narrows.link import firmware
from narrows.link.client import Client
from narrows.link.frames import ANSWER, Decoder, Frame, Type, encode_frame
from narrows.link.line import Line, open_port
from narrows.link.qemu import Qemu
from narrows.link.store import Update, image
from narrows.native import Run
from narrows.pack import pack
from narrows.planning import PlanOptions
from narrows.planning.planner import plan
from narrows.targets import open_target
from random_graphs import random_graph

BOARD = "mps2-an386"
SMALL = "mps2-an386-16k"
READY = "m-ready"
HEX_BYTES = 31  # in one command of the runner
PATIENCE = 120.0  # seconds until a device that does not answer fails its test
KEYWORDS, SAMPLE, RIGHT = 1000, 40, 901


class Runner:
    """Speaks as MLPerf Tiny's runner does."""

    def __init__(self, url: str) -> None:
        self.port = open_port(url)
        self.wake()

    def wake(self) -> None:
        """Ask until there is an answer, as people do: the board may not have begun yet to listen,
        or may take what it hears for the rest of a frame."""
        heard, end = b"", READY.encode() + b"\r\n"
        deadline = time.monotonic() + PATIENCE
        self.port.timeout = 1
        while not heard.endswith(end):
            assert time.monotonic() < deadline, heard
            self.port.write(b"name%")
            heard += self.port.read_until(end)
        self.port.timeout = PATIENCE
        self.port.write(b"infer 0 0%")
        while self.read() != ["e-[infer wants a number of inferences from 1 on]"]:
            pass  # answers to names that came late

    def read(self) -> list[str]:
        """An answer, without its last line."""
        lines: list[str] = []
        while READY not in lines:
            line = self.port.read_until(b"\n")
            assert line.endswith(b"\r\n"), (lines, line)
            lines.append(line.decode("ascii").strip())
        return lines[:-1]

    @contextlib.contextmanager
    def frames(self) -> Iterator[None]:
        """The port as ``Line`` wants it."""
        self.port.timeout = 0
        try:
            yield
        finally:
            self.port.timeout = PATIENCE

    def ask(self, command: str | bytes) -> list[str]:
        text = command.encode("ascii") if isinstance(command, str) else command
        self.port.write(text + b"%")
        return self.read()

    def load(self, data: bytes) -> None:
        assert self.ask(f"db load {len(data)}") == [f"m-[Expecting {len(data)} bytes]"]
        for at in range(0, len(data), HEX_BYTES):
            piece = data[at : at + HEX_BYTES]
            last = at + len(piece) == len(data)
            assert self.ask(f"db {piece.hex()}") == ["m-load-done"] * last

    def infer(self, count: int = 1, warmups: int = 0) -> tuple[list[float], int]:
        """Returns: the scores, and microseconds of all `count` inferences."""
        lines = self.ask(f"infer {count} {warmups}")
        assert lines[:3] == [
            f"m-warmup-start-{warmups}",
            "m-warmup-done",
            f"m-infer-start-{count}",
        ]
        begin, end = (int(re.fullmatch(r"m-lap-us-(\d+)", line)[1]) for line in lines[3:5])  # type: ignore[index]
        assert lines[5] == "m-infer-done"
        (results,) = lines[6:]
        assert self.ask("results") == [results]
        return scores_of(results), end - begin


def scores_of(line: str) -> list[float]:
    match = re.fullmatch(r"m-results-\[((?:-?\d+\.\d{3,9},?)+)\]", line)
    assert match is not None, line
    return [float(text) for text in match[1].split(",")]


def wanted(blob: Blob, inputs: Sequence[Int8Array]) -> list[float]:
    """The host's scores, of three decimals, halves rounded away from zero."""
    edge = blob.outputs[0]
    steps = Run(blob.model).infer(inputs)[0].ravel().astype(int) - edge.tensor_zero_point
    thousandths = np.floor(abs(steps) * edge.tensor_scale * 1000 + 0.5)
    return [float(x) for x in np.sign(steps) * thousandths / 1000]


def compiled(path: Path, **options: object) -> Blob:
    return parse_blob(compile_model(path, CompileOptions(PlanOptions(**options))).blob)  # type: ignore[arg-type]


@contextlib.contextmanager
def device(blob: Blob | None, board: str = BOARD, count: bool = True) -> Iterator[Qemu]:
    """A board that speaks both protocols, perhaps with a model in its flash."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    facts = load_board(board)
    contents = image(facts.models, blob.data, Update.of(blob.data, blob.name)) if blob else []
    with Qemu(facts, firmware.build(facts, protocol="mlperf"), contents, count=count) as qemu:
        yield qemu


@pytest.fixture(scope="module")
def keywords() -> Blob:
    return compiled(network("mlperf_kws_int8"))


@pytest.fixture(scope="module")
def digits(digits_blob: Path) -> Blob:
    return parse_blob(digits_blob.read_bytes())


def some_input(blob: Blob, seed: int = 0) -> Int8Array:
    (info,) = blob.model.inputs
    return np.random.default_rng(seed).integers(-128, 128, info.shape).astype(np.int8)


def test_what_the_runner_asks_first(keywords: Blob) -> None:
    with device(keywords) as qemu:
        runner = Runner(qemu.url)
        assert runner.ask("name") == [f"m-name-dut-[{BOARD}]"]
        profile, model = runner.ask("profile")
        assert re.fullmatch(r"m-profile-\[narrows [\d.]+\]", profile)
        assert model == "m-model-[kws01]"
        text = "\n".join(runner.ask("help"))
        for command in ("name", "profile", "timestamp", "db load", "db print", "infer", "results"):
            assert command in text
        (first,), (second,) = runner.ask("timestamp"), runner.ask("timestamp")
        assert 0 <= int(first.removeprefix("m-lap-us-")) < int(second.removeprefix("m-lap-us-"))


@pytest.mark.parametrize(
    "count", [SAMPLE, pytest.param(KEYWORDS, marks=pytest.mark.slow)], ids=["sample", "all"]
)
def test_keywords_score_as_on_the_host(keywords: Blob, count: int) -> None:
    with np.load(data_set("kws01")) as stored:
        chosen = np.arange(0, KEYWORDS, KEYWORDS // count)
        x, y = stored["x"][chosen], stored["y"][chosen]
    right = 0
    with device(keywords) as qemu:
        runner = Runner(qemu.url)
        for values, label in zip(x, y, strict=True):
            runner.load(values.tobytes())
            scores, _ = runner.infer()
            assert scores == wanted(keywords, [values])
            right += int(np.argmax(scores)) == label
    assert count != KEYWORDS or right == RIGHT


def test_pictures_come_as_unsigned_bytes() -> None:
    """As CIFAR-10 has them; the device makes them the model's int8, and shows them as they came."""
    blob = compiled(network("mlperf_resnet_int8"))
    values = some_input(blob)
    pixels = (values.astype(int) + 128).astype(np.uint8).tobytes()
    with device(blob) as qemu:
        runner = Runner(qemu.url)
        assert "m-model-[ic01]" in runner.ask("profile")
        runner.load(pixels)
        lines = runner.ask("db print")
        assert len(lines) == len(pixels) // 8
        assert lines[0] == "m-buffer-" + pixels[:8].hex("-")
        assert bytes.fromhex("".join(lines).replace("m-buffer-", "").replace("-", "")) == pixels
        assert runner.infer()[0] == wanted(blob, [values])


def test_other_models_have_their_own_name(digits: Blob) -> None:
    values = some_input(digits)
    with device(digits) as qemu:
        runner = Runner(qemu.url)
        assert f"m-model-[{digits.name}]" in runner.ask("profile")
        runner.load(values.tobytes())
        assert runner.infer()[0] == wanted(digits, [values])


def test_without_metadata_steps_are_ones() -> None:
    graph = random_graph(0)
    bare = parse_blob(pack(graph, plan(graph, PlanOptions()), None))
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-128, 128, i.shape).astype(np.int8) for i in bare.model.inputs]
    with device(bare) as qemu:
        runner = Runner(qemu.url)
        runner.load(b"".join(values.tobytes() for values in inputs))
        assert runner.infer()[0] == wanted(bare, inputs)


def test_inferences_are_timed_without_warm_ups(keywords: Blob) -> None:
    values = some_input(keywords)
    with device(keywords) as qemu:
        runner = Runner(qemu.url)
        runner.load(values.tobytes())
        scores, once = runner.infer()
        for count, warmups in ((3, 0), (3, 2), (1, 4)):
            again, spent = runner.infer(count, warmups)
            assert again == scores
            # The board's clock counts instructions, so the machine's speed plays no part.
            assert 0.98 * count * once < spent < 1.02 * count * once
        assert runner.ask("infer")[0] == "m-warmup-start-10"


def test_commands_may_be_typed(keywords: Blob) -> None:
    """Lines and more spaces; parts of a command may take their time."""
    values = some_input(keywords)
    with device(keywords) as qemu:
        runner = Runner(qemu.url)
        assert runner.ask("\r\n db \t load   490 ") == ["m-[Expecting 490 bytes]"]
        assert runner.ask("db " + values.tobytes()[:20].hex().upper()) == []
        for at in range(20, values.size, 10):
            runner.ask("db " + values.tobytes()[at : at + 10].hex())
        assert runner.infer(1, 0)[0] == wanted(keywords, [values])
        for byte in b"na", b"m", b"e":
            runner.port.write(byte)
        assert runner.ask("") == [f"m-name-dut-[{BOARD}]"]


WRONG = [
    *("nam", "names", "name" * 3, "", " ", "db", "db load", "db load 0", "db load 491"),
    *("db load -1", "db load 4294967786", "db load 99999999999999999999", "db load 12x"),
    *("db 0", "db 0g", "db zz", "db 0 0", "db xx" * 12, "load", "results", "infer 1 0"),
    *("infer 0", "infer 0 0", "infer -1 0", "infer 1 -1", "infer 4294967296 0", "infer a b"),
    *("n" * 79, "n" * 80, "n" * 81, "n" * 10_000, "db " + "00" * 5_000, "db load 490" + " " * 90),
    *(b"\x80\xff\x01", b"name\xff", b"m-ready", bytes(range(1, 37)) + bytes(range(38, 256))),
]


def test_wrong_commands_are_answered_by_an_error(keywords: Blob) -> None:
    values = some_input(keywords)
    with device(keywords) as qemu:
        runner = Runner(qemu.url)
        for command in WRONG:
            (line,) = runner.ask(command)
            assert re.fullmatch(r"e-\[.+\]", line), (command, line)
        # In the midst of an input too; what was wrong has changed nothing of it.
        data = values.tobytes()
        runner.ask("db load 490")
        assert runner.ask(f"db {data[:30].hex()}") == []
        for command in ("db 0", "db 00zz", "db zz00", "infer 1 0", "db " + "00" * 40, "results"):
            assert runner.ask(command)[0].startswith("e-["), command
        assert len(runner.ask("db print")) == 4
        for at in range(30, len(data), 30):
            # The last one has more bytes than are due; they are passed over.
            assert runner.ask(f"db {data[at:].ljust(30)[:30].hex()}") == (
                ["m-load-done"] if at + 30 >= len(data) else []
            )
        assert runner.ask("db 00")[0].startswith("e-[")
        assert runner.infer()[0] == wanted(keywords, [values])


def test_random_bytes_are_wrong_commands(keywords: Blob) -> None:
    """Each that ends has its answer, and the next right one has its own."""
    rng = np.random.default_rng(1)
    with device(keywords) as qemu:
        runner = Runner(qemu.url)
        for _ in range(50):
            noise = bytes(rng.integers(1, 256, int(rng.integers(1, 400)), np.uint8)) + b"%"
            runner.port.write(noise)
            for _ in range(noise.count(b"%")):
                (line,) = runner.read()
                assert line.startswith("e-["), line
            assert runner.ask("name") == [f"m-name-dut-[{BOARD}]"]


def test_without_a_model(keywords: Blob) -> None:
    with device(None) as qemu:
        runner = Runner(qemu.url)
        assert runner.ask("profile")[1] == "m-model-[none]"
        for command in ("db load 490", "db 00", "infer 1 0", "results"):
            assert runner.ask(command)[0].startswith("e-["), command
        assert runner.ask("db print") == []


def test_without_room_beside_the_arena() -> None:
    blob = compiled(network("mlperf_vww_96_int8"))
    with device(blob, SMALL) as qemu:
        runner = Runner(qemu.url)
        assert runner.ask("profile")[1] == "m-model-[vww01]"
        error = "e-[No room beside the arena for 27648 bytes of inputs]"
        assert runner.ask("db load 27648") == [error]
        assert runner.ask("infer 1 0")[0].startswith("e-[")


def test_outputs_by_rows_have_no_scores() -> None:
    graph = random_graph(0)
    options = PlanOptions(streamed_outputs=tuple(range(len(graph.outputs))))
    blob = parse_blob(pack(graph, plan(graph, options), {}))
    with device(blob) as qemu:
        runner = Runner(qemu.url)
        runner.load(bytes(sum(info.bytes for info in blob.model.inputs)))
        assert runner.ask("infer 1 0")[-1] == "e-[No results: the output comes by rows]"
        assert runner.ask("name") == [f"m-name-dut-[{BOARD}]"]


def test_an_inference_ends_early(keywords: Blob) -> None:
    """By another command, and by a request in a frame; each command has one answer."""
    values = some_input(keywords)
    with device(keywords) as qemu:
        runner = Runner(qemu.url)
        runner.load(values.tobytes())
        for warmups in ("0", "1000000"):
            runner.port.write(f"infer 1000000 {warmups}%".encode())
            first = runner.port.read_until(b"\n")
            assert first == f"m-warmup-start-{warmups}\r\n".encode()
            runner.port.write(b"name%")
            assert runner.read()[-1] == "e-[Ended by another command]"
            assert runner.read() == [f"m-name-dut-[{BOARD}]"]
            assert runner.infer()[0] == wanted(keywords, [values])
        runner.port.write(b"infer 1000000 0%")
        while not runner.port.read_until(b"\n").startswith(b"m-lap-us-"):
            pass
        # It may ask what it likes, though: only what ends the run ends the inferences.
        runner.port.write(encode_frame(Frame(Type.PING, 1, b"")))
        runner.port.write(encode_frame(Frame(Type.STATE, 2, b"")))
        runner.port.write(encode_frame(Frame(Type.RESET, 3, b"")))
        heard = runner.port.read_until(b"m-ready\r\n")
        frames = list(Decoder().feed(heard))
        assert [(frame.type, frame.number) for frame in frames] == [
            (kind | ANSWER, number)
            for kind, number in ((Type.PING, 1), (Type.STATE, 2), (Type.RESET, 3))
        ]
        assert heard.endswith(b"\0e-[Ended by another request]\r\nm-ready\r\n")
        assert runner.ask("infer 1 0")[0].startswith("e-[")  # RESET has forgotten the input


def test_a_frame_without_an_end_is_given_up(keywords: Blob) -> None:
    """Half a second of the board's clock after its last byte; until then it swallows commands."""
    frame = encode_frame(Frame(Type.HELLO, 1, b"\2"))
    with device(keywords, count=False) as qemu:
        runner = Runner(qemu.url)
        cut = (frame[:2], frame[:5], frame[:-1], frame[:-1] + b"name%")
        for part in (*cut, b"\0n", b"\0\0" + frame):
            runner.port.write(part)
            runner.wake()


def test_both_protocols_in_one_session(keywords: Blob) -> None:
    """A host uploads, the runner infers, the host infers, the runner goes on."""
    values, other = some_input(keywords), some_input(keywords, 1)
    expected = wanted(keywords, [values])
    with device(None) as qemu:
        runner = Runner(qemu.url)
        assert runner.ask("profile")[1] == "m-model-[none]"
        with runner.frames():
            client = Client(Line(runner.port, "board"))
            client.upload(keywords.data, name=keywords.name)
        runner.load(values.tobytes())
        assert runner.infer(2, 1)[0] == expected
        with runner.frames():
            assert client.model() is not None
            assert client.status().bad_frames == 0
        # What was asked in frames has left the input alone, and the results.
        assert scores_of(runner.ask("results")[0]) == expected
        assert runner.infer()[0] == expected
        for infer in (client.infer, client.infer_whole):
            with runner.frames():
                (output,) = infer(keywords.model, [other])
            assert np.array_equal(output, Run(keywords.model).infer([other])[0])
            assert runner.ask("results")[0].startswith("e-[")
            assert runner.ask("infer 1 0")[0].startswith("e-[")
            runner.load(values.tobytes())
            assert runner.infer()[0] == expected


@pytest.mark.parametrize("seed", range(2))
def test_frames_come_through_noise(digits: Blob, seed: int) -> None:
    """Zeros that are lost, and those that come of nothing, make frames look like text and text like
    frames; what is lost is sent again, as in firmware that speaks frames alone."""
    values = some_input(digits)
    damage = noise(seed, drop=2e-4, double=2e-4, change=2e-4)
    with (
        device(None) as qemu,
        Proxy(qemu.url, to_board=damage) as proxy,
        open_target(f"serial:{proxy.url}", digits.data) as target,
    ):
        (output,) = target.infer([values]).outputs
    assert np.array_equal(output, Run(digits.model).infer([values])[0])
