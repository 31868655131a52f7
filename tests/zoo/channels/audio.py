"""Nets for sound: a vocoder with weight norm, the pitch network CREPE, a speaker net of grouped parts."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm


class ResBlock(nn.Module):
    """Dilated convolutions with a residual, as in HiFi-GAN."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.wide = nn.ModuleList(
            weight_norm(nn.Conv1d(width, width, kernel, 1, d * (kernel // 2), d)) for d in (1, 3)
        )
        self.narrow = nn.ModuleList(
            weight_norm(nn.Conv1d(width, width, kernel, 1, kernel // 2)) for _ in (1, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        for wide, narrow in zip(self.wide, self.narrow, strict=True):
            x = x + narrow(F.leaky_relu(wide(F.leaky_relu(x, 0.1)), 0.1))
        return x


class Vocoder(nn.Module):
    """HiFi-GAN's generator: transposed convolutions, and the mean of residual blocks of two widths at each step."""

    def __init__(self, width: int = 96):
        super().__init__()
        self.pre, self.ups, self.blocks = (
            weight_norm(nn.Conv1d(20, width, 7, 1, 3)),
            nn.ModuleList(),
            nn.ModuleList(),
        )
        for step, (rate, kernel) in enumerate(((4, 8), (4, 8))):
            inside, outside = width >> step, width >> (step + 1)
            self.ups.append(
                weight_norm(nn.ConvTranspose1d(inside, outside, kernel, rate, (kernel - rate) // 2))
            )
            self.blocks.append(nn.ModuleList(ResBlock(outside, k) for k in (3, 7)))
        self.post = weight_norm(nn.Conv1d(outside, 1, 7, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pre(x)
        for up, blocks in zip(self.ups, self.blocks, strict=True):
            x = up(F.leaky_relu(x, 0.1))
            x = (blocks[0](x) + blocks[1](x)) / 2
        return torch.tanh(self.post(F.leaky_relu(x)))


def vocoder() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Vocoder(), (torch.randn(2, 20, 16),)


class Crepe(nn.Module):
    """Six times: zero padding, convolution, ReLU, batch norm, max-pool; then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        widths, kernels = (128, 32, 32, 32, 64, 96), (64, 16, 16, 16, 16, 16)
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        self.pads = [(0, 0, 30, 30)] + 5 * [(0, 0, 7, 8)]
        inside = 1
        for number, (width, kernel) in enumerate(zip(widths, kernels, strict=True)):
            self.convs.append(nn.Conv2d(inside, width, (kernel, 1), (1 if number else 4, 1)))
            self.norms.append(nn.BatchNorm2d(width, eps=0.0010000000474974513, momentum=0.0))
            inside = width
        self.classifier = nn.Linear(96 * 4, 36)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, None, :, None]
        for pad, conv, norm in zip(self.pads, self.convs, self.norms, strict=True):
            x = F.max_pool2d(norm(F.relu(conv(F.pad(x, pad)))), (2, 1), (2, 1))
        return torch.sigmoid(self.classifier(x.permute(0, 2, 1, 3).reshape(-1, 96 * 4)))


def crepe() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Crepe(), (torch.randn(4, 1024),)


class SERes2(nn.Module):
    """ECAPA's block: slices of channels that each add the one before, then squeeze and excitation."""

    def __init__(self, width: int, dilation: int, scale: int = 4):
        super().__init__()
        part = width // scale
        self.first, self.bn1 = nn.Conv1d(width, width, 1), nn.BatchNorm1d(width)
        self.convs = nn.ModuleList(nn.Conv1d(part, part, 3, 1, dilation, dilation) for _ in range(scale - 1))
        self.norms = nn.ModuleList(nn.BatchNorm1d(part) for _ in range(scale - 1))
        self.last, self.bn2 = nn.Conv1d(width, width, 1), nn.BatchNorm1d(width)
        self.down, self.up, self.scale = nn.Conv1d(width, 24, 1), nn.Conv1d(24, width, 1), scale

    def forward(self, x: Tensor) -> Tensor:
        parts = self.bn1(F.relu(self.first(x))).chunk(self.scale, 1)
        made = [parts[0]]
        for part, conv, norm in zip(parts[1:], self.convs, self.norms, strict=True):
            made.append(norm(F.relu(conv(part + made[-1] if len(made) > 1 else part))))
        y = self.bn2(F.relu(self.last(torch.cat(made, 1))))
        return x + y * torch.sigmoid(self.up(F.relu(self.down(y.mean(2, keepdim=True)))))


class Speaker(nn.Module):
    """ECAPA-TDNN: such blocks, all joined, and weighted statistics over time."""

    def __init__(self, width: int = 64):
        super().__init__()
        self.first, self.norm = nn.Conv1d(20, width, 5, 1, 2), nn.BatchNorm1d(width)
        self.blocks = nn.ModuleList(SERes2(width, d) for d in (2, 3))
        self.joined = nn.Conv1d(2 * width, 96, 1)
        self.query, self.score = nn.Conv1d(96, 32, 1), nn.Conv1d(32, 96, 1)
        self.out = nn.Linear(2 * 96, 24)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.relu(self.first(x)))
        made = []
        for block in self.blocks:
            x = block(x)
            made.append(x)
        x = F.relu(self.joined(torch.cat(made, 1)))
        weights = self.score(torch.tanh(self.query(x))).softmax(2)
        mean = (x * weights).sum(2)
        spread = ((x * x * weights).sum(2) - mean * mean).clamp(min=1e-4).sqrt()
        return self.out(torch.cat((mean, spread), 1))


def speaker() -> tuple[nn.Module, tuple[Tensor, ...]]:
    return Speaker(), (torch.randn(2, 20, 40),)
