"""Attention to listed keys against its reference, at the edges of blocks, rows, sequences and lists."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from l0compile.ir.ops.attention.packed_block import packed_distances, packed_patterns
from l0compile.ir.ops.attention.row_program import RowLists, RowProgram
from l0compile.kernels import TokenTile
from l0compile.kernels.cpu.attention.block.spec import BlockAttentionSpec, ListAxes
from l0compile.kernels.cpu.attention.spec import AttentionSpec
from l0compile.kernels.cpu.mask import MaskSpec

l0 = torch.ops.l0compile
ONE, ALL, BY_HEAD = ListAxes(False, False), ListAxes(True, True), ListAxes(False, True)


def spec(
    heads: tuple[int, int, int, int] = (4, 2, 16, 12), blocks: tuple[int, int] = (16, 16), cap: float = 0.0,
    **lists: Any,
) -> BlockAttentionSpec:  # fmt: skip
    extra = {name: lists.pop(name) for name in ("mask", "bias_heads", "numbers") if name in lists}
    return BlockAttentionSpec(AttentionSpec(*heads, 0.3, False, **extra), *blocks, softcap=cap, **lists)


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


def lists_of(marked: torch.Tensor, wide: int) -> RowLists:
    """The True places of each row, in a random order, with room for ``wide`` more entries that nobody reads."""
    counts = marked.sum(-1).to(torch.int32)
    width = int(counts.max()) + wide
    order = (torch.rand(marked.shape) + marked * 2).argsort(-1, descending=True)
    padded = torch.nn.functional.pad(order, (0, wide), value=-7)[..., : max(1, width)]
    return RowLists(counts, padded.to(torch.int32).contiguous())


def drawn(data: st.DataObject, of: BlockAttentionSpec, batch: int, queries: int, keys: int) -> RowProgram:
    """A row program that fits: each block is in one list or in none, and columns are keys of blocks in none."""
    rows, blocks = -(-queries // of.q_block), -(-keys // of.k_block)
    share = data.draw(st.sampled_from([0.0, 0.3, 0.7]))

    def shape(*axes: ListAxes | None) -> tuple[int, int]:
        some = [a for a in axes if a]
        return (batch if any(a.batch for a in some) else 1), (
            of.attention.heads if any(a.head for a in some) else 1
        )

    # A block belongs to one kind for all sequences and heads, so that lists of other axes do not meet.
    kind = torch.randint(0, 3, (rows, blocks))
    made: dict[str, RowLists | None] = {"full": None, "partial": None, "columns": None}
    for number, (name, axes) in enumerate(
        (("full", of.full), ("partial", of.partial), ("columns", of.columns))
    ):
        if axes is None:
            continue
        own = (kind == number).expand(*shape(axes), rows, blocks)
        size = blocks
        if name == "columns":
            own, size = own.repeat_interleave(of.k_block, -1)[..., :keys], keys
        picked = own & (torch.rand(*shape(axes), rows, size) < share)
        made[name] = lists_of(picked, data.draw(st.integers(0, 2)))
    numbers = patterns = None
    if (partial := made["partial"]) is not None and of.pattern_numbers:
        patterns = (
            torch.rand(5, of.q_block, of.k_block) < torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])[:, None, None]
        )
        numbers = torch.randint(0, 5, (*shape(of.pattern_numbers), *partial.entries.shape[2:])).to(
            torch.int32
        )
    return RowProgram(of.q_block, of.k_block, made["full"], partial, numbers, patterns, made["columns"])


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
    rest = (own.heads, of.q_block, of.k_block, own.scale, of.softcap, of.log_sum_exp, own.numbers)
    return l0.block_attention(q, k, v, *program.operands(), mask, bias, *rest)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", SPECS)
@given(data=st.data(), batch=st.integers(1, 3), queries=st.integers(1, 90), keys=st.integers(1, 150))
@settings(max_examples=12, deadline=None)
def test_any_shape_and_lists(launch, tile, name, data, batch, queries, keys) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(data.draw(st.integers(0, 999)))
    of = SPECS[name]
    tensors, program = operands(of, (batch, queries, keys)), drawn(data, of, batch, queries, keys)
    torch.testing.assert_close(
        run(launch, tile, of, tensors, program), expected(of, tensors, program), rtol=2e-5, atol=2e-5
    )


@pytest.mark.parametrize("name", ["full by all, wide blocks", "all", "columns only"])
@pytest.mark.parametrize("sizes", [(1, 96, 900), (2, 64, 512), (2, 33, 1000)], ids=str)
def test_several_steps_of_keys(launch, tile, name, sizes) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(1)
    of = SPECS[name]

    class _Most:
        """Draws the largest of what there is."""

        def draw(self, strategy: Any) -> Any:
            return 0.7 if "sampled_from" in repr(strategy) else 1

    tensors, program = operands(of, sizes), drawn(_Most(), of, *sizes)  # type: ignore[arg-type]
    torch.testing.assert_close(
        run(launch, tile, of, tensors, program), expected(of, tensors, program), rtol=2e-5, atol=2e-5
    )
