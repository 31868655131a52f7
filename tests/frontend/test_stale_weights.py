"""A weight that its own mask no longer explains is named, where PyTorch computes with it."""

import logging

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from l0compile.frontend.export import capture


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.linear = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 8)
        for layer in (self.attention.out_proj, self.linear):
            prune.random_unstructured(layer, "weight", 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.attention(x, x, x, need_weights=False)[0])


def warnings_of(model: nn.Module, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="l0compile"):
        capture(model.eval(), (torch.randn(1, 3, 8),))
    return [record.getMessage() for record in caplog.records if record.name == "l0compile"]


def test_the_projection_of_attention_after_load_state_dict(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model, other = Attends(), Attends()
    assert warnings_of(model, caplog) == []
    model.load_state_dict(other.state_dict())
    x = torch.randn(1, 3, 8)
    assert not torch.allclose(model.eval()(x), other.eval()(x)), "PyTorch itself uses the old weight"
    model.linear.weight = model.linear.weight + 1.0  # its hook runs, and this is no fault
    (told,) = warnings_of(model, caplog)
    assert told.startswith("attention.out_proj.weight is older than the tensors that it is made from")
    prune.remove(model.attention.out_proj, "weight")
    assert warnings_of(model, caplog) == []


def test_weight_norm_likewise(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model = Attends()
    prune.remove(model.attention.out_proj, "weight")
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(model.attention.out_proj)
    assert warnings_of(model, caplog) == []
    with torch.no_grad():
        model.attention.out_proj.weight_g.mul_(2.0)
    assert [told.split()[0] for told in warnings_of(model, caplog)] == ["attention.out_proj.weight"]
