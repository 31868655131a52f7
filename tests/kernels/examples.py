"""Calls of every kernel's operators on random tensors of odd sizes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from l0compile.ir.ops import bfloat16
from l0compile.ir.ops import words as words_of
from l0compile.ir.ops.attention.packed_block import packed_distances, packed_patterns
from l0compile.ir.ops.attention.row_program import RowLists, RowProgram
from l0compile.ir.ops.bsr import dense_blocks, heaviest_first, to_blocks
from l0compile.ir.ops.int8_conv import conv_matrix
from l0compile.ir.ops.two_of_four import to_two_of_four
from l0compile.kernels import TokenTile
from l0compile.rewrite.formats.winograd import winograd_layout, winograd_weight
from tests.kernels.cpu.test_conv import layout, taps, to_planes

l0 = torch.ops.l0compile

TOKENS = (1, 37, 70)


@dataclass(frozen=True)
class Example:
    """One call of an operator; tokens: of a packed result, whose other lanes may hold anything."""

    operator: str
    arguments: tuple[Any, ...]
    tokens: int | None = None


def _packed(tokens: int, features: int, tile: TokenTile) -> torch.Tensor:
    return l0.pack(torch.randn(tokens, features), tile.lanes)


def _weight(n: int, k: int, density: float = 0.4) -> torch.Tensor:
    weight = torch.randn(n, k) * (torch.rand(n, k) < density)
    weight[0, 0] = 1.0
    return weight


def linear(tile: TokenTile) -> Iterator[Example]:
    for tokens in TOKENS:
        x, residual = _packed(tokens, 27, tile), _packed(tokens, 38, tile)
        dense = (dense_blocks(_weight(38, 27), tile.rows), None, None)
        yield Example("packed_linear", (x, *dense, torch.randn(38), residual, 38, "gelu", tokens), tokens)
        for block in ((4, 1), (3, 5), (16, 4)):
            blocks = to_blocks(_weight(38, 27), *block)
            yield Example("packed_linear", (x, *blocks, None, None, 38, "", tokens), tokens)
        yield from _narrow_linear(tokens, tile)


def _narrow_linear(tokens: int, tile: TokenTile) -> Iterator[Example]:
    x, residual, bias = _packed(tokens, 27, tile), _packed(tokens, 38, tile), torch.randn(38)
    pairs, wide = l0.packed_bfloat16(x, tokens), _weight(38, 27).bfloat16()
    blocks = words_of.word_blocks(wide, 4, 2)
    dense = (words_of.dense_word_blocks(wide, tile.rows), None, None)
    yield Example("packed_bfloat16_linear", (pairs, *dense, bias, residual, 38, "relu", tokens), tokens)
    yield Example("packed_bfloat16_linear", (pairs, *blocks, None, None, 38, "", tokens), tokens)
    words = l0.packed_quantize(x, torch.full((27,), 40.0), 120, tokens)
    integers = (30 * _weight(40, 27)).to(torch.int8)
    dense = (words_of.dense_word_blocks(integers, tile.rows), None, None)
    blocks = words_of.word_blocks(integers, 4, 4)
    after = ((-120 * integers.int().sum(1)).to(torch.int32), torch.rand(40) * 1e-3, torch.randn(40))
    inverse = torch.full((40,), 30.0)
    yield Example("packed_int8_linear", (words, *dense, *after, None, inverse, 40, "relu", 7, tokens), tokens)
    yield Example("packed_int8_linear", (words, *blocks, *after, None, None, 40, "", 0, tokens), tokens)
    last = (None, None, 40, "", 0, tokens, "features")
    yield Example("packed_int8_linear", (words, *blocks, *after, *last), tokens)


def rows_linear(tile: TokenTile) -> Iterator[Example]:
    for tokens, rows, bias in (
        (1, 32, torch.randn(38)),
        (8, 32, None),
        (37, 32, None),
        (70, 16, torch.randn(38)),
    ):
        data = dense_blocks(_weight(38, 27), rows)
        yield Example(
            "rows_linear", (torch.randn(tokens, 27), data, bias, 38, "gelu" if bias is None else "")
        )


def rows_bsr_linear(tile: TokenTile) -> Iterator[Example]:
    blocks = ((4, 1), (3, 5), (16, 4), (64, 64), (24, 2))
    for tokens, block in zip((8, 37, 70, 100, 128), blocks, strict=True):
        bias, activation = (torch.randn(70), "") if tokens < 100 else (None, "gelu")
        weight = to_blocks(_weight(70, 27), *block)
        yield Example("rows_bsr_linear", (torch.randn(tokens, 27), *weight, None, bias, None, 70, activation))


def narrow(tile: TokenTile) -> Iterator[Example]:
    for tokens in TOKENS:
        x = _packed(tokens, 21, tile)
        yield Example("packed_quantize", (x, torch.rand(21) * 40, 100, tokens), tokens)
        yield Example("packed_bfloat16", (x, tokens), tokens)
    yield Example("packed_token_pairs", (_packed(2 * tile.lanes, 21, tile),))


def attention(tile: TokenTile) -> Iterator[Example]:
    for batch, queries, keys in ((1, 37, 37), (3, 5, 21)):
        q, k, v = (_packed(batch * s, w, tile) for s, w in ((queries, 24), (keys, 12), (keys, 10)))
        sizes = (batch, queries, keys)
        mask = torch.rand(batch, 1, 1, keys) < 0.7
        bias = l0.pack_mask(torch.randn(1, 4, queries, keys), *sizes, tile.lanes)
        yield Example("packed_attention", (q, k, v, None, None, *sizes, 4, 0.3, None, 0), batch * queries)
        yield Example("packed_attention", (q, k, v, mask, None, *sizes, 4, 0.3, None, None), batch * queries)
        yield Example("packed_attention", (q, k, v, None, bias, *sizes, 4, 0.3, None, None), batch * queries)
        yield Example("packed_attention", (q, k, v, mask, None, *sizes, 4, 0.3, 5, 2), batch * queries)
    # Scores of one key only: weights are exactly 1, so that rounding them changes nothing.
    q, k, v = (_packed(5, w, tile) for w in (24, 12, 10))
    v = bfloat16.rounded(v)
    sizes = (5, 1, 1)
    pairs = l0.packed_bfloat16(k), l0.packed_token_pairs(v)
    yield Example("packed_attention", (q, *pairs, None, None, *sizes, 4, 0.3, None, None, "bfloat16"), 5)
    v = l0.packed_token_pairs(bfloat16.rounded(_packed(5, 16, tile)))
    rest = (4, 0.3, None, None, "bfloat16", torch.full((32,), 30.0), 100)
    yield Example("packed_attention", (q, pairs[0], v, None, None, *sizes, *rest), 5)


def block_attention(tile: TokenTile) -> Iterator[Example]:
    batch, queries, keys = 2, 37, 45
    q, k, v = (torch.randn(batch, s, w) for s, w in ((queries, 24), (keys, 12), (keys, 10)))
    live = (torch.arange(keys) // 8 % 2 == 0) & (torch.rand(1, 1, queries, keys) < 0.9)
    program = RowProgram.from_mask(live, 16, 8)
    columns = RowLists(
        torch.full((1, 4, 3), 2, dtype=torch.int32), torch.tensor([9, 27]).int().expand(1, 4, 3, 2)
    )
    both = replace(program, columns=columns).operands()
    sizes, mask, bias = (
        (batch, queries, keys),
        torch.rand(batch, 1, 1, keys) < 0.7,
        torch.randn(4, queries + keys - 1),
    )
    packed, blocks, patterns = [l0.pack(t, tile.lanes) for t in (q, k, v)], (4, 16, 8, 0.3), program.patterns
    assert patterns is not None
    lists = (*both[:5], packed_patterns(patterns), *both[6:])
    yield Example(
        "packed_block_attention", (*packed, k, v, *lists, mask, None, *sizes, *blocks), batch * queries
    )
    rest = (None, packed_distances(bias), *sizes, *blocks, 4.0, True)
    yield Example(
        "packed_block_attention", (*packed, None, None, *lists[:6], None, None, *rest), batch * queries
    )
    # Rows of one key: weights are exactly 1, so that rounding them changes nothing.
    v = bfloat16.rounded(v)
    words = l0.packed_bfloat16(packed[1]), l0.packed_token_pairs(l0.pack(v, tile.lanes))
    one = (torch.ones(1, 1, 3, dtype=torch.int32), torch.tensor([3, 44, 7]).int().reshape(1, 1, 3, 1))
    rest = (*[None] * 8, *sizes, 4, 16, 1, 0.3, 0.0, False, "bfloat16")
    yield Example("packed_block_attention", (packed[0], *words, None, None, *one, *rest), batch * queries)


def mask(tile: TokenTile) -> Iterator[Example]:
    yield Example("pack_mask", (torch.rand(3, 1, 5, 21) < 0.7, 3, 5, 21, tile.lanes))
    yield Example("pack_mask", (torch.randn(2, 37, 37), 1, 37, 37, tile.lanes))


def norm(tile: TokenTile) -> Iterator[Example]:
    for tokens in TOKENS:
        x, weight, bias = _packed(tokens, 37, tile), torch.randn(37), torch.randn(37)
        yield Example("packed_layer_norm", (x, weight, bias, 1e-5, 50, 0.7, 5.0, tokens), tokens)
        yield Example("packed_rms_norm", (x, weight, 1e-6, 37, 0.0, tokens), tokens)
        x, weight, bias = _packed(tokens, 36, tile), torch.randn(36), torch.randn(36)
        integers, pairs = (torch.full((36,), 20.0), 90, ""), (None, 0, "features")
        yield Example(
            "packed_layer_norm_words", (x, weight, bias, 1e-5, 50, 0.7, 5.0, *integers, tokens), tokens
        )
        yield Example("packed_rms_norm_words", (x, weight, 1e-6, 36, 0.0, *pairs, tokens), tokens)
        yield Example("packed_rms_norm", (x, weight, 1e-6, 36, 0.0, tokens, *integers), tokens)


def rope(tile: TokenTile) -> Iterator[Example]:
    for tokens in TOKENS:
        x, cos, sin = (_packed(tokens, width, tile) for width in (18, 6, 6))
        yield Example("packed_rope", (x, cos, sin, 3, tokens, False), tokens)
        yield Example(
            "packed_rope", (x, cos[:, :3].contiguous(), sin[:, :3].contiguous(), 3, tokens, True), tokens
        )


def pack(tile: TokenTile) -> Iterator[Example]:
    for tokens in TOKENS:
        yield Example("pack", (torch.randn(tokens, 21), tile.lanes), tokens)
        yield Example("unpack", (_packed(tokens, 21, tile), [tokens]))


def conv(tile: TokenTile) -> Iterator[Example]:
    planes, weight = layout(5, 7, 1), _weight(6, 27)
    x, places = to_planes(torch.randn(2, 3, 5, 7), planes), taps(planes, 3)
    offsets = torch.tensor([c * planes.size + t for c in range(3) for t in places], dtype=torch.int32)
    dense, bias = dense_blocks(weight, tile.rows), torch.randn(6)
    residual = to_planes(torch.randn(2, 6, 5, 7), planes)
    numbers = planes.numbers()
    yield Example("packed_conv2d", (x, dense, offsets, None, bias, residual, 6, numbers, "relu"))
    yield Example("packed_conv2d", (x, dense, offsets, None, bias, None, 6, numbers, "prelu", torch.randn(6)))
    data, column, indptr = to_blocks(weight, tile.rows, 1)
    yield Example("packed_conv2d", (x, data, offsets[column.long()], indptr, None, None, 6, numbers, ""))


def int8_conv(tile: TokenTile) -> Iterator[Example]:
    planes, weight = layout(5, 7, 1), (30 * _weight(8, 54)).to(torch.int8).reshape(8, 6, 3, 3)
    floats, numbers = to_planes(torch.randn(2, 6, 5, 7), planes), planes.numbers()
    x = l0.quantize_planes(floats, torch.full((6,), 40.0), 120)
    offsets = torch.tensor(
        [w * planes.size + t for w in range(2) for t in taps(planes, 3)], dtype=torch.int32
    )
    matrix = conv_matrix(weight)
    after = ((-120 * matrix.int().sum(1)).to(torch.int32), torch.rand(8) * 1e-3, torch.randn(8))
    residual, inverse = to_planes(torch.randn(2, 8, 5, 7), planes), torch.full((8,), 30.0)
    dense, (data, column, indptr) = words_of.dense_word_blocks(matrix, 4), words_of.word_blocks(matrix, 4, 4)
    whole, sparse = (x, dense, offsets, None, *after), (x, data, offsets[column.long()], indptr, *after)
    yield Example("packed_int8_conv2d", (*whole, residual, None, 8, numbers, "relu"))
    yield Example("packed_int8_conv2d", (*whole, residual, inverse, 8, numbers, "relu", 200))
    yield Example("packed_int8_conv2d", (*sparse, None, None, 8, numbers, "", 0))
    yield Example("packed_int8_conv2d", (*sparse, None, inverse, 8, numbers, "", 7))


def quantize_planes(_: TokenTile) -> Iterator[Example]:
    for channels in (3, 6, 8):
        x = to_planes(torch.randn(2, channels, 5, 7), layout(5, 7, 1))
        yield Example("quantize_planes", (x, torch.rand(channels) * 40, 100))


def copy_planes(_: TokenTile) -> Iterator[Example]:
    source, result = layout(5, 7, 1), layout(3, 4, 1)
    x = to_planes(torch.randn(2, 3, 5, 7), source)
    numbers = source.numbers(), result.numbers()
    yield Example("copy_planes", (x, *numbers, [2, 2], [0, 0, 1, 1]))
    yield Example("copy_planes", (x, *numbers, [2, 2], [0, 1], True))
    words = l0.quantize_planes(x, torch.full((3,), 40.0), 120)
    yield Example("copy_word_planes", (words, *numbers, [2, 2], [0, 0, 1, 1], 200))


def window(_: TokenTile) -> Iterator[Example]:
    planes = layout(5, 7, 1)
    x, offsets = to_planes(torch.randn(2, 3, 5, 7).relu(), planes), taps(planes, 3)
    yield Example(
        "packed_window", (x, torch.randn(3, 9), torch.randn(3), 3, offsets, planes.numbers(), "hardswish")
    )
    yield Example("packed_window", (x, None, None, 3, offsets, planes.numbers(), ""))


def winograd_planes(_: TokenTile) -> Iterator[Example]:
    for m in (2, 4):
        source = layout(5, 7, 1)
        x, numbers = to_planes(torch.randn(2, 3, 5, 7), source), source.numbers()
        yield Example("winograd_planes", (x, numbers, winograd_layout(source, m).numbers(), m))


def winograd(tile: TokenTile) -> Iterator[Example]:
    for m, activation, slope in ((2, "relu", None), (4, "prelu", torch.randn(6))):
        planes = layout(5, 7, 1)
        source = winograd_layout(planes, m)
        x = to_planes(torch.randn(2, 3, 5, 7), planes)
        seen = l0.winograd_planes(x, planes.numbers(), source.numbers(), m)
        data, offsets = winograd_weight(torch.randn(6, 3, 3, 3), source, m, tile.rows)
        numbers = source.numbers(), planes.numbers()
        arguments = (seen, data, offsets, torch.randn(6), None, 6, *numbers, m, activation, slope)
        yield Example("packed_winograd", arguments)


def cuda_linear(_: TokenTile) -> Iterator[Example]:
    for dtype, block in ((torch.float16, (16, 16)), (torch.bfloat16, (64, 1)), (torch.float32, (32, 32))):
        x, bias = torch.randn(37, 40).to(dtype), torch.randn(70).to(dtype)
        weight = _weight(70, 40).to(dtype)
        blocks = to_blocks(weight, *block)
        yield Example("bsr_linear", (x, *blocks, bias, 70, 40))
        residual, order = torch.randn(37, 70).to(dtype), heaviest_first(blocks[2])
        yield Example("rows_bsr_linear", (x, *blocks, order, bias, residual, 70, "gelu"))
        yield Example("dense_linear", (x, weight, None, residual, 37, "silu"))


def cuda_int8_linear(_: TokenTile) -> Iterator[Example]:
    def words(*extents: int) -> torch.Tensor:
        return torch.randint(-(2**31), 2**31 - 1, extents).to(torch.int32)

    x, start, scale, bias = words(37, 16), words(32) // 2**20, torch.rand(32) / 1e4, torch.randn(32)
    layer = (None, None, None, start, scale)
    yield Example(
        "rows_int8_linear", (x, words(32, 16), *layer, bias, torch.randn(37, 32), None, 32, 37, "gelu")
    )
    indices, indptr, order = (torch.tensor(numbers).int() for numbers in ([0, 2, 1], [0, 2, 3], [0, 1]))
    blocks = (words(3, 1, 16, 4), indices, indptr, order, start, scale)  # 16 rows and 16 features each
    yield Example("rows_int8_linear", (x, *blocks, None, None, torch.full((32,), 9.0), 32, 37, "", 7))


def cuda_two_of_four_linear(_: TokenTile) -> Iterator[Example]:
    for dtype, bias in ((torch.float16, torch.randn(70).half()), (torch.bfloat16, None)):
        weight, x = _weight(70, 40).to(dtype), torch.randn(37, 40).to(dtype)
        weight[:, ::4], weight[:, 2::4] = 0.0, 0.0
        stored, residual = to_two_of_four(weight), torch.randn(37, 70).to(dtype)
        yield Example("two_of_four_linear", (x, *stored, bias, residual, 70, "gelu"))


def cuda_quantize(_: TokenTile) -> Iterator[Example]:
    yield Example("rows_quantize", (torch.randn(5, 10), torch.full((10,), 30.0), 3))


def cuda_norm(_: TokenTile) -> Iterator[Example]:
    for features, dtype in ((40, torch.float32), (700, torch.bfloat16)):
        x, weight, bias = (
            torch.randn(*shape).to(dtype) for shape in ((37, features), (features,), (features,))
        )
        yield Example("compacted_layer_norm", (x, weight, bias, 1e-5, features + 10, 0.7, 5.0))
        yield Example("compacted_rms_norm", (x, None, 1e-6, features, 0.0))
    x, scale = torch.randn(2, 5, 40).half(), torch.randn(40).half()
    yield Example("narrow_rms_norm", (x, None, scale, 1e-6, 40, 0.0))
    yield Example("narrow_rms_norm", (x, scale.float(), None, 1e-6, 50, 3.0))


def cuda_rope(_: TokenTile) -> Iterator[Example]:
    for dtype in (torch.float32, torch.float16):
        x, cos, sin = (torch.randn(*shape).to(dtype) for shape in ((2, 5, 48), (1, 5, 16), (1, 5, 16)))
        yield Example("rope", (x, cos, sin, 3))
        yield Example("rope", (x, cos[..., :8], sin[..., :8], 3, True))


def cuda_attention(_: TokenTile) -> Iterator[Example]:
    q, k, v = (torch.randn(2, s, w) for s, w in ((37, 64), (45, 32), (45, 16)))
    yield Example("attention", (q, k, v, torch.rand(2, 1, 1, 45) < 0.7, 4, 0.3, 5, 0))
    yield Example("attention", (q, k, v, torch.rand(2, 1, 1, 45) < 0.7, 4, 0.3, None, 0))
    q, k, v = q.half(), k.half(), v.half()
    yield Example("attention", (q, k, v, torch.randn(37, 45).half(), 4, 0.3, None, None))


def cuda_block_attention(_: TokenTile) -> Iterator[Example]:
    batch, queries, keys = 2, 37, 45
    q, k, v = (torch.randn(batch, s, w) for s, w in ((queries, 64), (keys, 32), (keys, 16)))
    live = (torch.arange(keys) // 8 % 2 == 0) & (torch.rand(1, 1, queries, keys) < 0.9)
    columns = RowLists(
        torch.full((1, 4, 3), 2, dtype=torch.int32), torch.tensor([9, 27]).int().expand(1, 4, 3, 2)
    )
    lists = replace(RowProgram.from_mask(live, 16, 8), columns=columns).operands()
    bias, blocks = torch.randn(4, queries + keys - 1), (4, 16, 8, 0.3)
    yield Example("block_attention", (q, k, v, *lists, torch.rand(batch, 1, 1, keys) < 0.7, None, *blocks))
    yield Example("block_attention", (q, k, v, *lists[:6], None, None, None, bias, *blocks, 4.0, True))
    yield Example("block_attention", (*(t.half() for t in (q, k, v)), *lists, None, None, *blocks))


def bag(_: TokenTile) -> Iterator[Example]:
    sizes = torch.tensor([3, 0, 1, 40, 2, 0])  # of the lists, the last one empty
    starts, edges = sizes.cumsum(0) - sizes, int(sizes.sum())
    for features, index in ((5, torch.int64), (37, torch.int32), (300, torch.int64)):
        x, indices = torch.randn(9, features), torch.randint(9, (edges,)).to(index)
        yield Example("bag", (x, indices, starts.to(index), None, True))
        yield Example("bag", (x, indices, starts.to(index), torch.randn(edges), False))
        yield Example("bag", (x, indices, starts.to(index)))


def product(_: TokenTile) -> Iterator[Example]:
    left, right = torch.randn(3, 37, 70), torch.randn(3, 70, 45)
    yield Example("product", (left, right, False))
    yield Example("product", (left, right.mT.contiguous(), True))
    yield Example("product", (left, right[:1], False))


def top_places(_: TokenTile) -> Iterator[Example]:
    for x in (torch.randn(7, 37), torch.randint(-9, 9, (7, 37), dtype=torch.int32)):
        yield Example("top_places", (x, 5, True, True))
        yield Example("top_places", (x, 37, False, True))


EXAMPLES: dict[str, Callable[[TokenTile], Iterator[Example]]] = {
    "linear": linear, "rows_linear": rows_linear, "rows_bsr_linear": rows_bsr_linear, "narrow": narrow,
    "attention": attention, "block_attention": block_attention, "mask": mask, "norm": norm, "rope": rope,
    "pack": pack, "bag": bag, "product": product, "top_places": top_places,
    "conv": conv, "int8_conv": int8_conv, "quantize_planes": quantize_planes,
    "copy_planes": copy_planes, "window": window, "winograd_planes": winograd_planes,
    "winograd": winograd, "cuda_linear": cuda_linear, "cuda_attention": cuda_attention,
    "cuda_block_attention": cuda_block_attention, "cuda_norm": cuda_norm, "cuda_rope": cuda_rope,
    "cuda_int8_linear": cuda_int8_linear, "cuda_quantize": cuda_quantize,
    "cuda_two_of_four_linear": cuda_two_of_four_linear,
}  # fmt: skip
"""Kernel -> examples. A new kernel has a line here."""
