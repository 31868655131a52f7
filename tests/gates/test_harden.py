"""Hardening: exact counts, exact zeros, and fine-tuning under a frozen mask."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from l0compile.errors import GateError
from l0compile.gates import (
    Block,
    Budget,
    HardenRecord,
    Head,
    Neuron,
    attach,
    dense_weight,
    harden,
    hardening,
    named_gates,
    unhardened,
)
from l0compile.gates.hard_concrete import median, open_probability


def random_model(seed: int, *, ties: bool = False) -> nn.Sequential:
    torch.manual_seed(seed)
    model = attach(
        nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 6)),
        {"0": Block(4, 1), "2": (Block(1, 2), Neuron())},
    )
    with torch.no_grad():
        for gate in named_gates(model).values():
            gate.log_alpha.uniform_(-6, 4)
            if ties:
                gate.log_alpha.round_()
    return model


def live_fraction(model: nn.Sequential) -> float:
    """Count of weights that any open combination of gates leaves, by evaluating masks on ones."""
    live = 0
    for layer in (model[0], model[2]):
        mask = torch.kron(layer.l0_block.z, torch.ones(layer.l0_block.block))[
            : layer.out_features, : layer.in_features
        ]
        for gate in [child for name, child in layer.named_children() if name == "l0_neuron"]:
            mask = mask * gate.z
        live += int((mask != 0).sum())
    return live / (120 + 60)


def test_median_rule_is_the_default() -> None:
    model = random_model(0)
    assert hardening(model) is None and len(unhardened(model)) == 3
    x = torch.randn(5, 12)
    before = model.eval()(x)
    assert harden(model, fold=False) is model
    assert torch.equal(model(x), before) and torch.equal(model.train()(x), model(x))
    for gate in named_gates(model).values():
        assert torch.equal(gate.z, median(gate.log_alpha)) and torch.equal(
            gate.z > 0, open_probability(gate.log_alpha) > 0.5
        )
    record = hardening(model)
    assert (
        record == HardenRecord("median", "global", "soft", None, record.density) and unhardened(model) == ()
    )
    assert record.density == pytest.approx(live_fraction(model), abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 1), st.integers(0, 50), st.booleans(), st.sampled_from(["soft", "binary"]))
def test_global_top_k_is_the_largest_set_within_the_density(
    density: float, seed: int, ties: bool, values: str
) -> None:
    model = harden(random_model(seed, ties=ties), density, values=values)
    achieved = live_fraction(model)
    record = hardening(model)
    assert achieved <= density + 1e-5 and record.density == pytest.approx(achieved, abs=1e-6)
    gates = list(named_gates(model).values())
    alpha, z = (
        torch.cat([t.flatten() for t in ts]) for ts in ([g.log_alpha for g in gates], [g.z for g in gates])
    )
    if (z == 0).any() and (z > 0).any():
        assert alpha[z > 0].min() >= alpha[z == 0].max()
    if not ties and (z == 0).any():
        # One more gate, the best of those closed, would exceed the density.
        best = max((float(g.log_alpha[g.z == 0].max()), g) for g in gates if (g.z == 0).any())
        best[1].z[best[1].log_alpha == best[0]] = 1.0
        assert live_fraction(model) > density


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 1), st.integers(0, 50))
def test_group_scope_hits_every_count(density: float, seed: int) -> None:
    model = harden(random_model(seed, ties=True), density, scope="group", values="binary")
    for gate in named_gates(model).values():
        assert gate.z.sum() == round(density * gate.z.numel()) and set(gate.z.unique().tolist()) <= {0.0, 1.0}


def test_budget_gives_its_goal_or_the_expected_count_of_each_group() -> None:
    model = random_model(1)
    budget = Budget(model, 0.2, 10)
    counts = [round(float(gate.open_probability().sum().detach())) for gate in named_gates(model).values()]
    harden(model, budget, fold=False)
    assert hardening(model).requested == 0.2 and 0.17 < live_fraction(model) <= 0.2 + 1e-6
    harden(model, budget, scope="group")
    assert [int((gate.z > 0).sum()) for gate in named_gates(model).values()] == counts


def test_kept_gates_are_never_zero_even_below_their_median() -> None:
    model = attach(nn.Sequential(nn.Linear(8, 8)), {"0": Head(8)})
    gate = model[0].l0_head
    nn.init.constant_(gate.log_alpha, -7.0)
    harden(model, 0.5)
    assert (gate.z > 0).tolist() == [True] * 4 + [False] * 4


def test_fine_tuning_moves_only_kept_weights_and_no_gate() -> None:
    model = harden(random_model(2), 0.4).train()
    weights = [dense_weight(layer).detach().clone() for layer in (model[0], model[2])]
    z = [gate.z.clone() for gate in named_gates(model).values()]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(32, 12)).square().sum().backward()
        optimizer.step()
    assert all(torch.equal(a, gate.z) for a, gate in zip(z, named_gates(model).values(), strict=True))
    for layer, before in zip((model[0], model[2]), weights, strict=True):
        moved = dense_weight(layer).detach() != before
        closed = (
            torch.kron(layer.l0_block.z, torch.ones(layer.l0_block.block))[
                : layer.out_features, : layer.in_features
            ]
            == 0
        )
        assert moved.any() and not (moved & closed).any()


@pytest.mark.parametrize("arguments", [{"density": 1.5}, {"scope": "all"}, {"values": "hard"}])
def test_arguments_out_of_range(arguments: dict[str, object]) -> None:
    with pytest.raises(GateError, match="harden: expected"):
        harden(random_model(0), **arguments)


def test_no_gates() -> None:
    with pytest.raises(GateError, match="call attach first"):
        harden(nn.Linear(2, 2))
    assert hardening(nn.Linear(2, 2)) is None
