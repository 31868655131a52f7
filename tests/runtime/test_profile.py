"""A profile names what ran, in order, and gives each region its own launches."""

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.errors import ConfigError, InputError, L0CompileError
from l0compile.ir.codec import decode, encode
from l0compile.ir.records import Launch
from l0compile.runtime.account import FunctionTime, Profile
from l0compile.runtime.profile import attribute


class Encoder(nn.Module):
    """Two equal feed-forward layers, so that they share kernels, between ordinary operators."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 32)
        self.first = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))
        self.norm = nn.LayerNorm(32)
        self.second = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))

    def forward(self, ids: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(self.table(ids)))
        return torch.sin(self.second(x)).mean(1) * scale


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    model = Encoder().eval()
    with torch.no_grad():
        model.second[0].weight[16:] = 0
        model.second[0].bias[16:] = 0
    return model


def compiled_for(model: nn.Module, **options: bool) -> l0.CompiledModel:
    example = (torch.randint(0, 50, (2, 7)), torch.ones(1))
    return l0.compile(
        model, example, dynamic_shapes={"ids": {0: "batch", 1: "tokens"}}, engine="tvm", **options
    )


@pytest.fixture(scope="module")
def compiled(model: nn.Module) -> l0.CompiledModel:
    return compiled_for(model)


def test_every_region_is_timed_once_and_in_order(model: nn.Module, compiled: l0.CompiledModel) -> None:
    profile = compiled.profile()
    assert profile.sizes == {"batch": 2, "tokens": 7}
    timed = [item for item in profile.functions if item.region is not None]
    assert [item.region for item in timed] == ["first.0", "first.2", "second.0", "second.2"]
    assert all(item.function.startswith("linear_") and item.ms > 0 for item in timed)
    assert "norm" in [item.where for item in profile.functions if item.function.startswith("layer_norm")]
    assert compiled.weight_bytes == sum(p.numel() * 4 for p in model.parameters()) - 48 * (33 + 32) * 4
    ordinary = [item.function for item in profile.functions if item.where is None]
    assert "embedding" in ordinary and any("sin" in name for name in ordinary)
    assert profile.total_ms > 0 and profile.between_ms >= 0
    assert decode(json.loads(json.dumps(encode(profile))), Profile, "profile") == profile


def test_a_dense_compile_ignores_the_zeros_and_gives_the_time_before(
    model: nn.Module, compiled: l0.CompiledModel
) -> None:
    dense = compiled_for(model, ignore_zeros=True)
    assert {region.format for region in dense.explain().regions} == {"dense"}
    # Without zeros both layers are the same kernels.
    kernels = Counter(item.function for item in dense.profile().functions if item.region)
    assert sorted(kernels.values()) == [2, 2]
    explanation = compiled.explain(measure=True, sizes={"tokens": 9}, dense=dense)
    assert explanation.profile is not None and explanation.dense_profile is not None
    assert explanation.profile.sizes == explanation.dense_profile.sizes == {"batch": 2, "tokens": 9}
    assert type(explanation).from_json(explanation.to_json()) == explanation
    assert compiled.explain().profile is None


def test_inputs_of_the_caller_are_checked(compiled: l0.CompiledModel) -> None:
    profile = compiled.profile(torch.randint(0, 50, (3, 5)), torch.ones(1))
    assert profile.sizes == {"batch": 3, "tokens": 5}
    with pytest.raises(InputError, match="indices from 0 to 49"):
        compiled.profile(torch.full((3, 5), 50), torch.ones(1))
    with pytest.raises(ConfigError, match="needs --size batch=N --size tokens=N"):
        compiled.explain(measure=True, sizes={"width": 3})


def test_a_loaded_model_knows_its_regions_and_sizes(compiled: l0.CompiledModel, tmp_path: Path) -> None:
    compiled.save(tmp_path / "m")
    loaded = l0.load(tmp_path / "m").profile()
    wanted = compiled.profile()
    assert [(f.function, f.region, f.where) for f in loaded.functions] == [
        (f.function, f.region, f.where) for f in wanted.functions
    ]
    assert loaded.sizes == wanted.sizes


def test_launches_are_matched_by_kernel_in_order() -> None:
    launches = [Launch("a", "one", "m1"), Launch("b", None, "m2"), Launch("a", "two", "m3")]
    times = [("a", 1.0), ("sin", 2.0), ("b", 3.0), ("a", 4.0)]
    assert attribute(times, launches) == (
        FunctionTime("a", "kernel", "one", "m1", 1.0),
        FunctionTime("sin", "ordinary", None, None, 2.0),
        FunctionTime("b", "kernel", None, "m2", 3.0),
        FunctionTime("a", "kernel", "two", "m3", 4.0),
    )
    with pytest.raises(L0CompileError, match="a ran less often"):
        attribute(times[:-1], launches)
    with pytest.raises(L0CompileError, match="a ran oftener"):
        attribute([*times, ("a", 5.0)], launches)
