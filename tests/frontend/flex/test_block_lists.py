"""A BlockMask says twice which positions are live: what says different things is refused."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from l0compile.errors import CaptureError
from l0compile.frontend.export import capture
from tests.frontend.flex.flex_models import Flex, captured, operators, qkv

BOTH = r"agree, got block \(\d+, \d+\) of batch 0, head 0: by the lists \(compiled FlexAttention\) it "
AFTER = r", by mask_mod \(eager FlexAttention\) it "


def causal(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return q >= k


def in_two_blocks(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return k < 32


def listed(numbers: list[int], mod: Callable[..., Tensor] | None, full: list[int] | None = None) -> BlockMask:
    """Every row of blocks of 16 lists the same key blocks."""

    def lists(entries: list[int]) -> tuple[Tensor, Tensor]:
        filled = torch.tensor([*entries, *[0] * (4 - len(entries))], dtype=torch.int32)
        return torch.full((1, 1, 4), len(entries), dtype=torch.int32), filled.expand(1, 1, 4, 4).contiguous()

    rest = (None, None) if full is None else lists(full)
    return BlockMask.from_kv_blocks(*lists(numbers), *rest, BLOCK_SIZE=16, mask_mod=mod, seq_lengths=(50, 50))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (listed([0, 2], None), "is not read" + AFTER + "has live positions; 8 blocks differ"),
        (listed([0], in_two_blocks), "is not read" + AFTER + "has live positions; 4 blocks differ"),
        (listed([0, 1], causal, [2, 3]), "is read whole" + AFTER + "has dead positions"),
        (listed([0, 1], in_two_blocks, [1]), "is read twice" + AFTER + "is one block"),
    ],
)
def test_lists_and_mask_mod_that_differ_are_refused(mask: BlockMask, message: str) -> None:
    with pytest.raises(CaptureError, match=BOTH + message + ".*What to do: give BlockMask"):
        capture(Flex(mask).eval(), qkv())


@pytest.mark.parametrize(
    "mask", [listed([0, 1, 2, 3], None), listed([0, 1], in_two_blocks), listed([3, 1], in_two_blocks, [0])]
)
def test_lists_that_agree_are_taken(mask: BlockMask) -> None:
    captured(Flex(mask), qkv())


def test_a_number_past_the_end_is_refused() -> None:
    mask = listed([0, 1], in_two_blocks)
    mask.kv_indices[0, 0, 2, 1] = 9
    with pytest.raises(CaptureError, match=r"lists of flex_attention's BlockMask: .*from 0 to 3"):
        capture(Flex(mask).eval(), qkv())


class Chosen(nn.Module):
    """Lists that are computed from an input, and a mask_mod that knows nothing of them."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, chosen: Tensor) -> Tensor:
        counts = chosen.sum(-1).int()
        entries = torch.argsort((~chosen).int(), dim=-1, stable=True).int()
        mask = BlockMask.from_kv_blocks(counts, entries, BLOCK_SIZE=16, seq_lengths=(50, 50))
        return flex_attention(q, k, v, block_mask=mask, enable_gqa=True)


def test_lists_of_an_input_without_a_mask_mod_for_them_are_refused() -> None:
    with pytest.raises(
        CaptureError, match=r"got lists that are computed from inputs .* looks up which blocks"
    ):
        capture(Chosen().eval(), (*qkv(), torch.ones(1, 1, 4, 4, dtype=torch.bool)))


def test_lists_for_other_blocks_than_the_kernel_takes() -> None:
    for block in (8, 100):
        mask = create_block_mask(causal, None, None, 50, 50, device="cpu", BLOCK_SIZE=block)
        assert operators(captured(Flex(mask), qkv())) == {"scaled_dot_product_attention"}
