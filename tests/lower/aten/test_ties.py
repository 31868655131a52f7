"""Where values are equal, PyTorch's topk names any of their places."""

import torch
from torch import Tensor, nn

import l0compile as l0


class Best(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, places = x.topk(5)
        return values, places, x.argmax(-1)


def test_topk_names_the_first_of_equal_values() -> None:
    model, x = Best().eval(), torch.randn(4, 40)
    compiled = l0.compile(model, (x,), engine="tvm")
    assert not compiled.explain().islands
    x = x.round().clamp(-1, 1)  # three values
    values, places, first = compiled(x)
    assert torch.equal(values, model(x)[0]) and torch.equal(first, model(x)[2])
    assert torch.equal(places, x.sort(descending=True, stable=True).indices[:, :5])
    assert not torch.equal(places, model(x)[1])
