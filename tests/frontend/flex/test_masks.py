"""Masks of flex_attention against eager PyTorch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import (
    AuxRequest,
    BlockMask,
    and_masks,
    create_block_mask,
    flex_attention,
)

from l0compile.errors import CaptureError
from tests.frontend.flex.flex_models import Flex, captured, note, operators, qkv

DOCUMENTS = torch.tensor([[0] * 20 + [1] * 17 + [2] * 13, [0] * 31 + [1] * 19])
BATCH = {0: "batch"}


def causal(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return q >= k


def window(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return (q - k).abs() < 9


def prefix(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return (k < 11) | (q >= k)


def by_head(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return (q - k).abs() < 5 + 6 * h


def no_early_query(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return (q > 12) & (q >= k)


def one_document(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return DOCUMENTS[b, q] == DOCUMENTS[b, k]


def block_mask(
    mod: Callable[..., Tensor], queries: int = 50, keys: int | None = None, block: int | tuple[int, int] = 16,
    batch: int | None = None, heads: int | None = None,
) -> BlockMask:  # fmt: skip
    return create_block_mask(mod, batch, heads, queries, keys or queries, device="cpu", BLOCK_SIZE=block)


def all_blocks(mod: Callable[..., Tensor]) -> BlockMask:
    """Lists of all blocks of 16, none of them as full."""
    entries = torch.arange(4, dtype=torch.int32).expand(1, 1, 4, 4).contiguous()
    counts = torch.full((1, 1, 4), 4, dtype=torch.int32)
    return BlockMask.from_kv_blocks(counts, entries, BLOCK_SIZE=16, mask_mod=mod, seq_lengths=(50, 50))


class OfInput(nn.Module):
    """A mask that ``forward`` makes of an input, by create_block_mask or with lists of its own."""

    def __init__(self, mod: Callable[[Tensor], Callable[..., Tensor]], lists: bool = False) -> None:
        super().__init__()
        self.mod, self.lists = mod, lists

    def forward(self, q: Tensor, k: Tensor, v: Tensor, data: Tensor) -> Tensor:
        mod, length = self.mod(data), q.shape[2]
        if self.lists:
            mask = all_blocks(mod)
        else:
            mask = create_block_mask(mod, q.shape[0], None, length, length, device="cpu", BLOCK_SIZE=16)
        return flex_attention(q, k, v, block_mask=mask, enable_gqa=True)


def same_document(data: Tensor) -> Callable[..., Tensor]:
    return and_masks(causal, lambda b, h, q, k: data[b, q] == data[b, k])


def not_padded(base: Callable[..., Tensor]) -> Callable[[Tensor], Callable[..., Tensor]]:
    return lambda data: and_masks(base, lambda b, h, q, k: data[b, k] > 0)


SHAPES = {"q": BATCH, "k": BATCH, "v": BATCH}


def grown(*tensors: Tensor) -> list[Tensor]:
    return [torch.cat([tensor, tensor.flip(0), tensor]) for tensor in tensors]


@pytest.mark.parametrize("heads", [(4, 4), (4, 1)])
def test_without_a_mask_ordinary_attention_remains(heads: tuple[int, int]) -> None:
    program = captured(Flex(), qkv(heads=heads[0], kv=heads[1]))
    assert operators(program) == {"scaled_dot_product_attention"}


@pytest.mark.parametrize(("queries", "keys"), [(50, 50), (33, 50), (50, 33)])
def test_a_causal_mask_becomes_causal_attention(queries: int, keys: int) -> None:
    program = captured(Flex(block_mask(causal, queries, keys)), qkv(queries, keys))
    assert operators(program) == {"scaled_dot_product_attention"}


@pytest.mark.parametrize("block", [16, 32, 128, (16, 48), 20])
@pytest.mark.parametrize("mod", [window, prefix, no_early_query, one_document], ids=lambda mod: mod.__name__)
def test_a_mask_of_positions_becomes_constant_lists(mod: Callable[..., Tensor], block: int) -> None:
    batch = 2 if mod is one_document else None
    program = captured(Flex(block_mask(mod, block=block, batch=batch)), qkv())
    assert operators(program) == {"block_attention"}
    assert "% of the scores are computed" in note(program)


def test_each_head_has_lists_of_its_own() -> None:
    program = captured(Flex(block_mask(by_head, heads=4)), qkv())
    assert operators(program) == {"block_attention"}


@pytest.mark.parametrize(("queries", "keys"), [(1, 70), (17, 65), (65, 17)])
def test_lengths_need_no_whole_blocks(queries: int, keys: int) -> None:
    captured(Flex(block_mask(window, queries, keys)), qkv(queries, keys))


def test_patterns_that_are_full_or_empty_are_no_patterns() -> None:
    def even_blocks(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        return (q // 16 + k // 16) % 2 == 0

    program = captured(Flex(all_blocks(even_blocks)), qkv())
    names = [name for name in program.constants if "blocks" in name]
    assert len(names) == 2  # counts and entries of full blocks
    assert program.constants[names[0]].tolist() == [[[2, 2, 2, 2]]]


def test_a_query_without_live_keys_gives_zeros() -> None:
    model = Flex(block_mask(no_early_query))
    program = captured(model, qkv())
    assert not program.run(*qkv())[:, :, :13].any()


def test_keys_of_one_batch_serve_all() -> None:
    q, k, v = qkv()
    for mod in (window, causal):  # PyTorch wants a mask of as many batches
        captured(Flex(block_mask(mod, batch=2)), (q, k[:1], v[:1]))


def test_a_batch_may_vary_where_the_mask_does_not_depend_on_it() -> None:
    program = captured(Flex(block_mask(window)), qkv(), [grown(*qkv())], SHAPES)
    assert operators(program) == {"block_attention"}


def test_a_length_may_vary_without_a_mask() -> None:
    shapes = {name: {0: "batch", 2: "length"} for name in "qkv"}
    program = captured(Flex(), qkv(), [qkv(31, batch=3)], shapes)
    assert operators(program) == {"scaled_dot_product_attention"}


def test_the_logarithms_of_the_sums_are_given() -> None:
    for mask in (None, block_mask(no_early_query)):
        program = captured(Flex(mask, return_lse=True), qkv())
        assert operators(program) == {"block_attention"}


def test_layers_of_one_model_have_masks_of_their_own() -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            masks = [block_mask(mod) for mod in (causal, window, prefix)]
            self.layers = nn.ModuleList(Flex(mask) for mask in [*masks, None])

        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            found: Tensor = sum(layer(q, k, v) for layer in self.layers)
            return found

    captured(Layers(), qkv())


def test_layers_with_equal_masks_share_the_constants() -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Flex(block_mask(window)) for _ in range(3))

        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            found: Tensor = sum(layer(q, k, v) for layer in self.layers)
            return found

    program = captured(Layers(), qkv())
    assert len([name for name in program.constants if "flex_attention" in name]) == 6


@pytest.mark.parametrize("lists", [False, True])
def test_documents_of_an_input_become_patterns_in_the_graph(lists: bool) -> None:
    args, others = (*qkv(), DOCUMENTS), grown(*qkv(), DOCUMENTS)
    shapes = SHAPES | {"data": BATCH}
    program = captured(OfInput(same_document, lists), args, [others], shapes)
    assert operators(program) == {"block_attention"}
    assert ("patterns are computed" in note(program)) == lists
    captured(OfInput(same_document, lists), args)


@pytest.mark.parametrize("mod", [causal, window], ids=lambda mod: mod.__name__)
@pytest.mark.parametrize("lists", [False, True])
def test_padding_becomes_a_mask_of_keys(mod: Callable[..., Tensor], lists: bool) -> None:
    present = (torch.arange(50) < torch.tensor([[50], [29]])).int()
    args = (*qkv(), present)
    program = captured(OfInput(not_padded(mod), lists), args, [grown(*args)], SHAPES | {"data": BATCH})
    assert operators(program) == {"attention" if mod is causal else "block_attention"}


def test_a_length_may_vary_where_forward_makes_the_mask() -> None:
    length = {0: "batch", 2: "length"}
    shapes = {"q": length, "k": length, "v": length, "data": {0: "batch", 1: "length"}}
    data = (torch.rand(2, 50) < 0.7).int()
    for mod in (not_padded(causal), same_document):
        captured(OfInput(mod), (*qkv(), data), [(*qkv(29), data[:, :29])], shapes)


def test_blocks_that_an_input_selects() -> None:
    class Selected(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor, chosen: Tensor) -> Tensor:
            counts, entries = chosen.sum(-1).int(), torch.argsort((~chosen).int(), dim=-1, stable=True).int()
            mask = BlockMask.from_kv_blocks(
                counts,
                entries,
                BLOCK_SIZE=16,
                mask_mod=lambda b, h, i, j: chosen[b, h, i // 16, j // 16],
                seq_lengths=(50, 50),
            )
            return flex_attention(q, k, v, block_mask=mask, enable_gqa=True)

    chosen = torch.rand(2, 4, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    program = captured(Selected(), (*qkv(), chosen), [(*qkv(), ~chosen)])
    assert operators(program) == {"block_attention"}


def test_other_precisions_are_computed_as_eager_does() -> None:
    args = tuple(tensor.double() for tensor in qkv())
    program = captured(Flex(block_mask(window)), args)
    assert "it is in torch.float64" in note(program)


def test_the_largest_scores_are_refused() -> None:
    """Eager refuses them too, unless its graph is made by hand: nothing on a CPU computes them."""
    with pytest.raises((CaptureError, NotImplementedError)):
        captured(Flex(return_aux=AuxRequest(max_scores=True)), qkv())
