"""drop_dead: constants, closed layers, neutral operands; and what must stay."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from l0compile.frontend.export import capture
from l0compile.ir.program import Program
from l0compile.rewrite.compact.drop_dead import drop_dead
from l0compile.rewrite.normalize.canonicalize import canonicalize
from l0compile.rewrite.normalize.fold_gates import fold_gates
from l0compile.rewrite.runner import run

aten = torch.ops.aten


class Residual(nn.Module):
    def __init__(self, gated: bool) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)
        self.gated = gated
        self.register_buffer("z", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.down(torch.relu(self.up(x)))
        return x + (torch.ops.l0compile.gate(h, self.z, [4]) if self.gated else h)


def test_rule_5_a_closed_layer_leaves_the_residual(
    apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    program = capture(Residual(gated=True).eval(), (torch.randn(2, 4),), dynamic_shapes={0: "batch"})
    result = apply_once(run(program, [canonicalize, fold_gates]), drop_dead, torch.randn(3, 4))
    assert result.output.args[0][0].op == "placeholder"  # type: ignore[index,union-attr]
    assert not result.constants


def test_rule_5_plus_the_bias_if_that_was_not_gated(
    apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    model = Residual(gated=False)
    nn.init.zeros_(model.down.weight)
    program = capture(model.eval(), (torch.randn(2, 4),), dynamic_shapes={0: "batch"})
    result = run(apply_once(program, drop_dead, torch.randn(3, 4)), [canonicalize])
    assert count(result, aten.linear.default) == count(result, aten.expand.default) == 0
    (bias,) = result.constants.values()
    assert torch.equal(bias, model.down.bias)


def test_rule_6_all_inputs_dead_is_a_constant(
    captured: Callable[..., Program], apply_once: Callable[..., Program]
) -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 3))
    nn.init.zeros_(model[0].weight)
    result = apply_once(captured(model, torch.randn(2, 4)), drop_dead, torch.randn(2, 4))
    assert not result.graph.find_nodes(op="call_function", target=aten.linear.default)


def test_known_part_of_an_otherwise_unread_tensor_is_kept(
    captured: Callable[..., Program], apply_once: Callable[..., Program]
) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        model[0].weight[0] = 0.0  # known and read
        model[1].weight[:, 1] = 0.0  # the other is unread
    result = apply_once(captured(model, torch.randn(3, 2)), drop_dead, torch.randn(3, 2))
    assert not result.graph.find_nodes(op="call_function", target=aten.linear.default)


def test_neutral_operands(
    captured: Callable[..., Program], apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    class Neutral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("zero", torch.zeros(4))
            self.register_buffer("one", torch.ones(4))
            self.register_buffer("wide", torch.zeros(5, 1, 1))

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return (
                (((x + self.zero) - self.zero) * self.one) / self.one,
                self.zero - x,
                self.one / x,
                x + self.wide,
                x + self.zero.double(),
            )

    result = apply_once(captured(Neutral(), torch.randn(2, 4)), drop_dead, torch.randn(2, 4))
    assert [
        count(result, op) for op in (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
    ] == [2, 1, 0, 1]


def test_nothing_dead_returns_the_program(prenorm_program: Program) -> None:
    program = run(prenorm_program, [canonicalize])
    assert drop_dead(program) is program
