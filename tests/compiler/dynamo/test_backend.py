"""torch.compile with our backend: the model's own answers, at any size, after any change, or a clear refusal."""

import copy
import logging
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import BackendCompilerFailed

from l0compile.compiler.dynamo import backend, compiled_graph
from tests.runtime.stateful_models import Cache, Statistics

TVM = {"engine": "tvm"}  # no race between engines


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)
        self.register_buffer("shift", torch.ones(4))

    def forward(self, x: Tensor, scale: float = 2.0) -> Tensor:
        return (self.down(self.up(x).relu()) + self.shift) * scale


class Breaks(Mlp):
    """A graph break in the middle, and every kind of result."""

    def forward(self, x: Tensor, scale: float = 2.0) -> Any:
        hidden = self.up(x).relu()
        print("a graph break")
        y = self.down(hidden)
        return {"y": y, "flat": y.view(-1), "size": x.shape[0], "same": x, "turned": x.t(), "sum": y.sum()}


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models compiled so far."""
    made: list[Any] = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        made.append(inner(*args, **kwargs))
        return made[-1]

    inner = compiled_graph.compile
    monkeypatch.setattr(compiled_graph, "compile", counted)
    return made


@torch.no_grad()
def agree(compiled: Callable[..., Any], model: nn.Module, *args: Any) -> None:
    torch.testing.assert_close(compiled(*args), model(*args), rtol=2e-5, atol=1e-6)


def test_entry_point() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))
    where = project["project"]["entry-points"]["torch_dynamo_backends"]["l0compile"]
    module, _, function = where.partition(":")
    assert getattr(import_module(module), function) is backend


def test_by_name_and_dynamic_batch(compilations: list[Any]) -> None:
    model = Mlp().eval()
    compiled = torch.compile(model, backend="l0compile")
    for batch in (3, 5, 7, 65):
        agree(compiled, model, torch.randn(batch, 4))
    assert len(compilations) == 2  # one for three rows, one for any number
    assert {region.name for region in compilations[0].explain().regions} == {"up", "down"}
    agree(compiled, model, torch.randn(1, 4))


def test_declared_dynamic_compiles_once(compilations: list[Any]) -> None:
    model = Mlp().eval()
    compiled = torch.compile(model, backend=backend, dynamic=True)
    for batch in (3, 5):
        agree(compiled, model, torch.randn(batch, 4))
    assert len(compilations) == 1


def test_graph_break_and_aliases(compilations: list[Any]) -> None:
    model = Breaks().eval()
    compiled = torch.compile(model, backend=backend, options=TVM)
    for batch in (3, 5):
        x = torch.randn(batch, 4)
        agree(compiled, model, x)
        with torch.no_grad():
            result = compiled(x)
        assert result["same"] is x and result["turned"].data_ptr() == x.data_ptr()
        assert result["flat"].data_ptr() == result["y"].data_ptr()
    assert len(compilations) == 4


def test_changed_weights_are_seen(compilations: list[Any]) -> None:
    model, x = Mlp().eval(), torch.randn(3, 4)
    compiled = torch.compile(model, backend=backend, options=TVM)
    changes: list[Callable[[], Any]] = [
        lambda: None,
        lambda: model.load_state_dict(Mlp().state_dict()),
        lambda: nn.init.zeros_(model.down.weight),
        lambda: model.shift.mul_(3),
        lambda: setattr(model.up, "weight", nn.Parameter(torch.randn(8, 4))),
        lambda: setattr(model.up.bias, "data", torch.randn(8)),
    ]
    for number, change in enumerate(changes):
        change()
        agree(compiled, model, x)
        assert len(compilations) == number + 1


def test_two_models_of_one_class_share_a_graph(compilations: list[Any]) -> None:
    models = [Mlp().eval(), Mlp().eval()]
    x = torch.randn(3, 4)
    for model in (*models, *models):
        agree(torch.compile(model, backend=backend, options=TVM), model, x)
    assert len(compilations) == 2


@pytest.mark.slow
def test_many_python_numbers_end_in_pytorch(
    caplog: pytest.LogCaptureFixture, compilations: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_graph, "_MOST", 2)
    model, x = Mlp().eval(), torch.randn(3, 4)
    compiled = torch.compile(model, backend=backend, options=TVM)
    for step in range(5):
        agree(compiled, model, x, 1.5 + step)
    assert len(compilations) == 3  # the first number, then two for any number
    assert "compiled for 2 sets" in caplog.text


def test_inference_mode() -> None:
    model = Mlp().eval()
    compiled = torch.compile(model, backend=backend, options=TVM)
    with torch.inference_mode():
        x = torch.randn(3, 4)
        torch.testing.assert_close(compiled(x), model(x))


def test_what_is_not_a_function_of_the_inputs_runs_in_pytorch(caplog: pytest.LogCaptureFixture) -> None:
    def adds(x: Tensor) -> Tensor:
        x.add_(1)
        return x * 2

    def random(x: Tensor) -> Tensor:
        return x + torch.randn(4)

    x = torch.zeros(3, 4)
    assert torch.equal(torch.compile(adds, backend=backend, options=TVM)(x), torch.full((3, 4), 2.0))
    assert torch.equal(x, torch.ones(3, 4)) and "changes this input" in caplog.text
    assert torch.compile(random, backend=backend, options=TVM)(x).shape == (3, 4)
    assert "random operator" in caplog.text
    with pytest.raises(BackendCompilerFailed, match="random operator"):
        torch._dynamo.reset()
        torch.compile(random, backend=backend, options={"fallback": False})(x)


def test_results_changed_in_place_within_the_graph() -> None:
    def function(x: Tensor) -> Any:
        y = x.relu()
        flat = y.view(-1)
        flat.add_(1)
        return y, flat, y.mul_(2)

    def alone(x: Tensor) -> Tensor:
        y = x.relu()
        y.view(-1).add_(1)
        return y * 2

    x = torch.randn(3, 4)
    for changed in (function, alone):
        torch.testing.assert_close(torch.compile(changed, backend=backend, options=TVM)(x), changed(x))


@pytest.mark.slow
def test_views_changed_after_a_graph_break() -> None:
    def function(x: Tensor) -> Tensor:
        y = x.relu() + 1
        z = y.view(-1)
        torch._dynamo.graph_break()
        z.add_(1)
        return y

    x = torch.randn(3, 4)
    torch.testing.assert_close(torch.compile(function, backend=backend, options=TVM)(x), function(x))


def test_no_tensors_to_compute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "l0compile")
    x = torch.randn(3, 4)
    assert (
        torch.compile(lambda x: x.view(-1)[2:], backend=backend, options=TVM)(x).data_ptr()
        == x.data_ptr() + 8
    )
    assert not [record for record in caplog.records if record.name == "l0compile"]


@pytest.mark.slow
def test_hugging_face_bert(compilations: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    model = transformers.BertModel(config).eval()
    with torch.no_grad():
        model.encoder.layer[0].intermediate.dense.weight[4:].zero_()
        model.encoder.layer[0].intermediate.dense.bias[4:].zero_()
    compiled = torch.compile(model, backend=backend, options=TVM)
    for tokens in (9, 5, 12):
        ids, mask = torch.randint(0, 50, (2, tokens)), torch.ones(2, tokens, dtype=torch.int64)
        with torch.no_grad():
            expected, got = model(ids, attention_mask=mask), compiled(ids, attention_mask=mask)
        assert type(got) is type(expected)
        torch.testing.assert_close(got.to_tuple(), expected.to_tuple(), rtol=2e-5, atol=2e-5)
    regions = {r.name: r for r in compilations[-1].explain().regions}
    assert regions["encoder.layer.0.intermediate.dense"].shape_after[0] == 4
    assert not [record for record in caplog.records if record.name == "l0compile"]


@torch.no_grad()
def test_buffers_that_the_graph_changes_stay_the_users(caplog: pytest.LogCaptureFixture) -> None:
    for make, args in (
        (Statistics, (torch.randn(2, 4),)),
        (Cache, (torch.randn(1, 2, 1, 4), torch.tensor([3]))),
    ):
        torch.manual_seed(0)
        model = make().eval()
        plain = copy.deepcopy(model)
        compiled = torch.compile(model, backend=backend, options={"engine": "torch"})
        for _ in range(2):
            torch.testing.assert_close(compiled(*args), plain(*args))
        torch.testing.assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))
    assert "leaves buffers alone" in caplog.text
