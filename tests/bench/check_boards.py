# SPDX-License-Identifier: Apache-2.0
"""How long a check of a thousand digits takes on one board in QEMU, and shared out over several.

    python tests/bench/check_boards.py [--boards 1 4] [--count 1000]

The held-out digits are repeated until there are enough.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np

from narrows.blob import parse_blob
from narrows.checking import check, parse_targets, tflm_reference
from narrows.compiler import CompileOptions, compile_model
from narrows.data import Dataset
from narrows.models import DIGITS_INT8, DIGITS_METADATA, load_held_out, prepare_digits


def digits(count: int) -> Dataset:
    """Held-out digits with their classes, each as often as it takes."""
    held_out = load_held_out()
    chosen = np.arange(count) % len(held_out.labels)
    images = prepare_digits(held_out.images)
    return Dataset(images[chosen], held_out.labels[chosen].astype(np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--board", default="mps2-an386")
    parser.add_argument("--boards", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--count", type=int, default=1000)
    arguments = parser.parse_args()
    options = CompileOptions(metadata=DIGITS_METADATA)
    blob = parse_blob(compile_model(DIGITS_INT8, options).blob)
    dataset, reference = digits(arguments.count), tflm_reference(blob, DIGITS_INT8)
    for boards in arguments.boards:
        specs = parse_targets([f"qemu:{arguments.board}*{boards}"])
        load, began = os.getloadavg()[0], time.monotonic()
        found = check(blob, dataset, specs, reference)
        seconds = time.monotonic() - began
        assert found.agree
        assert found.missing == 0
        print(
            f"{boards} boards: {seconds:.0f} s with opening them, "
            f"{found.total.items_per_second:.1f} items/s (load {load:.1f} of "
            f"{os.cpu_count()} cores before)"
        )


if __name__ == "__main__":
    main()
