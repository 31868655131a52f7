"""What a model may be called with and may return, compiled, saved and loaded; and what is refused, with the reason."""

import dataclasses
import logging
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves, tree_structure

import l0compile as l0
from l0compile.errors import CaptureError, InputError
from l0compile.frontend.export import capture

X = torch.randn(3, 4)
FLAGS = torch.tensor([True, False])
Pair = namedtuple("Pair", "first second")


@dataclasses.dataclass
class Answer:
    value: Tensor
    doubled: Tensor
    extra: Tensor | None = None


@dataclasses.dataclass
class Unknown:
    value: Tensor


torch.export.register_dataclass(Answer)


class Model(nn.Module):
    """A linear layer, a buffer and the forward() that a test gives it."""

    def __init__(self, forward: Callable[..., Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("table", torch.ones(4))
        self.function = forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def model(forward: Callable[..., Any]) -> Model:
    torch.manual_seed(0)
    return Model(forward).eval()


def in_place(m: Model, x: Tensor) -> Tensor:
    y = m.linear(x)
    y.relu_()
    return y.add_(1)


CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = {
    "none": (lambda m, x, y: m.linear(x) if y is None else x, (X, None), {}),
    "numbers and flags": (lambda m, x, n, k, flag: m.linear(x) * n + k if flag else x, (X, 2, 1.5), {"flag": True}),
    "text": (lambda m, x, how: m.linear(x).relu() if how == "relu" else x, (X,), {"how": "relu"}),
    "results that are no tensors": (lambda m, x: (m.linear(x), None, 3, {"a": True, "b": "text"}), (X,), {}),
    "inputs and constants returned": (lambda m, x: (m.linear(x), x, m.table, m.linear.weight), (X,), {}),
    "nothing computed": (lambda m, x: x, (X,), {}),
    "the same result twice": (lambda m, x: [y := m.linear(x), y, {"y": y}], (X,), {}),
    "nested": (lambda m, d: {"o": [m.linear(d["u"]), (d["v"][0] + 1,)]}, ({"u": X, "v": [X, (X,)]},), {}),
    "named tuples": (lambda m, p: Pair(m.linear(p.first), p.second * 2), (Pair(X, X),), {}),
    "dataclasses": (lambda m, a: Answer(m.linear(a.value), a.doubled), (Answer(X, X),), {}),
    "integers and flags": (lambda m, i, f: (m.table[i] * f, f & (i > 0), i + 1), (torch.tensor([1, 0]), FLAGS), {}),
    "a scalar tensor": (lambda m, t: (m.table * t, t + 1), (torch.tensor(2.0),), {}),
    "not contiguous": (lambda m, x: m.linear(x), (torch.randn(4, 3).t(),), {}),
    "one tensor twice": (lambda m, x, y: m.linear(x) + y, (X, X), {}),
    "changed in place": (in_place, (X,), {}),
    "float64": (lambda m, x: x * 2 + 1, (X.double(),), {}),
    "float16": (lambda m, x: x * 2 + 1, (X.half(),), {}),
    "values read": (lambda m, x: m.linear(x) * x.sum().item(), (X,), {}),
}  # fmt: skip


def same(got: Any, expected: Any) -> None:
    assert tree_structure(got) == tree_structure(expected)
    for left, right in zip(tree_leaves(got), tree_leaves(expected), strict=True):
        if isinstance(right, Tensor):
            torch.testing.assert_close(left, right, rtol=2e-5, atol=1e-6)
        else:
            assert type(left) is type(right) and left == right


@pytest.mark.parametrize("name", CALLS)
def test_capture_gives_the_models_result(name: str) -> None:
    forward, args, kwargs = CALLS[name]
    own = model(forward)
    with torch.no_grad():
        expected = own(*args, **kwargs)
    got = capture(own, args, kwargs).run(*args, **kwargs)
    assert type(got) is type(expected)
    same(got, expected)


@torch.no_grad()
def test_everything_at_once_compiled_saved_and_loaded(tmp_path: Path) -> None:
    class Everything(nn.Linear):
        def forward(self, x: Tensor, n: int, y: None, *, how: str) -> Any:  # type: ignore[override]
            h = super().forward(x) * n
            sizes = [None, how, x.shape[0], x.shape[0] * 4 + 1]
            return {"pair": Pair(h, x), "answer": Answer(h.relu(), h), "rest": sizes}

    own = Everything(4, 4).eval()
    compiled = l0.compile(own, (X, 2, None), {"how": "so"}, dynamic_shapes={"x": {0: "batch"}})
    compiled.save(tmp_path / "m")
    x = torch.randn(5, 4)
    expected = own(x, 2, None, how="so")
    for runs in (compiled, l0.load(tmp_path / "m")):
        got = runs(x, 2, None, how="so")
        assert got["rest"] == [None, "so", 5, 21]
        same(got, expected)
        with pytest.raises(InputError, match=r"expected 2, which the model was compiled for, got 3"):
            runs(x, 3, None, how="so")
        with pytest.raises(InputError, match=r"expected 2, .* got True"):
            runs(x, True, None, how="so")
        with pytest.raises(InputError, match=r"expected None, .* got a Tensor"):
            runs(x, 2, x, how="so")
    code = f"""import torch, l0compile as l0
r = l0.load({str(tmp_path / "m")!r})(torch.ones(5, 4), 2, None, how="so")
answer = r["answer"]
print(type(answer).__name__, answer.doubled.shape == answer["value"].shape, r["pair"].second.sum().item())"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.strip() == "Record True 20.0", ran.stderr


def test_compact_keeps_structure_and_numbers() -> None:
    own = model(lambda m, x, n, y: {"y": m.linear(x) * n, "none": y, "size": x.shape[0] * 2})
    small = l0.compact(own, (X, 2, None), dynamic_shapes={"args": ({0: "batch"}, None, None)})
    x = torch.randn(7, 4)
    torch.testing.assert_close(small(x, 2, None), own(x, 2, None))


def test_graph_modules() -> None:
    block = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    exported = torch.export.export(block, (X,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    traced = {
        "symbolic_trace": torch.fx.symbolic_trace(block),
        "make_fx": make_fx(block)(X),
        "ep.module()": exported.module(),
    }
    for name, graph_module in traced.items():
        program = capture(graph_module, (X,))
        torch.testing.assert_close(program.run(X), block(X).detach(), msg=name)
    compiled = l0.compile(traced["symbolic_trace"], (X,), dynamic_shapes={0: "batch"})
    assert {region.name for region in compiled.explain().regions} == {"0", "2"}
    x = torch.randn(9, 4)
    torch.testing.assert_close(compiled(x), block(x).detach(), rtol=2e-5, atol=1e-6)


def test_exported_programs_are_verified() -> None:
    exported = torch.export.export(nn.Linear(4, 2).eval(), (X,))
    for args in ((), (X,)):
        assert l0.compile(exported, args).explain().verification["checked"]


def loop(m: Model, x: Tensor) -> Tensor:
    for row in torch.nonzero(x[:, 0] > 0):
        x = x + row
    return x


def mutate(m: Model, x: Tensor) -> Tensor:
    m.table.add_(1)
    return x + m.table


def assign(m: Model, x: Tensor) -> Tensor:
    x[0] = 0
    return m.linear(x)


@pytest.mark.parametrize(
    ("forward", "args", "words"),
    [
        (loop, (X,), r"test_calls.py:\d+: `for row in torch.nonzero.*What to do: control flow or a size depends"),
        (lambda m, x: x if x.sum() > 0 else -x, (X,), r"test_calls.py:\d+: .*x\.sum\(\) > 0.*torch\.where"),
        (mutate, (X,), "table: expected a forward.. without side effects"),
        (assign, (X.clone(),), "changes this input"),
        (lambda m, x: x, (X.to_sparse(),), r"got torch.sparse_coo; convert it with \.to_dense"),
        (lambda m, x: x, (X.to("meta"),), "got one on the meta device, which has no values"),
        (lambda m, x: x, (torch.quantize_per_tensor(X, 0.1, 0, torch.qint8),), r"got torch\.qint8; pass \.deq"),
        (lambda m, x: Unknown(x), (X,), r"torch\.export\.register_dataclass\(TheClass\)"),
        (lambda m, x: m.linear(x[:, 1:]), (X,), r"\[.*\]\. What to do: sizes do not fit in forward\(\): give example"),
        (lambda m, u: u.value, (Unknown(X),), r"torch\.export\.register_dataclass\(TheClass\)"),
    ],
    ids=["loop", "branch", "buffer", "input", "sparse", "meta", "quantised", "result", "size", "class"],
)  # fmt: skip
def test_refusals(
    forward: Callable[..., Any], args: tuple[Any, ...], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CaptureError, match=words):
        capture(model(forward), args)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
