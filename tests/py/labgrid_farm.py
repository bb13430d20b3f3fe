# SPDX-License-Identifier: Apache-2.0
"""A farm of boards on this host: labgrid's own coordinator and exporter, and boards in QEMU.

A board's UART is a TCP port, as terminal servers have it, or a pseudo terminal, which the exporter
hands to ser2net. Boards of the first kind hang on a power switch that is asked over HTTP.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.server
import json
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from narrows.boards import load_board
from narrows.link.firmware import build

BOARD = "mps2-an386"
_SECONDS = 120  # for what takes a moment on an idle machine
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _tied() -> None:
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def start_qemu(serial: str) -> subprocess.Popen[bytes]:
    """A board with the firmware, and without a model. It ends with the calling thread."""
    board = load_board(BOARD)
    assert board.qemu is not None
    command = ["qemu-system-arm", "-M", board.qemu.machine, "-display", "none"]
    command += ["-monitor", "none", "-nodefaults", "-kernel", str(build(board))]
    return subprocess.Popen(
        [*command, "-serial", serial],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_tied,
    )


@dataclass
class Socket:
    """A board on a switchable socket. switched: each time on or off, in order."""

    port: int
    works: bool = True
    switched: list[bool] = field(default_factory=list)
    qemu: subprocess.Popen[bytes] | None = None

    def switch(self, on: bool) -> None:
        self.switched.append(on)
        if self.qemu is not None:
            self.qemu.kill()
            self.qemu.communicate()
            self.qemu = None
        if on and self.works:
            self.qemu = start_qemu(f"tcp:127.0.0.1:{self.port},server=on,wait=off,nodelay=on")
            _wait_for(self._listens)

    def _listens(self) -> bool:
        """As the kernel tells it, because a connection would be the board's only one."""
        ports = Path("/proc/net/tcp").read_text().splitlines()
        return any(f":{self.port:04X} " in line and " 0A " in line for line in ports)


class PowerSwitch:
    """What labgrid's driver ``simplerest`` asks: ``GET /NAME/1`` and ``/NAME/0``."""

    def __init__(self, names: Sequence[str]) -> None:
        self.sockets = {name: Socket(free_port()) for name in names}
        sockets = self.sockets

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, name, value = self.path.split("/")
                sockets[name].switch(value == "1")
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        # One thread for all requests, because boards end with the thread that has started them.
        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        for one in self.sockets.values():
            one.works = False
            one.switch(False)


@dataclass
class Farm:
    """coordinator: HOST:PORT; power: of the places that have a switch; client: labgrid's command
    line, with the rest of its arguments."""

    coordinator: str
    power: PowerSwitch
    client: Callable[..., str]

    def acquired(self, place: str) -> bool:
        """Whether someone holds the place."""
        shown = self.client("-p", place, "show")
        match = re.search(r"^ *acquired: (.*)$", shown, re.MULTILINE)
        assert match is not None, shown
        return match[1] != "None"


@contextlib.contextmanager
def farm(folder: Path, switched: Sequence[str], by_ser2net: Sequence[str] = ()) -> Iterator[Farm]:
    """A running farm with a place for each name; in the end everything of it is gone."""
    address = f"127.0.0.1:{free_port()}"
    scripts = Path(sys.executable).parent

    def tool(name: str) -> str:
        found = shutil.which(name, path=str(scripts)) or shutil.which(name)
        assert found is not None, f"{name} is not where labgrid is"
        return found

    def client(*arguments: str) -> str:
        done = subprocess.run(
            [tool("labgrid-client"), "-x", address, *arguments],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    build(load_board(BOARD))
    with contextlib.ExitStack() as stack:
        power = PowerSwitch(switched)
        stack.callback(power.close)
        groups: dict[str, dict[str, object]] = {}
        for name, one in power.sockets.items():
            groups[name] = {
                "NetworkSerialPort": {"host": "127.0.0.1", "port": one.port, "protocol": "raw"},
                "NetworkPowerPort": {
                    "model": "simplerest",
                    "host": f"{power.url}/{name}/{{value}}",
                    "index": 0,
                },
            }
        for name in by_ser2net:
            qemu = start_qemu("pty")
            stack.callback(_end, qemu)
            assert qemu.stdout is not None
            match = re.search(rb"redirected to (/dev/pts/\d+)", qemu.stdout.readline())
            assert match is not None
            groups[name] = {"RawSerialPort": {"port": match[1].decode(), "speed": 115200}}
        (folder / "exporter.yaml").write_text(json.dumps(groups))  # JSON is YAML
        log = stack.enter_context((folder / "labgrid.log").open("wb"))

        def start(*command: str) -> None:
            process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, preexec_fn=_tied
            )
            stack.callback(_end, process)

        start(tool("labgrid-coordinator"), "-l", address)
        host, port = address.split(":")
        _wait_for(lambda: _answers(host, int(port)))
        start(
            tool("labgrid-exporter"),
            *("-c", address, "-n", "exporter", "--hostname", "127.0.0.1", "exporter.yaml"),
        )
        _wait_for(lambda: all(f"exporter/{name}/" in client("resources") for name in groups))
        for name in groups:
            client("-p", name, "create")
            client("-p", name, "add-match", f"exporter/{name}/*")
        yield Farm(address, power, client)


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
        return True
    return False


def _wait_for(sign: Callable[[], bool]) -> None:
    for _ in range(_SECONDS * 20):
        if sign():
            return
        select.select([], [], [], 0.05)
    raise AssertionError("it does not start")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
