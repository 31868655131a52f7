"""Layers that keep two of each four weights, from the model to the kernel: right, and chosen where it should pay."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.hardware.targets import load_target
from l0compile.kernels.costs import costs_of
from l0compile.rewrite.formats import format_choice
from l0compile.rewrite.formats.format_choice import Layers, choose
from tests.lower.cuda.conftest import for_gpu, gap

pytestmark = pytest.mark.usefixtures("no_nvcc")


def pruned(width: int, dtype: torch.dtype, spared: int = 0) -> nn.Module:
    """The first layer has the two smallest of each four weights zero, but in ``spared`` rows."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 64)).to(dtype)
    groups = model[0].weight.data.view(width, -1, 4)
    groups[spared:].scatter_(2, groups[spared:].abs().topk(2, 2, largest=False).indices, 0.0)
    return model.eval()


def kernels(compiled: l0.CompiledModel) -> list[str]:
    return [launch.function.rstrip("_0123456789") for launch in compiled.explain().launches]


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 3e-3), (torch.bfloat16, 2e-2)])
def test_a_layer_that_fits_is_computed_so(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, bound: float
) -> None:
    # So small a layer would wait for its launch alone.
    monkeypatch.setattr(format_choice, "HYSTERESIS", 1.01)
    model, x = pruned(72, dtype), torch.randn(5, 13, 72).to(dtype)
    compiled = for_gpu(model, (x,))
    assert kernels(compiled)[0] == "cuda_two_of_four_linear" and not compiled.explain().islands
    region = compiled.explain().regions[0]
    assert (region.format, region.block, region.density) == ("2:4", None, 0.5)
    with torch.no_grad():
        assert gap(compiled.emulated()(x), model(x)) < bound


def test_it_is_chosen_where_it_is_predicted_to_pay() -> None:
    weight = pruned(1024, torch.bfloat16)[0].weight.data
    for name, tokens, taken in (
        ("cuda-sm80", 8192, True),
        ("cuda-sm80", 1, False),
        ("cuda-sm75", 8192, False),
    ):
        target = load_target(name)
        small = weight[:64, :64] if tokens == 1 else weight
        choice, reason = choose(small, target, Layers(costs_of(target), tokens, "bfloat16"))
        assert choice.two_of_four == taken, (name, tokens, reason)
        assert ("at most two of each four" in reason) == taken
        assert choice.source == "predicted"


@pytest.mark.parametrize("case", ["one group too many", "float32", "a CPU"])
def test_what_does_not_fit_stays_as_it_was(case: str) -> None:
    target = load_target("cuda-sm80")
    weight = pruned(1024, torch.float16)[0].weight.data.clone()
    layers = Layers(costs_of(target), 8192, "float16")
    if case == "one group too many":
        weight[7, 8:12] = 1.0
    elif case == "float32":
        weight, layers = weight.float(), replace(layers, dtype="float32")
    else:
        target = load_target("x86-64-avx512")
    choice, reason = choose(weight, target, layers)
    assert not choice.two_of_four and "of each four" not in reason
