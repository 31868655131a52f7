"""Layers whose zeros fit 2:4: what is told of them, and of which others nothing is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from l0compile.compiler.predict import predict_program
from l0compile.compiler.two_of_four import fit, layers_in_two_of_four
from l0compile.frontend.export import capture
from l0compile.hardware.costs import GpuModel
from l0compile.hardware.targets import load_target
from l0compile.kernels.costs import costs_of
from l0compile.quantization import quantize
from l0compile.rewrite.pipeline import choose, optimise_dense
from l0compile.runtime.account import Explanation
from l0compile.runtime.account.two_of_four import TwoOfFour, two_of_four_lines


def told(model: nn.Module, x: torch.Tensor, name: str = "cuda-sm80") -> tuple[TwoOfFour, ...]:
    target = load_target(name)
    model_of_card, dense = GpuModel(target), optimise_dense(capture(model.eval(), (x,), None))
    predicted = predict_program(choose(dense, target, costs_of(target)), model_of_card)
    return layers_in_two_of_four(dense, predicted, model_of_card)


def pruned(dtype: torch.dtype, spared: int = 0, width: int = 1024) -> nn.Module:
    """Two layers; the first has the two smallest of each four weights zero, but in ``spared`` rows."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 64)).to(dtype)
    groups = model[0].weight.data.view(width, -1, 4)
    groups[spared:].scatter_(2, groups[spared:].abs().topk(2, 2, largest=False).indices, 0.0)
    return model


def test_a_layer_that_nearly_fits_is_told_of_and_others_are_not() -> None:
    x = torch.randn(8192, 1024)
    assert told(pruned(torch.bfloat16), x.bfloat16()) == ()  # it is stored so
    (one,) = told(pruned(torch.bfloat16, 1), x.bfloat16())
    assert (one.name, one.precision, one.groups) == ("0", "bfloat16", 1023 / 1024)
    assert 0.5 < one.two_of_four_ms / one.ms < 0.8
    assert told(pruned(torch.float32), x) == ()  # tensor cores have 1:2 for TF32, not 2:4
    assert told(pruned(torch.float16), x.half(), "cuda-sm75") == ()
    assert told(pruned(torch.bfloat16, 256), x.bfloat16()) == ()  # a quarter of the rows does not fit


def test_a_layer_that_nearly_fits_says_by_how_much_it_does_not() -> None:
    (one,) = told(pruned(torch.float16, 50), torch.randn(8192, 1024).half())
    assert one.groups == 974 / 1024
    assert one.more == 100 / (200 + 2 * 974)


def test_integers_fit_too() -> None:
    x = torch.randn(8192, 1024)
    (one,) = told(quantize(pruned(torch.float32), [x[:16]]), x)
    assert one.precision == "int8" and one.groups == 1.0


def test_a_layer_that_takes_no_longer_than_its_launch_is_not_told_of() -> None:
    assert told(pruned(torch.bfloat16, width=64), torch.randn(1, 64).bfloat16()) == ()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 13), st.integers(0, 2**32))
def test_groups_are_counted(n: int, k: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    weight = torch.randint(0, 3, (n, k), generator=random)
    groups = [row[first : first + 4] for row in weight.tolist() for first in range(0, k, 4)]
    nonzero = [sum(value != 0 for value in group) for group in groups]
    share, more = fit(weight)
    assert share == pytest.approx(sum(count <= 2 for count in nonzero) / len(groups))
    assert more == pytest.approx(sum(max(0, count - 2) for count in nonzero) / max(1, sum(nonzero)))


def test_an_explanation_recommends_it_and_says_that_nothing_was_measured() -> None:
    layers = tuple(TwoOfFour(f"layer {i}", "int8", 1.0 - i / 200, i / 100, 0.2, 0.13) for i in range(10))
    explained = Explanation((), (), {"checked": False}, {}, two_of_four=layers)
    assert Explanation.from_json(explained.to_json()) == explained
    text = str(explained)
    assert "10 layers" in text and "Predicted: 1.3 ms in place of 2 ms" in text
    assert "Nothing was measured" in " ".join(text.split()) and "and 2 more" in text
    assert not list(two_of_four_lines((), 100))
