"""A model that was loaded keeps its own code, whatever happens to the folder it came from."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import l0compile as l0

X = torch.randn(3, 8)


class Layer(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.function = nn.Linear(8, 8), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.linear(x))


@pytest.fixture(scope="module")
def models() -> list[tuple[Tensor, l0.CompiledModel]]:
    """Two models that differ in their code only, each with its answer."""
    layers = [Layer(function).eval() for function in (torch.relu, torch.neg)]
    with torch.no_grad():
        return [(layer(X), l0.compile(layer, (X,), engine="tvm")) for layer in layers]


def test_an_artifact_that_replaces_a_loaded_one_is_loaded(
    models: list[tuple[Tensor, l0.CompiledModel]], tmp_path: Path
) -> None:
    loaded = []
    for expected, compiled in models:
        compiled.save(tmp_path / "model")
        loaded.append(l0.load(tmp_path / "model"))
        torch.testing.assert_close(loaded[-1](X), expected)
    loaded[0].save(tmp_path / "again")
    shutil.rmtree(tmp_path / "model")
    for (expected, _), model in zip(models, loaded, strict=True):
        torch.testing.assert_close(model(X), expected)
        model.save(tmp_path / "again")
        torch.testing.assert_close(l0.load(tmp_path / "again")(X), expected)
