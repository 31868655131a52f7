"""Attention to listed keys between packed neighbours, and what keeps it in rows."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from l0compile.ir.nodes import arguments
from l0compile.ir.ops.attention.block import block_attention
from l0compile.ir.ops.attention.row_program import RowLists, RowProgram
from l0compile.ir.program import Program
from l0compile.rewrite.layout.tokens import pack_tokens

aten, l0 = torch.ops.aten, torch.ops.l0compile
layout = partial(pack_tokens, lanes=4, rows=4)


class Listed(nn.Module):
    """Layers around attention of 10 queries to 12 keys; None stands for a list that it lacks."""

    def __init__(self, program: RowProgram, numbers: str = "float32") -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        for i, tensor in enumerate(program.operands()):
            self.register_buffer(f"list_{i}", tensor)
        self.sizes = (2, program.q_block, program.k_block, 0.5, 0.0, False, numbers)

    def forward(self, x: Tensor, y: Tensor, mask: Tensor | None = None, bias: Tensor | None = None) -> Any:
        lists = [getattr(self, f"list_{i}") for i in range(8)]
        key = self.b(y)
        return self.a(block_attention(self.a(x), key, key, *lists, mask, bias, *self.sizes))


def columns(entries: list[int]) -> RowLists:
    count = torch.full((1, 1, 2), len(entries), dtype=torch.int32)
    return RowLists(count, torch.tensor(entries, dtype=torch.int32).expand(1, 1, 2, -1).contiguous())


def blocks(patterned: bool) -> RowProgram:
    mask = torch.ones(10, 12, dtype=torch.bool).tril(2 if patterned else 12)
    return RowProgram.from_mask(mask[None, None], 5, 4)


def inputs() -> tuple[Tensor, Tensor]:
    return torch.randn(2, 10, 8), torch.randn(2, 12, 8)


@pytest.mark.parametrize("patterned", [False, True])
def test_blocks_are_read_packed_from_layer_to_layer(
    patterned: bool,
    captured: Callable[..., Program],
    apply_once: Callable[..., Program],
    count: Callable[..., int],
) -> None:
    given = (*inputs(), torch.rand(2, 1, 1, 12) < 0.8, torch.randn(2, 21))
    result = apply_once(captured(Listed(blocks(patterned)), *given), layout, *given)
    assert count(result, l0.block_attention.default) == 0
    assert count(result, l0.packed_block_attention.default) == 1
    assert count(result, l0.pack.default) == 2 and count(result, l0.unpack.default) == 1


def test_columns_are_read_from_rows(
    captured: Callable[..., Program], apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    given = inputs()
    result = apply_once(captured(Listed(RowProgram(5, 4, columns=columns([3, 11]))), *given), layout, *given)
    (node,) = (n for n in result.graph.nodes if n.target == l0.packed_block_attention.default)
    own = arguments(node)
    assert own["k"] is None and own["key_rows"] is own["value_rows"]
    assert own["kept"] == pytest.approx(2 / 12)


def test_what_has_no_kernel_stays_in_rows(
    captured: Callable[..., Program], apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    given = inputs()
    narrow = Listed(RowProgram(5, 4, columns=columns([3, 11])), "bfloat16")  # columns of bfloat16
    wide = Listed(blocks(False))
    wide.list_1 = wide.list_1.long()
    for model, tensors in ((narrow, given), (wide, given), (Listed(RowProgram(5, 4)), given)):
        result = apply_once(captured(model, *tensors), layout, *tensors)
        assert count(result, l0.packed_block_attention.default) == 0
        assert count(result, l0.block_attention.default) == 1
