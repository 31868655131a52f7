"""Where gates go, what they multiply, and what is refused."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from l0compile.errors import GateError
from l0compile.gates import (
    Block,
    Feature,
    Granularity,
    Head,
    Layer,
    Neuron,
    attach,
    dense_weight,
    named_gates,
)


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 8)
        self.down = nn.Linear(8, 6)
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.down(torch.relu(self.up(x))))


def set_values(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Harden every gate to random values with zeros, and return them."""
    torch.manual_seed(seed)
    for gate in named_gates(model).values():
        gate.set_constant(torch.rand_like(gate.z) * (torch.rand_like(gate.z) > 0.4), gate.record)
    return {name: gate.z for name, gate in named_gates(model).items()}


def test_of_what_a_wide_pattern_matches_the_linear_layers_get_the_gates() -> None:
    model = nn.Sequential(Mlp(), nn.Sequential(Mlp()))
    attach(model, {"*": Block(4, 1)})
    assert sorted(named_gates(model)) == [
        "0.down.l0_block", "0.up.l0_block", "1.0.down.l0_block", "1.0.up.l0_block",
    ]  # fmt: skip
    with pytest.raises(GateError, match="expected a head count that divides 8"):
        attach(model, {"*.down": Head(3)})  # a linear layer that does not fit is not passed over
    with pytest.raises(GateError, match=r"gates the input of an nn\.Linear, got LayerNorm"):
        attach(model, {"*.norm": Neuron()})


def test_attach_returns_the_model_and_leaves_its_output() -> None:
    model = Mlp().eval()
    x = torch.randn(3, 6)
    before = model(x)
    assert (
        attach(
            model,
            {"up": (Block(4, 1), Feature()), "down": [Block(2, 3), Neuron()], "norm": Feature(), "": Layer()},
        )
        is model
    )
    assert torch.equal(model(x), before)
    assert sorted(named_gates(model)) == [
        "down.l0_block",
        "down.l0_neuron",
        "l0_layer",
        "norm.l0_feature",
        "up.l0_block",
        "up.l0_feature",
    ]


REFERENCES: list[tuple[Granularity, tuple[int, ...], Callable[[nn.Linear, Tensor, Tensor], Tensor]]] = [
    (
        Block(4, 1),
        (2, 8),
        lambda m, z, x: nn.functional.linear(
            x, dense_weight(m) * torch.kron(z, torch.ones(4, 1))[:6], m.bias
        ),
    ),
    (
        Block(3, 4),
        (2, 2),
        lambda m, z, x: nn.functional.linear(x, dense_weight(m) * torch.kron(z, torch.ones(3, 4)), m.bias),
    ),
    (
        Head(4),
        (4,),
        lambda m, z, x: nn.functional.linear(x * z.repeat_interleave(2), dense_weight(m), m.bias),
    ),
    (Neuron(), (8,), lambda m, z, x: nn.functional.linear(x * z, dense_weight(m), m.bias)),
    (Feature(), (6,), lambda m, z, x: nn.functional.linear(x, dense_weight(m), m.bias) * z),
    (Layer(), (1,), lambda m, z, x: nn.functional.linear(x, dense_weight(m), m.bias) * z),
]


@pytest.mark.parametrize(
    ("granularity", "grid", "reference"), REFERENCES, ids=[str(r[0]) for r in REFERENCES]
)
def test_each_granularity_multiplies_what_it_says(
    granularity: Granularity, grid: tuple[int, ...], reference: Callable[[nn.Linear, Tensor, Tensor], Tensor]
) -> None:
    model = attach(nn.ModuleDict({"fc": nn.Linear(8, 6)}), {"fc": granularity})
    (z,) = set_values(model).values()
    x = torch.randn(2, 5, 8)
    assert tuple(z.shape) == grid
    torch.testing.assert_close(model["fc"](x), reference(model["fc"], z, x))


@pytest.mark.parametrize(
    "pair",
    [
        (Block(4, 1), Neuron()),
        (Block(2, 2), Head(4)),
        (Block(2, 4), Head(4)),
        (Block(4, 3), Neuron(), Head(2)),
    ],
)
def test_training_folds_input_gates_into_the_weight_with_the_same_result(
    pair: tuple[Granularity, ...],
) -> None:
    model = attach(nn.Sequential(nn.Linear(8, 6)), {"0": pair})
    set_values(model)
    x = torch.randn(7, 8)
    torch.testing.assert_close(model.train()(x), model.eval()(x))


def test_training_samples_once_a_call_for_the_whole_batch_and_evaluation_does_not() -> None:
    model = attach(nn.Sequential(nn.Linear(16, 16)), {"0": (Block(1, 1), Neuron())}, init=0.5).train()
    row = torch.randn(1, 16)
    batch = model(row.expand(9, -1))
    assert torch.allclose(batch, batch[:1].expand_as(batch))
    assert not torch.equal(model(row), model(row))
    model.eval()
    assert torch.equal(model(row), model(row))


def test_gradients_reach_weights_and_every_gate() -> None:
    model = attach(Mlp(), {"up": Block(4, 1), "down": (Block(4, 1), Neuron()), "norm": Feature()}, init=0.6)
    model(torch.randn(64, 6)).square().sum().backward()
    for name, gate in named_gates(model).items():
        assert gate.log_alpha.grad is not None and gate.log_alpha.grad.abs().sum() > 0, name
    assert dense_weight(model.up).grad.abs().sum() > 0


def test_parameter_names_stay_and_copies_are_independent() -> None:
    plain = Mlp()
    model = attach(copy.deepcopy(plain), {"*": Layer(), "up": Block(4, 1)})
    assert set(plain.state_dict()) <= set(model.state_dict())
    model.load_state_dict(plain.state_dict(), strict=False)
    twin = copy.deepcopy(model).eval()
    with torch.no_grad():
        named_gates(twin)["up.l0_block"].log_alpha.fill_(-8)
    x = torch.randn(2, 6)
    torch.testing.assert_close(model.eval()(x), plain(x))
    assert not torch.allclose(twin(x), plain(x))


def test_multihead_attention_sees_block_gates_and_refuses_others() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(1, 3, 8)
    with pytest.raises(GateError, match="never calls"):
        attach(attention, {"out_proj": Head(2)})
    before = attention(x, x, x)[0]
    attach(attention, {"out_proj": Block(1, 1)})
    for gate in named_gates(attention).values():
        gate.set_constant(torch.zeros_like(gate.z), gate.record)
    after = attention(x, x, x)[0]
    assert not torch.allclose(before, after) and torch.allclose(
        after, attention.out_proj.bias.expand_as(after)
    )


def test_encoder_layer_fast_path_does_not_skip_gates() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    attach(layer, {"linear2": (Neuron(), Block(4, 1))})
    set_values(layer)
    x = torch.randn(2, 3, 8)
    with torch.no_grad():
        fast = layer(x)
    torch.testing.assert_close(fast, layer(x.requires_grad_()).detach())


def test_tuple_outputs_are_gated_in_their_first_element() -> None:
    gru = attach(nn.GRU(3, 4, batch_first=True), {"": Layer()}).eval()
    named_gates(gru)["l0_layer"].set_constant(torch.tensor([0.5]), torch.zeros(5))
    plain = nn.GRU(3, 4, batch_first=True)
    plain.load_state_dict(gru.state_dict(), strict=False)
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(gru(x)[0], plain(x)[0] * 0.5)
    torch.testing.assert_close(gru(x)[1], plain(x)[1])


@pytest.mark.parametrize(
    ("gates", "text"),
    [
        ({"donw": Neuron()}, "matches no module; near matches: down"),
        ({"norm": Block(4, 1)}, "nn.Linear, got LayerNorm"),
        ({"norm": Neuron()}, "nn.Linear, got LayerNorm"),
        ({"down": Head(3)}, "divides 8 input features, got 3"),
        ({"down": Block(0, 1)}, "positive block edges"),
        ({"down": (Neuron(), Neuron())}, "second Neuron"),
        ({"down": Neuron(), "d*": Neuron()}, "second Neuron"),
        ({"down": Neuron}, "expected a granularity such as"),
        ({"": Feature()}, r"write Feature\(width=...\)"),
        ({"norm": Feature(7)}, "is 6, got"),
    ],
)
def test_misfits_are_refused_and_change_nothing(gates: dict[str, Granularity], text: str) -> None:
    model = Mlp()
    with pytest.raises(GateError, match=text):
        attach(model, {"up": Neuron()} | gates)
    assert named_gates(model) == {} and type(model.up) is nn.Linear


def test_second_attach_of_the_same_gate_is_refused_but_another_kind_is_not() -> None:
    model = attach(Mlp(), {"down": Neuron()})
    with pytest.raises(GateError, match="already has a Neuron gate"):
        attach(model, {"down": Neuron()})
    attach(model, {"down": Block(4, 1)})
    assert len(named_gates(model)) == 2


def test_containers_and_init_range_are_refused() -> None:
    with pytest.raises(GateError, match="run the gate as one of its members"):
        attach(nn.Sequential(nn.Linear(2, 2)), {"": Layer()})
    with pytest.raises(GateError, match="between 0 and 1"):
        attach(Mlp(), {"up": Neuron()}, init=1.0)
