"""Winograd convolutions: where pack_planes makes them, and where it must not."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.hardware.targets import load_target
from l0compile.ir.ops.planes import LINE
from l0compile.ir.ops.winograd import HEIGHTS, transforms
from l0compile.ir.program import Program
from l0compile.rewrite.formats.format_choice import choose
from l0compile.rewrite.formats.winograd import dense_time, readable, winograd_height, winograd_layout
from l0compile.rewrite.fuse.fuse_epilogues import fuse_conv_epilogue
from l0compile.rewrite.layout.planes import pack_planes
from l0compile.rewrite.runner import run
from l0compile.rewrite.windows import Window, layouts

l0 = torch.ops.l0compile
PASSES = [partial(pack_planes, rows=4), fuse_conv_epilogue]
Count = Callable[..., int]


def optimised(model: nn.Module, *args: Tensor) -> Program:
    return run(capture(model.eval(), args), PASSES)


@settings(max_examples=20, deadline=None)
@given(m=st.sampled_from(HEIGHTS), seed=st.integers(0, 1000))
def test_the_products_of_a_strip_are_its_convolution(m: int, seed: int) -> None:
    torch.manual_seed(seed)
    column, image = torch.randn(3, dtype=torch.float64), torch.randn(m + 2, dtype=torch.float64)
    data, kernel, result = (torch.tensor(matrix, dtype=torch.float64) for matrix in transforms(m))
    expected = image.unfold(0, 3, 1) @ column
    torch.testing.assert_close(result @ ((kernel @ column) * (data @ image)), expected)


@settings(max_examples=4, deadline=None)
@given(size=st.tuples(st.integers(10, 20), st.integers(8, 20)), n=st.integers(32, 40))
def test_a_residual_block_by_winograd(size: tuple[int, int], n: int) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(n, n, 3, padding=1), nn.Conv2d(n, n, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x + self.second(F.relu(self.first(x))))

    assume(size[0] * size[1] >= 128 and winograd_height(Window(size, (3, 3), (1, 1), (1, 1), (1, 1)), n, n))
    torch.manual_seed(n)
    model, x = Block(), torch.randn(2, n, *size)
    program = optimised(model, x)
    targets = [node.target for node in program.graph.nodes]
    assert targets.count(l0.packed_winograd.default) == 2
    assert not {torch.ops.aten.relu.default, torch.ops.aten.add.Tensor} & {*targets}, (
        "left beside the convolution"
    )
    torch.testing.assert_close(program.run(x), model(x), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.Conv2d(32, 32, 3),
        nn.Conv2d(32, 32, 3, padding=2, dilation=2),
        nn.Conv2d(32, 32, 3, padding=1, groups=2),
        nn.Conv2d(32, 32, (3, 1), padding=(1, 0)),
        nn.Conv2d(8, 32, 3, padding=1),
        nn.Conv2d(32, 16, 3, padding=1),
    ],
    ids=["stride", "no border", "dilation", "groups", "3x1", "few inputs", "few outputs"],
)
def test_others_stay_as_they_are(conv: nn.Conv2d, count: Count) -> None:
    x = torch.randn(1, conv.in_channels, 16, 16)
    program = optimised(nn.Sequential(conv), x)
    assert count(program, l0.packed_winograd.default) == 0
    torch.testing.assert_close(program.run(x), conv(x), rtol=1e-4, atol=2e-5)


@settings(max_examples=100, deadline=None)
@given(size=st.tuples(st.integers(1, 40), st.integers(2, 70)), m=st.sampled_from(HEIGHTS))
def test_registers_stay_inside_of_the_planes(size: tuple[int, int], m: int) -> None:
    """Kernels read and write whole registers, also behind the last pixel, and a tap further."""
    source = layouts([Window(size, (3, 3), (1, 1), (1, 1), (1, 1))])[size]
    layout = winograd_layout(source, m)
    width = -(-size[1] // LINE) * LINE
    assert layout.lead + (layout.height - 1) * layout.pitch + width + 1 <= layout.size
    assert layout.pitch > size[1] and layout.lead >= 1
    below = source.lead + (source.height - 1) * source.pitch + width <= source.size
    assert readable(source) == below


def test_zeros_must_beat_winograd() -> None:
    """Zeros that would pay against the plain kernel, but not against half of its products."""
    window = Window((28, 28), (3, 3), (1, 1), (1, 1), (1, 1))
    weight, target = torch.randn(64, 64 * 9), load_target("x86-64-avx512")
    weight.view(16, 4, -1)[:, :, : 64 * 9 // 4] = 0
    assert choose(weight, target)[0].block is not None
    assert choose(weight, target, dense_time=dense_time(window, 64, 64))[0].block is None
    weight.view(16, 4, -1)[:, :, 64:] = 0
    assert choose(weight, target, dense_time=dense_time(window, 64, 64))[0].block is not None
