# SPDX-License-Identifier: Apache-2.0
"""Small networks over the layers that people of PyTorch use for pictures, sound and sensors.

``NETWORKS`` is the list; ``torch_blocks`` adds to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

PICTURE = (1, 3, 16, 16)
SOUND = (1, 4, 64)
VECTOR = (1, 24)
MAP = (1, 8, 8, 8)


class Network(NamedTuple):
    """shapes: of the inputs. make: the module; its weights follow from torch's seed."""

    shapes: tuple[tuple[int, ...], ...]
    make: Callable[[], Any]


NETWORKS: dict[str, Network] = {}


class Step(nn.Module):
    """A module of a function and the modules that it calls."""

    def __init__(self, function: Callable[..., Any], *parts: Any) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, *x: Any) -> Any:
        return self.function(*self.parts, *x)


def add(name: str, make: Callable[[], Any], *shapes: tuple[int, ...]) -> None:
    assert name not in NETWORKS
    NETWORKS[name] = Network(shapes or (PICTURE,), make)


def conv(inside: int, out: int, kernel: int = 3, stride: int = 1, **more: Any) -> Any:
    more.setdefault("padding", kernel // 2)
    return nn.Conv2d(inside, out, kernel, stride, **more)


def unit(inside: int, out: int, kernel: int = 3, stride: int = 1, **more: Any) -> Any:
    return nn.Sequential(
        conv(inside, out, kernel, stride, bias=False, **more), nn.BatchNorm2d(out), nn.ReLU()
    )


def line(inside: int, out: int, kernel: int = 3, stride: int = 1, **more: Any) -> Any:
    more.setdefault("padding", kernel // 2)
    return nn.Conv1d(inside, out, kernel, stride, **more)


def classify(channels: int, classes: int = 5) -> list[Any]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def between(function: Callable[[Any], Any], *parts: Any) -> Callable[[], Any]:
    """A function of 8 channels at 16 x 16 between two convolutions."""
    return lambda: nn.Sequential(conv(3, 8), Step(lambda *x: function(x[-1]), *parts), conv(8, 4))


def ends(function: Callable[[Any], Any]) -> Callable[[], Any]:
    """A function of the scores that a small classifier ends with."""
    return lambda: nn.Sequential(unit(3, 8, 3, 2), *classify(8), Step(function))


# --- Convolutions -----------------------------------------------------------------------------

add("conv", lambda: nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 4, 5, 2)))
add("conv rectangular", lambda: nn.Conv2d(3, 6, (1, 5), (2, 1), (0, 2)))
add("conv dilated", lambda: nn.Conv2d(3, 6, 3, padding=2, dilation=2))
add("conv same even", lambda: nn.Conv2d(3, 6, 4, padding="same"))
add("conv reflect", lambda: nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"))
add("conv circular", lambda: nn.Conv2d(3, 6, 3, padding=1, padding_mode="circular"))
add("conv replicate", lambda: nn.Conv2d(3, 6, 3, padding=1, padding_mode="replicate"))
add("conv grouped", lambda: nn.Sequential(conv(3, 8), conv(8, 12, groups=4)))
add("conv depthwise", lambda: nn.Sequential(conv(3, 6, groups=3), conv(6, 6, 5, 2, groups=6)))
add("conv transposed", lambda: nn.ConvTranspose2d(3, 6, 3, 2, 1, output_padding=1))
add("conv transposed 2x2", lambda: nn.ConvTranspose2d(3, 6, 2, 2))
add("conv transposed grouped", lambda: nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=4), MAP)
add("conv 1-d", lambda: nn.Sequential(line(4, 8, 5, 2), nn.ReLU(), line(8, 3)), SOUND)
add("conv 1-d dilated", lambda: nn.Conv1d(4, 8, 3, padding=4, dilation=4), SOUND)
add("conv 1-d depthwise", lambda: nn.Conv1d(4, 8, 7, 3, 3, groups=4), SOUND)
add("conv 1-d transposed", lambda: nn.ConvTranspose1d(4, 6, 4, 2, 1), SOUND)
add("conv weight norm", lambda: nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 6, 3)), SOUND)
add("linear", lambda: nn.Sequential(nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 4)), VECTOR)
add("linear without bias", lambda: nn.Linear(24, 4, bias=False), VECTOR)
add(
    "linear on rows",
    lambda: nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4)),
    (1, 10, 8),
)

# --- Activations ------------------------------------------------------------------------------

for _name, _activation in {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky relu": nn.LeakyReLU,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "hardtanh": nn.Hardtanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "mish": nn.Mish,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "celu": nn.CELU,
    "logsigmoid": nn.LogSigmoid,
    "tanhshrink": nn.Tanhshrink,
    "hardshrink": nn.Hardshrink,
    "softshrink": nn.Softshrink,
}.items():
    add(_name, lambda f=_activation: nn.Sequential(conv(3, 8), f(), conv(8, 4)))  # type: ignore[misc]
add("prelu", lambda: nn.Sequential(conv(3, 8), nn.PReLU(8), conv(8, 4)))
add("prelu of one slope", lambda: nn.Sequential(conv(3, 8), nn.PReLU(), conv(8, 4)))
add("gelu by tanh", lambda: nn.Sequential(conv(3, 8), nn.GELU("tanh"), conv(8, 4)))
add("elu of alpha 0.5", lambda: nn.Sequential(conv(3, 8), nn.ELU(0.5), conv(8, 4)))
add("threshold", lambda: nn.Sequential(conv(3, 8), nn.Threshold(0.1, 0.0), conv(8, 4)))
add("glu", lambda: nn.Sequential(conv(3, 8), nn.GLU(1), conv(4, 4)))
add("clamp", between(lambda x: x.clamp(-0.5, 0.75)))
add("clamp below", between(lambda x: x.clamp(min=-0.25)))

# --- Pools ------------------------------------------------------------------------------------

add("max pool", lambda: nn.Sequential(conv(3, 8), nn.MaxPool2d(3, 2, 1)))
add("max pool ceil", lambda: nn.Sequential(conv(3, 8), nn.MaxPool2d(3, 2, ceil_mode=True)))
add("max pool dilated", lambda: nn.MaxPool2d(3, 1, 1, dilation=2))
add("average pool", lambda: nn.Sequential(conv(3, 8), nn.AvgPool2d(3, 2, 1)))
add("average pool of what is there", lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False))
add("adaptive pool", lambda: nn.Sequential(conv(3, 8), nn.AdaptiveAvgPool2d(4), conv(8, 2)))
add("adaptive pool uneven", lambda: nn.Sequential(conv(3, 8), nn.AdaptiveAvgPool2d(5)))
add("adaptive max pool", lambda: nn.Sequential(conv(3, 8), nn.AdaptiveMaxPool2d(1), nn.Flatten()))
add("pool 1-d", lambda: nn.Sequential(nn.MaxPool1d(4), line(4, 6), nn.AvgPool1d(4, 2)), SOUND)
add(
    "adaptive pool 1-d",
    lambda: nn.Sequential(line(4, 6), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 3)),
    SOUND,
)
add("lp pool", lambda: nn.Sequential(conv(3, 8), nn.LPPool2d(2, 2)))

# --- Normalizations ---------------------------------------------------------------------------

add("batch norm", lambda: nn.Sequential(unit(3, 8), nn.BatchNorm2d(8), conv(8, 4)))
add(
    "batch norm 1-d",
    lambda: nn.Sequential(line(4, 8), nn.BatchNorm1d(8), nn.ReLU(), line(8, 4)),
    SOUND,
)
add(
    "batch norm of a vector",
    lambda: nn.Sequential(nn.Linear(24, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)),
    VECTOR,
)
add(
    "layer norm",
    lambda: nn.Sequential(nn.Linear(24, 16), nn.LayerNorm(16), nn.Linear(16, 4)),
    VECTOR,
)
add("layer norm of rows", lambda: nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 6)), (1, 10, 8))
add(
    "layer norm of channels",
    between(lambda x: functional.layer_norm(x.permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2)),
)
add("instance norm", lambda: nn.Sequential(conv(3, 8), nn.InstanceNorm2d(8), conv(8, 4)))
add("group norm", lambda: nn.Sequential(conv(3, 8), nn.GroupNorm(2, 8), nn.ReLU(), conv(8, 4)))
add("rms norm", lambda: nn.Sequential(nn.Linear(24, 16), nn.RMSNorm(16), nn.Linear(16, 4)), VECTOR)
add("l2 norm", lambda: nn.Sequential(unit(3, 8), *classify(8), Step(functional.normalize)))

# --- Moves ------------------------------------------------------------------------------------

add("channel shuffle", lambda: nn.Sequential(conv(3, 8), nn.ChannelShuffle(2), conv(8, 4)))
add(
    "channel shuffle by hand",
    between(lambda x: x.view(1, 2, 4, 16, 16).transpose(1, 2).reshape(1, 8, 16, 16)),
)
add("pixel shuffle", lambda: nn.Sequential(conv(3, 8), nn.PixelShuffle(2), conv(2, 4)))
add("pixel unshuffle", lambda: nn.Sequential(nn.PixelUnshuffle(2), conv(12, 4)))
add(
    "focus",
    lambda: nn.Sequential(
        Step(
            lambda x: torch.cat(
                [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1
            )
        ),
        conv(12, 4),
    ),
)
add("upsample nearest", lambda: nn.Sequential(conv(3, 8), nn.Upsample(scale_factor=2)))
add("upsample nearest to a size", lambda: nn.Sequential(conv(3, 8), nn.Upsample((24, 40))))
add(
    "upsample bilinear",
    lambda: nn.Sequential(conv(3, 8), nn.Upsample(scale_factor=2, mode="bilinear")),
)
add(
    "upsample bilinear by corners",
    lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
)
add("upsample bicubic", lambda: nn.Upsample(scale_factor=2, mode="bicubic"))
add("upsample 1-d", lambda: nn.Sequential(line(4, 6), nn.Upsample(scale_factor=2)), SOUND)
add("upsample 1-d linear", lambda: nn.Upsample(scale_factor=2, mode="linear"), SOUND)
for _mode in ("constant", "reflect", "replicate", "circular"):
    add(
        f"pad {_mode}",
        lambda mode=_mode: nn.Sequential(  # type: ignore[misc]
            Step(lambda x: functional.pad(x, (1, 2, 3, 0), mode=mode)), conv(3, 4)
        ),
    )
add("pad 1-d", lambda: nn.Sequential(nn.ReflectionPad1d((4, 3)), line(4, 6)), SOUND)
add("pad by one value", lambda: nn.Sequential(nn.ConstantPad2d(1, 0.5), conv(3, 4)))
add("concat", lambda: Step(lambda a, b, x: torch.cat([a(x), b(x), x], 1), conv(3, 4), conv(3, 5)))
add(
    "chunk",
    between(lambda x: (lambda a, b: torch.cat([a * torch.sigmoid(b), a], 1))(*x.chunk(2, 1))),
)
add(
    "split",
    between(lambda x: (lambda a, b: torch.cat([b, torch.relu(a)], 1))(*x.split([3, 5], 1))),
)
add("stack", between(lambda x: torch.stack([x[:, 0], x[:, 1]], 1).repeat(1, 4, 1, 1)))
add("unbind", lambda: Step(lambda f, x: torch.stack(f(x).unbind(1), -1), conv(3, 4)))
add("permute", between(lambda x: x.permute(0, 1, 3, 2)))
add("reshape", lambda: Step(lambda f, x: f(x).reshape(1, -1, 6), conv(3, 6)))
add(
    "channels last",
    lambda: Step(lambda f, x: f(x).permute(0, 2, 3, 1).reshape(1, -1, 3), conv(3, 6)),
)
add("slices", lambda: Step(lambda f, x: f(x)[:, 1:, ::2, 3:-1], conv(3, 6)))
add("narrow and select", lambda: Step(lambda f, x: f(x).narrow(2, 1, 8)[:, :, 0], conv(3, 6)))
add("flip", lambda: Step(lambda f, x: f(x).flip(3), conv(3, 6)))
add("roll", lambda: Step(lambda f, x: f(x).roll(2, 3), conv(3, 6)))
add(
    "expand",
    lambda: Step(lambda f, x: x * f(x).mean((2, 3), keepdim=True).expand(1, 3, 16, 16), conv(3, 3)),
)
add("index select", between(lambda x: x[:, [7, 6, 5, 4, 3, 2, 1, 0]]))
add("unfold", lambda: Step(lambda f, x: functional.unfold(f(x), 2, stride=2), conv(3, 4)))

# --- Arithmetic and reductions ----------------------------------------------------------------

add("normalization of the input", lambda: Step(lambda f, x: f((x - 0.45) / 0.225), unit(3, 6)))
add("residual", lambda: Step(lambda a, b, x: torch.relu(a(x) + b(a(x))), unit(3, 8), conv(8, 8)))
add("gate", lambda: Step(lambda a, b, x: a(x) * torch.sigmoid(b(x)), conv(3, 6), conv(3, 6)))
add("subtract", lambda: Step(lambda a, b, x: a(x) - b(x), conv(3, 6), conv(3, 6)))
add(
    "divide",
    lambda: Step(lambda a, b, x: a(x) / (1 + torch.sigmoid(b(x))), conv(3, 6), conv(3, 6)),
)
add("maximum", lambda: Step(lambda a, b, x: torch.maximum(a(x), b(x)), conv(3, 6), conv(3, 6)))
add("square and root", between(lambda x: torch.sqrt(x.square() + 0.01)))
add("cube", between(lambda x: x.pow(3)))
add("absolute", between(torch.abs))
add("logarithm", between(lambda x: torch.log(torch.exp(x) + 1)))
add("where", between(lambda x: torch.where(x > 0.1, x, x * 0.3)))
add("masked", between(lambda x: x * (x > 0).float()))
add("mean", lambda: Step(lambda f, g, x: g(f(x).mean([2, 3])), unit(3, 8), nn.Linear(8, 4)))
add("mean of channels", lambda: Step(lambda f, x: f(x).mean(1, keepdim=True), unit(3, 8)))
add(
    "max over pixels",
    lambda: Step(lambda f, g, x: g(f(x).amax((2, 3))), unit(3, 8), nn.Linear(8, 4)),
)
add("max over time", lambda: Step(lambda f, x: f(x).max(2).values, line(4, 8)), SOUND)
add(
    "standard deviation",
    lambda: Step(lambda f, x: torch.cat([f(x).mean(2), f(x).std(2)], 1), line(4, 8)),
    SOUND,
)
add("matmul by a constant", lambda: _Projection(), (1, 10, 8))
add("cumulative sum", lambda: Step(lambda f, x: f(x).cumsum(2), line(4, 4)), SOUND)
add(
    "two inputs",
    lambda: Step(
        lambda a, b, x, y: torch.cat([a(x).mean((2, 3)), b(y)], 1), unit(3, 8), nn.Linear(24, 8)
    ),
    PICTURE,
    VECTOR,
)
add("two outputs", lambda: Step(lambda a, b, x: (a(x), b(x).mean((2, 3))), conv(3, 4), conv(3, 5)))

# --- Ends -------------------------------------------------------------------------------------

add("softmax", ends(lambda x: torch.softmax(x, 1)))
add("log softmax", ends(lambda x: torch.log_softmax(x, 1)))
add("argmax", ends(lambda x: torch.argmax(x, 1)))
add("top 2", ends(lambda x: torch.topk(x, 2).values))
add("softmax of pixels", lambda: Step(lambda f, x: torch.softmax(f(x), 1), conv(3, 6)))
add("argmax of pixels", lambda: Step(lambda f, x: torch.argmax(f(x), 1), conv(3, 6)))
add("sigmoid at the end", ends(torch.sigmoid))


class _Projection(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 6))

    def forward(self, x: Any) -> Any:
        return torch.relu(x @ self.weight)
