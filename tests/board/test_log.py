# SPDX-License-Identifier: Apache-2.0
"""Boards that print on the line that carries the frames: every command works, and where none can,
the error shows what the board has printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT, Narrows
from link_proxy import Proxy, log_between, log_within
from models import need
from narrows.boards import load_board
from narrows.errors import LinkError
from narrows.link import firmware, open_target
from narrows.link.client import Client
from narrows.link.line import Line, open_port
from narrows.link.qemu import Qemu
from narrows.models import DIGITS_INT8
from narrows.native import Model, Run

BOARD = "mps2-an386"
LINE = b"[sensor] 23.4 degrees, 41% humidity\r\n"


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Firmware that prints a line between any two frames."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    board, folder = load_board(BOARD), tmp_path_factory.mktemp("chatty")
    files = [path for path in firmware.sources(board) if path.name != "main.c"]
    files.append(ROOT / "tests" / "board" / "chatty.c")
    firmware.compile_image(board, files, folder, folder / "chatty.elf")
    return folder / "chatty.elf"


@pytest.fixture
def url(chatty: Path) -> Iterator[str]:
    with Qemu(load_board(BOARD), chatty) as qemu:
        yield qemu.url


@pytest.fixture
def inputs(digits_blob: Path) -> list[np.ndarray]:
    (info,) = Model(digits_blob.read_bytes()).inputs
    return [np.random.default_rng(0).integers(-128, 128, info.shape).astype(np.int8)]


def test_every_command_works_with_a_board_that_logs(
    url: str, narrows: Narrows, digits_blob: Path, inputs: list[np.ndarray], tmp_path: Path
) -> None:
    """Upload and run, then check and compare with what the host computes."""
    data = tmp_path / "x.npy"
    np.save(data, np.stack([inputs[0], inputs[0][::-1]]))
    found = tmp_path / "found.json"
    place = f"serial:{url}"
    first = tmp_path / "first.npy"
    np.save(first, inputs[0])
    tflm = ("--reference", "tflm", "--model", DIGITS_INT8)
    for command in (
        ("run", digits_blob, "--input", first, "--target", place, "--json", found),
        ("check", digits_blob, "--data", data, "--target", place, *tflm),
        ("compare", digits_blob, f"{digits_blob}@{place}", "--data", data),
    ):
        done = narrows(*command)
        assert done.returncode == 0, (command[0], done.stdout, done.stderr)
    assert json.loads(found.read_text())


@pytest.mark.parametrize("seed", range(2))
def test_text_within_frames_costs_them_and_no_more(
    url: str, digits_blob: Path, inputs: list[np.ndarray], seed: int
) -> None:
    """An interrupt that prints hits a frame now and then; what is lost is asked for again."""
    blob = digits_blob.read_bytes()
    with (
        Proxy(url, to_host=log_within(seed, LINE, 3e-4)) as proxy,
        open_target(f"serial:{proxy.url}", blob) as target,
    ):
        (output,) = target.infer(inputs).outputs
    assert np.array_equal(output, Run(Model(blob)).infer(inputs)[0])


def test_text_behind_every_frame_costs_none(digits_blob: Path, inputs: list[np.ndarray]) -> None:
    """Ordinary firmware, and someone else who prints: not one answer is spoiled, or none would
    come through."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    blob = digits_blob.read_bytes()
    board = load_board(BOARD)
    with (
        Qemu(board, firmware.build(board)) as qemu,
        Proxy(qemu.url, to_host=log_between(LINE)) as proxy,
        open_target(f"serial:{proxy.url}", blob) as target,
    ):
        (output,) = target.infer(inputs).outputs
    assert np.array_equal(output, Run(Model(blob)).infer(inputs)[0])


def test_a_board_that_only_prints_is_shown(tmp_path: Path) -> None:
    """Not narrows firmware: the error says how much has arrived, and how it begins."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    board = load_board(BOARD)
    source = tmp_path / "hello.c"
    source.write_text(HELLO)
    files = [path for path in firmware.sources(board) if path.parent.name != "app"]
    firmware.compile_image(board, [source, *files], tmp_path, tmp_path / "hello.elf")
    with Qemu(board, tmp_path / "hello.elf") as qemu:
        port = open_port(qemu.url)
        with pytest.raises(
            LinkError,
            match=r"no answer for 2 s, though [\d,]+ other bytes arrived, beginning with "
            r"'hello, world\\r\\nhello.*baud rate.*narrows firmware",
        ):
            Client(Line(port, "board", patience=2))
        port.close()


HELLO = """
#include "port.h"
int main(void)
{
    port_uart_begin();
    for (;;) {
        for (const char *text = "hello, world\\r\\n"; *text != 0; text++) {
            port_uart_send((uint8_t)*text);
        }
        for (volatile int i = 0; i < 1000000; i++) {
        }
    }
}
void app_received(uint8_t byte) { (void)byte; }
int app_is_idle(void) { return 1; }
void app_fault(uint32_t pc, uint32_t cause) { (void)pc; (void)cause; }
"""
