"""Ordinary operators in a compiled model: cuts, negative indices and factors, with fixed and with symbolic sizes."""

from typing import Any

import pytest
import torch
from torch import nn

from l0compile.compiler.compile import compile


class Everything(nn.Module):
    """Results of [B, S, 6], S at least 2."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "last": x[:, -1],
            "last but one feature": x.select(-1, -2),
            "last of all": x.flatten()[-1],
            "last two": x[:, -2:],
            "every other": x[:, 1::2],
            "factor": torch.add(x, x.exp(), alpha=2),
            "swapped": torch.rsub(x, x.exp(), alpha=0.5),
            "from one": 1 - x,
        }


@pytest.mark.parametrize("dynamic", [None, {"x": {0: "batch", 1: "length"}}], ids=["fixed", "symbolic"])
def test_own_conversions(dynamic: Any) -> None:
    model = Everything().eval()
    compiled = compile(model, (torch.randn(2, 5, 6),), dynamic_shapes=dynamic)
    # At lengths 2 and 3 x[:, -2:] is all of x and x[:, 1::2] a single token, which tracing assumes they are not.
    for batch, length in ((2, 5), (1, 4), (3, 8), (2, 2), (1, 3)) if dynamic else ((2, 5),):
        x = torch.randn(batch, length, 6)
        expected = model(x)
        for name, got in compiled(x).items():
            torch.testing.assert_close(got, expected[name], msg=lambda text, name=name: f"{name}: {text}")
