"""decompose: PyTorch's decompositions, recorded once, are the operator at every size."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.layout.decompose import decompose

aten = torch.ops.aten

POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": lambda x: F.elu(x, 0.7),
    "glu": lambda x: F.glu(x, -1),
    "hardswish": lambda x: F.hardswish(x),
    "hardsigmoid": lambda x: F.hardsigmoid(x),
    "softplus": lambda x: F.softplus(x * 9),
    "mish": lambda x: F.mish(x),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.3])),
    "addcmul": lambda x: torch.addcmul(x, x, x + 1, value=0.5),
    "var": lambda x: x.var(-1) + x.std((1, 2), keepdim=True, correction=0).mean(),
    "var_mean": lambda x: sum(torch.var_mean(x, (1, 2))),
    "difference": lambda x: x.diff(dim=-1),
}
NORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "layer_norm": lambda x: F.layer_norm(x, (4, 6), torch.ones(4, 6) * 2, torch.ones(4, 6)),
    "rms_norm": lambda x: F.rms_norm(x, (6,), torch.arange(6.0)),
    "group_norm": lambda x: F.group_norm(x, 2, torch.arange(4.0), torch.ones(4)),
    "causal": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True),
    "float mask": lambda x: F.scaled_dot_product_attention(x[None], x[None], x[None], x[:, :, :4]),
    "shared heads": lambda x: F.scaled_dot_product_attention(
        x[None].repeat(1, 2, 1, 1), x[None], x[None], scale=0.3, enable_gqa=True
    ),
}


class Together(nn.Module):
    def __init__(self, functions: dict[str, Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(x) for function in self.functions.values())


@pytest.mark.parametrize("batch", ["fixed", "symbolic"])
@pytest.mark.parametrize("functions", [POINTWISE, NORMS], ids=["pointwise", "norms"])
def test_same_results_at_every_size(
    functions: Any, batch: str, apply_once: Callable[..., Program], agree: Callable[..., None]
) -> None:
    dynamic = {"x": {0: "batch"}} if batch == "symbolic" else None
    program = capture(Together(functions).eval(), (torch.randn(3, 4, 6),), dynamic_shapes=dynamic)
    result = apply_once(program, decompose, torch.randn(3, 4, 6))
    if dynamic:
        agree(program, result, torch.randn(5, 4, 6))
    left = {str(node.target) for node in result.graph.nodes if node.op == "call_function"}
    names = ("elu", "glu", "hard", "softplus", "mish", "addcmul", "var", "std", "diff", "norm", "attention")
    assert not [target for target in left if any(name in target for name in names)]


def test_images(captured: Callable[..., Program], apply_once: Callable[..., Program]) -> None:
    functions = {
        "nearest": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        "odd": lambda x: F.interpolate(x, size=(5, 9), mode="nearest"),
        "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
        "corners": lambda x: F.interpolate(x, size=(7, 5), mode="bilinear", align_corners=True),
        "shuffle": lambda x: F.pixel_shuffle(x, 2),
    }
    x = torch.randn(2, 4, 6, 4)
    result = apply_once(captured(Together(functions), x), decompose, x)
    left = {str(node.target) for node in result.graph.nodes if node.op == "call_function"}
    assert not [target for target in left if "upsample" in target or "shuffle" in target]


def test_norms_wait_for_the_kernels(captured: Callable[..., Program]) -> None:
    program = captured(nn.LayerNorm(6), torch.randn(2, 6))
    assert decompose(program, with_kernels=False) is program


def test_what_cannot_be_recorded_stays(captured: Callable[..., Program]) -> None:
    class Higher(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.diff(n=2)

    program = captured(Higher(), torch.randn(2, 6))
    assert decompose(program) is program
