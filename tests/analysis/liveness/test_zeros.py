"""Rows and columns of weights that are in use."""

import pytest
import torch

from l0compile.analysis.liveness.zeros import used


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (0, 4), (4, 0), (64, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_against_plain_counting(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight = torch.randn(shape, dtype=dtype) * (torch.rand(shape) < 0.2)
    rows, columns = used(weight)
    assert rows.tolist() == [bool((row != 0).any()) for row in weight]
    assert columns.tolist() == [bool((column != 0).any()) for column in weight.T]


def test_not_a_number_and_infinity_are_in_use() -> None:
    weight = torch.zeros(3, 3)
    weight[0, 0], weight[1, 1] = float("nan"), float("-inf")
    assert used(weight)[0].tolist() == [True, True, False]


def test_a_weight_that_changed_is_read_again() -> None:
    weight = torch.zeros(2, 2)
    assert not used(weight)[0].any()
    weight[1, 0] = 1.0
    assert used(weight)[0].tolist() == [False, True] and used(weight)[1].tolist() == [True, False]


def test_a_tensor_of_inference_mode() -> None:
    with torch.inference_mode():
        weight = torch.eye(3)
    assert used(weight)[0].all()
