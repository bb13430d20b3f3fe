# SPDX-License-Identifier: Apache-2.0
"""Blocks of known networks, and small whole ones, for the list of ``torch_layers``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch_layers import NETWORKS as NETWORKS
from torch_layers import SOUND, Step, add, classify, conv, line, unit


class _Excited(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int, gate: Any) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv(channels, 4, 1), nn.ReLU(), conv(4, channels, 1), gate
        )

    def forward(self, x: Any) -> Any:
        return x * self.gate(x)


class _Inverted(nn.Module):
    """An inverted residual, as MobileNetV2, V3 and EfficientNet have them."""

    def __init__(self, channels: int, activation: type[Any], excited: bool) -> None:
        super().__init__()
        wide = 3 * channels
        self.body = nn.Sequential(
            conv(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            activation(),
            conv(wide, wide, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            activation(),
            _Excited(wide, nn.Hardsigmoid()) if excited else nn.Identity(),
            conv(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Any) -> Any:
        return x + self.body(x)


class _Shuffled(nn.Module):
    """A block of ShuffleNetV2."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(unit(4, 4, 1), conv(4, 4, groups=4), unit(4, 4, 1))

    def forward(self, x: Any) -> Any:
        a, b = x.chunk(2, dim=1)
        x = torch.cat((a, self.body(b)), 1)
        n, c, h, w = x.size()
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


class _Unet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = unit(3, 6), unit(6, 8), unit(8, 12)
        self.up, self.last = nn.ConvTranspose2d(12, 8, 2, 2), nn.Conv2d(6, 2, 1)
        self.d, self.e = unit(16, 6), unit(12, 6)

    def forward(self, x: Any) -> Any:
        a = self.a(x)
        b = self.b(functional.max_pool2d(a, 2))
        c = self.c(functional.max_pool2d(b, 2))
        d = self.d(torch.cat([self.up(c), b], 1))
        wide = functional.interpolate(d, size=a.shape[2:], mode="bilinear", align_corners=False)
        return torch.sigmoid(self.last(self.e(torch.cat([wide, a], 1))))


class _Head(nn.Module):
    """The head of a detector with boxes relative to its grid."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = unit(3, 8, 3, 2), conv(8, 2 * 7, 1)
        y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
        self.register_buffer("grid", torch.stack((x, y), -1).view(1, 1, 8, 8, 2))
        self.register_buffer("anchors", torch.tensor([[1.0, 2.0], [2.0, 1.0]]).view(1, 2, 1, 1, 2))

    def forward(self, x: Any) -> Any:
        y = self.last(self.body(x)).view(1, 2, 7, 8, 8).permute(0, 1, 3, 4, 2).contiguous()
        y = torch.sigmoid(y)
        xy = (y[..., 0:2] * 2 - 0.5 + self.grid) * 2
        wh = (y[..., 2:4] * 2) ** 2 * self.anchors
        return torch.cat((xy, wh, y[..., 4:]), -1).view(1, -1, 7)


class _Distances(nn.Module):
    """The head of YOLOv8: a distribution over distances, and scores."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.box, self.score = unit(3, 8, 3, 2), conv(8, 16, 1), conv(8, 3, 1)
        self.sums = nn.Conv2d(4, 1, 1, bias=False)
        self.sums.weight.data[:] = torch.arange(4.0).view(1, 4, 1, 1)

    def forward(self, x: Any) -> Any:
        y = self.body(x)
        box = self.box(y).view(1, 4, 4, 64).transpose(2, 1).softmax(1)
        return torch.cat((self.sums(box).view(1, 4, 64), self.score(y).view(1, 3, 64).sigmoid()), 1)


class _Fast(nn.Module):
    """Spatial pyramid pooling and a cross-stage partial block, as YOLOv5 has them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pool = unit(3, 8, 3, 2), nn.MaxPool2d(5, 1, 2)
        self.a, self.b, self.last = unit(8, 4, 1), unit(8, 4, 1), unit(16, 8, 1)

    def forward(self, x: Any) -> Any:
        x = functional.silu(self.first(x))
        a, b = self.a(x), self.b(x)
        p = self.pool(a)
        return self.last(torch.cat([a, b, p, self.pool(p)], 1))


class _Causal(nn.Module):
    """A block of a temporal convolutional network."""

    def __init__(self, inside: int, out: int, dilation: int) -> None:
        super().__init__()
        self.reach = 2 * dilation
        self.a = nn.Conv1d(inside, out, 3, padding=self.reach, dilation=dilation)
        self.b = nn.Conv1d(out, out, 3, padding=self.reach, dilation=dilation)
        self.skip = nn.Conv1d(inside, out, 1)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.a(x)[:, :, : -self.reach])
        y = torch.relu(self.b(y)[:, :, : -self.reach])
        return torch.relu(y + self.skip(x))


class _Gated1d(nn.Module):
    """A layer of WaveNet."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = (
            line(4, 6, 3, padding=2, dilation=2),
            line(4, 6, 3, padding=2, dilation=2),
        )
        self.skip, self.out = nn.Conv1d(6, 4, 1), nn.Conv1d(6, 4, 1)

    def forward(self, x: Any) -> Any:
        y = torch.tanh(self.a(x)) * torch.sigmoid(self.b(x))
        return x + self.out(y), self.skip(y)


class _Attention(nn.Module):
    """Self-attention of one head, written out."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Any) -> Any:
        weights = torch.softmax(self.q(x) @ self.k(x).transpose(1, 2) / math.sqrt(8), -1)
        return weights @ self.v(x)


class _Spatial(nn.Module):
    """The spatial half of CBAM."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate = unit(3, 8), nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        both = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True).values], 1)
        return x * torch.sigmoid(self.gate(both))


class _Ghost(nn.Module):
    """A block of GhostNet."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.cheap = unit(3, 8, 1), unit(8, 8, 3, groups=8)

    def forward(self, x: Any) -> Any:
        y = self.first(x)
        return torch.cat([y, self.cheap(y)], dim=1)[:, :12, :, :]


class _Next(nn.Module):
    """A block of ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.norm = conv(8, 8, 7, groups=8), nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Any) -> Any:
        y = self.norm(self.wide(x).permute(0, 2, 3, 1))
        return x + self.down(functional.gelu(self.up(y))).permute(0, 3, 1, 2)


class _Keyword(nn.Module):
    """A DS-CNN for keywords: a spectrogram of [1, 1, time, frequency]."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(1, 8, (10, 4), 2, (5, 1), bias=False), nn.BatchNorm2d(8), nn.ReLU()]
        for _ in range(2):
            layers += [unit(8, 8, groups=8), unit(8, 8, 1)]
        self.body, self.last = nn.Sequential(*layers), nn.Linear(8, 6)

    def forward(self, x: Any) -> Any:
        x = self.body(x)
        x = functional.avg_pool2d(x, x.shape[2:])
        return self.last(x.view(x.size(0), -1))


class _Broadcast(nn.Module):
    """A block of BC-ResNet: what is computed of one frequency is added to all."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 5, (2, 1), 2)
        self.f2 = nn.Sequential(
            nn.Conv2d(8, 8, (3, 1), padding=(1, 0), groups=8), nn.BatchNorm2d(8)
        )
        self.f1 = nn.Sequential(
            nn.Conv2d(8, 8, (1, 3), padding=(0, 1), groups=8),
            nn.BatchNorm2d(8),
            nn.SiLU(),
            nn.Conv2d(8, 8, 1),
        )

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        y = self.f2(x)
        return torch.relu(x + y + self.f1(y.mean(2, keepdim=True)))


add("squeeze and excitation", lambda: nn.Sequential(unit(3, 8), _Excited(8, nn.Sigmoid())))
add(
    "mobilenet v2 block",
    lambda: nn.Sequential(unit(3, 8, 3, 2), _Inverted(8, nn.ReLU6, False), *classify(8)),
)
add(
    "mobilenet v3 block",
    lambda: nn.Sequential(unit(3, 8, 3, 2), _Inverted(8, nn.Hardswish, True), *classify(8)),
)
add("efficientnet block", lambda: nn.Sequential(unit(3, 8, 3, 2), _Inverted(8, nn.SiLU, True)))
add("shufflenet block", lambda: nn.Sequential(unit(3, 8, 3, 2), _Shuffled(), *classify(8)))
add("ghostnet block", _Ghost)
add("convnext block", lambda: nn.Sequential(unit(3, 8, 4, 4), _Next()), (1, 3, 32, 32))
add("cbam", lambda: nn.Sequential(_Spatial(), _Excited(8, nn.Sigmoid())))
add(
    "lenet",
    lambda: nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 24),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(24, 10),
    ),
    (1, 1, 28, 28),
)
add(
    "autoencoder",
    lambda: nn.Sequential(
        unit(3, 8, 3, 2),
        unit(8, 4, 3, 2),
        nn.ConvTranspose2d(4, 8, 3, 2, 1, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 3, 3, 2, 1, 1),
        nn.Tanh(),
    ),
)
add(
    "super-resolution",
    lambda: nn.Sequential(
        nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), conv(12, 9), nn.PixelShuffle(3)
    ),
    (1, 1, 12, 12),
)
add("u-net", _Unet)
add("yolo head", _Head)
add("yolov8 head", _Distances)
add("yolov5 blocks", _Fast)
add(
    "tcn",
    lambda: nn.Sequential(
        _Causal(4, 8, 1), _Causal(8, 8, 2), Step(lambda x: x[:, :, -1]), nn.Linear(8, 3)
    ),
    SOUND,
)
add("wavenet layer", _Gated1d, SOUND)
add(
    "sound by lines",
    lambda: nn.Sequential(
        nn.Conv1d(1, 8, 16, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.MaxPool1d(4),
        nn.Conv1d(8, 12, 3),
        nn.BatchNorm1d(12),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(12, 4),
    ),
    (1, 1, 400),
)
add(
    "sensor of rows",
    lambda: nn.Sequential(
        Step(lambda x: x.transpose(1, 2)),
        line(6, 8, 5),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 4),
    ),
    (1, 32, 6),
)
add(
    "sensor as a picture",
    lambda: nn.Sequential(
        Step(lambda x: x.unsqueeze(1)),
        nn.Conv2d(1, 6, (5, 1)),
        nn.ReLU(),
        nn.Flatten(1),
        nn.Linear(1008, 4),
    ),
    (1, 32, 6),
)
add("keywords", _Keyword, (1, 1, 40, 12))
add("bc-resnet block", _Broadcast, (1, 1, 16, 20))
add("attention", _Attention, (1, 10, 8))
add(
    "attention of heads",
    lambda: Step(
        lambda f, x: f(x, x, x, need_weights=False)[0],
        nn.MultiheadAttention(8, 2, batch_first=True),
    ),
    (1, 10, 8),
)
add("encoder", lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (1, 10, 8))
add(
    "patches",
    lambda: Step(
        lambda f, g, x: g(f(x).flatten(2).transpose(1, 2)), nn.Conv2d(3, 8, 4, 4), nn.Linear(8, 6)
    ),
)
add("gru", lambda: Step(lambda f, x: f(x)[0][:, -1], nn.GRU(6, 8, batch_first=True)), (1, 10, 6))
add("lstm", lambda: Step(lambda f, x: f(x)[0][:, -1], nn.LSTM(6, 8, batch_first=True)), (1, 10, 6))
