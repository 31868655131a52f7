"""Convolution layers of well-known networks with random weights, dense or with blocks of zeros."""

import torch
from torch import Tensor, nn

from harness.minilm import prune

# Name -> (pixels each way, channels in, channels out, kernel, depthwise): layers of ResNet-50 and MobileNetV2.
LAYERS: dict[str, tuple[int, int, int, int, bool]] = {
    "ResNet-50 56 1x1": (56, 256, 64, 1, False),
    "ResNet-50 56 3x3": (56, 64, 64, 3, False),
    "ResNet-50 28 1x1": (28, 512, 128, 1, False),
    "ResNet-50 28 3x3": (28, 128, 128, 3, False),
    "ResNet-50 14 1x1": (14, 1024, 256, 1, False),
    "ResNet-50 14 3x3": (14, 256, 256, 3, False),
    "ResNet-50 7 1x1": (7, 2048, 512, 1, False),
    "ResNet-50 7 3x3": (7, 512, 512, 3, False),
    "MobileNetV2 56 1x1": (56, 24, 144, 1, False),
    "MobileNetV2 14 1x1": (14, 64, 384, 1, False),
    "MobileNetV2 7 1x1": (7, 160, 960, 1, False),
    "MobileNetV2 56 depthwise": (56, 144, 144, 3, True),
    "MobileNetV2 14 depthwise": (14, 384, 384, 3, True),
    "MobileNetV2 7 depthwise": (7, 960, 960, 3, True),
}
# How often a layer runs, there and back, so that changes of layout, which a network has only at its ends, count little.
TURNS = 3


def make(
    name: str, block: list[int] | None = None, density: float = 1.0
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Make a chain of ``2 * TURNS`` layers in eval mode, and one image for it.

    Only the share ``density`` of largest blocks stays in each weight; this is for speed, not for quality.
    """
    torch.manual_seed(0)
    pixels, inputs, outputs, kernel, depthwise = LAYERS[name]
    parts: list[nn.Module] = []
    for i in range(2 * TURNS):
        a, b = (inputs, outputs) if i % 2 == 0 else (outputs, inputs)
        conv = nn.Conv2d(a, b, kernel, padding=kernel // 2, groups=a if depthwise else 1)
        nn.init.kaiming_normal_(conv.weight)
        if block is not None:
            prune(conv.weight.data.flatten(1), (block[0], block[1]), density)
        parts += [conv, nn.ReLU()]
    model = nn.Sequential(*parts).eval().requires_grad_(False)
    return model, (torch.randn(1, inputs, pixels, pixels),)
