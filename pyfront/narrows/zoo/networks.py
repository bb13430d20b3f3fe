# SPDX-License-Identifier: Apache-2.0
"""The networks: MobileNets, and what is built on them, and two of MLPerf Tiny.

Batch normalization is folded: each convolution has a bias. A residual block's tensors are
named ``block_N/expand``, ``block_N/depthwise``, ``block_N/project``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from narrows.graph.graph import Graph, UnaryFunction
from narrows.graph.qgraph import Elementwise
from narrows.zoo.builder import CUT, NONE, RELU, RELU6, Builder, Spread
from narrows.zoo.naming import check, named
from narrows.zoo.others import nasnet_a, shufflenet

# MobileNetV2 paper, Table 2: expansion, channels, repeats, stride of the first.
V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
# MobileNetV1 paper, Table 1: channels and stride of each separable convolution.
_V1_LAYERS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *((512, 1),) * 5,
    (1024, 2),
    (1024, 1),
)
# MobileNetV3 paper, Table 2: kernel, expanded, channels, squeeze-and-excitation, h-swish, stride.
_V3_BLOCKS = (
    (3, 16, 16, True, False, 2),
    (3, 72, 24, False, False, 2),
    (3, 88, 24, False, False, 1),
    (5, 96, 40, True, True, 2),
    (5, 240, 40, True, True, 1),
    (5, 240, 40, True, True, 1),
    (5, 120, 48, True, True, 1),
    (5, 144, 48, True, True, 1),
    (5, 288, 96, True, True, 2),
    (5, 576, 96, True, True, 1),
    (5, 576, 96, True, True, 1),
)
# DeepLabv3 paper, section 3.3: dilations of the pyramid at output stride 16.
_RATES = (6, 12, 18)
_H_SWISH = Spread((-1.0, 2.0), (1.0, 2.5))


def rounded(channels: float, divisor: int = 8) -> int:
    """Channels of a width multiplier: the nearest multiple, but not under 90%."""
    result = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return result + divisor if result < 0.9 * channels else result


@dataclass(frozen=True)
class _Features:
    """What detection and segmentation read of MobileNetV2. narrow: the last bottleneck.
    expanded: the first expansion at stride 16 whose depthwise convolution goes to 32."""

    narrow: int
    expanded: int


def mobilenet_v1(
    width: float = 1.0, size: int = 224, classes: int = 1000, seed: int | None = 0
) -> Graph:
    """MobileNetV1 up to the logits.

    Args:
        width: multiplier of all channels. size: height and width of the input.
        seed: of the weights; None for a network of zeros, to count or plan without computing.
    """
    check(width, size)
    net = Builder(named("mobilenet_v1", width, size), (size, size, 3), seed)
    x = net.conv(0, max(8, int(32 * width)), 3, 2, name="stem")
    for number, (channels, stride) in enumerate(_V1_LAYERS, 1):
        x = net.depthwise(x, 3, stride, name=f"layer_{number}/depthwise")
        x = net.conv(x, max(8, int(channels * width)), name=f"layer_{number}/pointwise")
    return net.finish([net.dense(net.mean(x, name="mean"), classes, name="logits")])


def mobilenet_v2(
    width: float = 1.0, size: int = 224, classes: int = 1000, seed: int | None = 0
) -> Graph:
    """MobileNetV2 up to the logits. Arguments: as mobilenet_v1; the last convolution's 1280
    channels grow only with a width over 1."""
    check(width, size)
    net = Builder(named("mobilenet_v2", width, size), (size, size, 3), seed)
    features = _mobilenet_v2(net, width)
    x = net.conv(features.narrow, rounded(1280 * max(1.0, width)), name="head")
    return net.finish([net.dense(net.mean(x, name="mean"), classes, name="logits")])


def _mobilenet_v2(net: Builder, width: float, output_stride: int = 32) -> _Features:
    """The bottlenecks. Beyond ``output_stride`` strides become dilations."""
    x = net.conv(0, rounded(32 * width), 3, 2, name="stem")
    number, reached, dilation, expanded = 0, 2, 1, 0
    for expansion, channels, repeats, stride in V2_STAGES:
        for repeat in range(repeats):
            step, grow = (stride, 1) if repeat == 0 else (1, 1)
            if reached * step > output_stride:
                step, grow = 1, step
            name, source = f"block_{number}", x
            if expansion > 1:
                x = net.conv(x, expansion * net.channels(x), name=f"{name}/expand")
            if step == 2 and reached == 16:
                expanded = x
            x = net.depthwise(x, 3, step, name=f"{name}/depthwise", dilation=dilation)
            x = net.conv(x, rounded(channels * width), activation=NONE, name=f"{name}/project")
            if repeat > 0:
                x = net.binary(Elementwise.ADD, source, x, name=f"{name}/add")
            number, reached, dilation = number + 1, reached * step, dilation * grow
    return _Features(x, expanded)


def mobilenet_v3(
    width: float = 1.0, size: int = 224, classes: int = 1000, seed: int | None = 0
) -> Graph:
    """MobileNetV3-Small up to the logits: kernels of 5, h-swish, squeeze-and-excitation with a
    hard sigmoid. Arguments: as mobilenet_v1."""
    check(width, size)
    net = Builder(named("mobilenet_v3", width, size), (size, size, 3), seed)
    x = _h_swish(net, net.conv(0, rounded(16 * width), 3, 2, NONE, name="stem", spread=_H_SWISH))
    for number, (kernel, wide, channels, excite, swish, stride) in enumerate(_V3_BLOCKS):
        name, source, wide = f"block_{number}", x, rounded(wide * width)
        fused = NONE if swish else RELU
        if wide != net.channels(x):
            x = net.conv(x, wide, activation=fused, name=f"{name}/expand", spread=CUT)
            x = _h_swish(net, x) if swish else x
        x = net.depthwise(x, kernel, stride, fused, name=f"{name}/depthwise", spread=CUT)
        x = _h_swish(net, x) if swish else x
        x = _excited(net, x, name) if excite else x
        x = net.conv(x, rounded(channels * width), activation=NONE, name=f"{name}/project")
        if stride == 1 and net.channels(source) == net.channels(x):
            x = net.binary(Elementwise.ADD, source, x, name=f"{name}/add")
    x = net.conv(x, rounded(576 * width), activation=NONE, name="head", spread=_H_SWISH)
    x = net.mean(_h_swish(net, x), name="mean")
    x = net.conv(x, rounded(1024 * max(1.0, width)), activation=NONE, name="wide", spread=_H_SWISH)
    return net.finish([net.dense(_h_swish(net, x), classes, name="logits")])


def _h_swish(net: Builder, x: int) -> int:
    return net.unary(x, UnaryFunction.HARD_SWISH, name=f"{net.tensors[x].name}/h_swish")


def _excited(net: Builder, x: int, name: str) -> int:
    """Each channel times a hard sigmoid of what its mean says."""
    channels = net.channels(x)
    squeezed = net.conv(
        net.mean(x, name=f"{name}/mean"), rounded(channels / 4), 1, 1, RELU, name=f"{name}/squeeze"
    )
    gate = net.conv(squeezed, channels, activation=NONE, name=f"{name}/excite", spread=CUT)
    three, sixth = net.constant(3), net.constant(1 / 6)
    gate = net.binary(Elementwise.ADD, gate, three, RELU6, name=f"{name}/gate_6")
    gate = net.binary(Elementwise.MUL, gate, sixth, name=f"{name}/gate")
    return net.binary(Elementwise.MUL, x, gate, name=f"{name}/excited")


def resnet8(seed: int | None = 0) -> Graph:
    """MLPerf Tiny's ResNet-8 for CIFAR-10: 32 x 32, ten classes, softmax."""
    net = Builder("resnet8", (32, 32, 3), seed)
    x = net.conv(0, 16, 3, 1, RELU, name="stem")
    for number, channels in enumerate((16, 32, 64)):
        name, stride, source = f"block_{number}", 1 if number == 0 else 2, x
        x = net.conv(x, channels, 3, stride, RELU, name=f"{name}/conv_0")
        x = net.conv(x, channels, 3, 1, NONE, name=f"{name}/conv_1")
        if stride == 2:
            source = net.conv(source, channels, 1, 2, NONE, name=f"{name}/shortcut")
        x = net.binary(Elementwise.ADD, source, x, RELU, name=f"{name}/add")
    x = net.dense(net.average_pool(x, name="pool"), 10, name="logits")
    return net.finish([net.softmax(x)])


def ds_cnn(seed: int | None = 0) -> Graph:
    """MLPerf Tiny's DS-CNN for keywords: 49 x 10 coefficients, twelve classes, softmax."""
    net = Builder("ds_cnn", (49, 10, 1), seed, count=8)
    x = net.conv(0, 64, (10, 4), 2, RELU, name="stem")
    for number in range(4):
        x = net.depthwise(x, 3, 1, RELU, name=f"layer_{number}/depthwise")
        x = net.conv(x, 64, activation=RELU, name=f"layer_{number}/pointwise")
    x = net.dense(net.average_pool(x, name="pool"), 12, name="logits")
    return net.finish([net.softmax(x)])


def ssdlite(
    width: float = 1.0,
    size: int = 320,
    classes: int = 91,
    seed: int | None = 0,
    separable: bool = True,
) -> Graph:
    """SSDLite on MobileNetV2: for each of six scales the class scores, of each class by itself, and
    the boxes, before any decoding or suppression (``narrows.zoo.metadata`` says how).

    Args:
        classes: with the background; COCO's labels run to 90, 80 of them in use.
        separable: False makes the plain SSD, with 3 x 3 convolutions instead.
    """
    check(width, size)
    kind = "ssdlite" if separable else "ssd"
    net = Builder(named(f"{kind}_mobilenet_v2", width, size), (size, size, 3), seed, count=2)
    features = _mobilenet_v2(net, width)
    x = net.conv(features.narrow, rounded(1280 * max(1.0, width)), name="head")
    scales = [features.expanded, x]

    def window(x: int, out: int, stride: int, last: bool, name: str) -> int:
        fused = NONE if last else RELU6
        if not separable:
            return net.conv(x, out, 3, stride, fused, name=name)
        x = net.depthwise(x, 3, stride, name=f"{name}/depthwise")
        return net.conv(x, out, activation=fused, name=f"{name}/pointwise")

    for number, channels in enumerate((512, 256, 256, 128)):
        x = net.conv(x, channels // 2, name=f"extra_{number}/squeeze")
        x = window(x, channels, 2, False, f"extra_{number}")
        scales.append(x)
    outputs = []
    for number, x in enumerate(scales):
        anchors = 3 if number == 0 else 6
        scores = window(x, anchors * classes, 1, True, f"scale_{number}/classes")
        outputs.append(net.unary(scores, UnaryFunction.LOGISTIC, name=f"scale_{number}/scores"))
        outputs.append(window(x, anchors * 4, 1, True, f"scale_{number}/boxes"))
    return net.finish(outputs)


def deeplab_v3(
    width: float = 1.0,
    size: int = 513,
    classes: int = 21,
    seed: int | None = 0,
    upsample: bool = False,
    pyramid: bool = False,
) -> Graph:
    """Mobile DeepLabv3 on MobileNetV2's last bottleneck: output stride 16; a 1x1 convolution
    beside one of the image's mean.

    Args:
        upsample: resize the scores to the input's size.
        pyramid: three dilated convolutions beside these two (ASPP).
    """
    check(width, size)
    net = Builder(named("deeplab_v3_mobilenet_v2", width, size), (size, size, 3), seed, count=2)
    x = _mobilenet_v2(net, width, output_stride=16).narrow
    height, wide, _ = net.tensors[x].shape
    pooled = net.conv(net.mean(x, name="mean"), 256, activation=RELU, name="pooled")
    pooled = net.bilinear(pooled, height, wide, name="pooled/resized")
    parts = [pooled, net.conv(x, 256, activation=RELU, name="pixels")]
    for rate in _RATES if pyramid else ():
        name = f"pyramid_{rate}"
        parts.append(net.conv(x, 256, 3, activation=RELU, name=name, dilation=rate))
    x = net.conv(net.concat(parts, name="both"), 256, activation=RELU, name="joined")
    x = net.conv(x, classes, activation=NONE, name="logits")
    return net.finish([net.bilinear(x, size, size, name="scores") if upsample else x])


@dataclass(frozen=True)
class Network:
    """An entry of the zoo. options: names of the builder's arguments, beside the seed."""

    build: Callable[..., Graph]
    summary: str
    options: tuple[str, ...] = field(default=())


_SCALED = ("width", "size", "classes")
NETWORKS: dict[str, Network] = {
    "mobilenet_v1": Network(mobilenet_v1, "MobileNetV1", _SCALED),
    "mobilenet_v2": Network(mobilenet_v2, "MobileNetV2", _SCALED),
    "mobilenet_v3": Network(mobilenet_v3, "MobileNetV3-Small", _SCALED),
    "resnet8": Network(resnet8, "ResNet-8 of MLPerf Tiny"),
    "ds_cnn": Network(ds_cnn, "DS-CNN of MLPerf Tiny"),
    "ssdlite": Network(ssdlite, "SSDLite on MobileNetV2", (*_SCALED, "separable")),
    "shufflenet": Network(shufflenet, "ShuffleNet", (*_SCALED, "groups", "stages")),
    "nasnet_a": Network(nasnet_a, "NASNet-A, mobile", (*_SCALED, "cells")),
    "deeplab_v3": Network(
        deeplab_v3, "DeepLabv3 on MobileNetV2", (*_SCALED, "upsample", "pyramid")
    ),
}
