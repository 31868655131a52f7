"""Norms in float32 within a model in half precision."""

import pytest
import torch
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.layout.narrow_norms import narrow_norms
from l0compile.rewrite.pipeline import dense_passes
from l0compile.rewrite.runner import run

l0 = torch.ops.l0compile


class Norm(nn.Module):
    """RMSNorm as language models write it, and its variants.

    kind: "scaled": the weight in half precision, behind the cast; "wide": in float32, before it; "plain": none; the
    others differ from a norm that is joined in one thing.
    """

    def __init__(self, kind: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.kind, self.dtype = kind, dtype
        self.weight = nn.Parameter(torch.randn(8).to(torch.float32 if kind == "wide" else dtype))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.float32)
        y = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)
        if self.kind == "wide":
            return (y * self.weight).to(self.dtype)
        if self.kind == "read twice":
            return y.to(self.dtype) + y.sum().to(self.dtype)
        if self.kind == "another type":
            return y.to(torch.bfloat16 if self.dtype == torch.float16 else torch.float16)
        if self.kind == "scaled by a column":
            return y.to(self.dtype) * self.weight[:3, None]
        return y.to(self.dtype) if self.kind == "plain" else self.weight * y.to(self.dtype)


def joined(kind: str, dtype: torch.dtype) -> tuple[nn.Module, Tensor, Program]:
    torch.manual_seed(0)
    model, x = Norm(kind, dtype).eval().requires_grad_(False), torch.randn(2, 3, 8).to(dtype)
    return model, x, narrow_norms(run(capture(model, (x,)), dense_passes()))


def has_norm(program: Program) -> bool:
    return any(node.target == l0.narrow_rms_norm.default for node in program.graph.nodes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["scaled", "wide", "plain"])
def test_it_is_one_operator_that_gives_the_same_bits(kind: str, dtype: torch.dtype) -> None:
    model, x, program = joined(kind, dtype)
    assert has_norm(program) and narrow_norms(program).graph is program.graph
    assert [node.target for node in program.graph.nodes if node.op == "call_function"] == [
        l0.narrow_rms_norm.default
    ]
    assert torch.equal(program.run(x), model(x))


@pytest.mark.parametrize("kind", ["read twice", "another type"])
def test_what_is_another_function_stays(kind: str) -> None:
    model, x, program = joined(kind, torch.float16)
    assert not has_norm(program)
    torch.testing.assert_close(program.run(x), model(x), rtol=1e-3, atol=1e-3)


def test_a_factor_that_is_no_vector_of_the_axis_stays_outside() -> None:
    model, x, program = joined("scaled by a column", torch.float16)
    assert has_norm(program) and torch.equal(program.run(x), model(x))
