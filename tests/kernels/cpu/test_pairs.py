"""Kernels of bfloat16 numbers against their oracles: equal operands, sums in another order."""

import dataclasses

import pytest
import torch

from l0compile.hardware._tvm import runtime
from l0compile.hardware.targets import load_target
from l0compile.ir.ops.words import dense_word_blocks, word_blocks
from l0compile.kernels import emit
from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.cpu.narrow import NarrowSpec
from l0compile.kernels.cpu.word_form import FORMS
from l0compile.kernels.token_tile import TokenTile, token_tile
from tests.kernels.kept_code import kept_assembly, kept_code

l0 = torch.ops.l0compile
BLOCKS = [None, (4, 2), (1, 4), (8, 2), (16, 16), (6, 8)]


def bound(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """k * 2^-23 times the sum of the absolute products, for sums of k products in any order."""
    k = weight.shape[1]
    return k * 2.0**-23 * (x.bfloat16().abs().float() @ weight.abs().float().T)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
@pytest.mark.parametrize(("m", "known"), [(1, True), (17, True), (70, False), (130, True)])
def test_linear(launch, tile: TokenTile, block, m: int, known: bool) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(m)
    tail = m % tile.lanes if known else None
    n, k = 38, 35
    x, bias = torch.randn(m, k), torch.randn(n)
    weight = (torch.randn(n, k) * (torch.rand(n, k) < 0.4)).bfloat16()
    weight[0, 0] = 1.0
    data, indices, indptr = (
        word_blocks(weight, *block) if block else (dense_word_blocks(weight, tile.rows), None, None)
    )
    words = l0.packed_bfloat16(l0.pack(x, tile.lanes))
    residual = torch.randn(words.shape[0], n, tile.lanes)
    spec = LinearSpec(
        n, words.shape[1], data.shape[2], data.shape[1], block is None, True, True, "", tail, "bfloat16"
    )
    inputs = [t for t in (words, data, indices, indptr, bias, residual) if t is not None]
    found = launch(spec, (*inputs, m) if tail is None else tuple(inputs), (words.shape[0], n, tile.lanes))
    wanted = l0.packed_bfloat16_linear(words, data, indices, indptr, bias, residual, n, "")
    gap = (l0.unpack(found, [m]) - l0.unpack(wanted, [m])).abs()
    assert bool((gap <= bound(x, weight) + 1e-6).all())
    rows = l0.bfloat16_linear(x, weight, bias) + l0.unpack(residual, [m])
    assert bool(((l0.unpack(found, [m]) - rows).abs() <= bound(x, weight) + 1e-6).all())


@pytest.mark.parametrize(
    ("features", "m", "known"), [(32, 70, True), (7, 64, True), (21, 5, False), (1, 3, True)]
)
def test_narrow(launch, tile: TokenTile, features: int, m: int, known: bool) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    tail = m % tile.lanes if known else None
    x = torch.randn(m, features)
    special = torch.tensor([float("nan"), float("inf"), -0.0])
    x[:3, 0] = special
    # A NaN whose bits are all ones would become a number if it were rounded like one; a tie goes to the even neighbour.
    x.view(torch.int32)[0, 0], x[1, -1] = 0x7FFFFFFF, 1.00390625
    packed = l0.pack(x, tile.lanes)
    wanted = l0.packed_bfloat16(packed)
    inputs = (packed, m) if tail is None else (packed,)
    found = launch(NarrowSpec(features, FORMS["pairs"], tail), inputs, tuple(wanted.shape), None, torch.int32)
    both = [
        w.transpose(1, 2).clone(memory_format=torch.contiguous_format).view(torch.bfloat16).flatten(0, 1)[:m]
        for w in (found, wanted)
    ]
    torch.testing.assert_close(*both, rtol=0.0, atol=0.0, equal_nan=True)


@pytest.mark.parametrize(("name", "feature", "instruction"), [
    ("x86-64-avx512", "avx512bf16", "vdpbf16ps"), ("aarch64-neon", "bf16", "bfdot"),
])  # fmt: skip
def test_instructions(name: str, feature: str, instruction: str) -> None:
    target = dataclasses.replace(load_target(name), dot_products=(feature,))
    spec = LinearSpec(8, 8, 4, 1, True, True, False, "", 0, "bfloat16")
    function = emit(spec, token_tile(target))
    code = kept_assembly(function, target)
    assert code.count(instruction) >= 16
    assert "call" not in code or "l0compile_pair_dot" not in code  # inlined


def test_plain_arithmetic_gives_the_same(tile: TokenTile) -> None:
    plain = dataclasses.replace(tile, dot_products=())
    spec = LinearSpec(8, 16, 4, 1, True, False, False, "", 0, "bfloat16")
    x, weight = torch.randn(tile.lanes, 32), torch.randn(8, 32).bfloat16()
    words, data = l0.packed_bfloat16(l0.pack(x, tile.lanes)), dense_word_blocks(weight, 4)
    function = emit(spec, plain)
    result = torch.empty(1, 8, tile.lanes)
    kept_code(function)(*(runtime.from_dlpack(t) for t in (words, data, result)))
    gap = (l0.unpack(result, [tile.lanes]) - l0.bfloat16_linear(x, weight, None)).abs()
    assert bool((gap <= bound(x, weight) + 1e-6).all())
