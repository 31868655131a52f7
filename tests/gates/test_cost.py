"""Expected cost of nested gates against brute force over masks."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from l0compile.errors import GateError
from l0compile.gates import Block, Feature, Head, Layer, Neuron, attach, named_gates
from l0compile.gates.cost import cost_items, expected_densities, expected_density
from l0compile.gates.gate import Gate


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(3, 4), nn.Linear(4, 3)
        self.norm = nn.LayerNorm(3)


def with_probabilities(model: nn.Module, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    for gate in named_gates(model).values():
        nn.init.uniform_(gate.log_alpha, -4, 2)
    return model


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 1000))
def test_expectation_multiplies_nested_gates(rows: int, cols: int, seed: int) -> None:
    model = with_probabilities(
        attach(Pair(), {"down": (Block(rows, cols), Head(2), Feature(), Layer())}), seed
    )
    gates = named_gates(model)
    p = {name.rpartition("_")[2]: gate.open_probability() for name, gate in gates.items()}
    weight = torch.kron(p["block"], torch.ones(rows, cols))[:3, :4]
    expected = (weight * p["feature"][:, None] * p["head"].repeat_interleave(2)).mean() * p["layer"]
    (item,) = cost_items(model)
    torch.testing.assert_close(expected_density([item], Gate.open_probability), expected.squeeze())


def test_expectation_is_the_mean_over_all_masks() -> None:
    model = with_probabilities(attach(Pair(), {"down": (Block(3, 2), Head(2))}), 1)
    block, head = (named_gates(model)[f"down.l0_{kind}"] for kind in ("block", "head"))
    p = torch.cat([gate.open_probability().reshape(-1) for gate in (block, head)])
    total = torch.zeros(())
    for mask in product([0.0, 1.0], repeat=4):
        m = torch.tensor(mask)
        chance = torch.where(m > 0, p, 1 - p).prod()
        total = total + chance * (m[:2] * m[2:]).mean()
    torch.testing.assert_close(expected_density(cost_items(model), Gate.open_probability), total)


def test_feeds_charge_producer_rows_to_the_consumers_input_gates() -> None:
    model = with_probabilities(attach(nn.ModuleDict({"a": Pair(), "b": Pair()}), {"*.down": Neuron()}), 2)
    items = cost_items(model, feeds={"*.up": "*.down"})
    assert [item.name for item in items] == ["a.up", "a.down", "b.up", "b.down"]
    for item, density in zip(items, expected_densities(items, Gate.open_probability), strict=True):
        gate = named_gates(model)[f"{item.name[0]}.down.l0_neuron"]
        torch.testing.assert_close(density, gate.open_probability().mean())


def test_layer_gate_governs_the_linears_inside_and_bare_gates_count_features() -> None:
    model = with_probabilities(attach(nn.ModuleDict({"a": Pair()}), {"a": Layer(), "a.norm": Feature()}), 3)
    items = {item.name: item for item in cost_items(model)}
    assert {name: item.dense for name, item in items.items()} == {"a.up": 12.0, "a.down": 12.0, "a.norm": 3.0}


def test_measured_costs_weight_the_mean() -> None:
    model = with_probabilities(attach(Pair(), {"up": Neuron(), "down": Neuron()}), 4)
    items = cost_items(model, {"up": 3.0, "d*": 1.0})
    up, down = (named_gates(model)[f"{name}.l0_neuron"].open_probability().mean() for name in ("up", "down"))
    torch.testing.assert_close(expected_density(items, Gate.open_probability), (3 * up + down) / 4)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"cost": {"up": 1.0}}, r"none for \['down'\]"),
        ({"cost": {"*": 0.0}}, "non-negative cost"),
        ({"feeds": {"u": "down"}}, "matches no module"),
        ({"feeds": {"up": "dwn"}}, "does not exist"),
        ({"feeds": {"up": "norm"}}, "expected an nn.Linear with 4 inputs"),
        ({"feeds": {"up": "*"}}, "no more of them on the right"),
    ],
)
def test_misfits(arguments: dict[str, dict[str, object]], text: str) -> None:
    model = attach(Pair(), {"up": Neuron(), "down": Neuron()})
    with pytest.raises(GateError, match=text):
        cost_items(model, **arguments)


def test_a_model_without_gates_is_refused() -> None:
    with pytest.raises(GateError, match="call attach first"):
        cost_items(Pair())
