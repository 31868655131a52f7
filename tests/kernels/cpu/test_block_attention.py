"""Attention to listed keys against its reference, at the edges of blocks, rows, sequences and lists."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.ir.ops.attention.packed_block import packed_distances, packed_patterns
from l0compile.ir.ops.attention.row_program import RowProgram
from l0compile.kernels import TokenTile
from l0compile.kernels.cpu.attention.block.spec import BlockAttentionSpec, ListAxes
from l0compile.kernels.cpu.attention.spec import AttentionSpec
from l0compile.kernels.cpu.mask import MaskSpec
from tests.kernels.listed_keys import drawn

l0 = torch.ops.l0compile
ONE, ALL, BY_HEAD = ListAxes(False, False), ListAxes(True, True), ListAxes(False, True)


def spec(
    heads: tuple[int, int, int, int] = (4, 2, 16, 12), blocks: tuple[int, int] = (16, 16), cap: float = 0.0,
    **lists: Any,
) -> BlockAttentionSpec:  # fmt: skip
    extra = {name: lists.pop(name) for name in ("mask", "bias_heads", "numbers") if name in lists}
    return BlockAttentionSpec(AttentionSpec(*heads, 0.3, softcap=cap, **extra), *blocks, **lists)


def patterned(axes: ListAxes) -> dict[str, ListAxes]:
    return {"partial": axes, "pattern_numbers": axes}


KEYS, EVERY = MaskSpec((True, False, False, True), True), MaskSpec((True, True, False, True), False)
SPECS = {
    "full": spec(full=ONE),
    "full by all, wide blocks": spec(blocks=(48, 32), full=ALL),
    "odd blocks": spec((2, 2, 32, 32), (19, 21), full=BY_HEAD, **patterned(BY_HEAD)),
    "patterns": spec((2, 1, 20, 7), (16, 64), full=ONE, **patterned(ONE), log_sum_exp=True),
    "patterns only": spec(blocks=(64, 16), **patterned(ALL), mask=KEYS),
    "columns only": spec((3, 1, 17, 21), (23, 16), columns=ALL, cap=1.5),
    "full and columns": spec(blocks=(32, 16), full=ONE, columns=BY_HEAD, bias_heads=4, log_sum_exp=True),
    "all": spec(
        blocks=(20, 24), full=BY_HEAD, **patterned(ALL), columns=ONE, mask=EVERY, bias_heads=1, cap=2.0,
        log_sum_exp=True,
    ),
}  # fmt: skip


def operands(of: BlockAttentionSpec, sizes: tuple[int, int, int]) -> tuple[Any, ...]:
    """(q, k, v, mask, bias)."""
    own, (batch, queries, keys) = of.attention, sizes
    q = torch.randn(batch, queries, own.heads * own.dim)
    k, v = (torch.randn(batch, keys, own.kv_heads * width) for width in (own.dim, own.value_dim))
    mask = bias = None
    if own.mask:
        full = zip((batch, own.heads, 1, keys), own.mask.full, strict=True)
        mask = torch.rand([n if wide else 1 for n, wide in full]) < 0.8
        if not own.mask.boolean:
            mask = torch.where(mask, torch.randn(mask.shape), float("-inf"))
    if own.bias_heads:
        bias = torch.randn(own.bias_heads, queries + keys - 1)
    return q, k, v, mask, bias


def run(
    launch: Any, tile: TokenTile, of: BlockAttentionSpec, tensors: Any, program: RowProgram
) -> torch.Tensor:
    q, k, v, mask, bias = tensors
    own, batch, queries, keys = of.attention, q.shape[0], q.shape[1], k.shape[1]
    packed = [l0.pack(t, tile.lanes) for t in (q, k, v)]
    if own.pairs:
        packed[1:] = l0.packed_bfloat16(packed[1]), l0.packed_token_pairs(packed[2])
    packed = packed if of.blocks else packed[:1]
    lists = list(program.operands())
    lists[5] = None if lists[5] is None else packed_patterns(lists[5])
    bias = None if bias is None else packed_distances(bias)
    given_ = [*packed, *([k, v] if of.columns else []), *lists, mask, bias]
    width = own.heads * (own.value_dim + int(of.log_sum_exp))
    result = (packed[0].shape[0], width, tile.lanes)
    y = launch(of, (*(t for t in given_ if t is not None), batch, queries, keys), result)
    return l0.unpack(y, [batch, queries])  # type: ignore[no-any-return]


def expected(of: BlockAttentionSpec, tensors: Any, program: RowProgram) -> torch.Tensor:
    q, k, v, mask, bias = tensors
    own = of.attention
    rest = (own.heads, of.q_block, of.k_block, own.scale, own.softcap, of.log_sum_exp, own.numbers)
    return l0.block_attention(q, k, v, *program.operands(), mask, bias, *rest)  # type: ignore[no-any-return]


def check(launch: Any, tile: TokenTile, of: BlockAttentionSpec, tensors: Any, program: RowProgram) -> None:
    found, wanted = run(launch, tile, of, tensors, program), expected(of, tensors, program)
    torch.testing.assert_close(found, wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", SPECS)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 90), st.integers(1, 150)),
    share=st.sampled_from([0.0, 0.3, 0.7]),
    wide=st.integers(0, 2),
    seed=st.integers(0, 999),
)
@settings(max_examples=12, deadline=None)
def test_any_shape_and_lists(launch, tile, name, sizes, share, wide, seed) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(seed)
    of = SPECS[name]
    check(launch, tile, of, operands(of, sizes), drawn(of, sizes, share, wide))


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("sizes", [(1, 96, 900), (2, 64, 512), (2, 33, 1000)], ids=str)
def test_several_steps_of_keys(launch, tile, name, sizes) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    of = SPECS[name]
    check(launch, tile, of, operands(of, sizes), drawn(of, sizes, 0.9))


@pytest.mark.parametrize("name", ["full by all, wide blocks", "odd blocks", "all"])
def test_keys_that_no_row_lists_are_never_read(launch, tile, name) -> None:  # type: ignore[no-untyped-def]
    """Keys and values without a place in any list are NaN, as is a whole sequence next to a sound one."""
    torch.manual_seed(2)
    of, sizes = SPECS[name], (2, 40, 90)
    program, (q, k, v, mask, bias) = drawn(of, sizes, 0.5), operands(of, sizes)
    unseen = ~program.to_mask(*sizes[1:]).any(2).any(1)  # of each sequence, or of all
    for t in (k, v):
        t[unseen.expand(2, -1)] = float("nan")
    wanted = expected(of, (q, k.nan_to_num(), v.nan_to_num(), mask, bias), program)
    torch.testing.assert_close(
        run(launch, tile, of, (q, k, v, mask, bias), program), wanted, rtol=2e-5, atol=2e-5
    )
    k[1], v[1] = float("nan"), float("nan")
    found = run(launch, tile, of, (q, k, v, mask, bias), program)
    torch.testing.assert_close(found[0], wanted[0], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["all", "full by all, wide blocks", "columns only"])
def test_entries_out_of_range_read_no_other_memory(launch, tile, name) -> None:  # type: ignore[no-untyped-def]
    """Such a list means nothing, but all that is read are keys of the sequence: of NaN elsewhere nothing shows."""
    torch.manual_seed(3)
    of, sizes = SPECS[name], (2, 40, 90)
    program, tensors = drawn(of, sizes, 0.5), operands(of, sizes)
    for lists in (program.full, program.partial, program.columns):
        if lists is not None:
            wild = torch.tensor([-1, -(2**31), 2**31 - 1, 91, 10**6], dtype=torch.int32)
            at = torch.rand(lists.entries.shape) < 0.5
            lists.entries[at] = wild[torch.randint(0, 5, (int(at.sum()),))]
            lists.counts[torch.rand(lists.counts.shape) < 0.5] = 2**31 - 1
    if program.pattern_numbers is not None:
        program.pattern_numbers[torch.rand(program.pattern_numbers.shape) < 0.5] = 10**9
    found = run(launch, tile, of, tensors, program)
    assert not found.isnan().any() and not (found == float("inf")).any()


@pytest.mark.parametrize("sizes", [(1, 64, 64), (2, 37, 90), (3, 5, 300)], ids=str)
@pytest.mark.parametrize("blocks", [(16, 16), (32, 24), (5, 7)], ids=str)
def test_products_in_bfloat16(launch, tile, sizes, blocks) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(4)
    of = spec((4, 2, 16, 12), blocks, full=ONE, **patterned(BY_HEAD), numbers="bfloat16")
    tensors, program = operands(of, sizes), drawn(of, sizes, 0.6)
    found, wanted = run(launch, tile, of, tensors, program), expected(of, tensors, program)
    exact = replace(of, attention=replace(of.attention, numbers="float32"))
    # A weight may be rounded to the neighbour of what the oracle has: by 2^-7 of itself.
    limit = 2.0**-7 * expected(exact, (*tensors[:2], tensors[2].abs(), *tensors[3:]), program)
    assert bool(((found - wanted).abs() <= limit + 1e-5).all())


def test_a_query_without_a_key_gives_zero_and_minus_infinity(launch, tile) -> None:  # type: ignore[no-untyped-def]
    of, sizes = SPECS["full and columns"], (1, 70, 64)
    program = drawn(of, sizes, 0.0)
    y = run(launch, tile, of, operands(of, sizes), program)
    width = of.attention.heads * of.attention.value_dim
    assert torch.equal(y[..., :width], torch.zeros(1, 70, width)) and bool(
        (y[..., width:] == float("-inf")).all()
    )


def test_large_scores_keep_their_digits(launch, tile) -> None:  # type: ignore[no-untyped-def]
    """Against double precision: the maximum grows from step to step, and the first weights fade to nothing."""
    torch.manual_seed(0)
    of, sizes = SPECS["full and columns"], (1, 70, 700)
    (q, k, v, mask, bias), program = operands(of, sizes), drawn(of, sizes, 0.9)
    k *= torch.linspace(0.1, 12, 700)[:, None]
    found = run(launch, tile, of, (q, k, v, mask, bias), program)
    wanted = expected(of, (q.double(), k.double(), v.double(), mask, bias.double()), program)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5
