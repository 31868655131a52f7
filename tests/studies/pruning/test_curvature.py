"""Curvature against direct computation."""

import pytest
import torch
from direct import random_layer
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from l0compile.errors import DataError
from l0compile.studies.pruning.curvature import Curvature, measure_curvature


def weighed(x: Tensor, gradient: Tensor, centred: bool) -> Curvature:
    """Written out: every token counts as much as its squared gradient."""
    share = gradient.square().sum(1)
    share = share / share.sum()
    mean = share @ x * centred
    gram = (x - mean).T @ (share[:, None] * (x - mean))
    return Curvature(gram, gradient.square().mean(0), gradient.norm(dim=1).split(70))


@pytest.mark.parametrize("bias", [True, False])
def test_statistics_of_a_linear_model(bias: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4, bias), nn.Linear(4, 3, bias)).train()
    model[0].weight.requires_grad_(False)
    batches = [torch.randn(7, 10, 5) + 2.0 for _ in range(3)]
    found = measure_curvature(model, ["0", "1"], batches, lambda m, x: m(x), seed=3)
    generator = torch.Generator().manual_seed(3)
    x = torch.cat(batches).flatten(0, 1)
    v = torch.cat([torch.randn(7, 10, 3, generator=generator) for _ in batches]).flatten(0, 1)
    with torch.no_grad():
        wanted = {
            "0": weighed(x, v @ model[1].weight, centred=bias),
            "1": weighed(model[0](x), v, centred=bias),
        }
    for name, curvature in wanted.items():
        assert torch.allclose(found[name].gram, curvature.gram, rtol=1e-3, atol=1e-4), name
        assert torch.allclose(found[name].sensitivity, curvature.sensitivity, rtol=1e-4), name
        pairs = zip(found[name].tokens, curvature.tokens, strict=True)
        assert all(torch.allclose(one, other, rtol=1e-4) for one, other in pairs), name
    required = {name: p.requires_grad for name, p in model.named_parameters()}
    assert not required.pop("0.weight") and all(required.values())
    assert all(p.grad is None for p in model.parameters())


@given(st.integers(1, 12), st.integers(0, 99))
def test_the_damped_gram_matrix_has_its_inverse(width: int, seed: int) -> None:
    _, curvature = random_layer(1, width, seed, tokens=3)  # singular where there are more inputs than tokens
    identity = curvature.damped.double() @ curvature.inverse.double()
    assert torch.allclose(identity, torch.eye(width, dtype=torch.float64), atol=1e-3)
    assert float((curvature.damped - curvature.gram).abs().max()) <= 0.01 * float(curvature.gram.abs().max())


def test_layers_that_never_run_are_an_error() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "unused": nn.Linear(2, 2)})
    with pytest.raises(DataError, match="never reached unused"):
        measure_curvature(model, ["used", "unused"], [torch.ones(1, 2)], lambda m, x: m["used"](x))


def test_only_linear_layers_have_statistics() -> None:
    with pytest.raises(DataError, match=r"'0': expected an nn.Linear, got ReLU"):
        measure_curvature(nn.Sequential(nn.ReLU()), ["0"], [], lambda m, x: m(x))
