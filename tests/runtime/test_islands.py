"""Models that TVM takes in part or not at all: the answers are the model's own, in every engine, saved or not."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

import l0compile as l0
from l0compile.errors import ArtifactError, BuildError
from l0compile.lower import backends

DYNAMIC = {"x": {0: "batch", 1: "length"}}


class Island(nn.Module):
    """An island of cumsum, topk and scatter between two linear layers; sizes are used on both sides of it."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 8)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        h = torch.linalg.matrix_norm(self.up(x).unflatten(-1, (4, 8)), ord="nuc").unsqueeze(-1)
        h = h + torch.cumsum(torch.relu(self.up(x)), 1)
        values, indices = torch.topk(h, 4, -1)
        h = torch.zeros_like(h).scatter(-1, indices, values)
        return {"y": self.down(h).reshape(x.shape[0], -1), "indices": indices, "x": x}


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.lstm, self.out = (
            nn.Embedding(50, 16),
            nn.LSTM(16, 24, batch_first=True),
            nn.Linear(24, 5),
        )

    def forward(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, (h, _) = self.lstm(self.table(ids))
        return self.out(y[:, -1]), h


class DependsOnValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x)
        return y[y > 0].sum() + torch.nonzero(y).shape[0]


def close(got: Any, wanted: Any) -> None:
    for a, b in zip(*(torch.utils._pytree.tree_leaves(t) for t in (got, wanted)), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=2e-5)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Island().eval()


@pytest.fixture(scope="module")
def compiled(model: nn.Module) -> l0.CompiledModel:
    return l0.compile(model, (torch.randn(2, 5, 16),), dynamic_shapes=DYNAMIC, engine="tvm")


@pytest.fixture(scope="module")
def in_torch(model: nn.Module) -> l0.CompiledModel:
    return l0.compile(model, (torch.randn(2, 5, 16),), dynamic_shapes=DYNAMIC, engine="torch")


@pytest.fixture(params=["tvm", "torch"])
def either(
    request: pytest.FixtureRequest, compiled: l0.CompiledModel, in_torch: l0.CompiledModel
) -> l0.CompiledModel:
    return compiled if request.param == "tvm" else in_torch


@pytest.mark.parametrize("batch, length", [(2, 5), (1, 1), (3, 70)])
def test_an_island_in_the_middle_at_any_size(
    model: nn.Module, either: l0.CompiledModel, batch: int, length: int
) -> None:
    x = torch.randn(batch, length, 16)
    with torch.no_grad():
        close(either(x), model(x))


def test_few_stages_with_reasons(compiled: l0.CompiledModel) -> None:
    explanation = compiled.explain()
    assert [stage.engine for stage in explanation.stages] == ["tvm", "torch", "tvm"]
    (island,) = explanation.islands
    refused = {operator.target: operator for operator in island.operators if operator.reason}
    assert any("matrix_norm" in target for target in refused)
    assert all("test_islands.py" in operator.source for operator in refused.values())
    assert "island 0 in PyTorch" in str(explanation)
    assert type(explanation).from_json(explanation.to_json()) == explanation


def test_results_are_the_callers_own(compiled: l0.CompiledModel) -> None:
    x = torch.randn(2, 5, 16)
    kept = x.clone()
    compiled(x)["x"].zero_()
    assert torch.equal(x, kept)


def test_a_profile_covers_both_engines(compiled: l0.CompiledModel) -> None:
    kinds = {item.function: item.kind for item in compiled.profile().functions}
    assert kinds["island_0"] == "island" and "kernel" in kinds.values()


@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_a_recurrent_model(engine: str) -> None:
    torch.manual_seed(0)
    model = Recurrent().eval()
    compiled = l0.compile(model, (torch.randint(0, 50, (2, 7)),), dynamic_shapes={0: "batch"}, engine=engine)
    ids = torch.randint(0, 50, (5, 7))
    with torch.no_grad():
        close(compiled(ids), model(ids))
    choice = compiled.explain().choice
    assert choice is not None and (choice.tvm_ms is not None) == (engine == "auto")


def test_sizes_that_depend_on_values() -> None:
    model = DependsOnValues().eval()
    compiled = l0.compile(model, (torch.randn(3, 4),), engine="tvm")
    for _ in range(3):
        x = torch.randn(3, 4)
        with torch.no_grad():
            close(compiled(x), model(x))
    assert any(
        "depends on values" in o.reason for stage in compiled.explain().islands for o in stage.operators
    )


def test_a_fresh_process_needs_no_model_class(either: l0.CompiledModel, tmp_path: Path) -> None:
    x, compiled = torch.randn(3, 6, 16), either
    compiled.save(tmp_path / "model")
    code = f"""
import torch, l0compile as l0, numpy
model = l0.load({str(tmp_path / "model")!r})
x = torch.from_numpy(numpy.load({str(tmp_path / "x.npy")!r}))
numpy.save({str(tmp_path / "y.npy")!r}, model(x)["y"].numpy())
"""
    numpy.save(tmp_path / "x.npy", x.numpy())
    subprocess.run([sys.executable, "-c", code], check=True)
    assert numpy.array_equal(numpy.load(tmp_path / "y.npy"), compiled(x)["y"].numpy())
    compiles = any(stage.engine == "tvm" for stage in compiled.explain().stages)
    assert (tmp_path / "model" / "lib.so").exists() == compiles
    loaded = l0.load(tmp_path / "model")
    assert loaded.explain() == compiled.explain()
    loaded.save(tmp_path / "again")  # packed weights are unpacked
    assert torch.equal(l0.load(tmp_path / "again")(x)["y"], compiled(x)["y"])


def test_eight_threads_get_the_bits_of_one(either: l0.CompiledModel) -> None:
    compiled = either
    inputs = [torch.randn(1 + i, 20, 16) for i in range(8)]
    expected = [compiled(x)["y"] for x in inputs]
    actual: dict[int, torch.Tensor] = {}

    def work(i: int) -> None:
        for _ in range(10):
            actual[i] = compiled(inputs[i])["y"]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(actual[i], expected[i]) for i in range(8))


def test_an_unknown_engine_is_refused(model: nn.Module) -> None:
    with pytest.raises(l0.L0CompileError, match="expected 'auto', 'tvm' or 'torch', got 'onnx'"):
        l0.compile(model, (torch.randn(2, 5, 16),), engine="onnx")


def test_a_missing_library_is_noticed(compiled: l0.CompiledModel, tmp_path: Path) -> None:
    compiled.save(tmp_path / "model")
    (tmp_path / "model" / "lib_1.so").unlink()
    with pytest.raises(ArtifactError, match=r"lib_1.so: missing"):
        l0.load(tmp_path / "model")


def test_an_island_of_our_own_making_is_told(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Code generation that fails leaves answers right, and says so."""
    real = backends.build

    def failing(module: Any, *rest: Any) -> Any:
        if "relu" in str(module):
            raise BuildError("no register is left")
        return real(module, *rest)

    monkeypatch.setattr(backends, "build", failing)
    x = torch.randn(2, 5, 16)
    compiled = l0.compile(model, (x,), engine="tvm")
    with torch.no_grad():
        close(compiled(x), model(x))
    assert "run in PyTorch; please report the model: no register is left" in caplog.text
    assert any("no register is left" in str(island) for island in compiled.explain().islands)
