"""Ordinary operators in a compiled model: cuts, negative indices and factors, with fixed and with symbolic sizes."""

from typing import Any

import pytest
import torch
from torch import nn

from l0compile.api import compile
from l0compile.errors import InputError


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
    # Not length 2 or 3: tracing took for granted that x[:, -2:] is not all of x and x[:, 1::2] not a single token.
    for batch, length in ((2, 5), (1, 4), (3, 8)) if dynamic else ((2, 5),):
        x = torch.randn(batch, length, 6)
        expected = model(x)
        for name, got in compiled(x).items():
            torch.testing.assert_close(got, expected[name], msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("length", [2, 3])
def test_sizes_that_the_trace_excludes_are_refused_not_guessed(length: int) -> None:
    shapes = {"x": {0: "batch", 1: "length"}}
    compiled = compile(Everything().eval(), (torch.randn(2, 5, 6),), dynamic_shapes=shapes)
    with pytest.raises(InputError, match="expected sizes with"):
        compiled(torch.randn(1, length, 6))
