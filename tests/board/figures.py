# SPDX-License-Identifier: Apache-2.0
"""What networks cost on a board in QEMU: instructions, stack, RAM, flash.

``figures.py`` measures and prints; ``--update`` stores the figures in ``budget/qemu.json``, which
tests compare with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from narrows.blob import Blob, parse_blob
from narrows.boards import load_board
from narrows.compile import compile_model
from narrows.data import load_input
from narrows.graph.edges import encode
from narrows.graph.qgraph import Int8Array
from narrows.link import firmware, open_target
from narrows.models import DIGITS_INT8
from narrows.result import Result

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
STORED = ROOT / "tests" / "budget" / "qemu.json"
BOARD = "mps2-an386"
PHOTO = SHARED / "images" / "cat.bmp"
NETWORKS = {
    "digits": DIGITS_INT8,
    **{
        name: SHARED / "models" / f"{name}.tflite"
        for name in ("mlperf_vww_96_int8", "tinyengine_vww", "mobilenet_v2_1.0_224_ptq")
    },
}
GROWTH = 1.03


@dataclass(frozen=True)
class Figures:
    """All but instructions in bytes."""

    instructions: int
    arena_bytes: int
    stack_bytes: int
    ram_high_water_bytes: int


def network_input(name: str, blob: Blob) -> list[Int8Array]:
    """A photo for the networks that see photos, else bytes from a fixed seed."""
    (edge,) = blob.inputs
    if name == "digits":
        shape = blob.model.inputs[0].shape
        return [np.random.default_rng(0).integers(-128, 128, shape).astype(np.int8)]
    return [encode(edge, load_input(edge, blob.preprocessing, PHOTO))]


def compiled(name: str) -> Blob:
    """A network with its default plan."""
    return parse_blob(compile_model(NETWORKS[name]).blob, name)


def measure(blob: Blob, inputs: list[Int8Array]) -> tuple[Result, Figures]:
    """Run once on the board."""
    with open_target(f"qemu:{BOARD}", blob.data) as target:
        result = target.infer(inputs)
    assert result.instructions is not None
    return result, Figures(
        result.instructions, result.arena_bytes, result.stack_bytes, result.ram_high_water_bytes
    )


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
    """What has grown by more than 3%; a line each."""
    return [
        f"{key}: {now[key]}, was {before[key]}; if that is meant: tests/board/figures.py --update"
        for key in before
        if now[key] > before[key] * GROWTH
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--update", action="store_true", help="store the figures")
    arguments = parser.parse_args()
    networks = {}
    for name in NETWORKS:
        blob = compiled(name)
        networks[name] = asdict(measure(blob, network_input(name, blob))[1])
    figures = {"board": BOARD, "firmware": firmware_bytes(), "networks": networks}
    text = json.dumps(figures, indent=2) + "\n"
    print(text, end="")
    if arguments.update:
        STORED.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
