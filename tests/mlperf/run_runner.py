# SPDX-License-Identifier: Apache-2.0
"""MLPerf Tiny's own runner, unmodified, drives narrows firmware on a board in QEMU.

    python tests/mlperf/run_runner.py CHECKOUT --accuracy
    python tests/mlperf/run_runner.py CHECKOUT --performance

CHECKOUT is one of https://github.com/mlcommons/tiny. Its runner needs Python packages that narrows
does not need (numpy scikit-learn matplotlib PyYAML pyserial pyusb) and the library libusb-1.0;
``--python`` names an interpreter that has them.

The runner reads a data set from a folder: a file for each input with the bytes that go to the
device, and y_labels.csv with a line "file,classes,class" for each. ``--data`` is an .npz from which
that folder is made: x [n, 49, 10, 1] int8, y [n] the classes, names [n] the files. The runner finds
its device among the serial ports; a terminal device in front of QEMU's UART stands for one
(as_port.py).

Accuracy: every score that the runner has got must be the one that the host computes. Performance:
the runner's throughput is by the board's clock, which under QEMU counts instructions, one a
nanosecond, and says nothing about the speed of a board that exists. The runner wants its five
windows to last 10 s together, by the clock on the wall, and no answer to take 30 s. Its own 70
inferences in a window can be too few for that; ``--inferences`` says how many there are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import select
import socket
import subprocess
import sys
import tempfile
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from narrows.blob import Blob, parse_blob
from narrows.boards import load_board
from narrows.compiler import compile_model
from narrows.errors import NarrowsError
from narrows.link import firmware
from narrows.link.qemu import Qemu
from narrows.link.store import Update, image
from narrows.native import Run

HERE = Path(__file__).resolve().parent
SHARED = HERE.parents[2] / "shared"
BENCHMARK, CLASSES = "kws01", 12
PERFORMANCE = """{benchmark}:
  name: keyword_spotting
  model: {benchmark}
  truth_file: y_labels.csv
  script:
    - loop 5:
      - download
      - infer {inferences} 10
"""
LAST_DECIMAL = 1e-3


def write_data_set(data: Any, folder: Path) -> None:
    """What the runner reads, from x, y and names."""
    folder.mkdir(parents=True)
    lines = []
    for name, values, label in zip(data["names"], data["x"], data["y"], strict=True):
        (folder / str(name)).write_bytes(values.tobytes())
        lines.append(f"{name},{CLASSES},{label}\n")
    (folder / "y_labels.csv").write_text("".join(lines))


@contextlib.contextmanager
def terminal(url: str) -> Iterator[str]:
    """The name of a terminal device that leads to a TCP socket."""
    host, port = url.removeprefix("socket://").rsplit(":", 1)
    master, slave = pty.openpty()
    tty.setraw(slave)
    stop = threading.Event()

    def carry(line: socket.socket) -> None:
        while not stop.is_set():
            ready, _, _ = select.select([master, line], [], [], 0.1)
            if master in ready:
                line.sendall(os.read(master, 4096))
            if line in ready:
                received = line.recv(4096)
                if not received:
                    return
                os.write(master, received)

    with socket.create_connection((host, int(port))) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        carrier = threading.Thread(target=carry, args=(line,), daemon=True)
        carrier.start()
        try:
            yield os.ttyname(slave)
        finally:
            stop.set()
            carrier.join()
            os.close(slave)
            os.close(master)


def run(arguments: argparse.Namespace, blob: Blob, folder: Path) -> list[dict[str, Any]]:
    """Let the runner do its work, in a folder that has its data set. Returns: its results.json."""
    runner = arguments.checkout.resolve() / "benchmark" / "runner"
    script = runner / "tests_accuracy.yaml"
    if arguments.mode == "p":
        script = folder / "tests_performance.yaml"
        text = PERFORMANCE.format(benchmark=BENCHMARK, inferences=arguments.inferences)
        script.write_text(text)
    board = load_board(arguments.board)
    contents = image(board.models, blob.data, Update.of(blob.data, blob.name))
    program = firmware.build(board, protocol="mlperf")
    with Qemu(board, program, contents) as qemu, terminal(qemu.url) as device:
        command = [arguments.python, HERE / "as_port.py", device, runner]
        command += ["--device_list", runner / "devices_kws_ic_vww.yaml"]
        command += ["--test_script", script]
        command += ["--dataset_path", folder, "--mode", arguments.mode]
        environment = {**os.environ, "MPLBACKEND": "agg", "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(list(map(str, command)), cwd=folder, env=environment, check=True)
    (session,) = (folder / "sessions").iterdir()
    print((session / "results.txt").read_text(), end="")
    results = json.loads((session / "results.json").read_text())
    assert isinstance(results, list)
    return results


def differing(results: list[dict[str, Any]], blob: Blob, data: Any) -> list[str]:
    """The files whose scores are not, to three decimals, those that the host computes."""
    inputs = dict(zip(map(str, data["names"]), data["x"], strict=True))
    edge, inference = blob.outputs[0], Run(blob.model)
    wrong = []
    for result in results:
        if "file" not in result:
            continue
        scores = inference.infer([inputs[result["file"]]])[0].ravel().astype(int)
        wanted = (scores - edge.tensor_zero_point) * edge.tensor_scale
        found = np.array(result["infer"]["results"])
        if found.shape != wanted.shape or abs(found - wanted).max() > 0.501 * LAST_DECIMAL:
            wrong.append(result["file"])
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path, help="of mlcommons/tiny")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--accuracy", dest="mode", action="store_const", const="a")
    mode.add_argument("--performance", dest="mode", action="store_const", const="p")
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "mlperf_kws_int8.tflite")
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "kws01.npz")
    parser.add_argument("--board", default="mps2-an386")
    parser.add_argument("--python", default=sys.executable, help="that runs the runner")
    parser.add_argument("--inferences", type=int, default=250, help="in a window (performance)")
    parser.add_argument("--count", type=int, help="take the first so many inputs alone")
    arguments = parser.parse_args()
    if not (arguments.checkout / "benchmark" / "runner" / "main.py").is_file():
        parser.error(
            f"{arguments.checkout}: no checkout of mlcommons/tiny: no benchmark/runner/main.py"
        )
    try:
        with np.load(arguments.data) as stored:
            data = {key: stored[key][: arguments.count] for key in ("x", "y", "names")}
        blob = parse_blob(compile_model(arguments.model).blob)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_data_set(data, folder / BENCHMARK)
            results = run(arguments, blob, folder)
    except (NarrowsError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    errors = [f"the runner says {result['error']}" for result in results if "error" in result]
    if wrong := differing(results, blob, data):
        errors.append(f"{len(wrong)} inputs have other scores on the host: {', '.join(wrong[:5])}")
    for text in errors:
        print(f"error: {text}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
