# SPDX-License-Identifier: Apache-2.0
"""The zoo beside the MobileNetV2 paper's tables 3 to 7, counted from the layers' shapes."""

from __future__ import annotations

from dataclasses import dataclass

from narrows.graph.graph import Graph, Operator
from narrows.zoo.measure import largest_materialized, multiply_adds, parameters
from narrows.zoo.networks import (
    deeplab_v3,
    ds_cnn,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    resnet8,
    ssdlite,
)
from narrows.zoo.others import nasnet_a, shufflenet

# Differences that need no explanation: papers print two or three digits.
PARAMETER_TOLERANCE = 0.035
MULTIPLY_ADD_TOLERANCE = 0.012
# Table 5 predicts 80 classes, and the background.
_DETECTED = 81


@dataclass(frozen=True)
class Row:
    """A line of a table.

    printed_*: what the paper prints; None where it prints nothing.
    explanation: of a difference beyond the tolerances.
    """

    table: str
    network: str
    parameters: int
    multiply_adds: int
    printed_parameters: float | None = None
    printed_multiply_adds: float | None = None
    explanation: str = ""

    @property
    def deviations(self) -> tuple[float | None, float | None]:
        """Relative differences of parameters and multiply-adds from what is printed."""
        return (
            _deviation(self.parameters, self.printed_parameters),
            _deviation(self.multiply_adds, self.printed_multiply_adds),
        )

    @property
    def fits(self) -> bool:
        """Both differences are within the tolerances."""
        limits = (PARAMETER_TOLERANCE, MULTIPLY_ADD_TOLERANCE)
        return all(
            d is None or abs(d) <= limit for d, limit in zip(self.deviations, limits, strict=True)
        )


@dataclass(frozen=True)
class Maximum:
    """A line of Table 3. bytes: of the largest tensor that has to exist as a whole, 16 bits an
    activation; printed: the paper's, in bytes."""

    network: str
    shape: str
    bytes: int
    printed: int


def compare() -> list[Row]:
    """Every network of the zoo beside what is printed. Parameters are weights and biases, with
    batch normalization folded; multiply-adds those of convolutions and dense layers."""
    lite, full = (ssdlite(classes=_DETECTED, seed=None, separable=s) for s in (True, False))
    rows = [
        _row("4", "MobileNetV1", mobilenet_v1(seed=None), 4.2e6, 575e6),
        _row("4", "MobileNetV2", mobilenet_v2(seed=None), 3.4e6, 300e6),
        _row(
            "4",
            "MobileNetV2 1.4",
            mobilenet_v2(1.4, seed=None),
            6.9e6,
            585e6,
            "the layers' shapes leave no room for 6.9 M: 3.5 M in stem and bottlenecks, 0.8 M in "
            "the last convolution (448 to 1792 channels), 1.8 M in the classifier (1792 to "
            "1000); 6.9 M would be the sum with the last convolution counted twice",
        ),
        _row("4", "ShuffleNet 1.5", shufflenet(1.5, seed=None), 3.4e6, 292e6),
        _row("4", "ShuffleNet x2", shufflenet(2.0, seed=None), 5.4e6, 524e6),
        _row("4", "NASNet-A", nasnet_a(seed=None), 5.3e6, 564e6),
        _row("5", "SSD layers on MobileNetV2, 320", full, 14.8e6, 1.25e9, part=_prediction(full)),
        _row(
            "5",
            "SSDLite layers on MobileNetV2, 320",
            lite,
            2.1e6,
            0.35e9,
            "0.18 B is what these layers' shapes give, and what Table 6 leaves them: 0.8 B in "
            "all, 0.61 B of it in MobileNetV2 at 320; 0.35 B is twice that, as if multiplications "
            "and additions were counted apart, which SSD's 1.25 B in the line above does not do",
            _prediction(lite),
        ),
        _row(
            "6",
            "MobileNetV2 + SSDLite, 320",
            lite,
            4.3e6,
            0.8e9,
            "0.789 B, printed with one digit",
        ),
        _row("7", "MobileNetV2 + DeepLabv3, 513", deeplab_v3(seed=None), 2.11e6, 2.75e9),
        _row(
            "7",
            "MobileNetV2 + DeepLabv3 with ASPP, 513",
            deeplab_v3(seed=None, pyramid=True),
            4.52e6,
            5.8e9,
            "the pyramid's parameters, 4.52 M - 2.11 M as printed, are used at each of 33 x 33 "
            "places, which is 2.62 B beside the 2.75 B without it, and 5.37 B in all",
        ),
        _row("V3", "MobileNetV3-Small", mobilenet_v3(seed=None), 2.5e6, 56e6),
        _row("-", "SSDLite, 91 classes, 320", ssdlite(seed=None)),
        _row("-", "ResNet-8", resnet8(seed=None)),
        _row("-", "DS-CNN", ds_cnn(seed=None)),
    ]
    return rows


def compare_maxima() -> list[Maximum]:
    """Table 3: the most memory that a tensor needs that has to exist as a whole."""
    result = []
    for network, graph, printed in (
        ("MobileNetV1", mobilenet_v1(seed=None), 1_600_000),
        ("MobileNetV2", mobilenet_v2(seed=None), 400_000),
    ):
        size, shape = largest_materialized(graph, bits=16)
        result.append(Maximum(network, shape, size, printed))
    return result


def _row(
    table: str,
    network: str,
    graph: Graph,
    printed_parameters: float | None = None,
    printed_multiply_adds: float | None = None,
    explanation: str = "",
    part: tuple[Operator, ...] | None = None,
) -> Row:
    return Row(
        table,
        network,
        parameters(graph, part),
        multiply_adds(graph, part),
        printed_parameters,
        printed_multiply_adds,
        explanation,
    )


def _prediction(graph: Graph) -> tuple[Operator, ...]:
    """What detection adds behind MobileNetV2's last convolution."""
    return tuple(
        operator
        for operator in graph.operators
        if graph.tensors[operator.output].name.startswith(("extra_", "scale_"))
    )


def _deviation(value: float, printed: float | None) -> float | None:
    return None if printed is None else value / printed - 1
