"""compile, call, save, load on real models: the answers are the model's own."""

import threading
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import l0compile as l0
from l0compile.errors import InputError, RewriteError


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(24, 64), nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(F.relu(self.up(x)))


@pytest.fixture(scope="module")
def gated() -> nn.Module:
    """An MLP with three quarters of its neurons gated away and blocks pruned in what is left."""
    torch.manual_seed(0)
    model = Mlp()
    l0.attach(model, {"up": l0.Block(4, 1), "down": l0.Neuron()})
    with torch.no_grad():
        for parameter in (p for n, p in model.named_parameters() if "log_alpha" in n):
            parameter.copy_(torch.randn_like(parameter) * 3)
    return l0.harden(model, 0.25).eval()


@pytest.fixture(scope="module")
def compiled(gated: nn.Module) -> l0.CompiledModel:
    return l0.compile(gated, (torch.randn(3, 24),), dynamic_shapes={"x": {0: "batch"}}, engine="tvm")


@pytest.mark.parametrize("batch", [1, 2, 64, 65, 200])
def test_equals_the_gated_model(gated: nn.Module, compiled: l0.CompiledModel, batch: int) -> None:
    x = torch.randn(batch, 24)
    torch.testing.assert_close(compiled(x), gated(x).detach(), rtol=2e-5, atol=2e-5)


def test_explains_itself(compiled: l0.CompiledModel) -> None:
    explanation = compiled.explain()
    assert {r.name for r in explanation.regions} == {"up", "down"}
    up = next(r for r in explanation.regions if r.name == "up")
    assert up.shape_before == (64, 24) and up.shape_after[0] < 64
    assert explanation.verification["checked"] and explanation.verification["max_difference"] < 2e-5
    assert "checked: compiled = gated" in str(explanation)
    assert type(explanation).from_json(explanation.to_json()) == explanation


def test_save_and_load(compiled: l0.CompiledModel, tmp_path: Path) -> None:
    compiled.save(tmp_path / "model")
    loaded = l0.load(tmp_path / "model")
    x = torch.randn(5, 24)
    assert torch.equal(loaded(x), compiled(x))
    assert loaded.explain() == compiled.explain()
    assert loaded.manifest["gate_rule"] is not None
    with pytest.raises(InputError, match="expected dtype float32"):
        loaded(x.double())


def test_unaligned_and_strided_inputs(gated: nn.Module, compiled: l0.CompiledModel) -> None:
    storage = torch.randn(4 * 24 + 1)
    x = storage[1:].reshape(4, 24)
    assert x.data_ptr() % 64
    torch.testing.assert_close(compiled(x), gated(x).detach(), rtol=2e-5, atol=2e-5)
    y = torch.randn(24, 6).t()
    torch.testing.assert_close(compiled(y), gated(y).detach(), rtol=2e-5, atol=2e-5)


def test_threads_get_their_own_answers(compiled: l0.CompiledModel) -> None:
    inputs = [torch.randn(1 + i, 24) for i in range(8)]
    expected = [compiled(x) for x in inputs]
    actual: list[torch.Tensor | None] = [None] * 8

    def work(i: int) -> None:
        for _ in range(20):
            actual[i] = compiled(inputs[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, e) for a, e in zip(actual, expected, strict=True) if a is not None)
    assert all(a is not None for a in actual)


def test_results_stay_valid_after_later_calls(compiled: l0.CompiledModel) -> None:
    x = torch.randn(3, 24)
    first = compiled(x)
    kept = first.clone()
    for _ in range(5):
        compiled(torch.randn(3, 24))
    assert torch.equal(first, kept)


def test_everything_pruned() -> None:
    model = Mlp().eval()
    with torch.no_grad():
        model.up.weight.zero_()
    x = torch.randn(3, 24)
    torch.testing.assert_close(l0.compile(model, (x,))(x), model(x).detach())


def test_verification_refuses_a_wrong_result(monkeypatch: pytest.MonkeyPatch) -> None:
    from l0compile.compiler import verification

    model, x = Mlp().eval(), torch.randn(3, 24)
    monkeypatch.setitem(verification.TOLERANCES, torch.float32, 0.0)
    with pytest.raises(RewriteError, match="verification: output 0"):
        l0.compile(model, (x,), engine="tvm")


def test_verification_refuses_nan() -> None:
    model = Mlp().eval()
    with torch.no_grad():
        model.down.bias[0] = float("nan")
    with pytest.raises(RewriteError, match="verification: output 0: the model itself gives NaN"):
        l0.compile(model, (torch.randn(3, 24),))


def test_dense_model_stays_dense() -> None:
    x = torch.randn(3, 24)
    regions = l0.compile(Mlp().eval(), (x,)).explain().regions
    assert [r.format for r in regions] == ["dense", "dense"]
