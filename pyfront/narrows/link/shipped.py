# SPDX-License-Identifier: Apache-2.0
"""``python -m narrows.link.shipped FOLDER [BOARD...]`` builds the images that a wheel has."""

from __future__ import annotations

import sys
from pathlib import Path

from narrows.boards import load_board, load_boards
from narrows.link.firmware import build_shipped


def main(folder: str, *names: str) -> None:
    """Build them. names: of boards; none: all."""
    build_shipped(Path(folder), map(load_board, names) if names else load_boards())


if __name__ == "__main__":
    main(*sys.argv[1:])
