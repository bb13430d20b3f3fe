# SPDX-License-Identifier: Apache-2.0
"""Wrong values of every kind, for the changes of tflite_mutations.py and onnx_mutations.py."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

# So many of the changes are of bytes, whatever they mean; the others are of the structure.
OF_BYTES = 0.08
INTS = (-1, 0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 127, 128, 255, 256, 1000, 4096, 65535, 65536)
LARGE_INTS = (2**24, 2**30, 2**31 - 1, -(2**31), -128, -129, -2, -3, -4, -32768)
FLOATS = (
    0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 6.0, 1e-3, 1e-10, 1e-38, 1e-45, 1e10, 3e38,
    1 / 256, 1 / 128, 2.0**-19, 2.0**-31, 2.0**31, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip


def draw_int(rng: Random) -> int:
    return rng.choice(INTS if rng.random() < 0.85 else LARGE_INTS)


def draw_float(rng: Random, value: float) -> float:
    """A near, a scaled or an extreme value."""
    match rng.randrange(4):
        case 0:
            return rng.choice(FLOATS)
        case 1:
            return value * 2.0 ** rng.randrange(-40, 41)
        case 2:
            return float(np.nextafter(np.float32(value), np.float32(rng.choice((-1, 1)) * 1e38)))
        case _:
            return value * rng.uniform(0.1, 10)


def as_list(values: Any) -> list[Any]:
    return [] if values is None else list(values)


def change_list(values: Any, rng: Random, draw: Callable[[], Any]) -> list[Any]:
    """An element other, more, fewer or elsewhere."""
    items = as_list(values)
    match rng.randrange(8):
        case 0:
            items.insert(rng.randint(0, len(items)), draw())
        case 1:
            del items[rng.randrange(len(items))]
        case 2:
            i, j = rng.randrange(len(items)), rng.randrange(len(items))
            items[i], items[j] = items[j], items[i]
        case 3:
            i = rng.randrange(len(items))
            items[i] = items[i] + rng.choice((-1, 1))
        case _:
            items[rng.randrange(len(items))] = draw()
    return items


def mutate_bytes(data: bytes, rng: Random) -> bytes:
    """A byte, a word or the length changed, whatever it means."""
    changed = bytearray(data)
    match rng.randrange(4):
        case 0:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        case 1:
            changed[rng.randrange(len(changed))] = rng.choice((0, 1, 127, 128, 255))
        case 2:
            place = rng.randrange(max(1, len(changed) - 3)) & ~3
            word = rng.choice((draw_int(rng), rng.randrange(len(data)))) & 0xFFFFFFFF
            changed[place : place + 4] = word.to_bytes(4, "little")
        case _:
            del changed[rng.randrange(len(changed)) :]
    return bytes(changed)
