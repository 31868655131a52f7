"""Kernels on planes against their oracles, and the oracles against PyTorch's own operators."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from l0compile.ir.ops.bsr import dense_blocks, to_blocks
from l0compile.ir.ops.planes import Planes
from l0compile.kernels.cpu.conv import ConvSpec
from l0compile.kernels.cpu.lanes import ACTIVATIONS
from l0compile.kernels.cpu.planes import CopySpec
from l0compile.kernels.cpu.window import WindowSpec
from l0compile.kernels.token_tile import TokenTile

l0 = torch.ops.l0compile


def layout(height: int, width: int, border: int) -> Planes:
    pitch = width + border
    before = border * pitch + border
    return Planes.bordered(height, width, pitch, before, -(-height * pitch // 16) * 16 + before)


def to_planes(image: torch.Tensor, planes: Planes) -> torch.Tensor:
    rows = Planes.rows(*image.shape[2:])
    return l0.copy_planes(image.flatten(2), rows.numbers(), planes.numbers(), [1, 1], [0, 0])


def to_image(x: torch.Tensor, planes: Planes) -> torch.Tensor:
    rows = Planes.rows(planes.height, planes.width)
    y = l0.copy_planes(x, planes.numbers(), rows.numbers(), [1, 1], [0, 0])
    return y.unflatten(2, (planes.height, planes.width))


def taps(planes: Planes, kernel: int) -> list[int]:
    around = range(-(kernel // 2), kernel // 2 + 1)
    return [planes.lead + dy * planes.pitch + dx for dy in around for dx in around]


def check_conv(launch, tile: TokenTile, size, n, channels, kernel, density, activation="", residual=False):  # type: ignore[no-untyped-def]
    planes = layout(*size, kernel // 2)
    weight = torch.randn(n, channels * kernel**2) * (torch.rand(n, channels * kernel**2) < (density or 1))
    image, bias = torch.randn(2, channels, *size), torch.randn(n)
    x = to_planes(image, planes)
    offsets = torch.tensor([c * planes.size + t for c in range(channels) for t in taps(planes, kernel)])
    data, indptr = dense_blocks(weight, tile.rows), None
    if density is not None:
        data, column, indptr = to_blocks(weight, 4, 1)
        offsets = offsets[column.long()]
    offsets = offsets.to(torch.int32)
    other = to_planes(torch.randn(2, n, *size), planes) if residual else None
    dense = density is None
    spec = ConvSpec(
        n, channels * kernel**2 if dense else 0, 4, channels, planes.size, planes, dense, True, residual, activation
    )  # fmt: skip
    slope = torch.randn(n) if activation == "prelu" else None
    operands = tuple(t for t in (x, data, offsets, indptr, bias, other, slope) if t is not None)
    actual = launch(spec, operands, (2, n, planes.size))
    expected = l0.packed_conv2d(x, data, offsets, indptr, bias, other, n, planes.numbers(), activation, slope)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=4e-6 * weight.shape[1] ** 0.5)
    if not activation and not residual:
        by_torch = F.conv2d(image, weight.view(n, channels, kernel, kernel), bias, padding=kernel // 2)
        torch.testing.assert_close(to_image(actual, planes), by_torch, rtol=1e-4, atol=1e-4)


@settings(max_examples=12, deadline=None)
@given(
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    n=st.integers(1, 10),
    channels=st.integers(1, 5),
    kernel=st.sampled_from([1, 3, 5]),
    density=st.sampled_from([None, 0.1, 0.6, 1.0]),
)
def test_convolution(launch, tile: TokenTile, size, n, channels, kernel, density) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(n * channels)
    check_conv(launch, tile, size, n, channels, kernel, density)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, "prelu"])
def test_epilogues(launch, tile: TokenTile, activation: str) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(3)
    check_conv(launch, tile, (5, 6), 7, 3, 3, None, activation, activation != "")


@settings(max_examples=10, deadline=None)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    step=st.integers(1, 3),
    border=st.integers(0, 2),
    lowest=st.booleans(),
)
def test_copies(launch, size, step, border, lowest) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(step)
    image = torch.randn(2, 3, *size)
    source, result = layout(*size, 1), layout(-(-size[0] // step), -(-size[1] // step), border)
    phases = tuple((a, b) for a in range(step) for b in range(step))
    spec = CopySpec(3, source, result, (step, step), phases, lowest)
    x = to_planes(image, source)
    actual = launch(spec, (x,), (2, 3 * step**2, result.size))
    flat = [place for phase in phases for place in phase]
    expected = l0.copy_planes(x, source.numbers(), result.numbers(), [step, step], flat, lowest)
    assert torch.equal(actual, expected)
    first = image[:, :, ::step, ::step]
    assert torch.equal(to_image(actual[:, :3], result), first)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(4, 5), (9, 12)])
def test_depthwise_and_pooling(launch, kernel: int, size: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(kernel)
    planes, image = layout(*size, kernel // 2), torch.randn(2, 3, *size).relu()
    x, weight, bias = to_planes(image, planes), torch.randn(3, kernel**2), torch.randn(3)
    offsets = tuple(taps(planes, kernel))
    spec = WindowSpec(3, 3, planes.size, planes, offsets, True, True, "hardswish")
    actual = launch(spec, (x, weight, bias), tuple(x.shape))
    expected = l0.packed_window(x, weight, bias, 3, offsets, planes.numbers(), "hardswish")
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)
    by_torch = F.conv2d(image, weight.view(3, 1, kernel, kernel), bias, padding=kernel // 2, groups=3)
    torch.testing.assert_close(to_image(actual, planes), F.hardswish(by_torch), rtol=1e-4, atol=1e-5)
    spec = WindowSpec(3, 3, planes.size, planes, offsets, False, False, "")
    pooled = to_image(launch(spec, (x,), tuple(x.shape)), planes)
    assert torch.equal(pooled, F.max_pool2d(image, kernel, 1, kernel // 2))
