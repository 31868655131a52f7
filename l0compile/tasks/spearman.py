"""Rank correlation, and how well a set of embeddings keeps the similarities of another."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from l0compile.errors import DataError

Vector = NDArray[np.float64]


def spearman(first: Vector, second: Vector) -> float:
    """Return Spearman's rank correlation of two vectors [n]; 0 if one of them is constant or not finite.

    It is the Pearson correlation of mean ranks, as in `scipy.stats.spearmanr`.

    Raises:
        DataError: the lengths differ, or are less than 2.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise DataError(
            f"spearman: expected two vectors of one length of at least 2, got {first.shape} and {second.shape}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return 0.0
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    from scipy.stats import spearmanr  # takes a second to import

    return float(spearmanr(first, second).statistic)


def similarity_spearman(found: Tensor, reference: Tensor) -> float:
    """Correlate the cosine similarities of all pairs in two sets of embeddings [n, width] of unit length, n >= 3."""
    return spearman(_pair_similarities(found), _pair_similarities(reference))


def _pair_similarities(embeddings: Tensor) -> Vector:
    vectors = embeddings.detach().double().numpy()
    upper = np.triu_indices(len(vectors), 1)
    similarities: Vector = (vectors @ vectors.T)[upper]
    return similarities
