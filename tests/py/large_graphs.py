# SPDX-License-Identifier: Apache-2.0
"""Networks of any size and of many structures, whose planning must stay short."""

from __future__ import annotations

import numpy as np

from narrows.graph.qgraph import QGraph
from narrows.zoo.networks import V2_STAGES
from random_graphs import GraphBuilder


def builder() -> GraphBuilder:
    return GraphBuilder(np.random.default_rng(0))


def residuals(blocks: int, size: int = 32, channels: int = 16) -> QGraph:
    """Inverted residuals that are all alike."""
    build = builder()
    x = build.conv(build.input(size, size, 3), channels, (3, 3))
    for _ in range(blocks):
        x = build.inverted_residual(x, 6, channels)
    return build.graph([x])


def lookups(count: int, size: int = 32, channels: int = 8) -> QGraph:
    """LEAKY_RELUs in a row."""
    build = builder()
    x = build.input(size, size, channels)
    for _ in range(count):
        x = build.lookup(x)
    return build.graph([x])


def convolutions(count: int, size: int = 32, channels: int = 8) -> QGraph:
    """3x3 convolutions in a row."""
    build = builder()
    x = build.input(size, size, channels)
    for _ in range(count):
        x = build.conv(x, channels, (3, 3))
    return build.graph([x])


def ladder(steps: int, size: int = 16, channels: int = 4, reach: int = 2) -> QGraph:
    """Sums of the last tensor and of the one so many steps before; 0: of the network's input."""
    build = builder()
    made = [build.input(size, size, channels)]
    for _ in range(steps):
        before = made[-reach] if 0 < reach <= len(made) else made[0]
        made.append(build.elementwise(made[-1], before))
    return build.graph([made[-1]])


def tall(height: int, width: int = 8, channels: int = 2) -> QGraph:
    """Two convolutions of a long strip."""
    build = builder()
    x = build.conv(build.input(height, width, channels), 8, (3, 3), (2, 2))
    return build.graph([build.conv(x, 8, (3, 3))])


def branches(count: int, size: int = 32, depth: int = 2) -> QGraph:
    """Chains of convolutions of one tensor, added up."""
    build = builder()
    x = build.conv(build.input(size, size, 3), 8, (3, 3))
    total = x
    for _ in range(count):
        y = x
        for _ in range(depth):
            y = build.conv(y, 8, (3, 3))
        total = build.elementwise(total, y)
    return build.graph([total])


def backbone(build: GraphBuilder, x: int, width: float = 1.0) -> list[int]:
    """MobileNetV2's bottlenecks; returns the last tensor of each resolution, the largest first."""

    def channels(count: float) -> int:
        return max(8, int(count * width + 4) // 8 * 8)

    x = build.conv(x, channels(32), (3, 3), (2, 2))
    found: list[int] = []
    for expansion, out, repeats, stride in V2_STAGES:
        if stride == 2:
            found.append(x)
        for repeat in range(repeats):
            step = 1 if repeat else stride
            x = build.inverted_residual(x, expansion, channels(out), stride=step)
    return [*found, x]


def mobilenet(size: int = 224, width: float = 1.0) -> QGraph:
    """MobileNetV2."""
    build = builder()
    x = backbone(build, build.input(size, size, 3), width)[-1]
    x = build.mean(build.conv(x, 1280))
    return build.graph([build.softmax(build.conv(x, 1000))])


def merged(build: GraphBuilder, levels: list[int], channels: int) -> list[int]:
    """A feature pyramid: the small levels are enlarged and added to the large ones."""
    sides = [build.conv(level, channels) for level in levels]
    found = [sides[-1]]
    for side in reversed(sides[:-1]):
        height, width, _ = build.shape(side)
        found.insert(0, build.elementwise(side, build.resize(found[0], height, width)))
    return found


def separable(build: GraphBuilder, x: int, channels: int, stride: int = 1) -> int:
    return build.conv(build.depthwise(x, (3, 3), (stride, stride)), channels)


def pose(size: int = 192) -> QGraph:
    """Like MoveNet: MobileNetV2, a pyramid of four levels, and four heads on its largest."""
    build = builder()
    levels = backbone(build, build.input(size, size, 3))[1:]
    sides = [build.conv(level, c) for level, c in zip(levels, (24, 32, 64, 64), strict=True)]
    x = sides[-1]
    for side, out in zip(reversed(sides[:-1]), (32, 24, 24), strict=True):
        height, width, channels = build.shape(side)
        if build.shape(x)[2] != channels:
            x = separable(build, x, channels)
        x = build.elementwise(side, build.resize(x, height, width))
        x = separable(build, x, out)
    return build.graph([build.conv(separable(build, x, 96), out) for out in (1, 34, 17, 34)])


def detector(size: int = 320, depth: int = 4, channels: int = 128) -> QGraph:
    """Like SSD MobileNetV2 FPNLite: a pyramid of five levels, each with two deep heads."""
    build = builder()
    levels = backbone(build, build.input(size, size, 3))[2:]
    pyramid = merged(build, levels, channels)
    pyramid = [separable(build, level, channels) for level in pyramid[:-1]] + pyramid[-1:]
    for _ in range(2):
        pyramid.append(separable(build, pyramid[-1], channels, 2))
    outputs = []
    for level in pyramid:
        for out in (24, 6 * 91):
            x = level
            for _ in range(depth):
                x = separable(build, x, channels)
            x = separable(build, x, out)
            height, width, wide = build.shape(x)
            outputs.append(build.reshape(x, 1, height * width * 6, wide // 6))
    return build.graph(outputs)


def plain_detector(size: int = 320) -> QGraph:
    """Like SSD: six ever smaller levels, each with two heads of one convolution."""
    build = builder()
    levels = backbone(build, build.input(size, size, 3))[3:]
    levels[-1] = build.conv(levels[-1], 1280)
    for channels in (512, 256, 256, 128):
        levels.append(separable(build, build.conv(levels[-1], channels // 2), channels, 2))
    heads = [(level, out) for level in levels for out in (24, 6 * 91)]
    return build.graph([separable(build, level, out) for level, out in heads])
