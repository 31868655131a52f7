"""Dynamic activations: each token has a level of its own, in PyTorch and compiled."""

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.errors import ConfigError

ops = torch.ops.l0compile


def tokens(seed: int, count: int = 40) -> torch.Tensor:
    """Tokens of magnitudes from 1e-3 to 1e3: no level is good for all."""
    generator = torch.Generator().manual_seed(seed)
    size = 10 ** torch.linspace(-3, 3, count)[torch.randperm(count, generator=generator)]
    return torch.randn(2, count, 32, generator=generator) * size[:, None]


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16, bias=False)).eval()


def worst(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest error of a token, as a share of its length."""
    return float(((found - wanted).norm(dim=-1) / wanted.norm(dim=-1)).max())


def test_small_tokens_are_as_good_as_large_ones() -> None:
    exact = model()
    with torch.no_grad():
        exact[0].bias.zero_()
    static, dynamic = (
        l0.quantize(exact, [tokens(0)], activations=how, tolerance=1.0) for how in ("static", "dynamic")
    )
    x = tokens(1)
    with torch.no_grad():
        assert worst(dynamic(x), exact(x)) < 0.05 < 0.5 < worst(static(x), exact(x))
        assert torch.equal(dynamic(torch.zeros(1, 3, 32)), torch.zeros(1, 3, 16))


def test_training_computes_the_same() -> None:
    narrow, x = l0.quantize(model(), [tokens(0)], activations="dynamic", tolerance=1.0), tokens(1)
    with torch.no_grad():
        wanted = narrow(x)
        assert worst(narrow.train()(x), wanted) < 1e-3
    narrow(x).sum().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in narrow.parameters())


@pytest.mark.parametrize("count", [1, 40])
def test_compiled_integers_are_the_same(count: int) -> None:
    narrow, x = l0.quantize(model(), [tokens(0)], activations="dynamic", tolerance=1.0), tokens(1, count)
    compiled = l0.compile(narrow, (x,), engine="tvm")
    with torch.no_grad():
        assert worst(compiled(x), narrow(x)) < 1e-4
    assert not compiled.explain().islands
    names = [launch.function.rsplit("_", 1)[0] for launch in compiled.explain().launches]
    # The first layer's input and its levels come in rows; from there on all is packed.
    assert names.count("pack") == 2 and names.count("linear") == 2


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="static or dynamic, got 'token'"):
        l0.quantize(model(), [tokens(0)], activations="token")
