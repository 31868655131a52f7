"""Models with flex_attention, and the comparison of what is captured with eager PyTorch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.utils import _pytree as pytree

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.ir.records import ATTENTION_NOTE


class Flex(nn.Module):
    """flex_attention with a mask, a score_mod that takes the module's table first, and other keywords."""

    def __init__(
        self,
        mask: BlockMask | None = None,
        score: Callable[..., Tensor] | None = None,
        table: Tensor | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.mask, self.score, self.options = mask, score, options
        self.register_buffer("table", torch.zeros(1) if table is None else table)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Any:
        table, score = self.table, self.score

        def changed(*place: Tensor) -> Tensor:
            assert score is not None
            return score(table, *place)

        mod = None if score is None else changed
        return flex_attention(q, k, v, mod, self.mask, enable_gqa=True, **self.options)


def qkv(
    queries: int = 50, keys: int | None = None, batch: int = 2, heads: int = 4, kv: int = 2
) -> tuple[Tensor, ...]:
    """Random queries, keys and values; a value is wider than a key."""
    generator = torch.Generator().manual_seed(queries)
    shapes = ((heads, queries, 16), (kv, keys or queries, 16), (kv, keys or queries, 24))
    return tuple(torch.randn(batch, *shape, generator=generator) for shape in shapes)


def operators(program: Program) -> set[str]:
    """The names of the attention operators in a program."""
    names = {"scaled_dot_product_attention", "attention", "block_attention", "_softmax"}
    return {name for node in program.graph.nodes for name in names & set(str(node.target).split("."))}


def note(program: Program) -> str:
    """What capture wrote down for ``explain``."""
    return " ".join(
        node.meta[ATTENTION_NOTE].text for node in program.graph.nodes if ATTENTION_NOTE in node.meta
    )


def captured(
    model: nn.Module, args: Sequence[Tensor], others: Sequence[Sequence[Tensor]] = (), dynamic: Any = None
) -> Program:
    """Capture a model, and check the program against it on the example and on other calls."""
    program = capture(model.eval(), args, None, dynamic_shapes=dynamic)
    for call in (args, *others):
        with torch.no_grad():
            wanted = pytree.tree_leaves(model(*call))
        found = pytree.tree_leaves(program.run(*call))
        for mine, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=2e-5)
    return program
