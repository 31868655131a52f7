"""Linear kernels on rows, and moves between rows and packed tokens, against their oracles."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.hardware._tvm import runtime
from l0compile.hardware.targets import load_target
from l0compile.ir.ops.bsr import dense_blocks, to_blocks
from l0compile.kernels import emit
from l0compile.kernels.cpu.linear.spec import LinearSpec
from l0compile.kernels.cpu.pack import PackSpec
from l0compile.kernels.cpu.rows.spec import RowsBsrSpec, RowsLinearSpec
from l0compile.kernels.token_tile import TokenTile, token_tile
from tests.kernels.kept_code import kept_code

l0 = torch.ops.l0compile
TILE = token_tile(load_target("native"))
# As registers of other CPUs are; the code runs here all the same.
NARROW = [
    replace(TILE, vector=vector, lanes=lanes, registers=16)
    for vector, lanes in ((4, 16), (8, 16), (2, 4), (1, 2))
]


def called(function: Any, *tensors: torch.Tensor) -> None:
    kernel = kept_code(function)
    kernel(*map(runtime.from_dlpack, tensors))


def check_dense(
    weight: torch.Tensor, tokens: int, counts: tuple[int, ...], activation: str, tile: TokenTile, rows: int
) -> None:
    """``counts``: numbers of tokens to call it with; ``tokens``: what the code is told, 0 for nothing."""
    n, k = weight.shape
    bias, data = torch.randn(n), dense_blocks(weight, rows)
    function = emit(RowsLinearSpec(n, k, rows, True, activation, tokens or None), tile)
    kernel = kept_code(function)
    for count in counts:
        x, y = torch.randn(count, k), torch.full((count + 1, n), float("nan"))
        kernel(*map(runtime.from_dlpack, (x, data, bias, y[:count])))
        torch.testing.assert_close(
            y[:count], l0.rows_linear(x, data, bias, n, activation), rtol=1e-5, atol=1e-5
        )
        assert y[count].isnan().all()


def check_sparse(
    weight: torch.Tensor,
    block: tuple[int, int],
    known: bool,
    counts: tuple[int, ...],
    activation: str,
    tile: TokenTile,
) -> None:
    n, k = weight.shape
    bias, blocks = torch.randn(n), to_blocks(weight, *block)
    layer = LinearSpec(n, k, *block, False, True, False, activation)
    function = emit(RowsBsrSpec(layer, counts[0] if known else None), tile)
    kernel = kept_code(function)
    for count in counts:
        x, y = torch.randn(count, k), torch.full((count + 1, n), float("nan"))
        kernel(*map(runtime.from_dlpack, (x, *blocks, bias, y[:count])))
        expected = l0.rows_bsr_linear(x, *blocks, None, bias, None, n, activation)
        torch.testing.assert_close(y[:count], expected, rtol=1e-5, atol=2e-6 * k**0.5 + 1e-6)
        assert y[count].isnan().all()


@pytest.mark.parametrize("shape", [(96, 33), (40, 20), (5, 7)], ids=str)
def test_dense_with_any_number_of_tokens(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    check_dense(torch.randn(shape), 0, (*range(1, 20), 64, 131), "", TILE, 32)


@pytest.mark.parametrize("tokens", [1, 4, 8, 15, 16])
def test_dense_with_few_tokens_that_are_known(tokens: int) -> None:
    torch.manual_seed(0)
    check_dense(torch.randn(70, 21), tokens, (tokens,), "gelu", TILE, 32)


@pytest.mark.parametrize("activation", ["gelu", "hardswish"])
def test_activations(activation: str) -> None:
    torch.manual_seed(0)
    check_dense(torch.randn(33, 8), 3, (3,), activation, TILE, 16)
    check_sparse(torch.randn(33, 8), (4, 1), True, (70,), activation, TILE)


@pytest.mark.parametrize(
    "block", [(1, 1), (2, 3), (4, 1), (6, 5), (8, 8), (16, 1), (24, 2), (64, 64)], ids=str
)
def test_block_sparse_with_any_number_of_tokens(block: tuple[int, int]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(150, 37) * (torch.rand(150, 37) < 0.1)
    weight[40:80] = 0  # strips without a block
    check_sparse(weight, block, False, (1, 17, 48, 49, 64, 65, 128, 200), "", TILE)


@given(
    st.integers(1, 70),
    st.integers(1, 40),
    st.sampled_from([(1, 1), (4, 1), (3, 2), (16, 16)]),
    st.integers(1, 200),
    st.booleans(),
    st.integers(0, 2**16),
)
@settings(max_examples=6, deadline=None)
def test_random_layers(n: int, k: int, block: tuple[int, int], tokens: int, known: bool, seed: int) -> None:
    torch.manual_seed(seed)
    weight = torch.randn(n, k) * (torch.rand(n, k) < torch.rand(1))
    weight[0, 0] = 1.0  # at least one block
    check_sparse(weight, block, known, (tokens,), "relu", TILE)
    check_dense(weight, tokens if known else 0, (tokens,), "relu", TILE, 32)


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_more_threads_than_tiles(threads: int) -> None:
    torch.manual_seed(0)
    tile, weight = replace(TILE, threads=threads), torch.randn(100, 20) * (torch.rand(100, 1) < 0.3)
    weight[0, 0] = 1.0
    check_sparse(weight, (4, 1), True, (70,), "", tile)
    check_dense(weight, 0, (1, 9, 70), "", tile, 32)


@pytest.mark.parametrize("tile", NARROW, ids=lambda tile: f"{tile.vector} numbers")
@pytest.mark.parametrize("features", [16, 21])
def test_narrow_registers(tile: TokenTile, features: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(37, features)
    packed = torch.full(l0.pack(x, tile.lanes).shape, float("nan"))
    called(emit(PackSpec(features, unpack=False), tile), x, packed)
    live = -(-37 // tile.vector) * tile.vector
    assert torch.equal(l0.unpack(packed, [live]), l0.unpack(l0.pack(x, tile.lanes), [live]))
    rows = torch.full_like(x, float("nan"))
    called(emit(PackSpec(features, unpack=True), tile), packed, rows)
    assert torch.equal(rows, x)
    weight = torch.randn(50, features) * (torch.rand(50, features) < 0.3)
    check_sparse(weight, (4, 1), True, (37,), "", tile)
    check_dense(weight, 0, (1, 7, 37), "", tile, 16)


def test_what_is_not_a_number_stays_with_its_token() -> None:
    """Rows that lie beside those of a token in a register must not meet it."""
    torch.manual_seed(0)
    x, weight = torch.randn(70, 16), torch.randn(32, 16)
    x[-1] = float("nan")
    packed = torch.full((-(-70 // TILE.lanes), 16, TILE.lanes), float("inf"))
    called(emit(PackSpec(16, unpack=False), TILE), x, packed)
    live = -(-70 // TILE.vector) * TILE.vector
    assert (l0.unpack(packed, [live])[70:] == 0).all()
    y, blocks = torch.zeros(70, 32), to_blocks(weight, 4, 1)
    spec = RowsBsrSpec(LinearSpec(32, 16, 4, 1, False, False, False, ""), 70)
    called(emit(spec, TILE), x, *blocks, y)
    assert y[:-1].isfinite().all() and y[-1].isnan().all()
