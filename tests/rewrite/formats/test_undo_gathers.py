"""undo_gathers: a layer in blocks skips dead channels by itself, so they are not copied away and back."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.hardware.targets import Target
from l0compile.ir.program import Program
from l0compile.rewrite.formats.undo_gathers import undo_gathers
from l0compile.rewrite.pipeline import optimise, optimise_dense
from l0compile.rewrite.runner import run

Agree = Callable[..., None]
aten, bsr = torch.ops.aten, torch.ops.l0compile.bsr_linear.default


def layer(n: int, k: int, kept: float, seed: int = 0, bias: bool = True) -> nn.Linear:
    """A layer in 4x1 blocks that has lost a quarter of its inputs and of its outputs as a whole."""
    torch.manual_seed(seed)
    found = nn.Linear(k, n, bias=bias).eval().requires_grad_(False)
    found.weight *= (torch.rand(n // 4, k) < kept).repeat_interleave(4, 0)
    found.weight[:, torch.randperm(k)[: k // 4]] = 0.0
    found.weight[torch.randperm(n)[: n // 4]] = 0.0
    return found


def gathers(program: Program) -> int:
    return len(program.graph.find_nodes(op="call_function", target=aten.index_select.default))


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_alone_reads_and_writes_whole_rows(bias: bool, agree: Agree, target: Target) -> None:
    model, x = layer(256, 192, 0.2, bias=bias), torch.randn(5, 192)
    dense = optimise_dense(capture(model, (x,)))
    assert gathers(dense) == 2
    after = optimise(capture(model, (x,)), target)
    assert [node.target for node in after.graph.nodes if node.op == "call_function"] == [bsr]
    agree(dense, after, x)
    (region,) = after.regions
    assert region.shape_after == (256, 192)
    assert "dead inputs stay after all" in region.reason and "dead outputs stay after all" in region.reason


@pytest.mark.parametrize(("kept", "kind"), [(1.0, "cpu"), (0.2, "cuda")], ids=["dense", "on a GPU"])
def test_where_a_copy_pays_it_stays(kept: float, kind: str, target: Target) -> None:
    dense = optimise_dense(capture(layer(256, 192, kept), (torch.randn(5, 192),)))
    assert undo_gathers(dense, replace(target, kind=kind)).graph is dense.graph


class Shared(nn.Module):
    """Selected features that two layers read, and selected results that something else reads, too."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = layer(128, 150, 0.2), nn.Linear(150, 128)
        self.register_buffer("order", torch.randperm(192)[:150])
        self.register_buffer("twice", torch.arange(128) // 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        chosen = x.index_select(-1, self.order)
        a, b = self.a(chosen), self.b(chosen)
        return a.index_select(-1, self.twice) + 1.0, a, b.index_select(-1, self.twice), b


def test_what_others_read_stays(agree: Agree, target: Target) -> None:
    x = torch.randn(2, 3, 192)
    before = capture(Shared().eval(), (x,))
    after = run(before, [lambda program: undo_gathers(program, target)])
    agree(before, after, x)
    layers = after.graph.find_nodes(op="call_function", target=aten.linear.default)
    # The block-sparse layer reads x, the dense one what was selected.
    assert gathers(after) == gathers(before) and len({node.args[0] for node in layers}) == 2


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), kept=st.floats(0.05, 1.0), n=st.integers(8, 40), k=st.integers(1, 150))
def test_any_zeros(seed: int, kept: float, n: int, k: int, agree: Agree, target: Target) -> None:
    model = nn.Sequential(layer(4 * n, k, kept, seed), nn.Tanh(), layer(4 * k, 4 * n, kept, seed + 1)).eval()
    x = torch.randn(3, k)
    program = capture(model, (x,))
    agree(program, optimise(program, target), x)
