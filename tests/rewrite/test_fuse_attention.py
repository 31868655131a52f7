"""fuse_attention: one operator without transposes, or left alone with a reason."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.capture import Program
from l0compile.rewrite import run
from l0compile.rewrite.canonicalize import canonicalize
from l0compile.rewrite.fuse_attention import fuse_attention, refusal
from l0compile.rewrite.regions import survey

aten, attention = torch.ops.aten, torch.ops.l0compile.attention.default


def test_transformer(
    prenorm_program: Program, make_tokens: Callable[..., tuple[Tensor, Tensor]],
    apply_once: Callable[..., Program], count: Callable[..., int],
) -> None:  # fmt: skip
    fused = run(apply_once(prenorm_program, fuse_attention, *make_tokens(3, 4)), [canonicalize])
    assert count(fused, attention) == 2 and count(fused, aten.transpose.int) == 0
    node = fused.graph.find_nodes(op="call_function", target=attention)[0]
    assert [str(arg.target) for arg in node.args[:3]] == ["aten.linear.default"] * 3  # type: ignore[index]
    assert node.args[4:] == (3, 0.5, False)


def test_golden(
    prenorm: Callable[..., nn.Module], captured: Callable[..., Program],
    make_tokens: Callable[..., tuple[Tensor, Tensor]], golden: Callable[[str, str], None],
) -> None:  # fmt: skip
    program = captured(prenorm(layers=1), *make_tokens())
    golden("fuse_attention.txt", str(run(program, [canonicalize, fuse_attention, canonicalize]).graph) + "\n")


class Attend(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        match self.kind:
            case "causal":
                return F.scaled_dot_product_attention(q, k, v, is_causal=True)
            case "scale":
                return F.scaled_dot_product_attention(q, k, v, scale=0.2)
            case "bool":
                return F.scaled_dot_product_attention(q, k, v, attn_mask=(q[..., :1] > 0).expand(2, 2, 3, 3))
            case "float":
                return F.scaled_dot_product_attention(
                    q, k, v, attn_mask=torch.randn(3, 3).cumsum(0) * q[0, 0, 0, 0]
                )
            case "grouped":
                return F.scaled_dot_product_attention(q, k[:, :1], v[:, :1], enable_gqa=True)
            case _:
                return F.scaled_dot_product_attention(q[0], k[0], v[0])


@pytest.mark.parametrize("kind", ["causal", "scale", "bool"])
def test_forms(
    kind: str, captured: Callable[..., Program], apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    inputs = torch.randn(3, 2, 2, 3, 4).unbind()
    result = apply_once(captured(Attend(kind), *inputs), fuse_attention, *inputs)
    assert count(result, attention) == 1
    node = result.graph.find_nodes(op="call_function", target=attention)[0]
    assert node.args[6] is (kind == "causal") and node.args[5] == (0.2 if kind == "scale" else 0.5)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("float", "additive"), ("grouped", "shared between query heads"), ("rank", "not of rank 4")],
)
def test_refusals_say_why(
    kind: str, reason: str, captured: Callable[..., Program], count: Callable[..., int]
) -> None:
    program = captured(Attend(kind), *torch.randn(3, 2, 2, 3, 4).unbind())
    result = fuse_attention(program)
    assert result is program and count(program, attention) == 0
    node = program.graph.find_nodes(op="call_function", target=aten.scaled_dot_product_attention.default)[0]
    assert reason in str(refusal(node))
    assert reason in survey(program).regions[0].reason
