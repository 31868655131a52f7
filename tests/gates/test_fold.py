"""After hardening the weights hold the zeros: in ``state_dict``, in eager calls, and whatever an optimiser does."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

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
    harden,
    named_gates,
)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(11, 12), nn.LayerNorm(12)
        self.up, self.down = nn.Linear(12, 16), nn.Linear(16, 6)
        self.attention = nn.MultiheadAttention(12, 3, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.norm(self.table(ids))
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.down(torch.nn.functional.gelu(self.up(x)))


GATES: dict[str, Any] = {
    "table": Feature(),
    "norm": Feature(),
    "up": (Block(4, 1), Feature()),
    "down": (Block(1, 4), Neuron(), Head(4), Layer()),
    "attention.out_proj": Block(4, 4),
}
IDS = torch.arange(20).reshape(2, 10) % 11


def random_gates(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for gate in named_gates(model).values():
            gate.log_alpha.uniform_(-5, 4)
            gate.log_alpha.view(-1)[0] = 0.5  # a layer with nothing left says little
    return model


def gated(seed: int, **given: Granularity) -> nn.Module:
    torch.manual_seed(seed)
    return random_gates(attach(Net(), given or GATES)).eval()


class GateCalls(TorchDispatchMode):
    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += str(func).startswith("l0compile.gate")
        return func(*args, **(kwargs or {}))


def gate_calls(model: nn.Module, x: Tensor) -> int:
    with torch.no_grad():
        model(x)  # the first call of a copy looks whether its weights hold their zeros
        with GateCalls() as calls:
            model(x)
    return calls.count


@settings(max_examples=20)
@given(st.integers(0, 1000), st.sampled_from(["soft", "binary"]), st.one_of(st.none(), st.floats(0.05, 1)))
def test_answers_stay_and_no_gate_is_called(seed: int, values: str, density: float | None) -> None:
    model = gated(seed)
    other = harden(copy.deepcopy(model), density, values=values, fold=False)
    harden(model, density, values=values)
    assert gate_calls(other, IDS) >= len(named_gates(model)) - 2 and gate_calls(model, IDS) == 0
    with torch.no_grad():
        torch.testing.assert_close(model(IDS), other(IDS), rtol=1e-5, atol=1e-6)
    # With gradients, where gates act again, it is the same model.
    torch.testing.assert_close(model(IDS), other(IDS), rtol=1e-5, atol=1e-6)


def test_a_model_without_gates_gets_the_zeros_from_the_state() -> None:
    model = harden(gated(0))
    plain = Net().eval()
    state = {name: value for name, value in model.state_dict().items() if ".l0_" not in name}
    assert float((state["down.weight"] == 0).float().mean()) > 0.5
    plain.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(plain(IDS), model(IDS))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        model(IDS).square().sum().backward()
        optimizer.step()


def closed(model: nn.Module) -> Iterator[Tensor]:
    for name in ("up", "down"):
        layer = model.get_submodule(name)
        mask = torch.kron(layer.l0_block.z, torch.ones(layer.l0_block.block))
        yield dense_weight(layer).detach()[mask == 0]


@pytest.mark.parametrize("training", [True, False])
def test_momentum_from_before_does_not_bring_zeros_back(training: bool) -> None:
    """Fine-tuning in either mode, with an optimiser that has seen the open gates."""
    model = gated(1).train(training)
    weights = [p for n, p in model.named_parameters() if "log_alpha" not in n]
    optimizer = torch.optim.AdamW(weights, lr=0.01)
    train(model, optimizer, 3)
    harden(model, 0.3)
    for steps in (1, 2):
        train(model, optimizer, steps)
        assert any(part.any() for part in closed(model)), "the momentum shows, else this proves nothing"
        state = model.state_dict()
        assert not any(part.any() for part in closed(model))
        plain = Net().train(training)
        plain.load_state_dict({name: value for name, value in state.items() if ".l0_" not in name})
        with torch.no_grad():
            assert torch.equal(plain(IDS), model(IDS))


def test_an_evaluation_between_forward_and_backward_is_harmless() -> None:
    model = harden(gated(2), 0.3).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    train(model, optimizer, 2)
    loss = model(IDS).square().sum()
    with torch.no_grad():
        model(IDS)
    model.state_dict()
    loss.backward()
    optimizer.step()
    model.state_dict()
    assert not any(part.any() for part in closed(model))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(11, 12), nn.Linear(12, 11, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids))


class Twice(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight, self.bias) + x.sum(-1, keepdim=True)


def observed() -> nn.Module:
    model = nn.Sequential(nn.Linear(8, 8))
    model[0].register_forward_hook(lambda module, args, output: output + 1.0)
    return model


@pytest.mark.parametrize(
    ("model", "gates", "x"),
    [
        (Tied(), {"head": Neuron()}, IDS),
        (Tied(), {"table": Feature()}, IDS),
        (nn.Sequential(Twice(8, 8)), {"0": Neuron()}, torch.randn(3, 8)),
        (observed(), {"0": Feature()}, torch.randn(3, 8)),
        (nn.Sequential(nn.Conv1d(4, 8, 3)), {"0": Layer()}, torch.randn(2, 4, 9)),
        (nn.Sequential(nn.Embedding(11, 8, max_norm=1.0)), {"0": Feature()}, IDS),
    ],
)
def test_what_cannot_be_put_into_weights_acts_as_before(model: nn.Module, gates: Any, x: Tensor) -> None:
    model = random_gates(attach(model, gates)).eval()
    with torch.no_grad():
        before = model(x)  # an embedding with max_norm changes itself here
        parameters = {name: p.detach().clone() for name, p in model.named_parameters()}
        # Close, not equal: where rounding leaves a row a little above max_norm, the next call scales it once more.
        torch.testing.assert_close(harden(model)(x), before)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), parameters[name])
    assert gate_calls(model, x) == 1


def test_states_go_to_gated_models_and_those_of_older_versions_are_read() -> None:
    model, fresh, old = harden(gated(3), 0.4), attach(Net(), GATES).eval(), attach(Net(), GATES).eval()
    fresh.load_state_dict(model.state_dict())
    unfolded = harden(gated(3), 0.4, fold=False)
    old.load_state_dict({n: v for n, v in unfolded.state_dict().items() if not n.endswith(".folded")})
    with torch.no_grad():
        assert torch.equal(fresh(IDS), model(IDS)) and torch.equal(old(IDS), unfolded(IDS))
    assert gate_calls(fresh, IDS) == 0 and gate_calls(copy.deepcopy(model), IDS) == 0


def test_parameters_that_are_lent_stay_as_they_are() -> None:
    model, others = harden(gated(5), 0.4), {n: p for n, p in gated(6).named_parameters() if "l0_" not in n}
    before = {name: parameter.detach().clone() for name, parameter in others.items()}
    unfolded = harden(gated(5), 0.4, values="binary", fold=False)
    with torch.no_grad():
        found, wanted = (torch.func.functional_call(m, others, (IDS,)) for m in (model, unfolded))
    torch.testing.assert_close(found, wanted)
    assert all(torch.equal(parameter, before[name]) for name, parameter in others.items())
    assert gate_calls(model, IDS) == 0


def test_hardening_again_closes_more_and_opens_nothing() -> None:
    model = harden(gated(4), 0.5)
    with torch.no_grad():
        weight, answer = dense_weight(model.up).clone(), model(IDS)
        with pytest.raises(
            GateError, match=r"gates would open that were closed before.*harden with fold=False"
        ):
            harden(model, 0.9)
        assert torch.equal(dense_weight(model.up), weight) and torch.equal(model(IDS), answer)
        left = int((weight != 0).sum())
        harden(model, 0.2)
        smaller = dense_weight(model.up)
        assert 0 < int((smaller != 0).sum()) < left and torch.equal(
            smaller[smaller != 0], weight[smaller != 0]
        )
        again = harden(harden(gated(4), 0.1, fold=False), 0.5)
        torch.testing.assert_close(again(IDS), answer)


def test_weights_that_are_not_finite_are_zero_where_closed() -> None:
    model = attach(nn.Sequential(nn.Linear(4, 4)), {"0": Block(1, 1)})
    with torch.no_grad():
        dense_weight(model[0])[0, 0] = torch.inf
        model[0].l0_block.log_alpha[0, 0] = -8.0
        harden(model)
        assert dense_weight(model[0])[0, 0] == 0 and model(torch.ones(1, 4)).isfinite().all()
