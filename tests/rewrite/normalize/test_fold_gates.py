"""fold_gates: fractions and zeros go into the neighbours, rows with bias on outputs, columns on inputs (rule 2)."""

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
from l0compile.rewrite.normalize.fold_gates import fold_gates
from l0compile.rewrite.pipeline import optimise
from l0compile.rewrite.runner import run

aten, gate = torch.ops.aten, torch.ops.l0compile.gate.default


class Gated(nn.Module):
    """A gate at one place of linear -> act -> linear with a residual."""

    def __init__(self, place: str, activation: str = "gelu") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.place, self.activation = place, getattr(torch.nn.functional, activation)
        self.norm, self.up, self.down = nn.LayerNorm(6), nn.Linear(6, 8), nn.Linear(8, 6)
        self.register_buffer("z", torch.tensor([1.0, 0.0, 0.25, 0.5]))

    def gated(self, place: str, x: Tensor) -> Tensor:
        width = -(-x.shape[-1] // 4)
        return torch.ops.l0compile.gate(x, self.z, [width]) if place == self.place else x

    def forward(self, x: Tensor) -> Tensor:
        h = self.gated("input", self.norm(x) if self.place == "norm" else x)
        h = self.gated("norm", h)
        h = self.gated("before", self.up(h))
        h = self.gated("after", self.activation(h))
        h = self.gated("output", self.down(h))
        return self.gated("sum", h + x)


def _build(place: str) -> Program:
    model = Gated(place).eval()
    if place not in ("before", "after"):  # 6 features in blocks of 2 instead of 8 neurons in blocks of 2
        model.z = torch.ones(3)
    return capture(model, (torch.randn(2, 3, 6),))


PROGRAMS = {place: _build(place) for place in ("input", "norm", "before", "after", "output", "sum")}


@pytest.mark.parametrize("place", ["before", "after"])
@given(values=st.lists(st.sampled_from([0.0, 1.0, 0.3, 0.77]), min_size=4, max_size=4))
@settings(max_examples=10)
def test_neuron_gates(place: str, values: list[float]) -> None:
    check(place, torch.tensor(values), PROGRAMS[place], expect_mul=0)


@pytest.mark.parametrize("place", ["input", "norm", "output", "sum"])
@given(values=st.lists(st.sampled_from([0.0, 1.0, 0.3, 0.77]), min_size=3, max_size=3))
@settings(max_examples=10)
def test_feature_gates(place: str, values: list[float]) -> None:
    everything_open = all(value == 1 for value in values)
    check(
        place, torch.tensor(values), PROGRAMS[place], expect_mul=int(place == "sum" and not everything_open)
    )


def check(place: str, z: Tensor, program: Program, expect_mul: int) -> None:
    program = replace(program, constants={**program.constants, "z": z})
    result = run(program, [fold_gates])
    x = torch.randn(2, 3, 6)
    torch.testing.assert_close(result.run(x), program.run(x), rtol=1e-5, atol=1e-5)
    for op, expected in ((gate, 0), (aten.mul.Tensor, expect_mul)):
        assert len(result.graph.find_nodes(op="call_function", target=op)) == expected
    assert run(result, [fold_gates]).history[-1].changed == 0
    torch.testing.assert_close(program.constants["z"], z, rtol=0, atol=0)


@pytest.mark.parametrize("activation", ["sigmoid", "gelu", "relu", "softplus"])
def test_rule_1_gate_before_an_activation_with_nonzero_value_at_zero(activation: str, target: Target) -> None:
    model = Gated("before", activation).eval()
    program = capture(model, (torch.randn(2, 3, 6),))
    result = optimise(program, target)
    x = torch.randn(2, 3, 6)
    torch.testing.assert_close(result.run(x), model(x), rtol=1e-5, atol=1e-5)
    up = next(region for region in result.regions if region.name == "up")
    assert up.shape_after == (6, 6)
    bias_changed = not torch.equal(
        next(v for k, v in result.constants.items() if "down.bias" in k), model.down.bias
    )
    assert bias_changed == (activation in ("sigmoid", "softplus"))


def test_a_shared_producer_keeps_its_ungated_readers(
    captured: Callable[..., Program], apply_once: Callable[..., Program], count: Callable[..., int]
) -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.register_buffer("z", torch.tensor([0.0, 1.0, 0.5, 1.0]))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.linear(x)
            return h, torch.ops.l0compile.gate(h, self.z, [1])

    result = apply_once(captured(Shared(), torch.randn(2, 4)), fold_gates, torch.randn(2, 4))
    assert count(result, gate) == 0 and count(result, aten.mul.Tensor) == 1


def test_a_gate_that_depends_on_the_input_stays(
    captured: Callable[..., Program], count: Callable[..., int]
) -> None:
    class Dynamic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ops.l0compile.gate(x, x[0], [1])

    program = captured(Dynamic(), torch.randn(2, 4))
    assert fold_gates(program) is program and count(program, gate) == 1


def test_rule_8_tied_weights_are_copied(
    captured: Callable[..., Program], apply_once: Callable[..., Program]
) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.register_buffer("z", torch.tensor([0.0, 1.0, 0.5, 1.0]))

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(torch.ops.l0compile.gate(self.linear(x).relu(), self.z, [1]))

    program = captured(Tied(), torch.randn(2, 4))
    result = apply_once(program, fold_gates, torch.randn(2, 4))
    weights = {
        str(n.args[1].target) for n in result.graph.find_nodes(op="call_function", target=aten.linear.default)
    }
    assert len(weights) == 2 and torch.equal(
        result.constants["linear.weight"], program.constants["linear.weight"]
    )
