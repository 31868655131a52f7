"""Rank correlation, and how well one set of embeddings keeps the similarities of another."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from l0compile.errors import DataError

Vector = NDArray[np.float64]


def ranks(values: Vector) -> Vector:
    """Ranks from 1, ties given their mean rank; `values` [n]."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(first: Vector, second: Vector) -> float:
    """Spearman's rank correlation of two vectors [n], in [-1, 1]; 0 where one of them is constant or not finite.

    The Pearson correlation of mean ranks (as `scipy.stats.spearmanr`). Raises DataError for unequal lengths or n
    < 2.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise DataError(
            f"spearman: expected two vectors of one length of at least 2, got {first.shape} and {second.shape}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return 0.0
    x, y = ranks(first), ranks(second)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else 0.0


def similarity_spearman(found: Tensor, reference: Tensor) -> float:
    """Spearman correlation of the cosine similarities of all pairs; both [n, width] of unit length, n >= 3."""
    return spearman(_pair_similarities(found), _pair_similarities(reference))


def _pair_similarities(embeddings: Tensor) -> Vector:
    vectors = embeddings.detach().double().numpy()
    upper = np.triu_indices(len(vectors), 1)
    similarities: Vector = (vectors @ vectors.T)[upper]
    return similarities
