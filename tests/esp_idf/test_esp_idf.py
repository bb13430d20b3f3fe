# SPDX-License-Identifier: Apache-2.0
"""The component for ESP-IDF: port.c, the application and the example as a program of this host,
over ESP-IDF's functions by our own hand (``include/``, ``host*.c``), under sanitizers."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from idf import COMPONENT, EXAMPLE, HERE, read_component, read_partitions, started, write_sdkconfig

from conftest import ROOT, RUNTIME, Narrows
from models import need
from narrows.blob import read_blob
from narrows.boards import RECORDS_BYTES, load_board
from narrows.compiler import CompileOptions, compile_model
from narrows.errors import LinkError
from narrows.flash.over_link import Update, connect, write_model
from narrows.graph.qgraph import Int8Array
from narrows.link import firmware
from narrows.link.client import Client
from narrows.models import DIGITS_INT8, load_held_out, prepare_digits
from narrows.native import Model, Run
from narrows.planning import PlanOptions
from narrows.signing import new_key, public_bytes, sign_blob

Build: TypeAlias = Callable[..., Path]
PARTITION = next(row for row in read_partitions() if row.type == "data")
SECTOR, UNIT = 4096, 16
# Frames under sanitizers are larger than on a chip.
STACK_BYTES = 65536
FLAGS = ("-std=gnu17", "-g", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-pthread")


def flags() -> list[object]:
    includes = (HERE, HERE / "include", *read_component().includes)
    return [*FLAGS, *SANITIZE, *(f"-I{path}" for path in includes)]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Objects of all that depends on no setting."""
    need("cc")
    folder = tmp_path_factory.mktemp("runtime")
    sources = [path for path in read_component().sources if RUNTIME in path.parents]
    command = ["cc", *flags(), "-c", *sources]
    subprocess.run(command, check=True, timeout=600, cwd=folder)
    return sorted(folder.glob("*.o"))


@pytest.fixture(scope="module")
def build(runtime: list[Path]) -> Build:
    """The example for this host, in a folder. settings: of Kconfig."""

    def build_(folder: Path, definitions: Sequence[str] = (), **settings: object) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        write_sdkconfig(folder, NARROWS_STACK_BYTES=STACK_BYTES, **settings)
        sources = [path for path in read_component().sources if RUNTIME not in path.parents]
        sources += [EXAMPLE / "main" / "main.c", *sorted(HERE.glob("host*.c"))]
        command = ["cc", *flags(), f"-I{folder}", *(f"-D{text}" for text in definitions)]
        command += [*sources, *runtime, "-o", folder / "host"]
        subprocess.run(command, check=True, timeout=600)
        return folder / "host"

    return build_


@pytest.fixture(scope="module")
def program(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("program"))


@pytest.fixture
def flash(tmp_path: Path) -> Path:
    return tmp_path / "flash"


def digits(count: int) -> list[Int8Array]:
    return list(prepare_digits(load_held_out().images[:count]))


def assert_runs(client: Client, blob: bytes) -> None:
    """The host's bytes, by rows and from whole inputs."""
    model = Model(blob)
    for index, picture in enumerate(digits(3)):
        infer = client.infer_whole if index % 2 else client.infer
        expected = Run(model).infer([picture])
        np.testing.assert_array_equal(infer(model, [picture])[0], expected[0])


# --- The example on this host --------------------------------------------------------------------


def test_a_model_is_uploaded_runs_and_stays(program: Path, flash: Path, digits_blob: Path) -> None:
    """Over a restart that the device makes itself, and over a loss of power."""
    blob = digits_blob.read_bytes()
    with started(program, flash) as device, connect(device.port) as client:
        hello = client.hello
        assert (hello.board, hello.core, hello.credit) == ("esp32c3", "riscv", 1024)
        assert hello.arena_bytes == 131072
        assert hello.room == PARTITION.size - RECORDS_BYTES
        assert hello.room_beside == PARTITION.size // 2 // SECTOR * SECTOR - RECORDS_BYTES
        assert hello.flash_bytes == read_partitions()[0].size
        assert hello.ticks_per_second == 1_000_000
        assert client.model() is None
        client.upload(blob, name="digits")
        assert_runs(client, blob)
        total, _ = client.profile()
        assert total > 0
        status = client.status()
        assert status.stack_bytes == STACK_BYTES
        assert 0 < status.stack_high_water < STACK_BYTES
        assert (status.bad_frames, status.overruns) == (0, 0)
        client.reboot()
        assert_runs(client, blob)
    with started(program, flash) as device, connect(device.port) as client:
        standing = client.model()
        assert standing is not None
        assert standing.is_blob(blob)
        assert_runs(client, blob)
    assert "a byte is lost" not in flash.with_suffix(".log").read_text()


def test_the_command_line_does_it(
    narrows: Narrows, program: Path, flash: Path, digits_blob: Path, tmp_path: Path
) -> None:
    """As the example's page says."""
    picture, results = tmp_path / "digit.npy", []
    np.save(picture, digits(1)[0])
    with started(program, flash) as device:
        for written in (digits_blob.stat().st_size, 0):
            arguments = ("--port", device.port, "--via", "link", "--json", "-")
            done = narrows("flash", digits_blob, *arguments)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["written_bytes"] == written
        for target in ("host", f"serial:{device.port}"):
            result = tmp_path / "result.npy"
            arguments = ("--input", picture, "--target", target, "--output", result)
            done = narrows("run", digits_blob, *arguments)
            assert done.returncode == 0, done.stderr
            results.append(np.load(result))
    np.testing.assert_array_equal(results[0], results[1])


class Gone(Exception):
    """The host is not there any more."""


def test_an_update_goes_on_after_a_loss_of_power(
    program: Path, flash: Path, digits_blob: Path
) -> None:
    update = Update(read_blob(digits_blob), "digits")

    def break_off(what: str, share: float) -> None:
        if share > 0.5:
            raise Gone

    with started(program, flash) as device, pytest.raises(Gone), connect(device.port) as client:
        write_model(client, update, break_off)
    shares: list[float] = []
    with started(program, flash) as device, connect(device.port) as client:
        assert client.model() is None
        assert write_model(client, update, lambda what, share: shares.append(share))
        assert_runs(client, update.blob.data)
    assert shares[0] > 0.4


def test_a_second_model_takes_the_other_half(program: Path, flash: Path, digits_blob: Path) -> None:
    other = compile_model(DIGITS_INT8, CompileOptions(PlanOptions())).blob
    with started(program, flash) as device, connect(device.port) as client:
        for blob in (digits_blob.read_bytes(), other):
            client.upload(blob)
            assert_runs(client, blob)
    cells = flash.read_bytes()[PARTITION.address :]
    half = PARTITION.size // 2 // SECTOR * SECTOR
    assert cells[: len(digits_blob.read_bytes())] == digits_blob.read_bytes()
    assert cells[half : half + len(other)] == other


def test_a_model_that_has_changed_in_flash_is_none(
    program: Path, flash: Path, digits_blob: Path
) -> None:
    with started(program, flash) as device, connect(device.port) as client:
        client.upload(digits_blob.read_bytes())
    with flash.open("r+b") as file:
        file.seek(PARTITION.address + 1000)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 0x10]))
    with started(program, flash) as device, connect(device.port) as client:
        assert client.model() is None
        client.upload(digits_blob.read_bytes())
        assert_runs(client, digits_blob.read_bytes())


def test_nothing_beyond_the_partition_is_written(
    program: Path, flash: Path, digits_blob: Path
) -> None:
    with started(program, flash) as device, connect(device.port) as client:
        client.upload(digits_blob.read_bytes())
    cells = flash.read_bytes()
    outside = cells[: PARTITION.address] + cells[PARTITION.address + PARTITION.size :]
    assert set(outside) == {0xFF}


def test_rates(program: Path, flash: Path, digits_blob: Path) -> None:
    """One that the clock can make is taken, and bytes at another rate than the host's are lost;
    after a reset it is the first again."""
    blob = digits_blob.read_bytes()
    with started(program, flash) as device:
        with connect(device.port) as client:
            for rate in (50, 6_000_000):
                with pytest.raises(LinkError, match=f"its clock cannot make {rate} baud"):
                    client.set_baud(rate)
            client.ping()
            client.set_baud(921_600)
            client.upload(blob)
            assert_runs(client, blob)
        with connect(f"{device.port}@921600") as client:
            client.ping()
            client._ask(0x06)  # REBOOT; the rate is not that of this side any more
        with connect(device.port) as client:
            assert_runs(client, blob)


def test_other_tasks_have_their_turn(
    program: Path, flash: Path, digits_blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program ends if a run lets the watchdog of ESP-IDF's idle task wait for 5 s."""
    monkeypatch.setenv("HOST_CALL_US", "100000")
    blob = digits_blob.read_bytes()
    with started(program, flash) as device, connect(device.port) as client:
        client.upload(blob)
        assert_runs(client, blob)
        total, _ = client.profile()
        assert total > 5 * client.hello.ticks_per_second


def test_flash_that_is_worn_out(program: Path, flash: Path, digits_blob: Path) -> None:
    with (
        started(program, flash, "worn") as device,
        connect(device.port) as client,
        pytest.raises(LinkError, match="cannot write its flash"),
    ):
        client.upload(digits_blob.read_bytes())


def test_a_blob_without_room(program: Path, flash: Path, digits_blob: Path) -> None:
    blob = digits_blob.read_bytes()
    with started(program, flash) as device, connect(device.port) as client:
        too_large = blob + bytes(client.hello.room + 1 - len(blob))
        with pytest.raises(LinkError, match="the board's flash has room for"):
            client.upload(too_large)
        client.ping()


@pytest.mark.parametrize(
    ("settings", "wish", "words", "error"),
    [
        ({}, "encrypted", "partition models: must not be encrypted", "NOT_SUPPORTED"),
        (
            {"NARROWS_PARTITION": '"other"'},
            "",
            "no partition other of type data; add it to the partition table",
            "NOT_FOUND",
        ),
        (
            {"NARROWS_ARENA_BYTES": 300_001},
            "",
            "no block of 300001 bytes for models in the heap, the largest has 300000",
            "NO_MEM",
        ),
        ({"NARROWS_UART": 2}, "", "UART 2: ESP_FAIL; see NARROWS_UART", "FAIL"),
        ({"NARROWS_UART_TX": 40}, "", "UART 0: ESP_FAIL; see NARROWS_UART", "FAIL"),
    ],
)
def test_what_cannot_start_says_why(
    build: Build,
    program: Path,
    tmp_path: Path,
    flash: Path,
    settings: dict[str, object],
    wish: str,
    words: str,
    error: str,
) -> None:
    if settings:
        program = build(tmp_path / "other", **settings)
    rows = [row.text(wish if row.type == "data" else "") for row in read_partitions()]
    done = subprocess.run([program, flash, *rows], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert done.stderr == f"E narrows: {done.stderr[11:].splitlines()[0]}\n" + (
        f"ESP_ERROR_CHECK failed: ESP_{'' if error == 'FAIL' else 'ERR_'}{error}\n"
    )
    assert words in done.stderr


def test_signed_models_alone(build: Build, tmp_path: Path, flash: Path, digits_blob: Path) -> None:
    key = new_key()
    text = public_bytes(key).hex()
    component = read_component(CONFIG_NARROWS_PUBLIC_KEY=text)
    blob = digits_blob.read_bytes()
    signed = tmp_path / "signed.nrw"
    signed.write_bytes(sign_blob(blob, key, 3))
    program = build(tmp_path / "signed", tuple(component.definitions))
    with started(program, flash) as device, connect(device.port) as client:
        assert client.hello.signed_only
        with pytest.raises(LinkError, match="takes models alone that are signed with its key"):
            client.upload(blob)
        write_model(client, Update(read_blob(signed), "signed"))
        assert_runs(client, blob)


# --- The component as ESP-IDF sees it ------------------------------------------------------------


@pytest.mark.parametrize("text", ["12", "0" * 63 + "g", "0" * 66, "ab " * 32])
def test_a_key_that_is_none(text: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        read_component(CONFIG_NARROWS_PUBLIC_KEY=text)
    assert "CONFIG_NARROWS_PUBLIC_KEY: not 64 hexadecimal digits" in caught.value.stderr


def test_sources_are_those_of_every_firmware() -> None:
    component = read_component()
    assert all(path.is_file() for path in component.sources)
    assert all(path.is_dir() for path in component.includes)
    rooms = {ROOT / "firmware" / room for room in ("core", "chip", "libc")}
    others = [
        path
        for path in firmware.sources(load_board("sifive_e"))
        if not rooms & set(path.parents) and path.name != "main.c"
    ]
    assert sorted(component.sources) == sorted([*others, COMPONENT / "port.c"])


@pytest.mark.parametrize(
    ("version", "driver"), [("5.0", "driver"), ("5.2", "driver"), ("5.3", "esp_driver_uart")]
)
def test_the_uart_s_driver_by_its_name(version: str, driver: str) -> None:
    assert read_component(version).requires == [driver, "esp_partition", "esp_timer"]


def test_settings_are_defined_and_used(tmp_path: Path) -> None:
    settings = write_sdkconfig(tmp_path)
    defined = {name for name in settings if name.startswith("CONFIG_NARROWS_")}
    defined |= {"CONFIG_NARROWS_MLPERF"}  # off
    defined -= {name for name in defined if re.fullmatch(r"CONFIG_NARROWS_RECEIVE_\d+", name)}
    files = [COMPONENT / name for name in ("port.c", "board.h", "CMakeLists.txt")]
    used = {
        name for path in files for name in re.findall(r"CONFIG_NARROWS_[A-Z_]+", path.read_text())
    }
    assert used == defined
    assert settings["CONFIG_NARROWS_PARTITION"] == f'"{PARTITION.label}"'


@pytest.mark.parametrize("bytes_", [512, 2048, 4096])
def test_receive_buffers(tmp_path: Path, bytes_: int) -> None:
    settings = write_sdkconfig(tmp_path, **{f"NARROWS_RECEIVE_{bytes_}": "y"})
    assert settings["CONFIG_NARROWS_RECEIVE_BYTES"] == str(bytes_)


def test_the_example_s_partitions() -> None:
    text = (EXAMPLE / "sdkconfig.defaults").read_text()
    flash_bytes = int(re.findall(r"CONFIG_ESPTOOLPY_FLASHSIZE_(\d+)MB=y", text)[0]) << 20
    name = re.findall(r'CONFIG_PARTITION_TABLE_CUSTOM_FILENAME="(.*)"', text)[0]
    assert (EXAMPLE / name).is_file()
    rows = read_partitions()
    assert [(row.label, row.type, row.subtype) for row in rows] == [
        ("factory", "app", "factory"),
        ("models", "data", "undefined"),
    ]
    # The partition table itself stands at 0x8000 and takes a sector.
    ends = [0x9000, *(row.address + row.size for row in rows)]
    starts = [*(row.address for row in rows), flash_bytes]
    assert all(end <= start for end, start in zip(ends, starts, strict=True))
    assert all(start < end for start, end in pairwise(starts))
    assert rows[0].address % 0x10000 == 0
    assert all(value % SECTOR == 0 for row in rows for value in (row.address, row.size))
    port = (COMPONENT / "port.c").read_text()
    assert f"UNIT = {UNIT}, SECTOR = {SECTOR}" in port


def test_the_cross_compiler_finds_nothing(tmp_path: Path) -> None:
    """port.c for the chip's core; uint32_t is a long there."""
    need("riscv64-unknown-elf-gcc")
    write_sdkconfig(tmp_path)
    component = read_component()
    includes = [tmp_path, HERE / "include", *component.includes, ROOT / "firmware" / "libc"]
    command = ["riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32", "-std=gnu17", "-O2"]
    command += ["-ffreestanding", "-Wall", "-Wextra", "-Wconversion", "-Wshadow"]
    command += ["-Wmissing-prototypes", "-Werror", *(f"-I{path}" for path in includes)]
    for source in (COMPONENT / "port.c", EXAMPLE / "main" / "main.c"):
        target = tmp_path / f"{source.stem}.o"
        subprocess.run([*command, "-c", source, "-o", target], check=True, timeout=120)
