"""simplify_masks: padding masks reach attention as they came; nothing is folded that could differ."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.normalize.simplify_masks import simplify_masks
from l0compile.rewrite.runner import run

aten = torch.ops.aten


class HubMask(nn.Module):
    """The way the transformers library builds a bidirectional padding mask."""

    def forward(self, mask: Tensor) -> Tensor:
        batch, length = mask.shape
        rows = torch.arange(batch)[:, None, None, None]
        queries = (torch.arange(length) + 0)[None, None, :, None]
        keys = (torch.arange(length) + 0)[None, None, None, :]
        keep = queries.new_ones((), dtype=torch.bool) & (queries >= 0)
        return (keep & mask.bool()[rows, keys]).expand(batch, -1, length, length)


@pytest.mark.parametrize("dynamic", [None, {0: "batch", 1: "length"}], ids=["fixed", "symbolic"])
def test_hub_mask(dynamic: Any, apply_once: Callable[..., Program], count: Callable[..., int]) -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    program = run(capture(HubMask().eval(), (mask,), dynamic_shapes=dynamic), [canonicalize])
    result = run(apply_once(program, simplify_masks, mask), [canonicalize])
    assert (
        count(result, aten.index.Tensor)
        == count(result, aten.__and__.Tensor)
        == count(result, aten.ge.Scalar)
        == 0
    )
    reshape = result.graph.find_nodes(op="call_function", target=aten.reshape.default)[0]
    assert list(reshape.meta["val"].shape)[1:3] == [1, 1]


class Keeps(nn.Module):
    """Comparisons and gathers that look like the above and are not."""

    def forward(self, x: Tensor, other: Tensor) -> tuple[Tensor, ...]:
        i = torch.arange(4)
        one = torch.arange(1)
        return (
            (i >= 1) & x.bool(),
            x.bool() & (i[:, None] >= i[None, :]),
            x[i[:, None], i[None, :].flip(1)],
            x[i[None, :], i[:, None]],
            x[one, i],
            x[(i - 1)[:, None], i],
            torch.where(i < 3, x, other),
            (i.to(torch.uint8) - 1 >= 0) & x.bool(),
        )


def test_nothing_else_is_folded(captured: Callable[..., Program], apply_once: Callable[..., Program]) -> None:
    x = torch.randint(0, 2, (4, 4))
    program = run(captured(Keeps(), x, torch.randn(4)), [canonicalize])
    apply_once(program, simplify_masks, torch.arange(16).reshape(4, 4), torch.randn(4))


class Folds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 4)
        self.register_buffer("kinds", torch.zeros(1, 9, dtype=torch.int64))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        i = torch.arange(x.shape[1])
        kinds = self.table(self.kinds[:, : x.shape[1]].expand(x.shape))
        never = (i < 0) | (x > 0)
        chosen = torch.where(i >= 0, x, -x)
        other = torch.where(i < 0, x, -x)
        return kinds, never, chosen, other


def test_lookups_choices_and_disjunctions(
    apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    x = torch.randint(-3, 3, (2, 5))
    program = run(capture(Folds().eval(), (x,), dynamic_shapes={0: "b", 1: "s"}), [canonicalize])
    result = apply_once(program, simplify_masks, x)
    for op in (aten.embedding.default, aten.where.self, aten.__or__.Tensor, aten.bitwise_or.Tensor):
        assert count(result, op) == 0, op


def test_an_all_true_attention_mask_goes(
    captured: Callable[..., Program], apply_once: Callable[..., Program]
) -> None:
    class Attend(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            mask = torch.ones(1, 1, 3, 3, dtype=torch.bool)
            return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)

    x = torch.randn(1, 2, 3, 4)
    result = apply_once(captured(Attend(), x), simplify_masks, x)
    sdpa = result.graph.find_nodes(op="call_function", target=aten.scaled_dot_product_attention.default)[0]
    assert len(sdpa.all_input_nodes) == 1


def test_sizes_that_may_differ_are_not_merged(count: Callable[..., int]) -> None:
    class Gather(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return mask[torch.arange(x.shape[0])[:, None], torch.arange(mask.shape[1])[None, :]]

    program = capture(
        Gather().eval(),
        (torch.randn(3, 4), torch.randn(5, 2)),
        dynamic_shapes={"x": {0: "a"}, "mask": {0: "b"}},
    )
    assert count(run(program, [canonicalize, simplify_masks]), aten.index.Tensor) == 1
