"""Floors: a share of a module's gates stays open whatever the rule, and hardening can be limited to some modules."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from l0compile.errors import GateError
from l0compile.gates import Feature, Floor, Neuron, attach, harden, hardening, named_gates, unhardened
from l0compile.gates.hard_concrete import OPEN_AT


def model(seed: int = 0, shift: float = 0.0) -> nn.Sequential:
    torch.manual_seed(seed)
    made = attach(
        nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 8)),
        {"0": Feature(), "2": (Neuron(), Feature())},
    )
    with torch.no_grad():
        for name, gate in named_gates(made).items():
            gate.log_alpha.uniform_(-4, 4).add_(shift if name.startswith("2.l0_feature") else 0.0)
    return made


def open_of(made: nn.Module) -> dict[str, int]:
    return {name: int(gate.z.ne(0).sum()) for name, gate in named_gates(made).items()}


@given(
    st.integers(0, 5),
    st.sampled_from([None, 0.3, 0.6]),
    st.sampled_from(["global", "group"]),
    st.floats(0, 0.5),
)
def test_every_rule_keeps_the_floor(seed: int, density: float | None, scope: str, share: float) -> None:
    made = harden(model(seed, shift=-20.0), density, scope=scope, floors={"2": share})  # type: ignore[arg-type]
    found = open_of(made)
    assert found["2.l0_feature"] >= share * 8 - 1e-6 and found["2.l0_neuron"] >= share * 10 - 1e-6
    record = hardening(made)
    assert record is not None
    if density is not None and scope == "global":
        assert record.density <= density + 1e-6


def test_the_best_gates_make_up_the_floor_and_keep_their_values() -> None:
    made = model(shift=-6.0)
    gate = named_gates(made)["2.l0_feature"]
    harden(made, 0.3, floors={"2": 0.5}, fold=False)
    kept, closed = gate.z != 0, gate.z == 0
    assert int(kept.sum()) == 4 and gate.log_alpha[kept].min() >= gate.log_alpha[closed].max()
    assert (gate.z[kept] < 1).any()  # not lifted to 1: the trained value


def test_without_a_floor_nothing_changes() -> None:
    plain, other = harden(model(), 0.4), harden(model(), 0.4, floors={"2": 0.0})
    assert open_of(plain) == open_of(other)


def test_floors_that_cost_more_than_the_density_are_refused() -> None:
    with pytest.raises(GateError, match="lower the floors or ask for a higher density"):
        harden(model(), 0.1, floors={"*": 0.9})


@pytest.mark.parametrize("floors", [{"1": 0.5}, {"2": 1.5}, {"2": -0.1}])
def test_wrong_floors_are_named(floors: dict[str, float]) -> None:
    for call in (lambda made: harden(made, 0.5, floors=floors), lambda made: Floor(made, floors)):
        made = model()
        with pytest.raises(GateError, match="floors: "):
            call(made)
        assert unhardened(made)


def test_a_floor_holds_while_everything_else_closes() -> None:
    made = model()
    floor = Floor(made, {"2": 0.35})
    for _ in range(3):
        with torch.no_grad():
            for gate in named_gates(made).values():
                gate.log_alpha.sub_(3.0)
        floor.step()
    opened = {name: int((gate.log_alpha >= OPEN_AT).sum()) for name, gate in named_gates(made).items()}
    assert opened == {"0.l0_feature": 0, "2.l0_neuron": 4, "2.l0_feature": 3}


def test_only_some_modules_are_hardened_and_those_before_stay() -> None:
    made = model()
    harden(made, 0.8, only="0")
    first = open_of(made)["0.l0_feature"]
    assert unhardened(made) == ("2.l0_neuron", "2.l0_feature")
    with torch.no_grad():
        for gate in named_gates(made).values():
            gate.log_alpha.fill_(1.0)  # would open every gate of 0 again
    harden(made, 0.3, only="2")
    assert not unhardened(made) and open_of(made)["0.l0_feature"] == first
    record = hardening(made)
    assert record is not None
    with pytest.raises(GateError, match="matches no module with gates"):
        harden(model(), 0.5, only="1")
