"""HiFi-GAN's generator: transposed convolutions and residual blocks over time, all with weight norm."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from tests.zoo.model import Call, ZooModel
from tests.zoo.prune import Coupled

MELS, SLOPE = 20, 0.1
RATES, KERNELS, DILATIONS = (8, 4), (3, 7), (1, 3)


class Residual(nn.Module):
    """Two convolutions for each dilation, a leaky ReLU before each, and a sum."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.convs1 = nn.ModuleList(
            weight_norm(nn.Conv1d(width, width, kernel, dilation=d, padding=(kernel - 1) // 2 * d))
            for d in DILATIONS
        )
        self.convs2 = nn.ModuleList(
            weight_norm(nn.Conv1d(width, width, kernel, padding=kernel // 2)) for _ in DILATIONS
        )

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class Vocoder(nn.Module):
    """Mel frames [batch, mels, frames] -> samples [batch, 1, 32 * frames]."""

    def __init__(self, width: int):
        super().__init__()
        self.before = weight_norm(nn.Conv1d(MELS, width, 7, padding=3))
        self.ups = nn.ModuleList(
            weight_norm(nn.ConvTranspose1d(width >> i, width >> i + 1, 2 * rate, rate, padding=rate // 2))
            for i, rate in enumerate(RATES)
        )
        self.blocks = nn.ModuleList(
            nn.ModuleList(Residual(width >> i + 1, kernel) for kernel in KERNELS) for i in range(len(RATES))
        )
        self.after = weight_norm(nn.Conv1d(width >> len(RATES), 1, 7, padding=3))

    def forward(self, mel: Tensor) -> Tensor:
        x = self.before(mel)
        for up, blocks in zip(self.ups, self.blocks, strict=True):
            x = up(F.leaky_relu(x, SLOPE))
            x = torch.stack([block(x) for block in blocks]).mean(0)
        return torch.tanh(self.after(F.leaky_relu(x)))


def vocoder(scale: int) -> nn.Module:
    return Vocoder(32 * scale)


def mel(batch: int, frames: int) -> Call:
    return (torch.randn(batch, MELS, frames),), {}


# With weight norm a channel is dead when its magnitude is zero.
VOCODER = (
    Coupled(
        out=tuple(
            f"blocks.*.*.convs1.*.{name}" for name in ("parametrizations.weight.original0@0", "bias@0")
        ),
        into=("blocks.*.*.convs2.*.parametrizations.weight.original1@1",),
    ),
)

MODELS = (ZooModel("vocoder", vocoder, mel, VOCODER, {"mel": {0: "batch"}}, (2, 6), (3, 6), (1, 32)),)
