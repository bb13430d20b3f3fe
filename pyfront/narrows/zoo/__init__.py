# SPDX-License-Identifier: Apache-2.0
"""Networks with seeded weights, so that planning and benchmarks need no trained model."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from narrows.errors import UsageError
from narrows.graph.graph import Graph
from narrows.graph.passes import drop_unused, fuse_activations
from narrows.quantization.quantize import apply_ranges, quantize, separate_scales
from narrows.zoo.builder import pictures
from narrows.zoo.metadata import metadata
from narrows.zoo.networks import (
    NETWORKS,
    deeplab_v3,
    ds_cnn,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    resnet8,
    ssdlite,
)

__all__ = [
    "NETWORKS",
    "build",
    "deeplab_v3",
    "ds_cnn",
    "metadata",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3",
    "pictures",
    "quantized",
    "resnet8",
    "shapes",
    "ssdlite",
]

# Pictures that calibrate; others than those that the weights are fitted to.
_CALIBRATION_SEED = 1_000_003


def build(name: str, **options: Any) -> Graph:
    """A float network. options: ``seed`` and those of NETWORKS[name].

    Raises:
        UsageError: no such network or option.
    """
    if name not in NETWORKS:
        raise UsageError(f"no network {name!r} in the zoo; it has {', '.join(NETWORKS)}")
    known = (*NETWORKS[name].options, "seed")
    for option in options:
        if option not in known:
            raise UsageError(f"{name} has no option {option!r}; it has {', '.join(known)}")
    return NETWORKS[name].build(**options)


def shapes(name: str, **options: Any) -> Graph:
    """The same network in int8 without numbers: weights are 0 and every tensor ranges from -1
    to 1. To plan, at no cost.

    Args:
        options: as build; no seed.
    """
    graph = separate_scales(fuse_activations(build(name, **options, seed=None)))
    live = [port.tensor for port in graph.inputs] + [op.output for op in graph.operators]
    return drop_unused(apply_ranges(graph, dict.fromkeys(live, (-1.0, 1.0))))


@lru_cache(maxsize=8)
def quantized(name: str, samples: int = 4, **options: Any) -> Graph:
    """The same network in int8, calibrated by the extremes of seeded pictures; the last few
    are remembered.

    Args:
        samples: pictures to calibrate with.
        options: as build.
    """
    graph = build(name, **options)
    shape = graph.tensors[graph.inputs[0].tensor].shape
    assert len(shape) == 3
    seed = _CALIBRATION_SEED + (options.get("seed") or 0)
    return quantize(graph, ([image] for image in pictures(shape, samples, seed)))
