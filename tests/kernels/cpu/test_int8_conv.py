"""Convolutions of 8-bit integers on planes: the very integers of their oracles, and those of PyTorch's convolution."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.hardware.targets import load_target
from l0compile.ir.ops.int8_conv import conv_matrix
from l0compile.ir.ops.planes import Planes, pixel_index
from l0compile.ir.ops.word_planes import word_of
from l0compile.ir.ops.words import dense_word_blocks, from_words, word_blocks
from l0compile.kernels import emit
from l0compile.kernels.cpu.int8_conv import IntegerConvSpec
from l0compile.kernels.cpu.planes import CopySpec
from l0compile.kernels.cpu.quantize_planes import QuantizePlanesSpec
from l0compile.kernels.token_tile import TokenTile, token_tile
from tests.kernels.cpu.test_conv import layout, taps, to_image, to_planes
from tests.kernels.kept_code import kept_assembly
from tests.kernels.machine_code import VECTOR_ON_STACK, innermost_loops

l0 = torch.ops.l0compile
ZERO = 120  # of the input


def random_weight(n: int, channels: int, kernel: int, density: float) -> torch.Tensor:
    weight = torch.randint(-127, 128, (n, channels, kernel, kernel), dtype=torch.int8)
    weight *= torch.rand(n, channels, kernel, kernel) < density
    weight[0, 0, 0, 0] = 1  # at least one block
    return weight


def check(  # type: ignore[no-untyped-def]
    launch,
    tile: TokenTile,
    size: tuple[int, int],
    weight: torch.Tensor,
    rows: int | None,
    activation: str = "",
    residual: bool = False,
    zero_point: int | None = None,
) -> None:
    """``rows``: of a stored block of one word; None: dense."""
    n, channels, kernel = weight.shape[:3]
    planes, words = layout(*size, kernel // 2), -(-channels // 4)
    image = torch.randn(2, channels, *size)
    inverse, scale, bias = torch.full((channels,), 40.0), torch.rand(n) * 1e-3, torch.randn(n)
    x = l0.quantize_planes(to_planes(image, planes), inverse, ZERO)
    offsets = torch.tensor([w * planes.size + t for w in range(words) for t in taps(planes, kernel)])
    matrix = conv_matrix(weight)
    data, indptr = dense_word_blocks(matrix, tile.rows), None
    if rows is not None:
        data, column, indptr = word_blocks(matrix, rows, 4)
        offsets = offsets[column.long()]
    offsets = offsets.to(torch.int32)
    start = (-ZERO * matrix.int().sum(1)).to(torch.int32)
    other = to_planes(torch.randn(2, n, *size), planes) if residual else None
    narrow = torch.full((n,), 30.0) if zero_point is not None else None
    spec = IntegerConvSpec(
        n, 0 if rows else words * kernel**2, data.shape[2], words, planes.size, planes, rows is None, True,
        residual, activation, zero_point,
    )  # fmt: skip
    operands = (x, data, offsets, indptr, start, scale, bias, other, narrow)
    expected = l0.packed_int8_conv2d(*operands, n, planes.numbers(), activation, zero_point or 0)
    inputs = tuple(operand for operand in operands if operand is not None)
    actual = launch(spec, inputs, tuple(expected.shape), None, expected.dtype)
    if activation in ("", "relu"):
        assert torch.equal(actual, expected)
    elif zero_point is None:
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=2e-6)
    else:
        apart = (from_words(actual, torch.uint8).int() - from_words(expected, torch.uint8).int()).abs()
        # SiLU is a polynomial here: a number at the border of two levels may get the other one.
        assert apart.max() <= 1 and (apart > 0).float().mean() < 1e-3
    if not activation and not residual and zero_point is None:
        q = l0.quantize(image, inverse[:, None, None], ZERO)
        pad = kernel // 2
        by_torch = l0.int8_conv2d(q, weight, scale, bias, ZERO, [1, 1], [pad, pad], [1, 1])
        assert torch.equal(to_image(actual, planes), by_torch)


@settings(max_examples=12, deadline=None)
@given(
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
    n=st.integers(1, 10),
    channels=st.integers(1, 9),
    kernel=st.sampled_from([1, 3, 5]),
    rows=st.sampled_from([None, 1, 2, 4, 8]),
)
def test_convolution(launch, tile: TokenTile, size, n, channels, kernel, rows) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(n * channels)
    check(launch, tile, size, random_weight(n, channels, kernel, 1.0 if rows is None else 0.3), rows)


@pytest.mark.parametrize("rows", [None, 4])
@pytest.mark.parametrize(
    ("activation", "residual"), [("", True), ("relu", False), ("relu", True), ("silu", False)]
)
@pytest.mark.parametrize("zero_point", [None, 7, 200])
def test_epilogues(launch, tile: TokenTile, rows, activation: str, residual: bool, zero_point) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(3)
    weight = random_weight(8, 6, 3, 0.5)
    check(launch, tile, (7, 11), weight, rows, activation, residual, zero_point)


def test_the_border_of_integers_is_the_zero_point(launch, tile: TokenTile) -> None:  # type: ignore[no-untyped-def]
    planes, n = layout(5, 6, 1), 4
    x = torch.zeros(1, 1, planes.size, dtype=torch.int32)
    spec = IntegerConvSpec(n, 1, tile.rows, 1, planes.size, planes, True, True, False, "", 77)
    weight = dense_word_blocks(torch.zeros(n, 4, dtype=torch.int8), tile.rows)
    offsets = torch.tensor([planes.lead], dtype=torch.int32)
    ones = torch.ones(n)
    operands = (x, weight, offsets, torch.zeros(n, dtype=torch.int32), ones, ones, ones)
    y = launch(spec, operands, (1, 1, planes.size), None, torch.int32)[0, 0]
    pixels = pixel_index(planes).flatten()
    assert bool((y[pixels] == word_of(78)).all())
    y[pixels] = word_of(77)
    assert bool((y == word_of(77)).all())


@settings(max_examples=8, deadline=None)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    step=st.integers(1, 3),
    border=st.integers(0, 2),
    zero_point=st.sampled_from([0, 5, 255]),
)
def test_copies_of_words(launch, size, step, border, zero_point) -> None:  # type: ignore[no-untyped-def]
    source, result = layout(*size, 1), layout(-(-size[0] // step), -(-size[1] // step), border)
    phases = tuple((a, b) for a in range(step) for b in range(step))
    x = l0.quantize_planes(to_planes(torch.randn(2, 3, *size), source), torch.full((3,), 40.0), 9)
    spec = CopySpec(1, source, result, (step, step), phases, zero_point=zero_point)
    flat = [place for phase in phases for place in phase]
    expected = l0.copy_word_planes(x, source.numbers(), result.numbers(), [step, step], flat, zero_point)
    assert torch.equal(launch(spec, (x,), tuple(expected.shape), None, torch.int32), expected)


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 8])
def test_quantize(launch, channels: int) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(channels)
    x, inverse = 3 * torch.randn(2, channels, 37), torch.rand(channels) * 50
    x[0, 0, :3] = torch.tensor([float("nan"), float("inf"), float("-inf")])
    expected = l0.quantize_planes(x, inverse, 100)
    spec = QuantizePlanesSpec(channels, 37, 100)
    assert torch.equal(launch(spec, (x, inverse), tuple(expected.shape), None, torch.int32), expected)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize(
    ("name", "feature", "wanted"),
    [("x86-64-avx512", "avx512vnni", "vpdpbusd"), ("x86-64-avx2", "avxvnni", "vpdpbusd"),
     ("x86-64-avx2", "avx2", "vpmaddwd"), ("aarch64-neon", "i8mm", "usdot")],
)  # fmt: skip
def test_code_with_an_instruction(name: str, feature: str, wanted: str, dense: bool) -> None:
    target = dataclasses.replace(load_target(name), dot_products=(feature,))
    planes = Planes.bordered(14, 14, 15, 16, 232)
    spec = IntegerConvSpec(64, 144 if dense else 0, 4, 16, planes.size, planes, dense, True, False, "relu", 9)
    function = emit(spec, token_tile(target))
    code = kept_assembly(function, target)
    assert wanted in code
    loops = [loop for loop in innermost_loops(code) if any(wanted in line for line in loop)]
    # A register of addresses may be %rbp, from which a weight is broadcast.
    lines = [line for loop in loops for line in loop if "broadcast" not in line]
    assert loops and not [line for line in lines if VECTOR_ON_STACK.search(line)]


def test_code_without_an_instruction() -> None:
    target = dataclasses.replace(load_target("x86-64-avx2"), dot_products=())
    planes = Planes.bordered(14, 14, 15, 16, 232)
    spec = IntegerConvSpec(8, 2, 4, 2, planes.size, planes, True, True, False, "", None)
    function = emit(spec, token_tile(target))
    assert "vpdpbusd" not in kept_assembly(function, target)
