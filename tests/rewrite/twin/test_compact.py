"""compact(): fewer weights, the same answers, and still an ordinary PyTorch module."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

import l0compile as l0
from l0compile.measurement.onnx_export import export_onnx


class Block(nn.Module):
    def __init__(self, width: int = 8, hidden: int = 16) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Model(nn.Module):
    """Nested modules, a buffer, tied weights, keyword arguments and a dict of results."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.layers = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("shift", torch.randn(8))

    def forward(self, ids: Tensor, scale: Tensor | None = None) -> dict[str, Any]:
        x = self.embed(ids) + self.shift
        for layer in self.layers:
            x = layer(x)
        return {"logits": self.head(x if scale is None else x * scale), "states": (x,)}


def dead_neurons(layer: nn.Module, keep: int) -> None:
    with torch.no_grad():
        layer.up.weight[keep:] = 0


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    model = Model().eval()
    dead_neurons(model.layers[0], 4)
    dead_neurons(model.layers[1], 6)
    return model


IDS = torch.randint(0, 20, (2, 5))


def test_same_answers_names_and_structure(model: Model) -> None:
    scale = torch.randn(8)
    small = l0.compact(model, (IDS,), {"scale": scale})
    torch.testing.assert_close(small(IDS, scale=scale), model(IDS, scale=scale), rtol=1e-5, atol=1e-6)
    shapes = {name: tuple(value.shape) for name, value in small.state_dict().items()}
    assert shapes["layers.0.up.weight"] == (4, 8) and shapes["layers.1.down.weight"] == (8, 6)
    assert set(model.state_dict()) <= set(shapes)
    assert set(shapes) - set(model.state_dict()) == {"layers.0.down.bias", "layers.1.down.bias"}
    assert small.head.weight is small.embed.weight
    assert isinstance(small.layers.get_submodule("0").up.weight, nn.Parameter)
    assert "shift" in dict(small.named_buffers())
    assert not any("l0compile" in str(node.target) for node in small.graph.nodes)


def test_trains_without_touching_the_model(model: Model) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = l0.compact(model, (IDS,))
    assert {name for name, p in small.named_parameters() if not p.requires_grad} == set()
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        loss = F.cross_entropy(small(IDS)["logits"].flatten(0, 1), IDS.flatten())
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in small.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    compiled = l0.compile(small, (IDS,))  # and what was trained on compiles again
    torch.testing.assert_close(compiled(IDS)["logits"], small(IDS)["logits"].detach(), rtol=2e-5, atol=2e-5)


def test_frozen_parameters_stay_frozen(model: Model) -> None:
    model.layers[0].requires_grad_(False)
    small = l0.compact(model, (IDS,))
    frozen = {name for name, p in small.named_parameters() if not p.requires_grad}
    assert {"layers.0.up.weight", "layers.0.down.bias"} <= frozen
    assert "layers.1.up.weight" not in frozen


def test_state_dict_loads_into_another_twin(model: Model) -> None:
    small, other = l0.compact(model, (IDS,)), l0.compact(model, (IDS,))
    nn.init.ones_(small.layers.get_submodule("0").up.weight)
    other.load_state_dict(small.state_dict())
    torch.testing.assert_close(other(IDS), small(IDS))


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [None, {"ids": {0: "batch", 1: "seq"}}])
def test_onnx_runtime_keeps_the_gain(model: Model, tmp_path: Path, dynamic: Any) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    small = l0.compact(model, (IDS,), dynamic_shapes=dynamic)
    shapes = None if dynamic is None else ({0: torch.export.Dim("batch"), 1: torch.export.Dim("seq")},)
    sizes = {}
    for name, exported in (("model", model), ("small", small)):
        path = export_onnx(exported, (IDS,), tmp_path / f"{name}.onnx", dynamic_shapes=shapes)
        sizes[name] = sum(onnx.numpy_helper.to_array(t).size for t in onnx.load(path).graph.initializer)
    assert sizes["small"] < sizes["model"]
    session = onnxruntime.InferenceSession(path)
    ids = IDS if dynamic is None else torch.randint(0, 20, (3, 7))
    logits = session.run(None, {session.get_inputs()[0].name: ids.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(logits), model(ids)["logits"].detach(), rtol=1e-4, atol=1e-5)


def test_names_of_pruned_and_parametrised_weights() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    prune.ln_structured(model[0], "weight", 0.5, 2, 0)
    parametrizations.weight_norm(model[2])
    x = torch.randn(3, 4)
    small = l0.compact(model, (x,))
    torch.testing.assert_close(small(x), model(x), rtol=1e-5, atol=1e-6)
    assert set(small.state_dict()) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    assert all(p.requires_grad for p in small.parameters()) and len(list(small.parameters())) == 4


def test_exported_program_and_graph_module(model: Model) -> None:
    exported = torch.export.export(model, (IDS,))
    for source in (exported, torch.fx.symbolic_trace(Block().eval())):
        args = (IDS,) if source is exported else (torch.randn(2, 8),)
        small = l0.compact(source, args)
        reference = model if source is exported else source
        torch.testing.assert_close(small(*args), reference(*args), rtol=1e-5, atol=1e-6)
        assert any(isinstance(p, nn.Parameter) for p in small.parameters())


@settings(max_examples=4)
@given(rows=st.lists(st.booleans(), min_size=6, max_size=6), seed=st.integers(0, 99))
def test_any_dead_rows(rows: list[bool], seed: int) -> None:
    torch.manual_seed(seed)
    model = Block(4, 6).eval()
    with torch.no_grad():
        model.up.weight[torch.tensor(rows)] = 0
        model.up.bias[torch.tensor(rows)] *= seed % 2
    x = torch.randn(2, 3, 4)
    small = l0.compact(model, (x,))
    torch.testing.assert_close(small(x), model(x), rtol=1e-5, atol=1e-6)
    kept = sum(p.numel() for p in small.parameters())
    assert kept <= sum(p.numel() for p in model.parameters()) + 4
