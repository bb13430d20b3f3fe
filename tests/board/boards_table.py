# SPDX-License-Identifier: Apache-2.0
"""What the firmware, the digits and Visual Wake Words cost on every board that an emulator has.

``boards_table.py`` measures and prints; ``--update`` writes the table in ``boards/README.md`` and
the figures in ``budget/boards.json``, which tests compare with.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

from figures import NETWORKS, ROOT

from narrows.blob import Blob
from narrows.boards import Board, load_boards
from narrows.graph.edges import encode
from narrows.link import firmware, open_target
from narrows.link.image import load_segments

PAGE = ROOT / "boards" / "README.md"
STORED = ROOT / "tests" / "budget" / "boards.json"
BEGIN, END = "<!-- boards_table.py -->", "<!-- end -->"
SMALL_CORES = ("cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4")
COLUMNS = (
    ("firmware, flash", "firmware_flash"),
    ("digits: RAM", "digits_ram"),
    ("of it arena and counters", "digits_run"),
    ("of it stack", "digits_stack"),
    ("instructions", "digits_instructions"),
    ("VWW: RAM", "vww_ram"),
    ("instructions", "vww_instructions"),
)


def flash_bytes(board: Board, blob: Blob | None = None) -> int:
    """The flash of a board's firmware, with all operators or with the blob's alone."""
    image = firmware.build(board, blobs=None if blob is None else [blob])
    return sum(len(segment.data) for segment in load_segments(image))


def small(board: Board, cpu: str) -> Board:
    """A board like this one with another core, whose firmware is built to be small."""
    flags = (f"-mcpu={cpu}", "-mthumb", "-mfloat-abi=soft")
    core = replace(board.core, cpu=cpu, flags=flags, kernels="c", layout="plain", small=True)
    return replace(board, core=core)


def measure_network(board: Board, name: str, blob: Blob) -> dict[str, int]:
    """On the board; nothing where it has no room."""
    if len(blob.data) > board.models.room or blob.model.memory_bytes > sum(board.memories):
        return {}
    inputs = [encode(blob.inputs[0], NETWORKS[name].input(blob))]
    with open_target(f"{board.emulator}:{board.name}", blob.data) as target:
        result = target.infer(inputs)
    assert result.instructions is not None
    return {
        "ram": result.ram_high_water_bytes,
        "run": blob.model.memory_bytes,
        "stack": result.stack_bytes,
        "instructions": result.instructions,
    }


def measure_board(board: Board) -> dict[str, int]:
    """All of a row; what the board has no room for is left out."""
    row = {"firmware_flash": flash_bytes(board)}
    for key, name in (("digits", "digits"), ("vww", "mlperf_vww_96_int8")):
        figures = measure_network(board, name, NETWORKS[name].compiled(board.name))
        row |= {f"{key}_{what}": value for what, value in figures.items()}
    return row


def measure_sizes() -> dict[str, dict[str, int]]:
    """Flash of firmware that is built to be small: core -> with all operators, for the digits."""
    boards = {board.name: board for board in load_boards()}
    digits = NETWORKS["digits"].compiled("microbit")
    sizes = {}
    for cpu in SMALL_CORES:
        board = small(boards["mps2-an386"], cpu)
        sizes[cpu] = {"all": flash_bytes(board), "digits": flash_bytes(board, digits)}
    return sizes


def table(figures: dict[str, Any]) -> str:
    """In Markdown; bytes and instructions."""
    lines = ["| board | " + " | ".join(title for title, _ in COLUMNS) + " |"]
    lines.append("|---|" + "---:|" * len(COLUMNS))
    for name, row in figures["boards"].items():
        cells = [f"{row[key]:,}" if key in row else "no room" for _, key in COLUMNS]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "Firmware that is built to be small (`core.optimize`), in bytes of flash:", ""]
    lines += ["| core | every operator | for the digits alone |", "|---|---:|---:|"]
    for cpu, sizes in figures["sizes"].items():
        lines.append(f"| {cpu} | {sizes['all']:,} | {sizes['digits']:,} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--update", action="store_true", help="write table and figures")
    arguments = parser.parse_args()
    boards = [board for board in load_boards() if board.emulator is not None]
    figures = {
        "boards": {board.name: measure_board(board) for board in boards},
        "sizes": measure_sizes(),
    }
    print(table(figures))
    if arguments.update:
        STORED.write_text(json.dumps(figures, indent=2) + "\n")
        before, rest = PAGE.read_text().split(BEGIN)
        after = rest.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n{table(figures)}\n{END}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
