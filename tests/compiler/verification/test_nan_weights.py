"""A model that gives NaN by itself is told so, and which weight is at fault, before anything is compiled twice."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

import l0compile as l0
from l0compile.compiler.verification import nan_weights
from l0compile.errors import NoAnswerError


def with_zero_row() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    with torch.no_grad():
        model[0].weight[1] = 0
    return model


def test_weight_norm_of_a_row_of_zeros() -> None:
    for wrap in (parametrizations.weight_norm, weight_norm):
        model = with_zero_row()
        wrap(model[0])
        assert (
            ". 0.weight holds NaN in row 1, though what it is made from does not: weight_norm"
            in nan_weights(model)
        )
    with pytest.raises(NoAnswerError) as refused:
        l0.compile(model, (torch.randn(2, 4),))
    said = str(refused.value)
    assert "the model itself gives NaN" in said and "0.weight holds NaN in row 1" in said
    assert "In tvm" not in said and "In torch" not in said  # nothing that we made is to blame


def test_a_parameter_and_none() -> None:
    model = with_zero_row()
    assert nan_weights(model) == "" == nan_weights(parametrizations.weight_norm(model[2]))
    with torch.no_grad():
        model[0].bias[0] = float("nan")
    assert nan_weights(model) == ". 0.bias holds NaN"
