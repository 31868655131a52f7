"""Attention to listed keys becomes attention to all where these are quicker, and only there."""

import pytest
import torch
from torch import nn

from l0compile.frontend.export import capture
from l0compile.hardware.costs import CostKey, CostPlace, CostRecord, Costs, KernelWorkload, Machine
from l0compile.hardware.targets import Core, load_target
from l0compile.ir.editor import Editor
from l0compile.ir.nodes import arguments, is_op
from l0compile.ir.ops.attention.row_program import RowProgram
from l0compile.ir.program import Program
from l0compile.kernels.costs import counted_kernels
from l0compile.rewrite.formats.dense_attention import dense_attention
from l0compile.rewrite.formats.lists_of_attention import constant_program, listed_shares, workload_of
from l0compile.rewrite.pipeline import optimise

TOKENS, HEADS = 40, 4
LISTED, ATTENTION = torch.ops.l0compile.block_attention.default, torch.ops.l0compile.attention.default


class Listed(nn.Module):
    """Attention of x to itself by constant lists; ``mask``: of keys, beside them."""

    def __init__(self, seen: torch.Tensor, cap: float = 0.0, sums: bool = False) -> None:
        super().__init__()
        program = RowProgram.from_mask(seen, 16, 16)
        self.present = [tensor is not None for tensor in program.operands()]
        for number, tensor in enumerate(program.operands()):
            self.register_buffer(f"list_{number}", tensor)
        self.rest = cap, sums

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        lists = [getattr(self, f"list_{i}") for i in range(8)]
        return torch.ops.l0compile.block_attention(
            x, x, x, *lists, mask, None, HEADS, 16, 16, 0.3, *self.rest
        )


X = torch.randn(2, TOKENS, HEADS * 8, generator=torch.Generator().manual_seed(0))
MASK = torch.arange(TOKENS).view(1, 1, 1, -1) < torch.tensor([TOKENS, 30]).view(2, 1, 1, 1)


def captured(seen: torch.Tensor, cap: float = 0.0, sums: bool = False) -> Program:
    return capture(Listed(seen, cap, sums).eval(), (X, MASK))


def known(program: Program, listed_ms: float, dense_ms: float) -> Costs:
    """Costs that were measured for just this attention, in lists and with all keys."""
    node = next(n for n in program.graph.nodes if is_op(n, LISTED))
    work = workload_of(node, 0.5)
    kernels = counted_kernels(Core())
    versions = {kernel.op: kernel.versions for kernel in kernels}
    variant = "bias+softcap" if "softcap" in work.words else "bias"
    dense = KernelWorkload("attention", work.shape[:6], tokens=work.tokens, variant=variant)
    records = [
        CostRecord(CostKey(each, CostPlace("this", 2, versions[each.op])), (), ms, ms, ms, 1, "")
        for each, ms in ((work, listed_ms), (dense, dense_ms))
    ]
    return Costs(records, Machine(2, 16, 16, 1 << 20), kernels)


def attentions(program: Program) -> list[torch.fx.Node]:
    return [n for n in program.graph.nodes if is_op(n, LISTED, ATTENTION)]


SOME = torch.rand(1, HEADS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(1)) < 0.6


def test_lists_of_all_keys_are_no_lists() -> None:
    program = captured(torch.ones(1, 1, TOKENS, TOKENS, dtype=torch.bool))
    made = dense_attention(program)
    (node,) = attentions(made)
    assert (
        is_op(node, ATTENTION)
        and arguments(node)["mask"].name == arguments(attentions(program)[0])["mask"].name
    )
    torch.testing.assert_close(made.run(X, MASK), program.run(X, MASK))


@pytest.mark.parametrize("cap", [0.0, 2.0])
@pytest.mark.parametrize(("listed_ms", "dense_ms", "dense"), [(2.0, 1.0, True), (1.0, 2.0, False)])
def test_costs_decide_about_others(listed_ms: float, dense_ms: float, dense: bool, cap: float) -> None:
    program = captured(SOME, cap)
    made = dense_attention(program, known(program, listed_ms, dense_ms))
    (node,) = attentions(made)
    assert is_op(node, ATTENTION) == dense
    torch.testing.assert_close(made.run(X, MASK), program.run(X, MASK))
    assert dense_attention(program) is program


def test_what_all_keys_do_not_have_stays_in_lists() -> None:
    program = captured(SOME, sums=True)
    assert dense_attention(program, known(program, 2.0, 1.0)) is program


def test_explain_tells_what_each_head_reads() -> None:
    seen = torch.zeros(1, HEADS, TOKENS, TOKENS, dtype=torch.bool)
    for head in range(HEADS):
        seen[:, head, :, : 16 * head] = True
    program = captured(seen)
    node = attentions(program)[0]
    lists = constant_program(Editor(program), node)
    assert lists is not None
    assert listed_shares(lists, HEADS, TOKENS) == pytest.approx([0.0, 0.4, 0.8, 1.0])
    (region,) = optimise(program, load_target("native")).regions
    assert region.reason.startswith(
        "rows of 16 queries list their keys in blocks of 16: 0, 40, 80, 100 % of all keys by head"
    )
    assert region.density == pytest.approx(0.55)
