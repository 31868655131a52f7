"""Rank correlation against SciPy's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from l0compile.errors import DataError
from l0compile.tasks.spearman import ranks, similarity_spearman, spearman

stats = pytest.importorskip("scipy.stats")
PAIRS = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=40)


@given(PAIRS)
def test_ranks_and_correlation_agree_with_scipy_with_ties(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, dtype=np.float64).T
    assert np.array_equal(ranks(x), stats.rankdata(x))
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


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
    assert similarity_spearman(other, vectors) == pytest.approx(stats.spearmanr(one, two).statistic, abs=1e-4)
