"""Verification compares every call and every part of a result, and says which differs by how much."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import l0compile as l0
from l0compile.compiler.verification import TOLERANCES, read_calls, tolerance, verify
from l0compile.errors import ConfigError, NoAnswerError, RewriteError
from l0compile.frontend.export import capture

X = torch.tensor([1.0, -4.0])
INFINITE = torch.tensor([1.0, float("-inf")])


def compared(reference: Any, got: Any, limit: float = 2e-5) -> dict[str, Any]:
    return verify(lambda: got, lambda: reference, [((), {})], limit)


def test_what_is_close_passes_and_the_worst_is_recorded() -> None:
    result = compared({"y": X, "n": 3, "none": None}, {"y": X + 4e-5, "n": 3, "none": None})
    assert result["checked"] and result["inputs"] == 1 and result["tolerance"] == 2e-5
    assert 5e-6 < result["max_difference"] < 2e-5
    assert compared(INFINITE, INFINITE.clone())["max_difference"] == 0
    assert compared(torch.empty(0), torch.empty(0))["max_difference"] == 0
    assert compared(torch.zeros(2), torch.zeros(2))["max_difference"] == 0


@pytest.mark.parametrize(
    ("reference", "got", "words"),
    [
        (
            {"y": X},
            {"y": X * 1.001},
            r"output y: .* within 2e-05 of the largest, got a difference of 1.0e-03",
        ),
        ((X, [X]), (X, [X + 1]), r"output 1\.0: "),
        (X, X.double(), r"output 0: expected \(2,\) torch.float32, got \(2,\) torch.float64"),
        (X > 0, X < 0, "torch.bool values equal to the model's"),
        (X, torch.tensor([1.0, float("nan")]), "got a difference of nan"),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")]), "the model itself gives NaN"),
        (INFINITE, -INFINITE, "infinities where the model has them"),
        (INFINITE, X, "infinities where the model has them"),
        ((X, 3), (X, 4), r"output 1: expected 3, got 4"),
        ((X, 1), (X, True), r"output 1: expected 1, got True"),
        ((X, X), (X,), r"expected results \['0', '1'\], got \['0'\]"),
    ],
)
def test_what_differs_is_refused(reference: Any, got: Any, words: str) -> None:
    with pytest.raises(RewriteError, match=words):
        compared(reference, got)


def test_a_model_that_raises_itself_is_told_so() -> None:
    model = nn.Linear(4, 2).eval()
    words = "the model itself raises RuntimeError: .*Half.*; give inputs that it takes"
    with pytest.raises(NoAnswerError, match=words):  # it exports: shapes alone are looked at there
        l0.compile(model, (torch.randn(1, 4, dtype=torch.float16),))


def test_every_call_is_compared() -> None:
    def wrong_from_three(x: Tensor) -> Tensor:
        return x + (x >= 3)

    calls: list[Any] = [((torch.tensor([float(n)]),), {}) for n in range(1, 5)]
    assert verify(wrong_from_three, lambda x: x, calls[:2], 2e-5)["inputs"] == 2
    with pytest.raises(RewriteError, match=r"call 2, output 0"):
        verify(wrong_from_three, lambda x: x, calls, 2e-5)


def test_the_calls_of_an_example_and_of_verify() -> None:
    more = ((X, X), {"k": X})
    assert read_calls(None, (X,), {}, False) == []
    assert read_calls(None, (X,), {}, True) == [((X,), {})]
    assert len(read_calls(None, (X,), {}, [more, more])) == 3


@pytest.mark.parametrize("wrong", ["always", 1, None, [X], [((X,),)], [([X], {})], {"args": (X,)}])
def test_verify_is_a_bool_or_a_list_of_calls(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"verify: .* list of calls \[\(args, kwargs\), \.\.\.\].*, got "):
        l0.compile(nn.Linear(3, 3).eval(), (torch.ones(1, 3),), verify=wrong)


def layer(dtype: torch.dtype) -> tuple[nn.Module, Callable[[], Tensor]]:
    return nn.Linear(4, 4).eval().to(dtype), lambda: torch.randn(3, 4).to(dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_the_tolerance_is_that_of_the_least_exact_type(dtype: torch.dtype) -> None:
    model, example = layer(dtype)
    assert tolerance(capture(model, (example(),))) == TOLERANCES[dtype]
    mixed = nn.Sequential(model, _Cast()).eval()
    assert tolerance(capture(mixed, (example(),))) == max(TOLERANCES[dtype], TOLERANCES[torch.float32])


class _Cast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float() * 2


def test_compile_verifies_a_list_of_calls() -> None:
    model, example = layer(torch.bfloat16)
    compiled = l0.compile(model, (example(),), verify=[((example(),), {}), ((example(),), {})], engine="tvm")
    record = compiled.explain().verification
    assert record["inputs"] == 3 and record["tolerance"] == TOLERANCES[torch.bfloat16]


class _Padded(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, **options)
        self.encoder = nn.TransformerEncoder(layer, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.encoder(x, src_key_padding_mask=mask)


@pytest.mark.filterwarnings("ignore:.*nested tensors.*")
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("engine", ["tvm", "torch"])
def test_padded_tokens_are_those_of_the_graph(engine: str) -> None:
    model, x = _Padded().eval(), torch.randn(2, 5, 16)
    mask = torch.tensor([[False, False, False, True, True], [False] * 5])
    sizes = {"x": {0: "batch", 1: "tokens"}, "mask": {0: "batch", 1: "tokens"}}
    compiled = l0.compile(model, (x, mask), dynamic_shapes=sizes, engine=engine)
    assert torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        eager = model(x, mask)
    got = compiled(x, mask)
    assert eager[0, 3:].abs().max() == 0 < got[0, 3:].abs().max()
    torch.testing.assert_close(got[~mask], eager[~mask], rtol=1e-4, atol=1e-5)
    assert compiled.explain().verification["fast_path"] > 0.1
    assert "padded tokens are computed like others" in " ".join(str(compiled.explain()).split())


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_no_word_of_padding_where_both_paths_agree() -> None:
    model, x = _Padded(norm_first=True).eval(), torch.randn(2, 5, 16)
    mask = torch.tensor([[False, False, False, True, True], [False] * 5])
    for case, padding in ((model, mask), (_Padded().eval(), torch.zeros_like(mask))):
        assert "fast_path" not in l0.compile(case, (x, padding), engine="torch").explain().verification
