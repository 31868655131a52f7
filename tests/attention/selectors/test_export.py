"""A model that chooses what it attends to is exported, and computes the same."""

import pytest
import torch
from torch import Tensor, nn

import l0compile as l0
from l0compile.attention.attend import attend
from l0compile.attention.patterns import SlidingWindow, StreamingLLM
from l0compile.attention.selectors import (
    AntidiagonalScores,
    ChipmunkColumns,
    DoubleSparsity,
    HashedScores,
    LowRankScores,
    OnlinePatterns,
    PooledScores,
    RoutedScores,
    RowTopK,
    Selector,
    VerticalSlash,
)

SELECTORS = [
    PooledScores(16, 3),
    PooledScores(16, 3, causal=False),
    AntidiagonalScores(16, 4, 0.8, 4),
    VerticalSlash(40, 110, 16, 16),
    HashedScores(8, block_size=16, topk=3),
    RoutedScores(2, 8, block_size=16, topk=3),
    RowTopK(9),
    RowTopK(9, q_block=16, k_block=16),
    ChipmunkColumns(9, 2, 32),
    LowRankScores(2, 8, topk=9),
    DoubleSparsity(2, 8, 9),
    OnlinePatterns((SlidingWindow(20), StreamingLLM(4, 30)), 150, 2, block_size=16),
]


class Chosen(nn.Module):
    def __init__(self, selector: Selector) -> None:
        super().__init__()
        self.selector = selector

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        program = self.selector(q, k, 2)
        return attend(q, k, k, program, 2, scale=0.3)


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda selector: type(selector).__name__)
def test_a_selector_is_exported(selector: Selector) -> None:
    torch.manual_seed(0)
    q, k = torch.randn(2, 150, 16), torch.randn(2, 150, 16)
    model = Chosen(selector).eval()
    with torch.no_grad():
        exported = torch.export.export(model, (q, k), strict=False).module()
        other = torch.randn(2, 150, 16)
        torch.testing.assert_close(exported(other, k), model(other, k))
        assert any(
            node.target is torch.ops.l0compile.block_attention.default for node in exported.graph.nodes
        )


@pytest.mark.parametrize(
    "selectors",
    [
        (PooledScores(16, 3), HashedScores(8, block_size=16, topk=3, causal=False)),
        pytest.param(
            (AntidiagonalScores(16, 4, 0.8, 4), RoutedScores(2, 8, block_size=16, topk=3), RowTopK(9)),
            marks=pytest.mark.slow,
        ),
        pytest.param((ChipmunkColumns(9, 2, 32), LowRankScores(2, 8, topk=9)), marks=pytest.mark.slow),
        pytest.param((DoubleSparsity(2, 8, 9), SELECTORS[-1]), marks=pytest.mark.slow),
    ],
    ids=lambda selectors: "+".join(type(selector).__name__ for selector in selectors),
)
def test_selectors_are_compiled_with_their_model(selectors: tuple[Selector, ...]) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(1, 150, 16), torch.randn(1, 150, 16)
    model = Together(selectors).eval()
    compiled = l0.compile(model, inputs, engine="tvm")
    assert [stage.engine for stage in compiled.explain().stages] == ["tvm"]
    with torch.no_grad():
        torch.testing.assert_close(compiled(*inputs), model(*inputs), atol=2e-5, rtol=2e-5)


class Together(nn.Module):
    def __init__(self, selectors: tuple[Selector, ...]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Chosen(selector) for selector in selectors)

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        return torch.stack([part(q, k) for part in self.parts])
