# SPDX-License-Identifier: Apache-2.0
"""Train the default model and write it as float and as int8 ``.tflite``.

    pip install -r train_digits_requirements.txt
    python -m narrows.models.train_digits [--output FOLDER]

The network is a small MobileNetV2: inverted residuals with linear bottlenecks, ReLU6 and
3 x 3 depthwise convolutions. Training sees the training part of ``split_digits`` alone, the
validation part is printed on the way, the package's own quantizer (``quantize_digits``) calibrates
on the training part, and the held-out part is measured once, at the end.

One thread, deterministic algorithms and a fixed seed: on one machine, with the versions of
the requirements file, every run writes the same bytes. Another processor may add floats in
another order, and training takes another course: other weights, and accuracy differs by a digit
or two. ``quantize_digits`` alone makes the int8 file anew from the float one.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tflite
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from tflite_micro import runtime

from narrows.exporters.tflite import ModelWriter
from narrows.models.digits import (
    DIGITS_FLOAT,
    DIGITS_HELD_OUT,
    DIGITS_INT8,
    DIGITS_SIZE,
    FOLDER,
    UInt8Array,
    enlarge_digits,
    prepare_digits,
    split_digits,
)
from narrows.models.quantize_digits import digits_int8

SEED = 20180113
EPOCHS = 180
BATCH = 48
PEAK_RATE = 4e-3
WARMUP_EPOCHS = 5
WEIGHT_DECAY = 0.02
LABEL_SMOOTHING = 0.1
AVERAGING = 0.995
NORM_MOMENTUM = 0.05
NORM_EPSILON = 1e-3
CLASSES = 10

Tensor: TypeAlias = Any  # torch.Tensor; torch is not installed where types are checked
FloatArray: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A convolution with batch normalization.

    relu6: ReLU6 follows; else the layer is linear.
    opens: its input is the one that a later ``adds`` layer of the block adds to its output.
    """

    name: str
    depthwise: bool
    in_channels: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    relu6: bool = True
    opens: bool = False
    adds: bool = False


def inverted_residuals() -> tuple[Layer, ...]:
    """Table 2 of the MobileNetV2 paper in small: (expansion, channels, repeats, stride)."""
    channels = 16
    layers = [Layer("stem", False, 1, channels, 3, 2)]
    block = 0
    for expansion, out, repeats, first_stride in ((1, 8, 1, 1), (6, 16, 2, 2), (6, 24, 3, 2)):
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            wide = expansion * channels
            name = f"block{block}"
            if expansion > 1:
                layers.append(Layer(f"{name}/expand", False, channels, wide, opens=True))
            layers.append(Layer(f"{name}/depthwise", True, wide, wide, 3, stride))
            layers.append(
                Layer(
                    f"{name}/project",
                    False,
                    wide,
                    out,
                    relu6=False,
                    adds=expansion > 1 and stride == 1 and channels == out,
                )
            )
            channels = out
            block += 1
    layers.append(Layer("head", False, channels, 4 * channels))
    return tuple(layers)


LAYERS = inverted_residuals()


def same_pad(size: int, layer: Layer) -> tuple[int, int]:
    """TFLite's SAME: (before, after), the odd pixel behind."""
    total = max((math.ceil(size / layer.stride) - 1) * layer.stride + layer.kernel - size, 0)
    return total // 2, total - total // 2


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, layer: Layer) -> Tensor:
    """Convolve x [n, in, h, w] as the layer says, padded as TFLite pads."""
    x = F.pad(x, same_pad(x.shape[3], layer) + same_pad(x.shape[2], layer))
    groups = layer.in_channels if layer.depthwise else 1
    return F.conv2d(x, weight, bias, layer.stride, groups=groups)


# --- Training ---------------------------------------------------------------------------


def initial_weights(generator: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(trained tensors, running statistics) by name; He's normal initialization."""
    weights: dict[str, Tensor] = {}
    statistics: dict[str, Tensor] = {}
    for layer in LAYERS:
        groups_in = 1 if layer.depthwise else layer.in_channels
        shape = (layer.out_channels, groups_in, layer.kernel, layer.kernel)
        deviation = math.sqrt(2 / (groups_in * layer.kernel**2))
        weights[f"{layer.name}/weight"] = deviation * torch.randn(shape, generator=generator)
        weights[f"{layer.name}/gamma"] = torch.ones(layer.out_channels)
        weights[f"{layer.name}/beta"] = torch.zeros(layer.out_channels)
        statistics[f"{layer.name}/mean"] = torch.zeros(layer.out_channels)
        statistics[f"{layer.name}/variance"] = torch.ones(layer.out_channels)
    features = LAYERS[-1].out_channels
    weights["dense/weight"] = torch.randn(CLASSES, features, generator=generator) / features**0.5
    weights["dense/bias"] = torch.zeros(CLASSES)
    return weights, statistics


def train_forward(x: Tensor, weights: dict[str, Tensor], statistics: dict[str, Tensor]) -> Tensor:
    """Logits, with the batch's own statistics, which the running ones follow."""
    opened = x
    for layer in LAYERS:
        opened = x if layer.opens else opened
        x = convolve(x, weights[f"{layer.name}/weight"], None, layer)
        x = F.batch_norm(
            x,
            statistics[f"{layer.name}/mean"],
            statistics[f"{layer.name}/variance"],
            weights[f"{layer.name}/gamma"],
            weights[f"{layer.name}/beta"],
            training=True,
            momentum=NORM_MOMENTUM,
            eps=NORM_EPSILON,
        )
        x = F.relu6(x) if layer.relu6 else x
        x = x + opened if layer.adds else x
    return F.linear(x.mean((2, 3)), weights["dense/weight"], weights["dense/bias"])


def augment(images: Tensor, generator: Any) -> Tensor:
    """Rotate by up to 14 degrees, shear, scale by up to 15%, shift by up to 1.2 of the
    original's pixels, change the ink's strength by up to 15%."""
    count = len(images)

    def uniform(reach: float) -> Tensor:
        return (2 * torch.rand(count, generator=generator) - 1) * reach

    angle, shear = uniform(math.radians(14)), uniform(0.15)
    wide, high = 1 + uniform(0.15), 1 + uniform(0.15)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    across = torch.stack([wide * cosine, wide * (shear * cosine - sine), uniform(0.3)], 1)
    down = torch.stack([high * sine, high * (shear * sine + cosine), uniform(0.3)], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), images.shape, align_corners=False)
    moved = F.grid_sample(images, grid, align_corners=False)
    return (moved * (1 + uniform(0.15)).reshape(-1, 1, 1, 1)).clamp(0, 1)


def learning_rate(progress: float) -> float:
    """Warm up, then half a cosine; progress runs from 0 to 1."""
    warmup = WARMUP_EPOCHS / EPOCHS
    if progress < warmup:
        return PEAK_RATE * progress / warmup
    return PEAK_RATE * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def train(
    images: Tensor, labels: Tensor, check_images: Tensor, check_labels: Tensor
) -> dict[str, FloatArray]:
    """Train and return the folded network of the averaged weights (see ``fold``).

    Args:
        images: float [n, 1, 32, 32], 0 to 1, with labels [n]; check_*: the same, to print.
    """
    generator = torch.Generator().manual_seed(SEED)
    weights, statistics = initial_weights(generator)
    for value in weights.values():
        value.requires_grad_(True)
    average = {name: value.detach().clone() for name, value in {**weights, **statistics}.items()}
    decayed = [value for name, value in weights.items() if name.endswith("/weight")]
    others = [value for name, value in weights.items() if not name.endswith("/weight")]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0}]
    )
    steps = len(images) // BATCH
    start = time.monotonic()
    for epoch in range(EPOCHS):
        order = torch.randperm(len(images), generator=generator)
        total = 0.0
        for step in range(steps):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            for group in optimizer.param_groups:
                group["lr"] = learning_rate((epoch + step / steps) / EPOCHS)
            logits = train_forward(augment(images[chosen], generator), weights, statistics)
            loss = F.cross_entropy(logits, labels[chosen], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            with torch.no_grad():
                for name, value in {**weights, **statistics}.items():
                    average[name].lerp_(value, 1 - AVERAGING)
        if epoch % 10 == 9 or epoch == EPOCHS - 1:
            logits = run(fold(average), check_images)["logits"]
            good = int((logits.argmax(1) == check_labels).sum())
            print(
                f"epoch {epoch + 1:3}/{EPOCHS}  loss {total / steps:.4f}  validation "
                f"{good}/{len(check_labels)}  {time.monotonic() - start:.0f} s",
                flush=True,
            )
    return fold(average)


# --- The trained network -----------------------------------------------------------------


def fold(values: dict[str, Tensor]) -> dict[str, FloatArray]:
    """Fold batch normalization into the convolutions.

    Returns:
        name/weight [out, in or 1, kernel, kernel] and name/bias [out], dense/weight
        [10, in], dense/bias [10].
    """
    folded = {
        "dense/weight": values["dense/weight"].numpy(),
        "dense/bias": values["dense/bias"].numpy(),
    }
    for layer in LAYERS:
        weight, gamma, beta, mean, variance = (
            values[f"{layer.name}/{part}"].double()
            for part in ("weight", "gamma", "beta", "mean", "variance")
        )
        factor = gamma / torch.sqrt(variance + NORM_EPSILON)
        folded[f"{layer.name}/weight"] = (weight * factor.reshape(-1, 1, 1, 1)).float().numpy()
        folded[f"{layer.name}/bias"] = (beta - mean * factor).float().numpy()
    return folded


def run(network: dict[str, FloatArray], images: Tensor) -> dict[str, Tensor]:
    """Every activation by name: "input", each layer's (``name``; ``name/add`` for the sum),
    "mean" and "logits"."""
    x = opened = images
    found = {"input": x}
    for layer in LAYERS:
        opened = x if layer.opens else opened
        weight, bias = (torch.from_numpy(network[f"{layer.name}/{p}"]) for p in ("weight", "bias"))
        x = convolve(x, weight, bias, layer)
        x = found[layer.name] = F.relu6(x) if layer.relu6 else x
        if layer.adds:
            x = found[f"{layer.name}/add"] = x + opened
    x = found["mean"] = x.mean((2, 3))
    dense = (torch.from_numpy(network[f"dense/{part}"]) for part in ("weight", "bias"))
    found["logits"] = F.linear(x, *dense)
    return found


def as_pictures(images: UInt8Array) -> Tensor:
    """uint8 [n, 8, 8] of 0 to 16 to float [n, 1, 32, 32] of 0 to 1."""
    return torch.from_numpy(enlarge_digits(images)).float().unsqueeze(1) / 255


# --- Export -----------------------------------------------------------------


def write_model(network: dict[str, FloatArray]) -> bytes:
    """Write the network as a float32 ``.tflite``."""
    writer = ModelWriter("handwritten digits, 32 x 32 grey, white on black")

    def activation(name: str, shape: tuple[int, ...]) -> int:
        return writer.tensor(shape, "float32", name=name)

    def constants(name: str, weight: FloatArray) -> list[int]:
        return [
            writer.tensor(data.shape, "float32", data=data, name=f"{name}/{part}")
            for part, data in (("weight", weight), ("bias", network[f"{name}/bias"]))
        ]

    size = DIGITS_SIZE
    first = x = opened = activation("input", (1, size, size, 1))
    for layer in LAYERS:
        opened = x if layer.opens else opened
        size = math.ceil(size / layer.stride)
        shape = (1, size, size, layer.out_channels)
        # [out, in, h, w]: a convolution wants [out, h, w, in], a depthwise one [1, h, w, out].
        weight = network[f"{layer.name}/weight"].transpose(
            (1, 2, 3, 0) if layer.depthwise else (0, 2, 3, 1)
        )
        operands = [x, *constants(layer.name, weight)]
        x = activation(layer.name, shape)
        options: dict[str, int | float | bool | Sequence[int]] = {
            "padding": tflite.Padding.SAME,
            "stride_w": layer.stride,
            "stride_h": layer.stride,
            "dilation_w_factor": 1,
            "dilation_h_factor": 1,
            "fused_activation_function": (
                tflite.ActivationFunctionType.RELU6
                if layer.relu6
                else tflite.ActivationFunctionType.NONE
            ),
        }
        if layer.depthwise:
            options["depth_multiplier"] = 1
            writer.operator(
                "DEPTHWISE_CONV_2D", operands, [x], "DepthwiseConv2DOptions", options, version=3
            )
        else:
            writer.operator("CONV_2D", operands, [x], "Conv2DOptions", options, version=3)
        if layer.adds:
            summed = activation(f"{layer.name}/add", shape)
            writer.operator("ADD", [opened, x], [summed], "AddOptions", {}, version=2)
            x = summed

    mean = activation("mean", (1, LAYERS[-1].out_channels))
    axes = writer.tensor((2,), "int32", data=[1, 2], name="mean/axes")
    writer.operator("MEAN", [x, axes], [mean], "ReducerOptions", {"keep_dims": False}, version=2)
    dense = constants("dense", network["dense/weight"])
    logits = activation("logits", (1, CLASSES))
    writer.operator(
        "FULLY_CONNECTED", [mean, *dense], [logits], "FullyConnectedOptions", {}, version=4
    )
    probabilities = activation("probabilities", (1, CLASSES))
    writer.operator(
        "SOFTMAX", [logits], [probabilities], "SoftmaxOptions", {"beta": 1.0}, version=2
    )
    return writer.finish([first], [probabilities])


def count_correct(model: bytes, inputs: npt.NDArray[Any], labels: UInt8Array) -> int:
    """How many of the inputs [n, 32, 32, 1] TensorFlow Lite Micro classifies as labelled."""
    interpreter = runtime.Interpreter.from_bytes(model)
    correct = 0
    for image, label in zip(inputs, labels, strict=True):
        interpreter.set_input(image[np.newaxis], 0)
        interpreter.invoke()
        correct += int(interpreter.get_output(0).argmax() == label)
    return correct


def main() -> int:
    """Train, write the three files, print accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder for the files")
    output = parser.parse_args().output
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    digits = load_digits()
    images, labels = digits.images.astype(np.uint8), digits.target.astype(np.uint8)
    split = split_digits(images, labels)
    pictures, classes = as_pictures(images), torch.from_numpy(digits.target.astype(np.int64))
    network = train(
        pictures[split.train],
        classes[split.train],
        pictures[split.validation],
        classes[split.validation],
    )
    float_model = write_model(network)
    int8_model = digits_int8(float_model)
    (output / DIGITS_FLOAT.name).write_bytes(float_model)
    (output / DIGITS_INT8.name).write_bytes(int8_model)
    np.savez_compressed(
        output / DIGITS_HELD_OUT.name,
        indices=split.held_out.astype(np.uint16),
        images=images[split.held_out],
        labels=labels[split.held_out],
    )

    for name, part in (("validation", split.validation), ("held-out", split.held_out)):
        floats = enlarge_digits(images[part])[..., np.newaxis].astype(np.float32) / 255
        for kind, model, inputs in (
            ("float", float_model, floats),
            ("int8", int8_model, prepare_digits(images[part])),
        ):
            correct = count_correct(model, inputs, labels[part])
            print(f"{name} {kind:5} {correct}/{len(part)} = {correct / len(part):.2%}")
    print(f"float {len(float_model)} bytes, int8 {len(int8_model)} bytes")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
