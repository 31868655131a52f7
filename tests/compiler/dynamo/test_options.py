"""What users give to torch.compile beside the backend: answers stay, and only what inductor refuses is refused."""

from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed

from l0compile.compiler.dynamo import backend
from l0compile.errors import ConfigError, RewriteError

TORCH = {"engine": "torch"}


@torch.no_grad()
def agree(model: nn.Module, *calls: Any, **given: Any) -> None:
    compiled = torch.compile(model, backend="l0compile", **given)
    for call in calls:
        torch.testing.assert_close(compiled(*call), model(*call), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    "given",
    [
        {"mode": "reduce-overhead"},
        {"options": {"triton.cudagraphs": True, "max-autotune": True, **TORCH}},
        {"options": TORCH, "dynamic": True},
        {"options": TORCH, "dynamic": False, "fullgraph": True},
    ],
    ids=str,
)
def test_what_inductor_takes(given: Any) -> None:
    agree(nn.Linear(4, 8).eval(), *[(torch.randn(rows, 4),) for rows in (3, 5, 1, 0)], **given)


@pytest.mark.parametrize(("kind", "whole"), [(nn.LSTM, True), (nn.GRU, False)])
def test_recurrent_layers(kind: Any, whole: bool) -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = kind(4, 6, batch_first=True), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.layer(x)[0])

    calls = [(torch.randn(batch, time, 4),) for batch, time in ((2, 5), (3, 7), (2, 1))]
    with torch._dynamo.config.patch(allow_rnn=whole):
        agree(Reads().eval(), *calls, options=dict(TORCH), fullgraph=whole)


@torch.no_grad()
def test_what_nobody_knows() -> None:
    x = torch.randn(3, 4)
    for given, message in (
        ({"options": {"speed": 11}}, r"target, verify, engine.*got \['speed'\]"),
        ({"mode": "fast"}, r"mode: expected one of default.*got 'fast'"),
    ):
        with pytest.raises(BackendCompilerFailed, match=message) as wrong:
            torch.compile(nn.Linear(4, 4).eval(), backend=backend, **given)(x)
        assert isinstance(wrong.value.inner_exception, ConfigError)


def test_answers_that_differ(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A model may give NaN, which compares with nothing: PyTorch runs it then."""
    from l0compile.compiler import verification

    agree(nn.Linear(4, 4).eval(), (torch.randn(3, 4),), options={"verify": False, **TORCH})
    monkeypatch.setitem(verification.TOLERANCES, torch.float32, -1.0)
    torch._dynamo.reset()
    agree(nn.Linear(4, 4).eval(), (torch.randn(3, 4),), options=dict(TORCH))
    assert "runs in PyTorch: verification" in caplog.text
    torch._dynamo.reset()
    with torch.no_grad(), pytest.raises(BackendCompilerFailed, match="verification") as differs:
        torch.compile(nn.Linear(4, 4).eval(), backend=backend, options={"fallback": False, **TORCH})(
            torch.randn(3, 4)
        )
    assert isinstance(differs.value.inner_exception, RewriteError)
