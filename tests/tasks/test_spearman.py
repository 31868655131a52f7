"""Rank correlation against its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import DataError
from l0compile.tasks.spearman import similarity_spearman, spearman

PAIRS = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=40)


def mean_ranks(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([sum(v < w for v in values) + (values.count(w) + 1) / 2 for w in values])


@given(PAIRS)
def test_it_is_the_correlation_of_mean_ranks(pairs: list[tuple[int, int]]) -> None:
    x, y = ([pair[side] for pair in pairs] for side in (0, 1))
    found = spearman(np.array(x, float), np.array(y, float))
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found == 0.0
    else:
        assert found == pytest.approx(np.corrcoef(mean_ranks(x), mean_ranks(y))[0, 1], abs=1e-12)


def test_extremes() -> None:
    x = np.arange(10.0)
    assert spearman(x, x**3) == pytest.approx(1.0) and spearman(x, -x) == pytest.approx(-1.0)
    assert spearman(x, np.ones(10)) == 0.0
    assert spearman(x, np.full(10, np.nan)) == 0.0
    with pytest.raises(DataError, match="one length"):
        spearman(x, np.arange(9.0))


def test_similarities_of_all_pairs() -> None:
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(30, 8), dim=1)
    other = torch.nn.functional.normalize(vectors + 0.5 * torch.randn(30, 8), dim=1)
    rotation = torch.linalg.qr(torch.randn(8, 8)).Q
    assert similarity_spearman(vectors @ rotation, vectors) == pytest.approx(1.0, abs=1e-4)
    pairs = [(i, j) for i in range(30) for j in range(i + 1, 30)]
    one, two = ([float(v[i] @ v[j]) for i, j in pairs] for v in (vectors, other))
    assert similarity_spearman(other, vectors) == pytest.approx(
        spearman(np.array(one), np.array(two)), abs=1e-4
    )
