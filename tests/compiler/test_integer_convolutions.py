"""Models with convolutions of 8-bit integers, quantised and compiled: the numbers of PyTorch, without islands."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import l0compile as l0


class Bottleneck(nn.Module):
    """What a ResNet is made of: 1x1, 3x3 and 1x1 convolution, each with its batch norm, around a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width)
        self.down = nn.Conv2d(inputs, 2 * width, 1, stride) if stride > 1 or inputs != 2 * width else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.down is None else self.down(x)))


class Pictures(nn.Module):
    """A small ResNet: [N, 3, H, W] -> [N, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = (
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.Sequential(Bottleneck(8, 8, 2), Bottleneck(16, 8, 1)),
        )
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(F.max_pool2d(F.relu(self.stem(x)), 3, 2, 1)).mean((2, 3)))


def narrow(density: float = 1.0) -> nn.Module:
    """``density``: of the blocks of four rows and four channels at a tap."""
    torch.manual_seed(0)
    model = Pictures().eval()
    if density < 1:
        for conv in model.blocks.modules():
            if isinstance(conv, nn.Conv2d):
                n, channels, *taps = conv.weight.shape
                kept = torch.rand(n // 4, channels // 4, *taps) < density
                conv.weight.data *= kept.repeat_interleave(4, 0).repeat_interleave(4, 1)
    return l0.quantize(model, [torch.randn(4, 3, 33, 29) for _ in range(2)])


def compiled(model: nn.Module, *args: Tensor, **options: Any) -> Any:
    return l0.compile(model, args, engine="tvm", **options)


def launches(model: Any) -> list[str]:
    return [launch.function.rsplit("_", 1)[0] for launch in model.explain().launches]


@pytest.mark.parametrize("density", [1.0, 0.6])
def test_a_residual_network(density: float, tmp_path: Any) -> None:
    model, x = narrow(density), torch.randn(2, 3, 33, 29)
    assert {layer.precision for layer in model.quantization} == {"int8"}
    result = compiled(model, x)
    with torch.no_grad():
        wanted = model(x)
    torch.testing.assert_close(result(x), wanted, rtol=0, atol=2e-2 * float(wanted.abs().max()))
    # What is not written as integers by the layer before: the picture, what a pool gives, what a shortcut reads too.
    assert launches(result).count("int8_conv") == 8 and launches(result).count("quantize_planes") == 3
    assert not result.explain().islands
    formats = {
        (region.format, region.block) for region in result.explain().regions if region.precision == "int8"
    }
    assert (("bsr", (4, 4)) in formats) == (density < 1)
    result.save(tmp_path / "model")
    assert torch.equal(l0.load(tmp_path / "model")(x), result(x))


class Chain(nn.Module):
    """Integers all the way: what is rounded is rounded exactly alike."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(6, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(12, 10, (1, 3)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_integers_are_those_of_pytorch_for_any_batch() -> None:
    torch.manual_seed(1)
    model = l0.quantize(Chain().eval(), [torch.randn(8, 6, 13, 14)])
    assert [layer.precision for layer in model.quantization] == ["int8"] * 3
    result = compiled(model, torch.randn(2, 6, 13, 14), dynamic_shapes=({0: torch.export.Dim("batch")},))
    with torch.no_grad():
        for batch in (1, 2, 5):
            x = torch.randn(batch, 6, 13, 14)
            assert torch.equal(result(x), model(x))


def test_images_of_any_size_are_linear_layers_of_windows() -> None:
    torch.manual_seed(2)
    model, x = l0.quantize(Chain().eval(), [torch.randn(2, 6, 13, 14)]), torch.randn(2, 6, 13, 14)
    sizes = ({2: torch.export.Dim("height", min=4), 3: torch.export.Dim("width", min=8)},)
    found = compiled(model, x, dynamic_shapes=sizes)
    assert not found.explain().islands
    with torch.no_grad():
        for size in ((20, 11), (4, 8)):
            y = torch.randn(2, 6, *size)
            torch.testing.assert_close(found(y), model(y), rtol=1e-5, atol=1e-5)


class Separable(nn.Module):
    """A convolution for each channel between two of one tap, as in MobileNet; and one in two groups."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.each = nn.Conv2d(6, 24, 1), nn.Conv2d(24, 24, 3, 2, 1, groups=24)
        self.two, self.back = nn.Conv2d(24, 16, 3, 1, 1, groups=2), nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.back(F.relu6(self.two(F.relu6(self.each(F.relu6(self.wide(x)))))))


def test_groups() -> None:
    torch.manual_seed(3)
    model, x = l0.quantize(Separable().eval(), [torch.randn(4, 6, 13, 14)]), torch.randn(2, 6, 13, 14)
    assert [layer.precision for layer in model.quantization] == ["int8"] * 4
    found = compiled(model, x)
    assert not found.explain().islands
    with torch.no_grad():
        torch.testing.assert_close(found(x), model(x), rtol=1e-5, atol=1e-5)
    regions = {region.name: region for region in found.explain().regions}
    assert regions["each"].format == "bsr" and regions["each"].precision == "int8"
    assert launches(found).count("int8_conv") == 4 and launches(found).count("quantize_planes") == 1


def test_a_layer_of_zeros_has_no_island() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Flatten(), nn.Linear(64, 8)
    ).eval()
    with torch.no_grad():
        model[2].weight.zero_()
        model[4].weight.zero_()
    x = torch.randn(3, 4, 4, 4)
    narrow, wanted = l0.quantize(model, [x]), model(x)
    assert [layer.precision for layer in narrow.quantization] == ["int8"] * 3
    found = compiled(narrow, x)
    assert not found.explain().islands and torch.equal(found(x), wanted)
