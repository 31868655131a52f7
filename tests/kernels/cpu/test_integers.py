"""Kernels of 8-bit integers give the integers of their oracles, and the same float32 numbers up to an activation."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.errors import ScheduleError
from l0compile.hardware._tvm import runtime
from l0compile.hardware.targets import load_target
from l0compile.ir.ops.words import dense_word_blocks, from_words, to_words, word_blocks
from l0compile.kernels import emit
from l0compile.kernels.cpu.linear.schedules import legal_schedules
from l0compile.kernels.cpu.linear.spec import LinearSchedule, LinearSpec
from l0compile.kernels.cpu.narrow import NarrowSpec
from l0compile.kernels.cpu.word_form import WordForm
from l0compile.kernels.token_tile import TokenTile, token_tile
from l0compile.measurement.tune.kernels import spills
from tests.kernels.kept_code import kept_assembly, kept_code
from tests.kernels.machine_code import innermost_loops

l0 = torch.ops.l0compile
BLOCKS = [(4, 4), (1, 4), (2, 4), (8, 4), (16, 16), (32, 32), (6, 8)]


def operands(weight: torch.Tensor, block: tuple[int, int] | None, rows: int):  # type: ignore[no-untyped-def]
    return word_blocks(weight, *block) if block else (dense_word_blocks(weight, rows), None, None)


def integers(zero_point: int | None) -> WordForm | None:
    return None if zero_point is None else WordForm("int8", zero_point)


def random_weight(n: int, k: int, density: float) -> torch.Tensor:
    weight = torch.randint(-127, 128, (n, k), dtype=torch.int8) * (torch.rand(n, k) < density)
    weight[0, 0] = 1  # at least one block
    return weight


def check(
    launch,
    tile: TokenTile,
    weight: torch.Tensor,
    block: tuple[int, int] | None,
    m: int,
    *,
    activation: str = "",
    residual: bool = False,
    bias: bool = True,
    zero_point: int | None = None,
    tail: int | None = 0,
    schedule: LinearSchedule | None = None,
    fits16: bool = False,
    largest: bool = False,
) -> None:  # type: ignore[no-untyped-def]
    n, k = weight.shape
    values = torch.full((m, k), 1000.0) if largest else torch.randn(m, k)
    x = l0.packed_quantize(l0.pack(values, tile.lanes), torch.full((k,), 40.0), 120)
    data, indices, indptr = operands(weight, block, tile.rows)
    start = (-120 * weight.int().sum(1)).to(torch.int32)
    scale, shift = torch.rand(n) * 1e-3, torch.randn(n) if bias else None
    other = torch.randn(x.shape[0], n, tile.lanes) if residual else None
    inverse = torch.full((n,), 30.0) if zero_point is not None else None
    spec = LinearSpec(
        n, x.shape[1], data.shape[2], data.shape[1], block is None, bias, residual, activation, tail, "int8",
        integers(zero_point), fits16,
    )  # fmt: skip
    given_ = [t for t in (x, data, indices, indptr, start, scale, shift, other, inverse) if t is not None]
    inputs: list[object] = [*given_, m] if tail is None else [*given_]
    expected = l0.packed_int8_linear(
        x, data, indices, indptr, start, scale, shift, other, inverse, n, activation, zero_point or 0
    )
    actual = launch(spec, tuple(inputs), tuple(expected.shape), schedule, expected.dtype)
    if zero_point is None:
        wanted, found = (l0.unpack(y, [m]) for y in (expected, actual))
        # Without a bias, a product and the residual are rounded once, not twice.
        rounds = activation or (residual and not bias)
        exact = {"rtol": 1e-5, "atol": 2e-6} if rounds else {"rtol": 0.0, "atol": 0.0}
        torch.testing.assert_close(found, wanted, **exact)
    else:
        wanted, found = (
            from_words(y.transpose(1, 2), torch.uint8).flatten(0, 1)[:m].int() for y in (expected, actual)
        )
        apart = (found - wanted).abs()
        # GELU is a polynomial here: a number at the border of two levels may get the other one.
        assert apart.max() <= (1 if activation else 0), apart.max()
        assert (apart > 0).float().mean() < 1e-3


@pytest.mark.parametrize("block", [None, *BLOCKS], ids=str)
@pytest.mark.parametrize("density", [0.02, 0.4, 1.0])
def test_blocks(launch, tile: TokenTile, block: tuple[int, int] | None, density: float) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    check(launch, tile, random_weight(50, 35, density), block, 17)


@pytest.mark.parametrize("m", [1, 5, 16, 33, 64, 130])
@pytest.mark.parametrize("known", [True, False])
def test_any_number_of_tokens(launch, tile: TokenTile, m: int, known: bool) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(m)
    tail = m % tile.lanes if known else None
    for zero_point in (None, 40):
        check(launch, tile, random_weight(32, 24, 0.5), (4, 4), m, tail=tail, zero_point=zero_point)


@pytest.mark.parametrize("block", [None, *BLOCKS], ids=str)
def test_one_token(launch, tile: TokenTile, block: tuple[int, int] | None) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(3)
    check(launch, tile, random_weight(50, 35, 0.4), block, 1, residual=True)
    check(launch, tile, random_weight(50, 35, 0.4), block, tile.lanes + 1, bias=False)


@pytest.mark.parametrize("block", [None, (4, 4), (8, 4), (32, 32)], ids=str)
@pytest.mark.parametrize("activation", ["", "gelu", "relu", "silu"])
@pytest.mark.parametrize("zero_point", [0, 7, 128, 255])
def test_results_in_integers(launch, tile: TokenTile, block, activation: str, zero_point: int) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    weight = random_weight(64, 44, 0.6)
    check(launch, tile, weight, block, 70, activation=activation, zero_point=zero_point)


def test_epilogues(launch, tile: TokenTile) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(2)
    for residual in (False, True):
        for bias in (False, True):
            check(launch, tile, random_weight(37, 30, 0.5), None, 70, residual=residual, bias=bias)


def test_the_largest_sums_are_exact(launch, tile: TokenTile) -> None:  # type: ignore[no-untyped-def]
    """255 * 127 * 2048 is beyond what float32 holds exactly, and what 16 bits hold at all."""
    k = 2048
    x = to_words(torch.full((1, tile.lanes, k), 255, dtype=torch.uint8)).transpose(1, 2).contiguous()
    weight = torch.full((4, k), 127, dtype=torch.int8)
    weight[1], weight[2, 0] = -128, 126
    start, scale = torch.tensor([1, -2, 3, 0], dtype=torch.int32), torch.ones(4)
    data = dense_word_blocks(weight, tile.rows)
    spec = LinearSpec(4, k // 4, tile.rows, 1, True, False, False, "", 0, "int8")
    found = launch(spec, (x, data, start, scale), (1, 4, tile.lanes))
    sums = 255 * weight.long().sum(1) + start
    assert torch.equal(found[0, :, 0], sums.float())


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_schedule_gives_the_same(launch, tile: TokenTile, data: st.DataObject) -> None:  # type: ignore[no-untyped-def]
    block = data.draw(st.sampled_from([(4, 4), (8, 4), (16, 16)]))
    zero_point = data.draw(st.sampled_from([None, 50]))
    spec = LinearSpec(32, 8, block[0], block[1] // 4, False, True, False, "", 0, "int8", integers(zero_point))
    schedule = data.draw(st.sampled_from(legal_schedules(spec, tile)))
    torch.manual_seed(3)
    check(launch, tile, random_weight(32, 32, 0.5), block, 40, zero_point=zero_point, schedule=schedule)


def test_quantize(launch, tile: TokenTile) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(4)
    for features, m, tail in ((32, 70, 6), (7, 64, 0), (21, 5, None)):
        x = l0.pack(3 * torch.randn(m, features), tile.lanes)
        x[0, 0, :4] = torch.tensor([float("nan"), float("inf"), float("-inf"), 0.5])
        inverse = torch.rand(features) * 50
        inverse[0] = 1.0
        expected = l0.packed_quantize(x, inverse, 100)
        spec = NarrowSpec(features, integers(100), tail)
        inputs = (x, inverse, m) if tail is None else (x, inverse)
        found = launch(spec, inputs, tuple(expected.shape), None, torch.int32)
        both = [
            from_words(y.transpose(1, 2), torch.uint8).flatten(0, 1)[:m, :features] for y in (found, expected)
        ]
        assert torch.equal(*both)
        assert both[0][:4, 0].tolist() == [0, 255, 0, 100]  # a half goes to the even neighbour


def test_words_need_whole_rows(tile: TokenTile) -> None:
    spec = LinearSpec(6, 8, 2, 1, False, True, False, "", 0, "int8", integers(0))
    with pytest.raises(ScheduleError, match="words of 4 rows"):
        emit(spec, tile)


@pytest.mark.parametrize("name", ["x86-64-avx2", "x86-64-avx512", "aarch64-neon"])
def test_code_without_and_with_an_instruction(name: str) -> None:
    spec = LinearSpec(8, 8, 4, 1, True, True, False, "", 0, "int8")
    target = load_target(name)
    for features, wanted in ((target.dot_products, None), *_INSTRUCTIONS[name]):
        one = dataclasses.replace(target, dot_products=features)
        function = emit(spec, token_tile(one))
        code = kept_assembly(function, one)
        assert wanted is None or wanted in code


_INSTRUCTIONS = {
    "x86-64-avx2": [(("avxvnni",), "vpdpbusd"), (("avx2",), "vpmaddwd")],
    "x86-64-avx512": [(("avx512vnni",), "vpdpbusd"), (("avx512bw", "avx2"), "vpmaddwd")],
    "aarch64-neon": [(("i8mm",), "usdot")],
}


@pytest.mark.parametrize("fits16", [False, True])
@pytest.mark.parametrize("tail", [0, 3, None])
@pytest.mark.parametrize(("name", "features", "register"), [
    ("x86-64-avx2", ("avx2",), "%ymm"), ("x86-64-avx512", ("avx512bw", "avx2"), "%zmm"),
])  # fmt: skip
def test_code_for_pairs(
    name: str, features: tuple[str, ...], register: str, fits16: bool, tail: int | None
) -> None:
    """Products of pairs in 16 bits, which saturate in 8 bits unless the weights are known to fit; nothing spills."""
    target = dataclasses.replace(load_target(name), dot_products=features)
    tile = token_tile(target)
    spec = LinearSpec(64, 96, 4, 1, True, True, False, "", tail, "int8", fits16=fits16)
    code = kept_assembly(emit(spec, tile), target)
    assert ("vpmaddubsw" in code) is fits16
    loops = [
        [line for line in loop if "vpmaddwd" in line and register in line] for loop in innermost_loops(code)
    ]
    products = 4 * tile.vectors * (1 if fits16 else 2)
    whole = [loop for loop in innermost_loops(code) if sum("vpmaddwd" in line for line in loop) >= products]
    assert max(map(len, loops)) >= products
    assert whole and not spills("\n".join(whole[0]))


@pytest.mark.parametrize("m", [1, 3, 16, 20, 70])
def test_weights_that_fit(launch, tile: TokenTile, m: int) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(m)
    weight = torch.randint(-64, 65, (50, 36), dtype=torch.int8)
    weight[0], weight[1, ::2], weight[1, 1::2] = -64, -128, 0
    weight[2, ::2], weight[2, 1::2] = 127, -128
    for block in (None, (4, 4), (2, 4), (16, 16)):
        check(launch, tile, weight, block, m, tail=m % tile.lanes, fits16=True, largest=True)


def test_plain_arithmetic_gives_the_same(tile: TokenTile) -> None:
    plain = dataclasses.replace(tile, dot_products=())
    spec = LinearSpec(8, 8, 4, 1, True, False, False, "", 0, "int8")
    x = torch.randint(0, 256, (1, tile.lanes, 32), dtype=torch.uint8)
    weight = torch.randint(-128, 128, (8, 32), dtype=torch.int8)
    packed, data = to_words(x).transpose(1, 2).contiguous(), dense_word_blocks(weight, 4)
    start, scale = torch.zeros(8, dtype=torch.int32), torch.ones(8)
    function = emit(spec, plain)
    result = torch.empty(1, 8, tile.lanes)
    kept_code(function)(*(runtime.from_dlpack(t) for t in (packed, data, start, scale, result)))
    wanted = l0.packed_int8_linear(packed, data, None, None, start, scale, None, None, None, 8, "")
    assert torch.equal(result, wanted)
