"""fold_constants and flush_denormals."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from l0compile.ir.program import Program
from l0compile.rewrite.normalize.flush_denormals import flush_denormals
from l0compile.rewrite.normalize.fold_constants import fold_constants

aten = torch.ops.aten


class GatedWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 6))
        self.log_alpha = nn.Parameter(torch.randn(2, 6))

    def forward(self, x: Tensor) -> Tensor:
        z = (torch.sigmoid(self.log_alpha) * 1.2 - 0.1).clamp(0, 1)
        return nn.functional.linear(x, torch.ops.l0compile.gate(self.weight, z, [4, 1]))


def test_gates_on_weights_vanish(
    captured: Callable[..., Program], apply_once: Callable[..., Program]
) -> None:
    model = GatedWeight()
    result = apply_once(captured(model, torch.randn(3, 6)), fold_constants, torch.randn(3, 6))
    assert [str(n.target) for n in result.graph.nodes if n.op == "call_function"] == ["aten.linear.default"]
    assert len(result.constants) == 1


def test_expansions_are_not_stored(captured: Callable[..., Program], count: Callable[..., int]) -> None:
    class Grows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("row", torch.randn(1, 600))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.row.expand(600, 600).cumsum(0)

    program = captured(Grows(), torch.randn(600, 600))
    result = fold_constants(program)
    assert count(result, aten.cumsum.default) == 1


def test_rule_9_denormals_become_zero_and_normals_stay(captured: Callable[..., Program]) -> None:
    program = captured(nn.Linear(3, 1), torch.randn(2, 3))
    tiny = torch.finfo(torch.float32).tiny
    weight = torch.tensor([[tiny / 2, -tiny / 4, tiny]])
    program = replace(program, constants={**program.constants, "weight": weight})
    result = flush_denormals(program)
    assert result.constants["weight"].tolist() == [[0.0, 0.0, tiny]]
    assert weight[0, 0] != 0 and result.constants["bias"] is program.constants["bias"]
    assert flush_denormals(result) is result
