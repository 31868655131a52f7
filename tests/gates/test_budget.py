"""The budget reaches its density on small problems, and its pieces do what they say."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from l0compile.errors import GateError
from l0compile.gates import Block, Budget, Feature, Head, Neuron, attach, harden, hardening, named_gates
from l0compile.gates.hard_concrete import LOG_ALPHA_BOUND


def regression(goal: float, steps: int, scale: float = 1.0, **options: object) -> tuple[nn.Module, Budget]:
    """Train a gated linear map whose true weight uses 30 % of the inputs, with a loss of any scale."""
    torch.manual_seed(0)
    truth = torch.randn(16, 40) * (torch.arange(40) < 12)
    model = attach(nn.Sequential(nn.Linear(40, 16)), {"0": (Block(4, 1), Neuron())}).train()
    budget = Budget(model, goal, steps, **options)
    optimizer = torch.optim.Adam(
        [{"params": [model[0]._parameters["weight"], model[0].bias]}, budget.param_group()], lr=0.02
    )
    for _ in range(steps):
        x = torch.randn(64, 40)
        loss = scale * (model(x) - x @ truth.t()).square().mean()
        optimizer.zero_grad()
        (loss + budget.penalty()).backward()
        optimizer.step()
        budget.step()
    return model, budget


@pytest.mark.parametrize("goal", [0.3, 0.1])
@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_dual_ascent_reaches_the_goal_whatever_the_scale_of_the_loss(goal: float, scale: float) -> None:
    _, budget = regression(goal, 400, scale)
    assert budget.target == pytest.approx(goal)
    assert budget.density == pytest.approx(goal, abs=0.05)


def test_the_right_inputs_survive() -> None:
    model, budget = regression(0.3, 600)
    harden(model, budget)
    x = torch.randn(256, 40)
    with torch.no_grad():
        relevant = model.eval()(x * (torch.arange(40) < 12))
    assert hardening(model).density == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(relevant, model(x), atol=0.05, rtol=0.05)


def test_an_inactive_constraint_costs_nothing() -> None:
    _, budget = regression(1.0, 20)
    assert budget.multiplier == 0.0 and budget.penalty().item() == 0.0


def test_multiplier_restarts_when_satisfied_and_target_ramps() -> None:
    model = attach(nn.Sequential(nn.Linear(8, 8)), {"0": Neuron()})
    budget = Budget(model, 0.5, 10, warmup=0.5, dual_lr=2.0)
    assert budget.target == pytest.approx(0.97)
    targets = []
    for _ in range(6):
        budget.step()
        targets.append(budget.target)
    assert targets == pytest.approx([0.876, 0.782, 0.688, 0.594, 0.5, 0.5])
    expected = 0.0
    for violation in [0.0, 0.094, 0.188, 0.282, 0.376, 0.47]:
        expected = expected * (1 + min(violation, 0.05)) + 2.0 * violation
    assert budget.multiplier == pytest.approx(expected, rel=1e-3)
    with torch.no_grad():
        named_gates(model)["0.l0_neuron"].log_alpha.fill_(-20.0)
    budget.step()
    assert budget.multiplier == 0.0
    assert named_gates(model)["0.l0_neuron"].log_alpha.min() == -LOG_ALPHA_BOUND


def test_annealed_schedule() -> None:
    model = attach(nn.Sequential(nn.Linear(8, 8)), {"0": Feature()}, init=0.8)
    budget = Budget(model, 0.5, 100, schedule="anneal", strength=3.0)
    seen = []
    for _ in range(100):
        seen.append(budget.penalty().item() / budget.density)
        budget.step()
    assert (
        seen[:11] == [0.0] * 11 and seen[35] == pytest.approx(1.5) and seen[60:] == pytest.approx([3.0] * 40)
    )
    assert seen == sorted(seen)


def test_penalty_gradient_is_the_derivative_of_the_density() -> None:
    model = attach(nn.Sequential(nn.Linear(6, 5)), {"0": (Block(2, 4), Head(3), Feature())}, init=0.7)
    budget = Budget(model, 0.1, 10, warmup=0.0)
    budget.multiplier = 1.0
    budget.penalty().backward()
    for gate in named_gates(model).values():
        index = (0,) * gate.log_alpha.ndim
        gradient, before = gate.log_alpha.grad[index].item(), budget.density
        with torch.no_grad():
            gate.log_alpha[index] += 0.05
        assert (budget.density - before) / 0.05 == pytest.approx(gradient, rel=0.05)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([(Neuron(),), (Feature(),), (Head(2),), (Block(2, 4), Neuron())]),
    st.sampled_from(["dual", "anneal"]),
    st.floats(0, 50),
    st.booleans(),
    st.integers(0, 999),
)
def test_backward_adds_the_gradients_of_the_penalty(
    gates: tuple[Block | Feature | Head | Neuron, ...],
    schedule: str,
    multiplier: float,
    before: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    model = attach(nn.Sequential(nn.Linear(6, 5)), {"0": gates})
    budget = Budget(model, 0.1, 10, warmup=0.0, schedule=schedule)  # type: ignore[arg-type]
    budget.multiplier, budget.done = multiplier, seed % 10
    alphas = list(budget.parameters())
    found: list[list[torch.Tensor]] = []
    densities: list[float] = []
    for alpha in alphas:
        nn.init.uniform_(alpha, -8, 8)
    start = [torch.randn_like(alpha) if before else None for alpha in alphas]
    for quick in (False, True):
        for alpha, gradient in zip(alphas, start, strict=True):
            alpha.grad = None if gradient is None else gradient.clone()
        budget.backward() if quick else budget.penalty().backward()
        found.append([alpha.grad for alpha in alphas if alpha.grad is not None])
        assert budget._latest is not None
        densities.append(float(budget._latest))
    assert len(found[0]) == len(found[1]) == len(alphas)
    torch.testing.assert_close(found[1], found[0])
    assert densities[1] == pytest.approx(densities[0], rel=1e-5)


def test_backward_of_hardened_or_frozen_gates_changes_no_gradient() -> None:
    model = attach(nn.Sequential(nn.Linear(6, 5)), {"0": Neuron()})
    budget, alpha = Budget(model, 0.5, 10), named_gates(model)["0.l0_neuron"].log_alpha
    budget.multiplier = 1.0
    alpha.requires_grad_(False)
    budget.backward()
    assert alpha.grad is None
    harden(model, budget)
    budget.backward()
    assert alpha.grad is None


def test_hardened_gates_leave_the_optimiser_and_a_constant_penalty() -> None:
    model = attach(nn.Sequential(nn.Linear(8, 8)), {"0": Block(2, 2)})
    budget = Budget(model, 0.5, 10)
    assert len(list(budget.parameters())) == 1
    harden(model, budget)
    budget.step()
    assert list(budget.parameters()) == [] and not budget.penalty().requires_grad
    assert budget.density == pytest.approx(0.5)


@pytest.mark.parametrize(
    "arguments", [(0.0, 10), (1.5, 10), (0.5, 0), (0.5, 10, {"warmup": 2.0}), (0.5, 10, {"schedule": "x"})]
)
def test_arguments_out_of_range(arguments: tuple[float, int] | tuple[float, int, dict[str, object]]) -> None:
    density, steps, *options = arguments
    model = attach(nn.Sequential(nn.Linear(2, 2)), {"0": Neuron()})
    with pytest.raises(GateError, match="Budget: expected density"):
        Budget(model, density, steps, **(options[0] if options else {}))


CURVE = [(0.0, 0.0), (0.25, 2.0), (0.5, 3.0), (1.0, 4.0)]


def two_layers() -> nn.Module:
    return attach(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), {"[01]": Block(2, 2)}, init=0.5)


@pytest.mark.parametrize("open_share, cost", [(0.0, 0.0), (0.25, 2.0), (0.375, 2.5), (0.75, 3.5), (1.0, 4.0)])
def test_a_curve_is_followed_between_its_points(open_share: float, cost: float) -> None:
    model = attach(nn.Sequential(nn.Linear(8, 8)), {"0": Block(2, 2)})
    budget = Budget(model, 1.0, 1, cost={"0": CURVE})
    with torch.no_grad():
        alpha = named_gates(model)["0.l0_block"].log_alpha.view(-1)
        alpha.fill_(-LOG_ALPHA_BOUND)
        alpha[: round(16 * open_share)] = LOG_ALPHA_BOUND
    harden(model, values="binary")
    assert 4.0 * budget.density == pytest.approx(cost, abs=1e-5)


def test_the_price_of_a_gate_is_the_slope_where_its_layer_stands() -> None:
    # At half the blocks the first layer is on its steep part and the second one costs in proportion.
    model = two_layers()
    budget = Budget(model, 0.1, 10, cost={"0": [(0.0, 0.0), (0.6, 3.0), (1.0, 3.4)], "1": 2.0}, warmup=0.0)
    budget.multiplier = 1.0
    budget.penalty().backward()
    steep, even = (named_gates(model)[f"{i}.l0_block"].log_alpha.grad for i in (0, 1))
    assert torch.allclose(steep, even * (3.0 / 0.6) / 2.0, rtol=1e-4)


def test_a_budget_within_a_limit_in_the_unit_of_the_costs() -> None:
    model = two_layers()
    budget = Budget.within(model, 3.0, 10, cost={"*": CURVE})
    assert budget.goal == pytest.approx(3.0 / 8.0)
    assert Budget.within(model, 9.0, 10, cost={"*": CURVE}).goal == 1.0
    harden(model, budget, values="binary")
    assert 8.0 * budget.density == pytest.approx(3.0, abs=0.3) and 8.0 * budget.density <= 3.0
    with pytest.raises(GateError, match="limit: expected more than 0, got 0"):
        Budget.within(model, 0, 10, cost={"*": CURVE})


@pytest.mark.parametrize(
    "cost",
    [
        [(0.5, 1.0)],
        [(0.5, 1.0), (0.4, 1.0), (1.0, 2.0)],
        [(1.0, -1.0)],
        [],
        [(0.0, 1.0), (1.0, float("nan"))],
    ],
)
def test_a_malformed_curve(cost: list[tuple[float, float]]) -> None:
    with pytest.raises(GateError, match=r"cost of '\*': expected a number, or points"):
        Budget(two_layers(), 0.5, 1, cost={"*": cost})


def test_the_parameters_are_split_for_an_optimiser() -> None:
    model = attach(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)), {"0": Block(2, 1)})
    model[1].bias.requires_grad_(False)
    budget = Budget(model, 0.5, 10)
    optimizer = torch.optim.AdamW(budget.split(model), lr=1e-4, weight_decay=0.1)
    weights, gates = optimizer.param_groups
    named = dict(model.named_parameters())
    trained = [named[name] for name in ("0.weight", "0.bias", "1.weight", "2.weight", "2.bias")]
    assert [id(p) for p in weights["params"]] == [id(p) for p in trained]
    assert [id(p) for p in gates["params"]] == [id(model[0].l0_block.log_alpha)]
    assert (weights["lr"], weights["weight_decay"], gates["lr"], gates["weight_decay"]) == (
        1e-4,
        0.1,
        0.1,
        0.0,
    )
    harden(model, budget)
    again = budget.split(model)
    assert len(again[0]["params"]) == 5 and again[1]["params"] == []
