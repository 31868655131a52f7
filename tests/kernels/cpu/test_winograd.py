"""Winograd convolutions against their oracle, and the oracle against PyTorch's own convolution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from l0compile.ir.ops.winograd import HEIGHTS
from l0compile.kernels.cpu.winograd import WinogradSpec
from l0compile.kernels.cpu.winograd_planes import WinogradPlanesSpec
from l0compile.kernels.token_tile import TokenTile
from l0compile.rewrite.formats.winograd import winograd_layout, winograd_weight
from tests.kernels.cpu.test_conv import layout, to_image, to_planes

l0 = torch.ops.l0compile


def check(launch, tile: TokenTile, size, n, channels, m, activation="", residual=False):  # type: ignore[no-untyped-def]
    source, result = layout(*size, 1), layout(*size, 1)
    seen_as = winograd_layout(source, m)
    image, bias = torch.randn(2, channels, *size), torch.randn(n)
    weight = torch.randn(n, channels, 3, 3)
    x = to_planes(image, source)
    there = (2, (m + 2) * channels, seen_as.size)
    seen = launch(WinogradPlanesSpec(channels, source, seen_as, m), (x,), there)
    expected = l0.winograd_planes(x, source.numbers(), seen_as.numbers(), m)
    torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-5)

    data, offsets = winograd_weight(weight, seen_as, m, tile.rows)
    other = to_planes(torch.randn(2, n, *size), result) if residual else None
    spec = WinogradSpec(
        n, len(offsets), tile.rows, channels, seen_as, result, m, True, residual, activation
    )  # fmt: skip
    slope = torch.randn(n) if activation == "prelu" else None
    operands = tuple(t for t in (expected, data, offsets, bias, other, slope) if t is not None)
    actual = launch(spec, operands, (2, n, result.size))
    numbers = seen_as.numbers(), result.numbers()
    oracle = l0.packed_winograd(expected, data, offsets, bias, other, n, *numbers, m, activation, slope)
    torch.testing.assert_close(actual, oracle, rtol=1e-5, atol=2e-5 * channels**0.5)
    by_torch = F.conv2d(image, weight, bias, padding=1)
    by_torch = by_torch if other is None else by_torch + to_image(other, result)
    by_torch = by_torch.relu() if activation == "relu" else by_torch
    by_torch = by_torch if slope is None else F.prelu(by_torch, slope)
    torch.testing.assert_close(to_image(actual, result), by_torch, rtol=1e-4, atol=1e-4)


@settings(max_examples=14, deadline=None)
@given(
    size=st.tuples(st.integers(1, 19), st.integers(2, 35)),
    n=st.integers(1, 10),
    channels=st.integers(1, 5),
    m=st.sampled_from(HEIGHTS),
)
def test_winograd(launch, tile: TokenTile, size, n, channels, m) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(n * channels)
    check(launch, tile, size, n, channels, m)


@pytest.mark.parametrize(
    ("size", "activation"), [((5, 6), "relu"), ((14, 14), "relu"), ((8, 28), "relu"), ((9, 12), "prelu")]
)
def test_epilogues(launch, tile: TokenTile, size: tuple[int, int], activation: str) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(3)
    check(launch, tile, size, 7, 3, 4, activation, True)
