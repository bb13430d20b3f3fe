# SPDX-License-Identifier: Apache-2.0
"""What networks cost on boards in QEMU: instructions, stack, RAM, flash.

``figures.py`` measures and prints; ``--update`` stores the figures in ``budget/qemu.json``, which
tests compare with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from narrows import zoo
from narrows.blob import Blob, parse_blob
from narrows.boards import load_board
from narrows.budget import plan_options
from narrows.compiler import CompileOptions, compile_model
from narrows.data import load_input
from narrows.exporters.export import export_tflite
from narrows.graph.edges import Array, encode
from narrows.graph.qgraph import Int8Array
from narrows.link import firmware, open_target
from narrows.models import DIGITS_INT8
from narrows.native import Layout
from narrows.planning import PlanOptions
from narrows.result import Result

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
STORED = ROOT / "tests" / "budget" / "qemu.json"
BOARD = "mps2-an386"
PHOTO = SHARED / "images" / "cat.bmp"
GROWTH = 1.02
# Bytes of stack of the line's interrupt: its frame, alignment, and what the handler saves.
INTERRUPT = 48
STACKED = ("stack_bytes", "ram_high_water_bytes")


@dataclass(frozen=True)
class Network:
    """file: the model, or options of the zoo's MobileNetV2. board: where it runs. fits: compiled
    as ``--board`` says; else the default plan, for the board's kernels."""

    file: Path | None
    board: str = BOARD
    fits: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def model(self) -> bytes:
        """The .tflite file."""
        if self.file is not None:
            return self.file.read_bytes()
        return export_tflite(zoo.quantized("mobilenet_v2", **self.options))

    def compiled(self, name: str | None = None) -> Blob:
        """name: of another board, whose kernels decide."""
        board = load_board(name or self.board)
        options = plan_options(None, board) if self.fits else PlanOptions()
        layout = Layout[board.core.layout.upper()]
        options = replace(options, layout=layout, kernels=board.core.kernels)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            path.write_bytes(self.model())
            return parse_blob(compile_model(path, CompileOptions(options)).blob)

    def input(self, blob: Blob) -> Array:
        """A photo for the networks that see photos, else bytes from a fixed seed; in the model's
        own type."""
        (edge,) = blob.inputs
        if self.file is None or self.file == DIGITS_INT8:
            return np.random.default_rng(0).integers(-128, 128, edge.shape).astype(np.int8)
        return load_input(edge, blob.preprocessing, PHOTO)

    def measure(self, blob: Blob, inputs: list[Int8Array]) -> tuple[Result, Figures]:
        """Run once on the board."""
        with open_target(f"qemu:{self.board}", blob.data) as target:
            result = target.infer(inputs)
        assert result.instructions is not None
        return result, Figures(
            result.instructions, result.arena_bytes, result.stack_bytes, result.ram_high_water_bytes
        )


@dataclass(frozen=True)
class Figures:
    """All but instructions in bytes."""

    instructions: int
    arena_bytes: int
    stack_bytes: int
    ram_high_water_bytes: int


def shared(name: str) -> Path:
    return SHARED / "models" / f"{name}.tflite"


NETWORKS = {
    "digits": Network(DIGITS_INT8),
    "mlperf_vww_96_int8": Network(shared("mlperf_vww_96_int8")),
    "tinyengine_vww": Network(shared("tinyengine_vww")),
    "mobilenet_v2_1.0_224_ptq": Network(
        shared("mobilenet_v2_1.0_224_ptq"), "mps2-an386-64k", fits=True
    ),
    "mobilenet_v2_0.35_96": Network(
        None, "mps2-an386-16k", fits=True, options={"width": 0.35, "size": 96}
    ),
}


def firmware_bytes() -> dict[str, int]:
    """flash: the firmware with the runtime, without a model; ram: its variables."""
    image = firmware.build(load_board(BOARD))
    done = subprocess.run(
        ["arm-none-eabi-size", "-A", image], check=True, capture_output=True, text=True
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    sizes = {row[0]: int(row[1]) for row in rows if len(row) == 3 and row[0].startswith(".")}
    return {
        "flash": sizes[".text"] + sizes.get(".data", 0),
        "ram": sizes.get(".data", 0) + sizes[".bss"],
    }


def grown(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """What has grown by more than 2%; a line each. The line's interrupt comes at the deepest moment
    of one run and not of another: what it takes may be there or not."""
    return [
        f"{key}: {now[key]}, was {before[key]}; if that is meant: tests/board/figures.py --update"
        for key in before
        if now[key] > before[key] * GROWTH + (INTERRUPT if key in STACKED else 0)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--update", action="store_true", help="store the figures")
    arguments = parser.parse_args()
    networks = {}
    for name, network in NETWORKS.items():
        blob = network.compiled()
        inputs = [encode(blob.inputs[0], network.input(blob))]
        networks[name] = asdict(network.measure(blob, inputs)[1])
    figures = {"board": BOARD, "firmware": firmware_bytes(), "networks": networks}
    text = json.dumps(figures, indent=2) + "\n"
    print(text, end="")
    if arguments.update:
        STORED.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
