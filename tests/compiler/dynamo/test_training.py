"""Training under the backend is PyTorch's own, and said once."""

import logging

import pytest
import torch
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed

from l0compile.compiler.dynamo import backend
from l0compile.errors import CaptureError


class Breaks(nn.Module):
    """Two graphs, dropout and statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
        self.second = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x).relu()
        torch._dynamo.graph_break()
        return self.second(hidden)


def test_a_training_loop_is_that_of_pytorch(caplog: pytest.LogCaptureFixture) -> None:
    """Losses and weights are equal to the last bit; and inference in between is compiled."""
    caplog.set_level(logging.WARNING, "l0compile")
    torch.manual_seed(0)
    plain, model = Breaks(), Breaks()
    model.load_state_dict(plain.state_dict())
    compiled = torch.compile(model, backend="l0compile", options={"engine": "torch"})
    data = torch.randn(6, 4)
    for trained, call in ((plain, plain), (model, compiled)):
        optimizer = torch.optim.AdamW(trained.parameters(), 0.1)
        for step in range(3):
            torch.manual_seed(step)
            trained.train()
            loss = call(data).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            trained.eval()
            with torch.no_grad():
                torch.testing.assert_close(call(data), trained(data))
    for (name, want), got in zip(plain.state_dict().items(), model.state_dict().values(), strict=True):
        assert torch.equal(want, got), name
    said = [record.message for record in caplog.records if record.name == "l0compile"]
    assert len(said) == 1 and "training runs in PyTorch" in said[0]


def test_gradients_in_eval_mode() -> None:
    model, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).eval(), torch.randn(2, 4, requires_grad=True)
    torch.compile(model, backend=backend)(x).sum().backward()
    got, x.grad = x.grad, None
    model(x).sum().backward()
    assert got is not None and torch.equal(got, x.grad)


def test_without_fallback_training_is_refused() -> None:
    model, x, options = nn.Linear(4, 4).eval(), torch.randn(3, 4), {"fallback": False, "engine": "torch"}
    with pytest.raises(BackendCompilerFailed, match=r"torch\.no_grad\(\)") as refused:
        torch.compile(model, backend=backend, options=dict(options))(x)
    assert isinstance(refused.value.inner_exception, CaptureError)
    model.requires_grad_(False)
    torch.testing.assert_close(torch.compile(model, backend=backend, options=dict(options))(x), model(x))
    for trained in (nn.Dropout(), nn.BatchNorm1d(4)):
        with (
            torch.no_grad(),
            pytest.raises(BackendCompilerFailed, match=r"training mode; call model\.eval\(\)"),
        ):
            torch.compile(
                nn.Sequential(nn.Linear(4, 4), trained).train(), backend=backend, options=dict(options)
            )(x)
