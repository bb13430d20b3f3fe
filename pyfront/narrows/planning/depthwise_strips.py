# SPDX-License-Identifier: Apache-2.0
"""What depthwise kernels do that take four channels at a time: which loop a strip goes through
depends on how many pixels it has (``runtime/kernels/depthwise_dsp.c``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from narrows.graph.qgraph import QDepthwise


def strips_of_fours(op: QDepthwise, pixels: int, slices: Sequence[int], calls: int) -> Counter[str]:
    """Strips of so many pixels. Those of 3x3 go by fours of pixels and a three, the rest by twos
    and one by one.

    slices: channels of each; calls: for each slice.
    """
    kernel_h, kernel_w = op.weights.shape[:2]
    taps, stride = kernel_h * kernel_w, op.stride[1]
    is_usual = (kernel_h, kernel_w, op.dilation[1]) == (3, 3, 1) and stride <= 2
    fours = sum(-(-channels // 4) for channels in slices)
    done: Counter[str] = Counter()
    if op.depth_multiplier > 1:
        done["depthwise.repeat"] += calls * pixels * sum(slices) * taps
        return done
    left = pixels
    for name, size, is_taken in (
        ("four", 4, is_usual),
        ("three", 3, is_usual),
        ("two", 2, True),
        ("one", 1, True),
    ):
        times, left = divmod(left, size) if is_taken else (0, left)
        done[f"{name}.strip"] += calls * times
        done[f"{name}.group"] += calls * times * fours
        done[f"{name}.tap"] += calls * times * fours * (stride if size > 2 else taps)
    return done
