"""Models pruned by something else than our gates: their zeros are found and used."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

import l0compile as l0


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 64), nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class KeptChannels(nn.Module):
    """A parametrization: some rows of a weight are zero."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * (torch.arange(64) < 16)[:, None]


class MaskedLinear(nn.Linear):
    """The layer of nn_pruning: the mask is a buffer, multiplied in at every call."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("weight_mask", torch.ones(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.weight_mask, self.bias)


def structured(model: Mlp) -> None:
    """torch.nn.utils.prune leaves weight_orig, weight_mask and a hook that multiplies them."""
    prune.ln_structured(model.up, "weight", 0.75, n=2, dim=0)


def removed(model: Mlp) -> None:
    structured(model)
    prune.remove(model.up, "weight")


def parametrised(model: Mlp) -> None:
    parametrize.register_parametrization(model.up, "weight", KeptChannels())


def normalised(model: Mlp) -> None:
    removed(model)
    parametrizations.weight_norm(model.down)


def state_dict(model: Mlp) -> None:
    """A sparse checkpoint: plain zeros in an ordinary state dict."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["up.weight"][16:] = 0
    model.load_state_dict(state)


def masks_as_buffers(model: Mlp) -> None:
    old, model.up = model.up, MaskedLinear(16, 64)
    model.up.load_state_dict(old.state_dict(), strict=False)
    model.up.weight_mask[16:] = 0


PRUNED = [structured, removed, parametrised, normalised, state_dict, masks_as_buffers]


@pytest.mark.parametrize("prune_it", PRUNED)
def test_dead_rows_are_cut(prune_it: Callable[[Mlp], None]) -> None:
    torch.manual_seed(0)
    model, x = Mlp(), torch.randn(5, 16)
    prune_it(model)
    small = l0.compact(model.eval(), (x,))
    torch.testing.assert_close(small(x), model(x), rtol=1e-5, atol=1e-6)
    shapes = {name: tuple(value.shape) for name, value in small.state_dict().items()}
    assert shapes == {"up.weight": (16, 16), "up.bias": (16,), "down.weight": (16, 16), "down.bias": (16,)}


def test_blocks_of_a_pruned_checkpoint_are_seen() -> None:
    torch.manual_seed(0)
    model, x = Mlp(), torch.randn(5, 16)
    mask = (torch.rand(16, 16) < 0.2).repeat_interleave(4, 0).float()
    prune.custom_from_mask(model.up, "weight", mask)
    compiled = l0.compile(model.eval(), (x,), engine="tvm")
    torch.testing.assert_close(compiled(x), model(x).detach(), rtol=2e-5, atol=1e-6)
    up = next(region for region in compiled.explain().regions if region.name == "up")
    assert up.density < 0.3
